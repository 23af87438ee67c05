"""A disk that fills up while a set is written: nothing half-written stays, for real, on a small tmpfs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.dataset.export import SetPlan, export_set
from engine.dataset.layouts import Trainer
from engine.dataset.pairs import Pair
from engine.errors import Code, StorageFailed
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
