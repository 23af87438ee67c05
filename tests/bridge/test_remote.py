"""Templates against the providers that they are for, and jobs: noted, stopped, collected, never asked again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fakes.providers import BY_ID, KEY, MODEL, PROMPT, PROVIDERS, Provide, Provider
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import open_door, until
from tests.support.pictures import picture, source_folder

TEMPLATES = json.loads((Path(__file__).parents[2] / "assets" / "presets.json").read_bytes())["templates"]
PICTURES = 20 if os.environ.get("FULL") else 2


def config_of(provider: Provider, fake: FakeUpstream, **changes: Any) -> dict[str, Any]:
    """The template's configuration, its host replaced by the fake's, and jobs asked for quickly."""
    template = next(template for template in TEMPLATES if template["id"] == provider.id)
    config = json.loads(json.dumps(template["config"]))
    parts = urlsplit(config["api_url"])
    config["api_url"] = fake.url(parts.path)
    if "job" in config.get("recipe", {}):
        config["recipe"]["job"]["interval"] = 0.05
    return {
        **config, "api_key": KEY, "model_name": MODEL, "user_prompt": PROMPT, "unlock_local_api_url": True,
        "unlock_local_download_url": True, "max_retries": 0, **changes,
    }  # fmt: skip


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.id)
def test_each_template_edits_at_its_provider(provider: Provider, tmp_path: Path) -> None:
    """What a template sends is exactly what its provider documents, and what comes back is the edited picture."""
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        provide = Provide(provider, fake.url(""), lambda data: picture(data[-20] + 300))
        fake.answer_with(provide)
        tasks = door.run(source_folder(tmp_path / "in", PICTURES), config_of(provider, fake))
        assert provide.wrong == []
        assert [(task["status"], task["result_count"], task["error"]) for task in tasks] == [
            ("done", 1, None)
        ] * PICTURES
        assert provide.edits == PICTURES
        assert {job["state"] for job in door.get("/api/remote")["jobs"]} == ({"done"} if provider.poll else set())


def test_a_job_outlives_stop_and_restart(tmp_path: Path) -> None:
    """A job is told as such while it is waited for; a stop leaves it, a restart waits on, and it is paid for once."""
    provider = BY_ID["dashscope-async"]
    with FakeUpstream() as fake:
        provide = Provide(provider, fake.url(""), lambda _: picture(7), polls=10**6)
        fake.answer_with(provide)
        with open_door(tmp_path / "data") as door:
            door.start(source_folder(tmp_path / "in", 1), config_of(provider, fake))
            until(lambda: provide.polled)
            until(lambda: not door.state()["running"])
            state = door.state()
            (task,) = state["tasks"]
            assert (task["status"], task["live"]["stage"]) == ("processing", "at_provider")
            assert (state["progress"]["at_provider"], state["progress"]["processing"]) == (1, 1)
            assert door.post("/api/tasks/stop")["affected"] == 1
            assert (door.tasks()[0]["status"], door.get("/api/remote")["jobs"][0]["state"]) == ("stopped", "left")
            (job,) = door.get("/api/remote")["jobs"]
            assert door.post(f"/api/remote/{job['id']}/collect")["collecting"] is True
            assert door.tasks()[0]["status"] == "processing"
            assert door.post(f"/api/remote/{job['id']}/cancel")["cancelled"] is False
        with open_door(tmp_path / "data") as door:
            assert door.tasks()[0]["status"] == "processing"
            provide._polls = 0
            door.wait_idle()
            assert (door.tasks()[0]["status"], provide.edits, provide.wrong) == ("done", 1, [])
            assert door.get("/api/remote")["jobs"][0]["state"] == "done"


def test_resume_collects_and_asks_nothing(tmp_path: Path) -> None:
    """What was stopped while it was at a provider is resumed by asking for the job, not for another edit."""
    provider = BY_ID["evolink"]
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        provide = Provide(provider, fake.url(""), lambda _: picture(7), polls=10**6)
        fake.answer_with(provide)
        door.start(source_folder(tmp_path / "in", 1), config_of(provider, fake))
        until(lambda: provide.polled)
        door.post("/api/tasks/stop")
        provide._polls = 0
        door.post("/api/tasks/resume")
        door.wait_idle()
        assert (door.tasks()[0]["status"], provide.edits) == ("done", 1)
