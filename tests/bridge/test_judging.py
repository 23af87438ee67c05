"""Judging through the doors: by hand and along, paid once whatever happens, and what people do with the scores."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.demo.endpoint import DemoEndpoint, samples_folder
from engine.config import ApiMode
from engine.tasks.prompts import read_table
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.fakes.vision import FakeVision, chat, coloured
from tests.support.doors import Door, config_for, open_door, until
from tests.support.replies import inline

JUDGE_KEY = "sk-judge-abcdef0123456789"


class Studio:
    """A gateway that edits and one that judges, and sources on disk."""

    def __init__(self, folder: Path, edits: FakeUpstream, judge: FakeUpstream) -> None:
        self.folder = folder
        self.edits = edits
        self.judge_door = judge
        self.vision = FakeVision()
        self.sources = folder / "sources"
        self._lock = threading.Lock()
        self.made = 0
        self.colours = ["red"]
        edits.answer_with(self.edit)
        judge.answer_with(self.vision.answer)

    def edit(self, _: Received) -> Script:
        """A picture of the next colour."""
        with self._lock:
            number, self.made = self.made, self.made + 1
        return inline(ApiMode.CHAT_COMPLETIONS, coloured(self.colours[number % len(self.colours)], number))

    def draw(self, count: int) -> Path:
        """So many grey sources."""
        self.sources.mkdir(exist_ok=True)
        for number in range(count):
            (self.sources / f"{number:03}.png").write_bytes(coloured("grey", number))
        return self.sources

    def config(self, **changes: Any) -> dict[str, Any]:
        """Edits, one after the other."""
        return config_for(self.edits, **{"user_prompt": "make it red", "concurrency_limit": 1, **changes})

    def judge(self, **changes: Any) -> dict[str, Any]:
        """The judge's settings."""
        return {"api_url": self.judge_door.url(), "api_key": JUDGE_KEY, "model_name": "eyes", "max_retries": 0,
                "retry_interval": 0.1, "unlock_local_api_url": True, "pass_score": 7, **changes}  # fmt: skip


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    """Both gateways."""
    with FakeUpstream() as edits, FakeUpstream() as judge:
        yield Studio(tmp_path, edits, judge)


def judged(door: Door, **what: Any) -> dict[str, Any]:
    """Start the judge and wait for its end; the job."""
    started = door.post("/api/judge/start", what)
    assert door.app.jobs.wait_idle(20)
    job: dict[str, Any] = door.get("/api/dataset/job")["job"]
    assert job["id"] == started["job"]["id"]
    return job


def results(door: Door) -> list[dict[str, Any]]:
    """All results in order."""
    return [result for task in door.tasks() for result in task["results"]]


