"""The jobs that providers have taken on, in a SQLite file of their own: on disk, power cut included, before anybody
asks for one. No key is in it.

A provider's batch is a row of its own ``kind`` with many tasks; a job has one. What was uploaded for batches is noted
too: it is named again for the same bytes, and deleted when no open batch needs it.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from engine.database import Database, Schema, opened_to_read
from engine.errors import StorageFailed

_FOR_BATCHES: Final = """
ALTER TABLE remote ADD COLUMN note BLOB NOT NULL DEFAULT '';
CREATE TABLE upload (
  place TEXT NOT NULL, hash TEXT NOT NULL, file TEXT NOT NULL, expires_at REAL NOT NULL, PRIMARY KEY (place, hash)
) WITHOUT ROWID;
CREATE TABLE upload_use (
  remote_id TEXT NOT NULL REFERENCES remote (id) ON DELETE CASCADE, file TEXT NOT NULL, PRIMARY KEY (remote_id, file)
) WITHOUT ROWID;
CREATE INDEX use_of_upload ON upload_use (file);
"""
_SCHEMA: Final = Schema(
    2,
    f"""
CREATE TABLE remote (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, provider TEXT NOT NULL, provider_id TEXT NOT NULL, state TEXT NOT NULL,
  submitted_at REAL NOT NULL, expires_at REAL NOT NULL, body BLOB NOT NULL
);
CREATE TABLE remote_task (
  task_id TEXT NOT NULL, remote_id TEXT NOT NULL REFERENCES remote (id) ON DELETE CASCADE, state TEXT NOT NULL,
  PRIMARY KEY (task_id, remote_id)
) WITHOUT ROWID;
CREATE INDEX remote_state ON remote (state);
CREATE INDEX remote_of_task ON remote_task (remote_id);
{_FOR_BATCHES}
""",
    {1: _FOR_BATCHES},
)
_KEPT_SECONDS = 7 * 86_400.0
log = logging.getLogger(__name__)


class RemoteKind(StrEnum):
    """What a provider has taken on."""

    JOB = "job"
    BATCH = "batch"


class RemoteState(StrEnum):
    """``submitting``: a batch that is being made, or may have been; ``waiting``: asked for from time to time; ``left``:
    nobody asks, it may be collected; the others are final."""

    SUBMITTING = "submitting"
    WAITING = "waiting"
    LEFT = "left"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = frozenset({RemoteState.SUBMITTING, RemoteState.WAITING, RemoteState.LEFT})


class RemoteRow(msgspec.Struct, frozen=True):
    """One job or batch. Times in Unix seconds; ``body``: what collecting it needs, as its kind has it;
    ``note``: how far a batch is made."""

    id: str
    kind: RemoteKind
    provider: str
    provider_id: str
    state: RemoteState
    submitted_at: float
    expires_at: float
    body: bytes
    tasks: tuple[str, ...] = ()
    done: int = 0
    failed: int = 0
    note: bytes = b""


class RemoteBook:
    """Thread-safe. Raises StorageFailed."""

    def __init__(self, path: Path, now: float) -> None:
        self._db = Database(path, _SCHEMA)
        self._needs = threading.Lock()
        self._needed: Counter[str] = Counter()  # uploads that lines name whose batch is not noted yet
        self.problems = self._db.problems
        with self._db.write() as writer:
            writer.execute(
                "DELETE FROM remote WHERE state IN ('done', 'failed', 'cancelled') AND submitted_at < ?",
                (now - _KEPT_SECONDS,),
            )

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def add(self, row: RemoteRow) -> None:
        """Note it; on disk when this returns. Those that come at the same time share the way to disk."""
        self._db.together(_write_rows, row, durable=True)

    def mark(self, ids: Sequence[str], state: RemoteState, *, expires_at: float | None = None) -> None:
        """Put jobs and their tasks into a state."""
        with self._db.write() as writer:
            writer.executemany(
                "UPDATE remote SET state = ?, expires_at = coalesce(?, expires_at) WHERE id = ?",
                [(state, expires_at, remote_id) for remote_id in ids],
            )
            writer.executemany(
                "UPDATE remote_task SET state = ? WHERE remote_id = ?", [(state, remote_id) for remote_id in ids]
            )

    # --- batches ---

    def note(
        self,
        remote_id: str,
        *,
        note: bytes | None = None,
        provider_id: str | None = None,
        state: RemoteState | None = None,
        expires_at: float | None = None,
    ) -> None:
        """How far a batch is; its tasks keep their states. On disk when this returns."""
        with self._db.write(durable=True) as writer:
            writer.execute(
                "UPDATE remote SET note = coalesce(?, note), provider_id = coalesce(?, provider_id),"
                " state = coalesce(?, state), expires_at = coalesce(?, expires_at) WHERE id = ?",
                (note, provider_id, state, expires_at, remote_id),
            )

    def mark_task(self, remote_id: str, task_id: str, state: RemoteState) -> None:
        """What became of one line of a batch."""
        self._db.together(_mark_tasks, (state, remote_id, task_id), durable=False)

    def release(self, remote_id: str, tasks: Sequence[str]) -> None:
        """These tasks are not in the batch after all."""
        with self._db.write(durable=True) as writer:
            writer.executemany(
                "DELETE FROM remote_task WHERE remote_id = ? AND task_id = ?", [(remote_id, one) for one in tasks]
            )

    def remove(self, remote_id: str) -> None:
        """A batch that was never made."""
        with self._db.write(durable=True) as writer:
            writer.execute("DELETE FROM upload_use WHERE remote_id = ?", (remote_id,))
            writer.execute("DELETE FROM remote_task WHERE remote_id = ?", (remote_id,))
            writer.execute("DELETE FROM remote WHERE id = ?", (remote_id,))

    def open_tasks(self, remote_id: str) -> set[str]:
        """The tasks of a batch that nothing has come for."""
        with self._db.read() as reader:
            rows = reader.execute(
                "SELECT task_id FROM remote_task WHERE remote_id = ? AND state IN ('submitting', 'waiting', 'left')",
                (remote_id,),
            )
            return {row["task_id"] for row in rows}

    # --- what was uploaded for them ---

    def uploaded(self, place: str, digest: str, now: float) -> str | None:
        """What a picture is called at a place, if it is kept there for an hour at least; it is needed from now on."""
        with self._needs, self._db.read() as reader:
            row = reader.execute(
                "SELECT file FROM upload WHERE place = ? AND hash = ? AND expires_at > ?", (place, digest, now + 3600)
            ).fetchone()
            if row is None:
                return None
            self._needed[row["file"]] += 1
            return str(row["file"])

    def keep_upload(self, place: str, digest: str, file: str, expires_at: float) -> None:
        """A picture is there now, and needed."""
        with self._needs, self._db.write() as writer:
            writer.execute("INSERT OR REPLACE INTO upload VALUES (?, ?, ?, ?)", (place, digest, file, expires_at))
            self._needed[file] += 1

    def use_uploads(self, remote_id: str, files: Sequence[str]) -> None:
        """A batch needs these files until it has ended."""
        with self._db.write() as writer:
            writer.executemany("INSERT OR IGNORE INTO upload_use VALUES (?, ?)", [(remote_id, file) for file in files])

    def need_no_more(self, files: Sequence[str]) -> None:
        """Whoever asked for these uploads has noted their use, or gives them up."""
        with self._needs:
            self._needed.subtract(files)

    def take_unused(self, remote_id: str) -> list[str]:
        """Files of a batch that nobody else needs, forgotten here: they are to be deleted at the provider."""
        with self._needs, self._db.write() as writer:
            rows = writer.execute(
                "SELECT file FROM upload_use mine WHERE remote_id = ? AND NOT EXISTS (SELECT 1 FROM upload_use other"
                " JOIN remote ON remote.id = other.remote_id WHERE other.file = mine.file AND other.remote_id <> ?"
                " AND remote.state IN ('submitting', 'waiting', 'left'))",
                (remote_id, remote_id),
            ).fetchall()
            files = [row["file"] for row in rows if self._needed[row["file"]] <= 0]
            for file in files:
                writer.execute("DELETE FROM upload WHERE file = ?", (file,))
                writer.execute("DELETE FROM upload_use WHERE file = ?", (file,))
            return files

    # --- reading ---

    def find(self, remote_id: str) -> RemoteRow | None:
        """The row of that id."""
        with self._db.read() as reader:
            row = reader.execute("SELECT * FROM remote WHERE id = ?", (remote_id,)).fetchone()
            return _row(reader, row) if row is not None else None

    def rows(self, *states: RemoteState, newest: int = 5000) -> list[RemoteRow]:
        """The rows in these states, all without any; the newest first."""
        chosen = states or tuple(RemoteState)
        marks = ", ".join("?" * len(chosen))
        query = f"SELECT * FROM remote WHERE state IN ({marks}) ORDER BY submitted_at DESC LIMIT ?"  # noqa: S608 - marks
        with self._db.read() as reader:
            found = reader.execute(query, (*chosen, newest)).fetchall()
            return [_row(reader, row) for row in found]


def batches_at_providers(path: Path) -> list[RemoteRow]:
    """The open batches in a book that is not open here; none where there is none, or it cannot be read."""
    if not path.is_file():
        return []
    try:
        with opened_to_read(path) as reader:
            rows = reader.execute(
                "SELECT * FROM remote WHERE kind = 'batch' AND state IN ('submitting', 'waiting')"
                " ORDER BY submitted_at DESC"
            ).fetchall()
            return [_row(reader, row) for row in rows]
    except StorageFailed as error:
        log.warning("batches in %s not looked up: %s", path, error.code)
        return []


def _write_rows(writer: sqlite3.Connection, rows: Sequence[RemoteRow]) -> list[None]:
    writer.executemany(
        "INSERT OR REPLACE INTO remote VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                row.id, row.kind, row.provider, row.provider_id, row.state, row.submitted_at, row.expires_at, row.body,
                row.note,
            )
            for row in rows
        ],
    )  # fmt: skip
    writer.executemany(
        "INSERT OR REPLACE INTO remote_task VALUES (?, ?, ?)",
        [(task_id, row.id, row.state) for row in rows for task_id in row.tasks],
    )
    return [None] * len(rows)


def _mark_tasks(writer: sqlite3.Connection, marks: Sequence[tuple[RemoteState, str, str]]) -> list[None]:
    writer.executemany("UPDATE remote_task SET state = ? WHERE remote_id = ? AND task_id = ?", marks)
    return [None] * len(marks)


def _row(connection: sqlite3.Connection, row: sqlite3.Row) -> RemoteRow:
    tasks = connection.execute("SELECT task_id, state FROM remote_task WHERE remote_id = ?", (row["id"],)).fetchall()
    states = [task["state"] for task in tasks]
    return RemoteRow(
        row["id"], RemoteKind(row["kind"]), row["provider"], row["provider_id"], RemoteState(row["state"]),
        row["submitted_at"], row["expires_at"], bytes(row["body"]), tuple(task["task_id"] for task in tasks),
        states.count("done"), states.count("failed"), _bytes(row["note"]),
    )  # fmt: skip


def _bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)
