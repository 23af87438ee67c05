"""Judging: list tasks, tick, drop, restore, delete, and read a task's debug log."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from bridge.app import App
from bridge.usecases import list_order
from bridge.usecases.common import (
    Cleanup,
    Context,
    MatchParams,
    Nothing,
    Ok,
    ResultId,
    TaskId,
    match_of,
    remove_files,
)
from bridge.usecases.debug_text import debug_text, readable
from bridge.usecases.list_order import ListSort
from bridge.usecases.run import ask_again, retry_task_clear
from bridge.views import TaskView, preview_url
from engine.errors import Busy, Code, InvalidInput, NotAllowed
from engine.models import Facets, Marks, TaskMatch
from engine.tasks.batch import MAX_SINGLE_RETRIES

MAX_PAGE = 500
_MOST_FACETS = 50


class OutlineParams(MatchParams, frozen=True):
    """A filtered, sorted list. ``desc`` turns the order round."""

    sort: ListSort = ListSort.ORDER
    desc: bool = False


class ListParams(OutlineParams, frozen=True):
    """A page of the list."""

    offset: Annotated[int, Meta(ge=0, le=2**53)] = 0
    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = 100


class OutlineAnswer(msgspec.Struct, frozen=True):
    """Ids in the order of the list; ``undecided``: places in it, from 0, of those that wait for a decision."""

    ids: list[str]
    undecided: list[int]


class TaskPage(msgspec.Struct, frozen=True):
    """Tasks of the page; ``total`` of all that match."""

    total: int
    tasks: list[TaskView]
    revision: int


class OneTask(msgspec.Struct, frozen=True):
    """One task."""

    task: TaskView


class Toggled(msgspec.Struct, frozen=True):
    """Whether the result is ticked now."""

    selected: bool
    ok: Literal[True] = True


class TaskDeleted(msgspec.Struct, frozen=True):
    """The task is gone, and so many picture files."""

    task_id: str
    removed_cache_files: int
    cleanup: Cleanup
    ok: Literal[True] = True


class Cleared(msgspec.Struct, frozen=True):
    """All tasks are gone, and so many picture files."""

    removed_cache_files: int
    cleanup: Cleanup
    ok: Literal[True] = True


class BulkAction(StrEnum):
    """What can be done to many tasks at once."""

    TICK = "tick"
    UNTICK = "untick"
    DROP = "drop"
    RESTORE = "restore"
    RETRY = "retry"
    RETRY_CLEAR = "retry_clear"
    DELETE = "delete"
    DECIDE = "decide"
    UNDECIDE = "undecide"


class BulkParams(msgspec.Struct, frozen=True):
    """Tasks by id, or all that match a filter; exactly one of the two.

    ``user_prompt``: what a retry asks with from now on, in place of the configuration's.
    """

    action: BulkAction
    task_ids: list[str] | None = None
    match: MatchParams | None = None
    user_prompt: str | None = None


class MarksParams(msgspec.Struct, frozen=True):
    """Decisions to be taken over as they stand here."""

    marks: list[Marks]


class FacetsAnswer(Facets, frozen=True):
    """Counts for the filter of the list."""

    ok: Literal[True] = True


class BulkAnswer(msgspec.Struct, frozen=True):
    """How many results or tasks changed."""

    affected: int
    ok: Literal[True] = True


class DebugEntryView(msgspec.Struct, frozen=True):
    """One entry of the debug log; ``at`` in Unix seconds."""

    at: float
    attempt: int
    kind: str
    data: dict[str, Any]


class DebugAnswer(msgspec.Struct, frozen=True):
    """The debug log as text and as entries; ``has_sse``: whether events came."""

    task_id: str
    has_debug_log: bool
    has_sse: bool
    debug_log: str
    updated_at: int
    entries: list[DebugEntryView]
    running: bool
    preview: str | None
    ok: Literal[True] = True


def list_tasks(context: Context, params: ListParams) -> TaskPage:
    """A part of the task list, filtered and sorted."""
    app = context.app
    match = match_of(context.app, params, language=context.language)
    revision = app.store.revision()
    page = list_order.page(app, match, params.sort, descending=params.desc, offset=params.offset, limit=params.limit)
    live, view = app.batch.live(), context.view
    return TaskPage(page.total, [view.task(task, live.get(task.id)) for task in page.tasks], revision)


def list_ids(context: Context, params: OutlineParams) -> OutlineAnswer:
    """The whole task list as ids, filtered and sorted: for going through it while it changes."""
    match = match_of(context.app, params, language=context.language)
    found = list_order.outline(context.app, match, params.sort, descending=params.desc)
    return OutlineAnswer(found.ids, found.undecided)


def get_task(context: Context, params: TaskId) -> OneTask:
    """One task with its results."""
    task = context.app.store.task(params.task_id)
    return OneTask(context.view.task(task, context.app.batch.live().get(task.id)))


def get_task_debug(context: Context, params: TaskId) -> DebugAnswer:
    """What was sent and what came, attempt by attempt; only for clients on this machine."""
    app = context.app
    if not context.local and not app.environment.allow_remote_debug_log:
        raise NotAllowed(Code.LOOPBACK_ONLY)
    task = app.store.task(params.task_id)
    live = app.batch.live_log(task.id)
    entries = readable(app.store.debug_log(task.id) + (list(live.entries) if live else []))
    return DebugAnswer(
        task_id=task.id,
        has_debug_log=bool(entries),
        has_sse=any(entry.kind == "event" for entry in entries),
        debug_log=debug_text(entries),
        updated_at=task.updated_at,
        entries=[DebugEntryView(entry.at, entry.attempt, entry.kind, entry.data) for entry in entries],
        running=live is not None,
        preview=preview_url(task.id, live.preview) if live else None,
    )


def toggle_result(context: Context, params: ResultId) -> Toggled:
    """Tick or untick a result."""
    return Toggled(context.app.store.mark_result(params.task_id, params.result_id).selected)


def delete_result(context: Context, params: ResultId) -> Ok:
    """Drop a result: it is not saved any more, its picture stays and can be restored."""
    context.app.store.mark_result(params.task_id, params.result_id, deleted=True)
    return Ok()


def restore_result(context: Context, params: ResultId) -> Ok:
    """Take a dropped result back."""
    context.app.store.mark_result(params.task_id, params.result_id, deleted=False)
    return Ok()


def delete_task(context: Context, params: TaskId) -> TaskDeleted:
    """Delete a task with its results."""
    app = context.app
    task = app.store.task(params.task_id)
    app.flusher.wait()  # until a saved copy is on disk, ours is the only one
    if app.batch.running or (app.batch.is_busy(task.id) and not app.remote.batches.holds(task.id)):
        raise Busy(Code.BATCH_RUNNING)
    cleanup = remove_files(app, app.store.remove([task.id]), "delete_task")
    app.remote.let_go([task.id])
    return TaskDeleted(task.id, cleanup.removed, cleanup)


def clear_tasks(context: Context, _: Nothing) -> Cleared:
    """Delete every task with its results."""
    app = context.app
    app.flusher.wait()
    if app.batch.running or app.batch.single_retries or app.remote.jobs.waiting:
        raise Busy(Code.BATCH_RUNNING)
    app.remote.let_go(app.store.ids(TaskMatch()))
    cleanup = remove_files(app, app.store.clear(), "clear_tasks", everything=True)
    return Cleared(cleanup.removed, cleanup)


def bulk_tasks(context: Context, params: BulkParams) -> BulkAnswer:
    """Tick, drop, restore, retry, delete or note as decided about many tasks at once."""
    if (params.task_ids is None) == (params.match is None):
        raise InvalidInput(Code.FIELD_REQUIRED, field="task_ids", name="task_ids / match")
    ids = context.app.store.ids(match_of(context.app, params.match, params.task_ids, context.language))
    if params.user_prompt is not None:
        _take_prompt(context.app, params.action, ids, params.user_prompt)
    return BulkAnswer(_BULK[params.action](context, ids))


def mark_results(context: Context, params: MarksParams) -> BulkAnswer:
    """Set ticks, drops and what is decided of many tasks, each as it is given: for one step, and to take it back."""
    return BulkAnswer(context.app.store.put_marks(params.marks))


def list_facets(context: Context, _: Nothing) -> FacetsAnswer:
    """How many tasks there are by decision, failure, prompt and folder."""
    found = context.app.store.facets(_MOST_FACETS)
    return FacetsAnswer(found.only, found.failures, found.prompts, found.folders)


def _take_prompt(app: App, action: BulkAction, ids: list[str], prompt: str) -> None:
    if action not in (BulkAction.RETRY, BulkAction.RETRY_CLEAR) or not prompt.strip():
        raise InvalidInput(Code.FIELD_REQUIRED, field="user_prompt", name="user_prompt")
    app.store.set_prompt([one for one in ids if not app.batch.is_busy(one)], prompt)


def _bulk_delete(context: Context, ids: list[str]) -> int:
    app = context.app
    app.flusher.wait()
    if app.batch.running:
        raise Busy(Code.BATCH_RUNNING)
    ids = [task_id for task_id in ids if not app.batch.is_busy(task_id)]
    remove_files(app, app.store.remove(ids), "bulk_tasks")
    return len(ids)


def _bulk_retry(context: Context, ids: list[str]) -> int:
    return ask_again(context.app, ids)


def _bulk_retry_clear(context: Context, ids: list[str]) -> int:
    if len(ids) <= MAX_SINGLE_RETRIES and not context.app.batch.running:
        for task_id in ids:
            retry_task_clear(context, TaskId(task_id))
        return len(ids)
    return ask_again(context.app, ids, clear=True)


def _marking(**marks: bool) -> Callable[[Context, list[str]], int]:
    return lambda context, ids: context.app.store.mark_tasks(ids, **marks)


_BULK: dict[BulkAction, Callable[[Context, list[str]], int]] = {
    BulkAction.TICK: _marking(selected=True),
    BulkAction.UNTICK: _marking(selected=False),
    BulkAction.DROP: _marking(deleted=True),
    BulkAction.RESTORE: _marking(deleted=False),
    BulkAction.RETRY: _bulk_retry,
    BulkAction.RETRY_CLEAR: _bulk_retry_clear,
    BulkAction.DELETE: _bulk_delete,
    BulkAction.DECIDE: lambda context, ids: context.app.store.judge(ids, True),
    BulkAction.UNDECIDE: lambda context, ids: context.app.store.judge(ids, False),
}
