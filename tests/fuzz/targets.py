"""Every reader of what strangers write, as a function of bytes that raises AssertionError where it breaks a promise.

Hypothesis feeds them in test_targets.py, a coverage-guided fuzzer in fuzz.py; both know ``TARGETS``.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import sqlite3
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from bridge.operations import OPERATIONS
from bridge.params import read_params
from engine.config import ApiConfig, ApiMode, describe, parse_entered, parse_stored
from engine.dataset.naming import SaveRule, check_rule, image_stem, name_context, safe_stem, text
from engine.errors import (
    AddressRefused,
    AnswerUnusable,
    Code,
    ConsoleError,
    InvalidInput,
    PictureRejected,
    StorageFailed,
)
from engine.images.cache import Cache
from engine.images.picture import MIME_TYPES, check_picture
from engine.keys import origin
from engine.models import Result, SourceType, Task, TaskStatus
from engine.portable import Parts, SourceEntry, opened_project
from engine.presets import read_preset_file
from engine.secrets import TELLING
from engine.tasks.ledger import AnswerRow, Ledger
from engine.tasks.log import Blanking
from engine.tasks.prompts import fill, read_table
from engine.tasks.salvage import check_rows
from engine.tasks.store import Store
from engine.upstream.answer import AnswerReader
from engine.upstream.failure import event_failure, status_failure
from engine.upstream.jobs import JobTicket, cancel_request, read_poll, recipe_job
from engine.upstream.netguard import NetPolicy, Purpose, check_target
from engine.upstream.recipe import read_recipe
from engine.upstream.recipe_call import path_answer, recipe_request, result_document, upload_request
from engine.upstream.request import SourcePicture, describe_request
from engine.upstream.sse import EventReader, ServerEvent, parse_json
from engine.upstream.target import parse_url
from tests.fuzz.batches import batch_results
from tests.fuzz.judges import judge_answers
from tests.fuzz.recipes import Choices, made_recipe
from tests.support.pictures import picture

MODES = (ApiMode.CHAT_COMPLETIONS, ApiMode.RESPONSES, ApiMode.IMAGES_EDITS)
BASE = "https://api.invalid/v1/chat/completions"
RESERVED = {
    "con",
    "prn",
    "aux",
    "nul",
    "conin$",
    "conout$",
    *(f"{a}{b}" for a in ("com", "lpt") for b in "123456789¹²³"),
}
CLOSED = NetPolicy()
_REASONS = (Path(__file__).parents[2] / "assets/messages/en/recipe.json").read_text("utf-8")


def _words(data: bytes, count: int) -> list[str]:
    # Undecodable bytes become lone surrogates, as in file names; JSON can bring those too.
    parts = data.decode("utf-8", "surrogateescape").split("\x1f")
    return (parts + [""] * count)[:count]


def _json(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _events(body: bytes, sizes: bytes) -> list[ServerEvent] | Code:
    reader, found, at, turn = EventReader(1 << 16), [], 0, 0
    try:
        while at < len(body):
            size = 1 + sizes[turn % len(sizes)] if sizes else len(body)
            found += reader.feed(body[at : at + size])
            at, turn = at + size, turn + 1
        return found + reader.close()
    except AnswerUnusable as error:
        return error.code


def event_stream(data: bytes) -> None:
    """The same events however it is cut."""
    sizes, body = data[:4], data[4:]
    whole = _events(body, b"")
    assert _events(body, sizes) == whole
    if isinstance(whole, list):
        for event in whole:
            with contextlib.suppress(ValueError):
                parse_json(event.data)


def answers(data: bytes) -> None:
    """Any body is an answer with references that are whole, or a typed refusal."""
    mode, body = MODES[data[0] % 3 if data else 0], data[1:]
    streamed = AnswerReader(mode, BASE)
    events = _events(body, b"")
    for event in events if isinstance(events, list) else ():
        progress = streamed.feed(event)
        assert progress is None or progress.percent is None or 0 <= progress.percent <= 100
    read = AnswerReader(mode, BASE)
    read.document(body)
    for answer in (streamed.finish(), read.finish()):
        assert len({(ref.source_type, ref.value) for ref in answer.refs}) == len(answer.refs)
        assert len(answer.text) <= 2000
        assert answer.refs or answer.error is not None or answer.refused


def failures(data: bytes) -> None:
    """Any error body becomes short words and a code."""
    status = 400 + (data[0] if data else 0)
    error = status_failure(status, {"retry-after": data[1:20].decode("latin-1")}, data[20:], 1e9)
    assert len(str(error.params.get("message") or "")) <= 2000
    assert error.retry_after is None or 0 <= error.retry_after <= 86_400
    refused = event_failure(_json(data))
    msgspec.json.encode(refused.problem)
    msgspec.json.encode(error.problem)


def names(data: bytes) -> None:
    """Whatever source and template, one safe name in one folder, or a refusal that names the field."""
    template, caption, source, before, after = _words(data, 5)
    rule = SaveRule(template, before, after, True, caption)
    context = name_context(source, "task", "result", 1, 2)
    _safe(safe_stem(source))
    try:
        check_rule(rule)
    except InvalidInput as error:
        assert error.field in ("filename_template", "txt_template")
        return
    _safe(image_stem(rule, context))
    text(rule, context, "name.png", "/folder/name.png")


def _safe(stem: str) -> None:
    assert stem
    assert not set(stem) & set('/\\:*?"<>|\0')
    assert not {unicodedata.category(letter) for letter in stem} & {"Cc", "Cs", "Zl", "Zp"}
    assert stem.partition(".")[0].strip().lower() not in RESERVED
    assert stem not in (".", "..") and stem[-1] not in ". "
    assert len(f"{stem}_99999.webp".encode()) <= 255


def config(data: bytes) -> None:
    """Any object is a configuration within its ranges, or refused by a field's name; from a file it always is one."""
    value = _json(data)
    if not isinstance(value, dict):
        return
    try:
        read = [parse_entered(value)[0]]
    except InvalidInput as error:
        assert error.field
        read = []
    read.append(parse_stored(value)[0])
    for found in read:
        for spec in describe():
            number = getattr(found, spec.name)
            if number is None:  # a field that may be empty
                assert spec.default is None
                continue
            if spec.minimum is not None:
                assert spec.minimum <= number
            if spec.maximum is not None:
                assert number <= spec.maximum
        assert msgspec.convert(msgspec.to_builtins(found), type(found)) == found
        origin(found.api_url)


