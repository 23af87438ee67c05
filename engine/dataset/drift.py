"""What changed where nobody asked: colour and detail outside the part of a picture that was edited. Needs OpenCV.

An edit of the whole picture has no outside. One of a part has: there the differences are small beside those inside.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.dataset.features import Drift, Overlay

Colours = NDArray[np.uint8]
Plane = NDArray[np.float32]

_EDGE: Final = 256  # longest edge in pixels at which detail is compared; colours at half of it
_LEAST, _MOST = 12.0, 60.0  # levels between which the border of what was edited is sought
_AROUND: Final = 5  # pixels of half size about it that belong to it
_OUTSIDE: Final = 0.6  # of the picture at least: else all of it was edited
_CLEARLY_MORE: Final = 2.1  # times as much changed inside as outside: else it is one change
_INSIDE: Final = 15.0  # levels that an edit changes at least
_MOST_OUTSIDE: Final = 18.0  # levels: more than this was asked for
_QUIET: Final = 0.5  # of the picture at least
_GRAIN: Final = 0.7  # pixels: finer than this is what compressing anew changes
_AREA: Final = 32  # pixels: what changed everywhere outside did so in most of these areas
_FEWEST_AREAS: Final = 2
_LEAST_TEXTURE: Final = 20.0  # square levels: in less there is no detail to lose that compressing would leave
_TEXTURED: Final = 0.1  # of an area with so much
_KEPT: Final = 2 / 3  # of these areas
_LEAST_SLOPE: Final = 8.0  # levels a pixel: an edge whose place can be told
_SHARP: Final = 0.02  # of an area that such edges are
_MOVED_COUNTS: Final = 0.5  # of the detail is lost where edges lie a pixel beside where they were
_STILL: Final = 0.002  # of the frame
_MAP: Final = (32, 24)
_FIT_STEP: Final = 4  # every so many pixels are enough to find one change of tone
_FIT_TURNS: Final = 14
_TONED: Final = 0.8  # of the picture at least that one change of tone explains
_TONE_LEFT: Final = 1.5  # levels that nine tenths of that part are within of it: what compressing leaves
_MOST_TONE: Final = 25.0  # levels: a greater change of tone was asked for


def drift(control: Colours, target: Colours, overlay: Overlay) -> Drift | None:
    """Compare two pictures of one size; None where there is no part that stayed beside one that was edited."""
    one, other = _small(control), _small(target)
    still = _lies_still(overlay)
    if not still:
        other = _moved(other, overlay)
    levels = _levels_between(one, other)
    border = float(np.clip(_parting(levels), _LEAST, _MOST))
    edited = (levels > border).astype(np.uint8)
    if not edited.any():
        return None
    return _beside(one, other, levels, edited, still) or _toned(one, other)


def _beside(one: Plane, other: Plane, levels: Plane, edited: NDArray[np.uint8], still: bool) -> Drift | None:
    """Where there is less change outside than in the part that was edited."""
    outside = _around(edited)
    share = float(outside.mean())
    inside = float(np.median(levels[edited > 0]))
    if share < _OUTSIDE or inside < _INSIDE:
        return None
    colour = float(np.median(levels[outside]))
    if colour > _MOST_OUTSIDE or inside < _CLEARLY_MORE * colour:
        return None
    quiet = outside & (levels <= 2 * colour + 6)  # without what else was asked for, and shadows
    if quiet.mean() < _QUIET:
        return None
    detail = _detail_lost(one, other, quiet) if still else 0.0  # what was moved back is smoother for that
    return Drift(round(colour, 3), round(detail, 4), round(share, 3), _map(levels, outside))


def _toned(one: Plane, other: Plane) -> Drift | None:
    """Where one change of tone (saturation, contrast: some colours move far, others not at all) explains nearly all of
    the picture, and what it leaves is the part that was edited. Paint, drawings and new scenes are no such change."""
    toned = _one_tone(one, other)
    left, levels = _levels_between(toned, other), _levels_between(one, toned)
    edited = (left > float(np.clip(_parting(left), _LEAST, _MOST))).astype(np.uint8)
    outside = _around(edited)
    share = float(outside.mean())
    if not edited.any() or share < _TONED or float(np.median(left[edited > 0])) < _INSIDE:
        return None
    colour = float(np.median(levels[outside]))
    if colour > _MOST_TONE or float(np.quantile(left[outside], 0.9)) > _TONE_LEFT:
        return None
    return Drift(round(colour, 3), 0.0, round(share, 3), _map(levels, outside))


def _one_tone(one: Plane, other: Plane) -> Plane:
    """The control under the affine change of colours that most of the target shows: least squares with Cauchy's
    weights, so that an edited part does not bend it."""
    few, seen = (
        cv2.GaussianBlur(picture, (0, 0), 2.0)[::_FIT_STEP, ::_FIT_STEP].reshape(-1, 3).astype(np.float64)
        for picture in (one, other)
    )
    few = np.hstack([few, np.ones((len(few), 1))])
    change = np.vstack([np.eye(3), np.zeros((1, 3))])
    for turn in range(_FIT_TURNS):
        left = np.abs(seen - few @ change).max(axis=1)
        scale = max(2.0, float(np.median(left)) if turn < _FIT_TURNS // 2 else min(float(np.median(left)), 4.0))
        weighted = few / (1 + (left / scale) ** 2)[:, None]
        change = np.linalg.solve(weighted.T @ few + 1e-3 * np.eye(4), weighted.T @ seen)
    return np.asarray(np.clip(one @ change[:3] + change[3], 0, 255), np.float32)


def _around(edited: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """All but what was edited and its border."""
    return np.asarray(cv2.dilate(edited, np.ones((_AROUND, _AROUND), np.uint8)) == 0, np.bool_)


def _map(levels: Plane, outside: NDArray[np.bool_]) -> bytes:
    shown: NDArray[np.uint8] = np.clip(np.where(outside, levels * 8, 0), 0, 255).astype(np.uint8)
    return cv2.resize(shown, _MAP, interpolation=cv2.INTER_AREA).tobytes()


def _small(picture: Colours) -> Plane:
    factor = _EDGE / max(picture.shape[:2])
    size = (max(1, round(picture.shape[1] * factor)), max(1, round(picture.shape[0] * factor)))
    if size != (picture.shape[1], picture.shape[0]):
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    return picture.astype(np.float32)


def _levels_between(one: Plane, other: Plane) -> Plane:
    """At half the size: how far the colours of small areas are apart, in the channel where they are furthest."""
    half = (max(1, one.shape[1] // 2), max(1, one.shape[0] // 2))
    apart = cv2.GaussianBlur(cv2.resize(other - one, half, interpolation=cv2.INTER_AREA), (0, 0), 1.0)
    red, green, blue = cv2.split(np.abs(apart))
    return np.asarray(cv2.max(cv2.max(red, green), blue), np.float32)


def _lies_still(overlay: Overlay) -> bool:
    """Whether the target is where its control is, to a fraction of a pixel."""
    moves = (overlay.offset_x, overlay.offset_y, overlay.scale_x - 1, overlay.scale_y - 1)
    return max(abs(move) for move in moves) < _STILL


def _moved(target: Plane, overlay: Overlay) -> Plane:
    """The target in its control's frame: a shift is a fault of its own."""
    height, width = target.shape[:2]
    matrix = np.array(
        [[overlay.scale_x, 0, overlay.offset_x * width], [0, overlay.scale_y, overlay.offset_y * height]], np.float64
    )
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(target, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def _parting(levels: Plane) -> float:
    """Otsu's threshold."""
    small: NDArray[np.uint8] = np.clip(levels, 0, 255).astype(np.uint8)
    return float(cv2.threshold(small, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0])


def _detail_lost(one: Plane, other: Plane, outside: NDArray[np.bool_]) -> float:
    """How much of the fine detail outside is not what it was, 0..1: smoothed it is weaker, painted anew it lies
    elsewhere. Compressing takes faint detail, so that only strong one is looked at; an edit of some colours leaves
    parts that hardly differ, so that it counts what most areas have in common."""
    size = (one.shape[1], one.shape[0])
    outside = cv2.resize(outside.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    greys = [_grey(picture) for picture in (one, other)]
    return max(_weaker(greys, outside), min(1.0, _MOVED_COUNTS * _edges_moved(greys, outside)))


def _grey(picture: Plane) -> Plane:
    """Without what compressing anew changes."""
    return np.asarray(cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), _GRAIN), np.float32)


