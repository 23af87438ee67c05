"""The built-in demo endpoint: an image-edit API over real HTTP and SSE on a loopback port, edited with Pillow.

It needs no account, writes no file, and marks every answer: header ``X-Demo: 1``, model ``demo-edit``, DEMO in the
picture's corner. The prompt chooses the edit: 素描/sketch, 水墨/ink wash, 夜/night, 水彩/watercolor, 油画/oil painting,
卡通/cartoon, 像素/pixel, 复古/sepia, 黑白/gray, 镜像/mirror, 反色/negative, 模糊/blur, 日落/sunset, 雪/snow.
It can also ask for a fault, to see how the program takes it:

``error 429`` (any 4xx or 5xx) · ``error html`` (500 with a page) · ``error empty`` (nothing in a 200) · ``error cut``
(the answer ends in the middle) · ``error event`` (an error object in a 200) · ``error text`` (words, no picture) ·
``error broken`` (it does not decode) · ``error link`` (a URL that is 404) · ``error slow`` (half a minute).
``错误`` works as well as ``error``; with ``once`` or ``一次`` behind it only the first call for a picture fails.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from bridge.demo.answers import MODEL
from bridge.demo.orders import PATHS
from bridge.demo.serving import DemoServer, DemoState
from bridge.paths import data_folder, program_folder
from engine.config import ApiConfig, ApiMode, StreamChoice
from engine.files import storage_failure, write_bytes

DEMO_PROMPT = "把这张图画成水彩画 · Turn this picture into a watercolor"


def demo_config(base_url: str, mode: ApiMode = ApiMode.IMAGES_EDITS) -> ApiConfig:
    """Settings that call the demo endpoint at ``base_url`` (``DemoEndpoint.base_url``) in one of its three modes."""
    return ApiConfig(
        api_url=base_url + PATHS[mode],
        model_name=MODEL,
        user_prompt=DEMO_PROMPT,
        concurrency_limit=4,
        retry_interval=0.5,
        stream=StreamChoice.ON,
        unlock_local_api_url=True,
        unlock_local_download_url=True,
    )


def samples_folder(data: Path | None = None) -> Path:
    """The folder of sample pictures that comes with the program; StorageFailed if the installation lacks it.

    A one-file program unpacks itself to another place at each start; there the samples are copied into the folder
    ``data`` (default: the data folder) first, so that tasks find them again later.
    """
    inside = program_folder("assets") / "samples"
    unpacked = getattr(sys, "_MEIPASS", None)
    if unpacked is None or not inside.is_relative_to(unpacked):
        return inside
    outside = (data or data_folder(os.environ)) / "samples"
    try:
        outside.mkdir(parents=True, exist_ok=True)
        for picture in sorted(inside.iterdir()):
            if not (outside / picture.name).is_file():
                write_bytes(outside / picture.name, picture.read_bytes())
    except OSError as error:
        raise storage_failure(error, outside) from error
    return outside


class DemoEndpoint:
    """The endpoint; a context manager. ``delay``: seconds that an edit takes, progress events included."""

    def __init__(self, *, delay: float = 0.6, clock: Callable[[], float] = time.monotonic) -> None:
        self._state = DemoState(delay, clock)
        self._server: DemoServer | None = None

    def start(self) -> Self:
        """Listen on a free loopback port; OSError if there is none. Can be started once."""
        self._server = DemoServer(self._state)
        self._server.run()
        return self

    def close(self) -> None:
        """End every connection and thread; safe to call again."""
        self._state.closing.set()
        if self._server is not None:
            self._server.end()
            self._server = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:PORT``; RuntimeError unless it runs."""
        if self._server is None:
            raise RuntimeError("the demo endpoint is not running")
        return self._server.base_url

    def url(self, mode: ApiMode = ApiMode.IMAGES_EDITS) -> str:
        """The address of one of the three modes."""
        return self.base_url + PATHS[mode]
