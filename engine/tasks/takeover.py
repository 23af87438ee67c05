"""Takes tasks and result files over from the state.json of the tool that came before, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import Code, ConsoleError, Problem
from engine.images.cache import Cache
from engine.images.picture import check_picture
from engine.models import EditLimits, EditOutcome, SourceType, StoredImage, TaskStatus
from engine.tasks.store import NewTask, Store

_NOT_ASKED_AGAIN = "old-state"  # as a fingerprint: no start ever asks for the same thing


def take_over(old: dict[str, Any], folder: Path, store: Store, cache: Cache, limits: EditLimits) -> list[Problem]:
    """Tasks of an old state.json become tasks of an empty store; result files found on disk go into the cache.

    Answers how many came over, and which result files were missing. A store with tasks is left alone, so the old
    file may stay where it is.
    """
    entries = [entry for entry in _list(old.get("tasks")) if isinstance(entry, dict) and entry.get("source_path")]
    if not entries or any(store.counts().values()):
        return []
    ids = store.add(
        [NewTask(str(e["source_path"]), Path(str(e["source_path"])).name, _NOT_ASKED_AGAIN) for e in entries]
    )
    lost = 0
    dropped: list[tuple[str, str, bool, bool]] = []
    for task_id, entry in zip(ids, entries, strict=True):
        images: list[StoredImage] = []
        for result in _list(entry.get("results")):
            image = _take_result(result, folder, cache, limits) if isinstance(result, dict) else None
            if image is None:
                lost += 1
                continue
            images.append(image)
            dropped.append((task_id, image.hash, bool(result.get("selected", True)), bool(result.get("deleted"))))
        store.finish(_outcome(task_id, entry, images))
    _mark(store, dropped)
    return [Problem(Code.OLD_STATE_TAKEN_OVER, {"tasks": len(ids), "missing": lost})]


def _outcome(task_id: str, entry: dict[str, Any], images: list[StoredImage]) -> EditOutcome:
    status = TaskStatus.STOPPED
    if entry.get("status") in {TaskStatus.DONE, TaskStatus.PARTIAL_SUCCESS, TaskStatus.FAILED}:
        status = TaskStatus(entry["status"])
    if status is TaskStatus.DONE and not images:
        status = TaskStatus.FAILED
    error = None
    if status is TaskStatus.FAILED:
        error = Problem(Code.UPSTREAM_ERROR, {"message": str(entry.get("last_error") or ""), "status": None})
    attempts = entry.get("attempts")
    http_status = entry.get("http_status")
    return EditOutcome(
        task_id=task_id,
        status=status,
        images=images,
        attempts=attempts if isinstance(attempts, int) else 0,
        http_status=http_status if isinstance(http_status, int) else None,
        error=error,
    )


def _take_result(result: dict[str, Any], folder: Path, cache: Cache, limits: EditLimits) -> StoredImage | None:
    for file in _candidates(result, folder):
        try:
            data = file.read_bytes()
            info = check_picture(data, limits.max_candidate_bytes)
            digest = cache.put(data, info.extension)
        except (OSError, ValueError, ConsoleError):
            continue
        kind = result.get("source_type")
        return StoredImage(digest, len(data), info, SourceType(kind) if kind in set(SourceType) else SourceType.URL)
    return None


def _candidates(result: dict[str, Any], folder: Path) -> Iterator[Path]:
    """Files that an old result may mean: any text in it that names a file in the folder, then its hash or id."""
    for value in result.values():
        if isinstance(value, str) and 0 < len(value) < 4096 and "\0" not in value and "://" not in value:
            path = (folder / Path(value).expanduser()).resolve()
            if path.is_relative_to(folder.resolve()) and path.is_file():
                yield path
    for key in ("hash", "id"):
        name = result.get(key)
        if isinstance(name, str) and name.isalnum():
            yield from (path for path in (folder / "cache").rglob(f"{name}*") if path.is_file())


def _mark(store: Store, marks: list[tuple[str, str, bool, bool]]) -> None:
    for task_id, digest, selected, deleted in marks:
        if selected and not deleted:
            continue
        for result in store.task(task_id).results:
            if result.hash == digest:
                store.mark_result(task_id, result.id, selected=selected, deleted=deleted)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
