"""How a task and its results stand in SQLite: the tables and their upgrades, rows to Structs and back, filters as SQL.

A column more stands here, in `models`, and in `salvage` with what makes it sound.

One column keeps an older name: ``asked`` is a result's request record.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from engine.database import Schema
from engine.errors import Code, Problem
from engine.models import (
    DebugEntry,
    EditOutcome,
    Facets,
    Judgement,
    Result,
    SourceType,
    Task,
    TaskFilter,
    TaskMatch,
    TaskSort,
    TaskStatus,
)
from engine.tasks.salvage import check_rows, salvage

T = TypeVar("T")
_CREATE: Final = """
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
  score REAL,
  trial TEXT,
  updated_at INTEGER NOT NULL,
  revision INTEGER NOT NULL
);
CREATE INDEX task_status ON task (status, seq);
CREATE INDEX task_revision ON task (revision);
CREATE INDEX task_source ON task (source_path);
CREATE INDEX task_fingerprint ON task (fingerprint);
CREATE INDEX task_listed ON task (trial, seq);
CREATE INDEX task_listed_status ON task (trial, status, seq);
CREATE INDEX task_name ON task (trial, name_key, seq);
CREATE INDEX task_updated ON task (trial, updated_at, seq);
CREATE INDEX task_score ON task (trial, score, seq);
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
  judgement TEXT,
  score REAL,
  caption TEXT,
  caption_seen INTEGER NOT NULL DEFAULT 0,
  cost REAL,
  UNIQUE (task_id, hash)
);
CREATE INDEX result_hash ON result (hash);
CREATE INDEX result_score ON result (score) WHERE score IS NOT NULL;
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
_UPGRADES: Final = {
    3: "ALTER TABLE task ADD COLUMN judged INTEGER NOT NULL DEFAULT 0;",
    4: """
ALTER TABLE task ADD COLUMN score REAL;
CREATE INDEX task_score ON task (score, seq);
ALTER TABLE result ADD COLUMN judgement TEXT;
ALTER TABLE result ADD COLUMN score REAL;
ALTER TABLE result ADD COLUMN caption TEXT;
ALTER TABLE result ADD COLUMN caption_seen INTEGER NOT NULL DEFAULT 0;
ALTER TABLE result ADD COLUMN cost REAL;
CREATE INDEX result_score ON result (score) WHERE score IS NOT NULL;
""",
    5: "ALTER TABLE task ADD COLUMN trial TEXT;",
    6: """
DROP INDEX IF EXISTS task_name; DROP INDEX IF EXISTS task_updated; DROP INDEX IF EXISTS task_score;
CREATE INDEX task_listed ON task (trial, seq);
CREATE INDEX task_listed_status ON task (trial, status, seq);
CREATE INDEX task_name ON task (trial, name_key, seq);
CREATE INDEX task_updated ON task (trial, updated_at, seq);
CREATE INDEX task_score ON task (trial, score, seq);
""",
}
SCHEMA: Final = Schema(7, _CREATE, _UPGRADES, check_rows, salvage)

LISTED: Final = "trial IS NULL"
"""Of a task: it stands in the list; those of a trial do not."""
COUNTED: Final = (
    "(result_count, selected_count, dropped_count) = (SELECT coalesce(sum(NOT deleted), 0),"
    " coalesce(sum(selected AND NOT deleted), 0), coalesce(sum(deleted), 0) FROM result WHERE task_id = task.id)"
)
"""For an UPDATE of task: its numbers of results."""
SCORED: Final = "score = (SELECT max(score) FROM result WHERE task_id = task.id AND NOT deleted)"
"""For an UPDATE of task: the best score of its results."""


