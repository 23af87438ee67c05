"""The fields of the contract's answers with their types, and a comparison that names what differs."""

from __future__ import annotations

from types import NoneType
from typing import Any

Kinds = tuple[type, ...]
Shape = dict[str, Kinds]

TEXT: Kinds = (str,)
WHOLE: Kinds = (int,)
NUMBER: Kinds = (int, float)
SWITCH: Kinds = (bool,)
LIST: Kinds = (list,)
OBJECT: Kinds = (dict,)

PROGRESS: Shape = {
    **dict.fromkeys(
        ("total", "pending", "processing", "done", "partial_success", "failed", "stopped", "finished", "at_provider"),
        WHOLE,
    ),
    "percent": NUMBER,
}
TASK: Shape = {
    "id": TEXT, "source_path": TEXT, "source_name": TEXT, "status": TEXT, "attempts": WHOLE,
    "http_status": (int, NoneType), "last_error": TEXT, "last_warning": TEXT, "has_debug_log": SWITCH,
    "updated_at": WHOLE, "source_image_url": TEXT, "result_count": WHOLE, "selected_count": WHOLE, "results": LIST,
}  # fmt: skip
RESULT: Shape = {
    "id": TEXT, "selected": SWITCH, "deleted": SWITCH, "width": WHOLE, "height": WHOLE, "source_type": TEXT,
    "hash": TEXT, "image_url": TEXT,
}  # fmt: skip
OLD_CONFIG: Shape = {
    "system_prompt": TEXT, "user_prompt": TEXT, "api_key": TEXT, "api_url": TEXT, "model_name": TEXT,
    "max_tokens": WHOLE, "temperature": NUMBER, "concurrency_limit": WHOLE, "max_retries": WHOLE,
    "retry_interval": NUMBER, "timeout_seconds": NUMBER, "api_mode": TEXT, "token_field": TEXT,
    "unlock_local_api_url": SWITCH, "unlock_local_download_url": SWITCH,
}  # fmt: skip
CONFIG: Shape = {
    **OLD_CONFIG, "result_count": WHOLE, "response_format": TEXT, "stream": TEXT, "extra_body": OBJECT,
    "extra_headers": OBJECT, "proxy": TEXT, "price_per_call": NUMBER, "recipe": OBJECT, "request_form": TEXT,
    "job_timeout_seconds": NUMBER, "seed": (int, NoneType),
    "source_format": TEXT, "source_max_edge": WHOLE, "alarm_limit": WHOLE, "delivery": TEXT, "batch_provider": TEXT,
    "budget": NUMBER, "budget_day": NUMBER, "endpoints": LIST,
}  # fmt: skip
STATE: Shape = {
    "running": SWITCH, "stop_requested": SWITCH, "single_retry_running": WHOLE, "task_count": WHOLE,
    "progress": OBJECT, "tasks": LIST, "current_config": OBJECT, "presets": OBJECT,
}  # fmt: skip
STATES = frozenset({"pending", "processing", "done", "partial_success", "failed", "stopped"})


def fits(answer: Any, shape: Shape) -> None:
    """Every field of the contract is there and of its type; more fields are allowed."""
    assert isinstance(answer, dict)
    missing = shape.keys() - answer.keys()
    assert not missing, f"without {sorted(missing)}: {answer}"
    for name, kinds in shape.items():
        assert type(answer[name]) in kinds, f"{name} is {answer[name]!r}"


def fits_task(task: Any) -> None:
    """A task with its results."""
    fits(task, TASK)
    assert task["status"] in STATES
    assert task["source_image_url"] == f"/api/tasks/{task['id']}/source"
    for result in task["results"]:
        fits(result, RESULT)
        assert result["source_type"] in {"url", "data_url", "base64"}
        assert result["image_url"] == f"/api/tasks/{task['id']}/results/{result['id']}/image"
        assert len(result["hash"]) == 64


def fits_state(state: Any) -> None:
    """The answer of get_state."""
    fits(state, STATE)
    fits(state["progress"], PROGRESS)
    fits(state["current_config"], CONFIG)
    for config in state["presets"].values():
        fits(config, CONFIG)
    for task in state["tasks"]:
        fits_task(task)
