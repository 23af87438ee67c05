"""Which key goes where: what a configuration may borrow of the stored ones, and what it asks at each of its doors.

A secret belongs to the origin that it was entered for, and never follows to another.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from engine import secrets
from engine.config import ApiConfig, ApiMode, Endpoint
from engine.errors import Code, InvalidInput
from engine.secrets import PLACEHOLDER


@functools.lru_cache(1024)  # each call asks several times
def origin(url: str) -> str:
    """Scheme, host and port of a URL, lower case, default ports filled in; what a key is bound to.

    "" for a URL without any of the three, or one that programs may read in different ways.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme.lower())
    except ValueError:
        return ""
    if not parts.hostname or port is None or "@" in parts.netloc or "\\" in url:
        return ""
    return f"{parts.scheme.lower()}://{parts.hostname.rstrip('.').lower()}:{port}"


@functools.lru_cache(1024)
def plain_address(url: str) -> str:
    """An address without what may be secret in it: no user, password, query."""
    return f"{origin(url)}{urlsplit(url).path}" if origin(url) else ""


# What the tool that this program succeeds had: its pages and scripts send these, and left out means the default.
_FIRST_FIELDS = frozenset(
    {
        "system_prompt", "user_prompt", "api_key", "api_url", "model_name", "max_tokens", "temperature",
        "concurrency_limit", "max_retries", "retry_interval", "timeout_seconds", "api_mode", "token_field",
        "unlock_local_api_url", "unlock_local_download_url",
    }
)  # fmt: skip
_MEANT_FOR_ONE_ORIGIN = frozenset({"extra_body", "extra_headers", "recipe", "endpoints", "delivery", "batch_provider"})


def with_newer_fields(data: dict[str, Any], stored: ApiConfig) -> dict[str, Any]:
    """What was sent, and the stored value of each newer field that its sender left out, as one does that does not know
    it; what may hold a secret, or fits one service alone, goes along to the same origin only."""
    same = origin(stored.api_url) == origin(str(data.get("api_url") or stored.api_url))
    kept = {name: getattr(stored, name) for name in ApiConfig.__struct_fields__ if name not in _FIRST_FIELDS}
    return {name: value for name, value in kept.items() if same or name not in _MEANT_FOR_ONE_ORIGIN} | data


def may_lend_key(holder: ApiConfig, sender: ApiConfig) -> bool:
    """Whether the key of ``holder`` may go where ``sender`` sends it: the same origin, and no proxy that could read it.

    A proxy reads all of a plain http call: then it must be the holder's, or one that the configuration does not name.
    """
    place = origin(holder.api_url)
    if not place or place != origin(sender.api_url) or not _key_origins(sender) <= _key_origins(holder):
        return False
    same = (holder.proxy.strip(), secrets.mask_url(holder.proxy.strip()))
    return place.startswith("https:") or sender.proxy.strip() in ("", "direct", *same)


def _key_origins(config: ApiConfig) -> frozenset[str]:
    """The further origins to which a recipe lets the key go: confirmed with the configuration that holds it."""
    named = config.recipe.get("origins") if config.mode is ApiMode.RECIPE else None
    entries = named if isinstance(named, list) else []
    return frozenset(entry.strip().lower() for entry in entries if isinstance(entry, str))


def with_stored_key(sent: ApiConfig, replaced: Iterable[ApiConfig], others: Iterable[ApiConfig] = ()) -> ApiConfig:
    """Fill in the stored key where ``sent`` has the placeholder or none, and every other secret that is masked.

    The first stored configuration that may lend its key gives it, ``replaced`` before ``others``. Where ``replaced``
    holds a key, but none that is stored may go there, it must be entered: a secret never follows to another origin.
    Refuses doors that are then the same (`check_doors`).
    """
    replaced = list(replaced)
    filled = borrow_secrets(sent, (*replaced, *others))
    if not filled.api_key and (sent.api_key or any(config.api_key for config in replaced)):
        raise InvalidInput(Code.API_KEY_REQUIRED, field="api_key")
    for name, value in filled.parts_with_secrets():
        if secrets.has_placeholder(value):
            raise InvalidInput(Code.API_KEY_REQUIRED, field=name)
    check_doors(filled)
    return filled