_ORDER_BY: Final = {
    TaskSort.ORDER: "seq {0}",
    TaskSort.NAME: "name_key {0}, seq {0}",
    TaskSort.STATUS: "status {0}, seq {0}",
    TaskSort.UPDATED: "updated_at {0}, seq {0}",
    TaskSort.SCORE: "score {0} NULLS LAST, seq {0}",
}
_DECIDED: Final = "judged = 1 OR judged = 0 AND (dropped_count > 0 OR selected_count < result_count)"
WAITS: Final = f"result_count > 0 AND NOT ({_DECIDED})"
_ONLY: Final = {
    TaskFilter.TICKED: "selected_count > 0",
    TaskFilter.UNTICKED: "result_count > 0 AND selected_count = 0",
    TaskFilter.DROPPED: "dropped_count > 0",
    TaskFilter.WARNING: "warning IS NOT NULL",
    TaskFilter.DECIDED: _DECIDED,
    TaskFilter.UNDECIDED: WAITS,
}
_VALUES: Final = "(SELECT value FROM json_each(?))"
AMONG: Final = f"deleted = 0 AND id IN {_VALUES}"
"""Of a result: it is one of the ids in a JSON list, and not dropped."""
_CODE: Final = "json_extract(error, '$.code')"
_PROMPT: Final = "CASE WHEN asked <> '' THEN json_extract(asked, '$.user_prompt') END"
_SOUGHT: Final = (
    " OR ".join(
        f"{column} LIKE ? ESCAPE '\\'" for column in ("source_name", "source_path", "user_prompt", "error", "warning")
    )
    + f" OR EXISTS (SELECT 1 FROM result WHERE task_id = task.id AND {_PROMPT} LIKE ? ESCAPE '\\')"
)


def new_id() -> str:
    """An id for a task or a result."""
    return uuid.uuid4().hex[:16]


def task_of(row: sqlite3.Row) -> Task:
    """A task row as a Struct, without its results."""
    return Task(
        id=row["id"],
        seq=row["seq"],
        source_path=row["source_path"],
        source_name=row["source_name"],
        fingerprint=row["fingerprint"],
        references=tuple(msgspec.json.decode(row["extra_sources"])) if row["extra_sources"] else (),
        user_prompt=row["user_prompt"],
        system_prompt=row["system_prompt"],
        variant=row["variant"],
        status=TaskStatus(row["status"]),
        attempts=row["attempts"],
        http_status=row["http_status"],
        error=_problem(row["error"]),
        warning=_problem(row["warning"]),
        has_debug_log=bool(row["has_debug_log"]),
        updated_at=row["updated_at"],
        revision=row["revision"],
        result_count=row["result_count"],
        selected_count=row["selected_count"],
        dropped_count=row["dropped_count"],
        judged=row["judged"],
        score=row["score"],
        trial=row["trial"],
        results=[],
    )


def result_of(row: sqlite3.Row) -> Result:
    """A result row as a Struct."""
    return Result(
        id=row["id"],
        task_id=row["task_id"],
        hash=row["hash"],
        size=row["size"],
        mime=row["mime"],
        extension=row["extension"],
        width=row["width"],
        height=row["height"],
        source_type=SourceType(row["source_type"]),
        selected=bool(row["selected"]),
        deleted=bool(row["deleted"]),
        saved=row["saved"],
        created_at=row["created_at"],
        source_hash=row["source_hash"],
        request_record=row["asked"],
        judgement=_decoded(row["judgement"], Judgement),
        caption=row["caption"],
        caption_seen=bool(row["caption_seen"]),
        cost=row["cost"],
    )


def debug_entries(rows: Iterable[sqlite3.Row]) -> list[DebugEntry]:
    """The stored entries of a debug log, as far as they can be read."""
    entries: list[DebugEntry] = []
    for row in rows:
        with contextlib.suppress(msgspec.DecodeError, TypeError):
            entries += msgspec.msgpack.decode(row["entries"], type=list[DebugEntry])
    return entries


def encode(value: msgspec.Struct | None) -> str | None:
    """A Struct as it is stored: JSON, or nothing."""
    return None if value is None else msgspec.json.encode(value).decode()


def result_rows(outcome: EditOutcome, result_ids: Mapping[str, str]) -> list[tuple[object, ...]]:
    """An outcome's results as `INSERT_RESULTS` takes them; ids by hash, made where none is given."""
    return [
        (
            result_ids.get(image.hash) or new_id(), outcome.task_id, image.hash, image.size,
            image.info.mime, image.info.extension, image.info.width, image.info.height, image.source_type,
            outcome.at, outcome.source_hash, outcome.request_record, image.cost,
        )
        for image in outcome.images
    ]  # fmt: skip


INSERT_RESULTS: Final = (
    "INSERT OR IGNORE INTO result (id, task_id, hash, size, mime, extension, width, height, source_type,"
    " created_at, source_hash, asked, cost) VALUES "
)


def _problem(text: str | None) -> Problem | None:
    problem = _decoded(text, Problem)
    return problem if problem is not None or not text else Problem(Code.INTERNAL)


def _decoded(text: str | None, kind: type[T]) -> T | None:
    """None for what is of another version, or damaged."""
    try:
        return msgspec.json.decode(text, type=kind) if text else None
    except msgspec.DecodeError:
        return None


