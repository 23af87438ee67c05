"""``run`` makes a set and a report at its end; what is wrong with the wish is refused before anything is sent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

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


def test_every_wish_of_a_set_has_a_flag(tmp_path: Path) -> None:
    """Format, size, names, caption, split, ZIP, thresholds and kinds that are allowed reach the set; lonely rows of the
    prompt table are named."""
    table = tmp_path / "prompts.csv"
    table.write_text("file,prompt\n001_start,rain\n001_start,snow\n003_start,fog\n009_start,gone\n")
    done = run(
        tmp_path, "--prompts", str(table), "--variants", "2", "--export", "diffsynth", "--picture-format", "webp",
        "--quality", "80", "--size-rule", "multiple", "--size-value", "64", "--crop-align", "--first-result",
        "--stem-template", "{src_stem}", "--caption", "template", "--caption-template", "{trigger}: {prompt}",
        "--trigger", "wc", "--validation", "0.5", "--set-seed", "4", "--threshold", "aspect=90",
        "--threshold", "size=900",
        "--allow", "same_target", "--allow", "hardly_changed", "--allow", "no_change", "--report",
        str(tmp_path / "report.html"), "--price-per-call", "0.5",
    )  # fmt: skip
    said = done.stderr.decode()
    assert done.returncode == 0, said
    assert "without a picture: 1 (009_start)" in said
    assert "not sent: 1 (006_start.jpg)" in said
    (folder,) = (tmp_path / "out").glob("set_v*")
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text("utf-8").splitlines()]
    assert sorted(row["caption"] for row in rows) == [
        f"wc: {word}" for word in ("fog", "fog", "rain", "rain", "snow", "snow")
    ]
    assert {row["split"] for row in rows} == {"train", "validation"}
    for row in rows:
        with Image.open(folder / row["target"]) as picture:
            assert (picture.format, picture.width % 64, picture.height % 64) == ("WEBP", 0, 0)
        assert Path(row["target"]).name.startswith(("001-start", "003-start"))
    assert "<dd>3.00</dd>" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threshold", "shifted=much"], "shifted=much"),
        (["--threshold", "nobody=1"], "nobody"),
        (["--size-rule", "longest", "--size-value", "1"], "size_value"),
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
