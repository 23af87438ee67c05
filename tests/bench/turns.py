"""How long a person who judges by keyboard waits: from the key that decides to the next pair's pictures on the screen,
in Chromium, with photographs and two results each, looked at for 0.3 s."""

from __future__ import annotations

import contextlib
import io
import random
import sqlite3
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from engine.images.cache import Cache
from tests.bench.calls import ROOT, scratch
from tests.bench.measure import Report, Row
from tests.support.browser import CHROMIUM
from tests.webui.driver import Seed, running, seed, until

SIZE = (1800, 1200)
PHOTOGRAPHS = 24
LOOKED = 300  # ms before the next key
KEYS = ("Shift+Digit1", "Shift+Digit2", "x", "Enter")
_STEPS = "performance.getEntriesByName('review-step').map((entry) => entry.duration)"
_PLACE = "import('./js/store.js').then((store) => store.review.value?.index ?? -1)"


def turned(pairs: int) -> Report:
    """Every pair decided, one key each."""
    with scratch() as place:
        _fill(place / "data", pairs)
        with running(place / "data") as site, sync_playwright() as driver:
            chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = chromium.new_page(viewport={"width": 1366, "height": 768}, locale="en")
            page.goto(site.url)
            steps = sorted(_judged(page, pairs))
            chromium.close()
    half, most = (steps[round((len(steps) - 1) * share)] for share in (0.5, 0.95))
    told = f"p50 {half:.0f} ms, p95 {most:.0f} ms, worst {steps[-1]:.0f} ms"
    work = f"key to next picture, {pairs} pairs of {SIZE[0]} × {SIZE[1]}, two results each"
    return Report([Row("17", work, told, "", "p50 ≤ 40 ms, p95 ≤ 100 ms", half <= 40 and most <= 100)])


def _judged(page: Page, pairs: int) -> list[float]:
    page.wait_for_selector(".runbar")
    page.keyboard.press("Alt+4")
    page.wait_for_selector(".tile img")
    page.keyboard.press("Enter")
    page.wait_for_selector(".review .layer img")
    chance = random.Random(5)
    for done in range(1, pairs):
        page.wait_for_timeout(LOOKED)
        page.keyboard.press(chance.choices(KEYS, (60, 20, 12, 8))[0])
        until(lambda done=done: page.evaluate(_PLACE) == done)  # type: ignore[misc] # bound in this round
        until(lambda done=done: len(page.evaluate(_STEPS)) >= done)  # type: ignore[misc] # the same
    return [float(one) for one in page.evaluate(_STEPS)]


def _fill(folder: Path, pairs: int) -> None:
    """Tasks that share so many photographs, each result a picture of its own."""
    seed(folder, [Seed(f"IMG_{n:04}.jpg", results=2) for n in range(pairs)], pictures=PHOTOGRAPHS)
    cache = Cache(folder / "cache")
    shots = [_photograph(n) for n in range(3 * PHOTOGRAPHS)]
    for n in range(PHOTOGRAPHS):
        (folder / "sources" / f"{n}.png").write_bytes(shots[n])
    kept = [(cache.put(data, "jpg"), len(data), *SIZE, "image/jpeg", "jpg") for data in shots[PHOTOGRAPHS:]]
    with contextlib.closing(sqlite3.connect(folder / "tasks.db")) as database, database:
        database.executemany(
            "UPDATE result SET hash = ?, size = ?, width = ?, height = ?, mime = ?, extension = ? WHERE id = ?",
            [(*kept[(2 * n + k) % len(kept)], f"r{n}-{k}") for n in range(pairs) for k in range(2)],
        )


def _photograph(number: int) -> bytes:
    """A sample at the size of a photograph, with the grain of one: about 1 MB."""
    samples = sorted((ROOT / "assets" / "samples").iterdir())
    with Image.open(samples[number % len(samples)]) as opened:
        image = opened.convert("RGB").resize(SIZE)
    grain = Image.effect_noise(SIZE, 20 + number % 7).convert("RGB")
    buffer = io.BytesIO()
    Image.blend(image, grain, 0.15).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