def borrow_secrets(sent: ApiConfig, stored: Iterable[ApiConfig]) -> ApiConfig:
    """``sent`` with what the stored configurations may lend; an ``api_key`` of "" where none lends one, the placeholder
    where another secret is not to be had. A proxy's password belongs to the proxy, whoever is asked through it."""
    key = "" if sent.api_key == PLACEHOLDER else sent.api_key
    parts = dict(sent.parts_with_secrets())
    stored = list(stored)
    parts["endpoints"] = _borrow_for_doors(sent, stored)
    for holder in stored:
        lends = may_lend_key(holder, sent)
        key = key or (holder.api_key if lends else "")
        for name, value in parts.items():
            if (lends or name == "proxy") and name != "endpoints":
                parts[name] = secrets.fill(value, getattr(holder, name))
    return msgspec.structs.replace(sent, api_key=key, **parts)


def without_placeholders(config: ApiConfig) -> ApiConfig:
    """The configuration without the secrets that nobody could fill in."""
    parts = {name: secrets.without_placeholders(value) for name, value in config.parts_with_secrets()}
    return msgspec.structs.replace(config, **parts)


# --- several doors ----------------------------------------------------------------------------------------------------


def doors_of(config: ApiConfig) -> list[ApiConfig]:
    """The configuration as it asks at each of its doors, its own address first; one that stands there twice once. What
    is secret in headers, body and recipe is for its own origin and goes to no other."""
    doors = [msgspec.structs.replace(config, endpoints=[])]
    for entry in config.endpoints:
        door = _door(config, msgspec.convert(entry, Endpoint))
        if all(_sameness(door) != _sameness(other) for other in doors):
            doors.append(door if origin(door.api_url) == origin(config.api_url) else _without_secrets(door))
    return doors


def check_doors(config: ApiConfig) -> None:
    """Refuse a door that stands there twice: its limit would be learned in two places. InvalidInput."""
    known = {_sameness(config)}
    for entry in config.endpoints:
        door = _door(config, msgspec.convert(entry, Endpoint))
        if _sameness(door) in known:
            raise InvalidInput(Code.ENDPOINT_TWICE, field="endpoints", url=plain_address(door.api_url))
        known.add(_sameness(door))


def _door(config: ApiConfig, entry: Endpoint) -> ApiConfig:
    """The configuration with what an entry says in the place of its own; its key stays only at the same origin."""
    here = origin(config.api_url) == origin(entry.api_url)
    door = msgspec.structs.replace(
        config,
        api_url=entry.api_url,
        api_key=entry.api_key or (config.api_key if here else ""),
        model_name=entry.model_name or config.model_name,
        concurrency_limit=entry.concurrency_limit or config.concurrency_limit,
        endpoints=[],
    )
    return msgspec.structs.replace(door, api_url=msgspec.structs.replace(door, api_mode=config.mode).complete_url)


def _without_secrets(door: ApiConfig) -> ApiConfig:
    return msgspec.structs.replace(
        door,
        extra_headers=secrets.without(door.extra_headers),
        extra_body=secrets.without(door.extra_body),
        recipe=secrets.without(door.recipe),
    )


def _sameness(door: ApiConfig) -> tuple[str, str, str, str]:
    try:
        parts = urlsplit(door.api_url)
    except ValueError:  # no address: whoever uses it says so
        return door.api_url, "", door.api_key, door.model_name
    return origin(door.api_url), f"{parts.path.rstrip('/')}?{parts.query}", door.api_key, door.model_name


def _borrow_for_doors(sent: ApiConfig, stored: list[ApiConfig]) -> list[dict[str, Any]]:
    """The entries of ``endpoints`` with the keys that stored doors of the same origin may lend: the one in the same
    place first. What nobody lends stays as it was sent."""
    filled = []
    for number, entry in enumerate(sent.endpoints):
        asking = _door(sent, msgspec.convert({**entry, "api_key": ""}, Endpoint))
        key, url = str(entry.get("api_key", "")), str(entry["api_url"])
        shares = not key and origin(url) == origin(sent.api_url)  # that of the configuration, whichever that is
        for holder in stored:
            entries = [*holder.endpoints[number : number + 1], *holder.endpoints]
            lenders = [_door(holder, msgspec.convert(one, Endpoint)) for one in entries]
            for lender in (*lenders, msgspec.structs.replace(holder, endpoints=[])):
                if may_lend_key(lender, asking):
                    url = secrets.fill(url, lender.api_url)
                    key = lender.api_key if key in ("", PLACEHOLDER) and lender.api_key and not shares else key
        filled.append({**entry, "api_key": key, "api_url": url})
    return filled
