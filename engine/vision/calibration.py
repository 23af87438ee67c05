"""A judge held against the person's own decisions: agreement, kappa, and the score that divides best. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

ENOUGH_DECIDED = 30
"""Fewer decided pairs say little: agreement then comes with a spread of a dozen points and more."""
BINS = 10


class Judged(msgspec.Struct, frozen=True):
    """A judged result. ``kept``: the person's decision, None while there is none."""

    score: float
    kept: bool | None = None
    disagreement: float | None = None


class JudgeReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far the judge may be trusted. ``mean``, 0..10; ``histogram``: results by score, [0, 1) first, 10 in the last.

    ``agreement`` (0..1) and ``kappa`` (-1..1) are those of ``pass_score`` against the person's decisions; ``kept`` and
    ``dropped`` are the histograms of both. ``suggested_pass_score`` agrees best. ``enough``: whether so many pairs are
    decided that this means something. ``swapped``: pairs judged in both orders, ``mean_disagreement`` between the two.
    """

    judged: int
    mean: float | None
    histogram: list[int]
    decided: int
    agreement: float | None
    kappa: float | None
    suggested_pass_score: float | None
    suggested_agreement: float | None
    pass_score: float
    enough: bool
    kept: list[int]
    dropped: list[int]
    swapped: int
    mean_disagreement: float | None


def judge_report(judged: Sequence[Judged], pass_score: float) -> JudgeReport:
    """The report of all judged results; what cannot be said is None."""
    scores = [one.score for one in judged]
    decided = [(one.score, one.kept) for one in judged if one.kept is not None]
    gaps = [one.disagreement for one in judged if one.disagreement is not None]
    suggested = best_pass_score(decided)
    return JudgeReport(
        judged=len(judged),
        mean=_mean(scores),
        histogram=histogram(scores),
        decided=len(decided),
        agreement=_rounded(agreement(decided, pass_score)),
        kappa=_rounded(kappa(decided, pass_score)),
        suggested_pass_score=suggested,
        suggested_agreement=None if suggested is None else _rounded(agreement(decided, suggested)),
        pass_score=pass_score,
        enough=len(decided) >= ENOUGH_DECIDED,
        kept=histogram(score for score, kept in decided if kept),
        dropped=histogram(score for score, kept in decided if not kept),
        swapped=len(gaps),
        mean_disagreement=_mean(gaps),
    )


def histogram(scores: Iterable[float]) -> list[int]:
    """How many fall into each of ten bins of width 1."""
    bins = [0] * BINS
    for score in scores:
        bins[min(max(int(score), 0), BINS - 1)] += 1
    return bins


def agreement(decided: Sequence[tuple[float, bool]], pass_score: float) -> float | None:
    """Share of decisions that ``score >= pass_score`` meets."""
    if not decided:
        return None
    return sum((score >= pass_score) is kept for score, kept in decided) / len(decided)


def kappa(decided: Sequence[tuple[float, bool]], pass_score: float) -> float | None:
    """Cohen's kappa: agreement beyond that of chance; None where chance alone agrees wholly."""
    observed = agreement(decided, pass_score)
    if observed is None:
        return None
    passed = sum(score >= pass_score for score, _ in decided) / len(decided)
    kept = sum(kept for _, kept in decided) / len(decided)
    chance = passed * kept + (1 - passed) * (1 - kept)
    return None if chance == 1 else (observed - chance) / (1 - chance)


def best_pass_score(decided: Sequence[tuple[float, bool]]) -> float | None:
    """The threshold with the best agreement, to one decimal; of several the middle. None unless both were decided."""
    if len({kept for _, kept in decided}) < 2:
        return None
    steps = [step / 10 for step in range(101)]
    hits = [sum((score >= step) is kept for score, kept in decided) for step in steps]
    best = [step for step, count in zip(steps, hits, strict=True) if count == max(hits)]
    return best[len(best) // 2]


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 2) if values else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
