"""Which proxy a call takes, what the proxy learns, what the address rules still see, and how proxies fail."""

from __future__ import annotations

import logging
import socket
from base64 import b64encode
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import pytest

from engine.errors import AddressRefused, Code, EditFailed, InvalidInput
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy
from engine.upstream.proxies import ProxyServer, bypassed, choose_proxy, parse_proxy
from engine.upstream.target import parse_url
from engine.upstream.transport import Transport
from tests.fakes.peers import Peer, ProxyPeer, SocksPeer, answering, make_certificate, ok, outgoing, read_request

KEY = "sk-test-5d1e"


def no_lookup(*_: Any) -> NoReturn:
    """A resolver that must not be asked."""
    raise AssertionError("the name was looked up here")


def call(
    proxy: str,
    url: str,
    *,
    environment: Mapping[str, str] | None = None,
    policy: NetPolicy | None = None,
    unlocked: bool = False,
    tls: Any = None,
    times: int = 1,
) -> bytes:
    """API calls through a proxy, on a transport of their own; the body of the last."""
    transport = Transport(policy or NetPolicy(), proxies=lambda: environment or {}, resolve=no_lookup, tls=tls)
    try:
        body = b""
        for _ in range(times):
            request = outgoing(url, headers={"Authorization": f"Bearer {KEY}"})
            with transport.send(request, proxy=proxy, unlocked=unlocked, timeout=60, cancel=CancelToken()) as answer:
                body = answer.read(1000)
        return body
    finally:
        transport.close()


def failure(*args: Any, **options: Any) -> EditFailed:
    """What the call fails with; neither key nor password is in it."""
    with pytest.raises(EditFailed) as caught:
        call(*args, **options)
    assert not any(secret in repr((caught.value, caught.value.params)) for secret in (KEY, "hunter2"))
    return caught.value


def test_http_proxy_gets_the_name_and_the_request() -> None:
    """A plain URL goes to the proxy whole; the name is not looked up here, and the connection is kept."""
    with Peer(answering(ok(b"answer"))) as peer, ProxyPeer() as proxy:
        url = f"http://api.test:{peer.port}/v1"
        assert call(f"http://127.0.0.1:{proxy.port}", url) == b"answer"
        assert proxy.seen == [url]


def test_https_goes_through_a_tunnel(tmp_path: Path) -> None:
    """The proxy learns host and port only; the certificate is the host's, and key and login stay apart."""
    server, client = make_certificate(tmp_path)
    seen: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        while request := read_request(connection):
            seen.append(request)
            connection.sendall(ok(b"answer"))

    login = b64encode(b"user:hunter2")
    with Peer(talk, tls=server) as peer, ProxyPeer(login=login) as proxy:
        setting = f"http://user:hunter2@127.0.0.1:{proxy.port}"
        assert call(setting, f"https://api.test:{peer.port}/v1", tls=client, times=3) == b"answer"
        assert proxy.seen == [f"api.test:{peer.port}"]
        assert KEY.encode() not in proxy.heads[0]
        assert b"Host: api.test:%d\r\n" % peer.port in seen[0]
        assert b"hunter2" not in seen[0]
        assert login not in seen[0]


def test_proxy_that_speaks_tls(tmp_path: Path) -> None:
    """TLS to the proxy and, inside it, TLS to the host."""
    server, client = make_certificate(tmp_path)
    with Peer(answering(ok(b"x" * 900)), tls=server) as peer, ProxyPeer(tls=server) as proxy:
        setting = f"https://127.0.0.1:{proxy.port}"
        assert call(setting, f"https://api.test:{peer.port}/", tls=client, times=2) == b"x" * 900
        with Peer(answering(ok(b"plain"))) as bare:
            assert call(setting, f"http://api.test:{bare.port}/", tls=client) == b"plain"


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("login", [None, (b"user", b"hunter2")])
def test_socks_proxy_gets_the_name(scheme: str, login: tuple[bytes, bytes] | None) -> None:
    """Both SOCKS schemes leave the lookup to the proxy."""
    with Peer(answering(ok(b"answer"))) as peer, SocksPeer(login=login) as proxy:
        who = "user:hunter2@" if login else ""
        setting = f"{scheme}://{who}127.0.0.1:{proxy.port}"
        assert call(setting, f"http://api.test:{peer.port}/v1", times=2) == b"answer"
        assert proxy.seen == [("api.test", peer.port)]


