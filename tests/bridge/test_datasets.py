"""Training sets through the door: preflight, findings, export, report, stop; with a real batch before them.

Where else the wishes of a set (`ExportParams`) are proved, in tests/engine/dataset unless it says otherwise:

| wish | by |
|---|---|
| layouts, captions, references, split | test_export `every_pair`, `several_references`, `sides_of`; tests/trainers |
| awkward pictures, alpha, size rules | test_awkward, test_sizes; after the trainer's own cut: tests/trainers |
| refused before: controls, captions, files | test_export `references_that_do_not_fit`, `broken`; test_preflight |
| reverse, no_op_share, preference, masks | test_variants |
| path_root, arguments for a shell | test_export `a_root_is_read`, `configurations_are_for_the_machine` |
| repeats, samples, shards, names | test_export `repeats_are_told`, `samples_show`, `tars_load`, `names_of_sources` |
| thresholds, drift | test_preflight; tests/bench: preflight.py, drift.py, photographs.py |
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.config import ApiMode
from engine.dataset.findings import FindingKind
from tests.bench import edits
from tests.bench.scenes import make_scene
from tests.fakes.upstream import FakeUpstream
from tests.support.doors import Door, config_for, open_door
from tests.support.replies import inline
from tests.support.trainers import LOADERS

SIZE = (320, 240)
COUNT = 6


def png(picture: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Door]:
    """Six edited scenes, the last a stock picture; the prompts are in Chinese."""
    source = tmp_path / "in"
    source.mkdir()
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        targets = [make_scene(99, SIZE).picture]
        for number in reversed(range(COUNT)):
            scene = make_scene(number, SIZE)
            Image.fromarray(scene.picture).save(source / f"{number:03}_start.jpg", quality=92)
            targets.insert(0, edits.recolour(np.random.default_rng(number), scene))
        del targets[-2]
        fake.answer(*(inline(ApiMode.CHAT_COMPLETIONS, png(target)) for target in targets))
        door.run(source, config_for(fake, concurrency_limit=1, user_prompt="夜晚", price_per_call=0.02))
        yield door


def finished(door: Door, answer: dict[str, Any]) -> dict[str, Any]:
    """The job of this answer, once it has ended."""
    assert door.app.jobs.wait_idle(60)
    job: dict[str, Any] = door.get("/api/dataset/job")["job"]
    assert job["id"] == answer["job"]["id"]
    assert door.state()["job"] == job
    return job


def test_findings_show_the_pair(made: Door) -> None:
    """Preflight is a job; its findings name the pair's pictures, which can be loaded."""
    assert made.get("/api/dataset/findings")["at"] is None
    job = finished(made, made.post("/api/dataset/preflight", {}))
    assert (job["status"], job["result"]["pairs"], job["result"]["bad"]) == ("done", COUNT, 1)
    page = made.get("/api/dataset/findings")
    assert page["counts"] == {"unrelated": 1}
    (finding,) = page["findings"]
    assert (finding["source_name"], finding["kind"]) == ("005_start.jpg", "unrelated")
    assert finding["number"] < finding["threshold"]
    for url in (finding["source_thumbnail_url"], finding["result_thumbnail_url"]):
        assert made.ask("GET", url).headers["content-type"].startswith("image/")
    assert made.get("/api/dataset/findings?kind=blank")["findings"] == []
    assert finished(made, made.post("/api/dataset/preflight", {"thresholds": {"unrelated": 0}}))["result"]["bad"] == 0


def test_bad_pairs_refuse_a_set_until_they_are_left_out(made: Door, tmp_path: Path) -> None:
    """A set with a bad pair is not written; with it left out, or its kind allowed, it is."""
    order = {"output_dir": str(tmp_path / "sets"), "trainer": "kohya", "name": "night"}
    job = finished(made, made.post("/api/dataset/export", order))
    assert (job["status"], job["error"]["code"]) == ("failed", "set_has_findings")
    assert list((tmp_path / "sets").iterdir()) == []
    job = finished(made, made.post("/api/dataset/export", order | {"leave_out": True}))
    assert (job["result"]["pairs"], job["result"]["left_out"]) == (COUNT - 1, 1)
    assert job["result"]["path"] == str(tmp_path / "sets" / "night_v001")
    job = finished(made, made.post("/api/dataset/export", order | {"allow": ["unrelated"]}))
    assert job["result"]["path"] == str(tmp_path / "sets" / "night_v002")
    loaded = LOADERS["kohya"](tmp_path / "sets" / "night_v002")
    assert [one.caption for one in loaded] == ["夜晚"] * COUNT
    line = json.loads((tmp_path / "sets" / "night_v002" / "metadata.jsonl").read_text("utf-8").splitlines()[0])
    task = made.tasks()[0]
    assert line["target_sha256"] == task["results"][0]["hash"]
    assert (line["model"], line["prompt"]) == ("grok-imagine-1.0-edit", "夜晚")
    assert line["created_at"] > 1_700_000_000
    assert len(line["source_sha256"][0]) == 64
    assert "sk-test" not in (tmp_path / "sets" / "night_v002" / "metadata.jsonl").read_text("utf-8")


