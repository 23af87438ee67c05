"""What the doors answer: Structs with the field names of the contract, made from the engine's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from bridge.jobs import JobResult, JobState
from bridge.messages import Messages
from engine.cluster.address import ClusterInfo
from engine.config import ApiConfig
from engine.dataset.naming import SaveRule
from engine.errors import Param, Problem
from engine.models import Judgement, Result, Task, TaskStatus
from engine.tasks.gate import DoorInfo
from engine.tasks.lookups import Counts
from engine.tasks.meter import Live, RunInfo


class ProblemView(msgspec.Struct, frozen=True):
    """A failure with its words."""

    code: str
    message: str
    params: dict[str, Param] = {}
    field: str | None = None


class PauseView(ProblemView, frozen=True, kw_only=True):
    """Why nothing is asked at the moment; ``until`` in Unix seconds, null when that is not known."""

    until: float | None = None


class ErrorBody(ProblemView, frozen=True, kw_only=True):
    """A refusal over HTTP: the failure's fields, and the same again for clients of old (``detail``) and new."""

    detail: str
    error: ProblemView
    ok: Literal[False] = False


class LiveView(msgspec.Struct, frozen=True):
    """Progress of a task in flight."""

    stage: str
    percent: int | None
    preview_url: str | None = None


class ResultView(msgspec.Struct, frozen=True):
    """One result picture. ``findings``: kinds of what the last preflight found.

    ``prompt``, ``model``: what made it, empty where an older version did not note it; ``created_at`` in Unix seconds.
    ``caption_seen``: a person has read or written the caption; one that a model wrote waits for that.
    """

    id: str
    selected: bool
    deleted: bool
    width: int
    height: int
    source_type: str
    hash: str
    image_url: str
    thumbnail_url: str
    size: int
    mime: str
    saved: str | None
    findings: Sequence[str] = ()
    prompt: str = ""
    model: str = ""
    created_at: int = 0
    judgement: Judgement | None = None
    caption: str | None = None
    caption_seen: bool = False


class TaskView(msgspec.Struct, frozen=True):
    """One task. ``own_prompt``: what it asks with, where that is not the prompt of the configuration."""

    id: str
    seq: int
    revision: int
    source_path: str
    source_name: str
    status: TaskStatus
    attempts: int
    http_status: int | None
    last_error: str
    last_warning: str
    error: ProblemView | None
    warning: ProblemView | None
    has_debug_log: bool
    updated_at: int
    source_image_url: str
    source_thumbnail_url: str
    result_count: int
    selected_count: int
    decided: bool
    results: list[ResultView]
    live: LiveView | None = None
    own_prompt: str | None = None


class ProgressView(msgspec.Struct, frozen=True):
    """Counts of states; ``percent`` 0..100 with two decimals. ``at_provider``: of those in processing, whose answer is
    waited for there."""

    total: int
    pending: int
    processing: int
    done: int
    partial_success: int
    failed: int
    stopped: int
    finished: int
    percent: float
    at_provider: int = 0


class RunView(msgspec.Struct, frozen=True):
    """The run as a whole. ``cost`` so far and ``budget`` in USD; ``wasted``: calls paid for that brought no picture;
    ``suspects``: results that look wrong, for which it pauses, or with which it ended."""

    in_flight: int
    limit: int
    concurrency_limit: int
    calls: int
    refused_calls: int
    started_at: int | None
    rate_per_minute: float
    seconds_left: int | None
    finished_in_run: int
    total_in_run: int
    paused: PauseView | None
    cost: float = 0.0
    budget: float = 0.0
    wasted: int = 0
    doors: list[DoorInfo] = []
    suspects: int = 0


class JobView(msgspec.Struct, frozen=True):
    """A job: ``kind`` preflight, export or report; ``status`` running, done, failed or stopped; ``error`` says why.
    ``rate_per_minute``: steps since these began, 0 while nobody can tell; ``found``: findings to be listed so far."""

    id: int
    kind: str
    status: str
    started_at: int
    done: int
    total: int
    rate_per_minute: float
    seconds_left: int | None
    found: int
    error: ProblemView | None
    result: JobResult | None


class StatusView(msgspec.Struct, frozen=True, kw_only=True):
    """What is true of the program as a whole, without tasks. ``settings_revision`` grows with configuration, presets,
    save rule and notices."""

    running: bool
    stop_requested: bool
    single_retry_running: int
    single_retry_count: int
    task_count: int
    progress: ProgressView
    run: RunView
    job: JobView | None
    settings_revision: int
    cluster: ClusterInfo | None = None


class SavePlanView(SaveRule, frozen=True):
    """The save rule in use, and the folder."""

    output_dir: str = ""


class StateView(StatusView, frozen=True, kw_only=True):
    """Answer of get_state. ``project``: the id of the current one, of which all of it is."""

    project: str
    tasks: list[TaskView]
    removed: list[str]
    reset: bool
    revision: int
    current_config: ApiConfig
    presets: dict[str, ApiConfig]
    save_rule: SavePlanView
    version: str
    demo: bool
    sample_path: str | None
    language: str
    notices: list[ProblemView]


class ChangeView(StatusView, frozen=True, kw_only=True):
    """Data of an event: what changed. ``looked_at``: files seen so far while a folder is looked through.
    ``project``: the id of the current one; where it is another than before, nothing that is known holds any more."""

    revision: int
    project: str
    version: str
    tasks: list[TaskView]
    removed: list[str]
    reset: bool
    truncated: bool
    live: dict[str, LiveView]
    looked_at: int | None


