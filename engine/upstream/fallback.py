"""Owns the look at places that no known shape names: pictures, and words, under the keys that gateways make up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from engine.upstream.base64_text import has_signature
from engine.upstream.extract import looks_like_image

HIDDEN_PARTS = ("thinking", "reasoning", "thought", "redacted", "input_", "audio", "video", "tool", "function")
"""Beginnings of the type of what is no answer: thinking, our own pictures sent back, other media, calls of tools."""

_DEPTH = 8
_MOST = 64  # of one object
# Citations, search results, tool calls, the request sent back and the like stand under other keys: not looked at.
_HOLDERS = frozenset(
    {
        "artifact", "artifacts", "asset", "assets", "attachment", "attachments", "body", "candidates", "choices",
        "content", "contents", "data", "delta", "file", "fileData", "file_data", "files", "generated_images",
        "generatedImages", "generations", "image", "images", "inlineData", "inline_data", "item", "items", "media",
        "message", "multi_mod_content", "output", "outputs", "parts", "payload", "photos", "pictures", "predictions",
        "response", "responses", "result", "results", "source",
    }
)  # fmt: skip
_NAMES = frozenset(
    {
        "b64", "b64_image", "b64_json", "base64", "bytesBase64Encoded", "download_url", "fileUri", "file_uri",
        "imageBytes", "imageUrl", "image_b64", "image_base64", "image_uri", "image_url", "image_urls", "uri", "url",
        "urls",
    }
)  # fmt: skip
_WORDS = frozenset({"answer", "content", "generated_text", "output_text", "response", "text"})
_PICTORIAL = ("image", "picture", "photo", "artifact", "b64")
_TYPE_KEYS = ("type", "mime_type", "mimeType", "media_type", "mediaType", "content_type")


class Spot(msgspec.Struct, frozen=True):
    """A string and its place. ``words``: it is to be read as the model's words, not as one picture."""

    where: str
    text: str
    words: bool = False


def look(value: Any, *, pictorial: bool) -> list[Spot]:
    """Strings in a JSON value that may name a picture or be the model's words, in order.

    ``pictorial``: a link need not look like that of a picture, since nothing else is expected there.
    """
    spots = []
    for spot in _walk(value, "", pictorial=pictorial, depth=0):
        spots.append(spot)
        if len(spots) >= _MOST:
            break
    return spots


def _walk(value: Any, where: str, *, pictorial: bool, depth: int) -> Iterator[Spot]:
    if depth > _DEPTH:
        return
    if isinstance(value, str):
        yield from _judge(value, where, pictorial=pictorial)
    elif isinstance(value, list):
        for number, item in enumerate(value[:_MOST]):
            yield from _walk(item, f"{where}[{number}]", pictorial=pictorial, depth=depth + 1)
    elif isinstance(value, dict):
        kinds = [kind for kind in (value.get(key) for key in _TYPE_KEYS) if isinstance(kind, str)]
        if value.get("thought") or any(_is_hidden(kind) for kind in kinds):
            return
        pictorial = pictorial or any("image" in kind for kind in kinds)
        for key, item in value.items():
            if key in _HOLDERS or key in _NAMES or key in _WORDS:
                said = pictorial or any(mark in key.lower() for mark in _PICTORIAL)
                yield from _walk(item, f"{where}.{key}" if where else key, pictorial=said, depth=depth + 1)


def _is_hidden(kind: str) -> bool:
    return kind.startswith(HIDDEN_PARTS) or (kind.endswith("_call") and "image" not in kind)


def _judge(text: str, where: str, *, pictorial: bool) -> Iterator[Spot]:
    key = where.rpartition(".")[2].partition("[")[0]
    if key in _WORDS or (key in ("message", "delta") and "choices[" in where):
        yield Spot(where, text, words=True)
    elif _names_picture(text, pictorial=pictorial):
        yield Spot(where, text)


def _names_picture(text: str, *, pictorial: bool) -> bool:
    beginning = text[:64].lstrip().lower()
    if beginning.startswith(("http://", "https://", "/")):
        return pictorial or looks_like_image(text)
    return beginning.startswith("data:image/") or has_signature(text[:64])
