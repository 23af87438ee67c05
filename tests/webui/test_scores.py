"""Judge: scores in list and review, what is done with them in one step, captions, and how few keys a pair takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from engine.models import Judgement, TaskMatch
from engine.vision.settings import JudgeConfig
from tests.fakes.upstream import FakeUpstream
from tests.fakes.vision import FakeVision
from tests.webui.driver import Note, Seed, Site, choose_menu, go, open_page, running, seed, shown, until
from tests.webui.test_appearance import violations

PAIRS = 40
MOST_KEYS = 1.05  # a pair


@pytest.fixture
def judge() -> Iterator[FakeUpstream]:
    """A vision model that really looks."""
    with FakeUpstream() as upstream:
        upstream.answer_with(FakeVision().answer)
        yield upstream


@pytest.fixture
def site(tmp_path: Path, judge: FakeUpstream) -> Iterator[Site]:
    """Forty pairs, every fifth with two results, and a judge."""
    seed(tmp_path / "data", [Seed(f"p{n:02d}.png", results=2 if n % 5 == 0 else 1) for n in range(PAIRS)])
    with running(tmp_path / "data") as site:
        config = JudgeConfig(api_url=judge.url(), api_key="k", model_name="eyes", unlock_local_api_url=True,
                             price_per_call=0.01, retry_interval=0.1)  # fmt: skip
        site.app.vision.settings.set_config(config)
        yield site


def score(site: Site, scores: dict[int, float]) -> None:
    """Scores of tasks by number, as the judge would have given them."""
    for number, value in scores.items():
        made = Judgement(value, value >= 7, {"instruction": value}, f"reason {number}", "eyes", "edit_quality", 1)
        site.app.store.set_judgement(f"r{number}-0", made)


def ticks(site: Site) -> dict[str, tuple[bool, bool]]:
    """Result id → (ticked, dropped)."""
    return {one.id: (one.selected, one.deleted) for task in site.app.store.tasks(TaskMatch()) for one in task.results}


def decided(site: Site) -> int:
    """How many pairs are decided."""
    return sum(task.decided for task in site.app.store.tasks(TaskMatch()))


def names(page: Page) -> list[str]:
    """Names on the cards in sight."""
    return [name.partition(".")[0] for name in page.locator(".card .name").all_inner_texts()]


def test_forty_pairs_by_keys(site: Site, page: Page, record_property: Note) -> None:
    """Known decisions of all kinds take hardly more than one key a pair, each decision as meant."""
    open_page(page, site)
    go(page, "judge")
    page.locator("#card-0").focus()
    keys: list[str] = []

    def press(key: str) -> None:
        keys.append(key)
        page.keyboard.press(key)

    press("Enter")
    expected = ticks(site)
    for n in range(PAIRS):
        until(lambda n=n: shown(page.locator(".review-place")) == f"{n + 1} / {PAIRS}")  # type: ignore[misc] # this round's
        if n % 5 == 0 and n % 2:
            press("Shift+Digit2")
            expected[f"r{n}-0"] = (False, False)
        elif n % 4 == 3:
            press("x")
            expected |= {one: (True, True) for one in expected if one.startswith(f"r{n}-")}
        else:
            press("Enter")
    until(lambda: decided(site) == PAIRS and ticks(site) == expected)
    record_property("keys_a_pair", len(keys) / PAIRS)
    print(f"{len(keys) / PAIRS:.3f} keys a pair")
    assert len(keys) / PAIRS <= MOST_KEYS


def test_scores_are_seen_sorted_filtered_and_acted_on(site: Site, page: Page) -> None:
    """A score stands on the card and in the review with its reason; low ones are unticked in one step, which comes back
    after a reload; a caption is written and kept; the calibration says that few are decided."""
    score(site, {number: number / 4 for number in range(PAIRS)})
    open_page(page, site)
    go(page, "judge")
    page.wait_for_selector("#card-0 .score-tag.low >> text=0.0")
    page.wait_for_selector(".rail .histogram .bin")
    page.locator(".sort select").select_option("score")
    until(lambda: names(page)[:3] == ["p00", "p01", "p02"])
    page.fill("#score_min", "9")
    page.wait_for_selector(f".list-count >> text=4 of {PAIRS}")
    until(lambda: names(page) == ["p36", "p37", "p38", "p39"])
    page.get_by_role("button", name="Clear all").click()
    page.wait_for_selector(f".list-count >> text={PAIRS} pictures")
    before = ticks(site)
    judge_menu = page.locator(".toolbar >> text=Judge")
    choose_menu(page, judge_menu, "Untick low scores…")
    page.fill("#dialog-score", "2.5")
    page.wait_for_selector("dialog >> text=10 results will be unticked")
    page.locator("dialog .primary").click()
    until(lambda: sum(ticked for ticked, _ in ticks(site).values()) == len(before) - 10)
    page.wait_for_selector(".toast >> text=10 results unticked")
    assert decided(site) == 0, "the person said nothing"
    page.reload()
    page.wait_for_selector("#card-0 .score-tag")
    page.keyboard.press("z")
    until(lambda: ticks(site) == before)
    page.locator("#card-0").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".review-panel >> text=reason 0")
    until(lambda: "Instruction" in shown(page.locator(".criteria-bars")))
    assert violations(page) == []
    page.keyboard.press("e")
    page.locator("#caption:focus").wait_for()
    page.keyboard.type("a red house")
    page.keyboard.press("Control+Enter")
    until(lambda: site.app.store.result("t0", "r0-0").caption == "a red house")
    page.keyboard.press("x")
    until(lambda: decided(site) == 1)
    site.app.store.mark_result("t1", "r1-0", selected=False)  # another tab
    page.reload()
    page.wait_for_selector("#card-0 .score-tag, #card-0 .dropped-mark")
    page.keyboard.press("z")
    until(lambda: ticks(site)["r0-0"] == (True, False) and not site.app.store.task("t0").decided)
    assert ticks(site)["r1-0"] == (False, False), "what another tab did stays"
    choose_menu(page, judge_menu, "Against your decisions…")
    page.wait_for_selector("dialog >> text=Only 1 decided")
    assert violations(page) == []


def test_judging_says_what_it_takes(site: Site, page: Page, judge: FakeUpstream) -> None:
    """Calls and known answers are shown first; what is selected is scored, never twice; the bar shows the way."""
    open_page(page, site)
    go(page, "judge")
    for at in (0, 1, 2):
        page.locator(f"#card-{at} input[type=checkbox]").click()
    choose_menu(page, page.get_by_role("button", name="More bulk actions"), "Score pairs…")
    page.wait_for_selector("dialog >> text=4 calls to the judge")
    page.locator("dialog .facet span:text-is('All')").click()
    page.locator("dialog >> text=4 calls to the judge").wait_for(state="detached")
    page.locator("dialog .facet span:text-is('Selected')").click()
    page.wait_for_selector("dialog >> text=4 calls to the judge")
    page.locator("dialog .primary").click()
    page.wait_for_selector(".toast >> text=scored")
    page.wait_for_selector("#card-2 .score-tag")
    assert len(judge.api_requests) == 4
    choose_menu(page, page.get_by_role("button", name="More bulk actions"), "Score pairs…")
    page.wait_for_selector("dialog >> text=4 scores are there already")
