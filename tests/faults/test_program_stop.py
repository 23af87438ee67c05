"""Stop is now, for the whole program: one table of all that it may be blocked in, and the next batch behind each stop.

``FULL=1`` holds the figures themselves; else bounds that a busy machine keeps, for what is told by state and order.
"""

from __future__ import annotations

import gzip
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from engine.config import ApiMode
from engine.dataset.findings import FindingKind
from tests.fakes.peers import Peer, until_closed
from tests.fakes.providers import BY_ID, Provide
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.batches import batch_config
from tests.support.doors import Door, config_for, open_door, until
from tests.support.pictures import picture, source_folder
from tests.support.providers import provider_config
from tests.support.replies import inline

CALLS, LARGE = 64, 30 if os.environ.get("FULL") == "1" else 10  # at once; megapixels
FULL = os.environ.get("FULL") == "1"
SLACK = 1.0 if FULL else 15.0
REPLY, CLOSED, NEXT = 0.5 * SLACK, 1.0 * SLACK, 1.0 * SLACK  # the promise is a second for all of it
STREAM_HEAD = b'data: {"choices": [{"index": 0, "delta": {"content": "thinking"}}]}\n\n'
HANG = Script(silent=True)
CHAT = ApiMode.CHAT_COMPLETIONS


class Stage:
    """The program, an API and a folder of sources, for one row of a table."""

    def __init__(self, door: Door, fake: FakeUpstream, folder: Path) -> None:
        self.door = door
        self.fake = fake
        self.folder = folder

    def start(self, sources: Path | int, config: dict[str, Any] | None = None, **changes: Any) -> None:
        """A batch with all at once."""
        if isinstance(sources, int):
            sources = source_folder(self.folder / "in", sources)
        changes = {"concurrency_limit": CALLS, "timeout_seconds": 300, "request_form": "json", **changes}
        self.door.start(sources, config or config_for(self.fake, **changes))

    def made(self, *results: bytes, size: tuple[int, int] = (24, 16)) -> None:
        """A batch that brought these results."""
        for number in range(len(results)):
            (self.folder / "in").mkdir(exist_ok=True)
            (self.folder / "in" / f"{number}.png").write_bytes(picture(number, size=size))
        self.fake.answer(*(inline(CHAT, data) for data in results))
        self.start(self.folder / "in", concurrency_limit=1)
        self.door.wait_idle()

    def judged(self, silent: Script) -> None:
        """A judge that is blocked, with three calls."""
        self.made(*(picture(number) for number in range(3)))
        self.fake.answer(silent)
        config = {"api_url": self.fake.url(), "api_key": "sk-judge", "model_name": "eyes", "concurrency_limit": 3,
                  "unlock_local_api_url": True}  # fmt: skip
        self.door.post("/api/judge/config", {"config": config})
        before = len(self.fake.requests)
        self.door.post("/api/judge/start", {})
        until(lambda: len(self.fake.requests) == before + 3)


def inside(function: str, count: int = 1) -> None:
    """Wait until so many threads are in a function."""

    def threads() -> int:
        found = 0
        for frame in sys._current_frames().values():
            at = frame
            while at is not None:
                if at.f_code.co_name == function:
                    found += 1
                    break
                at = at.f_back  # type: ignore[assignment]
        return found

    until(lambda: threads() >= count, step=0.001)


