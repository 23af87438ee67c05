"""The demo endpoint over real HTTP: three modes, streams, URLs, faults on request, and an end that ends everything."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageChops

from bridge.demo.endpoint import DEMO_PROMPT, DemoEndpoint, demo_config, samples_folder
from bridge.demo.serving import DemoState
from engine.config import ApiMode
from tests.support.doors import until

LAKE = (samples_folder() / "001_start.jpg").read_bytes()
CARP = (samples_folder() / "004_start.png").read_bytes()
BOAT = (samples_folder() / "009_start.jpg").read_bytes()
MODES = [ApiMode.CHAT_COMPLETIONS, ApiMode.RESPONSES, ApiMode.IMAGES_EDITS]


@pytest.fixture(scope="module")
def demo() -> Iterator[DemoEndpoint]:
    """An endpoint that does not dawdle."""
    with DemoEndpoint(delay=0.05) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A client that goes straight to loopback whatever proxy the environment names."""
    with httpx.Client(trust_env=False, timeout=20) as session:
        yield session


def data_url(picture: bytes) -> str:
    """A picture as a data URL with its real type."""
    kind = Image.open(io.BytesIO(picture)).get_format_mimetype()
    return f"data:{kind};base64,{base64.b64encode(picture).decode()}"


def body(mode: ApiMode, prompt: str, picture: bytes = LAKE, **extra: Any) -> dict[str, Any]:
    """A request body of one mode, as the APIs want it."""
    url = data_url(picture)
    if mode is ApiMode.IMAGES_EDITS:
        return {"model": "demo-edit", "prompt": prompt, "image": {"url": url}, **extra}
    if mode is ApiMode.RESPONSES:
        parts = [{"type": "input_text", "text": prompt}, {"type": "input_image", "image_url": url}]
        return {"model": "demo-edit", "input": [{"role": "user", "content": parts}], **extra}
    content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": url}}]
    return {"model": "demo-edit", "messages": [{"role": "user", "content": content}], **extra}


def events(text: str) -> list[tuple[str, Any]]:
    """Name and data of each event of a stream; ``[DONE]`` is left out."""
    found = []
    for block in filter(None, text.split("\n\n")):
        fields = dict(line.split(": ", 1) for line in block.splitlines())
        if fields["data"] != "[DONE]":
            found.append((fields.get("event", ""), json.loads(fields["data"])))
    return found


def pictures_in(document: Any) -> list[str]:
    """Base64 texts and URLs of the results in a document of any mode."""
    if "data" in document:
        return [entry.get("b64_json") or entry["url"] for entry in document["data"]]
    if "choices" in document:
        texts = [choice["message"]["content"] for choice in document["choices"]]
    else:
        calls = [item["result"] for item in document["output"] if item["type"] == "image_generation_call"]
        if calls:
            return calls
        texts = [part["text"] for item in document["output"] for part in item["content"]]
    return [re.fullmatch(r"!\[image\]\((.*)\)", text)[1].rpartition("base64,")[2] for text in texts]  # type: ignore[index]


def opened(text: str) -> Image.Image:
    """The picture in a base64 text, decoded completely."""
    image = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
    image.load()
    return image


@pytest.mark.parametrize("mode", MODES)
def test_document_holds_edited_picture(demo: DemoEndpoint, client: httpx.Client, mode: ApiMode) -> None:
    """Without a stream each mode answers with JSON that holds a whole picture, other than the one sent."""
    answer = client.post(demo.url(mode), json=body(mode, DEMO_PROMPT))
    assert (answer.status_code, answer.headers["x-demo"]) == (200, "1")
    assert answer.json()["model"] == "demo-edit"
    image = opened(pictures_in(answer.json())[0])
    assert image.size == (960, 640)
    difference = ImageChops.difference(image.convert("RGB"), Image.open(io.BytesIO(LAKE)).convert("RGB"))
    assert difference.getbbox() is not None


