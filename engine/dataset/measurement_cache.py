"""What was measured of pictures and pairs, by their hashes, so that it need not be measured again; may be deleted."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.dataset.features import Comparison, Look

VERSION: Final = 1
"""To be raised when any measure changes: older notes are dropped then."""

_SCHEMA: Final = """
DROP TABLE IF EXISTS file; DROP TABLE IF EXISTS look; DROP TABLE IF EXISTS comparison;
CREATE TABLE file (path TEXT PRIMARY KEY, size INTEGER, modified INTEGER, hash TEXT) WITHOUT ROWID;
CREATE TABLE look (hash TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID;
CREATE TABLE comparison (control TEXT, target TEXT, data BLOB, PRIMARY KEY (control, target)) WITHOUT ROWID;
"""
log = logging.getLogger(__name__)


class Notebook:
    """One SQLite file. Safe to use from many threads; a fault only means that something is measured again."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = _open(path)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._connection.close()

    def hash_of(self, path: str, size: int, modified: int) -> str | None:
        """The sha256 noted for a file of this size (bytes) and time (nanoseconds)."""
        row = self._one("SELECT hash FROM file WHERE path = ? AND size = ? AND modified = ?", path, size, modified)
        return str(row[0]) if row else None

    def note_hash(self, path: str, size: int, modified: int, digest: str) -> None:
        """Note a file's sha256."""
        self._put("INSERT OR REPLACE INTO file VALUES (?, ?, ?, ?)", path, size, modified, digest)

    def look(self, digest: str) -> Look | None:
        """What the picture of this hash looks like."""
        row = self._one("SELECT data FROM look WHERE hash = ?", digest)
        return msgspec.msgpack.decode(row[0], type=Look) if row else None

    def note_look(self, look: Look) -> None:
        """Note what a picture looks like."""
        self._put("INSERT OR REPLACE INTO look VALUES (?, ?)", look.hash, msgspec.msgpack.encode(look))

    def comparison(self, control: str, target: str) -> Comparison | None:
        """What was measured between two hashes."""
        row = self._one("SELECT data FROM comparison WHERE control = ? AND target = ?", control, target)
        return msgspec.msgpack.decode(row[0], type=Comparison) if row else None

    def note_comparison(self, control: str, target: str, comparison: Comparison) -> None:
        """Note what was measured between two hashes."""
        data = msgspec.msgpack.encode(comparison)
        self._put("INSERT OR REPLACE INTO comparison VALUES (?, ?, ?)", control, target, data)

    def _one(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        try:
            with self._lock:
                row: tuple[Any, ...] | None = self._connection.execute(statement, values).fetchone()
        except sqlite3.Error:
            log.exception("note not read")
            return None
        return row

    def _put(self, statement: str, *values: object) -> None:
        try:
            with self._lock:
                self._connection.execute(statement, values)
        except (sqlite3.Error, UnicodeEncodeError):
            log.exception("note not kept")


def _open(path: Path) -> sqlite3.Connection:
    """The database; a damaged one is made anew, and where none can be made, notes live in memory."""
    for place in (path, path, None):
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(place or ":memory:", isolation_level=None, check_same_thread=False)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=OFF")
            if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                connection.executescript(f"BEGIN;{_SCHEMA}PRAGMA user_version={VERSION};COMMIT;")
            connection.execute("SELECT count(*) FROM look").fetchone()
            return connection
        except sqlite3.Error:
            log.warning("notes at %s cannot be used", place)
            if connection is not None:
                connection.close()
            if place is not None:
                for suffix in ("", "-wal", "-shm"):
                    with contextlib.suppress(OSError):
                        Path(f"{place}{suffix}").unlink()
    raise AssertionError("a database in memory always opens")
