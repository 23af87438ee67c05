"""What a task goes through, end to end against the fake API in its three modes: states, retries, stop, resume."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from engine.config import ApiMode
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import Door, config_for, open_door, until
from tests.support.pictures import picture, source_folder
from tests.support.replies import MODES, by_url, inline

CHAT = ApiMode.CHAT_COMPLETIONS


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three pictures."""
    return source_folder(tmp_path / "in", 3)


@pytest.mark.parametrize("mode", MODES)
def test_done_when_every_named_picture_is_stored(fake: FakeUpstream, shared: Door, source: Path, mode: ApiMode) -> None:
    """Two pictures, one inline and one by URL, the same one twice: two results in order, byte for byte."""
    shared.post("/api/tasks/clear")
    url = fake.picture(picture(12))
    fake.answer(by_url(mode, url, url, fake.picture(picture(13), "/files/other.png")))
    task = shared.run(source, config_for(fake, mode))[0]
    assert (task["status"], task["last_error"], task["last_warning"]) == ("done", "", "")
    got = [shared.ask("GET", result["image_url"]).content for result in task["results"]]
    assert got == [picture(12), picture(13)]
    assert [result["source_type"] for result in task["results"]] == ["url", "url"]
    fake.answer(inline(mode, picture(14), picture(14), picture(15)))
    shared.post(f"/api/tasks/{task['id']}/retry")
    shared.wait_idle()
    again = shared.tasks()[0]
    assert (again["status"], again["result_count"]) == ("done", 4)
    assert again["results"][3]["source_type"] in {"base64", "data_url"}


@pytest.mark.parametrize("mode", MODES)
def test_partial_success_says_why(fake: FakeUpstream, shared: Door, source: Path, mode: ApiMode) -> None:
    """One stored and one not is partial_success, with the reason as a warning and no error."""
    shared.post("/api/tasks/clear")
    fake.answer(by_url(mode, fake.picture(picture(1)), fake.route("/gone.png", Script(status=404))))
    task = shared.run(source, config_for(fake, mode))[0]
    assert (task["status"], task["result_count"], task["last_error"]) == ("partial_success", 1, "")
    assert task["warning"]["code"] == "some_candidates_refused"
    assert task["warning"]["params"] == {"refused": 1, "named": 2, "reason": "download_status"}
    assert task["last_warning"] == task["warning"]["message"]
    assert shared.get("/api/tasks?only=warning")["total"] == 3


@pytest.mark.parametrize("mode", MODES)
def test_failed_retry_keeps_what_was_there(fake: FakeUpstream, shared: Door, source: Path, mode: ApiMode) -> None:
    """A retry that fails leaves the earlier results, and says that it failed."""
    shared.post("/api/tasks/clear")
    fake.answer(inline(mode, picture(1)))
    task = shared.run(source, config_for(fake, mode))[0]
    fake.answer(Script.error(400, "no"))
    shared.post(f"/api/tasks/{task['id']}/retry")
    shared.wait_idle()
    failed = shared.tasks()[0]
    assert (failed["status"], failed["results"], failed["http_status"]) == ("failed", task["results"], 400)
    fake.answer(inline(mode, picture(1)))
    shared.post(f"/api/tasks/{task['id']}/retry")
    shared.wait_idle()
    same = shared.tasks()[0]
    assert (same["status"], same["result_count"], same["last_error"]) == ("done", 1, ""), "unique by hash"


@pytest.mark.parametrize("mode", MODES)
def test_retries_obey_retry_after(fake: FakeUpstream, shared: Door, source: Path, mode: ApiMode) -> None:
    """A refusal that may pass is asked again after the time the API names; the attempts are counted and logged."""
    shared.post("/api/tasks/clear")
    (source / "002_start.png").unlink()
    (source / "003_start.png").unlink()
    fake.answer(Script.error(429, "slow", headers={"Retry-After": "1"}), Script(status=503), inline(mode, picture(1)))
    task = shared.run(source, config_for(fake, mode, max_retries=2))[0]
    assert (task["status"], task["attempts"], task["http_status"], task["last_error"]) == ("done", 3, 200, "")
    first, second, third = fake.api_requests
    assert second.at - first.at >= 0.95
    assert third.at - second.at >= 0.1
    assert first.body == third.body
    entries = shared.get(f"/api/tasks/{task['id']}/debug")["entries"]
    assert Counter(entry["kind"] for entry in entries if entry["kind"] in ("request", "retry")) == {
        "request": 3, "retry": 2,
    }  # fmt: skip
    assert [entry["attempt"] for entry in entries if entry["kind"] == "request"] == [1, 2, 3]


