"""Every address that is not public is refused for both purposes, and no public one is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest

from engine.errors import AddressRefused, Code
from engine.upstream.addresses import is_public, parse_address
from engine.upstream.netguard import NetPolicy, Purpose, check_address, check_host, parse_url, usable_addresses

CLOSED = NetPolicy()
PURPOSES = tuple(Purpose)

NOT_PUBLIC = {
    "this network": ["0.0.0.0/8"],
    "loopback": ["127.0.0.0/8", "::1/128"],
    "unspecified": ["0.0.0.0/32", "::/128"],
    "private": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"],
    "link local": ["169.254.0.0/16", "fe80::/10"],
    "cloud metadata": ["169.254.169.254/32", "100.100.100.200/32", "fd00:ec2::254/128"],
    "carrier-grade NAT": ["100.64.0.0/10"],
    "benchmark": ["198.18.0.0/15", "2001:2::/48"],
    "documentation": ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32", "3fff::/20"],
    "protocol assignments": ["192.0.0.0/29", "192.0.0.8/32", "192.0.0.170/31", "2001::/32", "2001:1ff::/32"],
    "multicast": ["224.0.0.0/4", "ff00::/8"],
    "reserved": ["240.0.0.0/4", "4000::/3", "8000::/1", "100::/8", "200::/7", "1000::/4", "e000::/4"],
    "broadcast": ["255.255.255.255/32"],
    "6to4": ["192.88.99.0/24", "2002::/16", "2002:7f00:1::/48", "2002:808:808::/48"],
    "Teredo": ["2001::/32"],
    "ORCHID": ["2001:10::/28", "2001:20::/28", "2001:30::/28"],
    "site local": ["fec0::/10"],
    "unique local": ["fc00::/7"],
    "v4-mapped": ["::ffff:0:0/96", "::ffff:8.8.8.8/128", "::ffff:127.0.0.1/128"],
    "v4-compatible": ["::/96", "::8.8.8.8/128"],
    "v4-translated": ["::ffff:0:0:0/96"],
    "NAT64": ["64:ff9b::/96", "64:ff9b::8.8.8.8/128", "64:ff9b::10.0.0.1/128", "64:ff9b:1::/48"],
    "ISATAP": ["2606:4700:1:2:0:5efe:a00:1/128", "2606:4700:1:2:200:5efe:808:808/128", "fe80::5efe:7f00:1/128"],
    "discard-only": ["100::/64", "100:0:0:1::/64"],
    "SRv6": ["5f00::/16"],
}

PUBLIC = [
    *("1.0.0.0", "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"),
    *("126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"),
    *("191.255.255.255", "192.0.1.0", "192.0.3.0", "192.0.0.9", "192.0.0.10", "192.31.196.1", "192.52.193.1"),
    *("192.88.98.255", "192.88.100.0", "192.167.255.255", "192.169.0.0", "192.175.48.1", "198.17.255.255"),
    *("198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255"),
    *("2000::1", "2001:1::1", "2001:1::2", "2001:1::3", "2001:3::1", "2001:4:112::1", "2001:200::1"),
    *("2001:4860:4860::8888", "2001:db7:ffff::1", "2001:db9::1", "2003::1", "2400:3200::1", "2606:4700:4700::1111"),
    *("2620:4f:8000::1", "2a00:1450:4001:82a::200e", "2606:4700:1:2:1:5efe:a00:1", "3ffe:ffff::1", "3fff:1000::1"),
]


def samples(network: str) -> list[str]:
    """First, last and some addresses between."""
    block = ip_network(network)
    chooser = random.Random(network)
    offsets = {0, block.num_addresses - 1} | {chooser.randrange(block.num_addresses) for _ in range(20)}
    return [str(block[offset]) for offset in sorted(offsets)]


def cases() -> list[tuple[str, str]]:
    """Each category with each of its sample addresses."""
    return [(kind, text) for kind, networks in NOT_PUBLIC.items() for network in networks for text in samples(network)]


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("kind", NOT_PUBLIC)
def test_every_address_that_is_not_public_is_refused(kind: str, purpose: Purpose) -> None:
    """Behind a name and as a literal, for the API and for downloads, unless it was unlocked."""
    for text in (text for name, text in cases() if name == kind):
        for host in ("api.test", text):
            with pytest.raises(AddressRefused) as caught:
                check_address(text, host, purpose, CLOSED, unlocked=False)
            fake = host == "api.test" and ip_address(text) in ip_network("198.18.0.0/15")
            assert caught.value.code is (Code.ADDRESS_FAKE_IP if fake else Code.ADDRESS_PRIVATE), text
            assert caught.value.params == {"host": host, "address": text, "purpose": purpose.value}
            assert not caught.value.retryable
        check_address(text, "api.test", purpose, CLOSED, unlocked=True)
        with pytest.raises(AddressRefused):
            check_host(parse_url(f"http://[{text}]/" if ":" in text else f"http://{text}/"), purpose, CLOSED, False)


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("text", PUBLIC)
def test_no_public_address_is_refused(text: str, purpose: Purpose) -> None:
    """Also next to the borders of each block, and the registered exceptions inside them."""
    check_address(text, "api.test", purpose, CLOSED, unlocked=False)
    check_address(text, text, purpose, CLOSED, unlocked=False)


def test_random_addresses_are_judged_as_the_blocks_say() -> None:
    """An address in none of the blocks above is public, one in any of them is not."""
    blocks = [ip_network(network) for networks in NOT_PUBLIC.values() for network in networks]
    v4 = [block for block in blocks if block.version == 4]
    chooser = random.Random(1)
    for _ in range(20_000):
        address = IPv4Address(chooser.getrandbits(32))
        inside = any(address in block for block in v4)
        assert is_public(address) != inside or str(address) in PUBLIC, address
    for _ in range(2_000):  # 2400:: to 2fff:: is handed out to providers, whole
        assert is_public(IPv6Address((0x24 << 120) + chooser.getrandbits(120) % (0x0C << 120)))
        assert not is_public(IPv6Address((0x6 << 125) + chooser.getrandbits(125)))


@pytest.mark.parametrize("prefix", ["::ffff:0:0/96", "::/96", "64:ff9b::/96", "2002::/16"])
def test_ipv4_inside_ipv6_never_passes(prefix: str) -> None:
    """Whatever the IPv4 address, public or not."""
    block = IPv6Network(prefix)
    for text in ("127.0.0.1", "10.1.2.3", "169.254.169.254", "8.8.8.8", "1.1.1.1"):
        shift = 80 if prefix == "2002::/16" else 0
        assert not is_public(IPv6Address(int(block.network_address) + (int(IPv4Address(text)) << shift)))


@pytest.mark.parametrize(
    "text", ["", "127.1", "0x7f.0.0.1", "localhost", "1.2.3.4.5", "::1%x::", "fe80::zz", "8.8.8.8 "]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """A resolver that answers with anything else than a plain address gets no connection."""
    assert parse_address(text) is None
    with pytest.raises(AddressRefused):
        check_address(text, "api.test", Purpose.API, CLOSED, unlocked=False)


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        (["8.8.8.8", "1.1.1.1"], ["8.8.8.8", "1.1.1.1"]),
        (["64:ff9b::808:808", "8.8.8.8"], ["8.8.8.8"]),
        (["8.8.8.8", "127.0.0.1"], Code.ADDRESS_PRIVATE),
        (["2606:4700::1", "fe80::1%2"], Code.ADDRESS_PRIVATE),
        (["64:ff9b::808:808"], Code.ADDRESS_PRIVATE),
        (["64:ff9b::7f00:1", "8.8.8.8"], Code.ADDRESS_PRIVATE),
        (["fc00::1", "198.18.0.7"], Code.ADDRESS_FAKE_IP),
    ],
)
def test_one_bad_address_spoils_an_answer(answer: Sequence[str], left: list[str] | Code) -> None:
    """All addresses of a name must be public; a DNS64 translation of a public one is passed over beside it."""
    if isinstance(left, list):
        assert usable_addresses(answer, "api.test", Purpose.API, CLOSED, unlocked=False) == left
        return
    with pytest.raises(AddressRefused) as caught:
        usable_addresses(answer, "api.test", Purpose.API, CLOSED, unlocked=False)
    assert caught.value.code is left
    assert usable_addresses(answer, "api.test", Purpose.API, CLOSED, unlocked=True) == answer


@pytest.mark.parametrize("purpose", PURPOSES)
def test_each_purpose_has_its_own_switch(purpose: Purpose) -> None:
    """The environment's switch for the API does not open downloads, nor the other way round."""
    for allowed in PURPOSES:
        policy = NetPolicy(allow_private_api=allowed is Purpose.API, allow_private_download=allowed is Purpose.DOWNLOAD)
        if purpose is allowed:
            check_address("127.0.0.1", "127.0.0.1", purpose, policy, unlocked=False)
        else:
            with pytest.raises(AddressRefused):
                check_address("127.0.0.1", "127.0.0.1", purpose, policy, unlocked=False)
