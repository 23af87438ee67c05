"""A prompt for each picture: variables, captions, tables, variants; and further source pictures of a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.config import ApiMode
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import Door, config_for
from tests.support.pictures import picture, source_folder
from tests.support.replies import MODES, inline

EDITS = ApiMode.IMAGES_EDITS


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Three pictures."""
    return source_folder(tmp_path / "in", 3)


def prompts_sent(fake: FakeUpstream) -> list[str]:
    """The prompts that arrived."""
    return sorted(request.json["prompt"] for request in fake.api_requests)


def run(door: Door, source: Path, config: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Start with the new parameters and wait for the end; the start's answer."""
    answer = door.post("/api/tasks/start", {"input_path": str(source), "config": config, **more})
    door.wait_idle()
    return dict(answer)


def test_variables_and_caption_are_filled_in(fake: FakeUpstream, door: Door, source: Path) -> None:
    """Name variables and the text beside the picture go into the prompt; other braces stay as they are."""
    fake.answer(inline(EDITS, picture(9)))
    names = sorted(path.name for path in source.iterdir())
    for name, encoding in zip(names, ("utf-8-sig", "gb18030", "utf-16"), strict=True):
        (source / name).with_suffix(".txt").write_text(f"雪中的 {name}\n", encoding)
    run(door, source, config_for(fake, EDITS, user_prompt='{caption} | {src_stem} | {"k": {v}}'))
    assert prompts_sent(fake) == sorted(f'雪中的 {name} | {Path(name).stem} | {{"k": {{v}}}}' for name in names)


def test_a_missing_caption_fails_that_task_alone(fake: FakeUpstream, door: Door, source: Path) -> None:
    """Without its text file a task fails before anything is paid, and names the file; the others go on."""
    fake.answer(inline(EDITS, picture(9)))
    first, *others = sorted(source.iterdir())
    for path in others:
        path.with_suffix(".txt").write_text("夜")
    run(door, source, config_for(fake, EDITS, user_prompt="{caption}"))
    tasks = {task["source_name"]: task for task in door.tasks()}
    assert tasks[first.name]["error"]["code"] == "caption_missing"
    assert tasks[first.name]["attempts"] == 0
    assert {tasks[path.name]["status"] for path in others} == {"done"}
    assert len(fake.api_requests) == 2


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_a_table_gives_each_picture_its_prompts(
    fake: FakeUpstream, door: Door, source: Path, tmp_path: Path, kind: str
) -> None:
    """Several prompts make several tasks; rows without file and files without row are named before the start."""
    fake.answer(inline(EDITS, picture(9)))
    names = sorted(path.name for path in source.iterdir())
    rows = [(names[0], "a"), (names[0], "b, c"), (Path(names[1]).stem, "d"), ("nobody.png", "e")]
    table = tmp_path / f"table.{kind}"
    if kind == "jsonl":
        table.write_text("\n".join(f'{{"file": "{file}", "prompt": "{prompt}"}}' for file, prompt in rows))
    else:
        mark = "\t" if kind == "tsv" else ","
        table.write_text("\n".join(["file" + mark + "prompt", *(f'{file}{mark}"{prompt}"' for file, prompt in rows)]))
    config = config_for(fake, EDITS)
    seen = door.post("/api/tasks/inspect", {"input_path": str(source), "config": config, "prompt_table": str(table)})
    assert (seen["count"], seen["tasks"], seen["calls"]) == (3, 3, 3)
    assert [(row["source"], row["prompt"]) for row in seen["prompts"]] == [
        (names[0], "a"), (names[0], "b, c"), (names[1], "d"),
    ]  # fmt: skip
    assert (seen["rows_without_file"], seen["files_without_row"]) == (["nobody.png"], [names[2]])
    assert run(door, source, config, prompt_table=str(table))["task_count"] == 3
    assert prompts_sent(fake) == ["a", "b, c", "d"]
    assert run(door, source, config, prompt_table=str(table))["new_count"] == 0
    door.post(f"/api/tasks/{door.tasks()[0]['id']}/retry")
    door.wait_idle()
    assert prompts_sent(fake) == ["a", "a", "b, c", "d"]


@pytest.mark.parametrize(
    ("text", "code"),
    [("name,text\n1,2", "table_columns"), ("file,prompt\nnobody,x", "table_no_match"), ("{broken", "table_unreadable")],
)
def test_tables_that_cannot_be_used(door: Door, source: Path, tmp_path: Path, text: str, code: str) -> None:
    """Each names the field and says what is wrong."""
    table = tmp_path / ("table.jsonl" if text.startswith("{") else "table.csv")
    table.write_text(text)
    error = door.refused(
        400, code, "POST", "/api/tasks/inspect", {"input_path": str(source), "prompt_table": str(table)}
    )
    assert error["field"] == "prompt_table"
    door.refused(
        400,
        "table_unreadable",
        "POST",
        "/api/tasks/start",
        {"input_path": str(source), "prompt_table": str(tmp_path / "no.csv")},
    )


def test_variants_make_several_tasks(fake: FakeUpstream, door: Door, source: Path) -> None:
    """Two variants of each prompt are two tasks, and neither is taken for the other."""
    fake.answer(inline(EDITS, picture(9)))
    assert run(door, source, config_for(fake, EDITS), variants=2)["task_count"] == 6
    assert len(fake.api_requests) == 6
    assert run(door, source, config_for(fake, EDITS), variants=3)["new_count"] == 3
    door.refused(400, "field_range", "POST", "/api/tasks/start", {"input_path": str(source), "variants": 0})


@pytest.mark.parametrize("mode", MODES)
def test_references_go_along(fake: FakeUpstream, door: Door, tmp_path: Path, mode: ApiMode) -> None:
    """x, x2 and x3 are one task with three pictures, in the order of their numbers, in every mode."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number, name in enumerate(("a_start", "a_start2", "a_start3", "b_start", "c_start_2")):
        (folder / f"{name}.png").write_bytes(picture(number))
    fake.answer(inline(mode, picture(9)))
    answer = run(door, folder, config_for(fake, mode, concurrency_limit=1), references="suffix")
    assert answer["task_count"] == 3
    sent = [request.body.decode().count("data:image/png;base64,") for request in fake.api_requests]
    assert sent == [3, 1, 1]


def test_references_in_sub_folders(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """The first folder holds the sources, the others pictures of the same name."""
    for number, name in enumerate(("1/x", "1/y", "2/x", "3/y")):
        path = tmp_path / "in" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    config = config_for(fake, EDITS)
    body = {"input_path": str(tmp_path / "in"), "config": config, "references": "folders"}
    seen = door.post("/api/tasks/inspect", body)
    assert [(row["source"], row["references"]) for row in seen["prompts"]] == [
        ("x.png", ["x.png"]),
        ("y.png", ["y.png"]),
    ]
    (warning,) = seen["warnings"]  # before anything is sent
    assert (warning["code"], warning["params"]) == ("references_missing", {"missing": 2, "of": 2, "example": "x.png"})
    for name in ("2/y", "3/X"):  # names are compared as every system does
        (tmp_path / "in" / f"{name}.png").write_bytes(picture(9))
    assert door.post("/api/tasks/inspect", body)["warnings"] == []
