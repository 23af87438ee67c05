"""The window as a person uses it: run, dialogs, drop, clipboard, keys, menu, downloads, links, a second start."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.window.conftest import TOOLKITS
from tests.window.desk import TITLE, Desk, Program, until

SAMPLES = Path(__file__).resolve().parent.parent.parent / "assets" / "samples"
COMPANION = Path(__file__).with_name("companion.py")
LISTEN = """(names => {
  window.seen = {bridge: [], http: []};
  for (const name of Object.keys(pywebview.api)) {
    const before = pywebview.api[name];
    pywebview.api[name] = (...given) => { seen.bridge.push(name); return before(...given); };
  }
  const before = window.fetch;
  window.fetch = (...given) => { seen.http.push(String(given[0])); return before(...given); };
  return true;
})()"""


@dataclass
class Used:
    """A window, the desk it stands on, and where its browser writes what it was asked to open."""

    program: Program
    desk: Desk
    opened: Path

    def go(self, place: str) -> None:
        """Go to a place of the way."""
        at = ("connect", "try", "run", "judge", "set").index(place)
        self.program.page(f"document.querySelectorAll('.way-place')[{at}].click()")
        self.program.until(f"document.querySelector('main.{place}') !== null")

    def has_run(self) -> None:
        """The samples were run, for this test or for one before it."""
        if self.program.page("document.querySelector('.runbar .of') === null"):
            self.program.click(".panel.passed .button.primary")
        self.program.until("document.querySelector('.runbar .of')?.textContent.replaceAll(' ', '') === '12/12'", 90)

    def field(self, name: str) -> str:
        """What a field of the form holds."""
        return str(self.program.page(f"document.querySelector('#field-{name}').value"))

    def pastes(self, name: str, text: str) -> bool:
        """Whether a field holds the text; else it is tried again, for a click may meet a page that still moves."""
        if self.field(name) == text:
            return True
        self.program.click(f"#field-{name}")
        if self.program.page(f"document.hasFocus() && document.activeElement.id === 'field-{name}'"):
            self.desk.keys("ctrl+a", "ctrl+v")
        return False


@pytest.fixture(scope="module", params=TOOLKITS)
def used(screen: Desk, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Used]:
    """One window for all tests of this file."""
    folder = tmp_path_factory.mktemp(request.param)
    opened = folder / "opened.txt"
    browser = folder / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >> "{opened}"\n', encoding="utf-8")
    browser.chmod(0o755)
    opened.touch()
    shutil.copy(browser, folder / "xdg-open")
    environ = {"BROWSER": f"{browser} %s", "PATH": f"{folder}:{os.environ['PATH']}", "ACCESS_TOKEN": "of-the-window"}
    program = Program(folder, request.param, screen, environ).start()
    try:
        yield Used(program.ready(), screen, opened)
    finally:
        screen.picture(folder / "last.png")
        program.close()


def test_a_batch_runs_through_the_bridge(used: Used) -> None:
    """The page starts and follows a batch by the window's JS API alone; HTTP brings pictures and events only."""
    program = used.program
    program.page(LISTEN)
    program.click(".panel.passed .button.primary")
    until(lambda: used.desk.window("/12 ·"), "the title shows progress")
    program.until("document.querySelectorAll('.card[data-status=done], .card .status.done').length >= 4")
    until(lambda: used.desk.window("/12 ·") is None, "the title is plain again", 60)
    program.until("[...document.querySelectorAll('.card img')].filter(one => one.naturalWidth > 8).length >= 6")
    assert "start_batch" in program.page("seen.bridge")
    assert program.page("seen.http.filter(url => url.includes('/api/'))") == []
    booted = program.page("performance.getEntriesByType('resource').map(one => one.name)")
    asked = {url.split("?")[0] for url in booted if "/api/" in url}
    assert {url for url in asked if not url.endswith(("/events", "/thumbnail", "/source", "/image"))} == set()
    assert f"{TITLE} · 演示" in used.desk.windows().values()


def test_a_folder_is_chosen_in_the_native_dialog(used: Used, tmp_path: Path) -> None:
    """Ctrl+O opens the system's dialog; what is chosen there stands in the field, and cancelling changes nothing."""
    shutil.copy(SAMPLES / "001_start.jpg", tmp_path)
    used.go("connect")
    before = used.field("input_path")
    used.desk.focus(used.program.window)
    used.desk.keys("ctrl+o")
    dialog = until(lambda: used.desk.window("选择文件夹"), "the dialog opens")
    used.desk.focus(dialog)
    used.desk.keys("Escape")
    until(lambda: used.desk.window("选择文件夹") is None, "the dialog closes")
    assert used.field("input_path") == before
    used.program.click("#field-input_path ~ button")
    dialog = until(lambda: used.desk.window("选择文件夹"), "the dialog opens again")
    used.desk.focus(dialog)
    used.desk.enter_path(used.program, "选择文件夹", f"{tmp_path}/")
    until(lambda: used.field("input_path").rstrip("/") == str(tmp_path), "the path is in the field")
    used.program.until("document.querySelector('.found b')?.textContent.startsWith('1 ')")


