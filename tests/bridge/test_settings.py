"""Every environment variable: default, meaning, and an error that names it when its value cannot be read."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bridge.environment import StatusUi, read_environment
from bridge.messages import pick_language
from bridge.paths import data_folder, program_folder
from engine.config import ApiMode
from engine.errors import Code, InvalidInput, StorageFailed
from engine.images.cache import Cache
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import MESSAGES, Door, config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import by_url, inline

MIB = 1024 * 1024


def test_defaults() -> None:
    """Without any variable the contract's defaults hold; blank is the same as unset."""
    settings = read_environment({})
    assert (settings.host, settings.port, settings.allowed_origins, settings.access_token) == (
        "127.0.0.1",
        12607,
        (),
        "",
    )
    assert (settings.export_include_secrets, settings.allow_remote_debug_log) == (False, False)
    assert (settings.network.allow_private_api, settings.network.allow_private_download) == (False, False)
    assert (settings.network.api_hosts, settings.network.download_hosts) == ((), ())
    assert (settings.cache_ttl, settings.cache_max_bytes) == (168 * 3600, 2147483648)
    assert settings.status_ui is StatusUi.CLI
    assert (settings.limits.max_source_bytes, settings.limits.max_candidate_bytes) == (20 * MIB, 20 * MIB)
    assert (settings.max_preset_import, settings.max_redirects) == (2 * MIB, 3)
    assert settings.loopback
    assert read_environment({"PORT": " ", "HOST": ""}) == settings


def test_values_are_read() -> None:
    """Numbers, switches and lists in the writings that people use."""
    settings = read_environment(
        {
            "HOST": "[::1]", "PORT": " 8080 ", "ALLOWED_ORIGINS": "HTTPS://A.example/,http://b:1",
            "EXPORT_INCLUDE_SECRETS": "Yes", "ALLOW_PRIVATE_API_URL": "on", "ALLOW_PRIVATE_DOWNLOAD_URL": "TRUE",
            "API_URL_HOST_ALLOWLIST": "x.ai, *.openai.com,[::1]", "DOWNLOAD_URL_HOST_ALLOWLIST": "::1,图.example",
            "ALLOW_REMOTE_DEBUG_LOG_API": "1", "CACHE_TTL_HOURS": "0.5", "CACHE_MAX_BYTES": "0", "STATUS_UI": "NONE",
            "ACCESS_TOKEN": " t ", "MAX_SOURCE_IMAGE_BYTES": "1", "MAX_CANDIDATE_IMAGE_BYTES": "2",
            "MAX_PRESET_IMPORT_BYTES": "3", "MAX_HTTP_REDIRECTS": "0",
        }
    )  # fmt: skip
    assert (settings.host, settings.port, settings.loopback) == ("::1", 8080, True)
    assert settings.allowed_origins == ("https://a.example", "http://b:1")
    assert settings.network.api_hosts == ("x.ai", "*.openai.com", "[::1]")
    assert (settings.cache_ttl, settings.cache_max_bytes, settings.access_token) == (1800, 0, "t")
    assert (settings.limits.max_source_bytes, settings.limits.max_candidate_bytes) == (1, 2)
    assert (settings.max_preset_import, settings.max_redirects, settings.status_ui) == (3, 0, StatusUi.NONE)
    assert read_environment({"STATUS_WINDOW": "0"}).status_ui is StatusUi.NONE
    assert read_environment({"STATUS_WINDOW": "1"}).status_ui is StatusUi.CLI
    for host, loopback in (("localhost", True), ("127.3.2.1", True), ("0.0.0.0", False), ("::", False), ("box", False)):
        assert read_environment({"HOST": host}).loopback is loopback


