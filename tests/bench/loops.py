"""The loops that the program is compared with: as many pictures, and nothing done that could be left out."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import os
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx
import msgspec
from PIL import Image

from tests.bench.calls import Load, Took, Watch
from tests.bench.gateway import Picture

Ask = Callable[[str, bytes | None], bytes]
"""(path, body) -> the answer's body; a GET without a body."""


class Loop(msgspec.Struct, frozen=True):
    """``told``: in the table. ``library``: asks with httpx, as the program does, else with Python's http.client.
    ``pixels``: decodes the picture. ``careful``: does the least that keeping what was paid for takes besides: the file
    gets its name when its bytes are on disk, and its row in an SQLite table is on disk at the end as well."""

    told: str
    library: bool = True
    pixels: bool = True
    careful: bool = False


LOOPS: Final = {
    "bare": Loop("bare loop"),
    "careful": Loop("bare loop that also renames and notes", careful=True),
    "undecoded": Loop("bare loop that leaves the picture undecoded", pixels=False),
    "least": Loop("bare loop with http.client, which leaves the picture undecoded", library=False, pixels=False),
}


def bare(loop: Loop, load: Load, port: int, count: int, folder: Path) -> Took:
    """What ``count`` pictures take: ask, read, split, parse, decode, hash, write to a file of its own, fsync."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    table = _table(folder) if loop.careful else None
    numbers = iter(range(count))
    lock = threading.Lock()
    # What is sent is as large as what the engine sends.
    picture = base64.b64encode(Picture(10_000, 1).numbered(0)).decode()
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": picture}]}).encode()

    def work() -> None:
        ask, close = _with_httpx(port) if loop.library else _with_http_client(port)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                close()
                return
            data = _picture(load.kind, ask(load.path, body), ask)
            if loop.pixels:
                with Image.open(io.BytesIO(data)) as image:
                    image.load()
            name = f"{number}-{hashlib.sha256(data).hexdigest()}"
            _write(folder / name, data, careful=loop.careful)
            if table is not None:
                with lock:
                    table.execute("INSERT INTO picture VALUES (?)", (name,))

    threads = [threading.Thread(target=work) for _ in range(load.at_once)]
    watch = Watch()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = watch.took()
    assert len(list(folder.glob("[0-9]*-*"))) == count
    if table is not None:
        table.close()
    return took


def _with_httpx(port: int) -> tuple[Ask, Callable[[], None]]:
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Content-Type": "application/json"})

    def ask(path: str, body: bytes | None) -> bytes:
        return (client.get(path) if body is None else client.post(path, content=body)).content

    return ask, client.close


def _with_http_client(port: int) -> tuple[Ask, Callable[[], None]]:
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask(path: str, body: bytes | None) -> bytes:
        connection.request("GET" if body is None else "POST", path, body, {"Content-Type": "application/json"})
        return connection.getresponse().read()

    return ask, connection.close


def _picture(kind: str, answer: bytes, ask: Ask) -> bytes:
    if kind == "sse":
        for line in answer.split(b"\n"):
            if line.startswith(b"data: {"):
                text = json.loads(line[6:])["choices"][0]["delta"]["content"]
                return base64.b64decode(text[text.index("base64,") + 7 : -1])
        raise AssertionError("no picture")
    named = json.loads(answer)["data"][0]
    if kind == "json":
        return base64.b64decode(named["b64_json"])
    return ask("/" + named["url"].rpartition("/")[2], None)


def _table(folder: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(folder / "table.db", isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE picture (name TEXT PRIMARY KEY)")
    return connection


def _write(path: Path, data: bytes, *, careful: bool) -> None:
    place = path.with_name(f".{path.name}") if careful else path
    with place.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if careful:
        place.rename(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
