"""kill -9 at each step of a judging, along a run and by hand: no judgement is lost, and none that was noted is asked
for again; what was in flight at a kill is counted. ``KILLS=200`` for the full count."""

from __future__ import annotations

import contextlib
import csv
import os
import random
import re
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from engine.config import ApiMode
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.fakes.vision import chat
from tests.support.doors import config_for, until
from tests.support.kills import RESULTS, kills_wanted
from tests.support.pictures import picture, source_folder
from tests.support.processes import Served, serving
from tests.support.replies import inline

STEPS = ("asked", "answered", "noted")
"""A question has come; its answer goes out; a few milliseconds later, while the program reads and writes it."""
TASKS = 12
AT_ONCE = 3
MODELS = ("along", "by hand")
_NUMBER = re.compile(r"picture (\d+)")
_CRITERIA = ("instruction", "realism", "preservation", "technical")
Known = tuple[str, int]


class Critic:
    """A judge that shoots the program at a chosen step. ``asked``: model and picture of each question; ``noted``: those
    whose answer the ledger held after a kill; ``again``: those of them that were asked for once more."""

    def __init__(self, fake: FakeUpstream) -> None:
        self.asked: Counter[Known] = Counter()
        self.noted: set[Known] = set()
        self.again: list[Known] = []
        self._lock = threading.Lock()
        self._armed: tuple[str, int, float, int] | None = None
        fake.answer_with(self._answer)

    def arm(self, step: str, place: int, delay: float, pid: int) -> None:
        """Kill at the ``place``-th question from now, at this step of it."""
        with self._lock:
            self._armed = (step, place, delay, pid)

    def _answer(self, request: Received) -> Script:
        body = request.json
        number = int(_NUMBER.findall(body["messages"][-1]["content"][0]["text"])[0])
        known = (body["model"], number)
        with self._lock:
            self.asked[known] += 1
            if known in self.noted:
                self.again.append(known)
            armed = self._armed
            if armed is not None:
                step, place, delay, pid = armed
                self._armed = (step, place - 1, delay, pid) if place > 1 else None
                if place == 1 and step == "asked":
                    _kill(pid)
                elif place == 1:
                    threading.Timer(delay if step == "noted" else 0.0, _kill, (pid,)).start()
        reason = f"{known[0]}/{number}"
        return chat(msgspec.json.encode({"scores": dict.fromkeys(_CRITERIA, number % 10), "reason": reason}).decode())


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself
        os.kill(pid, signal.SIGKILL)


def noted_in(data: Path) -> set[Known]:
    """The judgements that the ledger of a killed program holds."""
    found: set[Known] = set()
    with contextlib.closing(sqlite3.connect(data / "answers" / "ledger.db")) as connection:
        for (text,) in connection.execute("SELECT answer FROM reply"):
            model, _, number = msgspec.json.decode(text)["reason"].partition("/")
            found.add((model, int(number)))
    return found


