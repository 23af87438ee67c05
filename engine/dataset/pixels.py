"""Pictures of a pair decoded for measuring and for writing: upright, in modes that can be worked with; Pillow only."""

from __future__ import annotations

import io
from typing import Final

from PIL import Image, ImageOps

from engine.errors import Code, PictureRejected
from engine.images.picture import HEAD_BYTES, opened, sniff

_TURNED: Final = frozenset({2, 3, 4, 5, 6, 7, 8})
_SWAPPED: Final = frozenset({5, 6, 7, 8})
_ORIENTATION: Final = 0x0112
_DECODED_FOR: Final = 2  # JPEGs are decoded at no more than this many times the size wanted


def shape_of(data: bytes) -> tuple[str, int, int, bool]:
    """MIME type, width and height as it is looked at, and whether its pixels lie turned. Raises PictureRejected."""
    mime = _mime(data)
    with opened(io.BytesIO(data), mime) as image:
        turn = _turn(image)
        width, height = image.size
        if turn in _SWAPPED and image.format != "TIFF":  # Pillow turns TIFF sizes itself
            width, height = height, width
        return mime, width, height, turn in _TURNED


def decoded(data: bytes, longest: int | None = None) -> Image.Image:
    """The picture upright, as RGB or RGBA; with ``longest`` shrunk to that edge. Raises PictureRejected."""
    mime = _mime(data)
    with opened(io.BytesIO(data), mime) as image:
        if longest is not None:
            ratio = _DECODED_FOR * longest / max(image.size)
            image.draft(None, (int(image.width * ratio), int(image.height * ratio)))
        image.load()
        upright = ImageOps.exif_transpose(plain(image))
    if longest is not None:
        upright.thumbnail((longest, longest), Image.Resampling.HAMMING)
    return upright


def plain(image: Image.Image) -> Image.Image:
    """RGB, or RGBA where the picture has transparency; the colour profile is kept where it still fits."""
    if image.mode in ("RGB", "RGBA") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return image.convert("F").point(lambda value: value * (255.0 / 65535.0) + 0.0).convert("L").convert("RGB")
    changed = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode not in ("P", "RGBX"):
        changed.info.pop("icc_profile", None)
    return changed


def on_white(image: Image.Image) -> Image.Image:
    """RGB; what is transparent becomes white."""
    if image.mode == "RGB":
        return image
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(image.convert("RGBA"))
    flat = paper.convert("RGB")
    flat.info.update({key: image.info[key] for key in ("icc_profile",) if key in image.info})
    return flat


def _mime(data: bytes) -> str:
    mime = sniff(data[:HEAD_BYTES])
    if mime is None:
        raise PictureRejected(Code.PICTURE_NOT_IMAGE)
    return mime


def _turn(image: Image.Image) -> int:
    return int(image.getexif().get(_ORIENTATION, 1) or 1)
