"""What is measured and how it is told: rows with a comparison made in the same run, medians, the table, the machine."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import statistics
from collections.abc import Sequence
from pathlib import Path

import msgspec
import PIL


class Row(msgspec.Struct, frozen=True):
    """One line of the table. ``ratio``: ours to the comparison, higher is better where the guard watches it.

    ``note``: where the time goes, or what the comparison leaves out.
    """

    number: str
    work: str
    ours: str
    comparison: str
    goal: str
    met: bool | None
    ratio: float | None = None
    note: str = ""


class Curve(msgspec.Struct, frozen=True):
    """A measure over the number of tasks; ``limit``: the goal."""

    title: str
    unit: str
    points: list[tuple[int, float]]
    limit: float | None = None


class Report(msgspec.Struct, frozen=True):
    """What one part of the bench found."""

    rows: list[Row]
    curves: list[Curve] = []


def median(values: Sequence[float]) -> float:
    """The middle value."""
    return statistics.median(values)


def percent(ratio: float) -> str:
    """0.813 → 81 %."""
    return f"{ratio * 100:.0f} %"


def machine() -> str:
    """What the figures were measured on, in a line or two."""
    cpus = os.cpu_count()
    model = ""
    memory = 0
    if Path("/proc/cpuinfo").exists():
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text("ascii", "replace"))
        model = found.group(1).strip() if found else ""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{platform.system()} {platform.release().partition('-')[0]}, {cpus} × {model or platform.machine()}, "
        f"{memory} GB memory, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"Pillow {PIL.__version__}; load average at the end {load}"
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| # | work | ours | comparison | ratio | goal | met |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        met = {True: "yes", False: "**no**", None: ""}[row.met]
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(f"| {row.number} | {row.work} | {row.ours} | {row.comparison} | {ratio} | {row.goal} | {met} |")
    return "\n".join(lines)
