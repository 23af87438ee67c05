"""The environment, read once: every variable of the program with its default and check."""

from __future__ import annotations

import ipaddress
import math
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec

from engine.cluster.address import ClusterOrder
from engine.errors import AddressRefused, Code, InvalidInput
from engine.keystore import may_have_store
from engine.models import EditLimits
from engine.upstream.netguard import NetPolicy
from engine.upstream.target import normalise_host

T = TypeVar("T")
_MIB = 1024 * 1024
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class StatusUi(StrEnum):
    """What ``serve`` shows in the terminal."""

    CLI = "cli"
    NONE = "none"


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """What the environment says. Sizes in bytes, ``cache_ttl`` in seconds."""

    host: str
    port: int
    allowed_origins: tuple[str, ...]
    access_token: str
    export_include_secrets: bool
    allow_remote_debug_log: bool
    network: NetPolicy
    max_redirects: int
    limits: EditLimits
    max_preset_import: int
    cache_ttl: float
    cache_max_bytes: int
    status_ui: StatusUi
    cluster: ClusterOrder
    """Machines that make the calls; an empty address for none."""
    key_store: bool
    """Whether secrets go into the system's key store where there is one."""

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host to bind is this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_environment(environ: Mapping[str, str]) -> Environment:
    """All settings; InvalidInput naming the variable whose value cannot be read."""
    env = _Environment(environ)
    return Environment(
        host=env.get("HOST", "127.0.0.1", _host),
        port=env.get("PORT", 12607, _whole(0, 65535)),
        allowed_origins=env.get("ALLOWED_ORIGINS", (), _origins),
        access_token=env.get("ACCESS_TOKEN", "", _token),
        export_include_secrets=env.get("EXPORT_INCLUDE_SECRETS", False, _switch),
        allow_remote_debug_log=env.get("ALLOW_REMOTE_DEBUG_LOG_API", False, _switch),
        network=NetPolicy(
            allow_private_api=env.get("ALLOW_PRIVATE_API_URL", False, _switch),
            allow_private_download=env.get("ALLOW_PRIVATE_DOWNLOAD_URL", False, _switch),
            api_hosts=env.get("API_URL_HOST_ALLOWLIST", (), _hosts),
            download_hosts=env.get("DOWNLOAD_URL_HOST_ALLOWLIST", (), _hosts),
        ),
        max_redirects=env.get("MAX_HTTP_REDIRECTS", 3, _whole(0, 20)),
        limits=EditLimits(
            max_source_bytes=env.get("MAX_SOURCE_IMAGE_BYTES", 20 * _MIB, _whole(1, 2**40)),
            max_candidate_bytes=env.get("MAX_CANDIDATE_IMAGE_BYTES", 20 * _MIB, _whole(1, 2**40)),
        ),
        max_preset_import=env.get("MAX_PRESET_IMPORT_BYTES", 2 * _MIB, _whole(1, 2**40)),
        cache_ttl=3600 * env.get("CACHE_TTL_HOURS", 168.0, _number),
        cache_max_bytes=env.get("CACHE_MAX_BYTES", 2 * 1024 * _MIB, _whole(0, 2**60)),
        status_ui=_status_ui(env),
        cluster=ClusterOrder(
            address=env.get("CLUSTER", "", str),
            ca=env.get("CLUSTER_CA", "", str),
            cert=env.get("CLUSTER_CERT", "", str),
            key=env.get("CLUSTER_KEY", "", str),
            insecure=env.get("CLUSTER_INSECURE", False, _switch),
            outbox=env.get("CLUSTER_OUTBOX", "", str),
            shared=env.get("CLUSTER_SHARED", "", str),
        ),
        key_store=env.get("KEY_STORE", "system", _key_store) == "system" and may_have_store(environ),
    )


class _Environment:
    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def get(self, name: str, default: T, read: Callable[[str], T]) -> T:
        """The value of a variable; unset or blank is the default."""
        text = self._environ.get(name, "").strip()
        if not text:
            return default
        try:
            return read(text)
        except ValueError as error:
            shown = "…" if name == "ACCESS_TOKEN" else text[:200]
            raise InvalidInput(Code.SETTING_INVALID, field=name, name=name, value=shown, reason=str(error)) from error


def _status_ui(env: _Environment) -> StatusUi:
    chosen = env.get("STATUS_UI", StatusUi.CLI, _ui)
    return chosen if env.get("STATUS_WINDOW", True, _switch) else StatusUi.NONE


def _ui(text: str) -> StatusUi:
    if text.lower() not in set(StatusUi):
        raise ValueError("cli / none")
    return StatusUi(text.lower())


def _key_store(text: str) -> str:
    if text.lower() not in ("system", "file"):
        raise ValueError("system / file")
    return text.lower()


def _switch(text: str) -> bool:
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise ValueError("1 or 0")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
            raise ValueError(f"{low}..{high}")
        return int(text)

    return read


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(">= 0")
    return value


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _hosts(text: str) -> tuple[str, ...]:
    hosts = _list(text)
    for host in hosts:
        name = host.removeprefix("*").removeprefix(".")
        try:
            normalise_host(f"[{name}]" if ":" in name and not name.startswith("[") else name)
        except AddressRefused as error:
            raise ValueError("host names, comma-separated; no scheme, port or path") from error
    return hosts


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.rstrip("/").lower() for part in _list(text))
    for origin in origins:
        scheme, _, rest = origin.partition("://")
        if scheme not in ("http", "https") or not rest or "/" in rest or "*" in rest:
            raise ValueError("http(s)://host[:port], comma-separated")
    return origins


def _token(text: str) -> str:
    if not text.isascii() or not text.isprintable():  # headers and cookies carry nothing else unchanged
        raise ValueError("printable ASCII characters")
    return text


def _host(text: str) -> str:
    if any(character.isspace() or character in "/@?#" for character in text):
        raise ValueError("a host name or address")
    return text.strip("[]")


def has_display(environ: Mapping[str, str], platform: str = sys.platform) -> bool:
    """Whether there is a graphical desktop to open anything on."""
    return not platform.startswith("linux") or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
