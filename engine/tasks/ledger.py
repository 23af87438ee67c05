"""The ledger of paid answers: what was asked of which picture, and its results; shared by all programs of a person.

Its files are hard links to those of the caches, so they cost nothing while a task has them too, and stay when the task
list is cleared. Several processes may use one ledger at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec

from engine.errors import Code, StorageFailed
from engine.files import clear_way, second_name, storage_failure
from engine.images.cache import Cache
from engine.models import ImageInfo, SourceImage, SourceType, StoredImage
from engine.tasks.salvage import SIDE_FILES, is_damage, set_database_aside

_SCHEMA = """
CREATE TABLE IF NOT EXISTS answer (
  wish TEXT NOT NULL, source_size INTEGER NOT NULL, sources TEXT NOT NULL, hash TEXT NOT NULL,
  seq INTEGER NOT NULL, size INTEGER NOT NULL, mime TEXT NOT NULL, extension TEXT NOT NULL, width INTEGER NOT NULL,
  height INTEGER NOT NULL, source_type TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (wish, sources, hash)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answer_size ON answer (wish, source_size);
CREATE TABLE IF NOT EXISTS source (path TEXT PRIMARY KEY, size INTEGER, modified INTEGER, hash TEXT) WITHOUT ROWID;
"""
_AT_ONCE = 100  # rows a statement
_BLOCK = 1 << 20
log = logging.getLogger(__name__)


class PaidAnswer(msgspec.Struct, frozen=True):
    """Results that are there. ``sources``: sha256 of each picture, space between; ``at``: when they came, Unix
    seconds."""

    images: list[StoredImage]
    sources: str
    at: float


class Ledger:
    """Opened on a folder of its own. A fault of the ledger never costs an answer: it is logged and done without."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._rows: list[tuple[object, ...]] = []
        self._rows_lock = threading.Lock()
        self.problems = clear_way(folder, folder=True)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise storage_failure(error, folder) from error
        self._connection = self._open()

    def close(self) -> None:
        """Let go of the database."""
        with self._lock:
            self._connection.close()

    def record(
        self,
        request_key: str,
        sources: Sequence[str],
        source_size: int,
        images: Sequence[StoredImage],
        cache: Cache,
        now: float,
    ) -> None:
        """Note that ``wish`` was answered for the pictures with these hashes; the files are linked from ``cache``."""
        try:
            for image in images:
                second_name(cache.path(image.hash, image.info.extension), self._path(image.hash, image.info.extension))
            rows = [
                (
                    request_key, source_size, " ".join(sources), image.hash, number, image.size, image.info.mime,
                    image.info.extension, image.info.width, image.info.height, image.source_type, now,
                )
                for number, image in enumerate(images)
            ]  # fmt: skip
            with self._rows_lock:
                self._rows += rows
            with self._lock:  # whoever comes first writes what others have brought meanwhile
                with self._rows_lock:
                    together, self._rows = self._rows, []
                for start in range(0, len(together), _AT_ONCE):
                    self._insert(together[start : start + _AT_ONCE])
        except (OSError, sqlite3.Error):
            log.exception("answer not noted in the ledger")

    def _insert(self, rows: Sequence[tuple[object, ...]]) -> None:
        places = ", ".join([f"({', '.join('?' * len(rows[0]))})"] * len(rows))
        values = [value for row in rows for value in row]
        self._connection.execute(f"INSERT OR REPLACE INTO answer VALUES {places}", values)  # noqa: S608 - only marks

    def find(self, request_key: str, pictures: Sequence[SourceImage]) -> PaidAnswer | None:
        """What ``wish`` brought for these pictures, whatever their names now; None if not all of it is here.

        The bytes of a picture are read only if one of its size was asked for in the same way.
        """
        try:
            with self._lock:
                known = self._connection.execute(
                    "SELECT 1 FROM answer WHERE wish = ? AND source_size = ? LIMIT 1", (request_key, pictures[0].size)
                ).fetchone()
            if known is None:
                return None
            sources = " ".join(self.source_hash(picture) for picture in pictures)
            with self._lock:
                rows = self._connection.execute(
                    "SELECT hash, size, mime, extension, width, height, source_type, at FROM answer"
                    " WHERE wish = ? AND sources = ? ORDER BY at, seq",
                    (request_key, sources),
                ).fetchall()
        except (OSError, sqlite3.Error):
            log.exception("ledger not read")
            return None
        try:
            images = [StoredImage(r[0], r[1], ImageInfo(r[2], r[3], r[4], r[5]), SourceType(r[6])) for r in rows]
        except ValueError:  # a row that was damaged
            return None
        whole = images and all(self._has(image) for image in images)
        return PaidAnswer(images, sources, max(row[7] for row in rows)) if whole else None

    def give(self, images: Sequence[StoredImage], cache: Cache) -> None:
        """Put the files of found results back into a cache; OSError if that fails."""
        for image in images:
            second_name(self._path(image.hash, image.info.extension), cache.path(image.hash, image.info.extension))

    def source_hash(self, picture: SourceImage) -> str:
        """sha256 of a picture's bytes, remembered by path, size and time of change; OSError."""
        key = (picture.path, picture.size, picture.modified)
        with self._lock:
            row = self._connection.execute(
                "SELECT hash FROM source WHERE path = ? AND size = ? AND modified = ?", key
            ).fetchone()
        if row is not None:
            return str(row[0])
        digest = hashlib.sha256()
        with Path(picture.path).open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
        self.note_source(picture, digest.hexdigest())
        return digest.hexdigest()

    def note_source(self, picture: SourceImage, digest: str) -> None:
        """Remember the hash of a picture."""
        with self._lock:
            self._connection.execute(
                "INSERT OR REPLACE INTO source VALUES (?, ?, ?, ?)",
                (picture.path, picture.size, picture.modified, digest),
            )

    def sweep(self, max_age: float, max_bytes: int, now: float) -> int:
        """Forget answers older than ``max_age`` seconds, then the oldest beyond ``max_bytes``; how many files went."""
        try:
            with self._lock:
                rows = self._connection.execute(
                    "SELECT hash, extension, max(size), max(at) FROM answer GROUP BY hash ORDER BY max(at) DESC"
                ).fetchall()
                kept = 0
                gone: list[tuple[str, str]] = []
                for digest, extension, size, at in rows:
                    kept += size
                    if at < now - max_age or kept > max_bytes:
                        gone.append((digest, extension))
                self._connection.executemany("DELETE FROM answer WHERE hash = ?", [(digest,) for digest, _ in gone])
            for digest, extension in gone:
                self._path(digest, extension).unlink(missing_ok=True)
            return len(gone)
        except (OSError, sqlite3.Error):
            log.exception("ledger not swept")
            return 0

    def forget(self, hashes: Sequence[str]) -> None:
        """Forget results for good: the person wants them gone."""
        with self._lock:
            for digest in hashes:
                rows = self._connection.execute("SELECT extension FROM answer WHERE hash = ?", (digest,)).fetchall()
                for (extension,) in rows:
                    with contextlib.suppress(OSError):
                        self._path(digest, extension).unlink()
                self._connection.execute("DELETE FROM answer WHERE hash = ?", (digest,))

    def _has(self, image: StoredImage) -> bool:
        try:
            return self._path(image.hash, image.info.extension).stat().st_size == image.size
        except (OSError, ValueError):
            return False

    def _path(self, digest: str, extension: str) -> Path:
        return self._folder / digest[:2] / f"{digest}.{extension}"

    def _open(self) -> sqlite3.Connection:
        path = self._folder / "ledger.db"
        for file in (path, *(Path(f"{path}{suffix}") for suffix in SIDE_FILES)):
            self.problems += clear_way(file)
        try:
            return self._connect(path)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise StorageFailed(Code.STORAGE_FAILED, path=str(path), reason=type(error).__name__) from error
        log.warning("ledger damaged; a new one is begun")
        self.problems.append(set_database_aside(path))
        return self._connect(path)

    def _connect(self, path: Path) -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.executescript(_SCHEMA)
        return connection
