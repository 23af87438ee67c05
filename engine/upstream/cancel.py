"""The cancel token: one person's wish to stop, seen at once by every thread that waits on the network."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from engine.errors import Stopped


class CancelToken:
    """Set once, never reset; may be shared by any number of calls and threads."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: dict[object, Callable[[], object]] = {}

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Wake all waits and run every registered callback once, in this thread. May be called again: no effect."""
        with self._lock:
            self._event.set()
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
        with ExitStack() as stack:  # one that fails keeps none of the others from running
            for callback in callbacks:
                stack.callback(callback)

    def check(self) -> None:
        """Raise ``Stopped`` when cancelled."""
        if self._event.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Sleep for ``seconds``; raise ``Stopped`` as soon as cancelled."""
        if self._event.wait(min(max(0.0, seconds), threading.TIMEOUT_MAX)):
            raise Stopped

    @contextmanager
    def closing(self, callback: Callable[[], object]) -> Iterator[None]:
        """While the block runs, ``callback`` is called once on cancel, from the thread that cancels.

        When cancelled already it is called here, and ``Stopped`` raised. It must not block, and may still be
        running in the other thread when the block ends.
        """
        key = object()
        with self._lock:
            late = self._event.is_set()
            if not late:
                self._callbacks[key] = callback
        if late:
            callback()
            raise Stopped
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.pop(key, None)
