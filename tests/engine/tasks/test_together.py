"""Changes asked for at once share a transaction; one that fails is told to the one who asked, and to nobody else."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.database import Database
from engine.errors import Code, NotFound
from engine.tasks.rows import SCHEMA

CROWD = 8


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A database of its own."""
    with contextlib.closing(Database(tmp_path / "tasks.db", SCHEMA)) as made:
        yield made


def remove(writer: sqlite3.Connection, numbers: Sequence[int]) -> list[int]:
    """Note removals, and what the transaction has seen so far."""
    seen = []
    for number in numbers:
        if number < 0:
            raise NotFound(Code.TASK_UNKNOWN, id=str(number))
        writer.execute("INSERT INTO removed VALUES (?, ?)", (number, str(number)))
        seen.append(int(writer.execute("SELECT count(*) FROM removed").fetchone()[0]))
    return seen


def crowd(database: Database, numbers: list[int]) -> list[int | Exception | None]:
    """What each of the changes gave, all asked for while another transaction is open."""
    with ThreadPoolExecutor(len(numbers)) as pool:
        with database.write():
            jobs = [pool.submit(_ask, database, number) for number in numbers]
            while len(database._pending) < len(numbers):
                threading.Event().wait(0.005)
        return [job.exception() or job.result() for job in jobs]  # type: ignore[misc]


def _ask(database: Database, number: int) -> int:
    return database.together(remove, number, durable=True)


def test_changes_that_wait_are_committed_together(database: Database, tmp_path: Path) -> None:
    """Eight changes see one another before any is committed, and a reader sees all or none."""
    watcher = sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)
    before = watcher.execute("PRAGMA data_version").fetchone()
    results = crowd(database, list(range(CROWD)))
    assert sorted(result for result in results if isinstance(result, int)) == list(range(1, CROWD + 1))
    assert watcher.execute("SELECT count(*) FROM removed").fetchone()[0] == CROWD
    assert watcher.execute("PRAGMA data_version").fetchone() != before
    watcher.close()


def test_one_that_fails_spoils_no_other(database: Database) -> None:
    """The unknown task is told to the one who named it; the seven others are kept."""
    results = crowd(database, [0, 1, 2, -1, 4, 5, 6, 7])
    assert [type(result) for result in results if not isinstance(result, int)] == [NotFound]
    with database.read() as reader:
        assert reader.execute("SELECT count(*) FROM removed").fetchone()[0] == CROWD - 1
