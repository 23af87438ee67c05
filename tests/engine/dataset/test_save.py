"""Saved files: named in order, never over another file, never outside the folder, the caption with its picture."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.dataset.naming import BUILT_IN_RULES, SaveRule, name_context
from engine.dataset.save import SaveItem, SaveReport, check_output, save_all, save_one
from engine.errors import Code, InvalidInput, Stopped, StorageFailed
from engine.files import temporary_name

PLAIN = BUILT_IN_RULES["keep_source_name"]
WITH_TXT = SaveRule(filename_template="{src_stem}", create_txt=True, txt_template="{image_name}|{src_stem}")


class Results:
    """Result pictures in a cache folder, and the items that save them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.count = 0

    def item(
        self, name: str = "cat.png", task: str = "t", data: bytes | None = None, extension: str = "png"
    ) -> SaveItem:
        """One more result of a source of this name."""
        self.count += 1
        file = self.folder / str(self.count)
        file.write_bytes(f"picture {self.count}".encode() if data is None else data)
        context = name_context(name, task, f"r{self.count}", self.count, self.count)
        return SaveItem(context, file, extension)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """An empty cache folder."""
    return Results(tmp_path / "cache")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty output folder."""
    return check_output(str(tmp_path / "out"))


def listing(folder: Path) -> dict[str, str]:
    """Names and contents of all files in a folder, hidden ones too."""
    return {path.name: path.read_text() for path in sorted(folder.iterdir())}


def codes(report: SaveReport) -> list[tuple[str, Code]]:
    """Result ids and codes of what failed."""
    return [(error.result_id, error.problem.code) for error in report.errors]


def test_a_result_is_saved_under_its_name(results: Results, out: Path) -> None:
    """The copy has the same bytes, the usual rights, and nothing else lies beside it."""
    os.umask(previous := os.umask(0o022))
    saved = save_one(results.item(), PLAIN, out)
    assert saved.image == str(out / "cat.png")
    assert saved.txt is None
    assert listing(out) == {"cat.png": "picture 1"}
    assert stat.S_IMODE((out / "cat.png").stat().st_mode) == 0o666 & ~previous


def test_names_that_exist_get_numbers(results: Results, out: Path) -> None:
    """The first free of _1, _2 … is taken, whoever made the others."""
    (out / "cat.png").write_text("mine")
    (out / "cat_2.png").mkdir()
    (out / "cat_3.png").symlink_to("nowhere")
    stems = [Path(save_one(results.item(), PLAIN, out).image).name for _ in range(3)]
    assert stems == ["cat_1.png", "cat_4.png", "cat_5.png"]
    assert (out / "cat.png").read_text() == "mine"
    assert not (out / "nowhere").exists()


def test_a_caption_goes_with_its_picture(results: Results, out: Path) -> None:
    """Both have one stem, and the caption knows the name that the picture got."""
    report = save_all([results.item(), results.item()], WITH_TXT, out)
    assert listing(out) == {
        "cat.png": "picture 1",
        "cat.txt": "cat.png|cat",
        "cat_1.png": "picture 2",
        "cat_1.txt": "cat_1.png|cat",
    }
    assert report.saved[1][1].txt == str(out / "cat_1.txt")


@pytest.mark.parametrize("taken", ["cat.png", "cat.txt", "CAT.TXT"])
def test_picture_and_caption_move_on_together(results: Results, out: Path, taken: str) -> None:
    """If either name is taken, neither is used."""
    (out / taken).write_text("mine")
    save_one(results.item(), WITH_TXT, out)
    assert sorted(listing(out)) == sorted([taken, "cat_1.png", "cat_1.txt"])
    assert (out / taken).read_text() == "mine"


def test_pictures_of_two_kinds_do_not_share_a_caption(results: Results, out: Path) -> None:
    """A second picture of the same stem with another extension gets a stem of its own when captions are made."""
    save_all([results.item(extension="png"), results.item(extension="jpg")], WITH_TXT, out)
    assert sorted(listing(out)) == ["cat.png", "cat.txt", "cat_1.jpg", "cat_1.txt"]


def test_names_that_differ_in_case_only_are_kept_apart(results: Results, out: Path) -> None:
    """The set can be copied to Windows or macOS without loss."""
    save_all([results.item("Cat.png"), results.item("cat.png"), results.item("CAT.png")], PLAIN, out)
    assert sorted(listing(out)) == ["CAT_2.png", "Cat.png", "cat_1.png"]


def test_many_results_are_saved_in_order(results: Results, out: Path) -> None:
    """Numbers follow the order of the results, and progress counts to the end."""
    items = [results.item() for _ in range(60)]
    counts: list[int] = []
    report = save_all(iter(items), PLAIN, out, progress=counts.append)
    assert [result for result, _ in report.saved] == [f"r{number}" for number in range(1, 61)]
    assert [Path(saved.image).read_text() for _, saved in report.saved] == [f"picture {n}" for n in range(1, 61)]
    assert Path(report.saved[59][1].image).name == "cat_59.png"
    assert counts == list(range(1, 61))


def test_only_the_first_of_a_task_is_saved_when_asked(results: Results, out: Path) -> None:
    """Each task gives one file, named by its source."""
    items = [results.item("a.png", "1"), results.item("a.png", "1"), results.item("b.png", "2")]
    report = save_all(items, BUILT_IN_RULES["first_only_clean"], out)
    assert listing(out) == {"a.png": "picture 1", "b.png": "picture 3"}
    assert len(report.saved) == 2


def test_one_failure_does_not_end_the_rest(results: Results, out: Path) -> None:
    """A missing or unreadable cache file is listed with its source name, the others are saved."""
    items = [results.item(f"{name}.png") for name in "abcd"]
    items[0].file.unlink()
    items[2].file.unlink()
    items[2].file.mkdir()
    report = save_all(items, PLAIN, out)
    assert codes(report) == [("r1", Code.RESULT_FILE_MISSING), ("r3", Code.STORAGE_FAILED)]
    assert [error.source_name for error in report.errors] == ["a.png", "c.png"]
    assert listing(out) == {"b.png": "picture 2", "d.png": "picture 4"}
    with pytest.raises(StorageFailed) as caught:
        save_one(items[0], PLAIN, out)
    assert caught.value.code is Code.RESULT_FILE_MISSING


def test_a_name_too_long_for_the_disk_is_only_one_failure(results: Results, out: Path) -> None:
    """Names are cut to fit, and an extension that does not fit is that item's failure."""
    report = save_all([results.item("图" * 80 + ".png"), results.item(extension="x" * 260)], PLAIN, out)
    assert len(report.saved) == 1
    assert codes(report) == [("r2", Code.STORAGE_FAILED)]
    assert list(listing(out)) == ["图" * 66 + ".png"]


