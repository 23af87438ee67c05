"""Whole tasks as they are carried from one store to another, and tasks whose sources moved: how that is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from engine.errors import Code, Problem
from engine.models import OPEN, DebugEntry, Task, TaskStatus
from engine.paths import natural_key
from engine.tasks.outcomes import next_revision
from engine.tasks.relocate import Move
from engine.tasks.rows import COUNTED, SCORED, encode

_TASK: Final = (
    "id", "source_path", "source_name", "name_key", "fingerprint", "extra_sources", "user_prompt", "system_prompt",
    "variant", "status", "attempts", "http_status", "error", "warning", "has_debug_log", "judged", "trial",
    "updated_at", "revision",
)  # fmt: skip
_RESULT: Final = (
    "id", "task_id", "hash", "size", "mime", "extension", "width", "height", "source_type", "selected", "deleted",
    "saved", "created_at", "source_hash", "asked", "judgement", "score", "caption", "caption_seen", "cost",
)  # fmt: skip


def insert_tasks(
    writer: sqlite3.Connection, tasks: Iterable[Task], logs: Iterable[tuple[str, Sequence[DebugEntry]]]
) -> None:
    """Append tasks with results, and logs by the task's id, as they were; those that were under way are stopped. One
    after the other: all of a project need not fit into memory."""
    revision = next_revision(writer)
    for task in tasks:
        writer.execute(_insert("task", _TASK), _task_row(task, revision))
        writer.executemany(_insert("result", _RESULT), _result_rows(task))
        writer.execute(f"UPDATE task SET {COUNTED}, {SCORED} WHERE id = ?", (task.id,))
    for task_id, entries in logs:
        if writer.execute("UPDATE task SET has_debug_log = 1 WHERE id = ?", (task_id,)).rowcount:
            writer.execute(
                "INSERT OR REPLACE INTO debug (task_id, entries) VALUES (?, ?)",
                (task_id, msgspec.msgpack.encode(entries)),
            )


def move_tasks(writer: sqlite3.Connection, moves: Iterable[Move]) -> None:
    """Tasks whose sources lie elsewhere now."""
    revision = next_revision(writer)
    writer.executemany(
        "UPDATE task SET source_path = ?, source_name = ?, name_key = ?, extra_sources = ?, fingerprint = ?,"
        " revision = ? WHERE id = ?",
        [
            (move.source_path, move.source_name, natural_key(move.source_name), _references(move.references),
             move.fingerprint, revision, move.task_id)
            for move in moves
        ],
    )  # fmt: skip


def _insert(table: str, columns: Sequence[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _references(paths: Sequence[str]) -> str | None:
    return msgspec.json.encode(paths).decode() if paths else None


def _task_row(task: Task, revision: int) -> tuple[object, ...]:
    status, error = task.status, task.error
    if status in OPEN:
        status, error = TaskStatus.STOPPED, Problem(Code.FOUND_UNFINISHED)
    return (
        task.id, task.source_path, task.source_name, natural_key(task.source_name), task.fingerprint,
        _references(task.references), task.user_prompt, task.system_prompt, task.variant, status, task.attempts,
        task.http_status, encode(error), encode(task.warning), False, task.judged, task.trial, task.updated_at,
        revision,
    )  # fmt: skip


def _result_rows(task: Task) -> list[tuple[object, ...]]:
    return [
        (
            one.id, task.id, one.hash, one.size, one.mime, one.extension, one.width, one.height, one.source_type,
            one.selected, one.deleted, one.saved, one.created_at, one.source_hash, one.request_record,
            encode(one.judgement), None if one.judgement is None else one.judgement.score, one.caption,
            one.caption_seen, one.cost,
        )
        for one in task.results
    ]  # fmt: skip
