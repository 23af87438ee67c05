"""Pictures measured by the workers of a cluster, some pairs at a time, with the same numbers as at home.

A worker reads the files where it sees the same ones; what it cannot read or finds with other bytes is measured at home.
Nobody reads at home what a worker has read: a file that has the same path, size and time of change there and here is
the same, as it is from one day to the next for `HashMemo`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.cluster.coordinator import Cluster
from engine.database import FileState
from engine.dataset.measure import Measured, Measurer, Settled
from engine.dataset.measurement_cache import MeasurementCache, NoMeasurementCache
from engine.errors import ConsoleError
from engine.images.pixels import Alpha
from engine.upstream.cancel import CancelToken

_MOST_AT_A_TIME = 24  # pairs: a round trip costs ten milliseconds here, a pair twenty there
_ROUNDS = 4  # at least, so that none waits for long for the last one


class _Wanted(msgspec.Struct, frozen=True):
    pairs: tuple[tuple[str, str], ...]
    alpha: Alpha
    settled: Settled


class _Seen(msgspec.Struct, frozen=True):
    """What was measured of each pair, None where that could not be; the files as they were then."""

    measured: list[Measured | None]
    files: list[FileState]


class _Noting(NoMeasurementCache):
    """Keeps what files were when they were read."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[FileState] = []

    def note_files(self, *files: FileState) -> None:
        """Keep it."""
        self.files += files


def measure_files(wanted: _Wanted, cancel: CancelToken) -> _Seen:
    """In a worker."""
    noting = _Noting()
    measurer = Measurer(noting, wanted.alpha)
    found: list[Measured | None] = []
    for control, target in wanted.pairs:
        cancel.check()
        try:
            found.append(measurer.measure(control, target, wanted.settled, cancel))
        except ConsoleError:
            found.append(None)
    return _Seen(found, noting.files)


class ClusterMeasurer(Measurer):
    """As `Measurer`; what it measures in groups goes to the workers."""

    def __init__(self, cluster: Cluster, cache: MeasurementCache, alpha: Alpha) -> None:
        super().__init__(cache, alpha)
        self._cluster = cluster
        self.threads = cluster.work_at_once

    def at_a_time(self, count: int) -> int:
        """As `Measurer.at_a_time`."""
        return max(1, min(_MOST_AT_A_TIME, count // (_ROUNDS * self.threads)))

    def prepare(self, pairs: Sequence[tuple[str, str]], settled: Settled, cancel: CancelToken | None = None) -> None:
        """Measure what is not known yet of these pairs, so that `measure` finds it; not what workers see as others."""
        cancel = cancel or CancelToken()
        unknown = tuple(pair for pair in pairs if not self._has(pair, settled))
        if not unknown:
            return
        wanted = _Wanted(unknown, self._alpha, settled)
        _, seen = self._cluster.compute(measure_files, lambda _: wanted, cancel)
        if seen is None:
            return
        here = [file for file in seen.files if _is_here(file)]
        self._cache.note_files(*here)
        same = {path for path, *_ in here}
        measured = []
        for files, one in zip(unknown, seen.measured, strict=True):
            with contextlib.suppress(ConsoleError):  # `measure` says it
                if one is not None and (
                    same.issuperset(files) or self.keys(*files, cancel) == (one.control.hash, one.target.hash)
                ):
                    measured.append((one.control, one.target, one.comparison))
        self._cache.note(*measured)

    def _has(self, files: tuple[str, str], settled: Settled) -> bool:
        """Whether these very files were measured, as far as that is known without reading them."""
        control, target = (self.known_key(path) for path in files)
        return bool(control and target) and self._known(control, target, settled) is not None


def _is_here(file: FileState) -> bool:
    path, size, modified, _ = file
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return False
    return (status.st_size, status.st_mtime_ns) == (size, modified)
