"""What providers of jobs do wrong, over real HTTP: each row says what is answered and what must come of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import KEY, Door, open_door, until
from tests.support.pictures import picture, source_folder

JOBS = int(os.environ.get("JOBS", "60"))
JOB = {
    "id": "id", "url": "/jobs/{{job_id}}", "status": "status", "done": ["done"], "failed": ["failed"],
    "error": "message", "interval": 0.02, "cancel": {"method": "POST", "url": "/jobs/{{job_id}}/cancel"},
}  # fmt: skip
RECIPE: dict[str, Any] = {
    "request": {"url": "/submit", "json": {"model": "{{model}}", "prompt": "{{prompt}}", "image": "{{image}}"}},
    "job": JOB,
    "result": {"pictures": ["pictures[]"]},
}
TAKEN = Script.json({"id": "j1", "status": "open"})
OPEN = Script.json({"status": "open"})
DONE = Script.json({"status": "done", "pictures": ["/made.png"]})
PAGE = Script(body=b"<!doctype html><title>Down</title>", content_type="text/html")


@dataclass
class Provider:
    """Answers by path; of several answers the last one repeats. ``seen``: paths as they were asked for."""

    answers: dict[str, list[Script]]
    seen: list[str] = field(default_factory=list)

    def __call__(self, request: Received) -> Script:
        """The next answer at this path."""
        self.seen.append(request.path)
        scripts = self.answers.get(request.path)
        if scripts is None:
            return Script.error(404, "no such path")
        return scripts.pop(0) if len(scripts) > 1 else scripts[0]


def provider(*polls: Script, **answers: Script | list[Script]) -> Provider:
    """One that takes a job on and answers these polls; ``submit`` in place of the first answer, others by name."""
    table = {"/submit": [TAKEN], "/jobs/j1": list(polls) or [DONE]}
    for name, scripts in answers.items():
        path = "/" + name.replace("__", "/").replace("_png", ".png")
        table[path] = scripts if isinstance(scripts, list) else [scripts]
    return Provider(table)


def config_of(fake: FakeUpstream, recipe: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A configuration with this recipe."""
    return {
        "api_url": fake.url(""), "api_key": KEY, "model_name": "m", "user_prompt": "p", "recipe": recipe,
        "max_retries": 0, "retry_interval": 0.1, "unlock_local_api_url": True, "unlock_local_download_url": True,
        "alarm_limit": 0, **changes,
    }  # fmt: skip


@contextmanager
def playing(tmp_path: Path, provide: Provider) -> Iterator[tuple[FakeUpstream, Door]]:
    """The provider and the program; a good picture stands at /made.png."""
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:
        fake.answer_with(provide)
        fake.picture(picture(7), "/made.png")
        yield fake, door


def error_of(task: dict[str, Any]) -> str | None:
    """The code of why a task failed."""
    return task["error"]["code"] if task["error"] else None


