"""The cache is swept beside the program's work, and the sweep is given up when the program ends."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from bridge.app import App
from bridge.environment import read_environment
from bridge.maintenance import looked_after
from bridge.open_app import load_messages
from engine.images.cache import Cache
from tests.support.pictures import picture


def opened(folder: Path) -> App:
    folder.mkdir()
    return App(folder, read_environment({"CACHE_TTL_HOURS": "1"}), load_messages(), version="1")


def test_old_pictures_go_while_the_program_runs(tmp_path: Path) -> None:
    """A picture that no task names and that is old enough disappears, and the pages are told."""
    with opened(tmp_path / "data") as app:
        digest = Cache(app.folder / "cache").put(picture(1), "png")  # an earlier program's
        long_ago = time.time() - 7200
        os.utime(app.cache.path(digest, "png"), (long_ago, long_ago))
        told = threading.Event()
        app.listen(told.set)
        with looked_after(app, after=0):
            assert told.wait(30)
        assert not app.cache.has(digest, "png")


def test_the_end_does_not_wait_for_the_sweep(tmp_path: Path) -> None:
    """A program that ends before its sweep began keeps its files and leaves no thread."""
    with opened(tmp_path / "data") as app:
        digest = app.cache.put(picture(1), "png")
        os.utime(app.cache.path(digest, "png"), (0, 0))
        with looked_after(app, after=3600):
            pass
        assert app.cache.has(digest, "png")
        assert "sweep" not in {thread.name for thread in threading.enumerate()}
