"""What pywebview leaves open, toolkit by toolkit: dropped paths, true place and size, links that lead away, the end.

The only file that reaches behind pywebview's public functions.
"""

from __future__ import annotations

import functools
import itertools
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, urlsplit

from webview import dom, util

from bridge.toolkits import Toolkit

# Where it notes dropped paths; its public way to them evaluates text, which our CSP forbids.
_dnd_state: dict[str, Any] = dom._dnd_state
_RELOADS = 3
APP_ID = "image-batch-console"
Placed = Callable[..., None]
"""Takes what changed of x, y, width and height, by name, in pixels."""
GoesOutside = Callable[[str], bool]
"""Whether an address is none of the program's own; if so, it has been opened in the browser."""


def prepare(window: Any, toolkit: Toolkit) -> None:
    """Before the toolkit's loop starts."""
    # pywebview wraps its answers to the page in eval(), which the CSP forbids; plain statements need none. The page
    # may have been loaded anew since it asked; then nobody waits for the answer.
    window.evaluate_js = lambda script, **_: window.run_js(f"try {{ {script} }} catch (gone) {{ }}")
    # Each call of the page has a thread, which waits for the toolkit's loop; one that came last would wait for ever.
    vars(util)["Thread"] = functools.partial(threading.Thread, daemon=True)
    _dnd_state["num_listeners"] = 1  # so that dropped paths are noted
    logging.getLogger("pywebview").handlers.clear()  # what it writes goes into our log, not to the terminal
    if toolkit is Toolkit.GTK:
        from gi.repository import GLib

        GLib.set_prgname(APP_ID)  # else the task bar says launcher.py


def attach(window: Any, toolkit: Toolkit, placed: Placed, goes_outside: GoesOutside) -> None:
    """On the toolkit's thread, when the window is made and not yet shown."""
    if toolkit is Toolkit.GTK:
        _attach_gtk(window, placed, goes_outside)
        return
    window.events.moved += lambda x, y: placed(x=int(x), y=int(y))
    window.events.resized += lambda width, height: placed(width=int(width), height=int(height))
    if toolkit is Toolkit.QT:
        _attach_qt(window, goes_outside)


def take_dropped(toolkit: Toolkit) -> str | None:
    """The path that was dropped last, once."""
    noted: list[tuple[str, str]] = _dnd_state["paths"]
    path = noted[-1][1] if noted else None
    noted.clear()
    return unquote(path) if path is not None and toolkit is Toolkit.QT else path


