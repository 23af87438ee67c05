"""Rows 13 and 14: gateways that allow only so much, unknown to us, and gateways with slow and hung calls."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from bridge.app import App
from bridge.environment import read_environment
from bridge.open_app import load_messages, version
from engine.config import ApiConfig
from engine.models import TaskStatus
from engine.tasks.store import NewTask
from tests.bench.calls import ROOT, scratch
from tests.bench.measure import Report, Row, percent
from tests.bench.strict_gateway import Rules

_USED = 0.9
_REFUSED = 0.05


def limited(*, share: float = 1.0) -> Report:
    """Row 13. ``share``: of the usual number of pictures."""
    cases = [
        ("8 at once, 429 without a time", Rules(at_once=8), 500),
        ("8 at once, 429 with Retry-After", Rules(at_once=8, says="retry_after"), 500),
        ("8 at once, 500 “rate limit”", Rules(at_once=8, says="hidden"), 500),
        ("4, after 20 s 16 at once", Rules(at_once=4, later=20.0, later_at_once=16), 1500),
        ("240 a minute, Retry-After", Rules(quota=240, says="retry_after"), 700),
        ("240 a minute, 429 without a time", Rules(quota=240), 700),
    ]
    return Report([_limited(work, rules, int(count * share)) for work, rules, count in cases])


def slow_tail(*, share: float = 1.0) -> Report:
    """Row 14: 5 % of calls take twenty times as long, 2 % never answer."""
    rules, count, at_once, limit = Rules(latency=0.25, slow_share=0.05, hang_share=0.02), int(600 * share), 16, 12.0
    seconds, failed, _ = _run(rules, count, at_once, timeout=limit)
    mean = 0.93 * rules.latency + 0.05 * rules.latency * rules.slow_factor + 0.02 * limit
    best = count * 1.02 * mean / at_once + limit  # the last call may be one that hangs
    work = f"{count} tasks, 5 % slow by 20, 2 % hung until the limit of {limit:.0f} s"
    met = seconds <= 1.3 * best and not failed
    return Report(
        [
            Row(
                "14",
                work,
                f"{seconds:.1f} s, {failed} failed",
                f"best schedule {best:.1f} s",
                "≤ 1.3 ×",
                met,
                best / seconds,
            )
        ]
    )


def _limited(work: str, rules: Rules, count: int) -> Row:
    seconds, failed, counts = _run(rules, count, 32, timeout=30.0)
    used = _fewest_seconds(rules, count) / seconds
    refused = counts["refused"] / (counts["taken"] + counts["refused"])
    return Row(
        "13",
        f"{count} tasks, {work}",
        f"{seconds:.1f} s, {percent(refused)} of calls refused, {failed} failed",
        f"all that is allowed {_fewest_seconds(rules, count):.1f} s",
        f"≥ {percent(_USED)}, ≤ {percent(_REFUSED)} refused, 0 failed",
        used >= _USED and refused <= _REFUSED and not failed,
        used,
    )


def _fewest_seconds(rules: Rules, count: int) -> float:
    """Seconds in which a client that knew the rules would be through, at a steady pace."""
    if rules.later:
        first = rules.later * rules.at_once / rules.latency
        return rules.later + max(0.0, count - first) * rules.latency / rules.later_at_once
    by_calls = count * rules.latency / min(rules.at_once, 32)
    return max(by_calls, count * rules.window / rules.quota)


def _run(rules: Rules, count: int, at_once: int, *, timeout: float) -> tuple[float, int, dict[str, Any]]:
    """Seconds, failed tasks, and what the gateway counted."""
    with scratch() as folder, _strict(rules) as port:
        source = folder / "source.png"
        Image.new("RGB", (64, 64)).save(source)
        config = ApiConfig(
            api_url=f"http://127.0.0.1:{port}/v1/images/edits",
            concurrency_limit=at_once,
            timeout_seconds=timeout,
            retry_interval=0.5,
            unlock_local_api_url=True,
        )
        settings = read_environment({})
        with App(_made(folder / "data"), settings, load_messages(), version=version()) as app:
            ids = app.store.add([NewTask(str(source), f"{number}.png", str(number)) for number in range(count)])
            begun = time.perf_counter()
            app.batch.start(ids, config)
            app.batch.wait_idle()
            seconds = time.perf_counter() - begun
            failed = count - app.store.counts()[TaskStatus.DONE]
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.request("GET", "/counts")
        return seconds, failed, json.loads(connection.getresponse().read())


@contextmanager
def _strict(rules: Rules) -> Iterator[int]:
    program = [sys.executable, str(Path(__file__).with_name("strict_gateway.py")), json.dumps(asdict(rules))]
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}
    ) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.terminate()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
