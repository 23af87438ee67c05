"""HTTP to the API and to the results it names: connection pools, redirects and what follows from an answer's head.

Uses httpcore's pools below httpx's client, which would keep cookies, and log every URL, of its own accord.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager

import httpcore
import msgspec

from engine.errors import Code, NetworkFailed
from engine.upstream.backend import Resolve
from engine.upstream.call import LEAST_READ_BYTES, READS_BYTES, Call
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy, Purpose, check_target
from engine.upstream.pools import Pool, Pools
from engine.upstream.proxies import ProxyServer, choose_proxy
from engine.upstream.request import Headers, HttpRequest, download_headers, request_headers
from engine.upstream.response import MAX_ANSWER_BYTES, HttpResponse, Passage, failures, proxy_failed
from engine.upstream.retry import retry_after
from engine.upstream.target import Target, parse_url

REDIRECTS = frozenset({301, 302, 303, 307, 308})
SAME_METHOD_REDIRECTS = frozenset({307, 308})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# 403 and 404: what storages say of a file that is not there yet. 52x and 529: a CDN's word for a failed origin.
RETRYABLE_DOWNLOAD = frozenset({403, 404, 408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})


class _Trip(msgspec.Struct, frozen=True):
    """What all hops of one call share; ``deadline`` on the transport's clock."""

    purpose: Purpose
    proxy: str
    unlocked: bool
    timeout: float
    deadline: float
    cancel: CancelToken


class Body:
    """The body of a request, given to each hop that takes it. Who sends hundreds at once waits for most of the time:
    with ``again``, which makes the same bytes anew for nothing, it is let go of once a hop has all of it."""

    def __init__(self, data: bytes, again: Callable[[], bytes] | None = None) -> None:
        self.size = len(data)
        self._data: bytes | None = data
        self._again = again

    def __iter__(self) -> Iterator[bytes]:
        if self._data is None and self._again is not None:  # for another hop
            self._data = self._again()
        yield self._data or b""
        if self._again is not None:
            self._data = None


class _Message(msgspec.Struct, frozen=True):
    """A request as it is sent to each hop."""

    method: str
    headers: Headers
    body: Body | None = None


class _Stale(Exception):
    """A kept connection turned out to be closed, and its request was certainly not acted upon; it is gone now."""


