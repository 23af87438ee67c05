"""SQLite files, and the only module that opens one: examined or put into quarantine, upgraded, written in transactions
that wait for the disk together, read by each thread on a connection of its own. What stands in them is the caller's."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
import struct
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec

from engine.errors import Code, Problem, StorageFailed
from engine.files import clear_way, damaged, keep_copy
from engine.reading import hash_found

C = TypeVar("C")
R = TypeVar("R")
Write = Callable[[sqlite3.Connection, Sequence[C]], Sequence[R]]

SIDE_FILES: Final = ("-wal", "-shm")
_COPIES: Final = ".salvage-"
_IN_MEMORY: Final = Path(":memory:")
_WAL_MAGIC: Final = (0x377F0682, 0x377F0683)
_WAL_HEADER: Final = 32
_FRAME_HEADER: Final = 24
_PATIENCE_SECONDS: Final = 5.0
_LARGEST_VALUE: Final = 512 * 2**20
# Views, triggers, virtual tables; what we make has pages of its own.
_FOREIGN: Final = "SELECT 1 FROM sqlite_master WHERE type NOT IN ('table', 'index') OR rootpage = 0 LIMIT 1"
_COMPUTED: Final = "SELECT 1 FROM sqlite_master WHERE type != 'trigger' AND rootpage = 0 LIMIT 1"
log = logging.getLogger(__name__)


class Schema(msgspec.Struct, frozen=True):
    """What a file holds. ``create``: SQL for an empty one; ``upgrades``: by the version that they begin with, SQL that
    makes the next one of it.

    ``check`` raises sqlite3.DatabaseError unless every row is sound: then the file is examined before it is written
    to, if it was not closed in good order. ``rescue`` copies what can be read of a quarantined file (a copy of it) into
    a new one; how many rows. ``disposable``: what is in it can be had again, so a damaged file is deleted, one of
    another version is made anew, and where there is no place for a file it lives in memory.
    """

    version: int
    create: str
    upgrades: Mapping[int, str] = {}
    check: Callable[[sqlite3.Connection], None] | None = None
    rescue: Callable[[sqlite3.Connection, sqlite3.Connection], int] | None = None
    disposable: bool = False


class _PendingWrite:
    """A change that a thread waits for."""

    def __init__(self, write: Write[Any, Any], change: object, durable: bool, autocommit: bool) -> None:
        self.write = write
        self.change = change
        self.durable = durable
        self.autocommit = autocommit
        self.settled = False
        self.result: object = None
        self.error: Exception | None = None


class _Reader(msgspec.Struct, frozen=True):
    """A connection and the thread that reads on it, which holds ``lock`` meanwhile."""

    thread: threading.Thread
    connection: sqlite3.Connection
    lock: Any

    def close(self, seconds: float) -> None:
        """Close it, once nobody is in the middle of a statement: Python 3.11 would end the process then. A connection
        that is used for longer is left to its thread."""
        if self.lock.acquire(timeout=seconds):
            try:
                self.connection.close()
            finally:
                self.lock.release()


class Database:
    """One writer connection under a lock, and a reader connection of each thread that asks."""

    def __init__(self, path: Path, schema: Schema) -> None:
        """``problems``: what was damaged, and where it is kept. StorageFailed where there can be no such file."""
        self.path = path
        self.problems: list[Problem] = []
        self._schema = schema
        self._readers: list[_Reader] = []
        self._local = threading.local()
        self._lock = threading.RLock()
        self._pending: list[_PendingWrite] = []
        self._pending_lock = threading.Lock()
        self._closed = False
        self._synchronous = ""
        self._writer = self._open_anew() if schema.disposable else self._open_or_quarantine()

    def close(self) -> None:
        """Bring the write-ahead log into the file and close every connection."""
        with self._lock:
            self._closed = True
            readers = list(self._readers)
        for reader in readers:
            reader.close(_PATIENCE_SECONDS)
        with self._lock:
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._writer.close()
            if self._schema.check is not None:
                with contextlib.suppress(OSError):
                    self._stamp.write_text(self._state(), "ascii")

    @contextlib.contextmanager
    def write(self, *, durable: bool = False, autocommit: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction. ``durable``: on disk, power cut included, when the block ends. ``autocommit``: each
        statement is a transaction of its own, without BEGIN and COMMIT, which let go of the interpreter's lock too."""
        with self._lock:
            writer = self._writer
            try:
                synchronous = "FULL" if durable else "OFF" if self._schema.disposable else "NORMAL"
                if self._synchronous != synchronous:
                    writer.execute(f"PRAGMA synchronous={synchronous}")
                    self._synchronous = synchronous
                if not autocommit:
                    writer.execute("BEGIN IMMEDIATE")
                try:
                    yield writer
                except BaseException:
                    if writer.in_transaction:  # SQLite rolls back by itself when the disk is full
                        writer.execute("ROLLBACK")
                    raise
                if not autocommit:
                    writer.execute("COMMIT")
            except sqlite3.Error as error:
                raise _failure(error, self.path) from error
            finally:
                with contextlib.suppress(sqlite3.Error):
                    if writer.in_transaction:  # a COMMIT that failed, on a full disk for one
                        writer.execute("ROLLBACK")

    def together(self, write: Write[C, R], change: C, *, durable: bool, autocommit: bool = False) -> R:
        """Write a change in a transaction that it shares with those that others ask for while the disk is busy: one way
        to disk carries them all. ``write`` gets those that are its own at once and gives a result for each; where it
        raises, each is tried alone, and what it raises then is raised to the one whose change it was. ``autocommit``:
        each statement of ``write`` may be a transaction of its own."""
        mine = _PendingWrite(write, change, durable, autocommit)
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
            functions = dict.fromkeys(pending.write for pending in writes)
            durable = any(pending.durable for pending in writes)
            with self.write(durable=durable, autocommit=len(functions) == 1 and writes[0].autocommit) as writer:
                for write in functions:
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
        if self.path == _IN_MEMORY:  # a second connection would be another database
            with self.write() as writer:
                yield writer
            return
        reader = getattr(self._local, "reader", None)
        try:
            if reader is None:
                reader = self._local.reader = self._open_reader()
            with reader.lock:
                connection = reader.connection
                if connection.in_transaction:  # asked again inside the block: the same view
                    yield connection
                    return
                connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise _failure(error, self.path) from error

    def _open_reader(self) -> _Reader:
        """A connection for the calling thread; those of threads that have ended are closed."""
        reader = _Reader(threading.current_thread(), self._connect(), threading.RLock())
        with self._lock:
            if self._closed:
                reader.connection.close()
            for other in self._readers:
                if not other.thread.is_alive():
                    other.connection.close()
            self._readers = [other for other in self._readers if other.thread.is_alive()]
            self._readers.append(reader)
        return reader

    def checkpoint(self) -> None:
        """Bring the write-ahead log into the file, power cut included."""
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _open_or_quarantine(self) -> sqlite3.Connection:
        """The database; one that cannot be used goes into quarantine, what can be read of it into a new one."""
        for path in (self.path, *(Path(f"{self.path}{suffix}") for suffix in SIDE_FILES)):
            self.problems += clear_way(path)
        connection: sqlite3.Connection | None = None
        try:
            if self._schema.check is not None and not self._is_as_closed():
                self._examine(self._schema.check)
            connection = self._connect()
            self._prepare(connection)
            return connection
        except sqlite3.DatabaseError as error:
            if connection is not None:
                connection.close()
            if not _is_damage(error):
                raise _failure(error, self.path) from error
        return self._begin_anew(_quarantine(self.path))

    def _open_anew(self) -> sqlite3.Connection:
        """The database; a damaged one is deleted, and where no file can be had it lives in memory."""
        for place in (self.path, self.path, _IN_MEMORY):
            self.path = place
            connection: sqlite3.Connection | None = None
            try:
                connection = self._connect()
                self._prepare(connection)
                return connection
            except sqlite3.Error:
                log.warning("database at %s cannot be used", place)
                if connection is not None:
                    connection.close()
                for suffix in ("", *SIDE_FILES):
                    with contextlib.suppress(OSError):
                        Path(f"{place}{suffix}").unlink()
        raise AssertionError("a database in memory always opens")

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

    def _examine(self, check: Callable[[sqlite3.Connection], None]) -> None:
        """Raise unless all is sound. Reads only: SQLite would bring its log into a damaged file otherwise."""
        wal = Path(f"{self.path}-wal")
        committed = committed_frames(wal)
        if not self.path.exists():
            return
        if self.path.stat().st_size == 0:  # SQLite would delete the log of an emptied file
            if committed:
                raise sqlite3.DatabaseError("emptied")
            return
        reader = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        with contextlib.closing(_distrusted(reader)):
            if _version(reader) == 0:
                raise sqlite3.DatabaseError("made by something else")
            self._check_version(reader)
            _check_kinds(reader)
            if reader.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("quick_check")
            check(reader)
            if committed > taken_frames(Path(f"{self.path}-shm")):  # what is damaged is passed over without a word
                self.problems += keep_copy(wal)

    def _check_version(self, connection: sqlite3.Connection) -> None:
        if _version(connection) not in (0, *self._schema.upgrades, self._schema.version):
            raise sqlite3.DatabaseError("made by another version")

    def _begin_anew(self, problem: Problem) -> sqlite3.Connection:
        self.problems.append(problem)
        connection = self._connect()
        self._prepare(connection)
        kept, rescued = Path(str(problem.params["kept_as"])), 0
        if self._schema.rescue is not None:
            try:
                with _opened_copy(kept) as source:
                    if source.execute(_COMPUTED).fetchone() is not None:  # reading it may take for ever
                        raise sqlite3.DatabaseError("a view")
                    rescued = self._schema.rescue(source, connection)
            except (OSError, sqlite3.Error) as error:
                log.warning("nothing rescued from %s: %s", kept, error)
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        log.warning("database damaged, kept as %s; %d rows rescued", kept, rescued)
        return connection

    def _connect(self) -> sqlite3.Connection:
        # Autocommit mode: transactions are begun and ended by name above, never implicitly.
        connection = _distrusted(sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10))
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        schema, version = self._schema, _version(connection)
        if schema.disposable and version != schema.version:
            version = 0
        elif not schema.disposable:
            self._check_version(connection)
        _check_kinds(connection)
        connection.execute("PRAGMA journal_mode=WAL")
        # Every index changes with every task: bringing the log in less often writes the same pages less often.
        connection.execute("PRAGMA wal_autocheckpoint=4000")
        if version == 0:
            version = schema.version
            connection.executescript(f"BEGIN IMMEDIATE;{schema.create}PRAGMA user_version={version};COMMIT;")
        while upgrade := schema.upgrades.get(version):
            version += 1
            connection.executescript(f"BEGIN IMMEDIATE;{upgrade}PRAGMA user_version={version};COMMIT;")


