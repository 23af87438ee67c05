"""Rows 10 to 12: thumbnails, saving, and looking at a large folder; each beside the plainest way to do the same."""

from __future__ import annotations

import io
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image

from engine.dataset.fsync_queue import Flusher
from engine.dataset.naming import BUILT_IN_RULES, name_context
from engine.dataset.save import SaveItem, save_all
from engine.images.discover import discover
from engine.images.thumbnails import Thumbnails
from engine.models import TaskMatch, TaskSort
from engine.tasks.store import Store
from tests.bench.calls import empty, scratch
from tests.bench.gateway import Picture
from tests.bench.measure import Report, Row, median
from tests.bench.seed import seed

_SIDE = 256


def thumbnails(count: int, rounds: int) -> Report:
    """Row 10: 12-megapixel photos, first time and cached; and whether the task table still answers meanwhile."""
    with scratch() as folder:
        photos = _photos(folder, count)
        plain: list[float] = []
        first: list[float] = []
        cached: list[float] = []
        for number in range(rounds):
            plain.append(_processor(partial(_each, _plain_thumbnail, photos)))
            made = Thumbnails(folder / f"made-{number}", 2**30)
            for found in (first, cached):
                found.append(_processor(partial(_each, partial(_thumbnail, made), photos)))
        blocked = _answers_meanwhile(folder, photos)
    rate, often = count / median(first), count / median(cached)
    return Report(
        [
            Row(
                "10", "thumbnails of 12-megapixel JPEGs of 3 MB, first time", f"{rate:.0f}/s per core",
                f"Pillow alone {count / median(plain):.0f}/s", "≥ 30/s per core", rate >= 30,
                median([p / f for p, f in zip(plain, first, strict=True)]),
            ),
            Row(
                "10", "the same, cached", f"{often:.0f}/s", f"first time {rate:.0f}/s", "≥ 500/s", often >= 500,
                often / rate,
            ),
            Row(
                "10", "reading a page of the task table while thumbnails are made",
                f"{blocked[1] * 1000:.1f} ms", f"while none are: {blocked[0] * 1000:.1f} ms", "≤ 50 ms",
                blocked[1] <= 0.05, blocked[0] / blocked[1],
            ),
        ]
    )  # fmt: skip


def _photos(folder: Path, count: int) -> list[Path]:
    """JPEGs of 4000 × 3000 pixels, about 3 MB each: noise as a sensor has it, over shapes and gradients."""
    random.seed(1)
    base = Image.effect_noise((4000, 3000), 22).convert("RGB")
    soft = Image.effect_noise((40, 30), 120).resize((4000, 3000), Image.Resampling.BICUBIC).convert("RGB")
    buffer = io.BytesIO()
    Image.blend(base, soft, 0.7).save(buffer, "JPEG", quality=88)
    photos = []
    for number in range(count):
        path = folder / f"photo-{number}.jpg"
        path.write_bytes(buffer.getvalue())
        photos.append(path)
    return photos


def _each(work: Callable[[Path], object], photos: list[Path]) -> None:
    for photo in photos:
        work(photo)


def _thumbnail(made: Thumbnails, photo: Path) -> None:
    made.get(photo, photo.name, _SIDE)


