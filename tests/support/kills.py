"""A run of many tasks against a fake paid API, killed without warning again and again, and what must hold each time."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

from engine.config import ApiMode
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import config_for
from tests.support.pictures import picture, source_folder
from tests.support.processes import Served, killed_while_starting, serving
from tests.support.replies import inline

RESULTS = 10_000  # result pictures are numbered from here on
STARTS = 0.2  # share of the kills that come while the program is still starting
SETTLED = {"done", "stopped", "failed", "partial_success"}


def sha256(data: bytes) -> str:
    """Name of a picture in the cache."""
    return hashlib.sha256(data).hexdigest()


class PaidApi:
    """Answers each source picture with one of its own, half of them by URL, and counts what it is paid for."""

    def __init__(self, fake: FakeUpstream, count: int, seed: int) -> None:
        self.calls = dict.fromkeys(range(1, count + 1), 0)
        self._numbers = {sha256(picture(number)): number for number in self.calls}
        self.fake = fake
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._results = {sha256(picture(RESULTS + number)): number for number in self.calls}
        fake.answer_with(self._answer)

    def calls_for(self, digest: str) -> int:
        """Calls for the picture that this result was made of."""
        return self.calls[self._results[digest]]

    def _answer(self, request: Received) -> Script:
        url = request.json["messages"][-1]["content"][-1]["image_url"]["url"]
        number = self._numbers[sha256(base64.b64decode(url.partition(",")[2]))]
        with self._lock:
            self.calls[number] += 1
            delay = self._random.random() * 0.15
        result = picture(RESULTS + number)
        if number % 2:
            link = self.fake.picture(result, f"/files/{number}.png")
            return Script.json({"choices": [{"message": {"content": f"![image]({link})"}}]}, delay=delay)
        return inline(ApiMode.CHAT_COMPLETIONS, result, delay=delay)


class KillRun:
    """One data folder and one batch, over as many processes as it takes."""

    def __init__(self, folder: Path, count: int, seed: int) -> None:
        self.data = folder / "data"
        self.count = count
        self.kills = 0
        self.kills_at_start = 0
        self.ready_seconds: list[float] = []
        self.adopted = 0
        self._random = random.Random(seed)
        self._source = source_folder(folder / "in", count)
        self._started = False
        self._done: dict[str, str] = {}  # reported done: name of the source, hash of its result
        self._on_disk: set[str] = set()  # hashes that lay whole in the cache when the process was killed
        self._paid: dict[str, int] = {}  # the same hashes, and how often each had been asked for by then
        self._whole: set[Path] = set()

    def play(self, api: PaidApi, kills: int) -> bool:
        """Kill up to ``kills`` times, or until all is done; whether all is done."""
        self.data.mkdir(parents=True, exist_ok=True)
        while self.kills < kills:
            if self._started and self._random.random() < STARTS:
                self._kill_while_starting(api)
            elif self._once(api, random_kill=True):
                return True
        return self._once(api, random_kill=False)

    def _once(self, api: PaidApi, *, random_kill: bool) -> bool:
        begun = time.monotonic()
        with serving(self.data, STATUS_UI="none") as served:
            state = served.state()
            self.ready_seconds.append(time.monotonic() - begun)
            self._check_found(state)
            self._go(served, api)
            end = time.monotonic() + (self._random.random() * 0.9 + 0.05 if random_kill else 120)
            finished = False
            while time.monotonic() < end and not finished:
                finished = self._note(served.state())
                time.sleep(0.01)
            if not random_kill:
                assert finished, "the run did not end by itself"
            if finished:
                self._check_finished(served.state(), api)
                served.end()
                return True
            served.process.send_signal(signal.SIGKILL)
            served.process.wait(15)
        self._killed(api)
        return False

    def _kill_while_starting(self, api: PaidApi) -> None:
        """In the middle of taking in what the last kill left behind."""
        killed_while_starting(self.data, 0.05 + self._random.random() * 0.5)
        self.kills_at_start += 1
        self._killed(api)

    def _killed(self, api: PaidApi) -> None:
        """What must be on the disk, whatever the moment."""
        self.kills += 1
        self._check_files()
        assert set(self._done.values()) <= self._on_disk, "a picture that was reported done has no file"
        for digest in self._on_disk - self._paid.keys():
            self._paid[digest] = api.calls_for(digest)

    def _go(self, served: Served, api: PaidApi) -> None:
        config = config_for(api.fake, concurrency_limit=16, max_retries=1)
        path, body = ("/api/tasks/resume", {}) if self._started else (
            "/api/tasks/start", {"input_path": str(self._source), "config": config}
        )  # fmt: skip
        answer = served.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        self._started = True

    def _note(self, state: dict[str, Any]) -> bool:
        """Remember what is reported done; whether nothing runs any more."""
        for task in state["tasks"]:
            if task["status"] == "done":
                self._done[task["source_name"]] = task["results"][0]["hash"]
        return not state["running"] and state["task_count"] == self.count

    def _check_found(self, state: dict[str, Any]) -> None:
        """After a kill: nothing lost, nothing stuck, what lay on the disk is known."""
        assert not state["running"]
        if not state["tasks"]:
            self._started = False  # killed before the list was written
            assert not self._done
            return
        assert len(state["tasks"]) == self.count, "a part of the list"
        found = {task["source_name"]: task for task in state["tasks"]}
        assert {task["status"] for task in found.values()} <= SETTLED
        for name, digest in self._done.items():
            assert found[name]["status"] == "done", f"{name} was reported done and is {found[name]['status']}"
            assert [result["hash"] for result in found[name]["results"]] == [digest]
        known = {result["hash"] for task in found.values() for result in task["results"]}
        assert self._on_disk <= known, "pictures that had arrived belong to no task"
        before = len(self._done)
        self._note(state)
        self.adopted += len(self._done) - before
        assert not [notice for notice in state["notices"] if notice["code"] == "file_damaged"]

    def _check_files(self) -> None:
        """Every file of the cache is whole; what is still being written has no name yet."""
        self._on_disk = set()
        for path in self.data.glob("cache/??/*"):
            digest = path.parent.name + path.stem
            if path not in self._whole:
                assert sha256(path.read_bytes()) == digest, f"half a file: {path.name}"
                self._whole.add(path)
            self._on_disk.add(digest)
        for name in ("state.json", "presets.json"):
            path = self.data / name
            assert not path.exists() or isinstance(json.loads(path.read_bytes()), dict)

    def _check_finished(self, state: dict[str, Any], api: PaidApi) -> None:
        """All is done, each with its own picture, and nothing was asked for that had arrived."""
        by_name = {task["source_name"]: task for task in state["tasks"]}
        for number in range(1, self.count + 1):
            task = by_name[f"{number:03}_start.png"]
            assert task["status"] == "done", task
            assert [result["hash"] for result in task["results"]] == [sha256(picture(RESULTS + number))]
        for digest, calls in self._paid.items():
            assert api.calls_for(digest) == calls, "asked again for a picture that had arrived"

    def asked_twice(self, api: PaidApi) -> int:
        """Calls beyond one a picture: those whose answer was still on its way when the process was killed."""
        return sum(api.calls.values()) - self.count


def kills_wanted(quick: int) -> int:
    """How many kills this run makes: ``KILLS`` of the environment, or few."""
    return int(os.environ.get("KILLS", str(quick)))
