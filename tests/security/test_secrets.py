"""One notion of a secret: what exports, sets, logs and answers leave out, and what never follows to another origin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine import secrets
from engine.config import ApiConfig
from engine.secrets import PLACEHOLDER
from engine.upstream.request import HttpRequest, describe_request
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline

HIDDEN = {name: f"hidden-{name}-7f3a" for name in ("url", "header", "body", "proxy", "goog")}
KEPT = {"size": "1024x1024", "max_tokens": 5, "token_field": "auto", "keyboard": "yes", "monkey": 1}


def with_secrets(url: str) -> dict[str, Any]:
    """Settings with a secret in every place that can hold one."""
    return {
        "api_url": f"{url}?key={HIDDEN['url']}&page=1",
        "extra_headers": {"apikey": HIDDEN["header"], "X-Goog-Api-Key": HIDDEN["goog"], "X-Title": "mine"},
        "extra_body": {"auth_token": HIDDEN["body"], **KEPT},
    }


def test_no_secret_leaves_by_any_answer_export_or_set(tmp_path: Path) -> None:
    """Whatever it is called: state, presets, debug log, exported set; sent back masked, it is there as before."""
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        fake.answer(inline("chat_completions", picture(3)))  # type: ignore[arg-type]
        config = config_for(fake)
        config |= with_secrets(str(config["api_url"]))
        tasks = door.run(source_folder(tmp_path / "in", 1), config)
        sent = fake.requests[-1]
        assert (sent.headers["apikey"], json.loads(sent.body)["auth_token"]) == (HIDDEN["header"], HIDDEN["body"])
        door.post("/api/presets/save", {"name": "mine"})
        shown = [door.ask("GET", path).text for path in ("/api/state", "/api/presets/export")]
        shown.append(door.ask("GET", f"/api/tasks/{tasks[0]['id']}/debug").text)
        current = door.state()["current_config"]
        door.post("/api/config/current", {"config": current})
        assert door.app.preferences.config.extra_body == config["extra_body"]
        assert door.app.preferences.config.api_url == config["api_url"]
        door.post("/api/dataset/export", {"output_dir": str(tmp_path), "trainer": "ai_toolkit"})
        assert door.app.jobs.wait_idle(20)
        shown += [file.read_text() for file in tmp_path.rglob("metadata.jsonl")]
        assert len(shown) == 4
        assert not [(value, text[:60]) for value in HIDDEN.values() for text in shown if value in text]
        assert all("1024x1024" in text for text in shown)
        door.refused(
            400, "api_key_required", "POST", "/api/config/current",
            {"config": {**current, "api_url": "https://elsewhere.example/v1/chat/completions", "api_key": "another"}},
        )  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "stored", "filled"),
    [
        ("http://u:********@proxy:1", "http://u:pw@proxy:1", "http://u:pw@proxy:1"),
        ("http://u:********@evil:1", "http://u:pw@proxy:1", "http://u:********@evil:1"),
        ("https://h/a?key=********&n=2", "https://h/b?n=1&key=k1", "https://h/a?key=k1&n=2"),
        ("https://h/a?key=********", "https://evil/a?key=k1", "https://h/a?key=********"),
        ({"a": {"token": PLACEHOLDER}}, {"a": {"token": "t"}}, {"a": {"token": "t"}}),
        ([PLACEHOLDER, 1], ["x"], ["x", 1]),
        ("plain ********", "other", "plain ********"),
        ("https://h/a?x=********", "https://h/a?x=sk-0123456789abcdef01", "https://h/a?x=sk-0123456789abcdef01"),
        ("http://********@proxy:1", "http://tok-1@proxy:1", "http://tok-1@proxy:1"),
    ],
)
def test_placeholders_are_filled_from_their_own_place(sent: Any, stored: Any, filled: Any) -> None:
    """And a URL's only from one of the same scheme, host and port."""
    assert secrets.fill(sent, stored) == filled


HIDING = (
    "apikey", "X-Goog-Api-Key", "appKey", "userToken", "refresh_token", "id-token", "X-Auth", "Authentication", "sign",
    "X-Sign", "hmac", "ak", "passphrase", "proxy_pass", "Ocp-Apim-Subscription-Key", "x-functions-key", "botToken",
    "PRIVATE-TOKEN", "X-Amz-Security-Token", "sessionid", "Set-Cookie2", "X-License-Key",
)  # fmt: skip
TELLING_FORMS = (
    "Bearer abcdefgh12345", "Basic dXNlcjpwdw==", "sk-0123456789abcdef01", "xai-0123456789abcdef01",
    "AIza0123456789012345678901234567890", "eyJhbGciOiJI.eyJzdWIiOiIx.c2ln", "http://tok-123456@proxy:1",
    "https://h/?x=sk-0123456789abcdef01", "https://u:pw-12345@h/",
)  # fmt: skip
OPEN = (
    "size", "max_tokens", "token_field", "keyboard", "monkey", "passes", "assign", "design", "seed", "X-Title",
    "hotkey", "compass", "task", "break", "risk", "keys", "signal", "authors", "designKeys",
)  # fmt: skip


@pytest.mark.parametrize("headers", [True, False], ids=["headers", "body"])
def test_secrets_are_told_by_name_and_by_form(headers: bool) -> None:
    """Whatever a gateway calls them, and whatever they stand under; and nothing else is hidden."""
    values = dict.fromkeys(HIDING, "v-7f3a9") | {f"x{n}": value for n, value in enumerate(TELLING_FORMS)}
    kept = dict.fromkeys(OPEN, "open-1a2b")
    given = {**values, **kept}
    shown = secrets.mask(given)
    if headers:
        shown = describe_request(HttpRequest("POST", "https://h/", given, b"{}"))["headers"]
    assert {name: shown[name] for name in kept} == kept
    assert not [value for name, value in shown.items() if name not in kept and value == values[name]]
    assert not any(str(value) in json.dumps(secrets.without(given)).replace("v-7f3a9", "") for value in TELLING_FORMS)
    assert secrets.without(given).keys() - kept.keys() <= {"x6", "x7", "x8"}  # what is left of addresses
    assert secrets.fill(secrets.mask(given), given) == given


JSON = st.recursive(
    st.none() | st.integers() | st.text() | st.sampled_from(["https://u:pw@h/?key=v&x=1", "http://[", "a@b?c"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["key", "api_key", "x", "token", "size"]) | st.text(max_size=3), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(JSON)
def test_masking_hides_and_filling_restores(value: Any) -> None:
    """Any value: nothing that is found stays, masked twice is masked once, and filled in from itself it is whole."""
    masked = secrets.mask(value)
    assert secrets.mask(masked) == masked
    assert not [secret for secret in secrets.find(masked) if secret != PLACEHOLDER]
    assert not secrets.has_placeholder(secrets.without_placeholders(masked))
    assert not list(secrets.find(secrets.without(value)))
    config = ApiConfig(extra_body={"it": value})
    assert secrets.fill(config.masked().extra_body, config.extra_body) == config.extra_body
