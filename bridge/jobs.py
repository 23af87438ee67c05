"""Long work that is no batch: one job at a time in a thread of its own, with progress, and a stop obeyed soon."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from enum import StrEnum

import msgspec

from engine.errors import Busy, Code, ConsoleError, Problem, Stopped
from engine.upstream.cancel import CancelToken

_TELL_SECONDS = 0.2
_LEAST_SECONDS = 1.0  # of steps before a rate says anything
log = logging.getLogger(__name__)


class JobKind(StrEnum):
    """What a job does."""

    PREFLIGHT = "preflight"
    EXPORT = "export"
    REPORT = "report"
    JUDGE = "judge"
    CAPTIONS = "captions"
    PROMPTS = "prompts"
    ROUNDS = "rounds"
    COMPARE = "compare"
    PROJECT_EXPORT = "project_export"
    PROJECT_IMPORT = "project_import"


class JobStatus(StrEnum):
    """Where a job stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"


class JobResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a job, as far as its kind has it: where it wrote, counts of pairs and files, bytes.

    Of questions to a vision model: ``calls`` that were answered and paid, answers that were ``reused``, pairs that
    ``failed`` and the ``problem`` of the first. ``project``: the id of
    the one that was written or made.
    """

    path: str | None = None
    pairs: int = 0
    bad: int = 0
    left_out: int = 0
    validation: int = 0
    files: int = 0
    bytes: int = 0
    calls: int = 0
    reused: int = 0
    failed: int = 0
    problem: Problem | None = None
    project: str | None = None


class JobState(msgspec.Struct, frozen=True):
    """A job as it is now. ``done`` of ``total`` steps; ``total`` 0 while not known; ``started_at`` in Unix seconds.
    ``rate_per_minute``: steps since these steps began; ``seconds_left`` at this rate, None while nobody can tell.
    ``found``: findings that can be listed so far."""

    id: int
    kind: JobKind
    status: JobStatus
    started_at: int
    done: int = 0
    total: int = 0
    rate_per_minute: float = 0.0
    seconds_left: int | None = None
    found: int = 0
    problem: Problem | None = None
    result: JobResult | None = None


class Job:
    """What the work itself sees of its job."""

    def __init__(self, cancel: CancelToken, tell: Callable[[int, int, float, int], None]) -> None:
        self.cancel = cancel
        self._tell = tell
        self._done = 0
        self._total = 0
        self._found = 0
        self._began = time.monotonic()

    def check(self) -> None:
        """Raises Stopped once somebody stopped the job."""
        self.cancel.check()

    def stop(self) -> None:
        """End the job: what it waits for was stopped."""
        self.cancel.cancel()

    def expect(self, total: int) -> None:
        """How many steps there are; those done start from none."""
        self._done, self._total, self._began = 0, total, time.monotonic()
        self._tell_all()

    def progress(self, done: int) -> None:
        """How many steps are done."""
        self._done = done
        self._tell_all()

    def tell_found(self, findings: int) -> None:
        """How many findings can be listed."""
        self._found = findings
        self._tell_all()

    def _tell_all(self) -> None:
        self._tell(self._done, self._total, time.monotonic() - self._began, self._found)


Work = Callable[[Job], JobResult]


class Jobs:
    """Runs one job at a time, and remembers the last."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._lock = threading.RLock()  # a signal's handler may stop the job while its thread starts it
        self._cancel = CancelToken()
        self._thread: threading.Thread | None = None
        self._state: JobState | None = None
        self._told = 0.0

    @property
    def state(self) -> JobState | None:
        """The job that runs, or the last one."""
        return self._state

    def start(self, kind: JobKind, work: Work) -> JobState:
        """Begin a job. Raises Busy (JOB_RUNNING)."""
        with self._lock:
            if self._state is not None and self._state.status is JobStatus.RUNNING:
                raise Busy(Code.JOB_RUNNING, kind=self._state.kind.value)
            number = self._state.id + 1 if self._state else 1
            state = self._state = JobState(number, kind, JobStatus.RUNNING, int(time.time()))
            self._cancel = CancelToken()
            self._thread = threading.Thread(
                target=self._run, args=(work, self._cancel), name=f"job-{kind}", daemon=True
            )
            self._thread.start()
        self._on_change()
        return state

    def stop(self) -> bool:
        """End the job that runs, soon; whether there was one."""
        with self._lock:
            running = self._state is not None and self._state.status is JobStatus.RUNNING
            self._cancel.cancel()
        return running

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Wait until nothing runs; whether that came about in time (seconds)."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
            return not thread.is_alive()
        return True

    def close(self) -> None:
        """Stop what runs and wait for it."""
        self.stop()
        self.wait_idle()

    def _run(self, work: Work, cancel: CancelToken) -> None:
        try:
            result = work(Job(cancel, self._tell))
            self._end(JobStatus.DONE, result=result)
        except Stopped as error:
            self._end(JobStatus.STOPPED, error.problem)
        except ConsoleError as error:
            self._end(JobStatus.FAILED, error.problem)
        except Exception:  # a thread's outermost edge
            log.exception("job failed")
            self._end(JobStatus.FAILED, Problem(Code.INTERNAL))

    def _end(self, status: JobStatus, problem: Problem | None = None, result: JobResult | None = None) -> None:
        assert self._state is not None
        self._state = msgspec.structs.replace(
            self._state, status=status, problem=problem, result=result, seconds_left=None
        )
        self._on_change()

    def _tell(self, done: int, total: int, seconds: float, found: int) -> None:
        """Note the progress; who listens hears of it a few times a second."""
        assert self._state is not None
        rate = done / seconds if done and seconds >= _LEAST_SECONDS else 0.0
        self._state = msgspec.structs.replace(
            self._state,
            done=done,
            total=total,
            rate_per_minute=round(rate * 60, 1),
            seconds_left=math.ceil((total - done) / rate) if rate and total else None,
            found=found,
        )
        now = time.monotonic()
        if now - self._told >= _TELL_SECONDS or done == total:
            self._told = now
            self._on_change()
