"""How files of ours come to be: written under a temporary name, synced, then named: over nothing, or in one step.

The only place that links, renames or replaces; also the small JSON documents, and the quarantine of damaged files.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.errors import Code, Problem, StorageFailed
from engine.paths import printable

DAMAGED = "damaged"
"""Part of the names of files in quarantine."""
PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700

_TEMPORARY: Final = re.compile(r"\.saving-([0-9a-f]{16})-([0-9a-f]{16})")
_LEFTOVER_SECONDS: Final = 24 * 3600
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
# Network shares that cannot sync a folder, folders that may be written but not read, and one that somebody removed.
_NO_SYNC: Final = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EACCES, errno.ENOENT})


# --- temporary names --------------------------------------------------------------------------------------------------


def temporary_name() -> str:
    """A hidden name that nobody else gives: its second half proves that it is one of ours."""
    token = secrets.token_hex(8)
    return f".saving-{token}-{_proof(token)}"


def is_temporary(name: str) -> bool:
    """Whether `temporary_name` made this name."""
    match = _TEMPORARY.fullmatch(name)
    return match is not None and _proof(match[1]) == match[2]


def _proof(token: str) -> str:
    return hashlib.sha256(f"image-batch-console {token}".encode()).hexdigest()[:16]


def create_temporary(folder: Path, mode: int = PRIVATE_FILE) -> tuple[Path, int]:
    """A new hidden file, open for writing. ``mode`` 0o666 gives it the rights that the person's other files get."""
    path = folder / temporary_name()
    return path, os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), mode)


def remove_leftover(path: Path) -> None:
    """Remove a temporary file that a killed program left: provably ours, and too old to be another one's at work."""
    if not is_temporary(path.name):
        return
    with contextlib.suppress(OSError):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > _LEFTOVER_SECONDS:
            path.unlink()


