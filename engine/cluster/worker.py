"""What Dask runs in a worker's process: the worker's desk is set up, errands come in, and the coordinator reaches it
directly, past the scheduler, with secrets, stops and what was kept."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import platform
import signal
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import distributed
import msgspec
from distributed import Worker, WorkerPlugin, get_worker, secede
from PIL import features

import engine
from engine.allocator import keep_freed_memory
from engine.cluster.desk import Desk
from engine.cluster.messages import Errand, Facts, Kept, Question, Reply, Told, Work, decoded
from engine.config import ApiConfig
from engine.dataset.measure import EXTRA_PACKAGES
from engine.shapes import learn_shapes
from engine.tasks.failures import Failure

LEARN, STOP, FORGET, ANSWER = (f"image_batch_{name}" for name in ("learn", "stop", "forget", "answer"))
"""What a coordinator asks a worker over their own connection."""
_DESK = "image_batch_desk"
_LOOK_SECONDS = 0.05
_LOOKS = 10
_LIBRARIES = ("pil", "jpg", "libjpeg_turbo", "zlib", "webp", "littlecms2")  # by Pillow's names
T = TypeVar("T")
R = TypeVar("R")


def facts() -> Facts:
    """Of this process."""
    python, dask = ".".join(platform.python_version_tuple()[:2]), str(vars(distributed)["__version__"])
    return Facts(python, dask, fingerprint(Path(engine.__file__).parent))


def fingerprint(folder: Path) -> str:
    """Of the code below a folder, whatever ends its lines: a version alone tells nothing of two checkouts."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py"), key=Path.as_posix):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(file.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return digest.hexdigest()[:12]


def picture_tools() -> str:
    """What decides, beside our own code, which bytes and numbers come of a picture."""
    libraries = (f"{name} {features.version(name)}" for name in _LIBRARIES)
    with contextlib.suppress(PackageNotFoundError):
        return ", ".join((*libraries, f"OpenCV {version(EXTRA_PACKAGES[1])}", platform.machine()))
    return ", ".join((*libraries, platform.machine()))


def sees(path: str, content: str, dask_worker: Worker) -> bool:
    """Whether this machine finds a file with these words, and may write beside it (Dask fills in the last one)."""
    file = Path(path)
    try:
        if file.read_text("ascii") != content:
            return False
        trial = file.with_name(f"{file.name}-{dask_worker.id}")
        trial.write_text(content, "ascii")
        trial.unlink()
    except (OSError, ValueError):
        return False
    return True


class DeskPlugin(WorkerPlugin):
    """Admits a program to each worker's desk, also of workers that come later."""

    def __init__(self, session: str, told: bytes) -> None:
        self._session = session
        self._told = told
        self.name = f"image-batch-console-{session}"

    def setup(self, worker: Worker) -> None:
        """Called by Dask in each worker."""
        learn_shapes()
        told = decoded(self._told, Told)
        if told.ours:  # Ctrl-C in the terminal is meant for the program, which stops calls and keeps what came of them
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        desk = getattr(worker, _DESK, None)
        if desk is None:
            keep_freed_memory()
            desk = Desk(worker.state.nthreads)
            setattr(worker, _DESK, desk)
            worker.handlers |= _handlers(desk)
        desk.admit(self._session, told)

    async def teardown(self, worker: Worker) -> None:
        """Called when the program leaves, and when the worker ends: because its scheduler is gone, maybe, while calls
        are paid for and somebody may ask for what they bring."""
        desk = _desk(worker)
        while worker.status.name.startswith("closing") and desk.busy:
            await asyncio.sleep(_LOOK_SECONDS)
        desk.dismiss(self._session)


def _handlers(desk: Desk) -> dict[str, Callable[..., Any]]:
    async def learn(session: str, config_id: str, config: bytes, now: float) -> str:
        desk.learn(session, config_id, decoded(config, ApiConfig), now)
        return desk.process

    async def stop(run: str) -> None:
        desk.stop(run)

    async def forget(session: str, tokens: list[str]) -> None:
        desk.forget(session, tokens)

    async def answer(session: str, token: str) -> bytes:
        """Of an errand that was begun here, soon, whether it has ended or not; empty where nobody knows it."""
        for _ in range(_LOOKS):
            if desk.is_under_way(token):
                await asyncio.sleep(_LOOK_SECONDS)
        found = await asyncio.to_thread(desk.answer, session, token)
        return msgspec.msgpack.encode(found) if found is not None else b""

    return {LEARN: learn, STOP: stop, FORGET: forget, ANSWER: answer}


def _desk(worker: Worker) -> Desk:
    desk = getattr(worker, _DESK)
    assert isinstance(desk, Desk)
    return desk


def compute(work: Work[T, R]) -> R | None:
    """Do what takes a processor, in a thread beside the worker's slots, so that calls need not wait for it. None where
    it did not succeed, or would not come out as at home: who asks does it there, and sees why."""
    worker = get_worker()
    desk = _desk(worker)
    secede()
    return desk.compute(work) if work.tools == picture_tools() else None


def run_errand(errand: Errand) -> Reply:
    """Make one attempt, in a thread of its own beside the worker's slots: it waits, it does not compute."""
    desk = _desk(get_worker())
    secede()
    return desk.do(errand)


def run_question(question: Question) -> tuple[bytes | None, Failure | None]:
    """Ask a vision model, in a thread of its own as well."""
    desk = _desk(get_worker())
    secede()
    return desk.ask(question)


def left(session: str, owner: str, dask_worker: Worker) -> list[Kept]:
    """As `Desk.left`, for the worker that runs this (Dask fills in the last argument)."""
    return _desk(dask_worker).left(session, owner)
