"""A whole program in the test's process: application, server on a loopback port, a client that knows only HTTP."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from bridge.app import App
from bridge.environment import read_environment
from bridge.http.server import Server, bind
from bridge.open_app import load_messages, version
from bridge.operations import OPERATIONS
from engine.config import ApiMode
from tests.fakes.upstream import FakeUpstream
from tests.support.replies import PATHS

BY_NAME = {operation.name: operation for operation in OPERATIONS}
KEY = "sk-test-0123456789abcdef"
MESSAGES = load_messages()
LONG = 60.0


class Door:
    """Speaks to the server as an old script does: no Origin, no Accept-Language, unless told otherwise."""

    def __init__(self, app: App, server: Server) -> None:
        self.app = app
        self.server = server
        self.base = f"http://127.0.0.1:{server.port}"
        self.client = httpx.Client(base_url=self.base, trust_env=False, timeout=30)
        del self.client.headers["user-agent"]

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """One request; ``body`` goes as JSON."""
        if body is not None:
            more["json"] = body
        return self.client.request(method, path, **more)

    def get(self, path: str, **more: Any) -> Any:
        """The answer's JSON; it must be a 200."""
        return _good(self.ask("GET", path, **more))

    def post(self, path: str, body: Any = None, **more: Any) -> Any:
        """The answer's JSON; it must be a 200."""
        return _good(self.ask("POST", path, body, **more))

    def delete(self, path: str) -> Any:
        """The answer's JSON; it must be a 200."""
        return _good(self.ask("DELETE", path))

    def refused(self, status: int, code: str, method: str, path: str, body: Any = None, **more: Any) -> dict[str, Any]:
        """The error of a request that must be refused with this status and code."""
        answer = self.ask(method, path, body, **more)
        error: dict[str, Any] = answer.json()
        assert (answer.status_code, error.get("code")) == (status, code), answer.text
        assert error["detail"] == error["message"] == error["error"]["message"]
        assert error["message"]
        assert isinstance(error["params"], dict)
        return error

    def state(self) -> dict[str, Any]:
        """The whole state."""
        return dict(self.get("/api/state"))

    def tasks(self) -> list[dict[str, Any]]:
        """All tasks in order."""
        return list(self.state()["tasks"])

    def start(self, source: Path, config: dict[str, Any]) -> dict[str, Any]:
        """Start a batch."""
        return dict(self.post("/api/tasks/start", {"input_path": str(source), "config": config}))

    def run(self, source: Path, config: dict[str, Any]) -> list[dict[str, Any]]:
        """Start a batch and wait for its end; the tasks."""
        self.start(source, config)
        self.wait_idle()
        return self.tasks()

    def wait_idle(self, timeout: float = LONG) -> None:
        """Until nothing runs."""
        assert self.app.wait_idle(timeout), "still running"

    def close(self) -> None:
        """Close the client."""
        self.client.close()


def _good(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, f"{answer.request.method} {answer.request.url}: {answer.text}"
    return answer.json()


def open_door(folder: Path, **environ: str) -> contextlib.AbstractContextManager[Door]:
    """The program on a data folder, with these environment variables."""
    return open_door_on(folder, None, environ)


@contextlib.contextmanager
def open_door_on(folder: Path, ledger_folder: Path | None, environ: Mapping[str, str]) -> Iterator[Door]:
    """The same with a ledger that lies elsewhere."""
    settings = read_environment({"PORT": "0", **environ})
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        bound = bind(settings.host, settings.port)
        stack.callback(bound.close)
        app = stack.enter_context(App(folder, settings, MESSAGES, version=version(), ledger_folder=ledger_folder))
        server = Server(app, bound)
        stack.callback(server.close)
        server.start()
        door = Door(app, server)
        stack.callback(door.close)
        yield door


def config_for(fake: FakeUpstream, mode: ApiMode = ApiMode.CHAT_COMPLETIONS, **changes: Any) -> dict[str, Any]:
    """A configuration with every field of old and no new one, as an old script sends it."""
    return {
        "system_prompt": "",
        "user_prompt": "make it evening",
        "api_key": KEY,
        "api_url": fake.url(PATHS[mode]),
        "model_name": "grok-imagine-1.0-edit",
        "max_tokens": 65535,
        "temperature": 0.7,
        "concurrency_limit": 3,
        "max_retries": 0,
        "retry_interval": 0.1,
        "timeout_seconds": 30,
        "api_mode": "auto",
        "token_field": "auto",
        "unlock_local_api_url": True,
        "unlock_local_download_url": True,
        **changes,
    }


def until(true: Callable[[], object], timeout: float = LONG, step: float = 0.02) -> None:
    """Wait for something that happens in another thread or process."""
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(step)
