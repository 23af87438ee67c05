"""The cancel token: seen by every waiter at once, callbacks once."""

from __future__ import annotations

import threading
import time

import pytest

from engine.errors import Stopped
from engine.upstream.cancel import CancelToken


def test_check_is_silent_until_cancelled() -> None:
    """Only a cancelled token raises, and it stays cancelled."""
    token = CancelToken()
    token.check()
    before = token.cancelled
    token.cancel()
    token.cancel()
    assert (before, token.cancelled) == (False, True)
    with pytest.raises(Stopped):
        token.check()


def test_wait_sleeps_its_time() -> None:
    """Without a cancel a wait lasts as long as asked, and a negative one not at all."""
    token = CancelToken()
    before = time.monotonic()
    token.wait(0.05)
    token.wait(-1)
    assert 0.04 <= time.monotonic() - before < 5


def test_cancel_wakes_all_waits() -> None:
    """Sixty-four threads that wait for a minute all end at once with Stopped."""
    token = CancelToken()
    stopped: list[int] = []
    ready = threading.Barrier(65)

    def wait(number: int) -> None:
        ready.wait()
        with pytest.raises(Stopped):
            token.wait(60)
        stopped.append(number)

    threads = [threading.Thread(target=wait, args=(number,), daemon=True) for number in range(64)]
    for thread in threads:
        thread.start()
    ready.wait()
    token.cancel()
    for thread in threads:
        thread.join(30)
    assert sorted(stopped) == list(range(64))


def test_callback_runs_once_and_only_inside_its_block() -> None:
    """A callback is called on cancel while its block runs, once, and never after the block."""
    token = CancelToken()
    calls: list[str] = []
    with token.closing(lambda: calls.append("left")):
        pass
    with token.closing(lambda: calls.append("inside")):
        token.cancel()
        token.cancel()
    assert calls == ["inside"]


def test_late_block_is_not_entered() -> None:
    """On a cancelled token the callback runs at once and the block is not entered."""
    token = CancelToken()
    token.cancel()
    calls: list[str] = []
    with pytest.raises(Stopped), token.closing(lambda: calls.append("closed")):
        calls.append("entered")
    assert calls == ["closed"]


def test_one_failing_callback_keeps_no_other_from_running() -> None:
    """All sockets are shut even when one of the callbacks fails."""
    token = CancelToken()
    calls: list[str] = []

    def fail() -> None:
        raise OSError("made up")

    with (
        token.closing(lambda: calls.append("first")),
        token.closing(fail),
        token.closing(lambda: calls.append("last")),
        pytest.raises(OSError, match="made up"),
    ):
        token.cancel()
    assert sorted(calls) == ["first", "last"]
