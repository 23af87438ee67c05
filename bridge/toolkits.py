"""Which window toolkit works here: each is tried in a child process, since a missing library kills a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from enum import StrEnum

import msgspec

PROBE_COMMAND = "probe-window"
_PROBE_SECONDS = 15.0


class Toolkit(StrEnum):
    """Window toolkits; NATIVE is what Windows and macOS bring."""

    GTK = "gtk"
    QT = "qt"
    NATIVE = "native"


class Choice(msgspec.Struct, frozen=True):
    """A toolkit, or none and a message key that says why and what would give a window."""

    toolkit: Toolkit | None
    reason: str = ""


def choose_toolkit(wish: str | None, environ: Mapping[str, str], platform: str = sys.platform) -> Choice:
    """The wished toolkit, else the first that works."""
    if not platform.startswith("linux"):
        return _choose_native()
    if not environ.get("DISPLAY") and not environ.get("WAYLAND_DISPLAY"):
        return Choice(None, "window.no_display")
    candidates = [Toolkit(wish)] if wish else [Toolkit.GTK, Toolkit.QT]
    for toolkit in candidates:
        if _works(toolkit):
            return Choice(toolkit)
    return Choice(None, f"window.no_{wish}" if wish else "window.no_toolkit")


def probe(name: str) -> int:
    """Runs in the child: open a hidden web view and load a page; 0 when that works."""
    return {"gtk": _probe_gtk, "qt": _probe_qt}[name]()


def _choose_native() -> Choice:
    try:
        import webview  # noqa: F401 - only whether it can be imported
    except ImportError:
        return Choice(None, "window.no_pywebview")
    return Choice(Toolkit.NATIVE)


def _works(toolkit: Toolkit) -> bool:
    own = [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, sys.argv[0]]
    try:
        done = subprocess.run(
            [*own, PROBE_COMMAND, toolkit.value],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PROBE_SECONDS,
            check=False,
            env={**os.environ, **toolkit_environment(toolkit)},
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def toolkit_environment(toolkit: Toolkit) -> dict[str, str]:
    """What must stand in the environment before the toolkit is loaded."""
    if toolkit is Toolkit.QT and hasattr(os, "geteuid") and os.geteuid() == 0:
        return {"QTWEBENGINE_DISABLE_SANDBOX": "1"}  # Chromium's sandbox refuses root
    return {}


def _probe_gtk() -> int:
    try:
        import gi

        gi.require_version("Gtk", "3.0")
        gi.require_version("WebKit2", "4.1")
        from gi.repository import GLib, Gtk, WebKit2
    except (ImportError, ValueError):
        return 3
    if not Gtk.init_check(None)[0]:
        return 4
    loop, outcome = GLib.MainLoop(), [5]

    def changed(_view: object, event: object) -> None:
        if event == WebKit2.LoadEvent.FINISHED:
            outcome[0] = 0
            loop.quit()

    view = WebKit2.WebView()
    view.connect("load-changed", changed)
    view.connect("web-process-terminated", lambda *_: loop.quit())
    view.load_html("<p>ok</p>", "about:blank")
    GLib.timeout_add_seconds(10, loop.quit)
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
    QTimer.singleShot(10_000, lambda: application.exit(6))
    code: int = application.exec()
    # Chromium's teardown without a running application aborts; the answer is known.
    os._exit(code)
