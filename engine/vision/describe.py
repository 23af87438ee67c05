"""What a vision model writes: captions of pairs, a prompt for each picture, and which of two results is the better."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec

from engine.errors import AnswerUnusable, Code
from engine.vision.ask import Labelled, Question, objects_in, picture_at
from engine.vision.judge import LABELS, Asker, JudgedPair, check_files, memory_key, sent_hash

_LONGEST_TEXT = 4000
_JSON_ONLY = "Answer with one JSON object of the asked form and nothing else."


class CaptionLength(StrEnum):
    """How much a caption says."""

    SHORT = "short"
    LONG = "long"


class Better(StrEnum):
    """Which of two results is the better."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"


_CAPTION_ASKS = {
    CaptionLength.SHORT: "one sentence of at most 25 words",
    CaptionLength.LONG: "three to five sentences that name every visible change, where it is and how it looks",
}


def write_caption(pair: JudgedPair, length: CaptionLength, language: str, asker: Asker) -> tuple[str, bool]:
    """What really changed between the pictures of a pair, and whether that had been asked before.

    Raises EditFailed (JUDGE_UNREADABLE), Stopped, PictureRejected.
    """
    key = memory_key("caption", sent_hash(pair), pair.result_hash, pair.instruction, length, language,
                     asker.config.model_name)  # fmt: skip
    if (known := asker.memory.recall(key)) is not None:
        return known, True
    check_files(pair, asker.cancel)
    text = (
        f"The edit that was asked for: {pair.instruction or '—'}\n\n"
        f"Describe what really changed from the source to the result, as an instruction that would bring it about, in "
        f"{_CAPTION_ASKS[length]}. Mention nothing that did not change, and nothing that is not seen. "
        f'Write in the language "{language}". Answer in JSON: {{"caption": "…"}}.'
    )
    pictures = (
        picture_at(pair.sources[0], asker.config.max_edge, f"Picture 1: {LABELS['source']}", asker.cancel),
        picture_at(pair.result, asker.config.max_edge, f"Picture 2: {LABELS['result']}", asker.cancel),
    )
    caption = _ask_text("You write captions for pairs of an image-edit training set.", text, pictures, "caption",
                        asker)  # fmt: skip
    asker.memory.remember(key, caption)
    return caption, False


def write_prompt(source: str, source_hash: str, intention: str, asker: Asker) -> tuple[str, bool]:
    """A prompt for one picture that carries out an intention, and whether that had been asked before."""
    key = memory_key("prompt", source_hash, intention, asker.config.model_name)
    if (known := asker.memory.recall(key)) is not None:
        return known, True
    text = (
        f"Intention: {intention}\n\nWrite one instruction for an image-edit model that carries this intention out on "
        "this very picture: name what is seen in it and what becomes of it, and say what must stay as it is. "
        f'At most 60 words, in the language of the intention. Answer in JSON: {{"prompt": "…"}}.'
    )
    pictures = (picture_at(source, asker.config.max_edge, f"Picture 1: {LABELS['source']}", asker.cancel),)
    prompt = _ask_text("You write instructions for an image-edit model.", text, pictures, "prompt", asker)
    asker.memory.remember(key, prompt)
    return prompt, False


def compare(first: JudgedPair, second: JudgedPair, asker: Asker) -> Better:
    """The better of two results of one source: asked twice with the order swapped, and a tie unless both agree."""
    found = _prefer(first, second, asker)
    turned = _prefer(second, first, asker)
    if found is Better.FIRST and turned is Better.SECOND:
        return Better.FIRST
    if found is Better.SECOND and turned is Better.FIRST:
        return Better.SECOND
    return Better.TIE


def best_of(pairs: Sequence[JudgedPair], asker: Asker) -> JudgedPair | None:
    """The best of the results of one task: each against the best so far; None where the last word is a tie."""
    best, tied = pairs[0], False
    for pair in pairs[1:]:
        match compare(best, pair, asker):
            case Better.SECOND:
                best, tied = pair, False
            case Better.TIE:
                tied = True
    return None if tied else best


def prompt_table(rows: Sequence[tuple[str, str]]) -> bytes:
    """A table of file and prompt as `prompts.read_table` reads it, for spreadsheets as well."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["file", "prompt"])
    writer.writerows(rows)
    return b"\xef\xbb\xbf" + buffer.getvalue().encode()


def read_text_field(text: str, name: str) -> str | None:
    """The text of a field in a model's JSON; None if there is none."""
    found = None
    for value in objects_in(text):
        entry = value.get(name)
        if isinstance(entry, str) and entry.strip():
            found = " ".join(entry.split())[:_LONGEST_TEXT]
    return found


def _prefer(first: JudgedPair, second: JudgedPair, asker: Asker) -> Better:
    key = memory_key("comparison", sent_hash(first), first.result_hash, second.result_hash, first.instruction,
                     asker.config.model_name)  # fmt: skip
    known = asker.memory.recall(key)
    if known is None:
        check_files(first, asker.cancel)
        text = (
            f"The edit that was asked for: {first.instruction or '—'}\n\nWhich result carries it out better and keeps "
            'the rest as it was? Answer in JSON: {"better": "A", "B" or "tie"}.'
        )
        pictures = (
            picture_at(first.sources[0], asker.config.max_edge, f"Picture 1: {LABELS['source']}", asker.cancel),
            picture_at(first.result, asker.config.max_edge, f"Picture 2: {LABELS['result']} A", asker.cancel),
            picture_at(second.result, asker.config.max_edge, f"Picture 3: {LABELS['result']} B", asker.cancel),
        )
        known = _ask_text("You compare two results of one image edit.", text, pictures, "comparison", asker,
                          field="better")  # fmt: skip
        asker.memory.remember(key, known)
    return {"A": Better.FIRST, "B": Better.SECOND}.get(known.strip().upper()[:1], Better.TIE)


def _ask_text(
    system: str, text: str, pictures: tuple[Labelled, ...], name: str, asker: Asker, *, field: str = ""
) -> str:
    field = field or name
    question = Question(system, text, pictures, name, _text_schema(field))
    answer = ""
    for _ in range(2):
        answer = asker.client.ask(question, asker.cancel).text
        found = read_text_field(answer, field)
        if found is not None:
            return found
        question = msgspec.structs.replace(question, text=f"{text}\n\n{_JSON_ONLY}")
    raise AnswerUnusable(Code.JUDGE_UNREADABLE, text=" ".join(answer.split())[:200])


def _text_schema(field: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {field: {"type": "string"}},
        "required": [field],
        "additionalProperties": False,
    }
