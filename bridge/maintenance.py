"""What is looked after while the program runs: cached pictures, beside whatever else goes on."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from bridge.app import App
from engine.errors import ConsoleError, Stopped

_AFTER_SECONDS = 3.0  # the first page is shown before
log = logging.getLogger(__name__)


@contextlib.contextmanager
def looked_after(app: App, after: float = _AFTER_SECONDS) -> Iterator[None]:
    """Sweep the cache in a thread, some seconds after the start; given up when the block ends before."""
    ending = threading.Event()

    def check() -> None:
        if ending.is_set():
            raise Stopped

    def sweep() -> None:
        try:
            if not ending.wait(after):
                app.sweep(check)
                app.changed()
        except Stopped:
            log.debug("sweep given up")
        except ConsoleError as error:
            log.warning("cache not swept: %s", error.code)

    thread = threading.Thread(target=sweep, name="sweep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
