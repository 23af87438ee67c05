"""How each trainer wants its files laid out and named, and what a set for it must have; pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from engine.dataset.buckets import Buckets, at_most, by_area, by_list, by_range, by_ratio, cut_by_klein, downwards
from engine.dataset.split import Side
from engine.dataset.transform import Reader


class Trainer(StrEnum):
    """Trainers that sets are made for."""

    AI_TOOLKIT = "ai_toolkit"
    FAL = "fal"
    MUSUBI = "musubi"
    KOHYA = "kohya"
    HUGGING_FACE = "hugging_face"
    DIFFSYNTH = "diffsynth"
    SIMPLETUNER = "simpletuner"
    DIFFUSION_PIPE = "diffusion_pipe"
    PREFERENCE = "preference"
    WEBDATASET = "webdataset"
    PARQUET = "parquet"


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
    mask: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Every one of them."""
        return (self.target, *self.controls, *(path for path in (self.caption, self.mask) if path))


class Layout(msgspec.Struct, frozen=True):
    """A trainer's rules. ``reader``: what it reads; ``even_controls``: each pair needs as many, or its training fails;
    ``archives``: it takes a ZIP for each side; ``sided``: always in a folder of their side, split or not;
    ``validates``: it has validation sets, and so a configuration for them; ``shards``: its files lie in larger ones;
    ``one_kind``: all targets are of one format, and all controls in one place;
    ``repeats``: its configuration says how often an epoch shows a pair; ``grouped``: and so for each of its folders."""

    trainer: Trainer
    title: str
    place: Callable[[Slot], Placed]
    reader: Reader
    max_controls: int = 8
    even_controls: bool = False
    archives: bool = False
    sided: bool = False
    validates: bool = False
    shards: bool = False
    one_kind: bool = False
    repeats: bool = True
    grouped: bool = False


def prefix_of(side: Side, is_split: bool, layout: Layout) -> str:
    """The folder of a side: none while there is no split, unless the trainer wants one."""
    return f"{side}/" if is_split or layout.archives or layout.sided else ""


def fit_title(title: str, layout: Layout) -> str:
    """The name of a set's folder; ``datasets`` takes brackets in a path for a pattern, and finds nothing."""
    title = _no_variables(unicodedata.normalize("NFC", title))
    return title.replace("[", "(").replace("]", ")") if layout.sided else title


def fit_stem(stem: str) -> str:
    """A stem whose end no trainer takes for one of its own suffixes (``_0``, ``_start``, ``_end``, ``-condlabel``), in
    the form of letters that tables have, whichever a Mac gave it."""
    stem = _no_variables(unicodedata.normalize("NFC", stem))
    stem = re.sub(r"[_-]+(\d+)$", r"-\1", stem)
    return re.sub(r"[_-]+(start\d?|end|condlabel|masklabel)$", r"-\1", stem, flags=re.IGNORECASE)


def _no_variables(name: str) -> str:
    """``datasets`` puts the value of ``$HOME`` or ``%HOME%`` in its place, in names of files too."""
    return re.sub(r"[$%](?=[\w{])", "_", name)


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
    """``x_start``, ``x_start2`` … ``x_start4``, ``x_end`` and ``x.txt``, all in one place."""
    controls = tuple(
        f"{slot.prefix}{slot.stem}_start{number or ''}.{extension}"
        for number, extension in zip((0, 2, 3, 4), slot.controls, strict=False)
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


def _chosen(slot: Slot) -> Placed:
    """A source with the answer that was kept and the one that was not, the latter as the last of the controls."""
    *sources, rejected = slot.controls
    controls = [
        f"{slot.prefix}source/{slot.stem}{f'_{number}' if number else ''}.{extension}"
        for number, extension in enumerate(sources)
    ]
    last = f"{slot.prefix}rejected/{slot.stem}.{rejected}"
    return Placed(f"{slot.prefix}chosen/{slot.stem}.{slot.target}", (*controls, last), None)


_COMMON: Final = frozenset({"jpg", "png", "webp"})
_PLAIN: Final = Reader(_COMMON)
_AREA: Final = Buckets(by_area, 32)

LAYOUTS: Final[dict[Trainer, Layout]] = {
    layout.trainer: layout
    for layout in (
        Layout(
            Trainer.AI_TOOLKIT, "AI-Toolkit", _beside, Reader(_COMMON, buckets=_AREA), even_controls=True, grouped=True
        ),
        Layout(
            Trainer.FAL,
            "fal (Kontext, Qwen-Edit, Flux 2)",
            _flat,
            _PLAIN,
            max_controls=4,
            even_controls=True,
            archives=True,
            repeats=False,
        ),
        Layout(
            Trainer.MUSUBI,
            "musubi-tuner",
            _numbered,
            Reader(_COMMON | {"bmp"}, buckets=Buckets(by_list, 16)),
            grouped=True,
        ),
        Layout(
            Trainer.KOHYA,
            "kohya sd-scripts (ControlNet, LLLite)",
            _beside,
            Reader(_COMMON | {"bmp"}, equal_sizes=True, buckets=Buckets(by_range, 64)),
            max_controls=1,
            grouped=True,
        ),
        Layout(
            Trainer.HUGGING_FACE,
            "Hugging Face imagefolder, diffusers",
            _image_folder,
            Reader(_COMMON | {"bmp", "gif"}, buckets=Buckets(at_most, 16), control_cut=cut_by_klein),
            max_controls=1,
            sided=True,
            validates=True,
        ),
        Layout(Trainer.DIFFSYNTH, "DiffSynth-Studio", _tabled, Reader(_COMMON, buckets=Buckets(downwards, 16))),
        Layout(
            Trainer.SIMPLETUNER,
            "SimpleTuner",
            _beside,
            Reader(_COMMON, same_extension=True, buckets=Buckets(by_ratio, 64)),
            even_controls=True,
            validates=True,
            grouped=True,
        ),
        Layout(
            Trainer.DIFFUSION_PIPE,
            "diffusion-pipe",
            _beside,
            Reader(_COMMON, buckets=_AREA),
            max_controls=1,
            validates=True,
            grouped=True,
        ),
        Layout(Trainer.PREFERENCE, "preference pairs", _chosen, _PLAIN, validates=True, repeats=False),
        Layout(
            Trainer.WEBDATASET,
            "WebDataset",
            _image_folder,
            _PLAIN,
            even_controls=True,
            sided=True,
            validates=True,
            shards=True,
            one_kind=True,
            repeats=False,
        ),
        Layout(
            Trainer.PARQUET,
            "Hugging Face parquet",
            _image_folder,
            _PLAIN,
            sided=True,
            validates=True,
            shards=True,
            repeats=False,
        ),
    )
}
