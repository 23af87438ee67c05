"""The drawer of training sets in a real browser: check, look at what was found, untick it, export, report."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route

from bridge import jobs
from bridge.usecases import datasets
from engine.config import ApiMode
from engine.dataset.measure import Measured, Measurer
from tests.bench import edits
from tests.bench.scenes import make_scene
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import config_for
from tests.support.replies import inline
from tests.webui.driver import AXE, Held, Seen, Site, go, let_through, open_page, running, shown, until

SIZE = (320, 240)


def png(picture: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(picture)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Four answered tasks: two good ones, one shifted, one that is another scene."""
    source = tmp_path / "in"
    source.mkdir()
    scenes = [make_scene(number, SIZE) for number in range(4)]
    rng = np.random.default_rng(2)
    targets = [edits.recolour(rng, one) for one in scenes]
    targets[2] = np.roll(targets[2], (8, 15), (0, 1))
    targets[3] = make_scene(99, SIZE).picture
    for number, one in enumerate(scenes):
        Image.fromarray(one.picture).save(source / f"{number:03}_start.jpg", quality=92)
    with FakeUpstream() as fake, running(tmp_path / "data") as site:
        fake.answer(*(inline(ApiMode.CHAT_COMPLETIONS, png(target)) for target in targets))
        body = {"input_path": str(source), "config": config_for(fake, concurrency_limit=1)}
        assert httpx.post(f"{site.url}/api/tasks/start", json=body, trust_env=False).status_code == 200
        assert site.app.batch.wait_idle(60)
        yield site


def test_from_findings_to_a_set(site: Site, page: Page, tmp_path: Path, seen: Seen) -> None:
    """What is wrong is shown with both pictures, a set with it is refused, and written once it is unticked."""
    open_page(page, site)
    go(page, "set")
    drawer = page.locator("main.set")
    drawer.get_by_role("button", name="Check pairs").click()
    drawer.get_by_text("4 pairs checked, 2 with findings.").wait_for()
    until(lambda: drawer.locator(".finding").count() == 2)
    drawer.locator(".kinds .chip", has_text="shifted").click()
    finding = drawer.locator(".finding")
    until(lambda: finding.count() == 1)
    finding.get_by_text("px").wait_for()
    assert "002_start.jpg" in (finding.text_content() or "")
    until(lambda: finding.locator(".cut").bounding_box())
    pictures = finding.locator("img")
    pictures.last.scroll_into_view_if_needed()
    until(lambda: page.evaluate("[...document.querySelectorAll('.finding img')].every((one) => one.naturalWidth > 0)"))
    drawer.locator(".kinds .chip", has_text="All").click()

    drawer.get_by_label("Folder for sets").fill(str(tmp_path / "sets"))
    drawer.get_by_role("button", name="Export the set").click()
    drawer.locator(".note.bad", has_text="2 of 4 pairs did not pass preflight").wait_for()
    assert list((tmp_path / "sets").iterdir()) == []
    drawer.get_by_role("button", name="Untick these 2").click()
    page.get_by_text("2 results unticked").wait_for()
    drawer.get_by_role("button", name="Export the set").click()
    drawer.locator(".note.good", has_text="set_v001").wait_for()
    assert len(list((tmp_path / "sets" / "set_v001" / "target").glob("*.txt"))) == 2

    drawer.get_by_label("Report file").fill(str(tmp_path / "report.html"))
    drawer.get_by_role("button", name="Write report").click()
    drawer.locator(".note.good", has_text="report.html").wait_for()
    assert (tmp_path / "report.html").read_text("utf-8").startswith("<!doctype html>")
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("""async () => (await axe.run('main', { resultTypes: ['violations'] })).violations
      .flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.target}`))""")
    assert found == []
    page.screenshot(path=str(tmp_path / "drawer.png"))


def test_a_job_that_ends_before_its_begin_is_answered(site: Site, page: Page) -> None:
    """What the stream told of its end stands, and what it found is shown."""
    open_page(page, site)
    go(page, "set")
    drawer = page.locator("main.set")
    begin = Held(page, "**/api/dataset/preflight")
    drawer.get_by_role("button", name="Check pairs").click()
    begin.wait()
    drawer.get_by_text("4 pairs checked, 2 with findings.").wait_for()
    begin.let_go()
    until(lambda: drawer.locator(".finding").count() == 2)
    assert drawer.get_by_text("4 pairs checked, 2 with findings.").count() == 1


def test_a_wrong_wish_is_shown_at_its_field(site: Site, page: Page, tmp_path: Path, seen: Seen) -> None:
    """A refusal stands at the control that it is about, and goes when that is changed."""
    seen.allowed.append("400")
    open_page(page, site)
    go(page, "set")
    drawer = page.locator("main.set")
    drawer.get_by_label("Folder for sets").fill(str(tmp_path / "in"))
    drawer.get_by_role("button", name="Export the set").click()
    drawer.locator("text=lies inside the folder of sources").wait_for()
    drawer.get_by_label("Folder for sets").fill(str(tmp_path / "sets"))
    drawer.get_by_label("Caption").first.select_option("template")
    drawer.get_by_label("Caption template").fill("{nobody}")
    drawer.get_by_role("button", name="Export the set").click()
    drawer.locator("text=which is no variable").wait_for()


