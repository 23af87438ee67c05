"""Where the secrets of stored configurations are kept: in the system's key store where there is one, else in the file
that the configuration stands in. A file then holds the configuration without them, and no key is ever lost: what the
store does not take, or does not give back as it was, stays in the file and is told."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets as randomness
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec

from engine import secrets
from engine.errors import Code, Problem
from engine.files import read_json, write_json
from engine.keys import origin

SERVICE: Final = "image-batch-console"
_ID_FILE: Final = "key_store.json"
_PATIENCE: Final = 15.0  # seconds: a person may be asked to unlock the store
_WINDOWS_BYTES: Final = 2560  # CRED_MAX_CREDENTIAL_BLOB_SIZE, as UTF-16
_KEY: Final = "api_key"
_RUNS: Final = "run/"
_PLATFORM: Final = str(sys.platform)  # as text: the checker would look at one system only

Tell = Callable[[Sequence[Problem]], None]


class KeyStore(Protocol):
    """What holders of configurations ask. ``entry``: which one ("current", "preset/NAME", "judge"); ``config``: as JSON
    has it."""

    @property
    def kind(self) -> str:
        """``system`` or ``file``."""

    def put_away(self, entry: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Keep the secrets; what is to be written into the file."""

    def complete(self, entry: str, stored: Mapping[str, Any]) -> dict[str, Any]:
        """What the file holds, with the secrets that were put away; without what nobody can fill in."""

    def takes_over(self, stored: Mapping[str, Any]) -> bool:
        """Whether the file holds secrets that belong into the store."""

    def forget(self, entry: str) -> None:
        """There is no such configuration any more."""

    def for_runs(self) -> KeyStore:
        """The one for folders of runs, of which there are many: those of one origin share an entry."""


