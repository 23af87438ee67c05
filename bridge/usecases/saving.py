"""Saving: one result or many, under the names that a rule makes; rules and a preview of the names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bridge.app import App
from bridge.preferences import SavePlan
from bridge.usecases.common import Context, MatchParams, Nothing, Ok, match_of
from engine.dataset.naming import (
    BUILT_IN_RULES,
    TXT_VARIABLES,
    VARIABLES,
    SaveRule,
    check_rule,
    image_stem,
    name_context,
)
from engine.dataset.save import SaveError, SaveReport, check_output, save_one
from engine.errors import Code, InvalidInput
from engine.models import Task, TaskMatch, TaskSort
from engine.paths import folders_below

_ERRORS_LISTED = 20


class SaveOneParams(msgspec.Struct, frozen=True, kw_only=True):
    """One result, and how its file is called."""

    task_id: str
    result_id: str
    output_dir: str = ""
    filename_template: str = "{src_stem}"
    replace_from: str = ""
    replace_to: str = ""
    create_txt: bool = False
    txt_template: str = "{src_name}"
    only_first_if_multiple: bool = False


class SaveAllParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which results, and how their files are called. Without ``task_ids`` and ``match``: of all tasks."""

    output_dir: Annotated[str, Meta(extra={"kind": "folder"})] = ""
    filename_template: Annotated[str, Meta(extra={"kind": "code"})] = "{src_stem}"
    replace_from: Annotated[str, Meta(extra={"kind": "code"})] = ""
    replace_to: Annotated[str, Meta(extra={"kind": "code"})] = ""
    create_txt: bool = False
    txt_template: Annotated[str, Meta(extra={"kind": "codes"})] = "{src_name}"
    only_selected: bool = True
    only_first_if_multiple: bool = False
    task_ids: list[str] | None = None
    match: MatchParams | None = None


class SavedOne(msgspec.Struct, frozen=True):
    """Paths of the new files; ``saved_txt`` is empty where none was written."""

    saved_image: str
    saved_txt: str
    ok: Literal[True] = True


class SaveErrorView(msgspec.Struct, frozen=True):
    """A result that could not be saved."""

    result_id: str
    source_name: str
    code: str
    message: str


class SavedAll(msgspec.Struct, frozen=True):
    """How many files were written; at most 20 errors in words and in detail, ``error_count`` counts all."""

    saved_count: int
    txt_count: int
    error_count: int
    errors: list[str]
    error_details: list[SaveErrorView]
    output_dir: str
    ok: Literal[True] = True


class PlanParams(SaveRule, frozen=True, kw_only=True):
    """The save rule to remember, and the folder."""

    output_dir: str = ""


class PreviewParams(SaveRule, frozen=True, kw_only=True):
    """A rule to try on the first ``limit`` results (or sources, while there are none)."""

    limit: Annotated[int, Meta(ge=1, le=50)] = 3


class NamePreview(msgspec.Struct, frozen=True):
    """A source and the names that come out; ``txt`` is null without a caption file."""

    source: str
    image: str
    txt: str | None


class Previews(msgspec.Struct, frozen=True):
    """Examples of names."""

    names: list[NamePreview]


class NamedRule(msgspec.Struct, frozen=True):
    """A built-in rule."""

    id: str
    rule: SaveRule


class Rules(msgspec.Struct, frozen=True):
    """Built-in rules, and the variables that templates know."""

    rules: list[NamedRule]
    variables: list[str]
    txt_variables: list[str]


def save_result(context: Context, params: SaveOneParams) -> SavedOne:
    """Save one result."""
    app = context.app
    rule = _rule(params)
    check_rule(rule)
    task = app.store.task(params.task_id)
    result = app.store.result(task.id, params.result_id)
    if result.deleted:
        raise InvalidInput(Code.RESULT_DELETED, field="result_id")
    place = [one.id for one in task.results].index(result.id)
    folder = check_output(params.output_dir).absolute()
    root = app.workspace.source_root(rule)
    item = app.workspace.save_item(task, place, app.store.global_index(params.result_id), root)
    saved = save_one(item, rule, folder)
    app.store.note_saved([(params.result_id, saved.image)])
    app.changed()
    return SavedOne(saved.image, saved.txt or "")


def save_all(context: Context, params: SaveAllParams) -> SavedAll:
    """Save all results, or those that are ticked; a failure does not end the rest."""
    match = match_of(context.app, params.match, params.task_ids)
    report, folder = save_matching(context.app, match, _rule(params), params.output_dir)
    view = context.view

    def shown(error: SaveError) -> SaveErrorView:
        problem = view.problem(error.problem)
        return SaveErrorView(error.result_id, error.source_name, problem.code, problem.message)

    details = [shown(error) for error in report.errors[:_ERRORS_LISTED]]
    return SavedAll(
        saved_count=len(report.saved),
        txt_count=sum(saved.txt is not None for _, saved in report.saved),
        error_count=len(report.errors),
        errors=[f"{error.source_name}: {error.message}" for error in details],
        error_details=details,
        output_dir=str(folder),
    )


def save_matching(
    app: App, match: TaskMatch, rule: SaveRule, output_dir: str, *, unsaved_only: bool = False
) -> tuple[SaveReport, Path]:
    """Save the results of matching tasks; ``unsaved_only`` leaves out what lies in that folder already."""
    report, folder = app.workspace.save(output_dir, rule, match, unsaved_only=unsaved_only)
    app.changed()
    return report, folder


def list_save_rules(context: Context, _: Nothing) -> Rules:
    """The built-in rules and the variables that templates know."""
    rules = [NamedRule(name, rule) for name, rule in BUILT_IN_RULES.items()]
    return Rules(rules, list(VARIABLES), list(TXT_VARIABLES))


def preview_names(context: Context, params: PreviewParams) -> Previews:
    """The names that a rule makes of the first tasks."""
    rule = _rule(params)
    check_rule(rule)
    tasks = context.app.store.page(TaskMatch(), TaskSort.ORDER, False, 0, params.limit).tasks
    root = context.app.workspace.source_root(rule)
    examples = [(task.source_name, _extension_of(task), folders_below(task.source_path, root)) for task in tasks]
    examples = examples or [(name, "png", "") for name in context.app.inspected[: params.limit] or ["001_start.jpg"]]
    names: list[NamePreview] = []
    for number, (source, extension, folder) in enumerate(examples, 1):
        stem = image_stem(rule, name_context(source, "task", "result", 1, number, folder))
        names.append(NamePreview(source, f"{stem}.{extension}", f"{stem}.txt" if rule.create_txt else None))
    return Previews(names)


def save_rule(context: Context, params: PlanParams) -> Ok:
    """Remember a save rule."""
    rule = _rule(params)
    check_rule(rule)
    context.app.preferences.set_plan(SavePlan(rule, params.output_dir))
    context.app.settings_changed()
    return Ok()


def _rule(params: SaveOneParams | SaveAllParams | PlanParams | PreviewParams) -> SaveRule:
    given = {name: getattr(params, name) for name in SaveRule.__struct_fields__ if hasattr(params, name)}
    return SaveRule(**given)


def _extension_of(task: Task) -> str:
    return task.results[0].extension if task.results else "png"
