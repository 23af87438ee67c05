"""Exported sets: each trainer's own rules find every pair, provenance is whole, and nothing is ever half written."""

from __future__ import annotations

import io
import itertools
import json
import re
import subprocess
import threading
import tomllib
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from PIL import Image

from engine.dataset.captions import CaptionMode, CaptionRule
from engine.dataset.export import SetPlan, arranged, check_folders, check_place, check_plan, export_set, wanted_for
from engine.dataset.findings import FindingKind, Thresholds
from engine.dataset.layouts import LAYOUTS, Trainer
from engine.dataset.measure import Measurer
from engine.dataset.measurement_cache import MeasurementCache
from engine.dataset.pairs import ControlFile, Pair, Provenance
from engine.dataset.preflight import check_clean, inspect
from engine.dataset.preview import preview
from engine.dataset.split import SplitRule
from engine.dataset.transform import PictureFormat, PictureRule, SizeRule
from engine.dataset.variants import Reverse, VariantRule
from engine.errors import Code, InvalidInput, Stopped, StorageFailed
from engine.images.pixels import Alpha
from engine.upstream.cancel import CancelToken
from tests.support.files import sha256_of
from tests.support.sets import pair, scene
from tests.support.trainers import LOADERS, load_hugging_face, load_simpletuner, load_tars

TRAINERS = [trainer for trainer in Trainer if trainer is not Trainer.PREFERENCE]
SEVERAL = [trainer for trainer in TRAINERS if LAYOUTS[trainer].max_controls > 1]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """Pairs in three formats each way; one whose name is another's in capitals."""
    folder = tmp_path_factory.mktemp("pairs")
    kinds = [("jpg", "png"), ("png", "webp"), ("webp", "jpg"), ("png", "bmp"), ("bmp", "png")]
    return [
        pair(folder, number, source_kind=source, target_kind=target, prompt=f"edit {number}\n 夜晚")
        for number, (source, target) in enumerate(kinds)
    ]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """Pairs with three source pictures each."""
    folder = tmp_path_factory.mktemp("several")
    return [pair(folder, number, references=2) for number in range(3)]


def write(pairs: list[Pair], folder: Path, **plan: Any) -> Path:
    folder.mkdir(exist_ok=True)
    plan.setdefault("pictures", PictureRule(size=SizeRule.AS_IT_CAME))
    return Path(export_set(pairs, SetPlan(**plan), folder, overlays={}).path)


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_pair_is_found_by_the_trainers_rules(trainer: Trainer, pairs: list[Pair], tmp_path: Path) -> None:
    """Target, control and caption of every pair arrive together, pixel for pixel, whatever their formats."""
    loaded = LOADERS[trainer](write(pairs, tmp_path / "out", trainer=trainer))
    expected = [
        (
            pixels(Path(one.target.path).read_bytes()),
            (pixels(Path(one.control.path).read_bytes()),),
            f"edit {number} 夜晚",
        )
        for number, one in enumerate(pairs)
    ]
    assert [(pixels(o.target), tuple(pixels(c) for c in o.controls), o.caption) for o in loaded] == expected


