"""Several doors to one model: keys bound to each, calls where there is room, a door that dies rests and comes back."""

from __future__ import annotations

import heapq
import random
from typing import Any

import pytest

from engine.config import ApiConfig, parse_entered
from engine.errors import Code, InvalidInput
from engine.keys import check_doors, doors_of, with_stored_key
from engine.tasks.breaker import DoorBreaker
from engine.tasks.gate import CallGate, Turn
from engine.tasks.plan import at_door, ledger_key, other_records, request_record
from engine.upstream.cancel import CancelToken

A, B, C = (f"https://{name}.test/v1/images/edits" for name in "abc")
HIDDEN = "*" * 8


def entered(*endpoints: dict[str, Any], **more: Any) -> ApiConfig:
    return parse_entered({"api_url": A, "api_key": "key-a", "endpoints": list(endpoints), **more})[0]


def test_keys_of_doors_are_bound() -> None:
    """Masked like the key; filled in for the same origin wherever the entry stands, and for no other."""
    stored = entered({"api_url": B, "api_key": "key-b"}, {"api_url": C, "api_key": "key-c", "weight": "0,5"})
    shown = stored.masked()
    assert [entry["api_key"] for entry in shown.endpoints] == [HIDDEN, HIDDEN]
    assert {"key-a", "key-b", "key-c"} <= set(stored.secrets)
    turned = entered({"api_url": C, "api_key": HIDDEN}, {"api_url": B}, api_key=HIDDEN)
    filled = with_stored_key(turned, [stored])
    assert [door.api_key for door in doors_of(filled)] == ["key-a", "key-c", "key-b"]
    thief = entered({"api_url": "https://b.test.evil/v1/images/edits", "api_key": HIDDEN}, api_key=HIDDEN)
    with pytest.raises(InvalidInput) as caught:
        with_stored_key(thief, [stored])
    assert (caught.value.code, caught.value.field) == (Code.API_KEY_REQUIRED, "endpoints")
    silent = with_stored_key(entered({"api_url": "https://evil.test/v1/images/edits"}, api_key=HIDDEN), [stored])
    assert [door.api_key for door in doors_of(silent)] == ["key-a", ""]


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        ({"api_key": "x"}, Code.FIELD_REQUIRED),
        ({"api_url": B, "weight": 0}, Code.FIELD_TYPE),
        ({"api_url": B, "concurrency_limit": 513}, Code.FIELD_TYPE),
        ({"api_url": B, "api_key": "schlüssel"}, Code.KEY_UNUSABLE),
        ({"api_url": B, "colour": 1}, Code.FIELD_CHOICE),
        ("https://b.test", Code.FIELD_TYPE),
    ],
)
def test_a_door_is_checked_like_the_configuration(entry: Any, code: Code) -> None:
    """What cannot be used is refused by name."""
    with pytest.raises(InvalidInput) as caught:
        entered(entry)
    assert (caught.value.code, caught.value.field) == (code, "endpoints")


def test_a_door_that_stands_there_twice() -> None:
    """The same address with the same key is refused, stored it counts once; another key or model is another door."""
    twice = entered({"api_url": A}, {"api_url": "https://A.test:443/v1/images/edits/", "api_key": "key-a"})
    assert len(doors_of(twice)) == 1
    with pytest.raises(InvalidInput) as caught:
        check_doors(twice)
    assert caught.value.code is Code.ENDPOINT_TWICE
    several = entered(
        {"api_url": A, "api_key": "other"}, {"api_url": A, "model_name": "m"}, {"api_url": "https://b.test"}
    )
    check_doors(several)
    assert [door.api_url for door in doors_of(several)] == [A, A, A, B]
    headers = entered({"api_url": B, "api_key": "b"}, extra_headers={"X-Session-Key": "s", "X-Title": "t"})
    assert doors_of(headers)[1].extra_headers == {"X-Title": "t"}


def test_paid_once_whichever_door_answered() -> None:
    """The same model at another door is the same request; another model is looked for under its own."""
    config = entered({"api_url": B, "api_key": "b"}, {"api_url": C, "api_key": "c", "model_name": "finer"})
    record = request_record(config, "p", "", 0)
    keys = [ledger_key(_json(at_door(record, config, door))) for door in doors_of(config)]
    assert keys[0] == keys[1] != keys[2]
    known = {ledger_key(_json(other)) for other in other_records(record, config)}
    assert keys[2] in known
    swapped = parse_entered({"api_url": B, "endpoints": [{"api_url": A}, {"api_url": C, "model_name": "finer"}]})[0]
    mine = request_record(swapped, "p", "", 0)
    assert keys[0] in {ledger_key(_json(other)) for other in other_records(mine, swapped)}
    assert other_records(request_record(entered(), "p", "", 0), entered()) == []


