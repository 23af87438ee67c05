"""How single rows and numbers are looked up in the task database, inside whatever transaction the caller has."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from engine.errors import Code, NotFound
from engine.models import Result, Task, TaskStatus
from engine.tasks.outcomes import in_chunks
from engine.tasks.rows import LISTED, result_of, task_of

Counts = dict[TaskStatus, int]


def count_by_status(reader: sqlite3.Connection) -> Counts:
    """Tasks of the list in each state."""
    counts = dict.fromkeys(TaskStatus, 0)
    for status, count in reader.execute(f"SELECT status, count(*) FROM task WHERE {LISTED} GROUP BY status"):
        counts[TaskStatus(status)] = count
    return counts


def count_among(reader: sqlite3.Connection, ids: Sequence[str]) -> Counts:
    """Of these tasks, how many are in each state."""
    counts = dict.fromkeys(TaskStatus, 0)
    for row in in_chunks(reader, "SELECT status FROM task WHERE id IN", ids):
        counts[TaskStatus(row["status"])] += 1
    return counts


def find_result(reader: sqlite3.Connection, task_id: str, result_id: str) -> Result:
    """One result of one task; NotFound."""
    row = reader.execute("SELECT * FROM result WHERE id = ? AND task_id = ?", (result_id, task_id)).fetchone()
    if row is None:
        if reader.execute("SELECT 1 FROM task WHERE id = ?", (task_id,)).fetchone() is None:
            raise NotFound(Code.TASK_UNKNOWN, id=task_id)
        raise NotFound(Code.RESULT_UNKNOWN, id=result_id)
    return result_of(row)


def uses_hash(reader: sqlite3.Connection, digest: str) -> bool:
    """Whether any result, dropped or not, is this file."""
    return exists(reader, "SELECT 1 FROM result WHERE hash = ? LIMIT 1", digest)


def exists(reader: sqlite3.Connection, statement: str, value: str) -> bool:
    """Whether a statement with one parameter finds anything."""
    return reader.execute(statement, (value,)).fetchone() is not None


def meta_number(reader: sqlite3.Connection, key: str) -> int:
    """A number kept beside the tasks."""
    return int(reader.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])


def with_results(reader: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> list[Task]:
    """Task rows as Structs, each with its results in order of arrival."""
    tasks = [task_of(row) for row in rows]
    by_id = {task.id: task for task in tasks}
    for row in in_chunks(reader, "SELECT * FROM result WHERE task_id IN", list(by_id), " ORDER BY seq"):
        by_id[row["task_id"]].results.append(result_of(row))
    return tasks
