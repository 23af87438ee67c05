"""What a picture, and a pair, look like in a few numbers that need only Pillow: contrast, fingerprint, change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from operator import mul
from typing import Final

import msgspec
from PIL import Image, ImageChops

from engine.images.pixels import on_colour

_CONTRAST_SIDE: Final = 32
_CHANGE_SIDE: Final = 48
_HASH_SIDE, _HASH_KEPT = 32, 8
_TINT_SIDE: Final = 8


class Look(msgspec.Struct, frozen=True):
    """One picture. ``hash``: sha256 of its bytes; width and height upright; ``contrast`` 0..255: the widest range of a
    colour channel over areas of a thirty-second; ``finger``: 64-bit DCT hash; ``tint``: 8 × 8 colours. ``misread``:
    mean difference (0..255) to what a reader sees that knows nothing of the ``cause`` (transparent, profile, depth)."""

    hash: str
    size: int
    mime: str
    width: int
    height: int
    contrast: float
    finger: int
    tint: bytes
    misread: float = 0.0
    cause: str = ""


class Overlay(msgspec.Struct, frozen=True):
    """Where the control's points lie in the target, both frames counted 0..1: ``target = scale * control + offset``.

    ``common``: part (0..1) of the control's textured blocks found in place; ``agreeing``: their number.
    ``likeness`` 0..1: the better of ``common``, weighted, and the correlation of coarse edges.
    ``doubt_shift`` and ``doubt_zoom``: standard errors, as parts of the frame.
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float
    common: float
    agreeing: int
    likeness: float
    doubt_shift: float
    doubt_zoom: float

    @property
    def turned(self) -> Overlay:
        """The same seen from the target: where its points lie in the control."""
        return msgspec.structs.replace(
            self, scale_x=1 / self.scale_x, scale_y=1 / self.scale_y,
            offset_x=-self.offset_x / self.scale_x, offset_y=-self.offset_y / self.scale_y,
        )  # fmt: skip


class Drift(msgspec.Struct, frozen=True):
    """What changed outside the edited part: median ``colour`` (0..255), ``detail`` lost (0..1), ``share`` of the
    picture that this outside is, and a map of 32 × 24 levels, eight times what they are, 0 inside."""

    colour: float
    detail: float
    share: float
    map: bytes


class Comparison(msgspec.Struct, frozen=True):
    """A pair. ``change``: see `change_between`; ``overlay`` is None where OpenCV was missing, or nothing could be told
    from it; ``drift`` is None where there is no part that was not edited."""

    change: float
    overlay: Overlay | None
    drift: Drift | None = None


def look_at(image: Image.Image) -> tuple[float, int, bytes]:
    """Contrast, finger and tint of an upright picture."""
    flat = on_colour(image)
    small = flat.resize((_CONTRAST_SIDE, _CONTRAST_SIDE), Image.Resampling.BOX)
    contrast = float(max(high - low for low, high in _ranges(small)))
    grey = small.convert("L").resize((_HASH_SIDE, _HASH_SIDE))
    tint = small.resize((_TINT_SIDE, _TINT_SIDE), Image.Resampling.BOX).tobytes()
    return contrast, _finger(grey.tobytes()), tint


def change_between(control: Image.Image, target: Image.Image) -> float:
    """The largest change (0..255) of a colour channel over areas of a forty-eighth of the longest edge.

    The target is laid over the control's frame whatever its size. Averages over such areas hardly move when a picture
    is only compressed or resized anew, and do when anything in it is.
    """
    factor = _CHANGE_SIDE / max(control.size)
    size = (max(1, round(control.width * factor)), max(1, round(control.height * factor)))
    small = [on_colour(image).resize(size, Image.Resampling.BILINEAR) for image in (control, target)]
    return float(max(high for _, high in _ranges(ImageChops.difference(small[0], small[1]))))


def finger_distance(one: int, other: int) -> int:
    """How many of 64 bits differ; unrelated pictures differ in about 32."""
    return (one ^ other).bit_count()


def near_fingers(finger: int, others: Sequence[int], most: float) -> list[int]:
    """Places of those that differ in at most ``most`` bits; this loop runs once for each pair of pictures."""
    return [place for place, other in enumerate(others) if (finger ^ other).bit_count() <= most]


def tint_distance(one: bytes, other: bytes) -> float:
    """Mean difference (0..255) of 8 × 8 colours."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) / max(1, len(one))


def _ranges(image: Image.Image) -> list[tuple[int, int]]:
    return [(int(low), int(high)) for low, high in image.getextrema()]  # type: ignore[misc] # RGB gives pairs


@cache
def _waves() -> tuple[tuple[float, ...], ...]:
    """The first cosines of a DCT-II."""
    return tuple(
        tuple(math.cos(math.pi * (2 * place + 1) * wave / (2 * _HASH_SIDE)) for place in range(_HASH_SIDE))
        for wave in range(_HASH_KEPT)
    )


def _finger(grey: bytes) -> int:
    """Which of the 8 × 8 coarsest waves of a 32 × 32 picture are stronger than the middle one."""
    waves = _waves()
    rows = [grey[at : at + _HASH_SIDE] for at in range(0, _HASH_SIDE * _HASH_SIDE, _HASH_SIDE)]
    across = [[sum(map(mul, wave, row)) for wave in waves] for row in rows]
    strengths = [sum(map(mul, wave, column)) for wave in waves for column in zip(*across, strict=True)]
    middle = sorted(strengths[1:])[len(strengths) // 2]
    return sum(1 << place for place, strength in enumerate(strengths) if strength > middle)
