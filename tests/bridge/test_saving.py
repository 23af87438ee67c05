"""Save rules through the door: the five built-in ones by name, collisions, texts, and never outside of the folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.config import ApiMode
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import Door, config_for, open_door
from tests.support.pictures import picture
from tests.support.replies import inline

NAMES = ("001_start.png", "photo.start.jpg", "子/b/图 (2)_START.webp")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Three tasks; the first has two results, the others one."""
    folder = tmp_path_factory.mktemp("saving")
    (folder / "in" / "子" / "b").mkdir(parents=True)
    for number, name in enumerate(NAMES):
        kind = {"jpg": "jpeg"}.get(name[-3:], name.rpartition(".")[2])
        (folder / "in" / name).write_bytes(picture(number, kind))
    with FakeUpstream() as fake, open_door(folder / "data") as door:
        answers = iter([inline(ApiMode.CHAT_COMPLETIONS, picture(10), picture(11, "jpeg"))])
        fake.answer_with(lambda _: next(answers, inline(ApiMode.CHAT_COMPLETIONS, picture(20))))
        door.run(folder / "in", config_for(fake, concurrency_limit=1))
        yield door


def saved(door: Door, folder: Path, **fields: Any) -> list[str]:
    """The names after saving everything."""
    answer = door.post("/api/tasks/save_all", {"output_dir": str(folder), **fields})
    assert (answer["error_count"], answer["output_dir"]) == (0, str(folder))
    return sorted(path.name for path in folder.iterdir())


def built_in(door: Door, name: str) -> dict[str, Any]:
    """A built-in rule's fields."""
    rules = {rule["id"]: rule["rule"] for rule in door.get("/api/save/rules")["rules"]}
    return dict(rules[name])


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ("aitookit_edit", ["001_end.jpg", "001_end.png", "photo.end.png", "图 (2)_START.png"]),
        ("keep_source_name", ["001_start.jpg", "001_start.png", "photo.start.png", "图 (2)_START.png"]),
        ("source_with_txt", ["001_start.png", "001_start.txt", "001_start_1.jpg", "001_start_1.txt", "photo.start.png",
                             "photo.start.txt", "图 (2)_START.png", "图 (2)_START.txt"]),
        ("first_only_clean", ["001_start.png", "photo.start.png", "图 (2)_START.png"]),
        ("indexed_archive", ["001_start_1.png", "001_start_2.jpg", "photo.start_1.png", "图 (2)_START_1.png"]),
    ],
)  # fmt: skip
def test_built_in_rules(done: Door, tmp_path: Path, rule: str, names: list[str]) -> None:
    """Each makes the names that the contract says, with the extension that the bytes have."""
    assert saved(done, tmp_path / "out", **built_in(done, rule)) == names


def test_the_table_of_rules(done: Door) -> None:
    """Five rules and their variables, as the guide on the page shows them."""
    rules = done.get("/api/save/rules")
    assert [rule["id"] for rule in rules["rules"]] == [
        "aitookit_edit", "keep_source_name", "source_with_txt", "first_only_clean", "indexed_archive",
    ]  # fmt: skip
    assert rules["variables"] == [
        "src_stem", "src_name", "src_ext", "task_id", "result_id", "result_index", "global_index", "src_folder",
    ]  # fmt: skip
    assert set(rules["txt_variables"]) - set(rules["variables"]) == {"image_name", "image_path"}


def test_every_variable(done: Door, tmp_path: Path) -> None:
    """Each variable is filled in; replacement acts on the stem of the file name only."""
    task = done.tasks()[0]
    template = "{src_stem}-{src_ext}-{task_id}-{result_id}-{result_index}-{global_index:03}"
    text = "{src_stem}|{src_name}|{image_name}|{image_path}"
    rule = {"replace_from": "start", "replace_to": "end", "create_txt": True, "txt_template": text}
    saved(done, tmp_path / "out", filename_template=template, **rule)
    ids = [result["id"] for result in task["results"]]
    first = f"001_end-png-{task['id']}-{ids[0]}-1-001"
    assert (tmp_path / "out" / f"{first}.png").read_bytes() == picture(10)
    path = tmp_path / "out" / f"{first}.png"
    assert (tmp_path / "out" / f"{first}.txt").read_text() == f"001_start|001_start.png|{path.name}|{path}"
    assert (tmp_path / "out" / f"001_end-png-{task['id']}-{ids[1]}-2-002.jpg").read_bytes() == picture(11, "jpeg")


