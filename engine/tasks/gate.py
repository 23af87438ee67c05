"""The gate that every call to the API passes: a turn under the adaptive limit, and word of what came of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import msgspec

from engine.tasks.limiter import AdaptiveLimit, Ticket
from engine.upstream.cancel import CancelToken
from engine.upstream.forms import FormProbes, LearnedForms

_LOOK_SECONDS = 1.0


class GateInfo(msgspec.Struct, frozen=True):
    """What the gate does now. ``pause_seconds``: until calls go on, 0 when they do."""

    limit: int
    ceiling: int
    calls: int
    refusals: int
    pause_seconds: float


class CallGate:
    """Shared by all edits of a run; thread-safe."""

    def __init__(
        self,
        ceiling: int,
        first_pause: float,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        learned: LearnedForms | None = None,
    ) -> None:
        self._limit = AdaptiveLimit(ceiling, first_pause)
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._taken = 0
        self.forms = FormProbes(learned)

    def enter(self, cancel: CancelToken) -> Ticket:
        """Wait for a turn; raises Stopped as soon as cancelled."""
        with cancel.closing(self._wake), self._changed:
            while True:
                cancel.check()
                now = self._monotonic()
                wait = self._limit.wait(now)
                if wait == 0.0:
                    return self._limit.start(now)
                self._changed.wait(_LOOK_SECONDS if wait is None else min(wait, _LOOK_SECONDS))

    def leave(self, ticket: Ticket, *, taken: bool = True, retry_after: float | None = None) -> None:
        """The call is over. ``taken``: the gateway took it on; else it refused it for there being too many."""
        with self._changed:
            now = self._monotonic()
            if taken:
                self._taken += 1
                self._limit.succeeded(ticket, now)
            else:
                self._limit.refused(ticket, now, retry_after)
            self._changed.notify()

    @property
    def taken(self) -> int:
        """Calls that the gateway took on so far."""
        return self._taken

    def open_up(self) -> None:
        """End a pause: the person wants to go on now."""
        with self._changed:
            self._limit.open_up(self._monotonic())
            self._changed.notify_all()

    def info(self) -> GateInfo:
        """What the gate does now."""
        with self._changed:
            limit, now = self._limit, self._monotonic()
            return GateInfo(
                limit=limit.limit,
                ceiling=limit.ceiling,
                calls=limit.calls,
                refusals=limit.refusals,
                pause_seconds=max(0.0, limit.paused_until - now),
            )

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
