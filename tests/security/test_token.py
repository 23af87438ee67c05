"""Where other machines can reach the program a token is made, printed, compared in constant time, never in a cookie."""

from __future__ import annotations

import hmac
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.http import access
from bridge.http.server import Server
from tests.support.doors import Door, open_door

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_host_that_others_can_reach_makes_a_token(tmp_path: Path, host: str) -> None:
    """Another one at each start, long enough not to be guessed, and due on every request."""
    tokens = set()
    for number in range(2):
        with open_door(tmp_path / str(number), HOST=host) as door:
            tokens.add(door.server.token)
            door.refused(401, "token_required", "GET", "/api/state")
            assert door.ask("GET", "/api/state", headers={"X-Access-Token": door.server.token}).status_code == 200
            assert door.server.url.endswith(f"/?token={door.server.token}")
    assert len(tokens) == 2
    assert all(len(token) >= 32 for token in tokens)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.5"])
def test_a_loopback_host_makes_none(tmp_path: Path, host: str) -> None:
    """This machine alone needs no token, unless one is asked for."""
    with open_door(tmp_path / "data", HOST=host) as door:
        assert door.server.token == ""


def test_the_token_is_compared_in_constant_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every offered one, with the comparison of the standard library, also after one was right."""
    compared: list[bytes] = []
    real = hmac.compare_digest

    def noting(offered: bytes, wanted: bytes) -> bool:
        compared.append(offered)
        return real(offered, wanted)

    monkeypatch.setattr("bridge.http.access.hmac.compare_digest", noting)
    with open_door(tmp_path / "data", ACCESS_TOKEN="right") as door:
        door.ask("GET", "/api/ui", headers={"X-Access-Token": "right", "Authorization": "Bearer wrong"})
        assert {b"right", b"wrong", b""} <= set(compared)


def test_the_token_is_replaced_by_keys_for_one_use_each(tmp_path: Path) -> None:
    """The cookie, which goes to every port, opens the page and no data; the header's key is not the one for addresses;
    and nothing of it is the token."""
    with open_door(tmp_path / "data", ACCESS_TOKEN="right-token") as door:
        moved = door.ask("GET", "/?token=right-token&window=1")
        place, _, access = moved.headers["location"].partition("#access=")
        assert (moved.status_code, place, moved.headers["cache-control"]) == (303, "/?window=1", "no-store")
        assert "right-token" not in str(moved.headers)
        said = moved.headers["set-cookie"].lower()
        assert all(part in said for part in ("httponly", "samesite=strict", "path=/"))
        cookie = door.client.cookies[f"ibc_page_{door.server.port}"]
        script, passing = access.split(".")
        assert door.ask("GET", "/").status_code == door.ask("GET", "/js/main.js").status_code == 200  # by the cookie
        door.client.cookies.clear()
        door.refused(401, "token_required", "GET", "/?token=wrong")
        good: list[tuple[str, str, dict[str, Any]]] = [
            ("GET", "/api/state", {"headers": {"X-Access-Token": script}}),
            ("POST", "/api/ui", {"headers": {"X-Access-Token": script}, "json": {"settings": {}}}),
            ("GET", "/api/presets/export", {"params": {"pass": passing}}),
            ("GET", "/api/state", {"params": {"token": "right-token"}}),
        ]
        for method, path, more in good:
            assert door.ask(method, path, **more).status_code == 200, (path, more)
        ways: list[dict[str, Any]] = [
            *({"headers": {"X-Access-Token": key}} for key in (cookie, passing)),
            *({"headers": {"Authorization": f"Bearer {key}"}} for key in (cookie, passing, script)),
            *({"params": {name: key}} for name in ("token", "pass") for key in (cookie, script)),
            {"headers": {"Cookie": f"ibc_page_{door.server.port}={cookie}"}},
            {"headers": {"Cookie": f"ibc_token=right-token; ibc_page_{door.server.port}=right-token"}},
        ]
        for way in ways:
            for path in ("/api/state", "/api/presets/export", "/api/events", "/api/tasks/none/source"):
                door.refused(401, "token_required", "GET", path, **way)
        for method, path in (("GET", "/api/state"), ("POST", "/api/tasks/stop"), ("DELETE", "/api/presets/x")):
            door.refused(401, "token_required", method, path, params={"pass": passing})


def test_no_answer_names_the_token(tmp_path: Path) -> None:
    """Neither a state nor a refusal nor the page."""
    with open_door(tmp_path / "data", ACCESS_TOKEN="a-secret-token") as door:
        good = {"X-Access-Token": "a-secret-token"}
        for path in ("/api/state", "/", "/api/openapi.json", "/api/presets/export", "/api/tasks/none"):
            for headers in ({}, good):
                assert "a-secret-token" not in door.ask("GET", path, headers=headers).text


def test_the_token_is_printed_where_the_person_sees_it(tmp_path: Path) -> None:
    """``serve`` on all addresses says the token, and writes it into no log."""
    environ = {**os.environ, "HOST": "0.0.0.0", "PORT": "0", "APP_DATA_DIR": str(tmp_path / "data"), "LANG": "en_US"}
    environ.pop("ACCESS_TOKEN", None)
    command = [sys.executable, str(ROOT / "launcher.py"), "serve"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True, cwd=ROOT) as program:
        assert program.stderr is not None
        said = ""
        while len(set(re.findall(r"[A-Za-z0-9_-]{32}", said))) < 1 or said.count("\n") < 2:
            line = program.stderr.readline()
            assert line, said
            said += line
        program.send_signal(signal.SIGTERM)
        program.stderr.read()
    tokens = set(re.findall(r"(?<![\w-])[A-Za-z0-9_-]{32}(?![\w-])", said))
    assert len(tokens) == 1, said
    assert f"?token={next(iter(tokens))}" in said
    log = (tmp_path / "data" / "log.txt").read_text()
    assert next(iter(tokens)) not in log


def test_clients_on_other_machines_see_no_debug_log(tmp_path: Path) -> None:
    """Even with the token, unless the environment allows it: only this machine is local."""
    for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert access.is_local(address, {"host": "localhost"})
    for address in ("192.168.0.7", "10.0.0.1", "::ffff:192.168.0.7", "", "fe80::1%eth0", "unix"):
        assert not access.is_local(address, {})
    with open_door(tmp_path / "data") as door:
        assert isinstance(door, Door)
        assert isinstance(door.server, Server)
        assert door.ask("GET", "/api/tasks/none/debug").status_code == 404
        for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):  # a tunnel on this machine asks for somebody else
            door.refused(403, "loopback_only", "GET", "/api/tasks/none/debug", headers={name: "127.0.0.1"})
