"""A full disk, a read-only folder, no handles, a jumping clock, a suspended machine, a network that goes away: what
arrived is kept, each task is paid for once, and the batch goes on when it can."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config import ApiMode
from tests.fakes.peers import Peer, pump
from tests.fakes.upstream import FakeUpstream, Received
from tests.support.doors import Door, config_for, open_door, until
from tests.support.pictures import noise, picture, source_folder
from tests.support.processes import Served, serving
from tests.support.replies import inline

DISK_MEGABYTES = 12
RESULT_BYTES = 300_000
TASKS = 20
AWAY_SECONDS = 180 if os.environ.get("FULL") == "1" else 0
"""For how long the network is away; 0: until the run has paused, and a person makes it go on."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mounts, signals and limits of Linux")


def paid(fake: FakeUpstream, size: int = 0, held: threading.Event | None = None) -> list[Received]:
    """The fake answers every call with another picture; the calls it was paid for. From the fifth on it waits for
    ``held``."""
    calls: list[Received] = []
    lock = threading.Lock()

    def answer(request: Received) -> Any:
        with lock:
            calls.append(request)
            number = len(calls)
        if held is not None and number > 4:
            held.wait(60)
        return inline(ApiMode.CHAT_COMPLETIONS, noise(number, size) if size else picture(5000 + number), delay=0.02)

    fake.answer_with(answer)
    return calls


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system for the data folder."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a small file system is mounted to be filled")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = mount("-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "tmpfs", str(place))
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Mount something."""
    return subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)


def stages(door: Door) -> set[str]:
    """What the tasks in flight are doing."""
    return {live.stage for live in door.app.batch.live().values()}


def all_paid_once(tasks: list[dict[str, Any]], calls: list[Received], count: int) -> None:
    """Everything is done, each with a result of its own, for one call each."""
    assert [task["status"] for task in tasks] == ["done"] * count, [task["last_error"] for task in tasks]
    assert len({result["hash"] for task in tasks for result in task["results"]}) == count
    assert len(calls) == count


def test_a_full_disk_pauses_the_batch(disk: Path, tmp_path: Path) -> None:
    """Pictures in hand wait for room, none is asked for twice, and the batch goes on by itself."""
    with FakeUpstream() as fake, open_door(disk / "data") as door:
        calls = paid(fake, RESULT_BYTES)
        free = os.statvfs(disk)
        (disk / "filler").write_bytes(b"x" * (free.f_bavail * free.f_frsize - 8 * RESULT_BYTES))
        door.start(source_folder(tmp_path / "in", TASKS), config_for(fake, concurrency_limit=4))
        until(lambda: "disk_full" in stages(door) or door.state()["run"]["paused"])
        assert door.state()["running"], "a full disk ends nothing"
        time.sleep(1)
        arrived = {result["hash"] for task in door.tasks() for result in task["results"]}
        (disk / "filler").unlink()
        door.wait_idle(60)
        all_paid_once(door.tasks(), calls, TASKS)
        assert arrived <= {result["hash"] for task in door.tasks() for result in task["results"]}
        for path in (disk / "data" / "cache").glob("??/*"):
            assert path.stat().st_size > RESULT_BYTES / 2


def test_a_folder_that_turns_read_only(disk: Path, tmp_path: Path) -> None:
    """The same when the data folder cannot be written for a while."""
    with FakeUpstream() as fake, open_door(disk / "data") as door:
        held = threading.Event()
        calls = paid(fake, held=held)
        door.start(source_folder(tmp_path / "in", TASKS), config_for(fake, concurrency_limit=2))
        until(lambda: len(calls) > 4)
        assert mount("-o", "remount,ro", str(disk)).returncode == 0 or make_unwritable(disk / "data")
        held.set()
        until(lambda: "storage_failed" in stages(door) or door.state()["run"]["paused"])
        seen = len(calls)
        time.sleep(1)
        assert len(calls) <= seen + 2, "calls are paid for whose answers cannot be kept"
        mount("-o", "remount,rw", str(disk))
        make_writable(disk / "data")
        door.wait_idle(60)
        all_paid_once(door.tasks(), calls, TASKS)


def make_unwritable(folder: Path) -> bool:
    """Where open files forbid a remount: root is stopped by nothing else than an immutable folder."""
    return subprocess.run(["chattr", "-R", "+i", str(folder)], check=False, capture_output=True).returncode == 0


def make_writable(folder: Path) -> None:
    """Undo it."""
    subprocess.run(["chattr", "-R", "-i", str(folder)], check=False, capture_output=True)


def start(served: Served, source: Path, config: dict[str, Any]) -> None:
    """Start a batch in another process."""
    answer = served.client.post("/api/tasks/start", json={"input_path": str(source), "config": config})
    assert answer.status_code == 200, answer.text


def wait_idle(served: Served) -> list[dict[str, Any]]:
    """Until nothing runs; the tasks."""
    until(lambda: not served.state()["running"], 60)
    return list(served.state()["tasks"])


def test_no_more_file_handles(tmp_path: Path) -> None:
    """Without a single free handle tasks fail with words or wait; with handles again the rest is done, once each."""
    with FakeUpstream() as fake, serving(tmp_path / "data", STATUS_UI="none") as served:
        calls = paid(fake)
        start(served, source_folder(tmp_path / "in", TASKS), config_for(fake, concurrency_limit=4))
        until(lambda: len(calls) >= 3)
        pid = served.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, hard))
        time.sleep(2)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        tasks = wait_idle(served)
        for task in tasks:
            assert task["status"] in ("done", "failed")
            assert task["status"] == "done" or len(task["last_error"]) > 8
        before = {task["id"] for task in tasks if task["status"] == "done"}
        served.client.post("/api/tasks/retry_failed", json={})
        tasks = wait_idle(served)
        assert {task["status"] for task in tasks} == {"done"}
        assert before <= {task["id"] for task in tasks}
        assert len({result["hash"] for task in tasks for result in task["results"]}) == TASKS
        assert served.end() == 0


def test_a_clock_that_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Days forwards and backwards in the middle: nothing hangs, nothing is swept away, no number turns negative."""
    real = time.time
    jump = {"seconds": 0.0}
    monkeypatch.setattr(time, "time", lambda: real() + jump["seconds"])
    with FakeUpstream() as fake, open_door(tmp_path / "data", CACHE_TTL_HOURS="1", CACHE_MAX_BYTES="0") as door:
        door.client.headers["connection"] = "close"  # a jump makes idle connections look old, and they are closed
        calls = paid(fake)
        door.start(source_folder(tmp_path / "in", TASKS), config_for(fake, concurrency_limit=2))
        for seconds in (86400.0 * 400, -86400.0 * 400, 0.0, 3600.0, -1e9):
            seen = len(calls)
            jump["seconds"] = seconds
            run = door.state()["run"]
            assert run["rate_per_minute"] >= 0
            assert (run["seconds_left"] or 0) >= 0
            door.app.sweep()
            until(lambda seen=seen: len(calls) > seen or len(calls) == TASKS)  # type: ignore[misc]
        door.wait_idle()
        door.app.sweep()
        all_paid_once(door.tasks(), calls, TASKS)
        for task in door.tasks():
            assert door.ask("GET", task["results"][0]["image_url"]).status_code == 200


@pytest.mark.parametrize(("asleep", "times"), [(2, 2), (7, 1)])
def test_a_suspended_machine(tmp_path: Path, asleep: float, times: int) -> None:
    """Stopped in the middle of calls and woken again, also for longer than a call may take: no answer is paid twice."""
    with FakeUpstream() as fake, serving(tmp_path / "data", STATUS_UI="none") as served:
        calls = paid(fake, RESULT_BYTES)
        config = config_for(fake, concurrency_limit=4, timeout_seconds=5, max_retries=2)
        start(served, source_folder(tmp_path / "in", 2 * TASKS), config)
        for _ in range(times):
            seen = len(calls)
            until(lambda seen=seen: len(calls) >= seen + 4)  # type: ignore[misc]
            served.process.send_signal(signal.SIGSTOP)
            time.sleep(asleep)
            served.process.send_signal(signal.SIGCONT)
        all_paid_once(wait_idle(served), calls, 2 * TASKS)


class Line:
    """The network between program and API: it can be cut and mended."""

    def __init__(self, fake: FakeUpstream) -> None:
        self._fake = fake
        self._open: list[socket.socket] = []
        self.up = True

    def __call__(self, client: socket.socket) -> None:
        if self.up:
            with socket.create_connection(("127.0.0.1", self._fake.port)) as server:
                self._open.append(client)
                pump(client, server)

    def cut(self) -> None:
        """Nothing goes through any more, on open connections neither."""
        self.up = False
        for client in self._open:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)


