"""Owns the cutting of an answer's bytes into events: Server-Sent Events, and JSON values one after another.

Linear in the input however it is cut: every byte is looked at once, and waits in the piece that brought it. A line of
megabytes is copied twice: joined from its pieces, and decoded.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from engine.errors import AnswerUnusable, Code

_BOM = b"\xef\xbb\xbf"
_STRUCTURE = re.compile(rb'["{}\[\]]')
_FIELD_LINE = re.compile(rb"^(?:data|event):", re.MULTILINE)
_STRAY_BYTES = 4096
_SMALL_BYTES = 4096
_RESTARTS = 16
_MANY_VALUES_BYTES = 2**20
_MOST_VALUES = 250_000


class ServerEvent(msgspec.Struct, frozen=True):
    """One event. ``name``: what an ``event:`` line said, else empty. ``data``: mostly JSON, or ``[DONE]``."""

    name: str
    data: str


class EventReader:
    """Bytes in, events out. A line ends with CR, LF or CRLF and nothing else; a leading BOM is dropped.

    A line that opens a JSON value needs no ``data:`` before it, and the value may go on over lines. An answer without
    any event (an error page) comes as one event holding the beginning of its text, when it is closed.
    Raises AnswerUnusable(ANSWER_TOO_LARGE) once an event or line is longer than ``max_event_bytes``, after the events
    before it were handed out.
    """

    def __init__(self, max_event_bytes: int) -> None:
        self._limit = max_event_bytes
        self._head: bytes | None = b""  # what may become a BOM; None once that is settled
        self._after_cr = False
        self._line = _Pieces()
        self._in_line = False  # the current line is known to be no JSON
        self._name = ""
        self._data: list[memoryview] = []
        self._data_bytes = 0
        self._data_nesting: _Nesting | None = None
        self._json: _Nesting | None = None
        self._value = _Pieces()
        self._strays = bytearray()
        self._spoken = False
        self._too_large = False

    @property
    def pending(self) -> int:
        """Bytes that are held for an event that is not whole yet."""
        return self._line.size + self._value.size + self._data_bytes

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Events that became whole with this piece."""
        if self._head is not None:
            chunk = self._drop_bom(chunk)
        events: list[ServerEvent] = []
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk[1:] if chunk[:1] == b"\n" else chunk
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        if not self._too_large:
            for piece in _lines(chunk):
                content = piece.rstrip(b"\r\n")
                if not content and self._is_between():
                    continue  # a body may be millions of these
                if not self._take(content, len(content) < len(piece), events):
                    break
        if self._too_large and not events:
            raise AnswerUnusable(Code.ANSWER_TOO_LARGE, limit=self._limit)
        return events

    def close(self) -> list[ServerEvent]:
        """Events that the end of the input makes whole, cut-off ones included."""
        events: list[ServerEvent] = []
        if self._head:
            head, self._head = self._head, None
            events += self.feed(head)
        elif self._too_large:
            raise AnswerUnusable(Code.ANSWER_TOO_LARGE, limit=self._limit)
        for _ in range(_RESTARTS):
            if self._json is None:
                break
            events += self._abandon()
        self._json = None
        if self._in_line:
            self._end_line(events)
        self._dispatch(events)
        if not self._spoken and self._strays:
            self._emit(bytes(self._strays), events)
        self._strays.clear()
        return events

    def _is_between(self) -> bool:
        """Whether nothing has begun that an empty line could end."""
        return not (self._in_line or self._data or self._name or self._json is not None)

    def _drop_bom(self, chunk: bytes) -> bytes:
        head = (self._head or b"") + chunk
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._head = head
            return b""
        self._head = None
        return head.removeprefix(_BOM)

    def _take(self, content: bytes, ended: bool, events: list[ServerEvent]) -> bool:
        """A piece of one line; ``ended`` tells that the line ends with it. False when it grew too large."""
        while True:
            if self._json is not None:
                end = self._json.find_end(content)
                self._value.add(content if end < 0 else content[:end])
                if self._value.size > self._limit or self._json.opened > _MOST_VALUES:
                    self._limit = min(self._limit, self._value.size)
                    self._too_large = True
                    return False
                if end < 0:
                    if ended:
                        self._value.add(b"\n")
                        self._json.end_line()
                    return True
                self._emit(self._take_value(), events)
                content = content[end:]
            if not self._in_line:
                content = content.lstrip(b" \t" if self._data else b" \t,\x1e")
                if content[:1] in (b"{", b"[") and not self._data_is_open():
                    self._dispatch(events, keep_name=not self._data)
                    self._json = _Nesting()
                    continue
            break
        self._in_line = self._in_line or bool(content)
        self._line.add(content)
        if self._line.size + self._data_bytes > self._limit:
            self._too_large = True
        elif ended:
            self._end_line(events)
        return not self._too_large

    def _end_line(self, events: list[ServerEvent]) -> None:
        line = self._line.take()
        self._in_line = False
        if not line:
            self._dispatch(events)
            return
        colon = line.find(b":")
        name = line if colon < 0 else line[:colon]
        start = len(name) + (2 if line[colon + 1 : colon + 2] == b" " else 1)
        if name == b"data":
            if _opens_json(line, start) and self._data_nesting is not None and not self._data_is_open():
                self._dispatch(events)  # no blank line between two values
            self._append(line, start)
        elif name == b"event":
            self._name = line[start:].decode("utf-8", "replace").strip()
        elif name in (b"", b"id", b"retry"):
            pass  # a comment, or nothing to us
        elif self._data_is_open():
            self._append(line, 0)  # pretty-printed, with a prefix on the first line only
        elif not self._spoken and len(self._strays) < _STRAY_BYTES:
            self._strays += line[:_STRAY_BYTES] + b"\n"

    def _append(self, line: bytes, start: int) -> None:
        """The line from ``start`` on is data."""
        if not self._data and _opens_json(line, start):
            self._data_nesting = _Nesting()
        if self._data_nesting is not None and (self._data_is_open() or not self._data):
            self._data_nesting.find_end(line, start)
            self._data_nesting.end_line()
        self._data.append(memoryview(line)[start:])
        self._data_bytes += len(line) - start + 1

    def _data_is_open(self) -> bool:
        """Whether the ``data:`` lines so far hold a JSON value that goes on."""
        return self._data_nesting is not None and self._data_nesting.depth > 0

    def _dispatch(self, events: list[ServerEvent], *, keep_name: bool = False) -> None:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        self._data.clear()
        self._data_bytes = 0
        self._data_nesting = None
        if data:
            self._emit(data, events)
        elif not keep_name:
            self._name = ""

    def _emit(self, data: bytes | memoryview, events: list[ServerEvent]) -> None:
        events.append(ServerEvent(self._name, str(data, "utf-8", "replace")))
        self._name = ""
        self._spoken = True
        self._strays.clear()

    def _take_value(self) -> bytes:
        self._json = None
        return self._value.take()

    def _abandon(self) -> list[ServerEvent]:
        """Give up a JSON value that never ended; go on with the first ``data:`` or ``event:`` line inside it."""
        broken = self._take_value()
        field = _FIELD_LINE.search(broken, 1)
        events: list[ServerEvent] = []
        self._emit(broken[: field.start()] if field else broken, events)
        return events + self.feed(broken[field.start() :]) if field else events


