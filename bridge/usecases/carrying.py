"""Projects on the move: sources found where they lie now, and a project in one file, out and in."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from bridge.app import App
from bridge.jobs import Job, JobKind, JobResult
from bridge.params import read_params
from bridge.usecases.common import Context, Upload
from bridge.usecases.judge import start_job
from bridge.usecases.projects import checked_folder, shown_name
from bridge.usecases.run import starting
from bridge.views import JobView
from engine.config import ApiConfig
from engine.data_folder import hold
from engine.dataset.naming import SaveRule
from engine.dataset.save import check_output
from engine.errors import Busy, Code, ConsoleError, InvalidInput, Problem
from engine.files import remove, remove_leftover, temporary_name, write_json, write_quickly
from engine.images.cache import Cache
from engine.models import SourceImage, Task
from engine.paths import entered_path, printable
from engine.portable import ENDING, FORMAT, About, Parts, Taken, Watch, opened_project, write_project
from engine.projects import MOST_LETTERS, Project
from engine.secrets import find as find_secrets
from engine.tasks.plan import TaskSpec
from engine.tasks.relocate import Found, find, known_hashes, moves
from engine.tasks.store import Store
from engine.vision.trial import Trial
from engine.vision.trial_book import TrialBook
from engine.workspace import DATABASE

_LISTED = 200
_Values = dict[str, str | int | float | bool | None]
# Of the page's settings what goes along, and what it must be; neither drafts nor folders to write to.
_CARRIED: dict[str, Any] = {
    "input_path": str, "plan": _Values, "set_form": _Values, "thresholds": dict[str, float], "allow": list[str],
    "columns": list[dict[str, str]], "trial": _Values, "sort": _Values,
}  # fmt: skip
MAX_UPLOAD_BYTES = 8 * 1024 * 1024


class _Saved(msgspec.Struct, frozen=True):
    rule: SaveRule = SaveRule()


class RelocateParams(msgspec.Struct, frozen=True):
    """Where the pictures of the current project lie now. ``dry_run``: only say what would be found."""

    input_path: str
    dry_run: bool = False


class MoveView(msgspec.Struct, frozen=True):
    """A source and where it was found. ``by_name``: only its name tells, nobody knows its bytes."""

    from_path: str
    to_path: str
    by_name: bool


class Relocated(msgspec.Struct, frozen=True):
    """Of the sources, ``matched`` were found, ``by_name`` of them by their name alone; ``here`` need not move; of
    ``missing`` nothing was found, and more than one file may be the ``ambiguous`` ones. The first of each are named."""

    matched: int
    by_name: int
    here: int
    missing: int
    ambiguous: int
    moves: list[MoveView]
    missing_files: list[str]
    ambiguous_files: list[str]
    dry_run: bool
    ok: Literal[True] = True


class ExportProject(msgspec.Struct, frozen=True):
    """The file to write, or the folder for it. ``sources``: the pictures themselves go along."""

    path: str
    sources: bool = False


class ProjectJob(msgspec.Struct, frozen=True):
    """The job, begun. ``id``: of the project."""

    id: str
    job: JobView
    ok: Literal[True] = True


class ImportWish(msgspec.Struct, frozen=True):
    """A project file on this machine, and what the project is to be called if not as before."""

    path: str
    name: str = ""


class ImportProject(Upload, frozen=True):
    """The path of a project file, as JSON; or a small file itself."""

    json: ClassVar[type[msgspec.Struct] | None] = ImportWish
    most: ClassVar[int | None] = MAX_UPLOAD_BYTES


def relocate(context: Context, params: RelocateParams) -> Relocated:
    """Find the sources of the current project in another folder by their bytes, at any depth and under any name; then
    all paths change at once."""
    app = context.app
    with starting(app):
        if app.batch.single_retries:
            raise Busy(Code.BATCH_RUNNING)
        tasks = list(app.store.every_task())
        discovery = app.workspace.planner.find(params.input_path)
        found = find(_hashes(app, tasks), discovery.pictures, app.ledger.source_hash)
        if not params.dry_run:
            move_sources(app, app.store, tasks, found.paths, app.preferences.config)
            _move_trials(app.vision.trials, found.paths)
            root = checked_folder(discovery.root)
            app.projects.set_input(app.project_id, root)
            app.preferences.merge_ui({"input_path": printable(root)})
            app.preferences.note_source_folder(printable(root))
            app.settings_changed()
    return _relocated(found, params.dry_run)


def export_project(context: Context, params: ExportProject) -> ProjectJob:
    """Write the current project into one file, for another computer: tasks, decisions, trials, results, and sources if
    wished; never a key. A job."""
    app = context.app
    project = app.projects.get(app.project_id)
    name = shown_name(context, project)
    target = _target(app, params.path, name)
    about = About(format=FORMAT, program=app.version, name=name, input_path=project.input_path, state=_state(app))
    keys = _keys(app)

    def work(job: Job) -> JobResult:
        parts = Parts(app.store, app.cache, app.ledger)
        watch = Watch(job.check, job.expect, job.progress)
        done = write_project(
            target, about, parts, app.vision.trials.all(), sources=params.sources, keys=keys, watch=watch
        )
        return JobResult(
            path=printable(str(done.path)), files=done.files, bytes=done.bytes, pairs=sum(app.store.counts().values()),
            bad=len(done.missing), problem=_partly(done.missing), project=project.id,
        )  # fmt: skip

    return ProjectJob(project.id, start_job(context, JobKind.PROJECT_EXPORT, work))


def import_project(context: Context, params: ImportProject) -> ProjectJob:
    """Take a project file in as a new project, which is not opened yet; its results count as paid. A job."""
    app = context.app
    with contextlib.ExitStack() as undo:
        if params.file[:2] == b"PK":
            for old in app.folder.glob(".saving-*"):
                remove_leftover(old)
            came = app.folder / temporary_name()  # a second one that comes meanwhile is another file
            undo.callback(remove, came)
            write_quickly(came, params.file)
            wish = ImportWish(str(came))
        else:
            wish = read_params(ImportWish, json_object(params.file))
        path = entered_path(wish.path, "path")
        if not path:
            raise InvalidInput(Code.FIELD_REQUIRED, field="path", name="path")
        with opened_project(path) as file:
            about = file.about
        name = wish.name or _plain(about.name) or _plain(Path(path).stem.removeprefix(".saving-")) or "ibcp"
        project = app.projects.create(name, about.input_path)
        lock = hold(app.projects.folder(project))  # nobody opens it before it is whole

        def work(job: Job) -> JobResult:
            try:
                taken = _take(app, project, path, job)
            except BaseException:
                lock.release()
                app.projects.delete(project.id)
                raise
            finally:
                undo_later.close()
            lock.release()
            app.settings_changed()
            return JobResult(
                path=printable(path), files=taken.pictures, pairs=taken.tasks, bad=len(taken.bad),
                problem=_partly(taken.bad), project=project.id,
            )  # fmt: skip

        undo_later = undo.pop_all()
        try:
            return ProjectJob(project.id, start_job(context, JobKind.PROJECT_IMPORT, work))
        except ConsoleError:
            undo_later.close()
            lock.release()
            app.projects.delete(project.id)
            raise


def move_sources(
    app: App, store: Store, tasks: Sequence[Task], paths: dict[str, SourceImage], config: ApiConfig
) -> None:
    """Let tasks point to where their sources lie now."""

    def mark(record: str, spec: TaskSpec) -> str:
        return app.workspace.planner.print_of(record, spec, config)

    store.move_sources(moves(tasks, paths, mark))


def _take(app: App, project: Project, path: str, job: Job) -> Taken:
    """Fill the folder of a new project."""
    folder = app.projects.folder(project)
    with contextlib.closing(Store(folder / DATABASE)) as store, opened_project(path) as file:
        parts = Parts(store, Cache(folder / "cache"), app.ledger)
        taken = file.take(parts, folder / "sources", Watch(job.check, job.expect, job.progress))
        config, ui = _stated(taken.about.state)
        if taken.sources:
            own = msgspec.structs.replace(app.preferences.config, **config)
            move_sources(app, store, list(store.every_task()), taken.sources, own)
            app.projects.set_input(project.id, str(folder / "sources"))
            ui["input_path"] = printable(str(folder / "sources"))
        save = {"rule": _sound_rule(taken.about.state.get("save"))}
        write_json(folder / "state.json", {"current_config": config, "save": save, "ui": ui})
        trials = TrialBook(folder / "trials")
        for one in taken.trials:
            with contextlib.suppress(msgspec.ValidationError, AssertionError):
                trial = msgspec.convert(one, Trial)
                for row in trial.rows:
                    row.source_path = taken.place(row.source_path)
                trials.put(trial)
        _move_trials(trials, taken.sources)
        app.projects.note(project.id, sum(store.counts().values()), store.count_decided())
    return taken


def _stated(state: dict[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Prompts and page settings of a file, as far as they are what they should be."""
    stored, ui = state.get("current_config"), state.get("ui")
    prompts = stored if isinstance(stored, dict) else {}
    config = {name: str(prompts.get(name, "")) for name in ("user_prompt", "system_prompt")}
    return config, dict(_sound_settings(ui if isinstance(ui, dict) else {}))


