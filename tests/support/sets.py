"""Pairs on disk for tests of training sets: made scenes, real edits, and each fault on demand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from engine.dataset.pairs import ControlFile, Pair, Provenance, TargetFile
from tests.bench import edits
from tests.bench.scenes import Picture, make_scene
from tests.support.files import sha256_of

SIZE = (320, 240)


def scene(number: int, size: tuple[int, int] = SIZE) -> Picture:
    """A small scene."""
    return make_scene(number, size).picture


def edited(number: int, size: tuple[int, int] = SIZE) -> Picture:
    """A scene with another colour and something new in it."""
    rng = np.random.default_rng(number)
    return edits.added_thing(rng, make_scene(number, size))


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
        Image.fromarray(scene(number + 1000 * place)).save(path, quality=92)
        controls.append(ControlFile(str(path), sha256_of(path)))
    result = write_target(cache / f"{number:03}.{target_kind}", edited(number) if target is None else target)
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
        Image.fromarray(content).save(path, quality=92)
    try:
        with Image.open(path) as image:
            width, height = image.size
    except OSError:
        width = height = 0
    return TargetFile(str(path), sha256_of(path), path.suffix[1:], width, height)
