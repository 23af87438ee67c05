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

from engine.config import ApiMode, describe
from engine.upstream.answer import AnswerReader
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy
from engine.upstream.sse import EventReader
from engine.upstream.transport import Transport
from tests.fakes.peers import Peer, answering, ok, outgoing
from tests.fuzz.targets import TARGETS

EXAMPLES = int(os.environ.get("EXAMPLES", "150"))
FULL = os.environ.get("FULL") == "1"
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


def seconds_for(transport: Transport, size: int) -> float:
    """Processor time of this thread for one line so long, from the socket to its picture; best of five."""
    content = f"![i](data:image/png;base64,{'A' * size})"
    line = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": content}}]}).encode() + b"\n\n"
    best = 1e9
    with Peer(answering(ok(line + b"data: [DONE]\n\n"))) as peer:
        for _ in range(5):
            begun = time.thread_time()
            events, answer = EventReader(1 << 26), AnswerReader(ApiMode.CHAT_COMPLETIONS, peer.url())
            request = outgoing(peer.url())
            with transport.send(request, proxy="", unlocked=True, timeout=100, cancel=CancelToken()) as response:
                for chunk in response.chunks():
                    for event in events.feed(chunk):
                        answer.feed(event)
            assert events.close() == []
            assert len(answer.finish().refs) == 1
            best = min(best, time.thread_time() - begun)
    return best


def test_a_line_of_megabytes_takes_linear_time() -> None:
    """Sixteen times the length takes at most twenty times as long, or so little that caches decide."""
    transport = Transport(NetPolicy(), proxies=dict)
    small, large = seconds_for(transport, 1_000_000), seconds_for(transport, 16_000_000)
    transport.close()
    print(f"1 MB {small * 1000:.1f} ms, 16 MB {large * 1000:.1f} ms, factor {large / small:.1f}")
    # Copying all that was there before for each new piece would take seconds.
    assert large <= 20 * small or (large < 0.5 and not FULL)
