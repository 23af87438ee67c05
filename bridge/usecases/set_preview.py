"""What a set will be with the decisions as they are: the sum of its pairs, its files, its first pairs."""

from __future__ import annotations

import msgspec

from bridge.usecases.common import Context
from bridge.usecases.datasets import GOOD_WHEN_CUT, ExportParams
from bridge.usecases.set_options import pairs_of, plan_of
from engine.dataset.export import check_folders
from engine.dataset.findings import NOTES
from engine.dataset.preview import SetPreview, preview
from engine.errors import Code, InvalidInput


class SetSum(msgspec.Struct, frozen=True):
    """Of ``ticked`` pairs, ``excluded`` have findings of the last preflight that are not allowed, and ``cut`` are cut
    to what both pictures show; the rest is ``pairs``. ``preview`` is null where none is left."""

    ticked: int
    excluded: int
    cut: int
    pairs: int
    preview: SetPreview | None


def preview_set(context: Context, params: ExportParams) -> SetSum:
    """What an export would write, by what the last preflight found; no picture is read and nothing is written."""
    app, plan = context.app, plan_of(params)
    pairs = pairs_of(app, params)
    check_folders(plan, pairs)
    allowed = params.allow | NOTES | (GOOD_WHEN_CUT if params.crop_align else frozenset())
    findings = app.preflight[1].findings if app.preflight else []
    bad = {finding.pair_id for finding in findings if finding.kind not in allowed}
    moved = {finding.pair_id for finding in findings if finding.kind in GOOD_WHEN_CUT}
    kept = [pair for pair in pairs if pair.id not in bad]
    try:
        shown = preview(kept, plan)
    except InvalidInput as error:
        if error.code is not Code.SET_EMPTY:
            raise
        shown = None
    cut = sum(pair.id in moved for pair in kept) if params.crop_align else 0
    return SetSum(len(pairs), len(pairs) - len(kept), cut, len(kept), shown)
