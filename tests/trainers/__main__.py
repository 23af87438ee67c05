"""Loads exported sets with the code of the trainers themselves: ``python -m tests.trainers [TRAINER ...]``.

Each trainer gets an environment of its own in dist/trainers, several gigabytes and minutes the first time, since they
need torch. Prints one table; 1 when a pair was matched otherwise than it was meant. Weights and a GPU are not needed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from PIL import Image

from engine.dataset.layouts import LAYOUTS, Trainer
from tests.trainers import aligned
from tests.trainers.sets import PAIRS, Match, edited, expected, exported

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
_CLOSE: Final = 3.0  # mean difference of a channel, 0..255, that two decoders of one JPEG stay below
_LIMIT: Final = 600.0
_VERSIONS: Final = """
import sys
from importlib.metadata import version
print(version(sys.argv[1]), "torch", version("torch"), "Python", *sys.version.split()[:1])
"""


class Installed(msgspec.Struct, frozen=True):
    """What a trainer's environment holds, the Pythons that it takes, and the package that its version is told by."""

    requirements: tuple[str, ...]
    pythons: tuple[str, ...]
    package: str
    home: str
    script: str


# SimpleTuner 3, the last for Python 3.11, imports names that diffusers and torchao have dropped since; SimpleTuner 4
# one that transformers has.
_PYTHONS: Final = ("python3.12", "python3.13")
_SIMPLETUNER: Final = ("simpletuner==4.10.1", "transformers==5.18.0")
TRAINERS: Final = {
    "diffsynth": Installed(
        ("diffsynth==2.1.12",), ("python3.11", "python3.12", "python3.13"), "diffsynth", "diffsynth", "diffsynth"
    ),
    "simpletuner": Installed(_SIMPLETUNER, _PYTHONS, "simpletuner", "simpletuner", "simpletuner"),
    # SimpleTuner stands on datasets and diffusers: its environment holds both.
    "hugging_face": Installed(_SIMPLETUNER, _PYTHONS, "diffusers", "simpletuner", "hugging_face"),
    "parquet": Installed(_SIMPLETUNER, _PYTHONS, "datasets", "simpletuner", "published"),
    "webdataset": Installed(_SIMPLETUNER, _PYTHONS, "datasets", "simpletuner", "published"),
}


class Found(msgspec.Struct, array_like=True, frozen=True):
    """A pair as a loader prints it; ``shown``: one that validation looks at, without its target."""

    side: str
    caption: str
    target: str | None
    controls: tuple[str, ...]


def main() -> int:
    """All trainers, or those named."""
    parser = argparse.ArgumentParser(prog="python -m tests.trainers", description=__doc__.partition("\n")[0])
    parser.add_argument("trainers", nargs="*", metavar="TRAINER", help=", ".join(TRAINERS))
    wanted = parser.parse_args().trainers or list(TRAINERS)
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory(prefix="trainers-") as place:
        for trainer in wanted:
            python = environment(trainer)
            version = _run([python, "-c", _VERSIONS, TRAINERS[trainer].package], HERE).stdout.strip()
            for row in itertools.chain(
                _checked(trainer, python, Path(place) / trainer), _aligned(trainer, python, Path(place) / trainer)
            ):
                rows.append((trainer, version, *row))
                print(" · ".join(rows[-1]), flush=True)
    print("\n| trainer | versions | set | matched |\n|---|---|---|---|")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return 1 if any("WRONG" in row[-1] for row in rows) else 0


