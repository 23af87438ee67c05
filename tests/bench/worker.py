"""A process that does one kind of work as often as it is told to: each line of its input is a number of pictures.

Run as ``python -m tests.bench.worker bare|careful|ours KIND SIZE AT_ONCE PORT FOLDER``; answers each line with JSON.
``ours`` works in FOLDER as it is, with all tasks that are there, or in a new one.
"""

from __future__ import annotations

import functools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bridge.allocator import keep_freed_memory
from tests.bench.calls import ROOT, Engine, Load, bare


class Took(msgspec.Struct, frozen=True):
    """``seconds`` by the clock and of processor time; bytes: ``peak`` memory so far, ``written`` to files."""

    seconds: float
    processor: float
    peak: int
    written: int


class Workers:
    """Processes by name, all asking the same gateway."""

    def __init__(self, processes: dict[str, subprocess.Popen[bytes]]) -> None:
        self._processes = processes

    def run(self, name: str, count: int) -> Took:
        """Let one of them do ``count`` pictures."""
        process = self._processes[name]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"%d\n" % count)
        process.stdin.flush()
        return msgspec.json.decode(process.stdout.readline(), type=Took)


@contextmanager
def workers(load: Load, port: int, folders: dict[str, Path]) -> Iterator[Workers]:
    """One process for each name: ``bare``, ``careful``, or another name for the program."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name, folder in folders.items():
            who = name if name in ("bare", "careful") else "ours"
            words: Sequence[object] = (who, load.kind, load.size, load.at_once, port, folder)
            command = [sys.executable, "-m", "tests.bench.worker", *map(str, words)]
            processes[name] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        yield Workers(processes)
    finally:
        for process in processes.values():
            process.communicate(timeout=60)


def _number(file: str, name: str) -> int:
    for line in Path(f"/proc/self/{file}").read_text("ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise LookupError(name)


def main() -> None:
    """Work until the input ends."""
    who, kind, size, at_once, port, place = sys.argv[1:]
    load, folder = Load(kind, int(size), int(at_once)), Path(place)
    engine: Engine | None = None
    work: Callable[[int], float]
    if who == "ours":
        keep_freed_memory()  # as the program does when it opens a console
        engine = Engine(folder, load, int(port))
        work = engine.run
    else:
        work = functools.partial(_bare, load, int(port), folder, careful=who == "careful")
    for line in sys.stdin:
        written, before = _number("io", "wchar"), time.process_time()
        seconds = work(int(line))
        processor = time.process_time() - before
        took = Took(seconds, processor, _number("status", "VmHWM") * 1024, _number("io", "wchar") - written)
        sys.stdout.buffer.write(msgspec.json.encode(took) + b"\n")
        sys.stdout.flush()
    if engine is not None:
        engine.close()


def _bare(load: Load, port: int, folder: Path, count: int, *, careful: bool) -> float:
    return bare(load, port, count, folder, careful=careful)


if __name__ == "__main__":
    main()
