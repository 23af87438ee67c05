"""Keys in the system's key store: a real Secret Service with the whole program on it, and none, and one that fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.maintenance import looked_after
from engine.keystore import SystemKeyStore, may_have_store
from tests.support.doors import open_door
from tests.support.key_service import HERE, key_service

KEY, SECOND, HEADER, PASSWORD = "sk-first-0123456789", "sk-second-987654321", "header-secret-55", "proxy-password-7"
SECRETS = (KEY, SECOND, HEADER, PASSWORD)
CONFIG: dict[str, Any] = {
    "api_url": "https://a.example/v1/chat/completions",
    "api_key": KEY,
    "extra_headers": {"X-Goog-Api-Key": HEADER, "X-Plain": "shown"},
    "proxy": f"http://me:{PASSWORD}@127.0.0.1:9",
}
PRESET = {**CONFIG, "api_url": "https://b.example/v1", "api_key": SECOND}


class Memory:
    """A backend as the library has them. ``fails``: the name of what it refuses to do."""

    def __init__(self, fails: str = "") -> None:
        self.kept: dict[str, str] = {}
        self.fails = fails

    def _check(self, name: str) -> None:
        if name == self.fails:
            raise RuntimeError("the collection is locked")

    def get_password(self, _service: str, user: str) -> str | None:
        self._check("get")
        return self.kept.get(user)

    def set_password(self, _service: str, user: str, text: str) -> None:
        self._check("set")
        self.kept[user] = text if self.fails != "garbles" else text[:10]

    def delete_password(self, _service: str, user: str) -> None:
        del self.kept[user]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """One Secret Service for the file; this process finds it as well."""
    if not HERE:
        pytest.skip("gnome-keyring, dbus or the keyring library is missing")
    with key_service(tmp_path_factory.mktemp("service")) as environ, pytest.MonkeyPatch.context() as patched:
        for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "XDG_DATA_HOME"):
            patched.setenv(name, environ[name])
        yield environ


def on_disk(folder: Path) -> set[str]:
    """Which secrets stand in any file of the folder, in whatever writing."""
    data = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return {secret for secret in SECRETS if secret.encode() in data}


def test_keys_of_an_older_version_move_into_the_key_store(service: dict[str, str], tmp_path: Path) -> None:
    """Current configuration, presets, judge, runs and old copies; nothing of it is left on the disk, all of it is used;
    what an older version is then given has no key, and a key that it writes is taken over."""
    folder = tmp_path / "data"
    run = folder / "runs" / "a" / "b"
    run.mkdir(parents=True)
    old = {"current_config": CONFIG, "ui": {"theme": "dark"}}
    for path, content in (
        (folder / "state.json", old),
        (folder / "presets.json", {"presets": {"名": PRESET}}),
        (folder / "judge.json", {"api_url": "https://j.example/v1", "api_key": SECOND, "model_name": "m"}),
        (run / "state.json", {"current_config": PRESET}),
        (folder / "state.json.before-takeover", {**old, "tasks": []}),
    ):
        path.write_text(json.dumps(content), encoding="utf-8")
    (folder / "presets.json.damaged-1").write_bytes(json.dumps(CONFIG).encode()[:-9])
    with open_door(folder, DBUS_SESSION_BUS_ADDRESS=service["DBUS_SESSION_BUS_ADDRESS"]) as door:
        with looked_after(door.app, after=0):
            while on_disk(folder):
                assert door.app.notices == []
        assert door.get("/api/config/schema")["key_store"] == "system"
        assert door.get("/api/ui")["settings"]["theme"] == "dark"
    state = folder / "state.json"
    assert json.loads(state.read_bytes())["current_config"]["api_key"] == ""
    with open_door(folder, DBUS_SESSION_BUS_ADDRESS=service["DBUS_SESSION_BUS_ADDRESS"]) as door:
        config, preset = door.app.preferences.config, door.app.presets.get("名")
        assert msgspec.to_builtins(config).items() >= CONFIG.items()
        assert msgspec.to_builtins(preset).items() >= PRESET.items()
        assert door.app.vision.settings.config.api_key == SECOND
    stored = json.loads(state.read_bytes())
    stored["current_config"]["api_key"] = SECOND  # an older version asked for it and was given another
    state.write_text(json.dumps(stored))
    for elsewhere in (SECOND, ""):
        with open_door(folder, DBUS_SESSION_BUS_ADDRESS=service["DBUS_SESSION_BUS_ADDRESS"]) as door:
            assert (door.app.preferences.config.api_key, on_disk(folder)) == (elsewhere, set())
            assert door.app.notices == []
        stored = json.loads(state.read_bytes())
        stored["current_config"]["api_url"] = "https://evil.example/v1"  # a key stays with its origin
        state.write_text(json.dumps(stored))


def test_what_is_entered_goes_to_the_key_store(service: dict[str, str], tmp_path: Path) -> None:
    """Through the door; another folder on the same store finds nothing, and a deleted preset leaves no entry."""
    with open_door(tmp_path / "data", DBUS_SESSION_BUS_ADDRESS=service["DBUS_SESSION_BUS_ADDRESS"]) as door:
        door.post("/api/config/current", {"config": CONFIG})
        door.post("/api/presets/save", {"name": "kept", "config": PRESET})
        assert on_disk(tmp_path / "data") == set()
        keys = door.app.keys
        assert keys.complete("preset/kept", {"api_url": PRESET["api_url"], "api_key": ""})["api_key"] == SECOND
        door.delete("/api/presets/kept")
        assert keys.complete("preset/kept", {"api_url": PRESET["api_url"], "api_key": ""})["api_key"] == ""
    other = SystemKeyStore(tmp_path / "other", lambda _: None)
    (tmp_path / "other").mkdir()
    other.put_away("judge", {"api_key": "of-another-entry"})
    assert other.complete("current", {"api_url": CONFIG["api_url"], "api_key": ""})["api_key"] == ""


def test_without_a_store_nothing_of_it_is_loaded(tmp_path: Path) -> None:
    """No D-Bus, or KEY_STORE=file: the library is not imported, the file has the key, and the form says so."""
    assert not may_have_store({}) or sys.platform in ("win32", "darwin")
    code = (
        "import sys; from pathlib import Path; from tests.support.doors import open_door\n"
        f"with open_door(Path({str(tmp_path / 'data')!r}), **{{'DBUS_SESSION_BUS_ADDRESS': 'unix:path=/none',"
        " 'KEY_STORE': 'file'}) as door:\n"
        f"    door.post('/api/config/current', {{'config': {CONFIG!r}}})\n"
        "    print(door.get('/api/config/schema')['key_store'],"
        " sorted({'keyring', 'secretstorage', 'jeepney', 'cryptography'} & sys.modules.keys()))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).resolve().parents[2], text=True, capture_output=True,
        env={**os.environ, "KEY_STORE": "file"}, check=True,
    )  # fmt: skip
    assert said.stdout.split() == ["file", "[]"]
    assert KEY in (tmp_path / "data" / "state.json").read_text()


@pytest.mark.parametrize("fails", ["open", "get", "set", "garbles"])
def test_a_store_that_fails_loses_no_key(tmp_path: Path, fails: str) -> None:
    """It is told once, by its name, and the file has the key."""
    told: list[Any] = []
    memory = Memory(fails)

    def open_backend() -> Memory:
        memory._check("open")
        return memory

    keys = SystemKeyStore(tmp_path, told.extend, open_backend=open_backend)
    for _ in range(2):
        written = keys.put_away("current", CONFIG)
        assert written == CONFIG
        assert keys.complete("current", written)["api_key"] == KEY
    assert [problem.code for problem in told] == ([] if fails == "garbles" else ["key_store_unusable"])


def test_a_store_that_is_locked_for_a_while_keeps_its_keys(tmp_path: Path) -> None:
    """What is in it is found again when it opens; what was entered meanwhile goes first, and what stands in no file is
    not asked for."""
    memory = Memory()
    written = SystemKeyStore(tmp_path, lambda _: None, open_backend=lambda: memory).put_away("current", CONFIG)
    assert KEY not in str(written)
    memory.fails = "get"
    locked = SystemKeyStore(tmp_path, lambda _: None, open_backend=lambda: memory)
    shown = locked.complete("current", written)
    assert (shown["api_key"], locked.kind, shown["extra_headers"]) == ("", "file", {"X-Plain": "shown"})
    meanwhile = locked.put_away("current", {**shown, "api_key": SECOND})
    memory.fails = ""
    again = SystemKeyStore(tmp_path, lambda _: None, open_backend=lambda: memory)
    assert again.complete("current", written) == {**CONFIG}
    assert again.complete("current", meanwhile)["api_key"] == SECOND


def test_too_long_for_windows_stays_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Credential Manager takes 2,560 bytes of UTF-16; the other entries are not touched by that."""
    monkeypatch.setattr("engine.keystore._PLATFORM", "win32")
    memory = Memory()
    keys = SystemKeyStore(tmp_path, lambda _: None, open_backend=lambda: memory)
    long = {**CONFIG, "api_key": "k" * 1300}
    assert keys.put_away("current", long) == long
    assert KEY not in str(keys.put_away("judge", CONFIG))
