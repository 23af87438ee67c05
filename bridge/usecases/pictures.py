"""Pictures as they are served: sources, results, previews, thumbnails; and the folders to choose from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from bridge.app import App
from bridge.usecases.common import Context, ResultId, TaskId
from engine.errors import Code, InvalidInput, NotFound, PictureRejected, StorageFailed
from engine.images.browse import Folder, list_folder, roots, tables
from engine.images.picture import HEAD_BYTES, sniff
from engine.images.serve_file import OpenPicture, open_picture
from engine.upstream.image_refs import decode_base64


class Picture(msgspec.Struct, frozen=True):
    """A picture to be shown: a file, or bytes; ``url`` is where a page loads it from.

    ``missing``: what to say when the file is gone.
    """

    mime: str
    url: str
    file: Path | None = None
    data: bytes = b""
    missing: Code = Code.SOURCE_MISSING


class TaskThumbnail(msgspec.Struct, frozen=True):
    """``size``: longest edge in pixels, rounded up to the next step."""

    task_id: str
    size: Annotated[int, Meta(ge=1, le=4096)] = 256


class ResultThumbnail(msgspec.Struct, frozen=True):
    """``size``: longest edge in pixels, rounded up to the next step."""

    task_id: str
    result_id: str
    size: Annotated[int, Meta(ge=1, le=4096)] = 256


class FolderParams(msgspec.Struct, frozen=True):
    """A folder; the home folder when empty."""

    path: str = ""


class FolderAnswer(msgspec.Struct, frozen=True):
    """What is in a folder, and the places to start from; ``tables``: paths of files that may be tables of prompts."""

    path: str
    parent: str | None
    folders: list[Folder]
    pictures: int
    roots: list[str]
    tables: list[str]


def source_image(context: Context, params: TaskId) -> Picture:
    """The source picture as it is on disk."""
    task = context.app.store.task(params.task_id)
    return _file(Path(task.source_path), f"/api/tasks/{task.id}/source")


def preview_image(context: Context, params: TaskId) -> Picture:
    """The latest preview that the API sent of a task in flight: progress, never a result."""
    log = context.app.batch.live_log(params.task_id)
    if log is None or not log.preview:
        raise NotFound(Code.NO_PREVIEW, id=params.task_id)
    data = decode_base64(log.preview)
    mime = sniff(data[:HEAD_BYTES])
    if mime is None:
        raise NotFound(Code.NO_PREVIEW, id=params.task_id)
    return Picture(mime, f"/api/tasks/{params.task_id}/preview", data=data)


def source_thumbnail(context: Context, params: TaskThumbnail) -> Picture:
    """The source picture, small."""
    task = context.app.store.task(params.task_id)
    return _thumbnail(context.app, Path(task.source_path), None, params.size, f"/api/tasks/{task.id}/source/thumbnail")


def result_image(context: Context, params: ResultId) -> Picture:
    """A result picture, byte for byte as it came."""
    result = context.app.store.result(params.task_id, params.result_id)
    url = f"/api/tasks/{params.task_id}/results/{result.id}/image"
    picture = _file(context.app.cache.path(result.hash, result.extension), url, Code.RESULT_FILE_MISSING)
    try:
        context.app.cache.read(result.hash, result.extension)
    except StorageFailed as error:  # bytes that rotted on the disk are quarantined, not shown as the result
        raise NotFound(error.code, field=None, **error.params) from error
    return picture


def result_thumbnail(context: Context, params: ResultThumbnail) -> Picture:
    """A result picture, small."""
    result = context.app.store.result(params.task_id, params.result_id)
    url = f"/api/tasks/{params.task_id}/results/{result.id}/thumbnail"
    path = context.app.cache.path(result.hash, result.extension)
    return _thumbnail(context.app, path, result.hash, params.size, url, Code.RESULT_FILE_MISSING)


def browse_folder(context: Context, params: FolderParams) -> FolderAnswer:
    """The folders in a folder of this machine, for choosing one in a browser."""
    here, folders = list_folder(params.path)
    parent = str(Path(here.path).parent)
    above = parent if parent != here.path else None
    return FolderAnswer(here.path, above, folders, here.pictures, roots(), tables(here.path))


def open_to_show(path: Path, missing: Code) -> OpenPicture:
    """The picture's file, open; NotFound where it is gone, or something else took its place since. The caller closes.

    A door opens the file itself and sends that: the name may mean another file a moment later.
    """
    try:
        return open_picture(path)
    except InvalidInput as error:
        raise NotFound(missing, path=str(path)) from error
    except PictureRejected as error:
        raise NotFound(error.code, field=None, **error.params) from error


def _file(path: Path, url: str, missing: Code = Code.SOURCE_MISSING) -> Picture:
    opened = open_to_show(path, missing)
    opened.file.close()
    return Picture(opened.mime, url, file=path, missing=missing)


def _thumbnail(
    app: App, path: Path, key: str | None, size: int, url: str, missing: Code = Code.SOURCE_MISSING
) -> Picture:
    try:
        if key is None:
            status = path.stat()
            key = f"{path}-{status.st_size}-{status.st_mtime_ns}"
        data, mime = app.thumbnails.get(path, key, size)
    except (OSError, InvalidInput) as error:
        raise NotFound(missing, path=str(path)) from error
    except PictureRejected as error:
        raise NotFound(error.code, field=None, **error.params) from error
    return Picture(mime, f"{url}?size={size}", data=data)