class _Pieces:
    """Bytes that come in pieces, joined once; small pieces are gathered, for each one kept has its cost."""

    def __init__(self) -> None:
        self.size = 0
        self._large: list[bytes] = []
        self._small = bytearray()

    def add(self, piece: bytes) -> None:
        """One more piece."""
        self.size += len(piece)
        if len(piece) < _SMALL_BYTES and (self._large or self._small):
            self._small += piece
            if len(self._small) < 16 * _SMALL_BYTES:
                return
            piece = b""
        self._gather()
        self._large.append(piece)

    def take(self) -> bytes:
        """All so far; empty afterwards."""
        self._gather()
        whole = self._large[0] if len(self._large) == 1 else b"".join(self._large)
        self._large.clear()
        self.size = 0
        return whole

    def _gather(self) -> None:
        if self._small:
            self._large.append(bytes(self._small))
            self._small.clear()


def _lines(chunk: bytes) -> list[bytes]:
    """Lines with their ends, which are CR, LF and CRLF only. Most pieces of a long line hold none: found faster so."""
    if b"\n" in chunk or b"\r" in chunk:
        return chunk.splitlines(keepends=True)
    return [chunk] if chunk else []


def _opens_json(line: bytes, start: int) -> bool:
    return line[start : start + 1] in (b"{", b"[")


