"""Machines that die, programs that die, a scheduler that goes away: no task lost, none paid twice without saying so.

``KILLS=100 TASKS=500`` for the full count; the numbers go to the report.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bridge.app import App
from engine.config import ApiMode
from engine.errors import ClusterFailed, Code
from engine.models import TaskStatus
from engine.tasks.store import NewTask
from tests.bench.gateway import Picture as LargePicture
from tests.fakes.upstream import FakeUpstream
from tests.support.cluster import AT_ONCE, EDITS, KEY, Machines, answering, machines, opened, pictures_in, settings
from tests.support.doors import until
from tests.support.kills import kills_wanted
from tests.support.pictures import picture
from tests.support.processes import Served, environment, serving
from tests.support.replies import PATHS, inline

ROOT = Path(__file__).resolve().parents[2]
FULL = os.environ.get("FULL") == "1"
TASKS = int(os.environ.get("TASKS", "24"))
WORKERS = 2


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """A scheduler and two workers, as a person starts them."""
    with machines(tmp_path_factory.mktemp("machines"), WORKERS) as made:
        yield made


def has_ended(served: Served) -> bool:
    """Whether its run is over."""
    return not served.state()["running"]


def is_paused(app: App) -> bool:
    """Whether the run says that the cluster is gone."""
    paused = app.batch.info().paused
    return paused is not None and paused.code is Code.CLUSTER_GONE


def has_lost(app: App) -> bool:
    """Whether a worker is known to be away; also where nobody looks any more."""
    assert app.cluster is not None
    return app.cluster.info().workers < WORKERS or not app.batch.running


def has_all(app: App) -> bool:
    """Whether all workers are there again; also where nobody waits for them."""
    assert app.cluster is not None
    return app.cluster.info().workers == WORKERS or not app.batch.running


def interrupted(process: subprocess.Popen[Any], again: bool) -> float:
    """Seconds until a program has ended after Ctrl-C."""
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    if again:
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
    process.wait(60)
    return time.monotonic() - begun


@pytest.mark.timeout(2 * 3600)
def test_workers_that_die_cost_no_task(
    cluster: Machines, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """kill -9 of a worker at random moments of a run: every task is done, and what was called more than once was under
    way at a dead worker, and its log says so."""
    kills, calls, said, done, chance = 0, 0, 0, 0, random.Random(7)
    wanted = kills_wanted(1)
    with FakeUpstream() as fake, opened(tmp_path / "data", cluster) as app:
        fake.answer_with(answering(0.6))
        source = sorted(pictures_in(tmp_path / "in", TASKS).iterdir())
        while kills < wanted:
            ids = app.store.add([NewTask(str(one), one.name, f"{one.name} {kills}") for one in source])
            app.batch.start(ids, settings(fake))
            fake.wait_for_requests(calls + AT_ONCE // 2, 60)
            while kills < wanted and app.batch.running:
                time.sleep(chance.uniform(0, 0.3))
                kills += cluster.kill_worker_process(chance)
                until(partial(has_lost, app), 30)
                until(partial(has_all, app), 120)
            assert app.batch.wait_idle(600), "stuck"
            calls, done = len(fake.api_requests), done + len(ids)
            said += sum(entry.data.get("what") == "worker" for task in ids for entry in app.store.debug_log(task))
        counts = app.store.counts()
    figures = {"kills": kills, "tasks": done, "calls": calls, "asked again, and said": said}
    print(figures)
    for name, figure in figures.items():
        record_testsuite_property(f"cluster: {name}", figure)
    assert counts[TaskStatus.DONE] == done
    assert calls - done <= said <= AT_ONCE * kills
    assert KEY.encode() not in cluster.said()


@pytest.mark.timeout(2 * 3600)
def test_a_program_that_dies_pays_nothing_twice(cluster: Machines, tmp_path: Path) -> None:
    """kill -9 of the program with calls under way at workers: the next start takes in what came meanwhile, and waits
    for what is under way still."""
    kills, taken_in = 0, 0
    wanted = max(1, kills_wanted(1) // 2)
    with FakeUpstream() as fake:
        round_number = 0
        while kills < wanted:
            round_number += 1
            data, count = tmp_path / f"data{round_number}", AT_ONCE
            source = pictures_in(tmp_path / f"in{round_number}", count)
            fake.answer_with(answering(2.0))
            before = len(fake.api_requests)
            with serving(data, CLUSTER=cluster.address) as served:
                config = {"api_url": fake.url(PATHS[EDITS]), "api_key": KEY, "user_prompt": f"dusk {round_number}",
                          "unlock_local_api_url": True, "concurrency_limit": AT_ONCE}  # fmt: skip
                order = {"input_path": str(source), "config": config}
                assert served.client.post("/api/tasks/start", json=order).json()["task_count"] == count
                fake.wait_for_requests(before + count, 60)
                time.sleep(random.Random(round_number).uniform(0, 1.5))  # some answers lie there, others do not yet
                served.process.kill()
                served.process.wait()
                kills += 1
            with serving(data, CLUSTER=cluster.address) as served:
                notices = {one["code"]: one["params"] for one in served.state()["notices"]}
                taken_in += int(notices.get("answers_taken_in", {"count": 0})["count"])
                served.client.post("/api/tasks/resume", json={})
                until(partial(has_ended, served), 60)
                assert served.state()["progress"]["done"] == count
            assert len(fake.api_requests) - before == count
    print({"kills of the program": kills, "answers taken in": taken_in, "paid twice": 0})
    assert KEY.encode() not in cluster.said()


if FULL:  # scripts/full_counts.sh cluster

    @pytest.mark.timeout(600)
    def test_a_run_waits_while_the_scheduler_is_away(tmp_path: Path) -> None:
        """It says why, loses nothing and pays nothing twice, and goes on by itself; so with two programs at once."""
        with FakeUpstream() as fake, machines(tmp_path / "machines", 1) as cluster:
            fake.answer_with(answering(1.5))
            source = pictures_in(tmp_path / "in", 2 * TASKS)
            files = sorted(source.iterdir())
            with opened(tmp_path / "one", cluster) as one, opened(tmp_path / "other", cluster) as other:
                halves = [(one, files[:TASKS]), (other, files[TASKS:])]
                for app, mine in halves:
                    app.batch.start(app.store.add([NewTask(str(f), f.name, f.name) for f in mine]), settings(fake))
                fake.wait_for_requests(AT_ONCE, 60)
                cluster.kill(cluster.scheduler)
                until(partial(is_paused, one), 30)
                cluster.start_scheduler()
                cluster.start_workers(1)
                for app, mine in halves:
                    assert app.batch.wait_idle(120), "stuck"
                    assert app.store.counts()[TaskStatus.DONE] == len(mine)
                    assert app.batch.info().paused is None
            assert len(fake.api_requests) == 2 * TASKS

    def test_a_worker_that_comes_back_at_its_port_repeats_nothing(tmp_path: Path) -> None:
        """kill -9 of a worker with a fixed port and calls under way, and another one there at once: each task is done,
        each call beyond one a task was under way at the dead one, and is told in the log."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        with FakeUpstream() as fake, machines(tmp_path / "machines", 0) as cluster:
            fixed = ("--no-nanny", "--worker-port", port)
            cluster.start_workers(1, *fixed)
            with opened(tmp_path / "data", cluster) as app:
                fake.answer_with(answering(1.5))
                files = sorted(pictures_in(tmp_path / "in", AT_ONCE).iterdir())
                ids = app.store.add([NewTask(str(f), f.name, f.name) for f in files])
                app.batch.start(ids, settings(fake))
                for round_number in range(1, 4):
                    before = len(fake.api_requests)
                    fake.wait_for_requests(before + 1, 10)
                    cluster.kill(cluster.workers.pop())
                    cluster.start_workers(1, *fixed)
                    fake.wait_for_requests(before + 2 + round_number, 30)
                assert app.batch.wait_idle(120), "stuck"
                calls, done = len(fake.api_requests), app.store.counts()[TaskStatus.DONE]
                said = sum(one.data.get("what") == "worker" for task in ids for one in app.store.debug_log(task))
        print({"tasks": len(ids), "done": done, "calls": calls, "asked again, and said": said})
        assert done == len(ids)
        assert calls - done <= said

    def test_a_scheduler_without_workers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the reason, when none has come in time."""
        monkeypatch.setattr("engine.cluster.coordinator._WORKERS_SECONDS", 1.0)
        with machines(tmp_path / "machines", 0) as cluster, pytest.raises(ClusterFailed) as caught:  # noqa: SIM117 - the cluster ends last
            with opened(tmp_path / "data", cluster):
                pass
        assert caught.value.code is Code.CLUSTER_EMPTY

    def test_machines_with_other_code_are_refused(tmp_path: Path) -> None:
        """With the same version, but a line more in one file."""
        shutil.copytree(ROOT / "engine", tmp_path / "other" / "engine")
        with (tmp_path / "other" / "engine" / "formats.py").open("a") as file:
            file.write("MORE = 1\n")
        with machines(tmp_path / "machines", 1, PYTHONPATH=str(tmp_path / "other")) as cluster:  # noqa: SIM117 - the cluster ends last
            with pytest.raises(ClusterFailed) as caught, opened(tmp_path / "data", cluster):
                pass
        assert caught.value.code is Code.CLUSTER_DIFFERS

    def test_a_worker_with_other_code_that_comes_later_is_refused(tmp_path: Path) -> None:
        """It is asked for nothing, the person is told, and the run goes on with the others; once it is alone, the run
        says why it waits."""
        shutil.copytree(ROOT / "engine", tmp_path / "other" / "engine")
        with (tmp_path / "other" / "engine" / "formats.py").open("a") as file:
            file.write("MORE = 1\n")
        with (
            FakeUpstream() as fake,
            machines(tmp_path / "machines", 1) as cluster,
            opened(tmp_path / "data", cluster) as app,
        ):
            fake.answer_with(answering(0.2))
            first = cluster.workers[0]
            cluster.start_workers(1, environ={"PYTHONPATH": str(tmp_path / "other")})
            until(lambda: [one.code for one in app.notices] == [Code.CLUSTER_DIFFERS], 60)
            assert app.cluster is not None
            assert app.cluster.info().workers == 1
            files = sorted(pictures_in(tmp_path / "in", AT_ONCE).iterdir())
            app.batch.start(app.store.add([NewTask(str(f), f.name, f.name) for f in files]), settings(fake))
            assert app.batch.wait_idle(60), "stuck"
            assert app.store.counts()[TaskStatus.DONE] == AT_ONCE
            cluster.kill(first)
            until(lambda: app.cluster is not None and app.cluster.info().workers == 0, 30)
            assert app.cluster.problem is not None
            assert app.cluster.problem.code is Code.CLUSTER_DIFFERS

    def test_results_of_twenty_megabytes_come_home(tmp_path: Path, cluster: Machines) -> None:
        """Whole, eight of them at once."""
        large = LargePicture(20_000_000, 1).numbered(7)
        with FakeUpstream() as fake, opened(tmp_path / "data", cluster) as app:
            fake.answer(inline(EDITS, large))
            files = sorted(pictures_in(tmp_path / "in", 8).iterdir())
            ids = app.store.add([NewTask(str(f), f.name, f.name) for f in files])
            app.batch.start(ids, settings(fake))
            assert app.batch.wait_idle(120), "stuck"
            assert app.store.counts()[TaskStatus.DONE] == len(ids)
            assert len(fake.api_requests) == len(ids)

    @pytest.mark.parametrize("again", [False, True])
    def test_ctrl_c_ends_what_waits_for_a_scheduler(tmp_path: Path, again: bool) -> None:
        """One that never answers, while the program connects; and one that was lost in a run. Once, and twice."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            command = [sys.executable, str(ROOT / "launcher.py"), "run", "--demo", "-o", str(tmp_path / "out")]
            address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
            process = subprocess.Popen([*command, "--cluster", address], env=environment(tmp_path / "first"))
            silent.accept()
            took = [interrupted(process, again)]
        with FakeUpstream() as fake, machines(tmp_path / "machines", 1) as cluster:
            fake.answer(inline(EDITS, picture(1), delay=60))
            config = {"api_url": fake.url(PATHS[EDITS]), "api_key": KEY, "user_prompt": "dusk",
                      "unlock_local_api_url": True}  # fmt: skip
            order = {"input_path": str(pictures_in(tmp_path / "in", 4)), "config": config}
            with serving(tmp_path / "data", CLUSTER=cluster.address) as served:
                served.client.post("/api/tasks/start", json=order)
                fake.wait_for_requests(1, 60)
                cluster.kill(cluster.scheduler)
                until(
                    lambda: ((served.state().get("run") or {}).get("paused") or {}).get("code") == Code.CLUSTER_GONE, 60
                )
                took.append(interrupted(served.process, again))
        print({"seconds after Ctrl-C, connecting and lost": [round(one, 2) for one in took], "twice": again})
        assert max(took) <= 2

    def test_stop_ends_all_calls(cluster: Machines, tmp_path: Path) -> None:
        """With all of them under way: answered at once, and every socket of every worker is closed."""
        count = 128
        with FakeUpstream() as fake, opened(tmp_path / "data", cluster) as app:
            fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(1), delay=60))
            source = pictures_in(tmp_path / "in", count + 1)
            url = fake.url(PATHS[ApiMode.CHAT_COMPLETIONS])  # where no form is to be found out first
            app.batch.start(
                app.store.add([NewTask(str(f), f.name, f.name) for f in sorted(source.iterdir())]),
                msgspec.structs.replace(settings(fake), api_url=url, concurrency_limit=count),
            )
            assert fake.wait_for_requests(count, 60)
            begun = time.monotonic()
            app.batch.stop()
            answered = time.monotonic() - begun
            assert fake.wait_for_no_connections(30)
            closed = time.monotonic() - begun
            assert app.batch.wait_idle(30)
        print({"stop answered after s": round(answered, 3), "sockets closed after s": round(closed, 2), "calls": count})
        assert answered <= 0.2
        assert closed <= 2.0
