"""The event stream: tells every open page what changed, in order, each change once, at most some times a second."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import msgspec

from bridge.app import App
from bridge.usecases.common import Context
from bridge.usecases.state import get_change
from bridge.views import ChangeView

HEARTBEAT_SECONDS = 15.0
MAX_STREAMS = 32
_GATHER_SECONDS = 0.1  # changes within this time travel together
_PROGRESS_SECONDS = 0.5
_ROOM_SECONDS = 2.0


class Hub:
    """Wakes the streams when the application changes; ends them when it closes."""

    def __init__(self, app: App, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._count = 0
        self._streams = 0
        self._roll_calls = 0
        self._closed = threading.Event()
        self._forget = app.listen(self._bump)

    def close(self) -> None:
        """End every stream."""
        self._forget()
        self._closed.set()
        self._bump()

    def wait_ended(self, seconds: float) -> bool:
        """Block until every stream has ended; False when the time is up first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._streams, seconds)

    def make_room(self) -> bool:
        """Whether one more stream can be taken: each holds a server thread. Where all are taken, every one is made to
        speak, which ends those whose listener is gone."""
        with self._changed:
            if self._streams >= MAX_STREAMS:
                self._roll_calls += 1
                self._count += 1
                self._changed.notify_all()
            return self._changed.wait_for(lambda: self._streams < MAX_STREAMS, _ROOM_SECONDS)

    def stream(self, context: Context, since: int | None, most: int | None = None) -> Iterator[bytes]:
        """``snapshot``, then ``change`` events, and a heartbeat comment every 15 s while nothing happens.

        ``since``: revision that the listener knows; what it missed comes as a ``change`` at once, and no snapshot,
        unless the list was cleared since. ``most``: see `get_change`.
        """
        self._enter(1)
        try:
            yield b"retry: 2000\n\n"
            seen = self._count
            change = get_change(context, since, most)
            yield _event("snapshot" if not since or change.reset else "change", change)
            spoke, answered = self._monotonic(), self._roll_calls
            while not self._closed.is_set():
                seen = self._wait(seen, spoke + HEARTBEAT_SECONDS)
                following = get_change(context, change.revision, most)
                if _differs(change, following):
                    change = following
                    yield _event("change", change)
                elif self._monotonic() >= spoke + HEARTBEAT_SECONDS or answered != self._roll_calls:
                    answered = self._roll_calls
                    yield b": alive\n\n"
                else:
                    continue
                spoke = self._monotonic()
        finally:
            self._enter(-1)

    def _enter(self, number: int) -> None:
        with self._changed:
            self._streams += number
            self._changed.notify_all()

    def _wait(self, seen: int, heartbeat: float) -> int:
        """Until something changed or it is time for a heartbeat; the new count of changes."""
        busy = self._app.batch.info().in_flight > 0
        with self._changed:
            left = max(0.0, heartbeat - self._monotonic() - _GATHER_SECONDS)
            timeout = min(left, _PROGRESS_SECONDS) if busy else left
            self._changed.wait_for(lambda: self._count != seen or self._closed.is_set(), timeout)
        self._closed.wait(_GATHER_SECONDS)
        return self._count

    def _bump(self) -> None:
        with self._changed:
            self._count += 1
            self._changed.notify_all()


def _differs(before: ChangeView, after: ChangeView) -> bool:
    if after.tasks or after.removed or after.reset or after.truncated or after.revision != before.revision:
        return True
    return _aside(before) != _aside(after)


def _aside(change: ChangeView) -> tuple[object, ...]:
    """What people see change without a task changing."""
    run = change.run
    return (
        change.live, run.paused, run.limit, change.running, change.stop_requested, change.single_retry_count,
        change.settings_revision, change.job, change.looked_at, change.project,
    )  # fmt: skip


def _event(name: str, change: ChangeView) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (change.revision, name.encode(), msgspec.json.encode(change))
