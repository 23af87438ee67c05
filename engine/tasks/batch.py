"""Many edits at once: order, limit, stop, retry. The only writer of task states; jobs run on an Executor."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future

from engine.config import ApiConfig
from engine.errors import Busy, Code, NotFound, Problem, Stopped, StorageFailed
from engine.models import EditJob, EditLimits, EditOutcome, Task, TaskStatus
from engine.tasks.breaker import Breaker
from engine.tasks.gate import CallGate
from engine.tasks.log import EditLog
from engine.tasks.meter import Live, Meter, RunInfo
from engine.tasks.store import Store
from engine.upstream.cancel import CancelToken

MAX_SINGLE_RETRIES = 10
_STORE_RETRY_SECONDS = 2.0
_PAUSE_SHOWN_SECONDS = 2.0  # shorter ones are part of the normal pace
_FAULT = Problem(Code.INTERNAL)

_Start = tuple[Task, ApiConfig, "_Flight"]
Runner = Callable[[EditJob, CancelToken, EditLog, CallGate], EditOutcome]
log = logging.getLogger(__name__)


class _Flight:
    """One task in the executor."""

    def __init__(self, config: ApiConfig, *, single: bool) -> None:
        self.log = EditLog(*config.secrets())
        self.single = single


class Batch:
    """Runs tasks of a store. Thread-safe; ``close()`` ends every call and waits for the threads."""

    def __init__(
        self,
        store: Store,
        runner: Runner,
        executor: Executor,
        *,
        limits: EditLimits,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._runner = runner
        self._executor = executor
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic
        self._on_change = on_change
        self._changed = threading.Condition()
        self._queue: deque[str] = deque()
        self._queued: set[str] = set()
        self._flights: dict[str, _Flight] = {}
        self._config = ApiConfig()
        self._cancel = CancelToken()
        self._coordinator: threading.Thread | None = None
        self._stopping = False
        self._stop_requested = False  # stays until the next start, as scripts of old expect it
        self._closing = threading.Event()
        self._paused: Problem | None = None
        self._meter: Meter | None = None
        self._gate = CallGate(MAX_SINGLE_RETRIES, 1.0)
        self._breaker = Breaker(1)

    # --- what may be asked ---

    @property
    def running(self) -> bool:
        """Whether a batch (not a single retry) runs or winds down after a stop."""
        return self._coordinator is not None

    def start(self, ids: Sequence[str], config: ApiConfig) -> None:
        """Run these pending tasks in this order; Busy while a batch runs. Returns at once."""
        with self._changed:
            if self._coordinator is not None:
                raise Busy(Code.BATCH_RUNNING)
            self._begin(ids, config)
        self._on_change()

    def enqueue(
        self, ids: Sequence[str], config: ApiConfig, before: Callable[[list[str]], None] = lambda _: None
    ) -> int:
        """Ask again for tasks, earlier results kept: into the running batch, else as a new one; how many.

        ``before`` gets those that will run, once that is sure.
        """
        # The lock is held over the write, so that asking twice at the same moment pays once.
        with self._changed:
            if self._stopping:
                raise Busy(Code.BATCH_RUNNING)
            ids = [task_id for task_id in dict.fromkeys(ids) if not self.is_busy(task_id)]
            if not ids:
                return 0
            before(ids)
            self._store.set_status(ids, TaskStatus.PENDING)
            if self._coordinator is None:
                self._begin(ids, config)
            else:
                self._queue.extend(ids)
                self._queued.update(ids)
                if self._meter is not None:
                    self._meter.total += len(ids)
                self._changed.notify_all()
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
            if self._stopping:
                raise Busy(Code.BATCH_RUNNING)
            self._stop_requested = False
            if self._cancel.cancelled:
                self._cancel = CancelToken()
            if self._coordinator is None and not self._flights:
                self._gate = CallGate(MAX_SINGLE_RETRIES, config.retry_interval)
            flight = _Flight(config, single=True)
            self._flights[task_id] = flight
        try:
            before()
            self._submit([(self._store.begin([task_id])[0], config, flight)])
        except BaseException:
            self._land(task_id)
            raise

    def stop(self) -> int:
        """End every call now; returns at once with the number of tasks affected."""
        with self._changed:
            affected = len(self._queue) + len(self._flights)
            self._stop_requested = affected > 0 or self._stop_requested
            if self._coordinator is not None:
                self._stopping = True
            self._cancel.cancel()
            self._changed.notify_all()
        self._on_change()
        return affected

    def is_busy(self, task_id: str) -> bool:
        """Whether the task waits for its turn or is in flight."""
        return task_id in self._flights or task_id in self._queued

    @property
    def single_retries(self) -> int:
        """Single retries in flight."""
        return sum(flight.single for flight in list(self._flights.values()))

    def live(self) -> dict[str, Live]:
        """Progress of the tasks in flight."""
        flights = list(self._flights.items())
        return {tid: Live(f.log.stage, f.log.percent, f.log.preview) for tid, f in flights}

    def live_log(self, task_id: str) -> EditLog | None:
        """The log of a task in flight."""
        flight = self._flights.get(task_id)
        return flight.log if flight else None

    def go_on(self) -> int:
        """End a pause now, whatever it waits for; how many tasks still wait for their turn."""
        with self._changed:
            self._breaker.close(self._monotonic())
            self._gate.open_up()
            self._changed.notify_all()
            return len(self._queue)

    @property
    def is_paused(self) -> bool:
        """Whether a run holds its calls back: the gateway asked for it, or every task failed."""
        return self.running and self.info().paused is not None

    def info(self) -> RunInfo:
        """The run as a whole."""
        gate = self._gate.info()
        with self._changed:
            meter, running, now = self._meter, self._coordinator is not None, self._monotonic()
            rate = meter.rate(now) if meter else 0.0
            left = len(self._queue) + len(self._flights)
            paused, seconds = self._pause(now, gate.pause_seconds)
            return RunInfo(
                running=running,
                stop_requested=self._stop_requested,
                single_retries=self.single_retries,
                in_flight=len(self._flights),
                limit=gate.limit,
                concurrency_limit=self._config.concurrency_limit,
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
            )

    def _pause(self, now: float, gate_seconds: float) -> tuple[Problem | None, float | None]:
        """Why nothing is asked at the moment, and for how many seconds."""
        if self._paused is not None:
            return self._paused, None
        if self._coordinator is None:
            return None, None
        if self._breaker.open_until is not None:
            return Problem(Code.EVERY_TASK_FAILS, {"cause": self._breaker.reason}), self._breaker.wait(now, 0)
        if gate_seconds >= _PAUSE_SHOWN_SECONDS:
            return Problem(Code.RATE_PAUSE), gate_seconds
        return None, None

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Block until nothing runs; False when ``timeout`` seconds passed first."""
        with self._changed:
            return self._changed.wait_for(lambda: self._coordinator is None and not self._flights, timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Stop, keep what arrived, end the threads."""
        self._closing.set()
        self.stop()
        self.wait_idle(timeout)
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _begin(self, ids: Sequence[str], config: ApiConfig) -> None:
        """Begin a run; the caller holds the lock and knows that none is under way."""
        self._config = config
        self._queue = deque(ids)
        self._queued = set(ids)
        self._meter = Meter(len(ids), int(self._clock()), self._monotonic())
        self._gate = CallGate(config.concurrency_limit, config.retry_interval)
        self._breaker = Breaker(config.concurrency_limit)
        self._stopping = self._stop_requested = False
        if self._cancel.cancelled:
            self._cancel = CancelToken()
        self._coordinator = threading.Thread(target=self._coordinate, name="batch", daemon=True)
        self._coordinator.start()

    # --- the coordinator's thread ---

    def _coordinate(self) -> None:
        try:
            while self._wait_for_room():
                self._submit(self._begin_next())
        except Exception:  # the thread's outermost edge
            log.exception("batch ended by a fault")
        finally:
            self._wind_down()

    def _wait_for_room(self) -> bool:
        """Block until more tasks can start; False when all have landed, or the run is to end."""
        with self._changed:
            while not (self._stopping or self._has_room()) and (self._queue or self._batch_flights()):
                self._changed.wait(self._breaker_seconds())
            return self._has_room() and not self._stopping

    def _begin_next(self) -> list[_Start]:
        """The tasks for which there is room. By the coordinator, or by the thread of a task that has landed."""
        going: dict[str, _Flight] = {}
        with self._changed:
            config = self._config
            while self._has_room() and not self._stopping:
                task_id = self._queue.popleft()
                self._queued.discard(task_id)
                going[task_id] = self._flights[task_id] = _Flight(config, single=False)
        if not going:
            return []
        try:
            return [(task, config, going.pop(task.id)) for task in self._store.begin(list(going))]
        except StorageFailed as error:
            self._hold(list(going), error)
            going.clear()
        except NotFound:
            pass
        finally:
            for task_id in going:  # deleted meanwhile
                self._land(task_id)
        return []

    def _has_room(self) -> bool:
        in_flight = self._batch_flights()
        room = bool(self._queue) and in_flight < self._config.concurrency_limit
        return room and self._breaker.wait(self._monotonic(), in_flight) == 0.0

    def _breaker_seconds(self) -> float | None:
        """How long the coordinator may sleep: until a paused run tries again, else until it is woken."""
        paused = self._breaker.is_open and self._queue
        return self._breaker.wait(self._monotonic(), self._batch_flights()) if paused else None

    def _batch_flights(self) -> int:
        return sum(not flight.single for flight in self._flights.values())

    def _hold(self, ids: Sequence[str], error: StorageFailed) -> None:
        """The state cannot be written (full disk): put the tasks back and pause until it can."""
        with self._changed:
            for task_id in reversed(ids):
                self._flights.pop(task_id, None)
                self._queue.appendleft(task_id)
                self._queued.add(task_id)
            self._paused = error.problem
            self._changed.wait_for(lambda: self._stopping, _STORE_RETRY_SECONDS)
            self._paused = None
            self._changed.notify_all()

    def _wind_down(self) -> None:
        with self._changed:
            left = list(self._queue)
            self._queue.clear()
            self._changed.wait_for(lambda: not self._batch_flights())
        if left:
            try:
                self._store.set_status(left, TaskStatus.STOPPED, Stopped().problem)
            except StorageFailed:
                log.exception("tasks left over could not be marked stopped; the next start does it")
        with self._changed:
            self._queued.clear()
            self._coordinator = None
            self._stopping = False
            self._changed.notify_all()
        self._on_change()

    # --- in the executor ---

    def _submit(self, starts: list[_Start]) -> None:
        for start in starts:
            self._executor.submit(self._fly, start).add_done_callback(Future.result)  # which logs a fault

    def _fly(self, start: _Start | None) -> None:
        """Run a task, and after it the next: that spares waking another thread for it."""
        while start is not None:
            try:
                self._run(*start)
            except Exception:  # the outermost edge of one task: the next one must go on
                log.exception("outcome of task %s not kept", start[0].id)
            starts = self._begin_next()
            start = starts.pop(0) if starts else None
            self._submit(starts)

    def _run(self, task: Task, config: ApiConfig, flight: _Flight) -> None:
        own = (task.references, task.user_prompt, task.system_prompt, task.variant)
        try:
            job = EditJob(task.id, task.source_path, config, self._limits, *own)
            outcome = self._runner(job, self._cancel, flight.log, self._gate)
            self._keep(outcome)
            if not flight.single:
                self._heed(outcome)
        except Exception:  # a worker thread's outermost edge
            log.exception("task %s ended by a fault", task.id)
            self._keep(EditOutcome(task.id, TaskStatus.FAILED, [], 1, error=_FAULT, log=flight.log.entries))
        finally:
            self._land(task.id, goes_on=True)

    def _heed(self, outcome: EditOutcome) -> None:
        """Let the breaker know; a task that failed only because the run cannot go on waits for its turn again."""
        if outcome.status is TaskStatus.STOPPED:
            return
        failure = outcome.error.code if outcome.error is not None else None
        with self._changed:
            again = self._breaker.note(failure, self._monotonic()) and not self._stopping
            if again:
                self._queue.appendleft(outcome.task_id)
                self._queued.add(outcome.task_id)
        if again:
            self._store.set_status([outcome.task_id], TaskStatus.PENDING)

    def _keep(self, outcome: EditOutcome) -> None:
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

    def _land(self, task_id: str, *, goes_on: bool = False) -> None:
        """The task is in flight no more. ``goes_on``: the caller starts what comes next, which costs less than waking
        the coordinator for it."""
        with self._changed:
            flight = self._flights.pop(task_id, None)
            if flight is not None and not flight.single and self._meter and task_id not in self._queued:
                self._meter.landed(self._monotonic())
            midst = self._queue and self._batch_flights() and not (self._stopping or self._breaker.is_open)
            if not (goes_on and midst) or flight is None or flight.single:
                self._changed.notify_all()
        self._on_change()
