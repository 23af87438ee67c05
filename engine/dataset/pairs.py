"""A pair of a training set: the pictures that were sent, the one that came back, and where it comes from."""

from __future__ import annotations

from typing import Any

import msgspec

MAX_CONTROLS = 3


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


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One result with its sources, at most three, the edited one first. ``id``: the result's. ``index``: 1-based place
    among the results of its task."""

    id: str
    task_id: str
    name: str
    controls: tuple[ControlFile, ...]
    target: TargetFile
    provenance: Provenance = Provenance()
    index: int = 1

    @property
    def control(self) -> ControlFile:
        """The picture that was edited."""
        return self.controls[0]