@pytest.mark.parametrize("trainer", SEVERAL)
def test_several_references_arrive_in_order(trainer: Trainer, several: list[Pair], tmp_path: Path) -> None:
    """All three source pictures of each pair are found, the edited one first."""
    loaded = LOADERS[trainer](
        write(
            several,
            tmp_path / "out",
            trainer=trainer,
            pictures=PictureRule(format=PictureFormat.PNG, size=SizeRule.AS_IT_CAME),
        )
    )
    for one, arrived in zip(several, loaded, strict=True):
        assert [pixels(data) for data in arrived.controls] == [
            pixels(Path(control.path).read_bytes()) for control in one.controls
        ]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_sides_of_a_split_are_apart(trainer: Trainer, pairs: list[Pair], tmp_path: Path) -> None:
    """Training and validation are sets of their own, together all pairs, and the seed decides alone."""
    folder = write(pairs, tmp_path / "out", trainer=trainer, split=SplitRule(0.4, 3))
    again = write(pairs, tmp_path / "out", trainer=trainer, split=SplitRule(0.4, 3))
    whole = trainer in (Trainer.FAL, Trainer.SIMPLETUNER, Trainer.HUGGING_FACE) or LAYOUTS[trainer].shards
    trained = {one.caption for one in LOADERS[trainer](folder if whole else folder / "train")}
    assert len(trained) == 3
    foreseen = preview(pairs, SetPlan(trainer=trainer, split=SplitRule(0.4, 3)))
    assert (foreseen.training, foreseen.validation) == (3, 2)
    if LAYOUTS[trainer].shards:
        return
    if trainer is not Trainer.FAL:
        written = Counter(path.parent.relative_to(again).as_posix() for path in again.rglob("*.*") if path.is_file())
        told: Counter[str] = Counter()
        for entry in foreseen.entries:
            place = Path(entry.path) if entry.path.endswith("/") or not entry.path else Path(entry.path).parent
            told[place.as_posix()] += entry.files
        assert told == written, "the preview names each folder with as many files"
        assert {p.name for p in (folder / "validation").rglob("*.*")} == {
            p.name for p in (again / "validation").rglob("*.*")
        }
    if trainer is Trainer.HUGGING_FACE:
        kept = {one.caption for one in load_hugging_face(folder, "validation")}
        assert len(kept) == 2
        assert kept | trained == {f"edit {number} 夜晚" for number in range(5)}
    else:
        rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text("utf-8").splitlines()]
        assert {row["caption"] for row in rows if row["split"] == "train"} == trained
        assert len(rows) == 5


def test_tars_load_with_datasets(pairs: list[Pair], several: list[Pair], tmp_path: Path) -> None:
    """Pairs of every format, with parameters, scores and references of their own, are columns of one type each."""
    mixed = [
        msgspec.structs.replace(
            one, score=7.5 if n else None, provenance=Provenance(prompt=str(n), parameters={str(n): n})
        )
        for n, one in enumerate(pairs)
    ]
    for made in (mixed, several):
        folder = write(made, tmp_path / "out", trainer=Trainer.WEBDATASET)
        loaded, expected = load_tars(folder), LOADERS["webdataset"](folder)
        assert [one.caption for one in loaded] == [one.caption for one in expected]
        for one, other, came in zip(loaded, expected, made, strict=True):
            pictures = [(one.target, other.target, came.target.path)]
            pictures += zip(one.controls, other.controls, (control.path for control in came.controls), strict=True)
            assert all(pixels(a) == pixels(b) == pixels(Path(path).read_bytes()) for a, b, path in pictures)


def test_configurations_are_for_the_machine_that_trains(pairs: list[Pair], tmp_path: Path) -> None:
    """No file names a folder of this computer; with a root each path lies in it; only what is read is configured."""
    for trainer in TRAINERS:
        for root in ("", "/workspace/sets"):
            out = tmp_path / "a folder $(touch ran)"
            folder = write(pairs, out, trainer=trainer, path_root=root, split=SplitRule(0.4, 3))
            texts = [path for path in folder.rglob("*") if path.suffix in (".txt", ".toml", ".yaml", ".json", ".jsonl")]
            for path in texts:
                assert str(tmp_path) not in path.read_text("utf-8"), path
            named = {path.relative_to(folder).parts[0] for path in texts if path.suffix in (".toml", ".yaml")}
            assert named <= ({"train", "validation"} if LAYOUTS[trainer].validates else {"train"})
            if root and trainer is Trainer.MUSUBI:
                assert f'"{root}/{folder.name}/train/target"' in (folder / "train" / "musubi.toml").read_text("utf-8")


def test_sizes_are_foreseen(pairs: list[Pair], tmp_path: Path) -> None:
    """The preview's configuration names the sizes that are written, of reversed pairs too."""
    for reverse in Reverse:
        plan = SetPlan(trainer=Trainer.DIFFUSION_PIPE, variants=VariantRule(reverse=reverse))
        foreseen = preview(pairs, plan)
        folder = write(pairs, tmp_path / "out", trainer=plan.trainer, variants=plan.variants, pictures=plan.pictures)
        assert foreseen.text == (folder / foreseen.configuration).read_text("utf-8"), reverse


