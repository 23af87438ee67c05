"""The routes that look: state, list, events, debug log, pictures; with the bodies and headers of old scripts."""

from __future__ import annotations

import hashlib
import io
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from PIL import Image

from bridge.http.events import Hub
from bridge.usecases.common import Context
from engine.config import ApiMode
from tests.fakes.upstream import FakeUpstream, Script
from tests.support.doors import KEY, Door, config_for, open_door, until
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline
from tests.support.shapes import CONFIG, OLD_CONFIG, PROGRESS, fits, fits_state, fits_task

CHAT = ApiMode.CHAT_COMPLETIONS


@pytest.fixture
def filled(fake: FakeUpstream, door: Door, tmp_path: Path) -> Door:
    """Two tasks done with two results each, one failed."""
    scripts = iter([inline(CHAT, picture(101), picture(102)), inline(CHAT, picture(103), picture(104))])
    fake.answer_with(lambda _: next(scripts, Script.error(400, "no")))
    door.run(source_folder(tmp_path / "in", 3), config_for(fake, concurrency_limit=1))
    return door


def test_fresh_state_has_every_field(door: Door) -> None:
    """An empty data folder answers with the default configuration of the contract."""
    state = door.state()
    fits_state(state)
    assert (state["running"], state["stop_requested"], state["single_retry_running"]) == (False, False, 0)
    assert (state["task_count"], state["tasks"], state["presets"]) == (0, [], {})
    assert state["progress"] == {**dict.fromkeys(PROGRESS, 0)}
    defaults = {
        "system_prompt": "", "user_prompt": "", "api_key": "",
        "api_url": "https://api.openai.com/v1/chat/completions", "model_name": "grok-imagine-1.0-edit",
        "max_tokens": 65535, "temperature": 0.7, "concurrency_limit": 3, "max_retries": 2, "retry_interval": 1.5,
        "timeout_seconds": 120, "api_mode": "auto", "token_field": "auto", "unlock_local_api_url": False,
        "unlock_local_download_url": False, "result_count": 1, "response_format": "auto", "stream": "auto",
        "extra_body": {}, "extra_headers": {}, "proxy": "", "price_per_call": 0,
        "source_format": "auto", "source_max_edge": 0, "alarm_limit": 5,
        "recipe": {}, "request_form": "auto", "job_timeout_seconds": 3600, "seed": None,
            "delivery": "now", "batch_provider": "auto", "budget": 0, "budget_day": 0, "endpoints": [],
    }  # fmt: skip
    assert state["current_config"] == defaults
    assert defaults.keys() == CONFIG.keys()


def test_state_after_a_run(filled: Door) -> None:
    """Counts, tasks and results say what happened, and the key shows as eight stars."""
    state = filled.state()
    fits_state(state)
    progress = {"total": 3, "pending": 0, "processing": 0, "done": 2, "partial_success": 0, "failed": 1, "stopped": 0}
    assert state["progress"] == {**progress, "finished": 3, "percent": 100.0, "at_provider": 0}
    assert [task["status"] for task in state["tasks"]] == ["done", "done", "failed"]
    assert [task["source_name"] for task in state["tasks"]] == [f"{n:03}_start.png" for n in (1, 2, 3)]
    done, _, failed = state["tasks"]
    assert (done["result_count"], done["selected_count"], len(done["results"])) == (2, 2, 2)
    assert (done["attempts"], done["http_status"], done["last_error"]) == (1, 200, "")
    assert (failed["attempts"], failed["http_status"]) == (1, 400)
    assert "400" in failed["last_error"]
    for result, number in zip(done["results"], (101, 102), strict=True):
        assert result["hash"] == hashlib.sha256(picture(number)).hexdigest()
        assert (result["width"], result["height"], result["source_type"]) == (24, 16, "data_url")
        assert (result["selected"], result["deleted"]) == (True, False)
    assert state["current_config"]["api_key"] == "*" * 8
    assert OLD_CONFIG.keys() <= state["current_config"].keys()
    for name in (task["id"] for task in state["tasks"]):
        assert re.fullmatch(r"[A-Za-z0-9_-]{1,128}", name)


