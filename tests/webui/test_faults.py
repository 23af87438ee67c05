"""Faults that people met: each is done here as it was met, and must not come back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from engine.models import TaskFilter, TaskMatch
from tests.webui.driver import (
    Held,
    Seed,
    Seen,
    Site,
    box,
    choose_menu,
    drawn,
    enter,
    go,
    heard,
    open_page,
    running,
    seed,
    show_only,
    shown,
    to_field,
    until,
)

MADE = json.dumps({"user_prompt": "from the table", "model_name": "m-1"})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Four pairs that a table's prompt made, one with two results, and two that were stopped."""
    data = tmp_path / "data"
    stopped = json.dumps({"code": "stopped_by_user", "params": {}})
    pairs = [Seed("p0.png"), Seed("p1.png", results=2), Seed("p2.png"), Seed("p3.png")]
    seed(data, [*pairs, *(Seed(f"s{n}.png", "stopped", 0, error=stopped) for n in range(2))])
    with closing(sqlite3.connect(data / "tasks.db")) as database, database:
        database.execute("UPDATE result SET asked = ?", (MADE,))
    with running(data) as site:
        yield site


def undecided(site: Site) -> int:
    """Pairs that wait for a decision."""
    return len(site.app.store.ids(TaskMatch(only=frozenset({TaskFilter.UNDECIDED}))))


def test_decisions_in_review(site: Site, page: Page) -> None:
    """The prompt is the result's own; X rejects and goes on; Z leaves the pair undecided, after a reload too; Shift and
    a digit keep one; a held key decides once; S asks where to."""
    open_page(page, site)
    page.locator("#card-0 .tile.source .picture").click()
    page.wait_for_selector(".review .layer img")
    until(lambda: "from the table" in shown(page.locator(".prompt-box")))
    page.keyboard.press("x")
    until(lambda: shown(page.locator(".review h2")) == "p1.png" and undecided(site) == 3)
    page.keyboard.press("Shift+Digit2")
    until(lambda: shown(page.locator(".review h2")) == "p2.png" and undecided(site) == 2)
    assert [one.selected for one in site.app.store.task("t1").results] == [False, True]
    page.keyboard.press("s")
    page.wait_for_selector("dialog >> text=Output folder")
    page.keyboard.press("Escape")
    until(lambda: page.locator("dialog").count() == 0)
    page.keyboard.down("Enter")
    page.keyboard.down("Enter")  # held: the browser repeats it
    until(lambda: undecided(site) == 1)
    page.keyboard.up("Enter")
    until(lambda: shown(page.locator(".review h2")) == "p3.png")
    page.reload()
    page.wait_for_selector("#card-0")
    for _ in range(3):
        page.keyboard.press("Control+z")
    until(lambda: undecided(site) == 4, why="undo outlives a reload, and takes the decision back with the drop")
    assert not site.app.store.task("t0").results[0].deleted


def test_nothing_is_sent_that_is_not_shown(site: Site, page: Page) -> None:
    """Without a prompt nothing starts; many calls are asked about once, with the prompt; the switch for a local address
    stands beside it; stopped is no failure."""
    open_page(page, site)
    until(lambda: shown(page.locator(".figures .state")) == "Stopped")
    until(lambda: shown(page.locator(".figures .of")) == "4 / 6")
    page.locator("#card-4 .name").wait_for()
    assert page.locator("#card-4 .problem").count() == 0
    enter(page, "api_url", "127.0.0.1:9")
    page.keyboard.press("Tab")
    until(lambda: to_field(page, "api_url").input_value() == "http://127.0.0.1:9/v1/chat/completions")
    page.locator("#field-unlock_local_api_url").wait_for()
    enter(page, "api_key", "\u201cBearer k 1\u200b\u201d")
    page.keyboard.press("Tab")
    until(lambda: to_field(page, "api_key").input_value() == "k1")
    enter(page, "model_name", "m")
    enter(page, "input_path", str(site.folder / "sources"))
    page.wait_for_selector(".found >> text=6 pictures")
    go(page, "run")
    page.locator(".slip-guards .primary").click()
    page.wait_for_selector("#error-field-user_prompt:not([hidden])")
    enter(page, "user_prompt", "make it night")
    enter(page, "ask_above", "2")
    page.locator(".slip-guards .primary").click()
    page.wait_for_selector("dialog >> text=Start 6 calls?")
    until(lambda: "make it night" in shown(page.locator("dialog")))
    page.click("dialog >> text=Cancel")
    assert not site.app.batch.running