def _json(record: Any) -> str:
    import msgspec

    return msgspec.json.encode(record).decode()


def test_a_door_rests_longer_each_time() -> None:
    """Three failures in a row, then 5 s, doubled to 120 s with one call to try it; an answer makes it whole."""
    breaker, now, rests = DoorBreaker(), 0.0, []
    for _ in range(2):
        breaker.note(Code.CONNECT_FAILED, now, now)
    assert breaker.wait(now) == 0.0
    breaker.note(Code.CONNECT_FAILED, now, now)
    for _ in range(7):
        rest = breaker.wait(now)
        assert rest is not None
        rests.append(rest)
        breaker.note(Code.TIMED_OUT, now - 1, now)  # sent before it rested: tells nothing new
        now += rest
        breaker.start()
        assert breaker.wait(now) is None  # one at a time
        breaker.note(Code.CONNECT_FAILED, now, now)
    assert rests == [5, 10, 20, 40, 80, 120, 120]
    now += 120
    breaker.start()
    breaker.note(None, now, now)
    assert (breaker.wait(now), breaker.is_open) == (0.0, False)


class Simulated:
    """Doors that take so many at once, and one that is dead for a while; time as it is told. ``way``: seconds, on
    average, of a call to its door and of an answer back."""

    def __init__(self, allowed: list[int], dead: tuple[float, float] | None, seconds: float, way: float = 0.0) -> None:
        self.way = way
        self.allowed, self.dead, self.seconds = allowed, dead, seconds
        self.now = 0.0
        config = entered(*({"api_url": f"https://{n}.test/v1/images/edits"} for n in range(1, len(allowed))),
                         concurrency_limit=32)  # fmt: skip
        self.gate = CallGate(32, 1.0, lambda: self.now, config=config)
        self.doors = range(len(allowed))
        self.running = [0] * len(allowed)
        self.chance = random.Random(7)

    def is_dead(self, door: int) -> bool:
        return door == 2 and self.dead is not None and self.dead[0] <= self.now < self.dead[1]

    def run(self) -> float:
        """Calls a second that were answered."""
        done, number = 0, 0
        events: list[tuple[float, int, str, Turn, Code | None]] = []

        def later(seconds: float, what: str, turn: Turn, failure: Code | None = None) -> None:
            nonlocal number
            number += 1
            heapq.heappush(events, (self.now + seconds, number, what, turn, failure))

        while self.now < self.seconds:
            while (turn := self._enter()) is not None:
                later(self._way(), "arrives", turn)
            step = self.now + 0.05
            while events and events[0][0] <= step:
                self.now, _, what, turn, failure = heapq.heappop(events)
                if what == "arrives" and self.is_dead(turn.door):
                    later(0.01, "back", turn, Code.CONNECT_FAILED)
                elif what == "arrives" and self.running[turn.door] >= self.allowed[turn.door]:
                    later(0.01 + self._way(), "back", turn, Code.RATE_LIMITED)
                elif what == "arrives":
                    self.running[turn.door] += 1
                    later(self.chance.uniform(0.8, 1.2), "made", turn)
                elif what == "made":
                    self.running[turn.door] -= 1
                    later(self._way(), "back", turn, Code.CONNECTION_LOST if self.is_dead(turn.door) else None)
                else:
                    done += failure is None
                    self.gate.leave(turn, taken=failure is not Code.RATE_LIMITED, failure=failure)
            self.now = step
        return done / self.seconds

    def _way(self) -> float:
        return self.chance.expovariate(1 / self.way) if self.way else 0.0

    def _enter(self) -> Turn | None:
        cancel = CancelToken()
        gate = self.gate
        door, _ = gate._choose(self.doors, (), self.now)  # what `enter` does when it need not wait
        return gate.enter(cancel, self.doors) if door is not None else None


def test_doors_that_allow_4_8_and_16() -> None:
    """One dies for a minute: at least nine tenths of what is allowed, though calls are on their way for a while; whole,
    within a tenth of one door of 28."""
    seconds, minute, way, share = 600.0, 60.0, 0.02, 0.9
    one = Simulated([28], None, seconds, way).run()
    three = Simulated([4, 8, 16], None, seconds, way).run()
    assert one >= share * 28
    assert abs(three - one) <= 0.1 * one
    dying = Simulated([4, 8, 16], (200.0, 200.0 + minute), seconds, way).run()
    allowed = (28 * seconds - 16 * minute) / seconds
    assert dying >= share * allowed
