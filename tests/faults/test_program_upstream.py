"""An API that behaves in the worst ways, met by the whole program: limits of time and memory hold, errors are clear.

One batch asks for all kinds at once; which picture it is tells the API how to behave.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
import socket
import ssl
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from tests.fakes.peers import Peer, make_certificate, ok, read_request, reset, until_closed
from tests.support.doors import Door, config_for, open_door
from tests.support.pictures import picture, source_folder

LIMIT = 5.0
RETRIES = 1 if os.environ.get("FULL") == "1" else 0
EVENTS = 100_000
SLACK = 1.0 if os.environ.get("FULL") == "1" else 10.0
"""Seconds by which a call may outlive its limit; the promise is one."""
MEMORY = 512 * 1024 * 1024
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
GOOD = json.dumps(
    {"choices": [{"message": {"content": f"![i](data:image/png;base64,{base64.b64encode(picture(700)).decode()})"}}]}
).encode()
NETWORK = {"connection_lost", "timed_out", "protocol_broken"}


class Kind(NamedTuple):
    """What the API does after it has read a request, and what a person may be told."""

    talk: Callable[[socket.socket], None]
    codes: set[str]
    retried: bool = False


def say(data: bytes) -> Callable[[socket.socket], None]:
    """Send it and close."""
    return lambda client: client.sendall(data)


def whole(body: bytes, **headers: str) -> Callable[[socket.socket], None]:
    """A whole answer. It says that the connection ends with it, or another call might be sent along it meanwhile."""
    return say(ok(body, Connection="close", **headers))


def drip(client: socket.socket) -> None:
    """A byte every so often, for ever."""
    client.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
    while True:
        client.sendall(b" ")
        time.sleep(0.3)


def drip_head(client: socket.socket) -> None:
    """A status line that never ends."""
    while True:
        client.sendall(b"H")
        time.sleep(0.3)


def pour(start: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    """Without end."""

    def talk(client: socket.socket) -> None:
        client.sendall(start)
        while True:
            client.sendall(piece)

    return talk


def after_a_bit(client: socket.socket) -> None:
    """Reset in the middle of a stream."""
    client.sendall(SSE + b'data: {"choices": []}\n\n')
    reset(client)


def events(client: socket.socket) -> None:
    """Very many, then the picture: long, not wrong."""
    one = b'data: {"choices": [{"index": 0, "delta": {"content": "x"}}]}\n\n'
    client.sendall(SSE + one * EVENTS + b"data: " + GOOD + b"\n\ndata: [DONE]\n\n")


def many_of(head: bytes) -> bytes:
    """Header fields without end, within what may be sent."""
    return b"HTTP/1.1 200 OK\r\n" + head * 40_000 + b"\r\n"


@cache
def bomb() -> bytes:
    """400 MB of zeros as gzip, made without ever holding them: the memory of this process is measured below."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(b"\0" * 1_000_000) for _ in range(400)) + packer.flush()


def explode(client: socket.socket) -> None:
    """Send the bomb."""
    whole(bomb(), Content_Encoding="gzip")(client)


DEEP = b'{"choices": ' + b"[" * 200_000

