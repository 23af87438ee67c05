"""Pictures shown small: made once, upright, and kept as files up to a number of bytes; a cache that may be deleted."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from engine.errors import Code, PictureRejected, StorageFailed
from engine.files import clear_way, is_temporary, remove, remove_leftover, storage_failure, write_quickly
from engine.images.picture import HEAD_BYTES, sniff, with_path
from engine.images.pixels import encoded, rendered
from engine.images.serve_file import open_picture
from engine.upstream.cancel import CancelToken

SIZES: Final = (128, 256, 512, 1024)
"""Longest edges made, in pixels; a size asked for is rounded up to the next, so that few files serve all screens."""

_JPEG_QUALITY: Final = 82
_WEBP_QUALITY: Final = 80
_LARGEST_FILE: Final = 256 * 1024 * 1024
_SWEPT_TO: Final = 0.8


class Thumbnails:
    """The folder of small pictures. Safe to use from many threads."""

    def __init__(self, folder: Path, max_bytes: int, decoders: int | None = None) -> None:
        """``max_bytes``: what the folder may hold; ``decoders``: how many pictures are decoded at once, the number of
        processors when None."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._decoders = threading.BoundedSemaphore(decoders or os.cpu_count() or 1)
        self._lock = threading.Lock()
        clear_way(folder, folder=True)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise storage_failure(error, folder) from error
        self._bytes: int | None = None

    def get(self, path: Path, key: str, size: int) -> tuple[bytes, str]:
        """The picture at ``path`` no larger than the step above ``size``, and its MIME type.

        ``key`` names the state of the source (a hash; or path, size and time): another state needs another key.
        Opaque pictures come as JPEG, which is encoded several times faster than WebP or PNG; others as WebP, which
        keeps alpha. Raises InvalidInput (SOURCE_MISSING) or PictureRejected.
        """
        edge = next((step for step in SIZES if step >= size), SIZES[-1])
        target = self._target(key, edge)
        data = _read(target)
        if data is None:
            with self._decoders:
                # Another thread may have made it while this one waited.
                data = _read(target)
                if data is None:
                    data = make_thumbnail(path, edge)
                    self._keep(target, data)
        return data, sniff(data[:HEAD_BYTES]) or "image/jpeg"

    def sweep(self) -> int:
        """Remove the oldest files while they are too many, and what was left half written; returns the bytes left."""
        files = sorted(self._files())
        total = sum(size for _, size, _ in files)
        bound = self._max_bytes * _SWEPT_TO if total > self._max_bytes else total
        for _, size, path in files:
            if total <= bound:
                break
            remove(path)
            total -= size
        return total

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Time of making, size and path of each; leftovers are removed on the way."""
        for path in self._folder.glob("??/*"):
            try:
                status = path.stat()
            except OSError:
                continue
            if is_temporary(path.name):
                remove_leftover(path)
            else:
                yield status.st_mtime, status.st_size, path

    def _target(self, key: str, edge: int) -> Path:
        name = hashlib.sha256(f"{edge} {key}".encode("utf-8", "backslashreplace")).hexdigest()
        return self._folder / name[:2] / name[2:40]

    def _keep(self, target: Path, data: bytes) -> None:
        """Store it; a full or read-only disk only means that it is made again next time."""
        try:
            target.parent.mkdir(mode=0o700, exist_ok=True)
            write_quickly(target, data)
        except (OSError, StorageFailed):
            return
        with self._lock:
            if self._bytes is not None:
                self._bytes += len(data)
            if self._bytes is None or self._bytes > self._max_bytes:
                self._bytes = self.sweep()


def make_thumbnail(path: Path, edge: int, cancel: CancelToken | None = None) -> bytes:
    """An upright JPEG or WebP of at most ``edge`` × ``edge`` pixels. Raises like `Thumbnails.get`, and Stopped."""
    try:
        source = open_picture(path)
        with source.file as file:
            data = file.read(min(source.size, _LARGEST_FILE) + 1)
        if len(data) > _LARGEST_FILE:
            raise PictureRejected(Code.PICTURE_TOO_LARGE, limit=_LARGEST_FILE)
        return thumbnail_of(data, edge, cancel)
    except OSError as error:
        raise PictureRejected(Code.PICTURE_UNREADABLE, path=str(path), reason=error.strerror or "") from error
    except PictureRejected as error:
        raise with_path(error, str(path)) from error


def thumbnail_of(data: bytes, edge: int, cancel: CancelToken | None = None) -> bytes:
    """The same of a picture in memory. Raises PictureRejected, Stopped."""
    with rendered(data, longest=edge, cancel=cancel) as image:
        if image.mode == "RGBA":
            return encoded(image, "webp", _WEBP_QUALITY, quickly=True)
        return encoded(image, "jpg", _JPEG_QUALITY, quickly=True)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes() or None
    except OSError:
        return None
