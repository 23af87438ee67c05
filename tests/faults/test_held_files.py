"""A person's way on a system that, as Windows does, neither removes nor renames what the program itself has open."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from engine.config import ApiMode
from engine.files import is_temporary
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import Door, config_for, open_door
from tests.support.held_files import HeldFiles
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc what is open")


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HeldFiles:
    """All that lies in the test's folder."""
    return HeldFiles(tmp_path, monkeypatch)


def work(door: Door, path: str, body: dict[str, object]) -> dict[str, object]:
    """A job from its start to its good end; what it was answered at the start."""
    begun: dict[str, object] = door.post(path, body)
    assert door.app.jobs.wait_idle(60)
    job = door.get("/api/dataset/job")["job"]
    assert job["status"] == "done", job["error"]
    return begun


def _state(status: os.stat_result) -> tuple[int, ...]:
    """All that a write, a link, a change of rights would change."""
    return status.st_ino, status.st_mode, status.st_nlink, status.st_mtime_ns, status.st_ctime_ns


def test_the_layer_refuses_what_is_open(held: HeldFiles, tmp_path: Path) -> None:
    """Only what is closed is removed, renamed, replaced; a rename replaces nothing; no folder of open files moves."""
    (folder := tmp_path / "a").mkdir()
    file, other = folder / "x", tmp_path / "y"
    with file.open("w"):
        for deed in (file.unlink, lambda: file.rename(other), lambda: folder.rename(other)):
            with pytest.raises(PermissionError):
                deed()
    other.touch()
    with pytest.raises(FileExistsError):
        file.rename(other)
    file.replace(other)
    assert (len(held.refused), list(folder.iterdir())) == (3, [])


def test_nothing_that_is_open_is_removed_or_renamed(held: HeldFiles, tmp_path: Path) -> None:
    """Editing, saving, sets as folder and ZIP, a report, a project file out and in, deleting, clearing, sweeping, and
    damaged databases set aside at a start: ends well, leaves nothing half made behind, never has to be refused. The
    source folder is only read."""
    source, out = source_folder(tmp_path / "in", 4), tmp_path / "out"
    before = {path: _state(path.stat()) for path in (source, *source.iterdir())}
    environ = {"CACHE_TTL_HOURS": "0", "CACHE_MAX_BYTES": "0"}
    with FakeUpstream() as fake:
        numbers = iter(range(300, 400))
        fake.answer_with(lambda _: inline(ApiMode.CHAT_COMPLETIONS, picture(next(numbers))))
        config = config_for(fake)
        with open_door(tmp_path / "data", **environ) as door:
            door.run(source, config)
            for _ in range(2):  # over what is there: nothing is replaced
                assert door.post("/api/tasks/save_all", {"output_dir": str(out), "create_txt": True})["saved_count"]
            allow = ["unrelated", "same_target", "blank", "aspect", "size"]
            for more in ({}, {"as_zip": True}):
                work(door, "/api/dataset/export", {"output_dir": str(tmp_path / "sets"), "allow": allow, **more})
            work(door, "/api/dataset/report", {"path": str(tmp_path / "report.html")})
            work(door, "/api/projects/export", {"path": str(tmp_path), "sources": True})
            (file,) = tmp_path.glob("*.ibcp")
            brought = str(work(door, "/api/projects/import", {"path": str(file)})["id"])
            door.post("/api/projects/open", {"id": brought})
            result = door.tasks()[0]["results"][0]
            assert {door.ask("GET", result[name]).status_code for name in ("image_url", "thumbnail_url")} == {200}
            door.delete(f"/api/projects/{brought}")
            door.post("/api/tasks/clear")
            door.app.sweep()
        assert not list((tmp_path / "data" / "cache").glob("??/*"))
        databases = sorted((tmp_path / "data").rglob("*.db"))
        for file in databases:
            file.write_bytes(b"no database " * 2000)
        with open_door(tmp_path / "data", **environ) as door:
            assert door.run(source, config)[0]["status"] == "done"
            work(door, "/api/dataset/preflight", {"allow": allow})
        kept = {file.name for file in databases if list(file.parent.glob(f"{file.name}.damaged-*"))}
        assert kept == {file.name for file in databases} - {"measures.db"}, "what can be made anew is not kept"
    assert {path: _state(path.stat()) for path in (source, *source.iterdir())} == before
    assert held.refused == []
    assert held.asked > 20
    assert [path for path in tmp_path.rglob("*") if is_temporary(path.name)] == []
