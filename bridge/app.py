"""The application object: opens all that the use cases work with, closes it again, and tells who listens of changes."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bridge.environment import Environment
from bridge.jobs import Jobs
from bridge.messages import Messages
from bridge.preferences import Preferences
from bridge.vision import Vision
from engine.config import ApiConfig
from engine.data_folder import close_to_others
from engine.dataset.findings import FindingKind
from engine.dataset.preflight import Preflight
from engine.errors import Problem
from engine.files import storage_failure
from engine.presets import PresetBook
from engine.upstream.cancel import CancelToken
from engine.workspace import Limits, Workspace

log = logging.getLogger(__name__)


class App:
    """A workspace with what people keep beside it: preferences, presets, messages, jobs; and who listens of changes."""

    def __init__(
        self,
        folder: Path,
        environment: Environment,
        messages: Messages,
        *,
        version: str,
        demo: bool = False,
        first_config: ApiConfig | None = None,
        ledger_folder: Path | None = None,
    ) -> None:
        self.folder = folder
        self.environment = environment
        self.messages = messages
        self.version = version
        self.demo = demo
        self.start_lock = threading.Lock()
        self.settings_revision = 0
        self.sample_path: str | None = None  # where the demo's pictures lie
        self.inspected: list[str] = []  # first names of the folder looked at last, for examples of saved names
        self.looked_at: int | None = None  # files, while a folder is looked through
        self._listeners: list[Callable[[], None]] = []
        self._connection_test = CancelToken()
        self.notices: list[Problem] = []

        def read_state() -> dict[str, Any]:
            self.preferences = Preferences(folder / "state.json")
            if first_config is not None and not (folder / "state.json").exists():
                self.preferences.set_config(first_config)
            self.presets = PresetBook(folder / "presets.json")
            return self.preferences.stored

        with contextlib.ExitStack() as opened:
            self.workspace = opened.enter_context(
                Workspace(
                    folder,
                    limits=_limits(environment),
                    ledger_folder=ledger_folder,
                    demo=demo,
                    read_old_state=read_state,
                    key_holders=lambda: (self.preferences.config, *self.presets.all().values()),
                    on_change=self.changed,
                    on_looking=self.looking,
                    on_problem=self.notify,
                )
            )
            self._share(self.workspace)
            self.notices += [*self.preferences.problems, *self.presets.problems, *self.workspace.problems]
            if self.workspace.took_over:
                self._keep_old_state()
            self.preflight: tuple[int, Preflight] | None = None
            self.found_kinds: Mapping[str, Sequence[FindingKind]] = {}  # by result id, of the preflight before
            self.jobs = Jobs(on_change=self.changed)
            opened.callback(self.jobs.close)
            self._open_vision(opened)
            self.batch.add_hook(self.vision.alarm)
            opened.callback(self.batch.close)  # before what its hooks speak to
            self._opened = opened.pop_all()

    def _share(self, workspace: Workspace) -> None:
        """The parts that use cases speak of."""
        self.cache, self.ledger, self.thumbnails = workspace.cache, workspace.ledger, workspace.thumbnails
        self.store, self.batch, self.transport = workspace.store, workspace.batch, workspace.transport
        self.flusher, self.measurement_cache = workspace.flusher, workspace.measurement_cache
        self.remote, self.sweep, self.wait_idle = workspace.remote, workspace.sweep, workspace.wait_idle

    def _open_vision(self, opened: contextlib.ExitStack) -> None:
        """What judges results, writes captions and keeps trials."""
        self.vision = Vision(
            self.folder,
            self.store,
            self.cache,
            self.ledger,
            self.transport,
            edits=lambda: self.preferences.config,
            hold=self._hold,
            on_change=self.changed,
        )
        opened.callback(self.vision.close)
        self.notices += self.vision.problems
        opened.callback(self.listen(self.vision.stirred))
        close_to_others(self.folder)  # what was made just now as well

    def _hold(self, problem: Problem) -> None:
        self.batch.hold(problem)

    def close(self) -> None:
        """Stop what runs, keep what arrived, let go of the folder."""
        self._opened.close()

    def __enter__(self) -> App:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin_connection_test(self) -> CancelToken:
        """The token of a test that begins; the one before it, if it still runs, ends."""
        token, before = CancelToken(), self._connection_test
        self._connection_test = token
        before.cancel()
        return token

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` after each change, from whichever thread made it; returns how to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def notify(self, problems: Sequence[Problem]) -> None:
        """Tell the person what came up beside what they asked for."""
        if problems:
            self.notices += problems
            self.settings_changed()  # pages then ask for the state, which has the notices

    def settings_changed(self) -> None:
        """Configuration, presets, save rule or notices are other ones now."""
        self.settings_revision += 1
        self.changed()

    def looking(self, files: int | None) -> None:
        """A folder is being looked through and so many files were seen so far; None at its end."""
        self.looked_at = files
        self.changed()

    def changed(self) -> None:
        """Something that people see has changed."""
        for listener in list(self._listeners):
            listener()

    def found(self, report: Preflight) -> None:
        """Keep the findings of a preflight until the next."""
        self.preflight = int(time.time()), report
        self.found_kinds = report.by_pair
        self.changed()

    def _keep_old_state(self) -> None:
        """Its tasks were taken over: state.json as the tool before left it is kept under another name."""
        kept = self.folder / "state.json.before-takeover"
        try:
            shutil.copy2(self.folder / "state.json", kept)
            kept.chmod(0o600)  # it holds the key
        except OSError as error:
            raise storage_failure(error, kept) from error
        self.preferences.rewrite()


def _limits(environment: Environment) -> Limits:
    return Limits(
        network=environment.network,
        max_redirects=environment.max_redirects,
        edit=environment.limits,
        cache_ttl=environment.cache_ttl,
        cache_max_bytes=environment.cache_max_bytes,
    )
