"""What ``run`` and ``trial`` do with a judge: set it up from a file, judge what has come, ask again for what is bad."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from bridge.app import App
from bridge.jobs import JobResult, JobState, JobStatus
from bridge.terminal.run_sets import Teller
from bridge.usecases.common import Context
from bridge.usecases.judge import JudgeWhat, entered_judge, judge_results, usable_judge
from bridge.usecases.rounds import RetryBelowParams, below, retry_below
from bridge.views import Viewer
from engine.errors import Code, InvalidInput
from engine.models import TaskMatch
from engine.vision.rubric import read_rubric
from engine.vision.settings import parse_judge

_LOOK_SECONDS = 0.25


class JudgeOrder(msgspec.Struct, frozen=True):
    """``fields``: the judge's settings, None for no judge; its ``rubric`` may be one itself. ``rounds``: how often what
    is below the pass score is asked again at most."""

    fields: dict[str, Any] | None = None
    pass_score: float | None = None
    rounds: int = 0
    with_reason: bool = False


def check_judge(order: JudgeOrder) -> None:
    """Refuse what can be refused before anything is paid for. Raises InvalidInput."""
    if order.fields is None:
        if order.rounds or order.pass_score is not None:
            raise InvalidInput(Code.FIELD_REQUIRED, field="judge", name="--judge")
        return
    own = order.fields.get("rubric")
    if isinstance(own, dict):
        read_rubric(own)
    fields = _fields(order)
    parse_judge({name: value for name, value in fields.items() if name != "rubric" or isinstance(value, str)})


def set_up_judge(app: App, order: JudgeOrder) -> None:
    """Make the order's judge that of this run, going along with it."""
    if order.fields is None:
        return
    fields = _fields(order)
    if isinstance(fields.get("rubric"), dict):
        rubric = read_rubric(fields["rubric"])
        app.vision.rubrics.put(rubric)
        fields["rubric"] = rubric.name
    config, _ = entered_judge(app, {**fields, "along": True})
    app.vision.settings.set_config(config)


def judge_rest(
    app: App,
    order: JudgeOrder,
    language: str,
    tell: Teller,
    *,
    stopped: Callable[[], bool],
    look: Callable[[], None],
    ids: Sequence[str] | None = None,
) -> bool:
    """Judge what was not judged along, then go through the rounds; whether all is at or above the pass score, where
    rounds were asked for, and could be judged. ``look`` is called while a job runs, and may stop what it sees paused;
    ``ids``: these tasks alone."""
    match, named = TaskMatch(ids=None if ids is None else tuple(ids)), None if ids is None else list(ids)
    if order.fields is None or stopped():
        return True
    context = Context(app, language)
    while not app.vision.wait_idle(_LOOK_SECONDS):
        if stopped():
            return True
    if app.vision.unjudged(match):
        judge_results(context, JudgeWhat(task_ids=named))
        if not _finished(app, language, tell, look):
            return False
    score = usable_judge(context).config.pass_score
    if order.rounds and not stopped() and below(app, score, ids):
        retry_below(context, RetryBelowParams(score, order.rounds, order.with_reason, task_ids=named))
        if not _finished(app, language, tell, look):
            return False
    return not (order.rounds and below(app, score, ids))


def _finished(app: App, language: str, tell: Teller, look: Callable[[], None]) -> bool:
    """Wait for the job; whether it did all that it was to do."""
    while not app.jobs.wait_idle(_LOOK_SECONDS):
        look()
    state: JobState | None = app.jobs.state
    assert state is not None
    view = Viewer(app.messages, language)
    tell.emit("job", job=view.job(state))
    result = state.result or JobResult()
    problem = view.maybe(state.problem or result.problem)
    tell.say("run.judged", done=result.pairs, failed=result.failed, bad=result.bad, calls=result.calls)
    if problem is not None:
        tell.say("run.set_failed", message=problem.message)
    return state.status is JobStatus.DONE and not (state.result and state.result.failed)


def _fields(order: JudgeOrder) -> dict[str, Any]:
    fields = dict(order.fields or {})
    if order.pass_score is not None:
        fields["pass_score"] = order.pass_score
    return fields
