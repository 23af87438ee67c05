"""What a client asks of the demo endpoint: the three request shapes, read into one order. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import msgspec

from engine.config import ApiMode

PATHS = {
    ApiMode.CHAT_COMPLETIONS: "/v1/chat/completions",
    ApiMode.RESPONSES: "/v1/responses",
    ApiMode.IMAGES_EDITS: "/v1/images/edits",
}
_FAULT = re.compile(
    r"(?:error|错误)[\s:：=_-]*(4\d\d|5\d\d|html|empty|cut|event|text|broken|link|slow)\b(?:\s*(once|一次))?",
    re.IGNORECASE,
)
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?', re.IGNORECASE)
_DISPOSITION_NAME = re.compile(rb'\bname="([^"]*)"', re.IGNORECASE)


class OrderRefused(Exception):
    """The request cannot be served: HTTP status, message, and the parameter that is wrong."""

    def __init__(self, status: int, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.parameter = parameter


class Trouble(StrEnum):
    """Faults that are no plain HTTP status."""

    HTML = "html"
    EMPTY = "empty"
    CUT = "cut"
    EVENT = "event"
    TEXT = "text"
    BROKEN = "broken"
    LINK = "link"
    SLOW = "slow"


class Fault(msgspec.Struct, frozen=True):
    """What shall go wrong: an HTTP status or a trouble; ``once``: only the first time for the same picture."""

    status: int | None
    trouble: Trouble | None
    once: bool


class EditOrder(msgspec.Struct, frozen=True):
    """A request of any mode. ``count`` results; ``previews``: whether partial images are wanted."""

    mode: ApiMode
    prompt: str
    picture: bytes
    count: int
    by_url: bool
    stream: bool
    previews: bool


class _Part(msgspec.Struct):
    type: str = ""
    text: str = ""
    image_url: Any = None


class _Message(msgspec.Struct):
    role: str = ""
    content: str | list[_Part] = ""


class _Body(msgspec.Struct):
    """The fields of all three modes that the demo obeys; others are ignored."""

    prompt: str = ""
    messages: list[_Message] = []
    input: str | list[_Message] = ""
    image: Any = None
    images: Any = None
    n: int | None = None
    stream: bool | None = None
    response_format: Any = None
    partial_images: int | None = None


def mode_of(path: str) -> ApiMode | None:
    """Which mode a path asks for; None for any other path."""
    return next((mode for mode, known in PATHS.items() if path == known), None)


def fault_in(prompt: str) -> Fault | None:
    """The fault that the prompt asks for (``error 429``, ``错误 500 一次``, ``error cut`` …)."""
    found = _FAULT.search(prompt)
    if found is None:
        return None
    word = found[1].lower()
    if word.isdigit():
        return Fault(int(word), None, found[2] is not None)
    return Fault(None, Trouble(word), found[2] is not None)


def read_order(mode: ApiMode, content_type: str, body: bytes) -> EditOrder:
    """The order in a request body, JSON or multipart; OrderRefused (400, 415) if it cannot be read."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data" and mode is ApiMode.IMAGES_EDITS:
        return _from_form(content_type, body)
    if kind != "application/json":
        raise OrderRefused(415, f"Content-Type {kind or '(none)'} is not supported here")
    try:
        parsed = msgspec.json.decode(body, type=_Body)
    except msgspec.ValidationError as error:
        raise OrderRefused(400, str(error), str(error).rpartition("$.")[2].rstrip("`") or None) from error
    except msgspec.DecodeError as error:
        raise OrderRefused(400, "The body is not JSON") from error
    prompt, picture = _words_and_picture(mode, parsed)
    count = 1 if parsed.n is None else parsed.n
    by_url, previews = parsed.response_format == "url", parsed.partial_images != 0
    return _order(mode, prompt, picture, count, by_url=by_url, stream=bool(parsed.stream), previews=previews)


def _order(
    mode: ApiMode, prompt: str, picture: bytes | None, count: int, *, by_url: bool, stream: bool, previews: bool
) -> EditOrder:
    if picture is None:
        raise OrderRefused(400, "A picture to edit is required", "image")
    if not 1 <= count <= 10:
        raise OrderRefused(400, "n must be between 1 and 10", "n")
    return EditOrder(mode, prompt, picture, count, by_url, stream, previews)


def _words_and_picture(mode: ApiMode, body: _Body) -> tuple[str, bytes | None]:
    if mode is ApiMode.IMAGES_EDITS:
        named = list(_image_values(body.image)) + list(_image_values(body.images))
        return body.prompt, read_inline(named[0]) if named else None
    messages = body.messages if mode is ApiMode.CHAT_COMPLETIONS else body.input
    if isinstance(messages, str):
        return messages, None
    words: list[str] = []
    picture: bytes | None = None
    for message in messages:
        if isinstance(message.content, str):
            words.append(message.content)
            continue
        for part in message.content:
            words.append(part.text)
            for value in _image_values(part.image_url):
                picture = picture or read_inline(value)
    return "\n".join(filter(None, words)), picture


def _image_values(value: object) -> Iterator[str]:
    """The picture texts in ``"…"``, ``{"url": …}``, ``{"image_url": …}``, or a list of these."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for entry in value:
            yield from _image_values(entry)
    elif isinstance(value, dict):
        yield from _image_values(value.get("url") or value.get("image_url"))


def read_inline(text: str) -> bytes:
    """The bytes of a base64 data: URL; OrderRefused for anything else."""
    head, comma, rest = text.partition(",")
    if not (comma and head.startswith("data:image/") and head.endswith(";base64")):
        raise OrderRefused(400, "The demo takes pictures as base64 data URLs only", "image")
    try:
        return base64.b64decode(rest, validate=True)
    except (binascii.Error, ValueError) as error:
        raise OrderRefused(400, "The base64 of the picture is invalid", "image") from error


def _from_form(content_type: str, body: bytes) -> EditOrder:
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise OrderRefused(400, "The multipart boundary is missing")
    fields: dict[str, bytes] = {}
    for name, value in _form_parts(body, found[1].encode("latin-1")):
        fields.setdefault("image" if name.startswith("image") else name, value)
    if "response_format" in fields:  # as OpenAI does for its current models
        raise OrderRefused(400, "Unknown parameter: 'response_format'.", "response_format")
    text = {name: value.decode("utf-8", "replace") for name, value in fields.items() if name != "image"}
    count, previews = text.get("n", "1"), text.get("partial_images", "1")
    if not count.isdecimal():
        raise OrderRefused(400, "n must be a whole number", "n")
    stream = text.get("stream", "").lower() in {"true", "1"}
    mode, prompt, picture = ApiMode.IMAGES_EDITS, text.get("prompt", ""), fields.get("image")
    return _order(mode, prompt, picture, int(count), by_url=False, stream=stream, previews=previews != "0")


def _form_parts(body: bytes, boundary: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each part of multipart/form-data (RFC 7578)."""
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        name = _DISPOSITION_NAME.search(head)
        if name is not None:
            yield name[1].decode("utf-8", "replace"), value
