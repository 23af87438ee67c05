"""The main job at size: two hundred pictures, sixteen at once, two megabytes each, byte for byte."""

from __future__ import annotations

import hashlib
import time
from base64 import b64encode
from pathlib import Path

import pytest

from engine.config import ApiMode
from tests.fakes.upstream import FakeUpstream, Received, Script
from tests.support.doors import config_for, open_door
from tests.support.pictures import noise, source_folder
from tests.support.replies import inline

COUNT = 200
VARIANTS = 10
SIZE = 2_000_000


@pytest.mark.slow
def test_two_hundred_pictures_of_two_megabytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Base64 in an event stream, 16 at once: 200 saved files whose bytes are those that the API sent."""
    base = [noise(number, SIZE) for number in range(VARIANTS)]

    def result(number: int) -> bytes:
        """Each answer differs from all others: four bytes of the last row hold its number."""
        data = base[number % VARIANTS]
        return data[:-4] + number.to_bytes(4, "big")

    source = source_folder(tmp_path / "in", COUNT)
    with FakeUpstream() as fake, open_door(tmp_path / "data") as door:

        def answering(request: Received) -> Script:
            picture = request.json["messages"][-1]["content"][1]["image_url"]["url"]
            number = numbers[hashlib.sha256(picture.encode()).hexdigest()]
            return inline(ApiMode.CHAT_COMPLETIONS, result(number), pieces=(65_536,))

        numbers = _numbers(source)
        fake.answer_with(answering)
        started = time.monotonic()
        door.start(source, config_for(fake, concurrency_limit=16, timeout_seconds=120))
        door.wait_idle(110)
        ran = time.monotonic()
        progress = door.get("/api/state?tasks=0")["progress"]
        assert progress["done"] == COUNT, progress
        body = {"output_dir": str(tmp_path / "out"), "filename_template": "{src_stem}"}
        saved = door.post("/api/tasks/save_all", body, timeout=60)
        ended = time.monotonic()
        assert (saved["saved_count"], saved["error_count"]) == (COUNT, 0)
        assert fake.busiest <= 16
    sent = {f"{number:03}_start.bmp": hashlib.sha256(result(number)).hexdigest() for number in range(1, COUNT + 1)}
    files = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (tmp_path / "out").iterdir()}
    assert files == sent
    with capsys.disabled():
        print(f"\n  200 results of 2 MB: edited in {ran - started:.1f} s, saved in {ended - ran:.1f} s", end=" ")


def _numbers(source: Path) -> dict[str, int]:
    """Which source a request holds, by the hash of its data URL."""
    numbers = {}
    for file in source.iterdir():
        url = "data:image/png;base64," + b64encode(file.read_bytes()).decode()
        numbers[hashlib.sha256(url.encode()).hexdigest()] = int(file.name[:3])
    return numbers
