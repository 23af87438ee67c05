"""Until it is good: which tasks are asked again, with which prompt, and which of a task's results is the best. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from engine.models import Result, Task

MOST_ROUNDS = 10
_REASONS = {"zh-CN": "上一次的结果有这个问题，这次请避免：", "en": "The last result had this fault, avoid it now: "}


def best_result(results: Iterable[Result]) -> Result | None:
    """The judged result with the highest score, the first of equals; dropped ones do not count."""
    judged = [result for result in results if result.judgement is not None and not result.deleted]
    return max(judged, key=lambda result: result.judgement.score if result.judgement else 0.0, default=None)


def is_below(task: Task, score: float) -> bool:
    """Whether every judged result of the task scored less; a task without one is not meant."""
    best = best_result(task.results)
    return best is not None and best.judgement is not None and best.judgement.score < score


def prompt_with_reason(prompt: str, task: Task, language: str) -> str:
    """The prompt with what the judge found wrong with the best result; the prompt itself where it said nothing."""
    best = best_result(task.results)
    reason = best.judgement.reason if best is not None and best.judgement is not None else ""
    return f"{without_reason(prompt)}\n\n{_REASONS.get(language, _REASONS['en'])}{reason}" if reason else prompt


def without_reason(prompt: str) -> str:
    """The prompt as it was before the rounds: what a result is judged by."""
    for words in _REASONS.values():
        prompt = prompt.partition(f"\n\n{words}")[0]
    return prompt


def ticks(task: Task) -> dict[str, bool]:
    """Which results of a task change their tick so that the best judged one is the only one ticked."""
    best = best_result(task.results)
    if best is None:
        return {}
    wanted = {result.id: result.id == best.id for result in task.results if not result.deleted}
    return {result.id: wanted[result.id] for result in task.results
            if result.id in wanted and result.selected is not wanted[result.id]}  # fmt: skip
