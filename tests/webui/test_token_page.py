"""The page under ACCESS_TOKEN in a real browser: it works whole, and a page on another port gets nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page

from engine.errors import Code, Problem
from tests.webui.driver import Seed, Site, open_page, running, seed, until

TOKEN = "a-token-of-the-page"
THEFT = """async (base) => {
  const tries = {};
  const note = async (name, ask) => { try { tries[name] = await ask(); } catch { tries[name] = ''; } };
  for (const path of ['/api/state', '/api/tasks', '/api/presets/export', '/api/events', '/'])
    for (const mode of ['cors', 'no-cors'])
      await note(mode + path, async () => (await fetch(base + path, { mode, credentials: 'include' })).text());
  await note('post', async () => (await fetch(base + '/api/tasks/stop', { method: 'POST', mode: 'no-cors',
    credentials: 'include', body: '{}' })).text());
  await note('picture', () => new Promise((done) => {
    const image = new Image(); image.onload = () => done('shown'); image.onerror = () => done('');
    image.src = base + '/api/tasks/t0/source'; }));
  await note('module', async () => Object.keys(await import(base + '/js/api.js')).join());
  await note('kept', () => JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie);
  return tries;
}"""


class Neighbour(ThreadingHTTPServer):
    """A program of somebody else on another port of the same host; keeps what browsers send to it."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        neighbour = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                neighbour.headers.append(dict(self.headers.items()))
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<title>neighbour</title>")

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@contextmanager
def neighbour() -> Iterator[Neighbour]:
    """Serves until the end of the block."""
    with Neighbour() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def pictures_shown(page: Page) -> bool:
    """Whether the list's pictures are there, with pixels."""
    widths = page.eval_on_selector_all(".card img", "all => all.map(one => one.naturalWidth)")
    return len(widths) >= 2 and all(widths)


def test_the_page_works_whole_with_a_token(tmp_path: Path, page: Page) -> None:
    """Pictures, events, a file to keep, and a reload; no address shows the token or the key of the script."""
    seed(tmp_path / "data", [Seed("p0.png"), Seed("p1.png")])
    with running(tmp_path / "data", ACCESS_TOKEN=TOKEN) as site:
        open_page(page, site)
        until(lambda: page.url == f"http://127.0.0.1:{site.server.port}/")
        until(lambda: pictures_shown(page), why="no pictures")
        site.app.notify([Problem(Code.STORAGE_FAILED, {"path": "/out/1.png", "reason": "I/O error"})])
        page.wait_for_selector(".toast.error >> text=1.png")
        page.reload()
        page.wait_for_selector(".runbar")
        until(lambda: pictures_shown(page), why="no pictures after a reload")
        page.locator(".card").first.click()
        kept = page.evaluate("localStorage.getItem('access')")
        assert TOKEN not in kept
        addresses = page.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
        assert any("pass=" in one for one in addresses)
        assert not any(json.loads(kept)["script"] in one or "token=" in one for one in addresses)
        with page.expect_download() as download:
            page.evaluate(
                "import('./js/api.js').then((api) => Object.assign(document.createElement('a'),"
                " { href: api.exportUrl(), download: 'presets.json' }).click())"
            )
        assert "presets" in json.loads(download.value.path().read_text())
        page.close()  # before the server leaves


def test_a_page_on_another_port_gets_nothing(tmp_path: Path, browser: Browser) -> None:
    """Cookies know no port: what the neighbour is sent opens the page's own files and no data, by whatever way it is
    tried; its page reads, shows, changes and finds nothing."""
    seed(tmp_path / "data", [Seed("p0.png")])
    with running(tmp_path / "data", ACCESS_TOKEN="the-token") as site, neighbour() as other:
        context = browser.new_context(locale="en")
        page = context.new_page()
        open_page(page, site)
        page.goto(f"http://127.0.0.1:{other.server_port}/")
        tries = page.evaluate(THEFT, f"http://127.0.0.1:{site.server.port}")
        context.close()
        assert {name: text for name, text in tries.items() if text} == {"kept": "{}{}"}
        sent = json.dumps(other.headers)
        assert "the-token" not in sent
        cookies = [part for one in other.headers for part in one.get("Cookie", "").split("; ") if part]
        assert cookies, "the browser sends the cookie to every port: that it is worth nothing is the point"
        replay(site, {cookie.partition("=")[2] for cookie in cookies}, cookies)


def replay(site: Site, values: set[str], cookies: list[str]) -> None:
    """Everything that the neighbour was sent, offered in every way that the program knows."""
    base = f"http://127.0.0.1:{site.server.port}"
    for value in values:
        ways = [
            httpx.Request("GET", f"{base}{path}", params=params, headers={**headers, "Cookie": "; ".join(cookies)})
            for path in ("/api/state", "/api/tasks/t0/source", "/api/presets/export", "/api/events")
            for params in ({}, {"token": value}, {"pass": value})
            for headers in ({}, {"X-Access-Token": value}, {"Authorization": f"Bearer {value}"})
        ]
        with httpx.Client(trust_env=False) as client:
            assert {client.send(way).status_code for way in ways} == {401}