class FileKeyStore:
    """The fallback: secrets stay in the file, which nobody else can read."""

    kind = "file"

    def put_away(self, entry: str, config: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - as KeyStore has it
        """All of it."""
        return dict(config)

    def complete(self, entry: str, stored: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - as KeyStore has it
        """As it stands."""
        return _readable(stored)

    def takes_over(self, stored: Mapping[str, Any]) -> bool:  # noqa: ARG002 - as KeyStore has it
        """Never."""
        return False

    def forget(self, entry: str) -> None:
        """Nothing is elsewhere."""

    def for_runs(self) -> KeyStore:
        """The same."""
        return self


class _Kept(msgspec.Struct, frozen=True):
    """An entry: whole values of the fields that have secrets, and the origin that they were entered for."""

    origin: str
    fields: dict[str, Any]


class SystemKeyStore:
    """The system's, one entry a configuration. Its library is loaded when it is first asked for; a store that cannot be
    had, or does not answer, is told once and done without."""

    def __init__(
        self, folder: Path, tell: Tell, *, scope: str = "", open_backend: Callable[[], Any] | None = None
    ) -> None:
        """``folder``: whose id the entries bear. ``scope``: before their names; with one, configurations of the same
        origin share an entry."""
        self._folder = folder
        self._tell = tell
        self._scope = scope
        self._open = open_backend or system_backend
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._backend: Any = None
        self._id = ""
        self._gone = False

    @property
    def kind(self) -> str:
        """``system`` while it can be had."""
        self._ask(lambda backend: backend)
        return "file" if self._gone else "system"

    def put_away(self, entry: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """Without its secrets where the store has taken them and given them back; else as it is."""
        fields = _secret_fields(config)
        if not fields:
            self._forget_for(entry, config)
            return dict(config)
        text = msgspec.json.encode(_Kept(origin(str(config.get("api_url", ""))), fields)).decode()
        if _PLATFORM == "win32" and len(text.encode("utf-16-le")) > _WINDOWS_BYTES:
            return dict(config)
        name = self._name(entry, config)

        def keep(backend: Any) -> bool:
            if backend.get_password(SERVICE, name) != text:
                backend.set_password(SERVICE, name, text)
            return bool(backend.get_password(SERVICE, name) == text)

        return _public(config) if self._ask(keep) else dict(config)

    def complete(self, entry: str, stored: Mapping[str, Any]) -> dict[str, Any]:
        """With what was put away, where that was for the same origin; what the file holds itself goes first."""
        if not self._was_used() or (stored.get(_KEY) and not secrets.has_placeholder(dict(stored))):
            return _readable(stored)
        text = self._ask(lambda backend: backend.get_password(SERVICE, self._name(entry, stored)))
        try:
            kept = msgspec.json.decode(text or "", type=_Kept)
        except msgspec.DecodeError:
            return _readable(stored)
        if kept.origin != origin(str(stored.get("api_url", ""))):
            return _readable(stored)
        completed = dict(stored)
        for field, value in kept.fields.items():
            if field == _KEY:
                completed[_KEY] = stored.get(_KEY) or value
            elif field in stored:
                same = stored[field] in (secrets.mask(value), secrets.without(value))
                completed[field] = value if same else secrets.fill(stored[field], value)
        return _readable(completed)

    def takes_over(self, stored: Mapping[str, Any]) -> bool:
        """Where secrets stand in it, as an older version writes them, and there is a store."""
        return bool(_secret_fields(stored)) and self.kind == "system"

    def forget(self, entry: str) -> None:
        """Remove the entry; what several configurations share stays."""
        if not self._scope:
            self._forget_for(entry, {})

    def for_runs(self) -> KeyStore:
        """Under the same folder's id."""
        return SystemKeyStore(self._folder, self._tell, scope=_RUNS, open_backend=self._open)

    def _forget_for(self, entry: str, config: Mapping[str, Any]) -> None:
        name = self._name(entry, config)

        def remove(backend: Any) -> None:
            if not self._scope and backend.get_password(SERVICE, name) is not None:
                backend.delete_password(SERVICE, name)

        if self._was_used():
            self._ask(remove)

    def _was_used(self) -> bool:
        return bool(self._id) or (self._folder / _ID_FILE).exists()

    def _name(self, entry: str, config: Mapping[str, Any]) -> str:
        which = f"{self._scope}{origin(str(config.get('api_url', '')))}" if self._scope else entry
        return f"{self._folder_id()}/{which}"

    def _folder_id(self) -> str:
        """Of the data folder, wherever it is moved."""
        with self._lock:
            if not self._id:
                found, _ = read_json(self._folder / _ID_FILE)
                self._id = str(found.get("id") or "")
            if not self._id:
                self._id = randomness.token_hex(8)
                write_json(self._folder / _ID_FILE, {"id": self._id})
            return self._id

    def _ask(self, what: Callable[[Any], Any]) -> Any:
        """The answer, or None: then the store is done without from now on. In a thread, since some stores ask a person
        and some never answer."""
        answers: queue.SimpleQueue[tuple[Any, str | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                self._backend = self._backend or self._open()
                answers.put((what(self._backend), None))
            except ImportError:  # a build without the library
                answers.put((None, ""))
            except Exception as error:  # noqa: BLE001 - edge: every system's store fails with errors of its own
                answers.put((None, f"{type(error).__name__}: {error}"))

        with self._asking:
            if self._gone:
                return None
            threading.Thread(target=run, name="key store", daemon=True).start()
            try:
                answer, reason = answers.get(timeout=_PATIENCE)
            except queue.Empty:
                answer, reason = None, "no answer"
            if reason is not None:
                self._gone = True
                if reason:
                    self._tell([Problem(Code.KEY_STORE_UNUSABLE, {"reason": reason[:300]})])
            return answer


def open_key_store(folder: Path, wanted: bool, tell: Tell) -> KeyStore:
    """The system's where one is ``wanted``, see `may_have_store`; else the file. ``folder``: whose id entries bear."""
    return SystemKeyStore(folder, tell) if wanted else FileKeyStore()


def may_have_store(environ: Mapping[str, str]) -> bool:
    """Whether it is worth loading the library: an account on Windows or macOS, a session's D-Bus elsewhere."""
    if _PLATFORM == "win32":
        return bool(environ.get("USERPROFILE"))
    if _PLATFORM == "darwin":
        return bool(environ.get("HOME"))
    return bool(environ.get("DBUS_SESSION_BUS_ADDRESS"))


def system_backend() -> Any:
    """The system's own store; no other that happens to be installed, which may be a plain file. Raises what its library
    raises."""
    backend: Any
    if _PLATFORM == "win32":
        from keyring.backends import Windows

        backend = Windows.WinVaultKeyring
    elif _PLATFORM == "darwin":
        from keyring.backends import macOS

        backend = macOS.Keyring
    else:
        from keyring.backends import SecretService

        backend = SecretService.Keyring
    _ = backend.priority  # raises where it cannot work
    return backend()


def _secret_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have secrets, whole."""
    return {
        name: value
        for name, value in config.items()
        if value not in (None, "", secrets.PLACEHOLDER) and secrets.mask(value, name) != value
    }


def _public(config: Mapping[str, Any]) -> dict[str, Any]:
    """With placeholders, and no key: so that an older version asks for it."""
    return {name: "" if name == _KEY else secrets.mask(value, name) for name, value in config.items()}


def _readable(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: "" if name == _KEY and value == secrets.PLACEHOLDER else secrets.without_placeholders(value)
        for name, value in stored.items()
    }


# --- what stood in files before ---------------------------------------------------------------------------------------


def is_moved(keys: KeyStore, entry: str, stored: Mapping[str, Any]) -> bool:
    """Put away what stands in a file; whether the file may be written anew without it."""
    return keys.takes_over(stored) and not keys.takes_over(keys.put_away(entry, stored))


def wipe(path: Path, known: Iterable[str]) -> bool:
    """Overwrite these secrets in a file, in whatever writing, with blanks; whether there were any. On the disk when it
    returns; what a disk or file system keeps of its own is out of reach."""
    needles = sorted({form for secret in known for form in _written(secret)}, key=len, reverse=True)
    if path.is_symlink():
        return False
    found = False
    with contextlib.suppress(OSError), path.open("r+b") as file:
        data = before = file.read()
        for needle in needles:
            data = data.replace(needle, b" " * len(needle))
        found = data != before
        if found:
            file.seek(0)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    return found


def _written(secret: str) -> set[bytes]:
    """How a secret may stand in a JSON document."""
    if len(secret) < secrets.TELLING:
        return set()
    plain = msgspec.json.encode(secret)[1:-1]
    return {plain, json.dumps(secret)[1:-1].encode(), quote(secret, safe="").encode(), quote(secret).encode()}


def wipe_copies(folder: Path, known: Iterable[str]) -> int:
    """Overwrite secrets that are in the key store in copies that were set aside; in how many there were any."""
    known = list(known)
    copies = [path for pattern in ("*.json.damaged-*", "*.before-takeover") for path in folder.glob(pattern)]
    return sum(wipe(path, known) for path in copies)