def test_nothing_is_overwritten(done: Door, tmp_path: Path) -> None:
    """What exists stays, by whoever it was made; the text goes with its picture."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "photo.start.png").write_text("mine")
    (out / "photo.start_1.txt").write_text("mine too")
    rule = built_in(done, "source_with_txt")
    for _ in range(3):
        saved(done, out, **rule)
    assert (out / "photo.start.png").read_text() == "mine"
    assert (out / "photo.start_1.txt").read_text() == "mine too"
    pictures = sorted(path.stem for path in out.glob("photo*.png") if path.read_bytes() == picture(20))
    assert len(pictures) == 3
    assert {path.stem for path in out.glob("photo*.txt") if path.read_text() != "mine too"} == set(pictures)


@pytest.mark.parametrize(
    "template",
    ["../{src_stem}", "/tmp/{src_stem}", "a/b/{src_stem}", "..\\{src_stem}", "C:\\{src_stem}", "{src_stem}\n", "..",
     "~/{src_stem}", "con"],
)  # fmt: skip
def test_names_never_leave_the_folder(done: Door, tmp_path: Path, template: str) -> None:
    """Separators and device names are made harmless; nothing appears beside the folder."""
    before = set(tmp_path.iterdir())
    names = saved(done, tmp_path / "out", filename_template=template, replace_from="001", replace_to="../../x")
    assert len(names) == 4
    assert set(tmp_path.iterdir()) - before == {tmp_path / "out"}
    assert all(path.is_file() for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("{src_folder}/{src_stem}", {"001_start.jpg", "001_start.png", "photo.start.png", "子/b/图 (2)_START.png"}),
        ("x_{src_folder}_{src_stem}", {"x__001_start.jpg", "x__001_start.png", "x__photo.start.png",
                                       "x_子/b_图 (2)_START.png"}),
        ("../{src_folder}/../{src_stem}", {"001_start.jpg", "001_start.png", "photo.start.png",
                                           "子/b/图 (2)_START.png"}),
    ],
)  # fmt: skip
def test_folders_are_kept(done: Door, tmp_path: Path, template: str, names: set[str]) -> None:
    """With {src_folder} results lie in the folders that their sources lie in, never outside, never over another file;
    a link that leads out is not followed."""
    out = tmp_path / "out"
    rule = {"output_dir": str(out), "filename_template": template, "only_selected": False}
    assert done.post("/api/tasks/save_all", rule)["error_count"] == 0
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == names
    assert done.post("/api/save/preview", {**rule, "limit": 3})["names"][2]["image"] == max(names)
    done.post("/api/tasks/save_all", rule)
    assert sum(path.is_file() for path in out.rglob("*")) == 8
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / max(names).partition("/")[0]).symlink_to(tmp_path)
    again = done.post("/api/tasks/save_all", {**rule, "output_dir": str(tmp_path / "linked")})
    assert (again["saved_count"], again["error_details"][0]["code"]) == (3, "output_not_writable")


def test_ticked_and_dropped(done: Door, tmp_path: Path) -> None:
    """only_selected leaves unticked results out, dropped ones are never saved, the first eligible one is the first."""
    first = done.tasks()[0]
    urls = [f"/api/tasks/{first['id']}/results/{result['id']}" for result in first["results"]]
    done.post(f"{urls[0]}/toggle")
    try:
        rule = built_in(done, "first_only_clean")
        assert "001_start.jpg" in saved(done, tmp_path / "ticked", **{**rule, "only_selected": True})
        assert "001_start.png" in saved(done, tmp_path / "all", **{**rule, "only_selected": False})
        done.delete(urls[0])
        assert "001_start.jpg" in saved(done, tmp_path / "dropped", **{**rule, "only_selected": False})
    finally:
        done.post(f"{urls[0]}/restore")
        done.post(f"{urls[0]}/toggle")


def test_some_tasks_only(done: Door, tmp_path: Path) -> None:
    """Chosen tasks, or those that a filter finds, are saved alone."""
    ids = [task["id"] for task in done.tasks()]
    assert saved(done, tmp_path / "one", task_ids=ids[1:2]) == ["photo.start.png"]
    assert saved(done, tmp_path / "found", match={"q": "图"}) == ["图 (2)_START.png"]
    assert saved(done, tmp_path / "none", match={"status": "failed"}) == []


def test_preview_and_remembered_rule(done: Door) -> None:
    """The page sees the names before it saves, and the rule comes back at the next visit."""
    preview = done.post("/api/save/preview", {**built_in(done, "aitookit_edit"), "limit": 2})
    assert [(name["source"], name["image"]) for name in preview["names"]] == [
        ("001_start.png", "001_end.png"), ("photo.start.jpg", "photo.end.png"),
    ]  # fmt: skip
    done.refused(400, "template_variable", "POST", "/api/save/preview", {"filename_template": "{x}"})
    rule = {**built_in(done, "source_with_txt"), "output_dir": "/some/where"}
    assert done.post("/api/save/rule", rule)["ok"] is True
    assert done.state()["save_rule"] == rule
    done.refused(400, "template_empty", "POST", "/api/save/rule", {"filename_template": ""})
    assert done.state()["save_rule"] == rule
