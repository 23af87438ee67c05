"""The store against a model in memory: any order of changes, reopened at any moment, watched by a client of its feed.

``STATES=400`` for the full count.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engine.errors import Code, NotFound, Problem
from engine.models import EditOutcome, ImageInfo, SourceType, StoredImage, TaskMatch, TaskSort, TaskStatus
from engine.tasks.store import NewTask, Store

pytestmark = pytest.mark.timeout(3600)

STATES = int(os.environ.get("STATES", "25"))
PNG = ImageInfo("image/png", "png", 4, 3)
HASHES = [f"{number:064x}" for number in range(6)]
ENDS = [TaskStatus.DONE, TaskStatus.PARTIAL_SUCCESS, TaskStatus.FAILED, TaskStatus.STOPPED]
places = st.integers(0, 30)
several = st.lists(places, max_size=4)


class StoreStates(RuleBasedStateMachine):
    """``model``: status and results of each task in order; ``seen``: what a client knows from the feed alone."""

    @initialize()
    def open(self) -> None:
        """An empty folder."""
        self.folder = Path(tempfile.mkdtemp())
        self.model: dict[str, tuple[TaskStatus, dict[str, list[bool]]]] = {}
        self.seen: dict[str, Any] = {}
        self.revision = 0
        self.store = Store(self.folder / "tasks.db")

    def teardown(self) -> None:
        """Take the folder away."""
        self.store.close()
        shutil.rmtree(self.folder)

    def pick(self, place: int) -> str:
        """A task that is there, or one that never was."""
        ids = list(self.model)
        return ids[place % len(ids)] if ids else "nothing"

    @rule(count=st.integers(0, 4))
    def add(self, count: int) -> None:
        """Append tasks."""
        for task_id in self.store.add([NewTask(f"/a/{number}.png", f"{number}.png", "f") for number in range(count)]):
            self.model[task_id] = (TaskStatus.PENDING, {})

    @rule(place=places)
    def begin(self, place: int) -> None:
        """A task's turn has come."""
        task_id = self.pick(place)
        try:
            self.store.begin([task_id])
        except NotFound:
            assert task_id not in self.model
            return
        self.model[task_id] = (TaskStatus.PROCESSING, self.model[task_id][1])

    @rule(chosen=several, status=st.sampled_from([TaskStatus.PENDING, TaskStatus.STOPPED]))
    def set_status(self, chosen: list[int], status: TaskStatus) -> None:
        """Move some, each perhaps twice."""
        ids = [self.pick(place) for place in chosen]
        self.store.set_status(ids, status, Problem(Code.STOPPED_BY_USER))
        for task_id in self.model.keys() & set(ids):
            self.model[task_id] = (status, self.model[task_id][1])

    @rule(place=places, hashes=st.lists(st.sampled_from(HASHES), max_size=3), status=st.sampled_from(ENDS))
    def finish(self, place: int, hashes: list[str], status: TaskStatus) -> None:
        """An outcome with pictures, some of them known, some twice."""
        task_id = self.pick(place)
        images = [StoredImage(digest, 9, PNG, SourceType.URL) for digest in hashes]
        try:
            self.store.finish(EditOutcome(task_id, status, images, 1))
        except NotFound:
            assert task_id not in self.model
            return
        results = self.model[task_id][1]
        self.model[task_id] = (status, {**{digest: [True, False] for digest in hashes}, **results})

    @rule(place=places, which=places, mark=st.sampled_from(["toggle", "drop", "restore"]))
    def mark(self, place: int, which: int, mark: str) -> None:
        """Tick, drop or restore one result."""
        task_id = self.pick(place)
        known = list(self.model.get(task_id, (None, {}))[1])
        if not known:
            return
        digest = known[which % len(known)]
        result = next(result for result in self.store.task(task_id).results if result.hash == digest)
        self.store.mark_result(task_id, result.id, deleted=None if mark == "toggle" else mark == "drop")
        flags = self.model[task_id][1][digest]
        flags[0], flags[1] = (not flags[0], flags[1]) if mark == "toggle" else (flags[0], mark == "drop")

    @rule(chosen=several, selected=st.none() | st.booleans(), deleted=st.booleans())
    def mark_many(self, chosen: list[int], selected: bool | None, deleted: bool) -> None:
        """Tick or drop all results of some."""
        ids = [self.pick(place) for place in chosen]
        self.store.mark_tasks(ids, selected=selected, deleted=None if selected is not None else deleted)
        for task_id in self.model.keys() & set(ids):
            for flags in self.model[task_id][1].values():
                flags[0 if selected is not None else 1] = deleted if selected is None else selected

    @rule(place=places)
    def drop_results(self, place: int) -> None:
        """Forget all results of one; orphans are those that no other task has."""
        task_id = self.pick(place)
        gone = {result.hash for result in self.store.drop_results(task_id)}
        if task_id in self.model:
            before = set(self.model[task_id][1])
            self.model[task_id] = (self.model[task_id][0], {})
            assert gone == before - self.used()

    @rule(chosen=several)
    def remove(self, chosen: list[int]) -> None:
        """Delete some; orphans again."""
        ids = list(dict.fromkeys(self.pick(place) for place in chosen))
        before = {digest for task_id in ids if task_id in self.model for digest in self.model[task_id][1]}
        gone = {result.hash for result in self.store.remove(ids)}
        for task_id in ids:
            self.model.pop(task_id, None)
        assert gone == before - self.used()

    @rule()
    def clear(self) -> None:
        """Delete all."""
        used = self.used()
        assert {result.hash for result in self.store.clear()} == used
        self.model.clear()

    @rule()
    def reopen(self) -> None:
        """The program ends and starts: what was under way is found stopped."""
        self.store.close()
        self.store = Store(self.folder / "tasks.db")
        assert self.store.problems == []
        for task_id, (status, results) in self.model.items():
            if status in (TaskStatus.PENDING, TaskStatus.PROCESSING):
                self.model[task_id] = (TaskStatus.STOPPED, results)

    def used(self) -> set[str]:
        """Every hash that a task has."""
        return {digest for _, results in self.model.values() for digest in results}

    @invariant()
    def is_what_the_model_says(self) -> None:
        """Order, states, counts, results."""
        page = self.store.page(TaskMatch(), TaskSort.ORDER, False, 0, 1000)
        assert [task.id for task in page.tasks] == list(self.model)
        counts = dict.fromkeys(TaskStatus, 0)
        for task in page.tasks:
            status, results = self.model[task.id]
            counts[status] += 1
            assert task.status is status
            assert {result.hash: [result.selected, result.deleted] for result in task.results} == results
            assert task.result_count == sum(not deleted for _, deleted in results.values())
            assert task.selected_count == sum(selected and not deleted for selected, deleted in results.values())
            assert task.dropped_count == sum(deleted for _, deleted in results.values())
        assert self.store.counts() == counts
        assert {digest for digest in HASHES if self.store.uses_hash(digest)} == self.used()

    @invariant()
    def the_feed_tells_it_all(self) -> None:
        """A client that only reads what changed knows the same as one that reads everything."""
        changes = self.store.changes(self.revision, 1000)
        assert changes.revision >= self.revision
        if changes.reset:
            self.seen.clear()
        for task_id in changes.removed:
            self.seen.pop(task_id, None)
        self.seen |= {task.id: task for task in changes.tasks}
        self.revision = changes.revision
        whole = self.store.page(TaskMatch(), TaskSort.ORDER, False, 0, 1000).tasks
        assert self.seen == {task.id: task for task in whole}


StoreStates.TestCase.settings = settings(
    max_examples=STATES, stateful_step_count=30, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


class TestStoreStates(StoreStates.TestCase):  # type: ignore[misc, valid-type] # made by hypothesis
    """Run by pytest."""
