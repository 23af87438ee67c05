"""What calls cost, from the answer to the page: kept with results, summed exactly, and never over a budget."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path
from typing import Any

from engine.config import ApiMode
from engine.models import TaskMatch
from engine.money import UNIT, exact, plain
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.fakes.vision import FakeVision
from tests.support.doors import Door, config_for, open_door, until
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline

TOLD = (0.04, 0.0391, 1e-10, 0, 0.1)


class Billing:
    """An API with books of its own: pictures, nothing, refusals; ``flat``: a price that it does not tell."""

    def __init__(self, flat: float | None = None) -> None:
        self.flat = flat
        self.billed = self.wasted = self.refused = self.calls = 0
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def answer(self, _: Received) -> Script:
        with self._lock:
            number = next(self._numbers)
            self.calls += 1
            if number % 7 == 3:
                self.refused += 1
                return Script.error(400, "the prompt is too long")
            price = self.flat if self.flat is not None else TOLD[number % len(TOLD)]
            self.billed += exact(price) or 0
            self.wasted += number % 7 == 5
        if number % 7 == 5:
            answer: dict[str, Any] = {"created": 1, "data": [], "text": "I would rather not."}
        else:
            answer = json.loads(inline(ApiMode.IMAGES_EDITS, picture(number)).body)
        return Script.json(answer if self.flat is not None else {**answer, "usage": {"cost": price}})


def config(fake: FakeUpstream, **changes: Any) -> dict[str, Any]:
    return config_for(fake, ApiMode.IMAGES_EDITS, request_form="json", **changes)


def paused(door: Door) -> dict[str, Any]:
    """Why the run is paused, once it is and nothing is in flight."""
    until(lambda: (run := door.state()["run"])["paused"] and not run["in_flight"])
    return dict(door.state()["run"]["paused"])


def test_costs_equal_the_books(tmp_path: Path) -> None:
    """Told and flat prices, refusals and answers without a picture: to the last unit, and so after a restart."""
    costs: dict[str, Any] = {}
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        for folder, books in enumerate((Billing(), Billing(0.3))):
            fake.answer_with(books.answer)
            source = source_folder(tmp_path / str(folder), 30)
            door.run(source, config(fake, price_per_call=books.flat or 0, model_name=f"model-{folder}"))
            run = door.state()["run"]
            assert (run["cost"], run["wasted"]) == (plain(books.billed), books.wasted)
            costs = door.get("/api/costs")
            assert costs["run"] == plain(books.billed)
            (mine,) = [line for line in costs["by_model"] if line["name"] == f"model-{folder}"]
            assert mine == {"name": f"model-{folder}", "cost": plain(books.billed), "calls": 30, "unknown": 0,
                            "refused": books.refused, "wasted": books.wasted}  # fmt: skip
        of_results = [result.cost for task in door.app.store.tasks(TaskMatch()) for result in task.results]
        assert None not in of_results
        total = costs["total"]
        assert total == costs["today"] == costs["project"] == sum(line["cost"] for line in costs["by_day"])
    with open_door(tmp_path / "data") as door:
        again = door.get("/api/costs")
        assert again == {**costs, "run": 0.0, "run_name": again["run_name"]}
        assert [line["models"] for line in again["by_run"]] == [["model-0"], ["model-1"]]
        assert [line["calls"] for line in again["by_run"]] == [30, 30]
        assert again["by_run"][-1]["name"] == costs["run_name"]


def test_a_run_stays_within_its_budget(tmp_path: Path) -> None:
    """It pauses before it would cost more, goes on only with what the person has raised, and judging counts as well."""
    numbers, vision = itertools.count(), FakeVision()
    with FakeUpstream() as fake, FakeUpstream() as eyes, open_door(tmp_path / "data") as door:
        fake.answer_with(lambda _: inline(ApiMode.IMAGES_EDITS, picture(next(numbers))))
        eyes.answer_with(vision.answer)
        given = config(fake, price_per_call="0,25", budget=1.1, concurrency_limit=4)
        door.start(source_folder(tmp_path / "in", 12), given)
        reason = paused(door)
        assert reason["code"] == "budget_reached"
        assert reason["params"]["budget"] == 1.1
        assert door.state()["run"]["cost"] == 1.0
        assert len(fake.api_requests) == 4
        door.post("/api/tasks/resume")  # nothing was raised
        assert paused(door)["code"] == "budget_reached"
        assert len(fake.api_requests) == 4
        door.post("/api/config/current", {"config": {**given, "budget": 2}})
        door.post("/api/tasks/resume")
        until(lambda: len(fake.api_requests) == 8)
        assert paused(door)["params"]["budget"] == 2.0
        assert door.state()["run"]["cost"] == 2.0
        judge = {"api_url": eyes.url(), "model_name": "eyes", "unlock_local_api_url": True, "price_per_call": 0.5}
        door.post("/api/judge/config", {"config": judge})
        door.post("/api/judge/start", {"scope": "all"})
        until(lambda: door.state()["job"]["status"] != "running")
        assert door.state()["job"]["error"]["code"] == "budget_reached"
        assert not eyes.api_requests
        door.post("/api/config/current", {"config": {**given, "budget": 0}})
        door.post("/api/tasks/resume")
        door.wait_idle()
        assert door.state()["progress"]["done"] == 12
        assert door.state()["run"]["cost"] == 3.0
        assert exact(door.get("/api/costs")["total"]) == 3 * UNIT


def test_a_trial_stays_within_the_budget(tmp_path: Path) -> None:
    """Its columns are paid for like a run, and it pauses before it would cost more."""
    numbers = itertools.count()
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        fake.answer_with(lambda _: inline(ApiMode.IMAGES_EDITS, picture(next(numbers))))
        door.post("/api/config/current", {"config": config(fake, price_per_call=0.25, budget=1.1)})
        columns = [{"name": name, "user_prompt": name} for name in ("red", "blue")]
        folder = source_folder(tmp_path / "in", 4)
        door.post("/api/trials", {"input_path": str(folder), "sample": 4, "columns": columns})
        assert paused(door)["code"] == "budget_reached"
        assert (len(fake.api_requests), door.get("/api/costs")["total"]) == (4, 1.0)
