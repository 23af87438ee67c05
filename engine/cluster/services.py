"""What a cluster does for a program: attempts, questions, and measurements of pictures, each behind the seam at which
the engine does them at home."""

from __future__ import annotations

from engine.cluster.attempts import ClusterAttempts
from engine.cluster.coordinator import Cluster
from engine.cluster.measuring import ClusterMeasurer
from engine.dataset.measurement_cache import MeasurementCache
from engine.images.pixels import Alpha


class ClusterServices(Cluster):
    """An open cluster with all that it does."""

    def attempts(self, owner: str) -> ClusterAttempts:
        """For one project; see `ClusterAttempts`."""
        return ClusterAttempts(self, owner)

    def measurer(self, cache: MeasurementCache, alpha: Alpha) -> ClusterMeasurer:
        """Measures pairs by the workers; see `ClusterMeasurer`."""
        return ClusterMeasurer(self, cache, alpha)
