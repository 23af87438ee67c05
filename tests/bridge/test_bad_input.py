"""Bad input, line by line: each gets its own code and words in both languages, and the rest of the batch goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.config import ApiMode
from tests.fakes.upstream import FakeUpstream, Script, sample
from tests.support.doors import MESSAGES, Door, config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import MODES, by_url, inline

AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
EN = {"Accept-Language": "en"}
ZH = {"Accept-Language": "zh-CN"}


def in_both_languages(door: Door, code: str, path: str, body: object) -> None:
    """A request that is refused with the code, in Chinese and in English."""
    words = {door.refused(400, code, "POST", path, body, headers=language)["message"] for language in (EN, ZH)}
    assert len(words) == 2
    assert not any("?" in text for text in words), words


# --- what is found on disk --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/api/tasks/inspect", "/api/tasks/start"])
@pytest.mark.parametrize(
    ("made", "code"),
    [
        (lambda place: None, "path_not_found"),
        (lambda place: place.mkdir(), "folder_empty"),
        (lambda place: (place.mkdir(), (place / "notes.txt").write_text("x")), "no_pictures"),
        (lambda place: place.write_text("no picture"), "picture_not_image"),
    ],
    ids=["missing", "empty", "no picture", "a file that is none"],
)
def test_source_path(
    fake: FakeUpstream, shared: Door, tmp_path: Path, path: str, made: Callable[[Path], object], code: str
) -> None:
    """A path without pictures is refused before anything is sent."""
    place = tmp_path / "place"
    made(place)
    body = {"input_path": str(place), "config": config_for(fake)}
    in_both_languages(shared, code, path, body)
    assert shared.refused(400, code, "POST", path, body)["field"] == "input_path"
    assert fake.requests == []


def test_files_that_cannot_be_sent_are_listed_and_the_rest_goes_on(fake: FakeUpstream, tmp_path: Path) -> None:
    """No picture, broken, too large, unreadable: each is named with its code, the good ones are edited."""
    folder = source_folder(tmp_path / "in", 2)
    (folder / "words.png").write_text("no picture")
    (folder / "broken.png").write_bytes(picture(9)[:40])
    (folder / "large.png").write_bytes(picture(9, size=(300, 300), kind="bmp"))
    expected = {"words.png": "picture_not_image", "broken.png": "picture_broken", "large.png": "picture_too_large"}
    (folder / "locked.png").write_bytes(picture(9))
    if not AS_ROOT:
        (folder / "locked.png").chmod(0)
        expected["locked.png"] = "picture_unreadable"
    fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(1)))
    with open_door(tmp_path / "data", MAX_SOURCE_IMAGE_BYTES="100000") as door:
        answer = door.start(folder, config_for(fake))
        door.wait_idle()
        assert {Path(file["path"]).name: file["code"] for file in answer["unreadable"]} == expected
        assert answer["unreadable_count"] == len(expected)
        assert answer["task_count"] == 6 - len(expected)
        assert {task["status"] for task in door.tasks()} == {"done"}
        assert len({file["message"] for file in answer["unreadable"]}) == len(expected)


def test_a_picture_that_turns_out_broken_costs_nothing(fake: FakeUpstream, door: Door, tmp_path: Path) -> None:
    """What looks whole from outside and does not decode is found before the API is asked; so is one that went away."""
    folder = source_folder(tmp_path / "in", 3)
    data = bytearray(picture(1, size=(200, 200)))
    data[60:120] = bytes(60)
    (folder / "001_start.png").write_bytes(data)
    fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(1)))
    tasks = door.run(folder, config_for(fake))
    assert [task["status"] for task in tasks] == ["failed", "done", "done"]
    assert tasks[0]["error"]["code"] == "picture_broken"
    assert (tasks[0]["attempts"], tasks[0]["http_status"]) == (0, None)
    assert len(fake.api_requests) == 2
    (folder / "001_start.png").unlink()
    door.post(f"/api/tasks/{tasks[0]['id']}/retry")
    door.wait_idle()
    assert door.tasks()[0]["error"]["code"] == "source_missing"
    assert len(fake.api_requests) == 2


# --- the address ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://127.0.0.1/v1", "url_scheme"),
        ("file:///etc/passwd", "url_scheme"),
        ("http://", "url_malformed"),
        ("http://exa mple/v1", "url_malformed"),
        ("http://user:pass@127.0.0.1/v1", "url_credentials"),
        ("http://127.0.0.1:9/v1", "address_private"),
        ("http://[::1]:9/v1", "address_private"),
        ("http://0x7f.1/v1", "address_private"),
        ("http://localhost:9/v1", "address_private"),
        ("http://192.168.1.2/v1", "address_private"),
        ("http://169.254.169.254/latest", "address_private"),
    ],
)
def test_api_url(shared: Door, tmp_path: Path, url: str, code: str) -> None:
    """A URL that the rules forbid is refused at the start, not once for each picture."""
    source = source_folder(tmp_path / "in", 1)
    body = {"input_path": str(source), "config": {"api_url": url}}
    in_both_languages(shared, code, "/api/tasks/start", body)
    assert shared.refused(400, code, "POST", "/api/tasks/start", body)["field"] == "api_url"
    assert shared.state()["task_count"] == 0


def test_api_host_that_is_not_listed(fake: FakeUpstream, tmp_path: Path) -> None:
    """With a list only its hosts and their subdomains are called, and downloads have a list of their own."""
    source = source_folder(tmp_path / "in", 1)
    lists = {"API_URL_HOST_ALLOWLIST": "x.ai, 127.0.0.1", "DOWNLOAD_URL_HOST_ALLOWLIST": "x.ai"}
    with open_door(tmp_path / "data", **lists) as door:
        body = {"input_path": str(source), "config": config_for(fake, api_url="https://api.openai.com/v1/responses")}
        door.refused(400, "host_not_listed", "POST", "/api/tasks/start", body)
        fake.answer(by_url(ApiMode.CHAT_COMPLETIONS, fake.picture(picture(1))))
        task = door.run(source, config_for(fake))[0]
        assert (task["status"], task["error"]["params"]["reason"]) == ("failed", "host_not_listed")


def test_host_that_cannot_be_resolved(door: Door, tmp_path: Path) -> None:
    """A name that nobody knows fails its task with that code."""
    config = {"api_url": "http://no-such-host.invalid/v1", "max_retries": 0, "timeout_seconds": 10}
    task = door.run(source_folder(tmp_path / "in", 1), config)[0]
    assert task["status"] == "failed"
    assert task["error"]["code"] in {"host_unresolvable", "proxy_failed"}


# --- what the API answers ---------------------------------------------------------------------------------------------

ANSWERS: dict[str, tuple[Script, str, int | None]] = {
    "refused key": (Script.error(401, "Incorrect API key"), "key_refused", 401),
    "unknown model": (Script.error(404, "The model `x` does not exist"), "model_unknown", 404),
    "a parameter by name": (Script.error(400, "Unknown parameter: 'aspect_ratio'."), "parameter_refused", 400),
    "content policy": (Script.sample("error_400_content.json", status=400), "content_refused", 400),
    "rate limit": (Script.error(429, "slow down"), "rate_limited", 429),
    "rate limit hidden in 500": (Script.sample("error_500_hidden_limit.json", status=500), "rate_limited", 500),
    "500 with HTML": (Script(body=b"<html><h1>Oops</h1></html>", status=500, content_type="text/html"),
                      "upstream_status", 500),
    "502 with HTML": (Script.sample("error_502.html", status=502), "upstream_status", 502),
    "an error event": (Script.sample("c10_error_event.sse"), "", 200),
    "empty stream": (Script(content_type="text/event-stream"), "answer_empty", 200),
    "empty body": (Script(), "answer_empty", 200),
    "words only": (Script.sample("words_only.sse"), "answer_no_picture", 200),
    "no JSON": (Script(body=b"hello", content_type="text/plain"), "answer_no_picture", 200),
    "redirect": (Script.redirect("https://elsewhere.invalid/"), "redirect_refused", None),
    "connection lost": (Script(body=b"x" * 100, stop_at=0, claim=100, ending="reset"), "connection_lost", None),
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ANSWERS)
def test_answers(fake: FakeUpstream, shared: Door, tmp_path: Path, name: str, mode: ApiMode) -> None:
    """Each kind of refusal has its code and its words, and the other pictures are edited."""
    script, code, status = ANSWERS[name]
    shared.post("/api/tasks/clear")
    fake.answer(script, inline(mode, picture(1)))
    tasks = shared.run(source_folder(tmp_path / "in", 3), config_for(fake, mode, concurrency_limit=1))
    assert [task["status"] for task in tasks] == ["failed", "done", "done"]
    failed = tasks[0]
    if code:
        assert failed["error"]["code"] == code
    else:
        assert failed["error"]["code"] in {"upstream_error", "rate_limited", "content_refused"}
    if status is not None:
        assert failed["http_status"] == status
    said_in_both(shared, failed["id"])


def said_in_both(door: Door, task: str) -> None:
    """The task's error in two different, whole sentences."""
    words = {door.get(f"/api/tasks/{task}", headers=language)["task"]["last_error"] for language in (EN, ZH)}
    assert len(words) == 2
    assert all(text and "{" not in text for text in words)


