"""Owns the test of a connection: what is asked of a service with its key, never an edit, and what its answers tell.

The list of models is asked for where the address says where it should be; where there is none, the address itself.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec

from engine.config import ApiConfig, ApiMode
from engine.errors import AnswerUnusable, Code, EditFailed, NetworkFailed, UpstreamRefused
from engine.keys import origin
from engine.upstream.cancel import CancelToken
from engine.upstream.failure import event_failure, status_failure, web_page_title
from engine.upstream.jobs import PLAIN
from engine.upstream.recipe import Recipe, key_headers, placeholders, read_recipe
from engine.upstream.recipe_call import Values, fill_url
from engine.upstream.request import RESERVED_HEADERS, takes_references
from engine.upstream.sse import json_or_none
from engine.upstream.transport import Transport

MOST_MODELS = 2000
_MODEL_CHARS = 200
_LIST_BYTES = 8 * 2**20
_ENDPOINT = re.compile(r"/(?:chat/completions|responses|images(?:/(?:edits|generations))?(?:/async)?)/?$")
_VERSION = re.compile(r"^(?:/[^/]+)*?/v\d+[a-z]*\d*(?=/|$)")
_LISTS = ("data", "models", "items")
_NAMES = ("id", "name", "model")
_MORE = ("nextPageToken", "has_more", "next")
_KEY_CODES = frozenset({Code.KEY_REFUSED, Code.ACCESS_REFUSED, Code.QUOTA_EXHAUSTED})


class Tested(msgspec.Struct, frozen=True):
    """What a service said. ``http_status``: None where it could not be reached; ``models``: ids as it lists them;
    ``failure``: what keeps an edit from working, None for nothing that can be told without one."""

    http_status: int | None = None
    models: list[str] = []
    failure: EditFailed | None = None


class _Said(msgspec.Struct, frozen=True):
    """One answer. ``url``: the address that gave it, after redirects."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


def check_connection(
    transport: Transport,
    config: ApiConfig,
    seconds: float,
    cancel: CancelToken,
    clock: Callable[[], float] = time.monotonic,
) -> Tested:
    """Ask a service whether it would take the key, the model and the path; ``seconds`` for all of it.

    Raises Stopped, and InvalidInput for a recipe or proxy that cannot be used.
    """
    return _Check(transport, config, clock() + seconds, cancel, clock).run()


