"""What an entered path means, and how names are compared and ordered: one rule for folders, tables, captions, lists.

Whoever takes a path from a person calls `entered_path`; whoever matches names that a person wrote calls `folded`.
"""

# Tens of thousands of names are handled here; a Path for each would take most of the time.
# ruff: noqa: PTH100, PTH111, PTH119, PTH120, PTH122

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote

from natsort import natsort_keygen, ns

from engine.errors import Code, InvalidInput

_LONGEST_NAME: Final = 255  # bytes, on Windows letters: NAME_MAX of Linux and macOS, and what NTFS takes
_LONGEST_PATH: Final = 4095  # bytes: PATH_MAX of Linux
_WHITE: Final = " \t\r\n\u00a0"
_QUOTES: Final = (('"', '"'), ("'", "'"), ("\u201c", "\u201d"), ("\u2018", "\u2019"))
_SEVERAL_QUOTED: Final = re.compile(r"""(?:[\s;,]*(?:"[^"]+"|'[^']+'|\u201c[^\u201d]+\u201d)){2,}[\s;,]*""")
_QUOTED: Final = re.compile(r"""("[^"]+"|'[^']+'|\u201c[^\u201d]+\u201d)""")
_END: Final = "\x01"  # lower than what names hold: a name that ends stands before one that goes on
KEY_MARK: Final = "\x02"
"""The first character of every `natural_key`: stored keys without it are of an older rule."""


def entered_path(text: str, field: str) -> str:
    """An absolute path from what people paste: quotes, white space, invisible marks, ``~``, file URLs; "" for nothing.

    Raises InvalidInput (PATH_INVALID) for ``field`` where it holds a NUL, bytes that are no text (what is done is noted
    under it, in UTF-8) or a name that no system takes, or names the home of nobody.
    """
    text = _trimmed(text)
    while len(text) >= 2 and (text[0], text[-1]) in _QUOTES:
        text = _trimmed(text[1:-1])
    if text[:5].lower() == "file:":
        text = _from_file_url(text[5:])
    if not text:
        return ""
    path = os.path.expanduser(text)
    nobody = path.startswith("~") and not os.path.lexists(path.replace("\0", "")) and "\0" not in path
    if "\0" in path or printable(path) != path or nobody or _is_too_long(path):
        raise InvalidInput(Code.PATH_INVALID, field=field, path=printable(text[:200]).replace("\0", "\\0"))
    return os.path.abspath(path)


def entered_paths(text: str, field: str) -> list[str]:
    """The paths that a person pasted, none twice: one a line, each in quotes, or parted by ``;``; a text that exists as
    it is, is one path. Each is as `entered_path` has it, which raises for the first that is none."""
    parts = _parted(text)
    if len(parts) > 1 and not _is_there(text, field):
        return list(dict.fromkeys(entered_path(part, field) for part in parts))
    path = entered_path(text, field)
    return [path] if path else []


def _parted(text: str) -> list[str]:
    parts: list[str] = []
    for line in re.split(r"[\r\n]+", text):
        parts += _QUOTED.findall(line) if _SEVERAL_QUOTED.fullmatch(_trimmed(line)) else line.split(";")
    return [part for part in parts if _trimmed(part)]


def _is_there(text: str, field: str) -> bool:
    try:
        return os.path.lexists(entered_path(text, field))
    except InvalidInput:
        return False


def _is_too_long(path: str) -> bool:
    """Whether no file can have this path: asking the system for it would be an error of its own kind."""
    if os.name == "nt":
        return any(len(part) > _LONGEST_NAME for part in path.replace("/", "\\").split("\\"))
    data = path.encode("utf-8", "surrogatepass")
    return len(data) > _LONGEST_PATH or any(len(part) > _LONGEST_NAME for part in data.split(b"/"))


def printable(path: str) -> str:
    """A path that JSON can hold: bytes that are no UTF-8 become escapes."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def common_folder(folders: Iterable[str]) -> str:
    """The deepest folder that all of these lie in; "" for none, or where they are on several drives."""
    try:
        return os.path.commonpath(list(folders))
    except ValueError:
        return ""


def folders_below(path: str, root: str) -> str:
    """The folders between ``root`` and a file below it, parted by ``/``; "" where it lies in ``root``, or there is
    none."""
    folder = os.path.dirname(path)
    if not root or folder == root:
        return ""
    above = root.rstrip(os.sep) + os.sep
    return (folder.removeprefix(above) if folder.startswith(above) else os.path.basename(folder)).replace(os.sep, "/")


def folded(name: str) -> str:
    """A name as it is compared: macOS writes é in two signs, Windows takes A for a, and sets travel between them."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def natural_key(name: str) -> str:
    """A text whose plain order is the natural order of names, as natsort has it: the stem first, so that ``a.png``
    stands before ``a (2).png``; then the extension, then the exact name."""
    stem, suffix = os.path.splitext(name)
    return f"{KEY_MARK}{_natural(stem)}{_END}{suffix.lower()}{_END}{name}"


def natural_folder_key(name: str) -> str:
    """The same for a folder, whose name has no extension."""
    return f"{KEY_MARK}{_natural(name)}{_END}{_END}{name}"


_split: Final = natsort_keygen(alg=ns.INT | ns.IGNORECASE)


def _natural(text: str) -> str:
    """natsort's key, in which text and numbers take turns, as one text: a number led by the count of its digits."""
    parts = (part if isinstance(part, str) else f"{len(digits := str(part)):04}{digits}" for part in _split(text))
    return "".join(part + _END for part in parts)


def _trimmed(text: str) -> str:
    """Without white space, and without the direction, zero-width and byte order marks that Explorer and chats add."""
    start, end = 0, len(text)
    while start < end and _is_around(text[start]):
        start += 1
    while end > start and _is_around(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_around(letter: str) -> bool:
    return letter in _WHITE or unicodedata.category(letter) in {"Cf", "Zs"}


def _from_file_url(rest: str) -> str:
    host = ""
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        rest = slash + path
    path = unquote(rest, errors="surrogateescape")
    if os.name == "nt":
        return path.lstrip("/") if host in {"", "localhost"} else f"//{host}{path}"
    return path
