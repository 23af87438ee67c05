"""Connections under httpcore: TCP on non-blocking sockets, TLS over any stream; deadline and cancel always count."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import httpcore

from engine.errors import Code, ConsoleError, NetworkFailed
from engine.upstream.call import Budget, Call, Phase, call_of, reason_of

SLICE = 0.25
"""Longest wait, in seconds, before the deadline and the token are looked at again; cancelling wakes a wait earlier."""
READ_BYTES = 64 * 1024
LARGE_READ_BYTES = 512 * 1024
"""What one read may bring once the peer sends faster than it is read: each read has its price in all layers above."""
WRITE_BYTES = 256 * 1024
HELD_BYTES = 16 * 1024
"""A write of at most so much waits for the next one: one system call for both, and the peer wakes once."""

_IN_PROGRESS = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY, errno.EINTR, errno.EISCONN})

T = TypeVar("T")


class SocketStream(httpcore.NetworkStream):
    """A TCP connection on a non-blocking socket; waits in slices, so that deadline and token always count."""

    def __init__(self, family: int, call: Call) -> None:
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._lock = threading.Lock()
        self._closed = False
        self._call = call
        self._piece = READ_BYTES
        self._held = b""

    def connect(self, address: Any, until: Callable[[], float]) -> None:
        """Connect; ``until`` gives the seconds left or raises. Raises OSError."""
        code = self._socket.connect_ex(address)
        if code not in _IN_PROGRESS:
            raise OSError(code, "")
        while not wait_for(self._socket, writing=True, seconds=min(until(), SLICE)):
            pass
        until()
        code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, "")
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._keep_alive()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Some bytes as soon as there are any, also more than ``max_bytes`` when much has come; empty at the end."""
        call = self._begin(timeout)
        if self._held:
            try:
                self._send(b"", call)
            except OSError as error:
                raise call.lost(error) from None
        call.remaining()  # a peer that floods never makes us wait, and has no more time than others
        while True:
            try:
                data = self._socket.recv(min(max(self._piece, max_bytes), call.read_share()))
            except (BlockingIOError, InterruptedError):
                self._wait(call, writing=False)
            except OSError as error:
                raise call.lost(error) from None
            else:
                self._note(data, call)
                if len(data) >= self._piece:
                    self._piece = min(2 * self._piece, LARGE_READ_BYTES)
                return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all; raises httpcore.WriteError, upon which httpcore looks for an answer that came early.

        A small buffer, as a request's head, is held back and goes out with what is written or read next.
        """
        call = self._begin(timeout)
        if buffer and not self._held and len(buffer) <= HELD_BYTES:
            self._held = bytes(buffer)
            return
        try:
            self._send(buffer, call)
        except OSError as error:
            raise httpcore.WriteError(reason_of(error)) from None

    def _send(self, buffer: bytes, call: Call) -> None:
        """What was held, and this. Raises OSError."""
        parts = (self._held, buffer) if len(buffer) > WRITE_BYTES else (self._held + buffer,)
        self._held = b""
        for part in parts:
            rest = memoryview(part)
            while rest:
                try:
                    rest = rest[self._socket.send(rest[:WRITE_BYTES]) :]
                except (BlockingIOError, InterruptedError):
                    self._wait(call, writing=True)
                except OSError:
                    call.remaining()
                    call.unsent = True
                    raise

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """TLS over this connection."""
        return start_tls(self, self._begin(timeout), ssl_context, server_hostname, timeout)

    def shut_down(self) -> None:
        """End both directions, from any thread. The descriptor stays valid until its own thread closes it."""
        with self._lock:
            if not self._closed:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket; again: no effect."""
        with self._lock:
            self._closed = True
            self._socket.close()

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks. Whether an idle connection was closed it asks of all of them at each request; we look at
        the one that is taken, when it is taken."""
        if info == "is_readable":
            return self._closed
        return self._socket if info == "socket" else None

    def _wait(self, call: Call, *, writing: bool) -> None:
        seconds = min(call.remaining(), SLICE)
        with call.waiting(seconds):
            wait_for(self._socket, writing=writing, seconds=seconds)

    @staticmethod
    def _note(data: bytes, call: Call) -> None:
        if data:
            call.received = True
        else:
            call.remaining()  # an end that the token made is no end
            call.ended = True

    def _begin(self, timeout: float | None) -> Call:
        if isinstance(timeout, Budget) and timeout.call is not self._call:
            self._call = timeout.call
            self._call.reused = True
            self._call.take(self)
            if wait_for(self._socket, writing=False, seconds=0):  # an answer before the question: it was closed
                self._call.unsent = True
                raise self._call.lost()
        return self._call

    def _keep_alive(self) -> None:
        # An edit may take minutes without a byte: routers forget such a connection unless something passes.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
        if idle is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, idle, 30)


class TlsStream(httpcore.NetworkStream):
    """TLS over any stream, also over another TLS stream (an https proxy), by way of memory buffers."""

    def __init__(self, lower: httpcore.NetworkStream, context: ssl.SSLContext, name: str | None) -> None:
        self._lower = lower
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._broken: ssl.SSLError | None = None

    def handshake(self, timeout: float | None) -> None:
        """Agree on keys and check the certificate; raises ssl.SSLError."""
        self._run(self._tls.do_handshake, timeout)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Decrypted bytes: all that one read of the connection brought, up to ``max_bytes``; empty at the end."""
        pieces = [self._read_one(max_bytes, timeout)]
        size = len(pieces[0])
        try:
            while 0 < size < max_bytes and (data := self._tls.read(max_bytes - size)):
                pieces.append(data)
                size += len(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._broken = error  # OpenSSL tells it once: asked again it would speak of an end in good order
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Encrypt and send all; raises as the stream below does."""
        view = memoryview(buffer)
        for start in range(0, len(view), WRITE_BYTES):
            piece = view[start : start + WRITE_BYTES]
            try:
                self._run(lambda piece=piece: self._tls.write(piece), timeout)  # type: ignore[misc]
            except ssl.SSLError as error:
                raise httpcore.WriteError(type(error).__name__) from None

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        """TLS inside this TLS connection."""
        return start_tls(self, call_of(timeout), ssl_context, server_hostname, timeout)

    def close(self) -> None:
        """Close the connection below."""
        self._lower.close()

    def get_extra_info(self, info: str) -> Any:
        """``ssl_object`` for the protocol agreed upon; all else is asked of the connection below."""
        return self._tls if info == "ssl_object" else self._lower.get_extra_info(info)

    def _read_one(self, max_bytes: int, timeout: float | None) -> bytes:
        try:
            if self._broken is not None:
                raise self._broken
            data = self._run(lambda: self._tls.read(max_bytes), timeout)
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            data = b""
        except ssl.SSLError as error:
            # The handshake was in order: what came damaged may come whole the next time.
            raise _tls_failed(call_of(timeout).host, error, retryable=True) from None
        if not data:
            call_of(timeout).ended = True
        return data

    def _run(self, step: Callable[[], T], timeout: float | None) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush(timeout)
                data = self._lower.read(READ_BYTES, timeout)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                self._flush(timeout)
                return result

    def _flush(self, timeout: float | None) -> None:
        if self._outgoing.pending:
            self._lower.write(self._outgoing.read(), timeout)


def start_tls(
    lower: httpcore.NetworkStream, call: Call, context: ssl.SSLContext, name: str | None, timeout: float | None
) -> TlsStream:
    """A TLS stream after its handshake; closes the connection and raises NetworkFailed(TLS_FAILED) otherwise."""
    call.phase = Phase.CONNECT
    try:
        stream = TlsStream(lower, context, name)
        stream.handshake(timeout)
    except (ssl.SSLError, ValueError, httpcore.WriteError, ConsoleError) as error:
        lower.close()
        if isinstance(error, NetworkFailed) and error.code is Code.CONNECTION_LOST:
            raise _tls_failed(call.host, None) from None
        if isinstance(error, ConsoleError):
            raise
        call.remaining()
        raise _tls_failed(call.host, error) from None
    return stream


def _tls_failed(host: str, error: Exception | None, *, retryable: bool = False) -> NetworkFailed:
    # A certificate stays wrong when asked again; a handshake that was cut may have been bad luck.
    cut = error is None or isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, httpcore.WriteError))
    reason = "closed"
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message
    elif isinstance(error, ssl.SSLError):
        reason = error.reason or type(error).__name__
    return NetworkFailed(Code.TLS_FAILED, retryable=cut or retryable, host=host, reason=reason)


def wait_for(sock: socket.socket, *, writing: bool, seconds: float) -> bool:
    """Whether the socket became ready (or broken) within ``seconds``."""
    descriptor = sock.fileno()
    if descriptor < 0:
        return True
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT if writing else select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    files = [descriptor]  # Windows: a connection that failed shows among the exceptions
    ready = select.select([] if writing else files, files if writing else [], files if writing else [], seconds)
    return any(ready)
