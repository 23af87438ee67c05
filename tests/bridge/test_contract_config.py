"""The routes of configuration and presets, called as scripts of old call them and compared with the contract."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from engine.config import ApiMode, describe
from engine.secrets import PLACEHOLDER
from tests.fakes.upstream import FakeUpstream, Script
from tests.support.doors import KEY, MESSAGES, Door, config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline
from tests.support.shapes import CONFIG, OLD_CONFIG, fits


def saved(door: Door, **config: Any) -> dict[str, Any]:
    """The current configuration after saving these fields."""
    door.post("/api/config/current", {"config": config})
    return dict(door.state()["current_config"])


def test_save_config(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """The whole configuration of old is taken, kept over a restart and shown with the key masked."""
    config = config_for(fake, temperature=1, timeout_seconds=60)
    answer = door.post("/api/config/current", {"config": config})
    fits(answer, {"ok": (bool,), "warnings": (list,)})
    shown = door.state()["current_config"]
    assert {name: shown[name] for name in OLD_CONFIG} == {**config, "api_key": PLACEHOLDER}
    stored = json.loads((tmp_path / "data" / "state.json").read_text())["current_config"]
    assert stored["api_key"] == KEY
    assert (tmp_path / "data" / "state.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("field", "low", "high", "below", "above"),
    [
        ("max_tokens", 1, 256000, 0, 256001),
        ("temperature", 0, 2, -0.1, 2.1),
        ("concurrency_limit", 1, 512, 0, 513),
        ("max_retries", 0, 10, -1, 11),
        ("retry_interval", 0.1, 60, 0.05, 61),
        ("timeout_seconds", 5, 1800, 4, 1801),
        ("result_count", 1, 10, 0, 11),
        ("price_per_call", 0, 10**9, -1, 1e999),
        ("source_max_edge", 0, 65_535, -1, 65_536),
    ],
)
def test_numbers_are_refused_when_entered_and_clamped_when_imported(
    shared: Door, field: str, low: float, high: float, below: float, above: float
) -> None:
    """Both ends of a range are taken; beyond them a form gets the field's name, a file the nearest value."""
    for value in (low, high):
        assert saved(shared, **{field: value})[field] == value
    for value, end in ((below, low), (above, high)):
        if value == float("inf"):
            continue  # JSON has none
        error = shared.refused(400, "field_range", "POST", "/api/config/current", {"config": {field: value}})
        assert error["field"] == field
        shared.post("/api/presets/import", {"presets": {"p": {field: value}}})
        assert shared.state()["presets"]["p"][field] == end


@pytest.mark.parametrize(
    ("field", "choices"),
    [
        ("api_mode", ["auto", "chat_completions", "responses", "images_edits", "recipe"]),
        ("token_field", ["auto", "max_tokens", "max_completion_tokens", "max_output_tokens", "none"]),
        ("response_format", ["auto", "b64_json", "url"]),
        ("stream", ["auto", "on", "off"]),
    ],
)
def test_choices(shared: Door, field: str, choices: list[str]) -> None:
    """Every choice of the contract is taken, another one refused by the field's name."""
    for choice in choices:
        assert saved(shared, **{field: choice})[field] == choice
    error = shared.refused(400, "field_choice", "POST", "/api/config/current", {"config": {field: "other"}})
    assert error["field"] == field


def test_loose_values_of_old_forms(shared: Door) -> None:
    """Numbers and switches as text, a missing field and null are what forms of old send."""
    config = saved(shared, max_tokens="100", temperature="0.5", unlock_local_api_url="true", max_retries=None)
    assert (config["max_tokens"], config["temperature"], config["unlock_local_api_url"]) == (100, 0.5, True)
    assert config["max_retries"] == 2
    wrong: list[tuple[str, Any]] = [
        ("max_tokens", "many"), ("temperature", []), ("unlock_local_api_url", "perhaps"), ("user_prompt", 5),
        ("extra_body", "{"), ("extra_headers", {"X": 1}), ("proxy", {}),
    ]  # fmt: skip
    for name, value in wrong:
        error = shared.refused(400, "field_type", "POST", "/api/config/current", {"config": {name: value}})
        assert error["field"] == name


