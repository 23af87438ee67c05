"""What goes between a coordinator and its workers: plain data, without a secret."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from engine.files import read_json, write_json
from engine.tasks.arrivals import Begun
from engine.tasks.attempt import AttemptOrder, AttemptOutcome
from engine.tasks.attempt_alone import Left
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy

OUTBOX = "outbox"
"""Folder for answers in a data folder."""
T = TypeVar("T")
R = TypeVar("R")


class Told(msgspec.Struct, frozen=True):
    """What every worker is told once by a program. ``outbox``: folder for answers, "" for one of the worker's own;
    ``shared``: it is the same folder for all, so that answers need not be sent; ``ours``: the program has started the
    worker, and ends it."""

    policy: NetPolicy
    max_redirects: int
    outbox: str = ""
    shared: bool = False
    ours: bool = False


class Facts(msgspec.Struct, frozen=True):
    """What must agree between all machines: versions of Python and Dask, and the code of this program."""

    python: str
    dask: str
    program: str

    def __str__(self) -> str:
        return f"Python {self.python}, Dask {self.dask}, image-batch-console {self.program}"


class Errand(msgspec.Struct, frozen=True):
    """One attempt to be made once. ``order`` has masked secrets; ``token`` names it for good; ``run``: what stops it
    together with others; ``session``: the program that asks; ``owner`` and ``begun``: whose project, and which task of
    it, an answer is kept for that nobody came for; ``process``: which one is asked, for another may have its address
    by then."""

    order: AttemptOrder
    config_id: str
    token: str
    run: str
    session: str
    owner: str
    begun: Begun
    process: str = ""


class Kept(msgspec.Struct, frozen=True):
    """An answer in the outbox; without ``outcome`` it is still under way."""

    owner: str
    begun: Begun
    token: str
    run: str
    outcome: AttemptOutcome | None = None


class Reply(msgspec.Struct, frozen=True):
    """What became of an errand. ``wants``: ``config`` or ``sources`` must be sent first, nothing was asked;
    ``process``: this is another process than the one that may have begun it.
    ``filed``: the pictures lie in the shared outbox."""

    outcome: AttemptOutcome | None = None
    wants: str = ""
    filed: bool = False


class Question(msgspec.Struct, frozen=True):
    """A question to a vision model: the body of a request, whose address and key the worker knows by ``config_id``."""

    config_id: str
    body: bytes
    run: str
    session: str


class Work(msgspec.Struct, Generic[T, R], frozen=True):
    """Something to be computed from an argument. ``run``: what stops it together with others; ``tools``: what must be
    the same there, for it to come out as at home."""

    function: Callable[[T, CancelToken], R]
    argument: T
    run: str
    tools: str


def decoded(data: bytes, kind: type[T]) -> T:
    """A message that was encoded as msgpack."""
    return msgspec.msgpack.decode(data, type=kind)


def read_kept(file: Path) -> Kept | None:
    """An answer in an outbox; None where it is taken meanwhile, or damaged: nothing can be told of it then."""
    try:
        return decoded(file.read_bytes(), Kept)
    except (OSError, msgspec.MsgspecError):
        return None


def left_in(outbox: Path, owner: str) -> Iterator[Left]:
    """Answers for a project in the outbox of workers of this machine; each goes away once the caller asks for the next
    one."""
    for file in sorted(outbox.glob("*.answer")):
        kept = read_kept(file)
        if kept is not None and kept.owner == owner and kept.outcome is not None:
            yield Left(kept.begun, kept.outcome)
            file.unlink(missing_ok=True)


def owner_of(project: Path) -> str:
    """The name of a project towards workers, the same at each start and nobody else's. StorageFailed."""
    file = project / "cluster.json"
    name = str(read_json(file)[0].get("id") or "")
    if not name:
        name = uuid.uuid4().hex
        write_json(file, {"id": name})
    return name
