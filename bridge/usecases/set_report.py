"""The report of a set: its numbers gathered from tasks and preflight, put into words, written as one new file."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bridge.app import App
from bridge.jobs import Job
from bridge.usecases.judge import calibrate
from bridge.views import Viewer
from engine.dataset.captions import CaptionRule, caption_of
from engine.dataset.findings import UNITS, Finding
from engine.dataset.pairs import Pair
from engine.dataset.preflight import Preflight
from engine.dataset.report import Calibration, ModelCost, ReportData, ShownPair, TrialColumn, render
from engine.dataset.save import check_output
from engine.dataset.variants import VariantRule, variants
from engine.errors import Code, InvalidInput, PictureRejected
from engine.files import write_new
from engine.images.thumbnails import make_thumbnail
from engine.models import Task, TaskMatch, TaskStatus
from engine.money import plain
from engine.paths import entered_path, printable
from engine.vision.trial import tally

_SHEET = 60  # pairs shown; those with findings first, the rest spread over the set
_EDGE = 192
_FAILURES = 12
_REFUSED = frozenset({Code.CONTENT_REFUSED})


class ReportSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What report to write, and where; ``price`` of one call, 0 for unknown."""

    path: Path
    name: str
    captions: CaptionRule
    language: str
    price: float = 0.0
    variants: VariantRule = VariantRule()


def check_report_path(text: str) -> Path:
    """The file to write; its folder is made where it is missing. Raises InvalidInput: FIELD_REQUIRED, REPORT_NAME,
    OUTPUT_NOT_FOLDER, OUTPUT_NOT_WRITABLE; StorageFailed."""
    cleaned = entered_path(text, "path")
    if not cleaned:
        raise InvalidInput(Code.FIELD_REQUIRED, field="path", name="path")
    path = Path(cleaned).absolute()
    try:
        if path.suffix.lower() not in (".html", ".htm") or os.path.lexists(path):
            raise InvalidInput(Code.REPORT_NAME, field="path", path=str(path))
    except (OSError, ValueError) as error:
        raise InvalidInput(Code.REPORT_NAME, field="path", path=printable(text[:200])) from error
    check_output(str(path.parent))
    return path


def write_report(app: App, spec: ReportSpec, pairs: Sequence[Pair], report: Preflight, job: Job) -> None:
    """Gather, render, and write a file that was not there before. Raises StorageFailed, Stopped."""
    data = _data(app, spec, pairs, report, job)
    page = render(data, lambda key: app.messages.text(spec.language, key), spec.language)
    try:
        write_new(spec.path, page.encode("utf-8", "backslashreplace"))
    except FileExistsError as error:
        raise InvalidInput(Code.REPORT_NAME, field="path", path=str(spec.path)) from error


def _data(app: App, spec: ReportSpec, pairs: Sequence[Pair], report: Preflight, job: Job) -> ReportData:
    view = Viewer(app.messages, spec.language)
    tasks = list(app.store.tasks(TaskMatch()))
    failed = [task for task in tasks if task.status is TaskStatus.FAILED]
    spent = app.costs.sums(project=app.costs.project)
    reasons = Counter(view.problem(task.error).message for task in failed if task.error is not None)
    times = sorted(result.created_at for task in tasks for result in task.results if result.created_at)
    return ReportData(
        title=spec.name,
        made=time.strftime("%Y-%m-%d %H:%M", time.localtime()),
        tasks=len(tasks),
        results=sum(task.result_count for task in tasks),
        pairs=report.pairs,
        accepted=report.pairs - len(report.bad),
        calls=sum(max(task.attempts, bool(task.results)) for task in tasks),  # what an earlier list paid for as well
        refused=sum(task.error is not None and task.error.code in _REFUSED for task in failed),
        failed=len(failed),
        wasted=spent.wasted,
        spent=plain(spent.amount) if spent.amount and not spec.price else None,
        seconds=float(times[-1] - times[0]) if times else 0.0,
        price=spec.price,
        registered=report.registered,
        findings=report.counts,
        failures=reasons.most_common(_FAILURES),
        numbers=list(report.numbers.values()),
        sheet=_sheet(app, spec, pairs, report, job),
        directions=_directions(spec, pairs),
        scores=[pair.score for pair in pairs if pair.score is not None],
        calibration=_calibration(app, tasks),
        costs=_costs(pairs, tasks),
        trials=trial_columns(app),
    )


