"""Real pictures made with Pillow for the tests, small and the same each time."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any, Final

from PIL import Image, ImageDraw

FORMATS: Final = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "tiff": "image/tiff",
    "avif": "image/avif",
}


def drawn(width: int = 60, height: int = 40, mode: str = "RGB") -> Image.Image:
    """A picture whose four corners differ: red, green, blue and white, with lines in between."""
    image = Image.new("RGB", (width, height), "grey")
    draw = ImageDraw.Draw(image)
    for x in range(0, width, 3):
        draw.line((x, 0, width - x, height), fill=(x * 4 % 256, x * 7 % 256, 90))
    half = (width // 3, height // 3)
    draw.rectangle((0, 0, *half), fill="red")
    draw.rectangle((width - half[0], 0, width, half[1]), fill="lime")
    draw.rectangle((0, height - half[1], half[0], height), fill="blue")
    draw.rectangle((width - half[0], height - half[1], width, height), fill="white")
    return image.convert(mode)


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    """The picture as a file of this kind."""
    buffer = io.BytesIO()
    (image or drawn()).save(buffer, kind.upper(), **options)
    return buffer.getvalue()


def animated(kind: str) -> bytes:
    """Three frames in one file."""
    frames = [drawn().rotate(angle) for angle in (0, 30, 60)]
    return encoded(kind, frames[0], save_all=True, append_images=frames[1:])


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One PNG chunk with its right checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(width: int, height: int) -> bytes:
    """A whole PNG of one bit a pixel, small as a file and huge when decoded."""
    rows = zlib.compress(b"\0" * ((width + 7) // 8 + 1) * height, 9)
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
