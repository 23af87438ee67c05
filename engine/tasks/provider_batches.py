"""Batches at providers, waited for and collected: one thread asks for one after the other, however many there are.

Results come in any order and go through the readers, cache, ledger and store of live ones. First the task, then the
book: what is lost between is collected again, and is the same picture.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from engine.config import ApiConfig
from engine.errors import (
    Code,
    ConsoleError,
    EditFailed,
    InvalidInput,
    Param,
    Problem,
    Stopped,
    StorageFailed,
    UpstreamRefused,
)
from engine.models import EditOutcome, TaskStatus
from engine.tasks.attempt import Delivered
from engine.tasks.batch_calls import BatchCalls
from engine.tasks.batch_orders import SETTLE_SECONDS, BatchLine, BatchNote, BatchOrder, failed_line, known_of
from engine.tasks.edit import Collected, Submitted
from engine.tasks.log import EditLog
from engine.tasks.meter import AT_PROVIDER, Live
from engine.tasks.remote_book import RemoteBook, RemoteKind, RemoteRow, RemoteState
from engine.upstream.batches.choice import driver_of
from engine.upstream.batches.steps import BatchState, BatchView, Driver, LineResult, Place
from engine.upstream.cancel import CancelToken
from engine.upstream.failure import event_failure
from engine.upstream.jobs import JobTicket
from engine.upstream.transport import Transport

WARNED_BEFORE = 2 * 3600.0
_FIRST_PAUSE, _LONGEST_PAUSE, _SLOWER = 2.0, 60.0, 1.5
_AT_ONCE, _AT_ONCE_BYTES = 8, 16 * 2**20  # results read at the same time: in memory they take several times as much
_FORGOTTEN = 3  # times that a provider says it knows no such batch before that is believed
_DOUBTED = 3  # times that a line's pictures could not be had, or an expired batch not be given up
_TOLD_AFTER = 5  # questions in a row that were not answered, before the person is told
_DONE = frozenset({TaskStatus.DONE, TaskStatus.PARTIAL_SUCCESS})
log = logging.getLogger(__name__)

Collect = Callable[[Submitted, CancelToken, EditLog, Delivered], Collected]


class _Watched:
    """A batch that is waited for. ``due`` on the monotonic clock; ``left``: task ids that nothing has come for."""

    def __init__(self, row: RemoteRow, order: BatchOrder, note: BatchNote, due: float) -> None:
        self.row = row
        self.order = order
        self.note = note
        self.due = due
        self.lines = {line.task_id: line for line in order.lines if line.task_id in row.tasks}
        self.left = set(self.lines)
        self.looks = 0
        self.anew = False
        self.pause = _FIRST_PAUSE
        self.misses = 0
        self.forgotten = 0
        self.doubts: dict[str, int] = {}
        self.overdue = 0
        self.view: BatchView | None = None
        self.settled = 0.0
        """When what was asked for last is on the provider's list, or will not be; on the monotonic clock."""


