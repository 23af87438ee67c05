"""The list of pairs: 50,000 of them, filters, search, order, selection, bulk deeds, live changes that do not jump."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from engine.dataset.findings import Finding, FindingKind
from engine.dataset.preflight import Preflight
from engine.models import TaskMatch, TaskStatus
from tests.webui.driver import (
    Note,
    Seed,
    Site,
    box,
    choose_menu,
    enter,
    go,
    open_page,
    running,
    seed,
    show_only,
    shown,
    until,
)

MANY = 50_000
SIZES = [(1920, 1080), *([(1280, 800)] if os.environ.get("FULL") == "1" else [])]
ERROR = json.dumps({"code": "rate_limited", "params": {"status": 429, "message": "slow <b>down</b>", "retry_after": 3}})
WARNING = json.dumps({"code": "some_candidates_refused", "params": {"refused": 1, "named": 2, "reason": "x"}})

SCROLL = """async () => {
  const list = document.querySelector('.list');
  const end = list.scrollHeight - list.clientHeight;
  const frames = [];
  let nodes = 0;
  let last = performance.now();
  for (let n = 1; n <= 300; n += 1) {
    list.scrollTop = end * n / 300;
    await new Promise(requestAnimationFrame);
    const now = performance.now();
    frames.push(now - last);
    last = now;
    if (n % 10 === 0) nodes = Math.max(nodes, document.querySelectorAll('*').length);
  }
  return { worst: Math.max(...frames), nodes };
}"""

FIRST_ROWS = """new MutationObserver((_, observer) => {
  if (!document.querySelector('.card .picture')) return;
  window.firstRows = performance.now();
  observer.disconnect();
}).observe(document, { childList: true, subtree: true });"""


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """50,000 tasks: every ninth has failed, every hundredth has a warning."""
    folder = tmp_path_factory.mktemp("crowd") / "data"

    def one(n: int) -> Seed:
        if n % 9 == 4:
            return Seed(f"IMG_{n:05d}.png", "failed", results=0, error=ERROR)
        return Seed(f"IMG_{n:05d}.png", warning=WARNING if n % 100 == 0 else None)

    seed(folder, [one(n) for n in range(MANY)])
    with running(folder) as site:
        yield site


@pytest.fixture
def few(tmp_path: Path) -> Iterator[Site]:
    """Forty tasks: ten each done, failed, partly done, waiting."""
    tasks = [Seed(f"p{n:02d}.png") for n in range(10)]
    tasks += [Seed(f"p{n:02d}.png", "failed", 0, error=ERROR) for n in range(10, 20)]
    tasks += [Seed(f"p{n:02d}.png", "partial_success", 2, warning=WARNING) for n in range(20, 30)]
    tasks += [Seed(f"p{n:02d}.png", "stopped", 0) for n in range(30, 40)]
    seed(tmp_path / "data", tasks)
    with running(tmp_path / "data") as site:
        yield site


def count(page: Page, text: str) -> None:
    """Wait until the list says how many it shows."""
    until(lambda: shown(page.locator(".list-count")) == text, why=f"the list does not come to {text}")


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_fifty_thousand(crowd: Site, browser: Browser, size: tuple[int, int], record_property: Note) -> None:
    """First rows come soon, the document stays small, and no frame stands still while the whole list goes by."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, locale="en")
    page.add_init_script(FIRST_ROWS)
    page.goto(crowd.url)
    until(lambda: page.evaluate("window.firstRows !== undefined"))
    first = page.evaluate("window.firstRows")
    figures = page.evaluate(SCROLL)
    until(lambda: page.locator(".card").last.get_attribute("aria-posinset") == str(MANY))
    until(lambda: page.locator(".card:not(.empty)").count() == page.locator(".card").count() > 0)
    page.close()
    print(f"{size}: first rows {first:.0f} ms, {figures['nodes']} nodes, worst frame {figures['worst']:.0f} ms")
    record_property("first_rows_ms", round(first))
    record_property("nodes", figures["nodes"])
    record_property("worst_frame_ms", round(figures["worst"]))
    assert figures["nodes"] < 3000
    assert first < 20_000  # under 1000 on an idle machine
    assert figures["worst"] < 5000  # under 50 on an idle machine


