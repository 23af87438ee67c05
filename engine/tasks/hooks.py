"""What a batch is joined with: hooks around each task in its worker's thread, and where tasks are that wait for a
provider."""

from __future__ import annotations

from collections.abc import Container
from typing import Protocol

from engine.config import ApiConfig
from engine.models import EditOutcome, Task
from engine.tasks.log import EditLog
from engine.tasks.meter import Live
from engine.upstream.cancel import CancelToken


class RemoteTasks(Protocol):
    """Where tasks are that neither wait for their turn nor are in flight: their answers are at a provider."""

    @property
    def waiting(self) -> int:
        """How many."""

    def holds(self, task_id: str) -> bool:
        """Whether this one is there."""

    def handed_over(self, besides: Container[str]) -> int:
        """How many of them are only on their way there, ``besides`` these."""

    def live(self) -> dict[str, Live]:
        """How far each is."""

    def live_log(self, task_id: str) -> EditLog | None:
        """Its log."""


class RunningTask:
    """One task from its turn in the queue to its release. ``again``: not the task but the run is at fault, so it waits
    for its turn once more. ``task``: as it was read when its turn had come."""

    def __init__(self, task_id: str, config: ApiConfig, cancel: CancelToken, *, single: bool) -> None:
        self.task_id = task_id
        self.config = config
        self.cancel = cancel
        self.single = single
        self.task: Task | None = None
        self.log = EditLog(*config.secrets)
        self.again = False

    def ask_with(self, config: ApiConfig) -> None:
        """Ask with another configuration than the run's; what was secret in it is blanked out of the log."""
        self.config, self.log = config, EditLog(*config.secrets)


class TaskHook:
    """What is done around a task, in its worker's thread: before it is asked for, and before its outcome is recorded.

    A hook that raises is logged and spoils no task.
    """

    def before(self, task: RunningTask) -> None:
        """The task begins; it may still be asked with another configuration."""

    def after(self, task: RunningTask, outcome: EditOutcome) -> None:
        """The task has come to something."""

    def handed_over(self, task: RunningTask) -> None:
        """The task's answer will come from a provider, or the task waits for others to go there with it."""

    def drained(self, cancel: CancelToken, *, stopped: bool) -> None:
        """No task of the run is left; the run is over when this returns, unless more came meanwhile."""
