"""Lets msgspec learn our Structs before there are threads. At a Struct's first decoding it keeps what it has learned of
it half made while Python runs; a second thread that decodes the same Struct just then follows a null pointer."""

from __future__ import annotations

import contextlib

import msgspec

_OURS = ("engine", "bridge")


def learn_shapes() -> None:
    """Every Struct of ours that is loaded by now may be decoded by several threads from here on. Takes milliseconds."""
    below = [msgspec.Struct]
    while below:
        kind = below.pop()
        below += kind.__subclasses__()
        if kind.__module__.partition(".")[0] in _OURS:
            with contextlib.suppress(TypeError, NameError):  # one that is never decoded: no JSON can be it
                msgspec.json.Decoder(kind)