def _plain_thumbnail(path: Path) -> bytes:
    with Image.open(path) as image:
        image.draft("RGB", (_SIDE, _SIDE))
        image.thumbnail((_SIDE, _SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG")
    return buffer.getvalue()


def _answers_meanwhile(folder: Path, photos: list[Path]) -> tuple[float, float]:
    """Median seconds for a page of the task table: alone, and while eight threads ask for thumbnails."""
    store = Store(seed(folder / "tasks", 500) / "tasks.db")

    def page() -> float:
        return _seconds(lambda: store.page(TaskMatch(), TaskSort.ORDER, False, 0, 100))

    alone = median([page() for _ in range(30)])
    made = Thumbnails(folder / "meanwhile", 2**30)
    ended = threading.Event()
    meanwhile = []
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(made.get, photo, f"{photo.name}{turn}", _SIDE) for turn in range(3) for photo in photos]
        while not all(job.done() for job in jobs):
            meanwhile.append(page())
            ended.wait(0.002)
    store.close()
    return alone, median(meanwhile)


def saving(count: int, rounds: int) -> Report:
    """Row 11: save_all beside cp."""
    with scratch() as folder:
        results = folder / "results"
        results.mkdir()
        picture = Picture(2_000_000, 3)
        items = []
        for number in range(count):
            file = results / f"{number:05d}.png"
            file.write_bytes(picture.numbered(number))
            items.append(
                SaveItem(name_context(f"{number:05d}.png", f"t{number}", f"r{number}", 1, number + 1), file, "png")
            )
        os.sync()
        copied: list[float] = []
        synced: list[float] = []
        ours: list[float] = []
        durable: list[float] = []
        for number in range(rounds):
            out = folder / f"out-{number}"
            copy = folder / f"copy-{number}"
            copied.append(_seconds(partial(subprocess.run, ["cp", "-r", results, copy], check=True)))
            synced.append(copied[-1] + _seconds(partial(_sync, copy)))
            empty(copy)
            out.mkdir()
            flusher = Flusher(lambda *_: None)
            ours.append(_seconds(partial(_save, items, out, flusher)))
            durable.append(ours[-1] + _seconds(flusher.wait))
            flusher.close()
            assert sum(1 for _ in out.iterdir()) == count
            empty(out)
    ratio = median([c / o for c, o in zip(copied, ours, strict=True)])
    until_there = median([s / o for s, o in zip(synced, durable, strict=True)])
    return Report(
        [
            Row(
                "11", f"save_all, {count:,} × 2 MB", f"{median(ours):.2f} s", f"cp {median(copied):.2f} s",
                "≤ 1.2 ×", ratio >= 1 / 1.2, ratio,
            ),
            Row(
                "11+", "the same, until all is on disk", f"{median(durable):.2f} s",
                f"cp, then fsync of each file {median(synced):.2f} s", "", None, until_there,
            ),
        ]
    )  # fmt: skip


def _save(items: list[SaveItem], out: Path, flusher: Flusher) -> None:
    report = save_all(items, BUILT_IN_RULES["keep_source_name"], out)
    assert not report.errors
    flusher.begin(report.files, out)


def _sync(folder: Path) -> None:
    for file in folder.iterdir():
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def inspecting(count: int, rounds: int) -> Report:
    """Row 12: a tree of pictures, beside a walk that opens each file and reads its first bytes."""
    with scratch() as folder:
        picture = Picture(300, 1)
        for number in range(count):
            place = folder / "tree" / f"{number // 500:03d}"
            if number % 500 == 0:
                place.mkdir(parents=True)
            (place / f"image {number}.png").write_bytes(picture.numbered(number))
        walked, ours = [], []
        steps: list[int] = []
        for _ in range(rounds):
            walked.append(_seconds(lambda: _walk(folder / "tree")))
            ours.append(_seconds(lambda: _inspect(folder / "tree", count, steps)))
    ratio = median([w / o for w, o in zip(walked, ours, strict=True)])
    goal = 3.0 * count / 50_000
    return Report(
        [
            Row(
                "12", f"inspect a tree of {count:,} pictures", f"{median(ours):.2f} s",
                f"walk, open, read a block {median(walked):.2f} s", f"≤ {goal:.1f} s, told while it goes",
                median(ours) <= goal and len(steps) >= rounds * count // 200, ratio,
            )
        ]
    )  # fmt: skip


def _walk(root: Path) -> None:
    for place, _, names in os.walk(root):
        for name in names:
            descriptor = os.open(f"{place}/{name}", os.O_RDONLY)
            os.read(descriptor, 64)
            os.close(descriptor)


def _inspect(root: Path, count: int, steps: list[int]) -> None:
    assert len(discover(str(root), 2**20, progress=steps.append).pictures) == count


def _processor(work: Callable[[], object]) -> float:
    """Seconds of processor time, which is what "per core" means on a machine that is shared."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
