"""The data folder is closed to other users, whatever an earlier version left open, and they cannot keep us out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.paths import data_folder
from engine.config import ApiMode
from engine.data_folder import hold
from engine.errors import Busy, InvalidInput
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline

HOLD = """
import fcntl, os, sys
path = sys.argv[1]
file = open(path)
os.setuid(65534)
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_everything_is_closed_to_others_on_every_start(fake: FakeUpstream, tmp_path: Path) -> None:
    """Folders 0700, files 0600: tasks, ledger, log, lock and pictures, new ones and those of an older version."""
    folder = tmp_path / "data"
    for name in ("state.json", "log.txt", ".lock", "cache/ab/x.png", "answers/ab/y.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    (folder / "theirs").write_text("x")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(1)))
    for _ in range(2):
        with open_door(data_folder({"APP_DATA_DIR": str(folder)})) as door:
            door.run(source_folder(tmp_path / "in", 1), config_for(fake, ApiMode.CHAT_COMPLETIONS))
            door.get("/api/state")
            modes = {path.relative_to(folder).as_posix(): path.stat().st_mode & 0o777 for path in folder.rglob("*")}
            assert modes.pop("theirs") == 0o644
            assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}
            assert folder.stat().st_mode & 0o777 == 0o700


def test_no_home_of_nobody(tmp_path: Path) -> None:
    """A data folder below a home that is none is an error that names the variable."""
    with pytest.raises(InvalidInput) as caught:
        data_folder({"APP_DATA_DIR": "~nosuchuser/data"})
    assert caught.value.field == "APP_DATA_DIR"


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="another user's process is needed")
def test_a_lock_that_a_stranger_holds_keeps_nobody_out(tmp_path: Path) -> None:
    """Who could read the lock file once may hold it for ever; our own second program is still refused."""
    (tmp_path / ".lock").touch(0o644)
    command = [sys.executable, "-c", HOLD, str(tmp_path / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == b"held\n"
        lock = hold(tmp_path)
        with pytest.raises(Busy):
            hold(tmp_path)
        lock.release()
        assert stranger.stdin is not None
        stranger.stdin.close()