def test_percent_has_two_decimals(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """One of three finished is 33.33 per cent."""
    fake.answer_with(lambda _: Script(silent=True) if len(fake.api_requests) > 1 else inline(CHAT, picture(1)))
    door.start(source_folder(tmp_path / "in", 3), config_for(fake, concurrency_limit=1))
    until(lambda: door.get("/api/state?tasks=0")["progress"]["finished"] == 1)
    assert door.get("/api/state?tasks=0")["progress"]["percent"] == 33.33


def test_state_without_tasks_and_since(filled: Door) -> None:
    """``tasks=0`` leaves the tasks out; ``since`` gives only what changed after that revision."""
    bare = filled.get("/api/state?tasks=0")
    fits_state(bare)
    assert (bare["tasks"], bare["task_count"]) == ([], 3)
    same = filled.get(f"/api/state?since={bare['revision']}")
    assert (same["tasks"], same["removed"]) == ([], [])
    task = filled.tasks()[1]
    filled.post(f"/api/tasks/{task['id']}/results/{task['results'][0]['id']}/toggle")
    changed = filled.get(f"/api/state?since={bare['revision']}")
    assert [one["id"] for one in changed["tasks"]] == [task["id"]]
    assert changed["tasks"][0]["selected_count"] == 1
    filled.delete(f"/api/tasks/{task['id']}")
    gone = filled.get(f"/api/state?since={changed['revision']}")
    assert (gone["tasks"], gone["removed"], gone["task_count"]) == ([], [task["id"]], 2)
    filled.post("/api/tasks/clear")
    assert filled.get(f"/api/state?since={gone['revision']}")["reset"] is True


def test_list_pages_filters_and_searches(filled: Door) -> None:
    """``offset``, ``limit``, ``status`` and ``q`` choose from the list; ``total`` counts all that match."""
    everything = filled.get("/api/tasks")
    assert everything.keys() >= {"total", "tasks", "revision"}
    assert type(everything["revision"]) is int
    for task in everything["tasks"]:
        fits_task(task)
    assert [task["id"] for task in everything["tasks"]] == [task["id"] for task in filled.tasks()]
    page = filled.get("/api/tasks?offset=1&limit=1")
    assert (page["total"], [task["source_name"] for task in page["tasks"]]) == (3, ["002_start.png"])
    assert filled.get("/api/tasks?status=failed")["total"] == 1
    assert filled.get("/api/tasks?status=failed,done")["total"] == 3
    assert filled.get("/api/tasks?q=003")["total"] == 1
    assert filled.get("/api/tasks?q=%25")["total"] == 0
    assert filled.get("/api/tasks?q=" + "%E9%95%BF" * 6_000)["total"] == 0
    assert filled.get("/api/tasks?offset=3")["tasks"] == []
    assert filled.get("/api/tasks?limit=500")["total"] == 3
    for wrong, field in (("limit=501", "limit"), ("limit=0", "limit"), ("offset=-1", "offset")):
        assert filled.refused(400, "field_range", "GET", f"/api/tasks?{wrong}")["field"] == field
    filled.refused(400, "field_choice", "GET", "/api/tasks?status=finished")
    filled.refused(400, "field_type", "GET", "/api/tasks?limit=many")
    filled.refused(400, "field_type", "GET", "/api/tasks?q=" + "a" * 60_000)


def test_debug_log(filled: Door) -> None:
    """The debug log tells request, status, events and what was taken, never the key or a long base64."""
    task = filled.tasks()[0]
    debug = filled.get(f"/api/tasks/{task['id']}/debug")
    fits(debug, {"ok": (bool,), "task_id": (str,), "has_debug_log": (bool,), "has_sse": (bool,), "debug_log": (str,),
                 "updated_at": (int,)})  # fmt: skip
    assert (debug["ok"], debug["task_id"], debug["has_debug_log"], debug["has_sse"]) == (True, task["id"], True, True)
    kinds = [entry["kind"] for entry in debug["entries"]]
    assert kinds[:2] == ["request", "status"]
    assert {"event", "extracted"} <= set(kinds)
    assert KEY not in debug["debug_log"]
    assert "make it evening" in debug["debug_log"]
    assert max(len(line) for line in debug["debug_log"].splitlines()) < 4000
    failed = filled.get(f"/api/tasks/{filled.tasks()[2]['id']}/debug")
    assert "400" in failed["debug_log"]


def test_debug_log_before_anything_happened(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """A task that waits has an empty log, and one in flight shows what it did so far."""
    fake.answer(Script(silent=True))
    door.start(source_folder(tmp_path / "in", 2), config_for(fake, concurrency_limit=1))
    assert fake.wait_for_requests(1)
    first, second = door.tasks()
    waiting = door.get(f"/api/tasks/{second['id']}/debug")
    assert (waiting["has_debug_log"], waiting["has_sse"], waiting["debug_log"]) == (False, False, "")
    running = door.get(f"/api/tasks/{first['id']}/debug")
    assert (running["running"], running["has_debug_log"]) == (True, True)


def test_pictures_come_as_they_are(filled: Door) -> None:
    """Source and results are served byte for byte with their true type; thumbnails are smaller pictures."""
    task = filled.tasks()[0]
    source = filled.ask("GET", task["source_image_url"])
    assert (source.content, source.headers["content-type"]) == (picture(1), "image/png")
    for result, number in zip(task["results"], (101, 102), strict=True):
        image = filled.ask("GET", result["image_url"])
        assert (image.status_code, image.content) == (200, picture(number))
        assert image.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in image.headers["content-security-policy"]
    for url in (task["source_image_url"], task["results"][0]["image_url"].removesuffix("/image")):
        small = filled.ask("GET", f"{url}/thumbnail?size=64")
        assert small.headers["content-type"].startswith("image/")
        assert Image.open(io.BytesIO(small.content)).size == (24, 16)
        filled.refused(400, "field_range", "GET", f"{url}/thumbnail?size=0")
        filled.refused(400, "field_type", "GET", f"{url}/thumbnail?size=big")


def test_the_head_of_a_picture(filled: Door) -> None:
    """HEAD tells type and length of what GET would bring, and brings nothing."""
    task = filled.tasks()[0]
    result = task["results"][0]
    for url in (task["source_image_url"], task["source_thumbnail_url"], result["image_url"], result["thumbnail_url"]):
        head, whole = filled.ask("HEAD", url), filled.ask("GET", url)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-type", "content-length"):
            assert head.headers[name] == whole.headers[name]
        assert int(head.headers["content-length"]) == len(whole.content)


def test_pictures_that_are_gone(filled: Door, tmp_path: Path) -> None:
    """A source or result file that was removed is a 404 that says which of the two."""
    task = filled.tasks()[0]
    Path(task["source_path"]).unlink()
    filled.refused(404, "source_missing", "GET", task["source_image_url"])
    filled.refused(404, "source_missing", "GET", task["source_image_url"] + "/thumbnail")
    for file in (tmp_path / "data" / "cache").rglob("*.png"):
        file.unlink()
    result = task["results"][0]["image_url"]
    filled.refused(404, "result_file_missing", "GET", result)
    filled.refused(404, "result_file_missing", "GET", result.replace("/image", "/thumbnail"))
    filled.refused(404, "result_unknown", "GET", f"/api/tasks/{task['id']}/results/nope/image")
    filled.refused(404, "task_unknown", "GET", "/api/tasks/nope/source")
    Path(task["source_path"]).write_text("no picture")
    filled.refused(404, "picture_not_image", "GET", task["source_image_url"])


class Stream:
    """An open event stream, read line by line."""

    def __init__(self, door: Door, response: httpx.Response) -> None:
        self._lines = response.iter_lines()

    def next(self) -> dict[str, Any]:
        """The next event: id, name and data; a comment has only ``comment``."""
        event: dict[str, Any] = {}
        for line in self._lines:
            if not line and event:
                if event.keys() == {"retry"}:
                    event = {}
                    continue
                return event
            name, _, value = line.partition(":")
            event[name or "comment"] = msgspec.json.decode(value) if name == "data" else value.strip()
        raise AssertionError("the stream ended")


@pytest.fixture
def stream(door: Door) -> Iterator[Any]:
    """Opens event streams, closed at the end."""
    opened: list[Any] = []

    def open_stream(limit: str = "", since: str = "", **headers: str) -> Stream:
        asked = {name: value for name, value in (("limit", limit), ("since", since)) if value}
        context = door.client.stream("GET", "/api/events", params=asked, headers=headers, timeout=20)
        response = context.__enter__()
        opened.append(context)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return Stream(door, response)

    yield open_stream
    for context in opened:
        context.__exit__(None, None, None)


def test_events_tell_a_whole_run(fake: FakeUpstream, door: Door, stream: Any, tmp_path: Path) -> None:
    """A snapshot first, then changes with revision, tasks, removed ids and progress until all is done."""
    fake.answer(inline(CHAT, picture(5)))
    events = stream()
    first = events.next()
    assert first["event"] == "snapshot"
    assert int(first["id"]) == first["data"]["revision"]
    assert (first["data"]["tasks"], first["data"]["removed"]) == ([], [])
    fits(first["data"]["progress"], PROGRESS)
    door.start(source_folder(tmp_path / "in", 2), config_for(fake))
    seen: dict[str, str] = {}
    revision = first["data"]["revision"]
    while True:
        event = events.next()
        assert event["event"] == "change"
        assert event["data"]["revision"] >= revision
        revision = event["data"]["revision"]
        for task in event["data"]["tasks"]:
            fits_task(task)
            seen[task["id"]] = task["status"]
        if not event["data"]["running"] and event["data"]["progress"]["done"] == 2:
            break
    assert sorted(seen.values()) == ["done", "done"]
    gone = door.tasks()[0]["id"]
    door.delete(f"/api/tasks/{gone}")
    while gone not in (event := events.next())["data"]["removed"]:
        assert event["event"] == "change"


def test_last_event_id_resumes(filled: Door, stream: Any) -> None:
    """With ``Last-Event-ID`` only what changed since comes; with none, or after a clear, everything does."""
    everything = stream().next()["data"]
    assert len(everything["tasks"]) == 3
    revision = everything["revision"]
    assert stream(**{"Last-Event-ID": str(revision)}).next()["data"]["tasks"] == []
    task = filled.tasks()[0]
    filled.delete(f"/api/tasks/{task['id']}/results/{task['results'][0]['id']}")
    resumed = stream(**{"Last-Event-ID": str(revision)}).next()["data"]
    assert [one["id"] for one in resumed["tasks"]] == [task["id"]]
    assert resumed["reset"] is False
    assert stream(**{"Last-Event-ID": "9" * 18}).next()["data"]["reset"] is True
    assert len(stream(**{"Last-Event-ID": "no number"}).next()["data"]["tasks"]) == 3
    known = {task["id"] for task in filled.tasks()}
    filled.post("/api/tasks/clear")
    cleared = stream(**{"Last-Event-ID": str(revision)}).next()
    assert (cleared["event"], cleared["data"]["reset"], set(cleared["data"]["removed"])) == ("snapshot", True, known)
    assert stream().next()["data"]["removed"] == []


def test_what_was_missed_comes_as_a_change(filled: Door, stream: Any) -> None:
    """A listener that takes a snapshot as everything loses nothing when it resumes: it gets a change, at once."""
    revision = stream().next()["data"]["revision"]
    assert stream(**{"Last-Event-ID": str(revision)}).next()["event"] == "change"
    gone = filled.tasks()[0]["id"]
    filled.delete(f"/api/tasks/{gone}")
    resumed = stream(**{"Last-Event-ID": str(revision)}).next()
    assert (resumed["event"], resumed["data"]["removed"]) == ("change", [gone])
    assert stream(since=str(revision)).next()["data"]["removed"] == [gone]
    assert stream(since="0").next()["event"] == "snapshot"
    assert stream(**{"Last-Event-ID": "9" * 18}).next()["event"] == "snapshot"


def test_many_changes_at_once_are_told_in_full(fake: FakeUpstream, door: Door, stream: Any, tmp_path: Path) -> None:
    """A script hears of every task and of every removal; a page that sets a limit is told to ask for its rows."""
    fake.answer(Script(silent=True))
    script, page = stream(), stream(limit="200")
    for events in (script, page):
        events.next()
    folder = tmp_path / "in"
    source_folder(folder, 1)
    for number in range(2, 252):
        (folder / f"{number:03}.png").write_bytes(picture(1))
    door.start(folder, config_for(fake, concurrency_limit=1))
    seen: set[str] = set()
    while len(seen) < 251:
        seen |= {task["id"] for task in script.next()["data"]["tasks"]}
    told = page.next()["data"]
    while not told["truncated"]:  # that it runs may be told before there are tasks
        assert told["tasks"] == []
        told = page.next()["data"]
    assert (told["tasks"], told["task_count"]) == ([], 251)
    door.post("/api/tasks/stop")
    door.wait_idle()
    door.post("/api/tasks/clear")
    removed: set[str] = set()
    while removed != seen:
        event = script.next()
        assert event["event"] == "change"
        removed |= set(event["data"]["removed"])


def test_heartbeat_while_nothing_happens(door: Door, stream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment keeps an idle stream alive."""
    monkeypatch.setattr("bridge.http.events.HEARTBEAT_SECONDS", 0.2)
    events = stream()
    events.next()
    assert events.next().keys() == {"comment"}


def test_one_answer_is_one_moment(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """Whoever polls never reads that nothing runs beside a task that is pending or processing."""
    fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(1)))
    source, config = source_folder(tmp_path / "in", 6), config_for(fake, concurrency_limit=3)
    for number in range(4):
        door.start(source, {**config, "user_prompt": f"prompt {number}"})
        while True:
            state = door.state()
            going = [task for task in state["tasks"] if task["status"] in ("pending", "processing")]
            counted = Counter(task["status"] for task in state["tasks"])
            assert {name: state["progress"][name] for name in counted} == counted
            if not state["running"] and not state["single_retry_running"]:
                assert going == []
                break
        if number < 2:
            door.post(f"/api/tasks/{state['tasks'][0]['id']}/retry")
            while (state := door.state())["single_retry_running"]:
                continue
            assert {task["status"] for task in state["tasks"]} == {"done"}


def test_a_heartbeat_is_not_put_off(door: Door) -> None:
    """What wakes a stream without telling anything does not start its 15 s anew."""
    hub = Hub(door.app, iter([0.0, 14.95, 15.1]).__next__)
    events = hub.stream(Context(door.app), None)
    began = time.monotonic()
    assert [next(events), next(events)[:4], next(events)] == [b"retry: 2000\n\n", b"id: ", b": alive\n\n"]
    assert time.monotonic() - began < 10
    hub.close()


def test_too_many_streams_are_refused_and_places_come_back(
    door: Door, stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each stream holds a thread of the server: beyond the limit the answer is 409."""
    monkeypatch.setattr("bridge.http.events.MAX_STREAMS", 2)
    stream().next()
    stream().next()
    door.refused(409, "too_many_streams", "GET", "/api/events")


def test_streams_whose_listener_is_gone_make_room(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listener that was cut off does not keep its place until the next heartbeat."""
    monkeypatch.setattr("bridge.http.events.MAX_STREAMS", 3)
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", door.server.port)) as dropped:
            dropped.sendall(f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{door.server.port}\r\n\r\n".encode())
            assert b"200 OK" in dropped.recv(100)

    def takes_one_more() -> bool:
        with door.client.stream("GET", "/api/events", timeout=20) as answer:
            return answer.status_code == 200

    until(takes_one_more)  # on a busy machine the system tells a moment later that they are gone


def test_closing_the_program_ends_the_streams(fake: FakeUpstream, tmp_path: Path) -> None:
    """An open page does not hold up the end of the program."""
    ended = threading.Event()
    with open_door(tmp_path / "data") as door:

        def listen() -> None:
            with httpx.stream("GET", f"{door.base}/api/events", trust_env=False, timeout=20) as response:
                try:
                    for line in response.iter_lines():
                        if line.startswith("event: snapshot"):
                            opened.set()
                except httpx.HTTPError:
                    pass
            ended.set()

        opened = threading.Event()
        threading.Thread(target=listen, daemon=True).start()
        assert opened.wait(60)
    assert ended.wait(60)
