"""Whether a run's results look wrong: the same picture for different sources, blank, unrelated or unchanged ones, far
below the run's usual score. Cheap measures over the last results, with Pillow alone; pure but for decoding."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Final

import msgspec
from PIL import Image

from engine.errors import Code, PictureRejected, Problem
from engine.images.pixels import Alpha, rendered, shape_of

WINDOW: Final = 20
"""So many last results are looked at."""
_SIDE: Final = 32
_HASH_SIDE: Final = 8
_NEAR_BITS: Final = 5  # of 64
_NEAR_COLOUR: Final = 10.0  # of 255, on average over 8 × 8 colours
_BLANK_SPREAD: Final = 6  # of 255
# Of 255: less is what encoding anew does. A few values may lie further apart, as at the edges of strong colours; what
# is left of an object that was taken away is more than that.
_SAME_MEAN, _SAME_MOST, _FURTHER = 1.2, 8, 10
# Measured on the demo's edits: a result and its source 0.69 and more, a result and another source 0.09 as a rule, 0.2
# in one of ten cases and 0.5 at most.
_UNRELATED: Final = 0.25
_WHOLLY_UNRELATED: Final = 0.1  # while it is not known what is usual in this run
_USUALLY_RELATED: Final = 0.5
_USUAL_AFTER: Final = 20  # results until a run's usual likeness and score are known
_KEPT: Final = 200
_SCORE_DROP: Final = 3.0
_FLAT: Final = 16  # of 255: a source of which nothing can be told
_TINY: Final = 32  # pixels


class Suspicion(StrEnum):
    """What may be wrong with a result."""

    SAME = "same"
    BLANK = "blank"
    UNCHANGED = "unchanged"
    UNRELATED = "unrelated"
    LOW_SCORE = "low_score"


class PictureFeatures(msgspec.Struct, frozen=True):
    """A picture in a few numbers. ``edge``: the shorter one, pixels; ``spread``: widest range of a channel, 0..255.

    ``bits``: 64-bit difference hash; ``colours``: 8 × 8 RGB; ``small``: 32 × 32 RGB; ``edges``: strength of edges at
    31 × 31 places.
    """

    edge: int
    spread: int
    bits: int
    colours: bytes
    small: bytes
    edges: tuple[float, ...]


class CheckedResult(msgspec.Struct, frozen=True):
    """A result as the alarm sees it. ``result_hash``: sha256 of its bytes; ``source_hash`` that of its source."""

    task_id: str
    source_hash: str
    result_hash: str
    source: PictureFeatures | None
    result: PictureFeatures | None


class Suspect(msgspec.Struct, frozen=True):
    """A result that looks wrong."""

    task_id: str
    result_hash: str
    suspicion: Suspicion


def alarm_problem(suspects: Sequence[Suspect], *, ended: bool = False) -> Problem:
    """Why the run pauses, or what is to be told of one that has ``ended``; ``kinds``: each suspicion once, comma
    between."""
    kinds = ", ".join(dict.fromkeys(suspect.suspicion for suspect in suspects))
    code = Code.RESULTS_LOOKED_WRONG if ended else Code.RESULTS_LOOK_WRONG
    return Problem(code, {"bad": len(suspects), "of": WINDOW, "kinds": kinds})


def features_of(data: bytes) -> PictureFeatures | None:
    """The numbers of an encoded picture; None for what cannot be decoded."""
    try:
        shape = shape_of(data)
        with rendered(data, longest=4 * _SIDE, alpha=Alpha.WHITE) as image:
            small = image.resize((_SIDE, _SIDE), Image.Resampling.BOX)
    except PictureRejected:
        return None
    grey = small.convert("L")
    row = grey.resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.BOX).tobytes()
    bits = 0
    for line in range(_HASH_SIDE):
        for left, right in pairwise(row[line * (_HASH_SIDE + 1) : (line + 1) * (_HASH_SIDE + 1)]):
            bits = bits << 1 | (left > right)
    spread = max(high - low for low, high in small.getextrema())  # type: ignore[misc] # RGB gives pairs
    colours = small.resize((_HASH_SIDE, _HASH_SIDE), Image.Resampling.BOX).tobytes()
    return PictureFeatures(
        min(shape.width, shape.height), spread, bits, colours, small.tobytes(), _edges(grey.tobytes())
    )


def _edges(grey: bytes) -> tuple[float, ...]:
    inner = (x + y * _SIDE for y in range(_SIDE - 1) for x in range(_SIDE - 1))
    return tuple(math.hypot(grey[at + 1] - grey[at], grey[at + _SIDE] - grey[at]) for at in inner)


def is_near(one: PictureFeatures, other: PictureFeatures) -> bool:
    """Whether two pictures are the same but for encoding, size or a small retouch."""
    return (one.bits ^ other.bits).bit_count() <= _NEAR_BITS and _distance(one.colours, other.colours) <= _NEAR_COLOUR


def is_unchanged(source: PictureFeatures, result: PictureFeatures) -> bool:
    """Whether a result is its source encoded anew."""
    steps = sorted(abs(a - b) for a, b in zip(source.small, result.small, strict=True))
    return steps[-_FURTHER] <= _SAME_MOST and sum(steps) / len(steps) <= _SAME_MEAN


def likeness(source: PictureFeatures, result: PictureFeatures) -> float:
    """How far the edges of a result lie where those of its source are, -1..1; the better of it and its mirror
    images, since an edit may be a mirror's."""
    side = _SIDE - 1
    rows = [result.edges[at : at + side] for at in range(0, side * side, side)]
    across = [value for row in rows for value in reversed(row)]
    down = [value for row in reversed(rows) for value in row]
    return max(_correlation(source.edges, other) for other in (result.edges, across, down))


