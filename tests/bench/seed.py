"""Data folders with many finished tasks, made once for all rows that need them."""

from __future__ import annotations

import hashlib
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.images.cache import Cache
from engine.images.picture import check_picture
from engine.models import DebugEntry, EditOutcome, ImageInfo, SourceType, StoredImage, TaskStatus
from engine.tasks.store import NewTask, Store
from tests.bench.gateway import Picture

_PICTURE = Picture(300, 1)
_LOG = [
    DebugEntry(1.0, 1, "request", {"method": "POST", "url": "http://127.0.0.1/v1", "body": {"prompt": "x" * 300}}),
    DebugEntry(2.0, 1, "status", {"status": 200, "headers": {"content-type": "application/json"}}),
    DebugEntry(3.0, 1, "event", {"name": "", "data": "x" * 400}),
    DebugEntry(4.0, 1, "extracted", {"pictures": [{"type": "base64", "where": "data[0]", "length": 27000}]}),
]


def seed(folder: Path, count: int) -> Path:
    """A data folder with ``count`` finished tasks, each with a picture of its own and a debug log; made if missing."""
    if folder.exists():
        return folder
    making = folder.with_name(f"{folder.name}.making")
    cache = Cache(making / "cache")
    sources = making / "sources"
    sources.mkdir()
    info = check_picture(_PICTURE.numbered(0), 2**20)
    store = Store(making / "tasks.db")
    new = [NewTask(str(sources / f"{n:06d}.png"), f"{n:06d}.png", f"print {n}") for n in range(count)]
    ids = store.add(new)

    def finish(number: int) -> None:
        data = _PICTURE.numbered(number)
        Path(new[number].source_path).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        place = cache.path(digest, info.extension)
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(data)
        store.finish(_outcome(ids[number], digest, len(data), info))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(finish, range(count)))
    store.close()
    return making.rename(folder)


def _outcome(task_id: str, digest: str, size: int, info: ImageInfo) -> EditOutcome:
    image = StoredImage(digest, size, info, SourceType.BASE64)
    return EditOutcome(task_id, TaskStatus.DONE, [image], 1, 200, log=_LOG)


def copy_of(folder: Path, target: Path) -> Path:
    """A data folder of its own to work in."""
    shutil.copytree(folder, target)
    return target
