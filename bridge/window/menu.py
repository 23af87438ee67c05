"""The window's menu: titles, keys that the page listens to, and the commands that go to the page."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

from webview.menu import Menu, MenuAction, MenuSeparator

Text = Callable[[str], str]
_Item = Menu | MenuAction | MenuSeparator
_Entry = tuple[str, str] | None

# Name of a menu, then its entries (None: a line): the command that the page knows, and the key that it listens to.
_MENUS: dict[str, list[_Entry]] = {
    "file": [("choose-folder", "O"), ("save-all", ""), None, ("quit", "Q")],
    "run": [("start", ""), ("stop", ""), ("resume", ""), ("retry-failed", "")],
    "view": [("review", ""), None, ("zoom-in", "+"), ("zoom-out", "-"), ("zoom-reset", "0"), None, ("reload", "")],
    "help": [("keys", ""), ("in-browser", "")],
}


def make_menu(text: Text, send: Callable[[str], None], own: Mapping[str, Callable[[], object]]) -> list[Menu]:
    """``send`` gives a command to the page; ``own`` are those that the window carries out itself."""

    def item(entry: _Entry) -> _Item:
        if entry is None:
            return MenuSeparator()
        command, key = entry
        title = text(f"window.menu.{command.replace('-', '_')}") + _show_key(key)
        return MenuAction(title, own.get(command, lambda: send(command)))

    return [Menu(text(f"window.menu.{name}"), [item(entry) for entry in entries]) for name, entries in _MENUS.items()]


def _show_key(key: str) -> str:
    # pywebview's menus know no keys; so they stand in the title. A bracket there would abort GTK.
    modifier = "⌘" if sys.platform == "darwin" else "Ctrl+"
    return f"    {modifier}{key}" if key else ""
