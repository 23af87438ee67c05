"""Plain data that travels through the program: pictures, tasks, results, jobs and outcomes."""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Any, Final, Literal

import msgspec

from engine.config import ApiConfig
from engine.errors import Problem


class TaskStatus(StrEnum):
    """States of a task; ``FINISHED`` and ``OPEN`` below group them."""

    PENDING = "pending"
    PROCESSING = "processing"
    DONE = "done"
    PARTIAL_SUCCESS = "partial_success"
    FAILED = "failed"
    STOPPED = "stopped"


FINISHED = frozenset({TaskStatus.DONE, TaskStatus.PARTIAL_SUCCESS, TaskStatus.FAILED, TaskStatus.STOPPED})
OPEN = frozenset({TaskStatus.PENDING, TaskStatus.PROCESSING})


class SourceType(StrEnum):
    """How a result picture came: named by a URL, or inline."""

    URL = "url"
    DATA_URL = "data_url"
    BASE64 = "base64"


class ImageInfo(msgspec.Struct, frozen=True):
    """What the bytes of a picture say of themselves. Pixels; ``extension`` has no dot."""

    mime: str
    extension: str
    width: int
    height: int


class SourceImage(msgspec.Struct, frozen=True):
    """A picture found on disk. ``path`` absolute; ``size`` in bytes; ``modified`` in nanoseconds."""

    path: str
    name: str
    size: int
    modified: int
    mime: str


class ImageRef(msgspec.Struct, frozen=True):
    """A result picture as an answer names it: an absolute URL, or base64 text without white space or data: prefix; or,
    with an empty ``value``, the whole body, as ``data``."""

    source_type: SourceType
    value: str
    where: str
    """Place in the answer, for the debug log: ``choices[0].delta.content``."""
    thumbnail: ImageRef | None = None
    """What is shown of a picture that is a link: the result where the link's target turns out to be no picture."""
    data: bytes = b""


class StoredImage(msgspec.Struct, frozen=True):
    """A result picture that is on disk in the cache. ``hash``: sha256 hex of the bytes; ``size`` in bytes; ``cost``:
    its share of what its call cost, USD, None for unknown."""

    hash: str
    size: int
    info: ImageInfo
    source_type: SourceType
    cost: float | None = None


class Judgement(msgspec.Struct, frozen=True):
    """What a vision model said of a result. ``score`` 0..10, ``scores`` by criterion.

    ``passed``: by the threshold of then. ``at``: Unix seconds; ``cost`` in the currency of the configured price.
    ``disagreement`` between the two orders of the pictures, None where one was asked.
    """

    score: float
    passed: bool
    scores: dict[str, float]
    reason: str
    model: str
    rubric: str
    at: int
    cost: float = 0.0
    disagreement: float | None = None


class Result(msgspec.Struct):
    """One result picture of a task, with what the person decided about it.

    Its provenance: ``created_at`` in Unix seconds, ``source_hash`` (sha256 of each source picture, space between), and
    ``request_record``: JSON of the request without secrets. ``caption_seen``: a person has read or written it. ``cost``
    in USD, None where it is not known or the answer was paid for earlier.
    """

    id: str
    task_id: str
    hash: str
    size: int
    mime: str
    extension: str
    width: int
    height: int
    source_type: SourceType
    selected: bool = True
    deleted: bool = False
    saved: str | None = None
    created_at: int = 0
    source_hash: str = ""
    request_record: str = ""
    judgement: Judgement | None = None
    caption: str | None = None
    caption_seen: bool = False
    cost: float | None = None


DECIDED: Final = 1
UNDECIDED: Final = 2
Judged = Literal[0, 1, 2]
"""Nothing said: ticks and drops tell; decided; not decided (taken back, or new results came), whatever they tell."""


