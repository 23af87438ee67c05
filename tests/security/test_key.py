"""The key is nowhere but in the two files that keep it and in the requests to the origin it was entered for.

The paid API of these tests repeats the key in every place and every spelling that an answer has.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from bridge.logs import open_log
from engine.config import ApiMode
from tests.fakes.peers import Peer, read_request
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import Door, config_for, open_door, until
from tests.support.pictures import picture, source_folder
from tests.support.replies import PATHS, inline
from tests.support.wire import raw

ROOT = Path(__file__).resolve().parents[2]
KEYS = {
    "openai": "sk-proj-Zq3vT1xYb7_Lm9-Kd2RwEhNp5sUaGcJf8oXiQe4tVyB6",
    "xai": "xai-" + "M3n8Qw5Er7Ty2Ui9" * 5,
    "uuid": "7b0f6c1e-93a4-4d5e-8f21-c0ffee123456",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ0ZXN0ZXItNzQyIn0." + "s1Gn4tur3" * 5,
    "base64": "aGVsbG8vd29ybGQrZXh0cmE/Pz8+Pj4rLy8vKysrMTIzNDU2Nzg5MA==",
    "quotes and angles": "q\"uo'te\\back<lt>&amp;7Jk2mQ",
    "percent and query": "a%20b%2Fc?d=e&f#g+h;i=7Jk2mQ",
    "braces": "{src_stem}$(id)[0]*^|{api_key}%s%n7Jk2mQ",
    "long": "".join(f"{number:04x}" for number in range(7000, 7750)),
    "short": "Zq7#x",
}
LONE = [name for name in KEYS if name != "short"]  # five characters may stand in a log by chance, at the end of a cut


def spellings(key: str) -> set[str]:
    """The key as it could be written into a text or a database."""
    return {
        *(key, quote(key), quote(key, safe=""), quote_plus(key), html.escape(key), json.dumps(key)[1:-1]),
        *(json.dumps(key, ensure_ascii=False)[1:-1], repr(key)[1:-1], key.upper(), key[: len(key) * 2 // 3]),
        base64.b64encode(key.encode()).decode().rstrip("="),
    }


def assert_absent(key: str, what: bytes | str, where: str) -> None:
    """No spelling of the key is in it."""
    data = what if isinstance(what, bytes) else what.encode("utf-8", "surrogatepass")
    for spelling in spellings(key):
        at = data.find(spelling.encode())
        assert at < 0, f"in {where}: …{data[max(0, at - 60) : at]!r}…"  # the key itself stays out of the report too


def repeating(key: str, header: str = "authorization", before: str = "Bearer ") -> Any:
    """Answers that give the key away, another one for each picture, and one proper one."""
    cut_off = "x" * (400 - len(key) // 2) + key
    chunk = {
        "choices": [{"index": 0, "delta": {"content": f"your key {key} ![i](http://127.0.0.1:1/{quote(key)}.png)"}}]
    }
    thought = {"choices": [{"index": 0, "delta": {"reasoning_content": key, "content": key}}]}
    leaky = {"X-Debug": quote(key), "X-Your-Key": "Bearer " + quote_plus(key)}
    scripts = [
        Script.error(401, f"Incorrect API key provided: {key}.", headers=leaky),
        Script.error(400, cut_off),
        Script.json({"error": key, "key": key, "request": {"headers": {"Authorization": f"Bearer {key}"}}}, status=403),
        Script.json({"detail": [{"loc": ["header", key], "msg": key}]}, status=422),
        Script(f"<html><title>{html.escape(key)}</title>{html.escape(key)}</html>".encode(), 500, "text/html"),
        Script(key.encode(), 404, "text/plain"),
        Script.events({"error": {"message": f"no {key}", "code": key, "type": key}}),
        Script.events(chunk, thought, headers=leaky),
        Script.json({"choices": [{"message": {"content": f"I may not say {key}, and {json.dumps(key)}."}}]}),
        Script(b"data: {" + key.encode() + b"\n\ndata: [DONE]\n\n", 200, "text/event-stream"),
        Script(key.encode() * 3, 200, "image/png"),
        Script.redirect(f"http://127.0.0.1:1/?key={quote(key)}"),
        inline(ApiMode.CHAT_COMPLETIONS, picture(3), headers=leaky),
    ]

    def answer(request: Received) -> Script:
        assert request.headers[header].encode("latin-1").decode() == f"{before}{key}"
        return scripts.pop(0) if len(scripts) > 1 else scripts[0]

    return len(scripts), answer


@pytest.fixture
def talkative(tmp_path: Path) -> Iterator[None]:
    """The program's log, with all that the program itself can say; libraries stay as quiet as it makes them."""
    with contextlib.closing(open_log(tmp_path)):
        logging.getLogger().setLevel(logging.DEBUG)
        yield
    logging.getLogger().setLevel(logging.WARNING)


