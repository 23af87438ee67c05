"""Owns what a value inside an answer names: a picture's base64, its URL, or nothing that can be one; and the places in
JSON where such values stand though no known shape has them. Pure; linear in the input.
"""

from __future__ import annotations

import binascii
import html
import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, unquote_to_bytes, urljoin, urlsplit

import msgspec
import pybase64

from engine.errors import Code
from engine.models import ImageRef, SourceType
from engine.upstream.sse import parse_json, well_formed

SAMPLE_CHARS = 120
URL_CHARS = 8192
_HEAD_CHARS = 300
_ADDRESS = re.compile(rb"https?:(?:\\?/){2}(?:\\/|[^\s\"\\<>]){1,8192}")
_ANY_WHITE = re.compile(r"\s+")
_IMAGE_PATH = re.compile(r"\.(?:png|jpe?g|webp|gif|bmp|tiff?|avif|heic)$", re.IGNORECASE)
_IMAGE_QUERY = re.compile(
    r"(?:^|&)[\w-]{0,40}(?:format|fm|ext|type|rsct)=(?:image(?:/|%2f))?(?:png|jpe?g|webp|gif|bmp)", re.IGNORECASE
)
_INLINE_KEYS = ("b64_json", "base64", "b64", "image_base64", "result", "inlineData", "inline_data", "source", "data")
_LINK_KEYS = ("url", "image_url", "image", "uri")
_DEPTH = 6  # of one picture's value
_SIGNATURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")
_WHITE = b" \t\r\n\f\v"
_STANDARD = bytes.maketrans(b"-_", b"+/")
THINKING_PARTS = ("thinking", "reasoning", "thought", "redacted")
HIDDEN_PARTS = (*THINKING_PARTS, "input_", "audio", "video", "tool", "function")
"""Beginnings of the type of what is no answer: thinking, our own pictures sent back, other media, calls of tools."""

_LOOK_DEPTH = 8
_MOST = 64  # of one object
# Citations, search results, tool calls, the request sent back and the like stand under other keys: not looked at.
_HOLDERS = frozenset(
    {
        "artifact", "artifacts", "asset", "assets", "attachment", "attachments", "body", "candidates", "choices",
        "content", "contents", "data", "delta", "file", "fileData", "file_data", "files", "generated_images",
        "generatedImages", "generations", "image", "images", "inlineData", "inline_data", "item", "items", "media",
        "message", "multi_mod_content", "output", "outputs", "parts", "payload", "photos", "pictures", "predictions",
        "output_images", "response", "responses", "result", "results", "source",
    }
)  # fmt: skip
_NAMES = frozenset(
    {
        "b64", "b64_image", "b64_json", "base64", "bytesBase64Encoded", "download_url", "fileUri", "file_uri",
        "imageBytes", "imageUrl", "imageUrls", "image_b64", "image_base64", "image_uri", "image_url", "image_urls",
        "resultUrl", "resultUrls", "result_url", "result_urls", "sample", "uri", "url", "urls",
    }
)  # fmt: skip
_WORDS = frozenset({"answer", "content", "generated_text", "output_text", "response", "text"})
_THOUGHTS = frozenset({"reasoning", "summary", "thinking"})
_JSON_TEXTS = frozenset({"resultJson", "result_json"})  # JSON in a string
_PICTORIAL = ("image", "img", "picture", "photo", "artifact", "b64")
# What was sent or is shown beside the result: passed over even where every other place is looked at.
_BESIDE = (
    "annotation", "avatar", "citation", "error", "example", "function", "icon", "init", "input", "logo", "mask",
    "param", "partial", "preview", "prompt", "reference", "request", "search", "source", "thumb", "tool", "user",
)  # fmt: skip
_TYPE_KEYS = ("type", "mime_type", "mimeType", "media_type", "mediaType", "content_type")


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


def addresses_in(body: bytes) -> frozenset[str]:
    """The http addresses that stand in a request's body, as far as they are short: pictures are sent inline mostly."""
    found = (match.group().replace(b"\\/", b"/") for match in _ADDRESS.finditer(body))
    return frozenset(address.decode("utf-8", "replace") for address in found)


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


def is_words(text: str) -> bool:
    """Whether a string is something said rather than an address or a picture's base64."""
    text = text.strip()
    head = text[:_HEAD_CHARS]
    named = head.lower().startswith(("data:", "http://", "https://", "/")) or has_signature(text)
    return not named and (bool(_ANY_WHITE.search(head)) or head.startswith(("!", "<", "[", "{")))


def looks_like_image(url: str) -> bool:
    """Whether a URL in prose says that it is a picture: by its file ending, or by a format in its query."""
    try:
        parts = urlsplit(html.unescape(url))
    except ValueError:
        return False
    return bool(_IMAGE_PATH.search(parts.path) or _IMAGE_QUERY.search(parts.query))


# --- base64 -----------------------------------------------------------------------------------------------------------


def decode_base64(text: str) -> bytes:
    """Bytes of base64 in the standard alphabet, padded and without white space; ValueError if ``text`` is none.

    Decoding megabytes takes a tenth of the time that a check of their alphabet would.
    """
    return pybase64.b64decode(text, validate=True)


