"""The figures of CLUSTER.md that are times, with real worker processes: ``python -m tests.bench.cluster [ROW ...]``.

Rows: workers, preflight, many. ``--share 0.25`` measures a quarter of each. All take about ten minutes on an idle
machine. What is counted rather than timed is in scripts/full_counts.sh, under ``cluster``.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import time
from collections.abc import Callable

from engine.cluster.address import ClusterOrder
from engine.cluster.services import ClusterServices
from engine.dataset.measure import Measurer, can_register
from engine.dataset.measurement_cache import MeasurementCache
from engine.dataset.preflight import Preflight, Wanted, inspect
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


def preflight(share: float) -> Row:
    """The same set measured by two worker processes, by one, and at home: the same findings, and how long it took."""
    pairs_wanted = round(2000 * share)
    with scratch() as folder:
        pairs = [made.pair for made in make_set(folder / "set", pairs_wanted)]

        def look(
            make: Callable[[MeasurementCache], Measurer], name: str, some: int | None = None
        ) -> tuple[float, Preflight]:
            cache = MeasurementCache(folder / f"{name}.db")
            begun = time.perf_counter()
            report = inspect(pairs[:some], Wanted(split=SPLIT), make(cache), registered=can_register())
            cache.close()
            return time.perf_counter() - begun, report

        seconds, home = look(Measurer, "home")
        found: dict[int, tuple[float, Preflight]] = {}
        for count in (1, 2):
            order = ClusterOrder(f"local:{count}", outbox=str(folder / "outbox"))
            with ClusterServices(order, NetPolicy(), max_redirects=3) as cluster:
                look(lambda cache, cluster=cluster: cluster.measurer(cache, Alpha.WHITE), f"warm{count}", _WARM)  # type: ignore[misc]
                found[count] = look(lambda cache, cluster=cluster: cluster.measurer(cache, Alpha.WHITE), str(count))  # type: ignore[misc]
        same = all(_told(report) == _told(home) for _, report in found.values())
    ratio = found[1][0] / found[2][0]
    return Row(
        "C2",
        f"preflight of {pairs_wanted:,} pairs, 2 worker processes",
        f"{found[2][0]:.1f} s, {'the same findings' if same else 'OTHER FINDINGS'}",
        f"1 worker {found[1][0]:.1f} s, threads at home {seconds:.1f} s",
        "≥ 1.8 ×",
        same and ratio >= 1.8,
        ratio,
    )


def _told(report: Preflight) -> tuple[object, object]:
    """Kinds and numbers of all findings, and what was measured, as far as two registrations of a pair agree: one ends
    anywhere within 1e-8, which may round to another last digit."""
    return [(one.pair_id, one.kind, round(one.number, 2)) for one in report.findings], report.numbers


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


ROWS = {"workers": four_workers, "preflight": preflight, "many": many}


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
