"""Writes a set for a trainer: prepares pictures in threads, writes them in order, all or nothing."""

from __future__ import annotations

import contextlib
import os
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from engine.dataset.buckets import RESOLUTION
from engine.dataset.captions import CaptionRule, check_captions
from engine.dataset.configurations import text_files
from engine.dataset.features import Overlay
from engine.dataset.findings import Thresholds
from engine.dataset.layouts import LAYOUTS, Layout, Placed, Slot, Trainer, fit_stem, fit_title, prefix_of
from engine.dataset.manifests import Row, SetFacts
from engine.dataset.measure import EXTRA_PACKAGES, can_register, install_line
from engine.dataset.naming import SaveRule, check_rule, image_stem, name_context, safe_stem
from engine.dataset.pair_files import PairMaker, PairOrder, ReadyPair, kinds_of
from engine.dataset.pairs import Pair
from engine.dataset.preflight import Wanted
from engine.dataset.publish import PUBLISH_PACKAGES, can_publish, new_shards
from engine.dataset.save import FIELD, check_output
from engine.dataset.sinks import Sink, new_set
from engine.dataset.split import Side, SplitRule, split
from engine.dataset.transform import PictureRule, check_pictures
from engine.dataset.variants import Reverse, VariantRule, caption_for, check_variants, variants
from engine.errors import Code, InvalidInput
from engine.paths import folded
from engine.upstream.cancel import CancelToken

MOST_REPEATS: Final = 1000
_PATTERN: Final = re.compile(r"[\[\]*?]|\$[\w{]")  # what ``datasets`` fills in, however a shell is given it
_SEPARATORS: Final = "/\\"
_FOLDERS_SHOWN: Final = 20
_WORKERS: Final = 8


class SetPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to write. ``stem_template`` names pairs, as file names of results are named; ``as_zip``: one ZIP instead of
    a folder (a trainer that takes ZIPs gets them in a folder either way). ``path_root``: the folder on the machine that
    trains in which the set will lie, "" for paths relative to the files that name them. ``masks``: a picture for each
    pair of what was changed in it. ``num_repeats``: how often an epoch shows each pair for training;
    ``folder_repeats``: those whose source lies in or below one of these folders."""

    trainer: Trainer = Trainer.AI_TOOLKIT
    name: str = "set"
    captions: CaptionRule = CaptionRule()
    pictures: PictureRule = PictureRule()
    split: SplitRule = SplitRule()
    as_zip: bool = False
    stem_template: str = "{global_index:04}"
    variants: VariantRule = VariantRule()
    path_root: str = ""
    masks: bool = False
    num_repeats: int = 1
    folder_repeats: dict[str, int] = {}

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Edges of the squares that the training uses, from small to large."""
        return tuple(sorted(set(self.pictures.resolutions))) or (RESOLUTION,)

    @property
    def title(self) -> str:
        """The name as a folder may have it."""
        return fit_title(safe_stem(self.name.strip()), LAYOUTS[self.trainer])


class Exported(msgspec.Struct, frozen=True):
    """What was written. ``bytes``: of pictures, captions and tables together."""

    path: str
    pairs: int
    validation: int
    files: int
    bytes: int


def check_plan(plan: SetPlan) -> None:
    """Raises InvalidInput naming the field."""
    check_captions(plan.captions)
    check_pictures(plan.pictures)
    check_variants(plan.variants)
    if plan.trainer is Trainer.PREFERENCE and (plan.variants.no_op_share or plan.variants.reverse is not Reverse.OFF):
        # One of two results is the better one for its own prompt and source only.
        name = "no_op_share" if plan.variants.no_op_share else "reverse"
        raise InvalidInput(Code.FIELD_CHOICE, field=name, name=name, choices="0" if name == "no_op_share" else "off")
    _check_repeats(plan, LAYOUTS[plan.trainer])
    if plan.trainer is Trainer.HUGGING_FACE and _PATTERN.search(plan.path_root):
        raise InvalidInput(Code.PATH_ROOT_PATTERN, field="path_root", path=plan.path_root)
    if plan.masks and not can_register():
        raise InvalidInput(Code.EXTRA_MISSING, field="masks", command=install_line(EXTRA_PACKAGES))
    if plan.trainer is Trainer.PARQUET and not can_publish():
        command = install_line(PUBLISH_PACKAGES, "publish")
        raise InvalidInput(Code.PUBLISH_EXTRA_MISSING, field="trainer", command=command)
    check_rule(SaveRule(filename_template=plan.stem_template))
    if not 0 <= plan.split.validation <= 0.9:
        raise InvalidInput(Code.FIELD_RANGE, field="validation", name="validation", minimum=0, maximum=0.9,
                           value=plan.split.validation)  # fmt: skip
    if not plan.name.strip():
        raise InvalidInput(Code.FIELD_REQUIRED, field="name", name="name")


