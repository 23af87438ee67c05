"""What bounds a provider's listings and files of results, where it sends pages or a line without an end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.config import BatchProvider, parse_stored
from engine.errors import AnswerUnusable, Code, NetworkFailed
from engine.tasks import batch_calls
from engine.tasks.batch_calls import BatchCalls, Spool
from engine.tasks.provider_batches import _in_groups
from engine.upstream.batches.choice import driver_of
from engine.upstream.batches.steps import MOST_PAGES, Ask, Driver, Known, LineResult, Place, Reply
from engine.upstream.cancel import CancelToken
from engine.upstream.transport import Transport
from tests.fakes.peers import Peer, answering, ok
from tests.support.transport_calls import transport

__all__ = ["transport"]
TEMPLATES = json.loads((Path(__file__).parents[3] / "assets" / "presets.json").read_bytes())["templates"]
ENDLESS = {
    BatchProvider.OPENAI: {"data": [{"id": "b1"}], "has_more": True, "last_id": "b1"},
    BatchProvider.GEMINI: {"batches": [{"name": "batches/b1"}], "nextPageToken": "more"},
    BatchProvider.XAI: {"batches": [{"batch_id": "b1"}], "pagination_token": "more"},
}


def place_of(provider: BatchProvider) -> tuple[Driver, Place]:
    """A driver, and where its batches are."""
    driver = driver_of(provider)
    config = next(template["config"] for template in TEMPLATES if template["id"] == provider)
    given = parse_stored({**config, "api_key": "sk-test-bounds", "model_name": "m", "user_prompt": "p"})[0]
    url = "https://api.invalid" if provider is BatchProvider.GEMINI else "https://api.invalid/v1/images/edits"
    place = driver.place(msgspec.structs.replace(given, api_url=url, unlock_local_api_url=True))
    assert place is not None
    return driver, place


@pytest.mark.parametrize("provider", ENDLESS)
def test_a_listing_without_an_end_is_left(provider: BatchProvider) -> None:
    """The batch of ours is looked for in so many pages, and then taken not to be there."""
    driver, place = place_of(provider)
    steps = driver.find(place, Known("ibc-0123", frozenset({"t1"}), "file-1", creating=True))
    page = Reply(200, {}, msgspec.json.encode(ENDLESS[provider]))
    next(steps)
    for _ in range(MOST_PAGES - 1):
        steps.send(page)
    with pytest.raises(StopIteration) as end:
        steps.send(page)
    assert end.value.value[0] == ""


@pytest.mark.parametrize("provider", ENDLESS)
def test_what_is_added_to_calls_goes_to_the_provider_alone(provider: BatchProvider) -> None:
    """Not over plain http to the same host, nor to another one: a provider names where files are taken and given."""
    _, place = place_of(provider)
    config = msgspec.structs.replace(place.config, extra_headers={"X-Goog-Api-Key": "mine", "X-Team": "blue"})
    place = msgspec.structs.replace(place, config=config)
    assert place.headers(place.url("/x"))["X-Team"] == "blue"
    for url in ("http://api.invalid/x", "https://api.invalid:444/x", "https://b.invalid/x", "https://a@api.invalid/"):
        assert place.headers(url) == {"Accept": "application/json"}
        assert not place.may_have_pictures(url)


def test_lines_go_to_no_address_of_another_origin(tmp_path: Path) -> None:
    """Where an upload is said to go on elsewhere, no picture is sent there."""
    driver, place = place_of(BatchProvider.GEMINI)
    steps = driver.create(place, Known("ibc-0123", frozenset({"t1"})), Spool(tmp_path / "lines"))
    next(steps)
    with pytest.raises(NetworkFailed) as refused:
        steps.send(Reply(200, {"x-goog-upload-url": "https://b.invalid/upload/1"}))
    assert refused.value.code is Code.REDIRECT_REFUSED


@pytest.mark.parametrize("provider", ENDLESS)
def test_a_name_of_a_megabyte_is_none(provider: BatchProvider, tmp_path: Path) -> None:
    """It would be kept, shown, and sent with each question."""
    driver, place = place_of(provider)
    steps = driver.create(place, Known("ibc-0123", frozenset({"t1"}), "file-1"), Spool(tmp_path / "lines"))
    while not isinstance(next(steps), Ask):
        pass
    name = "n" * 2**20
    with pytest.raises(AnswerUnusable):
        steps.send(Reply(200, {}, msgspec.json.encode({"id": name, "name": name, "batch_id": name})))


def test_large_results_are_not_read_at_the_same_time() -> None:
    """Eight small ones are, and of large ones as many as fit."""
    sizes = [1] * 9 + [5 * 2**20] * 5 + [100 * 2**20] * 2
    groups = [[result.size for result in group] for group in _in_groups(LineResult("t", size=size) for size in sizes)]
    assert [len(group) for group in groups] == [8, 5, 2, 1]
    assert [size for group in groups for size in group] == sizes


def test_a_line_without_an_end_is_left_out(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never held whole; the lines before and after it count."""
    monkeypatch.setattr(batch_calls, "_LINE_BYTES", 65_536)
    driver, place = place_of(BatchProvider.OPENAI)

    def line(key: str) -> bytes:
        return msgspec.json.encode({"custom_id": key, "response": {"status_code": 200, "body": {"data": []}}}) + b"\n"

    body = line("t1") + b"x" * 1_000_000 + b"\n" + line("t2") + b"y" * 1_000_000
    with Peer(answering(ok(body))) as peer:
        results = BatchCalls(transport, place, CancelToken()).results(driver, "b1", (peer.url("/v1/files/f/content"),))
        assert [result.key for result in results] == ["t1", "t2"]


def test_pages_of_results_end(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page of results names another one: as many are read as a batch may have lines."""
    driver, place = place_of(BatchProvider.XAI)
    monkeypatch.setattr(type(driver), "max_lines", 20)
    page: dict[str, Any] = {"results": [{"batch_request_id": "t1", "error_message": "no"}]}
    pages = [ok(msgspec.json.encode({**page, "pagination_token": f"p{number}"})) for number in range(30)]
    with Peer(answering(*pages)) as peer:
        near = msgspec.structs.replace(place, base=peer.url("/v1"))
        assert len(list(BatchCalls(transport, near, CancelToken()).results(driver, "b1", ()))) == 20


if os.environ.get("FULL") == "1":  # gigabytes over loopback: scripts/full_counts.sh answers

    @pytest.mark.timeout(1800)
    @pytest.mark.parametrize(("lines", "megabytes"), [(8, 100), (64, 20)])
    def test_hostile_results_stay_within_a_gigabyte(lines: int, megabytes: int) -> None:
        """As large as they may be, against the whole program."""
        root = Path(__file__).parents[3]
        command = [sys.executable, str(root / "tests/faults/batch_flood.py"), str(lines), str(megabytes)]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        said = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True).stdout
        print(said)
        assert json.loads(said)["peak_mb"] <= 1024
