"""What all use cases share: the context of a call, answers that only say that it worked, and picking tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from bridge.app import App
from bridge.messages import DEFAULT_LANGUAGE
from bridge.params import choice_refused
from bridge.views import Viewer
from engine.dataset.findings import NOTES, FindingKind
from engine.models import Result, TaskFilter, TaskMatch, TaskStatus

ANY_FINDING = "any"
_ERROR_KEY = "error."
TASK_ID_PATTERN = "[A-Za-z0-9_-]{1,128}"


class Context(msgspec.Struct, frozen=True):
    """What every handler gets beside its parameters: the program, and who asks. ``local``: from this machine;
    ``project``: which project the asker sees, "" where it does not say."""

    app: App
    language: str = DEFAULT_LANGUAGE
    local: bool = True
    project: str = ""

    @property
    def view(self) -> Viewer:
        """Answers in the caller's language."""
        return Viewer(self.app.messages, self.language, self.app.found_kinds)


class Nothing(msgspec.Struct, frozen=True):
    """No parameters."""


class TaskId(msgspec.Struct, frozen=True):
    """One task."""

    task_id: str


class ResultId(msgspec.Struct, frozen=True):
    """One result of one task."""

    task_id: str
    result_id: str


class Upload(msgspec.Struct, frozen=True):
    """Base of parameters that are one file: the body itself or a part of a form over HTTP, the file's JSON by window.

    ``json``: what the file holds where that is JSON, for the OpenAPI document.
    """

    json: ClassVar[type[msgspec.Struct] | None] = None
    most: ClassVar[int | None] = None  # bytes, where it is not that of presets
    file: bytes


class Attachment(msgspec.Struct, frozen=True):
    """Base of answers that are to be kept as a file of that name."""

    file_name: ClassVar[str]


class Cleanup(msgspec.Struct, frozen=True):
    """What an operation removed of the stored pictures: files and bytes. ``remove_all_unreferenced``: whether all that
    no task names went; ``cache_total_bytes``: what is stored now."""

    removed: int
    freed_bytes: int
    reason: str
    remove_all_unreferenced: bool
    cache_total_bytes: int


class Ok(msgspec.Struct, frozen=True):
    """It worked."""

    ok: Literal[True] = True


class MatchParams(msgspec.Struct, frozen=True):
    """A filter: states and properties, of which a text may name several with commas between, and words to look for.

    ``finding``: kinds of findings of the last preflight; ``any`` for all but notes. ``failure``:
    codes of what made tasks fail. ``prompt``: that of a result. ``folder``: of the source.
    ``score_min`` and ``score_max``: bounds of the best score of a task, 0..10.
    """

    status: frozenset[TaskStatus] = frozenset()
    only: frozenset[TaskFilter] = frozenset()
    q: Annotated[str, Meta(max_length=10_000)] = ""  # SQLite's patterns are bounded
    finding: frozenset[str] = frozenset()
    failure: frozenset[str] = frozenset()
    prompt: str = ""
    folder: str = ""
    score_min: Annotated[float, Meta(ge=0, le=10)] | None = None
    score_max: Annotated[float, Meta(ge=0, le=10)] | None = None


def remove_files(app: App, results: Iterable[Result], reason: str, *, everything: bool = False) -> Cleanup:
    """Remove the picture files of results that are gone."""
    gone = [result.size for result in results if app.cache.remove(result.hash, result.extension)]
    return Cleanup(len(gone), sum(gone), reason, everything, app.cache.total_bytes())


def match_of(
    app: App, params: MatchParams | None, ids: list[str] | None = None, language: str = DEFAULT_LANGUAGE
) -> TaskMatch:
    """The engine's filter; InvalidInput for a name that is no finding. ``language``: of the words of
    failures, in which ``q`` is looked for as well."""
    if ids is not None:
        return TaskMatch(ids=tuple(ids))
    params = params or MatchParams()
    return TaskMatch(
        status=params.status,
        only=params.only,
        q=params.q.strip(),
        results=_with_finding(app, params.finding),
        failures=params.failure,
        worded=_worded(app, params.q.strip().casefold(), language),
        prompt=params.prompt or None,
        folder=params.folder,
        score_min=params.score_min,
        score_max=params.score_max,
    )


def _worded(app: App, needle: str, language: str) -> frozenset[str]:
    """Codes of failures whose words hold the text."""
    if not needle:
        return frozenset()
    words = app.messages.catalogue(language)
    return frozenset(
        key.removeprefix(_ERROR_KEY)
        for key, text in words.items()
        if key.startswith(_ERROR_KEY) and needle in text.casefold()
    )


def is_wanted(kinds: Iterable[FindingKind], names: Collection[str]) -> bool:
    """Whether one of the kinds is named; `ANY_FINDING` names all but notes."""
    return any(kind in names or (ANY_FINDING in names and kind not in NOTES) for kind in kinds)


def _with_finding(app: App, names: frozenset[str]) -> tuple[str, ...] | None:
    if not names:
        return None
    choices = [ANY_FINDING, *FindingKind]
    if not names <= set(choices):
        raise choice_refused("finding", choices)
    return tuple(pair_id for pair_id, kinds in app.found_kinds.items() if is_wanted(kinds, names))
