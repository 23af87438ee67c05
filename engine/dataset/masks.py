"""Masks of what was changed between two pictures that lie over each other: white where it was. Needs OpenCV."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.images.pixels import Alpha, encoded, rendered, shape_of
from engine.upstream.cancel import CancelToken

Colours = NDArray[np.uint8]
Levels = NDArray[np.float32]
Mask = NDArray[np.bool_]

WORK: Final = 512
"""Longest edge in pixels at which changes are sought."""

_LEAST, _MOST = 10.0, 40.0  # levels of a channel between which the border of what was changed is sought
_SMALLEST: Final = 0.0004  # of the picture: smaller spots are the noise of compression


def mask_of(control: bytes, target: bytes, *, whole: bool = False, cancel: CancelToken | None = None) -> bytes:
    """A grey PNG of the target's size; ``whole``: white all over, for pairs in which nothing is to change. Raises
    Stopped."""
    shape = shape_of(target)
    size = (shape.width, shape.height)
    if whole:
        mask = Image.new("L", size, 255)
    else:
        factor = min(1.0, WORK / max(size))
        small = (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))
        colours = [_colours(data, small, cancel) for data in (control, target)]
        found = changed(difference(colours[0], colours[1]))
        mask = Image.fromarray(np.where(found, 255, 0).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
        mask = mask.point(lambda value: 255 if value >= 128 else 0)
    return encoded(mask, "png", 100, cancel=cancel)


def _colours(data: bytes, size: tuple[int, int], cancel: CancelToken | None) -> Colours:
    with rendered(data, alpha=Alpha.WHITE, cancel=cancel) as image:
        return np.asarray(image.resize(size, Image.Resampling.BOX), np.uint8)


def difference(control: Colours, target: Colours) -> Levels:
    """The largest difference of a channel at each place, 0..255, smoothed so that grain hardly counts."""
    planes = cv2.GaussianBlur(target.astype(np.float32) - control.astype(np.float32), (0, 0), 1.5)
    return np.asarray(np.abs(planes).max(axis=2), np.float32)


def changed(levels: Levels) -> Mask:
    """Where something was changed: the border lies where most differences part into small and large ones."""
    border = float(np.clip(_parting(levels), _LEAST, _MOST))
    found = (levels > border).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    found = np.asarray(cv2.morphologyEx(found, cv2.MORPH_CLOSE, kernel), np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found)
    large = [n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] >= _SMALLEST * found.size]
    return np.asarray(np.isin(labels, large), bool)


def _parting(levels: Levels) -> float:
    """Otsu's threshold."""
    small: Any = np.clip(levels, 0, 255).astype(np.uint8)
    return float(cv2.threshold(small, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0])
