"""The jobs that providers have taken on, in a SQLite file of their own: on disk, power cut included, before anybody
asks for one. No key is in it.

A provider's batch is a row of its own ``kind`` with many tasks; a job has one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from engine.database import Database, Schema

_SCHEMA: Final = Schema(
    1,
    """
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
""",
)
_KEPT_SECONDS = 7 * 86_400.0


class RemoteKind(StrEnum):
    """What a provider has taken on."""

    JOB = "job"
    BATCH = "batch"


class RemoteState(StrEnum):
    """``waiting``: asked for from time to time; ``left``: nobody asks, it may be collected; the others are final."""

    WAITING = "waiting"
    LEFT = "left"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN = frozenset({RemoteState.WAITING, RemoteState.LEFT})


class RemoteRow(msgspec.Struct, frozen=True):
    """One job or batch. Times in Unix seconds; ``body``: what collecting it needs, as its kind has it."""

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


class RemoteBook:
    """Thread-safe. Raises StorageFailed."""

    def __init__(self, path: Path, now: float) -> None:
        self._db = Database(path, _SCHEMA)
        self.problems = self._db.problems
        with self._db.write() as writer:
            writer.execute(
                "DELETE FROM remote WHERE state NOT IN ('waiting', 'left') AND submitted_at < ?", (now - _KEPT_SECONDS,)
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


def _write_rows(writer: sqlite3.Connection, rows: Sequence[RemoteRow]) -> list[None]:
    writer.executemany(
        "INSERT OR REPLACE INTO remote VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (row.id, row.kind, row.provider, row.provider_id, row.state, row.submitted_at, row.expires_at, row.body)
            for row in rows
        ],
    )
    writer.executemany(
        "INSERT OR REPLACE INTO remote_task VALUES (?, ?, ?)",
        [(task_id, row.id, row.state) for row in rows for task_id in row.tasks],
    )
    return [None] * len(rows)


def _row(connection: sqlite3.Connection, row: sqlite3.Row) -> RemoteRow:
    tasks = connection.execute("SELECT task_id, state FROM remote_task WHERE remote_id = ?", (row["id"],)).fetchall()
    states = [task["state"] for task in tasks]
    return RemoteRow(
        row["id"], RemoteKind(row["kind"]), row["provider"], row["provider_id"], RemoteState(row["state"]),
        row["submitted_at"], row["expires_at"], bytes(row["body"]), tuple(task["task_id"] for task in tasks),
        states.count("done"), states.count("failed"),
    )  # fmt: skip