def test_repeats_by_folder_are_rows(site: Site, page: Page, tmp_path: Path, seen: Seen) -> None:
    """A folder and its number are entered, taken out again, and sent; what is wrong with them is told at the rows."""
    seen.allowed.append("400")
    open_page(page, site)
    go(page, "set")
    rows = page.locator("main.set fieldset.counts")
    page.get_by_role("button", name="Direction, sizes, paths").click()
    for number, name in enumerate(("faces", "x", "faces"), 1):
        rows.get_by_role("button", name="Add a folder").click()
        rows.get_by_label(f"Folder {number}", exact=True).fill(name)
    rows.get_by_label("Repeats of folder 1").fill("3")
    rows.get_by_label("Repeats of folder 1").blur()
    rows.get_by_text("stands in two rows").wait_for()
    rows.get_by_role("button", name="Remove row 3").click()
    rows.get_by_role("button", name="Remove row 2").click()
    until(lambda: rows.locator("input").count() == 2)
    page.locator("main.set").get_by_label("Folder for sets").fill(str(tmp_path / "sets"))
    with page.expect_request("**/api/dataset/export") as sent:
        page.get_by_role("button", name="Export the set").click()
    assert json.loads(sent.value.post_data or "")["folder_repeats"] == {"faces": 3}
    rows.locator(".field-error", has_text="faces").wait_for()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A check waits before the last pair until this is set; what it finds and its rate are told at once."""
    go_on, measure = threading.Event(), Measurer.measure

    def held_back(self: Measurer, control: str, *rest: Any) -> Measured:
        if "003" in control:
            go_on.wait(60)
        return measure(self, control, *rest)

    monkeypatch.setattr(Measurer, "measure", held_back)
    monkeypatch.setattr(datasets, "_TELL_SECONDS", 0)
    monkeypatch.setattr(jobs, "_LEAST_SECONDS", 0)
    yield go_on
    go_on.set()


def test_findings_filter_the_list(site: Site, page: Page, seen: Seen, held: threading.Event, tmp_path: Path) -> None:
    """What a check found is shown while it goes, with rate and time left. The filter menu counts each kind and shows
    only its pairs, which say what is wrong; a drop takes one away. The list can be sorted by what was measured."""
    open_page(page, site)
    rail = page.locator(".rail")
    rail.get_by_role("button", name="Check pairs").click()
    drawer = page.locator("main.set")
    drawer.locator(".job", has_text=re.compile(r"Checking\s+3/4 · [\d,.]+ pairs a minute · .+ left")).wait_for()
    drawer.locator(".finding", has_text="002_start.jpg").wait_for()
    page.screenshot(path=str(tmp_path / "while.png"))
    held.set()
    drawer.get_by_text("4 pairs checked, 2 with findings.").wait_for()
    drawer.locator(".kinds .chip", has_text="shifted").click()
    drawer.get_by_role("button", name="Show in the list").click()
    page.wait_for_selector("main.judge")
    until(lambda: page.locator(".card:not(.empty)").count() == 1)
    assert "002_start.jpg" in shown(page.locator(".card"))
    until(lambda: shown(page.locator(".card footer")) == "shifted")
    until(lambda: shown(page.locator(".list-count")) == "1 of 4")
    found_rows = rail.locator("fieldset", has_text="Findings of the check").locator(".facet")
    counts = {"Any finding 2", "Shifted 1", "Little in common with the source 1"}
    until(lambda: {" ".join(one.split()) for one in found_rows.all_inner_texts()} == counts)
    assert found_rows.filter(has_text="Shifted").locator("input").is_checked()
    found_rows.filter(has_text="Any finding").click()
    until(lambda: page.locator(".card:not(.empty)").count() == 2)
    page.select_option(".sort select", "likeness")
    until(lambda: page.locator(".card .name").all_inner_texts() == ["003_start.jpg", "002_start.jpg"])
    page.select_option(".sort select", "order")
    until(lambda: page.locator(".card .name").all_inner_texts() == ["002_start.jpg", "003_start.jpg"])
    page.locator(".card .picture").first.click()
    page.locator(".found-wrong", has_text="shifted").wait_for()
    page.keyboard.press("x")
    page.locator(".review h2", has_text="003").wait_for()
    page.keyboard.press("Escape")
    until(lambda: page.locator(".card .name").all_inner_texts() == ["003_start.jpg"], why="the dropped pair is shown")
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("""async () => (await axe.run({ resultTypes: ['violations'] })).violations
      .flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.target}`))""")
    assert found == []


def test_the_kind_chosen_last_is_shown(site: Site, page: Page) -> None:
    """Another kind chosen while the first is still asked for is the one that is shown, whichever answer comes last."""
    open_page(page, site)
    go(page, "set")
    drawer = page.locator("main.set")
    drawer.get_by_role("button", name="Check pairs").click()
    drawer.get_by_text("4 pairs checked, 2 with findings.").wait_for()
    until(lambda: drawer.locator(".finding").count() == 2)
    held: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if held:
            route.continue_()
        held.append(route)

    page.route("**/api/dataset/findings?*", hold_the_first)
    drawer.locator(".kinds .chip", has_text="shifted").click()
    until(lambda: page.evaluate("true") and bool(held))
    drawer.locator(".kinds .chip", has_text="little in common").click()
    until(lambda: drawer.locator(".finding").count() == 1)
    assert "003_start.jpg" in shown(drawer.locator(".findings"))
    let_through(page, held[0])
    assert "003_start.jpg" in shown(drawer.locator(".findings"))


def test_kinds_can_be_allowed(site: Site, page: Page, tmp_path: Path, seen: Seen) -> None:
    """What was found may be taken all the same, kind by kind; names follow a template; the form outlives the page."""
    seen.allowed.append("400")
    open_page(page, site)
    go(page, "set")
    drawer = page.locator("main.set")
    drawer.get_by_label("Names in the set").fill("{nobody}")
    drawer.get_by_label("Folder for sets").fill(str(tmp_path / "sets"))
    drawer.get_by_role("button", name="Export the set").click()
    drawer.locator("#error-field-set-stem_template", has_text="nobody").wait_for()
    drawer.get_by_label("Names in the set").fill("night-{src_stem}")
    drawer.get_by_role("button", name="Export the set").click()
    drawer.locator(".note.bad", has_text="did not pass preflight").wait_for()
    allowed = drawer.get_by_role("group", name="Keep anyway")
    allowed.get_by_label("shifted").check()
    allowed.get_by_label("little in common").check()
    until(lambda: len(site.app.preferences.ui.get("allow", [])) == 2)
    until(lambda: site.app.preferences.ui.get("set_form", {}).get("stem_template") == "night-{src_stem}")
    page.reload()
    page.wait_for_selector("main.set")
    until(allowed.get_by_label("shifted").is_checked)
    drawer.get_by_role("button", name="Export the set").click()
    drawer.locator(".note.good", has_text="set_v001").wait_for()
    names = {path.stem for path in (tmp_path / "sets" / "set_v001" / "target").glob("*.txt")}
    assert names == {f"night-{number:03}-start" for number in range(4)}


def test_shifted_pairs_can_be_cut(site: Site, page: Page, tmp_path: Path, seen: Seen) -> None:
    """Beside a shifted pair stands the offer to cut it, with what would be left; the set then holds it, cut."""
    open_page(page, site)
    go(page, "set")
    drawer = page.locator("main.set")
    drawer.get_by_role("button", name="Check pairs").click()
    drawer.get_by_text("4 pairs checked, 2 with findings.").wait_for()
    drawer.locator(".kinds .chip", has_text="little in common").click()
    until(lambda: drawer.locator(".offer").count() == 0)
    drawer.get_by_role("button", name="Untick these 1").click()
    page.get_by_text("1 results unticked").wait_for()
    drawer.locator(".kinds .chip", has_text="shifted").click()
    drawer.locator(".finding", has_text="of the source would be left").wait_for()
    drawer.locator(".offer").get_by_label("cut shifted or zoomed pairs").check()
    drawer.locator(".finding", has_text="will be cut to").wait_for()
    drawer.locator("#field-set-size_rule").select_option("as_it_came")
    drawer.get_by_label("Folder for sets").fill(str(tmp_path / "sets"))
    drawer.get_by_role("button", name="Export the set").click()
    drawer.locator(".note.good", has_text="set_v001").wait_for()
    folder = tmp_path / "sets" / "set_v001"
    with (
        Image.open(folder / "target" / "0003.png") as target,
        Image.open(next(folder.glob("control/0003.*"))) as control,
    ):
        assert target.size == control.size
        assert target.width < SIZE[0]
        assert target.height < SIZE[1]


def test_price_for_the_report(site: Site, page: Page, tmp_path: Path, seen: Seen) -> None:
    """The price of a call is entered beside the report; one that cannot be is refused at its field."""
    seen.allowed.append("400")
    open_page(page, site)
    go(page, "set")
    drawer = page.locator("main.set")
    drawer.get_by_label("Report file").fill(str(tmp_path / "report.html"))
    drawer.get_by_label("Price per call").fill("-1")
    drawer.get_by_role("button", name="Write report").click()
    drawer.locator("#error-field-set-price_per_call", has_text="Enter a number from 0").wait_for()
    drawer.get_by_label("Price per call").fill("0.5")
    drawer.get_by_role("button", name="Write report").click()
    drawer.locator(".note.good", has_text="report.html").wait_for()
    assert "<dd>2.00</dd>" in (tmp_path / "report.html").read_text("utf-8")
