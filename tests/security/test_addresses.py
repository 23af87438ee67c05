"""Every address that is not public is refused for both purposes, and no public one is."""

from __future__ import annotations

import hashlib
import platform
import random
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import pytest

from engine.errors import AddressRefused, Code
from engine.upstream.addresses import is_public, parse_address
from engine.upstream.netguard import NetPolicy, Purpose, check_address, check_target, usable_addresses
from engine.upstream.target import parse_url
from tests.support.special_addresses import NOT_PUBLIC, PUBLIC, samples

CLOSED = NetPolicy()
PURPOSES = tuple(Purpose)


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
            check_target(parse_url(f"http://[{text}]/" if ":" in text else f"http://{text}/"), purpose, CLOSED, False)


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


JUDGED = 220_000
VERDICTS = "88d684e204f7c943a2732f31cb7d03d0430b629a69e3d8b3e7b4319d87090288"
"""Of the addresses below, as it came out when each of the tables had been read against its registry."""


def test_the_verdicts_are_the_same_on_every_python() -> None:
    """Over all of IPv4, all of IPv6 and around every border of a block, down to the last one; counted and compared."""
    chooser = random.Random(20)
    borders = [ip_network(network) for networks in NOT_PUBLIC.values() for network in networks]
    edges = [int(end) + step for block in borders for end in (block[0], block[-1]) for step in (-1, 0, 1)]
    addresses: list[IPv4Address | IPv6Address] = [IPv4Address(edge) for edge in edges if 0 <= edge < 1 << 32]
    addresses += [IPv6Address(edge) for edge in edges if 0 <= edge < 1 << 128]
    addresses += [IPv4Address(chooser.getrandbits(32)) for _ in range(JUDGED // 2)]
    starts = ((0, 128), (0, 112), (0x64FF9B << 96, 96), (1 << 125, 125), (0x2001 << 112, 112), (0x2001 << 112, 105))
    for _ in range(JUDGED // 2):
        start, bits = chooser.choice(starts)
        addresses.append(IPv6Address(start + chooser.getrandbits(bits)))
    verdicts = bytes(is_public(address) for address in addresses)
    print(f"{len(addresses)} addresses judged, {sum(verdicts)} of them public, {platform.python_version()}")
    assert hashlib.sha256(verdicts).hexdigest() == VERDICTS


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
        (["64:ff9b::808:808"], ["64:ff9b::808:808"]),
        (["168.63.129.16"], Code.ADDRESS_PRIVATE),
        (["64:ff9b::7f00:1", "8.8.8.8"], Code.ADDRESS_PRIVATE),
        (["fc00::1", "198.18.0.7"], Code.ADDRESS_FAKE_IP),
    ],
)
def test_one_bad_address_spoils_an_answer(answer: Sequence[str], left: list[str] | Code) -> None:
    """All addresses of a name must be public; DNS64's translation of a public one counts only where it is alone."""
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
