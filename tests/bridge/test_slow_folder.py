"""A folder that takes long to look through tells on the event stream how far it is."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import httpx

from tests.support.doors import open_door
from tests.support.pictures import picture

FILES = 12_000


def test_files_looked_at_are_told_while_it_goes(tmp_path: Path) -> None:
    """Change events count upwards while thousands of files are inspected, and end with none."""
    folder = tmp_path / "many"
    folder.mkdir()
    first = folder / "0.png"
    first.write_bytes(picture(1))
    for number in range(1, FILES):
        (folder / f"{number}.png").hardlink_to(first)
    told: list[int | None] = []
    ready, ended = threading.Event(), threading.Event()

    def listen(url: str) -> None:
        with httpx.stream("GET", f"{url}api/events", timeout=60) as stream:
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    told.append(json.loads(line[5:])["looked_at"])
                    ready.set()
                    if any(told) and told[-1] is None:
                        ended.set()
                        return

    with open_door(tmp_path / "data") as door:
        listener = threading.Thread(target=listen, args=(door.base + "/",), daemon=True)
        listener.start()
        assert ready.wait(60)
        for _ in range(20):
            assert door.post("/api/tasks/inspect", {"input_path": str(folder)})["count"] == FILES
            if ended.wait(1):
                break
        assert ended.is_set()
    counts = [count for count in told if count is not None]
    assert counts
    assert all(0 < count <= FILES for count in counts)
