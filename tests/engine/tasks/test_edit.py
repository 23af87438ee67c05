"""One edit alone: what it keeps when storage fails, what it logs of long streams, and its live progress."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.config import ApiConfig, ApiMode
from engine.errors import Code, StorageFailed
from engine.images.cache import Cache
from engine.images.picture import check_picture
from engine.models import EditJob, EditLimits, EditOutcome, TaskStatus
from engine.tasks import edit as edit_module
from engine.tasks.attempt import LocalAttempts
from engine.tasks.edit import EditTools, run_edit
from engine.tasks.gate import CallGate
from engine.tasks.log import MAX_EVENTS, EditLog
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy
from engine.upstream.parameters import RefusedParameters
from engine.upstream.transport import Transport
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import until
from tests.support.pictures import picture
from tests.support.replies import MODES, PATHS, by_url, inline

CHAT = ApiMode.CHAT_COMPLETIONS


class Weak(Cache):
    """A real cache whose next puts fail, each with the code that is due."""

    def __init__(self, folder: Path, *failures: Code | None) -> None:
        super().__init__(folder)
        self.failures = list(failures)

    def put(self, data: bytes, extension: str, announce: Callable[[str], None] = lambda _: None) -> str:
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise StorageFailed(failure, path="cache", reason="test")
        return super().put(data, extension, announce)


def resolve_here(host: str, port: int, *_: Any) -> list[Any]:
    """Every name is this machine."""
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, host, ("127.0.0.1", port))]


class Bench:
    """Runs edits of one source picture against the fake."""

    def __init__(self, folder: Path, fake: FakeUpstream) -> None:
        self.folder = folder
        self.fake = fake
        self.cancel = CancelToken()
        self.log = EditLog("secret-key")
        self.cache: Cache = Cache(folder / "cache")
        self.transport = Transport(NetPolicy(), resolve=resolve_here)
        self.gate = CallGate(2, 0.1)
        (folder / "a.png").write_bytes(picture(1))

    def run(self, **config: Any) -> EditOutcome:
        """One edit."""
        fields = {"api_url": self.fake.url(), "api_key": "secret-key", "max_retries": 0, "retry_interval": 0.1}
        unlocked = {"unlock_local_api_url": True, "unlock_local_download_url": True}
        job = EditJob("t", str(self.folder / "a.png"), ApiConfig(**{**fields, **unlocked, **config}), EditLimits())
        attempts = LocalAttempts(self.transport)
        tools = EditTools(attempts, self.cache, self.gate, parameters=RefusedParameters(self.folder / "refused.json"))
        return run_edit(job, tools, self.cancel, self.log)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench with a running fake."""
    with FakeUpstream() as fake:
        made = Bench(tmp_path, fake)
        yield made
        made.transport.close()


