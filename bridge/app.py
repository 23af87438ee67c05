"""The application object: opens all that the use cases work with, closes it again, and tells who listens of changes."""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bridge.environment import Environment
from bridge.jobs import Jobs, JobStatus
from bridge.messages import Messages
from bridge.paths import program_folder
from bridge.preferences import Preferences
from bridge.switching import Switching
from bridge.vision import Vision
from bridge.visits import Visits
from engine.cluster.address import check_order
from engine.cluster.messages import OUTBOX, left_in, owner_of
from engine.config import ApiConfig
from engine.data_folder import close_to_others, hold
from engine.dataset.findings import FindingKind
from engine.dataset.measure import Measurer, install_line
from engine.dataset.pair_files import PairMaker
from engine.dataset.preflight import Preflight
from engine.errors import Busy, Code, InvalidInput, NotFound, Problem, Stopped, StorageFailed
from engine.files import storage_failure
from engine.images.pixels import Alpha
from engine.keystore import KeyStore, open_key_store
from engine.presets import PresetBook
from engine.projects import DEFAULT, Project, Projects
from engine.tasks.attempt_alone import Left
from engine.tasks.costs import read_built_in
from engine.tasks.store import Outline
from engine.upstream.bills import Price
from engine.upstream.cancel import CancelToken
from engine.vision.ask import SendQuestion
from engine.workspace import Limits, Workspace, made

if TYPE_CHECKING:
    from engine.cluster.services import ClusterServices

log = logging.getLogger(__name__)


class _Opened:
    """One project: its workspace, with what people keep beside it."""

    def __init__(self, app: App, project: Project | None, first_config: ApiConfig | None = None) -> None:
        """``project`` None: the program's folder itself, without any others."""
        self.problems: list[Problem] = []
        self.id = DEFAULT if project is None else project.id
        self.is_first = project is None or not project.place
        folder = app.folder if project is None else app.folder / project.place
        attempts = None if app.cluster is None else app.cluster.attempts(owner_of(made(folder)))
        with contextlib.ExitStack() as opened:
            self.workspace = opened.enter_context(
                Workspace(
                    folder,
                    limits=_limits(app.environment),
                    ledger_folder=app.ledger_folder,
                    connections_folder=app.folder,
                    held=self.is_first,
                    demo=app.demo,
                    attempts=attempts,
                    obstacle=lambda: app.cluster.problem if app.cluster is not None else None,
                    prices=_prices(),
                    read_old_state=lambda: self._read_state(app.folder, folder, first_config, app.keys),
                    key_holders=lambda: (self.preferences.config, *app.presets.all().values()),
                    on_change=app.changed,
                    on_looking=app.looking,
                    on_problem=app.notify,
                )
            )
            if (app.folder / OUTBOX).is_dir():
                self._take_in(left_in(app.folder / OUTBOX, owner_of(folder)))
            if attempts is not None:
                self._take_in(attempts.left())
            self.jobs = Jobs(on_change=app.changed)
            opened.callback(self.jobs.close)
            store, batch = self.workspace.store, self.workspace.batch
            self.vision = Vision(
                app.folder,
                store,
                self.workspace.cache,
                self.workspace.ledger,
                self.workspace.transport,
                costs=self.workspace.costs,
                trials=folder / "trials",
                edits=lambda: self.preferences.config,
                hold=batch.pause,
                keys=app.keys,
                send=app.send_question,
                on_change=app.changed,
            )
            opened.callback(self.vision.close)
            opened.callback(app.listen(self.vision.stirred))
            self.problems += [*self.preferences.problems, *self.workspace.problems, *self.vision.problems]
            close_to_others(folder)  # what was made just now as well
            batch.add_hook(self.vision.alarm)
            opened.callback(batch.close)  # before what its hooks speak to
            self.close = opened.pop_all().close

    def _take_in(self, left: Iterable[Left]) -> None:
        """What workers hold for this project since a program before this one was killed."""
        try:
            count = self.workspace.take_in(left)
        except StorageFailed as error:  # it stays there
            self.problems.append(error.problem)
        else:
            self.problems += [Problem(Code.ANSWERS_TAKEN_IN, {"count": count})] if count else []

    def _read_state(self, root: Path, folder: Path, first_config: ApiConfig | None, keys: KeyStore) -> dict[str, Any]:
        shared = root / "state.json"
        is_new = not shared.exists()
        self.preferences = Preferences(shared, None if self.is_first else folder / "state.json", keys)
        if first_config is not None and is_new:
            self.preferences.set_config(first_config)
        return self.preferences.stored if self.is_first else {}


