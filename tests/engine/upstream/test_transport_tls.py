"""TLS: names and certificates are checked, large answers pass, what breaks off is told apart from what is wrong."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engine.errors import Code, NetworkFailed
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy
from engine.upstream.transport import Transport
from tests.fakes.peers import Peer, answering, make_certificate, ok, outgoing, read_request, reset

Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    """TLS for the server api.test and for a client that trusts it."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def transport(contexts: Contexts) -> Iterator[Transport]:
    """A transport that finds every name on this machine and trusts the test's certificate."""

    def resolve(_host: str, port: int, *_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    made = Transport(NetPolicy(), proxies=dict, resolve=resolve, tls=contexts[1])
    yield made
    made.close()


def call(transport: Transport, url: str, *, timeout: float = 10, body: bytes = b"{}") -> bytes:
    """An API call that reads all of its answer."""
    request = outgoing(url, body=body)
    with transport.send(request, proxy="", unlocked=True, timeout=timeout, cancel=CancelToken()) as answer:
        return answer.read(1 << 30)


def failure(transport: Transport, url: str) -> NetworkFailed:
    """What the call fails with."""
    with pytest.raises(NetworkFailed) as caught:
        call(transport, url)
    return caught.value


def test_the_name_stays_the_name(transport: Transport, contexts: Contexts) -> None:
    """Connecting to a checked address changes neither SNI nor Host, and the connection is kept."""
    names: list[object] = []
    seen: list[bytes] = []
    server = contexts[0]
    server.sni_callback = lambda _socket, name, _context: names.append(name)

    def talk(client: socket.socket) -> None:
        while request := read_request(client):
            seen.append(request)
            client.sendall(ok())

    with Peer(talk, tls=server) as peer:
        for _ in range(3):
            assert call(transport, f"https://api.test:{peer.port}/v1") == b"{}"
        assert names == ["api.test"]
        assert f"Host: api.test:{peer.port}\r\n".encode() in seen[0]
    server.sni_callback = None


def test_large_bodies_both_ways(transport: Transport, contexts: Contexts) -> None:
    """Megabytes pass whole, in many records."""
    picture, result = bytes(range(256)) * 20_000, bytes(reversed(range(256))) * 40_000
    seen: list[bytes] = []

    def talk(client: socket.socket) -> None:
        seen.append(read_request(client))
        client.sendall(ok(result))

    with Peer(talk, tls=contexts[0]) as peer:
        assert call(transport, f"https://api.test:{peer.port}/", body=picture) == result
        assert seen[0].endswith(picture)


def test_wrong_name_and_unknown_authority(transport: Transport, contexts: Contexts) -> None:
    """A certificate for another name, or from nobody we trust, is refused for good, and the key is not sent."""
    seen: list[bytes] = []
    with Peer(lambda client: seen.append(read_request(client)), tls=contexts[0]) as peer:
        strict = Transport(NetPolicy(), proxies=dict)
        for refusing, url in (
            (transport, f"https://other.test:{peer.port}/"),
            (strict, f"https://127.0.0.1:{peer.port}/"),
        ):
            error = failure(refusing, url)
            assert (error.code, error.retryable) == (Code.TLS_FAILED, False)
            assert error.params["reason"]
        strict.close()
        assert seen in ([], [b""])


def cut(client: socket.socket) -> None:
    """Take the client's hello and leave."""
    client.recv(1000)


def cut_hard(client: socket.socket) -> None:
    """Take the client's hello and reset the connection."""
    client.recv(1000)
    reset(client)


@pytest.mark.parametrize(
    ("talk", "retryable"),
    [
        (answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"), None),
        (lambda client: client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" * 3), False),
        (cut, True),
        (cut_hard, True),
    ],
    ids=["waits for plain HTTP", "answers plain HTTP", "closes", "resets"],
)
def test_broken_handshakes(transport: Transport, talk: Callable[[socket.socket], None], retryable: bool | None) -> None:
    """Plain HTTP on a TLS port is a mistake; a handshake that breaks off may be bad luck."""
    with Peer(talk) as peer:
        url = f"https://api.test:{peer.port}/"
        if retryable is None:
            with pytest.raises(NetworkFailed) as caught:
                call(transport, url, timeout=1)
            assert (caught.value.code, caught.value.params["phase"]) == (Code.TIMED_OUT, "connect")
            return
        error = failure(transport, url)
        assert (error.code, error.retryable) == (Code.TLS_FAILED, retryable)


def test_plain_request_to_a_tls_port(transport: Transport, contexts: Contexts) -> None:
    """http:// where https:// was meant fails at once."""
    with Peer(answering(ok()), tls=contexts[0]) as peer:
        assert failure(transport, f"http://api.test:{peer.port}/").code in (Code.PROTOCOL_BROKEN, Code.CONNECTION_LOST)


@pytest.mark.parametrize("closing", [True, False], ids=["close_notify", "bare end"])
def test_stream_cut_inside_tls(transport: Transport, contexts: Contexts, closing: bool) -> None:
    """An answer that ends too early is a lost connection, however politely it ends."""

    def talk(client: socket.socket) -> None:
        read_request(client)
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
        assert isinstance(client, ssl.SSLSocket)
        if closing:
            client.unwrap()

    with Peer(talk, tls=contexts[0]) as peer:
        error = failure(transport, f"https://api.test:{peer.port}/")
        assert (error.code, error.retryable) == (Code.CONNECTION_LOST, True)


@pytest.mark.parametrize("junk", [b"HTTP/1.1 400 no\r\n\r\n" * 9, b"\x17\x03\x03\xff\xff" + bytes(65535)])
def test_a_broken_record_is_no_end(transport: Transport, contexts: Contexts, junk: bytes) -> None:
    """What comes with the head in one go, and is no TLS, fails the call: the answer is not taken for a short one."""

    def talk(client: socket.socket) -> None:
        read_request(client)
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\nshort")
        socket.socket.sendall(client, junk)

    with Peer(talk, tls=contexts[0]) as peer:
        error = failure(transport, f"https://api.test:{peer.port}/")
        assert (error.code, error.retryable) == (Code.TLS_FAILED, True)
