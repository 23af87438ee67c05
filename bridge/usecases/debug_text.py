"""A debug log for people: letters instead of JSON's escapes, and all of it as one text to read and to copy."""

from __future__ import annotations

import re
import time
from typing import Any

import msgspec

from engine.models import DebugEntry

_ESCAPES = re.compile(r"(?<!\\)(?:\\u[0-9a-fA-F]{4})+")


def readable(entries: list[DebugEntry]) -> list[DebugEntry]:
    """The same entries, the text of APIs with letters (抱歉) where JSON has escapes (\\u62b1)."""
    return [msgspec.structs.replace(entry, data=_readable(entry.data)) for entry in entries]


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return _ESCAPES.sub(_letters, value) if "\\u" in value else value
    if isinstance(value, dict):
        return {name: _readable(part) for name, part in value.items()}
    return [_readable(part) for part in value] if isinstance(value, list) else value


def _letters(escapes: re.Match[str]) -> str:
    """What the escapes stand for, where that is something to see; else they stay."""
    try:
        text = msgspec.json.decode(f'"{escapes[0]}"', type=str)
    except msgspec.DecodeError:  # half of a pair
        return escapes[0]
    return text if text.isprintable() and not set(text) & {'"', "\\"} else escapes[0]


def debug_text(entries: list[DebugEntry]) -> str:
    """One line an entry: local time with milliseconds, kind, data; a heading for each attempt."""
    lines: list[str] = []
    attempt = None
    for entry in entries:
        if entry.kind == "request" or entry.attempt != attempt:
            attempt = entry.attempt
            day = time.strftime("%Y-%m-%d", time.localtime(entry.at))
            lines.append(f"=== attempt {attempt} · {day} ===")
        clock = time.strftime("%H:%M:%S", time.localtime(entry.at)) + f".{int(entry.at % 1 * 1000):03d}"
        lines.append(f"{clock} {entry.kind}: {_data(entry)}")
    return "\n".join(lines)


def _data(entry: DebugEntry) -> str:
    if entry.kind == "event":
        name = entry.data.get("name", "")
        return f"{name} {entry.data.get('data', '')}".strip()
    return _compact(entry.data)


def _compact(value: Any) -> str:
    return msgspec.json.encode(value).decode()
