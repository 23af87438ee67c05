"""Writes a set for a trainer: prepares pictures in threads, writes them in order, all or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from engine.dataset.captions import CaptionRule, caption_of, check_captions
from engine.dataset.features import Overlay
from engine.dataset.findings import Thresholds
from engine.dataset.layouts import LAYOUTS, Layout, Placed, Slot, Trainer, fit_stem, prefix_of
from engine.dataset.manifests import Row, SetFacts, manifests
from engine.dataset.naming import SaveRule, check_rule, image_stem, name_context, safe_stem
from engine.dataset.pairs import Pair
from engine.dataset.preflight import Wanted
from engine.dataset.save import FIELD, check_output
from engine.dataset.sinks import Sink, new_set
from engine.dataset.split import Side, SplitRule, split
from engine.dataset.transform import PictureRule, Written, check_pictures, prepare
from engine.errors import Code, InvalidInput, PictureRejected, StorageFailed
from engine.images.picture import with_path
from engine.paths import entered_path, folded

_WORKERS: Final = 8


class SetPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to write. ``stem_template`` names pairs, as file names of results are named; ``as_zip``: one ZIP instead of
    a folder (a trainer that takes ZIPs gets them in a folder either way)."""

    trainer: Trainer = Trainer.AI_TOOLKIT
    name: str = "set"
    captions: CaptionRule = CaptionRule()
    pictures: PictureRule = PictureRule()
    split: SplitRule = SplitRule()
    as_zip: bool = False
    stem_template: str = "{global_index:04}"


class Exported(msgspec.Struct, frozen=True):
    """What was written. ``bytes``: of pictures, captions and tables together."""

    path: str
    pairs: int
    validation: int
    files: int
    bytes: int


class _Ready(msgspec.Struct, frozen=True):
    """A pair's pictures, ready to be written, and the hashes of its sources."""

    target: Written
    controls: list[Written]
    source_hashes: tuple[str, ...]


def check_plan(plan: SetPlan) -> None:
    """Raises InvalidInput naming the field."""
    check_captions(plan.captions)
    check_pictures(plan.pictures)
    check_rule(SaveRule(filename_template=plan.stem_template))
    if not 0 <= plan.split.validation <= 0.9:
        raise InvalidInput(Code.FIELD_RANGE, field="validation", name="validation", minimum=0, maximum=0.9,
                           value=plan.split.validation)  # fmt: skip
    if not plan.name.strip():
        raise InvalidInput(Code.FIELD_REQUIRED, field="name", name="name")


def wanted_for(plan: SetPlan, thresholds: Thresholds) -> Wanted:
    """What preflight has to see to for this plan."""
    layout = LAYOUTS[plan.trainer]
    return Wanted(thresholds, plan.captions, plan.split, layout.max_controls, layout.even_controls)


def check_place(folder: str, pairs: Sequence[Pair], sent: Sequence[str] = ()) -> Path:
    """The folder to write into, made where it is missing. Raises what `check_output` raises, and InvalidInput
    (EXPORT_INSIDE_SOURCE) for one that lies in a folder of sources, or in one of those that were ``sent`` with all
    below: a later start would send the set itself."""
    entered = entered_path(folder, FIELD)
    wanted = Path(entered).resolve() if entered else None
    parents = {Path(control.path).parent.resolve() for pair in pairs for control in pair.controls}
    roots = {root for root in (Path(one).resolve() for one in sent) if any(p.is_relative_to(root) for p in parents)}
    for source in (*roots, *parents):
        if wanted is not None and wanted.is_relative_to(source):
            raise InvalidInput(Code.EXPORT_INSIDE_SOURCE, field=FIELD, path=str(wanted), source=str(source))
    return check_output(folder).absolute()


def stems(pairs: Sequence[Pair], template: str) -> list[str]:
    """A stem for each pair, no two alike on any file system; names that clash get ``-2``, ``-3`` …"""
    rule = SaveRule(filename_template=template)
    taken: set[str] = set()
    chosen = []
    for number, pair in enumerate(pairs, 1):
        context = name_context(pair.name, pair.task_id, pair.id, pair.index, number)
        stem = fit_stem(image_stem(rule, context))
        candidate, count = stem, 1
        while (name := folded(candidate)) in taken:
            count += 1
            candidate = f"{stem}-{count}"
        taken.add(name)
        chosen.append(candidate)
    return chosen


