"""Lets calls go on beside each other, and one that changes what all of them speak of wait until it is alone."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from engine.errors import Busy, Code

_PATIENCE = 10.0


class Switching:
    """Calls are inside `using`; whoever is inside `alone` as well is the only one. Both may be entered again by the
    thread that is inside."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: dict[int, int] = {}  # thread → how often
        self._alone: int | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits to be alone: what takes long gives way."""
        return self._alone is not None

    @contextlib.contextmanager
    def using(self) -> Iterator[None]:
        """Nothing is changed underneath while the block runs."""
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._alone in (None, me) or me in self._inside)
            self._inside[me] = self._inside.get(me, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[me] -= 1
                if not self._inside[me]:
                    del self._inside[me]
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self, patience: float = _PATIENCE) -> Iterator[None]:
        """No other call is inside; Busy (PROJECT_BUSY) where another thread has the same in mind, or after ``patience``
        seconds."""
        me = threading.get_ident()
        with self._changed:
            if self._alone is not None:
                raise Busy(Code.PROJECT_BUSY)
            self._alone = me
            free = self._changed.wait_for(lambda: self._inside.keys() <= {me}, patience)
        try:
            if not free:
                raise Busy(Code.PROJECT_BUSY)
            yield
        finally:
            with self._changed:
                self._alone = None
                self._changed.notify_all()
