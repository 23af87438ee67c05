"""The prompt of each picture: variables filled in, captions beside pictures, and tables of prompts."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from engine.errors import Code, InvalidInput
from engine.models import SourceImage
from engine.paths import entered_path, folded, printable
from engine.reading import read_beside, read_text

FIELD = "prompt_table"
MAX_TABLE_BYTES = 64 * 1024 * 1024
VARIABLES = ("src_stem", "src_name", "src_ext", "caption")
_LINE_END = re.compile(r"\r\n|\r|\n")  # what ends a line of JSONL: U+2028 and its like may stand in a text
_VARIABLE = re.compile(r"\{(" + "|".join(VARIABLES) + r")\}")


class PromptRow(msgspec.Struct, frozen=True):
    """A line of a prompt table. ``file``: path relative to the input folder, file name or stem; ``line`` from 1."""

    file: str
    prompt: str
    system_prompt: str | None
    line: int


class Matched(msgspec.Struct, frozen=True):
    """Rows by picture path; what found no partner is named."""

    by_path: dict[str, list[PromptRow]]
    rows_without_file: list[PromptRow]
    files_without_row: list[SourceImage]


def fill(prompt: str, source_path: str) -> str:
    """The prompt for one picture: ``{src_stem} {src_name} {src_ext} {caption}`` filled in, other braces left alone.

    ``{caption}`` is the text beside the picture (``001.txt`` for ``001.png``); InvalidInput where there is none.
    """
    path = Path(source_path)

    def value(match: re.Match[str]) -> str:
        if match[1] == "caption":
            return read_caption(path)
        return {"src_stem": path.stem, "src_name": path.name, "src_ext": path.suffix.removeprefix(".")}[match[1]]

    return _VARIABLE.sub(value, prompt)


def is_template(prompt: str) -> bool:
    """Whether the prompt differs from picture to picture."""
    return _VARIABLE.search(prompt) is not None


def read_caption(source: Path) -> str:
    """The text beside a picture, without the white space around it."""
    try:
        return read_beside(source).strip()
    except FileNotFoundError as error:
        shown = printable(str(source.with_suffix(".txt")))
        raise InvalidInput(Code.CAPTION_MISSING, field="user_prompt", path=shown) from error
    except InvalidInput as error:  # its encoding or size, or no file at all
        raise InvalidInput(error.code, field="user_prompt", **error.params) from error


def read_table(path: str) -> list[PromptRow]:
    """The rows of a CSV, TSV or JSONL file with the columns ``file, prompt[, system_prompt]``; InvalidInput."""
    place = Path(entered_path(path, FIELD))
    try:
        if place.stat().st_size > MAX_TABLE_BYTES:
            raise _unreadable(place, "> 64 MiB")
        text = read_text(place, MAX_TABLE_BYTES)
    except InvalidInput as error:  # its encoding
        raise InvalidInput(error.code, field=FIELD, **error.params) from error
    except (OSError, ValueError) as error:
        raise _unreadable(place, getattr(error, "strerror", None) or "") from error
    if place.suffix.lower() in (".jsonl", ".ndjson", ".json"):
        return _rows_of_json(text, place)
    return _rows_of_csv(text, place)


def _unreadable(place: Path, reason: str) -> InvalidInput:
    return InvalidInput(Code.TABLE_UNREADABLE, field=FIELD, path=printable(str(place)), reason=reason)


def match_rows(rows: Sequence[PromptRow], pictures: Sequence[SourceImage], root: str) -> Matched:
    """Rows to pictures: by relative path, file name or stem; a name that several pictures bear means all of them."""
    folder = Path(root) if Path(root).is_dir() else Path(root).parent
    places: dict[str, list[SourceImage]] = {}
    for picture in pictures:
        path = Path(picture.path)
        relative = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        for key in dict.fromkeys((relative, path.name, path.stem)):
            places.setdefault(folded(key), []).append(picture)
    by_path: dict[str, list[PromptRow]] = {}
    lonely: list[PromptRow] = []
    for row in rows:
        found = places.get(folded(row.file.replace("\\", "/").removeprefix("./")), [])
        if not found:
            lonely.append(row)
        for picture in found:
            by_path.setdefault(picture.path, []).append(row)
    return Matched(by_path, lonely, [picture for picture in pictures if picture.path not in by_path])


def _rows_of_csv(text: str, path: Path) -> list[PromptRow]:
    head = text[:4096]
    separator = "\t" if head.count("\t") > head.count(",") else ";" if head.count(";") > head.count(",") else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    rows: list[PromptRow] = []
    try:
        names = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
        _check_columns(set(names), path)
        for entry in reader:
            values = {key: entry.get(name) for key, name in names.items()}
            _add(rows, values, reader.line_num)
    except csv.Error as error:  # a field of more than 131,072 characters, for instance
        raise _unreadable(path, f"line {reader.line_num + 1}") from error
    return rows


def _rows_of_json(text: str, path: Path) -> list[PromptRow]:
    rows: list[PromptRow] = []
    try:
        entries: list[Any] = (
            msgspec.json.decode(text.encode(), type=list[Any])
            if text.lstrip().startswith("[")
            else [msgspec.json.decode(line.encode()) for line in _LINE_END.split(text) if line.strip()]
        )
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise _unreadable(path, "JSON") from error
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            raise _unreadable(path, f"line {number}")
        _check_columns(set(entry), path)
        _add(rows, entry, number)
    return rows


def _add(rows: list[PromptRow], values: dict[str, Any], line: int) -> None:
    file, prompt = str(values.get("file") or "").strip(), str(values.get("prompt") or "").strip()
    system = values.get("system_prompt")
    if file and prompt:
        rows.append(PromptRow(file, prompt, str(system).strip() if system else None, line))


def _check_columns(names: set[str], path: Path) -> None:
    if not {"file", "prompt"} <= names:
        shown = ", ".join(sorted(names))[:200]
        raise InvalidInput(Code.TABLE_COLUMNS, field=FIELD, path=str(path), columns=shown)
