"""Answers of any kind: no JSON, text or depth makes the reader fail, and its time grows with the input only."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import ApiMode
from engine.upstream.answer import AnswerReader
from engine.upstream.sse import ServerEvent
from tests.fakes.answers import BASE, MODES, PNG, read

KEYS = [
    *("choices", "delta", "message", "content", "index", "finish_reason", "images", "image_url", "url", "type", "text"),
    *("data", "b64_json", "error", "output", "item", "result", "response", "candidates", "parts", "inlineData", "code"),
    *("progress", "item_id", "output_index", "base_resp", "status_code", "promptFeedback", "refusal", "param", "loc"),
    *("detail", "incomplete_details", "thought", "partial_image_b64", "retryDelay", "output_text"),
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["error", "http://h.invalid/a.png", PNG[:40], "![a](b)", "<think>", "image_generation_call", "stop"]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=6,
        )
    ),
    max_leaves=25,
)
NAMES = [
    "",
    "error",
    "image_edit.completed",
    "image_edit.partial_image",
    "image_edit.partial_failed",
    "response.failed",
]
NAMES += [f"response.{kind}" for kind in ("output_text.delta", "output_text.done", "output_item.done", "completed")]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), JSON), max_size=5), st.sampled_from(list(MODES.values())))
def test_any_json_is_read(events: Sequence[tuple[str, Any]], mode: ApiMode) -> None:
    """No JSON makes the reader fail, and there is always a picture or a reason."""
    reader, whole = AnswerReader(mode, BASE), AnswerReader(mode, BASE)
    for name, value in events:
        reader.feed(ServerEvent(name, json.dumps(value)))
    answer = reader.finish()
    assert answer.refs or answer.error
    whole.document(json.dumps([value for _, value in events]).encode())
    assert whole.finish().refs or whole.finish().error


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")), st.sampled_from(NAMES))
def test_any_data_is_read(data: str, name: str) -> None:
    """Nor does data that is no JSON."""
    reader = AnswerReader(ApiMode.CHAT_COMPLETIONS, BASE)
    reader.feed(ServerEvent(name, data))
    answer = reader.finish()
    assert answer.refs or answer.error


@pytest.mark.parametrize(
    "data", ["[" * 100_000, '{"a":' * 100_000, '{"data":' * 5000 + "1" + "}" * 5000, "[" * 900 + "]" * 900]
)
def test_deep_nesting_is_read(data: str) -> None:
    """Depth is no way to exhaust the stack."""
    reader = AnswerReader(ApiMode.IMAGES_EDITS, BASE)
    reader.feed(ServerEvent("", data))
    reader.document(data.encode())
    assert reader.finish().error is not None


def one_delta(size: int) -> bytes:
    """A whole picture of so many bytes in one delta."""
    return (
        b'data: {"choices":[{"delta":{"content":"![image](data:image/png;base64,'
        + b"QUJD" * (size // 4)
        + b')"}}]}\n\n'
    )


def many_deltas(size: int) -> bytes:
    """The same in pieces of 64."""
    event = b'data: {"choices":[{"delta":{"content":"' + b"QUJD" * 16 + b'"}}]}\n\n'
    return (
        b'data: {"choices":[{"delta":{"content":"data:image/png;base64,"}}]}\n\n'
        + event * (size // 64)
        + b"data: [DONE]\n\n"
    )


def many_marks(size: int) -> bytes:
    """Words full of marks that begin and never end."""
    text = "![a <img data: :// ![](( ](" * (size // 27)
    return f"data: {json.dumps({'choices': [{'delta': {'content': text}}]})}\n\n".encode()


@pytest.mark.parametrize(("make", "small"), [(one_delta, 1 << 20), (many_deltas, 1 << 15), (many_marks, 1 << 13)])
def test_time_grows_with_the_answer_only(make: Callable[[int], bytes], small: int) -> None:
    """Sixteen times the answer takes about sixteen times as long, never its square."""

    def best(body: bytes) -> float:
        times = []
        for _ in range(3):
            started = time.perf_counter()
            read(body, size=65536)
            times.append(time.perf_counter() - started)
        return min(times)

    assert best(make(small * 16)) < best(make(small)) * 16 * 6 + 0.1


def test_twenty_megabytes_in_one_line() -> None:
    """From bytes to reference; how fast is row 6 of the benchmarks."""
    answer, _ = read(one_delta(20 << 20), size=65536)
    assert len(answer.refs[0].value) == 20 << 20
