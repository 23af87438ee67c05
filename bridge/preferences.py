"""What the program remembers between starts, in state.json: current configuration, save rule, page settings."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec

from engine.config import ApiConfig, loses, parse_stored
from engine.dataset.naming import SaveRule
from engine.files import keep_copy, read_json, write_json
from engine.keystore import FileKeyStore, KeyStore, is_moved, wipe
from engine.secrets import find

_CURRENT = "current"
_FOLDERS = "source_folders"
_FOLDERS_KEPT = 200
OF_A_PROJECT = frozenset(
    {"input_path", "output_dir", "plan", "draft", "set_form", "thresholds", "allow", "columns", "trial", "sort"}
)
"""Settings of the page that are a project's; the others are shared."""


class SavePlan(msgspec.Struct, frozen=True):
    """The save rule that the person uses, and where to."""

    rule: SaveRule = SaveRule()
    output_dir: str = ""


class Preferences:
    """state.json in memory and on disk; each change is written before the call returns.

    With ``project``, a second file of the same form, prompt, save rule and `OF_A_PROJECT` are kept in that one.
    """

    def __init__(self, path: Path, project: Path | None = None, keys: KeyStore | None = None) -> None:
        keys = keys or FileKeyStore()
        self._lock = threading.Lock()
        self._shared = _StateFile(path, keys)
        self._own = self._shared if project is None else _StateFile(project, keys.for_runs())
        self.stored = self._shared.stored
        self.problems = [*self._shared.problems, *(self._own.problems if project is not None else [])]

    @property
    def config(self) -> ApiConfig:
        """The current configuration, key included."""
        own = self._own.config
        return msgspec.structs.replace(
            self._shared.config, user_prompt=own.user_prompt, system_prompt=own.system_prompt
        )

    @property
    def plan(self) -> SavePlan:
        """The current save rule."""
        return self._own.plan

    @property
    def ui(self) -> dict[str, Any]:
        """What the page wants kept: language, theme, recent paths, window place; of the project: folder, options."""
        if self._own is self._shared:
            return dict(self._shared.ui)
        shared = {key: value for key, value in self._shared.ui.items() if key not in OF_A_PROJECT}
        return shared | {key: value for key, value in self._own.ui.items() if key in OF_A_PROJECT}

    def set_config(self, config: ApiConfig) -> None:
        """Make this the current configuration."""
        with self._lock:
            if self._own is self._shared:
                self._shared.write(config=config)
                return
            first = self._shared.config  # whose prompts stay its own
            prompts = {"user_prompt": config.user_prompt, "system_prompt": config.system_prompt}
            self._own.write(config=msgspec.structs.replace(self._own.config, **prompts))
            prompts = {"user_prompt": first.user_prompt, "system_prompt": first.system_prompt}
            self._shared.write(config=msgspec.structs.replace(config, **prompts))

    def set_plan(self, plan: SavePlan) -> None:
        """Make this the current save rule."""
        with self._lock:
            self._own.write(plan=plan)

    def merge_ui(self, settings: dict[str, Any]) -> None:
        """Take page settings in; null removes one."""
        with self._lock:
            own = {key: value for key, value in settings.items() if key in OF_A_PROJECT}
            self._own.write(ui=_merged(self._own.ui, own))
            shared = {key: value for key, value in settings.items() if key not in OF_A_PROJECT}
            self._shared.write(ui=_merged(self._shared.ui, shared))

    @property
    def source_folders(self) -> list[str]:
        """Folders that were sent, the latest first: a set in one of them would be sent as well."""
        kept = self._shared.ui.get(_FOLDERS, [])
        return [one for one in kept if isinstance(one, str)] if isinstance(kept, list) else []

    def note_source_folder(self, folder: str) -> None:
        """Remember a folder that is sent."""
        kept = [folder, *(one for one in self.source_folders if one != folder)]
        self.merge_ui({_FOLDERS: kept[:_FOLDERS_KEPT]})

    def move_keys(self) -> None:
        """What an older version wrote into the files goes into the key store."""
        with self._lock:
            for file in {self._shared, self._own}:
                file.move_keys()

    def rewrite(self) -> None:
        """Write the file anew with nothing but what this program keeps."""
        with self._lock:
            self._shared.write(anew=True)


class _StateFile:
    """One such file."""

    def __init__(self, path: Path, keys: KeyStore) -> None:
        self._path = path
        self._keys = keys
        self.stored, self.problems = read_json(path)
        parts = {name: self.stored.get(name) for name in ("current_config", "save", "ui")}
        parts = {name: {} if part is None else part for name, part in parts.items()}
        self.config, warnings = parse_stored(keys.complete(_CURRENT, _object(parts["current_config"])))
        self.problems = [*self.problems, *warnings]
        plan = _read_plan(_object(parts["save"]))
        self.plan = plan or SavePlan()  # a rule is quickly chosen again; better than not starting
        self.ui = _object(parts["ui"])
        if plan is None or loses(warnings) or not all(isinstance(part, dict) for part in parts.values()):
            self.problems = [*self.problems, *keep_copy(path)]

    def write(
        self,
        *,
        config: ApiConfig | None = None,
        plan: SavePlan | None = None,
        ui: dict[str, Any] | None = None,
        anew: bool = False,
    ) -> None:
        """Change parts; nothing is written where nothing changes, unless it is to be written anew."""
        config = self.config if config is None else config
        plan = self.plan if plan is None else plan
        ui = self.ui if ui is None else ui
        if anew or (config, plan, ui) != (self.config, self.plan, self.ui):
            written = self._keys.put_away(_CURRENT, msgspec.to_builtins(config))
            write_json(self._path, {"current_config": written, "save": plan, "ui": ui})
            self.config, self.plan, self.ui = config, plan, ui

    def move_keys(self) -> None:
        """See `Preferences.move_keys`."""
        raw = _object(self.stored.get("current_config"))
        if is_moved(self._keys, _CURRENT, raw):
            wipe(self._path, find(raw))
            self.write(anew=True)


def begin_project(path: Path, like: Preferences, input_path: str) -> None:
    """The preferences of a new project: prompt and save rule as they are now, its own folder of pictures."""
    prompts = {"user_prompt": like.config.user_prompt, "system_prompt": like.config.system_prompt}
    ui = {"input_path": input_path} if input_path else {}
    rule = SavePlan(like.plan.rule)
    write_json(path, {"current_config": prompts, "save": rule, "ui": ui})


def _merged(before: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**before, **changes}.items() if value is not None}


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read_plan(data: dict[str, Any]) -> SavePlan | None:
    try:
        return msgspec.convert(data, SavePlan)
    except msgspec.ValidationError:
        return None
