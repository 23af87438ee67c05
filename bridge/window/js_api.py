"""The JS door of the window: an object that holds one method for every operation of the table, and nothing else."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bridge.app import App
from bridge.dispatch import Failure, call, failure
from bridge.messages import DEFAULT_LANGUAGE, pick_language
from bridge.operations import OPERATIONS, Kind, Operation
from bridge.usecases.common import Caller
from bridge.usecases.pictures import Picture
from engine.errors import Code, ConsoleError, InvalidInput, TooLarge

Extra = Callable[[dict[str, Any]], Any]


def make_js_api(app: App, language: str = DEFAULT_LANGUAGE, extra: Mapping[str, Extra] | None = None) -> object:
    """``api.<name>(params)`` answers ``{ok: true, data}`` or ``{ok: false, error}``; it never raises.

    ``language``: of the answers, until the person chooses one on the page.
    ``extra``: what only a window can do (native dialogs), under the same rules.
    """

    def caller() -> Caller:
        return Caller(pick_language(str(app.preferences.ui.get("language", language))), local=True)

    rows = [*OPERATIONS, *(_row(name, function) for name, function in (extra or {}).items())]
    return type("Api", (), {row.name: _method(app, row, caller) for row in rows})()


class _Anything(msgspec.Struct, frozen=True):
    values: dict[str, Any]


def _row(name: str, function: Extra) -> Operation:
    return Operation(name, "", "", _Anything, _Anything, lambda _app, given, _caller: function(given.values))


def _method(app: App, operation: Operation, caller: Callable[[], Caller]) -> Callable[..., dict[str, Any]]:
    # pywebview hands on as many arguments as the page gave; one too many must not become an exception there.
    def method(_self: object, params: Any = None, *_more: object) -> dict[str, Any]:
        who = caller()
        try:
            given = _parameters(app, operation, params)
        except ConsoleError as error:
            return _answer(failure(app, error, who))
        return _answer(call(app, operation, given, who))

    method.__name__ = operation.name
    method.__doc__ = operation.summary
    return method


def _parameters(app: App, operation: Operation, params: Any) -> dict[str, Any]:
    if operation.kind is Kind.UPLOAD:
        return {"file": base64.b64encode(_upload(params, app.environment.max_preset_import)).decode()}
    if params is None:
        params = {}
    if not isinstance(params, dict):
        raise InvalidInput(Code.NOT_JSON)
    return {"values": params} if operation.params is _Anything else params


def _upload(params: Any, limit: int) -> bytes:
    """A page hands the file's JSON over as it is, parsed; TooLarge beyond ``limit`` bytes."""
    data = b"" if params is None else json.dumps(params, ensure_ascii=False).encode("utf-8", "replace")
    if len(data) > limit:
        raise TooLarge(Code.BODY_TOO_LARGE, limit=limit)
    return data


def _answer(answer: Any) -> dict[str, Any]:
    if isinstance(answer, Failure):
        return {"ok": False, "error": msgspec.to_builtins(answer.error)}
    if isinstance(answer, Picture):  # pictures do not cross the bridge
        return {"ok": True, "data": {"mime": answer.mime, "url": answer.url}}
    return {"ok": True, "data": msgspec.to_builtins(answer)}
