"""The trial: a few pictures drawn from all of them, asked in several ways, and what came of each. Pure."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from random import Random

import msgspec

from engine.config import ApiConfig
from engine.errors import Code, InvalidInput
from engine.models import FINISHED, SourceImage, Task, TaskStatus
from engine.vision.rounds import best_result

MAX_COLUMNS = 8
MAX_SAMPLE = 200
_WIDE, _TALL = 1.2, 1 / 1.2
_REFUSED = frozenset({Code.CONTENT_REFUSED})


class Column(msgspec.Struct, frozen=True):
    """One way of asking. ``config`` holds the key."""

    name: str
    config: ApiConfig


class Row(msgspec.Struct):
    """A picture and its task in each column. ``vote``: the best column, -1 for none, None while nobody said."""

    source_path: str
    cells: list[str]
    vote: int | None = None


class Trial(msgspec.Struct, kw_only=True):
    """A trial as it is kept. ``at`` in Unix seconds; ``seconds`` a call took, by task."""

    id: str
    input_path: str
    seed: int
    at: int
    columns: list[Column]
    rows: list[Row]
    seconds: dict[str, float] = {}


class ColumnTally(msgspec.Struct, frozen=True, kw_only=True):
    """A column with what came of it. ``seconds`` a picture, on average; ``cost`` by the price of its connection."""

    name: str
    user_prompt: str
    model_name: str
    price_per_call: float
    done: int
    failed: int
    refused: int
    wins: int
    mean_score: float | None
    calls: int
    cost: float
    seconds: float | None


def check_sample(sample: int, columns: int) -> None:
    """Raises InvalidInput for a trial of none or too many."""
    for field, value, most in (("sample", sample, MAX_SAMPLE), ("columns", columns, MAX_COLUMNS)):
        if not 1 <= value <= most:
            raise InvalidInput(Code.FIELD_RANGE, field=field, name=field, minimum=1, maximum=most, value=value)


def draw(
    pictures: Sequence[SourceImage], count: int, seed: int, shape: Callable[[SourceImage], float | None]
) -> list[SourceImage]:
    """``count`` pictures, the same ones for the same seed, spread over folders, sizes and shapes; in natural order.

    ``shape``: width by height of a picture, None where not known. Each draw takes from what was drawn from least:
    first of the folder, then of the shape, then of the size in bytes (its power of two).
    """
    kinds: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for place, picture in enumerate(pictures):
        kinds[(os.path.dirname(picture.path), _shape_name(shape(picture)), picture.size.bit_length())].append(place)  # noqa: PTH120 - text is enough here
    chance = Random(seed)  # noqa: S311 - a draw that can be repeated, no secret
    left = sorted(kinds)
    chance.shuffle(left)
    for places in kinds.values():
        chance.shuffle(places)
    drawn: list[int] = []
    times: tuple[dict[object, int], ...] = (defaultdict(int), defaultdict(int), defaultdict(int))
    while left and len(drawn) < count:
        kind = min(left, key=lambda kind: tuple(seen[part] for seen, part in zip(times, kind, strict=True)))
        drawn.append(kinds[kind].pop())
        for seen, part in zip(times, kind, strict=True):
            seen[part] += 1
        if not kinds[kind]:
            left.remove(kind)
    return [pictures[place] for place in sorted(drawn)]


def _shape_name(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return "wide" if ratio > _WIDE else "tall" if ratio < _TALL else "square"


def tally(trial: Trial, tasks: Mapping[str, Task]) -> list[ColumnTally]:
    """What came of each column so far; tasks that were deleted since do not count."""
    told = []
    for number, column in enumerate(trial.columns):
        own = [tasks[row.cells[number]] for row in trial.rows if row.cells[number] in tasks]
        best = [result.judgement.score for task in own if (result := best_result(task.results)) and result.judgement]
        calls = sum(task.attempts for task in own)
        spans = [trial.seconds[task.id] for task in own if task.id in trial.seconds]
        told.append(
            ColumnTally(
                name=column.name,
                user_prompt=column.config.user_prompt,
                model_name=column.config.model_name,
                price_per_call=column.config.price_per_call,
                done=sum(task.status in (TaskStatus.DONE, TaskStatus.PARTIAL_SUCCESS) for task in own),
                failed=sum(task.status is TaskStatus.FAILED for task in own),
                refused=sum(task.error is not None and task.error.code in _REFUSED for task in own),
                wins=sum(row.vote == number for row in trial.rows),
                mean_score=round(sum(best) / len(best), 2) if best else None,
                calls=calls,
                cost=_cost(own, calls * column.config.price_per_call),
                seconds=round(sum(spans) / len(spans), 2) if spans else None,
            )
        )
    return told


def _cost(tasks: Sequence[Task], estimate: float) -> float:
    """What the results are known to have cost; the estimate where nothing is known."""
    known = [result.cost for task in tasks for result in task.results if result.cost is not None]
    return round(sum(known) if known else estimate, 10)


def is_over(trial: Trial, tasks: Mapping[str, Task]) -> bool:
    """Whether every cell has ended."""
    return all(tasks[cell].status in FINISHED for row in trial.rows for cell in row.cells if cell in tasks)
