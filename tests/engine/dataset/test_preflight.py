"""Preflight: every kind of finding on a pair that has it, none on pairs that are well, and quick the second time."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from engine.dataset.buckets import Buckets, by_area
from engine.dataset.captions import CaptionMode, CaptionRule
from engine.dataset.export import SetPlan, export_set, wanted_for
from engine.dataset.features import Look
from engine.dataset.findings import Finding, FindingKind, Thresholds
from engine.dataset.layouts import Trainer
from engine.dataset.measure import Measurer
from engine.dataset.measurement_cache import MeasurementCache
from engine.dataset.pairs import ControlFile, Pair
from engine.dataset.preflight import Preflight, Wanted, check_clean, inspect
from engine.dataset.split import Side, SplitRule, split
from engine.dataset.transform import PictureRule, Reader, SizeRule
from engine.dataset.variants import Reverse, VariantRule
from engine.errors import Code, ConsoleError, InvalidInput, Stopped
from engine.reading import hash_found, read_found
from engine.upstream.cancel import CancelToken
from tests.bench import drift, edits
from tests.bench.preflight import SPLIT, make_set, score
from tests.bench.scenes import Picture, make_scene
from tests.support.files import sha256_of
from tests.support.sets import SIZE, edited, pair, scene, write_target


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[MeasurementCache]:
    """Notes on disk."""
    kept = MeasurementCache(tmp_path / "notes.db")
    yield kept
    kept.close()


def look(pairs: Sequence[Pair], cache: MeasurementCache, wanted: Wanted | None = None) -> Preflight:
    return inspect(pairs, wanted or Wanted(), Measurer(cache), registered=True, workers=2)


def kinds(report: Preflight, one: Pair) -> set[FindingKind]:
    return {finding.kind for finding in report.findings if finding.pair_id == one.id}


def test_good_pairs_have_no_findings(tmp_path: Path, cache: MeasurementCache) -> None:
    """Real edits of every sort pass, and their numbers are there."""
    rng = np.random.default_rng(3)
    pairs = [pair(tmp_path, n, target=edit(rng, make_scene(n, SIZE))) for n, edit in enumerate(edits.EDITS, 20)]
    report = look(pairs, cache)
    assert report.findings == []
    assert all(numbers.likeness is not None and numbers.change > 8 for numbers in report.numbers.values())
    check_clean(report)


def _noisy_grey() -> Picture:
    return edits.blank(np.random.default_rng(1), SIZE)


def _moved() -> Picture:
    return edits.moved(np.random.default_rng(4), make_scene(5, SIZE), edited(5), 0.03, 0.04)


def _zoomed() -> Picture:
    return edits.zoomed(np.random.default_rng(4), make_scene(5, SIZE), edited(5), 0.08, 0.09)


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (FindingKind.BLANK, _noisy_grey),
        (FindingKind.HARDLY_CHANGED, lambda: scene(5)),
        (FindingKind.ASPECT, lambda: edited(5)[:, 20:-20]),
        (FindingKind.SIZE, lambda: np.asarray(Image.fromarray(edited(5)).resize((640, 480)))),
        (FindingKind.SHIFTED, _moved),
        (FindingKind.ZOOMED, _zoomed),
        (FindingKind.UNRELATED, lambda: scene(77)),
        (FindingKind.UNREADABLE, lambda: b"\x89PNG\r\n\x1a\n" + b"\0" * 100),
    ],
    ids=lambda value: value if isinstance(value, FindingKind) else "",
)
def test_faults_of_the_target(
    tmp_path: Path, cache: MeasurementCache, kind: FindingKind, target: Callable[[], Picture | bytes]
) -> None:
    """Each fault is found and named as what it is; a note alone does not refuse a set."""
    bad, good = pair(tmp_path, 5, target=target()), pair(tmp_path, 6)
    report = look([good, bad], cache)
    assert kind in kinds(report, bad)
    assert kinds(report, good) == set()
    assert report.counts[kind] == 1
    if kind is not FindingKind.SIZE:
        with pytest.raises(InvalidInput) as refused:
            check_clean(report)
        assert refused.value.code is Code.SET_HAS_FINDINGS
        assert kind.value in str(refused.value.params["kinds"])


def test_shift_is_measured_in_pixels(tmp_path: Path, cache: MeasurementCache) -> None:
    """A shift of 9 and 12 pixels is a shift of 15, to a pixel, with the part of the source that is left."""
    picture = np.roll(edited(5), (9, 12), (0, 1))
    finding = look([pair(tmp_path, 5, target=picture)], cache).findings[0]
    assert finding.kind is FindingKind.SHIFTED
    assert finding.pixels is not None
    assert abs(finding.pixels - 15) < 1
    assert finding.box is not None
    left, top, right, bottom = finding.box
    assert (left, top) == (0, 0)
    assert abs(right - (1 - 12 / 320)) < 0.004
    assert abs(bottom - (1 - 9 / 240)) < 0.005


def test_no_op_by_bytes_and_by_pixels(tmp_path: Path, cache: MeasurementCache) -> None:
    """A target of the source's own bytes, and one that only says the same in another format, changed nothing."""
    first = pair(tmp_path, 1)
    same = write_target(tmp_path / "cache" / "same.jpg", Path(first.control.path).read_bytes())
    lossless = write_target(tmp_path / "cache" / "pixels.png", np.asarray(Image.open(first.control.path)))
    pairs = [msgspec.structs.replace(first, id=f"r-{t.extension}", target=t) for t in (same, lossless)]
    report = look(pairs, cache)
    assert [kinds(report, one) for one in pairs] == [{FindingKind.NO_CHANGE}] * 2


