"""Templates against the providers that they are for, and jobs: noted, stopped, collected, never asked again."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.fakes.providers import BUILT_IN, BY_ID, PROMPT, PROVIDERS, Provide, Provider
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import open_door, until
from tests.support.pictures import picture, source_folder
from tests.support.providers import TEMPLATES, provider_config

ROOT = Path(__file__).parents[2]
START = "https://dashscope.aliyuncs.com"  # in the section that builds a recipe, and nowhere before
PICTURES = 20 if os.environ.get("FULL") else 2
WAYS = [(provider, False) for provider in PROVIDERS if provider.id not in ("openrouter-images", "gemini")]
WAYS += [(BY_ID[name], True) for name in ("openrouter-images", "gemini", "dashscope-async", "fal", "replicate")]
WAYS += [(provider, True) for provider in BUILT_IN]


@pytest.mark.parametrize(("provider", "proxied"), WAYS, ids=lambda value: getattr(value, "id", str(value)))
def test_each_template_edits_at_its_provider(provider: Provider, proxied: bool, tmp_path: Path) -> None:
    """What a template sends is exactly what its provider documents, also through a proxy, and what comes back is the
    edited picture."""
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        config = provider_config(provider, fake, proxied=proxied)
        base = f"http://{urlsplit(config['api_url']).netloc}"
        provide = Provide(provider, base, lambda data: picture(data[-20] + 300))

        def answer(request: Received) -> Script:
            sent = base if urlsplit(base).port else f"{base}:80"  # a proxy is told the port
            if proxied and not request.path.startswith(f"{sent}/"):
                provide.wrong.append(f"{request.path} came to the proxy")
            return provide(replace(request, path=request.path.removeprefix(sent)))

        fake.answer_with(answer)
        tasks = door.run(source_folder(tmp_path / "in", PICTURES), config)
        assert provide.wrong == []
        assert [(task["status"], task["result_count"], task["error"]) for task in tasks] == [
            ("done", 1, None)
        ] * PICTURES
        assert provide.edits == PICTURES
        assert {job["state"] for job in door.get("/api/remote")["jobs"]} == ({"done"} if provider.poll else set())


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_recipe_that_the_readme_builds(name: str, tmp_path: Path) -> None:
    """Its parts, put together as it says, are the template's recipe, and edit at a strict provider."""
    text = (ROOT / name).read_text("utf-8")
    section = text[text.index(START) :].partition("\n### ")[0]
    recipe: dict[str, Any] = {}
    for part in re.findall(r"```json\n(.*?)```", section, re.DOTALL):
        recipe |= json.loads(part)
    provider = BY_ID["dashscope-async"]
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        provide = Provide(provider, fake.url(""), lambda _: picture(7))
        fake.answer_with(provide)
        known = provider_config(provider, fake)
        assert recipe.keys() == known["recipe"].keys()
        assert recipe["result"] == known["recipe"]["result"]
        job = recipe["job"] | {"interval": 0.05}
        assert job == known["recipe"]["job"]
        (task,) = door.run(source_folder(tmp_path / "in", 1), {**known, "recipe": recipe | {"job": job}})
        assert (task["status"], provide.wrong) == ("done", [])


class Comfy:
    """A ComfyUI server: pictures are uploaded by form, a workflow is queued, its history is empty until it is done."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.inputs: dict[str, bytes] = {}
        self.queued: dict[str, str] = {}
        self.asked: dict[str, int] = {}

    def __call__(self, request: Received) -> Script:
        """The answer to one request."""
        parts = urlsplit(request.path)
        if (request.method, parts.path) == ("POST", "/upload/image"):
            fields = {part.name: part for part in request.form}
            if fields.keys() != {"image", "type", "overwrite"} or fields["type"].data != b"input":
                self.wrong.append(f"upload of {sorted(fields)}")
            name = f"{len(self.inputs)} up.png"
            self.inputs[name] = fields["image"].data
            return Script.json({"name": name, "subfolder": "", "type": "input"})
        if (request.method, parts.path) == ("POST", "/prompt"):
            body = request.json
            loads = [node["inputs"]["image"] for node in body["prompt"].values() if node["class_type"] == "LoadImage"]
            if body.keys() != {"prompt"} or len(loads) != 1 or loads[0] not in self.inputs:
                return Script.json({"error": {"type": "prompt_outputs_failed_validation"}}, status=400)
            number = f"p{len(self.queued)}"
            self.queued[number] = loads[0]
            return Script.json({"prompt_id": number, "number": 1, "node_errors": {}})
        if request.method == "GET" and parts.path.startswith("/history/"):
            return Script.json(self._history(parts.path.removeprefix("/history/")))
        if request.method == "GET" and parts.path == "/view":
            asked = dict(parse_qsl(parts.query, keep_blank_values=True))
            if asked.keys() != {"filename", "subfolder", "type"} or asked["type"] != "output":
                self.wrong.append(request.path)
            source = self.inputs[self.queued[asked["filename"].removeprefix("edit ").removesuffix(".png")]]
            return Script(body=picture(source[-20] + 300), content_type="image/png")
        self.wrong.append(f"{request.method} {request.path}")
        return Script.error(404, "no such path")

    def _history(self, number: str) -> Any:
        self.asked[number] = self.asked.get(number, 0) + 1
        if self.asked[number] == 1:
            return {}
        if number == "p0":
            messages = [["execution_start", {}], ["execution_error", {"exception_message": "out of memory"}]]
            return {number: {"status": {"status_str": "error", "completed": False, "messages": messages}}}
        images = [{"filename": f"edit {number}.png", "subfolder": "", "type": "output"}]
        return {number: {"outputs": {"8": {"images": images}}, "status": {"status_str": "success"}}}


def test_comfyui_from_upload_to_view(tmp_path: Path) -> None:
    """Upload, workflow, history, picture; a workflow that failed says why."""
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        comfy = Comfy()
        fake.answer_with(comfy)
        template = next(template for template in TEMPLATES if template["id"] == "comfyui")["config"]
        recipe = {**template["recipe"], "job": {**template["recipe"]["job"], "interval": 0.05}}
        config = {**template, "api_url": fake.url(""), "user_prompt": PROMPT, "recipe": recipe, "concurrency_limit": 1}
        tasks = door.run(source_folder(tmp_path / "in", PICTURES + 1), {**config, "max_retries": 0})
        assert comfy.wrong == []
        assert [task["status"] for task in tasks] == ["failed"] + ["done"] * PICTURES
        assert "out of memory" in tasks[0]["last_error"]


def test_a_job_outlives_stop_and_restart(tmp_path: Path) -> None:
    """A job is told as such while it is waited for; a stop leaves it, a restart waits on, and it is paid for once."""
    provider = BY_ID["dashscope-async"]
    with FakeUpstream() as fake:
        provide = Provide(provider, fake.url(""), lambda _: picture(7), polls=10**6)
        fake.answer_with(provide)
        with open_door(tmp_path / "data") as door:
            door.start(source_folder(tmp_path / "in", 1), provider_config(provider, fake))
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
        door.start(source_folder(tmp_path / "in", 1), provider_config(provider, fake))
        until(lambda: provide.polled)
        door.post("/api/tasks/stop")
        provide._polls = 0
        door.post("/api/tasks/resume")
        door.wait_idle()
        assert (door.tasks()[0]["status"], provide.edits) == ("done", 1)
