"""What is taken for a picture, what is refused and with which code, whatever the bytes are."""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from engine.errors import Code, PictureRejected
from engine.images.picture import HEAD_BYTES, MAX_PIXELS, check_picture, sniff
from engine.models import ImageInfo
from tests.made_pictures import FORMATS, animated, drawn, encoded, png_bomb, png_chunk

# Pillow also warns about what it then refuses.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

LIMIT = 1 << 22

VARIANTS = {
    **{kind: encoded(kind) for kind in FORMATS},
    "jpeg progressive": encoded("jpeg", progressive=True),
    "jpeg grey": encoded("jpeg", drawn(mode="L")),
    "jpeg cmyk": encoded("jpeg", drawn(mode="CMYK")),
    "png alpha": encoded("png", drawn(mode="RGBA")),
    "png palette": encoded("png", drawn().quantize(16)),
    "png 16 bit": encoded("png", Image.new("I;16", (31, 17), 500)),
    "webp lossless": encoded("webp", drawn(mode="RGBA"), lossless=True),
    "bmp padded rows": encoded("bmp", drawn(61, 41)),
    "tiff lzw": encoded("tiff", compression="tiff_lzw"),
    "tiff deflate": encoded("tiff", compression="tiff_deflate"),
    "tiff big": encoded("tiff", big_tiff=True),
    **{f"{kind} animated": animated(kind) for kind in ("png", "gif", "webp", "avif")},
}


def code_of(data: bytes, limit: int = LIMIT) -> Code:
    """The code that these bytes are refused with."""
    with pytest.raises(PictureRejected) as caught:
        check_picture(data, limit)
    return caught.value.code


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_known_by_its_first_bytes(kind: str) -> None:
    """The head alone tells the format, and the decoded picture its size."""
    data = encoded(kind)
    assert sniff(data[:HEAD_BYTES]) == FORMATS[kind]
    extension = {"jpeg": "jpg"}.get(kind, kind)
    assert check_picture(data, LIMIT) == ImageInfo(FORMATS[kind], extension, 60, 40)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_file_cut_anywhere_is_refused(name: str) -> None:
    """No prefix of a picture passes for a picture."""
    data = VARIANTS[name]
    check_picture(data, LIMIT)
    cuts = {*range(min(len(data), 300)), *range(0, len(data), 23), *range(max(len(data) - 40, 0), len(data))}
    for length in sorted(cuts):
        assert code_of(data[:length]) in {Code.PICTURE_BROKEN, Code.PICTURE_NOT_IMAGE}, length


@pytest.mark.parametrize("name", VARIANTS)
def test_bytes_after_the_end_do_no_harm(name: str) -> None:
    """Phones append videos to photos: such a file is still a picture."""
    data = VARIANTS[name]
    assert check_picture(data + b"\0appended video" * 50, LIMIT) == check_picture(data, LIMIT)


@pytest.mark.parametrize("limit", [-1, 0, 1])
def test_the_limit_in_bytes_is_inclusive(limit: int) -> None:
    """A picture of exactly the limit is taken, one byte more is refused with the limit named."""
    data = encoded("png")
    if limit >= 0:
        check_picture(data, len(data) + limit)
        return
    with pytest.raises(PictureRejected) as caught:
        check_picture(data, len(data) - 1)
    assert caught.value.code is Code.PICTURE_TOO_LARGE
    assert caught.value.params == {"limit": len(data) - 1}


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        b"<!DOCTYPE html><html><body>502</body></html>",
        b'{"error": "no picture"}',
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        b"P6 1 1 255\n\0\0\0",
        b"BM is how this text begins, and it goes on for longer than a header",
        b"RIFF\x24\0\0\0WAVEfmt " + b"\0" * 40,
        b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + b"\0" * 64,
        b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + b"\0" * 64,
    ],
)
def test_what_is_no_raster_picture_is_named_so(data: bytes) -> None:
    """Vector pictures, pages, other containers and formats that are not ours are no pictures."""
    assert code_of(data) is Code.PICTURE_NOT_IMAGE


@pytest.mark.parametrize("kind", ["ico", "icns", "ppm", "tga", "eps", "pdf", "jpeg2000"])
def test_formats_that_pillow_knows_but_we_do_not_are_never_opened(kind: str) -> None:
    """Only the seven formats reach a decoder."""
    assert code_of(encoded(kind, drawn(64, 64))) is Code.PICTURE_NOT_IMAGE


def test_nothing_at_all_is_a_broken_picture() -> None:
    """An empty file says that it is damaged, not that it is something else."""
    assert code_of(b"") is Code.PICTURE_BROKEN


