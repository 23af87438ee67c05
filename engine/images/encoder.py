"""Encodes a large WebP in a child process: one call of seconds, which nothing but the end of its process ends."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from PIL import Image

from engine.errors import Code, InvalidInput
from engine.upstream.cancel import CancelToken

ENCODE_COMMAND: Final = "encode-webp"
ENCODE_USAGE: Final = f"{ENCODE_COMMAND} MODE WIDTH HEIGHT QUALITY METHOD"
LARGE_PIXELS: Final = 2_000_000
"""From here on it pays to start a process: encoding takes some 0.2 s a megapixel, starting one 0.1 s."""

_STRIP_ROWS: Final = 256
_MOST: Final = (16383, 16383, 100, 6)  # width and height of a WebP, quality, method
_MOST_DIGITS: Final = 5
_MODES: Final = ("L", "LA", "RGB", "RGBA")
_CHILD: Final = """import sys
sys.path.insert(0, sys.argv[1])
from engine.images.encoder import encode_input
sys.exit(encode_input(sys.argv[2:]))"""


def write_webp(image: Image.Image, file: io.BytesIO, quality: int, method: int) -> None:
    """Encode here and now. ``quality`` 1..100; ``method`` 0..6, from quick to small."""
    image.save(file, "WEBP", quality=quality, method=method)


def webp_apart(image: Image.Image, quality: int, method: int, cancel: CancelToken) -> bytes | None:
    """The same made by a child that a cancel ends at once; None where no child can be had. Raises Stopped."""
    # -P: the folder that the program is started in may be one of pictures, whose modules are nobody's to run
    source = ["-P", "-c", _CHILD, str(Path(__file__).parents[2])]
    own = [ENCODE_COMMAND] if getattr(sys, "frozen", False) else source
    told = [image.mode, str(image.width), str(image.height), str(quality), str(method)]
    try:
        child = subprocess.Popen(
            [sys.executable, *own, *told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl+C asks the program to stop, which then ends the child
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError:
        return None
    with child, cancel.closing(child.kill):
        assert child.stdin is not None
        assert child.stdout is not None
        with contextlib.suppress(OSError):  # it has ended
            for box in _strips(image.size):
                child.stdin.write(image.crop(box).tobytes())
            child.stdin.close()
        data = child.stdout.read()
    cancel.check()
    return data if child.returncode == 0 else None


def encode_input(told: list[str]) -> int:
    """In the child: pixels from standard input, the file to standard output. Raises InvalidInput for other words."""
    mode, width, height, quality, method = _read_order(told)
    image = Image.new(mode, (width, height))
    with os.fdopen(0, "rb", closefd=False) as pixels:
        for box in _strips(image.size):
            size = (box[2] - box[0], box[3] - box[1])
            data = pixels.read(size[0] * size[1] * len(mode))
            if len(data) < size[0] * size[1] * len(mode):
                return 1  # whoever wanted it is gone
            image.paste(Image.frombytes(mode, size, data), box)
    buffer = io.BytesIO()
    write_webp(image, buffer, quality, method)
    with os.fdopen(1, "wb", closefd=False) as file:
        file.write(buffer.getvalue())
    return 0


def _read_order(told: list[str]) -> tuple[str, int, int, int, int]:
    numbers = [int(word) for word in told[1:] if word.isascii() and word.isdigit() and len(word) <= _MOST_DIGITS]
    if len(told) != 1 + len(_MOST) or told[0] not in _MODES or len(numbers) != len(_MOST):
        raise InvalidInput(Code.CHILD_COMMAND, usage=ENCODE_USAGE)
    width, height, quality, method = numbers
    if not (width and height and all(number <= most for number, most in zip(numbers, _MOST, strict=True))):
        raise InvalidInput(Code.CHILD_COMMAND, usage=ENCODE_USAGE)
    return told[0], width, height, quality, method


def _strips(size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """The picture in pieces of full width, so that nobody holds it twice."""
    width, height = size
    return [(0, top, width, min(height, top + _STRIP_ROWS)) for top in range(0, height, _STRIP_ROWS)]
