"""The fields of every form of the page, from the types that the operations take; the page writes none itself."""

from __future__ import annotations

import msgspec

from bridge.usecases.common import Context, Nothing
from bridge.usecases.datasets import ExportParams, ReportParams
from bridge.usecases.run import StartParams
from bridge.usecases.saving import SaveAllParams
from engine.config import ApiConfig, FieldSpec, describe, describe_struct
from engine.vision.settings import JudgeConfig

_WHICH = frozenset({"task_ids", "match", "config"})
_DECIDED = frozenset({"thresholds", "allow", "leave_out"})  # kind by kind, where what was found is shown
_OF_REPORT = frozenset(ReportParams.__struct_fields__) - frozenset({"path", "price_per_call"})


class Schema(msgspec.Struct, frozen=True):
    """Every setting in form order, and the fields of the other forms by form: plan, rule, set, judge. ``key_store``:
    where keys are kept, ``system`` or ``file``."""

    fields: list[FieldSpec]
    key_store: str
    forms: dict[str, list[FieldSpec]] = {}


def describe_config(context: Context, _: Nothing) -> Schema:
    """Fields with type, default, range, choices and label keys, and where the key is kept."""
    kind = context.app.keys.kind
    fields = [
        msgspec.structs.replace(spec, help=f"{spec.help}.{kind}") if spec.name == "api_key" else spec
        for spec in describe()
    ]
    return Schema(fields, kind, forms())


def forms() -> dict[str, list[FieldSpec]]:
    """Fields by form."""
    return {
        "plan": describe_struct(StartParams, "page.plan.{}", "page.plan.{}.help", _WHICH),
        "rule": describe_struct(SaveAllParams, "page.save.{}", "page.save.{}.help", _WHICH),
        "set": [
            *describe_struct(ExportParams, "dataset.{}", "dataset.{}.help", _WHICH | _DECIDED),
            *describe_struct(ReportParams, "dataset.{}", "dataset.{}.help", _OF_REPORT),
        ],
        "judge": _judge(),
    }


def _judge() -> list[FieldSpec]:
    """What the judge shares with the connection for edits has the same range and the same words."""
    shared = {spec.name: spec for spec in describe_struct(ApiConfig)}
    return [
        msgspec.structs.replace(shared[spec.name], default=spec.default) if spec.name in shared else spec
        for spec in describe_struct(JudgeConfig, "judge.{}", "judge.{}.help")
    ]
