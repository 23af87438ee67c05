"""The page's frame as it is sent: version, table of operations and preloads filled into index.html, and its policy.

Neither list is written by hand: a module or an operation that is there is named to the browser.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from bridge.http.openapi import EVENTS_PATH
from bridge.operations import OPERATIONS

_IN_TAGS_OF_THEIR_OWN: Final = frozenset({"js/main.js", "js/bridge.js"})


def make_page(webui: Path, version: str) -> str:
    """index.html with its placeholders filled in."""
    filled = {"%VERSION%": version, "%OPERATIONS%": operation_table(), "%PRELOADS%": "\n".join(_preloads(webui))}
    text = (webui / "index.html").read_text("utf-8")
    for placeholder, value in filled.items():
        text = text.replace(placeholder, value)
    return text


def operation_table() -> str:
    """JSON: method and path of each operation by name, the event stream among them."""
    rows = {operation.name: (operation.method, operation.path) for operation in OPERATIONS}
    return msgspec.json.encode({**rows, "events": ("GET", EVENTS_PATH)}).decode()


def _preloads(webui: Path) -> Iterator[str]:
    """A link for each module, so that the browser need not find them one behind the other."""
    modules = (path.relative_to(webui).as_posix() for path in webui.rglob("*.js"))
    for name in sorted(set(modules) - _IN_TAGS_OF_THEIR_OWN):
        yield f'<link rel="modulepreload" href="./{name}">'


def page_policy(html: str) -> str:
    """The page's CSP: scripts from here only, and the one inline import map by its hash."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
        for script in re.findall(r"<script type=\"importmap\">(.*?)</script>", html, re.DOTALL)
    )
    return (
        f"default-src 'none'; script-src 'self' {hashes}; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