def test_socks_with_tls(tmp_path: Path) -> None:
    """The certificate is checked against the name, not against the proxy."""
    server, client = make_certificate(tmp_path)
    with Peer(answering(ok(b"answer")), tls=server) as peer, SocksPeer() as proxy:
        setting = f"socks5://127.0.0.1:{proxy.port}"
        assert call(setting, f"https://api.test:{peer.port}/v1", tls=client) == b"answer"
        assert failure(setting, f"https://other.test:{peer.port}/v1", tls=client).code is Code.TLS_FAILED


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/", "http://0x7f.1:9/", "http://[::1]:9/", "http://localhost:9/", "http://10.0.0.1/"]
)
@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_local_addresses_are_refused_behind_a_proxy_too(url: str, scheme: str) -> None:
    """What the URL itself says is checked before the proxy hears of it."""
    with Peer(answering(ok())) as proxy:
        assert failure(f"{scheme}://127.0.0.1:{proxy.port}", url).code is Code.ADDRESS_PRIVATE
        assert proxy.accepted == 0


def test_list_of_hosts_holds_behind_a_proxy() -> None:
    """A host beside the list is not asked for."""
    with Peer(answering(ok())) as proxy:
        error = failure(f"http://127.0.0.1:{proxy.port}", "http://b.test/", policy=NetPolicy(api_hosts=("a.test",)))
        assert error.code is Code.HOST_NOT_LISTED
        assert proxy.accepted == 0


def test_redirects_of_a_download_are_checked_behind_a_proxy() -> None:
    """A public page cannot send the download to a local address through the proxy."""
    with Peer(answering(ok(b"", "302 Found", Location="http://169.254.169.254/latest"))) as peer, ProxyPeer() as proxy:
        transport = Transport(NetPolicy(), proxies=dict, resolve=no_lookup)
        with pytest.raises(AddressRefused) as caught:
            transport.fetch(
                f"http://cdn.test:{peer.port}/x",
                proxy=f"http://127.0.0.1:{proxy.port}",
                unlocked=False,
                timeout=60,
                cancel=CancelToken(),
                max_bytes=9,
            )
        assert caught.value.code is Code.ADDRESS_PRIVATE
        assert proxy.seen == [f"http://cdn.test:{peer.port}/x"]
        transport.close()


@pytest.mark.parametrize(
    ("status", "retryable"),
    [("407 Login", False), ("403 Forbidden", False), ("502 Bad Gateway", True), ("503 Busy", True)],
)
def test_refused_tunnels(status: str, retryable: bool) -> None:
    """The proxy's own status is told as the proxy's."""
    with ProxyPeer(status=status) as proxy:
        error = failure(f"http://user:hunter2@127.0.0.1:{proxy.port}", "https://api.test/")
        assert (error.code, error.retryable) == (Code.PROXY_FAILED, retryable)
        assert error.params["status"] == int(status[:3])


def test_wrong_login_of_a_plain_request() -> None:
    """407 to a plain request is the proxy's refusal and no answer of the API."""
    with ProxyPeer(login=b64encode(b"user:other")) as proxy:
        error = failure(f"http://user:hunter2@127.0.0.1:{proxy.port}", "http://api.test/")
        assert (error.code, error.retryable, error.params["status"]) == (Code.PROXY_FAILED, False, 407)


