"""kill -9 at every step of a job at a provider: submit, note, poll, fetch. What is noted is never asked for again, and
nothing is lost; what was sent and not noted when the program died is counted.

``KILLS=200`` for the full count.
"""

from __future__ import annotations

import base64
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import KEY
from tests.support.kills import RESULTS, kills_wanted, sha256
from tests.support.pictures import picture, source_folder
from tests.support.processes import Served, serving

STEPS = ("submit", "note", "poll", "fetch")
TASKS = int(os.environ.get("TASKS", "16"))
RECIPE = {
    "request": {"url": "/submit", "json": {"prompt": "{{prompt}}", "image": "{{image}}"}},
    "job": {"id": "id", "url": "/jobs/{{job_id}}", "status": "status", "done": ["done"], "interval": 0.05},
    "result": {"pictures": ["picture"]},
}


class JobsApi:
    """A provider of jobs that shoots the program at a chosen step. ``submissions``: picture and job, as they came;
    ``again``: pictures that were asked for although their job was noted."""

    def __init__(self, fake: FakeUpstream, count: int) -> None:
        self.submissions: list[tuple[int, str]] = []
        self.noted: set[int] = set()
        self.again: list[int] = []
        self._numbers = {sha256(picture(number)): number for number in range(1, count + 1)}
        self._polled: set[str] = set()
        self._lock = threading.Lock()
        self._armed: tuple[str, int, float | None, int] | None = None
        fake.answer_with(self._answer)

    def arm(self, step: str, place: int, delay: float | None, pid: int) -> None:
        """Kill at the ``place``-th time from now that this step comes: before it is answered, or ``delay`` after."""
        with self._lock:
            self._armed = (step, place, delay, pid)

    def disarm(self) -> None:
        """Kill nobody."""
        with self._lock:
            self._armed = None

    def _answer(self, request: Received) -> Script:
        head, _, name = request.path.removeprefix("/").partition("/")
        if head == "submit":
            url = request.json["image"]
            number = self._numbers[sha256(base64.b64decode(url.partition(",")[2]))]
            with self._lock:
                if number in self.noted:
                    self.again.append(number)
                job = f"n{number}-{len(self.submissions)}"
                self.submissions.append((number, job))
            self._step("submit", "note")
            return Script.json({"id": job})
        if head == "jobs":
            self._step("poll")
            with self._lock:
                known = name in self._polled
                self._polled.add(name)
            if not known:
                return Script.json({"status": "open"})
            return Script.json({"status": "done", "picture": f"/made/{name}"})
        self._step("fetch")
        number = int(name[1:].partition("-")[0])
        return Script(body=picture(RESULTS + number), content_type="image/png")

    def _step(self, *steps: str) -> None:
        with self._lock:
            if self._armed is None or self._armed[0] not in steps:
                return
            step, place, delay, pid = self._armed
            self._armed = (step, place - 1, delay, pid) if place > 1 else None
            if place > 1:
                return
        if step == "note" or delay is not None:
            threading.Timer(delay or 0.0, _kill, (pid,)).start()
        else:
            _kill(pid)
            time.sleep(0.05)


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def noted_in(data: Path) -> set[str]:
    """The jobs that the book of a killed program holds."""
    path = data / "remote.db"
    if not path.exists():
        return set()
    connection = sqlite3.connect(path)
    try:
        return {row[0] for row in connection.execute("SELECT provider_id FROM remote")}
    except sqlite3.OperationalError:
        return set()  # killed before it was made
    finally:
        connection.close()


