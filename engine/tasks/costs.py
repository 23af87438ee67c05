"""What calls cost: the book of all programs of a person, the table of prices, and the purse that every paid call asks.

The book stands beside the ledger and is shared as that is: sums by project, run, day, model and door, whole numbers of
1e-10 USD. A fault of the book costs no answer: it is logged, and the sums of this program are kept in memory.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import logging
import operator
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from engine.config import ApiConfig
from engine.database import Database, Schema
from engine.errors import Code, EditFailed, InvalidInput, Problem, StorageFailed
from engine.files import read_json, write_json
from engine.keys import origin, plain_address
from engine.money import exact, plain
from engine.tasks.budget import Budget, Reservation
from engine.upstream.bills import Bill, Price, amount_of, price_for

_SCHEMA: Final = Schema(
    1,
    """
CREATE TABLE spent (
  project TEXT NOT NULL, run TEXT NOT NULL, day TEXT NOT NULL, model TEXT NOT NULL, door TEXT NOT NULL,
  kind TEXT NOT NULL, calls INTEGER NOT NULL, refused INTEGER NOT NULL, wasted INTEGER NOT NULL,
  unknown INTEGER NOT NULL, amount INTEGER NOT NULL,
  PRIMARY KEY (project, run, day, model, door, kind)
) WITHOUT ROWID;
CREATE INDEX spent_day ON spent (day, amount);
CREATE TABLE job (id TEXT PRIMARY KEY, amount INTEGER) WITHOUT ROWID;
""",
)
_NOTES: Final = (
    "INSERT INTO spent VALUES {} ON CONFLICT DO UPDATE SET calls = calls + excluded.calls,"
    " refused = refused + excluded.refused, wasted = wasted + excluded.wasted, unknown = unknown + excluded.unknown,"
    " amount = amount + excluded.amount"
)
_SUMS: Final = "total(calls), total(refused), total(wasted), total(unknown), coalesce(sum(amount), 0)"
_OF_RUNS: Final = (
    f"SELECT run, min(day), min(project), group_concat(DISTINCT model), {_SUMS} FROM spent"  # noqa: S608 - ours
    " GROUP BY run ORDER BY min(day) DESC, run DESC LIMIT ?"
)
BATCH_SHARE: Final = 2
"""By what providers divide the price of an edit in a batch, where it is cheaper there."""
_OTHERS_SECONDS: Final = 1.0  # so often what other programs spend today is looked up
_NEVER: Final = msgspec.UNSET
log = logging.getLogger(__name__)


class CallKind(StrEnum):
    """What a call was for; BATCH: an edit at the price of a provider's batch."""

    EDIT = "edit"
    BATCH = "batch"
    VISION = "vision"


class Came(StrEnum):
    """What a call brought: pictures or words; a refusal, which is not billed unless it says so; nothing, though the
    API had taken it on and bills it."""

    ANSWER = "answer"
    REFUSED = "refused"
    WASTED = "wasted"


class Sums(msgspec.Struct, frozen=True):
    """``amount`` in units of `engine.money`. ``refused`` and ``wasted`` of ``calls`` brought nothing; of ``unknown``
    nobody knows the price."""

    calls: int = 0
    refused: int = 0
    wasted: int = 0
    unknown: int = 0
    amount: int = 0


class RunSums(msgspec.Struct, frozen=True):
    """A run in the book: its day and project, and the models that were asked, with commas between them."""

    run: str
    day: str
    project: str
    models: str
    sums: Sums


class Admission(msgspec.Struct, frozen=True):
    """A call that may be made, until it is settled."""

    reservation: Reservation
    run: str
    config: ApiConfig
    kind: CallKind


