"""The orders of the task list: those that the store knows, and those by what the last preflight measured."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

from bridge.app import App
from engine.dataset.preflight import Numbers
from engine.models import Task, TaskMatch, TaskSort
from engine.tasks.store import Outline, Page


class ListSort(StrEnum):
    """Orders of the list. From ``change`` on numbers of the last preflight, the largest of a task's results."""

    ORDER = "order"
    NAME = "name"
    STATUS = "status"
    UPDATED = "updated"
    SCORE = "score"
    CHANGE = "change"
    LIKENESS = "likeness"
    SHIFT = "shift"
    ZOOM = "zoom"
    COLOUR_DRIFT = "colour_drift"
    CONTENT_DRIFT = "content_drift"


_MEASURED: Final[dict[ListSort, Callable[[Numbers], float | None]]] = {
    ListSort.CHANGE: lambda numbers: numbers.change,
    ListSort.LIKENESS: lambda numbers: numbers.likeness,
    ListSort.SHIFT: lambda numbers: numbers.shift,
    ListSort.ZOOM: lambda numbers: numbers.zoom,
    ListSort.COLOUR_DRIFT: lambda numbers: numbers.colour_drift,
    ListSort.CONTENT_DRIFT: lambda numbers: numbers.content_drift,
}


def outline(app: App, match: TaskMatch, sort: ListSort, *, descending: bool) -> Outline:
    """The whole filtered, sorted list as ids; what was not measured comes last, either way."""
    if sort not in _MEASURED:
        return app.store.outline(match, TaskSort(sort), descending)
    asked = (app.project_id, app.store.revision(), app.preflight and app.preflight[0], match, sort, descending)
    kept = app.outlined  # page after page of one list is asked for
    if kept is None or kept[0] != asked:
        kept = app.outlined = asked, _measured_outline(app, match, sort, descending=descending)
    return kept[1]


def _measured_outline(app: App, match: TaskMatch, sort: ListSort, *, descending: bool) -> Outline:
    number_of = _MEASURED[sort]
    measured: dict[str, float] = {}
    if app.preflight is not None:
        report = app.preflight[1]
        for pair_id, numbers in report.numbers.items():
            number, task_id = number_of(numbers), report.tasks.get(pair_id, "")
            if number is not None:
                measured[task_id] = max(number, measured.get(task_id, number))
    found = app.store.outline(match, TaskSort.ORDER, False)
    undecided = {found.ids[place] for place in found.undecided}
    known = sorted((one for one in found.ids if one in measured), key=measured.__getitem__, reverse=descending)
    ids = [*known, *(one for one in found.ids if one not in measured)]
    return Outline(ids, [place for place, one in enumerate(ids) if one in undecided])


def page(app: App, match: TaskMatch, sort: ListSort, *, descending: bool, offset: int, limit: int) -> Page:
    """A part of the same list."""
    if sort not in _MEASURED:
        return app.store.page(match, TaskSort(sort), descending, offset, limit)
    ids = outline(app, match, sort, descending=descending).ids
    wanted = ids[offset : offset + limit]
    tasks: dict[str, Task] = {task.id: task for task in app.store.tasks(TaskMatch(ids=tuple(wanted)))}
    return Page(len(ids), [tasks[one] for one in wanted if one in tasks])
