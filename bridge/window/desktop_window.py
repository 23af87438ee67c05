"""The native window on the loopback server: opened, remembered, asked before it closes; its title and its menu."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec
import webview

from bridge.app import App
from bridge.http.server import Server
from bridge.paths import program_folder
from bridge.terminal.serve import open_browser
from bridge.window.js_api import make_js_api
from bridge.window.menu import make_menu
from bridge.window.native_requests import WindowRequests
from bridge.window.toolkits.choice import Toolkit, toolkit_environment
from bridge.window.toolkits.gaps import Gaps

_SHOWN_SECONDS = 10.0
_TITLE_SECONDS = 1.0
_END_SECONDS = 5.0
_MIN_SIZE = (900, 600)
_DEFAULT_SIZE = (1320, 860)
_GUI: Mapping[Toolkit, Any] = {Toolkit.GTK: "gtk", Toolkit.QT: "qt", Toolkit.NATIVE: None}
log = logging.getLogger(__name__)


class Place(msgspec.Struct, frozen=True):
    """Size and place of the window, in pixels of the desktop."""

    width: int = _DEFAULT_SIZE[0]
    height: int = _DEFAULT_SIZE[1]
    x: int | None = None
    y: int | None = None
    maximized: bool = False


class DesktopWindow:
    """One window. ``run()`` must be called on the main thread and returns when the window is gone."""

    def __init__(self, app: App, server: Server, toolkit: Toolkit, language: str) -> None:
        self._app = app
        self._server = server
        self._toolkit = toolkit
        self._fallback_language = language
        self._window: Any = None
        self._place = _remembered(app)
        self._confirmed = False
        self._asking = threading.Lock()
        self._gone = threading.Event()
        self._title_wanted = threading.Event()

    def run(self) -> None:
        """Show the window until it is closed."""
        os.environ.update(toolkit_environment(self._toolkit))
        webview.settings["ALLOW_DOWNLOADS"] = self._toolkit is Toolkit.NATIVE  # elsewhere they are ours
        self._window = self._make()
        forget = self._app.listen(self._title_wanted.set)
        for target in (self._keep_title, self._guard_start):
            threading.Thread(target=target, daemon=True).start()
        try:
            webview.start(
                gui=_GUI[self._toolkit],
                private_mode=False,  # else the page could keep nothing
                storage_path=str(self._app.folder / "webview"),
                menu=make_menu(
                    self._text,
                    lambda command: self._tell_page("menu", command),
                    {"quit": self._leave, "in-browser": lambda: open_browser(self._server.url)},
                ),
                localization=self._localization(),
                icon=str(program_folder("assets") / "icon.png"),
            )
        finally:
            self._gone.set()
            self._title_wanted.set()
            forget()
            self._app.preferences.merge_ui({"window": msgspec.to_builtins(self._place)})

    def show(self) -> bool:
        """Bring the window to the front; False when there is none."""
        if self._window is None or self._gone.is_set():
            return False
        self._window.restore()
        self._window.show()
        return True

    def close_now(self) -> None:
        """Close without asking: the system or the terminal wants the program to end. Not on the toolkit's thread."""
        self._confirmed = True
        if self._window is not None and self._window.events.shown.wait(_END_SECONDS):
            self._gaps.dismiss_dialogs()
            self._window.destroy()
        if not self._gone.wait(_END_SECONDS):
            log.error("the toolkit's loop does not end; leaving without it")
            self._app.close()
            logging.shutdown()
            os._exit(0)

    def _make(self) -> Any:
        place = self._place
        requests = WindowRequests(self._app, self._text, lambda: self._gaps, self._leave)
        window: Any = webview.create_window(
            self._title(),
            url=_in_window(self._server.url),
            js_api=make_js_api(self._app, self._fallback_language, requests.table()),
            width=max(place.width, _MIN_SIZE[0]),
            height=max(place.height, _MIN_SIZE[1]),
            x=place.x,
            y=place.y,
            maximized=place.maximized,
            min_size=_MIN_SIZE,
            text_select=True,
            zoomable=True,
            background_color="#f5f6f7",
        )
        self._gaps = _gaps_of(self._toolkit)(window, self._placed, self._goes_outside)
        events = window.events
        events.initialized += self._gaps.on_screen
        events.before_show += self._gaps.attach
        events.maximized += lambda: self._set_maximized(True)
        events.restored += lambda: self._set_maximized(False)
        events.closing += self._on_closing
        return window

    # --- the toolkit's thread ---

    def _placed(self, **changed: int) -> None:
        if not self._place.maximized:
            self._place = msgspec.structs.replace(self._place, **changed)

    def _set_maximized(self, maximized: bool) -> None:
        self._place = msgspec.structs.replace(self._place, maximized=maximized)

    def _goes_outside(self, url: str) -> bool:
        own, other = urlsplit(self._server.url), urlsplit(url)
        if (own.scheme, own.netloc) == (other.scheme, other.netloc) or other.scheme in ("about", "blob", "data"):
            return False
        if other.scheme in ("http", "https"):
            open_browser(url)
        return True  # a page from elsewhere would find the JS API

    def _on_closing(self) -> bool | None:
        info = self._app.batch.info()
        if self._confirmed or not (info.running or info.single_retries):
            return None
        # A dialog from here deadlocks: say no, ask from another thread, then destroy.
        threading.Thread(target=self._ask_to_close, daemon=True).start()
        return False

    # --- other threads ---

    def _leave(self) -> None:
        """What the window's own button does."""
        if self._on_closing() is None:
            self._confirmed = True
            self._window.destroy()

    def _ask_to_close(self) -> None:
        if not self._asking.acquire(blocking=False):
            return
        try:
            info = self._app.batch.info()
            waiting = max(0, info.total_in_run - info.finished_in_run - info.in_flight)
            question = self._text("window.close_question", in_flight=info.in_flight, waiting=waiting)
            if self._gaps.ask(self._text("window.title"), question):
                self._confirmed = True
                self._window.destroy()
        finally:
            self._asking.release()

    def _tell_page(self, name: str, detail: str) -> None:
        # ASCII only: GTK's pywebview counts characters where WebKit takes bytes. Waits for an answer, so never from
        # the toolkit's thread.
        script = f"dispatchEvent(new CustomEvent('console:{name}', {{detail: {json.dumps(detail)}}}))"
        threading.Thread(target=self._window.run_js, args=(script,), daemon=True).start()

    def _keep_title(self) -> None:
        """Progress in the title, at most once a second."""
        shown = self._title()
        self._window.events.shown.wait()
        while not self._gone.is_set():
            self._title_wanted.wait()
            self._title_wanted.clear()
            title = self._title()
            if title != shown:
                shown = title
                with contextlib.suppress(webview.errors.WebViewException, KeyError):  # closed meanwhile
                    self._window.set_title(title)
            self._gone.wait(_TITLE_SECONDS)

    def _title(self) -> str:
        info = self._app.batch.info()
        name = self._text("window.title") + (f" · {self._text('panel.demo.short')}" if self._app.demo else "")
        if not info.running or not info.total_in_run:
            return name
        return f"{info.finished_in_run}/{info.total_in_run} · {name}"

    def _guard_start(self) -> None:
        """A window that does not appear must not leave the person with nothing."""
        if not self._window.events.shown.wait(_SHOWN_SECONDS) and not self._gone.is_set():
            log.warning("window not shown within %s s; opening the browser", _SHOWN_SECONDS)
            open_browser(self._server.url)

    def _localization(self) -> dict[str, str]:
        """pywebview's own words, in the person's language."""
        catalogue = self._app.messages.catalogue(self._language)
        prefix = "pywebview."
        return {key[len(prefix) :]: text for key, text in catalogue.items() if key.startswith(prefix)}

    @property
    def _language(self) -> str:
        return str(self._app.preferences.ui.get("language", self._fallback_language))

    def _text(self, key: str, **params: int) -> str:
        return self._app.messages.text(self._language, key, **params)


def _gaps_of(toolkit: Toolkit) -> type[Gaps]:
    if toolkit is Toolkit.GTK:
        from bridge.window.toolkits.gtk import GtkGaps

        return GtkGaps
    if toolkit is Toolkit.QT:
        from bridge.window.toolkits.qt import QtGaps

        return QtGaps
    return Gaps


def _remembered(app: App) -> Place:
    try:
        return msgspec.convert(app.preferences.ui.get("window", {}), Place)
    except msgspec.ValidationError:
        return Place()


def _in_window(url: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}window=1"
