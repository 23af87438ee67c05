"""How a target lies over its control: blocks of edges are found again, and shift and zoom follow. Needs OpenCV.

Edges are compared, not colours: they stay when light, colour and style are edited.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.dataset.features import Overlay

Grey = NDArray[np.uint8]
Edges = NDArray[np.float32]
Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]

FINE: Final = 256
"""Longest edge in pixels at which positions are measured."""

_COARSE: Final = 128
_TEXTURE: Final = 0.25  # a block's contrast of edges, as a part of the whole picture's: flat blocks lie anywhere
_FEWEST: Final = 4  # blocks that agree by chance
_ENOUGH: Final = 8  # unrelated pictures have at most six
_CLEARLY_MORE: Final = 1.2  # a move must explain so many times more blocks than no move
_CERTAIN: Final = 12  # blocks of a sparse look that must agree
_MOST_FOUND: Final = 0.6  # of those found anywhere
_NO_SHIFT, _NO_ZOOM = 0.25, 0.0015  # pixels, and gain: a quarter of what is a finding by default
_APART: Final = 40.0  # pixels between two blocks that may tell a zoom
_ZOOM_TO_WARP: Final = 0.03
_KEYPOINTS: Final = 800
_KEYPOINT_RATIO: Final = 0.75
_STRONGEST_ZOOM: Final = 3.0
_MOST_TURNED: Final = math.radians(8)
_STRUCTURE: Final = (64, 48)
_COMMON_WEIGHT: Final = 2.5  # a third of the blocks found in place is as good as a full correlation


class _Grid(msgspec.Struct, frozen=True):
    """How blocks are laid and sought; all in pixels but ``score``, the least correlation that counts."""

    block: int
    step: int
    reach: int
    tolerance: float
    score: float


_WIDE = _Grid(block=28, step=14, reach=18, tolerance=1.5, score=0.45)
_NARROW = _Grid(block=24, step=16, reach=4, tolerance=0.6, score=0.4)
_SPARSE = _Grid(block=24, step=32, reach=4, tolerance=0.6, score=0.4)


class _Model(msgspec.Struct, frozen=True):
    """``moved = gain * place + base`` for each axis, in pixels."""

    gain: Numbers
    base: Numbers

    def moves(self, places: Numbers) -> Numbers:
        """How far each of these places moves."""
        return np.asarray(places * self.gain + self.base, np.float64)

    def after(self, first: _Model) -> _Model:
        """This move behind another one."""
        return _Model((1 + self.gain) * (1 + first.gain) - 1, (1 + self.gain) * first.base + self.base)


class _Found(msgspec.Struct, frozen=True):
    """A model with the blocks that follow it, of how many, and its standard errors in pixels and as a gain."""

    model: _Model
    agreeing: int
    blocks: int
    doubt_shift: float = 0.0
    doubt_zoom: float = 0.0


class _Blocks(msgspec.Struct, frozen=True):
    """Centres of blocks in the control, how far each moved (pixels), and how well it was found (-1..1)."""

    centres: Numbers
    moves: Numbers
    scores: Numbers


def overlay(control: Grey, target: Grey, check: Callable[[], None] = lambda: None) -> Overlay:
    """Lay ``target`` over ``control``; both are grey and of the same size, `FINE` pixels at the longest edge. ``check``
    is called between its parts, of some hundredths of a second each, and may raise."""
    still = _Model(np.zeros(2), np.zeros(2))
    lines = edges(control), edges(target)
    best = _Found(still, 0, 0)
    for grid in (_SPARSE, _NARROW):  # a quarter of the blocks mostly tells
        blocks = _match(*lines, still, grid)
        best = _agree(blocks, grid)
        if _lies_still(best, blocks, grid):
            return _described(control, target, best)
        check()
    if best.agreeing * _CLEARLY_MORE + 2 < best.blocks:  # else no other move can explain clearly more of them
        coarse = _coarse_model(control, target)
        if np.abs(coarse.base).max() > 1 or np.abs(coarse.gain).max() > 0.01:
            best = _better(best, _refine(control, target, coarse))
        check()
    if best.agreeing < _ENOUGH or best.agreeing < 0.12 * best.blocks:
        wide = _keypoint_model(control, target)
        check()
        if wide is not None:
            best = _better(best, _refine(control, target, wide))
    if best.agreeing < _ENOUGH:
        best = _Found(still, best.agreeing, best.blocks)
    return _described(control, target, best)


def _lies_still(found: _Found, blocks: _Blocks, grid: _Grid) -> bool:
    """Whether the target certainly lies where it should: most of the blocks that are found agree, on far less of a move
    than anybody would mind."""
    if found.agreeing < max(_CERTAIN, _MOST_FOUND * float((blocks.scores >= grid.score).sum())):
        return False
    return float(np.abs(found.model.base).max()) < _NO_SHIFT and float(np.abs(found.model.gain).max()) < _NO_ZOOM


def edges(grey: Grey) -> Edges:
    """Strength of edges, the strong ones damped."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    across, down = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    return np.asarray(np.sqrt(cv2.magnitude(across, down)), np.float32)


