"""Running: look at a folder, start, resume, retry, stop."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from bridge.app import App
from bridge.usecases.common import Cleanup, Context, Nothing, TaskId, remove_files
from bridge.usecases.config import entered_config
from bridge.usecases.projects import ProposedProject, note_folder, proposed_project
from bridge.views import ProblemView
from engine.config import ApiConfig, ApiMode, Delivery
from engine.errors import Busy, Code
from engine.images.discover import Discovery
from engine.models import TaskMatch, TaskStatus
from engine.money import plain
from engine.paths import printable
from engine.tasks.batch_orders import DEFAULT_SIZE
from engine.tasks.plan import ReferenceMode
from engine.tasks.planning import Plan
from engine.upstream.batches.choice import batch_driver, needed_driver
from engine.upstream.recipe import read_recipe
from engine.upstream.usable import check_allowed

_BATCH_HOURS = 24
_LISTED = 200  # unreadable files named in an answer; the count tells the rest
_PROMPTS_SHOWN = 20
_LONELY_SHOWN = 20
_NAMES_KEPT = 50


class StartParams(msgspec.Struct, frozen=True):
    """What to run. Without ``config`` the current one is used.

    ``prompt_table``: path of a CSV or JSONL file with a prompt for each picture. ``variants``: tasks for each picture
    and prompt. ``references``: off, suffix or folders. ``fresh``: ask anew for what is answered already.
    ``batch_size``: tasks in one of the provider's batches, where results come by them.
    """

    input_path: Annotated[str, Meta(extra={"kind": "folder"})] = ""
    config: dict[str, Any] | None = None
    prompt_table: Annotated[str, Meta(extra={"kind": "file"})] = ""
    variants: Annotated[int, Meta(ge=1, le=20)] = 1
    references: ReferenceMode = ReferenceMode.OFF
    fresh: bool = False
    batch_size: Annotated[int, Meta(ge=1, le=50_000)] = DEFAULT_SIZE


class UnreadableView(msgspec.Struct, frozen=True):
    """A file that cannot be sent, and why."""

    path: str
    code: str
    message: str


class PromptView(msgspec.Struct, frozen=True):
    """One task to be: its source, its further pictures, and the prompt as it will be sent."""

    source: str
    references: list[str]
    prompt: str
    variant: int
    reused: bool


class InspectAnswer(msgspec.Struct, frozen=True):
    """What a start would find. Sizes in bytes; ``formats`` counts pictures by format.

    Of ``tasks`` tasks, ``reused`` are answered already and ``calls`` are asked. ``prompts``: the first of them.
    ``proposes_project``: where this folder is not that of the current project, the one to open or begin for it.
    ``price_now`` and ``price_batch``: of all calls, by what is known of the price, 0 for nothing; live at about
    ``pace_now`` a minute, as the last run went, null before there was one; the latter for results within
    ``batch_hours`` by the batches of ``batch_provider``: null where there are none for this configuration.
    """

    path: str
    count: int
    total_bytes: int
    formats: dict[str, int]
    unreadable: list[UnreadableView]
    unreadable_count: int
    largest: int
    calls: int
    tasks: int
    reused: int
    prompts: list[PromptView]
    rows_without_file: list[str]
    rows_without_file_count: int
    files_without_row: list[str]
    files_without_row_count: int
    warnings: list[ProblemView] = []
    proposes_project: ProposedProject | None = None
    price_now: float = 0.0
    pace_now: float | None = None
    price_batch: float | None = None
    batch_hours: int | None = None
    batch_provider: str | None = None
    ok: Literal[True] = True


class StartAnswer(msgspec.Struct, frozen=True):
    """``task_count`` pictures are in the batch; ``reused_count`` of them had been answered already.

    Rows and files without a partner as in `InspectAnswer`.
    """

    task_count: int
    new_count: int
    reused_count: int
    unreadable_count: int
    unreadable: list[UnreadableView]
    warnings: list[ProblemView]
    rows_without_file: list[str] = []
    rows_without_file_count: int = 0
    files_without_row: list[str] = []
    files_without_row_count: int = 0
    ok: Literal[True] = True


class ResumeAnswer(msgspec.Struct, frozen=True):
    """How many tasks run again."""

    resumed_count: int
    ok: Literal[True] = True


class RetryAnswer(msgspec.Struct, frozen=True):
    """The task runs again; so many single retries run."""

    task_id: str
    single_retry_running: int
    ok: Literal[True] = True


class RetryClearAnswer(msgspec.Struct, frozen=True):
    """The task runs again, without its earlier results."""

    task_id: str
    single_retry_running: int
    removed_old_results: int
    ok: Literal[True] = True


class RetryFailedAnswer(msgspec.Struct, frozen=True):
    """How many failed tasks run again."""

    retried_count: int
    ok: Literal[True] = True


class StopAnswer(msgspec.Struct, frozen=True):
    """``stopped``: whether anything ran; ``affected`` tasks waited or were in flight; ``message``: what to tell."""

    stopped: bool
    affected: int
    single_retry_running: int
    message: str
    cleanup: Cleanup
    ok: Literal[True] = True


def inspect_path(context: Context, params: StartParams) -> InspectAnswer:
    """Count pictures, calls and answers that are there already, before a start; nothing is sent."""
    config, _ = entered_config(context.app, params.config)
    plan = _plan(context.app, params, config)
    found = plan.found
    context.app.inspected = [picture.name for picture in found.pictures[:_NAMES_KEPT]]
    unreadable = _unreadable(context, found)
    lonely_rows, lonely_files = _lonely(plan)
    by_batch = batch_driver(config)
    price = plan.calls * plain(context.app.costs.expected(config) or 0)
    pace = context.app.batch.pace
    return InspectAnswer(
        path=found.root,
        count=len(found.pictures),
        total_bytes=found.total_bytes,
        formats=found.formats,
        unreadable=unreadable[:_LISTED],
        unreadable_count=len(unreadable),
        largest=found.largest,
        calls=plan.calls,
        tasks=len(plan.items),
        reused=len(plan.items) - plan.calls,
        prompts=[_prompt(plan, number) for number in range(min(_PROMPTS_SHOWN, len(plan.items)))],
        rows_without_file=lonely_rows[:_LONELY_SHOWN],
        rows_without_file_count=len(lonely_rows),
        files_without_row=lonely_files[:_LONELY_SHOWN],
        files_without_row_count=len(lonely_files),
        warnings=[context.view.problem(warning) for warning in plan.warnings],
        proposes_project=proposed_project(context.app, found.root),
        price_now=round(price, 6),
        pace_now=None if pace is None else round(pace, 1),
        price_batch=round(price * by_batch[0].price, 6) if by_batch is not None else None,
        batch_hours=_BATCH_HOURS if by_batch is not None else None,
        batch_provider=by_batch[0].provider.value if by_batch is not None else None,
    )


def start_batch(context: Context, params: StartParams) -> StartAnswer:
    """Send every picture of a file or folder; what was answered already in the same way is not paid again."""
    app = context.app
    with starting(app):
        config, warnings = entered_config(app, params.config)
        check_allowed(config, app.environment.network)
        check_delivery(config)
        if config.mode is ApiMode.RECIPE:
            read_recipe(config.recipe)  # an empty one may be saved, but describes no call
        plan = _plan(app, params, config)
        app.remote.orders.size = params.batch_size
        app.preferences.set_config(config)
        if Path(plan.found.root).is_dir():
            app.preferences.note_source_folder(printable(plan.found.root))
        note_folder(app, plan.found.root)
        app.settings_changed()
        app.vision.begin(context.language)
        started = app.workspace.start(plan, config)
    unreadable = _unreadable(context, plan.found)
    lonely_rows, lonely_files = _lonely(plan)
    return StartAnswer(
        task_count=len(plan.items),
        new_count=started,
        reused_count=len(plan.items) - started,
        unreadable_count=len(unreadable),
        unreadable=unreadable[:_LISTED],
        warnings=[context.view.problem(warning) for warning in (*warnings, *plan.warnings)],
        rows_without_file=lonely_rows[:_LONELY_SHOWN],
        rows_without_file_count=len(lonely_rows),
        files_without_row=lonely_files[:_LONELY_SHOWN],
        files_without_row_count=len(lonely_files),
    )


def resume_tasks(context: Context, _: Nothing) -> ResumeAnswer:
    """Run every task that is pending or stopped; where a run is paused, let it go on now with what is stored."""
    app = context.app
    if app.batch.is_paused:
        app.vision.alarm.forget()
        app.costs.set_budgets(app.preferences.config)
        return ResumeAnswer(app.batch.go_on(_checked_config(app)))
    with starting(app):
        ids = app.store.ids(TaskMatch(status=frozenset({TaskStatus.PENDING, TaskStatus.STOPPED})))
        app.vision.begin(context.language)
        return ResumeAnswer(app.batch.enqueue(ids, _checked_config(app)))


def retry_failed(context: Context, _: Nothing) -> RetryFailedAnswer:
    """Call the API again for every failed task; earlier results stay."""
    ids = context.app.store.ids(TaskMatch(status=frozenset({TaskStatus.FAILED})))
    return RetryFailedAnswer(ask_again(context.app, ids))


def retry_task(context: Context, params: TaskId) -> RetryAnswer:
    """Call the API again for one task; earlier results stay."""
    context.app.store.task(params.task_id)
    context.app.vision.begin(context.language)
    context.app.batch.retry(params.task_id, _checked_config(context.app))
    return RetryAnswer(params.task_id, _single_retries(context.app))


def retry_task_clear(context: Context, params: TaskId) -> RetryClearAnswer:
    """Call the API again for one task; its earlier results are dropped first."""
    app = context.app
    task = app.store.task(params.task_id)
    app.flusher.wait()  # until a saved copy is on disk, ours is the only one
    app.batch.retry(task.id, _checked_config(app), before=lambda: drop_results(app, task.id))
    return RetryClearAnswer(task.id, single_retry_running=_single_retries(app), removed_old_results=len(task.results))


def stop(context: Context, _: Nothing) -> StopAnswer:
    """End every call and all waiting now; what arrived stays, the rest can be resumed, and jobs be collected."""
    app = context.app
    affected = app.batch.stop() + app.remote.stop()
    app.vision.judging.stop()
    app.transport.drop_idle()
    message = app.messages.text(context.language, "stop.stopping" if affected else "stop.nothing_runs")
    return StopAnswer(affected > 0, affected, app.batch.single_retries, message, remove_files(app, (), "stop"))


def check_delivery(config: ApiConfig) -> None:
    """Refuse results by batches where the provider has none for this configuration."""
    if config.delivery is Delivery.BATCH:
        needed_driver(config)


def ask_again(app: App, ids: Sequence[str], *, clear: bool = False) -> int:
    """Call the API again for these tasks, in the batch that runs or in a new one; earlier results stay or go."""

    def drop(going: list[str]) -> None:
        for task_id in going if clear else ():
            drop_results(app, task_id)

    if clear:
        app.flusher.wait()
    with starting(app, beside_batch=True):
        app.vision.begin()
        return app.batch.enqueue(ids, _checked_config(app), drop)


def drop_results(app: App, task_id: str) -> None:
    """Forget a task's results, and remove the pictures that nothing else needs."""
    for result in app.store.drop_results(task_id):
        app.cache.remove(result.hash, result.extension)


