"""What goes into a one-file program and what stays out, for each variant; read by the PyInstaller spec."""

from __future__ import annotations

import fnmatch
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SLIM, WINDOW = "slim", "window"
Entry = tuple[str, str, str]
"""PyInstaller's: name inside, path outside, kind."""

# Imported by name only.
_PILLOW_PLUGINS = ("Avif", "Bmp", "Gif", "Jpeg", "Jpeg2K", "Mpo", "Png", "Ppm", "Tiff", "WebP")
_ASSETS_OUT = ("drawing/*", "screenshots/*", "icon.icns", "icon.ico", "examples/*", "*/__pycache__/*")

# GTK and WebKit are the system's, whole: a part of them in here would meet the other part of another age there.
# What stays is what Python itself needs. Every glibc system has libgcc_s and libstdc++ (only AVIF asks for the latter).
_LIBRARIES_KEPT = ("libpython*", "libcrypto*", "libssl*", "libsqlite3*", "libexpat*", "libz.so*", "libuuid*", "libffi*")
_GTK_DATA = ("gi_typelibs", "gio_modules", "share", "lib", "etc")
_GTK_HOOKS = ("pyi_rth_gi", "pyi_rth_gio", "pyi_rth_glib", "pyi_rth_gtk", "pyi_rth_gdkpixbuf")


def excluded_modules(variant: str) -> list[str]:
    """Modules that stay out of the bundle: contents.toml."""
    groups = tomllib.loads((ROOT / "build" / "contents.toml").read_text(encoding="utf-8"))
    chosen = ["never", *(["slim"] if variant == SLIM else [])]
    if variant == SLIM and sys.platform == "linux":
        chosen.append("slim_on_linux")
    return [name for group in chosen for names in groups[group].values() for name in names.split()]


def hidden_modules(variant: str) -> list[str]:
    """Modules that are imported by name only."""
    plugins = [f"PIL.{name}ImagePlugin" for name in _PILLOW_PLUGINS]
    window = variant == WINDOW and sys.platform == "linux"
    return [*plugins, *(["webview.platforms.gtk"] if window else [])]


def data_files() -> list[tuple[str, str]]:
    """Page, catalogues, samples, templates, icon: (path, folder inside), in a fixed order."""
    found: list[tuple[str, str]] = []
    for top in ("webui", "assets"):
        for file in sorted((ROOT / top).rglob("*")):
            inside = file.relative_to(ROOT / top).as_posix()
            out = top == "assets" and _matches(inside, _ASSETS_OUT)
            if file.is_file() and not out and not any(part.startswith(".") for part in file.parts[len(ROOT.parts) :]):
                found.append((str(file), str(Path(top, inside).parent)))
    return found


def kept(entries: Iterable[Entry]) -> list[Entry]:
    """Bundle entries without what the system brings; in a fixed order."""
    return sorted(entry for entry in entries if not _is_the_systems(*entry))


def scripts(entries: Iterable[Entry]) -> list[Entry]:
    """Start-up scripts without those that point GTK at data in the bundle."""
    return [entry for entry in entries if entry[0] not in _GTK_HOOKS]


def without_docstrings(modules: Iterable[Entry]) -> list[Entry]:
    """Python modules, without their docstrings but for those that describe the API. In a fixed order."""
    shown = _described()
    return sorted((name, path, kind if name in shown else "PYMODULE-2") for name, path, kind in modules)


def _described() -> set[str]:
    """Modules of the operations, and of the Structs that they take and give: their docstrings are in the OpenAPI
    document."""
    import msgspec  # onefile.py runs where nothing is installed yet

    sys.path.insert(0, str(ROOT))
    try:
        from bridge.operations import OPERATIONS
    finally:
        sys.path.pop(0)
    found = {operation.handler.__module__ for operation in OPERATIONS}
    seen: set[object] = set()

    def look(part: object) -> None:
        if isinstance(part, tuple):
            for one in part:
                look(one)
        elif isinstance(part, msgspec.inspect.Type | msgspec.inspect.Field):
            cls = getattr(part, "cls", None)
            if cls is not None and cls not in seen:
                seen.add(cls)
                found.add(cls.__module__)
            elif cls is not None:
                return
            for name in part.__struct_fields__:
                look(getattr(part, name))

    for operation in OPERATIONS:
        look(tuple(msgspec.inspect.type_info(kind) for kind in (operation.params, operation.answer)))
    return found


def _is_the_systems(name: str, path: str, kind: str) -> bool:
    parts = Path(name).parts
    if parts[0] in _GTK_DATA:
        return True
    if sys.platform != "linux" or kind not in ("BINARY", "SYMLINK") or len(parts) > 1:
        return False
    return path.startswith(("/usr/lib", "/lib")) and not _matches(name, _LIBRARIES_KEPT)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def version() -> str:
    """The program's version."""
    return (ROOT / "assets" / "VERSION").read_text(encoding="utf-8").strip()


def source_date() -> str:
    """Unix seconds of the last commit: the same source gives the same file. A fixed day where git knows nothing."""
    shown = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return shown.stdout.strip() or "1767225600"


def windows_version(name: str) -> Path:
    """A version resource for the file's properties on Windows, where alone PyInstaller reads it."""
    numbers = ", ".join((version().split(".") + ["0"] * 4)[:4])
    strings = {
        "FileDescription": "Image Batch Console",
        "FileVersion": version(),
        "InternalName": name,
        "LegalCopyright": "MIT",
        "OriginalFilename": f"{name}.exe",
        "ProductName": "Image Batch Console",
        "ProductVersion": version(),
    }
    pairs = ", ".join(f"StringStruct({key!r}, {value!r})" for key, value in strings.items())
    text = (
        f"VSVersionInfo(ffi=FixedFileInfo(filevers=({numbers}), prodvers=({numbers})), kids=[StringFileInfo("
        f"[StringTable('040904B0', [{pairs}])]), VarFileInfo([VarStruct('Translation', [1033, 1200])])])"
    )
    place = ROOT / "dist" / ".build" / "version.txt"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text, encoding="utf-8")
    return place
