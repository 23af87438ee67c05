"""The end that a signal brings: it must never be lost, in whatever instruction it interrupts the wait."""

from __future__ import annotations

import os
import signal
import threading
import time

from bridge.serve import Ending, ending_signals


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


def test_time_passes_without_an_end() -> None:
    """Without a signal the wait is over when its seconds are, and handlers are put back."""
    before = signal.getsignal(signal.SIGTERM)
    with ending_signals(lambda: None):
        assert signal.getsignal(signal.SIGTERM) is not before
        assert not Ending().wait(0.01)
    assert signal.getsignal(signal.SIGTERM) is before
