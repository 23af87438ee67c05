"""What bytes are as a picture: told by content, bounded before decoding, decoded completely. No files.

Pixels decide: metadata is left out before a decoder sees it, so that neither its size nor its faults spoil a picture.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import accumulate
from typing import IO, Final, cast

from PIL import Image

from engine.errors import Code, PictureRejected
from engine.formats import FORMATS, extension_of
from engine.images import png
from engine.images.room import MAX_PICTURE_BYTES, ROOM
from engine.models import ImageInfo
from engine.upstream.cancel import CancelToken

MAX_PIXELS: Final = 89_000_000
"""Most pixels of one picture, some 350 MB decoded; from here on Pillow would warn as well."""

HEAD_BYTES: Final = 64
"""So many leading bytes are enough for `sniff`."""


MIME_TYPES: Final = tuple(FORMATS)
"""Every type that `sniff` tells."""

_TIFF_MAGICS: Final = (b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0")
_BMP_HEADER_SIZES: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_GENERAL_BRANDS: Final = frozenset({b"mif1", b"msf1", b"miaf", b"MA1A", b"MA1B"})

_BOXES: Final = frozenset({b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid"})

DECODER_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)
"""Decoders meet hostile bytes; these are all the types that Pillow's readers are known to let out."""

_ORIENTATION: Final = 0x0112
_HEADER_BYTES: Final = 32
_SMALL_BYTES: Final = 256 * 1024
_MAX_SCANNED_PIXELS: Final = 1_500_000_000  # at 0.9 ns for each pixel of each scan
_TAKES: Final = {"image/webp": 16, "image/avif": 10}  # bytes a pixel, measured: canvas, frame before, planes, copy
_STORED: Final = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}  # others: 4


def sniff(head: bytes) -> str | None:
    """MIME type of the raster format that ``head`` (the first `HEAD_BYTES` bytes or more) begins, else None."""
    if head.startswith(png.PNG_SIGNATURE):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if head.startswith(_TIFF_MAGICS):
        return "image/tiff"
    if head[4:8] == b"ftyp" and _is_avif(head):
        return "image/avif"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "image/bmp"
    return None


def _is_avif(head: bytes) -> bool:
    """AVIF names itself as major brand, or among the compatible ones of a general brand; HEIC shares the container."""
    major = head[8:12]
    if major in _AVIF_BRANDS:
        return True
    end = min(int.from_bytes(head[:4], "big"), len(head))
    compatible = {head[at : at + 4] for at in range(16, end - 3, 4)}
    return major in _GENERAL_BRANDS and not _AVIF_BRANDS.isdisjoint(compatible)


def check_picture(data: bytes, max_bytes: int, cancel: CancelToken | None = None) -> ImageInfo:
    """Decode a picture completely and say what it is; of a PNG its rows are counted without making pixels of them,
    which finds more: Pillow fills rows that are missing.

    Width and height are those of the pixels as stored, before any EXIF orientation; of many frames the first counts.
    Raises PictureRejected: PICTURE_TOO_LARGE (limit in bytes), PICTURE_NOT_IMAGE, PICTURE_TOO_MANY_PIXELS (limit in
    pixels, width, height), PICTURE_TOO_SLOW (scans) or PICTURE_BROKEN; Stopped.
    """
    if data.startswith(png.PNG_SIGNATURE) and len(data) <= max_bytes and png.is_ordinary(data):
        return _counted(data, cancel)
    with decoding(data, max_bytes, cancel) as (image, info):
        if info.mime != "image/png":
            image.load()
        elif not png.has_all_pixels(data, cancel):
            raise PictureRejected(Code.PICTURE_BROKEN)
    return info


def _counted(data: bytes, cancel: CancelToken | None) -> ImageInfo:
    """A PNG that needs no decoder to be judged, which takes half a millisecond to be made."""
    mime = "image/png"
    width, height = struct.unpack(">II", data[16:24])
    check_size((width, height))
    try:
        is_complete = png.has_all_pixels(data, cancel)
    except zlib.error as error:
        raise PictureRejected(Code.PICTURE_BROKEN) from error
    if not is_complete:
        raise PictureRejected(Code.PICTURE_BROKEN)
    return ImageInfo(mime, extension_of(mime), width, height)


