"""Each trainer's own configuration of a set, ready to use: paths that its machine has, none of this computer; pure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any, Final

from engine.dataset.layouts import LAYOUTS, Layout, Trainer, control_folder
from engine.dataset.manifests import METADATA, Row, SetFacts, argument, lines, provenance, provenance_of, quoted
from engine.dataset.split import Side

_SAMPLES: Final = 4
_SAMPLE_CONTROLS: Final = 3  # AI-Toolkit takes as many with a sample
_HERE: Final = (
    "# Paths are relative to the folder of this file: start the training there, or export with a path root.\n"
)


def text_files(trainer: Trainer, facts: SetFacts) -> dict[str, str]:
    """Relative path → text of every file that is no picture or caption."""
    layout = LAYOUTS[trainer]
    files = {} if layout.shards or trainer is Trainer.HUGGING_FACE else {METADATA: provenance(facts.rows)}
    writer = _WRITERS.get(trainer)
    return files | (writer(facts, layout) if writer else {})


def _sides(facts: SetFacts, layout: Layout) -> list[tuple[Side, str]]:
    """The sides that the trainer reads, with their folders."""
    return [(side, prefix) for side, prefix in facts.prefixes.items() if layout.validates or side is Side.TRAIN]


def _note(facts: SetFacts) -> str:
    return "" if facts.root else _HERE


def _samples(facts: SetFacts) -> list[Row]:
    """Pairs that are held out, for pictures while training."""
    return facts.side(Side.VALIDATION)[:_SAMPLES]


def _ai_toolkit(facts: SetFacts, layout: Layout) -> dict[str, str]:
    """Source: toolkit/config_modules.py `DatasetConfig`, `SampleItem` (``ctrl_img_1`` to ``ctrl_img_3``)."""
    files = {}
    for side, at in _sides(facts, layout):
        files[f"{at}ai_toolkit.yaml"] = (
            '# The parts "datasets" and "sample" of a process in an AI-Toolkit job.\n'
            f"{_note(facts)}"
            "datasets:\n"
            f"{''.join(_ai_toolkit_folder(facts, at, *group) for group in facts.groups(side))}"
            f"{_ai_toolkit_samples(facts, at)}"
        )
    return files


def _ai_toolkit_folder(facts: SetFacts, at: str, folder: str, repeats: int) -> str:
    controls = [quoted(facts.path(f"{folder}{control_folder(number)}", at)) for number in range(facts.controls)]
    control = controls[0] if len(controls) == 1 else f"[{', '.join(controls)}]"
    mask = f"    mask_path: {quoted(facts.path('mask', at))}\n" if facts.masks else ""
    return (
        f"  - folder_path: {quoted(facts.path(f'{folder}target', at))}\n"
        f"    control_path: {control}\n"
        f"{mask}"
        '    caption_ext: "txt"\n'
        "    caption_dropout_rate: 0.05\n"
        f"    num_repeats: {repeats}\n"
        f"    resolution: {list(facts.resolutions)}\n"
    )


def _ai_toolkit_samples(facts: SetFacts, at: str) -> str:
    if not _samples(facts):
        return ""
    text = "sample:\n  samples:\n"
    for row in _samples(facts):
        text += f"    - prompt: {quoted(row.caption)}\n"
        for number, control in enumerate(row.placed.controls[:_SAMPLE_CONTROLS], 1):
            text += f"      ctrl_img_{number}: {quoted(facts.path(control, at))}\n"
    return text


def _fal(*_: object) -> dict[str, str]:
    """The arguments of a training request; the ZIP has to be uploaded first."""
    request = {"image_data_url": "URL of train.zip, once uploaded", "steps": 1000}
    return {"fal.json": json.dumps(request, indent=1) + "\n"}


def _musubi(facts: SetFacts, layout: Layout) -> dict[str, str]:
    """Source: dataset/image_video_dataset.py: without ``control_resolution`` every control is cut to the target's
    bucket; with it each gets the bucket of its own shape, which for the first one is the target's."""
    files = {}
    for side, at in _sides(facts, layout):
        text = f'{_note(facts)}[general]\ncaption_extension = ".txt"\nbatch_size = 1\nenable_bucket = true\n'
        for edge, (folder, repeats) in itertools.product(facts.resolutions, facts.groups(side)):
            cache = "cache" if len(facts.resolutions) == 1 else f"cache_{edge}"
            text += (
                "\n[[datasets]]\n"
                f"resolution = [{edge}, {edge}]\n"
                f"image_directory = {quoted(facts.path(f'{folder}target', at))}\n"
                f"control_directory = {quoted(facts.path(f'{folder}control', at))}\n"
                f"cache_directory = {quoted(facts.path(f'{folder}{cache}', at))}\n"
                f"control_resolution = [{edge}, {edge}]\n"
                "no_resize_control = false\n"
                f"num_repeats = {repeats}\n"
            )
        text += "# FLUX.2 with one control: no_resize_control = true and control_resolution = [2024, 2024]\n"
        if facts.controls > 1:
            text += "# Several controls are for Qwen-Edit, FLUX.2 and HiDream-O1: Kontext takes the first\n"
        files[f"{at}musubi.toml"] = text
        samples = [line for row in _samples(facts) if (line := _musubi_sample(facts, row, at))]
        if samples:
            files[f"{at}musubi_sample_prompts.txt"] = "".join(samples)
    return files


