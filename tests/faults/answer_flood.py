"""Run as a program: 64 hostile answers at once against the whole program; prints the codes, the seconds and the peak of
its memory. Arguments: what each answer is, and how many.
"""

from __future__ import annotations

import json
import resource
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from engine.allocator import keep_freed_memory
from tests.fakes.peers import Peer
from tests.support.doors import open_door
from tests.support.pictures import source_folder

HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: %s\r\n\r\n"
PIECE = b"x" * 65536
MEGABYTES = 80


def _pour(start: bytes, megabytes: int, end: bytes = b"", piece: bytes = PIECE) -> Callable[[socket.socket], None]:
    def talk(client: socket.socket) -> None:
        while b"\r\n\r\n" not in client.recv(65536):
            pass
        client.sendall(start)
        for _ in range(megabytes * 16):
            client.sendall(piece)
        client.sendall(end)

    return talk


ANSWERS = {
    "endless line": _pour(HEAD % b"text/event-stream" + b"data: ", 10_000),
    "one line": _pour(HEAD % b"text/event-stream" + b"data: ", MEGABYTES, b"\n\ndata: [DONE]\n\n"),
    "one value": _pour(HEAD % b"application/json" + b'{"data":[{"b64_json":"', MEGABYTES, b'"}]}'),
    "many values": _pour(HEAD % b"application/json" + b'{"data":[{},1', MEGABYTES, b"]}", b",{}" * 21845),
    "one picture": _pour(HEAD % b"image/png" + b"\x89PNG\r\n\x1a\n", MEGABYTES - 1),
}


def main() -> None:
    """One flood."""
    keep_freed_memory()  # as the program does
    kind, number = sys.argv[1], int(sys.argv[2])
    with tempfile.TemporaryDirectory() as name, Peer(ANSWERS[kind]) as peer:
        folder = Path(name)
        config = {
            "api_url": f"http://127.0.0.1:{peer.port}/v1/chat/completions", "api_key": "sk-0", "max_retries": 0,
            "unlock_local_api_url": True, "concurrency_limit": number, "timeout_seconds": 300,
        }  # fmt: skip
        with open_door(folder / "data", ALLOW_PRIVATE_API_URL="1") as door:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            begun = time.monotonic()
            door.start(source_folder(folder / "in", number), config)
            door.wait_idle(600)
            took = time.monotonic() - begun
            codes = Counter(task["error"]["code"] if task["error"] else task["status"] for task in door.tasks())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"kind": kind, "codes": codes, "seconds": round(took, 1), "before_mb": before // 1024,
                      "peak_mb": peak // 1024}))  # fmt: skip


if __name__ == "__main__":
    main()
