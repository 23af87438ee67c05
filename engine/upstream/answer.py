"""Owns the meaning of an answer as a whole: events or a body in; picture references, progress and the reason out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import msgspec

from engine.config import ApiMode
from engine.errors import AnswerUnusable, Code, EditFailed
from engine.models import ImageRef
from engine.upstream.answer_state import ORDINARY, TEXT_CHARS, AnswerState, JobRef
from engine.upstream.bills import Bill, read_bill
from engine.upstream.dialects import Progress, read_object
from engine.upstream.failure import content_failure, event_failure, readable, web_page_title
from engine.upstream.image_refs import SAMPLE_CHARS, Refused, shorten
from engine.upstream.sse import EventReader, ServerEvent, TooManyValues, parse_json, well_formed

__all__ = ["Answer", "AnswerReader", "JobRef", "Progress", "Refused"]

_REASON_MARKS = ("reason", "message", "detail", "refus", "block", "moderat")
_REASON_DEPTH = 6
_HEAD_BYTES = 4096


class Answer(msgspec.Struct, frozen=True):
    """What an answer came to.

    ``refs``: unique, in order of first appearance. ``refused``: candidates that are no pictures. ``error``: why there
    is no picture; beside pictures, what the upstream said went wrong, else None. ``text``: the model's words without
    its thinking, at most 2000 characters. ``complete``: its end was there, or a finished picture. ``job``: the answer
    is a job, and its pictures come later; ``error`` says so for whoever does not follow it.
    """

    refs: list[ImageRef]
    refused: list[Refused]
    error: EditFailed | None
    text: str
    complete: bool
    job: JobRef | None = None


def joined(answers: list[Answer]) -> Answer:
    """Several answers as one."""
    refs: dict[str, ImageRef] = {}
    for answer in answers:
        for ref in answer.refs:
            refs.setdefault(ref.value, ref)
    refused = [refused for answer in answers for refused in answer.refused]
    error = next((answer.error for answer in answers if answer.error is not None), None)
    text = "\n".join(answer.text for answer in answers if answer.text)[:TEXT_CHARS]
    return Answer(list(refs.values()), refused, error, text, all(answer.complete for answer in answers))


class AnswerReader:
    """Takes the events of one answer in order; ``finish`` tells what they came to. No input makes it fail.

    ``base_url``: the API URL, against which relative picture URLs are resolved. ``sent``: addresses that stood in the
    request; in the model's words they are no results.
    """

    def __init__(self, mode: ApiMode, base_url: str, sent: Collection[str] = ()) -> None:
        self._mode = mode
        self._state = AnswerState(base_url, sent)
        self._head = b""
        self._last: Any = None
        self._events = 0
        self._broken = 0
        self._stray = ""
        self._first = ""
        self.bill = Bill()
        """What the answer has said of its cost so far."""

    def glance(self, piece: bytes) -> None:
        """Take a piece of the body as it came, before it is cut into events: it may be a web page."""
        if len(self._head) < _HEAD_BYTES:
            self._head += piece[:_HEAD_BYTES]

    def glanced(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """The same pieces, each after a glance at it."""
        for piece in pieces:
            self.glance(piece)
            yield piece

    def feed(self, event: ServerEvent) -> Progress | None:
        """Take one event; gives what it says of progress. Previews are progress, never results."""
        data = event.data.strip()
        while data.startswith("data:"):  # a proxy put its own before the one that was there
            data = data[5:].lstrip()
        self._first = self._first or data[:SAMPLE_CHARS]
        opens = data[:1] in ("{", "[")
        try:
            return self._value(parse_json(data), event.name)
        except ValueError as error:
            if opens and isinstance(error, TooManyValues):
                raise AnswerUnusable(Code.ANSWER_TOO_LARGE, limit=len(data)) from None
            if not opens or data == "[DONE]":
                self._words(event.name, data)
                return None
        progress = None
        for value, name in self._values(data):
            progress = self._value(value, name or event.name) or progress
        return progress

    def document(self, body: bytes) -> None:
        """Take a whole body: one JSON value, several, or an event stream after all."""
        self.glance(body)
        text = body.decode("utf-8-sig", "replace")
        self._first = self._first or text[:SAMPLE_CHARS]
        try:
            self._value(parse_json(text), "")
        except ValueError:
            reader = EventReader(len(body) + 1)
            for event in [*reader.feed(body), *reader.close()]:
                self.feed(event)

    def picture(self, body: bytes) -> None:
        """Take a body that is the picture itself, as its content type says."""
        self._state.body(body)
        self._state.end()

    def finish(self) -> Answer:
        """What the answer came to. To be called once, after the last event."""
        state = self._state
        refs, refused, text = state.result()
        if self._events == 1 and not (refs or refused or text or state.explained):
            state.look_anywhere(self._last)
            refs, refused, text = state.result()
        text = text or self._stray[:TEXT_CHARS]
        job = None if refs or state.error else state.job
        error = state.error or (None if refs else self._reason(refused, text))
        if error is None and state.lacks(len(refs)):
            error = content_failure(state.filtered)
        return Answer(refs, refused, error, text, state.ended or bool(refs), job)

    def _reason(self, refused: list[Refused], text: str) -> EditFailed:
        """Why the answer holds no picture."""
        state = self._state
        given = ", ".join(state.reasons)
        if state.refusals or state.filtered:
            return content_failure(": ".join(part for part in (given, text) if part) or state.filtered)
        if any(item.code is Code.UPSTREAM_ERROR for item in refused):
            return event_failure("error")
        if refused:
            return AnswerUnusable(
                Code.CANDIDATES_REFUSED, refused=len(refused), named=len(refused), reason=refused[0].code
            )
        if state.job is not None:
            return AnswerUnusable(Code.ANSWER_JOB, job=state.job.id, status=state.job.status)
        if state.complains and not text:
            return event_failure(state.complaint)
        title = web_page_title(self._head)
        if title is not None:
            return AnswerUnusable(Code.ANSWER_WEB_PAGE, address=_plain_address(state.base_url), title=title)
        if not state.ended and self._events + self._broken:
            return AnswerUnusable(Code.STREAM_CUT, retryable=True, events=self._events)
        if not text and not self._events:
            return AnswerUnusable(Code.ANSWER_EMPTY, retryable=True)
        if not text:
            given = given or ", ".join(_reasons_in(self._last)) or state.plain_end
        if given:
            return AnswerUnusable(Code.ANSWER_ENDED, reason=": ".join(part for part in (given, shorten(text)) if part))
        return AnswerUnusable(Code.ANSWER_NO_PICTURE, text=shorten(text or well_formed(self._first)))

    def _value(self, value: object, name: str) -> Progress | None:
        progress = None
        for item in value if isinstance(value, list) else [value]:
            self._events += 1
            if isinstance(item, dict):
                self._last = item
                self.bill = self.bill.then(read_bill(item))
                progress = read_object(self._state, item, name, self._mode) or progress
            elif isinstance(item, str):
                self._words(name, item)
        return progress

    def _values(self, data: str) -> list[tuple[object, str]]:
        """The JSON values in data that is not one of them: several, or one that was cut."""
        reader = EventReader(4 * len(data) + 4)
        values = []
        for event in [*reader.feed(data.encode("utf-8", "replace")), *reader.close()]:
            text = event.data.strip()
            try:
                values.append((parse_json(text), event.name))
            except ValueError:
                if text == "[DONE]":
                    self._state.end()
                else:
                    self._broken += 1
        return values

    def _words(self, name: str, data: str) -> None:
        """Data that is no JSON object: the end mark, an error in words, or a page."""
        if data == "[DONE]":
            self._state.end()
        elif name == "error":
            self._events += 1
            self._state.fail(data)
        elif data:
            words = " ".join(well_formed(readable(data)).split())
            self._stray = f"{self._stray} {words}".strip()[:TEXT_CHARS]


def _plain_address(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _reasons_in(value: Any) -> list[str]:
    """Words at places that sound like a reason, in an object that holds nothing else that is known."""
    found: dict[str, None] = {}

    def walk(item: Any, depth: int) -> Iterator[str]:
        if isinstance(item, dict) and depth < _REASON_DEPTH:
            for key, inner in item.items():
                if isinstance(inner, str) and inner and any(mark in key.lower() for mark in _REASON_MARKS):
                    yield inner
                yield from walk(inner, depth + 1)
        elif isinstance(item, list) and depth < _REASON_DEPTH:
            for inner in item[:4]:
                yield from walk(inner, depth + 1)

    for text in walk(value, 0):
        if text.lower() not in ORDINARY:
            found.setdefault(shorten(" ".join(well_formed(text[:TEXT_CHARS]).split())))
    return list(found)[:4]