# --- which tasks are meant, and in which order ---


def condition(match: TaskMatch) -> tuple[str, list[Any]]:
    """The WHERE clause for a match without ids, and its parameters."""
    clauses: list[str] = [LISTED]
    params: list[Any] = []
    if match.status:
        clauses.append(f"status IN ({','.join('?' * len(match.status))})")
        params += sorted(match.status)
    clauses += [f"({_ONLY[only]})" for only in sorted(match.only)]
    if match.q:
        needle = "%" + re.sub(r"([%_\\])", r"\\\1", match.q) + "%"
        worded = json_list(match.worded)
        clauses.append(f"({_SOUGHT} OR {_CODE} IN {_VALUES} OR json_extract(warning, '$.code') IN {_VALUES})")
        params += [*[needle] * 6, worded, worded]
    if match.failures:
        clauses.append(f"{_CODE} IN {_VALUES}")
        params.append(json_list(match.failures))
    if match.prompt is not None:
        clauses.append(f"id IN (SELECT task_id FROM result WHERE {_PROMPT} = ?)")
        params.append(match.prompt)
    if match.folder:
        start = match.folder.rstrip("/\\")
        clauses.append("substr(source_path, 1, ?) IN (? || '/', ? || '\\')")
        params += [len(start) + 1, start, start]
    for bound, sign in ((match.score_min, ">="), (match.score_max, "<=")):
        if bound is not None:
            clauses.append(f"score {sign} ?")
            params.append(bound)
    if match.results is not None:
        clauses.append(f"id IN (SELECT task_id FROM result WHERE {AMONG})")
        params.append(json_list(match.results))
    return " WHERE " + " AND ".join(clauses), params


def order_by(sort: TaskSort, descending: bool, *, backwards: bool = False) -> str:
    """What stands behind ORDER BY. Tasks without a score come last by score, either way. ``backwards``: the same order
    from its end."""
    order = _ORDER_BY[sort].format("DESC" if descending != backwards else "ASC")
    return order.replace("NULLS LAST", "NULLS FIRST") if backwards else order


def part_of(
    reader: sqlite3.Connection, match: TaskMatch, order: tuple[TaskSort, bool], places: range, total: int
) -> list[sqlite3.Row]:
    """The tasks at ``places`` of a filtered list of ``total``; ``order``: by what, and whether descending."""
    backwards = places.start > total // 2  # what is passed over is counted one by one: from the nearer end
    passed = total - places.stop if backwards else places.start
    where, params = condition(match)
    by = order_by(*order, backwards=backwards)
    # An index alone tells which they are, where it can; only those are read.
    chosen = f"SELECT seq FROM task{where} ORDER BY {by} LIMIT ? OFFSET ?"
    found = reader.execute(
        f"SELECT * FROM task WHERE seq IN ({chosen}) ORDER BY {by}", [*params, len(places), passed]
    ).fetchall()
    return found[::-1] if backwards else found


def json_list(ids: Iterable[str]) -> str:
    """Many ids as the one value of `AMONG`."""
    return msgspec.json.encode(list(ids)).decode()


def facets(reader: sqlite3.Connection, limit: int) -> Facets:
    """How many tasks there are of each sort; the ``limit`` most frequent failures, prompts and folders."""
    sums = ", ".join(f"coalesce(sum({condition}), 0)" for condition in _ONLY.values())
    row = reader.execute(f"SELECT {sums} FROM task WHERE {LISTED}").fetchone()
    paths = (str(path) for (path,) in reader.execute(f"SELECT source_path FROM task WHERE {LISTED}"))
    folders = Counter(path.rpartition("/")[0] or path.rpartition("\\")[0] for path in paths)
    failures = f"SELECT {_CODE} AS one, count(*) FROM task WHERE status = 'failed' AND {LISTED} GROUP BY one"
    prompts = f"SELECT {_PROMPT} AS one, count(DISTINCT task_id) FROM result GROUP BY one"
    return Facets(
        dict(zip((str(only) for only in _ONLY), row, strict=True)),
        _most(reader, failures, limit),
        _most(reader, prompts, limit),
        dict(folders.most_common(limit)),
    )


def _most(reader: sqlite3.Connection, statement: str, limit: int) -> dict[str, int]:
    rows = reader.execute(f"{statement} ORDER BY 2 DESC LIMIT ?", (limit,))
    return {one: count for one, count in rows if one is not None}
