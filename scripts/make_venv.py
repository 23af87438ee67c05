"""Makes or repairs a virtual environment that holds exactly what a lock file names; prints its path.

Standard library only: it runs before anything is installed. Exit codes: 22 no venv module, 23 no pip, 24 no network,
25 no folder to write to, 26 pip failed, 27 disk full, 28 another start does not end.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib.util
import json
import locale
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import IO, NoReturn

MESSAGES = Path(__file__).resolve().parent.parent / "assets" / "messages"
WINDOWS = sys.platform == "win32"
WAIT_FOR_OTHER = 900.0
"""Seconds to wait for another start that is setting the same folder up."""
FULL_DISK = 8 * 1024 * 1024
"""With fewer bytes free a disk is full, whatever the programs say that failed on it."""

# pip has no exit code for these; the words are urllib3's, pip's and the system's.
HASH_WORDS = "DO NOT MATCH THE HASHES"
NETWORK_WORDS = (
    "connection broken by",
    "ConnectionError",
    "NameResolutionError",
    "Max retries exceeded",
    "ProxyError",
    "Read timed out",
    "ReadTimeoutError",
    "Could not fetch URL",
    "Temporary failure in name resolution",
)
DISK_WORDS = (os.strerror(errno.ENOSPC), "No space left on device", "Disk quota exceeded")


class Exit(IntEnum):
    """Exit codes; start.sh and start.cmd hand them on."""

    NO_VENV = 22
    NO_PIP = 23
    NO_NETWORK = 24
    NOT_WRITABLE = 25
    INSTALL_FAILED = 26
    DISK_FULL = 27
    WAITED_TOO_LONG = 28


def languages() -> list[str]:
    """Catalogues to speak from: the person's language, or both (Chinese first) when the system does not say."""
    name = next((os.environ[key] for key in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(key)), "")
    if WINDOWS and not name:
        name = locale.getlocale()[0] or ""
    if name.lower().startswith(("zh", "chinese")):
        return ["zh-CN"]
    if not name or name.split(".", maxsplit=1)[0] in ("C", "POSIX"):
        return ["zh-CN", "en"]
    return ["en"]


def say(key: str, **values: object) -> None:
    """Write a message of the catalogue to standard error, in each language that is wanted."""
    for language in languages():
        catalogue = json.loads((MESSAGES / language / "start.json").read_text(encoding="utf-8"))
        print(catalogue[f"start.{key}"].format_map(values), file=sys.stderr, flush=True)


def give_up(code: Exit, **values: object) -> NoReturn:
    """End with the code, after the message of its name."""
    say(code.name.lower(), **values)
    sys.exit(code)


def python_in(venv: Path) -> Path:
    return venv / ("Scripts/python.exe" if WINDOWS else "bin/python")


