"""Connections while the database is closed under them."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path

import pytest

from engine.database import Database, Schema
from engine.errors import Code, StorageFailed
from engine.tasks.store import NewTask, Store

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


NUMBERS = (
    "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
    " SELECT x AS seq, 'a' AS task_id, x AS entries FROM n"
)
HOSTILE = {
    "a view without an end": (f"DROP TABLE debug; CREATE VIEW debug AS {NUMBERS};", 0),
    "a trigger": ("CREATE TRIGGER t AFTER UPDATE ON task BEGIN DELETE FROM task; END;", 1),
    "a virtual table": ("DROP TABLE debug; CREATE VIRTUAL TABLE debug USING fts4(seq, task_id, entries);", 0),
    "a number near the end of all": ("UPDATE task SET seq = 4611686018427387904;", 0),
    "no number for another row": ("UPDATE sqlite_sequence SET seq = 9223372036854775807;", 1),
    "no number for another change": ("UPDATE meta SET value = 9223372036854775807 WHERE key = 'revision';", 1),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_set_aside(kind: str, closed: bool, tmp_path: Path) -> None:
    """Somebody else's data folder, with or without the mark of a good end: what is computed in it runs never, what can
    be read is used, and the program goes on."""
    path, (statements, rescued) = tmp_path / "tasks.db", HOSTILE[kind]
    store = Store(path)
    store.add([NewTask("/in/1.png", "1.png", "f")])
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.executescript(statements)
    if closed and "number" not in kind:
        status = path.stat()
        Path(f"{path}.closed").write_text(f"{status.st_size} {status.st_mtime_ns}", "ascii")
    with contextlib.closing(Store(path)) as store:
        assert [problem.code for problem in store.problems] == [Code.FILE_DAMAGED]
        assert sum(store.counts().values()) == rescued
        store.add([NewTask("/in/2.png", "2.png", "f")])
        assert sum(store.counts().values()) == rescued + 1
