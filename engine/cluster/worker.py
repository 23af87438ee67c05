"""What runs in a worker's process: it makes attempts and measurements, and keeps an answer on its disk until it is told
that the coordinator has it. It never decides to ask twice: order, limit, retries, ledger and store stay at home.

Secrets come over a connection of their own, from the coordinator to the worker, so that no scheduler, dashboard or
spilled file has them; an order names them by ``config_id``.
"""

from __future__ import annotations

import os
import platform
import tempfile
import threading
from collections import OrderedDict
from pathlib import Path

import msgspec
from distributed import Worker, WorkerPlugin, get_worker, secede

from engine.config import ApiConfig
from engine.errors import Code, ConsoleError, InvalidInput
from engine.files import storage_failure, write_bytes
from engine.reading import hash_found
from engine.shapes import learn_shapes
from engine.tasks.attempt import AttemptOrder, AttemptOutcome, LocalAttempts
from engine.tasks.attempt_alone import attempt_alone
from engine.tasks.failures import Failure
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy
from engine.upstream.transport import Transport

PLUGIN = "image-batch-console"
LEARN, STOP, FORGET = "image_batch_learn", "image_batch_stop", "image_batch_forget"
"""What a coordinator asks a worker over their own connection."""
_DESK = "image_batch_desk"
_CONFIGS_KEPT = 64
_RUNS_KEPT = 64


class Told(msgspec.Struct, frozen=True):
    """What every worker is told once. ``outbox``: folder for answers, "" for one of the worker's own."""

    policy: NetPolicy
    max_redirects: int
    outbox: str = ""


class Errand(msgspec.Struct, frozen=True):
    """One attempt to be made once. ``order`` has masked secrets; ``token`` names it for good; ``run``: what stops it
    together with others; ``owner`` and ``task_id``: for whom an answer is kept that nobody came for."""

    order: AttemptOrder
    config_id: str
    token: str
    run: str
    owner: str
    task_id: str


class Kept(msgspec.Struct, frozen=True):
    """An answer in the outbox."""

    owner: str
    task_id: str
    token: str
    outcome: AttemptOutcome


class Reply(msgspec.Struct, frozen=True):
    """What became of an errand. ``wants``: ``config`` or ``sources`` must be sent first, nothing was asked; ``again``:
    it had been begun here before and is not made a second time."""

    outcome: AttemptOutcome | None = None
    wants: str = ""
    again: bool = False


class Facts(msgspec.Struct, frozen=True):
    """What must agree between all machines."""

    python: str
    program: str


def facts(program: str) -> Facts:
    """Of this process; ``program``: its version."""
    return Facts(".".join(platform.python_version_tuple()[:2]), program)


class Desk:
    """All that a worker has of ours; one for each worker process. Thread-safe."""

    def __init__(self, told: Told) -> None:
        self.transport = Transport(told.policy, max_redirects=told.max_redirects)
        self.attempts = LocalAttempts(self.transport)
        self.outbox = _outbox(told.outbox)
        self._lock = threading.Lock()
        self._configs: OrderedDict[str, ApiConfig] = OrderedDict()
        self._runs: OrderedDict[str, CancelToken] = OrderedDict()
        self._begun: set[str] = set()

    def close(self) -> None:
        """End every call."""
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.cancel()
        self.transport.close()

    def learn(self, config_id: str, config: ApiConfig) -> None:
        """Know the secrets of a configuration from now on."""
        with self._lock:
            self._configs[config_id] = config
            self._configs.move_to_end(config_id)
            while len(self._configs) > _CONFIGS_KEPT:
                self._configs.popitem(last=False)

    def config(self, config_id: str) -> ApiConfig | None:
        """The configuration with its secrets, if it was told."""
        with self._lock:
            return self._configs.get(config_id)

    def begin(self, token: str) -> bool:
        """Note that an errand is begun; False if it was before."""
        with self._lock:
            new = token not in self._begun
            self._begun.add(token)
            return new

    def run(self, run: str) -> CancelToken:
        """What ends all calls of a run."""
        with self._lock:
            token = self._runs.setdefault(run, CancelToken())
            while len(self._runs) > _RUNS_KEPT:
                self._runs.popitem(last=False)
            return token

    def keep(self, kept: Kept) -> None:
        """Put an answer on the disk, for whoever comes for it."""
        write_bytes(self.outbox / f"{kept.token}.answer", msgspec.msgpack.encode(kept))

    def forget(self, tokens: list[str]) -> None:
        """The coordinator has these answers."""
        for token in tokens:
            (self.outbox / f"{token}.answer").unlink(missing_ok=True)

    def waiting(self, owner: str) -> list[Kept]:
        """Answers in the outbox for this owner, which nobody came for."""
        found = []
        for file in self.outbox.glob("*.answer"):
            try:
                kept = msgspec.msgpack.decode(file.read_bytes(), type=Kept)
            except (OSError, msgspec.MsgspecError):
                continue  # taken meanwhile, or damaged: nothing can be told of it
            if kept.owner == owner:
                found.append(kept)
        return found


