"""What set makers do on purpose: the way back, pairs in which nothing changes, better and worse answers, masks."""

from __future__ import annotations

import io
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from PIL import Image

from engine.dataset.captions import CaptionMode, CaptionRule
from engine.dataset.export import SetPlan, check_plan, export_set
from engine.dataset.layouts import Trainer
from engine.dataset.pairs import Pair, Rejected
from engine.dataset.split import SplitRule
from engine.dataset.transform import PictureFormat, PictureRule, SizeRule
from engine.dataset.variants import NO_OP_CAPTION, Reverse, VariantRule
from engine.errors import Code, InvalidInput
from tests.support.sets import edited, pair, scene, write_target
from tests.support.trainers import LOADERS, Loaded

AS_IT_CAME = PictureRule(size=SizeRule.AS_IT_CAME, format=PictureFormat.PNG)
BACK = CaptionRule(CaptionMode.TEMPLATE, "make it day again ({prompt})", "bk")


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


def found(pairs: list[Pair], tmp_path: Path, plan: SetPlan) -> tuple[Path, list[Loaded]]:
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    folder = Path(export_set(pairs, plan, out, overlays={}).path)
    return folder, LOADERS[plan.trainer](folder)


@pytest.mark.parametrize("trainer", [Trainer.AI_TOOLKIT, Trainer.DIFFSYNTH, Trainer.PARQUET, Trainer.FAL])
def test_the_way_back_has_a_caption_of_its_own(tmp_path: Path, trainer: Trainer) -> None:
    """Both directions: each pair twice, source and result changed places, references kept, captions apart."""
    made = [pair(tmp_path, number, references=1, prompt=f"night {number}") for number in range(3)]
    rule = VariantRule(reverse=Reverse.BOTH, captions=BACK)
    _, loaded = found(made, tmp_path, SetPlan(trainer=trainer, pictures=AS_IT_CAME, variants=rule))
    assert len(loaded) == 6
    by_caption = {one.caption: one for one in loaded}
    for number in range(3):
        there, back = by_caption[f"night {number}"], by_caption[f"bk, make it day again (night {number})"]
        assert (pixels(there.target), pixels(there.controls[0])) == (pixels(back.controls[0]), pixels(back.target))
        assert pixels(there.controls[1]) == pixels(back.controls[1])


def test_both_directions_of_a_source_are_on_one_side(tmp_path: Path) -> None:
    """What is trained on one way is not held out the other way; nor are pairs that change nothing."""
    made = [pair(tmp_path, number) for number in range(6)]
    rule = VariantRule(reverse=Reverse.BOTH, no_op_share=0.4)
    plan = SetPlan(pictures=AS_IT_CAME, variants=rule, split=SplitRule(0.3, 2))
    folder = found(made, tmp_path, msgspec.structs.replace(plan, trainer=Trainer.WEBDATASET))[0].parent
    export_set(made, plan, folder, overlays={})
    rows = [json.loads(line) for line in (folder / "set_v002" / "metadata.jsonl").read_text("utf-8").splitlines()]
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row["source_name"], set()).add(row["split"])
    assert all(len(one) == 1 for one in sides.values())
    unchanged = [row for row in rows if row["direction"] == "no_op"]
    assert (len(rows), len(unchanged)) == (20, 8)
    for row in unchanged:
        place = folder / "set_v002"
        assert row["caption"] == NO_OP_CAPTION
        assert pixels((place / row["target"]).read_bytes()) == pixels((place / row["controls"][0]).read_bytes())


def test_only_the_way_back(tmp_path: Path) -> None:
    """Reversed alone leaves the forward pairs out."""
    made = [pair(tmp_path, 1)]
    _, (only,) = found(made, tmp_path, SetPlan(pictures=AS_IT_CAME, variants=VariantRule(reverse=Reverse.REVERSED)))
    assert pixels(only.controls[0]) == pixels(Path(made[0].target.path).read_bytes())
    assert only.caption.startswith("undo: ")


def test_better_and_worse_answers(tmp_path: Path) -> None:
    """Each line names source, both answers, their scores and who judged, by paths that are there."""
    base = pair(tmp_path, 1)
    worse = write_target(tmp_path / "cache" / "worse.png", edited(9))
    judged = msgspec.structs.replace(base, score=8.5, judge="judge-1", rejected=Rejected(worse, 3.0))
    folder, (loaded,) = found([judged], tmp_path, SetPlan(trainer=Trainer.PREFERENCE))
    (row,) = [json.loads(line) for line in (folder / "preference.jsonl").read_text("utf-8").splitlines()]
    assert set(row) == {"source", "prompt", "chosen", "rejected", "chosen_score", "rejected_score", "judge"}
    assert (row["chosen_score"], row["rejected_score"], row["judge"]) == (8.5, 3.0, "judge-1")
    assert pixels(loaded.target) == pixels(Path(base.target.path).read_bytes())
    assert pixels(loaded.controls[1]) == pixels(Path(worse.path).read_bytes())
    with pytest.raises(InvalidInput) as refused:
        check_plan(SetPlan(trainer=Trainer.PREFERENCE, variants=VariantRule(reverse=Reverse.BOTH)))
    assert refused.value.code is Code.FIELD_CHOICE


def test_masks_show_what_was_changed(tmp_path: Path) -> None:
    """White where the result differs, black elsewhere; white all over where nothing is to change; named in the set."""
    source = scene(1)
    changed = source.copy()
    changed[60:140, 100:220] = 255 - changed[60:140, 100:220]
    made = [pair(tmp_path, 1, target=changed, source_kind="png")]
    plan = SetPlan(
        pictures=AS_IT_CAME, masks=True, variants=VariantRule(no_op_share=0.5), trainer=Trainer.DIFFUSION_PIPE
    )
    folder, _ = found(made, tmp_path, plan)
    masks = [np.asarray(Image.open(folder / "mask" / f"000{number}.png")) for number in (1, 2)]
    inside = np.zeros(masks[0].shape, bool)
    inside[60:140, 100:220] = True
    overlap = (masks[0] > 0) & inside
    assert overlap.sum() / ((masks[0] > 0) | inside).sum() > 0.75
    assert masks[1].min() == 255
    assert 'mask_path = "mask"' in (folder / "diffusion_pipe.toml").read_text("utf-8")
    assert json.loads((folder / "metadata.jsonl").read_text("utf-8").splitlines()[0])["mask"] == "mask/0001.png"


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        (VariantRule(no_op_share=0.6), "no_op_share"),
        (VariantRule(reverse=Reverse.BOTH, captions=CaptionRule(CaptionMode.TRIGGER)), "reverse_trigger"),
        (
            VariantRule(reverse=Reverse.BOTH, captions=CaptionRule(CaptionMode.TEMPLATE, "{nobody}")),
            "reverse_caption_template",
        ),
    ],
)
def test_wrong_wishes_name_their_field(rule: VariantRule, field: str) -> None:
    """A share too large, a word or a template that is missing."""
    with pytest.raises(InvalidInput) as refused:
        check_plan(SetPlan(variants=rule))
    assert refused.value.field == field
