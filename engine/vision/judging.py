"""Many questions at once: a person's order goes through as a job, results that land are judged along with the run.

Knows no store: a judgement is handed to ``keep`` as soon as it is there.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

import msgspec

from engine.errors import Code, ConsoleError, EditFailed, Problem, Stopped
from engine.models import Judgement
from engine.money import plain
from engine.tasks.costs import Costs, out_of_budget
from engine.upstream.cancel import CancelToken
from engine.upstream.transport import Transport
from engine.vision.ask import SendQuestion, VisionClient
from engine.vision.judge import SWAPPED_EACH, Asker, JudgedPair, Memory, Verdict, is_known, judge_pair, pair_key
from engine.vision.rubric import Rubric
from engine.vision.settings import JudgeConfig

_LOOK_SECONDS = 0.1
_FAILED_IN_A_ROW = 10  # then the judge is at fault, not the pairs
_OF_ONE_PAIR = frozenset(
    {
        Code.CONTENT_REFUSED,
        Code.SOURCE_MISSING,
        Code.SOURCE_CHANGED,
        Code.RESULT_FILE_MISSING,
        Code.PICTURE_UNREADABLE,
        Code.PICTURE_NOT_IMAGE,
        Code.PICTURE_BROKEN,
        Code.PICTURE_TOO_LARGE,
        Code.PICTURE_TOO_MANY_PIXELS,
    }
)
Item = TypeVar("Item")
log = logging.getLogger(__name__)


class Judge(msgspec.Struct, frozen=True):
    """Who judges, and by what. ``language``: of instructions and reasons."""

    config: JudgeConfig
    rubric: Rubric
    language: str = "en"


class Tally(msgspec.Struct, frozen=True):
    """What a job came to: answers that were asked for and paid, answers that were there, pairs done and not done."""

    calls: int = 0
    reused: int = 0
    done: int = 0
    failed: int = 0
    problem: Problem | None = None


class Streak:
    """Failures one after another, of which so many are no accident. Not thread-safe."""

    def __init__(self, workers: int) -> None:
        self._limit = max(_FAILED_IN_A_ROW, 2 * workers)
        self._count = 0

    def note(self, failure: Code | None) -> None:
        """Raises EditFailed (EVERY_TASK_FAILS) when too many in a row failed for a reason that is not one pair's."""
        if failure is None:
            self._count = 0
        elif failure not in _OF_ONE_PAIR:
            self._count += 1
            if self._count >= self._limit:
                raise EditFailed(Code.EVERY_TASK_FAILS, cause=failure)


def run_each(
    items: Sequence[Item],
    do: Callable[[Item, CancelToken], None],
    *,
    workers: int,
    check: Callable[[], None],
    progress: Callable[[int], None],
) -> list[tuple[Item, Problem]]:
    """Do something to each in so many threads; what failed, and why.

    ``check`` is called often and may raise: then every call ends at once. Raises EditFailed where everything fails.
    """
    cancel, streak, finished = CancelToken(), Streak(workers), 0
    failed: list[tuple[Item, Problem]] = []
    left = iter(items)
    with ThreadPoolExecutor(workers, thread_name_prefix="vision") as threads:
        open_ones: dict[Future[None], Item] = {}
        try:
            while True:
                check()
                while len(open_ones) < workers and (item := next(left, None)) is not None:
                    open_ones[threads.submit(do, item, cancel)] = item
                if not open_ones:
                    return failed
                done, _ = wait(open_ones, _LOOK_SECONDS, FIRST_COMPLETED)
                for future in done:
                    item = open_ones.pop(future)
                    problem = _problem_of(future)
                    if problem is not None and problem.code is Code.BUDGET_REACHED:
                        raise out_of_budget(problem)  # nor would the next be asked
                    if problem is not None:
                        failed.append((item, problem))
                    finished += 1
                    progress(finished)
                    streak.note(problem.code if problem else None)
        finally:
            cancel.cancel()


def _problem_of(future: Future[None]) -> Problem | None:
    try:
        future.result()
    except Stopped:
        raise
    except ConsoleError as error:
        return error.problem
    return None


