"""Finds the sources of tasks where they lie now: by the bytes, at any depth and under any name; by the name only where
nobody knows the bytes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PureWindowsPath

import msgspec

from engine.models import SourceImage, Task
from engine.paths import folded
from engine.tasks.plan import TaskSpec


class Found(msgspec.Struct, frozen=True):
    """``paths``: from where a source was to the file that it is now; ``by_name``: those of them of which only the name
    is known. ``here``: sources that lie in the folder as they are known. ``missing``: nothing like it is there;
    ``ambiguous``: more than one file may be it."""

    paths: dict[str, SourceImage]
    by_name: list[str]
    here: list[str]
    missing: list[str]
    ambiguous: list[str]


class Move(msgspec.Struct, frozen=True):
    """What becomes of a task. ``fingerprint``: tells again whether a later start asks for the same thing."""

    task_id: str
    source_path: str
    source_name: str
    references: tuple[str, ...]
    fingerprint: str


def known_hashes(tasks: Iterable[Task]) -> dict[str, str]:
    """The sha256 of each source of these tasks, "" where no result tells it."""
    hashes: dict[str, str] = {}
    for task in tasks:
        paths = (task.source_path, *task.references)
        for path in paths:
            hashes.setdefault(path, "")
        for result in task.results:
            told = result.source_hash.split()
            if len(told) == len(paths):
                hashes.update(zip(paths, told, strict=True))
    return hashes


def find(hashes: Mapping[str, str], pictures: Sequence[SourceImage], hash_of: Callable[[SourceImage], str]) -> Found:
    """Look for sources among ``pictures``. ``hashes``: what is known of each, see `known_hashes`; ``hash_of`` may raise
    OSError, then that picture is passed over."""
    found = Found({}, [], [], [], [])
    there = {picture.path for picture in pictures}
    found.here.extend(path for path in hashes if path in there)
    wanted = {path: digest for path, digest in hashes.items() if path not in there}
    single = _without_second_names(pictures)
    by_hash: dict[str, list[SourceImage]] = {}
    for picture in single if any(wanted.values()) else ():
        try:
            by_hash.setdefault(hash_of(picture), []).append(picture)
        except OSError:
            continue
    by_name: dict[str, list[SourceImage]] = {}
    for picture in single:
        by_name.setdefault(folded(picture.name), []).append(picture)
    for path, digest in wanted.items():
        candidates = by_hash.get(digest, []) if digest else by_name.get(folded(_parts(path)[-1]), [])
        best = _nearest(path, candidates)
        if len(best) == 1:
            found.paths[path] = best[0]
            found.by_name.extend([] if digest else [path])
        else:
            (found.ambiguous if best else found.missing).append(path)
    return found


def moves(
    tasks: Sequence[Task], paths: Mapping[str, SourceImage], print_of: Callable[[str, TaskSpec], str]
) -> list[Move]:
    """What becomes of the tasks of which a source was found elsewhere. ``print_of``: the fingerprint of a task with
    this request record that asks with these pictures; where not all of them were found, it stays as it is."""
    made: list[Move] = []
    alike = _records(tasks)
    for task in tasks:
        old = (task.source_path, *task.references)
        if not any(path in paths for path in old):
            continue
        new = [paths[path].path if path in paths else path for path in old]
        pictures = [paths[path] for path in old if path in paths]
        mark = task.fingerprint
        if len(pictures) == len(old):
            spec = TaskSpec(tuple(pictures), task.user_prompt, task.system_prompt, task.variant)
            mark = print_of(_record(task) or alike.get(_way(task), ""), spec)
        name = paths[old[0]].name if old[0] in paths else task.source_name
        made.append(Move(task.id, new[0], name, tuple(new[1:]), mark))
    return made


def _record(task: Task) -> str:
    return next((result.request_record for result in reversed(task.results) if result.request_record), "")


def _way(task: Task) -> tuple[object, ...]:
    return task.trial, task.user_prompt, task.system_prompt, task.variant


def _records(tasks: Iterable[Task]) -> dict[tuple[object, ...], str]:
    """What tasks that came to nothing were most likely asked with: what all their like were."""
    found: dict[tuple[object, ...], str] = {}
    for task in tasks:
        if record := _record(task):
            found[_way(task)] = record if found.get(_way(task), record) == record else ""
    return found


def _without_second_names(pictures: Sequence[SourceImage]) -> list[SourceImage]:
    """Each file once, by whatever links and spellings it is reached."""
    seen: dict[tuple[int, int], SourceImage] = {}
    for picture in pictures:
        try:
            status = os.stat(picture.path)  # noqa: PTH116 - tens of thousands of them
        except OSError:
            continue
        seen.setdefault((status.st_dev, status.st_ino), picture)
    return list(seen.values())


def _nearest(path: str, candidates: Sequence[SourceImage]) -> list[SourceImage]:
    """Those whose path ends most like this one."""
    if len(candidates) < 2:
        return list(candidates)
    likeness = [_common_end(path, candidate.path) for candidate in candidates]
    return [one for one, like in zip(candidates, likeness, strict=True) if like == max(likeness)]


def _common_end(one: str, other: str) -> int:
    count = 0
    for a, b in zip(reversed(_parts(one)), reversed(_parts(other)), strict=False):
        if folded(a) != folded(b):
            break
        count += 1
    return count


def _parts(path: str) -> tuple[str, ...]:
    """Of a path of either system: a project may come from the other."""
    return PureWindowsPath(path).parts if "\\" in path else tuple(part for part in path.split("/") if part) or (path,)
