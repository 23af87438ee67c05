"""Debug entries: long values cut, deep ones too, and the key in none of them however it is written."""

from __future__ import annotations

import html
import json
from urllib.parse import quote

import pytest

from engine.errors import Code, Problem
from engine.secrets import PLACEHOLDER
from engine.tasks.log import MAX_TEXT, Blanking, EditLog

KEY = 'sk-"a/b&ü+0123456789'


def test_long_and_deep_values_are_cut() -> None:
    """A text says how long it was; lists, objects and depth have their bounds."""
    log = EditLog()
    deep: object = "bottom"
    for _ in range(12):
        deep = [deep]
    log.add(
        "event", text="x" * 5000, many=list(range(1000)), deep=deep, keys={f"k{number}": 1 for number in range(500)}
    )
    data = log.entries[0].data
    assert data["text"] == "x" * MAX_TEXT + "… (5000)"
    assert (len(data["many"]), len(data["keys"])) == (100, 100)
    assert "bottom" not in str(data["deep"])
    assert "…" in str(data["deep"])


def test_a_key_of_a_letter_garbles_nothing() -> None:
    """It stands in every text by chance."""
    assert Blanking("a").blank("answer_empty") == "answer_empty"


@pytest.mark.parametrize(
    "written",
    [KEY, quote(KEY), quote(KEY, safe=""), html.escape(KEY), json.dumps(KEY)[1:-1], json.dumps(KEY, ensure_ascii=False),
     KEY.upper(), KEY[:-4] + "…", KEY[:-3] + "… (9000)"],
)  # fmt: skip
def test_the_key_in_every_writing(written: str) -> None:
    """Plain, escaped, encoded, cut off at the end: it is blanked out."""
    log = EditLog(KEY)
    log.add("status", text=f"you sent {written}", nested=[{f"a {written}": written}])
    problem = log.without_key(Problem(Code.KEY_REFUSED, {"message": f"bad {written}", "status": 401}))
    for text in (str(log.entries[0].data), str(problem)):
        assert "0123" not in text
        assert PLACEHOLDER in text
    assert problem.params["status"] == 401


def test_a_key_at_the_cut() -> None:
    """A key that lies across the end of what is kept does not show its first half."""
    for before in range(MAX_TEXT - len(KEY) - 2, MAX_TEXT + 2):
        log = EditLog(KEY)
        log.add("event", data="x" * before + KEY + "y" * 1000)
        assert 'sk-"a' not in log.entries[0].data["data"]


def test_without_a_key_nothing_is_blanked() -> None:
    """An endpoint that needs no key has an ordinary log."""
    log = EditLog("")
    log.add("event", data="anything")
    assert log.entries[0].data == {"data": "anything"}
    assert log.without_key(Problem(Code.INTERNAL)) == Problem(Code.INTERNAL)
