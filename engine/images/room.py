"""The one bound for decoding: how many bytes all pictures that are being decoded may take together, in this process.

Whoever decodes takes room first, for sources, results, thumbnails, preflight and export alike, and gives it back when
the pixels are gone. Never take room twice in one thread.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from typing import Final

from engine.upstream.cancel import CancelToken

MAX_PICTURE_BYTES: Final = 512 * 1024 * 1024
"""Most memory that one picture may need while it is decoded and converted; one that needs more is refused."""
AT_ONCE_BYTES: Final = 800 * 1024 * 1024
"""The same for all at once, so that with the rest of the program they stay within a gigabyte."""


class DecodingRoom:
    """Lets decoders in, first come first served, while what they need together stays within a bound."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def taken(self, size: int, cancel: CancelToken | None = None) -> Iterator[None]:
        """Hold ``size`` bytes while the block runs. Raises Stopped when cancelled while waiting."""
        size = min(size, self._most)
        self._enter(size, cancel)
        try:
            yield
        finally:
            with self._changed:
                self._used -= size
                self._changed.notify_all()

    def _enter(self, size: int, cancel: CancelToken | None) -> None:
        with self._changed:
            if not self._waiting and self._used + size <= self._most:
                self._used += size
                return
        waking = contextlib.nullcontext() if cancel is None else cancel.closing(self._wake)
        with waking, self._changed:
            ticket = object()
            self._waiting.append(ticket)
            try:
                self._changed.wait_for(
                    lambda: (
                        (cancel is not None and cancel.cancelled)
                        or (self._waiting[0] is ticket and self._used + size <= self._most)
                    )
                )
                if cancel is not None:
                    cancel.check()
                self._used += size
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


ROOM: Final = DecodingRoom(AT_ONCE_BYTES)
"""The room of this process: its memory is one, however many programs' parts decode in it."""
