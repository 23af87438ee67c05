"""start.sh, really run in copies of the checkout: first start, warm start, repair, and each way to fail."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PYTHON = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}"
TOOLS = ("sh", "dirname", "readlink", "uname", "cmp", "sed", "cat")
LAUNCHER = """import json, os, sys
print(json.dumps({"args": sys.argv[1:], "prefix": sys.prefix, "cwd": os.getcwd(), "port": os.environ.get("PORT")}))
import pretend
sys.exit(int(os.environ.get("PORT", "0")) % 256)
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="start.cmd is the Windows one")


@dataclass
class Checkout:
    """A copy of what start.sh needs, with a launcher that tells what reached it, and a lock file of one wheel."""

    root: Path
    home: Path
    wheels: Path

    def lock(self, version: str) -> None:
        """Write a lock file that names the pretended package in this version, and make its wheel."""
        wheel = self.wheels / f"pretend-{version}-py3-none-any.whl"
        info = f"pretend-{version}.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("pretend.py", f"VERSION = {version!r}\n")
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: pretend\nVersion: {version}\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        (self.root / "requirements.lock").write_text(f"pretend=={version} --hash=sha256:{digest}\n", encoding="utf-8")

    def command(self, **changed: str) -> dict[str, str]:
        """The environment of a start: no index, only our wheels; ``changed`` comes on top."""
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.home),
            "LANG": "en_US.UTF-8",
            "PYTHON_BIN": str(PYTHON),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.wheels),
            **changed,
        }

    def start(self, *args: str, script: Path | None = None, **changed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [script or self.root / "start.sh", *args],
            env=self.command(**changed),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )


