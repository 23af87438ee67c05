"""The same work done twice: by a bare loop, and by the engine; both against the same gateway process."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
from PIL import Image

from bridge.console import Console
from bridge.opening import load_messages, version
from bridge.settings import read_settings
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
    """A folder on the disk that is measured: BENCH_DIR, else the system's temporary folder."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=os.environ.get("BENCH_DIR")))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def bare(load: Load, port: int, count: int, folder: Path, *, careful: bool = False) -> Took:
    """What ``count`` pictures take: ask, read, split, parse, decode, hash, write to a file of its own, fsync.

    ``careful``: with the least that keeping what was paid for takes besides: the file gets its name when its bytes are
    on disk, and its row in an SQLite table is on disk at the end as well.
    """
    folder.mkdir()
    table = _table(folder) if careful else None
    numbers = iter(range(count))
    lock = threading.Lock()
    # What is sent is as large as what the engine sends.
    picture = base64.b64encode(Picture(10_000, 1).numbered(0)).decode()
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": picture}]}).encode()

    def work() -> None:
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Content-Type": "application/json"})
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                client.close()
                return
            data = _bare_picture(load.kind, client.post(load.path, content=body).content, client)
            with Image.open(io.BytesIO(data)) as image:
                image.load()
            name = f"{number}-{hashlib.sha256(data).hexdigest()}"
            _write(folder / name, data, careful=careful)
            if table is not None:
                with lock:
                    table.execute("INSERT INTO picture VALUES (?)", (name,))

    threads = [threading.Thread(target=work) for _ in range(load.at_once)]
    watch = Watch()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = watch.took()
    assert len(list(folder.glob("[0-9]*-*"))) == count
    if table is not None:
        table.close()
    shutil.rmtree(folder)
    return took


def _table(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "table.db", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE picture (name TEXT PRIMARY KEY)")
    return connection


def _write(path: Path, data: bytes, *, careful: bool) -> None:
    place = path.with_name(f".{path.name}") if careful else path
    with place.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if careful:
        place.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def _bare_picture(kind: str, answer: bytes, client: httpx.Client) -> bytes:
    if kind == "sse":
        for line in answer.split(b"\n"):
            if line.startswith(b"data: {"):
                text = json.loads(line[6:])["choices"][0]["delta"]["content"]
                return base64.b64decode(text[text.index("base64,") + 7 : -1])
        raise AssertionError("no picture")
    named = json.loads(answer)["data"][0]
    if kind == "json":
        return base64.b64decode(named["b64_json"])
    return client.get("/" + named["url"].rpartition("/")[2]).content


class Engine:
    """The program as it runs, without a door: a console on a data folder of its own."""

    def __init__(self, folder: Path, load: Load, port: int) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.source = folder / "source.png"
        self.source.write_bytes(Picture(10_000, 1).numbered(0))
        self.console = Console(folder, read_settings({}), load_messages(), version=version())
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
        ids = self.console.store.add([NewTask(str(self.source), f"{n}.png", f"print {n}") for n in numbers])
        store, batch = self.console.store, self.console.batch
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
        """Close all, remove the folder."""
        self.console.close()
        shutil.rmtree(self.folder)