def test_same_answer_for_different_sources(tmp_path: Path, cache: MeasurementCache) -> None:
    """Each pair with the shared target is named with another one; two results of one source may be alike."""
    pairs = [pair(tmp_path, number) for number in (1, 2, 3)]
    pairs[1] = msgspec.structs.replace(pairs[1], target=pairs[0].target)
    twice = msgspec.structs.replace(pairs[2], id="again", index=2)
    report = look([*pairs, twice], cache)
    shared = [finding for finding in report.findings if finding.kind is FindingKind.SAME_TARGET]
    assert [(finding.pair_id, finding.other, finding.number) for finding in shared] == [
        ("r1", "r2", 2),
        ("r2", "r1", 2),
    ]


def test_sources_that_are_gone_or_changed(tmp_path: Path, cache: MeasurementCache) -> None:
    """A missing source, a changed one and a missing reference are found before anything is written."""
    pairs = [pair(tmp_path, 1), pair(tmp_path, 2), pair(tmp_path, 3, references=1)]
    Path(pairs[0].control.path).unlink()
    Image.fromarray(scene(9)).save(pairs[1].control.path)
    Path(pairs[2].controls[1].path).unlink()
    report = look(pairs, cache)
    assert [kinds(report, one) for one in pairs] == [
        {FindingKind.SOURCE_MISSING},
        {FindingKind.SOURCE_CHANGED},
        {FindingKind.SOURCE_MISSING},
    ]


def test_results_that_are_gone(tmp_path: Path, cache: MeasurementCache) -> None:
    """A result whose file is no longer in the cache is named as that, not as a missing source."""
    gone = pair(tmp_path, 1)
    Path(gone.target.path).unlink()
    (finding,) = look([gone], cache).findings
    assert (finding.kind, finding.problem and finding.problem.code) == (
        FindingKind.UNREADABLE,
        Code.RESULT_FILE_MISSING,
    )


