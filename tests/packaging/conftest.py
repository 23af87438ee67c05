"""Builds the one-file programs once a run, or takes those that are newer than everything they are made from."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INPUTS = ("assets", "bridge", "build", "engine", "webui", "launcher.py", "requirements.lock", "requirements-dev.lock")
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


def _newest() -> float:
    """When the youngest file that goes into a program was changed."""
    files = (file for name in INPUTS for file in (ROOT / name, *(ROOT / name).rglob("*")))
    return max(file.stat().st_mtime for file in files if file.is_file() and file.suffix != ".pyc")


def _built(variant: str, name: str) -> Path:
    program = ROOT / "dist" / name
    if not program.exists() or program.stat().st_mtime < _newest():
        if importlib.util.find_spec("PyInstaller") is None:
            pytest.skip("needs PyInstaller; see ./test.sh")
        environment = {**os.environ, "BUILD_PYTHON": sys.executable, "APP_NAME": name}
        command: list[str | Path] = [sys.executable, ROOT / "build" / "onefile.py", variant]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
        assert done.returncode == 0, done.stderr[-4000:]
    return program


@pytest.fixture(scope="session")
def slim_build() -> Path:
    """The program for the browser, where it was built."""
    return _built("slim", "image-batch-console-slim")


@pytest.fixture(scope="session")
def window_build() -> Path:
    """The program with a window, where it was built."""
    return _built("window", "image-batch-console")


@pytest.fixture
def slim(slim_build: Path, tmp_path: Path) -> Path:
    """The program for the browser, alone in an empty folder."""
    (tmp_path / "alone").mkdir()
    return Path(shutil.copy2(slim_build, tmp_path / "alone"))


@pytest.fixture
def window(window_build: Path, tmp_path: Path) -> Path:
    """The program with a window, alone in an empty folder."""
    (tmp_path / "alone").mkdir()
    return Path(shutil.copy2(window_build, tmp_path / "alone"))


Serving = Callable[..., AbstractContextManager[str]]


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    """Starts a program with nothing in its environment but folders and a port; gives the address that it answers at."""

    @contextlib.contextmanager
    def start(program: Path, *arguments: str, extra: Mapping[str, str] | None = None) -> Iterator[str]:
        heard = tmp_path / "heard.txt"
        environment = {"HOME": str(tmp_path), "APP_DATA_DIR": str(tmp_path / "data"), "PORT": "0", "STATUS_UI": "none"}
        with heard.open("wb") as output:
            process = subprocess.Popen(
                [program, *arguments], env={**environment, **(extra or {})}, cwd=program.parent,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            yield _address(process, heard)
        finally:
            process.terminate()
            try:
                code = process.wait(20)
                assert left_behind(process.pid) == []
            finally:
                with contextlib.suppress(ProcessLookupError):  # the program is a child of what unpacked it
                    os.killpg(process.pid, signal.SIGKILL)
        assert code == 0, heard.read_text(encoding="utf-8")

    return start


def _address(process: subprocess.Popen[bytes], heard: Path) -> str:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        if found := _ADDRESS.search(heard.read_text(encoding="utf-8", errors="replace")):
            return found[0]
        assert process.poll() is None, heard.read_text(encoding="utf-8", errors="replace")
        time.sleep(0.02)
    raise AssertionError("no address within a minute")


def left_behind(session: int) -> list[str]:
    """Commands of the processes of a session that still live."""
    shown = subprocess.run(["ps", "-o", "args=", "-s", str(session)], capture_output=True, text=True, check=False)
    return [line for line in shown.stdout.splitlines() if "<defunct>" not in line]
