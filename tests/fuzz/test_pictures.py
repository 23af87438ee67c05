"""Thousands of broken pictures of every format: no crash, none taken that does not decode whole, within bounds.

``PICTURES=6000`` for the full count; ``PICTURE_FOLDER`` brings pictures of other people, as they are and mutated.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PICTURES = int(os.environ.get("PICTURES", "1500"))
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="limits and memory as Linux counts them")
@pytest.mark.timeout(3600)
def test_mutated_pictures() -> None:
    """Judged by the program's own check in a process with limits, then decoded again at full size."""
    child = str(Path(__file__).with_name("picture_child.py"))
    command = [sys.executable, child, str(PICTURES), os.environ.get("PICTURE_FOLDER", "")]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, f"crashed with {done.returncode}: {done.stderr[-2000:]}"
    report = json.loads(done.stdout)
    print(report)
    assert report["wrong"] == []
    assert report["files"] >= PICTURES
    assert report["taken"] > PICTURES // 50, "mutations that never leave a picture whole try nothing"
    assert report["refused"] > PICTURES // 3
    assert report["megabytes"] <= 512
