"""How the way of a task is written: that it begins, and what it came to. SQL inside a transaction of the caller."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from engine.errors import Code, NotFound, Problem
from engine.models import EditOutcome, Task, TaskStatus
from engine.tasks.query import rows_by_ids, task_of

COUNTED: Final = (
    "(result_count, selected_count, dropped_count) = (SELECT coalesce(sum(NOT deleted), 0),"
    " coalesce(sum(selected AND NOT deleted), 0), coalesce(sum(deleted), 0) FROM result WHERE task_id = task.id)"
)
"""For an UPDATE of task: its numbers of results."""


def new_id() -> str:
    """An id for a task or a result."""
    return uuid.uuid4().hex[:16]


def next_revision(writer: sqlite3.Connection) -> int:
    """The number of this change."""
    row = writer.execute("UPDATE meta SET value = value + 1 WHERE key = 'revision' RETURNING value").fetchone()
    return int(row[0])


def encode_problem(problem: Problem | None) -> str | None:
    """A problem as it is stored."""
    return None if problem is None else msgspec.json.encode(problem).decode()


def write_begun(writer: sqlite3.Connection, ids: Sequence[str], now: int) -> list[Task]:
    """Move tasks to processing; they come back as they were, without earlier results. NotFound if none is there."""
    tasks = [task_of(row) for row in rows_by_ids(writer, ids)]
    if not tasks:
        raise NotFound(Code.TASK_UNKNOWN, id=ids[0])
    revision = next_revision(writer)
    writer.executemany(
        "UPDATE task SET status = 'processing', error = NULL, warning = NULL, updated_at = ?, revision = ?"
        " WHERE id = ?",
        [(now, revision, task.id) for task in tasks],
    )
    return tasks


def write_outcome(
    writer: sqlite3.Connection, outcome: EditOutcome, now: int, result_ids: Mapping[str, str]
) -> TaskStatus:
    """Keep an outcome: new results (unique by hash), state, errors, debug log; the state before. NotFound."""
    row = writer.execute("SELECT status FROM task WHERE id = ?", (outcome.task_id,)).fetchone()
    if row is None:
        raise NotFound(Code.TASK_UNKNOWN, id=outcome.task_id)
    writer.executemany(
        "INSERT OR IGNORE INTO result (id, task_id, hash, size, mime, extension, width, height, source_type,"
        " created_at, source_hash, asked) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                result_ids.get(image.hash) or new_id(), outcome.task_id, image.hash, image.size,
                image.info.mime, image.info.extension, image.info.width, image.info.height, image.source_type,
                outcome.at or now, outcome.source_hash, outcome.asked,
            )
            for image in outcome.images
        ],
    )  # fmt: skip
    if outcome.log:
        log = msgspec.msgpack.encode(outcome.log)
        writer.execute("INSERT INTO debug (task_id, entries) VALUES (?, ?)", (outcome.task_id, log))
    writer.execute(
        "UPDATE task SET status = ?, attempts = attempts + ?, http_status = ?, error = ?, warning = ?,"
        f" has_debug_log = has_debug_log OR ?, updated_at = ?, revision = ?, {COUNTED} WHERE id = ?",
        (
            outcome.status, outcome.attempts, outcome.http_status, encode_problem(outcome.error),
            encode_problem(outcome.warning), bool(outcome.log), now, next_revision(writer), outcome.task_id,
        ),
    )  # fmt: skip
    return TaskStatus(row["status"])
