"""Owns base64 in answers: what counts as it, its bytes, and whether it begins and ends as a picture file does. Pure."""

from __future__ import annotations

import binascii
import html
from urllib.parse import unquote

import pybase64

_SIGNATURES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")
_WHITE = b" \t\r\n\f\v"
_STANDARD = bytes.maketrans(b"-_", b"+/")


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
