"""The table as a whole: every operation through both doors, with nonsense as well, and the errors in one shape."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlencode

import msgspec
import pytest

from bridge.operations import OPERATIONS, Operation
from bridge.window.js_api import make_js_api
from engine.config import ApiMode
from engine.errors import Code
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import BY_NAME, Door, config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline

# The contract, word for word. A route that an old script calls may gain company, never go.
CONTRACT = {
    "get_state": ("GET", "/api/state"),
    "list_tasks": ("GET", "/api/tasks"),
    "get_task_debug": ("GET", "/api/tasks/{task_id}/debug"),
    "inspect_path": ("POST", "/api/tasks/inspect"),
    "start_batch": ("POST", "/api/tasks/start"),
    "resume_tasks": ("POST", "/api/tasks/resume"),
    "retry_task": ("POST", "/api/tasks/{task_id}/retry"),
    "retry_task_clear": ("POST", "/api/tasks/{task_id}/retry_clear"),
    "retry_failed": ("POST", "/api/tasks/retry_failed"),
    "stop": ("POST", "/api/tasks/stop"),
    "toggle_result": ("POST", "/api/tasks/{task_id}/results/{result_id}/toggle"),
    "delete_result": ("DELETE", "/api/tasks/{task_id}/results/{result_id}"),
    "delete_task": ("DELETE", "/api/tasks/{task_id}"),
    "clear_tasks": ("POST", "/api/tasks/clear"),
    "save_result": ("POST", "/api/tasks/{task_id}/results/{result_id}/save"),
    "save_all": ("POST", "/api/tasks/save_all"),
    "source_image": ("GET", "/api/tasks/{task_id}/source"),
    "result_image": ("GET", "/api/tasks/{task_id}/results/{result_id}/image"),
    "save_config": ("POST", "/api/config/current"),
    "describe_config": ("GET", "/api/config/schema"),
    "test_config": ("POST", "/api/config/test"),
    "save_preset": ("POST", "/api/presets/save"),
    "apply_preset": ("POST", "/api/presets/apply"),
    "delete_preset": ("DELETE", "/api/presets/{name}"),
    "export_presets": ("GET", "/api/presets/export"),
    "import_presets": ("POST", "/api/presets/import"),
}
NONSENSE: list[Any] = [
    None, "", " ", "x", "\0", "a\0b", "../up", "\ud800", "图" * 5000, -1, 0, 1, 2**70, -(2**70), 1.5, 1e308, True,
    [], ["x"], {}, {"x": 1}, [[[]]], {"api_url": "http://[bad"}, {"api_url": "http://\0/"}, {"max_tokens": 2**70},
    "/proc/1/mem", "/dev/full/x", "~nobody-here/x", "{src_stem", "{a.b}", "C:\\x", "a" * 300,
]  # fmt: skip
CODES = set(Code) - {Code.INTERNAL}
# Without the one that takes its task away from all the others, and has no parameter to be wrong.
NOT_CLEARED = [operation for operation in OPERATIONS if operation.name != "clear_tasks"]


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A program with one finished task."""
    folder = tmp_path_factory.mktemp("used")
    with FakeUpstream() as fake, open_door(folder / "data", API_URL_HOST_ALLOWLIST="127.0.0.1") as door:
        fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(1)))
        door.run(source_folder(folder / "in", 1), config_for(fake))
        yield door


def route(operation: Operation, **values: str) -> str:
    """The operation's address with its parameters filled in."""
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], "x"), operation.path)


def test_table_holds_the_contract() -> None:
    """Every operation of the contract is there under its name, method and path."""
    assert {name: (BY_NAME[name].method, BY_NAME[name].path) for name in CONTRACT} == CONTRACT
    assert BY_NAME["source_thumbnail"].path == CONTRACT["source_image"][1] + "/thumbnail"
    assert BY_NAME["result_thumbnail"].path == CONTRACT["result_image"][1].replace("/image", "/thumbnail")
    assert BY_NAME["restore_result"].path == CONTRACT["delete_result"][1] + "/restore"
    assert BY_NAME["browse_folder"].path == "/api/files"
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_every_operation_is_described(operation: Operation) -> None:
    """Each has a sentence, and what it answers is a Struct whose fields are the answer's."""
    assert operation.summary.endswith(".")
    assert re.fullmatch(r"[a-z_]+", operation.name)
    in_path = set(re.findall(r"\{(\w+)\}", operation.path))
    assert in_path <= {field.encode_name for field in msgspec.structs.fields(operation.params)}
    assert get_type_hints(operation.answer)


