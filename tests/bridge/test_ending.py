"""The end that a signal brings: it must never be lost, in whatever instruction it interrupts the wait."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from bridge.environment import read_environment
from bridge.open_app import load_messages
from bridge.terminal import run
from bridge.terminal.run_reports import EXIT_STOPPED
from bridge.terminal.serve import Ending, ending_signals
from bridge.usecases.common import Context
from bridge.usecases.run import StartAnswer, StartParams, start_batch
from engine.dataset.naming import SaveRule


def kill_after(seconds: float) -> None:
    """Send this process the signal to end."""
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGTERM)


def test_signals_that_fall_into_the_wait_are_not_lost() -> None:
    """Hundreds of signals, each at another moment of going to sleep, all end the wait; none blocks it."""
    for number in range(300):
        ended = Ending()
        with ending_signals(ended.set):
            sender = threading.Thread(target=kill_after, args=(number % 60 * 0.00002,))
            sender.start()
            assert ended.wait(60)
            sender.join()
        assert ended.wait(0), "it stays set"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal masks")
def test_a_signal_that_does_not_wake_the_wait_ends_it() -> None:
    """The handler is due, but the sleeping main thread is not woken: as when the signal came just before it slept."""
    ended = Ending()
    with ending_signals(ended.set):
        sender = threading.Thread(target=kill_after, args=(0.1,))
        sender.start()  # may take the signal itself, since its mask is from before
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            assert ended.wait(60)
        finally:
            sender.join()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def test_time_passes_without_an_end() -> None:
    """Without a signal the wait is over when its seconds are, and handlers are put back."""
    before = signal.getsignal(signal.SIGTERM)
    with ending_signals(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is not before
        assert not Ending().wait(0.01)
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interrupt_that_is_swallowed_stops_the_run_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """KeyboardInterrupt is raised wherever the main thread is, and some library there may not let it out."""

    def swallow(context: Context, params: StartParams) -> StartAnswer:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return start_batch(context, params)

    monkeypatch.setattr(run, "start_batch", swallow)
    order = run.Order(
        source=None, output=str(tmp_path / "out"), fields={}, preset=None, rule=SaveRule(),
        demo=True, resume=False, json=True, language="en",
    )  # fmt: skip
    assert run.run_headless(order, tmp_path / "data", read_environment({}), load_messages()) == EXIT_STOPPED
