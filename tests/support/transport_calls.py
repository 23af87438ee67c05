"""Calls and downloads of a transport with the local network unlocked, and what they fail with."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engine.errors import EditFailed
from engine.upstream.cancel import CancelToken
from engine.upstream.netguard import NetPolicy
from engine.upstream.transport import Transport
from tests.fakes.peers import outgoing, read_request

KEY = "sk-test-8f3b7c"


@pytest.fixture
def transport() -> Iterator[Transport]:
    """A transport without a proxy in its environment."""
    made = Transport(NetPolicy(), proxies=dict)
    yield made
    made.close()


def call(transport: Transport, url: str, *, timeout: float = 60, **changes: Any) -> tuple[int, bytes]:
    """Status and body of an API call with the local network unlocked."""
    request = outgoing(url, headers={"Authorization": f"Bearer {KEY}"}, **changes)
    with transport.send(request, proxy="", unlocked=True, timeout=timeout, cancel=CancelToken()) as answer:
        return answer.status, answer.read(1 << 20)


def fetch(transport: Transport, url: str, *, max_bytes: int = 1 << 20, unlocked: bool = True) -> bytes:
    """A download with the local network unlocked."""
    return transport.fetch(url, proxy="", unlocked=unlocked, timeout=60, cancel=CancelToken(), max_bytes=max_bytes)


def failure(action: Callable[[], object]) -> EditFailed:
    """What the action fails with; the key is nowhere in it."""
    with pytest.raises(EditFailed) as caught:
        action()
    error = caught.value
    assert KEY not in repr((error, error.params, error.__cause__))
    return error


def recording(seen: list[bytes], *answers: bytes) -> Callable[[socket.socket], None]:
    """Like ``answering``, and keeps the requests."""
    left = list(answers)

    def talk(client: socket.socket) -> None:
        while request := read_request(client):
            seen.append(request)
            client.sendall(left.pop(0) if len(left) > 1 else left[0])

    return talk