def _sound_settings(ui: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, kind in _CARRIED.items():
        with contextlib.suppress(msgspec.ValidationError):
            if name in ui:
                yield name, msgspec.convert(ui[name], kind)


def _sound_rule(save: Any) -> SaveRule:
    try:
        return msgspec.convert(save, _Saved).rule
    except msgspec.ValidationError:
        return SaveRule()


def _state(app: App) -> dict[str, Any]:
    config, plan, ui = app.preferences.config, app.preferences.plan, app.preferences.ui
    return {
        "current_config": {"user_prompt": config.user_prompt, "system_prompt": config.system_prompt},
        "save": {"rule": msgspec.to_builtins(plan.rule)},
        "ui": {key: value for key, value in ui.items() if key in _CARRIED},
    }


def _keys(app: App) -> set[str]:
    """Every secret that the program knows."""
    configs = [app.preferences.config, app.vision.settings.config, *app.presets.all().values()]
    trials = [column.config for trial in app.vision.trials.all() for column in trial.columns]
    return {key for config in (*configs, *trials) for key in find_secrets(msgspec.to_builtins(config))}


def _target(app: App, entered: str, name: str) -> Path:
    cleaned = entered_path(entered, "path")
    if not cleaned:
        raise InvalidInput(Code.FIELD_REQUIRED, field="path", name="path")
    path = Path(cleaned)
    if path.is_dir():
        letters = "".join("_" if sign in '\\/:*?"<>|' else sign for sign in name).strip(". ")
        path /= (letters or "project") + ENDING
    elif path.suffix.lower() != ENDING:
        path = path.with_name(path.name + ENDING)
    for source in (app.projects.get(app.project_id).input_path, *app.preferences.source_folders):
        if source and path.resolve().is_relative_to(Path(source).resolve()):
            raise InvalidInput(Code.EXPORT_INSIDE_SOURCE, field="path", path=printable(str(path)), source=source)
    check_output(str(path.parent))
    return path


def _hashes(app: App, tasks: list[Task]) -> dict[str, str]:
    """What is known of the bytes of each source: by its results, by the ledger, or since it still is where it was."""
    hashes = known_hashes(tasks)
    for path in [path for path, digest in hashes.items() if not digest]:
        hashes[path] = app.ledger.last_hash(path)
        if not hashes[path]:
            with contextlib.suppress(OSError, ValueError):
                status = Path(path).stat()
                picture = SourceImage(path, Path(path).name, status.st_size, status.st_mtime_ns, "")
                hashes[path] = app.ledger.source_hash(picture)
    return hashes


def _move_trials(trials: TrialBook, paths: dict[str, SourceImage]) -> None:
    for trial in trials.all():
        if any(row.source_path in paths for row in trial.rows):
            trials.change(trial.id, lambda one: _move_rows(one, paths))


def _move_rows(trial: Trial, paths: dict[str, SourceImage]) -> None:
    for row in trial.rows:
        if row.source_path in paths:
            row.source_path = paths[row.source_path].path


def _relocated(found: Found, dry_run: bool) -> Relocated:
    guessed = frozenset(found.by_name)
    shown = [MoveView(printable(old), printable(new.path), old in guessed) for old, new in found.paths.items()]
    return Relocated(
        matched=len(found.paths),
        by_name=len(found.by_name),
        here=len(found.here),
        missing=len(found.missing),
        ambiguous=len(found.ambiguous),
        moves=shown[:_LISTED],
        missing_files=[printable(path) for path in found.missing[:_LISTED]],
        ambiguous_files=[printable(path) for path in found.ambiguous[:_LISTED]],
        dry_run=dry_run,
    )


def _partly(missing: list[str]) -> Problem | None:
    if not missing:
        return None
    return Problem(Code.PROJECT_FILE_PARTLY, {"count": len(missing), "example": missing[0]})


def json_object(data: bytes) -> dict[str, Any]:
    """The JSON object of an uploaded file; InvalidInput (NOT_JSON)."""
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(Code.NOT_JSON) from error


def _plain(name: str) -> str:
    return " ".join("".join(sign for sign in name if sign.isprintable()).split())[:MOST_LETTERS]
