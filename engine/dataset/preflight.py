"""Looks through a set for pairs that would spoil it: each pair in a thread, then what only shows between pairs."""

from __future__ import annotations

import os
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final

import msgspec

from engine.dataset.buckets import RESOLUTION
from engine.dataset.captions import CaptionRule
from engine.dataset.features import Look, finger_distance, near_fingers, tint_distance
from engine.dataset.findings import (
    NOTES,
    Finding,
    FindingKind,
    Shape,
    Thresholds,
    judge,
    misread,
    place_of,
    settled,
    shape_between,
)  # fmt: skip
from engine.dataset.measure import Measured, Measurer
from engine.dataset.pairs import Pair
from engine.dataset.split import Side, SplitRule, source_key, split
from engine.dataset.transform import PictureRule, Reader, sized_for
from engine.dataset.variants import Reverse, VariantRule, is_told
from engine.errors import Code, InvalidInput, PictureRejected
from engine.upstream.cancel import CancelToken

_TWIN_TINT: Final = 25.0  # mean difference of coarse colours beyond which pictures with like fingerprints are no twins
_WORKERS: Final = 8


class Wanted(msgspec.Struct, frozen=True):
    """What the set is to be: thresholds, captions, split, how many controls its trainer takes (evenly, or not),
    what it reads and how pictures are brought to it, and which pairs are made of each."""

    thresholds: Thresholds = Thresholds()
    captions: CaptionRule = CaptionRule()
    split: SplitRule = SplitRule()
    max_controls: int = 3
    even_controls: bool = False
    reader: Reader = Reader(frozenset())
    pictures: PictureRule = PictureRule()
    resolutions: tuple[int, ...] = (RESOLUTION,)
    variants: VariantRule = VariantRule()


class Numbers(msgspec.Struct, frozen=True):
    """What was measured of a pair: see `Measured` and `Place`; None where OpenCV was missing."""

    shape: Shape
    change: float
    contrast: float
    likeness: float | None
    shift: float | None
    zoom: float | None
    colour_drift: float | None = None
    content_drift: float | None = None


class Preflight(msgspec.Struct, frozen=True):
    """All findings in order of pairs; numbers and task ids by pair id. ``registered``: places were measured."""

    pairs: int
    findings: list[Finding]
    numbers: dict[str, Numbers]
    registered: bool
    tasks: dict[str, str] = {}

    @property
    def counts(self) -> dict[FindingKind, int]:
        """How many pairs have each kind."""
        return dict(Counter(finding.kind for finding in self.findings))

    @property
    def by_pair(self) -> dict[str, list[FindingKind]]:
        """Kinds by pair id, for pairs that have any."""
        found: dict[str, list[FindingKind]] = {}
        for finding in self.findings:
            found.setdefault(finding.pair_id, []).append(finding.kind)
        return found

    @property
    def bad(self) -> set[str]:
        """Ids of the pairs that have more against them than notes."""
        return {finding.pair_id for finding in self.findings if finding.kind not in NOTES}


def check_clean(report: Preflight) -> None:
    """Raises InvalidInput (SET_HAS_FINDINGS) where any pair has more against it than notes."""
    if report.bad:
        kinds = ", ".join(sorted({finding.kind.value for finding in report.findings if finding.kind not in NOTES}))
        raise InvalidInput(Code.SET_HAS_FINDINGS, count=len(report.bad), total=report.pairs, kinds=kinds)


class _Seen(msgspec.Struct, frozen=True):
    """A pair's pictures measured, or why they could not be."""

    measured: Measured | None
    finding: Finding | None


