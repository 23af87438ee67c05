"""What the page's tests share: the program on a loopback port, data folders filled in advance, looks at the page."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from PIL import Image, ImageDraw
from playwright.sync_api import APIResponse, FloatRect, Locator, Page, Route

from bridge.app import App
from bridge.environment import read_environment
from bridge.http.server import Server, bind
from bridge.open_app import load_messages, version
from engine.images.cache import Cache
from engine.tasks.store import Store

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
SLOWNESS = float(os.environ.get("PAGE_SLOWNESS", "0"))
"""Seconds by which answers and events come late at most, by chance: shows which tests only pass on a quick machine."""


@dataclass
class Site:
    """A running program: its address, its console, its folders."""

    app: App
    server: Server
    folder: Path

    @property
    def url(self) -> str:
        return self.server.url

    def stop_serving(self) -> int:
        """End the server but not the console; the port that is free now."""
        port = self.server.port
        self.server.close()
        return port

    def serve_again(self, port: int) -> None:
        """Serve on the same port once more."""
        self.server = serve(self.app, port)


def serve(app: App, port: int = 0) -> Server:
    """Serve a console, as slowly as ``PAGE_SLOWNESS`` says."""
    server = Server(app, bind("127.0.0.1", port))
    if SLOWNESS:
        server._server.application = slowed(server._server.application)
    server.start()
    return server


def slowed(application: WSGIApplication) -> WSGIApplication:
    """The same answers, each late by a time of its own; so is what comes of a stream."""

    def wait() -> None:
        time.sleep(random.choice((0, 0.1, 1)) * random.uniform(0, SLOWNESS))

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not environ["PATH_INFO"].startswith("/api/"):
            yield from application(environ, start_response)
            return
        wait()
        for part in application(environ, start_response):
            wait()
            yield part

    return answer


@contextlib.contextmanager
def running(folder: Path, *, shown_version: str | None = None, demo: bool = False, **environ: str) -> Iterator[Site]:
    """The program on a data folder, until the end of the block; ``environ``: settings of its environment."""
    unlocked = {"PORT": "0", "ALLOW_PRIVATE_API_URL": "1", "ALLOW_PRIVATE_DOWNLOAD_URL": "1"}
    settings = read_environment({**unlocked, **environ})
    folder.mkdir(exist_ok=True)
    with App(folder, settings, load_messages(), version=shown_version or version(), demo=demo) as app:
        site = Site(app, serve(app), folder)
        try:
            yield site
        finally:
            site.server.close()


def picture(path: Path, number: int, *, size: tuple[int, int] = (320, 240), mark: bool = False) -> Path:
    """A drawn picture that differs from its neighbours; ``mark`` adds what an edit would."""
    image = Image.new("RGB", size, (number * 37 % 200, number * 91 % 200, number * 53 % 200))
    draw = ImageDraw.Draw(image)
    draw.ellipse((size[0] * 0.2, size[1] * 0.2, size[0] * 0.7, size[1] * 0.8), fill=(240, 220, number * 17 % 255))
    if mark:
        draw.rectangle((size[0] * 0.6, size[1] * 0.6, size[0] * 0.9, size[1] * 0.9), fill=(20, 160, 220))
    image.save(path)
    return path


@dataclass
class Seed:
    """One task to be found in the data folder."""

    name: str
    status: str = "done"
    results: int = 1
    error: str | None = None
    warning: str | None = None
    kinds: list[str] = field(default_factory=list)


def seed(folder: Path, tasks: list[Seed], *, pictures: int = 6) -> None:
    """Fill a data folder with tasks by plain SQL: 50,000 of them in a second or two. Pictures are shared."""
    folder.mkdir(exist_ok=True)
    sources = folder / "sources"
    sources.mkdir(exist_ok=True)
    cache = Cache(folder / "cache")
    files = [picture(sources / f"{n}.png", n) for n in range(pictures)]
    edited = [picture(folder / "edited.png", n, mark=True).read_bytes() for n in range(pictures + 4)]
    hashes = [(cache.put(data, "png"), len(data)) for data in edited]
    Store(folder / "tasks.db").close()
    with contextlib.closing(sqlite3.connect(folder / "tasks.db")) as database, database:
        now = int(time.time())
        database.executemany(
            "INSERT INTO task (id, source_path, source_name, name_key, fingerprint, status, attempts, error, warning,"
            " result_count, selected_count, updated_at, revision) VALUES (?, ?, ?, ?, '', ?, 1, ?, ?, ?, ?, ?, 1)",
            [
                (f"t{n}", str(files[n % pictures]), one.name, one.name.casefold(), one.status, one.error, one.warning,
                 one.results, one.results, now - n % 1000)
                for n, one in enumerate(tasks)
            ],
        )  # fmt: skip
        database.executemany(
            "INSERT INTO result (id, task_id, hash, size, mime, extension, width, height, source_type)"
            " VALUES (?, ?, ?, ?, 'image/png', 'png', 320, 240, 'base64')",
            [
                (f"r{n}-{k}", f"t{n}", *hashes[(n + k) % len(hashes)])
                for n, one in enumerate(tasks)
                for k in range(one.results)
            ],
        )


@dataclass
class Seen:
    """What the browser complained about."""

    complaints: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)
    """Parts of complaints that a test provokes on purpose."""

    def real(self) -> list[str]:
        return [text for text in self.complaints if not any(part in text for part in self.allowed)]


def watch(page: Page, seen: Seen) -> None:
    """Note every error that a page's console or script reports."""
    page.on("console", lambda message: seen.complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))


