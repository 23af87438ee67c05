"""A project in one file (``.ibcp``, a ZIP), to go on with on another computer: tasks, decisions, trials, results with
their ledger entries, sources if wished; never a key. Of what is read nothing is believed that was not checked."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import msgspec

from engine.errors import Code, ConsoleError, InvalidInput, StorageFailed
from engine.files import name_exclusively, remove, storage_failure, sync_names
from engine.images.cache import Cache
from engine.images.picture import check_picture
from engine.models import DebugEntry, ImageInfo, SourceImage, StoredImage, Task
from engine.paths import folded, printable
from engine.reading import open_regular
from engine.secrets import PLACEHOLDER, TELLING, without
from engine.tasks.ledger import AnswerRow, Ledger
from engine.tasks.relocate import known_hashes
from engine.tasks.store import Store

T = TypeVar("T")
ENDING: Final = ".ibcp"
FORMAT: Final = 1
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_NAME: Final = re.compile(
    r"project\.json|(?:tasks|logs|ledger|trials|sources)\.jsonl|(?:results|sources)/"
    r"|results/[0-9a-f]{64}\.[a-z0-9]{1,8}|sources/[0-9]{1,9}\.[a-z0-9]{1,8}"
)
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_EXTENSION: Final = re.compile(r"[a-z0-9]{1,8}")
_RESERVED: Final = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)
_MOST_DIRECTORY: Final = 256 * 1024**2  # bytes; of a million entries
_MOST_LINE: Final = 8 * 1024**2
_MOST_TEXT: Final = 1024**3
_MOST_HELD: Final = 64 * 1024**2  # of lines that are kept; in memory several times as much
_MOST_TRIALS: Final = 16 * 1024**2  # of any JSON, which takes up to twenty times as much
_MOST_IDS: Final = 1_000_000  # of tasks and results
_MOST_PICTURE: Final = 128 * 1024**2
_MOST_NUMBER: Final = 2**53
_MOST_NAME: Final = 1024
_MOST_PART: Final = 200
_MOST_TIME: Final = 2**62  # nanoseconds
_KEY: Final = re.compile(r"[0-9a-f]{32}")
_END_BYTES: Final = 65557
# What zipfile raises for files that are none, cut, or made to hurt.
_BROKEN: Final = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, struct.error, ValueError,
    OverflowError, KeyError, IndexError,
)  # fmt: skip


class About(msgspec.Struct, frozen=True, kw_only=True):
    """project.json. ``state``: prompt, save rule and page settings, as state.json has them."""

    format: int
    program: str = ""
    name: str = ""
    input_path: str = ""
    state: dict[str, Any] = {}


class Log(msgspec.Struct, frozen=True):
    """The debug log of a task."""

    task_id: str
    entries: list[DebugEntry]


class SourceEntry(msgspec.Struct, frozen=True):
    """A source that goes along: where it was, its place in the file, its name below the folder of pictures."""

    path: str
    member: str
    name: str
    modified: int
    sha256: str


class Parts(msgspec.Struct, frozen=True):
    """What a project consists of."""

    store: Store
    cache: Cache
    ledger: Ledger


class Written(msgspec.Struct, frozen=True):
    """``missing``: pictures that could not be read, and are not in the file."""

    path: Path
    files: int
    bytes: int
    missing: list[str]


class Taken(msgspec.Struct, frozen=True):
    """What was read. ``bad``: pictures that are missing, or not what they should be; ``sources``: by the path that they
    had, where those that came along lie now; ``place``: the path that a task got for one of the file."""

    about: About
    tasks: int
    pictures: int
    trials: list[dict[str, Any]]
    bad: list[str]
    sources: dict[str, SourceImage]
    place: Callable[[str], str]


class Watch(msgspec.Struct, frozen=True):
    """Who looks on: ``check`` may raise, ``expect`` hears how many pictures there are, ``progress`` how many are
    done."""

    check: Callable[[], None] = lambda: None
    expect: Callable[[int], None] = lambda _: None
    progress: Callable[[int], None] = lambda _: None


# --- writing ----------------------------------------------------------------------------------------------------------


def write_project(
    target: Path,
    about: About,
    parts: Parts,
    trials: Sequence[Any],
    *,
    sources: bool,
    keys: Collection[str],
    watch: Watch = Watch(),  # noqa: B008 - frozen
) -> Written:
    """Write the file, under another name where it is there already. ``keys``: secrets that may stand nowhere in it.
    Raises StorageFailed, and what ``watch`` raises; nothing stays then."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with temporary.open("xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                files, missing = _Writer(archive, keys, watch).write(about, parts, trials, sources)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        path = _named(temporary, target)
        sync_names(path.parent)
        return Written(path, files, size, missing)
    except OSError as error:
        raise storage_failure(error, target) from error
    finally:
        remove(temporary)


