"""The picture formats that this program reads: the one table of types, decoders, endings."""

from __future__ import annotations

from typing import Final

import msgspec


class Format(msgspec.Struct, frozen=True):
    """``decoder``: Pillow's name. ``suffixes``: what its files are called, the first one when this program writes."""

    decoder: str
    suffixes: tuple[str, ...]

    @property
    def extension(self) -> str:
        """The usual ending, without a dot."""
        return self.suffixes[0][1:]


FORMATS: Final[dict[str, Format]] = {
    "image/png": Format("PNG", (".png", ".apng")),
    "image/jpeg": Format("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif")),
    "image/webp": Format("WEBP", (".webp",)),
    "image/bmp": Format("BMP", (".bmp", ".dib")),
    "image/gif": Format("GIF", (".gif",)),
    "image/tiff": Format("TIFF", (".tiff", ".tif")),
    "image/avif": Format("AVIF", (".avif",)),
}
"""By MIME type; `engine.images.picture.sniff` tells these by content."""

SUFFIXES: Final = frozenset(suffix for kind in FORMATS.values() for suffix in kind.suffixes)
"""Endings of pictures, lower case, with their dot."""


def extension_of(mime: str) -> str:
    """The ending of a picture of this type, without a dot; ``bin`` for a type that is none of ours."""
    return FORMATS[mime].extension if mime in FORMATS else "bin"
