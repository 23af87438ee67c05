"""A full disk, a read-only one, and a folder that goes away, for real: on a small tmpfs mounted for the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.dataset.naming import BUILT_IN_RULES, SaveRule, name_context
from engine.dataset.save import SaveItem, check_output, save_all, save_one
from engine.errors import Code, InvalidInput, StorageFailed
from engine.images.cache import Cache
from engine.images.thumbnails import Thumbnails
from tests.made_pictures import encoded

PLAIN = BUILT_IN_RULES["keep_source_name"]
DISK_BYTES = 1 << 20


def mount(*arguments: str) -> None:
    """Mount, or skip saying why; in CI a skipped test has failed."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a small file system is mounted to be filled")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    place = tmp_path / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def make_item(tmp_path: Path) -> Callable[[str, int], SaveItem]:
    """Results of a name and a size, on the other disk."""
    cache = tmp_path / "cache"
    cache.mkdir()

    def make(name: str, size: int) -> SaveItem:
        file = cache / name
        file.write_bytes(name[:1].encode() * size)
        return SaveItem(name_context(name, "t", name), file, "png")

    return make


def everything(folder: Path) -> list[str]:
    """Relative names of all files, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def fill(disk: Path, left: int) -> None:
    """Leave only so many bytes."""
    free = os.statvfs(disk)
    (disk / "filler").write_bytes(b"x" * (free.f_bavail * free.f_frsize - left))


def test_a_full_disk_fails_what_does_not_fit_and_saves_the_rest(
    disk: Path, make_item: Callable[[str, int], SaveItem]
) -> None:
    """Each file that does not fit is an error of its own, smaller ones beside it are saved, no half file stays."""
    items = [
        make_item(*pair) for pair in (("a.png", 600_000), ("b.png", 600_000), ("c.png", 100_000), ("d.png", 900_000))
    ]
    out = check_output(str(disk / "out"))
    report = save_all(items, PLAIN, out)
    saved = [result for result, _ in report.saved]
    assert saved in (["a.png", "c.png"], ["b.png", "c.png"], ["c.png", "d.png"])  # two are copied at a time
    assert {error.problem.code for error in report.errors} == {Code.DISK_FULL}
    assert len(report.errors) == 2
    assert everything(out) == saved
    for item in items:
        path = out / item.context.src_name
        assert not path.exists() or path.read_bytes() == item.file.read_bytes()
    assert report.errors[0].problem.params["path"] == str(out)


def test_no_picture_stays_without_its_caption(disk: Path, make_item: Callable[[str, int], SaveItem]) -> None:
    """When only the caption does not fit, the picture is not left alone."""
    rule = SaveRule(filename_template="{src_stem}", create_txt=True, txt_template="x" * 50_000)
    item = make_item("a.png", 40_000)
    out = check_output(str(disk / "out"))
    fill(disk, 64 * 1024)
    with pytest.raises(StorageFailed) as caught:
        save_one(item, rule, out)
    assert caught.value.code is Code.DISK_FULL
    assert everything(out) == []


def test_the_cache_keeps_no_half_picture_on_a_full_disk(disk: Path) -> None:
    """The picture is refused with a code, what was there stays, and once there is room it can be put."""
    cache = Cache(disk / "cache")
    kept = cache.put(b"k" * 100_000, "png")
    fill(disk, 100_000)
    data = b"n" * 300_000
    with pytest.raises(StorageFailed) as caught:
        cache.put(data, "png")
    assert caught.value.code is Code.DISK_FULL
    assert everything(disk / "cache") == [f"{kept[:2]}/{kept[2:]}.png"]
    (disk / "filler").unlink()
    assert cache.read(cache.put(data, "png"), "png") == data
    assert cache.read(kept, "png") == b"k" * 100_000


def test_thumbnails_are_shown_on_a_full_disk(disk: Path, tmp_path: Path) -> None:
    """Nothing can be kept, everything can be seen, no half file stays."""
    path = tmp_path / "a.png"
    path.write_bytes(encoded("png"))
    thumbnails = Thumbnails(disk / "thumbnails", 1 << 20)
    fill(disk, 0)
    first = thumbnails.get(path, "a", 128)
    assert thumbnails.get(path, "a", 128) == first
    assert everything(disk / "thumbnails") == []


def test_a_read_only_disk_is_named_before_and_during_a_save(
    disk: Path, make_item: Callable[[str, int], SaveItem]
) -> None:
    """The check refuses the folder; a disk that becomes read-only later fails each item with the same code."""
    out = check_output(str(disk / "out"))
    save_one(make_item("a.png", 10), PLAIN, out)
    mount("-o", "remount,ro", str(disk))
    for folder in (out, disk / "new"):
        with pytest.raises(InvalidInput) as caught:
            check_output(str(folder))
        assert (caught.value.code, caught.value.field) == (Code.OUTPUT_NOT_WRITABLE, "output_dir")
    report = save_all([make_item("b.png", 10), make_item("c.png", 10)], PLAIN, out)
    assert [error.problem.code for error in report.errors] == [Code.OUTPUT_NOT_WRITABLE] * 2
    assert everything(out) == ["a.png"]
    with pytest.raises(StorageFailed) as failed:
        Cache(disk / "cache")
    assert failed.value.code is Code.STORAGE_FAILED


def test_a_folder_that_goes_away_fails_its_items_only(disk: Path, make_item: Callable[[str, int], SaveItem]) -> None:
    """A folder removed in the middle is not taken for a missing result, and no exception escapes."""
    out = check_output(str(disk / "out"))
    items = [make_item(f"{number}.png", 10) for number in range(60)]

    def remove_after(count: int) -> None:
        if count == 5:  # renamed first: a folder that others still write into cannot be removed
            shutil.rmtree(out.rename(disk / "going"), ignore_errors=True)

    report = save_all(items, PLAIN, out, progress=remove_after)
    assert len(report.saved) + len(report.errors) == 60
    assert len(report.errors) >= 30
    assert {error.problem.code for error in report.errors} == {Code.STORAGE_FAILED}


def test_room_that_comes_back_is_used(disk: Path, make_item: Callable[[str, int], SaveItem]) -> None:
    """A save that runs while somebody frees space goes on with what then fits."""
    out = check_output(str(disk / "out"))
    fill(disk, 4_000)
    freed = threading.Event()

    def free_after(count: int) -> None:
        if count == 3:
            (disk / "filler").unlink()
            freed.set()

    items = [make_item(f"{number:02}.png", 10_000) for number in range(60)]
    report = save_all(items, PLAIN, out, progress=free_after)
    assert freed.is_set()
    assert {error.problem.code for error in report.errors} == {Code.DISK_FULL}
    assert len(report.saved) >= 30
    assert everything(out) == sorted(Path(saved.image).name for _, saved in report.saved)
