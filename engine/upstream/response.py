"""An answer while it arrives: bounded, decoded, under its call's deadline; and httpcore's failures as our types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain

import httpcore
import httpx
import socksio

from engine.errors import AnswerUnusable, Code, ConsoleError, NetworkFailed
from engine.upstream.call import Call
from engine.upstream.content import ContentBroken, decoder_for
from engine.upstream.image_refs import PICTURE_HEAD, begins_picture

MAX_ANSWER_BYTES = 1024 * 1024 * 1024
"""Most bytes of a whole answer: ten results of 20 MiB as base64, named up to four times in one stream."""


_DIGITS = 16  # of a length that is believed


class HttpResponse:
    """The head of an answer, and its body once. ``headers``: case-insensitive. ``url``: after redirects."""

    def __init__(
        self, url: str, answer: httpcore.Response, call: Call, limit: int, on_close: Callable[[], object]
    ) -> None:
        self.url = url
        self.status = answer.status
        self.headers = httpx.Headers(answer.headers)
        self._answer = answer
        self._call = call
        self._limit = limit
        self._on_close = on_close
        self._begun: Iterator[bytes] | None = None

    def allow(self, max_bytes: int | None) -> None:
        """Another bound for the body than the transport's; None for that one."""
        self._limit = self._limit if max_bytes is None else max_bytes

    def is_picture(self) -> bool:
        """Whether the body is a picture file: by its type, or by its first bytes where that says something else.

        Waits for these; raises what ``chunks`` raises.
        """
        if self.headers.get("content-type", "").lower().startswith("image/"):
            return True
        pieces, head = self._decoded(), b""
        for piece in pieces:
            head += piece
            if len(head) >= PICTURE_HEAD:
                break
        self._begun = chain([head] if head else [], pieces)
        return begins_picture(head)

    def chunks(self) -> Iterator[bytes]:
        """The body without its content encoding, each piece as it arrives; may be read once.

        Raises Stopped, NetworkFailed (TIMED_OUT, CONNECTION_LOST, PROTOCOL_BROKEN) and
        AnswerUnusable(ANSWER_TOO_LARGE) beyond the transport's bound.
        """
        return self._decoded() if self._begun is None else self._begun

    def _decoded(self) -> Iterator[bytes]:
        decoder = decoder_for(self.headers.get("content-encoding", ""))
        if decoder is None:
            raise self._broken("content_encoding")
        size = 0
        with failures(self._call):
            try:
                for data in self._answer.iter_stream():
                    for piece in decoder.feed(data):
                        size += len(piece)
                        self._call.remaining()  # a small body may become a large one: a point to stop at each piece
                        if size > self._limit:
                            raise AnswerUnusable(Code.ANSWER_TOO_LARGE, http_status=self.status, limit=self._limit)
                        yield piece
                decoder.finish()
            except ContentBroken:
                raise self._broken("content_encoding") from None

    @property
    def announced(self) -> int:
        """Bytes of the body, as its head says and as far as they may come; 0 where it does not say."""
        told = self.headers.get("content-length", "")
        return min(int(told), self._limit) if told.isascii() and told.isdigit() and len(told) < _DIGITS else 0

    def read(self, max_bytes: int, through: Passage | None = None) -> bytes:
        """The whole body; raises AnswerUnusable(ANSWER_TOO_LARGE) beyond ``max_bytes``, and what ``chunks`` raises.
        ``through``: hands on the pieces, each when there is room for it."""
        encoded = self.headers.get("content-encoding", "identity") != "identity"
        if not encoded and self.announced > max_bytes:
            raise AnswerUnusable(Code.ANSWER_TOO_LARGE, http_status=self.status, limit=max_bytes)
        data = self.head(max_bytes + 1, through)
        if len(data) > max_bytes:
            raise AnswerUnusable(Code.ANSWER_TOO_LARGE, http_status=self.status, limit=max_bytes)
        return data

    def head(self, max_bytes: int, through: Passage | None = None) -> bytes:
        """The first bytes of the body, for an error's text; the rest is left unread."""
        pieces = self._first(max_bytes)
        return b"".join(pieces if through is None else through(self, pieces))

    def _first(self, missing: int) -> Iterator[bytes]:
        for piece in self.chunks():
            yield piece[:missing]
            missing -= len(piece)
            if missing <= 0:
                return

    def end_within(self, seconds: float) -> None:
        """Wait no longer than that for the rest: what is needed of the answer is there."""
        self._call.end_within(seconds)

    def extend(self, seconds: float) -> None:
        """So long nobody read: that is not the sender's delay."""
        self._call.extend(seconds)

    def close(self) -> None:
        """End the call. A connection whose answer was read to the end is kept, any other is closed."""
        self._call.release()
        self._answer.close()
        self._on_close()

    def _broken(self, reason: str) -> NetworkFailed:
        return NetworkFailed(Code.PROTOCOL_BROKEN, http_status=self.status, host=self._call.host, reason=reason)


Passage = Callable[[HttpResponse, Iterator[bytes]], Iterator[bytes]]
"""What the pieces of a body go through on their way to whoever reads it."""


@contextmanager
def failures(call: Call) -> Iterator[None]:
    """Turn what httpcore raises into NetworkFailed; once the token or the deadline struck, that is the reason."""
    try:
        yield
    except httpcore.RemoteProtocolError:
        call.remaining()
        if call.tunnelling:
            raise proxy_failed(call) from None
        if call.ended:
            raise call.lost() from None
        raise NetworkFailed(Code.PROTOCOL_BROKEN, host=call.host, reason="http") from None
    except (httpcore.ProxyError, httpcore.WriteError, socksio.SOCKSError):
        call.remaining()
        raise proxy_failed(call) from None
    except NetworkFailed as error:
        if call.tunnelling and error.code is Code.CONNECTION_LOST:
            raise proxy_failed(call) from None
        raise
    except ConsoleError:
        raise
    except (httpcore.ProtocolError, httpcore.NetworkError, httpcore.TimeoutException) as error:
        call.remaining()
        raise NetworkFailed(Code.PROTOCOL_BROKEN, host=call.host, reason=type(error).__name__) from None


def proxy_failed(call: Call, status: int | None = None) -> NetworkFailed:
    """The proxy did not let the call through. Wrong credentials or a rule stay so; a gateway error may pass."""
    status = call.proxy_status if status is None else status
    retryable = status is None or status >= 500 or status == 429
    reason = "closed" if status is None else str(status)
    return NetworkFailed(Code.PROXY_FAILED, retryable=retryable, host=call.host, reason=reason, status=status)
