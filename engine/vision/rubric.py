"""What a judge is asked and how its scores become one: rubrics are data, checked here. Pure but for the one file of
a person's own rubrics."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import Code, InvalidInput, NotFound, Problem
from engine.files import read_json, write_json

MAX_CRITERIA = 20
MAX_SCORE = 10.0
_NAME = re.compile(r"[^\x00-\x1f/\\]{1,60}")
_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_MAX_TEXT = 4000


class Combination(StrEnum):
    """How the scores of the criteria become one."""

    WEIGHTED = "weighted"
    MIN = "min"
    SQRT_MIN = "sqrt_min"
    GEOMETRIC = "geometric"


class Criterion(msgspec.Struct, frozen=True):
    """One question about a pair, answered by 0..10. ``question``: one text, or one by language. ``group``: which
    criteria SQRT_MIN takes the least of; where none names one, the first half is one group and the rest the other."""

    id: str
    weight: float = 1.0
    question: str | dict[str, str] = ""
    group: str = ""


class Rubric(msgspec.Struct, frozen=True):
    """What is asked of a pair. ``instructions``: one text, or one by language."""

    name: str
    criteria: tuple[Criterion, ...] = ()
    combination: Combination = Combination.WEIGHTED
    instructions: str | dict[str, str] = ""
    built_in: bool = False

    def combine(self, scores: Mapping[str, float]) -> float:
        """The score of a pair, 0..10, from that of each criterion; KeyError if one is missing.

        VIEScore's rule for SQRT_MIN: the root of the product of the least of each group (of two groups; of n, the nth).
        """
        values = [scores[criterion.id] for criterion in self.criteria]
        weights = [criterion.weight for criterion in self.criteria]
        match self.combination:
            case Combination.MIN:
                score = min(values)
            case Combination.SQRT_MIN:
                least = self._least_of_groups(values)
                score = math.prod(least) ** (1 / len(least))
            case Combination.GEOMETRIC:
                score = 0.0
                if all(value > 0 for value, weight in zip(values, weights, strict=True) if weight):
                    logs = (w * math.log(v) for v, w in zip(values, weights, strict=True) if w)
                    score = math.exp(sum(logs) / sum(weights))
            case _:
                score = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
        return round(min(max(score, 0.0), MAX_SCORE), 2)

    def _least_of_groups(self, values: Sequence[float]) -> list[float]:
        half = (len(values) + 1) // 2
        named = any(criterion.group for criterion in self.criteria)
        groups: dict[str, list[float]] = {}
        for place, (criterion, value) in enumerate(zip(self.criteria, values, strict=True)):
            groups.setdefault(criterion.group if named else str(place < half), []).append(value)
        return [min(group) for group in groups.values()]

    def asks(self) -> str:
        """What of it a model reads: two rubrics that ask the same are paid for once, whatever their weights."""
        questions = [(criterion.id, criterion.question) for criterion in self.criteria]
        return msgspec.json.encode([questions, self.instructions], order="deterministic").decode()


def said(text: str | Mapping[str, str], language: str) -> str:
    """A text in a language, or in the one there is."""
    if isinstance(text, str):
        return text
    return text.get(language) or text.get("en") or next(iter(text.values()), "")


def read_rubric(data: Mapping[str, Any]) -> Rubric:
    """A rubric as entered; InvalidInput naming the field."""
    try:
        rubric = msgspec.convert({**data, "built_in": False}, Rubric, strict=False)
    except msgspec.ValidationError as error:
        where = str(error).rpartition("`$.")[2].rstrip("`").partition("[")[0] or "rubric"
        if where == "combination":
            raise InvalidInput(Code.FIELD_CHOICE, field=where, name=where, choices=", ".join(Combination)) from error
        raise InvalidInput(Code.FIELD_TYPE, field=where, name=where, type="rubric") from error
    check_rubric(rubric)
    return rubric


def check_rubric(rubric: Rubric) -> None:
    """Raises InvalidInput for what no judge could be asked with."""
    if not _NAME.fullmatch(rubric.name.strip()):
        raise InvalidInput(Code.FIELD_REQUIRED, field="name", name="name")
    count = len(rubric.criteria)
    if not 1 <= count <= MAX_CRITERIA:
        raise _range("criteria", 1, MAX_CRITERIA, count)
    ids = [criterion.id for criterion in rubric.criteria]
    if len(set(ids)) < count or not all(_ID.fullmatch(name) for name in ids) or "reason" in ids:
        raise InvalidInput(Code.FIELD_TYPE, field="criteria", name="criteria.id", type="identifier")
    for criterion in rubric.criteria:
        if not 0 <= criterion.weight <= 1000:  # which no NaN is
            raise _range("weight", 0, 1000, criterion.weight)
    if sum(criterion.weight for criterion in rubric.criteria) <= 0:
        raise _range("weight", 0.01, 1000, 0)
    texts = [rubric.instructions, *(criterion.question for criterion in rubric.criteria)]
    spoken = (text for entry in texts for text in ([entry] if isinstance(entry, str) else entry.values()))
    longest = max(map(len, spoken), default=0)
    if longest > _MAX_TEXT:
        raise _range("instructions", 0, _MAX_TEXT, longest)


def _range(name: str, low: float, high: float, value: float) -> InvalidInput:
    shown = value if math.isfinite(value) else str(value)
    return InvalidInput(Code.FIELD_RANGE, field=name, name=name, minimum=low, maximum=high, value=shown)


class RubricBook:
    """The built-in rubrics and a person's own, which stand in one file. Thread-safe."""

    def __init__(self, built_in: Sequence[Rubric], path: Path) -> None:
        self._built_in = {rubric.name: rubric for rubric in built_in}
        self._path = path
        self._lock = threading.Lock()
        stored, self.problems = read_json(path)
        self._own: dict[str, Rubric] = {}
        for entry in stored.get("rubrics", []) if isinstance(stored.get("rubrics"), list) else []:
            try:
                rubric = read_rubric(entry if isinstance(entry, dict) else {})
            except InvalidInput as error:
                self.problems = [*self.problems, Problem(error.code, error.params, "rubrics")]
                continue
            self._own[rubric.name] = rubric

    def all(self) -> list[Rubric]:
        """Built-in ones first."""
        return [*self._built_in.values(), *self._own.values()]

    def own(self) -> list[Rubric]:
        """Those of the person."""
        return list(self._own.values())

    def get(self, name: str) -> Rubric:
        """One by name; NotFound."""
        found = self._built_in.get(name) or self._own.get(name)
        if found is None:
            raise NotFound(Code.RUBRIC_UNKNOWN, name=name)
        return found

    def put(self, rubric: Rubric) -> None:
        """Keep an own one; the same name overwrites. InvalidInput for the name of a built-in one."""
        check_rubric(rubric)
        if rubric.name in self._built_in:
            raise InvalidInput(Code.RUBRIC_BUILT_IN, field="name", name=rubric.name)
        with self._lock:
            self._write({**self._own, rubric.name: msgspec.structs.replace(rubric, built_in=False)})

    def remove(self, name: str) -> None:
        """Forget an own one; NotFound, InvalidInput for a built-in one."""
        if name in self._built_in:
            raise InvalidInput(Code.RUBRIC_BUILT_IN, field="name", name=name)
        self.get(name)
        with self._lock:
            self._write({key: rubric for key, rubric in self._own.items() if key != name})

    def _write(self, own: dict[str, Rubric]) -> None:
        write_json(self._path, {"rubrics": list(own.values())})
        self._own = own


def read_built_in(folder: Path) -> list[Rubric]:
    """The rubrics that come with the program: one JSON file each."""
    rubrics = [read_rubric(msgspec.json.decode(path.read_bytes())) for path in sorted(folder.glob("*.json"))]
    return [msgspec.structs.replace(rubric, built_in=True) for rubric in rubrics]