def test_a_bad_rule_is_refused_before_anything_is_written(results: Results, out: Path) -> None:
    """A template error is one error, not one for each result."""
    rule = SaveRule(filename_template="{nope}")
    for attempt in (lambda: save_all([results.item()], rule, out), lambda: save_one(results.item(), rule, out)):
        with pytest.raises(InvalidInput) as caught:
            attempt()
        assert caught.value.code is Code.TEMPLATE_VARIABLE
    assert listing(out) == {}


def test_a_save_can_be_stopped_between_two_files(results: Results, out: Path) -> None:
    """What was begun is whole, nothing half written stays."""
    calls = iter(range(100))

    def check() -> None:
        if next(calls) == 20:
            raise Stopped

    with pytest.raises(Stopped):
        save_all((results.item() for _ in range(100)), PLAIN, out, check=check)
    assert len(listing(out)) == 20
    assert sorted(listing(out).values()) == sorted(f"picture {number}" for number in range(1, 21))


def test_large_and_empty_files_are_copied_whole(results: Results, out: Path) -> None:
    """Length does not matter to the copy."""
    large = os.urandom(5_000_001)
    save_all([results.item("a.png", data=large), results.item("b.png", data=b"")], PLAIN, out)
    assert (out / "a.png").read_bytes() == large
    assert (out / "b.png").read_bytes() == b""


