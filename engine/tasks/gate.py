"""The gate that every call to the API passes: a turn at a door that has room, and word of what came of it.

A door is an address with its key, under an adaptive limit of its own. Most gates have one, and then nothing rests here:
a run in which everything fails is the affair of the run's breaker. Of several, a call goes where there is room, by
weight; a door at which calls fail rests, and is tried again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence

import msgspec

from engine.config import ApiConfig
from engine.errors import Code
from engine.keys import doors_of, plain_address
from engine.tasks.breaker import DoorBreaker
from engine.tasks.limiter import AdaptiveLimit, Ticket
from engine.upstream.cancel import CancelToken
from engine.upstream.forms import FormProbes, LearnedForms

_LOOK_SECONDS = 1.0


class DoorInfo(msgspec.Struct, frozen=True):
    """What a door does now. ``limit``: calls at once that it is thought to take; ``paused``: it rests, for reasons of
    its own or since it refused calls for their number; ``seconds``: until it goes on; ``cost`` in USD, of this run."""

    url: str
    model: str
    in_flight: int
    limit: int
    paused: bool
    seconds: float
    calls: int
    refused: int
    cost: float = 0.0


class GateInfo(msgspec.Struct, frozen=True):
    """What the gate does now, all doors together. ``pause_seconds``: until calls go on, 0 when they do; ``cause``: why
    every door rests, None where one does not."""

    limit: int
    ceiling: int
    calls: int
    refusals: int
    pause_seconds: float
    cause: Code | None
    doors: list[DoorInfo]


class _Door:
    """One address: how to ask there, its limit and its breaker. ``number``: its place in the configuration."""

    def __init__(self, number: int, config: ApiConfig, ceiling: int, first_pause: float, weight: float) -> None:
        self.number = number
        self.config = config
        self.limit = AdaptiveLimit(ceiling, first_pause)
        self.breaker = DoorBreaker()
        self.weight = weight

    def wait(self, now: float) -> float | None:
        """Seconds until a call may start here; None: not before one in flight has ended."""
        resting, room = self.breaker.wait(now), self.limit.wait(now)
        return None if resting is None or room is None else max(resting, room)

    @property
    def load(self) -> float:
        """How full it would be with one call more, by its weight."""
        return (self.limit.in_call + 1) / self.weight

    def info(self, now: float) -> DoorInfo:
        seconds = max(0.0, self.limit.paused_until - now, self.breaker.rest(now))
        return DoorInfo(
            plain_address(self.config.api_url), self.config.model_name, self.limit.in_call, self.limit.limit,
            seconds > 0 or self.breaker.is_open, seconds, self.limit.calls, self.limit.refusals,
        )  # fmt: skip


class Turn(msgspec.Struct, frozen=True):
    """A call that was let through: at which door, and the ticket of its limit."""

    door: int
    ticket: Ticket


class CallGate:
    """Shared by all edits of a run; thread-safe."""

    def __init__(
        self,
        ceiling: int,
        first_pause: float,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        learned: LearnedForms | None = None,
        config: ApiConfig | None = None,
    ) -> None:
        """``config``: whose doors these are; without it, and for what another configuration asks, there is one."""
        self._config = config or ApiConfig()
        doors = doors_of(self._config)
        self._doors = [_Door(0, doors[0], ceiling, first_pause, _weight(self._config, 0))]
        for number, door in enumerate(doors[1:], 1):
            self._doors.append(_Door(number, door, door.concurrency_limit, first_pause, _weight(self._config, number)))
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._taken = 0
        self.forms = FormProbes(learned)

    @property
    def room(self) -> int:
        """Calls at once that the person allows, at all doors together."""
        return sum(door.limit.ceiling for door in self._doors)

    def doors_for(self, config: ApiConfig) -> Sequence[int]:
        """The doors through which this configuration may go: another one than the run's has its own address only."""
        if len(self._doors) == 1 or (config.api_url, config.endpoints) != (
            self._config.api_url,
            self._config.endpoints,
        ):
            return (0,)
        return range(len(self._doors))

    def at(self, door: int, config: ApiConfig) -> ApiConfig:
        """A configuration as it asks at a door."""
        return doors_of(config)[door] if door else config

    def enter(self, cancel: CancelToken, doors: Sequence[int] = (0,), tried: Collection[int] = ()) -> Turn:
        """Wait for a turn at one of these doors, if possible at none that was ``tried``; raises Stopped as soon as
        cancelled."""
        with cancel.closing(self._wake), self._changed:
            while True:
                cancel.check()
                now = self._monotonic()
                door, wait = self._choose(doors, tried, now)
                if door is not None:
                    if len(self._doors) > 1:
                        door.breaker.start()
                    return Turn(door.number, door.limit.start(now))
                self._changed.wait(_LOOK_SECONDS if wait is None else min(wait, _LOOK_SECONDS))

    def _choose(self, doors: Sequence[int], tried: Collection[int], now: float) -> tuple[_Door | None, float | None]:
        """The door to take now, or how long the first of them lets wait. The least full one, by weight; one that was
        tried only where each of the others rests."""
        among = [self._doors[number] for number in doors]
        if len(among) > 1:
            fresh = [door for door in among if door.number not in tried]
            awake = [door for door in fresh if not door.breaker.is_open or door.breaker.wait(now) == 0.0]
            among = awake or among
        waits = [(door.wait(now), door) for door in among]
        ready = [door for wait, door in waits if wait == 0.0]
        if ready:
            return min(ready, key=lambda door: door.load), None
        return None, min((wait for wait, _ in waits if wait is not None), default=None)

    def leave(
        self,
        turn: Turn,
        *,
        taken: bool = True,
        retry_after: float | None = None,
        failure: Code | None = None,
        stopped: bool = False,
    ) -> None:
        """The call is over. ``taken``: the gateway took it on; else it refused it for there being too many.
        ``failure``: why it brought nothing; ``stopped``: it was ended from here, which tells nothing of the door."""
        door = self._doors[turn.door]
        with self._changed:
            now = self._monotonic()
            if taken:
                self._taken += 1
                door.limit.succeeded(turn.ticket, now)
            else:
                door.limit.refused(turn.ticket, now, retry_after)
            if len(self._doors) > 1:
                door.breaker.note(failure, turn.ticket.started, now, stopped=stopped)
                if door.breaker.is_open:
                    self._changed.notify_all()  # who waits for it may go elsewhere
            self._changed.notify()

    @property
    def doors(self) -> list[ApiConfig]:
        """How each door is asked."""
        return [door.config for door in self._doors]

    @property
    def taken(self) -> int:
        """Calls that the gateway took on so far."""
        return self._taken

    def open_up(self) -> None:
        """End a pause: the person wants to go on now."""
        with self._changed:
            for door in self._doors:
                door.limit.open_up(self._monotonic())
                door.breaker.open_up()
            self._changed.notify_all()

    def info(self) -> GateInfo:
        """What the gate does now."""
        with self._changed:
            now = self._monotonic()
            doors = [door.info(now) for door in self._doors]
            resting = [door.breaker.reason for door in self._doors if door.breaker.is_open]
            awake = [door for door in self._doors if not door.breaker.is_open]
            return GateInfo(
                limit=sum(door.limit.limit for door in awake or self._doors),
                ceiling=self.room,
                calls=sum(door.calls for door in doors),
                refusals=sum(door.refused for door in doors),
                pause_seconds=min(door.seconds for door in doors),
                cause=resting[0] if not awake else None,
                doors=doors,
            )

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _weight(config: ApiConfig, number: int) -> float:
    return float(config.endpoints[number - 1].get("weight") or 1.0) if number else 1.0
