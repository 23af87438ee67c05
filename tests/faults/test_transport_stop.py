"""Stop is now: whatever a call is blocked on, it ends with Stopped and its socket is closed within a second."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from engine.errors import Stopped
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy
from engine.upstream.transport import Transport
from tests.fakes.peers import Peer, ProxyPeer, full_listener, make_certificate, outgoing, read_request, until_closed

CALLS = 64
PROMPT = 1.0 if os.environ.get("FULL") == "1" else 10.0
"""Seconds after a cancel. The promise is one; a machine that does other things as well has ten."""


@pytest.fixture
def transport() -> Iterator[Transport]:
    """A transport without a proxy in its environment."""
    made = Transport(NetPolicy(), proxies=dict)
    yield made
    made.close()


def stop_all(call: Callable[[CancelToken], object], blocked: Callable[[], bool], count: int = CALLS) -> float:
    """Start the calls, cancel once all are blocked, and give the seconds until the last one had ended."""
    token = CancelToken()
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            call(token)
            ended.append(None)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the assertion below names it
            ended.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    assert blocked()
    time.sleep(0.1)  # from "connected" to "waiting for what comes next"
    before = time.monotonic()
    token.cancel()
    for thread in threads:
        thread.join(30)
    seconds = time.monotonic() - before
    print(f"{count} calls ended {seconds * 1000:.0f} ms after the stop")
    assert [type(error) for error in ended] == [Stopped] * count
    return seconds


def send(transport: Transport, url: str, token: CancelToken, *, body: bytes = b"{}", proxy: str = "") -> None:
    """An API call that reads all of its answer."""
    with transport.send(outgoing(url, body=body), proxy=proxy, unlocked=True, timeout=60, cancel=token) as answer:
        answer.read(1 << 30)


def after_head(head: bytes) -> Callable[[socket.socket], None]:
    """Answer with ``head`` and nothing more."""

    def talk(client: socket.socket) -> None:
        read_request(client)
        client.sendall(head)
        until_closed(client)

    return talk


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"],
    ids=["headers", "half a head", "stream"],
)
@pytest.mark.parametrize("kind", ["api", "download"])
def test_calls_that_wait_for_an_answer(transport: Transport, head: bytes, kind: str) -> None:
    """Sixty-four calls blocked on headers or in the middle of a stream."""

    def call(token: CancelToken) -> None:
        if kind == "api":
            send(transport, peer.url(), token)
        else:
            transport.fetch(peer.url(), proxy="", unlocked=True, timeout=60, cancel=token, max_bytes=1000)

    with Peer(after_head(head)) as peer:
        assert stop_all(call, lambda: peer.wait_for_clients(CALLS, 30)) < PROMPT
        assert peer.wait_for_none(PROMPT)


def test_calls_that_send(transport: Transport) -> None:
    """Blocked in the middle of a picture that nobody reads."""
    leave = threading.Event()

    def ignore(_client: socket.socket) -> None:
        leave.wait(20)

    body = b"x" * 20_000_000
    with Peer(ignore) as peer:
        assert (
            stop_all(
                lambda token: send(transport, peer.url(), token, body=body), lambda: peer.wait_for_clients(8, 30), 8
            )
            < PROMPT
        )
        leave.set()


def test_calls_that_connect(transport: Transport) -> None:
    """Blocked on a host that does not answer the connection."""
    for port in full_listener():
        url = f"http://127.0.0.1:{port}/"
        assert stop_all(lambda token, url=url: send(transport, url, token), lambda: True) < PROMPT  # type: ignore[misc]


def test_calls_that_look_a_name_up() -> None:
    """Blocked on a resolver that hangs, in each of its threads."""
    leave = threading.Event()
    hanging = threading.Semaphore(0)

    def resolve(*_: object) -> list[tuple[object, ...]]:
        hanging.release()
        leave.wait(30)
        return []

    transport = Transport(NetPolicy(), proxies=dict, resolve=resolve)
    seconds = stop_all(
        lambda token: send(transport, "http://api.test/", token),
        lambda: all(hanging.acquire(timeout=30) for _ in range(CALLS)),
    )
    assert seconds < PROMPT
    leave.set()
    transport.close()


def test_calls_in_a_tls_handshake(transport: Transport) -> None:
    """Blocked on a peer that accepts and says nothing of TLS."""
    with Peer(until_closed) as peer:
        url = f"https://127.0.0.1:{peer.port}/"
        assert stop_all(lambda token: send(transport, url, token), lambda: peer.wait_for_clients(CALLS, 30)) < PROMPT
        assert peer.wait_for_none(PROMPT)


def test_calls_inside_tls(tmp_path: Path) -> None:
    """Blocked in the middle of an encrypted stream."""
    server, client = make_certificate(tmp_path)
    transport = Transport(NetPolicy(), proxies=dict, tls=client)
    with Peer(after_head(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), tls=server) as peer:
        assert (
            stop_all(lambda token: send(transport, peer.url(), token), lambda: peer.wait_for_clients(CALLS, 30))
            < 2 * PROMPT
        )
        assert peer.wait_for_none(PROMPT)
    transport.close()


def test_calls_behind_a_proxy(transport: Transport) -> None:
    """Blocked on a proxy that does not answer CONNECT, or SOCKS."""
    with Peer(until_closed) as proxy:
        for scheme in ("http", "socks5"):
            setting = f"{scheme}://127.0.0.1:{proxy.port}"
            seen = proxy.accepted
            assert (
                stop_all(
                    lambda token, setting=setting: send(transport, "https://api.test/", token, proxy=setting),  # type: ignore[misc]
                    lambda seen=seen: proxy.wait_for_clients(seen + 16, 30),  # type: ignore[misc]
                    16,
                )
                < PROMPT
            )
            assert proxy.wait_for_none(PROMPT)


def test_calls_through_a_tunnel(tmp_path: Path) -> None:
    """Blocked in a stream through an https proxy: TLS inside TLS."""
    server, client = make_certificate(tmp_path)
    transport = Transport(NetPolicy(), proxies=dict, tls=client)
    with ExitStack() as stack:
        peer = stack.enter_context(Peer(after_head(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"), tls=server))
        proxy = stack.enter_context(ProxyPeer(tls=server))
        setting = f"https://127.0.0.1:{proxy.port}"
        url = f"https://api.test:{peer.port}/"
        assert (
            stop_all(lambda token: send(transport, url, token, proxy=setting), lambda: peer.wait_for_clients(8, 30), 8)
            < 2 * PROMPT
        )
        assert peer.wait_for_none(PROMPT)
        assert proxy.wait_for_none(PROMPT)
    transport.close()


def test_cancelled_token_starts_nothing(transport: Transport) -> None:
    """With a token cancelled before, no connection is opened."""
    token = CancelToken()
    token.cancel()
    with Peer(until_closed) as peer:
        with pytest.raises(Stopped):
            send(transport, peer.url(), token)
        with pytest.raises(Stopped):
            transport.fetch(peer.url(), proxy="", unlocked=True, timeout=5, cancel=token, max_bytes=9)
        assert peer.accepted == 0


def test_cancel_spares_the_connections_of_others(transport: Transport) -> None:
    """A kept connection that served a cancelled token's earlier call goes on serving."""
    first, second = CancelToken(), CancelToken()

    def talk(client: socket.socket) -> None:
        while read_request(client):
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with Peer(talk) as peer:
        send(transport, peer.url(), first)
        first.cancel()
        send(transport, peer.url(), second)
        assert peer.accepted == 1


def test_cancel_while_calls_come_and_go(transport: Transport) -> None:
    """Cancelling at any moment of a busy time gives Stopped or a whole answer, and never closes a stranger's socket."""

    def talk(client: socket.socket) -> None:
        while read_request(client):
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    strange: list[BaseException] = []
    deadline = time.monotonic() + 2

    def worker(peer: Peer) -> None:
        while time.monotonic() < deadline:
            token = CancelToken()
            timer = threading.Thread(target=token.cancel)
            try:
                timer.start()
                send(transport, peer.url(), token)
            except Stopped:
                pass
            except (OSError, ssl.SSLError, Exception) as error:  # noqa: BLE001 - the assertion names it
                strange.append(error)
            timer.join()

    with Peer(talk) as peer:
        threads = [threading.Thread(target=worker, args=(peer,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert strange == []
        send(transport, peer.url(), CancelToken())
