"""How connections are opened: one lookup, only checked addresses, tried in turn; no second lookup anywhere."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpcore

from engine.errors import Code, ConsoleError, NetworkFailed
from engine.upstream.addresses import parse_address
from engine.upstream.call import Call, Phase, call_of, reason_of
from engine.upstream.proxies import ProxyServer
from engine.upstream.streams import SLICE, SocketStream

ATTEMPT_SECONDS = 6.0
"""Longest wait for one address while others are left to try."""

Resolve = Callable[..., Sequence[tuple[Any, ...]]]
"""As ``socket.getaddrinfo(host, port, family, type)``."""
Guard = Callable[[Sequence[str], str], Sequence[str]]
"""(addresses, host) -> the addresses that may be connected to; raises AddressRefused."""


class GuardedBackend(httpcore.NetworkBackend):
    """Opens the connections of one pool. ``guard`` None: a proxy's own address, which is the person's choice."""

    def __init__(self, resolve: Resolve, guard: Guard | None) -> None:
        self._resolve = resolve
        self._guard = guard

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - the signature is httpcore's
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 - the same
    ) -> httpcore.NetworkStream:
        """Look the name up once, check all it names, and try the checked addresses in turn.

        Raises AddressRefused, or NetworkFailed: HOST_UNRESOLVABLE, CONNECT_FAILED, TIMED_OUT; behind a proxy
        setting (no guard) the first two are PROXY_FAILED.
        """
        call = call_of(timeout)
        call.phase = Phase.CONNECT
        places = self._places(host, port, call)
        last: OSError | None = None
        for index, (family, address) in enumerate(places):
            try:
                return self._connect(family, address, call, alone=index == len(places) - 1)
            except OSError as error:
                last = error
        raise self._failed(Code.CONNECT_FAILED, call, reason_of(last), retryable=True)

    def _places(self, host: str, port: int, call: Call) -> list[tuple[int, Any]]:
        literal = parse_address(host)
        if literal is not None:
            family = socket.AF_INET6 if literal.version == 6 else socket.AF_INET
            found: list[tuple[int, Any]] = [(family, (host, port))]
        else:
            found = self._look_up(host, port, call)
        if self._guard is None:
            return found
        allowed = set(self._guard([str(address[0]) for _, address in found], host))
        return [(family, address) for family, address in found if str(address[0]) in allowed]

    def _look_up(self, host: str, port: int, call: Call) -> list[tuple[int, Any]]:
        lookup = Lookup(self._resolve, host, port)
        while not lookup.done.wait(min(call.remaining(), SLICE)):
            pass
        if lookup.error is not None or not lookup.found:
            code = getattr(lookup.error, "errno", None)
            retryable = code not in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
            raise self._failed(Code.HOST_UNRESOLVABLE, call, "lookup", retryable=retryable)
        return lookup.found

    def _connect(self, family: int, address: Any, call: Call, *, alone: bool) -> httpcore.NetworkStream:
        stop_at = 0.0 if alone else max(call.remaining() - ATTEMPT_SECONDS, call.remaining() / 2)

        def until() -> float:
            left = call.remaining()
            if left <= stop_at:
                raise TimeoutError(errno.ETIMEDOUT, "")
            return left - stop_at

        stream = SocketStream(family, call)
        try:
            call.take(stream)
            stream.connect(address, until)
        except (OSError, ConsoleError):
            stream.close()
            raise
        return stream

    def _failed(self, code: Code, call: Call, reason: str, *, retryable: bool) -> NetworkFailed:
        code = code if self._guard is not None else Code.PROXY_FAILED
        return NetworkFailed(code, retryable=retryable, host=call.host, reason=reason)


class TunnelBackend(httpcore.NetworkBackend):
    """Opens connections through an HTTP proxy with CONNECT.

    httpcore does so too, but its pool (1.0.9) keeps a tunnel for ever whose TLS handshake failed.
    """

    def __init__(self, backend: GuardedBackend, proxy: ProxyServer, tls: ssl.SSLContext | None) -> None:
        """``tls``: for the way to the proxy, None for a proxy that speaks plain HTTP."""
        self._backend = backend
        self._proxy = proxy
        self._tls = tls

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - the signature is httpcore's
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 - the same
    ) -> httpcore.NetworkStream:
        """A connection to the host as the proxy made it; raises httpcore.ProxyError when the proxy refused."""
        call = call_of(timeout)
        stream = self._backend.connect_tcp(self._proxy.host, self._proxy.port, timeout)
        if self._tls is not None:
            stream = stream.start_tls(self._tls, self._proxy.host, timeout)
        call.tunnelling = True
        url = httpcore.URL(scheme="http", host=self._proxy.host, port=self._proxy.port, target=_authority(host, port))
        headers = [(b"Host", url.target)]
        if self._proxy.user or self._proxy.password:
            headers.append((b"Proxy-Authorization", self._proxy.basic))
        limits = {"connect": timeout, "read": timeout, "write": timeout}
        request = httpcore.Request("CONNECT", url, headers=headers, extensions={"timeout": limits})
        answer = httpcore.HTTP11Connection(url.origin, stream).handle_request(request)
        if not 200 <= answer.status < 300:
            call.proxy_status = answer.status
            raise httpcore.ProxyError(answer.status)
        call.tunnelling = False
        through: httpcore.NetworkStream = answer.extensions["network_stream"]
        return through


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Lookup:
    """One name lookup in a thread of its own, so that a resolver that hangs keeps nobody from stopping."""

    def __init__(self, resolve: Resolve, host: str, port: int) -> None:
        self.done = threading.Event()
        self.found: list[tuple[int, Any]] = []
        self.error: Exception | None = None
        threading.Thread(target=self._run, args=(resolve, host, port), name=f"lookup {host}", daemon=True).start()

    def _run(self, resolve: Resolve, host: str, port: int) -> None:
        try:
            entries = resolve(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM)
            for family, *_, address in entries:
                if family in (socket.AF_INET, socket.AF_INET6) and (family, address) not in self.found:
                    self.found.append((family, address))
        except (OSError, ValueError) as error:
            self.error = error
        finally:
            self.done.set()
