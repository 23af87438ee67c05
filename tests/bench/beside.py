"""Rows 1 to 3 beside another checkout: ``python -m tests.bench.beside CHECKOUT [ROW ...] [--rounds N]``.

This code, that of CHECKOUT (with its own ``.venv-test``) and the bare loop that leaves the picture undecoded ask one
gateway in turn. Both ratios are of one round each, so that a machine that is slower for a while is so for all three.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from tests.bench.calls import Took, gateway, scratch
from tests.bench.measure import machine, median
from tests.bench.rates import LOADS
from tests.bench.worker import workers

_LOOP = "undecoded"


def main() -> None:
    """Measure and print a line for each row."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.beside", description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {' '.join(LOADS)}; all when none is named")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    for number in options.rows or LOADS:
        print(_row(number, options.rounds, options.checkout.resolve()), flush=True)
    print(machine())


def _row(number: str, rounds: int, checkout: Path) -> str:
    work, load, count, _ = LOADS[number]
    took: dict[str, list[Took]] = {name: [] for name in (_LOOP, "before", "now")}
    with (
        scratch() as folder,
        gateway(load) as port,
        workers(load, port, {name: folder / name for name in took}, {"before": checkout}) as crew,
    ):
        for name in took:
            crew.run(name, 2 * load.at_once)
        for _ in range(rounds):
            for name in random.sample(list(took), len(took)):
                took[name].append(crew.run(name, count, 2 * load.at_once))
    rates = ", ".join(f"{name} {median([count / one.seconds for one in found]):.0f}/s" for name, found in took.items())
    to_loop, of_before = _ratio(took[_LOOP], took["now"]), _ratio(took[_LOOP], took["before"])
    return (
        f"{number} ({work}): {rates}; beside the loop now {to_loop:.2f}, before {of_before:.2f}; "
        f"now to before {_ratio(took['before'], took['now']):.2f}"
    )


def _ratio(theirs: list[Took], ours: list[Took]) -> float:
    return median([one.seconds / other.seconds for one, other in zip(theirs, ours, strict=True)])


if __name__ == "__main__":
    main()
