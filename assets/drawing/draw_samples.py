"""Draws the sample pictures of assets/samples, one of each kind that the program must cope with.

Run ``python assets/drawing/draw_samples.py [FOLDER]``. The same Pillow gives the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import figures
import landscapes
import outings
import still_lifes
from PIL import Image

Writer = Callable[[Image.Image, Path], None]
UPRIGHT_IS_TURNED_LEFT = 6
"""EXIF: the camera lay on its side, a viewer turns the picture a quarter to the right."""


def jpeg(image: Image.Image, path: Path) -> None:
    """A progressive JPEG."""
    image.save(path, "JPEG", quality=76, optimize=True, progressive=True)


def turned_jpeg(image: Image.Image, path: Path) -> None:
    """A JPEG that lies on its side and says so in its EXIF orientation tag."""
    exif = Image.Exif()
    exif[0x0112] = UPRIGHT_IS_TURNED_LEFT
    image.transpose(Image.Transpose.ROTATE_90).save(path, "JPEG", quality=78, optimize=True, exif=exif)


def webp(image: Image.Image, path: Path) -> None:
    """A lossy WebP."""
    image.save(path, "WEBP", quality=80, method=6)


def png(image: Image.Image, path: Path) -> None:
    """A PNG in the mode of the picture: with an alpha channel, if it has one."""
    image.save(path, "PNG", optimize=True)


def palette_png(image: Image.Image, path: Path) -> None:
    """A PNG with a palette of 64 colours."""
    image.quantize(64, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, "PNG", optimize=True)


SAMPLES: list[tuple[str, Callable[[], Image.Image], Writer]] = [
    ("001_start.jpg", landscapes.lake, jpeg),
    ("002_start.jpg", landscapes.ink_mountains, jpeg),
    ("003_start.jpg", figures.portrait, jpeg),
    ("004_start.png", figures.carp, png),
    ("005_start.webp", landscapes.night_city, webp),
    ("006_start.jpg", still_lifes.fruit, jpeg),
    ("007_start.jpg", landscapes.dunes, jpeg),
    ("008_start.jpg", outings.bamboo, jpeg),
    ("009_start.jpg", outings.boat, turned_jpeg),
    ("010_start.png", figures.cat, palette_png),
    ("011_start.jpg", still_lifes.plum_blossom, jpeg),
    ("012_start.jpg", outings.balloons, jpeg),
]


def main(folder: Path) -> None:
    """Write every sample into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, scene, write in SAMPLES:
        write(scene(), folder / name)
        sys.stdout.write(f"{name}  {(folder / name).stat().st_size // 1024} KiB\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "samples")