CUT = {
    ApiMode.CHAT_COMPLETIONS: "c1_grok2api_base64.sse",
    ApiMode.RESPONSES: "r3_cut_after_previews.sse",
    ApiMode.IMAGES_EDITS: "no_done_cut.sse",
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_stream_cut_in_the_middle(fake: FakeUpstream, shared: Door, tmp_path: Path, mode: ApiMode, ending: str) -> None:
    """A stream that breaks off before a picture is whole fails its task; a preview is no result."""
    shared.post("/api/tasks/clear")
    body = sample(CUT[mode])
    cut = Script.sample(CUT[mode], stop_at=len(body) * 2 // 3, pieces=(50,), ending=ending)
    fake.answer(cut, inline(mode, picture(1)))
    tasks = shared.run(source_folder(tmp_path / "in", 2), config_for(fake, mode, concurrency_limit=1))
    assert [task["status"] for task in tasks] == ["failed", "done"]
    assert tasks[0]["error"]["code"] in {"stream_cut", "connection_lost"}
    assert tasks[0]["results"] == []
    said_in_both(shared, tasks[0]["id"])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("does not decode", "picture_broken"),
        ("is no picture", "picture_not_image"),
        ("is 404", "download_status"),
        ("is too large", "answer_too_large"),
        ("redirects in circles", "redirect_limit"),
        ("is private without the switch", "address_private"),
    ],
)
def test_pictures_that_cannot_be_kept(
    fake: FakeUpstream, tmp_path: Path, mode: ApiMode, name: str, reason: str
) -> None:
    """A named picture that cannot be fetched or does not decode fails its task, and the reason says which it was."""
    urls: dict[str, Callable[[], str]] = {
        "does not decode": lambda: fake.picture(picture(1)[:50]),
        "is no picture": lambda: fake.route("/page", Script(body=b"<html>", content_type="image/png")),
        "is 404": lambda: fake.route("/gone.png", Script(status=404)),
        "is too large": lambda: fake.picture(picture(1, kind="bmp", size=(300, 300))),
        "redirects in circles": fake.redirect_loop,
        "is private without the switch": lambda: fake.picture(picture(1)),
    }
    bad, good = urls[name](), fake.picture(picture(2), "/files/good.png")
    private = reason == "address_private"
    second = inline(mode, picture(2)) if private else by_url(mode, good)
    fake.answer(by_url(mode, bad), second)
    with open_door(tmp_path / "data", MAX_CANDIDATE_IMAGE_BYTES="50000") as door:
        config = config_for(fake, mode, concurrency_limit=1, unlock_local_download_url=not private)
        tasks = door.run(source_folder(tmp_path / "in", 2), config)
        assert [task["status"] for task in tasks] == ["failed", "done"], tasks[0]["error"]
        error = tasks[0]["error"]
        assert (error["code"], error["params"]["reason"]) == ("candidates_refused", reason)
        clause = MESSAGES.text("zh-CN", f"reason.{reason}")
        assert clause in tasks[0]["last_error"]
        debug = door.get(f"/api/tasks/{tasks[0]['id']}/debug")
        assert reason in debug["debug_log"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("way", ["url", "inline"])
def test_a_paid_picture_beyond_the_limit_is_kept(fake: FakeUpstream, tmp_path: Path, mode: ApiMode, way: str) -> None:
    """It is paid for: kept whole, with the limit and its variable named."""
    large = picture(1, kind="bmp", size=(150, 150))
    fake.answer(by_url(mode, fake.picture(large)) if way == "url" else inline(mode, large))
    with open_door(tmp_path / "data", MAX_CANDIDATE_IMAGE_BYTES="50000") as door:
        config = config_for(fake, mode, concurrency_limit=1, unlock_local_download_url=True)
        (task,) = door.run(source_folder(tmp_path / "in", 1), config)
        assert (task["status"], task["result_count"]) == ("partial_success", 1)
        assert "MAX_CANDIDATE_IMAGE_BYTES" in task["last_warning"]
        assert str(len(large)) in task["last_warning"]
        stored = [path.read_bytes() for path in (tmp_path / "data" / "cache").glob("??/*")]
        assert stored == [large]


# --- where it is saved ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A program with one result."""
    folder = tmp_path_factory.mktemp("done")
    with FakeUpstream() as fake, open_door(folder / "data") as door:
        fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(1)))
        door.run(source_folder(folder / "in", 1), config_for(fake))
        yield door


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"output_dir": ""}, "output_required", "output_dir"),
        ({"filename_template": "{nothing}"}, "template_variable", "filename_template"),
        ({"filename_template": "{src_stem"}, "template_syntax", "filename_template"),
        ({"filename_template": "{src_stem.__class__}"}, "template_variable", "filename_template"),
        ({"filename_template": "  "}, "template_empty", "filename_template"),
        ({"create_txt": True, "txt_template": "{x}"}, "template_variable", "txt_template"),
        ({"create_txt": True, "txt_template": "}"}, "template_syntax", "txt_template"),
    ],
)
def test_save_rules(done: Door, tmp_path: Path, fields: dict[str, object], code: str, field: str) -> None:
    """A rule that cannot be followed is refused before a file is written."""
    body = {"output_dir": str(tmp_path / "out"), **fields}
    in_both_languages(done, code, "/api/tasks/save_all", body)
    assert done.refused(400, code, "POST", "/api/tasks/save_all", body)["field"] == field
    assert not (tmp_path / "out").exists()