def test_sources_that_changed_since_the_call(made: Door, tmp_path: Path) -> None:
    """A source that was edited after it had been sent makes its pair a finding."""
    Image.fromarray(make_scene(50, SIZE).picture).save(tmp_path / "in" / "000_start.jpg")
    finished(made, made.post("/api/dataset/preflight", {}))
    assert made.get("/api/dataset/findings")["counts"] == {"unrelated": 1, "source_changed": 1}


@pytest.mark.parametrize(
    ("params", "code", "field"),
    [
        ({"trainer": "nobody"}, "field_choice", "trainer"),
        ({"caption_mode": "nobody"}, "field_choice", "caption_mode"),
        ({"caption_mode": "trigger"}, "field_required", "trigger"),
        ({"caption_mode": "template", "caption_template": "{nobody}"}, "template_variable", "caption_template"),
        ({"stem_template": "{nobody}"}, "template_variable", "filename_template"),
        ({"quality": 0}, "field_range", "quality"),
        ({"size_rule": "multiple", "size_value": 1}, "field_range", "size_value"),
        ({"validation": 0.95}, "field_range", "validation"),
        ({"name": " "}, "field_required", "name"),
        ({"thresholds": {"nobody": 1}}, "field_unknown", "thresholds"),
        ({"thresholds": {"aspect": -1}}, "field_range", "aspect"),
        ({"allow": ["nobody"]}, "field_choice", "allow"),
        ({"output_dir": ""}, "output_required", "output_dir"),
        ({"task_ids": []}, "set_empty", None),
    ],
)
def test_wrong_wishes_are_refused_at_once(
    made: Door, tmp_path: Path, params: dict[str, Any], code: str, field: str | None
) -> None:
    """Each names its field, and no job begins."""
    body = {"output_dir": str(tmp_path / "sets"), **params}
    error = made.refused(400, code, "POST", "/api/dataset/export", body)
    assert error.get("field") == field
    assert made.get("/api/dataset/job")["job"] is None


def test_set_inside_the_source_folder_is_refused(made: Door, tmp_path: Path) -> None:
    """Neither the folder of sources nor one in it takes a set, however its path is written."""
    for place in (tmp_path / "in", tmp_path / "in" / "sub", tmp_path / "other" / ".." / "in"):
        made.refused(400, "export_inside_source", "POST", "/api/dataset/export", {"output_dir": str(place)})
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == [f"{n:03}_start.jpg" for n in range(COUNT)]


def test_one_job_at_a_time_and_stop(made: Door, tmp_path: Path) -> None:
    """A second job is 409 while one runs; a stopped export leaves nothing."""
    begun = made.app.jobs
    order = {"output_dir": str(tmp_path / "sets"), "allow": ["unrelated"], "picture_format": "png"}
    answer = made.post("/api/dataset/export", order)
    second = made.ask("POST", "/api/dataset/preflight", {})
    stopped = made.post("/api/dataset/stop")["stopped"]
    job = finished(made, answer)
    assert begun.state is not None
    if second.status_code == 409:
        assert second.json()["code"] == "job_running"
    assert stopped is (job["status"] == "stopped")
    left = [path.name for path in (tmp_path / "sets").iterdir()]
    assert left == ([] if stopped else ["set_v001"])
    assert made.post("/api/dataset/stop")["stopped"] is False


def test_report_is_one_page_in_the_callers_language(made: Door, tmp_path: Path) -> None:
    """The page needs nothing from outside, names calls, cost and findings, and is never written over a file."""
    path = tmp_path / "report.html"
    job = finished(
        made, made.post("/api/dataset/report", {"path": str(path), "name": "夜"}, headers={"Accept-Language": "zh-CN"})
    )
    assert (job["status"], job["result"]["path"]) == ("done", str(path))
    page = path.read_text("utf-8")
    assert 'lang="zh-CN"' in page
    assert page.count("data:image/") == 2 * COUNT
    assert re.findall(r"\bsrc=.(.....)", page) == ["data:"] * 2 * COUNT
    assert "href" not in page
    assert "<script" not in page
    assert "url(" not in page
    shown = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", page))
    assert (shown["API 调用"], shown["图片对"], shown["通过检查的图片对"], shown["费用"]) == ("6", "6", "5", "0.12")
    assert "与源图不像同一场景" in page
    made.refused(400, "report_name", "POST", "/api/dataset/report", {"path": str(path)})
    made.refused(400, "report_name", "POST", "/api/dataset/report", {"path": str(tmp_path / "x.txt")})
    made.refused(400, "field_required", "POST", "/api/dataset/report", {})
    english = tmp_path / "en.html"
    finished(made, made.post("/api/dataset/report", {"path": str(english)}, headers={"Accept-Language": "en"}))
    assert "little in common with the source" in english.read_text("utf-8")


