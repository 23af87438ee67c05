"""Owns which parameters a model at an address refuses, so that they are left out from then on, or lowered.

A parameter that we send by ourselves and that is refused by name costs one repeat, which nobody bills. What a person
wrote into the extra body is never touched: it is merged after this, and a refusal of it is told.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.config import PLAIN_PARAMETERS, ApiConfig, ApiMode
from engine.errors import Code, Param, Problem, StorageFailed
from engine.files import read_json, write_json
from engine.upstream.request import build_request

_TOKEN_FIELDS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_OURS = frozenset(
    {*_TOKEN_FIELDS, *PLAIN_PARAMETERS, "temperature", "response_format", "modalities", "n", "stream", "size"}
)
_REFUSALS = frozenset({Code.PARAMETER_REFUSED, Code.MODEL_UNSUITED})
_MODES = frozenset({ApiMode.CHAT_COMPLETIONS, ApiMode.RESPONSES, ApiMode.IMAGES_EDITS})
_MOST = 500
log = logging.getLogger(__name__)


class RefusedParameters:
    """Kept in a file of the data folder; in memory only without ``path``. Thread-safe."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._refused: dict[str, dict[str, int | None]] = {}
        if path is not None:
            stored, self.problems = read_json(path)
            self._refused = {key: _readable(value) for key, value in stored.items() if isinstance(value, dict)}

    def fitted(self, config: ApiConfig) -> ApiConfig:
        """The configuration without what its model refuses there: null in the extra body leaves a field out."""
        with self._lock:
            refused = self._refused.get(_key(config))
        return msgspec.structs.replace(config, extra_body={**refused, **config.extra_body}) if refused else config

    def learn(self, config: ApiConfig, sent: ApiConfig, problem: Problem) -> str:
        """Note why a call was refused that was made with ``sent``, which is ``config`` fitted.

        The name of the parameter if asking without it makes another request; empty where the refusal is for something
        else, or for what the person has written.
        """
        params = problem.params
        name = _ours(params.get("parameter"), sent) if problem.code in _REFUSALS else ""
        if not name or name in config.extra_body or sent.extra_body.get(name, _ABSENT) is None:
            return ""
        limit = params.get("limit")
        first = name not in sent.extra_body
        lower = (
            limit if first and name in _TOKEN_FIELDS and type(limit) is int and 0 < limit < config.max_tokens else None
        )
        with self._lock:
            known = self._refused.setdefault(_key(config), {})
            if known.get(name, _ABSENT) == sent.extra_body.get(name, _ABSENT):  # else another call has learned it
                known[name] = lower
                while len(self._refused) > _MOST:
                    del self._refused[next(iter(self._refused))]
                self._write()
        return name

    def _write(self) -> None:
        if self._path is None:
            return
        try:
            write_json(self._path, dict(self._refused))
        except StorageFailed:
            log.warning("refused parameter not noted", exc_info=True)  # it costs another repeat next time, no more


_ABSENT = object()


def _key(config: ApiConfig) -> str:
    return f"{config.api_url.partition('?')[0].partition('#')[0]} {config.model_name}"


def _ours(name: Param, sent: ApiConfig) -> str:
    """The parameter of our request that a refusal means; empty where we send none like it."""
    if sent.mode not in _MODES or not isinstance(name, str) or name not in _OURS:
        return ""
    names = (name, *_TOKEN_FIELDS) if name in _TOKEN_FIELDS else (name,)
    return next((field for field in names if _is_sent(field, sent)), "")


def _is_sent(name: str, config: ApiConfig) -> bool:
    body = build_request(config, ()).body
    return f'"{name}"'.encode() in body


def _readable(stored: Mapping[str, object]) -> dict[str, int | None]:
    return {
        name: value if type(value) is int and value > 0 else None for name, value in stored.items() if name in _OURS
    }