def until(what: Callable[[], object], *, seconds: float = 30, why: str = "") -> None:
    """Wait for something that the page or the program comes to; the CSP forbids playwright's own wait_for_function."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, why or "it did not happen in time"
        time.sleep(0.03)


def open_page(page: Page, site: Site, query: str = "") -> None:
    """Open the program's page and wait until it stands and listens."""
    page.goto(site.url + query)
    page.wait_for_selector(".runbar")


PLACES = ("connect", "try", "run", "judge", "set")
_IN_SET = ("output_dir", "rule", "filename_template", "replace_from", "replace_to", "txt_template")
_IN_RUN = ("user_prompt", "ask_above", "budget")


def go(page: Page, place: str) -> None:
    """Go to a place of the way."""
    page.locator(".way-place").nth(PLACES.index(place)).click()
    page.wait_for_selector(f"main.{place}")


def to_field(page: Page, field: str) -> Locator:
    """Go to where a field stands, and open what hides it."""
    in_set = field in _IN_SET or field.startswith("set-")
    place = "set" if in_set else "run" if field in _IN_RUN else "connect"
    if page.locator(f"main.{place}").count() == 0:
        go(page, place)
    found = page.locator(f"#field-{field}")
    hides = page.get_by_role("button", name="Unfold") if place == "run" else page.locator(FOLDED)
    uncover(found, hides)
    found.wait_for()
    return found


FOLDED = ".fold h3 button[aria-expanded=false]"


def uncover(found: Locator, hides: Locator) -> None:
    """Unfold what hides an element, until it is there; either may come late."""

    def there() -> bool:
        if found.count():
            return True
        for one in hides.all()[::-1]:
            one.click()
        return found.count() > 0

    until(there, why=f"{found} is nowhere")


def enter(page: Page, field: str, value: str) -> None:
    """Fill in a field, wherever it stands."""
    to_field(page, field).fill(value)


def start(page: Page) -> None:
    """Start a run; a model and a prompt where nobody has entered one."""
    if not to_field(page, "model_name").input_value():
        enter(page, "model_name", "m")
    if not to_field(page, "user_prompt").input_value():
        enter(page, "user_prompt", "edit it")
    page.locator(".slip-guards .primary").click()


def save_all(page: Page) -> None:
    """Save everything under the present rule."""
    to_field(page, "output_dir")
    page.get_by_role("button", name="Save all").click()


def show_only(page: Page, label: str) -> None:
    """Set or take away a condition of the list's filter."""
    if page.locator("main.judge").count() == 0:
        go(page, "judge")
    facet = page.locator(".rail .facet", has=page.locator(f".facet-name:text-is('{label}')"))
    uncover(facet, page.locator(f".rail {FOLDED}"))
    facet.click()


def box(locator: Locator) -> FloatRect:
    """Where an element stands."""
    found = locator.bounding_box()
    assert found is not None, f"{locator} is not shown"
    return found


def shown(locator: Locator) -> str:
    """Text of an element, in one line."""
    return " ".join(locator.inner_text().split())


def choose_menu(page: Page, button: Locator, item: str) -> None:
    """Open a menu at a button and choose from it."""
    button.click()
    page.locator(".menu").get_by_text(item, exact=True).click()


def drawn(page: Page) -> None:
    """Until what the page has been told by now is on the screen."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done())))")


def listens(page: Page) -> None:
    """Until the stream has told the page how things stand."""
    opened = "import('./js/store.js').then((store) => store.connection.value === 'open')"
    until(lambda: page.evaluate(opened), why="the page does not listen")


def heard(page: Page, site: Site) -> None:
    """Until the page has heard of everything that has happened by now."""
    now = site.app.store.revision()
    revision = "import('./js/store.js').then((store) => store.memory.stream.revision)"
    until(lambda: page.evaluate(revision) >= now, why="the page does not hear what happened")


def let_through(page: Page, route: Route) -> None:
    """Make a request that was held, until its answer is there."""
    with page.expect_event("requestfinished", lambda request: request == route.request):
        route.continue_()
    drawn(page)


class Held:
    """The first answer to an operation: made when it is asked for, on its way until it is let go."""

    def __init__(self, page: Page, address: str) -> None:
        self._page = page
        self._held: list[tuple[Route, APIResponse]] = []
        self._over = False
        page.route(address, self._take)

    def _take(self, route: Route) -> None:
        if self._held or self._over:
            route.continue_()
        else:
            self._held.append((route, route.fetch()))

    def wait(self) -> None:
        """Until it was asked for."""
        turn(self._page, lambda: bool(self._held))

    def let_go(self) -> None:
        """Until it is there; one that the page waits for no longer is lost."""
        self._over = True
        route, response = self._held.pop()
        if route.request.failure:
            route.fulfill(response=response)
        else:
            with self._page.expect_event("requestfinished", lambda request: request == route.request):
                route.fulfill(response=response)
        drawn(self._page)


HOLD_CHANGES = """(() => {
  const Prompt = window.EventSource;
  window.held = [];
  window.EventSource = class extends Prompt {
    addEventListener(kind, take) {
      super.addEventListener(kind, kind === 'change' ? (event) => window.held.push(() => take(event)) : take);
    }
  };
})()"""
"""Keeps what the stream tells in ``window.held``, until it is called there."""


def hold(page: Page, address: str, *, times: int | None = None) -> list[Route]:
    """Requests that are not made until ``continue_`` is said to them; of as many as ``times``."""
    held: list[Route] = []

    def take(route: Route) -> None:
        held.append(route)

    page.route(address, take, times=times)
    return held


def turn(page: Page, what: Callable[[], bool]) -> None:
    """Wait for what the routes of a page are told meanwhile."""

    def looked() -> bool:
        page.wait_for_timeout(20)
        return what()

    until(looked)


Note = Callable[[str, object], None]
"""What pytest's record_property is: a figure that a run measured, by name."""
