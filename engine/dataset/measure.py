"""Measures pictures and pairs, each content once: reads, hashes, decodes, compares."""

from __future__ import annotations

import hashlib
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
from PIL import Image

from engine.dataset.features import Comparison, Look, Overlay, change_between, look_at
from engine.dataset.measurement_cache import MeasurementCache
from engine.errors import Code, InvalidInput, PictureRejected
from engine.images.picture import with_path
from engine.images.pixels import on_colour, rendered, shape_of

EXTRA_PACKAGES: Final = ("numpy", "opencv-python-headless")
"""What the extra ``dataset`` of this program brings."""

_WORK_EDGE: Final = 512


class Measured(msgspec.Struct, frozen=True):
    """A pair's pictures and what lies between them."""

    control: Look
    target: Look
    comparison: Comparison


class _Opened(msgspec.Struct, frozen=True):
    """A picture decoded small, with its look."""

    look: Look
    image: Image.Image


def install_line(packages: tuple[str, ...], extra: str = "dataset") -> str:
    """What to type for packages that are missing: into the environment that runs; a one-file program takes nothing in,
    so from source."""
    if getattr(sys, "frozen", False):
        return f'pip install ".[{extra}]" && python launcher.py'
    return f'"{sys.executable}" -m pip install {" ".join(packages)}'


def can_register() -> bool:
    """Whether shift, zoom and likeness can be measured: OpenCV is there."""
    return find_spec("cv2") is not None and find_spec("numpy") is not None


class Measurer:
    """Measures what the cache does not hold. Safe to use from many threads."""

    def __init__(self, cache: MeasurementCache) -> None:
        self._cache = cache
        self._registers = can_register()
        if self._registers:
            import cv2

            cv2.setNumThreads(1)  # each pair has a thread already

    def hash_of(self, path: str) -> str:
        """The file's sha256. Raises InvalidInput (SOURCE_MISSING) or PictureRejected (PICTURE_UNREADABLE)."""
        try:
            status = Path(path).stat()
            return self._cache.hash_of(path, status.st_size, status.st_mtime_ns)
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise InvalidInput(Code.SOURCE_MISSING, path=path) from error
        except OSError as error:
            raise PictureRejected(Code.PICTURE_UNREADABLE, path=path, reason=error.strerror or "") from error

    def look(self, path: str) -> Look:
        """What a picture looks like. Raises like `measure`."""
        known = self._cache.look(self.hash_of(path))
        return known if known is not None else self._open(path).look

    def measure(self, control: str, target: str) -> Measured:
        """All about a pair of files. Raises InvalidInput (SOURCE_MISSING), PictureRejected; both name the path."""
        hashes = self.hash_of(control), self.hash_of(target)
        looks = [self._cache.look(digest) for digest in hashes]
        comparison = self._cache.comparison(*hashes)
        if looks[0] and looks[1] and comparison and (comparison.overlay or not self._registers):
            return Measured(looks[0], looks[1], comparison)
        opened = [self._open(path) for path in (control, target)]
        overlay = _overlay(opened[0].image, opened[1].image) if self._registers else None
        comparison = Comparison(change_between(opened[0].image, opened[1].image), overlay)
        self._cache.note_comparison(opened[0].look.hash, opened[1].look.hash, comparison)
        return Measured(opened[0].look, opened[1].look, comparison)

    def _open(self, path: str) -> _Opened:
        try:
            data = Path(path).read_bytes()
            shape = shape_of(data)
            with rendered(data, longest=_WORK_EDGE) as image:
                contrast, finger, tint = look_at(image)
        except FileNotFoundError as error:
            raise InvalidInput(Code.SOURCE_MISSING, path=path) from error
        except OSError as error:
            raise PictureRejected(Code.PICTURE_UNREADABLE, path=path, reason=error.strerror or "") from error
        except PictureRejected as error:
            raise with_path(error, path) from error
        digest = hashlib.sha256(data).hexdigest()
        look = Look(digest, len(data), shape.mime, shape.width, shape.height, contrast, finger, tint)
        self._cache.note_look(look)
        return _Opened(look, image)


def _overlay(control: Image.Image, target: Image.Image) -> Overlay:
    """The target is brought to the control's frame, whatever its own size and shape."""
    import numpy as np

    from engine.dataset.alignment import FINE, overlay

    factor = FINE / max(control.size)
    size = (max(1, round(control.width * factor)), max(1, round(control.height * factor)))
    grey = [
        np.asarray(on_colour(image).convert("L").resize(size, Image.Resampling.BILINEAR)) for image in (control, target)
    ]
    return overlay(grey[0], grey[1])
