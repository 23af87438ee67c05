"""Collects what providers have made for projects that are not open: each is visited now and then, its results are kept
in it, and it is let go of again, so that it can be opened here and by another program."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator

from engine.errors import Busy, Code, ConsoleError, NotFound, StorageFailed
from engine.projects import Project, Projects
from engine.tasks.at_providers import Given
from engine.tasks.remote_book import RemoteRow, batches_at_providers
from engine.workspace import Workspace

_EVERY_SECONDS = 300.0
_LONGEST_VISIT = 1800.0
_STEP_SECONDS = 0.2
log = logging.getLogger(__name__)


class Visits:
    """Thread-safe. ``current``: the id of the project that is open; ``open_closed`` opens the workspace of another one;
    ``on_change``: there is something else to see."""

    def __init__(
        self,
        projects: Projects,
        current: Callable[[], str],
        open_closed: Callable[[Project], Workspace],
        on_change: Callable[[], None],
    ) -> None:
        self._projects = projects
        self._current = current
        self._open_closed = open_closed
        self._on_change = on_change
        self._one_at_a_time = threading.RLock()
        self._changed = threading.Condition()
        self._known: list[tuple[Project, RemoteRow]] | None = None
        self._wanted = False  # a visit, now
        self._kept_out = 0
        self._closing = False
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Visit those that have something to collect, now and from time to time."""
        with self._changed:
            if self._thread is None and not self._closing:
                self._thread = threading.Thread(target=self._keep_visiting, name="visits", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End a visit, and make no other."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(15)

    def look(self) -> None:
        """There may be something else to collect: what was known is looked up again, and visited soon."""
        with self._changed:
            self._known, self._wanted = None, True
            self._changed.notify_all()

    @contextlib.contextmanager
    def kept_out(self) -> Iterator[None]:
        """No project is visited while the block runs: it is opened, or deleted."""
        with self._changed:
            self._kept_out += 1
            self._changed.notify_all()
        try:
            with self._one_at_a_time:
                yield
        finally:
            with self._changed:
                self._kept_out -= 1
            self.look()

    # --- what people may ask ---

    def rows(self) -> list[tuple[Project, RemoteRow]]:
        """Batches of other projects that are at providers, as they stood at the last visit; the newest first."""
        known = self._known
        if known is None:
            known = self._known = self._scan()
        return known

    def collect(self, remote_id: str) -> bool:
        """Visit the project of this batch now. NotFound."""
        self._project_of(remote_id)
        self.begin()
        with self._changed:
            self._wanted = True
            self._changed.notify_all()
        return True

    def cancel(self, remote_id: str) -> Given:
        """Give a batch up at its provider. NotFound, Busy, EditFailed, NetworkFailed."""
        given = Given(cancelled=False)

        def give_up(workspace: Workspace) -> None:
            nonlocal given
            given = workspace.remote.cancel(remote_id)

        self._visit(self._project_of(remote_id), give_up)
        return given

    def _project_of(self, remote_id: str) -> Project:
        found = next((project for project, row in self.rows() if row.id == remote_id), None)
        if found is None:
            raise NotFound(Code.JOB_UNKNOWN, id=remote_id)
        return found

    # --- the thread ---

    def _keep_visiting(self) -> None:
        while not self._closing:
            self._wanted = False
            try:
                self._known = self._scan()
                for project in {project.id: project for project, _ in self._known}.values():
                    self._try(project)
            except StorageFailed as error:
                log.warning("projects with batches not looked up: %s", error.code)
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._wanted, _EVERY_SECONDS)
                self._changed.wait_for(lambda: self._closing or not self._kept_out)

    def _gives_way(self) -> bool:
        return self._closing or self._kept_out > 0

    def _scan(self) -> list[tuple[Project, RemoteRow]]:
        current = self._current()
        return [
            (project, row)
            for project in self._projects.all()
            if project.id != current
            for row in batches_at_providers(self._projects.folder(project) / "remote.db")
        ]

    def _try(self, project: Project) -> None:
        try:
            self._visit(project)
        except Busy:
            log.info("project %s is open in another program, which collects", project.id)
        except ConsoleError as error:
            log.warning("project %s not visited: %s", project.id, error.code)

    def _visit(self, project: Project, deed: Callable[[Workspace], None] = lambda _: None) -> None:
        """Open a project until each of its batches was asked for once and what is there is collected."""
        with self._one_at_a_time:
            if self._gives_way() or project.id == self._current():
                return
            with self._open_closed(project) as workspace:
                deed(workspace)
                batches, end = workspace.remote.batches, time.monotonic() + _LONGEST_VISIT
                while not batches.wait_looked(_STEP_SECONDS):
                    if self._gives_way() or time.monotonic() > end:
                        break
            self._known = None
        self._on_change()