def test_retries_end(fake: FakeUpstream, door: Door, source: Path) -> None:
    """After max_retries the task fails; a lasting refusal is not asked twice."""
    fake.answer(Script(status=500))
    tasks = door.run(source, config_for(fake, max_retries=1))
    assert {(task["status"], task["attempts"]) for task in tasks} == {("failed", 2)}
    assert len(fake.api_requests) == 6
    fake.answer(Script.error(401, "no"))
    door.post(f"/api/tasks/{tasks[0]['id']}/retry")
    door.wait_idle()
    assert len(fake.api_requests) == 7


@pytest.mark.parametrize("mode", MODES)
def test_a_failed_download_is_retried_without_asking_again(
    fake: FakeUpstream, shared: Door, source: Path, mode: ApiMode
) -> None:
    """The paid answer is not thrown away because a download failed once."""
    shared.post("/api/tasks/clear")
    (source / "002_start.png").unlink()
    (source / "003_start.png").unlink()
    downloads = iter([Script(status=503), Script(stop_at=10, body=picture(1), ending="reset")])
    good = Script(body=picture(1), content_type="image/png")

    def answering(request: Received) -> Script:
        return next(downloads, good) if request.path == "/dl.png" else by_url(mode, "/dl.png")

    fake.answer_with(answering)
    task = shared.run(source, config_for(fake, mode, max_retries=2))[0]
    assert (task["status"], task["attempts"], task["result_count"]) == ("done", 1, 1)
    assert [request.path == "/dl.png" for request in fake.requests] == [False, True, True, True]


def test_answer_that_ends_with_a_reset_is_whole(fake: FakeUpstream, door: Door, source: Path) -> None:
    """After the end mark nothing that happens to the line matters."""
    whole = inline(CHAT, picture(1))
    fake.answer(inline(CHAT, picture(1), claim=len(whole.body) + 100, stop_at=len(whole.body), ending="reset"))
    assert {task["status"] for task in door.run(source, config_for(fake))} == {"done"}


def test_a_picture_that_came_before_the_cut_is_kept(fake: FakeUpstream, door: Door, source: Path) -> None:
    """What arrived whole is stored; where more was asked for, a warning says that the answer was cut."""
    whole = inline(CHAT, picture(1))
    end = whole.body.index(b"\n\n") + 2
    fake.answer(inline(CHAT, picture(1), stop_at=end, claim=len(whole.body), ending="reset"))
    task = door.run(source, config_for(fake, result_count=2))[0]
    assert (task["status"], task["result_count"]) == ("partial_success", 1)
    assert task["warning"]["code"] == "connection_lost"
    door.post("/api/tasks/clear")
    task = door.run(source, config_for(fake, user_prompt="one will do", result_count=1))[0]
    assert (task["status"], task["result_count"], task["warning"]) == ("done", 1, None)


