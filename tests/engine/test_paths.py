"""One rule for what an entered path means, for names that are compared, and for the order of names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from natsort import natsort_keygen, ns

from bridge.usecases.set_report import check_report_path
from engine.dataset.export import check_place
from engine.dataset.pairs import ControlFile, Pair, TargetFile
from engine.dataset.save import check_output
from engine.errors import Code, InvalidInput
from engine.files import is_temporary, keep_private, name_exclusively, temporary_name, write_new
from engine.images.browse import list_folder
from engine.images.discover import discover
from engine.models import SourceImage
from engine.paths import folded, natural_key
from engine.reading import read_text
from engine.tasks.plan import ReferenceMode, group_references
from engine.tasks.prompts import PromptRow, fill, match_rows, read_table
from tests.made_pictures import encoded

TARGET = TargetFile("", "", "png", 1, 1)
PLACES: dict[str, Callable[[str], object]] = {
    "input": lambda text: discover(text, 1 << 20),
    "output": check_output,
    "set": lambda text: check_place(text, []),
    "report": check_report_path,
    "table": read_table,
    "browse": list_folder,
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", ["a\0b", "~nosuchuser/t.csv", '"/tmp/a\0.html"', "file:///tmp/a%ff"])
def test_what_is_no_path_is_refused_in_words_everywhere(place: str, text: str) -> None:
    """A NUL, bytes that are no text, or the home of nobody, is an error of the field and none of the program."""
    with pytest.raises(InvalidInput) as caught:
        PLACES[place](text)
    assert caught.value.code is Code.PATH_INVALID
    assert caught.value.field


@pytest.mark.parametrize("dress", ["{}", "file://{}", "\u202a{}", '\u200b"{}"\u202c', "\u201c{}\u201d", "\ufeff'{}' "])
def test_a_set_is_never_written_into_a_folder_of_sources(tmp_path: Path, dress: str) -> None:
    """However the path is pasted, it means the same folder, and that one is refused."""
    source = tmp_path / "my sources" / "a.png"
    source.parent.mkdir()
    source.write_bytes(encoded("png"))
    pair = Pair(id="r", task_id="t", name="a.png", controls=(ControlFile(str(source)),), target=TARGET)
    with pytest.raises(InvalidInput) as caught:
        check_place(dress.format(source.parent), [pair])
    assert caught.value.code is Code.EXPORT_INSIDE_SOURCE
    assert [path.name for path in source.parent.iterdir()] == ["a.png"]


NAMES = st.text(st.sampled_from("ab A(1)2 09é_-.\u0301图"), max_size=8)


@given(NAMES, NAMES)
def test_the_order_of_names_is_that_of_natsort(one: str, other: str) -> None:
    """Keys are plain texts, for SQLite too, and say what natsort says of the stems."""
    natsort = natsort_keygen(alg=ns.INT | ns.IGNORECASE)
    keys = [(natsort(Path(f"x{name}.png").stem), natural_key(f"x{name}.png")) for name in (one, other)]
    if keys[0][0] != keys[1][0]:
        assert (keys[0][0] < keys[1][0]) == (keys[0][1] < keys[1][1])
    ordered = ["a.png", "A1.jpg", "a2.png", "a10.png", "a (2).png"]
    mixed = ["a10.png", "a (2).png", "a2.png", "a.png", "A1.jpg"]
    assert sorted(mixed, key=natural_key) == ordered


def test_names_are_compared_as_every_system_does() -> None:
    """Composed and decomposed, capitals and small letters are one name."""
    assert folded("Caf\u00e9.PNG") == folded("CAFE\u0301.png")
    assert folded("a.png") != folded("b.png")


def test_what_a_folder_names_is_read_from_that_folder_only(tmp_path: Path) -> None:
    """A link out of the folder, a pipe, a device and a folder are refused at once; a link inside is followed."""
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("key")
    (folder / "real.txt").write_text("caption")
    (folder / "inside.txt").symlink_to("real.txt")
    (folder / "out.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "up.txt").symlink_to("../secret.txt")
    (folder / "device.txt").symlink_to("/dev/zero")
    (folder / "loop.txt").symlink_to("loop.txt")
    os.mkfifo(folder / "pipe.txt")
    assert read_text(folder / "inside.txt", root=folder) == "caption"
    for name in ("out", "up", "device", "pipe", "loop"):
        with pytest.raises(InvalidInput) as caught:
            read_text(folder / f"{name}.txt", root=folder)
        assert caught.value.code is Code.FILE_NOT_REGULAR, name
        with pytest.raises(InvalidInput) as refused:
            fill("{caption}", str(folder / f"{name}.png"))
        assert (refused.value.code, refused.value.field) == (Code.FILE_NOT_REGULAR, "user_prompt"), name
    assert read_text(folder / "out.txt") == "key"  # named by a person: followed
    for path in (folder / "pipe.txt", Path("/dev/zero"), folder / "sub"):
        with pytest.raises(InvalidInput) as named:
            read_table(str(path))
        assert named.value.field == "prompt_table"
    with pytest.raises(FileNotFoundError):
        read_text(folder / "none.txt", root=folder)


def test_a_caption_is_found_however_its_name_is_written(tmp_path: Path) -> None:
    """A folder that went over a Mac has decomposed names; scanners write capitals."""
    (tmp_path / "cafe\u0301.txt").write_text("one")
    (tmp_path / "IMG_1.TXT").write_text("two")
    assert fill("{caption}", str(tmp_path / "caf\u00e9.png")) == "one"
    assert fill("{caption}", str(tmp_path / "img_1.png")) == "two"


@pytest.mark.parametrize("written", ["caf\u00e9.png", "Cafe\u0301", "CAF\u00c9.PNG", "./cafe\u0301.png"])
def test_tables_and_references_find_a_name_however_it_is_written(tmp_path: Path, written: str) -> None:
    """A table made on Windows for a folder from a Mac; a source here and its reference from there."""

    def found(name: str) -> SourceImage:
        return SourceImage(str(tmp_path / name), Path(name).name, 1, 1, "image/png")

    picture = found("Cafe\u0301.png")
    row = PromptRow(written, "wink", None, 2)
    matched = match_rows([row], [picture], str(tmp_path))
    assert (matched.by_path, matched.rows_without_file) == ({picture.path: [row]}, [])
    stem = Path(written).stem
    for mode, main, other in (
        (ReferenceMode.SUFFIX, picture, found(f"{stem}_2.png")),
        (ReferenceMode.FOLDERS, found("1/Cafe\u0301.png"), found(f"2/{stem}.jpg")),
    ):
        assert group_references([main, other], mode, str(tmp_path)) == [(main, other)]


def test_tables_of_any_shape_are_read_or_refused_in_words(tmp_path: Path) -> None:
    """Raw line separators of Unicode stand in a text of JSONL; a field beyond the reader's limit is an error."""
    table = tmp_path / "t.jsonl"
    table.write_text(
        '{"file": "a", "prompt": "x\u2028y\u2029z\u0085"}\r\n\n{"file": "b", "prompt": "p"}', "utf-8", newline=""
    )
    assert [row.prompt for row in read_table(f"file://{table}")] == ["x\u2028y\u2029z", "p"]
    for text in (f"file,prompt\na,{'x' * 140_000}\n", f"{'x' * 140_000},prompt\na,b\n"):
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(InvalidInput) as caught:
            read_table(str(tmp_path / "t.csv"))
        assert caught.value.code is Code.TABLE_UNREADABLE


