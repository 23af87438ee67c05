"""The first minutes: what to do, the demo, choosing a folder, drafts and recent paths, language and theme."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from bridge.environment import read_environment
from bridge.http.server import Server, bind
from bridge.open_app import load_messages, open_app
from tests.webui.driver import (
    FOLDED,
    PLACES,
    Seen,
    Site,
    choose_menu,
    enter,
    go,
    open_page,
    picture,
    running,
    shown,
    start,
    to_field,
    uncover,
    until,
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The program as it is when first started."""
    with running(tmp_path / "data") as site:
        yield site


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Site]:
    """The program with its own endpoint."""
    settings = read_environment({"PORT": "0"})
    with open_app(tmp_path / "data", settings, load_messages(), demo=True) as app:
        site = Site(app, Server(app, bind("127.0.0.1", 0)), tmp_path)
        site.server.start()
        yield site
        site.server.close()


def test_the_way_begins_at_connect(site: Site, page: Page) -> None:
    """A fresh program begins with the services, says what the five places are for, and guesses no model."""
    open_page(page, site)
    assert page.locator(".steps li").count() == 5
    page.get_by_role("button", name="OpenRouter", exact=True).click()
    until(lambda: "openrouter" in to_field(page, "api_url").input_value())
    page.click(".toast >> text=Undo")
    until(lambda: to_field(page, "api_url").input_value() == to_field(page, "model_name").input_value() == "")
    for number in (2, 3, 4, 5, 1):
        page.keyboard.press(f"Alt+{number}")
        page.wait_for_selector(f"main.{PLACES[number - 1]}")


def test_demo_runs_without_an_account(demo: Site, page: Page) -> None:
    """The demo is marked as such, and shows the whole job."""
    open_page(page, demo)
    assert shown(page.locator(".demo-mark")) == "Demo"
    page.wait_for_selector(".found >> text=12 pictures")
    page.click("text=Start the demo")
    page.wait_for_selector(".card")
    page.wait_for_selector(".state >> text=All finished", timeout=60_000)
    until(lambda: page.locator(".card[data-status=done]").count() > 3)
    assert page.locator(".demo-mark").is_visible()


def test_draft_survives_without_its_key(site: Site, page: Page) -> None:
    """An unsaved form is there after a reload; the key is not written down with it."""
    open_page(page, site)
    enter(page, "model_name", "half-typed")
    enter(page, "api_key", "not-to-be-kept")
    until(lambda: site.app.preferences.ui.get("draft", {}).get("model_name") == "half-typed")
    assert "not-to-be-kept" not in (site.folder / "state.json").read_text("utf-8")
    page.reload()
    page.wait_for_selector(".runbar")
    until(lambda: to_field(page, "model_name").input_value() == "half-typed")
    page.click("text=Discard changes")
    until(lambda: to_field(page, "model_name").input_value() != "half-typed")
    until(lambda: "draft" not in site.app.preferences.ui)


PASTE = """(field, text) => {
  const clipboardData = new DataTransfer();
  clipboardData.setData('text', text);
  field.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }));
}"""


def test_inspection_names_what_cannot_be_read(site: Site, page: Page, tmp_path: Path, seen: Seen) -> None:
    """Count, size, formats, unreadable files with reasons, and the calls that a run would cost."""
    seen.allowed.append("400")
    folder = tmp_path / "in"
    folder.mkdir()
    picture(folder / "a.png", 1)
    picture(folder / "b.jpg", 2)
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:200])
    open_page(page, site)
    enter(page, "input_path", str(folder))
    page.wait_for_selector(".found >> text=2 pictures")
    enter(page, "result_count", "3")
    told = ("1 file unreadable", "up to 2 API calls", "3 results each")
    until(lambda: all(words in shown(page.locator(".found")) for words in told))
    page.click("text=1 file unreadable")
    until(lambda: "broken.png" in shown(page.locator(".unreadable")))
    to_field(page, "input_path").evaluate(PASTE, f"{folder / 'a.png'}\r\n{folder / 'b.jpg'}\r\n")
    until(lambda: to_field(page, "input_path").input_value() == f'"{folder / "a.png"}" "{folder / "b.jpg"}"')
    until(lambda: "2 pictures" in shown(page.locator(".found")) and "unreadable" not in shown(page.locator(".found")))
    enter(page, "input_path", str(tmp_path / "nowhere"))
    page.wait_for_selector("#error-field-input_path:not([hidden])")
    until(lambda: page.get_attribute("#field-input_path", "aria-invalid") == "true")


