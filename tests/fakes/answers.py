"""Short ways to read an answer in tests, and the pictures that the recorded answers hold."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

from engine.config import ApiMode
from engine.upstream.answer import Answer, AnswerReader, Progress
from engine.upstream.sse import EventReader

SAMPLES = Path(__file__).parents[1] / "samples"
BASE = "https://api.invalid/v1/chat/completions"
HOST = "http://pictures.invalid"
MODES = {"c": ApiMode.CHAT_COMPLETIONS, "r": ApiMode.RESPONSES, "e": ApiMode.IMAGES_EDITS}
PNG, JPEG, WEBP = (b64encode((SAMPLES / f"picture.{kind}").read_bytes()).decode() for kind in ("png", "jpg", "webp"))


def read(body: bytes, mode: ApiMode = ApiMode.CHAT_COMPLETIONS, size: int = 1 << 30) -> tuple[Answer, list[Progress]]:
    """The answer in a body that comes in pieces of ``size`` bytes."""
    events, reader = EventReader(1 << 28), AnswerReader(mode, BASE)
    progress = []
    for start in range(0, len(body), size):
        reader.glance(body[start : start + size])
        progress += [reader.feed(event) for event in events.feed(body[start : start + size])]
    progress += [reader.feed(event) for event in events.close()]
    return reader.finish(), [step for step in progress if step is not None]


def read_values(*values: Any, mode: ApiMode = ApiMode.CHAT_COMPLETIONS, done: bool = True) -> Answer:
    """The answer in a stream of these JSON values."""
    lines = [f"data: {json.dumps(value)}\n\n" for value in values] + (["data: [DONE]\n\n"] if done else [])
    return read("".join(lines).encode(), mode)[0]


def say(text: str, *, done: bool = True, finish: str | None = None) -> Answer:
    """The answer in one delta."""
    return read_values({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}, done=done)


def values(answer: Answer) -> list[str]:
    """The references, short."""
    return [ref.value for ref in answer.refs]
