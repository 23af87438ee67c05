"""Owns finding pictures in the model's words: Markdown, tags, data: URLs, JSON, bare links. Linear in the text."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator
from enum import IntEnum
from typing import Any

import msgspec

from engine.upstream.image_refs import URL_CHARS, clean_base64, find_candidates, has_signature, looks_like_image
from engine.upstream.sse import has_too_many_values, parse_json

_NEAR_CHARS = 1024
_THINK = re.compile(r"<(/?)(?:[a-z]{1,16}:)?(?:think(?:ing)?|thought|reasoning)(?:\s[^<>]{0,200})?>", re.IGNORECASE)
_IMG = re.compile(r"<img\b[^<>]*?\ssrc\s*=\s*([\"']?)", re.IGNORECASE)
_DATA_HEAD = re.compile(r"data:[\w.+-]{0,60}/?[\w.+-]{0,60}(?:;[\w.=+-]{1,60}){0,4};base64,", re.IGNORECASE)
_BASE64_RUN = re.compile(r"[A-Za-z0-9+/_=%-]*")
_BARE_URL = re.compile(r"https?://[^\s<>\"'`\\^{}|，。；：！？、（）【】「」『』《》“”…]{1,8192}", re.IGNORECASE)
# Where a bare link ends though URLs may go on so: a link's own text, BBCode, an escaped tag, the next of a list.
_URL_END = re.compile(r"\]\(|\[/|&(?:quot|gt|lt|#34|#39);|,https?://", re.IGNORECASE)
_ESCAPED_URL = re.compile(r"https?:(?:\\/|\\u[0-9a-fA-F]{4}|[^\s<>\"'`\\^{}|]){1,8192}", re.IGNORECASE)
_ANCHOR = re.compile(
    r"<a\s[^<>]{0,2000}?\bhref\s*=\s*(?:\"([^\"<>]*)\"|'([^'<>]*)'|([^\s\"'<>]+))[^<>]{0,2000}>\s*(?=<img\b)",
    re.IGNORECASE,
)
_JSON_START = re.compile(r"\{\s*\"|\[\s*[\"{]")
_JSON_TRIES, _JSON_REACH = 8, 1 << 16
_JSON_DEPTH, _JSON_LINKS = 6, 16
_BESIDE = re.compile(
    r"source|input|original|reference|prompt|argument|cit|search|doc|page|site|icon|avatar|video|audio|schema|callback",
    re.IGNORECASE,
)
_DECODER = json.JSONDecoder(strict=False)
_TITLE = re.compile(r"(\S+)\s+(?:\"[^\"]*\"|'[^']*'|\([^()]*\))", re.DOTALL)
_LINK_OPENS = re.compile(r"\[\s{0,4}\Z")  # [![shown](thumbnail)](target)
_LINK_CLOSES = re.compile(r"\s{0,4}\]\(")
_BRACKET = re.compile(r"[\[\]]")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_JSON_VALUE = re.compile(r"\"\s{0,8}:\s{0,8}\"")
_JSON_URL = re.compile(r"((?:https?:)?\\?/[^\s\"]{0,8192})\"", re.IGNORECASE)


class Rank(IntEnum):
    """How surely a candidate is meant as a result: see ``counting``."""

    EMBEDDED = 0  # an image link or tag, a data: URL, a picture's field
    FIELD = 1  # in JSON among the words, and it says that it is a picture
    NAMED = 2  # in JSON among the words, under a name that pages have too
    BARE = 3  # a link in prose


def counting(ranks: Collection[Rank]) -> frozenset[Rank]:
    """The ranks that count in an answer where these occur.

    Links in prose, to the same picture or to another, count only where nothing is embedded; what JSON names without
    saying that it is a picture, only where nothing says so.
    """
    if Rank.EMBEDDED in ranks:
        return frozenset({Rank.EMBEDDED, Rank.FIELD})
    return frozenset({Rank.FIELD, Rank.NAMED} if Rank.FIELD in ranks else {Rank.NAMED, Rank.BARE})


class Found(msgspec.Struct, frozen=True):
    """A candidate in the model's words. ``start``: offset; ``whole``: its end mark was there; ``thumbnail``: what is
    shown of a picture that is a link to ``value``, and the result where that is no picture."""

    start: int
    value: str
    whole: bool = True
    rank: Rank = Rank.EMBEDDED
    thumbnail: str = ""


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


def hidden_parts(text: str) -> list[str]:
    """The thinking in a text: what ``visible_parts`` leaves out."""
    hidden, position = [], 0
    for start, part in visible_parts(text):
        hidden.append(text[position:start])
        position = start + len(part)
    return [part for part in [*hidden, text[position:]] if part]


class Words(msgspec.Struct, frozen=True):
    """What a text holds: candidates for pictures in order, and the words between them."""

    found: list[Found]
    words: list[str]


def read_words(text: str) -> Words:
    """Find the pictures in a text, thinking already cut out."""
    alone = _only_value(text)
    if alone:
        return Words([Found(0, alone, whole=False)], [])
    if text.lstrip()[:2] in ('"{', '"[', '"!') and (inner := _json_text(text.strip()[1:-1])):  # JSON in JSON
        text = inner
    words = Words([], [])
    position = 0
    for start, end, value in json_values(text):
        candidates = _in_json(value, start)
        if candidates:
            _append(words, _Scan(text[position:start]).run(), position)
            words.found.extend(candidates)
            position = end
    _append(words, _Scan(text[position:] if position else text).run(), position)
    return words


def _append(words: Words, more: Words, offset: int) -> None:
    words.words.extend(more.words)
    words.found.extend(
        msgspec.structs.replace(found, start=found.start + offset) if offset else found for found in more.found
    )


def _in_json(value: Any, start: int) -> list[Found]:
    """Candidates in a JSON value among the words: at its pictures' places, and in the words that it holds."""
    said = {candidate.where for candidate in find_candidates(value, pictorial=False)}
    candidates: list[Found] = []
    for candidate in find_candidates(value, pictorial=True):
        if candidate.words:
            candidates += [msgspec.structs.replace(found, start=start) for found in _Scan(candidate.text).run().found]
        elif _is_inline(candidate.text):
            candidates.append(Found(start, candidate.text))
        else:
            candidates.append(Found(start, candidate.text, rank=Rank.FIELD if candidate.where in said else Rank.NAMED))
    return candidates or [Found(start, url, rank=Rank.NAMED) for url in _links_in(value)]