class App:
    """A project with what people keep beside it, which may become another one: preferences, presets, messages, jobs;
    and who listens of changes."""

    def __init__(
        self,
        folder: Path,
        environment: Environment,
        messages: Messages,
        *,
        version: str,
        demo: bool = False,
        first_config: ApiConfig | None = None,
        ledger_folder: Path | None = None,
        single: bool = False,
    ) -> None:
        """``single``: of the folder only what lies in it itself, for one that knows no other projects."""
        self.folder = folder
        self.environment = environment
        self.messages = messages
        self.version = version
        self.demo = demo
        self.ledger_folder = ledger_folder or folder / "answers"
        self.start_lock = threading.Lock()
        self.switching = Switching()
        self.settings_revision = 0
        self.sample_path: str | None = None  # where the demo's pictures lie
        self.looked_at: int | None = None  # files, while a folder is looked through
        self._listeners: list[Callable[[], None]] = []
        self._connection_test = CancelToken()
        self.notices: list[Problem] = []
        self._index: Projects | None = None
        self.visits: Visits | None
        self.cluster: ClusterServices | None = None
        with contextlib.ExitStack() as opened:
            opened.callback(hold(made(folder)).release)
            if environment.cluster.address:
                self.cluster = opened.enter_context(_open_cluster(environment, folder, self))
            self.keys = self._open_keys()
            self.presets = PresetBook(folder / "presets.json", self.keys)
            self.notices += self.presets.problems
            self.visits = None
            if single:
                self._take(_Opened(self, None, first_config))
                opened.callback(self._leave)
            else:
                self._open_projects(opened, first_config)
            if self.workspace.took_over:
                self._keep_old_state()
            for holder in (self.preferences, self.presets, self.vision.settings):
                holder.move_keys()
            close_to_others(self.folder)  # what was made just now as well
            self._opened = opened.pop_all()

    def _open_projects(self, opened: contextlib.ExitStack, first_config: ApiConfig | None) -> None:
        """The index, the project of the last time, and who visits the others."""
        self._index = Projects(self.folder)
        opened.callback(self._index.close)
        self.notices += self._index.problems
        self._take(self._open_current(first_config))
        opened.callback(self._leave)
        self.visits = Visits(self._index, lambda: self.project_id, self._open_closed, self.changed)
        opened.callback(self.visits.close)

    def _open_keys(self) -> KeyStore:
        """Entries bear the id of the person's data folder, where the paid answers are noted as well."""
        home = self.ledger_folder.parent
        keys = open_key_store(home, self.environment.key_store and not self.demo, self.notify)
        return keys if home == self.folder else keys.for_runs()

    def secrets(self) -> list[str]:
        """All that are stored, wherever."""
        return [*self.preferences.config.secrets, *self.presets.secrets(), *self.vision.settings.secrets()]

    def _take(self, project: _Opened) -> None:
        """From now on this is the project that use cases speak of."""
        self._project = project
        self.project_id, self.preferences, self.jobs = project.id, project.preferences, project.jobs
        self.vision, self.workspace = project.vision, project.workspace
        workspace = project.workspace
        self.cache, self.ledger, self.thumbnails = workspace.cache, workspace.ledger, workspace.thumbnails
        self.store, self.batch, self.transport = workspace.store, workspace.batch, workspace.transport
        self.costs = workspace.costs
        self.flusher, self.measurement_cache = workspace.flusher, workspace.measurement_cache
        self.remote, self.wait_idle = workspace.remote, workspace.wait_idle
        self.inspected: list[str] = []  # first names of the folder looked at last, for examples of saved names
        self.preflight: tuple[int, Preflight] | None = None
        self.outlined: tuple[Hashable, Outline] | None = None  # the last list by measured numbers, and what was asked
        self.found_kinds: Mapping[str, Sequence[FindingKind]] = {}  # by result id, of the preflight before
        self.notices += project.problems

    @property
    def projects(self) -> Projects:
        """The index of projects."""
        assert self._index is not None, "opened without other projects"
        return self._index

    @property
    def knows_projects(self) -> bool:
        """Whether there may be other projects beside this one."""
        return self._index is not None

    def _open_current(self, first_config: ApiConfig | None) -> _Opened:
        """The project of the last time; the first one where that cannot be had, and why."""
        projects = self.projects
        try:
            return _Opened(self, projects.get(projects.current), first_config)
        except (NotFound, Busy, StorageFailed) as error:
            if projects.current == DEFAULT:
                raise
            log.warning("project %s not opened: %s", projects.current, error.code)
            self.notices.append(error.problem)
            projects.set_current(DEFAULT)
            return _Opened(self, projects.get(DEFAULT), first_config)

    def open_project(self, project_id: str) -> None:
        """Let another project be the current one; Busy while something runs that would be lost, or while another
        program has it open. What is at providers stays there, and is collected by `visits`."""
        project, visits = self.projects.get(project_id), self.visits
        assert visits is not None  # there are other projects
        with self.switching.alone(), visits.kept_out():
            if project.id == self.project_id:
                return
            self.check_idle()
            try:
                with self.projects.changing(project):
                    following = _Opened(self, project)
            except Busy as error:
                raise Busy(Code.PROJECT_IN_USE, name=project.name) from error
            before = self._project
            self.note_counts()
            following.workspace.store.follow(before.workspace.store.revision())
            self._take(following)
            self.projects.set_current(project.id)
            self.note_counts()
            before.close()
        self.settings_changed()

    def _open_closed(self, project: Project) -> Workspace:
        """The workspace of another project than the current one, for a visit."""
        return Workspace(
            self.folder / project.place,
            limits=_limits(self.environment),
            ledger_folder=self.ledger_folder,
            connections_folder=self.folder,
            held=not project.place,
            demo=self.demo,
            prices=_prices(),
            key_holders=lambda: (self.preferences.config, *self.presets.all().values()),
            on_problem=self.notify,
        )

    def check_idle(self) -> None:
        """Busy while calls are in flight, or a job runs."""
        job = self.jobs.state
        works = job is not None and job.status is JobStatus.RUNNING
        if works or self.batch.running or self.batch.single_retries or not self.vision.judging.wait_idle(0):
            raise Busy(Code.PROJECT_BUSY)

    def note_counts(self) -> None:
        """Keep the figures of the current project in the index."""
        if self._index is not None:
            self._index.note(self.project_id, sum(self.store.counts().values()), self.store.count_decided())

    def _leave(self) -> None:
        try:
            self.note_counts()
        except StorageFailed as error:
            log.warning("counts not noted: %s", error.code)
        finally:
            self._project.close()

    def sweep(self, check: Callable[[], None] = lambda: None) -> int:
        """Look after the cached pictures of the current project, see `Workspace.sweep`; gives way to a switch."""

        def give_way() -> None:
            check()
            if self.switching.is_wanted:
                raise Stopped

        with self.switching.using():
            return self.workspace.sweep(give_way)

    def close(self) -> None:
        """Stop what runs, keep what arrived, let go of the folder."""
        self._opened.close()

    def __enter__(self) -> App:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def begin_connection_test(self) -> CancelToken:
        """The token of a test that begins; the one before it, if it still runs, ends."""
        token, before = CancelToken(), self._connection_test
        self._connection_test = token
        before.cancel()
        return token

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` after each change, from whichever thread made it; returns how to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def notify(self, problems: Sequence[Problem]) -> None:
        """Tell the person what came up beside what they asked for."""
        if problems:
            self.notices += problems
            self.settings_changed()  # pages then ask for the state, which has the notices

    def settings_changed(self) -> None:
        """Configuration, presets, save rule or notices are other ones now."""
        self.settings_revision += 1
        self.changed()

    def looking(self, files: int | None) -> None:
        """A folder is being looked through and so many files were seen so far; None at its end."""
        self.looked_at = files
        self.changed()

    def changed(self) -> None:
        """Something that people see has changed."""
        for listener in list(self._listeners):
            listener()

    def found(self, report: Preflight) -> None:
        """Keep the findings of a preflight until the next."""
        self.preflight = int(time.time()), report
        self.found_kinds, self.outlined = report.by_pair, None
        self.changed()

    def measurer(self, alpha: Alpha) -> Measurer:
        """Who measures pairs: we, or the workers of the cluster."""
        if self.cluster is not None:
            return self.cluster.measurer(self.measurement_cache, alpha)
        return Measurer(self.measurement_cache, alpha)

    @property
    def pair_maker(self) -> PairMaker:
        """Who makes the pairs of a set ready: the same."""
        return self.cluster.pair_maker() if self.cluster is not None else PairMaker()

    def small_pictures(self, files: Mapping[str, str], edge: int, cancel: CancelToken) -> dict[str, bytes]:
        """Bytes by path of what the workers of a cluster have made small, of files with their sha256; the rest is for
        whoever asks to make. Raises Stopped."""
        return self.cluster.small_pictures(files, edge, cancel) if self.cluster is not None else {}

    @property
    def send_question(self) -> SendQuestion | None:
        """Who asks a vision model in place of our own threads."""
        return self.cluster.ask if self.cluster is not None else None

    def _keep_old_state(self) -> None:
        """Its tasks were taken over: state.json as the tool before left it is kept under another name."""
        kept = self.folder / "state.json.before-takeover"
        try:
            shutil.copy2(self.folder / "state.json", kept)
            kept.chmod(0o600)  # it holds the key
        except OSError as error:
            raise storage_failure(error, kept) from error
        self.preferences.rewrite()


def _prices() -> list[Price]:
    return read_built_in((program_folder("assets") / "prices.json").read_bytes())


def _limits(environment: Environment) -> Limits:
    return Limits(
        network=environment.network,
        max_redirects=environment.max_redirects,
        edit=environment.limits,
        cache_ttl=environment.cache_ttl,
        cache_max_bytes=environment.cache_max_bytes,
    )


def _open_cluster(environment: Environment, folder: Path, app: App) -> ClusterServices:
    """The machines that help. ClusterFailed, or InvalidInput with the line that installs what is missing."""
    check_order(environment.cluster)
    order = environment.cluster
    if order.address.startswith("local:") and not order.outbox:
        order = msgspec.structs.replace(order, outbox=str(folder / OUTBOX))
    try:
        from engine.cluster.services import ClusterServices  # Dask is loaded where it is used, and nowhere else

        return ClusterServices(
            order,
            environment.network,
            max_redirects=environment.max_redirects,
            on_change=app.changed,
            on_problem=app.notify,
        )
    except ImportError as error:  # Dask itself, or cryptography, which it asks for when workers here get certificates
        command = install_line(("distributed", "cryptography"), "cluster")
        raise InvalidInput(Code.CLUSTER_EXTRA_MISSING, field="cluster", command=command) from error
