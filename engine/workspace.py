"""One project folder, opened, with all that belongs to it joined: what window, server, command line and a script use.

It plans a run, edits, pays nothing twice, takes in what arrived before a kill, saves and sweeps. `tasks` and `dataset`
do not know each other; here they meet. Only one workspace at a time may have a folder open, in whatever process.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from engine.config import ApiConfig, ApiMode, Delivery
from engine.data_folder import hold
from engine.dataset.fsync_queue import Flusher
from engine.dataset.measurement_cache import MeasurementCache
from engine.dataset.naming import SaveRule, check_rule, keeps_folders, name_context
from engine.dataset.save import SaveItem, SaveReport, check_output, save_all
from engine.errors import NotFound, Problem, StorageFailed
from engine.files import storage_failure
from engine.images.cache import Cache
from engine.images.thumbnails import Thumbnails
from engine.keys import borrow_secrets, doors_of, without_placeholders
from engine.models import EditJob, EditLimits, EditOutcome, Result, Task, TaskMatch, TaskStatus
from engine.paths import common_folder, folders_below
from engine.shapes import learn_shapes
from engine.tasks.arrivals import Arrivals
from engine.tasks.at_providers import AtProviders
from engine.tasks.attempt import Attempts, Delivered, LocalAttempts
from engine.tasks.attempt_alone import Left
from engine.tasks.batch import Batch
from engine.tasks.batch_orders import SETTLE_SECONDS, BatchOrders
from engine.tasks.costs import Costs, Prices
from engine.tasks.edit import (
    Collected,
    EditTools,
    Submitted,
    arrived_outcome,
    batch_kind,
    collect_job,
    run_edit,
)
from engine.tasks.gate import CallGate
from engine.tasks.hooks import RunningTask, TaskHook
from engine.tasks.ledger import Ledger
from engine.tasks.log import EditLog
from engine.tasks.plan import ledger_key
from engine.tasks.planning import Plan, Planner
from engine.tasks.provider_batches import ProviderBatches
from engine.tasks.recovery import adopt, check_pictures, give, lost_rows, was_damaged
from engine.tasks.remote import Remote
from engine.tasks.remote_book import RemoteBook
from engine.tasks.store import Store
from engine.tasks.takeover import take_over
from engine.upstream.answer_room import ANSWERS
from engine.upstream.bills import Price
from engine.upstream.cancel import CancelToken
from engine.upstream.failure import status_failure
from engine.upstream.forms import LearnedForms
from engine.upstream.jobs import PLAIN, cancel_request
from engine.upstream.netguard import NetPolicy
from engine.upstream.parameters import RefusedParameters
from engine.upstream.recipe import read_recipe
from engine.upstream.transport import Transport

DATABASE = "tasks.db"
log = logging.getLogger(__name__)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a workspace may do. ``cache_ttl`` in seconds, ``cache_max_bytes`` for pictures that no task names.
    ``settle_seconds``: see `batch_orders.SETTLE_SECONDS`."""

    network: NetPolicy = NetPolicy()
    max_redirects: int = 3
    edit: EditLimits = EditLimits()
    cache_ttl: float = 168 * 3600.0
    cache_max_bytes: int = 2 * 1024**3
    settle_seconds: float = SETTLE_SECONDS


