"""``run``: a batch without a page: ask, show progress, save, exit code. The same command goes on where it ended."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bridge.app import App
from bridge.demo.endpoint import demo_config, samples_folder
from bridge.environment import Environment
from bridge.messages import Messages
from bridge.open_app import make_folder, open_app
from bridge.params import read_params
from bridge.preferences import Preferences
from bridge.terminal.run_judge import JudgeOrder, check_judge, judge_rest, set_up_judge
from bridge.terminal.run_reports import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_STOPPED,
    EXIT_WAITING,
    JsonReport,
    Report,
    TextReport,
)
from bridge.terminal.run_sets import SetOrder, check_sets, make_sets
from bridge.terminal.serve import ending_signals
from bridge.usecases.common import Context, Nothing, remove_files
from bridge.usecases.config import entered_config
from bridge.usecases.run import StartAnswer, StartParams, resume_tasks, start_batch
from bridge.usecases.saving import save_matching
from engine.config import ApiConfig, parse_entered
from engine.dataset.naming import SaveRule
from engine.dataset.save import SaveReport, check_output
from engine.errors import Busy, Code, InvalidInput, Problem, StorageFailed
from engine.keys import origin
from engine.keystore import open_key_store
from engine.models import TaskMatch, TaskStatus
from engine.paths import entered_path
from engine.presets import PresetBook
from engine.projects import Project, Projects
from engine.tasks.alarm import alarm_problem
from engine.tasks.batch_orders import DEFAULT_SIZE
from engine.tasks.breaker import LASTING
from engine.tasks.plan import request_key, request_record
from engine.tasks.remote_book import RemoteKind

# Pauses that end at nothing but a word.
_FOR_A_PERSON = frozenset({Code.RESULTS_LOOK_WRONG, Code.EVERY_JOB_FAILS, Code.BUDGET_REACHED})
_LOOK_SECONDS = 0.25
_ANY_HOST = "http://127.0.0.1:1"  # the demo's port is not known yet, and no part of the request key


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What one run is to do. ``collect``: only what providers' batches have made; ``wait``: until they have ended."""

    source: str | None
    output: str
    fields: dict[str, Any]
    preset: str | None
    rule: SaveRule
    prompt_table: str = ""
    variants: int = 1
    references: str = "off"
    fresh: bool = False
    demo: bool
    resume: bool
    collect: bool = False
    wait: bool = False
    batch_size: int = DEFAULT_SIZE
    json: bool
    language: str
    sets: SetOrder = SetOrder()
    judge: JudgeOrder = JudgeOrder()


def run_headless(order: Order, folder: Path, environment: Environment, messages: Messages) -> int:
    """Do the order; the exit code. Raises ConsoleError for wrong use."""
    source = order.source or (str(samples_folder()) if order.demo else "")
    if not source:
        raise InvalidInput(Code.FIELD_REQUIRED, field="INPUT", name="INPUT")
    output = check_output(order.output).absolute()
    check_sets(order.sets, source, output)
    check_judge(order.judge)
    project = None if order.demo else project_of(folder, source)
    base = demo_config(_ANY_HOST) if order.demo else stored_config(folder, order.preset, environment, project)
    key = _order_key(base, order)
    place = run_folder(folder, source, output, key) if project is None else folder / project.place
    goes_on_with = None
    if project is None and (order.resume or order.collect) and not place.exists():
        place = goes_on_with = latest_run(place.parent, output)
    # Shared with the page: what one has paid for the other need not.
    ledger = folder / ("demo/answers" if order.demo else "answers")
    with contextlib.ExitStack() as stack:
        interrupts = _Interrupts()
        stack.enter_context(ending_signals(interrupts.interrupt))
        app = stack.enter_context(_opened(place, environment, messages, order, ledger, project))
        if not order.demo:
            stack.enter_context(_in_index(app, folder, place, source, output, project))
        if order.demo:
            base = demo_config(origin(app.preferences.config.api_url))
        if goes_on_with is None or order.preset is not None:
            app.preferences.set_config(base)
        set_up_judge(app, order.judge)
        return _Run(app, order, source, output, interrupts, among_others=project is not None).run()


def project_of(folder: Path, source: str) -> Project | None:
    """The project that a person began for this folder; None where there is none: then the run has a place of its own,
    beside that of the first project, which a window may have open meanwhile."""
    entered = Path(entered_path(source, "input_path"))
    with contextlib.closing(Projects(folder)) as projects:
        return projects.of_folder(str(entered if entered.is_dir() else entered.parent), made=True)


def project_rule(folder: Path, project: Project | None) -> SaveRule:
    """The save rule that is set for it."""
    return Preferences(folder / ("" if project is None else project.place) / "state.json").plan.rule


