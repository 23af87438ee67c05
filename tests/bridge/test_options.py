"""Where the configuration of a ``run`` comes from: flags, variables, a file; each with its own way of being wrong."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bridge.terminal.flags import chosen_fields, make_parser
from bridge.terminal.set_flags import add_set_flags, chosen_sets
from engine.errors import Code, InvalidInput
from launcher import main
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
        ("IBC_EXTRA_BODY", '{"a": "\udcff"}', "object"),
        ("IBC_USER_PROMPT", "\udcff", "string"),
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


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        ([], "trainer", "ai_toolkit"),
        (["--export", "kohya", "--zip"], "as_zip", True),
        (["--allow", "blank", "--allow", "shifted"], "allow", {"blank", "shifted"}),
        (["--threshold", "shifted=0.6"], "thresholds", {"shifted": 0.6}),
        (["--folder-repeats", "a=b=3"], "folder_repeats", {"a=b": 3}),
        (["--resolution", "512", "--resolution", "768"], "resolution", [512, 768]),
        (["--validation", "0.5"], "validation", 0.5),
    ],
)
def test_flags_of_sets_are_the_fields(flags: list[str], name: str, value: Any) -> None:
    """Each field of a set has a flag, read and checked as the operation's parameters are."""
    parser = make_parser(MESSAGES, "en", "0")
    order = chosen_sets(parser.parse_args(["run", "in", "-o", "out", *flags]))
    assert getattr(order.options, name) == value
    assert order.export is ("--export" in flags)


@pytest.mark.parametrize(
    ("flags", "code", "field"),
    [
        (["--quality", "900"], Code.FIELD_RANGE, "quality"),
        (["--export", "nobody's"], Code.FIELD_CHOICE, "trainer"),
        (["--size-value", "much"], Code.FIELD_TYPE, "size_value"),
        (["--threshold", "shifted=far"], Code.FIELD_TYPE, "threshold"),
    ],
)
def test_wrong_flags_of_sets_are_named(flags: list[str], code: Code, field: str) -> None:
    """In the words of the operation, whose ranges and choices they are."""
    with pytest.raises(InvalidInput) as caught:
        chosen_sets(make_parser(MESSAGES, "en", "0").parse_args(["run", "in", "-o", "out", *flags]))
    assert (caught.value.code, caught.value.field) == (code, field)


def test_a_set_never_takes_the_flag_of_a_setting() -> None:
    """Where an API setting has the name, the set's flag says that it is the set's."""
    parser = argparse.ArgumentParser()
    add_set_flags(parser, str, taken={"seed", "quality"})
    given = parser.parse_args(["--set-seed", "4", "--set-quality", "90", "--trigger", "wc"])
    assert (given.set_seed, given.set_quality, given.set_trigger) == ("4", "90", "wc")
    with pytest.raises(SystemExit):
        parser.parse_args(["--seed", "4"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "in", "--concurency-limit", "3"], "image-batch-console: 不认识的参数：--concurency-limit 3"),
        (["run", "in", "--references", "all"], "--references 不能是“all”，可选：off, suffix, folders"),
        (["run", "in", "--variants", "two"], "--variants 的值“two”无效"),
        (["run", "in", "-o"], "-o/--output 后面缺少值"),
        (["run", "in", "-o", "out\udcff"], "out\\udcff”不符合终端的字符编码"),
        (["run", "in", "--user-prompt", "\udcff"], "不符合终端的字符编码"),
        (["fly"], "命令 不能是“fly”，可选：serve, run, trial"),
    ],
)
def test_wrong_use_is_one_line_in_the_persons_language(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be understood is named, without a page of flags before it."""
    with pytest.raises(SystemExit) as caught:
        make_parser(MESSAGES, "zh-CN", "0").parse_args(words)
    heard = capsys.readouterr()
    assert (caught.value.code, heard.out, heard.err.count("\n")) == (2, "", 1)
    assert said in heard.err


@pytest.mark.parametrize(
    "words",
    [
        *(["encode-webp", *told.split()] for told in ("", "x", "-h", "a b c d e f", "RGB 9 9 80", "RGB 0 9 80 4")),
        *(["encode-webp", *told.split()] for told in ("RGB 9 9 80 7", "RGB -1 9 80 4", f"RGB {'9' * 5000} 9 80 4")),
        *(["probe-window", *told.split()] for told in ("", "x", "native", "gtk qt", "--help")),
        *(
            ["run", "--demo", "-o", "out", flag, place]
            for flag in ("--judge", "--config")
            for place in ("pipe", "zero")
        ),
        *(["trial", "--demo", "--columns", place] for place in ("pipe", "zero", "large", "none", ".")),
    ],
)
def test_no_words_bring_more_than_one_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor hang, or read a device without end: what the program says to itself, and files that are none, included."""
    monkeypatch.setenv("APP_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("zero").symlink_to("/dev/zero")
    with Path("large").open("wb") as file:
        file.truncate(1 << 40)
    assert main(words) == 2
    heard = capsys.readouterr()
    assert (heard.out, heard.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("command", [[], ["serve"], ["run"], ["trial"]])
def test_help_begins_with_an_example_and_speaks_one_language(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Headings too; nothing of argparse's own English is left in the Chinese help."""
    with pytest.raises(SystemExit):
        make_parser(MESSAGES, "zh-CN", "0").parse_args([*command, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "示例:"
    assert lines[1].strip().startswith(" ".join(["image-batch-console", *command]))
    for english in ("usage:", "options:", "positional arguments", "show this help", "show program"):
        assert english not in "\n".join(lines)
