"""The operations table as an OpenAPI 3.1 document, served at /api/openapi.json."""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from bridge.dispatch import checks_project
from bridge.http.access import TOKEN_HEADER
from bridge.operations import OPERATIONS, Kind, Operation
from bridge.usecases.common import TASK_ID_PATTERN, Upload
from bridge.views import ChangeView, ErrorBody
from engine.config import ApiConfig, describe
from engine.images.picture import MIME_TYPES

OPENAPI_PATH: Final = "/api/openapi.json"
EVENTS_PATH: Final = "/api/events"

_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
PROJECT_HEADER: Final = "X-Project"
_SWITCHED: Final = "another project is open than the one that `X-Project` names (`project_switched`)."
_REFUSED: Final = {
    "400": "Something entered cannot be used; `field` names what.",
    "401": "No access token, or a wrong one.",
    "403": "Not from this host, origin or machine.",
    "404": "No such task, result, preset, file or address.",
    "409": "Not now: something runs that excludes it.",
    "413": "More bytes than are taken.",
    "431": "Address and headers of more than 64 KB.",
}

Schema = dict[str, Any]


def document(version: str) -> Schema:
    """The whole document, ready for JSON; every answer that a route gives, refusals included, has its schema."""
    kinds = [operation.answer for operation in OPERATIONS if operation.kind is not Kind.PICTURE]
    kinds += [operation.params for operation in OPERATIONS]
    kinds += [kind.json for kind in kinds if issubclass(kind, Upload) and kind.json is not None]
    _, schemas = msgspec.json.schema_components([ErrorBody, ChangeView, ApiConfig, *kinds], ref_template=_REF)
    _add_ranges(schemas["ApiConfig"]["properties"])
    paths: dict[str, Schema] = {EVENTS_PATH: {"get": _events()}}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, schemas)
    answers = {operation.answer for operation in OPERATIONS}
    for operation in OPERATIONS:  # parameters stand in their operations, field by field
        if operation.params not in answers:
            schemas.pop(operation.params.__name__, None)
    return {
        "openapi": "3.1.0",
        "info": {"title": "image-batch-console", "version": version},
        "paths": paths,
        "security": [{}, {"header": []}, {"bearer": []}, {"query": []}],
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "header": {"type": "apiKey", "in": "header", "name": TOKEN_HEADER},
                "bearer": {"type": "http", "scheme": "bearer"},
                "query": {"type": "apiKey", "in": "query", "name": "token"},
            },
        },
    }


def _operation(operation: Operation, schemas: dict[str, Schema]) -> Schema:
    fields = _fields(operation, schemas)
    in_path = re.findall(r"\{(\w+)\}", operation.path)
    required = set(schemas[operation.params.__name__].get("required", ()))
    described: Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [_parameter(name, fields.pop(name), "path") for name in in_path],
        "responses": {"200": _answer(operation), **_refusals()},
    }
    if issubclass(operation.params, Upload):
        described["requestBody"] = _upload(operation.params)
    elif operation.method == "POST" and fields:
        body = {"type": "object", "properties": fields, "required": sorted(required & fields.keys())}
        described["requestBody"] = {"required": bool(body["required"]), "content": {_JSON: {"schema": body}}}
    elif operation.method != "POST":
        described["parameters"] += [_parameter(name, fields[name], "query", name in required) for name in fields]
    if checks_project(operation):
        described["parameters"].append(_project())
        described["responses"]["409"]["description"] += f" Or {_SWITCHED}"
    return described


def _fields(operation: Operation, schemas: dict[str, Schema]) -> dict[str, Schema]:
    fields = dict(schemas[operation.params.__name__].get("properties", {}))
    if "config" in fields:
        # Taken as any object, so that unknown and misspelt fields can be named; this is what is meant.
        nullable = "anyOf" in fields["config"]
        ref = {"$ref": _REF.format(name="ApiConfig")}
        fields["config"] = {"anyOf": [ref, {"type": "null"}]} if nullable else ref
    return fields


def _parameter(name: str, schema: Schema, place: str, required: bool = True) -> Schema:
    if place == "path":
        schema = {"type": "string", "pattern": f"^{TASK_ID_PATTERN}$"} if f"_{name}".endswith("_id") else schema
    elif "anyOf" in schema:  # a query has no null
        schema = next(kind for kind in schema["anyOf"] if kind != {"type": "null"})
    described: Schema = {"name": name, "in": place, "required": required, "schema": schema}
    if schema.get("type") == "array":  # commas between, as people write it
        described |= {"style": "form", "explode": False}
    return described


def _project() -> Schema:
    return {
        "name": PROJECT_HEADER,
        "in": "header",
        "required": False,
        "description": "The id of the project that is meant, `current` of GET /api/projects. Nothing is done where "
        "another one is open by now; without it, what is open is meant.",
        "schema": {"type": "string"},
    }


def _upload(kind: type[Upload]) -> Schema:
    file: Schema = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
    return {
        "required": True,
        "content": {
            **({} if kind.json is None else _content(_JSON, kind.json)),
            "multipart/form-data": {"schema": {**file, "required": ["file"]}},
        },
    }


def _answer(operation: Operation) -> Schema:
    if operation.kind is Kind.PICTURE:
        raster: Schema = {mime: {} for mime in MIME_TYPES}
        return {"description": "The picture, as the raster type that its bytes are.", "content": raster}
    summary = (operation.answer.__doc__ or "").strip()
    return {"description": summary, "content": _content(_JSON, operation.answer)}


def _refusals() -> Schema:
    return {status: {"description": text, "content": _content(_JSON, ErrorBody)} for status, text in _REFUSED.items()}


def _events() -> Schema:
    number: Schema = {"type": "integer", "minimum": 0}
    return {
        "operationId": "events",
        "summary": "Server-Sent Events: a snapshot, then what changes; the data of each event has this schema. After "
        "`Last-Event-ID`, or `since`, come the changes since; where more than `limit` tasks changed at once, "
        "`truncated` says so.",
        "parameters": [
            {"name": "Last-Event-ID", "in": "header", "required": False, "schema": number},
            *({"name": name, "in": "query", "required": False, "schema": number} for name in ("since", "limit")),
            {"name": "language", "in": "query", "required": False, "schema": {"type": "string"}},
        ],
        "responses": {
            "200": {"description": "The stream.", "content": _content("text/event-stream", ChangeView)},
            **_refusals(),
        },
    }


def _content(mime: str, kind: type[msgspec.Struct]) -> Schema:
    return {mime: {"schema": {"$ref": _REF.format(name=kind.__name__)}}}


def _add_ranges(properties: dict[str, Schema]) -> None:
    """What a person may enter; the bounds stand in the definition of each field."""
    for spec in describe():
        bounds = {"minimum": spec.minimum, "maximum": spec.maximum}
        properties[spec.name] |= {name: bound for name, bound in bounds.items() if bound is not None}
