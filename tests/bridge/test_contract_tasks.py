"""The routes that run, judge and save, called as scripts of old call them and compared with the contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.usecases.debug_text import debug_text, readable
from engine.config import ApiMode
from engine.models import DebugEntry
from tests.fakes.upstream import FakeUpstream, Script
from tests.made_pictures import encoded
from tests.support.doors import Door, config_for, until
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline
from tests.support.shapes import fits

CHAT = ApiMode.CHAT_COMPLETIONS
OK = {"ok": (bool,)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three pictures."""
    return source_folder(tmp_path / "in", 3)


@pytest.fixture
def filled(fake: FakeUpstream, door: Door, source: Path) -> Door:
    """Three tasks done, two results each, all different."""
    answers = iter([inline(CHAT, picture(number), picture(number + 1)) for number in range(100, 140, 2)])
    fake.answer_with(lambda _: next(answers))
    door.run(source, config_for(fake, concurrency_limit=1))
    return door


def test_inspect(door: Door, tmp_path: Path) -> None:
    """An inspection counts what a start would find, and sends nothing."""
    folder = source_folder(tmp_path / "in", 2)
    (folder / "photo.jpg").write_bytes(encoded("jpeg"))
    (folder / "broken.png").write_bytes(picture(1)[:30])
    (folder / "words.jpg").write_text("no picture")
    answer = door.post("/api/tasks/inspect", {"input_path": str(folder)})
    fits(answer, {"count": (int,), "total_bytes": (int,), "formats": (dict,), "unreadable": (list,), "largest": (int,)})
    assert answer["count"] == 3
    good = [path for path in folder.iterdir() if path.name not in ("broken.png", "words.jpg")]
    assert answer["total_bytes"] == sum(path.stat().st_size for path in good)
    assert answer["largest"] == max(path.stat().st_size for path in good)
    assert sum(answer["formats"].values()) == 3
    named = {Path(file["path"]).name: file["code"] for file in answer["unreadable"]}
    assert named == {"broken.png": "picture_broken", "words.jpg": "picture_not_image"}
    assert all(file["message"] for file in answer["unreadable"])
    single = door.post("/api/tasks/inspect", {"input_path": str(folder / "photo.jpg")})
    assert single["count"] == 1


def test_start_answers_and_is_refused_while_running(fake: FakeUpstream, door: Door, source: Path) -> None:
    """A start says how many tasks there are; while they run another start, delete and clear are 409."""
    fake.answer(Script(silent=True))
    started = door.start(source, config_for(fake))
    fits(started, {"ok": (bool,), "task_count": (int,)})
    assert (started["ok"], started["task_count"]) == (True, 3)
    assert door.state()["running"] is True
    busy = {"input_path": str(source), "config": config_for(fake)}
    door.refused(409, "batch_running", "POST", "/api/tasks/start", busy)
    door.refused(409, "batch_running", "POST", "/api/tasks/resume")
    door.refused(409, "batch_running", "POST", "/api/tasks/clear")
    task = door.tasks()[0]["id"]
    door.refused(409, "batch_running", "DELETE", f"/api/tasks/{task}")
    door.refused(409, "task_running", "POST", f"/api/tasks/{task}/retry")
    door.refused(409, "task_running", "POST", f"/api/tasks/{task}/retry_clear")
    stopped = door.post("/api/tasks/stop")
    fits(stopped, {"stopped": (bool,), "affected": (int,), "single_retry_running": (int,), "cleanup": (dict,), **OK})
    assert (stopped["stopped"], stopped["affected"], stopped["single_retry_running"]) == (True, 3, 0)
    assert type(stopped["single_retry_running"]) is int
    door.wait_idle()
    assert [one["status"] for one in door.tasks()] == ["stopped"] * 3
    idle = door.post("/api/tasks/stop")
    assert (idle["ok"], idle["stopped"], idle["affected"]) == (True, False, 0)
    assert idle["message"]
    assert door.state()["stop_requested"] is True, "until the next start"
    fake.answer(inline(CHAT, picture(1)))
    door.post("/api/tasks/resume")
    assert door.state()["stop_requested"] is False
    door.wait_idle()


def test_resume_runs_what_was_stopped(fake: FakeUpstream, door: Door, source: Path) -> None:
    """Every stopped task runs again and ends done."""
    fake.answer(Script(silent=True))
    door.start(source, config_for(fake, concurrency_limit=1))
    assert fake.wait_for_requests(1)
    door.post("/api/tasks/stop")
    door.wait_idle()
    fake.answer(inline(CHAT, picture(1)))
    resumed = door.post("/api/tasks/resume")
    fits(resumed, {"ok": (bool,), "resumed_count": (int,)})
    assert resumed["resumed_count"] == 3
    door.wait_idle()
    assert [one["status"] for one in door.tasks()] == ["done"] * 3
    assert door.post("/api/tasks/resume")["resumed_count"] == 0


