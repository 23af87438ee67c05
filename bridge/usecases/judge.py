"""The judge: its settings and rubrics, judging by hand, calibration; captions and prompts written by a model."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from bridge.app import App
from bridge.jobs import Job, JobKind, JobResult, Work
from bridge.usecases.common import Context, MatchParams, Nothing, Ok, ResultId, match_of
from bridge.views import JobView, ProblemView
from engine.errors import Code, InvalidInput, NotFound, Problem
from engine.files import write_bytes
from engine.images.discover import read_source
from engine.models import Marks, SourceImage, Task, TaskMatch
from engine.upstream.cancel import CancelToken
from engine.upstream.usable import check_allowed, check_usable
from engine.vision.ask import VisionClient
from engine.vision.calibration import Judged, JudgeReport
from engine.vision.calibration import judge_report as report_of
from engine.vision.describe import CaptionLength, best_of, prompt_table, write_caption, write_prompt
from engine.vision.judge import Asker, JudgedPair
from engine.vision.judging import Judge, run_each
from engine.vision.rubric import Rubric, read_rubric
from engine.vision.settings import JudgeConfig, parse_judge, with_own_key

_LONGEST_CAPTION = 4000
_LONGEST_LANGUAGE = 40


class JudgeParams(msgspec.Struct, frozen=True):
    """The judge's settings as a form holds them."""

    config: dict[str, Any]


class JudgeAnswer(msgspec.Struct, frozen=True):
    """The judge's settings, secrets masked."""

    config: JudgeConfig


class JudgeSaved(msgspec.Struct, frozen=True):
    """They are stored; unknown fields are named."""

    config: JudgeConfig
    warnings: list[ProblemView]
    ok: Literal[True] = True


class Rubrics(msgspec.Struct, frozen=True):
    """All rubrics, the built-in ones first."""

    rubrics: list[Rubric]


class RubricParams(msgspec.Struct, frozen=True):
    """A rubric, field by field or as one object."""

    name: str = ""
    criteria: list[dict[str, Any]] = []
    combination: str = "weighted"
    instructions: Any = ""
    rubric: dict[str, Any] | None = None


class RubricSaved(msgspec.Struct, frozen=True):
    """It is stored under this name."""

    name: str
    ok: Literal[True] = True


class RubricName(msgspec.Struct, frozen=True):
    """One rubric."""

    name: str


class JudgeWhat(msgspec.Struct, frozen=True):
    """Tasks by id or by filter, all without either. ``again``: also what is judged or known already. ``dry_run``: only
    say how many calls it takes."""

    task_ids: list[str] | None = None
    match: MatchParams | None = None
    again: bool = False
    dry_run: bool = False


class JudgeStarted(msgspec.Struct, frozen=True):
    """The job, begun (null for a dry run): ``calls`` questions are asked, ``reused`` answers are there already."""

    job: JobView | None
    calls: int
    reused: int
    ok: Literal[True] = True


class CaptionParams(msgspec.Struct, frozen=True):
    """Which captions to write. ``language``: any language's name or tag."""

    task_ids: list[str] | None = None
    match: MatchParams | None = None
    length: CaptionLength = CaptionLength.SHORT
    language: str = "en"


class PromptParams(msgspec.Struct, frozen=True):
    """Pictures of a path, and what is intended with all of them."""

    input_path: str
    intention: str


class CaptionText(ResultId, frozen=True):
    """A caption as a person wants it; "" for none."""

    text: str = ""


class VisionJob(msgspec.Struct, frozen=True):
    """The job, begun."""

    job: JobView
    ok: Literal[True] = True


class UntickParams(msgspec.Struct, frozen=True):
    """Untick what was judged below ``score``, among these tasks. ``dry_run``: only say how many results that are."""

    score: float
    task_ids: list[str] | None = None
    match: MatchParams | None = None
    dry_run: bool = False


class UntickAnswer(msgspec.Struct, frozen=True):
    """How many results were unticked; ``undo``: what `mark_results` takes to have it as it was."""

    affected: int
    undo: list[Marks]
    ok: Literal[True] = True


def get_judge(context: Context, _: Nothing) -> JudgeAnswer:
    """The judge's settings."""
    return JudgeAnswer(context.app.vision.settings.config.masked())


def save_judge(context: Context, params: JudgeParams) -> JudgeSaved:
    """Store the judge's settings; what is left out stays, and a key goes only to the origin it was entered for."""
    app = context.app
    config, problems = entered_judge(app, params.config)
    app.vision.settings.set_config(config)
    app.settings_changed()
    return JudgeSaved(config.masked(), [context.view.problem(problem) for problem in problems])


