"""The fuzz targets under hypothesis: raw bytes, and values that look like what each target expects.

``EXAMPLES=20000`` for the full count; ``python tests/fuzz/fuzz.py`` runs the same targets guided by coverage.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from engine.config import describe
from engine.upstream.sse import EventReader
from tests.fuzz.targets import TARGETS

EXAMPLES = int(os.environ.get("EXAMPLES", "150"))
FIELDS = [spec.name for spec in describe()]
KEYS = [
    *("choices", "delta", "message", "content", "images", "image_url", "url", "data", "b64_json", "output", "result"),
    *("type", "error", "code", "index", "progress", "text", "reasoning_content", "inlineData", "item_id", "response"),
    *("presets", "current_config", "config", "file", "prompt", "task_id", "action", "match", "limit", "name", *FIELDS),
]
PIECES = [
    *(
        "data: ",
        "event: ",
        "\n\n",
        "\r",
        "\r\n",
        "\n",
        "[DONE]",
        "{",
        "}",
        "[",
        "]",
        '"',
        ":",
        ",",
        "![i](",
        ")",
        "<think>",
    ),
    *(
        "</think>",
        "data:image/png;base64,",
        "iVBORw0KGgo",
        "https://api.invalid/a.png",
        "http://",
        "@",
        "%2e",
        "\\",
        "\x1f",
    ),
    *(
        "{src_stem}",
        "{result_index}",
        "{global_index",
        "}}",
        "..",
        "CON",
        "aux.txt",
        "\ufeff",
        "\u2028",
        "é",
        "file,prompt\n",
    ),
]

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(PIECES)
values: SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)
objects = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), values, max_size=8)
documents = (objects | values).map(lambda value: json.dumps(value).encode())
streams = st.lists(documents.map(lambda body: b"data: " + body + b"\n\n"), max_size=5).map(b"".join)
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=12).map(lambda parts: "".join(parts).encode())
anything = st.binary(max_size=400) | documents | streams | texts
inputs = st.tuples(st.binary(max_size=4), anything).map(b"".join) | anything


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_nothing_gets_out(target: Callable[[bytes], None]) -> None:
    """No input brings an error of another type than those that are promised."""

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(data=inputs)
    def run(data: bytes) -> None:
        target(data)

    run()


def test_a_line_of_megabytes_takes_linear_time() -> None:
    """Sixteen times the length takes at most twenty times as long, in small pieces; or so short that caches decide."""

    def seconds(size: int) -> float:
        line = b'data: {"choices": [{"delta": {"content": "' + b"A" * size + b'"}}]}\n\n'
        best = 1e9
        for _ in range(5):
            reader, begun, found = EventReader(1 << 26), time.process_time(), 0
            for at in range(0, len(line), 16384):
                found += len(reader.feed(line[at : at + 16384]))
            assert found + len(reader.close()) == 1
            best = min(best, time.process_time() - begun)
        return best

    small, large = seconds(1_000_000), seconds(16_000_000)
    print(f"1 MB {small * 1000:.1f} ms, 16 MB {large * 1000:.1f} ms, factor {large / small:.1f}")
    assert large <= 20 * small or large < 0.25  # copying all for each piece would take seconds
