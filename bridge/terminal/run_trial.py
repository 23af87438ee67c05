"""``trial``: a few pictures asked in several ways without a page; at the end one JSON object, or a line a column."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import msgspec

from bridge.app import App
from bridge.demo.endpoint import demo_config, samples_folder
from bridge.environment import Environment
from bridge.messages import Messages
from bridge.open_app import make_folder, open_app
from bridge.terminal.run import needs_person, stored_config
from bridge.terminal.run_judge import JudgeOrder, check_judge, set_up_judge
from bridge.terminal.run_reports import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED
from bridge.terminal.serve import ending_signals
from bridge.terminal.writer import say, write_event
from bridge.usecases.common import Context
from bridge.usecases.judge import JudgeWhat, judge_results
from bridge.usecases.trials import ColumnParams, TrialName, TrialParams, TrialView, get_trial, start_trial
from bridge.views import Viewer
from engine.errors import Code, InvalidInput
from engine.keys import origin
from engine.paths import entered_path

_LOOK_SECONDS = 0.25


class TrialOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What one trial is to do. ``columns``: as `ColumnParams`."""

    source: str | None
    columns: list[Any]
    sample: int
    seed: int
    preset: str | None
    demo: bool
    json: bool
    language: str
    judge: JudgeOrder = JudgeOrder()


def run_trial(order: TrialOrder, folder: Path, environment: Environment, messages: Messages) -> int:
    """Do the order; the exit code. Raises ConsoleError for wrong use."""
    source = order.source or (str(samples_folder()) if order.demo else "")
    if not source:
        raise InvalidInput(Code.FIELD_REQUIRED, field="INPUT", name="INPUT")
    check_judge(order.judge)
    try:
        columns = msgspec.convert(order.columns, list[ColumnParams])
    except msgspec.ValidationError as error:
        raise InvalidInput(Code.FIELD_TYPE, field="columns", name="columns", type="list") from error
    base = None if order.demo else stored_config(folder, order.preset, environment)
    name = hashlib.sha256(entered_path(source, "input_path").encode("utf-8", "surrogateescape")).hexdigest()[:16]
    ledger = folder / ("demo/answers" if order.demo else "answers")
    place = make_folder(folder / "runs" / name / "trial")
    with open_app(place, environment, messages, demo=order.demo, ledger_folder=ledger) as app:
        app.preferences.set_config(base or demo_config(origin(app.preferences.config.api_url)))
        set_up_judge(app, order.judge)
        params = TrialParams(source, columns, order.sample, order.seed)
        return _go(app, order, params)


def _go(app: App, order: TrialOrder, params: TrialParams) -> int:
    context, stopped = Context(app, order.language), threading.Event()

    def stop() -> None:
        stopped.set()
        app.batch.stop()
        app.jobs.stop()

    with ending_signals(stop):
        started = start_trial(context, params)
        given_up = _wait(app, order)
        view = get_trial(context, TrialName(started.trial_id))
        if order.judge.fields is not None and not stopped.is_set() and not given_up:
            judge_results(context, JudgeWhat([cell for row in view.rows for cell in row.cells]))
            while not app.jobs.wait_idle(_LOOK_SECONDS):
                pass
            view = get_trial(context, TrialName(started.trial_id))
    failed = given_up or any(column.failed for column in view.columns)
    code = EXIT_STOPPED if stopped.is_set() else EXIT_FAILED if failed else EXIT_DONE
    _tell(app, order, view, started.reused_count, code)
    return code


def _wait(app: App, order: TrialOrder) -> bool:
    """Until every cell has ended; whether it was given up, since the run paused for a person and there is none."""
    given_up = False
    while not app.wait_idle(_LOOK_SECONDS):
        paused = app.batch.info().paused
        if paused is not None and not given_up and needs_person(paused):
            say(Viewer(app.messages, order.language).problem(paused).message)
            app.batch.stop()
            given_up = True
    return given_up


def _tell(app: App, order: TrialOrder, view: TrialView, reused: int, code: int) -> None:
    if order.json:
        told = msgspec.to_builtins(view)
        write_event("trial", **told, trial_id=view.id, reused_count=reused, exit_code=code)
        return
    for column in view.columns:
        numbers = {name: "–" if value is None else value for name, value in msgspec.to_builtins(column).items()}
        say(app.messages.text(order.language, "trial.column", **numbers))
