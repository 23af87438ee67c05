"""Requests that no honest client sends: each gets an answer below 500, and the server goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from engine.errors import Code
from tests.support.doors import Door, open_door
from tests.support.wire import raw

PATHS = [
    *("/api/tasks?q=%ff", "/api/tasks?q=%00", "/api/tasks?q=%ed%a0%80", "/api/tasks?%ff=1", "/api/tasks?status=%ff"),
    *(
        "/api/tasks?limit=1&limit=2",
        "/api/tasks?offset=99999999999999999999",
        "/api/tasks?limit=1e2",
        "/api/tasks?;&=&",
    ),
    *("/api/state?since=-1", "/api/state?since=99999999999999999999", "/api/state?token=%ff", "/api/files?path=%00"),
    *("/api/files?path=%ff", "/api/files?path=" + "a" * 5000, "/api/messages/en%0a", "/api/messages/../state"),
    *(
        "/api/tasks/%ff/source",
        "/api/tasks/a%0a",
        "/api/tasks/%2e%2e/source",
        "/api/presets/%ff",
        "/%ff",
        "/api//state",
    ),
    *("/api/presets/" + "a" * 9000, "/api/tasks/x/results/y/thumbnail?size=%ff", "/api/tasks/x/source?size=1"),
]
HEADERS = {
    "Cookie": [b"ibc_page_1=\xff", b"=;=;", b'ibc_page_1="\xe4', b"a" * 9000],
    "Last-Event-ID": ["²".encode(), b"-1", b"9" * 400],
    "Accept-Language": [b"q=,;;", b"en;q=nan,zh;q=inf", b"\xff\xfe", b"zh-" * 2000],
    "Authorization": [b"Bearer", b"Bearer \xff", b"Basic !!!", b"bearer  x y"],
    "If-None-Match": [b"\xff", b'"'],
    "Content-Type": [b"\xff", b"application/json; charset=\xff", b";;;"],
    "Content-Length": [b"-5", b"abc", b"1e3", b"5, 6", b"\xb2"],
    "Transfer-Encoding": [b"chunked, gzip", b"what", b"\xff"],
    "X-Access-Token": [b"\xff\x80", b""],
    "Range": [b"bytes=0-", b"bytes=9-1", b"lines=1"],
}
PART = b"--b\r\nContent-Disposition: form-data; name="
FORMS = [
    (b"b", PART + b'"\x07x"\r\n\r\nabc\r\n--b--\r\n'),
    (b"b", PART + b'"file"\r\n\r\nabc\r\n--b--\r\n'),
    (b"b", PART + b'"file"; filename="a"\r\n\r\n{"presets":'),
    (b"b", PART + b'"file"; filename="a"\r\nContent-Type: \xff\xfe\r\n\r\n{}\r\n--b--\r\n'),
    (b"b", PART + b'"file"; filename="../../a"\r\nContent-Length: 9999\r\n\r\n{}\r\n--b--\r\n'),
    (b"b", PART + b'"file"; filename="\xed\xa0\x80"\r\n\r\n{}\r\n--b--\r\n'),
    (b"b", b"--b\r\n" * 10_000),
    (b"b", b"--b\r\n" + b"X: y\r\n" * 10_000 + b"\r\n\r\n--b--"),
    (b"b", b"--b\r\n"),
    (b"b", b""),
    (b"x" * 300, b"abc"),
    (b"", b"abc"),
]
BODIES = [b"{", b"[]", b"null", b'{"config": ' + b"[" * 5000, b"\xff", b'{"a": 1e999}', b'{"a": "\\ud800"}', b"{}" * 9]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """One program for all of them."""
    with open_door(tmp_path_factory.mktemp("malformed") / "data") as opened:
        yield opened


def survives(door: Door, method: str, path: str, headers: bytes = b"", body: bytes = b"") -> None:
    """It is answered, not with a fault; 501 is the right word for a transfer encoding that nobody knows."""
    host = b"Host: 127.0.0.1:%d\r\nConnection: close\r\n" % door.server.port
    answer = raw(door.server.port, f"{method} {path} HTTP/1.1\r\n".encode() + host + headers + b"\r\n" + body)
    assert re.match(rb"HTTP/1\.[01] ([234]\d\d|501) ", answer), answer[:200]
    if answer[9:10] in (b"4", b"5") and method != "HEAD":
        refused_in_json(answer)


def refused_in_json(answer: bytes) -> None:
    """A refusal has one shape, whoever refuses: ours, Bottle, or the server below both."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert re.search(rb"\r\ncontent-type: application/json\r\n", head + b"\r\n", re.IGNORECASE), head
    assert re.search(rb"\r\nx-content-type-options: nosniff", head, re.IGNORECASE), head
    told = json.loads(body)
    assert told["code"] in set(Code), told
    assert told["message"] == told["detail"] == told["error"]["message"]


@pytest.mark.parametrize("path", PATHS)
def test_odd_paths_and_queries(door: Door, path: str) -> None:
    """Bytes that are no UTF-8, numbers that no column holds, names that are no ids."""
    for method in ("GET", "DELETE", "HEAD", "POST"):
        survives(door, method, path)


@pytest.mark.parametrize("name", HEADERS)
def test_odd_headers(door: Door, name: str) -> None:
    """On a route that reads, one that changes, and the page."""
    for value in HEADERS[name]:
        line = name.encode() + b": " + value + b"\r\n"
        for method, path in (("GET", "/api/state"), ("POST", "/api/tasks/stop"), ("GET", "/")):
            survives(door, method, path, line)


@pytest.mark.parametrize("number", range(len(FORMS)))
def test_odd_uploads(door: Door, number: int) -> None:
    """Forms that are cut, nested, nameless or far too many."""
    boundary, body = FORMS[number]
    kind = b"Content-Type: multipart/form-data; boundary=" + boundary + b"\r\nContent-Length: %d\r\n" % len(body)
    survives(door, "POST", "/api/presets/import", kind, body)


@pytest.mark.parametrize("body", BODIES)
def test_odd_bodies(door: Door, body: bytes) -> None:
    """What is no JSON object, on every route that takes one."""
    kind = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    for path in ("/api/config/current", "/api/tasks/start", "/api/presets/import", "/api/ui", "/api/tasks/bulk"):
        survives(door, "POST", path, kind, body)


@pytest.mark.parametrize(
    "line", [b"", b"\r\n", b"GET", b"GET /", b"\xff\xff\xff", b"GET / HTTP/9.9", b"GET / HTTP/1.1 x"]
)
def test_odd_first_lines(door: Door, line: bytes) -> None:
    """Whatever comes back, the next request is answered."""
    answer = raw(door.server.port, line + b"\r\n\r\n")
    if answer.startswith((b"HTTP/1.0 4", b"HTTP/1.1 4")):
        refused_in_json(answer)
    assert door.ask("GET", "/index.html").status_code == 200
