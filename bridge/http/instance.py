"""One instance a data folder: the running one leaves its address and a secret there, and both sides prove to know it.

Whoever else listens on the port by now (the program was killed, another took its port) learns neither secret nor token.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from engine.errors import StorageFailed
from engine.files import read_json, write_json

SHOW_PATH = "/api/window/show"
_NONCE_HEADER = "X-Instance-Nonce"
_PROOF_HEADER = "X-Instance-Proof"
_SECONDS = 3.0
_LONGEST_ANSWER = 1000


class Running(msgspec.Struct, frozen=True):
    """The instance that holds the folder. ``shown``: it brought its window to the front."""

    url: str
    version: str
    pid: int
    shown: bool


class ShowAnswer(msgspec.Struct, frozen=True):
    """What the running instance answers. ``proof``: that it knows the secret of its folder."""

    shown: bool
    proof: str
    ok: bool = True


def new_secret() -> str:
    """What an instance writes into its folder and never sends."""
    return secrets.token_urlsafe(24)


@contextlib.contextmanager
def announced(folder: Path, url: str, version: str, secret: str) -> Iterator[None]:
    """While the block runs, the folder says where this instance is reached."""
    file = folder / "instance.json"
    with contextlib.suppress(StorageFailed):
        write_json(file, {"url": url, "version": version, "pid": os.getpid(), "secret": secret})
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.unlink()


def call_on_running(folder: Path, *, show: bool = True) -> Running | None:
    """Ask the instance that holds the folder to show itself, or only whether it is there; None when it does not answer,
    or who answers is not that instance."""
    data, _ = read_json(folder / "instance.json")
    url, secret = data.get("url"), data.get("secret")
    if not isinstance(url, str) or not isinstance(secret, str) or not secret:
        return None
    try:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=_SECONDS)
    except ValueError:
        return None
    nonce = secrets.token_hex(16)
    headers = {_NONCE_HEADER: nonce, _PROOF_HEADER: _proof(secret, "caller", nonce)}
    try:
        connection.request("POST", SHOW_PATH + ("" if show else "?show=0"), headers=headers)
        answer = msgspec.json.decode(connection.getresponse().read(_LONGEST_ANSWER), type=ShowAnswer)
    except (OSError, http.client.HTTPException, UnicodeError, msgspec.MsgspecError):
        return None
    finally:
        connection.close()
    if not hmac.compare_digest(answer.proof.encode(), _proof(secret, "instance", nonce).encode()):
        return None
    return Running(url, str(data.get("version", "")), int(data.get("pid", 0)), answer.shown)


def answer_to(secret: str, headers: Mapping[str, str]) -> str | None:
    """The proof that the running instance gives back; None where the caller has not proved that it knows the secret.

    ``headers``: by lower-case name.
    """
    nonce = headers.get(_NONCE_HEADER.lower(), "")
    offered = headers.get(_PROOF_HEADER.lower(), "")
    if not nonce or not hmac.compare_digest(offered.encode(), _proof(secret, "caller", nonce).encode()):
        return None
    return _proof(secret, "instance", nonce)


def _proof(secret: str, side: str, nonce: str) -> str:
    return hmac.new(secret.encode(), f"{side}:{nonce}".encode(), hashlib.sha256).hexdigest()
