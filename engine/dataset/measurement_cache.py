"""What was measured of pictures and pairs, by their hashes, so that it need not be measured again; may be deleted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.database import Database, HashMemo, Schema
from engine.dataset.features import Comparison, Look
from engine.errors import StorageFailed

VERSION: Final = 2
"""To be raised when any measure changes: older measurements are dropped then."""

_SCHEMA: Final = Schema(
    VERSION,
    """
DROP TABLE IF EXISTS file; DROP TABLE IF EXISTS look; DROP TABLE IF EXISTS comparison;
CREATE TABLE file (path TEXT PRIMARY KEY, size INTEGER, modified INTEGER, hash TEXT) WITHOUT ROWID;
CREATE TABLE look (hash TEXT PRIMARY KEY, data BLOB) WITHOUT ROWID;
CREATE TABLE comparison (control TEXT, target TEXT, data BLOB, PRIMARY KEY (control, target)) WITHOUT ROWID;
""",
    disposable=True,
)
log = logging.getLogger(__name__)


class MeasurementCache:
    """One SQLite file. Safe to use from many threads; a fault only means that something is measured again."""

    def __init__(self, path: Path) -> None:
        self._db = Database(path, _SCHEMA)
        self._files = HashMemo(self._db, "file")

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def hash_of(self, path: str, size: int, modified: int, check: Callable[[], None] = lambda: None) -> str:
        """The sha256 of a file of this size (bytes) and time of change (nanoseconds), read if need be; OSError, and
        what ``check`` raises."""
        return self._files.hash_of(path, size, modified, check)

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
            with self._db.read() as reader:
                row: tuple[Any, ...] | None = reader.execute(statement, values).fetchone()
        except StorageFailed:
            log.exception("measurement not read")
            return None
        return row

    def _put(self, statement: str, *values: object) -> None:
        try:
            with self._db.write() as writer:
                writer.execute(statement, values)
        except StorageFailed:
            log.exception("measurement not kept")
