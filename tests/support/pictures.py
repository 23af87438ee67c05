"""Source folders and result pictures for whole-program tests: small, real, each different from the others."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image


def picture(number: int, kind: str = "png", size: tuple[int, int] = (24, 16)) -> bytes:
    """A whole picture whose bytes depend on ``number``."""
    color = (number * 37 % 256, number * 91 % 256, number * 53 % 256)
    image = Image.new("RGB", size, color)
    image.putpixel((0, 0), (number % 256, number // 256 % 256, 7))
    buffer = io.BytesIO()
    image.save(buffer, kind.upper())
    return buffer.getvalue()


def source_folder(folder: Path, count: int, *, first: int = 1) -> Path:
    """A folder of ``count`` pictures named ``001_start.png`` and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        (folder / f"{number:03}_start.png").write_bytes(picture(number))
    return folder


def noise(number: int, size: int) -> bytes:
    """A valid BMP of about ``size`` bytes; cheap to make and to decode."""
    side = int((size / 3) ** 0.5) // 4 * 4
    image = Image.effect_noise((side, side), 40 + number % 50).convert("RGB")
    image.putpixel((0, 0), (number % 256, number // 256 % 256, 9))
    buffer = io.BytesIO()
    image.save(buffer, "BMP")
    return buffer.getvalue()
