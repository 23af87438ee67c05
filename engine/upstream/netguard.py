"""Which URLs and addresses may be reached: a pure policy, without a lookup of its own."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from engine.errors import AddressRefused, Code
from engine.upstream.addresses import FAKE_IP, is_public, parse_address, translates_public
from engine.upstream.target import Target, host_matches


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


def check_target(target: Target, purpose: Purpose, policy: NetPolicy, unlocked: bool) -> None:
    """Refuse a URL whose host is not on the list, is a non-public address or a name for one, before anything is
    looked up.

    Holds for connections through a proxy as well, where the proxy looks the name up and no address can be checked.
    Raises AddressRefused: HOST_NOT_LISTED, ADDRESS_PRIVATE.
    """
    allowed = policy.hosts(purpose)
    if allowed and not host_matches(target.host, allowed):
        raise AddressRefused(Code.HOST_NOT_LISTED, host=target.host, purpose=purpose.value)
    if not (unlocked or policy.allows_private(purpose) or target.may_be_public):
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
