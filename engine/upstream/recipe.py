"""Owns the format of recipes, checked on entry with the place of each fault, and where a recipe lets the key go.

A recipe is data that describes an image-edit API (RECIPES in the README); paths into answers are JMESPath. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import urljoin

import jmespath
import msgspec
from jmespath import functions
from jmespath.exceptions import JMESPathError

from engine.config import PLAIN_PARAMETERS, ApiConfig
from engine.errors import AddressRefused, Code, InvalidInput
from engine.upstream.request import FRAMING_HEADERS
from engine.upstream.target import Target, parse_url

_FOUND_CHARS = 120
PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")
_PICTURE_NAME = re.compile(r"(?:image(?:[2-9]|[1-9][0-9])?|images|references)(?:_base64|_mime|_url)?")
TEXTS = frozenset({"prompt", "system_prompt", "user_prompt"})
_SCALARS = frozenset({"model", "n", "width", "height", "size", *PLAIN_PARAMETERS})
FILES = frozenset({"file", "files"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_WILDCARD = "*."
_LONGEST_INTERVAL = 600.0
_DEEPEST = 64  # levels of a request's body
_LONGEST_PATH = 1000  # characters of an expression
_LONGEST_JOINT = 16  # characters that `join` puts between texts
_MOST_GROWTH = 64  # times that what an expression makes may be larger than the answer
_ANYWHERE = "https://api.invalid/"


class Path(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where in the first answer an address stands."""

    path: str


class RequestPart(msgspec.Struct, frozen=True):
    """The call that is paid for; its URL relative to ``api_url``. Either ``json`` or ``form``."""

    method: str = "POST"
    url: str = ""
    headers: dict[str, str] = {}
    json: dict[str, Any] = {}
    form: dict[str, Any] = {}


class KeyPart(msgspec.Struct, frozen=True):
    """Under which header the key goes, and in which words."""

    header: str = "Authorization"
    value: str = "Bearer {{api_key}}"


class UploadPart(msgspec.Struct, frozen=True):
    """A call for each picture before the request; ``result``: where its answer names the picture."""

    url: str
    form: dict[str, Any]
    result: str
    method: str = "POST"


class CancelPart(msgspec.Struct, frozen=True):
    """How a job is given up at the provider; no ``url``: it cannot be."""

    method: str = "POST"
    url: str | Path = ""


class JobPart(msgspec.Struct, frozen=True):
    """How a job is waited for. ``interval``: seconds between two questions. Paths lead into the answers to these, but
    ``id``, which leads into the first answer."""

    id: str
    url: str | Path
    headers: dict[str, str] = {}
    status: str = ""
    done: list[str] = []
    failed: list[str] = []
    progress: str = ""
    error: str = ""
    interval: float = 3
    result_url: str | Path = ""
    cancel: CancelPart = CancelPart()


class ResultPart(msgspec.Struct, frozen=True):
    """Where the pictures stand, none for where the usual readers find them; ``json_in``: a string that holds JSON."""

    pictures: list[str] = []
    json_in: str = ""


class Recipe(msgspec.Struct, frozen=True):
    """A whole recipe; what is left out has its default."""

    request: RequestPart
    key: KeyPart = KeyPart()
    origins: list[str] = []
    upload: UploadPart | None = None
    job: JobPart | None = None
    result: ResultPart = ResultPart()


# --- checks -----------------------------------------------------------------------------------------------------------

_TEXT, _MAP, _LIST, _NUMBER, _ADDRESS = "text", "object", "list", "number", "address"
_SHAPE: Mapping[str, Any] = {
    "request": {"method": _TEXT, "url": _TEXT, "headers": _MAP, "json": _MAP, "form": _MAP},
    "key": {"header": _TEXT, "value": _TEXT},
    "origins": _LIST,
    "upload": {"method": _TEXT, "url": _TEXT, "form": _MAP, "result": _TEXT},
    "job": {
        "id": _TEXT, "url": _ADDRESS, "headers": _MAP, "status": _TEXT, "done": _LIST, "failed": _LIST,
        "progress": _TEXT, "error": _TEXT, "interval": _NUMBER, "result_url": _ADDRESS,
        "cancel": {"method": _TEXT, "url": _ADDRESS},
    },
    "result": {"pictures": _LIST, "json_in": _TEXT},
}  # fmt: skip
_NEEDED = {"": ("request",), "upload": ("url", "form", "result"), "job": ("id", "url")}
_JOB_PATHS = ("id", "status", "progress", "error")


