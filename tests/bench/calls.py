"""What is measured of a load of calls: time, processor, memory, bytes; the gateway, and the program at work."""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bridge.app import App
from bridge.environment import read_environment
from bridge.open_app import load_messages, version
from engine.config import ApiConfig
from engine.models import TaskStatus
from engine.tasks.store import NewTask
from tests.bench.gateway import Picture

ROOT = Path(__file__).resolve().parents[2]


class Took(msgspec.Struct, frozen=True):
    """``seconds`` by the clock and of processor time; bytes: ``peak`` memory so far, ``written`` to files."""

    seconds: float
    processor: float
    peak: int
    written: float


class Watch:
    """Measures this process from the moment it is made."""

    def __init__(self) -> None:
        self._written = _own_number("io", "wchar")
        self._processor = time.process_time()
        self._begun = time.perf_counter()

    def took(self, share: float = 1.0) -> Took:
        """So far. ``share``: of what was wanted to what was measured."""
        seconds = time.perf_counter() - self._begun
        processor = time.process_time() - self._processor
        written = _own_number("io", "wchar") - self._written
        return Took(seconds * share, processor * share, _own_number("status", "VmHWM") * 1024, written * share)


def _own_number(file: str, name: str) -> int:
    for line in Path(f"/proc/self/{file}").read_text("ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)


class Load(msgspec.Struct, frozen=True):
    """``kind``: sse, json or url; ``size`` of a picture in bytes; ``at_once`` calls; ``latency`` in seconds."""

    kind: str
    size: int
    at_once: int
    latency: float = 0.0

    @property
    def path(self) -> str:
        """Path of the API for the mode that answers so."""
        return "/v1/chat/completions" if self.kind == "sse" else "/v1/images/edits"


@contextmanager
def gateway(load: Load) -> Iterator[int]:
    """A gateway process; gives its port."""
    program = [
        sys.executable,
        str(Path(__file__).with_name("gateway.py")),
        load.kind,
        str(load.size),
        str(load.latency),
    ]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the disk that is measured: BENCH_DIR, else the system's temporary folder; emptied at the end."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=os.environ.get("BENCH_DIR")))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    try:
        yield folder
    finally:
        empty(folder)


def empty(folder: Path) -> None:
    """Free what the files hold, and leave the files until the program ends.

    For half a minute after many were removed, ext4 takes up to twenty times as long to make a new one.
    """
    for file in folder.rglob("*"):
        if file.is_file():
            os.truncate(file, 0)


class Engine:
    """The program as it runs, without a door: the application on a data folder of its own."""

    def __init__(self, folder: Path, load: Load, port: int) -> None:
        self.folder = folder
        self.source = folder / "source.png"
        self.source.write_bytes(Picture(10_000, 1).numbered(0))
        self.app = App(
            folder, read_environment({"CLUSTER": os.environ.get("CLUSTER", "")}), load_messages(), version=version()
        )
        self.config = ApiConfig(
            api_url=f"http://127.0.0.1:{port}{load.path}",
            concurrency_limit=load.at_once,
            unlock_local_api_url=True,
            unlock_local_download_url=True,
        )
        self._numbers = itertools.count()

    def run(self, count: int, first: int = 0) -> Took:
        """What as many new tasks took, all with the same source.

        ``first``: so many more go before the clock starts, for a run spreads its first calls over a moment.
        """
        numbers = itertools.islice(self._numbers, first + count)
        ids = self.app.store.add([NewTask(str(self.source), f"{n}.png", f"print {n}") for n in numbers])
        store, batch = self.app.store, self.app.batch
        before = store.counts()[TaskStatus.DONE]
        watch = Watch()
        batch.start(ids, self.config)
        if first:
            while store.counts()[TaskStatus.DONE] < before + first:
                time.sleep(0.002)
            watch = Watch()
        left = before + len(ids) - store.counts()[TaskStatus.DONE]
        batch.wait_idle()
        assert store.counts()[TaskStatus.DONE] == before + len(ids), store.counts()
        return watch.took(count / left)

    def close(self) -> None:
        """Close all."""
        self.app.close()
