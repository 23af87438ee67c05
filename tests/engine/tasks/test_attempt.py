"""One attempt is plain data: pickled, made in another process, it comes to the same as here."""

from __future__ import annotations

import base64
import hashlib
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from engine.config import ApiConfig, ApiMode
from engine.errors import AnswerUnusable, Code, InvalidInput, NetworkFailed, Stopped, UpstreamRefused
from engine.tasks.attempt import AttemptOrder, AttemptOutcome, LocalAttempts, Source
from engine.tasks.attempt_alone import attempt_alone
from engine.tasks.failures import Failure
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy
from engine.upstream.transport import Transport
from tests.fakes.upstream import FakeUpstream, Script
from tests.support.pictures import picture
from tests.support.replies import PATHS, by_url, inline

ROOT = Path(__file__).resolve().parents[3]
EDITS = ApiMode.IMAGES_EDITS
ELSEWHERE = """
import pickle, sys
from engine.tasks.attempt import LocalAttempts
from engine.tasks.attempt_alone import attempt_alone
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy
from engine.upstream.transport import Transport
orders = pickle.load(sys.stdin.buffer)
attempts = LocalAttempts(Transport(NetPolicy()))
pickle.dump([attempt_alone(order, attempts, CancelToken()) for order in orders], sys.stdout.buffer)
"""


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeUpstream]:
    """A paid API on a loopback port."""
    with FakeUpstream() as running:
        yield running


def here(order: AttemptOrder) -> AttemptOutcome:
    """The attempt made by this process."""
    transport = Transport(NetPolicy())
    try:
        return attempt_alone(order, LocalAttempts(transport), CancelToken())
    finally:
        transport.close()


def elsewhere(orders: list[AttemptOrder]) -> list[AttemptOutcome]:
    """The attempts made by another process, which gets nothing but the pickled orders."""
    sent = pickle.dumps(orders)
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], input=sent, capture_output=True, cwd=ROOT, check=True)
    outcomes: list[AttemptOutcome] = pickle.loads(done.stdout)
    return outcomes


def timeless(outcome: AttemptOutcome) -> AttemptOutcome:
    """Without what differs from call to call: times, and the headers that name them."""
    entries = [msgspec.structs.replace(entry, at=0) for entry in outcome.log if entry.kind != "status"]
    return msgspec.structs.replace(outcome, log=entries)


def test_another_process_comes_to_the_same(fake: FakeUpstream, tmp_path: Path) -> None:
    """Pictures inline and by URL, half an answer, refusals with their wait: outcome, bytes and log are equal."""
    source = tmp_path / "a.png"
    source.write_bytes(picture(1))
    digest = hashlib.sha256(picture(1)).hexdigest()
    file = fake.route("/file.png", Script(picture(3), content_type="image/png"))
    broken = {"b64_json": base64.b64encode(b"no picture").decode()}
    half = {"data": [{"b64_json": base64.b64encode(picture(2)).decode()}, broken]}
    scripts: list[Callable[[], Script]] = [
        lambda: inline(EDITS, picture(2), picture(3)),
        lambda: by_url(EDITS, file),
        lambda: Script.json(half),
        lambda: Script.error(401, "bad key"),
        lambda: Script.error(429, "slow down", headers={"Retry-After": "7"}),
        lambda: Script.json({"data": []}),
    ]
    config = ApiConfig(
        api_url=fake.url(PATHS[EDITS]),
        api_key="secret-key",
        user_prompt="bluer",
        unlock_local_api_url=True,
        unlock_local_download_url=True,
        max_retries=0,
    )
    by_bytes = Source(str(source), "a.png", "image/png", digest, picture(1))
    by_path = Source(str(source), "a.png", "image/png", digest)
    orders = [AttemptOrder((by_path if number % 2 else by_bytes,), config) for number in range(len(scripts))]
    orders.append(AttemptOrder((Source(str(source), "a.png", "image/png", "0" * 64),), config))
    near = []
    for order, script in zip(orders, [*scripts, scripts[0]], strict=True):
        fake.answer(script())
        near.append(here(order))
    fake.answer(*(script() for script in scripts))
    far = elsewhere(orders)
    assert [timeless(outcome) for outcome in far] == [timeless(outcome) for outcome in near]
    assert [len(outcome.pictures) for outcome in far] == [2, 1, 1, 0, 0, 0, 0]
    assert far[1].pictures[0].data == picture(3)
    assert far[2].warning is not None
    assert far[2].warning.code is Code.SOME_CANDIDATES_REFUSED
    codes = [outcome.failure.problem.code for outcome in far if outcome.failure is not None]
    assert codes[:2] == [Code.KEY_REFUSED, Code.RATE_LIMITED]
    assert codes[3] is Code.SOURCE_CHANGED
    assert far[4].failure is not None
    assert far[4].failure.retry_after == 7
    assert b"secret-key" not in pickle.dumps(far)


@pytest.mark.parametrize(
    "error",
    [
        Stopped(),
        InvalidInput(Code.SOURCE_CHANGED, field="input_path", path="/a"),
        NetworkFailed(Code.CONNECTION_LOST, retryable=True, retry_after=2.5, host="x"),
        UpstreamRefused(Code.RATE_LIMITED, retryable=True, http_status=429, status=429, retry_after=1.0, message="m"),
        AnswerUnusable(Code.STREAM_CUT, retryable=True, events=3),
    ],
)
def test_a_failure_is_the_same_error_again(error: Exception) -> None:
    """Type, code, parameters and what they say of asking again survive being plain data."""
    again = pickle.loads(pickle.dumps(Failure.of(error))).error  # type: ignore[arg-type]
    assert type(again) is type(error)
    assert vars(again) == vars(error)
