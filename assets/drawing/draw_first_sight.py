"""Draws what the READMEs show, from the demo in Chromium: one moving picture and four views, in each language.
``PYTHONPATH=. .venv-test/bin/python assets/drawing/draw_first_sight.py`` writes assets/screenshots/LANGUAGE/*.webp."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from bridge.environment import read_environment
from bridge.http.server import Server, bind
from bridge.open_app import load_messages, open_app
from tests.support.browser import CHROMIUM
from tests.webui.driver import PLACES, until

SCREENSHOTS = Path(__file__).resolve().parents[1] / "screenshots"
SIZE = (1280, 800)
MOVING = (960, 600)
MOST_BYTES = 1_900_000
PROMPTS = {
    "en": ("Make it a watercolour", "Make it a pencil sketch", "Make it night, lamps lit"),
    "zh-CN": ("改成水彩画", "改成铅笔素描", "改成夜景，路灯亮起"),
}


class Film:
    """Frames of a page with how long each stands, in milliseconds; and stills of it."""

    def __init__(self, page: Page, folder: Path) -> None:
        self.page, self.folder = page, folder
        self.frames: list[tuple[Image.Image, int]] = []

    def take(self, duration: int, still: str = "") -> None:
        """A frame of the page as it is; ``still``: the name of a picture of its own."""
        shot = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        self.frames.append((shot.resize(MOVING, Image.Resampling.LANCZOS), duration))
        if still:
            shot.save(self.folder / f"{still}.webp", quality=78, method=6)

    def write(self) -> None:
        """The moving picture, as good as its size allows."""
        pictures, durations = zip(*self.frames, strict=True)
        for quality in (70, 60, 50, 40, 30):
            out = io.BytesIO()
            pictures[0].save(
                out, "WEBP", save_all=True, append_images=pictures[1:], duration=list(durations), loop=0,
                quality=quality, method=6,
            )  # fmt: skip
            if out.tell() <= MOST_BYTES:
                break
        (self.folder / "way.webp").write_bytes(out.getvalue())


def go(page: Page, place: str) -> None:
    """To a place of the way, by its key."""
    page.keyboard.press(f"Alt+{PLACES.index(place) + 1}")
    page.wait_for_selector(f"main.{place}")
    page.wait_for_timeout(300)


def settle(page: Page) -> None:
    """Until the pictures in sight are there, and no notice lies over them."""
    for close in page.locator(".toast .icon-button").all():
        close.click()
    until(lambda: page.evaluate("[...document.images].every((one) => one.complete)"))
    page.wait_for_timeout(200)


def try_prompts(film: Film, language: str) -> None:
    """Three prompts on four pictures, voted by key."""
    page = film.page
    go(page, "try")
    page.fill("#field-trial-sample", "4")
    for at, text in enumerate(PROMPTS[language]):
        page.locator(".trial thead textarea").nth(at).fill(text)
        film.take(500)
    page.locator(".try-start").click()
    for count in (2, 5, 8, 12):
        until(lambda count=count: page.locator(".cell-picture img").count() >= count, seconds=60)  # type: ignore[misc]
        settle(page)
        film.take(450)
    until(lambda: page.locator(".cell .numbers").count() >= 12, seconds=60)
    for key in "1311":
        page.keyboard.press(key)
        settle(page)
        film.take(400)
    page.wait_for_selector(".trial tfoot .leads")
    settle(page)
    film.take(1400, "try")
    page.locator(".trial tfoot .leads .button").click()


def run(film: Film) -> None:
    """What is sent, and the results as they come."""
    page = film.page
    page.wait_for_selector("main.run")
    page.fill("#field-result_count", "2") if page.locator("#field-result_count").count() else None
    settle(page)
    film.take(1400)
    page.locator(".slip-guards .primary").click()
    for done in (1, 3, 5, 7):
        until(lambda done=done: page.locator(".card[data-status=done]").count() >= done, seconds=60)  # type: ignore[misc]
        film.take(450)
    page.wait_for_selector(".figures .state[data-state=rest]", timeout=60_000)
    page.wait_for_timeout(700)
    settle(page)
    film.take(900)


def judge(film: Film) -> None:
    """The list, and pairs by key."""
    page = film.page
    go(page, "judge")
    page.wait_for_selector(".tile img")
    page.wait_for_timeout(1600)  # the counts beside the filter
    settle(page)
    film.take(1200, "judge")
    page.keyboard.press("Enter")
    page.wait_for_selector(".review .layer img")
    settle(page)
    film.take(900, "review")
    for key in ("b", "d", "v", "Enter", "Enter", "x", "Enter"):
        page.keyboard.press(key)
        page.wait_for_timeout(350)
        settle(page)
        film.take(900 if key in "bd" else 500)
    page.keyboard.press("Escape")


def make_set(film: Film, folder: Path) -> None:
    """Checked, and exported."""
    page = film.page
    go(page, "set")
    page.locator(".findings-column header .button").click()
    page.wait_for_selector(".findings-column .note, .kinds", timeout=60_000)
    page.wait_for_timeout(800)
    page.fill("#field-set-output_dir", str(folder))
    page.keyboard.press("Tab")
    settle(page)
    film.take(1400, "set")
    page.locator("main .button.primary").last.click()
    page.wait_for_selector(".note.good", timeout=60_000)
    settle(page)
    film.take(2200)


def draw(browser: Browser, language: str) -> None:
    """All pictures in one language."""
    folder = SCREENSHOTS / language
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as place,
        open_app(Path(place) / "data", read_environment({"PORT": "0"}), load_messages(), demo=True) as app,
        contextlib.closing(Server(app, bind("127.0.0.1", 0))) as server,
    ):
        app.preferences.merge_ui({"theme": "light", "language": language})
        server.start()
        page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, locale=language)
        page.goto(server.url)
        page.wait_for_selector(".found")
        film = Film(page, folder)
        settle(page)
        film.take(1600)
        try_prompts(film, language)
        run(film)
        judge(film)
        make_set(film, Path(place) / "sets")
        film.write()
        page.close()


def main() -> None:
    """Draw them."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for language in PROMPTS:
            draw(browser, language)
        browser.close()


if __name__ == "__main__":
    main()
