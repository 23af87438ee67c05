"""Whether the pixels of a PNG are all there is told without decoding, more strictly than Pillow tells it."""

from __future__ import annotations

import io
import itertools
import random
import struct
import zlib
from typing import Final

import pytest
from PIL import Image

from engine.errors import Code, PictureRejected, Stopped
from engine.images import png
from engine.images.picture import check_picture
from engine.models import ImageInfo
from engine.upstream.cancel import CancelToken
from tests.made_pictures import png_chunk

KINDS: Final = [
    (0, 1),
    (0, 2),
    (0, 4),
    (0, 8),
    (0, 16),
    (2, 8),
    (2, 16),
    (3, 1),
    (3, 2),
    (3, 4),
    (3, 8),
    (4, 8),
    (6, 8),
]
SAMPLES: Final = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES: Final = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def rows_of(colour: int, depth: int, size: tuple[int, int], *, interlaced: bool, chance: random.Random) -> list[bytes]:
    """Rows of noise with their filters, in the order in which a file has them."""
    found = []
    for left, top, wide, high in PASSES if interlaced else ((0, 0, 1, 1),):
        columns, lines = len(range(left, size[0], wide)), len(range(top, size[1], high))
        if columns:
            length = (columns * SAMPLES[colour] * depth + 7) // 8
            found += [bytes([chance.randrange(5)]) + chance.randbytes(length) for _ in range(lines)]
    return found


def file_of(
    colour: int, depth: int, size: tuple[int, int], pixels: bytes, *, interlaced: bool, pieces: int = 1
) -> bytes:
    """A PNG of these rows, every checksum right; its pixels in so many chunks."""
    packed = zlib.compress(pixels)
    step = -(-len(packed) // pieces)
    palette = png_chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 and depth == 8 else b""
    if colour == 3 and not palette:
        palette = png_chunk(b"PLTE", bytes(3 * 2**depth))
    return (
        png.PNG_SIGNATURE
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced))
        + palette
        + b"".join(png_chunk(b"IDAT", packed[at : at + step]) for at in range(0, len(packed), step))
        + png_chunk(b"IEND", b"")
    )


def pillow_takes(data: bytes) -> bool:
    """Whether Pillow decodes it."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, zlib.error):
        return False
    return True


def takes(data: bytes) -> bool:
    """Whether we say that it decodes."""
    try:
        check_picture(data, len(data))
    except PictureRejected as error:
        return error.code is not Code.PICTURE_BROKEN
    return True


@pytest.mark.parametrize("interlaced", [False, True])
def test_pixels_that_are_all_there(interlaced: bool) -> None:
    """Every kind and many sizes: what is whole is taken, with more rows than it has, too, as Pillow takes it; with a
    filter that there is not neither takes it. Where one byte is missing, or half, Pillow fills the rest with black."""
    chance = random.Random(7)
    for (colour, depth), size in itertools.product(KINDS, [(1, 1), (3, 5), (17, 9), (8, 8), (300, 2), (2, 40)]):
        rows = rows_of(colour, depth, size, interlaced=interlaced, chance=chance)
        whole = b"".join(rows)
        number = chance.randrange(len(rows))
        wrong = bytes([5 + chance.randrange(251)]) + rows[number][1:]
        filtered = b"".join([*rows[:number], wrong, *rows[number + 1 :]])
        for pixels, good in ((whole, True), (whole + b"\x09" * 50, True), (filtered, False), (whole[:-1], None)):
            data = file_of(colour, depth, size, pixels, interlaced=interlaced, pieces=chance.randrange(1, 4))
            assert takes(data) is bool(good), (colour, depth, size, len(pixels), len(whole))
            assert good is None or pillow_takes(data) is good
        assert not takes(file_of(colour, depth, size, whole[: len(whole) // 2], interlaced=interlaced))


def with_right_checksums(data: bytes) -> bytes:
    """The same file, each chunk that is there whole with the checksum that it should have."""
    fixed, at = bytearray(data), len(png.PNG_SIGNATURE)
    while at + 12 <= len(fixed):
        end = at + 12 + int.from_bytes(fixed[at : at + 4], "big")
        if end > len(fixed):
            break
        fixed[end - 4 : end] = zlib.crc32(fixed[at + 4 : end - 4]).to_bytes(4, "big")
        at = end
    return bytes(fixed)


def judged(data: bytes) -> ImageInfo | Code:
    """What is said of it."""
    try:
        return check_picture(data, 10**9)
    except PictureRejected as error:
        return error.code


def test_without_a_decoder_the_same_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most files need no decoder to be judged; of those that were changed anywhere, checksums mended or not, the same
    is said as with one, and nothing is taken that Pillow refuses."""
    chance = random.Random(11)
    notes = png_chunk(b"tEXt", b"a\0b") + png_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile"))
    files = []
    for (colour, depth), pieces in itertools.product(KINDS, (1, 3)):
        rows = b"".join(rows_of(colour, depth, (9, 7), interlaced=pieces == 3, chance=chance))
        whole = file_of(colour, depth, (9, 7), rows, interlaced=pieces == 3, pieces=pieces)
        files += [whole, whole[:33] + notes + whole[33:], whole[:33] + png_chunk(b"tRNS", b"\0\1") + whole[33:]]
        for _ in range(60):
            changed = bytearray(whole[: chance.choice((len(whole), len(whole), len(whole) - chance.randrange(20)))])
            for _ in range(chance.randrange(1, 3)):
                changed[chance.randrange(8, min(len(changed), 70))] = chance.choice((0, 1, 3, 7, 8, 16, 255, 73))
            files += [bytes(changed), with_right_checksums(bytes(changed))]
    said = [judged(data) for data in files]
    ordinary = [png.is_ordinary(data) for data in files]
    assert sum(ordinary) > 200
    assert sum(not isinstance(one, Code) for one in said) > 200
    monkeypatch.setattr(png, "is_ordinary", lambda _: False)
    for data, one, was_ordinary in zip(files, said, ordinary, strict=True):
        assert judged(data) == one, data
        assert isinstance(one, Code) or not was_ordinary or pillow_takes(data), data


def test_chunks_without_end_are_not_ordinary() -> None:
    """Nobody goes through millions of empty chunks once more than needed; they are judged as ever."""
    rows = b"".join(rows_of(2, 8, (4, 4), interlaced=False, chance=random.Random(1)))
    whole = file_of(2, 8, (4, 4), rows, interlaced=False)
    many = whole[:33] + png_chunk(b"tEXt", b"") * 100_000 + whole[33:]
    assert png.is_ordinary(whole)
    assert not png.is_ordinary(many)
    assert takes(many)


def test_large_pixels_are_never_held_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pieces are small, rows reach over many of them, and what zlib holds back is asked for; a stop ends it."""
    monkeypatch.setattr(png, "_PIECE", 7)
    monkeypatch.setattr(png, "_INFLATED", 5)
    chance = random.Random(3)
    for pixels in (b"".join(rows_of(2, 8, (40, 60), interlaced=False, chance=chance)), bytes(121 * 60)):
        data = file_of(2, 8, (40, 60), pixels, interlaced=False)
        assert png.has_all_pixels(data, None)
        assert not png.has_all_pixels(file_of(2, 8, (40, 60), pixels[:-1], interlaced=False), None)
        cancel = CancelToken()
        cancel.cancel()
        with pytest.raises(Stopped):
            png.has_all_pixels(data, cancel)