KINDS = {
    "drips its body": Kind(drip, {"timed_out"}, retried=True),
    "drips its head": Kind(drip_head, NETWORK, retried=True),
    "never answers": Kind(until_closed, {"timed_out"}, retried=True),
    "closes at once": Kind(lambda _: None, {"connection_lost"}, retried=True),
    "resets at once": Kind(reset, {"connection_lost"}, retried=True),
    "resets in the stream": Kind(after_a_bit, {"connection_lost", "stream_cut"}, retried=True),
    "promises more than it sends": Kind(say(HEAD + b"Content-Length: 99999\r\n\r\n" + GOOD), {"done"}),
    "promises less than it sends": Kind(say(HEAD + b"Content-Length: 9\r\n\r\n" + GOOD), {"stream_cut"}, True),
    "two lengths": Kind(say(HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}{}{}"), NETWORK),
    "negative length": Kind(say(HEAD + b"Content-Length: -1\r\n\r\n{}"), NETWORK),
    "gzip bomb": Kind(explode, {"answer_too_large", "answer_no_picture", "timed_out"}),
    "broken gzip": Kind(whole(b"\x1f\x8b\x08\0nothing", Content_Encoding="gzip"), NETWORK, retried=True),
    "endless line": Kind(pour(SSE + b"data: ", b"x" * 65536), {"answer_too_large", "timed_out"}),
    "endless body": Kind(
        pour(HEAD + b"\r\n", b" " * 65536), {"answer_too_large", "timed_out", "answer_no_picture"}, True
    ),
    "endless headers": Kind(pour(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n" * 999), NETWORK),
    "forty thousand headers": Kind(say(many_of(b"X-A: b\r\n")), NETWORK),
    "invalid UTF-8": Kind(
        say(SSE + b"data: \xff\xfe\xed\xa0\x80\n\ndata: [DONE]\n\n"), {"answer_no_picture", "answer_empty"}
    ),
    "deeply nested": Kind(whole(DEEP), {"answer_no_picture", "stream_cut", "answer_empty"}, True),
    "a page": Kind(whole(b"<html>Login</html>", Content_Type="text/html"), {"answer_web_page"}),
    "not HTTP": Kind(say(b"SSH-2.0-OpenSSH_9.6\r\n"), NETWORK, True),
    "redirects for ever": Kind(
        say(ok(b"", "307 Temporary Redirect", Location="/v1/chat/completions")), {"redirect_limit"}
    ),
    "empty": Kind(whole(b""), {"answer_empty", "answer_no_picture"}, True),
    "answers well": Kind(whole(GOOD), {"done"}),
}


class Moody:
    """The API: behaves as the picture in the request asks, counts, and times how long each call stays connected."""

    def __init__(self, kinds: dict[str, Kind]) -> None:
        self.kinds = kinds
        self.calls = dict.fromkeys(kinds, 0)
        self.seconds = dict.fromkeys(kinds, 0.0)
        self._names = {hashlib.sha256(picture(number)).hexdigest(): name for number, name in enumerate(kinds, 1)}

    def __call__(self, client: socket.socket) -> None:
        request = read_request(client)
        while request:
            content = json.loads(request.partition(b"\r\n\r\n")[2])["messages"][-1]["content"]
            data = base64.b64decode(content[-1]["image_url"]["url"].partition(",")[2])
            name = self._names[hashlib.sha256(data).hexdigest()]
            self.calls[name] += 1
            begun = time.monotonic()
            try:
                self.kinds[name].talk(client)
            finally:
                self.seconds[name] = max(self.seconds[name], time.monotonic() - begun)
            if name != "redirects for ever":
                return
            request = read_request(client)

    def check(self, tasks: list[dict[str, Any]]) -> None:
        """Each call within its time, each task with a code that fits and words, asked again only where that helps."""
        wrong = {}
        for (name, kind), task in zip(self.kinds.items(), tasks, strict=True):
            code = task["error"]["code"] if task["error"] else task["status"]
            if code not in kind.codes:
                wrong[name] = (code, task["last_error"])
            if self.calls[name] > 1 + (RETRIES and kind.retried) and name != "redirects for ever":
                wrong[f"{name}: calls"] = (str(self.calls[name]), "")
            if code == "failed" or (task["error"] and len(task["last_error"]) < 8):
                wrong[f"{name}: words"] = (code, task["last_error"])
            if self.seconds[name] > LIMIT + SLACK:
                wrong[f"{name}: seconds"] = (f"{self.seconds[name]:.1f}", "")
        assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong.items())


def config_of(peer: Peer, **changes: Any) -> dict[str, Any]:
    """A configuration for this peer."""
    return config_for(cast("Any", peer), **changes)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """The program."""
    with open_door(tmp_path / "data") as opened:
        yield opened


def test_every_kind_of_bad_api(door: Door, tmp_path: Path) -> None:
    """Each task ends within its time with a code that says what happened; asked again only where that may help."""
    assert len(KINDS) >= 20
    bomb()  # which takes its time, and is no part of a call's
    moody = Moody(KINDS)
    with Peer(moody) as peer:
        config = config_of(peer, concurrency_limit=len(KINDS), timeout_seconds=LIMIT, max_retries=RETRIES)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.monotonic()
        door.post("/api/tasks/start", {"input_path": str(source_folder(tmp_path / "in", len(KINDS))), "config": config})
        door.wait_idle(2 * LIMIT + 60)
        took = time.monotonic() - begun
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    longest = max(moody.seconds, key=lambda name: moody.seconds[name])
    print(
        f"{len(KINDS)} kinds, limit {LIMIT} s: longest call {moody.seconds[longest]:.2f} s ({longest}), "
        f"all {took:.1f} s for {1 + RETRIES} attempts, {grown / 1e6:.0f} MB more"
    )
    assert took <= (1 + RETRIES) * (LIMIT + SLACK) + 1
    assert grown <= MEMORY, f"{grown / 1e6:.0f} MB"
    moody.check(door.tasks())


def test_a_hundred_thousand_events(door: Door, tmp_path: Path) -> None:
    """A long answer is not a wrong one: read to the picture at its end, in memory that does not grow with it."""
    with Peer(Moody({"events": Kind(events, {"done"})})) as peer:
        config = config_of(peer, timeout_seconds=100)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.monotonic()
        door.post("/api/tasks/start", {"input_path": str(source_folder(tmp_path / "in", 1)), "config": config})
        door.wait_idle(110)
        took = time.monotonic() - begun
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(f"{EVENTS} events in {took:.1f} s, {grown / 1e6:.0f} MB more")
    assert door.tasks()[0]["status"] == "done", door.tasks()[0]["last_error"]
    assert grown <= MEMORY


# --- TLS ------------------------------------------------------------------------------------------------------------


def beneath(head: bytes, rest: bytes) -> Callable[[socket.socket], None]:
    """Send the head through TLS and the rest past it, as what stands between may do; then close without a goodbye."""

    def talk(client: socket.socket) -> None:
        client.sendall(head)
        if rest:
            socket.socket.sendall(client, rest)

    return talk


def silent_after(talk: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """Do that, and then nothing more."""

    def then(client: socket.socket) -> None:
        talk(client)
        until_closed(client)

    return then


def hang_up(client: socket.socket) -> None:
    """Take the first bytes and leave."""
    client.recv(9)


def polite(client: socket.socket) -> None:
    """Say goodbye in TLS in the middle of the answer."""
    assert isinstance(client, ssl.SSLSocket)
    client.sendall(HEAD + b"Content-Length: 99999\r\n\r\n{")
    client.settimeout(2)
    client.unwrap()


RECORD = b"\x17\x03\x03"
CUT = {"connection_lost", "tls_failed", "stream_cut"}
TLS_KINDS = {
    "cut without a goodbye": Kind(beneath(HEAD + b"Content-Length: 99999\r\n\r\n{", b""), CUT, retried=True),
    "cut in a stream": Kind(beneath(SSE + b'data: {"choices": [', b""), CUT, retried=True),
    "goodbye in the middle": Kind(polite, CUT, retried=True),
    "reset": Kind(reset, CUT, retried=True),
    "half a record": Kind(beneath(HEAD + b"\r\n", RECORD + b"\x40\x00abc"), CUT | {"answer_empty"}, True),
    "a forged record": Kind(beneath(HEAD + b"\r\n", RECORD + b"\x00\x20" + bytes(32)), {"tls_failed"}, retried=True),
    "a record that is too long": Kind(
        beneath(HEAD + b"\r\n", RECORD + b"\xff\xff" + bytes(65535)), {"tls_failed"}, retried=True
    ),
    "plain text": Kind(beneath(HEAD + b"\r\n", b"HTTP/1.1 400 no\r\n\r\n" * 9), {"tls_failed"}, retried=True),
    "an alert in clear": Kind(beneath(b"", b"\x15\x03\x03\x00\x02\x02\x50"), CUT, retried=True),
    "silent after the head": Kind(silent_after(say(HEAD)), {"timed_out"}, True),
    "half a record, then silent": Kind(silent_after(beneath(HEAD, RECORD + b"\x40\x00abc")), {"timed_out"}, True),
    "answers well": Kind(whole(GOOD), {"done"}),
}


def test_tls_that_ends_badly(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of an answer, in every way: told, in time, and never taken for the end of a whole answer."""
    server, _ = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "api.test.pem"))
    moody = Moody(TLS_KINDS)
    with Peer(moody, tls=server) as peer:
        config = config_of(peer, concurrency_limit=len(TLS_KINDS), timeout_seconds=LIMIT, max_retries=RETRIES)
        config["api_url"] = config["api_url"].replace("http:", "https:")
        folder = source_folder(tmp_path / "in", len(TLS_KINDS))
        door.post("/api/tasks/start", {"input_path": str(folder), "config": config})
        door.wait_idle(2 * LIMIT + 60)
    print(f"{len(TLS_KINDS)} kinds of TLS, limit {LIMIT} s: longest call {max(moody.seconds.values()):.2f} s")
    moody.check(door.tasks())


HANDSHAKES = {
    "nobody signed it": Kind(until_closed, {"tls_failed"}),
    "speaks something else": Kind(say(b"HTTP/1.1 400 no\r\n\r\n"), {"tls_failed", "connection_lost"}),
    "closes": Kind(hang_up, {"tls_failed", "connection_lost"}),
    "resets": Kind(reset, {"tls_failed", "connection_lost", "connect_failed"}),
    "an alert": Kind(say(b"\x15\x03\x01\x00\x02\x02\x28"), {"tls_failed"}),
    "drips": Kind(lambda client: drip_bytes(client, b"\x16\x03\x03\x40\x00" + bytes(999)), {"timed_out", "tls_failed"}),
    "silent": Kind(until_closed, {"timed_out"}),
}


def drip_bytes(client: socket.socket, data: bytes) -> None:
    """A byte every so often."""
    for byte in data:
        client.sendall(bytes([byte]))
        time.sleep(0.3)


@pytest.mark.parametrize("kind", HANDSHAKES)
def test_a_handshake_that_fails(door: Door, tmp_path: Path, kind: str) -> None:
    """Told as TLS or in time, and nothing is sent in clear."""
    server, _ = make_certificate(tmp_path)
    with Peer(HANDSHAKES[kind].talk, tls=server if kind == "nobody signed it" else None) as peer:
        config = config_of(peer, timeout_seconds=LIMIT)
        config["api_url"] = config["api_url"].replace("http:", "https:")
        begun = time.monotonic()
        door.post("/api/tasks/start", {"input_path": str(source_folder(tmp_path / "in", 1)), "config": config})
        door.wait_idle(LIMIT + 60)
        took = time.monotonic() - begun
    (task,) = door.tasks()
    assert task["error"]["code"] in HANDSHAKES[kind].codes, task["error"]
    assert took <= LIMIT + SLACK + 1


def test_an_answer_before_the_request_is_read(door: Door, tmp_path: Path) -> None:
    """An API that refuses a large picture at once and closes: its refusal is what the person reads."""

    def refuse(client: socket.socket) -> None:
        client.recv(1000)
        client.sendall(ok(b'{"error": {"message": "image too large"}}', "413 Payload Too Large", Connection="close"))
        time.sleep(0.3)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "large.png").write_bytes(picture(3, size=(2400, 2400)) + os.urandom(6_000_000))
    with Peer(refuse) as peer:
        config = config_of(peer, timeout_seconds=LIMIT)
        door.post("/api/tasks/start", {"input_path": str(folder), "config": config})
        door.wait_idle()
    task = door.tasks()[0]
    assert (task["http_status"], task["status"]) == (413, "failed")
    assert "image too large" in task["last_error"]