@pytest.mark.parametrize(
    ("url", "code"),
    [("", "field_required"), ("   ", "field_required"), ("ftp://host/x", "url_scheme"), ("api.x.ai/v1", "url_scheme")],
)
def test_url_must_be_http(shared: Door, url: str, code: str) -> None:
    """An API URL is http or https, and not empty."""
    error = shared.refused(400, code, "POST", "/api/config/current", {"config": {"api_url": url}})
    assert error["field"] == "api_url"


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("api_url", "http://", "url_malformed"),
        ("api_url", "https://exa mple/v1", "url_malformed"),
        ("api_url", "http://127.0.0.1:99999/v1", "url_malformed"),
        ("api_url", "https://me:secret@api.example/v1", "url_credentials"),
        ("proxy", "ftp://127.0.0.1:21", "proxy_invalid"),
        ("proxy", "127.0.0.1:7890", "proxy_invalid"),
        ("extra_headers", {"X Y": "1"}, "field_type"),
        ("extra_headers", {"X": "1\r\nHost: elsewhere"}, "field_type"),
    ],
)
@pytest.mark.parametrize("path", ["/api/config/current", "/api/presets/save", "/api/tasks/start"])
def test_what_no_call_could_be_made_with_is_refused_where_it_is_entered(
    shared: Door, path: str, field: str, value: Any, code: str
) -> None:
    """Not thousands of times, once for each picture."""
    body = {"name": "p", "input_path": "/", "config": {field: value}}
    assert shared.refused(400, code, "POST", path, body)["field"] == field
    assert "secret" not in shared.ask("POST", path, body).text


@pytest.mark.parametrize("proxy", ["", "direct", "http://p:1", "https://p", "socks5://u:p@h:1", "socks5h://[::1]:1"])
def test_proxies(shared: Door, proxy: str) -> None:
    """Every kind of proxy that the contract names is taken."""
    assert saved(shared, proxy=proxy)["proxy"] == proxy.replace(":p@", ":********@")


def test_unknown_fields_are_named(shared: Door) -> None:
    """A field that there is none of is left out, with a warning that names it."""
    answer = shared.post("/api/config/current", {"config": {"modle_name": "typo"}})
    assert [(warning["code"], warning["field"]) for warning in answer["warnings"]] == [("field_unknown", "modle_name")]
    assert "modle_name" in answer["warnings"][0]["message"]
    assert "modle_name" not in shared.state()["current_config"]


@pytest.mark.parametrize(
    "extra",
    [
        {"extra_body": {"api_key": "x"}},
        {"extra_headers": {"Authorization": "Bearer x"}},
        {"extra_headers": {"x-api-key": "x"}},
        {"extra_headers": {"Host": "elsewhere"}},
    ],
)
def test_extras_never_hold_the_key(shared: Door, extra: dict[str, Any]) -> None:
    """The key has a field of its own that is bound to its origin."""
    error = shared.refused(400, "field_reserved", "POST", "/api/config/current", {"config": extra})
    assert error["field"] == next(iter(extra))


def test_schema_describes_every_field(shared: Door) -> None:
    """The form is built from name, type, default, range, choices and label keys, and every key has words."""
    fields = {field["name"]: field for field in shared.get("/api/config/schema")["fields"]}
    assert fields.keys() == CONFIG.keys() == {spec.name for spec in describe()}
    for field in fields.values():
        assert {"name", "type", "default", "label", "help", "group"} <= field.keys()
        for language in ("zh-CN", "en"):
            assert MESSAGES.text(language, field["label"]) != field["label"]
    assert (fields["max_tokens"]["minimum"], fields["max_tokens"]["maximum"]) == (1, 256000)
    assert fields["api_mode"]["choices"] == ["auto", "chat_completions", "responses", "images_edits", "recipe"]
    assert fields["api_mode"]["default"] == "auto"


