"""The state as a whole, or what changed of it: read so that one answer is one moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from bridge.usecases.common import Context
from bridge.views import ChangeView, SavePlanView, StateView, live_view
from engine.models import Task, TaskMatch, TaskSort, TaskStatus
from engine.tasks.lookups import Counts
from engine.tasks.store import Changes

_ALL = 2**31


class StateParams(msgspec.Struct, frozen=True):
    """``since``: only what changed after that revision. ``tasks=0``: without tasks."""

    since: int | None = None
    tasks: bool = True


def get_state(context: Context, params: StateParams) -> StateView:
    """Everything that the page shows, or what changed of it since a revision."""
    app, view = context.app, context.view
    settings_revision = app.settings_revision  # before what it counts, so that no change is passed over

    def read() -> tuple[Changes, Counts]:
        changes = app.store.changes(params.since or 0, _ALL if params.tasks and params.since is not None else 0)
        if not params.tasks or params.since is not None:
            return changes, app.store.counts()
        tasks = app.store.page(TaskMatch(), TaskSort.ORDER, False, 0, _ALL).tasks
        return msgspec.structs.replace(changes, tasks=tasks), _counts_of(tasks)

    run, (changes, counts) = app.batch.moment(read)
    live = app.batch.live()
    return StateView(
        **view.status(run, counts, app.jobs.state, len(app.vision.alarm.suspects)),
        cluster=app.cluster.info() if app.cluster is not None else None,
        settings_revision=settings_revision,
        tasks=[view.task(task, live.get(task.id)) for task in changes.tasks] if params.tasks else [],
        removed=changes.removed if params.since is not None else [],
        reset=changes.reset if params.since is not None else True,
        revision=changes.revision,
        current_config=app.preferences.config.masked(),
        presets={name: config.masked() for name, config in app.presets.all().items()},
        save_rule=SavePlanView(
            **msgspec.structs.asdict(app.preferences.plan.rule), output_dir=app.preferences.plan.output_dir
        ),
        project=app.project_id,
        version=app.version,
        demo=app.demo,
        sample_path=app.sample_path,
        language=str(app.preferences.ui.get("language", context.language)),
        notices=[view.problem(problem) for problem in app.notices],
    )


def get_change(context: Context, since: int | None, most: int | None = None) -> ChangeView:
    """What one event says: status, and the tasks that changed after ``since``; everything for None.

    Where more than ``most`` tasks changed, none is told of: ``truncated`` says that the list is to be asked for.
    """
    with context.app.switching.using():
        return _change(context, since, most)


def _change(context: Context, since: int | None, most: int | None) -> ChangeView:
    app, view = context.app, context.view

    def read() -> tuple[Changes, Counts]:
        return app.store.changes(since or 0, _ALL if most is None else most), app.store.counts()

    run, (changes, counts) = app.batch.moment(read)
    live = app.batch.live()
    return ChangeView(
        **view.status(run, counts, app.jobs.state, len(app.vision.alarm.suspects)),
        cluster=app.cluster.info() if app.cluster is not None else None,
        revision=changes.revision,
        settings_revision=app.settings_revision,
        project=app.project_id,
        version=app.version,
        tasks=[] if changes.truncated else [view.task(task, live.get(task.id)) for task in changes.tasks],
        removed=changes.removed if since is not None else [],
        reset=changes.reset,
        truncated=changes.truncated,
        live={task_id: live_view(task_id, state) for task_id, state in live.items()},
        looked_at=app.looked_at,
    )


def _counts_of(tasks: Sequence[Task]) -> Counts:
    counted = Counter(task.status for task in tasks)
    return {status: counted[status] for status in TaskStatus}
