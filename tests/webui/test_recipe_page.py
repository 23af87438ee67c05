"""The recipe in the form: what is wrong is told and marked where it stands, and one picture shows what comes of it."""

from __future__ import annotations

import json
from pathlib import Path

from playwright.sync_api import Page

from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.webui.driver import Seen, enter, open_page, picture, running, shown, to_field, until
from tests.webui.test_appearance import violations

RECIPE = {
    "request": {"url": "/edit", "json": {"model": "{{model}}", "pictures": ["{{imgae}}"], "text": "{{prompt}}"}},
    "result": {"pictures": ["made[]"]},
}


def test_a_recipe_is_checked_at_its_place_and_tried(page: Page, seen: Seen, tmp_path: Path) -> None:
    """Faults are told as they are typed, with the line, also of what is no JSON; the log of the one picture opens."""
    (tmp_path / "in").mkdir()
    picture(tmp_path / "in" / "1.png", 1)
    made = picture(tmp_path / "made.png", 2, mark=True).read_bytes()
    text = json.dumps(RECIPE, indent=2)
    seen.allowed.append("400")  # each fault is a refusal

    def answer(request: Received) -> Script:
        return Script.json({"made": ["/made.png"]}) if request.path == "/edit" else Script.error(404, "no such path")

    with FakeUpstream() as fake, running(tmp_path / "data") as site:
        fake.answer_with(answer)
        fake.picture(made, "/made.png")
        open_page(page, site)
        enter(page, "api_url", fake.url(""))
        enter(page, "recipe", text)
        told = page.locator("#error-field-recipe")
        told.wait_for()
        until(lambda: "request.json.pictures[0]" in shown(told) and "{{imgae}}" in shown(told))
        assert violations(page) == []
        page.screenshot(path=str(tmp_path / "fault.png"))
        until(lambda: shown(page.locator("pre.request")).startswith(f"POST {fake.url('/edit')} "))
        told.get_by_role("button", name="Go to line 6").click()
        marked = (
            "() => { const box = document.activeElement; return box.value.slice(box.selectionStart, box.selectionEnd) }"
        )
        until(lambda: page.evaluate(marked) == '"pictures"')
        page.screenshot(path=str(tmp_path / "marked.png"))
        enter(page, "recipe", text.replace("imgae", "image")[:-2])
        to_field(page, "recipe").blur()
        told.get_by_role("button", name="Go to line").wait_for()
        enter(page, "recipe", text.replace("imgae", "image"))
        told.wait_for(state="hidden")
        enter(page, "model_name", "m")
        enter(page, "input_path", str(tmp_path / "in"))
        enter(page, "user_prompt", "make it green")
        to_field(page, "recipe")
        page.get_by_role("button", name="Send", exact=True).click()
        log = page.locator(".drawer")
        log.wait_for()
        until(lambda: "/edit" in shown(log) and "made" in shown(log))
        page.locator(".probe img").nth(1).wait_for()
        page.screenshot(path=str(tmp_path / "log.png"))
        assert [request.path for request in fake.requests] == ["/edit", "/made.png"]
        assert fake.requests[0].json["text"] == "make it green"
        page.goto("about:blank")  # it would miss the program
