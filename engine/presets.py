"""Named configurations: kept in presets.json, exported without keys, imported without erasing any."""

from __future__ import annotations

import threading
import unicodedata
from pathlib import Path
from typing import Any

import msgspec

from engine.config import ApiConfig, describe, loses, parse_stored
from engine.errors import Code, InvalidInput, NotFound, Problem
from engine.files import keep_copy, read_json, without_mark, write_json
from engine.keys import borrow_secrets, without_placeholders
from engine.keystore import FileKeyStore, KeyStore, is_moved, wipe
from engine.secrets import find

MAX_NAME = 128
_JOINERS = "\u200c\u200d"  # within emoji and the words of some languages


class PresetBook:
    """The presets of one data folder; each change is on disk before the call returns."""

    def __init__(self, path: Path, keys: KeyStore = FileKeyStore()) -> None:  # noqa: B008 - it holds nothing
        self._path = path
        self._keys = keys
        self._lock = threading.Lock()
        stored, self.problems = read_json(path)
        entries = stored.get("presets", stored)  # the old tool's file was the bare mapping
        self._presets: dict[str, ApiConfig] = {}
        self._stored: dict[str, dict[str, Any]] = {}
        whole = isinstance(entries, dict)
        for name, raw in entries.items() if isinstance(entries, dict) else ():
            if not isinstance(raw, dict):
                whole = False
                continue
            self._presets[name], warnings = parse_stored(keys.complete(_entry(name), raw))
            self.problems += warnings
            self._stored[name] = raw
        if not whole or loses(self.problems):
            self.problems = [*self.problems, *keep_copy(path)]

    def all(self) -> dict[str, ApiConfig]:
        """A copy: name to configuration, keys included."""
        with self._lock:
            return dict(self._presets)

    def get(self, name: str) -> ApiConfig:
        """The preset of that name; NotFound otherwise."""
        with self._lock:
            return self._presets[self._known(name)]

    def put(self, name: str, config: ApiConfig) -> None:
        """Add or overwrite."""
        name = check_name(name)
        with self._lock:
            self._write({**self._presets, name: config})

    def remove(self, name: str) -> None:
        """Delete; NotFound if there is none."""
        with self._lock:
            known = self._known(name)
            self._write({key: value for key, value in self._presets.items() if key != known})
            self._keys.forget(_entry(known))

    def merge(self, imported: dict[str, ApiConfig], *others: ApiConfig) -> list[str]:
        """Take imported presets in; a masked or empty key is filled in from a stored configuration of the same origin.

        ``others``: stored configurations besides the presets. Answers the names that were left as they are, because
        their key would have been erased.
        """
        with self._lock:
            merged = dict(self._presets)
            left: list[str] = []
            for name, config in imported.items():
                stored = merged.get(name)
                filled = keep_key(config, stored, *others, *self._presets.values())
                if erases_key(filled, stored):
                    left.append(name)
                else:
                    merged[name] = filled
            self._write(merged)
        return left

    def move_keys(self) -> None:
        """What an older version wrote into the file goes into the key store."""
        with self._lock:
            moved = [raw for name, raw in self._stored.items() if is_moved(self._keys, _entry(name), raw)]
            if moved:
                wipe(self._path, find(moved))
                self._write(self._presets)
            self._stored = {}

    def secrets(self) -> list[str]:
        """All that are in use."""
        return [secret for config in self.all().values() for secret in config.secrets]

    def _known(self, name: str) -> str:
        """The name as it is kept: without the blanks around it that `put` takes off; NotFound if there is none."""
        for kept in (name, name.strip()):
            if kept in self._presets:
                return kept
        raise NotFound(Code.PRESET_UNKNOWN, name=name)

    def _write(self, presets: dict[str, ApiConfig]) -> None:
        written = {name: self._keys.put_away(_entry(name), msgspec.to_builtins(one)) for name, one in presets.items()}
        write_json(self._path, {"presets": written})
        self._presets = presets


def _entry(name: str) -> str:
    return f"preset/{name}"


def check_name(name: str) -> str:
    """A preset name: 1 to 128 characters without control characters."""
    name = name.strip()
    if not name:
        raise InvalidInput(Code.FIELD_REQUIRED, field="name", name="name")
    if len(name) > MAX_NAME or not all(map(_is_printable, name)):
        raise InvalidInput(Code.FIELD_TYPE, field="name", name="name", type="string")
    return name


def _is_printable(letter: str) -> bool:
    return letter.isprintable() or letter in _JOINERS or unicodedata.category(letter) == "Zs"


def keep_key(config: ApiConfig, *stored: ApiConfig | None) -> ApiConfig:
    """``config`` with its own secrets, else those of the first stored one of the same origin, else without them."""
    return without_placeholders(borrow_secrets(config, [other for other in stored if other is not None]))


def erases_key(config: ApiConfig, stored: ApiConfig | None) -> bool:
    """Whether putting ``config`` in the place of ``stored`` would lose a key."""
    return stored is not None and bool(stored.api_key) and not config.api_key


class PresetFile(msgspec.Struct, frozen=True):
    """What an export holds and an import takes. ``rubrics``: a person's own ones for the judge."""

    presets: dict[str, dict[str, Any]] = {}
    current_config: dict[str, Any] | None = None
    rubrics: list[dict[str, Any]] = []


def read_preset_file(data: bytes) -> tuple[dict[str, ApiConfig], ApiConfig | None, list[Problem]]:
    """Presets and current configuration of an exported file, numbers clamped; InvalidInput if it is none."""
    file = _decode(data)
    warnings: list[Problem] = []
    presets: dict[str, ApiConfig] = {}
    for name, raw in file.presets.items():
        presets[check_name(name)], found = parse_stored(raw)
        warnings += found
    current = None
    if file.current_config is not None:
        current, found = parse_stored(file.current_config)
        warnings += found
    if not presets and current is None:
        raise InvalidInput(Code.PRESET_FILE_INVALID, field="file")
    return presets, current, warnings


def rubrics_in(data: bytes) -> list[dict[str, Any]]:
    """The rubrics of an exported file, unread."""
    return _decode(data).rubrics


def _decode(data: bytes) -> PresetFile:
    """An export, or the presets.json of the old tool, which was the bare mapping of names to configurations."""
    try:
        raw = msgspec.json.decode(without_mark(data), type=dict[str, Any])
        if raw.keys() == {"file"} and isinstance(raw["file"], str):  # the upload's field, sent as JSON
            return _decode(raw["file"].encode())
        if raw.keys() & {"presets", "current_config"}:
            return msgspec.convert({name: part for name, part in raw.items() if part is not None}, PresetFile)
        mapping = msgspec.convert(raw, dict[str, dict[str, Any]])
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(Code.PRESET_FILE_INVALID, field="file") from error
    fields = {spec.name for spec in describe()}
    if not mapping or not all(config.keys() & fields for config in mapping.values()):
        raise InvalidInput(Code.PRESET_FILE_INVALID, field="file")
    return PresetFile(presets=mapping)
