"""What the tests of the doors start with: a fake paid API, and the program with its server on an empty data folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.upstream import FakeUpstream
from tests.support.doors import Door, open_door


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    """A running fake."""
    with FakeUpstream() as running:
        yield running


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    """The program with default settings."""
    with open_door(tmp_path / "data") as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """One program for all tests of a module that do not mind what was stored before."""
    with open_door(tmp_path_factory.mktemp("shared")) as opened:
        yield opened
