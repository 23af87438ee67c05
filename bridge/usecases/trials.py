"""Trials: a few pictures asked in several ways, votes for the best of each, and the way that is chosen for all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from bridge.app import App
from bridge.usecases.common import Context, Nothing, Ok, remove_files
from bridge.usecases.config import entered_config
from bridge.usecases.run import starting
from bridge.usecases.set_options import SetParams, pairs_of
from engine.config import ApiConfig, Delivery
from engine.dataset.measure import Measurer, can_register
from engine.dataset.preflight import Wanted, inspect
from engine.errors import Busy, Code, InvalidInput
from engine.images.picture import read_shape
from engine.models import SourceImage, Task, TaskMatch
from engine.presets import keep_key
from engine.tasks.plan import TaskSpec
from engine.tasks.store import NewTask
from engine.upstream.usable import check_allowed
from engine.vision.trial import Column, ColumnTally, Row, Trial, check_sample, draw, is_over, tally
from engine.vision.trial_book import new_trial_id

_MOST_SHAPES = 3000  # pictures whose header is read for the draw; of more only these, spread evenly
_NONE = -1


class ColumnParams(msgspec.Struct, frozen=True):
    """One way of asking: the current configuration, a preset's, or this one over the current; with its own prompt."""

    name: str = ""
    user_prompt: str | None = None
    preset: str | None = None
    config: dict[str, Any] | None = None


class TrialParams(msgspec.Struct, frozen=True):
    """Which pictures to draw, and how they are asked. ``sample`` pictures; the same ``seed`` draws the same ones."""

    input_path: str
    columns: list[ColumnParams]
    sample: int = 20
    seed: int = 0


class TrialStarted(msgspec.Struct, frozen=True):
    """``task_count`` cells, of which ``reused_count`` had been paid for already."""

    trial_id: str
    task_count: int
    reused_count: int
    ok: Literal[True] = True


class TrialName(msgspec.Struct, frozen=True):
    """One trial."""

    id: str


class RowView(msgspec.Struct, frozen=True):
    """A picture and its task in each column. ``vote``: the best column; ``voted`` without one: none is good."""

    source_path: str
    cells: list[str]
    vote: int | None
    voted: bool


class TrialView(msgspec.Struct, frozen=True, kw_only=True):
    """A trial as it stands. ``done``: every cell has ended."""

    id: str
    input_path: str
    seed: int
    at: int
    done: bool
    columns: list[ColumnTally]
    rows: list[RowView]


class TrialLine(msgspec.Struct, frozen=True):
    """A trial in the list."""

    id: str
    input_path: str
    at: int
    columns: list[str]
    rows: int
    voted: int


class Trials(msgspec.Struct, frozen=True):
    """All trials, the latest first."""

    trials: list[TrialLine]


class VoteParams(msgspec.Struct, frozen=True):
    """The best column of a row, both from 0 or the column by name; null: none."""

    id: str
    row: int
    column: int | str | None = None


class TrialRow(TrialName, frozen=True):
    """A row of a trial, from 0."""

    row: int


class CellNumbers(msgspec.Struct, frozen=True):
    """What the preflight measures of a cell's last picture: ``findings`` by kind with their number; ``change`` in
    levels of 0..255, ``likeness`` 0..1, ``shift`` and ``zoom`` in percent; null where not measured."""

    task_id: str
    findings: dict[str, float]
    change: float
    likeness: float | None
    shift: float | None
    zoom: float | None


class RowNumbers(msgspec.Struct, frozen=True):
    """The cells of a row that have a picture."""

    cells: list[CellNumbers]


class ChooseParams(msgspec.Struct, frozen=True):
    """A column, from 0 or by name."""

    id: str
    column: int | str


class Chosen(msgspec.Struct, frozen=True):
    """The configuration that is the current one now, secrets masked."""

    config: ApiConfig
    ok: Literal[True] = True


def start_trial(context: Context, params: TrialParams) -> TrialStarted:
    """Draw pictures and ask for each in every column; what was paid for before is taken from the ledger."""
    app = context.app
    check_sample(params.sample, len(params.columns))
    columns = [_column(app, column, number) for number, column in enumerate(params.columns, 1)]
    if len({column.name for column in columns}) < len(columns):
        raise InvalidInput(Code.FIELD_CHOICE, field="columns", name="name", choices=", ".join(c.name for c in columns))
    for column in columns:
        check_allowed(column.config, app.environment.network)
    with starting(app):
        pictures = _draw(app, params)
        trial = Trial(id=new_trial_id(), input_path=params.input_path, seed=params.seed, at=int(time.time()),
                      columns=columns, rows=[])  # fmt: skip
        waiting = _fill(app, trial, pictures)
        app.vision.trials.put(trial)
        app.vision.begin(context.language)
        if waiting:
            app.batch.start(waiting, _leading(columns))
    count = len(pictures) * len(columns)
    return TrialStarted(trial.id, count, count - len(waiting))


def get_trial(context: Context, params: TrialName) -> TrialView:
    """A trial: what came of each column, and the grid."""
    app = context.app
    trial = app.vision.trials.get(params.id)
    tasks = _tasks_of(app, trial)
    return TrialView(
        id=trial.id,
        input_path=trial.input_path,
        seed=trial.seed,
        at=trial.at,
        done=is_over(trial, tasks),
        columns=tally(trial, tasks),
        rows=[
            RowView(row.source_path, row.cells, None if row.vote == _NONE else row.vote, row.vote is not None)
            for row in trial.rows
        ],
    )


