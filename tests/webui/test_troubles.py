"""What goes wrong: errors at their place, hostile names, a server that leaves, old pages, several pages at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Dialog, Page, Route

from engine.errors import Code, Problem
from engine.models import TaskStatus
from tests.fakes.upstream import FakeUpstream, Script
from tests.webui.driver import (
    Seed,
    Seen,
    Site,
    choose_menu,
    enter,
    go,
    open_page,
    picture,
    running,
    save_all,
    seed,
    shown,
    start,
    to_field,
    until,
    watch,
)

HOSTILE = [
    "a" * 251 + ".png",
    "🌲🏔️ holiday 👩‍👩‍👧.png",
    "مرحبا صورة.png",
    "<img src=x onerror=alert(1)><b>bold</b> \"q\" & 'a'.png",
    "\u202egnp.exe.png",
]
GONE = [
    "ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE", "ERR_INCOMPLETE_CHUNKED",
    "ERR_CONTENT_LENGTH_MISMATCH",
]  # fmt: skip
"""What Chromium logs of requests that were under way when the server left."""
ERROR = json.dumps({"code": "upstream_status", "params": {"status": 500, "message": "<script>alert(2)</script>"}})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Three finished pairs."""
    seed(tmp_path / "data", [Seed(f"p{n}.png") for n in range(3)])
    with running(tmp_path / "data") as site:
        yield site


def test_what_comes_up_is_told_when_it_comes_up(site: Site, page: Page) -> None:
    """A problem beside the work is shown once: before the page listens, while it does, and when it is opened later."""
    held: list[Route] = []
    page.route("**/api/events*", lambda route: held.append(route) if not held else route.continue_())
    open_page(page, site)
    until(lambda: page.evaluate("true") and bool(held))
    for number in (1, 2):
        site.app.notify([Problem(Code.STORAGE_FAILED, {"path": f"/out/{number}.png", "reason": "I/O error"})])
        if number == 1:
            held[0].continue_()
        page.wait_for_selector(f".toast.error >> text={number}.png")
    site.app.settings_changed()
    page.reload()
    page.wait_for_selector(".toast.error >> text=2.png")
    until(lambda: page.locator(".toast.error").count() == 2)


def test_failures_speak_the_chosen_language(tmp_path: Path, page: Page) -> None:
    """The program words a failure, its cause included; what is on the page already is said anew in another language."""
    cause = json.dumps({"code": "every_task_fails", "params": {"cause": "key_refused"}})
    seed(tmp_path / "data", [Seed("a.png", "failed", 0, error=cause)])
    with running(tmp_path / "data") as site:
        open_page(page, site)
        page.wait_for_selector(".card >> text=the API refuses the key")
        choose_menu(page, page.get_by_role("button", name="More", exact=True), "中文")
        page.wait_for_selector(".card >> text=API 不接受密钥")
        site.app.store.set_status(["t0"], TaskStatus.FAILED, Problem(Code.KEY_REFUSED))
        page.wait_for_selector(".card >> text=密钥")
        assert page.locator(".card", has_text="key_refused").count() == 0
        page.goto("about:blank")


def test_retry_counts_what_failed_now(tmp_path: Path, page: Page) -> None:
    """The question before a retry of one kind tells what failed by now, not what the page counted a while ago."""
    refused = json.dumps({"code": "content_refused", "params": {}})
    seed(tmp_path / "data", [Seed(f"{n}.png", "failed", 0, error=refused) for n in range(3)])
    with running(tmp_path / "data") as site:
        open_page(page, site)
        enter(page, "api_url", "https://api.example.com/v1/images/edits")
        enter(page, "model_name", "m")
        go(page, "run")
        page.wait_for_selector(".kind-count >> text=3")
        old = page.request.get(site.url + "api/tasks/facets").json()
        page.route("**/api/tasks/facets*", lambda route: route.fulfill(json=old))
        site.app.store.set_status(["t0"], TaskStatus.STOPPED)
        page.wait_for_selector(".outcome.failed h2 >> text=2")
        assert page.locator(".kind-count").inner_text() == "3"
        page.get_by_role("button", name="Retry with a prompt").click()
        page.wait_for_selector("dialog >> text=Retry 2 pictures?")
        page.goto("about:blank")


