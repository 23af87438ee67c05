"""The batch APIs of OpenAI, Gemini and xAI over real HTTP, as strict as their documentation: states, limits, pages,
quotas, expiry, a bad line that fails all, results in any order, links that die. Each keeps a book of what was paid.

    desk = OpenAIDesk(fake)        # answers from then on
    desk.rate = 0                  # nothing is made until this grows: lines that each look at a batch makes
    assert desk.paid_twice() == [] and desk.wrong == []
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fakes.upstream import FakeUpstream, Received, Script

KEY = "sk-batch-0123456789abcdef"
PRICES = {"input": 0.5, "image": 0.25, "drawn": 30.0}
"""In USD of a million tokens, of a live call."""
TICKS = 200_000_001
_PAGE = 3  # the most that a page of a listing or of results holds here


class Refuse(Exception):
    """An error status; noted as a fault of ours unless it is meant to happen."""

    def __init__(self, status: int, message: str, *, ours: bool = True) -> None:
        super().__init__(message)
        self.status, self.ours = status, ours


@dataclass
class Line:
    """A line of a batch: whose picture it sends, and what came of it; ``tokens`` of text, of pictures, drawn."""

    key: str
    source: bytes
    prompt: str
    result: dict[str, Any] | None = None
    failed: bool = False
    tokens: tuple[int, int, int] = (0, 0, 0)


@dataclass
class FakeBatch:
    """A batch. ``state``: open, ended, failed, expired, cancelled."""

    id: str
    name: str
    lines: list[Line] = field(default_factory=list)
    file: str = ""
    state: str = "open"
    complaint: dict[str, Any] | None = None
    outputs: dict[str, str] = field(default_factory=dict)

    def made(self) -> list[Line]:
        """Lines that something came of."""
        return [line for line in self.lines if line.result is not None]


class Desk:
    """What the three share. ``hook(step, before)`` is called before and after what each request does."""

    prefix = ""

    def __init__(self, fake: FakeUpstream, edit: Callable[[bytes], bytes], seed: int = 0) -> None:
        self.fake = fake
        self.edit = edit
        self.batches: dict[str, FakeBatch] = {}
        self.files: dict[str, bytes] = {}
        self.wrong: list[str] = []
        self.asked: Counter[str] = Counter()
        self.billed = 0
        """In units of 1e-10 USD."""
        self.steps: Counter[str] = Counter()
        self.rate = 10**6
        self.quota = 10**9
        self.bad: set[str] = set()
        self.expires_in = 86_400
        self.now = int(time.time())
        self.hook: Callable[[str, bool], Script | None] = lambda *_: None
        self._lock = threading.RLock()
        self._random = random.Random(seed)
        self._ids = 0
        fake.answer_with(self.answer)

    # --- books ---

    def paid_twice(self) -> list[str]:
        """Sources that were taken on more than once."""
        return [source for source, count in self.asked.items() if count > 1]

    def new_id(self, kind: str) -> str:
        """A name that nobody has."""
        self._ids += 1
        return f"{kind}{self._ids:05}{self._random.randrange(16**8):08x}"

    # --- requests ---

    def answer(self, request: Received) -> Script:
        """One request: what it may do, what it does, what the hook makes of it."""
        step = self._step(request)
        with self._lock:
            self.steps[step] += 1
            early = self.hook(step, True)
            if early is not None:
                return early
            try:
                script = self._serve(request)
            except Refuse as refused:
                if refused.ours:
                    self.wrong.append(f"{step}: {refused}")
                script = Script.json(
                    {"error": {"message": str(refused), "code": refused.status}}, status=refused.status
                )
            return self.hook(step, False) or script

    def _step(self, request: Received) -> str:
        path = re.sub(r"(batch_|file-|files/|batches/|/batches/)\w*\d{5}\w*", r"\1*", urlsplit(request.path).path)
        return f"{request.method} {path}"

    def _serve(self, request: Received) -> Script:
        raise NotImplementedError

    def check_key(self, request: Received) -> None:
        """Every call but to signed addresses carries the key."""
        if request.headers.get("authorization") != f"Bearer {KEY}":
            raise Refuse(401, "no key")

    def take_on(self, batch: FakeBatch, lines: list[Line]) -> None:
        """From here on these are paid for."""
        batch.lines += lines
        for line in lines:
            self.asked[hashlib.sha256(line.source).hexdigest() + line.prompt] += 1

    def work(self, batch: FakeBatch) -> None:
        """Make some lines, in any order."""
        waiting = [line for line in batch.lines if line.result is None]
        if batch.state != "open" or not batch.lines:
            return
        for line in self._random.sample(waiting, min(self.rate, len(waiting))):
            line.failed = hashlib.sha256(line.source).hexdigest() in self.bad
            line.tokens = (self._random.randrange(20, 400), self._random.randrange(200, 6000), 1056 + len(line.source))
            line.result = self.result(line)
            self.billed += 0 if line.failed else self.price_of(line)
        if all(line.result is not None for line in batch.lines):
            batch.state = "ended"

    def result(self, line: Line) -> dict[str, Any]:
        """What this provider says of a line."""
        raise NotImplementedError

    def price_of(self, line: Line) -> int:
        """What it bills for a line: half of what its tokens cost live, see `PRICES`."""
        cents = (
            100 * count * PRICES[kind] for count, kind in zip(line.tokens, ("input", "image", "drawn"), strict=True)
        )
        return round(sum(cents)) * 50  # 1e-10 USD in half a cent for a million

    def end(self, state: str) -> None:
        """Let every open batch end so."""
        with self._lock:
            for batch in self.batches.values():
                if batch.state == "open":
                    batch.state = state

    def find(self, batch_id: str) -> FakeBatch:
        """A batch that was made here."""
        if batch_id not in self.batches:
            raise Refuse(404, f"no batch {batch_id}")
        return self.batches[batch_id]

    def shuffled(self, lines: list[Any]) -> list[Any]:
        """In any order."""
        return self._random.sample(lines, len(lines))


def only(value: dict[str, Any], needed: set[str], allowed: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Refuse an object that lacks a field, or has one that is not documented."""
    if not needed <= value.keys() or not value.keys() <= needed | allowed:
        raise Refuse(400, f"Unknown or missing parameter: {sorted(value.keys() ^ needed)}")


