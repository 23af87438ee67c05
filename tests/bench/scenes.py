"""Photograph-like pictures made from a seed: landscapes, streets, tables, forests, seas and portraits, each with the
mask of what stands in its foreground. The same seed gives the same picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[Any]
Picture = NDArray[np.uint8]
"""Rows, columns, red-green-blue."""
Rng = np.random.Generator

SIZES: Final = ((768, 576), (720, 480), (640, 640), (576, 768), (832, 512), (800, 600))


class Scene(msgspec.Struct, frozen=True):
    """A picture, and how much of each pixel (0..1) belongs to its foreground."""

    picture: Picture
    foreground: Plane


def make_scene(seed: int, size: tuple[int, int] | None = None) -> Scene:
    """The scene of this seed; ``size`` is width and height."""
    rng = np.random.default_rng(seed)
    width, height = size or SIZES[int(rng.integers(len(SIZES)))]
    maker = _MAKERS[int(rng.integers(len(_MAKERS)))]
    canvas, foreground = maker(rng, width, height)
    return Scene(_developed(rng, canvas), foreground)


def fractal(rng: Rng, width: int, height: int, cells: float, octaves: int = 6) -> Plane:
    """Smooth noise 0..1 with detail at every scale; ``cells``: how many of the largest blobs fit across."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        across = max(2, round(cells * 2**octave))
        down = max(2, round(across * height / width))
        grid = rng.random((down, across), np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC) * 0.55**octave
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / max(high - low, 1e-6), np.float32)


def colour(rng: Rng, dark: float = 0.1, light: float = 0.9) -> Plane:
    """A random colour whose channels lie between the two, mostly a muted one."""
    chosen = rng.uniform(dark, light, 3)
    return np.asarray(chosen.mean() + (chosen - chosen.mean()) * rng.uniform(0.2, 0.9), np.float32)


def blend(canvas: Plane, paint: Plane, mask: Plane) -> Plane:
    """``paint`` over ``canvas`` where the mask says so."""
    return np.asarray(canvas + (paint - canvas) * mask[..., None], np.float32)


def thing_mask(rng: Rng, width: int, height: int, centre: tuple[float, float], radius: float) -> Plane:
    """A soft-edged shape: ellipse, box or pebble."""
    mask = np.zeros((height, width), np.float32)
    x, y = int(centre[0]), int(centre[1])
    kind = rng.integers(3)
    wide, tall = radius * rng.uniform(0.7, 1.3), radius * rng.uniform(0.7, 1.3)
    if kind == 0:
        cv2.ellipse(mask, (x, y), (int(wide), int(tall)), float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    else:
        count = 4 if kind == 1 else int(rng.integers(6, 11))
        turns = np.sort(rng.uniform(0, 2 * np.pi, count)) if kind == 2 else np.arange(4) * np.pi / 2 + rng.uniform(0, 1)
        corners = np.stack([x + wide * np.cos(turns), y + tall * np.sin(turns)], 1)
        cv2.fillPoly(mask, [corners.astype(np.int32)], 1.0)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 1.0), np.float32)


def thing_paint(rng: Rng, width: int, height: int) -> Plane:
    """A surface to fill a shape with: grained, striped, spotted or plain, lit from one side."""
    base, other = colour(rng), colour(rng)
    detail = fractal(rng, width, height, rng.uniform(6, 30))
    kind = rng.integers(4)
    if kind == 0:
        turn = rng.uniform(0, np.pi)
        ys, xs = np.mgrid[:height, :width].astype(np.float32)
        detail = 0.5 + 0.5 * np.sin((xs * np.cos(turn) + ys * np.sin(turn)) * rng.uniform(0.1, 0.5) + detail * 3)
    elif kind == 1:
        detail = (detail > rng.uniform(0.4, 0.6)).astype(np.float32)
    elif kind == 2:
        detail = detail * 0.35
    start, end = rng.permutation([0.2, 0.8]).tolist()
    light = 0.65 + 0.7 * np.linspace(start, end, width)[None, :]
    return np.asarray((base + (other - base) * detail[..., None]) * light[..., None], np.float32)


