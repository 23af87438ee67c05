"""What pywebview leaves open on GTK: drops, true place, links, downloads, a question with a title, crashed pages."""

from __future__ import annotations

import itertools
import queue
from typing import Any
from urllib.parse import unquote, urlsplit

from webview.platforms.gtk import BrowserView  # asks for the right versions of what follows

# isort: split
from gi.repository import GLib, Gtk, WebKit2

from bridge.window.toolkits.gaps import APP_ID, RELOADS, Gaps, GoesOutside, Placed


class GtkGaps(Gaps):
    """Fills them for one window."""

    counts_from_first_screen = True

    def __init__(self, window: Any, placed: Placed, goes_outside: GoesOutside) -> None:
        super().__init__(window, placed, goes_outside)
        GLib.set_prgname(APP_ID)  # else the task bar says launcher.py

    def attach(self) -> None:
        """On GTK's thread, when the window is made and not yet shown."""
        view = BrowserView.instances[self.window.uid]
        crashes = itertools.count()

        def decide(_view: Any, decision: Any, _kind: Any) -> bool:
            if not isinstance(decision, WebKit2.NavigationPolicyDecision):
                return False
            action = decision.get_navigation_action()
            if action.get_frame_name() == "_blank":  # pywebview has opened it
                return False
            if not self.goes_outside(action.get_request().get_uri()):
                return False
            decision.ignore()
            return True

        def configured(widget: Any, _event: Any) -> bool:  # the event's own figures leave the frame out
            (x, y), (width, height) = widget.get_position(), widget.get_size()
            self.placed(x=x, y=y, width=width, height=height)
            return False

        def crashed(page: Any, _reason: Any) -> None:  # the page lives in a process of its own
            if next(crashes) < RELOADS:
                page.load_uri(self.window.real_url)  # as at first: a reload comes without the page's cookie

        view.window.connect("configure-event", configured)
        view.webview.connect("decide-policy", decide)
        view.webview.connect("web-process-terminated", crashed)
        view.webview.connect("drag-data-received", self._received)
        view.webview.get_context().connect("download-started", self._download)

    def ask(self, title: str, question: str) -> bool:
        """Whether the person agrees. Not on GTK's thread."""
        answers: queue.Queue[bool] = queue.Queue()
        GLib.idle_add(lambda: answers.put(self._ask(title, question)))
        return answers.get()

    def dismiss_dialogs(self) -> None:
        """Cancel dialogs that are open: each has a loop of its own, which keeps the window's from ending."""

        def cancel() -> None:
            for one in Gtk.Window.list_toplevels():
                if isinstance(one, Gtk.Dialog):
                    one.response(Gtk.ResponseType.CANCEL)

        GLib.idle_add(cancel)

    def _received(self, *arguments: Any) -> None:
        """A drag's data comes while the pointer comes in; when the page sees the drop, it asks for it."""
        files = [uri for uri in arguments[4].get_uris() or () if uri.startswith("file:")]
        self.dropped[:] = [("", unquote(urlsplit(uri).path)) for uri in files]

    def _ask(self, title: str, question: str) -> bool:
        """pywebview's dialog has no title, and its buttons speak the system's language."""
        dialog = Gtk.MessageDialog(
            title=title,
            transient_for=self.window.native,
            modal=True,
            message_type=Gtk.MessageType.QUESTION,
            text=question,
        )
        for key, answer in (("global.cancel", Gtk.ResponseType.CANCEL), ("global.quit", Gtk.ResponseType.OK)):
            dialog.add_button(self.window.localization[key], answer)
        dialog.set_default_response(Gtk.ResponseType.CANCEL)
        agreed: bool = dialog.run() == Gtk.ResponseType.OK
        dialog.destroy()
        return agreed

    def _download(self, _context: Any, download: Any) -> None:
        """pywebview's own fails where there is no download folder, and overwrites without a word."""
        download.connect("decide-destination", self._ask_where_to)

    def _ask_where_to(self, download: Any, name: str) -> bool:
        dialog = Gtk.FileChooserDialog(
            title=self.window.localization["global.saveFile"],
            transient_for=self.window.native,
            action=Gtk.FileChooserAction.SAVE,
        )
        dialog.add_buttons(Gtk.STOCK_CANCEL, Gtk.ResponseType.CANCEL, Gtk.STOCK_SAVE, Gtk.ResponseType.OK)
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
