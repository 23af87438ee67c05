"""Gemini's Batch API: all lines with their pictures are uploaded as one file, and the results come as one.

Never inline: a thousand inline results could not be fetched. Source: the references of batchGenerateContent and files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from engine.config import ApiConfig, ApiMode, BatchProvider
from engine.errors import AnswerUnusable, Code, NetworkFailed
from engine.upstream.batches.steps import (
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
    base_before,
    items_of,
    moment,
    number_of,
    segment,
    text_of,
)
from engine.upstream.recipe import Recipe, read_recipe
from engine.upstream.recipe_call import Values, fill_url, recipe_request
from engine.upstream.request import SourcePicture

_PIECE_BYTES = 32 * 1024 * 1024  # of an upload; a multiple of the 8 MiB that the protocol counts in
_METHOD = re.compile(r":(?:stream)?generateContent$", re.IGNORECASE)
_STATES = {
    "SUCCEEDED": BatchState.ENDED,
    "FAILED": BatchState.FAILED,
    "EXPIRED": BatchState.EXPIRED,
    "CANCELLED": BatchState.CANCELLED,
}
_OPEN = frozenset({"PENDING", "RUNNING", "QUEUED", "PAUSED", "UPDATING", "UNSPECIFIED"})


class Gemini:
    """See `steps.Driver`."""

    provider = BatchProvider.GEMINI
    max_lines = 50_000
    max_bytes = 2_000_000_000
    max_line_bytes = 200_000_000
    price = 0.5
    window = 2 * 86_400.0
    uploads = False
    says_expired = True

    def place(self, config: ApiConfig) -> Place | None:
        """The API whose ``generateContent`` a recipe calls."""
        if config.mode is not ApiMode.RECIPE:
            return None
        recipe = read_recipe(config.recipe)
        url = _call_url(config, recipe)
        base = base_before(url, "/models/") if _METHOD.search(urlsplit(url).path) else None
        return None if base is None else Place(base, config, recipe)

    def line(self, place: Place, key: str, pictures: Sequence[SourcePicture], files: Sequence[str]) -> dict[str, Any]:  # noqa: ARG002 - see Driver
        """The body of the live call, under a key."""
        request = msgspec.json.decode(recipe_request(place.config, place.recipe, pictures).body)
        if not isinstance(request, dict) or not request.get("contents"):
            raise bad_line(key, "contents")
        if not place.config.user_prompt.strip() and not place.config.system_prompt.strip():
            raise bad_line(key, "prompt")
        if "generationConfig" in request:
            request["generation_config"] = request.pop("generationConfig")
        return {"key": key, "request": request}

    def upload(self, place: Place, picture: SourcePicture) -> Steps[Uploaded]:
        """Pictures go along in the lines."""
        raise NotImplementedError

    def create(self, place: Place, known: Known, lines: Lines) -> Steps[None]:
        """The lines as a file, in pieces, and a batch of it."""
        file = known.file
        if not file:
            file = yield from _upload_lines(place, known.name, lines)
            yield Note(file=file)
        if known.creating and (found := (yield from self.find(place, known))[0]):
            yield Note(provider_id=found)
            return
        yield Note(creating=True)
        wanted = {"batch": {"display_name": known.name, "input_config": {"file_name": file}}}
        url = _METHOD.sub(":batchGenerateContent", _call_url(place.config, place.recipe).partition("?")[0])
        document = (yield place.ask("POST", url, wanted, again=False)).document
        name = text_of(document, "name")
        if not name:
            raise AnswerUnusable(Code.UPLOAD_FAILED, path="name", found="name")
        yield Note(provider_id=name)

    def find(self, place: Place, known: Known) -> Steps[tuple[str, frozenset[str] | None]]:
        """Among all batches the one of our name, and of our file where that is told."""
        token = ""
        for _ in range(MOST_PAGES):
            path = "/batches?pageSize=100" + (f"&pageToken={segment(token)}" if token else "")
            page = (yield place.ask("GET", path)).document
            for item in items_of(page, "operations", "batches"):
                about = _about(item)
                config = about.get("inputConfig") or about.get("input_config") or {}
                file = text_of(config, "fileName", "file_name") if isinstance(config, dict) else ""
                if text_of(about, "displayName", "display_name") == known.name and file in ("", known.file):
                    return text_of(item, "name"), None
            token = text_of(page, "nextPageToken")
            if not token:
                break
        return "", None

    def look(self, place: Place, provider_id: str) -> Steps[BatchView]:
        """Results are there once it has succeeded; an expired one has none."""
        document = (yield place.ask("GET", f"/{_path(provider_id)}")).document
        about = _about(document)
        word = text_of(about, "state").rpartition("STATE_")[2]
        state = _STATES.get(word, BatchState.OPEN)
        error = document.get("error")
        if word not in _STATES and word not in _OPEN and document.get("done"):
            state = BatchState.FAILED if error else BatchState.ENDED
        file = _results_file(document.get("response")) or _results_file(about)
        stats = about.get("batchStats")
        made = moment(text_of(about, "createTime"))
        return BatchView(
            state,
            number_of(stats, "successfulRequestCount"),
            number_of(stats, "failedRequestCount"),
            made + self.window if made is not None else None,
            (place.url(f"/{_path(file)}:download?alt=media", "/download"),) if file else (),
            error,
        )

    def results_url(self, place: Place, provider_id: str, token: str) -> str:  # noqa: ARG002 - see Driver
        """They come in a file."""
        return ""

    def read_page(self, document: dict[str, Any]) -> tuple[list[LineResult], str]:  # noqa: ARG002 - see Driver
        """They come in a file."""
        return [], ""

    def read_line(self, document: Any) -> LineResult | None:
        """``response`` as a live call has it, or ``error``."""
        key = text_of(document, "key") if isinstance(document, dict) else ""
        if not key:
            return None
        if isinstance(document.get("response"), dict) and not document.get("error"):
            return LineResult(key, document=document["response"])
        return LineResult(key, complaint=document.get("error") or document.get("status") or "no response")

    def cancel(self, place: Place, provider_id: str) -> Steps[None]:
        """Nothing is told of what was done by then."""
        yield place.ask("POST", f"/{_path(provider_id)}:cancel", b"")

    def remove(self, place: Place, file: str) -> Steps[None]:
        """The lines."""
        yield place.ask("DELETE", f"/{_path(file)}", missing=True)


def _upload_lines(place: Place, name: str, lines: Lines) -> Steps[str]:
    """The resumable protocol: a start that gives an address, then pieces, the last of which ends it."""
    start = yield place.ask(
        "POST",
        place.url("/files", "/upload"),
        {"file": {"display_name": name}},
        headers={
            "X-Goog-Upload-Protocol": "resumable",
            "X-Goog-Upload-Command": "start",
            "X-Goog-Upload-Header-Content-Length": str(lines.size),
            "X-Goog-Upload-Header-Content-Type": "application/jsonl",
        },
    )
    address = start.headers.get("x-goog-upload-url", "")
    if not address:
        raise AnswerUnusable(Code.UPLOAD_FAILED, path="X-Goog-Upload-URL", found="X-Goog-Upload-URL")
    if not place.may_have_pictures(address):  # as no redirect is followed with them
        raise NetworkFailed(Code.REDIRECT_REFUSED, host=(urlsplit(address).hostname or "")[:253])
    offset = 0
    while True:
        piece = lines.read(offset, _PIECE_BYTES)
        last = offset + len(piece) >= lines.size
        reply = yield place.ask(
            "POST",
            address,
            piece,
            content_type="application/octet-stream",
            headers={
                "X-Goog-Upload-Offset": str(offset),
                "X-Goog-Upload-Command": "upload, finalize" if last else "upload",
            },
            again=False,
        )
        offset += len(piece)
        if last:
            break
    file = reply.document.get("file")
    found = text_of(file, "name") if isinstance(file, dict) else ""
    if not found:
        raise AnswerUnusable(Code.UPLOAD_FAILED, path="file.name", found="file.name")
    return found


def _call_url(config: ApiConfig, recipe: Recipe) -> str:
    return fill_url(recipe.request.url, Values(config), config.api_url)


def _about(item: Any) -> dict[str, Any]:
    """What an operation says of its batch; some answers are the batch itself."""
    if not isinstance(item, dict):
        return {}
    about = item.get("metadata")
    return about if isinstance(about, dict) else item


def _results_file(part: Any) -> str:
    if not isinstance(part, dict):
        return ""
    for inner in (part, part.get("output"), part.get("dest")):
        if isinstance(inner, dict) and (found := text_of(inner, "responsesFile", "responses_file", "fileName")):
            return found
    return ""


def _path(name: str) -> str:
    """``batches/…`` or ``files/…`` as a path: what a provider calls it never leads elsewhere."""
    return "/".join(segment(part) for part in name.split("/") if part not in ("", ".", ".."))
