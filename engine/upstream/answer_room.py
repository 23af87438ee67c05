"""The one bound for answers: how many bytes all that is being read may take together, in this process.

Whoever reads an answer says how much of it is held; beyond the bound the reader waits until others are done, so that
the sender waits as well. One at a time may go beyond, the first that waited: so nobody waits for ever.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from engine.upstream.cancel import CancelToken
from engine.upstream.sse import EventReader, ServerEvent

AT_ONCE_BYTES: Final = 224 * 1024 * 1024
"""Of all answers at once; with the largest single one, and what becomes of it, they stay within a gigabyte."""
LARGE_BYTES: Final = 2 * 1024 * 1024
"""Answers beyond that are taken apart one after the other: it takes several times their size for a moment."""

_PICTURE_CHARS: Final = 64 * 1024
_FORMS: Final = 3  # of a picture's bytes at once: as they came, as text, decoded


class AnswerRoom:
    """Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self._over: Held | None = None
        self._waiting: list[Held] = []
        self._changed = threading.Condition()
        self.taking_apart = threading.Lock()

    @contextlib.contextmanager
    def reading(self, cancel: CancelToken) -> Iterator[Held]:
        """What one call holds, given back at the end of the block."""
        held = Held(self, cancel)
        try:
            yield held
        finally:
            with self._changed:
                self._used -= held.size
                self._over = None if self._over is held else self._over
                self._changed.notify_all()

    def _want(self, held: Held, size: int, seconds: float) -> None:
        with self._changed:
            if self._lets(held, size):
                self._set(held, size)
                return
        with held.cancel.closing(self._wake), self._changed:
            self._waiting.append(held)
            try:
                self._changed.wait_for(lambda: held.cancel.cancelled or self._lets(held, size), seconds)
                held.cancel.check()
                self._set(held, size)
            finally:
                self._waiting.remove(held)
                self._changed.notify_all()

    def _lets(self, held: Held, size: int) -> bool:
        fits = size <= held.size or self._used - held.size + size <= self._most
        first = self._over is None and self._waiting[:1] == [held]
        return fits or self._over is held or first

    def _set(self, held: Held, size: int) -> None:
        self._used += size - held.size
        shrinks = size < held.size
        held.size = size
        if self._used > self._most and self._over is None:
            self._over = held
        if shrinks:
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class Held:
    """What one call holds of its answer: what is being read, and the pictures that came so far. ``size`` in bytes."""

    def __init__(self, room: AnswerRoom, cancel: CancelToken) -> None:
        self.size = 0
        self._gathered = 0
        self.cancel = cancel
        self._room = room

    def want(self, size: int, seconds: float) -> None:
        """Hold ``size`` bytes now. Waits for room, ``seconds`` at most: then the call is over. Raises Stopped."""
        if size != self.size:
            self._room._want(self, size, seconds)

    def hold(self, size: int, seconds: float) -> None:
        """So much is being read, beside what was gathered."""
        self.want(self._gathered + size, seconds)

    def body(self, read: Callable[[Callable[[int, float], None]], bytes]) -> bytes:
        """A body that is the picture itself; soon it is there as text and decoded as well."""
        data = read(lambda size, seconds: self.hold(_FORMS * size, seconds))
        self._gathered += _FORMS * len(data)
        return data

    def events(
        self, reader: EventReader, chunks: Iterable[bytes], seconds_left: Callable[[], float]
    ) -> Iterator[list[ServerEvent]]:
        """What the pieces of a body bring, each as it comes, and at last what its end makes whole."""
        for chunk in chunks:
            yield self._taken(reader.pending, lambda: reader.feed(chunk))  # noqa: B023 - called before the next piece
            self.hold(reader.pending, seconds_left())
        yield self._taken(reader.pending, reader.close)

    def _taken(self, size: int, take: Callable[[], list[ServerEvent]]) -> list[ServerEvent]:
        """Events, whose pictures stay until the call ends, as text and decoded."""
        with self._room.taking_apart if size > LARGE_BYTES else contextlib.nullcontext():
            events = take()
        self._gathered += sum(2 * len(event.data) for event in events if len(event.data) > _PICTURE_CHARS)
        return events


ANSWERS: Final = AnswerRoom(AT_ONCE_BYTES)
"""The room of this process: its memory is one, however many runs read in it."""
