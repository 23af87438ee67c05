"""Measures all rows, or those named, and prints one table: ``python -m tests.bench [ROW ...] [--quick] [--write]``.

``--write`` puts the table into BENCHMARKS.md, the growth plot beside it, and the ratios into recorded.json, against
which test_guard.py compares. BENCH_DIR: where to work, on the disk that is to be measured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.bench import disk, growth, judged, limits, rates, served, turns
from tests.bench.calls import ROOT
from tests.bench.measure import Curve, Report, Row, machine, table
from tests.bench.plot import svg
from tests.bench.seed import seed

HERE = Path(__file__).parent
RECORDED = HERE / "recorded.json"
PLOT = HERE / "growth.svg"
_BEGIN, _END = "<!-- table -->", "<!-- end -->"


class Plan:
    """How much is measured, and the seeds that several rows share."""

    def __init__(self, quick: bool, place: Path) -> None:
        self.quick = quick
        self.rounds = 3 if quick else 5
        self.most = 5_000 if quick else 50_000
        self._place = place

    def seeds(self, *extra: int) -> dict[int, Path]:
        """Data folders with 500 tasks, more, and most."""
        return {count: seed(self._place / str(count), count) for count in sorted({500, 5_000, self.most, *extra})}


def _parts(plan: Plan) -> dict[str, Callable[[], Report]]:
    share = 0.25 if plan.quick else 1.0
    return {
        "1": lambda: rates.compare("1", plan.rounds, share=share),
        "2": lambda: Report([*_rows("2a", plan, share), *_rows("2b", plan, share)]),
        "3": lambda: rates.compare("3", plan.rounds, share=share),
        "4": lambda: growth.grown(plan.seeds(0), plan.rounds, 200 if plan.quick else 1000),
        "5": lambda: rates.latency(1 if plan.quick else plan.rounds),
        "6": lambda: rates.long_line(plan.rounds),
        "7": lambda: served.idle(plan.seeds(), 5 if plan.quick else 20),
        "8": lambda: served.start(plan.seeds(0), plan.rounds),
        "9": lambda: served.asked(plan.seeds(), plan.rounds),
        "10": lambda: disk.thumbnails(8 if plan.quick else 24, plan.rounds),
        "11": lambda: disk.saving(60 if plan.quick else 1000, plan.rounds),
        "12": lambda: disk.inspecting(plan.most, plan.rounds),
        "13": lambda: limits.limited(share=share),
        "14": lambda: limits.slow_tail(share=share),
        "15": lambda: rates.described(plan.rounds, share=share),
        "16": lambda: judged.along(plan.rounds, share=share),
        "17": lambda: turns.turned(60 if plan.quick else 279),
    }


def _rows(number: str, plan: Plan, share: float) -> list[Row]:
    return rates.compare(number, plan.rounds, share=share).rows


def main() -> int:
    """Measure and print; 1 when a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="1 to 17; all when none is named")
    parser.add_argument("--quick", action="store_true", help="fewer pictures, fewer rounds, 5,000 tasks at most")
    parser.add_argument("--write", action="store_true", help="write BENCHMARKS.md, growth.svg and recorded.json")
    options = parser.parse_args()
    rows: list[Row] = []
    curves: list[Curve] = []
    with tempfile.TemporaryDirectory(prefix="bench-seeds-") as place:
        parts = _parts(Plan(options.quick, Path(place)))
        for name in options.rows or parts:
            report = parts[name]()
            rows += report.rows
            curves += report.curves
            print(table(report.rows).split("\n", 2)[2], flush=True)
    rows.sort(key=lambda row: int("".join(filter(str.isdigit, row.number))))
    print(f"\n{machine()}\n\n{table(rows)}")
    if options.write:
        _write(rows, curves, whole=not options.rows)
    return 0 if all(row.met is not False for row in rows) else 1


def _write(rows: list[Row], curves: list[Curve], *, whole: bool) -> None:
    path = ROOT / "BENCHMARKS.md"
    text = path.read_text("utf-8")
    if whole:
        before, after = text.partition(_BEGIN)[0], text.partition(_END)[2]
        text = f"{before}{_BEGIN}\n{machine()}.\n\n{table(rows)}\n{_END}{after}"
        path.write_text(text, "utf-8")
    if curves:
        PLOT.write_text(svg(curves), "utf-8")
    known = msgspec.json.decode(RECORDED.read_bytes(), type=dict[str, float]) if RECORDED.exists() else {}
    known |= {f"{row.number} {row.work}": round(row.ratio, 3) for row in rows if row.ratio is not None}
    RECORDED.write_bytes(msgspec.json.format(msgspec.json.encode(known), indent=1) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
