"""What real worker processes do: the same outcome as at home, paid once, stopped at once, no key in the scheduler; the
same numbers and the same bytes of pictures, whatever a worker sees, and also where one is lost."""

from __future__ import annotations

import asyncio
import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from distributed import LocalCluster
from distributed.comm.core import connect
from distributed.security import Security

from engine.cluster.address import ClusterOrder, check_order
from engine.cluster.coordinator import WorkerLost
from engine.cluster.desk import Desk, _Doing
from engine.cluster.messages import Errand, Told
from engine.cluster.pictures import ClusterPairMaker
from engine.cluster.services import ClusterServices as Cluster
from engine.cluster.worker import fingerprint
from engine.config import ApiConfig, ApiMode
from engine.dataset.export import SetPlan, export_set
from engine.dataset.measure import Measurer, can_register
from engine.dataset.measurement_cache import MeasurementCache
from engine.dataset.pair_files import PairMaker
from engine.dataset.pairs import ControlFile, Pair
from engine.dataset.preflight import Wanted, inspect
from engine.dataset.transform import PictureFormat, PictureRule, SizeRule
from engine.dataset.variants import Reverse, VariantRule
from engine.errors import ClusterFailed, Code, InvalidInput, Stopped
from engine.images.pixels import Alpha
from engine.images.thumbnails import make_thumbnail
from engine.tasks.arrivals import Begun
from engine.tasks.attempt import AttemptOrder, AttemptOutcome, Picture, Source
from engine.tasks.log import EditLog
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import until
from tests.support.pictures import picture
from tests.support.processes import run
from tests.support.replies import PATHS, inline
from tests.support.sets import pair

KEY = "sk-cluster-never-seen-5d1f"
EDITS = ApiMode.IMAGES_EDITS
ROOT = Path(__file__).resolve().parents[2]
PLAN = SetPlan(
    pictures=PictureRule(format=PictureFormat.WEBP, size=SizeRule.LONGEST, size_value=200),
    variants=VariantRule(reverse=Reverse.BOTH, no_op_share=0.2),
    masks=can_register(),
)


class Waiting:
    """Whoever waits for an attempt."""

    def __init__(self) -> None:
        self.cancel = CancelToken()
        self.log = EditLog(KEY)
        self.pictures: list[Picture] = []

    def began(self) -> None:
        """Nothing to do."""

    def answered(self) -> None:
        """Nothing to do."""

    def keep(self, picture: Picture) -> str:
        """Remember it."""
        self.pictures.append(picture)
        return hashlib.sha256(picture.data).hexdigest()


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeUpstream]:
    """A paid API."""
    with FakeUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two worker processes here."""
    order = ClusterOrder("local:2", outbox=str(tmp_path_factory.mktemp("outbox")))
    with Cluster(order, NetPolicy(), max_redirects=3) as opened:
        yield opened


@pytest.fixture
def order(fake: FakeUpstream, tmp_path: Path) -> AttemptOrder:
    """One picture to be edited."""
    data = picture(4)
    file = tmp_path / "a.png"
    file.write_bytes(data)
    config = ApiConfig(
        api_url=fake.url(PATHS[EDITS]),
        api_key=KEY,
        user_prompt="evening",
        unlock_local_api_url=True,
        timeout_seconds=60,
    )
    return AttemptOrder((Source(str(file), "a.png", "image/png", hashlib.sha256(data).hexdigest()),), config)


def at_once(count: int, make: Callable[[], AttemptOutcome]) -> list[AttemptOutcome]:
    """So many attempts from as many threads."""
    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(make) for _ in range(count)]]


def test_an_attempt_comes_home_with_its_pictures(cluster: Cluster, fake: FakeUpstream, order: AttemptOrder) -> None:
    """With the key that the scheduler never had; the answer leaves the worker's disk once it is kept here."""
    fake.answer(inline(EDITS, picture(1), picture(2)))
    seen: list[bytes] = []
    scheduler = cluster._client.cluster.scheduler  # type: ignore[union-attr]
    handle = scheduler.update_graph

    async def noting(*arguments: object, **named: object) -> object:
        seen.append(pickle.dumps([repr(arguments), repr(named)]))
        seen.append(b"".join(bytes(frame) for value in named.values() for frame in getattr(value, "frames", [])))
        return await handle(*arguments, **named)

    scheduler.stream_handlers["update-graph"] = noting
    waiting = Waiting()
    outcome = cluster.attempts("me").make(order, waiting)
    assert outcome.failure is None, waiting.log.entries
    assert [one.data for one in waiting.pictures] == [picture(1), picture(2)]
    assert fake.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    assert any(entry.kind == "request" for entry in waiting.log.entries)
    assert not [entry for entry in waiting.log.entries if KEY in str(entry)]
    assert seen
    assert not [graph for graph in seen if KEY.encode() in graph]
    until(lambda: not list(cluster.attempts("me").left()))
    told = cluster.info()
    assert (told.workers, told.in_flight, told.lost_workers) == (2, 0, 0)


