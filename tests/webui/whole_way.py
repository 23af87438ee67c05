"""A person's whole way through the program in real Chromium: inputs counted, and the page's words compared with what an
API was sent. ``python -m tests.webui.whole_way [--count 300] [--shots FOLDER] [--one]``; part of full_counts.sh."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageEnhance
from playwright.sync_api import Browser, Locator, Page, Route, sync_playwright

from bridge.demo.orders import EditOrder, read_order
from bridge.demo.painter import paint
from engine.config import ApiMode
from engine.models import TaskFilter, TaskMatch, TaskStatus
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.browser import CHROMIUM
from tests.support.replies import inline
from tests.webui.driver import PLACES, Seen, Site, running, shown, until, watch
from tests.webui.test_appearance import violations

ROOT = Path(__file__).resolve().parents[2]
LOOKS = (("zh-CN", 1366, 768, "light"), ("zh-CN", 1366, 768, "dark"), ("en", 1920, 1080, "light"),
         ("en", 1920, 1080, "dark"))  # fmt: skip
PROMPTS = {
    "zh-CN": ("改成水彩画，保持构图", "改成铅笔素描，线条干净", "改成夜景，路灯亮起",
              "改成水彩画，画面温和，不出现人物"),
    "en": ("Make it a watercolour, keep the framing", "Make it a pencil sketch, clean lines",
           "Make it night, with the lamps lit", "Make it a gentle watercolour without people"),
}  # fmt: skip
LATENCY = (0.5, 3.0)
MANY = 50  # calls that are asked about before
BAD = 0.08
"""Share of the pictures that fail at first: most are refused by content rules, the rest bring no picture."""


class Paid:
    """The API that is paid: 0.5 to 3 seconds a call, 8 % of the pictures fail; notes each call as it came."""

    def __init__(self, fake: FakeUpstream, slowness: float) -> None:
        self.calls: list[EditOrder] = []
        self.models: list[str] = []
        self._fake, self._slowness = fake, slowness
        self._lock = threading.Lock()

    def answer(self, request: Received) -> Script:
        """Painted pictures, a refusal, or words; a list of models to who asks for it."""
        if request.method == "GET":
            names = ("grok-imagine-image-edit", "grok-imagine-image-edit-fast")
            return Script.json({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})
        order = read_order(ApiMode.IMAGES_EDITS, request.headers["content-type"], request.body)
        model = request.json["model"] if "json" in request.headers["content-type"] else ""
        with self._lock:
            self.calls.append(order)
            self.models.append(model)
        chance = int(hashlib.sha256(order.picture).hexdigest()[:8], 16) / 2**32
        delay = random.uniform(*LATENCY) * self._slowness
        if chance < BAD * 0.6 and "不出现人物" not in order.prompt and "without people" not in order.prompt:
            body = {"error": {"message": "The picture was rejected by our safety system.",
                              "code": "moderation_blocked", "type": "invalid_request_error"}}  # fmt: skip
            return Script.json(body, status=400, delay=delay)
        if BAD * 0.6 <= chance < BAD and order.prompt in (PROMPTS["en"][0], PROMPTS["zh-CN"][0]):
            return Script.json({"created": 1, "data": []}, delay=delay)
        begun = time.monotonic()
        pictures = [paint(order.picture, order.prompt, n).data for n in range(order.count)]
        left = max(0.0, delay - (time.monotonic() - begun))
        return inline(ApiMode.IMAGES_EDITS, *pictures, delay=left)


@dataclass
class Hand:
    """A person's inputs at a page: clicks, keys, fields filled in. ``log``: what each stretch of the way took."""

    page: Page
    inputs: Counter[str] = field(default_factory=Counter)
    log: dict[str, str] = field(default_factory=dict)

    def click(self, what: Locator) -> None:
        self.inputs["clicks"] += 1
        what.click()

    def fill(self, what: Locator, text: str) -> None:
        self.inputs["fields"] += 1
        what.fill(text)

    def choose(self, what: Locator, value: str) -> None:
        self.inputs["fields"] += 1
        what.select_option(value)

    def press(self, key: str) -> None:
        self.inputs["keys"] += 1
        self.page.keyboard.press(key)

    def note(self, what: str) -> int:
        """Put down what was needed since the last note, and begin anew."""
        count = self.inputs.total()
        self.log[what] = f"{count} ({', '.join(f'{many} {kind}' for kind, many in self.inputs.items())})"
        self.inputs.clear()
        return count


