"""Pictures measured by the workers of a cluster, some pairs at a time, with the same numbers as at home.

A worker reads the files where it sees the same ones; what it cannot read or finds with other bytes is measured at home.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import msgspec

from engine.cluster.coordinator import Cluster, WorkerLost
from engine.dataset.measure import Measured, Measurer, Settled
from engine.dataset.measurement_cache import MeasurementCache, NoMeasurementCache
from engine.errors import ConsoleError
from engine.images.pixels import Alpha
from engine.upstream.cancel import CancelToken

_AT_A_TIME = 8  # pairs: a round trip costs some milliseconds, a pair some tens
_PER_WORKER = 2  # so that none waits for us between two


class _Wanted(msgspec.Struct, frozen=True):
    pairs: tuple[tuple[str, str], ...]
    alpha: Alpha
    settled: Settled


def measure_files(wanted: _Wanted) -> list[Measured | None]:
    """In a worker: what was measured of each pair of files, None where that could not be."""
    measurer = Measurer(NoMeasurementCache(), wanted.alpha)
    found: list[Measured | None] = []
    for control, target in wanted.pairs:
        try:
            found.append(measurer.measure(control, target, wanted.settled))
        except ConsoleError:
            found.append(None)
    return found


class ClusterMeasurer(Measurer):
    """As `Measurer`; what it measures in groups goes to the workers."""

    at_a_time = _AT_A_TIME

    def __init__(self, cluster: Cluster, cache: MeasurementCache, alpha: Alpha) -> None:
        super().__init__(cache, alpha)
        self._cluster = cluster
        self.threads = max(1, _PER_WORKER * len(cluster.workers))

    def prepare(self, pairs: Sequence[tuple[str, str]], settled: Settled, cancel: CancelToken | None = None) -> None:
        """Measure what is not known yet of these pairs, so that `measure` finds it; not what workers see as others."""
        unknown = []
        for control, target in pairs:
            with contextlib.suppress(ConsoleError):  # `measure` says it
                keys = self.keys(control, target, cancel)
                if self._known(*keys, settled) is None:
                    unknown.append((control, target, keys))
        files = [(control, target) for control, target, _ in unknown]
        answers = self._measured(files, settled, cancel or CancelToken())
        for (_, _, keys), found in zip(unknown, answers, strict=True):
            if found is not None and (found.control.hash, found.target.hash) == keys:
                self._cache.note((found.control, found.target), found.comparison)

    def _measured(
        self, pairs: list[tuple[str, str]], settled: Settled, cancel: CancelToken
    ) -> Sequence[Measured | None]:
        if not pairs:
            return []
        wanted = _Wanted(tuple(pairs), self._alpha, settled)
        try:
            with self._cluster.worker(cancel) as worker:
                return self._cluster.run_at(worker, measure_files, wanted, "", cancel, patience=0)
        except WorkerLost:
            return [None] * len(pairs)
