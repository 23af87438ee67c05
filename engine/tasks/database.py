"""The SQLite file under the store: schema, connections, and what happens when the file is damaged."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from engine.errors import Code, Problem, StorageFailed
from engine.files import clear_way, keep_copy
from engine.tasks.salvage import (
    SIDE_FILES,
    check_rows,
    committed_frames,
    is_damage,
    salvage,
    set_database_aside,
    taken_frames,
)

C = TypeVar("C")
R = TypeVar("R")
Write = Callable[[sqlite3.Connection, Sequence[C]], Sequence[R]]

SCHEMA_VERSION = 4
_SCHEMA = """
CREATE TABLE task (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  source_path TEXT NOT NULL,
  source_name TEXT NOT NULL,
  name_key TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  extra_sources TEXT,
  user_prompt TEXT,
  system_prompt TEXT,
  variant INTEGER NOT NULL DEFAULT 0,
  status TEXT NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  http_status INTEGER,
  error TEXT,
  warning TEXT,
  has_debug_log INTEGER NOT NULL DEFAULT 0,
  result_count INTEGER NOT NULL DEFAULT 0,
  selected_count INTEGER NOT NULL DEFAULT 0,
  dropped_count INTEGER NOT NULL DEFAULT 0,
  judged INTEGER NOT NULL DEFAULT 0,
  updated_at INTEGER NOT NULL,
  revision INTEGER NOT NULL
);
CREATE INDEX task_status ON task (status, seq);
CREATE INDEX task_revision ON task (revision);
CREATE INDEX task_source ON task (source_path);
CREATE INDEX task_fingerprint ON task (fingerprint);
CREATE INDEX task_name ON task (name_key, seq);
CREATE INDEX task_updated ON task (updated_at, seq);
CREATE TABLE result (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  task_id TEXT NOT NULL REFERENCES task (id) ON DELETE CASCADE,
  hash TEXT NOT NULL,
  size INTEGER NOT NULL,
  mime TEXT NOT NULL,
  extension TEXT NOT NULL,
  width INTEGER NOT NULL,
  height INTEGER NOT NULL,
  source_type TEXT NOT NULL,
  selected INTEGER NOT NULL DEFAULT 1,
  deleted INTEGER NOT NULL DEFAULT 0,
  saved TEXT,
  created_at INTEGER NOT NULL DEFAULT 0,
  source_hash TEXT NOT NULL DEFAULT '',
  asked TEXT NOT NULL DEFAULT '',
  UNIQUE (task_id, hash)
);
CREATE INDEX result_hash ON result (hash);
CREATE TABLE debug (
  seq INTEGER PRIMARY KEY,
  task_id TEXT NOT NULL REFERENCES task (id) ON DELETE CASCADE,
  entries BLOB NOT NULL
);
CREATE INDEX debug_task ON debug (task_id);
CREATE TABLE removed (revision INTEGER NOT NULL, id TEXT NOT NULL);
CREATE INDEX removed_revision ON removed (revision);
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('revision', 1), ('reset_revision', 0);
"""
_UPGRADES = {3: "ALTER TABLE task ADD COLUMN judged INTEGER NOT NULL DEFAULT 0;"}
"""By the version that they begin with: what makes the next one of it."""


log = logging.getLogger(__name__)


class _PendingWrite:
    """A change that a thread waits for."""

    def __init__(self, write: Write[Any, Any], change: object, durable: bool) -> None:
        self.write = write
        self.change = change
        self.durable = durable
        self.settled = False
        self.result: object = None
        self.error: Exception | None = None


class Database:
    """One writer connection under a lock, and a reader connection of each thread that asks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self._readers: list[tuple[threading.Thread, sqlite3.Connection]] = []
        self._local = threading.local()
        self._lock = threading.RLock()
        self._pending: list[_PendingWrite] = []
        self._pending_lock = threading.Lock()
        self._closed = False
        self._synchronous = ""
        self._writer = self._open_or_set_aside()

    def close(self) -> None:
        """Fold the write-ahead log into the file and close every connection."""
        with self._lock:
            self._closed = True
            for _, reader in self._readers:
                reader.close()
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._writer.close()
            with contextlib.suppress(OSError):
                self._stamp.write_text(self._state(), "ascii")

    @contextlib.contextmanager
    def write(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction. ``durable``: on disk, power cut included, when the block ends."""
        with self._lock:
            writer = self._writer
            try:
                synchronous = "FULL" if durable else "NORMAL"
                if self._synchronous != synchronous:
                    writer.execute(f"PRAGMA synchronous={synchronous}")
                    self._synchronous = synchronous
                writer.execute("BEGIN IMMEDIATE")
                try:
                    yield writer
                except BaseException:
                    if writer.in_transaction:  # SQLite rolls back by itself when the disk is full
                        writer.execute("ROLLBACK")
                    raise
                writer.execute("COMMIT")
            except sqlite3.Error as error:
                raise _failure(error, self.path) from error
            finally:
                with contextlib.suppress(sqlite3.Error):
                    if writer.in_transaction:  # a COMMIT that failed, on a full disk for one
                        writer.execute("ROLLBACK")

    def together(self, write: Write[C, R], change: C, *, durable: bool) -> R:
        """Write a change in a transaction that it shares with those that others ask for while the disk is busy: one way
        to disk carries them all. ``write`` gets those that are its own at once and gives a result for each; where it
        raises, each is tried alone, and what it raises then is raised to the one whose change it was."""
        mine = _PendingWrite(write, change, durable)
        with self._pending_lock:
            self._pending.append(mine)
        with self._lock:
            if not mine.settled:
                with self._pending_lock:
                    writes, self._pending = self._pending, []
                self._grant(writes)
        if mine.error is not None:
            raise mine.error
        return cast("R", mine.result)

    def _grant(self, writes: Sequence[_PendingWrite]) -> None:
        try:
            with self.write(durable=any(pending.durable for pending in writes)) as writer:
                for write in dict.fromkeys(pending.write for pending in writes):
                    alike = [pending for pending in writes if pending.write is write]
                    for pending, result in zip(
                        alike, write(writer, [pending.change for pending in alike]), strict=True
                    ):
                        pending.result = result
        except Exception as error:  # noqa: BLE001 - the edge between threads: told to the one whose change it was
            if len(writes) == 1:
                writes[0].error = error
                writes[0].settled = True
                return
            for pending in writes:
                self._grant([pending])
            return
        for pending in writes:
            pending.settled = True

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """The calling thread's reader, one consistent view for the whole block."""
        reader = getattr(self._local, "reader", None)
        try:
            if reader is None:
                reader = self._local.reader = self._open_reader()
            if reader.in_transaction:  # asked again inside the block: the same view
                yield reader
                return
            reader.execute("BEGIN")
            try:
                yield reader
            finally:
                reader.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise _failure(error, self.path) from error

    def _open_reader(self) -> sqlite3.Connection:
        """A connection for the calling thread; those of threads that have ended are closed."""
        reader = self._connect()
        with self._lock:
            for thread, idle in self._readers:
                if not thread.is_alive():
                    idle.close()
            self._readers = [(thread, kept) for thread, kept in self._readers if thread.is_alive()]
            self._readers.append((threading.current_thread(), reader))
        return reader

    def fold(self) -> None:
        """Fold the write-ahead log into the file, power cut included."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _open_or_set_aside(self) -> sqlite3.Connection:
        """The database; one that cannot be used is set aside, and what can be read of it comes into a new one."""
        for path in (self.path, *(Path(f"{self.path}{suffix}") for suffix in SIDE_FILES)):
            self.problems += clear_way(path)
        connection: sqlite3.Connection | None = None
        try:
            if not self._is_as_closed():
                self._examine()
            connection = self._connect()
            self._prepare(connection)
            return connection
        except sqlite3.DatabaseError as error:
            if connection is not None:
                connection.close()
            if not is_damage(error):
                raise _failure(error, self.path) from error
        return self._begin_anew(set_database_aside(self.path))

    @property
    def _stamp(self) -> Path:
        return Path(f"{self.path}.closed")

    def _state(self) -> str:
        status = self.path.stat()
        return f"{status.st_size} {status.st_mtime_ns}"

    def _is_as_closed(self) -> bool:
        """Whether nothing was written to the file since it was closed in good order: it need not be read whole then.

        The stamp is taken away: a program that is killed leaves none.
        """
        try:
            stamp = self._stamp.read_text("ascii")
            self._stamp.unlink()
            return stamp == self._state() and not committed_frames(Path(f"{self.path}-wal"))
        except (OSError, ValueError):
            return False

    def _examine(self) -> None:
        """Raise unless all is sound. Reads only: SQLite would fold its log into a damaged file otherwise."""
        wal = Path(f"{self.path}-wal")
        committed = committed_frames(wal)
        if not self.path.exists():
            return
        if self.path.stat().st_size == 0:  # SQLite would delete the log of an emptied file
            if committed:
                raise sqlite3.DatabaseError("emptied")
            return
        reader = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        with contextlib.closing(reader):
            if reader.execute("PRAGMA user_version").fetchone()[0] not in (*_UPGRADES, SCHEMA_VERSION):
                raise sqlite3.DatabaseError("made by another version")
            if reader.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("quick_check")
            check_rows(reader)
            if committed > taken_frames(Path(f"{self.path}-shm")):  # what is damaged is passed over without a word
                self.problems += keep_copy(wal)

    def _begin_anew(self, problem: Problem) -> sqlite3.Connection:
        self.problems.append(problem)
        connection = self._connect()
        self._prepare(connection)
        kept, salvaged = Path(str(problem.params["kept_as"])), 0
        try:
            salvaged = salvage(kept, connection)
        except sqlite3.Error as error:
            log.warning("nothing salvaged from %s: %s", kept, error)
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        log.warning("database damaged, kept as %s; %d tasks salvaged", kept, salvaged)
        return connection

    def _connect(self) -> sqlite3.Connection:
        # Autocommit mode: transactions are begun and ended by name above, never implicitly.
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        # Every index changes with every task: folding the log in less often writes the same pages less often.
        connection.execute("PRAGMA wal_autocheckpoint=4000")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            connection.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}PRAGMA user_version={SCHEMA_VERSION};COMMIT;")
        while upgrade := _UPGRADES.get(version):
            version += 1
            connection.executescript(f"BEGIN IMMEDIATE;{upgrade}PRAGMA user_version={version};COMMIT;")


def _failure(error: sqlite3.Error, path: Path) -> StorageFailed:
    full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StorageFailed(Code.DISK_FULL if full else Code.STORAGE_FAILED, path=str(path), reason=name)