def test_a_name_is_never_taken_over(tmp_path: Path) -> None:
    """Files, folders and broken links keep what they are; a folder with somebody's file in it too."""
    (tmp_path / "file").write_text("theirs")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "folder" / "in").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    for target in ("file", "link", "folder", "empty"):
        with pytest.raises(FileExistsError):
            write_new(tmp_path / target, b"ours")
        for is_folder in (False, True):
            made = tmp_path / temporary_name()
            made.mkdir() if is_folder else made.touch()
            with pytest.raises(FileExistsError):
                name_exclusively(made, tmp_path / target)
    assert (tmp_path / "file").read_text() == "theirs"
    assert not is_temporary(".saving-0123456789abcdef-0123456789abcdef")


def test_a_data_folder_is_closed_to_others(tmp_path: Path) -> None:
    """What is ours gets 0700 and 0600, also below a folder that was open; strangers' files keep their rights."""
    for name in ("tasks.db", "cache/ab/x.png", "answers/ledger.db", "notes.sh", ".lock"):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
        file.chmod(0o755)
    keep_private(tmp_path, ("tasks.db", "cache", "answers", ".lock"))
    modes = {path.relative_to(tmp_path).as_posix(): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert modes.pop("notes.sh") == 0o755
    assert {
        name: mode for name, mode in modes.items() if mode != (0o700 if (tmp_path / name).is_dir() else 0o600)
    } == {}
    assert tmp_path.stat().st_mode & 0o777 == 0o700