def test_scores_arrive_and_are_paid_once(studio: Studio, tmp_path: Path) -> None:
    """By hand: in list, filter, sort and report; never paid again by another list, names, a restart or a crash."""
    studio.colours = ["red", "blue", "green"]
    with open_door(tmp_path / "data") as door:
        saved = door.post("/api/judge/config", {"config": studio.judge()})
        assert saved["config"]["api_key"] == "********"
        tasks = door.run(studio.draw(6), studio.config())
        assert all(result["judgement"] is None for result in results(door))
        job = judged(door)
        assert (job["status"], job["result"]["calls"], job["result"]["pairs"]) == ("done", 6, 6)
        scores = [result["judgement"]["score"] for result in results(door)]
        assert [score > 7 for score in scores] == [True, False, False] * 2
        kept = results(door)[0]["judgement"]
        assert {"score", "passed", "scores", "reason", "model", "rubric", "at"} <= kept.keys()
        assert (kept["passed"], kept["model"], kept["rubric"]) == (True, "eyes", "edit_quality")
        assert door.get("/api/tasks?score_min=7")["total"] == 2
        ids = [task["id"] for task in door.get("/api/tasks?sort=score&desc=1")["tasks"]]
        assert {ids[0], ids[1]} == {tasks[0]["id"], tasks[3]["id"]}
        report = door.get("/api/judge/report")
        assert (report["judged"], sum(report["histogram"]), report["decided"], report["enough"]) == (6, 6, 0, False)
        shutil.copytree(tmp_path / "data", tmp_path / "killed", ignore=shutil.ignore_patterns(".lock"))
        assert judged(door)["result"] | {"calls": 0, "reused": 6} == judged(door)["result"]
        for path in sorted(studio.sources.iterdir()):
            path.rename(path.with_name(f"new_{path.name}"))
        door.post("/api/tasks/clear")
        door.run(studio.sources, studio.config())
        assert judged(door)["result"]["calls"] == 0
    with open_door(tmp_path / "killed") as door:
        assert [result["judgement"]["score"] for result in results(door)] == scores
        for path in sorted(studio.sources.iterdir()):
            path.rename(path.with_name(path.name.removeprefix("new_")))
        assert judged(door)["result"]["calls"] == 0
        assert judged(door, again=True, task_ids=[tasks[0]["id"]])["result"]["calls"] == 1
    assert len(studio.judge_door.api_requests) == 7
    assert {looked.key for looked in studio.vision.seen} == {f"Bearer {JUDGE_KEY}"}
    assert not any(JUDGE_KEY in str(request.headers) for request in studio.edits.api_requests)


def test_the_judge_goes_along_with_a_run(studio: Studio, tmp_path: Path) -> None:
    """Each result is judged as it lands, and asked for once though a person orders the same meanwhile; what a judge
    that stops misses can be judged by hand."""
    go = threading.Event()

    def slow(request: Received) -> Script:
        go.wait(20)
        return studio.vision.answer(request)

    studio.judge_door.answer_with(slow)
    with open_door(tmp_path / "data") as door:
        door.post("/api/judge/config", {"config": studio.judge(along=True)})
        door.run(studio.draw(5), studio.config())
        assert studio.judge_door.wait_for_requests(3)
        door.post("/api/judge/start", {})
        go.set()
        assert door.app.jobs.wait_idle(20)
        until(lambda: all(result["judgement"] for result in results(door)))
        assert len(studio.vision.seen) == 5
        studio.judge_door.answer(Script(silent=True))
        (studio.sources / "more.png").write_bytes(coloured("grey", 77))
        door.start(studio.sources, studio.config())
        assert studio.judge_door.wait_for_requests(6)
        door.wait_idle()
        door.post("/api/tasks/stop")
        assert studio.judge_door.wait_for_no_connections(5)
        studio.judge_door.answer_with(studio.vision.answer)
        assert judged(door)["result"]["calls"] == 1
        assert all(result["judgement"] for result in results(door))


def test_a_person_s_decisions_calibrate_and_undo(studio: Studio, tmp_path: Path) -> None:
    """Unticking by score is one step and can be taken back; decisions make agreement and a suggested score."""
    studio.colours = ["red", "blue"]
    with open_door(tmp_path / "data") as door:
        door.post("/api/judge/config", {"config": studio.judge()})
        door.run(studio.draw(4), studio.config())
        judged(door)
        only_told = door.post("/api/judge/untick", {"score": 7, "dry_run": True})
        done = door.post("/api/judge/untick", {"score": 7})
        assert only_told == done
        planned = door.post("/api/judge/start", {"dry_run": True, "again": True})
        assert (planned["job"], planned["calls"]) == (None, len(results(door)))
        assert done["affected"] == 2
        assert [result["selected"] for result in results(door)] == [True, False] * 2
        door.post("/api/tasks/bulk", {"action": "decide", "match": {}})
        report = door.get("/api/judge/report")
        assert (report["decided"], report["agreement"], report["kappa"]) == (4, 1.0, 1.0)
        scores = [result["judgement"]["score"] for result in results(door)]
        assert min(scores) < report["suggested_pass_score"] <= max(scores)
        door.post("/api/tasks/marks", {"marks": done["undo"]})
        assert all(result["selected"] for result in results(door))