def inspect(
    pairs: Sequence[Pair],
    wanted: Wanted,
    measurer: Measurer,
    *,
    registered: bool,
    cancel: CancelToken | None = None,
    progress: Callable[[int], None] = lambda _: None,
    found: Callable[[Sequence[Finding]], None] = lambda _: None,
    workers: int | None = None,
) -> Preflight:
    """Look through ``pairs``. ``progress`` gets the number of pairs done, ``found`` what was found in a pair, as soon
    as it was. Raises Stopped.

    Pictures are held for as many pairs as there are ``workers`` (processors, at most 8) and no longer.
    """
    cancel = cancel or CancelToken()
    by_pair: dict[str, list[Finding]] = {pair.id: [] for pair in pairs}

    def done(number: int, one: _Seen) -> None:
        by_pair[pairs[number].id] = findings = _judged(pairs[number], one, wanted, number + 1)
        if findings:
            found(findings)
        progress(number + 1)

    workers = workers or measurer.threads or min(_WORKERS, os.cpu_count() or 1)
    seen = _all(pairs, measurer, wanted.thresholds, cancel, done, workers)
    for finding in (
        *_same_targets(pairs),
        *_controls(pairs, wanted),
        *_split_twins(pairs, seen, wanted, cancel),
    ):
        by_pair[finding.pair_id].append(finding)
    numbers = {pair.id: _numbers(one.measured) for pair, one in zip(pairs, seen, strict=True) if one.measured}
    findings = [finding for found in by_pair.values() for finding in found]
    return Preflight(len(pairs), findings, numbers, registered, {pair.id: pair.task_id for pair in pairs})


def _judged(pair: Pair, seen: _Seen, wanted: Wanted, number: int) -> list[Finding]:
    """All that a pair says by itself; ``number``: its 1-based place."""
    found = [seen.finding] if seen.finding else []
    if (measured := seen.measured) is not None:
        found += [
            Finding(pair.id, pair.task_id, kind, round(share * 100, 2), limit)
            for kind, share, limit in _cut(measured.target, measured.control, wanted)
        ]
    try:
        told, problem = is_told(pair, wanted.captions, wanted.variants, number), None
    except InvalidInput as error:
        told, problem = False, error.problem
    if not told:
        found.append(Finding(pair.id, pair.task_id, FindingKind.NO_CAPTION, problem=problem))
    if measured is None:
        return found
    return [
        *judge(pair.id, pair.task_id, measured, wanted.thresholds),
        *misread(pair.id, pair.task_id, (measured.control, measured.target)),
        *found,
    ]


def _cut(target: Look, control: Look, wanted: Wanted) -> Iterator[tuple[FindingKind, float, float]]:
    """What the trainer would cut off: finding, part of the picture, percent from which on it counts."""
    sizes = [(look.width, look.height) for look in (target, control)]
    buckets, limit = wanted.reader.buckets, wanted.thresholds.bucket_loss
    loss = buckets.loss(sizes[0], wanted.resolutions, wanted.pictures.step) if buckets is not None else 0.0
    if buckets is not None and loss * 100 >= limit:
        yield FindingKind.BUCKET_LOSS, loss, limit
    ways = {Reverse.OFF: [sizes], Reverse.REVERSED: [sizes[::-1]], Reverse.BOTH: [sizes, sizes[::-1]]}
    controls = [sized_for(one, wanted.pictures, wanted.reader)[1][1] for one in ways[wanted.variants.reverse]]
    if (cut := max(map(wanted.reader.control_cut, controls))) > 0:
        yield FindingKind.CONTROL_CUT, cut, 0.0


def _all(
    pairs: Sequence[Pair],
    measurer: Measurer,
    limits: Thresholds,
    cancel: CancelToken,
    done: Callable[[int, _Seen], None],
    workers: int,
) -> list[_Seen]:
    seen: list[_Seen] = []

    def take(one: _Seen) -> None:
        seen.append(one)
        done(len(seen) - 1, one)

    def take_all(group: Future[list[_Seen]]) -> None:
        for one in group.result():
            take(one)

    together = measurer.at_a_time(len(pairs))
    under_way: deque[Future[list[_Seen]]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="preflight") as pool:
        try:
            for start in range(0, len(pairs), together):
                cancel.check()
                group = pairs[start : start + together]
                under_way.append(pool.submit(_look_at, group, measurer, limits, cancel))
                while len(under_way) > 2 * workers:
                    take_all(under_way.popleft())
            while under_way:
                cancel.check()
                take_all(under_way.popleft())
        finally:
            for future in under_way:
                future.cancel()
    return seen


def _look_at(pairs: Sequence[Pair], measurer: Measurer, limits: Thresholds, cancel: CancelToken) -> list[_Seen]:
    files = [(pair.control.path, pair.target.path) for pair in pairs]
    measurer.prepare(files, partial(settled, limits), cancel)
    return [_look(pair, measurer, limits, cancel) for pair in pairs]


