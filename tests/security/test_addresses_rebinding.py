"""A name that changes its address between checks never leads to a forbidden one: calls, redirects and downloads.

``FULL=1`` makes ten thousand tries of each instead of three hundred.
"""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from engine.errors import AddressRefused, Code, NetworkFailed
from engine.upstream import netguard
from engine.upstream.addresses import is_public
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy
from engine.upstream.transport import Transport
from tests.fakes.peers import Peer, Talk, ok, outgoing, read_request

TRIES = 10_000 if os.environ.get("FULL") == "1" else 300
STAND_IN = "127.0.0.2"
"""Plays the public address: tests reach nothing beyond this machine."""

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs 127.0.0.2 without setting it up"),
    pytest.mark.timeout(1200),
]


@pytest.fixture(autouse=True)
def one_public_loopback_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules take 127.0.0.2 for public; all else is judged as ever."""

    def judge(address: IPv4Address | IPv6Address) -> bool:
        return str(address) == STAND_IN or is_public(address)

    monkeypatch.setattr(netguard, "is_public", judge)


class Rebinder:
    """A resolver that changes its mind at each question, and counts the questions."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.asked = 0

    def __call__(self, host: str, port: int, *_: Any) -> list[Any]:
        """Good, bad, or both in either order; the address in the form of getaddrinfo."""
        self.asked += 1
        choices = [
            [STAND_IN],
            ["127.0.0.1"],
            [STAND_IN, "127.0.0.1"],
            ["127.0.0.1", STAND_IN],
            ["10.0.0.1", "127.0.0.1"],
        ]
        return [(socket.AF_INET, 1, 6, "", (address, port)) for address in self._random.choice(choices)]


def once(answer: bytes) -> Talk:
    """Answer one request and close, so that each call connects and looks up anew."""

    def talk(client: socket.socket) -> None:
        if read_request(client):
            client.sendall(answer)

    return talk


@pytest.fixture
def ports() -> Iterator[tuple[list[bytes], Peer, Peer]]:
    """The allowed and the forbidden listener on one port number; the allowed one's answer can be set."""
    answer = [ok(b"picture", Connection="close")]

    def talk(client: socket.socket) -> None:
        once(answer[0])(client)

    with (
        Peer(talk, host=STAND_IN) as allowed,
        Peer(once(ok(b"secret")), host="127.0.0.1", port=allowed.port) as forbidden,
    ):
        yield answer, allowed, forbidden


def attempt(action: Any) -> str:
    """What came of one try."""
    try:
        action()
    except AddressRefused as error:
        return "refused" if error.code is Code.ADDRESS_PRIVATE else error.code
    except NetworkFailed as error:
        return "redirect" if error.code is Code.REDIRECT_LIMIT else error.code
    return "answered"


@pytest.mark.parametrize("kind", ["api", "api redirect", "download", "download redirect", "question"])
def test_rebinding_never_reaches_the_forbidden_address(ports: tuple[list[bytes], Peer, Peer], kind: str) -> None:
    """Every connection uses the address that was checked, from the one lookup that was made for it."""
    answer, allowed, forbidden = ports
    rebinder = Rebinder(seed=7)
    transport = Transport(NetPolicy(), proxies=dict, resolve=rebinder)
    url = f"http://rebind.test:{allowed.port}/"
    if "redirect" in kind:
        answer[0] = ok(b"", "307 Temporary Redirect", Location=url, Connection="close")

    def go() -> None:
        token = CancelToken()
        if kind.startswith("api"):
            with transport.send(outgoing(url), proxy="", unlocked=False, timeout=20, cancel=token) as got:
                assert got.read(100) == b"picture"
        elif kind == "question":
            with transport.ask(url, lambda _: {}, proxy="", unlocked=False, timeout=20, cancel=token) as got:
                assert got.read(100) == b"picture"
        else:
            got_bytes = transport.fetch(url, proxy="", unlocked=False, timeout=20, cancel=token, max_bytes=100)
            assert got_bytes == b"picture"

    outcomes = [attempt(go) for _ in range(TRIES)]
    transport.close()
    print(f"{kind}: {TRIES} tries, connections: {allowed.accepted} allowed, {forbidden.accepted} forbidden")
    assert forbidden.accepted == 0
    assert set(outcomes) <= {"refused", "redirect" if "redirect" in kind else "answered"}
    assert outcomes.count("refused") > TRIES / 3
    assert allowed.accepted > TRIES / 20
    assert rebinder.asked == allowed.accepted + outcomes.count("refused")


def test_literal_redirect_to_the_forbidden_address(ports: tuple[list[bytes], Peer, Peer]) -> None:
    """A redirect that writes the address in any way is refused without asking the resolver."""
    answer, allowed, forbidden = ports
    for written in ("127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "localhost", "１２７.0.0.1"):
        answer[0] = ok(b"", "302 Found", Location=f"http://{written}:{forbidden.port}/", Connection="close")
        asked: list[str] = []

        def resolve(host: str, port: int, *_: Any, asked: list[str] = asked) -> list[Any]:
            asked.append(host)
            return [(socket.AF_INET, 1, 6, "", (STAND_IN, port))]

        transport = Transport(NetPolicy(), proxies=dict, resolve=resolve)
        with pytest.raises(AddressRefused):
            transport.fetch(
                f"http://cdn.test:{allowed.port}/",
                proxy="",
                unlocked=False,
                timeout=60,
                cancel=CancelToken(),
                max_bytes=9,
            )
        transport.close()
        assert asked == ["cdn.test"]
    assert forbidden.accepted == 0
