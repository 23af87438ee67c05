"""One call of every operation that works and one that is refused, for both doors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from engine.errors import Code

NO_TASK, NO_RESULT = "no-such-task", "no-such-result"
SLOW = {"user_prompt": "error slow"}
Step = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One call of one operation. ``{done}`` and the like in parameters stand for what the data folder holds."""

    name: str
    params: Any = field(default_factory=dict)
    refused: Code | None = None
    before: tuple[Step, ...] = ()


RUNNING: tuple[Step, ...] = (("start_batch", {"input_path": "{sources}", "config": SLOW}),)
RETRYING: tuple[Step, ...] = (("save_config", {"config": SLOW}), ("retry_task", {"task_id": "{failed}"}))
RESULT = {"task_id": "{done}", "result_id": "{result}"}
NOT_A_TASK = {"task_id": NO_TASK}
NOT_A_RESULT = {"task_id": "{done}", "result_id": NO_RESULT}
FREE_RULE = {"filename_template": "{src_stem}_{result_index}", "create_txt": True, "txt_template": "{image_name}"}
BROKEN_RULE = {"filename_template": "{nothing_like_it}"}
EXPORTED = {"presets": {"new": {"user_prompt": "night"}}, "current_config": {"user_prompt": "snow"}}

JUDGE = {"api_url": "http://127.0.0.1:9/v1/chat/completions", "model_name": "eyes", "unlock_local_api_url": True}
JUDGED: tuple[Step, ...] = (("save_judge", {"config": {**JUDGE, "max_retries": 0}}),)
RUBRIC = {"name": "own", "criteria": [{"id": "nice", "question": "Is it nice?"}]}

GIF = "R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw=="

ONLY_IN_FLIGHT = {"preview_image", "collect_remote", "cancel_remote"}
"""Seen succeeding in test_preview.py and test_remote.py, while a task runs or is at a provider."""

