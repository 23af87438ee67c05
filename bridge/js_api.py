"""The JS door of the window: an object that holds one method for every operation of the table, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from bridge.console import Console
from bridge.dispatch import Failure, call
from bridge.messages import pick_language
from bridge.operations import OPERATIONS, Kind, Operation
from bridge.usecases.common import Caller
from bridge.usecases.looking import Picture


def make_js_api(console: Console, **extra: Callable[[dict[str, Any]], Any]) -> object:
    """``api.<name>(params)`` answers ``{ok: true, data}`` or ``{ok: false, error}``; it never raises.

    ``extra``: what only a window can do (native dialogs), under the same rules.
    """
    methods: dict[str, Any] = {operation.name: _method(console, operation) for operation in OPERATIONS}
    methods |= {name: _extra_method(console, name, function) for name, function in extra.items()}
    return type("Api", (), methods)()


def _method(console: Console, operation: Operation) -> Callable[..., dict[str, Any]]:
    def method(_self: object, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return _answer(call(console, operation, _parameters(operation, params), _caller(console)))

    method.__name__ = operation.name
    method.__doc__ = operation.summary
    return method


def _extra_method(console: Console, name: str, function: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
    def method(_self: object, params: dict[str, Any] | None = None) -> dict[str, Any]:
        row = Operation(name, "", "", _Free, _Free, lambda _console, free, _caller: function(free.values))
        return _answer(call(console, row, {"values": params or {}}, _caller(console)))

    method.__name__ = name
    return method


class _Free(msgspec.Struct, frozen=True):
    values: dict[str, Any]


def _parameters(operation: Operation, params: dict[str, Any] | None) -> dict[str, Any]:
    data = params if isinstance(params, dict) else {}
    if operation.kind is Kind.UPLOAD:  # a page hands the file's JSON over as it is
        return {"file": msgspec.to_builtins(msgspec.json.encode(data.get("data", data)))}
    return data


def _answer(answer: Any) -> dict[str, Any]:
    if isinstance(answer, Failure):
        return {"ok": False, "error": msgspec.to_builtins(answer.error)}
    if isinstance(answer, Picture):  # pictures do not cross the bridge
        return {"ok": True, "data": {"mime": answer.mime, "url": answer.url}}
    return {"ok": True, "data": msgspec.to_builtins(answer)}


def _caller(console: Console) -> Caller:
    return Caller(pick_language(str(console.preferences.ui.get("language", ""))), local=True)
