"""What a cluster does for a program: attempts, questions, measurements, pictures of sets and reports, each behind the
seam at which the engine does them at home."""

from __future__ import annotations

from collections.abc import Mapping

from engine.cluster.attempts import ClusterAttempts
from engine.cluster.coordinator import Cluster
from engine.cluster.measuring import ClusterMeasurer
from engine.cluster.pictures import ClusterPairMaker, small_pictures
from engine.dataset.measurement_cache import MeasurementCache
from engine.images.pixels import Alpha
from engine.upstream.cancel import CancelToken


class ClusterServices(Cluster):
    """An open cluster with all that it does."""

    def attempts(self, owner: str) -> ClusterAttempts:
        """For one project; see `ClusterAttempts`."""
        return ClusterAttempts(self, owner)

    def measurer(self, cache: MeasurementCache, alpha: Alpha) -> ClusterMeasurer:
        """Measures pairs by the workers; see `ClusterMeasurer`."""
        return ClusterMeasurer(self, cache, alpha)

    def pair_maker(self) -> ClusterPairMaker:
        """Makes pairs of a set ready; see `ClusterPairMaker`."""
        return ClusterPairMaker(self)

    def small_pictures(self, files: Mapping[str, str], edge: int, cancel: CancelToken) -> dict[str, bytes]:
        """Pictures made small; see the function of this name."""
        return small_pictures(self, files, edge, cancel)
