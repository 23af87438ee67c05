"""Owns what an answer that is a job says: where to ask for it, how far it is, and where its pictures will be.

By a recipe's paths, or by itself where an answer is plainly a job. Pure; who waits and asks is `engine.tasks.remote`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec

from engine.config import ApiConfig
from engine.upstream.dialects import read_job
from engine.upstream.recipe import Recipe, RequestPart, key_headers
from engine.upstream.recipe_call import Values, all_texts, fill_headers, first_text, first_word, job_address, search
from engine.upstream.request import HttpRequest

_DEFAULT_INTERVAL = 3.0
_KEY_MARK = "{{api_key}}"
_MOST_JOBS = 10  # of one request, as many as it may ask for pictures
_STATUS_KEYS = ("status", "task_status", "state")
_NESTS = ("data", "output", "result", "task", "job")
_DONE = frozenset(["completed", "complete", "succeeded", "succeed", "success", "done", "finished", "ready"])
_FAILED = frozenset(["failed", "failure", "fail", "error", "canceled", "cancelled", "expired", "rejected"])
_PASSING = frozenset(["408", "425", "429", "502", "503", "504"])
_UNKNOWN = frozenset(["404", "410"])
_CODES = ("code", "error_code", "errorCode", "failCode", "fail_code")
_MESSAGES = ("message", "error", "msg", "detail", "failMsg", "fail_reason")
PLAIN = Recipe(request=RequestPart())
"""How the built-in modes send the key."""


class JobTicket(msgspec.Struct, frozen=True):
    """A job that a provider has taken on; addresses absolute, no key in it. ``wait``: seconds before the first
    question where the provider named some, ``interval`` between the others. ``others``: further jobs that the same
    request made, one a picture."""

    provider_id: str
    url: str
    result_url: str = ""
    cancel_url: str = ""
    cancel_method: str = "POST"
    headers: dict[str, str] = {}
    interval: float = _DEFAULT_INTERVAL
    wait: float | None = None
    others: tuple[JobTicket, ...] = ()

    def without_key(self, key: str) -> JobTicket:
        """Fit to be written down, where a provider repeats the key in its addresses."""
        return self._changed(lambda url: _hidden(url, key))

    def with_key(self, key: str) -> JobTicket:
        """As it was before `without_key`."""
        return self._changed(lambda url: url.replace(_KEY_MARK, quote(key, safe="")))

    def _changed(self, change: Callable[[str], str]) -> JobTicket:
        urls = {name: change(getattr(self, name)) for name in ("url", "result_url", "cancel_url")}
        others = tuple(other._changed(change) for other in self.others)
        return msgspec.structs.replace(self, **urls, others=others)


def _hidden(url: str, key: str) -> str:
    for spelling in (key, quote(key), quote(key, safe=""), quote_plus(key)) if key else ():
        url = url.replace(spelling, _KEY_MARK)
    return url


class JobState(StrEnum):
    """Where a job is."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class Poll(msgspec.Struct, frozen=True):
    """What a question brought. ``percent`` 0..100; ``result_url``: where the pictures are told, "" for here;
    ``complaint``: why it failed, as `failure.event_failure` reads it, or, if ``passing``, could not be told just now;
    ``unknown``: there is no such job."""

    state: JobState
    percent: int | None = None
    result_url: str = ""
    complaint: dict[str, Any] = {}
    passing: bool = False
    unknown: bool = False


def recipe_job(recipe: Recipe, config: ApiConfig, document: Any) -> JobTicket | None:
    """The job, or the jobs, that the first answer names; None where it is the result already."""
    part = recipe.job
    ids = list(dict.fromkeys(all_texts(part.id, document))) if part is not None else []
    if part is None:
        return None

    def ticket(place: int, provider_id: str) -> JobTicket:
        return JobTicket(
            provider_id,
            job_address(part.url, config, document, provider_id, place),
            job_address(part.result_url, config, document, provider_id, place),
            job_address(part.cancel.url, config, document, provider_id, place),
            part.cancel.method.upper(),
            fill_headers(part.headers, Values(config).with_job(provider_id)),
            part.interval,
        )

    tickets = [ticket for ticket in (ticket(place, name) for place, name in enumerate(ids[:_MOST_JOBS])) if ticket.url]
    return msgspec.structs.replace(tickets[0], others=tuple(tickets[1:])) if tickets else None


