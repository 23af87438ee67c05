"""Configuration and presets, page settings, words: what the settings side of the page works with."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bridge.app import App
from bridge.messages import LANGUAGES
from bridge.paths import program_folder
from bridge.preferences import OF_A_PROJECT
from bridge.usecases.common import Attachment, Context, Nothing, Ok, Upload
from bridge.views import ProblemView
from engine.config import ApiConfig
from engine.errors import Code, InvalidInput, NotFound, Problem
from engine.presets import PresetFile, erases_key, keep_key, read_preset_file, rubrics_in
from engine.tasks.log import EditLog
from engine.upstream.connection import check_connection
from engine.upstream.usable import read_usable
from engine.vision.rubric import read_rubric

_TEST_SECONDS = 15.0
_MAX_UI_BYTES = 256 * 1024


class ConfigParams(msgspec.Struct, frozen=True):
    """A configuration as the form holds it."""

    config: dict[str, Any]


class OptionalConfig(msgspec.Struct, frozen=True):
    """A configuration, or the current one."""

    config: dict[str, Any] | None = None


class PresetParams(msgspec.Struct, frozen=True):
    """A preset under its name. Without ``config`` the current one is meant."""

    name: str
    config: dict[str, Any] | None = None


class PresetName(msgspec.Struct, frozen=True):
    """One preset."""

    name: str


class PresetAttachment(PresetFile, Attachment, frozen=True):
    """An exported file."""

    file_name = "image-batch-console-presets.json"


class ImportParams(Upload, frozen=True):
    """The text of an exported file."""

    json = PresetFile


class SavedConfig(msgspec.Struct, frozen=True):
    """It is stored; unknown fields are named. ``completed_url``: the address in use where its base was entered."""

    warnings: list[ProblemView]
    completed_url: str = ""
    ok: Literal[True] = True


class PresetSaved(msgspec.Struct, frozen=True):
    """It is stored under this name. ``completed_url`` as in SavedConfig."""

    name: str
    warnings: list[ProblemView]
    completed_url: str = ""
    ok: Literal[True] = True


class PresetApplied(msgspec.Struct, frozen=True):
    """It is the current configuration now."""

    config: ApiConfig
    ok: Literal[True] = True


class ImportAnswer(msgspec.Struct, frozen=True):
    """How many presets came in, and whether the current configuration did."""

    imported_presets: int
    applied_current_config: bool
    warnings: list[ProblemView]
    ok: Literal[True] = True


class TestAnswer(msgspec.Struct, frozen=True):
    """Whether the API can be reached, and what would keep an edit from working (``problem``), asked without spending
    one. ``models``: ids that the service lists; ``completed_url``: the address where its base was entered."""

    reachable: bool
    http_status: int | None
    problem: ProblemView | None
    models: list[str] = []
    completed_url: str = ""
    ok: Literal[True] = True


class UiSettings(msgspec.Struct, frozen=True):
    """Free settings of the page; null removes one. ``project``: of which they are; of those that are a project's, only
    the current one's are taken, and those that come without."""

    settings: dict[str, Any]
    project: str = ""


class LanguageName(msgspec.Struct, frozen=True):
    """A language of the catalogues."""

    language: str


class Catalogue(msgspec.Struct, frozen=True):
    """All texts of a language."""

    language: str
    messages: dict[str, str]


class Template(msgspec.Struct, frozen=True):
    """A starting point for a configuration."""

    id: str
    name: str
    notes_key: str
    config: dict[str, Any]


class Templates(msgspec.Struct, frozen=True):
    """All starting points."""

    templates: list[Template]


def entered_config(app: App, data: dict[str, Any] | None) -> tuple[ApiConfig, list[Problem]]:
    """A configuration as entered, with the stored key where that belongs to its origin."""
    if data is None:
        return app.preferences.config, []
    current = app.preferences.config
    return read_usable(data, current, [current], app.presets.all().values())


def save_config(context: Context, params: ConfigParams) -> SavedConfig:
    """Make this the current configuration; a run that is paused since its key is refused goes on with another key."""
    app = context.app
    config, warnings = entered_config(app, params.config)
    waits = app.batch.info().paused
    mended = waits is not None and waits.params.get("cause") == Code.KEY_REFUSED
    mended = mended and config.api_key != app.preferences.config.api_key
    app.preferences.set_config(config)
    app.settings_changed()
    if mended:
        app.batch.go_on(config)
    return SavedConfig(_worded(context, warnings), _completed(params.config, config))


def _completed(entered: dict[str, Any] | None, config: ApiConfig) -> str:
    """The address in use where another one was entered."""
    given = str((entered or {}).get("api_url") or config.api_url).strip()
    return config.api_url if given != config.api_url else ""


