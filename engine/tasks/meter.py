"""How a run goes: finished tasks, rate, time left; and the Structs that tell it."""

from __future__ import annotations

from collections import deque

import msgspec

from engine.errors import Problem
from engine.tasks.gate import DoorInfo

AT_PROVIDER = "at_provider"
"""The stage of a task whose answer is at a provider."""
_WINDOW_SECONDS = 120.0


class Live(msgspec.Struct, frozen=True):
    """How far a task in flight is. ``percent``: 0..100, None when the API does not say."""

    stage: str
    percent: int | None
    preview: str | None


class RunInfo(msgspec.Struct, frozen=True):
    """The run as a whole. Times in Unix seconds; ``rate_per_minute`` over the last two minutes; ``stop_requested``
    until the next start.

    ``at_provider``: tasks whose answer is waited for there. ``limit``: calls at once that are allowed now;
    ``concurrency_limit``: what the person allows. ``stop_requested``: from a stop to the next start. ``paused_until``:
    when a pause is expected to end, None if that is not known. ``cost`` so far and ``budget`` in USD; of ``wasted``
    calls the API took on each and no picture came. ``doors``: each address that is asked.
    """

    running: bool
    stop_requested: bool
    single_retries: int
    in_flight: int
    at_provider: int
    limit: int
    concurrency_limit: int
    calls: int
    refused_calls: int
    queued: int
    started_at: int | None
    finished_in_run: int
    total_in_run: int
    rate_per_minute: float
    seconds_left: int | None
    paused: Problem | None
    paused_until: float | None
    cost: float = 0.0
    budget: float = 0.0
    wasted: int = 0
    doors: list[DoorInfo] = []


class Meter:
    """Counts of one run. Ticks in seconds of a monotonic clock. Not thread-safe."""

    def __init__(self, total: int, started_at: int, tick: float) -> None:
        self.total = total
        self.started_at = started_at
        self.finished = 0
        self._tick = self._last = tick
        self._recent: deque[float] = deque()

    def count_finished(self, tick: float) -> None:
        """A task has ended."""
        self.finished += 1
        self._last = tick
        self._recent.append(tick)

    @property
    def pace(self) -> float | None:
        """Tasks a minute from the start to the latest that ended; None before there are some."""
        return self.finished * 60.0 / max(1.0, self._last - self._tick) if self.finished else None

    def rate(self, tick: float) -> float:
        """Tasks a minute over the last two minutes, or since the start if that is shorter."""
        while self._recent and self._recent[0] < tick - _WINDOW_SECONDS:
            self._recent.popleft()
        span = max(1.0, min(_WINDOW_SECONDS, tick - self._tick))
        return len(self._recent) * 60.0 / span
