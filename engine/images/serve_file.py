"""Opens a picture file to be shown: a regular file that no link stands for, and whose own bytes say what it is."""

from __future__ import annotations

import os
from typing import BinaryIO

import msgspec

from engine.errors import Code, InvalidInput, PictureRejected
from engine.images.picture import HEAD_BYTES, sniff
from engine.reading import open_regular


class OpenPicture(msgspec.Struct, frozen=True):
    """An open file at its start; ``size`` in bytes, ``modified`` in nanoseconds. The caller closes ``file``."""

    file: BinaryIO
    mime: str
    size: int
    modified: int


def open_picture(path: str | os.PathLike[str]) -> OpenPicture:
    """Open a picture; what is judged is the very file that will be read, whatever the name comes to mean meanwhile.

    Raises InvalidInput (SOURCE_MISSING), or PictureRejected: PICTURE_UNREADABLE, also for a link that took the file's
    place, and PICTURE_NOT_IMAGE. Both name the path.
    """
    shown = os.fspath(path)
    try:
        return _judge(open_regular(path), shown)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise InvalidInput(Code.SOURCE_MISSING, path=shown) from error
    except OSError as error:
        raise PictureRejected(Code.PICTURE_UNREADABLE, path=shown, reason=error.strerror or "") from error


def _judge(descriptor: int, shown: str) -> OpenPicture:
    """Takes the descriptor over."""
    try:
        status = os.fstat(descriptor)
        mime = sniff(os.read(descriptor, HEAD_BYTES))
        if mime is None:
            raise PictureRejected(Code.PICTURE_NOT_IMAGE, path=shown)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return OpenPicture(os.fdopen(descriptor, "rb"), mime, status.st_size, status.st_mtime_ns)
    except BaseException:
        os.close(descriptor)
        raise
