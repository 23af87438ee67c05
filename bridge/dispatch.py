"""One call of one operation, whichever door it came through: parameters read, handler run, failures put into words."""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from bridge.app import App
from bridge.operations import Operation
from bridge.params import read_params
from bridge.usecases.common import Caller
from bridge.views import ProblemView, Viewer
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


def call(app: App, operation: Operation, data: dict[str, Any], caller: Caller) -> Any:
    """The handler's answer, or a Failure; never raises."""
    try:
        return operation.handler(app, read_params(operation.params, data), caller)
    except ConsoleError as error:
        return failure(app, error, caller)
    except Exception:  # a door's outermost edge
        log.exception("operation %s failed", operation.name)
        return Failure(500, Viewer(app.messages, caller.language).problem(Problem(Code.INTERNAL)))


def failure(app: App, error: ConsoleError, caller: Caller) -> Failure:
    """An error with its status and words. What is wrong but has no status of its own is the caller's to mend: 400."""
    view = Viewer(app.messages, caller.language).problem(error.problem)
    return Failure(_STATUS.get(type(error), 400), view)
