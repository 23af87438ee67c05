"""Both doors of every operation: the same names, parameters, answers and errors, from consoles in the same state."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

from bridge.console import Console
from bridge.demo import DemoEndpoint, demo_config, samples_folder
from bridge.js_api import Extra, make_js_api
from bridge.opening import load_messages
from bridge.operations import BY_NAME, OPERATIONS, Kind
from bridge.server import Server, bind
from bridge.settings import read_settings
from engine.config import ApiConfig
from engine.errors import Code, NotFound

NO_TASK, NO_RESULT = "no-such-task", "no-such-result"
SLOW = {"user_prompt": "error slow"}
Step = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One call of one operation. ``{done}`` and the like in parameters stand for what the data folder holds."""

    name: str
    params: Any = field(default_factory=dict)
    refused: Code | None = None
    before: tuple[Step, ...] = ()


RUNNING: tuple[Step, ...] = (("start_batch", {"input_path": "{sources}", "config": SLOW}),)
RETRYING: tuple[Step, ...] = (("save_config", {"config": SLOW}), ("retry_task", {"task_id": "{failed}"}))
RESULT = {"task_id": "{done}", "result_id": "{result}"}
NOT_A_TASK = {"task_id": NO_TASK}
NOT_A_RESULT = {"task_id": "{done}", "result_id": NO_RESULT}
FREE_RULE = {"filename_template": "{src_stem}_{result_index}", "create_txt": True, "txt_template": "{image_name}"}
BROKEN_RULE = {"filename_template": "{nothing_like_it}"}
EXPORTED = {"presets": {"new": {"user_prompt": "night"}}, "current_config": {"user_prompt": "snow"}}

ONLY_IN_FLIGHT = {"preview_image"}  # seen succeeding in test_preview.py, while a task runs

