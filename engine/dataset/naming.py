"""Names and captions of saved pictures, from templates; pure. Whatever is filled in, a name is one safe file name."""

from __future__ import annotations

import re
import unicodedata
from string import Formatter
from typing import Final

import msgspec

from engine.errors import Code, InvalidInput

MAX_STEM_BYTES: Final = 200
"""Longest stem in UTF-8 bytes: of the usual 255 it leaves room for ``_123`` and an extension."""


class SaveRule(msgspec.Struct, frozen=True):
    """How results become files. ``replace_from`` → ``replace_to`` acts on ``{src_stem}`` of the file name only."""

    filename_template: str = "{src_stem}_{result_index}"
    replace_from: str = ""
    replace_to: str = ""
    create_txt: bool = False
    txt_template: str = "{src_name}"
    only_first_if_multiple: bool = False
    only_selected: bool = True


BUILT_IN_RULES: Final[dict[str, SaveRule]] = {
    "aitookit_edit": SaveRule(filename_template="{src_stem}", replace_from="start", replace_to="end"),
    "keep_source_name": SaveRule(filename_template="{src_stem}"),
    "source_with_txt": SaveRule(filename_template="{src_stem}", create_txt=True),
    "first_only_clean": SaveRule(filename_template="{src_stem}", only_first_if_multiple=True),
    "indexed_archive": SaveRule(filename_template="{src_stem}_{result_index}"),
}


class NameContext(msgspec.Struct, frozen=True):
    """What templates may name. ``src_name``: file name with extension; ``src_ext``: without a dot; both indices from 1:
    ``result_index`` among the results of its task, ``global_index`` among the files of one save. ``src_folder``: the
    folders between that of all sources and this one, with ``/``; empty for a source that lies in the first."""

    src_stem: str
    src_name: str
    src_ext: str
    task_id: str
    result_id: str
    result_index: int
    global_index: int
    src_folder: str = ""


VARIABLES: Final[tuple[str, ...]] = NameContext.__struct_fields__
TXT_VARIABLES: Final[tuple[str, ...]] = (*VARIABLES, "image_name", "image_path")