def entered_judge(app: App, data: dict[str, Any]) -> tuple[JudgeConfig, list[Problem]]:
    """A judge as entered, with the stored key where that belongs to its origin. InvalidInput naming the field."""
    stored = app.vision.settings.config
    base = {name: value for name, value in msgspec.to_builtins(stored).items() if name != "api_key"}
    config, problems = parse_judge({**base, **{name: value for name, value in data.items() if value is not None}})
    try:
        app.vision.rubrics.get(config.rubric)
    except NotFound as error:
        raise InvalidInput(error.code, field="rubric", name=config.rubric) from error
    config = with_own_key(config, stored, [app.preferences.config, *app.presets.all().values()])
    check_usable(config.connection)
    return config, problems


def list_rubrics(context: Context, _: Nothing) -> Rubrics:
    """What a judge can go by."""
    return Rubrics(context.app.vision.rubrics.all())


def save_rubric(context: Context, params: RubricParams) -> RubricSaved:
    """Keep an own rubric; the same name overwrites."""
    fields = params.rubric or {
        "name": params.name,
        "criteria": params.criteria,
        "combination": params.combination,
        "instructions": params.instructions,
    }
    rubric = read_rubric(fields)
    context.app.vision.rubrics.put(rubric)
    context.app.settings_changed()
    return RubricSaved(rubric.name)


def delete_rubric(context: Context, params: RubricName) -> Ok:
    """Forget an own rubric; a judge that goes by it goes by the first one then."""
    app = context.app
    app.vision.rubrics.remove(params.name)
    settings = app.vision.settings
    if settings.config.rubric == params.name:
        settings.set_config(msgspec.structs.replace(settings.config, rubric=JudgeConfig().rubric))
    app.settings_changed()
    return Ok()


def judge_results(context: Context, params: JudgeWhat) -> JudgeStarted:
    """Ask the judge about results; a job. What was asked before is taken from the ledger."""
    app = context.app
    judge = usable_judge(context)
    pairs = app.vision.pairs(_tasks(context, params.task_ids, params.match))
    calls, reused = app.vision.judging.plan(pairs, judge, again=params.again)
    if params.dry_run:
        return JudgeStarted(None, calls, reused)

    def work(job: Job) -> JobResult:
        return judge_all(app, pairs, judge, job, again=params.again)

    return JudgeStarted(start_job(context, JobKind.JUDGE, work), calls, reused)


def judge_all(app: App, pairs: Sequence[JudgedPair], judge: Judge, job: Job, *, again: bool = False) -> JobResult:
    """Judge pairs as the work of a job."""
    job.expect(len(pairs))
    tally = app.vision.judging.judge(pairs, judge, again=again, check=job.check, progress=job.progress)
    return JobResult(pairs=tally.done, calls=tally.calls, reused=tally.reused, failed=tally.failed,
                     problem=tally.problem)  # fmt: skip


def judge_report(context: Context, _: Nothing) -> JudgeReport:
    """How the scores lie, and how far the judge agrees with what the person decided."""
    return calibrate(context.app, context.app.store.tasks(TaskMatch()))


def calibrate(app: App, tasks: Iterable[Task]) -> JudgeReport:
    """The same over these tasks."""
    judged = [
        Judged(
            result.judgement.score,
            (result.selected and not result.deleted) if task.decided else None,
            result.judgement.disagreement,
        )
        for task in tasks
        for result in task.results
        if result.judgement is not None
    ]
    return report_of(judged, app.vision.settings.config.pass_score)


def untick_below(context: Context, params: UntickParams) -> UntickAnswer:
    """Untick every result that was judged below a score, in one step that can be taken back."""
    marks: list[Marks] = []
    undo: list[Marks] = []
    for task in _tasks(context, params.task_ids, params.match):
        low = [r.id for r in task.results if r.selected and r.judgement and r.judgement.score < params.score]
        if low:
            marks.append(Marks(task.id, dict.fromkeys(low, False), decided=task.decided))  # the person said nothing
            undo.append(Marks(task.id, dict.fromkeys(low, True), decided=task.decided))
    affected = sum(len(one.ticked) for one in marks)
    return UntickAnswer(affected if params.dry_run else context.app.store.put_marks(marks), undo)


def write_captions(context: Context, params: CaptionParams) -> VisionJob:
    """Let a vision model write what really changed in each pair; a job. Captions that a person has seen stay."""
    app = context.app
    language = _text("language", params.language, _LONGEST_LANGUAGE)
    judge = usable_judge(context)
    tasks = _tasks(context, params.task_ids, params.match)
    pairs = app.vision.pairs(tasks, lambda result: result.selected and not (result.caption and result.caption_seen))

    def work(job: Job) -> JobResult:
        counts = _Counts()

        def one(pair: JudgedPair, asker: Asker) -> None:
            text, reused = write_caption(pair, params.length, language, asker)
            counts.note(reused=reused)
            app.store.set_caption(pair.task_id, pair.result_id, text, seen=False)

        return _ask_each(app, judge, pairs, one, job, counts)

    return VisionJob(start_job(context, JobKind.CAPTIONS, work))


