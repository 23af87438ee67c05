"""Findings of the last preflight as a filter of the task list, for looking, deciding and exporting."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from bridge.messages import LANGUAGES
from engine.dataset.findings import Finding, FindingKind, Shape
from engine.dataset.preflight import Numbers, Preflight, check_clean
from engine.errors import InvalidInput
from engine.models import EditOutcome, ImageInfo, SourceType, StoredImage, TaskStatus
from engine.tasks.store import NewTask
from tests.support.doors import Door, open_door

MANY = 50_000


def add(door: Door, count: int, results: int = 1) -> list[list[str]]:
    """Finished tasks with results that have no files; ids of their results."""
    store = door.app.store
    ids = store.add([NewTask(f"/in/{n}.png", f"{n}.png", "") for n in range(count)])
    made = []
    for number, task_id in enumerate(ids):
        images = [
            StoredImage(f"{number:060x}{place:04x}", 1, ImageInfo("image/png", "png", 8, 8), SourceType.URL)
            for place in range(results)
        ]
        store.finish(EditOutcome(task_id, TaskStatus.DONE, images, 1))
        made.append([result.id for result in store.task(task_id).results])
    return made


def found(door: Door, kinds: dict[str, list[FindingKind]]) -> None:
    """A preflight that found this, by result id."""
    tasks = door.app.store.tasks_of_results(kinds)
    findings = [Finding(one, tasks[one], kind) for one, several in kinds.items() for kind in several]
    door.app.found(Preflight(len(kinds), findings, {}, True, tasks))


def names(door: Door, query: str) -> list[str]:
    """Names of the tasks that a filter shows."""
    page = door.get(f"/api/tasks?{query}")
    shown = [task["source_name"] for task in page["tasks"]]
    assert page["total"] == len(shown)
    return shown


def test_the_list_is_sorted_by_what_was_measured(door: Door) -> None:
    """By each number of the last preflight, the largest of a task's results; what was not measured comes last."""
    made = add(door, 4, 2)
    assert names(door, "sort=shift") == ["0.png", "1.png", "2.png", "3.png"]
    shape = Shape((8, 8), (8, 8), 0.0, 0.0)
    shifts = {made[0][0]: 0.5, made[0][1]: 3.0, made[1][0]: 1.0, made[3][0]: 2.0, made[2][0]: None}
    numbers = {one: Numbers(shape, 9.0, 9.0, 0.5, shift, 0.1) for one, shift in shifts.items()}
    tasks = door.app.store.tasks_of_results(numbers)
    door.app.found(Preflight(5, [], numbers, True, tasks))
    assert names(door, "sort=shift") == ["1.png", "3.png", "0.png", "2.png"]
    assert names(door, "sort=shift&desc=1") == ["0.png", "3.png", "1.png", "2.png"]
    page = door.get("/api/tasks?sort=shift&desc=1&offset=1&limit=2")
    assert ([task["source_name"] for task in page["tasks"]], page["total"]) == (["3.png", "1.png"], 4)
    ids = door.get("/api/tasks/ids?sort=shift")
    assert ids["ids"] == [door.get(f"/api/tasks?q={n}.png")["tasks"][0]["id"] for n in (1, 3, 0, 2)]
    assert ids["undecided"] == [0, 1, 2, 3]


@pytest.fixture
def judged(door: Door) -> tuple[Door, list[list[str]]]:
    """Four tasks with two results each: the first is blank, the second shifted and blank, the third of another size."""
    made = add(door, 4, 2)
    found(
        door,
        {
            made[0][1]: [FindingKind.BLANK],
            made[1][0]: [FindingKind.SHIFTED, FindingKind.BLANK],
            made[2][0]: [FindingKind.SIZE],
        },
    )
    return door, made


def test_kinds_filter_the_list(judged: tuple[Door, list[list[str]]]) -> None:
    """One kind, several, or any but notes; results say what was found of them; counts are those of the list."""
    door, made = judged
    assert names(door, "finding=blank") == ["0.png", "1.png"]
    assert names(door, "finding=size,shifted") == ["1.png", "2.png"]
    assert names(door, "finding=any") == ["0.png", "1.png"]
    assert names(door, "finding=blank&q=1.png&status=done") == ["1.png"]
    results = door.get("/api/tasks?finding=shifted")["tasks"][0]["results"]
    assert {one["id"]: one["findings"] for one in results} == {made[1][0]: ["shifted", "blank"], made[1][1]: []}
    assert door.get("/api/dataset/findings?limit=0")["tasks"] == {"blank": 2, "shifted": 1, "size": 1, "any": 2}
    error = door.refused(400, "field_choice", "GET", "/api/tasks?finding=nonsense")
    assert error["field"] == "finding"


