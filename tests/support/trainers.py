"""How each trainer finds pairs in a set, by its own rules: for tests of exported sets."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import yaml
from PIL import Image

_IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


class Loaded(msgspec.Struct, frozen=True):
    """What a trainer would train on: bytes of target and controls, and the caption."""

    target: bytes
    controls: tuple[bytes, ...]
    caption: str


def _pictures(folder: Path, *, walk: bool = False) -> list[Path]:
    found = folder.rglob("*") if walk else folder.iterdir()
    return sorted(path for path in found if path.suffix.lower() in _IMAGES)


def load_ai_toolkit(folder: Path) -> list[Loaded]:
    """Targets are walked recursively; a control has the same stem in each control folder; a missing one is skipped."""
    sets = yaml.safe_load((folder / "ai_toolkit.yaml").read_text("utf-8"))["datasets"]
    return [pair for one in sets for pair in _load_ai_toolkit_folder(folder, one)]


def _load_ai_toolkit_folder(folder: Path, config: dict[str, Any]) -> list[Loaded]:
    targets, listed, extension = folder / config["folder_path"], config["control_path"], config["caption_ext"]
    controls = [folder / one for one in ([listed] if isinstance(listed, str) else listed)]
    loaded = []
    for path in _pictures(targets, walk=True):
        found = tuple(
            place.read_bytes()
            for control in controls
            for ending in (".jpg", ".jpeg", ".png", ".webp")
            if (place := control / f"{path.stem}{ending}").exists()
        )
        caption = path.with_suffix(f".{extension}")
        loaded.append(Loaded(path.read_bytes(), found, caption.read_text("utf-8") if caption.exists() else ""))
    return loaded


def load_fal(folder: Path) -> list[Loaded]:
    """One ZIP: ROOT_start.EXT, ROOT_start2.EXT …, ROOT_end.EXT, ROOT.txt; any other file is an error here."""
    roots: dict[str, dict[str, bytes]] = {}
    with zipfile.ZipFile(folder / "train.zip") as archive:
        assert archive.testzip() is None
        for name in archive.namelist():
            match = re.fullmatch(r"(.+?)(?:_(start[234]?|end)\.(?:png|jpg|jpeg|webp)|\.(txt))", name)
            assert match, f"{name} is no part of a pair"
            roots.setdefault(match[1], {})[match[2] or match[3]] = archive.read(name)
    return [
        Loaded(
            parts["end"],
            tuple(parts[key] for key in ("start", "start2", "start3", "start4") if key in parts),
            parts["txt"].decode("utf-8"),
        )
        for _, parts in sorted(roots.items())
    ]


def load_musubi(folder: Path) -> list[Loaded]:
    """Images that have a caption; controls named alike or with ``_0``, ``_1``, longer names first; none is an error."""
    config = tomllib.loads((folder / "musubi.toml").read_text("utf-8"))
    extension = config["general"]["caption_extension"]
    loaded = []
    for dataset in config["datasets"]:
        assert dataset["cache_directory"]
        # Without it a second reference is cut to the shape of the target.
        assert dataset["control_resolution"] == dataset["resolution"]
        images = [
            path for path in _pictures(folder / dataset["image_directory"]) if path.with_suffix(extension).exists()
        ]
        left = set(_pictures(folder / dataset["control_directory"]))
        controls: dict[Path, list[Path]] = {}
        for image in sorted(images, key=lambda path: -len(path.name)):
            found = [p for p in left if p.stem == image.stem or re.fullmatch(re.escape(image.stem) + r"_\d+", p.stem)]
            assert found, f"no control for {image.name}"
            left -= set(found)
            controls[image] = sorted(found, key=lambda path: (len(path.stem), path.stem))
        assert not left, f"controls without image: {left}"
        loaded += [
            Loaded(
                image.read_bytes(),
                tuple(path.read_bytes() for path in controls[image]),
                image.with_suffix(extension).read_text("utf-8"),
            )
            for image in images
        ]
    return loaded


def load_kohya(folder: Path) -> list[Loaded]:
    """One conditioning picture under the same base name; a missing or superfluous one is an error."""
    config = tomllib.loads((folder / "kohya.toml").read_text("utf-8"))
    loaded = []
    for subset in (subset for dataset in config["datasets"] for subset in dataset["subsets"]):
        controls = {path.stem: path for path in _pictures(folder / subset["conditioning_data_dir"])}
        images = _pictures(folder / subset["image_dir"])
        assert {path.stem for path in images} == set(controls)
        for path in images:  # library/train_util.py: an assertion that both have one size
            with Image.open(path) as image, Image.open(controls[path.stem]) as control:
                assert image.size == control.size
        loaded += [
            Loaded(
                path.read_bytes(),
                (controls[path.stem].read_bytes(),),
                path.with_suffix(subset["caption_extension"]).read_text("utf-8"),
            )
            for path in images
        ]
    return loaded


def load_hugging_face(folder: Path, split: str = "train") -> list[Loaded]:
    """With the library itself, as ``load_dataset(folder)`` does in the diffusers example."""
    import datasets

    found = datasets.load_dataset("imagefolder", data_dir=str(folder), split=split, cache_dir=str(folder / ".hf"))
    return [Loaded(_encoded(row["output"]), _inputs(row), row["prompt"]) for row in found]


def _inputs(row: dict[str, Any]) -> tuple[bytes, ...]:
    """A column of pictures, or of lists of them."""
    return tuple(_encoded(one) for one in (row["input"] if isinstance(row["input"], list) else [row["input"]]))


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def load_diffsynth(folder: Path) -> list[Loaded]:
    """Rows of a table; the columns named as file keys are paths below the base path, or lists of them.

    The table is read in the encoding of the system, whichever that is: only ASCII is the same in all.
    """
    words = shlex.split((folder / "diffsynth_arguments.txt").read_text("utf-8"), comments=True)
    arguments = dict(zip(words[::2], words[1::2], strict=True))
    base, table = (folder / arguments[f"--dataset_{one}_path"] for one in ("base", "metadata"))
    keys = next(csv.reader([arguments["--data_file_keys"]]))
    assert keys == ["image", "edit_image"]
    loaded = []
    for row in json.loads(table.read_text("ascii")):
        controls = row["edit_image"] if isinstance(row["edit_image"], list) else [row["edit_image"]]
        loaded.append(
            Loaded(
                (base / row["image"]).read_bytes(),
                tuple((base / path).read_bytes() for path in controls),
                row["prompt"],
            )
        )
    return loaded


def load_simpletuner(folder: Path, *, trained: bool = True) -> list[Loaded]:
    """An image set with its conditioning sets, whose files have the very same names.

    Conditioning sets are connected to image sets only, not to eval sets; one of probability 0 is not trained on. Of
    several, one is taken by chance unless all are asked for.
    """
    backends = json.loads((folder / "multidatabackend.json").read_text("utf-8"))
    arguments = shlex.split((folder / "simpletuner_arguments.txt").read_text("utf-8"))
    assert arguments[:2] == ["--data_backend_config", "multidatabackend.json"]
    by_id = {backend["id"]: backend for backend in backends}
    assert {one["dataset_type"] for one in backends} == {"image", "conditioning", "text_embeds"}
    loaded = []
    for backend in backends:
        if backend["dataset_type"] != "image" or (backend.get("probability", 1) > 0) is not trained:
            continue
        assert backend["caption_strategy"] == "textfile"
        references = [by_id[name] for name in backend["conditioning_data"]]
        # By itself the crop is random, and drawn apart for target and control; a strict one takes the target's shape.
        assert {one["crop_style"] for one in (backend, *references)} == {"center"}
        kinds = [one["conditioning_type"] for one in references]
        assert kinds == ["reference_strict", *["reference_loose"] * (len(references) - 1)]
        assert arguments[2:] == (["--conditioning_multidataset_sampling", "combined"] if len(references) > 1 else [])
        for path in _pictures(folder / backend["instance_data_dir"]):
            controls = tuple((folder / one["instance_data_dir"] / path.name).read_bytes() for one in references)
            loaded.append(Loaded(path.read_bytes(), controls, path.with_suffix(".txt").read_text("utf-8")))
    return loaded


def load_diffusion_pipe(folder: Path) -> list[Loaded]:
    """Every picture of a folder with its caption; a control of the same stem in another one, or an error."""
    config = tomllib.loads((folder / "diffusion_pipe.toml").read_text("utf-8"))
    loaded = []
    for directory in config["directory"]:
        controls = {path.stem: path for path in _pictures(folder / directory["control_path"])}
        for path in _pictures(folder / directory["path"]):
            assert path.stem in controls, f"no control file exists for {path.name}"
            with Image.open(path) as image:
                assert [*image.size, 1] in config["size_buckets"]
            caption = path.with_suffix(".txt").read_text("utf-8").strip()
            loaded.append(Loaded(path.read_bytes(), (controls[path.stem].read_bytes(),), caption))
    return loaded


def load_preference(folder: Path) -> list[Loaded]:
    """A line for each pair of answers; source, references and the rejected answer stand beside the chosen one."""
    rows = [json.loads(line) for line in (folder / "preference.jsonl").read_text("utf-8").splitlines()]
    return [
        Loaded(
            (folder / row["chosen"]).read_bytes(),
            tuple(
                (folder / path).read_bytes() for path in (row["source"], *row.get("references", ()), row["rejected"])
            ),
            row["prompt"],
        )
        for row in rows
    ]


def load_webdataset(folder: Path) -> list[Loaded]:
    """With the library itself: files of one pair share what stands before the first dot."""
    import webdataset

    shards = sorted(str(path) for path in folder.glob("train-*.tar"))
    loaded = []
    for sample in webdataset.WebDataset(shards, shardshuffle=False):
        parts = {key.rpartition(".")[0] or key: value for key, value in sample.items() if not key.startswith("__")}
        inputs = sorted(key for key in parts if key.startswith("input"))
        loaded.append(Loaded(parts["output"], tuple(parts[key] for key in inputs), parts["txt"].decode("utf-8")))
    return loaded


def load_parquet(folder: Path) -> list[Loaded]:
    """With ``datasets``, by the splits that the data card names."""
    import datasets

    found = datasets.load_dataset(str(folder), split="train", cache_dir=str(folder / ".hf"))
    return [Loaded(_encoded(row["output"]), _inputs(row), row["prompt"]) for row in found]


def load_tars(folder: Path) -> list[Loaded]:
    """WebDataset with ``datasets``, which takes its columns from the first five pairs, and none that differ in them."""
    import datasets

    found = datasets.load_dataset(str(folder), split="train", cache_dir=str(folder / ".hf"))
    names = sorted(name for name in found.column_names if name.startswith("input"))
    (output,) = (name for name in found.column_names if name.startswith("output"))
    return [Loaded(_encoded(row[output]), tuple(_encoded(row[name]) for name in names), row["txt"]) for row in found]


LOADERS: dict[str, Callable[[Path], list[Loaded]]] = {
    "ai_toolkit": load_ai_toolkit,
    "fal": load_fal,
    "musubi": load_musubi,
    "kohya": load_kohya,
    "hugging_face": load_hugging_face,
    "diffsynth": load_diffsynth,
    "simpletuner": load_simpletuner,
    "diffusion_pipe": load_diffusion_pipe,
    "preference": load_preference,
    "webdataset": load_webdataset,
    "parquet": load_parquet,
}
