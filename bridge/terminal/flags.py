"""The command line: commands and flags. A field of ApiConfig has its flag and variable by itself; sets: `set_flags`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from bridge.messages import Messages
from bridge.terminal.run_judge import JudgeOrder
from bridge.terminal.set_flags import add_set_flags
from bridge.terminal.writer import say
from engine.config import FieldSpec, describe, parse_entered, parse_stored
from engine.dataset.naming import BUILT_IN_RULES, SaveRule, check_rule
from engine.errors import Code, InvalidInput
from engine.files import without_mark
from engine.paths import printable
from engine.reading import NotRegular, read_bytes
from engine.tasks.plan import ReferenceMode
from engine.vision.rounds import MOST_ROUNDS

ENV_PREFIX = "IBC_"
_WRONG_USE = 2
_MAX_FILE_BYTES = 16 * 1024 * 1024


class _Parser(argparse.ArgumentParser):
    """Help and errors in the person's language: an example first, and one line for what cannot be understood."""

    def __init__(self, prog: str, *, text: Callable[..., str], example: str, description: str) -> None:
        super().__init__(prog, description=description, allow_abbrev=False, add_help=False)
        self._text, self._example = text, example
        self._positionals.title, self._optionals.title = text("cli.positionals"), text("cli.options")
        self.add_argument("-h", "--help", action="help", help=text("cli.help"))

    def format_help(self) -> str:
        heading, example = self._text("cli.example_title"), self._text(self._example).replace("%%", "%")
        _, _, rest = super().format_help().partition("\n\n")  # in place of a list of eighty flags as usage
        return f"{heading}:\n  {example}\n\n{rest}"

    def error(self, message: str) -> NoReturn:
        say(f"{self.prog}: {message}")
        raise SystemExit(_WRONG_USE)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        for word in sys.argv[1:] if args is None else args:
            if (shown := printable(word)) != word:
                self.error(self._text("cli.error.not_text", value=shown).replace("%%", "%"))
        known, rest = self.parse_known_args(args, namespace)
        if rest:
            self.error(self._text("cli.error.unknown", value=" ".join(rest)).replace("%%", "%"))
        return known

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            self._fail("cli.error.choice", action, value=value, choices=", ".join(map(str, action.choices)))

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError:
            self._fail("cli.error.value", action, value=arg_string)

    def _match_argument(self, action: argparse.Action, arg_strings_pattern: str) -> int:
        try:
            return super()._match_argument(action, arg_strings_pattern)
        except argparse.ArgumentError:
            self._fail("cli.error.no_value", action)

    def _fail(self, key: str, action: argparse.Action, **params: str) -> NoReturn:
        name = "/".join(action.option_strings) or action.metavar or self._text("cli.command")
        raise argparse.ArgumentError(None, self._text(key, name=str(name), **params).replace("%%", "%"))


def _command(commands: Any, name: str, text: Callable[..., str]) -> argparse.ArgumentParser:
    words = text(f"cli.{name}")
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=words, description=words, text=text, example=f"cli.{name}.example"
    )
    return parser


def make_parser(messages: Messages, language: str, version: str) -> argparse.ArgumentParser:
    """The parser; every help text comes from the catalogues."""

    def text(key: str, **params: str) -> str:
        return messages.text(language, key, **params).replace("%", "%%")

    parser = _Parser("image-batch-console", text=text, example="cli.example", description=text("cli.description"))
    shown = f"image-batch-console {version}"
    parser.add_argument("--version", action="version", version=shown, help=text("cli.version"))
    parser.set_defaults(command="open")
    _add_open(parser, text)
    commands = parser.add_subparsers(title=text("cli.commands"), metavar="")
    serve = _command(commands, "serve", text)
    serve.set_defaults(command="serve")
    serve.add_argument("--demo", action="store_true", help=text("cli.demo"))
    serve.add_argument("--open", action="store_true", help=text("cli.serve.open"))
    _add_cluster(serve, text)
    run = _command(commands, "run", text)
    run.set_defaults(command="run")
    _add_run(run, text, messages, language)
    _add_cluster(run, text)
    trial = _command(commands, "trial", text)
    trial.set_defaults(command="trial")
    _add_trial(trial, text)
    return parser


def _add_trial(trial: argparse.ArgumentParser, text: Any) -> None:
    trial.add_argument("input", nargs="?", metavar="INPUT", help=text("cli.run.input"))
    trial.add_argument("--columns", metavar="FILE", type=Path, help=text("cli.trial.columns"))
    trial.add_argument("--sample", metavar="N", type=int, default=20, help=text("cli.trial.sample"))
    trial.add_argument("--seed", metavar="N", type=int, default=0, help=text("cli.trial.seed"))
    trial.add_argument("--judge", metavar="FILE", type=Path, help=text("cli.run.judge"))
    trial.add_argument("--preset", metavar="NAME", help=text("cli.run.preset"))
    trial.add_argument("--demo", action="store_true", help=text("cli.demo"))
    trial.add_argument("--json", action="store_true", help=text("cli.trial.json"))


