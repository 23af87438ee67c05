"""Our side of a cluster: where it is, who is in it, and how an attempt is made there as if by a thread of ours.

Dask carries errands and answers and tells when a worker is lost; which worker makes an attempt, that none is made twice
without our knowing, and what a loss means for a task is decided here. Each errand goes to one worker by name, and the
scheduler must not run tasks of a dead worker again by itself (``allowed-failures: 0``).
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
import time
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from distributed import Client, LocalCluster
from distributed.client import Future
from distributed.security import Security

from engine.cluster.address import ClusterInfo, ClusterOrder, check_order
from engine.cluster.worker import FORGET, LEARN, STOP, DeskPlugin, Errand, Facts, Kept, Reply, Told, facts, run_errand
from engine.cluster.worker import waiting as waiting_answers
from engine.config import ApiConfig
from engine.errors import ClusterFailed, Code, Problem, Stopped
from engine.tasks.attempt import AttemptOrder, AttemptOutcome, Watch
from engine.tasks.failures import Failure
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy

_CONNECT_SECONDS = 10.0
_WORKERS_SECONDS = 30.0
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 2.0
_AGAIN_SECONDS = 2.0
_THREADS = 64  # slots of a local worker; an errand leaves its slot at once, so this bounds only measurements
T = TypeVar("T")
R = TypeVar("R")
log = logging.getLogger(__name__)


class Cluster:
    """A connection to a cluster, and its workers. Thread-safe; ``close`` ends the local ones."""

    def __init__(self, order: ClusterOrder, policy: NetPolicy, *, max_redirects: int, program: str, owner: str) -> None:
        """``program``: our version. ``owner``: whose answers may wait in an outbox, the same at each start."""
        local = check_order(order)
        self._order = order
        self._owner = owner
        self._program = program
        self._told = Told(policy, max_redirects, order.outbox)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._in_flight: Counter[str] = Counter()
        self._known: dict[str, int] = {}  # threads by worker
        self._lost: set[str] = set()
        self._learned: set[tuple[str, str]] = set()
        self._stopped: set[tuple[str, str]] = set()
        self._runs: weakref.WeakKeyDictionary[CancelToken, str] = weakref.WeakKeyDictionary()
        self._sends_sources = False
        self._gone: Problem | None = None
        self._closing = threading.Event()
        with contextlib.ExitStack() as opened:
            target: Any = order.address
            if local:
                target = opened.enter_context(_local(local))
            self._client = opened.enter_context(self._connect(target))
            self._check()
            self._client.register_plugin(DeskPlugin(msgspec.msgpack.encode(self._told)))
            self._look()
            self._watcher = threading.Thread(target=self._watch, name="cluster", daemon=True)
            self._watcher.start()
            opened.callback(self._end_watch)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Leave the cluster."""
        self._opened.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def problem(self) -> Problem | None:
        """Why nothing can be asked at the moment."""
        return self._gone

    def info(self) -> ClusterInfo:
        """The cluster as it is known."""
        with self._lock:
            return ClusterInfo(
                self._order.address,
                len(self._known),
                sum(self._known.values()),
                sum(self._in_flight.values()),
                len(self._lost),
            )

    # --- attempts ---

    def make(self, order: AttemptOrder, watch: Watch) -> AttemptOutcome:
        """As `Attempts.make`: by a worker, waited for. Where that worker is lost, another one makes the attempt again;
        the log says so, since the call may have been paid."""
        config_id = _digest(order.config)
        run = self._run_of(watch.cancel)
        masked = msgspec.structs.replace(order, config=order.config.masked())
        while True:
            token = uuid.uuid4().hex
            try:
                worker = self._take_worker(watch.cancel)
            except Stopped as stopped:
                return AttemptOutcome(failure=Failure.of(stopped))
            try:
                reply = self._ask(
                    worker, Errand(masked, config_id, token, run, self._owner, order.task_id), order, watch
                )
            finally:
                self._give_back(worker)
            if reply is None:
                self._lose(worker)
                watch.log.add("retry", code=Code.WORKER_LOST, params={"worker": worker}, what="worker")
                continue
            outcome = reply.outcome
            assert outcome is not None
            return self._hand_over(worker, token, outcome, watch)

    def _ask(self, worker: str, errand: Errand, order: AttemptOrder, watch: Watch) -> Reply | None:
        """The worker's answer; None where the worker is lost."""
        if self._sends_sources:
            errand = _with_sources(errand, order)
        while True:
            self._teach(worker, errand.config_id, order.config)
            watch.log.stage = "asking"
            reply = self._wait_for(worker, errand, watch.cancel)
            if reply is None or not reply.wants:
                return reply
            if reply.wants == "sources":
                self._sends_sources = True  # workers that do not see our files will not see the next ones either
                errand = _with_sources(errand, order)
            else:
                self._learned.discard((worker, errand.config_id))

    def _wait_for(self, worker: str, errand: Errand, cancel: CancelToken) -> Reply | None:
        done = threading.Event()
        try:
            future: Future[Reply] = self._client.submit(
                run_errand,
                errand,
                workers=[worker],
                allow_other_workers=False,
                pure=False,
                retries=0,
                key=f"edit-{errand.token}",
            )
        except (RuntimeError, OSError, ValueError):  # the client was closed, or lost its scheduler
            return None
        future.add_done_callback(lambda _: done.set())

        def stop() -> None:
            done.set()
            self._stop_soon(errand.run)

        try:
            with cancel.closing(stop):
                while not done.wait(_LOOK_SECONDS):
                    if worker in self._lost:
                        return None
        except Stopped:
            pass
        if cancel.cancelled:
            end = time.monotonic() + _STOP_SECONDS  # what had arrived there comes home
            while future.status == "pending" and time.monotonic() < end and worker not in self._lost:
                self._closing.wait(0.01)
            if future.status != "finished":
                future.release()
                return Reply(AttemptOutcome(failure=Failure.of(Stopped())))
        if future.status != "finished":  # KilledWorker, or lost with the scheduler
            return None
        reply = future.result()
        assert isinstance(reply, Reply)
        return reply

    def _hand_over(self, worker: str, token: str, outcome: AttemptOutcome, watch: Watch) -> AttemptOutcome:
        """Give what came to whoever waits; then the worker need keep it no longer."""
        watch.log.entries.extend(outcome.log)
        if outcome.failure is None:
            watch.began()
            watch.answered()
        for picture in outcome.pictures:
            watch.keep(picture)
        if outcome.pictures:
            self._say(worker, FORGET, tokens=[token])
        return msgspec.structs.replace(outcome, pictures=[], log=[])

    # --- measurements ---

    def map(self, function: Callable[[T], R], items: Sequence[T], check: Callable[[], None]) -> Iterator[R]:
        """``function`` of each item by the workers, in order. ``check`` is called often; what it raises ends it."""
        futures = self._client.map(function, items, pure=False, retries=0)
        try:
            for future in futures:
                while future.status == "pending":
                    check()
                    with contextlib.suppress(TimeoutError):
                        future.result(timeout=_LOOK_SECONDS)
                yield future.result()
        finally:
            self._client.cancel(futures)

    # --- the outbox ---

    def collect(self) -> list[tuple[str, Kept]]:
        """Answers that workers hold for us and nobody came for, by worker; `taken` once they are kept."""
        found = self._client.run(waiting_answers, self._owner)
        seen: set[str] = set()
        answers = []
        for worker, kept in found.items():
            for one in kept:
                if one.token not in seen:  # workers of one machine may share an outbox
                    seen.add(one.token)
                    answers.append((worker, one))
        return answers

    def taken(self, worker: str, token: str) -> None:
        """The answer is kept here."""
        self._say(worker, FORGET, tokens=[token])

    # --- inside ---

    def _connect(self, target: Any) -> Client:
        security: Any = None
        if self._order.address.startswith("tls:"):
            order = self._order
            security = Security(
                tls_ca_file=order.ca, tls_client_cert=order.cert, tls_client_key=order.key, require_encryption=True
            )
        try:
            return Client(target, timeout=_CONNECT_SECONDS, security=security, set_as_default=False)
        except (OSError, TimeoutError, ValueError, TypeError) as error:
            raise ClusterFailed(Code.CLUSTER_GONE, address=self._order.address, reason=_reason(error)) from error

    def _check(self) -> None:
        """Refuse a cluster with which nothing good could come of it."""
        try:
            self._client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
        except TimeoutError as error:
            raise ClusterFailed(Code.CLUSTER_EMPTY, address=self._order.address) from error
        allowed = self._client.run_on_scheduler(_allowed_failures)
        if allowed != 0:
            raise ClusterFailed(Code.CLUSTER_REPEATS, address=self._order.address, allowed=allowed)
        own = facts(self._program)
        try:
            others: Mapping[str, Facts] = self._client.run(facts, self._program)
        except Exception as error:  # the edge to other machines: they may lack this program altogether
            raise ClusterFailed(Code.CLUSTER_DIFFERS, own=str(own), other=_reason(error)) from error
        for worker, other in others.items():
            if other != own:
                raise ClusterFailed(
                    Code.CLUSTER_DIFFERS, own=f"Python {own.python}", other=f"{worker}: Python {other.python}"
                )

    def _take_worker(self, cancel: CancelToken) -> str:
        """The worker with the fewest attempts for its size; waits while there is none. Raises Stopped."""
        while True:
            cancel.check()
            with self._changed:
                if self._known and self._gone is None:
                    worker = min(self._known, key=lambda name: (self._in_flight[name], name))
                    self._in_flight[worker] += 1
                    return worker
            cancel.wait(_LOOK_SECONDS)

    def _lose(self, worker: str) -> None:
        """Ask this worker for nothing more, unless the scheduler goes on to name it."""
        with self._changed:
            if self._known.pop(worker, None) is not None:
                self._lost.add(worker)

    def _give_back(self, worker: str) -> None:
        with self._changed:
            self._in_flight[worker] -= 1
            if not self._in_flight[worker]:
                del self._in_flight[worker]

    def _teach(self, worker: str, config_id: str, config: ApiConfig) -> None:
        if (worker, config_id) not in self._learned:
            self._say(worker, LEARN, config_id=config_id, config=msgspec.msgpack.encode(config))
            self._learned.add((worker, config_id))

    def _run_of(self, cancel: CancelToken) -> str:
        with self._lock:
            return self._runs.setdefault(cancel, uuid.uuid4().hex)

    def _stop_soon(self, run: str) -> None:
        """Tell every worker to end a run's calls, once for all who wait."""
        with self._lock:
            workers = [worker for worker in self._in_flight if (worker, run) not in self._stopped]
            self._stopped.update((worker, run) for worker in workers)
        for worker in workers:
            self._client.loop.add_callback(self._send, worker, STOP, {"run": run})

    def _say(self, worker: str, operation: str, **what: Any) -> None:
        """Over a connection between us and the worker. A worker that is gone is noticed elsewhere."""
        with contextlib.suppress(OSError, RuntimeError, TimeoutError):
            self._client.sync(self._send, worker, operation, what, callback_timeout=_CONNECT_SECONDS)

    async def _send(self, worker: str, operation: str, what: dict[str, Any]) -> None:
        try:
            await getattr(self._client.rpc(worker), operation)(**what)
        except OSError:
            log.info("worker %s cannot be reached", worker)

    # --- the watcher's thread ---

    def _watch(self) -> None:
        while not self._closing.wait(_LOOK_SECONDS):
            try:
                self._look()
            except (OSError, RuntimeError, TimeoutError) as error:
                if not self._closing.is_set():
                    self._gone = Problem(Code.CLUSTER_GONE, {"address": self._order.address, "reason": _reason(error)})
            else:
                self._gone = None

    def _look(self) -> None:
        told = self._client.sync(self._client.scheduler.identity, n_workers=-1, callback_timeout=_AGAIN_SECONDS)
        workers = {name: int(worker["nthreads"]) for name, worker in told["workers"].items()}
        with self._changed:
            gone = self._known.keys() - workers.keys()
            self._lost |= gone
            self._known = workers
            self._changed.notify_all()
        for worker in gone:
            log.warning("worker %s is lost", worker)

    def _end_watch(self) -> None:
        self._closing.set()
        self._watcher.join(_STOP_SECONDS)


def _local(workers: int) -> LocalCluster:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=_THREADS,
        processes=True,
        dashboard_address=None,
        host="127.0.0.1",
        silence_logs=logging.ERROR,
        scheduler_kwargs={"allowed_failures": 0},
    )


def _allowed_failures(dask_scheduler: Any = None) -> int:
    return int(dask_scheduler.allowed_failures)


def _with_sources(errand: Errand, order: AttemptOrder) -> Errand:
    sources = tuple(
        msgspec.structs.replace(source, data=source.data or source.read(order.limits.max_source_bytes).data)
        for source in order.sources
    )
    return msgspec.structs.replace(errand, order=msgspec.structs.replace(errand.order, sources=sources))


def _digest(config: ApiConfig) -> str:
    return hashlib.sha256(msgspec.msgpack.encode(config)).hexdigest()[:32]


def _reason(error: BaseException) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__
