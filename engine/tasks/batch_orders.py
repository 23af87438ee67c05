"""From tasks to a provider's batch: lines are checked and gathered, and each batch is on disk before it is made.

What a provider may have taken on is never asked for again: after a call whose answer did not come, a kill, a stop, it
is looked for by our name of it.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from engine.config import ApiConfig, BatchProvider
from engine.errors import Code, ConsoleError, EditFailed, Problem, Stopped, StorageFailed
from engine.models import DebugEntry, EditJob, EditOutcome, TaskStatus
from engine.tasks.attempt import sent_pictures
from engine.tasks.batch_calls import BatchCalls, Spool
from engine.tasks.edit import EditTools, Prepared, hand_over
from engine.tasks.log import EditLog
from engine.tasks.remote_book import RemoteBook, RemoteKind, RemoteRow, RemoteState
from engine.tasks.rows import new_id
from engine.upstream.batches.choice import needed_driver
from engine.upstream.batches.steps import Driver, Known, Note, Place, bad_line, refuses
from engine.upstream.cancel import CancelToken
from engine.upstream.request import SourcePicture
from engine.upstream.transport import Transport

DEFAULT_SIZE = 500
SETTLE_SECONDS = 15.0
"""So long after a call that was cut, what it asked for is on the provider's list, or will not be."""
_NAME = "image-batch-console-"
log = logging.getLogger(__name__)


class BatchLine(msgspec.Struct, frozen=True):
    """One task in a batch; its key there is the task's id. Provenance as the outcome will have it; ``run``: see
    `edit.Submitted`."""

    task_id: str
    source_hash: str
    source_size: int
    request_record: str
    log: list[DebugEntry] = []
    run: str = ""


class BatchOrder(msgspec.Struct, frozen=True):
    """What collecting a batch needs; in the book without the key. ``keyed``: it was made with one."""

    provider: BatchProvider
    name: str
    config: ApiConfig
    lines: list[BatchLine]
    keyed: bool = True


class BatchNote(msgspec.Struct, frozen=True):
    """How far a batch is: see `steps.Note`. ``creating_at``: when the last call was made that may have left
    something at the provider, Unix seconds, 0 for none. ``warned``: it was told that it expires soon; ``cancelled``:
    the person gave it up; ``expired``: its time was over with lines pending. ``adopted``: by key of a line, the task
    that its answer is for now."""

    file: str = ""
    creating_at: float = 0.0
    warned: bool = False
    cancelled: bool = False
    expired: bool = False
    adopted: dict[str, str] = {}


class Made(Protocol):
    """Whoever waits for batches from here on."""

    def watch(self, row: RemoteRow, order: BatchOrder, note: BatchNote) -> None:
        """This batch is at the provider, or may be."""

    def adopt(self, task_id: str, source_hash: str, request_record: str) -> bool:
        """Whether the answer for this task is at a provider already."""


class _Group:
    """Lines on their way into one batch."""

    def __init__(self, driver: Driver, place: Place, spool: Spool, name: str) -> None:
        self.driver = driver
        self.place = place
        self.spool = spool
        self.name = name
        self.lines: list[BatchLine] = []
        self.files: list[str] = []


