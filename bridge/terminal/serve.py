"""``serve``: the loopback server until the person ends it, with the status panel; and the port check."""

from __future__ import annotations

import contextlib
import errno
import logging
import math
import os
import queue
import signal
import socket
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bridge.app import App
from bridge.environment import Environment, StatusUi, has_display
from bridge.http.instance import call_on_running
from bridge.http.port_holder import find_holder
from bridge.http.server import Server, bind
from bridge.messages import Messages
from bridge.terminal.status_panel import LogTail, StatusPanel, has_terminal

EXIT_PORT_TAKEN = 2
_BROWSER_SECONDS = 3.0
_LOOK_SECONDS = 0.25
_TAKEN = frozenset({errno.EADDRINUSE, 10048, 10013})  # Windows: in use; held exclusively
log = logging.getLogger(__name__)
Say = Callable[[str], None]


def bind_or_explain(
    environment: Environment, messages: Messages, language: str, say: Say, folders: Sequence[Path]
) -> socket.socket | None:
    """A bound socket; where the port is taken, says the error, who holds it and what to do, and answers None.

    ``folders``: data folders whose running instance may be the one that holds the port.
    """
    try:
        return bind(environment.host, environment.port)
    except OSError as error:
        reason, taken = error.strerror or str(error), error.errno in _TAKEN
    host, port = environment.host, environment.port
    say(messages.text(language, "serve.port_taken", host=host, port=port, reason=reason))
    if not taken:  # an address that is not this machine's, or a port that needs rights
        say(messages.text(language, "serve.bind_advice"))
        return None
    for folder in folders:
        running = call_on_running(folder, show=False)
        if running is not None and urlsplit(running.url).port == port:
            say(messages.text(language, "serve.port_is_ours", url=running.url, pid=running.pid))
            if not open_browser(running.url):
                say(messages.text(language, "serve.no_browser", url=running.url))
            return None
    holder = find_holder(port)
    if holder.pid:
        say(messages.text(language, "serve.port_holder", name=holder.name or "?", pid=holder.pid))
    else:
        say(messages.text(language, "serve.port_holder_unknown"))
    say(messages.text(language, "serve.port_advice", port=port + 1 if port < 65535 else 12607))
    return None


def serve(app: App, server: Server, language: str, say: Say, *, open_page: bool) -> int:
    """Serve until q, Ctrl-C or a signal to end; 0. ``open_page``: in the browser, too."""
    ended = Ending()
    tail = LogTail()
    with ending_signals(ended.set):
        server.start()
        if open_page and not open_browser(server.url):
            say(app.messages.text(language, "serve.no_browser", url=server.url))
        say(app.messages.text(language, "serve.ready", url=server.url))
        if server.token and not app.environment.access_token:
            say(app.messages.text(language, "serve.token", token=server.token))
        if app.environment.status_ui is StatusUi.CLI and has_terminal():
            logging.getLogger().addHandler(tail)
            with contextlib.suppress(KeyboardInterrupt):
                StatusPanel(app, server.url, language, tail).run(ended.wait)
            logging.getLogger().removeHandler(tail)
        else:
            with contextlib.suppress(KeyboardInterrupt):
                ended.wait()
    say(app.messages.text(language, "serve.ending"))
    return 0


class Ending:
    """Like an Event, but safe to set from a signal handler: an Event's lock may be held by the code it interrupts.

    The wait looks up a few times a second: Python calls a handler only between two instructions, and a signal that
    comes just before the wait sleeps, or on Windows at any time, does not wake it.
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """It is time to end."""
        self._queue.put(None)

    def wait(self, seconds: float = math.inf) -> bool:
        """Until it is time to end; False when so many seconds passed first."""
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            try:
                self._queue.get(timeout=min(max(left, 0), _LOOK_SECONDS))
            except queue.Empty:
                if left <= _LOOK_SECONDS:
                    return False
            else:
                self._queue.put(None)
                return True


@contextlib.contextmanager
def ending_signals(end: Callable[[], None]) -> Iterator[None]:
    """While the block runs, SIGINT and SIGTERM call ``end`` instead of killing."""
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), lambda *_: end()) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def open_browser(url: str) -> bool:
    """Open the default browser; False where there is none. One that stays in the foreground is not waited for."""
    if not has_display(os.environ) and not os.environ.get("BROWSER"):
        return False  # a text browser would take the terminal over
    opened = [True]

    def attempt() -> None:
        try:
            opened[0] = webbrowser.open(url)
        except (webbrowser.Error, OSError):
            opened[0] = False

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(_BROWSER_SECONDS)
    return opened[0]
