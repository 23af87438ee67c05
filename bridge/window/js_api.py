"""The JS door of the window: an object that holds one method for every operation of the table, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from bridge.app import App
from bridge.dispatch import Failure, attempt, call
from bridge.messages import DEFAULT_LANGUAGE, pick_language
from bridge.operations import OPERATIONS, Kind, Operation, upload_limit
from bridge.usecases.common import Context
from bridge.usecases.pictures import Picture
from engine.errors import Code, InvalidInput, TooLarge

Extra = Callable[[dict[str, Any]], Any]
_Work = Callable[[Context, Any], Any]


def make_js_api(app: App, language: str = DEFAULT_LANGUAGE, extra: Mapping[str, Extra] | None = None) -> object:
    """``api.<name>(params, project)`` answers ``{ok: true, data}`` or ``{ok: false, error}``; it never raises.
    ``project``: which one the page shows; may be left out.

    ``language``: of the answers, until the person chooses one on the page.
    ``extra``: what only a window can do (native dialogs), under the same rules.
    """

    def context(project: str) -> Context:
        return Context(app, pick_language(str(app.preferences.ui.get("language", language))), True, project)

    methods = {operation.name: _method(operation.name, _asking(operation), context) for operation in OPERATIONS}
    methods |= {name: _method(name, _requesting(name, function), context) for name, function in (extra or {}).items()}
    for operation in OPERATIONS:
        methods[operation.name].__doc__ = operation.summary
    return type("Api", (), methods)()


def _asking(operation: Operation) -> _Work:
    return lambda context, params: call(context, operation, lambda: _parameters(context.app, operation, params))


def _requesting(name: str, function: Extra) -> _Work:
    return lambda context, params: attempt(context, name, lambda: function(_object(params)))


def _method(name: str, work: _Work, context: Callable[[str], Context]) -> Callable[..., dict[str, Any]]:
    # pywebview hands on as many arguments as the page gave; one too many must not become an exception there.
    def method(_self: object, params: Any = None, project: object = "", *_more: object) -> dict[str, Any]:
        return _answer(work(context(project if isinstance(project, str) else ""), params))

    method.__name__ = name
    return method


def _parameters(app: App, operation: Operation, params: Any) -> dict[str, Any]:
    if operation.kind is Kind.UPLOAD:
        return {"file": _upload(params, upload_limit(operation, app.environment.max_preset_import))}
    return _object(params)


def _object(params: Any) -> dict[str, Any]:
    if params is None:
        return {}
    if not isinstance(params, dict):
        raise InvalidInput(Code.NOT_JSON)
    return params


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
