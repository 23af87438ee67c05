"""One call of one operation, whichever door it came through: parameters read, handler run, failures put into words."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from bridge.operations import Operation
from bridge.params import read_params
from bridge.usecases.common import Context
from bridge.usecases.projects import shown_name
from bridge.views import ProblemView
from engine.errors import (
    Busy,
    Code,
    ConsoleError,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Problem,
    TooLarge,
)

log = logging.getLogger(__name__)

_STATUS: dict[type[ConsoleError], int] = {
    NotAuthenticated: 401,
    NotAllowed: 403,
    NotFound: 404,
    Busy: 409,
    TooLarge: 413,
}


class Failure(msgspec.Struct, frozen=True):
    """A call that did not work: the HTTP status, and what to say."""

    status: int
    error: ProblemView


_OF_ANY_PROJECT = frozenset(
    {
        "open_project",
        "create_project",
        "rename_project",
        "archive_project",
        "delete_project",
        "import_project",
        "save_ui",
    }
)
"""What changes something and says itself which project it means."""


def call(context: Context, operation: Operation, data: Callable[[], dict[str, Any]]) -> Any:
    """The handler's answer, or a Failure; never raises. ``data`` gives the parameters as they came, and may refuse."""

    def work() -> Any:
        if checks_project(operation):
            _check_project(context)
        return operation.handler(context, read_params(operation.params, data()))

    return attempt(context, operation.name, work)


def checks_project(operation: Operation) -> bool:
    """Whether it changes the project that is open, and is refused to who still sees another one."""
    return operation.method != "GET" and operation.name not in _OF_ANY_PROJECT


def _check_project(context: Context) -> None:
    """Busy (PROJECT_SWITCHED) where the asker still sees another project: what it asks for was meant for that one."""
    app = context.app
    if context.project and context.project != app.project_id:
        raise Busy(Code.PROJECT_SWITCHED, name=shown_name(context, app.projects.get(app.project_id)))


def attempt(context: Context, name: str, work: Callable[[], Any]) -> Any:
    """What ``work`` gives, or a Failure; never raises."""
    try:
        with context.app.switching.using():
            return work()
    except ConsoleError as error:
        return failure(context, error)
    except Exception:  # a door's outermost edge
        log.exception("operation %s failed", name)
        return Failure(500, context.view.problem(Problem(Code.INTERNAL)))


def failure(context: Context, error: ConsoleError) -> Failure:
    """An error with its status and words. What is wrong but has no status of its own is the asker's to mend: 400."""
    return Failure(_STATUS.get(type(error), 400), context.view.problem(error.problem))