_FOLDER: Final = "{src_folder}"
_NUMBERS: Final = frozenset({"result_index", "global_index"})
_WIDTH: Final = re.compile(r"0?[0-9]{0,2}d?")
_PIECE: Final = re.compile(r"\{\{|\}\}|\{[^{}!]*\}|[^{}]+")
_FORBIDDEN: Final = frozenset('<>:"/\\|?*')
_UNWRITABLE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_RESERVED: Final = frozenset(
    {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"}
    | {device + digit for device in ("COM", "LPT") for digit in "0123456789¹²³"}
)


def name_context(
    source_name: str, task_id: str, result_id: str, result_index: int = 1, global_index: int = 1, src_folder: str = ""
) -> NameContext:
    """The context of one result, with the source's file name taken apart."""
    stem, dot, extension = source_name.rpartition(".")
    if not stem:
        stem, extension = source_name, ""
    ending = extension if dot else ""
    return NameContext(stem, source_name, ending, task_id, result_id, result_index, global_index, src_folder)


def keeps_folders(rule: SaveRule) -> bool:
    """Whether a rule puts files into folders below the one that is saved to."""
    return _FOLDER in rule.filename_template and not rule.only_first_if_multiple


def check_rule(rule: SaveRule) -> None:
    """Raises InvalidInput naming the field: TEMPLATE_EMPTY, TEMPLATE_SYNTAX (position from 0), TEMPLATE_VARIABLE."""
    _file_name(rule.filename_template).pieces()
    if rule.create_txt:
        _caption(rule.txt_template).pieces()


def image_stem(rule: SaveRule, context: NameContext) -> str:
    """File name of the picture without its extension, safe as it is; with the folders before it, parted by ``/``, where
    the rule keeps them. Raises InvalidInput (TEMPLATE_…)."""
    template = "{src_stem}" if rule.only_first_if_multiple else rule.filename_template
    stem = context.src_stem.replace(rule.replace_from, rule.replace_to) if rule.replace_from else context.src_stem
    values = msgspec.structs.asdict(context) | {"src_stem": stem}
    if not keeps_folders(rule):
        return safe_stem(_file_name(template).fill(values))
    values = {name: value if name == "src_folder" else _flat(value) for name, value in values.items()}
    filled = _file_name(template).fill(values)
    parts = [safe_stem(part) for part in filled.split("/") if part.strip(". ")]
    return "/".join(parts) or safe_stem("")


def text(rule: SaveRule, context: NameContext, image_name: str, image_path: str) -> str:
    """The caption; ``{src_stem}`` is the original one here. Raises InvalidInput (TEMPLATE_…)."""
    values = msgspec.structs.asdict(context) | {"image_name": image_name, "image_path": image_path}
    return _caption(rule.txt_template).fill(values)


def fill_text(template: str, values: dict[str, str | int], field: str) -> str:
    """Any template with these variables; ``field`` is where it was entered. Raises InvalidInput (TEMPLATE_…)."""
    return _Template(template, tuple(values), field).fill(values)


def safe_stem(name: str) -> str:
    """A name made fit for every file system: no separators, no device names, at most `MAX_STEM_BYTES`; never empty."""
    name = "".join("_" if _is_unsafe(letter) else letter for letter in name)
    if name.startswith(".") and name.strip(". "):
        # A leading dot would hide the picture.
        name = "_" + name[1:]
    name = _cut(name, MAX_STEM_BYTES).rstrip(". ")
    if name.partition(".")[0].rstrip(" ").upper() in _RESERVED:  # after the cut, which may leave one
        name = "_" + _cut(name, MAX_STEM_BYTES - 1)
    return name or "image"


def _flat(value: str | int) -> str | int:
    return value.replace("/", "_") if isinstance(value, str) else value


def _is_unsafe(letter: str) -> bool:
    return letter in _FORBIDDEN or unicodedata.category(letter) in _UNWRITABLE


def _cut(name: str, limit: int) -> str:
    return name.encode("utf-8")[:limit].decode("utf-8", "ignore")


class _Template(msgspec.Struct, frozen=True):
    """A template text with the names it may use, and the field that it was entered in."""

    source: str
    variables: tuple[str, ...]
    field: str

    def fill(self, values: dict[str, str | int]) -> str:
        return "".join(
            literal if name is None else literal + format(values[name], spec) for literal, name, spec in self.pieces()
        )

    def pieces(self) -> list[tuple[str, str | None, str]]:
        """Literal text, the variable after it, and its width; anything more that str.format knows is refused."""
        if not self.source.strip():
            raise InvalidInput(Code.TEMPLATE_EMPTY, field=self.field)
        try:
            parsed = list(Formatter().parse(self.source))
        except ValueError as error:
            raise self._syntax(_first_fault(self.source)) from error
        for _, name, spec, conversion in parsed:
            if name is not None:
                self._check(name, spec or "", conversion)
        return [(literal, name, spec or "") for literal, name, spec, _ in parsed]

    def _check(self, name: str, spec: str, conversion: str | None) -> None:
        at = self.source.find("{" + name)
        if not name.strip():
            raise self._syntax(at)
        if name not in self.variables:
            raise InvalidInput(Code.TEMPLATE_VARIABLE, field=self.field, template=self.source, variable=name)
        if conversion is not None or (spec and not (name in _NUMBERS and _WIDTH.fullmatch(spec))):
            raise self._syntax(at)

    def _syntax(self, position: int) -> InvalidInput:
        return InvalidInput(Code.TEMPLATE_SYNTAX, field=self.field, template=self.source, position=position)


def _file_name(template: str) -> _Template:
    return _Template(template, VARIABLES, "filename_template")


def _caption(template: str) -> _Template:
    return _Template(template, TXT_VARIABLES, "txt_template")


def _first_fault(template: str) -> int:
    position = 0
    while match := _PIECE.match(template, position):
        position = match.end()
    return position
