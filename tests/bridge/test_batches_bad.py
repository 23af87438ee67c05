"""Providers' batches in bad hours: clocks that are wrong, lines that no provider takes, results that are none, quotas,
redirects to strangers. What is paid for is kept, each failure has its reason, and no key goes elsewhere."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.bridge.test_batches import begin, finish
from tests.fakes.batches import TICKS, Desk, FakeBatch, OpenAIDesk
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.batches import DESKS, batch_config, desk_of, edited, quick
from tests.support.doors import open_door, until
from tests.support.pictures import source_folder

__all__ = ["quick"]
pytestmark = pytest.mark.usefixtures("quick")
HOUR = 3600


def answering(desk: Desk, change: Callable[[Received, Script], Script]) -> None:
    """From now on the desk's answers are changed before they go."""
    serve = desk._serve
    desk._serve = lambda request: change(request, serve(request))  # type: ignore[method-assign]


@pytest.mark.parametrize(("ahead", "left", "minutes"), [(HOUR, 2 * HOUR, 60), (-HOUR, 1.5 * HOUR, None)])
def test_an_expiry_is_told_by_the_clock_of_the_provider(
    ahead: int, left: float, minutes: int | None, tmp_path: Path
) -> None:
    """A provider whose clock is an hour ahead of ours expires an hour sooner than it seems, and one behind later."""
    source = source_folder(tmp_path / "in", 2)
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        desk = desk_of("openai", fake)
        desk.rate, desk.expires_in, desk.now = 0, int(left), int(time.time())
        answering(
            desk,
            lambda _, script: replace(
                script, headers={**script.headers, "Date": formatdate(time.time() + ahead, usegmt=True)}
            ),
        )
        begin(door, source, batch_config("openai", fake))
        until(lambda: any(step.startswith("GET /v1/batches/*") and count > 2 for step, count in desk.steps.items()))
        told = [one["params"]["minutes"] for one in door.state()["notices"] if one["code"] == "batch_expires_soon"]
        assert told == ([] if minutes is None else [minutes])


@pytest.mark.parametrize(("told", "cancels"), [(None, True), ("2020-01-01T00:00:00Z", True), (None, False)])
def test_a_batch_that_never_says_it_expired(told: str | None, cancels: bool, tmp_path: Path) -> None:
    """xAI tells only when a batch expires: past that, or a day where it tells nonsense, what is made comes, the rest is
    given up there and fails as expired; its budget is free again, and what is asked again is paid once."""
    source, other = source_folder(tmp_path / "in", 4), source_folder(tmp_path / "other", 2)
    with FakeUpstream() as fake:
        desk = desk_of("xai", fake)
        desk.rate = 0
        config = batch_config("xai", fake, budget_day=0.165)  # 0.04 a line, and 0.02 one that came
        ahead = 0.0

        def change(request: Received, script: Script) -> Script:
            if told and b"expire_time" in script.body:
                script = Script.json({**json.loads(script.body), "expire_time": told})
            date = formatdate(time.time() + ahead, usegmt=True)
            return replace(script, headers={**script.headers, "Date": date})

        answering(desk, change)
        if not cancels:
            desk.hook = lambda step, _: Script.error(400, "the batch is over") if step.endswith(":cancel") else None
        with open_door(tmp_path / "data") as door:
            begin(door, source, config)
            (batch,) = desk.batches.values()
            desk.rate = 2
            desk.work(batch)
            desk.rate = 0
            until(lambda: sum(task["status"] == "done" for task in door.tasks()) == 2)
            ahead = 24 * HOUR - 60  # not yet
            asked = desk.steps.total()
            until(lambda: desk.steps.total() > asked + 4)
            assert (door.state()["progress"]["at_provider"], desk.steps["POST /v1/batches/*:cancel"]) == (2, 0)
        ahead = 24 * HOUR + 60  # closed for a day
        with open_door(tmp_path / "data") as door:
            failed = [task for task in finish(door).values() if task["status"] == "failed"]
            assert [task["error"]["code"] for task in failed] == ["batch_expired"] * 2
            assert [job["state"] for job in door.get("/api/remote")["jobs"]] == ["done"]
            assert desk.steps["POST /v1/batches/*:cancel"] == (1 if cancels else 3)
            ahead, desk.rate, desk.now = 0, 10**6, int(time.time())
            begin(door, other, {**config, "user_prompt": "another"})
            finish(door)
            door.post("/api/tasks/retry_failed")
            door.wait_idle()
            assert finish(door)
            assert [task["status"] for task in door.tasks()] == ["done"] * 6
        assert (desk.wrong, desk.billed) == ([], 6 * TICKS)


