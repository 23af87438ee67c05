"""Copies the page's JavaScript libraries out of their npm packages into ``webui/vendor``.

Each package is pinned by version and by the integrity of its tarball. ``--check`` compares the copies with
``VERSIONS`` and needs no network. Run it again after changing a pin or the list of icons.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "webui" / "vendor"
TESTS = ROOT / "tests" / "webui" / "vendor"


@dataclass(frozen=True)
class Package:
    """A pinned package and the files taken from it (path in the package → name in the vendor folder)."""

    name: str
    version: str
    integrity: str
    licence: str
    files: dict[str, str]
    licence_file: str | None = "LICENSE"
    replace: dict[str, str] = field(default_factory=dict)
    """Text replaced in every copied file, where the package expects a bundler to do it."""
    folder: Path = PAGE


PACKAGES = [
    Package(
        "preact",
        "11.2.0",
        "sha512-/HfHI/7N84e6GrWBJ3J280z3mLaRJiDcSvj/A+y/4AbLnND/1UlGHe1sR6oYuTGwId0nP7dqDU9OnLxMPZ7xBg==",
        "MIT",
        {"dist/preact.mjs": "preact.js", "hooks/dist/hooks.mjs": "preact-hooks.js"},
    ),
    Package(
        "htm",
        "3.1.1",
        "sha512-983Vyg8NwUE7JkZ6NmOqpCZ+sh1bKv2iYTlUkzlWmA5JD2acKoxd4KVxbMmxX/85mtfdnDmTFoNKcg5DGAvxNQ==",
        "Apache-2.0",
        {"dist/htm.mjs": "htm.js"},
    ),
    Package(
        "@preact/signals-core",
        "1.14.5",
        "sha512-vcRv7Ityz5JVmeiVqIluLFzT/PDS/AlhHUpw3/aUWqcVUs6bDGIPXE/6RSC4evBNWYvnniozg5Syfj33al3gkg==",
        "MIT",
        {"dist/signals-core.mjs": "signals-core.js"},
    ),
    Package(
        "@preact/signals",
        "2.11.4",
        "sha512-Rb+5RPo9gWSaHtzJeauhHxiC8KP/IF2DEPkHPEOGOnuy2wnJzRqyeLRankUCYd6ADqtxS6GnWGv6Ie343d8aYw==",
        "MIT",
        {"dist/signals.mjs": "signals.js"},
    ),
    Package(
        "@tanstack/virtual-core",
        "3.19.11",
        "sha512-/5iHb0RHBvj8Di59FDs4ESNm45jls33aZAi4zccVXZjc/6ZvwQP6nzEYeT6weXjTf9E6/vrp2JhYWRyO+ZP13A==",
        "MIT",
        {
            f"dist/esm/{name}.js": f"virtual-core/{name}.js"
            for name in ("index", "lazy-measurements", "utils", "scroll-classifier", "ios-gesture")
        },
        replace={"process.env.NODE_ENV": '"production"'},
    ),
    Package(
        "img-comparison-slider",
        "8.0.7",
        "sha512-BALViPtL2FgcCa9K8KkrmhWuyeDkVu6XVwBoRm9pU8Y6P1rjw31zujuEMBWTz2w6W30zzdQZNTccvg7J9Gf/LQ==",
        "MIT",
        {"dist/index.js": "img-comparison-slider.js"},
        licence_file=None,
    ),
    Package(
        "lucide-static",
        "1.62.0",
        "sha512-WBZA/m2PvkFpMGHDtsBck5P2A9G4ehLlYu4GwwICcmEm1BvYVgj00lCDxKRWLlbMlOibLaiwdQ88G5pHkSWgwA==",
        "ISC",
        {},
    ),
    Package(
        "axe-core",
        "4.14.1",
        "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
        "MPL-2.0",
        {"axe.min.js": "axe.min.js", "LICENSE-3RD-PARTY.txt": "licences/axe-core-3rd-party.txt"},
        folder=TESTS,
    ),
]

# fmt: off
ICONS = [
    "archive", "archive-restore",
    "arrow-down", "arrow-left", "arrow-right", "arrow-up", "ban", "bug", "check", "chevron-down", "chevron-left",
    "chevron-right", "circle", "circle-alert", "circle-check", "circle-dashed", "circle-help", "circle-x", "clock",
    "columns-2", "contrast", "copy", "dices", "download", "ellipsis", "eraser", "external-link", "eye", "file-text",
    "filter", "flame", "folder", "folder-open", "folder-up", "hand", "image", "image-off", "info", "keyboard",
    "languages", "library", "list-checks", "loader", "maximize", "monitor", "moon", "octagon-pause", "panel-left-close",
    "panel-left-open", "pencil", "play", "plug", "plug-zap", "plus", "redo-2", "refresh-cw", "repeat-2", "rotate-ccw",
    "rotate-cw", "save", "save-all", "scale", "scan", "search", "settings-2", "square", "square-check",
    "square-split-horizontal", "star", "sun", "terminal", "trash-2", "triangle-alert", "undo-2", "upload", "wifi-off",
    "wrench", "x", "zoom-in", "zoom-out",
]
# fmt: on

MIT_FOR_SLIDER = """img-comparison-slider declares the MIT licence in its package.json and ships no licence file.

