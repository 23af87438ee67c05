"""How well preflight finds what spoils a set, and how often it blames a good pair: a set made with faults in a quarter.

Run ``python -m tests.bench.preflight [PAIRS]`` from the root; prints a table in Markdown. With ``[PAIRS] BEFORE``, the
root of a checkout of other code, both look through the set, part by part in turns, and what either finds is compared.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np
from PIL import Image

from engine.dataset.findings import FindingKind
from engine.dataset.measure import Measurer, can_register
from engine.dataset.measurement_cache import MeasurementCache
from engine.dataset.pairs import ControlFile, Pair, Provenance, TargetFile
from engine.dataset.preflight import Preflight, Wanted, inspect
from engine.dataset.split import Side, SplitRule, split
from tests.bench import edits
from tests.bench.scenes import Picture, Rng, Scene, make_scene
from tests.support.files import sha256_of

PAIRS: Final = 640
FAULTS: Final = (
    FindingKind.SAME_TARGET, FindingKind.NO_CHANGE, FindingKind.HARDLY_CHANGED, FindingKind.BLANK, FindingKind.ASPECT,
    FindingKind.SIZE, FindingKind.SHIFTED, FindingKind.ZOOMED, FindingKind.UNRELATED, FindingKind.SPLIT_TWIN,
    FindingKind.NO_CAPTION, FindingKind.SOURCE_MISSING, FindingKind.SOURCE_CHANGED, FindingKind.UNREADABLE,
)  # fmt: skip
ROOT: Final = Path(__file__).resolve().parents[2]
SPLIT: Final = SplitRule(validation=0.2, seed=11)
_EVERY: Final = 4  # one pair in so many is spoilt


class Made(msgspec.Struct, frozen=True):
    """A pair with what was done to it."""

    pair: Pair
    fault: FindingKind | None
    edit: str


def make_set(folder: Path, count: int, every: int = _EVERY) -> list[Made]:
    """``count`` pairs in ``folder``, one in ``every`` with a fault, the kinds in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    # Spawned: OpenCV and pytest have threads, and a fork of a process with threads may wait for ever for their locks.
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        made = list(pool.map(_make, [folder] * count, range(count), [every] * count, chunksize=4))
    return _twins(made, folder)


def _make(folder: Path, number: int, every: int) -> Made:
    cv2.setNumThreads(1)
    rng = np.random.default_rng(number)
    fault = FAULTS[number // every % len(FAULTS)] if number % every == 0 else None
    edit = edits.EDITS[number % len(edits.EDITS)]
    scene = make_scene(number)
    if fault is FindingKind.SPLIT_TWIN:
        fault = None  # made at the end, when the sides are known
    kind = ("jpg", "png", "webp")[number % 3]
    source = folder / f"{number:05}_start.{kind}"
    _write(source, scene.picture, int(rng.integers(85, 97)))
    sent = sha256_of(source)
    target = _spoilt(rng, scene, edit(rng, scene), fault)
    path = folder / f"{number:05}_end.{('png', 'jpg', 'webp')[number // 3 % 3]}"
    _write_target(path, source, target, rng, fault)
    if fault is FindingKind.SOURCE_MISSING:
        source.unlink()
    if fault is FindingKind.SOURCE_CHANGED:
        _write(source, make_scene(number + 5_000_000).picture, 90)
    height, width = target.shape[:2]
    pair = Pair(
        id=f"r{number}",
        task_id=f"t{number}",
        name=source.name,
        controls=(ControlFile(str(source), sent),),
        target=TargetFile(str(path), sha256_of(path), path.suffix[1:], width, height),
        provenance=Provenance(prompt="" if fault is FindingKind.NO_CAPTION else f"make it {edit.__name__}"),
    )
    return Made(pair, fault, edit.__name__)


def _spoilt(rng: Rng, scene: Scene, edited: Picture, fault: FindingKind | None) -> Picture:
    height, width = edited.shape[:2]
    match fault:
        case FindingKind.SAME_TARGET:
            return make_scene(9_000_000).picture
        case FindingKind.NO_CHANGE:
            return scene.picture
        case FindingKind.HARDLY_CHANGED:
            return _resized(scene.picture, float(rng.choice([0.7, 0.999, 1.3])))
        case FindingKind.BLANK:
            return edits.blank(rng, (width, height))
        case FindingKind.ASPECT:
            return edits.other_shape(rng, edited)
        case FindingKind.SIZE:
            return _resized(edited, float(rng.choice([0.5, 0.75, 0.9, 1.1, 1.5])))
        case FindingKind.SHIFTED:
            return edits.moved(rng, scene, edited)
        case FindingKind.ZOOMED:
            return edits.zoomed(rng, scene, edited)
        case FindingKind.UNRELATED:
            return edits.unrelated(rng, (width, height))
    return edited


def _resized(picture: Picture, factor: float) -> Picture:
    height, width = picture.shape[:2]
    size = (round(width * factor), round(height * factor))
    return np.asarray(
        cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC), np.uint8
    )


