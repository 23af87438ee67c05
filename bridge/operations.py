"""The table of operations, one line each: method, path, handler. Name, parameters, answer and help are those of the
handler (annotations and docstring); both doors, the OpenAPI document and the page are made from this table."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from functools import cached_property
from typing import Any, get_type_hints

import msgspec

from bridge.usecases import (
    carrying,
    config,
    costs,
    datasets,
    dropping,
    forms,
    judge,
    pictures,
    projects,
    remote,
    rounds,
    run,
    saving,
    set_preview,
    state,
    tasks,
    trials,
)
from bridge.usecases.common import Attachment, Context, Upload
from bridge.usecases.pictures import Picture

Handler = Callable[[Context, Any], Any]


class Kind(StrEnum):
    """How parameters and answer travel over HTTP; told by their types."""

    JSON = "json"
    PICTURE = "picture"
    ATTACHMENT = "attachment"
    UPLOAD = "upload"


class Operation(msgspec.Struct, frozen=True, dict=True):
    """One thing that may be asked for. ``path`` holds the names of parameters that stand in it as ``{name}``;
    ``handler(context, params)`` has the operation's name."""

    method: str
    path: str
    handler: Handler

    @cached_property
    def name(self) -> str:
        """What the operation is called at either door."""
        return self.handler.__name__

    @cached_property
    def params(self) -> type[msgspec.Struct]:
        """The Struct of the handler's second argument."""
        *_, kind = (hint for name, hint in get_type_hints(self.handler).items() if name != "return")
        return kind  # type: ignore[no-any-return]

    @cached_property
    def answer(self) -> type[msgspec.Struct]:
        """The Struct that the handler returns."""
        return get_type_hints(self.handler)["return"]  # type: ignore[no-any-return]

    @cached_property
    def kind(self) -> Kind:
        """A picture and an attachment are told by the answer, an upload by the parameters."""
        if issubclass(self.params, Upload):
            return Kind.UPLOAD
        if issubclass(self.answer, Picture):
            return Kind.PICTURE
        return Kind.ATTACHMENT if issubclass(self.answer, Attachment) else Kind.JSON

    @cached_property
    def summary(self) -> str:
        """The handler's docstring."""
        return (self.handler.__doc__ or "").strip()


def upload_limit(operation: Operation, usual: int) -> int:
    """How many bytes a file may have that is sent to this operation."""
    most: int | None = getattr(operation.params, "most", None)
    return usual if most is None else most


_TASK = "/api/tasks/{task_id}"
_RESULT = _TASK + "/results/{result_id}"