def test_repeats_are_told_each_trainer_in_its_own_words(pairs: list[Pair], tmp_path: Path) -> None:
    """Pairs for training as often as was asked for, SimpleTuner beside the first time; those held out once."""
    for trainer, name, told in (
        (Trainer.AI_TOOLKIT, "train/ai_toolkit.yaml", "num_repeats: 3"),
        (Trainer.MUSUBI, "train/musubi.toml", "num_repeats = 3"),
        (Trainer.KOHYA, "train/kohya.toml", "num_repeats = 3"),
        (Trainer.DIFFUSION_PIPE, "train/diffusion_pipe.toml", "num_repeats = 3"),
        (Trainer.DIFFUSION_PIPE, "validation/diffusion_pipe.toml", "num_repeats = 1"),
        (Trainer.HUGGING_FACE, "diffusers.txt", " --repeats 3"),
        (Trainer.DIFFSYNTH, "train/diffsynth_arguments.txt", " --dataset_repeat 3 "),
    ):
        folder = write(pairs, tmp_path / "out", trainer=trainer, num_repeats=3, split=SplitRule(0.4, 3))
        assert told in (folder / name).read_text("utf-8"), trainer
    folder = write(pairs, tmp_path / "out", trainer=Trainer.SIMPLETUNER, num_repeats=3, split=SplitRule(0.4, 3))
    sets = json.loads((folder / "multidatabackend.json").read_text("utf-8"))
    assert [one.get("repeats", 0) for one in sets if one["dataset_type"] == "image"] == [2, 0]


def test_repeats_by_folder(pairs: list[Pair], tmp_path: Path) -> None:
    """Each pair is repeated as the nearest folder of its source says, in folders that the trainer counts for itself;
    those held out once. Trainers with one number for all refuse, and so does a folder that no source lies in."""
    folders = ("", "faces", "faces/near", "Hände", "other")
    made = [msgspec.structs.replace(one, folder=folder) for one, folder in zip(pairs, folders, strict=True)]
    plan: dict[str, Any] = {"num_repeats": 2, "folder_repeats": {"faces": 3, "hände/": 5}}
    for trainer, name, word in (
        (Trainer.AI_TOOLKIT, "ai_toolkit.yaml", "num_repeats: "),
        (Trainer.MUSUBI, "musubi.toml", "num_repeats = "),
        (Trainer.KOHYA, "kohya.toml", "num_repeats = "),
        (Trainer.DIFFUSION_PIPE, "diffusion_pipe.toml", "num_repeats = "),
        (Trainer.SIMPLETUNER, "multidatabackend.json", '"repeats": '),
    ):
        folder = write(made, tmp_path / "out", trainer=trainer, **plan)
        assert {one.caption for one in LOADERS[trainer](folder)} == {f"edit {number} 夜晚" for number in range(5)}
        told = re.findall(f"{word}(\\d+)", (folder / name).read_text("utf-8"))
        more = trainer is Trainer.SIMPLETUNER  # which counts what comes beside the first time
        assert [int(one) + more for one in told] == [2, 3, 5], trainer
        placed = Counter(path.parent.parent.name for path in folder.rglob("target/*.txt"))
        assert placed == {folder.name: 2, "repeats_3": 2, "repeats_5": 1}
        foreseen = preview(made, SetPlan(trainer=trainer, pictures=PictureRule(size=SizeRule.AS_IT_CAME), **plan))
        written = (folder / foreseen.configuration).read_text("utf-8")
        assert written.replace(folder.name, foreseen.name).startswith(foreseen.text)
    for trainer in (Trainer.FAL, Trainer.DIFFSYNTH, Trainer.HUGGING_FACE, Trainer.PARQUET):
        with pytest.raises(InvalidInput) as refused:
            check_plan(SetPlan(trainer=trainer, **plan))
        assert refused.value.code is Code.NO_FOLDER_REPEATS
    with pytest.raises(InvalidInput) as refused:
        check_folders(SetPlan(folder_repeats={"face": 2}), made)
    assert (refused.value.code, refused.value.params["folders"]) == (
        Code.FOLDER_WITHOUT_PAIRS, "faces, faces/near, hände, other",
    )  # fmt: skip


