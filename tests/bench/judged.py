"""Row 16: what judging along costs a run whose judge is as fast as the edit; both answer from other processes."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import msgspec
from PIL import Image, ImageOps

from bridge.demo.painter import paint
from engine.config import ApiMode
from tests.bench.calls import scratch
from tests.bench.measure import Report, Row, median, percent
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.fakes.vision import chat
from tests.made_pictures import encoded
from tests.support.doors import open_door
from tests.support.replies import inline

AT_ONCE: Final = 8
LATENCY: Final = 0.5  # seconds of an edit, and of a judgement
_SCENES: Final = 8
_SIZE: Final = (960, 720)
_LONG: Final = 600.0
_NUMBER_AT: Final = 6  # where `numbered` has its number
_SCORES: Final = {"scores": dict.fromkeys(("instruction", "realism", "preservation", "technical"), 8), "reason": "good"}
_CONFIG: Final = {
    "api_key": "sk-edits", "model_name": "edit", "user_prompt": "night", "concurrency_limit": AT_ONCE,
    "unlock_local_api_url": True, "unlock_local_download_url": True,
}  # fmt: skip


class Took(msgspec.Struct, frozen=True):
    """Seconds until the run was over, and until all of it was judged."""

    run: float
    judged: float


def along(rounds: int, *, share: float = 1.0) -> Report:
    """The same run without and with a judge, in turn."""
    count = max(4 * AT_ONCE, int(240 * share))
    took: dict[bool, list[Took]] = {False: [], True: []}
    with scratch() as folder, _gateways() as (edits, judge):
        sources = folder / "sources"
        sources.mkdir()
        pictures = scenes()
        for number in range(count):
            (sources / f"{number:05}.jpg").write_bytes(numbered(pictures[number % _SCENES], number))
        _run(folder / "warm", sources, edits, judge, along=True)
        for number in range(rounds):
            for is_along, found in took.items():
                found.append(_run(folder / f"{number}{is_along}", sources, edits, judge, along=is_along))
    ratio = median([plain.run / judged.run for plain, judged in zip(took[False], took[True], strict=True)])
    rates = {is_along: f"{count / median([one.run for one in found]):.2f}/s" for is_along, found in took.items()}
    tail = median([one.judged - one.run for one in took[True]])
    work = f"{count} pictures of {_SIZE[0]} × {_SIZE[1]}, judged along; {AT_ONCE} at once, {LATENCY} s each"
    ours = f"{rates[True]}, all judged {tail:.2f} s after the run"
    return Report(
        [Row("16", work, ours, f"without a judge {rates[False]}", f"≥ {percent(0.95)}", ratio >= 0.95, ratio)]
    )


def scenes() -> list[bytes]:
    """A few pictures unlike each other, as JPEGs."""
    samples = sorted((Path(__file__).parents[2] / "assets" / "samples").iterdir())[:_SCENES]
    found = []
    for path in samples:
        with Image.open(path) as image:
            found.append(encoded("jpeg", ImageOps.fit(image.convert("RGB"), _SIZE), quality=88))
    return found


def numbered(jpeg: bytes, number: int) -> bytes:
    """The same picture as another file: its first segment is a comment."""
    return jpeg[:2] + b"\xff\xfe\x00\x0a" + f"{number:08}".encode() + jpeg[2:]


def _run(folder: Path, sources: Path, edits: int, judge: int, *, along: bool) -> Took:
    folder.mkdir()
    with open_door(folder) as door:
        door.post("/api/judge/config", {"config": {
            "api_url": f"http://127.0.0.1:{judge}/v1/chat/completions", "api_key": "sk-judge", "model_name": "eyes",
            "unlock_local_api_url": True, "concurrency_limit": AT_ONCE, "along": along,
        }})  # fmt: skip
        begun = time.monotonic()
        door.start(sources, {**_CONFIG, "api_url": f"http://127.0.0.1:{edits}/v1/chat/completions"})
        assert door.app.batch.wait_idle(_LONG)
        over = time.monotonic()
        assert door.app.vision.wait_idle(_LONG)
        end = time.monotonic()
        tasks: list[dict[str, Any]] = door.tasks()
        assert all(task["status"] == "done" for task in tasks)
        assert all((task["results"][0]["judgement"] is not None) is along for task in tasks)
        return Took(over - begun, end - begun)


@contextlib.contextmanager
def _gateways() -> Iterator[tuple[int, int]]:
    """Ports of the one that edits and the one that judges."""
    spawn = get_context("spawn")
    pipes = [spawn.Pipe() for _ in range(2)]
    processes = [
        spawn.Process(target=serve, args=(theirs, is_judge), daemon=True) for is_judge, (_, theirs) in enumerate(pipes)
    ]
    for process in processes:
        process.start()
    try:
        yield pipes[0][0].recv(), pipes[1][0].recv()
    finally:
        for ours, _ in pipes:
            ours.send(None)
        for process in processes:
            process.join()


def serve(pipe: Connection, is_judge: int) -> None:
    """One gateway, until a word comes through the pipe."""
    results = [] if is_judge else [paint(data, "night").data for data in scenes()]

    def edit(request: Received) -> Script:
        time.sleep(LATENCY)
        url = request.json["messages"][-1]["content"][1]["image_url"]["url"].partition(",")[2]
        number = int(base64.b64decode(url[:40])[_NUMBER_AT : _NUMBER_AT + 8])
        return inline(ApiMode.CHAT_COMPLETIONS, numbered(results[number % _SCENES], number))

    def judge(_: Received) -> Script:
        time.sleep(LATENCY)
        return chat(json.dumps(_SCORES))

    with FakeUpstream() as fake:
        fake.answer_with(judge if is_judge else edit)
        pipe.send(fake.port)
        pipe.recv()