def test_a_full_disk_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture in hand is paid for: it is stored as soon as there is room, and the API is not asked again."""
    monkeypatch.setattr(edit_module, "_DISK_WAIT_SECONDS", 0.05)
    bench.cache = Weak(bench.folder / "cache", Code.DISK_FULL, Code.DISK_FULL)
    bench.fake.answer(inline(CHAT, picture(2)))
    outcome = bench.run()
    assert (outcome.status, len(outcome.images), outcome.attempts) == (TaskStatus.DONE, 1, 1)
    assert [entry.data["code"] for entry in outcome.log if entry.kind == "error"] == ["disk_full"]
    assert bench.cache.read(outcome.images[0].hash, "png") == picture(2)


def test_stop_ends_the_wait_for_the_disk(bench: Bench) -> None:
    """A person need not wait for a disk that stays full."""
    bench.cache = Weak(bench.folder / "cache", *[Code.DISK_FULL] * 100)
    bench.fake.answer(inline(CHAT, picture(2)))
    threading.Timer(0.3, bench.cancel.cancel).start()
    outcome = bench.run()
    assert (outcome.status, outcome.images) == (TaskStatus.STOPPED, [])


@pytest.mark.parametrize("failures", [[Code.STORAGE_FAILED], [None, Code.STORAGE_FAILED, Code.DISK_FULL]])
def test_a_cache_that_fails(bench: Bench, monkeypatch: pytest.MonkeyPatch, failures: list[Code | None]) -> None:
    """No handles, a folder that cannot be written: pictures that are paid for wait until it works again."""
    monkeypatch.setattr(edit_module, "_DISK_WAIT_SECONDS", 0.05)
    bench.cache = Weak(bench.folder / "cache", *failures)
    bench.fake.answer(inline(CHAT, picture(2), picture(3)))
    outcome = bench.run()
    assert (outcome.status, len(outcome.images), outcome.attempts) == (TaskStatus.DONE, 2, 1)
    told = [entry.data["code"] for entry in outcome.log if entry.kind == "error"]
    assert told == [failure.value for failure in failures if failure is not None]


def test_long_streams_are_logged_in_short(bench: Bench) -> None:
    """Of a stream of thousands of pieces the first are kept and the others counted."""
    text = f"![i](data:image/png;base64,{base64.b64encode(picture(2)).decode()})"
    pieces = [{"choices": [{"index": 0, "delta": {"content": letter}}]} for letter in text]
    bench.fake.answer(Script.events(*[{"choices": [{"index": 0, "delta": {"content": ""}}]}] * 400, *pieces))
    outcome = bench.run()
    assert outcome.status is TaskStatus.DONE
    events = [entry for entry in outcome.log if entry.kind == "event"]
    assert len(events) == MAX_EVENTS + 1
    assert events[-1].data["left_out"] == 400 + len(pieces) + 1 - MAX_EVENTS


def test_previews_are_progress(bench: Bench) -> None:
    """While the answer is under way its last preview and percentage can be seen; they are no results."""
    preview = base64.b64encode(picture(5)).decode()
    events: list[dict[str, Any]] = [
        {"type": "image_generation.partial_image", "b64_json": preview, "progress": 30},
        {"type": "image_generation.partial_image", "b64_json": "", "progress": 60},
    ]
    bench.fake.answer(Script.events(*events, done=False, framing="chunked", stop_at=10**6, ending="hang"))
    outcomes: list[EditOutcome] = []
    url = bench.fake.url("/v1/images/edits")
    thread = threading.Thread(target=lambda: outcomes.append(bench.run(api_url=url)))
    thread.start()
    until(lambda: bench.log.percent == 60)
    assert bench.log.preview == preview
    assert bench.log.stage == "receiving"
    bench.cancel.cancel()
    thread.join(30)
    assert (outcomes[0].status, outcomes[0].images) == (TaskStatus.STOPPED, [])


@pytest.mark.parametrize(
    "first",
    [
        Script(b"gone", status=404),
        Script(b"<Error>AccessDenied</Error>", status=403),
        Script(b"", status=520),
        Script(picture(2)[:-30], content_type="image/png", framing="close"),
        Script(b"<html>one moment</html>", content_type="text/html"),
        Script(b"", content_type="image/png"),
    ],
)
def test_a_download_that_may_come_is_tried_again(bench: Bench, first: Script) -> None:
    """A file that is not there yet, half of it or a page in its place: fetched again, and the API is asked once."""
    bench.fake.answer(by_url(CHAT, bench.fake.url("/late.png")), first, Script(picture(2), content_type="image/png"))
    outcome = bench.run(max_retries=1)
    assert (outcome.status, len(outcome.images), outcome.attempts) == (TaskStatus.DONE, 1, 1)
    assert [request.method for request in bench.fake.requests] == ["POST", "GET", "GET"]


def test_a_download_that_stays_broken(bench: Bench) -> None:
    """The reason is that of the last try; the others count as they did."""
    url = bench.fake.route("/page", Script(b"<html></html>", content_type="text/html"))
    bench.fake.answer(by_url(CHAT, url))
    outcome = bench.run(max_retries=2)
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.params["reason"]) == (Code.CANDIDATES_REFUSED, Code.PICTURE_NOT_IMAGE)
    assert [request.method for request in bench.fake.requests] == ["POST", "GET", "GET", "GET"]


@pytest.mark.parametrize("ending", ["close", "reset"])
@pytest.mark.parametrize(("count", "status"), [(1, TaskStatus.DONE), (2, TaskStatus.PARTIAL_SUCCESS)])
def test_a_line_that_breaks_behind_the_picture(bench: Bench, ending: str, count: int, status: TaskStatus) -> None:
    """When all pictures that were asked for have come, what follows is not missed; else the task says so."""
    script = inline(CHAT, picture(2), framing="chunked")
    bench.fake.answer(replace(script, stop_at=script.body.index(b"\n\n") + 2, ending=ending))
    outcome = bench.run(max_retries=2, result_count=count)
    assert (outcome.status, len(outcome.images), outcome.attempts) == (status, 1, 1)
    assert (outcome.warning is None) == (status is TaskStatus.DONE)


def test_a_line_that_stays_open_behind_the_end(bench: Bench) -> None:
    """After the end mark there is nothing to wait for, though the server forgets to close."""
    script = inline(CHAT, picture(2))
    bench.fake.answer(replace(script, framing="chunked", stop_at=len(script.body), ending="hang"))
    started = time.monotonic()
    outcome = bench.run(timeout_seconds=120)
    assert (outcome.status, outcome.warning) == (TaskStatus.DONE, None)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    "kind", ["text/event-stream; charset=gbk", "application/json; charset=latin1", "text/plain", ""]
)
@pytest.mark.parametrize(
    ("name", "mimes"),
    [
        ("c1_two_pictures_crlf.sse", ["image/png", "image/jpeg"]),
        ("c3_reasoning_content.sse", ["image/webp"]),  # it says that it is PNG
        ("c4_split_base64.sse", ["image/png"]),
        ("c7_plain_json.json", ["image/jpeg"]),
        ("c8_two_documents.txt", ["image/png", "image/jpeg"]),
    ],
)
def test_an_answer_is_what_its_bytes_are(bench: Bench, name: str, mimes: list[str], kind: str) -> None:
    """Whatever type and charset the header names, and whatever type a picture claims: UTF-8, and the bytes decide."""
    bench.fake.answer(Script.sample(name, content_type=kind or None))
    outcome = bench.run()
    assert (outcome.status, [image.info.mime for image in outcome.images]) == (TaskStatus.DONE, mimes)
    (extracted,) = [entry.data for entry in outcome.log if entry.kind == "extracted"]
    assert ("完成" in extracted["text"]) == (name[:2] in {"c3", "c4", "c7"})


def test_one_picture_in_several_ways_is_one_result(bench: Bench) -> None:
    """Two addresses and base64 with the same bytes: unique by these, in the order in which they came first; what the
    prompt names is none of them."""
    first, again = (bench.fake.picture(picture(2), path) for path in ("/1.png", "/2.png"))
    other, ours = (bench.fake.picture(picture(number), f"/{number}.png") for number in (3, 4))
    text = base64.b64encode(picture(2)).decode()
    words = f"![s]({ours}) ![a]({first}) ![b]({other}) ![c]({again}) ![d](data:image/png;base64,{text})"
    bench.fake.answer(Script.json({"choices": [{"message": {"content": words}, "finish_reason": "stop"}]}))
    outcome = bench.run(user_prompt=f"as in {ours}")
    assert [bench.cache.read(image.hash, "png") for image in outcome.images] == [picture(2), picture(3)]


def test_a_source_that_is_converted_is_known_by_its_own_bytes(bench: Bench) -> None:
    """What APIs refuse is sent as PNG and as small as was asked; the ledger gets the hash of the file."""
    data = picture(4, kind="bmp", size=(60, 40))
    (bench.folder / "a.png").write_bytes(data)
    bench.fake.answer(inline(CHAT, picture(2)))
    outcome = bench.run(source_max_edge=30)
    assert outcome.source_hash == hashlib.sha256(data).hexdigest()
    url = bench.fake.requests[0].json["messages"][-1]["content"][-1]["image_url"]["url"]
    assert url.startswith("data:image/png;base64,")
    sent = check_picture(base64.b64decode(url.partition(",")[2]), 10**6)
    assert (sent.mime, sent.width, sent.height) == ("image/png", 30, 20)


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_that_is_the_picture(bench: Bench, mode: ApiMode) -> None:
    """Some APIs send the bytes themselves: paid for like any other, and kept as they came."""
    bench.fake.answer(Script(picture(2), content_type="image/png", pieces=(7,)))
    outcome = bench.run(api_url=bench.fake.url(PATHS[mode]))
    assert outcome.status is TaskStatus.DONE
    assert bench.cache.read(outcome.images[0].hash, "png") == picture(2)


def test_headers_of_an_answer_that_holds_an_error(bench: Bench) -> None:
    """A limit that is told with status 200 is waited for as its headers say."""
    error = {"error": {"message": "rate limit", "code": 429}}
    bench.fake.answer(Script.json(error, headers={"Retry-After": "2"}), inline(CHAT, picture(2)))
    outcome = bench.run(max_retries=1)
    assert (outcome.status, outcome.attempts) == (TaskStatus.DONE, 2)
    delays = [entry.data["delay"] for entry in outcome.log if entry.kind == "retry"]
    assert delays
    assert delays[0] >= 2


FORM_REFUSALS = [
    Script.error(415, "Unsupported Media Type"),
    Script.error(400, "Unsupported content type: 'application/json'. This method only accepts 'multipart/form-data'."),
    Script.error(500, "convert_request_failed: request Content-Type isn't multipart/form-data"),
    Script.error(500, "'dict' object has no attribute 'read'"),
    Script.error(400, "Invalid type for 'image': expected a file, but got an object instead."),
    Script.error(400, "image is required"),
]


@pytest.mark.parametrize("refusal", FORM_REFUSALS)
def test_a_relay_that_takes_forms_only(bench: Bench, refusal: Script) -> None:
    """OpenAI's relays want multipart at any address: found out once in a run, and no retry is spent on it."""

    def answering(request: Received) -> Script:
        if "multipart/form-data" not in request.headers["content-type"]:
            return refusal
        return inline(ApiMode.IMAGES_EDITS, picture(2)) if len(bench.fake.requests) > 2 else Script(status=503)

    bench.fake.answer_with(answering)
    url = bench.fake.url(PATHS[ApiMode.IMAGES_EDITS])
    first = bench.run(api_url=url, max_retries=1)
    assert (first.status, first.attempts) == (TaskStatus.DONE, 3)
    (part,) = [part for part in bench.fake.requests[-1].form if part.name == "image"]
    assert (part.content_type, part.data) == ("image/png", picture(1))
    assert (bench.run(api_url=url).status, len(bench.fake.requests)) == (TaskStatus.DONE, 4)
    bench.fake.answer(refusal)  # after a picture came it is this request that is refused, not its form
    assert (bench.run(api_url=url).status, len(bench.fake.requests)) == (TaskStatus.FAILED, 5)


