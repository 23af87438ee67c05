"""What calls have cost, by run, project, day, model and door; and the table of prices with a person's own entries."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bridge.app import App
from bridge.usecases.common import Context, Nothing
from engine.errors import Code, InvalidInput
from engine.money import plain
from engine.tasks.costs import Costs, RunSums, Sums, began_at, read_price
from engine.upstream.bills import Price

_MOST_PRICES = 1000
_DAYS = 366
_RUNS = 500


class CostLine(msgspec.Struct, frozen=True):
    """Calls of one day, model, project or door, in USD. ``refused`` and ``wasted`` brought no picture, and those that
    were wasted are paid for; of ``unknown`` nobody knows the price."""

    name: str
    cost: float
    calls: int
    refused: int
    wasted: int
    unknown: int


class RunLine(msgspec.Struct, frozen=True):
    """Calls of one run, or between two of them. ``began`` in Unix seconds, null for one of an older version; its
    ``day`` and ``project``, and the ``models`` that were asked; the rest as in `CostLine`."""

    name: str
    began: int | None
    day: str
    project: str
    models: list[str]
    cost: float
    calls: int
    refused: int
    wasted: int
    unknown: int


class CostsAnswer(msgspec.Struct, frozen=True):
    """Costs in USD: of all projects that share the ledger, but for ``project`` (this one) and ``run`` (the one that
    goes, or went last, ``run_name`` in ``by_run``). ``budget``, ``budget_day``: what may be spent, 0 for no limit.
    ``by_day`` and ``by_run``: the latest last. ``by_project`` has folders, ``project_names`` what they are called."""

    total: float
    today: float
    project: float
    run: float
    run_name: str
    budget: float
    budget_day: float
    calls: int
    refused: int
    wasted: int
    unknown: int
    by_model: list[CostLine]
    by_day: list[CostLine]
    by_project: list[CostLine]
    by_door: list[CostLine]
    by_run: list[RunLine]
    project_names: dict[str, str]
    ok: Literal[True] = True


class PricesAnswer(msgspec.Struct, frozen=True):
    """A person's own entries, which go first, and those that came with the program. In USD, of a million tokens."""

    prices: list[Price]
    built_in: list[Price]
    ok: Literal[True] = True


class PricesParams(msgspec.Struct, frozen=True):
    """A person's own entries, all of them."""

    prices: list[dict[str, Any]]


def get_costs(context: Context, _: Nothing) -> CostsAnswer:
    """What calls have cost: in all, today, in this run; by run, model, day, project and address."""
    costs, config = context.app.costs, context.app.preferences.config
    all_of_them = costs.sums()
    return CostsAnswer(
        total=plain(all_of_them.amount),
        today=plain(costs.sums(day=costs.today).amount),
        project=plain(costs.sums(project=costs.project).amount),
        run=plain(costs.run.amount),
        run_name=costs.run_id,
        budget=config.budget,
        budget_day=config.budget_day,
        calls=all_of_them.calls,
        refused=all_of_them.refused,
        wasted=all_of_them.wasted,
        unknown=all_of_them.unknown,
        by_model=_lines(costs, "model"),
        by_day=_lines(costs, "day")[-_DAYS:],
        by_project=_lines(costs, "project"),
        by_door=_lines(costs, "door"),
        by_run=[_run_line(one) for one in costs.by_run(_RUNS)],
        project_names=_project_names(context.app),
    )


def get_prices(context: Context, _: Nothing) -> PricesAnswer:
    """The table by which tokens and credits become money."""
    return PricesAnswer(context.app.costs.prices.own, context.app.costs.prices.built_in)


def save_prices(context: Context, params: PricesParams) -> PricesAnswer:
    """Make these the own entries of the table; each names its model, and its host if it is only for that one."""
    if len(params.prices) > _MOST_PRICES:
        raise InvalidInput(
            Code.FIELD_RANGE, field="prices", name="prices", minimum=0, maximum=_MOST_PRICES, value=len(params.prices)
        )
    context.app.costs.prices.set_own([read_price(entry) for entry in params.prices])
    context.app.settings_changed()
    return get_prices(context, Nothing())


def _lines(costs: Costs, column: str) -> list[CostLine]:
    return [_line(name, sums) for name, sums in costs.sums_by(column)]


def _run_line(one: RunSums) -> RunLine:
    sums = one.sums
    return RunLine(
        one.run, began_at(one.run), one.day, one.project, one.models.split(","), plain(sums.amount), sums.calls,
        sums.refused, sums.wasted, sums.unknown,
    )  # fmt: skip


def _project_names(app: App) -> dict[str, str]:
    """By folder, as the book has it; the first project has none before a person gives it one."""
    return {str(app.projects.folder(one)): one.name for one in app.projects.all()} if app.knows_projects else {}


def _line(name: str, sums: Sums) -> CostLine:
    return CostLine(name, plain(sums.amount), sums.calls, sums.refused, sums.wasted, sums.unknown)