def _look(pair: Pair, measurer: Measurer, limits: Thresholds, cancel: CancelToken) -> _Seen:
    def failed(kind: FindingKind, error: InvalidInput | PictureRejected) -> _Seen:
        return _Seen(None, Finding(pair.id, pair.task_id, kind, problem=error.problem))

    try:
        for control in pair.controls[1:]:
            measurer.look(control.path, control.sent_hash, cancel)
        decided = partial(settled, limits)
        sent = pair.control.sent_hash
        return _Seen(measurer.measure(pair.control.path, pair.target.path, decided, cancel, sent), None)
    except InvalidInput as error:
        if error.code is Code.SOURCE_CHANGED:
            return _Seen(None, Finding(pair.id, pair.task_id, FindingKind.SOURCE_CHANGED))
        if error.params.get("path") == pair.target.path:
            return failed(FindingKind.UNREADABLE, InvalidInput(Code.RESULT_FILE_MISSING, path=pair.target.path))
        return failed(FindingKind.SOURCE_MISSING, error)
    except PictureRejected as error:
        return failed(FindingKind.UNREADABLE, error)


def _numbers(measured: Measured) -> Numbers:
    comparison = measured.comparison
    place = place_of(comparison.overlay, measured.control) if comparison.overlay else None
    return Numbers(
        shape=shape_between(measured.control, measured.target),
        change=comparison.change,
        contrast=measured.target.contrast,
        likeness=round(comparison.overlay.likeness, 4) if comparison.overlay else None,
        shift=round(place.shift, 3) if place else None,
        zoom=round(place.zoom, 3) if place else None,
        colour_drift=comparison.drift.colour if comparison.drift else None,
        content_drift=comparison.drift.detail * 100 if comparison.drift else None,
    )


def _same_targets(pairs: Sequence[Pair]) -> list[Finding]:
    """The same bytes for different sources."""
    by_target: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        by_target[pair.target.hash].append(pair)
    findings = []
    for group in by_target.values():
        sources = {source_key(pair) for pair in group}
        if len(sources) < 2:
            continue
        for pair in group:
            other = next(one for one in group if source_key(one) != source_key(pair))
            findings.append(Finding(pair.id, pair.task_id, FindingKind.SAME_TARGET, len(sources), 2, other=other.id))
    return findings


def _split_twins(pairs: Sequence[Pair], seen: Sequence[_Seen], wanted: Wanted, cancel: CancelToken) -> list[Finding]:
    """Sources kept for validation that look like one that is trained on; the finding is the validation pair's."""
    sides = split(pairs, wanted.split)
    most = wanted.thresholds.split_twin
    trained: dict[str, tuple[Look, str]] = {}
    for pair, side, one in zip(pairs, sides, seen, strict=True):
        if side is Side.TRAIN and one.measured:
            trained.setdefault(one.measured.control.hash, (one.measured.control, pair.id))
    looks = list(trained.values())
    fingers = [look.finger for look, _ in looks]
    nearest: dict[str, tuple[int, str] | None] = {}  # by hash: several results of one source need one search
    findings = []
    for pair, side, one in zip(pairs, sides, seen, strict=True):
        if side is not Side.VALIDATION or not one.measured:
            continue
        cancel.check()
        look = one.measured.control
        if look.hash not in nearest:
            near = [
                (finger_distance(look.finger, looks[place][0].finger), looks[place][1])
                for place in near_fingers(look.finger, fingers, most)
                if tint_distance(look.tint, looks[place][0].tint) <= _TWIN_TINT
            ]
            nearest[look.hash] = min(near, default=None)
        if (found := nearest[look.hash]) is not None:
            distance, other_id = found
            findings.append(Finding(pair.id, pair.task_id, FindingKind.SPLIT_TWIN, distance, most, other=other_id))
    return findings


def _controls(pairs: Sequence[Pair], wanted: Wanted) -> list[Finding]:
    """More source pictures than the trainer takes, or not the same number with each pair where it must be."""
    usual = Counter(len(pair.controls) for pair in pairs).most_common(1)[0][0] if pairs else 1
    findings = []
    for pair in pairs:
        count = len(pair.controls)
        if count > wanted.max_controls:
            kind, limit = FindingKind.TOO_MANY_CONTROLS, wanted.max_controls
        elif wanted.even_controls and count != usual:
            kind, limit = FindingKind.UNEVEN_CONTROLS, usual
        else:
            continue
        findings.append(Finding(pair.id, pair.task_id, kind, count, limit))
    return findings
