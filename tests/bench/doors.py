"""Several doors against one: ``python -m tests.bench.doors [seconds] [latency] [case …]``. Three that take 4, 8 and 16
at once, unknown to us, one of 28, and three of which the widest dies for a minute. No row of `tests.bench`, since it
takes minutes. With a latency of two seconds it asks 14 times a second, so that the processor is no limit."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator

from PIL import Image

from bridge.app import App
from bridge.environment import read_environment
from bridge.open_app import load_messages, version
from engine.config import ApiConfig
from engine.models import TaskStatus
from engine.tasks.store import NewTask
from tests.bench.calls import scratch
from tests.bench.limits import _made, _strict
from tests.bench.strict_gateway import Rules

_DEAD = 60.0
_DIES_AT = 20.0
_TRACED_SECONDS = 5.0


def run(rules: list[Rules], count: int) -> tuple[float, int, float]:
    """Seconds for so many tasks, how many of them failed, and processors that this process has used."""
    with scratch() as folder, contextlib.ExitStack() as opened:
        source = folder / "source.png"
        Image.new("RGB", (64, 64)).save(source)
        urls = [f"http://127.0.0.1:{opened.enter_context(_strict(one))}/v1/images/edits" for one in rules]
        config = ApiConfig(
            api_url=urls[0],
            concurrency_limit=32,
            timeout_seconds=30,
            retry_interval=0.5,
            unlock_local_api_url=True,
            alarm_limit=0,
            endpoints=[{"api_url": url} for url in urls[1:]],
        )
        with App(_made(folder / "data"), read_environment({}), load_messages(), version=version()) as app:
            ids = app.store.add([NewTask(str(source), f"{number}.png", str(number)) for number in range(count)])
            begun, used = time.perf_counter(), time.process_time()
            app.batch.start(ids, config)
            with _traced(app):
                app.batch.wait_idle()
            took = time.perf_counter() - begun
            return took, count - app.store.counts()[TaskStatus.DONE], (time.process_time() - used) / took


@contextlib.contextmanager
def _traced(app: App) -> Iterator[None]:
    """With TRACE=1: what each door does, every five seconds."""
    over = threading.Event()

    def trace() -> None:
        begun = time.monotonic()
        while not over.wait(_TRACED_SECONDS):
            doors = app.batch.info().doors
            told = [(one.in_flight, one.limit, one.calls, one.refused, round(one.seconds, 1)) for one in doors]
            print(f"{time.monotonic() - begun:6.1f}", told, flush=True)

    thread = threading.Thread(target=trace, daemon=True)
    if os.environ.get("TRACE"):
        thread.start()
    yield
    over.set()


def main(seconds: float, latency: float, chosen: set[str]) -> None:
    """Print what was reached of what is allowed."""
    widths = (4, 8, 16)
    whole = int(28 * seconds / latency)
    dying = whole - int(16 * _DEAD / latency)
    for name, work, rules, count in (
        ("one", "one door of 28", [Rules(at_once=28, latency=latency)], whole),
        ("three", "doors of 4, 8 and 16", [Rules(at_once=width, latency=latency) for width in widths], whole),
        (
            "dying",
            f"the same, the widest dead for {_DEAD:.0f} s",
            [
                Rules(at_once=w, latency=latency, dead_from=_DIES_AT, dead_for=_DEAD if w == max(widths) else 0.0)
                for w in widths
            ],
            dying,
        ),
    ):
        if chosen and name not in chosen:
            continue
        took, failed, used = run(rules, count)
        print(
            f"{work}: {count} tasks of {latency:g} s in {took:.1f} s, {seconds / took:.1%} of what is allowed, "
            f"{failed} failed; {used:.2f} processors, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


if __name__ == "__main__":
    words = [*sys.argv[1:], "", ""]
    main(float(words[0] or 150), float(words[1] or 1), {word for word in words[2:] if word})
