"""Takes tasks and result files over from the state.json of the tool that came before, once."""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path, PureWindowsPath
from typing import Any

from engine.errors import Code, ConsoleError, Problem
from engine.images.cache import Cache
from engine.images.picture import check_picture
from engine.models import EditLimits, EditOutcome, SourceType, StoredImage, TaskMatch, TaskStatus
from engine.tasks.store import NewTask, Store

_KEPT_STATES = (TaskStatus.DONE, TaskStatus.PARTIAL_SUCCESS, TaskStatus.FAILED)
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_AFTER_NAME = re.compile(r"(_[0-9]{1,4})?(\.[A-Za-z0-9]{1,8})?")
"""What may follow a hash or id in the name of its file: which picture of several, and what kind of file."""
_MAX_WORDS = 2000
_NOT_ASKED_AGAIN = "old-state"  # as a fingerprint: no start ever asks for the same thing


def take_over(old: dict[str, Any], folder: Path, store: Store, cache: Cache, limits: EditLimits) -> list[Problem]:
    """Tasks of an old state.json become tasks of an empty store; result files found on disk go into the cache.

    Ids stay what they were. Answers how many came over, and how many result files were missing. A store with tasks of
    its own is left alone; one that an interrupted takeover left half full is filled anew.
    """
    entries = [entry for entry in _list(old.get("tasks")) if isinstance(entry, dict) and _text(entry, "source_path")]
    if not entries or any(task.fingerprint != _NOT_ASKED_AGAIN for task in store.tasks(TaskMatch())):
        return []
    store.clear()
    task_ids = _Ids()
    ids = store.add([_new_task(entry, task_ids) for entry in entries])
    files = _OldFiles(folder)
    lost = 0
    dropped: list[tuple[str, str, bool, bool]] = []
    result_ids = _Ids()
    for task_id, entry in zip(ids, entries, strict=True):
        images: list[StoredImage] = []
        names: dict[str, str] = {}
        for result in _list(entry.get("results")):
            image = _take_result(result, files, cache, limits) if isinstance(result, dict) else None
            if image is None:
                lost += 1
                continue
            images.append(image)
            names[image.hash] = result_ids.take(result)
            dropped.append((task_id, image.hash, _flag(result, "selected", True), _flag(result, "deleted", False)))
        store.finish(_outcome(task_id, entry, images), names)
    _mark(store, dropped)
    return [Problem(Code.OLD_STATE_TAKEN_OVER, {"tasks": len(ids), "missing": lost})]


class _Ids:
    """Ids of old, each given once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def take(self, entry: dict[str, Any]) -> str:
        """The entry's id; "" where it has none that can be kept."""
        old = entry.get("id")
        if not isinstance(old, str) or not _ID.fullmatch(old) or old in self._given:
            return ""
        self._given.add(old)
        return old


