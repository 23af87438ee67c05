"""What happens during one edit, as it happens: debug entries with keys and long values cut, and live progress."""

from __future__ import annotations

import functools
import html
import json
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import msgspec

from engine.errors import Problem
from engine.models import DebugEntry
from engine.secrets import PLACEHOLDER, TELLING

MAX_TEXT = 400
_TELLING = 8  # so many characters of a key are worth hiding
_SHORTENED = re.compile(r"…( \(\d+\))?\Z")
MAX_EVENTS = 200  # events kept of one attempt; a token-wise gateway sends thousands


class Blanking:
    """Blanks secrets out of texts, in whichever way an API may write them back: plain, escaped, encoded, cut off.

    One of a few letters is left: it stands in every text by chance, and blanking it would garble the text.
    """

    def __init__(self, *secrets: str) -> None:
        forms = {form for secret in secrets if len(secret) >= TELLING for form in _forms_of(secret)}
        self._forms = sorted(forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._forms)), re.IGNORECASE)
        self.longest = max(map(len, self._forms), default=0)

    def blank(self, text: str) -> str:
        """The text without the key."""
        if not self._forms:
            return text
        text = self._pattern.sub(PLACEHOLDER, text)
        body = _SHORTENED.sub("", text)  # a text that was shortened before may end in the middle of the key
        for form in self._forms:
            if form[:_TELLING] not in body[-len(form) :]:  # told at once for nearly every text
                continue
            for length in range(min(len(form) - 1, len(body)), _TELLING - 1, -1):
                if body.endswith(form[:length]):
                    return body[:-length] + PLACEHOLDER + text[len(body) :]
        return text


def _forms_of(secret: str) -> set[str]:
    raw = secret.encode("utf-8", "surrogatepass")
    forms = {secret, quote(raw), quote(raw, safe=""), quote_plus(raw), html.escape(secret)}
    forms |= {html.escape(secret, quote=False), repr(secret)[1:-1]}
    forms |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return forms | {form.replace("/", "\\/") for form in forms}


@functools.lru_cache(maxsize=64)
def _blanking(secrets: tuple[str, ...]) -> Blanking:
    """Each task of a run has the same."""
    return Blanking(*secrets)


class EditLog:
    """Written by the edit's thread, read by others while it runs (appending to a list is atomic)."""

    def __init__(self, *secrets: str, clock: Callable[[], float] = time.time) -> None:
        self.entries: list[DebugEntry] = []
        self.attempt = 0
        self.percent: int | None = None
        self.stage = "waiting"
        self.preview: str | None = None
        self._key = _blanking(secrets)
        self._clock = clock
        self._events = 0

    def begin_attempt(self, attempt: int) -> None:
        """What is added from now on belongs to this call to the API."""
        self.attempt = attempt
        self._events = 0
        self.percent = None
        self.preview = None

    def add(self, kind: str, **data: Any) -> None:
        """One entry; strings and containers are shortened and the key is blanked out."""
        self.entries.append(DebugEntry(self._clock(), self.attempt, kind, self._clean(data)))

    def event(self, name: str, data: str) -> None:
        """One event of the answer, shortened without parsing it: it may be megabytes long."""
        self._events += 1
        if self._events <= MAX_EVENTS:
            self.add("event", name=name, data=data)

    def end_events(self) -> None:
        """Say how many events there were beyond those kept."""
        if self._events > MAX_EVENTS:
            self.add("event", name="…", data="", left_out=self._events - MAX_EVENTS)

    def without_key(self, problem: Problem) -> Problem:
        """The problem with the key blanked out of its params: some APIs repeat it in their refusal."""
        params = {
            name: self._key.blank(value) if isinstance(value, str) else value for name, value in problem.params.items()
        }
        return msgspec.structs.replace(problem, params=params)

    def _clean(self, value: Any, depth: int = 0) -> Any:
        if isinstance(value, str):
            return self._shorten(value)
        if depth > 8:
            return "…"
        if isinstance(value, dict):
            return {self._shorten(str(key)): self._clean(item, depth + 1) for key, item in list(value.items())[:100]}
        if isinstance(value, list | tuple):
            return [self._clean(item, depth + 1) for item in value[:100]]
        return value

    def _shorten(self, text: str) -> str:
        # The key is looked for before the cut as well: a cut through its middle would hide it from the search.
        head = self._key.blank(text[: MAX_TEXT + self._key.longest])
        if len(text) <= MAX_TEXT:
            return head
        return f"{head[:MAX_TEXT]}… ({len(text)})"
