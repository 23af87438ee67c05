"""A machine without what a window needs: the browser or the server takes its place, in words, without a trace."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.window.desk import LAUNCHER, PATIENCE, ROOT, Desk, listens, until

TYPELIBS = "girepository-1.0"
AS_NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if os.geteuid() == 0 else ()
TROUBLE = ("Traceback", "core dumped", "Segmentation", "Gtk-CRITICAL", "GLib-GIO-ERROR")


@dataclass
class Attempt:
    """The program started as a person would, with what it said and what it asked a browser to open."""

    process: subprocess.Popen[str]
    folder: Path
    began: float

    @property
    def said(self) -> str:
        return (self.folder / "said.txt").read_text(encoding="utf-8")

    @property
    def opened(self) -> list[str]:
        file = self.folder / "opened.txt"
        return file.read_text(encoding="utf-8").split() if file.exists() else []

    def serving(self) -> str:
        """The address that it serves on, once it has said so."""
        until(lambda: "http://127.0.0.1:" in self.said or self.process.poll() is not None, "it says where it is")
        assert self.process.poll() is None, self.said
        url = next(word for word in self.said.replace("。", " ").split() if word.startswith("http://127.0.0.1:"))
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.status == 200
        return url

    def end(self) -> None:
        """Ctrl-C: it ends with 0, gives its port back, and has neither trace nor core file."""
        url = self.serving()
        self.process.terminate()
        assert self.process.wait(PATIENCE) == 0, self.said
        assert not listens(url)
        self.is_clean()

    def is_clean(self) -> None:
        assert not [word for word in TROUBLE if word in self.said], self.said
        assert [file.name for file in self.folder.iterdir() if file.name.startswith("core")] == []


class Machine:
    """Starts the program in a folder of its own, where it may leave core files if it must."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[Attempt] = []
        self.browser = folder / "browser"
        self.browser.write_text(f'#!/bin/sh\necho "$1" >> "{folder}/opened.txt"\n', encoding="utf-8")
        self.browser.chmod(0o755)

    def environment(self, **environ: str) -> dict[str, str]:
        base = {
            **{name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")},
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "en_US.UTF-8", "PORT": "0",
            "APP_DATA_DIR": str(self.folder / "data"), "BROWSER": f"{self.browser} %s", "GSETTINGS_BACKEND": "memory",
        }  # fmt: skip
        return {name: value for name, value in {**base, **environ}.items() if value}

    def start(
        self, *arguments: str, prefix: tuple[str, ...] = (), launcher: Path = LAUNCHER, **environ: str
    ) -> Attempt:
        began = time.monotonic()
        with (self.folder / "said.txt").open("w") as said:
            process = subprocess.Popen(
                [*prefix, sys.executable, str(launcher), "--demo", *arguments],
                env=self.environment(**environ),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                text=True,
                preexec_fn=_with_core_files,  # noqa: PLW1509 - no thread of the test holds a lock here
            )
        attempt = Attempt(process, self.folder, began)
        self.started.append(attempt)
        return attempt


def _with_core_files() -> None:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    for attempt in made.started:
        attempt.process.kill()
        attempt.process.wait(10)


def without(*paths: Path) -> tuple[str, ...]:
    """A command prefix under which files are empty and folders hold nothing: what a half-removed package leaves."""
    hide = [f'mount --bind {"/dev/null" if path.is_file() else "/mnt"} "{path}"' for path in paths]
    script = " && ".join([*hide, 'exec "$@"'])
    as_root = ("unshare", "-m", "sh", "-c", script, "sh")
    if os.geteuid() != 0:
        as_root = ("unshare", "-rm", *as_root[2:])
    tried = subprocess.run([*as_root, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"files cannot be hidden from a process here: {tried.stderr.strip()}")
    return as_root


def library(name: str) -> Path:
    """A file or folder of the system's libraries."""
    found = next((path for root in ("/usr/lib", "/usr/lib64") for path in Path(root).glob(f"*/{name}")), None)
    assert found is not None, name
    return found


def test_without_a_display(machine: Machine) -> None:
    """It says why there is no window and where the page is, tries no browser without a screen, and serves."""
    attempt = machine.start(BROWSER="")
    attempt.serving()
    assert "no graphical desktop" in attempt.said
    assert "No browser could be opened" in attempt.said
    attempt.end()


def test_without_a_display_but_with_a_browser_named(machine: Machine) -> None:
    """BROWSER is a person's wish, which counts without a display too."""
    attempt = machine.start()
    url = attempt.serving()
    assert until(lambda: attempt.opened, "the browser is asked") == [url]
    attempt.end()


def test_a_signal_while_the_browser_opens(machine: Machine) -> None:
    """It is not too early to end in order: the browser that is asked says so at once."""
    machine.browser.write_text("#!/bin/sh\nkill -TERM $PPID\n", encoding="utf-8")
    attempt = machine.start("--browser")
    assert attempt.process.wait(PATIENCE) == 0, attempt.said
    attempt.is_clean()


def test_with_a_dead_display(machine: Machine) -> None:
    """DISPLAY names a screen that nobody serves: the browser within 15 seconds, with the line that gives a window."""
    attempt = machine.start(DISPLAY=":987")
    attempt.serving()
    assert time.monotonic() - attempt.began < PATIENCE
    assert "sudo apt install python3-gi" in attempt.said
    until(lambda: attempt.opened, "the browser is asked")
    attempt.end()


@pytest.mark.parametrize("gui", ["gtk", "qt"])
def test_with_a_dead_display_and_a_wish(machine: Machine, gui: str) -> None:
    """A toolkit that was asked for by name is named in the reason, whether it is installed or not."""
    attempt = machine.start("--gui", gui, DISPLAY=":987")
    attempt.serving()
    assert {"gtk": "gir1.2-webkit2", "qt": "libxcb-cursor0"}[gui] in attempt.said
    attempt.end()


@pytest.mark.parametrize(
    "missing",
    [f"{TYPELIBS}/WebKit2-4.1.typelib", f"{TYPELIBS}/Gtk-3.0.typelib", "webkit2gtk-4.1", "libwebkit2gtk-4.1.so.0"],
)
def test_with_half_a_toolkit(machine: Machine, screen: Desk, missing: str) -> None:
    """A typelib, the library or WebKit's helper programs are missing: the browser, and what to install."""
    path = library(missing).resolve()
    attempt = machine.start("--gui", "gtk", prefix=without(path), DISPLAY=screen.display)
    attempt.serving()
    assert "gir1.2-webkit2" in attempt.said
    until(lambda: attempt.opened, "the browser is asked")
    attempt.end()


def test_with_the_port_taken(machine: Machine, screen: Desk) -> None:
    """One message that names the port and another one to take; no window, exit code 2."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        attempt = machine.start(PORT=str(port), DISPLAY=screen.display)
        assert attempt.process.wait(PATIENCE) == 2
    assert str(port) in attempt.said
    assert f"PORT={port + 1}" in attempt.said
    attempt.is_clean()


@pytest.mark.parametrize("kind", ["under a file", "system", "somebody else's"])
def test_with_a_data_folder_that_cannot_be_written(machine: Machine, screen: Desk, kind: str) -> None:
    """One message that names the folder; no window, exit code 2."""
    (machine.folder / "file").touch()
    folder, prefix = Path("/proc/1/data"), tuple[str, ...]()
    if kind == "under a file":
        folder = machine.folder / "file" / "data"
    elif kind == "somebody else's":
        folder, prefix = Path("/usr"), AS_NOBODY
    unmeasured: dict[str, Any] = {
        name: "" for name in os.environ if prefix and name.startswith("COVERAGE_")
    }  # nobody may not write
    attempt = machine.start(prefix=prefix, APP_DATA_DIR=str(folder), DISPLAY=screen.display, **unmeasured)
    assert attempt.process.wait(PATIENCE) == 2
    assert str(folder) in attempt.said
    assert len(attempt.said.strip().splitlines()) == 1
    attempt.is_clean()


def test_with_a_browser_that_fails(machine: Machine, tmp_path: Path) -> None:
    """Neither window nor browser: the address is said, and the server stays."""
    attempt = machine.start("--browser", BROWSER="/bin/false", PATH=str(tmp_path))
    attempt.serving()
    assert "No browser could be opened" in attempt.said
    attempt.end()


def test_with_a_browser_that_stays_in_the_foreground(machine: Machine) -> None:
    """A browser command that does not return keeps nothing waiting."""
    machine.browser.write_text("#!/bin/sh\nexec sleep 15\n", encoding="utf-8")
    attempt = machine.start("--browser")
    attempt.end()


@pytest.mark.parametrize("second", ["same", "other"])
def test_with_a_server_that_runs_already(machine: Machine, second: str) -> None:
    """A second start without a display opens the running one's page; of another version it says which that is."""
    first = machine.start("--no-open")
    url = first.serving()
    file = machine.folder / "data" / "demo" / "instance.json"
    if second == "other":
        file.write_text(json.dumps({**json.loads(file.read_text()), "version": "0.0.1"}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, LAUNCHER, "--demo"],
        env=machine.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0
    assert ("0.0.1" if second == "other" else "running already") in done.stderr
    assert first.opened == [url]
    assert not [word for word in TROUBLE if word in done.stderr]
    first.end()


STUCK = """
import runpy, sys
sys.path.insert(0, ROOT)
import webview.platforms.gtk
from bridge.window import desktop_window
desktop_window._SHOWN_SECONDS = desktop_window._END_SECONDS = 1.0
webview.platforms.gtk.BrowserView.on_webview_ready = lambda *_: None
sys.argv[0] = LAUNCHER
runpy.run_path(LAUNCHER, run_name="__main__")
"""


def test_a_window_that_never_shows(machine: Machine, screen: Desk) -> None:
    """The toolkit works, in a folder with modules of its own too, and its window does not come: the browser takes over,
    and a signal still ends everything."""
    (machine.folder / "subprocess.py").write_text("raise SystemExit(9)", encoding="utf-8")
    script = machine.folder / "stuck" / "stuck.py"
    script.parent.mkdir()
    script.write_text(STUCK.replace("ROOT", repr(str(ROOT))).replace("LAUNCHER", repr(str(LAUNCHER))), encoding="utf-8")
    attempt = machine.start("--gui", "gtk", launcher=script, DISPLAY=screen.display)
    url = until(lambda: attempt.opened, "the browser is asked")[0]
    assert "does not work here" not in attempt.said
    assert listens(url)
    attempt.process.terminate()
    assert attempt.process.wait(PATIENCE) == 0
    assert not listens(url)
    attempt.is_clean()


def test_a_probe_that_hangs_is_ended(tmp_path: Path) -> None:
    """A toolkit that neither works nor fails costs at most 14 seconds, and its processes go with it."""
    slept = """
import os, sys, time
from bridge.window.toolkits import choice as toolkits
toolkits._CHILD = "import time; time.sleep(600)"
began = time.monotonic()
clock = iter([0.0] + [13.5] * 99)
search = toolkits.ToolkitSearch("gtk", {"DISPLAY": ":1"}, clock=lambda: next(clock))
child = search._child.pid
assert search.result().reason == "window.no_gtk"
assert time.monotonic() - began < 45
try:
    os.kill(child, 0)
except ProcessLookupError:
    print("gone")
"""
    done = subprocess.run(
        [sys.executable, "-c", slept], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "gone\n", done.stderr


def test_stale_address_of_a_killed_instance(machine: Machine) -> None:
    """A first start that was killed leaves its address; the next one starts as if it were not there."""
    first = machine.start("--no-open")
    first.serving()
    first.process.kill()
    first.process.wait(10)
    assert (machine.folder / "data" / "demo" / "instance.json").exists()
    with contextlib.suppress(FileNotFoundError):
        (machine.folder / "opened.txt").unlink()
    again = machine.start("--no-open")
    again.end()