def test_output_folder_that_is_a_file(done: Door, tmp_path: Path) -> None:
    """A file is no folder."""
    (tmp_path / "file").write_text("x")
    in_both_languages(done, "output_not_folder", "/api/tasks/save_all", {"output_dir": str(tmp_path / "file")})
    in_both_languages(done, "output_not_folder", "/api/tasks/save_all", {"output_dir": str(tmp_path / "file" / "in")})


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a place where nobody may write")
def test_output_folder_that_is_not_writable(done: Door) -> None:
    """A place where nobody may make a folder is said to be that, not a fault of the program."""
    error = done.ask("POST", "/api/tasks/save_all", {"output_dir": "/proc/self/out"})
    assert error.status_code == 400
    assert error.json()["code"] in {"output_not_writable", "storage_failed", "output_not_folder"}


@pytest.mark.skipif(not AS_ROOT or shutil.which("mount") is None, reason="needs a file system of its own")
def test_output_folder_that_is_full(done: Door, tmp_path: Path) -> None:
    """A full disk is named; nothing half written stays."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        with pytest.raises(OSError, match="No space"):
            (place / "filler").write_bytes(b"x" * 70_000)
        answer = done.ask("POST", "/api/tasks/save_all", {"output_dir": str(place)})
        told = answer.json()
        codes = {told["code"]} if answer.status_code == 400 else {error["code"] for error in told["error_details"]}
        assert codes == {"disk_full"}
        assert sorted(path.name for path in place.iterdir()) == ["filler"]
    finally:
        subprocess.run(["umount", str(place)], check=True)
