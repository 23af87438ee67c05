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

FINE: Final = 512
"""Longest edge in pixels at which positions are measured."""

_COARSE: Final = 128
_TEXTURE: Final = 0.25  # a block's contrast of edges, as a part of the whole picture's: flat blocks lie anywhere
_FEWEST: Final = 4  # blocks that agree by chance
_ENOUGH: Final = 8  # unrelated pictures have at most six
_CLEARLY_MORE: Final = 1.2  # a move must explain so many times more blocks than no move
_CERTAIN: Final = 16  # blocks of the sparse look that must agree
_NEARLY_ALL: Final = 0.7
_NO_SHIFT, _NO_ZOOM = 0.5, 0.0015  # pixels, and gain: a quarter of what is a finding by default
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
_NARROW = _Grid(block=48, step=32, reach=7, tolerance=1.2, score=0.4)
_SPARSE = _Grid(block=48, step=64, reach=7, tolerance=1.2, score=0.4)


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
    first = _agree(_match(*lines, still, _SPARSE), _NARROW)
    if _lies_still(first):
        return _described(control, target, first)
    check()
    best = _agree(_match(*lines, still, _NARROW), _NARROW)
    check()
    if best.agreeing * _CLEARLY_MORE + 2 < best.blocks:  # else no other move can explain clearly more of them
        coarse = _coarse_model(control, target)
        if np.abs(coarse.base).max() > 2 or np.abs(coarse.gain).max() > 0.01:
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


def _lies_still(found: _Found) -> bool:
    """Whether a look at a quarter of the blocks tells that the target lies where it should: nearly all of many agree,
    and on far less of a move than anybody would mind."""
    if found.agreeing < _CERTAIN or found.agreeing < _NEARLY_ALL * found.blocks:
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
    floor = _TEXTURE * float(first.std())
    textured = _spread(first, grid)
    gain, offset = model.gain.tolist(), model.base.tolist()
    centres, moves, scores = [], [], []
    for x, y in _corners(width, height, grid):
        patch = first[y : y + grid.block, x : x + grid.block]
        if textured[y // grid.step, x // grid.step] <= floor:
            continue
        centre = (x + grid.block / 2, y + grid.block / 2)
        right_by, down_by = (round(at * by + base) for at, by, base in zip(centre, gain, offset, strict=True))
        left, top = max(0, x + right_by - grid.reach), max(0, y + down_by - grid.reach)
        right = min(width, x + right_by + grid.block + grid.reach)
        bottom = min(height, y + down_by + grid.block + grid.reach)
        if right - left < grid.block or bottom - top < grid.block:
            continue
        scored = cv2.matchTemplate(second[top:bottom, left:right], patch, cv2.TM_CCOEFF_NORMED)
        _, best, _, place = cv2.minMaxLoc(scored)
        centres.append(centre)
        moves.append([left - x + _peak(scored[place[1], :], place[0]), top - y + _peak(scored[:, place[0]], place[1])])
        scores.append(best)
    places = np.array(centres, np.float64).reshape(-1, 2)
    return _Blocks(places, np.array(moves, np.float64).reshape(-1, 2), np.array(scores, np.float64))


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


def _peak(scores: Any, at: int) -> float:
    """The place of the best score between pixels: the top of a parabola."""
    if not 0 < at < len(scores) - 1:
        return float(at)
    before, here, after = (float(scores[at + step]) for step in (-1, 0, 1))
    bend = before - 2 * here + after
    return at + (0.5 * (before - after) / bend if bend < 0 else 0.0)


def _agree(blocks: _Blocks, grid: _Grid) -> _Found:
    """The shift and zoom that most blocks follow."""
    still = _Found(_Model(np.zeros(2), np.zeros(2)), 0, len(blocks.scores))
    good = blocks.scores >= grid.score
    places, moves = blocks.centres[good], blocks.moves[good]
    if len(places) < _FEWEST:
        return still
    inside = _consensus(places, moves, grid.tolerance)
    for _ in range(3):
        if inside.sum() < _FEWEST:
            return still
        model = _fit(places[inside], moves[inside])
        inside = np.abs(model.moves(places) - moves).max(axis=1) <= grid.tolerance
    if inside.sum() < _FEWEST:
        return still
    model = _fit(places[inside], moves[inside])
    left = (model.moves(places[inside]) - moves[inside]).std(axis=0)
    doubt_shift = float((left / math.sqrt(inside.sum())).max())
    wide = np.maximum(np.sqrt(((places[inside] - places[inside].mean(axis=0)) ** 2).sum(axis=0)), 1.0)
    return _Found(model, int(inside.sum()), len(blocks.scores), doubt_shift, float((left / wide).max()))


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


def _fit(places: Numbers, moves: Numbers) -> _Model:
    """Least squares for each axis."""
    gain, base = np.zeros(2), np.zeros(2)
    for axis in range(2):
        spread = places[:, axis] - places[:, axis].mean()
        weight = float((spread**2).sum())
        gain[axis] = float((spread * moves[:, axis]).sum()) / weight if weight > 100 else 0.0
        base[axis] = float(moves[:, axis].mean() - gain[axis] * places[:, axis].mean())
    return _Model(gain, base)


def _keypoint_model(control: Grey, target: Grey) -> _Model | None:
    """Shift and zoom too strong for blocks, from SIFT key points; None when the pictures share none."""
    sift = cv2.SIFT_create(nfeatures=_KEYPOINTS)  # type: ignore[attr-defined] # missing in some releases' stubs
    halves = [_resized(grey, FINE // 2) for grey in (control, target)]  # a quarter of the time; blocks refine it
    points, words = sift.detectAndCompute(halves[0], None)
    others, other_words = sift.detectAndCompute(halves[1], None)
    if min(len(points), len(others)) < _ENOUGH:
        return None
    matches = cv2.BFMatcher(cv2.NORM_L2).knnMatch(words, other_words, k=2)
    pairs = [pair[0] for pair in matches if len(pair) == 2 and pair[0].distance < _KEYPOINT_RATIO * pair[1].distance]
    if len(pairs) < _ENOUGH:
        return None
    factor = max(control.shape) / (FINE // 2)
    places = np.array([points[pair.queryIdx].pt for pair in pairs], np.float64) * factor
    found = np.array([others[pair.trainIdx].pt for pair in pairs], np.float64) * factor
    matrix: Any
    matrix, kept = cv2.estimateAffinePartial2D(places, found, method=cv2.RANSAC, ransacReprojThreshold=3.0)
    if matrix is None or int(kept.sum()) < _ENOUGH or abs(math.atan2(matrix[1, 0], matrix[0, 0])) > _MOST_TURNED:
        return None
    inside = kept.ravel().astype(bool)
    model = _fit(places[inside], (found - places)[inside])
    scale = 1 + model.gain
    return model if scale.min() > 1 / _STRONGEST_ZOOM and scale.max() < _STRONGEST_ZOOM else None