def test_retry_keeps_and_retry_clear_drops(filled: Door) -> None:
    """A retry adds results to those that are there; retry_clear takes them away first."""
    task = filled.tasks()[0]
    answer = filled.post(f"/api/tasks/{task['id']}/retry")
    fits(answer, {"ok": (bool,), "task_id": (str,), "single_retry_running": (int,)})
    assert (answer["task_id"], answer["single_retry_running"]) == (task["id"], 1)
    filled.wait_idle()
    kept = filled.tasks()[0]
    assert (kept["result_count"], kept["attempts"], kept["status"]) == (4, 2, "done")
    assert kept["results"][:2] == task["results"]
    cleared = filled.post(f"/api/tasks/{task['id']}/retry_clear")
    fits(cleared, {"task_id": (str,), "single_retry_running": (int,), "removed_old_results": (int,), **OK})
    assert cleared["removed_old_results"] == 4
    filled.wait_idle()
    fresh = filled.tasks()[0]
    assert fresh["result_count"] == 2
    assert not {one["id"] for one in fresh["results"]} & {one["id"] for one in kept["results"]}
    assert filled.ask("GET", task["results"][0]["image_url"]).status_code == 404


def test_retry_failed(fake: FakeUpstream, door: Door, source: Path) -> None:
    """Only failed tasks are asked again."""
    answers = iter([inline(CHAT, picture(9)), Script.error(400, "bad"), Script.error(400, "bad")])
    fake.answer_with(lambda _: next(answers, inline(CHAT, picture(10))))
    door.run(source, config_for(fake, concurrency_limit=1))
    assert [one["status"] for one in door.tasks()] == ["done", "failed", "failed"]
    retried = door.post("/api/tasks/retry_failed")
    fits(retried, {"ok": (bool,), "retried_count": (int,)})
    assert retried["retried_count"] == 2
    door.wait_idle()
    assert [one["status"] for one in door.tasks()] == ["done"] * 3
    assert len(fake.api_requests) == 5


def test_toggle_delete_and_restore(filled: Door) -> None:
    """A tick can be taken off and put on; a dropped result comes back by restore."""
    task = filled.tasks()[0]
    result = f"/api/tasks/{task['id']}/results/{task['results'][0]['id']}"
    toggled = filled.post(f"{result}/toggle")
    fits(toggled, {"ok": (bool,), "selected": (bool,)})
    assert toggled["selected"] is False
    assert filled.tasks()[0]["selected_count"] == 1
    assert filled.post(f"{result}/toggle")["selected"] is True
    assert filled.delete(result)["ok"] is True
    dropped = filled.tasks()[0]
    assert (dropped["result_count"], dropped["selected_count"], dropped["results"][0]["deleted"]) == (1, 1, True)
    assert filled.ask("GET", task["results"][0]["image_url"]).content == picture(100)
    assert filled.post(f"{result}/restore")["ok"] is True
    assert filled.tasks()[0]["result_count"] == 2
    for method, path in (("POST", "/toggle"), ("DELETE", ""), ("POST", "/restore")):
        filled.refused(404, "result_unknown", method, f"/api/tasks/{task['id']}/results/none{path}")
        filled.refused(404, "task_unknown", method, f"/api/tasks/none/results/none{path}")


def test_delete_task_and_clear(filled: Door, tmp_path: Path) -> None:
    """Deleted tasks take their picture files along and leave the sources alone."""
    task = filled.tasks()[0]["id"]
    answer = filled.delete(f"/api/tasks/{task}")
    fits(answer, {"ok": (bool,), "task_id": (str,), "removed_cache_files": (int,)})
    assert (answer["task_id"], answer["removed_cache_files"]) == (task, 2)
    cleanup = answer["cleanup"]
    assert cleanup.keys() == {"removed", "freed_bytes", "reason", "remove_all_unreferenced", "cache_total_bytes"}
    assert cleanup["removed"] == 2
    assert cleanup["cache_total_bytes"] > 0 < cleanup["freed_bytes"]
    filled.refused(404, "task_unknown", "DELETE", f"/api/tasks/{task}")
    assert filled.state()["task_count"] == 2
    cleared = filled.post("/api/tasks/clear", {})
    fits(cleared, {"ok": (bool,), "removed_cache_files": (int,)})
    assert (cleared["removed_cache_files"], cleared["cleanup"]["removed"]) == (4, 4)
    assert (cleared["cleanup"]["cache_total_bytes"], cleared["cleanup"]["remove_all_unreferenced"]) == (0, True)
    assert filled.state()["task_count"] == 0
    assert list((tmp_path / "data" / "cache").rglob("*.png")) == []
    assert len(list((tmp_path / "in").iterdir())) == 3


