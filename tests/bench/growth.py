"""Row 4: the same tasks on a table with ever more finished ones: rate, and bytes written for each."""

from __future__ import annotations

from pathlib import Path

from tests.bench.calls import Load, Took, gateway, scratch
from tests.bench.measure import Curve, Report, Row, median, percent
from tests.bench.rates import SMALL
from tests.bench.seed import copy_of
from tests.bench.worker import workers


def grown(seeds: dict[int, Path], rounds: int, count: int) -> Report:
    """``count`` tasks of 20 KB on tables of each size in turn, and so on: what disturbs one disturbs all."""
    load = Load("json", SMALL, 16)
    took: dict[int, list[Took]] = {size: [] for size in sorted(seeds)}
    with scratch() as folder, gateway(load) as port:
        folders = {f"ours {size}": copy_of(seeds[size], folder / str(size)) for size in took}
        with workers(load, port, folders) as crew:
            for name in folders:
                crew.run(name, 50)
            for _ in range(rounds):
                for size, found in took.items():
                    found.append(crew.run(f"ours {size}", count, 2 * load.at_once))
    least, most = min(took), max(took)
    rates = {size: median([count / one.seconds for one in found]) for size, found in took.items()}
    written = {size: median([one.written / count for one in found]) / 1000 for size, found in took.items()}
    ratio = median([first.seconds / last.seconds for first, last in zip(took[least], took[most], strict=True)])
    bytes_ratio = written[least] / written[most]
    rows = [
        Row(
            "4",
            f"{count:,} tasks of 20 KB on top of {most:,}",
            f"{rates[most]:.0f}/s",
            f"the first {count:,}: {rates[least]:.0f}/s",
            f"≥ {percent(0.9)}",
            ratio >= 0.9,
            ratio,
        ),
        Row(
            "4",
            "bytes written for each",
            f"{written[most]:.0f} KB",
            f"of the first: {written[least]:.0f} KB",
            "constant",
            0.8 <= bytes_ratio <= 1.25,
            bytes_ratio,
        ),
    ]
    shown = [size for size in took if size]
    curves = [
        Curve("4: tasks a second", "1/s", [(size, rates[size]) for size in shown], 0.9 * rates[least]),
        Curve("4: written for each task", "KB", [(size, written[size]) for size in shown]),
    ]
    return Report(rows, curves)
