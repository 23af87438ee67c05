"""Previews that an API sends of a picture in the making: shown by URL while the task runs, never kept as results."""

from __future__ import annotations

import base64
import json
import threading
from pathlib import Path
from typing import Any

from bridge.window.js_api import make_js_api
from engine.config import ApiMode
from tests.fakes.upstream import FakeUpstream, Script
from tests.support.doors import Door, config_for, until
from tests.support.pictures import picture, source_folder


def test_a_preview_is_shown_while_the_task_runs(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """The live state names the preview's URL; its bytes are those sent; after the end it is gone."""
    preview, final = (base64.b64encode(picture(number)).decode() for number in (1, 2))
    events: list[dict[str, Any]] = [
        {"type": "image_edit.partial_image", "b64_json": preview, "partial_image_index": 0, "progress": 40},
        {"type": "image_edit.completed", "b64_json": final},
    ]
    parts = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]
    shown_all = threading.Event()
    pieces = (len(parts[0]), 10**6)
    fake.answer(Script(body=b"".join(parts), content_type="text/event-stream", pieces=pieces, gate=shown_all))
    door.start(source_folder(tmp_path / "in", 1), config_for(fake, ApiMode.IMAGES_EDITS))
    until(lambda: any((task["live"] or {}).get("preview_url") for task in door.tasks()))
    task = door.tasks()[0]
    shown = door.ask("GET", task["live"]["preview_url"])
    assert shown.content == picture(1)
    assert shown.headers["content-security-policy"] == "default-src 'none'; sandbox"
    by_js = make_js_api(door.app).preview_image({"task_id": task["id"]})  # type: ignore[attr-defined]
    assert by_js == {"ok": True, "data": {"mime": "image/png", "url": f"/api/tasks/{task['id']}/preview"}}
    assert door.get(f"/api/tasks/{task['id']}/debug")["preview"] == task["live"]["preview_url"]
    shown_all.set()
    door.wait_idle()
    assert [result["size"] for result in door.tasks()[0]["results"]] == [len(picture(2))]
    door.refused(404, "no_preview", "GET", f"/api/tasks/{task['id']}/preview")