def test_names_and_pixels_that_loaders_miss(pairs: list[Pair], tmp_path: Path) -> None:
    """`datasets` finds a set whose name has brackets; a name from a Mac is written as tables have it; grey with
    transparency that is kept is RGBA, since SimpleTuner leaves the other out."""
    folder = write(pairs[:1], tmp_path / "out", trainer=Trainer.HUGGING_FACE, name="x [1]")
    assert len(load_hugging_face(folder)) == 1
    grey = tmp_path / "grey.png"
    Image.new("LA", (64, 48), (90, 120)).save(grey)
    made = msgspec.structs.replace(
        pairs[0], name=unicodedata.normalize("NFD", "Hände.png"), controls=(ControlFile(str(grey)),)
    )
    rule = PictureRule(size=SizeRule.AS_IT_CAME, alpha=Alpha.KEEP)
    folder = write([made], tmp_path / "out", trainer=Trainer.SIMPLETUNER, pictures=rule, stem_template="{src_stem}")
    with Image.open(folder / "control" / unicodedata.normalize("NFC", "Hände.png")) as image:
        assert (image.mode, image.getpixel((0, 0))) == ("RGBA", (90, 90, 90, 120))


ROOTS = (
    "/a b/$(touch ran)", "/it's `touch ran`", '/"$HOME" %PATH% !x', "/plain 集 🌙", "/x [1] {y}; #z & ~ *",
    "C:\\sets\\x y", "\\\\server\\share", "/a\\b/\u2028\x7f\x85",
)  # fmt: skip


def named_folders(folder: Path, trainer: Trainer) -> list[str]:
    """Paths that the configuration names, as the parser of its own format reads them, or a shell."""

    def of_shell(name: str) -> str:
        line = (folder / name).read_text("utf-8").split("\n")[0]
        command = ["/bin/sh", "-c", f"printf '%s\\n' {line}"]
        said = subprocess.run(command, capture_output=True, cwd=folder.parent, check=True, timeout=20)
        return said.stdout.decode().split("\n")[1]

    def text(name: str) -> str:
        return (folder / name).read_text("utf-8")

    match trainer:
        case Trainer.HUGGING_FACE:
            return [of_shell("diffusers.txt")]
        case Trainer.SIMPLETUNER:
            named = json.loads(text("multidatabackend.json"))
            return [of_shell("simpletuner_arguments.txt"), named[0]["instance_data_dir"], named[1]["instance_data_dir"]]
        case Trainer.DIFFSYNTH:
            return [of_shell("diffsynth_arguments.txt")]
        case Trainer.AI_TOOLKIT:
            (one,) = yaml.safe_load(text("ai_toolkit.yaml"))["datasets"]
            return [one["folder_path"], one["control_path"]]
        case Trainer.MUSUBI:
            (one,) = tomllib.loads(text("musubi.toml"))["datasets"]
            return [one["image_directory"], one["control_directory"]]
        case Trainer.KOHYA:
            (one,) = tomllib.loads(text("kohya.toml"))["datasets"][0]["subsets"]
            return [one["image_dir"], one["conditioning_data_dir"]]
        case _:
            (one,) = tomllib.loads(text("diffusion_pipe.toml"))["directory"]
            return [one["path"], one["control_path"]]


def test_a_root_is_read_as_it_was_entered(pairs: list[Pair], tmp_path: Path) -> None:
    """Whatever a folder of the training machine is called, each format's own parser, and a shell, read that name, and
    nothing of it is run; what ``datasets`` would fill in is refused."""
    rooted = [one for one in TRAINERS if one is not Trainer.FAL and not LAYOUTS[one].shards]
    for trainer, root in itertools.product(rooted, ROOTS):
        if trainer is Trainer.HUGGING_FACE and ("[" in root or "$HOME" in root):
            with pytest.raises(InvalidInput) as refused:
                check_plan(SetPlan(trainer=trainer, path_root=root))
            assert refused.value.code is Code.PATH_ROOT_PATTERN
            continue
        folder = write(pairs[:1], tmp_path / "out", trainer=trainer, path_root=f" {root}/\n")
        for named in named_folders(folder, trainer):
            assert named == f"{root}/{folder.name}" or named.startswith(f"{root}/{folder.name}/"), (trainer, root)
    assert not list(tmp_path.rglob("ran"))


def test_samples_show_the_held_out_controls(several: list[Pair], tmp_path: Path) -> None:
    """AI-Toolkit and musubi make pictures while training from the controls of the validation side."""
    for trainer, name in ((Trainer.AI_TOOLKIT, "ai_toolkit.yaml"), (Trainer.MUSUBI, "musubi_sample_prompts.txt")):
        place = write(several, tmp_path / "out", trainer=trainer, split=SplitRule(0.4, 3)) / "train"
        text = (place / name).read_text("utf-8")
        if trainer is Trainer.AI_TOOLKIT:
            (sample,) = yaml.safe_load(text)["sample"]["samples"]
            named = [sample[f"ctrl_img_{number}"] for number in (1, 2, 3)]
        else:
            _, *named = text.strip().split(" --ci ")
        assert len(named) == 3
        assert all((place / one).is_file() and "validation" in one for one in named)


