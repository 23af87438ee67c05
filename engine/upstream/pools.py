"""Kept connections: one pool for the calls that follow the same rules, each with its way out of this machine.

httpcore makes the connections. Its own pool looks at each of them whenever a call begins and ends, which with hundreds
of calls at once is most of the work; here a call takes one and gives it back.
"""

from __future__ import annotations

import functools
import ssl
import threading

import httpcore
import msgspec

from engine.upstream.backend import GuardedBackend, Resolve, TunnelBackend
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy, Purpose, usable_addresses
from engine.upstream.proxies import ProxyServer

MAX_IDLE_CONNECTIONS = 512
IDLE_SECONDS = 4.0
"""Below the five seconds after which common servers close: a paid call must not meet a closing connection."""


class _PoolKey(msgspec.Struct, frozen=True):
    """Connections are shared only among calls that follow the same rules."""

    purpose: Purpose
    unlocked: bool
    proxy: ProxyServer | None
    https: bool


class Pool:
    """Connections for calls that follow the same rules, to any host. Thread-safe."""

    def __init__(self, connections: httpcore.ConnectionPool) -> None:
        """``connections``: makes them."""
        self._connections = connections
        self._lock = threading.Lock()
        self._idle: list[httpcore.ConnectionInterface] = []  # the one used last stands last
        self._closed = False

    def take(self, origin: httpcore.Origin) -> httpcore.ConnectionInterface:
        """A connection for one call, which gives it back: the one that waited least, or a new one."""
        while True:
            with self._lock:
                fits = (at for at in range(len(self._idle) - 1, -1, -1) if self._idle[at].can_handle_request(origin))
                at = next(fits, None)
                kept = self._idle.pop(at) if at is not None else None
            if kept is None:
                return self._connections.create_connection(origin)
            if not kept.has_expired():
                return kept
            kept.close()

    def give_back(self, connection: httpcore.ConnectionInterface) -> None:
        """The call is over: the connection is kept if its answer was read to the end."""
        spare: list[httpcore.ConnectionInterface] = []
        with self._lock:
            if self._closed or connection.is_closed() or not connection.is_idle():
                spare.append(connection)
            else:
                self._idle.append(connection)
                if len(self._idle) > MAX_IDLE_CONNECTIONS or self._idle[0].has_expired():
                    spare.append(self._idle.pop(0))
        for one in spare:
            one.close()

    def close(self) -> None:
        """Close the connections that wait for another call, and each that is given back from here on."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class Pools:
    """The pools of one transport, made when they are needed. Thread-safe."""

    def __init__(self, policy: NetPolicy, resolve: Resolve, tls: ssl.SSLContext | None, closing: CancelToken) -> None:
        """``tls``: trusted certificates, None for the system's; ``closing``: after that no pool is made."""
        self._policy = policy
        self._resolve = resolve
        self._tls = tls
        self._closing = closing
        self._lock = threading.Lock()
        self._pools: dict[_PoolKey, Pool] = {}

    def pool(self, purpose: Purpose, unlocked: bool, proxy: ProxyServer | None, *, https: bool) -> Pool:
        """The pool for such calls; raises Stopped once all is being closed."""
        key = _PoolKey(purpose, unlocked, proxy, https)
        with self._lock:
            self._closing.check()
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = self._new(key)
            return pool

    def close(self) -> None:
        """Close the connections that wait for another call; calls that begin later open new ones. Those in use are
        closed by their own call, which may be in the middle of reading."""
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        for pool in pools:
            pool.close()

    def _new(self, key: _PoolKey) -> Pool:
        """A pool that looks up and checks (direct), or leaves the host to the proxy: by tunnel, by SOCKS, or whole."""
        proxy, secure = key.proxy, key.proxy is not None and key.proxy.scheme == "https"
        if (key.https or secure) and self._tls is None:
            self._tls = httpcore.default_ssl_context()  # reads all certificates: not for nothing
        core_proxy = None
        if proxy is not None and not (key.https and not proxy.socks):
            core_proxy = _core_proxy(proxy, self._tls if secure else None)
        rules = functools.partial(usable_addresses, purpose=key.purpose, policy=self._policy, unlocked=key.unlocked)
        backend: httpcore.NetworkBackend = GuardedBackend(self._resolve, rules if proxy is None else None)
        if proxy is not None and core_proxy is None:
            backend = TunnelBackend(GuardedBackend(self._resolve, None), proxy, self._tls if secure else None)
        return Pool(
            httpcore.ConnectionPool(
                ssl_context=self._tls, proxy=core_proxy, keepalive_expiry=IDLE_SECONDS, network_backend=backend
            )
        )


class _Hidden(bytes):
    """Credentials that do not show where httpcore logs the arguments of a call."""

    def __repr__(self) -> str:
        return "'***'"


def _core_proxy(proxy: ProxyServer, tls: ssl.SSLContext | None) -> httpcore.Proxy:
    auth = None
    if proxy.user or proxy.password:
        auth = (_Hidden(proxy.user.encode("utf-8")), _Hidden(proxy.password.encode("utf-8")))
    return httpcore.Proxy(
        httpcore.URL(scheme=proxy.scheme, host=proxy.host, port=proxy.port, target="/"),
        auth=auth,
        ssl_context=tls,
    )
