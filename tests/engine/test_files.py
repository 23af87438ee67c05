"""Small JSON documents on disk: whole or not at all, private, and never overwritten when damaged."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from engine.errors import Code, InvalidInput, StorageFailed
from engine.files import quarantine, read_json, storage_failure, write_bytes, write_json
from engine.reading import read_text


def test_written_whole_and_private(tmp_path: Path) -> None:
    """A document reads back, has mode 0600, and leaves no temporary file."""
    file = tmp_path / "a.json"
    write_json(file, {"b": [1, "图"]})
    write_json(file, {"b": 2})
    assert read_json(file) == ({"b": 2}, [])
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert read_json(tmp_path / "none.json") == ({}, [])


def test_a_write_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    """A target that cannot be replaced keeps what it is, and nothing half written stays."""
    target = tmp_path / "folder"
    (target / "in").mkdir(parents=True)
    with pytest.raises(StorageFailed) as caught:
        write_bytes(target, b"x")
    assert caught.value.code is Code.STORAGE_FAILED
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_damaged_files_pile_up_beside(tmp_path: Path) -> None:
    """Two damaged files in the same second both stay."""
    file = tmp_path / "a.json"
    for number in range(3):
        file.write_text(f"damaged {number}")
        data, problems = read_json(file)
        assert (data, [problem.code for problem in problems]) == ({}, [Code.FILE_DAMAGED])
    kept = {path.read_text() for path in tmp_path.glob("a.json.damaged-*")}
    assert kept == {f"damaged {number}" for number in range(3)}
    assert not file.exists()


def test_too_many_damaged_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is an end to piling up."""
    monkeypatch.setattr("engine.files.os.path.lexists", lambda _: True)
    (tmp_path / "a").write_text("x")
    with pytest.raises(StorageFailed):
        quarantine(tmp_path / "a")


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, Code.DISK_FULL), (errno.EDQUOT, Code.DISK_FULL), (errno.EIO, Code.STORAGE_FAILED)],
)
def test_what_failed_is_told_apart(number: int, code: Code) -> None:
    """A full disk or quota has a code of its own."""
    failure = storage_failure(OSError(number, "reason"), "place")
    assert (failure.code, failure.params) == (code, {"path": "place", "reason": "reason"})
    assert storage_failure(OSError("odd"), "place").params["reason"] == "OSError"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
@pytest.mark.parametrize(
    "text", ["夜晚", "把白天变成夜晚，窗户里亮起灯光", "讓天空下雪，窗戶亮燈", "骆驼商队穿过戈壁🌙", "plain", ""]
)
def test_texts_are_read_as_they_were_written(tmp_path: Path, text: str, encoding: str) -> None:
    """Unicode with or without a mark, and what Chinese systems write, in both scripts and with a final Ctrl-Z."""
    path = tmp_path / "001.txt"
    path.write_text(text, encoding)
    assert read_text(path) == text
    path.write_text(f"{text}\n\x1a", encoding)
    assert read_text(path).rstrip("\r\n") == text


def test_texts_have_a_bound(tmp_path: Path) -> None:
    """One byte more than the bound is refused by name, with the bound."""
    path = tmp_path / "001.txt"
    path.write_bytes(b"x" * 100)
    assert len(read_text(path, 100)) == 100
    with pytest.raises(InvalidInput) as refused:
        read_text(path, 99)
    assert refused.value.code is Code.TEXT_TOO_LARGE
    assert refused.value.params == {"path": str(path), "limit": 99}