class _Writer:
    def __init__(self, archive: zipfile.ZipFile, keys: Collection[str], watch: Watch) -> None:
        self._archive = archive
        self._watch = watch
        # As they stand in JSON. Shorter ones are in every text by chance.
        self._keys = sorted({msgspec.json.encode(key)[1:-1] for key in keys if len(key) >= TELLING}, key=len)[::-1]
        self._done = 0

    def write(self, about: About, parts: Parts, trials: Sequence[Any], sources: bool) -> tuple[int, list[str]]:
        """How many pictures, and which are missing."""
        store = parts.store
        self._text("project.json", [msgspec.structs.replace(about, state=without(about.state))])
        self._text("tasks.jsonl", store.every_task())
        logs = (Log(task.id, store.debug_log(task.id)) for task in store.every_task() if task.has_debug_log)
        self._text("logs.jsonl", logs)
        files = store.files()
        self._text("ledger.jsonl", parts.ledger.rows_of([digest for digest, _, _ in files]))
        self._text("trials.jsonl", (without(msgspec.to_builtins(trial)) for trial in trials))
        entries = _source_entries(store, about.input_path) if sources else []
        self._watch.expect(len(files) + len(entries))
        missing: list[str] = []
        for digest, extension, _ in files:
            try:
                data = parts.cache.read(digest, extension)
            except StorageFailed:
                missing.append(f"{digest[:12]}.{extension}")
            else:
                self._add(f"results/{digest}.{extension}", data)
            self._step()
        written = [entry for entry in map(self._add_source, entries) if entry is not None]
        missing += [entry.path for entry in entries if entry.path not in {one.path for one in written}]
        self._text("sources.jsonl", written)
        return self._done - len(missing), missing

    def _add_source(self, entry: SourceEntry) -> SourceEntry | None:
        self._step()
        try:
            with os.fdopen(open_regular(os.path.realpath(entry.path)), "rb") as file:
                data = file.read(_MOST_PICTURE)
                modified = os.fstat(file.fileno()).st_mtime_ns
        except (OSError, ValueError):
            return None
        self._add(entry.member, data)
        return msgspec.structs.replace(entry, modified=modified, sha256=_sha256(data))

    def _step(self) -> None:
        self._watch.check()
        self._done += 1
        self._watch.progress(self._done)

    def _text(self, name: str, values: Any) -> None:
        info = zipfile.ZipInfo(name, _TIME)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        with self._archive.open(info, "w", force_zip64=True) as out:
            for value in values:
                self._watch.check()
                line = msgspec.json.encode(value)
                for key in self._keys:
                    line = line.replace(key, PLACEHOLDER.encode())
                out.write(line + b"\n")

    def _add(self, name: str, data: bytes) -> None:
        info = zipfile.ZipInfo(name, _TIME)
        info.external_attr = 0o600 << 16
        self._archive.writestr(info, data)


def _source_entries(store: Store, root: str) -> list[SourceEntry]:
    entries: dict[str, SourceEntry] = {}
    taken: set[str] = set()
    for task in store.every_task():
        for path in (task.source_path, *task.references):
            if path in entries:
                continue
            number = len(entries)
            inside = bool(root) and Path(path).is_relative_to(root) and path != root
            name = Path(path).relative_to(root).as_posix() if inside else Path(path).name
            name = name if folded(name) not in taken else f"{number}/{name}"
            taken.add(folded(name))
            extension = Path(path).suffix.lstrip(".").lower()
            extension = extension if _EXTENSION.fullmatch(extension) else "bin"
            entries[path] = SourceEntry(path, f"sources/{number}.{extension}", name, 0, "")
    return list(entries.values())


