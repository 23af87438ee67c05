"""Words for people: the catalogues in assets/messages, one folder a language, and problems put into words."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import Param, Problem

LANGUAGES = ("zh-CN", "en")
DEFAULT_LANGUAGE = LANGUAGES[0]


class Messages:
    """All catalogues of all languages."""

    def __init__(self, folder: Path) -> None:
        self._catalogues = {language: _load(folder / language) for language in LANGUAGES}

    def catalogue(self, language: str) -> dict[str, str]:
        """Every text of a language, by key."""
        return self._catalogues[pick_language(language)]

    def text(self, language: str, key: str, /, **params: Param) -> str:
        """One text with its placeholders filled in; the key itself where there is none."""
        template = self.catalogue(language).get(key, key)
        return _FORMATTER.vformat(template, (), params)

    def problem(self, language: str, problem: Problem | None) -> str:
        """What happened, why and what to do, in the person's language; "" for no problem."""
        return "" if problem is None else self.about(language, f"error.{problem.code}", problem)

    def about(self, language: str, key: str, problem: Problem) -> str:
        """Any text that tells of a failure, filled with the failure's parameters in words."""
        params = dict(problem.params)
        reason_key = f"reason.{params.get('reason')}"
        if reason_key in self.catalogue(language):  # a reason that is a code itself has a clause of its own
            params["reason"] = self.text(language, reason_key)
        cause_key = f"cause.{params.get('cause')}"
        if cause_key in self.catalogue(language):
            params["cause"] = self.text(language, cause_key)
        if "kinds" in params:  # codes of findings
            kinds = [self._kind(language, kind) for kind in str(params["kinds"]).split(", ")]
            params["kinds"] = self.text(language, "finding.separator").join(kinds)
        label_key = f"config.{params.get('name')}.label"
        if label_key in self.catalogue(language):  # a field is called as the form calls it
            params["name"] = self.text(language, label_key)
        if isinstance(said := params.get("message"), str):  # of a server, in the middle of our sentence
            params["message"] = said.rstrip(" .。") or said
        if "maximum" in params and params["maximum"] is None:
            params["maximum"] = "∞"
        return self.text(language, key, **params)

    def _kind(self, language: str, kind: str) -> str:
        """What a check or the alarm found, in words."""
        known = self.catalogue(language)
        return next((known[key] for key in (f"finding.{kind}", f"page.suspicion.{kind}") if key in known), kind)


def pick_language(accepted: str) -> str:
    """The language of ours that an Accept-Language header or a locale name wants most."""
    ranked: list[tuple[float, str]] = []
    for part in accepted.replace("_", "-").split(","):
        name, _, rest = part.strip().partition(";")
        quality = rest.strip().removeprefix("q=")
        try:
            ranked.append((-float(quality) if quality else -1.0, name.lower()))
        except ValueError:
            continue
    for _, name in sorted(ranked, key=lambda pair: pair[0]):
        if name.startswith("zh"):
            return "zh-CN"
        if name.startswith("en"):
            return "en"
    return DEFAULT_LANGUAGE


class _LenientFormatter(string.Formatter):
    """Leaves a placeholder without a value visible instead of failing: a bad text must not hide an error."""

    def get_field(self, field_name: str, _args: Any, kwargs: Any) -> Any:
        value = kwargs.get(field_name)
        return "?" if value is None else value, field_name


_FORMATTER = _LenientFormatter()


def _load(folder: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for file in sorted(folder.glob("*.json")):
        texts.update(msgspec.json.decode(file.read_bytes(), type=dict[str, str]))
    return texts
