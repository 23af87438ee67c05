"""What a set says of itself, whichever the trainer: its rows, where it will lie, provenance, paths as text; pure."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from engine.dataset.layouts import Placed
from engine.dataset.pairs import Direction, Pair
from engine.dataset.split import Side
from engine.dataset.variants import NO_OP_CAPTION

METADATA: Final = "metadata.jsonl"
_PLAIN_ARGUMENT: Final = re.compile(r"(?:[\w ./:,@+=-]|\\(?=[\w .:,@+=-]))*")  # a shell leaves such a \ as it is
_TO_ESCAPE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufffe\uffff]")


class Row(msgspec.Struct, frozen=True):
    """A pair as it was written. ``source_hashes``: sha256 of the controls' files, read when the set was written;
    ``size``: pixels of the target. ``at``: the folder that holds its targets and controls, ``repeats``: how often an
    epoch shows it; pairs of one folder have as many."""

    pair: Pair
    side: Side
    placed: Placed
    caption: str
    source_hashes: tuple[str, ...]
    size: tuple[int, int]
    at: str
    repeats: int


class SetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What all text files need to know. ``root``: the set's folder on the machine that trains, "" where paths are to be
    relative to the file that they stand in; ``prefixes``: the folder of each side; ``resolutions``: edges of squares,
    never none; ``title``: the name without its version."""

    name: str
    title: str
    root: str
    rows: Sequence[Row]
    prefixes: dict[Side, str]
    resolutions: tuple[int, ...]
    masks: bool = False

    def groups(self, side: Side) -> list[tuple[str, int]]:
        """The folders of a side, each with the repeats of its pairs."""
        return sorted({(row.at, row.repeats) for row in self.side(side)})

    def repeats(self, side: Side) -> int:
        """The most repeats of any pair of a side: those of all for trainers that know one number."""
        return max((row.repeats for row in self.side(side)), default=1)

    @property
    def controls(self) -> int:
        """The most controls of any pair."""
        return max((len(row.placed.controls) for row in self.rows), default=1)

    def side(self, side: Side) -> list[Row]:
        """The rows of a side."""
        return [row for row in self.rows if row.side is side]

    def path(self, place: str, at: str = "") -> str:
        """``place`` (relative to the set, with slashes) as a file in the folder ``at`` has to name it."""
        if self.root:
            return f"{self.root}/{place}".rstrip("/")
        return posixpath.relpath(place or ".", at or ".")


def provenance(rows: Sequence[Row]) -> str:
    """One JSON object a line for each pair: its files, caption, and where it comes from."""
    return lines([provenance_of(row) for row in rows])


def provenance_of(row: Row) -> dict[str, Any]:
    """Files, caption and origin of a pair."""
    pair, made = row.pair, row.pair.provenance
    told = {
        "target": row.placed.target,
        "controls": list(row.placed.controls),
        "caption": row.caption,
        "split": row.side.value,
        "source_name": pair.name,
        "source_sha256": list(row.source_hashes),
        "target_sha256": pair.target.hash,
        "prompt": NO_OP_CAPTION if pair.direction is Direction.NO_OP else made.prompt,
        "system_prompt": made.system_prompt,
        "model": made.model,
        "api_url": made.api_url,
        "parameters": made.parameters,
        "created_at": made.at,
        "result_id": pair.id,
        "direction": pair.direction.value,
    }
    if row.placed.mask:
        told["mask"] = row.placed.mask
    if pair.score is not None:
        told |= {"score": pair.score, "judge": pair.judge}
    return told


def lines(rows: Sequence[dict[str, Any]]) -> str:
    """JSON objects, one a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def quoted(text: str) -> str:
    """A string as JSON, YAML and TOML all read it, each of which has signs that it takes only escaped."""
    return _TO_ESCAPE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def argument(text: str) -> str:
    """A word that a shell takes as it is: in double quotes, which Windows reads as well, or where something in it would
    be run or filled in, in single ones."""
    return f'"{text}"' if _PLAIN_ARGUMENT.fullmatch(text) else shlex.quote(text)
