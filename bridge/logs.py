"""The log file in the data folder: what went wrong inside, for a bug report. It never holds a key."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path

from bridge.plain import one_line

_BYTES = 1_000_000
_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class _Plain(logging.Formatter):
    """Lines that a terminal only shows, whoever wrote what stands in them."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(one_line(line) for line in super().format(record).split("\n"))


class LogFile:
    """The handler while it is open."""

    def __init__(self, handler: logging.Handler) -> None:
        self._handler = handler
        logging.getLogger().addHandler(handler)

    def close(self) -> None:
        """Take the handler out again."""
        logging.getLogger().removeHandler(self._handler)
        self._handler.close()


def open_log(folder: Path) -> LogFile:
    """Log to ``folder/log.txt``, three old files kept; where that cannot be written, nowhere."""
    logging.getLogger().setLevel(logging.INFO)
    for chatty in ("httpx", "httpcore", "PIL", "waitress", "waitress.queue"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    try:
        handler: logging.Handler = logging.handlers.RotatingFileHandler(
            folder / "log.txt", maxBytes=_BYTES, backupCount=3, encoding="utf-8"
        )
    except OSError:
        handler = logging.NullHandler()
    handler.setFormatter(_Plain(_FORMAT))
    return LogFile(handler)
