"""Which pairs are for training and which for validation: by source, so that no source is on both sides; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum

import msgspec

from engine.dataset.pairs import Pair


class Side(StrEnum):
    """The two parts of a set."""

    TRAIN = "train"
    VALIDATION = "validation"


class SplitRule(msgspec.Struct, frozen=True):
    """``validation``: part (0..0.9) of the sources kept for validation; the same ``seed`` keeps the same sources."""

    validation: float = 0.0
    seed: int = 0


def source_key(pair: Pair) -> str:
    """What tells a source from others: the bytes that were sent, else its path."""
    return pair.origin or pair.control.sent_hash or pair.control.path


def split(pairs: Sequence[Pair], rule: SplitRule) -> list[Side]:
    """The side of each pair. Where anything is to be kept, each side has a source if there are two."""
    keys = sorted({source_key(pair) for pair in pairs}, key=lambda key: _order(rule.seed, key))
    wanted = round(len(keys) * rule.validation)
    if rule.validation > 0 and len(keys) > 1:
        wanted = min(max(wanted, 1), len(keys) - 1)
    kept = set(keys[:wanted])
    return [Side.VALIDATION if source_key(pair) in kept else Side.TRAIN for pair in pairs]


def _order(seed: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{key}".encode("utf-8", "surrogatepass")).digest()
