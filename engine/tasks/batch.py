"""Many edits at once: a queue, and workers that run one task after the other. The only writer of task states.

A worker is ``while task := self._next(): self._work(task)``. Threads are made as tasks find room, and end when there is
nothing for them; the last one of a run waits where the run is paused, and winds it down. What else belongs to a task
(the ledger, for one) is a `TaskHook` around it; that a call may be made on another machine is the affair of `attempt`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from engine.config import ApiConfig
from engine.errors import Busy, Code, NotFound, Problem, Stopped, StorageFailed
from engine.models import EditJob, EditLimits, EditOutcome, Task, TaskStatus
from engine.money import plain
from engine.tasks.breaker import Breaker
from engine.tasks.costs import Costs
from engine.tasks.gate import CallGate, DoorInfo, GateInfo
from engine.tasks.hooks import RemoteTasks, RunningTask, TaskHook
from engine.tasks.log import EditLog
from engine.tasks.meter import Live, Meter, RunInfo
from engine.tasks.store import Store
from engine.upstream.cancel import CancelToken
from engine.upstream.forms import LearnedForms

MAX_SINGLE_RETRIES = 10
_STORE_RETRY_SECONDS = 2.0
_PAUSE_SHOWN_SECONDS = 2.0  # shorter ones are part of the normal pace
_FAULT = Problem(Code.INTERNAL)

T = TypeVar("T")
Runner = Callable[[EditJob, CancelToken, EditLog, CallGate], EditOutcome]
log = logging.getLogger(__name__)


class _Run:
    """A batch under way: what it runs with. ``preparing``: its tasks are still being put into the list."""

    def __init__(self, config: ApiConfig, started_at: int, tick: float) -> None:
        self.config = config
        self.meter = Meter(0, started_at, tick)
        self.room = config.concurrency_limit
        self.breaker = Breaker(self.room)
        self.jobs = Breaker(config.concurrency_limit)  # of what is collected: being taken on is no success there
        self.preparing = False
        self.paused: Problem | None = None
        self.stopping = False
        self.ending = False


class Batch:
    """Runs tasks of a store. Thread-safe; ``close()`` ends every call and waits for the workers."""

    def __init__(
        self,
        store: Store,
        runner: Runner,
        *,
        limits: EditLimits,
        hooks: Sequence[TaskHook] = (),
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        on_change: Callable[[], None] = lambda: None,
        remote: RemoteTasks | None = None,
        learned: LearnedForms | None = None,
        costs: Costs | None = None,
        obstacle: Callable[[], Problem | None] = lambda: None,
    ) -> None:
        """``obstacle``: why no call can be made at the moment, wherever calls are made; they wait."""
        self._obstacle = obstacle
        self._store = store
        self._costs = costs or Costs()
        self._remote = remote
        self._learned = learned
        self._runner = runner
        self._limits = limits
        self._hooks = list(hooks)
        self._clock = clock
        self._monotonic = monotonic
        self._on_change = on_change
        self._changed = threading.Condition()
        self._queue: deque[str] = deque()
        self._queued: set[str] = set()
        self._singles: dict[str, ApiConfig] = {}  # of those in the queue, the ones that run beside the batch
        self._running: dict[str, RunningTask] = {}
        self._in_run = 0  # of those that run, the batch's
        self._run: _Run | None = None
        self._last: _Run | None = None  # the run before, for its figures
        self._stop_requested = False
        self._starts = 0
        self._workers = 0
        self._keeper = False  # a worker waits for a paused run to go on
        self._cancel = CancelToken()
        self._closing = threading.Event()
        self._paused: Problem | None = None
        self._gate = CallGate(MAX_SINGLE_RETRIES, 1.0)

    def add_hook(self, hook: TaskHook) -> None:
        """From now on this one stands around tasks as well."""
        self._hooks.append(hook)

    # --- what may be asked ---

    @property
    def running(self) -> bool:
        """Whether a batch (not a single retry) is prepared, runs, or winds down after a stop."""
        return self._run is not None

    def start(self, ids: Sequence[str], config: ApiConfig) -> None:
        """Run these pending tasks in this order; Busy while a batch runs. Returns at once."""
        self.start_with(lambda: ids, config)

    def start_with(self, prepare: Callable[[], Sequence[str]], config: ApiConfig) -> int:
        """Run the tasks that ``prepare`` puts into the store, in the order of the ids that it gives; how many.

        The batch counts as running from before they are there, so that nobody sees them wait for nothing. What
        ``prepare`` raises ends it.
        """
        with self._changed:
            if self._run is not None:
                raise Busy(Code.BATCH_RUNNING)
            run = self._begin_run(config)
            run.preparing = True
        ids: Sequence[str] = ()
        try:
            ids = prepare()
        finally:
            with self._changed:
                run.preparing = False
                self._add(run, ids)
                if run.meter.total:
                    self._spawn()  # one at least: it winds down a run that was stopped meanwhile
                else:
                    self._run = None
                    self._costs.end_run()
                    self._changed.notify_all()
            self._on_change()
        return len(ids)

    def enqueue(
        self, ids: Sequence[str], config: ApiConfig, before: Callable[[list[str]], None] = lambda _: None
    ) -> int:
        """Ask again for tasks, earlier results kept: into the running batch, else as a new one; how many.

        ``before`` gets those that will run, once that is sure.
        """
        # The lock is paused over the write, so that asking twice at the same moment pays once.
        with self._changed:
            if self._run is not None and self._run.stopping:
                raise Busy(Code.BATCH_RUNNING)
            ids = [task_id for task_id in dict.fromkeys(ids) if not self.is_busy(task_id)]
            if not ids:
                return 0
            before(ids)
            self._starts += 1
            self._store.set_status(ids, TaskStatus.PENDING)
            self._add(self._run or self._begin_run(config), ids)
        self._on_change()
        return len(ids)

    def retry(self, task_id: str, config: ApiConfig, before: Callable[[], None] = lambda: None) -> None:
        """Run one task beside whatever runs; Busy beyond ten, or when it runs already.

        ``before`` is called once it is sure that the task will run.
        """
        with self._changed:
            if self.is_busy(task_id):
                raise Busy(Code.TASK_RUNNING, id=task_id)
            if self.single_retries >= MAX_SINGLE_RETRIES:
                raise Busy(Code.TOO_MANY_RETRIES, limit=MAX_SINGLE_RETRIES)
            if self._run is not None and self._run.stopping:
                raise Busy(Code.BATCH_RUNNING)
            if self._is_idle():
                self._gate = CallGate(MAX_SINGLE_RETRIES, config.retry_interval, learned=self._learned, config=config)
            self._renew_cancel()
            self._starts += 1
            self._singles[task_id] = config
            self._queued.add(task_id)
        try:
            before()
            if not self._store.set_status([task_id], TaskStatus.PENDING):
                raise NotFound(Code.TASK_UNKNOWN, id=task_id)
        except BaseException:
            with self._changed:
                del self._singles[task_id]
                self._queued.discard(task_id)
                self._changed.notify_all()
            raise
        with self._changed:
            self._queue.appendleft(task_id)
            self._summon()
        self._on_change()

    def stop(self) -> int:
        """End every call now; returns at once with the number of tasks affected."""
        with self._changed:
            affected = len(self._queue) + len(self._running)
            if self._remote is not None:
                affected += self._remote.handed_over(self._running)
            self._stop_requested = affected > 0 or self._stop_requested
            if self._run is not None:
                self._run.stopping = True
            self._cancel.cancel()
            self._changed.notify_all()
        self._on_change()
        return affected

    def is_busy(self, task_id: str) -> bool:
        """Whether the task waits for its turn, is in flight, or its answer is at a provider."""
        away = self._remote is not None and self._remote.holds(task_id)
        return away or task_id in self._running or task_id in self._queued

    @property
    def single_retries(self) -> int:
        """Single retries that wait for their turn or are in flight."""
        return len(self._singles) + len(self._running) - self._in_run

    def live(self) -> dict[str, Live]:
        """Progress of the tasks in flight."""
        with self._changed:
            running = list(self._running.items())
        away = self._remote.live() if self._remote is not None else {}
        return away | {tid: Live(task.log.stage, task.log.percent, task.log.preview) for tid, task in running}

    def live_log(self, task_id: str) -> EditLog | None:
        """The log of a task in flight."""
        running = self._running.get(task_id)
        if running is None and self._remote is not None:
            return self._remote.live_log(task_id)
        return running.log if running else None

    def pause(self, problem: Problem) -> None:
        """Pause the batch until a person wants to go on; what is in flight goes on. A run of which nothing waits any
        more is not paused: it ends."""
        with self._changed:
            run = self._run
            if run is not None and not run.stopping and (self._queue or run.preparing):
                run.paused = problem
        self._on_change()

    def go_on(self, config: ApiConfig | None = None) -> int:
        """End a pause now, whatever it waits for; how many tasks still wait for their turn. With a ``config`` the rest
        of the run is asked with that one: a key may have been mended."""
        with self._changed:
            if self._run is not None:
                self._run.config = config or self._run.config
                self._run.paused = None
                self._run.breaker.close()
                self._run.jobs = Breaker(self._run.config.concurrency_limit)
            self._gate.open_up()
            self._summon()
            return len(self._queue)

    @property
    def pace(self) -> float | None:
        """Tasks a minute of the run that goes, or went last; None before the first."""
        run = self._run or self._last
        return run.meter.pace if run is not None else None

    @property
    def is_paused(self) -> bool:
        """Whether a run holds its calls back: the gateway asked for it, or every task failed."""
        return self.running and self.info().paused is not None

    def moment(self, read: Callable[[], T]) -> tuple[RunInfo, T]:
        """The run, and what ``read`` reads of the store, as of one moment: where nothing runs, no task that was read
        waits for its turn or is in flight."""
        while True:
            starts, info = self._starts, self.info()
            found = read()
            with self._changed:
                if info.running or info.single_retries or starts == self._starts:
                    return info, found

    def info(self) -> RunInfo:
        """The run as a whole."""
        gate, spent = self._gate.info(), self._costs.run
        with self._changed:
            run, now = self._run or self._last, self._monotonic()
            running, meter = self._run is not None, run.meter if run else None
            rate = meter.rate(now) if meter else 0.0
            left = len(self._queue) + len(self._running)
            paused, seconds = self._pause(now, gate)
            return RunInfo(
                running=running,
                stop_requested=self._stop_requested,
                single_retries=self.single_retries,
                in_flight=len(self._running),
                at_provider=self._remote.waiting if self._remote is not None else 0,
                limit=gate.limit,
                concurrency_limit=run.room if run else ApiConfig().concurrency_limit,
                calls=gate.calls,
                refused_calls=gate.refusals,
                queued=len(self._queue),
                started_at=meter.started_at if meter else None,
                finished_in_run=meter.finished if meter else 0,
                total_in_run=meter.total if meter else 0,
                rate_per_minute=round(rate, 1),
                seconds_left=round(left / rate * 60) if running and rate else None,
                paused=paused,
                paused_until=round(self._clock() + seconds, 1) if seconds is not None else None,
                cost=plain(spent.amount),
                budget=plain(self._costs.budget),
                wasted=spent.wasted,
                doors=[self._with_cost(door, at) for door, at in zip(gate.doors, self._gate.doors, strict=True)],
            )

    def _with_cost(self, door: DoorInfo, config: ApiConfig) -> DoorInfo:
        return msgspec.structs.replace(door, cost=plain(self._costs.of_door(config)))

    def _pause(self, now: float, gate: GateInfo) -> tuple[Problem | None, float | None]:
        """Why nothing is asked at the moment, and for how many seconds."""
        if self._paused is not None:
            return self._paused, None
        if self._run is None:
            return None, None
        if (problem := self._run.paused or self._obstacle()) is not None:
            return problem, None
        breaker = self._run.breaker
        if breaker.is_open:
            return Problem(Code.EVERY_TASK_FAILS, {"cause": breaker.reason}), breaker.wait(now, 0)
        if gate.cause is not None:
            return Problem(Code.EVERY_TASK_FAILS, {"cause": gate.cause}), gate.pause_seconds
        if gate.pause_seconds >= _PAUSE_SHOWN_SECONDS:
            return Problem(Code.RATE_PAUSE), gate.pause_seconds
        return None, None

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Block until nothing runs; False when ``timeout`` seconds passed first."""
        with self._changed:
            return self._changed.wait_for(self._is_idle, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Stop, keep what arrived, end the workers."""
        self._closing.set()
        self.stop()
        self.wait_idle(timeout)

    # --- the queue; the caller holds the lock ---

    def _is_idle(self) -> bool:
        return self._run is None and not self._running and not self._singles

    def _begin_run(self, config: ApiConfig) -> _Run:
        self._run = _Run(config, int(self._clock()), self._monotonic())
        self._costs.begin_run(config)
        gate = CallGate(config.concurrency_limit, config.retry_interval, learned=self._learned, config=config)
        self._gate, self._run.room = gate, gate.room
        self._run.breaker = Breaker(gate.room)
        self._starts += 1
        self._renew_cancel()
        return self._run

    def _renew_cancel(self) -> None:
        """Something starts: a stop of before is over."""
        self._stop_requested = False
        if self._cancel.cancelled:
            self._cancel = CancelToken()

    def _add(self, run: _Run, ids: Sequence[str]) -> None:
        self._queue.extend(ids)
        self._queued.update(ids)
        run.meter.total += len(ids)
        if ids:
            self._last = run
        self._summon()

    def _take(self) -> RunningTask | None:
        """The task whose turn has come: single retries, which stand at the head, at any time."""
        if not self._queue:
            return None
        task_id = self._queue[0]
        config = self._singles.pop(task_id, None)
        single = config is not None
        if config is None:
            if self._run is None or not self._has_room(self._run):
                return None
            config = self._run.config
        self._queue.popleft()
        self._queued.discard(task_id)
        task = self._running[task_id] = RunningTask(task_id, config, self._cancel, single=single)
        self._in_run += not single
        return task

    def _has_room(self, run: _Run) -> bool:
        if run.stopping or run.paused is not None or self._in_run >= run.room:
            return False
        return run.breaker.wait(self._monotonic(), self._in_run) == 0.0

    def _summon(self) -> None:
        """Let a task that may start now find a worker; one that gets one summons the next."""
        if self._keeper:
            self._changed.notify_all()
        elif self._queue and self._workers == len(self._running) and self._may_start():
            self._spawn()

    def _may_start(self) -> bool:
        return self._queue[0] in self._singles or (self._run is not None and self._has_room(self._run))

    def _spawn(self) -> None:
        self._workers += 1
        threading.Thread(target=self._loop, name="edit", daemon=True).start()

    # --- a worker ---

    def _loop(self) -> None:
        while task := self._next():
            self._work(task)

    def _next(self) -> RunningTask | None:
        """The next task for this worker; None when it is to end."""
        run = None
        with self._changed:
            while (task := self._take()) is None:
                run = self._run
                if run is None or run.preparing or run.ending or self._in_run or self._keeper:
                    self._workers -= 1  # those that run will look for what comes next
                    return None
                if run.stopping or not self._queue:
                    run.ending = True
                    break
                self._keeper = True
                self._changed.wait(None if run.paused is not None else run.breaker.wait(self._monotonic(), 0))
                self._keeper = False
            if task is not None:
                self._summon()
                return task
            assert run is not None
        return self._drain(run)

    def _drain(self, run: _Run) -> RunningTask | None:
        """What is left to do when no task of a run is; then the next one, if one came meanwhile, or the end."""
        self._call_hooks(lambda hook: hook.drained(self._cancel, stopped=run.stopping))
        with self._changed:
            if self._queue and not run.stopping:
                run.ending = False
            else:
                self._workers -= 1
        if not run.ending:
            return self._next()
        self._wind_down()
        return None

    def _work(self, running: RunningTask) -> None:
        """One task from its begin to its release."""
        try:
            task = self._begin(running)
            if task is not None:
                outcome = self._edit(task, running)
                if outcome.status is not TaskStatus.PROCESSING:  # else its answer is at a provider: see `collected`
                    self.record(outcome)
                if running.again:
                    self._store.set_status([task.id], TaskStatus.PENDING)
        except Exception:  # the outermost edge of one task: the next one must go on
            log.exception("outcome of task %s not kept", running.task_id)
        finally:
            self._release(running)

    def _begin(self, running: RunningTask) -> Task | None:
        """The task as it is to be done; None if it was deleted, or could not be marked and waits for its turn again."""
        try:
            return self._store.begin([running.task_id])[0]
        except NotFound:
            return None
        except StorageFailed as error:  # nothing is paid for that could not be recorded
            self._requeue(running)
            with self._changed:
                self._paused = error.problem
                self._changed.wait_for(lambda: running.cancel.cancelled, _STORE_RETRY_SECONDS)
                self._paused = None
            return None

    def _edit(self, task: Task, running: RunningTask) -> EditOutcome:
        own = (task.references, task.user_prompt, task.system_prompt, task.variant)
        running.task = task
        self._call_hooks(lambda hook: hook.before(running))
        job = EditJob(task.id, task.source_path, running.config, self._limits, *own)
        try:
            outcome = self._runner(job, running.cancel, running.log, self._gate)
        except Exception:  # the edge of one edit: its task fails alone
            log.exception("task %s ended by a fault", task.id)
            outcome = EditOutcome(task.id, TaskStatus.FAILED, [], 1, error=_FAULT, log=running.log.entries)
        away = outcome.status is TaskStatus.PROCESSING
        self._call_hooks(lambda hook: hook.handed_over(running) if away else hook.after(running, outcome))
        self._ask_breaker(running, outcome)
        return outcome

    def collected(self, outcome: EditOutcome) -> None:
        """What a task came to whose answer was at a provider. Where all of them fail, the run waits for a person: each
        was paid for. NotFound."""
        config = self._run.config if self._run is not None else ApiConfig()
        running = RunningTask(outcome.task_id, config, CancelToken(), single=False)
        running.task = self._store.task(outcome.task_id)
        self._call_hooks(lambda hook: hook.after(running, outcome))
        self.record(outcome)
        if outcome.status is TaskStatus.STOPPED:
            return
        failure = outcome.error.code if outcome.error is not None else None
        with self._changed:
            run = self._run
            if run is None or run.paused is not None:
                return
            run.jobs.note(failure, self._monotonic())
            if run.jobs.is_open and not run.stopping:
                run.paused = Problem(Code.EVERY_JOB_FAILS, {"cause": run.jobs.reason})

    def _call_hooks(self, call: Callable[[TaskHook], None]) -> None:
        for hook in self._hooks:
            try:
                call(hook)
            except Exception:  # a hook's edge: what was paid for is recorded all the same
                log.exception("hook %s failed", type(hook).__name__)

    def _ask_breaker(self, running: RunningTask, outcome: EditOutcome) -> None:
        if running.single or outcome.status is TaskStatus.STOPPED:
            return
        failure = outcome.error.code if outcome.error is not None else None
        with self._changed:
            run = self._run
            if run is not None and failure is Code.BUDGET_REACHED:
                running.again, run.paused = not run.stopping, outcome.error
            elif run is not None:
                running.again = run.breaker.note(failure, self._monotonic()) and not run.stopping

    def record(self, outcome: EditOutcome) -> None:
        """Write the outcome; while the disk is full, hold it in memory and try again until we are closed."""
        while True:
            try:
                self._store.finish(outcome)
                self._paused = None
                return
            except StorageFailed as error:
                self._paused = error.problem
                log.warning("outcome of task %s not written: %s", outcome.task_id, error.params.get("reason"))
                if self._closing.wait(_STORE_RETRY_SECONDS):
                    raise

    def _requeue(self, running: RunningTask) -> None:
        """Back to the head of the queue."""
        with self._changed:
            self._leave(running)
            self._queue.appendleft(running.task_id)
            self._queued.add(running.task_id)
            if running.single:
                self._singles[running.task_id] = running.config

    def _release(self, running: RunningTask) -> None:
        """The task is in flight no more."""
        if running.again:
            self._requeue(running)
        with self._changed:
            if self._running.get(running.task_id) is running:
                self._leave(running)
                if self._run is not None and not running.single:
                    self._run.meter.count_finished(self._monotonic())
            if not self._running:
                self._changed.notify_all()
        self._on_change()

    def _leave(self, running: RunningTask) -> None:
        del self._running[running.task_id]
        self._in_run -= not running.single

    def _wind_down(self) -> None:
        """The run is over: what is left of it was stopped."""
        with self._changed:
            left = [task_id for task_id in self._queue if task_id not in self._singles]
            self._queue = deque(task_id for task_id in self._queue if task_id in self._singles)
        if left:
            try:
                self._store.set_status(left, TaskStatus.STOPPED, Stopped().problem)
            except StorageFailed:
                log.exception("tasks left over could not be marked stopped; the next start does it")
        with self._changed:
            self._queued.difference_update(left)
            self._run = None
            self._costs.end_run()
            self._changed.notify_all()
        self._on_change()
