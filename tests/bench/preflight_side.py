"""One side of the comparison in ``tests.bench.preflight``: looks through sets with whichever code its path has, this
one or the one before the redesign. Run as a script with ``PYTHONPATH`` set to that code's root; a line of input is
``PAIRS WORK``, a file of pairs as JSON and a folder for what is remembered; a line of output `Looked` as JSON."""

from __future__ import annotations

import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from engine.dataset.measure import Measurer, can_register
from engine.dataset.pairs import ControlFile, Pair, Provenance, TargetFile
from engine.dataset.preflight import Wanted, inspect
from engine.dataset.split import SplitRule

SPLIT = SplitRule(validation=0.2, seed=11)


def main() -> None:
    """Look until the input ends."""
    for line in sys.stdin:
        pairs, work = line.split()
        sys.stdout.write(msgspec.json.encode(looked(pairs, work)).decode() + "\n")
        sys.stdout.flush()


def looked(pairs: str, work: str) -> dict[str, Any]:
    """``seconds`` by the clock and of the processor, first and second look, and the kinds found by pair."""
    rows = [_pair(row) for row in msgspec.json.decode(Path(pairs).read_bytes())]
    notes = _notes(Path(work) / "notes.db")
    times, found = [], {}
    for _ in range(2):
        wall, busy = time.perf_counter(), time.process_time()
        report = inspect(rows, Wanted(split=SPLIT), Measurer(notes), registered=can_register())
        times.append((time.perf_counter() - wall, time.process_time() - busy))
        found = {pair: sorted(map(str, kinds)) for pair, kinds in report.by_pair.items()}
    notes.close()
    return {"first": times[0], "again": times[1], "found": found}


def _notes(path: Path) -> Any:
    try:
        return import_module("engine.dataset.measurement_cache").MeasurementCache(path)
    except ModuleNotFoundError:  # its name before
        return import_module("engine.dataset.notebook").Notebook(path)


def _pair(row: dict[str, Any]) -> Pair:
    return Pair(
        id=row["id"],
        task_id=row["task_id"],
        name=row["name"],
        controls=tuple(ControlFile(one["path"], one["sent_hash"]) for one in row["controls"]),
        target=TargetFile(**row["target"]),
        provenance=Provenance(prompt=row["provenance"]["prompt"]),
    )


if __name__ == "__main__":
    main()