@contextmanager
def decoding(data: bytes, max_bytes: int, cancel: CancelToken | None = None) -> Iterator[tuple[Image.Image, ImageInfo]]:
    """A picture that `check_picture` is about to decode, for who wants to look at it before that; raises the same."""
    if len(data) > max_bytes:
        raise PictureRejected(Code.PICTURE_TOO_LARGE, limit=max_bytes)
    if not data:
        raise PictureRejected(Code.PICTURE_BROKEN)
    mime = sniff(data[:HEAD_BYTES])
    if mime is None:
        raise PictureRejected(Code.PICTURE_NOT_IMAGE)
    if not is_whole(data, mime):
        raise PictureRejected(Code.PICTURE_BROKEN)
    # At an eighth of the size libjpeg still reads every coefficient, in half the time and 1/64 of the memory.
    with opened(data, mime, draft=1, cancel=cancel) as (image, stored):
        yield image, ImageInfo(mime, extension_of(mime), *stored)


def with_path(error: PictureRejected, path: str) -> PictureRejected:
    """The same failure, naming the file that the bytes came from."""
    named = PictureRejected(error.code, path=path)
    named.params = {**error.params, "path": path}
    return named


@contextmanager
def opened(
    data: bytes, mime: str, *, draft: int | None = None, renders: bool = False, cancel: CancelToken | None = None
) -> Iterator[tuple[Image.Image, tuple[int, int]]]:
    """The picture in ``data``, not yet decoded, and its size as stored; room for its pixels is held while
    the block runs.

    ``draft``: an edge in pixels that is enough, where the format can be decoded smaller. ``renders``: the block makes
    further copies. Only the decoder of ``mime`` is tried, with a point to stop at each piece that it reads. Whatever
    a decoder raises inside is PictureRejected outside; Stopped.
    """
    try:
        with contextlib.ExitStack() as stack:
            parts, profile = _bare(data, mime)
            size = header_size(data[:_HEADER_BYTES], mime)
            check_size(size)
            if size is not None and mime == "image/webp":  # its decoder takes memory when it is made
                stack.enter_context(_room(size, _TAKES[mime] + 8 * renders, cancel))
            image = stack.enter_context(Image.open(_file(parts, cancel), formats=[FORMATS[mime].decoder]))
            check_size(image.size)
            in_scans = mime == "image/jpeg" and _check_scans(data, image.size)
            stored = stored_size(image)
            if draft is not None:
                ratio = draft / max(stored)
                image.draft(None, (max(1, int(image.width * ratio)), max(1, int(image.height * ratio))))
            needs = _bytes_a_pixel(image, mime, stored, renders=renders)
            if in_scans:
                needs += 2 * len(image.getbands())  # all coefficients, whatever the draft
            if mime != "image/webp":
                stack.enter_context(_room(stored, needs, cancel))
            if profile is not None:
                image.info["icc_profile"] = profile
            yield image, stored
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureRejected(Code.PICTURE_TOO_MANY_PIXELS, limit=MAX_PIXELS) from error
    except DECODER_ERRORS as error:
        raise PictureRejected(Code.PICTURE_BROKEN) from error


def _file(parts: Sequence[memoryview], cancel: CancelToken | None) -> IO[bytes]:
    """The parts as one file; a cancelled token ends it at the next read."""
    if sum(map(len, parts)) <= _SMALL_BYTES:
        return _Small(parts, cancel)
    return cast("IO[bytes]", _Parts(parts, cancel))  # read, seek and tell are all that decoders use


class _Small(io.BytesIO):
    """Copied into one, which costs less than to find each piece."""

    def __init__(self, parts: Sequence[memoryview], cancel: CancelToken | None) -> None:
        super().__init__(b"".join(parts))
        self._cancel = cancel

    def read(self, size: int | None = -1, /) -> bytes:
        if self._cancel is not None:
            self._cancel.check()
        return super().read(size)


