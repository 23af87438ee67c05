"""Try: from an empty project to a chosen prompt in few inputs, votes by keys, and the missing calls after it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page

from engine.config import ApiMode
from tests.bridge.test_judging import JUDGE_KEY
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.fakes.vision import FakeVision, coloured
from tests.support.replies import inline
from tests.webui.driver import Site, choose_menu, go, open_page, picture, running, shown, to_field, until
from tests.webui.test_appearance import violations

PROMPTS = ("make it red", "make it blue", "make it green")
COUNT = 8


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    """An API that paints what the prompt says."""

    def answer(request: Received) -> Script:
        text = request.json["messages"][-1]["content"][0]["text"]
        colour = next(one for one in ("red", "blue", "green") if one in text)
        return inline(ApiMode.CHAT_COMPLETIONS, coloured(colour, len(upstream.requests)))

    with FakeUpstream() as upstream:
        upstream.answer_with(answer)
        yield upstream


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The program with an empty data folder, and a folder of pictures beside it."""
    for number in range(COUNT):
        (tmp_path / "in").mkdir(exist_ok=True)
        picture(tmp_path / "in" / f"{number}.png", number)
    with running(tmp_path / "data") as site:
        yield site


class Hand:
    """A person's inputs, counted: a click, a key, a field filled in."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.inputs = 0

    def click(self, what: Locator) -> None:
        self.inputs += 1
        what.click()

    def fill(self, what: Locator, text: str) -> None:
        self.inputs += 1
        what.fill(text)

    def press(self, key: str) -> None:
        self.inputs += 1
        self.page.keyboard.press(key)


def prompt(page: Page, at: int) -> Locator:
    """Where the prompt of a column is written."""
    return page.locator(".trial thead textarea").nth(at)


def voted(site: Site) -> list[int | None]:
    """The votes of the last trial."""
    return [row.vote for row in site.app.vision.trials.all()[0].rows]


def cells(page: Page, count: int) -> None:
    """Until so many cells have their picture."""
    until(lambda: page.locator(".cell-picture img").count() == count)


def test_from_an_empty_project_to_a_chosen_prompt(site: Site, page: Page, fake: FakeUpstream, tmp_path: Path) -> None:
    """Five pictures by three prompts, voted and chosen in at most 12 inputs; the run then makes the missing calls."""
    open_page(page, site)
    for field, text in (("api_url", fake.url()), ("api_key", "k"), ("model_name", "m")):
        to_field(page, field).fill(text)
    hand = Hand(page)
    hand.fill(to_field(page, "input_path"), str(tmp_path / "in"))
    page.wait_for_selector(f".found >> text={COUNT} pictures")
    hand.click(page.locator(".way-place").nth(1))
    for at, text in enumerate(PROMPTS):
        hand.fill(prompt(page, at), text)
    until(lambda: shown(page.locator(".try-start")) == "Try: 15 calls")
    hand.click(page.locator(".try-start"))
    cells(page, 15)
    for key in "22121":
        hand.press(key)
    until(lambda: voted(site) == [1, 1, 0, 1, 0])
    page.wait_for_selector(".trial tfoot .leads")
    hand.click(page.locator(".trial tfoot .leads .button"))
    page.wait_for_selector("main.run")
    assert hand.inputs <= 12
    print(f"inputs: {hand.inputs}")
    assert to_field(page, "user_prompt").input_value() == PROMPTS[1]
    page.wait_for_selector(f".slip-guards >> text=Start {COUNT - 5} calls")
    before = len(fake.api_requests)
    page.locator(".slip-guards .primary").click()
    page.wait_for_selector(".state >> text=All finished", timeout=60_000)
    assert len(fake.api_requests) == before + COUNT - 5


def test_votes_columns_and_earlier_trials(site: Site, page: Page, fake: FakeUpstream, tmp_path: Path) -> None:
    """Scores show after the vote; keys work large too; columns are added, changed, removed, starred and found again;
    what is paid is not paid twice; an earlier trial comes back and is deleted."""
    config = {"api_url": fake.url(), "api_key": "k", "model_name": "m", "unlock_local_api_url": True}
    vision = FakeVision()
    with FakeUpstream() as judge:
        judge.answer_with(vision.answer)
        open_page(page, site)
        for field in ("api_url", "api_key", "model_name"):
            to_field(page, field).fill(str(config[field]))
        to_field(page, "input_path").fill(str(tmp_path / "in"))
        page.evaluate(
            """(config) => fetch('/api/judge/config', { method: 'POST', body: JSON.stringify({ config }),
            headers: { 'Content-Type': 'application/json', 'X-Requested-With': 'image-batch-console' } })""",
            {**config, "api_url": judge.url(), "api_key": JUDGE_KEY, "model_name": "eyes"},
        )
        go(page, "try")
        prompt(page, 0).fill(PROMPTS[0])
        page.fill("#field-trial-sample", "2")
        page.locator(".try-start").click()
        cells(page, 2)
        page.locator(".trial-tools >> text=Score").last.click()
        page.wait_for_selector(".cell-facts >> text=Score shows after the vote")
        page.wait_for_selector(".cell-facts .numbers")
        page.locator(".trial-scroll").focus()
        page.keyboard.press("1")
        page.wait_for_selector("tr:not(.current) .score-number")
        until(lambda: page.locator(".score-number").count() == 1)
        page.keyboard.press("Enter")
        page.keyboard.press("ArrowUp")
        page.wait_for_selector(".trial-large .button.primary[aria-pressed=true]")
        assert violations(page) == []
        page.keyboard.press("ArrowDown")
        page.wait_for_selector(".trial-large .layer img")
        page.keyboard.press("0")
        page.keyboard.press("Escape")
        until(lambda: voted(site) == [0, -1])
        assert violations(page) == []
        page.get_by_role("button", name="Keep prompt 1 in the library").click()
        page.get_by_role("button", name="Add a column").click()
        prompt(page, 1).fill(PROMPTS[1])
        until(lambda: shown(page.locator(".try-start")) == "Try: 2 calls")
        page.get_by_role("button", name="Connection and parameters of column 2").click()
        page.fill("#column-model", "other")
        page.locator("dialog .primary").click()
        until(lambda: shown(page.locator(".column-model").nth(1)) == "other")
        page.locator(".try-start").click()
        cells(page, 4)
        assert len(fake.api_requests) == 4
        assert [request.json["model"] for request in fake.api_requests].count("other") == 2
        page.get_by_role("button", name="Remove column 1").click()
        cells(page, 2)
        page.locator(".trial-tools >> text=My prompts").click()
        page.fill("dialog input[type=search]", "red")
        page.locator(".library .choice").click()
        until(lambda: prompt(page, 1).input_value() == PROMPTS[0])
        earlier = page.locator(".trial-tools >> text=Earlier trials")
        choose_menu(page, earlier, "Delete this trial…")
        page.locator("dialog .danger").click()
        until(lambda: len(site.app.vision.trials.all()) == 1)
        page.wait_for_selector(".cell.chosen .cell-picture")
        until(lambda: [prompt(page, at).input_value() for at in (0, 1)] == [PROMPTS[0], PROMPTS[1]])
        cells(page, 2)
    assert len(vision.seen) == 2
