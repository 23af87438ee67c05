"""The pairs of a set as it is trained: as they were edited, back again, and some in which nothing changes; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import PurePath
from typing import Final

import msgspec

from engine.dataset.captions import CaptionMode, CaptionRule, caption_of, check_captions
from engine.dataset.pairs import ControlFile, Direction, Pair, TargetFile
from engine.dataset.split import source_key
from engine.errors import Code, InvalidInput

NO_OP_CAPTION: Final = "change nothing"
MOST_NO_OPS: Final = 0.5


class Reverse(StrEnum):
    """OFF: as they were edited; REVERSED: each from its result to its source; BOTH: each pair twice."""

    OFF = "off"
    REVERSED = "reversed"
    BOTH = "both"


class VariantRule(msgspec.Struct, frozen=True, kw_only=True):
    """``captions``: of reversed pairs; what was asked for says the opposite of what those show. ``no_op_share``: part
    (0..0.5) of the set in which the target is the source, with the caption "change nothing"."""

    reverse: Reverse = Reverse.OFF
    captions: CaptionRule = CaptionRule(CaptionMode.TEMPLATE, "undo: {prompt}")
    no_op_share: float = 0.0


def check_variants(rule: VariantRule) -> None:
    """Raises InvalidInput naming the field."""
    if not 0 <= rule.no_op_share <= MOST_NO_OPS:
        raise InvalidInput(Code.FIELD_RANGE, field="no_op_share", name="no_op_share", minimum=0, maximum=MOST_NO_OPS,
                           value=rule.no_op_share)  # fmt: skip
    if rule.reverse is not Reverse.OFF:
        check_captions(rule.captions, "reverse_")


def variants(pairs: Sequence[Pair], rule: VariantRule, seed: int = 0) -> list[Pair]:
    """The pairs to be written, a reversed one behind its own; those that change nothing at the end, ``seed`` picks of
    which sources."""
    made: list[Pair] = []
    for pair in pairs:
        if rule.reverse is not Reverse.REVERSED:
            made.append(pair)
        if rule.reverse is not Reverse.OFF:
            made.append(turned(pair))
    count = round(len(made) * rule.no_op_share / (1 - rule.no_op_share)) if rule.no_op_share else 0
    sources = {source_key(pair): pair for pair in pairs}
    order = sorted(sources, key=lambda key: hashlib.sha256(f"no-op {seed} {key}".encode("utf-8", "replace")).digest())
    return made + [_unchanged(sources[order[number % len(order)]], number) for number in range(count)]


def turned(pair: Pair) -> Pair:
    """The way back: the result becomes the control, and the source the target; further references stay controls."""
    control = ControlFile(pair.target.path, pair.target.hash)
    return msgspec.structs.replace(
        pair, controls=(control, *pair.controls[1:]), target=_as_target(pair.control), direction=Direction.REVERSED,
        origin=source_key(pair),
    )  # fmt: skip


def _unchanged(pair: Pair, number: int) -> Pair:
    return msgspec.structs.replace(
        pair, id=f"{pair.id}-no-op-{number + 1}", target=_as_target(pair.control), direction=Direction.NO_OP,
        origin=source_key(pair), rejected=None,
    )  # fmt: skip


def _as_target(control: ControlFile) -> TargetFile:
    """Its size in pixels is not known here, and not needed."""
    return TargetFile(control.path, control.sent_hash, PurePath(control.path).suffix.lstrip(".").lower(), 0, 0)


def is_told(pair: Pair, forward: CaptionRule, rule: VariantRule, number: int) -> bool:
    """Whether each pair that is made of this one has a caption. Raises what `caption_of` raises."""
    asked = [] if rule.reverse is Reverse.REVERSED else [(forward, pair, number)]
    if rule.reverse is not Reverse.OFF:
        asked.append((rule.captions, turned(pair), 1))
    return all(caption_of(*one) for one in asked)


def caption_for(pair: Pair, forward: CaptionRule, rule: VariantRule, number: int) -> str:
    """The caption of any of them; ``number`` is its 1-based place in the set. Raises what `caption_of` raises."""
    if pair.direction is Direction.NO_OP:
        trigger = forward.trigger.strip()
        return f"{trigger}, {NO_OP_CAPTION}" if trigger else NO_OP_CAPTION
    return caption_of(rule.captions if pair.direction is Direction.REVERSED else forward, pair, number)
