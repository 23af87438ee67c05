"""The policy of budgets: whether one more call may be made, so that no run and no day costs more than it may. Pure.

A call is admitted when what is spent, what the calls in flight are expected to cost, and what it is expected to cost
itself, stay within both limits together. Expected is what is known before (a price that the person entered, or a flat
one), or the mean of what such calls have cost so far where that is more; so with a price known before nothing is ever
exceeded, and with prices that only answers tell by no more than the calls that were in flight when the last one came.
"""

from __future__ import annotations

from collections.abc import Hashable

import msgspec

from engine.errors import Code, Problem
from engine.money import plain


class Reservation(msgspec.Struct, frozen=True):
    """A call that was admitted: what kind of call, what is set aside for it, in units of `engine.money`, and in which
    run: the budget of another one is none of its business."""

    kind: Hashable
    amount: int
    run: int = 0


class Budget:
    """Limits and what counts against them, in units of `engine.money`; a limit of 0 is none. Not thread-safe.

    ``in_run``: a run is under way, so its limit counts; ``number``: of that run; ``reserved``: for all that is in
    flight or at a provider.
    """

    def __init__(self) -> None:
        self.run_limit = 0
        self.day_limit = 0
        self.run_spent = 0
        self.day_spent = 0
        self.reserved = 0
        self.in_run = False
        self.number = 0
        self._reserved_in_run = 0
        self._seen: dict[Hashable, tuple[int, int]] = {}

    def begin_run(self, run_limit: int, day_limit: int) -> None:
        """A run begins. What is in flight or at a provider from before counts against the day alone."""
        self.run_limit, self.day_limit = run_limit, day_limit
        self.run_spent, self._reserved_in_run, self.in_run = 0, 0, True
        self.number += 1

    def expected(self, kind: Hashable, known: int | None) -> int | None:
        """What a call of this kind will cost: None where nothing is known of it."""
        count, total = self._seen.get(kind, (0, 0))
        if not count:
            return known
        return max(known or 0, -(-total // count))

    def admit(self, kind: Hashable, known: int | None = None) -> Reservation | Problem:
        """Set aside what a call will cost, or say which budget it would exceed."""
        expected = self.expected(kind, known)
        for name, limit, spent, reserved in self._limits():
            ahead = spent + reserved
            if ahead + (expected or 0) > limit or (expected is None and ahead >= limit):
                return Problem(
                    Code.BUDGET_REACHED,
                    {"name": name, "budget": plain(limit), "spent": plain(spent), "next": plain(expected or 0)},
                    name,
                )
        return self._set_aside(kind, expected or 0, self.number)

    def set_aside(self, kind: Hashable, known: int | None = None) -> Reservation:
        """The same for what an earlier program has asked for: nobody can say no to it any more."""
        return self._set_aside(kind, self.expected(kind, known) or 0, -1)

    def settle(self, reservation: Reservation, amount: int | None) -> None:
        """The call is over and cost so much; None: nobody knows, 0: nothing."""
        self.reserved -= reservation.amount
        self.day_spent += amount or 0
        if reservation.run == self.number:
            self._reserved_in_run -= reservation.amount
            self.run_spent += amount or 0
        if amount:
            count, total = self._seen.get(reservation.kind, (0, 0))
            self._seen[reservation.kind] = (count + 1, total + amount)

    def _set_aside(self, kind: Hashable, amount: int, run: int) -> Reservation:
        self.reserved += amount
        self._reserved_in_run += amount if run == self.number else 0
        return Reservation(kind, amount, run)

    def _limits(self) -> list[tuple[str, int, int, int]]:
        """Name, limit, what was spent of it and what is set aside."""
        found = []
        if self.run_limit and self.in_run:
            found.append(("budget", self.run_limit, self.run_spent, self._reserved_in_run))
        if self.day_limit:
            found.append(("budget_day", self.day_limit, self.day_spent, self.reserved))
        return found
