"""A second start and the running program prove to each other that they read the same data folder."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path

import pytest

from bridge.http.instance import announced, call_on_running
from tests.support.doors import open_door

TOKEN = "only-for-the-real-one"


def test_the_running_program_is_found_and_proves_itself(tmp_path: Path) -> None:
    """Also with a token, which is not sent for it; a program on another folder is not taken for it."""
    with (
        open_door(tmp_path / "data", ACCESS_TOKEN=TOKEN) as door,
        open_door(tmp_path / "other") as other,
        announced(tmp_path / "data", door.server.url, "1.0", door.server.instance_secret),
        announced(tmp_path / "other", other.server.url, "1.0", door.server.instance_secret),
    ):
        shown: list[bool] = []

        def show() -> bool:
            shown.append(True)
            return True

        door.server.on_show = show
        found = call_on_running(tmp_path / "data")
        assert found is not None
        assert (found.url, found.shown, shown) == (door.server.url, True, [True])
        quiet = call_on_running(tmp_path / "data", show=False)
        assert quiet is not None
        assert (quiet.shown, shown) == (False, [True])
        assert call_on_running(tmp_path / "other") is None
        door.refused(401, "token_required", "POST", "/api/window/show")


@pytest.mark.parametrize("reply", ["HTTP/1.1 200 OK\r\nServer: image-batch-console/9\r\n\r\n", "", "junk"])
def test_who_took_the_port_of_a_killed_program_learns_nothing(tmp_path: Path, reply: str) -> None:
    """What it is sent holds neither token nor secret, and it is not taken for the program, whatever it answers."""
    heard = b""
    body = json.dumps({"ok": True, "shown": True, "proof": "0" * 64})

    def listen() -> None:
        nonlocal heard
        connection, _ = listener.accept()
        with connection:
            heard = connection.recv(65536)
            connection.sendall((reply + body if reply.startswith("HTTP") else reply).encode())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=listen)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/?token={TOKEN}"
        with announced(tmp_path, url, "1.0", "the-secret"):
            assert call_on_running(tmp_path) is None
        thread.join()
    assert heard.startswith(b"POST /api/window/show")
    assert TOKEN.encode() not in heard
    assert b"the-secret" not in heard
