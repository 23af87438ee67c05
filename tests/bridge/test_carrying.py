"""Projects on the move: sources found where they lie now, and a whole project in one file, onto another computer."""

from __future__ import annotations

import json
import shutil
import struct
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.usecases import carrying
from engine.config import ApiMode
from engine.errors import Code
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import KEY, Door, config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline

CHAT = ApiMode.CHAT_COMPLETIONS
Edit = Callable[[Path], object]


def edited(door: Door, fake: FakeUpstream, source: Path) -> dict[str, Any]:
    """Pictures edited, one of them not; one decided, one dropped, one captioned; a rule, a trial; the configuration."""
    numbers = iter(range(100, 200))

    def answer(_: Received) -> Script:
        number = next(numbers)
        return inline(CHAT, picture(number)) if number != 102 else Script.error(400, "no")

    fake.answer_with(answer)
    config = config_for(fake, concurrency_limit=1, max_retries=0)
    tasks = door.run(source, config)
    done = [task for task in tasks if task["status"] == "done"]
    door.post("/api/tasks/bulk", {"action": "decide", "task_ids": [done[0]["id"]]})
    door.delete(f"/api/tasks/{done[1]['id']}/results/{done[1]['results'][0]['id']}")
    door.post(f"/api/tasks/{done[2]['id']}/results/{done[2]['results'][0]['id']}/caption", {"text": "猫 at night"})
    door.post("/api/trials", {"input_path": str(source), "sample": 1, "columns": [{"name": "a", "config": config}]})
    door.wait_idle()
    door.post("/api/save/rule", {"output_dir": "", "filename_template": "{src_stem}_kept"})
    door.post("/api/ui", {"settings": {"set_form": {"trainer": "kohya"}, "draft": {"api_key": KEY}}})
    return config


