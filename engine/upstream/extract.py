"""Owns what a value inside an answer names: a picture's base64, its URL, or nothing that can be one. Pure."""

from __future__ import annotations

import html
import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import msgspec

from engine.errors import Code
from engine.models import ImageRef, SourceType
from engine.upstream.base64_text import clean_base64, has_signature
from engine.upstream.sse import well_formed

SAMPLE_CHARS = 120
URL_CHARS = 8192
_HEAD_CHARS = 300
_ANY_WHITE = re.compile(r"\s+")
_IMAGE_PATH = re.compile(r"\.(?:png|jpe?g|webp|gif|bmp|tiff?|avif|heic)$", re.IGNORECASE)
_IMAGE_QUERY = re.compile(
    r"(?:^|&)[\w-]{0,40}(?:format|fm|ext|type|rsct)=(?:image(?:/|%2f))?(?:png|jpe?g|webp|gif|bmp)", re.IGNORECASE
)
_INLINE_KEYS = ("b64_json", "base64", "b64", "image_base64", "result", "inlineData", "inline_data", "source", "data")
_LINK_KEYS = ("url", "image_url", "image", "uri")
_DEPTH = 6


class Refused(msgspec.Struct, frozen=True):
    """A candidate that was not taken: where it stood, why, and its beginning."""

    where: str
    code: Code
    sample: str


def make_ref(value: str, where: str, base_url: str, *, inline: bool = False) -> ImageRef | Refused | None:
    """What a string names. None for an empty one. ``inline``: it stood where base64 belongs."""
    value = well_formed(value).strip()
    if not value:
        return None
    if value[:6].lower() == "error":
        return Refused(where, Code.UPSTREAM_ERROR, value)
    if value[:5].lower() == "data:":
        return _from_data_url(value, where)
    if value[:8].lower().startswith(("http://", "https://")):
        return _from_url(value, where, base_url)
    if inline or has_signature(value):
        clean = clean_base64(_without_head(value))
        if clean is not None:
            return ImageRef(SourceType.BASE64, clean, where)
        if inline and not value.startswith("/"):
            return Refused(where, Code.BASE64_INVALID, shorten(value))
    return _from_url(value, where, base_url)


def _without_head(value: str) -> str:
    """Base64 behind what is left of a data URL that lost its beginning."""
    head, mark, _ = value[:_HEAD_CHARS].partition("base64,")
    return value[len(head) + len(mark) :] if mark else value


def _from_data_url(value: str, where: str) -> ImageRef | Refused:
    comma = value.find(",", 0, _HEAD_CHARS)
    clean = clean_base64(value[comma + 1 :]) if comma > 0 else None
    if clean is None and comma > 0 and "base64" not in value[:comma].lower():
        clean = _from_escapes(value[comma + 1 :])
    if clean is None:
        return Refused(where, Code.BASE64_INVALID, shorten(value))
    return ImageRef(SourceType.DATA_URL, clean, where)


def _from_escapes(text: str) -> str | None:
    """Base64 of a picture that a data: URL holds in its other form: bytes, most of them escaped."""
    clean = b64encode(unquote_to_bytes(text)).decode("ascii")
    return clean if has_signature(clean) else None


def _from_url(value: str, where: str, base_url: str) -> ImageRef | Refused:
    text = _ANY_WHITE.sub("%20", html.unescape(value[: URL_CHARS + 1]).replace("\\/", "/"))
    try:
        url = urljoin(base_url, text)
        host = urlsplit(url).hostname
    except ValueError:
        return Refused(where, Code.URL_MALFORMED, shorten(value))
    if not url.lower().startswith(("http://", "https://")):
        return Refused(where, Code.URL_SCHEME, shorten(value))
    if not host or len(value) > URL_CHARS or text.startswith("#"):
        return Refused(where, Code.URL_MALFORMED, shorten(value))
    return ImageRef(SourceType.URL, url, where)


def shorten(text: str) -> str:
    """The beginning of a text, for a log."""
    return text if len(text) <= SAMPLE_CHARS else f"{text[:SAMPLE_CHARS]}… ({len(text)})"


def image_values(item: Any, where: str, *, inline: bool = False, depth: int = 0) -> Iterator[tuple[str, str, bool]]:
    """Strings in a JSON value that may name its picture, best first: (where, text, stands where base64 belongs)."""
    if isinstance(item, str):
        yield where, item, inline
    if depth >= _DEPTH or not isinstance(item, dict):
        return
    for keys, is_inline in ((_INLINE_KEYS, True), (_LINK_KEYS, False)):
        for key in keys:
            if key in item:
                yield from image_values(item[key], f"{where}.{key}", inline=is_inline, depth=depth + 1)


def pick_image(item: Any, where: str, base_url: str) -> ImageRef | Refused | None:
    """The one picture that a JSON value names: inline before linked, since links expire."""
    refused: Refused | None = None
    for place, text, inline in image_values(item, where):
        ref = make_ref(text, place, base_url, inline=inline)
        if isinstance(ref, ImageRef):
            return ref
        refused = refused or ref
    return refused


def looks_like_image(url: str) -> bool:
    """Whether a URL in prose says that it is a picture: by its file ending, or by a format in its query."""
    try:
        parts = urlsplit(html.unescape(url))
    except ValueError:
        return False
    return bool(_IMAGE_PATH.search(parts.path) or _IMAGE_QUERY.search(parts.query))
