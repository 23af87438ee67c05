"""Parameters of an operation as they come in, made into its Struct field by field, so that an error names its field.

Ranges and choices stand in the Struct's types (Meta, StrEnum); no handler checks them again.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, get_type_hints

import msgspec
from msgspec import inspect

from engine.errors import Code, InvalidInput

P = TypeVar("P", bound=msgspec.Struct)


def read_params(kind: type[P], data: dict[str, Any]) -> P:
    """An instance of ``kind`` from loosely typed values ("5" is a number, "1" is true, "a,b" a set, "1,2" and 1 are
    lists of numbers); unknown names are ignored. Raises InvalidInput with the field's name: FIELD_REQUIRED, FIELD_TYPE,
    FIELD_RANGE, FIELD_CHOICE."""
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        name = field.encode_name
        hint = _hints(kind)[field.name]
        if name in data and (field.required or not _is_empty(hint, data[name])):
            values[field.name] = _read(name, hint, data[name])
        elif field.required:
            raise InvalidInput(Code.FIELD_REQUIRED, field=name, name=name)
    return kind(**values)


@cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


@cache
def _type_of(hint: Any) -> inspect.Type:
    """What a hint says without its metadata and without None."""
    info = inspect.type_info(hint)
    if isinstance(info, inspect.Metadata):
        info = info.type
    if isinstance(info, inspect.UnionType):
        info = next(part for part in info.types if not isinstance(part, inspect.NoneType))
    return info


def _is_empty(hint: Any, raw: Any) -> bool:
    """Null, and the empty choice of older clients: both mean the default."""
    return raw is None or (raw == "" and isinstance(_type_of(hint), inspect.EnumType))


def _read(name: str, hint: Any, raw: Any) -> Any:
    info = _type_of(hint)
    if isinstance(info, inspect.StructType) and isinstance(raw, dict):
        return read_params(info.cls, raw)
    numbers = isinstance(info, inspect.ListType) and isinstance(info.item_type, inspect.IntType | inspect.FloatType)
    if isinstance(raw, str) and (numbers or isinstance(info, inspect.FrozenSetType)):
        raw = [part.strip() for part in raw.split(",") if part.strip()]
    if numbers and isinstance(raw, int | float) and not isinstance(raw, bool):
        raw = [raw]
    try:
        return msgspec.convert(raw, hint, strict=False)
    except msgspec.ValidationError as error:
        raise _refusal(name, info, raw) from error


def _refusal(name: str, info: inspect.Type, raw: Any) -> InvalidInput:
    """What is wrong with a value that does not fit its type."""
    if isinstance(info, inspect.FrozenSetType | inspect.ListType) and isinstance(raw, list):
        info = info.item_type
    if isinstance(info, inspect.EnumType):
        return choice_refused(name, [str(member.value) for member in info.cls])
    if isinstance(info, inspect.IntType | inspect.FloatType):
        number = int if isinstance(info, inspect.IntType) else float
        try:
            value = msgspec.convert(raw, number, strict=False)
        except msgspec.ValidationError:
            return InvalidInput(Code.FIELD_TYPE, field=name, name=name, type=_JSON_NAMES[type(info)])
        return InvalidInput(Code.FIELD_RANGE, field=name, name=name, minimum=info.ge, maximum=info.le, value=value)
    return InvalidInput(Code.FIELD_TYPE, field=name, name=name, type=_JSON_NAMES.get(type(info), "object"))


def choice_refused(name: str, choices: list[str]) -> InvalidInput:
    """The error that names a field and what may stand there."""
    return InvalidInput(Code.FIELD_CHOICE, field=name, name=name, choices=", ".join(choices))


_JSON_NAMES: dict[type, str] = {
    inspect.StrType: "string",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.BoolType: "boolean",
    inspect.ListType: "array",
    inspect.FrozenSetType: "array",
}