def work(door: Door, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Begin a job and wait for its end; the job, with the project's id."""
    begun = door.post(path, body)
    assert door.app.jobs.wait_idle(60)
    job = door.get("/api/dataset/job")["job"]
    assert job["status"] == "done", job["error"]
    return {**job, "project": begun["id"]}


def plain(door: Door) -> list[dict[str, Any]]:
    """The list without what is another on another computer."""
    left_out = ("revision", "seq", "source_path", "source_name", "last_warning")
    return [{key: value for key, value in task.items() if key not in left_out} for task in door.tasks()]


@pytest.mark.parametrize("sources", [False, True])
def test_on_another_computer_everything_is_as_it_was(fake: FakeUpstream, tmp_path: Path, sources: bool) -> None:
    """Tasks, decisions, drops, captions, logs, trial, prompt, rule and set options come along, no key does; the same
    run asks nothing anew, also after the pictures were found in another folder."""
    source = source_folder(tmp_path / "in" / "deep", 5).parent
    with open_door(tmp_path / "here") as door:
        config = edited(door, fake, source)
        before = plain(door)
        door.refused(400, Code.EXPORT_INSIDE_SOURCE, "POST", "/api/projects/export", {"path": str(source / "x.ibcp")})
        job = work(door, "/api/projects/export", {"path": str(tmp_path), "sources": sources})
        assert (job["result"]["pairs"], job["result"]["bad"]) == (5, 0), job
        file = Path(job["result"]["path"])
        again = work(door, "/api/projects/export", {"path": str(file), "sources": sources})
        assert again["result"]["path"] == str(tmp_path / "in_1.ibcp"), "nothing is overwritten"
    assert file.name == "in.ibcp"
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        assert not [name for name in archive.namelist() if KEY.encode() in archive.read(name)]
    asked = len(fake.api_requests)
    moved = tmp_path / "elsewhere"
    shutil.copytree(source, moved / "below")
    (moved / "below" / "deep" / "001_start.png").rename(moved / "renamed.png")
    shutil.rmtree(source)
    with open_door(tmp_path / "there") as door:
        job = work(door, "/api/projects/import", {"path": str(file)})
        assert job["result"]["bad"] == 0
        door.post("/api/projects/open", {"id": job["project"]})
        assert plain(door) == before
        state, ui = door.state(), door.get("/api/ui")["settings"]
        assert state["current_config"]["user_prompt"] == config["user_prompt"]
        assert state["current_config"]["api_key"] == ""
        assert state["save_rule"]["filename_template"] == "{src_stem}_kept"
        assert (ui["set_form"], "draft" in ui) == ({"trainer": "kohya"}, False)
        assert len(door.get("/api/trials")["trials"]) == 1
        failed = next(task for task in before if task["status"] == "failed")
        assert "no" in door.get(f"/api/tasks/{failed['id']}/debug")["debug_log"]
        task = door.tasks()[0]
        assert door.ask("GET", task["results"][0]["image_url"]).content == picture(100)
        if sources:
            assert door.ask("GET", task["source_image_url"]).status_code == 200
            moved = Path(task["source_path"]).parent.parent
            assert moved.is_relative_to(tmp_path / "there")
        else:
            dry = door.post("/api/projects/relocate", {"input_path": str(moved), "dry_run": True})
            assert (dry["matched"], dry["by_name"], dry["missing"], dry["ambiguous"]) == (5, 1, 0, 0), dry
            assert door.ask("GET", task["source_image_url"]).status_code == 404
            done = door.post("/api/projects/relocate", {"input_path": str(moved), "dry_run": False})
            assert done == {**dry, "dry_run": False}
            assert door.tasks()[0]["source_path"] == str(moved / "renamed.png")
            assert door.ask("GET", task["source_image_url"]).status_code == 200
        started = door.start(moved, {**config, "api_key": KEY})
        door.wait_idle()
        assert (started["task_count"], started["new_count"], len(door.tasks())) == (5, 1, 5), "the failed one alone"
        assert len(fake.api_requests) == asked + 1
        other = door.post("/api/projects", {"name": "another", "input_path": str(moved)})["id"]
        door.post("/api/projects/open", {"id": other})
        assert door.start(moved, {**config, "api_key": KEY})["new_count"] == 0, "what was imported counts as paid"


def test_sources_are_found_by_their_bytes(door: Door, fake: FakeUpstream, tmp_path: Path) -> None:
    """Copies are told by the end of their path, or are ambiguous; a second name of one file is none; what is not there
    stays as it is; a folder that is gone is refused; nothing changes while calls are in flight."""
    fake.answer(inline(CHAT, picture(7)))
    source = source_folder(tmp_path / "in", 4)
    door.run(source, config_for(fake))
    moved = tmp_path / "moved"
    (moved / "a").mkdir(parents=True)
    (moved / "b").mkdir()
    names = [f"00{number}_start.png" for number in (1, 2, 3, 4)]
    shutil.copy(source / names[0], moved / "a" / "x.png")
    (moved / "b" / "second-name.png").hardlink_to(moved / "a" / "x.png")
    for folder in ("a", "b"):  # which of them it was, nobody can tell
        shutil.copy(source / names[1], moved / folder / "y.png")
    shutil.copy(source / names[2], moved / "a" / names[2])
    shutil.copy(source / names[2], moved / "b" / "z.png")
    shutil.rmtree(source)
    before = [task["source_path"] for task in door.tasks()]
    body = {"input_path": str(moved), "dry_run": True}
    dry = door.post("/api/projects/relocate", body)
    assert (dry["matched"], dry["missing"], dry["ambiguous"]) == (2, 1, 1)
    assert dry["missing_files"] == [str(source / names[3])]
    assert [task["source_path"] for task in door.tasks()] == before
    door.post("/api/projects/relocate", {**body, "dry_run": False})
    after = [Path(task["source_path"]) for task in door.tasks()]
    assert after[0].samefile(moved / "a" / "x.png")
    assert after[1:] == [source / names[1], moved / "a" / names[2], source / names[3]]
    assert door.post("/api/projects/relocate", body)["here"] == 2
    error = door.refused(400, Code.PATH_NOT_FOUND, "POST", "/api/projects/relocate", {"input_path": str(source)})
    assert error["field"] == "input_path"
    fake.answer(inline(CHAT, picture(8), delay=1.0))
    door.start(moved, config_for(fake, user_prompt="slowly"))
    door.refused(409, Code.BATCH_RUNNING, "POST", "/api/projects/relocate", body)


def test_a_file_names_no_picture_of_this_machine(fake: FakeUpstream, tmp_path: Path) -> None:
    """What a file only names is not sent, by whatever way it is written, until the person points at its folder; what a
    result knows by its bytes, or came along, stays where it is. Start and Relocate point."""
    source = source_folder(tmp_path / "in" / "deep", 5).parent
    private = tmp_path / "private" / "003_start.png"
    private.parent.mkdir()
    private.write_bytes(picture(77))
    with open_door(tmp_path / "here") as door:
        config = {**edited(door, fake, source), "api_key": KEY}
        file = Path(work(door, "/api/projects/export", {"path": str(tmp_path), "sources": False})["result"]["path"])
        before = {task["id"]: task for task in door.tasks()}
    shutil.copy(file, honest := tmp_path / "honest.ibcp")
    done = [task for task in before.values() if task["status"] == "done"]
    (failed,) = [task for task in before.values() if task["status"] == "failed"]
    named = [str(private), f"{source}/deep/../../private/{private.name}", f"//localhost{private}", private.name]

    def pointed(name: str, data: bytes) -> list[tuple[str, bytes]]:
        if name != "tasks.jsonl":
            return [(name, data)]
        rows = {row["id"]: row for row in map(json.loads, data.splitlines())}
        for task, path in zip((failed, *done), named, strict=False):
            rows[task["id"]]["source_path"] = path
        rows[done[3]["id"]]["references"] = [str(private)]
        return [(name, b"".join(json.dumps(row).encode() + b"\n" for row in rows.values()))]

    rewritten(file, pointed)
    fake.answer(inline(CHAT, picture(200)))
    with open_door(tmp_path / "there") as door:
        opened = work(door, "/api/projects/import", {"path": str(file)})["project"]
        door.post("/api/projects/open", {"id": opened})
        place = door.app.projects.folder(door.app.projects.get(opened)) / "missing"
        door.start(source_folder(tmp_path / "mine", 1), config)  # gives the configuration, and its key
        door.wait_idle()
        asked = len(fake.api_requests)
        for key in before:
            door.post(f"/api/tasks/{key}/retry")
        door.wait_idle()
        tasks = [task for task in door.tasks() if task["id"] in before]
        assert len(fake.api_requests) == asked
        assert [task["error"]["code"] for task in tasks] == [Code.SOURCE_MISSING] * 5
        assert all(Path(task["source_path"]).is_relative_to(place) for task in tasks)
        assert not place.exists()
        dry = door.post("/api/projects/relocate", {"input_path": str(private.parent), "dry_run": True})
        assert (dry["by_name"], dry["matched"]) == (1, 1), "results know what the others were"
        door.post("/api/projects/open", {"id": work(door, "/api/projects/import", {"path": str(honest)})["project"]})
        places = {task["id"]: task["source_path"] for task in door.tasks()}
        assert [places[task["id"]] == task["source_path"] for task in (*done, failed)] == [True] * 4 + [False]
        assert places[failed["id"]].endswith(failed["source_path"])
        started = door.start(source, config)
        door.wait_idle()
        assert (started["new_count"], len(door.tasks()), len(fake.api_requests)) == (1, 5, asked + 1)
        assert {task["id"]: task["source_path"] for task in door.tasks()} == {
            key: task["source_path"] for key, task in before.items()
        }


# --- bad files --------------------------------------------------------------------------------------------------------


def test_a_second_upload_leaves_the_first_alone(
    door: Door, fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused while the first is read, and neither takes its place nor removes it."""
    edited(door, fake, source_folder(tmp_path / "in", 5))
    file = Path(work(door, "/api/projects/export", {"path": str(tmp_path), "sources": False})["result"]["path"])
    begun, go, take = threading.Event(), threading.Event(), carrying._take

    def late(*arguments: Any) -> Any:
        begun.set()
        assert go.wait(60)
        return take(*arguments)

    monkeypatch.setattr(carrying, "_take", late)
    answers = []
    for _ in range(2):
        answers.append(door.client.post("/api/projects/import", files={"file": ("x.ibcp", file.read_bytes())}))
        assert begun.wait(60)
    go.set()
    assert door.app.jobs.wait_idle(60)
    job = door.get("/api/dataset/job")["job"]
    assert ([answer.status_code for answer in answers], job["status"]) == ([200, 409], "done"), job["error"]
    assert (job["result"]["pairs"], list(door.app.folder.glob(".saving-*"))) == (6, [])  # one of a trial


def rewritten(file: Path, change: Callable[[str, bytes], list[tuple[str, bytes]]]) -> None:
    """The same file with other members."""
    with zipfile.ZipFile(file) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            for changed, content in change(name, data):
                archive.writestr(changed, content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])


def also(name: str, data: bytes = b"x") -> Edit:
    """A member more."""
    return lambda file: rewritten(
        file, lambda old, content: [(old, content), *([(name, data)] if old == "project.json" else [])]
    )


def of(member: str, change: Callable[[bytes], bytes]) -> Edit:
    """Another content of a member."""
    return lambda file: rewritten(file, lambda name, data: [(name, change(data) if name == member else data)])


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def sparse(file: Path) -> None:
    with file.open("wb") as out:
        out.truncate(3 * 1024**3)


def large_directory(file: Path) -> None:
    data = bytearray(file.read_bytes())
    at = data.rfind(b"PK\5\6")
    struct.pack_into("<I", data, at + 12, 0xFFFFFFF0)
    file.write_bytes(data)


def bomb(file: Path) -> None:
    """Two hundred megabytes of one line, in as many kilobytes."""
    with zipfile.ZipFile(file) as archive:
        about = archive.read("project.json")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("project.json", about)
        with archive.open("tasks.jsonl", "w") as out:
            for _ in range(200):
                out.write(bytes(1024 * 1024))


def fanned_out(data: bytes) -> bytes:
    """Trials of 60 MB, in as many kilobytes, that took a gigabyte of memory."""
    return (b'{"a":[' + b"[]," * 1_000_000 + b"0]}\n") * 20


def twice(data: bytes) -> bytes:
    return data + data


BAD: dict[str, tuple[Edit, Code]] = {
    "cut": (cut, Code.PROJECT_FILE_INVALID),
    "empty": (lambda file: file.write_bytes(b""), Code.PROJECT_FILE_INVALID),
    "no zip": (lambda file: file.write_bytes(b"PK" * 500), Code.PROJECT_FILE_INVALID),
    "a folder": (folder, Code.PROJECT_FILE_INVALID),
    "not there": (Path.unlink, Code.PATH_NOT_FOUND),
    "sparse": (sparse, Code.PROJECT_FILE_INVALID),
    "directory": (large_directory, Code.PROJECT_FILE_INVALID),
    "bomb": (bomb, Code.PROJECT_FILE_INVALID),
    "fan": (of("trials.jsonl", lambda data: data + fanned_out(data)), Code.PROJECT_FILE_INVALID),
    "newer": (of("project.json", lambda data: data.replace(b'"format":1', b'"format":2')), Code.PROJECT_FILE_NEWER),
    "no format": (of("project.json", lambda _: b"{}\n"), Code.PROJECT_FILE_INVALID),
    "leads out": (also("../../outside.png"), Code.PROJECT_FILE_UNSAFE),
    "leads out on Windows": (also("results\\..\\..\\outside.png"), Code.PROJECT_FILE_UNSAFE),
    "absolute": (also("/tmp/outside.png"), Code.PROJECT_FILE_UNSAFE),
    "a name twice": (also("tasks.jsonl"), Code.PROJECT_FILE_UNSAFE),
    "a task twice": (of("tasks.jsonl", twice), Code.PROJECT_FILE_INVALID),
    "an id that is none": (
        of("tasks.jsonl", lambda data: data.replace(b'"id":"', b'"id":"../')),
        Code.PROJECT_FILE_INVALID,
    ),
    "no tasks": (of("tasks.jsonl", lambda _: b"[1]\n"), Code.PROJECT_FILE_INVALID),
    "a number beyond": (
        of("tasks.jsonl", lambda data: data.replace(b'"attempts":1', b'"attempts":99999999999999999999')),
        Code.PROJECT_FILE_INVALID,
    ),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_bad_files_are_refused_or_partly_taken(fake: FakeUpstream, tmp_path: Path) -> None:
    """Each is refused with words, leaves no project and nothing outside; pictures that are not what their name says are
    left out and told, and sources with a name that leads out get another."""
    source = source_folder(tmp_path / "in", 5)
    with open_door(tmp_path / "here") as door:
        edited(door, fake, source)
        good = Path(work(door, "/api/projects/export", {"path": str(tmp_path), "sources": True})["result"]["path"])
    with open_door(tmp_path / "there") as door:
        (tmp_path / "bad").mkdir()
        for name, (spoil, code) in BAD.items():
            file = tmp_path / "bad" / f"{name}.ibcp"
            shutil.copy(good, file)
            spoil(file)
            answer = door.ask("POST", "/api/projects/import", {"path": str(file)})
            assert door.app.jobs.wait_idle(60)
            error = answer.json() if answer.status_code != 200 else door.get("/api/dataset/job")["job"]["error"]
            assert error["code"] == code, (name, answer.text, error)
            assert error["message"], name
            assert len(door.get("/api/projects")["projects"]) == 1, name
            assert not list((tmp_path / "there" / "projects").glob("*")), name
            if file.is_file():
                file.unlink()
        assert not list(tmp_path.rglob("outside*"))

        def spoiled(name: str, data: bytes) -> list[tuple[str, bytes]]:
            if name.startswith("results/"):
                return [(name, picture(250))]
            if name == "sources.jsonl":
                rows = [json.loads(line) for line in data.splitlines()]
                rows[0]["name"], rows[1]["name"], rows[2]["sha256"] = "../../outside.png", "C:\\outside.png", "0" * 64
                return [(name, b"".join(json.dumps(row).encode() + b"\n" for row in rows))]
            return [(name, data)]

        rewritten(good, spoiled)
        job = work(door, "/api/projects/import", {"path": str(good), "name": "partly"})
        assert job["result"]["bad"] == job["result"]["problem"]["params"]["count"] >= 5
        assert not list(tmp_path.rglob("outside*"))
        assert len(list((tmp_path / "there" / "projects").rglob("sources/*.*"))) == 4
        door.post("/api/projects/open", {"id": job["project"]})
        assert door.ask("GET", door.tasks()[0]["results"][0]["image_url"]).status_code == 404
        ledger = tmp_path / "there" / "answers"
        assert not list(ledger.glob("??/*")), "what is not what it should be is not paid for"
        body = good.read_bytes()
        answer = door.client.post("/api/projects/import", files={"file": ("x.ibcp", body)})
        assert answer.status_code == 200, answer.text
        assert door.app.jobs.wait_idle(60)
        assert len(door.get("/api/projects")["projects"]) == 3
        door.refused(400, Code.FIELD_REQUIRED, "POST", "/api/projects/import", {})