@pytest.mark.parametrize("mode", MODES)
def test_stream_has_progress_then_results(demo: DemoEndpoint, client: httpx.Client, mode: ApiMode) -> None:
    """With a stream each mode sends rising progress first, then n different pictures, then [DONE]."""
    answer = client.post(demo.url(mode), json=body(mode, "素描", stream=True, n=3))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.endswith("data: [DONE]\n\n")
    seen = events(answer.text)
    if mode is ApiMode.IMAGES_EDITS:
        percents = [data["progress"] for name, data in seen if name == "image_generation.partial_image"]
        found = [data["b64_json"] for name, data in seen if name == "image_generation.completed"]
        previews = [data["b64_json"] for name, data in seen if name == "image_generation.partial_image"]
        assert previews[0] == ""
        assert max(opened(previews[-1]).size) == 256
    elif mode is ApiMode.RESPONSES:
        percents = [data["progress"] for _, data in seen if "progress" in data]
        found = [data["item"]["result"] for name, data in seen if name == "response.output_item.done"]
        assert seen[-1][0] == "response.completed"
        assert pictures_in(seen[-1][1]["response"]) == found
    else:
        deltas = [data["choices"][0]["delta"] for _, data in seen]
        percents = [int(delta["reasoning_content"].rstrip("%\n")) for delta in deltas if "reasoning_content" in delta]
        found = [delta["content"].rpartition("base64,")[2][:-1] for delta in deltas if delta.get("content")]
        assert {data["choices"][0]["index"] for _, data in seen} == {0, 1, 2}
    assert percents == sorted(percents)
    assert len(percents) == 3
    assert len(set(found)) == 3
    assert {opened(text).size for text in found} == {(960, 640)}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stream", [False, True])
def test_url_results_can_be_fetched(demo: DemoEndpoint, client: httpx.Client, mode: ApiMode, stream: bool) -> None:
    """Results asked for as URLs lie under /files/ of the endpoint itself and decode."""
    answer = client.post(demo.url(mode), json=body(mode, "gray", response_format="url", stream=stream))
    urls = set(re.findall(r"http://127\.0\.0\.1:\d+/files/[\w-]+\.jpg", answer.text))
    assert len(urls) == 1
    picture = client.get(urls.pop())
    assert (picture.headers["content-type"], picture.headers["x-demo"]) == ("image/jpeg", "1")
    red, green, blue = Image.open(io.BytesIO(picture.content)).convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert max(red, green, blue) - min(red, green, blue) <= 4


def test_form_like_openai(demo: DemoEndpoint, client: httpx.Client) -> None:
    """The edits path takes multipart with image[] too, and refuses response_format there as OpenAI does."""
    files = {"image[]": ("a.png", CARP, "image/png")}
    answer = client.post(demo.url(), data={"prompt": "mirror", "model": "x", "n": "2"}, files=files)
    first, second = (opened(entry["b64_json"]) for entry in answer.json()["data"])
    assert (first.mode, first.format, second.mode) == ("RGBA", "PNG", "RGBA")
    kept = ImageChops.difference(
        first.getchannel("A").crop((0, 0, 400, 440)),
        Image.open(io.BytesIO(CARP)).transpose(Image.Transpose.FLIP_LEFT_RIGHT).getchannel("A").crop((0, 0, 400, 440)),
    )
    assert kept.getbbox() is None
    refused = client.post(demo.url(), data={"prompt": "x", "response_format": "url"}, files=files)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "response_format")


