"""What ``run`` makes of its results besides files: a set for a trainer, and a report; by the same jobs as the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bridge.app import App
from bridge.jobs import JobState, JobStatus
from bridge.usecases.common import Context
from bridge.usecases.datasets import ExportParams, ReportParams, export_set, set_report
from bridge.usecases.set_options import SetParams, plan_of, thresholds_of
from bridge.usecases.set_report import check_report_path
from bridge.views import Viewer
from engine.errors import Code, ConsoleError, InvalidInput
from engine.paths import entered_path

_LOOK_SECONDS = 0.25


class SetOrder(msgspec.Struct, frozen=True):
    """``options``: the set as it is to be, its folder "" for that of the results; ``report``: the file, "" for none;
    ``export``: whether the set is to be written."""

    options: ExportParams = ExportParams()
    report: str = ""
    export: bool = False


class Teller(msgspec.Struct, frozen=True):
    """How a run speaks: a text by key with its parameters, and an event with its data; only one of them is heard."""

    say: Callable[..., None]
    emit: Callable[..., None]


def check_sets(order: SetOrder, source: str, output: Path) -> None:
    """Refuse what can be refused before anything is paid for. Raises InvalidInput."""
    options = order.options
    if order.export:
        place = Path(entered_path(options.output_dir, "export_to") or output).resolve()
        folder = Path(entered_path(source, "input_path")).resolve()
        folder = folder if folder.is_dir() else folder.parent
        if place.is_relative_to(folder):
            raise InvalidInput(Code.EXPORT_INSIDE_SOURCE, field="export_to", path=str(place), source=str(folder))
    if order.export or order.report:
        plan_of(options)
        thresholds_of(options.thresholds)
    if order.report:
        check_report_path(order.report)


def make_sets(
    app: App, order: SetOrder, output: str, language: str, tell: Teller, ids: Sequence[str] | None = None
) -> bool:
    """Write set and report, of these tasks alone where they are named; whether all that was ordered came about."""
    context = Context(app, language)
    jobs: list[Callable[[], object]] = []
    options = msgspec.structs.replace(order.options, task_ids=None if ids is None else list(ids))
    if order.export:
        place = msgspec.structs.replace(options, output_dir=options.output_dir or output)
        jobs.append(lambda: export_set(context, place))
    if order.report:
        base: dict[str, Any] = {name: getattr(options, name) for name in SetParams.__struct_fields__}
        report = ReportParams(**base, path=order.report)
        jobs.append(lambda: set_report(context, report))
    view = Viewer(app.messages, language)
    made = [_one(app, options, view, tell) for options in jobs]  # one that fails is no reason against the other
    return all(made)


def _one(app: App, begin: Callable[[], object], view: Viewer, tell: Teller) -> bool:
    try:
        begin()
    except ConsoleError as error:
        problem = view.problem(error.problem)
        tell.say("run.set_failed", message=problem.message)
        tell.emit("set", status=JobStatus.FAILED, error=problem)
        return False
    shown: JobState | None = None
    while not app.jobs.wait_idle(_LOOK_SECONDS):
        state = app.jobs.state
        if state is not None and state != shown:
            tell.emit("job", job=view.job(state))
            shown = state
    state = app.jobs.state
    assert state is not None
    tell.emit("job", job=view.job(state))
    if state.status is not JobStatus.DONE or state.result is None:
        problem_view = view.maybe(state.problem)
        tell.say("run.set_failed", message=problem_view.message if problem_view else "")
        return False
    tell.say(f"run.{state.kind}_written", path=state.result.path or "", pairs=state.result.pairs,
             left_out=state.result.left_out, bad=state.result.bad)  # fmt: skip
    return True
