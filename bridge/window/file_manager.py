"""What only a desktop can do beside the window: show a file in the system's file manager."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def show_in_folder(path: Path) -> bool:
    """Open the file manager with the file marked, else its folder; False where there is no file manager."""
    if sys.platform == "win32":
        return _start(["explorer", f"/select,{path}"])
    if sys.platform == "darwin":
        return _start(["open", "-R", str(path)])
    return _ask_file_manager(path) or _start(["xdg-open", str(path if path.is_dir() else path.parent)])


def _ask_file_manager(path: Path) -> bool:
    program = shutil.which("gdbus")
    if program is None or not os.environ.get("DBUS_SESSION_BUS_ADDRESS"):
        return False
    call = [
        program, "call", "--session", "--timeout", "3", "--dest", "org.freedesktop.FileManager1",
        "--object-path", "/org/freedesktop/FileManager1", "--method", "org.freedesktop.FileManager1.ShowItems",
        f"['{path.as_uri()}']", "",
    ]  # fmt: skip
    try:
        return subprocess.run(call, capture_output=True, timeout=5, check=False).returncode == 0
    except (OSError, subprocess.SubprocessError):
        return False


def _start(command: list[str]) -> bool:
    program = shutil.which(command[0])
    if program is None:
        return False
    subprocess.Popen(
        [program, *command[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return True