def noise(megapixels: int, kind: str, **options: Any) -> bytes:
    """A picture that takes long to encode again."""
    buffer = io.BytesIO()
    Image.effect_noise((1000 * megapixels // 5, 5000), 60).convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


def on_the_line(script: Script, requests: int = CALLS, **changes: Any) -> Callable[[Stage], None]:
    """Calls that are blocked on what the API does."""

    def block(stage: Stage) -> None:
        stage.fake.answer(script)
        stage.start(CALLS + 6, **changes)
        until(lambda: len(stage.fake.requests) >= requests)

    return block


def in_a_download(stage: Stage) -> None:
    """An answer whose picture never comes."""
    url = stage.fake.route("/files/never.png", HANG)
    on_the_line(Script.json({"choices": [{"message": {"content": f"![image]({url})"}}]}), 2 * CALLS)(stage)


def unpacking(stage: Stage) -> None:
    """200 KB that become 200 MB of line ends, four times."""
    body = gzip.compress(b"\n" * 200_000_000, 1)
    stage.fake.answer(Script(body, content_type="text/event-stream", headers={"Content-Encoding": "gzip"}))
    stage.start(4)
    inside("feed")


def decoding(stage: Stage) -> None:
    """Sources of 80 megapixels, of which two fit into the room at once."""
    (stage.folder / "in").mkdir()
    first = stage.folder / "in" / "0.png"
    Image.new("RGB", (9000, 8900)).save(first, compress_level=1)
    for number in range(1, CALLS):
        first.with_name(f"{number}.png").write_bytes(first.read_bytes())
    stage.start(stage.folder / "in")
    inside("checked", CALLS)


def converting(source_format: str, function: str) -> Callable[[Stage], None]:
    """A large source of noise, to be sent as another type."""

    def block(stage: Stage) -> None:
        (stage.folder / "in").mkdir()
        (stage.folder / "in" / "0.jpg").write_bytes(noise(LARGE, "JPEG", quality=10))
        stage.start(stage.folder / "in", source_format=source_format)
        inside(function)

    return block


def hashing(stage: Stage) -> None:
    """Sources that were swapped for files of 200 MB."""
    stage.made(*(picture(number) for number in range(16)))
    for source in (stage.folder / "in").iterdir():
        os.truncate(source, 200_000_000)
    stage.door.post("/api/dataset/preflight", {})
    inside("hash_found")


def registering(stage: Stage) -> None:
    """A preflight in the middle of a pair; unrelated pictures take longest."""
    results = []
    for _ in range(8):
        buffer = io.BytesIO()
        Image.effect_noise((320, 240), 90).resize((640, 480)).convert("RGB").save(buffer, "PNG", compress_level=1)
        results.append(buffer.getvalue())
    stage.made(*results, size=(640, 480))
    stage.door.post("/api/dataset/preflight", {})
    inside("overlay")


def exporting(stage: Stage) -> None:
    """A set of pictures that are written as another type."""
    stage.made(noise(LARGE, "JPEG", quality=10))
    stage.door.post("/api/dataset/export", {
        "output_dir": str(stage.folder / "sets"), "allow": list(FindingKind), "picture_format": "webp",
        "size_rule": "as_it_came",
    })  # fmt: skip
    inside("webp_apart")


def polling(stage: Stage) -> None:
    """Jobs at a provider that does not answer the question how far it is."""
    provide = Provide(BY_ID["dashscope-async"], stage.fake.url(""), lambda _: picture(7))

    def answer(request: Received) -> Script:
        return HANG if request.method == "GET" else provide(request)

    stage.fake.answer_with(answer)
    stage.start(4, provider_config(provide.provider, stage.fake))
    until(lambda: sum(request.method == "GET" for request in stage.fake.requests) == 4)


def uploading(stage: Stage) -> None:
    """Pictures on their way to a provider of batches, which does not take them."""
    stage.fake.answer(HANG)
    stage.start(4, batch_config("openai", stage.fake, concurrency_limit=4))
    until(lambda: len(stage.fake.requests) == 4)


def ordering(stage: Stage) -> None:
    """A batch that a provider neither takes nor refuses: whether it has it is asked later."""
    stage.fake.answer(HANG)
    stage.start(4, batch_config("xai", stage.fake))
    until(lambda: stage.fake.requests)


class Row(NamedTuple):
    """What is blocked, which button ends it, how many calls of a job hang, and how tasks are left."""

    block: Callable[[Stage], None]
    is_job: bool = False
    hanging: int = 0
    left: tuple[str, str | None] = ("stopped", "stopped_by_user")


ROWS = {
    "before headers": Row(on_the_line(HANG)),
    "in a stream": Row(
        on_the_line(Script(STREAM_HEAD * 9, content_type="text/event-stream", stop_at=len(STREAM_HEAD), ending="hang"))
    ),
    "in a download": Row(in_a_download),
    "in a retry wait": Row(
        on_the_line(Script.error(503, "", headers={"Retry-After": "300"}), max_retries=5, retry_interval=60)
    ),
    "decompression": Row(unpacking),
    "decoding": Row(decoding),
    "converting to WebP": Row(converting("webp", "webp_apart")),
    "converting to PNG": Row(converting("png", "encoded")),
    "hashing": Row(hashing, is_job=True),
    "registering": Row(registering, is_job=True),
    "exporting": Row(exporting, is_job=True),
    "judging": Row(lambda stage: stage.judged(HANG), is_job=True, hanging=3),
    "in a judgement": Row(
        lambda stage: stage.judged(Script(b"x" * 99, stop_at=9, ending="hang")), is_job=True, hanging=3
    ),
    "polling": Row(polling),
    "uploading": Row(uploading),
    "ordering a batch": Row(ordering, left=("processing", None)),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The program."""
    with open_door(tmp_path_factory.mktemp("data")) as opened:
        yield opened


@pytest.fixture
def door(program: Door) -> Iterator[Door]:
    """The program, with nothing in it."""
    yield program
    program.post("/api/tasks/clear")


@pytest.mark.parametrize("name", ROWS)
def test_stop_is_now(door: Door, tmp_path: Path, name: str) -> None:
    """The reply comes at once, everything ends, every socket is closed, and the next batch goes through."""
    row = ROWS[name]
    with FakeUpstream() as fake, FakeUpstream() as other:
        row.block(Stage(door, fake, tmp_path))
        begun = time.monotonic()
        answer = door.post("/api/dataset/stop" if row.is_job else "/api/tasks/stop")
        replied = time.monotonic() - begun
        assert answer["stopped"] is True
        assert door.app.jobs.wait_idle(CLOSED)
        assert door.app.wait_idle(CLOSED), "still running"
        idle = time.monotonic() - begun
        if row.is_job:  # what was there before may use its connection again
            until(lambda: fake.hang_ups == row.hanging, CLOSED)
        else:
            assert fake.wait_for_no_connections(CLOSED), "sockets are still open"
        gone = time.monotonic() - begun
        if row.is_job:
            assert door.get("/api/dataset/job")["job"]["status"] == "stopped"
            assert not list((tmp_path / "sets").iterdir() if (tmp_path / "sets").exists() else ())
        else:
            tasks = door.tasks()
            assert {(task["status"], (task["error"] or {}).get("code")) for task in tasks} == {row.left}
            assert answer["affected"] == len(tasks)
        other.answer(inline(CHAT, picture(900)))
        again = time.monotonic()
        door.start(source_folder(tmp_path / "next", 1, first=500), config_for(other))
        assert other.wait_for_requests(1, NEXT)
        started = time.monotonic() - again
        door.wait_idle()
        seconds = {"reply": replied, "ended": idle, "sockets closed": gone, "next batch": started}
        print(f"{name}: " + ", ".join(f"{what} {1000 * value:.0f} ms" for what, value in seconds.items()))
        assert replied <= REPLY
        assert gone <= CLOSED
        assert started <= NEXT


def test_stop_in_a_tls_handshake(door: Door, tmp_path: Path) -> None:
    """A server that takes the connection and never speaks TLS."""
    with Peer(until_closed) as silent, FakeUpstream() as other:
        config = config_for(other, concurrency_limit=CALLS, timeout_seconds=300)
        config["api_url"] = silent.url("/v1/chat/completions").replace("http:", "https:")
        door.start(source_folder(tmp_path / "in", CALLS), config)
        assert silent.wait_for_clients(CALLS, 20)
        door.post("/api/tasks/stop")
        assert silent.wait_for_none(CLOSED)
        assert door.app.wait_idle(CLOSED)


def test_what_had_arrived_stays(door: Door, tmp_path: Path) -> None:
    """A stop in the middle keeps every result that was there, and resuming asks only for the others."""
    with FakeUpstream() as fake:
        answered: list[int] = []

        def answer(_: Received) -> Script:
            answered.append(1)
            number = len(answered)
            return inline(CHAT, picture(1000 + number)) if number <= 20 else HANG

        fake.answer_with(answer)
        door.start(source_folder(tmp_path / "in", 50), config_for(fake, concurrency_limit=CALLS, timeout_seconds=300))
        until(lambda: sum(task["status"] == "done" for task in door.tasks()) == 20)
        until(lambda: len(answered) == 50)
        door.post("/api/tasks/stop")
        door.wait_idle()
        before = {task["id"]: task["results"] for task in door.tasks() if task["status"] == "done"}
        assert len(before) == 20
        numbers = iter(range(2000, 3000))
        fake.answer_with(lambda _: inline(CHAT, picture(next(numbers))))
        assert door.post("/api/tasks/resume")["resumed_count"] == 30
        door.wait_idle()
        tasks = {task["id"]: task for task in door.tasks()}
        assert all(tasks[task_id]["results"] == results for task_id, results in before.items())
        assert {task["status"] for task in tasks.values()} == {"done"}
        assert len(fake.api_requests) == 50 + 30