class Transport:
    """Connections to the outside; one for the whole program, used by many threads at once.

    For each connection a name is looked up once, every address is checked by ``policy``, and only a checked address
    is connected to. Behind a proxy the proxy looks names up: then only what the URL itself says (addresses, local
    names, the list of hosts) is checked. The proxy's own address is the person's choice and is not checked.
    """

    def __init__(
        self,
        policy: NetPolicy,
        *,
        max_redirects: int = 3,
        resolve: Resolve = socket.getaddrinfo,
        clock: Callable[[], float] = time.monotonic,
        proxies: Callable[[], Mapping[str, str]] = urllib.request.getproxies,
        tls: ssl.SSLContext | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """``resolve``, ``clock``, ``proxies`` (the environment's) and ``tls`` (trusted certificates) for the tests."""
        self._policy = policy
        self._max_redirects = max_redirects
        self._clock = clock
        self._proxies = proxies
        self._max_answer_bytes = max_answer_bytes
        self._closing = CancelToken()
        self._lock = threading.Condition()
        self._running = 0
        self._known_proxies: tuple[float, Mapping[str, str]] | None = None
        self._pools = Pools(policy, resolve, tls, self._closing)

    def close(self) -> None:
        """Stop the calls that still run, wait up to a second for them to end, and close all connections."""
        self._closing.cancel()
        with self._lock:
            self._lock.wait_for(lambda: self._running == 0, timeout=1.0)
        self._pools.close()

    def drop_idle(self) -> None:
        """Close the connections that wait for another call, after a stop; calls that begin later open new ones."""
        self._pools.close()

    @contextmanager
    def send(
        self,
        request: HttpRequest,
        *,
        proxy: str,
        unlocked: bool,
        timeout: float,
        cancel: CancelToken,
        body: Body | None = None,
    ) -> Iterator[HttpResponse]:
        """Call the API; the answer is read while the block runs. ``timeout``: seconds for all of it; ``body``: in the
        place of the request's own.

        Only a 307 or 308 to the same origin is followed: picture and key are sent nowhere else. An error status is
        an answer like any other. Raises Stopped, InvalidInput (PROXY_INVALID, FIELD_TYPE), AddressRefused and
        NetworkFailed.
        """
        body = body or Body(request.body)
        trip = self._trip(Purpose.API, proxy, unlocked, timeout, cancel)
        target = self._checked(request.url, trip)
        length = body.size if body.size or request.method not in SAFE_METHODS else None
        message = _Message(request.method, request_headers(request.headers, length), body)
        with closing(self._follow(target, message, trip, self._same_place)) as response:
            yield response

    @contextmanager
    def ask(
        self,
        url: str,
        headers: Callable[[str], Mapping[str, str]],
        *,
        proxy: str,
        unlocked: bool,
        timeout: float,
        cancel: CancelToken,
        max_bytes: int | None = None,
    ) -> Iterator[HttpResponse]:
        """GET what an API keeps elsewhere: a job, its result, a list of models. Redirects are followed;
        ``headers(url)`` gives the fields for each hop, the key among them only where it may go. Every hop keeps the
        address rules of the API. ``max_bytes``: for what is read in pieces, and may be larger than an answer.
        Raises what ``send`` raises.
        """
        trip = self._trip(Purpose.API, proxy, unlocked, timeout, cancel)
        target = self._checked(url, trip)
        for _ in range(self._max_redirects + 1):
            message = _Message("GET", request_headers(headers(target.url), None))
            with closing(self._exchange(target, message, trip)) as response:
                location = response.headers.get("location")
                if response.status not in REDIRECTS or location is None:
                    response.allow(max_bytes)
                    yield response
                    return
            target = self._checked(target.onward(location).url, trip)
        raise NetworkFailed(Code.REDIRECT_LIMIT, host=target.host, limit=self._max_redirects)

    def fetch(
        self,
        url: str,
        *,
        proxy: str,
        unlocked: bool,
        timeout: float,
        cancel: CancelToken,
        max_bytes: int,
        through: Passage | None = None,
    ) -> bytes:
        """Download a result: no key, no cookie; each redirect is checked like the first URL. ``through``: `Passage`.

        Raises Stopped, InvalidInput(PROXY_INVALID), AddressRefused, NetworkFailed (with DOWNLOAD_STATUS for an error
        status), AnswerUnusable(ANSWER_TOO_LARGE).
        """
        trip = self._trip(Purpose.DOWNLOAD, proxy, unlocked, timeout, cancel)
        target = self._checked(url, trip)
        message = _Message("GET", download_headers())
        with closing(self._follow(target, message, trip, self._anywhere)) as response:
            if not 200 <= response.status < 300:
                raise _download_refused(response, target)
            return response.read(max_bytes, through)

    def _trip(self, purpose: Purpose, proxy: str, unlocked: bool, timeout: float, cancel: CancelToken) -> _Trip:
        return _Trip(purpose, proxy, unlocked, timeout, self._clock() + timeout, cancel)

    def _checked(self, url: str, trip: _Trip) -> Target:
        target = parse_url(url)
        check_target(target, trip.purpose, self._policy, trip.unlocked)
        return target

    def _follow(
        self, target: Target, message: _Message, trip: _Trip, check: Callable[[Target, Target, HttpResponse], None]
    ) -> HttpResponse:
        """The answer after redirects; ``check(from, to, answer)`` raises for a redirect that is not to be followed."""
        for _ in range(self._max_redirects + 1):
            response = self._exchange(target, message, trip)
            location = response.headers.get("location")
            if response.status not in REDIRECTS or location is None:
                return response
            with closing(response):
                onward = target.onward(location)
                check(target, onward, response)
            target = self._checked(onward.url, trip)
        raise NetworkFailed(Code.REDIRECT_LIMIT, host=target.host, limit=self._max_redirects)

    @staticmethod
    def _same_place(origin: Target, onward: Target, response: HttpResponse) -> None:
        if onward.origin != origin.origin or response.status not in SAME_METHOD_REDIRECTS:
            raise NetworkFailed(Code.REDIRECT_REFUSED, http_status=response.status, host=onward.host)

    @staticmethod
    def _anywhere(origin: Target, onward: Target, response: HttpResponse) -> None:
        """A download goes wherever the address rules let it."""

    def _exchange(self, target: Target, message: _Message, trip: _Trip) -> HttpResponse:
        """One request and the head of its answer; again for each kept connection that had been closed meanwhile."""
        proxy = choose_proxy(trip.proxy, target, self._environment() if not trip.proxy.strip() else {})
        pool = self._pools.pool(trip.purpose, trip.unlocked, proxy, https=target.scheme == "https")
        while True:
            with contextlib.suppress(_Stale):  # not for ever: a new connection is not stale, and the deadline stays
                return self._once(pool, target, message, trip, proxy)

    def _once(
        self,
        pool: Pool,
        target: Target,
        message: _Message,
        trip: _Trip,
        proxy: ProxyServer | None,
    ) -> HttpResponse:
        request = _core_request(target, message, proxy)
        tokens = (trip.cancel, self._closing)
        call = Call(target.host, trip.timeout, trip.deadline, tokens, self._clock, self._read_share)
        request.extensions = call.extensions()
        with ExitStack() as stack:
            connection = pool.take(request.url.origin)
            stack.callback(pool.give_back, connection)
            self._enter(stack, call, trip)
            try:
                with failures(call):
                    answer = connection.handle_request(request)
            except NetworkFailed as error:
                safe = message.method in SAFE_METHODS or call.unsent
                if error.code is Code.CONNECTION_LOST and call.reused and not call.received and safe:
                    raise _Stale from None
                raise
            response = HttpResponse(target.url, answer, call, self._max_answer_bytes, stack.pop_all().close)
        if response.status == 407 and proxy is not None:
            response.close()
            raise proxy_failed(call, response.status)
        return response

    def _environment(self) -> Mapping[str, str]:
        """The environment's proxies, looked up at most once a second: on some systems that reads a registry."""
        now = self._clock()
        known = self._known_proxies
        if known is None or not 0 <= now - known[0] < 1.0:
            known = self._known_proxies = (now, self._proxies())
        return known[1]

    def _enter(self, stack: ExitStack, call: Call, trip: _Trip) -> None:
        """Count the call and tie it to the tokens; all is undone when the stack closes."""
        with self._lock:
            self._running += 1
        stack.callback(self._leave)
        stack.callback(call.close)
        stack.enter_context(trip.cancel.closing(call.abort))
        stack.enter_context(self._closing.closing(call.abort))

    def _read_share(self) -> int:
        return max(READS_BYTES // max(1, self._running), LEAST_READ_BYTES)

    def _leave(self) -> None:
        with self._lock:
            self._running -= 1
            self._lock.notify_all()


def _core_request(target: Target, message: _Message, proxy: ProxyServer | None) -> httpcore.Request:
    forwarded = proxy is not None and not proxy.socks and target.scheme == "http"
    # a proxy that forwards reads the host out of a URL, where IPv6 stands in brackets
    host = f"[{target.host}]" if forwarded and ":" in target.host else target.host
    return httpcore.Request(
        message.method,
        httpcore.URL(scheme=target.scheme, host=host, port=target.port, target=target.path),
        headers=[(b"Host", target.authority.encode("ascii")), *message.headers],
        content=message.body if message.body is not None and message.body.size else b"",
    )


def _download_refused(response: HttpResponse, target: Target) -> NetworkFailed:
    return NetworkFailed(
        Code.DOWNLOAD_STATUS,
        retryable=response.status in RETRYABLE_DOWNLOAD,
        retry_after=retry_after(response.headers, time.time(), limited=response.status == 429),
        http_status=response.status,
        status=response.status,
        host=target.host,
    )
