"""Looks: no accessibility violation on any view, theme or language, no overflow, nothing that moves by itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.webui.driver import AXE, PLACES, Seed, Seen, Site, box, drawn, go, open_page, running, seed, until, watch

ERROR = json.dumps({"code": "rate_limited", "params": {"status": 429, "message": "slow down", "retry_after": 3}})
WARNING = json.dumps({"code": "some_candidates_refused", "params": {"refused": 1, "named": 2, "reason": "timed_out"}})
KINDS = [
    Seed("done.png"),
    Seed("failed.png", "failed", 0, error=ERROR),
    Seed("partly.png", "partial_success", 2, warning=WARNING),
    Seed("stopped.png", "stopped", 0),
    Seed("many.png", results=4),
    Seed("error_with_results.png", "failed", 1, error=ERROR),
]
LOOKS = [
    ("light", "en", 1280, 800),
    ("dark", "zh-CN", 1920, 1080),
    ("light", "zh-CN", 1024, 700),
    ("dark", "en", 800, 900),
]
SIZES = [(800, 900), (900, 700), (1024, 700), (1280, 800), (1920, 1080), (3840, 2160)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Pairs of every kind."""
    seed(tmp_path / "data", KINDS * 6)
    with running(tmp_path / "data") as site:
        yield site


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Site]:
    """No pairs yet."""
    with running(tmp_path / "empty") as site:
        yield site


