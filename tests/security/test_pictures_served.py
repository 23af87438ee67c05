"""Pictures go out only as the raster type that their bytes are, from files that the store knows, and never run."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge import dispatch
from bridge.http.page import page_policy
from bridge.operations import OPERATIONS, Kind
from bridge.paths import program_folder
from engine.config import ApiMode
from tests.fakes.upstream import FakeUpstream
from tests.made_pictures import FORMATS, encoded
from tests.support.doors import Door, config_for, open_door
from tests.support.pictures import picture, source_folder
from tests.support.replies import inline
from tests.support.wire import raw

SECRET = b"root:x:0:0:a file that is none of the page's business"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"
POLYGLOT = picture(1)[:8] + HTML


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The program with one finished task."""
    place = tmp_path_factory.mktemp("pictures")
    with FakeUpstream() as fake, open_door(place / "data") as opened:
        fake.answer(inline(ApiMode.CHAT_COMPLETIONS, picture(77)))
        opened.run(source_folder(place / "in", 1), config_for(fake))
        yield opened


# A source may be another picture by now; a result is the picture of its hash or nothing.
only_source = pytest.mark.parametrize("shown", ["source"], indirect=True)
only_result = pytest.mark.parametrize("shown", ["result"], indirect=True)


@pytest.fixture(params=["source", "result"])
def shown(door: Door, request: pytest.FixtureRequest) -> Iterator[tuple[Path, str]]:
    """A picture's file and address; what a test does to the file is mended afterwards."""
    task = door.tasks()[0]
    result = task["results"][0]
    path = Path(task["source_path"])
    url = task["source_image_url"]
    if request.param == "result":
        stored = door.app.store.result(task["id"], result["id"])
        path, url = door.app.cache.path(stored.hash, stored.extension), result["image_url"]
    whole = path.read_bytes()
    yield path, url
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.write_bytes(whole)


def secret_beside(path: Path) -> Path:
    """A file outside that the page must not see."""
    outside = path.parent.parent / "secret.txt"
    outside.write_bytes(SECRET)
    return outside


def picture_outside(path: Path) -> Path:
    """A picture outside that the store does not know."""
    outside = path.parent.parent / "private.png"
    outside.write_bytes(picture(500))
    return outside


def by_link(target: Callable[[Path], Path]) -> Callable[[Path], None]:
    """Put a link in the picture's place."""
    return lambda path: path.symlink_to(target(path))


def bytes_of(data: bytes) -> Callable[[Path], int]:
    """Put another file in the picture's place."""
    return lambda path: path.write_bytes(data)


