"""``serve`` as a process: its address, its end, a taken port, and what a sudden death leaves behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from engine.config import ApiMode
from tests.e2e.conftest import Program
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import config_for, until
from tests.support.pictures import picture, source_folder
from tests.support.processes import run, serving
from tests.support.replies import MODES, inline


def free_port() -> int:
    """A port that nobody holds at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serves_until_it_is_told_to_end(tmp_path: Path, number: int) -> None:
    """It says its address, answers there, and ends with 0 on a signal; the log tells nothing odd."""
    with serving(tmp_path / "data") as served:
        assert served.state()["task_count"] == 0
        page = served.client.get("/")
        assert "<html" in page.text
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert served.end(number) == 0
    assert "ERROR" not in (tmp_path / "data" / "log.txt").read_text()


def test_demo_is_marked(tmp_path: Path) -> None:
    """``--demo`` edits samples without an account, says that it is a demo, and touches nothing of the person's."""
    with serving(tmp_path / "data", "serve", "--demo") as served:
        state = served.state()
        assert state["demo"] is True
        samples = state["sample_path"]
        started = served.client.post("/api/tasks/start", json={"input_path": samples})
        assert started.json()["task_count"] == 12
        until(lambda: served.state()["progress"]["done"] >= 2)
        assert served.end() == 0
    assert not (tmp_path / "data" / "state.json").exists()
    assert (tmp_path / "data" / "demo" / "state.json").exists()


def test_network_address_makes_a_token_up_and_says_it(tmp_path: Path) -> None:
    """Bound to every address, the token is printed and required."""
    with serving(tmp_path / "data", HOST="0.0.0.0") as served:
        assert "token=" in served.url
        assert served.client.get("/api/state").status_code == 401
        token = served.url.partition("token=")[2]
        assert served.client.get("/api/state", headers={"X-Access-Token": token}).status_code == 200
        assert served.process.stderr is not None
        assert token in served.process.stderr.readline()


@pytest.mark.parametrize(("name", "value"), [("PORT", "http"), ("STATUS_UI", "window"), ("MAX_HTTP_REDIRECTS", "-1"),
                                             ("APP_DATA_DIR", "/dev/null/x")])  # fmt: skip
def test_unreadable_variable_ends_the_start(program: Program, name: str, value: str) -> None:
    """Exit code 2, and the variable's name in the words."""
    words = set()
    for arguments, language in (("serve", "en_US.UTF-8"), ("run --demo -o out", "en_US.UTF-8"), ("serve", "zh_CN")):
        done = program(*arguments.split(), **{name: value, "LC_ALL": language})
        assert done.returncode == 2
        assert name in done.stderr
        assert value in done.stderr
        assert "Traceback" not in done.stderr
        words.add(done.stderr)
    assert len(words) == 2, "each language has its own"


