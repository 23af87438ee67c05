"""One edit, top to bottom: sources, attempts with their retries and turns, pictures into the cache, outcome. It knows
no store; the call itself is an `attempt`, which may be made anywhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from engine.config import ApiConfig
from engine.errors import Code, ConsoleError, EditFailed, Problem, Stopped, StorageFailed, UpstreamRefused
from engine.images.cache import Cache
from engine.images.discover import read_source
from engine.keys import plain_address
from engine.models import DebugEntry, EditJob, EditLimits, EditOutcome, StoredImage, TaskStatus
from engine.money import plain
from engine.tasks.arrivals import Arrived, Begun
from engine.tasks.attempt import AttemptOrder, AttemptOutcome, Attempts, Delivered, Picture, Source
from engine.tasks.attempt_alone import Left
from engine.tasks.breaker import DOOR_FAULTS
from engine.tasks.costs import Admission, CallKind, Came, Costs
from engine.tasks.gate import CallGate, Turn
from engine.tasks.limiter import RATE_RETRY_AFTER
from engine.tasks.log import EditLog
from engine.tasks.plan import RequestRecord, at_door, own_config, request_record
from engine.upstream.batches.choice import batch_driver
from engine.upstream.cancel import CancelToken
from engine.upstream.jobs import JobTicket
from engine.upstream.parameters import RefusedParameters
from engine.upstream.retry import call_with_retries

_DISK_WAIT_SECONDS = 2.0
_NOT_BILLED = frozenset({Code.ANSWER_WEB_PAGE, Code.UPLOAD_FAILED})  # no API took these on
_AT_HAND_BYTES = 64 * 1024
_OTHERS = 3
_FREE_PER_RETRY = 3  # refusals for crowding that each allowed retry pays for


class Prepared(msgspec.Struct, frozen=True):
    """One edit, ready to be handed to a provider's batch; provenance as its outcome will have it, ``run`` as the book
    of costs has it."""

    order: AttemptOrder
    source_hash: str
    source_size: int
    request_record: str
    run: str = ""


class Submitted(msgspec.Struct, frozen=True):
    """A job that a provider has taken on for a task, with all that is needed to collect it: ``config`` is that of the
    task and holds the key, provenance as the outcome will have it, ``log`` as far as it goes; ``run``: as the book of
    costs has it, "" for unknown."""

    task_id: str
    ticket: JobTicket
    config: ApiConfig
    source_hash: str
    source_size: int
    request_record: str
    attempts: int
    log: list[DebugEntry]
    run: str = ""


class Collected(msgspec.Struct, frozen=True):
    """What one look at a job brought: the outcome, or why there is none, or neither: it is not done yet, and asks to be
    looked at again after ``wait`` seconds."""

    outcome: EditOutcome | None = None
    failure: ConsoleError | None = None
    wait: float | None = None


class EditTools(msgspec.Struct, frozen=True):
    """What an edit works with; opened and closed by the caller. ``note``: into the journal of arrivals; ``submit``: a
    job that a provider has taken on is on disk when it returns, or StorageFailed; False where it is not waited for."""

    attempts: Attempts
    cache: Cache
    gate: CallGate
    submit: Callable[[Submitted, CancelToken], bool] = lambda *_: False
    note: Callable[[Begun | Arrived], None] = lambda _: None
    parameters: RefusedParameters = msgspec.field(default_factory=RefusedParameters)
    costs: Costs = msgspec.field(default_factory=Costs)
    random: Callable[[], float] = random.random


def run_edit(job: EditJob, tools: EditTools, cancel: CancelToken, log: EditLog) -> EditOutcome:
    """Edit one picture. Never raises for what an API, a network, a file or the person may do: the outcome says it."""
    return _Edit(job, tools, cancel, log).run()


def hand_over(
    job: EditJob, tools: EditTools, cancel: CancelToken, log: EditLog, take: Callable[[Prepared], None]
) -> EditOutcome:
    """Make one edit ready and give it to ``take``, which puts it into a provider's batch. PROCESSING when it is in
    there; else as `run_edit`."""
    return _Edit(job, tools, cancel, log).hand_over(take)


def collect_job(
    submitted: Submitted,
    limits: EditLimits,
    tools: EditTools,
    cancel: CancelToken,
    log: EditLog,
    delivered: Delivered | None = None,
) -> Collected:
    """Look once at a job that a provider has taken on, or at its answer that a batch ``delivered``, and collect its
    pictures where it is done. Nothing is asked for, and nothing paid. Never raises for what an API, a network, a file
    or the person may do."""
    job = EditJob(submitted.task_id, "", submitted.config, limits)
    return _Edit(job, tools, cancel, log).collect(submitted, delivered)


def arrived_outcome(left: Left, cache: Cache) -> EditOutcome:
    """What an answer comes to that arrived for whoever is there no more; its pictures are in the cache then: DONE where
    they are all that it named, else STOPPED. StorageFailed."""
    pictures = left.outcome.pictures
    digests = [cache.put(picture.data, picture.info.extension) for picture in pictures]
    images = {digest: _stored(digest, picture) for digest, picture in zip(digests, pictures, strict=True)}
    whole = bool(pictures) and len({picture.number for picture in pictures}) == pictures[0].of
    begun = left.begun
    return EditOutcome(
        task_id=begun.task_id,
        status=TaskStatus.DONE if whole else TaskStatus.STOPPED,
        images=list(images.values()),
        attempts=1,
        http_status=left.outcome.http_status,
        log=left.outcome.log,
        source_hash=begun.source_hash,
        source_size=begun.source_size,
        request_record=begun.request_record,
    )


class _Edit:
    """The state of one edit across its attempts."""

    def __init__(self, job: EditJob, tools: EditTools, cancel: CancelToken, log: EditLog) -> None:
        self._job = job
        self._tools = tools
        self._cancel = cancel
        self._log = log
        self._images: dict[str, StoredImage] = {}
        self._http_status: int | None = None
        self._warning: Problem | None = None
        self._attempts = 0
        self._source_hash = ""
        self._source_size = 0
        self._request_record: RequestRecord | None = None
        self._asked: RequestRecord | None = None  # without a door
        self._order_config = job.config
        self._submitted = False

    @property
    def _config(self) -> ApiConfig:
        return self._job.config

    def run(self) -> EditOutcome:
        try:
            order = _light(self._prepare())
            call_with_retries(
                lambda: self._ask(order),
                max_retries=self._config.max_retries,
                interval=self._config.retry_interval,
                wait=self._cancel.wait,
                on_retry=self._note_retry,
                random=self._tools.random,
            )
        except Stopped as stopped:
            return self._outcome(TaskStatus.STOPPED, stopped.problem)
        except ConsoleError as error:
            self._log.add("error", code=error.code, params=error.params)
            if self._images:  # some were stored before this one could not be
                self._warning = error.problem
                return self._outcome(TaskStatus.PARTIAL_SUCCESS, None)
            return self._outcome(TaskStatus.FAILED, error.problem)
        if self._submitted:
            return self._outcome(TaskStatus.PROCESSING, None)
        return self._outcome(TaskStatus.PARTIAL_SUCCESS if self._warning else TaskStatus.DONE, None)

    def hand_over(self, take: Callable[[Prepared], None]) -> EditOutcome:
        """As the function `hand_over`."""
        try:
            order = self._prepare()
            record = msgspec.json.encode(self._request_record).decode()
            run = self._tools.costs.run_id
            prepared = Prepared(order, self._source_hash, self._source_size, record, run)
            self._log.stage = "uploading"
            self._tools.costs.hold(self._job.task_id, order.config, batch_kind(order.config))
            call_with_retries(
                lambda: take(prepared),
                max_retries=self._config.max_retries,
                interval=self._config.retry_interval,
                wait=self._cancel.wait,
                on_retry=self._note_retry,
                random=self._tools.random,
            )
        except Stopped as stopped:
            self._tools.costs.let_go(self._job.task_id)
            return self._outcome(TaskStatus.STOPPED, stopped.problem)
        except ConsoleError as error:
            self._tools.costs.let_go(self._job.task_id)
            self._log.add("error", code=error.code, params=error.params)
            return self._outcome(TaskStatus.FAILED, error.problem)
        return self._outcome(TaskStatus.PROCESSING, None)

    def collect(self, submitted: Submitted, delivered: Delivered | None) -> Collected:
        """As `collect_job`."""
        self._source_hash, self._source_size = submitted.source_hash, submitted.source_size
        self._request_record = msgspec.json.decode(submitted.request_record, type=RequestRecord)
        self._attempts = submitted.attempts
        order = AttemptOrder(
            (), submitted.config, self._job.limits, self._attempts, job=submitted.ticket, delivered=delivered
        )
        begun = Begun(submitted.task_id, self._source_hash, self._source_size, submitted.request_record)
        watch = _Watch(self._cancel, self._log, lambda: None, lambda: self._tools.note(begun), self._keep)
        outcome = self._tools.attempts.make(order, watch)
        self._http_status = outcome.http_status
        if outcome.job is not None:
            return Collected(wait=outcome.job.wait)
        name = job_name(submitted.task_id, submitted.ticket)
        came, kind = what_came(outcome, len(self._images)), CallKind.EDIT
        if delivered is not None:
            kind = batch_kind(submitted.config)
        amount = self._tools.costs.collected(
            name, submitted.config, came, outcome.bill, pictures=len(self._images), kind=kind, run=submitted.run
        )
        self._tools.costs.let_go(submitted.task_id)
        self._share(amount, list(self._images))
        failure = outcome.failure.error if outcome.failure is not None else None
        if failure is not None and not self._images:
            return Collected(failure=failure)
        self._warning = outcome.warning or (failure.problem if failure is not None else None)
        return Collected(self._outcome(TaskStatus.PARTIAL_SUCCESS if self._warning else TaskStatus.DONE, None))

    # --- the way of one picture ---

    def _prepare(self) -> AttemptOrder:
        self._log.stage = "reading"
        job = self._job
        # Decoded whole before anything is paid for.
        sources = tuple(
            _source(path, job.limits.max_source_bytes, self._cancel) for path in (job.source_path, *job.references)
        )
        self._source_hash = " ".join(source.hash for source in sources)
        self._source_size = len(sources[0].data)
        config = own_config(job.config, job.source_path, job.user_prompt, job.system_prompt)
        self._asked = request_record(config, config.user_prompt, config.system_prompt, job.variant)
        self._request_record, self._order_config = self._asked, config
        provenance = msgspec.json.encode(self._request_record).decode()
        self._tools.note(Begun(job.task_id, self._source_hash, self._source_size, provenance))
        return AttemptOrder(sources, config, job.limits, task_id=job.task_id)

    def _ask(self, order: AttemptOrder) -> None:
        """Ask when the gate lets us, in the next form where this one is refused; raises what ended it, of several forms
        the first refusal.

        What costs no attempt: a refusal for crowding while others get through (at least _OTHERS of them since the last
        refusal: where nobody does, ``max_retries`` bounds the calls as it says), a parameter that a model refuses by
        name, and of several doors each one that is at fault.
        """
        gate, given, first = self._tools.gate, order.config, None
        doors, tried = gate.doors_for(given), set[int]()
        free = _FREE_PER_RETRY * self._config.max_retries
        while True:
            others = gate.taken
            call = self._call(order, doors, tried)
            failure, error = call.outcome.failure, call.error
            if failure is None or error is None:
                break
            if call.again:
                first = first or error if call.again == "form" else first
            elif failure.problem.code is Code.RATE_LIMITED and free and gate.taken - others >= _OTHERS:
                free -= 1
                if failure.retry_after is not None:
                    self._cancel.wait(
                        min(failure.retry_after, RATE_RETRY_AFTER)
                    )  # longer ones are the gate's: all wait
                call = msgspec.structs.replace(call, again="turn")
            elif failure.problem.code in DOOR_FAULTS and tried.union({call.door}) != set(doors):
                tried.add(call.door)
                call = msgspec.structs.replace(call, again="door")
            else:
                first = first or error
                exhausted = isinstance(first, UpstreamRefused) and gate.forms.tried_all(call.config)
                raise first if exhausted else error
            self._log.add("retry", code=error.code, params=error.params, what=call.again)
        if call.outcome.job is not None:
            self._note_job(call.outcome.job, call.config)
        self._warning = call.outcome.warning

    def _call(self, order: AttemptOrder, doors: Sequence[int], tried: set[int]) -> _Called:
        """One call, at the door and in the form whose turn it is."""
        gate, refused, form = self._tools.gate, self._tools.parameters, None
        self._log.stage = "waiting"
        if len(doors) == 1:  # before the turn: who waits for another to find out the form holds none
            form = gate.forms.enter(order.config, self._cancel)
        config, again = order.config, ""
        turn, seen = None, None
        try:
            turn = _Turn(gate, self._cancel, doors, tried)
            given = gate.at(turn.door, order.config)
            config = refused.fitted(given)
            form = form or gate.forms.enter(config, self._cancel)
            self._note_door(turn.door, given, config)
            outcome = self._attempt(msgspec.structs.replace(order, config=config, form=form), turn)
            failure = outcome.failure
            error = failure.error if failure is not None else None
            if failure is None and outcome.job is None:
                gate.forms.took(config, form)
            if failure is not None and (named := refused.learn(given, config, failure.problem)):
                again = named
            elif isinstance(error, UpstreamRefused):
                seen = error
        finally:
            if turn is not None:
                turn.end()
            if form is not None and gate.forms.leave(config, form, seen):
                again = "form"
        return _Called(outcome, turn.door, config, error, again)

    def _note_door(self, door: int, given: ApiConfig, config: ApiConfig) -> None:
        """Of several doors the log names the one that is asked; the journal notes one that has another model."""
        assert self._asked is not None
        record = self._asked if door == 0 else at_door(self._asked, self._order_config, given)
        if len(self._tools.gate.doors_for(self._order_config)) > 1:
            self._log.add("door", number=door + 1, url=plain_address(config.api_url), model=config.model_name)
        if record != self._request_record and not self._images:
            self._request_record = record
            provenance = msgspec.json.encode(record).decode()
            self._tools.note(Begun(self._job.task_id, self._source_hash, self._source_size, provenance))

    def _note_job(self, job: JobTicket, config: ApiConfig) -> None:
        """Put the job on disk; where that fails it is tried again until it works or is stopped: it is paid for."""
        self._log.stage = "at_provider"
        self._log.add("job", id=job.provider_id, url=job.url)
        submitted = Submitted(
            self._job.task_id,
            job,
            config,
            self._source_hash,
            self._source_size,
            msgspec.json.encode(self._request_record).decode(),
            self._attempts,
            self._log.entries,
            self._tools.costs.run_id,
        )
        while not self._submitted:
            try:
                if not self._tools.submit(submitted, self._cancel):
                    raise Stopped
                self._submitted = True
            except StorageFailed as error:
                self._log.add("error", code=error.code, params=error.params)
                self._cancel.wait(_DISK_WAIT_SECONDS)

    def _attempt(self, order: AttemptOrder, turn: _Turn) -> AttemptOutcome:
        admission = self._tools.costs.admit(order.config)
        self._attempts += 1
        record = msgspec.json.encode(self._request_record).decode()
        begun = Begun(self._job.task_id, self._source_hash, self._source_size, record)
        order = msgspec.structs.replace(order, number=self._attempts, begun=begun)
        forms = self._tools.gate.forms
        watch = _Watch(self._cancel, self._log, lambda: forms.began(order.config, order.form), turn.end, self._keep)
        outcome = self._pay(order, watch, admission)
        self._http_status = outcome.http_status
        failure = outcome.failure
        if failure is not None and failure.problem.code is Code.RATE_LIMITED:
            turn.end(taken=False, retry_after=failure.retry_after)
        elif failure is not None:
            turn.end(failure=failure.problem.code, stopped=failure.kind == Stopped.__name__)
        return outcome

    def _pay(self, order: AttemptOrder, watch: _Watch, admission: Admission) -> AttemptOutcome:
        """Make the call that the budget allows, and note what it cost."""
        costs, outcome, before = self._tools.costs, None, set(self._images)
        try:
            outcome = self._tools.attempts.make(order, watch)
        finally:
            if outcome is None:
                costs.give_back(admission)
        brought = [digest for digest in self._images if digest not in before]
        job = job_name(self._job.task_id, outcome.job) if outcome.job is not None else ""
        amount = costs.settle(admission, what_came(outcome, len(brought)), outcome.bill, pictures=len(brought), job=job)
        self._share(amount, brought)
        return outcome

    def _share(self, amount: int | None, brought: list[str]) -> None:
        """Note with each picture of a call its share of what that cost; the first has what does not divide."""
        for number, digest in enumerate(brought if amount is not None else []):
            assert amount is not None
            share = amount // len(brought) + (amount % len(brought) if number == 0 else 0)
            self._images[digest] = msgspec.structs.replace(self._images[digest], cost=plain(share))

    def _keep(self, picture: Picture) -> str:
        """A picture into the cache; its sha256."""
        self._log.stage = "storing"

        def announce(digest: str) -> None:
            self._tools.note(Arrived(self._job.task_id, picture.number, picture.of, _stored(digest, picture)))

        digest = self._put(picture, announce)
        self._images.setdefault(digest, _stored(digest, picture))
        return digest

    def _put(self, picture: Picture, announce: Callable[[str], None]) -> str:
        """Where the cache fails it is tried again until it works or is stopped: this picture is paid for."""
        reported: Code | None = None
        while True:
            try:
                return self._tools.cache.put(picture.data, picture.info.extension, announce)
            except StorageFailed as error:
                if error.code != reported:
                    reported = error.code
                    self._log.add("error", code=error.code, params=error.params)
                self._log.stage = error.code.value
                self._cancel.wait(_DISK_WAIT_SECONDS)

    # --- small things ---

    def _note_retry(self, attempt: int, error: EditFailed, delay: float) -> None:
        self._log.stage = "retrying"
        self._log.add("retry", code=error.code, params=error.params, delay=round(delay, 2), next_attempt=attempt + 1)

    def _outcome(self, status: TaskStatus, error: Problem | None) -> EditOutcome:
        return EditOutcome(
            task_id=self._job.task_id,
            status=status,
            images=list(self._images.values()),
            attempts=self._attempts,
            http_status=self._http_status,
            error=error and self._log.without_key(error),
            warning=self._warning and self._log.without_key(self._warning),
            log=self._log.entries,
            source_hash=self._source_hash,
            source_size=self._source_size,
            request_record=msgspec.json.encode(self._request_record).decode() if self._request_record else "",
        )


class _Called(msgspec.Struct, frozen=True):
    """What came of one call. ``again``: why it is made once more at no cost: a parameter, form, turn or door."""

    outcome: AttemptOutcome
    door: int
    config: ApiConfig
    error: ConsoleError | None
    again: str


class _Turn:
    """A call's turn at the gate, ended once: by the answer, or by whatever came in its place."""

    def __init__(self, gate: CallGate, cancel: CancelToken, doors: Sequence[int], tried: set[int]) -> None:
        self._gate = gate
        self._turn: Turn | None = gate.enter(cancel, doors, tried)
        self.door = self._turn.door

    def end(self, **came: Any) -> None:
        """Let the next call go; what came of this one as `CallGate.leave` takes it."""
        turn, self._turn = self._turn, None
        if turn is not None:
            self._gate.leave(turn, **came)


