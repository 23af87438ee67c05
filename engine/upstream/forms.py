"""Owns which form of images/edits a server takes: the table of dialects, what a refusal says, what was learned.

Which one is right cannot be told from an address. The first call of a run finds it out; the others wait for that.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from engine.config import ApiConfig, ApiMode, RequestForm
from engine.errors import Code, StorageFailed, UpstreamRefused
from engine.files import read_json, write_json
from engine.upstream.cancel import CancelToken
from engine.upstream.request import takes_references

# The order in which forms are tried, by host; a host that is not here gets the last row.
_JSON, _STRING, _OPENAI = RequestForm.JSON, RequestForm.JSON_STRING, RequestForm.JSON_OPENAI
_FORM, _LIST = RequestForm.FORM, RequestForm.FORM_LIST
_ORDERS: Mapping[str, tuple[RequestForm, ...]] = {
    "api.openai.com": (_LIST, _FORM, _OPENAI, _JSON, _STRING),
    "api.x.ai": (_JSON, _STRING, _OPENAI, _LIST, _FORM),
    "": (_JSON, _FORM, _LIST, _STRING, _OPENAI),
}
CERTAIN = frozenset({"api.openai.com", "api.x.ai"})
"""Hosts whose first form is documented: nobody waits for a probe there."""

# What a refusal with one of these says, it does not say of the form of the body.
_SOMETHING_ELSE = frozenset(
    {
        Code.KEY_REFUSED, Code.ACCESS_REFUSED, Code.QUOTA_EXHAUSTED, Code.CONTENT_REFUSED, Code.MODEL_UNKNOWN,
        Code.RATE_LIMITED, Code.REQUEST_TOO_LARGE, Code.ENDPOINT_UNKNOWN,
    }
)  # fmt: skip
_OF_FORM = frozenset({400, 406, 415, 422, 500})
_OF_PICTURE = ("image", "prompt", "model", "body", "file", "messages", "input")
_OPTIONS = frozenset({"partial_images", "input_fidelity", "image_config", "image_size"})  # have such words in them
_FORM_WORDS = re.compile(r"multipart|form.?data|content.?type|attribute|\b(?:file|dict|object|image)\b", re.IGNORECASE)
_LOOK_SECONDS = 1.0
_MOST_LEARNED = 500
log = logging.getLogger(__name__)


def forms_to_try(config: ApiConfig, learned: RequestForm | None = None) -> tuple[RequestForm, ...]:
    """The forms for this configuration, the likeliest first; one alone where the person fixed it."""
    if config.mode is not ApiMode.IMAGES_EDITS or takes_references(config.api_url):
        return (RequestForm.JSON,)
    if config.request_form is not RequestForm.AUTO:
        return (config.request_form,)
    order = _ORDERS.get((urlsplit(config.api_url).hostname or "").rstrip(".").lower(), _ORDERS[""])
    return order if learned is None else (learned, *(form for form in order if form is not learned))


def may_be_the_form(failure: UpstreamRefused) -> bool:
    """Whether a refusal may come from the form of the body: it is not plainly about something else."""
    if failure.http_status == 500 and not _FORM_WORDS.search(str(failure.params.get("message", ""))):
        return False
    if failure.http_status not in _OF_FORM or failure.code in _SOMETHING_ELSE:
        return failure.http_status == 415
    named = failure.params.get("parameter")
    if not isinstance(named, str) or not named:
        return True
    return named.lower() not in _OPTIONS and any(word in named.lower() for word in _OF_PICTURE)


class LearnedForms:
    """Which form each address took, kept in a file of the data folder. Thread-safe; without a path in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._forms: dict[str, RequestForm] = {}
        if path is not None:
            stored, _ = read_json(path)
            for address, form in stored.items():
                if form in set(RequestForm) - {RequestForm.AUTO}:
                    self._forms[address] = RequestForm(form)

    def of(self, url: str) -> RequestForm | None:
        """What this address took last."""
        with self._lock:
            return self._forms.get(_address(url))

    def learn(self, url: str, form: RequestForm) -> None:
        """This address took this form; a disk that refuses the note costs a probe another time, no more."""
        address = _address(url)
        with self._lock:
            if self._forms.get(address) is form:
                return
            self._forms.pop(address, None)
            self._forms[address] = form
            while len(self._forms) > _MOST_LEARNED:
                del self._forms[next(iter(self._forms))]
            if self._path is not None:
                try:
                    write_json(self._path, dict(self._forms))
                except StorageFailed:
                    log.warning("form not noted", exc_info=True)


