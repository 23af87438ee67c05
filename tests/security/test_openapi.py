"""The OpenAPI document is that of the table, and no request that can be made from it brings a fault or a surprise.

``FULL=1`` tries two hundred examples of each operation instead of eight.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import jsonschema_rs
import numpy  # noqa: F401 - Hypothesis asks for it while the program's thread would be half through importing it
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from bridge.http.openapi import PROJECT_HEADER, document
from bridge.operations import OPERATIONS, Kind, Operation
from engine.config import ApiMode
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import Door, config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline

EXAMPLES = 200 if os.environ.get("FULL") == "1" else 8
NEVER_AT_LARGE = {
    **dict.fromkeys(("start_batch", "inspect_path"), "input_path"),
    **dict.fromkeys(("save_result", "save_all", "save_rule", "export_set"), "output_dir"),
    "set_report": "path",
}
"""Whose paths are made up by nobody: they would be searched, or written to, on the tester's machine."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


class Place(NamedTuple):
    """A program that may reach nothing but this machine, a paid API, and a folder of pictures."""

    door: Door
    fake: FakeUpstream
    source: Path

    def fill(self) -> dict[str, str]:
        """Make again what earlier requests removed; ids that exist."""
        self.door.app.batch.stop()
        self.door.wait_idle()
        if not any(task["results"] for task in self.door.tasks()):
            self.door.run(self.source, config_for(self.fake))
        self.door.post("/api/presets/save", {"name": "kept", "config": config_for(self.fake)})
        self.door.post("/api/presets/apply", {"name": "kept"})
        task = next(task for task in self.door.tasks() if task["results"])
        return {
            "task_id": task["id"],
            "result_id": task["results"][0]["id"],
            "name": "kept",
            "language": "en",
            "id": "x",
        }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One for all requests."""
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "here").mkdir()
    listed = {"API_URL_HOST_ALLOWLIST": "127.0.0.1", "DOWNLOAD_URL_HOST_ALLOWLIST": "127.0.0.1"}
    here = contextlib.chdir(folder / "here")  # some of what is made up is a relative path to write to
    with here, FakeUpstream() as fake, open_door(folder / "data", **listed) as door:
        fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(5)))
        yield Place(door, fake, source_folder(folder / "in", 3))
        door.app.batch.stop()


@pytest.fixture(scope="module")
def described(place: Place) -> Any:
    """The document as the server gives it."""
    return place.door.get("/api/openapi.json")


def test_every_operation_is_described(described: Any) -> None:
    """With its name, its method, its parameters, and an answer for every status."""
    assert described["openapi"] == "3.1.0"
    for operation in OPERATIONS:
        entry = described["paths"][operation.path][operation.method.lower()]
        assert entry["operationId"] == operation.name
        assert entry["summary"] == operation.summary
        assert {"200", "400", "401", "403", "404", "409", "413"} <= entry["responses"].keys()
        named = {parameter["name"] for parameter in entry["parameters"]} - {PROJECT_HEADER}
        if "requestBody" in entry and operation.kind is not Kind.UPLOAD:
            named |= entry["requestBody"]["content"]["application/json"]["schema"]["properties"].keys()
        wanted = set(operation.params.__struct_fields__)
        assert operation.kind is Kind.UPLOAD or named == wanted, operation.name
    operations = [entry for path in described["paths"].values() for entry in path]
    assert len(operations) == len(OPERATIONS) + 1  # and the event stream


def test_every_reference_leads_somewhere(described: Any) -> None:
    """No schema is missing, none is left over, and each is one that a validator takes."""
    schemas = described["components"]["schemas"]
    used: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                used.add(value["$ref"].removeprefix("#/components/schemas/"))
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)

    walk(described)
    assert used == schemas.keys()
    for name in schemas:
        jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{name}", "components": described["components"]})


def test_the_document_is_the_tables() -> None:
    """Made anew it is the same, and it knows the version and the bounds of the form."""
    made = document("7.8.9")
    assert made["info"]["version"] == "7.8.9"
    config = made["components"]["schemas"]["ApiConfig"]["properties"]
    assert (config["concurrency_limit"]["minimum"], config["concurrency_limit"]["maximum"]) == (1, 512)
    assert made == document("7.8.9")
    for path, named in (("/api/tasks/clear", True), ("/api/projects", False)):
        described = made["paths"][path]["post"]
        assert any(one["name"] == PROJECT_HEADER for one in described["parameters"]) == named
        assert (PROJECT_HEADER in described["responses"]["409"]["description"]) == named


def strategy_of(operation: Any) -> SearchStrategy[Any]:
    """Requests as described, and where something can be wrong with them also such as are not."""
    right = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if not any(operation.iter_parameters()) and not operation.body:
        return cast("SearchStrategy[Any]", right)
    return cast("SearchStrategy[Any]", right | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
@pytest.mark.timeout(900)
def test_no_fault_and_no_answer_outside_its_schema(
    place: Place, described: Any, tmp_path: Path, operation: Operation
) -> None:
    """Whatever is made up from the document, right and wrong; every second request is about what exists."""
    schema = schemathesis.openapi.from_dict(described)
    asked = schema[operation.path][operation.method]
    known = place.fill()
    spared = operation.name.startswith(("delete_", "clear_", "retry_task_clear"))
    tried = 0

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(case=strategy_of(asked))
    def run(case: Any) -> None:
        nonlocal tried
        tried += 1
        if tried % 2 and not spared:
            case.path_parameters = {name: known[name] for name in case.path_parameters or {}}
        if tried % 4 and case.headers:  # another project than the open one is refused before anything else
            case.headers.pop(PROJECT_HEADER, None)
        if operation.name in NEVER_AT_LARGE and isinstance(case.body, dict):
            field = NEVER_AT_LARGE[operation.name]
            places = {"input_path": place.source, "output_dir": tmp_path, "path": tmp_path / "report.html"}
            case.body = {**case.body, field: str(places[field])}
        case.call_and_validate(base_url=place.door.base, checks=CHECKS, timeout=30)

    run()
    print(f"{operation.name}: {tried} requests made up")
    assert tried >= 1
