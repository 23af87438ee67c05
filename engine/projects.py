"""The projects of a data folder: a small index beside them, so that a list of a thousand opens none.

The data folder itself is the first project, as it was before there were others: nothing of it is moved, and an older
version finds all. Each other one is a folder in ``projects/`` with a ``project.json`` from which the index is made anew
where it is lost, or one in ``runs/``. Several processes may use the index at once; each folder has its own lock.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from engine.data_folder import hold
from engine.database import Database, Schema
from engine.errors import Code, InvalidInput, NotFound, StorageFailed
from engine.files import name_exclusively, read_json, remove, storage_failure, temporary_name, write_json
from engine.paths import folded, printable

DEFAULT: Final = "default"
MOST_LETTERS: Final = 120
_FOLDER: Final = "projects"
_FILE: Final = "project.json"
_CURRENT: Final = "current"
_SCHEMA: Final = Schema(
    2,
    """
CREATE TABLE project (
  id TEXT PRIMARY KEY, place TEXT NOT NULL UNIQUE, name TEXT NOT NULL, input_path TEXT NOT NULL, device INTEGER,
  inode INTEGER, task_count INTEGER NOT NULL DEFAULT 0, decided INTEGER NOT NULL DEFAULT 0, last_used INTEGER NOT NULL,
  archived INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX project_inode ON project (inode);
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
""",
    {1: "ALTER TABLE project ADD COLUMN archived INTEGER NOT NULL DEFAULT 0"},
)
_SELECT: Final = "SELECT id, place, name, input_path, task_count, decided, last_used, archived FROM project"


class Project(msgspec.Struct, frozen=True):
    """A line of the index. ``place``: its folder in the data folder, "" for the data folder itself; ``decided``: tasks
    that the person has decided about; ``last_used`` in Unix seconds; ``archived``: put away, else as it was."""

    id: str
    place: str
    name: str
    input_path: str
    task_count: int
    decided: int
    last_used: int
    archived: bool = False


class _About(msgspec.Struct, frozen=True):
    """project.json: what cannot be had from anywhere else."""

    id: str
    name: str
    input_path: str = ""
    archived: bool = False


class Projects:
    """Thread-safe, and usable by many programs at once. ``problems``: what was damaged."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._db = Database(root / "projects.db", _SCHEMA)
        self.problems = self._db.problems
        self._adopt()

    def close(self) -> None:
        """Let go of the index."""
        self._db.close()

    def all(self) -> list[Project]:
        """Those whose folder is there, the one used last first."""
        there = {f"{_FOLDER}/{name}" for name in _names(self.root / _FOLDER)}
        with self._db.read() as reader:
            rows = reader.execute(f"{_SELECT} ORDER BY last_used DESC, id").fetchall()
        found = [_project(row) for row in rows]
        return [one for one in found if not one.place or one.place in there or self._is_run(one)]

    def get(self, project_id: str) -> Project:
        """One; NotFound, also where its folder is gone."""
        with self._db.read() as reader:
            row = reader.execute(f"{_SELECT} WHERE id = ?", (project_id,)).fetchone()
        if row is None or not self.folder(_project(row)).is_dir():
            raise NotFound(Code.PROJECT_UNKNOWN, id=project_id[:64])
        return _project(row)

    def folder(self, project: Project) -> Path:
        """Where its tasks are kept."""
        return self.root / project.place

    def of_folder(self, path: str, *, made: bool = False) -> Project | None:
        """The project of this folder of pictures, whatever name leads to it: the one used last; None for none.
        ``made``: only one that a person began."""
        device, inode = _identity(path)
        with self._db.read() as reader:
            rows = reader.execute(
                f"{_SELECT} WHERE input_path = ? OR (inode = ? AND device = ?) ORDER BY last_used DESC",
                (printable(path), inode, device),
            ).fetchall()
        place = f"{_FOLDER}/" if made else ""
        rows = [row for row in rows if str(row["place"]).startswith(place)]
        same = (one for one in map(_project, rows) if is_same_folder(one.input_path, path))
        return next((one for one in same if self.folder(one).is_dir()), None)

    @property
    def current(self) -> str:
        """The id of the one that the program shows."""
        with self._db.read() as reader:
            row = reader.execute("SELECT value FROM setting WHERE key = ?", (_CURRENT,)).fetchone()
        return DEFAULT if row is None else str(row[0])

    def set_current(self, project_id: str) -> None:
        """The program shows this one from now on, also when it is started again."""
        with self._db.write() as writer:
            writer.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (_CURRENT, project_id))

    def create(self, name: str, input_path: str = "") -> Project:
        """A new one with an empty folder. InvalidInput for its name, StorageFailed."""
        project_id = secrets.token_hex(8)
        place, name = f"{_FOLDER}/{project_id}", checked_name(name)
        project = Project(project_id, place, name, printable(input_path), 0, 0, _now())
        folder = self.folder(project)
        try:
            folder.parent.mkdir(mode=0o700, exist_ok=True)
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise storage_failure(error, folder) from error
        self._describe(project)
        self._insert(project)
        return project

    def register(self, place: str, name: str, input_path: str) -> Project:
        """Note a folder of a run as a project, if it is none yet."""
        project = Project(place.replace("/", "-"), place, name[:MOST_LETTERS], printable(input_path), 0, 0, _now())
        self._insert(project)
        return project

    def set_name(self, project_id: str, name: str) -> None:
        """Give it another name; InvalidInput, NotFound."""
        known = self.get(project_id)
        project = msgspec.structs.replace(known, name=checked_name(name))
        with self.changing(known):
            self._describe(project)
        with self._db.write() as writer:
            writer.execute("UPDATE project SET name = ? WHERE id = ?", (project.name, project_id))

    def set_archived(self, project_id: str, archived: bool) -> None:
        """Put it away, or take it back; InvalidInput for the first one, NotFound."""
        project = msgspec.structs.replace(self.get(project_id), archived=archived)
        if archived and project.id == DEFAULT:
            raise InvalidInput(Code.PROJECT_FIRST, field="id")
        with self.changing(project):
            self._describe(project)
        with self._db.write() as writer:
            writer.execute("UPDATE project SET archived = ? WHERE id = ?", (archived, project_id))

    def set_input(self, project_id: str, input_path: str) -> None:
        """Its pictures lie there now."""
        project = msgspec.structs.replace(self.get(project_id), input_path=printable(input_path))
        with self.changing(project):
            self._describe(project)
        with self._db.write() as writer:
            writer.execute(
                "UPDATE project SET input_path = ?, device = ?, inode = ? WHERE id = ?",
                (project.input_path, *_identity(input_path), project_id),
            )

    def note(self, project_id: str, task_count: int, decided: int) -> None:
        """Keep its counts, and that it was used just now."""
        with self._db.write() as writer:
            writer.execute(
                "UPDATE project SET task_count = ?, decided = ?, last_used = ? WHERE id = ?",
                (task_count, decided, _now(), project_id),
            )

    def delete(self, project_id: str) -> None:
        """Delete it with its folder; the pictures that it was made from stay. InvalidInput for the first one, Busy
        where it is open, NotFound, StorageFailed."""
        project = self.get(project_id)
        if not project.place:
            raise InvalidInput(Code.PROJECT_FIRST, field="id")
        folder = self.folder(project)
        gone = folder.with_name(temporary_name())  # all or nothing: what cannot be written stays whole
        with self.changing(project):
            hold(folder).release()
            try:
                name_exclusively(folder, gone)
            except OSError as error:
                raise storage_failure(error, folder) from error
        remove(gone / _FILE)  # first: what is left of it after a kill is no project
        with self._db.write() as writer:
            writer.execute("DELETE FROM project WHERE id = ?", (project_id,))
        try:
            shutil.rmtree(gone)
        except OSError as error:
            raise storage_failure(error, gone) from error

    @contextlib.contextmanager
    def changing(self, project: Project) -> Iterator[None]:
        """Where the project's folder cannot be written in the block: StorageFailed (PROJECT_UNWRITABLE)."""
        try:
            yield
        except StorageFailed as error:
            name = project.name or Path(project.input_path).name
            place, reason = printable(str(self.folder(project))), error.problem.params.get("reason", "")
            raise StorageFailed(Code.PROJECT_UNWRITABLE, name=name, path=place, reason=reason) from error

    def _describe(self, project: Project) -> None:
        if project.place.startswith(f"{_FOLDER}/"):
            about = _About(project.id, project.name, project.input_path, project.archived)
            write_json(self.folder(project) / _FILE, about)

    def _insert(self, project: Project) -> None:
        device, inode = _identity(project.input_path)
        with self._db.write() as writer:
            writer.execute(
                "INSERT OR IGNORE INTO project (id, place, name, input_path, device, inode, last_used, archived)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (project.id, project.place, project.name, project.input_path, device, inode, project.last_used,
                 project.archived),
            )  # fmt: skip

    def _is_run(self, project: Project) -> bool:
        return not project.place.startswith(f"{_FOLDER}/") and self.folder(project).is_dir()

    def _adopt(self) -> None:
        """Take in folders that the index does not know: it was lost, or a copy was put there."""
        with self._db.read() as reader:
            known = {str(row[0]) for row in reader.execute("SELECT place FROM project")}
        if "" not in known:
            self._insert(Project(DEFAULT, "", "", "", 0, 0, _now()))
        for name in _names(self.root / _FOLDER):
            place = f"{_FOLDER}/{name}"
            if place in known:
                continue
            with contextlib.suppress(msgspec.ValidationError, sqlite3.Error):
                about = msgspec.convert(read_json(self.root / place / _FILE)[0], _About)
                shown = about.name[:MOST_LETTERS] or name
                self._insert(Project(name, place, shown, about.input_path, 0, 0, _now(), about.archived))


def _project(row: sqlite3.Row) -> Project:
    return msgspec.convert(dict(row), Project, strict=False)  # SQLite has no truth values


def checked_name(name: str) -> str:
    """A name as it is kept; InvalidInput where it is empty, too long or holds what cannot be shown."""
    name = " ".join(name.split())
    if not name:
        raise InvalidInput(Code.FIELD_REQUIRED, field="name", name="name")
    if len(name) > MOST_LETTERS or not name.isprintable():
        raise InvalidInput(Code.PROJECT_NAME, field="name", limit=MOST_LETTERS)
    return name


def _identity(path: str) -> tuple[int | None, int | None]:
    """Device and inode of a folder, as SQLite can hold them; Nones where it is not there."""
    if not path:
        return None, None
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None, None
    half = 1 << 63  # Windows has numbers beyond what SQLite holds
    return status.st_dev % half, status.st_ino % half


def is_same_folder(known: str, path: str) -> bool:
    """Whether two paths lead to one folder, under whatever names."""
    if not known or not path:
        return False
    try:
        return os.path.samefile(known, path)  # noqa: PTH121 - of two texts
    except (OSError, ValueError):
        return folded(known) == folded(printable(path))


def _names(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return


def _now() -> int:
    return int(time.time())
