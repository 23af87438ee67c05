"""What may be wrong with a pair, each with a number and a threshold that can be set; pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from engine.dataset.features import Drift, Look, Overlay
from engine.dataset.measure import Measured
from engine.errors import Problem


class FindingKind(StrEnum):
    """Kinds of findings; what their number is stands in `UNITS`."""

    SOURCE_MISSING = "source_missing"
    SOURCE_CHANGED = "source_changed"
    UNREADABLE = "unreadable"
    SAME_TARGET = "same_target"
    NO_CHANGE = "no_change"
    HARDLY_CHANGED = "hardly_changed"
    BLANK = "blank"
    ASPECT = "aspect"
    SIZE = "size"
    SHIFTED = "shifted"
    ZOOMED = "zoomed"
    UNRELATED = "unrelated"
    SPLIT_TWIN = "split_twin"
    NO_CAPTION = "no_caption"
    TOO_MANY_CONTROLS = "too_many_controls"
    UNEVEN_CONTROLS = "uneven_controls"
    COLOUR_DRIFT = "colour_drift"
    CONTENT_DRIFT = "content_drift"
    BUCKET_LOSS = "bucket_loss"
    CONTROL_CUT = "control_cut"
    TRANSPARENT = "transparent"
    PROFILE = "profile"
    DEPTH = "depth"


NOTES: Final = frozenset(
    {FindingKind.SIZE, FindingKind.BUCKET_LOSS, FindingKind.TRANSPARENT, FindingKind.PROFILE, FindingKind.DEPTH}
    | {FindingKind.COLOUR_DRIFT, FindingKind.CONTENT_DRIFT}
)
"""Kinds that are told and do not keep a pair out of a set: trainers bring pictures to one size themselves, the export
makes pixels of what they would misread, and whether a faint change of all was asked for only a person knows."""

UNITS: Final[dict[FindingKind, str]] = {
    FindingKind.SAME_TARGET: "count",
    FindingKind.NO_CHANGE: "level",
    FindingKind.HARDLY_CHANGED: "level",
    FindingKind.BLANK: "level",
    FindingKind.ASPECT: "percent",
    FindingKind.SIZE: "percent",
    FindingKind.SHIFTED: "percent",
    FindingKind.ZOOMED: "percent",
    FindingKind.UNRELATED: "ratio",
    FindingKind.SPLIT_TWIN: "bits",
    FindingKind.TOO_MANY_CONTROLS: "count",
    FindingKind.UNEVEN_CONTROLS: "count",
    FindingKind.COLOUR_DRIFT: "level",
    FindingKind.CONTENT_DRIFT: "percent",
    FindingKind.BUCKET_LOSS: "percent",
    FindingKind.CONTROL_CUT: "percent",
    FindingKind.TRANSPARENT: "level",
    FindingKind.PROFILE: "level",
    FindingKind.DEPTH: "level",
}


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Where a number becomes a finding.

    ``hardly_changed``: largest local change of colour, 0..255, at or under which an edit did nothing. ``blank``: range
    of colours, 0..255, at or under which a target is empty. ``aspect``, ``size``, ``shifted``, ``zoomed``: percent from
    which on (of the ratio; of the edges; of the longest edge; of the scale). ``unrelated``: likeness, 0..1, under which
    a target is another scene. ``split_twin``: of 64 fingerprint bits, how many may differ between twins.
    ``colour_drift`` (median level) and ``content_drift`` (percent of fine detail): how much may change outside the part
    that was edited. ``bucket_loss``: percent of a picture's area that the trainer may cut off.
    """

    hardly_changed: float = 8.0
    blank: float = 10.0
    aspect: float = 2.0
    size: float = 2.0
    shifted: float = 0.4
    zoomed: float = 0.8
    unrelated: float = 0.2
    split_twin: float = 10.0
    colour_drift: float = 1.7
    content_drift: float = 5.5
    bucket_loss: float = 8.0


THRESHOLD_LIMITS: Final[dict[str, tuple[float, float]]] = {
    "hardly_changed": (0, 255),
    "blank": (0, 255),
    "aspect": (0, 100),
    "size": (0, 1000),
    "shifted": (0, 100),
    "zoomed": (0, 100),
    "unrelated": (0, 1),
    "split_twin": (0, 32),
    "colour_drift": (0, 255),
    "content_drift": (0, 100),
    "bucket_loss": (0, 100),
}


_MISREAD: Final = 1.0  # levels on average from which on two readers see different pictures


class Finding(msgspec.Struct, frozen=True):
    """One thing wrong with one pair. ``other``: id of the pair that it is about as well. ``pixels``: a shift in pixels
    of the source. ``box``: the part of the source (left, top, right, bottom, 0..1) that the target shows.
    ``map``: 32 × 24 levels of what changed outside the edited part, see `Drift`."""

    pair_id: str
    task_id: str
    kind: FindingKind
    number: float = 0.0
    threshold: float = 0.0
    other: str | None = None
    pixels: float | None = None
    box: tuple[float, float, float, float] | None = None
    problem: Problem | None = None
    map: bytes | None = None


class Shape(msgspec.Struct, frozen=True):
    """How a target differs from its control in shape: percent of ratio and of edges; pixels of both."""

    control: tuple[int, int]
    target: tuple[int, int]
    aspect: float
    size: float


