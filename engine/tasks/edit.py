"""One edit, top to bottom: source, request, answer, pictures, outcome. Structs in, Struct out; knows no store."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterable

import msgspec

from engine.config import ApiConfig, ApiMode
from engine.errors import (
    AnswerUnusable,
    Code,
    ConsoleError,
    EditFailed,
    NetworkFailed,
    PictureRejected,
    Problem,
    Stopped,
    StorageFailed,
    UpstreamRefused,
)
from engine.images.cache import Cache
from engine.images.discover import read_source
from engine.images.picture import check_picture
from engine.models import EditJob, EditOutcome, ImageInfo, ImageRef, SourceType, StoredImage, TaskStatus
from engine.tasks.arrivals import Arrived, Begun
from engine.tasks.gate import CallGate
from engine.tasks.limiter import RATE_RETRY_AFTER
from engine.tasks.log import EditLog
from engine.tasks.plan import RequestRecord, own_config, request_record
from engine.upstream.answer import Answer, AnswerReader
from engine.upstream.cancel import CancelToken
from engine.upstream.failure import status_failure, wait_as_told, wants_other_form
from engine.upstream.image_refs import decode_base64
from engine.upstream.request import HttpRequest, SourcePicture, build_request, describe_request
from engine.upstream.response import HttpResponse
from engine.upstream.retry import call_with_retries
from engine.upstream.sse import EventReader, ServerEvent
from engine.upstream.transport import Transport

_END = "[DONE]"  # the last event of a stream in two of the three modes
_ERROR_BODY_BYTES = 256 * 1024
_AFTER_END_SECONDS = 1.0
_DISK_WAIT_SECONDS = 2.0
_OTHERS = 3
_FREE_PER_RETRY = 3  # refusals for crowding that each allowed retry pays for


class EditTools(msgspec.Struct, frozen=True):
    """What an edit works with; opened and closed by the caller."""

    transport: Transport
    cache: Cache
    gate: CallGate
    note: Callable[[Begun | Arrived], None] = lambda _: None
    now: Callable[[], float] = time.time
    random: Callable[[], float] = random.random


def run_edit(job: EditJob, tools: EditTools, cancel: CancelToken, log: EditLog) -> EditOutcome:
    """Edit one picture. Never raises for what an API, a network, a file or the person may do: the outcome says it."""
    return _Edit(job, tools, cancel, log).run()


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
        self._ended = False
        self._other_form = False
        self._form_changed = False
        self._request = HttpRequest("", "", {}, b"")

    @property
    def _config(self) -> ApiConfig:
        return self._job.config

    def run(self) -> EditOutcome:
        try:
            self._request = self._prepare()
            call_with_retries(
                lambda _: self._attempt(),
                max_retries=self._config.max_retries,
                interval=self._config.retry_interval,
                wait=self._wait,
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
        return self._outcome(TaskStatus.PARTIAL_SUCCESS if self._warning else TaskStatus.DONE, None)

    # --- the way of one picture ---

    def _prepare(self) -> HttpRequest:
        self._log.stage = "reading"
        job = self._job
        # Decoded whole before anything is paid for.
        sources = [read_source(path, job.limits.max_source_bytes) for path in (job.source_path, *job.references)]
        self._source_hash = " ".join(hashlib.sha256(source.data).hexdigest() for source in sources)
        self._source_size = len(sources[0].data)
        config = own_config(job.config, job.source_path, job.user_prompt, job.system_prompt)
        self._request_record = request_record(config, config.user_prompt, config.system_prompt, job.variant)
        provenance = msgspec.json.encode(self._request_record).decode()
        self._tools.note(Begun(job.task_id, self._source_hash, self._source_size, provenance))
        pictures = [SourcePicture(source.data, source.info.mime, source.name) for source in sources]
        self._other_form = config.api_url in self._tools.gate.other_forms
        return build_request(config, pictures, other_form=self._other_form)

    def _attempt(self) -> None:
        try:
            answer, cut = self._ask_in_turn(self._request)
        except UpstreamRefused as error:
            if self._form_changed or self._config.mode is not ApiMode.IMAGES_EDITS or not wants_other_form(error):
                raise
            self._change_form(error)
            answer, cut = self._ask_in_turn(self._request)
        self._log.add(
            "extracted",
            pictures=[{"type": ref.source_type, "where": ref.where, "length": len(ref.value)} for ref in answer.refs],
            text=answer.text,
            complete=answer.complete,
        )
        self._collect(answer, cut)

    def _change_form(self, error: UpstreamRefused) -> None:
        """Make the request JSON instead of multipart, or the other way; the rest of the run begins with it."""
        self._form_changed = True
        self._log.add("retry", code=error.code, params=error.params, what="form")
        forms, url = self._tools.gate.other_forms, self._config.api_url
        if self._other_form:
            forms.discard(url)
        else:
            forms.add(url)
        self._request = self._prepare()

    def _ask_in_turn(self, request: HttpRequest) -> tuple[Answer, ConsoleError | None]:
        """Ask when the gate lets us; a refusal for crowding costs no attempt while others get through.

        At least _OTHERS of them since the last refusal: where nobody does, ``max_retries`` bounds the calls as it says.
        """
        free = _FREE_PER_RETRY * self._config.max_retries
        while True:
            others = self._tools.gate.taken
            self._log.stage = "waiting"
            ticket = self._tools.gate.enter(self._cancel)
            taken, retry_after = True, None
            try:
                return self._ask(request)
            except EditFailed as error:
                if error.code is Code.RATE_LIMITED:
                    taken, retry_after = False, error.retry_after
                if taken or free == 0 or self._tools.gate.taken - others < _OTHERS:
                    raise
                self._log.add("retry", code=error.code, params=error.params, what="turn")
            finally:
                self._tools.gate.leave(ticket, taken=taken, retry_after=retry_after)
            free -= 1
            if retry_after is not None:
                self._wait(min(retry_after, RATE_RETRY_AFTER))  # longer ones are the gate's: all wait

    def _ask(self, request: HttpRequest) -> tuple[Answer, ConsoleError | None]:
        """The answer as far as it came, and what cut it short."""
        config = self._config
        self._attempts += 1
        self._log.begin_attempt(self._attempts)
        self._log.stage = "asking"
        self._log.add("request", **describe_request(request))
        self._ended = False
        self._http_status = None
        with self._tools.transport.send(
            request,
            proxy=config.proxy,
            unlocked=config.unlock_local_api_url,
            timeout=config.timeout_seconds,
            cancel=self._cancel,
        ) as response:
            self._http_status = response.status
            self._log.add("status", status=response.status, headers=dict(response.headers))
            if response.status >= 400:
                body = response.read(_ERROR_BODY_BYTES)
                raise status_failure(response.status, response.headers, body, self._tools.now())
            self._log.stage = "receiving"
            reader = AnswerReader(config.mode, response.url)
            cut = self._read(response, reader)
        answer = reader.finish()
        if cut is None and not answer.refs:
            cut = answer.error
            if isinstance(cut, UpstreamRefused):
                wait_as_told(cut, response.headers, self._tools.now())
        if cut is not None and not answer.refs:
            raise cut
        return answer, cut or answer.error

    def _read(self, response: HttpResponse, reader: AnswerReader) -> ConsoleError | None:
        largest = self._job.limits.max_candidate_bytes * 2 * self._config.result_count + 2**22
        events = EventReader(largest)
        try:
            if response.headers.get("content-type", "").lower().startswith("image/"):
                reader.picture(response.read(self._job.limits.max_candidate_bytes))
                return None
            for chunk in response.chunks():
                self._take(reader, events.feed(chunk))
                if self._ended:  # the connection is kept if its end comes at once, and not waited for if not
                    response.end_within(_AFTER_END_SECONDS)
            self._take(reader, events.close())
        except (EditFailed, Stopped) as error:
            # What had arrived whole before the cut is paid for and kept; after the end mark there is nothing to cut.
            return None if self._ended and isinstance(error, EditFailed) else error
        finally:
            self._log.end_events()
        return None

    def _collect(self, answer: Answer, cut: ConsoleError | None) -> None:
        """Store every picture that the answer names; decide whether that is all, some or none."""
        stopped = cut if isinstance(cut, Stopped) else None
        reasons: list[Code] = []
        for refused in answer.refused:
            self._log.add("refused", where=refused.where, code=refused.code, sample=refused.sample)
            reasons.append(refused.code)
        whole = len(answer.refs) if cut is None and not answer.refused else 0
        for number, ref in enumerate(answer.refs):
            if stopped is not None and ref.source_type is SourceType.URL:
                continue  # a stop closes the line; pictures that came inline are here already
            try:
                self._keep(ref, number, whole)
            except Stopped as error:
                stopped = error
            except StorageFailed:
                raise
            except ConsoleError as error:
                self._log.add("refused", where=ref.where, code=error.code, params=error.params)
                reasons.append(error.code)
        if stopped is not None:
            raise stopped
        self._judge(reasons, cut, named=len(answer.refs) + len(answer.refused))

    def _judge(self, reasons: list[Code], cut: ConsoleError | None, named: int) -> None:
        reason = reasons[0] if reasons else None
        if not self._images:
            raise AnswerUnusable(Code.CANDIDATES_REFUSED, refused=len(reasons), named=named, reason=reason)
        if reasons:
            self._warning = Problem(
                Code.SOME_CANDIDATES_REFUSED, {"refused": len(reasons), "named": named, "reason": reason}
            )
        elif cut is not None and not self._came_after_all(cut):
            self._warning = cut.problem

    def _came_after_all(self, cut: ConsoleError) -> bool:
        """Whether a line that broke took nothing away: as many pictures as were asked for had come."""
        return isinstance(cut, NetworkFailed) and len(self._images) >= self._config.result_count

    def _keep(self, ref: ImageRef, number: int, of: int) -> None:
        if ref.source_type is SourceType.URL:
            data, info = self._download(ref)
        else:
            data = decode_base64(ref.value)
            info = check_picture(data, self._job.limits.max_candidate_bytes)
        self._log.stage = "storing"

        def announce(digest: str) -> None:
            image = StoredImage(digest, len(data), info, ref.source_type)
            self._tools.note(Arrived(self._job.task_id, number, of, image))

        digest = self._put(data, info.extension, announce)
        self._images.setdefault(digest, StoredImage(digest, len(data), info, ref.source_type))

    def _download(self, ref: ImageRef) -> tuple[bytes, ImageInfo]:
        self._log.stage = "downloading"
        config = self._config
        return call_with_retries(
            lambda _: self._fetch(ref.value),
            max_retries=config.max_retries,
            interval=config.retry_interval,
            wait=self._wait,
            on_retry=lambda attempt, error, delay: self._log.add(
                "retry", what="download", number=attempt, code=error.code, params=error.params, delay=round(delay, 2)
            ),
            random=self._tools.random,
        )

    def _fetch(self, url: str) -> tuple[bytes, ImageInfo]:
        """One try of a download. What is no picture, or half of one, may be whole the next time: that costs nothing."""
        config, limit = self._config, self._job.limits.max_candidate_bytes
        data = self._tools.transport.fetch(
            url,
            proxy=config.proxy,
            unlocked=config.unlock_local_download_url,
            timeout=config.timeout_seconds,
            cancel=self._cancel,
            max_bytes=limit,
        )
        try:
            return data, check_picture(data, limit)
        except PictureRejected as error:
            if error.code not in (Code.PICTURE_BROKEN, Code.PICTURE_NOT_IMAGE):
                raise
            raise AnswerUnusable(error.code, retryable=True) from None

    def _put(self, data: bytes, extension: str, announce: Callable[[str], None]) -> str:
        """Into the cache; where that fails it is tried again until it works or is stopped: this picture is paid for."""
        told: Code | None = None
        while True:
            try:
                return self._tools.cache.put(data, extension, announce)
            except StorageFailed as error:
                if error.code != told:
                    told = error.code
                    self._log.add("error", code=error.code, params=error.params)
                self._log.stage = error.code.value
                self._wait(_DISK_WAIT_SECONDS)

    # --- small things ---

    def _take(self, reader: AnswerReader, events: Iterable[ServerEvent]) -> None:
        for event in events:
            self._log.event(event.name, event.data)
            self._ended = event.data == _END
            progress = reader.feed(event)
            if progress is not None:
                self._log.percent = progress.percent if progress.percent is not None else self._log.percent
                self._log.preview = progress.preview or self._log.preview

    def _wait(self, seconds: float) -> None:
        self._cancel.wait(seconds)

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
