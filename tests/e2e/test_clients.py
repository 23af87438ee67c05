"""Other people's clients and gateways beside ours: the openai SDK and litellm's proxy, in an environment of their own.

``CLIENTS``: the folder of an environment that holds both; `scripts/full_counts.sh clients` makes it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.http.server import bind
from engine.config import ApiMode, RequestForm
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import KEY, config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import MODES, PATHS, inline

CLIENTS = os.environ.get("CLIENTS", "")
SDK = """
import sys, openai
client = openai.OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
files = [open(path, "rb") for path in sys.argv[3:]]
made = client.images.edit(model="m", prompt="p", n=1, image=files[0] if len(files) == 1 else files)
assert made.data[0].b64_json
"""


def taken(request: Received) -> Script:
    """OpenAI's images/edits: a form with the documented fields, typed files and the key; anything else is refused."""
    fields = {part.name: part for part in request.form}
    files = [part for part in request.form if part.filename]
    names = {part.name for part in files}
    good = (
        request.path == "/v1/images/edits"
        and request.headers.get("authorization") == f"Bearer {KEY}"
        and fields.keys() - names == {"model", "prompt", "n"}
        and (names == {"image[]"} or (names == {"image"} and len(files) == 1))
        and all(part.content_type == "image/png" and part.data[:4] == b"\x89PNG" for part in files)
    )
    return (
        inline(ApiMode.IMAGES_EDITS, picture(9)) if good else Script.error(400, f"not a form of ours: {list(fields)}")
    )


def test_the_sdk_and_we_send_what_the_same_server_takes(tmp_path: Path) -> None:
    """One picture and several, by the official SDK and by us."""
    source = source_folder(tmp_path / "in", 2)
    paths = sorted(map(str, source.iterdir()))
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        fake.answer_with(taken)
        for count in (1, 2):
            python = Path(CLIENTS) / "bin" / "python"
            subprocess.run([python, "-c", SDK, fake.url("/v1"), KEY, *paths[:count]], check=True, timeout=120)
        for form in (RequestForm.FORM, RequestForm.FORM_LIST):
            door.post("/api/tasks/clear")
            config = config_for(fake, ApiMode.IMAGES_EDITS, model_name="m", request_form=form, proxy="direct")
            tasks = door.run(source_folder(tmp_path / form, 1, first=len(form)), config)
            assert [(task["status"], task["last_error"]) for task in tasks] == [("done", "")]


def provide(request: Received) -> Script:
    """What a provider behind litellm answers, streamed where it streams."""
    made = b64encode(picture(9)).decode()
    if request.path.endswith("/images/edits"):
        return inline(ApiMode.IMAGES_EDITS, picture(9))
    if request.path.endswith("/responses"):
        call = {"id": "ig1", "type": "image_generation_call", "status": "completed", "result": made}
        response = {
            "id": "r1", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": [call],
            "parallel_tool_calls": False, "tool_choice": "auto", "tools": [], "metadata": {}, "temperature": 1,
            "top_p": 1, "error": None, "incomplete_details": None, "instructions": None,
        }  # fmt: skip
        return Script.events({"type": "response.completed", "sequence_number": 1, "response": response}, done=False)
    head: dict[str, Any] = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    delta = {"role": "assistant", "content": f"![image](data:image/png;base64,{made})"}
    pieces = [{"index": 0, "delta": delta, "finish_reason": None}, {"index": 0, "delta": {}, "finish_reason": "stop"}]
    return Script.events(*({**head, "choices": [piece]} for piece in pieces))


@contextmanager
def litellm(folder: Path, fake: FakeUpstream) -> Iterator[str]:
    """The proxy with one model, `edit`, at the fake; its address."""
    with bind("127.0.0.1", 0) as bound:
        port = int(bound.getsockname()[1])
    model = {"model": "openai/gpt-image-1", "api_base": fake.url("/v1"), "api_key": "sk-behind"}
    settings = {
        "model_list": [{"model_name": "edit", "litellm_params": model}],
        "general_settings": {"master_key": KEY},
    }
    (folder / "litellm.yaml").write_text(json.dumps(settings))
    command = [f"{CLIENTS}/bin/litellm", "--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1", "--port"]
    environ = {"HOME": str(folder), "PATH": os.environ["PATH"], "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"}
    with subprocess.Popen([*command, str(port)], env=environ, stdout=subprocess.DEVNULL, stderr=sys.stderr) as process:
        try:
            base, end = f"http://127.0.0.1:{port}", time.monotonic() + 180
            while time.monotonic() < end:
                try:
                    httpx.get(f"{base}/health/liveliness", trust_env=False).raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.5)
            yield base
        finally:
            process.terminate()


@pytest.mark.timeout(600)
def test_litellm_edits_through_all_modes(tmp_path: Path) -> None:
    """Its proxy in front of a provider: the test lists its model, and 18 of 18 edits come through."""
    with FakeUpstream() as fake:
        fake.answer_with(provide)
        with litellm(tmp_path, fake) as base:
            edits = 0
            for mode in MODES:
                with open_door(tmp_path / mode / "data") as door:
                    config = config_for(fake, mode, model_name="edit", proxy="direct", alarm_limit=0)
                    config["api_url"] = f"{base}{PATHS[mode]}"
                    assert door.post("/api/config/test", {"config": config})["models"] == ["edit"]
                    tasks = door.run(source_folder(tmp_path / mode / "in", 6), config)
                    assert [(task["status"], task["last_error"]) for task in tasks] == [("done", "")] * 6
                    edits += len(tasks)
            print({"edits through litellm": edits})