def test_concurrency_is_bounded_and_used(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """As many calls at once as asked for, never more."""
    fake.answer(inline(CHAT, picture(1), delay=0.1))
    tasks = door.run(source_folder(tmp_path / "many", 16), config_for(fake, concurrency_limit=4))
    assert {task["status"] for task in tasks} == {"done"}
    assert fake.busiest == 4


@pytest.mark.parametrize("mode", MODES)
def test_a_stop_in_an_answer_is_resumed(fake: FakeUpstream, shared: Door, tmp_path: Path, mode: ApiMode) -> None:
    """In each mode: all tasks are stopped in the middle of their answers, and resuming asks once more for each."""
    shared.post("/api/tasks/clear")
    fake.answer(inline(mode, picture(1), stop_at=40, ending="hang"))
    shared.start(
        source_folder(tmp_path / "in", 8),
        config_for(fake, mode, concurrency_limit=6, max_retries=3, request_form="json"),
    )
    assert fake.wait_for_requests(6)
    answer = shared.post("/api/tasks/stop")
    assert (answer["stopped"], answer["affected"]) == (True, 8)
    shared.wait_idle()
    until(lambda: fake.hang_ups == 6)
    assert [task["status"] for task in shared.tasks()] == ["stopped"] * 8
    assert {task["error"]["code"] for task in shared.tasks()} == {"stopped_by_user"}
    state = shared.state()
    assert (state["running"], state["stop_requested"], state["progress"]["stopped"]) == (False, True, 8)
    asked = len(fake.api_requests)
    fake.answer(inline(mode, picture(2)))
    assert shared.post("/api/tasks/resume")["resumed_count"] == 8
    shared.wait_idle()
    assert [task["status"] for task in shared.tasks()] == ["done"] * 8
    assert len(fake.api_requests) == asked + 8


def test_stop_keeps_what_has_arrived(fake: FakeUpstream, door: Door, source: Path) -> None:
    """A picture that came whole before the stop is stored although its answer never ended."""
    whole = inline(CHAT, picture(1))
    fake.answer(inline(CHAT, picture(1), stop_at=whole.body.index(b"\n\n") + 2, ending="hang", claim=10**6))
    door.start(source, config_for(fake, concurrency_limit=1))
    first = door.tasks()[0]["id"]
    until(lambda: any(e["kind"] == "event" for e in door.get(f"/api/tasks/{first}/debug")["entries"]))
    door.post("/api/tasks/stop")
    door.wait_idle()
    task = door.tasks()[0]
    assert (task["status"], task["result_count"]) == ("stopped", 1)
    assert door.ask("GET", task["results"][0]["image_url"]).content == picture(1)


def test_asking_twice_at_once_pays_once(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """Two clicks on retry failed, or on resume, at the same moment run each task once."""
    fake.answer(Script.error(400, "no"))
    door.run(source_folder(tmp_path / "in", 12), config_for(fake, concurrency_limit=4))
    fake.answer(inline(CHAT, picture(1), delay=0.05))
    asked = len(fake.api_requests)
    start = threading.Barrier(6)

    def click() -> None:
        start.wait()
        door.ask("POST", "/api/tasks/retry_failed")

    clicks = [threading.Thread(target=click) for _ in range(6)]
    for thread in clicks:
        thread.start()
    for thread in clicks:
        thread.join()
    door.wait_idle()
    assert len(fake.api_requests) == asked + 12
    assert {task["result_count"] for task in door.tasks()} == {1}


def test_the_same_start_pays_nothing_twice(fake: FakeUpstream, tmp_path: Path) -> None:
    """What was answered is not asked again, also after a restart; failed and changed pictures are."""
    source = source_folder(tmp_path / "in", 3)
    config = config_for(fake)
    answers = iter([inline(CHAT, picture(1)), inline(CHAT, picture(2)), Script.error(400, "no")])
    fake.answer_with(lambda _: next(answers, inline(CHAT, picture(3))))
    with open_door(tmp_path / "data") as door:
        assert [task["status"] for task in door.run(source, {**config, "concurrency_limit": 1})][2] == "failed"
    with open_door(tmp_path / "data") as door:
        again = door.start(source, {**config, "api_key": ""})
        assert (again["task_count"], again["new_count"], again["reused_count"]) == (3, 1, 2)
        door.wait_idle()
        assert [task["status"] for task in door.tasks()] == ["done"] * 3
        assert len(fake.api_requests) == 4
        assert door.start(source, config)["new_count"] == 0
        assert door.start(source, {**config, "max_retries": 5, "timeout_seconds": 60})["new_count"] == 0
        (source / "001_start.png").write_bytes(picture(77, size=(30, 30)))
        assert door.start(source, config)["new_count"] == 1
        door.wait_idle()
        assert door.start(source, {**config, "user_prompt": "other"})["new_count"] == 3
        door.wait_idle()
        assert len(fake.api_requests) == 8
        for folder, calls in (("cache", 0), ("cache answers", 3)):
            for name in folder.split():
                for file in (tmp_path / "data" / name).rglob("*.png"):
                    file.unlink()
            assert door.start(source, config)["new_count"] == calls, "what was lost comes from the ledger, else anew"
            door.wait_idle()
            shown = [door.ask("GET", result["image_url"]) for task in door.tasks() for result in task["results"]]
            assert sum(answer.status_code == 200 for answer in shown) >= 3


def test_what_ran_at_the_end_is_stopped_at_the_next_start(fake: FakeUpstream, tmp_path: Path) -> None:
    """Closing in the middle keeps what is done, marks the rest, and resume completes it."""
    source = source_folder(tmp_path / "in", 4)
    answers = iter([inline(CHAT, picture(1))])
    fake.answer_with(lambda _: next(answers, Script(silent=True)))
    with open_door(tmp_path / "data") as door:
        door.start(source, config_for(fake, concurrency_limit=1))
        until(lambda: door.state()["progress"]["done"] == 1)
    fake.answer(inline(CHAT, picture(2)))
    with open_door(tmp_path / "data") as door:
        assert [task["status"] for task in door.tasks()] == ["done", "stopped", "stopped", "stopped"]
        assert door.post("/api/tasks/resume")["resumed_count"] == 3
        door.wait_idle()
        assert [task["status"] for task in door.tasks()] == ["done"] * 4
