"""Small JSON documents on disk: whole or not at all, private, and never overwritten when damaged."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from engine.errors import Code, StorageFailed
from engine.files import read_json, set_aside, storage_failure, write_bytes, write_json


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
        set_aside(tmp_path / "a")


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, Code.DISK_FULL), (errno.EDQUOT, Code.DISK_FULL), (errno.EIO, Code.STORAGE_FAILED)],
)
def test_what_failed_is_told_apart(number: int, code: Code) -> None:
    """A full disk or quota has a code of its own."""
    failure = storage_failure(OSError(number, "reason"), "place")
    assert (failure.code, failure.params) == (code, {"path": "place", "reason": "reason"})
    assert storage_failure(OSError("odd"), "place").params["reason"] == "OSError"
