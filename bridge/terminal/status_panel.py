"""What ``serve`` shows in a terminal: address, state, counts, the last log lines; ``q`` or Ctrl-C ends."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator

from rich.console import Console as Terminal
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bridge.app import App
from bridge.plain import one_line
from bridge.views import progress_view

_REFRESH_SECONDS = 0.5
_LINES = 8


class LogTail(logging.Handler):
    """Keeps the last log lines for the panel."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: deque[str] = deque(maxlen=_LINES)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        """One line a record; the traceback goes to the log file."""
        self.lines.append(one_line(self.format(record).splitlines()[0]))


class StatusPanel:
    """Redraws until it is told to end."""

    def __init__(self, app: App, url: str, language: str, tail: LogTail) -> None:
        self._app = app
        self._url = url
        self._language = language
        self._tail = tail

    def run(self, wait: Callable[[float], bool]) -> None:
        """Show the panel until ``wait(seconds)`` says that it is time to end, or the person presses q."""
        with _single_keys() as key, Live(self.draw(), auto_refresh=False, screen=False, transient=True) as live:
            while not wait(_REFRESH_SECONDS):
                if key() in ("q", "Q", "\x03"):
                    return
                live.update(self.draw(), refresh=True)

    def draw(self) -> Group:
        """The panel as it is now."""
        text, info = self._app.messages.text, self._app.batch.info()
        progress = progress_view(self._app.store.counts())
        state = ("stopping" if info.stop_requested else "running") if info.running else "idle"
        table = Table.grid(padding=(0, 2))
        table.add_row(text(self._language, "panel.address"), Text(self._url, style="bold"))
        table.add_row(text(self._language, "panel.state"), text(self._language, f"panel.state.{state}"))
        finished = f"{progress.finished}/{progress.total} · {progress.percent} %"
        table.add_row(text(self._language, "panel.progress"), finished)
        table.add_row(
            text(self._language, "panel.counts"),
            text(
                self._language,
                "panel.counts.line",
                done=progress.done + progress.partial_success,
                failed=progress.failed,
                stopped=progress.stopped,
                in_flight=info.in_flight,
                rate=info.rate_per_minute,
            ),
        )
        if self._app.demo:
            table.add_row("", Text(text(self._language, "panel.demo"), style="yellow"))
        lines = [Text(line, style="dim", overflow="ellipsis", no_wrap=True) for line in self._tail.lines]
        return Group(table, *lines, Text(text(self._language, "panel.keys"), style="dim"))


def has_terminal() -> bool:
    """Whether there is somebody to show a panel to."""
    return sys.stdout.isatty() and Terminal().is_terminal


@contextlib.contextmanager
def _single_keys() -> Iterator[Callable[[], str]]:
    """Gives a function that answers the key pressed since the last call; the terminal is put back after."""
    if os.name == "nt":
        import msvcrt  # exists on Windows alone

        yield lambda: msvcrt.getwch() if msvcrt.kbhit() else ""  # type: ignore[attr-defined]
        return
    import select
    import termios
    import tty

    if not sys.stdin.isatty():
        yield lambda: ""
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield lambda: sys.stdin.read(1) if select.select([sys.stdin], [], [], 0)[0] else ""
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