CASES = (
    Case("get_state"),
    Case("get_state", {"tasks": 0}),
    Case("get_state", {"since": 2}),
    Case("get_state", {"since": "yesterday"}, Code.FIELD_TYPE),
    Case("list_tasks"),
    Case("list_tasks", {"offset": 1, "limit": 1, "status": "done,failed", "q": "0", "sort": "name", "desc": True}),
    Case("list_tasks", {"limit": 0}, Code.FIELD_RANGE),
    Case("list_tasks", {"status": "nonsense"}, Code.FIELD_CHOICE),
    Case("get_task", {"task_id": "{done}"}),
    Case("get_task", NOT_A_TASK, Code.TASK_UNKNOWN),
    Case("get_task_debug", {"task_id": "{failed}"}),
    Case("get_task_debug", NOT_A_TASK, Code.TASK_UNKNOWN),
    Case("inspect_path", {"input_path": "{sources}"}),
    Case("inspect_path", {}, Code.FIELD_REQUIRED),
    Case("inspect_path", {"input_path": ["{sources}"]}, Code.FIELD_TYPE),
    Case("inspect_path", {"input_path": "{sources}/nowhere"}, Code.PATH_NOT_FOUND),
    Case("inspect_path", ["{sources}"], Code.NOT_JSON),
    Case("start_batch", {"input_path": "{sources}", "config": SLOW}),
    Case("start_batch", {"input_path": "{sources}", "config": {"concurrency_limit": 99}}, Code.FIELD_RANGE),
    Case("start_batch", {"input_path": "{sources}", "config": "mine"}, Code.FIELD_TYPE),
    Case("start_batch", {"input_path": "{sources}"}, Code.BATCH_RUNNING, RUNNING),
    Case("resume_tasks"),
    Case("resume_tasks", {}, Code.BATCH_RUNNING, RUNNING),
    Case("retry_task", {"task_id": "{failed}"}),
    Case("retry_task", NOT_A_TASK, Code.TASK_UNKNOWN),
    Case("retry_task", {"task_id": "{failed}"}, Code.TASK_RUNNING, RETRYING),
    Case("retry_task_clear", {"task_id": "{done}"}),
    Case("retry_task_clear", NOT_A_TASK, Code.TASK_UNKNOWN),
    Case("retry_failed"),
    Case("stop"),
    Case("stop", {}, None, RUNNING),
    Case("toggle_result", RESULT),
    Case("toggle_result", NOT_A_RESULT, Code.RESULT_UNKNOWN),
    Case("delete_result", RESULT),
    Case("delete_result", NOT_A_RESULT, Code.RESULT_UNKNOWN),
    Case("restore_result", RESULT, None, (("delete_result", RESULT),)),
    Case("restore_result", NOT_A_RESULT, Code.RESULT_UNKNOWN),
    Case("delete_task", {"task_id": "{done}"}),
    Case("delete_task", NOT_A_TASK, Code.TASK_UNKNOWN),
    Case("delete_task", {"task_id": "{done}"}, Code.BATCH_RUNNING, RUNNING),
    Case("clear_tasks"),
    Case("clear_tasks", {}, Code.BATCH_RUNNING, RUNNING),
    Case("bulk_tasks", {"action": "untick", "task_ids": ["{done}"]}),
    Case("bulk_tasks", {"action": "drop", "match": {"status": "done"}}),
    Case("bulk_tasks", {"action": "explode", "task_ids": ["{done}"]}, Code.FIELD_CHOICE),
    Case("bulk_tasks", {"action": "tick"}, Code.FIELD_REQUIRED),
    Case("save_result", {**RESULT, "output_dir": "{out}", **FREE_RULE}),
    Case("save_result", {**RESULT, "output_dir": ""}, Code.OUTPUT_REQUIRED),
    Case("save_result", {**NOT_A_RESULT, "output_dir": "{out}"}, Code.RESULT_UNKNOWN),
    Case("save_all", {"output_dir": "{out}", "only_selected": False, **FREE_RULE}),
    Case("save_all", {"output_dir": "{out}", **BROKEN_RULE}, Code.TEMPLATE_VARIABLE),
    Case("source_image", {"task_id": "{done}"}),
    Case("source_image", NOT_A_TASK, Code.TASK_UNKNOWN),
    Case("source_thumbnail", {"task_id": "{done}", "size": 64}),
    Case("source_thumbnail", {"task_id": "{done}", "size": 99999}, Code.FIELD_RANGE),
    Case("result_image", RESULT),
    Case("result_image", NOT_A_RESULT, Code.RESULT_UNKNOWN),
    Case("preview_image", {"task_id": "{done}"}, Code.NO_PREVIEW),
    Case("result_thumbnail", {**RESULT, "size": 64}),
    Case("result_thumbnail", {**RESULT, "size": "big"}, Code.FIELD_TYPE),
    Case("list_save_rules"),
    Case("preview_names", {"limit": 2, **FREE_RULE}),
    Case("preview_names", BROKEN_RULE, Code.TEMPLATE_VARIABLE),
    Case("save_rule", {"output_dir": "{out}", **FREE_RULE}),
    Case("save_rule", BROKEN_RULE, Code.TEMPLATE_VARIABLE),
    Case("list_trainers"),
    Case("preflight", {"match": {"status": "done"}}),
    Case("preflight", {"thresholds": {"unrelated": 99}}, Code.FIELD_RANGE),
    Case("preflight", {"trainer": "nobody's"}, Code.FIELD_CHOICE),
    Case("list_findings", {"limit": 5}, None, (("preflight", {}),)),
    Case("list_findings", {"kind": "nonsense"}, Code.FIELD_CHOICE),
    Case("export_set", {"output_dir": "{out}", "name": "night", "leave_out": True}),
    Case("export_set", {"output_dir": "", "name": "night"}, Code.OUTPUT_REQUIRED),
    Case("set_report", {"path": "{out}/report.html"}),
    Case("set_report", {"path": "{out}/report.txt"}, Code.REPORT_NAME),
    Case("get_job", {}, None, (("preflight", {}),)),
    Case("stop_job"),
    Case("save_config", {"config": {"user_prompt": "夜", "unheard_of": 1}}),
    Case("save_config", {"config": {"temperature": 9}}, Code.FIELD_RANGE),
    Case("save_config", {}, Code.FIELD_REQUIRED),
    Case("describe_config"),
    Case("test_config"),
    Case("test_config", {"config": {"api_url": "ftp://example.test/"}}, Code.URL_SCHEME),
    Case("save_preset", {"name": "another", "config": {"user_prompt": "水墨"}}),
    Case("save_preset", {"config": {}}, Code.FIELD_REQUIRED),
    Case("apply_preset", {"name": "我的 / mine"}),
    Case("apply_preset", {"name": "nobody's"}, Code.PRESET_UNKNOWN),
    Case("delete_preset", {"name": "我的 / mine"}),
    Case("delete_preset", {"name": "nobody's"}, Code.PRESET_UNKNOWN),
    Case("export_presets"),
    Case("import_presets", EXPORTED),
    Case("import_presets", ["no presets"], Code.PRESET_FILE_INVALID),
    Case("import_presets", {"presets": {"big": {"user_prompt": "x" * 2_200_000}}}, Code.BODY_TOO_LARGE),
    Case("list_templates"),
    Case("get_ui"),
    Case("save_ui", {"settings": {"theme": "dark", "nothing": None}}),
    Case("save_ui", {"settings": {"much": "x" * 300_000}}, Code.FIELD_RANGE),
    Case("get_messages", {"language": "en"}),
    Case("get_messages", {"language": "tlh"}, Code.OPERATION_UNKNOWN),
    Case("browse_folder", {"path": "{sources}"}),
    Case("browse_folder", {"path": "{sources}/nowhere"}, Code.PATH_NOT_FOUND),
)
CANNOT_FAIL = {
    "describe_config", "export_presets", "get_job", "get_ui", "list_save_rules", "list_templates", "list_trainers",
    "retry_failed", "stop", "stop_job",
}  # fmt: skip


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
        with open_console(folder, demo_config(endpoint.base_url)) as console:
            run(console, failing, {"user_prompt": "error text", "max_retries": 0})
            run(console, sources, {"user_prompt": "snow"})
            api: Any = make_js_api(console)
            assert api.save_preset({"name": "我的 / mine"})["ok"]
            tasks = api.get_state()["data"]["tasks"]
        assert sorted(task["status"] for task in tasks) == ["done", "done", "done", "failed"], tasks
        done = next(task for task in tasks if task["status"] == "done")
        failed = next(task["id"] for task in tasks if task["status"] == "failed")
        names = {"done": done["id"], "result": done["results"][0]["id"], "failed": failed, "sources": str(sources)}
        yield Stock(folder, names)


