"""A journal of pictures as they arrive, so that a killed program need not ask again for what is on its disk already."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.errors import Problem, StorageFailed
from engine.files import clear_way, damaged, replace
from engine.images.cache import Cache
from engine.models import EditOutcome, StoredImage, TaskStatus

_MOST_BYTES = 8 * 1024 * 1024  # then the file before it is given up: its tasks were finished long ago
log = logging.getLogger(__name__)


class Begun(msgspec.Struct, frozen=True, tag="begun"):
    """A task is asked for; what arrived for it before is over. Provenance as the outcome will have it."""

    task_id: str
    source_hash: str
    source_size: int
    request_record: str = msgspec.field(name="asked")  # journals of earlier versions have this name


class Arrived(msgspec.Struct, frozen=True, tag="arrived"):
    """A picture that goes into the cache now, the ``number``-th of ``of`` in its answer; ``of`` 0: more was lost."""

    task_id: str
    number: int
    of: int
    image: StoredImage


class Arrivals:
    """The journal. Written without waiting for the disk: it outlives the process, not a power cut. Thread-safe.

    A fault of the journal never costs an answer: it is logged and done without.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = path.with_name(f"{path.name}.before")
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._bytes = 0
        self.problems: list[Problem] = [*clear_way(path), *clear_way(self._before)]
        """What was found damaged and was quarantined."""

    def close(self) -> None:
        """Let go of the file."""
        with self._lock, contextlib.suppress(OSError):
            self._close()

    def note(self, entry: Begun | Arrived) -> None:
        """Append one line."""
        line = msgspec.json.encode(entry) + b"\n"
        with self._lock:
            try:
                os.write(self._open(len(line)), line)
            except OSError:
                log.warning("arrival not noted", exc_info=True)

    def outcomes(self, cache: Cache) -> list[EditOutcome]:
        """What each task had got when the journal ended, of pictures that are whole in the cache.

        DONE where all that its answer named is there, else STOPPED.
        """
        begun: dict[str, Begun] = {}
        arrived: dict[str, dict[int, Arrived]] = {}
        for entry in self._entries():
            if isinstance(entry, Begun):
                begun[entry.task_id] = entry
                arrived[entry.task_id] = {}
            elif entry.task_id in begun and _is_there(entry.image, cache):
                arrived[entry.task_id][entry.number] = entry
        return [_outcome(begun[task_id], list(entries.values())) for task_id, entries in arrived.items() if entries]

    def clear(self) -> None:
        """Begin anew: all is known elsewhere."""
        with self._lock:
            for path in (self._path, self._before):
                with contextlib.suppress(OSError):
                    self._close()
                    path.unlink(missing_ok=True)

    def _open(self, room: int) -> int:
        if self._descriptor is not None and self._bytes + room > _MOST_BYTES:
            self._close()
            replace(self._path, self._before)
        if self._descriptor is None:
            flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
            self._descriptor = os.open(self._path, flags, 0o600)
            self._bytes = os.fstat(self._descriptor).st_size
        self._bytes += room
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def _quarantine(self, path: Path) -> None:
        """Else it would be deleted when the journal begins anew; a disk that refuses this must not end the start."""
        try:
            self.problems.append(damaged(path))
        except StorageFailed:
            log.warning("journal not readable", exc_info=True)

    def _entries(self) -> Iterator[Begun | Arrived]:
        decoder = msgspec.json.Decoder(Begun | Arrived)
        for path in (self._before, self._path):
            try:
                lines = path.read_bytes().split(b"\n")
            except FileNotFoundError:
                continue
            except OSError:
                self._quarantine(path)
                continue
            for line in lines:
                with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # cut off or damaged
                    yield decoder.decode(line)


def _is_there(image: StoredImage, cache: Cache) -> bool:
    try:
        return cache.path(image.hash, image.info.extension).stat().st_size == image.size
    except (OSError, ValueError):
        return False


def _outcome(begun: Begun, entries: list[Arrived]) -> EditOutcome:
    whole = len(entries) == entries[0].of
    images = {entry.image.hash: entry.image for entry in entries}
    return EditOutcome(
        task_id=begun.task_id,
        status=TaskStatus.DONE if whole else TaskStatus.STOPPED,
        images=list(images.values()),
        attempts=1,
        source_hash=begun.source_hash,
        source_size=begun.source_size,
        request_record=begun.request_record,
    )
