"""Many edits at once on a real store: order, limits, faults, a full disk, tasks that go away, and the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config import ApiConfig
from engine.errors import Busy, Code, Problem
from engine.models import (
    EditJob,
    EditLimits,
    EditOutcome,
    ImageInfo,
    SourceType,
    StoredImage,
    Task,
    TaskMatch,
    TaskStatus,
)
from engine.tasks import batch as batch_module
from engine.tasks.batch import Batch
from engine.tasks.gate import CallGate
from engine.tasks.hooks import RunningTask, TaskHook
from engine.tasks.log import EditLog
from engine.tasks.store import NewTask, Store
from engine.upstream.cancel import CancelToken
from tests.support.doors import until

CONFIG = ApiConfig(concurrency_limit=2, retry_interval=0.1)


def image(text: str) -> StoredImage:
    """A stored picture of this hash."""
    return StoredImage(text.rjust(64, "0"), 5, ImageInfo("image/png", "png", 1, 1), SourceType.URL)


class Edits:
    """A runner whose edits wait until they are let go, and end as told."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.changed = threading.Condition()
        self.open = threading.Event()
        self.open.set()
        self.ending: Callable[[EditJob], EditOutcome] = done

    def __call__(self, job: EditJob, cancel: CancelToken, _log: EditLog, _gate: CallGate) -> EditOutcome:
        with self.changed:
            self.started.append(job.task_id)
            self.changed.notify_all()
        while not self.open.wait(0.01):
            if cancel.cancelled:
                return EditOutcome(job.task_id, TaskStatus.STOPPED, [], 1)
        return self.ending(job)

    def wait_started(self, count: int) -> None:
        """Until so many edits have begun."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.started) >= count, 60)


def done(job: EditJob) -> EditOutcome:
    """One picture, named after the task."""
    return EditOutcome(job.task_id, TaskStatus.DONE, [image(job.task_id)], 1, 200)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    opened = Store(tmp_path / "tasks.db")
    yield opened
    opened.close()


@pytest.fixture
def edits() -> Edits:
    """The runner."""
    return Edits()


@pytest.fixture
def batch(store: Store, edits: Edits) -> Iterator[Batch]:
    """A batch on the store."""
    running = Batch(store, edits, limits=EditLimits())
    yield running
    running.close()


def add(store: Store, count: int) -> list[str]:
    """So many pending tasks."""
    return store.add([NewTask(f"/in/{number}.png", f"{number}.png", "print") for number in range(count)])


def states(store: Store) -> list[str]:
    """The states in task order."""
    return [task.status.value for task in store.tasks(TaskMatch())]


def until_paused(batch: Batch) -> Problem:
    """Why it waits, once it does."""
    until(lambda: batch.info().paused is not None)
    paused = batch.info().paused
    assert paused is not None
    return paused


def test_tasks_run_in_order_within_the_limit(store: Store, batch: Batch, edits: Edits) -> None:
    """Two at once, in the order given; a second start is refused while they run."""
    ids = add(store, 5)
    edits.open.clear()
    batch.start(ids, CONFIG)
    edits.wait_started(2)
    info = batch.info()
    assert (info.running, info.in_flight, info.queued, info.total_in_run) == (True, 2, 3, 5)
    assert batch.live().keys() == set(ids[:2])
    assert batch.live_log(ids[0]) is not None
    assert batch.live_log(ids[4]) is None
    with pytest.raises(Busy):
        batch.start(ids, CONFIG)
    edits.open.set()
    assert batch.wait_idle(60)
    assert sorted(edits.started) == sorted(ids)
    assert states(store) == ["done"] * 5
    info = batch.info()
    assert (info.running, info.finished_in_run, info.seconds_left) == (False, 5, None)


def test_more_tasks_join_a_running_batch_once(store: Store, batch: Batch, edits: Edits) -> None:
    """What is asked for while a batch runs is added to it; what waits or runs already is not added again."""
    ids = add(store, 4)
    edits.open.clear()
    batch.start(ids[:2], CONFIG)
    edits.wait_started(2)
    seen: list[str] = []
    assert batch.enqueue([*ids, ids[3]], CONFIG, before=seen.extend) == 2
    assert seen == ids[2:]
    assert batch.enqueue(ids, CONFIG) == 0
    assert batch.info().total_in_run == 4
    edits.open.set()
    assert batch.wait_idle(60)
    assert sorted(edits.started) == sorted(ids)


def test_while_it_stops_nothing_is_begun(store: Store, batch: Batch, edits: Edits) -> None:
    """Between stop and the last landing every request to run is refused."""
    ids = add(store, 3)
    hold = threading.Event()

    def slow(job: EditJob) -> EditOutcome:
        hold.wait(60)
        return EditOutcome(job.task_id, TaskStatus.STOPPED, [], 1)

    edits.ending = slow
    batch.start(ids[:2], CONFIG)
    edits.wait_started(2)
    assert batch.stop() == 2
    assert batch.info().stop_requested
    for ask in (lambda: batch.enqueue(ids[2:], CONFIG), lambda: batch.retry(ids[2], CONFIG)):
        with pytest.raises(Busy) as caught:
            ask()
        assert caught.value.code is Code.BATCH_RUNNING
    hold.set()
    assert batch.wait_idle(60)
    assert states(store) == ["stopped", "stopped", "pending"]


def test_a_fault_in_an_edit_fails_its_task_alone(store: Store, batch: Batch, edits: Edits) -> None:
    """An edit that raises is a failed task with the code for a bug; the others go on."""
    ids = add(store, 3)

    def ending(job: EditJob) -> EditOutcome:
        if job.task_id == ids[1]:
            raise RuntimeError("a bug")
        return done(job)

    edits.ending = ending
    batch.start(ids, CONFIG)
    assert batch.wait_idle(60)
    assert states(store) == ["done", "failed", "done"]
    error = store.task(ids[1]).error
    assert error is not None
    assert error.code is Code.INTERNAL


def test_tasks_that_went_away(store: Store, batch: Batch, edits: Edits) -> None:
    """A task deleted while it waits is passed over; one deleted while it runs comes to nothing."""
    ids = add(store, 4)
    edits.open.clear()
    batch.start(ids, CONFIG)
    edits.wait_started(2)
    store.remove([ids[0], ids[2]])
    edits.open.set()
    assert batch.wait_idle(60)
    assert states(store) == ["done", "done"]
    assert ids[2] not in edits.started


def test_a_retry_that_cannot_begin_leaves_no_trace(store: Store, batch: Batch, edits: Edits) -> None:
    """When what has to happen first fails, the task is free again."""
    (task_id,) = add(store, 1)

    def fails() -> None:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        batch.retry(task_id, CONFIG, before=fails)
    assert not batch.is_busy(task_id)
    batch.retry(task_id, CONFIG)
    assert batch.wait_idle(60)
    assert states(store) == ["done"]


def fill(store: Store) -> Callable[[], None]:
    """Let the database have no room to grow; the answer gives it room again."""
    writer: Any = store._db._writer
    with store._db.write() as transaction:
        pages = transaction.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count={pages}")

    def free() -> None:
        with store._db._lock:
            writer.execute("PRAGMA max_page_count=1000000")

    return free


def test_an_outcome_waits_for_the_disk(
    store: Store, batch: Batch, edits: Edits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk is full a paid outcome is held and the run says why it waits; with room it is written."""
    monkeypatch.setattr(batch_module, "_STORE_RETRY_SECONDS", 0.05)
    ids = add(store, 2)
    edits.open.clear()

    def large(job: EditJob) -> EditOutcome:
        images = [image(f"{job.task_id}{number}") for number in range(400)]
        return EditOutcome(job.task_id, TaskStatus.DONE, images, 1)

    edits.ending = large
    batch.start(ids, CONFIG)
    edits.wait_started(2)
    free = fill(store)
    edits.open.set()
    paused = until_paused(batch)
    assert paused.code is Code.DISK_FULL
    assert batch.is_paused
    assert states(store) == ["processing", "processing"]
    free()
    assert batch.wait_idle(60)
    assert batch.info().paused is None
    assert states(store) == ["done", "done"]
    assert len(store.task(ids[0]).results) == 400
    assert len(edits.started) == 2, "nothing was asked again"


