"""Makes data_2d36da7.zip: a data folder as the program of that commit leaves it, written by that program itself.

``python tests/samples/make_old_data.py CHECKOUT``, a checkout of the commit whose name the result gets. Nothing of the
program here is used: it is driven through its HTTP door, against its own demo endpoint.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

KEPT = ("state.json", "presets.json", "tasks.db", "tasks.db.closed", "measures.db", "cache", "answers")
KEY = "sk-old-data-key"


def main(checkout: Path) -> None:
    """Run the old program, do a person's work in it, and pack what it leaves."""
    commit = subprocess.check_output(["git", "-C", checkout, "rev-parse", "--short=7", "HEAD"], text=True).strip()
    with tempfile.TemporaryDirectory(prefix="old-data-") as place:
        data, sources = Path(place, "data"), Path(place, "sources")
        sources.mkdir()
        for number in range(1, 6):
            Image.new("RGB", (24, 16), (number * 40, 90, 200 - number * 30)).save(sources / f"{number:03}_start.png")
        environment = {
            **os.environ,
            "APP_DATA_DIR": str(data),
            "PORT": "0",
            "LC_ALL": "en_US.UTF-8",
            "BROWSER": "false",
        }
        process = subprocess.Popen(
            [sys.executable, str(checkout / "launcher.py"), "serve", "--demo"],
            cwd=checkout, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stderr is not None
            address = next(found[0] for line in process.stderr if (found := re.search(r"http://\S+?:\d+", line)))
            with httpx.Client(base_url=address, trust_env=False, timeout=20) as client:
                work(client, sources)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        pack(data / "demo", Path(__file__).with_name(f"data_{commit}.zip"))


def work(client: httpx.Client, sources: Path) -> None:
    """Five tasks: one left as it came, one unticked, one dropped, one failed, one with two results."""
    config: dict[str, Any] = client.get("/api/state").json()["current_config"]
    config |= {"api_key": KEY, "user_prompt": "make it night", "max_retries": 0, "result_count": 2}
    asked(client, "/api/presets/save", {"name": "night", "config": config})
    start(client, sources, config)
    (sources / "005_start.png").write_bytes(b"no picture any more")
    tasks = client.get("/api/state").json()["tasks"]
    first = [task["results"][0]["id"] for task in tasks]
    asked(client, f"/api/tasks/{tasks[1]['id']}/results/{first[1]}/toggle", {})
    client.delete(f"/api/tasks/{tasks[2]['id']}/results/{first[2]}").raise_for_status()
    asked(client, f"/api/tasks/{tasks[4]['id']}/retry_clear", {})
    idle(client)


def start(client: httpx.Client, sources: Path, config: dict[str, Any]) -> None:
    """Run the folder to its end."""
    asked(client, "/api/tasks/start", {"input_path": str(sources), "config": config})
    idle(client)


def asked(client: httpx.Client, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """An operation's answer."""
    answer = client.post(path, json=body)
    answer.raise_for_status()
    return dict(answer.json())


def idle(client: httpx.Client) -> None:
    """Until nothing runs."""
    while (state := client.get("/api/state").json())["running"] or state["single_retry_running"]:
        time.sleep(0.1)


def pack(data: Path, target: Path) -> None:
    """What a person's data folder holds, without what may be deleted."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for file in sorted(data.rglob("*")):
            if file.is_file() and file.relative_to(data).parts[0] in KEPT:
                archive.write(file, file.relative_to(data))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