def put_thing(rng: Rng, canvas: Plane, centre: tuple[float, float], radius: float) -> tuple[Plane, Plane]:
    """A thing with its shadow on the canvas; the new canvas and the thing's mask."""
    height, width = canvas.shape[:2]
    mask = thing_mask(rng, width, height, centre, radius)
    shadow = cv2.GaussianBlur(np.roll(mask, (int(radius * 0.2), int(radius * 0.25)), (0, 1)), (0, 0), radius * 0.15 + 1)
    canvas = canvas * (1 - 0.5 * np.asarray(shadow, np.float32)[..., None])
    return blend(canvas, thing_paint(rng, width, height), mask), mask


def _sky(rng: Rng, width: int, height: int) -> Plane:
    top, bottom = colour(rng, 0.2, 0.8), colour(rng, 0.6, 1.0)
    fade = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    clouds = np.clip(fractal(rng, width, height, rng.uniform(1.5, 4)) * 2.2 - rng.uniform(0.8, 1.4), 0, 1)
    sky = np.broadcast_to(top + (bottom - top) * fade, (height, width, 3)).astype(np.float32)
    return blend(sky, np.broadcast_to(colour(rng, 0.8, 1.0), sky.shape), clouds * 0.8)


def _ground(rng: Rng, width: int, height: int, horizon: int) -> Plane:
    """A textured plane that recedes to the horizon."""
    flat = fractal(rng, width, width, rng.uniform(8, 20), 7)
    rows = np.arange(height, dtype=np.float32)
    depth = np.clip((rows - horizon + 2) / max(height - horizon, 1), 0.004, 1)
    ys = (0.18 / depth) * width % (width - 1)
    xs = np.arange(width, dtype=np.float32)[None, :] - width / 2
    map_x = (xs / (0.4 + depth[:, None]) + width / 2) % (width - 1)
    seen = cv2.remap(
        flat, map_x.astype(np.float32), np.repeat(ys[:, None], width, 1).astype(np.float32), cv2.INTER_LINEAR
    )
    base, other = colour(rng, 0.1, 0.6), colour(rng, 0.2, 0.8)
    return np.asarray(base + (other - base) * np.asarray(seen, np.float32)[..., None], np.float32)


def _ridge(rng: Rng, width: int, height: int, base: float, rise: float) -> Plane:
    line = base - rise * fractal(rng, width, 2, rng.uniform(2, 5), 7)[0]
    return np.asarray(np.arange(height)[:, None] > line[None, :], np.float32)


def _landscape(rng: Rng, width: int, height: int) -> tuple[Plane, Plane]:
    horizon = int(height * rng.uniform(0.4, 0.65))
    canvas = _sky(rng, width, height)
    for layer in range(int(rng.integers(2, 5))):
        mask = _ridge(rng, width, height, horizon + layer * 12, height * rng.uniform(0.1, 0.35))
        rock = colour(rng, 0.15, 0.7) * (0.6 + 0.6 * fractal(rng, width, height, 9, 7)[..., None])
        canvas = blend(canvas, rock.astype(np.float32), mask)
    below = (np.arange(height)[:, None] > horizon).astype(np.float32) * np.ones((1, width), np.float32)
    canvas = blend(canvas, _ground(rng, width, height, horizon), below)
    return _scattered(rng, canvas, int(rng.integers(2, 7)), (horizon, height), 0.03, 0.14)


