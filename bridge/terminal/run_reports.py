"""What a `run` says while it goes: lines and a bar for people, or one JSON object a line for programs.

Both kinds are told the same by `run`; what a new event holds is written in both.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bridge.app import App
from bridge.terminal.run_sets import Teller
from bridge.terminal.writer import Screen, write_event
from bridge.usecases.remote import remote_view
from bridge.usecases.run import StartAnswer
from bridge.views import ProblemView, Viewer, progress_view
from engine.dataset.save import SaveReport
from engine.errors import Code, Problem
from engine.models import FINISHED, Task, TaskMatch, TaskStatus
from engine.money import plain
from engine.tasks.lookups import Counts
from engine.tasks.remote_book import OPEN, RemoteRow

EXIT_DONE, EXIT_FAILED, EXIT_WRONG_USE, EXIT_WAITING, EXIT_STOPPED = 0, 1, 2, 3, 130
_LINE_SECONDS = 10.0
_SHORT_WAIT_SECONDS = 5.0  # shorter ones are part of the pace and no news
_ALL = 2**31
_PAUSE_TEXTS = {Code.EVERY_TASK_FAILS: "run.paused", Code.RATE_PAUSE: "run.waits"}
_GIVEN_UP = {Code.BUDGET_REACHED: "run.over_budget"}


class Report:
    """What both kinds share, and how one kind is said by default: not at all."""

    attended = False  # whether somebody may be there who mends what is wrong
    sets = Teller(lambda *_, **__: None, lambda *_, **__: None)

    def __init__(self, app: App, language: str) -> None:
        self._app = app
        self._language = language
        self._view = Viewer(app.messages, language)
        self.ids: tuple[str, ...] | None = None  # the tasks of the run, where others stand beside them

    def counts(self) -> Counts:
        """Its tasks in each state."""
        return self._app.store.counts(self.ids)

    def problems(self, problems: Sequence[Problem]) -> None:
        """What is wrong with what is kept, or was entered."""

    def started(self, answer: StartAnswer) -> None:
        """What is going to be asked."""

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While the run is looked at."""
        yield

    def look(self) -> None:
        """Called a few times a second while the run goes, and once after."""

    def paused(self, problem: Problem, until: float | None) -> None:
        """Nothing is asked now; ``until`` in Unix seconds, None for unknown."""

    def resumed(self) -> None:
        """It goes on."""

    def batches(self, rows: Sequence[RemoteRow]) -> None:
        """What this run's batches at providers have come to."""

    def given_up(self, problem: Problem) -> None:
        """The run ends, since waiting does not mend it and nobody is there."""

    def ended(self, saved: SaveReport, output: Path, code: int) -> None:
        """What came of it."""

    def _pause(self, problem: Problem, until: float | None, key: str = "") -> ProblemView:
        key = key or _PAUSE_TEXTS.get(problem.code, f"error.{problem.code}")
        clock = "?" if until is None else time.strftime("%H:%M:%S", time.localtime(until))
        problem = Problem(problem.code, {**problem.params, "time": clock}, problem.field)
        words = self._app.messages.about(self._language, key, problem)
        return ProblemView(problem.code, words, problem.params, problem.field)


class JsonReport(Report):
    """Events; names and fields are documented in README.md."""

    def __init__(self, app: App, language: str) -> None:
        super().__init__(app, language)
        self._revision = app.store.revision()
        self.sets = Teller(lambda *_, **__: None, write_event)
        self._screen = Screen()

    def problems(self, problems: Sequence[Problem]) -> None:
        for problem in problems:
            self._screen.say(self._view.problem(problem).message)

    def started(self, answer: StartAnswer) -> None:
        write_event(
            "start",
            task_count=answer.task_count,
            new_count=answer.new_count,
            reused_count=answer.reused_count,
            unreadable=answer.unreadable,
            warnings=answer.warnings,
            rows_without_file=answer.rows_without_file,
            rows_without_file_count=answer.rows_without_file_count,
            files_without_row=answer.files_without_row,
            files_without_row_count=answer.files_without_row_count,
        )

    def look(self) -> None:
        changes = self._app.store.changes(self._revision, _ALL)
        self._revision = changes.revision
        for task in changes.tasks:
            if task.status in FINISHED:
                write_event(
                    "task",
                    id=task.id,
                    source=task.source_path,
                    status=task.status,
                    results=task.result_count,
                    attempts=task.attempts,
                    error=self._view.maybe(task.error or task.warning),
                    cost=_cost(task),
                )

    def paused(self, problem: Problem, until: float | None) -> None:
        event = "wait" if problem.code is Code.RATE_PAUSE else "pause"
        write_event(event, error=self._pause(problem, until), until=until)

    def resumed(self) -> None:
        write_event("resume")

    def batches(self, rows: Sequence[RemoteRow]) -> None:
        for row in rows:
            write_event("batch", **msgspec.to_builtins(remote_view(row)))

    def given_up(self, problem: Problem) -> None:
        write_event("given_up", error=self._pause(problem, None, _GIVEN_UP.get(problem.code, "run.given_up")))

    def ended(self, saved: SaveReport, output: Path, code: int) -> None:
        for result_id, files in saved.saved:
            write_event("saved", result_id=result_id, image=files.image, txt=files.txt)
        for failed in saved.errors:
            write_event("save_error", source=failed.source_name, error=self._view.problem(failed.problem))
        write_event(
            "end",
            exit_code=code,
            progress=progress_view(self.counts(), self._app.remote.waiting),
            **_spent(self._app),
            saved_count=len(saved.saved),
            error_count=len(saved.errors),
            output_dir=str(output),
        )