def stored_config(
    folder: Path, preset: str | None, environment: Environment, project: Project | None = None
) -> ApiConfig:
    """The named preset, or the current configuration of the page with the prompt of the project."""
    keys = open_key_store(folder, environment.key_store, lambda _: None)  # told again when the run is opened
    if preset is not None:
        return PresetBook(folder / "presets.json", keys).get(preset)
    own = None if project is None else folder / project.place / "state.json"
    return Preferences(folder / "state.json", own, keys=keys).config


@contextlib.contextmanager
def _opened(
    place: Path, environment: Environment, messages: Messages, order: Order, ledger: Path, project: Project | None
) -> Iterator[App]:
    """The place of the run; Busy with the project's name where a window or another run has it."""
    with contextlib.ExitStack() as stack:
        opening = open_app(
            make_folder(place), environment, messages, demo=order.demo, ledger_folder=ledger, single=True
        )
        try:
            app = stack.enter_context(opening)
        except Busy as error:
            if project is None:
                raise
            raise Busy(Code.PROJECT_IN_USE, name=project.name) from error
        yield app


@contextlib.contextmanager
def _in_index(
    app: App, folder: Path, place: Path, source: str, output: Path, project: Project | None
) -> Iterator[None]:
    """The run stands among the projects, with its figures, so that a window can open what it made."""
    root = Path(entered_path(source, "input_path"))
    with contextlib.closing(Projects(folder)) as projects:
        if project is None:
            name = f"{root.name} → {output.name}"
            project = projects.register(place.relative_to(folder).as_posix(), name, str(root))
        try:
            yield
        finally:
            projects.note(project.id, sum(app.store.counts().values()), app.store.count_decided())


def run_folder(folder: Path, source: str, output: Path, key: str) -> Path:
    """Where the tasks of one source, output and order are kept, so that the same command finds them again."""
    name = hashlib.sha256(
        f"{Path(entered_path(source, 'input_path')).resolve()}\0{output.resolve()}".encode("utf-8", "surrogatepass")
    ).hexdigest()[:16]
    return folder / "runs" / name / key[:16]


def latest_run(runs: Path, output: Path) -> Path:
    """The run of this source and output that was used last, for a ``--resume`` without the flags of its start."""
    found = sorted((place for place in runs.glob("*") if place.is_dir()), key=lambda place: place.stat().st_mtime)
    if not found:
        raise InvalidInput(Code.NOTHING_TO_RESUME, field="INPUT", path=str(output))
    return found[-1]


def _order_key(base: ApiConfig, order: Order) -> str:
    config, _ = parse_entered({**msgspec.to_builtins(base), **order.fields})
    return request_key(request_record(config, config.user_prompt, config.system_prompt, 0, demo=order.demo))


def needs_person(paused: Problem) -> bool:
    """Whether waiting does not end this pause."""
    return paused.params.get("cause") in LASTING or paused.code in _FOR_A_PERSON


class _Interrupts:
    """What Ctrl-C does: it ends the program where it stands, for there is nothing to keep, and once the run has begun
    it stops that; asked twice, the person means it. That it was asked is noted, since an exception that comes in the
    middle of a library may be lost there."""

    def __init__(self) -> None:
        self._asked = False
        self._stop: Callable[[], None] | None = None

    def interrupt(self) -> None:
        """The handler of the signals; raises KeyboardInterrupt in the main thread."""
        again, self._asked = self._asked, True
        if self._stop is None or again:
            raise KeyboardInterrupt
        self._stop()

    def hand_to(self, stop: Callable[[], None]) -> None:
        """The run has begun: from now on it is stopped, at once if that was asked already."""
        self._stop = stop
        if self._asked:
            stop()