@contextlib.contextmanager
def open_console(folder: Path, config: ApiConfig | None = None) -> Iterator[Console]:
    settings = read_settings({"ALLOW_PRIVATE_API_URL": "1", "ALLOW_PRIVATE_DOWNLOAD_URL": "1"})
    with Console(folder, settings, load_messages(), version="1.2.3", first_config=config) as console:
        yield console


def run(console: Console, sources: Path, config: dict[str, Any]) -> None:
    """One batch from start to end."""
    api: Any = make_js_api(console)
    current = api.get_state()["data"]["current_config"]
    started = api.start_batch({"input_path": str(sources), "config": {**current, **config}})
    assert started["ok"], started
    end = time.monotonic() + 30
    while console.batch.running:
        assert time.monotonic() < end, "the batch does not end"
        time.sleep(0.02)


class Door:
    """One way in; ``ask`` answers (ok, data or error), with this console's own folder written as <folder>."""

    def __init__(self, console: Console, names: dict[str, str]) -> None:
        self._console = console
        self._names = {**names, "out": str(console.folder / "out")}

    def ask(self, name: str, params: Any) -> tuple[bool, Any]:
        filled = self._fill(params)
        if isinstance(filled, dict) and isinstance(filled.get("config"), dict):  # only the form's changes are written
            current = msgspec.to_builtins(self._console.preferences.config)
            filled = {**filled, "config": {**current, **filled["config"]}}
        ok, answer = self._ask(name, filled)
        assert self._console.jobs.wait_idle(60)
        return ok, json.loads(json.dumps(answer).replace(str(self._console.folder), "<folder>"))

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

    def __init__(self, console: Console, names: dict[str, str]) -> None:
        super().__init__(console, names)
        self.api: Any = make_js_api(console)

    def _ask(self, name: str, params: Any) -> tuple[bool, Any]:
        answer = json.loads(json.dumps(getattr(self.api, name)(*json.loads(json.dumps([params])))))
        assert set(answer) == ({"ok", "data"} if answer["ok"] else {"ok", "error"})
        return answer["ok"], answer["data" if answer["ok"] else "error"]


class HttpDoor(Door):
    """A browser's, by the table's method and path."""

    def __init__(self, console: Console, names: dict[str, str], client: httpx.Client) -> None:
        super().__init__(console, names)
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
    console: Console
    client: httpx.Client


@pytest.fixture
def doors(stock: Stock, tmp_path: Path) -> Iterator[Doors]:
    with contextlib.ExitStack() as stack:
        one, two = (shutil.copytree(stock.folder, tmp_path / name) for name in ("one", "two"))
        first, second = (stack.enter_context(open_console(folder)) for folder in (one, two))
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
            key: when_settled(value) for key, value in answer.items() if key not in ("updated_at", "started_at", "at")
        }
    return [when_settled(value) for value in answer] if isinstance(answer, list) else answer


def label(case: Case) -> str:
    return f"{case.name}-{case.refused or 'ok'}"


@pytest.mark.parametrize("case", CASES, ids=label)
def test_both_doors_answer_the_same(doors: Doors, case: Case) -> None:
    """One call through each door, from the same state: same data or same error, and the same state after it."""
    for name, params in case.before:
        assert doors.js.ask(name, params)[0]
        assert doors.http.ask(name, params)[0]
    by_js, by_http = doors.js.ask(case.name, case.params), doors.http.ask(case.name, case.params)
    assert when_settled(by_js[1]) == when_settled(by_http[1])
    assert by_js[0] is by_http[0] is (case.refused is None), by_js
    if case.refused is not None:
        assert by_js[1]["code"] == case.refused
        assert by_js[1]["message"]
    if not case.before and case.name not in ("start_batch", "retry_task", "retry_task_clear", "retry_failed"):
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
    wider = make_js_api(doors.console, extra={"pick_folder": lambda _: None})
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
    english: Any = make_js_api(doors.console, "en_US.UTF-8")
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
    api: Any = make_js_api(doors.console, extra=extras)
    assert api.pick({"path": "/a"}) == {"ok": True, "data": "/a/chosen"}
    refused = api.unknown({"task_id": "t9"})["error"]
    assert (refused["code"], refused["params"]) == (Code.TASK_UNKNOWN, {"id": "t9"})
    assert api.pick(["/a"])["error"]["code"] == Code.NOT_JSON
    internal = api.broken()
    assert internal["error"]["code"] == Code.INTERNAL
    assert "secret" not in json.dumps(internal)
