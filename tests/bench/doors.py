"""Several doors against one: ``python -m tests.bench.doors [seconds]``. Three that take 4, 8 and 16 at once, unknown to
us, one of 28, and three of which the widest dies for a minute. No row of `tests.bench`, since it takes minutes."""

from __future__ import annotations

import contextlib
import sys
import time

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

_LATENCY = 1.0
_DEAD = 60.0


def run(rules: list[Rules], count: int) -> tuple[float, int]:
    """Seconds for so many tasks, and how many of them failed."""
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
            begun = time.perf_counter()
            app.batch.start(ids, config)
            app.batch.wait_idle()
            return time.perf_counter() - begun, count - app.store.counts()[TaskStatus.DONE]


def main(seconds: float) -> None:
    """Print what was reached of what is allowed."""
    widths = (4, 8, 16)
    whole = int(28 * seconds / _LATENCY)
    dying = whole - int(16 * _DEAD / _LATENCY)
    for work, rules, count in (
        ("one door of 28", [Rules(at_once=28, latency=_LATENCY)], whole),
        ("doors of 4, 8 and 16", [Rules(at_once=width, latency=_LATENCY) for width in widths], whole),
        (
            f"the same, the widest dead for {_DEAD:.0f} s",
            [Rules(at_once=w, latency=_LATENCY, dead_from=20.0, dead_for=_DEAD if w == 16 else 0.0) for w in widths],
            dying,
        ),
    ):
        took, failed = run(rules, count)
        print(
            f"{work}: {count} tasks in {took:.1f} s, {seconds / took:.0%} of what is allowed, {failed} failed",
            flush=True,
        )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 150.0)