class KillJudging:
    """One data folder: a run judged along, then all of it judged by hand by another model, killed again and again."""

    def __init__(self, folder: Path, edits: FakeUpstream, judge: FakeUpstream, seed: int) -> None:
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.kills: Counter[str] = Counter()
        self.in_flight = 0
        self._asked: Counter[Known] = Counter()  # before the last kill
        self.critic = Critic(judge)
        self._source = source_folder(folder / "in", TASKS)
        self._table = folder / "prompts.csv"
        with self._table.open("w", newline="", encoding="utf-8") as file:
            rows = [(f"{number:03}_start.png", f"picture {number}") for number in range(1, TASKS + 1)]
            csv.writer(file).writerows([("file", "prompt"), *rows])
        self._config = config_for(edits, concurrency_limit=AT_ONCE, alarm_limit=0)
        self._judge = judge
        self._random = random.Random(seed)
        edits.answer_with(_edit)

    def play(self, kills: int) -> None:
        """Kill up to so many times, half of them along the run, then let all of it end."""
        for way, model in enumerate(MODELS):
            left = kills if way else kills // 2
            while True:
                step = self._random.choice(STEPS) if sum(self.kills.values()) < left else ""
                with serving(self.data, STATUS_UI="none", ALLOW_PRIVATE_API_URL="1") as served:
                    if step:
                        delay = self._random.random() * 0.04
                        self.critic.arm(step, self._random.randrange(1, 5), delay, served.process.pid)
                    try:
                        self._go(served, model, along=not way)
                    except httpx.TransportError:
                        assert served.process.wait(15) == -signal.SIGKILL
                        self._died(f"{step}, {model}")
                        continue
                    served.end()
                    break

    def _go(self, served: Served, model: str, *, along: bool) -> None:
        """To the end: every task edited, every result judged by this model."""
        state = served.state()
        config = {"api_url": self._judge.url(), "api_key": "sk-judge", "model_name": model, "max_retries": 0,
                  "unlock_local_api_url": True, "concurrency_limit": AT_ONCE, "along": along}  # fmt: skip
        self._post(served, "/api/judge/config", {"config": config})
        if not state["task_count"]:
            start = {"input_path": str(self._source), "config": self._config, "prompt_table": str(self._table)}
            self._post(served, "/api/tasks/start", start)
        elif any(task["status"] != "done" for task in state["tasks"]):
            self._post(served, "/api/tasks/resume", {})
        until(lambda: not served.state()["running"], 60)
        self._post(served, "/api/judge/start", {})  # some may be judged along still, and are not asked for again
        until(lambda: served.state()["job"]["status"] != "running", 60)
        state = served.state()
        assert (state["job"]["status"], state["job"]["result"]["failed"]) == ("done", 0), state["job"]
        for task in state["tasks"]:
            (result,) = task["results"]
            number = int(task["source_name"][:3])
            judgement = result["judgement"]
            assert (judgement["model"], judgement["score"]) == (model, number % 10)

    def _post(self, served: Served, path: str, body: dict[str, Any]) -> None:
        answer = served.client.post(path, json=body)
        assert answer.status_code == 200, answer.text

    def _died(self, how: str) -> None:
        """What the ledger holds now is never to be asked for again; what was asked and is not in it was in flight."""
        self.kills[how] += 1
        assert self._judge.wait_for_no_connections(20)  # every question that was sent has come
        held, asked = noted_in(self.data), self.critic.asked.copy()
        assert held >= self.critic.noted, "a note is gone"
        self.critic.noted = held
        open_ones = {one for one in asked - self._asked if one not in held}
        assert len(open_ones) <= 2 * AT_ONCE, open_ones  # what is judged along, and a person's order
        self.in_flight += len(open_ones)
        self._asked = asked


def _edit(request: Received) -> Script:
    number = int(_NUMBER.findall(request.json["messages"][-1]["content"][0]["text"])[0])
    return inline(ApiMode.CHAT_COMPLETIONS, picture(RESULTS + number))


@pytest.mark.timeout(3600)
def test_killed_at_every_step_of_a_judging(
    tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Each pair has its own judgement at the end, asked for once but for what was in flight at a kill."""
    wanted, runs = kills_wanted(4), 0
    kills: Counter[str] = Counter()
    questions = in_flight = 0
    while kills.total() < wanted:
        with FakeUpstream() as edits, FakeUpstream() as judge:
            run = KillJudging(tmp_path / str(runs), edits, judge, seed=runs)
            run.play(min(8, wanted - kills.total()))
        asked = run.critic.asked
        assert run.critic.again == []
        assert asked.keys() == {(model, number) for model in MODELS for number in range(1, TASKS + 1)}
        assert asked.total() == len(MODELS) * TASKS + run.in_flight
        kills += run.kills
        questions, in_flight, runs = questions + asked.total(), in_flight + run.in_flight, runs + 1
    figures = {"kills": kills.total(), **kills, "runs": runs, "questions": questions, "in flight at a kill": in_flight}
    print(figures)
    for name, figure in figures.items():
        record_testsuite_property(f"kill of judging: {name}", figure)
