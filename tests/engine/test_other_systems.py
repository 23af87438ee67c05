"""Rules of Windows and macOS that can be tried anywhere: paths as ntpath reads them, names that are no names there."""

from __future__ import annotations

import ntpath
import unicodedata
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import pytest

import engine.paths
from engine.dataset.naming import BUILT_IN_RULES, MAX_STEM_BYTES, name_context, safe_stem
from engine.dataset.save import SaveItem, check_output, save_all
from engine.errors import InvalidInput
from engine.paths import common_folder, entered_path, folded, folders_below

DEEP = "\\\\?\\C:\\" + "\\".join(["folder of forty letters, more or less so"] * 12)
ENTERED = {
    '"C:\\Users\\me\\pics"': "C:\\Users\\me\\pics",
    "\u202aC:\\pics\\a": "C:\\pics\\a",
    "C:/pics/x/../y/": "C:\\pics\\y",
    "file:///C:/a%20b/%E7%94%BB": "C:\\a b\\画",
    "file://nas/share/pics": "\\\\nas\\share\\pics",
    "\\\\nas\\share\\pics\\": "\\\\nas\\share\\pics",
    "~\\pics": "C:\\Users\\王 小明\\pics",
    DEEP: DEEP,
    DEEP.removeprefix("\\\\?\\"): DEEP.removeprefix("\\\\?\\"),
}
REFUSED = ("C:\\" + "x" * 256, "C:\\a\0b", "\\\\nas\\share\\" + "画" * 256)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths mean what they do there."""
    monkeypatch.setattr(engine.paths, "os", SimpleNamespace(name="nt", path=ntpath, sep="\\"))
    monkeypatch.setenv("USERPROFILE", "C:\\Users\\王 小明")


@pytest.mark.usefixtures("windows")
def test_pasted_paths_of_windows() -> None:
    """Quotes and marks of Explorer, drives, shares, file URLs, long paths; what nobody takes is refused in words."""
    assert {text: entered_path(text, "input_path") for text in ENTERED} == ENTERED
    for text in REFUSED:
        with pytest.raises(InvalidInput):
            entered_path(text, "input_path")
    assert folders_below("C:\\in\\sub\\deep\\a.png", "C:\\in") == "sub/deep"
    assert folders_below("C:\\sub\\a.png", "C:\\") == "sub"
    assert common_folder(["C:\\a\\x", "D:\\a"]) == ""


def is_reserved(name: str) -> bool:
    """Whether Windows itself would take the name for a device or change it."""
    check: Any = getattr(ntpath, "isreserved", None) or (lambda path: PureWindowsPath(path).is_reserved())
    return bool(check(name)) or name[-1] in " ."


@pytest.mark.parametrize("name", [
    "CON", "con.start", "nul", "NUL .x", "aux.tar", "COM1", "lpt9.x.y", "COM¹", "CONIN$", "CONOUT$.a", "a.", "a ",
    "a. .", "..", ".", "", " ", "a:b", "a\\b", "a/b", 'a"<>|?*', "CON" + " " * 250 + "x", "x" * 300, "画" * 100,
    ".hidden", "a\x1fb", "PRN\u0301", "é" * 120, unicodedata.normalize("NFD", "é" * 120),
])  # fmt: skip
def test_names_are_fit_for_windows_and_macos(name: str) -> None:
    """No device, no separator or stream, nothing that is cut off at the end, whole letters, and room for an ending."""
    made = safe_stem(name)
    for written in (made, f"{made}.png", f"{made}_12.webp"):
        assert not is_reserved(written), written
        assert not set(written) & set('<>:"/\\|?*')
        assert len(written.encode()) <= 255
    assert len(made.encode()) <= MAX_STEM_BYTES
    assert not made.startswith(".")


def test_names_that_only_some_systems_tell_apart_never_meet(tmp_path: Path) -> None:
    """Case and composed or decomposed letters: each of these gets a name that no other system takes for another's."""
    names = ["Straße", "STRASSE", "Café", unicodedata.normalize("NFD", "Café"), "CAFÉ", "a", "A", "CON", "con"]
    (file := tmp_path / "r.png").write_bytes(b"x")
    out = check_output(str(tmp_path / "out"))
    items = [SaveItem(name_context(f"{name}.png", "t", str(n), 1, n), file, "png") for n, name in enumerate(names, 1)]
    report = save_all(items, BUILT_IN_RULES["keep_source_name"], out)
    assert report.errors == []
    assert len({folded(path.name) for path in out.iterdir()}) == len(names)
