"""Saved files reach the disk behind the answer: nothing of ours goes before, and what fails is told."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from engine.config import ApiMode
from engine.dataset.fsync_queue import Flusher
from engine.errors import Code, StorageFailed
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import Door, config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.processes import ROOT, environment
from tests.support.replies import inline

SECONDS = 60


class Disk:
    """What fsync does in the flusher's thread: it can be held up, fail, and tells which files it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = threading.Event()
        self.free.set()
        self.gave_up = False
        self.error = 0
        self.synced: set[int] = set()
        real = os.fsync

        def fsync(descriptor: int) -> None:
            if threading.current_thread().name.startswith("fsync"):
                self.synced.add(os.fstat(descriptor).st_ino)
                self.gave_up |= not self.free.wait(SECONDS)
                assert not self.gave_up
                if self.error:
                    raise OSError(self.error, os.strerror(self.error))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """A disk that obeys the test; free at the end."""
    made = Disk(monkeypatch)
    yield made
    made.free.set()


@pytest.fixture
def done(tmp_path: Path, disk: Disk) -> Iterator[Door]:
    """Three tasks with one result each."""
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        answers = iter(range(10, 20))
        fake.answer_with(lambda _: inline(ApiMode.CHAT_COMPLETIONS, picture(next(answers))))
        door.run(source_folder(tmp_path / "in", 3), config_for(fake, concurrency_limit=1))
        yield door
        disk.free.set()


def cached(tmp_path: Path) -> int:
    """How many results the cache holds."""
    return len([path for path in (tmp_path / "data" / "cache").rglob("*.png") if path.is_file()])


def save(door: Door, folder: Path) -> dict[str, Any]:
    """Save everything with captions."""
    return dict(door.post("/api/tasks/save_all", {"output_dir": str(folder), "create_txt": True}))


def test_every_file_and_the_folder_are_synced(done: Door, disk: Disk, tmp_path: Path) -> None:
    """Pictures, captions and the folder that has their names."""
    assert save(done, tmp_path / "out")["saved_count"] == 3
    done.app.flusher.wait()
    wanted = [tmp_path / "out", *(tmp_path / "out").iterdir()]
    assert disk.synced == {path.stat().st_ino for path in wanted}
    assert len(wanted) == 7


def test_the_answer_does_not_wait_for_a_slow_disk(done: Door, disk: Disk, tmp_path: Path) -> None:
    """Whole files under their names are there while the disk still takes them, and another save can be made."""
    disk.free.clear()
    assert save(done, tmp_path / "out")["saved_count"] == 3
    assert sorted(path.read_bytes() for path in (tmp_path / "out").glob("*.png")) == sorted(
        picture(number) for number in (10, 11, 12)
    )
    assert all(task["results"][0]["saved"] for task in done.tasks())
    assert save(done, tmp_path / "second")["saved_count"] == 3


REMOVALS = {
    "clear": ("POST", "/api/tasks/clear", None),
    "delete": ("DELETE", "/api/tasks/{id}", None),
    "bulk": ("POST", "/api/tasks/bulk", {"action": "delete", "match": {}}),
    "retry": ("POST", "/api/tasks/{id}/retry_clear", None),
    "bulk retry": ("POST", "/api/tasks/bulk", {"action": "retry_clear", "match": {}}),
}


@pytest.mark.parametrize("removal", REMOVALS)
def test_no_cached_picture_goes_before_its_copy_is_on_disk(
    done: Door, disk: Disk, tmp_path: Path, removal: str
) -> None:
    """Whatever removes results waits for the saves before it, and then does its work."""
    method, path, body = REMOVALS[removal]
    disk.free.clear()
    save(done, tmp_path / "out")
    path = path.format(id=done.tasks()[0]["id"])
    with ThreadPoolExecutor(1) as other:
        answer = other.submit(done.ask, method, path, body)
        with pytest.raises(TimeoutError):
            answer.result(0.5)
        assert cached(tmp_path) == 3
        disk.free.set()
        assert answer.result(SECONDS).status_code == 200, answer.result().text
    done.app.batch.wait_idle(SECONDS)
    assert cached(tmp_path) == {"clear": 0, "delete": 2, "bulk": 0}.get(removal, 3)


