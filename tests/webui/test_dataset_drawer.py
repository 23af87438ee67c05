"""The drawer of training sets in a real browser: check, look at what was found, untick it, export, report."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page

from engine.config import ApiMode
from tests.bench import edits
from tests.bench.scenes import make_scene
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import config_for
from tests.support.replies import inline
from tests.webui.driver import AXE, Seen, Site, open_page, running

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
        assert site.console.batch.wait_idle(20)
        yield site


def test_from_findings_to_a_set(site: Site, page: Page, tmp_path: Path, seen: Seen) -> None:
    """What is wrong is shown with both pictures, a set with it is refused, and written once it is unticked."""
    open_page(page, site)
    page.get_by_role("button", name="Training set").click()
    drawer = page.get_by_role("dialog", name="Training set")
    drawer.get_by_role("button", name="Check pairs").click()
    drawer.get_by_text("4 pairs checked, 2 with findings.").wait_for()
    assert drawer.locator(".finding").count() == 2
    drawer.locator(".kinds .chip", has_text="shifted").click()
    finding = drawer.locator(".finding")
    finding.get_by_text("px").wait_for()
    assert finding.count() == 1
    assert "002_start.jpg" in (finding.text_content() or "")
    assert finding.locator(".cut").bounding_box()
    pictures = finding.locator("img")
    pictures.last.scroll_into_view_if_needed()
    page.wait_for_function("[...document.querySelectorAll('.finding img')].every((one) => one.naturalWidth > 0)")
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
    found = page.evaluate("""async () => (await axe.run('.dataset', { resultTypes: ['violations'] })).violations
      .flatMap((one) => one.nodes.map((node) => `${one.id}: ${node.target}`))""")
    assert found == []
    page.screenshot(path=str(tmp_path / "drawer.png"))
    page.keyboard.press("Escape")
    drawer.wait_for(state="detached")


def test_a_wrong_wish_is_shown_at_its_field(site: Site, page: Page, tmp_path: Path, seen: Seen) -> None:
    """A refusal stands at the control that it is about, and goes when that is changed."""
    seen.allowed.append("400")
    open_page(page, site)
    page.get_by_role("button", name="Training set").click()
    drawer = page.get_by_role("dialog", name="Training set")
    drawer.get_by_label("Folder for sets").fill(str(tmp_path / "in"))
    drawer.get_by_role("button", name="Export the set").click()
    drawer.locator("text=lies inside the folder of sources").wait_for()
    drawer.get_by_label("Folder for sets").fill(str(tmp_path / "sets"))
    drawer.get_by_label("Caption").first.select_option("template")
    drawer.get_by_label("Caption template").fill("{nobody}")
    drawer.get_by_role("button", name="Export the set").click()
    drawer.locator("text=which is no variable").wait_for()
