"""Training sets: preflight, export and report as jobs, their findings, and what there is to choose from."""

from __future__ import annotations

import base64
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from bridge.app import App
from bridge.jobs import Job, JobKind, JobResult, Work
from bridge.usecases.common import ANY_FINDING, Context, Nothing
from bridge.usecases.set_options import SetParams, pairs_of, plan_of, thresholds_of
from bridge.usecases.set_report import ReportSpec, check_report_path, write_report
from bridge.views import JobView, ProblemView
from engine.dataset import export
from engine.dataset.captions import CAPTION_VARIABLES, CaptionMode
from engine.dataset.export import check_folders, check_place, wanted_for
from engine.dataset.features import Overlay
from engine.dataset.findings import NOTES, THRESHOLD_LIMITS, UNITS, Finding, FindingKind, Thresholds
from engine.dataset.layouts import LAYOUTS
from engine.dataset.measure import EXTRA_PACKAGES, Measurer, can_register, install_line
from engine.dataset.pairs import Pair
from engine.dataset.preflight import Preflight, Wanted, check_clean, inspect
from engine.dataset.transform import PictureFormat, SizeRule
from engine.errors import Code, InvalidInput, Problem
from engine.models import TaskMatch

_MOST_FINDINGS = 500
_TELL_SECONDS = 1.0
GOOD_WHEN_CUT = frozenset({FindingKind.SHIFTED, FindingKind.ZOOMED})


class ExportParams(SetParams, frozen=True, kw_only=True):
    """``leave_out``: pairs with findings are left out instead of refusing the set; ``allow``: kinds that are no reason
    for either."""

    output_dir: Annotated[str, Meta(extra={"kind": "folder"})] = ""
    leave_out: bool = False
    allow: frozenset[FindingKind] = frozenset()


class ReportParams(SetParams, frozen=True, kw_only=True):
    """``path``: the HTML file to write; it may not exist yet. ``price_per_call``: that of the configuration if null."""

    path: str = ""
    price_per_call: Annotated[float, Meta(ge=0, le=1_000_000)] | None = None


class FindingsParams(msgspec.Struct, frozen=True):
    """A page of the findings of the last preflight; ``kind`` picks one."""

    kind: FindingKind | None = None
    offset: Annotated[int, Meta(ge=0, le=2**31)] = 0
    limit: Annotated[int, Meta(ge=0, le=_MOST_FINDINGS)] = 200


class JobAnswer(msgspec.Struct, frozen=True):
    """The job, begun."""

    job: JobView
    ok: Literal[True] = True


class JobNow(msgspec.Struct, frozen=True):
    """The job that runs, or the last one; null before the first."""

    job: JobView | None


class JobStopped(msgspec.Struct, frozen=True):
    """Whether there was a job to stop."""

    stopped: bool
    ok: Literal[True] = True


class TrainerView(msgspec.Struct, frozen=True):
    """A trainer and what it takes."""

    id: str
    title: str
    max_controls: int
    even_controls: bool
    same_extension: bool
    archives: bool
    formats: list[str]


class ThresholdView(msgspec.Struct, frozen=True):
    """A threshold that can be set."""

    name: str
    default: float
    minimum: float
    maximum: float


class KindView(msgspec.Struct, frozen=True):
    """A kind of finding; ``note``: it keeps no pair out; ``unit`` of its number, empty for none."""

    id: str
    unit: str
    note: bool


class Trainers(msgspec.Struct, frozen=True):
    """All that a set may be made of. ``extra``: what is missing for shift, zoom and likeness, null when nothing is."""

    trainers: list[TrainerView]
    caption_modes: list[str]
    caption_variables: list[str]
    picture_formats: list[str]
    size_rules: list[str]
    thresholds: list[ThresholdView]
    kinds: list[KindView]
    extra: ProblemView | None


class FindingView(msgspec.Struct, frozen=True):
    """A finding with its pair's pictures; ``map``: in base64, 32 × 24 bytes: how much changed outside the edit;
    ``other``… are those of the pair that it is about as well."""

    kind: str
    number: float
    threshold: float
    pixels: float | None
    box: tuple[float, float, float, float] | None
    map: str | None
    problem: ProblemView | None
    task_id: str
    result_id: str
    source_name: str
    source_thumbnail_url: str
    result_thumbnail_url: str
    other_name: str | None
    other_source_url: str | None
    other_result_url: str | None


class FindingsPage(msgspec.Struct, frozen=True):
    """Findings of the last preflight. ``total`` counts those that match, ``counts`` all by kind, ``bad`` the pairs that
    have more against them than notes; ``at`` in Unix seconds, null before the first preflight. ``tasks`` counts what
    the list shows for each kind, and for ``any``."""

    at: int | None
    pairs: int
    bad: int
    registered: bool
    counts: dict[str, int]
    total: int
    findings: list[FindingView]
    tasks: dict[str, int] = {}


