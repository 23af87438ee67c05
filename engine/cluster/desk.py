"""What a worker process has of ours: it makes attempts, each once, and keeps an answer on its disk until it is told
that the coordinator has it. Knows nothing of Dask. It never decides to ask twice: order, limit, retries, ledger and
store stay at home.

Secrets come from the coordinator over a connection of its own; an order names them by ``config_id``.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import uuid
from collections import OrderedDict
from pathlib import Path

import msgspec
import platformdirs

from engine.cluster.messages import Errand, Kept, Question, R, Reply, T, Told, Work, read_kept
from engine.config import ApiConfig
from engine.errors import Code, ConsoleError, InvalidInput, StorageFailed
from engine.files import write_bytes
from engine.reading import read_found
from engine.tasks.attempt import AttemptOrder, AttemptOutcome, LocalAttempts, Source
from engine.tasks.attempt_alone import attempt_alone
from engine.tasks.failures import Failure
from engine.upstream.answer_room import ANSWERS
from engine.upstream.cancel import CancelToken
from engine.upstream.transport import Transport
from engine.vision.ask import send_question

_CONFIGS_KEPT = 64
_RUNS_KEPT = 64
_ENDED_KEPT = 256
log = logging.getLogger(__name__)


class _Session:
    """A program that asks for attempts. ``skew``: seconds that its clock is ahead of this machine's."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.skew = 0.0
        self.outbox = ANSWERS.spool.folder = _outbox(told.outbox)
        self.transport = Transport(told.policy, max_redirects=told.max_redirects)
        self.attempts = LocalAttempts(self.transport, now=self.now)

    def now(self) -> float:
        """The coordinator's time: what an answer tells of times is understood at home."""
        return time.time() + self.skew


class _Doing:
    """An errand that was begun, and what became of it."""

    def __init__(self, errand: Errand, cancel: CancelToken) -> None:
        self.kept = Kept(errand.owner, errand.begun, errand.token, errand.run)
        self.cancel = cancel
        self.done = threading.Event()