def _weaker(greys: list[Plane], outside: NDArray[np.bool_]) -> float:
    """Of areas with texture, without the third that lost most: how far it no longer correlates, or how much weaker it
    is; of a change of contrast so much as weakens it."""
    fine = [grey - cv2.GaussianBlur(grey, (0, 0), 1.87) for grey in greys]
    strong = outside & (cv2.GaussianBlur(fine[0] ** 2, (0, 0), 3.0) >= _LEAST_TEXTURE)
    products = (fine[0] ** 2, fine[1] ** 2, fine[0] * fine[1])
    sums = _by_area(strong, _TEXTURED, *products)
    if sums.shape[1] < _FEWEST_AREAS:
        return 0.0
    kept = np.argsort(_lost(*sums))[: math.ceil(sums.shape[1] * _KEPT)]
    return float(_lost(*sums[:, kept].sum(axis=1)))


def _lost(before: Plane, after: Plane, both: Plane) -> Plane:
    """From sums of squares and of products."""
    alike = both / np.sqrt(np.maximum(before * after, 1e-6))
    weaker = 1 - np.sqrt(after / np.maximum(before, 1e-6))
    return np.asarray(np.maximum(0.0, np.maximum(1 - alike, weaker)), np.float32)


def _edges_moved(greys: list[Plane], outside: NDArray[np.bool_]) -> float:
    """By how many pixels the sharpest edges of the middle area lie beside where they were: what changed across an edge
    is that by its slope."""
    middle = (greys[0] + greys[1]) / 2
    across, down = (cv2.Sobel(middle, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1)))
    slope = np.asarray(cv2.magnitude(across, down), np.float32)
    change = greys[1] - greys[0]
    change = np.asarray(np.abs(change - cv2.GaussianBlur(change, (0, 0), 4.0)), np.float32)  # without that of tone
    by_slope, squares = _by_area(outside & (slope >= _LEAST_SLOPE), _SHARP, change * slope, slope**2)
    return float(np.median(by_slope / squares)) if len(squares) >= _FEWEST_AREAS else 0.0


def _by_area(of: NDArray[np.bool_], least: float, *planes: Plane) -> Plane:
    """Means of each plane over the pixels ``of`` each area, a row for each plane, a column for each area of which these
    pixels are at least the part ``least``."""
    size = (max(1, round(of.shape[1] / _AREA)), max(1, round(of.shape[0] / _AREA)))
    chosen = of.astype(np.float32)
    means = [
        cv2.resize(plane, size, interpolation=cv2.INTER_AREA).ravel()
        for plane in (chosen, *(plane * chosen for plane in planes))
    ]
    return np.asarray(means[1:], np.float32)[:, means[0] >= least]