def version() -> str:
    """Of the Python that runs this."""
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def version_of(python: Path) -> str:
    """``3.11`` for a Python that runs, else an empty text."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        found = subprocess.run([python, "-E", "-S", "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""


class Environment:
    """One virtual environment; ``ready.lock`` and ``ready.python`` in it say what it was made from, written last."""

    def __init__(self, folder: Path, lock: Path, *, system_site: bool) -> None:
        self.folder = folder
        self.lock = lock
        self.system_site = system_site
        self.python = python_in(folder)
        self.log = folder / "install.log"
        self._ready_lock = folder / "ready.lock"
        self._ready_python = folder / "ready.python"
        self._wanted = os.environ.get("PYTHON_BIN", "")

    def is_ready(self) -> bool:
        """It holds what the lock names, is of this Python's version (and of PYTHON_BIN where that is set), and runs."""
        try:
            same = self._ready_lock.read_bytes() == self.lock.read_bytes()
            return same and self._is_of_this_python() and self._runs()
        except OSError:
            return False

    def make(self) -> None:
        """Bring it up to date; what is half made or of another Python is made anew."""
        reusable = self._ready_python.is_file() and self._is_of_this_python() and self._runs()
        self._ready_lock.unlink(missing_ok=True)
        if not reusable:
            self._create()
        self._install()
        self._ready_python.write_text(f"{version()}\n{self._wanted}\n", encoding="utf-8")
        self._ready_lock.write_bytes(self.lock.read_bytes())

    def _is_of_this_python(self) -> bool:
        made_by, _, wanted = self._ready_python.read_text(encoding="utf-8").partition("\n")
        return made_by == version() and (not self._wanted or wanted.strip("\n") == self._wanted)

    def _runs(self) -> bool:
        return version_of(self.python) == version()

    def _create(self) -> None:
        if importlib.util.find_spec("venv") is None:
            self.give_up(Exit.NO_VENV)
        with_pip = importlib.util.find_spec("ensurepip") is not None
        if not with_pip and importlib.util.find_spec("pip") is None:
            self.give_up(Exit.NO_PIP)
        shutil.rmtree(self.folder, ignore_errors=True)
        options = [] if with_pip else ["--without-pip"]
        if self.system_site:
            options.append("--system-site-packages")
        made = subprocess.run(
            [sys.executable, "-P", "-m", "venv", *options, self.folder],  # -P: no module of the folder it is started in
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if made.returncode:
            self.folder.mkdir(exist_ok=True)
            self.log.write_text(made.stdout, encoding="utf-8")
            self.give_up(self._reason(made.stdout), made.stdout)

    def _install(self) -> None:
        started = time.monotonic()
        say("installing", path=self.folder)
        # The venv's own pip, or (Debian without python3-venv) the pip of the Python it was made from.
        pip: list[str | Path] = [self.python, "-P", "-m", "pip"]
        if not any(self.folder.glob("[Ll]ib*/**/site-packages/pip/__init__.py")):
            pip = [sys.executable, "-P", "-m", "pip", "--python", str(self.python)]
        options = ["--no-deps", "--require-hashes", "--disable-pip-version-check", "--no-input", "--progress-bar=off"]
        environment = {"PIP_RETRIES": "3", **os.environ, "PIP_USER": "0", "PYTHONUTF8": "1"}
        code = self._run([*pip, "install", *options, "-r", self.lock], environment)
        if code:
            text = self.log.read_text(encoding="utf-8", errors="replace")
            self.give_up(self._reason(text), text)
        say("installed", seconds=round(time.monotonic() - started))

    def _run(self, command: list[str | Path], environment: dict[str, str]) -> int:
        """Run pip; its output goes to the log, and its latest line shows on a terminal."""
        width = shutil.get_terminal_size().columns - 1 if sys.stderr.isatty() else 0
        with (
            self.log.open("w", encoding="utf-8") as log,
            subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
            ) as pip,
        ):
            assert pip.stdout is not None
            for line in pip.stdout:
                log.write(line)
                if width:
                    print(f"\r{line.strip()[:width]:<{width}}", end="", file=sys.stderr, flush=True)
        if width:
            print(f"\r{'':<{width}}\r", end="", file=sys.stderr, flush=True)
        return pip.returncode

    def _reason(self, output: str) -> Exit:
        """Why venv or pip failed, as far as the disk and the output tell."""
        if shutil.disk_usage(self.folder.parent).free < FULL_DISK or any(word in output for word in DISK_WORDS):
            return Exit.DISK_FULL
        if HASH_WORDS not in output and any(word in output for word in NETWORK_WORDS):
            return Exit.NO_NETWORK
        return Exit.INSTALL_FAILED

    def give_up(self, code: Exit, output: str = "") -> NoReturn:
        """End with the code and its message, after the last lines of what a program said, where only they tell more."""
        if code is Exit.INSTALL_FAILED:
            print("".join(f"    {line}\n" for line in output.splitlines()[-6:]), end="", file=sys.stderr)
        give_up(code, python=sys.executable, line=venv_line(), path=self.folder, log=self.log)


def venv_line() -> str:
    """The command that brings venv and pip to this Python."""
    if shutil.which("apt-get"):
        own = sys.base_prefix == "/usr"
        return f"sudo apt install python{version()}-venv" if own else "sudo apt install python3-venv"
    return f"{sys.executable} -m ensurepip --upgrade"


def is_writable(folder: Path) -> bool:
    """Whether files can be made in the folder, which is made when it is missing."""
    probe = folder / f".write-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError:
        return False
    return True


def try_lock(file: IO[bytes]) -> bool:
    """Take the lock if it is free; it goes with the process, however that ends."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder's lock: two starts at once set up one after the other."""
    with folder.with_name(folder.name + ".lock").open("ab") as file:
        deadline = time.monotonic() + WAIT_FOR_OTHER
        told = False
        while not try_lock(file):
            if not told:
                say("waiting", path=folder)
                told = True
            if time.monotonic() > deadline:
                give_up(Exit.WAITED_TOO_LONG, path=folder)
            time.sleep(0.2)
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a virtual environment from a lock file.")
    parser.add_argument("--lock", type=Path, required=True)
    parser.add_argument("--venv", type=Path, required=True)
    parser.add_argument("--fallback", type=Path, help="used when the place of --venv cannot be written to")
    parser.add_argument("--system-site-packages", action="store_true")
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 0 when there is nothing to do")
    arguments = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")

    folder: Path = arguments.venv
    if arguments.check:
        sys.exit(not Environment(folder, arguments.lock, system_site=False).is_ready())
    if not is_writable(folder.parent):
        if arguments.fallback is None or not is_writable(arguments.fallback.parent):
            give_up(Exit.NOT_WRITABLE, path=folder.parent)
        folder = arguments.fallback
        say("elsewhere", path=folder)
    environment = Environment(folder, arguments.lock, system_site=arguments.system_site_packages)
    try:
        with alone(folder):
            if not environment.is_ready():
                environment.make()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        environment.give_up(Exit.DISK_FULL if full else Exit.INSTALL_FAILED, str(error))
    print(folder)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
