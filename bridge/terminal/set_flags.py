"""Flags of `run` for training sets, made from the fields of ExportParams: defaults, ranges and choices stand there.

A new field there has its flag by itself; only its help (``cli.set.FIELD``) is written.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec
from msgspec import inspect

from bridge.params import read_params
from bridge.terminal.run_sets import SetOrder
from bridge.usecases.datasets import ExportParams
from engine.errors import Code, InvalidInput

_NOT_FOR_A_RUN: Final = frozenset({"task_ids", "match", "only_selected"})  # it exports what it has just made
_NAMED: Final = {
    "trainer": "export",
    "output_dir": "export-to",
    "name": "export-name",
    "caption_mode": "caption",
    "first_only": "first-result",
    "as_zip": "zip",
    "thresholds": "threshold",
}
"""Flags that are not called as their field."""


def add_set_flags(group: Any, text: Callable[[str], str], taken: Collection[str]) -> None:
    """A flag for each field. ``taken``: names of flags that others have; a field of that name gets ``--set-NAME``."""
    for field in _fields():
        name = _NAMED.get(field.name, field.name.replace("_", "-"))
        flag = f"--set-{name}" if name in taken else f"--{name}"
        group.add_argument(
            flag, dest=_dest(field.name), default=None, help=text(f"cli.set.{field.name}"), **_shape(field)
        )
    group.add_argument("--report", metavar="FILE", default="", help=text("cli.run.report"))


def chosen_sets(arguments: argparse.Namespace) -> SetOrder:
    """The set and the report to be made of the results. Raises InvalidInput naming the field."""
    given = {field.name: getattr(arguments, _dest(field.name)) for field in _fields()}
    given = {name: value for name, value in given.items() if value is not None}
    for name, flag in (("thresholds", "threshold"), ("folder_repeats", "folder-repeats")):
        if name in given:
            given[name] = dict(_numbered(entry, flag) for entry in given[name])
    return SetOrder(read_params(ExportParams, given), arguments.report, export="trainer" in given)


def _fields() -> list[inspect.Field]:
    info = inspect.type_info(ExportParams)
    assert isinstance(info, inspect.StructType)
    return [field for field in info.fields if field.name not in _NOT_FOR_A_RUN]


def _dest(field: str) -> str:
    return f"set_{field}"


def _shape(field: inspect.Field) -> dict[str, Any]:
    """How argparse takes a field: a switch, one value, or several."""
    info = field.type.type if isinstance(field.type, inspect.Metadata) else field.type
    if isinstance(info, inspect.BoolType):
        return {"action": "store_true"}
    if isinstance(info, inspect.DictType):
        return {"action": "append", "metavar": "NAME=NUMBER"}
    if isinstance(info, inspect.ListType | inspect.FrozenSetType):
        return {"action": "append", "metavar": _metavar(info.item_type)}
    return {"metavar": _metavar(info)}


def _metavar(info: inspect.Type) -> str:
    if isinstance(info, inspect.EnumType):
        choices = [str(member.value) for member in info.cls]
        return "|".join(choices) if len(choices) < 10 else "KIND"
    if isinstance(info, inspect.IntType | inspect.FloatType):
        return f"{info.ge:g}..{info.le:g}" if info.ge is not None and info.le is not None else "N"
    return "TEXT"


def _numbered(entry: str, flag: str) -> tuple[str, float]:
    name, _, number = entry.rpartition("=")
    try:
        value = msgspec.convert(number.strip(), float, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(Code.FIELD_TYPE, field=flag, name=f"--{flag} {entry}", type="number") from error
    return name.strip(), int(value) if value.is_integer() else value
