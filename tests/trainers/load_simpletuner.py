"""Run in SimpleTuner's own environment: loads a set as a training of FLUX.1 Kontext does and prints what it found.

``python load_simpletuner.py FOLDER``: a line of JSON ``[side, caption, target, [control, …]]`` for each pair that it
would train on or look at in validation; the pictures, as it decoded them, are written into the working folder.
``cut`` behind it: as they go to the model, resized and cut, instead.
Everything is SimpleTuner's but the weights of the model.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from simpletuner.helpers.caching.vae import prepare_sample
from simpletuner.helpers.configuration.cmd_args import parse_cmdline_args
from simpletuner.helpers.data_backend.factory import configure_multi_databackend
from simpletuner.helpers.data_backend.runtime.dataloader_iterator import get_backend_weight
from simpletuner.helpers.models.flux.model import Flux
from simpletuner.helpers.training.exceptions import MultiDatasetExhausted
from simpletuner.helpers.training.state_tracker import StateTracker
from simpletuner.helpers.training.validation import retrieve_validation_images

_TRAINING = (
    "--model_family=flux",
    "--model_flavour=kontext",
    "--model_type=lora",
    "--optimizer=adamw_bf16",
    "--output_dir=output",
    "--cache_dir=cache",
    "--train_batch_size=1",
    "--max_train_steps=100",
    "--num_train_epochs=0",
    "--num_eval_images=1000",
    "--seed=1",
    "--text_cache_ondemand",
)


class Weightless(Flux):  # type: ignore[misc] # SimpleTuner is not there where types are checked
    """The model as data loading knows it."""

    AUTOENCODER_CLASS = None

    def setup_training_noise_schedule(self) -> None:
        """Comes with the weights."""


def main() -> None:
    """Configures every data set of the set, takes one epoch out of each, and asks for the validation pictures."""
    arguments = shlex.split((Path(sys.argv[1]) / "simpletuner_arguments.txt").read_text("utf-8"))
    args = parse_cmdline_args([*arguments, *_TRAINING], exit_on_error=True)
    accelerator = Accelerator(cpu=True)
    model = Weightless(args, accelerator)
    StateTracker.set_model_family(args.model_family)
    StateTracker.set_model(model)
    configure_multi_databackend(args, accelerator, None, None, model)
    for place, (name, backend) in enumerate(sorted(StateTracker.get_data_backends(_type="eval").items())):
        if "sampler" not in backend:
            continue
        trained = backend["dataset_type"] == "image" and get_backend_weight(name, backend["train_dataloader"], 0) > 0
        for number, batch in enumerate(_epoch(backend)):
            (sample,) = batch["training_samples"]
            target = backend["data_backend"].read_image(sample["image_path"])
            pictures = [target, *(one.image for one in batch["conditioning_samples"])]
            if "cut" in sys.argv[2:]:
                at = [(name, sample["image_path"])]
                at += [(one.data_backend_id, one.image_path()) for one in batch["conditioning_samples"]]
                pictures = [
                    prepare_sample(picture, backend_id, path, model)[0]
                    for picture, (backend_id, path) in zip(pictures, at, strict=True)
                ]
            names = _written(f"{place}_{number}", pictures)
            print(
                json.dumps(["train" if trained else "validation", sample["instance_prompt_text"], names[0], names[1:]])
            )
    for number, one in enumerate(retrieve_validation_images()):
        controls = one.conditioning if isinstance(one.conditioning, list) else [one.conditioning]
        names = _written(f"shown_{number}", [control.image for control in controls])
        print(json.dumps(["shown", one.prompt, None, names]))


def _epoch(backend: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        for taken in backend["sampler"]:
            yield backend["train_dataset"][taken]
    except MultiDatasetExhausted:
        return


def _written(stem: str, pictures: list[Any]) -> list[str]:
    names = [f"{stem}_{part}.png" for part in range(len(pictures))]
    for picture, name in zip(pictures, names, strict=True):
        picture.save(name)
    return names


if __name__ == "__main__":
    main()