def remove(path: Path) -> bool:
    """Remove a file; False where that did not work, or none was there."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


def remove_whole(path: Path) -> None:
    """Remove a file, or a folder with all that lies in it, as far as that works; nothing where none is there."""
    if not remove(path):
        shutil.rmtree(path, ignore_errors=True)


# --- names ------------------------------------------------------------------------------------------------------------


def name_exclusively(temporary: Path, target: Path) -> None:
    """Give a file or folder its name; FileExistsError when anything has that name, whoever made it and whenever.

    The temporary name of a file may stay beside it: the caller removes it.
    """
    if os.name == "nt":
        temporary.rename(target)  # refuses to replace, on Windows
    elif temporary.is_dir():
        target.mkdir()  # claims the name; a folder moves over an empty one only
        try:
            temporary.rename(target)
        except OSError as error:
            with contextlib.suppress(OSError):
                target.rmdir()
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from error
            raise
    else:
        _link_exclusively(temporary, target)


def _link_exclusively(temporary: Path, target: Path) -> None:
    try:
        os.link(temporary, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # FAT and some network shares have no links: claim the name with an empty file, then move over our own.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        try:
            temporary.replace(target)
        except BaseException:
            remove(target)
            raise


def write_new(path: Path, data: bytes) -> None:
    """Write a file of the person's that was not there before, durably. Raises FileExistsError, StorageFailed."""
    temporary: Path | None = None
    try:
        temporary, descriptor = create_temporary(path.parent, 0o666)
        _fill(descriptor, data, durable=True)
        name_exclusively(temporary, path)
        sync_names(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise storage_failure(error, path) from error
    finally:
        if temporary is not None:
            remove(temporary)


def replace_durably(temporary: Path, target: Path) -> None:
    """Give a finished file a name of ours in one step, whatever had it, and bring the name to the disk."""
    replace(temporary, target)
    sync_folder(target.parent)


def replace(temporary: Path, target: Path) -> None:
    """The same without waiting for the disk: for what can be made again."""
    temporary.replace(target)


def second_name(source: Path, target: Path) -> None:
    """Let ``target`` be the file that ``source`` is, by a link or else a copy; nothing where it is there already.

    Its folder is made where it is missing. Raises OSError.
    """
    try:
        try:
            os.link(source, target)
        except FileNotFoundError:  # the first of its folder
            target.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            os.link(source, target)
    except FileExistsError:
        return
    except OSError:  # no hard links here, or another file system: a copy does as well
        temporary, descriptor = create_temporary(target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file, source.open("rb") as original:
                shutil.copyfileobj(original, file)
            replace(temporary, target)
        except BaseException:
            remove(temporary)
            raise


# --- bytes to the disk ------------------------------------------------------------------------------------------------


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte; the system may take them in parts."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _fill(descriptor: int, data: bytes, *, durable: bool) -> None:
    """Write the bytes and close."""
    try:
        write_all(descriptor, data)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Make names in a folder durable; Windows has no such call and does not need it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_names(folder: Path) -> None:
    """The same for a folder of the person's, as far as its file system has a way to. Raises StorageFailed."""
    try:
        sync_folder(folder)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise storage_failure(error, printable(str(folder))) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file of ours in one step, mode 0600; on failure the old one stays as it was. Raises StorageFailed."""
    _write_over(path, data, durable=True)


def write_quickly(path: Path, data: bytes) -> None:
    """The same for what can be made again: whole or not at all, but the disk is not waited for."""
    _write_over(path, data, durable=False)


def _write_over(path: Path, data: bytes, *, durable: bool) -> None:
    temporary: Path | None = None
    try:
        temporary, descriptor = create_temporary(path.parent)
        _fill(descriptor, data, durable=durable)
        replace(temporary, path)
        if durable:
            sync_names(path.parent)
    except OSError as error:
        if temporary is not None:
            remove(temporary)
        raise storage_failure(error, path) from error


def storage_failure(error: OSError, path: Path | str) -> StorageFailed:
    """The typed error for a failed file operation of ours."""
    code = Code.DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else Code.STORAGE_FAILED
    return StorageFailed(code, path=str(path), reason=error.strerror or type(error).__name__)


# --- who may read -----------------------------------------------------------------------------------------------------


def keep_private(folder: Path, names: tuple[str, ...]) -> None:
    """Close a data folder and what is ours in it (entries whose names begin with ``names``) to everybody else.

    Rights that are not ours to change stay as they are.
    """
    _restrict(folder, PRIVATE_FOLDER)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(names):
                _keep_private(entry, look_inside=True)


def _keep_private(entry: os.DirEntry[str], *, look_inside: bool = False) -> None:
    """What lies in a folder that was closed before is out of reach already: thousands of pictures are not walked."""
    if entry.is_symlink():
        return
    if not entry.is_dir(follow_symlinks=False):
        _restrict(Path(entry.path), PRIVATE_FILE)
    elif _restrict(Path(entry.path), PRIVATE_FOLDER) or look_inside:
        with contextlib.suppress(OSError), os.scandir(entry.path) as inside:
            for one in inside:
                _keep_private(one)


def _restrict(path: Path, mode: int) -> bool:
    """Set the mode where it is another; whether others had rights before."""
    if os.name != "posix":
        return False
    with contextlib.suppress(OSError):
        now = stat.S_IMODE(path.lstat().st_mode)
        if now != mode:
            path.chmod(mode)
        return bool(now & 0o077)
    return False


# --- damaged files ----------------------------------------------------------------------------------------------------


def quarantine(path: Path) -> Path:
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
    """Put a damaged file or folder into quarantine, and say so; StorageFailed if that cannot be done."""
    try:
        return Problem(Code.FILE_DAMAGED, {"path": str(path), "kept_as": str(quarantine(path))})
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
        kept.chmod(PRIVATE_FILE)
    except OSError as error:
        raise storage_failure(error, kept) from error
    return [Problem(Code.FILE_DAMAGED, {"path": str(path), "kept_as": str(kept)})]


# --- small JSON documents ---------------------------------------------------------------------------------------------


def read_json(path: Path) -> tuple[dict[str, Any], list[Problem]]:
    """The object in the file; ``{}`` where there is none. A damaged file is quarantined and named in the problems."""
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


def write_json(path: Path, data: object) -> None:
    """Replace the document in one step. Raises StorageFailed."""
    write_bytes(path, msgspec.json.format(msgspec.json.encode(data), indent=1))