class _Nesting:
    """Where a JSON value stands that comes in pieces: how deep, and whether inside a string."""

    def __init__(self) -> None:
        self.depth = 0
        self.opened = 0
        """Objects and lists so far; behind more of them than an answer needs nothing is looked at."""
        self._in_string = False
        self._escaped = False

    def end_line(self) -> None:
        """A line break came: no escape reaches over it."""
        self._escaped = False

    def find_end(self, content: bytes, position: int = 0) -> int:
        """Position behind the value's last bracket, -1 while it goes on."""
        while position < len(content) and self.opened <= _MOST_VALUES:
            if self._in_string:
                position = self._skip_string(content, position)
                continue
            found = _STRUCTURE.search(content, position)
            if found is None:
                break
            position = found.end()
            mark = found.group()
            if mark == b'"':
                self._in_string = True
            elif mark in b"{[":
                self.depth += 1
                self.opened += 1
            else:
                self.depth -= 1
                if self.depth == 0:
                    return position
        return -1

    def _skip_string(self, content: bytes, position: int) -> int:
        """Position behind the string's closing quote, or the end of the content."""
        quote = -1
        while position < len(content):
            if self._escaped:
                self._escaped = False
                position += 1
                continue
            if quote < position:
                quote = content.find(b'"', position)
                quote = len(content) if quote < 0 else quote
            slash = content.find(b"\\", position, quote)
            if slash < 0:
                self._in_string = quote == len(content)
                return quote + 1
            self._escaped = True
            position = slash + 1
        return position


def has_too_many_values(text: str | bytes) -> bool:
    """Whether JSON has more values in it than any answer needs: ``{}`` takes 25 times its size in memory, and millions
    of them minutes to look through. Hardly any time is spent on megabytes of base64."""
    if len(text) <= _MANY_VALUES_BYTES:
        return False
    left = _MOST_VALUES
    for mark in ",[{":
        at = _next(text, mark, 0)
        while at >= 0:
            left -= 1
            if left < 0:
                return True
            at = _next(text, mark, at + 1)
    return False


def _next(text: str | bytes, mark: str, start: int) -> int:
    return text.find(mark, start) if isinstance(text, str) else text.find(mark.encode(), start)


class TooManyValues(ValueError):
    """JSON with more values in it than any answer needs."""


def parse_json(text: str) -> Any:
    """The JSON value of ``text``; ValueError if there is none, also for one nested too deep, TooManyValues.

    What msgspec refuses is given to the tolerant reader: raw line breaks in strings and halves of surrogate pairs
    occur. Strings may hold such halves then: see ``well_formed``.
    """
    if has_too_many_values(text):
        raise TooManyValues
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        pass
    try:
        return json.loads(text, strict=False)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def json_or_none(text: str | bytes) -> Any:
    """The JSON value in a text; None for anything else."""
    if has_too_many_values(text):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def well_formed(text: str) -> str:
    """The text with surrogate halves joined or replaced, so that it can be encoded."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