MODELS = {"data": [{"id": "grok-imagine-1.0-edit"}, {"id": "other"}]}
PAGE = Script(body=b"<!doctype html><html><head><title>Relay</title></head></html>", content_type="text/html")
GEMINI = {"recipe": {"request": {"url": "/v1beta/models/{{model}}:generateContent", "json": {"a": "{{prompt}}"}},
                     "key": {"header": "x-goog-api-key", "value": "{{api_key}}"}}}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "changes", "answers", "wanted"),
    [
        ("/v1/chat/completions", {}, {"/v1/models": Script.json(MODELS)}, (None, 2)),
        ("/v1/chat/completions", {"model_name": "gone"}, {"/v1/models": Script.json(MODELS)}, ("model_unknown", 2)),
        ("", {}, {"/v1/models": Script.json(MODELS)}, (None, 2)),
        ("/v1/images/edits", {}, {"/v1/models": Script.json(MODELS)}, (None, 2)),
        ("/v1/chat/completions", {}, {"/v1/models": Script.error(401, "no")}, ("key_refused", 0)),
        ("/v1/chat/completions", {}, {"/v1/models": Script.error(403, "no")}, ("access_refused", 0)),
        ("/v1/chat/completions", {}, {"/v1/chat/completions": Script.error(401, "no")}, ("key_refused", 0)),
        ("/v1/chat/completions", {}, {"/v1/models": Script.json({"code": 401, "message": "Invalid API key"})},
         ("key_refused", 0)),
        ("/chat/completions", {}, {"/models": PAGE, "/chat/completions": PAGE}, ("answer_web_page", 0)),
        ("/v2/chat/completions", {}, {}, ("endpoint_unknown", 0)),
        ("/v1/chat/completion", {}, {}, ("endpoint_unknown", 0)),
        ("/v1/chat/completions", {}, {"/v1/chat/completions": Script.error(405, "no")}, (None, 0)),
        ("/v1/chat/completions", {}, {"/v1/models": PAGE, "/v1/chat/completions": Script.error(405, "no")}, (None, 0)),
        ("/v1/chat/completions", {}, {"/v1/chat/completions": Script.error(502, "no")}, ("upstream_status", 0)),
        ("", GEMINI, {"/v1beta/models": Script.json({"models": [{"name": "models/grok-imagine-1.0-edit"}]})},
         (None, 1)),
        ("", GEMINI, {"/v1beta/models": Script.json({"models": [{"name": "models/a"}]})}, ("model_unknown", 1)),
        ("", GEMINI, {"/v1beta/models": Script.json({"models": [{"name": "a"}], "nextPageToken": "x"})}, (None, 1)),
        ("", GEMINI, {"/v1beta/models": Script.error(403, "no")}, ("access_refused", 0)),
        ("", GEMINI, {}, (None, 0)),
    ],
)  # fmt: skip
def test_the_test_tells_what_is_wrong(
    fake: FakeUpstream,
    shared: Door,
    path: str,
    changes: dict[str, Any],
    answers: dict[str, Script],
    wanted: tuple[str | None, int],
) -> None:
    """Key, model, path and web page are told apart, with the key and without an edit."""
    fake.answer_with(lambda request: answers.get(request.path, Script.error(404, "no such path")))
    config = config_for(fake, **{"proxy": "", "recipe": {}, "extra_headers": {}, **changes})
    config["api_url"] = fake.url(path)
    answer = shared.post("/api/config/test", {"config": config})
    fits(answer, {"ok": (bool,), "reachable": (bool,), "http_status": (int,), "models": (list,)})
    assert ((answer["problem"] or {}).get("code"), len(answer["models"])) == wanted
    assert answer["reachable"] is True
    assert answer["completed_url"] == (fake.url("/v1/chat/completions") if not path and not changes else "")
    assert {request.method for request in fake.requests} == {"GET"}
    name = "x-goog-api-key" if changes is GEMINI else "authorization"
    assert all(KEY in request.headers.get(name, "") for request in fake.requests)


