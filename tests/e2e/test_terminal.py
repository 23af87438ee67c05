"""What a person at a terminal sees: the status panel that ends by a key, and the progress bar of a run."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console as Terminal

from bridge.http.port_holder import Holder, _name_of, _pid_from_tools, _run, find_holder
from bridge.logs import open_log
from bridge.terminal.status_panel import LogTail, StatusPanel
from engine.config import ApiMode
from tests.e2e.conftest import Program
from tests.fakes.upstream import FakeUpstream, Script
from tests.support.doors import config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.processes import command, environment, serving
from tests.support.replies import inline


class Screen:
    """A process in a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self.text = ""

    def read_until(self, words: str, seconds: float = 30) -> None:
        """Until the screen has shown these words."""
        end = time.monotonic() + seconds
        while words not in self.text:
            ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{words!r} never came: {self.text}"
            self._read()

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def end(self, seconds: float = 15) -> int:
        """Read on until the process has ended; its exit code."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            if select.select([self._master], [], [], 0.1)[0]:
                self._read()
        return self.process.wait(1)

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # a terminal whose process has ended
            self.text += os.read(self._master, 65536).decode("utf-8", "replace")


@contextlib.contextmanager
def at_a_terminal(data: Path, *arguments: str, **environ: str) -> Iterator[Screen]:
    """The program with a terminal for input and output."""
    master, slave = pty.openpty()
    more = {"TERM": "xterm", "COLUMNS": "120", "LINES": "40", "PORT": "0", **environ}
    process = subprocess.Popen(  # setsid -c: the terminal is the process's own, so that Ctrl-C is a signal
        ["setsid", "-c", *command(*arguments)], env=environment(data, **more),
        stdin=slave, stdout=slave, stderr=slave, cwd=data.parent,
    )  # fmt: skip
    os.close(slave)
    try:
        yield Screen(process, master)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(5)
        os.close(master)


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_status_panel_ends_by_a_key(tmp_path: Path, key: bytes) -> None:
    """The panel shows address, state and counts; q and Ctrl-C end the server with 0."""
    with at_a_terminal(tmp_path / "data", "serve") as screen:
        screen.read_until("q or Ctrl-C")
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.text)
        assert re.search(r"Address\s+http://127\.0\.0\.1:\d+/", plain)
        assert re.search(r"State\s+idle", plain)
        screen.type(key)
        assert screen.end() == 0, screen.text


def test_no_panel_where_none_is_wanted(tmp_path: Path) -> None:
    """STATUS_UI=none and STATUS_WINDOW=0 leave the terminal quiet."""
    for name, value in (("STATUS_UI", "none"), ("STATUS_WINDOW", "0")):
        with at_a_terminal(tmp_path / "data", "serve", **{name: value}) as screen:
            screen.read_until("Serving at")
            screen.process.send_signal(signal.SIGINT)
            assert screen.end() == 0, screen.text
            assert "Ctrl-C" not in screen.text


def test_panel_shows_a_run(fake: FakeUpstream, tmp_path: Path) -> None:
    """Counts, progress and the last log lines as they are, brackets and all."""
    tail = LogTail()
    record = logging.LogRecord("x", logging.INFO, "", 0, "a [bold]line[/bold]\nsecond", (), None)
    for _ in range(20):
        tail.emit(record)
    with open_door(tmp_path / "data") as door:
        fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(1)), Script.error(400, "no"), Script(silent=True))
        door.start(source_folder(tmp_path / "in", 4), config_for(fake, concurrency_limit=1))
        assert fake.wait_for_requests(3)
        terminal = Terminal(width=120, record=True, file=io.StringIO())
        terminal.print(StatusPanel(door.app, "http://here/", "en", tail).draw())
        shown = terminal.export_text()
    assert "http://here/" in shown
    assert "2/4 · 50.0 %" in shown
    assert "1 done, 1 failed" in shown
    assert "running" in shown
    assert shown.count("a [bold]line[/bold]") == 8


def test_progress_bar(program: Program, tmp_path: Path) -> None:
    """At a terminal a run shows a bar with its count, and ends with the sum."""
    with FakeUpstream() as fake:
        fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(1), delay=0.2))
        config = config_for(fake, concurrency_limit=1)
        arguments = [f"--{name.replace('_', '-')}={value}" for name, value in config.items() if type(value) is not bool]
        flags = ["--unlock-local-api-url", "--unlock-local-download-url"]
        source = source_folder(tmp_path / "in", 3)
        done = program(
            "run", str(source), "-o", str(tmp_path / "out"), *arguments, *flags, FORCE_COLOR="1", TERM="xterm"
        )
    assert done.returncode == 0, done.stderr
    assert "3/3" in done.stderr
    assert "━" in done.stderr


def test_what_others_say_is_only_shown(tmp_path: Path) -> None:
    """ESC, OSC and C1 from an API's error and from file names do not reach the terminal; a pause says how to go on."""
    source = source_folder(tmp_path / "in", 25)
    (source / "001_start.png").rename(source / "0\x1b]0;name\x07\n\u202egnp.png")
    with FakeUpstream() as fake:
        fake.answer(Script.error(401, "\x1b]0;owned\x07\x9b31m wrong key\r\nforged"))
        file = tmp_path / "config.json"
        file.write_text(json.dumps(config_for(fake)))
        with at_a_terminal(
            tmp_path / "data", "run", str(source), "-o", str(tmp_path / "out"), "--config", str(file)
        ) as screen:
            screen.read_until("press Ctrl-C")
            screen.type(b"\x03")
            assert screen.end() == 130
            screen.read_until("the same command")
    assert "the API refuses the key" in screen.text
    assert "␛]0;name␇" in screen.text
    assert not {"\x9b", "\x07", "\u202e"} & set(screen.text)
    assert "\x1b]" not in screen.text
    assert "\nforged" not in screen.text


