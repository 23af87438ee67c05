"""A picture as people see it: upright, eight bits, sRGB, RGB or RGBA. The one rule for what is shown small, measured,
exported and sent."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, Final

import msgspec
from PIL import Image

from engine.errors import Code, PictureRejected
from engine.images.encoder import LARGE_PIXELS, webp_apart, write_webp
from engine.images.picture import (
    DECODER_ERRORS,
    HEAD_BYTES,
    decoding,
    is_upright_already,
    opened,
    orientation_of,
    sniff,
)
from engine.models import ImageInfo
from engine.upstream.cancel import CancelToken

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPING: Final = frozenset({5, 6, 7, 8})
_PLAIN_MODES: Final = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA"})
_SHARP: Final = 1.5  # JPEGs are decoded at no less than this many times the size wanted: keeps the last step sharp
_SPACES: Final = {"RGB": "RGB ", "RGBA": "RGB ", "L": "GRAY", "CMYK": "CMYK", "LAB": "Lab "}
_NEAR: Final = 2  # of 255: a profile that moves no colour further is sRGB under another name
_LEVELS_16: Final = [round(level / 257) for level in range(65_536)]


class Alpha(StrEnum):
    """What becomes of transparency: it is kept, or the picture is laid on a colour."""

    KEEP = "keep"
    WHITE = "white"
    BLACK = "black"
    GREY = "grey"


class Shape(msgspec.Struct, frozen=True):
    """A picture before it is decoded. Width and height as people see it, in pixels.

    ``plain``: its stored pixels are what people see (upright, eight bits, sRGB or without a profile), so that bytes
    that nothing else asks to change may stay as they are. ``still``: it has one frame. ``lossy``: so is its format.
    ``mode``: Pillow's, of what is stored.
    """

    mime: str
    width: int
    height: int
    plain: bool
    still: bool
    lossy: bool
    alpha: bool
    mode: str


def shape_of(data: bytes) -> Shape:
    """What a picture is, from its header. Raises PictureRejected."""
    mime = mime_of(data)
    with opened(data, mime) as (image, _):
        return _shape(image, image.size, data, mime)


def checked(data: bytes, max_bytes: int, cancel: CancelToken | None = None) -> tuple[ImageInfo, Shape]:
    """What `check_picture` and `shape_of` say, opened once. Raises as the former."""
    with decoding(data, max_bytes, cancel) as (image, info):
        if info.mime == "image/png":  # Pillow looks for EXIF behind the pixels, where broken ones would pass for none
            image.load()
        shape = _shape(image, image.size if is_upright_already(image) else (info.width, info.height), data, info.mime)
        image.load()
    return info, shape


def _shape(image: Image.Image, size: tuple[int, int], data: bytes, mime: str) -> Shape:
    """Of a picture that is not decoded yet; ``size``: before any draft."""
    turn = orientation_of(image)
    width, height = size
    if turn in _SWAPPING and not is_upright_already(image):
        width, height = height, width
    plain = (
        turn == 1
        and image.mode in _PLAIN_MODES
        and not _is_deep(image, data)
        and _is_srgb(_profile_of(image), image.mode)
    )
    return Shape(
        mime, width, height, plain,
        still=mime != "image/webp" or getattr(image, "n_frames", 1) == 1,
        lossy=mime in {"image/jpeg", "image/avif"} or image.info.get("compression") in {"jpeg", "tiff_jpeg"},
        alpha=image.has_transparency_data, mode=image.mode,
    )  # fmt: skip


def shrunk(data: bytes, longest: int, alpha: Alpha, cancel: CancelToken | None = None) -> tuple[Shape, Image.Image]:
    """What a picture is, and what `rendered` makes of it, opened once. Raises PictureRejected, Stopped."""
    mime = mime_of(data)
    with opened(data, mime, draft=int(longest * _SHARP), renders=True, cancel=cancel) as (image, stored):
        shape = _shape(image, image.size if is_upright_already(image) else stored, data, mime)
        return shape, _seen(image, longest, alpha)


@contextmanager
def rendered(
    data: bytes, *, longest: int | None = None, alpha: Alpha = Alpha.KEEP, cancel: CancelToken | None = None
) -> Iterator[Image.Image]:
    """The picture as people see it, RGB or RGBA; with ``longest`` shrunk to that edge, never blown up.

    The pixels hold room for as long as the block runs (`room`): what leaves it should be small, or encoded. Raises
    PictureRejected, Stopped.
    """
    draft = None if longest is None else int(longest * _SHARP)
    with opened(data, mime_of(data), draft=draft, renders=True, cancel=cancel) as (image, _):
        yield _seen(image, longest, alpha)


def _seen(image: Image.Image, longest: int | None, alpha: Alpha) -> Image.Image:
    turn = orientation_of(image)
    profile = _profile_of(image)
    image.load()
    seen = _eight_bit(image)
    if longest is not None:
        seen.thumbnail((longest, longest), Image.Resampling.HAMMING, reducing_gap=_SHARP)
    seen = _in_srgb(seen, profile)
    if turn in _TURNS and not is_upright_already(image):
        seen = seen.transpose(_TURNS[turn])
    if alpha is not Alpha.KEEP:
        seen = on_colour(seen, alpha)
    seen.info.clear()  # it describes the stored pixels; nothing of it may be written again by accident
    return seen


def on_colour(image: Image.Image, alpha: Alpha = Alpha.WHITE) -> Image.Image:
    """RGB; what is transparent shows the colour."""
    if image.mode != "RGBA":
        return image if image.mode == "RGB" else image.convert("RGB")
    colour = {Alpha.BLACK: (0, 0, 0), Alpha.GREY: (128, 128, 128)}.get(alpha, (255, 255, 255))
    paper = Image.new("RGB", image.size, colour)
    paper.paste(image, mask=image.getchannel("A"))
    return paper


def _is_deep(image: Image.Image, data: bytes) -> bool:
    """Whether the file has more than eight bits a channel, also where Pillow's mode no longer tells."""
    if image.format == "PNG":
        return data[24] == 16
    bits = getattr(image, "tag_v2", {}).get(258, (8,)) if image.format == "TIFF" else (8,)
    return max(bits) > 8