@pytest.mark.timeout(1500)
def test_a_network_that_goes_away(tmp_path: Path) -> None:
    """Tasks fail with the cause, the run pauses instead of failing them all, and what is left is done afterwards."""
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        calls = paid(fake)
        line = Line(fake)
        with Peer(line) as relay:
            config = config_for(fake, concurrency_limit=4)
            config["api_url"] = relay.url("/v1/chat/completions")
            door.start(source_folder(tmp_path / "in", 60), config)
            until(lambda: len(calls) >= 8)
            line.cut()
            until(lambda: door.state()["run"]["paused"])
            state = door.state()
            failed = [task for task in state["tasks"] if task["status"] == "failed"]
            assert state["running"]
            assert 0 < len(failed) < 50, "the run went on burning tasks"
            assert {task["error"]["code"] for task in failed} <= {"connection_lost", "connect_failed"}
            if AWAY_SECONDS:
                seen = len(calls)
                time.sleep(AWAY_SECONDS)
                assert len(calls) == seen
                assert door.state()["running"], "still waiting for it"
                line.up = True
                back = time.monotonic()
                door.wait_idle(900)  # by itself: the run tries one task at growing intervals
                print(f"network away for {AWAY_SECONDS} s; all else done {time.monotonic() - back:.0f} s after")
            else:
                line.up = True
                door.post("/api/tasks/stop")
                door.wait_idle()
                door.post("/api/tasks/resume")
                door.wait_idle()
            door.post("/api/tasks/retry_failed")
            door.wait_idle()
        assert {task["status"] for task in door.tasks()} == {"done"}
        assert len({result["hash"] for task in door.tasks() for result in task["results"]}) == 60
