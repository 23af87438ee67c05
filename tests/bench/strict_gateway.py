"""A gateway that takes only so much, for measuring: so many calls at once, so many in a window, some slow or hung.

Runs in the measuring process's child: ``python strict_gateway.py '{"at_once": 4, …}'``; prints its port. GET /counts
tells what it took and refused.
"""

from __future__ import annotations

import base64
import contextlib
import json
import random
import socket
import socketserver
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from tests.bench.gateway import Picture


@dataclass
class Rules:
    """What is taken. Times in seconds. ``later``: after so many seconds other rules hold.
    ``dead_from``: after so many it cuts every connection, for ``dead_for``.

    ``says``: how a refusal looks: ``retry_after``, ``plain`` (429 without a time) or ``hidden`` (500 "rate limit").
    """

    at_once: int = 10**6
    quota: int = 10**6
    window: float = 60.0
    latency: float = 0.3
    says: str = "plain"
    slow_share: float = 0.0
    slow_factor: float = 20.0
    hang_share: float = 0.0
    later: float = 0.0
    later_at_once: int = 10**6
    dead_from: float = 0.0
    dead_for: float = 0.0


@dataclass
class Counts:
    """What happened so far."""

    taken: int = 0
    refused: int = 0
    running: int = 0
    starts: list[float] = field(default_factory=list)


class StrictGateway(socketserver.ThreadingTCPServer):
    """One thread a connection."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, rules: Rules) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.rules = rules
        self.counts = Counts()
        self.lock = threading.Lock()
        self.chance = random.Random(5)
        self.begun: float | None = None
        self.picture = base64.b64encode(Picture(4_000, 1).numbered(0)).decode()

    def enter(self) -> tuple[float | None, float]:
        """Seconds that a call takes, None if it is refused; and the Retry-After of a refusal."""
        with self.lock:
            now = time.monotonic()
            self.begun = self.begun or now
            rules, counts = self.rules, self.counts
            at_once = rules.later_at_once if rules.later and now - self.begun > rules.later else rules.at_once
            window = int((now - self.begun) // rules.window)
            counts.starts = [start for start in counts.starts if int((start - self.begun) // rules.window) == window]
            if counts.running >= at_once:
                counts.refused += 1
                return None, 1.0
            if len(counts.starts) >= rules.quota:
                counts.refused += 1
                return None, self.begun + (window + 1) * rules.window - now
            counts.starts.append(now)
            counts.running += 1
            counts.taken += 1
            seconds = rules.latency
            throw = self.chance.random()
            if throw < rules.hang_share:
                seconds = 10**6
            elif throw < rules.hang_share + rules.slow_share:
                seconds *= rules.slow_factor
            return seconds, 0.0

    def is_dead(self) -> bool:
        """Whether it answers nobody now."""
        since = time.monotonic() - (self.begun or time.monotonic()) - self.rules.dead_from
        return 0 <= since < self.rules.dead_for

    def leave(self) -> None:
        """A call has ended."""
        with self.lock:
            self.counts.running -= 1


class Handler(socketserver.StreamRequestHandler):
    """One keep-alive connection."""

    server: StrictGateway

    def handle(self) -> None:
        """Requests until the peer closes."""
        while line := self.rfile.readline():
            length = 0
            while (header := self.rfile.readline()) not in (b"\r\n", b""):
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            self.rfile.read(length)
            if line.startswith(b"GET"):
                counts = self.server.counts
                self._send(200, {"taken": counts.taken, "refused": counts.refused})
            else:
                self._edit()

    def _edit(self) -> None:
        if self.server.is_dead():
            self._cut()
            return
        seconds, wait = self.server.enter()
        if seconds is None:
            says = self.server.rules.says
            if says == "hidden":
                self._send(500, {"error": {"message": "upstream rate limit exceeded"}})
            else:
                self._send(429, {"error": {"message": "slow down"}}, f"{wait:.3f}" if says == "retry_after" else None)
            return
        try:
            if seconds > 10**5:
                self.connection.recv(1)  # hung: until the client leaves
                return
            time.sleep(seconds)
        finally:
            self.server.leave()
        if self.server.is_dead():
            self._cut()
            return
        self._send(200, {"created": 1, "data": [{"b64_json": self.server.picture}]})

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, status: int, answer: Any, retry_after: str | None = None) -> None:
        body = json.dumps(answer).encode()
        more = f"Retry-After: {retry_after}\r\n" if retry_after else ""
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)


if __name__ == "__main__":
    with StrictGateway(Rules(**json.loads(sys.argv[1]))) as gateway:
        print(gateway.server_address[1], flush=True)
        gateway.serve_forever()
