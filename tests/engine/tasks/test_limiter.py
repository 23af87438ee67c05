"""The adaptive limit against simulated gateways: what share of what they allow is used, how many calls are refused."""

from __future__ import annotations

import heapq
import random

import pytest

from engine.tasks.limiter import AdaptiveLimit, Ticket

CALL_SECONDS = (1.5, 2.5)
REFUSAL_SECONDS = 0.02


class Gateway:
    """Takes ``at_once`` calls at a time and ``quota`` starts in ``window`` seconds; refuses the rest, and the share
    ``whims`` of all calls for no reason."""

    def __init__(
        self,
        at_once: int = 10**6,
        quota: int = 10**6,
        *,
        tells: bool = False,
        sliding: bool = False,
        window: float = 60,
        whims: float = 0.0,
    ) -> None:
        self.at_once, self.quota, self.tells, self.sliding, self.window = at_once, quota, tells, sliding, window
        self.whims, self.chance = whims, random.Random(3)
        self.running = 0
        self.starts: list[float] = []

    def ask(self, now: float) -> tuple[bool, float | None]:
        """Whether the call is taken, and the Retry-After of a refusal."""
        if self.whims and self.chance.random() < self.whims:
            return False, 1.0 if self.tells else None
        if self.running >= self.at_once:
            return False, 1.0 if self.tells else None
        begin = now - self.window if self.sliding else now // self.window * self.window
        self.starts = [start for start in self.starts if start > begin or (not self.sliding and start == begin)]
        if len(self.starts) >= self.quota:
            free = self.starts[0] + self.window if self.sliding else begin + self.window
            return False, free - now if self.tells else None
        self.starts.append(now)
        self.running += 1
        return True, None

    def allowed(self, seconds: float, ceiling: int) -> float:
        """Calls that the best client would get through."""
        mean = sum(CALL_SECONDS) / 2
        return min(seconds * min(self.at_once, ceiling) / mean, seconds * self.quota / self.window)


def simulate(gateway: Gateway, limit: AdaptiveLimit, start: float, end: float) -> int:
    """Endless work from ``start`` to ``end``; how many calls got through."""
    chance = random.Random(7)
    now, number, got_through = start, 0, 0
    flying: list[tuple[float, int, Ticket, bool, float | None]] = []
    while now < end:
        wait = limit.wait(now)
        if wait == 0.0:
            ticket = limit.start(now)
            taken, retry_after = gateway.ask(now)
            seconds = chance.uniform(*CALL_SECONDS) if taken else REFUSAL_SECONDS
            number += 1
            heapq.heappush(flying, (now + seconds, number, ticket, taken, retry_after))
        elif wait is not None and (not flying or now + wait < flying[0][0]):
            now += wait
        else:
            now, _, ticket, taken, retry_after = heapq.heappop(flying)
            if taken:
                gateway.running -= 1
                got_through += now < end
                limit.succeeded(ticket, now)
            else:
                limit.refused(ticket, now, retry_after)
    for _, _, ticket, taken, _ in flying:  # let what flies land, so that the next stretch starts clean
        if taken:
            gateway.running -= 1
            limit.succeeded(ticket, end)
        else:
            limit.refused(ticket, end, None)
    return got_through


@pytest.mark.parametrize("tells", [False, True])
@pytest.mark.parametrize(
    ("at_once", "quota", "ceiling"),
    [(1, 10**6, 8), (4, 10**6, 16), (12, 10**6, 64), (60, 10**6, 64), (10**6, 60, 16), (10**6, 300, 32), (8, 120, 32)],
)
def test_uses_what_the_gateway_allows(at_once: int, quota: int, ceiling: int, tells: bool) -> None:
    """At least 90 % of what is allowed gets through over ten minutes, and at most 5 % of the calls are refused."""
    gateway, limit = Gateway(at_once, quota, tells=tells), AdaptiveLimit(ceiling)
    got_through = simulate(gateway, limit, 0, 600)
    assert got_through >= 0.9 * gateway.allowed(600, ceiling)
    assert limit.refusals <= 0.05 * limit.calls


@pytest.mark.parametrize("tells", [False, True])
def test_a_sliding_window_is_learned_too(tells: bool) -> None:
    """A quota over the last sixty seconds, not by the minute, is used to 90 % as well."""
    gateway, limit = Gateway(quota=60, tells=tells, sliding=True), AdaptiveLimit(16)
    assert simulate(gateway, limit, 0, 900) >= 0.88 * gateway.allowed(900, 16)
    assert limit.refusals <= 0.05 * limit.calls


@pytest.mark.parametrize("ceiling", [4, 16])
@pytest.mark.parametrize("whims", [0.02, 0.05, 0.1, 0.3, 0.5, 0.7])
def test_a_gateway_that_refuses_without_a_reason_is_not_slowed_down_for(whims: float, ceiling: int) -> None:
    """Whatever share of the calls is refused at any pace: the others come at nearly the speed of an open gateway."""
    gateway, limit = Gateway(whims=whims), AdaptiveLimit(ceiling)
    got_through = simulate(gateway, limit, 0, 600)
    assert got_through >= 0.75 * (1 - whims) * gateway.allowed(600, ceiling)


@pytest.mark.parametrize(
    ("before", "after"), [((4, 10**6), (16, 10**6)), ((16, 10**6), (4, 10**6)), ((10**6, 240), (10**6, 90))]
)
def test_follows_a_gateway_that_changes(before: tuple[int, int], after: tuple[int, int]) -> None:
    """When the gateway takes more or fewer calls from the fifth minute on, the limit follows within that minute."""
    gateway, limit = Gateway(*before), AdaptiveLimit(32)
    first = simulate(gateway, limit, 0, 300)
    allowed = gateway.allowed(300, 32)
    gateway.at_once, gateway.quota = after
    second = simulate(gateway, limit, 300, 900)
    assert first + second >= 0.9 * (allowed + gateway.allowed(600, 32))
    assert limit.refusals <= 0.05 * limit.calls


def test_nothing_is_held_back_where_nothing_is_refused() -> None:
    """Sixty-four calls at once start within half a second, and none waits after that."""
    limit, now = AdaptiveLimit(64), 0.0
    while limit.in_call < 64:
        wait = limit.wait(now)
        assert wait is not None
        now += wait
        limit.start(now)
    assert now <= 0.5
    assert limit.wait(now) is None


def test_retry_after_is_obeyed_by_all() -> None:
    """After a refusal that names thirty seconds, no call starts before they are over."""
    limit = AdaptiveLimit(8)
    first, second = limit.start(0), limit.start(1)
    limit.refused(second, 2, 30.0)
    limit.succeeded(first, 3)
    assert limit.wait(3) == pytest.approx(29.0)
    limit.open_up(4)
    assert limit.wait(4) == 0.0