def test_avif_is_found_behind_a_general_brand() -> None:
    """A file whose major brand is mif1 or avis is AVIF if it says so among its compatible brands."""
    data = encoded("avif")
    general = data[:8] + b"mif1" + data[12:]
    assert check_picture(general, LIMIT).mime == "image/avif"
    assert sniff(b"\0\0\0\x20ftypavis\0\0\0\0") == "image/avif"


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
def test_the_size_is_that_of_the_stored_pixels(kind: str, orientation: int) -> None:
    """An orientation mark does not swap width and height."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    info = check_picture(encoded(kind, exif=exif), LIMIT)
    assert (info.width, info.height) == (60, 40)


def test_a_changed_bit_in_the_pixels_of_a_png_is_found() -> None:
    """The checksum of the pixel data counts, though the decoder skips it."""
    data = bytearray(encoded("png", drawn(200, 200)))
    data[data.index(b"IDAT") + 4 + 200] ^= 1
    assert code_of(bytes(data)) is Code.PICTURE_BROKEN


def test_a_jpeg_without_its_own_end_is_refused_in_spite_of_a_preview_with_one() -> None:
    """The end marker of the preview in the EXIF data is not that of the picture."""
    preview = encoded("jpeg", drawn(16, 16))
    segment = b"\xff\xe1" + struct.pack(">H", len(preview) + 8) + b"Exif\0\0" + preview
    data = encoded("jpeg")
    data = data[:2] + segment + data[2:]
    assert check_picture(data, LIMIT).width == 60
    for length in range(len(data) - 30, len(data)):
        assert code_of(data[:length]) is Code.PICTURE_BROKEN


def huge(kind: str) -> bytes:
    """A small file whose header claims 30,000 × 30,000 pixels or more."""
    size = struct.pack
    match kind:
        case "png":
            return png_bomb(30_000, 30_000)
        case "jpeg":
            data = encoded(kind)
            at = data.index(b"\xff\xc0") + 5
            return data[:at] + size(">HH", 30_000, 30_000) + data[at + 4 :]
        case "gif":
            data = encoded(kind)
            return data[:6] + size("<HH", 65_535, 65_535) + data[10:]
        case "bmp":
            data = encoded(kind)
            return data[:18] + size("<ii", 30_000, 30_000) + data[26:]
        case "webp":
            data = animated(kind)
            assert data[12:16] == b"VP8X"
            return data[:24] + b"\xfe\xff\0\xfe\xff\0" + data[30:]
        case "avif":
            data = encoded(kind)
            at = data.index(b"ispe") + 8
            return data[:at] + size(">II", 16_000, 16_000) + data[at + 8 :]
    return encoded(kind, Image.new("1", (30_000, 30_000)), compression="group4")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_bomb_is_refused_before_it_is_decoded(kind: str) -> None:
    """Too many pixels are found from the header, in a process that could not hold them."""
    data = huge(kind)
    program = (
        "import resource, sys\n"
        "from engine.errors import PictureRejected\n"
        "from engine.images.picture import check_picture\n"
        "data = sys.stdin.buffer.read()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n"
        "    check_picture(data, 1 << 26)\n"
        "except PictureRejected as error:\n"
        "    print(error.code.value)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, check=True, timeout=60)
    code, grown_kib = done.stdout.decode().split()
    assert code == Code.PICTURE_TOO_MANY_PIXELS
    assert int(grown_kib) < 100 * 1024


def test_the_refusal_of_a_bomb_names_its_size() -> None:
    """Width, height and the limit in pixels go with the code."""
    with pytest.raises(PictureRejected) as caught:
        check_picture(png_bomb(10_000, 9_000), LIMIT)
    assert caught.value.params == {"limit": MAX_PIXELS, "width": 10_000, "height": 9_000}


def test_a_bomb_in_a_text_chunk_is_bounded() -> None:
    """Compressed text that would fill the memory is left out: the pixels decide."""
    text = b"Comment\0\0" + zlib.compress(b"a" * 200_000_000, 9)
    data = encoded("png")
    bomb = data[:33] + png_chunk(b"zTXt", text) + data[33:]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert check_picture(bomb, LIMIT) == check_picture(data, LIMIT)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024


def test_pillow_is_left_as_it_is() -> None:
    """Limits are passed, not set: other users of Pillow in this process see no change."""
    check_picture(encoded("jpeg"), LIMIT)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert Image.MAX_IMAGE_PIXELS == 1024 * 1024 * 1024 // 4 // 3


def test_many_threads_get_the_same_answers() -> None:
    """Decoding has no state that threads could share."""
    jobs = list(VARIANTS.values()) * 6
    alone = [check_picture(data, LIMIT) for data in jobs]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda data: check_picture(data, LIMIT), jobs)) == alone


@settings(max_examples=400, deadline=None)
@given(
    name=st.sampled_from(sorted(name for name in VARIANTS if not name.startswith("tiff "))),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12),
    near_head=st.booleans(),
)
def test_changed_bytes_are_a_picture_or_refused(name: str, changes: list[tuple[float, int]], near_head: bool) -> None:
    """Whatever a decoder makes of damaged bytes, only one type of error comes out."""
    data = bytearray(VARIANTS[name])
    span = min(len(data), 120) if near_head else len(data)
    for place, value in changes:
        data[int(place * span)] = value
    try:
        info = check_picture(bytes(data), LIMIT)
    except PictureRejected:
        return
    assert 0 < info.width * info.height <= MAX_PIXELS


@given(st.binary(max_size=200), st.sampled_from([b"", *(data[:30] for data in VARIANTS.values())]))
def test_any_bytes_are_a_picture_or_refused(data: bytes, head: bytes) -> None:
    """Rubbish after a right beginning is refused with a code."""
    assert code_of(head + data) in {Code.PICTURE_BROKEN, Code.PICTURE_NOT_IMAGE, Code.PICTURE_TOO_MANY_PIXELS}
