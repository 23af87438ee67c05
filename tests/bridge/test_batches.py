"""Results by providers' batches: what is sent, made and collected, paid once whatever is cut, and told truly."""

from __future__ import annotations

import hashlib
import io
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.models import TaskMatch
from engine.money import exact, plain
from tests.fakes.batches import PRICES, Desk, FakeBatch, Line, OpenAIDesk, XAIDesk
from tests.fakes.upstream import FakeUpstream, Script
from tests.support.batches import DESKS, batch_config, desk_of, edited, quick
from tests.support.doors import Door, config_for, open_door, until
from tests.support.pictures import picture, source_folder

__all__ = ["quick"]
pytestmark = pytest.mark.usefixtures("quick")
PROVIDERS = list(DESKS)


def begin(door: Door, source: Path, config: dict[str, Any], size: int = 500) -> None:
    """Start, and wait until all of it is at the provider."""
    door.post("/api/tasks/start", {"input_path": str(source), "config": config, "batch_size": size})
    door.wait_idle()


def finish(door: Door) -> dict[str, dict[str, Any]]:
    """Wait until every batch has ended; tasks by the name of their source."""
    assert door.app.remote.batches.wait_idle(20), "a batch is still waited for"
    return {task["source_name"]: task for task in door.tasks()}


def digest(data: bytes) -> str:
    """What pictures are known by."""
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_folder_goes_by_batches(provider: str, tmp_path: Path) -> None:
    """Each picture gets its own result though they come in any order, a refused one its reason, and nothing stays."""
    source = source_folder(tmp_path / "in", 5)
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        desk, config = desk_of(provider, fake), batch_config(provider, fake)
        desk.bad = {digest(picture(3))}
        seen = door.post("/api/tasks/inspect", {"input_path": str(source), "config": config})
        price = {"openai": 0.1, "gemini": 0.1, "xai": 0.2}[provider]
        assert (seen["price_now"], seen["price_batch"], seen["batch_hours"]) == (0.2, price, 24)
        begin(door, source, config, size=2)
        tasks = finish(door)
        assert desk.wrong == []
        assert desk.paid_twice() == []
        for number in range(1, 6):
            task = tasks[f"{number:03}_start.png"]
            if number == 3:
                assert (task["status"], task["error"]["code"]) == ("failed", "content_refused")
            else:
                assert [result["hash"] for result in task["results"]] == [digest(edited(picture(number)))]
        jobs = door.get("/api/remote")["jobs"]
        assert max((job["kind"], job["state"], job["tasks"]) for job in jobs) == ("batch", "done", 2)
        assert sum(job["done"] for job in jobs) == 4
        outputs = {file for batch in desk.batches.values() for file in batch.outputs.values()}
        assert desk.files.keys() <= outputs
        begin(door, source, config)  # what is answered is not asked again; the refused one is
        assert (sum(desk.asked.values()), len(finish(door))) == (6, 5)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_closed_program_collects_at_its_next_start(provider: str, tmp_path: Path) -> None:
    """What is at a provider is told as such, outlives the program and a stop, and comes by itself a day later."""
    source = source_folder(tmp_path / "in", 4)
    with FakeUpstream() as fake:
        desk = desk_of(provider, fake)
        desk.rate = 1 if provider == "xai" else 0
        with open_door(tmp_path / "data") as door:
            begin(door, source, batch_config(provider, fake))
            if provider == "xai":  # results are there while it runs
                until(lambda: any(task["status"] == "done" for task in door.tasks()))
            desk.rate = 0
            state = door.state()
            waiting = [task for task in state["tasks"] if task["status"] == "processing"]
            assert {task["live"]["stage"] for task in waiting} == {"at_provider"}
            assert (state["running"], state["progress"]["at_provider"]) == (False, len(waiting))
            door.post("/api/tasks/stop")
            assert door.post("/api/tasks/resume")["resumed_count"] == 0
        desk.rate = 10**6
        with open_door(tmp_path / "data") as door:
            tasks = finish(door)
            assert [task["status"] for task in tasks.values()] == ["done"] * 4
            assert (desk.wrong, desk.paid_twice(), len(desk.batches)) == ([], [], 1)


