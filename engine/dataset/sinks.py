"""Where a set is written: a hidden folder or ZIP that gets its name when all of it is on disk, or goes away again."""

from __future__ import annotations

import contextlib
import os
import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from engine.errors import Code, StorageFailed
from engine.files import name_exclusively, remove_whole, storage_failure, sync_folder
from engine.paths import folded

_MOST_VERSIONS: Final = 10_000
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)  # the same set makes the same ZIP


class Sink(Protocol):
    """Takes files by relative path, in any order of folders; each path once."""

    def add(self, path: str, data: bytes) -> None:
        """Write a file."""

    def close(self) -> None:
        """All files are there: make them durable."""

    def abandon(self) -> None:
        """Let go of every file, whatever state it is in."""


class FolderSink:
    """Files in folders; every one of them is synced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = {folder}
        folder.mkdir()

    def add(self, path: str, data: bytes) -> None:
        """Write a file."""
        target = self._folder / path
        if target.parent not in self._made:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._made |= {target.parent, *(p for p in target.parents if self._folder in p.parents)}
        with target.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Make the names durable."""
        for folder in self._made:
            sync_folder(folder)

    def abandon(self) -> None:
        """Nothing: no file stays open."""


class ZipSink:
    """Files in one ZIP, stored as they are, with 64-bit sizes where needed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED, allowZip64=True)

    def add(self, path: str, data: bytes) -> None:
        """Write a file."""
        entry = zipfile.ZipInfo(path, _ZIP_TIME)
        entry.external_attr = 0o644 << 16
        self._zip.writestr(entry, data)

    def close(self) -> None:
        """Write the directory of the ZIP, and make it durable."""
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Let go of the file, whatever state it is in."""
        self._zip.fp = None  # or its end would try to write the directory
        with contextlib.suppress(OSError):
            self._file.close()


class ArchivesSink:
    """A folder with a ZIP for each side; what stands in neither side lies beside them."""

    def __init__(self, folder: Path, prefixes: tuple[str, ...]) -> None:
        self._plain = FolderSink(folder)
        self._zips = {prefix: ZipSink(folder / f"{prefix.rstrip('/')}.zip") for prefix in prefixes}

    def add(self, path: str, data: bytes) -> None:
        """Write a file into its side's ZIP, at its top."""
        for prefix, archive in self._zips.items():
            if path.startswith(prefix):
                archive.add(path.removeprefix(prefix), data)
                return
        self._plain.add(path, data)

    def close(self) -> None:
        """Make all of it durable."""
        for archive in self._zips.values():
            archive.close()
        self._plain.close()

    def abandon(self) -> None:
        """Let go of the ZIPs."""
        for archive in self._zips.values():
            archive.abandon()


def next_version(folder: Path, name: str) -> str:
    """``name_v001``, or the first number above all that are there, as a folder or ZIP."""
    taken = {folded(path.name.removesuffix(".zip")) for path in folder.iterdir()}
    for number in range(1, _MOST_VERSIONS):
        candidate = f"{name}_v{number:03}"
        if folded(candidate) not in taken:
            return candidate
    raise StorageFailed(Code.STORAGE_FAILED, path=str(folder / name), reason=f"{_MOST_VERSIONS} versions")


@contextlib.contextmanager
def new_set(folder: Path, name: str, *, as_zip: bool, archives: tuple[str, ...] = ()) -> Iterator[tuple[Sink, Path]]:
    """A sink, and where its content will lie once the block has ended well; otherwise nothing stays.

    Raises StorageFailed (DISK_FULL, STORAGE_FAILED) for whatever the disk refuses inside.
    """
    version = next_version(folder, name)
    target = folder / (f"{version}.zip" if as_zip and not archives else version)
    temporary = folder / f".{version}.{secrets.token_hex(4)}.partial"
    try:
        sink = _sink_at(temporary, as_zip, archives)
        try:
            yield sink, target
            sink.close()
        except BaseException:
            sink.abandon()
            raise
        name_exclusively(temporary, target)
        sync_folder(folder)
    except OSError as error:
        raise storage_failure(error, target) from error
    finally:
        remove_whole(temporary)  # of a ZIP that has its name, the other name


def _sink_at(path: Path, as_zip: bool, archives: tuple[str, ...]) -> Sink:
    if archives:
        return ArchivesSink(path, archives)
    return ZipSink(path) if as_zip else FolderSink(path)
