"""What the demo endpoint answers: documents and event streams in the shapes of the three API modes. Pure."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from bridge.demo.critic import JUDGE_MODEL
from bridge.demo.orders import EditOrder
from bridge.demo.painter import Painted
from engine.config import ApiMode

MODEL = "demo-edit"
NOTE = "Demo: edited on this machine with Pillow, no model was asked."
_STATUS_WORDS = {
    400: ("invalid_request_error", "invalid_value", "The demo refuses this request on purpose"),
    401: ("authentication_error", "invalid_api_key", "Incorrect API key provided"),
    403: ("permission_error", "forbidden", "This key may not use this model"),
    404: ("invalid_request_error", "model_not_found", "The model `demo-edit` does not exist"),
    429: ("rate_limit_error", "rate_limit_exceeded", "Rate limit reached, try again in 1 second"),
}


class Picture(msgspec.Struct, frozen=True):
    """A finished picture and, if it was asked for by URL, where it lies."""

    painted: Painted
    url: str | None

    @property
    def base64(self) -> str:
        """The bytes as base64 text."""
        return base64.b64encode(self.painted.data).decode("ascii")

    @property
    def markdown(self) -> str:
        """An image in Markdown, by URL or inline."""
        return f"![image]({self.url or f'data:{self.painted.mime};base64,{self.base64}'})"

    @property
    def entry(self) -> dict[str, str]:
        """An entry of ``data`` in an images answer."""
        named = {"url": self.url, "mime_type": self.painted.mime} if self.url else {"b64_json": self.base64}
        return {**named, "revised_prompt": NOTE}


def error_document(status: int, message: str | None = None, parameter: str | None = None) -> dict[str, Any]:
    """An error in OpenAI's shape."""
    kind, code, words = _STATUS_WORDS.get(status, ("server_error", "internal_error", "The demo fails on purpose"))
    return {"error": {"message": message or words, "type": kind, "param": parameter, "code": code}}


def encode_event(name: str | None, data: object) -> bytes:
    """One server-sent event; ``data`` is JSON, or a bare string such as ``[DONE]``."""
    text = data if isinstance(data, str) else msgspec.json.encode(data).decode()
    return f"{f'event: {name}' + chr(10) if name else ''}data: {text}\n\n".encode()


def document(order: EditOrder, number: str, created: int, pictures: Sequence[Picture]) -> dict[str, Any]:
    """The answer without a stream. ``number``: part of the ids; ``created``: Unix seconds."""
    if order.mode is ApiMode.IMAGES_EDITS:
        return {"created": created, "model": MODEL, "data": [picture.entry for picture in pictures]}
    if order.mode is ApiMode.RESPONSES:
        return _response(number, created, "completed", [_item(number, i, pic) for i, pic in enumerate(pictures)])
    choices = [
        {"index": i, "message": {"role": "assistant", "content": picture.markdown}, "finish_reason": "stop"}
        for i, picture in enumerate(pictures)
    ]
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": created,
        "model": MODEL,
        "choices": choices,
    }


def judged_document(number: str, created: int, judged: dict[str, Any]) -> dict[str, Any]:
    """The answer to a question about pictures, as a chat completion whose text is JSON."""
    message = {"role": "assistant", "content": msgspec.json.encode(judged).decode()}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": created,
        "model": JUDGE_MODEL,
        "choices": [choice],
    }


def text_document(order: EditOrder, number: str, created: int, text: str) -> dict[str, Any]:
    """An answer in words, without a picture."""
    if order.mode is ApiMode.IMAGES_EDITS:
        return {"created": created, "model": MODEL, "data": [], "text": text}
    if order.mode is ApiMode.RESPONSES:
        return _response(number, created, "completed", [_message(number, 0, text)])
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": created,
        "model": MODEL,
        "choices": [choice],
    }


def opening(order: EditOrder, number: str, created: int) -> Iterator[bytes]:
    """The first events of a stream."""
    if order.mode is ApiMode.RESPONSES:
        yield encode_event(
            "response.created", {"type": "response.created", "response": _response(number, created, "in_progress", [])}
        )
    elif order.mode is ApiMode.CHAT_COMPLETIONS:
        yield _chunk(number, created, 0, {"role": "assistant", "content": ""})


def progress(order: EditOrder, number: str, created: int, percent: int, pictures: Sequence[Picture]) -> Iterator[bytes]:
    """How far it came, 0..100; with a small preview in the modes that have one, once ``pictures`` are there."""
    preview = base64.b64encode(pictures[0].painted.preview).decode("ascii") if pictures and order.previews else ""
    if order.mode is ApiMode.IMAGES_EDITS:
        name = "image_generation.partial_image"
        yield encode_event(
            name, {"type": name, "index": 0, "partial_image_index": 0, "progress": percent, "b64_json": preview}
        )
    elif order.mode is ApiMode.RESPONSES:
        name = "response.image_generation_call.generating"
        if preview:
            name = "response.image_generation_call.partial_image"
        extra = {"partial_image_index": 0, "partial_image_b64": preview} if preview else {}
        yield encode_event(
            name, {"type": name, "output_index": 0, "item_id": f"ig_{number}_0", "progress": percent, **extra}
        )
    else:
        yield _chunk(number, created, 0, {"reasoning_content": f"{percent}%\n"})


def results(order: EditOrder, number: str, created: int, pictures: Sequence[Picture]) -> Iterator[bytes]:
    """The finished pictures and the end of the stream."""
    for index, picture in enumerate(pictures):
        if order.mode is ApiMode.IMAGES_EDITS:
            name = "image_generation.completed"
            yield encode_event(
                name, {"type": name, "index": index, "created": created, "progress": 100, **picture.entry}
            )
        elif order.mode is ApiMode.RESPONSES:
            item = _item(number, index, picture)
            name = "response.output_item.done"
            yield encode_event(name, {"type": name, "output_index": index, "item": item})
        else:
            yield _chunk(number, created, index, {"content": picture.markdown}, "stop")
    if order.mode is ApiMode.RESPONSES:
        items = [_item(number, index, picture) for index, picture in enumerate(pictures)]
        name = "response.completed"
        yield encode_event(name, {"type": name, "response": _response(number, created, "completed", items)})
    yield encode_event(None, "[DONE]")


def _chunk(number: str, created: int, index: int, delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": reason}
    head = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": created, "model": MODEL}
    return encode_event("chat.completion.chunk", {**head, "choices": [choice]})


def _response(number: str, created: int, status: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    head = {"id": f"resp_{number}", "object": "response", "created_at": created, "status": status}
    return {**head, "model": MODEL, "output": items}


def _item(number: str, index: int, picture: Picture) -> dict[str, Any]:
    if picture.url:
        return _message(number, index, picture.markdown)
    head = {"type": "image_generation_call", "id": f"ig_{number}_{index}", "status": "completed"}
    return {**head, "revised_prompt": NOTE, "result": picture.base64}


def _message(number: str, index: int, text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "type": "message",
        "id": f"msg_{number}_{index}",
        "role": "assistant",
        "status": "completed",
        "content": content,
    }
