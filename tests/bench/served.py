"""Rows 7 to 9: the program as a server on a data folder with many finished tasks."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.calls import ROOT
from tests.bench.measure import Curve, Report, Row, median
from tests.support.browser import CHROMIUM

MB = 2**20
_TICKS = os.sysconf("SC_CLK_TCK")


class Served:
    """A running server process and a connection to it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, path: str, method: str = "GET") -> tuple[float, bytes]:
        """Seconds until the answer was here, and its body."""
        begun = time.perf_counter()
        self._connection.request(
            method, path, b"{}" if method == "POST" else None, {"Content-Type": "application/json"}
        )
        answer = self._connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body[:300]
        return time.perf_counter() - begun, body

    @property
    def resident(self) -> int:
        """Resident memory in bytes."""
        for line in Path(f"/proc/{self.process.pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
        raise LookupError("Rss")

    @property
    def processor(self) -> float:
        """Seconds of processor time so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """The program serving a data folder, from the first moment on: nothing is waited for."""
    port = _free_port()
    environ = {**os.environ, "PORT": str(port), "APP_DATA_DIR": str(folder), "STATUS_UI": "none"}
    command = [sys.executable, str(ROOT / "launcher.py"), "serve"]
    with subprocess.Popen(
        command, env=environ, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield Served(process, port)
        finally:
            process.terminate()
            process.wait(30)


def wait(server: Served) -> None:
    """Until it takes connections."""
    end = time.perf_counter() + 60
    while time.perf_counter() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", server.port)) == 0:
                return
        time.sleep(0.002)
    raise TimeoutError("the server did not come up")


def first_page(server: Served) -> None:
    """What the page asks before it shows the list."""
    for path in ("/", "/js/main.js", "/api/state?tasks=0", "/api/tasks?limit=100"):
        server.ask(path)


def start(folders: dict[int, Path], rounds: int) -> Report:
    """Row 8: from the start of the process to the first page with its list."""
    found: dict[int, float] = {}
    for count, folder in folders.items():
        seconds = []
        for _ in range(rounds):
            begun = time.perf_counter()
            with served(folder) as server:
                wait(server)
                first_page(server)
                seconds.append(time.perf_counter() - begun)
        found[count] = median(seconds)
    bare = median([_imports() for _ in range(rounds)])
    most = max(found)
    goals = {0: 0.6, most: 1.0}
    rows = [
        Row(
            "8",
            f"start to first page, {count:,} tasks",
            f"{found[count]:.2f} s",
            f"importing the libraries {bare:.2f} s",
            f"≤ {goal} s",
            found[count] <= goal,
            bare / found[count],
        )
        for count, goal in goals.items()
    ]
    return Report(rows, [Curve("8: start to first page", "s", [(n, found[n]) for n in sorted(found) if n], 1.0)])


def _imports() -> float:
    begun = time.perf_counter()
    modules = "sqlite3, bottle, waitress.server, httpx, httpcore, PIL.Image, msgspec, natsort, filelock, tenacity, rich"
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
    return time.perf_counter() - begun


def asked(folders: dict[int, Path], rounds: int) -> Report:
    """Row 9: state, a page of the list and a change event, at each number of tasks."""
    state: dict[int, float] = {}
    page: dict[int, float] = {}
    event: dict[int, float] = {}
    for count, folder in folders.items():
        with served(folder) as server:
            wait(server)
            first_page(server)
            state[count] = median([server.ask("/api/state?tasks=0")[0] for _ in range(20 * rounds)])
            pages = [f"/api/tasks?limit=100&offset={count * part // 20}" for part in range(20)]
            pages += [f"/api/tasks?limit=100&sort={sort}&desc=1&offset={count // 2}" for sort in ("name", "updated")]
            page[count] = max(median([server.ask(path)[0] for _ in range(rounds)]) for path in pages)
            event[count] = median([_event_bytes(server) for _ in range(rounds)])
    least, most = min(folders), max(folders)

    def row(work: str, shown: str, other: str, goal: str, met: bool, ratio: float) -> Row:
        return Row("9", f"{work} at {most:,}", shown, f"at {least:,}: {other}", goal, met, ratio)

    rows = [
        row(
            "`get_state?tasks=0`", f"{state[most] * 1000:.1f} ms", f"{state[least] * 1000:.1f} ms",
            "≤ 5 ms", state[most] <= 0.005, state[least] / state[most],
        ),
        row(
            "`list_tasks` page of 100, the slowest place and order", f"{page[most] * 1000:.1f} ms",
            f"{page[least] * 1000:.1f} ms", "≤ 20 ms", page[most] <= 0.02, page[least] / page[most],
        ),
        row(
            "change event", f"{event[most]:.0f} bytes", f"{event[least]:.0f} bytes", "the same size",
            event[most] <= event[least] + 32, event[least] / event[most],
        ),
    ]  # fmt: skip
    curves = [
        Curve("9: get_state?tasks=0", "ms", [(n, state[n] * 1000) for n in sorted(folders)], 5),
        Curve("9: list_tasks page", "ms", [(n, page[n] * 1000) for n in sorted(folders)], 20),
        Curve("9: change event", "bytes", [(n, event[n]) for n in sorted(folders)]),
    ]
    return Report(rows, curves)


def _event_bytes(server: Served) -> int:
    """Size of the event that ticking one result sends."""
    (task,) = json.loads(server.ask("/api/tasks?limit=1")[1])["tasks"]
    stream = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    stream.request("GET", "/api/events?limit=200")
    answer = stream.getresponse()
    _event(answer, b"snapshot")
    server.ask(f"/api/tasks/{task['id']}/results/{task['results'][0]['id']}/toggle", "POST")
    size = len(_event(answer, b"change"))
    stream.close()
    return size


def _event(stream: Iterable[bytes], name: bytes) -> bytes:
    found = b""
    for line in stream:
        found += line
        if line == b"\n":
            if b"event: " + name in found:
                return found
            found = b""
    raise EOFError("the stream ended")


def idle(folders: dict[int, Path], seconds: float) -> Report:
    """Row 7: memory and processor time while nothing runs and a page is open."""
    memory: dict[int, int] = {}
    busy: dict[int, float] = {}
    shown = "a browser"
    for count, folder in folders.items():
        with served(folder) as server:
            wait(server)
            with _open_page(server) as shown:
                before = server.processor
                time.sleep(seconds)
                busy[count] = (server.processor - before) / seconds
                memory[count] = server.resident
    least, most = min(folders), max(folders)
    rows = [
        Row(
            "7", f"memory with {most:,} finished tasks, page open in {shown}", f"{memory[most] / MB:.0f} MB",
            f"with {least:,}: {memory[least] / MB:.0f} MB", "≤ 150 MB", memory[most] <= 150 * MB,
            memory[least] / memory[most],
        ),
        Row(
            "7", "the same, processor while idle", f"{busy[most] * 100:.2f} % of a core",
            f"with {least:,}: {busy[least] * 100:.2f} %", "< 0.5 %", busy[most] < 0.005,
        ),
    ]  # fmt: skip
    return Report(rows, [Curve("7: memory, page open", "MB", [(n, memory[n] / MB) for n in sorted(folders)], 150)])


@contextmanager
def _open_page(server: Served) -> Iterator[str]:
    """The page in a real browser where there is one, else its requests and its event stream; says which."""
    browser = CHROMIUM or shutil.which("google-chrome")
    url = f"http://127.0.0.1:{server.port}/"
    if browser is not None:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as driver:
            chromium = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
            page = chromium.new_page()
            page.goto(url, wait_until="load")
            page.mouse.move(400, 400)
            for _ in range(10):
                page.mouse.wheel(0, 3000)
                time.sleep(0.1)
            time.sleep(3)
            yield "Chromium"
            chromium.close()
        return
    first_page(server)
    stream = http.client.HTTPConnection("127.0.0.1", server.port)
    stream.request("GET", "/api/events?limit=200")
    stream.getresponse()
    time.sleep(3)
    yield "no browser"
    stream.close()