UNREADABLE = [
    ("HOST", "a b"), ("HOST", "http://127.0.0.1"), ("PORT", "http"), ("PORT", "65536"), ("PORT", "-1"), ("PORT", "1.5"),
    ("PORT", "١٢"), ("ALLOWED_ORIGINS", "*"), ("ALLOWED_ORIGINS", "example.com"), ("ALLOWED_ORIGINS", "http://a/b"),
    ("EXPORT_INCLUDE_SECRETS", "maybe"), ("ALLOW_PRIVATE_API_URL", "2"), ("ALLOW_PRIVATE_DOWNLOAD_URL", "ja"),
    ("API_URL_HOST_ALLOWLIST", "https://api.x.ai"), ("DOWNLOAD_URL_HOST_ALLOWLIST", "a.example/path"),
    ("ALLOW_REMOTE_DEBUG_LOG_API", "x"), ("CACHE_TTL_HOURS", "week"), ("CACHE_TTL_HOURS", "-1"),
    ("CACHE_TTL_HOURS", "nan"), ("CACHE_TTL_HOURS", "inf"), ("CACHE_MAX_BYTES", "2GB"), ("STATUS_UI", "gui"),
    ("STATUS_WINDOW", "no way"), ("MAX_SOURCE_IMAGE_BYTES", "0"), ("MAX_CANDIDATE_IMAGE_BYTES", "20MB"),
    ("MAX_PRESET_IMPORT_BYTES", ""), ("MAX_HTTP_REDIRECTS", "many"), ("ACCESS_TOKEN", "秘密"), ("ACCESS_TOKEN", "a\tb"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [pair for pair in UNREADABLE if pair[1]])
def test_unreadable_values_name_their_variable(name: str, value: str) -> None:
    """Never a silent default: the error has the variable, the value unless that is secret, and what would do."""
    with pytest.raises(InvalidInput) as caught:
        read_environment({name: value, "STATUS_WINDOW": value if name == "STATUS_WINDOW" else "0"})
    assert (caught.value.code, caught.value.field) == (Code.SETTING_INVALID, name)
    for language in ("zh-CN", "en"):
        text = MESSAGES.problem(language, caught.value.problem)
        assert name in text
        assert (value in text) is (name != "ACCESS_TOKEN")


def test_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """APP_DATA_DIR first, then the user's data folder, and the old hidden one only while that does not exist."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert data_folder({"APP_DATA_DIR": str(tmp_path / "mine" / "deep")}) == tmp_path / "mine" / "deep"
    old = tmp_path / ".image-batch-console"
    old.mkdir()
    assert data_folder({}) == old
    new = tmp_path / "share" / "image-batch-console"
    new.mkdir(parents=True)
    assert data_folder({"APP_DATA_DIR": " "}) == new
    assert new.stat().st_mode & 0o777 == 0o700
    old.rmdir()
    new.rmdir()
    assert data_folder({}) == new
    assert new.is_dir()


def test_data_folder_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that is a file is an error that names the variable, or the place when no variable chose it."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidInput) as caught:
        data_folder({"APP_DATA_DIR": str(tmp_path / "file" / "in")})
    assert (caught.value.code, caught.value.field) == (Code.SETTING_INVALID, "APP_DATA_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StorageFailed):
        data_folder({})
    with pytest.raises(StorageFailed):
        program_folder("no such folder")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)  # a container's user without an account
    with pytest.raises(InvalidInput) as nowhere:
        data_folder({})
    assert nowhere.value.code is Code.NO_HOME


def test_limits_of_bytes_hold(fake: FakeUpstream, tmp_path: Path) -> None:
    """Imports, sources, results and redirects follow their variables."""
    source = source_folder(tmp_path / "in", 1)
    target = fake.picture(picture(1))
    fake.answer(by_url(ApiMode.CHAT_COMPLETIONS, fake.redirect_chain(2, target)))
    with open_door(tmp_path / "a", MAX_HTTP_REDIRECTS="1", MAX_PRESET_IMPORT_BYTES="50") as door:
        assert door.run(source, config_for(fake))[0]["error"]["params"]["reason"] == "redirect_limit"
        door.refused(413, "body_too_large", "POST", "/api/presets/import", {"presets": {"a" * 50: {}}})
    with open_door(tmp_path / "b", MAX_HTTP_REDIRECTS="2", MAX_SOURCE_IMAGE_BYTES="20") as door:
        answer = door.ask("POST", "/api/tasks/start", {"input_path": str(source), "config": config_for(fake)})
        assert answer.json()["code"] in {"no_pictures", "picture_too_large"}
    with open_door(tmp_path / "c", MAX_HTTP_REDIRECTS="2") as door:
        assert door.run(source, config_for(fake))[0]["status"] == "done"


def test_private_addresses_by_environment(fake: FakeUpstream, tmp_path: Path) -> None:
    """The two switches of the environment stand in for those of the configuration."""
    source = source_folder(tmp_path / "in", 1)
    locked = config_for(fake, unlock_local_api_url=False, unlock_local_download_url=False)
    fake.answer(by_url(ApiMode.CHAT_COMPLETIONS, fake.picture(picture(1))))
    with open_door(tmp_path / "a", ALLOW_PRIVATE_API_URL="1") as door:
        assert door.run(source, locked)[0]["error"]["params"]["reason"] == "address_private"
    with open_door(tmp_path / "b", ALLOW_PRIVATE_API_URL="1", ALLOW_PRIVATE_DOWNLOAD_URL="1") as door:
        assert door.run(source, locked)[0]["status"] == "done"


def test_cache_is_swept_by_age_and_size(fake: FakeUpstream, tmp_path: Path) -> None:
    """Files that no task names go when they are old, or too many; those that a task names stay."""

    def orphan(door: Door, number: int, hours: float) -> Path:
        digest = Cache(door.app.folder / "cache").put(picture(number), "png")  # an earlier program's
        path = door.app.cache.path(digest, "png")
        then = time.time() - hours * 3600
        os.utime(path, (then, then))
        return path

    fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(1)))
    with open_door(tmp_path / "a", CACHE_TTL_HOURS="2") as door:
        door.run(source_folder(tmp_path / "in", 1), config_for(fake))
        kept = orphan(door, 1, 100)
        old, young = orphan(door, 2, 3), orphan(door, 3, 1)
        assert door.app.sweep() == 1
        assert (kept.exists(), old.exists(), young.exists()) == (True, False, True)
    with open_door(tmp_path / "a", CACHE_MAX_BYTES="0") as door:
        assert door.app.sweep() == 1
        assert (kept.exists(), young.exists()) == (True, False)


@pytest.mark.parametrize(
    ("wish", "language"),
    [("", "zh-CN"), ("en", "en"), ("en-GB,zh;q=0.5", "en"), ("en;q=0.1,zh-TW", "zh-CN"), ("fr,de", "zh-CN"),
     ("en_US.UTF-8", "en"), ("zh_CN.UTF-8", "zh-CN"), ("en;q=x,zh", "zh-CN"), ("C", "zh-CN")],
)  # fmt: skip
def test_language_of_a_wish(wish: str, language: str) -> None:
    """Accept-Language headers and locale names both choose; what is neither of ours is Chinese."""
    assert pick_language(wish) == language
