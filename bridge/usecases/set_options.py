"""Results of tasks as pairs of a training set, and what a person wants of the set, read from parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from bridge.app import App
from bridge.usecases.common import MatchParams, match_of
from engine import secrets
from engine.dataset.captions import CaptionMode, CaptionRule
from engine.dataset.export import SetPlan, check_plan
from engine.dataset.findings import THRESHOLD_LIMITS, Thresholds
from engine.dataset.layouts import Trainer
from engine.dataset.pairs import ControlFile, Pair, Provenance, Rejected, TargetFile
from engine.dataset.split import SplitRule
from engine.dataset.transform import PictureFormat, PictureRule, SizeRule
from engine.dataset.variants import Reverse, VariantRule
from engine.errors import Code, InvalidInput
from engine.images.pixels import Alpha
from engine.models import Result, Task, TaskMatch
from engine.paths import common_folder, folders_below
from engine.tasks.plan import RequestRecord


class SetParams(msgspec.Struct, frozen=True, kw_only=True):
    """Which pairs, and what the set is to be. Without ``task_ids`` and ``match``: all tasks. ``thresholds``: those of
    preflight that are not to be the built-in ones. ``resolution``: edges of the squares that a training uses.
    ``folder_repeats``: by folder of the sources, below the one that they all lie in."""

    task_ids: list[str] | None = None
    match: MatchParams | None = None
    only_selected: bool = True
    first_only: bool = False
    trainer: Trainer = Trainer.AI_TOOLKIT
    name: str = "set"
    caption_mode: CaptionMode = CaptionMode.PROMPT
    caption_template: str = "{prompt}"
    trigger: str = ""
    picture_format: PictureFormat = PictureFormat.AS_IT_CAME
    quality: Annotated[int, Meta(ge=1, le=100)] = 95
    size_rule: SizeRule = SizeRule.TRAINER
    size_value: Annotated[int, Meta(extra={"minimum": 0, "maximum": 16384, "unit": "px"})] = 0
    resolution: Annotated[list[int], Meta(extra={"minimum": 64, "maximum": 4096, "kind": "numbers"})] = []
    step: Annotated[int, Meta(extra={"minimum": 0, "maximum": 256, "unit": "px"})] = 0
    crop_align: bool = False
    validation: Annotated[float, Meta(ge=0, le=0.9, extra={"kind": "share"})] = 0.0
    seed: int = 0
    as_zip: bool = False
    stem_template: Annotated[str, Meta(extra={"kind": "code"})] = "{global_index:04}"
    alpha: Alpha = Alpha.WHITE
    reverse: Reverse = Reverse.OFF
    reverse_caption_mode: CaptionMode = CaptionMode.TEMPLATE
    reverse_caption_template: str = "undo: {prompt}"
    reverse_trigger: str = ""
    no_op_share: Annotated[float, Meta(extra={"minimum": 0, "maximum": 0.5, "kind": "share"})] = 0.0
    num_repeats: Annotated[int, Meta(extra={"minimum": 1, "maximum": 1000})] = 1
    folder_repeats: Annotated[dict[str, int], Meta(extra={"minimum": 1, "maximum": 1000, "kind": "counts"})] = {}
    path_root: Annotated[str, Meta(extra={"kind": "code"})] = ""
    masks: bool = False
    thresholds: dict[str, float] = {}


def plan_of(params: SetParams) -> SetPlan:
    """The engine's plan. Raises InvalidInput naming the field."""
    plan = SetPlan(
        trainer=params.trainer,
        name=params.name,
        captions=CaptionRule(params.caption_mode, params.caption_template, params.trigger),
        pictures=PictureRule(
            format=params.picture_format,
            quality=params.quality,
            size=params.size_rule,
            size_value=params.size_value,
            resolutions=tuple(params.resolution),
            step=params.step,
            alpha=params.alpha,
            crop_align=params.crop_align,
        ),
        split=SplitRule(params.validation, params.seed),
        as_zip=params.as_zip,
        stem_template=params.stem_template,
        variants=VariantRule(
            reverse=params.reverse,
            captions=CaptionRule(
                params.reverse_caption_mode,
                params.reverse_caption_template,
                params.reverse_trigger,
            ),
            no_op_share=params.no_op_share,
        ),
        num_repeats=params.num_repeats,
        folder_repeats=params.folder_repeats,
        path_root=params.path_root,
        masks=params.masks,
    )
    check_plan(plan)
    return plan


def thresholds_of(given: dict[str, float]) -> Thresholds:
    """The engine's thresholds. Raises InvalidInput (FIELD_UNKNOWN, FIELD_RANGE)."""
    for name, value in given.items():
        if name not in THRESHOLD_LIMITS:
            raise InvalidInput(Code.FIELD_UNKNOWN, field="thresholds", name=name)
        low, high = THRESHOLD_LIMITS[name]
        if not low <= value <= high:
            raise InvalidInput(Code.FIELD_RANGE, field=name, name=name, minimum=low, maximum=high, value=value)
    return Thresholds(**given)