def presets(data: bytes) -> None:
    """Any file is an export or refused as none."""
    try:
        found, current, _ = read_preset_file(data)
    except InvalidInput as error:
        assert error.field
        return
    assert found or current is not None


def addresses(data: bytes) -> None:
    """A URL that shares its origin with another leads to the same place; any other is refused or taken apart."""
    url = data.decode("utf-8", "replace")
    try:
        target = parse_url(url)
        check_target(target, Purpose.API, CLOSED, unlocked=False)
    except AddressRefused:
        return
    assert target.host.isascii() and target.path.isascii() and 0 < target.port < 65536
    place = origin(url)
    shown = f"[{target.host}]" if ":" in target.host else target.host
    if place and place == origin(f"{target.scheme}://api.invalid:{target.port}/"):
        assert shown == "api.invalid"
    for host in ("127.0.0.1", "localhost", "::1", "169.254.169.254"):
        assert target.host != host


def parameters(data: bytes) -> None:
    """Any JSON is parameters of any operation, or refused by a field's name."""
    operation = OPERATIONS[(data[0] if data else 0) % len(OPERATIONS)]
    value = _json(data[1:])
    if isinstance(value, dict):
        try:
            assert isinstance(read_params(operation.params, value), operation.params)
        except InvalidInput as error:
            assert error.field in operation.params.__struct_fields__


def pictures(data: bytes) -> None:
    """Any bytes are a whole picture or refused."""
    try:
        assert check_picture(data, 1 << 22).mime in MIME_TYPES
    except PictureRejected:
        return


def prompts(data: bytes) -> None:
    """Any table of prompts is read or refused, and any prompt can be filled in."""
    kind = (".csv", ".jsonl", ".json", ".txt")[(data[0] if data else 0) % 4]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / f"table{kind}"
        path.write_bytes(data[1:])
        try:
            rows = read_table(str(path))
        except ConsoleError:
            return
        for row in rows[:20]:
            fill(row.prompt or "", str(Path(place) / "a.png"))


def blanking(data: bytes) -> None:
    """A key is never left in a text that holds it."""
    key, before, after = _words(data, 3)
    if len(key) >= TELLING and "*" not in key:  # a shorter one is left; what blanks it could make one of stars whole
        assert key.casefold() not in Blanking(key).blank(before + key + after).casefold()


_RESULT = picture(3, size=(8, 8))
_DIGEST = hashlib.sha256(_RESULT).hexdigest()
_MEMBERS: dict[str, bytes] = {
    "project.json": b'{"format":1,"name":"cats","input_path":"/in","state":{"ui":{"plan":{"variants":1}}}}\n',
    "tasks.jsonl": msgspec.json.encode(
        Task("t1", 1, "/in/1.png", "1.png", TaskStatus.DONE, "f", results=[
            Result("r1", "t1", _DIGEST, len(_RESULT), "image/png", "png", 8, 8, SourceType.URL, source_hash=_DIGEST)
        ])
    ) + b"\n",
    "logs.jsonl": b'{"task_id":"t1","entries":[{"at":1.5,"attempt":1,"kind":"status","data":{"status":200}}]}\n',
    "ledger.jsonl": msgspec.json.encode(
        AnswerRow("0" * 32, 9, _DIGEST, _DIGEST, 0, len(_RESULT), "image/png", "png", 8, 8, SourceType.URL, 1.0)
    ) + b"\n",
    "trials.jsonl": b'{"id":"x"}\n',
    "sources.jsonl": msgspec.json.encode(SourceEntry("/in/1.png", "sources/0.png", "a/1.png", 1, _DIGEST)) + b"\n",
    f"results/{_DIGEST}.png": _RESULT,
    "sources/0.png": _RESULT,
}  # fmt: skip