def export_set(
    pairs: Sequence[Pair],
    plan: SetPlan,
    folder: Path,
    *,
    overlays: Mapping[str, Overlay],
    check: Callable[[], None] = lambda: None,
    progress: Callable[[int], None] = lambda _: None,
) -> Exported:
    """Write ``pairs`` into a new version folder (or ZIP) in ``folder``.

    ``overlays``: by pair id, for those to be cut with ``crop_align``. ``check`` is called before each pair and may
    raise; nothing stays then, as after any failure. Raises InvalidInput (SET_EMPTY, SOURCE_MISSING, SOURCE_CHANGED),
    PictureRejected, StorageFailed.
    """
    check_plan(plan)
    if not pairs:
        raise InvalidInput(Code.SET_EMPTY)
    layout = LAYOUTS[plan.trainer]
    sides = split(pairs, plan.split)
    prefixes = {side: prefix_of(side, plan.split.validation > 0, layout) for side in Side if side in sides}
    archives = tuple(prefixes.values()) if layout.archives else ()
    with new_set(folder, safe_stem(plan.name.strip()), as_zip=plan.as_zip, archives=archives) as (sink, target):
        counted = _Counted(sink)
        rows: list[Row] = []
        names = stems(pairs, plan.stem_template)
        with contextlib.closing(_prepared(pairs, plan, layout, overlays, check)) as stream:
            for pair, side, stem, ready in zip(pairs, sides, names, stream, strict=True):
                caption = caption_of(plan.captions, pair, len(rows) + 1)
                extensions = tuple(control.extension for control in ready.controls)
                placed = layout.place(Slot(stem, prefixes[side], ready.target.extension, extensions))
                _write(counted, placed, ready, caption)
                rows.append(Row(pair, side, placed, caption, ready.source_hashes))
                progress(len(rows))
        place = target.with_suffix("") if target.suffix == ".zip" else target
        facts = SetFacts(target.name.removesuffix(".zip"), place.as_posix(), rows, prefixes)
        for path, text in manifests(plan.trainer, facts).items():
            counted.add(path, text.encode("utf-8", "backslashreplace"))
    return Exported(str(target), len(rows), sides.count(Side.VALIDATION), counted.files, counted.bytes)


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


def _write(sink: _Counted, placed: Placed, ready: _Ready, caption: str) -> None:
    sink.add(placed.target, ready.target.data)
    for path, control in zip(placed.controls, ready.controls, strict=True):
        sink.add(path, control.data)
    if placed.caption:
        sink.add(placed.caption, caption.encode("utf-8", "backslashreplace"))


def _prepared(
    pairs: Sequence[Pair], plan: SetPlan, layout: Layout, overlays: Mapping[str, Overlay], check: Callable[[], None]
) -> Generator[_Ready, None, None]:
    """Pairs prepared by threads, in order, only a few ahead of the one that is being written."""
    workers = min(_WORKERS, os.cpu_count() or 1)
    under_way: deque[Future[_Ready]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="export") as pool:
        try:
            for pair in pairs:
                check()
                under_way.append(pool.submit(_prepare, pair, plan.pictures, layout, overlays.get(pair.id)))
                if len(under_way) > workers:
                    yield under_way.popleft().result()
            while under_way:
                check()
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def _prepare(pair: Pair, rule: PictureRule, layout: Layout, overlay: Overlay | None) -> _Ready:
    """Read, check against what was sent and what came, transform."""
    controls = [_read(control.path, Code.SOURCE_MISSING) for control in pair.controls]
    hashes = tuple(hashlib.sha256(data).hexdigest() for data in controls)
    for control, digest in zip(pair.controls, hashes, strict=True):
        if control.sent_hash and control.sent_hash != digest:
            raise InvalidInput(Code.SOURCE_CHANGED, path=control.path)
    target = _read(pair.target.path, Code.RESULT_FILE_MISSING)
    if hashlib.sha256(target).hexdigest() != pair.target.hash:
        raise StorageFailed(Code.RESULT_CHANGED, path=pair.target.path)
    try:
        done, others = prepare(
            target, controls, rule, formats=layout.formats, same_extension=layout.same_extension, overlay=overlay
        )
    except PictureRejected as error:
        raise with_path(error, pair.control.path) from error
    return _Ready(done, others, hashes)


def _read(path: str, missing: Code) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError as error:
        raise InvalidInput(missing, path=path) from error
    except OSError as error:
        raise PictureRejected(Code.PICTURE_UNREADABLE, path=path, reason=error.strerror or "") from error
