"""To which size each trainer brings a picture, by the rules of its own code; what a rule gives is its own bucket.

| rule | trainers | source (read in June to August 2026) |
|---|---|---|
| `by_area` | AI-Toolkit | toolkit/buckets.py `get_bucket_for_image_size`; models want steps of 16 or 32 |
| `by_area` | diffusion-pipe | utils/dataset.py: what we write names each size as one of `size_buckets` |
| `by_list` | musubi-tuner | dataset/bucket.py `BucketSelector`; steps of 16, 32 for HiDream-O1 |
| `by_range` | kohya sd-scripts | library/model_util.py `make_bucket_resolutions`: 256 to 1024 in steps of 64 |
| `by_ratio` | SimpleTuner | multiaspect/image.py `calculate_new_size_by_pixel_area`; steps of 64, FLUX.2 16 |
| `downwards` | DiffSynth-Studio | core/data/operators.py `ImageCropAndResize`: `max_pixels`, steps of 16 |
| `at_most` | diffusers | examples/dreambooth, FLUX.2 klein: what `cut_by_klein` leaves whole; steps of 16 as of FLUX |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final

import msgspec

Size = tuple[int, int]
Rule = Callable[[Size, int, int], Size]

RESOLUTION: Final = 1024
"""The edge of a square whose area pictures get, where nobody says otherwise."""

_KLEIN_EDGE: Final = 1024
_KLEIN_STEP: Final = 8


class Buckets(msgspec.Struct, frozen=True):
    """``rule``: size, resolution, step → size, all in pixels; ``step``: what it goes in where nobody says otherwise."""

    rule: Rule
    step: int

    def size(self, picture: Size, resolution: int, step: int = 0) -> Size:
        """The bucket of a picture, one that is its own bucket; ``step`` 0 for the trainer's."""
        size = self.rule(picture, resolution, step or self.step)
        for _ in range(8):  # rules that round ratios need a second look, seldom a third
            again = self.rule(size, resolution, step or self.step)
            if again == size:
                break
            size = again
        return size

    def loss(self, picture: Size, resolutions: Sequence[int], step: int = 0) -> float:
        """The largest part (0..1) of the picture's area that any of the resolutions cuts off."""
        return max(cut_off(picture, self.size(picture, one, step)) for one in resolutions)


def cut_off(picture: Size, bucket: Size) -> float:
    """The part (0..1) of a picture that is lost when it is scaled to cover a bucket and cut to it."""
    ratio = (picture[0] * bucket[1]) / (picture[1] * bucket[0])
    return 1 - min(ratio, 1 / ratio)


def by_area(picture: Size, resolution: int, step: int) -> Size:
    """No more pixels than there are or than a square of that edge has: each edge down or up to a step."""
    most = resolution * resolution
    wanted = min(picture[0] * picture[1], most)
    factor = math.sqrt(wanted / (picture[0] * picture[1])) / step
    wide, tall = picture[0] * factor, picture[1] * factor
    corners = [
        (w * step, h * step) for w in (math.floor(wide), math.ceil(wide)) for h in (math.floor(tall), math.ceil(tall))
    ]
    fitting = [(w, h) for w, h in corners if w and h and w * h <= most]
    if not fitting:
        fitting = [(max(step, math.floor(wide) * step), max(step, math.floor(tall) * step))]
    return min(fitting, key=lambda size: abs(size[0] * size[1] - wanted))


def by_list(picture: Size, resolution: int, step: int) -> Size:
    """The size of the nearest ratio among those of about one area, up to 4 : 1."""
    return _nearest(picture, _areas(resolution, step))


def by_range(picture: Size, resolution: int, step: int) -> Size:
    """The size of the nearest ratio among those whose edges are 256 to 1024 pixels."""
    sizes = _range(resolution, step)
    return picture if picture in sizes else _nearest(picture, sizes)


def by_ratio(picture: Size, resolution: int, step: int) -> Size:
    """About the area of a square, the ratio rounded to hundredths."""
    edge = _rounded(int(math.sqrt(resolution * resolution)), step)
    ratio = round(picture[0] / picture[1], 2) or 0.01
    return _rounded(edge * math.sqrt(ratio), step), _rounded(edge / math.sqrt(ratio), step)


def downwards(picture: Size, resolution: int, step: int) -> Size:
    """No more pixels than a square has, each edge down to a step."""
    factor = max(1.0, math.sqrt(picture[0] * picture[1] / (resolution * resolution)))
    return tuple(max(step, int(edge / factor) // step * step) for edge in picture)  # type: ignore[return-value] # two edges


def at_most(picture: Size, resolution: int, step: int) -> Size:
    """`downwards`, and never above the area up to which diffusers leaves a control as it is."""
    return downwards(picture, min(resolution, _KLEIN_EDGE), step)


def cut_by_klein(control: Size) -> float:
    """The part (0..1) of a control that diffusers' FLUX.2 klein example cuts off, and of no target, so that one lies
    beside the other: it makes a control no larger than 1024 x 1024, then cuts each edge to a multiple of 8. Source:
    train_dreambooth_lora_flux2_klein_img2img.py `DreamBoothDataset.__init__`."""
    factor = min(1.0, _KLEIN_EDGE / math.sqrt(control[0] * control[1]))
    wide, tall = (max(1, int(edge * factor)) for edge in control)
    return 1 - (wide // _KLEIN_STEP * _KLEIN_STEP) * (tall // _KLEIN_STEP * _KLEIN_STEP) / (wide * tall)


def _rounded(edge: float, step: int) -> int:
    return max(step, round(edge / step) * step)


def _nearest(picture: Size, sizes: tuple[Size, ...]) -> Size:
    return min(sizes, key=lambda size: abs(size[0] / size[1] - picture[0] / picture[1]))


@cache
def _areas(resolution: int, step: int) -> tuple[Size, ...]:
    most = resolution * resolution
    first = max(step, resolution // 2 // step * step)
    pairs = [(w, max(step, most // w // step * step)) for w in range(first, resolution + step, step)]
    return tuple(sorted({*pairs, *((tall, wide) for wide, tall in pairs)}))


@cache
def _range(resolution: int, step: int, least: int = 256, most: int = 1024) -> tuple[Size, ...]:
    area, edge = resolution * resolution, max(step, resolution // step * step)
    sizes = {(edge, edge)}
    for wide in range(least, most + 1, step):
        tall = min(most, area // wide // step * step)
        if tall >= least:
            sizes |= {(wide, tall), (tall, wide)}
    return tuple(sorted(sizes))
