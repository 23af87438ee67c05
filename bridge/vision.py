"""The vision model of one project: rubrics, settings, trials, and judging joined to store, cache and ledger."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from bridge.messages import DEFAULT_LANGUAGE
from bridge.paths import program_folder
from bridge.vision_hook import VisionHook
from engine.config import ApiConfig
from engine.errors import Code, ConsoleError, InvalidInput, NotFound, Problem
from engine.images.cache import Cache
from engine.keystore import KeyStore
from engine.models import FINISHED, Judgement, Result, Task, TaskMatch
from engine.tasks.costs import Costs
from engine.tasks.ledger import Ledger
from engine.tasks.store import Store
from engine.upstream.transport import Transport
from engine.vision.ask import SendQuestion
from engine.vision.judge import JudgedPair
from engine.vision.judging import Judge, Judging
from engine.vision.rounds import without_reason
from engine.vision.rubric import RubricBook, read_built_in
from engine.vision.settings import JudgeFile
from engine.vision.trial_book import TrialBook

_PORTION = 500
log = logging.getLogger(__name__)


class Vision:
    """Opened with its project and closed with it. ``edits``: the current configuration of edits; ``hold``: pauses the
    run."""

    def __init__(
        self,
        folder: Path,
        store: Store,
        cache: Cache,
        ledger: Ledger,
        transport: Transport,
        *,
        trials: Path,
        costs: Costs,
        edits: Callable[[], ApiConfig],
        hold: Callable[[Problem], None],
        keys: KeyStore,
        send: SendQuestion | None,
        on_change: Callable[[], None],
    ) -> None:
        self.rubrics = RubricBook(read_built_in(program_folder("assets") / "rubrics"), folder / "rubrics.json")
        self.settings = JudgeFile(folder / "judge.json", keys)
        self.trials = TrialBook(trials)
        self.alarm = VisionHook(self.trials, cache, hold)
        self.judging = Judging(transport, ledger, self._keep, costs=costs, send=send, on_change=on_change)
        self.problems: list[Problem] = [*self.rubrics.problems, *self.settings.problems, *self.trials.problems]
        self._store = store
        self._cache = cache
        self._edits = edits
        self._changed = threading.Condition()
        self._stirred = False
        self._seen = 0
        self._submitted: set[str] = set()
        self._watcher: threading.Thread | None = None
        self._closed = False
        self._language = DEFAULT_LANGUAGE

    def judge(self, language: str) -> Judge:
        """The judge as it is set up; InvalidInput where it is not."""
        config = self.settings.config
        if not config.model_name:
            raise InvalidInput(Code.FIELD_REQUIRED, field="model_name", name="model_name")
        return Judge(config, self.rubrics.get(config.rubric), language)

    def pairs(self, tasks: Iterable[Task], wanted: Callable[[Result], bool] = lambda _: True) -> list[JudgedPair]:
        """The results of tasks as a judge is shown them; dropped ones are left out."""
        return [
            self._pair(task, result)
            for task in tasks
            for result in task.results
            if not result.deleted and wanted(result)
        ]

    def _pair(self, task: Task, result: Result) -> JudgedPair:
        return JudgedPair(
            task_id=task.id,
            result_id=result.id,
            sources=(task.source_path, *task.references),
            source_hash=result.source_hash,
            result=str(self._cache.path(result.hash, result.extension)),
            result_hash=result.hash,
            instruction=without_reason(self._instruction(task, result)),
        )

    def _instruction(self, task: Task, result: Result) -> str:
        """What was asked for: as it is noted with the result, else as it would be asked now."""
        if result.request_record:
            try:
                return msgspec.json.decode(result.request_record, type=_Asked).user_prompt
            except msgspec.DecodeError:
                log.warning("request of result %s not readable", result.id)
        return task.user_prompt if task.user_prompt is not None else self._edits().user_prompt

    def _keep(self, pair: JudgedPair, judgement: Judgement) -> None:
        try:
            self._store.set_judgement(pair.result_id, judgement)
            if self.judging.goes_along:
                self.alarm.note_score(pair.task_id, pair.result_hash, judgement.score)
        except NotFound:
            log.info("result %s was deleted while it was judged", pair.result_id)

    # --- along with a run ---

    def begin(self, language: str | None = None, *, along: bool | None = None) -> None:
        """A run begins: from now on judge what lands, if that is wished. ``language``: that of before where None;
        ``along``: instead of what is set up."""
        language = self._language = language or self._language
        self.alarm.begin(self._edits().alarm_limit)
        wished = self.settings.config.along if along is None else along
        try:
            judge = self.judge(language) if wished else None
        except ConsoleError as error:
            log.warning("nothing is judged along: %s", error.code)
            judge = None
        with self._changed:
            if self.judging.goes_along and judge is not None and self._watcher is not None:
                return  # it goes on as it is
            self._seen, self._submitted = self._store.revision(), set()
            self.judging.go_along(judge)
            if judge is not None and self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, name="judge-along", daemon=True)
                self._watcher.start()

    def stirred(self) -> None:
        """Something in the store has changed."""
        if self._watcher is not None:
            with self._changed:
                self._stirred = True
                self._changed.notify_all()

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Until all that landed is judged; False when ``timeout`` seconds passed first."""
        if not self.judging.goes_along:
            return True
        with self._changed:
            if not self._changed.wait_for(self._has_seen_all, timeout):
                return False
        return self.judging.wait_idle(timeout)

    def _has_seen_all(self) -> bool:
        """Whether no change waits to be looked at; else it is looked at now, whoever told of it. Under the lock."""
        if self._closed or self._seen >= self._store.revision():
            return True
        self._stirred = True
        self._changed.notify_all()
        return False

    def close(self) -> None:
        """End every call and thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._watcher is not None:
            self._watcher.join()
        self.judging.close()

    def _watch(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stirred or self._closed)
                if self._closed:
                    return
                self._stirred = False
            try:
                for task in self._finished():
                    for pair in self.pairs([task], self._is_new):
                        self.judging.judge_new(pair)
            except Exception:  # the thread's edge: what was not judged along can be judged later
                log.exception("results not judged along")
            with self._changed:
                self._changed.notify_all()

    def _is_new(self, result: Result) -> bool:
        if result.judgement is not None or result.id in self._submitted:
            return False
        self._submitted.add(result.id)
        return True

    def _finished(self) -> Iterator[Task]:
        """Tasks that have ended since the last look."""
        while self.judging.goes_along:
            changes = self._store.changes(self._seen, _PORTION)
            yield from (task for task in changes.tasks if task.status in FINISHED)
            if not changes.truncated:
                self._seen = changes.revision
                return
            self._seen = max(task.revision for task in changes.tasks)

    def unjudged(self, match: TaskMatch) -> list[JudgedPair]:
        """Pairs of these tasks without a judgement."""
        return self.pairs(self._store.tasks(match), lambda result: result.judgement is None)


class _Asked(msgspec.Struct, frozen=True):
    user_prompt: str = ""
