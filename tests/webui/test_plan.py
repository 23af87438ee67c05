"""How tasks are made of the pictures: a prompt table, variants, references; shown before anything is sent."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from engine.config import ApiConfig
from engine.models import TaskMatch
from engine.money import UNIT
from engine.tasks.costs import Came
from engine.upstream.bills import Bill, Price
from engine.vision.settings import JudgeConfig
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.fakes.vision import FakeVision
from tests.webui.driver import (
    Seen,
    Site,
    drawn,
    enter,
    go,
    hold,
    open_page,
    picture,
    running,
    shown,
    start,
    to_field,
    turn,
    until,
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The program with an empty data folder, and three pictures beside it."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, name in enumerate(("a.png", "a2.png", "b.png")):
        picture(folder / name, number)
    with running(tmp_path / "data") as site:
        yield site


def begin(page: Page, site: Site, tmp_path: Path, url: str, count: int = 3) -> None:
    """Fill in the form and open the part that is about tasks."""
    open_page(page, site)
    enter(page, "api_url", url)
    enter(page, "api_key", "k")
    enter(page, "input_path", str(tmp_path / "in"))
    page.wait_for_selector(f".found >> text={count:,} pictures")
    to_field(page, "prompt_table")


def test_prompt_table(site: Site, page: Page, tmp_path: Path, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of a table are shown beside their pictures, what has no partner is named, and they are what is sent."""
    seen.allowed.append("400")
    monkeypatch.setenv("HOME", str(tmp_path))
    table = tmp_path / "prompts.csv"
    table.write_text("file,prompt\na.png,make <i>it</i> red\nnone.png,lost\n", "utf-8")
    data = base64.b64encode(picture(tmp_path / "out.png", 9, mark=True).read_bytes()).decode()
    with FakeUpstream() as fake:
        fake.answer(Script.json({"data": [{"b64_json": data}]}))
        begin(page, site, tmp_path, fake.url("/v1/images/edits"))
        page.get_by_role("button", name="Choose a prompt table").click()
        page.locator(".folder-list button", has_text="prompts.csv").click()
        until(lambda: to_field(page, "prompt_table").input_value() == str(table))
        page.wait_for_selector("summary >> text=1 row without a picture")
        page.wait_for_selector("summary >> text=2 pictures without a row")
        go(page, "run")
        until(lambda: "make <i>it</i> red" in shown(page.locator(".first-tasks")))
        start(page)
        page.wait_for_selector(".card[data-status=done]")
        assert [request.json["prompt"] for request in fake.api_requests] == ["make <i>it</i> red"]
    go(page, "connect")
    until(lambda: "1 is answered already" in shown(page.locator(".found")))
    table.write_text("nothing,here\n", "utf-8")
    enter(page, "prompt_table", str(table) + " ")
    page.wait_for_selector("#error-field-prompt_table:not([hidden])")


def test_a_model_writes_the_prompts(site: Site, page: Page, tmp_path: Path) -> None:
    """From one intention a prompt for each picture, entered as the prompt table and shown before anything is sent."""
    with FakeUpstream() as eyes:
        eyes.answer_with(FakeVision().answer)
        site.app.vision.settings.set_config(
            JudgeConfig(api_url=eyes.url(), api_key="k", model_name="eyes", unlock_local_api_url=True)
        )
        begin(page, site, tmp_path, "http://127.0.0.1:9/v1/images/edits")
        page.click("text=Let a model write a prompt for each picture…")
        page.fill("#dialog-intention", "make it night")
        page.wait_for_selector(".takes >> text=3 calls")
        page.locator("dialog .button.primary").click()
        until(lambda: "prompt-tables" in to_field(page, "prompt_table").input_value())
        assert len(eyes.api_requests) == 3
        go(page, "run")
        until(lambda: shown(page.locator(".first-tasks")).count("turn it from") == 3)


