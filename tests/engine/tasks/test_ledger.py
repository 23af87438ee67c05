"""The ledger of paid answers: found by the picture's bytes, kept apart from the caches, never in anybody's way."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.images.cache import Cache
from engine.images.picture import check_picture
from engine.models import SourceImage, SourceType, StoredImage
from engine.tasks.ledger import Ledger
from tests.support.pictures import picture

WISH = "w" * 64


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """One on a new folder."""
    opened = Ledger(tmp_path / "answers")
    yield opened
    opened.close()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """A cache on the same disk."""
    return Cache(tmp_path / "cache")


def source(path: Path, number: int = 1) -> SourceImage:
    """A picture on disk."""
    path.write_bytes(picture(number))
    status = path.stat()
    return SourceImage(str(path), path.name, status.st_size, status.st_mtime_ns, "image/png")


def stored(cache: Cache, number: int) -> StoredImage:
    """A result in the cache."""
    data = picture(number)
    info = check_picture(data, 10**6)
    return StoredImage(cache.put(data, info.extension), len(data), info, SourceType.BASE64)


def found(ledger: Ledger, wish: str, pictures: list[SourceImage]) -> list[StoredImage]:
    """The results of a paid answer, none where there is none."""
    answer = ledger.find(wish, pictures)
    return answer.images if answer else []


def digest(one: SourceImage) -> str:
    """Of its bytes."""
    return hashlib.sha256(Path(one.path).read_bytes()).hexdigest()


def test_found_by_bytes_whatever_the_name(tmp_path: Path, ledger: Ledger, cache: Cache) -> None:
    """A renamed picture finds its answers in their order; other bytes, another wish or one more picture do not."""
    first = source(tmp_path / "a.png")
    images = [stored(cache, number) for number in (50, 40, 60)]
    ledger.record(WISH, [digest(first)], first.size, images, cache, 1.0)
    renamed = source(tmp_path / "deep 名.png")
    assert found(ledger, WISH, [renamed]) == images
    assert found(ledger, "v" * 64, [renamed]) == []
    assert found(ledger, WISH, [source(tmp_path / "b.png", 2)]) == []
    assert found(ledger, WISH, [renamed, renamed]) == []


def test_a_changed_file_is_another_picture(tmp_path: Path, ledger: Ledger, cache: Cache) -> None:
    """The remembered hash of a path counts only while size and time of the file are the same."""
    one = source(tmp_path / "a.png")
    ledger.record(WISH, [ledger.source_hash(one)], one.size, [stored(cache, 9)], cache, 1.0)
    assert len(found(ledger, WISH, [one])) == 1
    changed = bytearray(picture(1))
    changed[-20] ^= 1
    Path(one.path).write_bytes(changed)
    later = SourceImage(one.path, one.name, one.size, one.modified + 1, one.mime)
    assert ledger.source_hash(later) == hashlib.sha256(changed).hexdigest()
    assert found(ledger, WISH, [later]) == []


def test_given_back_to_an_emptied_cache(tmp_path: Path, ledger: Ledger, cache: Cache) -> None:
    """What the cache lost comes back whole; asked for twice is no fault."""
    one = source(tmp_path / "a.png")
    image = stored(cache, 9)
    ledger.record(WISH, [digest(one)], one.size, [image], cache, 1.0)
    assert cache.remove(image.hash, image.info.extension)
    for _ in range(2):
        ledger.give(found(ledger, WISH, [one]), cache)
        assert cache.read(image.hash, image.info.extension) == picture(9)


def test_half_an_answer_is_none(tmp_path: Path, ledger: Ledger, cache: Cache) -> None:
    """A file that is gone, or cut off, makes the whole answer unknown: it is asked for again."""
    one = source(tmp_path / "a.png")
    images = [stored(cache, number) for number in (7, 8)]
    ledger.record(WISH, [digest(one)], one.size, images, cache, 1.0)
    (kept,) = (tmp_path / "answers").rglob(f"{images[1].hash}.*")
    whole = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(whole[:-1])
    assert found(ledger, WISH, [one]) == []
    kept.unlink()
    assert found(ledger, WISH, [one]) == []


def test_swept_by_age_and_size(tmp_path: Path, ledger: Ledger, cache: Cache) -> None:
    """Old answers go, then the oldest beyond the size; the files of the cache are not touched."""
    pictures = [source(tmp_path / f"{number}.png", number) for number in (1, 2, 3)]
    images = [stored(cache, 10 + number) for number in (1, 2, 3)]
    for at, (one, image) in enumerate(zip(pictures, images, strict=True)):
        ledger.record(WISH, [digest(one)], one.size, [image], cache, 100.0 * at)
    assert ledger.sweep(150.0, 10**9, 200.0) == 1
    assert [len(found(ledger, WISH, [one])) for one in pictures] == [0, 1, 1]
    assert ledger.sweep(10**9, images[2].size, 200.0) == 1
    assert [len(found(ledger, WISH, [one])) for one in pictures] == [0, 0, 1]
    assert all(cache.has(image.hash, image.info.extension) for image in images)
    assert len([path for path in (tmp_path / "answers").rglob("*.png") if path.is_file()]) == 1


def test_forgotten_for_good(tmp_path: Path, ledger: Ledger, cache: Cache) -> None:
    """Row and file are gone."""
    one = source(tmp_path / "a.png")
    image = stored(cache, 9)
    ledger.record(WISH, [digest(one)], one.size, [image], cache, 1.0)
    ledger.forget([image.hash, "0" * 64])
    assert found(ledger, WISH, [one]) == []
    assert not list((tmp_path / "answers").rglob("*.png"))


def test_shared_by_two(tmp_path: Path, ledger: Ledger, cache: Cache) -> None:
    """Two programs and many threads write into one ledger at once; both know all of it."""
    other = Ledger(tmp_path / "answers")
    pictures = [source(tmp_path / f"{number}.png", number) for number in range(1, 25)]
    images = [stored(cache, 100 + number) for number in range(24)]

    def write(book: Ledger, start: int) -> None:
        for one, image in list(zip(pictures, images, strict=True))[start::4]:
            book.record(WISH, [digest(one)], one.size, [image], cache, 1.0)

    threads = [threading.Thread(target=write, args=((ledger, other)[start % 2], start)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for book in (ledger, other):
        assert [found(book, WISH, [one]) for one in pictures] == [[image] for image in images]
    other.close()


def test_a_fault_costs_nothing(tmp_path: Path, ledger: Ledger, cache: Cache) -> None:
    """When its table is gone, noting and asking are done without: nothing raises, nothing is found."""
    one = source(tmp_path / "a.png")
    image = stored(cache, 9)
    with sqlite3.connect(tmp_path / "answers" / "ledger.db") as away:
        away.execute("DROP TABLE answer")
    away.close()
    ledger.record(WISH, [digest(one)], one.size, [image], cache, 1.0)
    assert found(ledger, WISH, [one]) == []
    assert ledger.sweep(0.0, 0, 1e9) == 0


def test_damaged_goes_into_quarantine(tmp_path: Path, cache: Cache) -> None:
    """A file that is no database is kept under another name and told; a new ledger works."""
    folder = tmp_path / "answers"
    folder.mkdir()
    (folder / "ledger.db").write_bytes(b"no database at all" * 100)
    ledger = Ledger(folder)
    try:
        assert len(ledger.problems) == 1
        assert Path(str(ledger.problems[0].params["kept_as"])).read_bytes().startswith(b"no database")
        one = source(tmp_path / "a.png")
        ledger.record(WISH, [digest(one)], one.size, [stored(cache, 9)], cache, 1.0)
        assert len(found(ledger, WISH, [one])) == 1
    finally:
        ledger.close()