def test_captions_that_are_missing_or_unreadable(tmp_path: Path, cache: MeasurementCache) -> None:
    """A picture without text beside it lacks a caption, and a text in no known encoding is named, both at once, also
    where the pictures cannot be read."""
    pairs = [pair(tmp_path, number) for number in (1, 2, 3)]
    Path(pairs[0].control.path).with_suffix(".txt").write_bytes("让它变成夜晚".encode("gb18030"))
    Path(pairs[1].control.path).with_suffix(".txt").write_bytes(b"\xff\xff\xff\xfe\x00")
    Path(pairs[2].target.path).unlink()
    heard: list[Finding] = []
    wanted = Wanted(captions=CaptionRule(CaptionMode.SIDECAR))
    report = inspect(pairs, wanted, Measurer(cache), registered=True, workers=2, found=heard.extend)
    named = [(one.pair_id, one.kind, one.problem.code if one.problem else None) for one in heard]
    assert named == [
        (pairs[1].id, FindingKind.NO_CAPTION, Code.TEXT_ENCODING),
        (pairs[2].id, FindingKind.UNREADABLE, Code.RESULT_FILE_MISSING),
        (pairs[2].id, FindingKind.NO_CAPTION, None),
    ]
    assert report.findings == heard


def test_twins_on_both_sides_of_the_split(tmp_path: Path, cache: MeasurementCache) -> None:
    """A source that is trained on, brighter and smaller under another name, is found among those for validation."""
    pairs = [pair(tmp_path, number) for number in range(1, 7)]
    with Image.open(pairs[0].control.path) as image:
        image.resize((200, 150)).point(lambda value: value * 1.05 + 3).save(pairs[1].control.path, quality=80)
    twin = ControlFile(pairs[1].control.path, sha256_of(Path(pairs[1].control.path)))
    pairs[1] = msgspec.structs.replace(pairs[1], controls=(twin,))
    found = []
    for seed in range(12):
        rule = SplitRule(validation=0.3, seed=seed)
        sides = split(pairs, rule)
        report = look(pairs, cache, Wanted(split=rule))
        named = {(f.pair_id, f.other) for f in report.findings if f.kind is FindingKind.SPLIT_TWIN}
        kept, trained = ("r1", "r2") if sides[0] is Side.VALIDATION else ("r2", "r1")
        assert named == ({(kept, trained)} if sides[0] is not sides[1] else set())
        found.append(bool(named))
    assert any(found)
    assert not all(found)


def test_references_that_a_trainer_does_not_take(tmp_path: Path, cache: MeasurementCache) -> None:
    """More source pictures than it takes, or another number than the rest, is a finding."""
    pairs = [pair(tmp_path, 1), pair(tmp_path, 2), pair(tmp_path, 3, references=2)]
    assert kinds(look(pairs, cache, Wanted(max_controls=1)), pairs[2]) == {FindingKind.TOO_MANY_CONTROLS}
    report = look(pairs, cache, Wanted(even_controls=True))
    assert kinds(report, pairs[2]) == {FindingKind.UNEVEN_CONTROLS}
    assert kinds(report, pairs[0]) == set()


def test_thresholds_can_be_set(tmp_path: Path, cache: MeasurementCache) -> None:
    """What is a finding depends on the thresholds alone, and each finding brings the one that it met."""
    moved = pair(tmp_path, 5, target=_moved())
    finding = look([moved], cache).findings[0]
    assert finding.number >= finding.threshold == Thresholds().shifted
    wide = Thresholds(shifted=10, zoomed=50)
    assert look([moved], cache, Wanted(thresholds=wide)).findings == []


