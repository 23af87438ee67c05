"""The application object: opens all that the use cases work with, closes it again, and tells who listens of changes."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bridge.environment import Environment
from bridge.jobs import Jobs
from bridge.messages import Messages
from bridge.preferences import Preferences
from bridge.vision import Vision
from engine.config import ApiConfig, ApiMode, may_lend_key
from engine.data_folder import close_to_others, hold
from engine.dataset.findings import FindingKind
from engine.dataset.fsync_queue import Flusher
from engine.dataset.measurement_cache import MeasurementCache
from engine.dataset.preflight import Preflight
from engine.errors import NotFound, Problem, StorageFailed
from engine.files import storage_failure
from engine.images.cache import Cache
from engine.images.thumbnails import Thumbnails
from engine.models import EditJob, EditOutcome, TaskStatus
from engine.presets import PresetBook
from engine.tasks.arrivals import Arrivals
from engine.tasks.attempt import LocalAttempts
from engine.tasks.batch import Batch
from engine.tasks.edit import Collected, EditTools, Submitted, collect_job, run_edit
from engine.tasks.gate import CallGate
from engine.tasks.ledger import Ledger
from engine.tasks.log import EditLog
from engine.tasks.plan import ledger_key
from engine.tasks.recovery import Recovered, adopt, check_pictures, lost_rows, was_damaged
from engine.tasks.remote import Remote
from engine.tasks.store import Store
from engine.tasks.takeover import take_over
from engine.upstream.cancel import CancelToken
from engine.upstream.failure import status_failure
from engine.upstream.forms import LearnedForms
from engine.upstream.jobs import PLAIN, cancel_request
from engine.upstream.parameters import RefusedParameters
from engine.upstream.recipe import read_recipe
from engine.upstream.transport import Transport

log = logging.getLogger(__name__)


class App:
    """One data folder, opened. Only one App at a time may have it open, in whatever process."""

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
        with contextlib.ExitStack() as opened:
            opened.callback(hold(folder).release)
            self.preferences = Preferences(folder / "state.json")
            if first_config is not None and not (folder / "state.json").exists():
                self.preferences.set_config(first_config)
            self.presets = PresetBook(folder / "presets.json")
            self.cache = Cache(folder / "cache")
            self.ledger = Ledger(ledger_folder or folder / "answers")
            opened.callback(self.ledger.close)
            self.thumbnails = Thumbnails(folder / "thumbnails", environment.cache_max_bytes // 4)
            self.store = Store(folder / "tasks.db", on_change=self.changed)
            opened.callback(self.store.close)
            self.arrivals = Arrivals(folder / "arrivals.log")
            opened.callback(self.arrivals.close)
            recovered = self._recover()
            self.transport = Transport(environment.network, max_redirects=environment.max_redirects)
            opened.callback(self.transport.close)
            self.notices: list[Problem] = [
                *self.preferences.problems,
                *self.presets.problems,
                *self.store.problems,
                *self.arrivals.problems,
                *self._lost_rows(recovered),
                *self.cache.problems,
                *self.ledger.problems,
                *self._take_over(),
            ]
            self._open_calls(opened)
            self._open_sets(opened)
            self._opened = opened.pop_all()

    def _open_calls(self, opened: contextlib.ExitStack) -> None:
        """What calls are made with, and what waits for jobs at providers."""
        self.parameters = RefusedParameters(self.folder / "refused_parameters.json")
        self.forms = LearnedForms(self.folder / "forms.json")
        self.remote = Remote(
            self.folder / "remote.db",
            self._collect,
            self._keep_collected,
            lambda ids: self.store.set_status(ids, TaskStatus.PROCESSING),
            self._key_for,
            cancel=self._give_up,
            on_change=self.changed,
        )
        opened.callback(self.remote.close)
        self._open_vision(opened)
        self.batch = Batch(
            self.store,
            self._run,
            limits=self.environment.limits,
            hooks=[self.vision.alarm],
            on_change=self.changed,
            elsewhere=self.remote,
            learned=self.forms,
        )
        opened.callback(self.batch.close)
        self.notices += self.remote.problems
        self.remote.restore(self._has_arrived)

    def _open_sets(self, opened: contextlib.ExitStack) -> None:
        """What saves and training sets are made with."""
        self.flusher = Flusher(self._not_on_disk)
        opened.callback(self.flusher.close)
        self.measurement_cache = MeasurementCache(self.folder / "measures.db")
        opened.callback(self.measurement_cache.close)
        self.preflight: tuple[int, Preflight] | None = None
        self.found_kinds: Mapping[str, Sequence[FindingKind]] = {}  # by result id, of the preflight before
        self.jobs = Jobs(on_change=self.changed)
        opened.callback(self.jobs.close)

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

    def sweep(self, check: Callable[[], None] = lambda: None) -> int:
        """Look after the cached pictures: tell what is missing, remove those that no task names and that are old, or
        too many; how many. ``check`` is called often and may raise."""
        self.notify(check_pictures(self.store, self.cache, check))
        keep_all = was_damaged(self.folder / "tasks.db")  # files without a task may still be somebody's

        def keep(digest: str) -> bool:
            check()
            return keep_all or self.store.uses_hash(digest)

        removed = self.cache.sweep(
            keep,
            self.environment.cache_ttl,
            self.environment.cache_max_bytes,
            time.time(),
        )
        log.info("cache swept: %d files removed", removed)
        return removed

    def _not_on_disk(self, failure: StorageFailed, files: Sequence[str]) -> None:
        log.warning("%d saved files may not be on disk: %s", len(files), failure)
        self.store.forget_saved(files)
        self.notify([failure.problem])

    def _recover(self) -> Recovered:
        """Take in what arrived before an earlier program was killed."""
        recovered = adopt(self.arrivals, self.store, self.cache)
        for outcome in recovered.outcomes:
            self._enter(outcome)
        return recovered

    def _lost_rows(self, recovered: Recovered) -> Sequence[Problem]:
        if self.preferences.stored.get("tasks"):  # not taken over yet: its pictures are expected
            return []
        return lost_rows(self.folder / "tasks.db", recovered, self.store, self.cache)

    def _take_over(self) -> list[Problem]:
        """Tasks of the tool that came before, once; its state.json is kept under another name."""
        found = take_over(self.preferences.stored, self.folder, self.store, self.cache, self.environment.limits)
        if found:
            kept = self.folder / "state.json.before-takeover"
            try:
                shutil.copy2(self.folder / "state.json", kept)
                kept.chmod(0o600)  # it holds the key
            except OSError as error:
                raise storage_failure(error, kept) from error
            self.preferences.rewrite()
        return found

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Block until nothing runs and nothing is waited for at a provider; False when ``timeout`` seconds passed."""
        return self.batch.wait_idle(timeout) and self.remote.wait_idle(timeout)

    def _run(self, job: EditJob, cancel: CancelToken, edit_log: EditLog, gate: CallGate) -> EditOutcome:
        if self.remote.resume(job.task_id):  # paid for already: it is collected
            return EditOutcome(job.task_id, TaskStatus.PROCESSING, [], 0)
        outcome = run_edit(job, self._tools(gate), cancel, edit_log)
        self._enter(outcome)
        return outcome

    def _tools(self, gate: CallGate) -> EditTools:
        attempts = LocalAttempts(self.transport)
        return EditTools(attempts, self.cache, gate, self.remote.submit, self.arrivals.note, self.parameters)

    def _collect(self, submitted: Submitted, cancel: CancelToken, edit_log: EditLog) -> Collected:
        return collect_job(submitted, self.environment.limits, self._tools(CallGate(1, 1.0)), cancel, edit_log)

    def _keep_collected(self, outcome: EditOutcome) -> None:
        self.batch.record(outcome)
        self._enter(outcome)

    def _has_arrived(self, task_id: str) -> bool:
        try:
            return self.store.task(task_id).status in (TaskStatus.DONE, TaskStatus.PARTIAL_SUCCESS)
        except NotFound:
            return True

    def _key_for(self, config: ApiConfig) -> str:
        """The stored key that may go where a job of an earlier program is asked for; "" for none."""
        known = (self.preferences.config, *self.presets.all().values())
        return next((stored.api_key for stored in known if stored.api_key and may_lend_key(stored, config)), "")

    def _give_up(self, submitted: Submitted) -> None:
        config = submitted.config
        recipe = read_recipe(config.recipe) if config.mode is ApiMode.RECIPE else PLAIN
        with self.transport.send(
            cancel_request(submitted.ticket, recipe, config),
            proxy=config.proxy,
            unlocked=config.unlock_local_api_url,
            timeout=config.timeout_seconds,
            cancel=CancelToken(),
        ) as response:
            if response.status >= 400:
                raise status_failure(response.status, response.headers, response.head(65536), time.time())

    def _enter(self, outcome: EditOutcome) -> None:
        if outcome.status is TaskStatus.DONE:
            key = ledger_key(outcome.request_record, demo=self.demo)
            sources = outcome.source_hash.split()
            self.ledger.record(key, sources, outcome.source_size, outcome.images, self.cache, time.time())
