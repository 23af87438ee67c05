"""Saved files made durable behind the answer: they are whole and named before, and the cache holds them until then."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

from engine.errors import StorageFailed
from engine.files import storage_failure, sync_names
from engine.paths import printable

_AHEAD: Final = 64  # of many files begun, one fsync carries several to the journal
_CLOSE_SECONDS: Final = 10.0  # the system goes on after the program's end
_OPEN: Final = os.O_RDWR if os.name == "nt" else os.O_RDONLY  # Windows syncs only what may be written


class Flusher:
    """Brings files to the disk, one save after another, in a thread of its own.

    ``on_failure`` gets what went wrong and the paths whose bytes may not be there, from that thread.
    """

    def __init__(self, on_failure: Callable[[StorageFailed, Sequence[str]], None]) -> None:
        self._on_failure = on_failure
        self._thread = ThreadPoolExecutor(1, "fsync")
        self._lock = threading.Lock()
        self._begun: list[Future[None]] = []
        self._closing = threading.Event()

    def begin(self, files: Sequence[str], folder: Path) -> None:
        """Bring these files of the folder to the disk; returns at once."""
        if not files:
            return
        with self._lock:
            self._begun = [save for save in self._begun if not save.done() or save.exception()]
            self._begun.append(self._thread.submit(self._flush, files, folder))

    def wait(self) -> None:
        """Return when all that was begun is on disk. StorageFailed where it is not; those who wait then get it, and
        nobody later."""
        with self._lock:
            begun = list(self._begun)
        concurrent.futures.wait(begun)
        with self._lock:
            self._begun = [save for save in self._begun if save not in begun]
        for save in begun:
            save.result()

    def close(self) -> None:
        """Wait a while, then leave the rest to the system."""
        with self._lock:
            concurrent.futures.wait(self._begun, _CLOSE_SECONDS)
        self._closing.set()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _flush(self, files: Sequence[str], folder: Path) -> None:
        failure: StorageFailed | None = None
        failed: list[str] = []
        for start in range(0, len(files), _AHEAD):
            with contextlib.ExitStack() as opened:
                for path, descriptor in [_begin_writing(path, opened) for path in files[start : start + _AHEAD]]:
                    if self._closing.is_set():
                        return
                    try:
                        if descriptor is not None:
                            os.fsync(descriptor)
                    except OSError as error:
                        failure = failure or storage_failure(error, printable(path))
                        failed.append(path)
        try:
            sync_names(folder)
        except StorageFailed as error:
            failure, failed = failure or error, list(files)
        if failure:
            self._on_failure(failure, failed)
            raise failure


def _begin_writing(path: str, opened: contextlib.ExitStack) -> tuple[str, int | None]:
    """Open a file and let the disk begin with it; None for one that its owner has moved or locked since."""
    try:
        descriptor = os.open(path, _OPEN)
    except OSError:
        return path, None
    opened.callback(os.close, descriptor)
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return path, descriptor