def mime_of(data: bytes) -> str:
    """The type that the bytes say. Raises PictureRejected (PICTURE_NOT_IMAGE, PICTURE_BROKEN for none at all)."""
    mime = sniff(data[:HEAD_BYTES])
    if mime is None:
        raise PictureRejected(Code.PICTURE_NOT_IMAGE)
    return mime


class _Written(io.BytesIO):
    """A file in memory that looks at the cancel token with each piece that an encoder writes."""

    def __init__(self, cancel: CancelToken | None) -> None:
        super().__init__()
        self._cancel = cancel

    def write(self, data: Any) -> int:
        if self._cancel is not None:
            self._cancel.check()
        return super().write(data)


def encoded(
    image: Image.Image, extension: str, quality: int, *, quickly: bool = False, cancel: CancelToken | None = None
) -> bytes:
    """The file of a rendered picture: ``png``, ``jpg`` (on white), ``webp`` or ``bmp``; ``quality`` 1..100.

    ``quickly``: a WebP may become larger for it. Raises Stopped, in the middle too.
    """
    buffer = _Written(cancel)
    match extension:
        case "jpg":
            on_colour(image).save(buffer, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2)
        case "webp":
            method = 0 if quickly else 4
            if cancel is not None and image.width * image.height > LARGE_PIXELS:
                apart = webp_apart(image, quality, method, cancel)
                if apart is not None:
                    return apart
            write_webp(image, buffer, quality, method)
        case "bmp":
            on_colour(image).save(buffer, "BMP")
        case _:
            image.save(buffer, "PNG")
    return buffer.getvalue()


# --- bits and colours -------------------------------------------------------------------------------------------------


def _eight_bit(image: Image.Image) -> Image.Image:
    """In a mode of eight bits that can be resized well: L, RGB, RGBA or CMYK."""
    mode = image.mode
    if mode.startswith("I;16"):
        return image.convert("I").point(_LEVELS_16, "L")
    if mode in {"I", "F"}:
        return _levels(image)
    if mode in {"L", "RGB", "RGBA", "CMYK"} and "transparency" not in image.info:
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _levels(image: Image.Image) -> Image.Image:
    """Wide whole and real numbers have no white of their own: by their own range from black to white."""
    wide = image.convert("F")
    low, high = wide.getextrema()
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    scale = 255.0 / (high - low) if high > low else 0.0
    return wide.point(lambda value: value * scale + -low * scale).convert("L")


def _profile_of(image: Image.Image) -> bytes:
    profile = image.info.get("icc_profile")
    return profile if isinstance(profile, bytes) else b""


def _in_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """RGB or RGBA by the picture's profile; a profile that cannot be read, or is of another space, counts as none."""
    if profile and not _is_srgb(profile, image.mode):
        changed = _through(image, profile)
        if changed is not None:
            return changed
    return image if image.mode in {"RGB", "RGBA"} else image.convert("RGB")


def _is_srgb(profile: bytes, mode: str) -> bool:
    """Whether the profile changes no colour to be seen: tried with some of all, whatever it calls itself."""
    if not profile:
        return True
    mode = mode if mode in {"L", "CMYK", "LAB"} else "RGB"
    if mode in {"CMYK", "LAB"}:
        return False
    steps = range(0, 256, 51)
    sample = Image.new("RGB", (6, 36))
    sample.putdata([(red, green, blue) for red in steps for green in steps for blue in steps])
    if mode == "L":
        sample = sample.getchannel("B")
    seen = _through(sample, profile)
    if seen is None:
        return True
    before, after = sample.convert("RGB").tobytes(), seen.tobytes()
    return all(abs(one - other) <= _NEAR for one, other in zip(before, after, strict=True))


def _through(image: Image.Image, profile: bytes) -> Image.Image | None:
    """The picture brought from its profile to sRGB; None where the profile is none for it."""
    from PIL import ImageCms  # a library of its own, for pictures that have a profile

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != _SPACES.get(image.mode):
            return None
        mode = image.mode if image.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"),
            ImageCms.Intent.RELATIVE_COLORIMETRIC, mode, flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )  # fmt: skip
    except (ImageCms.PyCMSError, *DECODER_ERRORS):
        return None
