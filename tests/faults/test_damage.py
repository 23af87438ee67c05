"""Whatever happens to a file of the data folder, the program starts, keeps what was there, and says what happened.

``MUTATIONS=1000`` for the full count.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bridge.app import App
from bridge.environment import read_environment
from bridge.open_app import version
from bridge.usecases.common import Context, ResultId, TaskId
from bridge.usecases.pictures import open_to_show, result_image
from bridge.usecases.state import StateParams, get_state
from bridge.usecases.tasks import get_task_debug, toggle_result
from engine.config import ApiMode
from engine.errors import Code, NotFound
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import MESSAGES, config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.processes import serving
from tests.support.replies import inline

MUTATIONS = int(os.environ.get("MUTATIONS", "72"))
TASKS = 12
SETTINGS = read_environment({"CACHE_TTL_HOURS": "0", "CACHE_MAX_BYTES": "0"})
"""A sweep that removes whatever it may."""

Mutation = Callable[[Path, random.Random], None]


class Base(NamedTuple):
    """A data folder as a killed program leaves it, and what a person saw in it."""

    folder: Path
    seen: Any
    pictures: dict[str, bytes]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """Twelve tasks done, two presets, a save rule; copied while the program runs, with all its logs."""
    place = tmp_path_factory.mktemp("damage")
    with FakeUpstream() as fake, open_door(place / "data") as door:
        numbers = iter(range(500, 1000))

        def answer(_: Received) -> Script:
            return inline(ApiMode.CHAT_COMPLETIONS, picture(next(numbers)), picture(next(numbers)))

        fake.answer_with(answer)
        door.run(source_folder(place / "in", TASKS), config_for(fake))
        door.post("/api/presets/save", {"name": "one"})
        door.post("/api/presets/save", {"name": "two"})
        door.post("/api/save/rule", {"output_dir": "/somewhere", "create_txt": True})
        door.post("/api/ui", {"settings": {"language": "en"}})
        seen = what_is_seen(door.app)
        shutil.copytree(place / "data", place / "killed")
    folder = place / "killed"
    assert (folder / "tasks.db-wal").stat().st_size > 0
    for path in folder.rglob("*"):
        os.utime(path, (1, 1))  # older than any sweep spares
    return Base(folder, seen, {name: path.read_bytes() for name, path in pictures_in(folder).items()})


def pictures_in(folder: Path) -> dict[str, Path]:
    """Every file that holds a picture, also those set aside, by name."""
    return {str(path.relative_to(folder)): path for path in folder.glob("cache/??/*") if path.is_file()}


def what_is_seen(app: App) -> Any:
    """What would be lost: tasks with results, configuration, presets, save rule."""
    state = get_state(Context(app), StateParams())
    tasks = [(task.id, task.status, [result.hash for result in task.results]) for task in state.tasks]
    return tasks, app.preferences.config, app.presets.all(), app.preferences.plan


# --- what can happen to a file --------------------------------------------------------------------------------------


def truncate(path: Path, chance: random.Random) -> None:
    """Cut off somewhere."""
    with path.open("r+b") as file:
        file.truncate(chance.randrange(path.stat().st_size))


def flip(path: Path, chance: random.Random) -> None:
    """Some bits turned over."""
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def empty(path: Path, _: random.Random) -> None:
    """Nothing left."""
    path.write_bytes(b"")


def zeros(path: Path, chance: random.Random) -> None:
    """A block that the disk gives back as zeros."""
    data = bytearray(path.read_bytes())
    start = chance.randrange(len(data))
    end = min(len(data), start + chance.choice((16, 512, 4096)))
    data[start:end] = bytes(end - start)
    path.write_bytes(data)


def noise(path: Path, chance: random.Random) -> None:
    """Something else altogether."""
    path.write_bytes(chance.randbytes(chance.choice((1, 100, 5000))))


def other_shape(path: Path, chance: random.Random) -> None:
    """Well-formed, but of another type."""
    shapes = [
        '{"current_config": []}',
        '{"presets": 7}',
        "[]",
        "null",
        '"words"',
        '{"presets": {"one": null}}',
        "[" * 9999,
    ]
    shapes += ['{"current_config": {"api_key": 5, "temperature": "hot"}}', '{"save": {"create_txt": "perhaps"}}', "{}"]
    path.write_text(chance.choice(shapes))


def folder(path: Path, _: random.Random) -> None:
    """A folder in its place, with something in it."""
    path.unlink()
    path.mkdir()
    (path / "mine").write_text("kept")


def dangling(path: Path, _: random.Random) -> None:
    """A link to nowhere in its place."""
    path.unlink()
    path.symlink_to(path.parent / "nowhere" / "at all")


def pipe(path: Path, _: random.Random) -> None:
    """A pipe in its place, which would hold a reader for ever."""
    path.unlink()
    os.mkfifo(path)


def device(path: Path, _: random.Random) -> None:
    """A link to a device that never ends."""
    path.unlink()
    path.symlink_to("/dev/zero")


def shuffled(path: Path, chance: random.Random) -> None:
    """Blocks written in the wrong places."""
    data = path.read_bytes()
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    chance.shuffle(blocks)
    path.write_bytes(b"".join(blocks))


def missing(path: Path, _: random.Random) -> None:
    """Gone."""
    path.unlink()


MUTATED: list[Mutation] = [
    truncate, flip, flip, flip, empty, zeros, noise, other_shape, folder, dangling, pipe, device, shuffled, missing
]  # fmt: skip
FILES = [
    *("tasks.db", "tasks.db", "tasks.db-wal", "tasks.db-wal", "tasks.db-shm", "state.json", "presets.json"),
    *("arrivals.log", "answers/ledger.db", "answers/ledger.db-wal", "a picture", "a picture", ".lock"),
]


def opened(folder: Path) -> App:
    """The program on this folder, with the sweep of every start."""
    app = App(folder, SETTINGS, MESSAGES, version=version())
    app.sweep()
    return app


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(8))
def test_the_program_starts_and_nothing_is_lost_unsaid(base: Base, tmp_path: Path, part: int) -> None:
    """With each mutated file; afterwards it works, and the next start finds nothing to complain about again."""
    for number in range(part, MUTATIONS, 8):
        chance = random.Random(number)
        place = tmp_path / str(number)
        shutil.copytree(base.folder, place, symlinks=True)
        name = chance.choice(FILES)
        mutate = chance.choice(MUTATED)
        target = place / name if name != "a picture" else chance.choice(sorted(pictures_in(place).values()))
        if not target.exists() or (target.stat().st_size == 0 and mutate in (truncate, flip, zeros)):
            target.write_bytes(b"something")
        mutate(target, chance)
        os.utime(place, (1, 1))
        before = target.read_bytes() if target.is_file() and not target.is_symlink() else None
        label = f"{number}: {mutate.__name__} {name}"
        try:
            examine(base, place, target, before, label)
        except Exception as error:
            raise AssertionError(label) from error
        shutil.rmtree(place)
    print(f"{len(range(part, MUTATIONS, 8))} mutations")


def examine(base: Base, place: Path, target: Path, before: bytes | None, label: str) -> None:
    """Open, look, use, close, open again."""
    with opened(place) as app:
        seen = what_is_seen(app)
        told = [problem for problem in app.notices if problem.code in TELLING]
        harmless = target.name in (".lock", "arrivals.log", "tasks.db-shm") or target.parent.name == "answers"
        if seen != base.seen and not told and not harmless:
            assert target.suffix == ".json", "something was lost without a word"
            assert before is None or before.strip()[:1] == b"{"  # still a document: a letter of a value changed
        for problem in told:
            kept = problem.params.get("kept_as")
            if kept is not None and problem.params["path"] == str(target) and before is not None:
                assert Path(str(kept)).read_bytes() == before, "the damaged file was changed"
        works(app)
    assert_pictures(base, place, target)
    with opened(place) as app:
        again = [problem for problem in app.notices if problem.code is Code.FILE_DAMAGED]
        assert again == [], "damage that does not heal"
        works(app)
    assert_pictures(base, place, target)


TELLING = {Code.FILE_DAMAGED, Code.RESULT_FILES_MISSING, Code.FIELD_TYPE, Code.FIELD_CHOICE, Code.FIELD_RANGE}
TELLING |= {Code.FIELD_UNKNOWN, Code.FIELD_RESERVED}


def assert_pictures(base: Base, place: Path, target: Path) -> None:
    """Each picture is where it was, with its bytes, but for the one that was damaged."""
    for name, data in base.pictures.items():
        path = place / name
        if path != target:
            assert path.read_bytes() == data, f"{name} is gone or changed"


def works(app: App) -> None:
    """Everything can be looked at and changed."""
    state = get_state(Context(app), StateParams())
    assert sum(app.store.counts().values()) == len(state.tasks)
    for task in state.tasks:
        get_task_debug(Context(app), TaskId(task.id))
        for result in task.results:
            toggle_result(Context(app), ResultId(task.id, result.id))
            toggle_result(Context(app), ResultId(task.id, result.id))
            try:
                shown = result_image(Context(app), ResultId(task.id, result.id))
            except NotFound:
                continue
            assert shown.file is not None
            with open_to_show(shown.file, shown.missing).file as file:
                assert hashlib.sha256(file.read()).hexdigest() == result.hash
    app.preferences.merge_ui({"last": "start"})
    app.presets.put("three", app.preferences.config)


@pytest.mark.parametrize("name", ["cache", "thumbnails", "answers", "cache/.incoming"])
def test_a_file_in_place_of_a_folder_goes_into_quarantine(base: Base, tmp_path: Path, name: str) -> None:
    """And the folder is made anew."""
    place = tmp_path / "data"
    shutil.copytree(base.folder, place)
    if (place / name).is_dir():
        shutil.move(place / name, tmp_path / "away")
    (place / name).write_text("in the way")
    with opened(place) as app:
        assert app.cache.read(app.cache.put(picture(1), "png"), "png") == picture(1)
        assert (place / name).is_dir()
    kept = [path for path in (place / name).parent.iterdir() if f"{Path(name).name}.damaged" in path.name]
    assert [path.read_text() for path in kept] == ["in the way"]


def test_something_in_place_of_a_cached_file_makes_room(base: Base, tmp_path: Path) -> None:
    """A result that arrives is kept, whatever stands under its name."""
    place = tmp_path / "data"
    shutil.copytree(base.folder, place)
    with opened(place) as app:
        digest = hashlib.sha256(picture(1)).hexdigest()
        target = app.cache.path(digest, "png")
        shutil.rmtree(target.parent, ignore_errors=True)
        target.parent.write_text("in the way")
        assert app.cache.read(app.cache.put(picture(1), "png"), "png") == picture(1)
        target.unlink()
        target.mkdir()
        assert app.cache.read(app.cache.put(picture(1), "png"), "png") == picture(1)


def test_rotten_bytes_are_not_shown_as_the_result(base: Base, tmp_path: Path) -> None:
    """A picture whose bytes changed on the disk is set aside when it is opened, and can come anew."""
    place = tmp_path / "data"
    shutil.copytree(base.folder, place)
    target = min(pictures_in(place).values())
    whole = target.read_bytes()
    target.write_bytes(whole[:-1] + b"!")
    digest = target.parent.name + target.stem
    with opened(place) as app:
        task, result = next(
            (task, result)
            for task in get_state(Context(app), StateParams()).tasks
            for result in task.results
            if result.hash == digest
        )
        with pytest.raises(NotFound) as caught:
            result_image(Context(app), ResultId(task.id, result.id))
        assert caught.value.code is Code.FILE_DAMAGED
        assert Path(str(caught.value.params["kept_as"])).read_bytes() == whole[:-1] + b"!"
        app.cache.put(whole, "png")
        assert result_image(Context(app), ResultId(task.id, result.id)).file == target


@pytest.fixture(params=["tasks.db", "tasks.db-wal", "state.json", "presets.json"])
def real_process(base: Base, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, str]:
    """A data folder with one file full of noise."""
    place = tmp_path / "data"
    shutil.copytree(base.folder, place)
    noise(place / request.param, random.Random(1))
    return place, str(request.param)


def test_a_real_start_says_what_happened(real_process: tuple[Path, str]) -> None:
    """The state names the file and where it is kept, in words."""
    place, name = real_process
    with serving(place, STATUS_UI="none") as served:
        notices = served.state()["notices"]
        files = {str(place / name), str(place / name.removesuffix("-wal"))}  # a log that is none shows in the table
        named = [notice for notice in notices if notice["params"].get("path") in files]
        assert named, notices
        assert named[0]["params"]["kept_as"] in named[0]["message"]
        assert Path(named[0]["params"]["kept_as"]).exists()
        assert served.end() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
@pytest.mark.parametrize(
    "name", ["tasks.db", "state.json", "presets.json", "arrivals.log", "answers/ledger.db", "a picture"]
)
def test_a_file_that_may_not_be_read(base: Base, tmp_path: Path, name: str) -> None:
    """The program gives itself the right back, since the file is its own, and reads it: nothing counts as damaged."""
    # Root may read everything, unless that power is taken from it.
    before = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    if before and shutil.which(before[0]) is None:
        pytest.skip("needs setpriv where root runs the tests")
    place = tmp_path / "data"
    shutil.copytree(base.folder, place)
    target = min(pictures_in(place).values()) if name == "a picture" else place / name
    target.touch()
    inode = target.stat().st_ino
    target.chmod(0)
    with serving(place, before=before, STATUS_UI="none") as served:
        state = served.state()
        assert not [notice for notice in state["notices"] if notice["code"] == "file_damaged"]
        assert served.end() == 0
    # The journal ends with a program that ends in good order.
    assert name == "arrivals.log" or inode in {path.lstat().st_ino for path in place.rglob("*")}, "the file is gone"