def test_broken_proxies() -> None:
    """Dead, garbled, refusing and wrongly chosen proxies are told as such."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        dead = free.getsockname()[1]
    with ExitStack() as stack:
        closing = stack.enter_context(Peer(lambda client: None)).port
        mail = stack.enter_context(Peer(lambda client: client.sendall(b"220 mail\r\n\r\n" * 9))).port
        refusing = stack.enter_context(SocksPeer(reply=5)).port
        wrong = stack.enter_context(SocksPeer(login=(b"user", b"other"))).port
        needing = stack.enter_context(SocksPeer(login=(b"user", b"x"))).port
        broken = stack.enter_context(SocksPeer(broken=True)).port
        for setting in (
            f"http://127.0.0.1:{dead}",
            f"socks5://127.0.0.1:{dead}",
            f"http://127.0.0.1:{closing}",
            f"socks5://127.0.0.1:{closing}",
            f"http://127.0.0.1:{mail}",
            f"socks5://127.0.0.1:{mail}",
            f"socks5://127.0.0.1:{refusing}",
            f"socks5://user:hunter2@127.0.0.1:{wrong}",
            f"socks5://127.0.0.1:{needing}",
            f"socks5://127.0.0.1:{broken}",
        ):
            assert failure(setting, "https://api.test/").code is Code.PROXY_FAILED, setting


def test_login_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Not even with every logger at its loudest."""
    with ExitStack() as stack:
        stack.enter_context(caplog.at_level(logging.DEBUG))
        peer = stack.enter_context(Peer(answering(ok())))
        socks = stack.enter_context(SocksPeer(login=(b"user", b"hunter2")))
        proxy = stack.enter_context(ProxyPeer())
        for login, peer_proxy in (("socks5://user:hunter2", socks), ("http://user:hunter2", proxy)):
            call(f"{login}@127.0.0.1:{peer_proxy.port}", f"http://api.test:{peer.port}/")
    assert not any(word in caplog.text for word in (KEY, "hunter2", b64encode(b"user:hunter2").decode()))


# --- which proxy ----------------------------------------------------------------------------------------------------


def test_environment_chooses_by_scheme_and_spares_this_machine() -> None:
    """The environment's proxy is taken for names, never for what is on this machine, and never when direct."""
    with Peer(answering(ok(b"direct"))) as peer, ProxyPeer() as proxy:
        environment = {"http": f"127.0.0.1:{proxy.port}", "all": "socks5://127.0.0.1:9"}
        assert call("", f"http://api.test:{peer.port}/", environment=environment) == b"direct"
        assert len(proxy.seen) == 1
        for setting, url in (("", peer.url()), ("direct", peer.url()), ("", f"http://127.1:{peer.port}/")):
            assert call(setting, url, environment=environment, unlocked=True) == b"direct"
        assert len(proxy.seen) == 1
        call(f"http://127.0.0.1:{proxy.port}", peer.url(), environment={}, unlocked=True)
        assert proxy.seen[1:] == [peer.url()]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_variables_of_the_environment_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transport of the program reads them by itself, in either case, with their exceptions."""
    for known in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(known, raising=False)
        monkeypatch.delenv(known.lower(), raising=False)
    with Peer(answering(ok(b"answer"))) as peer, ProxyPeer() as proxy:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        for excepted, asked in (("other.test", 1), ("api.test", 1)):
            monkeypatch.setenv("NO_PROXY", excepted)
            here = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", peer.port))]
            transport = Transport(NetPolicy(), resolve=lambda *_, here=here: here)
            request = outgoing(f"http://api.test:{peer.port}/")
            with transport.send(request, proxy="", unlocked=True, timeout=60, cancel=CancelToken()) as answer:
                assert answer.read(100) == b"answer"
            transport.close()
            assert len(proxy.seen) == asked


ENVIRONMENT = {"http": "http://h.test:1", "https": "s.test:2", "all": "socks5://a.test:3", "no": "corp.test"}


@pytest.mark.parametrize(
    ("setting", "url", "environment", "expected"),
    [
        ("", "http://x.test/", ENVIRONMENT, ProxyServer("http", "h.test", 1)),
        ("", "https://x.test/", ENVIRONMENT, ProxyServer("http", "s.test", 2)),
        ("", "https://x.test/", {"all": "socks5://a.test:3"}, ProxyServer("socks5", "a.test", 3)),
        ("", "https://x.test/", {}, None),
        ("", "https://a.corp.test/", ENVIRONMENT, None),
        ("", "http://localhost/", ENVIRONMENT, None),
        ("", "http://a.localhost/", ENVIRONMENT, None),
        ("", "http://[::1]/", ENVIRONMENT, None),
        ("", "http://[::ffff:127.0.0.1]/", ENVIRONMENT, None),
        ("", "http://127.8.8.8/", ENVIRONMENT, None),
        (" direct ", "https://x.test/", ENVIRONMENT, None),
        (
            "socks5h://u:p%40q@p.test",
            "https://a.corp.test/",
            ENVIRONMENT,
            ProxyServer("socks5h", "p.test", 1080, "u", "p@q"),
        ),
        ("http://[::1]:3128/", "https://x.test/", {}, ProxyServer("http", "::1", 3128)),
        ("HTTPS://P.test.", "https://x.test/", {}, ProxyServer("https", "p.test", 443)),
    ],
)
def test_choice(setting: str, url: str, environment: dict[str, str], expected: ProxyServer | None) -> None:
    """Setting before environment, scheme before all, exceptions before both."""
    assert choose_proxy(setting, parse_url(url), environment) == expected


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "ftp://p.test",
        "socks4://p.test",
        "http://",
        "http://p.test:99999",
        "http://p.test:x",
        "http://p.test/path",
        "http://p.test?x",
        "http://[::1",
        "http://a b",
        "socks5://p.test:0",
        "http://u:hunter2\n@p.test",
        "p.test:80",
        f"socks5://{'u' * 256}:x@p.test",
    ],
)
def test_bad_settings_are_input_errors(text: str) -> None:
    """A proxy that cannot be used is refused before anything is sent, and is not repeated."""
    for action in (lambda: parse_proxy(text), lambda: call(text, "http://api.test/")):
        with pytest.raises(InvalidInput) as caught:
            action()
        assert (caught.value.code, caught.value.field) == (Code.PROXY_INVALID, "proxy")
        assert "hunter2" not in repr((caught.value, caught.value.params))


def test_password_does_not_show() -> None:
    """A proxy's written form leaves the login out."""
    assert "hunter2" not in repr(parse_proxy("http://user:hunter2@p.test"))