@pytest.mark.parametrize("name", LONE)
def test_the_key_is_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], talkative: None, name: str
) -> None:
    """Not in an answer of any route, an event, a log at its finest, an error, a file beside the two that keep it."""
    key = KEYS[name]
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        count, answer = repeating(key)
        fake.answer_with(answer)
        config = config_for(fake, api_key=key, concurrency_limit=2, stream="on")
        door.post("/api/config/current", {"config": config})
        door.post("/api/presets/save", {"name": "mine", "config": config})
        tasks = door.run(source_folder(tmp_path / "in", count), config)
        assert len(fake.api_requests) >= count
        assert {task["status"] for task in tasks} >= {"failed", "done"}
        places = 0
        for where, said in everything_said(door, tasks, config):
            assert_absent(key, said, where)
            places += 1
        for path in (tmp_path / "data").rglob("*"):
            if path.is_file() and path.name not in ("state.json", "presets.json"):
                assert_absent(key, path.read_bytes(), path.name)
                places += 1
        for keeps in ("state.json", "presets.json"):
            assert (tmp_path / "data" / keeps).stat().st_mode & 0o077 == 0
    assert_absent(key, caplog.text, "the log")
    assert_absent(key, (tmp_path / "log.txt").read_bytes(), "the log file")
    assert_absent(key, "".join(capfd.readouterr()), "what was printed")
    print(f"{name}: {places + 3} answers and files searched for {len(spellings(key))} spellings")


RECIPE: dict[str, Any] = {
    "request": {"url": "/submit", "json": {"prompt": "{{prompt}}", "image": "{{image_url}}"}},
    "upload": {"url": "/up", "form": {"file": "{{file}}"}, "result": "name"},
    "key": {"header": "X-Maker", "value": "Key {{api_key}}"},
    "job": {"id": "id", "url": {"path": "poll"}, "status": "status", "done": ["done"], "failed": ["failed"],
            "error": "message", "interval": 0.05},
}  # fmt: skip


def test_a_recipe_keeps_the_key_as_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], talkative: None
) -> None:
    """Under a header of its own, through upload, job and poll, each of which repeats it."""
    key = KEYS["openai"]
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        count, answer = repeating(key, "x-maker", "Key ")
        polls = iter(range(10**6))

        def provide(request: Received) -> Script:
            if request.path == "/up":
                return Script.json({"name": f"up {key}", "echo": dict(request.headers)})
            if request.path == "/submit" and next(polls) % 2:
                return Script.json({"id": "j", "poll": f"/poll/{next(polls)}?key={quote(key)}", "echo": key})
            if request.path.startswith("/poll/"):
                return Script.json({"status": "failed", "message": f"no {key}"}, headers={"X-Debug": key})
            return answer(request)  # type: ignore[no-any-return]

        fake.answer_with(provide)
        config = config_for(fake, api_key=key, concurrency_limit=1, recipe=RECIPE, alarm_limit=0)
        door.post("/api/config/current", {"config": config})
        door.post("/api/presets/save", {"name": "mine", "config": config})
        tasks = door.run(source_folder(tmp_path / "in", count), config)
        for where, said in everything_said(door, tasks, config):
            assert_absent(key, said, where)
        for path in (tmp_path / "data").rglob("*"):
            if path.is_file() and path.name not in ("state.json", "presets.json"):
                assert_absent(key, path.read_bytes(), path.name)
    assert_absent(key, caplog.text, "the log")
    assert_absent(key, "".join(capfd.readouterr()), "what was printed")


