"""xAI's Batch API: an empty batch is made, lines are added to it by calls of at most 25 MB, results come by pages while
it runs, with links that live an hour. Source: its API reference and its published protocol files (batch.proto).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from engine.config import ApiConfig, BatchProvider, RequestForm, ResponseFormat, StreamChoice
from engine.errors import AnswerUnusable, Code, UpstreamRefused
from engine.upstream.batches.steps import (
    DAY_SECONDS,
    MOST_PAGES,
    BatchState,
    BatchView,
    Known,
    LineResult,
    Lines,
    Note,
    Place,
    Steps,
    Uploaded,
    bad_line,
    beside_edits,
    items_of,
    moment,
    number_of,
    refuses,
    segment,
    text_of,
)
from engine.upstream.request import SourcePicture, build_request

HOST = "api.x.ai"
CALL_BYTES = 25_000_000
_ROOM = 200_000  # of a call for what is around its lines
_PAGE = 100
_MOST_LINES = 50_000
_CROWDED = 429
_HEAD = b'{"batch_requests":['


class XAI:
    """See `steps.Driver`."""

    provider = BatchProvider.XAI
    max_lines = _MOST_LINES
    max_bytes = 2_000_000_000
    max_line_bytes = CALL_BYTES - _ROOM
    price = 1.0
    window = DAY_SECONDS
    uploads = False
    says_expired = False

    def place(self, config: ApiConfig) -> Place | None:
        """The API that ``images/edits`` belongs to."""
        return beside_edits(config)

    def line(self, place: Place, key: str, pictures: Sequence[SourcePicture], files: Sequence[str]) -> dict[str, Any]:  # noqa: ARG002 - see Driver
        """The body of the live call as an ``image_edit``: one line of another kind would cancel the whole batch."""
        config = place.config
        body = msgspec.json.decode(
            build_request(
                msgspec.structs.replace(config, stream=StreamChoice.OFF), pictures, form=RequestForm.JSON
            ).body
        )
        for name in ("image", "images"):
            parts = body.get(name)
            for part in parts if isinstance(parts, list) else [parts] if isinstance(parts, dict) else []:
                part.setdefault("type", "image_url")
        if config.response_format is ResponseFormat.AUTO and "response_format" not in config.extra_body:
            body.pop("response_format", None)
        if body.get("n") == 1 and "n" not in config.extra_body:
            del body["n"]
        if not isinstance(body.get("prompt"), str) or not body["prompt"].strip():
            raise bad_line(key, "prompt")
        if not body.get("model"):
            raise bad_line(key, "model")
        if named := next((name for name in ("stream", "partial_images") if body.get(name)), ""):
            raise bad_line(key, named)
        return {"batch_request_id": key, "batch_request": {"image_edit": body}}

    def upload(self, place: Place, picture: SourcePicture) -> Steps[Uploaded]:
        """Pictures go along in the lines."""
        raise NotImplementedError

    def create(self, place: Place, known: Known, lines: Lines) -> Steps[None]:
        """An empty batch, then the lines. After a cut: which lines are there is asked first."""
        provider_id, there = known.provider_id, frozenset[str]()
        if known.creating:
            provider_id, found = yield from self.find(place, known)
            if found is None:
                yield Note(provider_id=provider_id)
                return
            there = found
        if not provider_id:
            yield Note(creating=True)
            document = (yield place.ask("POST", "/batches", {"name": known.name}, again=False)).document
            provider_id = text_of(document, "batch_id", "id")
            if not provider_id:
                raise AnswerUnusable(Code.UPLOAD_FAILED, path="batch_id", found="batch_id")
        yield Note(provider_id=provider_id)
        refused: dict[str, str] = {}
        for keys, body in _calls(lines, there):
            yield Note(creating=True)
            try:
                yield place.ask("POST", f"/batches/{segment(provider_id)}/requests", body, again=False)
            except UpstreamRefused as error:
                if not refuses(error) or error.http_status == _CROWDED:
                    raise
                refused |= dict.fromkeys(keys, str(error.params.get("message") or error.code))
        if refused:
            yield Note(refused=refused)

    def find(self, place: Place, known: Known) -> Steps[tuple[str, frozenset[str] | None]]:
        """Among all batches the one of our name with no line but ours, and the lines that it has."""
        candidates = [known.provider_id] if known.provider_id else []
        token = ""
        for _ in range(0 if candidates else MOST_PAGES):
            path = f"/batches?limit={_PAGE}" + (f"&pagination_token={segment(token)}" if token else "")
            page = (yield place.ask("GET", path)).document
            items = items_of(page, "batches")
            candidates += [text_of(item, "batch_id", "id") for item in items if item.get("name") == known.name]
            token = text_of(page, "pagination_token")
            if not token:
                break
        for candidate in candidates:
            there = yield from _keys_in(place, candidate, len(known.keys))
            if there is None or there <= known.keys:
                return candidate, there
        return "", frozenset()

    def look(self, place: Place, provider_id: str) -> Steps[BatchView]:
        """It has ended when nothing is pending; results are there all the time. Of expiry only the time is told."""
        document = (yield place.ask("GET", f"/batches/{segment(provider_id)}")).document
        counts = document.get("state")
        pending, every = number_of(counts, "num_pending"), number_of(counts, "num_requests")
        stopped = bool(document.get("cancel_time"))
        told = text_of(document, "cancel_by_xai_message")
        open_ = pending > 0 or (every == 0 and not stopped)
        state = BatchState.OPEN if open_ else BatchState.CANCELLED if stopped else BatchState.ENDED
        return BatchView(
            state,
            number_of(counts, "num_success"),
            number_of(counts, "num_error"),
            moment(text_of(document, "expire_time", "expires_at")),
            complaint={"message": told} if told else None,
        )

    def results_url(self, place: Place, provider_id: str, token: str) -> str:
        """A page of at most a hundred."""
        path = f"/batches/{segment(provider_id)}/results?limit={_PAGE}"
        return place.url(path + (f"&pagination_token={segment(token)}" if token else ""))

    def read_page(self, document: dict[str, Any]) -> tuple[list[LineResult], str]:
        """``results``, and where the next ones are."""
        found = [self.read_line(item) for item in items_of(document, "results")]
        return [result for result in found if result is not None], text_of(document, "pagination_token")

    def read_line(self, document: Any) -> LineResult | None:
        """``batch_result`` holds the response under the name of its kind, or an error."""
        key = text_of(document, "batch_request_id") if isinstance(document, dict) else ""
        if not key:
            return None
        outer = document.get("batch_result")
        outer = outer if isinstance(outer, dict) else document
        response = outer.get("response")
        error = outer.get("error") or document.get("error") or text_of(document, "error_message")
        if isinstance(response, dict) and not error:
            inner = next(iter(response.values()), None) if len(response) == 1 else None
            return LineResult(key, document=inner if isinstance(inner, dict) else response)
        if document.get("state") in ("cancelled", "STATE_CANCELLED"):
            return LineResult(key, complaint=error or "cancelled", lost=BatchState.CANCELLED)
        return LineResult(key, complaint=error or "no response")

    def cancel(self, place: Place, provider_id: str) -> Steps[None]:
        """What is done by then stays."""
        yield place.ask("POST", f"/batches/{segment(provider_id)}:cancel", b"")

    def remove(self, place: Place, file: str) -> Steps[None]:  # noqa: ARG002 - see Driver
        """Nothing was uploaded beside the lines."""
        yield from ()


def _keys_in(place: Place, provider_id: str, most: int) -> Steps[frozenset[str] | None]:
    """Keys of the lines in a batch; None where it is not told which, and taken to be all: what is not there after all
    will have no result, and can be asked for then."""
    keys: set[str] = set()
    token = ""
    for _ in range(_MOST_LINES // _PAGE):
        path = f"/batches/{segment(provider_id)}/requests?limit={_PAGE}"
        try:
            page = (yield place.ask("GET", path + (f"&pagination_token={segment(token)}" if token else ""))).document
        except UpstreamRefused as error:
            if error.http_status not in (404, 405):
                raise
            counts = (yield place.ask("GET", f"/batches/{segment(provider_id)}")).document.get("state")
            there = number_of(counts, "num_requests")
            return frozenset() if there == 0 else None if there <= most else frozenset({""})
        items = items_of(page, "batch_request_metadata", "batch_requests", "requests")
        keys |= {text_of(item, "batch_request_id") for item in items}
        token = text_of(page, "pagination_token")
        if not token or not items:
            break
    return frozenset(keys)


def _calls(lines: Lines, there: frozenset[str]) -> Iterator[tuple[list[str], bytes]]:
    """Bodies that fit, with the keys in them; without the lines that are there already."""
    keys: list[str] = []
    parts: list[bytes] = []
    size = 0
    for line in lines:
        key = msgspec.json.decode(line, type=_Key).batch_request_id
        if key in there:
            continue
        if parts and size + len(line) > CALL_BYTES - _ROOM:
            yield keys, _HEAD + b",".join(parts) + b"]}"
            keys, parts, size = [], [], 0
        keys.append(key)
        parts.append(line)
        size += len(line) + 1
    if parts:
        yield keys, _HEAD + b",".join(parts) + b"]}"


class _Key(msgspec.Struct, frozen=True):
    batch_request_id: str


def is_xai(url: str) -> bool:
    """Whether a URL is xAI's own."""
    return (urlsplit(url).hostname or "").rstrip(".").lower() == HOST
