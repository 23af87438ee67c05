"""Which pictures a path holds: found by content, in natural order, with what was refused and why. Reads only."""

# Tens of thousands of names are handled here; a Path for each would take most of the time.
# ruff: noqa: PTH116, PTH118, PTH119, PTH120, PTH122

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from engine.errors import Code, InvalidInput, PictureRejected, Problem
from engine.formats import SUFFIXES
from engine.images.picture import HEAD_BYTES, check_picture, is_whole, sniff, with_path
from engine.images.pixels import Shape, checked
from engine.models import ImageInfo, SourceImage
from engine.paths import common_folder, entered_paths, natural_folder_key, natural_key, printable
from engine.reading import open_regular, read_bytes
from engine.upstream.cancel import CancelToken

FIELD: Final = "input_path"

# Pictures to a person, but not to us: named as refused instead of passed over.
_SUFFIXES: Final = SUFFIXES | {".heic", ".heif", ".hif", ".jxl", ".jp2", ".svg", ".ico", ".psd", ".tga", ".exr"}
# Camera raws are TIFF by their first bytes; what a TIFF reader finds in them is a thumbnail.
_RAW_SUFFIXES: Final = frozenset(
    {".dng", ".nef", ".nrw", ".cr2", ".cr3", ".arw", ".sr2", ".srw", ".pef", ".orf", ".rw2", ".raf", ".3fr"}
)

_LITTER: Final = frozenset(
    {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "system volume information"}
    | {"__macosx", "@eadir", "#recycle", "lost+found"}
)

_PNG_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
_SAMSUNG_END: Final = b"SEFT"  # of what these phones append to every photo
_PROGRESS_EVERY: Final = 100
_HIDDEN_ON_WINDOWS: Final = 0x2
_REPARSE_POINT: Final = 0x400

_CHECKED: Final[dict[str, tuple[ImageInfo, Shape]]] = {}
"""What was decoded lately, by its sha256: a source is read again for each call and each of its prompts."""
_MOST_CHECKED: Final = 4096

Key = tuple[str, ...]


class RejectedFile(msgspec.Struct, frozen=True):
    """A file that looks or is named like a picture and cannot be used; ``path`` is printable."""

    path: str
    problem: Problem


class Discovery(msgspec.Struct, frozen=True):
    """What a path holds. ``formats``: count by MIME subtype (``png``, ``jpeg``); ``total_bytes`` and ``largest`` in
    bytes, of the usable pictures."""

    root: str
    pictures: list[SourceImage]
    rejected: list[RejectedFile]
    formats: dict[str, int]
    total_bytes: int
    largest: int


class ReadSource(msgspec.Struct, frozen=True):
    """A source picture, whole and decoded once. ``hash``: sha256 of its bytes, in hex."""

    data: bytes
    hash: str
    info: ImageInfo
    shape: Shape
    name: str


def discover(
    path: str,
    max_bytes: int,
    *,
    check: Callable[[], None] = lambda: None,
    progress: Callable[[int], None] = lambda _: None,
) -> Discovery:
    """The pictures in a file or, with all below it, a folder; what is too large, cut off or unreadable is listed so.
    Of several paths (`entered_paths`) in the order entered; their root is the folder that they share.

    ``check`` is called for every entry and may raise; ``progress`` gets the number of files looked at. Raises
    InvalidInput for ``input_path``: FIELD_REQUIRED, PATH_INVALID, PATH_NOT_FOUND, PATH_UNREADABLE, FOLDER_EMPTY,
    NO_PICTURES (``rejected``: how many were refused); for a single file the code of what is wrong with it.
    """
    roots = entered_paths(path, FIELD)
    if not roots:
        raise InvalidInput(Code.FIELD_REQUIRED, field=FIELD, name=FIELD)
    if len(roots) > 1:
        return _discover_several(roots, max_bytes, check, progress)
    [root] = roots
    status = _status_of_root(root)
    search = _Search(root, max_bytes, check, progress)
    if stat.S_ISDIR(status.st_mode):
        search.walk()
        if not search.entries:
            raise InvalidInput(Code.FOLDER_EMPTY, field=FIELD, path=printable(root))
    elif stat.S_ISREG(status.st_mode):
        search.look(os.path.realpath(root), os.path.basename(root), (), asked_for=True)
        if search.rejected:
            problem = search.rejected[0][1].problem
            raise InvalidInput(problem.code, field=FIELD, **problem.params)
    if not search.pictures:
        raise InvalidInput(Code.NO_PICTURES, field=FIELD, path=printable(root), rejected=len(search.rejected))
    return search.found()