def test_a_copy_that_does_not_reach_the_disk_is_told_and_counts_as_not_saved(
    done: Door, disk: Disk, tmp_path: Path
) -> None:
    """The state names the file, its results are unsaved again, removing them is refused once, the cache keeps all."""
    disk.error = errno.EIO
    save(done, tmp_path / "out")
    error = done.refused(400, "storage_failed", "POST", "/api/tasks/clear")
    assert str(tmp_path / "out") in error["message"]
    state = done.state()
    assert [notice["code"] for notice in state["notices"]] == ["storage_failed"]
    assert [task["results"][0]["saved"] for task in state["tasks"]] == [None] * 3
    assert cached(tmp_path) == 3
    disk.error = 0
    assert save(done, tmp_path / "again")["saved_count"] == 3
    assert done.post("/api/tasks/clear")["removed_cache_files"] == 3


def test_files_that_their_owner_moved_are_no_failure(disk: Disk, tmp_path: Path) -> None:
    """A file that is gone, a folder that is gone, and nothing at all."""
    failures: list[StorageFailed] = []
    flusher = Flusher(lambda failure, _: failures.append(failure))
    flusher.begin([], tmp_path)
    flusher.begin([str(tmp_path / "moved.png")], tmp_path)
    flusher.begin([str(tmp_path / "gone" / "a.png")], tmp_path / "gone")
    flusher.wait()
    flusher.close()
    assert failures == []


def test_a_full_disk_is_named_once_for_many_files(disk: Disk, tmp_path: Path) -> None:
    """Network shares tell only now that they are full: one failure with all paths, raised by one wait."""
    disk.error = errno.ENOSPC
    files = [tmp_path / f"{number}.png" for number in range(200)]
    for file in files:
        file.write_bytes(b"x")
    told: list[tuple[Code, int]] = []
    flusher = Flusher(lambda failure, failed: told.append((failure.code, len(failed))))
    flusher.begin([str(file) for file in files], tmp_path)
    with pytest.raises(StorageFailed) as caught:
        flusher.wait()
    assert caught.value.code is Code.DISK_FULL
    flusher.wait()
    flusher.close()
    assert told == [(Code.DISK_FULL, 200)]


def test_each_who_waits_waits_to_the_end(disk: Disk, tmp_path: Path) -> None:
    """A second one that waits at the same time is not told that all is done because the first has asked."""
    file = tmp_path / "a.png"
    file.write_bytes(b"x")
    flusher = Flusher(lambda *_: None)
    disk.free.clear()
    flusher.begin([str(file)], tmp_path)
    with ThreadPoolExecutor(2) as others:
        waiting = [others.submit(flusher.wait) for _ in range(2)]
        for one in waiting:
            with pytest.raises(TimeoutError):
                one.result(0.3)
        disk.free.set()
        for one in waiting:
            one.result(SECONDS)
    flusher.close()


def test_a_program_that_ends_leaves_the_rest_to_the_system(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that takes for ever does not keep the program from ending."""
    monkeypatch.setattr("engine.dataset.fsync_queue._CLOSE_SECONDS", 0.2)
    files = [tmp_path / f"{number}.png" for number in range(300)]
    for file in files:
        file.write_bytes(b"x")
    flusher = Flusher(lambda *_: None)
    disk.free.clear()
    flusher.begin([str(file) for file in files], tmp_path)
    flusher.close()
    assert len(disk.synced) <= 1
    assert not disk.gave_up, "close waited for the disk"
    disk.free.set()


FAILING = """
import errno, os, runpy, sys, threading
real = os.fsync
def fsync(descriptor):
    if threading.current_thread().name.startswith("fsync"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    real(descriptor)
os.fsync = fsync
launcher = sys.argv[1]
sys.argv = sys.argv[1:]
runpy.run_path(launcher, run_name="__main__")
"""


def test_run_says_what_is_not_on_disk(tmp_path: Path) -> None:
    """``run`` ends only when its files are on disk; where they are not, it says so, fails, and saves them next time."""
    out = tmp_path / "out"
    order = [str(ROOT / "launcher.py"), "run", "--demo", "-o", str(out)]
    failing = subprocess.run(
        [sys.executable, "-c", FAILING, *order], env=environment(tmp_path / "data"), capture_output=True, text=True,
        encoding="utf-8", timeout=100, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert failing.returncode == 1
    assert f"{out}" in failing.stderr
    assert "Check the disk" in failing.stderr
    assert "Traceback" not in failing.stderr
    count = len(list(out.iterdir()))
    whole = subprocess.run(
        [sys.executable, *order], env=environment(tmp_path / "data"), capture_output=True, text=True,
        encoding="utf-8", timeout=100, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert whole.returncode == 0, whole.stderr
    assert len(list(out.iterdir())) == 2 * count
