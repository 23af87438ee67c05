"""Plots as inline SVG: bars and histograms that take the page's colours and need no script; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import msgspec

# In pixels of the page as it is mostly seen, so that letters keep their size.
_BARS, _ROW, _LABEL, _NUMBER = 640, 24, 290, 64
_WIDTH, _HEIGHT, _AXIS, _ABOVE = 350, 120, 20, 16
_SINGLE = 1 / 16  # of the width: the bar of values that are all alike


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
    room = _BARS - _LABEL - _NUMBER
    parts = []
    for number, (label, value) in enumerate(rows):
        y, long = number * _ROW, room * value / most
        parts.append(
            f'<text x="{_LABEL - 8}" y="{y + 16}" text-anchor="end">{escape(label)}</text>'
            f'<rect class="bar" x="{_LABEL}" y="{y + 4}" width="{max(1.0, long):.1f}" height="15" rx="2"/>'
            f'<text x="{_LABEL + long + 8:.1f}" y="{y + 16}">{_format_number(value)}</text>'
        )
    return _svg(title, _BARS, len(rows) * _ROW + 6, "".join(parts))


def histogram(title: str, values: Sequence[float], unit: str = "", count: int = 16) -> str:
    """How often values of which size occur."""
    bins = binned(values, count)
    if not bins:
        return ""
    most = max(one.count for one in bins)
    wide = _WIDTH / len(bins) if len(bins) > 1 else _WIDTH * _SINGLE
    first = (_WIDTH - wide * len(bins)) / 2
    highest = next(number for number, one in enumerate(bins) if one.count == most)
    middle = first + (highest + 0.5) * wide
    anchor = "start" if middle < 30 else "end" if middle > _WIDTH - 30 else "middle"
    at = {"start": 0.0, "end": float(_WIDTH)}.get(anchor, middle)
    parts = [f'<text class="most" x="{at:.1f}" y="{_ABOVE - 4}" text-anchor="{anchor}">{most}</text>']
    for number, one in enumerate(bins):
        tall = (_HEIGHT - _ABOVE) * one.count / most
        range_shown = f"{_format_number(one.low)}–{_format_number(one.high)}{escape(unit)}"
        parts.append(
            f'<rect class="bar" x="{first + number * wide + 1:.1f}" y="{_HEIGHT - tall:.1f}" width="{wide - 2:.1f}"'
            f' height="{tall:.1f}"><title>{range_shown}: {one.count}</title></rect>'
        )
    parts.append(f'<line class="axis" x1="0" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}"/>')
    ends: tuple[tuple[float, str, float], ...] = ((_WIDTH / 2, "middle", bins[0].low),)
    if len(bins) > 1:
        ends = ((0, "start", bins[0].low), (_WIDTH, "end", bins[-1].high))
    for at, anchor, value in ends:
        parts.append(
            f'<text x="{at}" y="{_HEIGHT + 16}" text-anchor="{anchor}">{_format_number(value)}{escape(unit)}</text>'
        )
    return _svg(title, _WIDTH, _HEIGHT + _AXIS, "".join(parts))


def stacked(title: str, parts: Sequence[tuple[str, Sequence[int]]], low: float, high: float, mark: float) -> str:
    """Counts in equal bins from ``low`` to ``high``, the named parts one on the other; a line at ``mark``."""
    totals = [sum(counts) for counts in zip(*(counts for _, counts in parts), strict=True)]
    most = max(totals, default=0)
    if not most:
        return ""
    wide = _WIDTH / len(totals)
    step = (high - low) / len(totals)
    drawn = []
    for place in range(len(totals)):
        y = float(_HEIGHT)
        for number, (name, counts) in enumerate(parts):
            tall = (_HEIGHT - _ABOVE) * counts[place] / most
            y -= tall
            range_shown = f"{_format_number(low + place * step)}–{_format_number(low + (place + 1) * step)}"
            drawn.append(
                f'<rect class="bar part{number}" x="{place * wide + 1:.1f}" y="{y:.1f}" width="{wide - 2:.1f}"'
                f' height="{tall:.1f}"><title>{escape(name)}, {range_shown}: {counts[place]}</title></rect>'
            )
    x = _WIDTH * (mark - low) / (high - low)
    drawn.append(f'<line class="mark" x1="{x:.1f}" y1="{_ABOVE}" x2="{x:.1f}" y2="{_HEIGHT}"/>')
    drawn.append(f'<line class="axis" x1="0" y1="{_HEIGHT}" x2="{_WIDTH}" y2="{_HEIGHT}"/>')
    drawn.append(f'<text class="most" x="0" y="{_ABOVE - 4}">{most}</text>')
    for at, anchor, value in ((0, "start", low), (_WIDTH, "end", high)):
        drawn.append(f'<text x="{at}" y="{_HEIGHT + 16}" text-anchor="{anchor}">{_format_number(value)}</text>')
    return _svg(title, _WIDTH, _HEIGHT + _AXIS, "".join(drawn))


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


def _svg(title: str, width: int, height: float, inner: str) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {width} {height:.0f}" role="img"'
        f' aria-label="{escape(title)}">{inner}</svg></figure>'
    )


def _format_number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
