"""The cache is swept beside the program's work, and the sweep is given up when the program ends."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from bridge.console import Console
from bridge.opening import load_messages
from bridge.settings import read_settings
from bridge.upkeep import looked_after
from engine.images.cache import Cache
from tests.support.pictures import picture


def opened(folder: Path) -> Console:
    folder.mkdir()
    return Console(folder, read_settings({"CACHE_TTL_HOURS": "1"}), load_messages(), version="1")


def test_old_pictures_go_while_the_program_runs(tmp_path: Path) -> None:
    """A picture that no task names and that is old enough disappears, and the pages are told."""
    with opened(tmp_path / "data") as console:
        digest = Cache(console.folder / "cache").put(picture(1), "png")  # an earlier program's
        long_ago = time.time() - 7200
        os.utime(console.cache.path(digest, "png"), (long_ago, long_ago))
        told = threading.Event()
        console.listen(told.set)
        with looked_after(console, after=0):
            assert told.wait(30)
        assert not console.cache.has(digest, "png")


def test_the_end_does_not_wait_for_the_sweep(tmp_path: Path) -> None:
    """A program that ends before its sweep began keeps its files and leaves no thread."""
    with opened(tmp_path / "data") as console:
        digest = console.cache.put(picture(1), "png")
        os.utime(console.cache.path(digest, "png"), (0, 0))
        with looked_after(console, after=3600):
            pass
        assert console.cache.has(digest, "png")
        assert "sweep" not in {thread.name for thread in threading.enumerate()}
