"""What bytes are as a picture: told by content, bounded before decoding, decoded completely. No files, no state."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

import msgspec
from PIL import Image

from engine.errors import Code, PictureRejected
from engine.models import ImageInfo

MAX_PIXELS: Final = 89_000_000
"""Most pixels of one picture, some 350 MB decoded; from here on Pillow would warn as well."""

HEAD_BYTES: Final = 64
"""So many leading bytes are enough for `sniff`."""


class _Format(msgspec.Struct, frozen=True):
    decoder: str
    extension: str


_FORMATS: Final = {
    "image/png": _Format("PNG", "png"),
    "image/jpeg": _Format("JPEG", "jpg"),
    "image/webp": _Format("WEBP", "webp"),
    "image/bmp": _Format("BMP", "bmp"),
    "image/gif": _Format("GIF", "gif"),
    "image/tiff": _Format("TIFF", "tiff"),
    "image/avif": _Format("AVIF", "avif"),
}

MIME_TYPES: Final = tuple(_FORMATS)
"""Every type that `sniff` tells."""

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_TIFF_MAGICS: Final = (b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0")
_BMP_HEADER_SIZES: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_GENERAL_BRANDS: Final = frozenset({b"mif1", b"msf1", b"miaf", b"MA1A", b"MA1B"})

_BOXES: Final = frozenset({b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid"})

# Decoders meet hostile bytes; these are all the types that Pillow's readers are known to let out.
_DECODER_ERRORS: Final = (
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


def sniff(head: bytes) -> str | None:
    """MIME type of the raster format that ``head`` (the first `HEAD_BYTES` bytes or more) begins, else None."""
    if head.startswith(PNG_SIGNATURE):
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


def check_picture(data: bytes, max_bytes: int) -> ImageInfo:
    """Decode a picture completely and say what it is.

    Width and height are those of the pixels as stored, before any EXIF orientation; of many frames the first counts.
    Raises PictureRejected: PICTURE_TOO_LARGE (limit in bytes), PICTURE_NOT_IMAGE, PICTURE_TOO_MANY_PIXELS (limit in
    pixels, width, height) or PICTURE_BROKEN.
    """
    if len(data) > max_bytes:
        raise PictureRejected(Code.PICTURE_TOO_LARGE, limit=max_bytes)
    if not data:
        raise PictureRejected(Code.PICTURE_BROKEN)
    mime = sniff(data[:HEAD_BYTES])
    if mime is None:
        raise PictureRejected(Code.PICTURE_NOT_IMAGE)
    if not is_whole(data, mime):
        raise PictureRejected(Code.PICTURE_BROKEN)
    with opened(io.BytesIO(data), mime) as image:
        width, height = stored_size(image)
        # At an eighth of the size libjpeg still reads every coefficient, in half the time and 1/64 of the memory.
        image.draft(None, (1, 1))
        image.load()
    return ImageInfo(mime, _FORMATS[mime].extension, width, height)


def with_path(error: PictureRejected, path: str) -> PictureRejected:
    """The same failure, naming the file that the bytes came from."""
    named = PictureRejected(error.code, path=path)
    named.params = {**error.params, "path": path}
    return named


@contextmanager
def opened(stream: BinaryIO, mime: str, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """The picture in ``stream``, not yet decoded, with its size checked; whatever a decoder raises inside is
    PictureRejected outside. Only the decoder of ``mime`` is tried."""
    try:
        check_size(header_size(stream, mime), max_pixels)
        with Image.open(stream, formats=[_FORMATS[mime].decoder]) as image:
            check_size(image.size, max_pixels)
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureRejected(Code.PICTURE_TOO_MANY_PIXELS, limit=max_pixels) from error
    except _DECODER_ERRORS as error:
        raise PictureRejected(Code.PICTURE_BROKEN) from error


def check_size(size: tuple[int, int] | None, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a size of no or too many pixels; None is a size not known yet."""
    if size is None:
        return
    width, height = size
    if width < 1 or height < 1:
        raise PictureRejected(Code.PICTURE_BROKEN)
    if width * height > max_pixels:
        raise PictureRejected(Code.PICTURE_TOO_MANY_PIXELS, limit=max_pixels, width=width, height=height)


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height as stored: Pillow gives those of a TIFF already turned by its orientation."""
    width, height = image.size
    if image.format == "TIFF" and image.getexif().get(0x0112) in (5, 6, 7, 8):
        return height, width
    return width, height


def header_size(stream: BinaryIO, mime: str) -> tuple[int, int] | None:
    """Size that the header gives, for the formats where Pillow would warn or allocate before it tells; else None.

    The stream is left at its start.
    """
    head = stream.read(32)
    stream.seek(0)
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


def is_whole(data: bytes, mime: str) -> bool:
    """Whether the container reaches its end: decoders stop at the last pixel and overlook what is cut off after it.

    Bytes after the end are allowed: cameras and tools append there.
    """
    match mime:
        case "image/png":
            return _png_is_whole(data)
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


def _png_is_whole(data: bytes) -> bool:
    """Every chunk there with the right checksum (Pillow skips that of the pixels), up to IEND."""
    at = len(PNG_SIGNATURE)
    view = memoryview(data)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        if end > len(data):
            return False
        kind = data[at + 4 : at + 8]
        critical = not kind[0] & 0x20
        if critical and zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            return False
        if kind == b"IEND":
            return True
        at = end
    return False


def _jpeg_is_whole(data: bytes) -> bool:
    """An end marker after the start of the scan: one before it belongs to the preview inside the EXIF data."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:
            break
        if marker == 0xFF:
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
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
