"""Do targets and controls still lie on each other after a trainer's own resizing and cutting? Pairs of uneven sizes
whose targets are their sources with a local edit, compared by phase correlation of what the trainer's code hands on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.dataset.export import SetPlan, export_set, wanted_for
from engine.dataset.findings import NOTES, Thresholds
from engine.dataset.layouts import LAYOUTS, Trainer
from engine.dataset.measure import Measurer
from engine.dataset.measurement_cache import MeasurementCache
from engine.dataset.pairs import ControlFile, Pair, Provenance
from engine.dataset.preflight import inspect
from engine.dataset.transform import PictureFormat, PictureRule, SizeRule, sized_for
from tests.bench.scenes import Picture, make_scene
from tests.support.sets import write_target

SIZES: Final = (
    (1080, 1350),
    (1999, 1333),
    (257, 391),
    (900, 300),
    (300, 900),
    (1023, 769),
    (640, 637),
    (1600, 1200),
    (768, 512),
)
_ANSWERS: Final = {(1600, 1200): (1024, 768), (1080, 1350): (864, 1080)}  # models that answer in a size of their own
# As they came, an answer of another size than its source may be cut otherwise than that.
RULES: Final = {
    "as they came": (PictureRule(format=PictureFormat.PNG, size=SizeRule.AS_IT_CAME), False),
    "the trainer's sizes, two answers of another size": (PictureRule(format=PictureFormat.PNG), True),
    "multiples of 64": (PictureRule(format=PictureFormat.PNG, size=SizeRule.MULTIPLE, size_value=64), True),
    "640 at the longest": (PictureRule(format=PictureFormat.PNG, size=SizeRule.LONGEST, size_value=640), True),
}
"""Each with whether some answers have a size of their own."""
SHIFT: Final = 0.5  # pixels of the target
CONTENT: Final = 0.9  # correlation of a control with its source
_SMALL: Final = 128

Grey = NDArray[np.float32]


class Seen(msgspec.Struct, frozen=True):
    """What a loader handed on for one pair."""

    side: str
    caption: str
    target: Path
    controls: tuple[Path, ...]


def made(place: Path, references: int, *, resized: bool) -> list[Pair]:
    """A pair for each of `SIZES`; references are mirrored others. ``resized``: some answers have their own size."""
    place.mkdir(parents=True)
    pictures = [_picture(number, size) for number, size in enumerate(SIZES)]
    pairs = []
    for number, (size, picture) in enumerate(zip(SIZES, pictures, strict=True)):
        result = picture.copy()
        part = result[size[1] // 2 : size[1] * 2 // 3, size[0] // 2 : size[0] * 2 // 3]
        part[:] = 255 - part
        if resized and size in _ANSWERS:
            result = np.asarray(cv2.resize(result, _ANSWERS[size], interpolation=cv2.INTER_AREA), np.uint8)
        controls = [place / f"{number:02} source {which}.png" for which in range(references + 1)]
        for path, one in zip(controls, (picture, pictures[number - 1][:, ::-1]), strict=False):
            Image.fromarray(one).save(path, compress_level=1)
        pairs.append(
            Pair(
                id=f"r{number}",
                task_id=f"t{number}",
                name=controls[0].name,
                controls=tuple(ControlFile(str(path)) for path in controls),
                target=write_target(place / f"{number:02} result.png", result),
                provenance=Provenance(prompt=f"另一个东西 {number:02}"),
            )
        )
    return pairs


def _picture(seed: int, size: tuple[int, int]) -> Picture:
    """A scene of half the size, enlarged, with a grain of single pixels."""
    scene = make_scene(seed + 300, (size[0] // 2, size[1] // 2)).picture
    grain = np.random.default_rng(seed).normal(0, 6, (size[1], size[0], 1))
    return np.clip(cv2.resize(scene, size, interpolation=cv2.INTER_CUBIC) + grain, 0, 255).astype(np.uint8)


def exported(pairs: Sequence[Pair], place: Path, trainer: str, rule: PictureRule) -> tuple[list[Pair], str, Path]:
    """The pairs that preflight lets through, why it refuses others, and the folder of the set, if there is any."""
    place.mkdir(parents=True)
    plan = SetPlan(trainer=Trainer(trainer), pictures=rule, path_root=place.as_posix())
    cache = MeasurementCache(place / "measures.db")
    report = inspect(pairs, wanted_for(plan, Thresholds()), Measurer(cache), registered=True)
    cache.close()
    passed = [pair for pair in pairs if pair.id not in report.bad]
    kinds = sorted({one.kind.value for one in report.findings if one.kind not in NOTES})
    told = f", {len(report.bad)} refused before: {', '.join(kinds)}" if kinds else ""
    return passed, told, Path(export_set(passed, plan, place, overlays={}).path) if passed else place


def judged(seen: Sequence[Seen], pairs: Sequence[Pair], trainer: str, rule: PictureRule) -> str:
    """Pairs whose caption, alignment and controls are right, for each way that the trainer reads them."""
    sources = {pair.provenance.prompt: pair for pair in pairs}
    every = {path: picture for pair in pairs for path, picture in _sources(pair, trainer, rule)}
    told, wrong = [], False
    for side in sorted({one.side for one in seen} or {"nothing"}):
        ours = [one for one in seen if one.side == side]
        shifts = [shift_of(_grey(one.target), _grey(one.controls[0])) for one in ours]
        likeness = [_likeness(one, sources[one.caption], every) if one.caption in sources else -1.0 for one in ours]
        good = {
            one.caption
            for one, (whole, _), alike in zip(ours, shifts, likeness, strict=True)
            if whole <= SHIFT and alike >= CONTENT
        }
        wrong = wrong or len(good) != len(pairs) or len(ours) != len(pairs)
        told.append(
            f"{side}: {len(good)} of {len(pairs)}, shifted {max((one for one, _ in shifts), default=0):.2f} px at most"
            f" ({max((one for _, one in shifts), default=0):.2f} in a quarter),"
            f" controls alike {min(likeness, default=0):.3f} at least"
        )
    return ("WRONG: " if wrong else "") + "; ".join(told)


def _sources(pair: Pair, trainer: str, rule: PictureRule) -> Iterator[tuple[str, Grey]]:
    """The source pictures of a pair as the rule cuts them."""
    paths = [pair.target.path, *(control.path for control in pair.controls)]
    pictures = [_grey(Path(path)) for path in paths]
    sizes = [(picture.shape[1], picture.shape[0]) for picture in pictures]
    boxes = [box for box, _ in sized_for(sizes, rule, LAYOUTS[Trainer(trainer)].reader)]
    for path, picture, box in list(zip(paths, pictures, boxes, strict=True))[1:]:
        left, top, right, bottom = map(round, box)
        yield path, picture[top:bottom, left:right]


def shift_of(target: Grey, control: Grey) -> tuple[float, float]:
    """How far the control lies beside the target, in pixels of the target: as a whole, and in its worst quarter."""
    height, width = target.shape
    if control.shape != target.shape:
        control = np.asarray(cv2.resize(control, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    across, down = width // 2, height // 2
    quarters = [(slice(y, y + down), slice(x, x + across)) for y in (0, down) for x in (0, across)]
    return _phase(target, control), max(_phase(target[one], control[one]) for one in quarters)


def _phase(one: Grey, other: Grey) -> float:
    """In pixels. OpenCV adds pixels up to a length that it likes, and is half a pixel off where that is an odd one."""
    tall, wide = (_even(edge) for edge in one.shape)
    one, other = one[:tall, :wide], other[:tall, :wide]
    window = cv2.createHanningWindow((one.shape[1], one.shape[0]), cv2.CV_32F)
    (x, y), _ = cv2.phaseCorrelate(np.ascontiguousarray(one), np.ascontiguousarray(other), window)
    return float(np.hypot(x, y))


def _even(edge: int) -> int:
    return next(n for n in range(edge - edge % 2, 0, -2) if cv2.getOptimalDFTSize(n) == n)


def _likeness(one: Seen, pair: Pair, every: Mapping[str, Grey]) -> float:
    """The least correlation of a control with its source picture; -1 where another picture is more like it."""
    if len(one.controls) != len(pair.controls):
        return -1.0
    least = 1.0
    for path, control in zip(one.controls, pair.controls, strict=True):
        got = _grey(path)
        found = {name: _alike(got, picture) for name, picture in every.items()}
        if max(found, key=lambda name: found[name]) != control.path:
            return -1.0
        least = min(least, found[control.path])
    return least


def _alike(control: Grey, source: Grey) -> float:
    """Correlation of a control with a source, brought to its shape as trainers do: stretched, or made to cover it and
    cut, wherever the cut is most like it."""
    height, width = control.shape
    scale = _SMALL / max(height, width)
    small = _resized(control, width * scale, height * scale)
    height, width = small.shape
    cover = max(height / source.shape[0], width / source.shape[1])
    covering = _resized(source, max(width, source.shape[1] * cover), max(height, source.shape[0] * cover))
    return max(
        float(cv2.matchTemplate(whole, small, cv2.TM_CCOEFF_NORMED).max())
        for whole in (_resized(source, width, height), covering)
    )


def _resized(picture: Grey, width: float, height: float) -> Grey:
    return np.asarray(cv2.resize(picture, (round(width), round(height)), interpolation=cv2.INTER_AREA), np.float32)


def _grey(path: Path) -> Grey:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"), np.float32)
