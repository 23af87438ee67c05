"""A process that does one kind of work as often as it is told to: each line of its input names a number.

Run as ``python -m tests.bench.worker LOOP|ours KIND SIZE AT_ONCE PORT FOLDER``; answers each line with JSON.
LOOP is a name in loops.py; ``ours`` works in FOLDER as it is, with all tasks that are there, or in a new one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from engine.allocator import keep_freed_memory
from tests.bench.calls import ROOT, Engine, Load, Took
from tests.bench.loops import LOOPS, bare


class Workers:
    """Processes by name, all asking the same gateway."""

    def __init__(self, processes: dict[str, subprocess.Popen[bytes]]) -> None:
        self._processes = processes

    def run(self, name: str, count: int, first: int = 0) -> Took:
        """Let one of them do ``count`` pictures; the program ``first`` more before its clock starts."""
        process = self._processes[name]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"%d %d\n" % (count, first))
        process.stdin.flush()
        return msgspec.json.decode(process.stdout.readline(), type=Took)


@contextmanager
def workers(
    load: Load, port: int, folders: dict[str, Path], roots: Mapping[str, Path] | None = None, **environ: str
) -> Iterator[Workers]:
    """One process for each name: that of a loop, or another for the program, with ``environ`` beside ours.

    ``roots``: the checkout whose code and environment a name runs with, where it is not this one.
    """
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, folder in folders.items():
            who = name if name in LOOPS else "ours"
            words: Sequence[object] = (who, load.kind, load.size, load.at_once, port, folder)
            root = (roots or {}).get(name)
            python = str(root / ".venv-test/bin/python") if root else sys.executable
            processes[name] = subprocess.Popen(
                [python, "-m", "tests.bench.worker", *map(str, words)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=root or ROOT,
                env={**os.environ, "PYTHONPATH": str(root or ROOT), **environ},
            )
        yield Workers(processes)
    finally:
        for process in processes.values():
            process.communicate(timeout=60)


def main() -> None:
    """Work until the input ends."""
    who, kind, size, at_once, port, place = sys.argv[1:]
    load, folder = Load(kind, int(size), int(at_once)), Path(place)
    folder.mkdir(exist_ok=True)
    engine = None
    if who == "ours":
        keep_freed_memory()  # as the program does when it opens a data folder
        engine = Engine(folder, load, int(port))
    for line in sys.stdin:
        count, first = map(int, line.split())
        took = engine.run(count, first) if engine is not None else bare(LOOPS[who], load, int(port), count, folder)
        sys.stdout.buffer.write(msgspec.json.encode(took) + b"\n")
        sys.stdout.flush()
    if engine is not None:
        engine.close()


if __name__ == "__main__":
    main()