def test_a_picture_that_two_tasks_share_stays(fake: FakeUpstream, door: Door, source: Path) -> None:
    """Deleting one task does not take the file that another one names."""
    fake.answer(inline(CHAT, picture(7)))
    first, second, _ = door.run(source, config_for(fake))
    assert door.delete(f"/api/tasks/{first['id']}")["removed_cache_files"] == 0
    assert door.ask("GET", second["results"][0]["image_url"]).content == picture(7)


RULE: dict[str, Any] = {
    "filename_template": "{src_stem}", "replace_from": "start", "replace_to": "end", "create_txt": True,
    "txt_template": "{src_name} {image_name}",
}  # fmt: skip


def test_a_debug_log_shows_letters() -> None:
    """What an API escapes is shown as the letters it means; what would not show, or is escaped twice, stays."""
    entry = DebugEntry(0.0, 1, "event", {"data": r'{"text": "\u62b1\u6b49 \ud83d\ude00 \u0022 \\u62b1 \ud83d"}'})
    assert r"抱歉 😀 \u0022 \\u62b1 \ud83d" in debug_text(readable([entry]))


def test_save_result(filled: Door, tmp_path: Path) -> None:
    """One result is saved under its rule's name, with its text, and the paths come back."""
    task = filled.tasks()[0]
    url = f"/api/tasks/{task['id']}/results/{task['results'][0]['id']}/save"
    answer = filled.post(url, {"output_dir": str(tmp_path / "out"), **RULE})
    fits(answer, {"ok": (bool,), "saved_image": (str,), "saved_txt": (str,)})
    assert Path(answer["saved_image"]) == tmp_path / "out" / "001_end.png"
    assert Path(answer["saved_image"]).read_bytes() == picture(100)
    assert Path(answer["saved_txt"]).read_text() == "001_start.png 001_end.png"
    bare = filled.post(url, {"output_dir": str(tmp_path / "bare")})
    assert (Path(bare["saved_image"]).name, bare["saved_txt"]) == ("001_start.png", "")
    filled.refused(400, "output_required", "POST", url, {})
    filled.delete(url.removesuffix("/save"))
    filled.refused(400, "result_deleted", "POST", url, {"output_dir": str(tmp_path / "out")})
    filled.post(url.removesuffix("/save") + "/restore")
    revision = filled.state()["revision"]
    assert filled.tasks()[0]["results"][0]["saved"] == bare["saved_image"]
    filled.post(url, {"output_dir": str(tmp_path / "seen")})
    changed = filled.get(f"/api/state?since={revision}")["tasks"]
    assert [one["id"] for one in changed] == [task["id"]], "open pages learn where a result was saved"


def test_save_all(filled: Door, tmp_path: Path) -> None:
    """All ticked results are saved; the answer counts files, texts and errors."""
    task = filled.tasks()[0]
    filled.post(f"/api/tasks/{task['id']}/results/{task['results'][1]['id']}/toggle")
    body = {"output_dir": str(tmp_path / "out"), **RULE, "only_selected": True, "only_first_if_multiple": False}
    answer = filled.post("/api/tasks/save_all", body)
    fits(answer, {"ok": (bool,), "saved_count": (int,), "txt_count": (int,), "error_count": (int,), "errors": (list,)})
    assert (answer["saved_count"], answer["txt_count"], answer["error_count"], answer["errors"]) == (5, 5, 0, [])
    names = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert names == ["001_end.png", "002_end.png", "002_end_1.png", "003_end.png", "003_end_1.png"]
    again = filled.post("/api/tasks/save_all", {**body, "only_selected": False, "output_dir": str(tmp_path / "all")})
    assert again["saved_count"] == 6


