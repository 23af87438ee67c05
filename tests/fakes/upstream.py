"""A paid API made of loopback sockets: scripted answers over real HTTP/1.1, and a record of every request.

with FakeUpstream() as fake:
    fake.answer(Script.sample("c1_grok2api_base64.sse", pieces=(7,)), Script(status=429, headers={"Retry-After": "2"}))
    call(fake.url("/v1/chat/completions"))
    assert fake.requests[0].json["model"] == "m"

Answers are taken in order; the last one repeats. Pictures and other fixed paths are served beside them and are not part
of that order: ``fake.picture(data)``, ``fake.route(path, script)``, ``fake.redirect_loop()``.
"""

from __future__ import annotations

import contextlib
import gzip
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from itertools import cycle
from socketserver import ThreadingTCPServer
from typing import Any, Self

from tests.fakes.scripts import SAMPLES, Answering, FormPart, Received, Script, sample

__all__ = ["SAMPLES", "FakeUpstream", "FormPart", "Received", "Script", "sample"]


class FakeUpstream:
    """The server. ``busiest``: most requests that were answered at once; ``hang_ups``: clients that left early."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.busiest = 0
        self.hang_ups = 0
        self._now_busy = 0
        self._open: set[socket.socket] = set()
        self._answers: list[Script] = []
        self._answering: Answering | None = None
        self._routes: dict[str, Script] = {}
        self._changed = threading.Condition()
        self.closing = threading.Event()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every answer, shut every connection, free the port. Allowed twice."""
        self.closing.set()
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        with self._changed:
            connections = list(self._open)
        for connection in connections:
            _shut(connection)

    @property
    def port(self) -> int:
        """Port on 127.0.0.1."""
        return int(self._server.server_address[1])

    @property
    def host(self) -> str:
        """``127.0.0.1:port``."""
        return f"127.0.0.1:{self.port}"

    def url(self, path: str = "/v1/chat/completions") -> str:
        """An absolute URL on this server."""
        return f"http://{self.host}{path}"

    # --- what it answers -------------------------------------------------------------------------------------------

    def answer(self, *scripts: Script) -> None:
        """Answer the requests to come with these, in order; the last one repeats. Drops what was scripted before."""
        with self._changed:
            self._answers = list(scripts)
            self._answering = None

    def answer_with(self, answering: Answering) -> None:
        """Ask ``answering`` for the answer of each request; it runs on the connection's thread."""
        with self._changed:
            self._answering = answering

    def route(self, path: str, script: Script) -> str:
        """Serve ``script`` at a fixed path, whatever the method and query, as often as asked; gives its URL."""
        with self._changed:
            self._routes[path] = script
        return self.url(path)

    def picture(self, data: bytes, path: str = "/files/picture.png", content_type: str = "image/png") -> str:
        """Serve a result picture; gives its URL."""
        return self.route(path, Script(body=data, content_type=content_type))

    def redirect_loop(self, path: str = "/loop") -> str:
        """A URL that redirects to itself."""
        return self.route(path, Script.redirect(path))

    def redirect_chain(self, length: int, target: str, path: str = "/hop") -> str:
        """A URL from which ``length`` redirects lead to ``target``."""
        for hop in range(1, length + 1):
            self.route(f"{path}/{hop}", Script.redirect(f"{path}/{hop + 1}" if hop < length else target))
        return self.url(f"{path}/1") if length else target

    # --- what it saw -----------------------------------------------------------------------------------------------

    @property
    def api_requests(self) -> list[Received]:
        """The requests that were answered from the script, not from a fixed path."""
        with self._changed:
            return [request for request in self.requests if _bare(request.path) not in self._routes]

    @property
    def connections(self) -> int:
        """Connections open now."""
        with self._changed:
            return len(self._open)

    def wait_for_requests(self, count: int, timeout: float = 10) -> bool:
        """Until so many requests have arrived in all; False when time is up."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.requests) >= count, timeout)

    def wait_for_no_connections(self, timeout: float = 10) -> bool:
        """Until every client has left; False when time is up."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout)

    # --- called by the connections -----------------------------------------------------------------------------------

    def opened(self, connection: socket.socket) -> None:
        """A client came."""
        with self._changed:
            self._open.add(connection)
            self._changed.notify_all()

    def closed(self, connection: socket.socket) -> None:
        """A client is gone."""
        with self._changed:
            self._open.discard(connection)
            self._changed.notify_all()

    def hung_up(self) -> None:
        """A client left in the middle of its answer."""
        with self._changed:
            self.hang_ups += 1
            self._changed.notify_all()

    def take(self, request: Received) -> Script:
        """Record a request and choose its answer."""
        with self._changed:
            self.requests.append(request)
            self._now_busy += 1
            self.busiest = max(self.busiest, self._now_busy)
            self._changed.notify_all()
            route = self._routes.get(_bare(request.path))
            if route is not None:
                return route
            answering = self._answering
            if answering is None:
                if not self._answers:
                    return Script.error(404, "nothing is scripted")
                return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return answering(request)

    def answered(self) -> None:
        """An answer ended, one way or another."""
        with self._changed:
            self._now_busy -= 1
            self._changed.notify_all()


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    block_on_close = False

    def __init__(self, fake: FakeUpstream) -> None:
        self.fake = fake
        super().__init__(("127.0.0.1", 0), _Connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not self.fake.closing.is_set():
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.fake.opened(self.connection)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except OSError:
            pass
        finally:
            self.server.fake.closed(self.connection)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""

    def _serve(self) -> None:
        body = self._read_body()
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Received(self.command, self.path, headers, body, time.monotonic(), int(self.client_address[1]))
        fake = self.server.fake
        script = fake.take(request)
        try:
            self._answer(script)
        except OSError:
            fake.hung_up()
            self.close_connection = True
        finally:
            fake.answered()

    do_GET = do_POST = do_HEAD = do_OPTIONS = do_PUT = do_DELETE = _serve

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, script: Script) -> None:
        self._wait(script.delay)
        if script.silent:
            self._hang()
            return
        body = gzip.compress(script.body, 1) if script.compressed else script.body
        framing = script.framing or ("chunked" if script.pieces or script.cuts else "length")
        self.wfile.write(self._head(script, len(body), framing))
        if self.command == "HEAD":
            return
        shown = body if script.stop_at is None else body[: script.stop_at]
        for number, piece in enumerate(_cut(shown, script.pieces, script.cuts)):
            if number:
                self._wait(script.pause)
                while script.gate and not script.gate.is_set():
                    self._watch(0.05)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if framing == "chunked" else piece)
        if script.stop_at is not None:
            self._break_off(script.ending)
        elif framing == "chunked":
            self.wfile.write(b"0\r\n\r\n")
        if framing == "close" or script.claim is not None:
            self.close_connection = True

    def _head(self, script: Script, length: int, framing: str) -> bytes:
        headers = {} if script.content_type is None else {"Content-Type": script.content_type}
        if script.compressed:
            headers["Content-Encoding"] = "gzip"
        if framing == "length" or script.claim is not None:
            headers["Content-Length"] = str(length if script.claim is None else script.claim)
        elif framing == "chunked":
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Connection"] = "close"
        headers.update(script.headers)
        lines = [f"HTTP/1.1 {script.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _break_off(self, ending: str) -> None:
        self.close_connection = True
        if ending == "hang":
            self._hang()
        elif ending == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.connection.close()

    def _wait(self, seconds: float) -> None:
        """Sleep that ends early when the fake is closed or the client leaves."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._watch(min(left, 0.05))

    def _hang(self) -> None:
        while True:
            self._watch(0.05)

    def _watch(self, seconds: float) -> None:
        readable, _, _ = select.select([self.connection], [], [], seconds)
        if self.server.fake.closing.is_set():
            raise ConnectionAbortedError("closing")
        if readable and not self.connection.recv(1, socket.MSG_PEEK):
            raise ConnectionResetError("the client left")


def _cut(body: bytes, pieces: Sequence[int], cuts: Sequence[int]) -> Iterator[bytes]:
    ends = {cut for cut in cuts if 0 < cut < len(body)} | {len(body)}
    position, sizes = 0, cycle(pieces or (1 << 16,))
    while position < len(body):
        end = min(position + next(sizes), min((cut for cut in ends if cut > position), default=len(body)))
        yield body[position:end]
        position = end


def _bare(path: str) -> str:
    return path.partition("?")[0]


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # already gone
        connection.shutdown(socket.SHUT_RDWR)
