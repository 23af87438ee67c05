"""Which URLs and addresses may be reached: a pure policy, without a lookup of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from ipaddress import IPv6Address
from typing import NoReturn
from urllib.parse import quote, unquote_to_bytes

import idna
import msgspec

from engine.errors import AddressRefused, Code
from engine.upstream.addresses import (
    FAKE_IP,
    ends_in_number,
    is_loopback,
    is_public,
    parse_address,
    parse_numbers,
    translates_public,
)

MAX_URL_LENGTH = 64 * 1024
DEFAULT_PORTS = {"http": 80, "https": 443}

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(?:#.*)?", re.ASCII)
_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))

# Names that never mean a public host, whoever resolves them (RFC 6761, 6762, 8375; .internal: ICANN, 2024).
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
_PRIVATE_SUFFIXES = ("localhost", "local", "internal", "home.arpa", "localdomain")


class Purpose(StrEnum):
    """What a connection is for; each has its own switch and list of hosts."""

    API = "api"
    DOWNLOAD = "download"


class NetPolicy(msgspec.Struct, frozen=True):
    """What the environment allows. A list that is not empty allows the hosts on it, with subdomains, and no others."""

    allow_private_api: bool = False
    allow_private_download: bool = False
    api_hosts: tuple[str, ...] = ()
    download_hosts: tuple[str, ...] = ()

    def hosts(self, purpose: Purpose) -> tuple[str, ...]:
        """The list of allowed hosts for this purpose; empty: no list."""
        return self.api_hosts if purpose is Purpose.API else self.download_hosts

    def allows_private(self, purpose: Purpose) -> bool:
        """Whether the environment allows non-public addresses for this purpose."""
        return self.allow_private_api if purpose is Purpose.API else self.allow_private_download


class Target(msgspec.Struct, frozen=True):
    """A URL taken apart and normalised.

    ``host``: ASCII, lower case, without brackets and trailing dot; numbers in any writing have become an IP address.
    ``path``: path and query, ASCII, as it goes on the wire. ``literal``: whether ``host`` is an IP address.
    """

    scheme: str
    host: str
    port: int
    path: str
    literal: bool

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL and in the Host header: the default port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The normalised URL; without fragment."""
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: what a key belongs to."""
        return self.scheme, self.host, self.port


def check_url(url: str, purpose: Purpose, policy: NetPolicy) -> Target:
    """Take a URL apart and check what can be seen without an address: form, scheme, credentials, list of hosts.

    Raises AddressRefused: URL_MALFORMED, URL_SCHEME, URL_CREDENTIALS or HOST_NOT_LISTED.
    """
    target = parse_url(url)
    allowed = policy.hosts(purpose)
    if allowed and not any(_covers(entry, target) for entry in allowed):
        raise AddressRefused(Code.HOST_NOT_LISTED, host=target.host, purpose=purpose.value)
    return target


def parse_url(url: str) -> Target:
    """The form of a URL alone; raises AddressRefused with the three codes of form."""
    if not url or len(url) > MAX_URL_LENGTH or url != url.strip() or _FORBIDDEN.search(url):
        _malformed("")
    match = _URL.fullmatch(url)
    if match is None:
        _refuse_form(url)
    scheme, authority, rest = match[1].lower(), match[2], match[3]
    if scheme not in DEFAULT_PORTS:
        raise AddressRefused(Code.URL_SCHEME, host="", scheme=scheme)
    if "@" in authority:
        raise AddressRefused(Code.URL_CREDENTIALS, host=authority.rpartition("@")[2])
    written_host, port = _split_port(authority, DEFAULT_PORTS[scheme])
    host, literal = normalise_host(written_host)
    path = quote(rest, safe=_PRINTABLE)
    return Target(scheme, host, port, path if path.startswith("/") else "/" + path, literal)


def normalise_host(written: str) -> tuple[str, bool]:
    """A host in its one normal writing, and whether it is an IP address; raises AddressRefused(URL_MALFORMED).

    Percent-encoding is taken off, full-width and other IDN characters are mapped (UTS 46), numbers are read as
    ``inet_aton`` reads them, so that no writing of an address gets past the rules or to the resolver.
    """
    if written.startswith("["):
        return _bracketed(written), True
    try:
        host = unquote_to_bytes(written).decode("utf-8")
        if not host.isascii():
            host = idna.uts46_remap(host, std3_rules=False)
    except (UnicodeError, idna.IDNAError):
        _malformed(written)
    host = host.lower().removesuffix(".")
    if host and ends_in_number(host):
        address = parse_numbers(host)
        if address is None:
            _malformed(written)
        return str(address), True
    return _name(host, written), False


def check_host(target: Target, purpose: Purpose, policy: NetPolicy, unlocked: bool) -> None:
    """Refuse a URL whose host is a non-public address or a name for one, before anything is looked up.

    Holds for connections through a proxy as well, where the proxy looks the name up and no address can be checked.
    """
    if target.literal:
        check_address(target.host, target.host, purpose, policy, unlocked)
    elif not (unlocked or policy.allows_private(purpose)) and is_private_name(target.host):
        raise AddressRefused(Code.ADDRESS_PRIVATE, host=target.host, address=target.host, purpose=purpose.value)


def check_address(address: str, host: str, purpose: Purpose, policy: NetPolicy, unlocked: bool) -> None:
    """Refuse an address that is not public, unless the person (``unlocked``) or the environment allows such.

    ``host`` is the name that led to it, or the address itself. What cannot be read as an address is refused.
    Raises AddressRefused: ADDRESS_FAKE_IP for 198.18.0.0/15 behind a name, else ADDRESS_PRIVATE.
    """
    parsed = parse_address(address.partition("%")[0])
    if unlocked or policy.allows_private(purpose):
        return
    if parsed is not None and is_public(parsed):
        return
    fake = host != address and parsed is not None and parsed in FAKE_IP
    code = Code.ADDRESS_FAKE_IP if fake else Code.ADDRESS_PRIVATE
    raise AddressRefused(code, host=host, address=address, purpose=purpose.value)


def usable_addresses(
    addresses: Sequence[str], host: str, purpose: Purpose, policy: NetPolicy, unlocked: bool
) -> list[str]:
    """The addresses of a lookup that may be connected to; one that is not public refuses them all.

    A translation of a public IPv4 address, as DNS64 adds it, is passed over when other addresses are left, and used
    when none is: on a network of IPv6 alone it is the only way to such a host. As a literal it stays refused.
    """
    if unlocked or policy.allows_private(purpose):
        return list(addresses)
    parsed = {address: parse_address(address.partition("%")[0]) for address in addresses}
    fake = [address for address, value in parsed.items() if value is not None and value in FAKE_IP]
    translated = {address for address, value in parsed.items() if value is not None and translates_public(value)}
    own = [address for address in addresses if address not in translated]
    for address in fake + own:
        check_address(address, host, purpose, policy, unlocked)
    return own or list(addresses)


def is_private_name(host: str) -> bool:
    """Whether a normalised name is reserved for this machine or the local network."""
    return host in _LOOPBACK_NAMES or any(host == end or host.endswith("." + end) for end in _PRIVATE_SUFFIXES)


def is_local_machine(target: Target) -> bool:
    """Whether the host is this machine by its very writing."""
    if target.literal:
        address = parse_address(target.host)
        return address is not None and is_loopback(address)
    return target.host in _LOOPBACK_NAMES or target.host.endswith(".localhost")


def host_matches(host: str, entries: Iterable[str]) -> bool:
    """Whether a normalised host is one of the entries or a subdomain of one; an entry that is no host matches none."""
    for entry in entries:
        try:
            listed, literal = normalise_host(_bracket(entry.strip().removeprefix("*").removeprefix(".")))
        except AddressRefused:
            continue
        if host == listed or (not literal and host.endswith("." + listed)):
            return True
    return False


def _covers(entry: str, target: Target) -> bool:
    return host_matches(target.host, (entry,))


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _split_port(authority: str, default: int) -> tuple[str, int]:
    if authority.startswith("["):
        host, bracket, after = authority.partition("]")
        host += bracket
    else:
        host, colon, port = authority.partition(":")
        after = colon + port
    if not after:
        return host, default
    if not after.startswith(":") or not _PORT.fullmatch(after[1:]) or not 0 < int(after[1:]) < 65536:
        _malformed(host)
    return host, int(after[1:])


def _bracketed(written: str) -> str:
    address = parse_address(written[1:-1])
    if not written.endswith("]") or not isinstance(address, IPv6Address):
        _malformed(written)
    mapped = address.ipv4_mapped  # written as hexadecimal or as decimal parts, depending on the version of Python
    return str(address) if mapped is None else f"::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}"


def _name(host: str, written: str) -> str:
    if not host.isascii():
        try:
            host = idna.encode(host).decode("ascii")
        except (UnicodeError, idna.IDNAError):
            _malformed(written)
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        _malformed(written)
    return host


def _refuse_form(url: str) -> NoReturn:
    scheme = _HAS_SCHEME.match(url)
    if scheme is None or scheme[0][:-1].lower() not in DEFAULT_PORTS:
        raise AddressRefused(Code.URL_SCHEME, host="", scheme=scheme[0][:-1].lower() if scheme else "")
    _malformed("")


def _malformed(host: str) -> NoReturn:
    raise AddressRefused(Code.URL_MALFORMED, host=host[:253])