def shape_between(control: Look, target: Look) -> Shape:
    """Compare width and height."""
    wide, tall = target.width / control.width, target.height / control.height
    aspect = (max(wide / tall, tall / wide) - 1) * 100
    size = max(wide, 1 / wide, tall, 1 / tall) * 100 - 100
    return Shape((control.width, control.height), (target.width, target.height), aspect, size)


class Place(msgspec.Struct, frozen=True):
    """Where the target lies over its control. Percent of the longest edge and of the scale, less what is in doubt;
    ``pixels`` of the source; ``box``: see `Finding`."""

    shift: float
    zoom: float
    pixels: float
    box: tuple[float, float, float, float]


def place_of(overlay: Overlay, control: Look) -> Place:
    """Shift and zoom of a target as people would say them."""
    longest = max(control.width, control.height)
    across = (overlay.scale_x * 0.5 + overlay.offset_x - 0.5) * control.width
    down = (overlay.scale_y * 0.5 + overlay.offset_y - 0.5) * control.height
    pixels = math.hypot(across, down)
    zoom = max(overlay.scale_x - 1, overlay.scale_y - 1, key=abs)
    sure = max(0.0, pixels / longest - 2 * overlay.doubt_shift)
    return Place(sure * 100, max(0.0, abs(zoom) - 2 * overlay.doubt_zoom) * 100, pixels, shown_part(overlay))


def shown_part(overlay: Overlay) -> tuple[float, float, float, float]:
    """The part of the control's frame that the target shows: left, top, right, bottom, 0..1."""
    left, top = -overlay.offset_x / overlay.scale_x, -overlay.offset_y / overlay.scale_y
    right, bottom = (1 - overlay.offset_x) / overlay.scale_x, (1 - overlay.offset_y) / overlay.scale_y
    return max(0.0, left), max(0.0, top), min(1.0, right), min(1.0, bottom)


def judge(pair_id: str, task_id: str, measured: Measured, limits: Thresholds) -> list[Finding]:
    """What the numbers of one pair say, the gravest first; what follows from it is left out."""
    control, target, comparison = measured.control, measured.target, measured.comparison

    def found(kind: FindingKind, number: float, threshold: float, place: Place | None = None) -> Finding:
        pixels = round(place.pixels, 2) if place and kind is FindingKind.SHIFTED else None
        box = place.box if place else None
        return Finding(pair_id, task_id, kind, round(number, 4), threshold, pixels=pixels, box=box)

    if control.hash == target.hash:
        return [found(FindingKind.NO_CHANGE, 0.0, 0.0)]
    if target.contrast <= limits.blank < control.contrast:
        return [found(FindingKind.BLANK, target.contrast, limits.blank)]
    findings = []
    shape = shape_between(control, target)
    if comparison.change <= limits.hardly_changed:
        kind = FindingKind.HARDLY_CHANGED if comparison.change else FindingKind.NO_CHANGE
        findings.append(found(kind, comparison.change, limits.hardly_changed))
    elif comparison.overlay is not None and comparison.overlay.likeness < limits.unrelated:
        findings.append(found(FindingKind.UNRELATED, comparison.overlay.likeness, limits.unrelated))
    elif comparison.overlay is not None:
        place = place_of(comparison.overlay, control)
        if place.shift >= limits.shifted:
            findings.append(found(FindingKind.SHIFTED, place.shift, limits.shifted, place))
        if place.zoom >= limits.zoomed:
            findings.append(found(FindingKind.ZOOMED, place.zoom, limits.zoomed, place))
    if shape.aspect >= limits.aspect:
        findings.append(found(FindingKind.ASPECT, shape.aspect, limits.aspect))
    elif shape.size >= limits.size:
        findings.append(found(FindingKind.SIZE, shape.size, limits.size))
    kinds = {finding.kind for finding in findings}
    if kinds.isdisjoint(_NO_DRIFT):
        findings += _drifted(pair_id, task_id, comparison.drift, limits)
    return findings


_NO_DRIFT: Final = frozenset(
    {FindingKind.NO_CHANGE, FindingKind.HARDLY_CHANGED, FindingKind.UNRELATED, FindingKind.SHIFTED, FindingKind.ZOOMED}
    | {FindingKind.ASPECT}
)
"""What has one of these is not laid over its source well enough to tell."""


def settled(limits: Thresholds, control: Look, target: Look, change: float) -> bool:
    """Whether `judge` needs no more than the looks of a pair and its change."""
    return (
        control.hash == target.hash
        or target.contrast <= limits.blank < control.contrast
        or (change <= limits.hardly_changed)
    )


def _drifted(pair_id: str, task_id: str, drift: Drift | None, limits: Thresholds) -> list[Finding]:
    """What changed outside the part that was edited."""
    if drift is None:
        return []
    found = (
        (FindingKind.COLOUR_DRIFT, drift.colour, limits.colour_drift),
        (FindingKind.CONTENT_DRIFT, drift.detail * 100, limits.content_drift),
    )
    return [
        Finding(pair_id, task_id, kind, round(number, 4), limit, map=drift.map)
        for kind, number, limit in found
        if number >= limit
    ]


def misread(pair_id: str, task_id: str, looks: Sequence[Look]) -> list[Finding]:
    """Pictures of a pair that a trainer would read as others than people see: the worst of each cause."""
    worst: dict[str, float] = {}
    for look in looks:
        if look.cause and look.misread >= _MISREAD:
            worst[look.cause] = max(look.misread, worst.get(look.cause, 0.0))
    return [
        Finding(pair_id, task_id, FindingKind(cause), round(number, 4), _MISREAD) for cause, number in worst.items()
    ]
