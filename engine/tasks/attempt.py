"""One attempt: an order in, the answer's pictures out, all of it plain data that can be pickled. It knows no store,
cache, gate or lock, so that a thread of this process or a worker on another machine can make it.

`Attempts` is that seam; `LocalAttempts` is the one that works here. Order, limit, retries, ledger and store stay with
`edit` and `batch`, which wait for an attempt as for a call of their own. A way to make attempts elsewhere sends the
`AttemptOrder` there, lets `attempt_alone` make it, and hands the pictures that come back to `Watch.keep`. A job at the
provider: its id goes out by `Watch` before the first poll, and an order names the job that it collects.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from engine.config import ApiConfig, ApiMode, RequestForm
from engine.errors import (
    AnswerUnusable,
    Code,
    ConsoleError,
    EditFailed,
    InvalidInput,
    NetworkFailed,
    PictureRejected,
    Problem,
    Stopped,
    UpstreamRefused,
)
from engine.images.discover import read_source
from engine.images.picture import check_picture
from engine.images.pixels import Shape
from engine.images.sending import as_sent
from engine.models import DebugEntry, EditLimits, ImageInfo, ImageRef, SourceType
from engine.paths import printable
from engine.tasks.arrivals import Begun
from engine.tasks.failures import Failure
from engine.tasks.log import EditLog
from engine.upstream.answer import Answer, AnswerReader, joined
from engine.upstream.answer_room import AFTER_END_SECONDS, ANSWERS, Held
from engine.upstream.bills import Bill, bill_of
from engine.upstream.cancel import CancelToken
from engine.upstream.failure import event_failure, status_failure, wait_as_told
from engine.upstream.image_refs import addresses_in, decode_base64
from engine.upstream.jobs import PLAIN, JobState, JobTicket, plain_job, read_poll, recipe_job
from engine.upstream.recipe import Recipe, key_headers, read_recipe, takes_key
from engine.upstream.recipe_call import first_text, path_answer, recipe_request, result_document, upload_request
from engine.upstream.request import HttpRequest, SourcePicture, build_request, describe_request
from engine.upstream.response import HttpResponse
from engine.upstream.retry import call_with_retries, retry_after
from engine.upstream.sse import EventReader, ServerEvent, json_or_none
from engine.upstream.transport import Body, Transport

_END = "[DONE]"  # the last event of a stream in two of the three modes
_ERROR_BODY_BYTES = 256 * 1024
_TOO_LARGE = frozenset({Code.ANSWER_TOO_LARGE, Code.PICTURE_TOO_LARGE, Code.PICTURE_TOO_MANY_PIXELS})
_MOST_OF_SEVERAL = 320 * 2**20  # bytes of one event with all results in it
_TELLING = {Code.ANSWER_WEB_PAGE, Code.KEY_REFUSED, Code.ACCESS_REFUSED, Code.QUOTA_EXHAUSTED, Code.RATE_LIMITED}
_KEPT_BEYOND = 4  # times the limit of a result: it is paid for, and kept with a warning
_JOB_CHARS = 64 * 1024  # what names a job and no picture is short


class Source(msgspec.Struct, frozen=True):
    """A picture to send. Without ``data`` it is read from ``path``; ``hash`` is the sha256 of its bytes either way."""

    path: str
    name: str
    mime: str
    hash: str
    data: bytes = b""
    width: int = 0
    height: int = 0
    shape: Shape | None = None

    def read(self, max_bytes: int, cancel: CancelToken | None = None) -> SourcePicture:
        """The picture; InvalidInput (SOURCE_MISSING, SOURCE_CHANGED), PictureRejected, Stopped."""
        read = None if self.data else read_source(self.path, max_bytes, cancel)
        if read is not None and read.hash != self.hash:
            raise InvalidInput(Code.SOURCE_CHANGED, path=printable(self.path))
        data = self.data if read is None else read.data
        return SourcePicture(data, self.mime, self.name, self.width, self.height)


class Delivered(msgspec.Struct, frozen=True):
    """An answer that came with others in a provider's batch: its JSON, and the status that a live call would have had.
    ``url``: what links in it are relative to. ``complaint``: JSON of why there is no answer."""

    url: str
    status: int = 200
    document: bytes = b""
    complaint: bytes = b""
    headers: dict[str, str] = {}


class AttemptOrder(msgspec.Struct, frozen=True):
    """All that one call needs to know. ``config``: of the door that is asked, prompts filled in; it holds the key.

    ``task_id``: for whom an answer waits that nobody could take. ``number``: 1 for the first call of a task.
    ``form``: how pictures travel to images/edits. ``job``: nothing is asked for; this job is looked at, and its
    pictures are collected where it is done. ``delivered``: nor here; this answer is read. ``begun``: what the journal
    knows of the task, for an answer that outlives whoever asked.
    """

    sources: tuple[Source, ...]
    config: ApiConfig
    limits: EditLimits = EditLimits()
    number: int = 1
    form: RequestForm = RequestForm.JSON
    task_id: str = ""
    job: JobTicket | None = None
    delivered: Delivered | None = None
    begun: Begun | None = None


class Picture(msgspec.Struct, frozen=True):
    """A whole result picture, the ``number``-th (from 0) of ``of`` in its answer; ``of`` 0: the answer lost some."""

    data: bytes
    info: ImageInfo
    source_type: SourceType
    number: int
    of: int


class AttemptOutcome(msgspec.Struct, frozen=True):
    """What an attempt came to. ``failure``: why it brought nothing, or was stopped; ``warning``: why it brought less
    than was asked for. ``pictures`` and ``log`` are empty where a `Watch` was given them as they came. ``job``: the
    provider has taken the order on and will answer later; after a look, that it is not done. ``bill``: its cost.
    """

    http_status: int | None = None
    failure: Failure | None = None
    warning: Problem | None = None
    job: JobTicket | None = None
    pictures: list[Picture] = []
    log: list[DebugEntry] = []
    bill: Bill | None = None


class Watch(Protocol):
    """Whoever waits for an attempt, and is told of it while it is under way."""

    cancel: CancelToken
    log: EditLog

    def began(self) -> None:
        """An answer begins that is no refusal."""

    def answered(self) -> None:
        """The API has said all that it will; downloads may follow."""

    def keep(self, picture: Picture) -> str:
        """A picture has come whole; it is paid for, and safe when this gives its sha256 in hex. Raises Stopped."""


class Attempts(Protocol):
    """Where attempts are made. Thread-safe."""

    def make(self, order: AttemptOrder, watch: Watch) -> AttemptOutcome:
        """One attempt, waited for. Raises nothing that an API, a network, a file or the person may cause."""


class LocalAttempts:
    """Attempts made by the thread that asks for them."""

    def __init__(self, transport: Transport, *, now: Callable[[], float] = time.time) -> None:
        self._transport = transport
        self._now = now

    def make(self, order: AttemptOrder, watch: Watch) -> AttemptOutcome:
        """As `Attempts.make`."""
        return _Attempt(order, self._transport, watch, self._now).run()


def sent_pictures(order: AttemptOrder, cancel: CancelToken) -> list[SourcePicture]:
    """What APIs take of the sources; the ledger knows these by their own bytes all the same."""
    config, pictures = order.config, []
    for source in order.sources:
        picture = source.read(order.limits.max_source_bytes, cancel)
        data, mime = as_sent(picture.data, config.source_format, config.source_max_edge, cancel, shape=source.shape)
        sized = picture if data is picture.data else check_picture(data, len(data), cancel)
        pictures.append(SourcePicture(data, mime, picture.name, sized.width, sized.height))
    return pictures


class _Attempt:
    """The state of one attempt: request, answer, pictures, from top to bottom."""

    def __init__(self, order: AttemptOrder, transport: Transport, watch: Watch, now: Callable[[], float]) -> None:
        self._order = order
        self._transport = transport
        self._watch = watch
        self._now = now
        self._log = watch.log
        self._http_status: int | None = None
        self._kept: set[str] = set()
        self._ended = False
        self._recipe: Recipe | None = None
        self._reader: AnswerReader | None = None  # of an answer that is understood as a whole
        self._is_picture = False
        self._sent: frozenset[str] = frozenset()
        self._bill = Bill()
        self._small = ""  # the answer, where it is one short event: it may be a job
        self._largest = 0
        self._kept_up_to = order.limits.max_candidate_bytes * _KEPT_BEYOND
        several = min(self._kept_up_to * order.config.result_count, max(_MOST_OF_SEVERAL, self._kept_up_to))
        self._event_bytes = several + 2**22
        self._held: Held

    def run(self) -> AttemptOutcome:
        with ANSWERS.reading() as self._held:
            return self._run()

    def _run(self) -> AttemptOutcome:
        try:
            self._log.begin_attempt(self._order.number)
            answer = self._answer()
            if isinstance(answer, JobTicket):
                return self._outcome(job=answer)
            self._watch.answered()
            warning = self._collect(*answer)
        except ConsoleError as error:
            error.__traceback__ = None  # its frames hold the answer, and would until the next collection of garbage
            return self._outcome(failure=Failure.of(error))
        return self._outcome(warning=warning)

    def _outcome(self, **came: Any) -> AttemptOutcome:
        return AttemptOutcome(self._http_status, bill=self._bill if self._bill != Bill() else None, **came)

    def _answer(self) -> tuple[Answer, ConsoleError | None] | JobTicket:
        if self._order.delivered is not None:
            return self._read_delivered(self._order.delivered)
        return self._look() if self._order.job is not None else self._ask()

    def _ask(self) -> tuple[Answer, ConsoleError | None] | JobTicket:
        """The answer as far as it came, and what cut it short; or the job that it is."""
        request = self._request()
        self._sent = addresses_in(request.body)
        self._log.stage = "asking"
        self._log.add("request", **describe_request(request))
        body = Body(request.body, None if self._recipe is not None else lambda: self._request().body)
        request = msgspec.structs.replace(request, body=b"")
        with self._send(request, body) as response:
            self._watch.began()
            self._log.stage = "receiving"
            if self._recipe is not None:
                return self._understand(self._events(response), response)
            reader = AnswerReader(self._order.config.mode, response.url, self._sent)
            cut = self._read(response, reader)
        self._bill = reader.bill
        answer = reader.finish()
        if not answer.refs and (job := self._job_in(self._small, response)) is not None:
            return job
        return self._whole(answer, cut, response)

    def _whole(
        self, answer: Answer, cut: ConsoleError | None, response: HttpResponse | Delivered
    ) -> tuple[Answer, ConsoleError | None]:
        if cut is None and not answer.refs:
            cut = answer.error
            if isinstance(cut, UpstreamRefused):
                wait_as_told(cut, response.headers, self._now())
        if cut is not None and not answer.refs:
            raise cut
        self._log.add(
            "extracted",
            pictures=[
                {"type": ref.source_type, "where": ref.where, "length": len(ref.value or ref.data)}
                for ref in answer.refs
            ],
            text=answer.text,
            complete=answer.complete,
        )
        return answer, cut or answer.error

    def _request(self) -> HttpRequest:
        order, config = self._order, self._order.config
        sources = sent_pictures(order, self._watch.cancel)
        if config.mode is not ApiMode.RECIPE:
            return build_request(config, sources, form=order.form)
        recipe = self._recipe = read_recipe(config.recipe)
        uploads = [self._upload(recipe, source) for source in sources] if recipe.upload is not None else []
        return recipe_request(config, recipe, sources, uploads)

    def _upload(self, recipe: Recipe, picture: SourcePicture) -> str:
        """Take a picture there; what the API calls it from then on. Nothing is paid for that."""
        request = upload_request(self._order.config, recipe, picture)
        self._log.stage = "uploading"
        self._log.add("request", **describe_request(request))
        with self._send(request) as response:
            body = response.read(_ERROR_BODY_BYTES)
        assert recipe.upload is not None
        name = first_text(recipe.upload.result, json_or_none(body))
        if not name:
            reader = AnswerReader(ApiMode.IMAGES_EDITS, request.url)
            reader.document(body)
            told = reader.finish().error
            if told is not None and told.code in _TELLING:
                raise told
            raise AnswerUnusable(Code.UPLOAD_FAILED, path="upload.result", found=recipe.upload.result)
        return name

    @contextmanager
    def _send(self, request: HttpRequest, body: Body | None = None) -> Iterator[HttpResponse]:
        config = self._order.config
        with self._transport.send(
            request,
            proxy=config.proxy,
            unlocked=config.unlock_local_api_url,
            timeout=config.timeout_seconds,
            cancel=self._watch.cancel,
            body=body,
        ) as response:
            self._note_status(response)
            yield response

    def _note_status(self, response: HttpResponse) -> None:
        self._http_status = response.status
        self._log.add("status", status=response.status, headers=dict(response.headers))
        if response.status >= 400:
            body = response.read(_ERROR_BODY_BYTES)
            raise status_failure(response.status, response.headers, body, self._now())

    # --- recipes and jobs ---

    def _events(self, response: HttpResponse) -> list[ServerEvent]:
        """All of an answer that is understood as a whole; none where the body is a picture, which the reader has."""
        self._reader = AnswerReader(ApiMode.IMAGES_EDITS, response.url, self._sent)
        self._is_picture = response.is_picture()
        if self._is_picture:
            self._reader.picture(response.read(self._kept_up_to, self._held.body))
            return []
        chunks = self._reader.glanced(response.chunks())
        pieces = self._held.events(EventReader(self._event_bytes), response, chunks)
        found = [event for some in pieces for event in some]
        for event in found:
            self._log.event(event.name, event.data)
        self._log.end_events()
        return found

    def _understand(
        self, events: Sequence[ServerEvent], response: HttpResponse | Delivered, *, job: bool = True
    ) -> tuple[Answer, ConsoleError | None] | JobTicket:
        """What an answer means by the recipe's paths, and by the usual readers where it names none."""
        recipe, config = self._recipe, self._order.config
        documents = [json_or_none(event.data) for event in events]
        self._bill = bill_of(documents)
        if job:
            for document in documents:
                found = recipe_job(recipe, config, document) if recipe is not None else None
                found = found or self._job_in(document, response)
                if found is not None:
                    return found
        inner = [result_document(recipe, document) if recipe is not None else document for document in documents]
        by_paths = recipe is not None and bool(recipe.result.pictures) and not self._is_picture
        if recipe is not None and by_paths:
            answer = path_answer(recipe, inner, response.url)
            if answer.refs or answer.refused:
                return self._whole(answer, None, response)
        reader = self._reader or AnswerReader(ApiMode.IMAGES_EDITS, response.url, self._sent)
        for event, document, part in zip(events, documents, inner, strict=True):
            reader.feed(event if part is document else ServerEvent(event.name, msgspec.json.encode(part).decode()))
        answer = reader.finish()
        nothing = answer.refs or (answer.error is not None and answer.error.code is Code.ANSWER_NO_PICTURE)
        if nothing and recipe is not None and by_paths:
            raise AnswerUnusable(Code.RECIPE_FOUND_NOTHING, path="result.pictures", found=recipe.result.pictures[0])
        return self._whole(answer, None, response)

    def _job_in(self, document: Any, response: HttpResponse | Delivered) -> JobTicket | None:
        document = json_or_none(document) if isinstance(document, str) else document
        ticket = plain_job(document, response.status, response.url)
        if ticket is None or self._order.job is not None:
            return None
        wait = retry_after(response.headers, self._now(), limited=False)
        return msgspec.structs.replace(ticket, wait=wait)

    def _read_delivered(self, delivered: Delivered) -> tuple[Answer, ConsoleError | None]:
        """What a live call would have made of this answer."""
        self._http_status = delivered.status
        if self._order.config.mode is ApiMode.RECIPE:
            self._recipe = read_recipe(self._order.config.recipe)
        if delivered.status >= 400:
            raise status_failure(delivered.status, {}, delivered.document, self._now())
        if delivered.complaint:
            raise event_failure(json_or_none(delivered.complaint))
        event = ServerEvent("", delivered.document.decode())
        self._log.event("", event.data)
        answer = self._understand([event], delivered, job=False)
        assert not isinstance(answer, JobTicket)
        return answer

    def _look(self) -> tuple[Answer, ConsoleError | None] | JobTicket:
        """Ask for a job once: its pictures where it is done, else the job again with how long to wait. Of several, the
        pictures of all that came to something once none is under way."""
        ticket, config = self._order.job, self._order.config
        assert ticket is not None
        if config.mode is ApiMode.RECIPE:
            self._recipe = read_recipe(config.recipe)
        found: list[tuple[Answer, ConsoleError | None]] = []
        failures: list[EditFailed] = []
        for one in (ticket, *ticket.others):
            try:
                answer = self._look_at(one)
            except EditFailed as error:
                if error.retryable or not ticket.others:
                    raise
                failures.append(error)
                continue
            if isinstance(answer, JobTicket):
                return msgspec.structs.replace(ticket, wait=answer.wait)
            found.append(answer)
        if not found:
            raise failures[0]
        cut = next((cut for cut in (*failures, *(cut for _, cut in found)) if cut is not None), None)
        return joined([answer for answer, _ in found]), cut

    def _look_at(self, ticket: JobTicket) -> tuple[Answer, ConsoleError | None] | JobTicket:
        config = self._order.config
        with self._get(ticket.url, ticket) as response:
            events = self._events(response)
        documents = [{}] if self._is_picture else [json_or_none(event.data) for event in events]
        document = next(
            (one for one in reversed(documents) if isinstance(one, dict) or (one and isinstance(one, list))), None
        )
        if document is None:
            raise AnswerUnusable(Code.JOB_UNREADABLE, retryable=True, host=_host(ticket.url))
        poll = read_poll(ticket, self._recipe, config, document)
        self._log.percent = poll.percent if poll.percent is not None else self._log.percent
        if poll.state is JobState.PENDING:
            wait = retry_after(response.headers, self._now(), limited=False)
            return msgspec.structs.replace(ticket, wait=wait)
        if poll.state is JobState.FAILED:
            if poll.unknown:
                raise self._forgotten(ticket, response)
            failure = event_failure(poll.complaint)
            failure.retryable = poll.passing
            raise failure
        if poll.result_url and poll.result_url != ticket.url:
            with self._get(poll.result_url, ticket) as response:
                events = self._events(response)
        return self._understand(events, response, job=False)

    @contextmanager
    def _get(self, url: str, ticket: JobTicket) -> Iterator[HttpResponse]:
        """A question about a job; key and headers go only where the key may."""
        config, recipe = self._order.config, self._recipe or PLAIN

        def headers(place: str) -> dict[str, str]:
            mine = ticket.headers if takes_key(place, config, recipe) else {}
            return {"Accept": "application/json", **mine, **key_headers(place, config, recipe)}

        with self._transport.ask(
            url,
            headers,
            proxy=config.proxy,
            unlocked=config.unlock_local_api_url,
            timeout=config.timeout_seconds,
            cancel=self._watch.cancel,
        ) as response:
            if response.status in (404, 410):
                raise self._forgotten(ticket, response)
            self._note_status(response)
            yield response

    def _forgotten(self, ticket: JobTicket, response: HttpResponse) -> UpstreamRefused:
        self._http_status = response.status
        host = _host(response.url)
        return UpstreamRefused(Code.JOB_FORGOTTEN, http_status=response.status, id=ticket.provider_id, host=host)

    # --- reading and collecting ---

    def _read(self, response: HttpResponse, reader: AnswerReader) -> ConsoleError | None:
        try:
            if response.is_picture():
                reader.picture(response.read(self._kept_up_to, self._held.body))
                return None
            chunks = reader.glanced(response.chunks())
            for events in self._held.events(EventReader(self._event_bytes), response, chunks):
                self._take(reader, events)
                if self._ended:  # the connection is kept if its end comes at once, and not waited for if not
                    response.end_within(AFTER_END_SECONDS)
        except (EditFailed, Stopped) as error:
            # What had arrived whole before the cut is paid for and kept; after the end mark there is nothing to cut.
            return None if self._ended and isinstance(error, EditFailed) else error.with_traceback(None)
        finally:
            self._log.end_events()
        return None

    def _take(self, reader: AnswerReader, events: Iterable[ServerEvent]) -> None:
        for event in events:
            self._log.event(event.name, event.data)
            self._ended = event.data == _END
            self._small = event.data if len(event.data) < _JOB_CHARS else ""
            progress = reader.feed(event)
            if progress is not None:
                self._log.percent = progress.percent if progress.percent is not None else self._log.percent
                self._log.preview = progress.preview or self._log.preview

    def _collect(self, answer: Answer, cut: ConsoleError | None) -> Problem | None:
        """Hand over every picture that the answer names; the warning where some are missing."""
        stopped = cut if isinstance(cut, Stopped) else None
        reasons: list[Code] = []
        for refused in answer.refused:
            self._log.add("refused", where=refused.where, code=refused.code, sample=refused.sample)
            reasons.append(refused.code)
        whole = len(answer.refs) if cut is None and not answer.refused else 0
        for number, ref in enumerate(answer.refs):
            if stopped is not None and ref.thumbnail is not None:
                ref = ref.thumbnail
            if stopped is not None and ref.source_type is SourceType.URL:
                continue  # a stop closes the line; pictures that came inline are here already
            try:
                data, info = self._load(ref)
                self._kept.add(self._watch.keep(Picture(data, info, ref.source_type, number, whole)))
                self._largest = max(self._largest, len(data))
            except Stopped as error:
                stopped = error
            except ConsoleError as error:
                self._log.add("refused", where=ref.where, code=error.code, params=error.params)
                reasons.append(error.code)
        if stopped is not None:
            raise stopped
        return self._judge(reasons, cut, named=len(answer.refs) + len(answer.refused))

    def _judge(self, reasons: list[Code], cut: ConsoleError | None, named: int) -> Problem | None:
        reason = reasons[0] if reasons else None
        if not self._kept:
            raise AnswerUnusable(Code.CANDIDATES_REFUSED, refused=len(reasons), named=named, reason=reason)
        if reasons:
            return Problem(Code.SOME_CANDIDATES_REFUSED, {"refused": len(reasons), "named": named, "reason": reason})
        limit = self._order.limits.max_candidate_bytes
        if self._largest > limit:
            return Problem(Code.RESULT_OVER_LIMIT, {"size": self._largest, "limit": limit})
        if cut is None or (isinstance(cut, NetworkFailed) and len(self._kept) >= self._order.config.result_count):
            return None  # a line that broke took nothing away: as many pictures as were asked for had come
        return cut.problem

    def _load(self, ref: ImageRef) -> tuple[bytes, ImageInfo]:
        """A picture's bytes; where a link leads to no picture, those of what was shown of it."""
        if ref.thumbnail is None:
            return self._load_one(ref)
        try:
            return self._load_one(ref)
        except (EditFailed, PictureRejected) as error:
            if error.code in _TOO_LARGE:
                raise  # a picture all the same
            self._log.add("refused", where=ref.where, code=error.code, params=error.params)
            return self._load_one(ref.thumbnail)

    def _load_one(self, ref: ImageRef) -> tuple[bytes, ImageInfo]:
        """Decoded completely before they count."""
        if ref.source_type is not SourceType.URL:
            data = ref.data or decode_base64(ref.value)
            return data, check_picture(data, self._kept_up_to)  # not ended by a stop: it is paid for
        self._log.stage = "downloading"
        config = self._order.config
        return call_with_retries(
            lambda: self._fetch(ref),
            max_retries=config.max_retries,
            interval=config.retry_interval,
            wait=self._watch.cancel.wait,
            on_retry=lambda attempt, error, delay: self._log.add(
                "retry", what="download", number=attempt, code=error.code, params=error.params, delay=round(delay, 2)
            ),
            random=random.random,
        )

    def _fetch(self, ref: ImageRef) -> tuple[bytes, ImageInfo]:
        """One try of a download. What is no picture, or half of one, may be whole the next time: that costs nothing.

        Where a thumbnail stands for it, nobody waits for what the server says it has not.
        """
        config, limit = self._order.config, self._kept_up_to
        try:
            data = self._transport.fetch(
                ref.value,
                proxy=config.proxy,
                unlocked=config.unlock_local_download_url,
                timeout=config.timeout_seconds,
                cancel=self._watch.cancel,
                max_bytes=limit,
                through=self._held.body,
            )
        except NetworkFailed as error:
            error.retryable &= ref.thumbnail is None or (error.http_status or 500) >= 500
            raise
        try:
            return data, check_picture(data, limit)
        except PictureRejected as error:
            if error.code not in (Code.PICTURE_BROKEN, Code.PICTURE_NOT_IMAGE):
                raise
            raise AnswerUnusable(error.code, retryable=ref.thumbnail is None) from None


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "")[:253]
