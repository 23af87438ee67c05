"""Sets as a person makes them: pictures in a folder, a prompt for each, the demo endpoint, an export by the door."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from PIL import Image

from bridge.demo.endpoint import DemoEndpoint, demo_config
from engine.models import TaskMatch
from tests.bench.scenes import make_scene
from tests.support.doors import Door, open_door

PAIRS: Final = 12
_SIZE: Final = (320, 240)  # multiples of 16, to which trainers cut
_KINDS: Final = ("png", "jpg", "webp")
_CHANGES: Final = ("夜晚", "sunset", "雪", "sepia, 复古")


class Match(msgspec.Struct, frozen=True):
    """Pictures that belong together, the controls in order."""

    target: Path
    controls: tuple[Path, ...]


@contextlib.contextmanager
def edited(place: Path, pictures: int) -> Iterator[Door]:
    """The program after a batch of `PAIRS` tasks with so many source pictures each."""
    folder, table = place / "图 in", place / "prompts.jsonl"
    folder.mkdir(parents=True)
    rows = []
    for number in range(PAIRS):
        names = [
            f"照片 {number}_start{part + 1 if part else ''}.{_KINDS[number % len(_KINDS)]}" for part in range(pictures)
        ]
        for part, name in enumerate(names):
            Image.fromarray(make_scene(number + 100 * part, _SIZE).picture).save(folder / name, quality=92)
        rows.append({"file": names[0], "prompt": f"{_CHANGES[number % len(_CHANGES)]}: 第 {number} pair"})
    table.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    with DemoEndpoint(delay=0) as endpoint, open_door(place / "data") as door:
        body = {
            "input_path": str(folder),
            "config": msgspec.to_builtins(demo_config(endpoint.base_url)),
            "prompt_table": str(table),
            "references": "suffix",
        }
        door.post("/api/tasks/start", body)
        door.wait_idle(120)
        yield door


def expected(door: Door) -> dict[str, Match]:
    """The pairs that a set of all tasks has to hold, by caption."""
    app = door.app
    found = {
        task.user_prompt or "": Match(
            app.cache.path(task.results[0].hash, task.results[0].extension),
            tuple(Path(path) for path in (task.source_path, *task.references)),
        )
        for task in app.store.tasks(TaskMatch())
    }
    assert len(found) == PAIRS
    return found


def exported(door: Door, place: Path, trainer: str, validation: float) -> Path:
    """The folder of a set of all tasks."""
    body: dict[str, Any] = {"output_dir": str(place), "trainer": trainer, "name": "夜 set", "validation": validation}
    # As they came: what a loader decodes is compared with what was sent. Loaders work in folders of their own.
    body |= {"size_rule": "as_it_came", "path_root": place.as_posix()}
    door.post("/api/dataset/export", body)
    assert door.app.jobs.wait_idle(120)
    job = door.get("/api/dataset/job")["job"]
    assert job["status"] == "done", job
    assert job["result"]["pairs"] == PAIRS
    return Path(job["result"]["path"])