def _discover_several(
    roots: list[str], max_bytes: int, check: Callable[[], None], progress: Callable[[int], None]
) -> Discovery:
    """Each path is there, or the first that is not is told; one that holds no picture is passed over or listed."""
    is_folder = {root: stat.S_ISDIR(_status_of_root(root).st_mode) for root in roots}
    folders = [root if is_folder[root] else os.path.dirname(root) for root in roots]
    shared = _Search(common_folder(folders) or folders[0], max_bytes, check, progress)
    for number, root in enumerate(roots):
        one = _Search(root, max_bytes, check, partial(_sum, progress, shared.entries))
        if is_folder[root]:
            one.walk()
        else:
            one.look(os.path.realpath(root), os.path.basename(root), (), asked_for=True)
        shared.take_in(one, (f"{number:09}",))
    if not shared.pictures:
        raise InvalidInput(
            Code.NO_PICTURES, field=FIELD, path=", ".join(map(printable, roots[:3])), rejected=len(shared.rejected)
        )
    return shared.found()


def _sum(progress: Callable[[int], None], before: int, seen: int) -> None:
    progress(before + seen)


def read_source(path: str, max_bytes: int, cancel: CancelToken | None = None) -> ReadSource:
    """Read a picture and decode it completely, before anything is paid for it.

    Raises InvalidInput (SOURCE_MISSING) or PictureRejected, which name the path; Stopped.
    """
    shown = printable(path)
    try:
        data = read_bytes(path, max_bytes, root=os.path.dirname(path))
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise InvalidInput(Code.SOURCE_MISSING, path=shown) from error
    except OSError as error:
        raise PictureRejected(Code.PICTURE_UNREADABLE, path=shown, reason=error.strerror or "") from error
    digest = hashlib.sha256(data).hexdigest()
    found = _CHECKED.get(digest) if len(data) <= max_bytes else None
    if found is None:
        try:
            found = checked(data, max_bytes, cancel)
        except PictureRejected as error:
            raise with_path(error, shown) from error
        if len(_CHECKED) >= _MOST_CHECKED:
            _CHECKED.clear()
        _CHECKED[digest] = found
    return ReadSource(data, digest, *found, os.path.basename(path))


def _status_of_root(root: str) -> os.stat_result:
    try:
        return os.stat(root)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise InvalidInput(Code.PATH_NOT_FOUND, field=FIELD, path=printable(root)) from error
    except OSError as error:
        raise InvalidInput(
            Code.PATH_UNREADABLE, field=FIELD, path=printable(root), reason=error.strerror or ""
        ) from error