@contextlib.contextmanager
def opened_to_read(path: Path) -> Iterator[sqlite3.Connection]:
    """A database that somebody else may have open, read only and never mended; StorageFailed."""
    try:
        reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=10)
        with contextlib.closing(_distrusted(reader)):
            _check_kinds(reader)
            reader.row_factory = sqlite3.Row
            yield reader
    except sqlite3.Error as error:
        raise _failure(error, path) from error


FileState = tuple[str, int, int, str]
"""A file as it was read: path, size (bytes), time of change (nanoseconds), sha256 in hex."""


class HashMemo:
    """The sha256 of files, remembered in a table ``(path, size, modified, hash)`` so that each is read once.

    A fault of the database only means that a file is read again.
    """

    def __init__(self, database: Database, table: str) -> None:
        self._database = database
        self._table = table

    def hash_of(self, path: str, size: int, modified: int, check: Callable[[], None] = lambda: None) -> str:
        """The sha256 in hex of a file of this size (bytes) and time of change (nanoseconds). Raises OSError, and
        what ``check`` raises, which is called while it is read."""
        known = self.known(path, size, modified)
        if known is None:
            known = hash_found(path, check)
            self.note((path, size, modified, known))
        return known

    def known(self, path: str, size: int, modified: int) -> str | None:
        """The same where it is remembered."""
        key = (path, size, modified)
        try:
            with self._database.read() as reader:
                row = reader.execute(
                    f"SELECT hash FROM {self._table} WHERE path = ? AND size = ? AND modified = ?", key
                ).fetchone()
        except (StorageFailed, UnicodeEncodeError):  # a path that is no text cannot be looked up
            log.warning("hash not looked up", exc_info=True)
            return None
        return str(row[0]) if row is not None else None

    def note(self, *files: FileState) -> None:
        """Remember what somebody read."""
        try:
            with self._database.write() as writer:
                writer.executemany(f"INSERT OR REPLACE INTO {self._table} VALUES (?, ?, ?, ?)", files)
        except (StorageFailed, UnicodeEncodeError):
            log.warning("hash not remembered", exc_info=True)


