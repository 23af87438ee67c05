"""Requests that the server itself refuses (too large, no HTTP, a fault in it): answered as JSON like all others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from waitress.channel import HTTPChannel
from waitress.task import ErrorTask

_HEADERS = (
    ("Content-Type", "application/json"), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")
)  # fmt: skip

Words = Callable[[int, str, Mapping[str, str]], bytes]
"""The JSON for a status, a path and the headers (``ACCEPT_LANGUAGE``), as far as they could be read."""


def answered_by(words: Words) -> type:
    """A channel for waitress whose errors say ``words`` instead of waitress's plain text."""

    class JsonErrorTask(ErrorTask):  # type: ignore[misc] # waitress has no types
        def execute(self) -> None:
            asked = self.request
            body = words(asked.error.code, getattr(asked, "path", ""), asked.headers)
            self.status = f"{asked.error.code} {asked.error.reason}"
            self.response_headers += _HEADERS
            self.set_close_on_finish()
            self.content_length = len(body)
            self.write(body)

    class Channel(HTTPChannel):  # type: ignore[misc]
        error_task_class = JsonErrorTask

    return Channel