class Judging:
    """All judging of one project. Thread-safe; ``close`` ends every call."""

    def __init__(
        self,
        transport: Transport,
        memory: Memory,
        keep: Callable[[JudgedPair, Judgement], None],
        *,
        costs: Costs | None = None,
        send: SendQuestion | None = None,
        clock: Callable[[], float] = time.time,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """``keep`` is called from several threads. ``send``: as `VisionClient` takes it."""
        self._costs = costs or Costs()
        self._transport = transport
        self._send = send
        self._memory = memory
        self._keep = keep
        self._clock = clock
        self._on_change = on_change
        self._changed = threading.Condition()
        self._threads: ThreadPoolExecutor | None = None
        self._cancel = CancelToken()
        self._along: Judge | None = None
        self._client: VisionClient | None = None
        self._streak = Streak(1)
        self._asking: set[str] = set()
        self._waiting = 0
        self._fresh = 0
        self._closed = False
        self.trouble: Problem | None = None
        """Why judging along was given up; None while it goes."""

    def plan(self, pairs: Sequence[JudgedPair], judge: Judge, *, again: bool = False) -> tuple[int, int]:
        """Answers that judging these would ask for, and those that are there."""
        fresh = (
            len(pairs) if again else sum(not is_known(pair, judge.config, judge.rubric, self._memory) for pair in pairs)
        )
        passes = judge.config.passes
        return (fresh + fresh // SWAPPED_EACH) * passes, (len(pairs) - fresh) * passes

    def judge(
        self,
        pairs: Sequence[JudgedPair],
        judge: Judge,
        *,
        again: bool = False,
        check: Callable[[], None] = lambda: None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Tally:
        """Judge them all; returns when done. Raises what ``check`` raises, and EditFailed where everything fails."""
        client = self._new_client(judge)
        lock, reused = threading.Lock(), [0]
        fresh = 0
        items: list[tuple[JudgedPair, bool]] = []
        for pair in pairs:
            known = not again and is_known(pair, judge.config, judge.rubric, self._memory)
            fresh += not known
            items.append((pair, not known and fresh % SWAPPED_EACH == 0))

        def one(item: tuple[JudgedPair, bool], cancel: CancelToken) -> None:
            verdict = self._one(item[0], judge, client, cancel, swap=item[1], again=again)
            with lock:
                reused[0] += verdict.reused

        failed = run_each(items, one, workers=judge.config.concurrency_limit, check=check, progress=progress)
        problem = failed[0][1] if failed else None
        return Tally(client.calls, reused[0], len(pairs) - len(failed), len(failed), problem)

    def _new_client(self, judge: Judge) -> VisionClient:
        return VisionClient(self._transport, judge.config.connection, costs=self._costs, send=self._send)

    def _one(
        self, pair: JudgedPair, judge: Judge, client: VisionClient, cancel: CancelToken, *, swap: bool, again: bool
    ) -> Verdict:
        with self._alone(pair_key(pair, judge.config, judge.rubric), cancel):
            verdict = judge_pair(
                pair,
                judge.rubric,
                Asker(judge.config, client, self._memory, cancel),
                language=judge.language,
                swap=swap,
                again=again,
                now=int(self._clock()),
            )
        self._keep(pair, verdict.judgement)
        return verdict

    @contextlib.contextmanager
    def _alone(self, key: str, cancel: CancelToken) -> Iterator[None]:
        """While the same question is asked by another thread, wait: its answer will do. Raises Stopped."""
        with self._changed:
            while key in self._asking:
                self._changed.wait(_LOOK_SECONDS)
                cancel.check()
            self._asking.add(key)
        try:
            yield
        finally:
            with self._changed:
                self._asking.discard(key)
                self._changed.notify_all()

    # --- along with a run ---

    def go_along(self, judge: Judge | None) -> None:
        """From now on judge what lands with this judge; None: nothing any more."""
        with self._changed:
            self._along, self.trouble, self._fresh = judge, None, 0
            self._cancel = CancelToken()
            if judge is not None:
                self._client = self._new_client(judge)
                self._streak = Streak(judge.config.concurrency_limit)
                threads, self._threads = (
                    self._threads,
                    ThreadPoolExecutor(judge.config.concurrency_limit, thread_name_prefix="judge"),
                )
                if threads is not None:
                    threads.shutdown(wait=False)

    @property
    def goes_along(self) -> bool:
        """Whether what lands is judged."""
        return self._along is not None and self.trouble is None and not self._cancel.cancelled

    @property
    def waiting(self) -> int:
        """Pairs that have come and are not judged yet."""
        return self._waiting

    @property
    def paid(self) -> float:
        """What judging along has cost since it began."""
        return plain(self._client.paid) if self._client is not None else 0.0

    def judge_new(self, pair: JudgedPair) -> None:
        """A result has come: judge it when its turn is there. Returns at once."""
        with self._changed:
            judge, client, threads = self._along, self._client, self._threads
            if judge is None or client is None or threads is None or self._closed or not self.goes_along:
                return
            self._waiting += 1
            threads.submit(self._judge_result, pair, judge, client, self._cancel)

    def stop(self) -> None:
        """End every call that judges along; what is not judged can be judged later."""
        with self._changed:
            self._cancel.cancel()
            self._changed.notify_all()

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Until nothing waits to be judged along; False when ``timeout`` seconds passed first."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting == 0, timeout)

    def close(self) -> None:
        """End every call and thread."""
        self._closed = True
        self.stop()
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def _judge_result(self, pair: JudgedPair, judge: Judge, client: VisionClient, cancel: CancelToken) -> None:
        failure: ConsoleError | None = None
        try:
            cancel.check()
            known = is_known(pair, judge.config, judge.rubric, self._memory)
            with self._changed:
                self._fresh += not known
                swap = not known and self._fresh % SWAPPED_EACH == 0
            self._one(pair, judge, client, cancel, swap=swap, again=False)
        except Stopped:
            pass
        except ConsoleError as error:
            failure = error
            log.info("result %s not judged: %s", pair.result_id, error.code)
        except Exception:  # the outermost edge of one judgement in its thread
            log.exception("result %s not judged", pair.result_id)
        finally:
            self._note(failure, cancel)

    def _note(self, failure: ConsoleError | None, cancel: CancelToken) -> None:
        with self._changed:
            self._waiting -= 1
            try:
                if not cancel.cancelled:
                    self._streak.note(failure.code if failure else None)
            except EditFailed as error:
                self.trouble = error.problem
            self._changed.notify_all()
        self._on_change()