def _musubi_sample(facts: SetFacts, row: Row, at: str) -> str:
    """A prompt with its controls; two hyphens would begin an argument, and no path that has them can be named."""
    prompt, paths = row.caption.replace("--", "-"), [facts.path(control, at) for control in row.placed.controls]
    if any(" --" in path for path in paths):
        return ""
    return f"{prompt}{''.join(f' --ci {path}' for path in paths)}\n"


def _kohya(facts: SetFacts, layout: Layout) -> dict[str, str]:
    files = {}
    for side, at in _sides(facts, layout):
        files[f"{at}kohya.toml"] = (
            "# For ControlNet and LLLite training only: the LoRA scripts refuse conditioning_data_dir, and with\n"
            "# --masked_loss they take the control for a mask. Target and control have the same size in pixels.\n"
            f"{_note(facts)}"
            "[[datasets]]\n"
            f"resolution = {max(facts.resolutions)}\n"
            "batch_size = 1\n"
            "enable_bucket = true\n"
        )
        for folder, repeats in facts.groups(side):
            files[f"{at}kohya.toml"] += (
                "\n[[datasets.subsets]]\n"
                f"image_dir = {quoted(facts.path(f'{folder}target', at))}\n"
                f"conditioning_data_dir = {quoted(facts.path(f'{folder}control', at))}\n"
                'caption_extension = ".txt"\n'
                f"num_repeats = {repeats}\n"
            )
    return files


def _hugging_face(facts: SetFacts, layout: Layout) -> dict[str, str]:
    """Tables whose columns become ``input`` (a list where there are several), ``output`` and ``prompt``."""
    several = facts.controls > 1
    files: dict[str, str] = {}
    for side, prefix in _sides(facts, layout):
        if rows := facts.side(side):
            files[f"{prefix}{METADATA}"] = lines([_image_row(row, prefix, several) for row in rows])
    files["diffusers.txt"] = (
        f"--dataset_name {argument(facts.path(''))} --image_column output"
        f" --cond_image_column input --caption_column prompt{_repeated('repeats', facts)}\n"
    )
    return files


def _repeated(flag: str, facts: SetFacts, side: Side = Side.TRAIN) -> str:
    """The argument of a trainer that is told repeats in its command line, where there are any."""
    return f" --{flag} {facts.repeats(side)}" if facts.repeats(side) > 1 else ""


def _image_row(row: Row, prefix: str, several: bool) -> dict[str, Any]:
    inputs = [path.removeprefix(prefix) for path in row.placed.controls]
    told = provenance_of(row)
    kept = ("source_name", "target_sha256", "model", "api_url", "created_at", "result_id", "direction")
    return {
        **({"input_file_names": inputs} if several else {"input_file_name": inputs[0]}),
        "output_file_name": row.placed.target.removeprefix(prefix),
        "prompt": row.caption,
        **{key: told[key] for key in kept},
        "source_sha256": " ".join(row.source_hashes),
        "instruction": told["prompt"],
        "system_prompt": told["system_prompt"],
        "parameters": json.dumps(told["parameters"], ensure_ascii=False, sort_keys=True),
    }


def _diffsynth(facts: SetFacts, layout: Layout) -> dict[str, str]:
    """Rows of one control name it, those of several list them; both may stand in one table."""
    files: dict[str, str] = {}
    for side, at in _sides(facts, layout):
        table = []
        for row in facts.side(side):
            controls = [path.removeprefix(at) for path in row.placed.controls]
            edit = controls if len(controls) > 1 else controls[0]
            table.append({"image": row.placed.target.removeprefix(at), "prompt": row.caption, "edit_image": edit})
        # ASCII: DiffSynth opens it in the system's encoding, which is not UTF-8 on Windows.
        files[f"{at}diffsynth.json"] = json.dumps(table, indent=0) + "\n"
        base, named = facts.path(at, at), facts.path(f"{at}diffsynth.json", at)
        files[f"{at}diffsynth_arguments.txt"] = (
            f"--dataset_base_path {argument(base)} --dataset_metadata_path {argument(named)}"
            f" --max_pixels {max(facts.resolutions) ** 2}{_repeated('dataset_repeat', facts, side)}"
            ' --data_file_keys "image,edit_image" --extra_inputs "edit_image"\n'
            '# FLUX.1 Kontext: call the column "kontext_images" in the table and in both arguments.\n'
        )
    return files


