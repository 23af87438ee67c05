"""Results as files in a folder that a person chose: never over another file, never outside, whole under their names."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

import msgspec

from engine.dataset.naming import NameContext, SaveRule, check_rule, image_stem, text
from engine.errors import Code, InvalidInput, Problem, StorageFailed
from engine.files import (
    create_temporary,
    name_exclusively,
    remove,
    remove_leftover,
    storage_failure,
    sync_names,
    write_all,
)
from engine.paths import entered_path, folded, printable

FIELD: Final = "output_dir"

_RIGHTS: Final = 0o666  # those of the person's other files
_COPIERS: Final = 2  # one waits for memory or for the disk while the other copies; more bring nothing
_AHEAD: Final = 4 * _COPIERS
_COPY_BYTES: Final = 1 << 20
_READ_ONLY: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_KERNEL_COPY: Final = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM}
)


class SaveItem(msgspec.Struct, frozen=True):
    """One result to save: what its name is made of, its file in the cache, its extension without a dot."""

    context: NameContext
    file: Path
    extension: str


class Saved(msgspec.Struct, frozen=True):
    """Absolute paths of what was written."""

    image: str
    txt: str | None


class SaveError(msgspec.Struct, frozen=True):
    """One result that could not be saved, and why."""

    result_id: str
    source_name: str
    problem: Problem


class SaveReport(msgspec.Struct, frozen=True):
    """What became of each item: saved ones by result id, and errors, both in the order given."""

    saved: list[tuple[str, Saved]]
    errors: list[SaveError]

    @property
    def files(self) -> list[str]:
        """Every path that was written."""
        return [path for _, saved in self.saved for path in (saved.image, saved.txt) if path is not None]


def check_output(folder: str, refuse: Callable[[Path], None] = lambda _: None) -> Path:
    """The folder to save to, made where it is missing, tried by writing to it; ``refuse`` may raise before it is made.

    Raises InvalidInput for ``output_dir``: OUTPUT_REQUIRED, PATH_INVALID, OUTPUT_NOT_FOLDER, OUTPUT_NOT_WRITABLE;
    StorageFailed.
    """
    cleaned = entered_path(folder, FIELD)
    if not cleaned:
        raise InvalidInput(Code.OUTPUT_REQUIRED, field=FIELD)
    path = Path(cleaned)
    refuse(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe, descriptor = create_temporary(path, _RIGHTS)
        os.close(descriptor)
        probe.unlink()
    except (FileExistsError, NotADirectoryError, ValueError) as error:
        raise InvalidInput(Code.OUTPUT_NOT_FOLDER, field=FIELD, path=printable(str(path))) from error
    except OSError as error:
        if error.errno in _READ_ONLY:
            raise InvalidInput(Code.OUTPUT_NOT_WRITABLE, field=FIELD, path=printable(str(path))) from error
        raise storage_failure(error, printable(str(path))) from error
    return path


def save_one(item: SaveItem, rule: SaveRule, folder: Path) -> Saved:
    """Save one result; it is on disk when this returns. Raises InvalidInput (TEMPLATE_…) or StorageFailed
    (RESULT_FILE_MISSING, DISK_FULL, OUTPUT_NOT_WRITABLE, STORAGE_FAILED)."""
    check_rule(rule)
    saver = _Saver(rule, folder, durable=True)
    saved = saver.finish(saver.copy(item))
    sync_names(Path(saved.image).parent)
    return saved


def save_all(
    items: Iterable[SaveItem],
    rule: SaveRule,
    folder: Path,
    check: Callable[[], None] = lambda: None,
    progress: Callable[[int], None] = lambda _: None,
) -> SaveReport:
    """Save many results; what fails is listed and does not end the rest.

    Files are whole and have their names when this returns, as ``cp`` leaves them: a `Flusher` makes them durable.
    ``check`` is called before each and may raise; what was begun is then finished first and stays. ``progress`` gets
    the number of items dealt with. With ``only_first_if_multiple`` only the first item of each task is taken. Raises
    InvalidInput (TEMPLATE_…).
    """
    check_rule(rule)
    saver = _Saver(rule, folder, durable=False)
    report = SaveReport([], [])
    under_way: deque[tuple[SaveItem, Future[_Copy]]] = deque()

    def copied(item: SaveItem, copying: Future[_Copy]) -> _Copy:
        try:
            return copying.result()
        except StorageFailed as error:
            if error.code is not Code.DISK_FULL:
                raise
        wait(others for _, others in under_way)  # a larger one that failed as well had taken the room
        return saver.copy(item)

    def settle(at_most: int) -> None:
        while len(under_way) > at_most:
            item, copying = under_way.popleft()
            try:
                report.saved.append((item.context.result_id, saver.finish(copied(item, copying))))
            except StorageFailed as error:
                report.errors.append(SaveError(item.context.result_id, item.context.src_name, error.problem))
            progress(len(report.saved) + len(report.errors))

    with ThreadPoolExecutor(_COPIERS, "save") as copiers:  # names are given here, in order
        try:
            for item in _wanted(items, rule):
                check()
                under_way.append((item, copiers.submit(saver.copy, item)))
                settle(_AHEAD)
        finally:
            settle(0)
    return report


def _wanted(items: Iterable[SaveItem], rule: SaveRule) -> Iterator[SaveItem]:
    seen: set[str] = set()
    for item in items:
        if rule.only_first_if_multiple and item.context.task_id in seen:
            continue
        seen.add(item.context.task_id)
        yield item


class _Copy(msgspec.Struct, frozen=True):
    """A result copied to a hidden file of the output folder."""

    item: SaveItem
    temporary: Path


class _Saver:
    """One save into one folder. `copy` may run in many threads at once, `finish` in one."""

    def __init__(self, rule: SaveRule, folder: Path, *, durable: bool) -> None:
        self._rule = rule
        self._folder = folder
        self._durable = durable
        self._taken: dict[Path, set[str]] = {}
        self._made_folders: dict[str, Path] = {}
        self._next_number: dict[tuple[Path, str, str], int] = {}
        self._look_at(folder)

    def _look_at(self, folder: Path) -> None:
        # Names are compared as Windows and macOS do, wherever the set may be copied to later.
        taken = self._taken.setdefault(folder, set())
        with contextlib.suppress(OSError):
            for path in folder.iterdir():
                taken.add(folded(path.name))
                remove_leftover(path)

    def _made(self, folders: str) -> Path:
        """A folder below the one that is saved to, in whatever case its name was written first; a link that leads out
        is none of ours."""
        known = self._made_folders.get(folded(folders))
        if known is not None:
            return known
        path = self._folder / folders
        path.mkdir(parents=True, exist_ok=True)
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise StorageFailed(Code.OUTPUT_NOT_WRITABLE, path=printable(str(path)))
        self._made_folders[folded(folders)] = path
        self._look_at(path)
        return path

    def copy(self, item: SaveItem) -> _Copy:
        """Copy the bytes next to where they will lie."""
        try:
            source = os.open(item.file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        except FileNotFoundError as error:
            raise StorageFailed(Code.RESULT_FILE_MISSING, path=printable(str(item.file))) from error
        except OSError as error:
            raise storage_failure(error, printable(str(item.file))) from error
        try:
            with self._failures():
                return _Copy(item, self._write(lambda target: _copy_bytes(source, target)))
        finally:
            os.close(source)

    def finish(self, copy: _Copy) -> Saved:
        """Give the bytes the first free name, the caption with them."""
        try:
            with self._failures():
                return self._name(copy)
        finally:
            remove(copy.temporary)

    def _write(self, fill: Callable[[int], None]) -> Path:
        """A new hidden file with what ``fill`` writes to its descriptor, closed."""
        temporary, descriptor = create_temporary(self._folder, _RIGHTS)
        try:
            try:
                fill(descriptor)
                if self._durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except BaseException:
            remove(temporary)
            raise
        return temporary

    def _name(self, copy: _Copy) -> Saved:
        item = copy.item
        *folders, wanted = image_stem(self._rule, item.context).split("/")
        folder = self._made("/".join(folders)) if folders else self._folder
        for stem in self._free_stems(folder, wanted, item.extension):
            image = folder / f"{stem}.{item.extension}"
            txt = folder / f"{stem}.txt" if self._rule.create_txt else None
            try:
                if txt is not None:
                    self._write_txt(item.context, image, txt)
                try:
                    name_exclusively(copy.temporary, image)
                except BaseException:
                    if txt is not None:
                        remove(txt)
                    raise
            except FileExistsError:
                # Somebody else was faster with this name.
                continue
            return Saved(str(image), str(txt) if txt else None)
        raise AssertionError("numbers do not end")

    def _free_stems(self, folder: Path, stem: str, extension: str) -> Iterator[str]:
        """``stem``, ``stem_1``, ``stem_2`` …, as far as nothing is known to have the name."""
        endings = (f".{extension}", ".txt") if self._rule.create_txt else (f".{extension}",)
        memory, taken = (folder, folded(stem), extension), self._taken[folder]
        for number in itertools.count(self._next_number.get(memory, 0)):
            candidate = f"{stem}_{number}" if number else stem
            names = {folded(candidate + ending) for ending in endings}
            self._next_number[memory] = number + 1
            if taken.isdisjoint(names):
                taken |= names
                yield candidate

    def _write_txt(self, context: NameContext, image: Path, txt: Path) -> None:
        content = text(self._rule, context, image.name, str(image)).encode("utf-8", "backslashreplace")
        temporary = self._write(lambda target: write_all(target, content))
        try:
            name_exclusively(temporary, txt)
        finally:
            remove(temporary)

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            path = printable(str(self._folder))
            if error.errno in _READ_ONLY:
                raise StorageFailed(Code.OUTPUT_NOT_WRITABLE, path=path) from error
            raise storage_failure(error, path) from error


def _copy_bytes(source: int, target: int) -> None:
    """Copy inside the kernel where it can; copy_file_range also clones on file systems that share blocks."""
    left = os.fstat(source).st_size
    for step in _copy_steps():
        try:
            while left > 0 and (copied := step(source, target, left)):
                left -= copied
        except OSError as error:
            if error.errno not in _NO_KERNEL_COPY:
                raise
        if left <= 0:
            return
    raise OSError(errno.EIO, "file became shorter while it was copied")


def _copy_steps() -> Iterator[Callable[[int, int, int], int]]:
    """Ways to copy the next bytes from where both files stand, best first."""
    if hasattr(os, "copy_file_range"):
        yield os.copy_file_range
    if hasattr(os, "sendfile") and os.uname().sysname == "Linux":
        yield lambda source, target, left: os.sendfile(target, source, None, left)
    yield _copy_through_memory


def _copy_through_memory(source: int, target: int, left: int) -> int:
    data = os.read(source, min(left, _COPY_BYTES))
    write_all(target, data)
    return len(data)