CASES = (
    Case("get_state"),
    Case("get_state", {"tasks": 0}),
    Case("get_state", {"since": 2}),
    Case("get_state", {"since": "yesterday"}, Code.FIELD_TYPE),
    Case("list_tasks"),
    Case("list_tasks", {"offset": 1, "limit": 1, "status": "done,failed", "q": "0", "sort": "name", "desc": True}),
    Case("list_tasks", {"limit": 0}, Code.FIELD_RANGE),
    Case("list_tasks", {"status": "nonsense"}, Code.FIELD_CHOICE),
    Case("list_tasks", {"finding": "any,blank"}),
    Case("list_tasks", {"finding": "nonsense"}, Code.FIELD_CHOICE),
    Case("list_ids", {"status": "done,failed", "sort": "name", "desc": True}),
    Case("list_ids", {"sort": "nonsense"}, Code.FIELD_CHOICE),
    Case("get_task", {"task_id": "{done}"}),
    Case("get_task", NOT_A_TASK, Code.TASK_UNKNOWN),
    Case("get_task_debug", {"task_id": "{failed}"}),
    Case("get_task_debug", NOT_A_TASK, Code.TASK_UNKNOWN),
    Case("list_remote"),
    Case("get_costs"),
    Case("get_prices"),
    Case("save_prices", {"prices": [{"host": "a.test", "model": "m*", "input": "0,5", "per_call": 0}]}),
    Case("save_prices", {"prices": [{"model": "m", "per_call": -1}]}, Code.FIELD_TYPE),
    Case("save_prices", {"prices": [{"model": "m", "tax": 1}]}, Code.FIELD_CHOICE),
    Case("collect_remote", {"id": "none"}, Code.JOB_UNKNOWN),
    Case("cancel_remote", {"id": "none"}, Code.JOB_UNKNOWN),
    Case("inspect_path", {"input_path": "{sources}"}),
    Case("inspect_path", {}, Code.FIELD_REQUIRED),
    Case("inspect_path", {"input_path": ["{sources}"]}, Code.FIELD_TYPE),
    Case("inspect_path", {"input_path": "{sources}/nowhere"}, Code.PATH_NOT_FOUND),
    Case("inspect_path", ["{sources}"], Code.NOT_JSON),
    Case("start_batch", {"input_path": "{sources}", "config": SLOW}),
    Case("start_batch", {"input_path": "{sources}", "config": {"concurrency_limit": 999}}, Code.FIELD_RANGE),
    Case("start_batch", {"input_path": "{sources}", "config": "mine"}, Code.FIELD_TYPE),
    Case("start_batch", {"input_path": "{sources}"}, Code.BATCH_RUNNING, RUNNING),
    Case("resume_tasks"),
    Case("resume_tasks", {}, Code.BATCH_RUNNING, RUNNING),
    Case("retry_task", {"task_id": "{failed}"}),
    Case("retry_task", NOT_A_TASK, Code.TASK_UNKNOWN),
    Case("retry_task", {"task_id": "{failed}"}, Code.TASK_RUNNING, RETRYING),
    Case("retry_task_clear", {"task_id": "{done}"}),
    Case("retry_task_clear", NOT_A_TASK, Code.TASK_UNKNOWN),
    Case("retry_failed"),
    Case("stop"),
    Case("stop", {}, None, RUNNING),
    Case("toggle_result", RESULT),
    Case("toggle_result", NOT_A_RESULT, Code.RESULT_UNKNOWN),
    Case("delete_result", RESULT),
    Case("delete_result", NOT_A_RESULT, Code.RESULT_UNKNOWN),
    Case("restore_result", RESULT, None, (("delete_result", RESULT),)),
    Case("restore_result", NOT_A_RESULT, Code.RESULT_UNKNOWN),
    Case("delete_task", {"task_id": "{done}"}),
    Case("delete_task", NOT_A_TASK, Code.TASK_UNKNOWN),
    Case("delete_task", {"task_id": "{done}"}, Code.BATCH_RUNNING, RUNNING),
    Case("clear_tasks"),
    Case("clear_tasks", {}, Code.BATCH_RUNNING, RUNNING),
    Case("bulk_tasks", {"action": "untick", "task_ids": ["{done}"]}),
    Case("bulk_tasks", {"action": "drop", "match": {"status": "done"}}),
    Case("bulk_tasks", {"action": "explode", "task_ids": ["{done}"]}, Code.FIELD_CHOICE),
    Case("bulk_tasks", {"action": "tick"}, Code.FIELD_REQUIRED),
    Case("mark_results", {"marks": [{"task_id": "{done}", "decided": True}]}),
    Case("mark_results", {"marks": "all"}, Code.FIELD_TYPE),
    Case("list_facets"),
    Case("save_result", {**RESULT, "output_dir": "{out}", **FREE_RULE}),
    Case("save_result", {**RESULT, "output_dir": ""}, Code.OUTPUT_REQUIRED),
    Case("save_result", {**NOT_A_RESULT, "output_dir": "{out}"}, Code.RESULT_UNKNOWN),
    Case("save_all", {"output_dir": "{out}", "only_selected": False, **FREE_RULE}),
    Case("save_all", {"output_dir": "{out}", **BROKEN_RULE}, Code.TEMPLATE_VARIABLE),
    Case("source_image", {"task_id": "{done}"}),
    Case("source_image", NOT_A_TASK, Code.TASK_UNKNOWN),
    Case("source_thumbnail", {"task_id": "{done}", "size": 64}),
    Case("source_thumbnail", {"task_id": "{done}", "size": 99999}, Code.FIELD_RANGE),
    Case("result_image", RESULT),
    Case("result_image", NOT_A_RESULT, Code.RESULT_UNKNOWN),
    Case("preview_image", {"task_id": "{done}"}, Code.NO_PREVIEW),
    Case("result_thumbnail", {**RESULT, "size": 64}),
    Case("result_thumbnail", {**RESULT, "size": "big"}, Code.FIELD_TYPE),
    Case("list_save_rules"),
    Case("preview_names", {"limit": 2, **FREE_RULE}),
    Case("preview_names", BROKEN_RULE, Code.TEMPLATE_VARIABLE),
    Case("save_rule", {"output_dir": "{out}", **FREE_RULE}),
    Case("save_rule", BROKEN_RULE, Code.TEMPLATE_VARIABLE),
    Case("list_trainers"),
    Case("preflight", {"match": {"status": "done"}}),
    Case("preflight", {"thresholds": {"unrelated": 99}}, Code.FIELD_RANGE),
    Case("preflight", {"trainer": "nobody's"}, Code.FIELD_CHOICE),
    Case("list_findings", {"limit": 5}, None, (("preflight", {}),)),
    Case("list_findings", {"kind": "nonsense"}, Code.FIELD_CHOICE),
    Case("preview_set", {"name": "night", "reverse": "both"}),
    Case("preview_set", {"trainer": "nonsense"}, Code.FIELD_CHOICE),
    Case("export_set", {"output_dir": "{out}", "name": "night", "leave_out": True}),
    Case("export_set", {"output_dir": "", "name": "night"}, Code.OUTPUT_REQUIRED),
    Case("set_report", {"path": "{out}/report.html"}),
    Case("set_report", {"path": "{out}/report.txt"}, Code.REPORT_NAME),
    Case("get_job", {}, None, (("preflight", {}),)),
    Case("stop_job"),
    Case("save_config", {"config": {"user_prompt": "夜", "unheard_of": 1}}),
    Case("save_config", {"config": {"temperature": 9}}, Code.FIELD_RANGE),
    Case("save_config", {}, Code.FIELD_REQUIRED),
    Case("describe_config"),
    Case("test_config"),
    Case("test_config", {"config": {"api_url": "ftp://example.test/"}}, Code.URL_SCHEME),
    Case("save_preset", {"name": "another", "config": {"user_prompt": "水墨"}}),
    Case("save_preset", {"config": {}}, Code.FIELD_REQUIRED),
    Case("apply_preset", {"name": "我的 / mine"}),
    Case("apply_preset", {"name": "nobody's"}, Code.PRESET_UNKNOWN),
    Case("delete_preset", {"name": "我的 / mine"}),
    Case("delete_preset", {"name": "nobody's"}, Code.PRESET_UNKNOWN),
    Case("export_presets"),
    Case("import_presets", EXPORTED),
    Case("import_presets", ["no presets"], Code.PRESET_FILE_INVALID),
    Case("import_presets", {"presets": {"big": {"user_prompt": "x" * 2_200_000}}}, Code.BODY_TOO_LARGE),
    Case("get_judge"),
    Case("save_judge", {"config": JUDGE}),
    Case("save_judge", {"config": {"passes": 9}}, Code.FIELD_RANGE),
    Case("list_rubrics"),
    Case("save_rubric", RUBRIC),
    Case("save_rubric", {**RUBRIC, "criteria": []}, Code.FIELD_RANGE),
    Case("delete_rubric", {"name": "own"}, None, (("save_rubric", RUBRIC),)),
    Case("delete_rubric", {"name": "strict"}, Code.RUBRIC_BUILT_IN),
    Case("judge_results", {"task_ids": ["{done}"]}, None, JUDGED),
    Case("judge_results", {}, Code.FIELD_REQUIRED),
    Case("judge_report"),
    Case("untick_below", {"score": 7}),
    Case("untick_below", {}, Code.FIELD_REQUIRED),
    Case("write_captions", {"length": "long", "language": "zh-CN"}, None, JUDGED),
    Case("write_captions", {"length": "endless"}, Code.FIELD_CHOICE),
    Case("write_prompts", {"input_path": "{sources}", "intention": "make it night"}, None, JUDGED),
    Case("write_prompts", {"input_path": "{sources}", "intention": " "}, Code.FIELD_REQUIRED),
    Case("compare_results", {}, None, JUDGED),
    Case("compare_results", {}, Code.FIELD_REQUIRED),
    Case("set_caption", {**RESULT, "text": "what changed"}),
    Case("set_caption", {**NOT_A_RESULT, "text": "what changed"}, Code.RESULT_UNKNOWN),
    Case("retry_below", {"score": 7, "rounds": 2}, None, JUDGED),
    Case("retry_below", {"score": 70}, Code.FIELD_RANGE),
    Case("list_suspects"),
    Case("start_trial", {"input_path": "{sources}", "sample": 1, "columns": [{"name": "a", "config": SLOW}]}),
    Case("start_trial", {"input_path": "{sources}", "sample": 0, "columns": [{"name": "a"}]}, Code.FIELD_RANGE),
    Case("list_trials"),
    Case("get_trial", {"id": "{trial}"}),
    Case("get_trial", {"id": "nobody-s"}, Code.TRIAL_UNKNOWN),
    Case("measure_row", {"id": "{trial}", "row": 0}),
    Case("measure_row", {"id": "{trial}", "row": 9}, Code.FIELD_RANGE),
    Case("vote_trial", {"id": "{trial}", "row": 0, "column": "plain"}),
    Case("vote_trial", {"id": "{trial}", "row": 9, "column": None}, Code.FIELD_RANGE),
    Case("choose_column", {"id": "{trial}", "column": 0}),
    Case("choose_column", {"id": "{trial}", "column": 7}, Code.FIELD_CHOICE),
    Case("delete_trial", {"id": "{trial}"}),
    Case("delete_trial", {"id": "nobody-s"}, Code.TRIAL_UNKNOWN),
    Case("list_templates"),
    Case("get_ui"),
    Case("save_ui", {"settings": {"theme": "dark", "nothing": None}}),
    Case("save_ui", {"settings": {"much": "x" * 300_000}}, Code.FIELD_RANGE),
    Case("get_messages", {"language": "en"}),
    Case("get_messages", {"language": "tlh"}, Code.OPERATION_UNKNOWN),
    Case("list_projects"),
    Case("create_project", {"name": "night", "input_path": "{sources}"}),
    Case("create_project", {"name": " "}, Code.FIELD_REQUIRED),
    Case("open_project", {"id": "{other}"}),
    Case("open_project", {"id": "none"}, Code.PROJECT_UNKNOWN),
    Case("open_project", {"id": "{other}"}, Code.PROJECT_BUSY, RUNNING),
    Case("rename_project", {"id": "default", "name": "夜景"}),
    Case("rename_project", {"id": "{other}", "name": "x" * 200}, Code.PROJECT_NAME),
    Case("archive_project", {"id": "{other}"}),
    Case("archive_project", {"id": "{other}", "archived": False}),
    Case("archive_project", {"id": "default"}, Code.PROJECT_FIRST),
    Case("delete_project", {"id": "{other}", "dry_run": True}),
    Case("delete_project", {"id": "{other}"}),
    Case("delete_project", {"id": "default"}, Code.PROJECT_FIRST),
    Case("relocate", {"input_path": "{sources}", "dry_run": True}),
    Case("relocate", {"input_path": "{sources}/nowhere"}, Code.PATH_NOT_FOUND),
    Case("export_project", {"path": "{out}/night", "sources": True}),
    Case("export_project", {"path": ""}, Code.FIELD_REQUIRED),
    Case("export_project", {"path": "{sources}"}, Code.EXPORT_INSIDE_SOURCE),
    Case("import_project", {"path": "{out}/night.ibcp"}, None, (("export_project", {"path": "{out}/night"}),)),
    Case("import_project", {"path": "{out}/nothing.ibcp"}, Code.PATH_NOT_FOUND),
    Case("drop_picture", {"drop": "0123-4567", "name": "../a/b.gif", "data": GIF}),
    Case("drop_picture", {"drop": "0123-4567", "name": "b.gif", "data": "AAAA"}, Code.PICTURE_NOT_IMAGE),
    Case("browse_folder", {"path": "{sources}"}),
    Case("browse_folder", {"path": "{sources}/nowhere"}, Code.PATH_NOT_FOUND),
)
CANNOT_FAIL = {
    *("get_costs", "get_prices"),
    "describe_config", "export_presets", "get_job", "get_judge", "get_ui", "judge_report", "list_facets",
    "list_projects", "list_remote", "list_rubrics", "list_save_rules", "list_suspects", "list_templates",
    "list_trainers", "list_trials", "retry_failed", "stop", "stop_job",
}  # fmt: skip
