"""What a start would do and does: the pictures found, the tasks made of them, and which are answered already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from engine.config import ApiConfig
from engine.errors import Code, ConsoleError, InvalidInput, Problem
from engine.images.cache import Cache
from engine.images.discover import Discovery, discover
from engine.models import EditOutcome, SourceImage, Task, TaskStatus
from engine.tasks.ledger import Ledger, PaidAnswer
from engine.tasks.plan import (
    MAX_PICTURES,
    ReferenceMode,
    TaskSpec,
    fingerprint,
    group_references,
    ledger_key,
    make_task_specs,
    other_records,
    own_config,
    request_record,
)
from engine.tasks.prompts import Matched, is_template, match_rows, read_table
from engine.tasks.relocate import Move
from engine.tasks.store import NewTask, Store

# A partial answer was paid for as well; whoever wants the rest asks for a retry.
_ANSWERED = frozenset({TaskStatus.DONE, TaskStatus.PARTIAL_SUCCESS})


class PlannedTask(msgspec.Struct, frozen=True):
    """A spec with its keys. ``key`` is empty where the prompt could not be made: the task itself will say why.

    ``request_record``: JSON of the request, as it stands with results; ``others``: of those that stand for the same.
    """

    spec: TaskSpec
    key: str
    fingerprint: str
    prompt: str
    request_record: str = ""
    others: tuple[str, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """All that a start would ask. ``known``: index of an item to the task that asks for the same; ``paid``: index to
    what the ledger holds; ``moves``: of known tasks those whose pictures lie where the person points, and which did not
    know it: they came with a project file."""

    found: Discovery
    items: list[PlannedTask]
    matched: Matched | None
    known: dict[int, str]
    done: frozenset[int]
    paid: dict[int, PaidAnswer]
    warnings: list[Problem] = []
    moves: list[Move] = []

    @property
    def calls(self) -> int:
        """Calls to the API that a start makes, retries aside."""
        return len(self.items) - len(self.done) - len(self.paid)


class Planner:
    """Plans starts with what store, cache and ledger know. ``progress`` hears of files seen, None at the end."""

    def __init__(
        self,
        store: Store,
        cache: Cache,
        ledger: Ledger,
        *,
        max_source_bytes: int,
        demo: bool = False,
        progress: Callable[[int | None], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._cache = cache
        self._ledger = ledger
        self._max_source_bytes = max_source_bytes
        self._demo = demo
        self._progress = progress

    def plan(
        self,
        path: str,
        config: ApiConfig,
        *,
        prompt_table: str = "",
        variants: int = 1,
        references: ReferenceMode = ReferenceMode.OFF,
        fresh: bool = False,
    ) -> Plan:
        """Look at the folder and find out what is answered already. ``fresh``: everything is asked anew."""
        found = self.find(path)
        groups = group_references(found.pictures, references, found.root)
        matched = None
        if prompt_table.strip():
            matched = match_rows(read_table(prompt_table), [group[0] for group in groups], found.root)
            if not matched.by_path:
                raise InvalidInput(Code.TABLE_NO_MATCH, field="prompt_table", path=prompt_table)
        specs = make_task_specs(groups, matched.by_path if matched else None, variants)
        items = [self.plan_one(spec, config) for spec in specs]
        known, done = self._known(items)
        ids = {number: task.id for number, task in known.items()}
        warnings = _without_reference(found, groups) if references is ReferenceMode.FOLDERS else []
        moves = [move for number, task in known.items() if (move := _move(task, items[number].spec)) is not None]
        if fresh:
            return Plan(found, items, matched, ids, frozenset(), {}, warnings, moves)
        return Plan(found, items, matched, ids, done, self._paid(items, known, done), warnings, moves)

    def carry_out(self, plan: Plan, is_busy: Callable[[str], bool]) -> list[str]:
        """Put the plan's tasks into the list: paid answers as done, the rest pending; ids to run, in its order."""
        again = {
            number: task_id
            for number, task_id in plan.known.items()
            if number not in plan.done and not is_busy(task_id)
        }
        if plan.moves:
            self._store.move_sources(plan.moves)
        if again:
            self._store.set_status(list(again.values()), TaskStatus.PENDING)
        new = [number for number in range(len(plan.items)) if number not in plan.known]
        added = dict(zip(new, self._store.add([_new_task(plan.items[number]) for number in new]), strict=True))
        ids = {**added, **again}
        for number, answer in plan.paid.items():
            if number in ids and self.take(ids[number], plan.items[number], answer):
                del ids[number]
        return [ids[number] for number in sorted(ids)]

    def find(self, path: str) -> Discovery:
        """The pictures of a path; InvalidInput for ``input_path``."""
        if not path.strip():
            raise InvalidInput(Code.FIELD_REQUIRED, field="input_path", name="input_path")
        try:
            return discover(path, self._max_source_bytes, progress=self._progress)
        finally:
            self._progress(None)

    def plan_one(self, spec: TaskSpec, config: ApiConfig) -> PlannedTask:
        """A spec with what it asks and its keys."""
        template = config.user_prompt if spec.user_prompt is None else spec.user_prompt
        try:
            own = own_config(config, spec.source.path, spec.user_prompt, spec.system_prompt)
        except (ConsoleError, OSError):
            if not is_template(template):
                raise
            return PlannedTask(spec, "", fingerprint(spec, template), template)
        what = request_record(own, own.user_prompt, own.system_prompt, spec.variant)
        told = msgspec.json.encode(what).decode()
        key = ledger_key(told, demo=self._demo)
        others = tuple(msgspec.json.encode(other).decode() for other in other_records(what, own))
        return PlannedTask(spec, key, fingerprint(spec, key), own.user_prompt, told, others)

    def print_of(self, told: str, spec: TaskSpec, config: ApiConfig) -> str:
        """The fingerprint of a task that asks with the pictures of ``spec``. ``told``: the record of its request; where
        there is none, the configuration tells it."""
        try:
            return fingerprint(spec, ledger_key(told, demo=self._demo))
        except msgspec.DecodeError:  # nothing, or of another version
            return self.plan_one(spec, config).fingerprint

    def _known(self, items: Sequence[PlannedTask]) -> tuple[dict[int, Task], frozenset[int]]:
        tasks = self._store.find_prints([item.fingerprint for item in items])
        known = {number: tasks[item.fingerprint] for number, item in enumerate(items) if item.fingerprint in tasks}
        done: set[int] = set()
        for number, task in known.items():
            whole = all(self._cache.has(result.hash, result.extension) for result in task.results)
            if task.status in _ANSWERED and task.results and whole:
                done.add(number)
        return known, frozenset(done)

    def _paid(
        self, items: Sequence[PlannedTask], known: dict[int, Task], done: frozenset[int]
    ) -> dict[int, PaidAnswer]:
        """What the ledger holds of the rest. An answer that a task here had and whose results were cleared since is not
        brought back: the person wanted another one."""
        paid = {}
        for number, item in enumerate(items):
            answer = self.paid_answer(item) if number not in done else None
            task = known.get(number)
            if answer is not None and not (task is not None and _was_cleared(task, answer)):
                paid[number] = answer
        return paid

    def paid_answer(self, item: PlannedTask) -> PaidAnswer | None:
        """What the ledger holds for it."""
        found = self._ledger.find(item.key, item.spec.pictures) if item.key else None
        for other in item.others if found is None else ():
            answer = self._ledger.find(ledger_key(other, demo=self._demo), item.spec.pictures)
            if answer is not None:
                return msgspec.structs.replace(answer, request_record=other)
        return found

    def take(self, task_id: str, item: PlannedTask, answer: PaidAnswer) -> bool:
        """Give a task the results that were paid for earlier; False if their files cannot be had."""
        try:
            self._ledger.give(answer.images, self._cache)
        except OSError:
            return False
        self._store.finish(
            EditOutcome(
                task_id,
                TaskStatus.DONE,
                answer.images,
                0,
                source_hash=answer.sources,
                request_record=answer.request_record or item.request_record,
                at=int(answer.at),
            )
        )
        return True


