"""Small JSON documents on disk: read whole, written atomically with mode 0600; a damaged one is set aside."""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import Code, InvalidInput, Problem, StorageFailed

MAX_TEXT_BYTES = 1024 * 1024
_LEAST_COMMON = 0.6  # of the characters; texts full of rare names keep to it, Big5, Shift-JIS and Latin-1 do not
_CONTROL = re.compile(r"[\0-\x08\x0e-\x1f]")  # in no text but one of another encoding
_DOS_END = "\x1a"
DAMAGED = "damaged"
"""Part of the names of files that were set aside."""


def storage_failure(error: OSError, path: Path | str) -> StorageFailed:
    """The typed error for a failed file operation of ours."""
    code = Code.DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else Code.STORAGE_FAILED
    return StorageFailed(code, path=str(path), reason=error.strerror or type(error).__name__)


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that it is never overwritten; returns its new name."""
    return path.rename(_name_aside(path))


def _name_aside(path: Path) -> Path:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for number in range(1000):
        target = path.with_name(f"{path.name}.{DAMAGED}-{stamp}" + (f"-{number}" if number else ""))
        if not os.path.lexists(target):
            return target
    raise StorageFailed(Code.STORAGE_FAILED, path=str(path), reason="too many damaged copies")


def damaged(path: Path) -> Problem:
    """Set a damaged file or folder aside, and say so; StorageFailed if that cannot be done."""
    try:
        return Problem(Code.FILE_DAMAGED, {"path": str(path), "kept_as": str(set_aside(path))})
    except OSError as error:
        raise storage_failure(error, path) from error


def clear_way(path: Path, *, folder: bool = False) -> list[Problem]:
    """Set aside what stands where a file of ours (or a folder) belongs and is none: it could not even be opened."""
    if os.path.lexists(path) and not (path.is_dir() if folder else path.is_file()):
        return [damaged(path)]
    return []


def keep_copy(path: Path) -> list[Problem]:
    """Keep a copy of a file of ours of which a part cannot be read, before it is written anew; says so."""
    kept = _name_aside(path)
    try:
        shutil.copyfile(path, kept)
        kept.chmod(0o600)
    except OSError as error:
        raise storage_failure(error, kept) from error
    return [Problem(Code.FILE_DAMAGED, {"path": str(path), "kept_as": str(kept)})]


def read_json(path: Path) -> tuple[dict[str, Any], list[Problem]]:
    """The object in the file; ``{}`` where there is none. A damaged file is set aside and named in the problems."""
    problems = clear_way(path)
    try:
        data = msgspec.json.decode(without_mark(path.read_bytes()))
    except FileNotFoundError:
        return {}, problems
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OSError):
        data = None
    return (data, problems) if isinstance(data, dict) else ({}, [*problems, damaged(path)])


def without_mark(data: bytes) -> bytes:
    """JSON without the byte order mark that editors and shells of Windows put before it."""
    return data.removeprefix(codecs.BOM_UTF8)


def read_text(path: Path, limit: int = MAX_TEXT_BYTES) -> str:
    """A person's text file: UTF-8, UTF-16 with a mark, else GB 18030. InvalidInput (TEXT_ENCODING for none of them,
    TEXT_TOO_LARGE for more than ``limit`` bytes), OSError."""
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise InvalidInput(Code.TEXT_TOO_LARGE, path=str(path), limit=limit)
    encodings = ["utf-16"] if data.startswith((b"\xff\xfe", b"\xfe\xff")) else ["utf-8-sig", "gb18030"]
    for encoding in encodings:
        try:
            text = data.decode(encoding).removesuffix(_DOS_END)
        except UnicodeDecodeError:
            continue
        if not _CONTROL.search(text) and (encoding != "gb18030" or _is_chinese(text)):
            return text
    raise InvalidInput(Code.TEXT_ENCODING, path=str(path))


def _is_chinese(text: str) -> bool:
    """Whether what was read as GB 18030 is that. Other encodings decode as well, but to characters that nobody writes:
    those in use are nearly all of GB 2312's signs and its first level, 3,755 characters by frequency."""
    codes = [code for char in text if not char.isascii() and len(code := char.encode("gb18030")) > 1]
    common = sum(len(code) == 2 and code[1] >= 0xA1 and (0xA1 <= code[0] <= 0xA3 or 0xB0 <= code[0] <= 0xD7)
                 for code in codes)  # fmt: skip
    return common >= _LEAST_COMMON * len(codes)


def write_json(path: Path, data: object) -> None:
    """Replace the file in one step; on failure the old one stays as it was."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(data), indent=1))


def write_bytes(path: Path, data: bytes) -> None:
    """Write to a temporary neighbour (mode 0600), fsync, rename."""
    name = ""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError as error:
        if name:
            with contextlib.suppress(OSError):
                Path(name).unlink()
        raise storage_failure(error, path) from error