def read_recipe(data: Mapping[str, Any]) -> Recipe:
    """A recipe as a person or a file brings it. Raises InvalidInput(RECIPE_INVALID) with ``path`` and ``reason``."""
    data = {
        name: part for name, part in _without_nulls(data, _SHAPE).items() if part not in ({}, []) or name == "request"
    }
    _check_shape(data, _SHAPE, "")
    recipe = msgspec.convert(data, Recipe, strict=False)
    _check_request(recipe)
    _check_key(recipe)
    if recipe.upload is not None:
        _check_upload(recipe.upload)
    if recipe.job is not None:
        _check_job(recipe.job)
    for number, expression in enumerate(recipe.result.pictures):
        _check_path(expression, f"result.pictures[{number}]", needed=True)
    _check_path(recipe.result.json_in, "result.json_in")
    return recipe


def _without_nulls(value: Mapping[str, Any], shape: Mapping[str, Any]) -> dict[str, Any]:
    """Null is the same as leaving a field out, but in what is sent."""
    return {
        name: _without_nulls(part, inner)
        if isinstance(part, Mapping) and isinstance(inner := shape.get(name), Mapping)
        else part
        for name, part in value.items()
        if part is not None
    }


def _refuse(path: str, reason: str, found: object = "") -> NoReturn:
    shown = found if isinstance(found, str) else msgspec.json.encode(found).decode("utf-8", "replace")
    raise InvalidInput(
        Code.RECIPE_INVALID,
        field="recipe",
        path=path or "recipe",
        reason=f"recipe_{reason}",
        found=shown[:_FOUND_CHARS],
    )


def _check_shape(value: Mapping[str, Any], shape: Mapping[str, Any], path: str) -> None:
    for name in value:
        if name not in shape:
            _refuse(_under(path, name), "unknown_field", name)
    for name in _NEEDED.get(path, ()):
        if value.get(name, "") == "":
            _refuse(_under(path, name), "missing", name)
    for name, kind in shape.items():
        if name not in value:
            continue
        part, place = value[name], _under(path, name)
        if isinstance(kind, Mapping):
            if not isinstance(part, Mapping):
                _refuse(place, "wrong_type", part)
            _check_shape(part, kind, place)
        elif not _is_of(kind, part):
            _refuse(place, "wrong_type", part)
        elif name == "headers":
            _check_headers(part, place)


def _is_of(kind: str, value: object) -> bool:
    match kind:
        case "text":
            return isinstance(value, str)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LONGEST_INTERVAL
        case "object":
            return isinstance(value, dict)
        case "list":
            return isinstance(value, list) and all(isinstance(item, str) for item in value)
    return isinstance(value, str) or (
        isinstance(value, dict) and value.keys() == {"path"} and isinstance(value["path"], str)
    )


def _check_headers(headers: Mapping[str, Any], path: str) -> None:
    for name, value in headers.items():
        place = f"{path}.{name}"
        if not isinstance(value, str):
            _refuse(place, "wrong_type", value)
        if not _HEADER_NAME.fullmatch(name) or name.lower() in FRAMING_HEADERS or not value.isprintable():
            _refuse(place, "header", name)


