"""Jobs at providers: listed, collected, given up."""

from __future__ import annotations

from typing import Literal

import msgspec

from bridge.usecases.common import Context, Nothing
from engine.tasks.remote_book import RemoteRow


class RemoteView(msgspec.Struct, frozen=True):
    """A job (``kind`` job) or a batch of them. ``id`` is ours, ``provider_id`` the provider's. ``state``: submitting (a
    batch that is being made); waiting; left (nobody asks, it can be collected); done, failed, cancelled. Times in Unix
    seconds; ``tasks`` is their number."""

    id: str
    provider: str
    provider_id: str
    kind: str
    state: str
    submitted_at: int
    tasks: int
    done: int
    failed: int
    expires_at: int


class RemoteJobs(msgspec.Struct, frozen=True):
    """The newest first."""

    jobs: list[RemoteView]


class RemoteId(msgspec.Struct, frozen=True):
    """One job."""

    id: str


class RemoteCollected(msgspec.Struct, frozen=True):
    """``collecting``: it is asked for now; false where there is nothing left to collect."""

    id: str
    collecting: bool
    ok: Literal[True] = True


class RemoteCancelled(msgspec.Struct, frozen=True):
    """``cancelled``: the provider was told; false where it cannot be, or where nothing is open. ``lost``: tasks that
    bring nothing by that; what was made before is paid for, and collected where it can be."""

    id: str
    cancelled: bool
    lost: int
    ok: Literal[True] = True


def list_remote(context: Context, _: Nothing) -> RemoteJobs:
    """Jobs that providers have taken on, with what became of them."""
    return RemoteJobs([remote_view(row) for row in context.app.remote.rows()])


def collect_remote(context: Context, params: RemoteId) -> RemoteCollected:
    """Ask for a job now, also after a stop or when its time was up; nothing is paid for that."""
    return RemoteCollected(params.id, context.app.remote.collect(params.id))


def cancel_remote(context: Context, params: RemoteId) -> RemoteCancelled:
    """Give a job up at its provider, where that can be done; what it has made by then may be lost and paid for."""
    given = context.app.remote.cancel(params.id)
    return RemoteCancelled(params.id, given.cancelled, given.lost)


def remote_view(row: RemoteRow) -> RemoteView:
    """As people and scripts see it."""
    return RemoteView(
        row.id, row.provider, row.provider_id, row.kind, row.state, int(row.submitted_at), len(row.tasks), row.done,
        row.failed, int(row.expires_at),
    )  # fmt: skip
