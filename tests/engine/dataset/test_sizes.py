"""Sizes of a set: no size of any picture ends an export, and each trainer's own rule leaves its sizes as they are."""

from __future__ import annotations

import io
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.dataset.buckets import Buckets, Size, by_area, by_list, by_ratio
from engine.dataset.layouts import LAYOUTS, Trainer
from engine.dataset.transform import PictureRule, SizeRule, prepare, sized_for

EDGES = st.integers(1, 12_000)
RULES = [
    PictureRule(),
    PictureRule(size=SizeRule.AS_IT_CAME),
    PictureRule(size=SizeRule.MATCH_CONTROL),
    PictureRule(size=SizeRule.MULTIPLE, size_value=16),
    PictureRule(size=SizeRule.MULTIPLE, size_value=512),
    PictureRule(size=SizeRule.LONGEST, size_value=64),
    PictureRule(resolutions=(512, 768), step=16),
]
BUCKETS = {trainer: layout.reader.buckets for trainer, layout in LAYOUTS.items() if layout.reader.buckets}


@settings(max_examples=300, deadline=None)
@given(target=st.tuples(EDGES, EDGES), control=st.tuples(EDGES, EDGES), like=st.booleans())
def test_every_size_with_every_rule(target: Size, control: Size, like: bool) -> None:
    """The part that is taken lies within the picture, whatever its size, and is not empty; the size is the rule's."""
    shapes = [target, target if like else control, control]
    for layout in LAYOUTS.values():
        for rule in RULES:
            for size, (box, result) in zip(shapes, sized_for(shapes, rule, layout.reader), strict=True):
                left, top, right, bottom = box
                assert 0 <= left < right <= size[0], (rule, layout.trainer)
                assert 0 <= top < bottom <= size[1], (rule, layout.trainer)
                assert min(result) > 0
                if rule.size is SizeRule.MULTIPLE and not layout.reader.equal_sizes:
                    assert all(edge % rule.size_value == 0 for edge in result)


def test_the_resizer_takes_what_the_rules_give() -> None:
    """The same with real pixels, for thin and small pictures, in which rounding weighs most."""
    rng = random.Random(5)
    for _ in range(60):
        size = (rng.randint(1, 400), rng.randint(1, 400))
        buffer = io.BytesIO()
        Image.new("RGB", size, "teal").save(buffer, "PNG")
        for rule in RULES[2:6]:
            for trainer in (Trainer.AI_TOOLKIT, Trainer.KOHYA):
                done, (control,) = prepare(buffer.getvalue(), [buffer.getvalue()], rule, LAYOUTS[trainer].reader)
                assert done.size == control.size


@pytest.mark.parametrize("trainer", BUCKETS)
def test_a_bucket_is_its_own_bucket(trainer: Trainer) -> None:
    """The trainer cuts nothing off a picture that was brought to its bucket."""
    buckets = BUCKETS[trainer]
    rng = random.Random(7)
    for _ in range(400):
        picture = (rng.randint(200, 6000), rng.randint(200, 6000))
        for resolution in (512, 1024):
            size = buckets.size(picture, resolution)
            assert buckets.size(size, resolution) == size
            assert buckets.loss(size, [resolution]) == 0
            assert LAYOUTS[trainer].reader.control_cut(size) == 0
            assert all(edge % buckets.step == 0 for edge in size)


def test_rules_are_those_of_the_trainers() -> None:
    """Sizes that the trainers' own functions gave for pictures that people have."""
    cases = (
        (by_area, 64, 512, (1216, 832), (576, 448)),
        (by_area, 16, 1024, (1999, 1333), (1248, 832)),
        (by_area, 32, 1024, (300, 900), (288, 928)),
        (by_list, 16, 1024, (1999, 1333), (1248, 832)),
        (by_list, 16, 1024, (900, 300), (1760, 592)),
        (by_ratio, 64, 1024, (1999, 1333), (1280, 832)),
    )
    for rule, step, resolution, picture, bucket in cases:
        found = Buckets(rule, step).size(picture, resolution)
        assert found == bucket, (rule.__name__, picture)


def test_musubi_gives_the_first_control_the_bucket_of_its_target() -> None:
    """`calculate_bucket_resolution`, by which a control with ``control_resolution`` is cut, keeps every bucket."""
    for resolution in (512, 768, 1024, 1328):
        for picture in {by_list((wide, 1000), resolution, 16) for wide in range(250, 4000, 7)}:
            most, ratio = resolution * resolution, picture[0] / picture[1]
            first = int(math.sqrt(most * ratio)) // 16 * 16
            near = [(first + n * 16, most // (first + n * 16) // 16 * 16) for n in range(-2, 3)]
            assert min(near, key=lambda size: abs(size[0] / size[1] - ratio)) == picture
