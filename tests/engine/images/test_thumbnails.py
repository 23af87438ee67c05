"""Small pictures: upright, sharp enough, with alpha, made once, and never more files than agreed."""

from __future__ import annotations

import io
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from engine.errors import Code, InvalidInput, PictureRejected, StorageFailed
from engine.files import temporary_name
from engine.images.picture import MAX_PIXELS
from engine.images.thumbnails import SIZES, Thumbnails, make_thumbnail
from tests.made_pictures import FORMATS, animated, drawn, encoded, png_bomb

PLENTY = 1 << 30


@pytest.fixture
def thumbnails(tmp_path: Path) -> Thumbnails:
    """Thumbnails in an empty folder."""
    return Thumbnails(tmp_path / "thumbnails", PLENTY)


def source(tmp_path: Path, data: bytes) -> Path:
    """A source picture."""
    path = tmp_path / "source"
    path.write_bytes(data)
    return path


def opened(answer: tuple[bytes, str]) -> Image.Image:
    """The thumbnail decoded; its type is the one that was said."""
    data, mime = answer
    image = Image.open(io.BytesIO(data))
    assert Image.MIME[image.format or ""] == mime
    image.load()
    return image


def files_in(folder: Path) -> list[Path]:
    """All files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


def near(pixel: object, colour: tuple[int, ...], by: int = 40) -> bool:
    """Whether a pixel has about this colour."""
    assert isinstance(pixel, tuple)
    return all(abs(one - other) <= by for one, other in zip(pixel, colour, strict=True))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_shown_small(thumbnails: Thumbnails, tmp_path: Path, kind: str) -> None:
    """The longest edge is the step asked for, the shape is kept."""
    answer = thumbnails.get(source(tmp_path, encoded(kind, drawn(600, 400))), kind, 128)
    image = opened(answer)
    assert image.size == (128, 85)
    assert answer[1] == "image/jpeg"
    assert near(image.convert("RGB").getpixel((2, 2)), (255, 0, 0))


@pytest.mark.parametrize(
    ("asked", "made"), [(-5, 128), (1, 128), (128, 128), (129, 256), (500, 512), (513, 1024), (9999, 1024)]
)
def test_sizes_are_rounded_up_to_a_step(thumbnails: Thumbnails, tmp_path: Path, asked: int, made: int) -> None:
    """Few sizes are ever made, the largest for whatever is beyond."""
    path = source(tmp_path, encoded("jpeg", drawn(1500, 1500)))
    assert opened(thumbnails.get(path, "a", asked)).size == (made, made)
    assert made in SIZES


def test_a_small_picture_is_not_blown_up(thumbnails: Thumbnails, tmp_path: Path) -> None:
    """What is smaller than the step keeps its size."""
    assert opened(thumbnails.get(source(tmp_path, encoded("png")), "a", 256)).size == (60, 40)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, "red"), (2, "lime"), (3, "white"), (4, "blue"), (5, "red"), (6, "blue"), (7, "white"), (8, "lime")],
)
def test_pictures_stand_upright(
    thumbnails: Thumbnails, tmp_path: Path, kind: str, orientation: int, corner: str
) -> None:
    """All eight orientations are applied, and not said again for the browser to apply twice."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = opened(thumbnails.get(source(tmp_path, encoded(kind, drawn(600, 400), exif=exif)), "a", 128))
    assert image.size == ((128, 85) if orientation < 5 else (85, 128))
    colours = {"red": (255, 0, 0), "lime": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
    assert near(image.convert("RGB").getpixel((2, 2)), colours[corner])
    assert image.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("kind", ["png", "webp", "avif"])
def test_alpha_is_kept(thumbnails: Thumbnails, tmp_path: Path, kind: str) -> None:
    """A picture that can be seen through stays so, as WebP."""
    image = drawn(300, 200, "RGBA")
    image.paste((0, 0, 0, 0), (150, 0, 300, 200))
    answer = thumbnails.get(source(tmp_path, encoded(kind, image)), "a", 128)
    assert answer[1] == "image/webp"
    small = opened(answer).convert("RGBA")
    assert near(small.getpixel((100, 40)), (0, 0, 0, 0), 8)
    assert near(small.getpixel((2, 2)), (255, 0, 0, 255))


def transparent_palette() -> bytes:
    """A palette picture with one transparent entry."""
    return encoded("gif", drawn(200, 100).quantize(8), transparency=0)


@pytest.mark.parametrize(
    "data",
    [
        encoded("png", drawn(200, 100, "L")),
        encoded("png", drawn(200, 100, "LA")),
        encoded("png", drawn(200, 100, "1")),
        encoded("png", drawn(200, 100).quantize(8)),
        encoded("png", Image.new("I;16", (200, 100), 30_000)),
        encoded("jpeg", drawn(200, 100, "CMYK")),
        encoded("tiff", drawn(200, 100, "CMYK")),
        encoded("tiff", drawn(200, 100, "LAB")),
        encoded("tiff", drawn(200, 100, "F")),
        encoded("tiff", drawn(200, 100, "I")),
        encoded("tiff", Image.new("F", (200, 100), 0.5)),
        transparent_palette(),
        *(animated(kind) for kind in ("png", "gif", "webp", "avif")),
    ],
)
def test_every_mode_is_shown(thumbnails: Thumbnails, tmp_path: Path, data: bytes) -> None:
    """Grey, deep, palette, print and moving pictures all become something that a browser shows."""
    image = opened(thumbnails.get(source(tmp_path, data), "a", 128))
    assert image.mode in {"L", "RGB", "RGBA"}
    assert max(image.size) == min(128, max(Image.open(io.BytesIO(data)).size))


def test_deep_grey_keeps_its_brightness(thumbnails: Thumbnails, tmp_path: Path) -> None:
    """Sixteen bits are brought down to eight, not cut off."""
    data = encoded("png", Image.new("I;16", (200, 100), 32_768))
    assert near(opened(thumbnails.get(source(tmp_path, data), "a", 128)).getpixel((50, 30)), (128, 128, 128), 2)


def test_a_thumbnail_is_made_once(thumbnails: Thumbnails, tmp_path: Path) -> None:
    """The second request is answered from a file, even when the source is gone."""
    path = source(tmp_path, encoded("png"))
    first = thumbnails.get(path, "key", 128)
    path.unlink()
    assert thumbnails.get(path, "key", 100) == first
    assert Thumbnails(tmp_path / "thumbnails", PLENTY).get(path, "key", 128) == first
    with pytest.raises(InvalidInput) as caught:
        thumbnails.get(path, "another key", 128)
    assert caught.value.code is Code.SOURCE_MISSING


def test_another_key_or_step_is_another_thumbnail(thumbnails: Thumbnails, tmp_path: Path) -> None:
    """A changed source has a changed key, and sizes do not mix."""
    path = source(tmp_path, encoded("png", Image.new("RGB", (400, 400), "red")))
    thumbnails.get(path, "1", 128)
    path.write_bytes(encoded("png", Image.new("RGB", (400, 400), "blue")))
    assert near(opened(thumbnails.get(path, "2", 128)).getpixel((9, 9)), (0, 0, 255))
    assert near(opened(thumbnails.get(path, "1", 128)).getpixel((9, 9)), (255, 0, 0))
    assert opened(thumbnails.get(path, "1", 256)).size == (256, 256)
    assert len(files_in(tmp_path / "thumbnails")) == 3


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", Code.PICTURE_NOT_IMAGE),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Code.PICTURE_NOT_IMAGE),
        (encoded("jpeg", drawn(600, 400))[:-900], Code.PICTURE_BROKEN),
        (encoded("png", drawn(600, 400))[:900], Code.PICTURE_BROKEN),
        (png_bomb(20_000, MAX_PIXELS // 20_000 + 1), Code.PICTURE_TOO_MANY_PIXELS),
    ],
)
def test_a_broken_picture_is_refused_each_time(thumbnails: Thumbnails, tmp_path: Path, data: bytes, code: Code) -> None:
    """No thumbnail is made or kept of what is no whole picture, and the path is named."""
    path = source(tmp_path, data)
    for _ in range(2):
        with pytest.raises(PictureRejected) as caught:
            thumbnails.get(path, "a", 128)
        assert caught.value.code is code
        assert caught.value.params["path"] == str(path)
    assert files_in(tmp_path / "thumbnails") == []


def test_a_folder_in_place_of_a_picture_is_refused(thumbnails: Thumbnails, tmp_path: Path) -> None:
    """What cannot be read as a file is an error with a code."""
    with pytest.raises(PictureRejected) as caught:
        thumbnails.get(tmp_path, "a", 128)
    assert caught.value.code is Code.PICTURE_UNREADABLE


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    """Pictures are shown even when nothing can be kept."""
    thumbnails = Thumbnails(tmp_path / "thumbnails", PLENTY)
    (tmp_path / "thumbnails").rmdir()
    (tmp_path / "thumbnails").write_text("in the way")
    assert opened(thumbnails.get(source(tmp_path, encoded("png")), "a", 128)).size == (60, 40)
    with pytest.raises(StorageFailed):
        Thumbnails(tmp_path / "thumbnails" / "below", PLENTY)


def test_the_folder_stays_within_its_bytes(tmp_path: Path) -> None:
    """Beyond the bound the oldest files go, first of all."""
    path = source(tmp_path, encoded("png", drawn(300, 300)))
    folder = tmp_path / "thumbnails"
    size = len(Thumbnails(tmp_path / "other", PLENTY).get(path, "x", 256)[0])
    thumbnails = Thumbnails(folder, size * 10)
    for number in range(40):
        thumbnails.get(path, str(number), 256)
        newest = max(files_in(folder), key=lambda file: file.stat().st_mtime_ns)
        os.utime(newest, (number, number))
        assert sum(file.stat().st_size for file in files_in(folder)) <= size * 10
    kept = sorted(int(file.stat().st_mtime) for file in files_in(folder))
    assert kept == list(range(40 - len(kept), 40))
    assert len(kept) >= 7


def test_old_leftovers_are_swept_and_new_ones_left(thumbnails: Thumbnails, tmp_path: Path) -> None:
    """Half written files of a killed program go; those of a thread at work stay."""
    folder = tmp_path / "thumbnails" / "ab"
    folder.mkdir()
    old, new = temporary_name(), temporary_name()
    for name in (old, new):
        (folder / name).write_bytes(b"half")
    os.utime(folder / old, (1, 1))
    assert thumbnails.sweep() == 0
    assert [file.name for file in files_in(folder)] == [new]


def test_many_threads_share_one_thumbnail(thumbnails: Thumbnails, tmp_path: Path) -> None:
    """A page that asks for the same picture many times gets the same bytes."""
    path = source(tmp_path, encoded("jpeg", drawn(2000, 1500)))
    with ThreadPoolExecutor(12) as pool:
        answers = set(pool.map(lambda number: thumbnails.get(path, str(number % 3), 128), range(36)))
    assert len(answers) == 1
    assert len(files_in(tmp_path / "thumbnails")) == 3


def test_no_more_decoders_run_than_agreed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one decoder a second picture waits until the first, held up in the middle, is done."""
    thumbnails = Thumbnails(tmp_path / "thumbnails", PLENTY, decoders=1)
    path = source(tmp_path, encoded("png"))
    begun, go_on = threading.Event(), threading.Event()
    finished: list[str] = []

    def hold(*_: object) -> bytes:
        begun.set()
        go_on.wait(60)
        return make_thumbnail(path, 128)

    def show(key: str) -> None:
        thumbnails.get(path, key, 128)
        finished.append(key)

    monkeypatch.setattr("engine.images.thumbnails.make_thumbnail", hold)
    first, second = (threading.Thread(target=show, args=(key,)) for key in ("first", "second"))
    first.start()
    assert begun.wait(60)
    monkeypatch.setattr("engine.images.thumbnails.make_thumbnail", make_thumbnail)
    second.start()
    time.sleep(0.3)
    assert finished == []
    go_on.set()
    first.join(60)
    second.join(60)
    assert sorted(finished) == ["first", "second"]


def test_a_pipe_or_a_link_in_place_of_a_picture_is_refused(thumbnails: Thumbnails, tmp_path: Path) -> None:
    """Neither holds the thread, and a link is not followed, whatever it leads to."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(source(tmp_path, encoded("png")))
    for name in ("pipe", "link"):
        with pytest.raises(PictureRejected) as caught:
            thumbnails.get(tmp_path / name, name, 128)
        assert caught.value.code is Code.PICTURE_UNREADABLE
