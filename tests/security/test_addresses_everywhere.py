"""Every kind of address, in every writing, on every way to it: refused before a connection, unless it is unlocked.

``FULL=1`` takes all samples of each block instead of its first address and one within.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest

from engine.errors import AddressRefused, Code, EditFailed
from engine.upstream import netguard
from engine.upstream.addresses import is_public, parse_address, translates_public
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy
from engine.upstream.streams import SocketStream
from engine.upstream.transport import Transport
from tests.fakes.peers import Peer, answering, ok, outgoing
from tests.support.special_addresses import NOT_PUBLIC, PUBLIC, samples

FULL = os.environ.get("FULL") == "1"
STAND_IN = "127.0.0.2"
"""Plays the public address of the server that redirects."""

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs 127.0.0.2 without setting it up"),
    pytest.mark.timeout(1200),
]


class Ways:
    """A transport whose resolver answers what the test says, and whose connections are noted and go nowhere else."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.connected: list[str] = []
        self.answer = ""
        self.transport = Transport(NetPolicy(), proxies=dict, resolve=self._resolve)
        real = SocketStream.connect

        def connect(stream: SocketStream, address: Any, until: Callable[[], float]) -> None:
            if address[0] == STAND_IN:
                return real(stream, address, until)
            self.connected.append(address[0])
            raise ConnectionRefusedError

        def judge(address: IPv4Address | IPv6Address) -> bool:
            return str(address) == STAND_IN or is_public(address)

        monkeypatch.setattr(SocketStream, "connect", connect)
        monkeypatch.setattr(netguard, "is_public", judge)
        self._redirect_to = ""
        self._peer = Peer(self._move_on, host=STAND_IN)

    def _move_on(self, client: socket.socket) -> None:
        answering(ok(b"", "302 Found", Location=self._redirect_to, Connection="close"), keep=False)(client)

    def _resolve(self, host: str, port: int, *_: Any) -> list[Any]:
        address = STAND_IN if host == "cdn.test" else self.answer
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    def go(self, url: str, way: str, *, unlocked: bool) -> EditFailed:
        """What one way to the URL ends with: always in a failure, since nothing beyond this machine is reached."""
        with pytest.raises(EditFailed) as caught:
            self._go(url, way, {"proxy": "", "unlocked": unlocked, "timeout": 20, "cancel": CancelToken()})
        return caught.value

    def _go(self, url: str, way: str, options: dict[str, Any]) -> None:
        match way:
            case "api":
                with self.transport.send(outgoing(url), **options):
                    pass
            case "question":
                with self.transport.ask(url, lambda _: {}, **options):
                    pass
            case "question redirect":
                self._redirect_to = url
                with self.transport.ask(f"http://cdn.test:{self._peer.port}/", lambda _: {}, **options):
                    pass
            case "download":
                self.transport.fetch(url, max_bytes=9, **options)
            case "redirect":
                self._redirect_to = url
                self.transport.fetch(f"http://cdn.test:{self._peer.port}/", max_bytes=9, **options)

    def close(self) -> None:
        self.transport.close()
        self._peer.__exit__()


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ways]:
    """One for a test."""
    made = Ways(monkeypatch)
    yield made
    made.close()


WAYS = ("api", "question", "question redirect", "download", "redirect")


def written(address: str) -> list[str]:
    """Hosts that mean this address."""
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address):
        texts = {parsed.compressed, parsed.exploded, parsed.compressed.upper()}
        low = int(parsed) & 0xFFFFFFFF
        head = ":".join(parsed.exploded.split(":")[:6])
        return [f"[{text}]" for text in texts | {f"{head}:{IPv4Address(low)}"}]
    number, parts = int(parsed), str(parsed).split(".")
    last_three, last_two = number & 0xFFFFFF, number & 0xFFFF
    return [
        address,
        address + ".",
        str(number),
        hex(number),
        f"0{number:o}",
        f"0X{number:08X}",
        ".".join(hex(int(part)) for part in parts),
        ".".join(f"0{int(part):o}" for part in parts),
        f"{parts[0]}.{last_three}",
        f"{parts[0]}.{parts[1]}.{last_two}",
        f"{hex(int(parts[0]))}.0{int(parts[1]):o}.{last_two}",
        address.translate({ord(str(digit)): chr(0xFF10 + digit) for digit in range(10)}),
        address.replace(".", "。"),
        address.replace(".", "%2e"),
        "".join(f"%{ord(letter):02x}" for letter in address),
    ]


def some(network: str) -> list[str]:
    """Addresses of a block."""
    found = samples(network)
    return found if FULL else [found[0], found[len(found) // 2]]


@pytest.mark.parametrize("kind", NOT_PUBLIC)
def test_every_way_to_every_kind_is_closed(ways: Ways, kind: str) -> None:
    """Written in the URL, written in a redirect, or behind a name; with the switch the same addresses are tried."""
    count = 0
    for address in (text for network in NOT_PUBLIC[kind] for text in some(network) if text != STAND_IN):
        ways.answer = address
        for way in WAYS:
            # DNS64's translation of a public address is used behind a name: it is the only way on such networks.
            parsed = parse_address(address)
            names = () if parsed is not None and translates_public(parsed) else ("name.test",)
            for host in (*names, *written(address)):
                error = ways.go(f"http://{host}:81/", way, unlocked=False)
                assert isinstance(error, AddressRefused), (way, host, error)
                assert error.code in (Code.ADDRESS_PRIVATE, Code.ADDRESS_FAKE_IP), (way, host, error)
                count += 1
    assert ways.connected == []
    ways.go("http://name.test:81/", "download", unlocked=True)
    assert [ip_address(tried) for tried in ways.connected] == [ip_address(ways.answer)]
    print(f"{kind}: {count} tries refused, no connection")


def test_every_way_to_the_public_ones_is_open(ways: Ways) -> None:
    """In each writing, and to no other address than the one that is written."""
    count = 0
    for address in PUBLIC if FULL else PUBLIC[::4]:
        ways.answer = address
        for way in WAYS:
            for host in ("name.test", *written(address)):
                ways.connected.clear()
                error = ways.go(f"http://{host}:81/", way, unlocked=False)
                assert error.code is Code.CONNECT_FAILED, (way, host, error)
                assert [ip_address(tried) for tried in ways.connected] == [ip_address(address)], (way, host)
                count += 1
    print(f"public: {count} tries, each to its address")