def _simpletuner(facts: SetFacts, layout: Layout) -> dict[str, str]:
    """All data sets of both sides, each with a control set for every place, and the arguments that go with them.

    The validation side is no ``eval`` set, since those get no controls: it is one that is never drawn for training
    (probability 0, from SimpleTuner 4.0 on), and the only one that validation pictures are made of.
    """
    backends: list[dict[str, Any]] = []
    for side, at in _sides(facts, layout):
        for folder, repeats in facts.groups(side):
            backends += _simpletuner_folder(facts, side, folder, repeats, own=folder != at)
    text_cache = {
        "id": f"{facts.name}-text",
        "type": "local",
        "dataset_type": "text_embeds",
        "default": True,
        "cache_dir": f"cache/text/{facts.name}",
    }
    arguments = f"--data_backend_config {argument(facts.path('multidatabackend.json'))}"
    if facts.controls > 1:  # by itself it draws one of them for each picture
        arguments += " --conditioning_multidataset_sampling combined"
    return {
        "multidatabackend.json": json.dumps([*backends, text_cache], ensure_ascii=False, indent=1) + "\n",
        "simpletuner_arguments.txt": arguments + "\n",
    }


def _simpletuner_folder(facts: SetFacts, side: Side, at: str, repeats: int, *, own: bool) -> list[dict[str, Any]]:
    """The data set of a folder and its control sets. ``own``: it has repeats of its own."""
    title = f"{facts.name}-{side}{f'-x{repeats}' if own else ''}"
    names = [f"{title}-{control_folder(number)}" for number in range(facts.controls)]
    target = (
        _backend(facts, f"{at}target", title)
        | {"dataset_type": "image", "caption_strategy": "textfile", "conditioning_data": names}
        | ({"repeats": repeats - 1} if repeats > 1 else {})  # beside the first time
        | ({"probability": 0.0} if side is Side.VALIDATION else {})
        | ({"disable_validation": True} if side is Side.TRAIN and len(facts.prefixes) > 1 else {})
    )
    # Strict ones are cut as their target is; of another shape they would be stretched.
    return [target] + [
        _backend(facts, f"{at}{control_folder(number)}", name)
        | {"dataset_type": "conditioning", "caption_strategy": None}
        | {"conditioning_type": "reference_loose" if number else "reference_strict"}
        for number, name in enumerate(names)
    ]


def _backend(facts: SetFacts, folder: str, name: str) -> dict[str, Any]:
    """``crop_style``: by itself it is random, and drawn apart for target and control."""
    return {
        "id": name,
        "type": "local",
        "instance_data_dir": facts.path(folder),
        "resolution": max(facts.resolutions),
        "resolution_type": "pixel_area",
        "crop_style": "center",
        "cache_dir_vae": f"cache/vae/{name}",
    }


def _diffusion_pipe(facts: SetFacts, layout: Layout) -> dict[str, str]:
    """A dataset for each side, the validation's to be named under ``eval_datasets``. Source: utils/dataset.py: with
    ``size_buckets`` (width, height, frames) a picture of one of these sizes is neither scaled nor cut."""
    files = {}
    for side, at in _sides(facts, layout):
        sizes = sorted({row.size for row in facts.side(side)})
        mask = f"mask_path = {quoted(facts.path('mask', at))}\n" if facts.masks else ""
        files[f"{at}diffusion_pipe.toml"] = (
            f"{_note(facts)}"
            f"resolutions = {list(facts.resolutions)}\n"
            "enable_ar_bucket = true\n"
            f"size_buckets = {[[*size, 1] for size in sizes]}\n"
        )
        for folder, repeats in facts.groups(side):
            files[f"{at}diffusion_pipe.toml"] += (
                "\n[[directory]]\n"
                f"path = {quoted(facts.path(f'{folder}target', at))}\n"
                f"control_path = {quoted(facts.path(f'{folder}control', at))}\n"
                f"{mask}"
                f"num_repeats = {repeats}\n"
            )
    return files


def _preference(facts: SetFacts, layout: Layout) -> dict[str, str]:
    """A line for each pair of results: paths relative to the file."""
    return {
        f"{at}preference.jsonl": lines([_preference_row(row, at) for row in facts.side(side)])
        for side, at in _sides(facts, layout)
    }


def _preference_row(row: Row, at: str) -> dict[str, Any]:
    source, *others = (path.removeprefix(at) for path in row.placed.controls)
    *references, rejected = others
    told: dict[str, Any] = {
        "source": source,
        "prompt": row.caption,
        "chosen": row.placed.target.removeprefix(at),
        "rejected": rejected,
        "chosen_score": row.pair.score,
        "rejected_score": row.pair.rejected.score if row.pair.rejected else None,
        "judge": row.pair.judge,
    }
    return told | ({"references": references} if references else {})


_WRITERS: Final[dict[Trainer, Callable[[SetFacts, Layout], dict[str, str]]]] = {
    Trainer.AI_TOOLKIT: _ai_toolkit,
    Trainer.FAL: _fal,
    Trainer.MUSUBI: _musubi,
    Trainer.KOHYA: _kohya,
    Trainer.HUGGING_FACE: _hugging_face,
    Trainer.DIFFSYNTH: _diffsynth,
    Trainer.SIMPLETUNER: _simpletuner,
    Trainer.DIFFUSION_PIPE: _diffusion_pipe,
    Trainer.PREFERENCE: _preference,
}
