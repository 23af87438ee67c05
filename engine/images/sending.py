"""What is sent of a source picture: bytes that APIs take, untouched where nothing has to change."""

from __future__ import annotations

from typing import Final

from engine.config import SourceFormat
from engine.formats import FORMATS
from engine.images.pixels import Alpha, Shape, encoded, rendered, shape_of
from engine.upstream.cancel import CancelToken

_TAKEN: Final = frozenset({"image/png", "image/jpeg", "image/webp"})  # by every API; other formats by few of them
_QUALITY: Final = 95
_MIME: Final = {SourceFormat.PNG: "image/png", SourceFormat.JPEG: "image/jpeg", SourceFormat.WEBP: "image/webp"}


def as_sent(
    data: bytes, wanted: SourceFormat, max_edge: int, cancel: CancelToken | None = None, *, shape: Shape | None = None
) -> tuple[bytes, str]:
    """The bytes to send and their MIME type. ``max_edge``: longest edge in pixels, 0 for any; ``shape``: that of
    ``data``, where it is known.

    Raises PictureRejected, Stopped.
    """
    shape = shape or shape_of(data)
    shrinks = 0 < max_edge < max(shape.width, shape.height)
    mime = _mime(shape, wanted)
    fits = wanted is SourceFormat.AS_IS or (shape.plain and (shape.still or shape.mime == "image/png"))
    if mime == shape.mime and fits and not shrinks:
        return data, mime
    if mime not in _TAKEN:
        mime = "image/png"
    alpha = Alpha.WHITE if mime == "image/jpeg" else Alpha.KEEP
    with rendered(data, longest=max_edge if shrinks else None, alpha=alpha, cancel=cancel) as image:
        return encoded(image, FORMATS[mime].extension, _QUALITY, cancel=cancel), mime


def _mime(shape: Shape, wanted: SourceFormat) -> str:
    if wanted in _MIME:
        return _MIME[wanted]
    if wanted is SourceFormat.AS_IS or shape.mime in _TAKEN:
        return shape.mime
    return "image/jpeg" if shape.lossy and not shape.alpha else "image/png"
