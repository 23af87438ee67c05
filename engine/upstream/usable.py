"""A configuration that calls can be made with: read, checked part by part, filled up from the stored ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from engine.config import ApiConfig, parse_entered
from engine.errors import AddressRefused, Code, InvalidInput, Problem
from engine.keys import with_newer_fields, with_stored_key
from engine.upstream.netguard import NetPolicy, Purpose, check_target
from engine.upstream.proxies import DIRECT, parse_proxy
from engine.upstream.recipe import read_recipe
from engine.upstream.request import request_headers
from engine.upstream.target import parse_url


def read_usable(
    data: dict[str, Any], before: ApiConfig, replaced: Iterable[ApiConfig], others: Iterable[ApiConfig]
) -> tuple[ApiConfig, list[Problem]]:
    """A configuration as a person or script enters it in the place of ``before``, with the stored keys where they
    belong to its origins (as `with_stored_key`), and its address complete. InvalidInput by the field at fault."""
    config, warnings = parse_entered(with_newer_fields(data, before))
    for url, field in config.addresses:  # ahead of the keys: "enter the key" would be no help
        if not url.lower().startswith(("http://", "https://")):
            raise InvalidInput(Code.URL_SCHEME, field=field, host=url[:100], scheme=url.partition(":")[0][:40])
    config = with_stored_key(config, replaced, others)
    check_usable(config)
    return msgspec.structs.replace(config, api_url=config.complete_url), warnings


def check_usable(config: ApiConfig) -> None:
    """Refuse by its field what no call could be made with, whatever the keys are."""
    for url, field in config.addresses:
        try:
            parse_url(url)
        except AddressRefused as error:
            raise InvalidInput(error.code, field=field, **error.params) from error
    if config.recipe:
        read_recipe(config.recipe)
    if config.proxy not in ("", DIRECT):
        parse_proxy(config.proxy)
    request_headers(config.extra_headers, None)


def check_allowed(config: ApiConfig, policy: NetPolicy) -> None:
    """Refuse by its field an address that the rules forbid, before anything is read or sent."""
    for url, field in config.addresses:
        try:
            check_target(parse_url(url), Purpose.API, policy, config.unlock_local_api_url)
        except AddressRefused as error:
            raise InvalidInput(error.code, field=field, **error.params) from error