def _correlation(one: Sequence[float], other: Sequence[float]) -> float:
    try:
        return statistics.correlation(one, other)
    except statistics.StatisticsError:  # flat
        return 0.0


def _tells(source: PictureFeatures) -> bool:
    """Whether anything can be told of a source: a speck on a flat ground is flat."""
    return any(max(channel) - min(channel) >= _FLAT for channel in (source.colours[at::3] for at in range(3)))


def _distance(one: bytes, other: bytes) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / len(one)


class Alarm:
    """Watches the last results of one run: `WINDOW` of them, of which ``limit`` may not be bad; 0: never. Not
    thread-safe.

    What a result is held against are the results before it, and what is usual in this run. Sources that are flat or
    tiny tell nothing, and results of sources that are near each other may well be near each other.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._recent: deque[CheckedResult] = deque(maxlen=2 * WINDOW)
        self._last: deque[Suspect | None] = deque(maxlen=WINDOW)
        self._scored: deque[Suspect | None] = deque(maxlen=WINDOW)
        self._likenesses: deque[float] = deque(maxlen=_KEPT)
        self._scores: deque[float] = deque(maxlen=_KEPT)

    @property
    def is_on(self) -> bool:
        """Whether it watches at all."""
        return self._limit > 0

    def note(self, looked: CheckedResult) -> list[Suspect]:
        """A result has come; the bad ones of the last where there are too many of them, else none."""
        suspicion = self._suspicion(looked) if self._limit else None
        suspect = Suspect(looked.task_id, looked.result_hash, suspicion) if suspicion else None
        self._recent.append(looked)
        return self._enter(self._last, suspect)

    def note_score(self, task_id: str, result_hash: str, score: float) -> list[Suspect]:
        """A result was judged; as `note`."""
        usual = statistics.median(self._scores) if len(self._scores) >= _USUAL_AFTER else None
        low = usual is not None and score <= usual - _SCORE_DROP
        if not low:
            self._scores.append(score)
        return self._enter(self._scored, Suspect(task_id, result_hash, Suspicion.LOW_SCORE) if low else None)

    def forget(self) -> None:
        """The person has seen the bad ones and wants to go on."""
        self._last.clear()
        self._scored.clear()

    def _enter(self, window: deque[Suspect | None], suspect: Suspect | None) -> list[Suspect]:
        window.append(suspect)
        bad = [one for one in window if one is not None]
        return bad if self._limit and suspect is not None and len(bad) >= self._limit else []

    def _suspicion(self, looked: CheckedResult) -> Suspicion | None:
        source, result = looked.source, looked.result
        if source is None or result is None or not _tells(source) or min(source.edge, result.edge) < _TINY:
            return None
        if result.spread <= _BLANK_SPREAD:
            return Suspicion.BLANK
        if is_unchanged(source, result):
            return Suspicion.UNCHANGED
        if any(self._is_same(looked, other) for other in self._recent):
            return Suspicion.SAME
        return Suspicion.UNRELATED if self._is_unrelated(likeness(source, result)) else None

    def _is_same(self, looked: CheckedResult, other: CheckedResult) -> bool:
        if looked.source_hash == other.source_hash or other.source is None or other.result is None:
            return False
        assert looked.source is not None
        assert looked.result is not None
        same = looked.result_hash == other.result_hash or is_near(looked.result, other.result)
        return same and _tells(other.source) and not is_near(looked.source, other.source)

    def _is_unrelated(self, alike: float) -> bool:
        usual = statistics.median(self._likenesses) if len(self._likenesses) >= _USUAL_AFTER else None
        if usual is None:
            self._likenesses.append(alike)
            return alike < _WHOLLY_UNRELATED
        if usual >= _USUALLY_RELATED and alike < _UNRELATED:
            return True
        self._likenesses.append(alike)
        return False
