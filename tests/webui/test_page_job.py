"""The whole job by hand: configure, run, judge, save, against a fake API in each of its three modes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from engine.config import ApiConfig
from engine.models import Task, TaskMatch
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.webui.driver import (
    Seen,
    Site,
    choose_menu,
    enter,
    go,
    open_page,
    picture,
    running,
    save_all,
    shown,
    start,
    to_field,
    until,
)

MODES = {
    "chat_completions": "/v1/chat/completions",
    "responses": "/v1/responses",
    "images_edits": "/v1/images/edits",
}


def edited(mode: str, data: bytes) -> Script:
    """An answer of the mode that holds one picture."""
    text = base64.b64encode(data).decode()
    if mode == "chat_completions":
        delta = {"content": f"![image](data:image/png;base64,{text})"}
        return Script.events({"choices": [{"index": 0, "delta": delta}]})
    if mode == "responses":
        item = {"type": "image_generation_call", "status": "completed", "result": text}
        return Script.json({"output": [item]})
    return Script.json({"created": 1, "data": [{"b64_json": text}]})


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    """A fake paid API."""
    with FakeUpstream() as upstream:
        yield upstream


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The program with an empty data folder."""
    with running(tmp_path / "data") as site:
        yield site


def sources(tmp_path: Path, count: int) -> Path:
    """A folder of source pictures named N_start.png."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(count):
        picture(folder / f"{number}_start.png", number)
    return folder


def configure(page: Page, fake: FakeUpstream, path: str, folder: Path) -> None:
    """Fill in what a run needs."""
    enter(page, "api_url", fake.url(path))
    enter(page, "api_key", "k-123")
    enter(page, "model_name", "m")
    enter(page, "user_prompt", 'paint <b>it</b> "blue"')
    enter(page, "input_path", str(folder))
    page.wait_for_selector(".found >> text=3 pictures")


def wait_finished(page: Page) -> None:
    """Until the run bar says that nothing is open any more."""
    page.wait_for_selector(".state >> text=All finished", timeout=60_000)


@pytest.mark.parametrize("mode", MODES)
def test_job_in_each_mode(site: Site, page: Page, fake: FakeUpstream, tmp_path: Path, mode: str) -> None:
    """Inspect, start, tick, drop, undo, save one and save all work, whichever shape the API speaks."""
    results = [picture(tmp_path / f"out{n}.png", n, mark=True).read_bytes() for n in range(3)]
    fake.answer(*(edited(mode, data) for data in results))
    open_page(page, site)
    configure(page, fake, MODES[mode], sources(tmp_path, 3))
    until(lambda: "up to 3 API calls" in shown(page.locator(".found")))
    enter(page, "concurrency_limit", "1")
    start(page)
    wait_finished(page)
    until(lambda: page.locator(".card").count() == 3)
    until(lambda: page.evaluate("[...document.querySelectorAll('.tile img')].every((img) => img.naturalWidth > 0)"))

    first = page.locator("#card-0")
    first.get_by_role("button", name="Tick Result 1").click()
    until(lambda: not site.app.store.result(*ids(site, 0)).selected)
    page.keyboard.press("Control+z")
    until(lambda: site.app.store.result(*ids(site, 0)).selected)
    second = page.locator("#card-1")
    second.hover()
    second.get_by_role("button", name="Drop Result 1").click()
    until(lambda: site.app.store.result(*ids(site, 1)).deleted)

    out = tmp_path / "saved"
    enter(page, "output_dir", str(out))
    to_field(page, "rule").select_option("aitookit_edit")
    page.wait_for_selector(".examples >> text=0_end.png")
    go(page, "judge")
    choose_menu(page, first.get_by_role("button", name="Actions for"), "Save the result")
    until((out / "0_end.png").is_file)
    save_all(page)
    page.wait_for_selector(".toast >> text=2 pictures saved")
    saved = {file.name: file.read_bytes() for file in out.iterdir()}
    assert saved == {"0_end.png": results[0], "0_end_1.png": results[0], "2_end.png": results[2]}
    assert all(request.headers["authorization"] == "Bearer k-123" for request in fake.api_requests)


def ids(site: Site, at: int) -> tuple[str, str]:
    """Ids of a task and of its first result."""
    task = next(task for task in all_tasks(site) if task.source_name.startswith(f"{at}_"))
    return task.id, task.results[0].id


def all_tasks(site: Site) -> list[Task]:
    """Every task that the program knows."""
    return list(site.app.store.tasks(TaskMatch()))


def test_stop_resume_retry(site: Site, page: Page, fake: FakeUpstream, tmp_path: Path) -> None:
    """A run can be stopped and resumed; failures are retried alone, together, and with a clean slate, after asking."""
    data = picture(tmp_path / "out.png", 1, mark=True).read_bytes()
    fake.answer(Script(silent=True))
    open_page(page, site)
    configure(page, fake, MODES["images_edits"], sources(tmp_path, 3))
    start(page)
    page.wait_for_selector(".card[data-status=processing]")
    page.click(".figures .stop")
    page.wait_for_selector(".outcome >> text=Continue 3 pictures")

    fake.answer(Script.error(400, "no <i>such</i> thing"))
    page.click(".outcome >> text=Continue 3 pictures")
    page.wait_for_selector(".outcome.failed >> text=Failed 3")
    until(lambda: "no <i>such</i> thing" in shown(page.locator("#card-0")))

    fake.answer(edited("images_edits", data))
    page.locator("#card-0").get_by_role("button", name="Retry").click()
    until(lambda: "calls the API 1 more time, which may be billed again" in shown(page.locator("dialog")))
    page.click("dialog >> text=Call again")
    page.wait_for_selector("#card-0[data-status=done]")
    page.click(".outcome.failed >> text=Retry as it is")
    page.click("dialog >> text=Call again")
    for n in range(3):
        page.wait_for_selector(f"#card-{n}[data-status=done]")
    assert [len(task.results) for task in all_tasks(site)] == [1, 1, 1]

    other = picture(tmp_path / "other.png", 7, mark=True).read_bytes()
    fake.answer(edited("images_edits", other))
    choose_menu(page, page.locator("#card-2").get_by_role("button", name="Actions for"), "Clear results and retry")
    until(lambda: "1 result is deleted first" in shown(page.locator("dialog")))
    page.click("dialog >> text=Call again")
    until(lambda: [one.size for one in all_tasks(site)[2].results] == [len(other)])


def test_delete_and_clear_ask_first(site: Site, page: Page, fake: FakeUpstream, tmp_path: Path) -> None:
    """Deleting says what is lost; cancel keeps it, agreeing deletes it; the sources stay."""
    fake.answer(edited("images_edits", picture(tmp_path / "o.png", 1, mark=True).read_bytes()))
    folder = sources(tmp_path, 3)
    open_page(page, site)
    configure(page, fake, MODES["images_edits"], folder)
    start(page)
    wait_finished(page)
    go(page, "judge")
    menu = page.locator("#card-0").get_by_role("button", name="Actions for")
    choose_menu(page, menu, "Delete from the list")
    until(lambda: "1 result that cost an API call" in shown(page.locator("dialog")))
    page.click("dialog >> text=Cancel")
    choose_menu(page, menu, "Delete from the list")
    page.click("dialog .button.danger")
    page.wait_for_selector(".list-count >> text=2 pictures")
    choose_menu(page, page.get_by_role("button", name="More", exact=True), "Clear the list")
    until(lambda: "2 tasks are deleted" in shown(page.locator("dialog")))
    page.click("dialog .button.danger")
    page.wait_for_selector(".welcome")
    assert len(list(folder.iterdir())) == 3


def test_presets(site: Site, page: Page, tmp_path: Path) -> None:
    """Presets are saved, applied, exported, deleted and imported; keys never leave."""
    open_page(page, site)
    enter(page, "api_url", "http://127.0.0.1:9/v1/images/edits")
    enter(page, "api_key", "secret-key")
    page.get_by_role("button", name="Save as a preset").click()
    page.fill("#dialog-text", 'mine <b>"1"</b>')
    page.keyboard.press("Enter")
    page.wait_for_selector(".toast >> text=saved")
    enter(page, "model_name", "other")
    page.locator(".connections button").click()
    until(lambda: to_field(page, "model_name").input_value() != "other")
    with page.expect_download() as download:
        choose_menu(page, page.get_by_role("button", name="Preset actions"), "Export presets")
    exported = Path(download.value.path()).read_text("utf-8")
    assert list(json.loads(exported)["presets"]) == ['mine <b>"1"</b>']
    assert "secret-key" not in exported
    choose_menu(page, page.get_by_role("button", name="Preset actions"), "Delete this preset")
    page.click("dialog .button.danger")
    until(lambda: not site.app.presets.all())
    file = tmp_path / "presets.json"
    file.write_text(exported, "utf-8")
    page.set_input_files(".connect-rail input[type=file]", str(file))
    page.wait_for_selector(".toast >> text=1 preset imported")
    file.write_text("{no", "utf-8")
    page.set_input_files(".connect-rail input[type=file]", str(file))
    page.wait_for_selector(".toast.error >> text=not a valid JSON")


def test_preset_deeds_wait_their_turn(site: Site, page: Page) -> None:
    """A preset chosen while another is still being applied is applied as well, after it."""
    for name in ("first", "second"):
        site.app.presets.put(name, ApiConfig(api_url=f"http://127.0.0.1:9/{name}", model_name=name))
    open_page(page, site)
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        held.append(route)

    page.route("**/api/presets/apply", hold_the_first)
    page.locator(".connections >> text=first").click()
    until(lambda: page.evaluate("true") and bool(held))
    page.locator(".connections >> text=second").click()
    held[0].continue_()
    page.wait_for_selector(".toast >> text=second")
    until(lambda: to_field(page, "model_name").input_value() == "second")
    until(lambda: shown(page.locator(".connections [aria-pressed=true]")) == "second")


def test_connection_test_spends_nothing(site: Site, page: Page, fake: FakeUpstream) -> None:
    """The connection test says whether the API answers, and sends no picture."""
    fake.answer(Script.error(405, "method"))
    open_page(page, site)
    enter(page, "api_url", fake.url(MODES["images_edits"]))
    enter(page, "api_key", "k")
    page.click("text=Test connection")
    page.wait_for_selector(".panel.passed")
    assert all(len(request.body) == 0 for request in fake.requests)
    enter(page, "api_url", "http://127.0.0.1:9/v1/images/edits")
    enter(page, "api_key", "k")
    page.click("text=Test connection")
    page.wait_for_selector(".panel.refused")


def test_template_fills_the_form(site: Site, page: Page) -> None:
    """A starting point fills the form and can be taken back."""
    open_page(page, site)
    before = to_field(page, "api_url").input_value()
    page.get_by_role("button", name="OpenRouter", exact=True).click()
    until(lambda: "openrouter.ai" in to_field(page, "api_url").input_value())
    page.click(".toast >> text=Undo")
    until(lambda: to_field(page, "api_url").input_value() == before)


def test_two_results_each(site: Site, page: Page, fake: FakeUpstream, tmp_path: Path, seen: Seen) -> None:
    """Several results of a picture stand side by side, and each is ticked on its own."""
    first, second = (picture(tmp_path / f"o{n}.png", n, mark=True).read_bytes() for n in (1, 2))
    both = [{"b64_json": base64.b64encode(data).decode()} for data in (first, second)]

    def answer(request: Received) -> Script:
        return Script.json({"data": both})

    fake.answer_with(answer)
    open_page(page, site)
    configure(page, fake, MODES["images_edits"], sources(tmp_path, 3))
    start(page)
    wait_finished(page)
    page.locator("#card-0").get_by_role("button", name="Tick Result 2").click()
    until(lambda: [one.selected for one in all_tasks(site)[0].results] == [True, False])