def test_scores_go_into_report_and_sets(studio: Studio, tmp_path: Path) -> None:
    """The report has their plot and that of the decisions; metadata and preference pairs carry score and judge."""
    studio.colours = ["blue", "blue", "red", "red"]
    with open_door(tmp_path / "data") as door:
        door.post("/api/judge/config", {"config": studio.judge()})
        door.run(studio.draw(2), studio.config())
        judged(door)
        door.post("/api/tasks/retry_below", {"score": 7})
        assert door.app.jobs.wait_idle(20)
        door.post("/api/tasks/bulk", {"action": "decide", "match": {}})
        scores = [result["judgement"]["score"] for result in results(door)]
        order = {"allow": ["unrelated", "same_target", "split_twin", "shifted", "zoomed", "hardly_changed", "blank"]}
        for name, more in (("plain", {}), ("pairs", {"trainer": "preference"})):
            place = str(tmp_path / "sets")
            door.post("/api/dataset/export", {"output_dir": place, "name": name, **order, **more})
            assert door.app.jobs.wait_idle(20)
            assert door.get("/api/dataset/job")["job"]["status"] == "done"
        (metadata,) = (tmp_path / "sets").glob("plain*/metadata.jsonl")
        told = [json.loads(line) for line in metadata.read_text("utf-8").splitlines()]
        assert [(row["score"], row["judge"]) for row in told] == [(scores[1], "eyes"), (scores[3], "eyes")]
        (preference,) = (tmp_path / "sets").glob("pairs*/preference.jsonl")
        row = json.loads(preference.read_text("utf-8").splitlines()[0])
        assert (row["chosen_score"], row["rejected_score"], row["judge"]) == (scores[1], scores[0], "eyes")
        door.post("/api/dataset/report", {"path": str(tmp_path / "set.html")}, headers={"Accept-Language": "en"})
        assert door.app.jobs.wait_idle(20)
        page = (tmp_path / "set.html").read_text("utf-8")
        assert "Scores of the judge" in page
        decided = page.partition("Decided results by score")[2]
        for name, low in (("kept", int(scores[1])), ("not kept", int(scores[0]))):
            assert decided.count(f">{name}, {low}–{low + 1}: 2<") == 1
        assert "<dd>100%</dd>" in page


def test_captions_and_prompts_are_written_and_wait_to_be_seen(studio: Studio, tmp_path: Path) -> None:
    """A model's caption is flagged until a person has seen it, and never takes the place of a person's own."""
    with open_door(tmp_path / "data") as door:
        door.post("/api/judge/config", {"config": studio.judge()})
        task, _ = door.run(studio.draw(2), studio.config())
        door.post(f"/api/tasks/{task['id']}/results/{task['results'][0]['id']}/caption", {"text": " mine "})
        door.post("/api/judge/captions", {"length": "long", "language": "en"})
        assert door.app.jobs.wait_idle(20)
        first, second = results(door)
        assert (first["caption"], first["caption_seen"]) == ("mine", True)
        assert (second["caption"], second["caption_seen"]) == ("turn it from grey to red", False)
        door.refused(400, "field_choice", "POST", "/api/judge/captions", {"length": "endless"})
        door.post("/api/judge/prompts", {"input_path": str(studio.sources), "intention": "make it night"})
        assert door.app.jobs.wait_idle(20)
        place = door.get("/api/dataset/job")["job"]["result"]["path"]
        rows = read_table(place)
        assert [(row.file, row.prompt) for row in rows] == [
            (f"{number:03}.png", "turn it from grey to grey") for number in range(2)
        ]