class TextReport(Report):
    """Lines, and a bar where there is a terminal."""

    def __init__(self, app: App, language: str) -> None:
        super().__init__(app, language)
        self._screen = Screen()
        self.attended = self._screen.is_terminal
        self.sets = Teller(self._say, lambda *_, **__: None)
        self._bar: Progress | None = None
        self._line_at = time.monotonic()
        self._pause_said = False

    def problems(self, problems: Sequence[Problem]) -> None:
        for problem in problems:
            self._screen.say(self._view.problem(problem).message)

    def started(self, answer: StartAnswer) -> None:
        for warning in answer.warnings:
            self._screen.say(warning.message)
        if self._app.demo:
            self._say("panel.demo")
        self._say("run.started", total=answer.task_count, new=answer.new_count, reused=answer.reused_count)
        for file in answer.unreadable:
            self._say("run.unreadable", path=file.path, message=file.message)
        for key, count, names in (
            ("run.rows_without_file", answer.rows_without_file_count, answer.rows_without_file),
            ("run.files_without_row", answer.files_without_row_count, answer.files_without_row),
        ):
            if count:
                self._say(key, count=count, names=", ".join(names) + (" …" if count > len(names) else ""))

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        if not self._screen.is_terminal:
            yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._screen.console) as self._bar:
            self._bar.add_task("", total=None)
            yield
        self._bar = None

    def look(self) -> None:
        numbers = self._numbers()
        if self._bar is not None:
            words = self._app.messages.text(self._language, "run.bar", **numbers)
            line = self._bar.task_ids[0]
            self._bar.update(line, total=numbers["total"], completed=numbers["finished"], description=words)
        elif time.monotonic() - self._line_at >= _LINE_SECONDS:
            self._line_at = time.monotonic()
            self._say("run.progress", **numbers)

    def paused(self, problem: Problem, until: float | None) -> None:
        if problem.code is Code.RATE_PAUSE and until is not None and until - time.time() < _SHORT_WAIT_SECONDS:
            return
        self._pause_said = True
        self._screen.say(self._pause(problem, until).message)

    def resumed(self) -> None:
        if self._pause_said:
            self._say("run.resumed")
        self._pause_said = False

    def batches(self, rows: Sequence[RemoteRow]) -> None:
        for row in rows:
            if row.state in OPEN:
                since = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.submitted_at))
                params = {"host": row.provider, "id": row.provider_id, "since": since}
                self._say("run.batch", **params, done=row.done, failed=row.failed, total=len(row.tasks))

    def given_up(self, problem: Problem) -> None:
        self._screen.say(self._pause(problem, None, _GIVEN_UP.get(problem.code, "run.given_up")).message)

    def ended(self, saved: SaveReport, output: Path, code: int) -> None:
        for task in self._app.store.tasks(TaskMatch(status=frozenset({TaskStatus.FAILED}))):
            if self.ids is not None and task.id not in self.ids:
                continue
            error = self._view.maybe(task.error)
            self._say("run.task_failed", name=task.source_name, message=error.message if error else "")
        for failed in saved.errors:
            self._say("run.task_failed", name=failed.source_name, message=self._view.problem(failed.problem).message)
        self._say("run.ended", **self._numbers(), saved=len(saved.saved), path=str(output))
        if self._app.costs.told.calls:
            self._say("run.cost", **_spent(self._app))
        if code == EXIT_STOPPED:
            self._say("run.stopped")

    def _numbers(self) -> dict[str, Any]:
        """Figures of the run as text keys name them; what was stopped is not finished."""
        info, progress = self._app.batch.info(), progress_view(self.counts())
        return {
            "finished": progress.finished - progress.stopped,
            "total": progress.total,
            "failed": progress.failed,
            "rate": info.rate_per_minute,
            "left": info.seconds_left if info.seconds_left is not None else "?",
            "in_flight": info.in_flight,
        }

    def _say(self, key: str, **params: Any) -> None:
        self._screen.say(self._app.messages.text(self._language, key, **params))


def _cost(task: Task) -> float | None:
    """What the results of a task have cost in USD, None where that is not known."""
    known = [result.cost for result in task.results if result.cost is not None]
    return round(sum(known), 10) if known else None


def _spent(app: App) -> dict[str, Any]:
    """Costs in USD of what this command asked for or collected, and of the calls those refused, and those wasted: paid
    for without a picture."""
    run = app.costs.told
    return {"cost": plain(run.amount), "calls": run.calls, "refused": run.refused, "wasted": run.wasted}
