"""The end that a signal brings: it must never be lost, in whatever instruction it interrupts the wait."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest

from bridge.terminal.serve import Ending, ending_signals


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
            assert ended.wait(10)
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
            assert ended.wait(10)
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