def _distrusted(connection: sqlite3.Connection) -> sqlite3.Connection:
    """The same, for a file that came from who knows where: https://sqlite.org/security.html."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute("PRAGMA cell_size_check=ON")
    return connection


def _check_kinds(connection: sqlite3.Connection) -> None:
    """Raise unless all in it is stored: what is computed as it is read or written may take for ever, or change more
    than was asked for."""
    if connection.execute(_FOREIGN).fetchone() is not None:
        raise sqlite3.DatabaseError("made by something else")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file is at fault: not space or memory, which any file would lack, nor somebody else at work in it."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    others = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return code not in others


def _quarantine(path: Path) -> Problem:
    """Rename a database with its side files, and say so; StorageFailed."""
    problem = damaged(path)
    for suffix in SIDE_FILES:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{problem.params['kept_as']}{suffix}")
    return problem


@contextlib.contextmanager
def _opened_copy(quarantined: Path) -> Iterator[sqlite3.Connection]:
    """A copy of a quarantined file, opened: the file itself stays as it is."""
    for left in quarantined.parent.glob(f"{_COPIES}*"):
        shutil.rmtree(left, ignore_errors=True)  # of a rescue that was cut off
    with tempfile.TemporaryDirectory(dir=quarantined.parent, prefix=_COPIES) as place:
        copy = Path(place) / "copy.db"
        shutil.copyfile(quarantined, copy)
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            shutil.copyfile(f"{quarantined}-wal", f"{copy}-wal")
        with contextlib.closing(_distrusted(sqlite3.connect(copy, isolation_level=None))) as source:
            yield source


def _failure(error: sqlite3.Error, path: Path) -> StorageFailed:
    full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StorageFailed(Code.DISK_FULL if full else Code.STORAGE_FAILED, path=str(path), reason=name)


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
