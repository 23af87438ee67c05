"""A process that does one kind of work as often as it is told to: each line of its input is a number of pictures.

Run as ``python -m tests.bench.worker bare|ours KIND SIZE AT_ONCE LATENCY PORT FOLDER``; answers each line with JSON.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec

from bridge.allocator import keep_freed_memory
from tests.bench.calls import Load, bare, ours


class Took(msgspec.Struct, frozen=True):
    """``seconds``: by the clock; ``processor``: seconds of processor time; ``peak``: most memory so far, in bytes."""

    seconds: float
    processor: float
    peak: int


def peak_bytes() -> int:
    """Most memory that this process has had resident."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def main() -> None:
    """Work until the input ends."""
    who, kind, size, at_once, latency, port, folder = sys.argv[1:]
    load = Load(kind, int(size), int(at_once), float(latency))
    if who == "ours":
        keep_freed_memory()  # as the launcher does
    work = ours if who == "ours" else bare
    for line in sys.stdin:
        before = time.process_time()
        seconds = work(load, int(port), int(line), Path(folder))
        took = Took(seconds, time.process_time() - before, peak_bytes())
        sys.stdout.buffer.write(msgspec.json.encode(took) + b"\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