class Task(msgspec.Struct):
    """One source picture and what became of it. ``seq`` orders tasks; times are whole Unix seconds.

    ``references``: further source pictures. Prompts that are None are those of the configuration. ``judged``: what
    the person has said of the results. ``score``: the best of its results that are not dropped, 0..10. ``trial``: the
    trial that it belongs to; then it stands in no list.
    """

    id: str
    seq: int
    source_path: str
    source_name: str
    status: TaskStatus
    fingerprint: str
    references: tuple[str, ...] = ()
    user_prompt: str | None = None
    system_prompt: str | None = None
    variant: int = 0
    attempts: int = 0
    http_status: int | None = None
    error: Problem | None = None
    warning: Problem | None = None
    has_debug_log: bool = False
    updated_at: int = 0
    revision: int = 0
    result_count: int = 0
    selected_count: int = 0
    dropped_count: int = 0
    judged: Judged = 0
    score: float | None = None
    trial: str | None = None
    results: list[Result] = []

    @property
    def decided(self) -> bool:
        """Whether the person has decided about the results; `TaskFilter` says the same."""
        marked = self.dropped_count > 0 or self.selected_count < self.result_count
        return self.judged == DECIDED or (self.judged == 0 and marked)


class TaskSort(StrEnum):
    """Orders of the task list."""

    ORDER = "order"
    NAME = "name"
    STATUS = "status"
    UPDATED = "updated"
    SCORE = "score"


class TaskFilter(StrEnum):
    """What a task must have to be listed."""

    TICKED = "ticked"
    UNTICKED = "unticked"
    DROPPED = "dropped"
    WARNING = "warning"
    DECIDED = "decided"
    UNDECIDED = "undecided"


class TaskMatch(msgspec.Struct, frozen=True):
    """Which tasks are meant: all when empty. ``q`` is looked for in names and errors; ``ids`` wins where given.

    ``results``: only tasks that have one of these, not dropped; None for no such condition. ``failures``: codes of
    their errors; ``worded``: codes whose words hold ``q``. ``prompt``: that of a result; ``folder``: of the
    source, with all below it. ``score_min`` and ``score_max``: bounds of the score, both included.
    """

    status: frozenset[TaskStatus] = frozenset()
    only: frozenset[TaskFilter] = frozenset()
    q: str = ""
    ids: tuple[str, ...] | None = None
    results: tuple[str, ...] | None = None
    failures: frozenset[str] = frozenset()
    worded: frozenset[str] = frozenset()
    prompt: str | None = None
    folder: str = ""
    score_min: float | None = None
    score_max: float | None = None


class Marks(msgspec.Struct, frozen=True):
    """Decisions about one task: ticks and drops by result id. ``decided`` None: nothing is said of that."""

    task_id: str
    ticked: dict[str, bool] = {}
    dropped: dict[str, bool] = {}
    decided: bool | None = None


class Facets(msgspec.Struct, frozen=True):
    """How many tasks there are of each sort: by `TaskFilter`, code of the failure, prompt of a result, folder of the
    source; the most frequent first, at most as many of each as asked for."""

    only: dict[str, int]
    failures: dict[str, int]
    prompts: dict[str, int]
    folders: dict[str, int]


class DebugEntry(msgspec.Struct, frozen=True):
    """One line of a task's debug log.

    ``at``: Unix seconds with fraction. ``attempt``: 1-based. ``kind``: request, status, event, extracted, refused,
    error, retry. ``data``: short JSON-ready values, keys and base64 already cut out.
    """

    at: float
    attempt: int
    kind: str
    data: dict[str, Any]


class EditLimits(msgspec.Struct, frozen=True):
    """Bounds of one edit: bytes of the source, bytes of one result picture."""

    max_source_bytes: int = 20 * 1024 * 1024
    max_candidate_bytes: int = 20 * 1024 * 1024


class EditJob(msgspec.Struct, frozen=True):
    """All that one edit needs to know; picklable. ``config`` holds the key."""

    task_id: str
    source_path: str
    config: ApiConfig
    limits: EditLimits = EditLimits()
    references: tuple[str, ...] = ()
    user_prompt: str | None = None
    system_prompt: str | None = None
    variant: int = 0


class EditOutcome(msgspec.Struct, frozen=True):
    """What one edit came to; picklable. ``attempts``: calls made to the API. ``at``: when its pictures came, Unix
    seconds: one moment for everything that notes it."""

    task_id: str
    status: TaskStatus
    images: list[StoredImage]
    attempts: int
    http_status: int | None = None
    error: Problem | None = None
    warning: Problem | None = None
    log: list[DebugEntry] = []
    source_hash: str = ""
    source_size: int = 0
    request_record: str = ""
    at: int = msgspec.field(default_factory=lambda: int(time.time()))