def write_prompts(context: Context, params: PromptParams) -> VisionJob:
    """Let a vision model write a prompt for each picture from one intention; a job that ends with a prompt table."""
    app = context.app
    intention = _text("intention", params.intention, _LONGEST_CAPTION)
    judge = usable_judge(context)
    found = app.workspace.planner.find(params.input_path)
    root = Path(found.root) if Path(found.root).is_dir() else Path(found.root).parent

    def work(job: Job) -> JobResult:
        counts = _Counts()
        written: dict[str, str] = {}

        def one(picture: SourceImage, asker: Asker) -> None:
            read_source(picture.path, app.environment.limits.max_source_bytes)  # whole, or nothing is asked
            text, reused = write_prompt(picture.path, app.ledger.source_hash(picture), intention, asker)
            counts.note(reused=reused)
            written[picture.path] = text

        result = _ask_each(app, judge, found.pictures, one, job, counts)
        rows = [(_relative(p.path, root), written[p.path]) for p in found.pictures if p.path in written]
        place = app.workspace.folder / "prompt-tables" / f"{time.strftime('%Y%m%d-%H%M%S')}.csv"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(place, prompt_table(rows))
        return msgspec.structs.replace(result, path=str(place))

    return VisionJob(start_job(context, JobKind.PROMPTS, work))


def set_caption(context: Context, params: CaptionText) -> Ok:
    """Keep a caption that a person wrote, or has read and found good."""
    if len(params.text) > _LONGEST_CAPTION:
        raise InvalidInput(Code.FIELD_RANGE, field="text", name="text", minimum=0, maximum=_LONGEST_CAPTION,
                           value=len(params.text))  # fmt: skip
    context.app.store.set_caption(params.task_id, params.result_id, params.text.strip() or None)
    return Ok()


def compare_results(context: Context, params: JudgeWhat) -> VisionJob:
    """Let the judge compare the results of each task two by two, order swapped; the best stays ticked, a tie is the
    person's. A job."""
    app = context.app
    judge = usable_judge(context)
    tasks = [task for task in _tasks(context, params.task_ids, params.match)
             if sum(not result.deleted for result in task.results) > 1]  # fmt: skip

    def work(job: Job) -> JobResult:
        counts = _Counts()

        def one(task: Task, asker: Asker) -> None:
            best = best_of(app.vision.pairs([task]), asker)
            if best is not None:
                ticks = {r.id: r.id == best.result_id for r in task.results if not r.deleted}
                app.store.put_marks([Marks(task.id, ticks, decided=task.decided)])

        return _ask_each(app, judge, tasks, one, job, counts)

    return VisionJob(start_job(context, JobKind.COMPARE, work))


class _Counts:
    """Answers that were there already; for many threads."""

    def __init__(self) -> None:
        self.reused = 0
        self._lock = threading.Lock()

    def note(self, *, reused: bool) -> None:
        with self._lock:
            self.reused += reused


def _ask_each(app: App, judge: Judge, items: Sequence[Any], one: Any, job: Job, counts: _Counts) -> JobResult:
    client = VisionClient(app.transport, judge.config.connection, costs=app.costs, send=app.send_question)
    job.expect(len(items))

    def ask(item: Any, cancel: CancelToken) -> None:
        one(item, Asker(judge.config, client, app.ledger, cancel))

    failed = run_each(items, ask, workers=judge.config.concurrency_limit, check=job.check, progress=job.progress)
    problem = failed[0][1] if failed else None
    return JobResult(
        pairs=len(items) - len(failed), calls=client.calls, reused=counts.reused, failed=len(failed), problem=problem
    )


def usable_judge(context: Context) -> Judge:
    """The judge, which may be asked; InvalidInput."""
    judge = context.app.vision.judge(context.language)
    check_allowed(judge.config.connection, context.app.environment.network)
    return judge


def start_job(context: Context, kind: JobKind, work: Work) -> JobView:
    """Begin a job; Busy while another runs."""
    view = context.view.job(context.app.jobs.start(kind, work))
    assert view is not None
    return view


def _tasks(context: Context, ids: list[str] | None, match: MatchParams | None) -> Iterable[Task]:
    if ids is not None and match is not None:
        raise InvalidInput(Code.FIELD_REQUIRED, field="task_ids", name="task_ids / match")
    return list(context.app.store.tasks(match_of(context.app, match, ids, context.language)))


def _text(name: str, text: str, longest: int) -> str:
    text = text.strip()
    if not text:
        raise InvalidInput(Code.FIELD_REQUIRED, field=name, name=name)
    if len(text) > longest:
        raise InvalidInput(Code.FIELD_RANGE, field=name, name=name, minimum=1, maximum=longest, value=len(text))
    return text


def _relative(path: str, root: Path) -> str:
    place = Path(path)
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else place.name
