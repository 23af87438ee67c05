"""Result pictures as files named by the sha256 of their bytes: written whole or not at all, swept by reference, age and
size. One process at a time owns the folder."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import re
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from engine.errors import Code, Problem, StorageFailed
from engine.files import clear_way, damaged, remove, replace_durably, storage_failure, sync_folder, write_all

FRESH_SECONDS: Final = 300.0
"""A file this young may not be recorded anywhere yet: no sweep removes it. By the time of the file, which may be of an
earlier program, and by a clock that nobody sets: the system's may jump in the meantime."""

_INCOMING: Final = ".incoming"
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_EXTENSION: Final = re.compile(r"[a-z0-9]{1,8}")


class _Entry(msgspec.Struct, frozen=True):
    modified: float
    size: int
    path: str
    hash: str


class Cache:
    """The folder ``ab/cdef….ext`` of result pictures. Safe to use from many threads."""

    def __init__(self, folder: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Open the folder, made where it is missing; what an earlier run left half written is removed.

        ``problems``: what stood in the way and was quarantined.
        """
        self._folder = folder
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._fresh: dict[str, float] = {}  # hash → when it was put, the oldest first
        self._total: int | None = None  # bytes; None until they are counted
        self._incoming = folder / _INCOMING
        self._numbers = itertools.count()
        self.problems = clear_way(folder, folder=True) + clear_way(self._incoming, folder=True)
        try:
            self._incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep_incoming()
        except OSError as error:
            raise storage_failure(error, folder) from error

    def put(self, data: bytes, extension: str, announce: Callable[[str], None] = lambda _: None) -> str:
        """Keep these bytes; returns their sha256 in hex. They are on disk when this returns.

        ``announce`` gets the hash before the file has its name. Raises StorageFailed (DISK_FULL or STORAGE_FAILED);
        nothing half written is left then.
        """
        digest = hashlib.sha256(data).hexdigest()
        target = self.path(digest, extension)
        self._note(digest)
        announce(digest)
        if not self._holds(target, data):
            self._write(data, target)
            self._count(len(data))
        return digest

    def path(self, digest: str, extension: str) -> Path:
        """Where the picture of this hash lies, whether it is there or not."""
        if not _HASH.fullmatch(digest) or not _EXTENSION.fullmatch(extension):
            raise ValueError("not the name of a cached picture")
        return self._folder.joinpath(digest[:2], f"{digest[2:]}.{extension}")

    def has(self, digest: str, extension: str) -> bool:
        """Whether the picture of this hash is there."""
        return self.path(digest, extension).is_file()

    def read(self, digest: str, extension: str) -> bytes:
        """The bytes of this hash, checked against it.

        Raises StorageFailed: RESULT_FILE_MISSING, FILE_DAMAGED when they changed and were quarantined, STORAGE_FAILED.
        """
        target = self.path(digest, extension)
        try:
            data = target.read_bytes()
        except FileNotFoundError as error:
            raise StorageFailed(Code.RESULT_FILE_MISSING, path=str(target)) from error
        except OSError as error:
            raise storage_failure(error, target) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise StorageFailed(Code.FILE_DAMAGED, field=None, **damaged(target).params)
        return data

    def is_empty(self) -> bool:
        """Whether there is no picture at all."""
        return next(self._entries(), None) is None

    def check(self, digest: str, extension: str, size: int) -> list[Problem]:
        """Whether a picture is there in its size; one that is not what it should be is quarantined, and told."""
        target = self.path(digest, extension)
        try:
            status = target.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return [Problem(Code.RESULT_FILE_MISSING, {"path": str(target)})]
        except OSError:
            return []
        return [] if stat.S_ISREG(status.st_mode) and status.st_size == size else [damaged(target)]

    def remove(self, digest: str, extension: str) -> bool:
        """Remove a picture; False when it was not there. Raises StorageFailed."""
        target = self.path(digest, extension)
        try:
            size = target.lstat().st_size
            target.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise storage_failure(error, target) from error
        self._count(-size)
        return True

    def total_bytes(self) -> int:
        """Bytes of all pictures: counted once, then kept up to date."""
        if self._total is None:
            self._total = sum(entry.size for entry in self._entries())
        return self._total

    def sweep(
        self,
        keep: Callable[[str], bool],
        max_age_seconds: float,
        max_bytes: int,
        now: float,
        *,
        fresh_seconds: float = FRESH_SECONDS,
    ) -> int:
        """Remove pictures that ``keep`` (asked with the hash) does not hold: those older than ``max_age_seconds``, then
        the oldest until all files together have at most ``max_bytes``. ``now``: Unix seconds. Returns how many went.

        Referenced pictures stay even when they alone are too many; files that are not ours are not touched.
        """
        entries = sorted(self._entries(), key=lambda entry: entry.modified)
        total = sum(entry.size for entry in entries)
        self._total = total if self._total is None else self._total
        removed = 0
        for entry in entries:
            age = now - entry.modified
            if age < fresh_seconds or (age <= max_age_seconds and total <= max_bytes) or keep(entry.hash):
                continue
            with self._lock:  # so that whoever puts it now finds it whole, or gone
                if self._monotonic() - self._fresh.get(entry.hash, -math.inf) < fresh_seconds:
                    continue
                gone = remove(Path(entry.path))
            if gone:
                removed += 1
                total -= entry.size
                self._count(-entry.size)
        return removed

    def _count(self, change: int) -> None:
        with self._lock:
            if self._total is not None:
                self._total += change

    def _note(self, digest: str) -> None:
        """From now on the picture is fresh."""
        with self._lock:
            now = self._monotonic()
            self._fresh.pop(digest, None)
            self._fresh[digest] = now
            while now - self._fresh[first := next(iter(self._fresh))] >= FRESH_SECONDS:
                del self._fresh[first]

    def _holds(self, target: Path, data: bytes) -> bool:
        """Whether the file is there already; its time is renewed."""
        try:
            if target.stat().st_size != len(data) or target.read_bytes() != data:
                return False
            os.utime(target)
        except OSError:
            return False
        return True

    def _write(self, data: bytes, target: Path) -> None:
        temporary = self._incoming / str(next(self._numbers))
        try:
            try:
                self._write_file(temporary, data)
                _move(temporary, target)
            except BaseException:
                remove(temporary)
                raise
        except OSError as error:
            raise storage_failure(error, self._folder) from error

    def _write_file(self, path: Path, data: bytes) -> None:
        descriptor = self._create(path)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _create(self, path: Path) -> int:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            # Somebody removed the folder while the program runs: what was paid for still has to be kept.
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(path, flags, 0o600)

    def _entries(self) -> Iterator[_Entry]:
        for first in _scan(self._folder):
            if len(first.name) != 2 or not first.is_dir(follow_symlinks=False):
                continue
            for file in _scan(first.path):
                digest = first.name + file.name.partition(".")[0]
                if not _HASH.fullmatch(digest):
                    continue
                try:
                    status = file.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield _Entry(status.st_mtime, status.st_size, file.path, digest)

    def _sweep_incoming(self) -> None:
        for entry in _scan(self._incoming):
            remove(Path(entry.path))


def _scan(folder: str | os.PathLike[str]) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _move(temporary: Path, target: Path) -> None:
    """Give the finished file its name, durably; the folder is made at first use, what stands in the way quarantined."""
    try:
        replace_durably(temporary, target)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        clear_way(target.parent, folder=True)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(target.parent.parent)
        clear_way(target)
        replace_durably(temporary, target)