def violations(page: Page) -> list[str]:
    """What axe-core finds, in short: rule and place."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("""async () => (await axe.run(document, { resultTypes: ['violations'] })).violations
      .flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.target} ${node.failureSummary.slice(0, 300)}`))""")
    return list(found)


def open_drawer(page: Page) -> None:
    page.keyboard.press("l")
    page.wait_for_selector(".drawer")


def unfold(page: Page) -> None:
    closed = page.locator(".fold h3 button[aria-expanded=false]:visible")
    while closed.count():
        closed.first.click()


def leave_drawer(page: Page) -> None:
    page.keyboard.press("Escape")
    until(lambda: page.locator(".drawer").count() == 0)


def each(*deeds: Callable[[], object]) -> Callable[[], None]:
    """One step made of several."""

    def run() -> None:
        for deed in deeds:
            deed()

    return run


def in_list(page: Page) -> list[tuple[str, Callable[[], object]]]:
    """Steps through the views that lie around the list; each is looked at after its step."""
    press = page.keyboard.press
    card, failed = page.locator("#card-0"), page.locator("#card-1 .problem .button").first
    return [
        ("list", lambda: page.wait_for_selector(".tile img")),
        ("filter", lambda: unfold(page)),
        ("selection", card.locator("input[type=checkbox]").click),
        ("menu", card.locator("header .icon-button").click),
        ("drawer", each(lambda: press("Escape"), card.focus, lambda: open_drawer(page))),
        ("keys", each(lambda: leave_drawer(page), lambda: press("?"), lambda: page.wait_for_selector("dialog"))),
        ("confirm", each(lambda: press("Escape"), failed.click)),
        ("connect", each(lambda: press("Escape"), lambda: go(page, "connect"), lambda: unfold(page))),
        ("folders", page.locator(".path-row .icon-button").first.click),
        ("try", each(lambda: press("Escape"), lambda: go(page, "try"))),
        ("run", lambda: go(page, "run")),
        ("set", each(lambda: go(page, "set"), lambda: unfold(page))),
        ("judge", lambda: go(page, "judge")),
    ]


def in_review(page: Page) -> list[tuple[str, Callable[[], object]]]:
    """Steps through the review view."""
    press = page.keyboard.press
    return [
        ("side", each(page.locator("#card-2").focus, lambda: press("Enter"))),
        ("slider", lambda: press("b")),
        ("difference", each(lambda: press("d"), lambda: page.wait_for_selector(".stage canvas"))),
        (
            "prompt",
            each(
                lambda: press("v"), lambda: press("e"), page.locator("#caption:focus").wait_for, lambda: press("Escape")
            ),
        ),
        ("log", lambda: open_drawer(page)),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_no_violation_on_any_view(site: Site, browser: Browser, seen: Seen, look: tuple[str, str, int, int]) -> None:
    """axe-core finds nothing to complain about, in each view."""
    theme, lang, width, height = look
    site.app.preferences.merge_ui({"theme": theme, "language": lang})
    context = browser.new_context(viewport={"width": width, "height": height}, locale=lang, reduced_motion="reduce")
    page = context.new_page()
    watch(page, seen)
    open_page(page, site)
    wrong: dict[str, list[str]] = {}
    for name, walk in in_list(page):
        walk()
        wrong[name] = violations(page)
    page.keyboard.press("Escape")
    until(lambda: page.locator("dialog").count() == 0)
    for name, walk in in_review(page):
        walk()
        page.wait_for_selector(".review .layer > *")
        wrong[name] = violations(page)
    context.close()
    assert [f"{name}: {found}" for name, all_found in wrong.items() for found in all_found] == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_violation_when_empty(empty: Site, page: Page, theme: str) -> None:
    """The first page has none either."""
    empty.app.preferences.merge_ui({"theme": theme})
    open_page(page, empty)
    for place in PLACES:
        go(page, place)
        assert violations(page) == [], place


def test_everything_fits(site: Site, page: Page) -> None:
    """From 800 pixels to 4K nothing sticks out sideways, the run bar is in sight, and below 900 the sides stack."""
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        open_page(page, site)
        _fits(page, (width, height))


def _fits(page: Page, size: tuple[int, int]) -> None:
    page.wait_for_selector(".tile img")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    out = """() => [...document.querySelectorAll('.runbar *, .toolbar *, .rail *, .card, .card *')]
      .map((one) => [one.getBoundingClientRect(), one])
      .filter(([box]) => box.width && (box.right > innerWidth + 1 || box.left < -1))
      .map(([, one]) => one.outerHTML.slice(0, 80))"""
    assert page.evaluate(out) == []
    assert box(page.locator(".work"))["height"] > 200
    for place in PLACES:
        go(page, place)
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], place
        if size[0] >= 1280:
            assert box(page.locator(".runbar-row"))["height"] <= 45, "the header takes one row"
    go(page, "judge")
    page.wait_for_selector(".tile img")
    page.locator("#card-0").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".review .layer img")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert box(page.locator(".review .stage"))["height"] > size[1] * 0.5


def test_nothing_moves_while_pictures_load(site: Site, page: Page) -> None:
    """The browser counts no layout shift from the first rows on."""
    page.add_init_script("""window.shifts = 0;
      new PerformanceObserver((list) => {
        if (document.querySelector('.card .picture')) for (const one of list.getEntries()) window.shifts += one.value;
      }).observe({ type: 'layout-shift', buffered: true });""")
    open_page(page, site)
    until(lambda: page.evaluate("[...document.querySelectorAll('.tile img')].every((img) => img.naturalWidth > 0)"))
    drawn(page)
    assert page.evaluate("window.shifts") < 0.02


def test_policy_has_no_unsafe_source(site: Site, page: Page) -> None:
    """Scripts come from the program alone, styles too; the page would not run otherwise."""
    answer = page.goto(site.url)
    assert answer is not None
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert re.search(r"default-src 'none'", policy)
    page.wait_for_selector(".runbar")


def test_reduced_motion(site: Site, browser: Browser) -> None:
    """Who wants no motion gets none."""
    page = browser.new_page(reduced_motion="reduce", locale="en")
    open_page(page, site)
    names = "() => [...document.querySelectorAll('*')].map((one) => getComputedStyle(one).animationName)"
    assert set(page.evaluate(names)) == {"none"}
    page.close()


def test_focus_is_seen(site: Site, page: Page) -> None:
    """Wherever Tab leads, a ring shows where one is."""
    open_page(page, site)
    page.wait_for_selector(".tile img")
    for _ in range(40):
        page.keyboard.press("Tab")
        ring = page.evaluate(
            "(() => { const style = getComputedStyle(document.activeElement);"
            " return document.activeElement === document.body || style.outlineStyle !== 'none'; })()"
        )
        assert ring, page.evaluate("document.activeElement.outerHTML.slice(0, 120)")