class BatchOrders:
    """Thread-safe. ``finish`` keeps what a task came to where it does not get into a batch."""

    def __init__(
        self,
        folder: Path,
        book: RemoteBook,
        transport: Transport,
        made: Made,
        finish: Callable[[EditOutcome], None],
        *,
        settle: float = SETTLE_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._book = book
        self._transport = transport
        self._made = made
        self._finish = finish
        self._settle = settle
        self._clock = clock
        self._lock = threading.Lock()
        self._uploading: dict[tuple[str, str], threading.Lock] = {}
        self._groups: dict[tuple[str, ...], _Group] = {}
        self._sending: list[_Group] = []
        self.size = DEFAULT_SIZE
        """Lines in a batch, at most."""
        for left in folder.glob("*.part") if folder.is_dir() else ():
            left.unlink(missing_ok=True)

    def tasks(self) -> list[str]:
        """The tasks that wait for their batch to be made."""
        with self._lock:
            return [line.task_id for group in (*self._groups.values(), *self._sending) for line in group.lines]

    def holds(self, task_id: str) -> bool:
        """Whether the task is one of them."""
        with self._lock:
            groups = [*self._groups.values(), *self._sending]
            return any(line.task_id == task_id for group in groups for line in group.lines)

    def add(self, job: EditJob, tools: EditTools, cancel: CancelToken, edit_log: EditLog) -> EditOutcome:
        """Put a task into a batch; PROCESSING when it is in there, else why it is not."""
        full: list[_Group] = []
        outcome = hand_over(
            job, tools, cancel, edit_log, lambda prepared: full.extend(self._take(prepared, cancel, edit_log))
        )
        self._send(full, cancel)
        return outcome

    def flush(self, cancel: CancelToken) -> None:
        """Make a batch of what is gathered."""
        self._send(self._taken(), cancel)

    def drop(self) -> None:
        """The person has stopped: what is gathered is not sent."""
        for group in self._taken():
            self._give_back(group, TaskStatus.STOPPED, Stopped().problem)
            self._sending.remove(group)

    # --- gathering ---

    def _take(self, prepared: Prepared, cancel: CancelToken, edit_log: EditLog) -> list[_Group]:
        """Check the line, take its pictures there, gather it; the groups that are full now."""
        order = prepared.order
        if self._made.adopt(order.task_id, prepared.source_hash, prepared.request_record):
            return []
        driver, place = needed_driver(order.config)
        pictures = sent_pictures(order, cancel)
        line = _encode(driver, place, order.task_id, pictures, [""] * len(pictures))
        files: list[str] = []
        try:
            if driver.uploads:
                for picture in pictures:
                    files.append(self._uploaded(driver, place, picture, cancel))  # noqa: PERF401 - kept if one fails
                line = _encode(driver, place, order.task_id, pictures, files)
            edit_log.add("job", id=order.task_id, provider=driver.provider.value, bytes=len(line), files=files)
            about = BatchLine(
                order.task_id,
                prepared.source_hash,
                prepared.source_size,
                prepared.request_record,
                edit_log.entries,
                prepared.run,
            )
            return self._gather(driver, place, line, about, files)
        except BaseException:
            self._book.need_no_more(files)
            raise

    def _uploaded(self, driver: Driver, place: Place, picture: SourcePicture, cancel: CancelToken) -> str:
        """What a picture is called there; one that is there already is not taken again."""
        digest, where = hashlib.sha256(picture.data).hexdigest(), _account(place)
        with self._lock:
            own = self._uploading.setdefault((where, digest), threading.Lock())
        with own:
            known = self._book.uploaded(where, digest, self._clock())
            if known is not None:
                return known
            found = BatchCalls(self._transport, place, cancel).talk(driver.upload(place, picture))
            kept_until = found.expires_at or self._clock() + driver.window
            self._book.keep_upload(where, digest, found.file, kept_until)
            return found.file

    def _gather(self, driver: Driver, place: Place, line: bytes, about: BatchLine, files: list[str]) -> list[_Group]:
        full = []
        key = (driver.provider.value, place.base, place.config.model_name, place.config.api_key)
        with self._lock:
            group = self._groups.get(key)
            if group is not None and group.spool.size + len(line) >= driver.max_bytes:
                full.append(self._groups.pop(key))
                group = None
            if group is None:
                name = _NAME + secrets.token_hex(16)
                group = self._groups[key] = _Group(driver, place, Spool(self._folder / f"{name}.part"), name)
            group.spool.add(line)
            group.lines.append(about)
            group.files += files
            if len(group.lines) >= min(self.size, driver.max_lines):
                full.append(self._groups.pop(key))
            self._sending += full
        return full

    def _taken(self) -> list[_Group]:
        with self._lock:
            groups, self._groups = list(self._groups.values()), {}
            self._sending += groups
            self._uploading.clear()
        return groups

    # --- making the batch ---

    def _send(self, groups: list[_Group], cancel: CancelToken) -> None:
        for group in groups:
            try:
                self._make(group, cancel)
            finally:
                with self._lock:
                    self._sending.remove(group)

    def _make(self, group: _Group, cancel: CancelToken) -> None:
        """Note the batch and make it. What fails before the provider can have taken it goes back to its tasks."""
        making = _Making(self._book, group, self._clock)
        try:
            making.begin()
            self._create(making, cancel)
        except ConsoleError as error:
            if making.may_exist and not making.refused_whole(error):
                log.warning("batch %s: %s", making.row.id, error)
            else:
                making.forget()
                stopped = isinstance(error, Stopped)
                self._give_back(group, TaskStatus.STOPPED if stopped else TaskStatus.FAILED, error.problem)
                return
        for key, words in making.refused.items():
            self._refuse(group, key, Problem(Code.BATCH_LINE_REFUSED, {"host": group.place.host, "message": words}))
        group.spool.close()
        self._made.watch(making.row, making.order, making.note)

    def _create(self, making: _Making, cancel: CancelToken) -> None:
        """Until it is made; after a call whose answer did not come it is looked for before it is made again."""
        group, tries = making.group, 0
        while True:
            calls = BatchCalls(self._transport, group.place, cancel)
            try:
                calls.talk(group.driver.create(group.place, making.known, group.spool), making.keep)
                making.done()
                return
            except EditFailed as error:
                tries += 1
                if tries > group.place.config.max_retries or refuses(error):
                    raise
                log.warning("batch %s is looked for: %s", making.row.id, error)
                cancel.wait(max(self._settle, error.retry_after or 0.0))

    def _refuse(self, group: _Group, key: str, problem: Problem) -> None:
        line = next((line for line in group.lines if line.task_id == key), None)
        if line is not None:
            self._finish(failed_line(line, TaskStatus.FAILED, problem))

    def _give_back(self, group: _Group, status: TaskStatus, problem: Problem) -> None:
        group.spool.close()
        self._book.need_no_more(group.files)
        for line in group.lines:
            self._finish(failed_line(line, status, problem))


class _Making:
    """A batch from its first note to its being at the provider."""

    def __init__(self, book: RemoteBook, group: _Group, clock: Callable[[], float]) -> None:
        config = msgspec.structs.replace(group.place.config.masked(), api_key="")
        now = clock()
        self._book = book
        self._clock = clock
        self.group = group
        keyed = bool(group.place.config.api_key)
        self.order = BatchOrder(group.driver.provider, group.name, config, group.lines, keyed)
        self.note = BatchNote()
        self.refused: dict[str, str] = {}
        self.row = RemoteRow(
            new_id(), RemoteKind.BATCH, group.place.host, "", RemoteState.SUBMITTING, now, now + group.driver.window,
            msgspec.json.encode(self.order), tuple(line.task_id for line in group.lines),
        )  # fmt: skip

    @property
    def known(self) -> Known:
        """For the driver."""
        return known_of(self.order, self.note, self.row.provider_id)

    @property
    def may_exist(self) -> bool:
        """Whether the provider may have something of it."""
        return self.note.creating_at > 0

    def refused_whole(self, error: ConsoleError) -> bool:
        """Whether the provider has said that it does not take the batch, and nothing of it was made."""
        return not self.row.provider_id and refuses(error)

    def begin(self) -> None:
        """On disk before anything of it is sent."""
        self._book.add(self.row)
        self._book.use_uploads(self.row.id, sorted(set(self.group.files)))
        self._book.need_no_more(self.group.files)
        self.group.files = []

    def keep(self, note: Note) -> None:
        """What the next step relies on."""
        if note.refused:
            self.refused |= note.refused
            self._book.release(self.row.id, list(note.refused))
            return
        self.note = msgspec.structs.replace(
            self.note,
            file=note.file or self.note.file,
            creating_at=self._clock() if note.creating else self.note.creating_at,
        )
        provider_id = note.provider_id or self.row.provider_id
        self.row = msgspec.structs.replace(self.row, provider_id=provider_id)
        self._book.note(self.row.id, note=msgspec.json.encode(self.note), provider_id=provider_id)
        if note.file:
            self._book.use_uploads(self.row.id, [note.file])

    def done(self) -> None:
        """All of it is there."""
        tasks = tuple(one for one in self.row.tasks if one not in self.refused)
        self.row = msgspec.structs.replace(self.row, state=RemoteState.WAITING, tasks=tasks)
        self._book.note(self.row.id, state=RemoteState.WAITING)

    def forget(self) -> None:
        """It was never made."""
        try:
            self._book.remove(self.row.id)
        except StorageFailed:
            log.exception("batch %s not forgotten", self.row.id)


def known_of(order: BatchOrder, note: BatchNote, provider_id: str) -> Known:
    """What a driver needs to know of a batch."""
    keys = frozenset(line.task_id for line in order.lines)
    return Known(order.name, keys, note.file, note.creating_at > 0, provider_id)


def failed_line(line: BatchLine, status: TaskStatus, problem: Problem) -> EditOutcome:
    """What a task comes to whose line brought nothing."""
    return EditOutcome(
        line.task_id,
        status,
        [],
        1,
        error=problem,
        log=line.log,
        source_hash=line.source_hash,
        source_size=line.source_size,
        request_record=line.request_record,
    )


def _encode(driver: Driver, place: Place, key: str, pictures: list[SourcePicture], files: list[str]) -> bytes:
    line = msgspec.json.encode(driver.line(place, key, pictures, files))
    if len(line) > driver.max_line_bytes:
        raise bad_line(key, f"{len(line)} > {driver.max_line_bytes}")
    return line


def _account(place: Place) -> str:
    """A place and whose it is, without the key."""
    return f"{place.base} {hashlib.sha256(place.config.api_key.encode()).hexdigest()[:8]}"