def _named(temporary: Path, target: Path) -> Path:
    for number in range(1000):
        path = target.with_stem(f"{target.stem}_{number}") if number else target
        with contextlib.suppress(FileExistsError):
            name_exclusively(temporary, path)
            return path
    raise StorageFailed(Code.STORAGE_FAILED, path=str(target), reason="too many of that name")


# --- reading ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def opened_project(path: str) -> Iterator[ProjectFile]:
    """A file that may be a project, its directory checked. InvalidInput for ``path``: PROJECT_FILE_INVALID, also while
    it is read; PROJECT_FILE_NEWER, PROJECT_FILE_UNSAFE, PATH_NOT_FOUND."""
    shown = printable(path)
    try:
        descriptor = open_regular(os.path.realpath(path))
    except FileNotFoundError as error:
        raise InvalidInput(Code.PATH_NOT_FOUND, field="path", path=shown) from error
    except (OSError, ValueError) as error:
        raise InvalidInput(Code.PROJECT_FILE_INVALID, field="path", path=shown, reason=str(error)[:200]) from error
    try:
        with os.fdopen(descriptor, "rb") as file:
            _check_directory(file)
            with zipfile.ZipFile(file) as archive:
                yield ProjectFile(archive, shown)
    except ConsoleError:
        raise
    except (OSError, *_BROKEN) as error:
        reason = str(error)[:200] or type(error).__name__
        raise InvalidInput(Code.PROJECT_FILE_INVALID, field="path", path=shown, reason=reason) from error