class _Parts(io.RawIOBase):
    """Never copied into one."""

    def __init__(self, parts: Sequence[memoryview], cancel: CancelToken | None) -> None:
        self._parts = parts
        self._ends = list(accumulate(map(len, parts)))
        self._at = 0
        self._cancel = cancel

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = max(0, offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._ends[-1]}[whence])
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        if self._cancel is not None:
            self._cancel.check()
        end = self._ends[-1] if size is None or size < 0 else min(self._at + size, self._ends[-1])
        if len(self._parts) == 1 and (self._at, end) == (0, self._ends[-1]) and isinstance(self._parts[0].obj, bytes):
            self._at = end
            return self._parts[0].obj  # some decoders take all at once
        pieces: list[memoryview] = []
        number = bisect_right(self._ends, self._at)
        while self._at < end:
            part, stop = self._parts[number], self._ends[number]
            begin = stop - len(part)
            pieces.append(part[self._at - begin : min(end, stop) - begin])
            self._at = min(end, stop)
            number += 1
        return b"".join(pieces)


def _room(size: tuple[int, int], bytes_a_pixel: float, cancel: CancelToken | None) -> AbstractContextManager[None]:
    """Room for the pixels; PICTURE_TOO_MANY_PIXELS where one picture may not have so much."""
    width, height = size
    needed = int(width * height * bytes_a_pixel)
    if needed > MAX_PICTURE_BYTES:
        limit = min(MAX_PIXELS, int(MAX_PICTURE_BYTES / bytes_a_pixel))
        raise PictureRejected(Code.PICTURE_TOO_MANY_PIXELS, limit=limit, width=width, height=height)
    return ROOM.taken(needed, cancel)


def _bytes_a_pixel(image: Image.Image, mime: str, stored: tuple[int, int], *, renders: bool) -> float:
    """Memory for each stored pixel at the moment when most is held."""
    share = image.width * image.height / (stored[0] * stored[1])  # of a draft
    takes = float(_TAKES.get(mime, _STORED.get(image.mode, 4)))
    if mime == "image/tiff":
        takes *= 2  # a strip may be all of it
    takes *= share
    if renders:
        converts = image.mode not in {"RGB", "RGBA", "L"} or image.has_transparency_data
        turns = orientation_of(image) != 1
        takes += share * ((5 if converts else 0) + (4 if turns else 0))
    return takes