_EDIT_FIELDS = {"n", "size", "quality", "output_format", "background", "input_fidelity", "user", "moderation"}


class OpenAIDesk(Desk):
    """See the module. Base address ``/v1``."""

    url = "/v1/images/edits"

    def _serve(self, request: Received) -> Script:
        self.check_key(request)
        path = urlsplit(request.path).path
        if request.method == "POST" and path == "/v1/files":
            return self._upload(request)
        if found := re.fullmatch(r"/v1/files/([\w-]+)(/content)?", path):
            return self._file(request.method, found[1], content=bool(found[2]))
        if path == "/v1/batches":
            return self._create(request.json) if request.method == "POST" else self._list(request)
        if found := re.fullmatch(r"/v1/batches/(\w+)(/cancel)?", path):
            return self._batch(request.method, found[1], cancel=bool(found[2]))
        raise Refuse(404, f"nothing at {path}")

    def _upload(self, request: Received) -> Script:
        parts = {part.name: part for part in request.form}
        if parts.keys() - {"purpose", "file", "expires_after[anchor]", "expires_after[seconds]"}:
            raise Refuse(400, f"unknown fields {sorted(parts)}")
        purpose = parts["purpose"].data.decode()
        if purpose not in ("batch", "vision", "user_data"):
            raise Refuse(400, f"purpose {purpose}")
        data = parts["file"].data
        if purpose == "batch" and (len(data) > 200_000_000 or not (parts["file"].filename or "").endswith(".jsonl")):
            raise Refuse(400, "a batch file is JSONL of at most 200 MB")
        file = self.new_id("file-")
        self.files[file] = data
        self.steps[f"upload {purpose}"] += 1
        return Script.json({"id": file, "object": "file", "purpose": purpose, "expires_at": self.now + 259_200})

    def _file(self, method: str, file: str, *, content: bool) -> Script:
        if file not in self.files:
            raise Refuse(404, f"no file {file}", ours=False)
        if method == "DELETE":
            del self.files[file]
            return Script.json({"id": file, "object": "file", "deleted": True})
        return Script(body=self.files[file] if content else b"{}", content_type="application/octet-stream")

    def _create(self, wanted: dict[str, Any]) -> Script:
        only(wanted, {"input_file_id", "endpoint", "completion_window"}, {"metadata", "output_expires_after"})
        if wanted["endpoint"] != self.url or wanted["completion_window"] != "24h":
            raise Refuse(400, "endpoint or window")
        file = wanted["input_file_id"]
        if file not in self.files:
            raise Refuse(400, f"no file {file}")
        batch = FakeBatch(self.new_id("batch_"), (wanted.get("metadata") or {}).get("name", ""), file=file)
        self.batches[batch.id] = batch
        rows = self.files[file].decode().splitlines()
        try:
            if len(rows) > self.quota:
                raise Refuse(0, "Enqueued token limit reached", ours=False)
            self.take_on(batch, self._check([json.loads(row) for row in rows]))
        except (Refuse, ValueError) as error:
            batch.state = "failed"
            batch.complaint = {"code": "invalid_request", "message": str(error), "line": 1}
            if getattr(error, "ours", True):
                self.wrong.append(f"line: {error}")
        return Script.json(self._view(batch))

    def _check(self, rows: list[dict[str, Any]]) -> list[Line]:
        lines = []
        for row in rows:
            only(row, {"custom_id", "method", "url", "body"})
            body = row["body"]
            only(body, {"model", "prompt", "images"}, _EDIT_FIELDS)
            if (row["method"], row["url"]) != ("POST", self.url) or not body["prompt"]:
                raise Refuse(400, "method, url or prompt")
            for image in body["images"]:
                only(image, {"file_id"})
                if image["file_id"] not in self.files:
                    raise Refuse(400, f"no file {image['file_id']}")
            lines.append(Line(row["custom_id"], self.files[body["images"][0]["file_id"]], body["prompt"]))
        if len({line.key for line in lines}) < len(lines) or not 1 <= len(lines) <= 50_000:
            raise Refuse(400, "custom_id or number of lines")
        return lines

    def _list(self, request: Received) -> Script:
        query = parse_qs(urlsplit(request.path).query)
        known = list(reversed(self.batches.values()))
        after = query.get("after", [""])[0]
        start = next((place + 1 for place, batch in enumerate(known) if batch.id == after), 0)
        page = known[start : start + min(_PAGE, int(query.get("limit", ["20"])[0]))]
        more = start + len(page) < len(known)
        last = page[-1].id if page else None
        return Script.json(
            {"object": "list", "data": [self._view(one) for one in page], "has_more": more, "last_id": last}
        )

    def _batch(self, method: str, batch_id: str, *, cancel: bool) -> Script:
        batch = self.find(batch_id)
        if cancel and method == "POST" and batch.state == "open":
            batch.state = "cancelled"
        self.work(batch)
        if batch.state in ("ended", "expired", "cancelled") and not batch.outputs:
            self._write_outputs(batch)
        return Script.json(self._view(batch))

    def _write_outputs(self, batch: FakeBatch) -> None:
        code = "batch_expired" if batch.state == "expired" else "batch_cancelled"
        left = [line for line in batch.lines if line.result is None]
        lost = [
            {"id": line.key, "custom_id": line.key, "response": None, "error": {"code": code, "message": code}}
            for line in left
        ]
        good = [line.result for line in batch.made() if not line.failed]
        for name, rows in (("output", good), ("error", [line.result for line in batch.made() if line.failed] + lost)):
            if rows:
                batch.outputs[name] = self.new_id("file-")
                self.files[batch.outputs[name]] = "".join(
                    json.dumps(row) + "\n" for row in self.shuffled(rows)
                ).encode()

    def result(self, line: Line) -> dict[str, Any]:
        text, image, drawn = line.tokens
        body: dict[str, Any] = {
            "created": 1,
            "data": [{"b64_json": base64.b64encode(self.edit(line.source)).decode()}],
            "usage": {
                "input_tokens": text + image, "output_tokens": drawn, "total_tokens": text + image + drawn,
                "input_tokens_details": {"text_tokens": text, "image_tokens": image},
            },
        }  # fmt: skip
        status = 200
        if line.failed:
            status, error = 400, {"code": "moderation_blocked", "message": "rejected by the safety system"}
            body = {"error": error}
        response = {"status_code": status, "request_id": "r", "body": body}
        return {"id": f"batch_req_{line.key}", "custom_id": line.key, "response": response, "error": None}

    def _view(self, batch: FakeBatch) -> dict[str, Any]:
        states = {"open": "in_progress", "ended": "completed"}
        made = batch.made()
        return {
            "id": batch.id, "object": "batch", "endpoint": self.url, "input_file_id": batch.file,
            "status": states.get(batch.state, batch.state), "expires_at": self.now + self.expires_in,
            "errors": {"object": "list", "data": [batch.complaint]} if batch.complaint else None,
            "output_file_id": batch.outputs.get("output"), "error_file_id": batch.outputs.get("error"),
            "request_counts": {
                "total": len(batch.lines), "completed": sum(not line.failed for line in made),
                "failed": sum(line.failed for line in made),
            },
            "metadata": {"name": batch.name},
        }  # fmt: skip


