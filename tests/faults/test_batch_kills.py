"""kill -9 at the steps of a talk with a provider about a batch, and a thousand pictures: none paid twice, none lost.

``KILLS=200 TASKS=12 PICTURES=1000`` for the full count; the numbers of the run go to the report.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.upstream import FakeUpstream
from tests.support.batch_kills import BatchKills
from tests.support.batches import DESKS, batch_config, desk_of, quick
from tests.support.doors import open_door
from tests.support.kills import kills_wanted
from tests.support.pictures import source_folder

__all__ = ["quick"]
TASKS = int(os.environ.get("TASKS", "5"))
PICTURES = int(os.environ.get("PICTURES", "12"))


@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("provider", DESKS)
def test_killed_at_the_steps_of_a_batch(
    provider: str, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Whatever the provider had done when the program was killed, it is paid for once and collected."""
    kills: Counter[str] = Counter()
    wanted, runs = kills_wanted(1), 0
    while kills.total() < wanted:
        with FakeUpstream() as fake:
            run = BatchKills(provider, tmp_path / str(runs), fake, TASKS, seed=runs)
            run.play(min(6, wanted - kills.total()))
            kills += run.kills
            runs += 1
    print({"provider": provider, "kills": kills.total(), "runs": runs, "steps": len(kills)}, dict(kills))
    record_testsuite_property(f"batch kills: {provider}", kills.total())


@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("provider", DESKS)
def test_many_pictures(provider: str, tmp_path: Path) -> None:
    """A whole folder by batches: each picture once, each with its own result."""
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        desk = desk_of(provider, fake)
        began = time.monotonic()
        source = source_folder(tmp_path / "in", PICTURES)
        door.start(source, batch_config(provider, fake, concurrency_limit=8))
        assert door.app.wait_idle(1200)
        sent = time.monotonic()
        assert door.app.remote.batches.wait_idle(1200)
        counts = door.state()["progress"]
        assert (counts["done"], counts["total"]) == (PICTURES, PICTURES)
        assert (desk.paid_twice(), desk.wrong, sum(desk.asked.values())) == ([], [], PICTURES)
        print(
            {
                "provider": provider,
                "pictures": PICTURES,
                "batches": len(desk.batches),
                "sent, seconds": round(sent - began, 1),
                "collected, seconds": round(time.monotonic() - sent, 1),
            }
        )
