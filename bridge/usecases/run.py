"""Running: look at a folder, start, resume, retry, stop."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from bridge.console import Console
from bridge.usecases.common import Caller, Nothing, TaskId, viewer
from bridge.usecases.configuring import entered_config
from bridge.views import ProblemView
from engine.config import ApiConfig
from engine.errors import AddressRefused, Busy, Code, InvalidInput
from engine.images.discover import Found, discover
from engine.models import SourceImage, TaskMatch, TaskStatus
from engine.tasks.store import NewTask
from engine.upstream.netguard import Purpose, check_host, check_url

_LISTED = 200  # unreadable files named in an answer; the count tells the rest


class InputPath(msgspec.Struct, frozen=True):
    """A file or folder with source pictures."""

    input_path: str = ""


class StartParams(msgspec.Struct, frozen=True):
    """What to run. Without ``config`` the current one is used."""

    input_path: str = ""
    config: dict[str, Any] | None = None


class UnreadableView(msgspec.Struct, frozen=True):
    """A file that cannot be sent, and why."""

    path: str
    code: str
    message: str


class InspectAnswer(msgspec.Struct, frozen=True):
    """What a start would find. Sizes in bytes; ``formats`` counts pictures by format."""

    path: str
    count: int
    total_bytes: int
    formats: dict[str, int]
    unreadable: list[UnreadableView]
    unreadable_count: int
    largest: int
    calls: int
    ok: Literal[True] = True


class StartAnswer(msgspec.Struct, frozen=True):
    """``task_count`` pictures are in the batch; ``reused_count`` of them had been answered already."""

    task_count: int
    new_count: int
    reused_count: int
    unreadable_count: int
    unreadable: list[UnreadableView]
    warnings: list[ProblemView]
    ok: Literal[True] = True


class ResumeAnswer(msgspec.Struct, frozen=True):
    """How many tasks run again."""

    resumed_count: int
    ok: Literal[True] = True


class RetryAnswer(msgspec.Struct, frozen=True):
    """The task runs again."""

    task_id: str
    single_retry_running: bool
    ok: Literal[True] = True


class RetryClearAnswer(msgspec.Struct, frozen=True):
    """The task runs again, without its earlier results."""

    task_id: str
    single_retry_running: bool
    removed_old_results: int
    ok: Literal[True] = True


class RetryFailedAnswer(msgspec.Struct, frozen=True):
    """How many failed tasks run again."""

    retried_count: int
    ok: Literal[True] = True


class StopAnswer(msgspec.Struct, frozen=True):
    """``stopped``: whether anything ran; ``affected`` tasks waited or were in flight."""

    stopped: bool
    affected: int
    single_retry_running: bool
    ok: Literal[True] = True


def inspect_path(console: Console, params: InputPath, caller: Caller) -> InspectAnswer:
    """Count the pictures of a file or folder before a start; nothing is sent."""
    found = _find(console, params.input_path)
    unreadable = _unreadable(console, found, caller)
    return InspectAnswer(
        path=found.root,
        count=len(found.pictures),
        total_bytes=found.total_bytes,
        formats=found.formats,
        unreadable=unreadable[:_LISTED],
        unreadable_count=len(unreadable),
        largest=found.largest,
        calls=len(found.pictures),
    )


def start_batch(console: Console, params: StartParams, caller: Caller) -> StartAnswer:
    """Send every picture of a file or folder; those that this configuration has answered already are not paid again."""
    with _starting(console):
        config, warnings = entered_config(console, params.config)
        check_api_url(console, config)
        found = _find(console, params.input_path)
        console.preferences.set_config(config)
        ids, reused = _place(console, found.pictures, config)
        if ids:
            console.batch.start(ids, config)
    unreadable = _unreadable(console, found, caller)
    return StartAnswer(
        task_count=len(found.pictures),
        new_count=len(ids),
        reused_count=reused,
        unreadable_count=len(unreadable),
        unreadable=unreadable[:_LISTED],
        warnings=[viewer(console, caller).problem(warning) for warning in warnings],
    )


def resume_tasks(console: Console, _: Nothing, caller: Caller) -> ResumeAnswer:
    """Run every task that is pending or stopped; where a run is paused, let it go on now."""
    if console.batch.is_paused:
        return ResumeAnswer(console.batch.go_on())
    with _starting(console):
        ids = console.store.ids(TaskMatch(status=frozenset({TaskStatus.PENDING, TaskStatus.STOPPED})))
        return ResumeAnswer(console.batch.enqueue(ids, _checked_config(console)))


def retry_failed(console: Console, _: Nothing, caller: Caller) -> RetryFailedAnswer:
    """Call the API again for every failed task; earlier results stay."""
    ids = console.store.ids(TaskMatch(status=frozenset({TaskStatus.FAILED})))
    return RetryFailedAnswer(ask_again(console, ids))


def retry_task(console: Console, params: TaskId, caller: Caller) -> RetryAnswer:
    """Call the API again for one task; earlier results stay."""
    console.store.task(params.task_id)
    console.batch.retry(params.task_id, _checked_config(console))
    return RetryAnswer(params.task_id, single_retry_running=True)


def retry_task_clear(console: Console, params: TaskId, caller: Caller) -> RetryClearAnswer:
    """Call the API again for one task; its earlier results are dropped first."""
    task = console.store.task(params.task_id)
    console.batch.retry(task.id, _checked_config(console), before=lambda: drop_results(console, task.id))
    return RetryClearAnswer(task.id, single_retry_running=True, removed_old_results=len(task.results))


def stop(console: Console, _: Nothing, caller: Caller) -> StopAnswer:
    """End every call now; results that arrived stay, the rest can be resumed."""
    affected = console.batch.stop()
    return StopAnswer(affected > 0, affected, console.batch.single_retries > 0)


def check_api_url(console: Console, config: ApiConfig) -> None:
    """Refuse a URL that the address rules forbid, before anything is read or sent."""
    policy = console.settings.network
    try:
        target = check_url(config.api_url, Purpose.API, policy)
        check_host(target, Purpose.API, policy, config.unlock_local_api_url)
    except AddressRefused as error:
        raise InvalidInput(error.code, field="api_url", **error.params) from error


def ask_again(console: Console, ids: Sequence[str], *, clear: bool = False) -> int:
    """Call the API again for these tasks, in the batch that runs or in a new one; earlier results stay or go."""

    def drop(going: list[str]) -> None:
        for task_id in going if clear else ():
            drop_results(console, task_id)

    with _starting(console, beside_batch=True):
        return console.batch.enqueue(ids, _checked_config(console), drop)


def drop_results(console: Console, task_id: str) -> None:
    """Forget a task's results, and remove the pictures that nothing else needs."""
    for result in console.store.drop_results(task_id):
        console.cache.remove(result.hash, result.extension)


