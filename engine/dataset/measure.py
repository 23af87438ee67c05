"""Measures pictures and pairs, each content once: reads, hashes, decodes, compares."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec
from PIL import Image, ImageChops, ImageOps, ImageStat

from engine.dataset.features import Comparison, Look, change_between, look_at
from engine.dataset.measurement_cache import MeasurementCache
from engine.errors import Code, InvalidInput, PictureRejected
from engine.images.picture import opened, with_path
from engine.images.pixels import Alpha, mime_of, rendered, shape_of
from engine.reading import read_found
from engine.upstream.cancel import CancelToken

EXTRA_PACKAGES: Final = ("numpy", "opencv-python-headless")
"""What the extra ``dataset`` of this program brings."""

Settled = Callable[[Look, Look, float], bool]
"""Control, target and change: whether they tell all that is to be known of the pair."""

_WORK_EDGE: Final = 512
_MISREAD_SIZE: Final = (64, 64)


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
    """Measures what the cache does not hold, with transparency laid on ``alpha``. Safe to use from many threads."""

    def __init__(self, cache: MeasurementCache, alpha: Alpha = Alpha.WHITE) -> None:
        self._cache = cache
        self._alpha = Alpha.WHITE if alpha is Alpha.KEEP else alpha
        self._registers = can_register()
        if self._registers:
            import cv2

            cv2.setNumThreads(1)  # each pair has a thread already

    def hash_of(self, path: str, cancel: CancelToken | None = None) -> str:
        """The file's sha256. Raises InvalidInput (SOURCE_MISSING), PictureRejected (PICTURE_UNREADABLE), Stopped."""
        try:
            status = Path(path).stat()
            return self._cache.hash_of(path, status.st_size, status.st_mtime_ns, _check(cancel))
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise InvalidInput(Code.SOURCE_MISSING, path=path) from error
        except OSError as error:
            raise PictureRejected(Code.PICTURE_UNREADABLE, path=path, reason=error.strerror or "") from error

    def look(self, path: str, cancel: CancelToken | None = None) -> Look:
        """What a picture looks like. Raises like `measure`."""
        known = self._cache.look(self._key(self.hash_of(path, cancel)))
        return known if known is not None else self._open(path, cancel).look

    def measure(
        self, control: str, target: str, settled: Settled = lambda *_: False, cancel: CancelToken | None = None
    ) -> Measured:
        """All about a pair of files. ``settled``: whether looks and change alone decide, so that nothing need be laid
        over anything. Raises InvalidInput (SOURCE_MISSING), PictureRejected, which name the path; Stopped."""
        hashes = self._key(self.hash_of(control, cancel)), self._key(self.hash_of(target, cancel))
        looks = [self._cache.look(digest) for digest in hashes]
        comparison = self._cache.comparison(*hashes)
        if looks[0] and looks[1] and comparison:
            done = comparison.overlay is not None or not self._registers
            if done or settled(looks[0], looks[1], comparison.change):
                return Measured(looks[0], looks[1], comparison)
        one, other = (self._open(path, cancel) for path in (control, target))
        change = change_between(one.image, other.image)
        comparison = Comparison(change, None)
        if self._registers and not settled(one.look, other.look, change):
            comparison = _compared(one.image, other.image, change, cancel)
        self._cache.note_comparison(one.look.hash, other.look.hash, comparison)
        return Measured(one.look, other.look, comparison)

    def _key(self, digest: str) -> str:
        """What measurements of a picture are kept under: its hash, with the colour that is not the usual one."""
        return digest if self._alpha is Alpha.WHITE else f"{digest} {self._alpha}"

    def _open(self, path: str, cancel: CancelToken | None) -> _Opened:
        try:
            data = read_found(path)
            shape = shape_of(data)
            with rendered(data, longest=_WORK_EDGE, alpha=self._alpha, cancel=cancel) as image:
                contrast, finger, tint = look_at(image)
            misread, cause = (0.0, "") if shape.plain and not shape.alpha else misreading(data, image, cancel)
        except FileNotFoundError as error:
            raise InvalidInput(Code.SOURCE_MISSING, path=path) from error
        except OSError as error:
            raise PictureRejected(Code.PICTURE_UNREADABLE, path=path, reason=error.strerror or "") from error
        except PictureRejected as error:
            raise with_path(error, path) from error
        digest = self._key(hashlib.sha256(data).hexdigest())
        look = Look(digest, len(data), shape.mime, shape.width, shape.height, contrast, finger, tint, misread, cause)
        self._cache.note_look(look)
        return _Opened(look, image)


def misreading(data: bytes, seen: Image.Image, cancel: CancelToken | None = None) -> tuple[float, str]:
    """How far a reader that drops transparency, profile and depth is from what people see, and which of them it is."""
    with opened(data, mime_of(data), cancel=cancel) as (stored, _):
        cause = "transparent" if stored.has_transparency_data else "depth" if stored.mode[:1] in "IF" else "profile"
        naive = ImageOps.exif_transpose(stored).convert("RGB").resize(_MISREAD_SIZE, Image.Resampling.BOX)
    difference = ImageChops.difference(naive, seen.resize(_MISREAD_SIZE, Image.Resampling.BOX))
    return sum(ImageStat.Stat(difference).mean) / 3, cause


def _check(cancel: CancelToken | None) -> Callable[[], None]:
    return cancel.check if cancel is not None else lambda: None


def _compared(control: Image.Image, target: Image.Image, change: float, cancel: CancelToken | None) -> Comparison:
    """The target is brought to the control's frame, whatever its own size and shape."""
    import numpy as np

    from engine.dataset.alignment import FINE, overlay
    from engine.dataset.drift import drift

    factor = FINE / max(control.size)
    size = (max(1, round(control.width * factor)), max(1, round(control.height * factor)))
    grey = [np.asarray(image.convert("L").resize(size, Image.Resampling.BILINEAR)) for image in (control, target)]
    found = overlay(grey[0], grey[1], _check(cancel))
    framed = target if target.size == control.size else target.resize(control.size, Image.Resampling.BILINEAR)
    return Comparison(change, found, drift(np.asarray(control), np.asarray(framed), found))
