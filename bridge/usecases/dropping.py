"""Pictures that were dropped into a browser, which names no path: each is brought here, into a folder that a run can be
given."""

from __future__ import annotations

import contextlib
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from bridge.params import read_params
from bridge.usecases.carrying import json_object
from bridge.usecases.common import Context, Upload
from engine.dataset.naming import safe_stem
from engine.errors import Code, InvalidInput
from engine.files import storage_failure, write_new
from engine.images.picture import HEAD_BYTES, sniff
from engine.paths import printable

MAX_BYTES = 28 * 1024 * 1024
"""Of a request: a picture of 20 MiB in base64."""
_FOLDER = "dropped"
_DEEPEST = 16


class DroppedFile(msgspec.Struct, frozen=True):
    """A file of a drop. ``drop``: the same for all that was dropped together; ``name``: with the folders that were
    dropped, parted by ``/``; ``data``: base64."""

    drop: Annotated[str, Meta(pattern="^[A-Za-z0-9-]{8,64}$")]
    name: str
    data: bytes


class DropPicture(Upload, frozen=True):
    """A `DroppedFile` as JSON."""

    json: ClassVar[type[msgspec.Struct] | None] = DroppedFile
    most: ClassVar[int | None] = MAX_BYTES


class Dropped(msgspec.Struct, frozen=True):
    """It is kept. ``path``: the folder of all that was dropped together."""

    path: str
    ok: Literal[True] = True


def drop_picture(context: Context, params: DropPicture) -> Dropped:
    """Keep a picture that was dropped into a browser; one that is there already stays as it is."""
    wish = read_params(DroppedFile, json_object(params.file))
    parts = [safe_stem(part) for part in wish.name.split("/") if part.strip(". ")]
    if not parts:
        raise InvalidInput(Code.FIELD_REQUIRED, field="name", name="name")
    if sniff(wish.data[:HEAD_BYTES]) is None:
        raise InvalidInput(Code.PICTURE_NOT_IMAGE, field="data")
    root = context.app.folder / _FOLDER / wish.drop
    place = root.joinpath(*parts[-_DEEPEST:])
    try:
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise storage_failure(error, place.parent) from error
    with contextlib.suppress(FileExistsError):
        write_new(place, wish.data)
    return Dropped(printable(str(root)))