def test_a_picture_is_chosen_in_the_native_dialog(used: Used) -> None:
    """The button beside it asks for a single picture."""
    used.program.click("#field-input_path ~ button ~ button")
    dialog = until(lambda: used.desk.window("打开文件"), "the dialog opens")
    used.desk.focus(dialog)
    used.desk.enter_path(used.program, "打开文件", str(SAMPLES / "004_start.png"))
    until(lambda: used.field("input_path") == str(SAMPLES / "004_start.png"), "the path is in the field")


def test_what_is_dropped_fills_the_path(used: Used, tmp_path: Path) -> None:
    """Folders and files dragged together from another program onto any part of the page become the input, whatever
    their names."""
    folder, other = tmp_path / "我的 图片 #1 100%", tmp_path / "b;c's"
    folder.mkdir()
    other.mkdir()
    shutil.copy(SAMPLES / "004_start.png", folder)
    shutil.copy(SAMPLES / "001_start.jpg", other)
    file = shutil.copy(SAMPLES / "003_start.jpg", tmp_path / "c d.jpg")
    used.go("connect")
    with subprocess.Popen(
        ["/usr/bin/python3", COMPANION, "", folder, other, file],
        env={**os.environ, "DISPLAY": used.desk.display},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as companion:
        source = until(lambda: used.desk.window("companion"), "the other program is there")
        used.desk.focus(source)
        used.desk.drag(source, used.program.window, *used.program.spot("#field-model_name"))
        several = f'"{folder}" "{other}" "{file}"'
        until(lambda: used.field("input_path") == several, "what was dropped is in the field")
        used.program.until("document.querySelector('.found b')?.textContent.startsWith('3 ')")
        companion.communicate()
    assert "图片" not in used.field("model_name")
    assert used.program.page("location.search") == "?window=1"


def test_text_comes_from_and_goes_to_other_programs(used: Used, tmp_path: Path) -> None:
    """The clipboard works both ways: into a field, and from text that was selected on the page."""
    with subprocess.Popen(
        ["/usr/bin/python3", COMPANION, "粘贴 a pasted prompt", tmp_path],
        env={**os.environ, "DISPLAY": used.desk.display},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as companion:
        until(lambda: used.desk.window("companion"), "the other program is there")
        used.has_run()
        used.desk.focus(used.program.window)
        used.go("run")
        unfolded = "document.querySelector('#field-user_prompt') !== null"
        used.program.until(f"{unfolded} || (document.querySelector('.slip-line .link')?.click(), false)")
        until(lambda: used.pastes("user_prompt", "粘贴 a pasted prompt"), "the text is pasted")
        ends = used.program.spot(".card .name", 0.05), used.program.spot(".card .name", 0.95)
        used.desk.sweep(used.program.window, *ends)
        selected = until(lambda: str(used.program.page("String(getSelection())")).strip(), "text can be selected")
        used.desk.keys("ctrl+c")
        assert companion.stdin is not None
        assert companion.stdout is not None

        def copied() -> bool:
            assert companion.stdin is not None
            assert companion.stdout is not None
            companion.stdin.write("?\n")
            companion.stdin.flush()
            return selected in companion.stdout.readline()

        until(copied, f"{selected!r} is in the clipboard")
        companion.stdin.close()


def test_keys_zoom(used: Used) -> None:
    """Ctrl with plus, minus and 0 makes everything larger, smaller, and as it was."""
    zoom = "document.documentElement.style.zoom || '1'"
    used.desk.focus(used.program.window)
    for keys, expected in ((["ctrl+plus", "ctrl+plus"], "1.25"), (["ctrl+minus"], "1.1"), (["ctrl+0"], "1")):
        used.desk.keys(*keys)
        used.program.until(f"({zoom}) === '{expected}'")


def test_the_menu_works(used: Used) -> None:
    """The first entry of the first menu opens the folder dialog; entries that the page carries out reach it."""
    window = used.program.window
    used.desk.focus(window)
    used.desk.open_menu(window, 20, 11)
    used.desk.keys("Down", "Return")
    dialog = until(lambda: used.desk.window("选择文件夹"), "the menu opens the dialog")
    used.desk.focus(dialog)
    used.desk.keys("Escape")
    until(lambda: used.desk.window("选择文件夹") is None, "the dialog closes")
    used.desk.focus(window)
    used.desk.open_menu(window, 20, 11)
    used.desk.keys("Left", *(["Down"] if used.program.gui == "gtk" else []), "Return")  # the last menu's first: keys
    used.program.until("document.querySelector('dialog[open], [role=dialog]') !== null")
    used.desk.keys("Escape")
    used.program.until("document.querySelector('dialog[open], [role=dialog]') === null")


def test_presets_are_exported_into_a_file(used: Used, tmp_path: Path) -> None:
    """A download asks where to, and writes the file there."""
    target = tmp_path / "exported.json"
    used.program.page(
        "(one => { document.body.append(one); one.click(); one.remove(); return true; })"
        "(Object.assign(document.createElement('a'), {download: 'presets.json',"
        " href: '/api/presets/export?pass=' + JSON.parse(localStorage.access).pass}))"
    )
    dialog = until(lambda: used.desk.window("保存文件"), "the dialog opens")
    used.desk.focus(dialog)
    used.desk.keys("ctrl+a")
    used.desk.enter_path(used.program, "保存文件", str(target))
    until(target.exists, "the file is written")
    until(lambda: "current_config" in json.loads(target.read_text(encoding="utf-8") or "{}"), "the file is whole")


def test_files_are_shown_in_their_folder(used: Used) -> None:
    """A task's picture, a result and the output folder are shown in the file manager; no other path is."""
    ask = """(window.told = null, pywebview.api.get_state().then(({data}) => {
      const [task] = data.tasks;
      return pywebview.api.reveal(PARAMS);
    }).then(answer => { window.told = answer; }), true)"""

    def reveal(params: str) -> dict[str, object]:
        used.program.page(ask.replace("PARAMS", params))
        return dict(used.program.until("window.told"))

    def asked() -> list[str]:
        return used.opened.read_text(encoding="utf-8").splitlines()

    used.has_run()
    assert reveal("{task_id: task.id}") == {"ok": True, "data": True}
    until(lambda: str(SAMPLES) in asked(), "the folder of the source is shown")
    assert reveal("{task_id: task.id, result_id: task.results[0].id}")["ok"]
    until(lambda: any("/cache/" in line for line in asked()), "the folder of the result is shown")
    before = asked()
    assert not reveal("{path: '/etc'}")["ok"]
    assert not reveal("{task_id: 'nobody'}")["ok"]
    assert asked() == before


@pytest.mark.parametrize("target", ["", "_blank"])
def test_links_open_in_the_browser(used: Used, target: str) -> None:
    """An address from elsewhere opens in the browser, never in the window, where its page would find the API."""
    address = f"https://example.test/page{target}"
    follow = (
        "(one => { document.body.append(one); one.click(); one.remove(); return true; })"
        f"(Object.assign(document.createElement('a'), {{href: '{address}', target: '{target}'}}))"
    )
    used.program.page(follow)
    until(lambda: address in used.opened.read_text(encoding="utf-8"), "the browser is asked")
    after = f"{address}-after"  # what was asked a second time for the first link would be asked before this
    used.program.page(follow.replace(address, after))
    until(lambda: after in used.opened.read_text(encoding="utf-8"), "the browser is asked again")
    assert used.program.page("location.search") == "?window=1"
    assert used.opened.read_text(encoding="utf-8").splitlines().count(address) == 1


def again(used: Used) -> subprocess.CompletedProcess[str]:
    """A second start on the same data folder."""
    return subprocess.run(
        [sys.executable, "launcher.py", "--demo", "--gui", used.program.gui],
        env=used.program.environment(),
        cwd=SAMPLES.parent.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_second_start_brings_the_first_up(used: Used) -> None:
    """It says so, ends with 0, opens nothing, and the window that was put away is in front."""
    window = used.program.window
    used.desk.xdotool("windowminimize", "--sync", window)
    until(lambda: used.desk.window(TITLE) is None, "the window is put away")
    done = again(used)
    assert done.returncode == 0
    assert "已经在运行" in done.stderr
    assert str(used.program.process.pid) in done.stderr
    until(lambda: used.desk.xdotool("getactivewindow") == window, "the window is in front")
    assert used.program.process.poll() is None


def test_a_second_start_of_another_version_names_both(used: Used) -> None:
    """The running one comes up, and the message says which version that is and how to get the other."""
    file = used.program.data / "instance.json"
    told = file.read_bytes()
    file.write_text(json.dumps({**json.loads(told), "version": "0.0.1"}), encoding="utf-8")
    try:
        done = again(used)
    finally:
        file.write_bytes(told)
    assert done.returncode == 0
    assert "另一个版本 0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_went_wrong_inside(used: Used) -> None:
    """Neither the terminal nor the log has a traceback, an error or a refused script."""
    log = (used.program.folder / "data" / "log.txt").read_text(encoding="utf-8")
    assert "Traceback" not in used.program.said + log
    assert " ERROR " not in log


def test_a_page_whose_process_died_comes_back(used: Used) -> None:
    """The toolkit's page process is killed; the page loads again, and its bridge works."""
    used.has_run()
    program = used.program
    names = ("WebKitWebProcess", "--type=renderer")
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and program.owns(entry):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if any(name in command for name in names):
                os.kill(int(entry.name), signal.SIGKILL)
    program.hang_up()
    program.ready()
    program.page("(window.before = true, location.reload())")
    program.hang_up()
    # What is asked of the page that is about to go is lost with it: each page asks for itself.
    answer = program.until(
        "window.before || typeof pywebview?.api?.get_state !== 'function' ? null : (window.question ??="
        " pywebview.api.get_state({tasks: 0}).then(answer => { window.answered = answer; }), window.answered)"
    )
    assert answer["data"]["task_count"] == 12
