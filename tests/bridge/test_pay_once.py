"""What was answered once is not asked again: whatever the files are called now, and after the list was cleared."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.config import ApiMode
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import Door, config_for, until
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline

EDITS = ApiMode.IMAGES_EDITS


def plan(door: Door, source: Path, config: dict[str, object], **more: object) -> tuple[int, int, int]:
    """Tasks, answers that are there, and calls, as shown before a start."""
    seen = door.post("/api/tasks/inspect", {"input_path": str(source), "config": config, **more})
    return seen["tasks"], seen["reused"], seen["calls"]


@pytest.fixture
def paid(fake: FakeUpstream, door: Door, tmp_path: Path) -> Path:
    """Three pictures that have been edited."""
    source = source_folder(tmp_path / "in", 3)
    fake.answer(inline(EDITS, picture(77)))
    assert plan(door, source, config_for(fake, EDITS)) == (3, 0, 3)
    door.run(source, config_for(fake, EDITS))
    assert len(fake.api_requests) == 3
    return source


def test_the_same_folder_again_calls_nobody(fake: FakeUpstream, door: Door, paid: Path) -> None:
    """The tasks stay as they are, and the start says that nothing is to be done."""
    before = door.tasks()
    answer = door.start(paid, config_for(fake, EDITS))
    assert (answer["task_count"], answer["new_count"], answer["reused_count"]) == (3, 0, 3)
    assert door.tasks() == before
    assert len(fake.api_requests) == 3


def test_renamed_moved_and_after_a_clear(fake: FakeUpstream, door: Door, paid: Path) -> None:
    """The bytes of the source count: results come back without a call, with the new name."""
    config = config_for(fake, EDITS)
    names = sorted(paid.iterdir())
    (paid / "deep").mkdir()
    names[0].rename(paid / "deep" / "moved.png")
    names[1].rename(paid / "renamed.png")
    assert door.post("/api/tasks/clear")["removed_cache_files"] >= 1
    assert plan(door, paid, config) == (3, 3, 0)
    door.run(paid, config)
    assert len(fake.api_requests) == 3
    assert {task["source_name"]: task["status"] for task in door.tasks()} == {
        "moved.png": "done", "renamed.png": "done", names[2].name: "done",
    }  # fmt: skip
    results = [task["results"][0] for task in door.tasks()]
    assert {door.ask("GET", result["image_url"]).content for result in results} == {picture(77)}


def test_another_wish_is_another_call(fake: FakeUpstream, door: Door, paid: Path) -> None:
    """Prompt, model, address and parameters make the wish; the key and the network do not."""
    config = config_for(fake, EDITS)
    for changed in ({"user_prompt": "x"}, {"model_name": "x"}, {"temperature": 0.1}, {"extra_body": {"size": "1k"}}):
        assert plan(door, paid, {**config, **changed}) == (3, 0, 3)
    for same in ({"api_key": "sk-another-key-00"}, {"timeout_seconds": 60}, {"concurrency_limit": 9}):
        assert plan(door, paid, {**config, **same}) == (3, 3, 0)
    assert plan(door, paid, config, fresh=True) == (3, 0, 3)


def test_new_calls_for_all_when_the_person_wants_them(fake: FakeUpstream, door: Door, paid: Path) -> None:
    """``fresh`` asks again and keeps the earlier results beside the new ones."""
    fake.answer(inline(EDITS, picture(78)))
    door.post("/api/tasks/start", {"input_path": str(paid), "config": config_for(fake, EDITS), "fresh": True})
    door.wait_idle()
    assert len(fake.api_requests) == 6
    assert [task["result_count"] for task in door.tasks()] == [2, 2, 2]


def test_a_retry_is_always_a_new_call(fake: FakeUpstream, door: Door, paid: Path) -> None:
    """Whoever asks for a retry gets one."""
    door.post(f"/api/tasks/{door.tasks()[0]['id']}/retry")
    door.wait_idle()
    assert len(fake.api_requests) == 4


def test_exactly_the_missing_calls_are_made(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """Of 1,000 pictures stopped at 40 %, a third renamed, 100 added, the list cleared: the rest is asked, no more."""
    source, config = source_folder(tmp_path / "in", 1000), config_for(fake, EDITS, concurrency_limit=8)
    answered = threading.Lock()
    fake.answer(inline(EDITS, picture(5)))
    door.start(source, config)
    until(lambda: door.console.batch.info().finished_in_run >= 400, 60)
    door.post("/api/tasks/stop")
    door.wait_idle()
    with answered:
        done = door.state()["progress"]["done"]
    assert 400 <= done < 1000
    for number, path in enumerate(sorted(source.iterdir())):
        if number % 3 == 0:
            path.rename(source / f"renamed-{number}.png")
    for number in range(2000, 2100):
        (source / f"new-{number}.png").write_bytes(picture(number))
    door.post("/api/tasks/clear")
    before = len(fake.api_requests)
    assert plan(door, source, config) == (1100, done, 1100 - done)
    door.run(source, config)
    assert len(fake.api_requests) - before == 1100 - done
    assert door.state()["progress"]["done"] == 1100
