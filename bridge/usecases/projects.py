"""Projects: listed, opened, begun, renamed, deleted; their pictures found where they lie now; carried elsewhere."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Literal

import msgspec

from bridge.app import App
from bridge.preferences import begin_project
from bridge.usecases.common import Context, Nothing, Ok
from engine.errors import Code, InvalidInput
from engine.paths import entered_path, printable
from engine.projects import DEFAULT, Project, is_same_folder


class ProjectView(msgspec.Struct, frozen=True):
    """A project. ``decided``: tasks that the person has decided about; ``last_used`` in Unix seconds; ``archived``: put
    away, so that lists show it last."""

    id: str
    name: str
    input_path: str
    task_count: int
    decided: int
    last_used: int
    archived: bool


class ProjectsAnswer(msgspec.Struct, frozen=True):
    """All projects, the one used last first; ``current``: the id of the one that the other operations act on."""

    current: str
    projects: list[ProjectView]


class ProjectId(msgspec.Struct, frozen=True):
    """One project."""

    id: str


class NewProject(msgspec.Struct, frozen=True):
    """What a project is called, and the folder of its pictures."""

    name: str
    input_path: str = ""


class ProjectCreated(msgspec.Struct, frozen=True):
    """It is there, and not opened yet."""

    id: str
    ok: Literal[True] = True


class RenameParams(msgspec.Struct, frozen=True):
    """Another name for a project."""

    id: str
    name: str


class ArchiveParams(msgspec.Struct, frozen=True):
    """One project, put away or taken back."""

    id: str
    archived: bool = True


class DeleteParams(msgspec.Struct, frozen=True):
    """One project. ``dry_run``: only say what would be lost."""

    id: str
    dry_run: bool = False


class ProjectDeleted(msgspec.Struct, frozen=True):
    """What is lost: tasks with their results, of which so many were decided about. What was paid for stays in the
    ledger, the pictures stay where they lie."""

    id: str
    name: str
    task_count: int
    decided: int
    dry_run: bool
    ok: Literal[True] = True


class ProposedProject(msgspec.Struct, frozen=True):
    """A project for a folder that is not that of the current one: one that there is, or a new one where ``id`` is
    null."""

    id: str | None
    name: str
    input_path: str


def list_projects(context: Context, _: Nothing) -> ProjectsAnswer:
    """All projects, and which is the current one."""
    app = context.app
    app.note_counts()
    return ProjectsAnswer(app.project_id, [_view(context, one) for one in app.projects.all()])


def open_project(context: Context, params: ProjectId) -> Ok:
    """Make another project the current one, for every page; not while calls are in flight or a job runs. What is at
    providers stays there, and is collected now and then."""
    context.app.open_project(params.id)
    return Ok()


def create_project(context: Context, params: NewProject) -> ProjectCreated:
    """Begin a project, with the prompt and the save rule of the current one; it is not opened."""
    app = context.app
    folder = _entered_folder(params.input_path) if params.input_path.strip() else ""
    project = app.projects.create(params.name, folder)
    begin_project(app.projects.folder(project) / "state.json", app.preferences, printable(folder))
    app.settings_changed()
    return ProjectCreated(project.id)


def rename_project(context: Context, params: RenameParams) -> Ok:
    """Give a project another name."""
    context.app.projects.set_name(params.id, params.name)
    context.app.settings_changed()
    return Ok()


def archive_project(context: Context, params: ArchiveParams) -> Ok:
    """Put a project away, or take it back; nothing of it is lost, and it can be opened as before."""
    context.app.projects.set_archived(params.id, params.archived)
    context.app.settings_changed()
    return Ok()


def delete_project(context: Context, params: DeleteParams) -> ProjectDeleted:
    """Delete a project with its tasks and decisions; its pictures and what was paid for stay. The current one gives way
    to the first."""
    app = context.app
    app.note_counts()
    project = app.projects.get(params.id)
    if project.id == DEFAULT:
        raise InvalidInput(Code.PROJECT_FIRST, field="id")
    if not params.dry_run:
        if project.id == app.project_id:
            app.open_project(DEFAULT)
        with app.visits.kept_out() if app.visits is not None else contextlib.nullcontext():
            app.projects.delete(project.id)
        app.settings_changed()
    name = _view(context, project).name
    return ProjectDeleted(project.id, name, project.task_count, project.decided, params.dry_run)


def proposed_project(app: App, root: str) -> ProposedProject | None:
    """What to propose for pictures in ``root``; None where the current project is the one for them."""
    if not app.knows_projects:
        return None
    folder = str(_folder_of(root))
    current = app.projects.get(app.project_id)
    if is_same_folder(current.input_path, folder):
        return None
    other = app.projects.of_folder(folder)
    if other is not None:
        return ProposedProject(other.id, other.name or Path(other.input_path).name, other.input_path)
    if not current.input_path or not any(app.store.counts().values()):
        return None
    return ProposedProject(None, Path(folder).name, printable(folder))


def note_folder(app: App, root: str) -> None:
    """A start sent the pictures in ``root``: the project that had no folder yet, or no tasks, is that folder's now."""
    if not app.knows_projects:
        return
    current = app.projects.get(app.project_id)
    if not current.input_path or not any(app.store.counts().values()):
        app.projects.set_input(current.id, str(_folder_of(root)))


def _folder_of(root: str) -> Path:
    path = Path(root)
    return path if path.is_dir() else path.parent


def shown_name(context: Context, project: Project) -> str:
    """A name in any case: that of its folder, or words."""
    words = context.app.messages.text(context.language, "project.first")
    return project.name or Path(project.input_path).name or words


def checked_folder(root: str) -> str:
    """The folder of what was found at a path."""
    return str(_folder_of(root))


def _entered_folder(entered: str) -> str:
    path = Path(entered_path(entered, "input_path"))
    if not path.exists():
        raise InvalidInput(Code.PATH_NOT_FOUND, field="input_path", path=printable(str(path)))
    return str(_folder_of(str(path)))


def _view(context: Context, project: Project) -> ProjectView:
    name = shown_name(context, project)
    counts = (project.task_count, project.decided, project.last_used)
    return ProjectView(project.id, name, project.input_path, *counts, project.archived)
