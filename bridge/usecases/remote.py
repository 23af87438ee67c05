"""Jobs at providers: listed, collected, given up."""

from __future__ import annotations

from typing import Literal

import msgspec

from bridge.app import App
from bridge.usecases.common import Context, Nothing
from bridge.visits import Visits
from engine.tasks.at_providers import AtProviders
from engine.tasks.remote_book import RemoteRow


class RemoteView(msgspec.Struct, frozen=True):
    """A job (``kind`` job) or a batch of them. ``id`` is ours, ``provider_id`` the provider's. ``state``: submitting (a
    batch that is being made); waiting; left (nobody asks, it can be collected); done, failed, cancelled. Times in Unix
    seconds; ``tasks`` is their number. ``project``: the id of the one that it belongs to, "" for the current one."""

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
    project: str = ""


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
    """Jobs that providers have taken on, with what became of them; of other projects the batches that are open."""
    app = context.app
    others = app.visits.rows() if app.visits is not None else []
    return RemoteJobs(
        [
            *map(remote_view, app.remote.rows()),
            *(msgspec.structs.replace(remote_view(row), project=project.id) for project, row in others),
        ]
    )


def collect_remote(context: Context, params: RemoteId) -> RemoteCollected:
    """Ask for a job now, also after a stop or when its time was up; nothing is paid for that."""
    return RemoteCollected(params.id, _keeper(context.app, params.id).collect(params.id))


def cancel_remote(context: Context, params: RemoteId) -> RemoteCancelled:
    """Give a job up at its provider, where that can be done; what it has made by then may be lost and paid for."""
    given = _keeper(context.app, params.id).cancel(params.id)
    return RemoteCancelled(params.id, given.cancelled, given.lost)


def _keeper(app: App, remote_id: str) -> AtProviders | Visits:
    """Who speaks with its provider: the current project, or who visits others."""
    elsewhere = app.visits is not None and any(row.id == remote_id for _, row in app.visits.rows())
    return app.visits if app.visits is not None and elsewhere else app.remote


def remote_view(row: RemoteRow) -> RemoteView:
    """As people and scripts see it."""
    return RemoteView(
        row.id, row.provider, row.provider_id, row.kind, row.state, int(row.submitted_at), len(row.tasks), row.done,
        row.failed, int(row.expires_at),
    )  # fmt: skip
