"""The debug log drawer: attempts in order, events as they came, live while it runs, and out of the page as a file."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.fakes.upstream import FakeUpstream, Script
from tests.webui.driver import Site, enter, open_page, picture, running, shown, start, until


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The program with an empty data folder, and one source picture beside it."""
    picture(tmp_path / "one.png", 1)
    with running(tmp_path / "data") as site:
        yield site


def run_one(page: Page, site: Site, fake: FakeUpstream, tmp_path: Path) -> None:
    """Run the one picture."""
    open_page(page, site)
    enter(page, "api_url", fake.url("/v1/images/edits"))
    enter(page, "api_key", "top-secret")
    enter(page, "input_path", str(tmp_path / "one.png"))
    enter(page, "retry_interval", "0.1")
    start(page)
    page.wait_for_selector(".card")


def partial(data: bytes, n: int) -> dict[str, object]:
    return {"type": "image_edit.partial_image", "partial_image_index": n, "b64_json": base64.b64encode(data).decode()}


def test_attempts_events_filter_copy_download(site: Site, page: Page, tmp_path: Path) -> None:
    """Two attempts stand apart; words and kinds filter; the text is copied and downloaded; the key is nowhere."""
    data = picture(tmp_path / "out.png", 2, mark=True).read_bytes()
    with FakeUpstream() as fake:
        done = {"type": "image_edit.completed", "b64_json": base64.b64encode(data).decode()}
        fake.answer(Script.error(503, "busy <b>now</b>"), Script.events(partial(data, 0), done))
        run_one(page, site, fake, tmp_path)
        page.wait_for_selector(".card[data-status=done]")
        page.locator(".list").focus()
        page.keyboard.press("l")
        until(lambda: page.locator(".drawer .attempt").count() == 2)
        text = shown(page.locator(".drawer"))
        assert "HTTP 503" in text
        assert "top-secret" not in page.content()
        page.select_option(".drawer select", "extracted")
        until(lambda: page.locator(".drawer .entry").count() == 1)
        page.select_option(".drawer select", "")
        page.fill(".drawer input[type=search]", "busy <b>now")
        until(lambda: page.locator(".drawer .attempt").count() == 1)
        with page.expect_download() as download:
            page.get_by_role("button", name="Download the log").click()
        log = Path(download.value.path()).read_text("utf-8")
        assert "503" in log
        assert "top-secret" not in log
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.get_by_role("button", name="Copy the log").click()
        page.wait_for_selector(".toast >> text=Copied")
        assert page.evaluate("navigator.clipboard.readText()") == log


def test_live_with_progress_and_preview(site: Site, page: Page, tmp_path: Path) -> None:
    """While the task runs, events come in by themselves, with its progress and the preview that the API sends."""
    data = picture(tmp_path / "out.png", 2, mark=True).read_bytes()
    progress = {"type": "image_generation.partial_image", "b64_json": "", "progress": 40}
    done = {"type": "image_edit.completed", "b64_json": base64.b64encode(data).decode()}
    script = Script.events(progress, partial(data, 0), done)
    cut = script.body.rindex(b"data: {", 0, len(script.body) - 20)
    with FakeUpstream() as fake:
        rest = threading.Event()
        slow = Script(body=script.body, content_type=script.content_type, cuts=(cut,), gate=rest, framing="close")
        fake.answer(slow)
        run_one(page, site, fake, tmp_path)
        page.wait_for_selector(".card[data-status=processing]")
        page.locator(".list").focus()
        page.keyboard.press("l")
        page.wait_for_selector(".drawer .live")
        page.wait_for_selector(".drawer .preview")
        until(lambda: page.evaluate("document.querySelector('.drawer .preview')?.naturalWidth > 0"))
        until(lambda: "%" in shown(page.locator(".drawer .live")))
        rest.set()
        page.wait_for_selector(".card[data-status=done]")
        until(lambda: page.locator(".drawer .live").count() == 0)
        until(lambda: page.locator(".drawer .kind-extracted").count() == 1)
