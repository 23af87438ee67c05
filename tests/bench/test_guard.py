"""No figure may fall by more than half: quick rows, each beside its comparison, against the recorded ratios."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.bench import disk, rates
from tests.bench.measure import Curve, Report
from tests.bench.plot import svg

RECORDED = msgspec.json.decode(Path(__file__).with_name("recorded.json").read_bytes(), type=dict[str, float])
TRIES = 3

QUICK: dict[str, Callable[[], Report]] = {
    "1": lambda: rates.compare("1", 1, share=0.3, loops=("bare",)),
    "2a": lambda: rates.compare("2a", 1, share=0.3, loops=("bare",)),
    "2b": lambda: rates.compare("2b", 1, share=0.3, loops=("bare",)),
    "3": lambda: rates.compare("3", 1, share=0.2, loops=("bare",)),
    "6": lambda: rates.long_line(3),  # of one round, new memory for 160 MB would be half
    "10": lambda: disk.thumbnails(3, 1),
    "11": lambda: disk.saving(40, 1),
    "12": lambda: disk.inspecting(4000, 1),
}


def recorded(number: str) -> float:
    """The ratio of the first line that the table has for a row."""
    return next(ratio for name, ratio in RECORDED.items() if name.split(" ", 1)[0] == number)


@pytest.mark.slow
@pytest.mark.parametrize("number", QUICK)
def test_no_row_has_fallen_by_more_than_half(number: str) -> None:
    """The best of three ratios, since a busy machine only ever makes one worse, is more than half of the recorded."""
    best = 0.0
    for _ in range(TRIES):
        ratio = QUICK[number]().rows[0].ratio
        assert ratio is not None
        best = max(best, ratio)
        if best > recorded(number) / 2:
            return
    pytest.fail(f"row {number}: {best:.2f}, recorded {recorded(number):.2f}")


def test_the_plot_shows_every_measure() -> None:
    """Each curve has its title, its points and its goal in the SVG."""
    drawn = svg(
        [Curve("9: <a>", "ms", [(500, 1.0), (5000, 1.5), (50_000, 2.0)], 5), Curve("7: b", "MB", [(500, 60.0)])]
    )
    assert "9: &lt;a&gt;, ms" in drawn
    assert drawn.count("<circle") == 4
    assert drawn.count('class="goal"') == 1
    assert "50,000" in drawn
