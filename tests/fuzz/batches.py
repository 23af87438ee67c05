"""What a provider says of a batch, made from bytes: talks of the three drivers, and the answers that they get."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from engine.config import BatchProvider, parse_stored
from engine.errors import ConsoleError
from engine.upstream.batches.choice import driver_of
from engine.upstream.batches.steps import BatchState, Driver, Known, LineResult, Note, Place, Reply, Steps
from engine.upstream.failure import event_failure, status_failure
from tests.fuzz.recipes import Choices

_PROVIDERS = ("openai", "gemini", "xai")
_TEMPLATES = json.loads((Path(__file__).parents[2] / "assets" / "presets.json").read_bytes())["templates"]
NAME, KEY = "ibc-0123", "t1"
_FIELDS = (
    "id", "data", "metadata", "name", "input_file_id", "has_more", "last_id", "status", "request_counts", "completed",
    "failed", "expires_at", "output_file_id", "error_file_id", "errors", "error", "code", "message", "custom_id",
    "response", "status_code", "body", "operations", "batches", "inputConfig", "fileName", "displayName",
    "nextPageToken", "state", "batchStats", "successfulRequestCount", "createTime", "done", "output", "responsesFile",
    "key", "file", "batch_id", "batch_request_metadata", "batch_request_id", "batch_result", "pagination_token",
    "num_pending", "num_requests", "num_success", "cancel_time", "expire_time", "results", "cancel_by_xai_message",
)  # fmt: skip
_TEXTS = (
    NAME, KEY, "file-1", "batches/b1", "../x", "completed", "expired", "JOB_STATE_SUCCEEDED", "BATCH_STATE_EXPIRED",
    "batch_expired", "9" * 400, "-1", "nan", "1e999", "2026-11-30T00:00:00Z", "0001-01-01T00:00:00+14:00", "a/b?c#d",
)  # fmt: skip


def _value(by: Choices, depth: int) -> Any:
    match by.number(10 if depth else 7):
        case 0 | 1:
            return _TEXTS[by.number(len(_TEXTS))]
        case 2:
            return (None, True, False, 0)[by.number(4)]
        case 3:
            return by.number(256) - 3
        case 4:
            return (1e308, -0.5, 10**18, 2.0**70)[by.number(4)]
        case 5:
            return by.text()
        case 6:
            return {}
        case 7:
            return [_value(by, depth - 1) for _ in range(by.number(4))]
    return {_FIELDS[by.number(len(_FIELDS))]: _value(by, depth - 1) for _ in range(by.number(6))}


class _Lines:
    """One line."""

    size = 30

    def __init__(self, line: bytes) -> None:
        self._line = line
        self.size = len(line)

    def read(self, start: int, length: int) -> bytes:
        return self._line[start : start + length]

    def __iter__(self) -> Iterator[bytes]:
        yield self._line


@cache
def _place(name: str) -> tuple[Driver, Place]:
    driver = driver_of(BatchProvider(name))
    config = next(template["config"] for template in _TEMPLATES if template["id"] == name)
    path = "" if name == "gemini" else "https://api.invalid/v1/images/edits"
    given = parse_stored({**config, "api_key": "sk-test-fuzz", "model_name": "m", "user_prompt": "p"})[0]
    given = msgspec.structs.replace(given, api_url=path or "https://api.invalid")
    place = driver.place(given)
    assert place is not None
    return driver, place


def _talk(steps: Steps[Any], by: Choices) -> Any:
    """The end of a talk in which the provider says what the bytes make it say; it ends whatever is said."""
    try:
        step = next(steps)
        for _ in range(300):
            if isinstance(step, Note):
                assert all(isinstance(text, str) for text in (step.file, step.provider_id, *step.refused.values()))
                step = steps.send(Reply())
            elif by.number(12) == 11:
                status = 400 + by.number(104)
                step = steps.throw(status_failure(status, {}, msgspec.json.encode(_value(by, 3)), 1e9))
            else:
                headers = {"x-goog-upload-url": by.text()}
                step = steps.send(Reply(200, headers, msgspec.json.encode(_value(by, 5))))
        raise AssertionError("the talk has no end")
    except StopIteration as end:
        return end.value
    except ConsoleError as error:
        msgspec.json.encode(error.problem)
        return None


def _check_line(result: LineResult | None) -> None:
    if result is not None:
        assert result.key
        assert isinstance(result.status, int)
        msgspec.json.encode(result.document)
        msgspec.json.encode(event_failure(result.complaint or "").problem)


def batch_results(data: bytes) -> None:
    """Whatever a provider says of a batch, a talk comes to its end, a line's result has its key, a view its state, and
    all of it can be kept."""
    by = Choices(data)
    driver, place = _place(_PROVIDERS[by.number(3)])
    raw = data[1:] if data[1:2] in (b"{", b"[") else b""
    try:
        document = msgspec.json.decode(raw) if raw else _value(by, 5)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return
    _check_line(driver.read_line(document))
    if isinstance(document, dict):
        found, token = driver.read_page(document)
        assert isinstance(token, str)
        for result in found:
            _check_line(result)
    known = Known(NAME, frozenset({KEY}), ("", "file-1")[by.number(2)], bool(by.number(2)), ("", "b1")[by.number(2)])
    line = msgspec.json.encode({"batch_request_id": KEY})
    _talk(driver.create(place, known, _Lines(line)), by)
    there = _talk(driver.find(place, known), by)
    assert there is None or isinstance(there[0], str)
    view = _talk(driver.look(place, "batches/b1"), by)
    if view is not None:
        assert view.state in BatchState
        assert view.expires_at is None or math.isfinite(view.expires_at)
        assert all(url.startswith("https://api.invalid/") for url in view.files), view.files
        assert min(view.done, view.failed) > -(2**63)
        event_failure(view.complaint or "")
        msgspec.json.encode(view.complaint)
