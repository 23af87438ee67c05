"""The catalogues: every code and field has its words in both languages, and every error brings what they name."""

from __future__ import annotations

import ast
import json
import re
import string
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from engine.config import describe
from engine.errors import Code

ROOT = Path(__file__).resolve().parent.parent
MESSAGES = ROOT / "assets" / "messages"
FIRST, SECOND = "zh-CN", "en"
CATALOGUES = sorted(path.name for path in (MESSAGES / FIRST).glob("*.json"))
SOURCES = sorted(path for part in ("launcher.py", "bridge/**/*.py", "engine/**/*.py") for path in ROOT.glob(part))


@cache
def load(language: str, name: str) -> dict[str, str]:
    """A catalogue as a flat mapping; a key that stands twice is an error."""

    def unique(pairs: list[tuple[str, str]]) -> dict[str, str]:
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), f"{language}/{name}: a key stands twice"
        return dict(pairs)

    text = (MESSAGES / language / name).read_text(encoding="utf-8")
    loaded: dict[str, str] = json.loads(text, object_pairs_hook=unique)
    return loaded


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_both_languages_have_the_same_catalogues() -> None:
    """No catalogue exists in one language only."""
    assert sorted(path.name for path in (MESSAGES / SECOND).glob("*.json")) == CATALOGUES


@pytest.mark.parametrize("name", CATALOGUES)
def test_catalogues_agree(name: str) -> None:
    """Both languages have the same keys in the same order, with the same placeholders, and no empty text."""
    first, second = load(FIRST, name), load(SECOND, name)
    assert list(first) == list(second)
    for key, text in first.items():
        assert text.strip(), key
        assert second[key].strip(), key
        if name != "page.json":  # the page has a format of its own
            assert placeholders(text) == placeholders(second[key]), key


@pytest.mark.parametrize("name", CATALOGUES)
def test_chinese_has_chinese_punctuation(name: str) -> None:
    """Half-width punctuation after a Chinese character is a typing error."""
    for key, text in load(FIRST, name).items():
        for before, mark in pairwise(text):
            assert not ("\u4e00" <= before <= "\u9fff" and mark in ",;?!"), f"{key}: {before}{mark}"


def test_every_code_has_words() -> None:
    """errors.json holds one message for each code, short reasons for some, and nothing else."""
    keys = load(FIRST, "errors.json").keys()
    assert {f"error.{code.value}" for code in Code} == {key for key in keys if key.startswith("error.")}
    reasons = {key for key in keys if not key.startswith("error.")}
    assert reasons <= {f"reason.{code.value}" for code in Code}


def test_reasons_fit_into_a_sentence() -> None:
    """A reason is a clause: no placeholder, no full stop, so that another message can hold it."""
    for language in (FIRST, SECOND):
        for key, text in load(language, "errors.json").items():
            if key.startswith("reason."):
                assert not placeholders(text), key
                assert not text.endswith(("。", ".")), key


def test_every_setting_has_words() -> None:
    """config.json holds label and help of each field, each choice and each group, and nothing else."""
    expected = set()
    for spec in describe():
        where = {f"{spec.help}.system", f"{spec.help}.file"} if spec.name == "api_key" else set()  # it is kept
        expected |= {spec.label, spec.help, *where, f"config.group.{spec.group}"}
        expected |= {f"config.choice.{spec.name}.{choice}" for choice in spec.choices or []}
    assert expected == set(load(FIRST, "config.json"))


def test_every_error_message_tells_what_to_do() -> None:
    """A message is at least two sentences: what happened, and what now."""
    for language, stop in ((FIRST, "。"), (SECOND, ".")):
        for key, text in load(language, "errors.json").items():
            if key.startswith("reason."):
                continue
            assert text.endswith(stop), f"{language} {key}"
            assert text.count(stop) + text.count("；") + text.count(";") + text.count(":") >= 2, f"{language} {key}"


@pytest.mark.parametrize("language", [FIRST, SECOND])
def test_what_errors_advise_can_be_seen(language: str) -> None:
    """A field, switch or button that an error names in quotation marks bears that name where people see it; both
    switches for local addresses are named where one of them is needed."""
    errors = load(language, "errors.json")
    names = [text.lower() for name in CATALOGUES if name != "errors.json" for text in load(language, name).values()]
    for key, text in errors.items():
        for named in set(re.findall("“([^”{}]+)”", text)) - {"@", "direct"}:  # these two are typed
            assert any(name.startswith(named.lower()) for name in names), f"{key}: {named}"
    for switch in ("unlock_local_api_url", "unlock_local_download_url"):
        label = load(language, "config.json")[f"config.{switch}.label"]
        assert all(f"“{label}”" in errors[f"error.{code}"] for code in ("address_private", "address_fake_ip"))
    assert "fake-ip" in errors["error.address_fake_ip"]


def _codes_in(node: ast.expr) -> list[Code]:
    """The codes that an argument may be: ``Code.X`` or a choice between several."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Code":
        return [Code[node.attr]]
    if isinstance(node, ast.IfExp):
        return _codes_in(node.body) + _codes_in(node.orelse)
    return []


def _params(call: ast.Call) -> set[str] | None:
    """Names of the parameters that the call passes; None when it forwards what only the run knows."""
    names = {keyword.arg for keyword in call.keywords if keyword.arg is not None}
    if len(names) < len(call.keywords):
        return None
    if len(call.args) > 1:
        if not isinstance(call.args[1], ast.Dict):
            return None
        names |= {str(key.value) for key in call.args[1].keys if isinstance(key, ast.Constant)}
    return names


def raised() -> Iterator[tuple[str, Code, set[str]]]:
    """Every place that makes an error from a literal code: where, code, parameters."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                params = _params(node)
                for code in _codes_in(node.args[0]):
                    if params is not None:
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", code, params


def test_errors_bring_what_their_words_name() -> None:
    """Each error made from a literal code has at least the parameters that its message uses."""
    places = list(raised())
    assert len(places) > 40
    for where, code, params in places:
        needed = placeholders(load(FIRST, "errors.json")[f"error.{code.value}"])
        assert needed <= params, f"{where}: {code.name} lacks {sorted(needed - params)}"


def test_every_code_is_used() -> None:
    """A code that nothing raises has no place in the table."""
    used = {
        node.attr
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Code"
    }
    assert {code.name for code in Code} - used == set()