class Desk:
    """One for each worker process, for all programs that use it. Thread-safe."""

    def __init__(self, threads: int) -> None:
        """``threads``: how much may be computed at once; calls only wait, and are not counted."""
        self._computing = threading.BoundedSemaphore(threads)
        self.process = uuid.uuid4().hex
        """Which process this is: one that is started anew at the same address is another one."""
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}
        self._configs: OrderedDict[str, ApiConfig] = OrderedDict()
        self._runs: OrderedDict[str, CancelToken] = OrderedDict()
        self._doing: OrderedDict[str, _Doing] = OrderedDict()

    # --- programs that ask ---

    def admit(self, session: str, told: Told) -> None:
        """A program begins to ask."""
        entry = _Session(told)
        with self._lock:
            self._sessions[session] = entry

    def dismiss(self, session: str) -> None:
        """It asks no more; what it left under way goes on, for it is paid for."""
        with self._lock:
            entry = None if self.busy else self._sessions.pop(session, None)
        if entry is not None:
            entry.transport.close()

    def learn(self, session: str, config_id: str, config: ApiConfig, now: float) -> None:
        """Know the secrets of a configuration from now on, and what time it is at home (Unix seconds)."""
        with self._lock:
            if session in self._sessions:
                self._sessions[session].skew = now - time.time()
            self._configs[config_id] = config
            self._configs.move_to_end(config_id)
            while len(self._configs) > _CONFIGS_KEPT:
                self._configs.popitem(last=False)

    def stop(self, run: str) -> None:
        """End all calls of a run, also those that come yet."""
        self._run(run).cancel()

    def _run(self, run: str) -> CancelToken:
        with self._lock:
            token = self._runs.setdefault(run, CancelToken())
            while len(self._runs) > _RUNS_KEPT:
                self._runs.popitem(last=False)
            return token

    @property
    def busy(self) -> bool:
        """Whether any call is under way."""
        return any(not doing.done.is_set() for doing in list(self._doing.values()))

    # --- attempts ---

    def do(self, errand: Errand) -> Reply:
        """Make one attempt, or wait for it where it is under way or done already. What another process was asked is
        refused: it may have been made there."""
        if errand.process != self.process:
            return Reply(wants="process")
        session, config = self._sessions.get(errand.session), self._configs.get(errand.config_id)
        if session is None or config is None:
            return Reply(wants="config")
        sources = [_seen(source) for source in errand.order.sources]
        if None in sources:
            return Reply(wants="sources")
        there = tuple(source for source in sources if source is not None)
        order = msgspec.structs.replace(errand.order, config=config, sources=there)
        cancel = self._run(errand.run)
        with self._lock:
            doing = self._doing.get(errand.token)
            if is_new := doing is None:
                doing = self._doing[errand.token] = _Doing(errand, cancel)
                self._forget_old()
        assert doing is not None
        if is_new:
            return self._make(order, session, doing)
        doing.done.wait()
        return Reply(doing.kept.outcome)

    def _make(self, order: AttemptOrder, session: _Session, doing: _Doing) -> Reply:
        try:
            outcome = attempt_alone(order, session.attempts, doing.cancel, session.now)
        except Exception as error:  # the edge of a worker's task; BaseException would hang the worker
            log.exception("attempt ended by a fault")
            outcome = AttemptOutcome(failure=Failure.of(InvalidInput(Code.INTERNAL, reason=type(error).__name__)))
        kept = msgspec.structs.replace(doing.kept, outcome=outcome)
        filed = bool(outcome.pictures) and _is_kept(kept, session.outbox)
        if filed and session.told.shared:
            doing.kept = msgspec.structs.replace(kept, outcome=msgspec.structs.replace(outcome, pictures=[]))
        else:
            doing.kept = kept
        doing.done.set()
        return Reply(doing.kept.outcome, filed=filed and session.told.shared)

    def _forget_old(self) -> None:
        """Of what has ended, pictures are kept in memory no longer than until others come."""
        ended = [token for token, doing in self._doing.items() if doing.done.is_set()]
        for token in ended[: max(0, len(ended) - _ENDED_KEPT)]:
            del self._doing[token]

    def ask(self, question: Question) -> tuple[bytes | None, Failure | None]:
        """The body of an answer to a vision question, or why there is none; neither where its configuration is not
        known here."""
        session, config = self._sessions.get(question.session), self._configs.get(question.config_id)
        if session is None or config is None:
            return None, None
        try:
            return send_question(session.transport, config, question.body, self._run(question.run)), None
        except ConsoleError as error:
            return None, Failure.of(error)

    # --- work for the processor ---

    def compute(self, work: Work[T, R]) -> R | None:
        """In its turn; None where it did not succeed."""
        cancel = self._run(work.run)
        with self._computing:
            try:
                cancel.check()
                return work.function(work.argument, cancel)
            except ConsoleError:
                return None
            except Exception:  # the edge of a worker's task; BaseException would hang the worker
                log.exception("work ended by a fault")
                return None

    # --- the outbox ---

    def is_under_way(self, token: str) -> bool:
        """Whether this errand was begun here and has not ended."""
        doing = self._doing.get(token)
        return doing is not None and not doing.done.is_set()

    def answer(self, session: str, token: str) -> Kept | None:
        """What became of an errand, as far as it is; None where nobody knows it here."""
        entry, doing = self._sessions.get(session), self._doing.get(token)
        found = read_kept(entry.outbox / f"{token}.answer") if entry is not None else None
        return found or (doing.kept if doing is not None else None)

    def forget(self, session: str, tokens: list[str]) -> None:
        """The coordinator has these answers."""
        with self._lock:
            entry = self._sessions.get(session)
            for token in tokens:
                doing = self._doing.get(token)
                if doing is not None and doing.done.is_set():
                    del self._doing[token]
        for token in tokens if entry is not None else ():
            assert entry is not None
            (entry.outbox / f"{token}.answer").unlink(missing_ok=True)

    def left(self, session: str, owner: str) -> list[Kept]:
        """Answers that lie here for a project, then calls under way that an earlier program has made for it. One that
        ends just now is both: looked for in the other order it would be neither, and paid for again."""
        with self._lock:
            doings = [one.kept for one in self._doing.values() if one.kept.owner == owner and not one.done.is_set()]
        entry = self._sessions.get(session)
        files = sorted(entry.outbox.glob("*.answer")) if entry is not None else []
        found = [kept for file in files if (kept := read_kept(file)) is not None and kept.owner == owner]
        return [*found, *doings]


def _seen(source: Source) -> Source | None:
    """The source with its bytes: those that came along, or the very same ones that lie here."""
    if source.data:
        return source
    try:
        data = read_found(source.path)
    except (OSError, ValueError):
        return None
    return msgspec.structs.replace(source, data=data) if hashlib.sha256(data).hexdigest() == source.hash else None


def _is_kept(kept: Kept, outbox: Path) -> bool:
    """Put an answer on the disk, for whoever comes for it; a full disk here costs no answer, it goes home all the
    same."""
    try:
        write_bytes(outbox / f"{kept.token}.answer", msgspec.msgpack.encode(kept))
    except StorageFailed as error:
        log.warning("answer not kept here: %s", error.code)
        return False
    return True


def _outbox(chosen: str) -> Path:
    """The folder, made where it is missing and can be: without it no answer is kept here, and they go home all the
    same."""
    folder = Path(chosen) if chosen else platformdirs.user_state_path("image-batch-console") / "outbox"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        log.warning("no folder for answers here: %s", error.strerror)
    return folder
