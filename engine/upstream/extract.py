"""Owns what counts as a picture inside an answer: in a JSON value, and in the model's words. Linear in the text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec

from engine.errors import Code
from engine.models import ImageRef, SourceType
from engine.upstream.base64_text import clean_base64, has_signature
from engine.upstream.sse import well_formed

SAMPLE_CHARS = 120
_URL_CHARS = 8192
_NEAR_CHARS = 1024
_ANY_WHITE = re.compile(r"\s+")
_THINK = re.compile(r"<(/?)[Tt][Hh][Ii][Nn][Kk](?:[Ii][Nn][Gg])?>")
_IMG = re.compile(r"<(?:img|IMG)\b[^<>]*?\s[Ss][Rr][Cc]\s*=\s*([\"']?)")
_DATA_HEAD = re.compile(r"[Dd][Aa][Tt][Aa]:[\w.+-]{0,60}/?[\w.+-]{0,60}(?:;[\w.=+-]{1,60}){0,4};base64,")
_BASE64_RUN = re.compile(r"[A-Za-z0-9+/_=%-]*")
_BARE_URL = re.compile(r"https?://[^\s<>\"'`\\^{}|，。；：！？、（）【】「」『』《》“”…]{1,8192}", re.IGNORECASE)
_TITLE = re.compile(r"(\S+)\s+(?:\"[^\"]*\"|'[^']*'|\([^()]*\))", re.DOTALL)
_BRACKET = re.compile(r"[\[\]]")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_IMAGE_PATH = re.compile(r"\.(?:png|jpe?g|webp|gif|bmp|tiff?|avif|heic)$", re.IGNORECASE)
_IMAGE_QUERY = re.compile(
    r"(?:^|&)[\w-]{0,40}(?:format|fm|ext|type|rsct)=(?:image(?:/|%2f))?(?:png|jpe?g|webp|gif|bmp)", re.IGNORECASE
)


class Refused(msgspec.Struct, frozen=True):
    """A candidate that was not taken: where it stood, why, and its beginning."""

    where: str
    code: Code
    sample: str


class Found(msgspec.Struct, frozen=True):
    """A candidate in the model's words. ``start``: offset; ``whole``: its end mark was there."""

    start: int
    value: str
    whole: bool = True


# --- values -----------------------------------------------------------------------------------------------------------


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
        clean = clean_base64(value)
        if clean is not None:
            return ImageRef(SourceType.BASE64, clean, where)
        if inline and not value.startswith("/"):
            return Refused(where, Code.BASE64_INVALID, shorten(value))
    return _from_url(value, where, base_url)


def _from_data_url(value: str, where: str) -> ImageRef | Refused:
    comma = value.find(",", 0, 300)
    clean = clean_base64(value[comma + 1 :]) if comma > 0 else None
    if clean is None:
        return Refused(where, Code.BASE64_INVALID, shorten(value))
    return ImageRef(SourceType.DATA_URL, clean, where)


def _from_url(value: str, where: str, base_url: str) -> ImageRef | Refused:
    text = _ANY_WHITE.sub("%20", html.unescape(value[: _URL_CHARS + 1]).replace("\\/", "/"))
    try:
        url = urljoin(base_url, text)
        host = urlsplit(url).hostname
    except ValueError:
        return Refused(where, Code.URL_MALFORMED, shorten(value))
    if not url.lower().startswith(("http://", "https://")):
        return Refused(where, Code.URL_SCHEME, shorten(value))
    if not host or len(value) > _URL_CHARS or text.startswith("#"):
        return Refused(where, Code.URL_MALFORMED, shorten(value))
    return ImageRef(SourceType.URL, url, where)


def shorten(text: str) -> str:
    """The beginning of a text, for a log."""
    return text if len(text) <= SAMPLE_CHARS else f"{text[:SAMPLE_CHARS]}… ({len(text)})"


# --- JSON values ------------------------------------------------------------------------------------------------------

