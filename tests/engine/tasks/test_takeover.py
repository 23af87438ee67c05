"""Tasks and files of the tool that came before: found wherever they lie, under their old ids, once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Code, StorageFailed
from engine.images.cache import Cache
from engine.models import EditLimits, Task, TaskMatch
from engine.tasks.store import NewTask, Store
from engine.tasks.takeover import take_over
from tests.support.pictures import picture


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    opened = Store(tmp_path / "tasks.db")
    yield opened
    opened.close()


def result(number: int, **fields: Any) -> dict[str, Any]:
    """A result as the old file has it."""
    return {"id": f"r{number}", "selected": True, "deleted": False, "width": 24, "height": 16, "source_type": "url",
            "hash": hashlib.sha256(picture(number)).hexdigest(), "image_url": f"/api/tasks/t/results/r{number}/image",
            **fields}  # fmt: skip


def task(*results: Any, **fields: Any) -> dict[str, Any]:
    """A task as the old file has it."""
    return {"id": "t1", "source_path": "/p/a_start.png", "source_name": "a_start.png", "status": "done", "attempts": 2,
            "http_status": 200, "last_error": "", "last_warning": "", "results": list(results), **fields}  # fmt: skip


def taken(folder: Path, store: Store, *tasks: Any) -> tuple[list[Task], dict[str, Any]]:
    """The tasks after a takeover, and what it told."""
    (told,) = take_over({"tasks": list(tasks)}, folder, store, Cache(folder / "kept"), EditLimits())
    assert told.code is Code.OLD_STATE_TAKEN_OVER
    return list(store.tasks(TaskMatch())), dict(told.params)


@pytest.mark.parametrize(
    ("place", "fields"),
    [
        ("cache/{hash}.png", {}),
        ("cache/ab/{hash}_0.png", {}),
        ("cache/r1.jpg", {"hash": "0" * 64}),
        ("cache/some.bin", {"hash": "", "cache_file": "some.bin"}),
        ("results/x.png", {"hash": None, "path": "results/x.png"}),
        ("cache/y.png", {"hash": 5, "local_path": "C:\\Users\\me\\.image-batch-console\\cache\\y.png"}),
        ("cache/z.png", {"hash": "", "local_path": "/volumes/old/.image-batch-console/cache/z.png"}),
    ],
)
def test_result_files_are_found(tmp_path: Path, store: Store, place: str, fields: dict[str, Any]) -> None:
    """By hash, by id, by a path in the entry, also when the folder has moved since."""
    entry = result(1, **fields)
    file = tmp_path / place.format(hash=hashlib.sha256(picture(1)).hexdigest())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(picture(1))
    tasks, told = taken(tmp_path, store, task(entry))
    assert told == {"tasks": 1, "missing": 0}
    (kept,) = tasks[0].results
    assert (kept.id, kept.hash) == ("r1", hashlib.sha256(picture(1)).hexdigest())
    assert Cache(tmp_path / "kept").read(kept.hash, kept.extension) == picture(1)
    assert file.read_bytes() == picture(1), "the old file stays"


def test_what_a_task_was_stays(tmp_path: Path, store: Store) -> None:
    """State, words, counts, ticks and drops come over; what never finished is stopped, to be resumed."""
    (tmp_path / "cache").mkdir()
    for number in (1, 2, 3):
        digest = hashlib.sha256(picture(number)).hexdigest()
        (tmp_path / "cache" / digest).write_bytes(picture(number))
    tasks, told = taken(
        tmp_path, store,
        task(result(1, selected=False), result(2, deleted=True), result(3), result(4)),
        task(id="t2", status="partial_success", last_warning="one of two", source_path="/p/b.png"),
        task(id="t3", status="failed", last_error="HTTP 429", http_status=429),
        task(id="t4", status="processing"),
        task(id="t5", status="pending", attempts=None, http_status="x"),
        task(id="t6", status="done"),
    )  # fmt: skip
    assert told == {"tasks": 6, "missing": 1}
    assert [one.id for one in tasks] == ["t1", "t2", "t3", "t4", "t5", "t6"]
    assert [one.status for one in tasks] == ["done", "partial_success", "failed", "stopped", "stopped", "failed"]
    first = tasks[0]
    assert [(one.selected, one.deleted) for one in first.results] == [(False, False), (True, True), (True, False)]
    assert (first.attempts, first.result_count, first.selected_count) == (2, 2, 1)
    assert tasks[1].warning is not None
    assert tasks[1].warning.params["message"] == "one of two"
    assert tasks[2].error is not None
    assert tasks[2].error.params["message"] == "HTTP 429"
    assert (tasks[2].http_status, tasks[4].attempts, tasks[4].http_status) == (429, 0, None)


def test_tasks_and_results_kept_by_their_ids(tmp_path: Path, store: Store) -> None:
    """An object of ids does as well as a list; the id may stand in the entry or be its key alone."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{hashlib.sha256(picture(1)).hexdigest()}.png").write_bytes(picture(1))
    first = {name: value for name, value in result(1).items() if name != "id"}
    old = {"tasks": {"t1": task(results={"r1": first}), "t2": {**task(), "id": "own"}, "t3": 5}}
    assert take_over(old, tmp_path, store, Cache(tmp_path / "kept"), EditLimits())
    tasks = list(store.tasks(TaskMatch()))
    assert [one.id for one in tasks] == ["t1", "own"]
    assert [one.id for one in tasks[0].results] == ["r1"]


