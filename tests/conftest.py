"""Which tests can run here: tools that are missing skip a test with a reason, and in CI a skipped test has failed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from functools import cache
from pathlib import Path

import pytest

from tests.support.browser import CHROMIUM

ROOT = Path(__file__).parent
LONG = ("packaging", "test_start.py", "window", "webui")
"""What takes longest. Processes that share the tests begin with it, so that none is left with it at the end."""
IN_CI = os.environ.get("CI", "").lower() in ("1", "true")


@cache
def _missing_for(marker: str) -> str:
    """What a marker's tests need and this machine lacks; empty when they can run."""
    if marker == "browser":
        return "" if CHROMIUM else "chromium-headless-shell"
    lacking = [name for name in ("Xvfb", "xdotool") if shutil.which(name) is None]
    if not lacking:
        code = "import gi; gi.require_version('WebKit2', '4.1')"
        if subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode:
            lacking.append("python3-gi with gir1.2-webkit2-4.1")
    return ", ".join(lacking)


@cache
def _turn(file: Path) -> int:
    """Place in ``LONG`` of a file or its folder, or the number after."""
    part = file.relative_to(ROOT).parts[0]
    return LONG.index(part) if part in LONG else len(LONG)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what cannot run, saying what is missing; put what takes longest first where processes share the tests."""
    if hasattr(config, "workerinput"):  # pytest-xdist's
        items.sort(key=lambda item: _turn(item.path))
    for item in items:
        for marker in ("browser", "window"):
            if item.get_closest_marker(marker) and (missing := _missing_for(marker)):
                item.add_marker(pytest.mark.skip(reason=f"needs {missing}; see ./test.sh"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI nothing is skipped: what did not run is not known to work."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