class Workspace:
    """Open until ``close()``; safe to use from many threads. ``problems``: what was found damaged or taken over."""

    def __init__(
        self,
        folder: Path,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        ledger_folder: Path | None = None,
        connections_folder: Path | None = None,
        held: bool = False,
        demo: bool = False,
        attempts: Attempts | None = None,
        obstacle: Callable[[], Problem | None] = lambda: None,
        prices: Sequence[Price] = (),
        read_old_state: Callable[[], Mapping[str, Any]] = dict,
        key_holders: Callable[[], Iterable[ApiConfig]] = tuple,
        on_change: Callable[[], None] = lambda: None,
        on_looking: Callable[[int | None], None] = lambda _: None,
        on_problem: Callable[[Sequence[Problem]], None] = lambda _: None,
    ) -> None:
        """``ledger_folder``: where paid answers are noted, ``connections_folder``: where what was learned of APIs, if
        not in the folder. ``held``: the caller has its lock. ``read_old_state`` is called once the
        folder is ours and gives a state.json in which the tool before may have left tasks; ``took_over`` says if.
        ``attempts``: who makes calls in place of our own threads, as a cluster does; ``obstacle``: why none can be made
        now. ``prices``: the table that comes with the program. ``key_holders``: configurations whose key may go where
        a job of an earlier program is asked for."""
        learn_shapes()
        self.folder = folder
        self.limits = limits
        self._demo = demo
        self._attempts = attempts
        self._obstacle = obstacle
        self._on_problem = on_problem
        self._key_holders = key_holders
        self._lent = ApiConfig()  # what `run` was last given
        with contextlib.ExitStack() as opened:
            if not held:
                opened.callback(hold(made(folder)).release)
            ANSWERS.spool.folder = folder
            old_state = dict(read_old_state())
            self.cache = Cache(folder / "cache")
            self._open_books(opened, ledger_folder or folder / "answers", prices)
            self.thumbnails = Thumbnails(folder / "thumbnails", limits.cache_max_bytes // 4)
            self.store = Store(folder / DATABASE, on_change=on_change)
            opened.callback(self.store.close)
            self.arrivals = Arrivals(folder / "arrivals.log")
            opened.callback(self.arrivals.close)
            lost = self._recover(expects_old_tasks=bool(old_state.get("tasks")))
            self.transport = Transport(limits.network, max_redirects=limits.max_redirects)
            opened.callback(self.transport.close)
            taken_over = take_over(old_state, folder, self.store, self.cache, limits.edit)
            self.took_over = bool(taken_over)
            self.problems: list[Problem] = [
                *self.store.problems, *self.arrivals.problems, *lost, *self.cache.problems, *self.ledger.problems,
                *self.costs.problems, *taken_over,
            ]  # fmt: skip
            books, largest = (self.store, self.cache, self.ledger), limits.edit.max_source_bytes
            self.planner = Planner(*books, max_source_bytes=largest, demo=demo, progress=on_looking)
            self._open_calls(opened, connections_folder or folder, on_change)
            self.measurement_cache = MeasurementCache(folder / "measures.db")
            opened.callback(self.measurement_cache.close)
            self._opened = opened.pop_all()

    def _open_books(self, opened: contextlib.ExitStack, folder: Path, prices: Sequence[Price]) -> None:
        """What was paid: the answers, and how much; both are shared by all projects."""
        self.ledger = Ledger(folder)
        opened.callback(self.ledger.close)
        self.costs = Costs(folder / "costs.db", str(self.folder), Prices(folder / "prices.json", prices))
        opened.callback(self.costs.close)

    def _open_calls(self, opened: contextlib.ExitStack, learned: Path, on_change: Callable[[], None]) -> None:
        """What calls are made with, and what waits for jobs at providers, or for the disk."""
        self._planned: list[str] = []  # fingerprints of what was started last
        self.flusher = Flusher(self._not_on_disk)
        opened.callback(self.flusher.close)
        self.parameters = RefusedParameters(learned / "refused_parameters.json")
        self.forms = LearnedForms(learned / "forms.json")
        self.remote = self._open_remote(on_change)
        opened.callback(self.remote.close)
        self.batch = Batch(
            self.store,
            self._edit,
            limits=self.limits.edit,
            hooks=[_LedgerHook(self.note_paid), _BatchHook(self.remote.orders)],
            on_change=on_change,
            remote=self.remote,
            learned=self.forms,
            costs=self.costs,
            obstacle=self._obstacle,
        )
        opened.callback(self.batch.close)
        self.remote.jobs.restore(self._has_arrived)
        self.remote.batches.restore()

    def _open_remote(self, on_change: Callable[[], None]) -> AtProviders:
        book = RemoteBook(self.folder / "remote.db", time.time())
        self.problems += book.problems

        def hold(ids: list[str]) -> list[str]:
            self.store.set_status(ids, TaskStatus.PROCESSING)
            return self.store.ids(TaskMatch(ids=tuple(ids)))

        jobs = Remote(
            book,
            self._collect,
            self._keep_collected,
            hold,
            self._with_secrets,
            cancel=self._give_up,
            on_change=on_change,
        )
        batches = ProviderBatches(
            book,
            self.transport,
            self._collect,
            self._keep_delivered,
            hold,
            self._with_secrets,
            set_aside=lambda task_id, config: self.costs.hold_again(task_id, config, batch_kind(config)),
            tell=lambda problem: self._on_problem([problem]),
            on_change=on_change,
            settle=self.limits.settle_seconds,
        )
        orders = BatchOrders(
            self.folder / "batches", book, self.transport, batches, self._keep_delivered,
            settle=self.limits.settle_seconds,
        )  # fmt: skip
        return AtProviders(book, jobs, batches, orders)

    def close(self) -> None:
        """Stop what runs, keep what arrived, let go of the folder."""
        self._opened.close()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- running ---

    def plan(self, path: str, config: ApiConfig, **how: Any) -> Plan:
        """What a run of a file or folder would ask, and what is answered already; see `Planner.plan`."""
        return self.planner.plan(path, config, **how)

    def start(self, plan: Plan, config: ApiConfig) -> int:
        """Run a plan; how many tasks are asked for. Returns at once, `Busy` while a batch runs."""
        self._planned = [item.fingerprint for item in plan.items]
        return self.batch.start_with(lambda: self.planner.carry_out(plan, self.batch.is_busy), config)

    def run(self, path: str, config: ApiConfig) -> list[Task]:
        """Edit a file or folder and wait for the end; every task of the project. What was paid for is not asked again,
        and what an earlier run left unfinished is asked for."""
        self._lent = config
        self.start(self.plan(path, config), config)
        self.wait_idle()
        return list(self.store.tasks(TaskMatch()))

    @property
    def planned(self) -> tuple[str, ...]:
        """Ids of the tasks of the plan that was started last, those that were answered before included."""
        return tuple(task.id for task in self.store.find_prints(self._planned).values())

    def note_paid(self, outcome: EditOutcome) -> None:
        """Into the ledger, if the answer is whole."""
        if outcome.status is TaskStatus.DONE:
            key = ledger_key(outcome.request_record, demo=self._demo)
            sources = outcome.source_hash.split()
            self.ledger.record(key, sources, outcome.source_size, outcome.images, self.cache, outcome.at)

    def take_in(self, left: Iterable[Left]) -> int:
        """Give tasks that were found unfinished the answers that came for them elsewhere, and note in the ledger what
        is whole, so that no task pays for it again; how many. StorageFailed: what was not taken in stays where it is.
        """
        count = 0
        for one in left:
            outcome = arrived_outcome(one, self.cache)
            if outcome.request_record:
                self.note_paid(outcome)
            with contextlib.suppress(NotFound):  # its task was deleted: the ledger has it
                count += give(outcome, self.store)
        return count

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Block until nothing runs and nothing is waited for at a provider; False when ``timeout`` seconds passed."""
        return self.batch.wait_idle(timeout) and self.remote.wait_idle(timeout)

    def _edit(self, job: EditJob, cancel: CancelToken, edit_log: EditLog, gate: CallGate) -> EditOutcome:
        if self.remote.resume(job.task_id):  # paid for already: it is collected
            return EditOutcome(job.task_id, TaskStatus.PROCESSING, [], 0)
        if job.config.delivery is Delivery.BATCH:
            return self.remote.orders.add(job, self._tools(gate), cancel, edit_log)
        return run_edit(job, self._tools(gate, self._attempts), cancel, edit_log)

    def _tools(self, gate: CallGate, attempts: Attempts | None = None) -> EditTools:
        attempts = attempts or LocalAttempts(self.transport)
        keep = (self.remote.jobs.submit, self.arrivals.note, self.parameters, self.costs)
        return EditTools(attempts, self.cache, gate, *keep)

    # --- jobs at providers ---

    def _collect(
        self, submitted: Submitted, cancel: CancelToken, edit_log: EditLog, delivered: Delivered | None = None
    ) -> Collected:
        return collect_job(submitted, self.limits.edit, self._tools(CallGate(1, 1.0)), cancel, edit_log, delivered)

    def _keep_collected(self, outcome: EditOutcome) -> None:
        self.batch.collected(outcome)

    def _keep_delivered(self, outcome: EditOutcome) -> None:
        """What a batch brought, for a task that may have been deleted meanwhile: it is paid for all the same."""
        self.costs.let_go(outcome.task_id)
        try:
            if outcome.images:
                self.batch.collected(outcome)
            else:
                self.batch.record(outcome)
        except NotFound:
            log.info("task %s is there no more", outcome.task_id)
            self.note_paid(outcome)

    def _has_arrived(self, task_id: str) -> bool:
        try:
            return self.store.task(task_id).status in (TaskStatus.DONE, TaskStatus.PARTIAL_SUCCESS)
        except NotFound:
            return True

    def _with_secrets(self, config: ApiConfig) -> ApiConfig:
        """What a job of an earlier program is asked for with: the secrets that may go there, none of which is kept with
        the job."""
        known = [door for holder in (self._lent, *self._key_holders()) for door in doors_of(holder)]
        return without_placeholders(borrow_secrets(config, known))

    def _give_up(self, submitted: Submitted) -> None:
        config = submitted.config
        recipe = read_recipe(config.recipe) if config.mode is ApiMode.RECIPE else PLAIN
        for ticket in (submitted.ticket, *submitted.ticket.others):
            with self.transport.send(
                cancel_request(ticket, recipe, config),
                proxy=config.proxy,
                unlocked=config.unlock_local_api_url,
                timeout=config.timeout_seconds,
                cancel=CancelToken(),
            ) as response:
                if response.status >= 400:
                    raise status_failure(response.status, response.headers, response.head(65536), time.time())

    # --- saving ---

    def save(
        self,
        output_dir: str,
        rule: SaveRule = SaveRule(),  # noqa: B008 - frozen
        match: TaskMatch = TaskMatch(),  # noqa: B008 - frozen
        *,
        unsaved_only: bool = False,
    ) -> tuple[SaveReport, Path]:
        """Save the results of matching tasks into a folder; ``unsaved_only`` leaves out what lies there already."""
        check_rule(rule)
        folder = check_output(output_dir).absolute()
        report = save_all(self._items(match, rule, folder if unsaved_only else None), rule, folder)
        self.store.note_saved([(result_id, saved.image) for result_id, saved in report.saved])
        for place, files in itertools.groupby(sorted(report.files, key=os.path.dirname), os.path.dirname):
            self.flusher.begin(list(files), Path(place))
        return report, folder

    def save_item(self, task: Task, place: int, global_index: int, root: str = "") -> SaveItem:
        """The ``place``-th result (from 0) of a task as something to save. ``root``: see `source_root`."""
        result = task.results[place]
        folder = folders_below(task.source_path, root)
        context = name_context(task.source_name, task.id, result.id, place + 1, global_index, folder)
        return SaveItem(context, self.cache.path(result.hash, result.extension), result.extension)

    def source_root(self, rule: SaveRule) -> str:
        """The folder that all sources lie in, for a rule that keeps the folders below it; else ""."""
        return common_folder(self.store.source_folders()) if keeps_folders(rule) else ""

    def _items(self, match: TaskMatch, rule: SaveRule, saved_to: Path | None) -> Iterator[SaveItem]:
        number, root = 0, self.source_root(rule)
        for task in self.store.tasks(match):
            for place, result in enumerate(task.results):
                if result.deleted or (rule.only_selected and not result.selected):
                    continue
                number += 1
                if saved_to is not None and _lies_in(result, saved_to):
                    if rule.only_first_if_multiple:
                        break
                    continue
                yield self.save_item(task, place, number, root)

    def _not_on_disk(self, failure: StorageFailed, files: Sequence[str]) -> None:
        log.warning("%d saved files may not be on disk: %s", len(files), failure)
        self.store.forget_saved(files)
        self._on_problem([failure.problem])

    # --- looking after ---

    def sweep(self, check: Callable[[], None] = lambda: None) -> int:
        """Look after the cached pictures: tell what is missing, remove those that no task names and that are old, or
        too many; how many. ``check`` is called often and may raise."""
        self._on_problem(check_pictures(self.store, self.cache, check))
        keep_all = was_damaged(self.folder / DATABASE)  # files without a task may still be somebody's

        def keep(digest: str) -> bool:
            check()
            return keep_all or self.store.uses_hash(digest)

        removed = self.cache.sweep(keep, self.limits.cache_ttl, self.limits.cache_max_bytes, time.time())
        log.info("cache swept: %d files removed", removed)
        return removed

    def _recover(self, *, expects_old_tasks: bool) -> Sequence[Problem]:
        """Take in what arrived before an earlier program was killed; say where rows were lost."""
        recovered = adopt(self.arrivals, self.store, self.cache)
        for outcome in recovered.outcomes:
            self.note_paid(outcome)
        if expects_old_tasks:  # not taken over yet: their pictures are expected
            return []
        return lost_rows(self.folder / DATABASE, recovered, self.store, self.cache)


class _BatchHook(TaskHook):
    """What is gathered for a provider's batch goes when its run has no more, that of a single retry at once."""

    def __init__(self, orders: BatchOrders) -> None:
        self._orders = orders

    def handed_over(self, task: RunningTask) -> None:
        if task.single:
            self._orders.flush(task.cancel)

    def drained(self, cancel: CancelToken, *, stopped: bool) -> None:
        if stopped:
            self._orders.drop()
        else:
            self._orders.flush(cancel)


class _LedgerHook(TaskHook):
    """What is paid for is in the ledger before the task says done."""

    def __init__(self, note_paid: Callable[[EditOutcome], None]) -> None:
        self._note_paid = note_paid

    def after(self, task: RunningTask, outcome: EditOutcome) -> None:  # noqa: ARG002 - the hook's signature
        self._note_paid(outcome)


def made(folder: Path) -> Path:
    """The folder, created where missing; StorageFailed."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise storage_failure(error, folder) from error
    return folder


def _lies_in(result: Result, folder: Path) -> bool:
    if result.saved is None:
        return False
    file = Path(result.saved)
    try:
        return file.is_relative_to(folder) and file.stat().st_size == result.size
    except OSError:
        return False