class ProjectFile:
    """An open project file."""

    def __init__(self, archive: zipfile.ZipFile, shown: str) -> None:
        self._archive = archive
        self._shown = shown
        self._members = self._checked()
        self.about = next(iter(self._lines("project.json", About)), None) or About(format=0)
        if self.about.format > FORMAT:
            raise InvalidInput(Code.PROJECT_FILE_NEWER, field="path", path=shown, version=self.about.format)
        if self.about.format < 1:
            raise zipfile.BadZipFile("project.json")

    def take(self, parts: Parts, folder: Path, watch: Watch = Watch()) -> Taken:  # noqa: B008 - frozen
        """Read all of it into an empty store and cache and into the ledger; sources go into ``folder``, and tasks whose
        sources are neither there nor known lead beside it, see `_Places`. StorageFailed where there is no room."""
        self._check_room(folder.parent)
        wanted, count = set[str](), 0
        places = _Places(folder.with_name("missing"), parts.ledger.source_hash)
        for task in self._tasks(watch):
            places.look(task)
            wanted.update(f"results/{one.hash}.{one.extension}" for one in task.results)
            count += 1
        entries = list(self._lines("sources.jsonl", SourceEntry, _MOST_HELD))
        trials = list(self._lines("trials.jsonl", dict[str, Any], _MOST_TRIALS))
        watch.expect(len(wanted) + len(entries))
        images: dict[str, tuple[int, ImageInfo]] = {}
        bad: list[str] = []
        for done, name in enumerate(sorted(wanted), 1):
            watch.check()
            digest, _, extension = name.removeprefix("results/").partition(".")
            data = self._picture(name)
            info = None if data is None or _sha256(data) != digest else _judged(data)
            if data is None or info is None:
                bad.append(name.removeprefix("results/"))
            else:
                parts.cache.put(data, extension)
                images[digest] = len(data), msgspec.structs.replace(info, extension=extension)
            watch.progress(done)
        sources = self._take_sources(entries, folder, bad, watch, len(wanted))
        places.known.update(sources)
        parts.store.restore(map(places.settled, self._tasks(watch)), self._logs(watch))
        _restore_ledger(parts, self._lines("ledger.jsonl", AnswerRow), images)
        return Taken(self.about, count, len(images), trials, bad, sources, places.place)

    def _take_sources(
        self, entries: Sequence[SourceEntry], folder: Path, bad: list[str], watch: Watch, before: int
    ) -> dict[str, SourceImage]:
        taken: dict[str, SourceImage] = {}
        for number, entry in enumerate(entries):
            watch.check()
            data = self._picture(entry.member)
            if data is None or _sha256(data) != entry.sha256:
                bad.append(printable(entry.path)[-200:])
            else:
                path = _written(data, folder, entry, number)
                status = path.stat()
                taken[entry.path] = SourceImage(str(path), path.name, status.st_size, status.st_mtime_ns, "")
            watch.progress(before + number + 1)
        return taken

    def _checked(self) -> dict[str, zipfile.ZipInfo]:
        """The members by name, of which none may be twice, or anything else than what a project has."""
        members: dict[str, zipfile.ZipInfo] = {}
        for info in self._archive.infolist():
            if info.filename in members or not _NAME.fullmatch(info.filename):
                reason = printable(info.filename)[:200]
                raise InvalidInput(Code.PROJECT_FILE_UNSAFE, field="path", path=self._shown, reason=reason)
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise zipfile.BadZipFile("encrypted, or packed in another way")
            members[info.filename] = info
        return members

    def _check_room(self, folder: Path) -> None:
        total = sum(info.file_size for info in self._members.values())
        if total > shutil.disk_usage(folder).free:
            raise StorageFailed(Code.DISK_FULL, path=str(folder), reason="")

    def _tasks(self, watch: Watch) -> Iterator[Task]:
        seen: set[str] = set()
        for task in self._lines("tasks.jsonl", Task):
            watch.check()
            ids = [task.id, *(result.id for result in task.results)]
            if seen.intersection(ids) or len(set(ids)) < len(ids) or not _is_sound(task):
                raise zipfile.BadZipFile("tasks.jsonl")
            seen.update(ids)
            if len(seen) > _MOST_IDS:
                raise zipfile.BadZipFile("tasks.jsonl: too many")
            yield task

    def _logs(self, watch: Watch) -> Iterator[tuple[str, list[DebugEntry]]]:
        for log in self._lines("logs.jsonl", Log):
            watch.check()
            yield log.task_id, log.entries

    def _lines(self, name: str, kind: type[T], most: int = _MOST_TEXT) -> Iterator[T]:
        """Of at most ``most`` bytes. A few megabytes may unpack to gigabytes: who keeps all of them sets a bound."""
        info = self._members.get(name)
        if info is None:
            return
        decoder, total = msgspec.json.Decoder(kind), 0
        with self._archive.open(info) as file:
            while line := file.readline(_MOST_LINE):
                total += len(line)
                if (not line.endswith(b"\n") and len(line) == _MOST_LINE) or total > most:
                    raise zipfile.BadZipFile(name)
                try:
                    yield decoder.decode(line)
                except (msgspec.DecodeError, RecursionError) as error:
                    raise zipfile.BadZipFile(f"{name}: {error}") from error

    def _picture(self, name: str) -> bytes | None:
        """The bytes of a member; None where it is not there, too large or damaged."""
        info = self._members.get(name)
        if info is None or info.file_size > _MOST_PICTURE or not _NAME.fullmatch(name):
            return None
        try:
            with self._archive.open(info) as file:
                data = file.read(_MOST_PICTURE + 1)
        except _BROKEN:
            return None
        return data if len(data) == info.file_size else None


