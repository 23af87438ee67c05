"""Machines of a cluster that are not as ours: a full disk, other folders, other files, another time. Each is a process
with its own mounts, which takes root; with ``FULL=1``, for the slowness of its start."""

from __future__ import annotations

import base64
import os
import subprocess
import time
from collections.abc import Iterator
from email.utils import formatdate
from functools import partial
from pathlib import Path

import pytest

from bridge.app import App
from engine.dataset.export import SetPlan, export_set
from engine.dataset.measure import Measurer, can_register
from engine.dataset.measurement_cache import MeasurementCache
from engine.dataset.pair_files import PairMaker
from engine.dataset.pairs import Pair
from engine.dataset.preflight import Wanted, inspect
from engine.dataset.transform import PictureFormat, PictureRule
from engine.errors import ClusterFailed, Code
from engine.images.pixels import Alpha
from engine.models import TaskMatch, TaskStatus
from engine.tasks.store import NewTask
from tests.bench.gateway import Picture as LargePicture
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.cluster import AT_ONCE, EDITS, answering, machines, opened, pictures_in, settings
from tests.support.doors import until
from tests.support.pictures import picture
from tests.support.replies import inline
from tests.support.sets import pair

FULL = os.environ.get("FULL") == "1"
DAY = 86_400
# A file system of its own in the place of a folder; another folder in its place.
EMPTY = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"')
ANOTHER = ("unshare", "-m", "sh", "-c", 'mount --bind "$0" "$1" && shift && exec "$@"')


def has_no_mounts() -> bool:
    """Whether a process cannot have mounts of its own here."""
    try:
        return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0
    except OSError:
        return True


