"""Which IP addresses are public, from an own table of the IANA registries; and how hosts written as numbers are read.

Pure, and the same on every Python: ``ipaddress`` only parses and compares here, its ``is_global`` differs by version.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

# Sources: IANA "IPv4 Special-Purpose Address Registry", "IPv6 Special-Purpose Address Registry" (column "Globally
# Reachable"), "IPv4 Multicast Address Space" and "Internet Protocol Version 6 Address Space". An entry stands for
# the whole block; EXCEPTIONS_* are the registered parts of a block that are globally reachable after all.
NOT_PUBLIC_V4 = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network, RFC 791
        "10.0.0.0/8",  # private use, RFC 1918
        "100.64.0.0/10",  # shared address space (carrier-grade NAT), RFC 6598
        "127.0.0.0/8",  # loopback, RFC 1122
        "168.63.129.16/32",  # Azure's platform endpoint, the same in every virtual network (Microsoft's documentation)
        "169.254.0.0/16",  # link local, RFC 3927; also where clouds keep their metadata
        "172.16.0.0/12",  # private use, RFC 1918
        "192.0.0.0/24",  # IETF protocol assignments, RFC 6890
        "192.0.2.0/24",  # documentation TEST-NET-1, RFC 5737
        "192.88.99.0/24",  # 6to4 relay anycast, deprecated by RFC 7526
        "192.168.0.0/16",  # private use, RFC 1918
        "198.18.0.0/15",  # benchmarking, RFC 2544
        "198.51.100.0/24",  # documentation TEST-NET-2, RFC 5737
        "203.0.113.0/24",  # documentation TEST-NET-3, RFC 5737
        "224.0.0.0/4",  # multicast, RFC 5771
        "240.0.0.0/4",  # reserved, RFC 1112; holds the limited broadcast address
    )
)
EXCEPTIONS_V4 = tuple(
    IPv4Network(text)
    for text in (
        "192.0.0.9/32",  # Port Control Protocol anycast, RFC 7723
        "192.0.0.10/32",  # TURN anycast, RFC 8155
    )
)

# Only 2000::/3 is global unicast. All else is loopback, mapped, compatible or translated IPv4, NAT64 (64:ff9b::/96,
# 64:ff9b:1::/48), discard-only (100::/64), SRv6 (5f00::/16), unique local, link local, site local, multicast or
# reserved by the IETF. NAT64 64:ff9b::/96 is "globally reachable" in the registry: refused here nevertheless, for it
# leads wherever the IPv4 address inside it leads, as 6to4 and Teredo do, whose column says "N/A".
GLOBAL_UNICAST_V6 = IPv6Network("2000::/3")  # RFC 4291
NOT_PUBLIC_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # IETF protocol assignments, RFC 2928: Teredo, benchmarking, ORCHID, ORCHIDv2, DRIP
        "2001:db8::/32",  # documentation, RFC 3849
        "2002::/16",  # 6to4, RFC 3056
        "3fff::/20",  # documentation, RFC 9637
    )
)
EXCEPTIONS_V6 = tuple(
    IPv6Network(text)
    for text in (
        "2001:1::1/128",  # Port Control Protocol anycast, RFC 7723
        "2001:1::2/128",  # TURN anycast, RFC 8155
        "2001:1::3/128",  # DNS-SD service registration anycast, RFC 9665
        "2001:3::/32",  # automatic multicast tunneling, RFC 7450
        "2001:4:112::/48",  # AS112-v6, RFC 7535
    )
)
# ORCHIDv2 (2001:20::/28, RFC 7343) and DRIP (2001:30::/28, RFC 9374) are marked reachable too, but are identifiers
# that no router delivers to: no web server is there, so they stay refused with the rest of 2001::/23.

FAKE_IP = IPv4Network("198.18.0.0/15")
"""Where proxy software with "fake-ip" DNS puts every name."""
NAT64 = IPv6Network("64:ff9b::/96")
LOOPBACK_V4 = IPv4Network("127.0.0.0/8")
LOOPBACK_V6 = IPv6Address("::1")

ISATAP_MARKS = (0x00005EFE, 0x02005EFE)
"""First half of an interface identifier that ends in an IPv4 address, whatever the prefix: RFC 5214."""

_DECIMAL = re.compile(r"[0-9]+", re.ASCII)
_HEXADECIMAL = re.compile(r"0x[0-9a-f]*", re.ASCII)
_OCTAL = re.compile(r"0[0-7]*", re.ASCII)


def parse_address(text: str) -> Address | None:
    """An address in its plain written form (four decimal parts, or IPv6 without brackets and zone), else None."""
    if "%" in text:
        return None
    try:
        return IPv6Address(text) if ":" in text else IPv4Address(text)
    except AddressValueError:
        return None


def is_public(address: Address) -> bool:
    """Whether the address is a host of the public Internet, by the tables above.

    IPv6 addresses that carry an IPv4 address (mapped, compatible, translated, 6to4, Teredo, NAT64, ISATAP) are never
    public, not even when the IPv4 address is: where such a packet comes out is for the local network to decide.
    """
    if isinstance(address, IPv4Address):
        return _outside(address, NOT_PUBLIC_V4, EXCEPTIONS_V4)
    if address not in GLOBAL_UNICAST_V6 or (int(address) >> 32) & 0xFFFFFFFF in ISATAP_MARKS:
        return False
    return _outside(address, NOT_PUBLIC_V6, EXCEPTIONS_V6)


def is_loopback(address: Address) -> bool:
    """Whether the address is this machine, also when written as IPv4 inside IPv6."""
    if isinstance(address, IPv4Address):
        return address in LOOPBACK_V4
    mapped = address.ipv4_mapped
    return address == LOOPBACK_V6 or (mapped is not None and mapped in LOOPBACK_V4)


def translates_public(address: Address) -> bool:
    """Whether it is a NAT64 address made from a public IPv4 address, as DNS64 adds to a name's own ones."""
    if isinstance(address, IPv4Address) or address not in NAT64:
        return False
    return is_public(IPv4Address(int(address) & 0xFFFFFFFF))


