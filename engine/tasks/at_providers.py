"""What is at providers, jobs and batches alike: the one place that others ask, and to which a run hands over."""

from __future__ import annotations

from collections.abc import Container, Sequence

import msgspec

from engine.errors import Code, NotFound
from engine.tasks.batch_orders import BatchOrders
from engine.tasks.log import EditLog
from engine.tasks.meter import Live
from engine.tasks.provider_batches import ProviderBatches
from engine.tasks.remote import Remote
from engine.tasks.remote_book import RemoteBook, RemoteKind, RemoteRow


class Given(msgspec.Struct, frozen=True):
    """What giving up came to. ``lost``: tasks that bring nothing by that; what was made before is collected."""

    cancelled: bool
    lost: int = 0


class AtProviders:
    """Thread-safe. Closed by ``close()``, in the order that nothing is noted in a closed book."""

    def __init__(self, book: RemoteBook, jobs: Remote, batches: ProviderBatches, orders: BatchOrders) -> None:
        self._book = book
        self.jobs = jobs
        self.batches = batches
        self.orders = orders

    def close(self) -> None:
        """What is open stays so for the next program."""
        self.jobs.close()
        self.batches.close()
        self._book.close()

    def rows(self) -> list[RemoteRow]:
        """All that are known, the newest first."""
        return [self.batches.counted(row) for row in self._book.rows()]

    def collect(self, remote_id: str) -> bool:
        """Ask for it now; whether there is anything to wait for. NotFound."""
        if self._row(remote_id).kind is RemoteKind.BATCH:
            return self.batches.collect(remote_id)
        return self.jobs.collect(remote_id)

    def cancel(self, remote_id: str) -> Given:
        """Give it up at the provider. NotFound, EditFailed."""
        row = self._row(remote_id)
        if row.kind is RemoteKind.BATCH:
            return Given(*self.batches.cancel(remote_id))
        cancelled = self.jobs.cancel(remote_id)
        return Given(cancelled, len(row.tasks) if cancelled else 0)

    def resume(self, task_id: str) -> bool:
        """Whether this task's answer is at a provider: it is waited for then, and nothing is to be asked."""
        return self.holds(task_id) or self.jobs.resume(task_id)

    def stop(self) -> int:
        """Wait for no job any more, now. Batches stay with their providers, and are collected: nothing of ours waits on
        them, and giving one up is another deed."""
        return self.jobs.stop()

    def let_go(self, tasks: Sequence[str]) -> None:
        """These tasks are deleted; what comes for them is kept in the ledger."""
        self.batches.let_go(tasks)

    def wait_idle(self, timeout: float | None = None) -> bool:
        """Block until no job is waited for; a batch may take a day."""
        return self.jobs.wait_idle(timeout)

    # --- see hooks.RemoteTasks ---

    @property
    def waiting(self) -> int:
        """Tasks whose answer is waited for."""
        return self.jobs.waiting + self.batches.waiting

    def holds(self, task_id: str) -> bool:
        """Whether the task's answer is at a provider, or the task on its way there."""
        return self.jobs.holds(task_id) or self.batches.holds(task_id) or self.orders.holds(task_id)

    def handed_over(self, besides: Container[str]) -> int:
        """Tasks that are gathered for a batch, or whose batch is being made, ``besides`` these."""
        return sum(task_id not in besides for task_id in self.orders.tasks())

    def live(self) -> dict[str, Live]:
        """How far each of them is."""
        return self.batches.live() | self.jobs.live()

    def live_log(self, task_id: str) -> EditLog | None:
        """The log of one of them."""
        return self.jobs.live_log(task_id)

    def _row(self, remote_id: str) -> RemoteRow:
        found = self._book.find(remote_id)
        if found is None:
            raise NotFound(Code.JOB_UNKNOWN, id=remote_id)
        return found