@contextlib.contextmanager
def _starting(console: Console, *, beside_batch: bool = False) -> Iterator[None]:
    """One start at a time, and none while a batch runs unless it goes well beside it; Busy otherwise."""
    if not console.start_lock.acquire(blocking=False):
        raise Busy(Code.BATCH_RUNNING)
    try:
        if console.batch.running and not beside_batch:
            raise Busy(Code.BATCH_RUNNING)
        yield
    finally:
        console.start_lock.release()


def _checked_config(console: Console) -> ApiConfig:
    check_api_url(console, console.preferences.config)
    return console.preferences.config


def _find(console: Console, path: str) -> Found:
    if not path.strip():
        raise InvalidInput(Code.FIELD_REQUIRED, field="input_path", name="input_path")
    return discover(path, console.settings.limits.max_source_bytes)


def _unreadable(console: Console, found: Found, caller: Caller) -> list[UnreadableView]:
    view = viewer(console, caller)
    return [UnreadableView(file.path, file.problem.code, view.problem(file.problem).message) for file in found.rejected]


def _place(console: Console, pictures: list[SourceImage], config: ApiConfig) -> tuple[list[str], int]:
    """Ids to run in the order of the pictures, and how many need no call.

    A picture for which a task asks the very same thing is not listed twice: where that task has its results, it
    stays as it is, else it runs again.
    """
    wish = request_fingerprint(config, console.demo)
    prints = {picture.path: fingerprint(picture, wish) for picture in pictures}
    known = console.store.find_sources(prints, prints.__getitem__)
    reused = {path for path, task in known.items() if task.status is TaskStatus.DONE and _is_whole(console, task.id)}
    again = [task.id for path, task in known.items() if path not in reused and not console.batch.is_busy(task.id)]
    if again:
        console.store.set_status(again, TaskStatus.PENDING)
    new = [picture for picture in pictures if picture.path not in known]
    added = console.store.add([NewTask(p.path, p.name, prints[p.path]) for p in new])
    ids = {picture.path: task_id for picture, task_id in zip(new, added, strict=True)}
    ids |= {path: task.id for path, task in known.items() if task.id in set(again)}
    return [ids[picture.path] for picture in pictures if picture.path in ids], len(reused)


def _is_whole(console: Console, task_id: str) -> bool:
    results = console.store.task(task_id).results
    return bool(results) and all(console.cache.has(result.hash, result.extension) for result in results)


def fingerprint(picture: SourceImage, wish: str) -> str:
    """Tells whether a source was already sent as it is now with the same wish."""
    return _digest(f"{os.fsdecode(picture.path)}\0{picture.size}\0{picture.modified}\0{wish}")


def request_fingerprint(config: ApiConfig, demo: bool = False) -> str:
    """What of a configuration changes the answer: not the key, not the network settings.

    The demo endpoint gets another port at each start and is the same all the while.
    """
    url = urlsplit(config.api_url).path if demo else config.api_url
    return _digest(
        msgspec.json.encode(
            [
                url, config.mode, config.model_name, config.system_prompt, config.user_prompt,
                config.temperature, config.result_count, config.extra_body,
            ],
            order="deterministic",
        ).decode()
    )  # fmt: skip


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
