"""The templates and the example files of the old tool's shape: readable by this program, and without secrets."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from engine.config import ApiMode, parse_entered, parse_stored
from engine.errors import Code
from engine.images.cache import Cache
from engine.models import EditLimits, TaskMatch, TaskStatus
from engine.presets import PresetBook, read_preset_file
from engine.tasks.store import Store
from engine.tasks.takeover import take_over
from engine.upstream.recipe import read_recipe

ASSETS = Path(__file__).parents[2] / "assets"
OLD_FIELDS = {
    "system_prompt", "user_prompt", "api_key", "api_url", "model_name", "max_tokens", "temperature",
    "concurrency_limit", "max_retries", "retry_interval", "timeout_seconds", "api_mode", "token_field",
    "unlock_local_api_url", "unlock_local_download_url",
}  # fmt: skip
TASK_FIELDS = {
    "id", "source_path", "source_name", "status", "attempts", "http_status", "last_error", "last_warning",
    "has_debug_log", "updated_at", "source_image_url", "result_count", "selected_count", "results",
}  # fmt: skip
RESULT_FIELDS = {"id", "selected", "deleted", "width", "height", "source_type", "hash", "image_url"}


def load(name: str) -> Any:
    """A JSON file of assets/."""
    return json.loads((ASSETS / name).read_text(encoding="utf-8"))


def test_templates_are_starting_points() -> None:
    """Each template is a valid configuration in the right mode, with notes in both languages and no key."""
    modes = {}
    for template in load("presets.json")["templates"]:
        config, warnings = parse_entered(template["config"])
        assert warnings == []
        assert config.api_key == ""
        modes[template["name"]] = config.mode
        if config.recipe:
            read_recipe(config.recipe)
        for language in ("en", "zh-CN"):
            assert load(f"messages/{language}/templates.json")[template["notes_key"]]
    edits, chat = ApiMode.IMAGES_EDITS, ApiMode.CHAT_COMPLETIONS
    built_in = {"grok2api": edits, "grok2api 1.x": chat, "xAI": edits, "OpenAI": edits, "OpenRouter": chat}
    built_in["sub2api (async)"] = edits
    assert {name: mode for name, mode in modes.items() if mode is not ApiMode.RECIPE} == built_in
    assert len(modes) == 23


def test_example_presets_import_and_load(tmp_path: Path) -> None:
    """The example presets can be imported, and also be put into the data folder as they are."""
    data = (ASSETS / "examples" / "presets.json").read_bytes()
    presets, current, warnings = read_preset_file(data)
    assert warnings == []
    assert current is not None
    (tmp_path / "presets.json").write_bytes(data)
    book = PresetBook(tmp_path / "presets.json")
    assert book.problems == []
    assert book.all() == presets
    assert set(presets) <= {template["name"] for template in load("presets.json")["templates"]}
    for config in [current, *presets.values()]:
        assert config.api_key == ""
    for raw in load("examples/presets.json")["presets"].values():
        assert set(raw) >= OLD_FIELDS


def test_example_state_has_the_old_shape() -> None:
    """Tasks and results of the example carry exactly the fields of old; its hashes are those of sample pictures."""
    state = load("examples/state.json")
    assert set(state["current_config"]) == OLD_FIELDS
    config, warnings = parse_stored(state["current_config"])
    assert (config.api_key, warnings) == ("", [])
    assert {task["status"] for task in state["tasks"]} == {"done", "partial_success", "failed", "stopped", "pending"}
    samples = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (ASSETS / "samples").iterdir()}
    for task in state["tasks"]:
        assert set(task) == TASK_FIELDS
        assert task["result_count"] == len(task["results"])
        for result in task["results"]:
            assert set(result) == RESULT_FIELDS
            assert result["hash"] in samples


def test_example_state_is_taken_over(tmp_path: Path) -> None:
    """With its result files in the cache of old, every task and every result of the example comes over."""
    (tmp_path / "cache").mkdir()
    for path in (ASSETS / "samples").iterdir():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        (tmp_path / "cache" / f"{digest}{path.suffix}").write_bytes(path.read_bytes())
    store = Store(tmp_path / "tasks.sqlite")
    try:
        told = take_over(load("examples/state.json"), tmp_path, store, Cache(tmp_path / "kept"), EditLimits())
        assert [(problem.code, problem.params) for problem in told] == [
            (Code.OLD_STATE_TAKEN_OVER, {"tasks": 5, "missing": 0})
        ]
        tasks = sorted(store.tasks(TaskMatch()), key=lambda task: task.seq)
        assert [task.status for task in tasks][:3] == [TaskStatus.DONE, TaskStatus.PARTIAL_SUCCESS, TaskStatus.FAILED]
        assert [len(task.results) for task in tasks] == [2, 1, 0, 0, 0]
    finally:
        store.close()