def list_trials(context: Context, _: Nothing) -> Trials:
    """All trials, the latest first."""
    return Trials(
        [
            TrialLine(
                trial.id,
                trial.input_path,
                trial.at,
                [column.name for column in trial.columns],
                len(trial.rows),
                sum(row.vote is not None for row in trial.rows),
            )
            for trial in context.app.vision.trials.all()
        ]
    )


def delete_trial(context: Context, params: TrialName) -> Ok:
    """Forget a trial with its tasks; what was paid for stays in the ledger."""
    app = context.app
    trial = app.vision.trials.get(params.id)
    ids = [cell for row in trial.rows for cell in row.cells]
    if any(app.batch.is_busy(task_id) for task_id in ids):
        raise Busy(Code.BATCH_RUNNING)
    app.flusher.wait()
    remove_files(app, app.store.remove(ids), "trial")
    app.vision.trials.remove(trial.id)
    return Ok()


def measure_row(context: Context, params: TrialRow) -> RowNumbers:
    """Measure the pictures of a row as a preflight does; what was measured before is known."""
    app = context.app
    cells = _row(app.vision.trials.get(params.id), params.row).cells
    wish = SetParams(task_ids=cells, only_selected=False)
    pairs = {pair.task_id: pair for pair in pairs_of(app, wish)}  # the last of each task
    measurer = Measurer(app.measurement_cache)
    seen = inspect(list(pairs.values()), Wanted(), measurer, registered=can_register())
    found: dict[str, dict[str, float]] = {}
    for finding in seen.findings:
        found.setdefault(finding.pair_id, {})[finding.kind] = finding.number
    return RowNumbers(
        [
            CellNumbers(task_id, found.get(pair.id, {}), one.change, one.likeness, one.shift, one.zoom)
            for task_id, pair in pairs.items()
            if (one := seen.numbers.get(pair.id)) is not None
        ]
    )


def vote_trial(context: Context, params: VoteParams) -> Ok:
    """Say which column of a row is the best, or that none is good."""

    def vote(trial: Trial) -> None:
        _row(trial, params.row).vote = _NONE if params.column is None else _place(trial, params.column)

    context.app.vision.trials.change(params.id, vote)
    return Ok()


def choose_column(context: Context, params: ChooseParams) -> Chosen:
    """Make the configuration of a column the current one: what is started then asks for the rest."""
    app = context.app
    trial = app.vision.trials.get(params.id)
    config = keep_key(trial.columns[_place(trial, params.column)].config, app.preferences.config)  # of an import: none
    app.preferences.set_config(config)
    app.settings_changed()
    return Chosen(config.masked())


def _column(app: App, params: ColumnParams, number: int) -> Column:
    current = app.preferences.config
    config = current if params.preset is None else keep_key(app.presets.get(params.preset), current)
    if params.config is not None:
        base = {name: value for name, value in msgspec.to_builtins(config).items() if name != "api_key"}
        config, _ = entered_config(app, {**base, **params.config})
    if params.user_prompt is not None:
        config = msgspec.structs.replace(config, user_prompt=params.user_prompt)
    config = msgspec.structs.replace(config, delivery=Delivery.NOW)  # nobody tries for a day
    return Column(params.name.strip() or str(number), config)


def _draw(app: App, params: TrialParams) -> list[SourceImage]:
    pictures = app.workspace.planner.find(params.input_path).pictures
    step = max(1, len(pictures) // _MOST_SHAPES)
    return draw(pictures[::step], params.sample, params.seed, lambda picture: read_shape(picture.path))


def _fill(app: App, trial: Trial, pictures: Sequence[SourceImage]) -> list[str]:
    """Make a task for every cell; ids of those that are to be asked, row after row."""
    waiting: list[str] = []
    for picture in pictures:
        items = [app.workspace.planner.plan_one(TaskSpec((picture,)), column.config) for column in trial.columns]
        ids = app.store.add([NewTask(picture.path, picture.name, item.fingerprint, trial=trial.id) for item in items])
        trial.rows.append(Row(picture.path, ids))
        for task_id, item in zip(ids, items, strict=True):
            answer = app.workspace.planner.paid_answer(item)
            if answer is None or not app.workspace.planner.take(task_id, item, answer):
                waiting.append(task_id)
    return waiting


def _leading(columns: Sequence[Column]) -> ApiConfig:
    """What the run as a whole goes by: the first column's, as many calls at once as any column allows."""
    most = max(column.config.concurrency_limit for column in columns)
    return msgspec.structs.replace(columns[0].config, concurrency_limit=most, delivery=Delivery.NOW)


def _tasks_of(app: App, trial: Trial) -> dict[str, Task]:
    ids = tuple(cell for row in trial.rows for cell in row.cells)
    return {task.id: task for task in app.store.tasks(TaskMatch(ids=ids))}


def _row(trial: Trial, row: int) -> Row:
    if not 0 <= row < len(trial.rows):
        raise InvalidInput(Code.FIELD_RANGE, field="row", name="row", minimum=0, maximum=len(trial.rows) - 1, value=row)
    return trial.rows[row]


def _place(trial: Trial, column: int | str) -> int:
    """The place of a column that is named by place or name; InvalidInput."""
    names = [entry.name for entry in trial.columns]
    if isinstance(column, str) and column in names:
        return names.index(column)
    if isinstance(column, int) and 0 <= column < len(names):
        return column
    raise InvalidInput(Code.FIELD_CHOICE, field="column", name="column", choices=", ".join(names))
