"""Files as Windows holds them: what is open is neither removed nor renamed, and a rename replaces nothing."""

from __future__ import annotations

import errno
import os
import stat
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import engine.files

_OPEN = Path("/proc/self/fd")


class _OsOfWindows:
    """``os`` as `engine.files` sees it: names are given by a rename, and folders are not synced."""

    name = "nt"

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


class HeldFiles:
    """Refuses as Windows does, through every function of ``os``, and keeps where that was. ``asked``: how often a file
    or folder was to be removed or renamed below ``folder``."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = f"{folder}{os.sep}"
        self.asked = 0
        self.refused: list[str] = []
        for name in ("unlink", "remove", "rmdir", "rename", "replace"):
            monkeypatch.setattr(os, name, self._held(name, getattr(os, name)))
        monkeypatch.setattr(engine.files, "os", _OsOfWindows())

    def _held(self, name: str, really: Callable[..., None]) -> Callable[..., None]:
        def act(path: Any, *more: Any, **options: Any) -> None:
            where = [_place(path, options.get("dir_fd", options.get("src_dir_fd")))]
            if name in ("rename", "replace"):
                where.append(_place(more[0], options.get("dst_dir_fd")))
                if name == "rename" and os.path.lexists(where[1]) and where[1].startswith(self._folder):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), where[0], None, where[1])
            if any(place.startswith(self._folder) for place in where):
                self.asked += 1
                if held := [place for place in where if _is_open(place)]:
                    self.refused.append(f"{name} {held}\n{''.join(traceback.format_stack(limit=8)[:-1])}")
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), held[0])
            really(path, *more, **options)

        return act


def _place(path: Any, folder: int | None) -> str:
    place = Path(os.fsdecode(path))
    return str((_OPEN / str(folder)).readlink() / place if folder is not None else Path.cwd() / place)


def _is_open(place: str) -> bool:
    """Whether this program has the file open, under any name, or a file below the folder."""
    try:
        here = os.lstat(place)
    except OSError:
        return False
    for descriptor in _OPEN.iterdir():
        try:
            other, name = descriptor.stat(), str(descriptor.readlink())
        except OSError:  # it was closed meanwhile
            continue
        if stat.S_ISREG(other.st_mode) and (
            (here.st_dev, here.st_ino) == (other.st_dev, other.st_ino) or name.startswith(place + os.sep)
        ):
            return True
    return False
