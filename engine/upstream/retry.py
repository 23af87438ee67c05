"""Owns asking again and the waits between: what headers and words ask for, our own backoff, how often.

Which failures are worth it they say themselves (``failure``); clock, sleep and chance are passed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from engine.errors import EditFailed

_LONGEST_BACKOFF = 120.0
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|h|m|s|d)?")
_SPAN_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "": 1.0}
T = TypeVar("T")


def call_with_retries(
    call: Callable[[], T],
    *,
    max_retries: int,
    interval: float,
    wait: Callable[[float], None],
    on_retry: Callable[[int, EditFailed, float], None],
    random: Callable[[], float],
) -> T:
    """What ``call()`` gives, asked up to 1 + ``max_retries`` times.

    Only an EditFailed that says it is retryable is asked again. ``on_retry(attempt that failed, failure, seconds)``
    runs before each ``wait(seconds)``; attempts count from 1, and ``wait`` may raise Stopped to end it all.
    ``interval``: seconds before the second attempt, doubled for each one after; the wait that an API asked for counts
    if it is longer. ``random``: 0 ≤ x < 1. The last failure is raised as it is.
    """

    def seconds(state: RetryCallState) -> float:
        failure = _failure(state)
        return backoff(state.attempt_number, interval, random(), failure.retry_after)

    def announce(state: RetryCallState) -> None:
        on_retry(state.attempt_number, _failure(state), state.upcoming_sleep)

    retrying = Retrying(
        stop=stop_after_attempt(1 + max_retries),
        wait=seconds,
        sleep=wait,
        retry=retry_if_exception(lambda error: isinstance(error, EditFailed) and error.retryable),
        before_sleep=announce,
        reraise=True,
    )
    return retrying(call)


def backoff(attempt: int, interval: float, chance: float, asked: float | None) -> float:
    """Seconds to wait after the failed attempt number ``attempt``: exponential, up to half as long again by chance."""
    seconds = min(interval * 2.0 ** (attempt - 1), max(_LONGEST_BACKOFF, interval)) * (1 + 0.5 * chance)
    return max(seconds, asked or 0.0)


def _failure(state: RetryCallState) -> EditFailed:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, EditFailed)
    return error


# --- what is asked for ------------------------------------------------------------------------------------------------


def retry_after(headers: Mapping[str, str], now: float, *, limited: bool) -> float | None:
    """Seconds that the headers ask to wait; None if they ask nothing.

    ``retry-after-ms``, ``Retry-After`` (seconds or HTTP date) and, when a limit was hit, ``x-ratelimit-reset-*``: the
    longest of those whose ``remaining`` is used up, or of all where none says so.
    """
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    milliseconds = _number(lower.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    if asked := lower.get("retry-after"):
        seconds = _number(asked.partition(",")[0])  # sent twice, it comes joined
        return seconds if seconds is not None else _until_date(asked, now)
    if not limited:
        return None
    resets: dict[str, float] = {}
    for name, value in lower.items():
        if name.startswith(("x-ratelimit-reset", "ratelimit-reset")) and (wait := _until_reset(value, now)) is not None:
            resets[name] = wait
    spent = [wait for name, wait in resets.items() if _number(lower.get(name.replace("reset", "remaining"), "")) == 0]
    return max(spent or resets.values(), default=None)


def _until_reset(value: str, now: float) -> float | None:
    """Seconds, ``1m30s``, ``120ms``, or a moment: Unix seconds or milliseconds, HTTP date."""
    number = _number(value)
    if number is None:
        span = parse_span(value)
        return span if span is not None else _until_date(value, now)
    if number > 1e11:
        number /= 1000
    return max(0.0, number - now) if number > 1e8 else number


def _until_date(value: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, moment - now)


def parse_span(text: str) -> float | None:
    """Seconds of ``20s``, ``1m30s``, ``120ms``, ``2 seconds``; None if it is no span."""
    text = re.sub(r"\s*seconds?", "s", text.strip().lower())
    total, end = 0.0, 0
    for part in _SPAN.finditer(text):
        if text[end : part.start()].strip():
            return None
        total += float(part.group(1)) * _SPAN_SECONDS[part.group(2) or ""]
        end = part.end()
    return total if end and not text[end:].strip() and isfinite(total) else None


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) and number >= 0 else None
