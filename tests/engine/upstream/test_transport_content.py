"""Content encodings, bounds of downloads, probes, logs and IPv6, over real loopback sockets."""

from __future__ import annotations

import gzip
import logging
import socket
import zlib

import pytest

from engine.errors import AnswerUnusable, Code, NetworkFailed
from engine.upstream.cancel import CancelToken
from engine.upstream.transport import Transport
from tests.fakes.peers import Peer, answering, ok, outgoing
from tests.support.transport_calls import KEY, call, failure, fetch, recording, transport

__all__ = ["transport"]


TEXT = b"0123456789" * 30_000


def bare_deflate(data: bytes) -> bytes:
    """Deflate without the zlib header, as some servers send it."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        ("GZIP", gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])),
        ("gzip", gzip.compress(TEXT) + b"\0" * 20),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", bare_deflate(TEXT)),
    ],
)
@pytest.mark.parametrize("piece", [1_000_000, 7])
def test_encodings_are_taken_off(transport: Transport, encoding: str, data: bytes, piece: int) -> None:
    """gzip and deflate in their forms, however the body is cut."""
    chunks = [data[start : start + piece] for start in range(0, len(data), piece)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    with Peer(answering(head + body)) as peer:
        assert call(transport, peer.url())[1] == TEXT


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", b"not gzip"),
        ("gzip", gzip.compress(TEXT)[:-20]),
        ("deflate", b"\xff\xff\xff"),
        ("br", b"x"),
        ("gzip, br", b"x"),
    ],
)
def test_broken_or_unknown_encodings_are_a_broken_protocol(transport: Transport, encoding: str, data: bytes) -> None:
    """A body that is not what its header says is never handed on as if it were whole."""
    with Peer(answering(ok(data, Content_Encoding=encoding))) as peer:
        error = failure(lambda: call(transport, peer.url()))
        assert (error.code, error.http_status) == (Code.PROTOCOL_BROKEN, 200)


def test_download_bounds(transport: Transport) -> None:
    """One byte too many is an error, the exact size is not."""
    with Peer(answering(ok(b"x" * 1000))) as peer:
        assert len(fetch(transport, peer.url(), max_bytes=1000)) == 1000
        error = failure(lambda: fetch(transport, peer.url(), max_bytes=999))
        assert isinstance(error, AnswerUnusable)
        assert (error.code, error.params["limit"]) == (Code.ANSWER_TOO_LARGE, 999)


def test_head_takes_the_beginning_only(transport: Transport) -> None:
    """For error texts the first bytes are enough, whatever follows."""
    with Peer(answering(ok(b"abc" * 1000, "500 Oops"))) as peer:
        request = outgoing(peer.url())
        with transport.send(request, proxy="", unlocked=True, timeout=60, cancel=CancelToken()) as answer:
            assert (answer.status, answer.head(4)) == (500, b"abca")


@pytest.mark.parametrize(
    ("status", "retryable"),
    [("410 Gone", False), ("401 No", False), ("404 Not Found", True), ("403 Forbidden", True), ("503 Busy", True)],
)
def test_download_status(transport: Transport, status: str, retryable: bool) -> None:
    """An error status of a download is told with its number, and whether asking again may help."""
    with Peer(answering(ok(b"", status, Retry_After="7"))) as peer:
        error = failure(lambda: fetch(transport, peer.url()))
        assert isinstance(error, NetworkFailed)
        assert (error.code, error.http_status, error.retryable) == (Code.DOWNLOAD_STATUS, int(status[:3]), retryable)
        assert error.retry_after == 7


def test_nothing_logged_carries_the_key(transport: Transport, caplog: pytest.LogCaptureFixture) -> None:
    """Not even with every logger at its loudest."""
    with caplog.at_level(logging.DEBUG), Peer(answering(ok(b"nonsense"), b"garbage\r\n\r\n")) as peer:
        call(transport, peer.url())
        failure(lambda: call(transport, peer.url()))
    assert KEY not in caplog.text


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6 on this machine")
def test_ipv6_literals_are_reached(transport: Transport) -> None:
    """Brackets in URL and Host header, none on the way to the socket."""
    seen: list[bytes] = []
    with Peer(recording(seen, ok()), host="::1") as peer:
        assert call(transport, f"http://[0:0::1]:{peer.port}/")[0] == 200
        assert f"Host: [::1]:{peer.port}\r\n".encode() in seen[0]