CREATED = {
    "openai": "POST /v1/batches", "xai": "POST /v1/batches", "gemini": "POST /v1beta/models/gemini-3.1-flash-image:",
}  # fmt: skip


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("status", [0, 503])
def test_a_batch_whose_answer_was_lost_is_found(provider: str, status: int, tmp_path: Path) -> None:
    """The line breaks, or a gateway fails, just when the batch is made: it is found by its name and made once.

    Batches of others, one of them under our very name, are left alone.
    """
    source = source_folder(tmp_path / "in", 3)
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        desk, cut = desk_of(provider, fake), threading.Event()

        def hook(step: str, before: bool) -> Script | None:
            if before or cut.is_set() or not step.startswith(CREATED[provider]):
                return None
            cut.set()
            (ours,) = desk.batches.values()
            for number in range(5):  # ours stands on the last page of the list
                name = ours.name if number == 2 else f"theirs-{number}"
                theirs = FakeBatch(desk.new_id("batches/" if provider == "gemini" else "batch_"), name, file="x")
                if provider == "xai":
                    desk.take_on(theirs, desk_lines(number))
                desk.batches[theirs.id] = theirs
            return Script.error(status, "bad gateway") if status else Script(stop_at=0, body=b"x", ending="reset")

        desk.hook = hook
        begin(door, source, batch_config(provider, fake))
        tasks = finish(door)
        assert [task["status"] for task in tasks.values()] == ["done"] * 3
        assert (desk.wrong, desk.paid_twice(), len(desk.batches)) == ([], [], 6)


@pytest.mark.parametrize("tells", [True, False])
def test_lines_whose_answer_was_lost_are_not_added_twice(tells: bool, tmp_path: Path) -> None:
    """The line breaks after xAI has taken the lines: which are there is asked, or counted where that is not told."""
    source = source_folder(tmp_path / "in", 3)
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        desk, cut = XAIDesk(fake, edited), threading.Event()
        desk.tells_requests = tells

        def hook(step: str, before: bool) -> Script | None:
            if before or cut.is_set() or step != "POST /v1/batches/*/requests":
                return None
            cut.set()
            return Script(stop_at=0, body=b"x", ending="reset")

        desk.hook = hook
        begin(door, source, batch_config("xai", fake))
        assert [task["status"] for task in finish(door).values()] == ["done"] * 3
        assert (desk.wrong, desk.paid_twice(), len(desk.batches)) == ([], [], 1)
        door.post(f"/api/tasks/{door.tasks()[0]['id']}/retry")  # one alone is a batch of its own
        until(lambda: [job["state"] for job in door.get("/api/remote")["jobs"]] == ["done"] * 2)
        assert [task["status"] for task in finish(door).values()] == ["done"] * 3


def desk_lines(number: int) -> list[Any]:
    """A line of somebody else."""
    return [Line(f"theirs-{number}", picture(900 + number), "theirs")]


@pytest.mark.parametrize(
    ("provider", "made", "state"), [("openai", 2, "done"), ("openai", 0, "failed"), ("gemini", 0, "failed")]
)
def test_what_was_made_before_an_expiry_comes(provider: str, made: int, state: str, tmp_path: Path) -> None:
    """OpenAI gives and bills what is done by then, Gemini nothing; the rest fails with that reason."""
    source = source_folder(tmp_path / "in", 4)
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        desk = desk_of(provider, fake)
        desk.rate, desk.expires_in, desk.now = made, 3600, int(time.time())
        begin(door, source, batch_config(provider, fake))
        if provider == "openai":
            until(lambda: [one["code"] for one in door.state()["notices"]] == ["batch_expires_soon"])
        desk.rate = 0
        desk.end("expired")
        tasks = finish(door)
        failed = [task for task in tasks.values() if task["status"] == "failed"]
        assert [task["error"]["code"] for task in failed] == ["batch_expired"] * (4 - len(made_of(desk)))
        assert door.get("/api/remote")["jobs"][0]["state"] == (state if made_of(desk) else "failed")
        desk.rate = 10**6
        door.post("/api/tasks/retry_failed")
        door.wait_idle()
        assert {task["status"] for task in finish(door).values()} == {"done"}
        assert desk.wrong == []


