"""Owns what the drivers share: steps of a talk with a provider, where it is held, and what answers are read into.

A driver's talk is a generator: it yields an `Ask` and gets the `Reply`, or yields a `Note` of what must be on disk
before the next step. Who makes the calls and keeps the notes is `engine.tasks.batch_calls`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from engine import secrets
from engine.config import ApiConfig, ApiMode, BatchProvider
from engine.errors import AnswerUnusable, Code, ConsoleError, InvalidInput, UpstreamRefused
from engine.keys import origin
from engine.upstream.jobs import PLAIN
from engine.upstream.recipe import Recipe, key_headers, takes_key
from engine.upstream.request import RESERVED_HEADERS, HttpRequest, SourcePicture
from engine.upstream.sse import json_or_none

T = TypeVar("T")
DAY_SECONDS = 86_400.0
_MOST = 2**53
_LONGEST = 4096  # characters of what a provider calls something
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_UNCLEAR = frozenset({408, 409, 425})
MOST_PAGES = 200
"""Pages of a listing that are looked through for a batch of ours, a hundred batches each."""


class Ask(msgspec.Struct, frozen=True):
    """A call. ``again``: asking twice does no harm, so a line that breaks is no end. ``missing``: 404 is an answer."""

    request: HttpRequest
    again: bool = True
    missing: bool = False


class Reply(msgspec.Struct, frozen=True):
    """What came of an `Ask`; header names lower case. After a `Note` all of it is empty."""

    status: int = 0
    headers: Mapping[str, str] = {}
    body: bytes = b""

    @property
    def document(self) -> dict[str, Any]:
        """The JSON object in it. Raises AnswerUnusable(JOB_UNREADABLE)."""
        found = json_or_none(self.body)
        if not isinstance(found, dict):
            raise AnswerUnusable(Code.JOB_UNREADABLE, retryable=True, http_status=self.status, host="")
        return found


class Note(msgspec.Struct, frozen=True):
    """To be on disk before the talk goes on. ``file``: the lines were uploaded under this name; ``creating``: from now
    on the provider may have what is paid for; ``provider_id``: its name of the batch; ``refused``: keys of lines that
    it did not take, with its words."""

    file: str = ""
    creating: bool = False
    provider_id: str = ""
    refused: Mapping[str, str] = {}


Steps = Generator[Ask | Note, Reply, T]


class Lines(Protocol):
    """The lines of a batch, kept on disk."""

    size: int

    def read(self, start: int, length: int) -> bytes:
        """Some of its bytes."""

    def __iter__(self) -> Iterator[bytes]:
        """Each line, without its end."""


class Known(msgspec.Struct, frozen=True):
    """What is known of a batch of ours before a talk about it: see `Note`. ``name``: ours, of random letters;
    ``keys``: of its lines."""

    name: str
    keys: frozenset[str]
    file: str = ""
    creating: bool = False
    provider_id: str = ""


class BatchState(StrEnum):
    """Where a batch is. ENDED: every line was answered; of EXPIRED and CANCELLED ones some may be."""

    OPEN = "open"
    ENDED = "ended"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class BatchView(msgspec.Struct, frozen=True):
    """What a provider says of a batch. ``expires_at`` in Unix seconds; ``files``: URLs of JSONL files with results;
    ``complaint``: why it failed, as `failure.event_failure` reads it."""

    state: BatchState
    done: int = 0
    failed: int = 0
    expires_at: float | None = None
    files: tuple[str, ...] = ()
    complaint: Any = None


class LineResult(msgspec.Struct, frozen=True):
    """What became of a line. ``document``: the answer as a live call has it; ``complaint``: why there is none;
    ``lost``: it was not done since the batch ended before; ``size``: bytes as which it came."""

    key: str
    status: int = 200
    document: Any = None
    complaint: Any = None
    lost: BatchState | None = None
    size: int = 0


class Uploaded(msgspec.Struct, frozen=True):
    """A picture at a provider. ``expires_at`` in Unix seconds, by its clock."""

    file: str
    expires_at: float


class Place(msgspec.Struct, frozen=True):
    """Where a provider's batches are: ``base`` is a URL without a slash at its end. The key goes where ``recipe`` lets
    it."""

    base: str
    config: ApiConfig
    recipe: Recipe

    @property
    def host(self) -> str:
        """For what people read."""
        return urlsplit(self.base).hostname or ""

    def url(self, path: str, before: str = "") -> str:
        """An address below the base; ``before`` leads its path, as `/upload` does at Google."""
        parts = urlsplit(self.base + path)
        return urlunsplit(parts._replace(path=before + parts.path))

    def ask(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        again: bool = True,
        missing: bool = False,
    ) -> Ask:
        """A call to a URL, or to a path below the base; ``body`` is bytes, or a value to be sent as JSON."""
        url = self.url(url) if url.startswith("/") else url
        data = b"" if body is None else body if isinstance(body, bytes) else msgspec.json.encode(body)
        sent = {"Content-Type": content_type} if body is not None else {}
        return Ask(HttpRequest(method, url, self.headers(url) | sent | dict(headers or {}), data), again, missing)

    def headers(self, url: str) -> dict[str, str]:
        """What goes along with every call to this URL, the key and what else is secret only where they may."""
        given = {name: text for name, text in self.config.extra_headers.items() if name.lower() not in RESERVED_HEADERS}
        if not takes_key(url, self.config, self.recipe):
            given = secrets.without(given) if origin(url) == origin(self.base) else {}
        return {"Accept": "application/json", **given, **key_headers(url, self.config, self.recipe)}

    def may_have_pictures(self, url: str) -> bool:
        """Whether this address, which the provider names, is its own."""
        return origin(url) == origin(self.base) or takes_key(url, self.config, self.recipe)


class Driver(Protocol):
    """One provider. ``max_bytes`` of all lines of a batch; ``price``: of a line, as a share of that of a live call;
    ``uploads``: pictures are uploaded one by one and named by the lines; ``window``: seconds until it expires;
    ``says_expired``: one that expired is said to be, else only its time tells."""

    provider: BatchProvider
    max_lines: int
    max_bytes: int
    max_line_bytes: int
    price: float
    window: float
    uploads: bool
    says_expired: bool

    def place(self, config: ApiConfig) -> Place | None:
        """Where its batches are for this configuration; None where it has none for it."""

    def line(self, place: Place, key: str, pictures: Sequence[SourcePicture], files: Sequence[str]) -> dict[str, Any]:
        """One line. ``files``: what the uploaded pictures are called, empty strings before they are uploaded.
        Raises InvalidInput(BATCH_LINE_INVALID): one bad line would fail the whole batch after the upload."""

    def upload(self, place: Place, picture: SourcePicture) -> Steps[Uploaded]:
        """Take a picture there."""

    def create(self, place: Place, known: Known, lines: Lines) -> Steps[None]:
        """Make a batch of the lines, or go on where an earlier try was cut; never makes a second one."""

    def find(self, place: Place, known: Known) -> Steps[tuple[str, frozenset[str] | None]]:
        """The provider's id of a batch that may have been made ("" for none), and which lines it has; None: all."""

    def look(self, place: Place, provider_id: str) -> Steps[BatchView]:
        """How far it is."""

    def results_url(self, place: Place, provider_id: str, token: str) -> str:
        """The address of a page of results; "" where they come in files."""

    def read_page(self, document: dict[str, Any]) -> tuple[list[LineResult], str]:
        """The results on a page, and the token of the next."""

    def read_line(self, document: Any) -> LineResult | None:
        """The result in a line of a file; None for what is none."""

    def cancel(self, place: Place, provider_id: str) -> Steps[None]:
        """Give it up."""

    def remove(self, place: Place, file: str) -> Steps[None]:
        """Delete what was uploaded; that it is gone already is as good."""


