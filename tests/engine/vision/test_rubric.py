"""How scores become one, and which rubrics no judge can be asked with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.errors import Code, ConsoleError
from engine.vision.rubric import Combination, Criterion, Rubric, RubricBook, read_built_in, read_rubric

BUILT_IN = Path(__file__).parents[3] / "assets" / "rubrics"
SCORES = {"a": 9.0, "b": 4.0, "c": 1.0, "d": 16.0 / 4}


def rubric(combination: Combination, groups: str = "") -> Rubric:
    """Four criteria, the first weighing as much as the others together."""
    criteria = [
        Criterion(name, weight, group=group)
        for name, weight, group in zip("abcd", (3.0, 1.0, 1.0, 1.0), groups or [""] * 4, strict=True)
    ]
    return Rubric("own", tuple(criteria), combination)


@pytest.mark.parametrize(
    ("combination", "groups", "score"),
    [
        (Combination.WEIGHTED, "", (27 + 4 + 1 + 4) / 6),
        (Combination.MIN, "", 1.0),
        (Combination.SQRT_MIN, "", 2.0),  # root of 4 (of a and b) by 1 (of c and d)
        (Combination.SQRT_MIN, "xyyx", 2.0),  # root of 4 (of a and d) by 1 (of b and c)
        (Combination.GEOMETRIC, "", (9**3 * 4 * 1 * 4) ** (1 / 6)),
    ],
)
def test_combinations(combination: Combination, groups: str, score: float) -> None:
    """Each combination is what its papers say."""
    assert rubric(combination, groups).combine(SCORES) == pytest.approx(score, abs=0.01)


def test_a_zero_takes_the_geometric_mean_along() -> None:
    """One criterion of none is none altogether, as multiplying is."""
    assert rubric(Combination.GEOMETRIC).combine({**SCORES, "c": 0.0}) == 0.0


BAD: list[tuple[str, dict[str, Any], Code, str]] = [
    ("no criteria", {"criteria": []}, Code.FIELD_RANGE, "criteria"),
    ("forty criteria", {"criteria": [{"id": f"c{n}"} for n in range(40)]}, Code.FIELD_RANGE, "criteria"),
    ("weights of 0", {"criteria": [{"id": "a", "weight": 0}]}, Code.FIELD_RANGE, "weight"),
    ("a weight below 0", {"criteria": [{"id": "a", "weight": -1}, {"id": "b"}]}, Code.FIELD_RANGE, "weight"),
    ("one id twice", {"criteria": [{"id": "a"}, {"id": "a"}]}, Code.FIELD_TYPE, "criteria"),
    ("an id that is no word", {"criteria": [{"id": "a b"}]}, Code.FIELD_TYPE, "criteria"),
    ("no name", {"name": " "}, Code.FIELD_REQUIRED, "name"),
    ("another combination", {"combination": "mean"}, Code.FIELD_CHOICE, "combination"),
    ("a novel", {"instructions": "x" * 5000}, Code.FIELD_RANGE, "instructions"),
    ("no list", {"criteria": "a, b"}, Code.FIELD_TYPE, "criteria"),
]


@pytest.mark.parametrize(("what", "changes", "code", "field"), BAD, ids=[case[0] for case in BAD])
def test_bad_rubrics_are_refused_by_their_field(what: str, changes: dict[str, Any], code: Code, field: str) -> None:
    """What no judge could be asked with is named."""
    with pytest.raises(ConsoleError) as refused:
        read_rubric({"name": "own", "criteria": [{"id": "a"}], **changes})
    assert (refused.value.code, refused.value.field) == (code, field), what


def test_own_rubrics_stay_and_built_in_ones_are_safe(tmp_path: Path) -> None:
    """Own rubrics outlive the program; those that come with it can be neither replaced nor deleted."""
    built_in = read_built_in(BUILT_IN)
    assert [one.name for one in built_in] == ["edit_quality", "strict", "keep_the_rest"]
    assert {c.id: c.weight for c in built_in[0].criteria} == {
        "instruction": 0.4, "realism": 0.25, "preservation": 0.2, "technical": 0.15,
    }  # fmt: skip
    assert [c.id for c in built_in[1].criteria] == ["success", "overediting", "naturalness", "artifacts"]
    book = RubricBook(built_in, tmp_path / "rubrics.json")
    book.put(rubric(Combination.MIN))
    with pytest.raises(ConsoleError, match="rubric_built_in"):
        book.put(built_in[0])
    with pytest.raises(ConsoleError, match="rubric_built_in"):
        book.remove("strict")
    again = RubricBook(built_in, tmp_path / "rubrics.json")
    assert again.own() == [rubric(Combination.MIN)]
    again.remove("own")
    with pytest.raises(ConsoleError, match="rubric_unknown"):
        again.get("own")
