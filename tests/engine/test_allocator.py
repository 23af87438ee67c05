"""What is taken and freed over and over costs page faults once, and goes back to the system when asked to."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import json, resource, sys
from engine.allocator import keep_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

give_back = keep_freed_memory() if sys.argv[1] == "kept" else lambda: None
bytearray(b"x" * 4_000_000)
before = faults()
for _ in range(50):
    parts = [b"x" * 3_000_000 for _ in range(4)]
    del parts
taken, full = faults() - before, resident()
give_back()
print(json.dumps([taken, full - resident()]))
"""


@pytest.mark.skipif(
    sys.platform != "linux" or "glibc" not in (os.confstr("CS_GNU_LIBC_VERSION") or ""), reason="glibc's own matter"
)
def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    """Fifty rounds of twelve megabytes fault a tenth as often as without, and the memory goes back at the end."""

    def run(how: str) -> tuple[int, int]:
        done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, check=True, timeout=60)
        faults, given_back = json.loads(done.stdout)
        return faults, given_back

    without, _ = run("plain")
    kept, given_back = run("kept")
    assert kept < without / 10
    assert given_back > 8_000_000
