"""Cutting a shifted or zoomed pair to what both show: afterwards nothing is shifted or zoomed any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from engine.dataset.export import SetPlan, export_set
from engine.dataset.findings import FindingKind
from engine.dataset.measure import Measurer
from engine.dataset.measurement_cache import MeasurementCache
from engine.dataset.pairs import ControlFile, Pair
from engine.dataset.preflight import Wanted, inspect
from engine.dataset.transform import PictureRule, SizeRule
from tests.bench import edits
from tests.bench.scenes import Picture, make_scene
from tests.support.sets import edited, pair, write_target

SIZE = (480, 360)


@pytest.fixture
def measurer(tmp_path: Path) -> Iterator[Measurer]:
    """With notes on disk."""
    cache = MeasurementCache(tmp_path / "notes.db")
    yield Measurer(cache)
    cache.close()


def _shifted(down: int, right: int) -> Picture:
    return np.roll(edited(5, SIZE), (down, right), (0, 1))


def _zoomed_in() -> Picture:
    return np.asarray(Image.fromarray(edited(5, SIZE)[30:330, 60:460]).resize(SIZE, Image.Resampling.LANCZOS))


def _zoomed_out() -> Picture:
    canvas = np.tile(np.asarray([[[90, 110, 90]]], np.uint8), (360, 480, 1))
    small = Image.fromarray(edited(5, SIZE)).resize((432, 324), Image.Resampling.LANCZOS)
    canvas[18:342, 24:456] = np.asarray(small)
    return canvas


@pytest.mark.parametrize("size", [SizeRule.AS_IT_CAME, SizeRule.LONGEST])
@pytest.mark.parametrize(
    "target",
    [
        *(partial(_shifted, down, right) for down, right in ((11, -17), (11, 17), (-11, 17), (-11, -17))),
        _zoomed_in,
        _zoomed_out,
    ],
    ids=["down-left", "down-right", "up-right", "up-left", "in", "out"],
)
def test_cut_pairs_lie_over_each_other(
    tmp_path: Path, measurer: Measurer, target: Callable[[], Picture], size: SizeRule
) -> None:
    """The cut pair has one framing, shows most of the scene, and passes preflight, wherever the cut begins."""
    made = _pair(tmp_path, target())
    report = inspect([made], Wanted(), measurer, registered=True)
    assert {finding.kind for finding in report.findings} & {FindingKind.SHIFTED, FindingKind.ZOOMED}
    overlay = measurer.measure(made.control.path, made.target.path).comparison.overlay
    assert overlay is not None
    (tmp_path / "out").mkdir()
    rule = PictureRule(crop_align=True, size=size, size_value=480)
    done = export_set([made], SetPlan(pictures=rule), tmp_path / "out", overlays={made.id: overlay})
    folder = Path(done.path)
    control, cut = next((folder / "control").iterdir()), next((folder / "target").glob("*.[!t]*"))
    with Image.open(control) as first, Image.open(cut) as second:
        if size is SizeRule.LONGEST:
            assert first.size == second.size
        assert first.width < SIZE[0] or second.width < SIZE[0]
        assert first.width > 0.75 * SIZE[0]
    again = msgspec.structs.replace(
        made, controls=(ControlFile(str(control)),), target=write_target(tmp_path / "cut.png", cut.read_bytes())
    )
    assert inspect([again], Wanted(), measurer, registered=True).bad == set()


def _pair(folder: Path, target: Picture) -> Pair:
    made = pair(folder, 5, target=target)
    Image.fromarray(make_scene(5, SIZE).picture).save(made.control.path, quality=95)
    return msgspec.structs.replace(made, controls=(ControlFile(made.control.path),))


def test_good_pairs_are_not_cut(tmp_path: Path, measurer: Measurer) -> None:
    """Without an overlay, bytes stay as they came though the plan would cut."""
    made = _pair(tmp_path, edits.recolour(np.random.default_rng(1), make_scene(5, SIZE)))
    (tmp_path / "out").mkdir()
    done = export_set(
        [made], SetPlan(pictures=PictureRule(size=SizeRule.AS_IT_CAME, crop_align=True)), tmp_path / "out", overlays={}
    )
    assert next((Path(done.path) / "control").iterdir()).read_bytes() == Path(made.control.path).read_bytes()
