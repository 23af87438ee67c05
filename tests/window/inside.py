"""Runs the program as it is, and beside it answers a test that wants to look into the window's page, or a dialog.

The page's policy forbids eval, so a test sends plain statements; the last value comes back. ``CHOSEN`` asks for the
path that GTK's open file dialog would give.
"""

from __future__ import annotations

import queue
import runpy
import sys
import threading
from multiprocessing.connection import Connection, Listener
from pathlib import Path

CHOSEN = "the path that is chosen in the dialog"


def answer(address: str) -> None:
    """Run what comes in the first window's page, one connection after the other."""
    import webview

    with Listener(address, family="AF_UNIX") as listener:
        while True:
            with listener.accept() as connection:
                serve(connection, webview)


def serve(connection: Connection, webview: object) -> None:
    """Until the test hangs up."""
    while True:
        try:
            script = connection.recv()
        except (EOFError, OSError):
            return
        if script == CHOSEN:
            connection.send(chosen())
            continue
        windows = getattr(webview, "windows", [])
        loaded = bool(windows) and windows[0].events.loaded.is_set()
        value = windows[0].gui.evaluate_js(script, windows[0].uid, False) if loaded else None
        connection.send(value)


def chosen() -> str | None:
    """What the file dialog that is open stands at; None for none. The toolkit is asked on its own thread."""
    gtk, glib = (sys.modules.get(f"gi.repository.{name}") for name in ("Gtk", "GLib"))
    if gtk is None or glib is None:
        return None
    answers: queue.Queue[str | None] = queue.Queue()

    def ask() -> None:
        dialogs = (one for one in gtk.Window.list_toplevels() if isinstance(one, gtk.FileChooser) and one.get_visible())
        answers.put(next((one.get_filename() for one in dialogs), None))

    glib.idle_add(ask)
    return answers.get(timeout=30)


def main() -> None:
    """``inside.py SOCKET LAUNCHER ARGUMENTS…``"""
    address, launcher = sys.argv[1:3]
    sys.argv = [launcher, *sys.argv[3:]]
    sys.path[0] = str(Path(launcher).parent)
    threading.Thread(target=answer, args=(address,), daemon=True).start()
    runpy.run_path(launcher, run_name="__main__")


if __name__ == "__main__":
    main()
