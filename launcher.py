"""The command line, and the wiring of engine, bridge and page. Nothing else."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from bridge.environment import Environment, read_environment
from bridge.http.instance import announced
from bridge.http.server import Server
from bridge.logs import open_log
from bridge.maintenance import looked_after
from bridge.messages import Messages, pick_language
from bridge.open_app import load_messages, open_app, version
from bridge.paths import data_folder
from bridge.terminal.flags import chosen_columns, chosen_fields, chosen_judge, chosen_rule, make_parser
from bridge.terminal.run import Order, project_of, project_rule, run_headless
from bridge.terminal.run_reports import EXIT_STOPPED, EXIT_WRONG_USE
from bridge.terminal.run_trial import TrialOrder, run_trial
from bridge.terminal.serve import EXIT_PORT_TAKEN, bind_or_explain, serve
from bridge.terminal.set_flags import chosen_sets
from bridge.terminal.writer import say
from bridge.window.open_desktop import open_desktop, show_running
from bridge.window.toolkits.choice import PROBE_COMMAND, ToolkitSearch, probe
from engine.dataset.naming import BUILT_IN_RULES
from engine.errors import Code, ConsoleError, InvalidInput
from engine.images.encoder import ENCODE_COMMAND, encode_input


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    environ = os.environ
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] in ([PROBE_COMMAND], [ENCODE_COMMAND]):
        return _child(words, environ)
    messages = load_messages()
    language = terminal_language(environ)
    arguments = make_parser(messages, language, version()).parse_args(words)
    try:
        environment = read_environment(environ)
        if chosen := getattr(arguments, "cluster", ""):
            cluster = msgspec.structs.replace(environment.cluster, address=chosen)
            environment = msgspec.structs.replace(environment, cluster=cluster)
        folder = data_folder(environ)
        with contextlib.closing(open_log(folder)):
            if arguments.command == "trial":
                return _trial(arguments, folder, environment, messages, language)
            if arguments.command == "run":
                return _run(arguments, folder, environment, messages, language, environ)
            return _serve(arguments, folder, environment, messages, language, environ)
    except ConsoleError as error:
        say(messages.problem(language, error.problem))
        return EXIT_WRONG_USE
    except KeyboardInterrupt:
        return EXIT_STOPPED


def _child(words: list[str], environ: Mapping[str, str]) -> int:
    """One child of this program tries a window toolkit, another makes a picture's file."""
    try:
        return probe(words[1:]) if words[0] == PROBE_COMMAND else encode_input(words[1:])
    except InvalidInput as error:  # a person typed it
        say(load_messages().problem(terminal_language(environ), error.problem))
        return EXIT_WRONG_USE


def terminal_language(environ: Mapping[str, str]) -> str:
    """The language of the terminal's locale; Chinese where it says nothing."""
    return pick_language(environ.get("LC_ALL") or environ.get("LC_MESSAGES") or environ.get("LANG") or "")


def _run(
    arguments: argparse.Namespace,
    folder: Path,
    environment: Environment,
    messages: Messages,
    language: str,
    environ: Mapping[str, str],
) -> int:
    if not arguments.output:
        raise InvalidInput(Code.FIELD_REQUIRED, field="output", name="-o OUT")
    if arguments.demo:
        default = BUILT_IN_RULES["aitookit_edit"]
    else:
        project = project_of(folder, arguments.input) if arguments.input else None
        default = project_rule(folder, project)
    order = Order(
        source=arguments.input,
        output=arguments.output,
        fields=chosen_fields(arguments, environ),
        preset=arguments.preset,
        rule=chosen_rule(arguments, default),
        demo=arguments.demo,
        resume=arguments.resume,
        collect=arguments.collect,
        wait=arguments.wait,
        batch_size=arguments.batch_size,
        prompt_table=arguments.prompts,
        variants=arguments.variants,
        references=arguments.references,
        fresh=arguments.fresh,
        sets=chosen_sets(arguments),
        judge=chosen_judge(arguments),
        json=arguments.json,
        language=language,
    )
    return run_headless(order, folder, environment, messages)


def _trial(
    arguments: argparse.Namespace, folder: Path, environment: Environment, messages: Messages, language: str
) -> int:
    if arguments.columns is None:
        raise InvalidInput(Code.FIELD_REQUIRED, field="columns", name="--columns FILE")
    order = TrialOrder(
        source=arguments.input,
        columns=chosen_columns(arguments.columns),
        sample=arguments.sample,
        seed=arguments.seed,
        preset=arguments.preset,
        demo=arguments.demo,
        json=arguments.json,
        language=language,
        judge=chosen_judge(arguments),
    )
    return run_trial(order, folder, environment, messages)


def _serve(
    arguments: argparse.Namespace,
    folder: Path,
    environment: Environment,
    messages: Messages,
    language: str,
    environ: Mapping[str, str],
) -> int:
    place = folder / "demo" if arguments.demo else folder
    if arguments.command == "open" and show_running(place, version(), messages, language, say):
        return 0
    bound = bind_or_explain(environment, messages, language, say, (place, folder, folder / "demo"))
    if bound is None:
        return EXIT_PORT_TAKEN
    with contextlib.ExitStack() as stack:
        stack.callback(bound.close)
        search = None
        if arguments.command == "open" and not (arguments.browser or arguments.no_open):
            search = stack.enter_context(contextlib.closing(ToolkitSearch(arguments.gui, environ)))
        app = stack.enter_context(open_app(folder, environment, messages, demo=arguments.demo))
        server = Server(app, bound)
        stack.callback(server.close)
        stack.enter_context(announced(app.folder, server.url, app.version, server.instance_secret))
        stack.enter_context(looked_after(app))
        if arguments.command == "open":
            return open_desktop(
                app,
                server,
                language,
                say,
                search=search,
                no_open=arguments.no_open,
            )
        return serve(app, server, language, say, open_page=arguments.open)


if __name__ == "__main__":
    logging.captureWarnings(True)
    sys.exit(main())
