"""Run as a program: a provider's batch whose results are hostile, against the whole program; prints the codes, the
seconds and the peak of its memory. Arguments: how many lines, and of how many megabytes each.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

from engine.allocator import keep_freed_memory
from tests.fakes.batches import FakeBatch, OpenAIDesk
from tests.fakes.upstream import FakeUpstream
from tests.support.batches import batch_config, edited
from tests.support.doors import open_door
from tests.support.pictures import source_folder


class HostileDesk(OpenAIDesk):
    """Each of its results is as large as it is told, and no picture."""

    megabytes = 1

    def _write_outputs(self, batch: FakeBatch) -> None:
        response = {"status_code": 200, "body": {"data": [{"b64_json": "x" * (self.megabytes * 2**20)}]}}
        lines = [json.dumps({"custom_id": line.key, "response": response}) for line in batch.lines]
        batch.outputs = {"output": self.new_id("file-")}
        self.files[batch.outputs["output"]] = "\n".join(lines).encode()


def _serve(there: Connection, megabytes: int) -> None:
    HostileDesk.megabytes = megabytes
    with FakeUpstream() as fake:
        HostileDesk(fake, edited)
        there.send(fake.url(""))
        there.recv()


class _Place:
    """Where the other process listens."""

    def __init__(self, base: str) -> None:
        self.url = lambda path: base.rstrip("/") + path


def main() -> None:
    """One flood; the provider is another process, so that its memory does not count."""
    lines, megabytes = int(sys.argv[1]), int(sys.argv[2])
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    provider = context.Process(target=_serve, args=(there, megabytes), daemon=True)
    provider.start()
    place = _Place(here.recv())
    keep_freed_memory()  # as the program does
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open_door(folder / "data", ALLOW_PRIVATE_API_URL="1") as door:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            door.start(source_folder(folder / "in", lines), batch_config("openai", place))  # type: ignore[arg-type]
            door.wait_idle(600)
            begun = time.monotonic()
            door.app.remote.batches.wait_idle(600)
            took = time.monotonic() - begun
            codes = Counter(task["error"]["code"] if task["error"] else task["status"] for task in door.tasks())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    here.send(None)
    provider.join(10)
    print(json.dumps({"lines": lines, "megabytes": megabytes, "codes": codes, "seconds": round(took, 1),
                      "before_mb": before // 1024, "peak_mb": peak // 1024}))  # fmt: skip


if __name__ == "__main__":
    main()