def made_of(desk: Desk) -> list[Any]:
    """Lines that the first batch has made."""
    return next(iter(desk.batches.values())).made()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_cancelling_says_what_is_lost(provider: str, tmp_path: Path) -> None:
    """A batch is given up at the provider: how many bring nothing is told, what was made comes, the rest is stopped."""
    source = source_folder(tmp_path / "in", 4)
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        desk = desk_of(provider, fake)
        desk.rate = 1
        begin(door, source, batch_config(provider, fake))
        until(lambda: made_of(desk))
        desk.rate = 0
        made = len(made_of(desk))
        (job,) = door.get("/api/remote")["jobs"]
        answer = door.post(f"/api/remote/{job['id']}/cancel")
        assert (answer["cancelled"], answer["lost"]) == (True, 4 - made)
        statuses = sorted(task["status"] for task in finish(door).values())
        kept = 0 if provider == "gemini" else made
        assert statuses == ["done"] * kept + ["stopped"] * (4 - kept)
        (job,) = door.get("/api/remote")["jobs"]
        assert (job["state"], job["done"]) == ("cancelled", kept)
        assert door.post(f"/api/remote/{job['id']}/cancel")["cancelled"] is False


def test_what_no_provider_takes_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    """A mode without batches is named, and so is a line that would fail the whole batch; no call is made."""
    source = source_folder(tmp_path / "in", 2)
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        desk = desk_of("openai", fake)
        for config in (
            {**config_for(fake), "delivery": "batch"},
            batch_config("openai", fake, batch_provider="gemini"),
            batch_config("gemini", fake, batch_provider="openai"),
        ):
            error = door.refused(400, "batch_unsupported", "POST", "/api/tasks/start",
                                 {"input_path": str(source), "config": config})  # fmt: skip
            assert error["field"] in ("delivery", "batch_provider")
        begin(door, source, batch_config("openai", fake, extra_body={"stream": True}))
        assert {task["error"]["code"] for task in door.tasks()} == {"batch_line_invalid"}
        assert desk.steps.total() == 0
        desk.quota = 1  # the provider's own quota: nothing was made, and it says so
        begin(door, source, batch_config("openai", fake, extra_body={}))
        finish(door)
        told = [task["error"]["params"].get("message") for task in door.tasks()]
        assert told == [None, None, "Enqueued token limit reached", "Enqueued token limit reached"]


def test_pictures_are_uploaded_once_and_removed_when_nobody_needs_them(tmp_path: Path) -> None:
    """Two batches that name the same picture upload it once; it goes when both are collected."""
    source = source_folder(tmp_path / "in", 2)
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        desk = OpenAIDesk(fake, edited)
        desk.rate = 0
        begin(door, source, batch_config("openai", fake))
        begin(door, source, batch_config("openai", fake, user_prompt="make it winter"))
        assert (desk.steps["upload vision"], len(desk.batches)) == (2, 2)
        first, second = desk.batches.values()
        first.state = "expired"
        until(lambda: len(door.get("/api/remote")["jobs"]) == 2 and door.state()["progress"]["at_provider"] == 2)
        until(lambda: first.file not in desk.files)
        assert set(desk.files) - set(first.outputs.values()) > {second.file}
        desk.rate = 10
        finish(door)
        until(lambda: set(desk.files) == {*first.outputs.values(), *second.outputs.values()})
        assert desk.wrong == []


