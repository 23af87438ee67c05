"""``run`` makes a set and a report at its end; what is wrong with the wish is refused before anything is sent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.trainers import LOADERS

ROOT = Path(__file__).resolve().parents[2]


def run(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """One demo run on three pictures."""
    source = tmp_path / "in"
    if not source.exists():
        source.mkdir()
        for name in ("001_start.jpg", "003_start.jpg", "006_start.jpg"):
            shutil.copy(ROOT / "assets" / "samples" / name, source)
    return subprocess.run(
        [
            sys.executable,
            str(ROOT / "launcher.py"),
            "run",
            "--demo",
            str(source),
            "-o",
            str(tmp_path / "out"),
            *arguments,
        ],
        env={**os.environ, "APP_DATA_DIR": str(tmp_path / "data"), "LC_ALL": "en_US.UTF-8"},
        capture_output=True,
        timeout=100,
        check=False,
    )


def test_set_and_report_at_the_end(tmp_path: Path) -> None:
    """A trainer finds every pair, the report is there, and a later run writes the next version without new calls."""
    report = tmp_path / "out" / "report.html"
    order = ["--export", "musubi", "--trigger", "wc", "--export-name", "watercolour", "--report", str(report)]
    done = run(tmp_path, *order)
    assert done.returncode == 0, done.stderr.decode()
    loaded = LOADERS["musubi"](tmp_path / "out" / "watercolour_v001")
    assert len(loaded) == 3
    assert all(one.caption.startswith("wc, ") for one in loaded)
    assert "watercolour" in report.read_text("utf-8")
    again = run(tmp_path, "--export", "musubi", "--export-name", "watercolour", "--json")
    events = [json.loads(line) for line in again.stdout.splitlines()]
    assert (again.returncode, events[0]["new_count"]) == (0, 0)
    jobs = [event["job"] for event in events if event["event"] == "job"]
    assert jobs[-1]["result"]["path"] == str(tmp_path / "out" / "watercolour_v002")
    taken = run(tmp_path, "--report", str(report))
    assert taken.returncode == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--caption", "trigger"], "trigger"),
        (["--caption", "template", "--caption-template", "{nobody}"], "nobody"),
        (["--validation", "2"], "validation"),
        (["--export-to", "IN/sets"], "folder of sources"),
    ],
)
def test_wrong_wishes_cost_nothing(tmp_path: Path, arguments: list[str], words: str) -> None:
    """Exit code 2 with words, and no data folder of a run was made."""
    run_in = [argument.replace("IN", str(tmp_path / "in")) for argument in arguments]
    done = run(tmp_path, "--export", "kohya", *run_in)
    assert done.returncode == 2, done.stderr.decode()
    assert words in done.stderr.decode()
    assert not list((tmp_path / "data").rglob("tasks.db"))
    assert [path.name for path in (tmp_path / "in").iterdir() if path.is_dir()] == []
