"""What the build scripts decide before PyInstaller runs: the lock of the build, what goes in, and the licences."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a script of build/."""
    monkeypatch.syspath_prepend(str(ROOT / "build"))
    yield importlib.import_module
    for name in ("onefile", "contents", "licences"):
        sys.modules.pop(name, None)


def test_a_build_begins_with_nothing_installed() -> None:
    """What makes .venv-build needs nothing out of it."""
    bare = [sys.executable, "-I", "-S", "-c", "import sys; sys.path.insert(0, sys.argv.pop(1)); import onefile"]
    subprocess.run([*bare, ROOT / "build"], check=True, timeout=60)


def test_build_lock_has_the_program_and_the_builder(script: Any) -> None:
    """The lock of .venv-build is the program's lock and PyInstaller's, with hashes, no line twice."""
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in script("onefile").LOCKS]
    lock = script("onefile").build_lock(*texts)
    assert lock.startswith(texts[0])
    lines = [line for line in lock.splitlines() if "==" in line and line[0].isalnum()]
    assert len(lines) == len(set(lines))  # a package may stand there for two systems
    names = {line.partition("==")[0] for line in lines}
    assert {"pyinstaller", "pyinstaller-hooks-contrib", "altgraph", "pillow", "httpx"} <= names
    assert not {"pytest", "mypy", "playwright"} & names
    assert lock.count("==") <= lock.count("--hash=sha256:")


def test_data_files_are_all_that_the_program_reads(script: Any) -> None:
    """Page, catalogues, templates, samples and version go in; drawing scripts and other systems' icons do not."""
    inside = {f"{folder}/{Path(path).name}" for path, folder in script("contents").data_files()}
    wanted = {file.relative_to(ROOT).as_posix() for file in (ROOT / "webui").rglob("*.js")}
    wanted |= {file.relative_to(ROOT).as_posix() for file in (ROOT / "assets" / "samples").iterdir()}
    wanted |= {"assets/VERSION", "assets/presets.json", "assets/messages/en/errors.json", "webui/index.html"}
    assert wanted <= inside
    assert not [
        name
        for name in inside
        if "drawing" in name or "screenshots" in name or name.endswith((".pyc", ".icns", ".ico"))
    ]


def test_slim_leaves_out_what_only_a_window_needs(script: Any) -> None:
    """The list of excluded modules names no module of ours, none twice, and more for the browser than for a window."""
    contents = script("contents")
    slim, window = contents.excluded_modules("slim"), contents.excluded_modules("window")
    assert set(window) < set(slim)
    assert len(slim) == len(set(slim))
    assert {"webview", "gi"} <= set(slim)
    assert not [name for name in slim if name.split(".")[0] in ("engine", "bridge", "launcher")]


def test_nothing_that_we_import_is_left_out(script: Any) -> None:
    """No import of the program names a module that contents.toml excludes, save a window's and optional ones."""
    contents = script("contents")
    groups = tomllib.loads((ROOT / "build" / "contents.toml").read_text(encoding="utf-8"))
    left_out = set(contents.excluded_modules("slim"))
    left_out -= {*groups["slim"]["window"].split(), *groups["never"]["optional"].split()}
    imported = set()
    for file in [ROOT / "launcher.py", *(ROOT / "bridge").rglob("*.py"), *(ROOT / "engine").rglob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    toolkits = {name for name in imported if name.partition(".")[0] in ("qtpy", "PyQt6")}  # Qt is never bundled
    assert (imported & left_out) - toolkits == set()


def test_system_libraries_stay_outside(script: Any) -> None:
    """Of the system's libraries only those that Python needs are kept; GTK's data never is."""
    entries = [
        ("libgtk-3.so.0", "/usr/lib/x86_64-linux-gnu/libgtk-3.so.0", "BINARY"),
        ("libstdc++.so.6", "/usr/lib/x86_64-linux-gnu/libstdc++.so.6", "BINARY"),
        ("libssl.so.3", "/usr/lib/x86_64-linux-gnu/libssl.so.3", "BINARY"),
        ("gi_typelibs/Gtk-3.0.typelib", "/usr/lib/girepository-1.0/Gtk-3.0.typelib", "DATA"),
        ("share/icons/a.svg", "/usr/share/icons/a.svg", "DATA"),
        ("pillow.libs/libavif.so", "/venv/lib/pillow.libs/libavif.so", "BINARY"),
    ]
    kept = [name for name, _, _ in script("contents").kept(entries)]
    assert "pillow.libs/libavif.so" in kept
    assert not {"gi_typelibs/Gtk-3.0.typelib", "share/icons/a.svg"} & set(kept)
    if sys.platform == "linux":
        assert kept == ["libssl.so.3", "pillow.libs/libavif.so"]


def test_licences_name_each_package_with_its_text(script: Any) -> None:
    """A bundled file of a package brings that package's name, version and licence into the text."""
    text = script("licences").collect([msgspec.__file__, json.__file__], "1.2.3")
    assert text.startswith("This program contains:\n\nimage-batch-console 1.2.3\n")
    assert f"\nmsgspec {msgspec.__version__}\n" in text
    assert "Redistribution and use in source and binary forms" in text
    assert "pillow" not in text.split("=" * 100)[0].lower()


def test_windows_version_is_that_of_the_program(script: Any) -> None:
    """The version resource for Windows carries the program's version, as four numbers and as text."""
    contents = script("contents")
    text = contents.windows_version("console").read_text(encoding="utf-8")
    numbers = [int(part) for part in contents.version().split(".")]
    assert f"filevers=({', '.join(map(str, [*numbers, 0]))})" in text
    assert contents.version() in text


def test_version_has_one_place(script: Any) -> None:
    """The scripts read the version that pyproject.toml reads."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    place = project["tool"]["setuptools"]["dynamic"]["version"]["file"]
    assert (ROOT / place).read_text(encoding="utf-8").strip() == script("contents").version()
