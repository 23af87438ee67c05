"""The figures of CLUSTER.md that are times, with real worker processes: ``python -m tests.bench.cluster [ROW ...]``.

Rows: workers, preflight, export, many. ``--share 0.25`` measures a quarter of each. All take about fifteen minutes on
an idle machine. What is counted rather than timed is in scripts/full_counts.sh, under ``cluster``.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from engine.cluster.address import ClusterOrder
from engine.cluster.services import ClusterServices
from engine.dataset.export import SetPlan, export_set
from engine.dataset.measure import Measurer, can_register
from engine.dataset.measurement_cache import MeasurementCache
from engine.dataset.pair_files import PairMaker
from engine.dataset.preflight import Preflight, Wanted, inspect
from engine.dataset.transform import PictureFormat, PictureRule, SizeRule
from engine.images.pixels import Alpha
from engine.upstream.netguard import NetPolicy
from tests.bench.calls import Load, Took, gateway, scratch
from tests.bench.measure import Row, machine, table
from tests.bench.preflight import SPLIT, make_set
from tests.bench.worker import workers

_EACH = 32  # calls at once for each worker
_MANY = 512
_WARM = 64  # pairs that are measured first, so that every worker has loaded what it needs
_PAYLOAD = 2_000_000
_READ_AT_ONCE = 29  # answers; the goal was set when the room for answers let so many be taken apart
_BOUND = 100_000_000 + 4 * _PAYLOAD * _READ_AT_ONCE


def four_workers(share: float) -> Row:
    """Four workers with 32 calls each beside one with 32, against a gateway that takes two seconds."""
    took = {count: _calls(count, _EACH * count, round(256 * count * share)) for count in (1, 4)}
    rates = {count: 256 * count * share / one.seconds for count, one in took.items()}
    ratio = rates[4] / rates[1]
    return Row(
        "C1",
        f"4 workers × {_EACH} calls, gateway 2 s",
        f"{rates[4]:.1f}/s",
        f"1 worker × {_EACH}: {rates[1]:.1f}/s",
        "≥ 3.6 ×",
        ratio >= 3.6,
        ratio,
    )


def _calls(count: int, at_once: int, tasks: int) -> Took:
    load = Load("json", 20_000, at_once, 2.0)
    with (
        scratch() as folder,
        gateway(load) as port,
        workers(load, port, {"ours": folder / "data"}, CLUSTER=f"local:{count}") as crew,
    ):
        return crew.run("ours", tasks, at_once)


class _Shared(msgspec.Struct, frozen=True):
    """The same work done here and by workers. ``seconds`` by number of workers, 0 for here; ``used``: milliseconds of
    processors for each pair, here and at all workers; ``same``: whether all came to the same."""

    seconds: dict[int, float]
    used: dict[int, tuple[float, float]]
    same: bool

    @property
    def ratio(self) -> float:
        return self.seconds[1] / self.seconds[2]

    @property
    def beside(self) -> str:
        ours, workers = self.used[2]
        return (
            f"1 worker {self.seconds[1]:.1f} s, threads at home {self.seconds[0]:.1f} s; processors a pair: "
            f"{workers:.1f} ms at the workers and {ours:.1f} ms here, at home alone {self.used[0][0]:.1f} ms"
        )


def _shared(pairs: int, here: Callable[[], object], there: Callable[[ClusterServices, bool], object]) -> _Shared:
    """``there``: whether it is only to be warmed up."""
    seconds: dict[int, float] = {}
    used: dict[int, tuple[float, float]] = {}

    def take(count: int, work: Callable[[], object], spent: Callable[[], float]) -> object:
        begun, ours, theirs = time.perf_counter(), time.process_time(), spent()
        found = work()
        seconds[count] = time.perf_counter() - begun
        used[count] = (time.process_time() - ours) / pairs * 1000, (spent() - theirs) / pairs * 1000
        return found

    found = [take(0, here, lambda: 0.0)]
    for count in (1, 2):
        with ClusterServices(ClusterOrder(f"local:{count}"), NetPolicy(), max_redirects=3) as cluster:
            there(cluster, True)
            spent = partial(_spent, cluster)
            found.append(take(count, partial(there, cluster, False), spent))
    return _Shared(seconds, used, found[0] == found[1] == found[2])


def _spent(cluster: ClusterServices) -> float:
    return sum(cluster.on_each(time.process_time).values())


def preflight(share: float) -> Row:
    """The same set measured by two worker processes, by one, and at home."""
    wanted = round(2000 * share)
    with scratch() as folder:
        pairs = [made.pair for made in make_set(folder / "set", wanted)]
        names = iter(range(10))

        def look(make: Callable[[MeasurementCache], Measurer], some: int | None = None) -> object:
            cache = MeasurementCache(folder / f"{next(names)}.db")
            report = inspect(pairs[:some], Wanted(split=SPLIT), make(cache), registered=can_register())
            cache.close()
            return _told(report)

        def there(cluster: ClusterServices, warm: bool) -> object:
            return look(partial(cluster.measurer, alpha=Alpha.WHITE), _WARM if warm else None)

        took = _shared(len(pairs), lambda: look(Measurer), there)
    return Row(
        "C2",
        f"preflight of {wanted:,} pairs, 2 worker processes",
        f"{took.seconds[2]:.1f} s, {'the same findings' if took.same else 'OTHER FINDINGS'}",
        took.beside,
        "≥ 1.8 ×",
        took.same and took.ratio >= 1.8,
        took.ratio,
    )


def export(share: float) -> Row:
    """The same set written with pictures made by two worker processes, by one, and at home."""
    wanted = round(530 * share)
    plan = SetPlan(pictures=PictureRule(format=PictureFormat.WEBP, size=SizeRule.LONGEST, size_value=640))
    with scratch() as folder:
        pairs = [made.pair for made in make_set(folder / "set", wanted) if made.fault is None]
        names = iter(range(10))

        def write(maker: PairMaker, some: int | None = None) -> object:
            place = folder / f"out{next(names)}"
            place.mkdir()
            root = Path(export_set(pairs[:some], plan, place, overlays={}, maker=maker).path)
            files = sorted(file for file in root.rglob("*") if file.is_file())
            return [(str(file.relative_to(root)), hashlib.sha256(file.read_bytes()).digest()) for file in files]

        def there(cluster: ClusterServices, warm: bool) -> object:
            return write(cluster.pair_maker(), 8 if warm else None)

        took = _shared(len(pairs), lambda: write(PairMaker()), there)
    return Row(
        "C4",
        f"export of {len(pairs):,} pairs as WebP, 2 worker processes",
        f"{took.seconds[2]:.1f} s, {'the same bytes' if took.same else 'OTHER BYTES'}",
        took.beside,
        "the same bytes",
        took.same,
        took.ratio,
    )


def _told(report: Preflight) -> tuple[object, object]:
    """Kinds of all findings, and what was measured, as far as two registrations of a pair agree, which end in slightly
    other places each time: of 2,000 pairs that are measured twice at home, one differs by 0.0002."""
    numbers = {pair_id: (one.shape, one.change, one.contrast) for pair_id, one in report.numbers.items()}
    placed = {
        pair_id: tuple(None if number is None else round(number, 1) for number in (one.likeness, one.shift, one.zoom))
        for pair_id, one in report.numbers.items()
    }
    return [(one.pair_id, one.kind) for one in report.findings], (numbers, placed)


def many(share: float) -> Row:
    """512 calls in flight, as the gateway counts them, each with 2 MB after 20 s."""
    load, tasks = Load("json", _PAYLOAD, _MANY, 20.0), round(1536 * share)
    with scratch() as folder, gateway(load) as port, workers(load, port, {"ours": folder / "data"}) as crew:
        took = crew.run("ours", tasks, _MANY)
        peak = _most_at_once(port)
    ideal = tasks / _MANY * load.latency
    return Row(
        "C3",
        f"{tasks:,} results of 2 MB, {_MANY} calls at once, 20 s each",
        f"{took.seconds:.1f} s, {peak} at once, peak {took.peak / 1e6:.0f} MB",
        f"ideal {ideal:.1f} s",
        f"≤ 1.05 ×, {_MANY} at once, ≤ {_BOUND / 1e6:.0f} MB",
        took.seconds <= 1.05 * ideal and peak == _MANY and took.peak <= _BOUND,
        ideal / took.seconds,
    )


def _most_at_once(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/counts")
    return int(json.loads(connection.getresponse().read())["peak"])


ROWS = {"workers": four_workers, "preflight": preflight, "export": export, "many": many}


def main() -> int:
    """Measure and print; 1 when a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cluster", description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of tasks and pairs")
    options = parser.parse_args()
    rows = []
    for name in options.rows or ROWS:
        rows.append(ROWS[name](options.share))
        print(table(rows[-1:]).split("\n", 2)[2], flush=True)
    print(f"\n{machine()}\n\n{table(rows)}")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
