"""How well preflight does on real pictures: good edits of each, and each fault in turn. Run
``python -m tests.bench.photographs FOLDER [FOLDER ...]`` from the root; prints a Markdown table.

Takes every picture of the folders with edges of 200 pixels at least, at most 1024 at the longest.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from PIL import Image

from engine.dataset.findings import FindingKind
from engine.dataset.measure import Measurer, can_register
from engine.dataset.measurement_cache import MeasurementCache
from engine.dataset.pairs import ControlFile, Pair, Provenance
from engine.dataset.preflight import Wanted, inspect
from engine.errors import PictureRejected
from engine.formats import SUFFIXES
from engine.images.pixels import Alpha, rendered
from tests.bench import drift, edits
from tests.bench.scenes import Picture, Rng, Scene
from tests.support.sets import write_target

_LEAST: Final = 200
_LONGEST: Final = 1024
_PLACE: Final = frozenset({FindingKind.SHIFTED, FindingKind.ZOOMED})
_DRIFT: Final = frozenset({FindingKind.COLOUR_DRIFT, FindingKind.CONTENT_DRIFT})
_TOLD: Final = {
    "shifted": frozenset({FindingKind.SHIFTED}),
    "zoomed": frozenset({FindingKind.ZOOMED}),
    "another picture": frozenset({FindingKind.UNRELATED}),
    "changed outside the edit": _DRIFT,
}
"""What each fault has to be called."""
_BLAME: Final = {
    "blamed for a shift or zoom": _PLACE,
    "for another scene": frozenset({FindingKind.UNRELATED}),
    "for a change outside the edit": _DRIFT,
    "for anything else that keeps it out": frozenset(
        {FindingKind.NO_CHANGE, FindingKind.HARDLY_CHANGED, FindingKind.BLANK}
    ),
}


def pictures(folders: list[Path]) -> Iterator[tuple[str, Scene]]:
    """Each with its name, and its middle as the foreground."""
    for path in sorted(one for folder in folders for one in folder.iterdir() if one.suffix.lower() in SUFFIXES):
        try:
            with rendered(path.read_bytes(), alpha=Alpha.WHITE) as image:
                if min(image.size) < _LEAST:
                    continue
                image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
                picture = np.asarray(image.convert("RGB"), np.uint8)
        except PictureRejected:
            continue
        height, width = picture.shape[:2]
        middle = np.zeros((height, width), np.float32)
        cv2.ellipse(middle, (width // 2, height // 2), (width // 4, height // 3), 0, 0, 360, 1.0, -1)
        yield path.name, Scene(picture, np.asarray(cv2.GaussianBlur(middle, (0, 0), 2), np.float32))


def results(rng: Rng, scene: Scene, other: Picture) -> Iterator[tuple[str, Picture]]:
    """What was planted, and the picture; ``other``: one of another thing."""
    for edit in edits.EDITS:
        done = edit(rng, scene)
        yield "good", done
        yield "shifted", edits.moved(rng, scene, done)
        yield "zoomed", edits.zoomed(rng, scene, done)
    height, width = scene.picture.shape[:2]
    yield "another picture", np.asarray(cv2.resize(other, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    grey = float(np.ptp(scene.picture.astype(np.int16), axis=2).mean()) < 1
    for number, change in enumerate(drift.CHANGES):
        if grey and change is drift.saturation:  # there is none
            continue
        yield "changed outside the edit", change(rng, (edits.added_thing, edits.local_repaint)[number % 2](rng, scene))


def main(folders: list[Path]) -> None:
    """Make the pairs, look, print the table and what was missed."""
    found = list(pictures(folders))
    planted: Counter[str] = Counter()
    told: Counter[str] = Counter()
    missed: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="photographs-") as place:
        cache = MeasurementCache(Path(place) / "measures.db")
        for number, (name, scene) in enumerate(found):
            rng = np.random.default_rng(number)
            source = Path(place) / f"{number}.png"
            Image.fromarray(scene.picture).save(source, compress_level=1)
            made = list(results(rng, scene, found[number - 1][1].picture))
            pairs = [
                Pair(
                    id=str(which),
                    task_id=str(which),
                    name=name,
                    controls=(ControlFile(str(source)),),
                    target=write_target(Path(place) / f"{number} {which}.png", drift.sent_back(rng, picture)),
                    provenance=Provenance(prompt="x"),
                )
                for which, (_, picture) in enumerate(made)
            ]
            report = inspect(pairs, Wanted(), Measurer(cache), registered=can_register())
            for which, (kind, _) in enumerate(made):
                kinds = set(report.by_pair.get(str(which), ()))
                planted[kind] += 1
                names = [one for one, of in _BLAME.items() if kinds & of] if kind == "good" else []
                told.update(names)
                if kind != "good":
                    told[kind] += bool(kinds & _TOLD[kind])
                    names = [] if kinds & _TOLD[kind] else [kind]
                missed.update((one, name) for one in names)
        cache.close()
    sys.stdout.write(f"{len(found)} pictures\n\n| | pairs | found |\n|---|---|---|\n")
    for kind in _TOLD:
        sys.stdout.write(f"| {kind} | {planted[kind]} | {told[kind]} ({told[kind] / planted[kind]:.1%}) |\n")
    for kind in _BLAME:
        sys.stdout.write(
            f"| good pairs {kind} | {planted['good']} | {told[kind]} ({told[kind] / planted['good']:.1%}) |\n"
        )
    for (kind, name), count in sorted(missed.items()):
        sys.stderr.write(f"{kind}: {name} {count}\n")


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])
