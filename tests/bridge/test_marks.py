"""Decisions as one step, filters by what the person sees, and a retry with another prompt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.config import ApiMode
from engine.models import TaskMatch
from tests.fakes.upstream import FakeUpstream, Script
from tests.support.doors import config_for
from tests.support.replies import inline
from tests.webui.driver import Site, picture, running


class Client:
    """One program with its answered tasks."""

    def __init__(self, site: Site, fake: FakeUpstream, folder: Path) -> None:
        self.site, self.fake, self.folder = site, fake, folder
        self.http = httpx.Client(base_url=site.url, headers={"Accept-Language": "en"}, trust_env=False)

    def post(self, path: str, **body: Any) -> Any:
        answer = self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        assert self.site.app.batch.wait_idle(20)
        return answer.json()

    def tasks(self, **filters: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.http.get("/api/tasks", params=filters).json()["tasks"]
        return found

    def names(self, **filters: str) -> list[str]:
        return [str(task["source_name"]) for task in self.tasks(**filters)]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Three pictures in two folders: two are answered, one is refused."""
    for number, name in enumerate(("a/one.png", "a/two.png", "b/three.png")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(tmp_path / "in" / name, number)
    drawn = [picture(tmp_path / f"{n}.png", 7 + n, mark=True).read_bytes() for n in range(4)]
    with FakeUpstream() as fake, running(tmp_path / "data") as site:
        pictures = [inline(ApiMode.CHAT_COMPLETIONS, one) for one in drawn]
        fake.answer(pictures[0], pictures[1], Script.error(401, "no such key"), pictures[2], pictures[3])
        client = Client(site, fake, tmp_path / "in")
        config = config_for(fake, concurrency_limit=1, user_prompt="make it night", model_name="m-1", max_retries=0)
        client.post("/api/tasks/start", input_path=str(client.folder), config=config)
        yield client
        client.http.close()


def test_filters_know_what_the_person_sees(client: Client) -> None:
    """Words of the failure in the person's language, prompts, folders and codes find tasks; the counts agree."""
    assert client.names(q="make it NIGHT") == ["one.png", "two.png"]
    assert client.names(q="refused the key") == ["three.png"]
    chinese = client.http.get("/api/tasks", params={"q": "refused the key"}, headers={"Accept-Language": "zh-CN"})
    assert chinese.json()["total"] == 0
    assert client.names(failure="key_refused") == ["three.png"]
    assert client.names(prompt="make it night") == ["one.png", "two.png"]
    assert client.names(folder=str(client.folder / "b")) == ["three.png"]
    facets = client.http.get("/api/tasks/facets").json()
    assert facets["failures"] == {"key_refused": 1}
    assert facets["prompts"] == {"make it night": 2}
    assert sorted(facets["folders"].values()) == [1, 2]
    assert (facets["only"]["undecided"], facets["only"]["decided"]) == (2, 0)
    (made,) = client.tasks(q="one.png")[0]["results"]
    assert (made["prompt"], made["model"]) == ("make it night", "m-1")


def test_marks_are_one_step_and_can_be_taken_back(client: Client) -> None:
    """Ticks, drops and decisions of many tasks are set as given; a drop taken back leaves its pair undecided."""
    first, second, _ = client.tasks()
    marks = [
        {"task_id": first["id"], "dropped": {first["results"][0]["id"]: True}, "decided": True},
        {"task_id": second["id"], "ticked": {second["results"][0]["id"]: False}},
    ]
    assert client.post("/api/tasks/marks", marks=marks)["affected"] == 2
    assert client.names(only="decided") == ["one.png", "two.png"]
    back = {"task_id": first["id"], "dropped": {first["results"][0]["id"]: False}, "decided": False}
    client.post("/api/tasks/marks", marks=[back])
    assert client.names(only="undecided") == ["one.png"]


def test_a_retry_asks_with_another_prompt_and_waits_for_a_decision(client: Client) -> None:
    """The prompt of a retry is what is sent, stands with its result, and the pair is undecided again."""
    first, _, failed = client.tasks()
    client.post("/api/tasks/marks", marks=[{"task_id": first["id"], "decided": True}])
    for task in (failed, first):
        client.post("/api/tasks/bulk", action="retry", task_ids=[task["id"]], user_prompt="draw rain")
    sent = [request.body.decode() for request in client.fake.api_requests]
    assert ["draw rain" in text for text in sent] == [False, False, False, True, True]
    again, _, mended = client.tasks()
    assert [one["prompt"] for one in again["results"]] == ["make it night", "draw rain"]
    assert (again["decided"], mended["status"], mended["own_prompt"]) == (False, "done", "draw rain")
    refused = client.http.post("/api/tasks/bulk", json={"action": "retry", "task_ids": [], "user_prompt": " "})
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "user_prompt")
    assert len(client.site.app.store.ids(TaskMatch())) == 3