# --- what all three need ----------------------------------------------------------------------------------------------


def base_before(url: str, mark: str) -> str | None:
    """The URL up to the last ``mark`` in its path, without query; None where it has none."""
    parts = urlsplit(url)
    before, found, _ = parts.path.rpartition(mark)
    return urlunsplit((parts.scheme, parts.netloc, before, "", "")) if found else None


def beside_edits(config: ApiConfig) -> Place | None:
    """The API that ``images/edits`` belongs to."""
    base = base_before(config.api_url, "/images/") if config.mode is ApiMode.IMAGES_EDITS else None
    return None if base is None else Place(base, config, PLAIN)


def bad_line(key: str, reason: str) -> InvalidInput:
    """A line that no provider would take."""
    return InvalidInput(Code.BATCH_LINE_INVALID, field="delivery", id=key, reason=reason)


def refuses(error: ConsoleError) -> bool:
    """Whether a provider has said that it took nothing on. A gateway's failure, and a few refusals, do not say that."""
    status = error.http_status if isinstance(error, UpstreamRefused) else None
    return status is not None and 400 <= status < 500 and status not in _UNCLEAR


def text_of(document: Mapping[str, Any], *names: str) -> str:
    """The first of these fields that holds text, of a length that names and states have; "" for none."""
    texts = (document.get(name) for name in names)
    return next((str(text) for text in texts if isinstance(text, int) or _is_short(text)), "")


def _is_short(text: object) -> bool:
    return isinstance(text, str) and len(text) <= _LONGEST


def items_of(document: Mapping[str, Any], *names: str) -> list[dict[str, Any]]:
    """The objects in the first of these fields that holds a list; none where there is no such field."""
    found: list[Any] = next((document[name] for name in names if isinstance(document.get(name), list)), [])
    return [item for item in found if isinstance(item, dict)]


def number_of(document: Any, name: str) -> int:
    """A count, also where it is written as text; 0 for none, and for one that is none."""
    value = document.get(name) if isinstance(document, dict) else None
    try:
        found = int(value) if isinstance(value, int | str) else 0
    except ValueError:
        return 0
    return found if abs(found) < _MOST else 0


def segment(text: str) -> str:
    """A provider's id as a part of a path."""
    return quote(text, safe="")


def moment(text: str) -> float | None:
    """A moment as RFC 3339 writes it, or Unix seconds; a day alone means its end in UTC. None for none of these."""
    try:
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if found.tzinfo is not None:
        return found.timestamp()
    return found.replace(tzinfo=UTC).timestamp() + DAY_SECONDS if _DAY.fullmatch(text) else None
