"""The pictures of a pair as a set wants them: format, size, framing; bytes that need no change stay as they came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from PIL import Image

from engine.dataset.buckets import RESOLUTION, Buckets
from engine.dataset.features import Overlay
from engine.errors import Code, InvalidInput
from engine.formats import extension_of
from engine.images.pixels import Alpha, encoded, rendered, shape_of
from engine.upstream.cancel import CancelToken

_SAME_FRAME: Final = 1.02  # ratios of edges this near mean one framing
Box = tuple[float, float, float, float]


class PictureFormat(StrEnum):
    """What pictures are written as; what a trainer cannot read as it came becomes PNG."""

    AS_IT_CAME = "as_it_came"
    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


class SizeRule(StrEnum):
    """How large pictures become; nothing is made larger, but for a target that has to match its control, and for the
    buckets of trainers that would enlarge it themselves. TRAINER: what the chosen trainer needs."""

    TRAINER = "trainer"
    AS_IT_CAME = "as_it_came"
    MATCH_CONTROL = "match_control"
    MULTIPLE = "multiple"
    LONGEST = "longest"


class PictureRule(msgspec.Struct, frozen=True, kw_only=True):
    """``quality`` 1..100 for JPEG and WebP. ``size_value``: the N of MULTIPLE, the edge of LONGEST, in pixels.

    ``alpha``: what becomes of transparency, which trainers read differently.
    ``resolutions``: edges of squares that a training will use, none for the trainer's usual one, and ``step``: what
    its sizes go in, 0 for the trainer's; both for TRAINER, which brings pictures to the bucket of the largest.
    ``crop_align``: where a target is shifted or zoomed, cut both to the part that they share.
    """

    format: PictureFormat = PictureFormat.AS_IT_CAME
    quality: int = 95
    size: SizeRule = SizeRule.TRAINER
    size_value: int = 0
    resolutions: tuple[int, ...] = ()
    step: int = 0
    alpha: Alpha = Alpha.WHITE
    crop_align: bool = False


class Reader(msgspec.Struct, frozen=True):
    """What the trainer reads. ``formats``: extensions; ``same_extension``: control and target must be named alike to
    the last letter; ``equal_sizes``: both must have the same pixels; ``buckets``: to which sizes it brings pictures,
    None where it leaves them or nobody knows; ``control_cut``: the part (0..1) of a control of some size that it cuts
    off without cutting the target alike."""

    formats: frozenset[str]
    same_extension: bool = False
    equal_sizes: bool = False
    buckets: Buckets | None = None
    control_cut: Callable[[tuple[int, int]], float] = lambda _: 0.0


class Written(msgspec.Struct, frozen=True):
    """A picture ready to be written; ``extension`` without a dot; ``size`` in pixels."""

    data: bytes
    extension: str
    size: tuple[int, int]


class _Work(msgspec.Struct, frozen=True):
    """A picture to be made: its bytes, what they are (``plain``: see `Shape`; ``whole``: size in pixels), the part to
    take, and the size to bring it to."""

    data: bytes
    extension: str
    plain: bool
    alpha: bool
    whole: tuple[int, int]
    box: Box
    size: tuple[int, int]

    @property
    def untouched(self) -> bool:
        everything = (0.0, 0.0, float(self.whole[0]), float(self.whole[1]))
        return self.plain and self.box == everything and self.size == self.whole


def check_pictures(rule: PictureRule) -> None:
    """Raises InvalidInput (FIELD_RANGE) for ``quality``, ``size_value``, ``resolution`` or ``step``."""
    ranges = [("quality", 1, 100, rule.quality)]
    if rule.size is SizeRule.MULTIPLE:
        ranges.append(("size_value", 2, 512, rule.size_value))
    if rule.size is SizeRule.LONGEST:
        ranges.append(("size_value", 64, 16384, rule.size_value))
    ranges += [("resolution", 64, 4096, edge) for edge in rule.resolutions]
    if rule.step:
        ranges.append(("step", 8, 256, rule.step))
    for name, low, high, value in ranges:
        if not low <= value <= high:
            raise InvalidInput(Code.FIELD_RANGE, field=name, name=name, minimum=low, maximum=high, value=value)


def prepare(
    target: bytes,
    controls: list[bytes],
    rule: PictureRule,
    reader: Reader,
    overlay: Overlay | None = None,
    *,
    cancel: CancelToken | None = None,
    kinds: Sequence[frozenset[str]] = (),
) -> tuple[Written, list[Written]]:
    """Target and controls as the rule wants them and the trainer reads them. ``overlay``: where to cut them, with
    ``crop_align``; ``kinds``: formats of the target and each control, where others must not stand in their place.
    Raises PictureRejected, Stopped."""
    works = [_work(data) for data in (target, *controls)]
    if overlay is not None and rule.crop_align:
        works[:2] = _align(works[0], works[1], overlay)
    works = _size(works, rule, reader)
    formats = kinds or [reader.formats] * len(works)
    extensions = [_extension(work, rule, taken) for work, taken in zip(works, formats, strict=True)]
    if reader.same_extension and len(set(extensions)) > 1:
        extensions = ["png"] * len(works)
    written = [_encode(work, extension, rule, cancel) for work, extension in zip(works, extensions, strict=True)]
    return written[0], written[1:]


def sized_for(
    shapes: Sequence[tuple[int, int]], rule: PictureRule, reader: Reader
) -> list[tuple[Box, tuple[int, int]]]:
    """For the sizes of a target and its controls: which part of each is taken, and to which size it is brought."""
    works = [_Work(b"", "png", True, False, size, (0.0, 0.0, float(size[0]), float(size[1])), size) for size in shapes]
    return [(work.box, work.size) for work in _size(works, rule, reader)]


def _work(data: bytes) -> _Work:
    shape = shape_of(data)
    size = (shape.width, shape.height)
    box = (0.0, 0.0, float(shape.width), float(shape.height))
    # Transparency that is kept is RGBA: SimpleTuner leaves grey with alpha out in silence.
    plain = shape.plain and shape.still and (not shape.alpha or shape.mode == "RGBA")
    return _Work(data, extension_of(shape.mime), plain, shape.alpha, size, box, size)


def _align(target: _Work, control: _Work, overlay: Overlay) -> list[_Work]:
    """Both cut to what they share of the scene."""
    shares: list[tuple[float, float, float, float]] = []
    for scale, offset in ((overlay.scale_x, overlay.offset_x), (overlay.scale_y, overlay.offset_y)):
        low, high = max(0.0, -offset / scale), min(1.0, (1 - offset) / scale)
        shares.append((low, high, low * scale + offset, high * scale + offset))
    (left, right, target_left, target_right), (top, bottom, target_top, target_bottom) = shares
    cut = []
    for work, part in (
        (target, (target_left, target_top, target_right, target_bottom)),
        (control, (left, top, right, bottom)),
    ):
        wide, tall = work.size
        box = (round(part[0] * wide), round(part[1] * tall), round(part[2] * wide), round(part[3] * tall))
        size = (max(1, box[2] - box[0]), max(1, box[3] - box[1]))
        cut.append(msgspec.structs.replace(work, box=tuple(float(edge) for edge in box), size=size))
    return cut


def _size(works: list[_Work], rule: PictureRule, reader: Reader) -> list[_Work]:
    target, control = works[0], works[1]
    if rule.size is SizeRule.MATCH_CONTROL or (rule.size is SizeRule.TRAINER and reader.equal_sizes):
        return [_fit(target, control.size), *works[1:]]
    sized = works
    if not (rule.size is SizeRule.AS_IT_CAME or (rule.size is SizeRule.TRAINER and reader.buckets is None)):
        by = [work.size for work in works]
        if _same_frame(*by[:2]):
            # One size for both, or cutting would shift one against the other; trainers choose the bucket by the target.
            smaller = min(by[:2], key=lambda edges: edges[0] * edges[1])
            by[:2] = [target.size if rule.size is SizeRule.TRAINER else smaller] * 2
        sized = [_fit(work, _apply_size_rule(size, rule, reader)) for work, size in zip(works, by, strict=True)]
    if reader.equal_sizes and sized[0].size != sized[1].size:
        sized = [_fit(sized[0], sized[1].size), *sized[1:]]
    return sized


def _same_frame(one: tuple[int, int], other: tuple[int, int]) -> bool:
    ratio = one[0] * other[1] / (one[1] * other[0])
    return 1 / _SAME_FRAME <= ratio <= _SAME_FRAME


def _apply_size_rule(size: tuple[int, int], rule: PictureRule, reader: Reader) -> tuple[int, int]:
    width, height = size
    if rule.size is SizeRule.TRAINER and reader.buckets is not None:
        return reader.buckets.size(size, max(rule.resolutions, default=RESOLUTION), rule.step)
    if rule.size is SizeRule.MULTIPLE:
        step = rule.size_value
        return max(step, width // step * step), max(step, height // step * step)
    factor = min(1.0, rule.size_value / max(size))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _fit(work: _Work, size: tuple[int, int]) -> _Work:
    """Brought to a size without distortion: what does not fit is cut off at both sides alike."""
    left, top, right, bottom = work.box
    wide, tall = right - left, bottom - top
    scale = min(wide / size[0], tall / size[1])
    spare_x, spare_y = (wide - size[0] * scale) / 2, (tall - size[1] * scale) / 2
    # Held inside: sums of fractions may end a hair outside, which the resizer refuses.
    box = (
        max(left, left + spare_x),
        max(top, top + spare_y),
        min(right, right - spare_x),
        min(bottom, bottom - spare_y),
    )
    return msgspec.structs.replace(work, box=box, size=size)


def _extension(work: _Work, rule: PictureRule, formats: frozenset[str]) -> str:
    match rule.format:
        case PictureFormat.PNG | PictureFormat.WEBP:
            return rule.format.value
        case PictureFormat.JPEG:
            return "jpg"
    return work.extension if work.extension in formats else "png"


def _encode(work: _Work, extension: str, rule: PictureRule, cancel: CancelToken | None) -> Written:
    keeps_alpha = rule.alpha is Alpha.KEEP or not work.alpha
    if work.untouched and keeps_alpha and extension == work.extension:
        return Written(work.data, extension, work.size)
    with rendered(work.data, alpha=rule.alpha, cancel=cancel) as image:
        whole = (0.0, 0.0, float(image.width), float(image.height))
        if work.box != whole or work.size != image.size:
            image = image.resize(work.size, Image.Resampling.LANCZOS, box=work.box)
        return Written(encoded(image, extension, rule.quality, cancel=cancel), extension, work.size)