class _Run:
    """One run from start to exit code."""

    def __init__(
        self, app: App, order: Order, source: str, output: Path, interrupts: _Interrupts, *, among_others: bool
    ) -> None:
        """``among_others``: the project has tasks of other origins too, which are left alone."""
        self._app = app
        self._among_others = among_others
        self._order = order
        self._source = source
        self._output = output
        self._interrupts = interrupts
        self._stopped = threading.Event()
        self._given_up = False
        self._told: Problem | None = None  # why nothing is asked
        self._revision = app.store.revision()
        kind = JsonReport if order.json else TextReport
        self._report: Report = kind(app, order.language)

    def run(self) -> int:
        with self._app.costs.as_one_run():
            self._report.problems(self._app.notices)
            started = self._start()
            self._interrupts.hand_to(self._stop)
            if started is not None:
                self._report.started(started)
                if self._among_others:
                    self._report.ids = self._app.workspace.planned
                else:
                    self._forget_others()
            self._watch()
            self._app.wait_idle(5)
            judged = self._given_up or self._judge_rest()
            self._tell_suspects()
            report, _ = save_matching(self._app, self._match(), self._order.rule, str(self._output), unsaved_only=True)
            unfinished = self._stopped.is_set() or self._given_up or self._app.remote.waiting > 0
            made = unfinished or self._make_sets()
            made &= self._is_on_disk() and judged
        code = self._exit_code(report, started)
        code = EXIT_FAILED if code == EXIT_DONE and not made else code
        self._report.ended(report, self._output, code)
        return code

    def _match(self) -> TaskMatch:
        return TaskMatch(ids=self._report.ids)

    def _is_on_disk(self) -> bool:
        try:
            self._app.flusher.wait()
        except StorageFailed as failure:
            self._report.problems([failure.problem])
            return False
        return True

    def _judge_rest(self) -> bool:
        tell, order = self._report.sets, self._order
        return judge_rest(self._app, order.judge, order.language, tell, stopped=self._stopped.is_set,
                          look=self._tell_pause, ids=self._report.ids)  # fmt: skip

    def _make_sets(self) -> bool:
        order = self._order
        return make_sets(self._app, order.sets, str(self._output), order.language, self._report.sets, self._report.ids)

    def _start(self) -> StartAnswer | None:
        context = Context(self._app, self._order.language)
        config = msgspec.to_builtins(self._app.preferences.config) | self._order.fields
        if "api_key" not in self._order.fields and {"api_url", "proxy"} & self._order.fields.keys():
            config["api_key"] = ""  # the stored key goes along only where it may: see may_lend_key
        if not (self._order.resume or self._order.collect):
            asked = {
                "input_path": self._source,
                "config": config,
                "prompt_table": self._order.prompt_table,
                "variants": self._order.variants,
                "references": self._order.references,
                "fresh": self._order.fresh,
                "batch_size": self._order.batch_size,
            }
            started = start_batch(context, read_params(StartParams, asked))
            self._app.remote.batches.look_anew()  # with the key that came with this command
            return started
        entered, problems = entered_config(self._app, config)
        self._report.problems(problems)
        self._app.preferences.set_config(entered)
        self._app.remote.batches.look_anew()
        if self._order.resume:
            resume_tasks(context, Nothing())
        return None

    def _forget_others(self) -> None:
        """Tasks of pictures that are gone or were changed since would make every later run fail; what came is saved."""
        unfinished = frozenset(TaskStatus) - {TaskStatus.DONE}
        tasks = self._app.store.tasks(TaskMatch(status=unfinished))
        others = [task.id for task in tasks if task.revision <= self._revision and all(r.saved for r in task.results)]
        others = [task_id for task_id in others if not self._app.batch.is_busy(task_id)]  # nor what is at a provider
        remove_files(self._app, self._app.store.remove(others), "run")

    def _stop(self) -> None:
        self._stopped.set()
        self._app.batch.stop()
        self._app.remote.stop()
        self._app.jobs.stop()

    def _watch(self) -> None:
        with self._report.watching():
            while not self._is_idle():
                self._report.look()
                self._tell_pause()
            self._report.look()
        self._report.batches([row for row in self._app.remote.rows() if row.kind is RemoteKind.BATCH])

    def _is_idle(self) -> bool:
        """Whether all has come that is waited for: what batches have made now, or all of it."""
        if not self._app.wait_idle(_LOOK_SECONDS):
            return False
        batches = self._app.remote.batches
        if self._stopped.is_set():
            return True
        return batches.wait_idle(_LOOK_SECONDS) if self._order.wait else batches.wait_looked(_LOOK_SECONDS)

    def _tell_pause(self) -> None:
        """Say once why nothing is asked; where waiting does not mend it and nobody is there to do so, end the run."""
        info = self._app.batch.info()
        paused, told = info.paused, self._told
        self._told = paused
        if paused is None and told is not None:
            self._report.resumed()
        if paused is not None and paused != told:
            self._report.paused(paused, info.paused_until)
            lasting = needs_person(paused) and not self._report.attended
            lasting = lasting or paused.code is Code.BUDGET_REACHED  # there is no Continue here
            if lasting and not self._stopped.is_set():
                self._given_up = True
                self._report.given_up(paused)
                self._app.batch.stop()

    def _tell_suspects(self) -> None:
        """What the alarm found when nothing was left to pause."""
        suspects = self._app.vision.alarm.suspects
        if suspects and not self._given_up:
            self._report.problems([alarm_problem(suspects, ended=True)])

    def _exit_code(self, report: SaveReport, started: StartAnswer | None) -> int:
        if self._stopped.is_set():
            return EXIT_STOPPED
        counts = self._report.counts()
        away = self._app.remote.waiting
        whole = counts[TaskStatus.DONE] + away == sum(counts.values()) and not report.errors
        if away and whole and self._order.collect:
            return EXIT_WAITING
        unreadable = started.unreadable_count if started is not None else 0
        return EXIT_DONE if whole and not unreadable else EXIT_FAILED