if FULL:  # scripts/full_counts.sh cluster
    pytestmark = pytest.mark.skipif(has_no_mounts(), reason="needs root on Linux: mounts of a process's own")

    @pytest.fixture
    def full_disk(tmp_path: Path) -> Iterator[Path]:
        """A small file system with nothing free."""
        place = tmp_path / "full"
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], check=True)
        with (place / "filled").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        yield place
        subprocess.run(["umount", "-l", str(place)], check=True)

    def add(app: App, folder: Path, count: int) -> list[str]:
        """So many tasks."""
        files = sorted(pictures_in(folder, count).iterdir())
        return app.store.add([NewTask(str(file), file.name, file.name) for file in files])

    def is_told(app: App, code: Code) -> bool:
        """Whether this is among what came up."""
        return code in [notice.code for notice in app.notices]

    @pytest.mark.parametrize("folder", ["", "filled"])
    def test_a_full_disk_of_a_worker_costs_no_answer(tmp_path: Path, full_disk: Path, folder: str) -> None:
        """Results of a megabyte come home for one call each; also where the worker cannot even make its folder, because
        a file stands there."""
        large = LargePicture(1_000_000, 1).numbered(7)
        state = {"XDG_STATE_HOME": str(full_disk / folder), "TMPDIR": str(tmp_path)}
        with FakeUpstream() as fake, machines(tmp_path / "machines", 0) as cluster:
            cluster.start_workers(1, environ=state)
            with opened(tmp_path / "data", cluster) as app:
                fake.answer(inline(EDITS, large))
                app.batch.start(add(app, tmp_path / "in", AT_ONCE), settings(fake))
                assert app.batch.wait_idle(60), "stuck"
                assert app.store.counts()[TaskStatus.DONE] == AT_ONCE == len(fake.api_requests)

    def test_workers_that_do_not_see_the_shared_folder_are_refused(tmp_path: Path) -> None:
        """At the start, and later, when the others go on."""
        shared = tmp_path / "shared"
        shared.mkdir()
        elsewhere = (*EMPTY, str(shared))
        with FakeUpstream() as fake, machines(tmp_path / "machines", 0) as cluster:
            cluster.start_workers(1, before=elsewhere)
            with pytest.raises(ClusterFailed) as caught, opened(tmp_path / "data", cluster, CLUSTER_SHARED=str(shared)):
                pass
            assert caught.value.code is Code.CLUSTER_NOT_SHARED
            cluster.kill(cluster.workers.pop())
            cluster.start_workers(1)
            with opened(tmp_path / "data", cluster, CLUSTER_SHARED=str(shared)) as app:
                cluster.start_workers(1, before=elsewhere)
                until(partial(is_told, app, Code.CLUSTER_NOT_SHARED), 60)
                fake.answer_with(answering(0.1))
                app.batch.start(add(app, tmp_path / "in", AT_ONCE), settings(fake))
                assert app.batch.wait_idle(60), "stuck"
                assert app.store.counts()[TaskStatus.DONE] == AT_ONCE == len(fake.api_requests)
                assert app.cluster is not None
                assert app.cluster.info().workers == 1

    def test_a_worker_that_sees_other_files_changes_nothing(tmp_path: Path) -> None:
        """Under the same paths: the API gets our source; measurements and sets come out as at home."""
        pairs = [pair(tmp_path / "ours", number) for number in range(4)]
        for number in range(4):
            pair(tmp_path / "theirs", number + 100)
        for file in sorted((tmp_path / "theirs").rglob("*.*")):
            file.rename(file.with_name(f"{int(file.name[:3]) - 100:03}{file.name[3:]}"))
        with FakeUpstream() as fake, machines(tmp_path / "machines", 0) as cluster:
            cluster.start_workers(1, before=(*ANOTHER, str(tmp_path / "theirs"), str(tmp_path / "ours")))
            with opened(tmp_path / "data", cluster) as app:
                fake.answer_with(answering(0))
                tasks = [NewTask(one.control.path, one.name, one.name) for one in pairs]
                app.batch.start(app.store.add(tasks), settings(fake))
                assert app.batch.wait_idle(60), "stuck"
                bodies = b"".join(request.body for request in fake.api_requests)
                assert len(fake.api_requests) == len(pairs)
                assert all(base64.b64encode(Path(one.control.path).read_bytes()) in bodies for one in pairs)
                assert app.cluster is not None
                measurers = [Measurer, partial(app.cluster.measurer, alpha=Alpha.WHITE)]
                assert _numbers(pairs, measurers[0], tmp_path / "a") == _numbers(pairs, measurers[1], tmp_path / "b")
                at_home = _written(pairs, tmp_path / "home", PairMaker())
                assert _written(pairs, tmp_path / "cluster", app.cluster.pair_maker()) == at_home

    @pytest.mark.parametrize("ahead", [DAY, -DAY])
    def test_a_worker_whose_clock_is_off_knows_our_time(tmp_path: Path, ahead: int) -> None:
        """A day before or behind: an API that says until when to wait is waited for that long, results bear our time,
        and the scheduler keeps the worker."""
        (tmp_path / "clock").mkdir()
        (tmp_path / "clock" / "sitecustomize.py").write_text(
            f"import time\nreal = time.time\ntime.time = lambda: real() + {ahead}\n"
        )
        seen: list[float] = []

        def answer(_: Received) -> Script:
            seen.append(time.time())
            if len(seen) == 1:
                at = formatdate(time.time() + 3, usegmt=True)
                return Script.error(429, "slow down", headers={"Retry-After": at})
            return inline(EDITS, picture(len(seen), size=(8, 8)))

        root = str(Path(__file__).resolve().parents[2])
        with FakeUpstream() as fake, machines(tmp_path / "machines", 0) as cluster:
            cluster.start_workers(1, environ={"PYTHONPATH": os.pathsep.join([str(tmp_path / "clock"), root])})
            with opened(tmp_path / "data", cluster) as app:
                fake.answer_with(answer)
                ids = add(app, tmp_path / "in", 3)
                app.batch.start(ids, settings(fake))
                assert app.batch.wait_idle(60), "stuck"
                tasks = app.store.tasks(TaskMatch(ids=tuple(ids)))
                made = [result.created_at for task in tasks for result in task.results]
                assert app.cluster is not None
                assert app.cluster.info().lost_workers == 0
        assert len(made) == 3
        assert all(seen[0] - 2 <= at <= time.time() + 2 for at in made)
        assert len(seen) == 4
        assert 1.5 <= seen[-1] - seen[0] <= 10

    def _numbers(pairs: list[Pair], make: object, file: Path) -> object:
        cache = MeasurementCache(file)
        try:
            return inspect(pairs, Wanted(), make(cache), registered=can_register()).numbers  # type: ignore[operator]
        finally:
            cache.close()

    def _written(pairs: list[Pair], folder: Path, maker: PairMaker) -> dict[str, bytes]:
        folder.mkdir()
        plan = SetPlan(pictures=PictureRule(format=PictureFormat.WEBP))
        root = Path(export_set(pairs, plan, folder, overlays={}, maker=maker).path)
        return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}
