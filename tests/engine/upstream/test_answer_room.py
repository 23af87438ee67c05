"""The bound for answers: how much all that is being read may take at once, and that nobody waits for ever."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import ApiConfig, ApiMode
from engine.errors import Code
from engine.tasks.attempt import AttemptOrder, AttemptOutcome, LocalAttempts, Source
from engine.tasks.attempt_alone import attempt_alone
from engine.upstream.answer_room import AnswerRoom
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy
from engine.upstream.spool import BLOCK_BYTES, MOST_BYTES, Spool, Spooled
from engine.upstream.transport import Transport
from tests.bench.gateway import Picture as LargePicture
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import until
from tests.support.pictures import picture
from tests.support.replies import PATHS, by_url, inline

ROOT = Path(__file__).resolve().parents[3]
FULL = os.environ.get("FULL") == "1"
MEGABYTES = 1024  # for all of the program
LARGE = LargePicture(500_000, 1).numbered(7)


class Quiet:
    """An answer whose head promises nothing; notes how long nobody read it."""

    announced = 0

    def __init__(self) -> None:
        self.unread = 0.0

    def end_within(self, seconds: float) -> None:
        """It does not end by itself."""

    def extend(self, seconds: float) -> None:
        """Once for each wait."""
        self.unread += seconds


@pytest.mark.parametrize("disk", [MOST_BYTES, 3 * BLOCK_BYTES, 0])
def test_readers_beyond_the_bound_wait_and_all_come_to_their_end(disk: int) -> None:
    """Eight that want twice the bound together, whatever the disk takes: no more is held than the bound and one of
    them, every byte comes in order, and where the disk takes all nobody's sender waits."""
    spool = Spool(disk)
    room, most, lines = AnswerRoom(4 * 2**20, spool), 0, [Quiet() for _ in range(8)]
    pieces = [bytes([number]) * 70_000 for number in range(5)]
    begin, lock = threading.Barrier(8), threading.Lock()

    def arriving() -> Iterator[bytes]:
        for piece in pieces:
            begin.wait(30) if disk == MOST_BYTES else None
            yield piece

    def read(number: int) -> bytes:
        nonlocal most
        with room.reading() as held:
            got = []
            for piece in held.body(lines[number], arriving()):
                got.append(piece)
                with lock:
                    most = max(most, room._used)
            return b"".join(got)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(8))) == {b"".join(pieces)}
    assert most <= room.most + 3 * 350_000
    assert (room._used, room._over, list(room._waiting)) == (0, None, [])
    assert (spool.blocks_used, spool._file) == (0, None)
    if disk == MOST_BYTES:
        assert not any(line.unread for line in lines)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3 * BLOCK_BYTES), st.booleans()), max_size=12))
def test_what_is_put_away_comes_back(steps: list[tuple[int, int, bool]]) -> None:
    """Of several answers in turn, in pieces of any size, with a disk that is soon full: the very bytes that were taken,
    in order, and no block and no file is left."""
    spool = Spool(6 * BLOCK_BYTES)
    spooled, kept = [Spooled(spool) for _ in range(3)], [b"", b"", b""]
    for step, (which, size, takes_out) in enumerate(steps):
        piece = bytes([step]) * size
        kept[which] += piece if spooled[which].add(piece) else b""
        assert spooled[which].size == len(kept[which])
        if takes_out:
            assert b"".join(spooled[which].pieces()) == kept[which]
            kept[which] = b""
    for one, expected in zip(spooled, kept, strict=True):
        assert b"".join(one.pieces()) == expected
        one.close()
    assert (spool.blocks_used, spool._file) == (0, None)


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeUpstream]:
    """A paid API."""
    with FakeUpstream() as running:
        yield running


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AnswerRoom:
    """One that a single answer fills."""
    small = AnswerRoom(2**20, Spool())
    small.spool.folder = tmp_path
    monkeypatch.setattr("engine.tasks.attempt.ANSWERS", small)
    return small


@pytest.fixture
def transport() -> Iterator[Transport]:
    """Connections of one test."""
    made = Transport(NetPolicy())
    yield made
    made.close()


