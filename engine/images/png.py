"""PNG as it is made of chunks: what a decoder has to see of a file, and whether all of its pixels are there.

Each chunk has a checksum, so rows that come out in full, with filters that exist, are rows that any decoder shows.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from engine.upstream.cancel import CancelToken

PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_MAX_PROFILE_BYTES: Final = 8 * 1024 * 1024
_MAX_EXIF_BYTES: Final = 64 * 1024  # what JPEG can hold; larger ones carry thumbnails and notes of makers
_PIXELS: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # a pixel, by type of colour
_DEPTHS: Final = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # bits, by type of colour
_PASSES: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_MOST_CHUNKS: Final = 100_000  # of an ordinary picture: encoders give each some kilobytes of pixels
_FILTERS: Final = bytes(range(5))
_PIECE: Final = 256 * 1024  # bytes given to zlib at once, between two looks at the cancel token
_INFLATED: Final = 1024 * 1024  # bytes taken from it at once


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end (behind the checksum) of each chunk that is there whole."""
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            return
        yield data[at + 4 : at + 8], at, end
        at = end


def _checks(data: bytes, at: int, end: int) -> bool:
    return zlib.crc32(memoryview(data)[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")


def is_whole(data: bytes) -> bool:
    """Every chunk of the pixels there with the right checksum (Pillow skips some), up to IEND."""
    for kind, at, end in _chunks(data):
        if not kind[0] & 0x20 and not _checks(data, at, end):
            return False
        if kind == b"IEND":
            return True
    return False


def is_ordinary(data: bytes) -> bool:
    """Whether all that decides of a picture that `is_whole` are its rows: a header as the standard has it, a palette
    where it needs one, pixels, in chunks that can be counted. What a decoder may have a word to say about is not
    ordinary."""
    kinds: list[bytes] = []
    for number, (kind, at, end) in enumerate(_chunks(data)):
        if number == _MOST_CHUNKS:
            return False
        if kind not in _PIXELS:
            if kind == b"eXIf" or not kind.isalpha() or not kind[0] & 0x20:
                return False
            continue
        if kind == b"tRNS" or not _checks(data, at, end):
            return False
        if kind != b"IDAT" or kinds[-1:] != [kind]:
            kinds.append(kind)
        if kind == b"IEND":
            break
    palette = [b"PLTE"] if data[25:26] == b"\x03" or b"PLTE" in kinds else []
    return (
        kinds == [b"IHDR", *palette, b"IDAT", b"IEND"]
        and data[8:12] == b"\0\0\0\r"
        and data[24] in _DEPTHS.get(data[25], ())
        and data[26:28] == b"\0\0"
        and data[28] in (0, 1)
    )


def beside_pixels(data: bytes) -> tuple[list[tuple[int, int]], bytes | None]:
    """Where chunks stand that are neither pixels nor orientation; and the colour profile."""
    drop: list[tuple[int, int]] = []
    profile: bytes | None = None
    for kind, at, end in _chunks(data):
        keeps = kind in _PIXELS or (kind == b"eXIf" and end - at <= _MAX_EXIF_BYTES and _checks(data, at, end))
        if kind == b"iCCP" and profile is None and _checks(data, at, end):
            profile = _inflated(data[at + 8 : end - 4].partition(b"\0")[2][1:])
        if not keeps:
            drop.append((at, end))
    return drop, profile


def _inflated(packed: bytes) -> bytes | None:
    try:
        inflater = zlib.decompressobj()
        profile = inflater.decompress(packed, _MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if inflater.eof else None


# --- pixels -----------------------------------------------------------------------------------------------------------


def has_all_pixels(data: bytes, cancel: CancelToken | None) -> bool:
    """Whether the rows of a picture that `is_whole` come out of what is compressed, each with a filter that there is;
    they are never held together. Raises zlib.error where nothing can be inflated; Stopped."""
    rows = _Rows(data)
    inflater = zlib.decompressobj()
    for piece in _compressed(data):
        while True:
            if cancel is not None:
                cancel.check()
            out = inflater.decompress(piece, _INFLATED)
            if not rows.take(out):
                return False
            if rows.complete:
                return True
            piece = inflater.unconsumed_tail
            if not piece and len(out) < _INFLATED:
                break
    return False


def _compressed(data: bytes) -> Iterator[bytes | memoryview]:
    """The pixels, in pieces; a decoder reads no further than to the first chunk that is none of them."""
    view, begun = memoryview(data), False
    for kind, at, end in _chunks(data):
        if kind == b"IDAT":
            begun = True
            for start in range(at + 8, end - 4, _PIECE):
                yield view[start : min(start + _PIECE, end - 4)]
        elif begun and kind in _PIXELS:
            return


class _Rows:
    """The rows that are awaited: in one pass, or in seven where the picture is interlaced."""

    def __init__(self, data: bytes) -> None:
        """``data``: a PNG with its IHDR."""
        width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
        depth, colour, interlaced = data[24], data[25], data[28]
        bits = depth * _SAMPLES[colour]
        passes = _PASSES if interlaced else ((0, 0, 1, 1),)
        sizes = [(-(-(width - x) // wide), -(-(height - y) // high)) for x, y, wide, high in passes]
        self._passes = [(1 + -(-bits * columns // 8), rows) for columns, rows in sizes if columns > 0 and rows > 0]
        self._begin_pass()

    def _begin_pass(self) -> None:
        self._row, rows = self._passes.pop(0)  # bytes of a row, that of its filter among them
        self._left = self._row * rows
        self._next = 0  # bytes up to the next row

    @property
    def complete(self) -> bool:
        """Nothing is awaited any more."""
        return not self._left

    def take(self, out: bytes) -> bool:
        """Go on with these bytes; whether their filters are such that there are."""
        at = 0
        while at < len(out) and self._left:
            count = min(self._left, len(out) - at)
            if out[at + self._next : at + count : self._row].translate(None, _FILTERS):
                return False
            at += count
            self._left -= count
            self._next = (self._next - count) % self._row
            if not self._left and self._passes:
                self._begin_pass()
        return True