class _Stranger(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_error(400)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def test_port_taken_by_another_program(program: Program) -> None:
    """Exit code 2 with the bind error, who holds the port and what to do; the holder goes on."""
    stranger = ThreadingHTTPServer(("127.0.0.1", 0), _Stranger)
    threading.Thread(target=stranger.serve_forever, daemon=True).start()
    try:
        port = stranger.server_address[1]
        for arguments in (("serve",), ("--no-open",)):
            done = program(*arguments, PORT=str(port))
            assert done.returncode == 2
            assert "Address already in use" in done.stderr
            assert f"PID {os.getpid()}" in done.stderr
            assert f"held by {Path('/proc/self/comm').read_text().strip()}" in done.stderr
            assert f"PORT={port + 1}" in done.stderr
        with socket.create_connection(("127.0.0.1", port), 5) as probe:
            probe.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
            assert probe.recv(20).startswith(b"HTTP/1.0 400")
    finally:
        stranger.shutdown()
        stranger.server_close()


def test_port_taken_by_this_program(tmp_path: Path) -> None:
    """It says so, opens the page that is there, and ends with 2; the first one is not disturbed."""
    opened = tmp_path / "opened"
    browser = tmp_path / "browser.sh"
    browser.write_text(f'#!/bin/sh\necho "$1" >> "{opened}"\n')
    browser.chmod(browser.stat().st_mode | stat.S_IXUSR)
    with serving(tmp_path / "first") as served:
        port = served.client.base_url.port
        done = run(tmp_path / "first", "serve", PORT=str(port), BROWSER=f"{browser} %s")
        assert done.returncode == 2
        assert f"http://127.0.0.1:{port}/" in done.stderr
        assert "this very program" in done.stderr
        assert str(served.process.pid) in done.stderr
        until(opened.exists)
        assert opened.read_text().split() == [f"http://127.0.0.1:{port}/"]
        without = run(tmp_path / "first", "serve", PORT=str(port))
        assert (without.returncode, "No browser could be opened" in without.stderr) == (2, True)
        assert served.state()["task_count"] == 0


def test_address_that_is_not_ours(program: Program) -> None:
    """An address of another machine is no taken port: the advice is about HOST."""
    done = program("serve", HOST="192.0.2.1", PORT=str(free_port()))
    assert done.returncode == 2
    assert "HOST" in done.stderr
    assert "PID" not in done.stderr


def test_one_program_a_data_folder(program: Program, tmp_path: Path) -> None:
    """A second one on the same folder ends with 2 before it damages anything."""
    with serving(tmp_path / "data") as served:
        done = program("serve", PORT=str(free_port()))
        assert done.returncode == 2
        assert "in use" in done.stderr
        assert served.state()["running"] is False


@pytest.mark.parametrize("mode", MODES)
def test_kill_in_the_middle_loses_nothing_that_was_reported(tmp_path: Path, mode: ApiMode) -> None:
    """After kill -9 what was done is there byte for byte, the rest is stopped, and resume pays only for that."""
    source = source_folder(tmp_path / "in", 12)
    with FakeUpstream() as fake:

        def answering(request: Received) -> Script:
            number = len(fake.api_requests)
            return inline(mode, picture(number)) if number <= 5 else Script(silent=True)

        fake.answer_with(answering)
        with serving(tmp_path / "data") as served:
            body = {"input_path": str(source), "config": config_for(fake, mode, concurrency_limit=2)}
            assert served.client.post("/api/tasks/start", json=body).json()["task_count"] == 12
            until(lambda: served.state()["progress"]["done"] == 5)
            reported = [task for task in served.state()["tasks"] if task["status"] == "done"]
            served.process.kill()
            served.process.wait(10)
        asked = len(fake.api_requests)
        fake.answer(inline(mode, picture(99)))
        with serving(tmp_path / "data") as served:
            tasks = {task["id"]: task for task in served.state()["tasks"]}
            assert len(tasks) == 12
            for task in reported:
                assert tasks[task["id"]]["results"] == task["results"]
                image = served.client.get(task["results"][0]["image_url"])
                assert image.content in {picture(number) for number in range(1, 6)}
            rest = [task for task in tasks.values() if task["status"] != "done"]
            assert {task["status"] for task in rest} == {"stopped"}
            assert {task["error"]["code"] for task in rest} == {"found_unfinished"}
            assert served.client.post("/api/tasks/resume").json()["resumed_count"] == 7
            until(lambda: served.state()["progress"]["done"] == 12)
        assert len(fake.api_requests) == asked + 7


@pytest.mark.parametrize("words", ["serve", "serve --demo --open", "--no-open", "--browser"])
def test_each_way_to_serve(program: Program, tmp_path: Path, words: str) -> None:
    """With and without a browser, until a signal ends it: the address is said, and 0 comes back."""
    port = free_port()
    seen: list[int] = []

    def end_when_it_answers() -> None:
        def answers() -> bool:
            try:
                seen.append(httpx.get(f"http://127.0.0.1:{port}/api/state", trust_env=False).status_code)
            except httpx.HTTPError:
                return False
            return True

        until(answers)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=end_when_it_answers)
    thread.start()
    done = program(*words.split(), PORT=str(port))
    thread.join()
    assert (done.returncode, seen[-1]) == (0, 200), done.stderr
    assert f"http://127.0.0.1:{port}/" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "data" / "demo").exists() == ("--demo" in words)
