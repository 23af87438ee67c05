"""Awkward pictures in sets for every trainer: each export loads, or is refused before with the reason, and no pair is
anything but what the review showed."""

from __future__ import annotations

import io
import itertools
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from engine.dataset.export import SetPlan, export_set, wanted_for
from engine.dataset.findings import FindingKind, Thresholds
from engine.dataset.layouts import LAYOUTS, Trainer
from engine.dataset.measure import Measurer
from engine.dataset.measurement_cache import MeasurementCache
from engine.dataset.pairs import ControlFile, Pair, Provenance, Rejected
from engine.dataset.preflight import inspect
from engine.dataset.transform import PictureFormat, PictureRule, SizeRule, sized_for
from engine.images.pixels import Alpha, rendered
from tests.support.awkward import make_awkward
from tests.support.sets import write_target
from tests.support.trainers import LOADERS

FULL = bool(os.environ.get("FULL"))
_CLOSE = 2.0  # of 255, on average
COUNTS = {"single": (0,), "two": (1,), "uneven": (0, 1)}
RULES = {
    "as_it_came": PictureRule(format=PictureFormat.PNG, size=SizeRule.AS_IT_CAME),
    "multiple_16": PictureRule(format=PictureFormat.PNG, size=SizeRule.MULTIPLE, size_value=16),
    "multiple_64": PictureRule(format=PictureFormat.PNG, size=SizeRule.MULTIPLE, size_value=64),
    "longest": PictureRule(format=PictureFormat.PNG, size=SizeRule.LONGEST, size_value=80),
    "trainer": PictureRule(format=PictureFormat.PNG, resolutions=(128,)),
}
TRAINERS = list(Trainer)
CASES = list(itertools.product(TRAINERS, COUNTS, RULES))
# One of the counts and one of the rules in turn for each trainer; with the full counts all of them.
SHOWN = [case for number, case in enumerate(CASES) if FULL or number % 15 == TRAINERS.index(case[0]) * 4 % 15]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One of each kind."""
    return make_awkward(tmp_path_factory.mktemp("awkward") / "in")


def shown(path: Path) -> Image.Image:
    """The picture as the review shows it, on white."""
    with rendered(path.read_bytes(), alpha=Alpha.WHITE) as image:
        return image.copy()


def pairs_of(pictures: list[Path], folder: Path, counts: tuple[int, ...]) -> list[Pair]:
    """Each picture with a negative of it as its result, and further pictures as references."""
    folder.mkdir(exist_ok=True)
    made = []
    for number, path in enumerate(pictures):
        references = counts[number % len(counts)]
        result = write_target(folder / f"{number}.png", 255 - np.asarray(shown(path)))
        others = pictures[number + 1 - len(pictures) :][:references] or pictures[:references]
        made.append(
            Pair(
                id=f"r{number}", task_id=f"t{number}", name=path.name, target=result,
                controls=tuple(ControlFile(str(one)) for one in (path, *others)),
                provenance=Provenance(prompt=f"negative {number:02}"),
            )
        )  # fmt: skip
    return made


def difference(data: bytes, expected: Image.Image) -> float:
    """Mean over all channels; what was loaded is RGB, or says the same."""
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == expected.size
        got = np.asarray(image.convert("RGB"), np.float32)
    return float(np.abs(got - np.asarray(expected, np.float32)).mean())


@pytest.mark.parametrize(("trainer", "count", "rule"), SHOWN, ids=str)
def test_every_awkward_picture(pictures: list[Path], tmp_path: Path, trainer: Trainer, count: str, rule: str) -> None:
    """28 pictures: refused where the trainer takes another number of controls, else all of them, pixel for pixel."""
    made = pairs_of(pictures, tmp_path / "cache", COUNTS[count])
    if trainer is Trainer.PREFERENCE:
        made = [msgspec.structs.replace(pair, rejected=Rejected(pair.target)) for pair in made]
    layout = LAYOUTS[trainer]
    plan = SetPlan(trainer=trainer, pictures=RULES[rule], stem_template="{src_stem}")
    most = max(COUNTS[count]) + 1
    if most > layout.max_controls or (count == "uneven" and layout.even_controls):
        cache = MeasurementCache(tmp_path / "measures.db")
        report = inspect(made[:4], wanted_for(plan, Thresholds()), Measurer(cache), registered=True, workers=2)
        cache.close()
        assert {FindingKind.TOO_MANY_CONTROLS, FindingKind.UNEVEN_CONTROLS} & set(report.counts)
        return
    (tmp_path / "out").mkdir()
    folder = Path(export_set(made, plan, tmp_path / "out", overlays={}).path)
    loaded = {one.caption: one for one in LOADERS[trainer](folder)}
    assert len(loaded) == len(made)
    for pair in made:
        one = loaded[pair.provenance.prompt]
        views = [shown(Path(path)) for path in (pair.target.path, *(picture.path for picture in pair.pictures))]
        wanted = sized_for([view.size for view in views], plan.pictures, layout.reader)
        for view, (box, size), data in zip(views, wanted, (one.target, *one.controls), strict=True):
            expected = view if size == view.size else view.resize(size, Image.Resampling.LANCZOS, box=box)
            assert difference(data, expected) <= _CLOSE, (pair.name, size)
        if layout.reader.buckets and rule == "trainer":
            assert wanted[0][1] == wanted[1][1]


@pytest.mark.parametrize("alpha", list(Alpha))
def test_transparency_as_it_is_chosen(pictures: list[Path], tmp_path: Path, alpha: Alpha) -> None:
    """A cut-out stands on the colour that was chosen, or keeps its transparency."""
    made = pairs_of(pictures[4:5], tmp_path / "cache", (0,))
    (tmp_path / "out").mkdir()
    rule = msgspec.structs.replace(RULES["as_it_came"], alpha=alpha)
    folder = Path(export_set(made, SetPlan(pictures=rule), tmp_path / "out", overlays={}).path)
    with Image.open(next((folder / "control").iterdir())) as image:
        corner = image.getpixel((0, 0))
    assert isinstance(corner, tuple)
    levels = {Alpha.WHITE: 255, Alpha.BLACK: 0, Alpha.GREY: 128}
    assert corner[3] == 0 if alpha is Alpha.KEEP else corner == (levels[alpha],) * 3


def test_what_others_would_misread_is_told(pictures: list[Path], tmp_path: Path) -> None:
    """A cut-out, and grey of sixteen bits, are named as notes; pictures that all read alike are not."""
    made = pairs_of(pictures, tmp_path / "cache", (0,))
    cache = MeasurementCache(tmp_path / "measures.db")
    report = inspect(made, wanted_for(SetPlan(), Thresholds()), Measurer(cache), registered=True, workers=2)
    cache.close()
    names = {pair.id: pair.name for pair in made}
    told = {kind: {names[f.pair_id] for f in report.findings if f.kind is kind} for kind in FindingKind}
    assert "cut out.png" in told[FindingKind.TRANSPARENT]
    assert told[FindingKind.DEPTH] == {"deep.png"}
    assert {"adobe.jpg", "p3.png"} <= told[FindingKind.PROFILE]
    told_of = set().union(*(told[kind] for kind in (FindingKind.TRANSPARENT, FindingKind.PROFILE, FindingKind.DEPTH)))
    assert not {"odd.png", "b.bmp", "夜晚 图.png"} & told_of
