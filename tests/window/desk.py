"""A desktop of our own (Xvfb, openbox, xdotool) and the program on it, as a person and as the system see it."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Any, TypeVar

from tests.window.inside import CHOSEN

ROOT = Path(__file__).resolve().parent.parent.parent
LAUNCHER = ROOT / "launcher.py"
INSIDE = Path(__file__).with_name("inside.py")
TITLE = "图片批处理调度台"
PATIENCE = 45.0
"""Seconds to wait for what should come at once: the machine may be busy with something else."""
MARK = "WINDOW_TEST"

T = TypeVar("T")


def until(what: Callable[[], T | None], why: str, seconds: float = PATIENCE) -> T:
    """Ask again and again until the answer is true; gives it."""
    end = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {why}"
        time.sleep(0.05)
    return answer


@dataclass
class Desk:
    """One X display with a window manager."""

    display: str

    def xdotool(self, *words: object) -> str:
        """Run xdotool; "" when it finds nothing."""
        done = subprocess.run(
            ["xdotool", *map(str, words)],
            env={**os.environ, "DISPLAY": self.display},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout.strip()

    def windows(self) -> dict[str, str]:
        """Title of every visible window, by its id."""
        found = self.xdotool("search", "--onlyvisible", "--name", ".+").split()
        return {one: self.xdotool("getwindowname", one) for one in found}

    def window(self, title: str) -> str | None:
        """Id of the visible window with these words in its title."""
        return next((one for one, name in self.windows().items() if title in name), None)

    def focus(self, window: str) -> None:
        """Give a window the keyboard."""
        self.xdotool("windowactivate", "--sync", window)

    def keys(self, *names: str) -> None:
        """Press keys one after the other, in the window that has the focus."""
        self.xdotool("key", "--delay", 30, *names)

    def click(self, window: str, x: float, y: float) -> None:
        """Click at a place counted from the window's corner."""
        self.xdotool("mousemove", "--window", window, int(x), int(y), "click", 1)

    def open_menu(self, window: str, x: float, y: float) -> None:
        """Click where a menu is, until it is there: a window without a name."""
        before = self.xdotool("search", "--onlyvisible", "--class", ".*").split()
        self.click(window, x, y)
        opened = "the menu opens"
        until(lambda: set(self.xdotool("search", "--onlyvisible", "--class", ".*").split()) - set(before), opened)

    def enter_path(self, program: Program, dialog: str, path: str) -> None:
        """Type a path into the system's dialog of this title and confirm, once it is looked up; again where it was not
        taken."""
        self.xdotool("type", "--delay", 15, path)
        if program.gui == "gtk":
            until(lambda: program.chosen() == path.rstrip("/"), "the dialog has looked the path up")
        else:
            time.sleep(0.5)  # Qt's looks it up, too, and does not tell
        tried = 0.0

        def gone() -> bool:
            nonlocal tried
            if (found := self.window(dialog)) and time.monotonic() > tried + 5:
                tried = time.monotonic()
                self.focus(found)
                self.keys("Return")
            return found is None

        until(gone, "the dialog closes")

    def sweep(self, window: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Select what lies between two places. Its steps need not be close in time, as those of a double click must."""
        first, last = (("mousemove", "--window", window, int(x), int(y)) for x, y in (start, end))
        self.xdotool(*first, "mousedown", 1, *last, "mouseup", 1)

    def drag(self, source: str, target: str, x: float, y: float) -> None:
        """From the middle of a window to a place in another; toolkits want to see the pointer on its way."""
        self.xdotool("windowraise", source, "mousemove", "--window", source, 60, 60, "mousedown", 1)
        for step in range(1, 6):
            self.xdotool("mousemove", "--window", source, 60 + 6 * step, 60)
            time.sleep(0.05)
        for away in (60, 30, 10, 0):
            self.xdotool("mousemove", "--window", target, int(x) + away, int(y))
            time.sleep(0.2)
        self.xdotool("mouseup", 1)

    def box(self, window: str) -> tuple[int, ...]:
        """Left, top, width and height of a window's inside, in pixels."""
        lines = self.xdotool("getwindowgeometry", "--shell", window).splitlines()
        values = dict(line.split("=") for line in lines if "=" in line)
        return tuple(int(values[name]) for name in ("X", "Y", "WIDTH", "HEIGHT"))

    def picture(self, path: Path) -> None:
        """What the screen shows, for a person who looks into a failure."""
        if shutil.which("import"):
            subprocess.run(["import", "-display", self.display, "-window", "root", path], check=False, timeout=30)


@contextlib.contextmanager
def desk() -> Iterator[Desk]:
    """A display of its own number, with openbox on it."""
    reading, writing = os.pipe()
    screen = ["Xvfb", "-displayfd", str(writing), "-screen", "0", "1500x1000x24", "-nolisten", "tcp"]
    with contextlib.ExitStack() as stack:
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        server = subprocess.Popen(screen, pass_fds=[writing], **quiet)
        stack.callback(end, server)
        os.close(writing)
        with os.fdopen(reading) as told:
            display = f":{told.readline().strip()}"
        manager = subprocess.Popen(["openbox", "--sm-disable"], env={**os.environ, "DISPLAY": display}, **quiet)
        stack.callback(end, manager)
        made = Desk(display)
        until(lambda: made.xdotool("get_num_desktops"), "the window manager is there")
        yield made


def end(process: subprocess.Popen[Any]) -> None:
    """End a process that may be gone already."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


@dataclass
class Program:
    """The program in a process of its own, with a data folder of its own."""

    folder: Path
    gui: str
    desk: Desk | None
    environ: dict[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ("--demo",)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    process: subprocess.Popen[str] = field(init=False)
    _page: Connection | None = None
    _window: str = ""

    def start(self) -> Program:
        """Start it; its messages go into files in the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        place = self.folder / f"{self.mark[:8]}.socket"
        command = [sys.executable, str(INSIDE), str(place), str(LAUNCHER), *self.arguments]
        if self.gui:
            command += ["--gui", self.gui]
        with (self.folder / "stderr.txt").open("w") as errors:
            self.process = subprocess.Popen(
                command, env=self.environment(), stdout=errors, stderr=errors, text=True, start_new_session=True
            )
        return self

    def environment(self) -> dict[str, str]:
        """What a desktop session gives, and the mark by which every child is found again."""
        kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("COVERAGE_")}
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        return {
            **kept,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PORT": "0",
            "APP_DATA_DIR": str(self.folder / "data"),
            "BROWSER": "/bin/true",
            "GSETTINGS_BACKEND": "memory",
            **({"DISPLAY": self.desk.display} if self.desk else {}),
            MARK: self.mark,
            **self.environ,
        }

    @property
    def data(self) -> Path:
        return self.folder / "data" / "demo"

    @property
    def said(self) -> str:
        """What it wrote to the terminal."""
        return (self.folder / "stderr.txt").read_text(encoding="utf-8")

    @property
    def url(self) -> str:
        """Where its server is, once it has told."""
        file = self.data / "instance.json"
        return str(until(lambda: file.exists() and json.loads(file.read_text())["url"], "the address is told"))

    def page(self, expression: str) -> Any:
        """Value of a JS expression in the window's page; None before there is one."""
        if self._page is None:
            self._page = until(self._connected, "the window's process listens")
        self._page.send(f"JSON.stringify({expression})")
        if not self._page.poll(PATIENCE):
            raise AssertionError(f"the page does not answer to {expression}")
        answer = self._page.recv()
        return json.loads(answer) if isinstance(answer, str) else answer

    def chosen(self) -> str | None:
        """The path that GTK's open file dialog stands at."""
        assert self._page is not None
        self._page.send(CHOSEN)
        assert self._page.poll(PATIENCE), "the window's process does not answer"
        answer = self._page.recv()
        return answer if isinstance(answer, str) else None

    def _connected(self) -> Connection | None:
        """The way to the page; None while its socket has a name and nobody listens yet, or has none."""
        try:
            return Client(str(self.folder / f"{self.mark[:8]}.socket"), family="AF_UNIX")
        except (FileNotFoundError, ConnectionRefusedError):
            if self.process.poll() is not None:
                raise
            return None

    def until(self, expression: str, seconds: float = PATIENCE) -> Any:
        """Wait until an expression in the page is true; gives its value."""
        return until(lambda: self.page(expression), expression, seconds)

    def ready(self) -> Program:
        """Wait until the page stands in its window."""
        self.until("document.querySelector('.runbar') !== null && document.querySelector('main.place > *') !== null")
        return self

    @property
    def window(self) -> str:
        """X id of the main window."""
        if not self._window:
            assert self.desk is not None
            self._window = until(functools.partial(self.desk.window, TITLE), "the window is visible")
        return self._window

    def spot(self, selector: str, across: float = 0.5) -> tuple[float, float]:
        """A place on an element, counted from the window's corner; ``across``: 0 is its left edge, 1 its right one."""
        box = self.until(
            f"(one => one && (one.scrollIntoView({{block: 'nearest'}}), (r =>"
            f" [r.x + r.width * {across}, r.y + r.height / 2, innerHeight])(one.getBoundingClientRect())"
            f"))(document.querySelector({json.dumps(selector)}))"
        )
        assert self.desk is not None
        return box[0], self.desk.box(self.window)[3] - box[2] + box[1]  # the menu bar is above the page

    def click(self, selector: str) -> None:
        """Click on an element with the mouse."""
        assert self.desk is not None
        self.desk.click(self.window, *self.spot(selector))

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(seconds)

    def owns(self, entry: Path) -> bool:
        """Whether a process (its folder in /proc) was started by this program, or is it."""
        try:
            return f"{MARK}={self.mark}".encode() in (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def hang_up(self) -> None:
        """Let go of the page; the next question finds the new one."""
        if self._page is not None:
            self._page.close()
            self._page = None

    def left_behind(self) -> list[str]:
        """Command lines of processes that it started and that still run."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if self.owns(entry):
                        found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        return found

    def close(self) -> None:
        """For the end of a test, whatever state it is in."""
        self.hang_up()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


def listens(url: str) -> bool:
    """Whether something takes connections at the address."""
    host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
    with socket.socket() as tried:
        tried.settimeout(5)
        return tried.connect_ex((host, int(port))) == 0