def test_saving_beside_the_sources_changes_none_of_them(results: Results, tmp_path: Path) -> None:
    """The source folder may be the output folder: sources keep their bytes and times."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "a_start.png").write_text("source")
    before = (sources / "a_start.png").stat()
    save_all([results.item("a_start.png"), results.item("a_start.png")], PLAIN, check_output(str(sources)))
    save_all([results.item("a_start.png")], BUILT_IN_RULES["aitookit_edit"], check_output(str(sources)))
    after = (sources / "a_start.png").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)
    assert sorted(listing(sources)) == ["a_end.png", "a_start.png", "a_start_1.png", "a_start_2.png"]


def test_leftovers_of_a_killed_save_go_after_a_day(results: Results, out: Path) -> None:
    """Old hidden files that are provably ours are removed; young ones may belong to another program at work."""
    old, young = temporary_name(), temporary_name()
    theirs = [".saving-plans", ".saving-0123456789abcdef", ".saving-0123456789abcdef-0123456789abcdef"]
    for name in (old, young, *theirs):
        (out / name).write_text("half")
    for name in (old, *theirs):
        os.utime(out / name, (1, 1))
    save_one(results.item(), PLAIN, out)
    assert sorted(listing(out)) == sorted([young, *theirs, "cat.png"])


WRITER = """
import sys
from pathlib import Path
from engine.dataset.naming import SaveRule, name_context
from engine.dataset.save import SaveItem, save_all
folder, cache, who = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
rule = SaveRule(filename_template="{src_stem}", create_txt=True, txt_template="{result_id} {image_name}")
items = []
for number in range(150):
    file = cache / f"{who}-{number}"
    file.write_text(f"{who}-{number}")
    items.append(SaveItem(name_context("same.png", who, file.name), file, "png"))
print("ready", flush=True)
sys.stdin.readline()
report = save_all(items, rule, folder)
assert len(report.saved) == 150, report.errors
"""


def test_two_programs_saving_to_one_folder_never_overwrite(results: Results, out: Path) -> None:
    """Three processes race for the same names; every picture is there once, with its own caption."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(out), str(results.folder), who],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in "abc"
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    files = listing(out)
    pictures = {name: content for name, content in files.items() if name.endswith(".png")}
    assert Counter(pictures.values()) == Counter(f"{who}-{number}" for who in "abc" for number in range(150))
    assert {name: files[name.replace(".png", ".txt")] for name in pictures} == {
        name: f"{content} {name}" for name, content in pictures.items()
    }
    assert len(files) == 900


def not_supported(*args: object, **more: object) -> int:
    """What FAT and many network shares answer."""
    raise OSError(errno.EOPNOTSUPP, "not supported")


@pytest.mark.parametrize("calls", [["link"], ["copy_file_range"], ["copy_file_range", "sendfile", "link"]])
def test_poor_file_systems_are_saved_to_as_well(
    results: Results, out: Path, monkeypatch: pytest.MonkeyPatch, calls: list[str]
) -> None:
    """Without links or kernel copies the same names and bytes come out, and nothing is overwritten."""
    (out / "cat.txt").write_text("mine")
    large = os.urandom(2_500_000)
    for call in calls:
        monkeypatch.setattr(os, call, not_supported)
    report = save_all([results.item(data=large), results.item()], WITH_TXT, out)
    assert report.errors == []
    assert (out / "cat_1.png").read_bytes() == large
    assert (out / "cat.txt").read_text() == "mine"
    names = sorted(path.name for path in out.iterdir())
    assert names == ["cat.txt", "cat_1.png", "cat_1.txt", "cat_2.png", "cat_2.txt"]


