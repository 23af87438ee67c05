"""The key goes only where it was entered for, and is seen nowhere: configuration, presets, import, logs and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config import ApiMode
from engine.secrets import PLACEHOLDER
from tests.fakes.upstream import FakeUpstream, Script
from tests.support.doors import KEY, Door, config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import MODES, inline

OTHER = "https://other.invalid/v1/chat/completions"
KEPT = ("", PLACEHOLDER)


def stored_key(door: Door) -> str:
    """The key in state.json."""
    return str(json.loads((door.app.folder / "state.json").read_text())["current_config"]["api_key"])


def preset_keys(door: Door) -> dict[str, str]:
    """The keys in presets.json."""
    presets = json.loads((door.app.folder / "presets.json").read_text())["presets"]
    return {name: config["api_key"] for name, config in presets.items()}


@pytest.mark.parametrize("sent", KEPT)
def test_save_config_keeps_the_key_for_its_origin(fake: FakeUpstream, door: Door, sent: str) -> None:
    """Another path on the same scheme, host and port has the key; another host, port or scheme must bring its own."""
    config = config_for(fake)
    door.post("/api/config/current", {"config": config})
    same = {**config, "api_key": sent, "api_url": fake.url("/v1/responses").replace("http:", "HTTP:")}
    door.post("/api/config/current", {"config": same})
    assert stored_key(door) == KEY
    elsewhere = (
        OTHER, fake.url().replace("http:", "https:"), "http://127.0.0.1:1/v1", "http://127.0.0.1/v1", "http://[bad",
        f"http://user@{fake.host}.evil.invalid/v1", f"http://evil.invalid\\@{fake.host}/",
    )  # fmt: skip
    for url in elsewhere:
        body = {"config": {**config, "api_key": sent, "api_url": url}}
        assert door.refused(400, "api_key_required", "POST", "/api/config/current", body)["field"] == "api_key"
    assert stored_key(door) == KEY
    door.post("/api/config/current", {"config": {**config, "api_key": "new", "api_url": OTHER}})
    assert stored_key(door) == "new"


def test_placeholder_without_a_stored_key(fake: FakeUpstream, door: Door) -> None:
    """Eight stars are never a key; an endpoint that needs none works without one."""
    config = config_for(fake, api_key=PLACEHOLDER)
    door.refused(400, "api_key_required", "POST", "/api/config/current", {"config": config})
    door.post("/api/config/current", {"config": {**config, "api_key": ""}})
    assert stored_key(door) == ""


@pytest.mark.parametrize("sent", KEPT)
def test_start_uses_the_stored_key_for_its_origin_only(
    fake: FakeUpstream, door: Door, tmp_path: Path, sent: str
) -> None:
    """The stored key reaches the API it was entered for; a start for another origin sends nothing to anybody."""
    source = source_folder(tmp_path / "in", 1)
    door.post("/api/config/current", {"config": config_for(fake)})
    fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(1)))
    door.run(source, config_for(fake, api_key=sent))
    assert fake.api_requests[0].headers["authorization"] == f"Bearer {KEY}"
    with FakeUpstream() as stranger:
        body = {"input_path": str(source), "config": config_for(stranger, api_key=sent)}
        door.refused(400, "api_key_required", "POST", "/api/tasks/start", body)
        door.wait_idle()
        assert stranger.requests == []


@pytest.mark.parametrize("sent", KEPT)
def test_presets_keep_keys_by_origin(fake: FakeUpstream, door: Door, sent: str) -> None:
    """A preset gets the current key or its own of before if the origin is the same, else it is refused."""
    config = config_for(fake)
    door.post("/api/config/current", {"config": config})
    door.post("/api/presets/save", {"name": "p", "config": {**config, "api_key": sent}})
    assert preset_keys(door) == {"p": KEY}
    door.refused(
        400, "api_key_required", "POST", "/api/presets/save",
        {"name": "p", "config": {**config, "api_key": sent, "api_url": OTHER}},
    )  # fmt: skip
    door.post("/api/presets/save", {"name": "q", "config": {**config, "api_key": "theirs", "api_url": OTHER}})
    again = {**config, "api_key": sent, "api_url": OTHER, "model_name": "m"}
    door.post("/api/presets/save", {"name": "q", "config": again})
    assert preset_keys(door) == {"p": KEY, "q": "theirs"}


def test_apply_never_carries_a_key_over(fake: FakeUpstream, door: Door) -> None:
    """A preset without a key takes the current one along only within the origin."""
    config = config_for(fake)
    door.post("/api/presets/import", {"presets": {"same": {**config, "api_key": ""}, "other": {"api_url": OTHER}}})
    door.post("/api/config/current", {"config": config})
    assert door.post("/api/presets/apply", {"name": "same"})["config"]["api_key"] == PLACEHOLDER
    assert stored_key(door) == KEY
    assert door.post("/api/presets/apply", {"name": "other"})["config"]["api_key"] == ""
    assert stored_key(door) == ""


@pytest.mark.parametrize("masked", KEPT)
def test_import_never_erases_a_key(fake: FakeUpstream, door: Door, masked: str) -> None:
    """A masked or empty key leaves the stored one; what would lose it stays as it is and is named."""
    config = config_for(fake)
    door.post("/api/config/current", {"config": config})
    door.post("/api/presets/save", {"name": "p", "config": config})
    blind = {**config, "api_key": masked, "model_name": "new"}
    answer = door.post("/api/presets/import", {"presets": {"p": blind, "n": blind}, "current_config": blind})
    assert (answer["imported_presets"], answer["applied_current_config"], answer["warnings"]) == (2, True, [])
    assert (stored_key(door), preset_keys(door)) == (KEY, {"p": KEY, "n": KEY})
    assert door.state()["presets"]["p"]["model_name"] == "new"
    strange = {**blind, "api_url": OTHER}
    answer = door.post("/api/presets/import", {"presets": {"p": strange, "s": strange}, "current_config": strange})
    assert (answer["imported_presets"], answer["applied_current_config"]) == (1, False)
    assert [(w["code"], w["params"]["name"]) for w in answer["warnings"]] == [
        ("api_key_required", "p"), ("api_key_required", "current_config"),
    ]  # fmt: skip
    assert (stored_key(door), preset_keys(door)) == (KEY, {"p": KEY, "n": KEY, "s": ""})
    assert door.state()["presets"]["p"]["api_url"] == config["api_url"]
    door.post("/api/presets/import", {"presets": {"p": {**strange, "api_key": "theirs"}}})
    assert preset_keys(door)["p"] == "theirs"


def test_export_with_secrets(fake: FakeUpstream, tmp_path: Path) -> None:
    """Only EXPORT_INCLUDE_SECRETS=1 puts keys into the file, never into the state."""
    with open_door(tmp_path / "data", EXPORT_INCLUDE_SECRETS="1") as door:
        door.post("/api/config/current", {"config": config_for(fake)})
        door.post("/api/presets/save", {"name": "p", "config": config_for(fake)})
        document = door.get("/api/presets/export")
        assert (document["current_config"]["api_key"], document["presets"]["p"]["api_key"]) == (KEY, KEY)
        assert KEY not in door.ask("GET", "/api/state").text


ECHOES: list[Script] = [
    Script.error(401, f"Incorrect API key provided: {KEY}."),
    Script.error(400, f"Unknown parameter: '{KEY}'"),
    Script.error(500, f"<html><body>upstream said {KEY}</body></html>"),
    Script(status=403, body=f"Bearer {KEY}".encode(), content_type="text/plain"),
    Script.events({"error": {"message": f"bad key {KEY}", "type": KEY, "code": "x"}}),
    Script.events({"choices": [{"index": 0, "delta": {"content": f"your key is {KEY}"}}]}),
    Script.events({"choices": [{"index": 0, "delta": {"content": f"![i](http://127.0.0.1:9/{KEY}.png)"}}]}),
    Script.json({"x": KEY}, headers={"X-Echo": KEY}),
    Script.redirect(f"https://elsewhere.invalid/{KEY}"),
]


@pytest.mark.parametrize("script", ECHOES, ids=range(len(ECHOES)))
@pytest.mark.parametrize("mode", MODES)
def test_a_key_that_the_api_repeats_is_shown_nowhere(
    fake: FakeUpstream, shared: Door, tmp_path: Path, caplog: pytest.LogCaptureFixture, script: Script, mode: ApiMode
) -> None:
    """An API that puts the key into its refusal does not bring it into state, list, debug log, events or our log."""
    caplog.set_level("INFO")
    fake.answer(script)
    shared.post("/api/tasks/clear")
    config = config_for(fake, mode, extra_headers={"X-Api-Version": "1"}, timeout_seconds=5)
    task = shared.run(source_folder(tmp_path / "in", 1), config)[0]
    assert task["status"] == "failed"
    assert task["last_error"]
    assert fake.api_requests[0].headers["authorization"] == f"Bearer {KEY}"
    seen = [shared.ask("GET", path).text for path in (
        "/api/state", "/api/tasks", f"/api/tasks/{task['id']}", f"/api/tasks/{task['id']}/debug", "/api/presets/export",
        "/api/ui",
    )]  # fmt: skip
    with shared.client.stream("GET", "/api/events") as events:
        lines = events.iter_lines()
        seen.append(next(line for line in lines if line.startswith("data:")))
    seen.append(caplog.text)
    for text in seen:
        assert KEY not in text


def test_the_key_never_stands_in_a_repr_or_on_disk_beside_its_files(
    fake: FakeUpstream, door: Door, tmp_path: Path
) -> None:
    """Of all files in the data folder only state.json and presets.json hold it."""
    fake.answer(Script.error(401, f"no: {KEY}"))
    door.run(source_folder(tmp_path / "in", 1), config_for(fake))
    door.post("/api/presets/save", {"name": "p", "config": config_for(fake)})
    assert KEY not in repr(door.app.preferences.config)
    files = [file for file in (tmp_path / "data").rglob("*") if file.is_file()]
    assert sorted(file.name for file in files if KEY.encode() in file.read_bytes()) == ["presets.json", "state.json"]


def test_a_result_download_carries_no_key(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """The key goes to the API, not to the host of a result, not even the same one."""
    url = fake.picture(picture(3))
    fake.answer(Script.json({"choices": [{"message": {"content": f"![image]({url})"}}]}))
    task = door.run(source_folder(tmp_path / "in", 1), config_for(fake))[0]
    assert task["status"] == "done"
    downloads = [request for request in fake.requests if request.path.startswith("/files/")]
    assert len(downloads) == 1
    assert not {"authorization", "cookie", "x-api-key"} & downloads[0].headers.keys()
    assert KEY not in str(downloads[0].headers)
