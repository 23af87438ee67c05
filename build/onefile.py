"""Builds a one-file program: makes .venv-build from the lock files, runs PyInstaller, tries the result, says its size.

``python build/onefile.py window|slim``. Environment: APP_NAME (name of the file), BUILD_PYTHON (a Python that has
everything already: no .venv-build is made), NO_STRIP=1, SOURCE_DATE_EPOCH.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from contents import ROOT, SLIM, WINDOW, source_date

WORK = ROOT / "dist" / ".build"
_TOOLS = {
    "altgraph", "macholib", "packaging", "pefile", "pyinstaller", "pyinstaller-hooks-contrib", "pywin32-ctypes",
    "setuptools",
}  # fmt: skip


def main() -> int:
    """Build one variant; the exit code."""
    parser = argparse.ArgumentParser(description="Build a one-file program.")
    parser.add_argument("variant", choices=[WINDOW, SLIM])
    variant = parser.parse_args().variant
    python = os.environ.get("BUILD_PYTHON") or build_environment()
    if variant == WINDOW and not has_toolkit(python):
        print("A window needs GTK here: sudo apt install python3-gi gir1.2-gtk-3.0 gir1.2-webkit2-4.1", file=sys.stderr)
        return 1
    started = time.monotonic()
    made = build(python, variant)
    shown = subprocess.run(
        [made, "--version"], stdout=subprocess.PIPE, text=True, timeout=60, check=True
    ).stdout.strip()
    size = made.stat().st_size / 1e6
    print(f"{made.relative_to(ROOT)}: {size:.1f} MB, {shown}, built in {time.monotonic() - started:.0f} s")
    return 0


def build_environment() -> str:
    """Make or refresh .venv-build from the locks; path of its Python."""
    WORK.mkdir(parents=True, exist_ok=True)
    lock = WORK / "requirements-build.lock"
    text = build_lock(*(ROOT.joinpath(name).read_text(encoding="utf-8") for name in LOCKS))
    if not lock.exists() or lock.read_text(encoding="utf-8") != text:
        lock.write_text(text, encoding="utf-8")
    options = ["--system-site-packages"] if sys.platform == "linux" and has_toolkit(sys.executable) else []
    maker: list[str | Path] = [
        sys.executable,
        ROOT / "scripts" / "make_venv.py",
        "--lock",
        lock,
        "--venv",
        ROOT / ".venv-build",
        *options,
    ]
    venv = Path(subprocess.run(maker, stdout=subprocess.PIPE, text=True, check=True).stdout.strip())
    return str(venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


LOCKS = ("requirements.lock", "requirements-dev.lock")


def build_lock(runtime: str, development: str) -> str:
    """What runs, and of the development tools only those that build."""
    entries = re.split(r"^(?=[\w.-]+==)", development, flags=re.MULTILINE)
    tools = [entry for entry in entries if entry.partition("==")[0] in _TOOLS]
    return runtime + "".join(
        entry for entry in tools if not re.search(rf"^{re.escape(entry.splitlines()[0])}", runtime, re.MULTILINE)
    )


def has_toolkit(python: str) -> bool:
    """Whether a window can be built with this Python; only Linux needs anything."""
    code = "import gi; gi.require_version('Gtk', '3.0'); gi.require_version('WebKit2', '4.1')"
    return (
        sys.platform != "linux" or not subprocess.run([python, "-c", code], capture_output=True, check=False).returncode
    )


def build(python: str, variant: str) -> Path:
    """Run PyInstaller; path of the program."""
    name = os.environ.get("APP_NAME") or "image-batch-console" + ("-slim" if variant == SLIM else "")
    environment = {
        **os.environ,
        "VARIANT": variant,
        "APP_NAME": name,
        "PYTHONHASHSEED": "1",
        "PYTHONNOUSERSITE": "1",
        "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH") or source_date(),
        "PYINSTALLER_CONFIG_DIR": str(WORK / "cache"),
    }
    if sys.platform == "linux" and shutil.which("strip") is None:
        environment["NO_STRIP"] = "1"
        print("binutils is not installed: the program will be larger than need be", file=sys.stderr)
    options: list[str | Path] = [
        "--noconfirm",
        "--log-level=WARN",
        "--distpath",
        ROOT / "dist",
        "--workpath",
        WORK / variant,
    ]
    spec = ROOT / "build" / "image_batch_console.spec"
    subprocess.run([python, "-m", "PyInstaller", *options, spec], cwd=ROOT, env=environment, check=True)
    return ROOT / "dist" / (name + (".exe" if os.name == "nt" else ""))


if __name__ == "__main__":
    sys.exit(main())