def clean_base64(text: str) -> str | None:
    """Base64 that `decode_base64` takes; None if ``text`` is none.

    Takes the URL-safe alphabet, missing padding, line breaks and percent or HTML escapes.
    """
    if _is_clean(text):
        return text or None
    if "%" in text:
        text = unquote(text)
    if "&" in text:
        text = html.unescape(text)
    try:
        raw = text.encode("ascii").translate(_STANDARD, _WHITE).rstrip(b"=")
    except UnicodeEncodeError:
        return None
    clean = (raw + b"=" * (-len(raw) % 4)).decode("ascii")
    return clean if clean and _is_clean(clean) else None


def _is_clean(text: str) -> bool:
    try:
        decode_base64(text)
    except ValueError:
        return False
    return True


def has_signature(text: str) -> bool:
    """Whether base64 text begins like a picture file."""
    head = clean_base64(text.lstrip()[:16].rstrip("="))
    if head is None or len(text) < 24:
        return False
    raw = binascii.a2b_base64(head)
    return raw.startswith(_SIGNATURES) or raw[4:8] == b"ftyp"


PICTURE_HEAD = 12
"""Bytes by which `begins_picture` knows a file."""


def begins_picture(head: bytes) -> bool:
    """Whether bytes begin a picture file of those that services send; text never does."""
    if head.startswith(b"RIFF"):
        return head[8:12] == b"WEBP"
    return head.startswith((b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8")) or head[4:12] in (b"ftypavif", b"ftypheic")


def is_finished(text: str) -> bool:
    """Whether base64 text or a data: URL ends as a PNG, JPEG, GIF or WebP file does, so that it was not cut."""
    clean = clean_base64(text.rpartition(",")[2])
    if clean is None:
        return False
    head, tail = binascii.a2b_base64(clean[:16]), binascii.a2b_base64(clean[-32:])
    if head.startswith(b"\x89PNG"):
        return b"IEND\xaeB`\x82" in tail
    if head.startswith(b"\xff\xd8"):
        return tail.endswith(b"\xff\xd9")
    if head.startswith(b"RIFF"):
        size = len(clean) // 4 * 3 - clean[-2:].count("=")
        return size >= int.from_bytes(head[4:8], "little") + 8
    return head.startswith(b"GIF8") and tail.endswith(b";")


# --- places in JSON ---------------------------------------------------------------------------------------------------


class Candidate(msgspec.Struct, frozen=True):
    """A string and its place. ``words``: it is to be read as the model's words, not as one picture."""

    where: str
    text: str
    words: bool = False


def find_candidates(value: Any, *, pictorial: bool, hidden: bool = False, anywhere: bool = False) -> list[Candidate]:
    """Strings in a JSON value that may name a picture or be the model's words, in order.

    ``pictorial``: a link need not look like that of a picture, since nothing else is expected there. ``hidden``: the
    value is thinking, and looked into. ``anywhere``: under any key but those of what is no result.
    """
    candidates = []
    for candidate in _walk(value, "", pictorial=pictorial, hidden=hidden, anywhere=anywhere, depth=0):
        candidates.append(candidate)
        if len(candidates) >= _MOST:
            break
    return candidates


def _walk(value: Any, where: str, *, pictorial: bool, hidden: bool, anywhere: bool, depth: int) -> Iterator[Candidate]:
    if depth > _LOOK_DEPTH:
        return
    if isinstance(value, str):
        yield from _judge(value, where, pictorial=pictorial)
    elif isinstance(value, list):
        for number, item in enumerate(value[:_MOST]):
            yield from _walk(
                item, f"{where}[{number}]", pictorial=pictorial, hidden=hidden, anywhere=anywhere, depth=depth + 1
            )
    elif isinstance(value, dict):
        kinds = [kind for kind in (value.get(key) for key in _TYPE_KEYS) if isinstance(kind, str)]
        if not hidden and (value.get("thought") or any(_is_hidden(kind) for kind in kinds)):
            return
        pictorial = pictorial or any("image" in kind for kind in kinds)
        for key, item in value.items():
            place = f"{where}.{key}" if where else key
            if key in _JSON_TEXTS and isinstance(item, str):
                item = _parsed(item)
            elif not _is_place(key, hidden=hidden, anywhere=anywhere):
                continue
            said = pictorial or any(mark in key.lower() for mark in _PICTORIAL)
            yield from _walk(item, place, pictorial=said, hidden=hidden, anywhere=anywhere, depth=depth + 1)


def _is_place(key: str, *, hidden: bool, anywhere: bool) -> bool:
    """Whether what stands under this key may hold a result."""
    if anywhere:
        return not any(mark in key.lower() for mark in _BESIDE)
    return key in _HOLDERS or key in _NAMES or key in _WORDS or (hidden and key in _THOUGHTS)


def _parsed(text: str) -> Any:
    """The JSON value in a string; None if it is none."""
    try:
        return parse_json(text)
    except ValueError:
        return None


def _is_hidden(kind: str) -> bool:
    return kind.startswith(HIDDEN_PARTS) or (kind.endswith("_call") and "image" not in kind)


def _judge(text: str, where: str, *, pictorial: bool) -> Iterator[Candidate]:
    key = where.rpartition(".")[2].partition("[")[0]
    if key in _WORDS or key in _THOUGHTS or (key in ("message", "delta") and "choices[" in where):
        yield Candidate(where, text, words=True)
    elif _names_picture(text, pictorial=pictorial):
        yield Candidate(where, text)


def _names_picture(text: str, *, pictorial: bool) -> bool:
    beginning = text[:64].lstrip().lower()
    if beginning.startswith(("http://", "https://", "/")):
        return pictorial or looks_like_image(text)
    return beginning.startswith("data:image/") or has_signature(text[:64])
