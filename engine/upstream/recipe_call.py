"""Owns what a recipe makes of one edit: placeholders filled in, calls to be sent, paths followed in answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote, urljoin

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError

from engine import secrets
from engine.config import PLAIN_PARAMETERS, ApiConfig
from engine.models import ImageRef
from engine.upstream.answer import Answer
from engine.upstream.answer_state import MAX_ENTRIES
from engine.upstream.image_links import read_words, visible_parts
from engine.upstream.image_refs import Refused, is_words, make_ref, pick_image
from engine.upstream.recipe import FILES, PLACEHOLDER, TEXTS, Path, Recipe, key_headers, placeholders, takes_key
from engine.upstream.request import (
    FRAMING_HEADERS,
    Body,
    HttpRequest,
    SourcePicture,
    encode_form,
    form_text,
    merge,
)
from engine.upstream.sse import json_or_none
from engine.upstream.target import MAX_URL_LENGTH

# --- filling in -------------------------------------------------------------------------------------------------------


class _Absent:
    """What a placeholder stands for that has no value in this edit."""


_ABSENT = _Absent()


class Values:
    """What the placeholders of one edit stand for; pictures are encoded only where they are named."""

    def __init__(self, config: ApiConfig, pictures: Sequence[SourcePicture] = (), uploads: Sequence[str] = ()) -> None:
        self._pictures = pictures
        self._uploads = uploads
        prompts = [text for text in (config.system_prompt, config.user_prompt) if text]
        first = pictures[0] if pictures else None
        width, height = (first.width, first.height) if first is not None else (0, 0)
        self._plain: dict[str, Any] = {
            "prompt": "\n\n".join(prompts),
            "system_prompt": config.system_prompt,
            "user_prompt": config.user_prompt,
            "model": config.model_name,
            "n": config.result_count,
            **{name: getattr(config, name) for name in PLAIN_PARAMETERS},
            "width": width or None,
            "height": height or None,
            "size": f"{width}x{height}" if width and height else None,
        }

    def with_job(self, job_id: str) -> Values:
        """The same with the id of a job."""
        self._plain["job_id"] = job_id
        return self

    def get(self, name: str) -> Any:
        """The value, ``_ABSENT`` where there is none."""
        if name in self._plain:
            value = self._plain[name]
            return _ABSENT if value in (None, "") else value
        if name in FILES:
            chosen = list(self._pictures[:1] if name == "file" else self._pictures)
            return chosen or _ABSENT
        base, _, kind = name.partition("_")
        numbers = range(len(self._pictures))
        if base in ("images", "references"):
            return [self._picture(number, kind) for number in numbers[base == "references" :]] or _ABSENT
        number = int(base.removeprefix("image") or "1") - 1
        return self._picture(number, kind) if number in numbers else _ABSENT

    def _picture(self, number: int, kind: str) -> str:
        picture = self._pictures[number]
        match kind:
            case "base64":
                return picture.base64
            case "mime":
                return picture.mime
            case "url":
                return self._uploads[number]
        return picture.data_url


class _Filled(msgspec.Struct):
    """What became of a part of a template: whether values came into it, and whether some were not there."""

    value: Any
    gained: bool = False
    lost: bool = False


def fill(template: Any, values: Values) -> Any:
    """The template with its values. What names a value that is not there is left out, and so is an object or list that
    this empties, and an item of a list in which nothing but constants is left."""
    filled = _fill(template, values)
    return None if filled.value is _ABSENT else filled.value


def _fill(template: Any, values: Values) -> _Filled:
    if isinstance(template, str):
        return _fill_text(template, values)
    if isinstance(template, dict):
        parts = {name: _fill(item, values) for name, item in template.items()}
        kept = {name: part.value for name, part in parts.items() if part.value is not _ABSENT}
        return _joined(kept, list(parts.values()), empty=not template)
    if isinstance(template, list):
        items = [_fill(item, values) for item in template]
        left = [
            item.value
            for item in items
            if item.value is not _ABSENT and not (item.lost and not item.gained and isinstance(item.value, dict))
        ]
        return _joined(left, items, empty=not template)
    return _Filled(template)


def _joined(value: Any, parts: Sequence[_Filled], *, empty: bool) -> _Filled:
    gained, lost = any(part.gained for part in parts), any(part.lost for part in parts)
    return _Filled(value if value or empty else _ABSENT, gained, lost)


def _fill_text(text: str, values: Values) -> _Filled:
    names = placeholders(text)
    if not names:
        return _Filled(text)
    if PLACEHOLDER.fullmatch(text.strip()):
        value = values.get(names[0])
        return _Filled(value, gained=value is not _ABSENT, lost=value is _ABSENT)
    found = {name: values.get(name) for name in names}
    if any(value is _ABSENT and name not in TEXTS for name, value in found.items()):
        return _Filled(_ABSENT, lost=True)
    return _Filled(PLACEHOLDER.sub(lambda match: _as_text(found[match[1].strip()]), text), gained=True)


def _as_text(value: Any) -> str:
    if value is _ABSENT:
        return ""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def fill_url(template: str, values: Values, base: str) -> str:
    """An absolute URL; what is filled in cannot leave the path."""

    def written(match: re.Match[str]) -> str:
        return quote(_as_text(values.get(match[1].strip())).lstrip("/"), safe="/:@,;=")

    return urljoin(base, PLACEHOLDER.sub(written, template))


# --- calls ------------------------------------------------------------------------------------------------------------


def recipe_request(
    config: ApiConfig, recipe: Recipe, pictures: Sequence[SourcePicture], uploads: Sequence[str] = ()
) -> HttpRequest:
    """The call that is paid for. ``extra_body`` is merged last, ``extra_headers`` after the recipe's own; what is
    secret in these goes where the key may, and nowhere else."""
    values = Values(config, pictures, uploads)
    part = recipe.request
    url = fill_url(part.url, values, config.api_url)
    extra_body, extra_headers = config.extra_body, config.extra_headers
    if not takes_key(url, config, recipe):
        extra_body, extra_headers = secrets.without(extra_body), secrets.without(extra_headers)
    if part.form:
        body, content_type = _form(merge(fill(part.form, values) or {}, extra_body))
    else:
        fields: Body = merge(fill(part.json, values) or {}, extra_body)
        body, content_type = msgspec.json.encode(fields), "application/json"
    given = {**fill_headers(part.headers, values), **extra_headers}
    headers = {name: value for name, value in given.items() if name.lower() not in FRAMING_HEADERS}
    headers = {"Accept": "application/json, text/event-stream"} | headers | {"Content-Type": content_type}
    return HttpRequest(part.method.upper(), url, headers | key_headers(url, config, recipe), body)


def upload_request(config: ApiConfig, recipe: Recipe, picture: SourcePicture) -> HttpRequest:
    """The call that takes one picture there before the request names it."""
    part = recipe.upload
    assert part is not None
    values = Values(config, [picture])
    url = fill_url(part.url, values, config.api_url)
    body, content_type = _form(fill(part.form, values) or {})
    headers = {"Accept": "application/json", "Content-Type": content_type}
    return HttpRequest(part.method.upper(), url, headers | key_headers(url, config, recipe), body)


def fill_headers(headers: Mapping[str, str], values: Values) -> dict[str, str]:
    """Header values as text; one whose value is not there is left out."""
    filled = {name: _fill_text(text, values).value for name, text in headers.items()}
    return {name: _as_text(value) for name, value in filled.items() if value is not _ABSENT}


def _form(fields: Body) -> tuple[bytes, str]:
    texts: list[tuple[str, bytes]] = []
    files: list[tuple[str, SourcePicture]] = []
    for name, value in fields.items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, SourcePicture):
                files.append((name, item))
            else:
                texts.append((name, form_text(item)))
    return encode_form(texts, files)


# --- answers ----------------------------------------------------------------------------------------------------------


def search(expression: str, document: Any) -> Any:
    """What a path finds; None where it finds nothing, or something that it cannot work with."""
    if not expression:
        return None
    try:
        return jmespath.search(expression, document)
    except (JMESPathError, TypeError, ValueError, ArithmeticError, RecursionError):  # as its functions raise them
        return None


def first_text(expression: str, document: Any) -> str:
    """The first string or number that a path finds, as text; "" for none."""
    return next(iter(all_texts(expression, document)), "")


def first_word(expression: str, document: Any) -> str:
    """The same of a state, which may be a truth value, as JSON has it."""
    found = next((one for one in _flat(search(expression, document)) if not isinstance(one, dict)), "")
    return str(found).lower() if isinstance(found, bool) else str(found)


def all_texts(expression: str, document: Any) -> list[str]:
    """Every string and number that a path finds, as text; of names and addresses, so that neither many nor long ones
    are any."""
    found = _flat(search(expression, document))
    named = (item for item in found if isinstance(item, str | int | float) and not isinstance(item, bool))
    texts = (str(item) for item in named if not isinstance(item, str) or len(item) <= MAX_URL_LENGTH)
    return list(islice(texts, MAX_ENTRIES))


def job_address(address: str | Path, config: ApiConfig, first_answer: Any, job_id: str, place: int = 0) -> str:
    """An absolute URL of a job: written in the recipe, or named by the first answer, which may name several; the one
    at ``place``. "" for none."""
    if isinstance(address, Path):
        named = all_texts(address.path, first_answer)
        return urljoin(config.api_url, named[place if place < len(named) else 0]) if named else ""
    return fill_url(address, Values(config).with_job(job_id), config.api_url) if address else ""


def result_document(recipe: Recipe, document: Any) -> Any:
    """What the pictures are looked for in: the answer, or the JSON inside one of its strings."""
    if not recipe.result.json_in:
        return document
    text = search(recipe.result.json_in, document)
    if not isinstance(text, str):
        return text if isinstance(text, dict | list) else document
    found = json_or_none(text)
    return document if found is None else found


def path_answer(recipe: Recipe, documents: Sequence[Any], base_url: str) -> Answer:
    """The pictures that the recipe's paths find, links resolved against ``base_url``; at most as many as any answer
    may have."""
    refs: list[ImageRef] = []
    refused: list[Refused] = []
    for document in documents:
        for number, expression in enumerate(recipe.result.pictures):
            for item in _flat(search(expression, document)):
                for ref in _named(item, f"result.pictures[{number}]", base_url):
                    if isinstance(ref, Refused):
                        refused.append(ref)
                    elif all(ref.value != known.value for known in refs):
                        refs.append(ref)
                if max(len(refs), len(refused)) >= MAX_ENTRIES:
                    return Answer(refs[:MAX_ENTRIES], refused[:MAX_ENTRIES], None, "", complete=True)
    return Answer(refs, refused, None, "", complete=True)


def _named(item: Any, where: str, base_url: str) -> list[ImageRef | Refused]:
    """The picture that a value names; those in it where it is words, as of a model."""
    if isinstance(item, str) and is_words(item):
        found = (
            make_ref(one.value, where, base_url) for _, part in visible_parts(item) for one in read_words(part).found
        )
        return [ref for ref in found if ref is not None]
    ref = pick_image(item, where, base_url)
    return [ref] if ref is not None else []


def _flat(value: Any) -> Iterator[Any]:
    """What is in the lists of a value, however deep."""
    left = [iter([value])]
    while left:
        for item in left[-1]:
            if isinstance(item, list):
                left.append(iter(item))
                break
            if item not in (None, ""):
                yield item
        else:
            left.pop()
