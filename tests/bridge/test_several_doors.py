"""A run through several doors: shared out, one of them dead, no task failed, and paid once whoever answered."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from engine.config import ApiMode
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import PATHS, inline

PATH = PATHS[ApiMode.IMAGES_EDITS]
HIDDEN = "*" * 8


def test_a_run_through_three_doors(tmp_path: Path) -> None:
    """One refuses its key, one dies, one works: every task is done, each key went to its own door, and the run bar,
    the costs and the log name the doors."""
    numbers = itertools.count()

    def works(_: Received) -> Script:
        return inline(ApiMode.IMAGES_EDITS, picture(next(numbers)))

    with FakeUpstream() as good, FakeUpstream() as closed, FakeUpstream() as dead, open_door(tmp_path / "data") as door:
        good.answer_with(works)
        closed.answer_with(lambda _: Script.error(401, "Incorrect API key provided"))
        dead.answer_with(lambda _: Script(stop_at=0, ending="reset"))
        further = [
            {"api_url": closed.url(PATH), "api_key": "key-of-closed", "concurrency_limit": 2, "model_name": ""},
            {"api_url": dead.url(PATH), "api_key": "key-of-dead", "weight": "0,5"},
        ]
        config = config_for(good, ApiMode.IMAGES_EDITS, request_form="json", endpoints=further, price_per_call=0.01)
        tasks = door.run(source_folder(tmp_path / "in", 24), config)
        assert {task["status"] for task in tasks} == {"done"}
        for fake, key in ((closed, "key-of-closed"), (dead, "key-of-dead")):
            assert {seen.headers["authorization"] for seen in fake.api_requests} == {f"Bearer {key}"}
        run = door.state()["run"]
        assert [one["url"] for one in run["doors"]] == [good.url(PATH), closed.url(PATH), dead.url(PATH)]
        assert run["doors"][0]["calls"] == 24
        cut = len(dead.api_requests)  # its answers began: they may be billed
        assert [round(100 * one["cost"]) for one in run["doors"]] == [24, 0, cut]
        assert run["concurrency_limit"] == 3 + 2 + 3
        assert len(closed.api_requests) <= 3 + 2
        shown = door.state()["current_config"]["endpoints"]
        assert [entry["api_key"] for entry in shown] == [HIDDEN, HIDDEN]
        logs = [json.dumps(door.get(f"/api/tasks/{task['id']}/debug")["debug_log"]) for task in tasks]
        assert any(dead.url(PATH) in log for log in logs)
        assert not any("key-of" in log for log in logs)

        # The same through the doors in another order: nothing is asked again.
        turned = [{"api_url": good.url(PATH), "api_key": config["api_key"]}, further[0]]
        door.post("/api/tasks/clear")
        before = len(good.api_requests)
        config = {**config, "api_url": dead.url(PATH), "api_key": "key-of-dead", "endpoints": turned}
        assert {task["status"] for task in door.run(tmp_path / "in", config)} == {"done"}
        assert len(good.api_requests) == before


def test_a_door_of_another_model_is_another_request(tmp_path: Path) -> None:
    """What another model made says so, and is found again; one address twice is refused, one that is forbidden too."""
    numbers = itertools.count()
    with FakeUpstream() as first, FakeUpstream() as second, open_door(tmp_path / "data") as door:
        first.answer_with(lambda _: Script.error(503, "down"))
        second.answer_with(lambda _: inline(ApiMode.IMAGES_EDITS, picture(next(numbers))))
        finer = {"api_url": second.url(PATH), "api_key": "key-2", "model_name": "finer"}
        config = config_for(first, ApiMode.IMAGES_EDITS, request_form="json", endpoints=[finer])
        (task,) = door.run(source_folder(tmp_path / "in", 1), config)
        assert task["results"][0]["model"] == "finer"
        door.post("/api/tasks/clear")
        asked = len(first.api_requests) + len(second.api_requests)
        (task,) = door.run(tmp_path / "in", config)
        assert (task["status"], task["results"][0]["model"]) == ("done", "finer")
        assert len(first.api_requests) + len(second.api_requests) == asked
        for endpoints, code in (
            ([finer, finer], "endpoint_twice"),
            ([{"api_url": "ftp://a.test"}], "url_scheme"),
        ):
            body = {"input_path": str(tmp_path / "in"), "config": {**config, "endpoints": endpoints}}
            error = door.refused(400, code, "POST", "/api/tasks/start", body)
            assert error["field"] == "endpoints"


def test_a_door_that_leads_to_a_stranger(tmp_path: Path) -> None:
    """It redirects calls to another origin: neither key goes there, no picture comes from there, and the other door
    makes all. A door at the same address for another model keeps a cost of its own."""
    numbers = itertools.count()
    with (
        FakeUpstream() as good,
        FakeUpstream() as bad,
        FakeUpstream() as stranger,
        open_door(tmp_path / "data") as door,
    ):
        good.answer_with(lambda _: inline(ApiMode.IMAGES_EDITS, picture(next(numbers))))
        bad.answer_with(lambda seen: Script.redirect(stranger.url(seen.path), status=307))
        stranger.answer_with(lambda _: inline(ApiMode.IMAGES_EDITS, picture(999)))
        further = [
            {"api_url": bad.url(PATH), "api_key": "key-of-bad"},
            {"api_url": good.url(PATH), "api_key": "", "model_name": "finer"},
        ]
        config = config_for(good, ApiMode.IMAGES_EDITS, request_form="json", endpoints=further, price_per_call=0.01)
        tasks = door.run(source_folder(tmp_path / "in", 12), config)
        assert {task["status"] for task in tasks} == {"done"}
        sent = [{**request.headers} for request in stranger.api_requests]
        assert not any(key in str(sent) for key in ("key-of-bad", config["api_key"]))
        doors = door.state()["run"]["doors"]
        assert [one["model"] for one in doors] == [config["model_name"], config["model_name"], "finer"]
        asked = [sum(request.json["model"] == one["model"] for request in good.api_requests) for one in doors]
        assert [round(100 * one["cost"]) for one in doors] == [asked[0], 0, asked[2]]