class Way:
    """One person, in one language and theme, on one screen."""

    def __init__(self, browser: Browser, look: tuple[str, int, int, str], options: argparse.Namespace) -> None:
        self.browser, self.options = browser, options
        self.language, self.width, self.height, self.theme = look
        self.texts: dict[str, str] = {}
        for file in sorted((ROOT / "assets/messages" / self.language).glob("*.json")):
            self.texts |= json.loads(file.read_text("utf-8"))
        self.seen = Seen(allowed=["404", "409"])
        self.wrong: dict[str, list[str]] = {}
        self.page: Page
        self.hand: Hand
        self.site: Site

    # --- small things ------------------------------------------------------------------------------------------------

    def say(self, key: str, **params: object) -> str:
        """The page's words for a key."""
        text = self.texts.get(key) or self.texts[f"{key}.{'one' if params.get('count') == 1 else 'other'}"]
        for name, value in params.items():
            text = text.replace(f"{{{name}}}", f"{value:,}" if isinstance(value, int) else str(value))
        return text

    def button(self, key: str, within: str = "body", **params: object) -> Locator:
        """A button by its words."""
        return self.page.locator(within).get_by_role("button", name=self.say(key, **params)).first

    def look(self, name: str) -> None:
        """Keep a picture of the view, and what axe finds in it."""
        self.page.wait_for_timeout(150)
        self.wrong[name] = violations(self.page)
        if self.options.shots:
            place = f"{self.options.shots}/{self.language[:2]}-{self.width}-{self.theme}-{name}.png"
            self.page.screenshot(path=place)

    def words(self) -> str:
        """Everything that can be read on the page now, entries of fields included."""
        return str(
            self.page.evaluate("""() => [document.body.innerText,
          ...[...document.querySelectorAll('input, textarea, select')].map((one) => one.value)].join('\\n')""")
        )

    def pay(self, deed: Locator, paid: Paid, most: int, done: str, *, key: str = "") -> None:
        """Do what costs, and hold the calls that come of it against what the page said before."""
        words, before = self.words(), len(paid.calls)
        assert f"{most:,}" in words, f"the page does not say {most}: {words[-600:]}"
        self.hand.press(key) if key else self.hand.click(deed)
        self.until_paid(done)
        calls = paid.calls[before:]
        assert len(calls) <= most, f"{len(calls)} calls, {most} were said"
        for call in calls:
            assert call.prompt in words, f"sent {call.prompt!r}, which the page did not show"
        assert set(paid.models[before:]) <= {m for m in paid.models if m in words}

    def until_paid(self, done: str) -> None:
        if done:
            self.page.wait_for_selector(done, timeout=240_000)
        until(lambda: not self.site.app.batch.running and not self.site.app.batch.single_retries, seconds=240)

    def open(self, site: Site, paid_port: int) -> None:
        """A fresh browser at the program's page."""
        self.site = site
        context = self.browser.new_context(
            viewport={"width": self.width, "height": self.height}, locale=self.language, color_scheme=self.theme,  # type: ignore[arg-type]
            accept_downloads=True,
        )  # fmt: skip
        context.set_default_timeout(20_000)
        self.page = context.new_page()
        watch(self.page, self.seen)

        def nearer(route: Route) -> None:
            """The template's own port is taken by others: the fake stands at another."""
            answer = route.fetch()
            route.fulfill(response=answer, body=answer.text().replace("127.0.0.1:8000", f"127.0.0.1:{paid_port}"))

        self.page.route("**/api/templates", nearer)
        log = self.hand.log if hasattr(self, "hand") else {}
        self.hand = Hand(self.page, log=log)
        self.page.goto(site.url)
        self.page.wait_for_selector(".runbar")

    def place(self, name: str) -> None:
        """Go to a place by its key."""
        self.hand.press(f"Alt+{PLACES.index(name) + 1}")
        self.page.wait_for_selector(f"main.{name}")

    # --- the way -----------------------------------------------------------------------------------------------------

    def connect_and_try(self, paid: Paid, folder: Path) -> None:
        """From nothing to the first own picture."""
        page, hand = self.page, self.hand
        self.look("1-fresh")
        hand.click(page.locator(".services").get_by_role("button", name="grok2api", exact=True))
        hand.fill(page.locator("#field-api_key"), "k-123456")
        hand.fill(page.locator("#field-input_path"), str(folder))
        page.wait_for_selector(f".found >> text={self.say('page.input.pictures', count=self.options.count)}")
        self.look("2-connect")
        hand.click(page.locator(".pictures-part > .primary"))
        hand.fill(page.locator(".trial thead textarea").first, PROMPTS[self.language][0])
        self.look("3-try-empty")
        self.pay(page.locator(".try-start"), paid, 5, "")
        page.wait_for_selector(".cell-picture img")
        until(lambda: page.locator(".cell .waiting").count() == 0)
        self.look("4-try")
        assert hand.note("first own picture (service, key, folder, on, prompt, Try)") <= 6
        self.place("connect")
        hand.click(page.get_by_role("button", name=self.say("page.test")))
        page.wait_for_selector(".panel.passed")
        self.look("5-tested")
        hand.note("test of the connection")

    def run(self, paid: Paid, count: int) -> None:
        """Two results each of all pictures; stopped in the middle, and gone on with."""
        page, hand = self.page, self.hand
        hand.fill(page.locator("#field-result_count"), "2")
        hand.fill(page.locator("#field-concurrency_limit"), "16")
        self.place("run")
        page.wait_for_selector(f".slip-guards >> text={self.say('page.run.startCalls', count=count)}")
        self.look("6-run-ready")
        hand.click(page.locator(".slip-guards .primary"))
        page.wait_for_selector("dialog")
        self.look("7-run-ask")
        assert str(count) in self.words()
        begun = len(paid.calls)
        words = self.words()
        assert PROMPTS[self.language][0] in words
        hand.click(page.locator("dialog .primary"))
        until(lambda: len(paid.calls) - begun > count // 8, seconds=200)
        self.look("8-running")
        until(lambda: len(paid.calls) - begun > count // 2, seconds=200)
        hand.click(page.locator(".figures .stop"))
        self.until_paid(".outcome.stopped")
        self.look("9-stopped")
        assert all(call.prompt == PROMPTS[self.language][0] for call in paid.calls[begun:])
        left = sum(self.site.app.store.counts()[one] for one in (TaskStatus.STOPPED, TaskStatus.PENDING))
        going_on = page.locator(".outcome.stopped .primary")
        if left > MANY:
            hand.click(going_on)
            page.wait_for_selector("dialog")
            self.look("10-continue-ask")
            going_on = page.locator("dialog .primary")
        self.pay(going_on, paid, left, "")
        ended = (TaskStatus.DONE, TaskStatus.PARTIAL_SUCCESS, TaskStatus.FAILED)
        until(lambda: sum(self.site.app.store.counts()[one] for one in ended) == count, seconds=200)
        page.wait_for_selector(".outcome.failed")
        self.look("11-run-ended")
        hand.note("run of all, with a stop and a continue")

    def judge(self) -> None:
        """Every pair by keyboard alone."""
        page, hand = self.page, self.hand
        undecided = TaskMatch(only=frozenset({TaskFilter.UNDECIDED}))
        pairs = len(self.site.app.store.ids(undecided))
        hand.note("-")
        self.place("judge")
        page.wait_for_selector(".tile img")
        self.look("12-judge")
        hand.press("Enter")
        page.wait_for_selector(".review .layer img")
        self.look("13-review")
        chance = random.Random(5)
        for done in range(pairs):
            name = shown(page.locator(".review h2"))
            hand.press(chance.choices(("Shift+Digit1", "Shift+Digit2", "x", "Enter"), (60, 20, 12, 8))[0])
            if done < pairs - 1:
                until(lambda name=name: shown(page.locator(".review h2")) != name, why=f"after {name}")  # type: ignore[misc]
        until(lambda: not self.site.app.store.ids(undecided))
        hand.press("Escape")
        self.look("14-judged")
        keys = hand.inputs.total() - 3
        hand.log["judge"] = f"{pairs} pairs, {keys} keys: {keys / pairs:.2f} each (and 3 to get there and back)"
        hand.inputs.clear()
        assert keys / pairs <= 1.05

    def mend(self, paid: Paid) -> None:
        """One picture with another prompt, then a whole kind of failure."""
        page, hand = self.page, self.hand
        other = PROMPTS[self.language][3]
        hand.click(page.locator(".figures .count.failed"))
        hand.note("-")
        failed = page.locator(".card[data-status=failed]").first
        failed.wait_for()
        hand.click(failed.get_by_role("button", name=self.say("page.retry.prompt"), exact=True))
        hand.fill(page.locator("#dialog-prompt"), other)
        self.look("15-retry-one")
        self.pay(page.locator("dialog .primary"), paid, 1, "")
        hand.note("one task's prompt changed and asked again")
        self.place("run")
        hand.note("-")
        row = page.locator(".outcome.failed li").first
        count = int("".join(sign for sign in shown(row.locator(".kind-count")) if sign.isdigit()))
        hand.click(row.get_by_role("button", name=self.say("page.retry.withPrompt")))
        hand.fill(page.locator("#dialog-prompt"), other)
        self.look("16-retry-kind")
        self.pay(page.locator("dialog .primary"), paid, count, "")
        self.look("17-retried")
        assert hand.note("all failures of one kind, with another prompt") <= 4

    def export(self, out: Path) -> None:
        """Checked, and written as a set."""
        page, hand = self.page, self.hand
        self.place("set")
        hand.click(self.button("dataset.check", "main"))
        until(
            lambda: page.locator(".findings-column .job").count() == 0 and page.locator(".kinds, .note").count(),
            seconds=300,
        )
        self.look("18-set")
        hand.fill(page.locator("#field-set-output_dir"), str(out))
        if page.locator(".kinds .chip:not(.is-note)").count() > 1:  # beside that for all: faults, which would refuse it
            hand.click(page.locator(".finding-buttons button").last)
            page.wait_for_timeout(500)
        hand.click(page.locator("main").get_by_role("button", name=self.say("dataset.export"), exact=True))
        page.locator(".note.good", has_text="set_v001").wait_for(timeout=120_000)
        self.look("19-exported")
        hand.note("check and export")

    def next_day(self, paid: Paid, before: dict[TaskStatus, int]) -> None:
        """All is as it was, and nothing was asked."""
        calls = len(paid.calls)
        assert self.site.app.store.counts() == before
        self.look("20-next-day")
        self.page.wait_for_timeout(1500)
        assert len(paid.calls) == calls

    def second_folder(self, paid: Paid, folder: Path, first: str) -> None:
        """A project of its own, tried with three prompts, and one click back."""
        page, hand = self.page, self.hand
        self.place("connect")
        hand.note("-")
        hand.fill(page.locator("#field-input_path"), str(folder))
        page.wait_for_selector(".proposal")
        self.look("21-proposal")
        hand.click(page.locator(".proposal .primary"))
        until(lambda: shown(page.locator(".project h1")) == folder.name)
        hand.note("second folder: a project of its own")
        page.wait_for_selector("#field-input_path")
        page.wait_for_selector(f".found >> text={self.say('page.input.pictures', count=12)}")
        hand.click(page.locator(".pictures-part > .primary"))
        for at, text in enumerate(PROMPTS[self.language][:3]):
            hand.fill(page.locator(".trial thead textarea").nth(at), text)
        self.pay(page.locator(".try-start"), paid, 15, "")
        until(lambda: page.locator(".cell-picture img").count() + page.locator(".cell .problem").count() == 15)
        self.look("22-trial")
        for key in "13033":
            hand.press(key)
        page.wait_for_selector(".trial tfoot .leads")
        hand.press("Enter")
        page.wait_for_selector(".trial-large")
        self.look("23-trial-large")
        self.page.keyboard.press("Escape")
        self.look("24-voted")
        hand.inputs["keys"] -= 1  # to look at it large was for the picture of it
        hand.click(page.locator(".trial tfoot .button.primary, .trial tfoot .button").first)
        page.wait_for_selector("main.run")
        assert hand.note("5 pictures × 3 prompts, side by side, voted and chosen") <= 12
        back = page.locator(".toast button", has_text=first)
        if back.count():
            hand.click(back.first)
        else:
            hand.click(page.locator(".project"))
            page.wait_for_selector(".projects .choice")
            self.look("25-switcher")
            hand.click(page.locator(".projects .choice", has_text=first))
        until(lambda: shown(page.locator(".project h1")) == first)
        hand.note("back to the first project")

    def carry_out(self, folder: Path) -> Path:
        """The project in one file."""
        page, hand = self.page, self.hand
        hand.click(page.locator(".project"))
        page.wait_for_selector(".projects .choice")
        self.look("26-switcher")
        hand.click(page.locator(".project-deeds input[type=checkbox]"))
        hand.click(self.button("page.project.export", "dialog"))
        page.wait_for_selector(".folder-list")
        self.look("27-folders")
        hand.click(page.locator("dialog .primary"))
        page.wait_for_selector(".toast >> text=.ibcp", timeout=120_000)
        hand.note("the project into one file")
        return next(folder.glob("*.ibcp"))

    def carry_in(self, file: Path) -> None:
        """The same on another computer's data folder."""
        page, hand = self.page, self.hand
        hand.click(page.locator(".project"))
        hand.click(self.button("page.project.import", "dialog"))
        page.wait_for_selector("dialog input[type=text]")
        self.look("28-import")
        hand.fill(page.locator("dialog input[type=text]"), str(file))
        hand.press("Enter")
        page.wait_for_selector("dialog.confirm", timeout=120_000)
        hand.click(page.locator("dialog .primary"))
        until(lambda: self.site.app.project_id != "default")
        self.page.wait_for_selector(".project h1 >> text=photos")
        hand.note("the file on another computer")
        self.look("29-carried")


def sources(folder: Path, count: int, start: int = 0) -> Path:
    """Photographs, each different: the samples, cut and lit in other ways."""
    folder.mkdir(parents=True)
    samples = sorted((ROOT / "assets/samples").iterdir())
    for number in range(start, start + count):
        chance = random.Random(number)
        with Image.open(samples[number % len(samples)]) as opened:
            image = opened.convert("RGB")
        width, height = image.size
        left, top = chance.randrange(width // 6), chance.randrange(height // 6)
        image = image.crop((left, top, left + width * 5 // 6, top + height * 5 // 6))
        image = ImageEnhance.Brightness(image).enhance(chance.uniform(0.8, 1.2))
        image.thumbnail((640, 640))
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=88)
        (folder / f"IMG_{number + 1:04}.jpg").write_bytes(buffer.getvalue())
    return folder


def walk(browser: Browser, look: tuple[str, int, int, str], options: argparse.Namespace) -> Way:
    """The whole way of one person."""
    way = Way(browser, look, options)
    with tempfile.TemporaryDirectory() as place, FakeUpstream() as fake:
        root = Path(place)
        os.environ["HOME"] = place  # where choosing a folder begins
        photos, dogs = sources(root / "photos", options.count), sources(root / "dogs", 12, 5000)
        paid = Paid(fake, options.slowness)
        fake.answer_with(paid.answer)
        with running(root / "data") as site:
            site.app.preferences.merge_ui({"theme": way.theme, "language": way.language})
            way.open(site, fake.port)
            way.connect_and_try(paid, photos)
            way.run(paid, options.count)
            way.judge()
            way.mend(paid)
            way.export(root / "sets")
            before = site.app.store.counts()
            way.page.context.close()
        with running(root / "data") as site:
            way.open(site, fake.port)
            way.next_day(paid, before)
            way.second_folder(paid, dogs, "photos")
            way.place("judge")
            file = way.carry_out(Path.home())
            tasks = [(task.source_name, [one.hash for one in task.results]) for task in site.app.store.every_task()]
            way.page.context.close()
        with running(root / "elsewhere") as site:
            site.app.preferences.merge_ui({"theme": way.theme, "language": way.language})
            way.open(site, fake.port)
            way.carry_in(file)
            file.unlink()
            again = [(task.source_name, [one.hash for one in task.results]) for task in site.app.store.every_task()]
            assert again == tasks
            way.page.context.close()
    assert way.seen.real() == []
    way.hand.log.pop("-", None)
    way.hand.log["calls made, every prompt of them read on the page before"] = str(len(paid.calls))
    return way


def main() -> None:
    """Walk in both languages and themes, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--slowness", type=float, default=1.0, help="times the latency of 0.5 to 3 s")
    parser.add_argument("--shots", default="", help="a folder for pictures of every view")
    parser.add_argument("--look", type=int, default=-1, help="only one of the four looks")
    parser.add_argument("--size", default="", help="another screen, such as 2560x1440")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for look in LOOKS if options.look < 0 else LOOKS[options.look : options.look + 1]:
            width, height = (int(part) for part in (options.size or f"{look[1]}x{look[2]}").split("x"))
            way = walk(browser, (look[0], width, height, look[3]), options)
            print(f"== {look[0]}, {width} × {height}, {look[3]}")
            for what, count in way.hand.log.items():
                print(f"{what}: {count}")
            faults = [f"{name}: {one}" for name, found in way.wrong.items() for one in found]
            print(f"axe: {len(faults)} in {len(way.wrong)} views", *faults, sep="\n  ")
        browser.close()


if __name__ == "__main__":
    main()