def test_nothing_is_shown_before_a_preflight(door: Door) -> None:
    """Without a preflight the filter finds nothing, and no count is there."""
    add(door, 2)
    assert names(door, "finding=any") == []
    answer = door.get("/api/dataset/findings?limit=0")
    assert (answer["at"], answer["tasks"]) == (None, {})


def test_dropped_results_leave_the_filter(judged: tuple[Door, list[list[str]]]) -> None:
    """A result that was dropped is no longer found; taken back, it is again."""
    door, made = judged
    task_id = door.tasks()[0]["id"]
    door.delete(f"/api/tasks/{task_id}/results/{made[0][1]}")
    assert names(door, "finding=blank") == ["1.png"]
    assert door.get("/api/dataset/findings?limit=0")["tasks"]["blank"] == 1
    door.post(f"/api/tasks/{task_id}/results/{made[0][1]}/restore")
    assert names(door, "finding=blank") == ["0.png", "1.png"]
    door.post("/api/tasks/clear")
    assert names(door, "finding=any") == []


def test_deeds_for_all_that_the_filter_shows(judged: tuple[Door, list[list[str]]]) -> None:
    """What the filter shows is unticked at once, and nothing else."""
    door, _ = judged
    answer = door.post("/api/tasks/bulk", {"action": "untick", "match": {"finding": "any"}})
    assert answer["affected"] == 4
    assert [task["selected_count"] for task in door.tasks()] == [0, 0, 2, 2]
    assert names(door, "finding=any&only=ticked") == []


def test_kinds_in_the_words_of_the_catalogue(judged: tuple[Door, list[list[str]]]) -> None:
    """The refusal of a set names what was found as the page does, in both languages."""
    door, _ = judged
    messages = door.app.messages
    assert door.app.preflight is not None
    with pytest.raises(InvalidInput) as refused:
        check_clean(door.app.preflight[1])
    for language in LANGUAGES:
        text = messages.problem(language, refused.value.problem)
        for kind in ("blank", "shifted"):
            assert messages.text(language, f"finding.{kind}") in text
        assert "blank, shifted" not in text


@pytest.mark.slow
def test_fifty_thousand_tasks(tmp_path: Path) -> None:
    """With a finding for a quarter of 50,000 tasks, a page from anywhere and the counts come at once."""
    folder = tmp_path / "data"
    with open_door(folder):
        pass
    with closing(sqlite3.connect(folder / "tasks.db")) as database, database:
        database.executemany(
            "INSERT INTO task (id, source_path, source_name, name_key, fingerprint, status, result_count,"
            " selected_count, updated_at, revision) VALUES (?, ?, ?, ?, '', 'done', 1, 1, ?, 1)",
            [(f"t{n:015}", f"/in/{n}.png", f"{n}.png", f"{n:08}", n) for n in range(MANY)],
        )
        database.executemany(
            "INSERT INTO result (id, task_id, hash, size, mime, extension, width, height, source_type)"
            " VALUES (?, ?, ?, 1, 'image/png', 'png', 8, 8, 'url')",
            [(f"r{n:015}", f"t{n:015}", f"{n:064x}") for n in range(MANY)],
        )
    with open_door(folder) as door:
        found(door, {f"r{n:015}": [FindingKind.BLANK, FindingKind.ASPECT][: 1 + n // 4 % 2] for n in range(0, MANY, 4)})
        slowest = 0.0
        for query in ("", "&offset=12400", "&sort=updated&desc=1", "&only=ticked&q=77"):
            begun = time.perf_counter()
            page = door.get(f"/api/tasks?finding=any{query}")
            slowest = max(slowest, time.perf_counter() - begun)
            assert page["tasks"]
        begun = time.perf_counter()
        counts = door.get("/api/dataset/findings?limit=0")["tasks"]
        counted = time.perf_counter() - begun
        assert counts == {"blank": MANY // 4, "aspect": MANY // 8, "any": MANY // 4}
        print(f"slowest page {slowest * 1000:.0f} ms, counts {counted * 1000:.0f} ms")
        assert max(slowest, counted) < 15
