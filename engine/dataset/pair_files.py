"""One pair of a set made ready to be written: its files read, checked against what was sent and what came, brought to
format and size. `PairOrder` in, `ReadyPair` out, both picklable; `PairMaker` is the seam behind which other machines
may stand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from engine.dataset.features import Overlay
from engine.dataset.layouts import LAYOUTS, Trainer
from engine.dataset.pairs import Direction, Pair
from engine.dataset.transform import PictureRule, Written, prepare
from engine.errors import Code, InvalidInput, PictureRejected, StorageFailed
from engine.formats import extension_of
from engine.images.picture import HEAD_BYTES, sniff, with_path
from engine.reading import read_bytes, read_found
from engine.upstream.cancel import CancelToken


class PairOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be made. ``overlay``: where to cut both with ``crop_align``; ``masks``: see `SetPlan`; ``kinds``: the
    formats of target and controls, where they have to be those of every pair."""

    pair: Pair
    pictures: PictureRule
    trainer: Trainer
    masks: bool = False
    overlay: Overlay | None = None
    kinds: tuple[frozenset[str], ...] = ()

    @property
    def files(self) -> dict[str, str]:
        """The pair's files by path, with the sha256 that each must have, "" where any will do."""
        return {one.path: one.sent_hash for one in self.pair.pictures} | {self.pair.target.path: self.pair.target.hash}


class ReadyPair(msgspec.Struct, frozen=True):
    """A pair's pictures, ready to be written, and the hashes of its sources."""

    target: Written
    controls: list[Written]
    source_hashes: tuple[str, ...]
    mask: bytes | None = None


class PairMaker:
    """Makes pairs ready here. Safe to use from many threads. ``threads``: that are best used, 0 for no preference."""

    threads = 0

    def make(self, order: PairOrder, cancel: CancelToken) -> ReadyPair:
        """Raises what `make_ready` raises."""
        return make_ready(order, cancel)


def make_ready(order: PairOrder, cancel: CancelToken, data: Mapping[str, bytes] | None = None) -> ReadyPair:
    """``data``: files by path that are not to be read here. Raises InvalidInput (SOURCE_MISSING, SOURCE_CHANGED,
    RESULT_FILE_MISSING), StorageFailed (RESULT_CHANGED), PictureRejected, Stopped."""
    pair, there = order.pair, data or {}
    bytes_of = {path: there[path] if path in there else read_file(order, path, cancel) for path in order.files}
    hashes = {path: hashlib.sha256(one).hexdigest() for path, one in bytes_of.items()}
    for one in pair.pictures:
        _check_same(order, one.path, one.sent_hash, hashes[one.path])
    _check_same(order, pair.target.path, pair.target.hash, hashes[pair.target.path])
    overlay = order.overlay if pair.direction is not Direction.NO_OP else None
    if overlay is not None and pair.direction is Direction.REVERSED:
        overlay = overlay.turned
    target, controls = bytes_of[pair.target.path], [bytes_of[one.path] for one in pair.pictures]
    try:
        reader = LAYOUTS[order.trainer].reader
        done, others = prepare(target, controls, order.pictures, reader, overlay, cancel=cancel, kinds=order.kinds)
    except PictureRejected as error:
        raise with_path(error, pair.control.path) from error
    mask = None
    if order.masks:
        from engine.dataset.masks import mask_of

        mask = mask_of(others[0].data, done.data, whole=pair.direction is Direction.NO_OP, cancel=cancel)
    return ReadyPair(done, others, tuple(hashes[one.path] for one in pair.pictures), mask)


def kinds_of(pairs: Sequence[Pair], formats: frozenset[str]) -> list[frozenset[str]]:
    """The one format of all targets, and of all first, second … controls; PNG where they have several."""
    found: dict[int, set[str]] = {}
    for pair in pairs:
        for place, path in enumerate((pair.target.path, *(one.path for one in pair.pictures))):
            found.setdefault(place, set()).add(_kind(path))
    one_of = [frozenset(kinds) & formats if len(kinds) == 1 else frozenset[str]() for kinds in found.values()]
    return [kind or frozenset({"png"}) for kind in one_of]


def _kind(path: str) -> str:
    """The extension of what a file holds, whatever its name says; "" where that cannot be told."""
    try:
        return extension_of(sniff(read_bytes(path, HEAD_BYTES, root=Path(path).parent)) or "")
    except OSError:  # it is read again, and refused by its name
        return ""


def read_file(order: PairOrder, path: str, cancel: CancelToken) -> bytes:
    """A file of the pair. Raises as `make_ready`."""
    try:
        return read_found(path, cancel.check)
    except FileNotFoundError as error:
        missing = Code.RESULT_FILE_MISSING if path == _result(order.pair) else Code.SOURCE_MISSING
        raise InvalidInput(missing, path=path) from error
    except OSError as error:
        raise PictureRejected(Code.PICTURE_UNREADABLE, path=path, reason=error.strerror or "") from error


def _result(pair: Pair) -> str:
    """The file that came back."""
    return pair.control.path if pair.direction is Direction.REVERSED else pair.target.path


def _check_same(order: PairOrder, path: str, known: str, digest: str) -> None:
    if not known or known == digest:
        return
    if path == _result(order.pair):
        raise StorageFailed(Code.RESULT_CHANGED, path=path)
    raise InvalidInput(Code.SOURCE_CHANGED, path=path)