def test_choices_are_listed(made: Door) -> None:
    """Trainers, modes, thresholds and kinds come from one place; nothing is missing where OpenCV is there."""
    answer = made.get("/api/dataset/trainers")
    assert {one["id"] for one in answer["trainers"]} == set(LOADERS)
    assert {kind["id"] for kind in answer["kinds"]} == set(FindingKind)
    assert answer["extra"] is None
    assert {one["name"] for one in answer["thresholds"]} <= {kind["id"] for kind in answer["kinds"]}


def test_a_set_as_its_maker_wants_it(made: Door, tmp_path: Path) -> None:
    """Both directions, pairs that change nothing, masks, sizes of the trainer and paths of its machine, by the door."""
    order = {
        "output_dir": str(tmp_path / "sets"), "leave_out": True, "reverse": "both", "no_op_share": 0.2, "masks": True,
        "reverse_caption_mode": "trigger", "reverse_trigger": "白天", "path_root": "/workspace/sets", "alpha": "grey",
        "resolution": "256", "step": 16, "validation": 0.3,
    }  # fmt: skip
    job = finished(made, made.post("/api/dataset/export", order))
    assert job["status"] == "done", job["error"]
    folder = Path(job["result"]["path"])
    rows = [json.loads(line) for line in (folder / "metadata.jsonl").read_text("utf-8").splitlines()]
    ways = [row["direction"] for row in rows]
    assert (ways.count("forward"), ways.count("reversed"), ways.count("no_op")) == (COUNT - 1, COUNT - 1, 2)
    assert {row["caption"] for row in rows} == {"夜晚", "白天", "change nothing"}
    for row in rows:
        sizes = [Image.open(folder / path).size for path in (row["target"], row["controls"][0], row["mask"])]
        assert len(set(sizes)) == 1
        assert all(edge % 16 == 0 for edge in sizes[0])
    text = (folder / "train" / "ai_toolkit.yaml").read_text("utf-8")
    assert f'"/workspace/sets/{folder.name}/train/target"' in text
    assert "ctrl_img_1" in text
    assert str(tmp_path) not in text
    report = tmp_path / "set.html"
    finished(made, made.post("/api/dataset/report", {"path": str(report), "reverse": "both"}))
    assert "反向图片对" in report.read_text("utf-8")


def test_better_and_worse_results_become_preferences(tmp_path: Path) -> None:
    """A task with a result that was dropped beside one that was kept gives a pair of answers."""
    source = tmp_path / "in"
    source.mkdir()
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        scene = make_scene(1, SIZE)
        Image.fromarray(scene.picture).save(source / "a.png")
        answers = [edits.recolour(np.random.default_rng(number), scene) for number in (1, 2)]
        fake.answer(inline(ApiMode.CHAT_COMPLETIONS, *(png(answer) for answer in answers)))
        (task,) = door.run(source, config_for(fake, user_prompt="夜晚"))
        order = {"output_dir": str(tmp_path / "sets"), "trainer": "preference"}
        door.refused(400, "set_empty", "POST", "/api/dataset/export", order)
        kept, dropped = task["results"]
        door.app.store.mark_result(task["id"], dropped["id"], deleted=True)
        folder = Path(finished(door, door.post("/api/dataset/export", order))["result"]["path"])
        (row,) = [json.loads(line) for line in (folder / "preference.jsonl").read_text("utf-8").splitlines()]
        assert row["prompt"] == "夜晚"
        for name, picture in (("chosen", answers[0]), ("rejected", answers[1])):
            assert np.array_equal(np.asarray(Image.open(folder / row[name])), picture)
        assert kept["id"] != dropped["id"]


def test_wishes_of_makers_are_checked(made: Door, tmp_path: Path) -> None:
    """Each names its field, and no job begins."""
    for params, field in (
        ({"reverse": "sideways"}, "reverse"),
        ({"alpha": "pink"}, "alpha"),
        ({"no_op_share": 0.7}, "no_op_share"),
        ({"num_repeats": 0}, "num_repeats"),
        ({"num_repeats": 2, "trainer": "webdataset"}, "num_repeats"),
        ({"folder_repeats": {"faces": 2}, "trainer": "fal"}, "folder_repeats"),
        ({"folder_repeats": {"nobody": 2}}, "folder_repeats"),
        ({"resolution": "63"}, "resolution"),
        ({"resolution": [512, 4097]}, "resolution"),
        ({"trainer": "hugging_face", "path_root": "/a [1]"}, "path_root"),
        ({"folder_repeats": {"": 0}}, "folder_repeats"),
        ({"resolution": [5]}, "resolution"),
        ({"step": 3}, "step"),
        ({"reverse_caption_mode": "x"}, "reverse_caption_mode"),
        ({"trainer": "preference", "reverse": "both"}, "reverse"),
    ):
        answer = made.ask("POST", "/api/dataset/export", {"output_dir": str(tmp_path / "sets"), **params})
        assert answer.status_code == 400
        assert answer.json()["error"]["field"] == field