def test_a_rival_is_respected_where_there_are_no_links(
    results: Results, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that appears between the look and the claim is left to whoever made it."""

    def refuse_late(*args: object, **more: object) -> int:
        (out / "cat.png").write_text("rival")
        return not_supported()

    monkeypatch.setattr(os, "link", refuse_late)
    assert save_one(results.item(), PLAIN, out).image == str(out / "cat_1.png")
    assert listing(out) == {"cat.png": "rival", "cat_1.png": "picture 1"}


def test_a_file_that_shrinks_while_it_is_copied_is_a_failure(results: Results, out: Path) -> None:
    """A copy is whole or not there."""
    item = results.item(data=b"x" * 1000)
    real_fstat = os.fstat

    def longer(descriptor: int) -> os.stat_result:
        values = list(real_fstat(descriptor))
        values[6] = 2000
        return os.stat_result(values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fstat", longer)
        with pytest.raises(StorageFailed):
            save_one(item, PLAIN, out)
    assert listing(out) == {}


@pytest.mark.parametrize("dress", ["{}", '"{}"', "file://{}", "  {}/  "])
def test_the_output_folder_is_made(tmp_path: Path, dress: str) -> None:
    """Missing folders are made, in whatever dress the path is pasted."""
    path = check_output(dress.format(tmp_path / "new" / "deep"))
    assert path == tmp_path / "new" / "deep"
    assert list(path.iterdir()) == []


def test_an_output_that_is_no_folder_says_so(tmp_path: Path) -> None:
    """Nothing entered, a file in the place, a file on the way, an impossible name."""
    (tmp_path / "file").write_text("in the way")
    for entered, code in [
        ("", Code.OUTPUT_REQUIRED),
        ("  ", Code.OUTPUT_REQUIRED),
        (str(tmp_path / "file"), Code.OUTPUT_NOT_FOLDER),
        (str(tmp_path / "file" / "below"), Code.OUTPUT_NOT_FOLDER),
        (str(tmp_path / "nul\0"), Code.PATH_INVALID),
        ("~nosuchuser/out", Code.PATH_INVALID),
    ]:
        with pytest.raises(InvalidInput) as caught:
            check_output(entered)
        assert (caught.value.code, caught.value.field) == (code, "output_dir")


SOURCES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).map(lambda name: f"{name}.png")
TEMPLATES = st.one_of(
    st.sampled_from(["{src_stem}", "../{src_stem}", "/etc/{src_name}", "..", "{src_stem}/{task_id}", "a\0b", "con"]),
    st.text(st.characters(exclude_characters="{}"), min_size=1, max_size=20).filter(str.strip),
)


@settings(max_examples=int(os.environ.get("EXAMPLES", "80")), deadline=None)
@given(st.lists(SOURCES, min_size=1, max_size=6), TEMPLATES, st.booleans(), st.lists(SOURCES, max_size=4))
def test_nothing_is_overwritten_and_nothing_leaves_the_folder(
    tmp_path_factory: pytest.TempPathFactory, sources: list[str], template: str, with_txt: bool, before: list[str]
) -> None:
    """Any names and templates: all results are saved, all strangers are as they were, all inside the folder."""
    home = tmp_path_factory.mktemp("home")
    results, out = Results(home / "cache"), check_output(str(home / "out"))
    strangers = {}
    for name in before:
        path = out / name.replace("/", "").replace("\0", "")
        path.write_text("mine")
        strangers[path] = "mine"
    rule = SaveRule(filename_template=template, create_txt=with_txt, txt_template="{image_path}")
    report = save_all([results.item(name) for name in sources], rule, out)
    assert report.errors == []
    assert {path: path.read_text() for path in strangers} == strangers
    images = [Path(saved.image) for _, saved in report.saved]
    assert all(image.parent == out for image in images)
    assert [image.read_text() for image in images] == [f"picture {number + 1}" for number in range(len(sources))]
    assert len(list(out.iterdir())) == len(strangers) + len(sources) * (1 + with_txt)
    assert sorted(path.name for path in home.iterdir()) == ["cache", "out"]
