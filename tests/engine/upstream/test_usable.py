"""What is refused of a configuration as it is entered, by which code and field, and which fault is told first."""

from __future__ import annotations

from typing import Any

import pytest

from engine.config import ApiConfig
from engine.errors import Code, InvalidInput
from engine.keys import doors_of
from engine.secrets import PLACEHOLDER as HIDDEN
from engine.upstream.usable import read_usable

A, B, C = (f"https://{name}.test/v1/images/edits" for name in "abc")
RECIPE = {"request": {"url": "/submit", "json": {"prompt": "{{prompt}}"}}}
STORED = ApiConfig(
    api_url=A,
    api_key="key-a",
    proxy="http://u:secret@p:1",
    extra_headers={"X-Session-Key": "held-a"},
    endpoints=[{"api_url": B, "api_key": "key-b"}, {"api_url": f"{C}?key=held-c", "api_key": "key-c"}],
)


def read(**fields: Any) -> ApiConfig:
    return read_usable({"api_url": A, "api_key": HIDDEN, **fields}, STORED, [STORED], [])[0]


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"api_url": " "}, Code.FIELD_REQUIRED, "api_url"),
        # no web address at all: told before a key is asked for
        ({"api_url": "not a url"}, Code.URL_SCHEME, "api_url"),
        ({"api_url": "ftp://b.test/x"}, Code.URL_SCHEME, "api_url"),
        ({"endpoints": [{"api_url": "file:///etc/passwd", "api_key": HIDDEN}]}, Code.URL_SCHEME, "endpoints"),
        ({"api_url": "not a url", "max_tokens": 0}, Code.FIELD_RANGE, "max_tokens"),
        ({"api_url": "not a url", "proxy": "p:1", "recipe": {"x": 1}}, Code.URL_SCHEME, "api_url"),
        # one for which there is no key: that is told before how it is written
        ({"api_url": B}, Code.API_KEY_REQUIRED, "api_key"),
        ({"api_url": "https://user:pw@a.test/v1"}, Code.API_KEY_REQUIRED, "api_key"),
        ({"api_url": "http://[bad"}, Code.API_KEY_REQUIRED, "api_key"),
        ({"endpoints": [{"api_url": "https://b.test.evil/", "api_key": HIDDEN}]}, Code.API_KEY_REQUIRED, "endpoints"),
        ({"endpoints": [{"api_url": f"{B}?key={HIDDEN}"}]}, Code.API_KEY_REQUIRED, "endpoints"),
        ({"proxy": f"http://u:{HIDDEN}@q:1"}, Code.API_KEY_REQUIRED, "proxy"),
        ({"extra_body": {"user_token": HIDDEN}}, Code.API_KEY_REQUIRED, "extra_body"),
        ({"proxy": f"http://u:{HIDDEN}@q:1", "endpoints": [{"api_url": A}]}, Code.API_KEY_REQUIRED, "proxy"),
        ({"recipe": {**RECIPE, "origins": ["https://c.test"]}}, Code.API_KEY_REQUIRED, "api_key"),
        # what no call could be made with
        ({"endpoints": [{"api_url": "https://A.test:443/"}]}, Code.ENDPOINT_TWICE, "endpoints"),
        ({"endpoints": [{"api_url": A}], "recipe": {"x": 1}}, Code.ENDPOINT_TWICE, "endpoints"),
        ({"api_url": "https://me:pw@a.test/v1", "api_key": "own", "recipe": {"x": 1}}, Code.URL_CREDENTIALS, "api_url"),
        ({"api_url": "http://[bad", "api_key": "own", "endpoints": [{"api_url": B}]}, Code.URL_MALFORMED, "api_url"),
        ({"endpoints": [{"api_url": "http://[bad"}]}, Code.URL_MALFORMED, "endpoints"),
        ({"endpoints": [{"api_url": "https://me@b.test"}], "proxy": "p:1"}, Code.URL_CREDENTIALS, "endpoints"),
        ({"recipe": {"x": 1}, "proxy": "p:1"}, Code.RECIPE_INVALID, "recipe"),
        ({"proxy": "p:1", "extra_headers": {"X Y": "1"}}, Code.PROXY_INVALID, "proxy"),
        ({"extra_headers": {"X Y": "1"}}, Code.FIELD_TYPE, "extra_headers"),
    ],
)  # fmt: skip
def test_the_first_fault_is_told_by_its_field(fields: dict[str, Any], code: Code, field: str) -> None:
    """Values, then web addresses, keys, doors, and what each part says; of several faults always the same one."""
    with pytest.raises(InvalidInput) as refused:
        read(**fields)
    assert (refused.value.code, refused.value.field) == (code, field)
    assert not any(secret in str(refused.value.params) for secret in STORED.secrets)


def test_what_is_held_is_filled_in_where_it_belongs() -> None:
    """Keys of doors, a parameter of an address, a proxy's password; a door elsewhere gets no header's secret."""
    doors = [{"api_url": f"{C}?key={HIDDEN}", "api_key": HIDDEN}, {"api_url": "https://b.test", "api_key": HIDDEN}]
    config = read(endpoints=doors, proxy=f"http://u:{HIDDEN}@p:1", extra_headers={"X-Session-Key": HIDDEN, "X-T": "t"})
    assert (config.api_key, config.proxy) == ("key-a", STORED.proxy)
    assert [(door.api_url, door.api_key, door.extra_headers) for door in doors_of(config)] == [
        (A, "key-a", {"X-Session-Key": "held-a", "X-T": "t"}),
        (f"{C}?key=held-c", "key-c", {"X-T": "t"}),
        (B, "key-b", {"X-T": "t"}),
    ]