def asked(url: str, transport: Transport, cancel: CancelToken, count: int) -> list[Future[AttemptOutcome]]:
    """So many attempts at once."""
    data = picture(1, size=(8, 8))
    source = Source("a.png", "a.png", "image/png", hashlib.sha256(data).hexdigest(), data)
    config = ApiConfig(
        api_url=url, user_prompt="dusk", unlock_local_api_url=True, unlock_local_download_url=True,
        max_retries=0, timeout_seconds=60,
    )  # fmt: skip
    pool = ThreadPoolExecutor(count)
    order = AttemptOrder((source,), config)
    futures = [pool.submit(attempt_alone, order, LocalAttempts(transport), cancel) for _ in range(count)]
    pool.shutdown(wait=False)
    return futures


KINDS: dict[str, tuple[ApiMode, dict[str, Any]]] = {
    "json": (ApiMode.IMAGES_EDITS, {}),
    "chunked": (ApiMode.IMAGES_EDITS, {"framing": "chunked"}),
    "stream that stays open": (ApiMode.CHAT_COMPLETIONS, {"framing": "close", "stop_at": 10**9, "ending": "hang"}),
    "url": (ApiMode.IMAGES_EDITS, {}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stopped", [False, True])
def test_answers_that_find_no_room_come_whole(
    fake: FakeUpstream, room: AnswerRoom, transport: Transport, kind: str, stopped: bool
) -> None:
    """They lie on the disk until their turn, with no sender waiting; also those that had come when a stop came, which
    closes every connection at once."""
    mode, changes = KINDS[kind]
    link = fake.picture(LARGE)
    fake.answer(by_url(mode, link) if kind == "url" else inline(mode, LARGE, **changes))
    cancel = CancelToken()
    with room.reading() as other:
        room.wait(other, 2 * room.most)
        futures = asked(fake.url(PATHS[mode]), transport, cancel, 4)
        until(lambda: len(room._waiting) == len(futures))
        assert room.spool.blocks_used >= len(futures)
        if stopped:
            cancel.cancel()
            transport.drop_idle()
            assert fake.wait_for_no_connections(10)
    outcomes = [future.result(30) for future in futures]
    assert [[one.data for one in outcome.pictures] for outcome in outcomes] == [[LARGE]] * len(futures)
    assert (room._used, room.spool.blocks_used) == (0, 0)


def test_a_stop_keeps_what_had_come_of_a_stream_without_room(
    fake: FakeUpstream, room: AnswerRoom, transport: Transport
) -> None:
    """The picture of its first event, whole on the disk while the second one was still to come."""
    mode = ApiMode.CHAT_COMPLETIONS
    script = inline(mode, LARGE, framing="close", ending="hang")
    fake.answer(dataclasses.replace(script, stop_at=len(script.body) - 20))
    cancel = CancelToken()
    with room.reading() as other:
        room.wait(other, 2 * room.most)
        [future] = asked(fake.url(PATHS[mode]), transport, cancel, 1)
        until(lambda: room.spool.blocks_used * BLOCK_BYTES > len(LARGE))
        cancel.cancel()
        assert fake.wait_for_no_connections(10)
    outcome = future.result(30)
    assert [one.data for one in outcome.pictures] == [LARGE]
    assert outcome.failure is not None
    assert outcome.failure.problem.code is Code.STOPPED_BY_USER


def test_small_answers_never_wait_and_never_touch_a_file(
    fake: FakeUpstream, room: AnswerRoom, transport: Transport
) -> None:
    """While others hold all there is."""
    url = fake.url(PATHS[ApiMode.IMAGES_EDITS])
    fake.answer(inline(ApiMode.IMAGES_EDITS, picture(2)))
    with room.reading() as other:
        room.wait(other, 2 * room.most)
        outcomes = [one.result(30) for one in asked(url, transport, CancelToken(), 4)]
        assert room.spool._blocks == 0
    assert [[one.data for one in outcome.pictures] for outcome in outcomes] == [[picture(2)]] * 4


if FULL:  # gigabytes over loopback: scripts/full_counts.sh answers

    @pytest.mark.timeout(1800)
    @pytest.mark.parametrize("kind", ["endless line", "one line", "one value", "many values", "one picture"])
    def test_sixty_four_hostile_answers_stay_within_a_gigabyte(kind: str) -> None:
        """Each as large as an answer may be, all at once, against the whole program."""
        command = [sys.executable, str(ROOT / "tests/faults/answer_flood.py"), kind, "64"]
        said = subprocess.run(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
        ).stdout
        print(said)
        assert json.loads(said)["peak_mb"] <= MEGABYTES