def test_results_of_one_task_are_compared_in_both_orders(studio: Studio, tmp_path: Path) -> None:
    """The best stays ticked; a judge that always prefers the first picture decides nothing."""
    studio.colours = ["blue", "red"]
    with open_door(tmp_path / "data") as door:
        door.post("/api/judge/config", {"config": studio.judge()})
        (task,) = door.run(studio.draw(1), studio.config())
        door.post(f"/api/tasks/{task['id']}/retry")
        until(lambda: len(results(door)) == 2)
        studio.judge_door.answer(chat('{"better": "A"}'))
        door.post("/api/judge/compare", {})
        assert door.app.jobs.wait_idle(20)
        assert [result["selected"] for result in results(door)] == [True, True]
        door.post("/api/judge/config", {"config": studio.judge(model_name="other")})
        studio.judge_door.answer_with(studio.vision.answer)
        door.post("/api/judge/compare", {})
        assert door.app.jobs.wait_idle(20)
        assert [result["selected"] for result in results(door)] == [False, True]


def test_keys_and_rubrics_are_safe(studio: Studio, tmp_path: Path) -> None:
    """The edit's key goes to no judge elsewhere, the judge's to no other origin; own rubrics come and go."""
    with open_door(tmp_path / "data") as door:
        door.post("/api/config/current", {"config": studio.config()})
        masked = studio.judge(api_key="********")
        door.refused(400, "api_key_required", "POST", "/api/judge/config", {"config": masked})
        door.post("/api/judge/config", {"config": studio.judge(api_key="")})
        assert door.app.vision.settings.config.api_key == ""
        door.post("/api/judge/config", {"config": studio.judge(api_url=studio.edits.url("/v1/x"), api_key="")})
        assert door.app.vision.settings.config.api_key == door.app.preferences.config.api_key != ""
        door.refused(400, "api_key_required", "POST", "/api/judge/config", {"config": studio.judge(api_key="")})
        rubric = {"name": "own", "criteria": [{"id": "nice", "question": "Is it nice?"}], "combination": "min"}
        assert door.post("/api/judge/rubrics", rubric)["name"] == "own"
        door.post("/api/judge/config", {"config": studio.judge(rubric="own")})
        names = [entry["name"] for entry in door.get("/api/judge/rubrics")["rubrics"]]
        assert names == ["edit_quality", "strict", "keep_the_rest", "own"]
        door.refused(400, "field_range", "POST", "/api/judge/rubrics", {"name": "x", "criteria": []})
        door.refused(400, "rubric_built_in", "DELETE", "/api/judge/rubrics/strict")
        door.refused(400, "rubric_unknown", "POST", "/api/judge/config", {"config": {"rubric": "none"}})
        exported = door.get("/api/presets/export")
        door.delete("/api/judge/rubrics/own")
        door.post("/api/presets/import", exported)
        assert [entry["name"] for entry in door.get("/api/judge/rubrics")["rubrics"]] == names
        door.delete("/api/judge/rubrics/own")
        assert door.get("/api/judge/config")["config"]["rubric"] == "edit_quality"
        door.post("/api/judge/config", {"config": {"model_name": ""}})
        door.refused(400, "field_required", "POST", "/api/judge/start", {})


def test_the_demo_judges_honestly(tmp_path: Path) -> None:
    """Without an account: the demo's judge scores what the demo edited, and says that it only measured."""
    with DemoEndpoint(delay=0) as demo, open_door(tmp_path / "data") as door:
        config = {"api_url": demo.url(), "unlock_local_api_url": True, "unlock_local_download_url": True,
                  "user_prompt": "night", "model_name": "demo-edit"}  # fmt: skip
        source = tmp_path / "one"
        source.mkdir()
        shutil.copy(next(samples_folder().iterdir()), source)
        door.run(source, config)
        url = demo.base_url + "/v1/chat/completions"
        door.post("/api/judge/config",
                  {"config": {"api_url": url, "model_name": "demo-judge", "unlock_local_api_url": True}})  # fmt: skip
        assert judged(door)["result"]["calls"] == 1
        (result,) = results(door)
        assert result["judgement"]["score"] > 7
        assert "demo" in result["judgement"]["reason"].lower()
