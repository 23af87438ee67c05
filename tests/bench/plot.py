"""The growth rows as one SVG: a small chart for each measure over the number of tasks, drawn without a library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from tests.bench.measure import Curve

_WIDTH, _HEIGHT, _COLUMNS = 300, 190, 3
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 40, 20, 34
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.title{font-weight:600}.axis{stroke:#999}.grid{stroke:#e4e4e4}"
    ".goal{stroke:#c0392b;stroke-dasharray:5 4}.line{stroke:#1f6fb2;stroke-width:2;fill:none}.dot{fill:#1f6fb2}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#444}.axis{stroke:#888}}"
)


def svg(curves: Sequence[Curve]) -> str:
    """A document with all curves; the dashed line is the goal."""
    rows = math.ceil(len(curves) / _COLUMNS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_COLUMNS * _WIDTH} {rows * _HEIGHT}" role="img"',
        ' aria-label="How the growth rows look at more and more tasks">',
        f"<style>{_STYLE}</style>",
    ]
    for number, curve in enumerate(curves):
        across, down = number % _COLUMNS * _WIDTH, number // _COLUMNS * _HEIGHT
        parts.append(f'<g transform="translate({across} {down})">{_chart(curve)}</g>')
    return "\n".join([*parts, "</svg>", ""])


def _chart(curve: Curve) -> str:
    top = max([value for _, value in curve.points] + [curve.limit or 0]) * 1.15 or 1.0
    low, high = (math.log10(curve.points[place][0]) for place in (0, -1))

    def x(count: float) -> float:
        return _LEFT + (math.log10(count) - low) / ((high - low) or 1) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<text class="title" x="{_LEFT}" y="22">{escape(curve.title)}, {escape(curve.unit)}</text>']
    for part in range(3):
        value = top * part / 2
        parts.append(_line("grid" if part else "axis", _LEFT, y(value), _WIDTH - _RIGHT, y(value)))
        parts.append(f'<text text-anchor="end" x="{_LEFT - 6}" y="{y(value) + 4:.1f}">{_short(value)}</text>')
    if curve.limit is not None:
        parts.append(_line("goal", _LEFT, y(curve.limit), _WIDTH - _RIGHT, y(curve.limit)))
    path = " ".join(f"{x(count):.1f},{y(value):.1f}" for count, value in curve.points)
    parts.append(f'<polyline class="line" points="{path}"/>')
    for place, (count, value) in enumerate(curve.points):
        anchor = "start" if place == 0 else "end" if place == len(curve.points) - 1 else "middle"
        parts.append(f'<circle class="dot" cx="{x(count):.1f}" cy="{y(value):.1f}" r="3.5"/>')
        parts.append(f'<text text-anchor="{anchor}" x="{x(count):.1f}" y="{y(value) - 8:.1f}">{_short(value)}</text>')
        under = "end" if anchor == "end" else "middle"  # a long number would stick out on the right
        parts.append(f'<text text-anchor="{under}" x="{x(count):.1f}" y="{_HEIGHT - 14}">{count:,}</text>')
    return "".join(parts)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.3g}"