class Prices:
    """The table of prices: those that came with the program, and a person's own, which go first; kept in a file."""

    def __init__(self, path: Path | None = None, built_in: Sequence[Price] = ()) -> None:
        self._path = path
        self.built_in = list(built_in)
        self.problems: list[Problem] = []
        self._own: list[Price] = []
        self._found: dict[tuple[str, str], Price | None] = {}
        if path is not None:
            stored, self.problems = read_json(path)
            for entry in stored.get("prices") or []:
                try:
                    self._own.append(read_price(entry))
                except InvalidInput as error:
                    self.problems = [*self.problems, error.problem]

    @property
    def own(self) -> list[Price]:
        """A person's own entries."""
        return list(self._own)

    def set_own(self, prices: Sequence[Price]) -> None:
        """Make these the person's own. StorageFailed."""
        if self._path is not None:
            write_json(self._path, {"prices": list(prices)})
        self._own = list(prices)
        self._found = {}

    def of(self, config: ApiConfig) -> Price | None:
        """The entry for a configuration's model and host."""
        found, wanted = self._found, (config.api_url, config.model_name)
        if wanted not in found:  # each call asks for the same few
            host, model = urlsplit(config.api_url).hostname or "", config.model_name
            found[wanted] = price_for(self._own, host, model) or price_for(self.built_in, host, model)
        return found[wanted]

    def before(self, config: ApiConfig) -> int | None:
        """What a call of this configuration costs, as far as that is known before it is made."""
        price = self.of(config)
        flat = price.flat(config.result_count) if price is not None else None
        return exact(config.price_per_call) or flat


def read_price(entry: Any) -> Price:
    """An entry as a person or a file gives it: InvalidInput naming what is no price."""
    if not isinstance(entry, dict):
        raise InvalidInput(Code.FIELD_TYPE, field="prices", name="prices", type="object")
    values: dict[str, Any] = {}
    for name, value in entry.items():
        if name not in Price.__struct_fields__:
            choices = ", ".join(Price.__struct_fields__)
            raise InvalidInput(Code.FIELD_CHOICE, field="prices", name=str(name)[:100], choices=choices)
        if name in ("host", "model"):
            if not isinstance(value, str) or len(value) > 253:
                raise InvalidInput(Code.FIELD_TYPE, field="prices", name=name, type="string")
            values[name] = value.strip() or ("*" if name == "model" else "")
        elif value not in (None, ""):
            amount = exact(value)
            if amount is None:
                raise InvalidInput(Code.FIELD_TYPE, field="prices", name=name, type="number")
            values[name] = plain(amount)
    if values.keys() <= {"host", "model"}:  # it would stand before one that has a price
        raise InvalidInput(Code.FIELD_REQUIRED, field="prices", name="input")
    return Price(**values)