class _Search:
    """One walk; files and folders that a link names come last, so that a thing goes by its own name if it has one."""

    def __init__(self, root: str, max_bytes: int, check: Callable[[], None], progress: Callable[[int], None]) -> None:
        self._root = root
        self._real_root = os.path.join(os.path.realpath(root), "")
        self._max_bytes = max_bytes
        self._check = check
        self._progress = progress
        self._seen: set[tuple[int, int]] = set()
        self._folders: list[tuple[str, Key]] = []
        self._links: list[tuple[str, str, Key]] = []
        self.entries = 0
        self.pictures: list[tuple[Key, SourceImage]] = []
        self.rejected: list[tuple[Key, RejectedFile]] = []

    def walk(self) -> None:
        self._folders.append((self._root, ()))
        while self._folders or self._links:
            if self._folders:
                self._folder(*self._folders.pop())
            else:
                self._link(*self._links.pop())

    def take_in(self, other: _Search, place: Key) -> None:
        """What another search found stands at ``place``; what is known already does not come twice."""
        known = {picture.path for _, picture in self.pictures}
        refused = {file.path for _, file in self.rejected}
        self.pictures += [((*place, *key), one) for key, one in other.pictures if one.path not in known]
        self.rejected += [((*place, *key), one) for key, one in other.rejected if one.path not in refused]
        self.entries += other.entries

    def found(self) -> Discovery:
        self.pictures.sort(key=lambda pair: pair[0])
        pictures = [picture for _, picture in self.pictures]
        formats: dict[str, int] = {}
        for picture in pictures:
            subtype = picture.mime.partition("/")[2]
            formats[subtype] = formats.get(subtype, 0) + 1
        sizes = [picture.size for picture in pictures]
        self.rejected.sort(key=lambda pair: pair[0])
        rejected = [file for _, file in self.rejected]
        self._progress(self.entries)
        return Discovery(printable(self._root), pictures, rejected, formats, sum(sizes), max(sizes))

    def _folder(self, folder: str, key: Key) -> None:
        try:
            status = os.stat(folder)
            if not self._is_new(status):
                return
            with os.scandir(folder) as entries:
                for entry in entries:
                    self._entry(entry, key)
        except OSError as error:
            if folder == self._root:
                raise InvalidInput(
                    Code.PATH_UNREADABLE, field=FIELD, path=printable(folder), reason=error.strerror or ""
                ) from error
            self._reject(folder, key, Code.PICTURE_UNREADABLE, reason=error.strerror or "")

    def _entry(self, entry: os.DirEntry[str], key: Key) -> None:
        self._check()
        if _is_litter(entry):
            return
        self.entries += 1
        if self.entries % _PROGRESS_EVERY == 0:
            self._progress(self.entries)
        name = entry.name
        if _is_link(entry):
            self._links.append((entry.path, name, key))
        elif entry.is_dir(follow_symlinks=False):
            self.entries -= 1
            self._folders.append((entry.path, (*key, natural_folder_key(name))))
        elif entry.is_file(follow_symlinks=False):
            self.look(entry.path, name, key)

    def _link(self, path: str, name: str, key: Key) -> None:
        self._check()
        try:
            real = os.path.realpath(path, strict=True)
            mode = os.stat(real).st_mode
        except OSError:
            return
        if not real.startswith(self._real_root):
            return
        if stat.S_ISDIR(mode):
            self._folders.append((real, (*key, natural_folder_key(name))))
        elif stat.S_ISREG(mode):
            self.look(real, name, key, by_link=True)

    def look(self, path: str, name: str, folder_key: Key, *, by_link: bool = False, asked_for: bool = False) -> None:
        """Take one file in, refuse it, or pass it over, unless it was ``asked_for``."""
        suffix = os.path.splitext(name)[1].lower()
        named_like_picture = asked_for or suffix in _SUFFIXES or suffix in _RAW_SUFFIXES
        key = (*folder_key, natural_key(name))
        try:
            file = _File(path)
        except OSError as error:
            if named_like_picture and not isinstance(error, FileNotFoundError):
                self._reject(path, key, Code.PICTURE_UNREADABLE, reason=error.strerror or "")
            return
        if file.mime is None and not named_like_picture:
            return
        if not self._is_new(file.status, only_if=by_link):
            return
        code = self._fault(file, path, suffix)
        if code is None:
            status = file.status
            picture = SourceImage(path, name, status.st_size, status.st_mtime_ns, file.mime or "")
            self.pictures.append((key, picture))
        elif code is Code.PICTURE_TOO_LARGE:
            self._reject(path, key, code, limit=self._max_bytes)
        else:
            self._reject(path, key, code)

    def _fault(self, file: _File, path: str, suffix: str) -> Code | None:
        if not path.isascii() and printable(path) != path:
            return Code.PICTURE_UNREADABLE
        if file.status.st_size == 0:
            return Code.PICTURE_BROKEN
        if file.mime is None or (suffix in _RAW_SUFFIXES and file.mime == "image/tiff"):
            return Code.PICTURE_NOT_IMAGE
        if file.status.st_size > self._max_bytes:
            return Code.PICTURE_TOO_LARGE
        if file.ends_well:
            return None
        return _closer_look(path, file.mime, file.status.st_size)

    def _is_new(self, status: os.stat_result, *, only_if: bool = True) -> bool:
        """Remember a file or folder; False when it was seen before and ``only_if`` asks for new ones."""
        identity = (status.st_dev, status.st_ino)
        if only_if and identity in self._seen:
            return False
        self._seen.add(identity)
        return True

    def _reject(self, path: str, key: Key, code: Code, **params: str | int | None) -> None:
        shown = printable(path)
        self.rejected.append((key, RejectedFile(shown, Problem(code, {"path": shown, **params}))))


