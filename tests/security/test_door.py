"""Every route against every kind of foreign request: refused by one hook, before anything is read, changed or asked.

The routes are those that the program has, so that a new one is covered on the day it is made.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from bridge import dispatch
from bridge.http.access import FORM_OVERHEAD_BYTES, MAX_BODY_BYTES, Access
from bridge.http.events import Hub
from bridge.http.routes import HttpApi
from bridge.operations import OPERATIONS, Kind
from engine.config import ApiMode
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import Door, config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline
from tests.support.wire import raw

TOKEN = "a-token-of-the-test"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
IMPORT = "/api/presets/import"
UPLOADS = {operation.path for operation in OPERATIONS if operation.kind is Kind.UPLOAD}


class Route(NamedTuple):
    """A way in, with real ids in its path."""

    method: str
    path: str

    @property
    def takes_body(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH")


class Filled(NamedTuple):
    """A program with a task, a result and a preset, the paid API that it asked, and all of its routes."""

    door: Door
    fake: FakeUpstream
    folder: Path
    routes: list[Route]


def routes_of(door: Door) -> list[Route]:
    """Every route of the application that the server runs, with the ids of the first task."""
    task = door.tasks()[0]
    names = {
        "id": "none",
        "task_id": task["id"],
        "result_id": task["results"][0]["id"],
        "name": "kept",
        "language": "en",
        "rest": "state",
        "path": "css/base.css",
    }
    hub = Hub(door.app)
    app = HttpApi(door.app, Access(door.app.environment, door.server.port, ""), hub, lambda: False, "").app()
    hub.close()
    return [
        Route(
            "PATCH" if route.method == "ANY" else route.method,
            re.sub(r"<(\w+)(?::[^>]*)?>", lambda match: str(names[match[1]]), route.rule),
        )
        for route in app.routes
    ]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """One program for all refusals: none of them may change it."""
    place = tmp_path_factory.mktemp("door")
    with FakeUpstream() as fake, open_door(place / "data") as door:
        fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(9)))
        door.run(source_folder(place / "in", 1), config_for(fake))
        door.post("/api/presets/save", {"name": "kept"})
        yield Filled(door, fake, place / "data", routes_of(door))


def everything(filled: Filled) -> Any:
    """What a side effect would change: files, memory, and what the API was asked."""
    app = filled.door.app
    quiet = ("tasks.db", "log.txt", ".lock")  # the database is compared by its revision
    files = {
        path.relative_to(filled.folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in filled.folder.rglob("*")
        if path.is_file() and not path.name.startswith(quiet)
    }
    memory = (app.preferences.config, app.preferences.plan, app.preferences.ui, app.presets.all())
    run = app.batch.info()
    return files, memory, app.store.revision(), (run.running, run.started_at), len(filled.fake.requests)


@pytest.fixture
def untouched(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> Iterator[Filled]:
    """The program; afterwards no handler was called, and nothing is otherwise than before."""
    called: list[str] = []
    real = dispatch.call

    def noting(context: Any, operation: Any, data: Any) -> Any:
        called.append(operation.name)
        return real(context, operation, data)

    monkeypatch.setattr("bridge.http.routes.call", noting)
    before = everything(filled)
    yield filled
    assert called == []
    assert everything(filled) == before


def body_for(route: Route) -> dict[str, Any]:
    """A JSON body where the method has one."""
    return {"json": {"name": "evil", "config": {}, "settings": {"evil": 1}}} if route.takes_body else {}


def refused(answer: httpx.Response, status: int, code: str, route: Route) -> None:
    """Refused in the one shape; a HEAD or preflight has no body to look at."""
    assert answer.status_code == status, f"{route}: {answer.status_code} {answer.text[:200]}"
    assert answer.json()["code"] == code, route
    assert "access-control-allow-origin" not in answer.headers, route


def test_the_table_is_walked(filled: Filled) -> None:
    """All operations and the routes beside them are among those that are tried, and answer a proper request."""
    print(f"{len(filled.routes)} routes walked, {len(OPERATIONS)} of them operations")
    assert len(filled.routes) >= len(OPERATIONS) + 6
    assert {operation.method for operation in OPERATIONS} <= {route.method for route in filled.routes}
    for route in filled.routes:
        if route.method == "GET" and route.path != "/api/events":
            nothing_to_show = route.path.endswith(("/preview", "/none"))  # no task is in flight, no trial kept
            expected = (404,) if nothing_to_show else (200, 400)
            assert filled.door.ask("GET", route.path).status_code in expected, route


FOREIGN = {
    "foreign host": ({"Host": "evil.example"}, "host_not_allowed"),
    "rebound host": ({"Host": "evil.example:{port}"}, "host_not_allowed"),
    "other port": ({"Host": "127.0.0.1:1"}, "host_not_allowed"),
    "empty host": ({"Host": ""}, "host_not_allowed"),
    "other address": ({"Host": "192.168.0.1:{port}"}, "host_not_allowed"),
    "foreign origin": ({"Origin": "http://evil.example"}, "origin_not_allowed"),
    "origin on another port": ({"Origin": "http://127.0.0.1:1"}, "origin_not_allowed"),
    "origin with this one as prefix": ({"Origin": "http://127.0.0.1:{port}.evil.example"}, "origin_not_allowed"),
    "null origin": ({"Origin": "null"}, "origin_not_allowed"),
    "cross-site fetch": ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, "origin_not_allowed"),
    "same site, other port": ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, "origin_not_allowed"),
    "in a foreign frame": (
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
        "origin_not_allowed",
    ),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_requests_are_refused(untouched: Filled, kind: str) -> None:
    """Whatever the route."""
    headers, code = FOREIGN[kind]
    headers = {name: value.format(port=untouched.door.server.port) for name, value in headers.items()}
    for route in untouched.routes:
        answer = untouched.door.ask(route.method, route.path, headers=headers, **body_for(route))
        refused(answer, 403, code, route)


def test_a_request_without_a_host_is_refused(untouched: Filled) -> None:
    """As HTTP/1.0 allows."""
    for route in untouched.routes:
        answer = raw(untouched.door.server.port, f"{route.method} {route.path} HTTP/1.0\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.0 403"), route
        assert b"host_not_allowed" in answer, route


def test_two_hosts_are_refused(untouched: Filled) -> None:
    """One of them the right one, in either order."""
    ours, theirs = f"Host: 127.0.0.1:{untouched.door.server.port}\r\n", "Host: evil.example\r\n"
    for route in untouched.routes:
        for hosts in (ours + theirs, theirs + ours):
            head = f"{route.method} {route.path} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n"
            assert re.match(rb"HTTP/1.1 40[03]", raw(untouched.door.server.port, head.encode())), route


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"])
def test_a_body_of_another_type_is_refused(untouched: Filled, kind: str) -> None:
    """What a form of a foreign page could send unasked; only uploads take a form, only a script leaves it out."""
    for route in untouched.routes:
        if route.method in ("GET", "OPTIONS") or (route.path in UPLOADS and kind.startswith("multipart")):
            continue
        headers = {"Content-Type": kind} if kind else {"Sec-Fetch-Site": "same-origin"}
        answer = untouched.door.ask(route.method, route.path, content=b'{"name": "evil"}', headers=headers)
        refused(answer, 400, "content_type_refused", route)


def test_an_oversized_body_is_refused(untouched: Filled) -> None:
    """One byte more than the route takes, and far more than any takes."""
    most = untouched.door.app.environment.max_preset_import
    headers = {"Content-Type": "application/json"}
    for route in untouched.routes:
        if route.method not in ("POST", "PATCH"):
            continue
        room = FORM_OVERHEAD_BYTES if route.path in UPLOADS else 0
        size = (most if route.path == IMPORT else MAX_BODY_BYTES) + room + 1
        answer = untouched.door.ask(route.method, route.path, content=b" " * size, headers=headers)
        refused(answer, 413, "body_too_large", route)
    port = untouched.door.server.port
    for path, limit, length in (("/api/tasks/stop", MAX_BODY_BYTES, 10**9), (IMPORT, most, 10**18)):
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        answer_head, _, body = raw(port, f"{head}Content-Length: {length}\r\n\r\n".encode()).partition(b"\r\n\r\n")
        assert answer_head.startswith(b"HTTP/1.1 413"), path
        assert b"application/json" in answer_head, path
        told = json.loads(body)
        assert (told["code"], told["params"]["limit"], told["detail"]) == ("body_too_large", limit, told["message"])


@pytest.mark.parametrize("times", [1, 3])
def test_a_chunked_body_counts_too(untouched: Filled, times: int) -> None:
    """A length that is not announced is found out, also where it is more than the server itself would read."""
    port = untouched.door.server.port
    head = f"POST /api/tasks/stop HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        client.sendall(f"{head}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        with contextlib.suppress(ConnectionError):  # it may stop reading as soon as it is too much
            for _ in range(times * MAX_BODY_BYTES // 0x10000 + 1):
                client.sendall(piece)
            client.sendall(b"0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while more := client.recv(65536):
                answer += more
    assert answer.startswith(b"HTTP/1.1 413") or (times > 1 and not answer)
    assert not answer or b'"body_too_large"' in answer


def test_a_slow_body_does_nothing_and_holds_up_nobody(untouched: Filled) -> None:
    """A request that never ends reaches no handler and no thread, while others are answered."""
    port = untouched.door.server.port
    slow = []
    for route in (route for route in untouched.routes if route.takes_body):
        client = socket.create_connection(("127.0.0.1", port))
        slow.append(client)
        head = f"{route.method} {route.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
    for client in slow:
        client.sendall(b'"name": ')
    assert len(slow) > 15
    assert untouched.door.ask("GET", "/index.html").status_code == 200
    for client in slow:
        client.close()


def test_a_wrong_method_is_refused(untouched: Filled) -> None:
    """405 with the methods that would do."""
    shapes = [(operation.method, re.sub(r"\{\w+\}", "[^/]+", operation.path)) for operation in OPERATIONS]
    for operation, route in zip(OPERATIONS, untouched.routes, strict=False):
        for method in set(METHODS) - {taken for taken, shape in shapes if re.fullmatch(shape, route.path)}:
            answer = untouched.door.ask(method, route.path, **body_for(Route(method, route.path)))
            refused(answer, 405, "method_not_allowed", Route(method, route.path))
            assert operation.method in answer.headers["allow"]
    for path in ("/", "/index.html", "/css/base.css"):
        refused(untouched.door.ask("POST", path), 405, "method_not_allowed", Route("POST", path))


def test_a_preflight_of_a_foreign_page_gets_no_leave(untouched: Filled) -> None:
    """And one from an origin that is allowed changes nothing either."""
    for route in untouched.routes:
        asked = {"Access-Control-Request-Method": route.method, "Access-Control-Request-Headers": "content-type"}
        answer = untouched.door.ask("OPTIONS", route.path, headers={"Origin": "http://evil.example", **asked})
        refused(answer, 403, "origin_not_allowed", route)
        if route.path.startswith("/api/"):
            answer = untouched.door.ask("OPTIONS", route.path, headers={"Origin": untouched.door.base, **asked})
            assert (answer.status_code, answer.content) == (200, b""), route


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "\u00fc"])
def test_without_the_token_nothing_is_answered(filled: Filled, tmp_path: Path, token: str) -> None:
    """Whatever the route and the way it is sent; a preflight cannot carry one and does nothing."""
    with open_door(tmp_path / "data", ACCESS_TOKEN=TOKEN) as door:
        ways: list[dict[str, Any]] = [
            {"headers": {"X-Access-Token": token.encode()}},
            {"headers": {"Authorization": b"Bearer x" + token.encode()}},
            {"headers": {"Cookie": b"ibc_page_%d=" % door.server.port + token.encode()}},
            {"params": {"pass": token}},
            {"params": {"token": token}},
        ]
        for number, route in enumerate(filled.routes):
            if route.method == "OPTIONS":
                continue
            answer = door.ask(route.method, route.path, **body_for(route), **ways[number % 5])
            refused(answer, 401, "token_required", route)
        assert door.ask("GET", "/api/state", headers={"X-Access-Token": TOKEN}).status_code == 200


def test_idle_connections_keep_nobody_out(filled: Filled) -> None:
    """A stranger who opens hundreds of connections and says nothing does not make the page unreachable."""
    with contextlib.ExitStack() as idle:
        for _ in range(300):
            idle.enter_context(socket.create_connection(("127.0.0.1", filled.door.server.port)))
        assert httpx.get(f"{filled.door.base}/api/ui", trust_env=False, timeout=60).status_code == 200