def test_orientation_is_obeyed_and_mark_is_drawn(demo: DemoEndpoint, client: httpx.Client) -> None:
    """A picture that lies on its side comes back upright, with the mark in the lower right corner only."""
    answer = client.post(demo.url(), json=body(ApiMode.IMAGES_EDITS, "mirror", BOAT))
    image = opened(pictures_in(answer.json())[0])
    assert image.size == (600, 800)
    assert image.getexif().get(0x0112, 1) == 1
    plain = (
        Image.open(io.BytesIO(BOAT)).transpose(Image.Transpose.ROTATE_270).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    )
    changed = ImageChops.difference(image.convert("L"), plain.convert("L")).point([255 * (v > 60) for v in range(256)])
    box = changed.getbbox()
    assert box is not None
    assert box[0] > 500
    assert box[1] > 760


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 502, 503])
def test_status_on_request(demo: DemoEndpoint, client: httpx.Client, status: int) -> None:
    """``error NNN`` in the prompt gives that status with an error object; 429 and 503 say when to come again."""
    answer = client.post(demo.url(), json=body(ApiMode.IMAGES_EDITS, f"night, error {status}"))
    assert (answer.status_code, answer.headers["x-demo"]) == (status, "1")
    assert answer.json()["error"]["message"]
    assert ("retry-after" in answer.headers) == (status in (429, 503))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stream", [False, True])
def test_faults_on_request(demo: DemoEndpoint, client: httpx.Client, mode: ApiMode, stream: bool) -> None:
    """Each named fault shows as what it is called, in every mode, streamed or not."""

    def ask(prompt: str) -> httpx.Response:
        return client.post(demo.url(mode), json=body(mode, prompt, stream=stream))

    page = ask("error html")
    assert page.status_code == 500
    assert page.text.startswith("<!DOCTYPE html>")
    assert ask("错误 empty").content == b""
    assert '"error":{' in ask("error event").text
    words = ask("error text")
    assert "base64" not in words.text
    assert "edit" in words.text
    assert "/files/gone.jpg" in ask("error link").text
    assert client.get(demo.base_url + "/files/gone.jpg").status_code == 404
    with pytest.raises(httpx.RemoteProtocolError):
        ask("error cut")
    found = re.search(r"[A-Za-z0-9+/]{9000,}=*", ask("error broken").text)
    assert found is not None
    with pytest.raises(OSError, match="truncated"):
        opened(found[0])


def test_once_fails_only_the_first_time(demo: DemoEndpoint, client: httpx.Client) -> None:
    """``error 500 once`` fails the first call for each picture and serves the second."""
    for picture in (LAKE, CARP):
        asked = body(ApiMode.IMAGES_EDITS, "素描，错误 500 一次", picture)
        assert [client.post(demo.url(), json=asked).status_code for _ in range(3)] == [500, 200, 200]


@pytest.mark.parametrize(
    ("mode", "change", "status", "parameter"),
    [
        (ApiMode.IMAGES_EDITS, {"n": 11}, 400, "n"),
        (ApiMode.IMAGES_EDITS, {"n": "two"}, 400, "n"),
        (ApiMode.IMAGES_EDITS, {"image": None}, 400, "image"),
        (ApiMode.IMAGES_EDITS, {"image": {"url": "https://example.com/a.png"}}, 400, "image"),
        (ApiMode.IMAGES_EDITS, {"image": {"url": "data:image/png;base64,@@@@"}}, 400, "image"),
        (ApiMode.IMAGES_EDITS, {"image": {"url": "data:image/png;base64,AAAA"}}, 400, "image"),
        (ApiMode.CHAT_COMPLETIONS, {"messages": []}, 400, "image"),
        (ApiMode.RESPONSES, {"input": "only words"}, 400, "image"),
    ],
)
def test_bad_requests_name_the_parameter(
    demo: DemoEndpoint, client: httpx.Client, mode: ApiMode, change: dict[str, Any], status: int, parameter: str
) -> None:
    """What cannot be served is refused with a status and the parameter, as real endpoints do."""
    answer = client.post(demo.url(mode), json=body(mode, "x") | change)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, parameter)