def make_checkout(folder: Path) -> Checkout:
    """A copy in a path with a space and Chinese characters, which every user's path may have."""
    root, home, wheels = folder / "图片 批处理", folder / "home", folder / "wheels"
    for made in (root / "assets", home, wheels):
        made.mkdir(parents=True)
    (home / "re.py").write_text("raise SystemExit(9)", encoding="utf-8")  # as any folder of scripts may have
    shutil.copytree(ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__", "page_checks"))
    shutil.copytree(ROOT / "assets" / "messages", root / "assets" / "messages")
    shutil.copy(ROOT / "start.sh", root)
    (root / "launcher.py").write_text(LAUNCHER, encoding="utf-8")
    checkout = Checkout(root, home, wheels)
    checkout.lock("1.0")
    return checkout


@pytest.fixture
def fresh(tmp_path: Path) -> Checkout:
    return make_checkout(tmp_path)


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout that was started once."""
    checkout = make_checkout(tmp_path_factory.mktemp("warm"))
    first = checkout.start()
    assert first.returncode == 0, first.stderr
    assert "Preparing the environment" in first.stderr
    return checkout


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH that holds the POSIX tools and no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        (folder / name).symlink_to(str(shutil.which(name, path="/usr/bin:/bin")))
    return folder


@pytest.fixture(scope="module")
def borrowing(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python without ensurepip, whose own pip installs into the environment: set up in a third of the time."""
    folder = tmp_path_factory.mktemp("borrowing")
    path = folder / "path"
    path.mkdir()
    (path / "sitecustomize.py").write_text("import sys; sys.modules['ensurepip'] = None\n", encoding="utf-8")
    asked = [sys.executable, "-c", "import pip; print(pip.__path__[0])"]
    (path / "pip").symlink_to(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    python = folder / "python3"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{path}" exec "{PYTHON}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    return str(python)


def python_without(folder: Path, *modules: str) -> Path:
    """A real Python whose standard library lacks these modules, as distributions package it."""
    source = Path(os.__file__).parent
    library = folder / "home" / "lib" / source.name
    library.mkdir(parents=True)
    for entry in source.iterdir():
        if entry.name not in (*modules, "site-packages", "dist-packages"):
            (library / entry.name).symlink_to(entry)
    wrapper = folder / "python3"
    wrapper.write_text(f'#!/bin/sh\nPYTHONHOME="{folder}/home" exec "{PYTHON}" "$@"\n', encoding="utf-8")
    wrapper.chmod(0o755)
    return wrapper


def test_hands_everything_on(warm: Checkout) -> None:
    """Arguments, environment, working folder and exit code pass through unchanged."""
    done = warm.start("run", "--demo", "-o", "a b", "图", "", "$HOME", PORT="12607")
    told = json.loads(done.stdout)
    assert told["args"] == ["run", "--demo", "-o", "a b", "图", "", "$HOME"]
    assert told["port"] == "12607"
    assert told["prefix"] == str(warm.root / ".venv")
    assert told["cwd"] == str(warm.home)
    assert done.returncode == 12607 % 256
    assert done.stderr == ""


def test_warm_start_is_quick(warm: Checkout, record_property: Callable[[str, object], None]) -> None:
    """A start with nothing to do costs little and calls no pip."""
    took = []
    for _ in range(5):
        began = time.perf_counter()
        done = warm.start(PIP_FIND_LINKS="/nonexistent")
        took.append(time.perf_counter() - began)
        assert done.returncode == 0, done.stderr
    record_property("warm_start_seconds", round(min(took), 3))
    assert min(took) < 3


def test_accepts_any_ready_python_when_none_is_named(warm: Checkout, tools: Path) -> None:
    """Without PYTHON_BIN a ready environment is used, even where no other Python is on PATH."""
    done = warm.start(PATH=str(tools), PYTHON_BIN="", SYSTEM_PYTHON="")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("relative", [True, False])
def test_follows_links_to_itself(warm: Checkout, tmp_path: Path, relative: bool) -> None:
    """A link to start.sh, and a link to that link, start the checkout they lead to."""
    first, second = tmp_path / "first", tmp_path / "second"
    target = warm.root / "start.sh"
    first.symlink_to(os.path.relpath(target, tmp_path) if relative else target)
    second.symlink_to(first.name if relative else first)
    done = warm.start("x", script=second)
    assert json.loads(done.stdout)["prefix"] == str(warm.root / ".venv")


def test_installs_again_when_the_lock_changed(warm: Checkout) -> None:
    """A new lock file is installed into the same environment, once."""
    warm.lock("2.0")
    changed = warm.start()
    assert "Preparing" in changed.stderr
    assert changed.returncode == 0
    probe = [str(warm.root / ".venv/bin/python"), "-c", "import pretend; print(pretend.VERSION)"]
    assert subprocess.run(probe, capture_output=True, text=True, check=True).stdout == "2.0\n"
    assert warm.start().stderr == ""


@pytest.mark.parametrize("damage", ["python", "stamp", "version"])
def test_repairs_a_half_made_environment(fresh: Checkout, borrowing: str, damage: str) -> None:
    """An environment that was interrupted, lost its Python or is of another version is made anew."""
    venv = fresh.root / ".venv"
    (venv / "bin").mkdir(parents=True)
    if damage == "python":
        (venv / "bin" / "python").symlink_to("/nonexistent/python3")
    else:
        (venv / "bin" / "python").symlink_to(PYTHON)
        shutil.copy(fresh.root / "requirements.lock", venv / "ready.lock")
    if damage == "version":
        (venv / "ready.python").write_text(f"3.2\n{borrowing}\n", encoding="utf-8")
    done = fresh.start(PYTHON_BIN=borrowing)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["prefix"] == str(venv)


def test_two_starts_at_once_set_up_once(fresh: Checkout, borrowing: str) -> None:
    """The second start waits for the first and then finds everything done."""
    both = [
        subprocess.Popen(
            [fresh.root / "start.sh"],
            env=fresh.command(PYTHON_BIN=borrowing),
            cwd=fresh.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=100)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    assert sum(text.count("Preparing the environment") for text in told) == 1
    assert sum(text.count("waiting for it") for text in told) == 1


@pytest.mark.parametrize(
    ("language", "words"),
    [("zh_CN.UTF-8", ["没有找到 Python"]), ("en_US.UTF-8", ["No Python 3.11"]), ("C", ["没有找到", "No Python 3.11"])],
)
def test_says_that_there_is_no_python(fresh: Checkout, tools: Path, language: str, words: list[str]) -> None:
    """Without a Python the message is in the person's language, or in both, with the line that installs one."""
    done = fresh.start(PATH=str(tools), PYTHON_BIN="", SYSTEM_PYTHON="", LANG=language)
    assert done.returncode == 20
    assert all(word in done.stderr for word in words)
    assert len(done.stderr.splitlines()) == len(words) + 1
    assert done.stdout == ""


def test_passes_over_an_old_python(fresh: Checkout, tools: Path) -> None:
    """A Python that says it is 3.9 is not taken, and counts as none."""
    code = "import sys; sys.version_info = (3, 9, 18); exec(sys.argv[1])"
    for name in ("python3", "python"):
        (tools / name).write_text(f'#!/bin/sh\nexec "{PYTHON}" -c "{code}" "$4"\n', encoding="utf-8")
        (tools / name).chmod(0o755)
    assert fresh.start(PATH=str(tools), PYTHON_BIN="", SYSTEM_PYTHON="").returncode == 20
    named = fresh.start(PATH=str(tools), PYTHON_BIN="python3")
    assert named.returncode == 21
    assert "PYTHON_BIN=python3" in named.stderr


def test_names_a_wrong_python_bin(fresh: Checkout) -> None:
    """PYTHON_BIN that leads nowhere is an error, and no other Python is taken in its place."""
    done = fresh.start(PYTHON_BIN="/nonexistent/python")
    assert done.returncode == 21
    assert "PYTHON_BIN=/nonexistent/python" in done.stderr


def test_says_that_the_venv_module_is_missing(fresh: Checkout, tmp_path: Path) -> None:
    """A Python without venv ends with the line that brings it."""
    done = fresh.start(PYTHON_BIN=str(python_without(tmp_path / "python", "venv", "ensurepip")))
    assert done.returncode == 22, done.stderr
    assert "no venv module" in done.stderr
    assert "Run this first: " in done.stderr


def test_says_that_pip_is_missing(fresh: Checkout, tmp_path: Path) -> None:
    """A Python with venv but without any pip ends with the line that brings it."""
    done = fresh.start(PYTHON_BIN=str(python_without(tmp_path / "python", "ensurepip")))
    assert done.returncode == 23, done.stderr
    assert "has no pip" in done.stderr


def test_borrows_pip_where_the_environment_cannot_have_its_own(fresh: Checkout, borrowing: str) -> None:
    """Without ensurepip the pip of the Python itself installs into the environment."""
    done = fresh.start(PYTHON_BIN=borrowing)
    assert done.returncode == 0, done.stderr
    assert not list((fresh.root / ".venv").glob("lib/**/pip"))


@pytest.mark.network
def test_says_that_there_is_no_network(fresh: Checkout, borrowing: str) -> None:
    """An index that cannot be reached is told from other failures, and the next start goes on from there."""
    offline = {
        "PIP_NO_INDEX": "0",
        "PIP_FIND_LINKS": "",
        "PIP_RETRIES": "1",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    }
    done = fresh.start(script=None, PYTHON_BIN=borrowing, **offline)
    assert done.returncode == 24, done.stderr
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr
    assert fresh.start(PYTHON_BIN=borrowing).returncode == 0


def test_says_why_pip_failed_otherwise(fresh: Checkout, borrowing: str) -> None:
    """A package whose hash is not the locked one is refused, with pip's words above the message."""
    lock = fresh.root / "requirements.lock"
    lock.write_text("pretend==1.0 --hash=sha256:" + "0" * 64 + "\n", encoding="utf-8")
    done = fresh.start(PYTHON_BIN=borrowing)
    assert done.returncode == 26
    assert "Installing the dependencies failed" in done.stderr
    assert "sha256" in done.stderr


@pytest.fixture
def unprivileged() -> Iterator[tuple[Checkout, list[str]]]:
    """A checkout that may not be written to, and the command that starts as somebody whom permissions bind."""
    folder = Path(tempfile.mkdtemp())  # pytest's own folders are closed to other users
    folder.chmod(0o755)
    checkout = make_checkout(folder)
    prefix: list[str] = []
    if os.geteuid() == 0:
        nobody = 65534
        os.chown(checkout.home, nobody, nobody)
        prefix = ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups"]
    checkout.root.chmod(0o555)
    yield checkout, prefix
    checkout.root.chmod(0o755)
    checkout.home.chmod(0o755)
    shutil.rmtree(folder)


def test_read_only_checkout_uses_the_cache_folder(unprivileged: tuple[Checkout, list[str]]) -> None:
    """Where the checkout cannot be written to, the environment goes to the person's cache folder, and stays there."""
    checkout, prefix = unprivileged
    command = [*prefix, str(checkout.root / "start.sh")]
    python = str(PYTHON) if Path("/usr") in PYTHON.parents else "/usr/bin/python3"
    environment = checkout.command(PYTHON_BIN=python)
    first = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=100, check=False)
    assert first.returncode == 0, first.stderr
    cache = "Library/Caches" if sys.platform == "darwin" else ".cache"
    assert json.loads(first.stdout)["prefix"] == str(checkout.home / cache / "image-batch-console" / "venv")
    assert "cannot be written to" in first.stderr
    second = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=100, check=False)
    assert (second.returncode, second.stderr) == (0, "")


def test_says_that_no_folder_can_be_written_to(unprivileged: tuple[Checkout, list[str]]) -> None:
    """With neither the checkout nor the cache folder writable the start ends with a message that names the folder."""
    checkout, prefix = unprivileged
    checkout.home.chmod(0o555)
    python = str(PYTHON) if Path("/usr") in PYTHON.parents else "/usr/bin/python3"
    command = [*prefix, str(checkout.root / "start.sh")]
    environment = checkout.command(PYTHON_BIN=python)
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 25, done.stderr
    assert str(checkout.root) in done.stderr
    assert "Traceback" not in done.stderr
