"""When a run pauses because every task fails, and how it goes on."""

from __future__ import annotations

from engine.errors import Code
from engine.tasks.breaker import Breaker


def open_breaker(now: float = 0.0) -> Breaker:
    """A breaker that twenty failures in a row have opened."""
    breaker = Breaker(concurrency=3)
    for _ in range(20):
        assert not breaker.note(Code.CONNECT_FAILED, now)
    return breaker


def test_twenty_failures_alike_open_it() -> None:
    """It opens for ten seconds, then lets one task at a time through."""
    breaker = open_breaker()
    assert breaker.is_open
    assert breaker.reason is Code.CONNECT_FAILED
    assert breaker.wait(0, 0) == 10.0
    assert breaker.wait(10, 0) == 0.0
    assert breaker.wait(10, 1) > 0


def test_a_success_between_starts_the_count_anew() -> None:
    """Failures that others get through between are the tasks' own."""
    breaker = Breaker(concurrency=3)
    for _ in range(5):
        for _ in range(19):
            breaker.note(Code.TIMED_OUT, 0)
        breaker.note(None, 0)
    assert not breaker.is_open


def test_what_one_picture_causes_does_not_count() -> None:
    """Refused content or a broken picture say nothing about the next task."""
    breaker = Breaker(concurrency=3)
    for _ in range(100):
        breaker.note(Code.CONTENT_REFUSED, 0)
        breaker.note(Code.PICTURE_BROKEN, 0)
    assert not breaker.is_open


def test_intervals_grow_and_the_task_that_tried_runs_again() -> None:
    """Each failed try doubles the wait up to ten minutes, and costs no task its turn."""
    breaker, now, waits = open_breaker(), 10.0, []
    for _ in range(9):
        assert breaker.note(Code.CONNECT_FAILED, now)
        waits.append(breaker.wait(now, 0))
        now += waits[-1]
    assert waits == [10, 20, 40, 80, 160, 320, 600, 600, 600]


def test_a_success_closes_it_and_so_does_the_person() -> None:
    """Resume closes it: one task tries at once, and one that gets through lets all others follow."""
    breaker = open_breaker()
    breaker.close()
    assert not breaker.is_open
    assert (breaker.wait(3, 0), breaker.wait(3, 1) > 0) == (0.0, True)
    assert breaker.note(Code.CONNECT_FAILED, 4)
    assert (breaker.is_open, breaker.wait(4, 0)) == (True, 10.0)
    breaker.close()
    assert not breaker.note(None, 5)
    assert (breaker.is_open, breaker.wait(5, 7)) == (False, 0.0)


def test_a_web_page_pauses_after_a_few() -> None:
    """No picture is to blame for an address that leads to a web page: thirty need not be tried to see it."""
    breaker = Breaker(4)
    for _ in range(2):
        assert not breaker.note(Code.ANSWER_WEB_PAGE, 0)
        assert not breaker.is_open
    breaker.note(Code.ANSWER_WEB_PAGE, 0)
    assert (breaker.is_open, breaker.reason) == (True, Code.ANSWER_WEB_PAGE)
