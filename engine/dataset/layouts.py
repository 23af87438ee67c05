"""How each trainer wants its files laid out and named, and what a set for it must have; pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from engine.dataset.pairs import MAX_CONTROLS
from engine.dataset.split import Side


class Trainer(StrEnum):
    """Trainers that sets are made for."""

    AI_TOOLKIT = "ai_toolkit"
    FAL = "fal"
    MUSUBI = "musubi"
    KOHYA = "kohya"
    HUGGING_FACE = "hugging_face"
    DIFFSYNTH = "diffsynth"
    SIMPLETUNER = "simpletuner"


class Slot(msgspec.Struct, frozen=True):
    """A pair on its way to its files: stem, side's folder ("" or ``train/``), extensions without dots."""

    stem: str
    prefix: str
    target: str
    controls: tuple[str, ...]


class Placed(msgspec.Struct, frozen=True):
    """Paths of a pair's files, relative to the set, with slashes; ``caption`` is None where it stands elsewhere."""

    target: str
    controls: tuple[str, ...]
    caption: str | None

    @property
    def files(self) -> tuple[str, ...]:
        """Every one of them."""
        return (self.target, *self.controls, *([self.caption] if self.caption else []))


class Layout(msgspec.Struct, frozen=True):
    """A trainer's rules. ``formats``: extensions that it reads; ``same_extension``: control and target must be named
    alike to the last letter; ``even_controls``: each pair needs as many; ``archives``: it takes a ZIP for each side."""

    trainer: Trainer
    title: str
    place: Callable[[Slot], Placed]
    formats: frozenset[str]
    max_controls: int = MAX_CONTROLS
    even_controls: bool = False
    same_extension: bool = False
    archives: bool = False


def prefix_of(side: Side, is_split: bool, layout: Layout) -> str:
    """The folder of a side: none while there is no split, unless the trainer takes archives."""
    return f"{side}/" if is_split or layout.archives else ""


def fit_stem(stem: str) -> str:
    """A stem whose end no trainer takes for one of its own suffixes (``_0``, ``_start``, ``_end``, ``-condlabel``)."""
    stem = re.sub(r"[_-]+(\d+)$", r"-\1", stem)
    return re.sub(r"[_-]+(start\d?|end|condlabel|masklabel)$", r"-\1", stem, flags=re.IGNORECASE)


def _beside(slot: Slot) -> Placed:
    """Targets with captions in one folder, controls under the same stem in another one for each place."""
    controls = tuple(
        f"{slot.prefix}{control_folder(number)}/{slot.stem}.{extension}"
        for number, extension in enumerate(slot.controls)
    )
    folder = f"{slot.prefix}target/{slot.stem}"
    return Placed(f"{folder}.{slot.target}", controls, f"{folder}.txt")


def control_folder(number: int) -> str:
    """``control``, ``control_2``, ``control_3``; ``number`` from 0."""
    return "control" if number == 0 else f"control_{number + 1}"


def _numbered(slot: Slot) -> Placed:
    """The same with several controls as ``x_0``, ``x_1`` in one folder."""
    several = len(slot.controls) > 1
    controls = tuple(
        f"{slot.prefix}control/{slot.stem}{f'_{number}' if several else ''}.{extension}"
        for number, extension in enumerate(slot.controls)
    )
    folder = f"{slot.prefix}target/{slot.stem}"
    return Placed(f"{folder}.{slot.target}", controls, f"{folder}.txt")


def _flat(slot: Slot) -> Placed:
    """``x_start``, ``x_start2``, ``x_end`` and ``x.txt``, all in one place."""
    controls = tuple(
        f"{slot.prefix}{slot.stem}_start{number or ''}.{extension}"
        for number, extension in zip((0, 2, 3), slot.controls, strict=False)
    )
    return Placed(f"{slot.prefix}{slot.stem}_end.{slot.target}", controls, f"{slot.prefix}{slot.stem}.txt")


def _image_folder(slot: Slot) -> Placed:
    """Pictures beside the ``metadata.jsonl`` that holds the captions."""
    controls = tuple(
        f"{slot.prefix}{slot.stem}_input{number + 1 if number else ''}.{extension}"
        for number, extension in enumerate(slot.controls)
    )
    return Placed(f"{slot.prefix}{slot.stem}_output.{slot.target}", controls, None)


def _tabled(slot: Slot) -> Placed:
    """Targets and controls in two folders, captions in a table."""
    return msgspec.structs.replace(_numbered(slot), caption=None)


_COMMON: Final = frozenset({"jpg", "png", "webp"})

LAYOUTS: Final[dict[Trainer, Layout]] = {
    layout.trainer: layout
    for layout in (
        Layout(Trainer.AI_TOOLKIT, "AI-Toolkit", _beside, _COMMON, even_controls=True),
        Layout(Trainer.FAL, "fal (Kontext, Qwen-Edit, Flux 2)", _flat, _COMMON, even_controls=True, archives=True),
        Layout(Trainer.MUSUBI, "musubi-tuner", _numbered, _COMMON | {"bmp"}),
        Layout(Trainer.KOHYA, "kohya sd-scripts", _beside, _COMMON | {"bmp"}, max_controls=1),
        Layout(
            Trainer.HUGGING_FACE,
            "Hugging Face imagefolder, diffusers",
            _image_folder,
            _COMMON | {"bmp", "gif"},
            even_controls=True,
        ),
        Layout(Trainer.DIFFSYNTH, "DiffSynth-Studio", _tabled, _COMMON, even_controls=True),
        Layout(Trainer.SIMPLETUNER, "SimpleTuner", _beside, _COMMON, even_controls=True, same_extension=True),
    )
}
