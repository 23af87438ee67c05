"""A gateway for measuring: a process of its own that answers every edit with another picture, as fast as it can.

Run as ``python gateway.py KIND SIZE LATENCY``; prints its port. KIND: sse, json, url; SIZE in bytes; LATENCY: seconds.
"""

from __future__ import annotations

import base64
import itertools
import json
import random
import socket
import socketserver
import struct
import sys
import threading
import time
import zlib

_MARK = "#" * 28  # stands in the base64 of a template where the number of the answer goes


class Picture:
    """A PNG of about ``size`` bytes, stored rather than compressed, in which a number can be written."""

    def __init__(self, size: int, seed: int) -> None:
        width = max(1, int((size / 3) ** 0.5))
        rng = random.Random(seed)
        raw = b"".join(b"\0" + rng.randbytes(width * 3) for _ in range(width))
        head = struct.pack(">IIBBBBB", width, width, 8, 2, 0, 0, 0)
        body = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(raw, 0))
        # Up to a multiple of three bytes, so that what comes next begins a group of four base64 characters.
        self.before = body + _chunk(b"tEXt", b"p\0" + b"p" * ((1 - len(body) - 14) % 3 + 2))
        assert len(self.before) % 3 == 0
        self.after = _chunk(b"IEND", b"")

    def numbered(self, number: int) -> bytes:
        """The whole file with this number in it."""
        return self.before + number_chunk(number) + self.after

    def template(self) -> str:
        """Its base64 with ``_MARK`` in the place of the number."""
        return base64.b64encode(self.before).decode() + _MARK + base64.b64encode(self.after).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def number_chunk(number: int) -> bytes:
    """21 bytes of a PNG, 28 characters of base64."""
    return _chunk(b"tEXt", b"n\0%07d" % (number % 10_000_000))


class Gateway(socketserver.ThreadingTCPServer):
    """Answers POST with the next edit, GET /n with picture n, GET /counts with calls so far, and the most at once."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, kind: str, size: int, latency: float) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.kind = kind
        self.latency = latency
        self.picture = Picture(size, seed=size)
        self.numbers = itertools.count(1)
        self.lock = threading.Lock()
        self.calls = self.running = self.peak = 0
        self.parts = _answer(kind, self.picture.template(), self.server_address[1])


class Handler(socketserver.BaseRequestHandler):
    """One keep-alive connection."""

    server: Gateway

    def handle(self) -> None:
        """Requests until the peer closes."""
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = self.request.makefile("rb", 1 << 16)
        while line := reader.readline():
            length = 0
            while (header := reader.readline()) not in (b"\r\n", b""):
                if header[:15].lower() == b"content-length:":
                    length = int(header[15:])
            reader.read(length)
            if line.startswith(b"GET /counts"):
                text = json.dumps({"calls": self.server.calls, "peak": self.server.peak}).encode()
                self._send([_head("application/json", len(text)), text])
            elif line.startswith(b"GET"):
                self._download(int(line.split()[1][1:]))
            else:
                self._edit()

    def _download(self, number: int) -> None:
        picture = self.server.picture
        size = len(picture.before) + 21 + len(picture.after)
        self._send([_head("image/png", size), picture.before, number_chunk(number), picture.after])

    def _edit(self) -> None:
        server = self.server
        if server.latency:
            with server.lock:
                server.calls += 1
                server.running += 1
                server.peak = max(server.peak, server.running)
            time.sleep(server.latency)
            with server.lock:
                server.running -= 1
        number = next(server.numbers)
        before, after = server.parts
        if server.kind == "url":
            self._send([before, b"%07d" % number, after])
        else:
            self._send([before, base64.b64encode(number_chunk(number)), after])

    def _send(self, parts: list[bytes]) -> None:
        sent = self.request.sendmsg(parts)
        for part in parts:
            if sent < len(part):
                self.request.sendall(memoryview(part)[sent:])
            sent = max(0, sent - len(part))


def _head(kind: str, length: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n".encode()


def _answer(kind: str, text: str, port: int) -> tuple[bytes, bytes]:
    """Head and body up to the number, and what follows it."""
    if kind == "sse":
        content = f"![image](data:image/png;base64,{text})"
        delta = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": content}, "finish_reason": "stop"}]}
        body, mime, mark = (
            f"event: chat.completion.chunk\ndata: {json.dumps(delta)}\n\ndata: [DONE]\n\n",
            "text/event-stream",
            _MARK,
        )
    else:
        mark = _MARK if kind == "json" else "#" * 7
        data = {"b64_json": text} if kind == "json" else {"url": f"http://127.0.0.1:{port}/{mark}"}
        body, mime = json.dumps({"created": 1, "data": [data]}), "application/json"
    before, _, after = body.partition(mark)
    return _head(mime, len(body)) + before.encode(), after.encode()


if __name__ == "__main__":
    with Gateway(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])) as gateway:
        print(gateway.server_address[1], flush=True)
        gateway.serve_forever()
