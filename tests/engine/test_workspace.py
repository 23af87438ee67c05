"""The engine without a page: the script of the READMEs, killed in the middle, run again, and once more for nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.config import ApiMode
from engine.errors import Busy, Code
from engine.models import TaskMatch, TaskStatus
from engine.workspace import Workspace
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import until
from tests.support.pictures import picture, source_folder
from tests.support.replies import PATHS, inline

ROOT = Path(__file__).resolve().parents[2]
PICTURES = 6


def script_of(readme: str) -> str:
    """The Python that a README shows."""
    (script,) = re.findall(r"^```python\n(.*?)^```", (ROOT / readme).read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(script.splitlines()) <= 15
    return str(script)


def test_the_script_of_the_readme(tmp_path: Path) -> None:
    """Killed with half of the answers in: the next run asks for the other half, the third for nothing; all is saved."""
    script = script_of("README.md")
    assert script == script_of("README.zh-CN.md")
    source_folder(tmp_path / "photos", PICTURES)
    held = threading.Event()
    with FakeUpstream() as fake:
        script = script.replace("https://api.openai.com/v1/images/edits", fake.url(PATHS[ApiMode.IMAGES_EDITS]))
        script = script.replace("concurrency_limit=8", "concurrency_limit=8, unlock_local_api_url=True")
        numbers = iter(range(100, 200))
        lock = threading.Lock()

        def answer(_: Received) -> Script:
            with lock:
                number = next(numbers)
            if 103 <= number < 106:
                held.wait(20)
            return inline(ApiMode.IMAGES_EDITS, picture(number))

        fake.answer_with(answer)
        command = [sys.executable, "-c", script]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as first:
            until(lambda: len(list((tmp_path / "project" / "cache").glob("??/*"))) == 3 and len(fake.api_requests) == 6)
            first.kill()
        held.set()
        for calls in (3, 0):
            before = len(fake.api_requests)
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
            assert len(fake.api_requests) - before == calls
            assert [line.split()[1] for line in done.stdout.splitlines()] == ["done"] * PICTURES
    assert len(list((tmp_path / "edited").glob("*.png"))) == PICTURES


def test_one_workspace_a_folder(tmp_path: Path) -> None:
    """A second one is refused while the first is open; afterwards everything is there."""
    with Workspace(tmp_path / "project") as first:
        with pytest.raises(Busy) as caught:
            Workspace(tmp_path / "project")
        assert caught.value.code is Code.DATA_FOLDER_IN_USE
        assert first.problems == []
    with Workspace(tmp_path / "project") as again:
        assert list(again.store.tasks(TaskMatch(status=frozenset({TaskStatus.DONE})))) == []