class KillJobs:
    """One data folder, over as many processes as it takes until all of it is done."""

    def __init__(self, folder: Path, count: int, seed: int) -> None:
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.kills = dict.fromkeys(STEPS, 0)
        self.window = 0
        self._count = count
        self._source = source_folder(folder / "in", count)
        self._random = random.Random(seed)
        self._first = seed
        self._judged = 0

    def play(self, api: JobsApi, base: str, kills: int) -> None:
        """Kill up to ``kills`` times at one step after the other, then let it end."""
        for number in range(kills + 1):
            last = number == kills
            with serving(self.data, STATUS_UI="none") as served:
                if not last:
                    self._arm(api, STEPS[(number + self._first) % len(STEPS)], served)
                self._go(served, base)
                if self._ends(served, api):
                    return

    def _arm(self, api: JobsApi, step: str, served: Served) -> None:
        delay = None if self._random.random() < 0.5 else self._random.random() * 0.03
        api.arm(step, self._random.randrange(1, 3), delay, served.process.pid)
        self._armed = step

    def _go(self, served: Served, base: str) -> None:
        try:
            state = served.state()
            body: dict[str, Any] = {"input_path": str(self._source), "config": _config(base)}
            path = "/api/tasks/resume" if state["task_count"] == self._count else "/api/tasks/start"
            served.client.post(path, json=body if path.endswith("start") else {})
        except Exception:  # noqa: BLE001 - killed meanwhile: the process says so
            assert served.process.wait(15) == -signal.SIGKILL

    def _ends(self, served: Served, api: JobsApi) -> bool:
        """Wait for the end of the process, or of the work; whether it is the work's."""
        end = time.monotonic() + 60
        while served.process.poll() is None:
            assert time.monotonic() < end, "neither killed nor done"
            try:
                state = served.state()
            except Exception:  # noqa: BLE001 - killed meanwhile
                continue
            done = [task for task in state["tasks"] if task["status"] == "done"]
            if len(done) == self._count and not state["running"]:
                api.disarm()
                self._check(state)
                served.end()
                self._judge(api)
                return True
            if not state["running"] and not state["progress"]["at_provider"] and not state["progress"]["processing"]:
                served.client.post("/api/tasks/resume", json={})
            time.sleep(0.01)
        self.kills[self._armed] += 1
        self._judge(api)
        return False

    def _judge(self, api: JobsApi) -> None:
        """What was submitted since the last kill: noted, or lost between sending and noting."""
        book = noted_in(self.data)
        fresh, self._judged = api.submissions[self._judged :], len(api.submissions)
        for number, job in fresh:
            if job in book:
                api.noted.add(number)
            else:
                self.window += 1

    def _check(self, state: dict[str, Any]) -> None:
        for task in state["tasks"]:
            number = int(task["source_name"][:3])
            assert [result["hash"] for result in task["results"]] == [sha256(picture(RESULTS + number))]


def _config(base: str) -> dict[str, Any]:
    return {
        "api_url": base, "api_key": KEY, "model_name": "m", "user_prompt": "p", "recipe": RECIPE, "max_retries": 0,
        "concurrency_limit": 4, "unlock_local_api_url": True, "unlock_local_download_url": True, "alarm_limit": 0,
    }  # fmt: skip


@pytest.mark.timeout(3600)
def test_killed_at_every_step_of_a_job(
    tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Every job that was noted brings its picture and is asked for once; the others were on their way to the note."""
    wanted, runs = kills_wanted(6), 0
    kills = dict.fromkeys(STEPS, 0)
    window = submissions = 0
    while sum(kills.values()) < wanted:
        with FakeUpstream() as fake:
            api = JobsApi(fake, TASKS)
            run = KillJobs(tmp_path / str(runs), TASKS, seed=runs)
            run.play(api, fake.url(""), wanted - sum(kills.values()))
        assert api.again == []
        assert len(api.submissions) == TASKS + run.window
        kills = {step: kills[step] + run.kills[step] for step in STEPS}
        window += run.window
        submissions += len(api.submissions)
        runs += 1
    figures = {
        "kills": sum(kills.values()),
        **kills,
        "runs": runs,
        "jobs": submissions,
        "asked again, not noted": window,
    }
    print(figures)
    for name, figure in figures.items():
        record_testsuite_property(f"kill of jobs: {name}", figure)
    assert window <= 4 * sum(kills.values())