def pairs_of(app: App, params: SetParams) -> list[Pair]:
    """The pairs meant, in task order."""
    choose = _preferred if params.trainer is Trainer.PREFERENCE else _pairs
    return list(choose(app, params, app.store.tasks(match_of(app, params.match, params.task_ids))))


def _pairs(app: App, params: SetParams, tasks: Iterable[Task]) -> Iterator[Pair]:
    root = common_folder(app.store.source_folders()) if params.folder_repeats else ""
    for task in tasks:
        folder = folders_below(task.source_path, root)
        for place, result in enumerate(task.results, 1):
            if result.deleted or (params.only_selected and not result.selected):
                continue
            yield msgspec.structs.replace(pair_of(app, task, result, place), folder=folder)
            if params.first_only:
                break


def _preferred(app: App, params: SetParams, tasks: Iterable[Task]) -> Iterator[Pair]:
    yield from _preferences(app, tasks)
    yield from _voted(app, params)


def _preferences(app: App, tasks: Iterable[Task]) -> Iterator[Pair]:
    """Of each task its best result beside each worse one: dropped, not ticked, or scored lower; those of a task that
    has but one, or none that is kept, are no preference."""
    for task in tasks:
        pair = _best_of(app, task)
        if pair is None:
            continue
        for other, worse in enumerate(task.results, 1):
            scores = pair.score, _score(worse)
            lower = scores[0] is not None and scores[1] is not None and scores[1] < scores[0]
            if worse.hash == pair.target.hash or not (worse.deleted or not worse.selected or lower):
                continue
            target = _target(app, worse)
            if Path(target.path).exists():  # pictures that were dropped are swept some day
                yield msgspec.structs.replace(pair, id=f"{pair.id}-{other}", rejected=Rejected(target, scores[1]))


def _voted(app: App, params: SetParams) -> Iterator[Pair]:
    """Of each row of a trial on which a person has voted: what the best column made beside what the others made of the
    same source and prompt. Of chosen tasks only where the best one's is among them."""
    if params.match is not None:
        return
    for trial in app.vision.trials.all():
        for row in trial.rows:
            if row.vote is None or not 0 <= row.vote < len(row.cells):
                continue
            best, *others = (row.cells[row.vote], *(cell for cell in row.cells if cell != row.cells[row.vote]))
            if params.task_ids is not None and best not in params.task_ids:
                continue
            made = {task.id: _best_of(app, task) for task in app.store.tasks(TaskMatch(ids=(best, *others)))}
            chosen = made.get(best)
            for place, other in enumerate(others, 1):
                worse = made.get(other)
                if chosen is None or worse is None or worse.target.hash == chosen.target.hash:
                    continue
                if _asked(worse) == _asked(chosen) and Path(worse.target.path).exists():
                    rejected = Rejected(worse.target, worse.score)
                    yield msgspec.structs.replace(chosen, id=f"{chosen.id}-v{place}", rejected=rejected)


def _best_of(app: App, task: Task) -> Pair | None:
    """The result of a task that is scored highest, the first of those alike."""
    kept = [(place, one) for place, one in enumerate(task.results, 1) if one.selected and not one.deleted]
    if not kept:
        return None
    place, result = max(kept, key=lambda entry: (_score(entry[1]) or 0.0, -entry[0]))
    return pair_of(app, task, result, place)


def _asked(pair: Pair) -> tuple[str, str]:
    return pair.provenance.prompt, pair.provenance.system_prompt


def _score(result: Result) -> float | None:
    return result.judgement.score if result.judgement else None


def _target(app: App, result: Result) -> TargetFile:
    path = app.cache.path(result.hash, result.extension)
    return TargetFile(str(path), result.hash, result.extension, result.width, result.height)


def pair_of(app: App, task: Task, result: Result, place: int) -> Pair:
    """One result with its sources and where it comes from; ``place`` is its 1-based one among the task's results."""
    paths = (task.source_path, *task.references)
    hashes = result.source_hash.split()
    known = hashes if len(hashes) == len(paths) else [""] * len(paths)
    return Pair(
        id=result.id,
        task_id=task.id,
        name=task.source_name,
        controls=tuple(ControlFile(path, sent) for path, sent in zip(paths, known, strict=True)),
        target=_target(app, result),
        provenance=_provenance(task, result),
        index=place,
        written=result.caption or "",
        score=_score(result),
        judge=result.judgement.model if result.judgement else "",
    )


def _provenance(task: Task, result: Result) -> Provenance:
    try:
        request_record = msgspec.json.decode(result.request_record, type=RequestRecord)
    except msgspec.DecodeError:  # a result of an older version: what was asked is not known
        return Provenance(
            prompt=task.user_prompt or "",
            system_prompt=task.system_prompt or "",
            at=result.created_at,
            attempts=task.attempts,
        )
    return Provenance(
        prompt=request_record.user_prompt,
        system_prompt=request_record.system_prompt,
        model=request_record.model_name,
        api_url=str(secrets.without(request_record.api_url)),
        parameters={
            "api_mode": request_record.api_mode,
            "temperature": request_record.temperature,
            "result_count": request_record.result_count,
            "variant": request_record.variant,
            **secrets.without(request_record.extra_body),
        },
        at=result.created_at,
        attempts=task.attempts,
    )