@pytest.mark.parametrize(("provider", "off"), [("openai", -HOUR), ("xai", HOUR)])
def test_a_clock_that_was_set_between_two_programs(provider: str, off: int, tmp_path: Path) -> None:
    """The batch may have been made when the program before was killed, by a clock that was an hour off: it is found as
    soon as one by a right clock, and made no second time."""
    source = source_folder(tmp_path / "in", 3)
    with FakeUpstream() as fake:
        desk = desk_of(provider, fake)
        desk.rate = 0
        with open_door(tmp_path / "data") as door:
            begin(door, source, batch_config(provider, fake))
        with sqlite3.connect(tmp_path / "data" / "remote.db") as book:  # as a kill after the creation leaves it
            ((note,),) = book.execute("SELECT note FROM remote").fetchall()
            note = msgspec.json.encode({**json.loads(note), "creating_at": time.time() + off})
            book.execute("UPDATE remote SET note = ?, state = 'submitting', provider_id = ''", (note,))
        book.close()
        desk.rate = 10**6
        with open_door(tmp_path / "data") as door:
            assert {task["status"] for task in finish(door).values()} == {"done"}
            assert (desk.wrong, desk.paid_twice(), len(desk.batches)) == ([], [], 1)


BAD_LINES: list[tuple[str, dict[str, Any], str]] = [
    ("openai", {"user_prompt": " "}, "prompt"),
    ("openai", {"user_prompt": "long " * 7000}, "prompt > 32000"),
    ("openai", {"extra_body": {"stream": True}}, "stream"),
    ("openai", {"extra_body": {"partial_images": 2}}, "partial_images"),
    ("openai", {"extra_body": {"model": ""}}, "model"),
    ("xai", {"user_prompt": " "}, "prompt"),
    ("xai", {"extra_body": {"stream": True}}, "stream"),
    ("xai", {"extra_body": {"model": ""}}, "model"),
    ("gemini", {"user_prompt": " "}, "prompt"),
]


def test_no_line_goes_that_would_fail_a_whole_batch(tmp_path: Path) -> None:
    """Each is named before anything is uploaded, and nothing is said to the provider."""
    source = source_folder(tmp_path / "in", 1)
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        for provider, changes, reason in BAD_LINES:
            desk = desk_of(provider, fake)
            begin(door, source, batch_config(provider, fake, **{"extra_body": {}, "system_prompt": "", **changes}))
            (task,) = door.tasks()
            error = task["error"]
            assert (error["code"], error["params"]["reason"]) == ("batch_line_invalid", reason), (provider, changes)
            assert desk.steps.total() == 0
            door.post("/api/tasks/clear")


def bad_results(desk: OpenAIDesk, batch: FakeBatch) -> None:
    """Files of results with everything in them that may be wrong."""
    good, html, empty, missing, none = sorted(batch.lines, key=lambda line: line.key)
    row = desk.result(good)
    page = {**desk.result(html), "response": {"status_code": 200, "body": "<html>bad gateway</html>"}}
    nothing = {**desk.result(empty), "response": {"status_code": 200, "body": {"created": 1, "data": []}}}
    refused = {"id": "x", "custom_id": none.key, "response": None, "error": None}
    output = [row, {**row, "custom_id": "theirs"}, {**row, "id": "again"}, page, nothing, [1, 2], 7, {"custom_id": 5}]
    assert missing.result is None
    lines = ["not json", *map(json.dumps, output), "", '{"custom_id": "half']
    batch.state = "ended"
    batch.outputs = {"output": desk.new_id("file-"), "error": desk.new_id("file-")}
    desk.files[batch.outputs["output"]] = "\n".join(lines).encode()
    desk.files[batch.outputs["error"]] = (json.dumps(refused) + "\n").encode()