class ProviderBatches:
    """Thread-safe. ``collect`` reads a delivered answer; ``finish`` keeps what a task came to, also of a task that is
    deleted; ``hold`` marks tasks as processing and gives those that are there; ``with_secrets`` gives a
    configuration with what may go where it sends it; ``set_aside``: a task will be paid for as its batch is; ``tell``:
    what the person should know."""

    def __init__(
        self,
        book: RemoteBook,
        transport: Transport,
        collect: Collect,
        finish: Callable[[EditOutcome], None],
        hold: Callable[[list[str]], Collection[str]],
        with_secrets: Callable[[ApiConfig], ApiConfig],
        *,
        set_aside: Callable[[str, ApiConfig], None] = lambda *_: None,
        tell: Callable[[Problem], None] = lambda _: None,
        on_change: Callable[[], None] = lambda: None,
        settle: float = SETTLE_SECONDS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._book = book
        self._transport = transport
        self._collect = collect
        self._finish = finish
        self._hold = hold
        self._with_secrets = with_secrets
        self._set_aside = set_aside
        self._tell = tell
        self._on_change = on_change
        self._settle_seconds = settle
        self._clock = clock
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._watched: dict[str, _Watched] = {}
        self._by_task: dict[str, tuple[str, str]] = {}  # row and key of the line
        self._orphans: dict[tuple[str, str], tuple[str, str]] = {}  # the same, by what was asked of what
        self._cancel = CancelToken()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._pool: ThreadPoolExecutor | None = None

    def restore(self) -> None:
        """Wait again for what an earlier program waited for. What was never sent is forgotten: nothing was paid."""
        for row in self._book.rows(RemoteState.SUBMITTING, RemoteState.WAITING):
            if row.kind is not RemoteKind.BATCH:
                continue
            order, note = msgspec.json.decode(row.body, type=BatchOrder), _note_of(row)
            if row.state is RemoteState.SUBMITTING and not note.creating_at:
                self._book.remove(row.id)
                continue
            left = self._book.open_tasks(row.id)
            tasks = [note.adopted.get(key, key) for key in sorted(left)]
            there = set(self._hold(tasks))  # before anything can come for them
            for key in left:
                self._set_aside(key, order.config)
            self._watch(row, order, note, left, 0.0)
            self.let_go([task_id for task_id in tasks if task_id not in there])

    def watch(self, row: RemoteRow, order: BatchOrder, note: BatchNote) -> None:
        """See `batch_orders.Made`."""
        self._watch(row, order, note, set(row.tasks), _FIRST_PAUSE)

    def close(self) -> None:
        """End the calls and the thread; what is open stays so for the next program."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._cancel.cancel()
        if self._thread is not None:
            self._thread.join(10)
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    # --- what may be asked ---

    def collect(self, remote_id: str) -> bool:
        """Ask for a batch now; whether it is waited for."""
        with self._changed:
            watched = self._watched.get(remote_id)
            if watched is not None:
                watched.due = self._monotonic()
                self._changed.notify_all()
            return watched is not None

    def look_anew(self) -> None:
        """Ask for every batch now: whoever waits with ``wait_looked`` waits for that."""
        with self._changed:
            for watched in self._watched.values():
                watched.looks, watched.due, watched.anew = 0, self._monotonic(), True
            self._changed.notify_all()

    def cancel(self, remote_id: str) -> tuple[bool, int]:
        """Give a batch up at its provider: whether it was told, and how many lines are lost by that, which bring
        nothing. What is done by then is collected. Raises EditFailed, NetworkFailed."""
        watched = self._watched.get(remote_id)
        if watched is None or not watched.row.provider_id:
            return False, 0
        driver, place = self._talks_of(watched)
        calls = BatchCalls(self._transport, place, self._cancel)
        view = calls.talk(driver.look(place, watched.row.provider_id))
        if view.state is not BatchState.OPEN:
            self.collect(remote_id)
            return False, 0
        calls.talk(driver.cancel(place, watched.row.provider_id))
        self._renote(watched, msgspec.structs.replace(watched.note, cancelled=True))
        self.collect(remote_id)
        return True, max(0, len(watched.lines) - view.done - view.failed)

    def counted(self, row: RemoteRow) -> RemoteRow:
        """The row with the counts that the provider told last, where they are ahead of what was collected."""
        watched = self._watched.get(row.id)
        if watched is None or watched.view is None:
            return row
        view = watched.view
        return msgspec.structs.replace(row, done=max(row.done, view.done), failed=max(row.failed, view.failed))

    def holds(self, task_id: str) -> bool:
        """Whether the task's answer is at a provider."""
        return task_id in self._by_task

    def let_go(self, tasks: Sequence[str]) -> None:
        """Tasks that are deleted count no longer; what comes for them is kept all the same."""
        with self._changed:
            for task_id in tasks:
                row_id, key = self._by_task.pop(task_id, ("", ""))
                if row_id in self._watched:
                    self._orphans[_asked(self._watched[row_id].lines[key])] = row_id, key

    def adopt(self, task_id: str, source_hash: str, request_record: str) -> bool:
        """Whether the same was asked of the same picture by a task that was deleted while its answer is at a provider:
        the answer is this task's then, and is not paid for again. On disk when this returns."""
        with self._changed:
            row_id, key = self._orphans.pop((source_hash, request_record), ("", ""))
            watched = self._watched.get(row_id)
            if watched is None or key not in watched.left:
                return False
            self._by_task[task_id] = row_id, key
            adopted = watched.note.adopted | {key: task_id}
        self._renote(watched, msgspec.structs.replace(watched.note, adopted=adopted))
        return True

    @property
    def waiting(self) -> int:
        """Tasks whose answer is waited for."""
        return len(self._by_task)

    def live(self) -> dict[str, Live]:
        """How far each of them is."""
        return dict.fromkeys(list(self._by_task), Live(AT_PROVIDER, None, None))

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Block until nothing is waited for; False when ``timeout`` seconds passed first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._watched, timeout)

    def wait_looked(self, timeout: float | None = None) -> bool:
        """Block until each that is waited for was asked for once at least; False when ``timeout`` seconds passed."""
        with self._changed:
            return self._changed.wait_for(lambda: all(one.looks for one in self._watched.values()), timeout)

    # --- the thread ---

    def _watch(self, row: RemoteRow, order: BatchOrder, note: BatchNote, left: set[str], wait: float) -> None:
        watched = _Watched(row, order, note, self._monotonic() + wait)
        watched.left &= left
        if row.state is RemoteState.SUBMITTING:  # a clock that was set back must not make it wait for longer
            age = max(0.0, self._clock() - note.creating_at)
            watched.settled = self._monotonic() + max(0.0, self._settle_seconds - age)
        with self._changed:
            self._watched[row.id] = watched
            self._by_task.update({note.adopted.get(key, key): (row.id, key) for key in watched.left})
            if self._thread is None and not self._closing:
                self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="collect")
                self._thread = threading.Thread(target=self._keep_looking, name="batches", daemon=True)
                self._thread.start()
            self._changed.notify_all()
        self._on_change()

    def _keep_looking(self) -> None:
        while (watched := self._next()) is not None:
            wait, watched.anew = _LONGEST_PAUSE, False
            try:
                wait = self._look(watched)
            except Stopped:
                continue
            except ConsoleError as error:
                wait = self._missed(watched, error)
            except Exception:  # the thread's outermost edge: other batches go on
                log.exception("batch %s not collected", watched.row.id)
            with self._changed:
                if not watched.anew:
                    watched.due = self._monotonic() + wait
                    watched.looks += 1
                self._changed.notify_all()
            self._on_change()

    def _next(self) -> _Watched | None:
        """The batch whose time has come, once it has; None at the end."""
        with self._changed:
            while not self._closing:
                now = self._monotonic()
                first = min(self._watched.values(), key=lambda watched: watched.due, default=None)
                if first is not None and first.due <= now:
                    first.due = now + _LONGEST_PAUSE
                    return first
                self._changed.wait(None if first is None else first.due - now)
            return None

    def _missed(self, watched: _Watched, error: ConsoleError) -> float:
        """A question that was not answered; seconds until the next. What is paid for is not given up for a bad line or
        a key that was changed: only for a provider that does not know the batch any more."""
        watched.misses += 1
        log.warning("batch %s: %s %s", watched.row.id, error.code, error.params)
        unknown = isinstance(error, UpstreamRefused) and error.http_status in (404, 410)
        watched.forgotten = watched.forgotten + 1 if unknown else 0
        if watched.forgotten >= _FORGOTTEN:
            problem = Problem(Code.JOB_FORGOTTEN, self._named(watched))
            self._end(watched, RemoteState.FAILED, TaskStatus.FAILED, problem)
        elif watched.misses == _TOLD_AFTER:
            reason = str(error.params.get("message") or error.code.value)
            self._tell(Problem(Code.BATCH_UNREACHABLE, self._named(watched) | {"reason": reason}))
        watched.pause = min(watched.pause * _SLOWER, _LONGEST_PAUSE)
        asked = error.retry_after if isinstance(error, EditFailed) else None
        return max(watched.pause, asked or 0.0)

    @staticmethod
    def _named(watched: _Watched) -> dict[str, Param]:
        return {"host": watched.row.provider, "id": watched.row.provider_id}

    # --- one look ---

    def _talks_of(self, watched: _Watched) -> tuple[Driver, Place]:
        """How its provider is spoken with, with the key as it is now."""
        config = self._with_secrets(watched.order.config)
        if watched.order.keyed and not config.api_key:
            raise InvalidInput(Code.API_KEY_REQUIRED, field="api_key")
        driver = driver_of(watched.order.provider)
        place = driver.place(config)
        assert place is not None  # it had one when the batch was made
        return driver, place

    def _look(self, watched: _Watched) -> float:
        """Ask for a batch and collect what is there; seconds until it is asked for again."""
        driver, place = self._talks_of(watched)
        calls = BatchCalls(self._transport, place, self._cancel)
        if watched.row.state is RemoteState.SUBMITTING:
            wait = self._find(watched, driver, place, calls)
            if wait > 0 or watched.row.id not in self._watched:
                return wait
        view = calls.talk(driver.look(place, watched.row.provider_id))
        left = self._note_expiry(watched, view, calls)
        if watched.note.expired or (left <= 0 and view.state is BatchState.OPEN and not driver.says_expired):
            view = self._expire(watched, view, driver, place, calls)
        watched.view = view
        paged = bool(driver.results_url(place, watched.row.provider_id, ""))
        doubts = 0
        if watched.left and (paged or view.state is not BatchState.OPEN):
            found = calls.results(driver, watched.row.provider_id, view.files)
            doubts = self._collect_lines(watched, place, found)
        watched.misses = watched.forgotten = 0
        if view.state is not BatchState.OPEN and not doubts:
            self._tidy(watched, driver, place, calls)
            self._conclude(watched, view)
            return 0.0
        watched.pause = min(watched.pause * _SLOWER, _LONGEST_PAUSE)
        return watched.pause

    def _find(self, watched: _Watched, driver: Driver, place: Place, calls: BatchCalls) -> float:
        """Whether a batch was made whose making was cut; seconds until that can be told, 0 when it is."""
        if (wait := watched.settled - self._monotonic()) > 0:
            return wait
        known = known_of(watched.order, watched.note, watched.row.provider_id)
        provider_id, there = calls.talk(driver.find(place, known))
        if not provider_id or there == frozenset():
            stopped = Problem(Code.BATCH_NOT_MADE, {"host": watched.row.provider})
            self._end(watched, RemoteState.FAILED, TaskStatus.STOPPED, stopped)
            return 0.0
        missing = sorted(watched.left - there) if there is not None else []
        self._book.release(watched.row.id, missing)
        for task_id in missing:
            self._drop(watched, task_id, TaskStatus.STOPPED, Problem(Code.BATCH_NOT_MADE, {"host": place.host}))
        watched.row = msgspec.structs.replace(watched.row, provider_id=provider_id, state=RemoteState.WAITING)
        self._book.note(watched.row.id, provider_id=provider_id, state=RemoteState.WAITING)
        return 0.0

    def _note_expiry(self, watched: _Watched, view: BatchView, calls: BatchCalls) -> float:
        """Keep when it expires, and tell once when that is near; seconds until then, by the provider's clock. What is
        said to have expired before it was made has the time that is documented."""
        told = view.expires_at
        if told is not None and told > watched.row.submitted_at and told != watched.row.expires_at:
            watched.row = msgspec.structs.replace(watched.row, expires_at=told)
            self._book.note(watched.row.id, expires_at=told)
        left = watched.row.expires_at - self._clock() - (calls.clock_skew or 0.0)
        if view.state is BatchState.OPEN and 0 < left <= WARNED_BEFORE and not watched.note.warned:
            self._renote(watched, msgspec.structs.replace(watched.note, warned=True))
            about: dict[str, Param] = {"minutes": round(left / 60), "count": len(watched.left)}
            self._tell(Problem(Code.BATCH_EXPIRES_SOON, self._named(watched) | about))
        return left

    def _expire(self, watched: _Watched, view: BatchView, driver: Driver, place: Place, calls: BatchCalls) -> BatchView:
        """End a batch whose time is over though its provider does not say so. It is given up there first: what will be
        asked for again shall not be made and billed there after all. One that stays open even so is not waited for."""
        if not watched.note.expired:
            self._renote(watched, msgspec.structs.replace(watched.note, expired=True))
        if view.state is BatchState.OPEN and watched.overdue < _DOUBTED:
            watched.overdue += 1
            try:
                calls.talk(driver.cancel(place, watched.row.provider_id))
            except EditFailed as error:
                log.warning("batch %s, which expired, is not given up: %s", watched.row.id, error.code)
            return view
        return msgspec.structs.replace(view, state=BatchState.EXPIRED)

    def _renote(self, watched: _Watched, note: BatchNote) -> None:
        watched.note = note
        self._book.note(watched.row.id, note=msgspec.json.encode(note))

    # --- results ---

    def _collect_lines(self, watched: _Watched, place: Place, found: Iterator[LineResult]) -> int:
        """Take every line that nothing has come for; how many could not be had now and are asked for again."""
        pool = self._pool
        assert pool is not None
        seen: set[str] = set()
        wanted = (result for result in found if result.key in watched.left and not _again(result.key, seen))
        doubts = 0
        for some in _in_groups(wanted):
            doubts += sum(pool.map(lambda result: self._take(watched, place, result), some))
            some.clear()
            self._on_change()
        return doubts

    def _take(self, watched: _Watched, place: Place, result: LineResult) -> bool:
        """One line; whether it is to be tried again."""
        line = watched.lines[result.key]
        if result.lost is not None:
            self._drop(watched, line.task_id, *_lost(result.lost, watched))
            return False
        edit_log = EditLog(place.config.api_key)
        edit_log.entries = list(line.log)
        submitted = Submitted(
            line.task_id, JobTicket(watched.row.provider_id, place.base), place.config, line.source_hash,
            line.source_size, line.request_record, 1, line.log, line.run,
        )  # fmt: skip
        collected = self._collect(submitted, self._cancel, edit_log, _delivered(place, result))
        failure = collected.failure
        if isinstance(failure, Stopped):
            raise failure
        if failure is not None and failure.code is Code.CANDIDATES_REFUSED:  # a link that is dead may come alive
            watched.doubts[line.task_id] = watched.doubts.get(line.task_id, 0) + 1
            if watched.doubts[line.task_id] < _DOUBTED:
                return True
        outcome = collected.outcome
        if outcome is None:
            assert failure is not None
            edit_log.add("error", code=failure.code, params=failure.params)
            problem = edit_log.without_key(failure.problem)
            outcome = failed_line(msgspec.structs.replace(line, log=edit_log.entries), TaskStatus.FAILED, problem)
            status = failure.http_status if isinstance(failure, EditFailed) else None
            outcome = msgspec.structs.replace(outcome, http_status=status)
        self._settle_line(watched, outcome)
        return False

    def _drop(self, watched: _Watched, task_id: str, status: TaskStatus, problem: Problem) -> None:
        self._settle_line(watched, failed_line(watched.lines[task_id], status, problem))

    def _settle_line(self, watched: _Watched, outcome: EditOutcome) -> None:
        """``outcome`` of the task that the line was made for; it may be another's by now."""
        task_id = watched.note.adopted.get(outcome.task_id, outcome.task_id)
        self._finish(msgspec.structs.replace(outcome, task_id=task_id))
        states = {TaskStatus.STOPPED: RemoteState.CANCELLED}
        state = RemoteState.DONE if outcome.status in _DONE else states.get(outcome.status, RemoteState.FAILED)
        try:
            self._book.mark_task(watched.row.id, outcome.task_id, state)
        except StorageFailed:  # it is collected again, and is the same picture
            log.exception("line of batch %s not noted", watched.row.id)
        with self._changed:
            watched.left.discard(outcome.task_id)
            if self._by_task.get(task_id) == (watched.row.id, outcome.task_id):
                del self._by_task[task_id]
            self._orphans.pop(_asked(watched.lines[outcome.task_id]), None)

    # --- its end ---

    def _conclude(self, watched: _Watched, view: BatchView) -> None:
        """It has ended at the provider and what there was is collected."""
        row = self._book.find(watched.row.id)
        pictures = row is not None and row.done > 0
        match view.state:
            case BatchState.FAILED:
                failure = event_failure(view.complaint or "")
                self._end(watched, RemoteState.FAILED, TaskStatus.FAILED, failure.problem)
            case BatchState.EXPIRED | BatchState.CANCELLED:
                status, problem = _lost(view.state, watched, view.complaint)
                given_up = view.state is BatchState.CANCELLED
                state = RemoteState.CANCELLED if given_up else RemoteState.DONE if pictures else RemoteState.FAILED
                self._end(watched, state, status, problem)
            case _:
                problem = Problem(Code.BATCH_LINE_MISSING, self._named(watched))
                state = RemoteState.DONE if len(watched.left) < len(watched.lines) else RemoteState.FAILED
                self._end(watched, state, TaskStatus.FAILED, problem)

    def _end(self, watched: _Watched, state: RemoteState, status: TaskStatus, problem: Problem) -> None:
        """It is waited for no longer; ``status`` for the lines that nothing has come for."""
        for task_id in sorted(watched.left):
            self._drop(watched, task_id, status, problem)
        self._book.note(watched.row.id, state=state)
        with self._changed:
            self._watched.pop(watched.row.id, None)
            self._changed.notify_all()
        self._on_change()

    def _tidy(self, watched: _Watched, driver: Driver, place: Place, calls: BatchCalls) -> None:
        """Delete at the provider what was uploaded and no other batch needs; what cannot be deleted expires there."""
        for file in self._book.take_unused(watched.row.id):
            try:
                calls.talk(driver.remove(place, file))
            except EditFailed as error:
                log.warning("an upload of batch %s stays at the provider: %s", watched.row.id, error)