def test_save_all_lists_at_most_twenty_errors(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """Files that are gone are counted all and named twenty at most; the others are saved."""
    numbers = iter(range(1000))
    fake.answer_with(lambda _: inline(CHAT, picture(next(numbers))))
    door.run(source_folder(tmp_path / "many", 25), config_for(fake, concurrency_limit=8))
    for file in sorted((tmp_path / "data" / "cache").rglob("*.png"))[:22]:
        file.unlink()
    answer = door.post("/api/tasks/save_all", {"output_dir": str(tmp_path / "out")})
    assert (answer["saved_count"], answer["error_count"], len(answer["errors"])) == (3, 22, 20)
    assert {error["code"] for error in answer["error_details"]} == {"result_file_missing"}
    told = zip(answer["errors"], answer["error_details"], strict=True)
    assert all(text == f"{one['source_name']}: {one['message']}" for text, one in told)


def test_ten_single_retries_at_once(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """The eleventh is 409, and so is a task that runs already; a batch is not called running."""
    fake.answer(inline(CHAT, picture(1)))
    tasks = door.run(source_folder(tmp_path / "many", 11), config_for(fake, concurrency_limit=8))
    fake.answer(Script(silent=True))
    for task in tasks[:10]:
        door.post(f"/api/tasks/{task['id']}/retry")
    door.refused(409, "too_many_retries", "POST", f"/api/tasks/{tasks[10]['id']}/retry")
    door.refused(409, "task_running", "POST", f"/api/tasks/{tasks[0]['id']}/retry")
    state = door.state()
    assert (state["running"], state["single_retry_running"]) == (False, 10)
    door.refused(409, "batch_running", "DELETE", f"/api/tasks/{tasks[0]['id']}")
    door.refused(409, "batch_running", "POST", "/api/tasks/clear")
    stopped = door.post("/api/tasks/stop")
    assert (stopped["stopped"], stopped["affected"]) == (True, 10)
    door.wait_idle()
    until(lambda: not door.state()["single_retry_running"])
    assert door.tasks()[0]["result_count"] == 1, "what was there before stays"
    fake.answer(inline(CHAT, picture(2)))
    door.post(f"/api/tasks/{tasks[10]['id']}/retry")
    door.wait_idle()
    assert door.tasks()[10]["result_count"] == 2


def test_bulk_acts_on_many(filled: Door) -> None:
    """Tick, untick, drop, restore, retry and delete many tasks by id or by filter."""
    ids = [task["id"] for task in filled.tasks()]

    def bulk(action: str, **which: Any) -> int:
        return int(filled.post("/api/tasks/bulk", {"action": action, **which})["affected"])

    assert bulk("untick", task_ids=ids[:2]) == 4
    assert filled.get("/api/tasks?only=ticked")["total"] == 1
    assert bulk("tick", match={}) == 4
    assert bulk("drop", task_ids=[ids[0], "unknown"]) == 2
    assert filled.get("/api/tasks?only=dropped")["total"] == 1
    assert bulk("restore", match={"only": "dropped"}) == 2
    assert bulk("retry", task_ids=ids[:1]) == 1
    filled.wait_idle()
    assert filled.tasks()[0]["result_count"] == 4
    assert bulk("retry_clear", task_ids=ids) == 3
    filled.wait_idle()
    assert [task["result_count"] for task in filled.tasks()] == [2, 2, 2]
    assert bulk("delete", match={"q": "001"}) == 1
    assert filled.state()["task_count"] == 2
    assert bulk("decide", task_ids=[filled.tasks()[0]["id"]]) == 1
    listed = filled.tasks()
    assert [task["decided"] for task in listed] == [True, False]
    outline = filled.get("/api/tasks/ids?sort=name&desc=1")
    assert outline == {"ids": [listed[1]["id"], listed[0]["id"]], "undecided": [0]}
    assert filled.get("/api/tasks/ids?only=undecided")["ids"] == [listed[1]["id"]]
    assert bulk("undecide", task_ids=[listed[0]["id"]]) == 1
    for body, field in (({"action": "tick"}, "task_ids"), ({"action": "paint", "match": {}}, "action")):
        assert filled.ask("POST", "/api/tasks/bulk", body).json()["field"] == field


def test_bulk_retry_clear_of_many_goes_as_a_batch(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """More than ten tasks run as a batch, their old results gone."""
    fake.answer(inline(CHAT, picture(1)))
    tasks = door.run(source_folder(tmp_path / "many", 12), config_for(fake, concurrency_limit=8))
    fake.answer(inline(CHAT, picture(2)))
    answer = door.post("/api/tasks/bulk", {"action": "retry_clear", "task_ids": [task["id"] for task in tasks]})
    assert answer["affected"] == 12
    door.wait_idle()
    assert {task["result_count"] for task in door.tasks()} == {1}
    assert len(fake.api_requests) == 24
