"""The ledger of paid answers: what was asked of which picture, and its results; shared by all programs of a person.

Its files are hard links to those of the caches, so they cost nothing while a task has them too, and stay when the task
list is cleared. Several processes may use one ledger at once.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from engine.database import Database, HashMemo, Schema
from engine.errors import StorageFailed
from engine.files import clear_way, second_name, storage_failure
from engine.images.cache import Cache
from engine.models import ImageInfo, SourceImage, SourceType, StoredImage

_REPLY: Final = (
    "CREATE TABLE IF NOT EXISTS reply (key TEXT PRIMARY KEY, answer TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID;"
)
_SCHEMA: Final = Schema(
    2,
    f"""
CREATE TABLE IF NOT EXISTS answer (
  wish TEXT NOT NULL, source_size INTEGER NOT NULL, sources TEXT NOT NULL, hash TEXT NOT NULL,
  seq INTEGER NOT NULL, size INTEGER NOT NULL, mime TEXT NOT NULL, extension TEXT NOT NULL, width INTEGER NOT NULL,
  height INTEGER NOT NULL, source_type TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (wish, sources, hash)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS answer_size ON answer (wish, source_size);
CREATE TABLE IF NOT EXISTS source (path TEXT PRIMARY KEY, size INTEGER, modified INTEGER, hash TEXT) WITHOUT ROWID;
{_REPLY}
""",
    {1: _REPLY},
)
"""``wish`` keeps an older name: it is the request key. A ledger of before is of version 0, with these very tables."""
_AT_ONCE = 100  # rows a statement
log = logging.getLogger(__name__)


class PaidAnswer(msgspec.Struct, frozen=True):
    """Results that are there. ``sources``: sha256 of each picture, space between; ``at``: when they came, Unix
    seconds; ``request_record``: of what they answered, where that is another than was planned."""

    images: list[StoredImage]
    sources: str
    at: float
    request_record: str = ""


class AnswerRow(msgspec.Struct, frozen=True):
    """A result in the ledger, as it stands there."""

    wish: str
    source_size: int
    sources: str
    hash: str
    seq: int
    size: int
    mime: str
    extension: str
    width: int
    height: int
    source_type: SourceType
    at: float


class Ledger:
    """Opened on a folder of its own. A fault of the ledger never costs an answer: it is logged and done without."""

    def __init__(self, folder: Path) -> None:
        """``problems``: what was damaged, and where it is kept. StorageFailed where there can be no ledger."""
        self._folder = folder
        self.problems = clear_way(folder, folder=True)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise storage_failure(error, folder) from error
        self._db = Database(folder / "ledger.db", _SCHEMA)
        self.problems += self._db.problems
        self._sources = HashMemo(self._db, "source")

    def close(self) -> None:
        """Let go of the database."""
        self._db.close()

    def record(
        self,
        request_key: str,
        sources: Sequence[str],
        source_size: int,
        images: Sequence[StoredImage],
        cache: Cache,
        now: float,
    ) -> None:
        """Note that a request was answered for pictures with these hashes; the files are linked from ``cache``."""
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
            self._db.together(_write_answers, rows, durable=False, autocommit=True)
        except (OSError, StorageFailed):
            log.exception("answer not noted in the ledger")

    def find(self, request_key: str, pictures: Sequence[SourceImage]) -> PaidAnswer | None:
        """What the request brought for these pictures, whatever their names now; None if not all of it is here.

        The bytes of a picture are read only if one of its size was asked for in the same way.
        """
        try:
            with self._db.read() as reader:
                known = reader.execute(
                    "SELECT 1 FROM answer WHERE wish = ? AND source_size = ? LIMIT 1", (request_key, pictures[0].size)
                ).fetchone()
            if known is None:
                return None
            sources = " ".join(self.source_hash(picture) for picture in pictures)
            with self._db.read() as reader:
                rows = reader.execute(
                    "SELECT hash, size, mime, extension, width, height, source_type, at FROM answer"
                    " WHERE wish = ? AND sources = ? ORDER BY at, seq",
                    (request_key, sources),
                ).fetchall()
        except (OSError, StorageFailed):
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

    def rows_of(self, hashes: Sequence[str]) -> list[AnswerRow]:
        """What the ledger holds of these results."""
        wanted = msgspec.json.encode(list(hashes)).decode()
        try:
            with self._db.read() as reader:
                found = reader.execute(
                    "SELECT * FROM answer WHERE hash IN (SELECT value FROM json_each(?)) ORDER BY wish, sources, seq",
                    (wanted,),
                ).fetchall()
            return [msgspec.convert(dict(row), AnswerRow) for row in found]
        except (StorageFailed, msgspec.ValidationError):
            log.exception("ledger not read")
            return []

    def recall(self, key: str) -> str | None:
        """What a vision model answered to a question, by `memory_key`; None for none."""
        try:
            with self._db.read() as reader:
                row = reader.execute("SELECT answer FROM reply WHERE key = ?", (key,)).fetchone()
        except StorageFailed:
            log.exception("ledger not read")
            return None
        return None if row is None else str(row[0])

    def remember(self, key: str, answer: str) -> None:
        """Keep what a vision model answered."""
        try:
            self._db.together(_write_replies, (key, answer, time.time()), durable=False)
        except StorageFailed:
            log.exception("answer not noted in the ledger")

    def source_hash(self, picture: SourceImage) -> str:
        """sha256 of a picture's bytes; OSError."""
        return self._sources.hash_of(picture.path, picture.size, picture.modified)

    def last_hash(self, path: str) -> str:
        """The sha256 that the file at this path had when it was last looked at, "" where it never was."""
        try:
            with self._db.read() as reader:
                row = reader.execute("SELECT hash FROM source WHERE path = ?", (path,)).fetchone()
        except (StorageFailed, UnicodeEncodeError):
            return ""
        return "" if row is None else str(row[0])

    def sweep(self, max_age: float, max_bytes: int, now: float) -> int:
        """Forget answers older than ``max_age`` seconds, then the oldest beyond ``max_bytes``; how many files went."""
        try:
            with self._db.write() as writer:
                rows = writer.execute(
                    "SELECT hash, extension, max(size), max(at) FROM answer GROUP BY hash ORDER BY max(at) DESC"
                ).fetchall()
                kept = 0
                gone: list[tuple[str, str]] = []
                for digest, extension, size, at in rows:
                    kept += size
                    if at < now - max_age or kept > max_bytes:
                        gone.append((digest, extension))
                writer.executemany("DELETE FROM answer WHERE hash = ?", [(digest,) for digest, _ in gone])
            for digest, extension in gone:
                self._path(digest, extension).unlink(missing_ok=True)
            return len(gone)
        except (OSError, StorageFailed):
            log.exception("ledger not swept")
            return 0

    def forget(self, hashes: Sequence[str]) -> None:
        """Forget results for good: the person wants them gone."""
        with self._db.write() as writer:
            for digest in hashes:
                rows = writer.execute("SELECT extension FROM answer WHERE hash = ?", (digest,)).fetchall()
                for (extension,) in rows:
                    with contextlib.suppress(OSError):
                        self._path(digest, extension).unlink()
                writer.execute("DELETE FROM answer WHERE hash = ?", (digest,))

    def _has(self, image: StoredImage) -> bool:
        try:
            return self._path(image.hash, image.info.extension).stat().st_size == image.size
        except (OSError, ValueError):
            return False

    def _path(self, digest: str, extension: str) -> Path:
        return self._folder / digest[:2] / f"{digest}.{extension}"


def _write_replies(writer: sqlite3.Connection, replies: Sequence[tuple[str, str, float]]) -> list[None]:
    writer.executemany("INSERT OR REPLACE INTO reply VALUES (?, ?, ?)", replies)
    return [None] * len(replies)


def _write_answers(writer: sqlite3.Connection, answers: Sequence[Sequence[tuple[object, ...]]]) -> list[None]:
    rows = [row for answer in answers for row in answer]
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        places = ", ".join([f"({', '.join('?' * len(part[0]))})"] * len(part))
        values = [value for row in part for value in row]
        writer.execute(f"INSERT OR REPLACE INTO answer VALUES {places}", values)  # noqa: S608 - only marks
    return [None] * len(answers)
