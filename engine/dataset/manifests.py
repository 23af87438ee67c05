"""The text files of a set: tables for loaders, provenance, and each trainer's configuration, ready to use; pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from engine.dataset.layouts import Placed, Trainer, control_folder
from engine.dataset.pairs import Pair
from engine.dataset.split import Side

RESOLUTION: Final = 1024
METADATA: Final = "metadata.jsonl"


class Row(msgspec.Struct, frozen=True):
    """A pair as it was written. ``source_hashes``: sha256 of the sources, read when the set was written."""

    pair: Pair
    side: Side
    placed: Placed
    caption: str
    source_hashes: tuple[str, ...]


class SetFacts(msgspec.Struct, frozen=True):
    """What all text files need to know. ``place``: where the set will lie; ``prefixes``: the folder of each side."""

    name: str
    place: str
    rows: Sequence[Row]
    prefixes: dict[Side, str]

    @property
    def controls(self) -> int:
        """The most controls of any pair."""
        return max((len(row.placed.controls) for row in self.rows), default=1)

    def path(self, side: Side, folder: str) -> str:
        """A folder of a side, absolute, with slashes: every trainer takes those on Windows as well."""
        return f"{self.place}/{self.prefixes[side]}{folder}".rstrip("/")


def manifests(trainer: Trainer, facts: SetFacts) -> dict[str, str]:
    """Relative path → text of every file that is no picture or caption."""
    files = {} if trainer is Trainer.HUGGING_FACE else {METADATA: provenance(facts.rows)}
    return files | _WRITERS[trainer](facts)


def provenance(rows: Sequence[Row]) -> str:
    """One JSON object a line for each pair: its files, caption, and where it comes from."""
    return _lines([_provenance(row) for row in rows])


def _provenance(row: Row) -> dict[str, Any]:
    made = row.pair.provenance
    return {
        "target": row.placed.target,
        "controls": list(row.placed.controls),
        "caption": row.caption,
        "split": row.side.value,
        "source_name": row.pair.name,
        "source_sha256": list(row.source_hashes),
        "target_sha256": row.pair.target.hash,
        "prompt": made.prompt,
        "system_prompt": made.system_prompt,
        "model": made.model,
        "api_url": made.api_url,
        "parameters": made.parameters,
        "created_at": made.at,
        "result_id": row.pair.id,
    }


def _lines(rows: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _quoted(text: str) -> str:
    """A string as JSON, YAML and TOML all read it."""
    return json.dumps(text, ensure_ascii=False)


def _ai_toolkit(facts: SetFacts) -> dict[str, str]:
    files = {}
    for side in facts.prefixes:
        controls = [_quoted(facts.path(side, control_folder(number))) for number in range(facts.controls)]
        control = controls[0] if len(controls) == 1 else f"[{', '.join(controls)}]"
        files[f"{facts.prefixes[side]}ai_toolkit.yaml"] = (
            '# The part "datasets" of a process in an AI-Toolkit job.\n'
            "datasets:\n"
            f"  - folder_path: {_quoted(facts.path(side, 'target'))}\n"
            f"    control_path: {control}\n"
            '    caption_ext: "txt"\n'
            "    caption_dropout_rate: 0.05\n"
            f"    resolution: [512, 768, {RESOLUTION}]\n"
        )
    return files


def _fal(_: SetFacts) -> dict[str, str]:
    """The arguments of a training request; the ZIP has to be uploaded first."""
    request = {"image_data_url": "URL of train.zip, once uploaded", "steps": 1000}
    return {"fal.json": json.dumps(request, indent=1) + "\n"}


def _musubi(facts: SetFacts) -> dict[str, str]:
    files = {}
    for side in facts.prefixes:
        files[f"{facts.prefixes[side]}musubi.toml"] = (
            "[general]\n"
            f"resolution = [{RESOLUTION}, {RESOLUTION}]\n"
            'caption_extension = ".txt"\n'
            "batch_size = 1\n"
            "enable_bucket = true\n\n"
            "[[datasets]]\n"
            f"image_directory = {_quoted(facts.path(side, 'target'))}\n"
            f"control_directory = {_quoted(facts.path(side, 'control'))}\n"
            f"cache_directory = {_quoted(facts.path(side, 'cache'))}\n"
            f"# for Qwen-Image-Edit: control_resolution = [{RESOLUTION}, {RESOLUTION}]\n"
        )
    return files


def _kohya(facts: SetFacts) -> dict[str, str]:
    files = {}
    for side in facts.prefixes:
        files[f"{facts.prefixes[side]}kohya.toml"] = (
            "[[datasets]]\n"
            f"resolution = {RESOLUTION}\n"
            "batch_size = 1\n"
            "enable_bucket = true\n\n"
            "[[datasets.subsets]]\n"
            f"image_dir = {_quoted(facts.path(side, 'target'))}\n"
            f"conditioning_data_dir = {_quoted(facts.path(side, 'control'))}\n"
            'caption_extension = ".txt"\n'
            "num_repeats = 1\n"
        )
    return files


def _hugging_face(facts: SetFacts) -> dict[str, str]:
    """Tables whose columns become ``input`` (a list where there are several), ``output`` and ``prompt``."""
    several = facts.controls > 1
    files: dict[str, str] = {}
    for side, prefix in facts.prefixes.items():
        rows = [row for row in facts.rows if row.side is side]
        if rows:
            files[f"{prefix}{METADATA}"] = _lines([_image_row(row, prefix, several) for row in rows])
    files["diffusers.txt"] = (
        f"--dataset_name {_quoted(facts.place)} --image_column output"
        " --cond_image_column input --caption_column prompt\n"
    )
    return files


def _image_row(row: Row, prefix: str, several: bool) -> dict[str, Any]:
    inputs = [path.removeprefix(prefix) for path in row.placed.controls]
    told = _provenance(row)
    return {
        **({"input_file_names": inputs} if several else {"input_file_name": inputs[0]}),
        "output_file_name": row.placed.target.removeprefix(prefix),
        "prompt": row.caption,
        **{key: told[key] for key in ("source_name", "target_sha256", "model", "api_url", "created_at", "result_id")},
        "source_sha256": " ".join(row.source_hashes),
        "instruction": told["prompt"],
        "system_prompt": told["system_prompt"],
        "parameters": json.dumps(told["parameters"], ensure_ascii=False, sort_keys=True),
    }


def _diffsynth(facts: SetFacts) -> dict[str, str]:
    files: dict[str, str] = {}
    for side, prefix in facts.prefixes.items():
        table = []
        for row in facts.rows:
            if row.side is side:
                controls = [path.removeprefix(prefix) for path in row.placed.controls]
                edit = controls if facts.controls > 1 else controls[0]
                table.append(
                    {"image": row.placed.target.removeprefix(prefix), "prompt": row.caption, "edit_image": edit}
                )
        if table:
            # ASCII: DiffSynth opens it in the system's encoding, which is not UTF-8 on Windows.
            files[f"{prefix}diffsynth.json"] = json.dumps(table, indent=0) + "\n"
            base = facts.path(side, "")
            files[f"{prefix}diffsynth_arguments.txt"] = (
                f"--dataset_base_path {_quoted(base)} --dataset_metadata_path {_quoted(base + '/diffsynth.json')}"
                ' --data_file_keys "image,edit_image" --extra_inputs "edit_image"\n'
                'FLUX.1 Kontext: call the column "kontext_images" in the table and in both arguments.\n'
            )
    return files


def _simpletuner(facts: SetFacts) -> dict[str, str]:
    """All data sets of both sides, each with a control set for every place, and the arguments that go with them.

    The validation side is no ``eval`` set, since those get no controls: it is one that is never drawn for training
    (probability 0, from SimpleTuner 4.0 on), and the only one that validation pictures are made of.
    """
    backends: list[dict[str, Any]] = []
    for side in facts.prefixes:
        names = [f"{facts.name}-{side}-{control_folder(number)}" for number in range(facts.controls)]
        backends.append(
            _backend(facts, side, "target", f"{facts.name}-{side}")
            | {"dataset_type": "image", "caption_strategy": "textfile", "conditioning_data": names}
            | ({"probability": 0.0} if side is Side.VALIDATION else {})
            | ({"disable_validation": True} if side is Side.TRAIN and len(facts.prefixes) > 1 else {})
        )
        backends += [
            _backend(facts, side, control_folder(number), name)
            | {"dataset_type": "conditioning", "conditioning_type": "reference_strict", "caption_strategy": None}
            for number, name in enumerate(names)
        ]
    text_cache = {
        "id": f"{facts.name}-text",
        "type": "local",
        "dataset_type": "text_embeds",
        "default": True,
        "cache_dir": f"cache/text/{facts.name}",
    }
    arguments = f"--data_backend_config {_quoted(facts.place + '/multidatabackend.json')}"
    if facts.controls > 1:  # by itself it draws one of them for each picture
        arguments += " --conditioning_multidataset_sampling combined"
    return {
        "multidatabackend.json": json.dumps([*backends, text_cache], ensure_ascii=False, indent=1) + "\n",
        "simpletuner_arguments.txt": arguments + "\n",
    }


def _backend(facts: SetFacts, side: Side, folder: str, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "type": "local",
        "instance_data_dir": facts.path(side, folder),
        "resolution": RESOLUTION,
        "resolution_type": "pixel_area",
        "cache_dir_vae": f"cache/vae/{name}",
    }


_WRITERS: Final[dict[Trainer, Callable[[SetFacts], dict[str, str]]]] = {
    Trainer.AI_TOOLKIT: _ai_toolkit,
    Trainer.FAL: _fal,
    Trainer.MUSUBI: _musubi,
    Trainer.KOHYA: _kohya,
    Trainer.HUGGING_FACE: _hugging_face,
    Trainer.DIFFSYNTH: _diffsynth,
    Trainer.SIMPLETUNER: _simpletuner,
}
