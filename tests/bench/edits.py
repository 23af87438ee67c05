"""What an edit API makes of a picture: edits as they are asked for, and the faults that spoil a training set."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np

from tests.bench.scenes import (
    Picture,
    Rng,
    Scene,
    blend,
    colour,
    fractal,
    make_scene,
    put_thing,
    thing_paint,
)

Edit = Callable[[Rng, Scene], Picture]
_OTHERS: Final = 1_000_000  # seeds of scenes that are nobody's source


def _as_picture(canvas: object) -> Picture:
    return np.asarray(np.clip(np.asarray(canvas) * 255 + 0.5, 0, 255), np.uint8)


def _canvas(scene: Scene) -> np.ndarray:
    return scene.picture.astype(np.float32) / 255


# ---- what is asked for


def recolour(rng: Rng, scene: Scene) -> Picture:
    """Another hour of the day, another season: hue, saturation, light and contrast."""
    hsv = cv2.cvtColor(scene.picture, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(10, 90)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.4, 1.6), 0, 255)
    hsv[..., 2] = 255 * (hsv[..., 2] / 255) ** rng.uniform(0.6, 1.7)
    turned = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB).astype(np.float32) / 255
    return _as_picture(turned * (1 - 0.3 * rng.random()) + colour(rng) * 0.3 * rng.random())


def recolour_foreground(rng: Rng, scene: Scene) -> Picture:
    """Only what stands in front gets another colour."""
    changed = recolour(rng, scene).astype(np.float32) / 255
    return _as_picture(blend(_canvas(scene), changed, scene.foreground))


def paint_style(rng: Rng, scene: Scene) -> Picture:
    """Oil paint: strokes instead of detail, few tones, a canvas that shows through."""
    picture = cv2.medianBlur(scene.picture, int(rng.choice([5, 7, 9])))
    for _ in range(2):
        picture = cv2.bilateralFilter(picture, 9, 50, 7)
    levels = int(rng.integers(6, 14))
    tones = np.round(picture.astype(np.float32) / 255 * levels) / levels
    height, width = tones.shape[:2]
    return _as_picture(tones * (0.9 + 0.2 * fractal(rng, width, height, 80, 3)[..., None]))


def drawn_style(rng: Rng, scene: Scene) -> Picture:
    """A drawing: lines where edges are, washed colours or none, on paper."""
    grey = cv2.cvtColor(scene.picture, cv2.COLOR_RGB2GRAY)
    blurred = cv2.GaussianBlur(grey, (0, 0), rng.uniform(3, 7))
    lines = np.clip(grey.astype(np.float32) / np.maximum(blurred, 1), 0, 1) ** rng.uniform(1, 3)
    wash = cv2.GaussianBlur(scene.picture, (0, 0), 4).astype(np.float32) / 255
    amount = float(rng.choice([0.0, 0.4, 0.7]))
    height, width = grey.shape
    paper = 0.92 + 0.08 * fractal(rng, width, height, 100, 3)
    return _as_picture((1 - amount + amount * wash) * (lines * paper)[..., None])


def added_thing(rng: Rng, scene: Scene) -> Picture:
    """Something new stands in the picture."""
    height, width = scene.foreground.shape
    canvas = _canvas(scene)
    for _ in range(int(rng.integers(1, 4))):
        centre = (rng.uniform(0.15, 0.85) * width, rng.uniform(0.2, 0.85) * height)
        canvas, _ = put_thing(rng, canvas, centre, min(width, height) * rng.uniform(0.06, 0.22))
    return _as_picture(canvas)


def local_repaint(rng: Rng, scene: Scene) -> Picture:
    """A small part is painted anew, the rest stays to the pixel."""
    height, width = scene.foreground.shape
    mask = np.zeros((height, width), np.float32)
    centre = (int(rng.uniform(0.2, 0.8) * width), int(rng.uniform(0.2, 0.8) * height))
    axes = (int(width * rng.uniform(0.04, 0.15)), int(height * rng.uniform(0.04, 0.15)))
    cv2.ellipse(mask, centre, axes, 0, 0, 360, 1.0, -1)
    mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 3), np.float32)
    return _as_picture(blend(_canvas(scene), thing_paint(rng, width, height), mask))


def new_background(rng: Rng, scene: Scene) -> Picture:
    """What stands in front stays, everything behind it is another place."""
    height, width = scene.foreground.shape
    other = make_scene(int(rng.integers(_OTHERS, 2 * _OTHERS)), (width, height)).picture.astype(np.float32) / 255
    mask = scene.foreground
    if mask.mean() < 0.12:
        mask = np.maximum(mask, _middle(rng, width, height))
    return _as_picture(blend(other, _canvas(scene), mask))


def _middle(rng: Rng, width: int, height: int) -> np.ndarray:
    mask = np.zeros((height, width), np.float32)
    centre = (int(width * rng.uniform(0.4, 0.6)), int(height * rng.uniform(0.5, 0.65)))
    cv2.ellipse(
        mask, centre, (int(width * rng.uniform(0.22, 0.3)), int(height * rng.uniform(0.28, 0.4))), 0, 0, 360, 1.0, -1
    )
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 2), np.float32)


EDITS: Final[tuple[Edit, ...]] = (
    recolour, recolour_foreground, paint_style, drawn_style, added_thing, local_repaint, new_background,
)  # fmt: skip


# ---- what goes wrong


def moved(rng: Rng, scene: Scene, edited: Picture, least: float = 0.006, most: float = 0.06) -> Picture:
    """The edit lies some pixels beside its source; ``least`` and ``most`` as parts of the longest edge."""
    height, width = edited.shape[:2]
    turn, far = rng.uniform(0, 2 * np.pi), rng.uniform(least, most) * max(width, height)
    return _warped(edited, 1.0, far * np.cos(turn), far * np.sin(turn))


def zoomed(rng: Rng, scene: Scene, edited: Picture, least: float = 0.012, most: float = 0.25) -> Picture:
    """The edit shows a cut-out, or more than there was: a strip round the picture is made up."""
    height, width = edited.shape[:2]
    scale = 1 + rng.uniform(least, most)
    if rng.random() < 0.3:
        scale = 1 / min(scale, 1.15)
    return _warped(edited, scale, width * (1 - scale) / 2, height * (1 - scale) / 2)


def _warped(picture: Picture, scale: float, right: float, down: float) -> Picture:
    height, width = picture.shape[:2]
    matrix = np.array([[scale, 0, right], [0, scale, down]], np.float64)
    return np.asarray(
        cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT), np.uint8
    )


def unrelated(rng: Rng, size: tuple[int, int]) -> Picture:
    """A stock picture of something else."""
    return make_scene(int(rng.integers(2 * _OTHERS, 3 * _OTHERS)), size).picture


def blank(rng: Rng, size: tuple[int, int]) -> Picture:
    """One colour, with or without noise, or with a faint fade."""
    width, height = size
    canvas = np.broadcast_to(
        rng.choice([0.0, 1.0, 0.5]) * np.ones(3) if rng.random() < 0.5 else colour(rng), (height, width, 3)
    )
    if rng.random() < 0.5:
        canvas = canvas + rng.normal(0, 0.01, canvas.shape)
    if rng.random() < 0.3:
        canvas = canvas + np.linspace(-0.008, 0.008, width)[None, :, None]
    return _as_picture(canvas)


def other_shape(rng: Rng, edited: Picture) -> Picture:
    """Stretched, or cropped to another aspect ratio."""
    height, width = edited.shape[:2]
    factor = float(rng.choice([0.667, 0.75, 0.9, 0.95, 1.06, 1.12, 1.333]))
    if rng.random() < 0.5:
        return np.asarray(cv2.resize(edited, (round(width * factor), height), interpolation=cv2.INTER_AREA), np.uint8)
    if factor < 1:
        cut = round(width * (1 - factor) / 2)
        return edited[:, cut : width - cut]
    cut = round(height * (1 - 1 / factor) / 2)
    return edited[cut : height - cut]
