"""Attempts made by the workers of a cluster for one project, as if by threads of ours, and what earlier programs left
there: answers that nobody came for, and calls that are still under way."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.cluster.coordinator import Cluster, WorkerLost, config_id_of
from engine.cluster.messages import Errand, Kept, Reply, decoded, read_kept
from engine.cluster.worker import left, run_errand
from engine.errors import Code, Stopped
from engine.tasks.arrivals import Begun
from engine.tasks.attempt import AttemptOrder, AttemptOutcome, Watch
from engine.tasks.attempt_alone import Left
from engine.tasks.failures import Failure

_CUT_SECONDS = 60.0  # so long a worker is looked for that answers neither yes nor no: a network is cut for a while
_LOOK_SECONDS = 0.1
log = logging.getLogger(__name__)


class ClusterAttempts:
    """As `Attempts`. ``owner``: the project, by a name that it has at each start and no other has."""

    def __init__(self, cluster: Cluster, owner: str) -> None:
        self._cluster = cluster
        self._owner = owner
        self._lock = threading.Lock()
        self._blind: set[str] = set()  # workers that do not see our files
        self._under_way: dict[tuple[str, str], tuple[str, Kept]] = {}  # of earlier programs, by what was asked

    def make(self, order: AttemptOrder, watch: Watch) -> AttemptOutcome:
        """As `Attempts.make`: by a worker, waited for. Where that worker is lost, another one makes the attempt again;
        the log says so, since the call may have been paid."""
        found, lost = self._take_up(order, watch), list[str]()
        while found is None:
            try:
                with self._cluster.worker(watch.cancel) as worker:
                    found = self._found_again(lost, watch)
                    if found is None:
                        errand = self._errand(order, watch)
                        found = self._asked(worker, errand, order, watch)
                        lost.append(errand.token)
                if found is None:
                    self._cluster.lose(worker)
                    watch.log.add("retry", code=Code.WORKER_LOST, params={"worker": worker}, what="worker")
            except Stopped as stopped:
                return AttemptOutcome(failure=Failure.of(stopped))
        return found

    def _errand(self, order: AttemptOrder, watch: Watch) -> Errand:
        begun = order.begun or Begun(order.task_id, " ".join(source.hash for source in order.sources), 0, "")
        config = order.config
        masked = msgspec.structs.replace(order, config=config.masked())
        return Errand(
            masked, config_id_of(config), uuid.uuid4().hex, self._cluster.run_of(watch.cancel), self._cluster.session,
            self._owner, begun,
        )  # fmt: skip

    def _asked(self, worker: str, errand: Errand, order: AttemptOrder, watch: Watch) -> AttemptOutcome | None:
        """What the worker made of it, kept here; None where the worker is lost. Raises Stopped."""
        try:
            reply = self._ask(worker, errand, order, watch)
            outcome = reply.outcome
            assert outcome is not None
            if reply.filed:
                outcome = self._filed(errand.token) or self._fetched(worker, errand.token, watch)
        except WorkerLost:
            outcome = self._fetched(worker, errand.token, watch) or self._filed(errand.token)
        return self._hand_over(worker, errand.token, outcome, watch) if outcome is not None else None

    def _ask(self, worker: str, errand: Errand, order: AttemptOrder, watch: Watch) -> Reply:
        while True:
            process = self._cluster.teach(worker, errand.config_id, order.config)
            watch.log.stage = "asking"
            errand = msgspec.structs.replace(errand, process=process)
            sent = _with_sources(errand, order) if worker in self._blind else _without_sources(errand)
            reply = self._cluster.run_at(worker, run_errand, sent, errand.run, watch.cancel)
            if reply.wants == "sources":
                self._blind.add(worker)  # it will not see the next ones either
            elif reply.wants == "process":  # the one that was asked is no more, and may have made it
                self._cluster.unlearn(worker, errand.config_id)
                raise WorkerLost
            elif reply.wants:
                self._cluster.unlearn(worker, errand.config_id)
            else:
                return reply

    def _filed(self, token: str) -> AttemptOutcome | None:
        """Out of the folder that all machines see, where there is one."""
        told = self._cluster.told
        kept = read_kept(Path(told.outbox) / f"{token}.answer") if told.shared else None
        return kept.outcome if kept is not None else None

    def _fetched(self, worker: str, token: str, watch: Watch) -> AttemptOutcome | None:
        """Straight from the worker, where the way by the scheduler was cut: it may be at work still, and is paid for.
        None where there is no such worker any more, or it knows nothing. Raises Stopped."""
        seen = time.monotonic()
        while time.monotonic() < seen + _CUT_SECONDS:
            watch.cancel.check()
            if (listens := self._cluster.is_listening(worker)) is False:
                return None
            if listens:
                seen = time.monotonic()
                with contextlib.suppress(OSError):  # it ended just now, or the network was cut
                    found = self._cluster.answer_of(worker, token)
                    kept = decoded(found, Kept) if found else None
                    if kept is None or kept.outcome is not None:
                        return kept.outcome if kept is not None else None
            watch.cancel.wait(_LOOK_SECONDS)
        return None

    def _found_again(self, lost: list[str], watch: Watch) -> AttemptOutcome | None:
        """What a lost worker had kept, where it or another one of its machine is there again."""
        for token in lost:
            for worker in self._cluster.workers:
                with contextlib.suppress(OSError):
                    found = self._cluster.answer_of(worker, token)
                    outcome = decoded(found, Kept).outcome if found else None
                    if outcome is not None and outcome.pictures:
                        return self._hand_over(worker, token, outcome, watch)
        return None

    def _hand_over(self, worker: str, token: str, outcome: AttemptOutcome, watch: Watch) -> AttemptOutcome:
        """Give what came to whoever waits; then the worker need keep it no longer."""
        watch.log.entries.extend(outcome.log)
        if outcome.failure is None:
            watch.began()
            watch.answered()
        for picture in outcome.pictures:
            watch.keep(picture)
        if outcome.pictures:
            self._cluster.forget(worker, token)
        return msgspec.structs.replace(outcome, pictures=[], log=[])

    # --- what was left ---

    def left(self) -> Iterator[Left]:
        """Answers that lie at workers for this project; each is forgotten there once the caller asks for the next one.
        What is still under way is taken up when the same is asked for."""
        seen: set[str] = set()
        for worker, found in self._cluster.on_each(left, self._cluster.session, self._owner).items():
            for kept in found:
                if kept.token in seen:  # workers of one machine may share an outbox
                    continue
                seen.add(kept.token)
                if kept.outcome is None:
                    self._under_way[_asked_for(kept.begun)] = worker, kept
                else:
                    yield Left(kept.begun, kept.outcome)
                    self._cluster.forget(worker, kept.token)

    def _take_up(self, order: AttemptOrder, watch: Watch) -> AttemptOutcome | None:
        """What a call of an earlier program brings that asks the same, so that it is not paid twice."""
        with self._lock:
            worker, kept = self._under_way.pop(_asked_for(order.begun), ("", None)) if order.begun else ("", None)
        if kept is None:
            return None
        watch.log.stage = "asking"
        try:
            with watch.cancel.closing(lambda: self._cluster.stop_run(kept.run)):
                outcome = self._fetched(worker, kept.token, watch)
        except Stopped as stopped:
            return AttemptOutcome(failure=Failure.of(stopped))
        if outcome is None or not outcome.pictures:
            return None
        return self._hand_over(worker, kept.token, outcome, watch)


def _asked_for(begun: Begun) -> tuple[str, str]:
    return begun.source_hash, begun.request_record


def _with_sources(errand: Errand, order: AttemptOrder) -> Errand:
    sources = tuple(
        msgspec.structs.replace(source, data=source.data or source.read(order.limits.max_source_bytes).data)
        for source in order.sources
    )
    return msgspec.structs.replace(errand, order=msgspec.structs.replace(errand.order, sources=sources))


def _without_sources(errand: Errand) -> Errand:
    sources = tuple(msgspec.structs.replace(source, data=b"") for source in errand.order.sources)
    return msgspec.structs.replace(errand, order=msgspec.structs.replace(errand.order, sources=sources))
