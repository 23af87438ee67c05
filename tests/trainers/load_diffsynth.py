"""Run in DiffSynth-Studio's own environment: loads a set as its training scripts do and prints what it found.

``python load_diffsynth.py FOLDER``: a line of JSON ``[side, caption, target, [control, …]]`` for each pair; the
pictures, as it decoded them, are written into the working folder.
"""

from __future__ import annotations

import argparse
import json
import locale
import shlex
import sys
from pathlib import Path
from typing import Any

from diffsynth.core import UnifiedDataset
from diffsynth.diffusion.parsers import add_dataset_base_config, add_image_size_config, add_model_config


def main() -> None:
    """Loads each side."""
    locale.setlocale(locale.LC_ALL, "C")  # files that are opened without an encoding are not UTF-8 on Windows
    for place in sorted(Path(sys.argv[1]).rglob("diffsynth_arguments.txt")):
        side = place.parent.name if place.parent.name == "validation" else "train"
        for number, row in enumerate(_rows(place.read_text("utf-8").splitlines()[0])):
            pictures = [row["image"], *row["controls"]]
            names = [f"{side}_{number}_{part}.png" for part in range(len(pictures))]
            for picture, name in zip(pictures, names, strict=True):
                picture.save(name)
            print(json.dumps([side, row["prompt"], names[0], names[1:]]))


def _rows(line: str) -> list[dict[str, Any]]:
    """The arguments go through the trainer's parser, the table through its data set."""
    parser = argparse.ArgumentParser()
    for add in (add_dataset_base_config, add_image_size_config, add_model_config):
        add(parser)
    args = parser.parse_args(shlex.split(line))
    loaded = UnifiedDataset(
        base_path=args.dataset_base_path,
        metadata_path=args.dataset_metadata_path,
        data_file_keys=args.data_file_keys.split(","),
        main_data_operator=UnifiedDataset.default_image_operator(
            base_path=args.dataset_base_path, max_pixels=args.max_pixels, height=args.height, width=args.width
        ),
    )
    rows = [loaded[number] for number in range(len(loaded))]
    for row in rows:
        (control,) = (row[key] for key in args.extra_inputs.split(","))
        row["controls"] = control if isinstance(control, list) else [control]
    return rows


if __name__ == "__main__":
    main()