def test_odd_entries_spoil_nothing(tmp_path: Path, store: Store) -> None:
    """Ids that cannot be kept are made anew, texts that are no paths are no files, and lists may be anything."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "bad.png").write_text("no picture")
    (tmp_path / "outside.png").write_bytes(picture(1))
    folder = tmp_path / "data"
    folder.mkdir()
    odd = result(1, hash="", a="~nobody/x", b="x" * 300, c="\0", d="bad.png", e="../outside.png", source_type=["url"])
    tasks, told = taken(
        folder, store,
        task(odd, "text", None, id="a b"), task(id="same"), task(id="same"), task(id=7, status=["done"], results=None),
        "text", {"id": "no source"},
    )  # fmt: skip
    assert told == {"tasks": 4, "missing": 3}
    assert len({one.id for one in tasks}) == 4
    assert tasks[1].id == "same"
    assert all(one.results == [] for one in tasks), "nothing outside of the folder is taken"


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("r10.png", {"id": "r1"}),
        ("r1b.png", {"id": "r1"}),
        ("r1-2.png", {"id": "r1"}),
        ("ab12.png", {"hash": "ab1"}),
        ("ab1_x.png", {"hash": "ab1"}),
        ("far.png", {"hash": "f"}),
        ("r1.png.old.png", {"id": "r1"}),
    ],
)
def test_a_name_that_only_begins_alike_is_anothers(
    tmp_path: Path, store: Store, name: str, given: dict[str, Any]
) -> None:
    """A missing file is not replaced by the picture of another result."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / name).write_bytes(picture(2))
    tasks, told = taken(tmp_path, store, task({"selected": True, **given}))
    assert told["missing"] == 1
    assert tasks[0].results == []


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path, store: Store) -> None:
    """A folder that moved keeps its order inside; where that does not tell, nothing is guessed."""
    for folder, number in (("t1", 1), ("t2", 2)):
        (tmp_path / "cache" / folder).mkdir(parents=True)
        (tmp_path / "cache" / folder / "0.png").write_bytes(picture(number))
    tasks, told = taken(
        tmp_path,
        store,
        task({"p": "/old/cache/t1/0.png"}),
        task({"p": "D:\\old\\cache\\t2\\0.png"}, id="t2"),
        task({"p": "/elsewhere/0.png"}, id="t3"),
    )
    hashes = [[result.hash for result in one.results] for one in tasks]
    assert hashes == [[hashlib.sha256(picture(1)).hexdigest()], [hashlib.sha256(picture(2)).hexdigest()], []]
    assert told["missing"] == 1


