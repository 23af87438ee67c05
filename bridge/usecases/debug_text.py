"""A debug log as one text, for reading, copying and the pages that know only text."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from engine.models import DebugEntry


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
