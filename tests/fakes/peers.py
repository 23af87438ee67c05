"""Raw loopback peers for what no proper server does: drips, lies, silence, resets; and proxies that keep count."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from engine.upstream.request import HttpRequest

Talk = Callable[[socket.socket], None]


def outgoing(
    url: str, *, method: str = "POST", headers: Mapping[str, str] | None = None, body: bytes = b"{}"
) -> HttpRequest:
    """A request as ``Transport.send`` takes it."""
    return HttpRequest(method=method, url=url, headers=dict(headers or {}), body=body)


class Peer:
    """A listener that runs ``talk`` with each client in a thread of its own and closes the connection after it."""

    def __init__(
        self, talk: Talk, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._talk = talk
        self._tls = tls
        self._changed = threading.Condition()
        self._open: set[socket.socket] = set()
        self._ending = False
        self.accepted = 0
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=256)
        self.host, self.port = self._listener.getsockname()[:2]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ending = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._changed:
            clients = list(self._open)
        for client in clients:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(client, socket.SHUT_RDWR)
        self.wait_for_none(5)

    def url(self, path: str = "/v1/images/edits") -> str:
        """An absolute URL here."""
        return f"{'https' if self._tls else 'http'}://{self.host}:{self.port}{path}"

    def wait_for_clients(self, count: int, seconds: float = 60) -> bool:
        """Until so many clients have come in all."""
        with self._changed:
            return self._changed.wait_for(lambda: self.accepted >= count, seconds)

    def wait_for_none(self, seconds: float) -> bool:
        """Until every client's connection has ended."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, seconds)

    def _accept(self) -> None:
        while not self._ending:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self.accepted += 1
                self._open.add(client)
                self._changed.notify_all()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        talking = client
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                talking = self._tls.wrap_socket(client, server_side=True)  # which takes the descriptor over
                with self._changed:
                    self._open.discard(client)
                    self._open.add(talking)
            self._talk(talking)
        except (OSError, ValueError, IndexError):  # the client left in the middle
            pass
        finally:
            with contextlib.suppress(OSError):
                talking.close()
            with self._changed:
                self._open -= {client, talking}
                self._changed.notify_all()


def read_request(client: socket.socket) -> bytes:
    """Head and body of one request; empty when the client left."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    pieces, missing = [head, b"\r\n\r\n", body], length - len(body)
    while missing > 0:
        pieces.append(client.recv(65536))
        if not pieces[-1]:
            return b""
        missing -= len(pieces[-1])
    return b"".join(pieces)


def answering(*answers: bytes, keep: bool = True) -> Talk:
    """Give these raw answers in turn, the last one for ever; with ``keep`` many on one connection."""
    left = list(answers)
    lock = threading.Lock()

    def talk(client: socket.socket) -> None:
        while read_request(client):
            with lock:
                answer = left.pop(0) if len(left) > 1 else left[0]
            client.sendall(answer)
            if not keep:
                return

    return talk


def ok(body: bytes = b"{}", status: str = "200 OK", **headers: str) -> bytes:
    """A well-formed answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def until_closed(client: socket.socket) -> None:
    """Say nothing until the client leaves."""
    while client.recv(65536):
        pass


def reset(client: socket.socket) -> None:
    """Close with RST instead of FIN."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def full_listener() -> Iterator[int]:
    """A port whose connections hang: nobody accepts, and the queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def make_certificate(folder: Path, name: str = "api.test") -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS for a server called ``name`` (also localhost and 127.0.0.1), and for a client that trusts it."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=DNS:{name},DNS:localhost,IP:127.0.0.1"),
        ],
        check=True,
        capture_output=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=str(certificate))


class ProxyPeer(Peer):
    """An HTTP proxy (CONNECT and plain requests) that sends all to 127.0.0.1; ``seen``: what it was asked for."""

    def __init__(self, *, status: str = "200 OK", login: bytes = b"", tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[str] = []
        self.heads: list[bytes] = []
        self._status = status
        self._login = login
        super().__init__(self._proxy, tls=tls)

    def _proxy(self, client: socket.socket) -> None:
        request = read_request(client)
        if not request:
            return
        head, _, body = request.partition(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        self.seen.append(target)
        self.heads.append(head)
        if self._login and b"Basic " + self._login not in head:
            client.sendall(b"HTTP/1.1 407 Login\r\nContent-Length: 0\r\n\r\n")
            return
        if method == "CONNECT":
            client.sendall(f"HTTP/1.1 {self._status}\r\n\r\n".encode())
            if self._status.startswith("2"):
                with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2]))) as server:
                    pump(client, server)
            return
        parts = urlsplit(target)
        with socket.create_connection(("127.0.0.1", parts.port or 80)) as server:
            server.sendall(head.replace(target.encode(), (parts.path or "/").encode(), 1) + b"\r\n\r\n" + body)
            pump(client, server)


class SocksPeer(Peer):
    """A SOCKS5 proxy that sends every host to 127.0.0.1; ``seen``: host and port as asked for."""

    def __init__(self, *, reply: int = 0, login: tuple[bytes, bytes] | None = None, broken: bool = False) -> None:
        self.seen: list[tuple[str, int]] = []
        self._reply = reply
        self._login = login
        self._broken = broken
        super().__init__(self._socks)

    def _socks(self, client: socket.socket) -> None:
        _, count = client.recv(2)
        methods = client.recv(count)
        if self._broken:
            client.sendall(b"HTTP/1.1 400 what\r\n\r\n")
            return
        wanted = 2 if self._login else 0
        client.sendall(bytes([5, wanted if wanted in methods else 0xFF]))
        if self._login and not self._log_in(client):
            return
        kind = client.recv(4)[3]
        host = client.recv(client.recv(1)[0]).decode() if kind == 3 else self._address(client, kind)
        port = int.from_bytes(client.recv(2), "big")
        self.seen.append((host, port))
        client.sendall(bytes([5, self._reply, 0, 1, 127, 0, 0, 1, 0, 0]))
        if self._reply == 0:
            with socket.create_connection(("127.0.0.1", port)) as server:
                pump(client, server)

    def _log_in(self, client: socket.socket) -> bool:
        client.recv(1)
        given = client.recv(client.recv(1)[0]), client.recv(client.recv(1)[0])
        client.sendall(bytes([1, 0 if given == self._login else 1]))
        return given == self._login

    @staticmethod
    def _address(client: socket.socket, kind: int) -> str:
        family, size = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
        return socket.inet_ntop(family, client.recv(size))


def pump(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until one side ends."""
    ends: dict[Any, socket.socket] = {one: other, other: one}
    while True:
        waiting = isinstance(one, ssl.SSLSocket) and one.pending() > 0
        ready: Sequence[Any] = [one] if waiting else select.select(list(ends), [], [], 10)[0]
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            ends[source].sendall(data)
        if not ready:
            return