@pytest.mark.parametrize("mode", MODES)
def test_a_form_that_is_refused_both_ways(bench: Bench, mode: ApiMode) -> None:
    """Every form is tried once, and only where there are several; the refusal is told."""
    bench.fake.answer(Script.error(415, "no"))
    outcome = bench.run(api_url=bench.fake.url(PATHS[mode]), max_retries=3)
    assert outcome.error is not None
    assert (outcome.error.code, outcome.http_status) == (Code.UPSTREAM_STATUS, 415)
    assert len(bench.fake.requests) == (5 if mode is ApiMode.IMAGES_EDITS else 1)


def test_other_refusals_keep_the_form(bench: Bench) -> None:
    """What stands in a request, or a server in trouble, is no reason to say it in another form."""
    options = [
        Script.error(400, f"Unknown parameter: '{name}'.") for name in ("size", "input_fidelity", "partial_images")
    ]
    for refusal in (*options, Script.error(401, "no"), Script(status=500)):
        bench.fake.answer(refusal)
        before = len(bench.fake.requests)
        assert bench.run(api_url=bench.fake.url(PATHS[ApiMode.IMAGES_EDITS])).status is TaskStatus.FAILED
        assert len(bench.fake.requests) == before + 1


def refusing(field: str, message: str, answer: Script, *, most: int = 0) -> Callable[[Received], Script]:
    """An API that refuses a field, or a number in it above ``most``; ``message`` is told with HTTP 400."""

    def reply(request: Received) -> Script:
        value = request.json.get(field)
        return answer if value is None or (most and value <= most) else Script.error(400, message)

    return reply


