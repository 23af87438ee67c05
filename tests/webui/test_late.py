"""What comes late: answers after the events that outdate them, pictures after the name of their pair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, Route

from engine.models import TaskFilter, TaskMatch
from tests.webui.driver import Held, Seed, Site, choose_menu, open_page, running, seed, shown, turn, until

COUNT = 6


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A few finished pairs."""
    seed(tmp_path / "data", [Seed(f"p{n:03d}.png") for n in range(COUNT)])
    with running(tmp_path / "data") as site:
        yield site


def drop_one(site: Site) -> None:
    """Take a task away, as another window does."""
    answer = httpx.delete(f"{site.url}api/tasks/t5", trust_env=False)
    assert answer.status_code == 200, answer.text


def runs(page: Page) -> int:
    """Tasks of which the run bar says that they are finished."""
    return int(shown(page.locator(".runbar .of")).split(" / ")[0])


def test_state_that_is_older_than_an_event(site: Site, page: Page) -> None:
    """It does not bring back the figures that the event has replaced."""
    open_page(page, site)
    until(lambda: runs(page) == COUNT)
    state = Held(page, "**/api/state*")
    page.evaluate("dispatchEvent(new Event('focus'))")
    state.wait(page)
    drop_one(site)
    until(lambda: runs(page) == COUNT - 1)
    state.let_go()
    page.wait_for_timeout(300)
    assert runs(page) == COUNT - 1


def test_list_that_is_older_than_an_event(site: Site, page: Page) -> None:
    """What the event told of is looked up again."""
    open_page(page, site)
    until(lambda: page.locator(".card").count() == COUNT)
    tasks = Held(page, "**/api/tasks?*")
    page.get_by_label("Sort").select_option("name")
    tasks.wait(page)
    drop_one(site)
    until(lambda: runs(page) == COUNT - 1)
    page.wait_for_timeout(1500)  # longer than the list waits before it looks again
    tasks.let_go()
    until(lambda: page.locator(".card").count() == COUNT - 1)


def test_decision_made_while_the_way_is_read(site: Site, page: Page) -> None:
    """It takes the pair out of the list that is being read; the next pair is not passed over for that."""
    open_page(page, site)
    choose_menu(page, page.locator(".toolbar").get_by_role("button", name="Filter"), "Not decided yet")
    asked: list[Route] = []
    page.route("**/api/tasks/ids*", lambda route: asked.append(route))  # noqa: PLW0108 - playwright marks what it calls
    page.locator("#card-0 .tile.source .picture").click()
    page.wait_for_selector(".review .layer img")
    page.keyboard.press("t")
    until(lambda: len(site.console.store.ids(TaskMatch(only=frozenset({TaskFilter.UNDECIDED})))) == COUNT - 1)
    page.keyboard.press("ArrowRight")
    turn(page, lambda: bool(asked))
    asked.pop().continue_()
    until(lambda: shown(page.locator(".review h2")) == "p001.png")
    page.keyboard.press("ArrowLeft")
    until(lambda: shown(page.locator(".review h2")) == "p000.png")


def test_picture_that_comes_late_is_not_another_pairs(site: Site, page: Page) -> None:
    """No picture of the pair before stands under the name of the present one."""
    asked: list[Route] = []
    page.route("**/results/r1-0/image*", lambda route: asked.append(route))  # noqa: PLW0108 - the same
    open_page(page, site)
    page.locator("#card-0 .tile.source .picture").click()
    page.wait_for_selector(".stage .pane:nth-child(2) img")
    page.keyboard.press("ArrowRight")
    result = page.locator(".stage .pane").nth(1)
    result.get_by_text("Loading…").wait_for()
    assert shown(page.locator(".review h2")) == "p001.png"
    assert result.locator("img").count() == 0
    assert page.locator(".stage .pane").first.locator("img").count() == 1
    for route in asked:
        route.continue_()
    until(lambda: "r1-0" in (result.locator("img").get_attribute("src") or ""))
    assert result.get_by_text("Loading…").count() == 0
