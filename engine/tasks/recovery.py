"""What a start finds after a kill or damage: arrived pictures go to their tasks, damaged ones are quarantined; told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from engine.errors import Code, NotFound, Problem
from engine.files import DAMAGED, keep_copy
from engine.images.cache import Cache
from engine.models import EditOutcome, Task, TaskStatus
from engine.tasks.arrivals import Arrivals
from engine.tasks.store import Store


class Recovered(msgspec.Struct, frozen=True):
    """Outcomes that tasks were given; ``strays``: pictures that arrived for tasks that nobody knows."""

    outcomes: list[EditOutcome]
    strays: int


def adopt(arrivals: Arrivals, store: Store, cache: Cache) -> Recovered:
    """Give tasks that were found unfinished what had arrived for them; then the journal begins anew."""
    given: list[EditOutcome] = []
    strays = 0
    for outcome in arrivals.outcomes(cache):
        try:
            if give(outcome, store):
                given.append(outcome)
        except NotFound:
            strays += sum(not store.uses_hash(image.hash) for image in outcome.images)
    store.checkpoint()
    arrivals.clear()
    return Recovered(given, strays)


def give(outcome: EditOutcome, store: Store) -> bool:
    """Give a task that was found unfinished what had arrived for it; whether it was taken. NotFound."""
    task = store.task(outcome.task_id)
    known = {result.hash for result in task.results}
    if not _is_unfinished(task) or all(image.hash in known for image in outcome.images):
        return False
    error = None if outcome.status is TaskStatus.DONE else task.error
    store.finish(msgspec.structs.replace(outcome, error=error))
    return True


def lost_rows(database: Path, recovered: Recovered, store: Store, cache: Cache) -> Sequence[Problem]:
    """Deleting tasks deletes their pictures; where these are there without those, the database lost rows, and a copy of
    it is kept: while there is one, no picture counts as unneeded."""
    if was_damaged(database):
        return []
    emptied = not any(store.counts().values()) and not cache.is_empty()
    return keep_copy(database) if recovered.strays or emptied else []


def was_damaged(database: Path) -> bool:
    """Whether a copy of the database was quarantined and is there still."""
    return any(database.parent.glob(f"{database.name}*.{DAMAGED}-*"))


def check_pictures(store: Store, cache: Cache, check: Callable[[], None] = lambda: None) -> list[Problem]:
    """Look whether each result picture is there in its size. One problem for all that are missing, one for each that is
    damaged and was quarantined. ``check`` is called for each and may raise."""
    problems: list[Problem] = []
    missing: list[Problem] = []
    for digest, extension, size in store.files():
        check()
        with contextlib.suppress(ValueError):
            for problem in cache.check(digest, extension, size):
                (missing if problem.code is Code.RESULT_FILE_MISSING else problems).append(problem)
    if missing:
        problems.append(Problem(Code.RESULT_FILES_MISSING, {"path": missing[0].params["path"], "count": len(missing)}))
    return problems


def _is_unfinished(task: Task) -> bool:
    return task.error is not None and task.error.code is Code.FOUND_UNFINISHED
