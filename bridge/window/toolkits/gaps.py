"""What pywebview leaves open: answers under a strict policy, dropped paths, place and size, links that lead away.

With gtk and qt the only place that reaches behind its public functions.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any

from webview import dom, util

APP_ID = "image-batch-console"
RELOADS = 3
"""How often a page whose process died is loaded again."""
Placed = Callable[..., None]
"""Takes what changed of x, y, width and height, by name, in pixels."""
GoesOutside = Callable[[str], bool]
"""Whether an address is none of the program's own; if so, it has been opened in the browser."""


class Gaps:
    """Fills them for one window, on toolkits that need no more than this (Windows, macOS)."""

    counts_from_first_screen = False

    def __init__(self, window: Any, placed: Placed, goes_outside: GoesOutside) -> None:
        self.window = window
        self.placed = placed
        self.goes_outside = goes_outside
        # pywebview wraps its answers to the page in eval(), which the CSP forbids; plain statements need none. The
        # page may have been loaded anew since it asked; then nobody waits for the answer.
        window.evaluate_js = lambda script, **_: window.run_js(f"try {{ {script} }} catch (gone) {{ }}")
        # Each call of the page has a thread that waits for the toolkit's loop; the last one would wait for ever.
        vars(util)["Thread"] = functools.partial(threading.Thread, daemon=True)
        # Where it notes dropped paths; its public way to them evaluates text as well.
        noted: dict[str, Any] = dom._dnd_state
        noted["num_listeners"] = 1
        self.dropped: list[tuple[str, str]] = noted["paths"]
        logging.getLogger("pywebview").handlers.clear()  # what it writes goes into our log, not to the terminal

    def attach(self) -> None:
        """On the toolkit's thread, when the window is made and not yet shown."""
        self.window.events.moved += lambda x, y: self.placed(x=int(x), y=int(y))
        self.window.events.resized += lambda width, height: self.placed(width=int(width), height=int(height))

    def ask(self, title: str, question: str) -> bool:
        """Whether the person agrees. Not on the toolkit's thread."""
        return bool(self.window.create_confirmation_dialog(title, question))

    def dismiss_dialogs(self) -> None:
        """Cancel dialogs that are open: each has a loop of its own, which may keep the window's from ending."""

    def take_dropped(self) -> str | None:
        """The paths that were dropped, one a line, once."""
        paths = [path for _, path in self.dropped]
        self.dropped.clear()
        return "\n".join(paths) or None

    def on_screen(self) -> None:
        """Forget a remembered place that no screen shows any more, so that the window comes up in the middle."""
        window = self.window
        if window.initial_x is None or window.initial_y is None:
            return
        screens = window.gui.get_screens()
        x, y = window.initial_x + window.initial_width // 2, window.initial_y + 10  # where a title bar is held
        if not any(s.x <= x < s.x + s.width and s.y <= y < s.y + s.height for s in screens):
            window.initial_x = window.initial_y = None
        elif self.counts_from_first_screen:
            window.initial_x -= screens[0].x
            window.initial_y -= screens[0].y
