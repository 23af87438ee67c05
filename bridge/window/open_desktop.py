"""Opening the program for a person: the window where there is one, else the browser, and one instance a data folder."""

from __future__ import annotations

import threading
from pathlib import Path

from bridge.app import App
from bridge.http.instance import call_on_running
from bridge.http.server import Server
from bridge.messages import Messages
from bridge.terminal.serve import Say, ending_signals, open_browser, serve
from bridge.window.toolkits.choice import Choice, ToolkitSearch


def show_running(folder: Path, own_version: str, messages: Messages, language: str, say: Say) -> bool:
    """Bring the instance that holds the folder to the front, or open its page; False when none answers."""
    running = call_on_running(folder)
    if running is None:
        return False
    same = running.version == own_version
    key = "window.already_running" if same else "window.other_version"
    say(messages.text(language, key, version=running.version, pid=running.pid, own=own_version))
    if not running.shown:
        open_browser(running.url)
    return True


def open_desktop(
    app: App,
    server: Server,
    language: str,
    say: Say,
    *,
    search: ToolkitSearch | None,
    no_open: bool,
) -> int:
    """Show the page and stay until the person is done; the exit code. Without ``search`` no window is wanted."""
    choice = search.result() if search else Choice(None)
    if choice.toolkit is not None:
        from bridge.window.desktop_window import DesktopWindow  # loads pywebview: only where a window is opened

        window = DesktopWindow(app, server, choice.toolkit, language)
        server.on_show = window.show
        server.start()
        # Python's handlers run inside the toolkit's loop, where the window cannot be closed.
        with ending_signals(lambda: threading.Thread(target=window.close_now, daemon=True).start()):
            window.run()
        return 0
    if choice.reason:
        say(app.messages.text(language, choice.reason))
    return serve(app, server, language, say, open_page=not no_open)