def _address(url: str) -> str:
    return url.partition("?")[0].partition("#")[0]


class _Probe(msgspec.Struct):
    """What a run knows of one address. ``place``: of the form in ``order``; ``asking``: a call is out to find out."""

    order: tuple[RequestForm, ...]
    settled: bool
    place: int = 0
    asking: bool = False
    came: bool = False
    exhausted: bool = False


class FormProbes:
    """The forms of one run. Thread-safe: while one call finds out what an address takes, the others wait for it."""

    def __init__(self, learned: LearnedForms | None = None) -> None:
        self._learned = learned or LearnedForms()
        self._changed = threading.Condition()
        self._probes: dict[str, _Probe] = {}

    def enter(self, config: ApiConfig, cancel: CancelToken) -> RequestForm:
        """The form to use now; ``leave`` follows. Raises Stopped as soon as cancelled."""
        if not _is_open(config):
            return forms_to_try(config)[0]
        with cancel.closing(self._wake), self._changed:
            probe = self._probe(config)
            while probe.asking and not probe.settled:
                cancel.check()
                self._changed.wait(_LOOK_SECONDS)
            cancel.check()
            probe.asking = not probe.settled
            return probe.order[probe.place]

    def began(self, config: ApiConfig, form: RequestForm) -> None:
        """An answer began that is no refusal: others need not wait for its end."""
        if _is_open(config):
            with self._changed:
                probe = self._probe(config)
                if probe.order[probe.place] is form:
                    probe.settled, probe.asking = True, False
                    self._changed.notify_all()

    def took(self, config: ApiConfig, form: RequestForm) -> None:
        """A picture came: this is the form, from now on and after a restart."""
        self.began(config, form)
        if _is_open(config):
            with self._changed:
                self._probe(config).came = True
            self._learned.learn(config.api_url, form)

    def leave(self, config: ApiConfig, form: RequestForm, refused: UpstreamRefused | None = None) -> bool:
        """The call is over, ``refused`` where it was. Whether the next form is to be tried with the same pictures."""
        if not _is_open(config):
            return False
        with self._changed:
            probe = self._probe(config)
            mine = probe.order[probe.place] is form
            if mine:
                probe.asking = False
                self._changed.notify_all()
            if refused is None or not may_be_the_form(refused) or probe.came or probe.exhausted:
                return False
            if not mine:  # another call has found out meanwhile
                return True
            if probe.place + 1 == len(probe.order):  # none is taken: nobody probes any more in this run
                probe.place, probe.settled, probe.exhausted = 0, True, True
                return False
            probe.place += 1
            probe.settled = False
            return True

    def tried_all(self, config: ApiConfig) -> bool:
        """Whether every form was refused in this run."""
        with self._changed:
            return _is_open(config) and self._probe(config).exhausted

    def _probe(self, config: ApiConfig) -> _Probe:
        url = config.api_url
        if url not in self._probes:
            learned = self._learned.of(url)
            certain = learned is not None or (urlsplit(url).hostname or "").rstrip(".").lower() in CERTAIN
            self._probes[url] = _Probe(forms_to_try(config, learned), settled=certain)
        return self._probes[url]

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _is_open(config: ApiConfig) -> bool:
    automatic = config.mode is ApiMode.IMAGES_EDITS and config.request_form is RequestForm.AUTO
    return automatic and not takes_references(config.api_url)
