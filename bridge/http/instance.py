"""One instance a data folder: the running one leaves its address there, so that a second start can call on it."""

from __future__ import annotations

import contextlib
import http.client
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec

from engine.errors import StorageFailed
from engine.files import read_json, write_json

SHOW_PATH = "/api/window/show"
_TOKEN_HEADER = "X-Access-Token"  # noqa: S105 - a name, not a secret
_SECONDS = 3.0


class Running(msgspec.Struct, frozen=True):
    """The instance that holds the folder. ``shown``: it brought its window to the front."""

    url: str
    version: str
    pid: int
    shown: bool


@contextlib.contextmanager
def announced(folder: Path, url: str, version: str) -> Iterator[None]:
    """While the block runs, the folder says where this instance is reached."""
    file = folder / "instance.json"
    with contextlib.suppress(StorageFailed):
        write_json(file, {"url": url, "version": version, "pid": os.getpid()})
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.unlink()


def call_on_running(folder: Path) -> Running | None:
    """Ask the instance that holds the folder to show itself; None when it does not answer."""
    data, _ = read_json(folder / "instance.json")
    url = data.get("url")
    if not isinstance(url, str):
        return None
    parts = urlsplit(url)
    token = parse_qs(parts.query).get("token", [""])[0]
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=_SECONDS)
    try:
        connection.request("POST", SHOW_PATH, headers={_TOKEN_HEADER: token} if token else {})
        answer = connection.getresponse()
        if not answer.getheader("Server", "").startswith("image-batch-console"):
            return None
        shown = answer.status == 200 and b'"shown":true' in answer.read(1000)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return Running(url, str(data.get("version", "")), int(data.get("pid", 0)), shown)
