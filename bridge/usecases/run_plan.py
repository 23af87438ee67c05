"""What a start would do and does: the pictures found, the wishes made of them, and which are answered already."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bridge.console import Console
from engine.config import ApiConfig
from engine.errors import Code, ConsoleError, InvalidInput
from engine.images.discover import Found, discover
from engine.models import EditOutcome, Task, TaskStatus
from engine.tasks.ledger import PaidAnswer
from engine.tasks.plan import (
    ReferenceMode,
    Wish,
    asked,
    fingerprint,
    group_references,
    ledger_key,
    make_wishes,
    own_config,
)
from engine.tasks.prompts import Matched, is_template, match_rows, read_table
from engine.tasks.store import NewTask

# A partial answer was paid for as well; whoever wants the rest asks for a retry.
_ANSWERED = frozenset({TaskStatus.DONE, TaskStatus.PARTIAL_SUCCESS})


class Planned(msgspec.Struct, frozen=True):
    """A wish with its keys. ``key`` is empty where the prompt could not be made: the task itself will say why.

    ``asked``: JSON of the request, as it stands with results.
    """

    wish: Wish
    key: str
    fingerprint: str
    prompt: str
    asked: str = ""


class Plan(msgspec.Struct, frozen=True):
    """All that a start would ask. ``known``: index of a wish to the task that asks for the same; ``paid``: index to
    what the ledger holds."""

    found: Found
    items: list[Planned]
    matched: Matched | None
    known: dict[int, str]
    done: frozenset[int]
    paid: dict[int, PaidAnswer]

    @property
    def calls(self) -> int:
        """Calls to the API that a start makes, retries aside."""
        return len(self.items) - len(self.done) - len(self.paid)


def make_plan(
    console: Console,
    path: str,
    config: ApiConfig,
    *,
    prompt_table: str = "",
    variants: int = 1,
    references: ReferenceMode = ReferenceMode.OFF,
    fresh: bool = False,
) -> Plan:
    """Look at the folder and find out what is answered already. ``fresh``: everything is asked anew."""
    found = find(console, path)
    groups = group_references(found.pictures, references, found.root)
    matched = None
    if prompt_table.strip():
        matched = match_rows(read_table(prompt_table), [group[0] for group in groups], found.root)
        if not matched.by_path:
            raise InvalidInput(Code.TABLE_NO_MATCH, field="prompt_table", path=prompt_table)
    wishes = make_wishes(groups, matched.by_path if matched else None, variants)
    items = [_plan_one(console, wish, config) for wish in wishes]
    known, done = _known(console, items)
    if fresh:
        return Plan(found, items, matched, {number: task.id for number, task in known.items()}, frozenset(), {})
    return Plan(found, items, matched, {number: task.id for number, task in known.items()}, done,
                _paid(console, items, known, done))  # fmt: skip


def carry_out(console: Console, plan: Plan) -> list[str]:
    """Put the plan's tasks into the list: paid answers as done, the rest pending; ids to run, in the plan's order."""
    again = {
        number: task_id
        for number, task_id in plan.known.items()
        if number not in plan.done and not console.batch.is_busy(task_id)
    }
    if again:
        console.store.set_status(list(again.values()), TaskStatus.PENDING)
    new = [number for number in range(len(plan.items)) if number not in plan.known]
    added = dict(zip(new, console.store.add([_new_task(plan.items[number]) for number in new]), strict=True))
    ids = {**added, **again}
    for number, answer in plan.paid.items():
        if number in ids and _take(console, ids[number], plan.items[number], answer):
            del ids[number]
    return [ids[number] for number in sorted(ids)]


def find(console: Console, path: str) -> Found:
    """The pictures of a path; InvalidInput for ``input_path``."""
    if not path.strip():
        raise InvalidInput(Code.FIELD_REQUIRED, field="input_path", name="input_path")
    try:
        return discover(path, console.settings.limits.max_source_bytes, progress=console.looking)
    finally:
        console.looking(None)


def _plan_one(console: Console, wish: Wish, config: ApiConfig) -> Planned:
    template = config.user_prompt if wish.user_prompt is None else wish.user_prompt
    try:
        own = own_config(config, wish.source.path, wish.user_prompt, wish.system_prompt)
    except (ConsoleError, OSError):
        if not is_template(template):
            raise
        return Planned(wish, "", fingerprint(wish, template), template)
    what = asked(own, own.user_prompt, own.system_prompt, wish.variant)
    told = msgspec.json.encode(what).decode()
    key = ledger_key(told, demo=console.demo)
    return Planned(wish, key, fingerprint(wish, key), own.user_prompt, told)


def _known(console: Console, items: Sequence[Planned]) -> tuple[dict[int, Task], frozenset[int]]:
    tasks = console.store.find_prints([item.fingerprint for item in items])
    known = {number: tasks[item.fingerprint] for number, item in enumerate(items) if item.fingerprint in tasks}
    done: set[int] = set()
    for number, task in known.items():
        whole = all(console.cache.has(result.hash, result.extension) for result in task.results)
        if task.status in _ANSWERED and task.results and whole:
            done.add(number)
    return known, frozenset(done)


def _paid(
    console: Console, items: Sequence[Planned], known: dict[int, Task], done: frozenset[int]
) -> dict[int, PaidAnswer]:
    """What the ledger holds of the rest. An answer that a task here had and whose results were cleared since is not
    brought back: the person wanted another one."""
    paid = {}
    for number, item in enumerate(items):
        answer = console.ledger.find(item.key, item.wish.pictures) if item.key and number not in done else None
        task = known.get(number)
        if answer is not None and not (task is not None and _was_cleared(task, answer)):
            paid[number] = answer
    return paid


def _was_cleared(task: Task, answer: PaidAnswer) -> bool:
    return task.attempts > 0 and not task.results and answer.at < task.updated_at


def _new_task(item: Planned) -> NewTask:
    wish = item.wish
    return NewTask(
        wish.source.path,
        wish.source.name,
        item.fingerprint,
        references=tuple(picture.path for picture in wish.pictures[1:]),
        user_prompt=wish.user_prompt,
        system_prompt=wish.system_prompt,
        variant=wish.variant,
    )


def _take(console: Console, task_id: str, item: Planned, answer: PaidAnswer) -> bool:
    """Give a task the results that were paid for earlier; False if their files cannot be had."""
    try:
        console.ledger.give(answer.images, console.cache)
    except OSError:
        return False
    console.store.finish(
        EditOutcome(
            task_id, TaskStatus.DONE, answer.images, 0, source_hash=answer.sources, asked=item.asked, at=int(answer.at)
        )
    )
    return True
