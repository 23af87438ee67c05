"""One request on its way: its deadline, its token, its sockets, and how far it came.

A call travels through httpcore in the place of its timeouts (``Budget``), so that each operation knows its call.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Protocol

from engine.errors import Code, NetworkFailed
from engine.upstream.cancel import CancelToken

ASLEEP_SECONDS = 2.0
"""A wait that took so much longer than was asked for shows that the machine or the program was suspended."""

LEAST_READ_BYTES = 32 * 1024
READS_BYTES = 16 * 1024 * 1024
"""Of what the reads of all calls bring at once."""


class Phase(StrEnum):
    """What a call was doing when its time was up."""

    CONNECT = "connect"
    HEADERS = "headers"
    BODY = "body"


class Abortable(Protocol):
    """What a call needs of its connections."""

    def shut_down(self) -> None:
        """End both directions, from any thread."""

    def close(self) -> None:
        """Give the descriptor back; by the thread that uses it."""


class Call:
    """One request and its answer: deadline, token, sockets, and how far it came."""

    def __init__(
        self,
        host: str,
        seconds: float,
        deadline: float,
        tokens: tuple[CancelToken, ...],
        clock: Callable[[], float],
        read_share: Callable[[], int] = lambda: READS_BYTES,
    ) -> None:
        self.host = host
        self.seconds = seconds
        self.phase = Phase.CONNECT
        self.read_share = read_share
        """Most bytes that one read may bring: each layer keeps what came last until more comes."""
        self.reused = False
        """Whether the connection had served an earlier call."""
        self.received = False
        """Whether anything of the answer arrived."""
        self.unsent = False
        """Whether the connection broke before all of the request was handed to it."""
        self.ended = False
        """Whether the peer closed the connection."""
        self.tunnelling = False
        """Whether a proxy is being asked for a way through."""
        self.proxy_status: int | None = None
        """What an HTTP proxy answered to that."""
        self._deadline = deadline
        self._tokens = tokens
        self._clock = clock
        self._lock = threading.Lock()
        self._aborted = False
        self._streams: list[Abortable] = []

    def check(self) -> None:
        """Raise Stopped when any of the tokens is cancelled."""
        for token in self._tokens:
            token.check()

    def remaining(self) -> float:
        """Seconds left; raises Stopped or NetworkFailed(TIMED_OUT)."""
        self.check()
        left = self._deadline - self._clock()
        if left <= 0:
            raise NetworkFailed(
                Code.TIMED_OUT, retryable=True, host=self.host, seconds=round(self.seconds, 1), phase=self.phase.value
            )
        return left

    def end_within(self, seconds: float) -> None:
        """Move the deadline nearer."""
        self._deadline = min(self._deadline, self._clock() + seconds)

    def extend(self, seconds: float) -> None:
        """Move the deadline away: for so long nothing was asked of the peer."""
        self._deadline += seconds

    @contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Around a wait of at most ``seconds``: time for which the machine slept is not the peer's.

        Its answer may have arrived by then; to call it late would be to pay for it twice.
        """
        begun = self._clock()
        yield
        asleep = self._clock() - begun - seconds
        if asleep > ASLEEP_SECONDS:
            self._deadline += asleep

    def lost(self, error: OSError | None = None) -> NetworkFailed:
        """The failure for a connection that broke; raises Stopped when it was broken by the token."""
        self.check()
        return NetworkFailed(Code.CONNECTION_LOST, retryable=True, host=self.host, reason=reason_of(error))

    def take(self, stream: Abortable) -> None:
        """Make the stream this call's own until ``release``."""
        with self._lock:
            if not self._aborted:
                self._streams.append(stream)
                return
        self.check()
        raise self.lost()

    def release(self) -> None:
        """Let go of the streams: from here on ``abort`` does not touch them."""
        with self._lock:
            self._streams.clear()

    def abort(self) -> None:
        """Shut the sockets down, from any thread; the thread that waits on them wakes and closes them."""
        with self._lock:
            self._aborted = True
            for stream in self._streams:
                stream.shut_down()

    def close(self) -> None:
        """Close all streams of a call that failed; for the thread that makes the call."""
        with self._lock:
            streams = list(self._streams)
            self._streams.clear()
        for stream in streams:
            stream.close()

    def extensions(self) -> dict[str, Any]:
        """What ties a request of httpcore to this call; raises Stopped or NetworkFailed(TIMED_OUT)."""
        budget = Budget.of(self)
        return {"timeout": {"connect": budget, "read": budget, "write": budget}, "trace": self.trace}

    def trace(self, name: str, _info: dict[str, Any]) -> None:
        """Follow httpcore's "trace" events, to know the phase."""
        if name == "http11.send_request_headers.started":
            self.phase = Phase.HEADERS
        elif name == "http11.receive_response_headers.complete":
            self.phase = Phase.BODY
        elif name == "socks.setup_socks5_connection.started":
            self.tunnelling = True
        elif name == "socks.setup_socks5_connection.complete":
            self.tunnelling = False


class Budget(float):
    """A timeout that knows its call; its number is only what was left when it was made."""

    call: Call

    @classmethod
    def of(cls, call: Call) -> Budget:
        """The budget of a call, to be handed to httpcore as each of its timeouts."""
        budget = cls(call.remaining())
        budget.call = call
        return budget


def reason_of(error: BaseException | None) -> str:
    """A short name for what the system said: ``ECONNRESET``; never a message, which may quote what was sent."""
    if error is None:
        return "closed"
    if isinstance(error, OSError) and error.errno is not None:
        return errno.errorcode.get(error.errno, type(error).__name__)
    return type(error).__name__


def call_of(timeout: float | None) -> Call:
    """The call that travels in the place of a timeout."""
    if not isinstance(timeout, Budget):
        raise TypeError("every request carries its call in the place of its timeouts")
    return timeout.call