def test_folder_picker(site: Site, page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It starts at home, shows picture counts, walks up and down by mouse and keys, and fills the path."""
    home = tmp_path / "home"
    (home / "holiday <b>").mkdir(parents=True)
    picture(home / "holiday <b>" / "1.png", 1)
    monkeypatch.setenv("HOME", str(home))
    open_page(page, site)
    page.locator(".path-row").first.get_by_role("button", name="Choose a folder").click()
    page.wait_for_selector(".folder-list >> text=holiday <b>")
    until(lambda: "1 picture" in shown(page.locator(".folder-list")))
    page.locator(".folder-list button").last.focus()
    page.keyboard.press("Enter")
    until(lambda: "holiday" in shown(page.locator(".folder-path")))
    page.click("text=Choose this folder")
    until(lambda: to_field(page, "input_path").input_value() == str(home / "holiday <b>"))
    page.wait_for_selector(".found >> text=1 picture")


DROP = """(files) => {
  const all = new DataTransfer();
  for (const [name, text] of files) {
    all.items.add(new File([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))], name));
  }
  dispatchEvent(new DragEvent('drop', { dataTransfer: all, cancelable: true }));
}"""


def test_pictures_dropped_into_a_browser(site: Site, page: Page, tmp_path: Path) -> None:
    """A browser names no path: what is dropped is brought to the program, and looked at there."""
    open_page(page, site)
    files = [picture(tmp_path / f"{number}.png", number) for number in range(3)]
    texts = [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files]
    page.evaluate(DROP, [*texts, ["notes.txt", "AAAA"]])
    page.wait_for_selector(".found >> text=3 pictures")
    path = Path(to_field(page, "input_path").input_value())
    assert sorted(file.read_bytes() for file in path.iterdir()) == sorted(file.read_bytes() for file in files)
    page.evaluate(DROP, [["notes.txt", "AAAA"]])
    page.wait_for_selector(".toast >> text=no picture")


def test_recent_paths(site: Site, page: Page, tmp_path: Path) -> None:
    """A path that was used is offered again."""
    picture(tmp_path / "one.png", 1)
    open_page(page, site)
    enter(page, "api_url", "http://127.0.0.1:9/v1/images/edits")
    enter(page, "api_key", "k")
    enter(page, "input_path", str(tmp_path / "one.png"))
    start(page)
    page.wait_for_selector(".card")
    until(lambda: site.app.preferences.ui.get("recent_paths"))
    page.reload()
    page.wait_for_selector(".runbar")
    go(page, "connect")
    options = page.locator("#recent-field-input_path option")
    until(lambda: options.evaluate_all("(all) => all.map((one) => one.value)") == [str(tmp_path / "one.png")])


def test_language_and_theme_are_remembered(site: Site, page: Page) -> None:
    """Both are switched in the page, at once, and hold over a reload; numbers follow the language."""
    open_page(page, site)
    more = page.get_by_role("button", name="More", exact=True)
    choose_menu(page, more, "中文")
    page.wait_for_selector("nav >> text=连接")
    until(lambda: page.get_attribute("html", "lang") == "zh-CN")
    until(lambda: page.locator("label[for=field-api_url]").inner_text() == "API 地址")
    choose_menu(page, page.get_by_role("button", name="更多", exact=True), "深色")
    until(lambda: page.get_attribute("html", "data-theme") == "dark")
    until(lambda: site.app.preferences.ui.get("theme") == "dark")
    page.reload()
    page.wait_for_selector("nav >> text=连接")
    until(lambda: page.get_attribute("html", "data-theme") == "dark")
    choose_menu(page, page.get_by_role("button", name="更多", exact=True), "跟随系统")
    page.emulate_media(color_scheme="light")
    until(lambda: page.get_attribute("html", "data-theme") == "light")
    page.emulate_media(color_scheme="dark")
    until(lambda: page.get_attribute("html", "data-theme") == "dark")


def test_place_and_folds_are_remembered(site: Site, page: Page) -> None:
    """The page opens where one left it."""
    open_page(page, site)
    to_field(page, "temperature")
    go(page, "set")
    until(lambda: site.app.preferences.ui.get("place") == "set" and any(site.app.preferences.ui["folds"].values()))
    page.reload()
    page.wait_for_selector("main.set")
    go(page, "connect")
    page.wait_for_selector("#field-temperature")


def test_save_rule_examples_and_errors(site: Site, page: Page, seen: Seen) -> None:
    """Names that will come out are shown as one types; a wrong template is told at its field; the rule is kept."""
    open_page(page, site)
    seen.allowed.append("400")
    to_field(page, "rule").select_option("indexed_archive")
    page.wait_for_selector(".examples >> text=_1.")
    enter(page, "filename_template", "{nope}")
    page.wait_for_selector("#error-field-filename_template:not([hidden])")
    enter(page, "filename_template", "x_{src_stem}")
    page.wait_for_selector(".examples >> text=x_")
    until(lambda: site.app.preferences.plan.rule.filename_template == "x_{src_stem}")
    page.click("text=Write a TXT caption too")
    to_field(page, "txt_template")
    uncover(page.locator(".variables"), page.locator(FOLDED))  # it may be open already: the field was looked for in it
    until(lambda: "{src_stem}" in shown(page.locator(".variables")))
