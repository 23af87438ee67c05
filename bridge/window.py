"""The native window on the loopback server: opened, remembered, asked before it closes; dialogs, drops, menu, title."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec
import webview
from webview.dom import _dnd_state  # dropped paths; its public way to them evaluates text, which our CSP forbids
from webview.menu import Menu, MenuAction, MenuSeparator

from bridge.console import Console
from bridge.js_api import make_js_api
from bridge.native import show_in_folder
from bridge.paths import program_folder
from bridge.serve import open_browser
from bridge.server import Server
from bridge.toolkits import Toolkit, toolkit_environment
from engine.errors import Code, InvalidInput, NotFound

_SHOWN_SECONDS = 10.0
_TITLE_SECONDS = 1.0
_MIN_SIZE = (900, 600)
_DEFAULT_SIZE = (1320, 860)
MenuItems = list[Menu | MenuAction | MenuSeparator]
_GUI: dict[Toolkit, Any] = {Toolkit.GTK: "gtk", Toolkit.QT: "qt", Toolkit.NATIVE: None}
log = logging.getLogger(__name__)


class Place(msgspec.Struct, frozen=True):
    """Size and place of the window, in pixels of the desktop."""

    width: int = _DEFAULT_SIZE[0]
    height: int = _DEFAULT_SIZE[1]
    x: int | None = None
    y: int | None = None


class DesktopWindow:
    """One window. ``run()`` must be called on the main thread and returns when the window is gone."""

    def __init__(self, console: Console, server: Server, toolkit: Toolkit, language: str) -> None:
        self._console = console
        self._server = server
        self._toolkit = toolkit
        self._language = str(console.preferences.ui.get("language", language))
        self._window: Any = None
        self._place = _remembered(console)
        self._confirmed = False
        self._asking = threading.Lock()
        self._gone = threading.Event()
        self._title_wanted = threading.Event()

    def run(self) -> None:
        """Show the window until it is closed."""
        os.environ.update(toolkit_environment(self._toolkit))
        webview.settings["ALLOW_DOWNLOADS"] = True
        place = self._place
        self._window = webview.create_window(
            self._text("window.title"),
            url=_in_window(self._server.url),
            js_api=make_js_api(
                self._console,
                self._language,
                {
                    "pick_folder": self._pick_folder,
                    "pick_file": self._pick_file,
                    "reveal": self._reveal,
                    "dropped_path": self._dropped_path,
                },
            ),
            width=max(place.width, _MIN_SIZE[0]),
            height=max(place.height, _MIN_SIZE[1]),
            x=place.x,
            y=place.y,
            min_size=_MIN_SIZE,
            text_select=True,
            zoomable=True,
            background_color="#f5f6f7",
        )
        # pywebview wraps what it runs in eval(), which the page's CSP forbids; plain statements need none.
        self._window.evaluate_js = lambda script, **_: self._window.run_js(script)
        _dnd_state["num_listeners"] = 0 if self._toolkit is Toolkit.GTK else 1
        events = self._window.events
        events.closing += self._on_closing
        events.resized += self._on_resized
        events.moved += self._on_moved
        events.loaded += self._on_loaded
        forget = self._console.listen(self._title_wanted.set)
        helpers = [threading.Thread(target=target, daemon=True) for target in (self._keep_title, self._guard_start)]
        for helper in helpers:
            helper.start()
        try:
            webview.start(
                gui=_GUI[self._toolkit],
                private_mode=False,
                storage_path=str(self._console.folder / "webview"),
                menu=self._menu(),
                localization=self._localization(),
                icon=str(program_folder("assets") / "icon.png"),
            )
        finally:
            self._gone.set()
            self._title_wanted.set()
            forget()
            self._console.preferences.merge_ui({"window": msgspec.to_builtins(self._place)})

    def show(self) -> bool:
        """Bring the window to the front; False when there is none yet."""
        if self._window is None or self._gone.is_set():
            return False
        self._window.restore()
        self._window.show()
        return True

    def close_now(self) -> None:
        """Close without asking: the system or the terminal wants the program to end."""
        self._confirmed = True
        if self._window is not None and not self._gone.is_set():
            self._window.destroy()

    # --- what the page may ask of a window ---

    def _pick_folder(self, params: dict[str, Any]) -> str | None:
        return self._pick(webview.FileDialog.FOLDER, params, ())

    def _pick_file(self, params: dict[str, Any]) -> str | None:
        pictures = self._text("window.pictures")
        kinds = (f"{pictures} (*.png;*.jpg;*.jpeg;*.webp;*.bmp;*.gif;*.tif;*.tiff;*.avif)",)
        return self._pick(webview.FileDialog.OPEN, params, kinds)

    def _pick(self, kind: Any, params: dict[str, Any], kinds: tuple[str, ...]) -> str | None:
        start = params.get("path")
        folder = start if isinstance(start, str) and Path(start).is_dir() else ""
        chosen = self._window.create_file_dialog(kind, directory=folder, file_types=kinds)
        return str(chosen[0]) if chosen else None

    def _reveal(self, params: dict[str, Any]) -> bool:
        """Show a source, a saved result or the output folder; no other path is opened."""
        task_id, result_id, known = params.get("task_id"), params.get("result_id"), params.get("path")
        if isinstance(task_id, str) and isinstance(result_id, str):
            result = self._console.store.result(task_id, result_id)
            path = Path(result.saved or self._console.cache.path(result.hash, result.extension))
        elif isinstance(known, str) and self._console.store.knows_file(known):
            path = Path(known)
        elif isinstance(task_id, str):
            path = Path(self._console.store.task(task_id).source_path)
        elif self._console.preferences.plan.output_dir:
            path = Path(self._console.preferences.plan.output_dir)
        else:
            raise InvalidInput(Code.OUTPUT_REQUIRED, field="output_dir")
        if not path.exists():
            raise NotFound(Code.SOURCE_MISSING, path=str(path))
        return show_in_folder(path)

    # --- events of the window; the toolkit's thread ---

    def _on_closing(self) -> bool | None:
        info = self._console.batch.info()
        if self._confirmed or not (info.running or info.single_retries):
            return None
        # A dialog from here deadlocks: say no, ask from another thread, then destroy.
        threading.Thread(target=self._ask_to_close, args=(info.in_flight,), daemon=True).start()
        return False

    def _ask_to_close(self, in_flight: int) -> None:
        if not self._asking.acquire(blocking=False):
            return
        try:
            question = self._console.messages.text(self._language, "window.close_question", in_flight=in_flight)
            if self._window.create_confirmation_dialog(self._text("window.title"), question):
                self._confirmed = True
                self._window.destroy()
        finally:
            self._asking.release()

    def _on_resized(self, width: float, height: float) -> None:
        self._place = msgspec.structs.replace(self._place, width=int(width), height=int(height))

    def _on_moved(self, x: float, y: float) -> None:
        self._place = msgspec.structs.replace(self._place, x=int(x), y=int(y))

    def _on_loaded(self) -> None:
        if self._toolkit is Toolkit.GTK:
            _listen_for_gtk_drops(self._window, self._dropped)

    def _dropped(self, path: str) -> None:
        self._tell_page("path", path)

    def _dropped_path(self, _: dict[str, Any]) -> str | None:
        """What was dropped last, where the toolkit notes it while the page gets its event (all but GTK)."""
        noted: Any = _dnd_state["paths"]
        path = unquote(noted[-1][1]) if noted else None
        noted.clear()
        return path

    def _tell_page(self, name: str, detail: str) -> None:
        """Dispatch an event to the page, from a thread of its own: evaluate_js must not run in the toolkit's."""
        script = f"window.dispatchEvent(new CustomEvent('console:{name}', {{detail: {_js(detail)}}}))"
        threading.Thread(target=self._window.run_js, args=(script,), daemon=True).start()

    # --- around it ---

    def _keep_title(self) -> None:
        """Progress in the title, at most once a second."""
        shown = ""
        while not self._gone.is_set():
            self._title_wanted.wait()
            self._title_wanted.clear()
            title = self._title()
            if title != shown and self._window.events.shown.is_set():
                shown = title
                with contextlib.suppress(webview.errors.WebViewException, KeyError):
                    self._window.set_title(title)
            self._gone.wait(_TITLE_SECONDS)

    def _title(self) -> str:
        info = self._console.batch.info()
        name = self._text("window.title") + (f" · {self._text('panel.demo.short')}" if self._console.demo else "")
        if not info.running or not info.total_in_run:
            return name
        return f"{info.finished_in_run}/{info.total_in_run} · {name}"

    def _guard_start(self) -> None:
        """A window that does not appear must not leave the person with nothing."""
        if not self._window.events.shown.wait(_SHOWN_SECONDS) and not self._gone.is_set():
            log.warning("window not shown within %s s; opening the browser", _SHOWN_SECONDS)
            open_browser(self._server.url)

    def _menu(self) -> list[Menu]:
        def act(key: str, name: str) -> MenuAction:
            return MenuAction(self._text(key), lambda: self._tell_page("menu", name))

        def close() -> None:
            threading.Thread(target=self._close_by_menu, daemon=True).start()

        file: MenuItems = [
            act("window.menu.choose_folder", "choose-folder"),
            act("window.menu.save_all", "save-all"),
            MenuSeparator(),
            MenuAction(self._text("window.menu.quit"), close),
        ]
        run: MenuItems = [
            act("window.menu.start", "start"),
            act("window.menu.stop", "stop"),
            act("window.menu.resume", "resume"),
            act("window.menu.retry_failed", "retry-failed"),
        ]
        look: MenuItems = [
            act("window.menu.review", "review"),
            act("window.menu.zoom_in", "zoom-in"),
            act("window.menu.zoom_out", "zoom-out"),
            act("window.menu.zoom_reset", "zoom-reset"),
        ]
        help_items: MenuItems = [
            act("window.menu.keys", "keys"),
            MenuAction(self._text("window.menu.in_browser"), lambda: open_browser(self._server.url) and None),
        ]
        return [
            Menu(self._text("window.menu.file"), file),
            Menu(self._text("window.menu.run"), run),
            Menu(self._text("window.menu.view"), look),
            Menu(self._text("window.menu.help"), help_items),
        ]

    def _close_by_menu(self) -> None:
        if self._on_closing() is None:
            self._confirmed = True
            self._window.destroy()

    def _localization(self) -> dict[str, str]:
        """pywebview's own words, in the person's language."""
        catalogue = self._console.messages.catalogue(self._language)
        prefix = "pywebview."
        return {key[len(prefix) :]: text for key, text in catalogue.items() if key.startswith(prefix)}

    def _text(self, key: str) -> str:
        return self._console.messages.text(self._language, key)


def _remembered(console: Console) -> Place:
    try:
        return msgspec.convert(console.preferences.ui.get("window", {}), Place)
    except msgspec.ValidationError:
        return Place()


def _in_window(url: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}window=1"


def _js(text: str) -> str:
    return msgspec.json.encode(text).decode().replace("<", "\\u003c")


def _listen_for_gtk_drops(window: Any, dropped: Callable[[str], None]) -> None:
    """On GTK the page's drop event names no paths; the widget's signal does."""
    from gi.repository import GLib
    from webview.platforms.gtk import BrowserView

    def received(*arguments: Any) -> None:
        uris = arguments[4].get_uris()
        if uris and uris[0].startswith("file:"):
            dropped(unquote(urlsplit(uris[0]).path))

    view = BrowserView.instances[window.uid].webview
    GLib.idle_add(lambda: view.connect("drag-data-received", received) and False)
