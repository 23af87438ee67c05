"""A disk that fills up while a set is written: nothing half-written stays, for real, on a small tmpfs."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config import ApiMode
from engine.dataset.export import SetPlan, export_set
from engine.dataset.layouts import Trainer
from engine.dataset.pairs import Pair
from engine.errors import Code, StorageFailed
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline
from tests.support.sets import pair


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """A dozen pairs, some hundred KiB each."""
    folder = tmp_path_factory.mktemp("pairs")
    return [pair(folder, number) for number in range(12)]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one mebibyte."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a small file system is mounted to be filled")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize(
    "plan", [SetPlan(), SetPlan(as_zip=True), SetPlan(trainer=Trainer.FAL)], ids=["folder", "zip", "fal"]
)
def test_full_disk_leaves_nothing(disk: Path, pairs: list[Pair], plan: SetPlan) -> None:
    """The failure says that the disk is full and where; the room is free again, and a smaller set then fits."""
    with pytest.raises(StorageFailed) as failed:
        export_set(pairs, plan, disk, overlays={})
    assert failed.value.code is Code.DISK_FULL
    assert str(disk) in str(failed.value.params["path"])
    assert list(disk.iterdir()) == []
    done = export_set(pairs[:1], plan, disk, overlays={})
    assert [path.name for path in disk.iterdir()] == [Path(done.path).name]


def test_report_on_a_full_disk(disk: Path, tmp_path: Path) -> None:
    """A report that does not fit is refused with the reason, leaves nothing, and is written once there is room."""
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        fake.answer(inline(ApiMode.IMAGES_EDITS, picture(9)))
        door.run(source_folder(tmp_path / "in", 3), config_for(fake, ApiMode.IMAGES_EDITS))
        ballast = disk / "ballast"
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

        def report() -> dict[str, Any]:
            door.post("/api/dataset/report", {"path": str(disk / "report.html")})
            assert door.app.jobs.wait_idle(60)
            return dict(door.get("/api/dataset/job")["job"])

        job = report()
        assert (job["status"], job["error"]["code"]) == ("failed", "disk_full")
        assert [path.name for path in disk.iterdir()] == ["ballast"]
        ballast.unlink()
        assert report()["status"] == "done"
        assert (disk / "report.html").read_text("utf-8").endswith("</html>\n")