@contextlib.contextmanager
def starting(app: App, *, beside_batch: bool = False) -> Iterator[None]:
    """One start at a time, and none while a batch runs unless it goes well beside it; Busy otherwise."""
    if not app.start_lock.acquire(blocking=False):
        raise Busy(Code.BATCH_RUNNING)
    try:
        if app.batch.running and not beside_batch:
            raise Busy(Code.BATCH_RUNNING)
        yield
    finally:
        app.start_lock.release()


def _single_retries(app: App) -> int:
    """How many run, the one that has just begun among them, however quickly it ended."""
    return max(1, app.batch.single_retries)


def _checked_config(app: App) -> ApiConfig:
    check_allowed(app.preferences.config, app.environment.network)
    check_delivery(app.preferences.config)
    return app.preferences.config


def _unreadable(context: Context, found: Discovery) -> list[UnreadableView]:
    view = context.view
    return [UnreadableView(file.path, file.problem.code, view.problem(file.problem).message) for file in found.rejected]


def _lonely(plan: Plan) -> tuple[list[str], list[str]]:
    """What found no partner in the prompt table: files of rows, and names of pictures."""
    if plan.matched is None:
        return [], []
    rows = [row.file for row in plan.matched.rows_without_file]
    return rows, [picture.name for picture in plan.matched.files_without_row]


def _plan(app: App, params: StartParams, config: ApiConfig) -> Plan:
    return app.workspace.plan(
        params.input_path,
        config,
        prompt_table=params.prompt_table,
        variants=params.variants,
        references=params.references,
        fresh=params.fresh,
    )


def _prompt(plan: Plan, number: int) -> PromptView:
    item = plan.items[number]
    return PromptView(
        source=item.spec.source.name,
        references=[picture.name for picture in item.spec.pictures[1:]],
        prompt=item.prompt,
        variant=item.spec.variant,
        reused=number in plan.done or number in plan.paid,
    )
