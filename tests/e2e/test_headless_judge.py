"""The judge and the trial from the terminal: `run --judge` to the end of its rounds, `trial` to one JSON object."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config import ApiMode
from tests.bridge.test_judging import Studio
from tests.fakes.upstream import FakeUpstream, Received
from tests.fakes.vision import coloured
from tests.support.replies import inline

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    """Both gateways."""
    with FakeUpstream() as edits, FakeUpstream() as judge:
        yield Studio(tmp_path, edits, judge)


def command(data: Path, *words: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, JSON lines and what was said."""
    environ = {**os.environ, "APP_DATA_DIR": str(data), "LANG": "en_US.UTF-8", "ALLOW_PRIVATE_API_URL": "1",
               "ALLOW_PRIVATE_DOWNLOAD_URL": "1"}  # fmt: skip
    done = subprocess.run([sys.executable, str(ROOT / "launcher.py"), *words], env=environ, capture_output=True,
                          text=True, timeout=90, check=False)  # fmt: skip
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def write(path: Path, value: Any) -> str:
    """A JSON file."""
    path.write_text(json.dumps(value), "utf-8")
    return str(path)


def test_rounds_from_the_terminal_end_with_all_good(studio: Studio, tmp_path: Path) -> None:
    """Right at the second or third try: every task ends at or above the score, in exactly the calls it takes."""
    tries: dict[str, int] = {}

    def answer(request: Received) -> Any:
        picture = request.json["messages"][-1]["content"][1]["image_url"]["url"]
        tries[picture] = tries.get(picture, 0) + 1
        right = tries[picture] >= 2 + sorted(tries).index(picture) % 2
        return inline(ApiMode.CHAT_COMPLETIONS, coloured("red" if right else "blue", sum(tries.values())))

    studio.edits.answer_with(answer)
    out = tmp_path / "out"
    config = write(tmp_path / "config.json", studio.config())
    judge = write(tmp_path / "judge.json", studio.judge(pass_score=1))
    words = ["run", str(studio.draw(4)), "-o", str(out), "--config", config, "--json"]
    code, _, said = command(tmp_path / "data", *words, "--rounds", "3")
    assert (code, len(studio.edits.api_requests)) == (2, 0), said
    words += ["--judge", judge, "--pass-score", "7", "--rounds", "3"]
    code, events, said = command(tmp_path / "data", *words)
    assert code == 0, said
    assert len(studio.edits.api_requests) == sum(tries.values()) == sum(2 + place % 2 for place in range(4))
    assert len(studio.vision.seen) == sum(tries.values())
    (job,) = [event["job"] for event in events if event["event"] == "job"]
    assert (job["kind"], job["result"]["bad"]) == ("rounds", 0)
    assert len(list(out.iterdir())) == 4
    code, _, said = command(tmp_path / "data", *words)
    assert (code, len(studio.vision.seen)) == (0, sum(tries.values())), said


def test_a_budget_ends_rounds_from_the_terminal(studio: Studio, tmp_path: Path) -> None:
    """The run and its rounds have one budget; where it ends in the middle of a round the command ends, and says why."""
    studio.colours = ["blue"]
    config = write(tmp_path / "config.json", studio.config(price_per_call=0.1, budget=0.65))
    judge = write(tmp_path / "judge.json", studio.judge())
    words = ["run", str(studio.draw(4)), "-o", str(tmp_path / "out"), "--config", config, "--json"]
    code, events, said = command(tmp_path / "data", *words, "--judge", judge, "--rounds", "3")
    assert (code, len(studio.edits.api_requests)) == (1, 6), said
    (given_up,) = [event["error"]["code"] for event in events if event["event"] == "given_up"]
    assert (given_up, events[-1]["cost"]) == ("budget_reached", 0.6)


def test_a_trial_from_the_terminal(studio: Studio, tmp_path: Path) -> None:
    """One JSON object with columns, scores and rows; what it paid for a run need not pay."""
    studio.colours = ["red"]
    ways = [
        {"name": str(number), "config": studio.config(), "user_prompt": f"make it red {number}"} for number in range(2)
    ]
    columns = write(tmp_path / "columns.json", ways)
    judge = write(tmp_path / "judge.json", studio.judge())
    words = ["trial", str(studio.draw(5)), "--columns", columns, "--sample", "3", "--judge", judge, "--json"]
    code, events, said = command(tmp_path / "data", *words)
    assert code == 0, said
    (trial,) = events
    assert [(column["done"], column["calls"], column["mean_score"] > 7) for column in trial["columns"]] == [
        (3, 3, True),
        (3, 3, True),
    ]
    assert len(trial["rows"]) == 3
    config = write(tmp_path / "config.json", {**studio.config(), "user_prompt": "make it red 1"})
    run = ["run", str(studio.sources), "-o", str(tmp_path / "out"), "--config", config, "--json"]
    code, events, said = command(tmp_path / "data", *run)
    assert (code, events[0]["reused_count"], len(studio.edits.api_requests)) == (0, 3, 8), said
    code, _, said = command(tmp_path / "data", *words[:5], "0")
    assert code == 2, said