def test_variants_and_references(site: Site, page: Page, tmp_path: Path) -> None:
    """Two variants of two groups are four tasks, counted before the start and made by it; the next start says what it
    costs, and at what pace."""
    with FakeUpstream() as fake:
        fake.answer(Script.error(400, "no"))
        begin(page, site, tmp_path, fake.url("/v1/images/edits"))
        to_field(page, "references").select_option("suffix")
        enter(page, "variants", "2")
        page.wait_for_selector(".found >> text=up to 4 API calls")
        go(page, "run")
        page.wait_for_selector("caption >> text=Prompts of 4 tasks")
        until(lambda: "+ a2.png" in shown(page.locator(".first-tasks")))
        start(page)
        page.wait_for_selector(".state >> text=All finished")
        assert len(site.app.store.ids(TaskMatch())) == 4
        enter(page, "price_per_call", "0.04")
        go(page, "run")
        until(lambda: re.search(r"Live now about 0\.16 at \d+ a minute\.", shown(page.locator(".compared"))))


def test_plan_is_remembered(site: Site, page: Page, tmp_path: Path) -> None:
    """Table, variants and references stay; asking anew for what is paid does not."""
    begin(page, site, tmp_path, "http://127.0.0.1:9/v1/images/edits")
    enter(page, "variants", "3")
    to_field(page, "fresh").check()
    until(lambda: site.app.preferences.ui.get("plan", {}).get("variants") == "3")
    page.reload()
    until(lambda: to_field(page, "variants").input_value() == "3")
    assert not to_field(page, "fresh").is_checked()


def test_a_new_key_ends_the_pause(site: Site, page: Page, tmp_path: Path, seen: Seen) -> None:
    """A run that pauses since its key is refused says so, offers to try one, to go on or to stop, and goes on by itself
    when another key is stored; what looks wrong then is shown, whether anything is left to pause for it or not."""
    seen.allowed.append("409")
    for number in range(30):
        picture(tmp_path / "in" / f"more{number}.png", number + 20)
    data = base64.b64encode(picture(tmp_path / "out.png", 9, mark=True).read_bytes()).decode()
    with FakeUpstream() as fake:

        def answer(request: Received) -> Script:
            good = request.headers["authorization"] == "Bearer good"
            return Script.json({"data": [{"b64_json": data}]}) if good else Script.error(401, "bad key")

        fake.answer_with(answer)
        begin(page, site, tmp_path, fake.url("/v1/images/edits"), 33)
        start(page)
        banner = page.locator(".banner.warn")
        banner.wait_for()
        assert "key_refused" not in shown(banner)
        assert "the API refuses the key" in shown(banner)
        assert "“Go on now”" in shown(banner), "what it advises is there"
        assert [shown(one) for one in banner.get_by_role("button").all()] == ["Try one picture", "Go on now", "Stop"]
        banner.get_by_role("button", name="Try one picture").click()
        page.locator("dialog .button.primary").click()
        until(lambda: len(fake.api_requests) > 20 and banner.is_visible())
        enter(page, "api_key", "good")
        page.click("text=Save settings")
        until(lambda: fake.api_requests[-1].headers["authorization"] == "Bearer good")
        go(page, "run")
        until(lambda: page.locator(".suspects .suspect").count() == 5)  # all got the same picture
        site.app.batch.stop()
        until(lambda: not site.app.batch.running)
        page.wait_for_selector(".suspects >> text=The run is over")
        until(lambda: page.locator(".suspects .suspect").count() == 5)


def test_what_a_start_means_is_told(site: Site, page: Page, tmp_path: Path) -> None:
    """Warnings of the program, the price of each delivery, and no batches where the connection has none."""
    site.app.preferences.set_config(ApiConfig(api_key="k", model_name="m", price_per_call=0.5))
    with FakeUpstream() as fake:
        begin(page, site, tmp_path, fake.url("/v1/chat/completions"))
        for name in ("1", "2"):
            (tmp_path / "in" / name).mkdir()
            picture(tmp_path / "in" / name / f"{name}.png", int(name))
        to_field(page, "references").select_option("folders")
        page.wait_for_selector(".found .warnings >> text=1.png")
        enter(page, "user_prompt", "edit it")
        until(lambda: "0.5" in shown(page.locator(".deliveries")))
        assert page.locator(".deliveries input").count() == 1
        enter(page, "api_url", fake.url("/v1/images/edits"))
        go(page, "run")
        page.wait_for_selector(".deliveries input[value=batch]")
        page.click(".deliveries input[value=batch]")
        until(lambda: "0.25" in shown(page.locator(".deliveries")))


