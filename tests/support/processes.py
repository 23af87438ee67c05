"""The program as a person starts it: its own process and data folder, and nothing from our environment."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec

ROOT = Path(__file__).parents[2]
START_SECONDS = 30.0


def environment(data: Path, **more: str) -> dict[str, str]:
    """A bare environment for a process: English words, loopback without a proxy."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "SYSTEMROOT", "COVERAGE_PROCESS_START", "PYTHONFAULTHANDLER")
        if name in os.environ
    }
    base = {"HOME": str(data.parent), "APP_DATA_DIR": str(data), "LC_ALL": "en_US.UTF-8", "PYTHONPATH": str(ROOT)}
    return kept | base | {"NO_PROXY": "*", "PYTHONUNBUFFERED": "1", "BROWSER": "false"} | more


def command(*arguments: str) -> list[str]:
    """The command line; measured as well when the tests are."""
    measured = ["-m", "coverage", "run", "--parallel-mode"] if os.environ.get("COVERAGE_RUN") else []
    return [sys.executable, *measured, str(ROOT / "launcher.py"), *arguments]


def run(data: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        command(*arguments), env=environment(data, **environ), capture_output=True, text=True, encoding="utf-8",
        timeout=60, check=False, cwd=data.parent,
    )  # fmt: skip


def lines(output: str) -> list[dict[str, Any]]:
    """The events of ``--json``."""
    return [msgspec.json.decode(line) for line in output.splitlines()]


class Served:
    """A serving process and a client for it."""

    def __init__(self, process: subprocess.Popen[str], url: str, said: list[str]) -> None:
        self.process = process
        self.url = url
        self.said = said
        self.client = httpx.Client(base_url=url.partition("?")[0], trust_env=False, timeout=20)

    def state(self) -> dict[str, Any]:
        """The state."""
        return dict(self.client.get("/api/state").json())

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextlib.contextmanager
def serving(data: Path, *arguments: str, before: Sequence[str] = (), **environ: str) -> Iterator[Served]:
    """``serve`` on a free port, until the block ends. ``before``: a command that runs it."""
    process = subprocess.Popen(
        [*before, *command(*(arguments or ("serve",)))], env=environment(data, **{"PORT": "0", **environ}),
        cwd=data.parent, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        encoding="utf-8",
    )  # fmt: skip
    try:
        url, said = _address(process)
        served = Served(process, url, said)
        with served.client:
            yield served
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def killed_while_starting(data: Path, seconds: float) -> None:
    """``serve``, killed without warning so long after the process was made, ready or not."""
    with subprocess.Popen(
        command("serve"), env=environment(data, PORT="0", STATUS_UI="none"), cwd=data.parent,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        time.sleep(seconds)
        process.kill()


def _address(process: subprocess.Popen[str]) -> tuple[str, list[str]]:
    said: list[str] = []
    end = time.monotonic() + START_SECONDS
    assert process.stderr is not None
    while time.monotonic() < end:
        line = process.stderr.readline()
        said.append(line)
        if found := re.search(r"http://\S+", line):
            return found[0], said
        assert line or process.poll() is None, "".join(said)
    raise AssertionError("no address was said: " + "".join(said))
