"""What becomes the caption of a pair: its prompt, a text beside its source, what a model wrote, a template, a word."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from engine.dataset.naming import VARIABLES, fill_text, name_context
from engine.dataset.pairs import Pair
from engine.errors import Code, InvalidInput
from engine.reading import read_beside

FIELD: Final = "caption_template"
CAPTION_VARIABLES: Final = (*VARIABLES, "prompt", "caption", "trigger", "written")
"""What a caption template may name; ``{caption}`` is the text beside the source, ``{written}`` what a model wrote."""


class CaptionMode(StrEnum):
    """Where captions come from."""

    PROMPT = "prompt"
    SIDECAR = "sidecar"
    TEMPLATE = "template"
    TRIGGER = "trigger"
    WRITTEN = "written"


class CaptionRule(msgspec.Struct, frozen=True):
    """``trigger`` stands before the caption where it is no part of it; ``template`` is read in TEMPLATE mode only."""

    mode: CaptionMode = CaptionMode.PROMPT
    template: str = "{prompt}"
    trigger: str = ""


def check_captions(rule: CaptionRule, prefix: str = "") -> None:
    """Raises InvalidInput: TEMPLATE_… for ``caption_template``, FIELD_REQUIRED for ``trigger``, with ``prefix``."""
    if rule.mode is CaptionMode.TEMPLATE:
        blank = dict.fromkeys(CAPTION_VARIABLES, "") | {"result_index": 1, "global_index": 1}
        fill_text(rule.template, blank, prefix + FIELD)
    if rule.mode is CaptionMode.TRIGGER and not rule.trigger.strip():
        raise InvalidInput(Code.FIELD_REQUIRED, field=f"{prefix}trigger", name=f"{prefix}trigger")


def caption_of(rule: CaptionRule, pair: Pair, number: int) -> str:
    """The caption of a pair, on one line, "" where there is none; ``number`` is its 1-based place in the set.

    Raises InvalidInput (TEXT_ENCODING) for a text beside the source in no known encoding.
    """
    trigger = rule.trigger.strip()
    match rule.mode:
        case CaptionMode.TRIGGER:
            return trigger
        case CaptionMode.PROMPT:
            text = pair.provenance.prompt
        case CaptionMode.SIDECAR:
            text = sidecar(pair)
        case CaptionMode.WRITTEN:
            text = pair.written
        case CaptionMode.TEMPLATE:
            text = _filled(rule, pair, number)
    text = " ".join(text.split())
    if not text or not trigger or trigger in text:
        return text
    return f"{trigger}, {text}"


def sidecar(pair: Pair) -> str:
    """The text beside the source (``001.txt`` for ``001.png``); "" where there is none."""
    try:
        return read_beside(Path(pair.source_path)).strip()
    except (OSError, ValueError):
        return ""


def _filled(rule: CaptionRule, pair: Pair, number: int) -> str:
    context = name_context(pair.name, pair.task_id, pair.id, pair.index, number)
    values: dict[str, str | int] = msgspec.structs.asdict(context)
    values |= {"prompt": pair.provenance.prompt, "trigger": rule.trigger.strip(), "written": pair.written}
    values["caption"] = sidecar(pair) if "{caption" in rule.template else ""
    return fill_text(rule.template, values, FIELD)
