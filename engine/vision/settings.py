"""The judge's settings: a second connection under the rules of the first, how it judges, and the file they stand in."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
from msgspec import Meta

from engine.config import ApiConfig, ApiMode, StreamChoice, TokenField, parse_entered, parse_stored
from engine.errors import Code, InvalidInput, Problem
from engine.files import read_json, write_json
from engine.keys import with_stored_key
from engine.keystore import FileKeyStore, KeyStore, is_moved, wipe
from engine.secrets import find

_SHARED = (
    "api_url", "api_key", "model_name", "concurrency_limit", "timeout_seconds", "max_retries", "retry_interval",
    "price_per_call", "proxy", "unlock_local_api_url", "extra_body", "extra_headers",
)  # fmt: skip


_ENTRY = "judge"


class JudgeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The second connection and how it judges. ``api_key`` belongs to the origin of ``api_url`` and to no other.

    ``pass_score`` 0..10; ``max_edge`` pixels of the pictures sent; ``passes``: answers averaged; ``along``: judge while
    a run goes. The rest is as in `ApiConfig`.
    """

    api_url: str = "https://api.openai.com/v1/chat/completions"
    api_key: str = ""
    model_name: str = ""
    rubric: str = "edit_quality"
    pass_score: Annotated[float, Meta(ge=0, le=10)] = 7.0
    max_edge: Annotated[int, Meta(ge=64, le=8192)] = 1024
    passes: Annotated[int, Meta(ge=1, le=5)] = 1
    concurrency_limit: int = 3
    timeout_seconds: float = 120
    max_retries: int = 2
    retry_interval: float = 1.5
    price_per_call: float = 0
    proxy: str = ""
    unlock_local_api_url: bool = False
    extra_body: dict[str, Any] = {}
    extra_headers: dict[str, str] = {}
    along: bool = False

    def __repr__(self) -> str:
        """Never show the key, whoever prints this."""
        return f"JudgeConfig(api_url={self.api_url!r}, model_name={self.model_name!r})"

    @property
    def connection(self) -> ApiConfig:
        """The same as a configuration of edits, for the rules and the machinery that those have."""
        shared = {name: getattr(self, name) for name in _SHARED}
        return ApiConfig(
            **shared, api_mode=ApiMode.CHAT_COMPLETIONS, stream=StreamChoice.OFF, token_field=TokenField.NONE
        )

    def masked(self) -> Self:
        """A copy that may leave the program: no key, and no other secret."""
        return self.connected(self.connection.masked())

    def connected(self, connection: ApiConfig) -> Self:
        """The same judge with another connection."""
        return msgspec.structs.replace(self, **{name: getattr(connection, name) for name in _SHARED})


def parse_judge(data: Mapping[str, Any], *, stored: bool = False) -> tuple[JudgeConfig, list[Problem]]:
    """A judge as entered (InvalidInput naming the field), or as a file holds it: what cannot be read takes its
    default. The shared fields follow the rules of `ApiConfig`."""
    shared = {name: value for name, value in data.items() if name in _SHARED}
    parsed, warnings = parse_stored(shared) if stored else parse_entered(shared)
    values = {name: getattr(parsed, name) for name in shared if shared[name] is not None}
    for name, value in data.items():
        if name in _SHARED or value is None:
            continue
        if name not in JudgeConfig.__struct_fields__:
            warnings.append(Problem(Code.FIELD_UNKNOWN, {"name": name}, name))
            continue
        try:
            values[name] = getattr(msgspec.convert({name: value}, JudgeConfig, strict=False), name)
        except msgspec.ValidationError as error:
            if stored:
                continue
            raise _refused(name, value, error) from error
    return JudgeConfig(**values), warnings


def _refused(name: str, value: Any, error: msgspec.ValidationError) -> InvalidInput:
    limits = {"pass_score": (0, 10), "max_edge": (64, 8192), "passes": (1, 5)}.get(name)
    if limits is not None and isinstance(value, int | float) and "Expected `" in str(error) and "=" in str(error):
        low, high = limits
        return InvalidInput(Code.FIELD_RANGE, field=name, name=name, minimum=low, maximum=high, value=value)
    kind = {"rubric": "string", "along": "boolean", "pass_score": "number"}.get(name, "integer")
    return InvalidInput(Code.FIELD_TYPE, field=name, name=name, type=kind)


def with_own_key(sent: JudgeConfig, stored: JudgeConfig, others: Iterable[ApiConfig]) -> JudgeConfig:
    """Fill in the stored key where ``sent`` has the placeholder or none, by the rule of `with_stored_key`: that of the
    stored judge, or of the connections ``others`` of edits, where it was entered for the same origin. InvalidInput."""
    return sent.connected(with_stored_key(sent.connection, [stored.connection], others))


class JudgeFile:
    """The judge's settings on disk; each change is written before the call returns."""

    def __init__(self, path: Path, keys: KeyStore = FileKeyStore()) -> None:  # noqa: B008 - it holds nothing
        self._path = path
        self._keys = keys
        self._lock = threading.Lock()
        self._stored, problems = read_json(path)
        self._config, warnings = parse_judge(keys.complete(_ENTRY, self._stored), stored=True)
        self.problems: list[Problem] = [*problems, *warnings]

    @property
    def config(self) -> JudgeConfig:
        """The settings, key included."""
        return self._config

    def set_config(self, config: JudgeConfig) -> None:
        """Make these the settings."""
        with self._lock:
            write_json(self._path, self._keys.put_away(_ENTRY, msgspec.to_builtins(config)))
            self._config = config

    def secrets(self) -> tuple[str, ...]:
        """All that are in use."""
        return self._config.connection.secrets

    def move_keys(self) -> None:
        """What an older version wrote into the file goes into the key store."""
        if is_moved(self._keys, _ENTRY, self._stored):
            wipe(self._path, find(self._stored))
            self.set_config(self._config)