def _check_request(recipe: Recipe) -> None:
    request = recipe.request
    if request.method.upper() not in _METHODS:
        _refuse("request.method", "method", request.method)
    if request.json and request.form:
        _refuse("request.form", "json_and_form", "json, form")
    if not request.json and not request.form:
        _refuse("request.json", "missing", "json")
    uploads = recipe.upload is not None
    _check_address(request.url, "request.url", _SCALARS)
    _check_words(request.headers, "request.headers", _SCALARS)
    _check_words(request.json, "request.json", _SCALARS | TEXTS, pictures=True, uploads=uploads)
    _check_words(request.form, "request.form", _SCALARS | TEXTS | FILES, pictures=True, uploads=uploads)
    _check_files(request.form, "request.form")


def _check_key(recipe: Recipe) -> None:
    key = recipe.key
    if not _HEADER_NAME.fullmatch(key.header) or key.header.lower() in FRAMING_HEADERS:
        _refuse("key.header", "header", key.header)
    if not key.value.isprintable():
        _refuse("key.value", "header", key.header)
    _check_words(key.value, "key.value", frozenset({"api_key"}))
    if "api_key" not in placeholders(key.value):
        _refuse("key.value", "key_missing", key.value)
    for number, entry in enumerate(recipe.origins):
        if _read_origin(entry) is None:
            _refuse(f"origins[{number}]", "origin", entry)


def _check_upload(upload: UploadPart) -> None:
    if upload.method.upper() not in _METHODS:
        _refuse("upload.method", "method", upload.method)
    _check_address(upload.url, "upload.url", _SCALARS)
    _check_words(upload.form, "upload.form", _SCALARS | TEXTS | FILES)
    _check_files(upload.form, "upload.form")
    if not any("file" in placeholders(text) for text in _strings(upload.form)):
        _refuse("upload.form", "file_missing", "{{file}}")
    _check_path(upload.result, "upload.result", needed=True)


def _check_job(job: JobPart) -> None:
    for name in _JOB_PATHS:
        _check_path(getattr(job, name), f"job.{name}", needed=name == "id")
    for place, address in (("url", job.url), ("result_url", job.result_url), ("cancel.url", job.cancel.url)):
        if isinstance(address, Path):
            _check_path(address.path, f"job.{place}.path", needed=True)
        else:
            _check_address(address, f"job.{place}", _SCALARS | {"job_id"})
    if job.cancel.method.upper() not in _METHODS:
        _refuse("job.cancel.method", "method", job.cancel.method)
    _check_words(job.headers, "job.headers", _SCALARS | {"job_id"})
    if job.status and not job.done:
        _refuse("job.done", "missing", "done")


def _check_path(expression: str, path: str, *, needed: bool = False) -> None:
    if not expression:
        if needed:
            _refuse(path, "missing", path)
        return
    try:
        parsed = jmespath.compile(expression).parsed if len(expression) <= _LONGEST_PATH else None
    except (JMESPathError, RecursionError, ValueError):
        parsed = None
    if parsed is None or not all(_is_known(node) for node in _nodes(parsed)) or _growth(parsed) > _MOST_GROWTH:
        _refuse(path, "not_jmespath", expression)


