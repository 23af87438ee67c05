"""One question to a vision model and its answer as text: the connection, labelled pictures, retries, and JSON found in
whatever the model wrote around it. Stands on the transport, the retries and the limiter that edits have."""

from __future__ import annotations

import contextlib
import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from engine.config import ApiConfig
from engine.errors import AnswerUnusable, Code, EditFailed, UpstreamRefused
from engine.images.picture import HEAD_BYTES, sniff
from engine.images.thumbnails import make_thumbnail
from engine.tasks.costs import Admission, CallKind, Came, Costs
from engine.tasks.gate import CallGate
from engine.upstream.bills import Bill, read_bill
from engine.upstream.cancel import CancelToken
from engine.upstream.failure import content_failure, event_failure, status_failure
from engine.upstream.request import HttpRequest, SourcePicture, build_request, merge
from engine.upstream.retry import call_with_retries
from engine.upstream.sse import EventReader, parse_json
from engine.upstream.transport import Transport

_ERROR_BODY_BYTES = 256 * 1024
_ANSWER_BYTES = 8 * 1024 * 1024
_TEXT_CHARS = 200_000
_TRIES = 200  # places in a text where JSON may begin
_FORM_REFUSED = frozenset({400, 404, 415, 422, 501})  # statuses with which a server says that it knows no such field
_THINKING = re.compile(r"<(think|thinking|thought)>.*?</\1>", re.DOTALL | re.IGNORECASE)


class Labelled(msgspec.Struct, frozen=True):
    """A picture with the words that stand before it in the request."""

    label: str
    picture: SourcePicture


class Question(msgspec.Struct, frozen=True):
    """What is asked. ``schema``: JSON schema of the answer, ``name`` its name."""

    system: str
    text: str
    pictures: tuple[Labelled, ...]
    name: str
    schema: dict[str, Any]


class Reply(msgspec.Struct, frozen=True):
    """A model's words, and what they cost in units of `engine.money`, None for unknown."""

    text: str
    cost: int | None


def picture_at(path: str, max_edge: int, label: str, cancel: CancelToken) -> Labelled:
    """The picture of a file, no larger than ``max_edge``; PictureRejected if it cannot be read whole, Stopped."""
    data = make_thumbnail(Path(path), max_edge, cancel)
    return Labelled(label, SourcePicture(data, sniff(data[:HEAD_BYTES]) or "image/jpeg", Path(path).name))


SendQuestion = Callable[[ApiConfig, bytes, CancelToken], bytes]
"""Sends the body of a question; the body of the answer. Raises as the transport does."""


def send_question(
    transport: Transport, config: ApiConfig, body: bytes, cancel: CancelToken, now: Callable[[], float] = time.time
) -> bytes:
    """Ask from here; see `SendQuestion`."""
    base = build_request(msgspec.structs.replace(config, extra_body={}), [])
    with transport.send(
        HttpRequest(base.method, base.url, base.headers, body),
        proxy=config.proxy,
        unlocked=config.unlock_local_api_url,
        timeout=config.timeout_seconds,
        cancel=cancel,
    ) as response:
        if response.status >= 400:
            raise status_failure(response.status, response.headers, response.read(_ERROR_BODY_BYTES), now())
        return response.read(_ANSWER_BYTES)