@pytest.mark.parametrize("operation", NOT_CLEARED, ids=lambda operation: operation.name)
def test_nonsense_never_gets_500_or_422(
    used: Door, operation: Operation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever stands in a parameter, the answer is the operation's or an error in the agreed shape."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")  # some of it is a relative path
    task = used.tasks()
    values = {"task_id": task[0]["id"], "result_id": task[0]["results"][0]["id"]}
    in_path = set(re.findall(r"\{(\w+)\}", operation.path))
    names = [f.encode_name for f in msgspec.structs.fields(operation.params) if f.encode_name not in in_path]
    harmless = operation.name not in ("delete_task", "retry_task_clear")
    path = route(operation, **(values if harmless else {}))
    bodies: list[Any] = [{}, *({name: value} for name in names for value in NONSENSE)]
    bodies += [dict.fromkeys(names, value) for value in NONSENSE]
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", used.server.port, timeout=30)) as connection:
        for body in bodies:
            if operation.method == "POST":
                connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            else:
                params = {name: str(value).encode("utf-8", "replace").decode()[:200] for name, value in body.items()}
                connection.request(operation.method, f"{path}?{urlencode(params)}")
            with connection.getresponse() as answer:
                status, content = answer.status, answer.read()
            assert status in (200, 400, 401, 403, 404, 409, 413), (body, content)
            if status != 200:
                error = json.loads(content)
                assert error.keys() >= {"ok", "code", "message", "params", "detail"}, error
                assert error["code"] in CODES
    used.wait_idle()


@pytest.mark.parametrize("operation", [o for o in OPERATIONS if o.method == "POST"], ids=lambda o: o.name)
def test_bodies_that_are_no_object(used: Door, operation: Operation) -> None:
    """A body that is no JSON object, or is sent as a form, is refused before anything happens."""
    path, code = route(operation), "preset_file_invalid" if operation.name == "import_presets" else "not_json"
    json_type = {"Content-Type": "application/json; charset=utf-8"}
    for content in (b"[]", b"5", b'"x"', b"{", b"\xff", b"[" * 5000, b'{"a": "\\ud800"}x'):
        used.refused(400, code, "POST", path, content=content, headers=json_type)
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        used.refused(400, "content_type_refused", "POST", path, content=b"{}", headers={"Content-Type": kind})
    page = {"Content-Type": "", "Origin": used.base}
    used.refused(400, "content_type_refused", "POST", path, content=b"{}", headers=page)


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b"\xef\xbb\xbf{}", b' {"unknown": 1}'])
@pytest.mark.parametrize("kind", [None, "application/json", "Application/JSON; charset=utf-8"])
def test_bodies_of_plain_clients(used: Door, content: bytes, kind: str | None) -> None:
    """A script may leave out the type of its JSON, send null for nothing, or a byte order mark as PowerShell does."""
    headers = {"Content-Type": kind} if kind else {}
    answer = used.ask("POST", "/api/tasks/resume", content=content, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "resumed_count": 0})
    used.refused(400, "field_required", "POST", "/api/tasks/inspect", content=content, headers=headers)


