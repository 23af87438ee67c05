"""What is secret, wherever it stands: in a configuration, an address, a header, a body, an export. Pure.

Values are JSON-like (dicts, lists, strings, numbers). A secret is told by the name that it stands under, by its own
form (``Bearer …``, ``sk-…``), or by its place in a URL: the user and password, and parameters of such names or forms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

PLACEHOLDER = "*" * 8
TELLING = 4
"""So many characters of a secret are worth hiding; shorter ones stand in every text by chance."""

_NAME = re.compile(
    r"authori[sz]ation|authenticat|cookie|passw(?:or)?d|passphrase|secret|credential|signature|bearer|jwt|hmac|"
    r"session[-_]?(?:id|key)|(?:^|[-_.])(?:sign?|auth|pwd|pass|otp|ak|sk)$|"
    r"(?:^|[-_.])(?:api[-_]?)?(?:key|token)$|(?-i:[a-z](?:Key|Token)$)|"  # appKey, but neither monkey nor max_tokens
    r"(?:api|app|access|auth|bot|client|gateway|id|licen[cs]e|master|private|refresh|secret|security|service|session|"
    r"subscription|user)[-_]?(?:key|token)(?!s)",
    re.IGNORECASE,
)
_FORM = re.compile(
    r"(?:bearer|basic|token|apikey)\s+\S{8,}|(?:sk|xai|r8|hf|ghp|gsk|fal)[-_][\w.-]{16,}|AIza[\w-]{30,}|"
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
    re.IGNORECASE,
)
_SAFE = "*/:,@"


def is_secret_name(name: str) -> bool:
    """Whether what stands under this name of a field, header or parameter is nobody's business."""
    return bool(_NAME.search(name))


def is_secret(name: str, value: str) -> bool:
    """Whether this text is, by the name that it stands under or by its own form."""
    return is_secret_name(name) or bool(_FORM.fullmatch(value))


def mask(value: Any, name: str = "") -> Any:
    """The value with the placeholder for each secret in it; ``name``: what it stands under itself."""
    if isinstance(value, dict):
        return {key: mask(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mask(item, name) for item in value]
    if isinstance(value, str) and value:
        return PLACEHOLDER if is_secret(name, value) else mask_url(value)
    return value


def mask_url(text: str) -> str:
    """A URL with the placeholder for its user or password and its secret parameters; any other text as it is."""
    return _with_secrets(text, lambda *_: PLACEHOLDER)


def without(value: Any) -> Any:
    """The value without its secrets and what they stood under: for what is given to others."""
    if isinstance(value, dict):
        # What stands under such a name in parts (a recipe's `key`) is told by the names of its parts.
        return {k: without(item) for k, item in value.items() if isinstance(item, dict) or not _is_told(str(k), item)}
    if isinstance(value, list | tuple):
        return [without(item) for item in value if not _is_told("", item)]
    return _bare(value) if isinstance(value, str) else value


def _is_told(name: str, item: Any) -> bool:
    return is_secret_name(name) or (isinstance(item, str) and is_secret(name, item))


def find(value: Any, name: str = "") -> Iterator[str]:
    """Every secret in the value that is long enough to be looked for in texts."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from find(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from find(item, name)
    elif isinstance(value, str):
        found = [value] if is_secret(name, value) else _in_url(value)
        yield from (secret for secret in found if len(secret) >= TELLING)


def has_placeholder(value: Any) -> bool:
    """Whether a secret is still to be filled in."""
    if isinstance(value, dict):
        return any(map(has_placeholder, value.values()))
    if isinstance(value, list | tuple):
        return any(map(has_placeholder, value))
    return isinstance(value, str) and (value == PLACEHOLDER or PLACEHOLDER in _in_url(value))


def without_placeholders(value: Any) -> Any:
    """The value without what is still to be filled in, and what it stood under."""
    if isinstance(value, dict):
        return {key: without_placeholders(item) for key, item in value.items() if item != PLACEHOLDER}
    if isinstance(value, list | tuple):
        return [without_placeholders(item) for item in value if item != PLACEHOLDER]
    return _bare(value) if has_placeholder(value) else value


def fill(sent: Any, stored: Any) -> Any:
    """``sent`` with each placeholder replaced by what stands in the same place of ``stored``, where that is there.

    Into a URL only what belongs to the same scheme, host and port: a proxy's password goes to no other proxy.
    """
    if isinstance(sent, dict) and isinstance(stored, dict):
        return {key: fill(item, stored[key]) if key in stored else item for key, item in sent.items()}
    if isinstance(sent, list) and isinstance(stored, list):
        return [fill(item, stored[place]) if place < len(stored) else item for place, item in enumerate(sent)]
    if not isinstance(sent, str) or not isinstance(stored, str):
        return sent
    return stored if sent == PLACEHOLDER else _fill_url(sent, stored)


def _fill_url(sent: str, stored: str) -> str:
    if PLACEHOLDER not in sent or _place(sent) != _place(stored):
        return sent
    known = dict(_parts_in(stored))
    return _with_secrets(sent, lambda name, value: known.get(name, value) if value == PLACEHOLDER else value)


def _place(url: str) -> tuple[str, str | None, int | None] | None:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port
    except ValueError:
        return None


def _in_url(text: str) -> list[str]:
    return [value for _, value in _parts_in(text)]


def _parts_in(text: str) -> list[tuple[str, str]]:
    """The secrets of a URL by the name that they stand under; "" for the password."""
    found: list[tuple[str, str]] = []

    def note(name: str, value: str) -> str:
        found.append((name, value))
        return value

    _with_secrets(text, note)
    return found


def _with_secrets(text: str, change: Any) -> str:
    """The URL with ``change(name, value)`` in place of each secret; text that is no URL, or has none, to the letter."""
    if "://" not in text or not ("@" in text or "?" in text):
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    user, colon, password = parts.netloc.rpartition("@")[0].partition(":")
    netloc = parts.netloc
    if colon and password:
        netloc = f"{user}:{change('', password)}@{parts.netloc.rpartition('@')[2]}"
    elif user:  # some gateways take a token as the user
        netloc = f"{change('', user)}@{parts.netloc.rpartition('@')[2]}"
    pairs = parse_qsl(parts.query, keep_blank_values=True, errors="surrogateescape")
    query = parts.query
    if any(_hides(*pair) for pair in pairs):
        changed = [(name, change(name, value) if _hides(name, value) else value) for name, value in pairs]
        query = urlencode(changed, quote_via=quote, safe=_SAFE, errors="surrogateescape")
    return (
        text
        if (netloc, query) == (parts.netloc, parts.query)
        else urlunsplit(parts._replace(netloc=netloc, query=query))
    )


def _hides(name: str, value: str) -> bool:
    return bool(value) and (value == PLACEHOLDER or is_secret(name, value))


def _bare(text: str) -> str:
    """A URL without credentials and secret parameters."""
    if not _in_url(text):
        return text
    parts = urlsplit(text)
    pairs = parse_qsl(parts.query, keep_blank_values=True, errors="surrogateescape")
    query = urlencode(
        [pair for pair in pairs if not _hides(*pair)], quote_via=quote, safe=_SAFE, errors="surrogateescape"
    )
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query))
