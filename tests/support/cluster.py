"""A Dask scheduler with workers as a person starts them: processes of their own, on loopback, and ours with it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from bridge.app import App
from bridge.environment import read_environment
from bridge.open_app import load_messages
from engine.config import ApiConfig, ApiMode
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.pictures import picture
from tests.support.processes import environment
from tests.support.replies import PATHS, inline

EDITS = ApiMode.IMAGES_EDITS
KEY = "sk-cluster-never-written-77aa"
AT_ONCE = 16
_START_SECONDS = 60.0


class Machines:
    """A scheduler and its workers; each can be killed, and started again."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self._folder = folder
        self._file = folder / "scheduler.json"
        self._environ = environment(folder / "data", DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0", **environ)
        self._port = 0
        self.workers: list[subprocess.Popen[bytes]] = []
        self.scheduler = self.start_scheduler()

    @property
    def address(self) -> str:
        """Where the scheduler listens."""
        return str(msgspec.json.decode(self._file.read_bytes())["address"])

    def start_scheduler(self) -> subprocess.Popen[bytes]:
        """Again at the same port, once it has one."""
        self._file.unlink(missing_ok=True)
        self.scheduler = self._start(
            "dask_scheduler", "--host", "127.0.0.1", "--port", str(self._port), "--scheduler-file", str(self._file),
            "--no-dashboard",
        )  # fmt: skip
        end = time.monotonic() + _START_SECONDS
        while not self._file.exists():
            assert self.scheduler.poll() is None, "the scheduler ended"
            assert time.monotonic() < end, "no scheduler"
            time.sleep(0.05)
        self._port = int(self.address.rpartition(":")[2])
        return self.scheduler

    def start_workers(
        self, count: int, *more: str, environ: Mapping[str, str] | None = None, before: Sequence[str] = ()
    ) -> None:
        """Each a process with a nanny beside it that starts it anew where it dies. ``environ``: what else is in its
        environment; ``before``: a program with its arguments that starts it."""
        arguments = (self.address, "--nthreads", "4", "--no-dashboard", *more)
        self.workers += [self._start("dask_worker", *arguments, environ=environ, before=before) for _ in range(count)]

    def _start(
        self, program: str, *arguments: str, environ: Mapping[str, str] | None = None, before: Sequence[str] = ()
    ) -> subprocess.Popen[bytes]:
        with (self._folder / f"{program}.txt").open("ab") as said:
            return subprocess.Popen(
                [*before, sys.executable, "-m", f"distributed.cli.{program}", *arguments],
                env={**self._environ, **(environ or {})}, cwd=self._folder,
                stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                start_new_session=True,
            )  # fmt: skip

    def kill_worker_process(self, chance: random.Random) -> bool:
        """kill -9 of a process that makes calls, not of the nanny beside it; whether there was one."""
        pids = [pid for worker in self.workers if worker.poll() is None for pid in _children(worker.pid)]
        if not pids:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(pids), signal.SIGKILL)
        return True

    def said(self) -> bytes:
        """All that scheduler and workers have written."""
        return b"".join(file.read_bytes() for file in sorted(self._folder.glob("dask_*.txt")))

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """With all that it has started, at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        """End them all."""
        for process in [*self.workers, self.scheduler]:
            self.kill(process)


@contextlib.contextmanager
def machines(folder: Path, workers: int, **environ: str) -> Iterator[Machines]:
    """A cluster on this machine, until the block ends."""
    folder.mkdir(exist_ok=True)
    with contextlib.closing(Machines(folder, **environ)) as made:
        made.start_workers(workers)
        yield made


def _children(parent: int) -> list[int]:
    """Worker processes of a nanny: those that it spawned, not the tracker of its resources."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            pid, _, rest = file.read_text().partition(" (")
            is_child = int(rest.rpartition(")")[2].split()[1]) == parent
            if is_child and b"resource_tracker" not in file.with_name("cmdline").read_bytes():
                found.append(int(pid))
    return found


def answering(delay: float) -> Callable[[Received], Script]:
    """Each call another picture, so that each can be counted."""
    numbers = iter(range(10**9))
    return lambda _: inline(EDITS, picture(1000 + next(numbers), size=(8, 8)), delay=delay)


def settings(fake: FakeUpstream) -> ApiConfig:
    """Of a run against the fake."""
    return ApiConfig(
        api_url=fake.url(PATHS[EDITS]), api_key=KEY, user_prompt="dusk", unlock_local_api_url=True,
        concurrency_limit=AT_ONCE, retry_interval=0.1, timeout_seconds=120,
    )  # fmt: skip


@contextlib.contextmanager
def opened(folder: Path, cluster: Machines, **environ: str) -> Iterator[App]:
    """The program with this cluster."""
    folder.mkdir(exist_ok=True)
    with App(folder, read_environment({"CLUSTER": cluster.address, **environ}), load_messages(), version="1") as app:
        yield app


def pictures_in(folder: Path, count: int) -> Path:
    """A folder of so many pictures."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:04}.png").write_bytes(picture(number, size=(8, 8)))
    return folder