def _check_repeats(plan: SetPlan, layout: Layout) -> None:
    if plan.folder_repeats and not layout.grouped:
        titles = ", ".join(one.title for one in LAYOUTS.values() if one.grouped)
        raise InvalidInput(Code.NO_FOLDER_REPEATS, field="folder_repeats", trainer=layout.title, trainers=titles)
    most = MOST_REPEATS if layout.repeats else 1
    for name, number in (
        ("num_repeats", plan.num_repeats),
        *(("folder_repeats", n) for n in plan.folder_repeats.values()),
    ):
        if not 1 <= number <= most:
            raise InvalidInput(Code.FIELD_RANGE, field=name, name=name, minimum=1, maximum=most, value=number)


def check_folders(plan: SetPlan, pairs: Sequence[Pair]) -> None:
    """Raises InvalidInput (FOLDER_WITHOUT_PAIRS) for repeats of a folder that no source lies in or below."""
    known = {folder for pair in pairs for folder in _folders_of(pair)}
    for folder in plan.folder_repeats:
        if _plain(folder) not in known:
            shown = ", ".join(sorted(known - {""})[:_FOLDERS_SHOWN]) or "–"
            raise InvalidInput(Code.FOLDER_WITHOUT_PAIRS, field="folder_repeats", folder=folder, folders=shown)


def repeats_of(pair: Pair, plan: SetPlan) -> int:
    """How often an epoch shows a pair for training: as the nearest folder says that has a number."""
    given = {_plain(folder): number for folder, number in plan.folder_repeats.items()}
    return next((given[folder] for folder in _folders_of(pair) if folder in given), plan.num_repeats)


def _folders_of(pair: Pair) -> list[str]:
    """The folder of a pair's source and those that it lies in, from the inside; the last is that of all, ""."""
    parts = folded(pair.folder).split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)] + [""]


def _plain(folder: str) -> str:
    return folded(folder.strip().replace("\\", "/").strip("/"))


def wanted_for(plan: SetPlan, thresholds: Thresholds) -> Wanted:
    """What preflight has to see to for this plan."""
    layout = LAYOUTS[plan.trainer]
    return Wanted(
        thresholds, plan.captions, plan.split, layout.max_controls, layout.even_controls, layout.reader,
        plan.pictures, plan.resolutions, plan.variants,
    )  # fmt: skip


def check_place(folder: str, pairs: Sequence[Pair], sent: Sequence[str] = ()) -> Path:
    """The folder to write into, made where it is missing. Raises what `check_output` raises, and InvalidInput
    (EXPORT_INSIDE_SOURCE) for one that lies in a folder of sources, or in one of those that were ``sent`` with all
    below: a later start would send the set itself."""
    parents = {Path(control.path).parent.resolve() for pair in pairs for control in pair.controls}
    roots = {root for root in (Path(one).resolve() for one in sent) if any(p.is_relative_to(root) for p in parents)}

    def refuse(entered: Path) -> None:
        wanted = entered.resolve()
        for source in (*roots, *parents):
            if wanted.is_relative_to(source):
                raise InvalidInput(Code.EXPORT_INSIDE_SOURCE, field=FIELD, path=str(wanted), source=str(source))

    return check_output(folder, refuse).absolute()


