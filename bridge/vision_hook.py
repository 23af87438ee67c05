"""What the vision room does around each task of a run: a trial's own configuration before, the alarm after."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from engine.errors import Problem
from engine.images.cache import Cache
from engine.models import EditOutcome
from engine.reading import read_found
from engine.tasks.alarm import Alarm, CheckedResult, PictureFeatures, Suspect, alarm_problem, features_of
from engine.tasks.hooks import RunningTask, TaskHook
from engine.vision.trial_book import TrialBook

_SOURCES_KEPT = 64


class VisionHook(TaskHook):
    """Thread-safe. ``hold``: pauses the run."""

    def __init__(
        self, trials: TrialBook, cache: Cache, hold: Callable[[Problem], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._trials = trials
        self._cache = cache
        self._hold = hold
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._alarm = Alarm(0)
        self._begun: dict[str, float] = {}
        self._sources: OrderedDict[str, PictureFeatures | None] = OrderedDict()
        self.suspects: list[Suspect] = []

    def begin(self, limit: int) -> None:
        """A run begins, in which so many of the last results may not be bad."""
        with self._lock:
            self._alarm, self.suspects = Alarm(limit), []

    def forget(self) -> None:
        """The person has seen the bad results and wants to go on."""
        with self._lock:
            self._alarm.forget()
            self.suspects = []

    def before(self, task: RunningTask) -> None:
        """Ask for the task of a trial as its column does."""
        cell = self._trials.cell(task.task_id)
        if cell is not None:
            trial, column = cell
            task.ask_with(trial.columns[column].config)
            self._begun[task.task_id] = self._monotonic()

    def after(self, task: RunningTask, outcome: EditOutcome) -> None:
        """Note how long a trial's task took; look at what a run's task brought."""
        begun = self._begun.pop(task.task_id, None)
        if begun is not None:
            seconds = round(self._monotonic() - begun, 3)
            cell = self._trials.cell(task.task_id)
            if cell is not None:
                self._trials.change(cell[0].id, lambda trial: trial.seconds.update({task.task_id: seconds}))
            return
        if task.single or not outcome.images or task.task is None or not self._alarm.is_on:
            return
        source = self._source(outcome.source_hash, task.task.source_path)
        for image in outcome.images[:1]:
            seen = features_of(self._cache.path(image.hash, image.info.extension).read_bytes())
            looked = CheckedResult(task.task_id, outcome.source_hash, image.hash, source, seen)
            with self._lock:
                self._sound(self._alarm.note(looked))

    def note_score(self, task_id: str, result_hash: str, score: float) -> None:
        """A result of the run was judged."""
        with self._lock:
            self._sound(self._alarm.note_score(task_id, result_hash, score))

    def _sound(self, suspects: list[Suspect]) -> None:
        if suspects and not self.suspects:
            self.suspects = suspects
            self._hold(alarm_problem(suspects))

    def _source(self, digest: str, path: str) -> PictureFeatures | None:
        with self._lock:
            if digest in self._sources:
                self._sources.move_to_end(digest)
                return self._sources[digest]
        try:
            seen = features_of(read_found(path))
        except OSError:
            seen = None
        with self._lock:
            self._sources[digest] = seen
            while len(self._sources) > _SOURCES_KEPT:
                self._sources.popitem(last=False)
        return seen
