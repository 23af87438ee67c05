"""A project file of gigabytes, out of one data folder and into another: time and memory. ``nice -n 15 python -m
tests.bridge.carry_much --gigabytes 3``; needs three times that on the disk, and leaves nothing there."""

from __future__ import annotations

import argparse
import contextlib
import io
import multiprocessing
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from engine.images.cache import Cache
from tests.webui.driver import Seed, Site, running, seed

SIZE = (1900, 1750)  # noise: about 10 MB as PNG
EACH = 10_000_000


def noise(number: int) -> bytes:
    """A picture that no compression makes smaller."""
    pixels = np.random.default_rng(number).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def fill(folder: Path, pairs: int) -> None:
    """A project of so many pairs, each source and result a picture of its own."""
    seed(folder, [Seed(f"p{n:04}.png") for n in range(pairs)], pictures=pairs)
    cache = Cache(folder / "cache")
    with contextlib.closing(sqlite3.connect(folder / "tasks.db")) as database, database:
        for n in range(pairs):
            (folder / "sources" / f"{n}.png").write_bytes(noise(2 * n))
            data = noise(2 * n + 1)
            known = (cache.put(data, "png"), len(data), *SIZE, f"t{n}")
            database.execute("UPDATE result SET hash = ?, size = ?, width = ?, height = ? WHERE task_id = ?", known)


def peak() -> float:
    """The most memory that this process has had since it was asked last, in MB."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    most = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return most / 1024


def done(site: Site, path: str, body: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """What a job came to, and how many seconds it took."""
    begun = time.monotonic()
    answer = httpx.post(f"{site.url}api/projects/{path}", json=body, trust_env=False, timeout=120)
    assert answer.status_code == 200, answer.text
    address = f"{site.url}api/dataset/job"
    while (job := httpx.get(address, trust_env=False, timeout=120).json()["job"])["status"] == "running":
        time.sleep(0.2)
    assert job["status"] == "done", job
    told = {name: value for name, value in job["result"].items() if value}
    return told, time.monotonic() - begun


def main() -> None:
    """Out, in, and what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=3)
    pairs = int(parser.parse_args().gigabytes * 1e9 / EACH / 2)
    with tempfile.TemporaryDirectory() as made:
        here = Path(made)
        filling = multiprocessing.get_context("spawn").Process(target=fill, args=(here / "first", pairs))
        filling.start()
        filling.join()
        file = here / "project.ibcp"
        with running(here / "first") as site:
            before = peak()
            _, took = done(site, "export", {"path": str(file), "sources": True})
            size = file.stat().st_size
            print(f"out: {pairs} pairs, {size / 1e9:.2f} GB in {took:.0f} s, memory {before:.0f} → {peak():.0f} MB")
        with running(here / "second") as site:
            before = peak()
            result, took = done(site, "import", {"path": str(file)})
            print(f"in: {took:.0f} s, memory {before:.0f} → {peak():.0f} MB, {result}")
            assert result["pairs"] == pairs
            assert not {"bad", "problem"} & result.keys()


if __name__ == "__main__":
    main()