def test_config(context: Context, params: OptionalConfig) -> TestAnswer:
    """Ask the API with its key, never for an edit: whether it is reached, and takes the key, the path, the model."""
    app = context.app
    config, _ = entered_config(app, params.config)
    seconds = min(_TEST_SECONDS, config.timeout_seconds)
    tested = check_connection(app.transport, config, seconds, app.begin_connection_test())
    problem = None
    if tested.failure is not None:
        problem = context.view.problem(EditLog(*config.secrets).without_key(tested.failure.problem))
    completed = _completed(params.config, config)
    return TestAnswer(tested.http_status is not None, tested.http_status, problem, tested.models, completed)


def save_preset(context: Context, params: PresetParams) -> PresetSaved:
    """Store a configuration under a name; the same name overwrites."""
    app = context.app
    warnings: list[Problem] = []
    config = app.preferences.config
    if params.config is not None:
        presets = app.presets.all()
        before = presets.get(params.name.strip(), config)
        config, warnings = read_usable(params.config, before, [config, before], presets.values())
    app.presets.put(params.name, config)
    app.settings_changed()
    return PresetSaved(params.name.strip(), _worded(context, warnings), _completed(params.config, config))


def apply_preset(context: Context, params: PresetName) -> PresetApplied:
    """Make a preset the current configuration."""
    app = context.app
    before = app.preferences.config
    config = keep_key(app.presets.get(params.name), before)
    config = msgspec.structs.replace(config, budget_day=before.budget_day)  # a day has one budget, whatever is used
    app.preferences.set_config(config)
    app.settings_changed()
    return PresetApplied(config.masked())


def delete_preset(context: Context, params: PresetName) -> Ok:
    """Forget a preset."""
    context.app.presets.remove(params.name)
    context.app.settings_changed()
    return Ok()


def export_presets(context: Context, _: Nothing) -> PresetAttachment:
    """All presets and the current configuration; keys only where the environment asks for them."""

    def shown(config: ApiConfig) -> dict[str, Any]:
        fields: dict[str, Any] = msgspec.to_builtins(
            config if context.app.environment.export_include_secrets else config.masked()
        )
        return fields

    return PresetAttachment(
        presets={name: shown(config) for name, config in context.app.presets.all().items()},
        current_config=shown(context.app.preferences.config),
        rubrics=[msgspec.to_builtins(rubric) for rubric in context.app.vision.rubrics.own()],
    )


def import_presets(context: Context, params: ImportParams) -> ImportAnswer:
    """Take an exported file in; a masked or empty key never erases a stored one."""
    app = context.app
    presets, current, warnings = read_preset_file(params.file)
    before = app.preferences.config
    rubrics = [read_rubric(rubric) for rubric in rubrics_in(params.file)]
    left = app.presets.merge(presets, before)
    for rubric in rubrics:
        app.vision.rubrics.put(rubric)
    warnings += [Problem(Code.API_KEY_REQUIRED, {"name": name}, "api_key") for name in left]
    applied = False
    if current is not None:
        filled = keep_key(current, before, *app.presets.all().values())
        applied = not erases_key(filled, before)
        if applied:
            app.preferences.set_config(filled)
        else:
            warnings.append(Problem(Code.API_KEY_REQUIRED, {"name": "current_config"}, "api_key"))
    app.settings_changed()
    return ImportAnswer(len(presets) - len(left), applied, _worded(context, warnings))


def get_ui(context: Context, _: Nothing) -> UiSettings:
    """What the page wants kept between visits."""
    return UiSettings(context.app.preferences.ui, context.app.project_id)


def save_ui(context: Context, params: UiSettings) -> Ok:
    """Keep page settings; they are merged into those that are there."""
    if len(msgspec.json.encode(params.settings)) > _MAX_UI_BYTES:
        raise InvalidInput(Code.FIELD_RANGE, field="settings", name="settings", minimum=0, maximum=_MAX_UI_BYTES)
    app = context.app
    is_ours = params.project in ("", app.project_id)  # a page may have been left behind
    app.preferences.merge_ui({key: one for key, one in params.settings.items() if is_ours or key not in OF_A_PROJECT})
    return Ok()


def get_messages(context: Context, params: LanguageName) -> Catalogue:
    """All texts of a language."""
    if params.language not in LANGUAGES:
        raise NotFound(Code.OPERATION_UNKNOWN, name=params.language)
    return Catalogue(params.language, context.app.messages.catalogue(params.language))


def list_templates(context: Context, _: Nothing) -> Templates:
    """Starting points for a configuration."""
    return msgspec.json.decode((program_folder("assets") / "presets.json").read_bytes(), type=Templates)


def _worded(context: Context, problems: list[Problem]) -> list[ProblemView]:
    view = context.view
    return [view.problem(problem) for problem in problems]
