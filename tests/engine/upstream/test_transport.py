"""Calls, redirects, downloads and kept connections, over real loopback sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.errors import AddressRefused, Code, ConsoleError, InvalidInput
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy
from engine.upstream.transport import Body, Transport
from tests.fakes.peers import Peer, answering, ok, outgoing, read_request, reset, until_closed
from tests.support.doors import until
from tests.support.transport_calls import KEY, call, failure, fetch, recording, transport

__all__ = ["transport"]


def test_request_goes_out_as_given_and_answer_comes_back(transport: Transport) -> None:
    """Method, path, headers and body arrive; status, headers and body return."""
    seen: list[bytes] = []
    with Peer(recording(seen, ok(b'{"a":1}', "201 Created", X_Request_Id="r1"))) as peer:
        headers = {"Authorization": f"Bearer {KEY}", "X-Title": "图"}
        request = outgoing(peer.url("/v1/x?y=%20"), headers=headers, body=b"abc")
        with transport.send(request, proxy="", unlocked=True, timeout=60, cancel=CancelToken()) as answer:
            assert (answer.status, answer.headers["x-request-id"], answer.url) == (201, "r1", peer.url("/v1/x?y=%20"))
            assert b"".join(answer.chunks()) == b'{"a":1}'
        head, _, body = seen[0].partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        assert lines[0] == b"POST /v1/x?y=%20 HTTP/1.1"
        assert body == b"abc"
        for line in (
            f"Host: 127.0.0.1:{peer.port}",
            f"Authorization: Bearer {KEY}",
            "X-Title: 图",
            "Content-Length: 3",
        ):
            assert line.encode() in lines
        assert b"Accept-Encoding: gzip, deflate" in lines


def test_headers_that_frame_the_request_cannot_be_set_from_outside(transport: Transport) -> None:
    """Host, length, encoding and connection headers of the caller are dropped."""
    seen: list[bytes] = []
    with Peer(recording(seen, ok())) as peer:
        given = {"Host": "evil.test", "content-length": "0", "Transfer-Encoding": "chunked", "Accept-Encoding": "br"}
        request = outgoing(peer.url(), headers={**given, "Connection": "close", "Expect": "100-continue"})
        with transport.send(request, proxy="", unlocked=True, timeout=60, cancel=CancelToken()) as answer:
            answer.read(100)
    head = seen[0].lower()
    assert all(word not in head for word in (b"evil.test", b"chunked", b"expect", b": br", b"connection"))
    assert head.count(b"host:") == head.count(b"content-length:") == 1


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"Authorization": f"Bearer {KEY}\r\nX: y"}, "api_key"),
        ({"X-A": "a\nb"}, "extra_headers"),
        ({"X A": "a"}, "extra_headers"),
    ],
)
def test_headers_that_http_cannot_carry_are_refused(transport: Transport, headers: dict[str, str], field: str) -> None:
    """A line break in a header is an input error that names the field and not the value."""
    request = outgoing("http://127.0.0.1:9/", headers=headers)
    sending = transport.send(request, proxy="", unlocked=True, timeout=5, cancel=CancelToken())
    with pytest.raises(InvalidInput) as caught, sending:
        pass
    assert caught.value.field == field
    assert KEY not in repr((caught.value, caught.value.params))


def test_chunks_come_as_they_arrive(transport: Transport) -> None:
    """A piece is handed on before the next one is sent."""
    go_on = threading.Event()

    def talk(client: socket.socket) -> None:
        read_request(client)
        client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        assert go_on.wait(30)
        client.sendall(b"6\r\nsecond\r\n0\r\n\r\n")

    with (
        Peer(talk) as peer,
        transport.send(outgoing(peer.url()), proxy="", unlocked=True, timeout=60, cancel=CancelToken()) as answer,
    ):
        chunks = answer.chunks()
        assert next(chunks) == b"first"
        go_on.set()
        assert list(chunks) == [b"second"]


# --- connections that are kept --------------------------------------------------------------------------------------


def test_connection_is_used_again(transport: Transport) -> None:
    """Ten calls one after another need one connection."""
    with Peer(answering(ok())) as peer:
        for _ in range(10):
            assert call(transport, peer.url()) == (200, b"{}")
        assert peer.accepted == 1


def test_unread_answer_costs_its_connection(transport: Transport) -> None:
    """An answer that was not read to its end does not leak into the next call."""
    with Peer(answering(ok(b"x" * 500_000))) as peer:
        for _ in range(2):
            with transport.send(outgoing(peer.url()), proxy="", unlocked=True, timeout=60, cancel=CancelToken()) as got:
                assert next(got.chunks()).startswith(b"x")
        assert peer.wait_for_none(60)
        assert peer.accepted == 2


def test_connections_dropped_while_a_call_reads_are_closed_after_it(transport: Transport) -> None:
    """What is dropped is used no more: idle connections close at once, one in use when its answer is read."""
    with Peer(answering(ok(b"x" * 500_000))) as peer:
        assert call(transport, peer.url())[0] == 200
        with transport.send(outgoing(peer.url()), proxy="", unlocked=True, timeout=60, cancel=CancelToken()) as got:
            transport.drop_idle()
            assert sum(map(len, got.chunks())) == 500_000
        assert peer.wait_for_none(60)
        assert call(transport, peer.url())[0] == 200
        assert peer.accepted == 2


def test_connections_are_not_shared_between_locked_and_unlocked_calls(transport: Transport) -> None:
    """A kept connection to a local address serves no call for which local addresses are forbidden."""
    local = Transport(
        NetPolicy(), proxies=dict, resolve=lambda *_: [(socket.AF_INET, 1, 6, "", ("127.0.0.1", peer.port))]
    )
    with Peer(answering(ok())) as peer:
        url = f"http://api.test:{peer.port}/"
        assert call(local, url) == (200, b"{}")
        sending = local.send(outgoing(url), proxy="", unlocked=False, timeout=5, cancel=CancelToken())
        with pytest.raises(AddressRefused) as caught, sending:
            pass
        assert caught.value.code is Code.ADDRESS_PRIVATE
        with pytest.raises(AddressRefused):
            local.fetch(url, proxy="", unlocked=False, timeout=5, cancel=CancelToken(), max_bytes=10)
        local.close()
        assert peer.accepted == 1


def test_connection_closed_while_idle_is_replaced(transport: Transport) -> None:
    """A server that closed the kept connection is called anew, without an error."""
    with Peer(answering(ok(), keep=False)) as peer:
        for _ in range(3):
            assert call(transport, peer.url())[0] == 200
            assert peer.wait_for_none(60)
        assert peer.accepted == 3


def test_many_connections_closed_while_idle_are_replaced(transport: Transport) -> None:
    """However many kept connections were closed, no call fails for it, and each that is met is given up."""
    together = threading.Barrier(16)

    def talk(client: socket.socket) -> None:
        if read_request(client):
            if peer.accepted <= 16:
                together.wait(30)
            client.sendall(ok())

    with Peer(talk) as peer, ThreadPoolExecutor(16) as pool:
        first = [pool.submit(call, transport, peer.url()) for _ in range(16)]
        assert {one.result() for one in first} == {(200, b"{}")}
        assert peer.wait_for_none(60)
        for _ in range(3):
            assert call(transport, peer.url()) == (200, b"{}")
            assert peer.wait_for_none(60)
        assert peer.accepted == 19


def closing_second(count: list[int], how: Callable[[socket.socket], None]) -> Callable[[socket.socket], None]:
    """On the first connection the second request gets ``how``; later connections answer."""

    def talk(client: socket.socket) -> None:
        count.append(0)
        first = len(count) == 1
        while read_request(client):
            count[-1] += 1
            if first and count[-1] == 2:
                how(client)
                return
            client.sendall(ok())

    return talk


@pytest.mark.parametrize("how", [reset, socket.socket.close], ids=["reset", "close"])
def test_download_on_a_connection_closed_meanwhile_is_asked_again(
    transport: Transport, how: Callable[[socket.socket], None]
) -> None:
    """A GET that met a closing connection is safe to repeat, once and unseen."""
    count: list[int] = []
    with Peer(closing_second(count, how)) as peer:
        assert [fetch(transport, peer.url()) for _ in range(2)] == [b"{}", b"{}"]
        assert count == [2, 1]


def test_paid_call_on_a_connection_closed_meanwhile_is_not_asked_again(transport: Transport) -> None:
    """A POST that was sent whole may have been acted upon: the caller decides whether to pay again."""
    count: list[int] = []
    with Peer(closing_second(count, reset)) as peer:
        assert call(transport, peer.url())[0] == 200
        error = failure(lambda: call(transport, peer.url()))
        assert (error.code, error.retryable) == (Code.CONNECTION_LOST, True)
        assert count == [2]


def test_paid_call_that_was_not_sent_whole_is_asked_again(transport: Transport) -> None:
    """A POST whose body broke off on a kept connection cannot have been acted upon."""
    served: list[int] = []

    def talk(client: socket.socket) -> None:
        first = not served
        served.append(len(read_request(client)))
        client.sendall(ok())
        if first:
            client.recv(1000)  # the beginning of the second request, and no more of it
            reset(client)

    with Peer(talk) as peer:
        assert call(transport, peer.url()) == (200, b"{}")
        assert call(transport, peer.url(), body=b"x" * 30_000_000) == (200, b"{}")
        assert len(served) == 2
        assert served[1] > 30_000_000


def test_a_first_connection_that_breaks_is_not_tried_twice(transport: Transport) -> None:
    """Only kept connections go stale; on a new one a break is a break."""

    def talk(client: socket.socket) -> None:
        read_request(client)
        reset(client)

    with Peer(talk) as peer:
        error = failure(lambda: fetch(transport, peer.url()))
        assert (error.code, error.retryable) == (Code.CONNECTION_LOST, True)
        assert peer.accepted == 1


def test_sixty_four_calls_run_at_once(transport: Transport) -> None:
    """No pool limit makes one call wait for another."""
    together = threading.Barrier(64)

    def talk(client: socket.socket) -> None:
        read_request(client)
        together.wait(20)
        client.sendall(ok())

    with Peer(talk) as peer:
        results: list[int] = []
        threads = [
            threading.Thread(target=lambda: results.append(call(transport, peer.url(), timeout=30)[0]))
            for _ in range(64)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert results == [200] * 64


def test_close_ends_running_calls_and_all_connections() -> None:
    """After close nothing is open and no new call starts."""
    transport = Transport(NetPolicy(), proxies=dict)
    with Peer(until_closed) as peer:
        errors: list[object] = []

        def run() -> None:
            try:
                call(transport, peer.url(), timeout=60)
            except Exception as error:  # noqa: BLE001 - whatever it is, the assertion below names it
                errors.append(error.code if isinstance(error, ConsoleError) else error)

        thread = threading.Thread(target=run)
        thread.start()
        assert peer.wait_for_clients(1)
        transport.close()
        thread.join(30)
        assert errors == [Code.STOPPED_BY_USER]
        assert peer.wait_for_none(60)


# --- redirects ------------------------------------------------------------------------------------------------------


def test_a_body_that_can_be_made_again_is_let_go_of_once_it_is_sent(transport: Transport) -> None:
    """While its answer is waited for, nobody holds it; another hop gets the same bytes."""
    seen: list[bytes] = []
    held: list[object] = []

    def answer(client: socket.socket) -> None:
        while request := read_request(client):
            seen.append(request)
            until(lambda: body._data is None)
            held.append(body._data)
            moved = len(seen) == 1
            client.sendall(ok(b"", "307 Temporary Redirect", Location="/v2") if moved else ok(b"done"))

    sent, made = b"picture" * 100_000, list[int]()

    def again() -> bytes:
        made.append(1)
        return sent

    body = Body(sent, again)
    with Peer(answer) as peer:
        request, cancel = outgoing(peer.url("/v1"), body=b""), CancelToken()
        with transport.send(request, proxy="", unlocked=True, timeout=60, cancel=cancel, body=body) as response:
            assert response.read(100) == b"done"
    assert [one.partition(b"\r\n\r\n")[2] for one in seen] == [sent, sent]
    assert held == [None, None]
    assert made == [1]


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "308 Permanent Redirect"])
def test_api_redirect_within_the_origin_is_followed(transport: Transport, status: str) -> None:
    """307 and 308 to the same origin carry the same request there."""
    seen: list[bytes] = []
    with Peer(recording(seen, ok(b"", status, Location="/v2/edits"), ok(b"done"))) as peer:
        assert call(transport, peer.url(), body=b"picture") == (200, b"done")
    assert seen[1].startswith(b"POST /v2/edits ")
    assert seen[1].endswith(b"\r\n\r\npicture")


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent"]
)
def test_api_redirect_to_another_origin_gets_nothing(transport: Transport, status: str) -> None:
    """Neither picture nor key is sent to another origin; the refusal names its host."""
    with Peer(answering(ok())) as other, Peer(answering(ok(b"", status, Location=other.url()))) as peer:
        error = failure(lambda: call(transport, peer.url()))
        assert (error.code, error.retryable, error.params["host"]) == (Code.REDIRECT_REFUSED, False, "127.0.0.1")
        assert other.accepted == 0


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other"])
def test_api_redirect_that_would_drop_the_body_is_refused(transport: Transport, status: str) -> None:
    """Within the origin too: a GET would not be the call that was asked for."""
    with Peer(answering(ok(b"", status, Location="/login"), ok())) as peer:
        assert failure(lambda: call(transport, peer.url())).code is Code.REDIRECT_REFUSED


def test_redirect_loops_end(transport: Transport) -> None:
    """Calls and downloads stop after the limit, which the error names."""
    with Peer(answering(ok(b"", "307 Temporary Redirect", Location="/again"))) as peer:
        for action in (lambda: call(transport, peer.url()), lambda: fetch(transport, peer.url())):
            error = failure(action)
            assert (error.code, error.params["limit"], error.retryable) == (Code.REDIRECT_LIMIT, 3, False)


def test_download_follows_redirects_up_to_the_limit(transport: Transport) -> None:
    """Three hops are followed, across origins, relative or absolute."""
    seen: list[bytes] = []
    with Peer(recording(seen, ok(b"PNG"))) as end:
        hops = [ok(b"", "302 Found", Location="next?a=b"), ok(b"", "301 Moved", Location=f"//127.0.0.1:{end.port}/p")]
        with Peer(answering(*hops)) as peer:
            assert fetch(transport, peer.url("/a/b")) == b"PNG"
    assert seen[0].startswith(b"GET /p HTTP/1.1\r\n")
    assert not any(word in seen[0].lower() for word in (b"authorization", b"cookie", b"referer", b"origin"))


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("ftp://127.0.0.1/x", Code.URL_SCHEME),
        ("file:///etc/passwd", Code.URL_SCHEME),
        ("http://user:pw@127.0.0.1/", Code.URL_CREDENTIALS),
        ("http://127.0.0.1\\@evil.test/", Code.URL_MALFORMED),
        ("http://[::1", Code.URL_MALFORMED),
    ],
)
def test_download_redirects_obey_the_rules_of_urls(transport: Transport, location: str, code: Code) -> None:
    """Each hop is checked like the first URL."""
    with Peer(answering(ok(b"", "302 Found", Location=location))) as peer:
        assert failure(lambda: fetch(transport, peer.url())).code is code


def test_cookies_are_never_sent_back(transport: Transport) -> None:
    """What a server sets on one call is not told to it on the next."""
    seen: list[bytes] = []
    with Peer(recording(seen, ok(Set_Cookie="id=1; Path=/"))) as peer:
        for _ in range(2):
            call(transport, peer.url())
            fetch(transport, peer.url())
    assert not any(b"cookie" in request.lower() for request in seen)


# --- bodies ---------------------------------------------------------------------------------------------------------
