"""Connections while the database is closed under them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.database import Database, Schema
from engine.errors import Code, StorageFailed

LONG = "WITH RECURSIVE n(i) AS (SELECT begun() UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT count(*) FROM n"


def test_closing_waits_for_a_statement_that_runs(tmp_path: Path) -> None:
    """A reader in the middle of a statement gets its answer, and the process lives; a later one is told."""
    database = Database(tmp_path / "a.db", Schema(1, "CREATE TABLE a (b);"))
    begun = threading.Event()
    found: list[int] = []

    def begin() -> int:
        begun.set()
        return 1

    def read() -> None:
        with database.read() as reader:
            reader.create_function("begun", 0, begin)
            found.append(reader.execute(LONG).fetchone()[0])

    thread = threading.Thread(target=read)
    thread.start()
    assert begun.wait(60)
    database.close()
    thread.join()
    assert found == [1_000_000]
    with pytest.raises(StorageFailed) as caught, database.read() as reader:
        reader.execute("SELECT 1")
    assert caught.value.code is Code.STORAGE_FAILED
