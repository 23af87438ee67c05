"""The HTTP side of the demo endpoint: connections, memory bounds, order of events, faults on request."""

from __future__ import annotations

import hashlib
import logging
import secrets
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from bridge.demo.answers import (
    MODEL,
    Picture,
    document,
    encode_event,
    error_document,
    judged_document,
    opening,
    progress,
    results,
    text_document,
)
from bridge.demo.critic import JUDGE_MODEL, answer, read_question
from bridge.demo.orders import PATHS, EditOrder, Fault, OrderRefused, Trouble, fault_in, mode_of, read_order
from bridge.demo.painter import Painted, paint
from engine.config import ApiMode

_MAX_BODY = 40 * 1024 * 1024
_MAX_FILES_BYTES = 64 * 1024 * 1024
_FILES_SECONDS = 600.0
_FAULTS_KEPT = 4096
_EDITS_AT_ONCE = 2
_IDLE_SECONDS = 30.0
_SLOW_SECONDS = 30.0
_STEPS = (15, 45, 80)
_ERROR_PAGE = b"<!DOCTYPE html><html><head><title>500</title></head><body><h1>Internal Server Error</h1></body></html>"
_log = logging.getLogger(__name__)


class Gone(Exception):
    """The endpoint is being closed, or the fault asks for a cut: end this connection without another word."""


