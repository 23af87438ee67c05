"""Plots as inline SVG: bars and histograms that take the page's colours and need no script; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import msgspec

_WIDTH, _ROW, _LABEL, _NUMBER = 520, 24, 190, 64
_HEIGHT, _AXIS = 150, 22


class Bin(msgspec.Struct, frozen=True):
    """How many values lie from ``low`` up to ``high``."""

    low: float
    high: float
    count: int


def bars(title: str, rows: Sequence[tuple[str, float]]) -> str:
    """A horizontal bar for each row."""
    if not rows:
        return ""
    most = max(value for _, value in rows) or 1
    room = _WIDTH - _LABEL - _NUMBER
    parts = []
    for number, (label, value) in enumerate(rows):
        y, long = number * _ROW, room * value / most
        parts.append(
            f'<text x="{_LABEL - 8}" y="{y + 16}" text-anchor="end">{escape(label)}</text>'
            f'<rect class="bar" x="{_LABEL}" y="{y + 4}" width="{max(1.0, long):.1f}" height="15" rx="2"/>'
            f'<text x="{_LABEL + long + 8:.1f}" y="{y + 16}">{_shown(value)}</text>'
        )
    return _svg(title, len(rows) * _ROW + 6, "".join(parts))


def histogram(title: str, values: Sequence[float], unit: str = "", count: int = 16) -> str:
    """How often values of which size occur."""
    bins = binned(values, count)
    if not bins:
        return ""
    most = max(one.count for one in bins)
    wide = _WIDTH / len(bins)
    parts = []
    for number, one in enumerate(bins):
        tall = (_HEIGHT - 12) * one.count / most
        range_shown = f"{_shown(one.low)}–{_shown(one.high)}{escape(unit)}"
        parts.append(
            f'<rect class="bar" x="{number * wide + 1:.1f}" y="{_HEIGHT - tall:.1f}" width="{wide - 2:.1f}"'
            f' height="{tall:.1f}"><title>{range_shown}: {one.count}</title></rect>'
        )
    parts.append(f'<line class="axis" x1="0" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}"/>')
    for at, anchor, value in ((0, "start", bins[0].low), (_WIDTH, "end", bins[-1].high)):
        parts.append(f'<text x="{at}" y="{_HEIGHT + 16}" text-anchor="{anchor}">{_shown(value)}{escape(unit)}</text>')
    return _svg(title, _HEIGHT + _AXIS, "".join(parts))


def binned(values: Sequence[float], count: int) -> list[Bin]:
    """Values counted in ``count`` equal bins; one bin where all are alike."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return []
    low, high = min(finite), max(finite)
    if high - low < 1e-9:
        return [Bin(low, high, len(finite))]
    step = (high - low) / count
    counts = [0] * count
    for value in finite:
        counts[min(count - 1, int((value - low) / step))] += 1
    return [Bin(low + number * step, low + (number + 1) * step, found) for number, found in enumerate(counts)]


def _svg(title: str, height: float, inner: str) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img"'
        f' aria-label="{escape(title)}">{inner}</svg></figure>'
    )


def _shown(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