def test_results_that_are_none(tmp_path: Path) -> None:
    """A line that is missing, garbage, somebody else's, double, a web page, without a picture: each task has its own
    result or its own reason, the good one its picture once."""
    source = source_folder(tmp_path / "in", 5)
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        desk = OpenAIDesk(fake, edited)
        desk.rate = 0
        begin(door, source, batch_config("openai", fake))
        (batch,) = desk.batches.values()
        bad_results(desk, batch)
        found = {task["id"]: task for task in finish(door).values()}
        tasks = [found[line.key] for line in sorted(batch.lines, key=lambda line: line.key)]
        assert [task["status"] for task in tasks] == ["done", "failed", "failed", "failed", "failed"]
        assert len(tasks[0]["results"]) == 1
        assert tasks[3]["error"]["code"] == "batch_line_missing"
        assert all(task["error"]["message"] for task in tasks[1:])
        assert len({task["error"]["code"] for task in tasks[1:]}) >= 3
        (job,) = door.get("/api/remote")["jobs"]
        assert (job["state"], job["done"], job["failed"]) == ("done", 1, 4)


def test_quotas_of_a_provider(tmp_path: Path) -> None:
    """A hundred batches of Gemini are open: this one is refused in words, nothing was made, and a retry makes it once
    there is room."""
    source = source_folder(tmp_path / "in", 2)
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        desk = desk_of("gemini", fake)
        for number in range(100):
            theirs = FakeBatch(desk.new_id("batches/"), f"theirs-{number}", file="x")
            desk.batches[theirs.id] = theirs
        begin(door, source, batch_config("gemini", fake))
        assert {task["status"] for task in door.tasks()} == {"failed"}
        assert all(task["error"]["message"] for task in door.tasks())
        assert (sum(desk.asked.values()), len(desk.batches)) == (0, 100)
        desk.batches.popitem()
        door.post("/api/tasks/retry_failed")
        door.wait_idle()
        assert {task["status"] for task in finish(door).values()} == {"done"}
        assert (desk.wrong, desk.paid_twice()) == ([], [])


@pytest.mark.parametrize("provider", DESKS)
def test_a_provider_that_leads_elsewhere_gets_no_key_there(provider: str, tmp_path: Path) -> None:
    """Redirected calls, and an upload address of another origin, are made without the key or not at all."""
    source = source_folder(tmp_path / "in", 2)
    with FakeUpstream() as fake, FakeUpstream() as stranger, open_door(tmp_path / "data") as door:
        desk = desk_of(provider, fake)
        stranger.answer_with(lambda _: Script.json({"file": {"name": "files/00001theirs"}, "id": "file-00001theirs"}))

        def lead(request: Received, script: Script) -> Script:
            if address := script.headers.get("X-Goog-Upload-URL"):
                return replace(script, headers={"X-Goog-Upload-URL": stranger.url(address.partition("/upload")[2])})
            return Script.redirect(stranger.url(request.path), status=307)

        answering(desk, lead)
        begin(door, source, batch_config(provider, fake, max_retries=0))
        door.wait_idle()
        assert all(task["status"] in ("failed", "stopped", "processing") for task in door.tasks())
        for request in stranger.api_requests:
            assert not {"authorization", "x-goog-api-key"} & request.headers.keys()


def test_a_budget_below_one_line_makes_no_batch(tmp_path: Path) -> None:
    """Nothing is uploaded where one line would exceed the budget; raised, as many go as it allows."""
    source = source_folder(tmp_path / "in", 4)
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        desk = desk_of("openai", fake)
        desk.rate = 0
        config = batch_config("openai", fake, budget=0.01)  # a line costs 0.02
        door.post("/api/tasks/start", {"input_path": str(source), "config": config})
        until(lambda: (door.state()["run"]["paused"] or {}).get("code") == "budget_reached")
        assert desk.steps.total() == 0
        door.post("/api/config/current", {"config": {**config, "budget": 0.05}})
        door.post("/api/tasks/resume")
        until(lambda: (door.state()["run"]["paused"] or {}).get("code") == "budget_reached")
        door.post("/api/tasks/stop")
        door.wait_idle()
        assert desk.steps["upload vision"] == 2
