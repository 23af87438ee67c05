"""How the window ends: asked while a batch runs, by signal, with a dialog open; and what it remembers."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from engine.images.cache import Cache
from engine.models import TaskMatch, TaskStatus
from engine.tasks.store import Store
from tests.window.conftest import TOOLKITS, Start
from tests.window.desk import TITLE, Desk, Program, listens, until

SAMPLES = Path(__file__).resolve().parent.parent.parent / "assets" / "samples"
RUN = """(prompt => {
  pywebview.api.get_state({tasks: 0}).then(({data}) => pywebview.api.start_batch({
    input_path: data.sample_path, config: {...data.current_config, user_prompt: prompt, api_key: ''},
  })).then(answer => { window.started = answer; });
  return true;
})(PROMPT)"""
pytestmark = pytest.mark.parametrize("gui", TOOLKITS)


def run(program: Program, prompt: str) -> None:
    """Start a batch with the samples and wait until it runs."""
    program.page("(() => { window.started = null; return true; })()")
    program.page(RUN.replace("PROMPT", f"'{prompt}'"))
    started = program.until("window.started")
    assert started["ok"], started


def counts(program: Program) -> dict[str, int]:
    """Tasks by state, as the page's API tells."""
    program.page(
        "(window.told = null, pywebview.api.get_state({tasks: 0})"
        ".then(answer => { window.told = answer.data.progress; }), true)"
    )
    return dict(program.until("window.told"))


def ended(program: Program, url: str, *, code: int = 0) -> None:
    """It has ended as it should, and nothing of it is left."""
    assert program.wait() == code, program.said
    until(lambda: program.left_behind() == [], "no helper process is left")
    assert not listens(url)
    assert not (program.data / "instance.json").exists()
    assert "Traceback" not in program.said


def kept(program: Program) -> dict[TaskStatus, int]:
    """Tasks by state in the data folder; every result's picture is there."""
    store = Store(program.data / "tasks.db")
    try:
        found = {status: number for status, number in store.counts().items() if number}
        results = [result for task in store.tasks(TaskMatch()) for result in task.results]
    finally:
        store.close()
    cache = Cache(program.data / "cache")
    assert all(cache.has(result.hash, result.extension) for result in results)
    return found


def press_close(screen: Desk, program: Program) -> None:
    """What the frame's button does."""
    screen.focus(program.window)
    screen.keys("alt+F4")


def main_windows(screen: Desk) -> list[str]:
    """Windows of the program: its own and a question, which has the same words in its title."""
    return [one for one, name in screen.windows().items() if TITLE in name]


def question(screen: Desk, program: Program) -> str:
    """The window that asks, once it has come."""
    return until(lambda: next((one for one in main_windows(screen) if one != program.window), None), "it asks")


def test_closing_while_a_batch_runs_asks(start: Start, screen: Desk, gui: str) -> None:
    """Told no, the batch goes on; told yes, the program ends, and what has arrived is kept."""
    program = start(gui).ready()
    url = program.url
    run(program, "snow")
    until(lambda: counts(program)["done"] == 12, "the first batch is done", 60)
    run(program, "error slow")
    press_close(screen, program)
    screen.focus(question(screen, program))
    screen.keys("Escape")
    until(lambda: len(main_windows(screen)) == 1, "the question goes")
    assert counts(program)["processing"] > 0
    until(lambda: screen.window("0/12"), "the title shows that the batch goes on")
    press_close(screen, program)
    screen.focus(question(screen, program))
    screen.keys("Tab", "Return")
    ended(program, url)
    assert kept(program) == {TaskStatus.DONE: 12, TaskStatus.STOPPED: 12}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_signals_end_everything(start: Start, screen: Desk, gui: str, number: signal.Signals) -> None:
    """A running batch, an open dialog and the window go at once, without a question and with exit code 0."""
    program = start(gui).ready()
    url = program.url
    run(program, "error slow")
    screen.focus(program.window)
    screen.keys("ctrl+o")
    until(lambda: screen.window("选择文件夹"), "a dialog is open")
    program.process.send_signal(number)
    ended(program, url)
    assert kept(program) == {TaskStatus.STOPPED: 12}


def test_size_and_place_are_remembered(start: Start, screen: Desk, gui: str) -> None:
    """The next window comes up where the last one was closed, in its size; Ctrl+Q closes without a question at rest."""
    program = start(gui).ready()
    screen.xdotool("windowsize", "--sync", program.window, 1100, 700)
    screen.xdotool("windowmove", "--sync", program.window, 140, 120)
    until(lambda: program.page("innerWidth") == 1100, "the page has the new size")
    until(lambda: all(at >= to for at, to in zip(screen.box(program.window), (140, 120), strict=False)), "it has moved")
    before, url = screen.box(program.window), program.url
    screen.focus(program.window)
    screen.keys("ctrl+q")
    ended(program, url)
    again = start(gui).ready()
    until(lambda: screen.box(again.window) == before, f"the window stands at {before}")
    until(lambda: again.page("innerWidth") == 1100, "the page has the size of the first")
    assert screen.window(TITLE) == again.window