The MIT License (MIT)

Copyright (c) the img-comparison-slider authors (Sneas)

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def fetch(package: Package, folder: Path) -> Path:
    """The package's tarball, by the machine's own npm client; its integrity is checked against the pin."""
    command = ["npm", "pack", "--silent", f"{package.name}@{package.version}"]
    answer = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    tarball = folder / answer.stdout.strip().splitlines()[-1]
    digest = "sha512-" + base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if digest != package.integrity:
        raise SystemExit(f"{package.name}@{package.version}: integrity is {digest}, pinned is {package.integrity}")
    return tarball


def member(tarball: tarfile.TarFile, path: str) -> str:
    """Text of one file of the package."""
    handle = tarball.extractfile(f"package/{path}")
    if handle is None:
        raise SystemExit(f"no file {path} in the package")
    return handle.read().decode("utf-8")


def without_map(text: str) -> str:
    """The same script without the pointer to a source map that is not shipped."""
    return re.sub(r"\n//# sourceMappingURL=.*\s*$", "\n", text)


def sprite(tarball: tarfile.TarFile) -> str:
    """One SVG with a symbol for each icon that the page uses."""
    symbols = []
    for name in sorted(set(ICONS)):
        body = re.search(r"<svg[^>]*>(.*)</svg>", member(tarball, f"icons/{name}.svg"), re.DOTALL)
        if body is None:
            raise SystemExit(f"icon {name} has another form than expected")
        shapes = " ".join(line.strip() for line in body.group(1).splitlines() if line.strip())
        symbols.append(f'<symbol id="i-{name}" viewBox="0 0 24 24">{shapes}</symbol>')
    return '<svg xmlns="http://www.w3.org/2000/svg">\n' + "\n".join(symbols) + "\n</svg>\n"


def copy(package: Package, tarball_path: Path) -> dict[Path, str]:
    """What the package gives: target path → text."""
    slug = package.name.lstrip("@").replace("/", "-")
    made: dict[Path, str] = {}
    with tarfile.open(tarball_path) as tarball:
        for source, target in package.files.items():
            text = without_map(member(tarball, source))
            for old, new in package.replace.items():
                text = text.replace(old, new)
            made[package.folder / target] = text
        if package.name == "lucide-static":
            made[package.folder / "icons.svg"] = sprite(tarball)
        licence = member(tarball, package.licence_file) if package.licence_file else MIT_FOR_SLIDER
        made[package.folder / "licences" / f"{slug}.txt"] = licence
    return made


def versions(package: Package, made: dict[Path, str]) -> str:
    """The paragraph of ``VERSIONS`` for one package."""
    lines = [f"{package.name} {package.version} {package.licence} {package.integrity}"]
    for path, text in sorted(made.items()):
        digest = hashlib.sha256(text.encode()).hexdigest()
        lines.append(f"  {path.relative_to(package.folder).as_posix()} sha256-{digest}")
    return "\n".join(lines) + "\n"


def update() -> None:
    """Fetch everything anew and write both vendor folders."""
    paragraphs: dict[Path, list[str]] = {PAGE: [], TESTS: []}
    with tempfile.TemporaryDirectory() as name:
        for package in PACKAGES:
            made = copy(package, fetch(package, Path(name)))
            for path, text in made.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(text.encode())
            paragraphs[package.folder].append(versions(package, made))
            print(f"{package.name} {package.version}: {len(made)} files")
    for folder, parts in paragraphs.items():
        (folder / "VERSIONS").write_text("\n".join(parts), encoding="utf-8")


def check() -> int:
    """Number of vendored files that are not what ``VERSIONS`` says, each named on standard error."""
    wrong = 0
    for folder in (PAGE, TESTS):
        text = (folder / "VERSIONS").read_text(encoding="utf-8")
        listed = re.findall(r"^  (\S+) sha256-([0-9a-f]{64})$", text, re.MULTILINE)
        present = {path for path in folder.rglob("*") if path.is_file()} - {folder / "VERSIONS"}
        for name, digest in listed:
            path = folder / name
            present.discard(path)
            if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                print(f"changed or missing: {path}", file=sys.stderr)
                wrong += 1
        for path in sorted(present):
            print(f"not listed: {path}", file=sys.stderr)
            wrong += 1
    return wrong


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare the copies with VERSIONS, offline")
    if parser.parse_args().check:
        return 1 if check() else 0
    update()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
