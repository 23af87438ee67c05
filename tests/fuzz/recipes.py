"""Recipes made of the bytes of an input, so that a fuzzer changes recipes with them; most have no fault or one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

_FAULTS = 96  # one of so many choices is a wrong one
_ADDRESSES = (
    "", "/v1/x", "/m/{{model}}:edit?n={{n}}", "//other.invalid/x", "https://a.named.invalid/x", "../../up",
    "https://api.invalid:444/", "http://api.invalid/{{seed}}",
)  # fmt: skip
_JOB_ADDRESSES = ("jobs/{{job_id}}", "?id={{job_id}}", *_ADDRESSES)
_PATHS = (
    "id", "data[].id", "output.task_id", "values(@)[0].s", "a.b[].c", "[]", "@", "a[?b=='x'].c | [0]", "sum(a)", "!a",
    "join('', [a, b])", "to_number(a)", "max_by(a, &b)", "a[::2]", "keys(@)", "(a || b).*.c[][]", "a < b", "`[1, {}]`",
)  # fmt: skip
_SCALARS = ("{{model}}", "{{n}}", "{{seed}}", "{{size}}", "{{width}}x{{height}}", "plain", "")
_SENT = (
    "{{image}}", "{{image2}}", "{{image3_base64}}", "{{images}}", "{{references_mime}}", "{{prompt}}", "{{ image }}",
    "{{system_prompt}}", "a {{prompt}} b", "data:{{image_mime}};base64,{{image_base64}}", "{{{n}}}", *_SCALARS,
)  # fmt: skip
_WRONG = ("{{image_url}}", "{{file}}", "{{job_id}}", "{{api_key}}", "{{x}}", "a[", "foo(a)", "ftp://x/", "\r\n")
_FIELDS = ("id", "status", "url", "data", "a", "b", "c", "s", "output", "task_id", "code", "error", "message", "x")
_NEEDED = ("request", "url", "form", "result", "id", "done")


class Choices:
    """Choices made by the bytes of an input; the first one each time, once they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """Less than ``below``."""
        self._at += 1
        return self._data[self._at - 1] % below if self._at <= len(self._data) else 0

    def text(self) -> str:
        """Up to 23 bytes as they are."""
        length = self.number(24)
        begin, self._at = self._at, self._at + length
        return self._data[begin : self._at].decode("utf-8", "replace")

    def one(self, known: Sequence[str]) -> str:
        """One of these; now and then what does not belong there, or any text."""
        way = self.number(_FAULTS)
        if way == _FAULTS - 1:
            return self.text()
        return _WRONG[self.number(len(_WRONG))] if way == _FAULTS - 2 else known[self.number(len(known))]

    def several(self, known: Sequence[str]) -> list[str]:
        """Up to two of these."""
        return [self.one(known) for _ in range(self.number(3))]

    def texts(self, names: Sequence[str], known: Sequence[str]) -> dict[str, str]:
        """Up to two of these by name."""
        return {self.one(names): self.one(known) for _ in range(self.number(3))}

    def value(self, depth: int = 4, known: Sequence[str] = _SENT) -> Any:
        """Any JSON."""
        match self.number(9 if depth else 6):
            case 0 | 1:
                return self.one(known)
            case 2:
                return (None, True, False)[self.number(3)]
            case 3:
                return self.number(256) - 3
            case 4:
                return self.number(256) / 16
            case 5:
                return self.text()
            case 6:
                return [self.value(depth - 1, known) for _ in range(self.number(4))]
        return {self.one(_FIELDS): self.value(depth - 1, known) for _ in range(self.number(5))}

    def part(self, **fields: Callable[[], Any]) -> Any:
        """An object with some of these fields."""
        found = {}
        for name, make in fields.items():
            way = self.number(_FAULTS)
            if way == _FAULTS - 1:
                found[name] = self.value()
            elif name in _NEEDED or way % 4:
                found[name] = make()
        return found


def made_recipe(by: Choices) -> Any:
    """Mostly a recipe that holds, with faults in any place."""

    def method() -> str:
        return by.one(("POST", "GET", "put"))

    def at() -> Any:
        return {"path": by.one(_PATHS)} if by.number(3) == 1 else by.one(_JOB_ADDRESSES)

    def sent() -> dict[str, Any]:
        return {"x": by.one(_SENT)} | {by.one(_FIELDS): by.value() for _ in range(by.number(4))}

    def path() -> str:
        return by.one(_PATHS)

    def headers() -> dict[str, str]:
        return by.texts(("X-Mine", "accept", "authorization"), _SCALARS)

    def request() -> Any:
        body = {("json", "form")[by.number(2)]: sent}
        return by.part(method=method, url=lambda: by.one(_ADDRESSES), headers=headers) | {
            name: make() for name, make in body.items()
        }

    def upload() -> Any:
        form = {"f": "{{file}}"} | by.texts(_FIELDS, _SCALARS)
        return by.part(method=method, url=lambda: by.one(_ADDRESSES[1:]), form=lambda: form, result=path)

    def job() -> Any:
        return by.part(
            id=path, url=at, headers=headers, status=path, failed=lambda: by.several(_FIELDS), progress=path,
            error=path, done=lambda: ["done"], interval=lambda: 1 + by.number(9), result_url=at,
            cancel=lambda: by.part(method=method, url=at),
        )  # fmt: skip

    return by.part(
        request=request,
        key=lambda: by.part(
            header=lambda: by.one(("x-key",)), value=lambda: by.one(("{{api_key}}", "Key {{api_key}}"))
        ),
        origins=lambda: by.several(("https://*.named.invalid", "https://other.invalid")),
        upload=upload,
        job=job,
        result=lambda: by.part(pictures=lambda: by.several(_PATHS), json_in=path),
    )
