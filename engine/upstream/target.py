"""What a URL says by its writing alone: its form, its host in the one normal writing, and what that host is. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import NoReturn
from urllib.parse import quote, unquote_to_bytes, urljoin

import idna
import msgspec

from engine.errors import AddressRefused, Code
from engine.upstream.addresses import Address, ends_in_number, is_loopback, is_public, parse_address, parse_numbers

MAX_URL_LENGTH = 64 * 1024
DEFAULT_PORTS = {"http": 80, "https": 443}

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(?:#.*)?", re.ASCII)
_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F))

# Names that never mean a public host, whoever resolves them (RFC 6761, 6762, 8375; .internal: ICANN, 2024).
LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".home.arpa", ".localdomain")


class Target(msgspec.Struct, frozen=True):
    """A URL taken apart and normalised.

    ``host``: ASCII, lower case, without brackets and trailing dot; numbers in any writing have become an IP address.
    ``path``: path and query, ASCII, as it goes on the wire. ``address``: the IP address that ``host`` is, None for a
    name.
    """

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None

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

    def onward(self, location: str) -> Target:
        """Where a redirect leads to; raises AddressRefused with the three codes of form."""
        try:
            joined = urljoin(self.url, location.strip())
        except ValueError:
            raise AddressRefused(Code.URL_MALFORMED, host="") from None
        return parse_url(joined)

    @property
    def on_this_machine(self) -> bool:
        """Whether the host is this machine by its very writing."""
        if self.address is not None:
            return is_loopback(self.address)
        return self.host in LOOPBACK_NAMES or self.host.endswith(".localhost")

    @property
    def may_be_public(self) -> bool:
        """Whether the host is a public address, or a name that is not reserved for this machine or the local network:
        where that leads to, only a lookup tells."""
        if self.address is not None:
            return is_public(self.address)
        return self.host not in LOOPBACK_NAMES and not f".{self.host}".endswith(_PRIVATE_SUFFIXES)


@functools.lru_cache(maxsize=64)
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
    host, address = normalise_host(written_host)
    path = quote(rest, safe=_PRINTABLE)
    return Target(scheme, host, port, path if path.startswith("/") else "/" + path, address)


def normalise_host(written: str) -> tuple[str, Address | None]:
    """A host in its one normal writing, and the IP address that it is; raises AddressRefused(URL_MALFORMED).

    Percent-encoding is taken off, full-width and other IDN characters are mapped (UTS 46), numbers are read as
    ``inet_aton`` reads them, so that no writing of an address gets past the rules or to the resolver.
    """
    if written.startswith("["):
        return _bracketed(written)
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
        return str(address), address
    return _name(host, written), None


def host_matches(host: str, entries: Iterable[str]) -> bool:
    """Whether a normalised host is one of the entries or a subdomain of one; an entry that is no host matches none."""
    for entry in entries:
        try:
            listed, address = normalise_host(_bracket(entry.strip().removeprefix("*").removeprefix(".")))
        except AddressRefused:
            continue
        if host == listed or (address is None and host.endswith("." + listed)):
            return True
    return False


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


def _bracketed(written: str) -> tuple[str, IPv6Address]:
    address = parse_address(written[1:-1])
    if not written.endswith("]") or not isinstance(address, IPv6Address):
        _malformed(written)
    mapped = address.ipv4_mapped  # written as hexadecimal or as decimal parts, depending on the version of Python
    host = str(address) if mapped is None else f"::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}"
    return host, address


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
