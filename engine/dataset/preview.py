"""What a set will be, before it is written: its files by folder, its sides, its first pairs and its configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

import msgspec

from engine.dataset.captions import CaptionRule
from engine.dataset.configurations import text_files
from engine.dataset.export import Filled, SetPlan, arranged, facts_of, prefixes_of, row_of
from engine.dataset.layouts import LAYOUTS
from engine.dataset.manifests import METADATA, Row
from engine.dataset.pairs import Direction, Pair
from engine.dataset.split import Side
from engine.dataset.transform import PictureFormat, sized_for
from engine.dataset.variants import caption_for
from engine.errors import InvalidInput

_SHOWN: Final = 3
_LONGEST_TEXT: Final = 2000


class SetEntry(msgspec.Struct, frozen=True):
    """A folder of the set with ``files`` in it, or one file; ``path`` is relative to the set."""

    path: str
    files: int


class SetExample(msgspec.Struct, frozen=True):
    """One pair as it will be trained. ``control``, ``target``: "source" or "result" of the pair ``result_id``."""

    task_id: str
    result_id: str
    control: str
    target: str
    caption: str


class SetPreview(msgspec.Struct, frozen=True):
    """``training``, ``validation``: pairs of each side; ``configuration``: the name of the trainer's own file, "" for
    none, and the beginning of its text. Extensions may change where a picture is rewritten; sizes in the text are those
    of a source with the shape of its result."""

    training: int
    validation: int
    name: str
    entries: list[SetEntry]
    examples: list[SetExample]
    configuration: str
    text: str


def preview(pairs: Sequence[Pair], plan: SetPlan) -> SetPreview:
    """Raises InvalidInput as an export does; no picture is read."""
    layout = LAYOUTS[plan.trainer]
    planned = arranged(pairs, plan)
    came = {pair.task_id: (pair.target.width, pair.target.height) for pair in pairs}
    rows: list[Row] = []
    for number, one in enumerate(planned, 1):
        pair = one.pair
        extensions = [_extension(plan, extension) for extension in (pair.target.extension, *_extensions(pair))]
        _, size = sized_for([came[pair.task_id]] * 2, plan.pictures, layout.reader)[0]
        filled = Filled(_caption(pair, plan.captions, plan, number), tuple(extensions), size)
        rows.append(row_of(plan, one, filled))
    name = f"{plan.title}_v001"
    texts = {} if layout.shards else text_files(plan.trainer, facts_of(plan, name, rows, prefixes_of(planned)))
    own = next((path for path in texts if path != METADATA), "")
    folders = Counter(_folder(path) for row in rows for path in row.placed.files)
    return SetPreview(
        training=sum(one.side is Side.TRAIN for one in planned),
        validation=sum(one.side is Side.VALIDATION for one in planned),
        name=name,
        entries=[SetEntry(path, count) for path, count in sorted(folders.items())]
        + [SetEntry(path, 1) for path in texts],
        examples=[_example(row) for row in rows[:_SHOWN]],
        configuration=own,
        text=texts.get(own, "")[:_LONGEST_TEXT],
    )


def _extensions(pair: Pair) -> list[str]:
    return [PurePosixPath(control.path).suffix.lstrip(".").lower() for control in pair.pictures]


def _extension(plan: SetPlan, extension: str) -> str:
    chosen = plan.pictures.format
    if chosen is PictureFormat.AS_IT_CAME:
        return extension
    return "jpg" if chosen is PictureFormat.JPEG else chosen.value


def _folder(path: str) -> str:
    parent = PurePosixPath(path).parent.as_posix()
    return "" if parent == "." else f"{parent}/"


def _caption(pair: Pair, rule: CaptionRule, plan: SetPlan, number: int) -> str:
    try:
        return caption_for(pair, rule, plan.variants, number)
    except InvalidInput:  # a text beside a source in no known encoding is a finding of the check
        return ""


def _example(row: Row) -> SetExample:
    """Which of a pair's two pictures stands where, as its direction has it."""
    control, target = {
        Direction.REVERSED: ("result", "source"),
        Direction.NO_OP: ("source", "source"),
    }.get(row.pair.direction, ("source", "result"))
    return SetExample(row.pair.task_id, row.pair.id.partition("-no-op")[0], control, target, row.caption)
