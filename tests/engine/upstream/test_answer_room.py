"""The bound for answers: how much all that is being read may take at once, and that nobody waits for ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.errors import Stopped
from engine.upstream.answer_room import AnswerRoom
from engine.upstream.cancel import CancelToken

ROOT = Path(__file__).resolve().parents[3]
FULL = os.environ.get("FULL") == "1"
MEGABYTES = 1024  # for all of the program


def test_readers_beyond_the_bound_wait_and_one_goes_on() -> None:
    """Eight that want twice the bound together, each in small steps: never more than the bound and one of them, and all
    come to their end."""
    room, most, each = AnswerRoom(100), 0, 25
    lock = threading.Lock()
    started = threading.Barrier(8)

    def read() -> None:
        nonlocal most
        with room.reading(CancelToken()) as held:
            for size in range(1, each + 1):
                if size <= 10:
                    started.wait()  # so that they do read at once
                held.want(size, 30)
                with lock:
                    most = max(most, room._used)

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(30)
    assert not any(reader.is_alive() for reader in readers)
    assert 80 <= most <= 100 + each
    assert (room._used, room._over, room._waiting) == (0, None, [])


def test_a_wait_ends_with_a_stop_and_with_the_call() -> None:
    """At once where the token is cancelled; where the call's time is up it goes on, and the call ends it."""
    room = AnswerRoom(10)
    with room.reading(CancelToken()) as first, room.reading(CancelToken()) as over:
        first.want(10, 1)
        over.want(5, 0)
        cancel = CancelToken()
        with room.reading(cancel) as third:
            third.want(1, 0)
            threading.Timer(0.05, cancel.cancel).start()
            with pytest.raises(Stopped):
                third.want(9, 60)
    assert room._used == 0


if FULL:  # gigabytes over loopback: scripts/full_counts.sh answers

    @pytest.mark.timeout(1800)
    @pytest.mark.parametrize("kind", ["endless line", "one line", "one value", "one picture"])
    def test_sixty_four_hostile_answers_stay_within_a_gigabyte(kind: str) -> None:
        """Each as large as an answer may be, all at once, against the whole program."""
        command = [sys.executable, str(ROOT / "tests/faults/answer_flood.py"), kind, "64"]
        said = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
        ).stdout
        print(said)
        assert json.loads(said)["peak_mb"] <= MEGABYTES
