"""Where things lie: the person's data folder, and the files that come with the program."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from engine.errors import Code, InvalidInput, StorageFailed
from engine.paths import entered_path

APP_ID = "image-batch-console"
SOURCE = Path(__file__).resolve().parent.parent
"""The folder in which the packages lie."""
_LEVELS = 4  # prefix/local/lib/python3.11/site-packages


def data_folder(environ: Mapping[str, str]) -> Path:
    """``APP_DATA_DIR``, else the user data folder; an existing ``~/.image-batch-console`` if that does not exist.

    Created where missing. Where it cannot be written: InvalidInput naming the variable, or StorageFailed.
    """
    chosen = environ.get("APP_DATA_DIR", "").strip()
    folder = Path(_entered(chosen)) if chosen else _usual_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix":
            with contextlib.suppress(PermissionError):  # of another owner, as in some containers
                folder.chmod(0o700)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if chosen:
            raise InvalidInput(
                Code.SETTING_INVALID, field="APP_DATA_DIR", name="APP_DATA_DIR", value=chosen[:200], reason=reason
            ) from error
        raise StorageFailed(Code.DATA_FOLDER_UNWRITABLE, path=str(folder), reason=reason) from error
    return folder


def _usual_folder() -> Path:
    try:
        folder = Path(platformdirs.user_data_dir(APP_ID, appauthor=False))
        old = Path.home() / f".{APP_ID}"
    except RuntimeError as error:  # neither HOME nor an account, as in some containers
        raise InvalidInput(Code.NO_HOME, field="APP_DATA_DIR", name="APP_DATA_DIR") from error
    return old if not folder.exists() and old.is_dir() else folder


def _entered(chosen: str) -> str:
    try:
        return entered_path(chosen, "APP_DATA_DIR")
    except InvalidInput as error:
        raise InvalidInput(
            Code.SETTING_INVALID, field="APP_DATA_DIR", name="APP_DATA_DIR", value=chosen[:200], reason=error.code
        ) from error


def program_folder(name: str) -> Path:
    """A folder that comes with the program (``webui``, ``assets``): beside the source, in the binary, or installed."""
    candidates = [
        SOURCE,
        Path(getattr(sys, "_MEIPASS", "/nonexistent")),
        Path(sysconfig.get_path("data")) / "share" / APP_ID,
        Path(sys.prefix) / "share" / APP_ID,
        # pip's --user, --target and --prefix put it beside or above the packages, wherever those are
        *(place / "share" / APP_ID for place in (SOURCE, *list(SOURCE.parents)[:_LEVELS])),
    ]
    for root in candidates:
        if (root / name).is_dir():
            return root / name
    raise StorageFailed(Code.STORAGE_FAILED, path=name, reason="missing from the installation")
