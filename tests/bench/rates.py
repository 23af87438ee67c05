"""Rows 1 to 3, 5, 6 and 15: pictures through the program beside a bare loop, latency hidden, memory bounded."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import msgspec

from engine.allocator import keep_freed_memory
from engine.config import ApiMode
from engine.upstream.answer import AnswerReader
from engine.upstream.image_refs import decode_base64
from engine.upstream.sse import EventReader
from tests.bench.calls import Engine, Load, Took, gateway, scratch
from tests.bench.gateway import Picture
from tests.bench.loops import LOOPS
from tests.bench.measure import Report, Row, median, percent
from tests.bench.worker import workers

MB = 2**20
LARGE, SMALL = 2_000_000, 20_000
_PIECE = 65_536

LOADS = {
    "1": ("2 MB, base64 in SSE, 8 at once", Load("sse", LARGE, 8), 160, 0.8),
    "2a": ("2 MB, JSON `b64_json`, 8 at once", Load("json", LARGE, 8), 160, 0.8),
    "2b": ("2 MB, URL to download, 8 at once", Load("url", LARGE, 8), 240, 0.8),
    "3": ("20 KB, JSON, 16 at once", Load("json", SMALL, 16), 2000, 0.5),
}


def compare(number: str, rounds: int, *, share: float = 1.0, loops: Sequence[str] = tuple(LOOPS)) -> Report:
    """Program and loops in turn; the goal is against the first loop. ``share``: of the usual number of pictures."""
    work, load, usual, goal = LOADS[number]
    count = max(2 * load.at_once, int(usual * share))
    took: dict[str, list[Took]] = {name: [] for name in (*loops, "ours")}
    with (
        scratch() as folder,
        gateway(load) as port,
        workers(load, port, {name: folder / name for name in took}) as crew,
    ):
        for name in took:
            crew.run(name, 2 * load.at_once)
        for _ in range(rounds):
            for name, found in took.items():
                found.append(crew.run(name, count, 2 * load.at_once))
    rows = [_beside(number, name, took, count, goal, work) for name in loops]
    if number == "1":
        rows.append(_peak(took["ours"][-1], load))
    return Report(rows)


def _beside(number: str, name: str, took: dict[str, list[Took]], count: int, goal: float, work: str) -> Row:
    ratio = median([theirs.seconds / ours.seconds for theirs, ours in zip(took[name], took["ours"], strict=True)])
    comparison = f"{LOOPS[name].told} {_rate(took[name], count)}"
    if name != "bare":
        return Row(f"{number}+", "the same", "", comparison, "", None, ratio)
    return Row(number, work, _rate(took["ours"], count), comparison, f"≥ {percent(goal)}", ratio >= goal, ratio)


def _rate(found: list[Took], count: int) -> str:
    rate = median([count / took.seconds for took in found])
    processor = median([took.processor / count for took in found]) * 1000
    return f"{rate:.0f}/s, {processor:.1f} ms of processor each"


def _peak(took: Took, load: Load) -> Row:
    bound = 100 * MB + 4 * load.size * load.at_once
    return Row(
        "6", "peak memory in row 1", f"{took.peak / MB:.0f} MB", "", f"≤ {bound / MB:.0f} MB", took.peak <= bound
    )


def latency(rounds: int) -> Report:
    """Row 5: 64 calls at once that each take two seconds."""
    load = Load("json", SMALL, 64, 2.0)
    with scratch() as folder, gateway(load) as port, workers(load, port, {"ours": folder / "ours"}) as crew:
        crew.run("ours", 64)
        seconds = median([crew.run("ours", 640).seconds for _ in range(rounds)])
    ideal = 640 / load.at_once * load.latency
    return Report(
        [
            Row(
                "5",
                "640 tasks, 64 at once, 2 s latency",
                f"{seconds:.2f} s",
                f"latency alone {ideal:.0f} s",
                "≤ 1.05 ×",
                seconds <= 1.05 * ideal,
                ideal / seconds,
            )
        ]
    )


_DESCRIBED: dict[str, Any] = {
    "request": {
        "url": "/v1/images/edits",
        "json": {
            "model": "{{model}}", "prompt": "{{prompt}}", "n": "{{n}}", "image": {"url": "{{image}}"},
            "response_format": "b64_json",
        },
    },
    "result": {"pictures": ["data[].b64_json"]},
}  # fmt: skip


def described(rounds: int, *, share: float = 1.0) -> Report:
    """Row 15: what the built-in mode asks, asked by a recipe, in turn against the same gateway."""
    load, took = Load("json", LARGE, 8), {"plain": list[Took](), "recipe": list[Took]()}
    count = max(2 * load.at_once, int(160 * share))
    with scratch() as folder, gateway(load) as port, ExitStack() as stack:
        engines: dict[str, Engine] = {}
        for name in took:
            (folder / name).mkdir()
            engines[name] = Engine(folder / name, load, port)
            stack.callback(engines[name].close)
        engines["recipe"].config = msgspec.structs.replace(engines["recipe"].config, recipe=_DESCRIBED)
        for engine in engines.values():
            engine.run(2 * load.at_once)
        for _ in range(rounds):
            for name, found in took.items():
                found.append(engines[name].run(count, 2 * load.at_once))
    pairs = zip(took["plain"], took["recipe"], strict=True)
    ratio = median([plain.seconds / recipe.seconds for plain, recipe in pairs])
    rates = [_rate(found, count) for found in (took["recipe"], took["plain"])]
    work = "2 MB, JSON `b64_json`, 8 at once, by a recipe"
    return Report([Row("15", work, rates[0], f"built-in mode {rates[1]}", "≤ 1.1 ×", ratio >= 1 / 1.1, ratio)])


def _line_seconds(size: int, rounds: int) -> float:
    """Reading one event of that many bytes of picture, in pieces as they come from a socket, down to its bytes."""
    text = base64.b64encode(Picture(size, 1).numbered(1)).decode()
    delta = {"choices": [{"delta": {"content": f"![image](data:image/png;base64,{text})"}, "finish_reason": "stop"}]}
    body = f"data: {json.dumps(delta)}\n\ndata: [DONE]\n\n".encode()
    pieces = [body[start : start + _PIECE] for start in range(0, len(body), _PIECE)]

    def read() -> float:
        begun = time.perf_counter()
        events, answer = EventReader(2**30), AnswerReader(ApiMode.CHAT_COMPLETIONS, "http://127.0.0.1/")
        for piece in pieces:
            for event in events.feed(piece):
                answer.feed(event)
        (ref,) = answer.finish().refs
        assert len(decode_base64(ref.value)) > size * 0.9
        return time.perf_counter() - begun

    return median([read() for _ in range(rounds)])


def long_line(rounds: int) -> Report:
    """Row 6: one line of 20 MB of picture, and whether four times as much takes four times as long.

    That is asked beyond the sizes that fit into the processor's cache and into the memory that is kept: below them each
    byte is cheaper, up to four times.
    """
    keep_freed_memory()  # as the program does when it opens a data folder
    _line_seconds(40_000_000, 2)  # the first pieces of memory are dear, and the program has them once and for all
    whole, long, fourfold = (_line_seconds(size, rounds) for size in (20_000_000, 40_000_000, 160_000_000))
    return Report(
        [
            Row(
                "6",
                "one line with a picture of 20 MB",
                f"{whole * 1000:.0f} ms",
                f"40 MB {long * 1000:.0f} ms, 160 MB {fourfold * 1000:.0f} ms",
                "≤ 300 ms, linear",
                whole <= 0.3 and fourfold <= 1.5 * 4 * long,
                4 * long / fourfold,
            )
        ]
    )
