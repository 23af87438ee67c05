"""Pairs on disk for tests of training sets: made scenes, real edits, and each fault on demand."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from engine.dataset.pairs import ControlFile, Pair, Provenance, TargetFile
from tests.bench import edits
from tests.bench.scenes import Picture, Scene, make_scene
from tests.support.files import sha256_of

SIZE = (320, 240)


@cache
def _made(number: int, size: tuple[int, int]) -> Scene:
    made = make_scene(number, size)
    made.picture.flags.writeable = made.foreground.flags.writeable = False
    return made


def scene(number: int, size: tuple[int, int] = SIZE) -> Picture:
    """A small scene, drawn once and not to be changed."""
    return _made(number, size).picture


@cache
def edited(number: int, size: tuple[int, int] = SIZE) -> Picture:
    """A scene with another colour and something new in it, drawn once and not to be changed."""
    picture = edits.added_thing(np.random.default_rng(number), _made(number, size))
    picture.flags.writeable = False
    return picture


def _encoded(picture: Picture, extension: str) -> bytes:
    kept = io.BytesIO()
    Image.fromarray(picture).save(kept, Image.registered_extensions()[f".{extension}"], quality=92)
    return kept.getvalue()


@cache
def _source(number: int, extension: str) -> bytes:
    return _encoded(scene(number), extension)


@cache
def _result(number: int, extension: str) -> bytes:
    return _encoded(edited(number), extension)


def pair(
    folder: Path,
    number: int,
    *,
    target: Picture | bytes | None = None,
    source_kind: str = "jpg",
    target_kind: str = "png",
    references: int = 0,
    prompt: str = "make it evening, 夜晚",
    **changes: Any,
) -> Pair:
    """A pair whose files lie in ``folder``/sources and ``folder``/cache."""
    sources, cache = folder / "sources", folder / "cache"
    sources.mkdir(parents=True, exist_ok=True)
    cache.mkdir(exist_ok=True)
    controls = []
    for place in range(references + 1):
        path = sources / f"{number:03}_start{place + 1 if place else ''}.{source_kind}"
        path.write_bytes(_source(number + 1000 * place, source_kind))
        controls.append(ControlFile(str(path), sha256_of(path)))
    content = _result(number, target_kind) if target is None else target
    result = write_target(cache / f"{number:03}.{target_kind}", content)
    made = Provenance(
        prompt=prompt, model="edit-1", api_url="https://api.example/v1", parameters={"n": 1}, at=1_700_000_000
    )
    base = Pair(
        id=f"r{number}", task_id=f"t{number}", name=f"{number:03}_start.{source_kind}", controls=tuple(controls),
        target=result, provenance=made,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


def write_target(path: Path, content: Picture | bytes) -> TargetFile:
    """A result picture from pixels or ready bytes."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_bytes(_encoded(content, path.suffix[1:]))
    try:
        with Image.open(path) as image:
            width, height = image.size
    except OSError:
        width = height = 0
    return TargetFile(str(path), sha256_of(path), path.suffix[1:], width, height)
