"""How well preflight finds what changed where nobody asked: local edits whose outside was changed, and edits that are
as they should be. Run ``python -m tests.bench.drift [PAIRS [FIRST_SEED]]`` from the root; prints a Markdown table."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from PIL import Image

from engine.dataset.alignment import FINE, overlay
from engine.dataset.drift import drift
from engine.dataset.findings import Thresholds
from tests.bench import edits
from tests.bench.scenes import Picture, Rng, make_scene

PAIRS: Final = 140
Change = Callable[[Rng, Picture], Picture]


def brighter(rng: Rng, picture: Picture) -> Picture:
    """All of it lighter or darker."""
    return _bytes(picture + rng.choice([-1, 1]) * rng.uniform(6, 16))


def warmer(rng: Rng, picture: Picture) -> Picture:
    """The white balance moves."""
    return _bytes(picture + np.array([1, 0, -1]) * rng.choice([-1, 1]) * rng.uniform(6, 16))


def contrast(rng: Rng, picture: Picture) -> Picture:
    """More or less contrast."""
    middle = picture.mean()
    return _bytes((picture - middle) * (1 + rng.choice([-1, 1]) * rng.uniform(0.12, 0.3)) + middle)


def saturation(rng: Rng, picture: Picture) -> Picture:
    """More or less colour."""
    grey = picture.mean(axis=2, keepdims=True)
    return _bytes(grey + (picture - grey) * (1 + rng.choice([-1, 1]) * rng.uniform(0.2, 0.5)))


def softer(rng: Rng, picture: Picture) -> Picture:
    """Detail is smoothed away."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(1.4, 2.2)), np.uint8)


def painted_anew(rng: Rng, picture: Picture) -> Picture:
    """The same things, each detail a pixel or three from where it was."""
    height, width = picture.shape[:2]
    field = cv2.GaussianBlur(rng.normal(0, 1, (height, width, 2)).astype(np.float32), (0, 0), 6)
    field = np.asarray(field / field.std() * rng.uniform(1.2, 2.2), np.float32)
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    moved = cv2.remap(picture, xs + field[..., 0], ys + field[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(moved, np.uint8)


CHANGES: Final[tuple[Change, ...]] = (brighter, warmer, contrast, saturation, softer, painted_anew)
_LOCAL: Final = (edits.added_thing, edits.local_repaint)


def _bytes(picture: object) -> Picture:
    return np.asarray(np.clip(np.asarray(picture), 0, 255), np.uint8)


def is_blamed(source: Picture, target: Picture, limits: Thresholds) -> bool:
    """What preflight says of two pictures of one size."""
    one, other = (_small(picture) for picture in (source, target))
    grey = [np.asarray(Image.fromarray(p).convert("L")) for p in (one, other)]
    found = drift(one, other, overlay(grey[0], grey[1]))
    return found is not None and (found.colour >= limits.colour_drift or found.detail * 100 >= limits.content_drift)


def _small(picture: Picture) -> Picture:
    """As `measure` decodes it."""
    image = Image.fromarray(picture)
    image.thumbnail((FINE, FINE), Image.Resampling.HAMMING, reducing_gap=1.5)
    return np.asarray(image)


def sent_back(rng: Rng, picture: Picture) -> Picture:
    """As an API answers: compressed, or not."""
    buffer = io.BytesIO()
    kind = ("JPEG", "WEBP", "PNG")[int(rng.integers(3))]
    Image.fromarray(picture).save(buffer, kind, quality=int(rng.integers(60, 97)))
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


def main(count: int, first: int = 0) -> None:
    """Make the pairs, look, print the table."""
    cv2.setNumThreads(1)
    limits, planted, found = Thresholds(), Counter[str](), Counter[str]()
    for number in range(first, first + count):
        rng = np.random.default_rng(number)
        scene = make_scene(number)
        edit = edits.EDITS[number % len(edits.EDITS)]
        planted[f"good: {edit.__name__}"] += 1
        found[f"good: {edit.__name__}"] += is_blamed(scene.picture, sent_back(rng, edit(rng, scene)), limits)
        change = CHANGES[number % len(CHANGES)]
        spoilt = change(rng, _LOCAL[number % 2](rng, scene))
        planted[change.__name__] += 1
        found[change.__name__] += is_blamed(scene.picture, sent_back(rng, spoilt), limits)
    sys.stdout.write("| outside the edit | pairs | named |\n|---|---|---|\n")
    for name, of in sorted(planted.items()):
        sys.stdout.write(f"| {name} | {of} | {found[name]} |\n")
    for title, names in (("planted", [n for n in planted if ":" not in n]), ("good", [n for n in planted if ":" in n])):
        of, hits = sum(planted[n] for n in names), sum(found[n] for n in names)
        sys.stdout.write(f"| {title}, all | {of} | {hits} ({hits / of:.1%}) |\n")


if __name__ == "__main__":
    main(*(map(int, sys.argv[1:3]) if len(sys.argv) > 1 else (PAIRS,)))
