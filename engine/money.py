"""Amounts of money: whole numbers of 1e-10 USD, the smallest unit in which an API bills, so sums are exact. Pure."""

from __future__ import annotations

import functools
import re
from decimal import Decimal, InvalidOperation
from typing import Final

UNIT: Final = 10**10
"""Units in a dollar."""
_MOST: Final = 10**6 * UNIT  # what is more than a million a call is no price
_COMMA: Final = re.compile(r"([+-]?\d+),(\d+)")


def exact(value: object) -> int | None:
    """A number or text of dollars in units, rounded to the nearest; None for what is no amount: negative, not finite,
    beyond all reason. A comma before decimals is read as `with_point` does."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    return _units(with_point(value) if isinstance(value, str) else str(value))


@functools.lru_cache(1024)  # each call asks for the same few prices
def _units(text: str) -> int | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    if not number.is_finite() or number < 0 or number > _MOST // UNIT:
        return None
    return int((number * UNIT).to_integral_value())


def plain(amount: int) -> float:
    """Units as dollars, for people and JSON."""
    return float(Decimal(amount) / UNIT)


def with_point(text: str) -> str:
    """A number as text with the point before its decimals, where a comma stands there. ``1,000`` may mean a thousand
    as well and stays as it is, which no reader of numbers takes."""
    text = text.strip()
    found = _COMMA.fullmatch(text)
    if found is None or (len(found[2]) == 3 and found[1].strip("+-0")):
        return text
    return f"{found[1]}.{found[2]}"