class GeminiDesk(Desk):
    """See the module. Base address ``/v1beta``."""

    url = "/v1beta/models/gemini-image:generateContent"

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._uploads: dict[str, bytearray] = {}

    def check_key(self, request: Received) -> None:
        if request.headers.get("x-goog-api-key") != KEY:
            raise Refuse(401, "no key")

    def _serve(self, request: Received) -> Script:
        path = urlsplit(request.path).path
        if found := re.fullmatch(r"/upload/session/(\w+)", path):
            return self._piece(request, found[1])
        self.check_key(request)
        if path == "/upload/v1beta/files":
            return self._begin(request)
        if found := re.fullmatch(r"/v1beta/models/[\w.-]+:batchGenerateContent", path):
            return self._create(request.json)
        if found := re.fullmatch(r"/download/v1beta/(files/\w+):download", path):
            return self._download(found[1])
        if path == "/v1beta/batches":
            return self._list(request)
        if found := re.fullmatch(r"/v1beta/(batches/\w+)(:cancel)?", path):
            return self._batch(found[1], cancel=bool(found[2]))
        if request.method == "DELETE" and (found := re.fullmatch(r"/v1beta/(files/\w+)", path)):
            if self.files.pop(found[1], None) is None:
                raise Refuse(404, "no file", ours=False)
            return Script.json({})
        raise Refuse(404, f"nothing at {request.method} {path}")

    def _begin(self, request: Received) -> Script:
        headers = request.headers
        command = (headers.get("x-goog-upload-protocol"), headers.get("x-goog-upload-command"))
        if command != ("resumable", "start") or int(headers["x-goog-upload-header-content-length"]) > 2_000_000_000:
            raise Refuse(400, "upload protocol")
        session = self.new_id("session")
        self._uploads[session] = bytearray()
        return Script.json({}, headers={"X-Goog-Upload-URL": self.fake.url(f"/upload/session/{session}")})

    def _piece(self, request: Received, session: str) -> Script:
        data = self._uploads[session]
        if int(request.headers["x-goog-upload-offset"]) != len(data):
            raise Refuse(400, "offset")
        data += request.body
        if "finalize" not in request.headers["x-goog-upload-command"]:
            return Script(body=b"", headers={"X-Goog-Upload-Status": "active"})
        file = self.new_id("files/")
        self.files[file] = bytes(self._uploads.pop(session))
        return Script.json({"file": {"name": file, "uri": self.fake.url(f"/v1beta/{file}"), "state": "ACTIVE"}})

    def _create(self, wanted: dict[str, Any]) -> Script:
        only(wanted, {"batch"})
        only(wanted["batch"], {"display_name", "input_config"})
        file = wanted["batch"]["input_config"]["file_name"]
        if file not in self.files:
            raise Refuse(400, f"no file {file}")
        if len([one for one in self.batches.values() if one.state == "open"]) >= 100:
            raise Refuse(429, "too many batches", ours=False)
        lines = [self._check(json.loads(row)) for row in self.files[file].decode().splitlines()]
        if len({line.key for line in lines}) < len(lines):
            raise Refuse(400, "keys are not unique")
        batch = FakeBatch(self.new_id("batches/"), wanted["batch"]["display_name"], file=file)
        self.batches[batch.id] = batch
        self.take_on(batch, lines)
        return Script.json(self._view(batch))

    def _check(self, row: dict[str, Any]) -> Line:
        only(row, {"key", "request"})
        only(row["request"], {"contents", "generation_config"}, {"system_instruction"})
        if row["request"]["generation_config"].get("responseModalities") != ["TEXT", "IMAGE"]:
            raise Refuse(400, "modalities")
        parts = row["request"]["contents"][0]["parts"]
        source = next(part["inline_data"]["data"] for part in parts if "inline_data" in part)
        prompt = next(part["text"] for part in parts if "text" in part)
        return Line(row["key"], base64.b64decode(source, validate=True), prompt)

    def _list(self, request: Received) -> Script:
        token = parse_qs(urlsplit(request.path).query).get("pageToken", ["0"])[0]
        known = list(reversed(self.batches.values()))
        page = known[int(token) : int(token) + _PAGE]
        more = {"nextPageToken": str(int(token) + _PAGE)} if int(token) + _PAGE < len(known) else {}
        return Script.json({"operations": [self._view(one) for one in page], **more})

    def _batch(self, batch_id: str, *, cancel: bool) -> Script:
        batch = self.find(batch_id)
        if cancel:
            batch.state = "cancelled" if batch.state == "open" else batch.state
            return Script.json({})
        self.work(batch)
        if batch.state == "ended" and not batch.outputs:
            batch.outputs["output"] = self.new_id("files/")
            rows = self.shuffled([line.result for line in batch.lines])
            self.files[batch.outputs["output"]] = "".join(json.dumps(row) + "\n" for row in rows).encode()
        return Script.json(self._view(batch))

    def _download(self, file: str) -> Script:
        if file not in self.files:
            raise Refuse(404, f"no file {file}")
        return Script(body=self.files[file], content_type="application/jsonl", pieces=(70_001,))

    def result(self, line: Line) -> dict[str, Any]:
        if line.failed:
            return {"key": line.key, "response": {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}}
        data = base64.b64encode(self.edit(line.source)).decode()
        part = {"inlineData": {"mimeType": "image/png", "data": data}}
        content = {"content": {"parts": [part], "role": "model"}, "finishReason": "STOP"}
        text, image, drawn = line.tokens
        usage = {
            "promptTokenCount": text + image, "candidatesTokenCount": drawn, "totalTokenCount": text + image + drawn,
            "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": image}],
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": drawn}],
        }  # fmt: skip
        return {"key": line.key, "response": {"candidates": [content], "usageMetadata": usage}}

    def _view(self, batch: FakeBatch) -> dict[str, Any]:
        words = {"open": "RUNNING", "ended": "SUCCEEDED", "failed": "FAILED", "expired": "EXPIRED"}
        made = batch.made()
        about = {
            "displayName": batch.name, "state": f"JOB_STATE_{words.get(batch.state, 'CANCELLED')}",
            "inputConfig": {"fileName": batch.file},
            "batchStats": {
                "requestCount": str(len(batch.lines)),
                "successfulRequestCount": str(sum(not line.failed for line in made)),
            },
        }  # fmt: skip
        answer: dict[str, Any] = {"name": batch.id, "metadata": about, "done": batch.state != "open"}
        if batch.state == "ended":
            answer["response"] = {"responsesFile": batch.outputs.get("output")}
        elif batch.state != "open":
            answer["error"] = batch.complaint or {"code": 13, "message": f"batch {batch.state}"}
        return answer


