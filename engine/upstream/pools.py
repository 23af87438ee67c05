"""Kept connections: one pool for the calls that follow the same rules, each with its way out of this machine."""

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

MAX_IDLE_CONNECTIONS = 128
IDLE_SECONDS = 4.0
"""Below the five seconds after which common servers close: a paid call must not meet a closing connection."""


class _PoolKey(msgspec.Struct, frozen=True):
    """Connections are shared only among calls that follow the same rules."""

    purpose: Purpose
    unlocked: bool
    proxy: ProxyServer | None
    https: bool


class Pools:
    """The pools of one transport, made when they are needed. Thread-safe."""

    def __init__(self, policy: NetPolicy, resolve: Resolve, tls: ssl.SSLContext | None, closing: CancelToken) -> None:
        """``tls``: trusted certificates, None for the system's; ``closing``: after that no pool is made."""
        self._policy = policy
        self._resolve = resolve
        self._tls = tls
        self._closing = closing
        self._lock = threading.Lock()
        self._pools: dict[_PoolKey, httpcore.ConnectionPool] = {}

    def pool(
        self, purpose: Purpose, unlocked: bool, proxy: ProxyServer | None, *, https: bool
    ) -> httpcore.ConnectionPool:
        """The pool for such calls; raises Stopped once all is being closed."""
        key = _PoolKey(purpose, unlocked, proxy, https)
        with self._lock:
            self._closing.check()
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = self._new(key)
            return pool

    def drop_idle(self) -> None:
        """Close the connections that wait for another call; calls that begin later open new ones."""
        for pool in self._taken():  # those in use are closed by their own call, which may be in the middle of reading
            for connection in pool.connections:
                if connection.is_idle():
                    connection.close()

    def close(self) -> None:
        """Close all connections."""
        for pool in self._taken():
            pool.close()

    def _taken(self) -> list[httpcore.ConnectionPool]:
        with self._lock:
            pools = list(self._pools.values())
            self._pools.clear()
        return pools

    def _new(self, key: _PoolKey) -> httpcore.ConnectionPool:
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
        return httpcore.ConnectionPool(
            ssl_context=self._tls,
            proxy=core_proxy,
            max_connections=None,  # whoever calls bounds the number of calls; a queue here could not be cancelled
            max_keepalive_connections=MAX_IDLE_CONNECTIONS,
            keepalive_expiry=IDLE_SECONDS,
            network_backend=backend,
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
