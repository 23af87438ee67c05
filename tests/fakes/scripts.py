"""What a fake API is told to answer, and what it noted of a request: plain data, made from samples or on the spot."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.parser import BytesParser
from email.policy import HTTP
from pathlib import Path
from typing import Any, Self

SAMPLES = Path(__file__).parent.parent / "samples"
_TYPES = {".sse": "text/event-stream", ".json": "application/json", ".txt": "text/plain", ".html": "text/html"}


def sample(name: str) -> bytes:
    """The bytes of a recorded answer in tests/samples."""
    return (SAMPLES / name).read_bytes()


@dataclass(frozen=True)
class FormPart:
    """One part of a multipart body that was received."""

    name: str
    filename: str | None
    content_type: str
    data: bytes


@dataclass(frozen=True)
class Received:
    """A request as it came. Header names are lower case; ``path`` holds the query; ``port`` tells connections apart."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float
    port: int

    @property
    def json(self) -> Any:
        """The body as JSON; raises ValueError for another body."""
        return json.loads(self.body)

    @property
    def form(self) -> list[FormPart]:
        """The parts of a multipart/form-data body."""
        head = f"Content-Type: {self.headers['content-type']}\r\n\r\n".encode()
        message = BytesParser(policy=HTTP).parsebytes(head + self.body)
        return [
            FormPart(
                name=str(part.get_param("name", "", "content-disposition")),
                filename=part.get_filename(),
                content_type=part.get_content_type(),
                data=part.get_payload(decode=True) or b"",  # type: ignore[arg-type]
            )
            for part in message.iter_parts()
        ]


@dataclass(frozen=True)
class Script:
    """One answer. Sizes in bytes, times in seconds.

    ``pieces``: sizes of the pieces sent, over and over (``(1,)``: byte by byte); ``cuts``: offsets to cut at besides.
    ``framing``: ``length`` (Content-Length), ``chunked`` or ``close`` (ends with the connection); None: chunked if the
    answer is sent in pieces, else length. ``claim``: a Content-Length other than the true one.
    ``delay``: before the status line; ``pause``: between two pieces (drip); ``gate``: they wait until it is set.
    ``stop_at``: send only so many bytes of the body, then ``ending``: ``close``, ``reset`` (RST) or ``hang`` (say
    nothing more until the client leaves). ``silent``: read the request, never answer.
    """

    body: bytes = b""
    status: int = 200
    content_type: str | None = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: tuple[int, ...] = ()
    cuts: tuple[int, ...] = ()
    framing: str | None = None
    claim: int | None = None
    delay: float = 0
    pause: float = 0
    gate: threading.Event | None = None
    stop_at: int | None = None
    ending: str = "close"
    compressed: bool = False
    silent: bool = False

    @classmethod
    def sample(cls, name: str, **changes: Any) -> Self:
        """A recorded answer with the content type of its file ending; picture hosts in it are left as they are."""
        content_type = _TYPES.get(Path(name).suffix, "application/octet-stream")
        return cls(**{"body": sample(name), "content_type": content_type, **changes})

    @classmethod
    def json(cls, value: Any, **changes: Any) -> Self:
        """A JSON document."""
        return cls(**{"body": json.dumps(value).encode(), **changes})

    @classmethod
    def events(cls, *values: Any, done: bool = True, **changes: Any) -> Self:
        """An event stream: strings as they are, other values as JSON, then ``[DONE]``."""
        texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
        texts += ["[DONE]"] if done else []
        body = "".join(f"data: {text}\n\n" for text in texts).encode()
        return cls(**{"body": body, "content_type": "text/event-stream", **changes})

    @classmethod
    def error(cls, status: int, message: str, **changes: Any) -> Self:
        """An error status with an OpenAI-style body."""
        return cls.json({"error": {"message": message, "type": "error", "code": status}}, status=status, **changes)

    @classmethod
    def redirect(cls, location: str, status: int = 302, **changes: Any) -> Self:
        """A redirect; ``location`` may be relative."""
        return cls(**{"status": status, "content_type": None, "headers": {"Location": location}, **changes})

    def replacing(self, old: str, new: str) -> Self:
        """The same answer with another text in the body, for example the host of picture URLs."""
        return replace(self, body=self.body.replace(old.encode(), new.encode()))


Answering = Callable[[Received], Script]
