"""How the way of a task is written: that it begins, and what it came to. SQL inside a transaction of the caller."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator, Mapping, Sequence
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


_ROWS: Final = 100  # a statement, far below what SQLite takes


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


class Start(msgspec.Struct, frozen=True):
    """Tasks that begin ``now`` (Unix seconds)."""

    ids: Sequence[str]
    now: int


class Landing(msgspec.Struct, frozen=True):
    """What a task came to ``now`` (Unix seconds); ids for its results by their hash, made where it names none."""

    outcome: EditOutcome
    result_ids: Mapping[str, str]
    now: int


# Each statement below carries all that wait at the same time: the interpreter lets go of its lock some seven times for
# each statement, and taking it back costs more than the statement while other threads want it.


def write_starts(writer: sqlite3.Connection, starts: Sequence[Start]) -> list[list[Task]]:
    """Move tasks to processing; those of each start come back as they were, without earlier results.

    NotFound where a start has none that is there.
    """
    rows = rows_by_ids(writer, [task_id for start in starts for task_id in start.ids])
    tasks = {row["id"]: task_of(row) for row in rows}
    found = [[task for task_id, task in tasks.items() if task_id in start.ids] for start in starts]
    for start, begun in zip(starts, found, strict=True):
        if not begun:
            raise NotFound(Code.TASK_UNKNOWN, id=start.ids[0])
    for part, marks in _parts([(task_id,) for task_id in tasks]):
        writer.execute(
            "UPDATE task SET status = 'processing', error = NULL, warning = NULL, updated_at = ?, revision = ?"
            f" WHERE id IN (VALUES {marks})",
            (starts[-1].now, next_revision(writer), *part),
        )
    return found


def write_landings(writer: sqlite3.Connection, landings: Sequence[Landing]) -> list[TaskStatus]:
    """Keep outcomes, of one task each: new results (unique by hash), state, errors, debug log; the states before.

    NotFound where a task is not there.
    """
    ids = [landing.outcome.task_id for landing in landings]
    before = {row["id"]: TaskStatus(row["status"]) for row in rows_by_ids(writer, ids, "id, seq, status")}
    for task_id in ids:
        if task_id not in before:
            raise NotFound(Code.TASK_UNKNOWN, id=task_id)
    for part, marks in _parts([row for landing in landings for row in _result_rows(landing)]):
        writer.execute(
            "INSERT OR IGNORE INTO result (id, task_id, hash, size, mime, extension, width, height, source_type,"
            f" created_at, source_hash, asked) VALUES {marks}",
            part,
        )
    outcomes = [landing.outcome for landing in landings]
    logs = [(outcome.task_id, msgspec.msgpack.encode(outcome.log)) for outcome in outcomes if outcome.log]
    for part, marks in _parts(logs):
        writer.execute(f"INSERT INTO debug (task_id, entries) VALUES {marks}", part)
    for part, marks in _parts([_task_row(landing) for landing in landings]):
        writer.execute(
            f"WITH new (id, status, attempts, http_status, error, warning, logged, pictures, now) AS (VALUES {marks})"
            " UPDATE task SET status = new.status, attempts = task.attempts + new.attempts,"
            " http_status = new.http_status, error = new.error, warning = new.warning,"
            " has_debug_log = has_debug_log OR new.logged,"
            " judged = iif(new.pictures, iif(task.result_count > 0, 2, 0), judged),"
            f" updated_at = new.now, revision = ?, {COUNTED} FROM new WHERE task.id = new.id",
            (*part, next_revision(writer)),
        )
    return [before[task_id] for task_id in ids]


def _result_rows(landing: Landing) -> list[tuple[object, ...]]:
    outcome = landing.outcome
    return [
        (
            landing.result_ids.get(image.hash) or new_id(), outcome.task_id, image.hash, image.size,
            image.info.mime, image.info.extension, image.info.width, image.info.height, image.source_type,
            outcome.at or landing.now, outcome.source_hash, outcome.request_record,
        )
        for image in outcome.images
    ]  # fmt: skip


def _task_row(landing: Landing) -> tuple[object, ...]:
    outcome = landing.outcome
    return (
        outcome.task_id, outcome.status, outcome.attempts, outcome.http_status, encode_problem(outcome.error),
        encode_problem(outcome.warning), bool(outcome.log), bool(outcome.images), landing.now,
    )  # fmt: skip


def _parts(rows: Sequence[tuple[object, ...]]) -> Iterator[tuple[list[object], str]]:
    """Rows as values and their places in a statement, a part of them at a time."""
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        marks = f"({', '.join('?' * len(part[0]))})"
        yield [value for row in part for value in row], ", ".join([marks] * len(part))
