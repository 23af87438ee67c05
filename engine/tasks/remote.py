"""Jobs at providers, collected: one thread keeps the times, a few make the calls, however many jobs are open.

Submitting is what is paid for. A job is in the book before it is asked for the first time; after a kill, a stop, a
restart, days, it is collected and never asked for again.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import msgspec

from engine.config import ApiConfig
from engine.errors import Code, ConsoleError, EditFailed, NetworkFailed, NotFound, Problem, Stopped, StorageFailed
from engine.models import EditOutcome, TaskStatus
from engine.tasks.edit import Collected, Submitted
from engine.tasks.log import EditLog
from engine.tasks.meter import AT_PROVIDER, Live
from engine.tasks.remote_book import OPEN, RemoteBook, RemoteKind, RemoteRow, RemoteState
from engine.tasks.rows import new_id
from engine.upstream.cancel import CancelToken

_THREADS = 8
_LONGEST_PAUSE = 30.0
_SLOWER = 1.25  # each question that finds a job open waits so much longer for the next
_PATIENCE = 10  # questions in a row that were not answered as one can read
_FORGOTTEN = 3  # times that a provider says it knows no such job before that is believed
_DOUBTED = 3  # times that a job's pictures could not be had
_KEY_CODES = frozenset({Code.KEY_REFUSED, Code.ACCESS_REFUSED, Code.QUOTA_EXHAUSTED})
log = logging.getLogger(__name__)

Poll = Callable[[Submitted, CancelToken, EditLog], Collected]


class _Open(msgspec.Struct):
    """A job that is waited for. ``due`` on the monotonic clock."""

    row: RemoteRow
    submitted: Submitted
    log: EditLog
    due: float
    pause: float
    misses: int = 0
    doubts: int = 0
    busy: bool = False


class Remote:
    """Thread-safe. ``poll`` asks once for a job; ``finish`` keeps what a task came to; ``mark_processing`` does so
    with tasks; ``with_secrets`` gives a configuration of before a restart with what may go where it sends it."""

    def __init__(
        self,
        book: RemoteBook,
        poll: Poll,
        finish: Callable[[EditOutcome], None],
        mark_processing: Callable[[list[str]], object],
        with_secrets: Callable[[ApiConfig], ApiConfig],
        *,
        cancel: Callable[[Submitted], None] = lambda _: None,
        on_change: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._book = book
        self._poll = poll
        self._finish = finish
        self._mark_processing = mark_processing
        self._with_secrets = with_secrets
        self._cancel_job = cancel
        self._on_change = on_change
        self._clock = clock
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._open: dict[str, _Open] = {}
        self._by_task: dict[str, str] = {}
        self._left: dict[str, str] = {}
        self._times: list[tuple[float, str]] = []
        self._token = CancelToken()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._pool: ThreadPoolExecutor | None = None
        for row in self._book.rows(RemoteState.LEFT):  # jobs alone: a batch is waited for until it ends
            self._left.update(dict.fromkeys(row.tasks, row.id))

    def restore(self, finished: Callable[[str], bool]) -> None:
        """Wait again for what an earlier program waited for. ``finished(task id)``: all of it has arrived already."""
        waiting = [row for row in self._book.rows(RemoteState.WAITING) if row.kind is RemoteKind.JOB]
        done = [row.id for row in waiting if all(finished(task_id) for task_id in row.tasks)]
        self._book.mark(done, RemoteState.DONE)
        rows = [row for row in waiting if row.id not in done]
        if rows:
            self._mark_processing([task_id for row in rows for task_id in row.tasks])
            for row in rows:
                self._watch(row, _submitted(row))

    def close(self) -> None:
        """End the calls and the threads; what is open stays so for the next program."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._token.cancel()
        if self._thread is not None:
            self._thread.join(5)
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    # --- jobs come and go ---

    def submit(self, submitted: Submitted, cancel: CancelToken) -> bool:
        """Note a job and wait for it; on disk when this returns. False where the person has stopped meanwhile: it can
        be collected later. Raises StorageFailed."""
        now = self._clock()
        ticket, config = submitted.ticket, submitted.config
        body = msgspec.json.encode(
            msgspec.structs.replace(
                submitted,
                ticket=ticket.without_key(config.api_key),
                config=msgspec.structs.replace(config.masked(), api_key=""),
            )
        )
        provider = urlsplit(ticket.url).hostname or ""
        expires = now + config.job_timeout_seconds
        row = RemoteRow(
            new_id(), RemoteKind.JOB, provider, ticket.provider_id, RemoteState.WAITING, now, expires, body,
            (submitted.task_id,),
        )  # fmt: skip
        self._book.add(row)
        if self._watch(row, submitted, unless=cancel):
            return True
        self._book.mark([row.id], RemoteState.LEFT)
        self._left[submitted.task_id] = row.id
        return False

    def resume(self, task_id: str) -> bool:
        """Whether this task's answer is at a provider: it is waited for then, and nothing is to be asked."""
        if self.holds(task_id):
            return True
        remote_id = self._left.get(task_id)
        return remote_id is not None and self.collect(remote_id)

    def collect(self, remote_id: str) -> bool:
        """Wait for a job again, at once; whether there is anything to wait for. NotFound."""
        with self._changed:
            if remote_id in self._open:
                self._schedule(self._open[remote_id], 0.0)
                return True
        row = self._row(remote_id)
        if row.state is not RemoteState.LEFT or row.kind is not RemoteKind.JOB:
            return False
        submitted = _submitted(row)
        expires = self._clock() + submitted.config.job_timeout_seconds
        self._book.mark([remote_id], RemoteState.WAITING, expires_at=expires)
        self._mark_processing(list(row.tasks))
        self._watch(msgspec.structs.replace(row, state=RemoteState.WAITING, expires_at=expires), submitted, wait=0.0)
        return True

    def cancel(self, remote_id: str) -> bool:
        """Give a job up at the provider, where that can be; whether it was. NotFound, EditFailed."""
        row = self._row(remote_id)
        submitted = self._with_key(_submitted(row))
        if row.state not in OPEN or not submitted.ticket.cancel_url:
            return False
        self._cancel_job(submitted)
        self._end(row, RemoteState.CANCELLED, _stopped(submitted))
        return True

    def stop(self) -> int:
        """Wait for nothing any more, now; all of it can be collected later. How many jobs that were."""
        with self._changed:
            jobs = list(self._open.values())
            self._forget(jobs)
            token, self._token = self._token, CancelToken()
            self._left.update({job.submitted.task_id: job.row.id for job in jobs})
        token.cancel()
        if jobs:
            self._book.mark([job.row.id for job in jobs], RemoteState.LEFT)
            for job in jobs:
                self._finish(_stopped(job.submitted, job.log))
        return len(jobs)

    # --- what is shown ---

    def holds(self, task_id: str) -> bool:
        """Whether the task's answer is at a provider and waited for."""
        return task_id in self._by_task

    @property
    def waiting(self) -> int:
        """Tasks whose answer is waited for."""
        return len(self._by_task)

    def live(self) -> dict[str, Live]:
        """How far each of them is."""
        jobs = list(self._open.values())
        return {job.submitted.task_id: Live(AT_PROVIDER, job.log.percent, job.log.preview) for job in jobs}

    def live_log(self, task_id: str) -> EditLog | None:
        """The log of one of them."""
        job = self._open.get(self._by_task.get(task_id, ""))
        return job.log if job is not None else None

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Block until nothing is waited for; False when ``timeout`` seconds passed first."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout)

    # --- inside ---

    def _row(self, remote_id: str) -> RemoteRow:
        found = self._book.find(remote_id)
        if found is None:
            raise NotFound(Code.JOB_UNKNOWN, id=remote_id)
        return found

    def _with_key(self, submitted: Submitted) -> Submitted:
        if submitted.config.api_key:
            return submitted
        config = self._with_secrets(submitted.config)
        return msgspec.structs.replace(submitted, config=config, ticket=submitted.ticket.with_key(config.api_key))

    def _watch(
        self, row: RemoteRow, submitted: Submitted, wait: float | None = None, unless: CancelToken | None = None
    ) -> bool:
        submitted = self._with_key(submitted)
        edit_log = EditLog(submitted.config.api_key)
        edit_log.entries = list(submitted.log)
        edit_log.stage = AT_PROVIDER
        pause = submitted.ticket.interval
        job = _Open(row, submitted, edit_log, 0.0, pause)
        with self._changed:  # `stop` takes the lock after the token was cancelled: one of the two is seen
            if unless is not None and unless.cancelled:
                return False
            self._open[row.id] = job
            self._by_task[submitted.task_id] = row.id
            self._left.pop(submitted.task_id, None)
            asked = submitted.ticket.wait if wait is None else wait
            self._schedule(job, pause if asked is None else asked)
            if self._thread is None and not self._closing:
                self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="remote")
                self._thread = threading.Thread(target=self._keep_time, name="remote", daemon=True)
                self._thread.start()
        self._on_change()
        return True

    def _schedule(self, job: _Open, seconds: float) -> None:
        """Ask for it in so many seconds; the caller holds the lock."""
        job.due = self._monotonic() + seconds
        heapq.heappush(self._times, (job.due, job.row.id))
        self._changed.notify_all()

    def _forget(self, jobs: Iterable[_Open]) -> None:
        for job in jobs:
            self._open.pop(job.row.id, None)
            self._by_task.pop(job.submitted.task_id, None)
        self._changed.notify_all()

    def _keep_time(self) -> None:
        """The one thread that waits: hands each job whose time has come to one that asks."""
        while True:
            with self._changed:
                job = self._next()
                if self._closing:
                    return
                if job is None:
                    continue
                job.busy = True
                token, pool = self._token, self._pool
            assert pool is not None
            pool.submit(self._ask, job, token)

    def _next(self) -> _Open | None:
        """The job whose time has come, once it has; None where something else has changed meanwhile."""
        now = self._monotonic()
        while self._times:
            due, remote_id = self._times[0]
            job = self._open.get(remote_id)
            if job is None or job.due != due or job.busy:  # collected, or due at another time
                heapq.heappop(self._times)
                continue
            if due > now:
                self._changed.wait(due - now)
                return None
            if sum(one.busy for one in self._open.values()) >= 2 * _THREADS:
                self._changed.wait(1.0)
                return None
            heapq.heappop(self._times)
            return job
        if not self._closing:
            self._changed.wait()
        return None

    def _ask(self, job: _Open, token: CancelToken) -> None:
        try:
            kept = len(job.log.entries)
            found = self._poll(job.submitted, token, job.log)
            if found.outcome is None and found.failure is None:
                del job.log.entries[kept:]  # "not yet" is told once, by the stage
            self._take(job, found)
        except Exception:  # a worker thread's outermost edge
            log.exception("job %s not collected", job.row.id)
            with self._changed:
                job.busy = False
                if job.row.id in self._open:
                    self._schedule(job, _LONGEST_PAUSE)

    def _take(self, job: _Open, found: Collected) -> None:
        """Heed what a question brought: the pictures, that it is not done yet, or why neither."""
        with self._changed:
            job.busy = False
            gone = self._open.get(job.row.id) is not job
            if gone and (found.outcome is None or not found.outcome.images):  # what has come is kept all the same
                return
        job.log.stage = AT_PROVIDER
        if found.outcome is not None:
            self._end(job.row, RemoteState.DONE, found.outcome)
        elif isinstance(found.failure, Stopped):
            return
        elif (given_up := self._given_up(job, found.failure)) is not None:
            state, problem = given_up
            job.log.add("error", code=problem.code, params=problem.params)
            self._end(job.row, state, _failed(job, problem))
        else:
            self._again(job, found)

    def _given_up(self, job: _Open, failure: ConsoleError | None) -> tuple[RemoteState, Problem] | None:
        """Why a job is waited for no longer, and whether it may still be collected; None to go on."""
        if failure is None:
            job.misses = 0
        else:
            job.misses += 1
            if failure.code is Code.JOB_FORGOTTEN:
                return (RemoteState.FAILED, failure.problem) if job.misses >= _FORGOTTEN else self._expired(job)
            passing = isinstance(failure, NetworkFailed) or (
                isinstance(failure, EditFailed) and failure.retryable and failure.code is not Code.JOB_UNREADABLE
            )
            if failure.code in _KEY_CODES or failure.code is Code.JOB_UNREADABLE or _is_about_question(failure):
                if job.misses >= _PATIENCE:
                    return RemoteState.LEFT, failure.problem
            elif failure.code is Code.CANDIDATES_REFUSED:
                job.doubts += 1
                if job.doubts >= _DOUBTED:
                    return RemoteState.LEFT, failure.problem
            elif not passing:
                return RemoteState.FAILED, failure.problem
        return self._expired(job)

    def _expired(self, job: _Open) -> tuple[RemoteState, Problem] | None:
        if self._clock() < job.row.expires_at:
            return None
        seconds = round(job.submitted.config.job_timeout_seconds)
        return RemoteState.LEFT, Problem(Code.JOB_TIMED_OUT, {"host": job.row.provider, "seconds": seconds})

    def _again(self, job: _Open, found: Collected) -> None:
        asked = found.wait
        if isinstance(found.failure, EditFailed):
            asked = found.failure.retry_after
        interval = job.submitted.ticket.interval
        with self._changed:
            job.pause = min(job.pause * _SLOWER, max(_LONGEST_PAUSE, interval))
            if job.row.id in self._open:
                self._schedule(job, max(job.pause, asked or 0.0))
        self._on_change()

    def _end(self, row: RemoteRow, state: RemoteState, outcome: EditOutcome) -> None:
        """The task has come to something. First the task, then the book: what is lost between is collected again."""
        try:
            self._finish(outcome)
        except NotFound:
            log.info("job %s belongs to no task any more", row.id)
        try:
            self._book.mark([row.id], state)
        except StorageFailed:
            log.exception("end of job %s not noted", row.id)
        with self._changed:
            job = self._open.get(row.id)
            self._forget([job] if job is not None else [])
            for task_id in row.tasks:
                if state is RemoteState.LEFT:
                    self._left[task_id] = row.id
                else:
                    self._left.pop(task_id, None)
        self._on_change()


def _is_about_question(failure: ConsoleError) -> bool:
    """Whether the question was refused by its status, and not what was asked for: 422 is what services say of that."""
    status = failure.http_status if isinstance(failure, EditFailed) else None
    return failure.code is Code.UPSTREAM_STATUS and status is not None and 400 <= status < 500 and status != 422


def _submitted(row: RemoteRow) -> Submitted:
    return msgspec.json.decode(row.body, type=Submitted)


def _stopped(submitted: Submitted, edit_log: EditLog | None = None) -> EditOutcome:
    entries = edit_log.entries if edit_log is not None else submitted.log
    return EditOutcome(
        submitted.task_id, TaskStatus.STOPPED, [], submitted.attempts, error=Stopped().problem, log=entries
    )


def _failed(job: _Open, problem: Problem) -> EditOutcome:
    submitted = job.submitted
    return EditOutcome(
        submitted.task_id,
        TaskStatus.FAILED,
        [],
        submitted.attempts,
        error=job.log.without_key(problem),
        log=job.log.entries,
        source_hash=submitted.source_hash,
        source_size=submitted.source_size,
        request_record=submitted.request_record,
    )
