"""Providers of image edits, one row each, as their documents tell of them: strict about method, path, key, headers and
body, and a job where they answer with one. What a row does not name is refused."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.scripts import Received, Script

KEY = "sk-provider-0123456789"
Json = Any
Build = Callable[[str, str, str], Json]  # (link, base64 of the result, base address) to an answer


@dataclass(frozen=True)
class Provider:
    """One provider. ``body``: what the JSON must be, with `PICTURE`, `BASE64` and `PROMPT` where these stand; ``poll``:
    path of the job; ``pending`` and ``done``: answers; ``second``: path of the result where it stands elsewhere;
    ``form``: the body is a form, with `FILE` for the picture."""

    id: str
    path: str
    body: Json
    done: Build
    key: tuple[str, str] = ("authorization", f"Bearer {KEY}")
    headers: dict[str, str] = field(default_factory=dict)
    submitted: Build | None = None
    poll: str = ""
    pending: Json = None
    poll_headers: dict[str, str] = field(default_factory=dict)
    second: str = ""
    finished: Json = None
    form: bool = False


class Provide:
    """Answers as one provider; ``wrong`` tells what did not fit, ``edits`` how many edits were paid for."""

    def __init__(self, provider: Provider, base: str, edit: Callable[[bytes], bytes], *, polls: int = 1) -> None:
        self.provider = provider
        self.base = base
        self.wrong: list[str] = []
        self.edits = 0
        self.polled = 0
        self.jobs: dict[str, bytes] = {}
        self.asked: dict[str, int] = {}
        self._edit = edit
        self._polls = polls

    def __call__(self, request: Received) -> Script:
        """The answer to one request."""
        path = request.path
        if path.startswith("/made/"):
            if "authorization" in request.headers or "x-key" in request.headers:
                self.wrong.append("a download came with the key")
            name = path.removeprefix("/made/").partition(".")[0]
            return Script(body=self.jobs[name], content_type="image/png")
        name, value = self.provider.key
        if request.headers.get(name) != value:
            self.wrong.append(f"{name} is {request.headers.get(name)}")
            return Script.error(401, "wrong key")
        if request.method == "POST" and path == self.provider.path:
            return self._submit(request)
        for number in self.jobs:
            if request.method == "GET" and path == self.provider.poll.replace("JOB", number):
                return self._poll(number, request)
            if request.method == "GET" and self.provider.second and path == self.provider.second.replace("JOB", number):
                return self._answer(self.provider.done, number)
        self.wrong.append(f"{request.method} {path}")
        return Script.error(404, "no such path")

    def _submit(self, request: Received) -> Script:
        provider = self.provider
        for name, value in provider.headers.items():
            if request.headers.get(name) != value:
                self.wrong.append(f"{name} is {request.headers.get(name)}")
        found: list[str] = []
        self._compare(provider.body, _fields(request) if provider.form else json.loads(request.body), "", found)
        if len(found) != 1:
            self.wrong.append(f"{len(found)} pictures")
            return Script.error(400, "no picture")
        self.edits += 1
        number = f"job{self.edits}"
        self.jobs[number] = self._edit(b64decode(found[0]))
        return self._answer(provider.submitted or provider.done, number)

    def _poll(self, number: str, request: Received) -> Script:
        self.polled += 1
        for name, value in self.provider.poll_headers.items():
            if request.headers.get(name) != value:
                self.wrong.append(f"{name} is {request.headers.get(name)}")
        self.asked[number] = self.asked.get(number, 0) + 1
        if self.asked[number] <= self._polls:
            return _script(self.provider.pending)
        if self.provider.finished is not None:
            return _script(self.provider.finished)
        return self._answer(self.provider.done, number)

    def _answer(self, build: Build, number: str) -> Script:
        made = b64encode(self.jobs[number]).decode()
        text = json.dumps(build(f"{self.base}/made/{number}.png", made, self.base)).replace("JOB", number)
        return Script(body=text.encode(), content_type="application/json")

    def _compare(self, wanted: Json, given: Json, where: str, found: list[str]) -> None:
        if wanted == "PICTURE" and isinstance(given, str) and given.startswith("data:image/png;base64,"):
            found.append(given.partition(",")[2])
        elif wanted in ("BASE64", "FILE") and isinstance(given, str) and not given.startswith("data:"):
            found.append(given)
        elif isinstance(wanted, dict) and isinstance(given, dict):
            if wanted.keys() != given.keys():
                self.wrong.append(f"{where}: {sorted(given)} in place of {sorted(wanted)}")
            for name in wanted.keys() & given.keys():
                self._compare(wanted[name], given[name], f"{where}.{name}", found)
        elif isinstance(wanted, list) and isinstance(given, list) and len(wanted) == len(given):
            for number, (one, other) in enumerate(zip(wanted, given, strict=True)):
                self._compare(one, other, f"{where}[{number}]", found)
        elif wanted != given or type(wanted) is not type(given):
            self.wrong.append(f"{where} is {str(given)[:80]}")


def _fields(request: Received) -> Json:
    """A form as an object; the picture as base64, if it is called what it is."""
    return {
        part.name: b64encode(part.data).decode()
        if part.content_type == "image/png" and part.filename
        else part.data.decode()
        for part in request.form
    }


def _script(answer: Json) -> Script:
    return Script(body=json.dumps(answer).encode(), content_type="application/json")


PROMPT = "make it evening"
MODEL = "maker/model-1"
_CONTENT = [{"image": "PICTURE"}, {"text": PROMPT}]
_QWEN = {
    "model": MODEL,
    "input": {"messages": [{"role": "user", "content": _CONTENT}]},
    "parameters": {"n": 1, "prompt_extend": False, "watermark": False},
}
_PROMPTED = {"model": MODEL, "prompt": PROMPT}

PROVIDERS = (
    Provider(
        "dashscope", "/api/v1/services/aigc/multimodal-generation/generation", _QWEN,
        lambda link, _, __: {"output": {"choices": [{"message": {"content": [{"image": link}]}}]}},
    ),
    Provider(
        "dashscope-async", "/api/v1/services/aigc/image-generation/generation", _QWEN,
        lambda link, _, __: {"output": {"task_id": "JOB", "task_status": "SUCCEEDED", "results": [{"url": link}]}},
        headers={"x-dashscope-async": "enable"},
        submitted=lambda *_: {"output": {"task_id": "JOB", "task_status": "PENDING"}},
        poll="/api/v1/tasks/JOB", pending={"output": {"task_id": "JOB", "task_status": "RUNNING"}},
    ),
    Provider(
        "ark", "/api/v3/images/generations",
        {
            **_PROMPTED, "image": ["PICTURE"], "size": "2K", "response_format": "b64_json", "watermark": False,
            "sequential_image_generation": "disabled",
        },
        lambda _, made, __: {"data": [{"b64_json": made}]},
    ),
    Provider(
        "siliconflow", "/v1/images/generations", {**_PROMPTED, "image": "PICTURE"},
        lambda link, _, __: {"images": [{"url": link}], "timings": {}},
    ),
    Provider(
        "qianfan", "/v2/images/edits", {**_PROMPTED, "image": ["PICTURE"], "n": 1},
        lambda link, _, __: {"data": [{"url": link}]},
    ),
    Provider(
        "modelscope", "/v1/images/generations", {**_PROMPTED, "image_url": ["PICTURE"]},
        lambda link, _, __: {"task_status": "SUCCEED", "output_images": [link]},
        headers={"x-modelscope-async-mode": "true"}, submitted=lambda *_: {"task_id": "JOB"}, poll="/v1/tasks/JOB",
        pending={"task_status": "PROCESSING"}, poll_headers={"x-modelscope-task-type": "image_generation"},
    ),
    Provider(
        "gemini", f"/v1beta/models/{MODEL}:generateContent",
        {
            "contents": [
                {
                    "role": "user",
                    "parts": [{"inline_data": {"mime_type": "image/png", "data": "BASE64"}}, {"text": PROMPT}],
                }
            ],
            "generationConfig": {"responseModalities": ["TEXT", "IMAGE"]},
        },
        lambda _, made, __: {
            "candidates": [{"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": made}}]}}]
        },
        key=("x-goog-api-key", KEY),
    ),
    Provider(
        "openrouter-images", "/api/v1/images",
        {**_PROMPTED, "input_references": [{"type": "image_url", "image_url": {"url": "PICTURE"}}], "n": 1},
        lambda _, made, __: {"data": [{"b64_json": made}], "usage": {"cost": 0.04}},
    ),
    Provider(
        "fal", f"/{MODEL}", {"prompt": PROMPT, "image_urls": ["PICTURE"], "num_images": 1},
        lambda link, _, __: {"images": [{"url": link}]}, key=("authorization", f"Key {KEY}"),
        submitted=lambda _, __, base: {
            "request_id": "JOB", "status": "IN_QUEUE", "status_url": f"{base}/requests/JOB/status",
            "response_url": f"{base}/requests/JOB", "cancel_url": f"{base}/requests/JOB/cancel",
        },
        poll="/requests/JOB/status", pending={"status": "IN_PROGRESS"}, second="/requests/JOB",
        finished={"status": "COMPLETED"},
    ),
    Provider(
        "bfl", f"/v1/{MODEL}", {"prompt": PROMPT, "input_image": "BASE64"},
        lambda link, _, __: {"id": "JOB", "status": "Ready", "result": {"sample": link}}, key=("x-key", KEY),
        submitted=lambda _, __, base: {"id": "JOB", "polling_url": f"{base}/v1/get_result?id=JOB"},
        poll="/v1/get_result?id=JOB", pending={"id": "JOB", "status": "Pending"},
    ),
    Provider(
        "replicate", f"/v1/models/{MODEL}/predictions", {"input": {"prompt": PROMPT, "input_image": "PICTURE"}},
        lambda link, _, __: {"id": "JOB", "status": "succeeded", "output": link},
        submitted=lambda _, __, base: {
            "id": "JOB", "status": "starting", "urls": {"get": f"{base}/v1/predictions/JOB", "cancel": f"{base}/c"},
        },
        poll="/v1/predictions/JOB", pending={"status": "processing"},
    ),
    Provider(
        "wavespeed", f"/api/v3/{MODEL}", {"prompt": PROMPT, "images": ["PICTURE"]},
        lambda link, _, __: {"code": 200, "data": {"id": "JOB", "status": "completed", "outputs": [link]}},
        submitted=lambda *_: {"code": 200, "data": {"id": "JOB", "status": "created"}},
        poll="/api/v3/predictions/JOB/result", pending={"code": 200, "data": {"status": "processing", "outputs": []}},
    ),
    Provider(
        "minimax", "/v1/image_generation",
        {
            **_PROMPTED, "subject_reference": [{"type": "character", "image_file": "PICTURE"}],
            "response_format": "base64",
        },
        lambda _, made, __: {"data": {"image_base64": [made]}, "base_resp": {"status_code": 0}},
    ),
    Provider(
        "sub2api-async", "/v1/images/edits/async",
        {**_PROMPTED, "n": 1, "image": {"url": "PICTURE"}, "response_format": "b64_json"},
        lambda link, _, __: {"task_id": "JOB", "status": "completed", "result": {"data": [{"url": link}]}},
        submitted=lambda *_: {"task_id": "JOB", "status": "queued", "poll_url": "/v1/images/tasks/JOB"},
        poll="/v1/images/tasks/JOB", pending={"task_id": "JOB", "status": "processing"},
    ),
    Provider(
        "apimart", "/v1/images/generations", {**_PROMPTED, "image_urls": ["PICTURE"]},
        lambda link, _, __: {
            "code": 200, "data": {"status": "completed", "result": {"images": [{"url": [link], "expires_at": 1}]}},
        },
        submitted=lambda *_: {"code": 200, "data": [{"status": "submitted", "task_id": "JOB"}]},
        poll="/v1/tasks/JOB", pending={"code": 200, "data": {"status": "processing", "progress": 10}},
    ),
    Provider(
        "evolink", "/v1/images/generations", {**_PROMPTED, "image_urls": ["PICTURE"]},
        lambda link, _, __: {"id": "JOB", "status": "completed", "results": [link]},
        submitted=lambda *_: {"id": "JOB", "status": "pending"}, poll="/v1/tasks/JOB",
        pending={"id": "JOB", "status": "processing", "progress": 40},
    ),
    Provider(
        "kie", "/api/v1/jobs/createTask", {"model": MODEL, "input": {"prompt": PROMPT, "image_url": "PICTURE"}},
        lambda link, _, __: {
            "code": 200, "data": {"state": "success", "resultJson": json.dumps({"resultUrls": [link]})},
        },
        submitted=lambda *_: {"code": 200, "data": {"taskId": "JOB"}}, poll="/api/v1/jobs/recordInfo?taskId=JOB",
        pending={"code": 200, "data": {"state": "generating"}},
    ),
)  # fmt: skip
_CHAT = {
    "model": MODEL,
    "messages": [
        {
            "role": "user",
            "content": [{"type": "text", "text": PROMPT}, {"type": "image_url", "image_url": {"url": "PICTURE"}}],
        }
    ],
    "temperature": 0.7, "stream": True, "max_tokens": 65535,
}  # fmt: skip
_EDITS = {**_PROMPTED, "n": 1, "image": {"url": "PICTURE"}, "response_format": "b64_json"}


def _message(**fields: Json) -> Json:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **fields}, "finish_reason": "stop"}]}


BUILT_IN = (
    Provider("xai", "/v1/images/edits", _EDITS, lambda link, *_: {"data": [{"url": link, "mime_type": "image/png"}]}),
    Provider("grok2api", "/v1/images/edits", _EDITS, lambda _, made, __: {"created": 1, "data": [{"b64_json": made}]}),
    Provider(
        "grok2api-1x", "/v1/chat/completions", _CHAT,
        lambda _, made, __: _message(content=f"![image](data:image/png;base64,{made})"),
    ),
    Provider(
        "openrouter", "/api/v1/chat/completions", {**_CHAT, "modalities": ["image", "text"]},
        lambda _, made, __: _message(
            content="", images=[{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{made}"}}]
        ),
    ),
    Provider(
        "openai", "/v1/images/edits", {**_PROMPTED, "n": "1", "image[]": "FILE"},
        lambda _, made, __: {"created": 1, "data": [{"b64_json": made}]}, form=True,
    ),
)  # fmt: skip
"""Those that the built-in modes speak with; some of them only by their own names, as behind a proxy."""
BY_ID = {provider.id: provider for provider in (*PROVIDERS, *BUILT_IN)}