def list_trainers(context: Context, _: Nothing) -> Trainers:
    """The trainers that sets are made for, and all choices with them."""
    missing = None if can_register() else Problem(Code.EXTRA_MISSING, {"command": install_line(EXTRA_PACKAGES)})
    defaults = Thresholds()
    return Trainers(
        trainers=[
            TrainerView(
                layout.trainer, layout.title, layout.max_controls, layout.even_controls, layout.reader.same_extension,
                layout.archives, sorted(layout.reader.formats),
            )
            for layout in LAYOUTS.values()
        ],
        caption_modes=list(CaptionMode),
        caption_variables=list(CAPTION_VARIABLES),
        picture_formats=list(PictureFormat),
        size_rules=list(SizeRule),
        thresholds=[
            ThresholdView(name, getattr(defaults, name), low, high) for name, (low, high) in THRESHOLD_LIMITS.items()
        ],
        kinds=[KindView(kind, UNITS.get(kind, ""), kind in NOTES) for kind in FindingKind],
        extra=context.view.maybe(missing),
    )  # fmt: skip


def preflight(context: Context, params: SetParams) -> JobAnswer:
    """Look for pairs that would spoil a set; a job, whose findings are then listed."""
    plan, thresholds = plan_of(params), thresholds_of(params.thresholds)
    pairs = pairs_of(context.app, params)

    def work(job: Job) -> JobResult:
        report = _look(context.app, pairs, wanted_for(plan, thresholds), job)
        context.app.found(report)
        return JobResult(pairs=report.pairs, bad=len(report.bad))

    return _started(context, JobKind.PREFLIGHT, work)


def export_set(context: Context, params: ExportParams) -> JobAnswer:
    """Write a set for a trainer after a preflight; a job that writes all of it or nothing."""
    app = context.app
    plan, thresholds, allowed = plan_of(params), thresholds_of(params.thresholds), params.allow
    pairs = pairs_of(app, params)
    if not pairs:
        raise InvalidInput(Code.SET_EMPTY)
    check_folders(plan, pairs)
    folder = check_place(params.output_dir, pairs, app.preferences.source_folders)
    if plan.pictures.crop_align:
        allowed |= GOOD_WHEN_CUT

    def work(job: Job) -> JobResult:
        kept, report = _select_pairs(app, pairs, wanted_for(plan, thresholds), allowed, params.leave_out, job)
        overlays = _overlays(app, kept, report, job) if plan.pictures.crop_align else {}
        done = export.export_set(
            kept, plan, folder, overlays=overlays, maker=app.pair_maker, cancel=job.cancel, expect=job.expect,
            progress=job.progress,
        )  # fmt: skip
        return JobResult(
            path=done.path,
            pairs=done.pairs,
            left_out=len(pairs) - len(kept),
            validation=done.validation,
            files=done.files,
            bytes=done.bytes,
        )

    return _started(context, JobKind.EXPORT, work)


def set_report(context: Context, params: ReportParams) -> JobAnswer:
    """Write the report of a set, one HTML file that needs nothing else; a job."""
    app = context.app
    plan, thresholds = plan_of(params), thresholds_of(params.thresholds)
    price = app.preferences.config.price_per_call if params.price_per_call is None else params.price_per_call
    path = check_report_path(params.path)
    pairs = pairs_of(app, params)

    def work(job: Job) -> JobResult:
        report = _look(app, pairs, wanted_for(plan, thresholds), job)
        app.found(report)
        spec = ReportSpec(
            path=path,
            name=plan.name,
            captions=plan.captions,
            language=context.language,
            price=price,
            variants=plan.variants,
        )
        write_report(app, spec, pairs, report, job)
        return JobResult(path=str(path), pairs=report.pairs, bad=len(report.bad))

    return _started(context, JobKind.REPORT, work)


def get_job(context: Context, _: Nothing) -> JobNow:
    """The job that runs, or the last one."""
    state = context.app.jobs.state
    return JobNow(context.view.job(state))


def stop_job(context: Context, _: Nothing) -> JobStopped:
    """Stop the job that runs; a set that is being written goes away again."""
    return JobStopped(context.app.jobs.stop())


def list_findings(context: Context, params: FindingsParams) -> FindingsPage:
    """Findings of the last preflight, with the pictures of their pairs."""
    if context.app.preflight is None:
        return FindingsPage(None, 0, 0, can_register(), {}, 0, [])
    at, report = context.app.preflight
    matching = [finding for finding in report.findings if params.kind in (None, finding.kind)]
    page = matching[params.offset : params.offset + params.limit]
    return FindingsPage(
        at=at,
        pairs=report.pairs,
        bad=len(report.bad),
        registered=report.registered,
        counts={str(one): count for one, count in report.counts.items()},
        total=len(matching),
        findings=_finding_views(context, page, report),
        tasks=_count_by_task(context.app),
    )


