"""What a start is going to ask: pictures, references and prompts made into one spec for each task. Pure."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from engine import secrets
from engine.config import ApiConfig, ApiMode, SourceFormat
from engine.keys import doors_of, plain_address
from engine.models import SourceImage
from engine.paths import folded
from engine.tasks.prompts import PromptRow, fill

MAX_PICTURES = 3  # a source and up to two references: what the edit APIs take
_NUMBERED = re.compile(r"^(.*?)[ _-]?([23])$")


class ReferenceMode(StrEnum):
    """Where further source pictures of a task come from."""

    OFF = "off"
    SUFFIX = "suffix"
    FOLDERS = "folders"


class RequestRecord(msgspec.Struct, frozen=True):
    """What was asked, without secrets: kept with each result as its provenance. What is not set is not written, so that
    what was paid for before there were such settings is still found."""

    api_url: str
    api_mode: str
    model_name: str
    user_prompt: str
    system_prompt: str
    temperature: float
    result_count: int
    extra_body: dict[str, object]
    variant: int = 0
    seed: int | msgspec.UnsetType = msgspec.UNSET
    recipe: dict[str, object] | msgspec.UnsetType = msgspec.UNSET
    source_format: str | msgspec.UnsetType = msgspec.UNSET
    source_max_edge: int | msgspec.UnsetType = msgspec.UNSET
    door: str | msgspec.UnsetType = msgspec.UNSET
    """Of several, the address that answered, where it was not ``api_url``: no part of what was asked for."""


class TaskSpec(msgspec.Struct, frozen=True):
    """One task to be: its pictures, the source first, and its prompts where they are its own (else None)."""

    pictures: tuple[SourceImage, ...]
    user_prompt: str | None = None
    system_prompt: str | None = None
    variant: int = 0

    @property
    def source(self) -> SourceImage:
        """The picture to be edited."""
        return self.pictures[0]


def group_references(pictures: Sequence[SourceImage], mode: ReferenceMode, root: str) -> list[tuple[SourceImage, ...]]:
    """Pictures with their references. SUFFIX: ``x``, ``x2``, ``x3`` (also ``x_2``) in one folder belong together.

    FOLDERS: the first sub-folder of ``root`` holds the sources, the second and third hold references of the same stem.
    """
    if mode is ReferenceMode.SUFFIX:
        return _by_suffix(pictures)
    if mode is ReferenceMode.FOLDERS:
        return _by_folder(pictures, Path(root))
    return [(picture,) for picture in pictures]


def make_task_specs(
    groups: Sequence[tuple[SourceImage, ...]], rows: dict[str, list[PromptRow]] | None, variants: int
) -> list[TaskSpec]:
    """One spec for each group, prompt and variant, in the order of the pictures. With ``rows``, groups without one are
    left out."""
    specs: list[TaskSpec] = []
    for group in groups:
        prompts: list[tuple[str | None, str | None]] = [(None, None)]
        if rows is not None:
            prompts = [(row.prompt, row.system_prompt) for row in rows.get(group[0].path, [])]
        for user_prompt, system_prompt in dict.fromkeys(prompts):
            specs += [TaskSpec(group, user_prompt, system_prompt, variant) for variant in range(variants)]
    return specs


def request_record(
    config: ApiConfig, user_prompt: str, system_prompt: str, variant: int, *, demo: bool = False
) -> RequestRecord:
    """What of a request changes its answer: not the key, not the network settings.

    The demo endpoint gets another port at each start and is the same all the while.
    """
    return RequestRecord(
        api_url=urlsplit(config.api_url).path if demo else config.api_url,
        api_mode=config.mode,
        model_name=config.model_name,
        user_prompt=user_prompt,
        system_prompt=system_prompt,
        temperature=config.temperature,
        result_count=config.result_count,
        extra_body=config.extra_body,
        variant=variant,
        seed=msgspec.UNSET if config.seed is None else config.seed,
        recipe=secrets.without(config.recipe) if config.mode is ApiMode.RECIPE else msgspec.UNSET,
        source_format=msgspec.UNSET if config.source_format is SourceFormat.AUTO else config.source_format.value,
        source_max_edge=config.source_max_edge or msgspec.UNSET,
    )


def own_config(
    config: ApiConfig, source_path: str, user_prompt: str | None = None, system_prompt: str | None = None
) -> ApiConfig:
    """The configuration of one task: its own prompts where it has some, variables filled in."""
    return msgspec.structs.replace(
        config,
        user_prompt=fill(config.user_prompt if user_prompt is None else user_prompt, source_path),
        system_prompt=config.system_prompt if system_prompt is None else system_prompt,
    )


def at_door(record: RequestRecord, config: ApiConfig, door: ApiConfig) -> RequestRecord:
    """The record of a configuration's request as it was made at a door: what was paid for there is found whichever door
    is asked, for the address is that of the configuration. Another model is another request."""
    if (door.api_url, door.model_name) == (config.api_url, config.model_name):
        return record
    place = msgspec.UNSET if door.api_url == config.api_url else plain_address(door.api_url)
    return msgspec.structs.replace(record, model_name=door.model_name, door=place)


def other_records(record: RequestRecord, config: ApiConfig) -> list[RequestRecord]:
    """Under which other records an answer to the same request may be noted: with the model of another door, or from
    when the doors stood in another order."""
    found: list[RequestRecord] = []
    doors = doors_of(config)
    for main in doors if len(doors) > 1 else ():
        for door in doors:
            other = msgspec.structs.replace(record, api_url=main.api_url, model_name=door.model_name)
            if other != record and other not in found:
                found.append(other)
    return found


def request_key(what: RequestRecord) -> str:
    """Stands for a request in ledger and fingerprints."""
    return digest(msgspec.json.encode(what, order="deterministic"))


def ledger_key(record_json: str, *, demo: bool = False) -> str:
    """The request key of an outcome's ``request_record``."""
    what = msgspec.structs.replace(msgspec.json.decode(record_json, type=RequestRecord), door=msgspec.UNSET)
    return request_key(msgspec.structs.replace(what, api_url=urlsplit(what.api_url).path) if demo else what)


