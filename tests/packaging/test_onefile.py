"""The one-file programs as a person gets them: alone in a folder, with no Python and nothing in the environment."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageGrab

from tests.packaging.conftest import left_behind
from tests.support.doors import until

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
Serving = Callable[..., AbstractContextManager[str]]
SAMPLES = sorted((ROOT / "assets" / "samples").iterdir())
SAVED = {f"{number:03d}_end" for number in range(1, len(SAMPLES) + 1)}


def client(address: str) -> httpx.Client:
    """A client of the program that no proxy of the environment leads astray."""
    return httpx.Client(base_url=address, trust_env=False, timeout=30, headers={"Origin": address})


def bundled(program: Path, name: str) -> bytes:
    """A file inside a one-file program."""
    readers = pytest.importorskip("PyInstaller.archive.readers")
    data: bytes = readers.CArchiveReader(str(program)).extract(name)
    return data


def test_sizes(slim_build: Path, window_build: Path) -> None:
    """The programs are as small as the README says: 17 MB for the browser, 60 MB with a window."""
    assert slim_build.stat().st_size <= 17_000_000
    assert window_build.stat().st_size <= 60_000_000


def test_demo_batch_over_http(slim: Path, serving: Serving, tmp_path: Path) -> None:
    """A script drives the demo over HTTP: start, wait, look, save all; the saved bytes are those of the results."""
    output = tmp_path / "out"
    with serving(slim, "serve", "--demo") as address, client(address) as session:
        state = session.get("/api/state").json()
        assert state["task_count"] == 0
        started = session.post("/api/tasks/start", json={"input_path": state["sample_path"], "config": {
            **state["current_config"], "user_prompt": "素描", "concurrency_limit": 8}})  # fmt: skip
        assert started.json()["task_count"] == len(SAMPLES)
        state = wait_until_finished(session)
        assert {task["status"] for task in state["tasks"]} == {"done"}
        saved = session.post(
            "/api/tasks/save_all", json={"output_dir": str(output), "replace_from": "start", "replace_to": "end"}
        ).json()
        assert (saved["saved_count"], saved["error_count"]) == (len(SAMPLES), 0)
        served = {session.get(result["image_url"]).content for task in state["tasks"] for result in task["results"]}
    assert {path.stem for path in output.iterdir()} == SAVED
    assert {path.read_bytes() for path in output.iterdir()} == served
    for picture in served:
        Image.open(io.BytesIO(picture)).load()


def wait_until_finished(session: httpx.Client) -> dict[str, Any]:
    """The state once no task is open."""
    ends = time.monotonic() + 120
    while True:
        state: dict[str, Any] = session.get("/api/state").json()
        if not state["running"] and state["progress"]["finished"] == state["progress"]["total"]:
            return state
        assert time.monotonic() < ends
        time.sleep(0.2)


def test_everything_of_the_page_is_inside(slim: Path, serving: Serving) -> None:
    """Each file of the page and each text of both languages comes out of the program as it lies in the source."""
    page = [file for file in sorted((ROOT / "webui").rglob("*")) if file.is_file() and file.name != "index.html"]
    with serving(slim, "serve") as address, client(address) as session:
        assert "<html" in session.get("/").text
        for file in page:
            inside = file.relative_to(ROOT / "webui").as_posix()
            assert session.get(f"/{inside}").content == file.read_bytes(), inside
        for language in ("en", "zh-CN"):
            texts = session.get(f"/api/messages/{language}").json()["messages"]
            for catalogue in (ROOT / "assets" / "messages" / language).glob("*.json"):
                assert json.loads(catalogue.read_text(encoding="utf-8")).items() <= texts.items()
        assert len(session.get("/api/templates").json()["templates"]) >= 5


def test_headless_demo_can_be_repeated(slim: Path, tmp_path: Path) -> None:
    """``run --demo`` saves all samples; the same command again asks for none, though it unpacked to another place."""
    environment = {"HOME": str(tmp_path), "LANG": "en_US.UTF-8"}
    asked = []
    for _ in range(2):
        command: list[str | Path] = [slim, "run", "--demo", "-o", tmp_path / "out", "--json"]
        done = subprocess.run(command, env=environment, cwd=slim.parent, capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        told = [json.loads(line) for line in done.stdout.splitlines()]
        asked.append(next(line["new_count"] for line in told if line["event"] == "start"))
    assert asked == [len(SAMPLES), 0]
    assert {path.stem for path in (tmp_path / "out").iterdir()} == SAVED


def test_every_picture_format_is_read(slim: Path, tmp_path: Path) -> None:
    """The decoders of all source formats are inside: one picture of each goes through the demo."""
    source = tmp_path / "source"
    source.mkdir()
    picture = Image.new("RGB", (64, 48), "#3a7")
    for extension in ("png", "jpg", "webp", "bmp", "gif", "tif", "avif"):
        picture.save(source / f"{extension}.{extension}")
    command: list[str | Path] = [slim, "run", source, "--demo", "-o", tmp_path / "out", "--json"]
    done = subprocess.run(command, env={"HOME": str(tmp_path)}, capture_output=True, check=False, timeout=120)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert next(line for line in told if line["event"] == "start")["unreadable"] == []
    assert done.returncode == 0, done.stdout
    assert len(list((tmp_path / "out").iterdir())) == 7


def test_environment_is_read_and_refused_as_from_source(slim: Path, tmp_path: Path) -> None:
    """A variable that cannot be read is named, in the language of the terminal, and the exit code is 2."""
    environment = {"HOME": str(tmp_path), "PORT": "many", "LANG": "en_US.UTF-8"}
    done = subprocess.run([slim, "serve"], env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_children_find_the_systems_libraries(slim: Path, serving: Serving, tmp_path: Path) -> None:
    """The browser that the program opens is started with the environment that the program was started with."""
    browser, seen = tmp_path / "browser", tmp_path / "seen.txt"
    browser.write_text(f'#!/bin/sh\n{{ echo "libraries=${{LD_LIBRARY_PATH-none}}"; echo "$1"; }} >"{seen}.new"\n'
                       f'mv "{seen}.new" "{seen}"\n', encoding="utf-8")  # fmt: skip
    browser.chmod(0o755)
    extra = {"BROWSER": str(browser), "PATH": "/usr/bin:/bin"}
    with serving(slim, "serve", "--open", extra=extra) as address:
        ends = time.monotonic() + 20
        while not seen.exists() and time.monotonic() < ends:
            time.sleep(0.05)
        libraries, url = seen.read_text(encoding="utf-8").splitlines()
    assert libraries == "libraries=none"
    assert url.startswith(address)


def test_licences_of_everything_are_inside(slim_build: Path, window_build: Path) -> None:
    """Name, version and licence text of each bundled package, of Python and of the page's libraries can be read."""
    packages = "bottle certifi filelock h11 httpcore httpx idna msgspec natsort pillow platformdirs pybase64 rich "
    packages += "socksio tenacity waitress"
    for program, names in ((slim_build, packages), (window_build, packages + " pywebview")):
        text = bundled(program, "assets/licences.txt").decode("utf-8")
        for name in names.split():
            assert f"\n{distribution(name).metadata['Name']} {distribution(name).version}\n" in text, name
        assert "PYTHON SOFTWARE FOUNDATION LICENSE" in text or "PSF LICENSE" in text
        for licence in (ROOT / "webui" / "vendor" / "licences").iterdir():
            assert licence.read_text(encoding="utf-8").strip() in text
        if Path("/usr/bin/dpkg-query").exists():
            assert "\nlibssl3" in text


