"""The only way to a terminal: what APIs answer and how files are called reaches it as text, never as commands.

A new message to the person goes through `say`, a `Screen` or `write_event`; tests/test_house.py sees to it.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Final

import msgspec
from rich.console import Console

from bridge.plain import TURNING, one_line

_IN_JSON: Final = {code: f"\\u{code:04x}" for code in (0x7F, *range(0x80, 0xA0), 0x2028, 0x2029, *TURNING)}


def say(text: str) -> None:
    """A line for the person, on standard error."""
    sys.stderr.write(one_line(text) + "\n")
    sys.stderr.flush()


def write_event(event: str, **data: Any) -> None:
    """A JSON object as a line of standard output; where nobody reads on, what is under way goes on all the same."""
    line = msgspec.json.encode({"event": event, **data}).decode().translate(_IN_JSON)
    try:
        sys.stdout.buffer.write(line.encode() + b"\n")
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Screen:
    """Standard error where a bar may be drawn below what is said."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)

    @property
    def is_terminal(self) -> bool:
        """Whether somebody may be looking."""
        return self.console.is_terminal

    def say(self, text: str) -> None:
        """A line for the person."""
        self.console.print(one_line(text), markup=False, highlight=False, soft_wrap=True)