def everything_said(door: Door, tasks: list[dict[str, Any]], config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The text of every route that reads, of the stream, and of refusals."""
    paths = ["/api/state", "/api/state?since=0", "/api/tasks?limit=500", "/api/config/schema", "/api/presets/export"]
    paths += ["/api/ui", "/api/templates", "/api/openapi.json", "/api/save/rules", "/"]
    paths += [f"/api/tasks/{task['id']}{end}" for task in tasks for end in ("", "/debug")]
    for path in paths:
        answer = door.ask("GET", path)
        yield path, answer.text + str(answer.headers)
    for path, body in (
        ("/api/presets/apply", {"name": "mine"}),
        ("/api/config/test", {"config": config}),
        ("/api/config/current", {"config": {**config, "temperature": 9}}),
        ("/api/config/current", {"config": {**config, "extra_headers": {"Authorization": config["api_key"]}}}),
        ("/api/config/current", {"config": {**config, "unknown": 1}}),
        ("/api/tasks/start", {"input_path": "/nowhere/" + tasks[0]["id"], "config": config}),
        ("/api/presets/save", {"name": "", "config": config}),
    ):
        yield path, door.ask("POST", path, body).text
    with door.client.stream("GET", "/api/events") as stream:
        lines = stream.iter_lines()
        yield "/api/events", "\n".join(next(lines) for _ in range(5))


def test_only_the_environment_opens_the_export(tmp_path: Path) -> None:
    """With EXPORT_INCLUDE_SECRETS the export holds keys, and nothing else does."""
    with FakeUpstream() as fake, open_door(tmp_path / "data", EXPORT_INCLUDE_SECRETS="1") as door:
        door.post("/api/config/current", {"config": config_for(fake, api_key=KEYS["openai"])})
        assert KEYS["openai"] in door.ask("GET", "/api/presets/export").text
        assert_absent(KEYS["openai"], door.ask("GET", "/api/state").text, "the state")


@pytest.mark.parametrize(
    "key",
    [
        *("sk-line\nbreak-7Jk2mQ", "sk-nul\0-7Jk2mQ-long-enough", "sk-\x1b[31mred-7Jk2mQ"),
        *("pass phrase with  spaces 7Jk2mQ", "ключ-密钥-🔑-7Jk2mQ"),
    ],
)
def test_a_key_that_http_cannot_carry_is_refused_unsaid(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    """Before anything is sent, and without quoting it."""
    caplog.set_level(logging.DEBUG)
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        answer = door.ask(
            "POST",
            "/api/tasks/start",
            {"input_path": str(source_folder(tmp_path / "in", 1)), "config": config_for(fake, api_key=key)},
        )
        door.wait_idle()
        assert_absent(key, answer.text + door.ask("GET", "/api/state").text, "an answer")
        assert not door.tasks() or door.tasks()[0]["status"] == "failed"
        assert fake.requests == []
    assert_absent(key, caplog.text, "the log")


# --- only to its origin ---------------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Door, FakeUpstream, FakeUpstream, Path]]:
    """A program whose key belongs to the first API, a second API, and a source folder."""
    with FakeUpstream() as ours, FakeUpstream() as theirs, open_door(tmp_path / "data") as door:
        for fake in (ours, theirs):
            fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(1)))
        config = config_for(ours, api_key=KEYS["openai"])
        door.post("/api/config/current", {"config": config})
        door.post("/api/presets/save", {"name": "mine", "config": config})
        yield door, ours, theirs, source_folder(tmp_path / "in", 1)


def never_told(theirs: FakeUpstream, key: str = KEYS["openai"]) -> None:
    """The second API has not seen the key anywhere in any request."""
    for request in theirs.requests:
        assert_absent(key, repr(request), "a request to another origin")


def elsewhere(config: dict[str, Any], theirs: FakeUpstream, key: str) -> dict[str, Any]:
    """The same configuration, with the other API's address and this as key."""
    return {**config, "api_url": theirs.url(PATHS[ApiMode.CHAT_COMPLETIONS]), "api_key": key}


@pytest.mark.parametrize("masked", ["", "********", " ******** "])
def test_no_change_takes_the_key_along(two: tuple[Door, FakeUpstream, FakeUpstream, Path], masked: str) -> None:
    """Form, start, preset, import, apply, resume and retry: another origin gets no request with the key."""
    door, ours, theirs, source = two
    config = elsewhere(config_for(ours), theirs, masked)
    exported = {"presets": {"mine": config, "new": config}, "current_config": config}
    asked = [
        ("/api/config/current", {"config": config}),
        ("/api/tasks/start", {"input_path": str(source), "config": config}),
        ("/api/config/test", {"config": config}),
        ("/api/presets/save", {"name": "mine", "config": config}),
        ("/api/presets/save", {"name": "new", "config": config}),
        ("/api/presets/import", exported),
        ("/api/presets/apply", {"name": "new"}),
        ("/api/presets/apply", {"name": "mine"}),
        ("/api/tasks/start", {"input_path": str(source)}),
        ("/api/tasks/resume", {}),
        ("/api/tasks/retry_failed", {}),
    ]
    for path, body in asked:
        door.ask("POST", path, body)
        door.wait_idle()
        for task in door.tasks():
            door.ask("POST", f"/api/tasks/{task['id']}/retry", {})
        door.wait_idle()
        never_told(theirs)
    told = [request for request in ours.requests if request.headers.get("authorization") == f"Bearer {KEYS['openai']}"]
    assert told, "the first API was asked with its key all the while"


def test_no_recipe_takes_the_key_along(two: tuple[Door, FakeUpstream, FakeUpstream, Path]) -> None:
    """Absolute addresses, jobs, results and uploads elsewhere get no key; nor may a recipe name origins for a key that
    was entered without them."""
    door, ours, theirs, source = two
    plain = {"request": {"url": theirs.url("/submit"), "json": {"a": "{{image}}"}}}
    upload = {**plain, "upload": {"url": theirs.url("/up"), "form": {"file": "{{file}}"}, "result": "id"}}
    job = {"id": "id", "url": {"path": "poll"}, "result_url": theirs.url("/r"), "interval": 0.05}
    away = {"request": {"url": "/submit", "json": {"a": "{{image}}"}}, "job": job}
    taken = {"id": "x", "poll": theirs.url("/p"), "data": [{"b64_json": ""}]}
    theirs.answer(Script.json(taken))
    ours.answer(Script.json(taken))
    for recipe in (plain, upload, away):
        config = config_for(ours, api_key="********", recipe=recipe)
        for path in ("/api/config/test", "/api/config/current", "/api/tasks/start"):
            door.ask("POST", path, {"config": config, "input_path": str(source)})
            door.wait_idle()
        assert theirs.requests
        never_told(theirs)
        theirs.requests.clear()
        named = {**config, "recipe": {**recipe, "origins": [theirs.url("")]}}
        door.refused(400, "api_key_required", "POST", "/api/tasks/start", {"config": named, "input_path": str(source)})
        never_told(theirs)


@pytest.mark.parametrize("masked", ["", "********"])
def test_no_change_shows_the_key_to_another_proxy(
    two: tuple[Door, FakeUpstream, FakeUpstream, Path], masked: str
) -> None:
    """A proxy reads a plain http call whole: form, preset and a stranger's file may not put one in between."""
    door, ours, _, source = two
    seen: list[bytes] = []
    with Peer(lambda client: seen.append(read_request(client))) as proxy:
        config = {**config_for(ours), "api_key": masked, "proxy": f"http://127.0.0.1:{proxy.port}"}
        exported = {"presets": {"mine": config, "new": config}, "current_config": config}
        for path, body in (
            ("/api/config/current", {"config": config}),
            ("/api/tasks/start", {"input_path": str(source), "config": config}),
            ("/api/presets/save", {"name": "mine", "config": config}),
            ("/api/presets/import", exported),
            ("/api/presets/apply", {"name": "new"}),
            ("/api/presets/apply", {"name": "mine"}),
            ("/api/tasks/start", {"input_path": str(source)}),
            ("/api/tasks/retry_failed", {}),
        ):
            door.ask("POST", path, body)
            door.wait_idle()
        for request in seen:
            assert_absent(KEYS["openai"], request, "what the proxy read")
    told = [request for request in ours.requests if request.headers.get("authorization") == f"Bearer {KEYS['openai']}"]
    assert told, "the API was asked with its key, past the proxy"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_takes_the_key_along(two: tuple[Door, FakeUpstream, FakeUpstream, Path], status: int) -> None:
    """Nor the picture: an API that sends the call elsewhere is an error."""
    door, ours, theirs, source = two
    ours.answer(Script.redirect(theirs.url("/v1/chat/completions"), status))
    tasks = door.run(source, config_for(ours, api_key=KEYS["openai"]))
    assert tasks[0]["status"] == "failed"
    never_told(theirs)
    assert not any(request.body for request in theirs.requests)


def test_no_download_takes_the_key_along(two: tuple[Door, FakeUpstream, FakeUpstream, Path]) -> None:
    """Result pictures are fetched from wherever they lie, without a word about who asks."""
    door, ours, theirs, source = two
    url = theirs.picture(picture(8))
    ours.answer(Script.json({"choices": [{"message": {"content": f"![image]({url})"}}]}))
    assert door.run(source, config_for(ours, api_key=KEYS["openai"]))[0]["status"] == "done"
    assert len(theirs.requests) == 1
    assert not {"authorization", "cookie", "referer"} & theirs.requests[0].headers.keys()
    never_told(theirs)


@pytest.mark.parametrize(
    "change",
    [
        *(
            "https://{host}",
            "http://{name}:1",
            "http://{host}@evil.test",
            "http://evil.test/{host}",
            "http://evil.{host}",
        ),
        *("http://{name}.evil.test", "http://evil.test#@{host}", "http://evil.test\\@{host}", "http://{name}:80"),
        *("http://localhost:{port}", "http://[::ffff:127.0.0.1]:{port}", "http://2130706433:{port}"),
    ],
)
def test_an_origin_that_only_looks_alike_is_another(
    two: tuple[Door, FakeUpstream, FakeUpstream, Path], change: str
) -> None:
    """Scheme, host and port must all be those that the key was entered for."""
    door, ours, _, _ = two
    url = change.format(host=ours.host, name="127.0.0.1", port=ours.port) + "/v1/chat/completions"
    answer = door.ask("POST", "/api/config/current", {"config": {**config_for(ours), "api_url": url, "api_key": ""}})
    assert answer.status_code == 400, answer.text
    assert door.app.preferences.config.api_url == config_for(ours)["api_url"]


# --- beside the program ---------------------------------------------------------------------------------------------


def test_the_process_list_does_not_show_it(tmp_path: Path) -> None:
    """Neither the command line nor the title of any process of ours, while a call is under way."""
    key = KEYS["openai"]
    environ = {**os.environ, "PORT": "0", "APP_DATA_DIR": str(tmp_path / "data"), "STATUS_UI": "none"}
    command = [sys.executable, str(ROOT / "launcher.py"), "serve"]
    with FakeUpstream() as fake:
        fake.answer(Script(silent=True))
        with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True, cwd=ROOT) as program:
            assert program.stderr is not None
            found, line = None, ""
            while found is None:
                line = program.stderr.readline()
                assert line
                found = re.search(r"127\.0\.0\.1:(\d+)", line)
            port = int(found[1])
            body = json.dumps(
                {"input_path": str(source_folder(tmp_path / "in", 1)), "config": config_for(fake, api_key=key)}
            ).encode()
            head = f"POST /api/tasks/start HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            answer = raw(port, f"{head}Connection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            assert answer.startswith(b"HTTP/1.1 200"), answer
            until(lambda: fake.requests)
            for entry in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "comm"):
                    assert_absent(key, read(entry / name), f"{name} of process {entry.name}")
            assert_absent(key, read(Path("/proc") / str(program.pid) / "environ"), "the environment")
            program.terminate()
            said = program.stderr.read()
        assert_absent(key, line + said, "what was printed")
    assert fake.requests[0].headers["authorization"] == f"Bearer {key}"


def read(path: Path) -> bytes:
    """What a process shows of itself; nothing when it has ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_fault_inside_names_no_key(
    two: tuple[Door, FakeUpstream, FakeUpstream, Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An exception that carries the whole configuration is logged without it."""
    door, ours, _, source = two

    def fail(job: Any, *_: Any) -> Any:
        raise RuntimeError(job, job.config, [job.config], {"config": job.config})

    monkeypatch.setattr("engine.workspace.run_edit", fail)
    task = door.run(source, config_for(ours, api_key=KEYS["openai"]))[0]
    assert task["error"]["code"] == "internal"
    until(lambda: "RuntimeError" in caplog.text)
    assert_absent(KEYS["openai"], caplog.text, "the log")
