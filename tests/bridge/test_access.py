"""Who may ask: Host, Origin, fetch metadata and token, before anything happens."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pytest

from bridge.environment import read_environment
from bridge.http.access import Access, Request, is_local
from bridge.http.events import Hub
from bridge.http.routes import HttpApi
from engine.errors import NotAuthenticated
from tests.support.doors import Door, open_door


def asked(door: Door, method: str = "GET", path: str = "/api/state", **headers: str) -> httpx.Response:
    """A request with headers; underscores stand for hyphens."""
    return door.client.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def test_old_scripts_need_no_headers(shared: Door) -> None:
    """Without Origin, fetch metadata or token everything works on this machine."""
    assert asked(shared).status_code == 200
    assert asked(shared, "POST", "/api/tasks/stop").status_code == 200


@pytest.mark.parametrize("host", ["evil.invalid", "127.0.0.1:1", "localhost", "127.0.0.1.evil.invalid", "[::1", ""])
def test_foreign_host_names_are_refused(shared: Door, host: str) -> None:
    """A name that was rebound to this machine gets nothing, not even the page."""
    for path in ("/api/state", "/", "/js/main.js"):
        answer = asked(shared, path=path, Host=host)
        assert (answer.status_code, answer.json()["code"]) == (403, "host_not_allowed")


def test_own_host_names(shared: Door) -> None:
    """Every writing of this machine's loopback name with the right port is ours."""
    for host in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        assert asked(shared, Host=f"{host}:{shared.server.port}").status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.invalid", "null", "http://127.0.0.1:1", "http://localhost.evil:80"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/api/tasks/stop"), ("GET", "/api/state"), ("GET", "/")])
def test_foreign_origins_are_refused(shared: Door, origin: str, method: str, path: str) -> None:
    """A page from elsewhere controls and reads nothing."""
    answer = asked(shared, method, path, Origin=origin)
    assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in answer.headers