@pytest.mark.parametrize("provider", PROVIDERS)
def test_lines_cost_what_the_provider_bills(provider: str, tmp_path: Path) -> None:
    """By the tokens of each line at half the price, or by what it tells: to the last unit, of the run that asked for
    it, also where a later program collects; and a live call is still expected to cost twice as much."""
    source = source_folder(tmp_path / "in", 5)
    with FakeUpstream() as fake:
        desk = desk_of(provider, fake)
        desk.rate, desk.bad = 0, {digest(picture(3))}
        config = batch_config(provider, fake, price_per_call=0, budget=0)
        with open_door(tmp_path / "data") as door:
            door.post("/api/prices", {"prices": [{"model": config["model_name"], **PRICES}]})
            begin(door, source, config)
            run = door.get("/api/costs")["run_name"]
        desk.rate = 10**6
        with open_door(tmp_path / "data") as door:
            finish(door)
            costs = door.get("/api/costs")
            assert desk.billed > 0
            assert costs["total"] == costs["project"] == plain(desk.billed)
            (line,) = costs["by_run"]
            assert (line["name"], line["cost"], line["calls"]) == (run, plain(desk.billed), 5)
            assert (line["models"], line["project"]) == ([config["model_name"]], str(tmp_path / "data"))
            assert line["began"] == int(run.partition("-")[0]) // 1000
            assert costs["run"] == 0
            results = [result for task in door.app.store.tasks(TaskMatch()) for result in task.results]
            assert sum(exact(result.cost) or 0 for result in results) == desk.billed
            seen = door.post("/api/tasks/inspect", {"input_path": str(source), "config": config})
            live = plain(desk.billed // 4) * (1 if provider == "xai" else 2)
            assert seen["price_now"] == pytest.approx(live, abs=1e-5)


@pytest.mark.parametrize("ends", ["cancelled", "expired", "not made"])
def test_what_a_batch_would_have_cost_is_free_again(ends: str, tmp_path: Path) -> None:
    """What is set aside for lines counts against the day, after a restart as well, until their batch has ended."""
    source, other = source_folder(tmp_path / "in", 4), source_folder(tmp_path / "other", 2)
    with FakeUpstream() as fake:
        desk = OpenAIDesk(fake, edited)
        desk.rate = 0
        config = batch_config("openai", fake, budget_day=0.1)  # 0.02 a line
        with open_door(tmp_path / "data") as door:
            if ends == "not made":
                desk.quota = 1
            begin(door, source, config)
            if ends == "not made":
                assert finish(door)
                desk.quota = 10**6
                begin(door, other, {**config, "user_prompt": "another"})
                assert (len(desk.batches), door.state()["progress"]["at_provider"]) == (2, 2)
                return
        with open_door(tmp_path / "data") as door:
            door.post("/api/tasks/start", {"input_path": str(other), "config": {**config, "user_prompt": "another"}})
            until(lambda: (door.state()["run"]["paused"] or {}).get("code") == "budget_reached")
            assert len(desk.batches) == 1
            if ends == "cancelled":
                door.post(f"/api/remote/{door.get('/api/remote')['jobs'][0]['id']}/cancel")
            else:
                desk.end(ends)
            until(lambda: door.state()["progress"]["at_provider"] <= 1)
            door.post("/api/tasks/resume")
            door.wait_idle()
            assert (len(desk.batches), door.state()["progress"]["at_provider"]) == (2, 2)


def test_results_of_deleted_tasks_are_kept(tmp_path: Path) -> None:
    """The list is cleared while its pictures are at a provider: what comes is in the ledger, or goes to the task that
    asks for the same meanwhile, also after a restart; nothing is asked again."""
    source = source_folder(tmp_path / "in", 3)
    with FakeUpstream() as fake:
        desk, config = desk_of("xai", fake), batch_config("xai", fake)
        desk.rate = 0
        with open_door(tmp_path / "data") as door:
            begin(door, source, config)
            door.delete(f"/api/tasks/{door.tasks()[0]['id']}")
            door.post("/api/tasks/clear")
            assert door.state()["progress"]["at_provider"] == 0
            begin(door, source / "002_start.png", config)
            assert (door.state()["progress"]["at_provider"], len(desk.batches)) == (1, 1)
        with open_door(tmp_path / "data") as door:
            assert door.state()["progress"]["at_provider"] == 1
            begin(door, source / "003_start.png", config)
            assert (door.state()["progress"]["at_provider"], len(desk.batches)) == (2, 1)
            desk.rate = 10
            assert [task["status"] for task in finish(door).values()] == ["done"] * 2
            begin(door, source, config)
            assert [task["status"] for task in door.tasks()] == ["done"] * 3
        assert (sum(desk.asked.values()), desk.wrong) == (3, [])


def test_two_programs_collect_one_batch(tmp_path: Path) -> None:
    """A data folder that was copied while its pictures were at a provider: both get them, nothing is paid again."""
    source = source_folder(tmp_path / "in", 3)
    with FakeUpstream() as fake:
        desk = desk_of("openai", fake)
        desk.rate = 0
        with open_door(tmp_path / "data") as door:
            begin(door, source, batch_config("openai", fake))
        shutil.copytree(tmp_path / "data", tmp_path / "copy")
        desk.rate = 2
        with open_door(tmp_path / "data") as door, open_door(tmp_path / "copy") as other:
            for one in (door, other):
                assert {task["status"] for task in finish(one).values()} == {"done"}
                assert [job["state"] for job in one.get("/api/remote")["jobs"]] == ["done"]
        assert (desk.wrong, desk.paid_twice(), len(desk.batches)) == ([], [], 1)


def test_links_that_die_come_alive_or_fail_alone(tmp_path: Path) -> None:
    """A link to a result that is gone is asked for again with the next page, and the other pictures do not wait."""
    source = source_folder(tmp_path / "in", 4)
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        desk = XAIDesk(fake, edited)
        desk.dead = 3
        begin(door, source, batch_config("xai", fake, max_retries=0))
        assert {task["status"] for task in finish(door).values()} == {"done"}
        assert (desk.wrong, desk.paid_twice()) == ([], [])


def test_calls_to_xai_stay_below_their_limit(tmp_path: Path) -> None:
    """Pictures of megabytes are spread over calls of at most 25 MB, and one that the provider refuses fails alone."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.png").write_bytes(large(number))
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        desk = XAIDesk(fake, lambda source: picture(source[-100]))
        begin(door, folder, batch_config("xai", fake))
        assert {task["status"] for task in finish(door).values()} == {"done"}
        assert desk.wrong == []
        assert desk.steps["POST /v1/batches/*/requests"] > 1
        assert 10_000_000 < desk.largest_call <= 25_000_000


def large(number: int) -> bytes:
    """A PNG of some ten megabytes."""
    buffer = io.BytesIO()
    Image.new("RGB", (1800, 1800), (number, 7, 9)).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def test_batches_of_projects_that_are_not_open_are_collected(tmp_path: Path) -> None:
    """Whichever project is the current one after a day: those of others are listed with their project, can be given up,
    and are collected into it; nothing is asked when it is opened."""
    source, other = source_folder(tmp_path / "in", 3), source_folder(tmp_path / "other", 2)
    with FakeUpstream() as fake:
        desk = OpenAIDesk(fake, edited)
        desk.rate = 0
        config = batch_config("openai", fake)
        with open_door(tmp_path / "data") as door:
            made = [door.post("/api/projects", {"name": name})["id"] for name in ("away", "given up")]
            for project, folder in zip(made, (source, other), strict=True):
                door.post("/api/projects/open", {"id": project})
                begin(door, folder, {**config, "user_prompt": f"make it {project}"})
            door.post("/api/projects/open", {"id": "default"})
        with open_door(tmp_path / "data") as door:
            jobs = door.get("/api/remote")["jobs"]
            assert {(job["project"], job["state"], job["tasks"]) for job in jobs} == {
                (made[0], "waiting", 3),
                (made[1], "waiting", 2),
            }
            mine = {job["project"]: job["id"] for job in jobs}
            given = door.post(f"/api/remote/{mine[made[1]]}/cancel")
            assert (given["cancelled"], given["lost"]) == (True, 2)
            desk.rate = 10**6
            assert door.post(f"/api/remote/{mine[made[0]]}/collect")["collecting"]
            until(lambda: not door.get("/api/remote")["jobs"])
            asked = desk.steps.total()
            door.post("/api/projects/open", {"id": made[0]})
            assert [task["status"] for task in door.tasks()] == ["done"] * 3
            door.post("/api/projects/open", {"id": made[1]})
            assert [task["status"] for task in door.tasks()] == ["stopped"] * 2
            assert (desk.steps.total(), desk.wrong, desk.paid_twice()) == (asked, [], [])
            door.refused(404, "job_unknown", "POST", f"/api/remote/{'0' * 32}/collect")
