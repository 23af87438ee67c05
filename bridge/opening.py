"""Opens a console: data folder, catalogues, and with ``demo`` the endpoint that needs no account."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from bridge.allocator import keep_freed_memory
from bridge.console import Console
from bridge.demo.endpoint import DemoEndpoint, demo_config, samples_folder
from bridge.messages import Messages
from bridge.paths import program_folder
from bridge.settings import Settings
from engine.config import origin
from engine.files import storage_failure


def load_messages() -> Messages:
    """The catalogues that come with the program."""
    return Messages(program_folder("assets") / "messages")


def version() -> str:
    """The program's version, which has one place: assets/VERSION."""
    return (program_folder("assets") / "VERSION").read_text("utf-8").strip()


@contextlib.contextmanager
def open_console(
    folder: Path, settings: Settings, messages: Messages, *, demo: bool, ledger_folder: Path | None = None
) -> Iterator[Console]:
    """A console on a data folder; the demo has a folder of its own in it: nothing of the person's is touched.

    ``ledger_folder``: where paid answers are noted, if not in the data folder.
    """
    give_back = keep_freed_memory()
    with contextlib.ExitStack() as stack:
        if not demo:
            console = Console(make_folder(folder), settings, messages, version=version(), ledger_folder=ledger_folder)
            _after_runs(stack.enter_context(console), give_back)
            yield console
            return
        endpoint = stack.enter_context(DemoEndpoint())
        first = demo_config(endpoint.base_url)
        console = stack.enter_context(
            Console(
                make_folder(folder / "demo"),
                settings,
                messages,
                version=version(),
                demo=True,
                first_config=first,
                ledger_folder=ledger_folder,
            )
        )
        _after_runs(console, give_back)
        console.sample_path = str(samples_folder(folder / "demo"))
        current = console.preferences.config
        if origin(current.api_url) != origin(first.api_url):  # another port than at the last start
            console.preferences.set_config(msgspec.structs.replace(current, api_url=first.api_url))
        yield console


def _after_runs(console: Console, action: Callable[[], object]) -> None:
    """Do this whenever a batch has ended."""
    ran = False

    def look() -> None:
        nonlocal ran
        running = console.batch.running
        if ran and not running:
            action()
        ran = running

    console.listen(look)


def make_folder(folder: Path) -> Path:
    """The folder, created where missing; StorageFailed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_failure(error, folder) from error
    return folder