def plain_job(document: Any, http_status: int | None, base_url: str) -> JobTicket | None:
    """The job that an answer plainly is, as `dialects.read_job` tells."""
    ref = read_job(document, base_url, accepted=http_status == 202) if isinstance(document, dict) else None
    return JobTicket(ref.id, ref.url, ref.result_url, ref.cancel_url) if ref is not None else None


def cancel_request(ticket: JobTicket, recipe: Recipe, config: ApiConfig) -> HttpRequest:
    """The call that gives a job up at its provider; the key goes only where it may."""
    headers = {"Accept": "application/json", **key_headers(ticket.cancel_url, config, recipe)}
    return HttpRequest(ticket.cancel_method, ticket.cancel_url, headers, b"")


def read_poll(ticket: JobTicket, recipe: Recipe | None, config: ApiConfig, document: Any) -> Poll:
    """What the answer to a question says."""
    part = recipe.job if recipe is not None else None
    if part is None:
        return _plain_poll(ticket, document)
    status = first_word(part.status, document)
    percent = _percent(search(part.progress, document))
    if status and status.casefold() in {word.casefold() for word in part.failed}:
        reason = first_text(part.error, document)
        return Poll(JobState.FAILED, percent, complaint=_complaint(reason, status, document))
    if part.status and not status and (refused := _refusal(document)):
        code = refused.get("code", "")
        return Poll(JobState.FAILED, percent, "", refused, passing=code in _PASSING, unknown=code in _UNKNOWN)
    if part.status and (not status or status.casefold() not in {word.casefold() for word in part.done}):
        return Poll(JobState.PENDING, percent)
    named = ticket.result_url or job_address(part.result_url, config, document, ticket.provider_id)
    return Poll(JobState.DONE, percent, result_url=named)


def _refusal(document: Any) -> dict[str, Any]:
    """An error in the place of a job's status: HTTP 200 with a code of its own."""
    if not isinstance(document, dict):
        return {}
    code = str(document.get("code", ""))
    if len(code) == 3 and code[0] in "45" and code.isdigit():
        return {"code": code, "message": _message(document)}
    return {"error": document["error"]} if document.get("error") else {}


def _plain_poll(ticket: JobTicket, document: Any) -> Poll:
    parts = list(_nested(document))
    status = next((status for status in map(_status, parts) if status), "")
    percent = next((found for part in parts if (found := _percent(part.get("progress"))) is not None), None)
    if status in _FAILED:
        reason = next((text for part in parts if (text := _message(part))), "")
        return Poll(JobState.FAILED, percent, complaint=_complaint(reason, status, document))
    if status in _DONE:
        return Poll(JobState.DONE, percent, result_url=ticket.result_url)
    return Poll(JobState.PENDING, percent)


def _nested(document: Any) -> Iterator[dict[str, Any]]:
    """An answer and the objects in which relays wrap theirs."""
    if not isinstance(document, dict):
        return
    yield document
    for key in _NESTS:
        inner = document.get(key)
        inner = inner[0] if isinstance(inner, list) and inner else inner
        if isinstance(inner, dict):
            yield inner


def _status(part: dict[str, Any]) -> str:
    return next((str(part[key]).lower() for key in _STATUS_KEYS if isinstance(part.get(key), str)), "")


def _message(part: dict[str, Any]) -> str:
    for key in _MESSAGES:
        value = part.get(key)
        if isinstance(value, dict):
            value = value.get("message")
        if isinstance(value, str) and value:
            return value
    return ""


def _complaint(reason: str, status: str, document: Any) -> dict[str, Any]:
    """Why a job failed: in the provider's words, with the codes that stand beside them and tell more."""
    parts = list(_nested(document))
    codes = [{"code": part[key]} for part in parts for key in _CODES if part.get(key) not in (None, "", 0)]
    errors = [error for part in parts if isinstance(error := part.get("error"), dict)]
    return {"code": status, "message": reason or status, "details": [*codes, *errors][:4]}


def _percent(value: Any) -> int | None:
    if isinstance(value, str):
        try:
            value = float(value.strip().removesuffix("%"))
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        return None
    return int(value * 100) if isinstance(value, float) and value <= 1 else int(value)