def _street(rng: Rng, width: int, height: int) -> tuple[Plane, Plane]:
    horizon = int(height * rng.uniform(0.6, 0.8))
    canvas = _sky(rng, width, height)
    left = -20
    while left < width:
        wide, top = int(rng.uniform(0.08, 0.24) * width), int(rng.uniform(0.08, 0.5) * height)
        house = colour(rng, 0.2, 0.85) * (0.8 + 0.3 * fractal(rng, width, height, 30, 4)[..., None])
        mask = np.zeros((height, width), np.float32)
        cv2.rectangle(mask, (left, top), (left + wide, horizon), 1.0, -1)
        canvas = blend(canvas, house.astype(np.float32), mask)
        cell_x, cell_y = int(rng.integers(12, 30)), int(rng.integers(14, 34))
        for x in range(left + 6, left + wide - cell_x // 2, cell_x):
            for y in range(top + 8, horizon - cell_y // 2, cell_y):
                glass = colour(rng, 0.05, 0.95) * 0.8
                cv2.rectangle(canvas, (x, y), (x + cell_x // 2, y + cell_y // 2), glass.tolist(), -1)
        left += wide + int(rng.integers(0, 8))
    below = (np.arange(height)[:, None] > horizon).astype(np.float32) * np.ones((1, width), np.float32)
    canvas = blend(canvas, _ground(rng, width, height, horizon), below)
    return _scattered(rng, canvas, int(rng.integers(3, 9)), (horizon - 20, height), 0.03, 0.1)


def _table(rng: Rng, width: int, height: int) -> tuple[Plane, Plane]:
    horizon = int(height * rng.uniform(0.3, 0.5))
    wall = thing_paint(rng, width, height)
    canvas = np.asarray(cv2.GaussianBlur(wall, (0, 0), rng.uniform(3, 12)), np.float32)
    below = (np.arange(height)[:, None] > horizon).astype(np.float32) * np.ones((1, width), np.float32)
    canvas = blend(canvas, _ground(rng, width, height, horizon), below)
    return _scattered(rng, canvas, int(rng.integers(3, 8)), (horizon - 30, int(height * 0.9)), 0.08, 0.2)


def _forest(rng: Rng, width: int, height: int) -> tuple[Plane, Plane]:
    canvas = colour(rng, 0.1, 0.5) * (0.3 + fractal(rng, width, height, 6, 7)[..., None])
    canvas = np.asarray(canvas + colour(rng, 0, 0.3), np.float32)
    foreground = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(6, 16))):
        wide, x = rng.uniform(0.01, 0.06) * width, rng.uniform(0, width)
        mask = np.zeros((height, width), np.float32)
        lean = rng.uniform(-0.1, 0.1) * width
        corners = np.array([[x, -5], [x + wide * 0.6, -5], [x + lean + wide, height + 5], [x + lean, height + 5]])
        cv2.fillPoly(mask, [corners.astype(np.int32)], 1.0)
        bark = colour(rng, 0.1, 0.5) * (0.5 + fractal(rng, width, height, 40, 4)[..., None])
        canvas = blend(canvas, bark.astype(np.float32), np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.8), np.float32))
        foreground = np.maximum(foreground, mask)
    leaves = np.clip(fractal(rng, width, height, 20, 6) * 4 - 2.2, 0, 1)
    canvas = blend(canvas, np.broadcast_to(colour(rng, 0.2, 0.8), canvas.shape).astype(np.float32), leaves * 0.6)
    return canvas, foreground


def _sea(rng: Rng, width: int, height: int) -> tuple[Plane, Plane]:
    horizon = int(height * rng.uniform(0.3, 0.6))
    canvas = _sky(rng, width, height)
    waves = _ground(rng, width, height, horizon) * 0.5 + colour(rng, 0.1, 0.5)
    below = (np.arange(height)[:, None] > horizon).astype(np.float32) * np.ones((1, width), np.float32)
    canvas = blend(canvas, waves.astype(np.float32), below)
    return _scattered(rng, canvas, int(rng.integers(2, 5)), (horizon - 10, int(height * 0.85)), 0.05, 0.18)