def ends_in_number(host: str) -> bool:
    """Whether the last label is a number, so that the host can only be an IPv4 address (WHATWG URL, host parsing)."""
    last = host.rpartition(".")[2]
    return bool(_DECIMAL.fullmatch(last) or _HEXADECIMAL.fullmatch(last))


def parse_numbers(host: str) -> IPv4Address | None:
    """Read 1 to 4 decimal, octal or hexadecimal parts as ``inet_aton`` does; None when that would fail.

    ``host`` is lower-case ASCII without a trailing dot. The last part fills all bytes that are left: ``127.1``.
    """
    parts = host.split(".")
    if len(parts) > 4:
        return None
    numbers = [_number(part) for part in parts]
    *leading, last = numbers
    if last is None or any(number is None or number > 255 for number in leading):
        return None
    if last >= 256 ** (4 - len(leading)):
        return None
    value = last
    for place, number in enumerate(leading):
        value += (number or 0) << (8 * (3 - place))
    return IPv4Address(value)


def _number(part: str) -> int | None:
    if len(part) > 64:
        return None
    if _HEXADECIMAL.fullmatch(part):
        return int(part[2:] or "0", 16)
    if _OCTAL.fullmatch(part):
        return int(part, 8)
    return int(part) if _DECIMAL.fullmatch(part) and part[0] != "0" else None


def _outside(
    address: Address,
    networks: tuple[IPv4Network, ...] | tuple[IPv6Network, ...],
    exceptions: tuple[IPv4Network, ...] | tuple[IPv6Network, ...],
) -> bool:
    if not any(address in network for network in networks):
        return True
    return any(address in network for network in exceptions)
