"""Rounds: ask again for what was judged too low, until it is good; and what made the alarm sound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from bridge.app import App
from bridge.jobs import Job, JobKind, JobResult
from bridge.usecases.common import Context, Nothing
from bridge.usecases.judge import judge_all, start_job, usable_judge
from bridge.usecases.run import ask_again
from bridge.views import JobView
from engine.errors import Busy, Code, InvalidInput
from engine.models import Marks, Task, TaskMatch
from engine.vision.judging import Judge
from engine.vision.rounds import MOST_ROUNDS, is_below, prompt_with_reason, ticks

_LOOK_SECONDS = 0.1


class RetryBelowParams(msgspec.Struct, frozen=True):
    """Which tasks are asked again, and how often at most. ``with_reason``: with what the judge found wrong.
    ``dry_run``: only say how many tasks that are. ``task_ids``: these alone, where they are named."""

    score: float
    rounds: int = 1
    with_reason: bool = False
    dry_run: bool = False
    task_ids: list[str] | None = None


class RetryBelowAnswer(msgspec.Struct, frozen=True):
    """How many tasks the first round asks again; the job goes through all rounds."""

    retried_count: int
    job: JobView | None
    ok: Literal[True] = True


class SuspectView(msgspec.Struct, frozen=True):
    """A result that looks wrong, and how: same, blank, unchanged, unrelated, low_score."""

    task_id: str
    result_id: str
    suspicion: str
    source_name: str
    source_thumbnail_url: str
    thumbnail_url: str


class Suspects(msgspec.Struct, frozen=True):
    """What made the run pause; empty when nothing did."""

    suspects: list[SuspectView]


def retry_below(context: Context, params: RetryBelowParams) -> RetryBelowAnswer:
    """Ask again for every task whose best result was judged below a score, judge what comes, and so on; the best
    result of each stays ticked, the others are kept unticked. A job."""
    app = context.app
    if not 0 <= params.score <= 10:
        raise InvalidInput(Code.FIELD_RANGE, field="score", name="score", minimum=0, maximum=10, value=params.score)
    if not 1 <= params.rounds <= MOST_ROUNDS:
        raise InvalidInput(Code.FIELD_RANGE, field="rounds", name="rounds", minimum=1, maximum=MOST_ROUNDS,
                           value=params.rounds)  # fmt: skip
    judge = usable_judge(context)
    if params.dry_run:
        return RetryBelowAnswer(len(below(app, params.score, params.task_ids)), None)
    if app.batch.running:
        raise Busy(Code.BATCH_RUNNING)
    ids = below(app, params.score, params.task_ids)
    if not ids:
        return RetryBelowAnswer(0, None)
    job = start_job(context, JobKind.ROUNDS, lambda job: go_rounds(app, params, judge, job))
    return RetryBelowAnswer(len(ids), job)


def below(app: App, score: float, among: Sequence[str] | None = None) -> list[str]:
    """Ids of the tasks that are asked again."""
    match = TaskMatch(score_max=score) if among is None else TaskMatch(ids=tuple(among))
    return [task.id for task in app.store.tasks(match) if is_below(task, score)]


def go_rounds(app: App, params: RetryBelowParams, judge: Judge, job: Job) -> JobResult:
    """The rounds, as the work of a job, with one budget for all of them. Raises Stopped."""
    with app.costs.as_one_run():
        return _go_rounds(app, params, judge, job)


def _go_rounds(app: App, params: RetryBelowParams, judge: Judge, job: Job) -> JobResult:
    calls = reused = 0
    ids: list[str] = below(app, params.score, params.task_ids)
    first = ids
    for _ in range(params.rounds):
        if not ids:
            break
        if params.with_reason:
            _take_reasons(app, ids, judge.language)
        ask_again(app, ids)
        _wait(app, job)
        tasks = list(app.store.tasks(TaskMatch(ids=tuple(ids))))
        pairs = app.vision.pairs(tasks, lambda result: result.judgement is None)
        result = judge_all(app, pairs, judge, job)
        calls, reused = calls + result.calls, reused + result.reused
        left = list(app.store.tasks(TaskMatch(ids=tuple(ids))))
        _tick_best(app, left)
        ids = [task.id for task in left if is_below(task, params.score)]
    return JobResult(pairs=len(first) - len(ids), bad=len(ids), calls=calls, reused=reused)


def list_suspects(context: Context, _: Nothing) -> Suspects:
    """The results for whose sake the run pauses, with their pictures."""
    app = context.app
    suspects = app.vision.alarm.suspects
    tasks = {task.id: task for task in app.store.tasks(TaskMatch(ids=tuple(one.task_id for one in suspects)))}
    shown = []
    for suspect in suspects:
        task = tasks.get(suspect.task_id)
        for result in task.results if task is not None else ():
            if task is not None and result.hash == suspect.result_hash:
                base = f"/api/tasks/{task.id}"
                shown.append(
                    SuspectView(task.id, result.id, suspect.suspicion, task.source_name, f"{base}/source/thumbnail",
                                f"{base}/results/{result.id}/thumbnail")
                )  # fmt: skip
    return Suspects(shown)


def _wait(app: App, job: Job) -> None:
    """Until the run has ended; Stopped ends the run as well. A pause, for the budget or the alarm, is waited out."""
    try:
        while not app.batch.wait_idle(_LOOK_SECONDS):
            job.check()
        while not app.vision.wait_idle(_LOOK_SECONDS):
            job.check()
    except BaseException:
        app.batch.stop()
        raise
    if app.batch.info().stop_requested:
        job.stop()
    job.check()


def _take_reasons(app: App, ids: list[str], language: str) -> None:
    for task in app.store.tasks(TaskMatch(ids=tuple(ids))):
        prompt = app.preferences.config.user_prompt if task.user_prompt is None else task.user_prompt
        app.store.set_prompt([task.id], prompt_with_reason(prompt, task, language))


def _tick_best(app: App, tasks: list[Task]) -> None:
    marks = [Marks(task.id, changed) for task in tasks if (changed := ticks(task))]
    if marks:
        app.store.put_marks(marks)