def environment(trainer: str) -> str:
    """The trainer's Python, installed where it is not yet."""
    wanted = TRAINERS[trainer]
    place = ROOT / "dist" / "trainers" / wanted.home
    python, mark = place / "bin" / "python", place / "installed"
    if not mark.exists() or mark.read_text("utf-8").split() != list(wanted.requirements):
        base = next((one for one in wanted.pythons if _works(one)), None)
        if base is None:
            sys.exit(f"{trainer} needs one of {', '.join(wanted.pythons)}")
        print(f"installing {' '.join(wanted.requirements)}", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([base, "-m", "venv", str(place)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted.requirements], check=True)
        mark.write_text("\n".join(wanted.requirements), "utf-8")
    return str(python)


def _works(python: str) -> bool:
    return shutil.which(python) is not None and not subprocess.call(
        [python, "-V"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _checked(trainer: str, python: str, place: Path) -> Iterator[tuple[str, str]]:
    """Every set: whole, split, with a file missing; one and three source pictures for each pair."""
    if trainer == "hugging_face":  # what its library finds is among the tests; its examples hand on cut pictures only
        return
    for pictures in (1, 3):
        with edited(place / str(pictures), pictures) as door:
            meant = expected(door)
            for validation in (0.0, 0.25):
                folder = exported(door, place / "sets", trainer, validation)
                kept = round(PAIRS * validation)
                name = f"{PAIRS - kept} + {kept} pairs, {pictures} source{'s' * (pictures > 1)} each"
                held = kept if LAYOUTS[Trainer(trainer)].validates else 0  # else its configuration names none of them
                yield name, _judged(load(trainer, python, folder), folder, meant, kept, held)
            if pictures == 1 and not LAYOUTS[Trainer(trainer)].shards:
                for missing in ("control", "target"):
                    folder = exported(door, place / "sets", trainer, 0)
                    next((folder / missing).glob("0002.*[!t]")).unlink()
                    yield f"a {missing} deleted", _told(load(trainer, python, folder))


def _aligned(trainer: str, python: str, place: Path) -> Iterator[tuple[str, str]]:
    """Pairs of uneven sizes, with a reference where the trainer takes one, after its own resizing and cutting."""
    if LAYOUTS[Trainer(trainer)].shards:  # no trainer of its own
        return
    references = min(1, LAYOUTS[Trainer(trainer)].max_controls - 1)
    for number, (name, (rule, resized)) in enumerate(aligned.RULES.items()):
        pairs = aligned.made(place / f"uneven {number}", references, resized=resized)
        pairs, refused, folder = aligned.exported(pairs, place / f"uneven sets {number}", trainer, rule)
        found = load(trainer, python, folder, "cut")
        if isinstance(found, str):
            yield name, f"WRONG: {found}"
            continue
        seen = [
            aligned.Seen(one.side, one.caption, Path(one.target), tuple(map(Path, one.controls)))
            for one in found
            if one.target
        ]
        yield (
            f"{len(pairs)} pairs of uneven sizes, {references + 1} sources each, {name}{refused}",
            aligned.judged(seen, pairs, trainer, rule),
        )


def load(trainer: str, python: str, folder: Path, *how: str) -> list[Found] | str:
    """What the trainer's code finds, or the last line of its failure. Works in a folder beside the set."""
    place = folder.with_name(folder.name + "_loaded")
    place.mkdir()
    done = _run([python, "-X", "utf8=0", str(HERE / f"load_{TRAINERS[trainer].script}.py"), str(folder), *how], place)
    if done.returncode:
        return done.stderr.strip().splitlines()[-1][:120]
    lines = (line for line in done.stdout.splitlines() if line.startswith("["))
    return [
        msgspec.structs.replace(
            one,
            target=one.target and str(place / one.target),
            controls=tuple(str(place / name) for name in one.controls),
        )
        for one in (msgspec.convert(json.loads(line), Found) for line in lines)
    ]


def _run(command: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    return subprocess.run(
        command,
        cwd=place,
        env=environ,
        check=False,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=_LIMIT,
    )


def _judged(found: list[Found] | str, folder: Path, meant: dict[str, Match], kept: int, held: int) -> str:
    """How many pairs are what was meant: caption, target, every control, side; each once. ``kept``: for validation, of
    which the configuration names ``held``."""
    if isinstance(found, str):
        return f"WRONG: {found}"
    looked_at = "validation" if kept else "train"
    rows = folder / "metadata.jsonl"  # shards have none: how many there are of each side is all that is known
    sides = (
        {row["caption"]: row["split"] for row in _lines(rows)} if rows.exists() else {o.caption: o.side for o in found}
    )
    good = {
        (one.side, one.caption)
        for one in found
        if one.caption in meant
        and sides[one.caption] == (looked_at if one.side == "shown" else one.side)
        and (one.target is None or _alike(Path(one.target), meant[one.caption].target))
        and len(one.controls) == len(meant[one.caption].controls)
        and all(_alike(Path(a), b) for a, b in zip(one.controls, meant[one.caption].controls, strict=True))
    }
    counts = {side: sum(one[0] == side for one in good) for side in ("train", "validation", "shown")}
    whole = len(good) == len(found) and (counts["train"], counts["validation"]) == (PAIRS - kept, held)
    whole = whole and counts["shown"] in (0, kept or PAIRS)
    shown = f", {counts['shown']} shown in validation" if counts["shown"] else ""
    return f"{'' if whole else 'WRONG: '}{counts['train']} trained on, {counts['validation']} held out{shown}"


def _lines(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _told(found: list[Found] | str) -> str:
    if isinstance(found, str):
        return f"refused: {found.partition(':')[0]}"
    alone = sum(not one.controls for one in found if one.side == "train")
    return f"{sum(one.side == 'train' for one in found)} trained on, {alone} of them without control"


def _alike(one: Path, other: Path) -> bool:
    with Image.open(one) as first, Image.open(other) as second:
        if first.size != second.size:
            return False
        pixels = [np.asarray(picture.convert("RGB"), np.float32) for picture in (first, second)]
    return float(np.abs(pixels[0] - pixels[1]).mean()) < _CLOSE


if __name__ == "__main__":
    sys.exit(main())