def test_blank_values_of_a_query_are_none_at_all(used: Door) -> None:
    """What a form leaves blank takes its default."""
    for path in ("/api/state?since=&tasks=", "/api/tasks?offset=&limit=&status=&q=&sort=&desc="):
        assert len(used.get(path)["tasks"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/nothing", 404, "operation_unknown"),
        ("POST", "/api/nothing", 404, "operation_unknown"),
        ("DELETE", "/api/nothing/at/all", 404, "operation_unknown"),
        ("PATCH", "/api/presets", 404, "operation_unknown"),
        ("GET", "/api/tasks/a.b/debug", 404, "operation_unknown"),
        ("POST", "/api/tasks/" + "x" * 129 + "/retry", 404, "operation_unknown"),
        ("POST", "/api/state", 405, "method_not_allowed"),
        ("DELETE", "/api/tasks", 405, "method_not_allowed"),
        ("PUT", "/api/config/current", 405, "method_not_allowed"),
        ("GET", "/api/config/current", 405, "method_not_allowed"),
        ("GET", "/api/presets/save", 405, "method_not_allowed"),
        ("GET", "/no/such/file.js", 404, "operation_unknown"),
        ("GET", "/../launcher.py", 404, "operation_unknown"),
        ("GET", "/%2e%2e/launcher.py", 404, "operation_unknown"),
        ("GET", "/.git/config", 404, "operation_unknown"),
    ],
)
def test_what_is_not_there(shared: Door, method: str, path: str, status: int, code: str) -> None:
    """An unknown address is 404, a known one with another method 405, both in the agreed shape and hardened."""
    shared.refused(status, code, method, path)
    answer = shared.ask(method, path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    if status == 405:
        assert answer.headers["allow"]


def test_body_beyond_the_limit(shared: Door) -> None:
    """More than 8 MiB is 413 with the limit in it."""
    body = b'{"config": {"user_prompt": "' + b"x" * (8 * 1024 * 1024) + b'"}}'
    error = shared.refused(
        413, "body_too_large", "POST", "/api/config/current", content=body, headers={"Content-Type": "application/json"}
    )
    assert error["params"]["limit"] == 8 * 1024 * 1024


def test_messages_come_in_the_language_asked_for(shared: Door) -> None:
    """Accept-Language chooses; without it, as scripts of old ask, it is Chinese."""
    for wish, word in (("en-US,en;q=0.9", "no task"), ("zh-CN", "任务"), (None, "任务"), ("fr, en;q=0.5", "no task")):
        headers = {"Accept-Language": wish} if wish else {}
        assert word in shared.refused(404, "task_unknown", "GET", "/api/tasks/nope", headers=headers)["message"]


def test_window_door_is_the_same_table(used: Door, tmp_path: Path) -> None:
    """The JS API holds every operation, answers as HTTP does and never raises."""
    api: Any = make_js_api(used.app, extra={"extra": lambda values: values["a"]})
    for operation in OPERATIONS:
        assert getattr(api, operation.name).__doc__ == operation.summary
    assert api.describe_config()["data"] == used.get("/api/config/schema")
    listed = api.list_tasks({"limit": 1})
    assert (listed["ok"], listed["data"]["total"]) == (True, 1)
    task = used.tasks()[0]
    shown = api.source_image({"task_id": task["id"]})["data"]
    assert shown == {"mime": "image/png", "url": task["source_image_url"]}
    refused = api.get_task({"task_id": "nope"})
    assert (refused["ok"], refused["error"]["code"]) == (False, "task_unknown")
    assert refused["error"].keys() >= {"code", "message", "params"}
    missing = api.toggle_result({"task_id": task["id"]})["error"]
    assert (missing["code"], missing["field"]) == ("field_required", "result_id")
    assert api.toggle_result("nonsense")["error"]["code"] == "not_json"
    assert api.import_presets({"presets": {"js": {}}})["data"]["imported_presets"] == 1
    assert (api.extra({"a": 5}), api.extra({})["error"]["code"]) == ({"ok": True, "data": 5}, "internal")


def test_folders_to_choose_from(shared: Door, tmp_path: Path) -> None:
    """A browser without a native dialog looks through the folders of the server's machine."""
    source_folder(tmp_path / "b", 2)
    (tmp_path / "a").mkdir()
    (tmp_path / ".hidden").mkdir()
    answer = shared.get(f"/api/files?path={tmp_path}")
    assert [(folder["name"], folder["pictures"]) for folder in answer["folders"]] == [("a", 0), ("b", 2)]
    assert (answer["path"], answer["parent"]) == (str(tmp_path), str(tmp_path.parent))
    assert shared.get("/api/files")["path"]
    assert shared.get("/api/files?path=/")["parent"] is None
    shared.refused(400, "path_not_found", "GET", f"/api/files?path={tmp_path}/none")
    shared.refused(400, "path_unreadable", "GET", f"/api/files?path={tmp_path}/b/001_start.png")