class _Check:
    def __init__(
        self, transport: Transport, config: ApiConfig, end: float, cancel: CancelToken, clock: Callable[[], float]
    ) -> None:
        self._transport = transport
        self._config = config
        self._end = end
        self._cancel = cancel
        self._clock = clock
        self._recipe = read_recipe(config.recipe) if config.mode is ApiMode.RECIPE else None
        self._status: int | None = None

    def run(self) -> Tested:
        models: list[str] = []
        failure: EditFailed | None = None
        try:
            listed, first = self._list()
            models = [] if listed is None else listed.models
            if listed is None:
                failure = self._address(first)
            elif listed.whole and not self._is_listed(models):
                status, name = self._status, self._config.model_name
                failure = UpstreamRefused(Code.MODEL_UNKNOWN, http_status=status, status=status, message=name)
        except EditFailed as error:
            failure = error
        return Tested(self._status, models, failure)

    def _list(self) -> tuple[_Listed | None, _Said | None]:
        """The models that are listed, None where there is no list, and what was said in its place."""
        place = models_url(self._config, self._recipe)
        if not place:
            return None, None
        said = self._ask(place)
        if said.status in (401, 403):
            raise self._refused(said)
        document = json_or_none(said.body) if said.status < 300 else None
        refusal = _refusal(document)
        if refusal is not None:
            raise refusal
        return _listed(document, self._config.secrets), said

    def _address(self, first: _Said | None) -> EditFailed | None:
        """What the address of the edits says of itself, asked without a body, so that nothing can be edited."""
        recipe, config = self._recipe, self._config
        url = config.api_url
        if recipe is not None:
            if first is not None and first.status < 500 and _page(first) is None:
                return None  # its paths are its own: the key was not refused, and more cannot be told
            url = fill_url(recipe.request.url, Values(config), config.api_url)
            url = url if recipe.request.method.upper() == "POST" and first is not None else urljoin(url, "/")
        said = self._ask(url)
        title = _page(said)
        if title is not None and (recipe is None or first is not None):
            return AnswerUnusable(Code.ANSWER_WEB_PAGE, http_status=said.status, address=_plain(said.url), title=title)
        wrong = said.status in (401, 403) or (said.status >= 500 and said.status != 501)
        if wrong or (said.status in (404, 410) and recipe is None):
            return self._refused(said)
        return _refusal(json_or_none(said.body))

    def _is_listed(self, models: list[str]) -> bool:
        """Whether the chosen model may be among them; not every recipe names it."""
        chosen = self._config.model_name.strip().lower()
        recipe = self._recipe
        named = recipe is None or any(
            "model" in placeholders(text) for text in (recipe.request.url, msgspec.json.encode(recipe.request).decode())
        )
        if not named or not chosen or takes_references(self._config.api_url):  # which lists its own elsewhere
            return True
        known = {name.lower() for name in models}
        return chosen in known or chosen.partition(":")[0] in known or f"models/{chosen}" in known

    def _ask(self, url: str) -> _Said:
        config, recipe = self._config, self._recipe or PLAIN

        def headers(place: str) -> dict[str, str]:
            own = origin(place) == origin(config.api_url)
            given = config.extra_headers if own else {}
            mine = {name: value for name, value in given.items() if name.lower() not in RESERVED_HEADERS}
            return {**mine, "Accept": "application/json", **key_headers(place, config, recipe)}

        with self._transport.ask(
            url,
            headers,
            proxy=config.proxy,
            unlocked=config.unlock_local_api_url,
            timeout=max(0.1, self._end - self._clock()),
            cancel=self._cancel,
        ) as response:
            self._status = response.status
            said = _Said(response.url, response.status, dict(response.headers), response.head(_LIST_BYTES))
        if origin(said.url) != origin(url):
            raise NetworkFailed(
                Code.REDIRECT_REFUSED, http_status=said.status, host=(urlsplit(said.url).hostname or "")[:253]
            )
        return said

    @staticmethod
    def _refused(said: _Said) -> UpstreamRefused:
        return status_failure(said.status, said.headers, said.body, time.time())


def models_url(config: ApiConfig, recipe: Recipe | None) -> str:
    """Where the list of models should be: beside the endpoint, or below the version of the API; "" where nothing
    tells."""
    url = config.api_url if recipe is None else fill_url(recipe.request.url, Values(config), config.api_url)
    path = urlsplit(url).path
    found = _VERSION.match(path)
    if recipe is None and _ENDPOINT.search(path):
        base = _ENDPOINT.sub("", path)
    elif found is not None:
        base = found[0]
    else:
        return ""
    return urljoin(url, f"{base}/models")


class _Listed(msgspec.Struct, frozen=True):
    """A list of models; ``whole``: nothing says that there are more."""

    models: list[str]
    whole: bool


def _listed(document: Any, secrets: tuple[str, ...]) -> _Listed | None:
    items: Any = document
    whole = True
    if isinstance(document, dict):
        items = next((document[key] for key in _LISTS if isinstance(document.get(key), list)), None)
        whole = not any(document.get(key) for key in _MORE)
    if not isinstance(items, list):
        return None
    names = [name for name in map(_name, items[:MOST_MODELS]) if name and not any(part in name for part in secrets)]
    return _Listed(list(dict.fromkeys(names)), whole and len(items) <= MOST_MODELS) if names else None


def _name(item: Any) -> str:
    if isinstance(item, dict):
        item = next((item[key] for key in _NAMES if isinstance(item.get(key), str)), "")
    name = item.strip().removeprefix("models/") if isinstance(item, str) else ""
    return name if len(name) <= _MODEL_CHARS and name.isprintable() else ""


def _refusal(document: Any) -> UpstreamRefused | None:
    """A refused key inside HTTP 200."""
    if not isinstance(document, dict) or any(isinstance(document.get(key), list) for key in _LISTS):
        return None
    failure = event_failure(document)
    return failure if failure.code in _KEY_CODES else None


def _page(said: _Said) -> str | None:
    """The title of a web page that came with success; None for any other answer."""
    return web_page_title(said.body) if said.status < 300 else None


def _plain(url: str) -> str:
    """An address without what may be secret in it."""
    return urlsplit(url)._replace(query="", fragment="").geturl()
