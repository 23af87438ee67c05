"""The report's page and plots by themselves."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import msgspec
import pytest

from engine.dataset.findings import FindingKind, Shape
from engine.dataset.plots import bars, binned, histogram
from engine.dataset.preflight import Numbers
from engine.dataset.report import ReportData, ShownPair, TrialColumn, render

DATA = ReportData(
    title="<set> & more",
    made="2026-01-01 12:00",
    tasks=20,
    results=18,
    pairs=16,
    accepted=8,
    calls=24,
    refused=1,
    failed=2,
    seconds=120.0,
    price=0.05,
    registered=False,
    findings={FindingKind.BLANK: 3, FindingKind.SHIFTED: 5},
    failures=[("<b>refused</b>", 2)],
    numbers=[Numbers(Shape((100, 100), (90 + n, 100), float(n), 1.0), 50.0, 200.0, None, None, None) for n in range(8)],
    trials=[TrialColumn("<b>bold</b>", "edit-1", 3, 2, 7.25, 1.5), TrialColumn("plain", "edit-1", 3, 0, None, 1.5)],
    sheet=[ShownPair("<img>", (b"\xff\xd8", "image/jpeg"), None, "“caption” <i>", ["blank (3)"])],
)


def words(key: str) -> str:
    return f"[{key}]"


def figures(page: str) -> dict[str, str]:
    return dict(part.split("</dt><dd>") for part in page.replace("</dd>", "<dt>").split("<dt>") if "</dt><dd>" in part)


def test_columns_of_trials_are_told() -> None:
    """What each column was voted, made, scored and cost, where there was a trial."""
    page = render(DATA, words, "en")
    assert (
        "<tr><td>2</td><td>&lt;b&gt;bold&lt;/b&gt;</td><td>edit-1</td><td>3</td><td>7.25</td><td>1.50</td></tr>" in page
    )
    assert "report.trials" not in render(msgspec.structs.replace(DATA, trials=()), words, "en")


def test_figures_follow_from_the_counts() -> None:
    """Rate, calls a pair and cost are worked out; cost only where a call has a price."""
    shown = figures(render(DATA, words, "en"))
    assert shown["[report.rate]"] == "9.0"
    assert shown["[report.calls_per_pair]"] == "3.00"
    assert (shown["[report.cost]"], shown["[report.cost_per_pair]"]) == ("1.20", "0.150")
    assert shown["[report.time]"] == "2:00"
    free = figures(
        render(ReportData(**{f: getattr(DATA, f) for f in DATA.__struct_fields__} | {"price": 0.0}), words, "en")
    )
    assert "[report.cost]" not in free


def test_page_shows_text_as_text() -> None:
    """Names, captions and reasons come from outside and never become markup; nothing is loaded or run."""
    page = render(DATA, words, "zh-CN")
    for raw in ("<set>", "<b>refused", "<i>", "“caption” <i>", "<script", "http:", "https:"):
        assert raw not in page
    assert "&lt;set&gt; &amp; more" in page
    assert "[report.not_registered]" in page
    assert page.count("<img") == 1
    assert page.startswith('<!doctype html><html lang="zh-CN">')


def test_plots_are_well_formed() -> None:
    """Each plot is XML by itself, names what it shows and draws every value."""
    drawn = ET.fromstring(bars("a & b", [("x < y", 5), ("z", 0)]))
    assert len(drawn.findall(".//rect")) == 2
    assert drawn.find("svg").get("aria-label") == "a & b"  # type: ignore[union-attr]
    counted = ET.fromstring(histogram("h", [1.0, 2.0, 2.0, 9.0], " %"))
    assert sum(int(t.text.split(": ")[1]) for t in counted.findall(".//title") if t.text) == 4
    assert histogram("h", []) == bars("b", []) == ""


@pytest.mark.parametrize("values", [[3.0], [5.0, 5.0], [0.0, 1e-12], [float("nan"), 2.0], [-4.0, 0.0, 4.0]])
def test_bins_hold_every_value_once(values: list[float]) -> None:
    """Equal, single, odd and negative values are all counted; what is no number is not."""
    assert sum(one.count for one in binned(values, 8)) == sum(not math.isnan(value) for value in values)
