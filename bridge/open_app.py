"""Opens the application: data folder, catalogues, and with ``demo`` the endpoint that needs no account."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from bridge.app import App
from bridge.demo.critic import JUDGE_MODEL
from bridge.demo.endpoint import DemoEndpoint, demo_config, samples_folder
from bridge.demo.orders import PATHS
from bridge.environment import Environment
from bridge.messages import Messages
from bridge.paths import program_folder
from engine.allocator import keep_freed_memory
from engine.config import ApiMode
from engine.files import storage_failure
from engine.keys import origin


def load_messages() -> Messages:
    """The catalogues that come with the program."""
    return Messages(program_folder("assets") / "messages")


def version() -> str:
    """The program's version, which has one place: assets/VERSION."""
    return (program_folder("assets") / "VERSION").read_text("utf-8").strip()


@contextlib.contextmanager
def open_app(
    folder: Path,
    environment: Environment,
    messages: Messages,
    *,
    demo: bool,
    ledger_folder: Path | None = None,
    single: bool = False,
) -> Iterator[App]:
    """The application on a data folder; the demo has a folder of its own in it: nothing of the person's is touched.

    ``ledger_folder``: where paid answers are noted, if not in the data folder. ``single``: see `App`.
    """
    give_back = keep_freed_memory()
    with contextlib.ExitStack() as stack:
        if not demo:
            app = App(
                make_folder(folder),
                environment,
                messages,
                version=version(),
                ledger_folder=ledger_folder,
                single=single,
            )
            _after_runs(stack.enter_context(app), give_back)
            yield app
            return
        endpoint = stack.enter_context(DemoEndpoint())
        first = demo_config(endpoint.base_url)
        app = stack.enter_context(
            App(
                make_folder(folder / "demo"),
                environment,
                messages,
                version=version(),
                demo=True,
                first_config=first,
                ledger_folder=ledger_folder,
                single=single,
            )
        )
        _after_runs(app, give_back)
        app.sample_path = str(samples_folder(folder / "demo"))
        current = app.preferences.config
        if origin(current.api_url) != origin(first.api_url):  # another port than at the last start
            app.preferences.set_config(msgspec.structs.replace(current, api_url=first.api_url))
        _let_the_demo_judge(app, endpoint.base_url + PATHS[ApiMode.CHAT_COMPLETIONS])
        yield app


def _let_the_demo_judge(app: App, api_url: str) -> None:
    """The demo's endpoint judges as well, on the port of this start; a judge of the person's own stays."""
    judge = app.vision.settings.config
    if judge.model_name in ("", JUDGE_MODEL):
        judge = msgspec.structs.replace(judge, api_url=api_url, model_name=JUDGE_MODEL, unlock_local_api_url=True)
        app.vision.settings.set_config(judge)


def _after_runs(app: App, action: Callable[[], object]) -> None:
    """Do this whenever a batch has ended."""
    ran = False

    def look() -> None:
        nonlocal ran
        running = app.batch.running
        if ran and not running:
            action()
        ran = running

    app.listen(look)


def make_folder(folder: Path) -> Path:
    """The folder, created where missing; StorageFailed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_failure(error, folder) from error
    return folder
