"""What comes late: answers after the events that outdate them, pictures after the name of their pair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page

from engine.models import TaskFilter, TaskMatch
from tests.webui.driver import (
    Held,
    Seed,
    Seen,
    Site,
    choose_menu,
    drawn,
    enter,
    go,
    hold,
    let_through,
    open_page,
    running,
    seed,
    show_only,
    shown,
    turn,
    until,
)

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
    state.wait()
    drop_one(site)
    until(lambda: runs(page) == COUNT - 1)
    state.let_go()
    assert runs(page) == COUNT - 1


def test_list_that_is_older_than_an_event(site: Site, page: Page) -> None:
    """What the event told of is looked up again."""
    open_page(page, site)
    until(lambda: page.locator(".card").count() == COUNT)
    tasks = Held(page, "**/api/tasks?*")
    page.get_by_label("Sort").select_option("name")
    tasks.wait()
    drop_one(site)
    until(lambda: page.locator(".card").count() == COUNT - 1)
    tasks.let_go()
    assert page.locator(".card").count() == COUNT - 1


def test_decision_made_while_the_way_is_read(site: Site, page: Page) -> None:
    """It takes the pair out of the list that is being read; the next pair is not passed over for that."""
    open_page(page, site)
    show_only(page, "Undecided")
    asked = hold(page, "**/api/tasks/ids*")
    page.locator("#card-0 .tile.source .picture").click()
    page.wait_for_selector(".review .layer img")
    page.keyboard.press("t")
    until(lambda: len(site.app.store.ids(TaskMatch(only=frozenset({TaskFilter.UNDECIDED})))) == COUNT - 1)
    page.keyboard.press("ArrowRight")
    turn(page, lambda: bool(asked))
    asked.pop().continue_()
    until(lambda: shown(page.locator(".review h2")) == "p001.png")
    page.keyboard.press("ArrowLeft")
    until(lambda: shown(page.locator(".review h2")) == "p000.png")


def test_picture_that_comes_late_is_not_another_pairs(site: Site, page: Page) -> None:
    """No picture of the pair before stands under the name of the present one."""
    asked = hold(page, "**/results/r1-0/image*")
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


def test_names_of_an_earlier_rule(site: Site, page: Page) -> None:
    """They neither replace those of the rule as it is now, nor is that earlier rule what is stored."""
    open_page(page, site)
    go(page, "set")
    page.wait_for_selector(".examples >> text=.png")
    earlier = Held(page, "**/api/save/preview")
    enter(page, "filename_template", "a_{src_stem}")
    earlier.wait()
    enter(page, "filename_template", "b_{src_stem}")
    page.wait_for_selector(".examples >> text=b_p000")
    until(lambda: site.app.preferences.plan.rule.filename_template == "b_{src_stem}")
    earlier.let_go()
    assert "b_p000" in shown(page.locator(".examples"))
    assert site.app.preferences.plan.rule.filename_template == "b_{src_stem}"


def test_what_is_remembered_is_what_came_last(site: Site, page: Page) -> None:
    """However long the storing of what was there before takes."""
    page.clock.install()
    open_page(page, site)
    asked = hold(page, "**/api/ui", times=1)
    go(page, "set")
    turn(page, lambda: bool(asked))
    go(page, "judge")
    page.clock.fast_forward(1200)  # longer than the page waits before it stores: nothing tells that it would have
    let_through(page, asked.pop())
    until(lambda: site.app.preferences.ui.get("place") == "judge")


def test_language_that_was_given_up(site: Site, page: Page) -> None:
    """Its words do not come up once another was chosen."""
    open_page(page, site)
    asked = hold(page, "**/api/messages/zh-CN")
    more = page.get_by_role("button", name="More", exact=True)
    choose_menu(page, more, "中文")
    turn(page, lambda: bool(asked))
    choose_menu(page, more, "English")
    drawn(page)
    let_through(page, asked.pop())
    assert page.get_attribute("html", "lang") == "en"


def test_folder_that_was_passed(site: Site, page: Page, tmp_path: Path, seen: Seen) -> None:
    """What it holds is not shown once one has gone on to another."""
    seen.allowed.append("400")  # there are no pictures
    for name in ("first", "second"):
        (tmp_path / "home" / name).mkdir(parents=True)
    open_page(page, site)
    enter(page, "input_path", str(tmp_path / "home"))
    page.locator(".path-row").first.get_by_role("button", name="Choose a folder").click()
    folders = page.locator(".folder-list")
    folders.get_by_text("first").wait_for()
    asked = hold(page, "**/api/files?*first")
    folders.get_by_text("first").click()
    turn(page, lambda: bool(asked))
    folders.get_by_text("second").click()
    until(lambda: shown(page.locator(".folder-path")).startswith(str(tmp_path / "home" / "second")))
    let_through(page, asked.pop())
    assert shown(page.locator(".folder-path")).startswith(str(tmp_path / "home" / "second"))
