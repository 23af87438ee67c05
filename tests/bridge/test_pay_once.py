"""What was answered once is not asked again: whatever the files are called now, and after the list was cleared."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from engine.config import ApiMode
from engine.models import TaskMatch, TaskStatus
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import Door, config_for, open_door, open_door_on, until
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline

EDITS = ApiMode.IMAGES_EDITS
ROOT = Path(__file__).resolve().parents[2]
MANY, ADDED = (1000, 100) if os.environ.get("FULL") == "1" else (250, 25)  # pictures, and those that come later
STOPPED, ALL = MANY * 2 // 5, MANY + ADDED


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


def test_what_was_paid_earlier_keeps_its_provenance(fake: FakeUpstream, door: Door, paid: Path, tmp_path: Path) -> None:
    """Results taken from the ledger know their prompt, model and time, so a set made of them has captions; the report
    counts the calls that they took."""
    times = [result.created_at for task in door.app.store.tasks(TaskMatch()) for result in task.results]
    door.post("/api/tasks/clear")
    until(lambda: time.time() > max(times) + 1)
    door.run(paid, config_for(fake, EDITS))
    assert len(fake.api_requests) == 3
    answer = door.post(
        "/api/dataset/export",
        {"output_dir": str(tmp_path / "sets"), "allow": ["unrelated", "same_target", "blank", "aspect"]},
    )
    assert door.app.jobs.wait_idle(60)
    job = door.get("/api/dataset/job")["job"]
    assert (job["id"], job["status"]) == (answer["job"]["id"], "done"), job["error"]
    rows = [json.loads(line) for line in (tmp_path / "sets/set_v001/metadata.jsonl").read_text("utf-8").splitlines()]
    assert [(row["caption"], row["model"]) for row in rows] == [("make it evening", "grok-imagine-1.0-edit")] * 3
    assert [row["created_at"] for row in rows] == times
    door.post("/api/dataset/report", {"path": str(tmp_path / "report.html")})
    assert door.app.jobs.wait_idle(60)
    assert "<dt>API 调用</dt><dd>3</dd>" in (tmp_path / "report.html").read_text("utf-8")


def test_answers_that_another_list_paid_for(fake: FakeUpstream, tmp_path: Path) -> None:
    """A task that waits here and was answered elsewhere meanwhile is not asked again."""
    source, config = source_folder(tmp_path / "in", 3), config_for(fake, EDITS)
    fake.answer(inline(EDITS, picture(77)))
    shared = tmp_path / "answers"
    with open_door_on(tmp_path / "one", shared, {}) as one:
        one.start(source, config)
        one.post("/api/tasks/stop")
        one.wait_idle()
        done = one.state()["progress"]["done"]
        with open_door_on(tmp_path / "two", shared, {}) as two:
            two.run(source, {**config, "api_key": "sk-of-the-other-list"})
        # Told apart by key: a call that was stopped may reach the API after all, some time later.
        assert sum("of-the-other-list" in call.headers["authorization"] for call in fake.api_requests) == 3 - done
        assert plan(one, source, config) == (3, 3, 0)
        before = len(fake.api_requests)
        one.run(source, config)
        assert one.state()["progress"]["done"] == 3
        assert len(fake.api_requests) == before


def test_a_result_that_was_cleared_does_not_come_back(fake: FakeUpstream, door: Door, paid: Path) -> None:
    """Whoever cleared a result wanted another one: a retry that was stopped after that is asked at the next start."""
    task = door.tasks()[0]
    until(lambda: time.time() > task["updated_at"] + 1)
    door.app.store.drop_results(task["id"])
    door.app.store.set_status([task["id"]], TaskStatus.STOPPED)
    assert plan(door, paid, config_for(fake, EDITS)) == (3, 2, 1)
    door.run(paid, config_for(fake, EDITS))
    assert len(fake.api_requests) == 4


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


def rename_a_third_and_add(source: Path, more: int) -> None:
    """What a person may do to a folder between two runs."""
    for number, path in enumerate(sorted(source.iterdir())):
        if number % 3 == 0:
            path.rename(source / f"renamed-{number}.png")
    for number in range(2000, 2000 + more):
        (source / f"new-{number}.png").write_bytes(picture(number))


def test_exactly_the_missing_calls_are_made(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """Of many pictures stopped at 40 %, a third renamed, some added, the list cleared: the rest is asked, no more."""
    source, config = source_folder(tmp_path / "in", MANY), config_for(fake, EDITS, concurrency_limit=8)
    answered = threading.Lock()
    fake.answer(inline(EDITS, picture(5)))
    door.start(source, config)
    until(lambda: door.app.batch.info().finished_in_run >= STOPPED, 60)
    door.post("/api/tasks/stop")
    door.wait_idle()
    with answered:
        done = door.state()["progress"]["done"]
    assert STOPPED <= done < MANY
    rename_a_third_and_add(source, ADDED)
    door.post("/api/tasks/clear")
    before = len(fake.api_requests)
    assert plan(door, source, config) == (ALL, done, ALL - done)
    door.run(source, config)
    assert len(fake.api_requests) - before == ALL - done
    assert door.state()["progress"]["done"] == ALL


def run_process(source: Path, place: Path, config: dict[str, object], *arguments: str) -> subprocess.Popen[bytes]:
    """``run`` with this configuration and the data folder ``place``/data; results go to ``place``/out."""
    settings = place / "config.json"
    settings.write_text(json.dumps(config))
    return subprocess.Popen(
        [
            sys.executable, str(ROOT / "launcher.py"), "run", str(source), "-o", str(place / "out"), "--json",
            "--config", str(settings), *arguments,
        ],
        env={**os.environ, "APP_DATA_DIR": str(place / "data"), "LC_ALL": "en_US.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def events_of(process: subprocess.Popen[bytes], code: int) -> list[dict[str, Any]]:
    """What a run said until its end."""
    out, err = process.communicate(timeout=100)
    assert process.returncode == code, err.decode()
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.slow
def test_exactly_the_missing_calls_on_the_command_line(fake: FakeUpstream, tmp_path: Path) -> None:
    """The same with ``run``: interrupted at 40 %, a third renamed, some added, its tasks cleared, started again."""
    source, config = source_folder(tmp_path / "in", MANY), config_for(fake, EDITS, concurrency_limit=8)
    fake.answer(inline(EDITS, picture(5)))
    process = run_process(source, tmp_path, config)
    until(lambda: len(fake.api_requests) >= STOPPED, 60)
    process.send_signal(signal.SIGINT)
    done = events_of(process, 130)[-1]["progress"]["done"]
    assert STOPPED - 20 <= done < MANY
    rename_a_third_and_add(source, ADDED)
    shutil.rmtree(tmp_path / "data" / "runs")
    before = len(fake.api_requests)
    events = events_of(run_process(source, tmp_path, config), 0)
    assert (events[0]["task_count"], events[0]["reused_count"], events[0]["new_count"]) == (ALL, done, ALL - done)
    assert len(fake.api_requests) - before == ALL - done
    assert events[-1]["progress"]["done"] == ALL
    with open_door(tmp_path / "data") as page:
        assert plan(page, source, config) == (ALL, ALL, 0)  # the page knows what ``run`` paid for
