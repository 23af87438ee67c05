"""Which window toolkit works here: each is tried in a child process, since a missing library kills a process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from bridge.environment import has_display
from bridge.paths import SOURCE
from engine.errors import Code, InvalidInput

PROBE_COMMAND = "probe-window"
PROBE_USAGE = f"{PROBE_COMMAND} gtk|qt"
_SEARCH_SECONDS = 14.0
_PROBE_SECONDS = 10
_CHILD = """import sys
sys.path.insert(0, sys.argv[1])
from bridge.window.toolkits.choice import probe
sys.exit(probe(sys.argv[2:]))"""


class Toolkit(StrEnum):
    """Window toolkits; NATIVE is what Windows and macOS bring."""

    GTK = "gtk"
    QT = "qt"
    NATIVE = "native"


class Choice(msgspec.Struct, frozen=True):
    """A toolkit, or none and a message key that says why and what would give a window."""

    toolkit: Toolkit | None
    reason: str = ""


class ToolkitSearch:
    """Finds the wished toolkit, else the first that works.

    Begins at once, since a probe takes half a second in which the caller can get everything else ready; whoever
    begins it closes it.
    """

    def __init__(
        self,
        requested: str | None,
        environ: Mapping[str, str],
        *,
        platform: str = sys.platform,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requested = requested
        self._clock = clock
        self._deadline = clock() + _SEARCH_SECONDS
        self._linux = platform.startswith("linux")
        self._display = has_display(environ, platform)
        self._candidates = [Toolkit(requested)] if requested else [Toolkit.GTK, Toolkit.QT]
        self._child: subprocess.Popen[bytes] | None = None
        if self._linux and self._display:
            self._child = _start_probe(self._candidates[0])

    def result(self) -> Choice:
        """Waits for the probes, at most 14 seconds since the beginning."""
        if not self._linux:
            return _choose_native()
        if not self._display:
            return Choice(None, "window.no_display")
        for toolkit in self._candidates:
            self._child = self._child or _start_probe(toolkit)
            if self._works():
                return Choice(toolkit)
        return Choice(None, f"window.no_{self._requested}" if self._requested else "window.no_toolkit")

    def close(self) -> None:
        """End a probe that still runs, with its helpers."""
        if self._child is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._child.pid, signal.SIGKILL)
            self._child.wait()
            self._child = None

    def _works(self) -> bool:
        if self._child is None:
            return False
        try:
            return self._child.wait(max(0.0, self._deadline - self._clock())) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            self.close()


def toolkit_environment(toolkit: Toolkit) -> dict[str, str]:
    """What must stand in the environment before the toolkit is loaded."""
    if toolkit is Toolkit.QT and hasattr(os, "geteuid") and os.geteuid() == 0:
        return {"QTWEBENGINE_DISABLE_SANDBOX": "1"}  # Chromium's sandbox refuses root
    return {}


def probe(told: list[str]) -> int:
    """Runs in the child: open a hidden web view and load a page; 0 when that works. Raises InvalidInput for wrong
    words."""
    probes = {"gtk": _probe_gtk, "qt": _probe_qt}
    if len(told) != 1 or told[0] not in probes:
        raise InvalidInput(Code.CHILD_COMMAND, usage=PROBE_USAGE)
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # toolkits abort where something is missing
    return probes[told[0]]()


def load_gtk() -> Any:
    """The WebKit2 module, of whichever version is there; ImportError or ValueError when something is missing."""
    import gi

    gi.require_version("Gtk", "3.0")
    try:
        gi.require_version("WebKit2", "4.1")
    except ValueError:  # older distributions
        gi.require_version("WebKit2", "4.0")
    from gi.repository import WebKit2

    return WebKit2


def _choose_native() -> Choice:
    try:
        import webview  # noqa: F401 - only whether it can be imported
    except ImportError:
        return Choice(None, "window.no_pywebview")
    return Choice(Toolkit.NATIVE)


def _start_probe(toolkit: Toolkit) -> subprocess.Popen[bytes] | None:
    # From source a short child: the launcher would load the whole program first.
    own = [PROBE_COMMAND] if getattr(sys, "frozen", False) else ["-P", "-c", _CHILD, str(SOURCE)]
    try:
        return subprocess.Popen(
            [sys.executable, *own, toolkit.value],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **toolkit_environment(toolkit)},
            start_new_session=True,  # so that its helpers can be ended with it
        )
    except OSError:
        return None


def _probe_gtk() -> int:
    try:
        webkit = load_gtk()
        from gi.repository import GLib, Gtk
    except (ImportError, ValueError):
        return 3
    if not Gtk.init_check(None)[0]:
        return 4
    loop, outcome = GLib.MainLoop(), [5]

    def changed(_view: object, event: object) -> None:
        if event == webkit.LoadEvent.FINISHED:
            outcome[0] = 0
            loop.quit()

    view = webkit.WebView()
    view.connect("load-changed", changed)
    view.connect("web-process-terminated", lambda *_: loop.quit())
    view.load_html("<p>ok</p>", "about:blank")
    GLib.timeout_add_seconds(_PROBE_SECONDS, loop.quit)
    loop.run()
    return outcome[0]


def _probe_qt() -> int:
    try:
        from qtpy.QtCore import QTimer
        from qtpy.QtWebEngineWidgets import QWebEngineView
        from qtpy.QtWidgets import QApplication
    except ImportError:  # qtpy's own error for "no binding" is one, too
        return 3
    application = QApplication(["probe"])
    view = QWebEngineView()
    view.loadFinished.connect(lambda ok: application.exit(0 if ok else 5))
    view.setHtml("<p>ok</p>")
    QTimer.singleShot(_PROBE_SECONDS * 1000, lambda: application.exit(6))
    code: int = application.exec()
    # Chromium's teardown without a running application aborts; the answer is known.
    os._exit(code)
