"""Parameters of an operation as they come in, made into its Struct field by field, so that an error names its field."""

from __future__ import annotations

from typing import Any, TypeVar, get_type_hints

import msgspec

from engine.errors import Code, InvalidInput

P = TypeVar("P", bound=msgspec.Struct)


def read_params(kind: type[P], data: dict[str, Any]) -> P:
    """An instance of ``kind`` from loosely typed values ("5" is a number, "1" is true); unknown names are ignored.

    Raises InvalidInput with the field's name where one is missing or of the wrong type.
    """
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        if field.encode_name in data and not (data[field.encode_name] is None and not field.required):
            values[field.name] = _read(field.encode_name, hints[field.name], data[field.encode_name])
        elif field.required:
            raise InvalidInput(Code.FIELD_REQUIRED, field=field.encode_name, name=field.encode_name)
    return kind(**values)


def _read(name: str, hint: Any, raw: Any) -> Any:
    try:
        return msgspec.convert(raw, hint, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(Code.FIELD_TYPE, field=name, name=name, type=_type_name(hint)) from error


def _type_name(hint: Any) -> str:
    schema = msgspec.json.schema(hint)
    while "anyOf" in schema:
        schema = schema["anyOf"][0]
    return str(schema.get("type", "object"))