def _count_by_task(app: App) -> dict[str, int]:
    """Tasks by kind, and those with any but notes; results that were dropped since do not count."""
    found = app.found_kinds
    tasks: dict[str, set[str]] = defaultdict(set)
    for result_id, task_id in app.store.tasks_of_results(found).items():
        for kind in found.get(result_id, ()):
            tasks[kind].add(task_id)
            if kind not in NOTES:
                tasks[ANY_FINDING].add(task_id)
    return {name: len(ids) for name, ids in tasks.items()}


def _started(context: Context, kind: JobKind, work: Work) -> JobAnswer:
    state = context.app.jobs.start(kind, work)
    shown = context.view.job(state)
    assert shown is not None
    return JobAnswer(shown)


def _look(app: App, pairs: Sequence[Pair], wanted: Wanted, job: Job) -> Preflight:
    """Preflight, whose findings can be listed while it goes."""
    job.expect(len(pairs))
    tasks = {pair.id: pair.task_id for pair in pairs}
    so_far: list[Finding] = []
    told = time.monotonic()

    def found(findings: Sequence[Finding]) -> None:
        nonlocal told
        so_far.extend(findings)
        if time.monotonic() - told >= _TELL_SECONDS:
            told = time.monotonic()
            app.found(Preflight(len(pairs), list(so_far), {}, can_register(), tasks))
            job.tell_found(len(so_far))

    measurer = app.measurer(wanted.pictures.alpha)
    return inspect(
        pairs,
        wanted,
        measurer,
        registered=can_register(),
        cancel=job.cancel,
        progress=job.progress,
        found=found,
    )


def _select_pairs(
    app: App, pairs: list[Pair], wanted: Wanted, allowed: frozenset[FindingKind], leave_out: bool, job: Job
) -> tuple[list[Pair], Preflight]:
    """The pairs that pass. Leaving some out may move others across the split: the rest is looked at again."""
    first: Preflight | None = None
    while True:
        report = _look(app, pairs, wanted, job)
        first = report if first is None else _joined(first, report)
        app.found(first)
        passed = msgspec.structs.replace(
            report, findings=[finding for finding in report.findings if finding.kind not in allowed]
        )
        bad = passed.bad
        if not bad:
            return pairs, report
        if not leave_out:
            check_clean(passed)
        pairs = [pair for pair in pairs if pair.id not in bad]
        if not pairs:
            raise InvalidInput(Code.SET_EMPTY)


def _joined(first: Preflight, later: Preflight) -> Preflight:
    """What was found among all pairs, and what only showed when some had been left out."""
    known = {(finding.pair_id, finding.kind) for finding in first.findings}
    new = [finding for finding in later.findings if (finding.pair_id, finding.kind) not in known]
    return msgspec.structs.replace(first, findings=[*first.findings, *new])


def _overlays(app: App, pairs: Sequence[Pair], report: Preflight, job: Job) -> dict[str, Overlay]:
    """Where to cut the pairs that are shifted or zoomed."""
    moved = {finding.pair_id for finding in report.findings if finding.kind in GOOD_WHEN_CUT}
    measurer = Measurer(app.measurement_cache)
    found = {}
    for pair in pairs:
        if pair.id in moved:
            overlay = measurer.measure(pair.control.path, pair.target.path, cancel=job.cancel).comparison.overlay
            if overlay is not None:
                found[pair.id] = overlay
    return found


def _finding_views(context: Context, page: Sequence[Finding], report: Preflight) -> list[FindingView]:
    """Findings with names and addresses; pairs whose task is gone since are left out."""
    view = context.view
    places = report.tasks
    ids = {finding.task_id for finding in page} | {places[f.other] for f in page if f.other in places}
    names = {task.id: task.source_name for task in context.app.store.tasks(TaskMatch(ids=tuple(ids)))}

    def urls(pair_id: str) -> tuple[str, str]:
        base = f"/api/tasks/{places[pair_id]}"
        return f"{base}/source/thumbnail", f"{base}/results/{pair_id}/thumbnail"

    shown = []
    for finding in page:
        if finding.task_id not in names:
            continue
        source, result = urls(finding.pair_id)
        other = finding.other if finding.other in places else None
        other_urls = urls(other) if other else (None, None)
        shown.append(
            FindingView(
                kind=finding.kind,
                number=finding.number,
                threshold=finding.threshold,
                pixels=finding.pixels,
                box=finding.box,
                map=base64.b64encode(finding.map).decode() if finding.map else None,
                problem=view.maybe(finding.problem),
                task_id=finding.task_id,
                result_id=finding.pair_id,
                source_name=names[finding.task_id],
                source_thumbnail_url=source,
                result_thumbnail_url=result,
                other_name=names.get(places[other]) if other else None,
                other_source_url=other_urls[0],
                other_result_url=other_urls[1],
            )
        )
    return shown
