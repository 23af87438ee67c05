"""What is known of every task, in SQLite: one small transaction a change, a revision number, live counts. How a row is
written stands in `rows`."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from engine.database import Database
from engine.errors import Code, NotFound, Problem
from engine.models import (
    DECIDED,
    UNDECIDED,
    DebugEntry,
    EditOutcome,
    Facets,
    Judgement,
    Marks,
    Result,
    Task,
    TaskFilter,
    TaskMatch,
    TaskSort,
    TaskStatus,
)
from engine.paths import KEY_MARK, natural_key
from engine.tasks.carried import insert_tasks, move_tasks
from engine.tasks.lookups import (
    Counts,
    count_among,
    count_by_status,
    exists,
    find_result,
    meta_number,
    uses_hash,
    with_results,
)
from engine.tasks.outcomes import (
    PendingWrite,
    Start,
    in_chunks,
    next_revision,
    rows_by_ids,
    write_judgements,
    write_outcomes,
    write_starts,
)
from engine.tasks.relocate import Move
from engine.tasks.rows import (
    AMONG,
    COUNTED,
    LISTED,
    SCHEMA,
    SCORED,
    WAITS,
    condition,
    debug_entries,
    encode,
    facets,
    json_list,
    new_id,
    order_by,
    part_of,
    result_of,
)

_PORTION: Final = 500  # tasks held in memory while all are walked through; ids in one statement
_ROWS: Final = 100  # a statement, far below what SQLite takes


class NewTask(msgspec.Struct, frozen=True):
    """To be added. ``fingerprint`` tells whether a later start asks for the same thing. ``id`` is made if empty.

    ``trial``: the task belongs to a trial and stands in no list.
    """

    source_path: str
    source_name: str
    fingerprint: str
    id: str = ""
    references: tuple[str, ...] = ()
    user_prompt: str | None = None
    system_prompt: str | None = None
    variant: int = 0
    trial: str | None = None


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


class Store:
    """All reading and writing of tasks and results. Thread-safe; ``on_change`` is called after each commit."""

    def __init__(
        self, path: Path, *, clock: Callable[[], float] = time.time, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self._db = Database(path, SCHEMA)
        self._clock = clock
        self._on_change = on_change
        self._counts_lock = threading.Lock()
        self.problems = self._db.problems
        self._renew_name_keys()
        self.found_unfinished = self._stop_unfinished()
        self.checkpoint()
        with self._db.read() as reader:
            self._counts = count_by_status(reader)

    def _renew_name_keys(self) -> None:
        """Make the keys of an older rule anew; the index tells at once whether there are any."""
        old = (
            f"SELECT id, source_name FROM task WHERE {LISTED} AND name_key < '{KEY_MARK}'"
            f" OR {LISTED} AND name_key >= '{chr(ord(KEY_MARK) + 1)}'"
        )
        with self._db.read() as reader:
            found = reader.execute(old).fetchall()
        if found:
            keys = [(natural_key(name), task_id) for task_id, name in found]
            with self._db.write() as writer:
                writer.executemany("UPDATE task SET name_key = ? WHERE id = ?", keys)

    def checkpoint(self) -> None:
        """Bring the write-ahead log into the file, power cut included."""
        self._db.checkpoint()

    def close(self) -> None:
        """Nothing is lost without it; it only brings the write-ahead log into the file."""
        self._db.close()

    # --- reading ---

    def counts(self, ids: Sequence[str] | None = None) -> Counts:
        """Tasks in each state, kept up to date in memory; of these tasks, where they are named."""
        if ids is not None:
            with self._db.read() as reader:
                return count_among(reader, ids)
        with self._counts_lock:
            return dict(self._counts)

    def revision(self) -> int:
        """Grows with every change."""
        with self._db.read() as reader:
            return meta_number(reader, "revision")

    def count_decided(self) -> int:
        """Tasks that the person has decided about."""
        where, params = condition(TaskMatch(only=frozenset({TaskFilter.DECIDED})))
        with self._db.read() as reader:
            return int(reader.execute(f"SELECT count(*) FROM task{where}", params).fetchone()[0])

    def task(self, task_id: str) -> Task:
        """One task with its results; NotFound."""
        with self._db.read() as reader:
            found = with_results(reader, rows_by_ids(reader, [task_id]))
        if not found:
            raise NotFound(Code.TASK_UNKNOWN, id=task_id)
        return found[0]

    def result(self, task_id: str, result_id: str) -> Result:
        """One result of one task; NotFound."""
        with self._db.read() as reader:
            return find_result(reader, task_id, result_id)

    def page(self, match: TaskMatch, sort: TaskSort, descending: bool, offset: int, limit: int) -> Page:
        """``limit`` tasks from ``offset`` of the filtered, sorted list. Tasks without a score come last by score."""
        where, params = condition(match)
        with self._db.read() as reader:
            total = sum(self.counts().values())  # known; half a million would have to be counted for each page
            if match != TaskMatch():
                total = reader.execute(f"SELECT count(*) FROM task{where}", params).fetchone()[0]
            rows = part_of(reader, match, (sort, descending), range(offset, min(offset + limit, total)), total)
            return Page(total, with_results(reader, rows))

    def outline(self, match: TaskMatch, sort: TaskSort, descending: bool) -> Outline:
        """The whole filtered, sorted list as ids."""
        where, params = condition(match)
        with self._db.read() as reader:
            rows = reader.execute(
                f"SELECT id, {WAITS} FROM task{where} ORDER BY {order_by(sort, descending)}", params
            ).fetchall()
        return Outline([row[0] for row in rows], [place for place, row in enumerate(rows) if row[1]])

    def facets(self, limit: int) -> Facets:
        """How many tasks there are of each sort; the ``limit`` most frequent failures, prompts and folders."""
        with self._db.read() as reader:
            return facets(reader, limit)

    def source_folders(self) -> set[str]:
        """The folders that sources lie in."""
        with self._db.read() as reader:
            return {str(Path(row[0]).parent) for row in reader.execute(f"SELECT source_path FROM task WHERE {LISTED}")}

    def ids(self, match: TaskMatch) -> list[str]:
        """Ids of the matching tasks in task order; with ``match.ids`` those of them that exist."""
        with self._db.read() as reader:
            if match.ids is not None:
                rows = in_chunks(reader, "SELECT id, seq FROM task WHERE id IN", match.ids)
                found = {row["id"]: row["seq"] for row in rows}
                return sorted(found, key=found.__getitem__)
            where, params = condition(match)
            return [row["id"] for row in reader.execute(f"SELECT id FROM task{where} ORDER BY seq", params)]

    def tasks(self, match: TaskMatch) -> Iterator[Task]:
        """The matching tasks in task order, read in portions."""
        ids = self.ids(match)
        for start in range(0, len(ids), _PORTION):
            with self._db.read() as reader:
                portion = with_results(reader, rows_by_ids(reader, ids[start : start + _PORTION]))
            yield from portion

    def every_task(self) -> Iterator[Task]:
        """Every task in order, those of trials included, read in portions."""
        with self._db.read() as reader:
            ids = [row["id"] for row in reader.execute("SELECT id FROM task ORDER BY seq")]
        for start in range(0, len(ids), _PORTION):
            with self._db.read() as reader:
                portion = with_results(reader, rows_by_ids(reader, ids[start : start + _PORTION]))
            yield from portion

    def tasks_of_results(self, results: Iterable[str]) -> dict[str, str]:
        """Task ids by result id; dropped and unknown results are left out."""
        with self._db.read() as reader:
            rows = reader.execute(f"SELECT id, task_id FROM result WHERE {AMONG}", (json_list(results),))
            return {row["id"]: row["task_id"] for row in rows}

    def changes(self, since: int, limit: int) -> Changes:
        """Tasks changed and removed after revision ``since``; at most ``limit`` tasks, oldest change first."""
        with self._db.read() as reader:
            revision = meta_number(reader, "revision")
            reset = since < meta_number(reader, "reset_revision") or since > revision
            known = since if 0 <= since <= revision else 0
            rows = reader.execute(
                f"SELECT * FROM task WHERE revision > ? AND +{LISTED} ORDER BY revision, seq LIMIT ?",
                (0 if reset else known, limit + 1),
            ).fetchall()
            gone = reader.execute(
                "SELECT id FROM removed WHERE revision > ?"
                " AND NOT EXISTS (SELECT 1 FROM task WHERE task.id = removed.id)",
                (known,),
            )
            removed = [row["id"] for row in gone]
            tasks = with_results(reader, rows[:limit])
        return Changes(revision, tasks, removed, reset, truncated=len(rows) > limit)

    def find_prints(self, prints: Sequence[str]) -> dict[str, Task]:
        """For each fingerprint the newest task that bears it."""
        wanted = list(dict.fromkeys(prints))
        with self._db.read() as reader:
            rows = in_chunks(reader, "SELECT * FROM task WHERE fingerprint IN", wanted, f" AND +{LISTED} ORDER BY seq")
            newest = {row["fingerprint"]: row for row in rows}
            return {task.fingerprint: task for task in with_results(reader, list(newest.values()))}

    def debug_log(self, task_id: str) -> list[DebugEntry]:
        """The stored debug log, oldest first."""
        with self._db.read() as reader:
            rows = reader.execute("SELECT entries FROM debug WHERE task_id = ? ORDER BY seq", (task_id,)).fetchall()
        return debug_entries(rows)

    def knows_file(self, path: str) -> bool:
        """Whether a path is the source of a task, or where a result was saved."""
        with self._db.read() as reader:
            return exists(reader, "SELECT 1 FROM task WHERE source_path = ? LIMIT 1", path) or exists(
                reader, "SELECT 1 FROM result WHERE saved = ? LIMIT 1", path
            )

    def files(self) -> list[tuple[str, str, int]]:
        """Every result file once: hash, extension, size in bytes."""
        with self._db.read() as reader:
            return [tuple(row) for row in reader.execute("SELECT hash, extension, size FROM result GROUP BY hash")]

    def uses_hash(self, digest: str) -> bool:
        """Whether any result, dropped or not, is this file."""
        with self._db.read() as reader:
            return uses_hash(reader, digest)

    def global_index(self, result_id: str) -> int:
        """1-based place of a result among all that are not dropped, in task order."""
        with self._db.read() as reader:
            row = reader.execute(
                "SELECT count(*) FROM result r JOIN task t ON t.id = r.task_id, "
                "(SELECT t2.seq AS tseq, r2.seq AS rseq FROM result r2 JOIN task t2 ON t2.id = r2.task_id "
                "WHERE r2.id = ?) me WHERE r.deleted = 0"
                " AND (t.seq < me.tseq OR (t.seq = me.tseq AND r.seq <= me.rseq))",
                (result_id,),
            ).fetchone()
        return max(1, int(row[0]))

    # --- writing: batch is the only caller that changes a state ---

    def add(self, tasks: Sequence[NewTask]) -> list[str]:
        """Append pending tasks; their ids in the same order."""
        ids = [task.id or new_id() for task in tasks]
        with self._db.write() as writer:
            revision = next_revision(writer)
            now = int(self._clock())
            writer.executemany(
                "INSERT INTO task (id, source_path, source_name, name_key, fingerprint, extra_sources, user_prompt,"
                " system_prompt, variant, trial, status, updated_at, revision)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?)",
                [
                    (
                        task_id, task.source_path, task.source_name, natural_key(task.source_name), task.fingerprint,
                        msgspec.json.encode(task.references).decode() if task.references else None, task.user_prompt,
                        task.system_prompt, task.variant, task.trial, now, revision,
                    )
                    for task_id, task in zip(ids, tasks, strict=True)
                ],
            )  # fmt: skip
        self._moved(None, TaskStatus.PENDING, sum(task.trial is None for task in tasks))
        return ids

    def set_status(self, ids: Sequence[str], status: TaskStatus, error: Problem | None = None) -> int:
        """Move tasks to a state that carries no outcome (pending, processing, stopped); how many moved."""
        moves: Counts = {}
        moved = 0
        text = encode(error)
        with self._db.write() as writer:
            revision = next_revision(writer)
            now = int(self._clock())
            for task_id in ids:
                row = writer.execute("SELECT status, trial FROM task WHERE id = ?", (task_id,)).fetchone()
                if row is None:
                    continue
                moved += 1
                if row["trial"] is None:
                    before = TaskStatus(row["status"])
                    moves[before] = moves.get(before, 0) + 1
                writer.execute(
                    "UPDATE task SET status = ?, error = ?, warning = NULL, updated_at = ?, revision = ? WHERE id = ?",
                    (status, text, now, revision, task_id),
                )
        for before, count in moves.items():
            self._moved(before, status, count)
        if not moves and moved:
            self._on_change()
        return moved

    def begin(self, ids: Sequence[str]) -> list[Task]:
        """Move tasks to processing; what they are to do, without earlier results. NotFound if none is there."""
        tasks = self._db.together(write_starts, Start(ids, int(self._clock())), durable=False)
        for task in tasks:
            self._moved(task.status, TaskStatus.PROCESSING, task.trial is None)
        return tasks

    def finish(self, outcome: EditOutcome, result_ids: Mapping[str, str] = MappingProxyType({})) -> None:
        """Keep an outcome: new results (unique by hash), state, errors, debug log; durable when this returns.

        ``result_ids``: ids for results by their hash; made for those that it does not name.
        """
        write = PendingWrite(outcome, result_ids, int(self._clock()))
        before = self._db.together(write_outcomes, write, durable=bool(outcome.images))
        if before is None:
            self._on_change()
        else:
            self._moved(before, outcome.status, 1)

    def mark_result(
        self, task_id: str, result_id: str, *, selected: bool | None = None, deleted: bool | None = None
    ) -> Result:
        """Tick, untick, drop or restore one result; ``selected=None`` and ``deleted=None`` toggles the tick."""
        with self._db.write() as writer:
            result = find_result(writer, task_id, result_id)
            if selected is None and deleted is None:
                selected = not result.selected
            result.selected = result.selected if selected is None else selected
            result.deleted = result.deleted if deleted is None else deleted
            writer.execute(
                "UPDATE result SET selected = ?, deleted = ? WHERE id = ?", (result.selected, result.deleted, result.id)
            )
            writer.execute("UPDATE task SET judged = ? WHERE id = ?", (DECIDED, task_id))
            self._touch(writer, [task_id])
        self._on_change()
        return result

    def mark_tasks(self, ids: Sequence[str], *, selected: bool | None = None, deleted: bool | None = None) -> int:
        """Tick, untick, drop or restore all results of these tasks; how many results changed."""
        column, value = ("selected", selected) if selected is not None else ("deleted", deleted)
        changed = 0
        with self._db.write() as writer:
            for task_id in ids:
                changed += writer.execute(
                    f"UPDATE result SET {column} = ? WHERE task_id = ? AND {column} <> ?", (value, task_id, value)
                ).rowcount
                writer.execute("UPDATE task SET judged = ? WHERE id = ? AND judged <> 0", (DECIDED, task_id))
            self._touch(writer, ids)
        self._on_change()
        return changed

    def put_marks(self, marks: Sequence[Marks]) -> int:
        """Set ticks, drops and what is decided, task by task, in one step; how many results changed."""
        changed = 0
        with self._db.write() as writer:
            for mark in marks:
                for column, values in (("selected", mark.ticked), ("deleted", mark.dropped)):
                    for result_id, value in values.items():
                        changed += writer.execute(
                            f"UPDATE result SET {column} = ? WHERE id = ? AND task_id = ? AND {column} <> ?",
                            (value, result_id, mark.task_id, value),
                        ).rowcount
                if mark.decided is not None:
                    judged = DECIDED if mark.decided else UNDECIDED
                    writer.execute("UPDATE task SET judged = ? WHERE id = ?", (judged, mark.task_id))
            self._touch(writer, [mark.task_id for mark in marks])
        self._on_change()
        return changed

    def set_prompt(self, ids: Sequence[str], prompt: str) -> None:
        """From now on these tasks ask with this prompt, whatever the configuration says."""
        with self._db.write() as writer:
            writer.executemany("UPDATE task SET user_prompt = ? WHERE id = ?", [(prompt, one) for one in ids])
            self._touch(writer, ids)
        self._on_change()

    def judge(self, ids: Sequence[str], judged: bool) -> int:
        """Note that the person has looked at the results of these tasks, or has not; how many tasks changed."""
        changed, value = 0, DECIDED if judged else UNDECIDED
        with self._db.write() as writer:
            for task_id in ids:
                changed += writer.execute(
                    "UPDATE task SET judged = ? WHERE id = ? AND judged <> ?", (value, task_id, value)
                ).rowcount
            self._touch(writer, ids)
        self._on_change()
        return changed

    def set_judgement(self, result_id: str, judgement: Judgement | None) -> None:
        """Keep what a vision model said of a result, or forget it; durable when this returns. NotFound."""
        self._db.together(write_judgements, (result_id, judgement, int(self._clock())), durable=judgement is not None)
        self._on_change()

    def set_caption(self, task_id: str, result_id: str, text: str | None, *, seen: bool = True) -> None:
        """Keep the caption of a result. ``seen``: a person wrote or read it; a model's own waits for that. NotFound."""
        with self._db.write() as writer:
            find_result(writer, task_id, result_id)
            writer.execute(
                "UPDATE result SET caption = ?, caption_seen = ? WHERE id = ?",
                (text, seen and text is not None, result_id),
            )
            self._touch(writer, [task_id])
        self._on_change()

    def note_saved(self, saved: Iterable[tuple[str, str]]) -> None:
        """Remember under which path a result was saved: pairs of result id and path."""
        rows = [(path, result_id) for result_id, path in saved]
        if not rows:
            return
        with self._db.write() as writer:
            revision = next_revision(writer)
            writer.executemany("UPDATE result SET saved = ? WHERE id = ?", rows)
            writer.executemany(
                "UPDATE task SET revision = ? WHERE id = (SELECT task_id FROM result WHERE id = ?)",
                [(revision, result_id) for _, result_id in rows],
            )
        self._on_change()

    def forget_saved(self, paths: Iterable[str]) -> None:
        """These files did not come to be: results that were saved under such a path count as not saved."""
        gone = frozenset(paths)
        with self._db.write() as writer:
            rows = writer.execute("SELECT id, task_id, saved FROM result WHERE saved IS NOT NULL").fetchall()
            lost = [(result_id, task_id) for result_id, task_id, saved in rows if saved in gone]
            writer.executemany("UPDATE result SET saved = NULL WHERE id = ?", [(result_id,) for result_id, _ in lost])
            self._touch(writer, [task_id for _, task_id in lost])
        self._on_change()

    def drop_results(self, task_id: str) -> list[Result]:
        """Forget all results of a task; those whose file no other result needs come back, for removal."""
        with self._db.write() as writer:
            results = [result_of(row) for row in writer.execute("SELECT * FROM result WHERE task_id = ?", (task_id,))]
            writer.execute("DELETE FROM result WHERE task_id = ?", (task_id,))
            self._touch(writer, [task_id])
            orphans = [result for result in results if not uses_hash(writer, result.hash)]
        self._on_change()
        return orphans

    def restore(self, tasks: Iterable[Task], logs: Iterable[tuple[str, Sequence[DebugEntry]]]) -> None:
        """Append whole tasks as another store had them, and their logs. What these raise undoes all of it."""
        with self._db.write(durable=True) as writer:
            insert_tasks(writer, tasks, logs)
            counts = count_by_status(writer)
        with self._counts_lock:
            self._counts = counts
        self._on_change()

    def move_sources(self, moves: Sequence[Move]) -> None:
        """Let tasks point to where their sources lie now, all at once."""
        with self._db.write(durable=True) as writer:
            move_tasks(writer, moves)
        self._on_change()

    def follow(self, revision: int) -> None:
        """Number changes on from another store's revision, so that who listened to that one reads everything anew."""
        with self._db.write() as writer:
            first = max(meta_number(writer, "revision"), revision) + 1
            writer.execute("UPDATE meta SET value = ? WHERE key IN ('revision', 'reset_revision')", (first,))

    def remove(self, ids: Sequence[str]) -> list[Result]:
        """Delete tasks with results and logs; results whose file no other needs come back."""
        with self._db.write() as writer:
            revision = next_revision(writer)
            results: list[Result] = []
            gone: Counts = {}
            for task_id in ids:
                row = writer.execute("SELECT status, trial FROM task WHERE id = ?", (task_id,)).fetchone()
                if row is None:
                    continue
                if row["trial"] is None:
                    gone[TaskStatus(row["status"])] = gone.get(TaskStatus(row["status"]), 0) + 1
                rows = writer.execute("SELECT * FROM result WHERE task_id = ?", (task_id,))
                results += [result_of(found) for found in rows]
                writer.execute("DELETE FROM task WHERE id = ?", (task_id,))
                writer.execute("INSERT INTO removed VALUES (?, ?)", (revision, task_id))
            orphans = [result for result in results if not uses_hash(writer, result.hash)]
        for status, count in gone.items():
            self._moved(status, None, count)
        return orphans

    def clear(self) -> list[Result]:
        """Delete every task of the list; of their results those whose file no other needs come back, one for each
        file."""
        with self._db.write() as writer:
            listed = f"SELECT id FROM task WHERE {LISTED}"
            rows = writer.execute(f"SELECT * FROM result WHERE task_id IN ({listed}) GROUP BY hash").fetchall()
            revision = next_revision(writer)
            writer.execute("DELETE FROM removed")
            writer.execute(f"INSERT INTO removed SELECT ?, id FROM task WHERE {LISTED}", (revision,))
            for table in ("debug", "result"):
                writer.execute(f"DELETE FROM {table} WHERE task_id IN ({listed})")
            writer.execute(f"DELETE FROM task WHERE {LISTED}")
            orphans = [result_of(row) for row in rows if not uses_hash(writer, row["hash"])]
            writer.execute("UPDATE meta SET value = ? WHERE key = 'reset_revision'", (revision,))
        with self._counts_lock:
            self._counts = dict.fromkeys(TaskStatus, 0)
        self._on_change()
        return orphans

    # --- inside ---

    def _stop_unfinished(self) -> int:
        with self._db.write() as writer:
            found: int = writer.execute(
                "SELECT count(*) FROM task WHERE status IN ('pending', 'processing')"
            ).fetchone()[0]
            if found:
                writer.execute(
                    "UPDATE task SET status = 'stopped', error = ?, updated_at = ?, revision = ?"
                    " WHERE status IN ('pending', 'processing')",
                    (encode(Problem(Code.FOUND_UNFINISHED)), int(self._clock()), next_revision(writer)),
                )
        return found

    def _touch(self, writer: sqlite3.Connection, ids: Sequence[str]) -> None:
        revision = next_revision(writer)
        now = int(self._clock())
        writer.executemany(
            f"UPDATE task SET updated_at = ?, revision = ?, {COUNTED}, {SCORED} WHERE id = ?",
            [(now, revision, task_id) for task_id in ids],
        )

    def _moved(self, before: TaskStatus | None, after: TaskStatus | None, count: int) -> None:
        with self._counts_lock:
            if before is not None:
                self._counts[before] -= count
            if after is not None:
                self._counts[after] += count
        self._on_change()