class _Watch(msgspec.Struct):
    """What an edit gives an attempt to report to; see `attempt.Watch`."""

    cancel: CancelToken
    log: EditLog
    began: Callable[[], None]
    answered: Callable[[], None]
    keep: Callable[[Picture], str]


def job_name(task_id: str, ticket: JobTicket) -> str:
    """Under which the cost of a job at a provider is noted."""
    return f"{task_id}:{ticket.provider_id}"


def batch_kind(config: ApiConfig) -> CallKind:
    """At whose price the batches of this configuration's provider are."""
    found = batch_driver(config)
    return CallKind.EDIT if found is None or found[0].price >= 1 else CallKind.BATCH


def what_came(outcome: AttemptOutcome, brought: int) -> Came:
    """What a call came to, for the book: without a picture it is wasted where the API had taken it on and bills it."""
    failure = outcome.failure
    if brought or outcome.job is not None or failure is None:
        return Came.ANSWER
    begun = outcome.http_status is not None and outcome.http_status < 400
    if not begun or failure.problem.code in _NOT_BILLED:
        return Came.REFUSED
    refused = failure.kind == UpstreamRefused.__name__ and failure.problem.code is not Code.CONTENT_REFUSED
    billed = outcome.bill is not None and bool(outcome.bill.amount)
    return Came.REFUSED if refused and not billed else Came.WASTED


def _source(path: str, max_bytes: int, cancel: CancelToken) -> Source:
    read = read_source(path, max_bytes, cancel)
    info = read.info
    return Source(path, read.name, info.mime, read.hash, read.data, info.width, info.height, read.shape)


def _light(order: AttemptOrder) -> AttemptOrder:
    """Without the bytes of large sources, which each call reads again when its turn has come: hundreds may wait."""
    sources = tuple(
        msgspec.structs.replace(source, data=source.data if len(source.data) <= _AT_HAND_BYTES else b"")
        for source in order.sources
    )
    return msgspec.structs.replace(order, sources=sources)


def _stored(digest: str, picture: Picture) -> StoredImage:
    return StoredImage(digest, len(picture.data), picture.info, picture.source_type)
