"""Owns asking again: how often, how long to wait between, and which failures are worth it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt

from engine.errors import EditFailed
from engine.upstream.failure import event_failure, status_failure

__all__ = ["backoff", "call_with_retries", "event_failure", "status_failure"]

_LONGEST_BACKOFF = 120.0
T = TypeVar("T")


def call_with_retries(
    call: Callable[[int], T],
    *,
    max_retries: int,
    interval: float,
    wait: Callable[[float], None],
    on_retry: Callable[[int, EditFailed, float], None],
    random: Callable[[], float],
) -> T:
    """What ``call(attempt)`` gives, asked up to 1 + ``max_retries`` times; attempts count from 1.

    Only an EditFailed that says it is retryable is asked again. ``on_retry(attempt that failed, failure, seconds)``
    runs before each ``wait(seconds)``; ``wait`` may raise Stopped to end it all. ``interval``: seconds before the
    second attempt, doubled for each one after; the wait that an API asked for counts if it is longer.
    ``random``: 0 ≤ x < 1. The last failure is raised as it is.
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
    attempts = count(1)
    return retrying(lambda: call(next(attempts)))


def backoff(attempt: int, interval: float, chance: float, asked: float | None) -> float:
    """Seconds to wait after the failed attempt number ``attempt``: exponential, up to half as long again by chance."""
    seconds = min(interval * 2.0 ** (attempt - 1), max(_LONGEST_BACKOFF, interval)) * (1 + 0.5 * chance)
    return max(seconds, asked or 0.0)


def _failure(state: RetryCallState) -> EditFailed:
    error = state.outcome.exception() if state.outcome is not None else None
    assert isinstance(error, EditFailed)
    return error