def on_screen(window: Any, toolkit: Toolkit) -> None:
    """Forget a remembered place that no screen shows any more, so that the window comes up in the middle."""
    if window.initial_x is None or window.initial_y is None:
        return
    screens = window.gui.get_screens()
    grip = (window.initial_x + window.initial_width // 2, window.initial_y + 10)  # where a title bar is taken hold of
    if not any(s.x <= grip[0] < s.x + s.width and s.y <= grip[1] < s.y + s.height for s in screens):
        window.initial_x = window.initial_y = None
    elif toolkit is not Toolkit.NATIVE:  # these count from the first screen's corner
        window.initial_x -= screens[0].x
        window.initial_y -= screens[0].y


def ask(window: Any, toolkit: Toolkit, title: str, question: str) -> bool:
    """Whether the person agrees. Not on the toolkit's thread."""
    if toolkit is not Toolkit.GTK:
        return bool(window.create_confirmation_dialog(title, question))
    from gi.repository import GLib

    answers: queue.Queue[bool] = queue.Queue()
    GLib.idle_add(lambda: answers.put(_ask_gtk(window, title, question)))
    return answers.get()


def _ask_gtk(window: Any, title: str, question: str) -> bool:
    """pywebview's dialog has no title, and its buttons speak the system's language."""
    from gi.repository import Gtk

    dialog = Gtk.MessageDialog(
        title=title, transient_for=window.native, modal=True, message_type=Gtk.MessageType.QUESTION, text=question
    )
    for key, answer in (("global.cancel", Gtk.ResponseType.CANCEL), ("global.quit", Gtk.ResponseType.OK)):
        dialog.add_button(window.localization[key], answer)
    dialog.set_default_response(Gtk.ResponseType.CANCEL)
    agreed: bool = dialog.run() == Gtk.ResponseType.OK
    dialog.destroy()
    return agreed


def dismiss_dialogs(toolkit: Toolkit) -> None:
    """Cancel dialogs that are open: each has a loop of its own, which would keep the window's from ending."""
    if toolkit is Toolkit.GTK:
        from gi.repository import GLib, Gtk

        def cancel() -> None:
            for one in Gtk.Window.list_toplevels():
                if isinstance(one, Gtk.Dialog):
                    one.response(Gtk.ResponseType.CANCEL)

        GLib.idle_add(cancel)


def _attach_gtk(window: Any, placed: Placed, goes_outside: GoesOutside) -> None:
    from gi.repository import WebKit2
    from webview.platforms.gtk import BrowserView

    view = BrowserView.instances[window.uid]

    def received(*arguments: Any) -> None:  # while the pointer comes in; the page's drop event then asks for it
        files = [uri for uri in arguments[4].get_uris() or () if uri.startswith("file:")]
        _dnd_state["paths"][:] = [("", unquote(urlsplit(uri).path)) for uri in files[:1]]

    def decide(_view: Any, decision: Any, _kind: Any) -> bool:
        if not isinstance(decision, WebKit2.NavigationPolicyDecision):
            return False
        action = decision.get_navigation_action()
        if action.get_frame_name() == "_blank":  # pywebview has opened it
            return False
        if not goes_outside(action.get_request().get_uri()):
            return False
        decision.ignore()
        return True

    def configured(widget: Any, _event: Any) -> bool:  # the event's own figures leave the frame out
        (x, y), (width, height) = widget.get_position(), widget.get_size()
        placed(x=x, y=y, width=width, height=height)
        return False

    crashes = itertools.count()

    def crashed(web: Any, _reason: Any) -> None:  # the page lives in a process of its own
        if next(crashes) < _RELOADS:
            web.reload()

    view.webview.get_context().connect("download-started", lambda _context, one: _ask_where_to(view, one))
    view.webview.connect("web-process-terminated", crashed)
    view.webview.connect("drag-data-received", received)
    view.webview.connect("decide-policy", decide)
    view.window.connect("configure-event", configured)


def _ask_where_to(view: Any, download: Any) -> None:
    """pywebview's own dialog fails where there is no download folder, and overwrites without a word."""
    from gi.repository import GLib, Gtk

    def decide(_download: Any, name: str) -> bool:
        words = view.localization
        save, cancel = (Gtk.STOCK_SAVE, Gtk.ResponseType.OK), (Gtk.STOCK_CANCEL, Gtk.ResponseType.CANCEL)
        dialog = Gtk.FileChooserDialog(
            title=words["global.saveFile"], transient_for=view.window, action=Gtk.FileChooserAction.SAVE
        )
        for button in (cancel, save):
            dialog.add_button(*button)
        dialog.set_do_overwrite_confirmation(True)
        folder = GLib.get_user_special_dir(GLib.UserDirectory.DIRECTORY_DOWNLOAD)
        dialog.set_current_folder(folder or GLib.get_home_dir())
        dialog.set_current_name(name)
        if dialog.run() == Gtk.ResponseType.OK:
            download.set_allow_overwrite(True)
            download.set_destination(GLib.filename_to_uri(dialog.get_filename()))
        else:
            download.cancel()
        dialog.destroy()
        return True

    download.connect("decide-destination", decide)


def _attach_qt(window: Any, goes_outside: GoesOutside) -> None:
    from qtpy.QtCore import QTimer
    from webview.platforms.qt import BrowserView

    view = BrowserView.instances[window.uid].webview
    crashes = itertools.count()

    def decide(request: Any) -> None:
        if request.isMainFrame() and goes_outside(request.url().toString()):
            request.reject()

    def crashed(*_: Any) -> None:
        if next(crashes) < _RELOADS:
            QTimer.singleShot(0, view.reload)

    view.page().navigationRequested.connect(decide)
    view.page().renderProcessTerminated.connect(crashed)
