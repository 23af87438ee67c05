"""The demo's judge: simple measures of the pictures that a question shows, each answer marked as the demo's. Pure.

It sees whether anything changed, whether edges stayed where they were, and whether there is something to see. It reads
no prompt, and says so: that is what a vision model is for.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import msgspec

from bridge.demo.orders import OrderRefused, read_inline
from engine.tasks.alarm import PictureFeatures, features_of, is_unchanged, likeness

JUDGE_MODEL = "demo-judge"
NOTE = "演示评分（仅为简单测量，没有询问模型）· Demo score, measured only, no model asked"
_INTENTION = re.compile(r"^Intention: (.*)$", re.MULTILINE)
_MADE = frozenset({"instruction", "success"})
_KEPT = frozenset({"preservation", "overediting", "framing", "content", "colour"})
_CLEAN = frozenset({"technical", "artifacts"})
_COLOURS = {
    "red": (200, 60, 50), "orange": (220, 140, 50), "yellow": (220, 210, 90), "green": (80, 150, 70),
    "blue": (70, 110, 190), "purple": (130, 80, 160), "dark": (30, 30, 35), "grey": (128, 128, 128),
    "light": (225, 225, 225),
}  # fmt: skip


class Question(msgspec.Struct, frozen=True):
    """A question about pictures. ``schema``: of the answer; ``labels`` stand before the pictures."""

    text: str
    labels: list[str]
    pictures: list[PictureFeatures]
    schema: dict[str, Any]


def read_question(body: bytes) -> Question | None:
    """The question in a chat request that asks for an answer by schema; None for any other request.

    Raises OrderRefused for pictures that cannot be read.
    """
    try:
        value = msgspec.json.decode(body)
        schema = value["response_format"]["json_schema"]["schema"]
        parts = value["messages"][-1]["content"]
        words = [part["text"] for part in parts if part["type"] == "text"]
        labels, pictures = [], []
        for before, part in pairwise(parts):
            if part["type"] == "image_url":
                labels.append(before.get("text", ""))
                pictures.append(part["image_url"]["url"])
        properties = schema["properties"]
    except (msgspec.DecodeError, KeyError, TypeError, IndexError, AttributeError):
        return None
    if not isinstance(properties, dict) or not pictures:
        return None
    features = [features_of(read_inline(picture)) for picture in pictures]
    if None in features:
        raise OrderRefused(400, "A picture cannot be decoded", "messages")
    return Question(words[0], labels, [one for one in features if one is not None], schema)


def answer(question: Question) -> dict[str, Any]:
    """The demo's answer, in the form that was asked for."""
    properties = question.schema["properties"]
    if "scores" in properties:
        return _judgement(question, list(properties["scores"].get("properties", {})))
    if "better" in properties:
        return {"better": _better(question)}
    name = next(iter(properties), "text")
    intention = _INTENTION.search(question.text)
    if intention is not None:
        return {name: f"{intention[1]} — mostly {_colour(question.pictures[0])} here [demo]"}
    return {name: _changes(*_source_and_results(question)[:2])}


def _source_and_results(question: Question) -> list[PictureFeatures]:
    """The source first, whatever the order in which they were shown."""
    results = [one for label, one in zip(question.labels, question.pictures, strict=True) if "RESULT" in label]
    others = [one for one in question.pictures if one not in results]
    return [*(others[:1] or results[:1]), *(results or question.pictures[-1:])]


def _judgement(question: Question, criteria: list[str]) -> dict[str, Any]:
    source, result, *_ = _source_and_results(question)
    made, kept, clean = _measures(source, result)
    scores = {}
    for name in criteria:
        score = made if name in _MADE else kept if name in _KEPT else clean if name in _CLEAN else (kept + clean) / 2
        scores[name] = round(score, 1)
    change = _change(source, result)
    return {"scores": scores, "reason": f"{NOTE}: change {change:.0f}, likeness {likeness(source, result):.2f}"}


def _measures(source: PictureFeatures, result: PictureFeatures) -> tuple[float, float, float]:
    """Whether something was made, whether the rest was kept, whether it is clean; 0..10 each."""
    made = 1.0 if is_unchanged(source, result) else min(10.0, 6 + _change(source, result) / 8)
    kept = min(10.0, max(0.0, 12 * likeness(source, result)))
    return made, kept, min(10.0, result.spread / 12)


def _better(question: Question) -> str:
    source, *results = _source_and_results(question)
    marks = [sum(_measures(source, result)) for result in results[:2]]
    if len(marks) < 2 or abs(marks[0] - marks[1]) < 0.1:
        return "tie"
    return "A" if marks[0] > marks[1] else "B"


def _changes(source: PictureFeatures, result: PictureFeatures) -> str:
    lighter = sum(result.small) / len(result.small) - sum(source.small) / len(source.small)
    tone = "brighter" if lighter > 4 else "darker" if lighter < -4 else "as bright as before"
    return f"Make the picture {tone} and mostly {_colour(result)} [demo]"


def _change(source: PictureFeatures, result: PictureFeatures) -> float:
    return sum(abs(a - b) for a, b in zip(source.small, result.small, strict=True)) / len(source.small)


def _colour(seen: PictureFeatures) -> str:
    mean = [sum(seen.colours[channel::3]) / (len(seen.colours) // 3) for channel in range(3)]
    return min(_COLOURS, key=lambda name: sum(abs(a - b) for a, b in zip(mean, _COLOURS[name], strict=True)))
