"""Faults that people met: each is done here as it was met, and must not come back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Page

from engine.models import TaskFilter, TaskMatch
from tests.webui.driver import Seed, Site, enter, go, open_page, running, seed, shown, to_field, until

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
    assert "from the table" in shown(page.locator(".prompt-box"))
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
    assert shown(page.locator(".review h2")) == "p3.png"
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
    assert page.locator("#card-4 .problem").count() == 0
    assert shown(page.locator(".figures .state")) == "Stopped"
    assert shown(page.locator(".figures .of")) == "4 / 6"
    enter(page, "api_url", "127.0.0.1:9")
    page.keyboard.press("Tab")
    until(lambda: to_field(page, "api_url").input_value() == "http://127.0.0.1:9/v1/chat/completions")
    assert page.locator("#field-unlock_local_api_url").is_visible()
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
    assert "make it night" in shown(page.locator("dialog"))
    page.click("dialog >> text=Cancel")
    assert not site.app.batch.running
