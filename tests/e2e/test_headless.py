"""``run``: exit codes, events, names, and going on where an earlier run ended without paying twice."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine.config import ApiMode
from tests.e2e.conftest import Program
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import KEY, config_for, until
from tests.support.pictures import picture, source_folder
from tests.support.processes import command, environment, lines
from tests.support.replies import MODES, inline

CHAT = ApiMode.CHAT_COMPLETIONS


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three pictures."""
    return source_folder(tmp_path / "in", 3)


def config_file(folder: Path, fake: FakeUpstream, mode: ApiMode = CHAT, **changes: Any) -> str:
    """A configuration file without the key."""
    file = folder / "config.json"
    file.write_text(json.dumps(config_for(fake, mode, api_key="", **changes)))
    return str(file)


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_is_edited_and_saved(program: Program, tmp_path: Path, source: Path, mode: ApiMode) -> None:
    """The key from the environment, the rest from a file: pictures under their new names, byte for byte, exit 0."""
    with FakeUpstream() as fake:
        answers = iter([inline(mode, picture(number)) for number in (11, 12, 13)])
        fake.answer_with(lambda _: next(answers))
        config = config_file(tmp_path, fake, mode, concurrency_limit=1)
        arguments = ("run", str(source), "-o", str(tmp_path / "out"), "--config", config, "--json")
        done = program(*arguments, IBC_API_KEY=KEY)
        assert (done.returncode, done.stderr) == (0, "")
        events = lines(done.stdout)
        assert Counter(event["event"] for event in events) == {"start": 1, "task": 3, "saved": 3, "end": 1}
        assert (events[0]["task_count"], events[0]["new_count"], events[0]["warnings"]) == (3, 3, [])
        assert {event["status"] for event in events if event["event"] == "task"} == {"done"}
        assert events[-1]["exit_code"] == 0
        assert events[-1]["saved_count"] == 3
        saved = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
        assert saved == {f"00{number}_start_1.png": picture(number + 10) for number in (1, 2, 3)}
        assert fake.api_requests[0].headers["authorization"] == f"Bearer {KEY}"
        again = program(*arguments, IBC_API_KEY=KEY)
        assert again.returncode == 0
        first, *_, last = lines(again.stdout)
        assert (first["new_count"], first["reused_count"], last["saved_count"]) == (0, 3, 0)
        assert len(fake.api_requests) == 3
        assert len(list((tmp_path / "out").iterdir())) == 3


def test_some_failed_is_one_and_the_same_command_mends_it(program: Program, tmp_path: Path, source: Path) -> None:
    """Exit 1 names the picture and why; the same command asks only for what is missing."""
    with FakeUpstream() as fake:
        answers = iter([inline(CHAT, picture(1)), Script.error(400, "bad picture")])
        fake.answer_with(lambda _: next(answers, inline(CHAT, picture(2))))
        config = config_file(tmp_path, fake, concurrency_limit=1)
        arguments = ("run", str(source), "-o", str(tmp_path / "out"), "--config", config)
        done = program(*arguments)
        assert done.returncode == 1
        assert "002_start.png" in done.stderr
        assert "bad picture" in done.stderr
        assert "Traceback" not in done.stderr
        assert len(list((tmp_path / "out").iterdir())) == 2
        again = program(*arguments)
        assert again.returncode == 0, again.stderr
        assert len(fake.api_requests) == 4
        assert len(list((tmp_path / "out").iterdir())) == 3


def test_another_wish_is_another_run(program: Program, tmp_path: Path, source: Path) -> None:
    """A wrong model fails; the right one in the same folder is not judged by that, nor is a picture since mended."""
    with FakeUpstream() as fake:
        fake.answer(Script.error(404, "The model `x` does not exist"))
        config = config_file(tmp_path, fake)
        arguments = ("run", str(source), "-o", str(tmp_path / "out"), "--config", config)
        assert program(*arguments, "--model-name", "x").returncode == 1
        fake.answer(inline(CHAT, picture(1)))
        assert program(*arguments).returncode == 0
        broken = bytearray(picture(5, size=(200, 200)))
        broken[60:120] = bytes(60)
        (source / "004_start.png").write_bytes(broken)
        assert program(*arguments).returncode == 1
        (source / "004_start.png").write_bytes(picture(5))
        assert program(*arguments).returncode == 0


