"""The table of operations: every one exists here once; both doors, the docs and the tests are made from it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

from bridge.app import App
from bridge.usecases import config, datasets, pictures, run, saving, tasks
from bridge.usecases.common import Caller, Nothing, Ok, ResultId, TaskId
from bridge.usecases.set_options import SetParams
from bridge.views import StateView
from engine.presets import PresetFile

Handler = Callable[[App, Any, Caller], Any]


class Kind(StrEnum):
    """How the answer travels over HTTP."""

    JSON = "json"
    PICTURE = "picture"
    ATTACHMENT = "attachment"
    UPLOAD = "upload"


class Operation(msgspec.Struct, frozen=True):
    """One thing that may be asked for. ``path`` holds the names of parameters that stand in it as ``{name}``."""

    name: str
    method: str
    path: str
    params: type[msgspec.Struct]
    answer: type[msgspec.Struct]
    handler: Handler
    kind: Kind = Kind.JSON

    @property
    def summary(self) -> str:
        """The handler's docstring."""
        return (self.handler.__doc__ or "").strip()


_TASK = "/api/tasks/{task_id}"
_RESULT = _TASK + "/results/{result_id}"

OPERATIONS: tuple[Operation, ...] = (
    Operation("get_state", "GET", "/api/state", pictures.StateParams, StateView, pictures.get_state),
    Operation("list_tasks", "GET", "/api/tasks", tasks.ListParams, tasks.TaskPage, tasks.list_tasks),
    Operation("list_ids", "GET", "/api/tasks/ids", tasks.OutlineParams, tasks.OutlineAnswer, tasks.list_ids),
    Operation("inspect_path", "POST", "/api/tasks/inspect", run.StartParams, run.InspectAnswer, run.inspect_path),
    Operation("start_batch", "POST", "/api/tasks/start", run.StartParams, run.StartAnswer, run.start_batch),
    Operation("resume_tasks", "POST", "/api/tasks/resume", Nothing, run.ResumeAnswer, run.resume_tasks),
    Operation("retry_failed", "POST", "/api/tasks/retry_failed", Nothing, run.RetryFailedAnswer, run.retry_failed),
    Operation("stop", "POST", "/api/tasks/stop", Nothing, run.StopAnswer, run.stop),
    Operation("clear_tasks", "POST", "/api/tasks/clear", Nothing, tasks.Cleared, tasks.clear_tasks),
    Operation(
        "save_all", "POST", "/api/tasks/save_all", saving.SaveAllParams, saving.SavedAll, saving.save_all_results
    ),
    Operation("bulk_tasks", "POST", "/api/tasks/bulk", tasks.BulkParams, tasks.BulkAnswer, tasks.bulk_tasks),
    Operation("get_task", "GET", _TASK, TaskId, tasks.OneTask, tasks.get_task),
    Operation("delete_task", "DELETE", _TASK, TaskId, tasks.TaskDeleted, tasks.delete_task),
    Operation("get_task_debug", "GET", _TASK + "/debug", TaskId, tasks.DebugAnswer, tasks.get_task_debug),
    Operation("retry_task", "POST", _TASK + "/retry", TaskId, run.RetryAnswer, run.retry_task),
    Operation("retry_task_clear", "POST", _TASK + "/retry_clear", TaskId, run.RetryClearAnswer, run.retry_task_clear),
    Operation("toggle_result", "POST", _RESULT + "/toggle", ResultId, tasks.Toggled, tasks.toggle_result),
    Operation("delete_result", "DELETE", _RESULT, ResultId, Ok, tasks.delete_result),
    Operation("restore_result", "POST", _RESULT + "/restore", ResultId, Ok, tasks.restore_result),
    Operation("save_result", "POST", _RESULT + "/save", saving.SaveOneParams, saving.SavedOne, saving.save_result),
    Operation("source_image", "GET", _TASK + "/source", TaskId, pictures.Picture, pictures.source_image, Kind.PICTURE),
    Operation(
        "source_thumbnail",
        "GET",
        _TASK + "/source/thumbnail",
        pictures.TaskThumbnail,
        pictures.Picture,
        pictures.source_thumbnail,
        Kind.PICTURE,
    ),
    Operation(
        "preview_image", "GET", _TASK + "/preview", TaskId, pictures.Picture, pictures.preview_image, Kind.PICTURE
    ),
    Operation(
        "result_image", "GET", _RESULT + "/image", ResultId, pictures.Picture, pictures.result_image, Kind.PICTURE
    ),
    Operation(
        "result_thumbnail",
        "GET",
        _RESULT + "/thumbnail",
        pictures.ResultThumbnail,
        pictures.Picture,
        pictures.result_thumbnail,
        Kind.PICTURE,
    ),
    Operation("list_save_rules", "GET", "/api/save/rules", Nothing, saving.Rules, saving.list_save_rules),
    Operation(
        "preview_names", "POST", "/api/save/preview", saving.PreviewParams, saving.Previews, saving.preview_names
    ),
    Operation("save_rule", "POST", "/api/save/rule", saving.PlanParams, Ok, saving.save_rule),
    Operation("list_trainers", "GET", "/api/dataset/trainers", Nothing, datasets.Trainers, datasets.list_trainers),
    Operation("preflight", "POST", "/api/dataset/preflight", SetParams, datasets.JobAnswer, datasets.preflight),
    Operation(
        "list_findings",
        "GET",
        "/api/dataset/findings",
        datasets.FindingsParams,
        datasets.FindingsPage,
        datasets.list_findings,
    ),
    Operation(
        "export_set", "POST", "/api/dataset/export", datasets.ExportParams, datasets.JobAnswer, datasets.export_a_set
    ),
    Operation(
        "set_report", "POST", "/api/dataset/report", datasets.ReportParams, datasets.JobAnswer, datasets.set_report
    ),
    Operation("get_job", "GET", "/api/dataset/job", Nothing, datasets.JobNow, datasets.get_job),
    Operation("stop_job", "POST", "/api/dataset/stop", Nothing, datasets.JobStopped, datasets.stop_job),
    Operation(
        "save_config", "POST", "/api/config/current", config.ConfigParams, config.SavedConfig, config.save_config
    ),
    Operation("describe_config", "GET", "/api/config/schema", Nothing, config.Schema, config.describe_config),
    Operation("test_config", "POST", "/api/config/test", config.OptionalConfig, config.TestAnswer, config.test_config),
    Operation("save_preset", "POST", "/api/presets/save", config.PresetParams, config.PresetSaved, config.save_preset),
    Operation(
        "apply_preset", "POST", "/api/presets/apply", config.PresetName, config.PresetApplied, config.apply_preset
    ),
    Operation(
        "export_presets", "GET", "/api/presets/export", Nothing, PresetFile, config.export_presets, Kind.ATTACHMENT
    ),
    Operation(
        "import_presets",
        "POST",
        "/api/presets/import",
        config.ImportParams,
        config.ImportAnswer,
        config.import_presets,
        Kind.UPLOAD,
    ),
    Operation("delete_preset", "DELETE", "/api/presets/{name}", config.PresetName, Ok, config.delete_preset),
    Operation("list_templates", "GET", "/api/templates", Nothing, config.Templates, config.list_templates),
    Operation("get_ui", "GET", "/api/ui", Nothing, config.UiSettings, config.get_ui),
    Operation("save_ui", "POST", "/api/ui", config.UiSettings, Ok, config.save_ui),
    Operation(
        "get_messages", "GET", "/api/messages/{language}", config.LanguageName, config.Catalogue, config.get_messages
    ),
    Operation(
        "browse_folder", "GET", "/api/files", pictures.FolderParams, pictures.FolderAnswer, pictures.browse_folder
    ),
)

BY_NAME = {operation.name: operation for operation in OPERATIONS}
