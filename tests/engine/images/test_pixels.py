"""One rule for what people see of a picture: shown small, exported and sent alike; and one bound for decoding."""

from __future__ import annotations

import io
import os
import re
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from engine.config import SourceFormat
from engine.dataset.transform import PictureRule, Reader, SizeRule, prepare
from engine.errors import Code, PictureRejected, Stopped
from engine.images.encoder import webp_apart
from engine.images.picture import check_picture
from engine.images.pixels import Alpha, checked, rendered, shape_of
from engine.images.pixels import encoded as pixels_encoded
from engine.images.png import PNG_SIGNATURE
from engine.images.room import AT_ONCE_BYTES, DecodingRoom
from engine.images.sending import as_sent
from engine.upstream.cancel import CancelToken
from tests.made_pictures import FORMATS, animated, drawn, encoded, png_chunk

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")
LIMIT = 1 << 27
AS_IT_CAME = PictureRule(size=SizeRule.AS_IT_CAME)
WEBP_BOMB = (
    b"RIFF\x1a\0\0\0WEBPVP8L\x0e\0\0\0\x2f"
    + (16_382 | 5_431 << 14).to_bytes(4, "little")
    + b"\x07\x10\x11\xfd\x0fDD\xff\x03"
)  # fmt: skip


def wide_profile() -> bytes:
    """A colour space of half the gamma of sRGB's, as no display has it."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, 256) + bytes(2)
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = struct.unpack(">I", profile[128:132])[0]
    for number in range(tags):
        at = 132 + 12 * number
        if bytes(profile[at : at + 4]) in (b"rTRC", b"gTRC", b"bTRC"):
            struct.pack_into(">II", profile, at + 4, len(profile), len(curve))
    profile += curve
    struct.pack_into(">I", profile, 0, len(profile))
    return bytes(profile)


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WIDE = wide_profile()
DEEP = (
    PNG_SIGNATURE
    + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60, 40, 16, 2, 0, 0, 0))
    + png_chunk(b"IDAT", zlib.compress((b"\0" + struct.pack(">HHH", 0x8000, 0x4000, 0xFFFF) * 60) * 40))
    + png_chunk(b"IEND", b"")
)
TURNED = Image.Exif()
TURNED[0x0112] = 6
DARK = Image.new("RGB", (60, 40), (64, 64, 64))
GREY_16 = Image.new("I;16", (60, 40), 32_768)


def ramp(mode: str, top: float) -> Image.Image:
    """Grey from nothing to ``top``, in a mode of more than eight bits."""
    image = Image.new(mode, (60, 40))
    for x in range(60):
        for y in range(40):
            image.putpixel((x, y), type(top)(top * x / 59))
    return image


SEEN: dict[str, tuple[bytes, tuple[int, int], tuple[int, ...]]] = {
    "16-bit grey": (encoded("png", GREY_16), (30, 20), (128, 128, 128)),
    "16-bit colours": (DEEP, (30, 20), (128, 64, 255)),
    "16-bit grey TIFF": (encoded("tiff", GREY_16), (30, 20), (128, 128, 128)),
    "32-bit grey": (encoded("tiff", ramp("I", 4_000_000)), (59, 20), (255, 255, 255)),
    "real numbers": (encoded("tiff", ramp("F", 0.5)), (0, 20), (0, 0, 0)),
    "print colours": (encoded("tiff", Image.new("CMYK", (60, 40), (0, 255, 255, 0))), (30, 20), (255, 0, 0)),
    "turned": (encoded("png", drawn(), exif=TURNED), (2, 2), (0, 0, 255)),
    "turned TIFF": (encoded("tiff", drawn(), exif=TURNED), (2, 2), (0, 0, 255)),
    "another gamma": (encoded("png", DARK, icc_profile=WIDE), (30, 20), (137, 137, 137)),
    "sRGB": (encoded("png", DARK, icc_profile=SRGB), (30, 20), (64, 64, 64)),
    "no profile at all": (encoded("png", DARK, icc_profile=b"broken" * 50), (30, 20), (64, 64, 64)),
}  # fmt: skip


def pixel(image: Image.Image, at: tuple[int, int]) -> tuple[int, ...]:
    """One pixel as RGB."""
    value = image.convert("RGB").getpixel(at)
    assert isinstance(value, tuple)
    return tuple(int(part) for part in value)


def near(one: tuple[int, ...], other: tuple[int, ...], by: int = 3) -> bool:
    """Whether two colours look alike."""
    return all(abs(a - b) <= by for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", SEEN)
def test_review_set_and_api_get_the_same_pixels(name: str) -> None:
    """What is rendered, written into a set and sent shows the colour that people see, each to its place."""
    data, at, colour = SEEN[name]
    written, _ = prepare(data, [data], AS_IT_CAME, Reader(frozenset({"png", "jpg"}), same_extension=True))
    info, shape = checked(data, LIMIT)
    assert (info, shape) == (check_picture(data, LIMIT), shape_of(data))
    sent, mime = as_sent(data, SourceFormat.AUTO, 0, shape=shape)
    assert mime == "image/png"
    with rendered(data) as image:
        assert near(pixel(image, at), colour), pixel(image, at)
        for made in (written.data, sent):
            other = Image.open(io.BytesIO(made))
            assert other.size == image.size
            assert near(pixel(other, at), colour) or name in {"sRGB", "no profile at all"}
            assert other.getexif().get(0x0112, 1) == 1
            assert name == "sRGB" or made[24] == 8, "sixteen bits"


@pytest.mark.parametrize(("alpha", "colour"), [
    (Alpha.WHITE, (255, 255, 255)), (Alpha.BLACK, (0, 0, 0)), (Alpha.GREY, (128, 128, 128)),
])  # fmt: skip
def test_transparency_shows_the_colour_that_was_chosen(alpha: Alpha, colour: tuple[int, ...]) -> None:
    """White, black or grey; kept where nothing is said."""
    data = encoded("png", Image.new("RGBA", (9, 9), (255, 0, 0, 0)))
    with rendered(data, alpha=alpha) as image:
        assert (image.mode, pixel(image, (4, 4))) == ("RGB", colour)
    with rendered(data) as image:
        assert image.mode == "RGBA"


@pytest.mark.parametrize("kind", [*FORMATS, "animated webp"])
def test_only_what_apis_refuse_is_changed_before_it_is_sent(kind: str) -> None:
    """PNG, JPEG and still WebP go as they are; the others become PNG, or JPEG where they were lossy."""
    data = animated("webp") if kind == "animated webp" else encoded(kind)
    sent, mime = as_sent(data, SourceFormat.AUTO, 0)
    expected = {"jpeg": "image/jpeg", "avif": "image/jpeg"}.get(kind, "image/webp" if "webp" in kind else "image/png")
    assert mime == expected
    assert (sent == data) == (kind in {"png", "jpeg", "webp"})
    assert as_sent(data, SourceFormat.AS_IS, 0)[0] == data
    for wanted in (SourceFormat.PNG, SourceFormat.JPEG, SourceFormat.WEBP):
        converted, said = as_sent(data, wanted, 20)
        assert (said, max(Image.open(io.BytesIO(converted)).size)) == (f"image/{wanted.value}", 20)
        assert check_picture(converted, LIMIT).mime == said


def chunk_before_pixels(data: bytes, chunk: bytes) -> bytes:
    """A PNG with one more chunk behind its header."""
    return data[:33] + chunk + data[33:]


def with_app1(data: bytes, content: bytes) -> bytes:
    """A JPEG with one more segment of metadata."""
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[2:]


PNG = encoded("png", drawn(300, 200))
JPEG = encoded("jpeg", drawn(300, 200))
PACKED = zlib.compress(b"x" * 3_000_000)
METADATA: dict[str, Callable[[], bytes]] = {
    "3 MB of text": lambda: chunk_before_pixels(PNG, png_chunk(b"tEXt", b"a\0" + b"x" * 3_000_000)),
    "3 MB of packed text": lambda: chunk_before_pixels(PNG, png_chunk(b"zTXt", b"a\0\0" + PACKED)),
    "text behind the pixels": lambda: PNG[:-12] + png_chunk(b"tEXt", b"a\0" + b"x" * 3_000_000) + PNG[-12:],
    "a bad checksum in a text": lambda: chunk_before_pixels(PNG, png_chunk(b"tEXt", b"a\0b")[:-1] + b"?"),
    "a 2 MB profile": lambda: encoded("png", drawn(300, 200), icc_profile=SRGB + bytes(2_000_000)),
    "a 2 MB profile in JPEG": lambda: encoded("jpeg", drawn(300, 200), icc_profile=SRGB + bytes(2_000_000)),
    "unreadable EXIF": lambda: chunk_before_pixels(PNG, png_chunk(b"eXIf", b"MM\0*\xff\xff\xff\xff\0\1")),
    "unreadable EXIF in WebP": lambda: encoded("webp", drawn(300, 200), exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"),
    "unreadable EXIF in JPEG": lambda: with_app1(JPEG, b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\1"),
}  # fmt: skip


@pytest.mark.parametrize("name", METADATA)
def test_metadata_never_spoils_a_picture(name: str) -> None:
    """Large or broken, it is left out: result, thumbnail, set and what is sent are as good as without it."""
    data = METADATA[name]()
    assert check_picture(data, LIMIT).width == 300
    with rendered(data, longest=64) as image:
        assert image.size == (64, 43)
    assert prepare(data, [data], AS_IT_CAME, Reader(frozenset({"webp"})))
    assert check_picture(as_sent(data, SourceFormat.JPEG, 100)[0], LIMIT).width == 100


def many_scans(count: int, size: tuple[int, int]) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = encoded("jpeg", Image.new("RGB", size), progressive=True)
    last = data[[match.start() for match in re.finditer(rb"\xff\xda", data)][-1] : -2]
    return data[:-2] + last * count + b"\xff\xd9"


def test_a_jpeg_of_too_many_scans_is_refused_before_it_is_decoded() -> None:
    """8,000 passes over two megapixels would take half a minute; usual ones are taken."""
    begun = time.process_time()
    for use in (lambda data: check_picture(data, LIMIT), shape_of):
        with pytest.raises(PictureRejected) as caught:
            use(many_scans(8_000, (2000, 1000)))
        assert caught.value.code is Code.PICTURE_TOO_SLOW
        assert int(caught.value.params["scans"] or 0) > 8_000
    assert time.process_time() - begun < 2
    assert check_picture(many_scans(20, (2000, 1000)), LIMIT).width == 2000
    assert check_picture(encoded("jpeg", drawn(), progressive=True) + b"\xff\xda" * 9_000, LIMIT).width == 60


def test_one_hostile_picture_needs_no_gigabyte() -> None:
    """34 bytes that decode to 1.4 GB are refused; the largest that are taken stay below the bound."""
    with pytest.raises(PictureRejected) as caught:
        check_picture(WEBP_BOMB, LIMIT)
    assert caught.value.code is Code.PICTURE_TOO_MANY_PIXELS


def test_many_decoders_share_one_bound() -> None:
    """Those that do not fit wait for their turn, the first first; a stop wakes the one that waits."""
    room, order, most = DecodingRoom(100), [], []
    cancel, held = CancelToken(), 0
    lock = threading.Lock()

    def decode(number: int) -> None:
        nonlocal held
        with room.taken(40):
            with lock:
                held += 40
                most.append(held)
            with lock:
                held -= 40
            order.append(number)

    def wait() -> None:
        with pytest.raises(Stopped), room.taken(1, cancel):
            pass

    threads = [threading.Thread(target=decode, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(order) == 20
    assert max(most) <= 100
    with room.taken(100):
        waiting = threading.Thread(target=wait)
        waiting.start()
        cancel.cancel()
        waiting.join(20)
        assert not waiting.is_alive()
    with room.taken(10**9):
        pass


def test_a_stop_ends_decoding() -> None:
    """A cancelled token is seen at the next piece that a decoder reads."""
    cancel = CancelToken()
    cancel.cancel()
    for kind in ("png", "jpeg", "gif"):
        with pytest.raises(Stopped):
            check_picture(encoded(kind), LIMIT, cancel)
    assert shape_of(encoded("png")).plain


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_large_webp_is_made_apart_and_the_same(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child makes the very bytes that this process would have, also in a folder with modules of its own; where none
    can be started, this one does."""
    (tmp_path / "subprocess.py").write_text("raise SystemExit(9)", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    image = Image.effect_noise((1500, 1400), 60).convert(mode)
    here = pixels_encoded(image, "webp", 80, quickly=True)
    assert webp_apart(image, 80, 0, CancelToken()) == here
    for broken in ("/nonexistent/python", "/bin/false"):
        monkeypatch.setattr(sys, "executable", broken)
        assert pixels_encoded(image, "webp", 80, quickly=True, cancel=CancelToken()) == here


def test_sixty_four_large_pictures_at_once_stay_within_a_gigabyte() -> None:
    """Threads that decode the largest pictures that are taken; the peak of a process of its own."""
    program = (
        "import io, re, sys, threading\n"
        "from PIL import Image\n"
        "from engine.images.picture import check_picture\n"
        "buffer = io.BytesIO()\n"
        "Image.new('RGB', (8000, 4000)).save(buffer, 'WEBP', lossless=True, method=0)\n"
        "data = buffer.getvalue()\n"
        "threads = [threading.Thread(target=check_picture, args=(data, 1 << 26)) for _ in range(int(sys.argv[1]))]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
        "# ru_maxrss would begin with what the parent had\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
    )
    count = "64" if os.environ.get("FULL") else "4"
    done = subprocess.run([sys.executable, "-c", program, count], capture_output=True, check=True, timeout=110)
    peak = int(done.stdout) * 1024
    print(f"peak of {count} at once: {peak / 1e6:.0f} MB")
    assert peak < 10**9 < AT_ONCE_BYTES * 1.3