SWAPS: dict[str, Callable[[Path], Any]] = {
    "link to a text": by_link(secret_beside),
    "link to a picture": by_link(picture_outside),
    "link to the system's users": by_link(lambda _: Path("/etc/passwd")),
    "link to a device": by_link(lambda _: Path("/dev/zero")),
    "link to nothing": by_link(lambda path: path.parent / "nowhere"),
    "link to itself": by_link(lambda path: path),
    "svg": bytes_of(SVG),
    "svg with a byte order mark": bytes_of(b"\xef\xbb\xbf" + SVG),
    "html": bytes_of(HTML),
    "pdf": bytes_of(b"%PDF-1.7 \n1 0 obj"),
    "text": bytes_of(SECRET),
    "empty": bytes_of(b""),
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("kind", SWAPS)
def test_what_took_a_pictures_place_is_not_served(door: Door, shown: tuple[Path, str], kind: str) -> None:
    """Neither whole nor small, and the refusal quotes nothing of it."""
    path, url = shown
    path.unlink()
    SWAPS[kind](path)
    thumbnails = door.app.folder / "thumbnails"
    shutil.rmtree(thumbnails)
    thumbnails.mkdir()
    for address in (url, url.removesuffix("/image") + "/thumbnail"):
        answer = door.ask("GET", address)
        assert answer.status_code == 404, answer.content[:100]
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["code"] in {
            "picture_not_image", "picture_unreadable", "picture_broken", "source_missing", "result_file_missing",
        }  # fmt: skip
        for inside in (SECRET, HTML, SVG, picture(500)):
            assert inside not in answer.content


def test_a_swap_between_the_look_and_the_sending_is_refused(
    door: Door, shown: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sent is the file that was judged, not what its name means a moment later."""
    path, url = shown
    real = dispatch.call

    def swapping(*arguments: Any) -> Any:
        answer = real(*arguments)
        path.unlink()
        path.symlink_to(secret_beside(path))
        return answer

    monkeypatch.setattr("bridge.http.routes.call", swapping)
    answer = door.ask("GET", url)
    assert answer.status_code == 404
    assert SECRET not in answer.content


@only_source
@pytest.mark.parametrize("kind", FORMATS)
def test_the_type_is_that_of_the_bytes(door: Door, shown: tuple[Path, str], kind: str) -> None:
    """Whatever the name says, and nothing that a browser could take for a page."""
    path, url = shown
    path.write_bytes(encoded(kind))
    answer = door.ask("GET", url)
    assert (answer.status_code, answer.headers["content-type"]) == (200, FORMATS[kind])
    assert answer.content == encoded(kind)


def test_every_picture_route_is_hardened(door: Door) -> None:
    """No sniffing, no scripts, no frames, no other site; the routes are those of the table."""
    task = door.tasks()[0]
    ids = {"task_id": task["id"], "result_id": task["results"][0]["id"]}
    walked = [operation for operation in OPERATIONS if operation.kind is Kind.PICTURE]
    assert len(walked) >= 4
    for operation in walked:
        answer = door.ask("GET", operation.path.format(**ids))
        if operation.name != "preview_image":  # which shows something only while a task runs
            assert answer.status_code == 200
            assert answer.headers["content-type"] in FORMATS.values()
            assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["x-frame-options"] == "DENY"


@only_source
def test_a_picture_that_is_a_page_as_well_stays_a_picture(door: Door, shown: tuple[Path, str]) -> None:
    """Bytes that begin as PNG go out as PNG, whatever stands behind; a thumbnail needs a whole picture."""
    path, url = shown
    path.write_bytes(POLYGLOT)
    answer = door.ask("GET", url)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


@only_result
def test_another_picture_is_not_shown_as_a_result(door: Door, shown: tuple[Path, str]) -> None:
    """What lies under the hash of other bytes is refused, whole as it may be."""
    path, url = shown
    path.write_bytes(picture(78))
    door.refused(404, "file_damaged", "GET", url)


@only_source
def test_a_known_picture_is_not_sent_twice(door: Door, shown: tuple[Path, str]) -> None:
    """The page may ask whether it changed; a changed one comes anew."""
    path, url = shown
    tag = door.ask("GET", url).headers["etag"]
    again = door.ask("GET", url, headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    path.write_bytes(picture(78))
    assert door.ask("GET", url, headers={"If-None-Match": tag}).content == picture(78)
    head = door.ask("HEAD", url)
    assert (head.content, int(head.headers["content-length"])) == (b"", len(picture(78)))


def test_the_page_runs_only_its_own_scripts(door: Door) -> None:
    """A policy without any unsafe- word, whose one hash is that of the import map in the page."""
    answer = door.ask("GET", "/")
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert policy == page_policy(answer.text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert re.fullmatch(r"'self' 'sha256-[A-Za-z0-9+/=]+'", rules["script-src"])
    inline = answer.text.count('<script type="importmap"') + answer.text.count('<script type="application/json"')
    assert answer.text.count("<script") == answer.text.count(" src=") + inline == 4
    assert " on" + "click=" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        *("/../launcher.py", "/..%2flauncher.py", "/%2e%2e/launcher.py", "/css/../../launcher.py", "//etc/passwd"),
        *("/....//launcher.py", "/.env", "/css/.hidden", "/%00", "/css/%2e%2e/%2e%2e/pyproject.toml", "/css"),
        *("/css%5c..%5c..%5clauncher.py", "/api/../launcher.py", "/vendor/../../bridge/http/access.py"),
    ],
)
def test_only_the_pages_files_are_served(door: Door, path: str) -> None:
    """No way of writing a path leaves the page's folder."""
    assert (program_folder("webui").parent / "launcher.py").is_file()
    answer = raw(door.server.port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{door.server.port}\r\n\r\n".encode())
    assert re.match(rb"HTTP/1.1 40[034] ", answer), answer[:200]
    assert b"import" not in answer
    assert b"root:" not in answer