def test_hostile_names_are_text(tmp_path: Path, page: Page) -> None:
    """Long names, emoji, right-to-left, HTML and quotes show as text everywhere and break no layout."""
    tasks = [Seed(name) for name in HOSTILE] + [Seed(name, "failed", 0, error=ERROR) for name in HOSTILE]
    seed(tmp_path / "data", tasks)
    with running(tmp_path / "data") as site:
        dialogs: list[str] = []

        def note(dialog: Dialog) -> None:
            dialogs.append(dialog.message)
            dialog.dismiss()

        page.on("dialog", note)
        open_page(page, site)
        page.wait_for_selector("#card-3")
        names = page.locator(".card .name").all_inner_texts()
        assert [name for name in names if "onerror" in name] == [HOSTILE[3]] * sum("onerror" in name for name in names)
        assert page.locator(".card .name b, .card .name img").count() == 0
        page.locator(".list").evaluate("(list) => { list.scrollTop = list.scrollHeight; }")
        page.wait_for_selector(".problem >> text=<script>")
        for n in range(len(HOSTILE)):
            page.locator(".list").focus()
            page.keyboard.press("Home")
            for _ in range(n):
                page.keyboard.press("ArrowRight")
            page.keyboard.press("Enter")
            page.wait_for_selector(".review")
            page.keyboard.press("l")
            page.wait_for_selector(".drawer")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            page.keyboard.press("Escape")
            page.keyboard.press("Escape")
            until(lambda: page.locator(".review").count() == 0)
        assert dialogs == []
        page.goto("about:blank")


def test_wrong_entries_show_at_their_field(site: Site, page: Page) -> None:
    """A number outside its range, and JSON that is none, are told at the field, which gets the focus."""
    open_page(page, site)
    enter(page, "input_path", str(site.folder / "sources"))
    enter(page, "concurrency_limit", "1000")
    start(page)
    until(lambda: page.evaluate("document.activeElement.id") == "field-concurrency_limit")
    until(lambda: "from 1 to 512" in shown(page.locator("#error-field-concurrency_limit")))
    enter(page, "concurrency_limit", "2")
    until(lambda: page.locator("#error-field-concurrency_limit").is_hidden())
    enter(page, "extra_body", "{nope")
    start(page)
    until(lambda: page.evaluate("document.activeElement.id") == "field-extra_body")
    until(lambda: page.get_attribute("#field-extra_body", "aria-invalid") == "true")


def test_program_refusals_show_at_their_field(site: Site, page: Page, seen: Seen) -> None:
    """A key that is missing for a new server, and an output folder that is none, are told at their fields."""
    seen.allowed.append("400")
    open_page(page, site)
    enter(page, "api_url", "https://api.example.com/v1/images/edits")
    enter(page, "api_key", "k")
    page.click("text=Save settings")
    page.wait_for_selector(".toast >> text=Settings stored")
    enter(page, "api_url", "https://other.example.com/v1/images/edits")
    page.click("text=Save settings")
    page.wait_for_selector("#error-field-api_key:not([hidden])")
    file = site.folder / "file.txt"
    file.write_text("x", "utf-8")
    enter(page, "output_dir", str(file))
    save_all(page)
    page.wait_for_selector("#error-field-output_dir:not([hidden])")
    enter(page, "output_dir", "")
    save_all(page)
    page.wait_for_selector("dialog >> text=Output folder")


def test_picture_that_does_not_load_says_why(tmp_path: Path, page: Page, seen: Seen) -> None:
    """A source file that is gone: the reason stands in its place, in the list and in the review view."""
    seen.allowed.append("404")
    seed(tmp_path / "data", [Seed("gone.png")], pictures=1)
    (tmp_path / "data" / "sources" / "0.png").unlink()
    with running(tmp_path / "data") as site:
        open_page(page, site)
        page.wait_for_selector(".tile.source .broken")
        until(lambda: "0.png" in shown(page.locator(".tile.source .broken")))
        page.locator(".tile.source .picture").click()
        until(lambda: "0.png" in shown(page.locator(".pane-broken")))
        page.goto("about:blank")


def test_server_gone_and_back(site: Site, page: Page, seen: Seen) -> None:
    """A banner says so; what was typed stays; after the return the page is in step again."""
    seen.allowed += GONE
    open_page(page, site)
    enter(page, "model_name", "typed before")
    port = site.stop_serving()
    page.wait_for_selector(".banner.bad")
    enter(page, "user_prompt", "typed meanwhile")
    go(page, "judge")
    page.locator("#card-0").get_by_role("button", name="Tick Result 1").click()
    until(lambda: page.locator("#card-0 .tile.ticked").count() == 1)  # refused, so it is as it was
    site.app.store.mark_result("t1", "r1-0", deleted=True)
    site.serve_again(port)
    until(lambda: page.locator(".banner").count() == 0)
    until(lambda: page.locator("#card-1 .tile.dropped").count() == 1)
    assert to_field(page, "model_name").input_value() == "typed before"
    assert to_field(page, "user_prompt").input_value() == "typed meanwhile"


def test_server_gone_while_one_reviews(site: Site, page: Page, seen: Seen) -> None:
    """The review covers the page, and says itself that the program is gone; a key then changes nothing, and what was
    missed is made up for."""
    seen.allowed += GONE
    site.app.preferences.merge_ui({"reject_goes_on": False})
    open_page(page, site)
    page.locator("#card-0 .tile.source .picture").click()
    page.wait_for_selector(".review .layer img")
    port = site.stop_serving()
    page.wait_for_selector(".review .banner.bad")
    page.keyboard.press("x")
    until(lambda: page.locator(".review .strip-tile.current.dropped").count() == 0)
    assert page.locator(".banner").count() == 1
    site.app.store.mark_result("t0", "r0-0", selected=False)
    site.serve_again(port)
    until(lambda: page.locator(".banner").count() == 0)
    until(lambda: page.locator(".review .strip-tile.current.ticked").count() == 0)
    page.keyboard.press("x")
    page.wait_for_selector(".review .strip-tile.current.dropped")


