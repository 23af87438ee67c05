"""Both doors of every operation: the same names, parameters, answers and errors, from consoles in the same state."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

from bridge.app import App
from bridge.demo.endpoint import DemoEndpoint, demo_config, samples_folder
from bridge.environment import read_environment
from bridge.http.server import Server, bind
from bridge.open_app import load_messages
from bridge.operations import OPERATIONS, Kind
from bridge.window.js_api import Extra, make_js_api
from engine.config import ApiConfig
from engine.errors import Code, NotFound
from tests.support.door_cases import (
    CANNOT_FAIL,
    CASES,
    ONLY_IN_FLIGHT,
    RESULT,
    Case,
)
from tests.support.doors import BY_NAME


@dataclass(frozen=True)
class Stock:
    """A data folder with two done tasks and a failed one, to be copied, and what its ids are."""

    folder: Path
    names: dict[str, str]


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stock]:
    """Filled by the program itself, from the demo endpoint, which goes on while the tests run."""
    base = tmp_path_factory.mktemp("stock")
    sources = base / "sources"
    sources.mkdir()
    for name in ("001_start.jpg", "004_start.png", "009_start.jpg"):
        shutil.copy(samples_folder() / name, sources)
    failing = base / "failing"
    failing.mkdir()
    shutil.copy(samples_folder() / "002_start.jpg", failing)
    with DemoEndpoint(delay=0.05) as endpoint:
        folder = base / "data"
        folder.mkdir()
        with open_app(folder, demo_config(endpoint.base_url)) as app:
            run(app, failing, {"user_prompt": "error text", "max_retries": 0})
            run(app, sources, {"user_prompt": "snow"})
            api: Any = make_js_api(app)
            assert api.save_preset({"name": "我的 / mine"})["ok"]
            ask = {"input_path": str(sources), "sample": 1, "columns": [{"name": "plain", "user_prompt": "snow"}]}
            trial = api.start_trial(ask)["data"]["trial_id"]
            other = api.create_project({"name": "other"})["data"]["id"]
            tasks = api.get_state()["data"]["tasks"]
        assert sorted(task["status"] for task in tasks) == ["done", "done", "done", "failed"], tasks
        done = next(task for task in tasks if task["status"] == "done")
        failed = next(task["id"] for task in tasks if task["status"] == "failed")
        names = {"done": done["id"], "result": done["results"][0]["id"], "failed": failed, "sources": str(sources),
                 "trial": trial, "other": other}  # fmt: skip
        yield Stock(folder, names)


@contextlib.contextmanager
def open_app(folder: Path, config: ApiConfig | None = None) -> Iterator[App]:
    settings = read_environment({"ALLOW_PRIVATE_API_URL": "1", "ALLOW_PRIVATE_DOWNLOAD_URL": "1"})
    with App(folder, settings, load_messages(), version="1.2.3", first_config=config) as app:
        yield app


def run(app: App, sources: Path, config: dict[str, Any]) -> None:
    """One batch from start to end."""
    api: Any = make_js_api(app)
    current = api.get_state()["data"]["current_config"]
    started = api.start_batch({"input_path": str(sources), "config": {**current, **config}})
    assert started["ok"], started
    end = time.monotonic() + 30
    while app.batch.running:
        assert time.monotonic() < end, "the batch does not end"
        time.sleep(0.02)


class Door:
    """One way in; ``ask`` answers (ok, data or error), with this console's own folder written as <folder>."""

    def __init__(self, app: App, names: dict[str, str]) -> None:
        self._app = app
        self._names = {**names, "out": str(app.folder / "out")}

    def ask(self, name: str, params: Any) -> tuple[bool, Any]:
        filled = self._fill(params)
        if isinstance(filled, dict) and isinstance(filled.get("config"), dict):  # only the form's changes are written
            current = msgspec.to_builtins(self._app.preferences.config)
            filled = {**filled, "config": {**current, **filled["config"]}}
        ok, answer = self._ask(name, filled)
        assert self._app.jobs.wait_idle(60)
        return ok, json.loads(json.dumps(answer).replace(str(self._app.folder), "<folder>"))

    def _fill(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._fill(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._fill(item) for item in value]
        if isinstance(value, str):
            for name, found in self._names.items():
                value = value.replace("{" + name + "}", found)
        return value

    def _ask(self, name: str, params: Any) -> tuple[bool, Any]:
        raise NotImplementedError


class JsDoor(Door):
    """The window's, called as pywebview calls it: what crosses is JSON."""

    def __init__(self, app: App, names: dict[str, str]) -> None:
        super().__init__(app, names)
        self.api: Any = make_js_api(app)

    def _ask(self, name: str, params: Any) -> tuple[bool, Any]:
        answer = json.loads(json.dumps(getattr(self.api, name)(*json.loads(json.dumps([params])))))
        assert set(answer) == ({"ok", "data"} if answer["ok"] else {"ok", "error"})
        return answer["ok"], answer["data" if answer["ok"] else "error"]


class HttpDoor(Door):
    """A browser's, by the table's method and path."""

    def __init__(self, app: App, names: dict[str, str], client: httpx.Client) -> None:
        super().__init__(app, names)
        self._client = client

    def _ask(self, name: str, params: Any) -> tuple[bool, Any]:
        operation = BY_NAME[name]
        path, rest = operation.path, params
        if isinstance(params, dict):
            for key in [key for key in params if "{" + key + "}" in path]:
                path = path.replace("{" + key + "}", quote(params[key], safe=""))
            rest = {key: value for key, value in params.items() if "{" + key + "}" not in operation.path}
        if operation.method in ("GET", "DELETE"):
            response = self._client.request(operation.method, path, params=rest)
        else:
            response = self._client.request(operation.method, path, json=rest)
        if operation.kind is Kind.PICTURE and response.is_success:
            return True, {"mime": response.headers["Content-Type"], "url": str(response.request.url.raw_path, "ascii")}
        answer = response.json()
        if response.is_success:
            return True, answer
        assert answer["detail"] == answer["message"] == answer["error"]["message"]
        return False, answer["error"]


@dataclass
class Doors:
    """Both doors, each on a console of its own that began in the same state."""

    js: JsDoor
    http: HttpDoor
    app: App
    client: httpx.Client


@pytest.fixture
def doors(stock: Stock, tmp_path: Path) -> Iterator[Doors]:
    """Newly opened, for a test that may change what they hold."""
    with open_doors(stock, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def kept(stock: Stock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """For calls that only ask or are refused, and so change nothing."""
    with open_doors(stock, tmp_path_factory.mktemp("kept")) as opened:
        yield opened


@contextlib.contextmanager
def open_doors(stock: Stock, folder: Path) -> Iterator[Doors]:
    with contextlib.ExitStack() as stack:
        one, two = (shutil.copytree(stock.folder, folder / name) for name in ("one", "two"))
        first, second = (stack.enter_context(open_app(folder)) for folder in (one, two))
        server = Server(second, bind("127.0.0.1", 0))
        stack.callback(server.close)
        server.start()
        client = stack.enter_context(httpx.Client(base_url=server.url, trust_env=False, timeout=30))
        yield Doors(JsDoor(first, stock.names), HttpDoor(second, stock.names, client), first, client)


def when_settled(answer: Any) -> Any:
    """Without what depends on the second in which it was asked; of a job that still runs only what it is."""
    if isinstance(answer, dict) and answer.get("status") == "running":
        return {"kind": answer["kind"], "id": answer["id"]}
    if isinstance(answer, dict):
        return {
            key: when_settled(value)
            for key, value in answer.items()
            if key not in ("updated_at", "started_at", "at", "trial_id", "last_used", "run_name")
            and not _is_new_project(answer, key)
        }
    return [when_settled(value) for value in answer] if isinstance(answer, list) else answer


def _is_new_project(answer: dict[str, Any], key: str) -> bool:
    of_a_job = key == "project" and "pairs" in answer
    return of_a_job or (key == "id" and answer.keys() in ({"ok", "id"}, {"ok", "id", "job"}))


def label(case: Case) -> str:
    return f"{case.name}-{case.refused or 'ok'}"


def changes(case: Case) -> bool:
    """Whether a call may change what the doors hold."""
    return bool(case.before) or (case.refused is None and BY_NAME[case.name].method != "GET")


@pytest.mark.parametrize("case", [case for case in CASES if changes(case)], ids=label)
def test_both_doors_answer_the_same(doors: Doors, case: Case) -> None:
    """One call through each door, from the same state: same data or same error, and the same state after it."""
    check_case(doors, case)


@pytest.mark.parametrize("case", [case for case in CASES if not changes(case)], ids=label)
def test_both_doors_answer_the_same_and_change_nothing(kept: Doors, case: Case) -> None:
    """A call that only asks, or is refused, gets the same answer through each door, and leaves the state as it was."""
    before = when_settled(kept.js.ask("get_state", {})[1])
    check_case(kept, case)
    assert when_settled(kept.js.ask("get_state", {})[1]) == before


def check_case(doors: Doors, case: Case) -> None:
    """Call through both doors and compare."""
    for name, params in case.before:
        assert doors.js.ask(name, params)[0]
        assert doors.http.ask(name, params)[0]
    by_js, by_http = doors.js.ask(case.name, case.params), doors.http.ask(case.name, case.params)
    assert when_settled(by_js[1]) == when_settled(by_http[1])
    assert by_js[0] is by_http[0] is (case.refused is None), by_js
    if case.refused is not None:
        assert by_js[1]["code"] == case.refused
        assert by_js[1]["message"]
    if not case.before and case.name not in (
        "start_batch",
        "start_trial",
        "retry_task",
        "retry_task_clear",
        "retry_failed",
    ):
        after = [when_settled(door.ask("get_state", {})[1]) for door in (doors.js, doors.http)]
        assert after[0] == after[1]


def test_every_operation_is_tried_with_success_and_failure() -> None:
    """The cases above leave no operation out, and none that can fail is seen succeeding only."""
    assert {case.name for case in CASES if case.refused is None} == set(BY_NAME) - ONLY_IN_FLIGHT
    assert {case.name for case in CASES if case.refused is not None} == set(BY_NAME) - CANNOT_FAIL


def test_the_object_holds_the_operations_and_nothing_else(doors: Doors) -> None:
    """What pywebview walks and exposes is the table, and the window's extras beside it."""
    names = {operation.name for operation in OPERATIONS}
    assert {name for name in dir(doors.js.api) if not name.startswith("_")} == names
    assert vars(doors.js.api) == {}
    wider = make_js_api(doors.app, extra={"pick_folder": lambda _: None})
    assert {name for name in dir(wider) if not name.startswith("_")} == names | {"pick_folder"}


@pytest.mark.parametrize(
    "name", [row.name for row in OPERATIONS if row.kind is Kind.PICTURE and row.name not in ONLY_IN_FLIGHT]
)
def test_pictures_cross_by_their_address(doors: Doors, name: str) -> None:
    """The bridge answers a picture's type and URL; a GET of that URL gives exactly the picture."""
    params = {**RESULT, "size": 128} if "thumbnail" in name else RESULT
    ok, told = doors.js.ask(name, params)
    assert ok, told
    assert set(told) == {"mime", "url"}
    loaded = doors.client.get(told["url"])
    assert loaded.status_code == 200
    assert loaded.headers["Content-Type"] == told["mime"]
    assert len(loaded.content) > 500


def test_messages_come_in_the_language_of_the_page(doors: Doors) -> None:
    """Until the person chooses a language the window's own is spoken, afterwards theirs, through either door."""
    english: Any = make_js_api(doors.app, "en_US.UTF-8")
    assert "nothing at" in english.inspect_path({"input_path": "/nowhere/at all"})["error"]["message"]
    assert "nothing at" not in doors.js.ask("inspect_path", {"input_path": "/nowhere/at all"})[1]["message"]
    for door in (doors.js, doors.http):
        door.ask("save_ui", {"settings": {"language": "en"}})
    told = [
        door.ask("inspect_path", {"input_path": "/nowhere/at all"})[1]["message"] for door in (doors.js, doors.http)
    ]
    assert told[0] == told[1]
    assert "nothing at" in told[0]


@pytest.mark.parametrize("given", [(), (None,), ({},), ({}, 1, "more")], ids=["none", "null", "empty", "too many"])
def test_any_number_of_arguments_is_taken(doors: Doors, given: tuple[Any, ...]) -> None:
    """A page that calls without or with too many arguments gets an answer, never an exception with a traceback."""
    assert doors.js.api.get_ui(*given)["ok"] is True


def test_extras_of_the_window_answer_like_operations(doors: Doors) -> None:
    """A dialog's answer comes as data, its failures as errors, and a bug in one as `internal` without a traceback."""

    def unknown(params: dict[str, Any]) -> str:
        raise NotFound(Code.TASK_UNKNOWN, id=params["task_id"])

    def broken(_: dict[str, Any]) -> str:
        raise RuntimeError("secret detail")

    extras: dict[str, Extra] = {
        "pick": lambda params: params["path"] + "/chosen", "unknown": unknown, "broken": broken,
    }  # fmt: skip
    api: Any = make_js_api(doors.app, extra=extras)
    assert api.pick({"path": "/a"}) == {"ok": True, "data": "/a/chosen"}
    refused = api.unknown({"task_id": "t9"})["error"]
    assert (refused["code"], refused["params"]) == (Code.TASK_UNKNOWN, {"id": "t9"})
    assert api.pick(["/a"])["error"]["code"] == Code.NOT_JSON
    internal = api.broken()
    assert internal["error"]["code"] == Code.INTERNAL
    assert "secret" not in json.dumps(internal)
