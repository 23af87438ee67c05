"""What was measured of pictures and pairs, by their hashes, so that it need not be measured again; may be deleted."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.database import Database, FileState, HashMemo, Schema
from engine.dataset.features import Comparison, Look
from engine.errors import StorageFailed

VERSION: Final = 6
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

    def known_hash(self, path: str, size: int, modified: int) -> str | None:
        """The sha256 of a file of this size (bytes) and time of change (nanoseconds)."""
        return self._files.known(path, size, modified)

    def note_files(self, *files: FileState) -> None:
        """Note what files were when they were read."""
        self._files.note(*files)

    def look(self, digest: str) -> Look | None:
        """What the picture of this hash looks like."""
        row = self._one("SELECT data FROM look WHERE hash = ?", digest)
        return msgspec.msgpack.decode(row[0], type=Look) if row else None

    def comparison(self, control: str, target: str) -> Comparison | None:
        """What was measured between two hashes."""
        row = self._one("SELECT data FROM comparison WHERE control = ? AND target = ?", control, target)
        return msgspec.msgpack.decode(row[0], type=Comparison) if row else None

    def note(self, *measured: tuple[Look, Look, Comparison]) -> None:
        """Note what controls and targets look like, and what was measured between them."""
        looks = [(look.hash, msgspec.msgpack.encode(look)) for one in measured for look in one[:2]]
        between = [(one[0].hash, one[1].hash, msgspec.msgpack.encode(one[2])) for one in measured]
        try:
            with self._db.write() as writer:
                writer.executemany("INSERT OR REPLACE INTO look VALUES (?, ?)", looks)
                writer.executemany("INSERT OR REPLACE INTO comparison VALUES (?, ?, ?)", between)
        except StorageFailed:
            log.exception("measurement not kept")

    def note_look(self, look: Look) -> None:
        """Note what a picture looks like that no pair is made of."""
        try:
            with self._db.write() as writer:
                writer.execute("INSERT OR REPLACE INTO look VALUES (?, ?)", (look.hash, msgspec.msgpack.encode(look)))
        except StorageFailed:
            log.exception("measurement not kept")

    def _one(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        try:
            with self._db.read() as reader:
                row: tuple[Any, ...] | None = reader.execute(statement, values).fetchone()
        except StorageFailed:
            log.exception("measurement not read")
            return None
        return row


class NoMeasurementCache(MeasurementCache):
    """For who measures once and keeps nothing."""

    def __init__(self) -> None:
        """Nothing is opened."""

    def close(self) -> None:
        """Nothing is open."""

    def known_hash(self, path: str, size: int, modified: int) -> None:
        """Nothing is known."""

    def note_files(self, *files: FileState) -> None:
        """Nothing is kept."""

    def note(self, *measured: tuple[Look, Look, Comparison]) -> None:
        """Nor here."""

    def note_look(self, look: Look) -> None:
        """Nor here."""

    def _one(self, statement: str, *values: object) -> None:
        """Nothing is known."""
