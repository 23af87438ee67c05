"""A pair of a training set: the pictures that were sent, the one that came back, and where it comes from."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class Direction(StrEnum):
    """Which way a pair is trained: as it was edited, back from the result to its source, or source to source."""

    FORWARD = "forward"
    REVERSED = "reversed"
    NO_OP = "no_op"


class ControlFile(msgspec.Struct, frozen=True):
    """A source picture. ``path`` absolute; ``sent_hash``: sha256 of the bytes that were sent, "" where not known."""

    path: str
    sent_hash: str = ""


class TargetFile(msgspec.Struct, frozen=True):
    """A result picture: its file, the sha256 of its bytes, pixels as stored, ``extension`` without a dot."""

    path: str
    hash: str
    extension: str
    width: int
    height: int


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """How the target was made. ``at``: Unix seconds, 0 where not known; ``parameters``: what else was asked for."""

    prompt: str = ""
    system_prompt: str = ""
    model: str = ""
    api_url: str = ""
    parameters: dict[str, Any] = {}
    at: int = 0
    attempts: int = 0


class Rejected(msgspec.Struct, frozen=True):
    """A result of the same source and prompt that was not kept, with its score (0..10) where it was judged."""

    target: TargetFile
    score: float | None = None


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One result with its sources, the edited one first. ``id``: the result's. ``index``: 1-based place among the
    results of its task. ``written``: the caption that a model wrote for it, as it was edited since. ``score`` 0..10 and
    ``judge`` (a model's name), where it was judged. ``origin``: what tells its source from others where that is not
    the first control. ``folder``: the folders between that of all sources and its own, parted by ``/``."""

    id: str
    task_id: str
    name: str
    controls: tuple[ControlFile, ...]
    target: TargetFile
    provenance: Provenance = Provenance()
    index: int = 1
    written: str = ""
    score: float | None = None
    judge: str = ""
    rejected: Rejected | None = None
    direction: Direction = Direction.FORWARD
    origin: str = ""
    folder: str = ""

    @property
    def control(self) -> ControlFile:
        """The picture that was edited."""
        return self.controls[0]

    @property
    def source_path(self) -> str:
        """The file that was sent, whichever way the pair is trained."""
        return self.target.path if self.direction is Direction.REVERSED else self.control.path

    @property
    def pictures(self) -> tuple[ControlFile, ...]:
        """All files but the target: the controls, and the rejected result as the last."""
        if self.rejected is None:
            return self.controls
        return (*self.controls, ControlFile(self.rejected.target.path, self.rejected.target.hash))