class Files:
    """Results that were asked for by URL: in memory, for a while, oldest out first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[float, Painted]] = OrderedDict()
        self._bytes = 0

    def put(self, painted: Painted) -> str:
        name = f"{secrets.token_urlsafe(12)}.{painted.extension}"
        with self._lock:
            self._kept[name] = (self._clock() + _FILES_SECONDS, painted)
            self._bytes += len(painted.data)
            while self._kept and (self._bytes > _MAX_FILES_BYTES or next(iter(self._kept.values()))[0] < self._clock()):
                self._bytes -= len(self._kept.popitem(last=False)[1][1].data)
        return name

    def get(self, name: str) -> Painted | None:
        with self._lock:
            ends, painted = self._kept.get(name, (0.0, None))
        return painted if ends >= self._clock() else None


class DemoState:
    """What all connections share. ``delay``: seconds that an edit takes; ``clock``: monotonic seconds."""

    def __init__(self, delay: float, clock: Callable[[], float]) -> None:
        self.delay = delay
        self.clock = clock
        self.files = Files(clock)
        self.gate = threading.BoundedSemaphore(_EDITS_AT_ONCE)
        self.closing = threading.Event()
        self._failed_once: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def wait(self, seconds: float) -> None:
        """Wait; raises Gone as soon as the endpoint is closed."""
        if self.closing.wait(max(0.0, seconds)):
            raise Gone

    def due(self, fault: Fault, order: EditOrder) -> bool:
        """Whether the fault strikes: always, or only the first time that this picture comes with this prompt."""
        if not fault.once:
            return True
        key = hashlib.sha256(order.picture + order.prompt.encode()).digest()
        with self._lock:
            if key in self._failed_once:
                return False
            self._failed_once[key] = None
            if len(self._failed_once) > _FAULTS_KEPT:
                self._failed_once.popitem(last=False)
        return True


class DemoServer(ThreadingHTTPServer):
    """Knows its connections, so that closing it ends them all at once."""

    request_queue_size = 128
    daemon_threads = True

    def __init__(self, state: DemoState) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = state
        self._open: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._loop = threading.Thread(target=self.serve_forever, args=(0.05,), name="demo", daemon=True)

    def server_bind(self) -> None:
        """Bind without the reverse look-up of the standard library, which can take seconds."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def run(self) -> None:
        self._loop.start()

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(target=self._serve, args=(request, client_address), name="demo-call", daemon=True)
        with self._lock:
            self._open[request] = thread
        thread.start()

    def _serve(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - names of the base class
        _log.exception("demo endpoint")

    def end(self) -> None:
        self.shutdown()
        self.server_close()
        with self._lock:
            left = list(self._open.items())
        for connection, _ in left:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it ended by itself meanwhile
        for _, thread in left:
            thread.join(5)
        self._loop.join(5)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "demo"
    disable_nagle_algorithm = True
    timeout = _IDLE_SECONDS
    server: DemoServer

    @property
    def state(self) -> DemoState:
        return self.server.state

    def handle(self) -> None:
        try:
            super().handle()
        except (ConnectionError, TimeoutError, Gone):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - name of the base class
        _log.debug(format, *args)

    def end_headers(self) -> None:
        self.send_header("X-Demo", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        super().end_headers()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.startswith("/files/") and (painted := self.state.files.get(path.removeprefix("/files/"))):
            self._send(200, painted.data, painted.mime)
        elif path == "/v1/models":
            more = {"object": "model", "created": 0, "owned_by": "demo"}
            self._json(200, {"object": "list", "data": [{"id": name, **more} for name in (MODEL, JUDGE_MODEL)]})
        elif mode_of(path):
            self._json(405, error_document(405, "Use POST"), {"Allow": "POST, OPTIONS"})
        elif path == "/":
            self._json(200, {"demo": True, "models": [MODEL], "paths": list(PATHS.values())})
        else:
            self._json(404, error_document(404, f"Nothing at {path}"))

    do_HEAD = do_GET

    def do_OPTIONS(self) -> None:
        self._send(204, b"", None, {"Allow": "GET, HEAD, POST, OPTIONS"})

    def do_POST(self) -> None:
        begun = self.state.clock()
        try:
            with self.state.gate:  # bounds the memory: few bodies and few edits at once
                mode, body = self._body()
                answer_now = self._prepare(mode, body, begun)
                del body
        except OrderRefused as error:
            self._json(error.status, error_document(error.status, error.message, error.parameter))
            return
        answer_now()

    def _prepare(self, mode: ApiMode, body: bytes, begun: float) -> Callable[[], None]:
        """Look at the pictures or edit them; what is left is to answer. OrderRefused."""
        if mode is ApiMode.CHAT_COMPLETIONS and (question := read_question(body)) is not None:
            judged = answer(question)
            return lambda: self._judge(judged, begun + self.state.delay)
        order = read_order(mode, self.headers.get("Content-Type", ""), body)
        fault = self._due_fault(order)
        pictures = [] if fault and fault.status else self._pictures(order, fault.trouble if fault else None)
        order = msgspec.structs.replace(order, picture=b"")
        return lambda: self._edit(order, pictures, fault, begun)

    def _due_fault(self, order: EditOrder) -> Fault | None:
        """The fault that is to strike now."""
        fault = fault_in(order.prompt)
        return fault if fault is not None and self.state.due(fault, order) else None

    def _edit(self, order: EditOrder, pictures: Sequence[Picture], fault: Fault | None, begun: float) -> None:
        """Answer an edit, or fail as was asked for."""
        if fault and (fault.status or fault.trouble is Trouble.HTML):
            self._fail(fault)
            return
        trouble = fault.trouble if fault else None
        ends = begun + (_SLOW_SECONDS if trouble is Trouble.SLOW else self.state.delay)
        if order.stream:
            self._stream(order, pictures, trouble, ends)
        else:
            self._document(order, pictures, trouble, ends)

    def _body(self) -> tuple[ApiMode, bytes]:
        """Read the request, and tell what it is for; OrderRefused."""
        length = self.headers.get("Content-Length", "")
        mode = mode_of(self.path.partition("?")[0])
        refused: OrderRefused | None = None
        if self.headers.get("Origin"):  # a web page somewhere has no business here
            refused = OrderRefused(403, "The demo answers programs, not web pages")
        elif mode is None:
            refused = OrderRefused(404, "No such endpoint")
        elif not length.isdecimal():
            refused = OrderRefused(411, "Content-Length is required")
        elif int(length) > _MAX_BODY:
            refused = OrderRefused(413, "The request is too large")
        if refused or mode is None:
            self.close_connection = True  # the body was not read
            raise refused or OrderRefused(404, "No such endpoint")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionAbortedError
        return mode, body

    def _judge(self, judged: dict[str, Any], ends: float) -> None:
        """Answer a question about pictures."""
        self.state.wait(ends - self.state.clock())
        self._json(200, judged_document(secrets.token_hex(8), int(time.time()), judged))

    def _pictures(self, order: EditOrder, trouble: Trouble | None) -> list[Picture]:
        found: list[Picture] = []
        for variant in range(order.count):
            try:
                painted = paint(order.picture, order.prompt, variant)
            except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises for bytes that are no picture
                raise OrderRefused(400, "The picture cannot be decoded", "image") from error
            if trouble is Trouble.BROKEN:
                painted = msgspec.structs.replace(painted, data=painted.data[: len(painted.data) // 2])
            url = f"{self.server.base_url}/files/{self.state.files.put(painted)}" if order.by_url else None
            if trouble is Trouble.LINK:
                url = f"{self.server.base_url}/files/gone.jpg"
            found.append(Picture(painted, url))
        return found

    def _fail(self, fault: Fault) -> None:
        if fault.status is None:
            self._send(500, _ERROR_PAGE, "text/html; charset=utf-8")
            return
        extra = {"Retry-After": "1"} if fault.status in (429, 503) else {}
        self._json(fault.status, error_document(fault.status), extra)

    def _document(self, order: EditOrder, pictures: Sequence[Picture], trouble: Trouble | None, ends: float) -> None:
        self.state.wait(ends - self.state.clock())
        number, created = secrets.token_hex(8), int(time.time())
        if trouble is Trouble.EMPTY:
            self._send(200, b"", "application/json")
        elif trouble is Trouble.EVENT:
            self._json(200, error_document(500))
        elif trouble is Trouble.TEXT:
            self._json(200, text_document(order, number, created, "I can describe the picture, but not edit it."))
        elif trouble is Trouble.CUT:
            body = msgspec.json.encode(document(order, number, created, pictures))
            self._head(200, "application/json", len(body), {})
            self.wfile.write(body[: len(body) // 2])
            raise Gone
        else:
            self._json(200, document(order, number, created, pictures))

    def _stream(self, order: EditOrder, pictures: Sequence[Picture], trouble: Trouble | None, ends: float) -> None:
        self._head(200, "text/event-stream; charset=utf-8", None, {"Cache-Control": "no-cache"})
        for piece in self._events(order, pictures, trouble, ends):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def _events(
        self, order: EditOrder, pictures: Sequence[Picture], trouble: Trouble | None, ends: float
    ) -> Iterator[bytes]:
        number, created = secrets.token_hex(8), int(time.time())
        if trouble is Trouble.EMPTY:
            return
        yield from opening(order, number, created)
        pause = max(0.0, ends - self.state.clock()) / (len(_STEPS) + 1)
        for place, percent in enumerate(_STEPS):
            self.state.wait(pause)
            yield from progress(order, number, created, percent, pictures if place else ())
            if trouble is Trouble.CUT and place:
                raise Gone
        self.state.wait(pause)
        if trouble is Trouble.EVENT:
            yield encode_event("error", {"type": "error", **error_document(500)})
        elif trouble is Trouble.TEXT:
            yield encode_event(None, text_document(order, number, created, "I cannot edit this picture."))
            yield encode_event(None, "[DONE]")
        else:
            yield from results(order, number, created, pictures)

    def _json(self, status: int, data: object, extra: dict[str, str] | None = None) -> None:
        self._send(status, msgspec.json.encode(data), "application/json", extra)

    def _send(self, status: int, body: bytes, kind: str | None, extra: dict[str, str] | None = None) -> None:
        self._head(status, kind, len(body), extra or {})
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, kind: str | None, length: int | None, extra: dict[str, str]) -> None:
        self.send_response(status)
        if kind:
            self.send_header("Content-Type", kind)
        if length is None:
            self.send_header("Transfer-Encoding", "chunked")
        elif status != 204:
            self.send_header("Content-Length", str(length))
        for name, value in extra.items():
            self.send_header(name, value)
        self.end_headers()