class _Places:
    """Where the sources of a file may lie on this machine: whoever made it chose the paths, and a retry would send what
    is there. ``known`` are those that came along, or whose bytes a result tells, so that they are no news to anybody;
    all others get a path below ``lost``, where nothing lies, until the person shows where they are."""

    def __init__(self, lost: Path, hash_of: Callable[[SourceImage], str]) -> None:
        self._lost = lost
        self._hash_of = hash_of
        self.known: set[str] = set()

    def look(self, task: Task) -> None:
        """Note which sources of a task lie here as its results know them."""
        for path, digest in known_hashes([task]).items():
            if digest and path not in self.known and self._is_here(path, digest):
                self.known.add(path)

    def _is_here(self, path: str, digest: str) -> bool:
        if not Path(path).is_absolute() or path[:2] in ("//", "\\\\"):  # to ask for a share is to log in there
            return False
        try:
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_PICTURE:
                return False
            return self._hash_of(SourceImage(path, "", status.st_size, status.st_mtime_ns, "")) == digest
        except (OSError, ValueError):
            return False

    def place(self, path: str) -> str:
        """The path itself where it is known, else the same one below ``lost``."""
        if path in self.known:
            return path
        # Of either system; a drive is none any more, and nothing leads up, also not with what Windows leaves out.
        parts = [part.rstrip(":") for part in re.split(r"[\\/]", path)]
        return os.sep.join([str(self._lost), *(part for part in parts if part.strip(" ."))])  # noqa: PTH118 - no part may begin anew

    def settled(self, task: Task) -> Task:
        """The task with these paths."""
        references = tuple(map(self.place, task.references))
        return msgspec.structs.replace(task, source_path=self.place(task.source_path), references=references)


def _check_directory(file: IO[bytes]) -> None:
    """Refuse a file whose directory alone would fill the memory: `zipfile` reads it as a whole."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END_BYTES))
    tail = file.read(_END_BYTES)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < 22:
        raise zipfile.BadZipFile("its end is missing")
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    if length == 0xFFFFFFFF and at >= 20:
        file.seek(int.from_bytes(tail[at - 12 : at - 4], "little") + 40)
        length = int.from_bytes(file.read(8), "little")
    if length > min(_MOST_DIRECTORY, size):
        raise zipfile.BadZipFile("its directory is too large")
    file.seek(0)


def _is_sound(task: Task) -> bool:
    """Whether every part of a task is what the program itself would have written."""
    numbers = [task.variant, task.attempts, task.http_status or 0, task.updated_at]
    for result in task.results:
        numbers += [result.size, result.width, result.height, result.created_at]
        if not (_ID.fullmatch(result.id) and _HASH.fullmatch(result.hash) and _EXTENSION.fullmatch(result.extension)):
            return False
    texts = (task.source_path, task.source_name, *task.references)
    named = bool(_ID.fullmatch(task.id)) and (task.trial is None or bool(_ID.fullmatch(task.trial)))
    return named and not any("\0" in text for text in texts) and all(0 <= one < _MOST_NUMBER for one in numbers)


def _judged(data: bytes) -> ImageInfo | None:
    try:
        return check_picture(data, _MOST_PICTURE)
    except ConsoleError:
        return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _written(data: bytes, folder: Path, entry: SourceEntry, number: int) -> Path:
    """A source under the name that it had, or another where that leads anywhere but into the folder."""
    parts = entry.name.split("/")
    if len(entry.name) > _MOST_NAME or not all(map(_is_plain, parts)):
        parts = [entry.member.removeprefix("sources/")]
    for path in (folder.joinpath(*parts), folder / f"{number}-{parts[-1]}"):
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(data)
            if 0 <= entry.modified < _MOST_TIME:
                os.utime(path, ns=(entry.modified, entry.modified))
        except (FileExistsError, NotADirectoryError):
            continue
        except OSError as error:
            raise storage_failure(error, path) from error
        return path
    raise zipfile.BadZipFile(entry.member)


def _is_plain(part: str) -> bool:
    bad = not part or part in (".", "..") or part[-1] in ". " or _RESERVED.fullmatch(part) or not part.isprintable()
    return not bad and not set(part) & set('\\/:*?"<>|') and len(part.encode("utf-8", "replace")) <= _MOST_PART


def _restore_ledger(parts: Parts, rows: Iterator[AnswerRow], images: Mapping[str, tuple[int, ImageInfo]]) -> None:
    for row in rows:
        if row.hash in images and _KEY.fullmatch(row.wish) and all(map(_HASH.fullmatch, row.sources.split())):
            size, info = images[row.hash]
            image = StoredImage(row.hash, size, info, row.source_type)
            parts.ledger.record(row.wish, row.sources.split(), row.source_size, [image], parts.cache, row.at)