_INLINE_KEYS = ("b64_json", "base64", "b64", "image_base64", "result", "inlineData", "inline_data", "source", "data")
_LINK_KEYS = ("url", "image_url", "image", "uri")
_DEPTH = 6


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


# --- the model's words ------------------------------------------------------------------------------------------------


def visible_parts(text: str) -> list[tuple[int, str]]:
    """The text without its thinking, as (offset, part). Thinking that never ends hides all that follows; an end
    without a beginning hides all before it."""
    if "<" not in text:  # a picture of megabytes and a few words
        return [(0, text)] if text else []
    parts: list[tuple[int, str]] = []
    start, thinking, begun = 0, False, False
    for mark in _THINK.finditer(text):
        if not mark.group(1):
            if not thinking:
                parts.append((start, text[start : mark.start()]))
            thinking = begun = True
        else:
            if begun and not thinking:  # one end too many hides nothing
                parts.append((start, text[start : mark.start()]))
            start, thinking, begun = mark.end(), False, True
    if not thinking:
        parts.append((start, text[start:] if start else text))
    return [part for part in parts if part[1]]


class Words:
    """Finds pictures in a text and keeps the words between them. Each mark is searched for once over the text."""

    def __init__(self, text: str) -> None:
        self.found: list[Found] = []
        self.words: list[str] = []
        self._text = text
        self._next: dict[str, int] = {}
        self._searched: dict[str, int] = {}
        self._no_image_before = 0
        if has_signature(text) and " " not in text.strip() and clean_base64(text) is not None:
            self.found.append(Found(0, text, whole=False))
        else:
            self._scan()

    def _find(self, mark: str, position: int, reach: int | None = None) -> int:
        """Next place of ``mark`` that ends before ``reach``, or the text's length. Positions must not go back."""
        known = self._next.get(mark, -1)
        if known >= position:
            return known
        reach = len(self._text) if reach is None else reach
        found = self._text.find(mark, max(position, self._searched.get(mark, 0)), reach)
        if found < 0:
            self._searched[mark] = reach - len(mark) + 1
            return len(self._text)
        self._next[mark] = found
        return found

    def _first(self, marks: Iterable[str], position: int) -> tuple[int, str]:
        """The first of the marks and its place. Looks ahead by growing steps: a mark that is near, as usual, hides
        megabytes in which the others need not be looked for."""
        reach = position + _NEAR_CHARS
        while True:
            found = min((self._find(mark, position, reach), mark) for mark in marks)
            if found[0] < reach or reach >= len(self._text):
                return found
            reach += 4 * (reach - position)

    def _scan(self) -> None:
        readers = {
            "![": self._markdown,
            "<img": self._tag,
            "<IMG": self._tag,
            "data:": self._data_url,
            "://": self._bare_url,
        }
        position, kept = 0, 0
        while True:
            start, mark = self._first(readers, position)
            if start == len(self._text):
                break
            before = len(self.found)
            end = readers[mark](start)
            if len(self.found) > before:
                self.words.append(self._text[kept : max(kept, self.found[-1].start)])
                kept = end
            position = max(end, start + 1)
        self.words.append(self._text[kept:])

    def _take(self, start: int, first: int, end: int, length: int) -> int:
        """Keep text[first:end] as a candidate whose mark of ``length`` characters stands at ``end``."""
        whole = end < len(self._text)
        self.found.append(Found(start, _without_title(self._text[first:end]), whole))
        return min(end + length, len(self._text))

    def _markdown(self, start: int) -> int:
        bracket = self._find("](", start + 2)
        if bracket == len(self._text) or not self._closes_at(start + 2, bracket):
            return start + 2
        first = bracket + 2
        if _is_inline(self._text[first : first + 200]):
            return self._take(start, first, self._find(")", first), 1)
        window = self._text[first : first + _URL_CHARS]
        target, length = _link_target(window)
        if not target:
            return first
        whole = length < len(window)
        self.found.append(Found(start, target, whole))
        return first + length + whole

    def _closes_at(self, start: int, bracket: int) -> bool:
        """Whether the alt text that begins at ``start`` ends at ``bracket``, not at a bracket before."""
        if start < self._no_image_before:
            return False
        depth = 1
        for mark in _BRACKET.finditer(self._text, start, bracket):
            depth += 1 if mark.group() == "[" else -1
            if depth == 0:
                self._no_image_before = mark.end()  # nor does one that begins in between
                return False
        return True

    def _tag(self, start: int) -> int:
        found = _IMG.match(self._text, start)
        if found is None:
            return start + 4
        first = found.end()
        if found.group(1):
            end = self._take(start, first, self._find(found.group(1), first), 1)
            close = self._find(">", end)
            return min(close + 1, len(self._text)) if close < self._find("<", end) else end
        return self._take(start, first, min(self._find(">", first), self._find(" ", first)), 0)

    def _data_url(self, start: int) -> int:
        head = _DATA_HEAD.match(self._text, start)
        if head is None:
            return start + 5
        end = _BASE64_RUN.match(self._text, head.end()).end()  # type: ignore[union-attr] # matches the empty text
        end = self._wrapped_end(head.end(), end)
        return self._take(start, start, end, 0)

    def _wrapped_end(self, first: int, end: int) -> int:
        """Go on over line breaks while the base64 is wrapped at one width (64 or 76 characters are usual)."""
        width = end - first
        while 60 <= width <= 80:
            line = end + (2 if self._text.startswith("\r\n", end) else 1)
            if self._text[end:line].strip("\r\n") or line > len(self._text):
                break
            stop = _BASE64_RUN.match(self._text, line).end()  # type: ignore[union-attr]
            if stop == line or stop - line > width:
                break
            end = stop
            if end - line < width:
                break
        return end

    def _bare_url(self, start: int) -> int:
        first = start - (5 if self._text[max(start - 5, 0) : start].lower() == "https" else 4)
        found = _BARE_URL.match(self._text, first) if first >= 0 else None
        if found is None:
            return start + 3
        url = _trim(found.group())
        if looks_like_image(url):
            self.found.append(Found(first, url, first + len(url) < len(self._text)))
        return first + len(url)