def _write_target(path: Path, source: Path, target: Picture, rng: Rng, fault: FindingKind | None) -> None:
    if fault is FindingKind.NO_CHANGE:
        path.write_bytes(source.read_bytes())
    elif fault is FindingKind.SAME_TARGET:
        Image.fromarray(target).save(path, "PNG")
    elif fault is FindingKind.UNREADABLE:
        _write(path, target, 90)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        _write(path, target, int(rng.integers(60, 97)))


def _write(path: Path, picture: Picture, quality: int) -> None:
    image = Image.fromarray(picture)
    match path.suffix:
        case ".jpg":
            image.save(path, "JPEG", quality=quality)
        case ".webp":
            image.save(path, "WEBP", quality=quality, method=2)
        case _:
            image.save(path, "PNG", compress_level=1)


def _twins(made: list[Made], folder: Path) -> list[Made]:
    """Some good pairs get a source that another pair has too: smaller, cropped or brighter. Planted are those that are
    kept for validation while the other is trained on; the rest of them are no fault."""
    rng = np.random.default_rng(1)
    good = [at for at, one in enumerate(made) if one.fault is None]
    models: dict[int, int] = {}
    for at, model in zip(good[: len(made) // 8], reversed(good), strict=False):
        pair = made[at].pair
        path = folder / f"{at:05}_twin.jpg"
        _write(path, _disguised(rng, np.asarray(Image.open(made[model].pair.control.path).convert("RGB"))), 80)
        scene = Scene(np.asarray(Image.open(path).convert("RGB")), np.zeros((1, 1), np.float32))
        _write(Path(pair.target.path), edits.recolour(rng, scene), 90)
        target = msgspec.structs.replace(pair.target, hash=sha256_of(Path(pair.target.path)))
        twin = msgspec.structs.replace(pair, controls=(ControlFile(str(path), sha256_of(path)),), target=target)
        made[at], models[at] = Made(twin, None, "recolour"), model
    sides = split([one.pair for one in made], SPLIT)
    for at, model in models.items():
        planted = [(at, model), (model, at)]
        for kept, trained in planted:
            if sides[kept] is Side.VALIDATION and sides[trained] is Side.TRAIN:
                made[kept] = msgspec.structs.replace(made[kept], fault=FindingKind.SPLIT_TWIN)
    return made


def _disguised(rng: Rng, picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    match int(rng.integers(3)):
        case 0:
            return _resized(picture, 0.6)
        case 1:
            cut = int(width * 0.012)
            return picture[cut : height - cut, cut : width - cut]
    return np.asarray(np.clip(picture * 1.06 + 4.0, 0, 255), np.uint8)


def score(made: list[Made], report: Preflight) -> list[tuple[FindingKind, int, int, int, int]]:
    """For each kind: planted, found among them, good pairs, good pairs blamed for it."""
    found: dict[str, set[FindingKind]] = defaultdict(set)
    for finding in report.findings:
        found[finding.pair_id].add(finding.kind)
    good = [one for one in made if one.fault is None]
    rows = []
    for kind in FAULTS:
        planted = [one for one in made if one.fault is kind]
        hits = sum(kind in found[one.pair.id] for one in planted)
        rows.append((kind, len(planted), hits, len(good), sum(kind in found[one.pair.id] for one in good)))
    return rows


_PARTS: Final = 10
_NEW_KINDS: Final = frozenset(
    {FindingKind.COLOUR_DRIFT, FindingKind.CONTENT_DRIFT, FindingKind.BUCKET_LOSS}
    | {FindingKind.TRANSPARENT, FindingKind.PROFILE, FindingKind.DEPTH}
)


class Looked(msgspec.Struct, frozen=True):
    """What a side says of a part: seconds by the clock and of the processor, and kinds by pair."""

    first: tuple[float, float]
    again: tuple[float, float]
    found: dict[str, list[str]]


def beside(made: list[Made], folder: Path, before: Path) -> None:
    """Let both codes look through the parts of a set in turns, the one that begins changing; print what they took."""
    sides = {"before": _side(before), "now": _side(ROOT)}
    took: dict[str, list[Looked]] = {name: [] for name in sides}
    for number in range(_PARTS):
        pairs = folder / f"part_{number}.json"
        pairs.write_bytes(msgspec.json.encode([one.pair for one in made[number::_PARTS]]))
        for name in sides if number % 2 else reversed(sides):
            work = folder / f"{name}_{number}"
            work.mkdir()
            took[name].append(_ask(sides[name], f"{pairs} {work}\n"))
    for process in sides.values():
        process.communicate()
    for what, place in (("by the clock", 0), ("of the processor", 1)):
        ratios = [old.first[place] / new.first[place] for old, new in zip(took["before"], took["now"], strict=True)]
        whole = {name: sum(part.first[place] for part in parts) for name, parts in took.items()}
        shown = f"{whole['before']:.1f} s before, {whole['now']:.1f} s now: {whole['before'] / whole['now']:.2f} times"
        shown += f"; of parts {min(ratios):.2f} to"
        sys.stdout.write(f"seconds {what}: {shown} {max(ratios):.2f}, median {statistics.median(ratios):.2f}\n")
    planted = {one.pair.id: one.fault for one in made}
    apart = 0
    for old, new in zip(took["before"], took["now"], strict=True):
        for pair in sorted(old.found.keys() | new.found.keys()):
            was, now = set(old.found.get(pair, [])), set(new.found.get(pair, [])) - {str(one) for one in _NEW_KINDS}
            if was != now:
                apart += 1
                sys.stdout.write(f"{pair}, planted {planted[pair]}: {sorted(was)} before, {sorted(now)} now\n")
    sys.stdout.write(f"pairs of which they find something else: {apart} of {len(made)}\n")


def _side(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("preflight_side.py"))],
        env={**os.environ, "PYTHONPATH": str(root)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def _ask(process: subprocess.Popen[str], line: str) -> Looked:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line)
    process.stdin.flush()
    return msgspec.json.decode(process.stdout.readline(), type=Looked)


def main(count: int, before: Path | None) -> None:
    """Make the set; look through it twice and print the table, or compare."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = make_set(folder / "set", count)
        if before is None:
            alone(made, folder)
        else:
            beside(made, folder, before)


def alone(made: list[Made], folder: Path) -> None:
    """Look through a set twice and print the table."""
    pairs = [one.pair for one in made]
    cache = MeasurementCache(folder / "notes.db")
    begun = time.monotonic()
    report = inspect(pairs, Wanted(split=SPLIT), Measurer(cache), registered=can_register())
    once = time.monotonic()
    inspect(pairs, Wanted(split=SPLIT), Measurer(cache), registered=can_register())
    times = once - begun, time.monotonic() - once
    cache.close()
    sys.stdout.write("| finding | planted | found | | good pairs | blamed | |\n|---|---|---|---|---|---|---|\n")
    for kind, planted, hits, good, blamed in score(made, report):
        share = f"{hits / planted:.1%}" if planted else ""
        sys.stdout.write(f"| {kind} | {planted} | {hits} | {share} | {good} | {blamed} | {blamed / good:.1%} |\n")
    sys.stdout.write(f"\n{len(made)} pairs: {times[0]:.1f} s, again {times[1]:.2f} s\n")
    for one in made:
        kinds = [finding for finding in report.findings if finding.pair_id == one.pair.id]
        wrong = bool(kinds) if one.fault is None else one.fault not in {finding.kind for finding in kinds}
        if wrong:
            shown = [(finding.kind.value, finding.number) for finding in kinds]
            sys.stderr.write(
                f"{one.pair.id} {one.edit} planted {one.fault}: {shown} {report.numbers.get(one.pair.id)}\n"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else PAIRS, Path(sys.argv[2]) if len(sys.argv) > 2 else None)