def test_a_task_is_not_begun_while_its_state_cannot_be_written(
    store: Store, batch: Batch, edits: Edits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is paid for that could not be recorded; the run goes on when the disk takes writes again."""
    monkeypatch.setattr(batch_module, "_STORE_RETRY_SECONDS", 0.05)
    ids = add(store, 2)
    writer: Any = store._db._writer
    with store._db._lock:
        writer.execute("PRAGMA query_only=ON")
    batch.start(ids, CONFIG)
    until_paused(batch)
    assert (edits.started, batch.running) == ([], True)
    with store._db._lock:
        writer.execute("PRAGMA query_only=OFF")
    assert batch.wait_idle(60)
    assert states(store) == ["done", "done"]


def test_a_disk_that_comes_and_goes(store: Store, batch: Batch, edits: Edits, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever thread meets it, each task is asked once, and the run gets to its end."""
    monkeypatch.setattr(batch_module, "_STORE_RETRY_SECONDS", 0.01)
    ids = add(store, 400)
    writer: Any = store._db._writer
    batch.start(ids, ApiConfig(concurrency_limit=8))
    for turn in range(60):
        with store._db._lock:
            writer.execute(f"PRAGMA query_only={'OFF' if turn % 2 else 'ON'}")
        time.sleep(0.005)
    assert batch.wait_idle(60)
    assert states(store) == ["done"] * 400
    assert sorted(edits.started) == sorted(ids)


def test_stop_while_the_disk_is_full(store: Store, batch: Batch, edits: Edits, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that waits for the disk can be stopped; what could not be marked is found at the next start."""
    monkeypatch.setattr(batch_module, "_STORE_RETRY_SECONDS", 0.05)
    ids = add(store, 2)
    writer: Any = store._db._writer
    with store._db._lock:
        writer.execute("PRAGMA query_only=ON")
    batch.start(ids, CONFIG)
    until_paused(batch)
    batch.stop()
    assert batch.wait_idle(60)
    with store._db._lock:
        writer.execute("PRAGMA query_only=OFF")
    assert states(store) == ["pending", "pending"]
    assert edits.started == []


def test_close_ends_everything(store: Store, edits: Edits) -> None:
    """Closing in the middle stops what runs and returns soon."""
    batch = Batch(store, edits, limits=EditLimits())
    ids = add(store, 3)
    edits.open.clear()
    batch.start(ids, CONFIG)
    edits.wait_started(2)
    before = time.monotonic()
    batch.close()
    assert time.monotonic() - before < 30
    assert states(store) == ["stopped"] * 3


def test_a_fault_in_keeping_an_outcome_holds_up_no_other_task(
    store: Store, batch: Batch, edits: Edits, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread goes on with what comes next, and the log tells of the fault."""
    first, *others = ids = add(store, 4)
    keep = store.finish

    def finish(outcome: EditOutcome) -> None:
        if outcome.task_id == first:
            raise RuntimeError("planted")
        keep(outcome)

    monkeypatch.setattr(store, "finish", finish)
    batch.start(ids, ApiConfig(concurrency_limit=1))
    assert batch.wait_idle(60)
    assert edits.started == ids
    assert states(store) == ["processing", *["done"] * len(others)]
    assert "planted" in caplog.text


def test_a_fault_in_beginning_a_task_is_logged(
    store: Store, batch: Batch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where it comes up in the thread of the task before."""
    ids = add(store, 2)
    begin = store.begin

    def begin_one(wanted: list[str]) -> list[Task]:
        if ids[1] in wanted:
            raise RuntimeError("planted")
        return begin(wanted)

    monkeypatch.setattr(store, "begin", begin_one)
    batch.start(ids, ApiConfig(concurrency_limit=1))
    assert batch.wait_idle(60)
    assert states(store) == ["done", "pending"]
    deadline = time.monotonic() + 60
    while "planted" not in caplog.text and time.monotonic() < deadline:  # told after the task has landed
        time.sleep(0.01)
    assert "planted" in caplog.text


def test_going_on_without_a_pause_changes_nothing(store: Store, batch: Batch, edits: Edits) -> None:
    """The button that ends a pause may be pressed at any time."""
    assert (batch.go_on(), batch.is_paused) == (0, False)
    ids = add(store, 1)
    batch.start(ids, CONFIG)
    assert batch.wait_idle(60)
    assert states(store) == ["done"]


def test_threads_are_made_on_need(store: Store, batch: Batch, edits: Edits) -> None:
    """A high limit costs nothing for few tasks; with many, so many threads run and all end with the run."""
    before = threading.active_count()
    wide = ApiConfig(concurrency_limit=512)
    few = add(store, 3)
    edits.open.clear()
    batch.start(few, wide)
    edits.wait_started(3)
    assert threading.active_count() - before <= 4
    edits.open.set()
    assert batch.wait_idle(60)
    many = add(store, 300)
    edits.open.clear()
    batch.start(many, wide)
    edits.wait_started(303)
    edits.open.set()
    assert batch.wait_idle(60)
    until(lambda: threading.active_count() <= before)
    assert states(store) == ["done"] * 303


def test_a_single_retry_goes_before_what_waits(store: Store, batch: Batch, edits: Edits) -> None:
    """It takes the head of the queue and a thread of its own, however full the run is."""
    ids = add(store, 5)
    edits.open.clear()
    batch.start(ids[:4], ApiConfig(concurrency_limit=1))
    edits.wait_started(1)
    batch.retry(ids[4], CONFIG)
    edits.wait_started(2)
    assert (edits.started, batch.single_retries, batch.info().queued) == ([ids[0], ids[4]], 1, 3)
    edits.open.set()
    assert batch.wait_idle(60)
    assert edits.started == [ids[0], ids[4], *ids[1:4]]


def test_hooks_stand_around_each_task(store: Store, edits: Edits, caplog: pytest.LogCaptureFixture) -> None:
    """Before it is asked for, and before its outcome is recorded; one that fails spoils nothing."""
    seen: list[tuple[str, str, TaskStatus]] = []

    class Hook(TaskHook):
        def before(self, task: RunningTask) -> None:
            seen.append(("before", task.task_id, store.task(task.task_id).status))

        def after(self, task: RunningTask, outcome: EditOutcome) -> None:
            seen.append(("after", task.task_id, store.task(task.task_id).status))
            raise RuntimeError("planted")

    batch = Batch(store, edits, limits=EditLimits(), hooks=[Hook()])
    (task_id,) = add(store, 1)
    batch.start([task_id], CONFIG)
    assert batch.wait_idle(60)
    assert seen == [("before", task_id, TaskStatus.PROCESSING), ("after", task_id, TaskStatus.PROCESSING)]
    assert states(store) == ["done"]
    assert "planted" in caplog.text


def test_an_answer_is_one_moment(store: Store, batch: Batch) -> None:
    """Whoever looks while runs begin and end never sees a task wait or run where nothing runs."""
    over = threading.Event()
    wrong: list[tuple[bool, list[str]]] = []
    looks = 0

    def look() -> None:
        nonlocal looks
        while not over.is_set():
            info, seen = batch.moment(lambda: states(store))
            looks += 1
            if not info.running and not info.single_retries and {"pending", "processing"} & set(seen):
                wrong.append((info.running, seen))

    watchers = [threading.Thread(target=look) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    for turn in range(40):
        assert batch.start_with(lambda: add(store, 2), ApiConfig(concurrency_limit=4)) == 2
        assert batch.wait_idle(60)
        batch.retry(store.ids(TaskMatch())[turn], CONFIG)
        assert batch.wait_idle(60)
    over.set()
    for watcher in watchers:
        watcher.join()
    assert wrong == []
    assert looks > 40


def test_a_run_whose_tasks_cannot_be_made_ends(store: Store, batch: Batch) -> None:
    """It counts as running from before they are there; what goes wrong then ends it."""
    seen: list[bool] = []

    def fails() -> list[str]:
        seen.append(batch.running)
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        batch.start_with(fails, CONFIG)
    assert batch.wait_idle(60)
    assert seen == [True]
    assert batch.start_with(list, CONFIG) == 0
    assert batch.wait_idle(60)
