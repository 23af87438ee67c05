"""The switcher of projects, as a person uses it: begin one, go there and back, another name, delete; two tabs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.webui.driver import Seed, Seen, Site, enter, go, open_page, picture, running, seed, shown, until, watch

LOOKS = os.environ.get("SCREENSHOTS")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Three pairs in the first project, and another folder of pictures."""
    seed(tmp_path / "data", [Seed(f"p{number}.png") for number in range(3)])
    (tmp_path / "dogs").mkdir()
    for number in range(2):
        picture(tmp_path / "dogs" / f"{number}.png", number)
    with running(tmp_path / "data") as site:
        site.app.projects.set_input("default", str(tmp_path / "data" / "sources"))
        yield site


def look(page: Page, name: str) -> None:
    """Keep a picture of the page, where ``SCREENSHOTS`` names a folder."""
    if LOOKS:
        page.screenshot(path=f"{LOOKS}/{name}.png")


def choose(page: Page, name: str) -> None:
    """Open the switcher and go to a project."""
    page.keyboard.press("Control+p")
    page.locator(".projects .choice", has_text=name).click()
    until(lambda: shown(page.locator(".project h1")) == name)


def test_projects_are_begun_switched_renamed_and_deleted(site: Site, page: Page, seen: Seen, tmp_path: Path) -> None:
    """Another folder proposes a project; each keeps its prompt and list; the other tab comes along; deleting says
    what is lost."""
    open_page(page, site)
    tab = page.context.new_page()
    watch(tab, seen)
    open_page(tab, site)
    assert shown(page.locator(".project h1")) == "sources"
    enter(page, "user_prompt", "of the first")
    enter(page, "input_path", str(tmp_path / "dogs"))
    page.wait_for_selector(".proposal")
    look(page, "proposal")
    page.get_by_role("button", name="New project “dogs”").click()
    until(lambda: shown(page.locator(".project h1")) == "dogs")
    until(lambda: shown(tab.locator(".project h1")) == "dogs", why="every tab shows the current project")
    assert len(site.app.projects.all()) == 2
    assert not any(site.app.store.counts().values())
    enter(page, "user_prompt", "of the dogs")
    go(page, "connect")
    assert page.locator("#field-input_path").input_value() == str(tmp_path / "dogs")

    choose(page, "sources")
    go(page, "judge")
    page.wait_for_selector("#card-2")
    go(page, "run")
    assert page.locator("#field-user_prompt").input_value() == "of the first"

    page.keyboard.press("Control+p")
    page.wait_for_selector("dialog .projects")
    look(page, "switcher")
    page.get_by_role("button", name="Rename: dogs").click()
    page.locator("dialog input").fill("dogs at night")
    page.keyboard.press("Enter")
    page.locator(".projects .choice", has_text="dogs at night").click()
    until(lambda: shown(page.locator(".project h1")) == "dogs at night")
    go(page, "run")
    assert page.locator("#field-user_prompt").input_value() == "of the dogs"

    choose(page, "sources")
    page.keyboard.press("Control+p")
    page.get_by_role("button", name="Delete: dogs at night").click()
    page.wait_for_selector("dialog >> text=source pictures stay")
    look(page, "delete")
    page.get_by_role("button", name="Delete", exact=True).click()
    until(lambda: len(site.app.projects.all()) == 1)
    assert len(list((tmp_path / "dogs").iterdir())) == 2
