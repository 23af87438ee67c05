"""Folders of this machine, for choosing one, with how many pictures seem to lie right in them; and the tables there."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from engine.errors import Code, InvalidInput
from engine.formats import SUFFIXES
from engine.paths import entered_path, natural_folder_key, natural_key, printable

_PICTURE_SUFFIXES = tuple(SUFFIXES)
_TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
_COUNTED = 20_000  # entries looked at in one folder; the number is a hint, not a promise


class Folder(msgspec.Struct, frozen=True):
    """A folder. ``pictures`` counts by name alone, so that browsing stays quick."""

    name: str
    path: str
    pictures: int


def list_folder(path: str) -> tuple[Folder, list[Folder]]:
    """A folder (the home folder for an empty path) and the folders in it, by name; hidden ones are left out."""
    place = entered_path(path, "path") or str(Path.home())
    try:
        with os.scandir(place) as entries:
            inside = sorted(
                (e.name for e in entries if not e.name.startswith((".", "$")) and e.is_dir()), key=natural_folder_key
            )
    except (FileNotFoundError, ValueError) as error:
        raise InvalidInput(Code.PATH_NOT_FOUND, field="path", path=printable(place)) from error
    except OSError as error:
        reason = error.strerror or ""
        raise InvalidInput(Code.PATH_UNREADABLE, field="path", path=printable(place), reason=reason) from error
    return _folder(place), [_folder(str(Path(place, name))) for name in inside]


def tables(path: str) -> list[str]:
    """Paths of the files in a folder that may be tables of prompts, by name; hidden ones are left out."""
    try:
        with os.scandir(path) as entries:
            names = [e.name for e in entries if e.name.lower().endswith(_TABLE_SUFFIXES) and e.is_file()]
    except OSError:
        return []
    return [printable(str(Path(path, name))) for name in sorted(names, key=natural_key) if not name.startswith(".")]


def roots() -> list[str]:
    """Places to start from: home and what usually lies in it, then the drives."""
    home = Path.home()
    usual = [home, *(home / name for name in ("Pictures", "图片", "Desktop", "桌面", "Downloads", "下载"))]
    return [str(place) for place in usual if place.is_dir()] + _drives()


def _drives() -> list[str]:
    if os.name != "nt":
        return [os.sep]
    letters = (f"{letter}:\\" for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return [drive for drive in letters if Path(drive).exists()]


def _folder(path: str) -> Folder:
    pictures = 0
    try:
        with os.scandir(path) as entries:
            for number, entry in enumerate(entries):
                if number >= _COUNTED:
                    break
                pictures += entry.name.lower().endswith(_PICTURE_SUFFIXES)
    except OSError:
        pictures = 0  # it can be seen but not opened; opening it says why
    return Folder(printable(Path(path).name or path), printable(path), pictures)