@pytest.mark.parametrize(
    ("field", "message", "most", "mode"),
    [
        ("temperature", "Unsupported parameter: 'temperature' is not supported with this model.", 0, ApiMode.RESPONSES),
        ("response_format", "Unknown parameter: 'response_format'.", "", ApiMode.IMAGES_EDITS),
        ("response_format", "body.response_format: Extra inputs are not permitted", "", ApiMode.IMAGES_EDITS),
        (
            "max_tokens",
            "max_tokens is too large: 65535. The model supports at most 16384 tokens",
            16384,
            CHAT,
        ),
        ("max_tokens", "Range of max_tokens should be [1, 8192]", 8192, CHAT),
        ("max_tokens", "Invalid 'max_tokens': use 'max_completion_tokens' instead, at most 128000", 0, CHAT),
        ("stream", "Argument not supported on this model: stream", False, CHAT),
        ("n", "property 'n' is unsupported", 0, ApiMode.IMAGES_EDITS),
        ("modalities", "No endpoints found that support the requested output modalities: image, text", "", CHAT),
    ],
)
def test_a_parameter_that_is_refused_is_left_out(
    bench: Bench, field: str, message: str, most: Any, mode: ApiMode
) -> None:
    """One refused call finds it out; from then on, also after a restart, it is left out or lowered for this model."""
    bench.fake.answer_with(refusing(field, message, inline(mode, picture(2)), most=most))
    url = bench.fake.url(PATHS[mode]).replace("127.0.0.1", "ai-gateway.test")  # which is sent modalities
    outcome = bench.run(api_url=url)
    assert (outcome.status, outcome.attempts) == (TaskStatus.DONE, 2), outcome.error
    assert [entry.data["what"] for entry in outcome.log if entry.kind == "retry"] == [field]
    assert bench.run(api_url=url).attempts == 1
    assert bench.run(api_url=url, model_name="another").attempts == 2