def _nodes(parsed: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    below = [parsed]
    while below:
        node = below.pop()
        yield node
        below += [child for child in node["children"] if isinstance(child, dict)]  # those of a slice are numbers


def _growth(parsed: Mapping[str, Any]) -> float:
    """How many times the answer's size what an expression makes of it may have: nothing ends one that is at work, and
    ``[@, @][] | [@, @][] | …`` doubles it with every eight characters."""
    growth = 1.0
    for node in _nodes(parsed):
        if node["type"] in ("multi_select_list", "multi_select_dict"):
            growth *= len(node["children"])
        elif node["type"] == "function_expression" and node["value"] == "to_string":
            growth *= 2  # quotes within quotes
        elif node["type"] == "function_expression" and node["value"] == "join":
            joint = node["children"][0]
            is_short = joint["type"] == "literal" and len(str(joint["value"])) <= _LONGEST_JOINT
            growth *= 1 if is_short else float("inf")
    return growth


def _is_known(node: Mapping[str, Any]) -> bool:
    """Whether no call of a function that there is not stands here; else it would find nothing, whatever came."""
    known = functions.Functions.FUNCTION_TABLE
    if node["type"] != "function_expression":
        return True
    signature = known[node["value"]]["signature"] if node["value"] in known else None
    if signature is None:
        return False
    given = len(node["children"])
    return given >= len(signature) if signature and signature[-1].get("variadic") else given == len(signature)


def _check_address(text: str, path: str, known: frozenset[str] | set[str]) -> None:
    """Refuse what is no web address, whatever it is relative to."""
    _check_words(text, path, known)
    try:
        parse_url(urljoin(_ANYWHERE, PLACEHOLDER.sub("x", text)))
    except (AddressRefused, ValueError):
        _refuse(path, "address", text)


def _check_files(form: Mapping[str, Any], path: str) -> None:
    """A file is a part of a form, not of a text or an object in one."""
    for name, value in form.items():
        for item in value if isinstance(value, list) else [value]:
            for text in _strings(item):
                if FILES & set(placeholders(text)) and not (text is item and PLACEHOLDER.fullmatch(text.strip())):
                    _refuse(f"{path}.{name}", "file_alone", text)


def _check_words(
    value: Any,
    path: str,
    known: frozenset[str] | set[str],
    *,
    pictures: bool = False,
    uploads: bool = False,
    depth: int = 0,
) -> None:
    """Refuse a placeholder that has no meaning where it stands, as none has in a name."""
    if isinstance(value, dict | list) and depth > _DEEPEST:
        _refuse(path[:_FOUND_CHARS], "too_deep")
    if isinstance(value, dict):
        for name, item in value.items():
            if placeholders(name):
                _refuse(path, "unknown_placeholder", name)
            _check_words(item, f"{path}.{name}", known, pictures=pictures, uploads=uploads, depth=depth + 1)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _check_words(item, f"{path}[{number}]", known, pictures=pictures, uploads=uploads, depth=depth + 1)
    elif isinstance(value, str):
        for name in placeholders(value):
            if name in known:
                continue
            if not pictures or not _PICTURE_NAME.fullmatch(name):
                _refuse(path, "unknown_placeholder", f"{{{{{name}}}}}")
            if name.endswith("_url") and not uploads:
                _refuse(path, "upload_missing", f"{{{{{name}}}}}")


def _under(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def placeholders(text: str) -> list[str]:
    """Names of the placeholders in a text, in order."""
    return [name.strip() for name in PLACEHOLDER.findall(text)]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


# --- the key ----------------------------------------------------------------------------------------------------------


def _read_origin(entry: str) -> tuple[Target, bool] | None:
    """An entry of ``origins``, and whether it stands for all names below; None if it is no origin."""
    scheme, mark, rest = entry.strip().partition("://")
    below = rest.startswith(_WILDCARD)
    if not mark or "*" in rest.removeprefix(_WILDCARD) or (below and scheme.lower() != "https"):
        return None
    try:
        target = parse_url(f"{scheme}://{rest.removeprefix(_WILDCARD)}")
    except AddressRefused:
        return None
    broad = below and (target.address is not None or "." not in target.host)  # all of .com is nobody's
    return None if broad or target.path != "/" else (target, below)


def takes_key(url: str, config: ApiConfig, recipe: Recipe) -> bool:
    """Whether the key may go to this URL: the origin of ``api_url``, or one that the recipe names."""
    try:
        target, own = parse_url(url), parse_url(config.api_url)
    except AddressRefused:
        return False
    if target.origin == own.origin:
        return True
    for entry in recipe.origins:
        read = _read_origin(entry)
        if read is None:
            continue
        named, below = read
        if below and target.host.endswith(f".{named.host}") and target.origin[::2] == named.origin[::2]:
            return True
        if not below and target.origin == named.origin:
            return True
    return False


def key_headers(url: str, config: ApiConfig, recipe: Recipe) -> dict[str, str]:
    """The header with the key, where this URL may have it and there is one."""
    key = config.api_key.strip()
    if not key or not takes_key(url, config, recipe):
        return {}
    return {recipe.key.header: PLACEHOLDER.sub(lambda _: key, recipe.key.value)}