def test_nobody_else_on_this_computer_gets_in(cluster: Cluster) -> None:
    """Each port of scheduler and workers, which run what they are sent, takes the certificate of this cluster alone."""
    scheduler = cluster._client.scheduler
    assert scheduler is not None
    others = {"plain": None, "another one's": Security.temporary()}

    async def knock(address: str, security: Security | None) -> None:
        arguments = security.get_connection_args("client") if security is not None else {}
        where = address if security is not None else address.replace("tls://", "tcp://")
        comm = await connect(where, timeout=5, **arguments)
        await comm.write({"op": "identity", "reply": True})
        await comm.read()

    with ThreadPoolExecutor(1) as apart:  # Playwright may have a loop that runs in this thread
        for address in (str(scheduler.address), *cluster.workers):
            assert address.startswith("tls://127.0.0.1:")
            for security in others.values():
                with pytest.raises(OSError):  # noqa: PT011 - whatever a refused handshake ends in
                    apart.submit(asyncio.run, knock(address, security)).result()


def test_an_answer_that_goes_with_its_worker_is_lost(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask may hear of a worker's end before us and cancel what it gathers: another worker is asked, no task fails."""

    async def gone() -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr(cluster._client, "gather", lambda *_, **__: gone())
    with pytest.raises(WorkerLost):
        cluster.run_at(cluster.workers[0], abs, -1, "run", CancelToken())


def test_sources_that_a_worker_does_not_see_go_along(
    cluster: Cluster, fake: FakeUpstream, order: AttemptOrder, tmp_path: Path
) -> None:
    """A file that is another one there is not sent in its place."""
    fake.answer(inline(EDITS, picture(1)))
    source = order.sources[0]
    data = Path(source.path).read_bytes()
    Path(source.path).write_bytes(b"something else")
    away = AttemptOrder((Source(source.path, source.name, source.mime, source.hash, data),), order.config)
    waiting = Waiting()
    assert cluster.attempts("me").make(away, waiting).failure is None
    assert len(waiting.pictures) == 1


def test_another_process_at_the_same_address_refuses_an_errand(
    cluster: Cluster, fake: FakeUpstream, order: AttemptOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked by it, the log says that the first one is lost, and the attempt is made anew."""
    fake.answer(inline(EDITS, picture(1)))
    before, teach, taught = len(fake.requests), Cluster.teach, list[str]()

    def teach_another(self: Cluster, *arguments: object) -> str:
        taught.append(teach(self, *arguments))  # type: ignore[arg-type]
        return taught[-1] if len(taught) > 1 else "of a process that is no more"

    monkeypatch.setattr(Cluster, "teach", teach_another)
    waiting = Waiting()
    assert cluster.attempts("me").make(order, waiting).failure is None
    assert len(waiting.pictures) == len(fake.requests) - before == 1
    assert [entry.data["code"] for entry in waiting.log.entries if entry.kind == "retry"] == [Code.WORKER_LOST]
    until(lambda: cluster.info().workers == 2)


def test_stop_closes_every_call_on_every_worker(cluster: Cluster, fake: FakeUpstream, order: AttemptOrder) -> None:
    """While the API keeps them waiting; nobody waits for the answer."""
    fake.answer(inline(EDITS, picture(1), delay=30))
    waiting = Waiting()
    before = len(fake.requests)

    def stop() -> None:
        fake.wait_for_requests(before + 8, 30)
        waiting.cancel.cancel()

    stopping = threading.Thread(target=stop)
    stopping.start()
    outcomes = at_once(8, lambda: cluster.attempts("me").make(order, waiting))
    stopping.join()
    assert [outcome.failure and outcome.failure.problem.code for outcome in outcomes] == [Code.STOPPED_BY_USER] * 8
    assert fake.wait_for_no_connections(10)
    assert cluster.info().in_flight == 0


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    """One of them with a source whose hash nobody knows."""
    folder = tmp_path_factory.mktemp("pairs")
    made = [pair(folder, number, target_kind=("png", "jpg")[number % 2], references=1) for number in range(4)]
    made[1] = msgspec.structs.replace(made[1], controls=tuple(ControlFile(one.path) for one in made[1].controls))
    return made


def written(pairs: list[Pair], folder: Path, maker: PairMaker, plan: SetPlan = PLAN) -> dict[str, bytes]:
    """All files of a set by their places."""
    folder.mkdir()
    root = Path(export_set(pairs, plan, folder, overlays={}, maker=maker).path)
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def test_a_set_is_the_same_whoever_makes_its_pictures(
    cluster: Cluster, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every byte of every file, by workers that see the files and by such that do not; none of it is made at home."""
    at_home = written(pairs, tmp_path / "home", PairMaker())
    monkeypatch.setattr(PairMaker, "make", lambda *_: pytest.fail("made at home"))
    assert written(pairs, tmp_path / "seen", cluster.pair_maker()) == at_home
    blind = cluster.pair_maker()
    blind._blind.update(cluster.workers)
    assert written(pairs, tmp_path / "sent", blind) == at_home
    assert len(at_home) > 4 * len(pairs)


def test_what_workers_bring_no_set_from_is_told_as_at_home(cluster: Cluster, pairs: list[Pair], tmp_path: Path) -> None:
    """A source that was changed since it was sent; a stop. Nothing is left of the set."""
    changed = msgspec.structs.replace(pairs[0], controls=(ControlFile(pairs[0].control.path, "0" * 64),))
    with pytest.raises(InvalidInput) as caught:
        written([pairs[2], changed], tmp_path / "changed", cluster.pair_maker())
    assert caught.value.code is Code.SOURCE_CHANGED
    stopped = CancelToken()
    with pytest.raises(Stopped):
        export_set(pairs, PLAN, tmp_path / "changed", overlays={}, maker=cluster.pair_maker(), cancel=stopped,
                   progress=lambda _: stopped.cancel())  # fmt: skip
    assert not list((tmp_path / "changed").iterdir())


def test_measurements_and_small_pictures_are_the_same(
    cluster: Cluster, pairs: list[Pair], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By workers, also with what they have seen otherwise than it is here, which is measured here."""

    def numbers(name: str, measurer: type[Measurer] | None) -> object:
        cache = MeasurementCache(tmp_path / name)
        made = cluster.measurer(cache, Alpha.WHITE) if measurer is None else measurer(cache)
        try:
            return inspect(pairs, Wanted(), made, registered=can_register()).numbers
        finally:
            cache.close()

    at_home = numbers("home", Measurer)
    monkeypatch.setattr("engine.dataset.measure.change_between", lambda *_: pytest.fail("measured at home"))
    assert numbers("workers", None) == at_home
    files = {one.target.path: one.target.hash for one in pairs} | {pairs[0].control.path: "0" * 64}
    made = cluster.small_pictures(files, 100, CancelToken())
    assert made == {one.target.path: make_thumbnail(Path(one.target.path), 100) for one in pairs}
    monkeypatch.setattr("engine.cluster.measuring._is_here", lambda _: False)  # copies with times of their own
    assert numbers("copies", None) == at_home


def test_a_worker_that_dies_costs_a_set_nothing(cluster: Cluster, pairs: list[Pair], tmp_path: Path) -> None:
    """kill -9 of both while they make pictures: what they do not bring is made at home."""
    plan = SetPlan(pictures=PictureRule(format=PictureFormat.PNG, size=SizeRule.LONGEST, size_value=100))
    many = [msgspec.structs.replace(one, id=f"{one.id}-{n}") for n in range(4) for one in pairs]
    at_home = written(many, tmp_path / "home", PairMaker(), plan)
    workers = cluster.on_each(os.getpid).values()

    def kill() -> None:
        until(lambda: cluster.info().in_flight > 0)
        for one in workers:
            os.kill(one, signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    maker = cluster.pair_maker()
    assert isinstance(maker, ClusterPairMaker)
    assert written(many, tmp_path / "killed", maker, plan) == at_home
    killing.join()


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("local:0", Code.CLUSTER_ADDRESS),
        ("local:x", Code.CLUSTER_ADDRESS),
        ("http://h:1", Code.CLUSTER_ADDRESS),
        ("tcp://10.0.0.1:8786", Code.CLUSTER_INSECURE),
        ("tls://h:8786", Code.CLUSTER_TLS),
        ("tcp://127.0.0.1:9", Code.CLUSTER_GONE),
    ],
)
def test_clusters_that_cannot_be_used_are_refused_with_the_reason(
    address: str, code: Code, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is asked."""
    monkeypatch.setattr("engine.cluster.coordinator._CONNECT_SECONDS", 0.5)
    with pytest.raises(ClusterFailed) as caught:
        Cluster(ClusterOrder(address), NetPolicy(), max_redirects=3)
    assert caught.value.code is code
    assert check_order(ClusterOrder("tcp://10.0.0.1:8786", insecure=True)) == 0


def test_a_scheduler_that_repeats_by_itself_is_refused() -> None:
    """A lost worker's tasks would be paid up to four times, without a word."""
    alone = {"n_workers": 1, "processes": False, "protocol": "tcp://", "dashboard_address": ":0"}
    with LocalCluster(**alone) as theirs:
        with pytest.raises(ClusterFailed) as caught:
            Cluster(ClusterOrder(theirs.scheduler_address), NetPolicy(), max_redirects=3)
        assert (caught.value.code, caught.value.params["allowed"]) == (Code.CLUSTER_REPEATS, 3)


def test_other_code_has_another_fingerprint(tmp_path: Path) -> None:
    """Wherever it lies and whatever ends its lines, the same code is known by it; a line more is other code."""
    mine = ROOT / "engine" / "cluster"
    other = tmp_path / "other"
    shutil.copytree(mine, other, ignore=shutil.ignore_patterns("__pycache__"))
    changed = other / "messages.py"
    changed.write_bytes(changed.read_bytes().replace(b"\n", b"\r\n"))
    assert fingerprint(other) == fingerprint(mine)
    changed.write_bytes(changed.read_bytes() + b"MORE = 1\r\n")
    assert fingerprint(other) != fingerprint(mine)


def test_a_run_by_two_worker_processes(tmp_path: Path) -> None:
    """From the command line: all pictures come; without the flag nothing of Dask is loaded."""
    done = run(tmp_path / "data", "run", "--demo", "-o", str(tmp_path / "out"), "--cluster", "local:2")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 12
    code = "import sys, launcher, bridge.app; sys.exit('distributed' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_a_call_that_ends_while_its_worker_is_asked_is_not_lost(
    order: AttemptOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither an answer that lies there nor under way any more, it would be paid for again."""
    desk, outbox = Desk(1), tmp_path / "outbox"
    desk.admit("session", Told(NetPolicy(), 3, str(outbox)))
    begun = Begun("t1", "0" * 64, 1, "{}")
    errand = Errand(order, "", "token", "run", "session", "me", begun)
    doing = desk._doing["token"] = _Doing(errand, CancelToken())
    (outbox / "another.answer").write_bytes(b"")

    def read_and_end(file: Path) -> None:
        doing.done.set()

    monkeypatch.setattr("engine.cluster.desk.read_kept", read_and_end)
    assert [kept.begun for kept in desk.left("session", "me")] == [begun]
