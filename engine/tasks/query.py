"""Reading the task table: rows to Structs, filters, pages, and what changed since a revision."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from engine.errors import Code, Problem
from engine.models import DebugEntry, Facets, Result, SourceType, Task, TaskFilter, TaskMatch, TaskSort, TaskStatus

_CHUNK = 500  # ids in one statement: well under SQLite's limit of variables
_ORDER_BY = {
    TaskSort.ORDER: "seq",
    TaskSort.NAME: "name_key {0}, seq",
    TaskSort.STATUS: "status {0}, seq",
    TaskSort.UPDATED: "updated_at {0}, seq",
}
_DECIDED = "judged = 1 OR judged = 0 AND (dropped_count > 0 OR selected_count < result_count)"
_ONLY = {
    TaskFilter.TICKED: "selected_count > 0",
    TaskFilter.UNTICKED: "result_count > 0 AND selected_count = 0",
    TaskFilter.DROPPED: "dropped_count > 0",
    TaskFilter.WARNING: "warning IS NOT NULL",
    TaskFilter.DECIDED: _DECIDED,
    TaskFilter.UNDECIDED: f"result_count > 0 AND NOT ({_DECIDED})",
}
_VALUES = "(SELECT value FROM json_each(?))"
_AMONG = f"deleted = 0 AND id IN {_VALUES}"
_CODE = "json_extract(error, '$.code')"
_PROMPT = "CASE WHEN asked <> '' THEN json_extract(asked, '$.user_prompt') END"
_SOUGHT = (
    " OR ".join(
        f"{column} LIKE ? ESCAPE '\\'" for column in ("source_name", "source_path", "user_prompt", "error", "warning")
    )
    + f" OR EXISTS (SELECT 1 FROM result WHERE task_id = task.id AND {_PROMPT} LIKE ? ESCAPE '\\')"
)


class Page(msgspec.Struct, frozen=True):
    """Some tasks of a filtered list; ``total`` counts all that match."""

    total: int
    tasks: list[Task]


class Outline(msgspec.Struct, frozen=True):
    """A filtered list as ids in its order. ``undecided``: places in it, 0-based, of tasks whose results wait for a
    decision."""

    ids: list[str]
    undecided: list[int]


class Changes(msgspec.Struct, frozen=True):
    """What happened after a revision. ``reset``: the list was cleared since; ``truncated``: more tasks changed."""

    revision: int
    tasks: list[Task]
    removed: list[str]
    reset: bool
    truncated: bool


def name_key(name: str) -> str:
    """A text whose plain order is the natural order of names: digits padded, case folded."""
    return re.sub(r"\d+", lambda match: match[0].zfill(16), name.casefold(), flags=re.ASCII)


def condition(match: TaskMatch) -> tuple[str, list[Any]]:
    """The WHERE clause for a match without ids, and its parameters."""
    clauses: list[str] = []
    params: list[Any] = []
    if match.status:
        clauses.append(f"status IN ({','.join('?' * len(match.status))})")
        params += sorted(match.status)
    clauses += [f"({_ONLY[only]})" for only in sorted(match.only)]
    if match.q:
        needle = "%" + re.sub(r"([%_\\])", r"\\\1", match.q) + "%"
        worded = _listed(match.worded)
        clauses.append(f"({_SOUGHT} OR {_CODE} IN {_VALUES} OR json_extract(warning, '$.code') IN {_VALUES})")
        params += [*[needle] * 6, worded, worded]
    if match.failures:
        clauses.append(f"{_CODE} IN {_VALUES}")
        params.append(_listed(match.failures))
    if match.prompt is not None:
        clauses.append(f"id IN (SELECT task_id FROM result WHERE {_PROMPT} = ?)")
        params.append(match.prompt)
    if match.folder:
        start = match.folder.rstrip("/\\")
        clauses.append("substr(source_path, 1, ?) IN (? || '/', ? || '\\')")
        params += [len(start) + 1, start, start]
    if match.results is not None:
        clauses.append(f"id IN (SELECT task_id FROM result WHERE {_AMONG})")
        params.append(_listed(match.results))
    return (" WHERE " + " AND ".join(clauses) if clauses else ""), params


def tasks_of_results(reader: sqlite3.Connection, results: Iterable[str]) -> dict[str, str]:
    """Task ids by result id; dropped and unknown results are left out."""
    rows = reader.execute(f"SELECT id, task_id FROM result WHERE {_AMONG}", (_listed(results),))
    return {row["id"]: row["task_id"] for row in rows}


def facets(reader: sqlite3.Connection, limit: int) -> Facets:
    """How many tasks there are of each sort; the ``limit`` most frequent failures, prompts and folders."""
    sums = ", ".join(f"coalesce(sum({condition}), 0)" for condition in _ONLY.values())
    row = reader.execute(f"SELECT {sums} FROM task").fetchone()
    folders = Counter(path.rpartition("/")[0] or path.rpartition("\\")[0] for (path,) in _paths(reader))
    failures = f"SELECT {_CODE} AS one, count(*) FROM task WHERE status = 'failed' GROUP BY one"
    prompts = f"SELECT {_PROMPT} AS one, count(DISTINCT task_id) FROM result GROUP BY one"
    return Facets(
        dict(zip((str(only) for only in _ONLY), row, strict=True)),
        _most(reader, failures, limit),
        _most(reader, prompts, limit),
        dict(folders.most_common(limit)),
    )


def _paths(reader: sqlite3.Connection) -> Iterable[tuple[str]]:
    return reader.execute("SELECT source_path FROM task")


def _most(reader: sqlite3.Connection, statement: str, limit: int) -> dict[str, int]:
    rows = reader.execute(f"{statement} ORDER BY 2 DESC LIMIT ?", (limit,))
    return {one: count for one, count in rows if one is not None}


def _listed(ids: Iterable[str]) -> str:
    """Many ids as the one value of `_AMONG`."""
    return msgspec.json.encode(list(ids)).decode()


def page(
    reader: sqlite3.Connection, match: TaskMatch, sort: TaskSort, descending: bool, offset: int, limit: int
) -> Page:
    """``limit`` tasks from ``offset`` of the filtered, sorted list."""
    where, params = condition(match)
    total = reader.execute(f"SELECT count(*) FROM task{where}", params).fetchone()[0]
    order = _order(sort, descending)
    rows = reader.execute(f"SELECT * FROM task{where} ORDER BY {order} LIMIT ? OFFSET ?", [*params, limit, offset])
    return Page(total, with_results(reader, rows.fetchall()))


def outline(reader: sqlite3.Connection, match: TaskMatch, sort: TaskSort, descending: bool) -> Outline:
    """The whole of the filtered, sorted list."""
    where, params = condition(match)
    order = _order(sort, descending)
    waits = _ONLY[TaskFilter.UNDECIDED]
    rows = reader.execute(f"SELECT id, {waits} FROM task{where} ORDER BY {order}", params).fetchall()
    return Outline([row[0] for row in rows], [place for place, row in enumerate(rows) if row[1]])


def _order(sort: TaskSort, descending: bool) -> str:
    direction = "DESC" if descending else "ASC"
    return f"{_ORDER_BY[sort].format(direction)} {direction}"


def matching_ids(reader: sqlite3.Connection, match: TaskMatch) -> list[str]:
    """Ids in task order; with ``match.ids`` those of them that exist."""
    if match.ids is not None:
        found = {row["id"]: row["seq"] for row in _in_chunks(reader, "SELECT id, seq FROM task WHERE id IN", match.ids)}
        return sorted(found, key=found.__getitem__)
    where, params = condition(match)
    return [row["id"] for row in reader.execute(f"SELECT id FROM task{where} ORDER BY seq", params)]


def tasks_by_ids(reader: sqlite3.Connection, ids: Sequence[str]) -> list[Task]:
    """The tasks with these ids in task order; unknown ids are left out."""
    return with_results(reader, rows_by_ids(reader, ids))


def rows_by_ids(reader: sqlite3.Connection, ids: Sequence[str], columns: str = "*") -> list[sqlite3.Row]:
    """Their rows in task order; ``columns`` with ``seq`` among them."""
    rows = list(_in_chunks(reader, f"SELECT {columns} FROM task WHERE id IN", ids))
    return sorted(rows, key=lambda row: int(row["seq"]))


def by_fingerprint(reader: sqlite3.Connection, prints: Sequence[str]) -> dict[str, Task]:
    """For each fingerprint the newest task that bears it."""
    rows = list(
        _in_chunks(reader, "SELECT * FROM task WHERE fingerprint IN", list(dict.fromkeys(prints)), " ORDER BY seq")
    )
    newest = {row["fingerprint"]: row for row in rows}
    return {task.fingerprint: task for task in with_results(reader, list(newest.values()))}


def changes(reader: sqlite3.Connection, since: int, limit: int) -> Changes:
    """Tasks changed and removed after revision ``since``; at most ``limit`` tasks, oldest change first."""
    revision = meta(reader, "revision")
    reset = since < meta(reader, "reset_revision") or since > revision
    known = since if 0 <= since <= revision else 0
    floor = 0 if reset else known
    rows = reader.execute(
        "SELECT * FROM task WHERE revision > ? ORDER BY revision, seq LIMIT ?", (floor, limit + 1)
    ).fetchall()
    gone = reader.execute(
        "SELECT id FROM removed WHERE revision > ? AND NOT EXISTS (SELECT 1 FROM task WHERE task.id = removed.id)",
        (known,),
    )
    removed = [row["id"] for row in gone]
    tasks = with_results(reader, rows[:limit])
    return Changes(revision, tasks, removed, reset, truncated=len(rows) > limit)


def meta(reader: sqlite3.Connection, key: str) -> int:
    """A number kept beside the tasks."""
    return int(reader.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])


def global_index(reader: sqlite3.Connection, result_id: str) -> int:
    """1-based place of a result among all that are not dropped, in task order."""
    row = reader.execute(
        "SELECT count(*) FROM result r JOIN task t ON t.id = r.task_id, "
        "(SELECT t2.seq AS tseq, r2.seq AS rseq FROM result r2 JOIN task t2 ON t2.id = r2.task_id "
        "WHERE r2.id = ?) me WHERE r.deleted = 0"
        " AND (t.seq < me.tseq OR (t.seq = me.tseq AND r.seq <= me.rseq))",
        (result_id,),
    ).fetchone()
    return max(1, int(row[0]))


def with_results(reader: sqlite3.Connection, rows: Sequence[sqlite3.Row]) -> list[Task]:
    """Task rows as Structs, each with its results in order of arrival."""
    tasks = [task_of(row) for row in rows]
    by_id = {task.id: task for task in tasks}
    for row in _in_chunks(reader, "SELECT * FROM result WHERE task_id IN", list(by_id), " ORDER BY seq"):
        by_id[row["task_id"]].results.append(result_of(row))
    return tasks


def _in_chunks(reader: sqlite3.Connection, statement: str, ids: Sequence[str], tail: str = "") -> Iterable[sqlite3.Row]:
    for start in range(0, len(ids), _CHUNK):
        part = ids[start : start + _CHUNK]
        yield from reader.execute(f"{statement} ({','.join('?' * len(part))}){tail}", part)


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
    )


def debug_entries(rows: Iterable[sqlite3.Row]) -> list[DebugEntry]:
    """The stored entries of a debug log, as far as they can be read."""
    entries: list[DebugEntry] = []
    for row in rows:
        with contextlib.suppress(msgspec.DecodeError, TypeError):
            entries += msgspec.msgpack.decode(row["entries"], type=list[DebugEntry])
    return entries


def _problem(text: str | None) -> Problem | None:
    try:
        return msgspec.json.decode(text, type=Problem) if text else None
    except msgspec.DecodeError:  # of another version, or damaged
        return Problem(Code.INTERNAL)