def test_window_program_without_a_screen(window: Path, serving: Serving, tmp_path: Path) -> None:
    """Without a screen the program with a window serves all the same, and says why there is none."""
    with serving(window, "--demo", extra={"LANG": "en_US.UTF-8"}) as address, client(address) as session:
        assert session.get("/api/state").json()["demo"] is True
    texts = (ROOT / "assets" / "messages" / "en").glob("*.json")
    reasons = [json.loads(file.read_text(encoding="utf-8")).get("window.no_display") for file in texts]
    assert next(filter(None, reasons)) in (tmp_path / "heard.txt").read_text(encoding="utf-8")


@pytest.mark.window
def test_window_program_shows_its_window(window: Path, tmp_path: Path) -> None:
    """Under a bare X server the program opens its window with the page in it, and ends without leaving anything."""
    with contextlib.ExitStack() as stack:
        display = stack.enter_context(x_server(tmp_path))
        environment = {"HOME": str(tmp_path), "APP_DATA_DIR": str(tmp_path / "data"), "PORT": "0", "DISPLAY": display,
                       "STATUS_UI": "none"}  # fmt: skip
        process = subprocess.Popen([window, "--demo"], env=environment, cwd=window.parent, start_new_session=True)
        stack.callback(end_session, process.pid)
        found = wait_for_window(display, process)
        assert found
        process.terminate()
        assert process.wait(20) == 0
        until(lambda: left_behind(process.pid) == [])  # WebKit's own helpers need a moment to see that it has gone


def end_session(session: int) -> None:
    """End what a failed test left: the program is a child of the process that unpacked it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(session, signal.SIGKILL)


@contextlib.contextmanager
def x_server(folder: Path) -> Any:
    """An Xvfb of its own on a free display."""
    reader, writer = os.pipe()
    server = subprocess.Popen(
        [shutil.which("Xvfb") or "Xvfb", "-displayfd", str(writer), "-screen", "0", "1280x860x24", "-nolisten", "tcp"],
        pass_fds=[writer], stderr=(folder / "x.txt").open("wb"),
    )  # fmt: skip
    os.close(writer)
    try:
        with os.fdopen(reader) as answer:
            yield f":{answer.readline().strip()}"
    finally:
        server.terminate()
        server.wait(10)


def wait_for_window(display: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether within a minute a visible window of the program shows a page: many colours, not a blank sheet."""
    ends = time.monotonic() + 60
    search = ["xdotool", "search", "--onlyvisible", "--class", "image-batch-console"]
    while time.monotonic() < ends and process.poll() is None:
        environment = {**os.environ, "DISPLAY": display}
        seen = subprocess.run(search, env=environment, capture_output=True, text=True, check=False).stdout.strip()
        if seen and len(ImageGrab.grab(xdisplay=display).getcolors(2**24) or []) > 64:
            return True
        time.sleep(0.2)
    return False
