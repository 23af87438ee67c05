"""Measures pictures and pairs, each content once: reads, hashes, decodes, compares."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec
from PIL import Image, ImageChops, ImageOps, ImageStat

from engine.dataset.features import Comparison, Look, change_between, look_at
from engine.dataset.measurement_cache import MeasurementCache
from engine.errors import Code, InvalidInput, PictureRejected
from engine.images.picture import opened, with_path
from engine.images.pixels import Alpha, mime_of, shrunk
from engine.reading import hash_found, read_found
from engine.upstream.cancel import CancelToken

EXTRA_PACKAGES: Final = ("numpy", "opencv-python-headless")
"""What the extra ``dataset`` of this program brings."""

Settled = Callable[[Look, Look, float], bool]
"""Control, target and change: whether they tell all that is to be known of the pair."""

_WORK_EDGE: Final = 256
_AT_HAND_BYTES: Final = 32 * 1024 * 1024  # of a file, from its hashing to its decoding; larger ones are read twice
_MISREAD_SIZE: Final = (64, 64)


class Measured(msgspec.Struct, frozen=True):
    """A pair's pictures and what lies between them."""

    control: Look
    target: Look
    comparison: Comparison


class _File(msgspec.Struct, frozen=True):
    """A file by its content: ``key``, what measurements of it are kept under, is its sha256, with the colour under
    transparency that is not the usual one; ``data`` where it was just read."""

    path: str
    key: str
    data: bytes | None


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
    """Measures what the cache does not hold, with transparency laid on ``alpha``. Safe to use from many threads.

    ``threads``: that are best used, 0 for no preference.
    """

    threads = 0

    def __init__(self, cache: MeasurementCache, alpha: Alpha = Alpha.WHITE) -> None:
        self._cache = cache
        self._alpha = Alpha.WHITE if alpha is Alpha.KEEP else alpha
        self._registers = can_register()
        if self._registers:
            import cv2

            cv2.setNumThreads(1)  # each pair has a thread already

    def look(self, path: str, sent: str = "", cancel: CancelToken | None = None) -> Look:
        """What a picture looks like. Raises like `measure`."""
        file = self._file(path, sent, cancel)
        known = self._cache.look(file.key)
        if known is None:
            known = self._open(file, cancel).look
            self._cache.note_look(known)
        return known

    def measure(
        self,
        control: str,
        target: str,
        settled: Settled = lambda *_: False,
        cancel: CancelToken | None = None,
        sent: str = "",
    ) -> Measured:
        """All about a pair of files. ``settled``: whether looks and change alone decide, so that nothing need be laid
        over anything; ``sent``: sha256 of the control that was sent, "" where not known. Raises InvalidInput
        (SOURCE_MISSING, SOURCE_CHANGED), PictureRejected, which name the path; Stopped."""
        files = self._file(control, sent, cancel), self._file(target, "", cancel)
        if (known := self._known(files[0].key, files[1].key, settled)) is not None:
            return known
        one, other = (self._open(file, cancel) for file in files)
        change = change_between(one.image, other.image)
        comparison = Comparison(change, None)
        if self._registers and not settled(one.look, other.look, change):
            comparison = _compared(one.image, other.image, change, cancel)
        self._cache.note((one.look, other.look, comparison))
        return Measured(one.look, other.look, comparison)

    def at_a_time(self, count: int) -> int:  # noqa: ARG002 - for who measures elsewhere
        """How many of so many pairs are best made ready together."""
        return 1

    def prepare(self, pairs: Sequence[tuple[str, str]], settled: Settled, cancel: CancelToken | None = None) -> None:
        """Some pairs of files will be measured next: who measures elsewhere can do so for all of them at once."""

    def keys(self, control: str, target: str, cancel: CancelToken | None = None) -> tuple[str, str]:
        """What measurements of a pair of files are kept under. Raises like `measure`."""
        return self._file(control, "", cancel).key, self._file(target, "", cancel).key

    def known_key(self, path: str) -> str:
        """The same of one file that needs not be read for it; "" otherwise."""
        try:
            status = Path(path).stat()
        except (OSError, ValueError):
            return ""
        digest = self._cache.known_hash(path, status.st_size, status.st_mtime_ns)
        return self._key(digest) if digest else ""

    def _key(self, digest: str) -> str:
        return digest if self._alpha is Alpha.WHITE else f"{digest} {self._alpha}"

    def _known(self, control: str, target: str, settled: Settled) -> Measured | None:
        """What the cache holds of two keys, where that is all that is to be measured."""
        looks = self._cache.look(control), self._cache.look(target)
        comparison = self._cache.comparison(control, target)
        if looks[0] and looks[1] and comparison:
            done = comparison.overlay is not None or not self._registers
            if done or settled(looks[0], looks[1], comparison.change):
                return Measured(looks[0], looks[1], comparison)
        return None

    def _file(self, path: str, sent: str, cancel: CancelToken | None) -> _File:
        """Which content a file has, read only where that is not known."""
        data: bytes | None = None
        try:
            status = Path(path).stat()
            state = (path, status.st_size, status.st_mtime_ns)
            digest = self._cache.known_hash(*state)
            if digest is None:
                if status.st_size <= _AT_HAND_BYTES:
                    data = read_found(path, _check(cancel))
                    digest = hashlib.sha256(data).hexdigest()
                else:
                    digest = hash_found(path, _check(cancel))
                self._cache.note_files((*state, digest))
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise InvalidInput(Code.SOURCE_MISSING, path=path) from error
        except OSError as error:
            raise PictureRejected(Code.PICTURE_UNREADABLE, path=path, reason=error.strerror or "") from error
        if sent and digest != sent:
            raise InvalidInput(Code.SOURCE_CHANGED, path=path)
        return _File(path, self._key(digest), data)

    def _open(self, file: _File, cancel: CancelToken | None) -> _Opened:
        try:
            data = read_found(file.path, _check(cancel)) if file.data is None else file.data
            shape, image = shrunk(data, _WORK_EDGE, self._alpha, cancel)
            contrast, finger, tint = look_at(image)
            misread, cause = (0.0, "") if shape.plain and not shape.alpha else misreading(data, image, cancel)
        except FileNotFoundError as error:
            raise InvalidInput(Code.SOURCE_MISSING, path=file.path) from error
        except OSError as error:
            raise PictureRejected(Code.PICTURE_UNREADABLE, path=file.path, reason=error.strerror or "") from error
        except PictureRejected as error:
            raise with_path(error, file.path) from error
        look = Look(file.key, len(data), shape.mime, shape.width, shape.height, contrast, finger, tint, misread, cause)
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

    grey = _grey(control, target, FINE)
    found = overlay(grey[0], grey[1], _check(cancel))
    framed = target if target.size == control.size else target.resize(control.size, Image.Resampling.BILINEAR)
    return Comparison(change, found, drift(np.asarray(control), np.asarray(framed), found))


def _grey(control: Image.Image, target: Image.Image, longest: int) -> list[Any]:
    """Both in the control's frame."""
    import numpy as np

    factor = longest / max(control.size)
    size = (max(1, round(control.width * factor)), max(1, round(control.height * factor)))
    grey = [image.convert("L") for image in (control, target)]
    return [np.asarray(one if one.size == size else one.resize(size, Image.Resampling.BILINEAR)) for one in grey]