class Viewer:
    """Turns engine data into answers in one language."""

    def __init__(
        self, messages: Messages, language: str, found: Mapping[str, Sequence[str]] = MappingProxyType({})
    ) -> None:
        """``found``: kinds of findings by result id."""
        self._messages = messages
        self._language = language
        self._found = found

    def problem(self, problem: Problem) -> ProblemView:
        """A failure with its words."""
        text = self._messages.problem(self._language, problem)
        return ProblemView(problem.code, text, problem.params, problem.field)

    def maybe(self, problem: Problem | None) -> ProblemView | None:
        """The same for none."""
        return None if problem is None else self.problem(problem)

    def task(self, task: Task, live: Live | None = None) -> TaskView:
        """One task with its results."""
        error, warning = self.maybe(task.error), self.maybe(task.warning)
        base = f"/api/tasks/{task.id}"
        return TaskView(
            id=task.id,
            seq=task.seq,
            revision=task.revision,
            source_path=task.source_path,
            source_name=task.source_name,
            status=task.status,
            attempts=task.attempts,
            http_status=task.http_status,
            last_error=error.message if error else "",
            last_warning=warning.message if warning else "",
            error=error,
            warning=warning,
            has_debug_log=task.has_debug_log or live is not None,
            updated_at=task.updated_at,
            source_image_url=f"{base}/source",
            source_thumbnail_url=f"{base}/source/thumbnail",
            result_count=task.result_count,
            selected_count=task.selected_count,
            decided=task.decided,
            results=[result_view(result, self._found.get(result.id, ())) for result in task.results],
            live=live_view(task.id, live) if live else None,
            own_prompt=task.user_prompt,
        )

    def run(self, info: RunInfo, suspects: int = 0) -> RunView:
        """The run as a whole."""
        return RunView(
            in_flight=info.in_flight,
            limit=info.limit,
            concurrency_limit=info.concurrency_limit,
            calls=info.calls,
            refused_calls=info.refused_calls,
            started_at=info.started_at,
            rate_per_minute=info.rate_per_minute,
            seconds_left=info.seconds_left,
            finished_in_run=info.finished_in_run,
            total_in_run=info.total_in_run,
            paused=self._pause(info),
            cost=info.cost,
            budget=info.budget,
            wasted=info.wasted,
            doors=info.doors,
            suspects=suspects,
        )

    def _pause(self, info: RunInfo) -> PauseView | None:
        if info.paused is None:
            return None
        words = self.problem(info.paused)
        return PauseView(words.code, words.message, words.params, until=info.paused_until)

    def job(self, state: JobState | None) -> JobView | None:
        """A job; none before the first."""
        if state is None:
            return None
        return JobView(
            state.id, state.kind, state.status, state.started_at, state.done, state.total, state.rate_per_minute,
            state.seconds_left, state.found, self.maybe(state.problem), state.result,
        )  # fmt: skip

    def status(self, info: RunInfo, counts: Counts, job: JobState | None, suspects: int = 0) -> dict[str, Any]:
        """The fields of StatusView, to be completed by the answer that carries them."""
        return {
            "running": info.running,
            "stop_requested": info.stop_requested,
            "single_retry_running": info.single_retries,
            "single_retry_count": info.single_retries,
            "task_count": sum(counts.values()),
            "progress": progress_view(counts, info.at_provider),
            "run": self.run(info, suspects),
            "job": self.job(job),
        }


def result_view(result: Result, findings: Sequence[str] = ()) -> ResultView:
    """One result; its picture lies behind ``image_url``."""
    url = f"/api/tasks/{result.task_id}/results/{result.id}"
    made = _made_by(result)
    return ResultView(
        id=result.id,
        selected=result.selected,
        deleted=result.deleted,
        width=result.width,
        height=result.height,
        source_type=result.source_type,
        hash=result.hash,
        image_url=f"{url}/image",
        thumbnail_url=f"{url}/thumbnail",
        size=result.size,
        mime=result.mime,
        saved=result.saved,
        findings=findings,
        prompt=made.user_prompt,
        model=made.model_name,
        created_at=result.created_at,
        judgement=result.judgement,
        caption=result.caption,
        caption_seen=result.caption_seen,
    )


class _MadeBy(msgspec.Struct, frozen=True):
    user_prompt: str = ""
    model_name: str = ""


def _made_by(result: Result) -> _MadeBy:
    if not result.request_record:
        return _MadeBy()
    try:
        return msgspec.json.decode(result.request_record, type=_MadeBy)
    except msgspec.DecodeError:  # of an older version
        return _MadeBy()


def live_view(task_id: str, live: Live) -> LiveView:
    """Progress; a preview picture is loaded by its own URL, which changes with it."""
    return LiveView(live.stage, live.percent, preview_url(task_id, live.preview))


def preview_url(task_id: str, preview: str | None) -> str | None:
    """Where the latest preview of a task in flight is shown; None while there is none."""
    return f"/api/tasks/{task_id}/preview?n={len(preview)}" if preview else None


def progress_view(counts: Counts, at_provider: int = 0) -> ProgressView:
    """Counts with their sums. What was collected just now may still be counted as at its provider."""
    total = sum(counts.values())
    finished = total - counts[TaskStatus.PENDING] - counts[TaskStatus.PROCESSING]
    return ProgressView(
        total=total,
        pending=counts[TaskStatus.PENDING],
        processing=counts[TaskStatus.PROCESSING],
        done=counts[TaskStatus.DONE],
        partial_success=counts[TaskStatus.PARTIAL_SUCCESS],
        failed=counts[TaskStatus.FAILED],
        stopped=counts[TaskStatus.STOPPED],
        finished=finished,
        percent=round(finished / total * 100, 2) if total else 0.0,
        at_provider=min(at_provider, counts[TaskStatus.PROCESSING]),
    )