@pytest.mark.parametrize(
    ("no_proxy", "url", "expected"),
    [
        ("*", "http://x.test/", True),
        ("", "http://x.test/", False),
        ("x.test", "http://x.test/", True),
        ("x.test", "http://a.x.test/", True),
        (".x.test", "http://a.x.test/", True),
        ("*.x.test", "http://a.x.test/", True),
        ("x.test", "http://evilx.test/", False),
        (" a.test , X.TEST ", "http://x.test/", True),
        ("a.test;x.test", "http://x.test/", True),
        ("x.test:8080", "http://x.test:8080/", True),
        ("x.test:8080", "http://x.test/", False),
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("10.0.0.0/8", "http://x.test/", False),
        ("192.168.1.5", "http://192.168.1.5:81/", True),
        ("fd00::/8", "http://[fd00::1]/", True),
        ("fd00::1", "http://[fd00::1]/", True),
        ("[fd00::1]:81", "http://[fd00::1]:81/", True),
        ("http://x.test", "http://x.test/", True),
        ("no host/99,]", "http://x.test/", False),
    ],
)
def test_exceptions(no_proxy: str, url: str, expected: bool) -> None:
    """Names with subdomains, addresses, networks and ports are excepted as other programs do it."""
    assert bypassed(parse_url(url), no_proxy) is expected


def test_failed_tunnels_leave_nothing_behind() -> None:
    """A handshake that breaks off inside a tunnel closes both connections, and the next call makes new ones."""
    with Peer(lambda client: client.sendall(b"no TLS here")) as peer, ProxyPeer() as proxy:
        transport = Transport(NetPolicy(), proxies=dict, resolve=no_lookup)
        for number in range(1, 4):
            sending = transport.send(
                outgoing(f"https://api.test:{peer.port}/"),
                proxy=f"http://127.0.0.1:{proxy.port}",
                unlocked=False,
                timeout=60,
                cancel=CancelToken(),
            )
            with pytest.raises(EditFailed) as caught, sending:
                pass
            assert caught.value.code is Code.TLS_FAILED
            assert proxy.wait_for_none(60)
            assert len(proxy.seen) == number
        transport.close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6 on this machine")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_ipv6_literals_through_an_http_proxy(scheme: str) -> None:
    """The proxy gets the address in brackets, in a URL as in CONNECT."""
    with ProxyPeer(status="403 No") as proxy, Peer(answering(ok())) as peer:
        url = f"{scheme}://[::1]:{peer.port}/"
        if scheme == "http":
            assert call(f"http://127.0.0.1:{proxy.port}", url, unlocked=True) == b"{}"
        else:
            assert failure(f"http://127.0.0.1:{proxy.port}", url, unlocked=True).params["status"] == 403
        assert proxy.seen == [url if scheme == "http" else f"[::1]:{peer.port}"]