def _closer_look(path: str, mime: str, size: int) -> Code | None:
    """What a file whose end looks wrong really is: phones append videos, and only the whole file tells."""
    try:
        data = read_bytes(path, size)
        if not is_whole(data, mime):
            return Code.PICTURE_BROKEN
        if mime == "image/tiff":
            check_picture(data, len(data))
    except PictureRejected as error:
        return error.code
    except OSError:
        return Code.PICTURE_UNREADABLE
    return None


class _File:
    """The first and last bytes of a file, which tell its kind and whether it is whole."""

    __slots__ = ("ends_well", "mime", "status")

    def __init__(self, path: str) -> None:
        descriptor = open_regular(path)
        try:
            self.status = os.fstat(descriptor)
            head = os.read(descriptor, HEAD_BYTES)
            self.mime = sniff(head)
            self.ends_well = self.mime is None or _ends_well(descriptor, self.mime, head, self.status.st_size)
        finally:
            os.close(descriptor)


def _ends_well(descriptor: int, mime: str, head: bytes, size: int) -> bool:
    """Whether a file of this size ends as its format should; False may also mean that something was appended."""
    match mime:
        case "image/webp":
            return size - 8 - int.from_bytes(head[4:8], "little") in (0, 1)
        case "image/bmp":
            return size >= int.from_bytes(head[10:14], "little") > 0 and size >= int.from_bytes(head[2:6], "little")
        case "image/tiff":
            return int.from_bytes(head[4:8], "little" if head[:1] == b"I" else "big") < size
        case "image/avif":
            return _last_box_end(descriptor, size) == size
    tail = _read_at(descriptor, max(size - HEAD_BYTES, 0))
    match mime:
        case "image/png":
            return tail.endswith(_PNG_END)
        case "image/jpeg":
            return b"\xff\xd9" in tail or tail.endswith(_SAMSUNG_END)
        case _:
            return tail.rstrip(b"\0").endswith(b";")


def _last_box_end(descriptor: int, size: int) -> int:
    at = 0
    while at < size:
        header = _read_at(descriptor, at)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:
            return size
        if length < 8:
            return -1
        at += length
    return at


def _read_at(descriptor: int, offset: int) -> bytes:
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, HEAD_BYTES)


def _is_litter(entry: os.DirEntry[str]) -> bool:
    """Hidden things, and what systems leave in folders."""
    name = entry.name
    if name.startswith(".") or name.lower() in _LITTER:
        return True
    return os.name == "nt" and bool(_windows_attributes(entry) & _HIDDEN_ON_WINDOWS)


def _is_link(entry: os.DirEntry[str]) -> bool:
    """Symbolic links, and the junctions of Windows."""
    return entry.is_symlink() or (os.name == "nt" and bool(_windows_attributes(entry) & _REPARSE_POINT))


def _windows_attributes(entry: os.DirEntry[str]) -> int:
    return getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0)