def test_simpletuner_looks_at_the_held_out_pairs(pairs: list[Pair], tmp_path: Path) -> None:
    """Its validation side keeps its controls, and pictures that validate come from there alone."""
    folder = write(pairs, tmp_path / "out", trainer=Trainer.SIMPLETUNER, split=SplitRule(0.4, 3))
    trained, kept = load_simpletuner(folder), load_simpletuner(folder, trained=False)
    assert (len(trained), len(kept)) == (3, 2)
    assert all(len(one.controls) == 1 for one in kept)
    assert {one.caption for one in (*trained, *kept)} == {f"edit {number} 夜晚" for number in range(5)}
    backends = json.loads((folder / "multidatabackend.json").read_text("utf-8"))
    shown = [one["probability"] for one in backends if one["dataset_type"] == "image" and "probability" in one]
    hidden = [one["id"] for one in backends if one.get("disable_validation")]
    assert (shown, hidden) == ([0.0], [f"{folder.name}-train"])


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("broken", ["no_caption", "source_gone"])
def test_broken_sets_are_refused(trainer: Trainer, broken: str, tmp_path: Path) -> None:
    """What the trainer would skip in silence or stumble over is a finding, and refuses the set."""
    made = [pair(tmp_path, number) for number in range(3)]
    expected = FindingKind.NO_CAPTION
    if broken == "no_caption":
        made[1] = msgspec.structs.replace(made[1], provenance=Provenance(prompt="  "))
    else:
        Path(made[1].control.path).unlink()
        expected = FindingKind.SOURCE_MISSING
    cache = MeasurementCache(tmp_path / "notes.db")
    report = inspect(made, wanted_for(SetPlan(trainer=trainer), Thresholds()), Measurer(cache), registered=True)
    cache.close()
    assert [(finding.pair_id, finding.kind) for finding in report.findings] == [("r1", expected)]
    with pytest.raises(InvalidInput) as refused:
        check_clean(report)
    assert refused.value.code is Code.SET_HAS_FINDINGS


@pytest.mark.parametrize("trainer", TRAINERS)
def test_references_that_do_not_fit_the_trainer_are_refused(trainer: Trainer, tmp_path: Path) -> None:
    """A trainer that takes one control, or the same number with each pair, gets no set that breaks this."""
    made = [pair(tmp_path, 0), pair(tmp_path, 1), pair(tmp_path, 2, references=1)]
    cache = MeasurementCache(tmp_path / "notes.db")
    report = inspect(made, wanted_for(SetPlan(trainer=trainer), Thresholds()), Measurer(cache), registered=True)
    cache.close()
    layout = LAYOUTS[trainer]
    expected = (
        {FindingKind.TOO_MANY_CONTROLS} if layout.max_controls == 1
        else {FindingKind.UNEVEN_CONTROLS} if layout.even_controls
        else set()
    )  # fmt: skip
    assert {finding.kind for finding in report.findings} == expected


def test_provenance_is_whole(pairs: list[Pair], tmp_path: Path) -> None:
    """Each line names its files, both hashes, prompt, model, parameters and time."""
    folder = write(pairs, tmp_path / "out")
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text("utf-8").splitlines()]
    for one, row in zip(pairs, rows, strict=True):
        assert (folder / row["target"]).is_file()
        assert [sha256_of(Path(one.control.path))] == row["source_sha256"]
        assert row["target_sha256"] == one.target.hash
        assert (row["model"], row["parameters"], row["created_at"]) == ("edit-1", {"n": 1}, 1_700_000_000)
        assert row["prompt"] == one.provenance.prompt
        assert (folder / row["controls"][0]).is_file()


