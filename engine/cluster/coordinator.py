"""Our side of a cluster: where it is, who is in it, and how something is done there as if by a thread of ours.

Dask carries what is asked and tells when a worker is lost; which worker does it, and what a loss means, is decided
here. Each errand goes to one worker by name, and the scheduler must not run tasks of a dead worker again by itself
(``allowed-failures: 0``). Beside Dask's way by the scheduler there is one of ours to each worker, for what no scheduler
may see, and for when there is none: its connections are kept in a pool of their own.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import hashlib
import logging
import socket
import threading
import time
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import msgspec
from distributed import Client, LocalCluster
from distributed.client import Future, FutureCancelledError
from distributed.core import ConnectionPool
from distributed.scheduler import KilledWorker
from distributed.security import Security
from distributed.utils import LoopRunner, sync

from engine.cluster.address import ClusterInfo, ClusterOrder, check_order
from engine.cluster.messages import Question, Told, Work
from engine.cluster.vetting import Process, Vetting, reason_of
from engine.cluster.worker import (
    ANSWER,
    FORGET,
    LEARN,
    STOP,
    DeskPlugin,
    compute,
    facts,
    picture_tools,
    run_question,
)
from engine.config import ApiConfig
from engine.errors import ClusterFailed, Code, Problem, Stopped
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy

_CONNECT_SECONDS = 10.0
_WORKERS_SECONDS = 30.0
_LOOK_SECONDS = 0.5
_STOP_SECONDS = 2.0
_AGAIN_SECONDS = 2.0
_CLOSE_SECONDS = 0.5
_THREADS = 1  # of a local worker: so much is computed at once; calls only wait, beside it
_AHEAD = 1  # pieces of work more than a worker computes at once, so that it does not wait for the next one
_MOST_AT_ONCE = 64
T = TypeVar("T")
R = TypeVar("R")
log = logging.getLogger(__name__)


class WorkerLost(Exception):
    """Nothing more will come from a worker by way of the scheduler."""


class Cluster:
    """A connection to a cluster, and its workers. Thread-safe; ``close`` ends the local ones."""

    def __init__(
        self,
        order: ClusterOrder,
        policy: NetPolicy,
        *,
        max_redirects: int,
        on_change: Callable[[], None] = lambda: None,
        on_problem: Callable[[Sequence[Problem]], None] = lambda _: None,
    ) -> None:
        """``on_change``: called when workers come or go; ``on_problem``: when some come that are refused; both from
        threads of ours."""
        local = check_order(order)
        self._order = order
        outbox = str(Path(order.shared) / "outbox") if order.shared else order.outbox
        self.told = Told(policy, max_redirects, outbox, shared=bool(order.shared), ours=bool(local))
        self.session = uuid.uuid4().hex
        self._on_change = on_change
        self._vetting = Vetting(order.shared, self.session, on_problem)
        self._refused: list[Problem] = []
        self._changed = threading.Condition()
        self._in_flight: Counter[str] = Counter()
        self._known: dict[str, int] = {}  # threads by worker
        self._lost = 0
        self._scheduler_id = ""
        self._tools = picture_tools()
        self._learned: dict[tuple[str, str], str] = {}  # processes, by address and configuration
        self._stopped: set[tuple[str, str]] = set()
        self._runs: weakref.WeakKeyDictionary[CancelToken, str] = weakref.WeakKeyDictionary()
        self._gone: Problem | None = None
        self._closing = threading.Event()
        self._security = self._tls()
        with contextlib.ExitStack() as opened:
            runner = LoopRunner()
            runner.start()
            opened.callback(runner.stop)
            self._loop = runner.loop
            self._pool: ConnectionPool = sync(self._loop, self._open_pool)
            opened.callback(lambda: sync(self._loop, self._pool.close))
            target: Any = order.address
            if local:
                target = opened.enter_context(_local(local, self._loop, self._security))
            self._client = self._connect(target, _CONNECT_SECONDS)
            opened.callback(self._let_go)
            self._check()
            self._look()
            self._watcher = threading.Thread(target=self._watch, name="cluster", daemon=True)
            self._watcher.start()
            opened.callback(self._leave)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Leave the cluster."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def problem(self) -> Problem | None:
        """Why nothing can be asked at the moment."""
        if self._gone is not None or self._known:
            return self._gone
        if self._refused:
            return self._refused[0]
        return Problem(Code.CLUSTER_EMPTY, {"address": self._order.address})

    def info(self) -> ClusterInfo:
        """The cluster as it is known."""
        with self._changed:
            return ClusterInfo(
                self._order.address,
                len(self._known),
                sum(self._known.values()),
                sum(self._in_flight.values()),
                self._lost,
            )

    # --- asking ---

    def run_at(
        self,
        worker: str,
        function: Callable[[T], R],
        argument: T,
        run: str,
        cancel: CancelToken,
        *,
        patience: float = _STOP_SECONDS,
    ) -> R:
        """What ``function`` makes of the argument in that worker. Raises Stopped, once what had come until the stop is
        home or ``patience`` seconds passed; WorkerLost; and what the function raises."""
        done, client = threading.Event(), self._client
        try:
            future: Future[R] = client.submit(
                function, argument, workers=[worker], allow_other_workers=False, pure=False, retries=0,
                key=f"image-batch-{uuid.uuid4().hex}",
            )  # fmt: skip
        except (RuntimeError, OSError, ValueError) as error:  # the client was closed, or lost its scheduler
            raise WorkerLost from error
        future.add_done_callback(lambda _: done.set())

        def stop() -> None:
            done.set()
            self._stop_soon(run)

        with contextlib.suppress(Stopped), cancel.closing(stop):
            while not done.wait(_LOOK_SECONDS):
                cancel.check()
                if worker not in self._known and self._gone is None:
                    raise WorkerLost
        if cancel.cancelled:
            end = time.monotonic() + patience
            while future.status == "pending" and time.monotonic() < end and worker in self._known:
                self._closing.wait(0.01)
            if future.status != "finished":
                future.release()
                raise Stopped
        if future.status == "error":
            fault = future.exception()
            if fault is not None and not isinstance(fault, KilledWorker):
                raise fault
        if future.status != "finished":  # KilledWorker, or lost with the scheduler
            raise WorkerLost
        return self._gathered(client, future, worker)

    def _gathered(self, client: Client, future: Future[R], worker: str) -> R:
        """What came of it, which lies at the worker until it is here. WorkerLost where the worker dies meanwhile: Dask
        would make it again, at a worker that is no more, and wait for ever."""
        gathering: Any = client.gather(future, asynchronous=True)
        coming: concurrent.futures.Future[R] = asyncio.run_coroutine_threadsafe(gathering, self._loop.asyncio_loop)
        while not concurrent.futures.wait([coming], _LOOK_SECONDS).done:
            if worker not in self._known and self._gone is None:
                coming.cancel()
                future.cancel()
                raise WorkerLost
        try:
            return coming.result()
        except (FutureCancelledError, concurrent.futures.CancelledError, KilledWorker, OSError) as error:
            raise WorkerLost from error  # Dask cancels what it gathers when it hears of the worker's end first

    def ask(self, config: ApiConfig, body: bytes, cancel: CancelToken) -> bytes:
        """A question to a vision model; see `vision.ask.SendQuestion`. Where a worker is lost another one asks."""
        question = Question(_digest(config), body, self.run_of(cancel), self.session)
        while True:
            with self.worker(cancel) as worker:
                try:
                    self.teach(worker, question.config_id, config)
                    answer, failure = self.run_at(worker, run_question, question, question.run, cancel)
                except WorkerLost:
                    self.lose(worker)
                    continue
            if failure is not None:
                raise failure.error
            if answer is not None:
                return answer
            self.unlearn(worker, question.config_id)

    def compute(
        self,
        function: Callable[[T, CancelToken], R],
        argument_for: Callable[[str], T],
        cancel: CancelToken,
    ) -> tuple[str, R | None]:
        """What a worker makes of its argument, and which worker; nothing where there is none, where it is lost, or
        does not succeed: then it is to be done here. Raises Stopped."""
        run = self.run_of(cancel)
        try:
            with self.worker(cancel, patient=False) as worker:
                work = Work(function, argument_for(worker), run, self._tools)
                return worker, self.run_at(worker, compute, work, run, cancel, patience=0)
        except WorkerLost:
            return "", None

    @property
    def work_at_once(self) -> int:
        """How many pieces of work are best given to ``compute`` at once."""
        with self._changed:
            return max(1, min(_MOST_AT_ONCE, sum(threads + _AHEAD for threads in self._known.values())))

    @contextlib.contextmanager
    def worker(self, cancel: CancelToken, *, patient: bool = True) -> Iterator[str]:
        """The worker with the fewest calls for its threads; ``patient``: waits while there is none. Raises Stopped,
        WorkerLost."""
        cancel.check()
        while (name := self._take_least_busy()) is None:
            if not patient:
                raise WorkerLost
            cancel.wait(_LOOK_SECONDS)
        try:
            yield name
        finally:
            with self._changed:
                self._in_flight[name] -= 1
                if not self._in_flight[name]:
                    del self._in_flight[name]

    def _take_least_busy(self) -> str | None:
        with self._changed:
            if not self._known or self._gone is not None:
                return None
            name = min(self._known, key=lambda one: (self._in_flight[one] / max(1, self._known[one]), one))
            self._in_flight[name] += 1
            return name

    def lose(self, worker: str) -> None:
        """Ask this worker for nothing more, unless the scheduler goes on to name it."""
        with self._changed:
            if self._known.pop(worker, None) is not None:
                self._lost += 1
            self._learned = {known: process for known, process in self._learned.items() if known[0] != worker}

    def teach(self, worker: str, config_id: str, config: ApiConfig) -> str:
        """The worker knows the secrets of a configuration afterwards; which process that is. Raises WorkerLost."""
        process = self._learned.get((worker, config_id))
        if process is None:
            data = msgspec.msgpack.encode(config)
            try:
                process = str(
                    self.say(worker, LEARN, session=self.session, config_id=config_id, config=data, now=time.time())
                )
            except OSError as error:
                raise WorkerLost from error
            self._learned[worker, config_id] = process
        return process

    def unlearn(self, worker: str, config_id: str) -> None:
        """The worker does not know it after all."""
        self._learned.pop((worker, config_id), None)

    def run_of(self, cancel: CancelToken) -> str:
        """Under which name workers know what a token stops."""
        with self._changed:
            return self._runs.setdefault(cancel, uuid.uuid4().hex)

    def stop_run(self, run: str) -> None:
        """Tell every worker to end a run's calls; returns at once."""
        for worker in self.workers:
            self._loop.add_callback(self._send_quietly, worker, STOP, {"run": run})

    def _stop_soon(self, run: str) -> None:
        """The same, once for all who wait."""
        with self._changed:
            workers = [worker for worker in self._in_flight if (worker, run) not in self._stopped]
            self._stopped.update((worker, run) for worker in workers)
        for worker in workers:
            self._loop.add_callback(self._send_quietly, worker, STOP, {"run": run})

    @property
    def workers(self) -> list[str]:
        """Those that are known."""
        with self._changed:
            return list(self._known)

    def on_each(self, function: Callable[..., R], *arguments: Any) -> dict[str, R]:
        """What ``function`` gives in each worker, between its other work."""
        found: dict[str, R] = self._client.run(function, *arguments)
        return found

    # --- past the scheduler ---

    def say(self, worker: str, operation: str, **what: Any) -> Any:
        """Over a connection between us and the worker. Raises OSError."""
        try:
            return sync(self._loop, self._send, worker, operation, what, callback_timeout=_CONNECT_SECONDS)
        except RuntimeError as error:  # we are closing
            raise OSError(str(error)) from error

    def forget(self, worker: str, token: str) -> None:
        """An answer that the worker keeps is kept here now; returns at once."""
        what = {"session": self.session, "tokens": [token]}
        self._loop.add_callback(self._send_quietly, worker, FORGET, what)

    def is_listening(self, worker: str) -> bool | None:
        """Whether anybody is at a worker's address; None where nobody says so, as if the network were cut."""
        host, _, port = worker.partition("://")[2].rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _AGAIN_SECONDS).close()
        except ConnectionRefusedError:
            return False
        except OSError:
            return None
        return True

    def answer_of(self, worker: str, token: str) -> bytes:
        """What became of an errand, as far as it is; empty where the worker does not know it. OSError."""
        found = self.say(worker, ANSWER, session=self.session, token=token)
        assert isinstance(found, bytes)
        return found

    async def _open_pool(self) -> ConnectionPool:
        arguments = self._security.get_connection_args("client") if self._security is not None else {}
        pool = ConnectionPool(connection_args=arguments)
        await pool.start()
        return pool

    async def _send(self, worker: str, operation: str, what: dict[str, Any]) -> Any:
        return await getattr(self._pool(worker), operation)(**what)

    async def _send_quietly(self, worker: str, operation: str, what: dict[str, Any]) -> None:
        try:
            await self._send(worker, operation, what)
        except OSError:
            log.info("worker %s cannot be reached", worker)

    # --- connecting ---

    @property
    def _plugin(self) -> DeskPlugin:
        return DeskPlugin(self.session, msgspec.msgpack.encode(self.told))

    def _tls(self) -> Any:
        order = self._order
        if order.address.startswith("local:"):
            return Security.temporary()  # else whoever is logged in here could run through a port what they want as us
        if not order.address.startswith("tls:"):
            return None
        return Security(
            tls_ca_file=order.ca, tls_client_cert=order.cert, tls_client_key=order.key, require_encryption=True
        )

    def _connect(self, target: Any, seconds: float) -> Client:
        """In a thread of its own: a client of Dask that Ctrl-C interrupts waits twice as long for its own end."""
        made: concurrent.futures.Future[Client] = concurrent.futures.Future()

        def connect() -> None:
            try:
                made.set_result(
                    Client(
                        target,
                        timeout=seconds,
                        security=self._security,
                        set_as_default=False,
                        loop=self._loop,
                        direct_to_workers=True,  # pictures need not pass the scheduler
                    )
                )
            except Exception as error:  # noqa: BLE001 - edge of a thread: told to whoever waits
                made.set_exception(error)

        threading.Thread(target=connect, name="cluster-connect", daemon=True).start()
        while not made.done():
            concurrent.futures.wait([made], _LOOK_SECONDS)
        try:
            return made.result()
        except (OSError, TimeoutError, ValueError, TypeError) as error:
            raise ClusterFailed(Code.CLUSTER_GONE, address=self._order.address, reason=reason_of(error)) from error

    def _check(self) -> None:
        """Refuse a cluster with which nothing good could come of it."""
        address = self._order.address
        try:
            theirs = self._client.run_on_scheduler(facts)
            allowed = self._client.run_on_scheduler(_allowed_failures)
            self._client.wait_for_workers(1, timeout=_WORKERS_SECONDS)
        except TimeoutError as error:
            raise ClusterFailed(Code.CLUSTER_EMPTY, address=address) from error
        except Exception as error:  # the edge to other machines: they may lack this program altogether
            raise ClusterFailed(Code.CLUSTER_DIFFERS, own=str(self._vetting.own), other=reason_of(error)) from error
        if theirs != self._vetting.own:
            raise ClusterFailed(Code.CLUSTER_DIFFERS, own=str(self._vetting.own), other=f"scheduler: {theirs}")
        if allowed != 0:
            raise ClusterFailed(Code.CLUSTER_REPEATS, address=address, allowed=allowed)
        for problem in self._vetting.look(self._client, _processes(self._scheduler("identity", n_workers=-1))):
            raise ClusterFailed(problem.code, field=None, **problem.params)

    # --- the watcher's thread ---

    def _watch(self) -> None:
        while not self._closing.wait(_LOOK_SECONDS):
            before = (self._gone, len(self._known))
            try:
                if self._client.status == "closed":
                    self._connect_again()
                self._look()
            except (OSError, RuntimeError, TimeoutError, ClusterFailed) as error:
                if not self._closing.is_set():
                    self._gone = Problem(
                        Code.CLUSTER_GONE, {"address": self._order.address, "reason": reason_of(error)}
                    )
            else:
                self._gone = None
            if (self._gone, len(self._known)) != before:
                self._on_change()

    def _connect_again(self) -> None:
        """Dask gives up after some seconds; we do not."""
        client = self._connect(self._order.address, _AGAIN_SECONDS)
        if self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                client.close(timeout=_CLOSE_SECONDS)
        else:
            self._client = client

    def _look(self) -> None:
        told = self._scheduler("identity", n_workers=-1)
        if told["id"] != self._scheduler_id:  # the first one, or one that was started anew
            self._client.register_plugin(self._plugin)
            self._scheduler_id = told["id"]
        processes = _processes(told)
        self._vetting.begin(self._client, processes)
        self._refused = self._vetting.refused(processes)
        workers = {name: int(told["workers"][name]["nthreads"]) for name in self._vetting.admitted(processes)}
        with self._changed:
            gone = self._known.keys() - workers.keys()
            self._known = workers
            self._lost += len(gone)
            self._learned = {known: process for known, process in self._learned.items() if known[0] in workers}
        for worker in gone:
            log.warning("worker %s is lost", worker)

    def _leave(self) -> None:
        self._closing.set()
        self._watcher.join(_CLOSE_SECONDS)
        if self._gone is not None:
            return
        with contextlib.suppress(OSError, RuntimeError, ValueError, TimeoutError):
            self._scheduler("unregister_worker_plugin", name=self._plugin.name)

    def _let_go(self) -> None:
        with contextlib.suppress(TimeoutError):
            self._client.close(timeout=_STOP_SECONDS if self._gone is None else _CLOSE_SECONDS)

    def _scheduler(self, operation: str, **what: Any) -> Any:
        scheduler = self._client.scheduler
        if scheduler is None:
            raise OSError
        return self._client.sync(getattr(scheduler, operation), **what, callback_timeout=_AGAIN_SECONDS)


def _local(workers: int, loop: Any, security: Any) -> LocalCluster:
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=_THREADS,
        memory_limit=1.0,  # by threads it would be a processor's share, and calls take memory without one
        processes=True,
        dashboard_address="127.0.0.1:0",  # None would be a port of all machines
        host="tls://127.0.0.1",
        security=security,
        silence_logs=logging.ERROR,
        loop=loop,
        scheduler_kwargs={"allowed_failures": 0, "dashboard": False},
    )


def _allowed_failures(dask_scheduler: Any = None) -> int:
    return int(dask_scheduler.allowed_failures)


def _processes(told: dict[str, Any]) -> dict[str, Process]:
    """Of all workers, by their address, as the scheduler tells them."""
    return {name: (name, str(worker.get("local_directory"))) for name, worker in told["workers"].items()}


def _digest(config: ApiConfig) -> str:
    return hashlib.sha256(msgspec.msgpack.encode(config)).hexdigest()[:32]


def config_id_of(config: ApiConfig) -> str:
    """Under which name workers know a configuration."""
    return _digest(config)