def test_other_methods_and_paths(demo: DemoEndpoint, client: httpx.Client) -> None:
    """Probes get honest answers: model list, 405 with Allow, 404, 415, and 403 for a web page of elsewhere."""
    assert client.get(demo.base_url + "/v1/models").json()["data"][0]["id"] == "demo-edit"
    probe = client.get(demo.url())
    assert (probe.status_code, "POST" in probe.headers["allow"]) == (405, True)
    head = client.head(demo.url())
    assert (head.status_code, head.content) == (405, b"")
    assert client.options(demo.url()).status_code == 204
    assert client.get(demo.base_url + "/nothing").status_code == 404
    assert client.post(demo.base_url + "/v1/images/generations", json={}).status_code == 404
    assert client.post(demo.url(), content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    assert client.post(demo.url(), content=b"{", headers={"Content-Type": "application/json"}).status_code == 400
    asked = body(ApiMode.IMAGES_EDITS, "x")
    assert client.post(demo.url(), json=asked, headers={"Origin": "https://example.com"}).status_code == 403


def test_takes_the_time_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit lasts about ``delay`` seconds, and many at once do not queue up behind each other."""
    together, met, wait = threading.Barrier(8), set[int](), DemoState.wait

    def meet(state: DemoState, seconds: float) -> None:
        if (call := threading.get_ident()) not in met:
            met.add(call)
            together.wait(60)  # for all eight, each in the middle of its edit
        wait(state, seconds)

    monkeypatch.setattr(DemoState, "wait", meet)
    with DemoEndpoint(delay=0.5) as slow, httpx.Client(trust_env=False, timeout=90) as session:
        asked = body(ApiMode.IMAGES_EDITS, "gray", CARP, stream=True)
        begun = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: session.post(slow.url(), json=asked).status_code, range(8)))
        assert answers == [200] * 8
        assert time.monotonic() - begun >= 0.45


def test_close_ends_threads_and_connections() -> None:
    """Closing in the middle of slow calls ends them at once and leaves no thread and no port behind."""
    before = set(threading.enumerate())
    looked: list[float] = []

    def clock() -> float:
        looked.append(time.monotonic())
        return looked[-1]

    demo = DemoEndpoint(delay=0.05, clock=clock).start()
    port = int(demo.base_url.rpartition(":")[2])

    def call(stream: bool) -> str:
        with httpx.Client(trust_env=False, timeout=60) as session:
            try:
                session.post(demo.url(), json=body(ApiMode.IMAGES_EDITS, "error slow", CARP, stream=stream))
            except httpx.TransportError as error:
                return type(error).__name__
            return "answered"

    idle = socket.create_connection(("127.0.0.1", port))
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(call, stream) for stream in (True, False)]
        until(lambda: len(looked) >= 4)  # a call looks when it comes, and when it begins to wait for its edit's time
        demo.close()
        assert [future.result(60) for future in calls] == ["RemoteProtocolError"] * 2
    assert idle.recv(1) == b""
    idle.close()
    assert {thread for thread in threading.enumerate() if thread not in before and "demo" in thread.name} == set()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), 2).close()
    demo.close()


def test_config_calls_the_endpoint(demo: DemoEndpoint, client: httpx.Client) -> None:
    """The ready-made settings name the endpoint, unlock loopback, hold no key, and are understood."""
    for mode in MODES:
        config = demo_config(demo.base_url, mode)
        assert (config.mode, config.api_url, config.api_key) == (mode, demo.url(mode), "")
        assert config.unlock_local_api_url
        assert config.unlock_local_download_url
        assert client.post(config.api_url, json=body(mode, config.user_prompt)).status_code == 200


def test_samples_of_an_unpacked_program_are_copied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A program that lies in a new place at each start keeps its samples in the data folder, and overwrites none."""
    source = samples_folder()
    monkeypatch.setattr(sys, "_MEIPASS", str(source.parents[1]), raising=False)
    monkeypatch.setenv("APP_DATA_DIR", str(tmp_path))
    kept = samples_folder()
    assert kept == tmp_path / "samples"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        path.name: path.read_bytes() for path in source.iterdir()
    }
    (kept / "001_start.jpg").write_bytes(b"changed")
    assert (samples_folder(tmp_path) / "001_start.jpg").read_bytes() == b"changed"