def test_bytes_stay_as_they_came(pairs: list[Pair], tmp_path: Path) -> None:
    """A picture that needs no change is copied byte for byte; what the trainer cannot read becomes PNG."""
    folder = write(pairs, tmp_path / "out", trainer=Trainer.AI_TOOLKIT)
    assert sorted(path.suffix for path in (folder / "target").iterdir() if path.suffix != ".txt") == [
        ".jpg", ".png", ".png", ".png", ".webp",
    ]  # fmt: skip
    assert (folder / "target" / "0001.png").read_bytes() == Path(pairs[0].target.path).read_bytes()
    assert (folder / "control" / "0001.jpg").read_bytes() == Path(pairs[0].control.path).read_bytes()


def test_versions_go_up_and_nothing_is_overwritten(pairs: list[Pair], tmp_path: Path) -> None:
    """Each export makes a new folder, above those that are there as folder or ZIP, in any case of letters."""
    out = tmp_path / "out"
    names = [write(pairs[:1], out, name="夜 set").name, write(pairs[:1], out, name="夜 set", as_zip=True).name]
    (out / "夜 SET_V003").mkdir()
    names.append(write(pairs[:1], out, name="夜 set").name)
    assert names == ["夜 set_v001", "夜 set_v002.zip", "夜 set_v004"]
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_zip_holds_the_same_set(pairs: list[Pair], tmp_path: Path) -> None:
    """The ZIP has the files of the folder, and the same set makes the same ZIP."""
    folder = write(pairs, tmp_path / "out", trainer=Trainer.DIFFSYNTH)
    packed = [write(pairs, tmp_path / "out", trainer=Trainer.DIFFSYNTH, as_zip=True) for _ in range(2)]
    with zipfile.ZipFile(packed[0]) as archive:
        assert archive.testzip() is None
        inside = {name: archive.read(name) for name in archive.namelist()}
    outside = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert inside.keys() == outside.keys()
    assert inside == outside
    assert [len(path.read_bytes()) for path in packed] == [packed[0].stat().st_size] * 2


def test_names_that_clash_are_told_apart(tmp_path: Path) -> None:
    """Names that are one on some file system, or that a trainer would read as its suffix, get stems of their own."""
    first = pair(tmp_path, 1)
    names = ["A.png", "a.PNG", "a:.png", "x_1.png", "x-1.jpg", "001_start.png", "é.png", "e\u0301.png", "CON.png"]
    made = [msgspec.structs.replace(first, id=f"r{n}", name=name) for n, name in enumerate(names)]
    chosen = [one.stem for one in arranged(made, SetPlan(stem_template="{src_stem}"))]
    assert chosen == ["A", "a-2", "a_", "x-1", "x-1-2", "001-start", "é", "é-2", "_CON"]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_names_of_sources_work_with_every_trainer(trainer: Trainer, tmp_path: Path) -> None:
    """Stems that end like suffixes of trainers are matched all the same."""
    first = [pair(tmp_path, number) for number in range(4)]
    names = ["x.png", "x_1.png", "x_start.png", "X_0.png"]
    made = [msgspec.structs.replace(one, name=name) for one, name in zip(first, names, strict=True)]
    loaded = LOADERS[trainer](write(made, tmp_path / "out", trainer=trainer, stem_template="{src_stem}"))
    assert {(pixels(one.target), pixels(one.controls[0])) for one in loaded} == {
        (pixels(Path(one.target.path).read_bytes()), pixels(Path(one.control.path).read_bytes())) for one in made
    }


def test_set_inside_the_source_folder_is_refused(tmp_path: Path) -> None:
    """The folder of the sources, one below it, and a link to it: nothing is made there."""
    made = [pair(tmp_path, 1)]
    source = Path(made[0].control.path).parent
    (tmp_path / "link").symlink_to(source)
    for place in (source, source / "sets", tmp_path / "link" / "sets"):
        with pytest.raises(InvalidInput) as refused:
            check_place(str(place), made)
        assert refused.value.code is Code.EXPORT_INSIDE_SOURCE
    assert [path.name for path in source.iterdir()] == [Path(made[0].control.path).name]
    assert check_place(str(tmp_path / "beside"), made) == tmp_path / "beside"


