"""Trials on disk: one JSON file each, since their columns hold keys like every configuration of ours. Thread-safe."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.errors import Code, NotFound, Problem
from engine.files import read_json, write_json
from engine.vision.trial import Trial

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class TrialBook:
    """All trials of a project, in memory and in a folder; each change is written before the call returns."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._trials: dict[str, Trial] = {}
        self.problems: list[Problem] = []
        for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
            stored, problems = read_json(path)
            self.problems += problems
            try:
                trial = msgspec.convert(stored, Trial)
            except msgspec.ValidationError:
                self.problems.append(Problem(Code.FILE_DAMAGED, {"path": str(path), "kept_as": str(path)}))
                continue
            self._trials[trial.id] = trial
        self._cells = self._index()

    def all(self) -> list[Trial]:
        """The latest first."""
        with self._lock:
            return sorted(self._trials.values(), key=lambda trial: (trial.at, trial.id), reverse=True)

    def get(self, trial_id: str) -> Trial:
        """One; NotFound."""
        trial = self._trials.get(trial_id)
        if trial is None:
            raise NotFound(Code.TRIAL_UNKNOWN, id=trial_id[:64])
        return trial

    def put(self, trial: Trial) -> None:
        """Keep a trial, new or changed."""
        assert _ID.fullmatch(trial.id)
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(self._folder / f"{trial.id}.json", trial)
            self._trials[trial.id] = trial
            self._cells = self._index()

    def change(self, trial_id: str, change: Callable[[Trial], None]) -> Trial:
        """Change a trial in place and keep it; NotFound."""
        with self._lock:
            trial = self.get(trial_id)
            change(trial)
            self.put(trial)
            return trial

    def remove(self, trial_id: str) -> Trial:
        """Forget a trial; NotFound."""
        with self._lock:
            trial = self.get(trial_id)
            (self._folder / f"{trial.id}.json").unlink(missing_ok=True)
            del self._trials[trial_id]
            self._cells = self._index()
            return trial

    def cell(self, task_id: str) -> tuple[Trial, int] | None:
        """The trial that a task belongs to, and its column."""
        found = self._cells.get(task_id)
        return None if found is None else (self._trials[found[0]], found[1])

    def _index(self) -> dict[str, tuple[str, int]]:
        return {
            cell: (trial.id, column)
            for trial in self._trials.values()
            for row in trial.rows
            for column, cell in enumerate(row.cells)
        }


def new_trial_id() -> str:
    """An id that no other trial has."""
    return secrets.token_hex(6)
