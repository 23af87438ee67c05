"""Batches from the terminal: handed over, collected by later commands, their exit codes and events."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.fakes.batches import KEY, OpenAIDesk
from tests.fakes.upstream import FakeUpstream
from tests.support.batch_kills import QUICK
from tests.support.batches import batch_config, edited
from tests.support.pictures import source_folder
from tests.support.processes import command, environment, lines


def run(data: Path, *words: str) -> tuple[int, list[dict[str, Any]]]:
    """One command; its exit code and events."""
    done = subprocess.run(
        [*QUICK, *command("run", *words, "--json")], env=environment(data, IBC_API_KEY=KEY), capture_output=True,
        text=True, timeout=60, check=False, cwd=data.parent,
    )  # fmt: skip
    return done.returncode, lines(done.stdout)


def test_a_run_is_handed_over_and_collected(tmp_path: Path) -> None:
    """The first command hands over and ends, the next ones collect: 3 while it is not made, 0 when all is saved."""
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    source = source_folder(tmp_path / "in", 3)
    with FakeUpstream() as fake:
        desk = OpenAIDesk(fake, edited)
        desk.rate = 0
        config = batch_config("openai", fake, api_key="", delivery="now")
        (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
        words = [str(source), "-o", str(out), "--config", str(tmp_path / "config.json")]
        code, events = run(data, *words, "--delivery", "batch", "--batch-size", "2")
        assert code == 0
        told = [event for event in events if event["event"] == "batch"]
        assert [(one["kind"], one["state"], one["provider"]) for one in told] == [("batch", "waiting", "127.0.0.1")] * 2
        assert sorted(one["tasks"] for one in told) == [1, 2]
        assert events[-1]["progress"]["at_provider"] == 3
        assert run(data, *words, "--collect")[0] == 3
        assert len(desk.batches) == 2
        desk.rate = 10
        code, events = run(data, *words, "--collect", "--wait")
        assert (code, events[-1]["saved_count"], len(list(out.iterdir()))) == (0, 3, 3)
        assert (events[-1]["cost"], events[-1]["calls"]) == (0.06, 3)  # half of 0.04 each, asked for by another command
        assert (desk.wrong, desk.paid_twice(), sum(desk.asked.values())) == ([], [], 3)