class VisionClient:
    """One connection to a vision model, used by many threads at once. ``calls``: answers that came so far, which is
    what was paid for; ``paid``: what they cost, in units of `engine.money`, as far as that is known."""

    def __init__(
        self,
        transport: Transport,
        config: ApiConfig,
        *,
        costs: Costs | None = None,
        send: SendQuestion | None = None,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``send``: who asks in place of our own threads, as a cluster does."""
        self._send_body = send or partial(send_question, transport, now=now)
        self._config = config
        self._gate = CallGate(config.concurrency_limit, config.retry_interval)
        self._costs = costs or Costs()
        self._random = chance
        self._plain = False  # this server refuses response_format
        self._lock = threading.Lock()
        self.calls = 0
        self.paid = 0

    def ask(self, question: Question, cancel: CancelToken) -> Reply:
        """The model's words. Raises Stopped, EditFailed and InvalidInput as the transport does."""

        def attempt() -> Reply:
            plain = self._plain
            try:
                return self._once(self._body(question, plain=plain), cancel)
            except UpstreamRefused as error:
                if plain or error.http_status not in _FORM_REFUSED or error.code is Code.CONTENT_REFUSED:
                    raise
                answer = self._once(self._body(question, plain=True), cancel)
                self._plain = True  # only now is it sure that this was why
                return answer

        config = self._config
        return call_with_retries(
            attempt,
            max_retries=config.max_retries,
            interval=config.retry_interval,
            wait=cancel.wait,
            on_retry=lambda *_: None,
            random=self._random,
        )

    def _body(self, question: Question, *, plain: bool) -> bytes:
        content: list[dict[str, Any]] = [{"type": "text", "text": question.text}]
        for entry in question.pictures:
            content.append({"type": "text", "text": entry.label})
            content.append({"type": "image_url", "image_url": {"url": entry.picture.data_url}})
        fields: dict[str, Any] = {
            "model": self._config.model_name,
            "messages": [{"role": "system", "content": question.system}, {"role": "user", "content": content}],
            "stream": False,
        }
        if not plain:
            form = {"name": question.name, "strict": True, "schema": question.schema}
            fields["response_format"] = {"type": "json_schema", "json_schema": form}
        return msgspec.json.encode(merge(fields, self._config.extra_body))

    def _once(self, question: bytes, cancel: CancelToken) -> Reply:
        ticket = self._gate.enter(cancel)
        taken, wait = True, None
        try:
            return self._pay(question, cancel)
        except EditFailed as error:
            if error.code is Code.RATE_LIMITED:
                taken, wait = False, error.retry_after
            raise
        finally:
            self._gate.leave(ticket, taken=taken, retry_after=wait)

    def _pay(self, question: bytes, cancel: CancelToken) -> Reply:
        """The words, where the budget allows them; what they cost is noted, whatever they say."""
        admission = self._costs.admit(self._config, CallKind.VISION)
        try:
            body = self._send(question, cancel)
        except BaseException:
            self._costs.settle(admission, Came.REFUSED)
            raise
        bill = bill_in(body)
        try:
            text = answer_text(body)
        except EditFailed:
            self._settle(admission, Came.WASTED, bill)
            raise
        return Reply(text, self._settle(admission, Came.ANSWER, bill))

    def _settle(self, admission: Admission, came: Came, bill: Bill | None) -> int | None:
        cost = self._costs.settle(admission, came, bill)
        with self._lock:
            self.paid += cost or 0
        return cost

    def _send(self, question: bytes, cancel: CancelToken) -> bytes:
        body = self._send_body(self._config, question, cancel)
        with self._lock:
            self.calls += 1
        return body


# --- reading: pure ----------------------------------------------------------------------------------------------------


def answer_text(body: bytes) -> str:
    """The words of a chat completion, as a document or a stream; of anything else the body itself.

    Where a model answered in its thinking only, that. Raises UpstreamRefused for an error inside, and
    AnswerUnusable(ANSWER_EMPTY) for no words.
    """
    spoken: list[str] = []
    thought: list[str] = []
    known = False
    reader = EventReader(len(body) + 1)
    for event in [*reader.feed(body), *reader.close()]:
        try:
            value = parse_json(event.data)
        except ValueError:
            continue
        if isinstance(value, dict):
            known = _gather(value, spoken, thought) or known
    text = "".join(spoken).strip() or "".join(thought).strip()
    if not text and not known:
        text = body.decode("utf-8", "replace").strip()
    if not text:
        raise AnswerUnusable(Code.ANSWER_EMPTY, retryable=True)
    return text[:_TEXT_CHARS]


def bill_in(body: bytes) -> Bill | None:
    """What an answer says of its cost, as a document or a stream."""
    found = Bill()
    reader = EventReader(len(body) + 1)
    for event in [*reader.feed(body), *reader.close()]:
        with contextlib.suppress(ValueError):
            found = found.then(read_bill(parse_json(event.data)))
    return found if found != Bill() else None


def _gather(value: dict[str, Any], spoken: list[str], thought: list[str]) -> bool:
    """Take the words of a completion or of a piece of it; whether it was one."""
    if value.get("error"):
        raise event_failure(value["error"])
    choices = value.get("choices")
    if not isinstance(choices, list):
        return False
    for choice in choices[:1]:
        message = choice.get("message") or choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(message, dict):
            continue
        if isinstance(message.get("refusal"), str) and message["refusal"]:
            raise content_failure(message["refusal"])
        content = message.get("content")
        for part in content if isinstance(content, list) else [content]:
            words = part.get("text") if isinstance(part, dict) else part
            if isinstance(words, str):
                spoken.append(words)
        inward = (message.get(name) for name in ("reasoning_content", "reasoning"))
        thought += [words for words in inward if isinstance(words, str)]
    return True


def objects_in(text: str) -> Iterator[dict[str, Any]]:
    """The JSON objects that stand in a text, those inside another one not among them; thinking is left out unless
    there is nothing else."""
    said = _THINKING.sub(" ", text)
    text = said if "{" in said else text
    decoder = json.JSONDecoder()
    at, tries = text.find("{"), 0
    while at >= 0 and tries < _TRIES:
        tries += 1
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            if isinstance(value, dict):
                yield value
        at = text.find("{", end)
