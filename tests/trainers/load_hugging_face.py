"""Run where ``datasets``, ``diffusers`` and torchvision are: loads a set as the image-edit examples of diffusers do.

``python load_hugging_face.py FOLDER``: a line of JSON ``[example, caption, target, [control]]`` for each pair and
example. Loading, buckets and the processor of pictures are the libraries' own; the examples themselves are in no
package, so that their few lines of resizing and cutting are told here by their rule. Source: diffusers,
examples/dreambooth, `DreamBoothDataset.__init__` and `paired_transform` of

* train_dreambooth_lora_flux_kontext.py: both pictures stretched to the bucket nearest to the target, then cut alike;
* train_dreambooth_lora_flux2_klein_img2img.py: the control first to at most 1024 x 1024 and cut to multiples of 8; then
  both brought to the size at which the target covers its bucket (one square, unless asked otherwise), and cut alike.

By default the cut is random, the same one for both.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from diffusers.pipelines.flux2.image_processor import Flux2ImageProcessor
from diffusers.training_utils import find_nearest_bucket, parse_buckets_string
from PIL import Image
from PIL.ImageOps import exif_transpose
from torchvision import transforms
from torchvision.transforms import functional

_BUCKETS = "1024,1024;832,1248;1248,832;720,1456;1456,720"  # height, width
_RESOLUTION = 1024
_STEP = 8

Both = tuple[Any, Any]


def main() -> None:
    """Each pair by each example."""
    folder = Path(sys.argv[1])
    parser = argparse.ArgumentParser()
    for name in ("dataset_name", "image_column", "cond_image_column", "caption_column"):
        parser.add_argument(f"--{name}")
    args = parser.parse_args(shlex.split((folder / "diffusers.txt").read_text("utf-8")))
    rows = load_dataset(args.dataset_name, cache_dir="cache")["train"]
    torch.manual_seed(1)
    for number, row in enumerate(rows):
        for example, prepared in EXAMPLES.items():
            pictures = prepared(row[args.image_column], row[args.cond_image_column])
            names = [f"{example}_{number}_{part}.png" for part in ("target", "control")]
            for picture, name in zip(pictures, names, strict=True):
                picture.save(name)
            print(json.dumps([example, row[args.caption_column], names[0], names[1:]]))


def kontext(target: Any, control: Any) -> Both:
    """Stretched to a bucket."""
    target, control = _upright(target), _upright(control)
    buckets = parse_buckets_string(_BUCKETS)
    size = buckets[find_nearest_bucket(target.height, target.width, buckets)]
    resize = transforms.Resize(size, interpolation=transforms.InterpolationMode.BILINEAR)
    return _cut(resize(target), resize(control), size)


def klein(target: Any, control: Any) -> Both:
    """Covering a square."""
    target = _upright(target)
    if control.width * control.height > _RESOLUTION**2:
        control = Flux2ImageProcessor._resize_to_target_area(control, _RESOLUTION**2)
    wide, tall = (edge // _STEP * _STEP for edge in control.size)
    tensor = Flux2ImageProcessor().preprocess(control, height=tall, width=wide, resize_mode="crop")[0]
    control = functional.to_pil_image((((tensor + 1) / 2).clamp(0, 1) * 255).byte())
    scale = max(_RESOLUTION / target.height, _RESOLUTION / target.width)
    covering = [round(target.height * scale), round(target.width * scale)]
    target, control = (
        functional.resize(one, covering, transforms.InterpolationMode.BILINEAR) for one in (target, control)
    )
    return _cut(target, control, (_RESOLUTION, _RESOLUTION))


def _cut(target: Any, control: Any, size: tuple[int, int]) -> Both:
    box = transforms.RandomCrop.get_params(target, output_size=size)
    return functional.crop(target, *box), functional.crop(control, *box)


def _upright(picture: Image.Image) -> Image.Image:
    return exif_transpose(picture).convert("RGB")


EXAMPLES: dict[str, Callable[[Any, Any], Both]] = {"kontext": kontext, "klein": klein}


if __name__ == "__main__":
    main()
