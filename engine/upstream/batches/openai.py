"""OpenAI's Batch API: pictures and lines are uploaded as files, results come as files in any order.

Source: the API reference of /v1/files and /v1/batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from engine.config import ApiConfig, BatchProvider, RequestForm, StreamChoice
from engine.errors import AnswerUnusable, Code
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
    number_of,
    segment,
    text_of,
)
from engine.upstream.request import SourcePicture, build_request, encode_form

ENDPOINT = "/v1/images/edits"
KEPT_SECONDS = 3 * 86_400
"""How long what is uploaded stays there if nobody deletes it."""
_MOST_PICTURES = 16
_LONGEST_PROMPT = 32_000
_NOT_IN_A_BATCH = ("stream", "partial_images")
_STATES = {
    "completed": BatchState.ENDED,
    "failed": BatchState.FAILED,
    "expired": BatchState.EXPIRED,
    "cancelled": BatchState.CANCELLED,
}
_LOST = {"batch_expired": BatchState.EXPIRED, "batch_cancelled": BatchState.CANCELLED}


class _LinesFile(SourcePicture, frozen=True):
    """JSONL in a form."""

    @property
    def file_name(self) -> str:
        return f"{self.name}.jsonl"


class OpenAI:
    """See `steps.Driver`."""

    provider = BatchProvider.OPENAI
    max_lines = 50_000
    max_bytes = 200_000_000
    max_line_bytes = 1_000_000
    price = 0.5
    window = DAY_SECONDS
    uploads = True
    says_expired = True

    def place(self, config: ApiConfig) -> Place | None:
        """The API that ``images/edits`` belongs to."""
        return beside_edits(config)

    def line(self, place: Place, key: str, pictures: Sequence[SourcePicture], files: Sequence[str]) -> dict[str, Any]:
        """A call without multipart, its pictures named by ``file_id``."""
        config = msgspec.structs.replace(place.config, stream=StreamChoice.OFF)
        body = msgspec.json.decode(build_request(config, [], form=RequestForm.JSON_OPENAI).body)
        body["images"] = [{"file_id": file} for file in files]
        prompt = body.get("prompt")
        if not isinstance(prompt, str) or not prompt.strip():
            raise bad_line(key, "prompt")
        if len(prompt) > _LONGEST_PROMPT:
            raise bad_line(key, f"prompt > {_LONGEST_PROMPT}")
        if not body.get("model"):
            raise bad_line(key, "model")
        if not 1 <= len(pictures) <= _MOST_PICTURES or len(files) != len(pictures):
            raise bad_line(key, "images")
        if named := next((name for name in _NOT_IN_A_BATCH if body.get(name)), ""):
            raise bad_line(key, named)
        return {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}

    def upload(self, place: Place, picture: SourcePicture) -> Steps[Uploaded]:
        """A file of its own for each picture."""
        document = yield from _upload(place, "vision", picture)
        return Uploaded(document["id"], float(number_of(document, "expires_at") or 0))

    def create(self, place: Place, known: Known, lines: Lines) -> Steps[None]:
        """The lines as a file, and a batch of it."""
        file = known.file
        if not file:
            data = lines.read(0, lines.size)
            file = (yield from _upload(place, "batch", _LinesFile(data, "application/jsonl", known.name)))["id"]
            yield Note(file=file)
        if known.creating and (found := (yield from self.find(place, known))[0]):
            yield Note(provider_id=found)
            return
        yield Note(creating=True)
        wanted = {
            "input_file_id": file,
            "endpoint": ENDPOINT,
            "completion_window": "24h",
            "metadata": {"name": known.name},
        }
        reply = yield place.ask("POST", "/batches", wanted, again=False)
        yield Note(provider_id=_id_of(reply.document))

    def find(self, place: Place, known: Known) -> Steps[tuple[str, frozenset[str] | None]]:
        """Among all batches the one of our name and of our file."""
        after = ""
        for _ in range(MOST_PAGES):
            path = "/batches?limit=100" + (f"&after={segment(after)}" if after else "")
            page = (yield place.ask("GET", path)).document
            items = items_of(page, "data")
            for item in items:
                about = item.get("metadata")
                named = isinstance(about, dict) and about.get("name") == known.name
                if named and item.get("input_file_id") == known.file:
                    return _id_of(item), None
            after = text_of(page, "last_id") or (text_of(items[-1], "id") if items else "")
            if not page.get("has_more") or not after:
                break
        return "", None

    def look(self, place: Place, provider_id: str) -> Steps[BatchView]:
        """Results are there once it has ended, in whichever way."""
        document = (yield place.ask("GET", f"/batches/{segment(provider_id)}")).document
        counts = document.get("request_counts")
        errors = document.get("errors")
        told = errors.get("data") if isinstance(errors, dict) else None
        files = [text_of(document, name) for name in ("output_file_id", "error_file_id")]
        return BatchView(
            _STATES.get(text_of(document, "status"), BatchState.OPEN),
            number_of(counts, "completed"),
            number_of(counts, "failed"),
            float(number_of(document, "expires_at")) or None,
            tuple(place.url(f"/files/{segment(file)}/content") for file in files if file),
            told[0] if isinstance(told, list) and told else errors,
        )

    def results_url(self, place: Place, provider_id: str, token: str) -> str:  # noqa: ARG002 - see Driver
        """They come in files."""
        return ""

    def read_page(self, document: dict[str, Any]) -> tuple[list[LineResult], str]:  # noqa: ARG002 - see Driver
        """They come in files."""
        return [], ""

    def read_line(self, document: Any) -> LineResult | None:
        """``response`` with its status, or ``error``."""
        key = text_of(document, "custom_id") if isinstance(document, dict) else ""
        if not key:
            return None
        response, error = document.get("response"), document.get("error")
        if isinstance(response, dict) and isinstance(response.get("body"), dict | list | str):
            return LineResult(key, number_of(response, "status_code") or 200, response["body"])
        code = text_of(error, "code") if isinstance(error, dict) else ""
        return LineResult(key, complaint=error or "no response", lost=_LOST.get(code))

    def cancel(self, place: Place, provider_id: str) -> Steps[None]:
        """What is done by then comes as results."""
        yield place.ask("POST", f"/batches/{segment(provider_id)}/cancel", b"")

    def remove(self, place: Place, file: str) -> Steps[None]:
        """A picture, or the lines."""
        yield place.ask("DELETE", f"/files/{segment(file)}", missing=True)


def _upload(place: Place, purpose: str, picture: SourcePicture) -> Steps[dict[str, Any]]:
    texts = [
        ("purpose", purpose.encode()),
        ("expires_after[anchor]", b"created_at"),
        ("expires_after[seconds]", str(KEPT_SECONDS).encode()),
    ]
    body, content_type = encode_form(texts, [("file", picture)])
    document = (yield place.ask("POST", "/files", body, content_type=content_type)).document
    return document | {"id": _id_of(document)}


def _id_of(document: dict[str, Any]) -> str:
    found = text_of(document, "id")
    if not found:
        raise AnswerUnusable(Code.UPLOAD_FAILED, path="id", found="id")
    return found