def test_the_test_ends_in_time_and_tells_of_the_line(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """Old scripts' fields stay; an address that is refused or silent is told; a later test ends the one before."""
    fake.answer(Script(status=405))
    config = config_for(fake)
    private = door.post("/api/config/test", {"config": {**config, "unlock_local_api_url": False}})
    assert (private["reachable"], private["problem"]["code"]) == (False, "address_private")
    closed = {**config, "api_url": "http://127.0.0.1:9/v1/images/edits"}
    assert door.post("/api/config/test", {"config": closed})["problem"]["code"] == "connect_failed"
    door.post("/api/config/current", {"config": config})
    assert door.post("/api/config/test")["reachable"] is True
    door.refused(400, "proxy_invalid", "POST", "/api/config/test", {"config": {**config, "proxy": "nonsense://"}})
    fake.answer(Script(silent=True))
    asked = len(fake.requests)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(door.ask, "POST", "/api/config/test", {"config": config})
        assert fake.wait_for_requests(asked + 1)
        slow = pool.submit(door.post, "/api/config/test", {"config": {**config, "timeout_seconds": 5}})
        assert first.result(60).json()["code"] == "stopped_by_user"
        assert (slow.result(60)["reachable"], slow.result()["problem"]["code"]) == (False, "timed_out")
    saved = door.post("/api/presets/save", {"name": "base", "config": {**config, "api_url": fake.url("/v1")}})
    assert saved["completed_url"] == door.state()["presets"]["base"]["api_url"] == fake.url("/v1/chat/completions")


def test_presets_save_apply_and_delete(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """A preset is kept, overwritten by name, made the current configuration in state.json too, and deleted."""
    config = config_for(fake, model_name="one")
    answer = door.post("/api/presets/save", {"name": " 晚上/night ", "config": config})
    fits(answer, {"ok": (bool,), "name": (str,)})
    assert answer["name"] == "晚上/night"
    door.post("/api/presets/save", {"name": "晚上/night", "config": {**config, "model_name": "two"}})
    presets = door.state()["presets"]
    assert list(presets) == ["晚上/night"]
    fits(presets["晚上/night"], CONFIG)
    assert (presets["晚上/night"]["model_name"], presets["晚上/night"]["api_key"]) == ("two", PLACEHOLDER)
    applied = door.post("/api/presets/apply", {"name": "晚上/night"})
    fits(applied, {"ok": (bool,), "config": (dict,)})
    assert (applied["config"]["model_name"], applied["config"]["api_key"]) == ("two", PLACEHOLDER)
    assert door.state()["current_config"] == applied["config"]
    stored = json.loads((tmp_path / "data" / "state.json").read_text())["current_config"]
    assert (stored["model_name"], stored["api_key"]) == ("two", KEY)
    assert (tmp_path / "data" / "presets.json").stat().st_mode & 0o777 == 0o600
    assert door.delete("/api/presets/%E6%99%9A%E4%B8%8A%2Fnight")["ok"] is True
    assert door.state()["presets"] == {}
    door.refused(404, "preset_unknown", "DELETE", "/api/presets/gone")
    door.refused(404, "preset_unknown", "POST", "/api/presets/apply", {"name": "gone"})


@pytest.mark.parametrize(("name", "code"), [("", "field_required"), ("  ", "field_required"), ("x" * 129, "field_type"),
                                            ("a\nb", "field_type"), (None, "field_type")])  # fmt: skip
def test_preset_names(shared: Door, name: str | None, code: str) -> None:
    """A name has 1 to 128 characters and no control characters."""
    error = shared.refused(400, code, "POST", "/api/presets/save", {"name": name, "config": {}})
    assert error["field"] == "name"


def test_export_is_an_attachment_that_imports_again(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """What one installation exports another takes in; the file carries no key."""
    door.post("/api/config/current", {"config": config_for(fake, model_name="mine")})
    door.post("/api/presets/save", {"name": "p", "config": config_for(fake)})
    answer = door.ask("GET", "/api/presets/export")
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["content-type"] == "application/json"
    document = answer.json()
    assert document.keys() >= {"current_config", "presets"}
    assert document["current_config"]["api_key"] == document["presets"]["p"]["api_key"] == PLACEHOLDER
    assert KEY not in answer.text
    with open_door(tmp_path / "other") as other:
        upload = {"file": ("presets.json", answer.content, "application/json")}
        imported = other.post("/api/presets/import", files=upload)
        fits(imported, {"ok": (bool,), "imported_presets": (int,), "applied_current_config": (bool,)})
        assert (imported["imported_presets"], imported["applied_current_config"]) == (1, True)
        state = other.state()
        assert state["current_config"] == {**document["current_config"], "api_key": ""}
        assert state["presets"]["p"] == {**document["presets"]["p"], "api_key": ""}


def test_import_by_json_body(door: Door) -> None:
    """A script sends the document itself; presets alone leave the current configuration in place."""
    answer = door.post("/api/presets/import", {"presets": {"a": {"model_name": "m", "colour": 1}, "b": {}}})
    assert (answer["imported_presets"], answer["applied_current_config"]) == (2, False)
    assert [warning["field"] for warning in answer["warnings"]] == ["colour"]
    assert door.state()["presets"]["a"]["model_name"] == "m"
    only = door.post("/api/presets/import", {"current_config": {"model_name": "now"}})
    assert (only["imported_presets"], only["applied_current_config"]) == (0, True)
    assert door.state()["current_config"]["model_name"] == "now"


def test_a_key_of_a_preset_serves_its_own_origin(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """A preset's configuration as the state shows it, key masked, can be saved, started and kept under another name."""
    with FakeUpstream() as other:
        other.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(1)))
        door.post("/api/config/current", {"config": config_for(fake)})
        door.post("/api/presets/save", {"name": "other", "config": config_for(other, api_key="sk-other-0123456789")})
        shown = door.state()["presets"]["other"]
        assert shown["api_key"] == PLACEHOLDER
        door.post("/api/presets/save", {"name": "copy", "config": shown})
        door.run(source_folder(tmp_path / "in", 1), shown)
        assert other.api_requests[0].headers["authorization"] == "Bearer sk-other-0123456789"
        door.post("/api/config/current", {"config": {**config_for(fake), "api_key": "sk-again-0123456789"}})
        door.post("/api/config/current", {"config": {**shown, "api_key": ""}})
        stored = json.loads((tmp_path / "data" / "state.json").read_text())["current_config"]
        assert stored["api_key"] == "sk-other-0123456789"
        third = {**shown, "api_url": "http://localhost:9/v1/chat/completions"}
        door.refused(400, "api_key_required", "POST", "/api/config/current", {"config": third})


def test_preset_names_are_the_same_with_blanks_around(shared: Door) -> None:
    """What was saved as `` x `` is applied and deleted as `` x `` too; full-width blanks and joined emoji are names."""
    for name in (" 夜景 ", "夜景\u3000暖色", "👨\u200d👩\u200d👧", "a\u00a0b"):
        assert shared.post("/api/presets/save", {"name": name, "config": {}})["name"] == name.strip()
        assert shared.post("/api/presets/apply", {"name": name})["ok"] is True
        assert shared.delete(f"/api/presets/{quote(name, safe='')}")["ok"] is True


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_import_of_files_of_old(shared: Door, mark: bytes, wrapped: bool) -> None:
    """The bare mapping that the tool of old kept, and a byte order mark as Windows editors write it, are taken."""
    mapping = {"of old": {"model_name": "m"}, "another": {"user_prompt": "p"}}
    content = mark + json.dumps({"presets": mapping, "current_config": None} if wrapped else mapping).encode()
    for more in (
        {"files": {"file": ("presets.json", content)}},
        {"files": {"file": (None, content)}},
        {"content": content, "headers": {"Content-Type": "application/json"}},
        {"body": {"file": content.decode("utf-8-sig")}},
    ):
        assert shared.post("/api/presets/import", **more)["imported_presets"] == 2
        assert shared.state()["presets"]["of old"]["model_name"] == "m"
        assert shared.delete("/api/presets/of%20old")["ok"] is True


@pytest.mark.parametrize("content", [b"", b"no json", b"[]", b"{}", b'{"presets": []}', b'{"presets": {"a": 5}}',
                                     b'{"package": {"version": "1"}}', b"\xff\xfe", b"[" * 100_000])  # fmt: skip
def test_import_of_another_file(shared: Door, content: bytes) -> None:
    """What is no export is refused as such, and nothing changes."""
    before = shared.state()
    upload = {"file": ("x.json", content, "application/json")}
    error = shared.refused(400, "preset_file_invalid", "POST", "/api/presets/import", files=upload)
    assert error["field"] == "file"
    assert shared.state()["presets"] == before["presets"]


def test_import_bounds(shared: Door) -> None:
    """Two MiB and no more, in either way of sending; a form without its file is refused by name."""
    large = json.dumps({"presets": {"a": {"user_prompt": "x" * (2 * 1024 * 1024)}}}).encode()
    shared.refused(413, "body_too_large", "POST", "/api/presets/import", files={"file": ("x.json", large)})
    json_type = {"Content-Type": "application/json"}
    shared.refused(413, "body_too_large", "POST", "/api/presets/import", content=large, headers=json_type)
    error = shared.refused(400, "field_required", "POST", "/api/presets/import", files={"other": ("x.json", b"{}")})
    assert error["field"] == "file"
    fits_in = json.dumps({"presets": {"a": {"user_prompt": "x" * (2 * 1024 * 1024 - 200)}}}).encode()
    assert shared.post("/api/presets/import", files={"file": ("x.json", fits_in)})["imported_presets"] == 1


def test_ui_settings_templates_and_messages(door: Door) -> None:
    """What else the page asks for: its own settings, starting points, and the words of both languages."""
    door.post("/api/ui", {"settings": {"theme": "dark", "language": "en"}})
    door.post("/api/ui", {"settings": {"theme": None, "zoom": 2}})
    assert door.get("/api/ui")["settings"] == {"language": "en", "zoom": 2}
    assert door.state()["language"] == "en"
    door.refused(400, "field_range", "POST", "/api/ui", {"settings": {"big": "x" * 300_000}})
    assert len(door.get("/api/templates")["templates"]) == 23
    keys = [door.get(f"/api/messages/{language}")["messages"].keys() for language in ("zh-CN", "en")]
    assert keys[0] == keys[1]
    door.refused(404, "operation_unknown", "GET", "/api/messages/fr")


def test_what_older_pages_and_scripts_leave_out(door: Door) -> None:
    """A newer field that is not sent keeps what is stored, what may hold a secret at the same address only; an empty
    choice means auto; null means empty."""
    url = "https://one.example/v1/chat/completions"
    kept = {"api_url": url, "api_key": "k", "result_count": 3, "stream": "off", "extra_headers": {"x-team": "a"}}
    old = {"api_url": url, "api_key": "", "max_tokens": 100, "api_mode": "", "token_field": ""}
    door.post("/api/config/current", {"config": {**kept, "max_tokens": 7, "api_mode": "responses"}})
    door.post("/api/config/current", {"config": {**old, "stream": ""}})
    now = door.state()["current_config"]
    assert (now["api_mode"], now["token_field"], now["stream"]) == ("auto", "auto", "auto")
    assert (now["result_count"], now["extra_headers"], now["max_tokens"]) == (3, {"x-team": "a"}, 100)
    door.post("/api/config/current", {"config": {"api_url": url, "result_count": None}})
    now = door.state()["current_config"]
    assert (now["result_count"], now["max_tokens"]) == (1, 65535), "fields of the tool before take their default"
    door.post("/api/config/current", {"config": {"api_url": "https://two.example/v1", "api_key": "other"}})
    assert door.state()["current_config"]["extra_headers"] == {}
    door.post("/api/presets/save", {"name": "p", "config": kept})
    door.post("/api/presets/save", {"name": "p", "config": old})
    assert door.state()["presets"]["p"]["result_count"] == 3
