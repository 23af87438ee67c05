"""Run where ``datasets`` and ``diffusers`` are: loads a set of shards as anybody would, by the data card in its folder.

``python load_published.py FOLDER``: a line of JSON ``[side, caption, target, [control, …]]`` for each pair; the
pictures, as they were decoded, are written into the working folder. A set whose column ``input`` holds pictures passes
diffusers' image-edit examples as well, which take it by its name.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from datasets import load_dataset
from load_hugging_face import EXAMPLES  # type: ignore[import-not-found] # beside this file, which is run as a script


def main() -> None:
    """Every split."""
    for side, rows in load_dataset(str(Path(sys.argv[1])), cache_dir="cache").items():
        output, *inputs = (name for kind in ("output", "input") for name in _named(rows.column_names, kind))
        caption = "txt" if "txt" in rows.column_names else "prompt"
        for number, row in enumerate(rows):
            pictures = [row[output], *(one for name in inputs for one in _several(row[name]))]
            if caption == "prompt" and len(pictures) == 2:
                for prepared in EXAMPLES.values():
                    assert prepared(*pictures)
            names = [f"{side}_{number}_{part}.png" for part in range(len(pictures))]
            for picture, name in zip(pictures, names, strict=True):
                picture.save(name)
            print(json.dumps([side, row[caption], names[0], names[1:]]))


def _named(columns: list[str], kind: str) -> list[str]:
    """``input``, ``input.png``, ``input2.png`` …, in order."""
    return sorted(name for name in columns if name.startswith(kind))


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


if __name__ == "__main__":
    main()