def test_what_the_person_wrote_is_not_left_out(bench: Bench) -> None:
    """A parameter of the extra body is theirs: its refusal is told, with how to leave it out. Others cost no repeat."""
    bench.fake.answer(*[Script.error(400, "Unsupported parameter: 'temperature'")] * 2)
    outcome = bench.run(extra_body={"temperature": 0.2})
    assert (outcome.status, outcome.attempts) == (TaskStatus.FAILED, 1)
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.params["parameter"]) == (Code.PARAMETER_REFUSED, "temperature")
    bench.fake.answer(*[Script.error(400, "Unsupported parameter: 'aspect_ratio'")] * 2)
    assert bench.run().attempts == 1


def test_a_parameter_that_is_refused_though_left_out(bench: Bench) -> None:
    """An API that always says the same is asked once more and no third time."""
    message = "This request requires more credits, or fewer max_tokens. You requested 65535, but can only afford 4666."
    bench.fake.answer(*[Script.error(402, message)] * 9)
    outcome = bench.run()
    assert outcome.attempts == 3  # lowered, then left out
    assert outcome.error is not None
    assert (outcome.error.code, outcome.error.params["limit"]) == (Code.PARAMETER_REFUSED, 4666)


@pytest.mark.parametrize(
    ("full", "expected"),
    [
        (Script(body=picture(3), content_type="image/png"), 3),
        (Script(body=b"<html>the page of a picture</html>", content_type="text/html"), 2),
        (Script(status=404), 2),
    ],
)
def test_a_linked_picture_or_its_thumbnail(bench: Bench, full: Script, expected: int) -> None:
    """The link's target is the result; where that is a page or gone, what was shown is, without waiting for better."""
    thumb = bench.fake.picture(picture(2), "/thumb")
    text = f"[![x]({thumb})]({bench.fake.route('/full', full)})"
    bench.fake.answer(Script.json({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}))
    outcome = bench.run(max_retries=2, retry_interval=60)
    assert outcome.status is TaskStatus.DONE
    assert [bench.cache.read(image.hash, "png") for image in outcome.images] == [picture(expected)]
