"""Which form of images/edits a server takes is found out by one call a form in a run, remembered, and can be fixed."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine.config import ApiMode, RequestForm
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import Door, config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline

EDITS = ApiMode.IMAGES_EDITS
COUNT = 12
MISSING = Script.json(
    {"detail": [{"type": "missing", "loc": ["body", "prompt"], "msg": "Field required"}]}, status=422
)  # FastAPI, of a body that it did not read
REFUSALS = {
    RequestForm.JSON: Script.error(415, "Unsupported media type: use application/json"),
    RequestForm.JSON_STRING: Script.error(
        400, "Invalid type for 'image': expected a string, but got an object instead."
    ),
    RequestForm.JSON_OPENAI: Script.error(400, "Unknown parameter: 'image'."),
    RequestForm.FORM: MISSING,
    RequestForm.FORM_LIST: Script.error(400, "image is required"),
}
"""What a server says that takes this form, of all others."""


def form_of(request: Received) -> RequestForm:
    """How the picture travels in a request."""
    if request.headers["content-type"].startswith("multipart/"):
        files = {part.name for part in request.form if part.filename}
        return RequestForm.FORM_LIST if files == {"image[]"} else RequestForm.FORM
    body = request.json
    if "images" in body:
        return RequestForm.JSON_OPENAI
    return RequestForm.JSON_STRING if isinstance(body["image"], str) else RequestForm.JSON


class Server:
    """Takes one form, and counts which came."""

    def __init__(self, takes: RequestForm) -> None:
        self.takes = takes
        self.came: Counter[RequestForm] = Counter()
        self._lock = threading.Lock()

    def __call__(self, request: Received) -> Script:
        """A picture, or the refusal of a form that is not taken."""
        form = form_of(request)
        with self._lock:
            self.came[form] += 1
            made = picture(500 + sum(self.came.values()))
        if form is not self.takes:
            return Script(**{**REFUSALS[self.takes].__dict__, "delay": 0.1})
        return inline(EDITS, made, delay=0.1)


def edit(door: Door, fake: FakeUpstream, folder: Path, count: int, **changes: Any) -> list[dict[str, Any]]:
    """The tasks of a run over so many new pictures."""
    door.post("/api/tasks/clear")
    config = config_for(fake, EDITS, concurrency_limit=8, alarm_limit=0, proxy="direct", **changes)
    return door.run(source_folder(folder, count, first=len(list(folder.parent.iterdir())) * 100), config)


@pytest.mark.parametrize("takes", list(REFUSALS))
def test_one_call_a_form_and_never_again(tmp_path: Path, takes: RequestForm) -> None:
    """Eight calls at once, one probe a form; none after a restart, and none after a picture came, whatever is said."""
    with FakeUpstream() as fake:
        server = Server(takes)
        fake.answer_with(server)
        with open_door(tmp_path / "data") as door:
            tasks = edit(door, fake, tmp_path / "in1", COUNT)
            assert [(task["status"], task["last_error"]) for task in tasks] == [("done", "")] * COUNT
            assert server.came[takes] == COUNT
            assert all(number == 1 for form, number in server.came.items() if form is not takes)
        server.came.clear()
        with open_door(tmp_path / "data") as door:
            edit(door, fake, tmp_path / "in2", 3)
            assert server.came == {takes: 3}
            server.came.clear()
            fixed = next(form for form in REFUSALS if form is not takes)
            tasks = edit(door, fake, tmp_path / "in3", 2, request_form=fixed)
            assert (server.came, {task["status"] for task in tasks}) == ({fixed: 2}, {"failed"})


def test_what_is_not_the_form_moves_nothing(tmp_path: Path) -> None:
    """A refused key, model, quota or content is told at once: no other form is tried."""
    for status, message in ((401, "bad key"), (402, "payment required"), (404, "model not found: m"), (429, "slow"),
                            (400, "content policy violation"), (413, "too large")):  # fmt: skip
        folder = tmp_path / str(status)
        with FakeUpstream() as fake, open_door(folder / "data") as door:
            fake.answer(Script.error(status, message))
            edit(door, fake, folder / "in", 1)
            assert len(fake.requests) == 1, message
