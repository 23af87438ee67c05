"""Toolkits to try (GTK always, Qt where it is installed), one desktop, and programs that end with their tests."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.window.desk import Desk, Program, desk

TOOLKITS = ["gtk", *(["qt"] if importlib.util.find_spec("PyQt6") and importlib.util.find_spec("qtpy") else [])]
Start = Callable[..., Program]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder that starts a program needs a display."""
    for item in items:
        if "screen" in getattr(item, "fixturenames", ()) and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.window)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def screen() -> Iterator[Desk]:
    """One X display, with a window manager, for the whole session."""
    with desk() as made:
        yield made


@pytest.fixture
def start(screen: Desk, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts programs; those that still run at the end of the test are killed, and a failure leaves a picture."""
    started: list[Program] = []

    def begin(
        gui: str = "", *, folder: str = "home", arguments: tuple[str, ...] = ("--demo",), **environ: str
    ) -> Program:
        program = Program(tmp_path / folder, gui, screen, environ, arguments).start()
        started.append(program)
        return program

    yield begin
    screen.picture(tmp_path / "screen.png")
    for program in started:
        program.close()