class Planned(msgspec.Struct, frozen=True):
    """A pair of the set: its side, the folder of that, and its stem."""

    pair: Pair
    side: Side
    prefix: str
    stem: str


def arranged(pairs: Sequence[Pair], plan: SetPlan) -> list[Planned]:
    """What is written of ``pairs``, in this order: with those turned round and those that change nothing. Raises
    InvalidInput (SET_EMPTY)."""
    if not pairs:
        raise InvalidInput(Code.SET_EMPTY)
    layout = LAYOUTS[plan.trainer]
    # More than the trainer takes are there only where somebody allowed it: the first ones are written.
    fitting = [msgspec.structs.replace(pair, controls=pair.controls[: layout.max_controls]) for pair in pairs]
    made = variants(fitting, plan.variants, plan.split.seed)
    prefixes = {side: prefix_of(side, plan.split.validation > 0, layout) for side in Side}
    sides, names = split(made, plan.split), _stems(made, plan.stem_template)
    return [Planned(pair, side, prefixes[side], stem) for pair, side, stem in zip(made, sides, names, strict=True)]


def prefixes_of(planned: Sequence[Planned]) -> dict[Side, str]:
    """The folder of each side that has pairs, training first."""
    found = {one.side: one.prefix for one in planned}
    return {side: found[side] for side in Side if side in found}


def _stems(pairs: Sequence[Pair], template: str) -> list[str]:
    """A stem for each pair, no two alike on any file system; names that clash get ``-2``, ``-3`` …"""
    rule = SaveRule(filename_template=template)
    taken: set[str] = set()
    chosen = []
    for number, pair in enumerate(pairs, 1):
        context = name_context(pair.name, pair.task_id, pair.id, pair.index, number)
        stem = fit_stem(image_stem(rule, context).replace("/", "_"))  # a layout has folders of its own
        candidate, count = stem, 1
        while (name := folded(candidate)) in taken:
            count += 1
            candidate = f"{stem}-{count}"
        taken.add(name)
        chosen.append(candidate)
    return chosen


class Filled(msgspec.Struct, frozen=True):
    """What a pair's files will hold: caption, extensions (the target's first), size of the target in pixels, sha256 of
    the sources as they were read."""

    caption: str
    extensions: tuple[str, ...]
    size: tuple[int, int]
    source_hashes: tuple[str, ...] = ()


def row_of(plan: SetPlan, planned: Planned, filled: Filled) -> Row:
    """A pair with the places of its files. Those with repeats of their own lie in a folder of their own, since
    trainers count by folder; what is held out is seen once."""
    pair, side, stem = planned.pair, planned.side, planned.stem
    repeats = repeats_of(pair, plan) if side is Side.TRAIN else 1
    usual = plan.num_repeats if side is Side.TRAIN else 1
    at = planned.prefix if repeats == usual else f"{planned.prefix}repeats_{repeats}/"
    target, *controls = filled.extensions
    placed = LAYOUTS[plan.trainer].place(Slot(stem, at, target, tuple(controls)))
    if plan.masks:
        placed = msgspec.structs.replace(placed, mask=f"mask/{stem}.png")
    return Row(pair, side, placed, filled.caption, filled.source_hashes, filled.size, at, repeats)


def facts_of(plan: SetPlan, name: str, rows: Sequence[Row], prefixes: dict[Side, str]) -> SetFacts:
    """What configurations tell of the set ``name``; with a root each path lies where the training machine has it."""
    given = plan.path_root.strip()
    root = f"{given.rstrip(_SEPARATORS)}/{name}" if given else ""
    return SetFacts(
        name=name, title=plan.title, root=root, rows=rows, prefixes=prefixes, resolutions=plan.resolutions,
        masks=plan.masks,
    )  # fmt: skip