def test_the_second_look_is_quick(tmp_path: Path, cache: MeasurementCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured once is not decoded again, even under another name; a new picture is."""
    pairs = [pair(tmp_path, number) for number in range(8)]
    first = look(pairs, cache)
    moved = Path(pairs[0].target.path).rename(tmp_path / "elsewhere.png")
    pairs[0] = msgspec.structs.replace(pairs[0], target=msgspec.structs.replace(pairs[0].target, path=str(moved)))
    with monkeypatch.context() as nothing:
        nothing.delattr("engine.dataset.measure.shrunk")  # which decodes
        again = look(pairs, cache)
    assert (again.findings, again.numbers) == (first.findings, first.numbers)
    Image.fromarray(scene(50)).save(pairs[0].control.path)
    fresh = msgspec.structs.replace(pairs[0], controls=(ControlFile(pairs[0].control.path),))
    assert look([fresh], cache).numbers != {"r0": first.numbers["r0"]}


def test_damaged_notes_are_made_anew(tmp_path: Path) -> None:
    """A cache that is no database costs nothing but the notes."""
    path = tmp_path / "notes.db"
    path.write_bytes(b"no database " * 500)
    notes = MeasurementCache(path)
    kept = Look("ab" * 32, 1, "image/png", 2, 3, 0.5, 7, b"tint")
    notes.note_look(kept)
    assert notes.look(kept.hash) == kept
    notes.close()


def test_stop_ends_it_in_the_middle(tmp_path: Path, cache: MeasurementCache) -> None:
    """A stop ends the look at once, and a pair that is being laid over its source between the parts of that."""
    pairs = [pair(tmp_path, number, target=scene(77 + number), id=f"r{number}") for number in range(12)]
    cancel, seen = CancelToken(), list[int]()

    def progress(number: int) -> None:
        seen.append(number)
        cancel.cancel()

    with pytest.raises(Stopped):
        inspect(pairs, Wanted(), Measurer(cache), registered=True, cancel=cancel, progress=progress, workers=2)
    assert seen == [1]
    with pytest.raises(Stopped):
        Measurer(cache).measure(pairs[9].control.path, pairs[9].target.path, cancel=cancel)


@pytest.mark.slow
def test_planted_faults_are_found(tmp_path: Path, cache: MeasurementCache) -> None:
    """On a made set with faults in a half, all are found and no good pair is blamed.

    A small one, with at least one of each kind; BENCHMARKS.md has the figures of a large one.
    """
    made = make_set(tmp_path / "set", 30, every=2)
    report = look([one.pair for one in made], cache, Wanted(split=SPLIT))
    for kind, planted, found, good, blamed in score(made, report):
        assert planted == found > 0, kind
        assert good > blamed == 0, kind


def test_what_changed_where_nobody_asked(tmp_path: Path, cache: MeasurementCache) -> None:
    """A new thing on a picture whose rest turned warmer, or was painted anew, is named with a number and a map; the
    same thing alone is not."""
    rng = np.random.default_rng(2)
    wanted = [edited(number) for number in (5, 7)]
    made = [pair(tmp_path, number, target=picture) for number, picture in zip((5, 7), wanted, strict=True)]
    made += [
        pair(tmp_path / str(place), 5 + 2 * place, target=change(rng, wanted[place]), id=f"bad{place}")
        for place, change in enumerate((drift.warmer, drift.painted_anew))
    ]
    report = look(made, cache)
    told = {finding.pair_id: finding for finding in report.findings}
    assert set(told) == {"bad0", "bad1"}
    assert {finding.kind for finding in report.findings} <= {FindingKind.COLOUR_DRIFT, FindingKind.CONTENT_DRIFT}
    for finding in told.values():
        assert finding.number >= finding.threshold
        assert finding.map is not None
        assert len(finding.map) == 32 * 24
        assert any(finding.map)


def test_one_change_of_tone_is_told_from_an_edit_of_all() -> None:
    """Less saturation beside a small edit moves some colours far and others not: found; a whole picture that was
    coloured, drawn or painted anew is what was asked for."""
    number = 1041
    rng, view = np.random.default_rng(number), make_scene(number)
    spoilt = drift.saturation(rng, edits.local_repaint(rng, view))
    assert drift.is_blamed(view.picture, spoilt, Thresholds())
    for edit in (edits.recolour, edits.drawn_style, edits.paint_style):
        assert not drift.is_blamed(view.picture, edit(rng, view), Thresholds()), edit.__name__


@pytest.mark.parametrize(("number", "blamed"), [(193, False), (17, True)])
def test_compressing_anew_is_no_loss_of_detail(number: int, blamed: bool) -> None:
    """A small edit that was sent back as a poor JPEG is good, one whose rest was painted anew is not."""
    rng, view = np.random.default_rng(number), make_scene(number)
    made = drift.painted_anew(rng, edits.local_repaint(rng, view)) if blamed else edits.added_thing(rng, view)
    kept = io.BytesIO()
    Image.fromarray(made).save(kept, "JPEG", quality=60)
    assert drift.is_blamed(view.picture, np.asarray(Image.open(kept)), Thresholds()) == blamed


def test_what_the_trainer_would_cut_is_told(tmp_path: Path, cache: MeasurementCache) -> None:
    """A bucket that cuts more than a part of a picture is a note with the percent; it keeps no pair out."""
    reader = Reader(frozenset(), buckets=Buckets(by_area, 64))
    report = look([pair(tmp_path, 5)], cache, Wanted(reader=reader, resolutions=(128, 1024)))
    (finding,) = report.findings
    assert (finding.kind, report.bad) == (FindingKind.BUCKET_LOSS, set())
    assert finding.number == pytest.approx(100 * (1 - 3 / 4), abs=0.1)  # 320 x 240 becomes 128 x 128


def test_a_source_that_is_cut_without_its_result_is_refused(tmp_path: Path, cache: MeasurementCache) -> None:
    """diffusers cuts a source of 324 x 236 to 320 x 232, and that alone; in the trainer's sizes it cuts nothing."""
    odd = make_scene(5, (324, 236)).picture
    Image.fromarray(odd).save(tmp_path / "odd.png")
    made = pair(tmp_path, 5, target=odd[:, ::-1], controls=(ControlFile(str(tmp_path / "odd.png")),))
    for reverse in Reverse:
        plan = SetPlan(trainer=Trainer.HUGGING_FACE, variants=VariantRule(reverse=reverse))
        assert FindingKind.CONTROL_CUT not in kinds(look([made], cache, wanted_for(plan, Thresholds())), made)
        plan = msgspec.structs.replace(plan, pictures=PictureRule(size=SizeRule.AS_IT_CAME))
        report = look([made], cache, wanted_for(plan, Thresholds()))
        (finding,) = (one for one in report.findings if one.kind is FindingKind.CONTROL_CUT)
        assert finding.number == pytest.approx(100 * (1 - 320 * 232 / (324 * 236)), abs=0.01)
        assert report.bad == {made.id}


def test_findings_come_while_it_goes(tmp_path: Path, cache: MeasurementCache) -> None:
    """What was found in a pair is told before the last one was looked at, in order."""
    made = [pair(tmp_path, number, target=_noisy_grey()) for number in range(8)]
    told: list[tuple[str, int]] = []
    done = 0

    def progress(number: int) -> None:
        nonlocal done
        done = number

    inspect(
        made, Wanted(), Measurer(cache), registered=True, workers=2, progress=progress,
        found=lambda findings: told.append((findings[0].pair_id, done)),
    )  # fmt: skip
    assert told == [(f"r{number}", number) for number in range(8)]


@pytest.mark.skipif(os.name == "nt", reason="pipes, and links that anybody may make")
@pytest.mark.parametrize("swap", ["pipe", "device", "picture elsewhere", "folder"])
def test_a_swapped_source_is_told_and_not_read(tmp_path: Path, cache: MeasurementCache, swap: str) -> None:
    """What stands in a source's place by now holds nobody, and nothing outside of its folder is read: neither by a look
    nor by an export, a judge or the alarm."""
    made = pair(tmp_path, 1)
    path = Path(made.control.path)
    moved = path.rename(tmp_path / path.name)
    if swap == "pipe":
        os.mkfifo(path)
    elif swap == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if swap == "device" else moved)
    assert look([made], cache).bad == {made.id}
    (tmp_path / "out").mkdir()
    with pytest.raises(ConsoleError):
        export_set([made], SetPlan(), tmp_path / "out", overlays={})
    for read in (read_found, hash_found):
        with pytest.raises(OSError, match=r"nvalid|directory|Is a"):
            read(path)
