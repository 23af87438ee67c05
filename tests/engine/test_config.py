"""One definition of each setting: what comes of every value that a person or a file may bring."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import ApiConfig, ApiMode, describe, parse_entered, parse_stored
from engine.errors import Code, InvalidInput
from engine.keys import may_lend_key, origin, with_stored_key
from engine.secrets import PLACEHOLDER

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = [spec.name for spec in describe()]


@pytest.mark.parametrize(
    ("url", "mode"),
    [
        ("https://x/v1/chat/completions", ApiMode.CHAT_COMPLETIONS),
        ("https://x/v1/responses", ApiMode.RESPONSES),
        ("https://x/v1/responses/?a=1", ApiMode.RESPONSES),
        ("https://x/v1/images/edits", ApiMode.IMAGES_EDITS),
        ("https://x/v1/images/generations/", ApiMode.IMAGES_EDITS),
        ("https://x/anything", ApiMode.CHAT_COMPLETIONS),
        ("https://x/responses/chat", ApiMode.CHAT_COMPLETIONS),
    ],
)
def test_auto_mode_looks_at_the_path(url: str, mode: ApiMode) -> None:
    """The path of the URL tells the mode; a chosen mode wins over it."""
    assert ApiConfig(api_url=url).mode is mode
    assert ApiConfig(api_url=url, api_mode=ApiMode.RESPONSES).mode is ApiMode.RESPONSES


def test_repr_and_masked_hide_the_key() -> None:
    """Whoever prints a configuration shows no key."""
    config = ApiConfig(api_key="secret")
    assert "secret" not in f"{config!r} {config} {[config]}"
    assert config.masked().api_key == PLACEHOLDER
    assert ApiConfig().masked().api_key == ""


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(), JSON, max_size=6))
def test_a_stored_configuration_always_loads(data: dict[str, Any]) -> None:
    """Whatever a file holds, a valid configuration comes of it, every number within its range."""
    config, _ = parse_stored(data)
    for spec in describe():
        value = getattr(config, spec.name)
        if spec.minimum is not None and value is not None:
            assert value >= spec.minimum
        if spec.maximum is not None and value is not None:
            assert value <= spec.maximum
    written = msgspec.json.encode(config)  # compared as JSON, which knows no NaN
    again = msgspec.json.encode(msgspec.json.decode(written, type=ApiConfig))
    assert msgspec.json.decode(again) == msgspec.json.decode(written)


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3))
def test_an_entered_configuration_loads_or_names_the_field(data: dict[str, Any]) -> None:
    """What a person enters is taken or refused by the name of one of the fields they sent."""
    refused = None
    try:
        config, warnings = parse_entered(data)
    except InvalidInput as error:
        refused = error.field
    else:
        assert (isinstance(config, ApiConfig), warnings) == (True, [])
    assert refused is None or refused in data


def test_what_cannot_be_read_takes_its_default_and_is_named() -> None:
    """A stored value of the wrong kind does not spoil the rest."""
    config, warnings = parse_stored({"max_tokens": "x", "api_mode": "y", "temperature": 9, "model_name": " m ", "z": 1})
    assert (config.max_tokens, config.api_mode, config.temperature, config.model_name) == (65535, "auto", 2, "m")
    assert {(warning.code, warning.field) for warning in warnings} == {
        (Code.FIELD_TYPE, "max_tokens"), (Code.FIELD_CHOICE, "api_mode"), (Code.FIELD_UNKNOWN, "z"),
    }  # fmt: skip


def test_prompts_keep_their_spaces_and_short_fields_do_not() -> None:
    """White space around a URL is an accident; in a prompt it may be meant."""
    config, _ = parse_entered({"user_prompt": " a\n", "api_url": " https://x/ ", "api_key": " k\n"})
    assert (config.user_prompt, config.api_url, config.api_key) == (" a\n", "https://x/", "k")


@pytest.mark.parametrize(
    "pasted",
    [
        "Bearer sk-test", "bearer  sk-test", "Authorization: Bearer sk-test", "x-api-key: sk-test", "\ufeffsk-test",
        "sk-test\u200b", '"sk-test"', "“Bearer sk-test”", "'Authorization: Bearer \u200bsk-test' ", "sk-\u200btest\r\n",
    ],
)  # fmt: skip
def test_a_pasted_key_is_cleaned(pasted: str) -> None:
    """What came along with a key is taken off, whether it is entered or stood in an older file."""
    assert parse_entered({"api_key": pasted})[0].api_key == parse_stored({"api_key": pasted})[0].api_key == "sk-test"


@pytest.mark.parametrize("pasted", ["sk\u2014test", "sk test", "密钥", "sk-\x07", "sk\n-test"])
def test_a_key_that_no_header_carries_is_refused(pasted: str) -> None:
    """It is refused before any call, by its field and the letter; a stored one stays as it is."""
    with pytest.raises(InvalidInput) as refused:
        parse_entered({"api_key": pasted})
    assert (refused.value.code, refused.value.field) == (Code.KEY_UNUSABLE, "api_key")
    assert pasted not in str(refused.value.params)
    assert parse_stored({"api_key": pasted})[0].api_key == pasted


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://API.x.ai/v1", "https://api.x.ai:443"),
        ("http://h:80/", "http://h:80"),
        ("HTTP://h./", "http://h:80"),
        ("http://h:8000/a?b#c", "http://h:8000"),
        ("http://[::1]:8/", "http://::1:8"),
        ("http://a@h/", ""),
        ("http://evil\\@h/", ""),
        ("http://h:99999/", ""),
        ("http://[bad", ""),
        ("no url", ""),
        ("", ""),
    ],
)
def test_origin(url: str, place: str) -> None:
    """Scheme, host and port in one writing; nothing for what can be read in two ways."""
    assert origin(url) == place
    assert may_lend_key(ApiConfig(api_url=url), ApiConfig(api_url=url)) is bool(place)


@pytest.mark.parametrize(
    ("url", "held", "sent", "lent"),
    [
        ("http://a.test/", "", "", True),
        ("http://a.test/", "", "direct", True),
        ("http://a.test/", "http://mine:1", "", True),
        ("http://a.test/", "http://mine:1", " http://mine:1 ", True),
        ("http://a.test/", "", "http://other:1", False),
        ("http://a.test/", "http://mine:1", "socks5://other:1", False),
        ("http://127.0.0.1:8000/", "direct", "http://other:1", False),
        ("https://a.test/", "", "http://other:1", True),
    ],
)
def test_a_proxy_that_could_read_the_key_does_not_get_it(url: str, held: str, sent: str, lent: bool) -> None:
    """Plain http through a proxy shows it all: only where the key was entered with this proxy, or none is named."""
    holder = ApiConfig(api_url=url, api_key="k", proxy=held)
    assert may_lend_key(holder, ApiConfig(api_url=url, proxy=sent)) is lent


def test_stored_keys_are_found_by_origin() -> None:
    """The first stored configuration of the same origin gives its key; a key of its own stays."""
    here, there = ApiConfig(api_url="https://a/x", api_key="ka"), ApiConfig(api_url="https://b/x", api_key="kb")
    sent = ApiConfig(api_url="https://b/y", api_key=PLACEHOLDER)
    assert with_stored_key(sent, [here, there]).api_key == "kb"
    own = ApiConfig(api_url="https://c", api_key="kc")
    assert with_stored_key(own, [here]) == own
    assert with_stored_key(ApiConfig(), []) == ApiConfig()
    for stranger in (ApiConfig(api_url="https://c"), ApiConfig(api_url="https://c", api_key=PLACEHOLDER)):
        with pytest.raises(InvalidInput) as caught:
            with_stored_key(stranger, [here, there])
        assert caught.value.code is Code.API_KEY_REQUIRED


@pytest.mark.parametrize(
    ("entered", "mode", "used"),
    [
        ("https://h", ApiMode.AUTO, "https://h/v1/chat/completions"),
        ("https://h/", ApiMode.IMAGES_EDITS, "https://h/v1/images/edits"),
        ("https://h/v1/", ApiMode.RESPONSES, "https://h/v1/responses"),
        ("https://h/v1", ApiMode.RECIPE, "https://h/v1"),
        ("https://h/api", ApiMode.AUTO, "https://h/api"),
    ],
)
def test_a_base_address_is_completed_by_the_mode(entered: str, mode: ApiMode, used: str) -> None:
    """Only a host, or a host and /v1, gets the path of its mode; what has a path stays."""
    assert ApiConfig(api_url=entered, api_mode=mode).complete_url == used