def _add_judge(run: argparse.ArgumentParser, text: Any) -> None:
    group = run.add_argument_group(text("cli.group.judge"))
    group.add_argument("--judge", metavar="FILE", type=Path, help=text("cli.run.judge"))
    group.add_argument("--pass-score", metavar="S", type=float, help=text("cli.run.pass_score"))
    group.add_argument("--rounds", metavar="N", type=int, default=0, help=text("cli.run.rounds"))
    group.add_argument("--with-reason", action="store_true", help=text("cli.run.with_reason"))


def chosen_judge(arguments: argparse.Namespace) -> JudgeOrder:
    """The judge of the command. Raises InvalidInput for a file that cannot be read."""
    fields = None if arguments.judge is None else _read_file(arguments.judge)
    if arguments.command == "trial":
        return JudgeOrder(fields)
    if not 0 <= arguments.rounds <= MOST_ROUNDS:
        raise InvalidInput(Code.FIELD_RANGE, field="rounds", name="--rounds", minimum=0, maximum=MOST_ROUNDS,
                           value=arguments.rounds)  # fmt: skip
    return JudgeOrder(fields, arguments.pass_score, arguments.rounds, arguments.with_reason)


def chosen_columns(path: Path) -> list[Any]:
    """The columns of a trial: a JSON list, or an object that holds one as ``columns``."""
    data = _read_json(path)
    columns = data.get("columns") if isinstance(data, dict) else data
    if not isinstance(columns, list):
        raise InvalidInput(Code.CONFIG_FILE_UNREADABLE, field="columns", path=str(path), reason="JSON list")
    return columns


def _add_open(parser: argparse.ArgumentParser, text: Any) -> None:
    parser.add_argument("--demo", action="store_true", help=text("cli.demo"))
    parser.add_argument("--browser", action="store_true", help=text("cli.browser"))
    parser.add_argument("--no-open", action="store_true", help=text("cli.no_open"))
    parser.add_argument("--gui", choices=["gtk", "qt"], help=text("cli.gui"))
    _add_cluster(parser, text)


def _add_cluster(parser: argparse.ArgumentParser, text: Any) -> None:
    # SUPPRESS: a sub-command's default would wipe out what stands before the command
    parser.add_argument("--cluster", metavar="ADDRESS", default=argparse.SUPPRESS, help=text("cli.cluster"))


def _add_run(run: argparse.ArgumentParser, text: Any, messages: Messages, language: str) -> None:
    run.add_argument("input", nargs="?", metavar="INPUT", help=text("cli.run.input"))
    run.add_argument("-o", "--output", default="", metavar="OUT", help=text("cli.run.output"))
    run.add_argument("--demo", action="store_true", help=text("cli.demo"))
    run.add_argument("--resume", action="store_true", help=text("cli.run.resume"))
    run.add_argument("--fresh", action="store_true", help=text("cli.run.fresh"))
    run.add_argument("--prompts", metavar="FILE", default="", help=text("cli.run.prompts"))
    run.add_argument("--variants", metavar="N", type=int, default=1, help=text("cli.run.variants"))
    run.add_argument("--references", choices=list(ReferenceMode), default="off", help=text("cli.run.references"))
    run.add_argument("--batch-size", metavar="N", type=int, default=500, help=text("cli.run.batch_size"))
    run.add_argument("--wait", action="store_true", help=text("cli.run.wait"))
    run.add_argument("--collect", action="store_true", help=text("cli.run.collect"))
    run.add_argument("--json", action="store_true", help=text("cli.run.json"))
    run.add_argument("--preset", metavar="NAME", help=text("cli.run.preset"))
    run.add_argument("--config", metavar="FILE", type=Path, help=text("cli.run.config"))
    _add_judge(run, text)
    names = run.add_argument_group(text("cli.group.names"))
    names.add_argument("--rule", choices=list(BUILT_IN_RULES), default=None, help=text("cli.run.rule"))
    names.add_argument("--filename-template", metavar="TEXT", help=text("cli.run.filename_template"))
    names.add_argument("--replace-from", metavar="TEXT", help=text("cli.run.replace_from"))
    names.add_argument("--replace-to", metavar="TEXT", help=text("cli.run.replace_to"))
    names.add_argument(
        "--create-txt", action=argparse.BooleanOptionalAction, default=None, help=text("cli.run.create_txt")
    )
    names.add_argument("--txt-template", metavar="TEXT", help=text("cli.run.txt_template"))
    names.add_argument(
        "--only-first", action=argparse.BooleanOptionalAction, default=None, help=text("cli.run.only_first")
    )
    api = {_flag_name(spec) for spec in describe()}
    add_set_flags(run.add_argument_group(text("cli.group.sets"), text("cli.group.sets.help")), text, api)
    fields = run.add_argument_group(text("cli.group.fields"), text("cli.group.fields.help"))
    for spec in describe():
        label = messages.text(language, spec.label)
        options: dict[str, Any] = {"dest": f"field_{spec.name}", "default": None}
        if spec.type == "boolean":
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["metavar"] = "|".join(spec.choices) if spec.choices else spec.type.upper()
        fields.add_argument(f"--{_flag_name(spec)}", help=label.replace("%", "%%"), **options)


