"""Data folders of earlier programs: opened by this one, with their keys, tasks, results, decisions and presets."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

from engine.config import ApiMode
from engine.models import TaskMatch
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import KEY, config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline
from tests.support.shapes import fits_state

ASSETS = Path(__file__).parents[2] / "assets"
SAMPLES = Path(__file__).parents[1] / "samples"


def old_folder(folder: Path, source: Path, config: dict[str, Any]) -> None:
    """state.json with tasks, presets.json as a bare mapping, and a result file."""
    digest = hashlib.sha256(picture(50)).hexdigest()
    result = {"id": "r-1", "selected": False, "deleted": False, "width": 24, "height": 16, "source_type": "data_url",
              "hash": digest, "image_url": "/api/tasks/t-1/results/r-1/image"}  # fmt: skip
    common = {"http_status": 200, "last_error": "", "last_warning": "", "has_debug_log": False, "updated_at": 1}
    tasks = [
        {"id": "t-1", "source_path": str(source / "001_start.png"), "status": "done", "attempts": 1,
         "results": [result], **common},
        {"id": "t-2", "source_path": str(source / "002_start.png"), "status": "processing", "attempts": 0,
         "results": [], **common},
    ]  # fmt: skip
    (folder / "cache").mkdir(parents=True)
    (folder / "cache" / f"{digest}.png").write_bytes(picture(50))
    (folder / "state.json").write_text(json.dumps({"current_config": config, "tasks": tasks}))
    (folder / "presets.json").write_text(json.dumps({"mine": config}))


def test_everything_of_old_is_there(fake: FakeUpstream, tmp_path: Path) -> None:
    """Old ids, results and keys work; what was unfinished can be resumed with the old key; it happens once."""
    source = source_folder(tmp_path / "in", 2)
    old_folder(tmp_path / "data", source, config_for(fake, concurrency_limit=1000))
    with open_door(tmp_path / "data") as door:
        state = door.state()
        fits_state(state)
        assert [notice["code"] for notice in state["notices"]] == ["old_state_taken_over"]
        assert [(task["id"], task["status"]) for task in state["tasks"]] == [("t-1", "done"), ("t-2", "stopped")]
        assert state["current_config"]["concurrency_limit"] == 512
        assert state["presets"]["mine"]["api_key"] == state["current_config"]["api_key"] == "*" * 8
        assert door.ask("GET", "/api/tasks/t-1/results/r-1/image").content == picture(50)
        assert door.post("/api/tasks/t-1/results/r-1/toggle")["selected"] is True
        fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(51)))
        assert door.post("/api/tasks/resume")["resumed_count"] == 1
        door.wait_idle()
        assert door.tasks()[1]["status"] == "done"
        assert fake.api_requests[0].headers["authorization"] == f"Bearer {KEY}"
        assert door.post("/api/presets/apply", {"name": "mine"})["ok"] is True
    kept = json.loads((tmp_path / "data" / "state.json.before-takeover").read_text())
    assert len(kept["tasks"]) == 2
    with open_door(tmp_path / "data") as door:
        state = door.state()
        assert state["notices"] == []
        assert [task["id"] for task in state["tasks"]] == ["t-1", "t-2"]


def test_a_folder_of_the_version_before_opens_whole(tmp_path: Path) -> None:
    """tests/samples/make_old_data.py had the program of 2d36da7 write it: tasks, ticks, drops, key, presets, ledger."""
    with zipfile.ZipFile(SAMPLES / "data_2d36da7.zip") as archive:
        archive.extractall(tmp_path / "data")
    for _ in range(2):  # and once more, as this program left it
        with open_door(tmp_path / "data") as door:
            state = door.state()
            fits_state(state)
            assert state["notices"] == []
            tasks = state["tasks"]
            assert [task["source_name"] for task in tasks] == [f"{number:03}_start.png" for number in range(1, 6)]
            assert [task["status"] for task in tasks] == ["done"] * 4 + ["failed"]
            assert [task["decided"] for task in tasks] == [False, True, True, False, False]
            marks = [[(one["selected"], one["deleted"]) for one in task["results"]] for task in tasks]
            whole, unticked, dropped = (True, False), (False, False), (True, True)
            assert marks == [[whole] * 2, [unticked, whole], [dropped, whole], [whole] * 2, []]
            for result in (one for task in tasks for one in task["results"]):
                shown = door.ask("GET", result["image_url"]).content
                assert hashlib.sha256(shown).hexdigest() == result["hash"]
            assert list(state["presets"]) == ["night"]
            assert state["current_config"]["user_prompt"] == "make it night"
            assert door.app.preferences.config.api_key == door.app.presets.all()["night"].api_key == "sk-old-data-key"
            assert all(task.results or task.error for task in door.app.store.tasks(TaskMatch()))
            assert len(answers(tmp_path / "data")) == 10


def answers(folder: Path) -> list[tuple[str, int]]:
    """The rows of a ledger whose files are there."""
    with contextlib.closing(sqlite3.connect(folder / "answers" / "ledger.db")) as ledger:
        rows = ledger.execute("SELECT hash, extension, size FROM answer").fetchall()
    files = [(folder / "answers" / digest[:2] / f"{digest}.{extension}", size) for digest, extension, size in rows]
    return [(file.name, size) for file, size in files if file.stat().st_size == size]


def test_the_examples_of_the_program_open(tmp_path: Path) -> None:
    """The example files in assets/ are taken over as they are."""
    folder = tmp_path / "data"
    (folder / "cache").mkdir(parents=True)
    for name in ("state.json", "presets.json"):
        shutil.copy(ASSETS / "examples" / name, folder / name)
    for sample in (ASSETS / "samples").iterdir():
        digest = hashlib.sha256(sample.read_bytes()).hexdigest()
        shutil.copy(sample, folder / "cache" / f"{digest}{sample.suffix}")
    with open_door(folder) as door:
        state = door.state()
        assert [task["id"] for task in state["tasks"]] == [f"example-{number}" for number in range(1, 6)]
        assert len(state["presets"]) == 5
        assert state["tasks"][0]["results"][1]["selected"] is False


def test_damaged_files_do_not_keep_the_program_from_starting(fake: FakeUpstream, tmp_path: Path) -> None:
    """Each damaged file is set aside and named; result files of a lost task table are not swept away."""
    with open_door(tmp_path / "data") as door:
        fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(1)))
        door.run(source_folder(tmp_path / "in", 1), config_for(fake))
    for name in ("state.json", "presets.json", "tasks.db"):
        (tmp_path / "data" / name).write_text("{damaged")
    with open_door(tmp_path / "data", CACHE_TTL_HOURS="0", CACHE_MAX_BYTES="0") as door:
        state = door.state()
        assert [notice["code"] for notice in state["notices"]] == ["file_damaged"] * 3
        assert len({notice["params"]["path"] for notice in state["notices"]}) == 3
        assert (state["task_count"], state["current_config"]["api_key"]) == (0, "")
        assert door.app.sweep() == 0
        kept = sorted(path.name for path in (tmp_path / "data").glob("*.damaged-*"))
        assert [name.partition(".damaged")[0] for name in kept] == ["presets.json", "state.json", "tasks.db"]
    assert len(list((tmp_path / "data" / "cache").rglob("*.png"))) == 1
