"""What the page may ask of a window beside the operations: native dialogs, the file manager, dropped paths, the end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import webview

from bridge.app import App
from bridge.window.file_manager import show_in_folder
from bridge.window.js_api import Extra
from bridge.window.toolkits.gaps import Gaps
from engine.errors import Code, InvalidInput, NotFound
from engine.formats import SUFFIXES
from engine.paths import entered_path

_PICTURES = ";".join(f"*{suffix}" for suffix in sorted(SUFFIXES))


class WindowRequests:
    """Answers them for one window. ``gaps``: what knows it, once there is one."""

    def __init__(
        self,
        app: App,
        text: Callable[[str], str],
        gaps: Callable[[], Gaps],
        leave: Callable[[], None],
    ) -> None:
        self._app = app
        self._text = text
        self._gaps = gaps
        self._leave = leave
        self._picking = threading.Lock()

    def table(self) -> dict[str, Extra]:
        """By the names that the page calls."""
        return {
            "pick_folder": self._pick_folder,
            "pick_file": self._pick_file,
            "reveal": self._reveal,
            "dropped_path": lambda _: self._gaps().take_dropped(),
            "quit": lambda _: self._leave(),
        }

    def _pick_folder(self, params: dict[str, Any]) -> str | None:
        return self._pick(webview.FileDialog.FOLDER, params, ())

    def _pick_file(self, params: dict[str, Any]) -> str | None:
        return self._pick(webview.FileDialog.OPEN, params, (f"{self._text('window.pictures')} ({_PICTURES})",))

    def _pick(self, kind: Any, params: dict[str, Any], kinds: tuple[str, ...]) -> str | None:
        if not self._picking.acquire(blocking=False):  # one dialog at a time
            return None
        try:
            start = params.get("path")
            folder = nearest_folder(start if isinstance(start, str) else "")
            chosen = self._gaps().window.create_file_dialog(kind, directory=str(folder), file_types=kinds)
            return str(chosen[0]) if chosen and chosen[0] else None
        finally:
            self._picking.release()

    def _reveal(self, params: dict[str, Any]) -> bool:
        """Show a source, a saved result or the output folder; no other path is opened."""
        path = self._known_path(params)
        if not path.exists():
            raise NotFound(Code.SOURCE_MISSING, path=str(path))
        return show_in_folder(path)

    def _known_path(self, params: dict[str, Any]) -> Path:
        task_id, result_id, known = params.get("task_id"), params.get("result_id"), params.get("path")
        if isinstance(task_id, str) and isinstance(result_id, str):
            result = self._app.store.result(task_id, result_id)
            return Path(result.saved or self._app.cache.path(result.hash, result.extension))
        if isinstance(known, str) and self._app.store.knows_file(known):
            return Path(known)
        if isinstance(task_id, str):
            return Path(self._app.store.task(task_id).source_path)
        if self._app.preferences.plan.output_dir:
            return Path(self._app.preferences.plan.output_dir)
        raise InvalidInput(Code.OUTPUT_REQUIRED, field="output_dir")


def nearest_folder(path: str) -> Path:
    """Where a dialog begins: the folder, else the nearest one above it that is there, else the home folder."""
    try:
        wanted = Path(entered_path(path, "path") or Path.home())
    except InvalidInput:
        return Path.home()
    for folder in (wanted, *wanted.parents):
        if wanted.is_absolute() and folder.is_dir() and folder != Path(folder.anchor):
            return folder
    return Path.home()