def _flag_name(spec: FieldSpec) -> str:
    return spec.name.replace("_", "-")


def chosen_fields(arguments: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, Any]:
    """Config fields from flags, config file and environment: a flag beats the environment, that beats the file.

    A variable that is blank counts as unset. Numbers out of range are clamped in the file, and refused elsewhere.
    """
    fields: dict[str, Any] = _clamped(_read_file(arguments.config)) if arguments.config else {}
    for spec in describe():
        variable = ENV_PREFIX + spec.name.upper()
        flag = getattr(arguments, f"field_{spec.name}")
        if flag is not None:
            fields[spec.name] = _from_text(spec, flag)
        elif environ.get(variable, "").strip():
            fields[spec.name] = _from_variable(spec, variable, environ[variable])
    parse_entered(fields)  # so that a wrong value is named before anything is opened
    return fields


def chosen_rule(arguments: argparse.Namespace, default: SaveRule) -> SaveRule:
    """The save rule: a built-in one or the stored one, with single flags on top."""
    rule = BUILT_IN_RULES[arguments.rule] if arguments.rule else default
    flags = {
        "filename_template": arguments.filename_template,
        "replace_from": arguments.replace_from,
        "replace_to": arguments.replace_to,
        "create_txt": arguments.create_txt,
        "txt_template": arguments.txt_template,
        "only_first_if_multiple": arguments.only_first,
    }
    rule = msgspec.structs.replace(rule, **{name: value for name, value in flags.items() if value is not None})
    check_rule(rule)
    return rule


def _clamped(fields: dict[str, Any]) -> dict[str, Any]:
    """What a file holds, its numbers brought into their ranges; what is no number stays, to be refused by name."""
    config, problems = parse_stored(fields)
    unread = {problem.field for problem in problems}
    numbers = [spec.name for spec in describe() if spec.type in ("integer", "number") and spec.name not in unread]
    return fields | {name: getattr(config, name) for name in numbers if fields.get(name) is not None}


def _from_variable(spec: FieldSpec, variable: str, text: str) -> Any:
    """The value of an environment variable; InvalidInput naming the variable, never showing what may be secret."""
    try:
        value = _from_text(spec, text)
        parse_entered({spec.name: value})
    except InvalidInput as error:
        fits = " / ".join(spec.choices) if spec.choices else spec.type
        if spec.minimum is not None:
            fits = f"{spec.minimum}.." + ("" if spec.maximum is None else str(spec.maximum))
        shown = "…" if spec.kind in ("secret", "json") else text[:200]
        raise InvalidInput(Code.SETTING_INVALID, field=variable, name=variable, value=shown, reason=fits) from error
    return value


def _from_text(spec: FieldSpec, value: Any) -> Any:
    if isinstance(value, str) and printable(value) != value:
        raise InvalidInput(Code.FIELD_TYPE, field=spec.name, name=spec.name, type=spec.type)
    if spec.type == "object" and isinstance(value, str):
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise InvalidInput(Code.FIELD_TYPE, field=spec.name, name=spec.name, type="object") from error
    return value


def _read_json(path: Path) -> Any:
    try:
        data = read_bytes(path, _MAX_FILE_BYTES)
        if len(data) > _MAX_FILE_BYTES:
            raise InvalidInput(Code.CONFIG_FILE_UNREADABLE, field="config", path=str(path), reason="EFBIG")
        return msgspec.json.decode(without_mark(data))
    except NotRegular as error:
        raise InvalidInput(Code.FILE_NOT_REGULAR, field="config", path=str(path)) from error
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else "JSON"
        raise InvalidInput(Code.CONFIG_FILE_UNREADABLE, field="config", path=str(path), reason=reason) from error


def _read_file(path: Path) -> dict[str, Any]:
    data = _read_json(path)
    if not isinstance(data, dict):
        raise InvalidInput(Code.CONFIG_FILE_UNREADABLE, field="config", path=str(path), reason="JSON object")
    inner = data.get("config", data.get("current_config", data))
    if not isinstance(inner, dict):
        raise InvalidInput(Code.CONFIG_FILE_UNREADABLE, field="config", path=str(path), reason="JSON object")
    return dict(inner)
