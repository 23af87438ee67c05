"""What is looked after beside all else while the program runs: cached pictures, secrets in old files, and what
providers have made for projects that are not open."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

from bridge.app import App
from bridge.preferences import Preferences
from engine.data_folder import hold
from engine.errors import Busy, ConsoleError, Stopped
from engine.keystore import wipe_copies
from engine.vision.settings import JudgeFile

_AFTER_SECONDS = 3.0  # the first page is shown before
log = logging.getLogger(__name__)


def _move_keys_of_runs(app: App, check: Callable[[], None]) -> None:
    """What earlier versions left in the folders of runs, and in copies, goes into the key store or is overwritten."""
    if app.demo or app.keys.kind != "system":
        return
    keys = app.keys.for_runs()
    wipe_copies(app.folder, app.secrets())
    for state in app.folder.glob("runs/*/*/state.json"):
        check()
        with contextlib.suppress(Busy):  # a run that goes on moves its own
            lock = hold(state.parent)
            try:
                Preferences(state, keys=keys).move_keys()
                JudgeFile(state.parent / "judge.json", keys).move_keys()
                wipe_copies(state.parent, app.secrets())
            finally:
                lock.release()


@contextlib.contextmanager
def looked_after(app: App, after: float = _AFTER_SECONDS) -> Iterator[None]:
    """Sweep the cache in a thread, some seconds after the start; given up when the block ends before. Projects that are
    not open are visited from now on."""
    ending = threading.Event()

    def check() -> None:
        if ending.is_set():
            raise Stopped

    def sweep() -> None:
        try:
            if not ending.wait(after):
                app.sweep(check)
                app.changed()
                _move_keys_of_runs(app, check)
        except Stopped:
            log.debug("sweep given up")
        except ConsoleError as error:
            log.warning("cache not swept: %s", error.code)

    thread = threading.Thread(target=sweep, name="sweep", daemon=True)
    thread.start()
    if app.visits is not None:
        app.visits.begin()
    try:
        yield
    finally:
        ending.set()
        thread.join()