def orientation_of(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where none can be read."""
    try:
        turn = image.getexif().get(_ORIENTATION, 1)
    except DECODER_ERRORS:
        return 1
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else 1


def is_upright_already(image: Image.Image) -> bool:
    """Whether Pillow turns the pixels of this format itself."""
    return image.format == "TIFF"


def check_size(size: tuple[int, int] | None) -> None:
    """Refuse a size of no or too many pixels; None is a size not known yet."""
    if size is None:
        return
    width, height = size
    if width < 1 or height < 1:
        raise PictureRejected(Code.PICTURE_BROKEN)
    if width * height > MAX_PIXELS:
        raise PictureRejected(Code.PICTURE_TOO_MANY_PIXELS, limit=MAX_PIXELS, width=width, height=height)


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as stored: Pillow gives those of a TIFF already turned by its orientation."""
    width, height = image.size
    if is_upright_already(image) and orientation_of(image) in (5, 6, 7, 8):
        return height, width
    return width, height


def header_size(head: bytes, mime: str) -> tuple[int, int] | None:
    """Size that the header gives, for the formats where Pillow would warn or allocate before it tells; else None."""
    if mime == "image/png" and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    if mime == "image/gif" and len(head) >= 10:
        width, height = struct.unpack("<HH", head[6:10])
        return max(width, 1), max(height, 1)
    if mime == "image/webp" and len(head) >= 30:
        return _webp_size(head)
    return None


def _webp_size(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


# --- what decoders get to see -----------------------------------------------------------------------------------------


def _bare(data: bytes, mime: str) -> tuple[list[memoryview], bytes | None]:
    """The parts of a picture that its decoder is to see; and the colour profile, where it stood in what is left out."""
    drop: list[tuple[int, int]] = []
    profile = None
    if mime == "image/png":
        drop, profile = png.beside_pixels(data)
    elif mime == "image/jpeg":
        drop = _beside_pixels_jpeg(data)
    view = memoryview(data)
    starts = [0, *(end for _, end in drop)]
    ends = [*(at for at, _ in drop), len(data)]
    return [view[start:end] for start, end in zip(starts, ends, strict=True)], profile


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each JPEG segment up to the first scan, its header included."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:
            at += 2
        else:
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            yield marker, at, end
            if marker == 0xDA:
                return
            at = end


def _beside_pixels_jpeg(data: bytes) -> list[tuple[int, int]]:
    """Where a JPEG has what no pixel needs and readers stumble over: lists of further pictures, notes, comments."""
    return [
        (at, end)
        for marker, at, end in _segments(data)
        if marker in (0xED, 0xFE) or (marker == 0xE2 and data[at + 4 : at + 8] == b"MPF\0")
    ]


_MARKER: Final = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # none of what stands inside a scan


def _check_scans(data: bytes, size: tuple[int, int]) -> bool:
    """Whether a JPEG comes in several scans; refused where they are so many that decoding would take seconds, for each
    of them visits every pixel."""
    frame_parts, first = 0, len(data)
    for marker, at, end in _segments(data):
        if marker == 0xDA:
            if frame_parts <= 0 or data[at + 4] == frame_parts:
                return False  # baseline with all in one scan: the decoder stops behind it
            first = end
        elif marker in (0xC0, 0xC1):
            frame_parts = data[at + 9]
        elif 0xC2 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            frame_parts = 256  # progressive
    most = _MAX_SCANNED_PIXELS // (size[0] * size[1])
    scans, at = 1, first
    while scans <= most and (found := _MARKER.search(data, at)):
        at = found.end()
        kind = found[1][0]
        if kind == 0xD9:
            break
        at += int.from_bytes(data[at : at + 2], "big")
        scans += kind == 0xDA
    if scans > most:
        raise PictureRejected(Code.PICTURE_TOO_SLOW, scans=1 + data.count(b"\xff\xda", first))
    return True


# --- whole or cut off -------------------------------------------------------------------------------------------------


def is_whole(data: bytes, mime: str) -> bool:
    """Whether the container reaches its end: decoders stop at the last pixel and overlook what is cut off after it.

    Bytes after the end are allowed: cameras and tools append there.
    """
    match mime:
        case "image/png":
            return png.is_whole(data)
        case "image/jpeg":
            return _jpeg_is_whole(data)
        case "image/webp":
            return len(data) >= 8 + int.from_bytes(data[4:8], "little")
        case "image/gif":
            return _gif_is_whole(data)
        case "image/avif":
            return _boxes_are_whole(data)
        case "image/bmp":
            return len(data) >= max(int.from_bytes(data[2:6], "little"), int.from_bytes(data[10:14], "little"))
    return True


def _jpeg_is_whole(data: bytes) -> bool:
    """An end marker after the start of the scan: one before it belongs to the preview inside the EXIF data."""
    at = 2
    for marker, start, end in _segments(data):
        at = start if marker == 0xDA else end
    return data.find(b"\xff\xd9", at) > 0


def _gif_is_whole(data: bytes) -> bool:
    """Blocks up to the trailer."""
    if len(data) < 13:
        return False
    at = 13 + _colour_table(data[10])
    while at < len(data):
        block = data[at]
        if block == 0x3B:
            return True
        if block == 0x2C and at + 9 < len(data):
            at += 11 + _colour_table(data[at + 9])
        elif block == 0x21:
            at += 2
        else:
            # Stray bytes between blocks are common; decoders skip them.
            at += 1
            continue
        at = _after_sub_blocks(data, at)
    return False


def _colour_table(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_sub_blocks(data: bytes, at: int) -> int:
    size = len(data)
    while at < size and data[at]:
        at += 1 + data[at]
    return at + 1


def _boxes_are_whole(data: bytes) -> bool:
    """The boxes of an ISO container, each with a size within the data."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        elif size == 0:
            return True
        kind = data[at + 4 : at + 8]
        if size < 8 or at + size > len(data):
            # What follows the picture's own boxes may be anything.
            return at > 0 and kind not in _BOXES
        at += size
    return True


def read_shape(path: str) -> float | None:
    """Width by height of the picture in a file, by its header; None where it cannot be told."""
    try:
        with open(path, "rb") as file, Image.open(file) as image:  # noqa: PTH123 - any path that was found
            width, height = image.size
    except (*DECODER_ERRORS, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
    return width / height if height else None
