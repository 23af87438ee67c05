"""A run by a provider's batches, its program killed at chosen steps of the talk, and what must hold in the end."""

from __future__ import annotations

import hashlib
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from tests.fakes.upstream import FakeUpstream, Script
from tests.support.batches import batch_config, desk_of, edited
from tests.support.pictures import picture, source_folder
from tests.support.processes import Served, serving

QUICK = (sys.executable, str(Path(__file__).with_name("quick_batches.py")))
_CUT = Script(stop_at=0, body=b"x", ending="reset")
_STEPS = {"openai": 40, "gemini": 20, "xai": 30}  # about as many as a run has
_PATIENCE = 60.0


class BatchKills:
    """One data folder and one folder of pictures, over as many processes as it takes."""

    def __init__(self, provider: str, folder: Path, fake: FakeUpstream, count: int, seed: int) -> None:
        self.kills: Counter[str] = Counter()
        self._provider = provider
        self.desk = desk_of(provider, fake, seed)
        self.desk.hook = self._step
        self.desk.rate = max(1, count // 5)
        self._config = batch_config(provider, fake)
        self._data = folder / "data"
        self._data.mkdir(parents=True)
        self._source = source_folder(folder / "in", count)
        self._count = count
        self._random = random.Random(seed)
        self._served: Served | None = None
        self._until_kill = -1

    def play(self, kills: int) -> None:
        """Kill so often at most, then let it end by itself; all is done then, each paid for once."""
        while not self._once(kill=self.kills.total() < kills):
            pass
        assert self.desk.paid_twice() == []
        assert self.desk.wrong == []
        assert sum(self.desk.asked.values()) == self._count

    def _once(self, *, kill: bool) -> bool:
        """One process until it is killed or all is done; whether it is."""
        with serving(self._data, before=QUICK, STATUS_UI="none") as served:
            self._served = served
            self._until_kill = self._random.randrange(_STEPS[self._provider]) if kill else -1
            end = time.monotonic() + _PATIENCE
            while time.monotonic() < end:
                try:
                    if self._is_done(served):
                        served.end()
                        return True
                except httpx.HTTPError:
                    served.process.wait(60)  # it was killed
                    return False
                time.sleep(0.02)
            raise AssertionError("the run did not end by itself")

    def _is_done(self, served: Served) -> bool:
        """Go on where the last process was cut, as a person does; whether every picture has its result."""
        state = served.state()
        if state["running"] or state["progress"]["at_provider"]:
            return False
        done = [task for task in state["tasks"] if task["status"] == "done"]
        if len(done) == self._count:
            for task in done:
                number = int(task["source_name"][:3])
                result = hashlib.sha256(edited(picture(number))).hexdigest()
                assert [one["hash"] for one in task["results"]] == [result]
            return True
        if len(state["tasks"]) < self._count:
            body: dict[str, Any] = {"input_path": str(self._source), "config": self._config}
            served.client.post("/api/tasks/start", json=body | {"batch_size": max(2, self._count // 2)})
        else:
            assert {task["status"] for task in state["tasks"]} <= {"done", "stopped", "pending"}
            served.client.post("/api/tasks/resume", json={})
        return False

    def _step(self, step: str, before: bool) -> Script | None:
        """Kill the program when it is its turn: before the provider does anything, or before it can say so."""
        if self._until_kill < 0 or self._served is None:
            return None
        self._until_kill -= 1
        if self._until_kill >= 0:
            return None
        self.kills[f"{step} {'before' if before else 'after'}"] += 1
        self._served.process.send_signal(signal.SIGKILL)
        self._served.process.wait(15)
        return _CUT