ROWS: dict[str, tuple[dict[str, Any], Provider, str, str | None, str | None]] = {
    # name: changes of the recipe, provider, state of the task, its error, state of the job
    "no id, a picture": ({}, provider(submit=DONE), "done", None, None),
    "no id, no picture": ({}, provider(submit=Script.json({"hello": 1})), "failed", "recipe_found_nothing", None),
    "a path that finds nothing": (
        {"result": {"pictures": ["nowhere"]}}, provider(), "failed", "recipe_found_nothing", "failed",
    ),
    "a picture named in words": (
        {}, provider(submit=Script.json({"pictures": ["so: ![x](/made.png)"]})), "done", None, None,
    ),
    "words in a picture's place": (
        {}, provider(submit=Script.json({"pictures": ["none today"]})), "failed", "recipe_found_nothing", None,
    ),
    "a picture for an answer": (
        {}, provider(submit=Script(body=picture(7), content_type="application/octet-stream")), "done", None, None,
    ),
    "a web page for an answer": ({}, provider(submit=PAGE), "failed", "answer_web_page", None),
    "words of failure": (
        {}, provider(OPEN, Script.json({"status": "failed", "message": "content policy"})),
        "failed", "content_refused", "failed",
    ),
    "a code of failure": (
        {"job": {**JOB, "status": "output.status", "error": "output.message"}},
        provider(Script.json({"output": {"status": "failed", "code": "DataInspectionFailed", "message": "no"}})),
        "failed", "content_refused", "failed",
    ),
    "failed without a word": ({}, provider(Script.json({"status": "FAILED"})), "failed", "upstream_error", "failed"),
    "a code inside 200 on a poll": (
        {}, provider(Script.json({"code": 500, "msg": "broken"})), "failed", "upstream_error", "failed",
    ),
    "a limit inside 200 on a poll, then a stream": (
        {}, provider(Script.json({"code": 429, "msg": "slow"}),
                     Script.events({"status": "open"}, {"status": "done", "pictures": ["/made.png"]})),
        "done", None, "done",
    ),
    "forgotten inside 200": (
        {}, provider(Script.json({"code": 404, "msg": "no such task"})), "failed", "job_forgotten", "failed",
    ),
    "a truth value for a state": (
        {"job": {**JOB, "status": "finished", "done": ["true"]}},
        provider(Script.json({"finished": False}), Script.json({"finished": True, "pictures": ["/made.png"]})),
        "done", None, "done",
    ),
    "a question that is refused": ({}, provider(Script.error(400, "bad")), "failed", "upstream_status", "left"),
    "what was asked for is refused": ({}, provider(Script.error(422, "bad")), "failed", "upstream_status", "failed"),
    "a refused key inside 200": (
        {}, provider(submit=Script.json({"code": "InvalidApiKey", "message": "no"})), "failed", "key_refused", None,
    ),
    "no balance inside 200": (
        {}, provider(submit=Script.json({"base_resp": {"status_code": 1008, "status_msg": "insufficient"}})),
        "failed", "quota_exhausted", None,
    ),
    "not known yet": ({}, provider(Script.error(404, "unknown"), OPEN, DONE), "done", None, "done"),
    "forgotten": ({}, provider(OPEN, Script.error(404, "unknown")), "failed", "job_forgotten", "failed"),
    "forgotten for good": ({}, provider(Script.error(410, "gone")), "failed", "job_forgotten", "failed"),
    "a web page once": ({}, provider(PAGE, OPEN, DONE), "done", None, "done"),
    "web pages only": ({}, provider(PAGE), "failed", "job_unreadable", "left"),
    "the key no longer taken": ({}, provider(Script.error(401, "no")), "failed", "key_refused", "left"),
    "a broken line, a full house": (
        {}, provider(Script(stop_at=0, ending="reset"), Script.error(503, "busy"), DONE), "done", None, "done",
    ),
    "a state of its own": ({}, provider(Script.json({"status": "dreaming"}), DONE), "done", None, "done"),
    "a moved job": ({}, provider(Script.redirect("/moved"), moved=DONE), "done", None, "done"),
    "a moved picture": (
        {}, provider(Script.json({"status": "done", "pictures": ["/old.png"]}), old_png=Script.redirect("/made.png")),
        "done", None, "done",
    ),
    "a result elsewhere": (
        {"job": {**JOB, "result_url": "/results/{{job_id}}"}},
        provider(Script.json({"status": "done"}), results__j1=Script.json({"pictures": ["/made.png"]})),
        "done", None, "done",
    ),
    "a picture that expired": (
        {}, provider(Script.json({"status": "done", "pictures": ["/gone.png"]})),
        "failed", "candidates_refused", "left",
    ),
    "two jobs of one request": (
        {"job": {**JOB, "id": "data[].id"}},
        provider(OPEN, DONE, submit=Script.json({"data": [{"id": "j1"}, {"id": "j2"}]}),
                 jobs__j2=Script.json({"status": "done", "pictures": ["/other.png"]}),
                 other_png=Script(body=picture(8), content_type="image/png")),
        "done", None, "done",
    ),
    "one of two jobs fails": (
        {"job": {**JOB, "id": "data[].id"}},
        provider(DONE, submit=Script.json({"data": [{"id": "j1"}, {"id": "j2"}]}),
                 jobs__j2=Script.json({"status": "failed", "message": "bad"})),
        "partial_success", None, "done",
    ),
    "an address without an id": (
        {"job": {**JOB, "url": {"path": "where"}}},
        provider(submit=Script.json({"id": "j1", "pictures": ["/made.png"]})),
        "done", None, None,
    ),
    "an upload that fails": (
        {"upload": {"url": "/up", "form": {"file": "{{file}}"}, "result": "url"}},
        provider(up=Script.error(500, "disk full")), "failed", "upstream_status", None,
    ),
    "an upload without a name": (
        {"upload": {"url": "/up", "form": {"file": "{{file}}"}, "result": "url"}},
        provider(up=Script.json({"ok": True})), "failed", "upload_failed", None,
    ),
    "an upload whose key is refused inside 200": (
        {"upload": {"url": "/up", "form": {"file": "{{file}}"}, "result": "url"}},
        provider(up=Script.json({"code": 401, "message": "no"})), "failed", "key_refused", None,
    ),
    "an upload that breaks off": (
        {"upload": {"url": "/up", "form": {"file": "{{file}}"}, "result": "url"}},
        provider(up=Script(body=b'{"url": "x', claim=100, ending="close")), "failed", "connection_lost", None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_what_providers_do_wrong(name: str, tmp_path: Path) -> None:
    """A task ends as it must, is asked for once, and a job that may still bring its picture can be collected."""
    changes, provide, status, code, state = ROWS[name]
    provide = Provider({path: list(scripts) for path, scripts in provide.answers.items()})
    with playing(tmp_path, provide) as (fake, door):
        (task,) = door.run(source_folder(tmp_path / "in", 1), config_of(fake, {**RECIPE, **changes}))
        assert (task["status"], error_of(task)) == (status, code)
        assert [job["state"] for job in door.get("/api/remote")["jobs"]] == ([state] if state else [])
        assert provide.seen.count("/submit") == (0 if "upload" in changes else 1)
        assert task["result_count"] == (0 if code else 2 if name.startswith("two") else 1)


def test_an_upload_that_fails_half_way_costs_nothing(tmp_path: Path) -> None:
    """Of two pictures the first is there: the request that is paid for is not sent without the second."""
    upload = {"url": "/up", "form": {"file": "{{file}}"}, "result": "url"}
    request = {"url": "/submit", "json": {"pictures": "{{images_url}}"}}
    provide = provider(
        submit=DONE, up=[Script.json({"url": "u1"}), Script.error(507, "full"), Script.json({"url": "u2"})]
    )
    with playing(tmp_path, provide) as (fake, door):
        source = tmp_path / "in"
        source.mkdir()
        for number, name in enumerate(("a.png", "a2.png")):
            (source / name).write_bytes(picture(number))
        config = config_of(fake, {"request": request, "upload": upload, "result": RECIPE["result"]})
        body = {"input_path": str(source), "config": config, "references": "suffix"}
        for seen, status in ((["/up"] * 2, "failed"), (["/up"] * 4 + ["/submit"], "done")):
            door.post("/api/tasks/start" if status == "failed" else "/api/tasks/retry_failed", body)
            door.wait_idle()
            assert (provide.seen, [task["status"] for task in door.tasks()]) == (seen, [status])
        assert fake.requests[-2].json == {"pictures": ["u2", "u2"]}


def test_a_poll_elsewhere_goes_without_the_key(tmp_path: Path) -> None:
    """Job, result and redirect on another origin are asked without key and headers; on a named origin with them."""
    for named in (False, True):
        with playing(tmp_path / str(named), provider()) as (fake, door), FakeUpstream() as other:
            other.answer_with(
                Provider({"/p": [Script.redirect("/q")], "/q": [Script.json({"status": "done"})],
                          "/r": [Script.json({"pictures": [fake.url("/made.png")]})]})
            )  # fmt: skip
            job = {**JOB, "url": {"path": "poll"}, "result_url": {"path": "at"}, "headers": {"X-Mine": "1"}}
            recipe = {**RECIPE, "job": job, "origins": [other.url("")] if named else []}
            submitted = Script.json({"id": "j1", "poll": other.url("/p"), "at": other.url("/r")})
            fake.answer_with(Provider({"/submit": [submitted]}))
            (task,) = door.run(source_folder(tmp_path / str(named) / "in", 1), config_of(fake, recipe))
            assert (task["status"], error_of(task)) == ("done", None)
            assert [request.path for request in other.requests] == ["/p", "/q", "/r"]
            assert {"authorization" in request.headers for request in other.requests} == {named}
            assert {"x-mine" in request.headers for request in other.requests} == {named}


def test_a_job_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `job_timeout_seconds` it is told and no longer waited for, and can be collected once it is done after
    all; one that has ended is not collected twice."""
    provide = provider(OPEN)
    with playing(tmp_path, provide) as (fake, door):
        door.start(source_folder(tmp_path / "in", 1), config_of(fake, RECIPE, job_timeout_seconds=60))
        until(lambda: len(provide.seen) > 3)
        monkeypatch.setattr(door.app.remote.jobs, "_clock", lambda: time.time() + 61)
        door.wait_idle()
        (task,) = door.tasks()
        assert (task["status"], error_of(task)) == ("failed", "job_timed_out")
        (job,) = door.get("/api/remote")["jobs"]
        assert job["state"] == "left"
        provide.answers["/jobs/j1"] = [DONE]
        assert door.post(f"/api/remote/{job['id']}/collect")["collecting"] is True
        door.wait_idle()
        (task,) = door.tasks()
        assert (task["status"], task["result_count"], provide.seen.count("/submit")) == ("done", 1, 1)
        assert door.post(f"/api/remote/{job['id']}/collect")["collecting"] is False
        assert door.tasks()[0]["result_count"] == 1


def test_a_poll_is_told_to_wait(tmp_path: Path) -> None:
    """429 with Retry-After on a poll: the next one comes no sooner, and the job is none the worse."""
    provide = provider(Script.error(429, "slow down", headers={"Retry-After": "1"}), DONE)
    with playing(tmp_path, provide) as (fake, door):
        (task,) = door.run(source_folder(tmp_path / "in", 1), config_of(fake, RECIPE))
        polls = [request.at for request in fake.requests if request.path == "/jobs/j1"]
        assert (task["status"], len(polls)) == ("done", 2)
        assert polls[1] - polls[0] >= 1


def test_a_job_is_given_up(tmp_path: Path) -> None:
    """Cancel tells the provider, with the key; where it refuses, the job is waited for as before."""
    provide = provider(OPEN, jobs__j1__cancel=[Script.error(409, "too late"), Script.json({})])
    with playing(tmp_path, provide) as (fake, door):
        door.start(source_folder(tmp_path / "in", 1), config_of(fake, RECIPE))
        until(lambda: door.get("/api/remote")["jobs"])
        (job,) = door.get("/api/remote")["jobs"]
        assert door.ask("POST", f"/api/remote/{job['id']}/cancel").status_code >= 400
        assert (door.tasks()[0]["status"], door.get("/api/remote")["jobs"][0]["state"]) == ("processing", "waiting")
        assert door.post(f"/api/remote/{job['id']}/cancel")["cancelled"] is True
        door.wait_idle()
        assert (door.tasks()[0]["status"], door.get("/api/remote")["jobs"][0]["state"]) == ("stopped", "cancelled")
        cancels = [request for request in fake.requests if request.path.endswith("/cancel")]
        assert [(request.method, request.headers["authorization"]) for request in cancels] == [
            ("POST", f"Bearer {KEY}")
        ] * 2
        assert door.post(f"/api/remote/{job['id']}/cancel")["cancelled"] is False


@pytest.mark.parametrize(("poll", "least"), [({"status": "failed"}, 20), ({"status": "done"}, 3)])
def test_a_run_whose_jobs_all_fail_waits_for_a_person(tmp_path: Path, poll: dict[str, str], least: int) -> None:
    """Each was paid for: after twenty in a row no more are asked until somebody says so; a path that finds nothing
    is certain after three. Going on asks on."""
    provide = Provider({"/submit": [Script.json({"id": "j1"}, delay=0.05)], "/jobs/j1": [Script.json(poll)]})
    with playing(tmp_path, provide) as (fake, door):
        recipe = {**RECIPE, "job": {**JOB, "interval": 0.001}}
        door.start(source_folder(tmp_path / "in", 3 * least), config_of(fake, recipe, concurrency_limit=1))
        until(lambda: (door.state()["run"]["paused"] or {}).get("code") == "every_job_fails")
        asked = provide.seen.count("/submit")
        assert least <= asked < 3 * least
        door.post("/api/tasks/resume")
        until(lambda: provide.seen.count("/submit") > asked)
        door.post("/api/tasks/stop")
        door.wait_idle()


def test_many_open_jobs_need_no_thread_each(tmp_path: Path) -> None:
    """So many jobs are waited for at once by a handful of threads, and each is asked for no more than its due."""
    provide = Provider({})
    numbers = iter(range(10**9))
    release = threading.Event()

    def answer(request: Received) -> Script:
        if request.path == "/submit":
            return Script.json({"id": f"n{next(numbers)}"})
        provide.seen.append(request.path)
        return DONE if release.is_set() else OPEN

    with playing(tmp_path, provide) as (fake, door):
        fake.answer_with(answer)
        recipe = {**RECIPE, "job": {**JOB, "interval": 2}}
        before = threading.active_count()
        began = time.monotonic()
        door.start(source_folder(tmp_path / "in", JOBS), config_of(fake, recipe, concurrency_limit=16))
        until(lambda: door.state()["progress"]["at_provider"] == JOBS, timeout=600)
        until(lambda: not door.state()["running"], timeout=60)
        ours = [thread for thread in threading.enumerate() if thread.name.startswith(("remote", "edit"))]
        took = time.monotonic() - began
        assert len(ours) <= 12
        release.set()
        door.wait_idle(600)
        assert {task["status"] for task in door.tasks()} == {"done"}
        polls = max(map(provide.seen.count, set(provide.seen[:50])))
        assert polls <= (time.monotonic() - began) / 2 + 1
        print(f"{JOBS} open jobs after {took:.1f} s: {len(ours)} threads (before: {before}), {len(provide.seen)} polls")


def test_a_recipe_that_cannot_be_used_is_refused_by_its_field(tmp_path: Path) -> None:
    """An unknown placeholder where it is entered, with its place; none at all where a run would need one."""
    with playing(tmp_path, provider()) as (fake, door):
        wrong = {**RECIPE, "request": {"url": "/submit", "json": {"image": "{{picture}}"}}}
        for path in ("/api/config/current", "/api/tasks/start", "/api/config/test"):
            body = {"config": config_of(fake, wrong), "input_path": str(tmp_path)}
            error = door.refused(400, "recipe_invalid", "POST", path, body)
            assert (error["field"], error["params"]["path"], error["params"]["found"]) == (
                "recipe", "request.json.image", "{{picture}}",
            )  # fmt: skip
        source = source_folder(tmp_path / "in", 1)
        body = {"config": config_of(fake, {}, api_mode="recipe"), "input_path": str(source)}
        assert door.refused(400, "recipe_invalid", "POST", "/api/tasks/start", body)["field"] == "recipe"
        assert fake.requests == []


FORBIDDEN = "http://169.254.169.254/latest"
UP = {"url": FORBIDDEN, "form": {"file": "{{file}}"}, "result": "url"}
PLACES: dict[str, tuple[dict[str, Any], dict[str, Script]]] = {
    "request": ({"request": {"url": FORBIDDEN, "json": {"a": "{{image}}"}}}, {}),
    "upload": ({"upload": UP}, {}),
    "poll": ({"job": {**JOB, "url": {"path": "poll"}}}, {"/submit": Script.json({"id": "j1", "poll": FORBIDDEN})}),
    "redirect of a poll": ({}, {"/jobs/j1": Script.redirect(FORBIDDEN)}),
    "result": ({"job": {**JOB, "result_url": FORBIDDEN}}, {}),
    "redirect of a submission": ({}, {"/submit": Script.redirect(FORBIDDEN, 307)}),
    "picture": ({}, {"/jobs/j1": Script.json({"status": "done", "pictures": [FORBIDDEN]})}),
    "redirect of a picture": ({}, {"/made.png": Script.redirect(FORBIDDEN)}),
}


@pytest.mark.parametrize("place", PLACES)
def test_no_address_of_a_recipe_gets_around_the_rules(tmp_path: Path, place: str) -> None:
    """A private address is refused in every place of recipe and answers, also where a proxy would have gone there."""
    changes, answers = PLACES[place]
    table = {"/submit": TAKEN, "/jobs/j1": DONE, **answers}
    with FakeUpstream() as proxy, open_door(tmp_path / "data") as door:

        def answer(request: Received) -> Script:
            path = request.path.removeprefix("http://api.test:80")
            return table.get(path, Script.error(404, "no such path"))

        proxy.answer_with(answer)
        config = config_of(proxy, {**RECIPE, **changes}, unlock_local_api_url=False, unlock_local_download_url=False)
        (task,) = door.run(
            source_folder(tmp_path / "in", 1), {**config, "api_url": "http://api.test", "proxy": proxy.url("")}
        )
        codes = {"redirect of a submission": "redirect_refused"}
        wanted = "candidates_refused" if "picture" in place else codes.get(place, "address_private")
        assert (task["status"], error_of(task)) == ("failed", wanted)
        assert not any("169.254" in request.path for request in proxy.requests)
