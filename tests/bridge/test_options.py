"""Where the configuration of a ``run`` comes from: flags, variables, a file; each with its own way of being wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.terminal.flags import chosen_fields, make_parser
from engine.errors import Code, InvalidInput
from tests.support.doors import MESSAGES


def fields(*flags: str, **environ: str) -> dict[str, Any]:
    """What a ``run`` with these flags and variables is told."""
    parser = make_parser(MESSAGES, "en", "0")
    return chosen_fields(parser.parse_args(["run", "in", "-o", "out", *flags]), environ)


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("IBC_MAX_RETRIES", "abc", "0..10"),
        ("IBC_TEMPERATURE", "9", "0..2"),
        ("IBC_PRICE_PER_CALL", "-1", "0.."),
        ("IBC_API_MODE", "soap", "chat_completions"),
        ("IBC_UNLOCK_LOCAL_API_URL", "perhaps", "boolean"),
        ("IBC_EXTRA_BODY", "{", "object"),
        ("IBC_EXTRA_HEADERS", '{"Authorization": "Bearer sk-secret"}', "object"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named(name: str, value: str, fits: str) -> None:
    """By its own name, with what would fit; what may be secret is not repeated."""
    with pytest.raises(InvalidInput) as caught:
        fields(**{name: value})
    assert (caught.value.code, caught.value.field) == (Code.SETTING_INVALID, name)
    said = MESSAGES.problem("en", caught.value.problem)
    assert name in said
    assert fits in said
    assert "sk-secret" not in said


def test_a_blank_variable_is_unset(tmp_path: Path) -> None:
    """It takes nothing away from what the file says; a flag may."""
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"api_key": "k", "user_prompt": "p"}))
    assert fields("--config", str(file), IBC_API_KEY="", IBC_USER_PROMPT=" ") == {"api_key": "k", "user_prompt": "p"}
    assert fields("--config", str(file), "--user-prompt", "")["user_prompt"] == ""


def test_numbers_of_a_file_are_clamped(tmp_path: Path) -> None:
    """As in every file; the same number in a flag is refused, and so is what is no number, wherever it stands."""
    file = tmp_path / "c.json"
    file.write_bytes(b"\xef\xbb\xbf" + json.dumps({"concurrency_limit": 900, "temperature": "-1"}).encode())
    assert fields("--config", str(file)) == {"concurrency_limit": 512, "temperature": 0}
    with pytest.raises(InvalidInput, match="field_range"):
        fields("--concurrency-limit", "900")
    file.write_text(json.dumps({"concurrency_limit": "many"}))
    with pytest.raises(InvalidInput, match="field_type"):
        fields("--config", str(file))
