"""The preset book on disk: every change is there before the call returns, and a damaged file is set aside."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config import ApiConfig
from engine.errors import Code, InvalidInput, NotFound, StorageFailed
from engine.presets import PresetBook, check_name, read_preset_file

A = ApiConfig(api_url="https://a/v1", api_key="ka")


def test_presets_live_on_disk(tmp_path: Path) -> None:
    """Put, overwrite and remove are seen by the next one who opens the file."""
    file = tmp_path / "presets.json"
    book = PresetBook(file)
    assert (book.all(), book.problems) == ({}, [])
    book.put(" 名 ", A)
    book.put("b", ApiConfig())
    assert PresetBook(file).all() == {"名": A, "b": ApiConfig()}
    book.put("b", A)
    book.remove("名")
    again = PresetBook(file)
    assert again.all() == {"b": A}
    assert again.get("b") == A
    for unknown in (again.get, again.remove):
        with pytest.raises(NotFound):
            unknown("名")
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_bare_mapping_of_old_is_read(tmp_path: Path) -> None:
    """The file of old had no frame around the presets; keys come along, odd entries do not spoil the others."""
    file = tmp_path / "presets.json"
    file.write_text(
        json.dumps({"old": {"api_url": "https://a/v1", "api_key": "ka"}, "odd": 5, "x": {"max_tokens": -1}})
    )
    book = PresetBook(file)
    assert book.get("old") == A
    assert list(book.all()) == ["old", "x"]
    assert book.get("x").max_tokens == 1


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff\xff", b"", b"[" * 100_000])
def test_a_damaged_file_goes_into_quarantine(tmp_path: Path, content: bytes) -> None:
    """Nothing is lost: the damaged file stays under another name, which the problem tells."""
    file = tmp_path / "presets.json"
    file.write_bytes(content)
    book = PresetBook(file)
    (problem,) = book.problems
    assert problem.code is Code.FILE_DAMAGED
    assert Path(str(problem.params["kept_as"])).read_bytes() == content
    book.put("new", A)
    assert PresetBook(file).all() == {"new": A}


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    """When the disk refuses, memory and file stay as they were."""
    folder = tmp_path / "d"
    folder.mkdir()
    book = PresetBook(folder / "presets.json")
    book.put("a", A)
    (folder / "presets.json").unlink()
    folder.rmdir()
    with pytest.raises(StorageFailed):
        book.put("b", A)
    assert book.all() == {"a": A}


def test_merge_fills_in_keys_and_leaves_what_would_lose_one(tmp_path: Path) -> None:
    """A key is filled in from any stored configuration of the origin, and never erased."""
    book = PresetBook(tmp_path / "presets.json")
    book.put("a", A)
    elsewhere = ApiConfig(api_url="https://b/v1")
    other = ApiConfig(api_url="https://b/v2", api_key="kb")
    imported = {"a": elsewhere, "new": ApiConfig(api_url="https://a/v2"), "none": ApiConfig(api_url="https://c/")}
    assert book.merge(imported) == ["a"]
    assert {name: config.api_key for name, config in book.all().items()} == {"a": "ka", "new": "ka", "none": ""}
    assert book.merge({"a": elsewhere}, other) == []
    assert book.get("a") == ApiConfig(api_url="https://b/v1", api_key="kb")


@pytest.mark.parametrize("name", ["", " ", "x" * 129, "a\tb", "\u202e"])
def test_names(name: str) -> None:
    """A name is short and printable."""
    with pytest.raises(InvalidInput) as caught:
        check_name(name)
    assert caught.value.field == "name"


def test_preset_files() -> None:
    """An export is read with numbers clamped; one name that cannot be refuses the file."""
    presets, current, warnings = read_preset_file(b'{"presets": {" a ": {"max_tokens": 0}}, "extra": 1}')
    assert (presets["a"].max_tokens, current, warnings) == (1, None, [])
    with pytest.raises(InvalidInput):
        read_preset_file(b'{"presets": {"": {}}}')
    with pytest.raises(InvalidInput):
        read_preset_file(b'{"presets": {}}')
