"""The one bound for answers: how many bytes all that is being read may take together, in this process.

A small answer never waits. A larger one takes room for what becomes of it; where there is none it is read on, so that
no sender waits for us, and lies on the disk until those before it are done. Where the disk does not take it either, its
reader waits with what it has. One of those who wait may go beyond the bound, the first: so nobody waits for ever.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from engine.errors import ConsoleError
from engine.upstream.spool import Spool, Spooled
from engine.upstream.sse import EventReader, ServerEvent

AT_ONCE_BYTES: Final = 160 * 1024 * 1024
"""Of all answers at once; with the largest single one, and what becomes of it, they stay within a gigabyte."""
LARGE_BYTES: Final = 2 * 1024 * 1024
"""Answers beyond that are taken apart one after the other: it takes several times their size for a moment."""
SMALL_BYTES: Final = 64 * 1024
"""Who holds no more never waits."""
AFTER_END_SECONDS: Final = 1.0
"""How long the end of the body may keep us waiting once the answer has said that it ends."""

_SHARE: Final = 8  # no answer takes more than this part of the room on the word of its head alone
_EVENT_FORMS: Final = 4  # of an event's bytes at once: as they came, joined, as text, as the text of its picture
_PICTURE_FORMS: Final = 2  # of a picture's bytes: as they came, joined
_END: Final = b"[DONE]"
_TAIL_BYTES: Final = 32  # in which the end mark stands, and line breaks behind it


class Line(Protocol):
    """What the room asks of an answer that is being read."""

    @property
    def announced(self) -> int:
        """Bytes of the body that its head promises; 0 where it does not say."""

    def end_within(self, seconds: float) -> None:
        """Wait no longer than that for the rest."""

    def extend(self, seconds: float) -> None:
        """So long we did not read: that is not the sender's delay."""


class AnswerRoom:
    """Thread-safe. ``spool``: where lies what waits."""

    def __init__(self, most: int, spool: Spool) -> None:
        self.most = most
        self.spool = spool
        self.taking_apart = threading.Lock()
        self._used = 0
        self._over: Held | None = None
        self._waiting: deque[tuple[Held, int, threading.Event]] = deque()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Held]:
        """What one call holds, given back at the end of the block."""
        held = Held(self)
        try:
            yield held
        finally:
            with self._lock:
                self._used -= held.size
                self._over = None if self._over is held else self._over
                self._let_in()

    def takes(self, held: Held, size: int) -> bool:
        """Hold ``size`` bytes if there is room now, and nobody waits who came before."""
        with self._lock:
            is_first = held.size > SMALL_BYTES or not self._waiting
            lets = size <= SMALL_BYTES or (is_first and self._lets(held, size))
            if lets:
                self._set(held, size)
            return lets

    def wait(self, held: Held, size: int) -> None:
        """Hold ``size`` bytes once there is room, in the order of those who wait. No stop ends this: all who are in
        the room end soon then, and what waits is paid for."""
        turn = threading.Event()
        with self._lock:
            self._waiting.append((held, size, turn))
            self._let_in()
        turn.wait()

    def set(self, held: Held, size: int) -> None:
        """It holds so much, as it turned out."""
        with self._lock:
            self._set(held, size)
            self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            held, size, turn = self._waiting[0]
            if self._over is not None and not self._lets(held, size):
                return
            self._waiting.popleft()
            self._set(held, size)
            self._over = held if self._used > self.most and self._over is None else self._over
            turn.set()

    def _lets(self, held: Held, size: int) -> bool:
        return size <= held.size or self._used - held.size + size <= self.most or self._over is held

    def _set(self, held: Held, size: int) -> None:
        self._used += size - held.size
        held.size = size


class Held:
    """What one call holds of its answer: what is being read, and the pictures that came so far. ``size`` in bytes."""

    def __init__(self, room: AnswerRoom) -> None:
        self.size = 0
        self._gathered = 0
        self._room = room
        self._spooled = Spooled(room.spool)

    def body(self, line: Line, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The pieces of a body that is a picture itself, each once there is room for what becomes of it."""
        came = 0

        def size(more: int) -> int:
            return self._gathered + _PICTURE_FORMS * (came + self._spooled.size + more)

        for piece in self._admitted(line, pieces, size):
            came += len(piece)
            yield piece

    def events(self, reader: EventReader, line: Line, pieces: Iterable[bytes]) -> Iterator[list[ServerEvent]]:
        """What the pieces of a body bring, each as it comes or once there is room, and at last what its end makes
        whole."""
        announced = min(_EVENT_FORMS * line.announced, self._room.most // _SHARE)

        def size(more: int) -> int:
            return max(self._gathered + _EVENT_FORMS * (reader.pending + self._spooled.size + more), announced)

        for piece in self._admitted(line, pieces, size):
            yield self._taken(reader.pending, lambda: reader.feed(piece))  # noqa: B023 - called before the next piece
            self._room.set(self, size(0))
        yield self._taken(reader.pending, reader.close)
        self._room.set(self, self._gathered)

    def _taken(self, size: int, take: Callable[[], list[ServerEvent]]) -> list[ServerEvent]:
        """Events, whose pictures stay until the call ends, as text and decoded."""
        with self._room.taking_apart if size > LARGE_BYTES else contextlib.nullcontext():
            events = take()
        self._gathered += sum(2 * len(event.data) for event in events if len(event.data) > SMALL_BYTES)
        return events

    def _admitted(self, line: Line, pieces: Iterable[bytes], size: Callable[[int], int]) -> Iterator[bytes]:
        """The pieces, each once there is room; ``size`` tells what is held with so many bytes more. What cut them short
        is raised when all is handed out that had come: a picture in it may be whole."""
        arriving, cut, tail = iter(pieces), None, b""
        with contextlib.closing(self._spooled):
            while True:
                try:
                    piece = next(arriving, b"")
                except ConsoleError as error:
                    cut, piece = error, b""
                if not piece:
                    break
                if not self._room.takes(self, size(len(piece))):
                    if self._spooled.add(piece):
                        tail = (tail + piece[-_TAIL_BYTES:])[-_TAIL_BYTES:]
                        if tail.rstrip().endswith(_END):
                            line.end_within(AFTER_END_SECONDS)
                        continue
                    self._wait_unread(line, size(len(piece)))
                yield from self._spooled.pieces()
                yield piece
            if self._spooled.size:
                self._room.wait(self, size(0))
                yield from self._spooled.pieces()
        if cut is not None:
            raise cut

    def _wait_unread(self, line: Line, size: int) -> None:
        begun = time.monotonic()
        self._room.wait(self, size)
        line.extend(time.monotonic() - begun)


ANSWERS: Final = AnswerRoom(AT_ONCE_BYTES, Spool())
"""The room of this process: its memory is one, however many runs read in it."""