class XAIDesk(Desk):
    """See the module. Base address ``/v1``. ``dead``: links to results that are gone, by the number of the line."""

    url = "/v1/images/edits"

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.dead, self.largest_call, self.tells_requests = 0, 0, True

    def _serve(self, request: Received) -> Script:
        path = urlsplit(request.path).path
        if found := re.fullmatch(r"/links/(\w+)/(\w+)\.png", path):
            return self._link(request, self.find(found[1]), found[2])
        self.check_key(request)
        if path == "/v1/batches":
            return self._create(request.json) if request.method == "POST" else self._list(request)
        found = re.fullmatch(r"/v1/batches/(\w+)(/requests|/results|:cancel)?", path)
        if found is None:
            raise Refuse(404, f"nothing at {path}")
        batch = self.find(found[1])
        match (request.method, found[2]):
            case ("POST", "/requests"):
                return self._add(batch, request)
            case ("GET", "/requests") if not self.tells_requests:
                raise Refuse(404, "no such address", ours=False)
            case ("GET", "/requests"):
                return self._page(
                    request, [{"batch_request_id": line.key} for line in batch.lines], "batch_request_metadata"
                )
            case ("GET", "/results"):
                return self._page(request, self._results(batch), "results")
            case ("POST", ":cancel"):
                batch.state = "cancelled"
        self.work(batch)
        return Script.json(self._view(batch))

    def _create(self, wanted: dict[str, Any]) -> Script:
        only(wanted, {"name"})
        batch = FakeBatch(self.new_id("batch_"), wanted["name"])
        self.batches[batch.id] = batch
        return Script.json(self._view(batch))

    def _add(self, batch: FakeBatch, request: Received) -> Script:
        self.largest_call = max(self.largest_call, len(request.body))
        if len(request.body) > 25_000_000:
            raise Refuse(413, "more than 25 MB")
        wanted = request.json
        only(wanted, {"batch_requests"})
        lines = [self._check(item) for item in wanted["batch_requests"]]
        keys = {line.key for line in (*batch.lines, *lines)}
        if len(keys) < len(batch.lines) + len(lines) or len(keys) > 50_000:
            raise Refuse(400, "batch_request_id is not unique")
        if batch.state not in ("open", "ended"):
            raise Refuse(400, "the batch is over")
        batch.state = "open"
        self.take_on(batch, lines)
        return Script.json({})

    def _check(self, item: dict[str, Any]) -> Line:
        only(item, {"batch_request_id", "batch_request"})
        only(item["batch_request"], {"image_edit"})
        body = item["batch_request"]["image_edit"]
        only(body, {"prompt", "model", "image"}, {"n", "response_format", "aspect_ratio", "resolution"})
        only(body["image"], {"url", "type"})
        if body["image"]["type"] != "image_url" or not body["prompt"]:
            raise Refuse(400, "image or prompt")
        return Line(item["batch_request_id"], base64.b64decode(body["image"]["url"].partition(",")[2]), body["prompt"])

    def _list(self, request: Received) -> Script:
        return self._page(request, [self._view(one) for one in reversed(self.batches.values())], "batches")

    def _page(self, request: Received, items: list[Any], name: str) -> Script:
        query = parse_qs(urlsplit(request.path).query)
        start = int(query.get("pagination_token", ["0"])[0])
        if int(query.get("limit", ["100"])[0]) > 100:
            raise Refuse(400, "limit")
        end = start + _PAGE
        return Script.json({name: items[start:end], "pagination_token": str(end) if end < len(items) else None})

    def _results(self, batch: FakeBatch) -> list[dict[str, Any]]:
        made = [line.result for line in batch.lines if line.result is not None]
        return [{**result, "batch_result": self._linked(batch, result)} for result in made]

    def _linked(self, batch: FakeBatch, result: dict[str, Any]) -> dict[str, Any]:
        if "error" in result:
            return {"error": result["error"]}
        url = self.fake.url(f"/links/{batch.id}/{result['batch_request_id']}.png")
        return {"response": {"image_edit": {"data": [{"url": url}], "usage": {"cost_in_usd_ticks": TICKS}}}}

    def _link(self, request: Received, batch: FakeBatch, key: str) -> Script:
        if "authorization" in request.headers:
            raise Refuse(400, "the key went to a link")
        if self.dead:
            self.dead -= 1
            raise Refuse(404, "gone", ours=False)
        line = next(line for line in batch.lines if line.key == key)
        return Script(body=self.edit(line.source), content_type="image/png")

    def price_of(self, line: Line) -> int:
        return TICKS

    def result(self, line: Line) -> dict[str, Any]:
        if line.failed:
            return {"batch_request_id": line.key, "error": {"code": 3, "message": "content moderated"}}
        return {"batch_request_id": line.key}

    def _view(self, batch: FakeBatch) -> dict[str, Any]:
        made, left = batch.made(), sum(line.result is None for line in batch.lines)
        over = batch.state in ("cancelled", "expired")
        began, ends = (datetime.fromtimestamp(self.now + age, UTC).isoformat() for age in (0, self.expires_in))
        return {
            "batch_id": batch.id, "name": batch.name,
            "create_time": began, "expire_time": ends, "cancel_time": began if over else None,
            "state": {
                "num_requests": len(batch.lines), "num_pending": 0 if over else left,
                "num_success": sum(not line.failed for line in made), "num_error": sum(line.failed for line in made),
                "num_cancelled": left if over else 0,
            },
        }  # fmt: skip
