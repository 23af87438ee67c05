"""What the program remembers between starts, in state.json: current configuration, save rule, page settings."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec

from engine.config import ApiConfig, loses, parse_stored
from engine.dataset.naming import SaveRule
from engine.files import keep_copy, read_json, write_json

_FOLDERS = "source_folders"
_FOLDERS_KEPT = 200


class SavePlan(msgspec.Struct, frozen=True):
    """The save rule that the person uses, and where to."""

    rule: SaveRule = SaveRule()
    output_dir: str = ""


class Preferences:
    """state.json in memory and on disk; each change is written before the call returns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self.stored, self.problems = read_json(path)
        parts = {name: self.stored.get(name) for name in ("current_config", "save", "ui")}
        parts = {name: {} if part is None else part for name, part in parts.items()}
        self._config, warnings = parse_stored(_object(parts["current_config"]))
        self.problems = [*self.problems, *warnings]
        plan = _read_plan(_object(parts["save"]))
        self._plan = plan or SavePlan()  # a rule is quickly chosen again; better than not starting
        self._ui = _object(parts["ui"])
        if plan is None or loses(warnings) or not all(isinstance(part, dict) for part in parts.values()):
            self.problems = [*self.problems, *keep_copy(path)]

    @property
    def config(self) -> ApiConfig:
        """The current configuration, key included."""
        return self._config

    @property
    def plan(self) -> SavePlan:
        """The current save rule."""
        return self._plan

    @property
    def ui(self) -> dict[str, Any]:
        """What the page wants kept: language, theme, recent paths, window place."""
        return dict(self._ui)

    def set_config(self, config: ApiConfig) -> None:
        """Make this the current configuration."""
        with self._lock:
            if config != self._config:
                self._write(config, self._plan, self._ui)

    def set_plan(self, plan: SavePlan) -> None:
        """Make this the current save rule."""
        with self._lock:
            if plan != self._plan:
                self._write(self._config, plan, self._ui)

    def merge_ui(self, settings: dict[str, Any]) -> None:
        """Take page settings in; null removes one."""
        with self._lock:
            merged = {key: value for key, value in {**self._ui, **settings}.items() if value is not None}
            if merged != self._ui:
                self._write(self._config, self._plan, merged)

    @property
    def source_folders(self) -> list[str]:
        """Folders that were sent, the latest first: a set in one of them would be sent as well."""
        kept = self._ui.get(_FOLDERS, [])
        return [one for one in kept if isinstance(one, str)] if isinstance(kept, list) else []

    def note_source_folder(self, folder: str) -> None:
        """Remember a folder that is sent."""
        kept = [folder, *(one for one in self.source_folders if one != folder)]
        self.merge_ui({_FOLDERS: kept[:_FOLDERS_KEPT]})

    def rewrite(self) -> None:
        """Write the file anew with nothing but what this program keeps."""
        with self._lock:
            self._write(self._config, self._plan, self._ui)

    def _write(self, config: ApiConfig, plan: SavePlan, ui: dict[str, Any]) -> None:
        write_json(self._path, {"current_config": config, "save": plan, "ui": ui})
        self._config, self._plan, self._ui = config, plan, ui


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read_plan(data: dict[str, Any]) -> SavePlan | None:
    try:
        return msgspec.convert(data, SavePlan)
    except msgspec.ValidationError:
        return None
