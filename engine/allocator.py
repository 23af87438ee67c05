"""The C library's memory: what every task takes and frees again is kept while tasks run, and given back after them."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

# From malloc.h of the GNU C library.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_KEPT_BYTES = 24 * 1024 * 1024
_LARGEST_MMAP_THRESHOLD = 32 * 1024 * 1024
_ARENAS = 1  # several keep, each for itself, what hundreds of answers at once have freed: three quarters of the memory


def keep_freed_memory() -> Callable[[], object]:
    """Tune the GNU C library, before any thread starts; returns how to give memory back to the system.

    By default it fetches each buffer of megabytes from the system and gives it back, a thousand page faults each
    time: a third of all processor time at 2 MB a picture (BENCHMARKS.md). Elsewhere this does nothing.
    """
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(library, "mallopt") or not hasattr(library, "malloc_trim"):  # another C library
        return lambda: None
    library.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    library.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
    library.mallopt(_ARENA_MAX, _ARENAS)
    return lambda: library.malloc_trim(0)