def test_fetch_metadata_tells_foreign_pages(shared: Door) -> None:
    """Without Origin the browser's own word counts: only opening the page by a link is allowed."""
    for site in ("cross-site", "same-site"):
        assert asked(shared, Sec_Fetch_Site=site).status_code == 403
        assert asked(shared, path="/", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors").status_code == 403
        link = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": "navigate"}
        assert asked(shared, path="/", Sec_Fetch_Dest="document", **link).status_code == 200
        assert asked(shared, path="/", Sec_Fetch_Dest="iframe", **link).status_code == 403
    for site in ("same-origin", "none"):
        assert asked(shared, Sec_Fetch_Site=site).status_code == 200


def test_allowed_origins(tmp_path: Path) -> None:
    """A listed origin may call and read, under its own host name too; preflights are answered; others stay out."""
    with open_door(tmp_path, ALLOWED_ORIGINS="https://tools.example, http://localhost:3000/") as door:
        own = f"http://localhost:{door.server.port}"
        for origin in ("https://tools.example", "http://localhost:3000", own):
            answer = asked(door, Origin=origin)
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
            preflight = asked(door, "OPTIONS", "/api/tasks/stop", Origin=origin, Access_Control_Request_Method="POST")
            assert preflight.status_code == 200
            assert "POST" in preflight.headers["access-control-allow-methods"]
        assert asked(door, Host="tools.example").status_code == 200
        assert asked(door, "OPTIONS", "/api/tasks/stop", Origin="https://other.example").status_code == 403


def test_token_is_required_from_every_client(tmp_path: Path) -> None:
    """With ACCESS_TOKEN nothing is answered without it; header, bearer and query carry it."""
    with open_door(tmp_path, ACCESS_TOKEN="s3cret") as door:
        for path in ("/api/state", "/", "/js/main.js", "/api/events", "/nothing"):
            answer = asked(door, path=path)
            assert (answer.status_code, answer.json()["code"]) == (401, "token_required")
            assert "s3cret" not in answer.text
        assert asked(door, X_Access_Token="wrong").status_code == 401
        assert asked(door, X_Access_Token="s3cret").status_code == 200
        assert asked(door, Authorization="Bearer s3cret").status_code == 200
        assert asked(door, path="/api/state?token=s3cret").status_code == 200
        page = asked(door, path="/?token=s3cret")
        assert (page.status_code, page.headers["location"].partition("#")[0]) == (303, "/")
        assert "HttpOnly" in page.headers["set-cookie"]
        assert "SameSite=strict" in page.headers["set-cookie"].replace("Strict", "strict")
        assert asked(door, path="/js/main.js").status_code == 200, "the cookie counts from now on, for the page"
        assert asked(door).status_code == 401, "and for nothing else"
        door.client.cookies.clear()
        origin = f"http://127.0.0.1:{door.server.port}"
        assert asked(door, "OPTIONS", "/api/tasks/stop", Origin=origin).status_code == 200
        assert asked(door, "POST", "/api/tasks/stop", Origin=origin).status_code == 401
        assert "token=s3cret" in door.server.url


def test_bound_to_the_network(tmp_path: Path) -> None:
    """HOST that is not loopback makes a token up, and takes any literal address as its own but no name."""
    with open_door(tmp_path, HOST="0.0.0.0") as door:
        assert len(door.server.token) >= 20
        assert asked(door).status_code == 401
        port = door.server.port
        token = {"X_Access_Token": door.server.token}
        assert asked(door, **token).status_code == 200
        assert asked(door, Host=f"192.168.7.7:{port}", **token).status_code == 200
        assert asked(door, Host=f"[fe80::1]:{port}", **token).status_code == 200
        assert asked(door, Host=f"rebound.invalid:{port}", **token).status_code == 403
        origin = {"Origin": f"http://192.168.7.7:{port}"}
        assert asked(door, "POST", "/api/tasks/stop", Host=f"192.168.7.7:{port}", **origin, **token).status_code == 200


@pytest.mark.parametrize(
    ("address", "local"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.2", False),
     ("fe80::1%eth0", False), ("", False)],
)  # fmt: skip
def test_local_clients(address: str, local: bool) -> None:
    """Which addresses are this machine."""
    assert is_local(address, {}) is local


def test_access_alone() -> None:
    """Port 80 needs no number in the host, and a token of another length is refused like any other."""
    access = Access(read_environment({"PORT": "80"}), 80, "tök")
    with pytest.raises(NotAuthenticated):
        access.check(Request("GET", "/api/state", {"host": "localhost"}, query_token="x"))
    access.check(Request("GET", "/api/state", {"host": "127.0.0.1:80"}, query_token="tök"))


def test_debug_log_for_strangers(tmp_path: Path) -> None:
    """A client from another machine gets 403, unless ALLOW_REMOTE_DEBUG_LOG_API=1."""
    for allowed, status in (("0", "403"), ("1", "404")):
        with open_door(tmp_path / allowed, HOST="0.0.0.0", ALLOW_REMOTE_DEBUG_LOG_API=allowed) as door:
            access = Access(door.app.environment, 12607, "t")
            api = HttpApi(door.app, access, Hub(door.app), lambda: False, "")
            environ = {
                "REQUEST_METHOD": "GET", "PATH_INFO": "/api/tasks/x/debug", "QUERY_STRING": "token=t",
                "HTTP_HOST": "10.0.0.1:12607", "REMOTE_ADDR": "10.0.0.9", "wsgi.input": io.BytesIO(),
                "SERVER_NAME": "x", "SERVER_PORT": "12607", "wsgi.url_scheme": "http", "wsgi.errors": io.StringIO(),
            }  # fmt: skip
            got: list[str] = []
            body = b"".join(api.app()(environ, lambda line, *_, got=got: got.append(line)))
            assert got[0].startswith(status), body
