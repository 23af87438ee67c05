"""Whether a task database is sound, and what can be saved from one that is not."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from engine.errors import Problem
from engine.files import damaged
from engine.models import SourceType, TaskStatus

SIDE_FILES: Final = ("-wal", "-shm")
_BLOCK: Final = 5000  # rows whose texts are decoded at once
_WAL_MAGIC: Final = (0x377F0682, 0x377F0683)
_WAL_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_PLACE: Final = ".salvage-"


def _listed(kind: type[TaskStatus] | type[SourceType]) -> str:
    return ", ".join(f"'{member.value}'" for member in kind)


def _all_of(kind: str, *columns: str) -> str:
    return " AND ".join(f"typeof({column}) = '{kind}'" for column in columns)


_IS_ID: Final = "(typeof({0}) = 'text' AND length({0}) BETWEEN 1 AND 128 AND {0} NOT GLOB '*[^A-Za-z0-9_-]*')"
_TASK_NUMBERS: Final = (
    *("seq", "variant", "attempts", "has_debug_log", "result_count", "selected_count", "dropped_count"),
    *("updated_at", "revision", "judged"),
)
_RESULT_NUMBERS: Final = ("seq", "size", "width", "height", "selected", "deleted", "created_at")
# What can be mended in a row without losing it: column, what it must be, what it becomes.
_MENDED: Final = (
    ("task", "status", f"status IN ({_listed(TaskStatus)})", "'stopped'"),
    *(("task", name, f"({name} IS NULL OR json_valid({name}))", "NULL") for name in ("error", "warning")),
    ("task", "extra_sources", "(extra_sources IS NULL OR json_type(extra_sources) = 'array')", "NULL"),
    ("task", "http_status", "typeof(http_status) IN ('integer', 'null')", "NULL"),
    *(("task", name, f"typeof({name}) IN ('text', 'null')", "NULL") for name in ("user_prompt", "system_prompt")),
    *(("task", name, _all_of("text", name), "''") for name in ("name_key", "fingerprint")),
    *(("task", name, _all_of("integer", name), "0") for name in _TASK_NUMBERS[1:]),
    ("result", "source_type", f"source_type IN ({_listed(SourceType)})", "'url'"),
    ("result", "saved", "typeof(saved) IN ('text', 'null')", "NULL"),
    *(("result", name, _all_of("text", name), "''") for name in ("asked", "source_hash")),
    *(("result", name, _all_of("integer", name), "0") for name in _RESULT_NUMBERS[1:]),
)
_SOUND: Final = {
    "task": f"{_IS_ID.format('id')} AND {_all_of('text', 'source_path', 'source_name')}",
    "result": (
        f"{_IS_ID.format('id')} AND {_IS_ID.format('task_id')} AND {_all_of('text', 'hash', 'extension', 'mime')}"
        " AND length(hash) = 64 AND hash NOT GLOB '*[^0-9a-f]*'"
        " AND length(extension) BETWEEN 1 AND 8 AND extension NOT GLOB '*[^a-z0-9]*'"
    ),
}
_TEXTS: Final = {
    "task": ("id", "source_path", "source_name", "name_key", "fingerprint", "user_prompt", "system_prompt", "error"),
    "result": ("id", "task_id", "hash", "mime", "extension", "saved", "asked", "source_hash"),
}


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file is at fault: not space or memory, which any file would lack, nor somebody else at work in it."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    return code not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def set_database_aside(path: Path) -> Problem:
    """Rename a database with its side files, and say so; StorageFailed."""
    problem = damaged(path)
    for suffix in SIDE_FILES:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{problem.params['kept_as']}{suffix}")
    return problem


def check_rows(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError unless every row can be read as what it should be."""
    for table, sound in _SOUND.items():
        there = {str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")}  # fewer in an older version
        wanted = [sound, *(condition for of, name, condition, _ in _MENDED if of == table and name in there)]
        bad = f"SELECT 1 FROM {table} WHERE NOT coalesce({' AND '.join(wanted)}, 0) LIMIT 1"
        if connection.execute(bad).fetchone() is not None:
            raise sqlite3.DatabaseError(f"unreadable row in {table}")
        texts = " || ".join(f"coalesce({name}, '')" for name in _TEXTS[table])
        last = connection.execute(f"SELECT coalesce(max(seq), 0) FROM {table}").fetchone()[0]
        for start in range(0, last + 1, _BLOCK):  # decoded in C; raises where it is no UTF-8
            connection.execute(
                f"SELECT group_concat({texts}, '') FROM {table} WHERE seq > ? AND seq <= ?", (start, start + _BLOCK)
            ).fetchone()
    numbers = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    last = connection.execute("SELECT coalesce(max(revision), 0) FROM task").fetchone()[0]
    if not isinstance(numbers.get("reset_revision"), int) or int(numbers.get("revision", -1)) < last:
        raise sqlite3.DatabaseError("meta")


def committed_frames(wal: Path) -> int:
    """Frames of a write-ahead log up to the last one that says it was committed; more than any number if its header
    is damaged.

    SQLite takes frames as far as their checksums are right. A killed process leaves at most an unfinished transaction
    behind that; anything committed there means damage.
    """
    last = 0
    try:
        with wal.open("rb") as file:
            header = file.read(_WAL_HEADER)
            if len(header) < _WAL_HEADER:
                return 0
            magic, _, page_size, _, *salts, sum_1, sum_2 = struct.unpack(">8I", header)
            if magic not in _WAL_MAGIC or _checksum(header[:24], big_endian=bool(magic & 1)) != (sum_1, sum_2):
                return sys.maxsize
            number = 0
            while len(frame := file.read(_FRAME_HEADER)) == _FRAME_HEADER:
                number += 1
                file.seek(page_size, os.SEEK_CUR)
                _, committed, *frame_salts = struct.unpack_from(">4I", frame)
                if committed and frame_salts == salts and file.tell() <= os.fstat(file.fileno()).st_size:
                    last = number
    except OSError:
        return 0
    return last


def taken_frames(shm: Path) -> int:
    """Frames of the write-ahead log that SQLite took, while a connection is open: the wal-index's mxFrame.

    https://sqlite.org/walformat.html#the_wal_index_header
    """
    try:
        with shm.open("rb") as file:
            header = file.read(20)
    except OSError:
        return sys.maxsize
    return int(struct.unpack_from("=I", header, 16)[0]) if len(header) == 20 else 0


def _checksum(data: bytes, *, big_endian: bool) -> tuple[int, int]:
    """SQLite's: https://sqlite.org/fileformat2.html#checksum_algorithm."""
    first = second = 0
    for one, other in struct.iter_unpack(">II" if big_endian else "<II", data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second


def salvage(damaged: Path, into: sqlite3.Connection) -> int:
    """Copy every row that can still be read into an empty database of the same schema; how many tasks.

    The damaged files are read from a copy and stay as they are.
    """
    for left in damaged.parent.glob(f"{_PLACE}*"):
        shutil.rmtree(left, ignore_errors=True)  # of a salvage that was cut off
    with tempfile.TemporaryDirectory(dir=damaged.parent, prefix=_PLACE) as place:
        copy = Path(place) / "copy.db"
        try:
            shutil.copyfile(damaged, copy)
            for suffix in SIDE_FILES[:1]:
                with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                    shutil.copyfile(f"{damaged}{suffix}", f"{copy}{suffix}")
            source = sqlite3.connect(copy, isolation_level=None)
        except (OSError, sqlite3.Error):
            return 0
        with contextlib.closing(source):
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
    into.execute("UPDATE meta SET value = 1 + (SELECT coalesce(max(revision), 0) FROM task) WHERE key = 'revision'")
    # Whoever looked before looks at everything again.
    into.execute("UPDATE meta SET value = (SELECT value FROM meta WHERE key = 'revision') WHERE key = 'reset_revision'")
    into.execute("COMMIT")
    return int(into.execute("SELECT count(*) FROM task").fetchone()[0])