@pytest.mark.parametrize("as_zip", [False, True])
@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        ("source_changed", Code.SOURCE_CHANGED),
        ("source_gone", Code.SOURCE_MISSING),
        ("target_changed", Code.RESULT_CHANGED),
    ],
)
def test_what_changed_meanwhile_leaves_nothing(tmp_path: Path, as_zip: bool, spoil: str, code: Code) -> None:
    """A picture that is not what it was when it was checked ends the export, and no file stays."""
    made = [pair(tmp_path, number) for number in range(4)]
    place = Path(made[2].target.path if spoil == "target_changed" else made[2].control.path)
    if spoil == "source_gone":
        place.unlink()
    else:
        Image.fromarray(scene(70)).save(place)
    out = tmp_path / "out"
    with pytest.raises((InvalidInput, StorageFailed)) as failed:
        write(made, out, as_zip=as_zip)
    assert failed.value.code is code
    assert failed.value.params["path"] == str(place)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("plan", [{}, {"as_zip": True}, {"trainer": Trainer.FAL}], ids=["folder", "zip", "fal"])
def test_stop_leaves_nothing(pairs: list[Pair], tmp_path: Path, plan: dict[str, Any]) -> None:
    """Stopped in the middle, the set goes away again, with its threads."""
    cancel = CancelToken()
    before = threading.active_count()

    def progress(number: int) -> None:
        if number >= 2:
            cancel.cancel()

    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(Stopped):
        export_set(pairs, SetPlan(**plan), out, overlays={}, cancel=cancel, progress=progress)
    assert list(out.iterdir()) == []
    assert threading.active_count() == before


def test_empty_sets_and_odd_names(pairs: list[Pair], tmp_path: Path) -> None:
    """No pair is an error; a name with separators stays one folder."""
    with pytest.raises(InvalidInput) as refused:
        write([], tmp_path / "out")
    assert refused.value.code is Code.SET_EMPTY
    assert write(pairs[:1], tmp_path / "out", name="../../up").parent == tmp_path / "out"


def test_captions_by_every_rule(tmp_path: Path) -> None:
    """Prompt, text beside the source in any encoding, template and trigger word; the trigger stands before the rest."""
    made = [pair(tmp_path, number, prompt=f"edit\n {number}") for number in range(4)]
    texts = [
        "白天变夜晚".encode("gb18030"),
        "白天变夜晚".encode("utf-16"),
        "白天变夜晚".encode("utf-8-sig"),
        "白天变夜晚".encode(),
    ]
    for one, data in zip(made, texts, strict=True):
        Path(one.control.path).with_suffix(".txt").write_bytes(data)

    def captions(rule: CaptionRule) -> list[str]:
        folder = write(made, tmp_path / "out", captions=rule)
        return [path.read_text("utf-8") for path in sorted((folder / "target").glob("*.txt"))]

    assert captions(CaptionRule()) == [f"edit {number}" for number in range(4)]
    assert captions(CaptionRule(CaptionMode.SIDECAR)) == ["白天变夜晚"] * 4
    assert captions(CaptionRule(CaptionMode.TRIGGER, trigger="nightify")) == ["nightify"] * 4
    template = CaptionRule(CaptionMode.TEMPLATE, "{trigger}: {caption} ({src_stem}, {global_index:03})", "tok")
    assert captions(template)[0] == "tok: 白天变夜晚 (000_start, 001)"
    assert captions(CaptionRule(trigger="tok"))[0] == "tok, edit 0"


def test_sizes_of_a_set(tmp_path: Path) -> None:
    """Targets match their controls, or both are multiples of N, or no longer than an edge; a pair keeps one framing."""
    small = scene(3, (256, 192))
    made = [pair(tmp_path, 1, target=small), pair(tmp_path, 2, target=scene(4, (300, 240)))]

    def sizes(rule: PictureRule) -> list[list[tuple[int, int]]]:
        folder = write(made, tmp_path / "out", pictures=rule)
        found = []
        for kind in ("control", "target"):
            images = [Image.open(path) for path in sorted((folder / kind).iterdir()) if path.suffix != ".txt"]
            found.append([image.size for image in images])
        return found

    assert sizes(PictureRule(size=SizeRule.MATCH_CONTROL)) == [[(320, 240)] * 2] * 2
    multiple = sizes(PictureRule(size=SizeRule.MULTIPLE, size_value=64))
    assert multiple == [[(256, 192), (320, 192)], [(256, 192), (256, 192)]]
    assert sizes(PictureRule(size=SizeRule.LONGEST, size_value=160)) == [[(160, 120)] * 2, [(160, 120), (160, 128)]]
    assert sizes(PictureRule(size=SizeRule.LONGEST, size_value=9999)) == [
        [(256, 192), (320, 240)],
        [(256, 192), (300, 240)],
    ]
