"""The command line called in the test's own process: as true as a process, and many times faster to start."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import launcher
from tests.fakes.upstream import FakeUpstream
from tests.support.processes import environment

Program = Callable[..., "CompletedProcess[str]"]

# Needs other people's clients: scripts/full_counts.sh clients.
collect_ignore = [] if os.environ.get("CLIENTS") else ["test_clients.py"]


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    """A running fake."""
    with FakeUpstream() as running:
        yield running


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Program]:
    """Calls ``launcher.main`` with arguments and a bare environment; data folder ``tmp_path/data``."""
    monkeypatch.chdir(tmp_path)
    level = logging.getLogger().level

    def call(*arguments: str, **environ: str) -> CompletedProcess[str]:
        with monkeypatch.context() as patch:
            for name, value in environment(tmp_path / "data", **environ).items():
                patch.setenv(name, value)
            capfd.readouterr()
            try:
                code = launcher.main(arguments)
            except SystemExit as end:  # argparse
                code = int(end.code or 0)
        said = capfd.readouterr()
        return CompletedProcess(arguments, code, said.out, said.err)

    yield call
    logging.getLogger().setLevel(level)
