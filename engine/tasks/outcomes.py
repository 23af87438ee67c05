"""What threads write together: that tasks begin, what they came to, what was said of results. Each function writes the
changes of all who wait at the same time, in a transaction that `Database.together` opens."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from engine.errors import Code, NotFound
from engine.models import EditOutcome, Judgement, Task, TaskStatus
from engine.tasks.rows import COUNTED, INSERT_RESULTS, SCORED, encode, result_rows, task_of

_ROWS: Final = 100  # a statement, far below what SQLite takes
_CHUNK: Final = 500  # ids in one statement: well under SQLite's limit of variables


class Start(msgspec.Struct, frozen=True):
    """Tasks that begin ``now`` (Unix seconds)."""

    ids: Sequence[str]
    now: int


class PendingWrite(msgspec.Struct, frozen=True):
    """What a task came to ``now`` (Unix seconds); ids for its results by their hash, made where it names none."""

    outcome: EditOutcome
    result_ids: Mapping[str, str]
    now: int


def next_revision(writer: sqlite3.Connection) -> int:
    """The number of this change."""
    row = writer.execute("UPDATE meta SET value = value + 1 WHERE key = 'revision' RETURNING value").fetchone()
    return int(row[0])


def rows_by_ids(reader: sqlite3.Connection, ids: Sequence[str], columns: str = "*") -> list[sqlite3.Row]:
    """Task rows in task order, unknown ids left out; ``columns`` with ``seq`` among them."""
    rows = list(in_chunks(reader, f"SELECT {columns} FROM task WHERE id IN", ids))
    return sorted(rows, key=lambda row: int(row["seq"]))


def in_chunks(reader: sqlite3.Connection, statement: str, ids: Sequence[str], tail: str = "") -> Iterable[sqlite3.Row]:
    """Rows for many ids, some hundred a statement."""
    for start in range(0, len(ids), _CHUNK):
        part = ids[start : start + _CHUNK]
        yield from reader.execute(f"{statement} ({','.join('?' * len(part))}){tail}", part)


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


def write_outcomes(writer: sqlite3.Connection, writes: Sequence[PendingWrite]) -> list[TaskStatus | None]:
    """Keep outcomes, of one task each: new results (unique by hash), state, errors, debug log; the states before, None
    for a task that is not in the list.

    NotFound where a task is not there.
    """
    ids = [write.outcome.task_id for write in writes]
    rows = rows_by_ids(writer, ids, "id, seq, status, trial")
    before = {row["id"]: None if row["trial"] else TaskStatus(row["status"]) for row in rows}
    for task_id in ids:
        if task_id not in before:
            raise NotFound(Code.TASK_UNKNOWN, id=task_id)
    results = [row for one in writes for row in result_rows(one.outcome, one.result_ids)]
    for part, marks in _parts(results):
        writer.execute(f"{INSERT_RESULTS}{marks}", part)
    outcomes = [write.outcome for write in writes]
    logs = [(outcome.task_id, msgspec.msgpack.encode(outcome.log)) for outcome in outcomes if outcome.log]
    for part, marks in _parts(logs):
        writer.execute(f"INSERT INTO debug (task_id, entries) VALUES {marks}", part)
    for part, marks in _parts([_task_row(write) for write in writes]):
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


def write_judgements(writer: sqlite3.Connection, judgements: Sequence[tuple[str, Judgement | None, int]]) -> list[None]:
    """Keep judgements of results, each with its result's id and when it came (Unix seconds). NotFound."""
    revision = next_revision(writer)
    for result_id, judgement, now in judgements:
        score = None if judgement is None else float(judgement.score)
        found = writer.execute(
            "UPDATE result SET judgement = ?, score = ? WHERE id = ? RETURNING task_id",
            (encode(judgement), score, result_id),
        ).fetchone()
        if found is None:
            raise NotFound(Code.RESULT_UNKNOWN, id=result_id)
        writer.execute(
            f"UPDATE task SET updated_at = ?, revision = ?, {SCORED} WHERE id = ?", (now, revision, found[0])
        )
    return [None] * len(judgements)


def _task_row(write: PendingWrite) -> tuple[object, ...]:
    outcome = write.outcome
    return (
        outcome.task_id, outcome.status, outcome.attempts, outcome.http_status, encode(outcome.error),
        encode(outcome.warning), bool(outcome.log), bool(outcome.images), write.now,
    )  # fmt: skip


def _parts(rows: Sequence[tuple[object, ...]]) -> Iterator[tuple[list[object], str]]:
    """Rows as values and their places in a statement, a part of them at a time."""
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        marks = f"({', '.join('?' * len(part[0]))})"
        yield [value for row in part for value in row], ", ".join([marks] * len(part))
