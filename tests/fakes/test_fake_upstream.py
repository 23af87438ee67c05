"""The fake paid API does what it says, so that the tests which stand on it mean something."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.fakes.upstream import FakeUpstream, Script


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    """A running fake."""
    with FakeUpstream() as running:
        yield running


@pytest.mark.parametrize("pieces", [(1,), (7,), (1, 2, 5), ()])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("compressed", [False, True])
def test_body_arrives_whole_however_sent(
    fake: FakeUpstream, pieces: tuple[int, ...], framing: str, compressed: bool
) -> None:
    """Pieces, framing and gzip change the way, never the bytes."""
    body = "data: 图片\r\n\r\n".encode() * 20
    fake.answer(Script(body=body, pieces=pieces, framing=framing, compressed=compressed))
    assert httpx.post(fake.url(), trust_env=False).content == body


def test_answers_come_in_order_and_the_last_repeats(fake: FakeUpstream) -> None:
    """Scripts are taken one by one; fixed paths do not use them up."""
    picture = fake.picture(b"bytes")
    fake.answer(Script.error(429, "slow down", headers={"Retry-After": "2"}), Script.json({"ok": 1}))
    with httpx.Client(trust_env=False) as client:
        assert client.get(picture).content == b"bytes"
        first = client.post(fake.url())
        assert (first.status_code, first.headers["Retry-After"]) == (429, "2")
        assert [client.post(fake.url()).json() for _ in range(3)] == [{"ok": 1}] * 3
    assert len(fake.requests) == 5
    assert len(fake.api_requests) == 4
    assert len({request.port for request in fake.requests}) == 1


def test_requests_are_recorded_with_json_and_form(fake: FakeUpstream) -> None:
    """JSON and multipart bodies can be read back."""
    fake.answer(Script.json({}))
    httpx.post(fake.url("/a?q=1"), json={"model": "m"}, headers={"X-Test": "1"}, trust_env=False)
    files = {"image[]": ("a.png", b"\x89\r\n", "image/png")}
    httpx.post(fake.url("/b"), data={"prompt": "编辑"}, files=files, trust_env=False)
    asked, posted = fake.requests
    assert (asked.method, asked.path, asked.json, asked.headers["x-test"]) == ("POST", "/a?q=1", {"model": "m"}, "1")
    prompt, image = posted.form
    assert (prompt.name, prompt.data.decode()) == ("prompt", "编辑")
    assert (image.name, image.filename, image.content_type) == ("image[]", "a.png", "image/png")
    assert image.data == b"\x89\r\n"


@pytest.mark.parametrize(
    "script",
    [
        Script(body=b"x" * 100, stop_at=40, framing="length"),
        Script(body=b"x" * 100, stop_at=40, framing="chunked", pieces=(7,)),
        Script(body=b"x" * 100, stop_at=40, ending="reset"),
        Script(body=b"x" * 100, claim=500),
    ],
)
def test_broken_answers_break_the_call(fake: FakeUpstream, script: Script) -> None:
    """A cut, a reset and a false Content-Length are errors for a client."""
    fake.answer(script)
    with pytest.raises(httpx.TransportError):
        httpx.post(fake.url(), trust_env=False)


def test_redirects_loop_and_chain(fake: FakeUpstream) -> None:
    """A loop never ends; a chain has as many hops as asked for."""
    target = fake.picture(b"p")
    with httpx.Client(trust_env=False, follow_redirects=True) as client:
        with pytest.raises(httpx.TooManyRedirects):
            client.get(fake.redirect_loop())
        assert len(client.get(fake.redirect_chain(3, target)).history) == 3


def test_silent_and_hanging_answers_end_when_the_client_leaves(fake: FakeUpstream) -> None:
    """The fake notices a client that gave up, and counts it."""
    fake.answer(Script(silent=True), Script(body=b"x" * 10, stop_at=5, ending="hang"))
    for _ in range(2):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(fake.url(), timeout=0.3, trust_env=False)
    assert fake.wait_for_no_connections()
    assert fake.hang_ups == 2


def test_drip_takes_its_time_and_close_ends_it() -> None:
    """A dripping answer can be watched, and closing the fake ends it at once."""
    fake = FakeUpstream()
    with fake:
        fake.answer(Script(body=b"x" * 1000, pieces=(1,), pause=0.05))
        with socket.create_connection(("127.0.0.1", fake.port)) as line:
            line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            assert line.recv(10)
            assert fake.connections == 1
            started = time.monotonic()
            fake.close()
            line.settimeout(5)
            while line.recv(4096):
                pass
            assert time.monotonic() - started < 5
