"""Collects versions and licence texts of everything that a one-file program contains."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_LINE = "=" * 100
_WORDS = re.compile(r"(licen[cs]e|copying|notice|authors)", re.IGNORECASE)
_BOOTLOADER = (
    "The start of this file is PyInstaller's bootloader: GPL 2.0 or later, with the exception that programs bundled "
    "with it may be distributed under any licence."
)


def collect(paths: Iterable[str], version: str) -> str:
    """One text: a list of all parts with versions, then their licences. ``paths``: every file that is bundled."""
    real = {Path(path).resolve() for path in paths}
    parts = [("image-batch-console", version, [ROOT / "LICENSE"])]
    parts.append((f"Python ({sys.implementation.name})", sys.version.split()[0], list(_python_licence())))
    parts += _from_distributions(real)
    parts += _from_system(real)
    parts += [(file.stem, "see webui/vendor/VERSIONS", [file]) for file in _vendored()]
    head = [f"{name} {number}" for name, number, _ in parts]
    sections = [f"{_LINE}\n{name} {number}\n{_LINE}\n\n{_texts(files)}" for name, number, files in parts]
    return "\n".join(["This program contains:", "", *head, "", _BOOTLOADER, "", *sections])


def _texts(files: Iterable[Path]) -> str:
    texts = [file.read_text(encoding="utf-8", errors="replace").strip() for file in files if file.is_file()]
    return "\n\n".join(dict.fromkeys(texts)) + "\n" if texts else "(no licence text comes with it)\n"


def _python_licence() -> Iterator[Path]:
    """Where CPython's builds put it."""
    library = Path(sysconfig.get_path("stdlib"))
    for place in (library / "LICENSE.txt", Path(sys.base_prefix) / "LICENSE.txt"):
        if place.is_file():
            yield place
            return


def _from_distributions(real: set[Path]) -> list[tuple[str, str, list[Path]]]:
    """Python packages of which at least one file is bundled."""
    found: dict[str, tuple[str, str, list[Path]]] = {}
    for package in distributions():
        files = [Path(str(package.locate_file(file))) for file in package.files or []]
        if any(file.resolve() in real for file in files if file.suffix != ".pth"):
            found.setdefault(package.name.lower(), (package.name, package.version, sorted(_licence_files(package))))
    return [found[name] for name in sorted(found)]


def _licence_files(package: Distribution) -> Iterator[Path]:
    for file in package.files or []:
        if ".dist-info" in file.parts[0] and _WORDS.search(file.name):
            yield Path(str(package.locate_file(file)))


def _from_system(real: set[Path]) -> list[tuple[str, str, list[Path]]]:
    """Debian packages whose libraries are bundled."""
    asked = sorted(str(path) for path in real if path.is_relative_to("/usr") or path.is_relative_to("/lib"))
    if not asked or not Path("/usr/bin/dpkg-query").exists():
        return []
    asked += [path.removeprefix("/usr") for path in asked]  # dpkg knows some by the path before the merge of /usr
    owners = subprocess.run(["dpkg-query", "-S", *asked], capture_output=True, text=True, check=False).stdout
    names = sorted(
        {line.split(":")[0] for line in owners.splitlines() if ": " in line and "," not in line.split(": ")[0]}
    )
    if not names:
        return []
    shown = subprocess.run(
        ["dpkg-query", "-W", "-f=${Package} ${Version}\\n", *names], capture_output=True, text=True, check=False
    ).stdout
    versions = dict(line.split(" ", 1) for line in shown.splitlines())
    return [(name, versions[name], [Path("/usr/share/doc", name, "copyright")]) for name in names if name in versions]


def _vendored() -> list[Path]:
    return sorted((ROOT / "webui" / "vendor" / "licences").glob("*.txt"))
