"""The fake judge of the bench sees what it is said to see."""

from __future__ import annotations

import numpy as np

from tests.bench import planted
from tests.bench.eyes import ORDER, judged
from tests.bench.scenes import Picture


def score(source: Picture, result: Picture, prompt: str) -> float:
    """The lower of both marks."""
    marks, _ = judged(source, result, prompt)
    return min(marks["success"], marks["overediting"])


def test_the_fake_judge_tells_what_was_asked_for_from_what_was_not() -> None:
    """The edit as ordered passes; another colour, the other ball, none, one more and another light do not."""
    order, rng = planted.make_order(248), np.random.default_rng(0)
    prompt = ORDER.format(was=order.balls[0].colour, wanted=order.wanted)
    assert score(order.source, order.edited, prompt) > 8
    for fault in (planted.wrong_colour, planted.wrong_thing, planted.gone, planted.something_else):
        assert score(order.source, fault(rng, order), prompt) < 4, fault.__name__
    assert score(order.source, np.asarray(np.clip(order.edited + 9.0, 0, 255), np.uint8), prompt) < 4