class _OldFiles:
    """The result files in the data folder of old, found by what an entry says of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        inside = (Path(place, name) for place, _, names in os.walk(self._folder / "cache") for name in names)
        self._cached = sorted((path.name, path) for path in inside)

    def of(self, result: dict[str, Any]) -> Iterator[Path]:
        """Files that an old result may mean: any text in it that names a file in the folder, then its hash or id.

        Nothing that is no plain file, and nothing outside of the folder, by whatever link.
        """
        for path in self._meant(result):
            try:
                real = path.resolve()
                if real.is_relative_to(self._folder) and real.is_file():
                    yield real
            except (OSError, ValueError, RuntimeError):
                continue  # a text that cannot be a path

    def _meant(self, result: dict[str, Any]) -> Iterator[Path]:
        texts = [value for value in result.values() if isinstance(value, str) and 0 < len(value) < 4096]
        for text in texts:
            yield self._folder / text
        for text in texts:  # the folder may have moved since
            yield from self._moved(PureWindowsPath(text).parts)
        for key in ("hash", "id"):
            name = result.get(key)
            if isinstance(name, str) and _ID.fullmatch(name):
                yield from self._named(name)
                for start in (name + ".", name + "_"):
                    yield from (path for found, path in self._from(start) if _AFTER_NAME.fullmatch(found, len(name)))

    def _moved(self, parts: tuple[str, ...]) -> Iterator[Path]:
        """The file that ends like this path; none where several do so equally well."""
        alike = self._named(parts[-1]) if parts else []
        if len(alike) > 1:
            scores = [_common_end(path.parts, parts) for path in alike]
            alike = [path for path, score in zip(alike, scores, strict=True) if score == max(scores)]
        if len(alike) == 1:
            yield alike[0]

    def _named(self, name: str) -> list[Path]:
        return [path for _, path in takewhile(lambda item: item[0] == name, self._from(name))]

    def _from(self, start: str) -> Iterator[tuple[str, Path]]:
        """Cached files whose names begin so, in order."""
        for number in range(bisect_left(self._cached, (start, Path())), len(self._cached)):
            if not self._cached[number][0].startswith(start):
                return
            yield self._cached[number]


def _common_end(path: tuple[str, ...], other: tuple[str, ...]) -> int:
    pairs = zip(reversed(path), reversed(other), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _new_task(entry: dict[str, Any], ids: _Ids) -> NewTask:
    path = _text(entry, "source_path")
    return NewTask(path, _text(entry, "source_name") or Path(path).name or path, _NOT_ASKED_AGAIN, ids.take(entry))


def _said(entry: dict[str, Any], key: str) -> Problem:
    return Problem(Code.UPSTREAM_ERROR, {"message": str(entry.get(key) or "")[:_MAX_WORDS], "status": None})


def _outcome(task_id: str, entry: dict[str, Any], images: list[StoredImage]) -> EditOutcome:
    status = next((kept for kept in _KEPT_STATES if entry.get("status") == kept), TaskStatus.STOPPED)
    if status is TaskStatus.DONE and not images:
        status = TaskStatus.FAILED
    error = _said(entry, "last_error") if status is TaskStatus.FAILED else None
    warning = _said(entry, "last_warning") if entry.get("last_warning") else None
    return EditOutcome(
        task_id=task_id,
        status=status,
        images=images,
        attempts=_number(entry.get("attempts"), 1_000_000) or 0,
        http_status=_number(entry.get("http_status"), 999),
        error=error,
        warning=warning,
    )


def _take_result(result: dict[str, Any], files: _OldFiles, cache: Cache, limits: EditLimits) -> StoredImage | None:
    for file in files.of(result):
        try:
            if file.stat().st_size > limits.max_candidate_bytes:
                continue
            data = file.read_bytes()
            info = check_picture(data, limits.max_candidate_bytes)
            digest = cache.put(data, info.extension)
        except (OSError, ValueError, ConsoleError):
            continue
        kind = result.get("source_type")
        known = next((member for member in SourceType if kind == member), SourceType.URL)
        return StoredImage(digest, len(data), info, known)
    return None


def _mark(store: Store, marks: list[tuple[str, str, bool, bool]]) -> None:
    for task_id, digest, selected, deleted in marks:
        if selected and not deleted:
            continue
        for result in store.task(task_id).results:
            if result.hash == digest:
                store.mark_result(task_id, result.id, selected=selected, deleted=deleted)


def _text(entry: dict[str, Any], key: str) -> str:
    value = entry.get(key)
    return value if isinstance(value, str) else ""


def _flag(entry: dict[str, Any], key: str, default: bool) -> bool:
    """Yes or no, also as a number; any other value says nothing."""
    value = entry.get(key)
    return bool(value) if isinstance(value, (bool, int, float)) else default


def _number(value: Any, most: int) -> int | None:
    """A whole number from 0 to ``most``, also one that was written as 2.0; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
        return None
    return int(value) if value == int(value) else None


def _list(value: Any) -> list[Any]:
    """Entries that were kept in order, or by their id."""
    if isinstance(value, dict):
        return [{"id": key, **entry} for key, entry in value.items() if isinstance(entry, dict)]
    return value if isinstance(value, list) else []
