"""Reviewing what takes days: a filtered list that shrinks under it, decisions that last, pairs that come meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from engine.models import EditOutcome, ImageInfo, SourceType, StoredImage, TaskFilter, TaskMatch, TaskStatus
from tests.webui.driver import Seed, Site, open_page, running, seed, show_only, shown, until

COUNT = 131  # more than a page of the list


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Finished pairs, and one that waits."""
    waiting = Seed("waits.png", results=0, status="stopped")
    seed(tmp_path / "data", [*(Seed(f"p{n:03d}.png") for n in range(COUNT)), waiting])
    with running(tmp_path / "data") as site:
        yield site


def name(page: Page) -> str:
    """Of the pair that is shown."""
    return shown(page.locator(".review h2"))


def wait_for(page: Page, number: int) -> None:
    """Until that pair is shown."""
    until(lambda: name(page) == f"p{number:03d}.png")


def undecided(site: Site) -> int:
    """Tasks that wait for a decision."""
    return len(site.app.store.ids(TaskMatch(only=frozenset({TaskFilter.UNDECIDED}))))


@pytest.mark.slow
def test_no_pair_is_passed_over_in_a_list_that_shrinks(site: Site, page: Page) -> None:
    """Each decision takes a pair out of the filtered list, and still every one of them comes by, in order."""
    open_page(page, site)
    show_only(page, "Undecided")
    until(lambda: str(COUNT) in shown(page.locator(".list-count")))
    page.locator("#card-0 .tile.source .picture").click()
    for n in range(COUNT):
        wait_for(page, n)
        page.keyboard.press("Enter" if n % 3 else "t")
        if n % 3 == 0:
            page.keyboard.press("ArrowRight")
    page.wait_for_selector(".toast >> text=Every pair with results is decided")
    until(lambda: undecided(site) == 0)
    page.keyboard.press("Escape")
    until(lambda: shown(page.locator(".list-count")).startswith("0 "))


def test_decisions_last(site: Site, page: Page) -> None:
    """After a reload the next undecided pair is the one after those that were decided; undo takes a decision back."""
    open_page(page, site)
    page.locator("#card-0 .tile.source .picture").click()
    for n in range(4):
        wait_for(page, n)
        page.keyboard.press("Enter")
    until(lambda: undecided(site) == COUNT - 4)
    page.keyboard.press("z")
    until(lambda: name(page) == "p003.png" and undecided(site) == COUNT - 3)
    page.reload()
    page.locator("#card-0 .tile.source .picture").click()
    wait_for(page, 0)
    until(lambda: page.locator(".review .judged").count() == 1)
    page.keyboard.press("n")
    wait_for(page, 3)
    page.reload()
    page.click(".toolbar >> text=Review")
    wait_for(page, 3)


def test_many_are_decided_at_once(site: Site, page: Page) -> None:
    """All that is selected is noted as decided, and undo takes that back."""
    open_page(page, site)
    page.locator(".check-all input").check()
    page.locator(".selection-bar [aria-haspopup=menu]").click()
    page.get_by_role("menuitem", name="Mark as decided").click()
    until(lambda: undecided(site) == 0)
    page.wait_for_selector("#card-0 .judged")
    page.keyboard.press("Control+z")
    until(lambda: undecided(site) == COUNT)


def test_what_comes_meanwhile_is_reviewed_too(site: Site, page: Page) -> None:
    """A pair that gets its result while the others are looked at comes after them."""
    store = site.app.store
    last = store.ids(TaskMatch())[-1]
    store.judge([f"t{n}" for n in range(COUNT - 1)], True)
    open_page(page, site)
    show_only(page, "Undecided")
    until(lambda: shown(page.locator(".list-count")).startswith("1 of"))
    page.locator("#card-0 .tile.source .picture").click()
    wait_for(page, COUNT - 1)
    known = store.task("t0").results[0]
    picture = StoredImage(known.hash, known.size, ImageInfo("image/png", "png", 320, 240), SourceType.BASE64)
    store.finish(EditOutcome(last, TaskStatus.DONE, [picture], 1))
    page.keyboard.press("Enter")
    until(lambda: name(page) == "waits.png")
    until(lambda: shown(page.locator(".review-place")) == "2 / 2")