def test_holder_of_a_port(tmp_path: Path) -> None:
    """The process that listens is found by the system's tables and by its tools."""
    with serving(tmp_path / "data") as served:
        port = served.client.base_url.port
        assert port is not None
        holder = find_holder(port)
        assert holder.pid == served.process.pid
        assert holder.name.startswith("python")
        assert _pid_from_tools(port) in (served.process.pid, 0)
    assert find_holder(port) == Holder()
    assert _pid_from_tools(port) == 0
    assert _name_of(2**22 + 1) == ""
    assert _run("no-such-program-anywhere") == ""
    assert _run(sys.executable, "-c", "print('x')").strip() == "x"


def test_log_file_where_none_can_be_written(tmp_path: Path) -> None:
    """A folder without a place for the log does not keep the program from starting."""
    level = logging.getLogger().level
    try:
        open_log(tmp_path / "none").close()
        log = open_log(tmp_path)
        logging.getLogger("bridge").info("hello \x1b]0;owned\x07")
        log.close()
        logging.getLogger("bridge").info("gone")
        assert "hello ␛]0;owned␇" in (tmp_path / "log.txt").read_text("utf-8")
        assert "gone" not in (tmp_path / "log.txt").read_text()
    finally:
        logging.getLogger().setLevel(level)


def test_a_console_that_knows_chinese_only(tmp_path: Path) -> None:
    """cp936, as Windows has it: a whole run with a name that it cannot write; words are Chinese, nothing breaks."""
    source = source_folder(tmp_path / "in", 1)
    (source / "🌲 كتاب.png").write_bytes(b"no picture")
    told = subprocess.run(
        command("run", str(source), "--demo", "-o", str(tmp_path / "out")),
        env=environment(tmp_path / "data", PYTHONIOENCODING="gbk", LC_ALL="zh_CN.UTF-8", LANGUAGE="zh_CN"),
        capture_output=True, timeout=60, check=False, cwd=tmp_path,
    )  # fmt: skip
    said = told.stderr.decode("gbk")
    assert "完成" in said
    assert r"\U0001f332" in said
    assert "Traceback" not in said
    assert [path.suffix for path in (tmp_path / "out").iterdir() if path.stem.startswith("001")]
