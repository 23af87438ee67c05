"""Edits under the adaptive limit against a gateway on loopback that refuses what is too much."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.errors import Stopped
from engine.tasks.gate import CallGate
from engine.upstream.cancel import CancelToken


def test_a_stop_wakes_all_that_wait_for_a_turn() -> None:
    """Thirty threads behind a full gate end as soon as the token is cancelled."""
    gate, cancel = CallGate(1, 1.0), CancelToken()
    ticket = gate.enter(cancel)

    def wait() -> bool:
        try:
            gate.enter(cancel)
        except Stopped:
            return True
        return False

    with ThreadPoolExecutor(30) as pool:
        waiting = [pool.submit(wait) for _ in range(30)]
        time.sleep(0.2)
        cancel.cancel()
        assert all(future.result(timeout=60) for future in waiting)
    gate.leave(ticket)


def test_never_more_calls_at_once_than_the_ceiling() -> None:
    """However many threads ask, the ceiling holds, and all get their turn."""
    gate, cancel, lock = CallGate(4, 1.0), CancelToken(), threading.Lock()
    now = most = 0

    def call() -> None:
        nonlocal now, most
        ticket = gate.enter(cancel)
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1
        gate.leave(ticket)

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda _: call(), range(200)))
    assert most == 4
    assert gate.taken == 200


def test_the_limit_falls_to_what_is_taken_and_is_told() -> None:
    """After refusals the gate says how many calls at once it lets through now."""
    gate, cancel = CallGate(8, 0.05), CancelToken()
    tickets = [gate.enter(cancel) for _ in range(5)]
    gate.leave(tickets.pop(), taken=False)
    assert gate.info().limit == 8, "one may be a whim"
    gate.leave(tickets.pop(), taken=False)
    info = gate.info()
    assert (info.limit, info.ceiling, info.refusals) == (3, 8, 2)
    threading.Timer(0.1, cancel.cancel).start()
    with pytest.raises(Stopped):
        gate.enter(cancel)  # three are in flight, and three is the limit now