def _is_inline(beginning: str) -> bool:
    """Whether a link target is the picture itself."""
    beginning = beginning.lstrip(" \t\r\n<")
    return beginning[:5].lower() == "data:" or has_signature(beginning)


def _without_title(value: str) -> str:
    """An inline picture without the title or the angle brackets of its Markdown link."""
    last = value[-8:].rstrip()[-1:]
    if last in ('"', "'"):
        value = value[: value.find(last)]
    return value.strip("<> \t\r\n") if last == ">" else value


def _link_target(window: str) -> tuple[str, int]:
    """Target of a Markdown link that begins the window, and where its closing parenthesis stands."""
    depth, end = 0, len(window)
    for number, character in enumerate(window):
        depth += (character == "(") - (character == ")")
        if depth < 0 or character == "\n":
            end = number
            break
    target = window[:end].strip()
    if target.startswith("<"):
        target = target[1:].partition(">")[0]
    titled = _TITLE.fullmatch(target)
    return _ESCAPED.sub(r"\1", titled.group(1) if titled else target), end


def _trim(url: str) -> str:
    """A bare URL without the sentence around it."""
    while url:
        last = url[-1]
        if last in ".,;:!?*~_" or (last == ")" and url.count(")") > url.count("(")) or (last == "]" and "[" not in url):
            url = url[:-1]
        else:
            break
    return url


def looks_like_image(url: str) -> bool:
    """Whether a URL in prose says that it is a picture: by its file ending, or by a format in its query."""
    try:
        parts = urlsplit(html.unescape(url))
    except ValueError:
        return False
    return bool(_IMAGE_PATH.search(parts.path) or _IMAGE_QUERY.search(parts.query))