def test_list_cleared_while_the_server_was_gone(site: Site, page: Page, seen: Seen) -> None:
    """The review of a pair that is no more closes, and the page shows that nothing is there."""
    seen.allowed += [*GONE, "404"]  # pictures that were on their way
    open_page(page, site)
    page.locator("#card-0 .tile.source .picture").click()
    page.wait_for_selector(".review .layer img")
    port = site.stop_serving()
    page.wait_for_selector(".review .banner.bad")
    site.app.store.clear()
    site.serve_again(port)
    page.wait_for_selector(".welcome")
    until(lambda: page.locator(".review").count() == 0)


def test_server_that_leaves_while_the_page_starts(site: Site, page: Page, seen: Seen) -> None:
    """Whichever call of the page's start the server leaves unanswered is made again, and the page is whole."""
    seen.allowed.append("ERR_CONNECTION_RESET")
    cut: list[str] = []

    def reset(route: Route) -> None:
        cut.append(route.request.url)
        route.abort("connectionreset")

    for path in ("state*", "ui", "messages/en", "save/rules", "templates"):
        page.route(f"**/api/{path}", reset, times=1)
    open_page(page, site)
    go(page, "connect")
    until(lambda: page.locator(".services li").count() > 0)
    until(lambda: to_field(page, "filename_template").input_value() != "")
    assert len(cut) == 5


def test_stale_page_reloads_itself(site: Site, page: Page, seen: Seen) -> None:
    """A page of an older version loads itself anew when the program has been replaced."""
    seen.allowed += GONE
    open_page(page, site)
    port = site.stop_serving()
    site.app.version = "99.0"
    site.serve_again(port)
    until(lambda: page.get_attribute("meta[name=version]", "content") == "99.0")
    page.wait_for_selector("#card-0")


def test_two_pages_stay_in_step(site: Site, page: Page, seen: Seen) -> None:
    """A decision in one page shows in the other at once; settings show when one comes back to it."""
    open_page(page, site)
    other = page.context.new_page()
    watch(other, seen)
    open_page(other, site)
    other.locator("#card-0").get_by_role("button", name="Tick Result 1").click()
    until(lambda: page.locator("#card-0 .tile.ticked").count() == 0)
    page.locator("#card-1").hover()
    page.locator("#card-1").get_by_role("button", name="Drop Result 1").click()
    until(lambda: other.locator("#card-1 .tile.dropped").count() == 1)
    other.close()


def test_error_with_a_cause_and_advice(site: Site, page: Page) -> None:
    """A failed task says what happened and what to do, with retry and log beside it."""
    with FakeUpstream() as fake:
        fake.answer(Script.error(401, "bad key"))
        picture(site.folder / "one.png", 3)
        open_page(page, site)
        enter(page, "api_url", fake.url("/v1/images/edits"))
        enter(page, "api_key", "k")
        enter(page, "input_path", str(site.folder / "one.png"))
        start(page)
        page.wait_for_selector("#card-3 .problem")
        text = shown(page.locator("#card-3 .problem"))
        assert "401" in text
        assert "key" in text.lower()
        page.locator("#card-3").get_by_role("button", name="Debug log").click()
        page.wait_for_selector(".drawer .attempt.failed")


def test_end_of_a_run_is_told(site: Site, browser: Browser, seen: Seen) -> None:
    """Title, favicon and a silent notification tell of the end when one looks elsewhere."""
    context = browser.new_context(locale="en", permissions=["notifications"])
    page = context.new_page()
    watch(page, seen)
    page.add_init_script("""
      document.hasFocus = () => false;
      window.told = [];
      class Told { constructor(title, options) { window.told.push([title, options.body, options.silent]); } }
      Told.permission = 'granted';
      Told.requestPermission = async () => 'granted';
      window.Notification = Told;
    """)
    with FakeUpstream() as fake:
        fake.answer(Script.error(400, "no"))
        open_page(page, site)
        choose_menu(page, page.get_by_role("button", name="More", exact=True), "Notify when a run ends")
        icon = page.get_attribute("#favicon", "href")
        enter(page, "api_url", fake.url("/v1/images/edits"))
        enter(page, "api_key", "k")
        enter(page, "input_path", str(site.folder / "sources"))
        start(page)
        until(lambda: page.evaluate("window.told.length") == 1)
        assert page.evaluate("window.told[0][2]") is True
        until(lambda: "failed" in page.title())
        until(lambda: page.get_attribute("#favicon", "href") != icon)
        context.close()
