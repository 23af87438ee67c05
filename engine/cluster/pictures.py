"""Pairs of a set made ready, and pictures made small, by the workers of a cluster: the same bytes as at home.

A worker reads a file where it sees the very bytes that are wanted, by their hash; other files go along, as with
attempts. What it does not bring is made at home.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import msgspec

from engine.cluster.coordinator import Cluster
from engine.dataset.pair_files import PairMaker, PairOrder, ReadyPair, make_ready, read_file
from engine.errors import ConsoleError
from engine.images.thumbnails import thumbnail_of
from engine.reading import read_found
from engine.upstream.cancel import CancelToken

_AT_A_TIME = 8  # pictures to be made small
_MOST_PAIRS = 32  # that wait at home for the one before them, with their pictures


class _Wanted(msgspec.Struct, frozen=True):
    order: PairOrder
    data: dict[str, bytes]


class _Made(msgspec.Struct, frozen=True):
    """``ready`` None: the worker does not see the files."""

    ready: ReadyPair | None = None


def make_pair(wanted: _Wanted, cancel: CancelToken) -> _Made:
    """In a worker."""
    data = dict(wanted.data)
    for path, digest in wanted.order.files.items():
        if path not in data:
            found = _seen(path, digest, cancel)
            if found is None:
                return _Made()
            data[path] = found
    return _Made(make_ready(wanted.order, cancel, data))


class ClusterPairMaker(PairMaker):
    """As `PairMaker`, by the workers."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._blind: set[str] = set()  # workers that do not see our files
        self.threads = min(_MOST_PAIRS, cluster.work_at_once)

    def make(self, order: PairOrder, cancel: CancelToken) -> ReadyPair:
        """As `PairMaker.make`."""

        def wanted_by(worker: str) -> _Wanted:
            sent = [path for path, digest in order.files.items() if not digest or worker in self._blind]
            return _Wanted(order, {path: read_file(order, path, cancel) for path in sent})

        worker, made = self._cluster.compute(make_pair, wanted_by, cancel)
        if made is not None and made.ready is None:
            self._blind.add(worker)  # it will not see the next ones either
            worker, made = self._cluster.compute(make_pair, wanted_by, cancel)
        return super().make(order, cancel) if made is None or made.ready is None else made.ready


class _Small(msgspec.Struct, frozen=True):
    files: tuple[tuple[str, str], ...]
    edge: int


def make_small(wanted: _Small, cancel: CancelToken) -> list[bytes | None]:
    """In a worker: None for what it does not see with these bytes, or cannot read."""
    made: list[bytes | None] = []
    for path, digest in wanted.files:
        data = _seen(path, digest, cancel)
        try:
            made.append(thumbnail_of(data, wanted.edge, cancel) if data is not None else None)
        except ConsoleError:
            made.append(None)
    return made


def small_pictures(cluster: Cluster, files: Mapping[str, str], edge: int, cancel: CancelToken) -> dict[str, bytes]:
    """JPEG or WebP bytes by path, of those that workers see with the sha256 that they should have. Raises Stopped."""

    def made_of(some: tuple[tuple[str, str], ...]) -> list[bytes | None]:
        return cluster.compute(make_small, lambda _: _Small(some, edge), cancel)[1] or [None] * len(some)

    known = tuple(file for file in files.items() if file[1])
    groups = [known[start : start + _AT_A_TIME] for start in range(0, len(known), _AT_A_TIME)]
    with ThreadPoolExecutor(cluster.work_at_once, thread_name_prefix="small") as pool:
        made = [one for group in pool.map(made_of, groups) for one in group]
    return {path: one for (path, _), one in zip(known, made, strict=True) if one is not None}


def _seen(path: str, digest: str, cancel: CancelToken) -> bytes | None:
    try:
        data = read_found(path, cancel.check)
    except (OSError, ValueError):
        return None
    return data if hashlib.sha256(data).hexdigest() == digest else None
