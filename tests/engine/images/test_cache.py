"""Result pictures in the cache: whole or not there, once each, swept by reference, age and size."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.errors import Code, StorageFailed
from engine.images.cache import FRESH_SECONDS, Cache

NOW = 2_000_000_000.0


def files_in(folder: Path) -> list[Path]:
    """All files below a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def aged(cache: Cache, data: bytes, age: float) -> str:
    """A picture of an earlier program, whose file is this many seconds old at NOW."""
    digest = Cache(cache.path("0" * 64, "png").parents[1]).put(data, "png")
    os.utime(cache.path(digest, "png"), (NOW - age, NOW - age))
    return digest


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache in a folder that does not exist yet."""
    return Cache(tmp_path / "data" / "cache")


def test_a_picture_is_found_under_the_hash_of_its_bytes(cache: Cache, tmp_path: Path) -> None:
    """The file lies at ab/cdef….ext, holds the bytes and is for its owner only."""
    digest = cache.put(b"picture", "png")
    assert digest == hashlib.sha256(b"picture").hexdigest()
    path = cache.path(digest, "png")
    assert path == tmp_path / "data" / "cache" / digest[:2] / f"{digest[2:]}.png"
    assert path.read_bytes() == b"picture"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert cache.has(digest, "png")
    assert not cache.has(digest, "jpg")
    assert files_in(tmp_path) == [path]


def test_the_same_bytes_are_kept_once(cache: Cache, tmp_path: Path) -> None:
    """A second put neither writes nor changes the file, but makes it fresh again."""
    digest = aged(cache, b"same", 10_000)
    before = cache.path(digest, "png").stat()
    assert cache.put(b"same", "png") == digest
    after = cache.path(digest, "png").stat()
    assert after.st_ino == before.st_ino
    assert after.st_mtime != before.st_mtime
    assert len(files_in(tmp_path)) == 1


def test_a_file_of_another_size_is_written_anew(cache: Cache) -> None:
    """What a failing disk cut off is replaced when the bytes come again."""
    digest = cache.put(b"whole picture", "png")
    cache.path(digest, "png").write_bytes(b"who")
    cache.put(b"whole picture", "png")
    assert cache.read(digest, "png") == b"whole picture"


def test_reading_checks_the_bytes(cache: Cache) -> None:
    """A changed file is damaged and kept under another name, a removed one missing; neither is handed out."""
    digest = cache.put(b"picture", "png")
    cache.path(digest, "png").write_bytes(b"Picture")
    with pytest.raises(StorageFailed) as caught:
        cache.read(digest, "png")
    assert caught.value.code is Code.FILE_DAMAGED
    assert Path(str(caught.value.params["kept_as"])).read_bytes() == b"Picture"
    assert cache.remove(digest, "png") is False
    cache.put(b"picture", "png")
    assert cache.remove(digest, "png") is True
    with pytest.raises(StorageFailed) as caught:
        cache.read(digest, "png")
    assert caught.value.code is Code.RESULT_FILE_MISSING


@pytest.mark.parametrize(
    ("digest", "extension"),
    [("../" * 21 + "x", "png"), ("a" * 64, "p/g"), ("A" * 64, "png"), ("a" * 63, "png"), ("a" * 64, "")],
)
def test_a_name_that_is_no_hash_never_becomes_a_path(cache: Cache, digest: str, extension: str) -> None:
    """Nothing outside the folder can be named."""
    with pytest.raises(ValueError, match="not the name"):
        cache.path(digest, extension)


def test_what_a_crash_left_is_gone_after_the_next_start(cache: Cache, tmp_path: Path) -> None:
    """Half written files go, whole ones stay."""
    digest = cache.put(b"whole", "png")
    leftover = tmp_path / "data" / "cache" / ".incoming" / "0123"
    leftover.write_bytes(b"ha")
    again = Cache(tmp_path / "data" / "cache")
    assert not leftover.exists()
    assert again.read(digest, "png") == b"whole"


def test_a_folder_removed_under_the_program_is_made_again(cache: Cache, tmp_path: Path) -> None:
    """A picture that was paid for is kept even when somebody cleaned up too much."""
    cache.put(b"first", "png")
    for path in sorted(tmp_path.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    digest = cache.put(b"second", "png")
    assert cache.read(digest, "png") == b"second"


def test_many_threads_may_put_the_same_pictures(cache: Cache, tmp_path: Path) -> None:
    """Races for one name end with one whole file."""
    pictures = [bytes([number]) * 5000 for number in range(10)]
    start = threading.Barrier(8)

    def put_all(_: int) -> list[str]:
        start.wait(60)
        return [cache.put(data, "png") for data in pictures]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(put_all, range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert [cache.read(digest, "png") for digest in answers[0]] == pictures
    assert len(files_in(tmp_path)) == 10


def test_a_sweep_never_takes_what_is_referenced(cache: Cache) -> None:
    """Held pictures stay, however old and however many bytes they are."""
    digest = aged(cache, b"x" * 1000, 1e9)
    assert cache.sweep(lambda _: True, 0, 0, NOW) == 0
    assert cache.has(digest, "png")


def test_a_sweep_takes_what_is_too_old(cache: Cache) -> None:
    """Age alone is enough for what nothing refers to."""
    old, young = aged(cache, b"old", 5000), aged(cache, b"young", 3000)
    assert cache.sweep(lambda _: False, 4000, 1 << 30, NOW) == 1
    assert not cache.has(old, "png")
    assert cache.has(young, "png")


def test_a_sweep_for_size_begins_with_the_oldest(cache: Cache) -> None:
    """Just as many go as are needed, oldest first, past those that are held."""
    digests = [aged(cache, bytes([number]) * 100, 9000 - number) for number in range(5)]
    assert cache.sweep(lambda digest: digest == digests[0], 1e9, 300, NOW) == 2
    assert [cache.has(digest, "png") for digest in digests] == [True, False, False, True, True]


def test_a_sweep_leaves_fresh_pictures_alone(cache: Cache) -> None:
    """Between put and the note in the store nothing refers to a picture; it must not vanish then."""
    digest = aged(cache, b"just arrived", FRESH_SECONDS - 1)
    assert cache.sweep(lambda _: False, 0, 0, NOW) == 0
    assert cache.sweep(lambda _: False, 0, 0, NOW, fresh_seconds=0) == 1
    assert not cache.has(digest, "png")


def test_a_sweep_leaves_fresh_pictures_alone_when_the_clock_jumps(tmp_path: Path) -> None:
    """However old the system's clock makes the file of a picture that has just come, new or once more."""
    seconds = [1000.0]
    cache = Cache(tmp_path, monotonic=lambda: seconds[0])
    digest = cache.put(b"just arrived", "png")
    other = cache.put(b"another", "png")
    assert cache.sweep(lambda _: False, 0, 0, NOW) == 0
    seconds[0] += FRESH_SECONDS - 1
    assert cache.put(b"just arrived", "png") == digest
    seconds[0] += 2
    assert cache.sweep(lambda _: False, 0, 0, NOW * 2) == 1
    assert (cache.has(digest, "png"), cache.has(other, "png")) == (True, False)
    seconds[0] += FRESH_SECONDS
    assert cache.sweep(lambda _: False, 0, 0, NOW * 2) == 1


def test_a_sweep_touches_only_our_files(cache: Cache, tmp_path: Path) -> None:
    """Whatever else lies in the folder is not ours to remove."""
    strangers = [tmp_path / "data/cache/notes.txt", tmp_path / "data/cache/ab/readme.png"]
    for path in strangers:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    assert cache.sweep(lambda _: False, 0, 0, NOW * 2) == 0
    assert all(path.exists() for path in strangers)


def test_a_cache_that_cannot_be_made_says_where(tmp_path: Path) -> None:
    """A file in the place of the folder is a storage failure with its path."""
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(StorageFailed) as caught:
        Cache(tmp_path / "data" / "cache")
    assert caught.value.code is Code.STORAGE_FAILED
    assert str(tmp_path) in str(caught.value.params["path"])
