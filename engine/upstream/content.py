"""Takes the content encoding off a body, in bounded memory: a small body cannot become a large one at once. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

PIECE_BYTES = 64 * 1024
"""Most bytes that one step of decompression may give."""
ACCEPT_ENCODING = "gzip, deflate"

_GZIP = 16 + zlib.MAX_WBITS
_ZLIB = zlib.MAX_WBITS
_RAW = -zlib.MAX_WBITS


class ContentBroken(Exception):
    """The body is not what its Content-Encoding says, or ends too early."""


class Identity:
    """No encoding: bytes pass as they are."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The data, unless empty."""
        if data:
            yield data

    def finish(self) -> None:
        """Nothing can be missing."""


class Inflate:
    """gzip (also several members one after another) or deflate (with zlib header, or bare as some servers send it)."""

    def __init__(self, windows: tuple[int, ...]) -> None:
        self._windows = windows
        self._inflater = zlib.decompressobj(windows[0])
        self._started = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces of at most ``PIECE_BYTES``; raises ContentBroken."""
        while data:
            piece = self._step(data)
            if piece:
                yield piece
            data = self._inflater.unconsumed_tail
            if self._inflater.eof:
                data = self._inflater.unused_data.lstrip(b"\0")  # zero padding may follow the last member
                if data:
                    self._inflater = zlib.decompressobj(self._windows[0])
            elif not data and len(piece) == PIECE_BYTES:
                yield from self._drain()

    def finish(self) -> None:
        """Raise ContentBroken when the body stopped in the middle; an empty body is whole."""
        if self._started and not self._inflater.eof:
            raise ContentBroken("cut")

    def _step(self, data: bytes) -> bytes:
        windows = self._windows if not self._started else self._windows[:1]
        for window in windows:
            try:
                if window != self._windows[0]:
                    self._inflater = zlib.decompressobj(window)
                piece = self._inflater.decompress(data, PIECE_BYTES)
            except zlib.error:
                continue
            self._windows = (window,)
            self._started = True
            return piece
        raise ContentBroken("data")

    def _drain(self) -> Iterator[bytes]:
        # zlib may hold output back when the input ends exactly at the bound of a piece
        while piece := self._step(b""):
            yield piece


def decoder_for(encoding: str) -> Identity | Inflate | None:
    """The decoder for a Content-Encoding header; None for an encoding that was not asked for."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return Identity()
    if name in ("gzip", "x-gzip"):
        return Inflate((_GZIP,))
    return Inflate((_ZLIB, _RAW)) if name == "deflate" else None
