"""The data folder: closed to everybody else on every start, and held by one program at a time."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from engine.errors import Busy, Code
from engine.files import PRIVATE_FILE, clear_way, keep_private, remove, storage_failure

# What a program of any version of ours makes; whatever else lies in a folder that a person chose keeps its rights.
_OURS: Final = (
    ".lock", ".saving-", "answers", "arrivals.log", "batches", "cache", "demo", "forms.json", "instance.json",
    "judge.json", "key_store.json", "log.txt", "measures.db", "presets.json", "project", "prompt-tables",
    "refused_parameters.json", "remote.db", "rubrics.json", "runs", "state.json", "tasks.db", "thumbnails", "trials",
    "webview",
)  # fmt: skip
_LOCKS: Final = Path("/proc/locks")


def close_to_others(folder: Path) -> None:
    """Folders 0700 and files 0600, the older ones too."""
    keep_private(folder, _OURS)


def hold(folder: Path) -> FileLock:
    """The lock of the folder, to be released at the end. Busy where another program of this person has it open;
    StorageFailed.

    A lock that a stranger holds, because the file could be read by everybody once, is left to him: a new one is made.
    """
    close_to_others(folder)
    path = folder / ".lock"
    clear_way(path)
    for again in (True, False):
        lock = FileLock(path, mode=PRIVATE_FILE, timeout=0, thread_local=False)  # opened by one, closed by another
        try:
            lock.acquire()
        except Timeout as error:
            if again and _held_by_stranger(path) and remove(path):
                continue
            raise Busy(Code.DATA_FOLDER_IN_USE, path=str(folder)) from error
        except OSError as error:
            raise storage_failure(error, path) from error
        return lock
    raise AssertionError("the second try decides")


def _held_by_stranger(path: Path) -> bool:
    """Whether every process that holds the file is another user's; where the system does not tell, it is ours."""
    try:
        status = path.stat()
        device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        lines = [line.split() for line in _LOCKS.read_text("ascii", "replace").splitlines()]
        holders = {int(line[4]) for line in lines if len(line) > 5 and line[1] == "FLOCK" and line[5] == device}
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in holders}
    except (OSError, ValueError, AttributeError):
        return False
    return bool(owners) and os.getuid() not in owners