def _described(control: Grey, target: Grey, found: _Found) -> Overlay:
    size = np.array([control.shape[1], control.shape[0]], np.float64)
    scale, offset = 1 + found.model.gain, found.model.base / size
    common = max(0, found.agreeing - _FEWEST) / max(1, found.blocks)
    aligned = target if not found.model.base.any() else _warped(target, found.model)
    likeness = min(1.0, max(_COMMON_WEIGHT * common, _structure(control, target), _structure(control, aligned)))
    return Overlay(
        scale_x=float(scale[0]),
        scale_y=float(scale[1]),
        offset_x=float(offset[0]),
        offset_y=float(offset[1]),
        common=common,
        agreeing=found.agreeing,
        likeness=likeness,
        doubt_shift=found.doubt_shift / max(control.shape),
        doubt_zoom=found.doubt_zoom,
    )


def _better(one: _Found, other: _Found) -> _Found:
    return other if other.agreeing > one.agreeing * _CLEARLY_MORE + 2 else one


def _structure(control: Grey, target: Grey) -> float:
    """Correlation (0..1) of where edges are, coarsely and without what is edgy as a whole."""
    planes = []
    for picture in (control, target):
        small = cv2.resize(edges(_resized(picture, _COARSE)), _STRUCTURE, interpolation=cv2.INTER_AREA)
        plane = small - cv2.GaussianBlur(small, (0, 0), 4)
        planes.append(plane - plane.mean())
    weight = math.sqrt(float((planes[0] ** 2).sum()) * float((planes[1] ** 2).sum()))
    return max(0.0, float((planes[0] * planes[1]).sum()) / weight) if weight > 1e-6 else 0.0


def _resized(grey: Grey, longest: int) -> Grey:
    factor = longest / max(grey.shape)
    size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def _coarse_model(control: Grey, target: Grey) -> _Model:
    still = _Model(np.zeros(2), np.zeros(2))
    blocks = _match(edges(_resized(control, _COARSE)), edges(_resized(target, _COARSE)), still, _WIDE)
    found = _agree(blocks, _WIDE)
    return _Model(found.model.gain, found.model.base * max(control.shape) / _COARSE)