OPERATIONS: tuple[Operation, ...] = (
    Operation("GET", "/api/state", state.get_state),
    Operation("GET", "/api/tasks", tasks.list_tasks),
    Operation("GET", "/api/tasks/ids", tasks.list_ids),
    Operation("POST", "/api/tasks/inspect", run.inspect_path),
    Operation("POST", "/api/tasks/start", run.start_batch),
    Operation("POST", "/api/tasks/resume", run.resume_tasks),
    Operation("POST", "/api/tasks/retry_failed", run.retry_failed),
    Operation("POST", "/api/tasks/stop", run.stop),
    Operation("POST", "/api/tasks/clear", tasks.clear_tasks),
    Operation("POST", "/api/tasks/save_all", saving.save_all),
    Operation("POST", "/api/tasks/bulk", tasks.bulk_tasks),
    Operation("POST", "/api/tasks/marks", tasks.mark_results),
    Operation("GET", "/api/tasks/facets", tasks.list_facets),
    Operation("GET", _TASK, tasks.get_task),
    Operation("DELETE", _TASK, tasks.delete_task),
    Operation("GET", _TASK + "/debug", tasks.get_task_debug),
    Operation("POST", _TASK + "/retry", run.retry_task),
    Operation("POST", _TASK + "/retry_clear", run.retry_task_clear),
    Operation("POST", _RESULT + "/toggle", tasks.toggle_result),
    Operation("DELETE", _RESULT, tasks.delete_result),
    Operation("POST", _RESULT + "/restore", tasks.restore_result),
    Operation("POST", _RESULT + "/save", saving.save_result),
    Operation("GET", _TASK + "/source", pictures.source_image),
    Operation("GET", _TASK + "/source/thumbnail", pictures.source_thumbnail),
    Operation("GET", _TASK + "/preview", pictures.preview_image),
    Operation("GET", _RESULT + "/image", pictures.result_image),
    Operation("GET", _RESULT + "/thumbnail", pictures.result_thumbnail),
    Operation("GET", "/api/remote", remote.list_remote),
    Operation("POST", "/api/remote/{id}/collect", remote.collect_remote),
    Operation("POST", "/api/remote/{id}/cancel", remote.cancel_remote),
    Operation("GET", "/api/save/rules", saving.list_save_rules),
    Operation("POST", "/api/save/preview", saving.preview_names),
    Operation("POST", "/api/save/rule", saving.save_rule),
    Operation("GET", "/api/dataset/trainers", datasets.list_trainers),
    Operation("POST", "/api/dataset/preflight", datasets.preflight),
    Operation("GET", "/api/dataset/findings", datasets.list_findings),
    Operation("POST", "/api/dataset/preview", set_preview.preview_set),
    Operation("POST", "/api/dataset/export", datasets.export_set),
    Operation("POST", "/api/dataset/report", datasets.set_report),
    Operation("GET", "/api/dataset/job", datasets.get_job),
    Operation("POST", "/api/dataset/stop", datasets.stop_job),
    Operation("GET", "/api/judge/config", judge.get_judge),
    Operation("POST", "/api/judge/config", judge.save_judge),
    Operation("GET", "/api/judge/rubrics", judge.list_rubrics),
    Operation("POST", "/api/judge/rubrics", judge.save_rubric),
    Operation("DELETE", "/api/judge/rubrics/{name}", judge.delete_rubric),
    Operation("POST", "/api/judge/start", judge.judge_results),
    Operation("GET", "/api/judge/report", judge.judge_report),
    Operation("POST", "/api/judge/untick", judge.untick_below),
    Operation("POST", "/api/judge/captions", judge.write_captions),
    Operation("POST", "/api/judge/prompts", judge.write_prompts),
    Operation("POST", "/api/judge/compare", judge.compare_results),
    Operation("POST", _RESULT + "/caption", judge.set_caption),
    Operation("POST", "/api/tasks/retry_below", rounds.retry_below),
    Operation("GET", "/api/tasks/suspects", rounds.list_suspects),
    Operation("POST", "/api/trials", trials.start_trial),
    Operation("GET", "/api/trials", trials.list_trials),
    Operation("GET", "/api/trials/{id}", trials.get_trial),
    Operation("DELETE", "/api/trials/{id}", trials.delete_trial),
    Operation("GET", "/api/trials/{id}/numbers", trials.measure_row),
    Operation("POST", "/api/trials/{id}/vote", trials.vote_trial),
    Operation("POST", "/api/trials/{id}/choose", trials.choose_column),
    Operation("POST", "/api/config/current", config.save_config),
    Operation("GET", "/api/config/schema", forms.describe_config),
    Operation("POST", "/api/config/test", config.test_config),
    Operation("POST", "/api/presets/save", config.save_preset),
    Operation("POST", "/api/presets/apply", config.apply_preset),
    Operation("GET", "/api/presets/export", config.export_presets),
    Operation("POST", "/api/presets/import", config.import_presets),
    Operation("DELETE", "/api/presets/{name}", config.delete_preset),
    Operation("GET", "/api/templates", config.list_templates),
    Operation("GET", "/api/ui", config.get_ui),
    Operation("POST", "/api/ui", config.save_ui),
    Operation("GET", "/api/costs", costs.get_costs),
    Operation("GET", "/api/prices", costs.get_prices),
    Operation("POST", "/api/prices", costs.save_prices),
    Operation("GET", "/api/messages/{language}", config.get_messages),
    Operation("GET", "/api/projects", projects.list_projects),
    Operation("POST", "/api/projects", projects.create_project),
    Operation("POST", "/api/projects/open", projects.open_project),
    Operation("POST", "/api/projects/relocate", carrying.relocate),
    Operation("POST", "/api/projects/export", carrying.export_project),
    Operation("POST", "/api/projects/import", carrying.import_project),
    Operation("POST", "/api/projects/{id}/rename", projects.rename_project),
    Operation("POST", "/api/projects/{id}/archive", projects.archive_project),
    Operation("DELETE", "/api/projects/{id}", projects.delete_project),
    Operation("GET", "/api/files", pictures.browse_folder),
    Operation("POST", "/api/files/drop", dropping.drop_picture),
)
