"""Judging pairs: what a judge is shown and asked, how its answers are read and averaged, and what was asked before."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from engine.errors import AnswerUnusable, Code, EditFailed
from engine.models import Judgement
from engine.money import plain
from engine.reading import hash_found
from engine.upstream.cancel import CancelToken
from engine.vision.ask import Question, VisionClient, objects_in, picture_at
from engine.vision.rubric import MAX_SCORE, Rubric, said
from engine.vision.settings import JudgeConfig

SWAPPED_EACH = 20
"""Every so-manieth pair is judged once more with the pictures in the other order: position bias shows."""
_REASON_CHARS = 500
_NUMBER = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*(?:/\s*10)?\s*")
_AGAIN = "\n\nAnswer with one JSON object of the asked form and nothing else. 只回答一个符合要求的 JSON 对象。"
LABELS = {"source": "SOURCE · 原图", "reference": "REFERENCE · 参考图", "result": "RESULT · 结果"}
_TASK = {
    "zh-CN": "编辑要求：{prompt}\n\n请按下列各项为结果打分，每项 0 到 10：\n{criteria}\n\n用 JSON 回答：{form}。"
    "reason 用中文，一句话，不超过 30 字。",
    "en": "The edit that was asked for: {prompt}\n\nScore the result for each of these, 0 to 10:\n{criteria}\n\n"
    "Answer in JSON: {form}. Keep the reason to one sentence of at most 20 words.",
}


class JudgedPair(msgspec.Struct, frozen=True):
    """A result as a judge is shown it. ``sources``: paths, the edited picture first; ``source_hash``: sha256 of each as
    they were sent, space between, "" where not known; ``result_hash``: sha256 of the file ``result``."""

    task_id: str
    result_id: str
    sources: tuple[str, ...]
    source_hash: str
    result: str
    result_hash: str
    instruction: str


class Memory(Protocol):
    """Answers that were paid for, by what was asked."""

    def recall(self, key: str) -> str | None:
        """The answer, None for none."""

    def remember(self, key: str, answer: str) -> None:
        """Keep an answer for good before this returns."""


class Asker(msgspec.Struct, frozen=True):
    """What questions are asked with: the judge's settings, its connection, what was asked before, and how to end it."""

    config: JudgeConfig
    client: VisionClient
    memory: Memory
    cancel: CancelToken


class Answered(msgspec.Struct, frozen=True):
    """One answer of a judge, as it is remembered: the score of each criterion."""

    scores: dict[str, float]
    reason: str
    at: int = 0
    cost: float = 0.0


class Verdict(msgspec.Struct, frozen=True):
    """A judgement, and of the answers that it was made from how many were asked for now and how many were there."""

    judgement: Judgement
    calls: int
    reused: int


def judge_pair(
    pair: JudgedPair,
    rubric: Rubric,
    asker: Asker,
    *,
    language: str = "en",
    swap: bool = False,
    again: bool = False,
    now: int = 0,
) -> Verdict:
    """Judge one pair. ``swap``: once more with the pictures in the other order. ``again``: as if nothing were known.

    Raises EditFailed (JUDGE_UNREADABLE where the model answered twice with nothing that can be read), Stopped,
    PictureRejected.
    """
    reused = calls = 0
    orders: list[list[Answered]] = []
    for swapped in (False, True) if swap else (False,):
        answers: list[Answered] = []
        for key in _keys(pair, asker.config, rubric, swapped=swapped):
            known = None if again else _recall(asker.memory, key)
            if known is None:
                question = question_for(pair, asker.config, rubric, language, asker.cancel, swapped=swapped)
                known, asked = _ask(question, rubric, asker)
                known = msgspec.structs.replace(known, at=now)
                asker.memory.remember(key, msgspec.json.encode(known).decode())
                calls += asked
            else:
                reused += 1
            answers.append(known)
        orders.append(answers)
    return Verdict(_judgement(orders, asker.config, rubric), calls, reused)


def is_known(pair: JudgedPair, config: JudgeConfig, rubric: Rubric, memory: Memory) -> bool:
    """Whether judging this pair costs nothing."""
    try:
        return all(_recall(memory, key) is not None for key in _keys(pair, config, rubric, swapped=False))
    except EditFailed:  # its source is gone
        return False


def pair_key(pair: JudgedPair, config: JudgeConfig, rubric: Rubric) -> str:
    """Stands for judging this pair with this rubric and model; EditFailed where its source is gone."""
    return _keys(pair, config, rubric, swapped=False)[0]


def _keys(pair: JudgedPair, config: JudgeConfig, rubric: Rubric, *, swapped: bool) -> list[str]:
    """What each pass asks. Neither weights nor threshold, address or size of the pictures make another question."""
    what = ("judgement", sent_hash(pair), pair.result_hash, pair.instruction, rubric.asks(), config.model_name)
    return [memory_key(*what, number, swapped) for number in range(config.passes)]


