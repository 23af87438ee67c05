"""The switcher of projects, as a person uses it: begin one, go there and back, another name, delete; two tabs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.webui.driver import (
    HOLD_CHANGES,
    Seed,
    Seen,
    Site,
    enter,
    go,
    listens,
    open_page,
    picture,
    running,
    seed,
    shown,
    until,
    watch,
)

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
    seen.allowed.append("409")  # of a tab that was about to store something when the other one went on
    open_page(page, site)
    tab = page.context.new_page()
    watch(tab, seen)
    open_page(tab, site)
    until(lambda: shown(page.locator(".project h1")) == "sources")
    enter(page, "user_prompt", "of the first")
    enter(page, "input_path", str(tmp_path / "dogs"))
    page.wait_for_selector(".proposal")
    look(page, "proposal")
    page.get_by_role("button", name="New project “dogs”").click()
    until(lambda: shown(page.locator(".project h1")) == "dogs")
    page.wait_for_selector(".toast >> text=Back to “sources”")
    until(lambda: shown(tab.locator(".project h1")) == "dogs", why="every tab shows the current project")
    tab.wait_for_selector(".toast >> text=Another tab or window opened “dogs”")
    assert len(site.app.projects.all()) == 2
    assert not any(site.app.store.counts().values())
    enter(page, "user_prompt", "of the dogs")
    go(page, "connect")
    until(lambda: page.locator("#field-input_path").input_value() == str(tmp_path / "dogs"))

    choose(page, "sources")
    go(page, "judge")
    page.wait_for_selector("#card-2")
    go(page, "run")
    until(lambda: page.locator("#field-user_prompt").input_value() == "of the first")

    page.keyboard.press("Control+p")
    page.wait_for_selector("dialog .projects")
    look(page, "switcher")
    page.get_by_role("button", name="Rename: dogs").click()
    page.locator("dialog input").fill("dogs at night")
    page.keyboard.press("Enter")
    page.locator(".projects .choice", has_text="dogs at night").click()
    until(lambda: shown(page.locator(".project h1")) == "dogs at night")
    go(page, "run")
    until(lambda: page.locator("#field-user_prompt").input_value() == "of the dogs")

    choose(page, "sources")
    page.keyboard.press("Control+p")
    page.get_by_role("button", name="Delete: dogs at night").click()
    page.wait_for_selector("dialog >> text=source pictures stay")
    look(page, "delete")
    page.get_by_role("button", name="Delete", exact=True).click()
    until(lambda: len(site.app.projects.all()) == 1)
    assert len(list((tmp_path / "dogs").iterdir())) == 2


def test_a_tab_that_shows_another_project_changes_nothing(site: Site, page: Page, seen: Seen, tmp_path: Path) -> None:
    """Until a tab has heard that another one opened a project, what is done in it is refused in words; then it follows,
    says so, and leads back."""
    seen.allowed += ["409", "404"]  # what it shows is not of the project that is open
    page.add_init_script(HOLD_CHANGES)
    open_page(page, site)
    page.wait_for_selector("#card-0 .tile img")
    listens(page)
    site.app.open_project(site.app.projects.create("dogs", str(tmp_path / "dogs")).id)
    page.locator("#card-0").get_by_role("button", name="Tick Result 1").click()
    page.wait_for_selector(".toast.error >> text=Nothing was changed")
    until(lambda: page.evaluate("held.length") > 0)
    page.evaluate("held.splice(0).forEach((tell) => tell())")
    page.wait_for_selector(".toast >> text=Another tab or window opened “dogs”")
    page.click(".toast >> text=Back to “sources”")
    until(lambda: shown(page.locator(".project h1")) == "sources")
    go(page, "judge")
    page.wait_for_selector("#card-0 .tile.ticked")
    assert site.app.project_id == "default"


def test_a_project_goes_out_and_in_and_finds_its_pictures(
    site: Site, page: Page, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moved pictures are found before anything changes; the project is written into a file, which comes in as
    another."""
    monkeypatch.setenv("HOME", str(tmp_path))
    seen.allowed += ["400", "404"]  # until they are found, the pictures are not where they were
    open_page(page, site)
    (tmp_path / "data" / "sources").rename(tmp_path / "data" / "moved")
    enter(page, "input_path", str(tmp_path / "data" / "sources"))
    page.locator(".banner").get_by_role("button", name="Find moved pictures").click()
    page.locator(".folder-list button", has_text="data").click()
    page.locator(".folder-list button", has_text="moved").click()
    until(lambda: shown(page.locator(".folder-path bdi")).endswith("moved"))
    page.get_by_role("button", name="Choose this folder").click()
    page.wait_for_selector("dialog >> text=3 pictures found")
    look(page, "relocate")
    page.get_by_role("button", name="Use these").click()
    until(lambda: all("moved" in task.source_path for task in site.app.store.every_task()))
    until(lambda: shown(page.locator(".project h1")) == "moved")
    page.wait_for_selector("main")
    page.locator(".project").click()
    look(page, "project-deeds")
    page.get_by_role("button", name="Export").click()
    page.get_by_role("button", name="Choose this folder").click()
    page.wait_for_selector("text=Project written to")
    page.locator(".project").click()
    page.get_by_role("button", name="Import").click()
    page.locator("dialog input").fill(str(tmp_path / "moved.ibcp"))
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Open the project “moved”").click()
    until(lambda: site.app.project_id != "default" and len(list(site.app.store.every_task())) == 3)