def _asked(line: BatchLine) -> tuple[str, str]:
    return line.source_hash, line.request_record


def _note_of(row: RemoteRow) -> BatchNote:
    return msgspec.json.decode(row.note, type=BatchNote) if row.note else BatchNote()


def _again(key: str, seen: set[str]) -> bool:
    """Whether a key was seen before; from now on it was."""
    before = key in seen
    seen.add(key)
    return before


def _in_groups(results: Iterator[LineResult]) -> Iterator[list[LineResult]]:
    """As many as may be in memory at once, in lists that the caller may empty; a large one comes alone, or last."""
    group, size = list[LineResult](), 0
    for result in results:
        group.append(result)
        size += result.size
        del result
        if len(group) >= _AT_ONCE or size >= _AT_ONCE_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _delivered(place: Place, result: LineResult) -> Delivered:
    if result.complaint is not None:
        return Delivered(place.base, result.status, complaint=msgspec.json.encode(result.complaint))
    return Delivered(place.base, result.status, msgspec.json.encode(result.document))


def _lost(state: BatchState, watched: _Watched, complaint: object = None) -> tuple[TaskStatus, Problem]:
    """What lines come to that were not done when their batch ended."""
    host = watched.row.provider
    if state is BatchState.CANCELLED and watched.note.cancelled:
        return TaskStatus.STOPPED, Problem(Code.BATCH_CANCELLED, {"host": host, "reason": ""})
    told = complaint.get("message", "") if isinstance(complaint, dict) else ""
    if state is BatchState.CANCELLED and not watched.note.expired:
        return TaskStatus.FAILED, Problem(Code.BATCH_CANCELLED, {"host": host, "reason": str(told)[:300]})
    return TaskStatus.FAILED, Problem(Code.BATCH_EXPIRED, {"host": host})
