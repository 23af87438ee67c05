"""Which proxy a request goes through: the setting, else the environment with its exceptions. Pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from ipaddress import ip_network
from typing import NoReturn
from urllib.parse import unquote, urlsplit

import msgspec

from engine.errors import AddressRefused, Code, InvalidInput
from engine.upstream.addresses import Address
from engine.upstream.target import Target, host_matches, normalise_host

DIRECT = "direct"
PROXY_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_SCHEMES = {"socks": "socks5h"}  # as GNOME and V2Ray write it


class ProxyServer(msgspec.Struct, frozen=True):
    """A proxy that names are handed to; both SOCKS schemes let the proxy look names up."""

    scheme: str
    host: str
    port: int
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"ProxyServer({self.scheme}://{self.host}:{self.port})"

    @property
    def basic(self) -> bytes:
        """The value of Proxy-Authorization."""
        return b"Basic " + b64encode(f"{self.user}:{self.password}".encode())

    @property
    def socks(self) -> bool:
        """Whether it speaks SOCKS5 rather than HTTP."""
        return self.scheme.startswith("socks")


def choose_proxy(setting: str, target: Target, environment: Mapping[str, str]) -> ProxyServer | None:
    """The proxy for a URL, None for a direct connection.

    ``setting``: empty for the environment, ``direct``, or a proxy URL, which then holds for every host.
    ``environment``: what ``urllib.request.getproxies`` returns; its ``no`` list is obeyed, and what is on this
    machine is never sent through a proxy of the environment. Raises InvalidInput(PROXY_INVALID).
    """
    setting = setting.strip()
    if setting == DIRECT:
        return None
    if setting:
        return parse_proxy(setting)
    name = target.scheme if environment.get(target.scheme) else "all"
    found = environment.get(name) or ""
    if not found or target.on_this_machine or bypassed(target, environment.get("no", "")):
        return None
    try:
        return parse_proxy(found if "://" in found else f"http://{found}")
    except InvalidInput as error:
        reason = str(error.params["reason"])
        raise InvalidInput(
            Code.PROXY_VARIABLE, field="proxy", variable=f"{name}_proxy".upper(), reason=f"proxy_{reason}"
        ) from None


def parse_proxy(text: str) -> ProxyServer:
    """Read a proxy URL: http, https, socks5 or socks5h, with or without user and password.

    Raises InvalidInput(PROXY_INVALID, field="proxy"), which never repeats the text.
    """
    text = text.strip()
    if not text.isprintable():  # urlsplit would silently drop line breaks
        _invalid("form")
    try:
        parts = urlsplit(text)
        port = parts.port
        host, _ = normalise_host(f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or "")
        user, password = unquote(parts.username or "", errors="strict"), unquote(parts.password or "", errors="strict")
    except (ValueError, AddressRefused):
        _invalid("form")
    scheme = _SCHEMES.get(parts.scheme.lower(), parts.scheme.lower())
    if scheme not in PROXY_PORTS:
        _invalid("scheme")
    if port == 0 or parts.path not in ("", "/") or parts.query or parts.fragment:
        _invalid("form")
    if max(len(user.encode()), len(password.encode())) > 255:  # RFC 1929 gives one byte for the length
        _invalid("form")
    return ProxyServer(scheme, host, port or PROXY_PORTS[scheme], user, password)


def bypassed(target: Target, no_proxy: str) -> bool:
    """Whether NO_PROXY excepts this host: ``*``, names (with subdomains), addresses, networks; a port may follow."""
    return any(_excepts(entry.strip(), target) for entry in no_proxy.replace(";", ",").split(",") if entry.strip())


def _excepts(entry: str, target: Target) -> bool:
    if entry == "*":
        return True
    entry = entry.rpartition("://")[2]
    if "/" in entry:
        return target.address is not None and _in_network(target.address, entry)
    host, colon, port = entry.rpartition(":")
    if colon and port.isascii() and port.isdigit() and (host.endswith("]") or ":" not in host):
        return int(port) == target.port and host_matches(target.host, (host,))
    return host_matches(target.host, (entry,))


def _in_network(address: Address, network: str) -> bool:
    try:
        return address in ip_network(network, strict=False)
    except ValueError:
        return False


def _invalid(reason: str) -> NoReturn:
    raise InvalidInput(Code.PROXY_INVALID, field="proxy", reason=reason)