def fingerprint(spec: TaskSpec, key: str) -> str:
    """Tells whether a task asks for the same thing of the same files as they are now."""
    parts = [f"{os.fsdecode(p.path)}\0{p.size}\0{p.modified}" for p in spec.pictures]
    return digest("\0".join([*parts, key]).encode("utf-8", "surrogateescape"))


def digest(data: bytes) -> str:
    """A short name for bytes."""
    return hashlib.sha256(data).hexdigest()[:32]


def _by_suffix(pictures: Sequence[SourceImage]) -> list[tuple[SourceImage, ...]]:
    by_stem = {(os.path.dirname(p.path), folded(Path(p.name).stem)): p for p in pictures}  # noqa: PTH120 - text is enough here
    taken: dict[str, tuple[str, str]] = {}
    for (folder, stem), picture in by_stem.items():
        found = _NUMBERED.match(stem)
        if found and (folder, found[1]) in by_stem:
            taken[picture.path] = (folder, found[1])
    groups: dict[str, list[SourceImage]] = {p.path: [p] for p in pictures if p.path not in taken}
    for picture in pictures:
        if picture.path in taken:
            main = by_stem[taken[picture.path]]
            groups.setdefault(main.path, [main]).append(picture)
    return [tuple(group[:MAX_PICTURES]) for group in groups.values()]


def _by_folder(pictures: Sequence[SourceImage], root: Path) -> list[tuple[SourceImage, ...]]:
    columns: dict[str, dict[str, SourceImage]] = {}
    for picture in pictures:
        path = Path(picture.path)
        if path.is_relative_to(root) and len(path.relative_to(root).parts) > 1:
            first, *rest = path.relative_to(root).parts
            column, stem = columns.setdefault(first, {}), folded(str(Path(*rest).with_suffix("")))
            column[stem if stem not in column else str(Path(*rest))] = picture
    names = list(columns)[:MAX_PICTURES]
    if not names:
        return [(picture,) for picture in pictures]
    others = [columns[name] for name in names[1:]]
    return [
        (picture, *(column[stem] for column in others if stem in column)) for stem, picture in columns[names[0]].items()
    ]