def _links_in(value: Any, depth: int = 0) -> list[str]:
    """Addresses in a JSON value whose keys say nothing, but for those of what was given or is shown beside."""
    if isinstance(value, str):
        return [value] if value.startswith(("http://", "https://")) and _BARE_URL.fullmatch(value) else []
    if depth >= _JSON_DEPTH or not isinstance(value, dict | list):
        return []
    items = value.items() if isinstance(value, dict) else (("", item) for item in value)
    return [url for key, item in items if not _BESIDE.search(key) for url in _links_in(item, depth + 1)][:_JSON_LINKS]


class _Scan:
    """One way over a text: each mark is searched for once."""

    def __init__(self, text: str) -> None:
        self.found: list[Found] = []
        self.words: list[str] = []
        self._text = text
        self._next: dict[str, int] = {}
        self._searched: dict[str, int] = {}
        self._no_image_before = 0
        self._no_link_before = 0

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

    def run(self) -> Words:
        """Read it all."""
        readers = {
            "![": self._markdown,
            "<img": self._tag,
            "<IMG": self._tag,
            "data:": self._data_url,
            "DATA:": self._data_url,
            'url"': self._json_url,
            'b64_json"': self._json_base64,
            "://": self._bare_url,
            ":\\/\\/": self._escaped_url,
            "<a ": self._linked_tag,
            "<A ": self._linked_tag,
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
        return Words(self.found, self.words)

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
            return self._linked(self._take(start, first, self._find(")", first), 1))
        window = self._text[first : first + URL_CHARS]
        target, length = _link_target(window)
        if not target:
            return first
        whole = length < len(window)
        self.found.append(Found(start, target, whole))
        return self._linked(first + length + whole) if whole else first + length

    def _linked(self, end: int) -> int:
        """Where the picture that ends here is itself a link, the link's target is the picture."""
        picture = self.found[-1]
        opening = _LINK_OPENS.search(self._text, max(picture.start - 8, 0), picture.start)
        closing = _LINK_CLOSES.match(self._text, end) if opening else None
        if opening is None or closing is None:
            return end
        first = closing.end()
        window = self._text[first : first + URL_CHARS] if first >= self._no_link_before else ""
        target, length = _link_target(window)
        if not target or length == len(window):
            self._no_link_before = max(self._no_link_before, first + length)
            return end
        self.found[-1] = Found(opening.start(), target, thumbnail=picture.value)
        return first + length + 1

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

    def _linked_tag(self, start: int) -> int:
        """``<a href=picture><img src=thumbnail></a>``."""
        link = _ANCHOR.match(self._text, start)
        if link is None:
            return start + 3
        before = len(self.found)
        end = self._tag(link.end())
        if len(self.found) > before:
            target = next(text for text in link.groups() if text is not None)
            shown = self.found[-1].value
            self.found[-1] = Found(start, target or shown, self.found[-1].whole, thumbnail=shown if target else "")
        return end

    def _tag(self, start: int) -> int:
        found = _IMG.match(self._text, start)
        if found is None:
            return start + 4
        first = found.end()
        if found.group(1):
            end = self._take(start, first, self._find(found.group(1), first), 1)
            close = self._find(">", end)
            return self._linked(min(close + 1, len(self._text)) if close < self._find("<", end) else end)
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

    def _json_url(self, start: int) -> int:
        """``"url": "…"`` and ``"image_url": "…"`` in JSON among the words. What does not say that it is a picture
        counts where the words hold nothing surer: pages are named so as well."""
        opening = _JSON_VALUE.match(self._text, start + 3)
        value = _JSON_URL.match(self._text, opening.end()) if opening else None
        if value is None or self._text[start - 1 : start] not in ('"', "_"):
            return start + 4
        url = _json_text(value.group(1))
        said = looks_like_image(url) or self._text[start - 6 : start] == "image_"
        self.found.append(Found(value.start(1), url, rank=Rank.FIELD if said else Rank.NAMED))
        return value.end()

    def _json_base64(self, start: int) -> int:
        opening = _JSON_VALUE.match(self._text, start + 8)
        if opening is None or not has_signature(self._text[opening.end() : opening.end() + 64]):
            return start + 9
        return self._take(start, opening.end(), self._find('"', opening.end()), 1)

    def _bare_url(self, start: int) -> int:
        first = start - (5 if self._text[max(start - 5, 0) : start].lower() == "https" else 4)
        found = _BARE_URL.match(self._text, first) if first >= 0 else None
        if found is None:
            return start + 3
        url = _trim(found.group())
        if looks_like_image(url):
            self.found.append(Found(first, url, first + len(url) < len(self._text), Rank.BARE))
        return first + len(url)

    def _escaped_url(self, start: int) -> int:
        """A bare URL whose slashes are escaped, as PHP writes JSON: ``https:\\/\\/…``."""
        first = start - (5 if self._text[max(start - 5, 0) : start].lower() == "https" else 4)
        found = _ESCAPED_URL.match(self._text, first) if first >= 0 else None
        if found is None:
            return start + 5
        url = _trim(_json_text(found.group()))
        if looks_like_image(url):
            self.found.append(Found(first, url, found.end() < len(self._text), Rank.BARE))
        return found.end()


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
    first = end - len(window.lstrip())  # a line may end before the target
    for number, character in enumerate(window[first:], first):
        depth += (character == "(") - (character == ")")
        if depth < 0 or character == "\n":
            end = number
            break
    target = window[:end].strip()
    if target.startswith("<"):
        target = target[1:].partition(">")[0]
    titled = _TITLE.fullmatch(target)
    return _ESCAPED.sub(r"\1", titled.group(1) if titled else target), end


def _only_value(text: str) -> str:
    """The text, if it is nothing but base64 or one URL, in a code fence or not; else empty."""
    alone = text.strip()
    if alone.startswith("```") and alone.endswith("```"):
        alone = alone[3:-3].partition("\n")[2].strip()
    if has_signature(alone):
        return alone if " " not in alone and clean_base64(alone) is not None else ""
    if len(alone) <= URL_CHARS and "\\/" in alone:
        alone = alone.replace("\\/", "/")
    return alone if _BARE_URL.fullmatch(alone) and _trim(alone) == alone else ""


def json_values(text: str) -> Iterator[tuple[int, int, Any]]:
    """JSON objects and lists among the words, in a fence or not: where each begins and ends, and its value.

    They begin early: megabytes of a picture are not searched for another.
    """
    position, tries = 0, 0 if has_too_many_values(text) else _JSON_TRIES
    reach = min(len(text), _JSON_REACH)
    next_of = {"{": -1, "[": -1}
    while tries:
        for mark, place in next_of.items():
            if place < position:
                found = text.find(mark, position, reach)
                next_of[mark] = found if found >= 0 else reach
        start = min(next_of.values())
        if start >= reach:
            return
        position = start + 1
        if _JSON_START.match(text, start) is None:
            continue
        try:
            value, position = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            tries -= 1
        else:
            yield start, position, value


def _json_text(raw: str) -> str:
    """What stands between the quotes of a JSON string."""
    try:
        return str(parse_json(f'"{raw}"'))
    except ValueError:
        return raw


def _trim(url: str) -> str:
    """A bare URL without the sentence around it."""
    end = _URL_END.search(url)
    url = url[: end.start()] if end else url
    while url:
        last = url[-1]
        if last in ".,;:!?*~_" or (last == ")" and url.count(")") > url.count("(")) or (last == "]" and "[" not in url):
            url = url[:-1]
        else:
            break
    return url