class DeskPlugin(WorkerPlugin):
    """Gives each worker its desk, and the ways by which the coordinator reaches it directly."""

    name = PLUGIN

    def __init__(self, told: bytes) -> None:
        self._told = told

    def setup(self, worker: Worker) -> None:
        """Called by Dask in each worker, also in those that come later."""
        learn_shapes()
        desk = Desk(msgspec.msgpack.decode(self._told, type=Told))
        setattr(worker, _DESK, desk)

        async def learn(config_id: str, config: bytes) -> None:
            desk.learn(config_id, msgspec.msgpack.decode(config, type=ApiConfig))

        async def stop(run: str) -> None:
            desk.run(run).cancel()

        async def forget(tokens: list[str]) -> None:
            desk.forget(tokens)

        worker.handlers |= {LEARN: learn, STOP: stop, FORGET: forget}

    def teardown(self, worker: Worker) -> None:
        """Called when the worker ends."""
        _desk(worker).close()


def _desk(worker: Worker) -> Desk:
    desk = getattr(worker, _DESK)
    assert isinstance(desk, Desk)
    return desk


def run_errand(errand: Errand) -> Reply:
    """Make one attempt, in a thread of its own beside the worker's slots: it waits, it does not compute."""
    desk = _desk(get_worker())
    secede()
    config = desk.config(errand.config_id)
    if config is None:
        return Reply(wants="config")
    order = msgspec.structs.replace(errand.order, config=config)
    if not all(source.data or _sees(source.path, source.hash) for source in order.sources):
        return Reply(wants="sources")
    if not desk.begin(errand.token):
        return Reply(again=True)
    try:
        outcome = attempt_alone(order, desk.attempts, desk.run(errand.run))
        if outcome.pictures:
            desk.keep(Kept(errand.owner, errand.task_id, errand.token, outcome))
    except ConsoleError as error:  # the worker's own disk is full: the answer goes home without a copy here
        outcome = AttemptOutcome(failure=Failure.of(error))
    except Exception as error:  # noqa: BLE001 - the outermost edge of a worker's task; BaseException would hang the worker
        outcome = AttemptOutcome(failure=Failure.of(InvalidInput(Code.INTERNAL, reason=type(error).__name__)))
    return Reply(outcome)


def waiting(owner: str, dask_worker: Worker) -> list[Kept]:
    """As `Desk.waiting`, for the worker that runs this (Dask fills in the last argument)."""
    return _desk(dask_worker).waiting(owner)


def _sees(path: str, digest: str) -> bool:
    """Whether the worker finds the very same file there."""
    try:
        return hash_found(path) == digest
    except (OSError, ValueError):
        return False


def _outbox(chosen: str) -> Path:
    folder = Path(chosen) if chosen else Path(tempfile.gettempdir()) / f"image-batch-console-outbox-{os.getuid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise storage_failure(error, folder) from error
    return folder