def test_unreadable_files_and_unknown_fields_are_told(program: Program, tmp_path: Path, source: Path) -> None:
    """A file that cannot be sent makes exit 1, a field that there is none of is named; the rest is done."""
    (source / "words.png").write_text("no picture")
    with FakeUpstream() as fake:
        fake.answer(inline(CHAT, picture(1)))
        config = config_file(tmp_path, fake, modle="x")
        arguments = ("run", str(source), "-o", str(tmp_path / "out"), "--config", config)
        done = program(*arguments)
        assert done.returncode == 1
        assert "words.png" in done.stderr
        assert "modle" in done.stderr
        assert len(list((tmp_path / "out").iterdir())) == 3
        told = lines(program(*arguments, "--json").stdout)[0]
        assert [file["code"] for file in told["unreadable"]] == ["picture_not_image"]
        assert [warning["field"] for warning in told["warnings"]] == ["modle"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "-o"),
        (["run", "-o", "out"], "INPUT"),
        (["run", "none", "-o", "out"], "none"),
        (["run", "empty", "-o", "out"], "empty"),
        (["run", "in", "-o", "in/001_start.png"], "001_start.png"),
        (["run", "in", "-o", "out", "--config", "none.json"], "none.json"),
        (["run", "in", "-o", "out", "--config", "bad.json"], "bad.json"),
        (["run", "in", "-o", "out", "--config", "list.json"], "list.json"),
        (["run", "in", "-o", "out", "--config", "inner.json"], "inner.json"),
        (["run", "in", "-o", "out", "--preset", "none"], "none"),
        (["run", "in", "-o", "out", "--rule", "none"], "aitookit_edit"),
        (["run", "in", "-o", "out", "--temperature", "9"], "Temperature"),
        (["run", "in", "-o", "out", "--max-tokens", "many"], "Maximum tokens"),
        (["run", "in", "-o", "out", "--api-mode", "soap"], "API mode"),
        (["run", "in", "-o", "out", "--extra-body", "{"], "Extra body"),
        (["run", "in", "-o", "out", "--filename-template", "{x}"], "{x}"),
        (["run", "in", "-o", "out", "--resume"], "out"),
        (["run", "in", "-o", "out", "--api-url", "http://127.0.0.1:9/v1"], "127.0.0.1"),
        (["fly"], "fly"),
        (["serve", "--fast"], "--fast"),
    ],
)
def test_wrong_use_is_two(program: Program, tmp_path: Path, source: Path, arguments: list[str], said: str) -> None:
    """What cannot be meant ends with 2 and a word on what is wrong; nothing is sent and nothing is written."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.json").write_text("{api_url:")
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "inner.json").write_text('{"config": 5}')
    done = program(*arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_what_wins(program: Program, tmp_path: Path, source: Path) -> None:
    """A flag beats the environment, that beats the file, that beats the preset; the key stays with its origin."""
    (source / "002_start.png").unlink()
    (source / "003_start.png").unlink()
    with FakeUpstream() as fake, FakeUpstream() as other:
        fake.answer(inline(CHAT, picture(1)))
        data = tmp_path / "data"
        data.mkdir()
        preset = config_for(fake, model_name="preset", system_prompt="preset", user_prompt="preset", max_tokens=1)
        (data / "presets.json").write_text(json.dumps({"presets": {"夜": preset}}))
        file = tmp_path / "c.json"
        file.write_text(
            json.dumps({"current_config": {"model_name": "file", "system_prompt": "file", "max_tokens": 2}})
        )
        done = program(
            "run", str(source), "-o", str(tmp_path / "out"), "--preset", "夜", "--config", str(file),
            "--model-name", "flag", "--extra-body", '{"seed": 7}', "--no-unlock-local-download-url",
            IBC_MODEL_NAME="environment", IBC_SYSTEM_PROMPT="environment", IBC_STREAM="off",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        sent = fake.api_requests[0]
        assert (sent.json["model"], sent.json["max_tokens"], sent.json["seed"]) == ("flag", 2, 7)
        assert sent.json["messages"][0]["content"] == "environment"
        assert sent.json["messages"][1]["content"][0]["text"] == "preset"
        assert sent.headers["authorization"] == f"Bearer {KEY}"
        stranger = program("run", str(source), "-o", str(tmp_path / "out"), "--preset", "夜", "--api-url", other.url())
        assert stranger.returncode == 2
        assert "key" in stranger.stderr
        assert other.requests == []


def test_save_rules_by_flag(program: Program, tmp_path: Path, source: Path) -> None:
    """A built-in rule, with single flags on top."""
    with FakeUpstream() as fake:
        fake.answer(inline(CHAT, picture(1), picture(2)))
        config = config_file(tmp_path, fake)

        def names(folder: str, *flags: str) -> list[str]:
            out = tmp_path / folder
            done = program("run", str(source), "-o", str(out), "--config", config, *flags)
            assert done.returncode == 0, done.stderr
            return sorted(path.name for path in out.iterdir())

        assert names("a", "--rule", "indexed_archive")[:2] == ["001_start_1.png", "001_start_2.png"]
        assert names("b", "--rule", "first_only_clean") == [f"00{number}_start.png" for number in (1, 2, 3)]
        flags = ("--replace-from", "_start", "--replace-to", "", "--create-txt", "--txt-template", "{image_name}!")
        mixed = names("c", "--rule", "first_only_clean", *flags)
        assert mixed == ["001.png", "001.txt", "002.png", "002.txt", "003.png", "003.txt"]
        assert (tmp_path / "c" / "001.txt").read_text() == "001.png!"


@pytest.mark.parametrize("flags", [["--json"], []])
def test_a_run_that_cannot_go_on_ends(program: Program, tmp_path: Path, flags: list[str]) -> None:
    """Where nobody can answer, a refused key ends the run with 1 and says why in words; it does not wait for ever."""
    source = source_folder(tmp_path / "in", 25)
    with FakeUpstream() as fake:
        fake.answer(Script.error(401, "Incorrect API key provided"))
        done = program("run", str(source), "-o", str(tmp_path / "out"), "--config", config_file(tmp_path, fake), *flags)
    assert done.returncode == 1
    assert "the API refuses the key" in done.stdout + done.stderr
    if flags:
        events = {event["event"]: event for event in lines(done.stdout)}
        assert events["pause"]["error"]["params"]["cause"] == "key_refused"
        assert events["pause"]["until"] > time.time() - 60
        assert events["given_up"]["error"]["code"] == "every_task_fails"
        assert events["end"]["exit_code"] == 1
    else:
        assert "key_refused" not in done.stderr


def test_waits_are_told(program: Program, tmp_path: Path, source: Path) -> None:
    """A wait that the API asks for is an event with its reason and end, and so is going on."""
    with FakeUpstream() as fake:
        answers = iter([Script.error(429, "slower", headers={"Retry-After": "3"})])
        fake.answer_with(lambda _: next(answers, inline(CHAT, picture(1))))
        config = config_file(tmp_path, fake, max_retries=1, concurrency_limit=1)
        done = program("run", str(source), "-o", str(tmp_path / "out"), "--config", config, "--json")
    assert done.returncode == 0, done.stderr
    events = lines(done.stdout)
    told = [event["event"] for event in events if event["event"] in ("wait", "resume", "pause")]
    assert told == ["wait", "resume"]
    wait = next(event for event in events if event["event"] == "wait")
    assert wait["error"]["code"] == "rate_pause"
    assert isinstance(wait["until"], float)


@pytest.mark.parametrize("how", ["the same command", "--resume", "--resume without its flags"])
def test_interrupt_keeps_what_came_and_nothing_is_paid_twice(program: Program, tmp_path: Path, how: str) -> None:
    """Ctrl-C ends at once with 130, what came is saved, and going on asks only for the rest."""
    source = source_folder(tmp_path / "in", 8)
    with FakeUpstream() as fake:

        def answering(request: Received) -> Script:
            number = len(fake.api_requests)
            return inline(CHAT, picture(number)) if number <= 3 else Script(silent=True)

        fake.answer_with(answering)
        config = config_file(tmp_path, fake, concurrency_limit=2)
        base = ["run", str(source), "-o", str(tmp_path / "out")]
        flags = ["--config", config, "--model-name", "mine"]
        process = subprocess.Popen(
            command(*base, *flags), env=environment(tmp_path / "data", IBC_API_KEY=KEY),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        )  # fmt: skip
        assert fake.wait_for_requests(5, 30)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)  # the calls under way would take twice as long
        assert process.returncode == 130, said
        assert "Traceback" not in said
        assert len(list((tmp_path / "out").iterdir())) == 3
        assert "3/8 finished" in said  # what was stopped is not
        asked = len(fake.api_requests)
        fake.answer_with(lambda _: inline(CHAT, picture(50 + len(fake.api_requests))))
        more = {"the same command": flags, "--resume": [*flags, "--resume"]}.get(how, ["--resume"])
        environ = {} if how == "--resume without its flags" else {"IBC_API_KEY": KEY}
        done = program(*base, *more, **environ)
        assert done.returncode == 0, done.stderr
        assert len(fake.api_requests) == asked + 5
        assert len(list((tmp_path / "out").iterdir())) == 8
        last = fake.api_requests[-1]
        assert (last.json["model"], last.headers["authorization"]) == ("mine", f"Bearer {KEY}")


def test_interrupt_before_anything_began(tmp_path: Path) -> None:
    """Ctrl-C while the folder is still looked through ends the run before a call is paid for."""
    source = source_folder(tmp_path / "in", 1500)
    with FakeUpstream() as fake:
        fake.answer(inline(CHAT, picture(1)))
        process = subprocess.Popen(
            command("run", str(source), "-o", str(tmp_path / "out"), "--config", config_file(tmp_path, fake)),
            env=environment(tmp_path / "data"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        runs = tmp_path / "data" / "runs"
        until(lambda: list(runs.rglob("tasks.db")), 60, 0.005)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert "Traceback" not in said
        assert len(fake.api_requests) < 200


def test_reader_that_leaves_ends_nothing(tmp_path: Path, source: Path) -> None:
    """When the program behind the pipe goes away, what is under way is still done and saved."""
    with FakeUpstream() as fake:
        fake.answer(inline(CHAT, picture(1), delay=0.3))
        config = config_file(tmp_path, fake, concurrency_limit=1)
        process = subprocess.Popen(
            command("run", str(source), "-o", str(tmp_path / "out"), "--config", config, "--json"),
            env=environment(tmp_path / "data"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert '"start"' in process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
        process.stderr.close()
        assert process.wait(30) == 0
        assert len(list((tmp_path / "out").iterdir())) == 3


def test_demo_run(program: Program, tmp_path: Path) -> None:
    """Twelve samples, no account, marked as a demo, saved as pictures."""
    done = program("run", "--demo", "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert "Demo" in done.stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert len(names) == 12
    assert all("_end." in name for name in names)
    again = program("run", "--demo", "-o", str(tmp_path / "out"), "--json")
    assert lines(again.stdout)[0]["reused_count"] == 12
    assert len(list((tmp_path / "out").iterdir())) == 12


def test_help_and_version(program: Program, tmp_path: Path) -> None:
    """Every configuration field has a flag that the help lists, in both languages."""
    for language in ("en_US.UTF-8", "zh_CN.UTF-8"):
        told = program("run", "--help", LC_ALL=language)
        assert told.returncode == 0
        for flag in ("--api-url", "--extra-headers", "--no-unlock-local-api-url", "--price-per-call", "--resume"):
            assert flag in told.stdout
    version = program("--version")
    assert version.stdout.startswith("image-batch-console ")
