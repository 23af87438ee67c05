"""Whether a task database is sound, and what can be saved from one that is not."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Final

from engine.models import SourceType, TaskStatus

_BLOCK: Final = 5000  # rows whose texts are decoded at once
_MOST: Final = 2**53  # a number with more behind it, however often it grows by one


def _quote_values(kind: type[TaskStatus] | type[SourceType]) -> str:
    return ", ".join(f"'{member.value}'" for member in kind)


def _all_of(kind: str, *columns: str) -> str:
    return " AND ".join(f"typeof({column}) = '{kind}'" for column in columns)


def _numbers(*columns: str) -> str:
    return " AND ".join(f"typeof({column}) = 'integer' AND {column} BETWEEN {-_MOST} AND {_MOST}" for column in columns)


_IS_ID: Final = "(typeof({0}) = 'text' AND length({0}) BETWEEN 1 AND 128 AND {0} NOT GLOB '*[^A-Za-z0-9_-]*')"
_TASK_NUMBERS: Final = (
    *("seq", "variant", "attempts", "has_debug_log", "result_count", "selected_count", "dropped_count"),
    *("updated_at", "revision", "judged"),
)
_RESULT_NUMBERS: Final = ("seq", "size", "width", "height", "selected", "deleted", "created_at", "caption_seen")
# What can be mended in a row without losing it: column, what it must be, what it becomes.
_MENDED: Final = (
    ("task", "status", f"status IN ({_quote_values(TaskStatus)})", "'stopped'"),
    *(("task", name, f"({name} IS NULL OR json_valid({name}))", "NULL") for name in ("error", "warning")),
    ("task", "extra_sources", "(extra_sources IS NULL OR json_type(extra_sources) = 'array')", "NULL"),
    ("task", "http_status", "typeof(http_status) IN ('integer', 'null')", "NULL"),
    *(
        ("task", name, f"typeof({name}) IN ('text', 'null')", "NULL")
        for name in ("user_prompt", "system_prompt", "trial")
    ),
    *(("task", name, _all_of("text", name), "''") for name in ("name_key", "fingerprint")),
    *(("task", name, _numbers(name), "0") for name in _TASK_NUMBERS[1:]),
    ("result", "source_type", f"source_type IN ({_quote_values(SourceType)})", "'url'"),
    ("result", "saved", "typeof(saved) IN ('text', 'null')", "NULL"),
    *(("result", name, _all_of("text", name), "''") for name in ("asked", "source_hash")),
    *(("result", name, _numbers(name), "0") for name in _RESULT_NUMBERS[1:]),
    ("result", "judgement", "(judgement IS NULL OR json_valid(judgement))", "NULL"),
    ("result", "caption", "typeof(caption) IN ('text', 'null')", "NULL"),
    *((table, "score", "typeof(score) IN ('real', 'null')", "NULL") for table in ("task", "result")),
    ("result", "cost", "typeof(cost) IN ('real', 'null')", "NULL"),
)
_SOUND: Final = {
    "task": f"{_numbers('seq')} AND {_IS_ID.format('id')} AND {_all_of('text', 'source_path', 'source_name')}",
    "result": (
        f"{_numbers('seq')} AND {_IS_ID.format('id')} AND {_IS_ID.format('task_id')}"
        f" AND {_all_of('text', 'hash', 'extension', 'mime')}"
        " AND length(hash) = 64 AND hash NOT GLOB '*[^0-9a-f]*'"
        " AND length(extension) BETWEEN 1 AND 8 AND extension NOT GLOB '*[^a-z0-9]*'"
    ),
}
_TEXTS: Final = {
    "task": ("id", "source_path", "source_name", "name_key", "fingerprint", "user_prompt", "system_prompt", "error"),
    "result": ("id", "task_id", "hash", "mime", "extension", "saved", "asked", "source_hash", "caption"),
}


def check_rows(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError unless every row can be read as what it should be."""
    for table, sound in _SOUND.items():
        there = {str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")}  # fewer in an older version
        wanted = [sound, *(condition for of, name, condition, _ in _MENDED if of == table and name in there)]
        bad = f"SELECT 1 FROM {table} WHERE NOT coalesce({' AND '.join(wanted)}, 0) LIMIT 1"
        if connection.execute(bad).fetchone() is not None:
            raise sqlite3.DatabaseError(f"unreadable row in {table}")
        texts = " || ".join(f"coalesce({name}, '')" for name in _TEXTS[table] if name in there)
        last = -_MOST - 1
        while last is not None:  # decoded in C; raises where it is no UTF-8
            block = f"SELECT seq, {texts} AS texts FROM {table} WHERE seq > ? ORDER BY seq LIMIT {_BLOCK}"
            _, last = connection.execute(f"SELECT group_concat(texts, ''), max(seq) FROM ({block})", (last,)).fetchone()
    counters = connection.execute("SELECT 1 FROM sqlite_sequence WHERE seq NOT BETWEEN 0 AND ? LIMIT 1", (_MOST,))
    if counters.fetchone() is not None:
        raise sqlite3.DatabaseError("sqlite_sequence")
    numbers = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    last = connection.execute("SELECT coalesce(max(revision), 0) FROM task").fetchone()[0]
    if not isinstance(numbers.get("reset_revision"), int) or not last <= int(numbers.get("revision", -1)) <= _MOST:
        raise sqlite3.DatabaseError("meta")


def salvage(source: sqlite3.Connection, into: sqlite3.Connection) -> int:
    """Copy every row that can still be read into an empty database of the same schema; how many tasks."""
    source.text_factory = lambda data: data.decode("utf-8", "replace")
    into.execute("BEGIN IMMEDIATE")
    for table in ("task", "result", "debug"):
        _copy_table(source, into, table)
    return _mend(into)


def _copy_table(source: sqlite3.Connection, into: sqlite3.Connection, table: str) -> None:
    columns = [str(row[1]) for row in into.execute(f"PRAGMA table_info({table})")]
    try:
        known = {str(row[1]) for row in source.execute(f"PRAGMA table_info({table})")}
    except sqlite3.Error:
        return
    names = [name for name in columns if name in known]
    if not names:
        return
    insert = f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    for row in _readable(source, f"SELECT {', '.join(names)} FROM {table} ORDER BY seq"):
        with contextlib.suppress(sqlite3.Error, OverflowError):  # a NULL where none may be, a row without its task
            into.execute(insert, row)


def _readable(source: sqlite3.Connection, query: str) -> Iterator[tuple[object, ...]]:
    """Rows up to the first page that cannot be read, then from the end backwards to the last such page."""
    for direction in ("ASC", "DESC"):
        try:
            yield from source.execute(f"{query} {direction}")
        except sqlite3.Error:
            continue
        return


def _mend(into: sqlite3.Connection) -> int:
    for table, column, condition, value in _MENDED:
        with contextlib.suppress(sqlite3.IntegrityError):
            into.execute(f"UPDATE {table} SET {column} = {value} WHERE NOT coalesce({condition}, 0)")
    for table, sound in _SOUND.items():
        into.execute(f"DELETE FROM {table} WHERE NOT coalesce({sound}, 0)")
    into.execute("DELETE FROM result WHERE task_id NOT IN (SELECT id FROM task)")
    into.execute("DELETE FROM debug WHERE task_id NOT IN (SELECT id FROM task)")
    into.execute(
        "UPDATE task SET (result_count, selected_count, dropped_count) = (SELECT coalesce(sum(NOT deleted), 0),"
        " coalesce(sum(selected AND NOT deleted), 0), coalesce(sum(deleted), 0) FROM result WHERE task_id = task.id)"
    )
    into.execute("UPDATE task SET score = (SELECT max(score) FROM result WHERE task_id = task.id AND NOT deleted)")
    into.execute("UPDATE meta SET value = 1 + (SELECT coalesce(max(revision), 0) FROM task) WHERE key = 'revision'")
    # Whoever looked before looks at everything again.
    into.execute("UPDATE meta SET value = (SELECT value FROM meta WHERE key = 'revision') WHERE key = 'reset_revision'")
    into.execute("COMMIT")
    return int(into.execute("SELECT count(*) FROM task").fetchone()[0])
