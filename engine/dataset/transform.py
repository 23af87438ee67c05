"""The pictures of a pair as a set wants them: format, size, framing; bytes that need no change stay as they came."""

from __future__ import annotations

import io
from enum import StrEnum
from typing import Final

import msgspec
from PIL import Image

from engine.dataset.features import Overlay
from engine.dataset.pixels import decoded, on_white, shape_of
from engine.errors import Code, InvalidInput

_EXTENSIONS: Final = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/bmp": "bmp",
    "image/gif": "gif",
    "image/tiff": "tiff",
    "image/avif": "avif",
}
_SAME_FRAME: Final = 1.02  # ratios of edges this near mean one framing
Box = tuple[float, float, float, float]


class PictureFormat(StrEnum):
    """What pictures are written as; what a trainer cannot read as it came becomes PNG."""

    AS_IT_CAME = "as_it_came"
    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


class SizeRule(StrEnum):
    """How large pictures become; nothing is ever made larger, but for a target that has to match its control."""

    AS_IT_CAME = "as_it_came"
    MATCH_CONTROL = "match_control"
    MULTIPLE = "multiple"
    LONGEST = "longest"


class PictureRule(msgspec.Struct, frozen=True, kw_only=True):
    """``quality`` 1..100 for JPEG and WebP. ``size_value``: the N of MULTIPLE, the edge of LONGEST, in pixels.

    ``crop_align``: where a target is shifted or zoomed, cut both to the part that they share.
    """

    format: PictureFormat = PictureFormat.AS_IT_CAME
    quality: int = 95
    size: SizeRule = SizeRule.AS_IT_CAME
    size_value: int = 0
    crop_align: bool = False


class Written(msgspec.Struct, frozen=True):
    """A picture ready to be written; ``extension`` without a dot."""

    data: bytes
    extension: str


class _Work(msgspec.Struct, frozen=True):
    """A picture to be made: its bytes, what they are (``whole``: size in pixels), the part to take, and the size to
    bring it to."""

    data: bytes
    extension: str
    turned: bool
    whole: tuple[int, int]
    box: Box
    size: tuple[int, int]

    @property
    def untouched(self) -> bool:
        everything = (0.0, 0.0, float(self.whole[0]), float(self.whole[1]))
        return not self.turned and self.box == everything and self.size == self.whole


def check_pictures(rule: PictureRule) -> None:
    """Raises InvalidInput (FIELD_RANGE) for ``quality`` or ``size_value``."""
    ranges = {"quality": (1, 100, rule.quality)}
    if rule.size is SizeRule.MULTIPLE:
        ranges["size_value"] = (2, 512, rule.size_value)
    if rule.size is SizeRule.LONGEST:
        ranges["size_value"] = (64, 16384, rule.size_value)
    for name, (low, high, value) in ranges.items():
        if not low <= value <= high:
            raise InvalidInput(Code.FIELD_RANGE, field=name, name=name, minimum=low, maximum=high, value=value)


def prepare(
    target: bytes,
    controls: list[bytes],
    rule: PictureRule,
    *,
    formats: frozenset[str],
    same_extension: bool,
    overlay: Overlay | None = None,
) -> tuple[Written, list[Written]]:
    """Target and controls as the rule wants them. ``overlay``: where to cut them, with ``crop_align``.

    ``formats``: extensions that the trainer reads. Raises PictureRejected.
    """
    works = [_work(data) for data in (target, *controls)]
    if overlay is not None and rule.crop_align:
        works[:2] = _aligned(works[0], works[1], overlay)
    works = _sized(works, rule)
    extensions = [_extension(work, rule, formats) for work in works]
    if same_extension and len(set(extensions)) > 1:
        extensions = ["png"] * len(works)
    written = [_written(work, extension, rule) for work, extension in zip(works, extensions, strict=True)]
    return written[0], written[1:]


def _work(data: bytes) -> _Work:
    mime, width, height, turned = shape_of(data)
    size = (width, height)
    return _Work(data, _EXTENSIONS[mime], turned, size, (0.0, 0.0, float(width), float(height)), size)


def _aligned(target: _Work, control: _Work, overlay: Overlay) -> list[_Work]:
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


def _sized(works: list[_Work], rule: PictureRule) -> list[_Work]:
    target, control = works[0], works[1]
    if rule.size is SizeRule.AS_IT_CAME:
        return works
    if rule.size is SizeRule.MATCH_CONTROL:
        return [_fitted(target, control.size), *works[1:]]
    if _same_frame(target.size, control.size):
        # One size for both, or cutting would shift one against the other.
        size = _ruled(min(target.size, control.size, key=lambda edges: edges[0] * edges[1]), rule)
        return [
            _fitted(target, size),
            _fitted(control, size),
            *(_fitted(work, _ruled(work.size, rule)) for work in works[2:]),
        ]
    return [_fitted(work, _ruled(work.size, rule)) for work in works]


def _same_frame(one: tuple[int, int], other: tuple[int, int]) -> bool:
    ratio = one[0] * other[1] / (one[1] * other[0])
    return 1 / _SAME_FRAME <= ratio <= _SAME_FRAME


def _ruled(size: tuple[int, int], rule: PictureRule) -> tuple[int, int]:
    width, height = size
    if rule.size is SizeRule.MULTIPLE:
        step = rule.size_value
        return max(step, width // step * step), max(step, height // step * step)
    factor = min(1.0, rule.size_value / max(size))
    return max(1, round(width * factor)), max(1, round(height * factor))


def _fitted(work: _Work, size: tuple[int, int]) -> _Work:
    """Brought to a size without distortion: what does not fit is cut off at both sides alike."""
    left, top, right, bottom = work.box
    wide, tall = right - left, bottom - top
    scale = min(wide / size[0], tall / size[1])
    spare_x, spare_y = (wide - size[0] * scale) / 2, (tall - size[1] * scale) / 2
    box = (left + spare_x, top + spare_y, right - spare_x, bottom - spare_y)
    return msgspec.structs.replace(work, box=box, size=size)


def _extension(work: _Work, rule: PictureRule, formats: frozenset[str]) -> str:
    match rule.format:
        case PictureFormat.PNG | PictureFormat.WEBP:
            return rule.format.value
        case PictureFormat.JPEG:
            return "jpg"
    return work.extension if work.extension in formats else "png"


def _written(work: _Work, extension: str, rule: PictureRule) -> Written:
    if work.untouched and extension == work.extension:
        return Written(work.data, extension)
    image = decoded(work.data)
    whole = (0.0, 0.0, float(image.width), float(image.height))
    if work.box != whole or work.size != image.size:
        info = image.info
        image = image.resize(work.size, Image.Resampling.LANCZOS, box=work.box)
        image.info.update(info)
    return Written(_encoded(image, extension, rule.quality), extension)


def _encoded(image: Image.Image, extension: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    profile = image.info.get("icc_profile") or None
    match extension:
        case "jpg":
            on_white(image).save(
                buffer, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2, icc_profile=profile
            )
        case "webp":
            image.save(buffer, "WEBP", quality=quality, method=4, icc_profile=profile)
        case "bmp":
            on_white(image).save(buffer, "BMP")
        case _:
            image.save(buffer, "PNG", icc_profile=profile)
    return buffer.getvalue()