@pytest.mark.slow
def test_findings_of_fifty_thousand(crowd: Site, page: Page, record_property: Note) -> None:
    """Among 50,000 tasks, those with a finding are counted in the menu, shown at once, and can be gone through."""
    kinds = {f"r{n}-0": FindingKind.BLANK if n % 3 else FindingKind.SHIFTED for n in range(0, MANY, 4) if n % 9 != 4}
    tasks = crowd.app.store.tasks_of_results(kinds)
    findings = [Finding(one, tasks[one], kind) for one, kind in kinds.items()]
    crowd.app.found(Preflight(len(kinds), findings, {}, True, tasks))
    open_page(page, crowd)
    begun = time.monotonic()
    shifted = sum(kind is FindingKind.SHIFTED for kind in kinds.values())
    page.locator(".rail .facet", has_text=f"Shifted{shifted:,}").wait_for()
    opened = time.monotonic() - begun
    begun = time.monotonic()
    show_only(page, "Any finding")
    count(page, f"{len(kinds):,} of 50,000")
    page.locator(".card:not(.empty) footer", has_text="shifted").first.wait_for()
    filtered = time.monotonic() - begun
    page.locator(".list").press("End")
    until(lambda: page.locator(".card").last.get_attribute("aria-posinset") == str(len(kinds)))
    until(lambda: page.locator(".card:not(.empty)").count() == page.locator(".card").count() > 0)
    print(f"menu after {opened * 1000:.0f} ms, filtered list after {filtered * 1000:.0f} ms")
    record_property("menu_ms", round(opened * 1000))
    record_property("filtered_ms", round(filtered * 1000))  # both under 500 ms on an idle machine


def test_filter_search_sort(few: Site, page: Page) -> None:
    """States, properties, words and orders, alone and together; each can be taken away again."""
    open_page(page, few)
    count(page, "40 pictures")
    show_only(page, "Failed")
    count(page, "10 of 40")
    show_only(page, "Partly done")
    count(page, "20 of 40")
    page.fill("#search", "p2")
    count(page, "10 of 40")
    show_only(page, "Failed")
    count(page, "10 of 40")
    show_only(page, "Partly done")
    page.fill("#search", "slow <b>down")
    count(page, "10 of 40")
    page.fill("#search", "")
    show_only(page, "With warnings")
    count(page, "10 of 40")
    show_only(page, "With warnings")
    count(page, "40 pictures")
    page.select_option(".sort select", "name")
    page.get_by_role("button", name="Ascending").click()
    until(lambda: page.locator("#card-0 .name").inner_text() == "p39.png")
    page.click(".count.failed")
    count(page, "10 of 40")
    page.fill("#search", "no such thing")
    page.wait_for_selector(".list-note >> text=No picture matches")


def test_picture_size(few: Site, page: Page) -> None:
    """The slider changes the pictures, and the size is remembered over a reload."""
    open_page(page, few)
    before = box(page.locator(".tile").first)
    page.locator(".size input").fill("80")
    until(lambda: box(page.locator(".tile").first)["width"] < before["width"] * 0.8)
    until(lambda: few.app.preferences.ui.get("thumb_size") == 80)
    page.reload()
    until(lambda: page.locator(".size input").input_value() == "80")