def memory_key(*parts: object) -> str:
    """Stands for what was asked."""
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def question_for(
    pair: JudgedPair, config: JudgeConfig, rubric: Rubric, language: str, cancel: CancelToken, *, swapped: bool = False
) -> Question:
    """The question about a pair, its pictures read and made small."""
    roles = [("source", pair.sources[0]), *(("reference", path) for path in pair.sources[1:]), ("result", pair.result)]
    roles = [*roles[-1:], *roles[:-1]] if swapped else roles
    check_files(pair, cancel)
    pictures = tuple(
        picture_at(path, config.max_edge, f"Picture {number}: {LABELS[role]}", cancel)
        for number, (role, path) in enumerate(roles, 1)
    )
    criteria = "\n".join(f"- {c.id}: {said(c.question, language)}" for c in rubric.criteria)
    ids = [criterion.id for criterion in rubric.criteria]
    form = '{"scores": {' + ", ".join(f'"{name}": 0-10' for name in ids) + '}, "reason": "…"}'
    template = _TASK.get(language, _TASK["en"])
    text = template.format(prompt=pair.instruction or "—", criteria=criteria, form=form)
    return Question(said(rubric.instructions, language), text, pictures, "judgement", schema_of(ids))


def schema_of(ids: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of a judgement."""
    number = {"type": "number", "minimum": 0, "maximum": 10}
    scores = {"type": "object", "properties": dict.fromkeys(ids, number), "required": list(ids),
              "additionalProperties": False}  # fmt: skip
    return {
        "type": "object",
        "properties": {"scores": scores, "reason": {"type": "string"}},
        "required": ["scores", "reason"],
        "additionalProperties": False,
    }


def read_answer(text: str, rubric: Rubric) -> Answered | None:
    """The scores in a model's words: the last JSON object that has one for each criterion, all of them 0..10.

    A scale that was not asked for is no answer: 85 of a hundred must not become a ten.
    """
    found = None
    for value in objects_in(text):
        scores = _scores(value.get("scores", value), rubric)
        if scores is not None:
            reason = value.get("reason")
            found = Answered(scores, " ".join(str(reason).split())[:_REASON_CHARS] if reason else "")
    return found


def _scores(value: object, rubric: Rubric) -> dict[str, float] | None:
    if not isinstance(value, Mapping):
        return None
    named = {str(name).strip().lower(): score for name, score in value.items()}
    scores: dict[str, float] = {}
    for criterion in rubric.criteria:
        score = _number(named.get(criterion.id.lower()))
        if score is None or not 0 <= score <= MAX_SCORE:
            return None
        scores[criterion.id] = score
    return scores


def _number(value: object) -> float | None:
    if isinstance(value, Mapping):  # {"score": 8, "why": …}
        value = value.get("score")
    if isinstance(value, str) and (found := _NUMBER.fullmatch(value)):
        value = float(found[1])
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _ask(question: Question, rubric: Rubric, asker: Asker) -> tuple[Answered, int]:
    """An answer that can be read, asked for twice at most; and how often it was."""
    text, paid = "", 0
    for calls in (1, 2):
        reply = asker.client.ask(question, asker.cancel)
        text, paid = reply.text, paid + (reply.cost or 0)
        answered = read_answer(text, rubric)
        if answered is not None:
            return msgspec.structs.replace(answered, cost=plain(paid)), calls
        question = msgspec.structs.replace(question, text=question.text + _AGAIN)
    raise AnswerUnusable(Code.JUDGE_UNREADABLE, text=" ".join(text.split())[:200])


def _recall(memory: Memory, key: str) -> Answered | None:
    text = memory.recall(key)
    try:
        return msgspec.json.decode(text, type=Answered) if text else None
    except msgspec.DecodeError:
        return None


def _judgement(rounds: Sequence[Sequence[Answered]], config: JudgeConfig, rubric: Rubric) -> Judgement:
    answers = [answer for part in rounds for answer in part]
    scores = _mean(answers)
    score = rubric.combine(scores)
    parts = [rubric.combine(_mean(part)) for part in rounds]
    closest = min(answers, key=lambda answer: abs(rubric.combine(answer.scores) - score))
    return Judgement(
        score=score,
        passed=score >= config.pass_score,
        scores=scores,
        reason=closest.reason,
        model=config.model_name,
        rubric=rubric.name,
        at=max(answer.at for answer in answers),
        cost=round(sum(answer.cost for answer in answers), 10),
        disagreement=round(abs(parts[0] - parts[1]), 2) if len(parts) > 1 else None,
    )


def _mean(answers: Sequence[Answered]) -> dict[str, float]:
    return {name: round(sum(answer.scores[name] for answer in answers) / len(answers), 2) for name in answers[0].scores}


def check_files(pair: JudgedPair, cancel: CancelToken) -> None:
    """The pictures of a pair are there, and the ones that the pair is made of. Raises EditFailed, Stopped."""
    known = pair.source_hash.split()
    for path, sent in zip(pair.sources, known or [""] * len(pair.sources), strict=False):
        try:
            digest = hash_found(path, cancel.check)
        except OSError as error:
            raise EditFailed(Code.SOURCE_MISSING, path=path, reason=error.strerror or "") from error
        if sent and digest != sent:
            raise EditFailed(Code.SOURCE_CHANGED, path=path)
    if not Path(pair.result).is_file():
        raise EditFailed(Code.RESULT_FILE_MISSING, path=pair.result)


def sent_hash(pair: JudgedPair) -> str:
    """What was sent, or the files as they are now where that is not known."""
    if pair.source_hash:
        return pair.source_hash
    try:
        return " ".join(hash_found(path) for path in pair.sources)
    except OSError as error:
        raise EditFailed(Code.SOURCE_MISSING, path=pair.sources[0], reason=error.strerror or "") from error
