"""The task table on a real file: changes in order, counts, damage, a disk that is full, readers of ended threads."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import Code, NotFound, Problem, StorageFailed
from engine.models import (
    DebugEntry,
    EditOutcome,
    ImageInfo,
    Judgement,
    SourceType,
    StoredImage,
    TaskFilter,
    TaskMatch,
    TaskSort,
    TaskStatus,
)
from engine.tasks.store import NewTask, Store

INFO = ImageInfo("image/png", "png", 3, 2)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    opened = Store(tmp_path / "tasks.db", clock=lambda: 1000.9)
    yield opened
    opened.close()


def image(number: int) -> StoredImage:
    """A stored picture."""
    return StoredImage(f"{number:064x}", 10 + number, INFO, SourceType.URL)


def done(task_id: str, *numbers: int, status: TaskStatus = TaskStatus.DONE) -> EditOutcome:
    """An outcome with these pictures."""
    log = [DebugEntry(1.5, 1, "request", {"url": "x"})]
    return EditOutcome(task_id, status, [image(number) for number in numbers], 1, 200, log=log)


def add(store: Store, *names: str) -> list[str]:
    """Tasks with these names."""
    return store.add([NewTask(f"/in/{name}", name, "print") for name in names])


def test_a_task_from_pending_to_done(store: Store) -> None:
    """Each step is seen by whoever reads, with whole seconds, a growing revision and live counts."""
    (task_id,) = add(store, "a.png")
    assert store.task(task_id).status is TaskStatus.PENDING
    first = store.revision()
    assert store.set_status([task_id, "unknown"], TaskStatus.PROCESSING) == 1
    assert store.counts()[TaskStatus.PROCESSING] == 1
    store.finish(done(task_id, 1, 2, 1))
    task = store.task(task_id)
    assert (task.status, task.attempts, task.http_status, task.updated_at) == (TaskStatus.DONE, 1, 200, 1000)
    assert [result.hash for result in task.results] == [image(1).hash, image(2).hash]
    assert store.revision() > first
    assert store.counts() == {**dict.fromkeys(TaskStatus, 0), TaskStatus.DONE: 1}
    store.finish(done(task_id, 2, 3, status=TaskStatus.PARTIAL_SUCCESS))
    again = store.task(task_id)
    assert (len(again.results), again.attempts, again.results[:2]) == (3, 2, task.results)
    assert [entry.kind for entry in store.debug_log(task_id)] == ["request", "request"]


def test_outcome_of_a_deleted_task(store: Store) -> None:
    """A task that went away while it ran is not brought back."""
    (task_id,) = add(store, "a.png")
    store.remove([task_id])
    with pytest.raises(NotFound):
        store.finish(done(task_id, 1))
    assert store.counts()[TaskStatus.DONE] == 0
    for ask in (store.task, lambda one: store.result(one, "x")):
        with pytest.raises(NotFound) as caught:
            ask(task_id)
        assert caught.value.code is Code.TASK_UNKNOWN


def test_changes_since_a_revision(store: Store) -> None:
    """Only what changed comes, oldest first; removals and a clear are told; too much is said to be too much."""
    ids = add(store, *(f"{number}.png" for number in range(5)))
    seen = store.revision()
    store.set_status([ids[3]], TaskStatus.PROCESSING)
    store.set_status([ids[1]], TaskStatus.PROCESSING)
    store.remove([ids[0]])
    changes = store.changes(seen, 10)
    assert ([task.id for task in changes.tasks], changes.removed) == ([ids[3], ids[1]], [ids[0]])
    assert (changes.reset, changes.truncated) == (False, False)
    assert store.changes(seen, 1).truncated
    assert store.changes(changes.revision, 10).tasks == []
    assert store.changes(changes.revision + 100, 10).reset
    store.clear()
    cleared = store.changes(changes.revision, 10)
    assert (cleared.reset, cleared.tasks, sorted(cleared.removed)) == (True, [], sorted(ids[1:]))
    store.add([NewTask("/in/0.png", "0.png", "f", ids[1])])
    assert ids[1] not in store.changes(changes.revision, 10).removed


def test_marks_and_counts(store: Store) -> None:
    """Ticks and drops are counted, and shared files are given back only when nothing names them."""
    first, second = add(store, "a.png", "b.png")
    store.finish(done(first, 1, 2))
    store.finish(done(second, 2, 3))
    one = store.task(first).results[0]
    assert store.mark_result(first, one.id).selected is False
    store.mark_result(first, one.id, deleted=True)
    task = store.task(first)
    assert (task.result_count, task.selected_count, task.dropped_count) == (1, 1, 1)
    assert store.mark_tasks([first, second], selected=False) == 3
    assert store.mark_tasks([first], deleted=True) == 1
    assert store.task(first).result_count == 0
    assert store.uses_hash(image(1).hash)
    assert [result.hash for result in store.drop_results(first)] == [image(1).hash]
    assert not store.uses_hash(image(1).hash)
    assert {result.hash for result in store.remove([second])} == {image(2).hash, image(3).hash}
    with pytest.raises(NotFound) as caught:
        store.mark_result(first, one.id)
    assert caught.value.code is Code.RESULT_UNKNOWN


def test_saved_paths_are_changes(store: Store) -> None:
    """Where a result was saved reaches whoever follows the changes."""
    (task_id,) = add(store, "a.png")
    store.finish(done(task_id, 1))
    seen = store.revision()
    result = store.task(task_id).results[0]
    store.note_saved([])
    assert store.revision() == seen
    store.note_saved([(result.id, "/out/a.png")])
    assert store.changes(seen, 10).tasks[0].results[0].saved == "/out/a.png"


def test_lists_are_filtered_and_sorted(store: Store) -> None:
    """Natural order of names, states, times, and words that mean themselves."""
    ids = add(store, "10.png", "9.png", "a%b.png", "A_c.png")
    store.finish(done(ids[0], 1))
    store.set_status([ids[1]], TaskStatus.STOPPED, Problem(Code.STOPPED_BY_USER))

    def names(match: TaskMatch | None = None, sort: TaskSort = TaskSort.ORDER, descending: bool = False) -> list[str]:
        return [task.source_name for task in store.page(match or TaskMatch(), sort, descending, 0, 9).tasks]

    assert names() == ["10.png", "9.png", "a%b.png", "A_c.png"]
    assert names(sort=TaskSort.NAME) == ["9.png", "10.png", "a%b.png", "A_c.png"]
    assert names(sort=TaskSort.NAME, descending=True)[0] == "A_c.png"
    assert names(sort=TaskSort.STATUS)[0] == "10.png"
    assert len(names(sort=TaskSort.UPDATED)) == 4
    assert names(TaskMatch(q="%")) == ["a%b.png"]
    assert names(TaskMatch(q="_c.")) == ["A_c.png"]
    assert names(TaskMatch(q="stopped_by")) == ["9.png"]
    assert names(TaskMatch(only=frozenset({TaskFilter.TICKED}))) == ["10.png"]
    assert store.ids(TaskMatch(ids=(ids[2], "unknown", ids[0]))) == [ids[0], ids[2]]
    assert [task.id for task in store.tasks(TaskMatch())] == ids


@pytest.mark.parametrize("sort", TaskSort)
@pytest.mark.parametrize("descending", [False, True])
def test_pages_are_pieces_of_the_whole_list(store: Store, sort: TaskSort, descending: bool) -> None:
    """In each order, read from either end; tasks without a score among them, and a filter."""
    ids = add(store, *(f"{number % 4}_{number}.png" for number in range(11)))
    for number in (1, 4, 8):
        store.finish(done(ids[number], number))
        store.set_judgement(
            store.task(ids[number]).results[0].id, Judgement(number % 3, True, {}, "", "judge-1", "strict", 5, 0.01)
        )
    for match in (TaskMatch(), TaskMatch(q="_1")):
        whole = store.outline(match, sort, descending).ids
        for limit in (1, 3, 20):
            pages = [store.page(match, sort, descending, at, limit) for at in range(0, len(whole) + limit, limit)]
            assert [task.id for page in pages for task in page.tasks] == whole
            assert {page.total for page in pages} == {len(whole)}


def test_the_order_of_names_is_that_of_a_run_also_in_an_older_file(tmp_path: Path) -> None:
    """``a.png`` stands before ``a (2).png``; keys that an older version wrote are made anew at the start."""
    expected = ["a.png", "A1.jpg", "a2.png", "a10.png", "a (2).png"]
    path = tmp_path / "tasks.db"
    store = Store(path)
    add(store, *expected[::-1])
    store.close()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("UPDATE task SET name_key = lower(source_name)")
    store = Store(path)
    page = store.page(TaskMatch(), TaskSort.NAME, False, 0, 10)
    store.close()
    assert [task.source_name for task in page.tasks] == expected


def test_global_index_counts_what_is_not_dropped(store: Store) -> None:
    """Results are numbered through all tasks in order."""
    first, second = add(store, "a.png", "b.png")
    store.finish(done(first, 1, 2))
    store.finish(done(second, 3))
    results = [result for task in store.tasks(TaskMatch()) for result in task.results]
    assert [store.global_index(result.id) for result in results] == [1, 2, 3]
    store.mark_result(first, results[0].id, deleted=True)
    assert store.global_index(results[2].id) == 2


def test_unfinished_tasks_are_stopped_at_the_next_start(tmp_path: Path) -> None:
    """What was pending or running when the program ended is stopped, with that as its reason."""
    store = Store(tmp_path / "tasks.db")
    ids = add(store, "a", "b", "c")
    store.set_status(ids[:1], TaskStatus.PROCESSING)
    store.finish(done(ids[2], 1))
    store.close()
    again = Store(tmp_path / "tasks.db")
    assert again.found_unfinished == 2
    assert [task.status for task in again.tasks(TaskMatch())] == ["stopped", "stopped", "done"]
    assert again.task(ids[0]).error == Problem(Code.FOUND_UNFINISHED)
    assert again.counts()[TaskStatus.STOPPED] == 2
    again.close()


@pytest.mark.parametrize("content", [b"no database at all" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_database_goes_into_quarantine(tmp_path: Path, content: bytes) -> None:
    """The program starts, the damaged file stays under another name, and the problem tells it."""
    (tmp_path / "tasks.db").write_bytes(content)
    store = Store(tmp_path / "tasks.db")
    (problem,) = store.problems
    assert problem.code is Code.FILE_DAMAGED
    assert Path(str(problem.params["kept_as"])).read_bytes() == content
    assert len(add(store, "a")) == 1
    store.close()


def test_a_database_of_another_version_goes_into_quarantine(tmp_path: Path) -> None:
    """A file of a later version is not written to."""
    with sqlite3.connect(tmp_path / "tasks.db") as later:
        later.execute("PRAGMA user_version=99")
    later.close()
    store = Store(tmp_path / "tasks.db")
    assert [problem.code for problem in store.problems] == [Code.FILE_DAMAGED]
    store.close()


def test_a_database_of_an_earlier_version_is_taken_as_it_is(tmp_path: Path) -> None:
    """Nothing is set aside; what the earlier version did not know has its plain value."""
    store = Store(tmp_path / "tasks.db")
    ids = add(store, "a.png", "b.png")
    store.finish(done(ids[0], 1))
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "tasks.db")) as earlier:
        earlier.executescript(
            "DROP INDEX task_score; DROP INDEX result_score;"
            "DROP INDEX task_listed; DROP INDEX task_listed_status; DROP INDEX task_name; DROP INDEX task_updated;"
            "CREATE INDEX task_name ON task (name_key, seq); CREATE INDEX task_updated ON task (updated_at, seq);"
            "ALTER TABLE task DROP COLUMN judged;"
            "ALTER TABLE task DROP COLUMN score; ALTER TABLE task DROP COLUMN trial;"
            + "".join(f"ALTER TABLE result DROP COLUMN {name};" for name in
                      ("judgement", "score", "caption", "caption_seen", "cost"))
            + "PRAGMA user_version=3;"
        )  # fmt: skip
    (tmp_path / "tasks.db.closed").unlink()
    store = Store(tmp_path / "tasks.db")
    assert store.problems == []
    assert [(task.source_name, len(task.results), task.decided) for task in store.tasks(TaskMatch())] == [
        ("a.png", 1, False), ("b.png", 0, False),
    ]  # fmt: skip
    assert store.judge(ids, True) == 2
    store.close()


def test_scores_and_captions_of_results(store: Store) -> None:
    """A task has the best score of what is not dropped; the list is filtered and sorted by it, unscored tasks last."""
    low, none, high = add(store, "low", "none", "high")
    for number, task_id in enumerate((low, high)):
        store.finish(done(task_id, number, 10 + number))

    def say(score: float) -> Judgement:
        return Judgement(score, score >= 7, {"instruction": score}, "because", "judge-1", "strict", 5, 0.01)

    for task_id, scores in ((low, (2.0, 3.0)), (high, (9.5, 4.0))):
        for result, score in zip(store.task(task_id).results, scores, strict=True):
            store.set_judgement(result.id, say(score))
    best, other = store.task(high).results
    assert (best.judgement, store.task(high).score, store.task(none).score) == (say(9.5), 9.5, None)

    def listed(descending: bool, **bounds: float) -> list[str]:
        page = store.page(TaskMatch(**bounds), TaskSort.SCORE, descending, 0, 9)  # type: ignore[arg-type]
        return [task.id for task in page.tasks]

    assert (listed(True), listed(False)) == ([high, low, none], [low, high, none])
    assert (listed(True, score_min=3), listed(True, score_max=3), listed(True, score_min=9.6)) == (
        [high, low],
        [low],
        [],
    )
    before = store.revision()
    store.mark_result(high, best.id, deleted=True)
    assert store.task(high).score == 4.0
    store.set_judgement(other.id, None)
    assert store.task(high).score is None
    with pytest.raises(NotFound):
        store.set_judgement("unknown", say(1))
    store.set_caption(high, other.id, "a night", seen=False)
    assert (store.result(high, other.id).caption, store.result(high, other.id).caption_seen) == ("a night", False)
    store.set_caption(high, other.id, "the night")
    assert store.result(high, other.id).caption_seen
    assert [task.id for task in store.changes(before, 9).tasks] == [high]


def test_what_a_person_decided_lasts_until_there_is_more_to_decide(store: Store) -> None:
    """A word, a tick or a drop decides about a task; new results wait for a decision again."""
    said, ticked, untouched, bare = add(store, "a", "b", "c", "d")
    for number, task_id in enumerate((said, ticked, untouched)):
        store.finish(done(task_id, number))
    (result,) = store.task(ticked).results
    store.mark_result(ticked, result.id)
    store.mark_result(ticked, result.id)
    before = store.revision()
    assert store.judge([said, "unknown"], True) == 1
    assert store.judge([said], True) == 0
    assert store.revision() > before

    def filtered(only: TaskFilter) -> list[str]:
        return store.ids(TaskMatch(only=frozenset({only})))

    assert filtered(TaskFilter.DECIDED) == [said, ticked]
    assert filtered(TaskFilter.UNDECIDED) == [untouched]
    outline = store.outline(TaskMatch(), TaskSort.NAME, True)
    assert (outline.ids, outline.undecided) == ([bare, untouched, ticked, said], [1])
    store.finish(done(said, 0, 9))
    assert filtered(TaskFilter.UNDECIDED) == [said, untouched]
    store.judge([said], True)
    store.finish(done(said, status=TaskStatus.FAILED))
    store.judge([ticked], False)
    assert filtered(TaskFilter.DECIDED) == [said]


def test_a_folder_in_the_way_goes_into_quarantine(tmp_path: Path) -> None:
    """What is in it stays, under another name."""
    (tmp_path / "tasks.db").mkdir()
    (tmp_path / "tasks.db" / "mine").write_text("kept")
    store = Store(tmp_path / "tasks.db")
    (problem,) = store.problems
    assert problem.code is Code.FILE_DAMAGED
    assert (Path(str(problem.params["kept_as"])) / "mine").read_text() == "kept"
    store.close()


def test_a_place_that_cannot_hold_a_database(tmp_path: Path) -> None:
    """A folder that is not there is a failure of storage, not damage."""
    with pytest.raises(StorageFailed):
        Store(tmp_path / "nowhere" / "tasks.db")


def test_a_full_disk_is_told_and_leaves_the_state_as_it_was(tmp_path: Path) -> None:
    """When SQLite has no room the change is undone, and later ones work again."""
    store = Store(tmp_path / "tasks.db")
    (task_id,) = add(store, "a.png")
    with store._db.write() as writer:
        pages = writer.execute("PRAGMA page_count").fetchone()[0]
    store._db._writer.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageFailed) as caught:
        add(store, *("x" * 2000 for _ in range(50)))
    assert caught.value.code is Code.DISK_FULL
    assert [task.id for task in store.tasks(TaskMatch())] == [task_id]
    assert sum(store.counts().values()) == 1
    store._db._writer.execute("PRAGMA max_page_count=1000000")
    assert len(add(store, "b.png")) == 1
    store.close()


def test_threads_that_ended_leave_no_connection(store: Store) -> None:
    """A reader of each thread that reads, closed when the thread is gone: file handles do not pile up."""
    add(store, "a")
    for _ in range(30):
        thread = threading.Thread(target=store.revision)
        thread.start()
        thread.join()
    assert len(store._db._readers) <= 3
    store.revision()


def test_many_threads_write_at_once(store: Store) -> None:
    """No change is lost, and the counts in memory are those of the table."""
    ids = add(store, *(str(number) for number in range(40)))

    def work(number: int) -> None:
        for task_id in ids[number::8]:
            store.set_status([task_id], TaskStatus.PROCESSING)
            store.finish(done(task_id, number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.counts()[TaskStatus.DONE] == 40
    assert {task.status for task in store.tasks(TaskMatch())} == {TaskStatus.DONE}
    revisions = {task.revision for task in store.tasks(TaskMatch())}  # those that were written together share one
    assert max(revisions) == store.revision()
    assert all(task.result_count == len(task.results) == 1 for task in store.tasks(TaskMatch()))


def test_a_file_closed_in_good_order_is_examined_only_when_something_wrote_to_it(tmp_path: Path) -> None:
    """A flipped byte after the close is found at the next start although all looked well at the end."""
    path = tmp_path / "tasks.db"
    with contextlib.closing(Store(path)) as store:
        store.add([NewTask("/a.png", "a.png", "print")])
    stamp = tmp_path / "tasks.db.closed"
    assert stamp.exists()
    with contextlib.closing(Store(path)) as store:
        assert not stamp.exists()  # a killed program leaves none
        assert store.problems == []
    damaged = bytearray(path.read_bytes())
    damaged[4096 : 4096 + 64] = b"\xff" * 64
    path.write_bytes(damaged)
    with contextlib.closing(Store(path)) as store:
        assert [problem.code for problem in store.problems] == [Code.FILE_DAMAGED]