def _warped(target: Grey, model: _Model) -> Grey:
    """The target in the control's frame."""
    matrix = np.array([[1 + model.gain[0], 0, model.base[0]], [0, 1 + model.gain[1], model.base[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = (target.shape[1], target.shape[0])
    return np.asarray(cv2.warpAffine(target, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _refine(control: Grey, target: Grey, model: _Model) -> _Found:
    if np.abs(model.gain).max() <= _ZOOM_TO_WARP:
        return _agree(_match(edges(control), edges(target), model, _NARROW), _NARROW)
    # Blocks of another scale do not correlate: bring the target into the control's frame first.
    still = _Model(np.zeros(2), np.zeros(2))
    found = _agree(_match(edges(control), edges(_warped(target, model)), still, _NARROW), _NARROW)
    return msgspec.structs.replace(found, model=model.after(found.model))


def _match(first: Edges, second: Edges, model: _Model, grid: _Grid) -> _Blocks:
    """Each textured block of ``first``, sought in ``second`` round where the model expects it."""
    height, width = first.shape
    textured = _spread(first, grid) > _TEXTURE * float(first.std())
    (gain_x, gain_y), (base_x, base_y) = model.gain.tolist(), model.base.tolist()
    half, wide = grid.block / 2, grid.block + 2 * grid.reach
    # Windows that reach over the border are filled up by what stands there: all have one size.
    far = grid.reach
    around = cv2.copyMakeBorder(second, far, far, far, far, cv2.BORDER_REPLICATE)
    centres, corners, scored = [], [], []
    for x, y in _corners(width, height, grid):
        if not textured[y // grid.step, x // grid.step]:
            continue
        right_by = round((x + half) * gain_x + base_x)
        down_by = round((y + half) * gain_y + base_y)
        left, top = x + right_by, y + down_by  # in what has a border: reach pixels further left and up
        if not (0 <= left <= width - grid.block and 0 <= top <= height - grid.block):
            continue
        patch = first[y : y + grid.block, x : x + grid.block]
        scored.append(cv2.matchTemplate(around[top : top + wide, left : left + wide], patch, cv2.TM_CCOEFF_NORMED))
        centres.append((x + half, y + half))
        corners.append((right_by - grid.reach, down_by - grid.reach))
    if not scored:
        return _Blocks(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
    return _best_places(np.array(centres, np.float64), np.array(corners, np.float64), np.stack(scored))


def _best_places(centres: Numbers, corners: Numbers, scored: Edges) -> _Blocks:
    """Where each block was found best, between pixels: the top of a parabola in either direction."""
    count, high, wide = scored.shape
    flat = scored.reshape(count, -1)
    at = flat.argmax(axis=1)
    each, down, across = np.arange(count), at // wide, at % wide
    best = flat[each, at]
    moves = corners.copy()
    strips = scored[each, down, :], scored[each, :, across]
    for axis, (place, most, strip) in enumerate(zip((across, down), (wide, high), strips, strict=True)):
        inside = (place > 0) & (place < most - 1)
        middle = np.clip(place, 1, most - 2)
        before, here, after = (strip[each, middle + step].astype(np.float64) for step in (-1, 0, 1))
        bend = before - 2 * here + after
        moves[:, axis] += place + np.where(inside & (bend < 0), 0.5 * (before - after) / np.where(bend < 0, bend, 1), 0)
    return _Blocks(centres, moves, best.astype(np.float64))


def _spread(plane: Edges, grid: _Grid) -> Numbers:
    """The standard deviation of each block of the grid, down and across."""
    sums, squares = cv2.integral2(plane, sdepth=cv2.CV_64F)
    size, step = grid.block, grid.step

    def inside(table: Any) -> Any:
        before, after = table[:-size:step, :], table[size::step, :]
        return after[:, size::step] - before[:, size::step] - after[:, :-size:step] + before[:, :-size:step]

    mean = inside(sums) / (size * size)
    return np.asarray(np.sqrt(np.maximum(inside(squares) / (size * size) - mean * mean, 0.0)), np.float64)


def _corners(width: int, height: int, grid: _Grid) -> Iterator[tuple[int, int]]:
    for y in range(0, height - grid.block + 1, grid.step):
        for x in range(0, width - grid.block + 1, grid.step):
            yield x, y


def _agree(blocks: _Blocks, grid: _Grid) -> _Found:
    """The shift and zoom that most blocks follow."""
    good = blocks.scores >= grid.score
    places, moves = blocks.centres[good], blocks.moves[good]
    if len(places) < _FEWEST:
        return _found(places[:0], moves[:0], len(blocks.scores), zooms=False)
    follow = _following(places, moves, grid.tolerance, zooms=True)
    if np.abs(_fit(places[follow], moves[follow]).gain).max() >= _NO_ZOOM:
        # Few blocks follow some zoom or other by chance: it must explain clearly more than a shift alone.
        shifted = _following(places, moves, grid.tolerance, zooms=False)
        if follow.sum() <= shifted.sum() * _CLEARLY_MORE + 2:
            return _found(places[shifted], moves[shifted], len(blocks.scores), zooms=False)
    return _found(places[follow], moves[follow], len(blocks.scores), zooms=True)


def _following(places: Numbers, moves: Numbers, tolerance: float, *, zooms: bool) -> Mask:
    """Which blocks follow one move, of as many as there can be."""
    if not zooms:
        inside = np.abs(moves[:, None] - moves[None]).max(axis=2) <= tolerance
        inside = inside[int(inside.sum(axis=1).argmax())]
    else:
        inside = _consensus(places, moves, tolerance)
    for _ in range(3):
        if inside.sum() < _FEWEST:
            break
        model = _fit(places[inside], moves[inside], zooms=zooms)
        inside = np.abs(model.moves(places) - moves).max(axis=1) <= tolerance
    return np.asarray(inside, bool)


def _found(places: Numbers, moves: Numbers, blocks: int, *, zooms: bool) -> _Found:
    """The move of blocks that follow one."""
    if len(places) < _FEWEST:
        return _Found(_Model(np.zeros(2), np.zeros(2)), 0, blocks)
    model = _fit(places, moves, zooms=zooms)
    left = (model.moves(places) - moves).std(axis=0)
    doubt_shift = float((left / math.sqrt(len(places))).max())
    wide = np.maximum(np.sqrt(((places - places.mean(axis=0)) ** 2).sum(axis=0)), 1.0)
    return _Found(model, len(places), blocks, doubt_shift, float((left / wide).max()))


def _consensus(places: Numbers, moves: Numbers, tolerance: float) -> Mask:
    """Which blocks follow the move of the two that most follow; the pairs tried are the same each time."""
    one, other = np.random.default_rng(7).integers(0, len(places), (300, 2)).T
    apart = places[other] - places[one]
    far = np.abs(apart) >= _APART
    gain = np.where(far, (moves[other] - moves[one]) / np.where(far, apart, 1.0), 0.0)
    base = moves[one] - gain * places[one]
    inside = np.ones((300, len(places)), bool)
    for axis in range(2):
        inside &= np.abs(np.outer(gain[:, axis], places[:, axis]) + base[:, axis, None] - moves[:, axis]) <= tolerance
    return np.asarray(inside[int(inside.sum(axis=1).argmax())], bool)


def _fit(places: Numbers, moves: Numbers, *, zooms: bool = True) -> _Model:
    """Least squares for each axis; of a shift alone where it does not zoom."""
    gain, base = np.zeros(2), np.zeros(2)
    for axis in range(2):
        spread = places[:, axis] - places[:, axis].mean()
        weight = float((spread**2).sum())
        gain[axis] = float((spread * moves[:, axis]).sum()) / weight if zooms and weight > 100 else 0.0
        base[axis] = float(moves[:, axis].mean() - gain[axis] * places[:, axis].mean())
    return _Model(gain, base)


def _keypoint_model(control: Grey, target: Grey) -> _Model | None:
    """Shift and zoom too strong for blocks, from SIFT key points; None when the pictures share none."""
    sift = cv2.SIFT_create(nfeatures=_KEYPOINTS)  # type: ignore[attr-defined] # missing in some releases' stubs
    points, words = sift.detectAndCompute(control, None)
    others, other_words = sift.detectAndCompute(target, None)
    if min(len(points), len(others)) < _ENOUGH:
        return None
    matches = cv2.BFMatcher(cv2.NORM_L2).knnMatch(words, other_words, k=2)
    pairs = [pair[0] for pair in matches if len(pair) == 2 and pair[0].distance < _KEYPOINT_RATIO * pair[1].distance]
    if len(pairs) < _ENOUGH:
        return None
    places = np.array([points[pair.queryIdx].pt for pair in pairs], np.float64)
    found = np.array([others[pair.trainIdx].pt for pair in pairs], np.float64)
    matrix: Any
    matrix, kept = cv2.estimateAffinePartial2D(places, found, method=cv2.RANSAC, ransacReprojThreshold=3.0)
    if matrix is None or int(kept.sum()) < _ENOUGH or abs(math.atan2(matrix[1, 0], matrix[0, 0])) > _MOST_TURNED:
        return None
    inside = kept.ravel().astype(bool)
    model = _fit(places[inside], (found - places)[inside])
    scale = 1 + model.gain
    return model if scale.min() > 1 / _STRONGEST_ZOOM and scale.max() < _STRONGEST_ZOOM else None
