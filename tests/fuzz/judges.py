"""What a judge says, made from bytes: completions, streams, words around a JSON object, and objects of any kind."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from engine.errors import ConsoleError
from engine.vision.ask import answer_text, bill_in
from engine.vision.describe import read_text_field
from engine.vision.judge import read_answer
from engine.vision.rubric import MAX_SCORE, read_built_in
from tests.fuzz.recipes import Choices

_RUBRICS = read_built_in(Path(__file__).parents[2] / "assets" / "rubrics")
_PIECES = (
    '{"scores": {', '"}', "}", '": ', "8", "10", "-1", "11", "1e400", "NaN", "Infinity", '"7/10"', '"8.5"', "true",
    ', "', '"reason": "', "<think>", "</think>", "```json\n", "```", '{"score": 8}', "[", "]", "\\u0000", "：", "null",
    *(f'"{criterion.id}": ' for rubric in _RUBRICS for criterion in rubric.criteria),
)  # fmt: skip


def _said(by: Choices) -> str:
    return "".join(by.text() if by.number(9) == 8 else _PIECES[by.number(len(_PIECES))] for _ in range(by.number(30)))


def judge_answers(data: bytes) -> None:
    """Any body of a judge's answer is words or a typed refusal; of any words come whole scores within their range, a
    short reason, or nothing."""
    by = Choices(data[1:])
    way = data[0] % 4 if data else 0
    rubric = _RUBRICS[by.number(len(_RUBRICS))]
    text = _said(by) if way else data[1:].decode("utf-8", "replace")
    completion = msgspec.json.encode({"choices": [{"message": {"content": text}}], "usage": {"cost": 1}})
    body = {0: data[1:], 1: text.encode("utf-8", "replace"), 2: completion, 3: b"data: " + completion + b"\n\n"}[way]
    try:
        words = answer_text(body)
    except ConsoleError as error:
        msgspec.json.encode(error.problem)
        words = text
    bill = bill_in(body)
    assert bill is None or min(bill.amount or 0, bill.credits or 0) >= 0
    answered = read_answer(words, rubric)
    if answered is not None:
        assert answered.scores.keys() == {criterion.id for criterion in rubric.criteria}
        assert all(0 <= score <= MAX_SCORE and math.isfinite(score) for score in answered.scores.values())
        assert len(answered.reason) <= 500
        assert 0 <= rubric.combine(answered.scores) <= MAX_SCORE
        assert msgspec.json.decode(msgspec.json.encode(answered), type=type(answered)) == answered
    for name in ("caption", "prompt", "better"):
        found = read_text_field(words, name)
        assert found is None or found == " ".join(found.split())
