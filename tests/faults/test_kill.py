"""kill -9 at any moment of a batch: nothing that was reported is lost, nothing that arrived is asked for again.

``KILLS=1000 TASKS=500`` for the full count; the numbers of the run go to the report.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.upstream import FakeUpstream
from tests.support.kills import KillRun, PaidApi, kills_wanted

TASKS = int(os.environ.get("TASKS", "150"))
READY_SECONDS = 2.0 if os.environ.get("FULL") == "1" else 20.0
"""The promise is two; a machine that does other things as well has twenty."""


@pytest.mark.timeout(4 * 3600)
def test_killed_at_random_moments(tmp_path: Path, record_testsuite_property: Callable[[str, object], None]) -> None:
    """Killed while it starts or within a second of work, until the run ends by itself; then another run."""
    kills, at_start, adopted, asked_twice, runs = 0, 0, 0, 0, 0
    ready: list[float] = []
    wanted = kills_wanted(8)
    while kills < wanted:
        with FakeUpstream() as fake:
            api = PaidApi(fake, TASKS, seed=runs)
            run = KillRun(tmp_path / str(runs), TASKS, seed=runs)
            assert run.play(api, wanted - kills)
        kills += run.kills
        at_start += run.kills_at_start
        adopted += run.adopted
        asked_twice += run.asked_twice(api)
        ready += run.ready_seconds
        runs += 1
        # Each kill may catch as many answers on their way as calls were under way.
        assert run.asked_twice(api) <= 16 * run.kills
    ready.sort()
    nearly_all = ready[int(len(ready) * 0.99)]
    figures = {
        "kills": kills,
        "of them while starting": at_start,
        "runs to the end": runs,
        "adopted at a start": adopted,
        "asked again, answer not arrived": asked_twice,
        "ready, median seconds": round(statistics.median(ready), 2),
        "ready, 99 % within": round(nearly_all, 2),
        "ready, longest": round(ready[-1], 2),
    }
    print(figures)
    for name, figure in figures.items():
        record_testsuite_property(f"kill: {name}", figure)
    assert nearly_all <= READY_SECONDS
