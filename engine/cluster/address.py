"""Where a cluster is, and what people see of it; loads nothing of Dask, so that one can ask before there is any."""

from __future__ import annotations

import msgspec

from engine.errors import ClusterFailed, Code
from engine.upstream.target import parse_url


class ClusterOrder(msgspec.Struct, frozen=True):
    """Where the cluster is: ``local:N``, ``tcp://host:port`` or ``tls://host:port``. The three files are for TLS.

    ``insecure``: bare ``tcp://`` to another machine is meant. ``outbox``: folder of the workers for answers;
    ``shared``: a folder that all machines see, where answers lie instead of being sent.
    """

    address: str
    ca: str = ""
    cert: str = ""
    key: str = ""
    insecure: bool = False
    outbox: str = ""
    shared: str = ""


class ClusterInfo(msgspec.Struct, frozen=True):
    """What people see of it. ``threads``: slots of all workers; ``lost_workers``: since the start."""

    address: str
    workers: int
    threads: int
    in_flight: int
    lost_workers: int


def check_order(order: ClusterOrder) -> int:
    """Refuse what can be refused without a connection: ClusterFailed. The number of local workers, 0 for others."""
    kind, _, rest = order.address.partition(":")
    if kind == "local":
        if not rest.isascii() or not rest.isdigit() or not 1 <= int(rest) <= 256:
            raise ClusterFailed(Code.CLUSTER_ADDRESS, address=order.address)
        return int(rest)
    if kind not in ("tcp", "tls") or not rest.startswith("//"):
        raise ClusterFailed(Code.CLUSTER_ADDRESS, address=order.address)
    if kind == "tls" and not (order.ca and order.cert and order.key):
        raise ClusterFailed(Code.CLUSTER_TLS, address=order.address)
    if kind == "tcp" and not order.insecure and not parse_url(f"http:{rest}").on_this_machine:
        raise ClusterFailed(Code.CLUSTER_INSECURE, address=order.address)
    return 0