def test_selection_and_bulk(few: Site, page: Page) -> None:
    """Click, ctrl, shift and all select; bulk deeds act on them and can be undone."""
    open_page(page, few)
    page.locator("#card-0 input[type=checkbox]").click()
    page.locator("#card-2 .name").click(modifiers=["Control"])
    until(lambda: "2 selected" in shown(page.locator(".selection-bar")))
    page.locator("#card-4 .name").click(modifiers=["Shift"])
    until(lambda: "4 selected" in shown(page.locator(".selection-bar")))
    page.locator(".selection-bar >> text=Drop").click()
    until(lambda: dropped(few) == 4)
    page.keyboard.press("Control+z")
    until(lambda: dropped(few) == 0)
    page.keyboard.press("Control+y")
    until(lambda: dropped(few) == 4)
    page.keyboard.press("Control+z")
    until(lambda: dropped(few) == 0)
    page.get_by_role("button", name="Clear the selection").click()
    page.locator(".list").focus()
    page.keyboard.press("Control+a")
    until(lambda: "40 selected" in shown(page.locator(".selection-bar")))
    choose_menu(page, page.get_by_role("button", name="More bulk actions"), "Untick")
    until(lambda: ticked(few) == 0)
    page.keyboard.press("Control+z")
    until(lambda: ticked(few) == 30)
    page.locator("#card-1 input[type=checkbox]").click()
    until(lambda: "39 selected" in shown(page.locator(".selection-bar")))


def test_undo_of_bulk_restores_mixed_ticks(few: Site, page: Page) -> None:
    """What was ticked and what was not comes back as it was, result by result."""
    open_page(page, few)
    few.app.store.mark_result("t20", "r20-1")
    page.wait_for_selector("#card-20, .card", state="attached")
    show_only(page, "Partly done")
    count(page, "10 of 40")
    page.get_by_label("Select all").check()
    page.locator(".selection-bar >> text=Tick").click()
    until(lambda: few.app.store.result("t20", "r20-1").selected)
    page.keyboard.press("Control+z")
    until(lambda: not few.app.store.result("t20", "r20-1").selected)
    until(lambda: few.app.store.result("t20", "r20-0").selected and ticked(few) == 29)


def test_bulk_delete_and_save(few: Site, page: Page, tmp_path: Path) -> None:
    """What is selected is saved, then deleted after a question that names the loss."""
    open_page(page, few)
    enter(page, "output_dir", str(tmp_path / "out"))
    go(page, "judge")
    page.locator("#card-0 input[type=checkbox]").click()
    page.locator("#card-1 input[type=checkbox]").click()
    page.locator(".selection-bar >> text=Save").click()
    page.wait_for_selector(".toast >> text=2 pictures saved")
    choose_menu(page, page.get_by_role("button", name="More bulk actions"), "Delete from the list")
    until(lambda: "2 results that cost API calls" in shown(page.locator("dialog")))
    page.click("dialog .button.danger")
    count(page, "38 pictures")
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_all_in_filter_reaches_what_is_not_loaded(crowd: Site, page: Page) -> None:
    """Everything in a filter can be ticked and unticked though the page holds a fraction of it."""
    open_page(page, crowd)
    page.fill("#search", "IMG_49")
    count(page, "1,000 of 50,000")
    page.get_by_label("Select all").check()
    choose_menu(page, page.get_by_role("button", name="More bulk actions"), "Untick")
    match = TaskMatch(q="IMG_49")
    until(lambda: not any(one.selected for task in crowd.app.store.tasks(match) for one in task.results))
    page.keyboard.press("Control+z")
    until(lambda: all(one.selected for task in crowd.app.store.tasks(match) for one in task.results))


def test_shift_over_pages_that_are_not_loaded(crowd: Site, page: Page) -> None:
    """A shift click far away selects everything between, loaded or not."""
    open_page(page, crowd)
    page.locator("#card-0 input[type=checkbox]").click()
    page.locator(".list").evaluate("(list) => { list.scrollTop = list.scrollHeight / 40; }")
    until(lambda: int(page.locator(".card").first.get_attribute("aria-posinset") or 0) > 1000)
    until(lambda: page.locator(".card:not(.empty)").count() == page.locator(".card").count())
    place = int(page.locator(".card").last.get_attribute("aria-posinset") or 0)
    page.locator(f"#card-{place - 1} .name").click(modifiers=["Shift"])
    until(lambda: f"{place:,} selected" in shown(page.locator(".selection-bar")))


