"""A real Chromium for the page's tests, and the rule that its console stays free of errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.browser import CHROMIUM
from tests.webui.driver import Seen, watch

THROTTLE = float(os.environ.get("PAGE_THROTTLE", "1"))
"""How many times slower than this machine the browser's scripts run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder needs a browser."""
    for item in items:
        if "page" in getattr(item, "fixturenames", ()) and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, without a screen."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def seen() -> Iterator[Seen]:
    """Console errors of a test's pages; any that the test did not allow fails it."""
    record = Seen()
    yield record
    assert record.real() == []


@pytest.fixture
def page(browser: Browser, seen: Seen) -> Iterator[Page]:
    """A fresh page in English at 1280 by 800."""
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="en", accept_downloads=True)
    context.set_default_timeout(30_000)
    page = context.new_page()
    watch(page, seen)
    if THROTTLE > 1:
        context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": THROTTLE})
    yield page
    context.close()
