"""What a paid API answers in each of the three modes, inline or by URL."""

from __future__ import annotations

import base64
from typing import Any

from engine.config import ApiMode
from tests.fakes.upstream import Script

MODES = (ApiMode.CHAT_COMPLETIONS, ApiMode.RESPONSES, ApiMode.IMAGES_EDITS)
PATHS = {
    ApiMode.CHAT_COMPLETIONS: "/v1/chat/completions",
    ApiMode.RESPONSES: "/v1/responses",
    ApiMode.IMAGES_EDITS: "/v1/images/edits",
}


def inline(mode: ApiMode, *pictures: bytes, **changes: Any) -> Script:
    """An answer that brings the pictures as base64."""
    texts = [base64.b64encode(data).decode() for data in pictures]
    if mode is ApiMode.RESPONSES:
        calls = [{"type": "image_generation_call", "status": "completed", "result": text} for text in texts]
        return Script.json({"output": calls, "status": "completed"}, **changes)
    if mode is ApiMode.IMAGES_EDITS:
        return Script.json({"created": 1, "data": [{"b64_json": text} for text in texts]}, **changes)
    words = " ".join(f"![image](data:image/png;base64,{text})" for text in texts)
    return _chat(words, **changes)


def by_url(mode: ApiMode, *urls: str, **changes: Any) -> Script:
    """An answer that names the pictures by URL."""
    if mode is ApiMode.IMAGES_EDITS:
        return Script.json({"created": 1, "data": [{"url": url} for url in urls]}, **changes)
    words = " ".join(f"![image]({url})" for url in urls)
    if mode is ApiMode.RESPONSES:
        part = {"type": "output_text", "text": words}
        return Script.json({"output": [{"type": "message", "content": [part]}], "status": "completed"}, **changes)
    return _chat(words, **changes)


def _chat(words: str, **changes: Any) -> Script:
    chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": words}}]}
    end = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return Script.events(chunk, end, **changes)