def test_live_changes_do_not_jump(crowd: Site, page: Page) -> None:
    """Tasks that change, and tasks that leave the filter above, do not move what one looks at."""
    open_page(page, crowd)
    page.click(".count.failed")
    until(lambda: "of 50,000" in shown(page.locator(".list-count")))
    page.locator(".list").evaluate("(list) => { list.scrollTop = 40000; }")
    until(lambda: page.locator(".card:not(.empty)").count() == page.locator(".card").count() > 2)
    until(lambda: int(page.locator(".card").first.get_attribute("aria-posinset") or 0) > 50)
    until(lambda: page.locator(".card:not(.empty)").count() == page.locator(".card").count())
    middle = page.evaluate(
        "[...document.querySelectorAll('.card')].map((card) => [card.getBoundingClientRect().top, card])"
        ".filter(([top]) => top > 200)[0][1].querySelector('.name').textContent"
    )
    before = box(page.locator(f".card:has-text('{middle}')"))
    gone = crowd.app.store.ids(TaskMatch(status=frozenset({TaskStatus.FAILED})))[:40]
    crowd.app.store.set_status(gone, TaskStatus.STOPPED)
    until(lambda: shown(page.locator(".list-count")) == "5,516 of 50,000")
    until(lambda: page.locator(f".card:has-text('{middle}')").count() == 1)
    row = before["height"] + 8  # it moves by the rest of one at most
    until(lambda: abs(box(page.locator(f".card:has-text('{middle}')"))["y"] - before["y"]) <= row)


def test_one_task_and_none(tmp_path: Path, page: Page) -> None:
    """A list of one, and the empty page after it is gone."""
    seed(tmp_path / "data", [Seed("only.png")])
    with running(tmp_path / "data") as site:
        open_page(page, site)
        count(page, "1 picture")
        page.locator("#card-0").get_by_role("button", name="Look at Result 1").click()
        page.wait_for_selector(".review")
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(".toast >> text=last pair")
        page.wait_for_selector(".stage .pane:nth-child(2) img")
        site.app.store.clear()
        page.wait_for_selector(".welcome")
        until(lambda: page.locator(".review").count() == 0)
        page.goto("about:blank")


def test_keyboard_in_the_list(few: Site, page: Page) -> None:
    """Arrows move, space selects, shift extends, digits tick, x drops, enter opens, slash searches."""
    open_page(page, few)
    page.wait_for_selector("#card-1")
    page.locator(".list").focus()
    page.keyboard.press("ArrowRight")
    until(lambda: page.evaluate("document.activeElement.id") == "card-1")
    page.keyboard.press("1")
    until(lambda: not few.app.store.result("t1", "r1-0").selected)
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    until(lambda: "2 selected" in shown(page.locator(".selection-bar")))
    page.keyboard.press("Escape")
    until(lambda: page.locator(".selection-bar").count() == 0)
    page.keyboard.press("x")
    until(lambda: few.app.store.result("t2", "r2-0").deleted)
    page.keyboard.press("/")
    until(lambda: page.evaluate("document.activeElement.id") == "search")
    page.locator(".list").focus()
    page.keyboard.press("End")
    until(lambda: page.evaluate("document.activeElement.id") == "card-39")
    page.keyboard.press("Enter")
    page.wait_for_selector(".review")


def dropped(site: Site) -> int:
    """Results that are dropped."""
    return sum(one.deleted for task in site.app.store.tasks(TaskMatch()) for one in task.results)


def ticked(site: Site) -> int:
    """Results that are ticked."""
    return sum(one.selected for task in site.app.store.tasks(TaskMatch()) for one in task.results)
