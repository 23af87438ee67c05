"""What is found below a path, in which order, and what is refused; on real files."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import Code, InvalidInput, PictureRejected, Stopped
from engine.images import discover as discovery
from engine.images.discover import Discovery, discover, read_source
from engine.images.pixels import checked
from engine.paths import entered_path
from tests.made_pictures import FORMATS, drawn, encoded

# Pillow also warns about what it then refuses.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

LIMIT = 1 << 20
PNG = encoded("png", drawn(9, 6))
JPEG = encoded("jpeg", drawn(30, 20))


def put(folder: Path, *names: str, data: bytes = PNG) -> None:
    """Files with these relative names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def names(found: Discovery) -> list[str]:
    """Relative paths of the pictures, in order."""
    return [Path(picture.path).relative_to(found.root).as_posix() for picture in found.pictures]


def refused(found: Discovery) -> dict[str, Code]:
    """Relative path to code, of what was refused."""
    return {Path(file.path).relative_to(found.root).as_posix(): file.problem.code for file in found.rejected}


def failure(path: str, limit: int = LIMIT) -> InvalidInput:
    """The error that a path as a whole gets."""
    with pytest.raises(InvalidInput) as caught:
        discover(path, limit)
    assert caught.value.field == "input_path"
    return caught.value


def test_pictures_are_told_by_content(tmp_path: Path) -> None:
    """A picture is one under any name, and text is none under that of a picture."""
    for kind in FORMATS:
        put(tmp_path, f"{kind}.dat", data=encoded(kind))
    put(tmp_path, "a.txt")
    put(tmp_path, "b.png", "c.svg", data=b"only words")
    put(tmp_path, "notes.txt", "song.mp3", data=b"only words")
    found = discover(str(tmp_path), LIMIT)
    assert names(found) == ["a.txt", *sorted(f"{kind}.dat" for kind in FORMATS)]
    assert refused(found) == {"b.png": Code.PICTURE_NOT_IMAGE, "c.svg": Code.PICTURE_NOT_IMAGE}
    assert found.formats == {kind: 1 + (kind == "png") for kind in FORMATS}


def test_sizes_are_summed(tmp_path: Path) -> None:
    """Totals count what can be used, and each picture carries size, time and type."""
    put(tmp_path, "a.png")
    put(tmp_path, "b.jpg", data=JPEG)
    put(tmp_path, "c.png", data=b"words")
    found = discover(str(tmp_path), LIMIT)
    assert (found.total_bytes, found.largest) == (len(PNG) + len(JPEG), max(len(PNG), len(JPEG)))
    first = found.pictures[0]
    assert (first.name, first.size, first.mime) == ("a.png", len(PNG), "image/png")
    assert first.modified == (tmp_path / "a.png").stat().st_mtime_ns


def test_the_order_is_the_one_people_expect(tmp_path: Path) -> None:
    """Numbers count as numbers, in folders and in files; letters of either case stand together."""
    expected = [
        "B.png", "img1.png", "img1 (2).png", "img1_1.png", "img2.png", "Img10.png", "part 2/1.png", "part 2/10.png",
        "part 10/1.png", "v1.9/a.png", "v1.10/a.png", "图2.png", "图10.png",
    ]  # fmt: skip
    shuffled = expected.copy()
    random.Random(4).shuffle(shuffled)
    put(tmp_path, *shuffled)
    assert names(discover(str(tmp_path), LIMIT)) == expected


def test_hidden_things_and_litter_stay_out(tmp_path: Path) -> None:
    """What systems and programs leave in folders is no source."""
    put(
        tmp_path,
        ".hidden.png", "._a.png", ".git/a.png", "Thumbs.db", "ehthumbs.db", "desktop.ini", "__MACOSX/a.png",
        "sub/@eaDir/a.png", "$RECYCLE.BIN/a.png", "System Volume Information/a.png",
    )  # fmt: skip
    put(tmp_path, "sub/a.png")
    found = discover(str(tmp_path), LIMIT)
    assert names(found) == ["sub/a.png"]
    assert found.rejected == []


