"""Stop is now, for the whole program: 64 calls blocked in every phase, the button, and the next batch behind it.

``FULL=1`` holds the figures themselves; else bounds that a busy machine keeps.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engine.config import ApiMode
from tests.fakes.peers import Peer, until_closed
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import Door, config_for, open_door, until
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline

CALLS = 64
SLACK = 1.0 if os.environ.get("FULL") == "1" else 15.0
REPLY, CLOSED, NEXT = 0.2 * SLACK, 1.0 * SLACK, 1.0 * SLACK
STREAM_HEAD = b'data: {"choices": [{"index": 0, "delta": {"content": "thinking"}}]}\n\n'


class Scene(NamedTuple):
    """Where the calls are blocked: how the API behaves, and when all are there."""

    answer: Callable[[FakeUpstream], Script]
    blocked: Callable[[FakeUpstream], bool]
    changes: dict[str, Any]


def hanging_download(fake: FakeUpstream) -> Script:
    """An answer whose picture never comes."""
    url = fake.route("/files/never.png", Script(silent=True))
    return Script.json({"choices": [{"message": {"content": f"![image]({url})"}}]})


def all_connected(fake: FakeUpstream) -> bool:
    """Every call has its connection and has been read."""
    return len(fake.requests) >= CALLS and fake.connections >= CALLS


SCENES = {
    "before headers": Scene(lambda _: Script(silent=True), all_connected, {}),
    "in the middle of a stream": Scene(
        lambda _: Script(STREAM_HEAD * 9, 200, "text/event-stream", stop_at=len(STREAM_HEAD), ending="hang"),
        all_connected,
        {},
    ),
    "in a download": Scene(hanging_download, lambda fake: len(fake.requests) >= 2 * CALLS, {}),
    "in a retry wait": Scene(
        lambda _: Script.error(503, "busy", headers={"Retry-After": "300"}),
        lambda fake: len(fake.requests) >= CALLS,
        {"max_retries": 5, "retry_interval": 60},
    ),
}


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """The program."""
    with open_door(tmp_path / "data") as opened:
        yield opened


def stop_and_go_on(door: Door, closed: Callable[[float], bool], next_fake: FakeUpstream, source: Path) -> None:
    """Stop, and hold the reply, the sockets and the start of the next batch against the clock."""
    begun = time.monotonic()
    answer = door.post("/api/tasks/stop")
    replied = time.monotonic() - begun
    assert answer["stopped"] is True
    assert answer["affected"] >= CALLS
    assert closed(CLOSED), "sockets are still open"
    gone = time.monotonic() - begun
    next_fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(900)))
    before = len(next_fake.requests)
    again = time.monotonic()
    until(lambda: door.ask("POST", "/api/tasks/start", body(source, next_fake)).status_code == 200, NEXT)
    until(lambda: len(next_fake.requests) > before, NEXT)
    started = time.monotonic() - again
    print(f"reply {replied * 1000:.0f} ms, sockets closed {gone * 1000:.0f} ms, next batch {started * 1000:.0f} ms")
    assert replied <= REPLY
    assert gone <= CLOSED
    assert started <= NEXT
    door.wait_idle()


def body(source: Path, fake: FakeUpstream, **changes: Any) -> dict[str, Any]:
    """A start with all at once."""
    config = config_for(fake, concurrency_limit=CALLS, timeout_seconds=300, **changes)
    return {"input_path": str(source), "config": config}


@pytest.mark.parametrize("phase", SCENES)
def test_stop_in_every_phase(door: Door, tmp_path: Path, phase: str) -> None:
    """The reply comes at once, every socket is closed, and the next batch starts."""
    scene = SCENES[phase]
    with FakeUpstream() as fake, FakeUpstream() as other:
        fake.answer(scene.answer(fake))
        door.post("/api/tasks/start", body(source_folder(tmp_path / "in", CALLS + 6), fake, **scene.changes))
        until(lambda: scene.blocked(fake))
        stop_and_go_on(door, fake.wait_for_no_connections, other, source_folder(tmp_path / "next", 3, first=500))
        stopped = [task for task in door.tasks() if task["status"] == "stopped"]
        assert len(stopped) == CALLS + 6
        assert {task["error"]["code"] for task in stopped} == {"stopped_by_user"}


def test_stop_in_a_tls_handshake(door: Door, tmp_path: Path) -> None:
    """A server that takes the connection and never speaks TLS."""
    with Peer(until_closed) as silent, FakeUpstream() as other:
        start = body(source_folder(tmp_path / "in", CALLS), other)
        start["config"]["api_url"] = silent.url("/v1/chat/completions").replace("http:", "https:")
        door.post("/api/tasks/start", start)
        assert silent.wait_for_clients(CALLS, 20)
        stop_and_go_on(door, silent.wait_for_none, other, source_folder(tmp_path / "next", 3, first=500))


def test_what_had_arrived_stays(door: Door, tmp_path: Path) -> None:
    """A stop in the middle keeps every result that was there, and resuming asks only for the others."""
    with FakeUpstream() as fake:
        answered: list[int] = []

        def answer(_: Received) -> Script:
            answered.append(1)
            number = len(answered)
            return inline(ApiMode.CHAT_COMPLETIONS, picture(1000 + number)) if number <= 20 else Script(silent=True)

        fake.answer_with(answer)
        door.post("/api/tasks/start", body(source_folder(tmp_path / "in", 50), fake))
        until(lambda: sum(task["status"] == "done" for task in door.tasks()) == 20)
        until(lambda: len(answered) == 50)
        door.post("/api/tasks/stop")
        door.wait_idle()
        before = {task["id"]: task["results"] for task in door.tasks() if task["status"] == "done"}
        assert len(before) == 20
        numbers = iter(range(2000, 3000))
        fake.answer_with(lambda _: inline(ApiMode.CHAT_COMPLETIONS, picture(next(numbers))))
        assert door.post("/api/tasks/resume")["resumed_count"] == 30
        door.wait_idle()
        tasks = {task["id"]: task for task in door.tasks()}
        assert all(tasks[task_id]["results"] == results for task_id, results in before.items())
        assert {task["status"] for task in tasks.values()} == {"done"}
        assert len(fake.api_requests) == 50 + 30
