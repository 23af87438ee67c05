"""Pictures that trainers stumble over, one of each kind: turned, transparent, grey, wide, deep, thin, oddly named."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageCms

from tests.support.sets import scene

Maker = Callable[[Path, Image.Image], None]


def _turned(orientation: int) -> Maker:
    def make(path: Path, image: Image.Image) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(path, quality=95, exif=exif)

    return make


def _cut_out(path: Path, image: Image.Image) -> None:
    mask = Image.new("L", image.size, 0)
    mask.paste(255, (image.width // 4, image.height // 4, image.width * 3 // 4, image.height * 3 // 4))
    image.putalpha(mask)
    image.save(path)


def _grey_with_alpha(path: Path, image: Image.Image) -> None:
    grey = image.convert("L")
    grey.putalpha(Image.linear_gradient("L").resize(image.size))
    grey.save(path)


def _palette_with_hole(path: Path, image: Image.Image) -> None:
    image.quantize(64).save(path, transparency=3)


def _deep_grey(path: Path, image: Image.Image) -> None:
    levels = np.asarray(image.convert("L"), np.uint16) * 257
    Image.fromarray(levels).save(path)


ADOBE_RGB: Final = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446))
DISPLAY_P3: Final = ((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841))
"""Red, green and blue of two spaces as X, Y, Z under D50."""


def profile_of(primaries: tuple[tuple[float, ...], ...]) -> bytes:
    """The profile of sRGB with other primaries."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for number in range(int.from_bytes(data[128:132], "big")):
        at = 132 + 12 * number
        name = bytes(data[at : at + 4])
        if name in _COLORANTS:
            place = int.from_bytes(data[at + 4 : at + 8], "big") + 8
            fixed = (round(value * 65536) for value in primaries[_COLORANTS.index(name)])
            struct.pack_into(">iii", data, place, *fixed)
    return bytes(data)


_COLORANTS: Final = (b"rXYZ", b"gXYZ", b"bXYZ")


def _saved(**how: Any) -> Maker:
    def make(path: Path, image: Image.Image) -> None:
        image.save(path, **how)

    return make


def _as_mode(mode: str) -> Maker:
    return lambda path, image: image.convert(mode).save(path)


PICTURES: Final[tuple[tuple[str, tuple[int, int], Maker], ...]] = (
    *((f"turned {orientation}.jpg", (96, 64), _turned(orientation)) for orientation in (3, 5, 6, 8)),
    ("cut out.png", (96, 64), _cut_out),
    ("grey alpha.png", (96, 64), _grey_with_alpha),
    ("palette.png", (96, 64), _palette_with_hole),
    ("grey.png", (96, 64), _as_mode("L")),
    ("cmyk.jpg", (96, 64), _as_mode("CMYK")),
    ("deep.png", (96, 64), _deep_grey),
    ("adobe.jpg", (96, 64), _saved(quality=95, icc_profile=profile_of(ADOBE_RGB))),
    ("p3.png", (96, 64), _saved(icc_profile=profile_of(DISPLAY_P3))),
    ("tall.png", (100, 300), _saved()),
    ("flat.png", (300, 100), _saved()),
    ("odd.png", (85, 131), _saved()),
    ("primes.jpg", (199, 133), _saved(quality=95)),
    ("it's $HOME; `x` 100% #2 {y} --z.png", (108, 135), _saved()),
    ("a.webp", (96, 64), _saved(quality=95)),
    ("b.bmp", (96, 64), _saved()),
    ("c.tiff", (96, 64), _saved()),
    ("d.avif", (96, 64), _saved(quality=95)),
    ("e.gif", (96, 64), _saved()),
    ("夜晚 图.png", (96, 64), _saved()),
    ("🌙 moon.png", (96, 64), _saved()),
    ("a[1].png", (96, 64), _saved()),
    ("train_station.png", (96, 64), _saved()),
    ("test_cat.png", (96, 64), _saved()),
    ("e\u0301te\u0301.png", (96, 64), _saved()),
)


def make_awkward(folder: Path) -> list[Path]:
    """One file of each kind."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (name, size, maker) in enumerate(PICTURES):
        path = folder / name
        maker(path, Image.fromarray(scene(number, size)))
        paths.append(path)
    return paths