def test_a_hidden_folder_may_be_asked_for(tmp_path: Path) -> None:
    """Only what lies below the path is judged by its name."""
    put(tmp_path, ".cache/a.png")
    assert names(discover(str(tmp_path / ".cache"), LIMIT)) == ["a.png"]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_file_is_listed_as_broken(tmp_path: Path, kind: str) -> None:
    """A download that stopped half-way is found before anything starts."""
    # A TIFF shows a cut when its directory stands last, as libtiff writes it.
    data = encoded(kind, drawn(120, 80), **({"compression": "tiff_lzw"} if kind == "tiff" else {}))
    put(tmp_path, "good.png")
    put(tmp_path, f"half.{kind}", data=data[: len(data) // 2])
    put(tmp_path, f"empty.{kind}", data=b"")
    found = discover(str(tmp_path), LIMIT)
    assert names(found) == ["good.png"]
    assert refused(found) == {f"half.{kind}": Code.PICTURE_BROKEN, f"empty.{kind}": Code.PICTURE_BROKEN}


@pytest.mark.parametrize("kind", FORMATS)
def test_appended_bytes_do_not_make_a_file_broken(tmp_path: Path, kind: str) -> None:
    """Motion photos and the like are pictures with something behind them."""
    put(tmp_path, "a", data=encoded(kind) + b"\0\0\0\x20ftypmp42" + b"video" * 100)
    assert len(discover(str(tmp_path), LIMIT).pictures) == 1


def test_what_is_too_large_is_listed_with_the_limit(tmp_path: Path) -> None:
    """The limit counts bytes and is inclusive."""
    put(tmp_path, "fits.png")
    put(tmp_path, "large.png", data=PNG + b"\0")
    found = discover(str(tmp_path), len(PNG))
    assert names(found) == ["fits.png"]
    (file,) = found.rejected
    assert file.problem.code is Code.PICTURE_TOO_LARGE
    assert file.problem.params == {"path": str(tmp_path / "large.png"), "limit": len(PNG)}


def test_camera_raws_are_not_taken_for_tiffs(tmp_path: Path) -> None:
    """The picture that a TIFF reader finds in a raw file is only its preview."""
    put(tmp_path, "a.nef", "b.DNG", data=encoded("tiff"))
    put(tmp_path, "c.tif", data=encoded("tiff"))
    found = discover(str(tmp_path), LIMIT)
    assert names(found) == ["c.tif"]
    assert set(refused(found).values()) == {Code.PICTURE_NOT_IMAGE}


def test_links_are_followed_inside_only_and_nothing_comes_twice(tmp_path: Path) -> None:
    """Links out of the folder, circles, dead links and second names are left out; a file goes by its own path."""
    put(tmp_path, "outside/secret.png", "in/real.png", "in/sub/deep.png", "in/.store/kept.png")
    inside = tmp_path / "in"
    (inside / "a_link.png").symlink_to(inside / "real.png")
    (inside / "out.png").symlink_to(tmp_path / "outside" / "secret.png")
    (inside / "out").symlink_to(tmp_path / "outside")
    (inside / "circle").symlink_to(inside)
    (inside / "sub" / "up").symlink_to("..")
    (inside / "again").symlink_to(inside / "sub")
    (inside / "dead.png").symlink_to(inside / "nowhere")
    (inside / "self").symlink_to("self")
    (inside / "from_store.png").symlink_to(".store/kept.png")
    assert names(discover(str(inside), LIMIT)) == [".store/kept.png", "real.png", "sub/deep.png"]


def test_the_path_itself_may_be_a_link(tmp_path: Path) -> None:
    """A link to a folder or file that was asked for is followed."""
    put(tmp_path, "real/a.png")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "one").symlink_to("real/a.png")
    assert names(discover(str(tmp_path / "link"), LIMIT)) == ["a.png"]
    assert len(discover(str(tmp_path / "one"), LIMIT).pictures) == 1


def test_a_folder_of_like_name_beside_is_outside(tmp_path: Path) -> None:
    """``set2`` is not inside ``set``."""
    put(tmp_path, "set/a.png", "set2/b.png")
    (tmp_path / "set" / "b.png").symlink_to(tmp_path / "set2" / "b.png")
    assert names(discover(str(tmp_path / "set"), LIMIT)) == ["a.png"]


def test_pipes_and_sockets_are_passed_over(tmp_path: Path) -> None:
    """What would block a reader is not opened."""
    put(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    assert names(discover(str(tmp_path), LIMIT)) == ["a.png"]
    assert failure(str(tmp_path / "pipe.png")).code is Code.NO_PICTURES


ODD_NAMES = [
    "🐱‍👤.png",
    "שלום.png",
    "two\nlines.png",
    "x" * 251 + ".png",
    " space .png",
    "quote'\".png",
    "a\\b.png",
    "-rf.png",
]


def test_odd_names_are_names(tmp_path: Path) -> None:
    """Emoji, right-to-left script, line breaks and the longest names come through JSON unharmed."""
    put(tmp_path, *ODD_NAMES)
    found = discover(str(tmp_path), LIMIT)
    assert sorted(names(found)) == sorted(ODD_NAMES)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Discovery) == found


def test_names_that_are_no_utf8_are_refused_by_a_printable_path(tmp_path: Path) -> None:
    """A name that JSON cannot hold is listed, inside such a folder too, and nothing crashes."""
    put(tmp_path, "good.png")
    put(tmp_path, os.fsdecode(b"caf\xe9/a.png"), os.fsdecode(b"\xff\xfe.png"))
    put(tmp_path, os.fsdecode(b"\xff.txt"), data=b"words")
    found = discover(str(tmp_path), LIMIT)
    assert names(found) == ["good.png"]
    assert [file.problem.code for file in found.rejected] == [Code.PICTURE_UNREADABLE] * 2
    text = msgspec.json.encode(found).decode()
    assert "caf\\\\udce9" in text


def test_a_single_file_is_a_batch_of_one(tmp_path: Path) -> None:
    """A path to a picture gives that picture, whatever its name."""
    put(tmp_path, "one.bin", "other.png")
    found = discover(str(tmp_path / "one.bin"), LIMIT)
    assert [picture.name for picture in found.pictures] == ["one.bin"]


def test_a_single_file_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    """The code is that of the file, and it names the path."""
    put(tmp_path, "words.txt", data=b"words")
    put(tmp_path, "cut.png", data=PNG[:-5])
    put(tmp_path, "empty.png", data=b"")
    put(tmp_path, "large.png")
    assert failure(str(tmp_path / "words.txt")).code is Code.PICTURE_NOT_IMAGE
    assert failure(str(tmp_path / "cut.png")).code is Code.PICTURE_BROKEN
    assert failure(str(tmp_path / "empty.png")).code is Code.PICTURE_BROKEN
    error = failure(str(tmp_path / "large.png"), 10)
    assert error.code is Code.PICTURE_TOO_LARGE
    assert error.params == {"path": str(tmp_path / "large.png"), "limit": 10}


def test_paths_without_pictures_have_their_own_codes(tmp_path: Path) -> None:
    """Not there, nothing in it, and no picture in it are three different things."""
    put(tmp_path, "words/a.txt", data=b"words")
    put(tmp_path, "bad/a.png", "bad/b.png", data=b"words")
    (tmp_path / "empty" / "sub").mkdir(parents=True)
    assert failure(str(tmp_path / "nowhere")).code is Code.PATH_NOT_FOUND
    assert failure(str(tmp_path / "words" / "a.txt" / "b")).code is Code.PATH_NOT_FOUND
    assert failure("\0").code is Code.PATH_INVALID
    assert failure("\udfff").code is Code.PATH_INVALID
    assert failure(str(tmp_path / "empty")).code is Code.FOLDER_EMPTY
    assert failure(str(tmp_path / "words")).code is Code.NO_PICTURES
    error = failure(str(tmp_path / "bad"))
    assert (error.code, error.params["rejected"]) == (Code.NO_PICTURES, 2)
    assert failure("  ").code is Code.FIELD_REQUIRED
    msgspec.json.encode(failure("/\udc80").problem)


@contextmanager
def without_privilege() -> Iterator[Path]:
    """A folder that everybody may enter, and rights that modes restrict: root gives up its own for a while."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        if os.geteuid() != 0:
            yield Path(name)
            return
        os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


def test_what_may_not_be_read_is_listed() -> None:
    """A locked file or folder does not end the search."""
    with without_privilege() as folder:
        put(folder, "a.png", "locked.png", "locked", "closed/b.png")
        (folder / "locked.png").chmod(0)
        (folder / "locked").chmod(0)
        (folder / "closed").chmod(0)
        found = discover(str(folder), LIMIT)
        assert failure(str(folder / "closed")).code is Code.PATH_UNREADABLE
        assert failure(str(folder / "closed" / "b.png")).code is Code.PATH_UNREADABLE
        assert failure(str(folder / "locked")).code is Code.PICTURE_UNREADABLE
        with pytest.raises(PictureRejected) as caught:
            read_source(str(folder / "locked.png"), LIMIT)
        (folder / "closed").chmod(0o700)
    assert caught.value.code is Code.PICTURE_UNREADABLE
    assert names(found) == ["a.png"]
    assert refused(found) == {"locked.png": Code.PICTURE_UNREADABLE, "closed": Code.PICTURE_UNREADABLE}


@pytest.mark.parametrize(
    "dress",
    [
        lambda path: f'"{path}"',
        lambda path: f" '{path}' ",
        lambda path: f"{path}   \r\n",
        lambda path: f"\u202a{path}",
        lambda path: f"{path}/",
        lambda path: f"file://{path}".replace(" ", "%20"),
        lambda path: f"file://localhost{path}".replace("ü", "%C3%BC"),
        lambda path: f"FILE:{path}",
        lambda path: f'"file://{path}"',
    ],
)
def test_pasted_paths_are_understood(tmp_path: Path, dress: Callable[[str], str]) -> None:
    """Quotes, white space, direction marks and file URLs come from where people copy paths."""
    put(tmp_path, "my ü set/a.png")
    folder = tmp_path / "my ü set"
    assert entered_path(dress(str(folder)), "x") == str(folder)
    assert names(discover(dress(str(folder)), LIMIT)) == ["a.png"]


@pytest.mark.parametrize(
    "dress", ["{}\n{}", '"{}"\r\n"{}"\r\n', '"{}" "{}"', "'{}', '{}'", "{};{}", " {} ; {};\n", "file://{}\nfile://{}"]
)
def test_several_paths_are_one_search(tmp_path: Path, dress: str) -> None:
    """Folders and files pasted together give their pictures once, in the order entered, under the folder they share; a
    missing one is told, what is no picture is listed, and a name that exists with such signs in it is one path."""
    put(tmp_path, "b/2.png", "b/10.png", "a b/1.png")
    put(tmp_path, "none.txt", data=b"words")
    both = dress.format(tmp_path / "b", tmp_path / "a b" / "1.png")
    assert names(discover(both, LIMIT)) == ["b/2.png", "b/10.png", "a b/1.png"]
    assert discover(both, LIMIT).root == str(tmp_path)
    twice = dress.format(tmp_path / "b", tmp_path / "b" / "2.png")
    assert names(discover(twice, LIMIT)) == ["2.png", "10.png"]
    assert refused(discover(dress.format(tmp_path / "b", tmp_path / "none.txt"), LIMIT)) == {
        "none.txt": Code.PICTURE_NOT_IMAGE
    }
    gone = failure(dress.format(tmp_path / "b", tmp_path / "gone"))
    assert (gone.code, gone.params["path"]) == (Code.PATH_NOT_FOUND, str(tmp_path / "gone"))
    put(tmp_path, "x;y/c.png")
    assert names(discover(str(tmp_path / "x;y"), LIMIT)) == ["c.png"]


def test_the_home_folder_may_be_written_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``~`` is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    put(tmp_path, "pictures/a.png")
    assert discover("~/pictures", LIMIT).root == str(tmp_path / "pictures")


def test_a_search_tells_how_far_it_is_and_can_be_stopped(tmp_path: Path) -> None:
    """Progress counts up; what ``check`` raises ends the search."""
    put(tmp_path, *(f"{number}.png" for number in range(250)))
    counts: list[int] = []
    discover(str(tmp_path), LIMIT, progress=counts.append)
    assert counts == [100, 200, 250]
    calls = iter(range(1000))

    def stop_soon() -> None:
        if next(calls) == 30:
            raise Stopped

    with pytest.raises(Stopped):
        discover(str(tmp_path), LIMIT, check=stop_soon)
    assert next(calls) == 31


def test_sources_are_not_touched(tmp_path: Path) -> None:
    """Names, bytes and times of the source folder are the same after a search and a reading."""
    put(tmp_path, "a.png", "b/c.jpg")
    put(tmp_path, "b/broken.png", data=PNG[:-3])

    def state() -> list[tuple[str, int, int, int]]:
        return [
            (str(path), path.stat().st_size, path.stat().st_mtime_ns, path.stat().st_ctime_ns)
            for path in sorted(tmp_path.rglob("*"))
        ]

    before = state()
    for picture in discover(str(tmp_path), LIMIT).pictures:
        read_source(picture.path, LIMIT)
    assert state() == before


def test_a_source_is_read_whole_and_decoded(tmp_path: Path) -> None:
    """Bytes, type and size come back; a picture that changed for the worse is refused before it costs anything."""
    put(tmp_path, "a.png", data=encoded("webp"))
    source = read_source(str(tmp_path / "a.png"), LIMIT)
    assert (source.data, source.name) == (encoded("webp"), "a.png")
    assert (source.info.mime, source.info.width, source.info.height) == ("image/webp", 60, 40)
    path = tmp_path / "a.png"
    path.write_bytes(PNG[:-20])
    with pytest.raises(PictureRejected) as caught:
        read_source(str(path), LIMIT)
    assert (caught.value.code, caught.value.params) == (Code.PICTURE_BROKEN, {"path": str(path)})
    path.write_bytes(PNG)
    with pytest.raises(PictureRejected) as caught:
        read_source(str(path), 20)
    assert caught.value.params == {"path": str(path), "limit": 20}
    path.unlink()
    with pytest.raises(InvalidInput) as missing:
        read_source(str(path), LIMIT)
    assert missing.value.code is Code.SOURCE_MISSING
    path.mkdir()
    with pytest.raises(PictureRejected) as caught:
        read_source(str(path), LIMIT)
    assert caught.value.code is Code.PICTURE_UNREADABLE


def test_the_same_bytes_are_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source is read again for each call; what was whole is so still, whatever it is called. A lower bound and other
    bytes count all the same."""
    seen: list[bytes] = []

    def decoded(data: bytes, *rest: Any) -> Any:
        seen.append(data)
        return checked(data, *rest)

    monkeypatch.setattr(discovery, "_CHECKED", {})
    monkeypatch.setattr(discovery, "checked", decoded)
    first, second, other = (encoded("png", drawn(50, height)) for height in (31, 31, 32))
    for name, data in (("a.png", first), ("b.png", second), ("c.png", other), ("d.png", first[:-9])):
        put(tmp_path, name, data=data)
    for _ in range(2):
        read = [read_source(str(tmp_path / name), LIMIT) for name in ("a.png", "b.png", "c.png")]
        assert [(one.info.height, one.shape.height, one.name) for one in read] == [
            (31, 31, "a.png"), (31, 31, "b.png"), (32, 32, "c.png"),
        ]  # fmt: skip
        assert len({one.hash for one in read}) == 2
        with pytest.raises(PictureRejected):
            read_source(str(tmp_path / "d.png"), LIMIT)
    assert seen == [first, other, first[:-9], first[:-9]]
    with pytest.raises(PictureRejected) as caught:
        read_source(str(tmp_path / "a.png"), len(first) - 1)
    assert caught.value.code is Code.PICTURE_TOO_LARGE


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=40), max_size=6
    )
)
def test_any_name_is_found_or_passed_over(tmp_path_factory: pytest.TempPathFactory, given_names: list[str]) -> None:
    """No name that a file system takes breaks the search, and no visible one is lost."""
    folder = tmp_path_factory.mktemp("names")
    for name in given_names:
        if name not in {".", ".."}:
            (folder / name).write_bytes(PNG)
    present = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    system_files = {"thumbs.db", "desktop.ini"}
    (folder / "one.png").write_bytes(PNG)
    found = discover(str(folder), LIMIT)
    assert {picture.name for picture in found.pictures} == {*(present - system_files), "one.png"}
    msgspec.json.encode(found)