def export_set(
    pairs: Sequence[Pair],
    plan: SetPlan,
    folder: Path,
    *,
    overlays: Mapping[str, Overlay],
    maker: PairMaker | None = None,
    cancel: CancelToken | None = None,
    expect: Callable[[int], None] = lambda _: None,
    progress: Callable[[int], None] = lambda _: None,
) -> Exported:
    """Write ``pairs`` into a new version folder (or ZIP) in ``folder``.

    ``overlays``: by pair id, for those to be cut with ``crop_align``; ``maker``: who makes pairs ready, we where it is
    None. ``expect`` hears how many will be written, reversed pairs and those that change nothing too, ``progress`` how
    many are. Nothing stays after a stop or a failure. Raises InvalidInput (SET_EMPTY, SOURCE_MISSING, SOURCE_CHANGED),
    PictureRejected, StorageFailed.
    """
    layout = LAYOUTS[plan.trainer]
    planned = arranged(pairs, plan)
    prefixes = prefixes_of(planned)
    archives = tuple(prefixes.values()) if layout.archives else ()
    expect(len(planned))
    with new_set(folder, plan.title, as_zip=plan.as_zip, archives=archives) as (sink, target):
        counted = _Counted(sink)
        taken = [one.pair for one in planned]
        most = max(len(pair.controls) for pair in taken)
        shards = new_shards(plan.trainer, counted.add, most) if layout.shards else None
        rows: list[Row] = []
        kinds = kinds_of(taken, layout.reader.formats) if layout.one_kind else ()
        orders = (
            PairOrder(
                pair=pair, pictures=plan.pictures, trainer=plan.trainer, masks=plan.masks,
                overlay=overlays.get(pair.id), kinds=tuple(kinds[: len(pair.controls) + 1]),
            )
            for pair in taken
        )  # fmt: skip
        with contextlib.closing(_prepared(orders, maker or PairMaker(), cancel or CancelToken())) as stream:
            for one, ready in zip(planned, stream, strict=True):
                caption = caption_for(one.pair, plan.captions, plan.variants, len(rows) + 1)
                extensions = tuple(picture.extension for picture in (ready.target, *ready.controls))
                filled = Filled(caption, extensions, ready.target.size, ready.source_hashes)
                row = row_of(plan, one, filled)
                files = _files(row.placed, ready, caption)
                if shards is not None:
                    shards.add(row, files)
                else:
                    for path, data in files:
                        counted.add(path, data)
                rows.append(row)
                progress(len(rows))
        facts = facts_of(plan, target.name.removesuffix(".zip"), rows, prefixes)
        texts = shards.close(facts) if shards is not None else text_files(plan.trainer, facts)
        for path, text in texts.items():
            counted.add(path, text.encode("utf-8", "backslashreplace"))
    validation = sum(one.side is Side.VALIDATION for one in planned)
    return Exported(str(target), len(rows), validation, counted.files, counted.bytes)


class _Counted:
    """A sink that counts."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.files = 0
        self.bytes = 0

    def add(self, path: str, data: bytes) -> None:
        self._sink.add(path, data)
        self.files += 1
        self.bytes += len(data)


def _files(placed: Placed, ready: ReadyPair, caption: str) -> list[tuple[str, bytes]]:
    """The target first, then the controls in their order, caption and mask."""
    files = [(placed.target, ready.target.data)]
    files += [(path, control.data) for path, control in zip(placed.controls, ready.controls, strict=True)]
    if placed.caption:
        files.append((placed.caption, caption.encode("utf-8", "backslashreplace")))
    if placed.mask and ready.mask is not None:
        files.append((placed.mask, ready.mask))
    return files


def _prepared(orders: Iterable[PairOrder], maker: PairMaker, cancel: CancelToken) -> Generator[ReadyPair, None, None]:
    """Pairs made ready by threads, in order, only a few ahead of the one that is being written."""
    workers = maker.threads or min(_WORKERS, os.cpu_count() or 1)
    under_way: deque[Future[ReadyPair]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="export") as pool:
        try:
            for order in orders:
                cancel.check()
                under_way.append(pool.submit(maker.make, order, cancel))
                if len(under_way) > workers:
                    yield under_way.popleft().result()
            while under_way:
                cancel.check()
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