def _move(task: Task, spec: TaskSpec) -> Move | None:
    path, *references = [picture.path for picture in spec.pictures]
    if (task.source_path, *task.references) == (path, *references):
        return None
    return Move(task.id, path, spec.source.name, tuple(references), task.fingerprint)


def _was_cleared(task: Task, answer: PaidAnswer) -> bool:
    return task.attempts > 0 and not task.results and answer.at < task.updated_at


def _new_task(item: PlannedTask) -> NewTask:
    spec = item.spec
    return NewTask(
        spec.source.path,
        spec.source.name,
        item.fingerprint,
        references=tuple(picture.path for picture in spec.pictures[1:]),
        user_prompt=spec.user_prompt,
        system_prompt=spec.system_prompt,
        variant=spec.variant,
    )


def _without_reference(found: Discovery, groups: Sequence[tuple[SourceImage, ...]]) -> list[Problem]:
    """Says before anything is sent that references lack, which a folder of them promises for each source."""
    paths = [path for picture in found.pictures if (path := Path(picture.path)).is_relative_to(found.root)]
    places = [path.relative_to(found.root).parts[:-1] for path in paths]
    most = min(MAX_PICTURES, len({place[0] for place in places if place}))
    missing = [group[0].name for group in groups if len(group) < most]
    if not missing:
        return []
    return [Problem(Code.REFERENCES_MISSING, {"missing": len(missing), "of": len(groups), "example": missing[0]})]