class Costs:
    """Thread-safe. Every paid call passes: ``admit`` before it, ``settle`` after it."""

    def __init__(
        self,
        path: Path | None = None,
        project: str = "",
        prices: Prices | None = None,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without a path in memory only. ``project``: under which name this workspace's calls are kept."""
        self.prices = prices or Prices()
        self.project = project
        self._db = Database(path, _SCHEMA) if path is not None else None
        self.problems: list[Problem] = [*self.prices.problems, *(self._db.problems if self._db is not None else ())]
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._budget = Budget()
        self._day = ""
        self._looked = -_OTHERS_SECONDS
        self._run = _new_run(clock())
        self._sums = self._sums_before = Sums()
        self._by_door: dict[_DoorKey, int] = {}
        self._held: dict[str, Admission] = {}
        self._joined = 0  # blocks of `as_one_run`, one in the other
        self._begun = False  # a run has begun in the outermost of them
        self._running = False

    def close(self) -> None:
        """Let go of the book."""
        if self._db is not None:
            self._db.close()

    # --- a run ---

    def begin_run(self, config: ApiConfig) -> None:
        """A run begins under the budgets of its configuration."""
        limits = exact(config.budget) or 0, exact(config.budget_day) or 0
        with self._lock:
            self._running = True
            if self._joined and self._begun:
                self._budget.run_limit, self._budget.day_limit = limits
                return
            self._begun = True
            self._run, self._sums, self._by_door = _new_run(self._clock()), Sums(), {}
            self._budget.begin_run(*limits)

    def end_run(self) -> None:
        """The run is over; its sums stay until the next."""
        with self._lock:
            self._running = False
            self._budget.in_run = self._joined > 0

    @contextlib.contextmanager
    def as_one_run(self) -> Iterator[None]:
        """Runs that begin in this block, and what is asked between them, have one budget and one sum together."""
        with self._lock:
            self._begun = self._begun and self._joined > 0
            self._joined += 1
        try:
            yield
        finally:
            with self._lock:
                self._joined -= 1
                self._budget.in_run = self._running or self._joined > 0

    def set_budgets(self, config: ApiConfig) -> None:
        """The person goes on with the budgets that the configuration has now."""
        with self._lock:
            self._budget.run_limit = exact(config.budget) or 0
            self._budget.day_limit = exact(config.budget_day) or 0

    @property
    def run(self) -> Sums:
        """What the run that goes, or went last, has cost so far."""
        return self._sums

    @property
    def budget(self) -> int:
        """What this run may cost, in units; 0 for no limit."""
        return self._budget.run_limit

    @property
    def told(self) -> Sums:
        """The same with what this program has collected for earlier runs."""
        return _added(self._sums, self._sums_before)

    @property
    def run_id(self) -> str:
        """The name of that run in the book."""
        return self._run

    def of_door(self, door: ApiConfig) -> int:
        """What calls through a door have cost in this run: to its address, with its key, for its model."""
        return self._by_door.get(_door_key(door), 0)

    def expected(self, config: ApiConfig) -> int | None:
        """What a live call will cost, in units: as it is known before, or as calls to this model have cost so far,
        whichever is more; None where nothing is known."""
        known, mean = self.prices.before(config), self._mean(config.model_name, CallKind.EDIT)
        if mean is None and (by_batch := self._mean(config.model_name, CallKind.BATCH)) is not None:
            mean = BATCH_SHARE * by_batch
        return known if mean is None else max(known or 0, mean)

    def _mean(self, model: str, kind: CallKind) -> int | None:
        found = self.sums_by("model", model=model, kind=kind)
        sums = found[0][1] if found and self._db is not None else Sums()
        paid = sums.calls - sums.refused - sums.unknown
        return sums.amount // paid if paid > 0 and sums.amount else None

    # --- a call ---

    def admit(self, config: ApiConfig, kind: CallKind = CallKind.EDIT) -> Admission:
        """Before a call is made; EditFailed (BUDGET_REACHED) where it would exceed a budget."""
        known = _shared(self.prices.before(config), kind)
        with self._lock:
            self._renew_day()
            admitted = self._budget.admit(_key_of(config, kind), known)
            run = self._run
        if isinstance(admitted, Problem):
            raise out_of_budget(admitted)
        return Admission(admitted, run, config, kind)

    def settle(
        self, admission: Admission, came: Came, bill: Bill | None = None, *, pictures: int = 0, job: str = ""
    ) -> int | None:
        """The call is over: what it cost, None for unknown. ``job``: what it brought is collected later, under this
        name; then `collected` corrects the amount where the answer tells another one."""
        config = admission.config
        told = bill.amount if bill is not None and bill.told else None
        if came is Came.REFUSED:
            amount: int | None = told or 0
        else:
            known = exact(config.price_per_call)
            amount = amount_of(bill, self.prices.of(config), known, pictures, config.result_count)
        with self._lock:
            self._renew_day()
            self._budget.settle(admission.reservation, amount)
        sums = Sums(1, came is Came.REFUSED, came is Came.WASTED, amount is None, amount or 0)
        self._note(admission.run, config, admission.kind, sums, job)
        return amount

    def hold(self, task_id: str, config: ApiConfig, kind: CallKind) -> None:
        """Set aside what a task in a provider's batch will cost, until it is let go; EditFailed (BUDGET_REACHED)."""
        self.let_go(task_id)
        admission = self.admit(config, kind)
        with self._lock:
            self._held[task_id] = admission

    def hold_again(self, task_id: str, config: ApiConfig, kind: CallKind) -> None:
        """The same for a task that an earlier program has put into a batch: it will cost that, whatever the budgets."""
        self.let_go(task_id)
        known = _shared(self.prices.before(config), kind)
        with self._lock:
            reservation = self._budget.set_aside(_key_of(config, kind), known)
            self._held[task_id] = Admission(reservation, "", config, kind)

    def let_go(self, task_id: str) -> None:
        """What was set aside for a task is free: it was collected, or never went."""
        with self._lock:
            admission = self._held.pop(task_id, None)
        if admission is not None:
            self.give_back(admission)

    def give_back(self, admission: Admission) -> None:
        """The call was not made after all."""
        with self._lock:
            self._budget.settle(admission.reservation, 0)

    def collected(
        self,
        job: str,
        config: ApiConfig,
        came: Came,
        bill: Bill | None = None,
        *,
        pictures: int = 0,
        kind: CallKind = CallKind.EDIT,
        run: str = "",
    ) -> int | None:
        """A job was collected, or a line of a batch: what it has cost, in the whole. Its submission may have been
        noted, then this corrects it; the same job collected twice is paid for once. ``run``: the one that asked for
        it, "" for this. As BATCH it costs half the table's and the person's price."""
        told = bill.amount if bill is not None else None
        if came is Came.REFUSED:
            amount: int | None = told or 0
        else:
            known = exact(config.price_per_call)
            amount = amount_of(bill, self.prices.of(config), known, pictures, config.result_count)
        if told is None:
            amount = _shared(amount, kind)
        before = self._job(job)
        is_new = before is _NEVER
        more = (amount or 0) - (before or 0 if isinstance(before, int) else 0)
        with self._lock:
            run = run or self._run
            self._renew_day()
            mine = self._budget.number if run == self._run else -1
            self._budget.settle(Reservation(_key_of(config, kind) if is_new else None, 0, mine), more)
        refused, wasted = came is Came.REFUSED, came is Came.WASTED
        if is_new:
            sums = Sums(1, refused, wasted, amount is None, more)
        else:
            sums = Sums(0, 0, 0, -(before is None and amount is not None), more if amount is not None else 0)
        if is_new or (amount is not None and amount != before):
            self._note(run, config, kind, sums, job, total=amount)
        return amount

    def _note(
        self, run: str, config: ApiConfig, kind: CallKind, sums: Sums, job: str = "", total: int | None = None
    ) -> None:
        door, key = plain_address(config.api_url), _door_key(config)
        with self._lock:
            if run == self._run:
                self._sums = _added(self._sums, sums)
                self._by_door[key] = self._by_door.get(key, 0) + sums.amount
            else:
                self._sums_before = _added(self._sums_before, sums)
            day = self._day
        if self._db is None:
            return
        note = _Note((self.project, run, day, config.model_name, door, kind.value), sums)
        try:
            if job:
                amount = total if not sums.calls else None if sums.unknown else sums.amount
                self._db.together(_write_jobs, (note, job, amount), durable=False)
            else:
                self._db.together(_write_notes, note, durable=False, autocommit=True)
        except StorageFailed:
            log.exception("cost of a call not noted")

    def _job(self, job: str) -> int | msgspec.UnsetType | None:
        """What a job is noted with: an amount, None for unknown; UNSET where it never was."""
        if self._db is None:
            return _NEVER
        try:
            with self._db.read() as reader:
                row = reader.execute("SELECT amount FROM job WHERE id = ?", (job,)).fetchone()
        except StorageFailed:
            log.exception("cost of a job not read")
            return _NEVER
        return _NEVER if row is None else row[0]

    def _renew_day(self) -> None:
        """What counts against the day: all that programs of this person spend, looked up now and then."""
        day, now = self.today, self._monotonic()
        other = day != self._day
        if other:
            self._day, self._budget.day_spent = day, 0
        if self._db is None or not (other or (self._budget.day_limit and now - self._looked >= _OTHERS_SECONDS)):
            return
        self._looked = now
        try:
            with self._db.read() as reader:
                found = reader.execute("SELECT coalesce(sum(amount), 0) FROM spent WHERE day = ?", (day,)).fetchone()
        except StorageFailed:
            log.exception("costs not read")
            return
        self._budget.day_spent = max(self._budget.day_spent, int(found[0]))

    # --- the book ---

    @property
    def today(self) -> str:
        """The day by the person's clock: 2026-11-29."""
        return _day_of(int(self._clock() // 60))

    def sums(self, **where: str) -> Sums:
        """Of all calls in the book, or of those of one project, day or run."""
        rows = self.sums_by("''", **where)
        return rows[0][1] if rows else Sums()

    def sums_by(self, column: str, **where: str) -> list[tuple[str, Sums]]:
        """Sums by ``model``, ``day``, ``project``, ``door`` or ``kind``, in that column's order; ``where``: only of
        calls in which these columns are so."""
        if self._db is None:
            return [("", self._sums)]
        only = "".join(f"{' AND' if number else ' WHERE'} {name} = ?" for number, name in enumerate(where))
        with self._db.read() as reader:
            rows = reader.execute(
                f"SELECT {column}, {_SUMS} FROM spent{only} GROUP BY 1 ORDER BY 1",  # noqa: S608 - names of ours
                list(where.values()),
            ).fetchall()
        return [(str(row[0]), Sums(*map(int, tuple(row)[1:]))) for row in rows]

    def by_run(self, most: int) -> list[RunSums]:
        """The last runs, and what was asked between two of them, the latest last."""
        if self._db is None:
            return []
        with self._db.read() as reader:
            rows = reader.execute(
                _OF_RUNS,
                (most,),
            ).fetchall()
        return [
            RunSums(str(row[0]), str(row[1]), str(row[2]), str(row[3]), Sums(*map(int, tuple(row)[4:])))
            for row in reversed(rows)
        ]


def out_of_budget(problem: Problem) -> EditFailed:
    """The error that keeps a call from being made."""
    error = EditFailed(problem.code)
    error.params, error.field = problem.params, problem.field
    return error


def read_built_in(data: bytes) -> list[Price]:
    """The table that comes with the program, assets/prices.json."""
    return [read_price(entry) for entry in msgspec.json.decode(data)["prices"]]


def began_at(run: str) -> int | None:
    """When a run began, Unix seconds, from its name; None for one of an older version."""
    moment, mark, _ = run.partition("-")
    return int(moment) // 1000 if mark and moment.isdigit() else None


def _new_run(now: float) -> str:
    return f"{int(1000 * now)}-{secrets.token_hex(4)}"


def _shared(amount: int | None, kind: CallKind) -> int | None:
    """A price as calls of this kind have it."""
    return amount if amount is None or kind is not CallKind.BATCH else -(-amount // BATCH_SHARE)


@functools.lru_cache(2)  # each call asks
def _day_of(minute: int) -> str:
    return datetime.datetime.fromtimestamp(60 * minute).astimezone().strftime("%Y-%m-%d")


def _key_of(config: ApiConfig, kind: CallKind) -> tuple[Hashable, ...]:
    """Calls that are expected to cost the same."""
    return kind, origin(config.api_url), config.model_name, config.result_count


_DoorKey = tuple[str, str, str]


def _door_key(config: ApiConfig) -> _DoorKey:
    return plain_address(config.api_url), config.api_key, config.model_name


def _added(one: Sums, other: Sums) -> Sums:
    return Sums(*map(operator.add, msgspec.structs.astuple(one), msgspec.structs.astuple(other)))


class _Note(msgspec.Struct, frozen=True):
    """What is added to a row. ``row``: its key: project, run, day, model, door, kind."""

    row: tuple[str, ...]
    sums: Sums


def _write_notes(writer: sqlite3.Connection, notes: Sequence[_Note]) -> list[None]:
    rows: dict[tuple[str, ...], Sums] = {}
    for note in notes:
        rows[note.row] = _added(rows.get(note.row, Sums()), note.sums)
    values = [value for row, sums in rows.items() for value in (*row, *map(int, msgspec.structs.astuple(sums)))]
    writer.execute(_NOTES.format(", ".join([f"({', '.join('?' * (len(values) // len(rows)))})"] * len(rows))), values)
    return [None] * len(notes)


def _write_jobs(writer: sqlite3.Connection, jobs: Sequence[tuple[_Note, str, int | None]]) -> list[None]:
    """The same, each about a job that is collected later, with its amount in the whole."""
    for note, job, amount in jobs:
        known = writer.execute("SELECT amount FROM job WHERE id = ?", (job,)).fetchone()
        if known is not None and note.sums.calls:
            continue  # another program has collected it meanwhile
        if known is not None:
            more = (amount or 0) - (known[0] or 0)
            note = _Note(note.row, msgspec.structs.replace(note.sums, amount=more))
        _write_notes(writer, [note])
        writer.execute("INSERT OR REPLACE INTO job VALUES (?, ?)", (job, amount))
    return [None] * len(jobs)