@pytest.mark.skipif(os.name == "nt", reason="pipes, and links that anybody may make")
def test_only_plain_files_of_the_folder_are_read(tmp_path: Path, store: Store) -> None:
    """A pipe holds nobody up, and no link leads out of the folder."""
    (tmp_path / "outside.png").write_bytes(picture(1))
    cache = tmp_path / "data" / "cache"
    cache.mkdir(parents=True)
    os.mkfifo(cache / "r1.png")
    (cache / "r2.png").symlink_to(tmp_path / "outside.png")
    (cache / "r3.png").symlink_to("/dev/zero")
    (cache / "r4.png").write_bytes(picture(4) + bytes(EditLimits().max_candidate_bytes))
    results = [{"id": f"r{number}", "path": f"cache/r{number}.png"} for number in range(1, 5)]
    tasks, told = taken(tmp_path / "data", store, task(*results))
    assert (tasks[0].results, told["missing"]) == ([], 4)


@pytest.mark.parametrize(
    ("attempts", "http_status", "kept"),
    [
        (2.0, 200.0, (2, 200)),
        (True, False, (0, None)),
        (2.5, 200.5, (0, None)),
        (float("nan"), float("inf"), (0, None)),
        (-1, -200, (0, None)),
        (2**200, 10**30, (0, None)),
        (1e300, -1e300, (0, None)),
        ("2", "200", (0, None)),
        ([2], {"a": 1}, (0, None)),
    ],
)
def test_odd_numbers(tmp_path: Path, store: Store, attempts: Any, http_status: Any, kept: tuple[int, int]) -> None:
    """A number that was written as 2.0 is one; what is none, or makes no sense, counts as not given."""
    tasks, _ = taken(tmp_path, store, task(attempts=attempts, http_status=http_status))
    assert (tasks[0].attempts, tasks[0].http_status) == kept


def test_odd_marks_and_words(tmp_path: Path, store: Store) -> None:
    """A mark is yes or no, also as a number; paths and names are texts or not there; words are cut."""
    (tmp_path / "cache").mkdir()
    for number in range(1, 6):
        (tmp_path / "cache" / f"r{number}.png").write_bytes(picture(number))
    marks: list[tuple[Any, Any]] = [(0, 1), (1.0, 0.0), ("no", "yes"), (None, None), ([], {})]
    results = [{"id": f"r{number}", "selected": a, "deleted": b} for number, (a, b) in enumerate(marks, 1)]
    tasks, told = taken(
        tmp_path, store,
        task(*results, source_name=["a"], last_warning="w" * 9999, status="partial_success"),
        *({"source_path": value} for value in (5, True, ["/a"], {"a": 1}, 0.5)),
    )  # fmt: skip
    assert told == {"tasks": 1, "missing": 0}
    assert tasks[0].source_name == "a_start.png"
    assert [(one.selected, one.deleted) for one in tasks[0].results] == [(False, True)] + [(True, False)] * 4
    assert tasks[0].warning is not None
    assert len(str(tasks[0].warning.params["message"])) == 2000


def test_a_store_with_tasks_of_its_own_is_left_alone(tmp_path: Path, store: Store) -> None:
    """The old file may stay where it is: a second start takes nothing over."""
    store.add([NewTask("/x", "x", "print")])
    assert take_over({"tasks": [task()]}, tmp_path, store, Cache(tmp_path / "kept"), EditLimits()) == []
    assert take_over({}, tmp_path, store, Cache(tmp_path / "kept"), EditLimits()) == []
    assert len(list(store.tasks(TaskMatch()))) == 1


def test_an_interrupted_takeover_is_done_again(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the first attempt ended half-way, the next one brings every result."""
    (tmp_path / "cache").mkdir()
    for number in (1, 2):
        digest = hashlib.sha256(picture(number)).hexdigest()
        (tmp_path / "cache" / f"{digest}.png").write_bytes(picture(number))
    entries = [task(result(1)), task(result(2), id="t2")]

    def broken(*_: object) -> None:
        raise StorageFailed(Code.DISK_FULL)

    with monkeypatch.context() as patch:
        patch.setattr(store, "finish", broken)
        with pytest.raises(StorageFailed):
            taken(tmp_path, store, *entries)
    tasks, _ = taken(tmp_path, store, *entries)
    assert [(one.id, one.result_count) for one in tasks] == [("t1", 1), ("t2", 1)]
