"""The one reader for everything that a folder or a person names: regular files only, bounded, never blocking.

What lies in a folder is read only if it is no way out of it: archives and checkouts carry links to anywhere.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from engine.errors import Code, InvalidInput
from engine.paths import printable

MAX_TEXT_BYTES: Final = 1024 * 1024
_MAX_PICTURE_BYTES: Final = 256 * 1024 * 1024  # of a file that was smaller when it was sent
# Not blocking: a pipe with nobody at its other end must not hold the thread. No link: judged before.
_FLAGS: Final = (
    os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
)  # fmt: skip
_LINKS_ARE_SEEN: Final = hasattr(os, "O_NOFOLLOW")  # a last name that is a link is not opened
_PIECE_BYTES: Final = 4 * 1024 * 1024
_LEAST_COMMON: Final = 0.6  # of the characters; texts full of rare names keep to it, Big5, Shift-JIS and Latin-1 do not
_CONTROL: Final = re.compile(r"[\0-\x08\x0e-\x1f]")  # in no text but one of another encoding
_DOS_END: Final = "\x1a"


class NotRegular(OSError):
    """A pipe, a device, a socket, a folder, or a link that leads out of its folder."""

    def __init__(self, path: str) -> None:
        super().__init__(errno.EINVAL, os.strerror(errno.EINVAL), path)


def open_regular(path: str | os.PathLike[str]) -> int:
    """A descriptor of the regular file at ``path``, which is no link itself. Raises NotRegular, OSError, ValueError."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        # A link, a socket, a device without driver: not what a file is.
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.ENODEV):
            raise NotRegular(os.fspath(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotRegular(os.fspath(path))
    return descriptor


def open_inside(path: str | os.PathLike[str], root: str | os.PathLike[str]) -> int:
    """The same for what a folder holds: a link is followed as long as it ends inside ``root``."""
    if _LINKS_ARE_SEEN and os.path.dirname(path) == os.fspath(root):  # noqa: PTH120 - each picture passes here
        with contextlib.suppress(NotRegular):  # it may be a link that ends inside
            return open_regular(path)
    real = os.path.realpath(path)
    if not Path(real).is_relative_to(os.path.realpath(root)):
        Path(real).stat()  # what is not there is missing rather than outside
        raise NotRegular(os.fspath(path))
    return open_regular(real)


def read_bytes(path: str | os.PathLike[str], limit: int, *, root: str | os.PathLike[str] | None = None) -> bytes:
    """At most ``limit`` + 1 bytes of a file: more than ``limit`` of them say that it is too large.

    With ``root`` the file was found in that folder; without, a person named it, and its links are followed. Raises
    NotRegular, OSError, ValueError.
    """
    descriptor = open_regular(os.path.realpath(path)) if root is None else open_inside(path, root)
    with os.fdopen(descriptor, "rb", buffering=0) as file:  # few system calls: at each, threads take turns
        data = file.read(min(os.fstat(descriptor).st_size, limit) + 1)
        return data if data is not None else b""


def read_found(path: str | os.PathLike[str], check: Callable[[], None] = lambda: None) -> bytes:
    """All of a picture that was found before, by a start: who can write to its folder may have put anything in its
    place since. ``check`` is called between pieces and may raise. Raises NotRegular, OSError (EFBIG for more than any
    picture has), ValueError."""
    with _opened_found(path) as file:
        return b"".join(_pieces(file, check))  # of one piece, that itself


def _opened_found(path: str | os.PathLike[str]) -> io.FileIO:
    descriptor = open_inside(path, Path(path).parent)
    if os.fstat(descriptor).st_size > _MAX_PICTURE_BYTES:
        os.close(descriptor)
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fspath(path))
    return os.fdopen(descriptor, "rb", buffering=0)  # few system calls: at each, threads take turns


def _pieces(file: io.FileIO, check: Callable[[], None]) -> Iterator[bytes]:
    left = _MAX_PICTURE_BYTES  # a file may grow while it is read
    while left and (piece := file.read(min(_PIECE_BYTES, left))):
        check()
        left -= len(piece)
        yield piece


def hash_found(path: str | os.PathLike[str], check: Callable[[], None] = lambda: None) -> str:
    """The sha256 in hex of the same. ``check`` is called between pieces and may raise; else as `read_found`."""
    with _opened_found(path) as file:
        digest = hashlib.sha256()
        for piece in _pieces(file, check):
            digest.update(piece)
    return digest.hexdigest()


def read_text(
    path: str | os.PathLike[str], limit: int = MAX_TEXT_BYTES, *, root: str | os.PathLike[str] | None = None
) -> str:
    """A person's text file: UTF-8, UTF-16 with a mark, else GB 18030.

    Raises InvalidInput (FILE_NOT_REGULAR; TEXT_ENCODING for none of these, TEXT_TOO_LARGE for more than ``limit``
    bytes), OSError.
    """
    shown = printable(os.fspath(path))
    try:
        data = read_bytes(path, limit, root=root)
    except NotRegular as error:
        raise InvalidInput(Code.FILE_NOT_REGULAR, path=shown) from error
    if len(data) > limit:
        raise InvalidInput(Code.TEXT_TOO_LARGE, path=shown, limit=limit)
    encodings = ["utf-16"] if data.startswith((b"\xff\xfe", b"\xfe\xff")) else ["utf-8-sig", "gb18030"]
    for encoding in encodings:
        try:
            text = data.decode(encoding).removesuffix(_DOS_END)
        except UnicodeDecodeError:
            continue
        if not _CONTROL.search(text) and (encoding != "gb18030" or _is_chinese(text)):
            return text
    raise InvalidInput(Code.TEXT_ENCODING, path=shown)


def read_beside(picture: Path) -> str:
    """The text beside a picture (``001.txt`` for ``001.png``), however its name is written: composed or decomposed, in
    capitals or not. Raises FileNotFoundError where there is none, and what `read_text` raises."""
    for stem in dict.fromkeys(form(picture.stem) for form in _WRITINGS):
        for ending in (".txt", ".TXT"):
            with contextlib.suppress(FileNotFoundError):
                return read_text(picture.with_name(stem + ending), root=picture.parent)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(picture.with_suffix(".txt")))


_WRITINGS: Final[tuple[Callable[[str], str], ...]] = (
    lambda stem: stem,
    lambda stem: unicodedata.normalize("NFC", stem),
    lambda stem: unicodedata.normalize("NFD", stem),
    str.lower,
    str.upper,
)


def _is_chinese(text: str) -> bool:
    """Whether what was read as GB 18030 is that. Other encodings decode as well, but to characters that nobody writes:
    those in use are nearly all of GB 2312's signs and its first level, 3,755 characters by frequency."""
    codes = [code for char in text if not char.isascii() and len(code := char.encode("gb18030")) > 1]
    common = sum(len(code) == 2 and code[1] >= 0xA1 and (0xA1 <= code[0] <= 0xA3 or 0xB0 <= code[0] <= 0xD7)
                 for code in codes)  # fmt: skip
    return common >= _LEAST_COMMON * len(codes)
