"""A real Secret Service of the test's own: a D-Bus session with gnome-keyring in it, unlocked, and gone at the end."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

HERE = all(map(shutil.which, ("dbus-daemon", "gnome-keyring-daemon"))) and (
    importlib.util.find_spec("keyring") is not None
)
"""Whether this machine has what it takes."""


@contextlib.contextmanager
def key_service(folder: Path) -> Iterator[dict[str, str]]:
    """The environment in which programs find it; its files are in ``folder``."""
    for place in ("run", "data"):
        (folder / place).mkdir(mode=0o700, parents=True, exist_ok=True)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder / "run"),
        "XDG_DATA_HOME": str(folder / "data"),
        "LANG": "en_US.UTF-8",
    }
    bus = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--print-address"], env=environ, stdout=subprocess.PIPE, text=True
    )
    try:
        assert bus.stdout is not None
        environ["DBUS_SESSION_BUS_ADDRESS"] = bus.stdout.readline().strip()
        keys = subprocess.Popen(
            ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"],
            env=environ, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert keys.stdin is not None
            keys.stdin.write(b"password of the test")
            keys.stdin.close()
            _await_service(environ)
            yield environ
        finally:
            keys.terminate()
            keys.wait(60)
    finally:
        bus.terminate()
        bus.wait(60)
        assert bus.stdout is not None
        bus.stdout.close()


def _await_service(environ: dict[str, str]) -> None:
    method, name = "org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets"
    ask = ["dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus", "/", method, name]
    end = time.monotonic() + 60
    while b"true" not in subprocess.run(ask, env=environ, capture_output=True, check=False).stdout:
        assert time.monotonic() < end, "no Secret Service"
        time.sleep(0.02)