def _portrait(rng: Rng, width: int, height: int) -> tuple[Plane, Plane]:
    canvas = np.asarray(cv2.GaussianBlur(thing_paint(rng, width, height), (0, 0), rng.uniform(2, 14)), np.float32)
    x, y, radius = (
        width * rng.uniform(0.4, 0.6),
        height * rng.uniform(0.36, 0.46),
        min(width, height) * rng.uniform(0.17, 0.24),
    )
    foreground = np.zeros((height, width), np.float32)
    parts = [
        ((x, height * 1.0), (radius * 2.0, height * 0.36)),
        ((x, y), (radius * 1.25, radius * 1.5)),
        ((x, y + radius * 0.1), (radius, radius * 1.3)),
    ]
    for number, (centre, axes) in enumerate(parts):
        mask = np.zeros((height, width), np.float32)
        cv2.ellipse(mask, (int(centre[0]), int(centre[1])), (int(axes[0]), int(axes[1])), 0, 0, 360, 1.0, -1)
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 1.5), np.float32)
        paint = thing_paint(rng, width, height)
        if number == 2:
            skin = colour(rng, 0.4, 0.9) * (0.85 + 0.2 * fractal(rng, width, height, 12, 6)[..., None])
            paint = skin.astype(np.float32)
        canvas, foreground = blend(canvas, paint, mask), np.maximum(foreground, mask)
    for side in (-1, 1):
        centre = (int(x + side * radius * 0.4), int(y))
        cv2.ellipse(canvas, centre, (int(radius * 0.18), int(radius * 0.1)), 0, 0, 360, (0.95, 0.95, 0.92), -1)
        cv2.circle(canvas, centre, int(radius * 0.09), colour(rng, 0.0, 0.4).tolist(), -1)
        cv2.ellipse(
            canvas,
            (centre[0], centre[1] - int(radius * 0.25)),
            (int(radius * 0.25), int(radius * 0.06)),
            side * 8.0,
            0,
            360,
            (0.2, 0.15, 0.1),
            -1,
        )
    cv2.ellipse(
        canvas,
        (int(x), int(y + radius * 0.75)),
        (int(radius * 0.35), int(radius * 0.1)),
        0,
        0,
        360,
        (0.65, 0.25, 0.25),
        -1,
    )
    cv2.ellipse(
        canvas,
        (int(x), int(y + radius * 0.3)),
        (int(radius * 0.1), int(radius * 0.22)),
        0,
        0,
        360,
        (0.6, 0.45, 0.38),
        2,
    )
    return canvas, foreground


def _scattered(
    rng: Rng, canvas: Plane, count: int, rows: tuple[int, int], smallest: float, largest: float
) -> tuple[Plane, Plane]:
    """Things at random places, nearer ones larger and over the others."""
    height, width = canvas.shape[:2]
    foreground = np.zeros((height, width), np.float32)
    for place in np.sort(rng.uniform(rows[0], rows[1], count)):
        near = (place - rows[0]) / max(rows[1] - rows[0], 1)
        radius = min(width, height) * (smallest + (largest - smallest) * (0.3 + 0.7 * near) * rng.uniform(0.6, 1.2))
        canvas, mask = put_thing(rng, canvas, (rng.uniform(0.05, 0.95) * width, place - radius * 0.5), radius)
        foreground = np.maximum(foreground, mask)
    return canvas, foreground


def _developed(rng: Rng, canvas: Plane) -> Picture:
    """What a camera adds: fine detail, vignette, a little softness, grain, a tone curve."""
    height, width = canvas.shape[:2]
    canvas = canvas * (0.93 + 0.14 * fractal(rng, width, height, 60, 4)[..., None])
    ys, xs = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    canvas = canvas * (1 - rng.uniform(0, 0.25) * (xs**2 + ys**2))[..., None]
    canvas = cv2.GaussianBlur(canvas.astype(np.float32), (0, 0), rng.uniform(0.4, 0.9))
    canvas = np.clip(canvas, 0, 1) ** rng.uniform(0.8, 1.2)
    canvas = canvas + rng.normal(0, rng.uniform(0.004, 0.015), canvas.shape)
    return np.asarray(np.clip(canvas * 255 + 0.5, 0, 255), np.uint8)


_MAKERS: Final[tuple[Callable[[Rng, int, int], tuple[Any, Any]], ...]] = (
    _landscape, _street, _table, _forest, _sea, _portrait,
)  # fmt: skip