def _calibration(app: App, tasks: Sequence[Task]) -> Calibration:
    judged = calibrate(app, tasks)
    return Calibration(judged.kept, judged.dropped, judged.pass_score, judged.agreement, judged.kappa,
                       judged.suggested_pass_score, judged.enough)  # fmt: skip


def _directions(spec: ReportSpec, pairs: Sequence[Pair]) -> list[tuple[str, int]]:
    """How many pairs the set has each way; nothing to say where all go one way."""
    counts = Counter(pair.direction.value for pair in variants(pairs, spec.variants))
    return list(counts.items()) if len(counts) > 1 else []


def _costs(pairs: Sequence[Pair], tasks: Sequence[Task]) -> list[ModelCost]:
    """What edits and judgements cost by model, where it is known."""
    models = {pair.id: pair.provenance.model for pair in pairs}
    spent: dict[str, list[float]] = defaultdict(list)
    for result in (result for task in tasks for result in task.results):
        if result.cost is not None and result.id in models:
            spent[models[result.id]].append(result.cost)
        if result.judgement is not None and result.judgement.cost:
            spent[result.judgement.model].append(result.judgement.cost)
    return [ModelCost(model, len(costs), sum(costs)) for model, costs in sorted(spent.items())]


def trial_columns(app: App) -> list[TrialColumn]:
    """The columns of all trials, the latest trial first."""
    columns = []
    for trial in app.vision.trials.all():
        cells = tuple(cell for row in trial.rows for cell in row.cells)
        made = {task.id: task for task in app.store.tasks(TaskMatch(ids=cells))}
        columns += [
            TrialColumn(one.name, one.model_name, one.done, one.wins, one.mean_score, one.cost)
            for one in tally(trial, made)
        ]
    return columns


def _sheet(app: App, spec: ReportSpec, pairs: Sequence[Pair], report: Preflight, job: Job) -> list[ShownPair]:
    found: dict[str, list[Finding]] = defaultdict(list)
    for finding in report.findings:
        found[finding.pair_id].append(finding)
    chosen = _chosen(pairs, found)
    job.expect(len(chosen))
    files = {pair.target.path: pair.target.hash for _, pair in chosen}
    files |= {pair.control.path: pair.control.sent_hash for _, pair in chosen}
    small = app.small_pictures(files, _EDGE, job.cancel)
    shown = []
    for number, pair in chosen:
        job.check()
        shown.append(
            ShownPair(
                name=pair.name,
                control=_small(pair.control.path, small),
                target=_small(pair.target.path, small),
                caption=_caption(spec.captions, pair, number),
                findings=[_words(app, spec.language, finding) for finding in found[pair.id]],
            )
        )
        job.progress(len(shown))
    return shown


def _chosen(pairs: Sequence[Pair], found: dict[str, list[Finding]]) -> list[tuple[int, Pair]]:
    """Pairs for the sheet with their 1-based places: half of it for findings where there are many."""
    numbered = list(enumerate(pairs, 1))
    bad = [one for one in numbered if one[1].id in found]
    good = [one for one in numbered if one[1].id not in found]
    bad = bad[: max(_SHEET // 2, _SHEET - len(good))]
    room = _SHEET - len(bad)
    step = max(1, -(-len(good) // room)) if room else 1
    return [*bad, *good[::step]]


def _caption(rule: CaptionRule, pair: Pair, number: int) -> str:
    try:
        return caption_of(rule, pair, number)
    except InvalidInput:
        return ""


def _words(app: App, language: str, finding: Finding) -> str:
    name = app.messages.text(language, f"finding.{finding.kind}")
    if finding.kind not in UNITS:
        return name
    unit = app.messages.text(language, f"unit.{UNITS[finding.kind]}", number=f"{finding.number:.3g}")
    return f"{name} ({unit})"


def _small(path: str, made: Mapping[str, bytes]) -> tuple[bytes, str] | None:
    try:
        data = made.get(path) or make_thumbnail(Path(path), _EDGE)
    except (InvalidInput, PictureRejected):
        return None
    return data, "image/webp" if data[:4] == b"RIFF" else "image/jpeg"