def test_the_slip_does_not_jump_when_a_run_ends(site: Site, page: Page, tmp_path: Path) -> None:
    """Old figures do not unfold it for a moment, nor does it wait for new ones where something is left to ask: what a
    person is about to press stays where it is."""
    data = base64.b64encode(picture(tmp_path / "out.png", 9, mark=True).read_bytes()).decode()
    with FakeUpstream() as fake:
        fake.answer(Script.json({"data": [{"b64_json": data}]}))
        begin(page, site, tmp_path, fake.url("/v1/images/edits"))
        enter(page, "user_prompt", "edit it")
        enter(page, "model_name", "m")
        go(page, "run")
        page.wait_for_selector(".slip .primary:not([aria-busy=true]) >> text=Start 3 calls")
        asked = hold(page, "**/api/tasks/inspect")
        start(page)
        page.wait_for_selector(".state >> text=All finished")
        turn(page, lambda: bool(asked))
        drawn(page)
        assert page.locator(".slip").count() == 0
        page.unroute_all()
        fake.answer(Script.error(400, "no such thing"))
        enter(page, "user_prompt", "edit it well")
        go(page, "run")
        page.wait_for_selector(".slip .primary:not([aria-busy=true]) >> text=Start 3 calls")
        asked = hold(page, "**/api/tasks/inspect")
        start(page)
        page.wait_for_selector(".outcome.failed >> text=Failed 3")
        turn(page, lambda: bool(asked))
        drawn(page)
        assert page.locator(".slip").count() == 1


def test_more_calls_than_seen_are_asked_about_in_a_large_folder(site: Site, page: Page, tmp_path: Path) -> None:
    """A start never goes by figures that are older than the prompt, though thousands are not counted at once."""
    told = {"count": 6000, "calls": 0}

    def answer(route: Route) -> None:
        found = route.fetch()
        route.fulfill(response=found, json={**found.json(), **told})

    page.route("**/api/tasks/inspect", answer)
    begin(page, site, tmp_path, "http://127.0.0.1:9/v1/images/edits", count=6000)
    enter(page, "model_name", "m")
    enter(page, "user_prompt", "edit it")
    go(page, "run")
    page.wait_for_selector(".slip .primary:not([aria-busy=true]) >> text=Start 0 calls")
    told["calls"] = 6000
    enter(page, "user_prompt", "edit it well")
    go(page, "run")
    page.locator(".slip-guards .primary").click()
    page.wait_for_selector("dialog >> text=6,000")
    assert not site.app.batch.running


def test_costs_and_prices(site: Site, page: Page, tmp_path: Path, seen: Seen) -> None:
    """Before a start both deliveries say what they cost; what was spent is shown by run and day, and the table of
    prices takes entries, a refused one in words and nothing lost of it."""
    seen.allowed.append("400")
    site.app.costs.begin_run(ApiConfig(model_name="other"))
    costs = site.app.costs
    costs.settle(costs.admit(ApiConfig(model_name="other")), Came.ANSWER, Bill(UNIT // 4, told=True))
    costs.end_run()
    begin(page, site, tmp_path, "http://127.0.0.1:9/v1/images/edits")
    enter(page, "price_per_call", "0.04")
    go(page, "run")
    until(lambda: "Live now about 0.12." in shown(page.locator(".compared")))
    until(lambda: "Or by batch within 24 hours about 0.06." in shown(page.locator(".compared")))
    page.get_by_label("Batch, within a day").check()
    until(lambda: "about 0.06" in shown(page.locator(".slip-guards")))
    page.get_by_label("Now").check()
    page.get_by_role("button", name="Costs and prices").click()
    dialog = page.locator("dialog.costs")
    until(lambda: "0.25" in shown(dialog.locator("tbody tr").first))
    dialog.get_by_role("button", name="Day").click()
    until(lambda: "0.25" in shown(dialog.locator("tbody tr").first))
    dialog.get_by_role("button", name="Prices").click()
    dialog.get_by_role("button", name="Add an entry").click()
    dialog.get_by_role("button", name="Add an entry").click()  # left empty: none
    dialog.get_by_label("Model 1").fill("mine*")
    dialog.get_by_label("Per call 1").fill("-1")
    dialog.get_by_role("button", name="Save prices").click()
    until(lambda: "Per call" in shown(dialog.get_by_role("alert")))
    dialog.get_by_label("Per call 1").fill("0,5")
    dialog.get_by_role("button", name="Save prices").click()
    dialog.wait_for(state="detached")
    assert site.app.costs.prices.own == [Price(model="mine*", per_call=0.5)]