def test_a_task_deleted_while_the_list_is_read(site: Site, page: Page, seen: Seen) -> None:
    """The answer that is on its way still names it: its card stays whole until the list is read without it."""
    seen.allowed.append("404")  # pictures that were on their way
    open_page(page, site)
    until(lambda: page.locator(".card:not(.empty)").count() == 6)
    tasks = Held(page, "**/api/tasks?*")
    site.app.store.remove(["t5"])
    tasks.wait()
    page.locator("#card-0 .tile.source .picture").click()  # while one reviews, the list is left as it is
    page.wait_for_selector(".review")
    site.app.store.remove(["t4"])
    heard(page, site)
    page.evaluate(BLANKS)
    tasks.let_go()
    until(lambda: page.locator(".card").count() == 5)
    drawn(page)
    assert page.evaluate("window.blanks") == 0
    page.keyboard.press("Escape")
    until(lambda: page.locator(".card:not(.empty)").count() == page.locator(".card").count() == 4)


BLANKS = """() => {
  window.blanks = 0;
  const look = () => { window.blanks += document.querySelectorAll('.card.empty').length; requestAnimationFrame(look); };
  look();
}"""


def test_small_faults_stay_away(site: Site, page: Page, seen: Seen, tmp_path: Path) -> None:
    """The toolbar keeps to one row whatever stands in it; deleting what a filter shows draws no blank card; the list of
    keys is whole on a small screen; old calls and costs are marked as old at once; a corrected folder's error goes."""
    seen.allowed.append("400")
    page.set_viewport_size({"width": 1366, "height": 768})
    open_page(page, site)
    page.wait_for_selector(".tile img")
    with page.expect_response(lambda response: "/api/tasks?" in response.url):
        page.fill("#search", "s")
    with page.expect_response(lambda response: "/api/tasks?" in response.url):
        show_only(page, "Stopped")
    until(lambda: (page.locator(".card:not(.empty)").count(), page.locator(".card.empty").count()) == (2, 0))
    for width in (1280, 1366):  # with as much in it as there can be
        page.set_viewport_size({"width": width, "height": 768})
        drawn(page)
        assert box(page.locator("main .work > *").first)["height"] < 48
    page.evaluate(BLANKS)
    page.locator(".toolbar input[type=checkbox]").click()
    page.wait_for_selector(".selection-bar")
    assert box(page.locator("main .work > *").first)["height"] < 48
    choose_menu(page, page.get_by_role("button", name="More bulk actions"), "Delete from the list")
    page.click("dialog .button.danger")
    until(lambda: shown(page.locator(".list-count")).startswith("0 "))
    assert page.evaluate("window.blanks") == 0
    page.keyboard.press("?")
    page.wait_for_selector("dialog .keys-columns")
    drawn(page)
    assert page.evaluate("(() => { const all = document.querySelector('.keys-columns');"
                         " return all.scrollHeight - all.clientHeight; })()") <= 0  # fmt: skip
    page.keyboard.press("Escape")

    enter(page, "input_path", str(site.folder / "sources"))
    page.wait_for_selector(".found >> text=6 pictures")
    enter(page, "api_url", "http://127.0.0.1:9/v1/images/edits")
    go(page, "run")
    page.wait_for_selector(".ready .calls:not(.stale), .slip .primary")
    held, over = list[Route](), list[bool]()
    page.route("**/api/tasks/inspect", lambda route: route.continue_() if over else held.append(route))
    enter(page, "user_prompt", "make it night")
    until(lambda: page.locator(".slip [aria-busy=true]").count(), why="what is said of calls is old, and says so")
    over.append(True)  # to take the route away lets go, now and then, of what it holds
    for route in held:
        route.continue_()

    enter(page, "set-output_dir", str(site.folder / "sources"))
    page.get_by_role("button", name="Export the set").click()
    page.wait_for_selector("#error-field-set-output_dir:not([hidden])")
    enter(page, "set-output_dir", str(tmp_path / "sets"))
    until(lambda: page.locator("#error-field-set-output_dir:not([hidden])").count() == 0)