def project_file(data: bytes) -> None:
    """A project file of which one member, its name or the file as a whole was changed: taken or refused, nothing lies
    outside of its folder, and every row that was taken can be read."""
    if len(data) < 4:
        return
    names, kind = list(_MEMBERS), data[0] % 3
    name, at, gone, more = names[data[1] % len(names)], int.from_bytes(data[1:3], "big"), data[3], data[4:]
    members = dict(_MEMBERS)
    if kind == 0:
        content = members[name]
        at %= len(content) + 1
        members[name] = content[:at] + more + content[at + gone % 32 :]
    elif kind == 1:
        members[more.decode("utf-8", "replace").replace("\0", "") or "x"] = members.pop(name)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member), content)
    whole = packed.getvalue()
    if kind == 2:
        at %= len(whole)
        whole = whole[:at] + more + whole[at + gone :]
    with tempfile.TemporaryDirectory() as place:
        _take_project(Path(place), whole)


def _take_project(place: Path, whole: bytes) -> None:
    folder = place / "inside"
    folder.mkdir()
    (place / "x.ibcp").write_bytes(whole)
    ledger = Ledger(folder / "answers")
    try:
        with contextlib.closing(Store(folder / "tasks.db")) as store:
            with contextlib.suppress(InvalidInput, StorageFailed), opened_project(str(place / "x.ibcp")) as file:
                file.take(Parts(store, Cache(folder / "cache"), ledger), folder / "sources")
            with contextlib.closing(sqlite3.connect(folder / "tasks.db")) as rows:
                check_rows(rows)
            assert all(task.results == store.task(task.id).results for task in store.every_task())
    finally:
        ledger.close()
    assert {one.name for one in place.iterdir()} == {"inside", "x.ibcp"}
    for one in folder.glob("cache/??/*"):
        assert one.read_bytes() == _RESULT


_KEY = "sk-recipes-0123456789"


def recipes(data: bytes) -> None:
    """Any object is a recipe or refused by its place; a recipe makes requests and reads answers, whatever these are,
    and the key stands in one header alone, at origins that are named."""
    by = Choices(data)
    given = _json(data) if data[:1] == b"{" else made_recipe(by)
    if not isinstance(given, dict):
        return
    try:
        recipe = read_recipe(given)
    except InvalidInput as error:
        assert error.code is Code.RECIPE_INVALID
        assert error.params["path"]
        assert f"reason.{error.params['reason']}" in _REASONS
        return
    config = ApiConfig(
        api_url="https://api.invalid/v1/", api_key=_KEY, model_name=by.one(("m", "maker/m", "../x", "a?b#c")),
        user_prompt=by.text(), system_prompt=by.text(), seed=by.number(3) or None, result_count=1 + by.number(4),
        recipe=given,
    )  # fmt: skip
    one = SourcePicture(_RESULT, "image/png", "a.png", 8, 8)
    sources = [one] * (1 + by.number(3))
    requests = [recipe_request(config, recipe, sources, ["up"] * len(sources))]
    requests += [upload_request(config, recipe, one)] if recipe.upload is not None else []
    document = by.value(6)
    ticket = recipe_job(recipe, config, document)
    if ticket is not None:
        assert ticket.url
        if ticket.cancel_url:
            requests.append(cancel_request(ticket, recipe, config))
        poll = read_poll(ticket, recipe, config, by.value(6))
        assert poll.percent is None or 0 <= poll.percent <= 100
        assert msgspec.json.decode(msgspec.json.encode(ticket), type=JobTicket) == ticket
    answer = path_answer(recipe, [result_document(recipe, document)], "https://api.invalid/v1/")
    assert len({ref.value for ref in answer.refs}) == len(answer.refs)
    for request in requests:
        describe_request(request)
        assert _KEY.encode() not in request.body
        assert _KEY not in request.url
        for name, value in request.headers.items():
            if _KEY in value:
                assert name == recipe.key.header
                assert parse_url(request.url).origin == ("https", "api.invalid", 443) or recipe.origins


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        event_stream, answers, failures, names, config, presets, addresses, parameters, pictures, prompts, blanking,
        project_file, recipes, judge_answers, batch_results,
    )
}  # fmt: skip
