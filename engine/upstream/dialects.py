"""Owns the shapes of answers: each reader takes what it knows out of one JSON object."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import msgspec

from engine.config import ApiMode
from engine.models import ImageRef, SourceType
from engine.upstream.answer_state import AnswerState, JobRef
from engine.upstream.image_refs import HIDDEN_PARTS, THINKING_PARTS, clean_base64, find_candidates, make_ref

_INLINE_KEYS = ("b64_json", "base64", "b64", "image_base64", "inlineData", "inline_data", "result")
_IMAGE_KEYS = (*_INLINE_KEYS, "url", "image_url", "image", "source")
_LIST_KEYS = ("images", "image_urls", "image_base64", "data")
_STATUS_KEYS = ("status", "task_status", "state")
_JOB_KEYS = ("task_id", "taskId", "job_id", "jobId", "request_id", "prediction_id", "id")
_POLL_KEYS = ("poll_url", "polling_url", "pollUrl", "status_url", "statusUrl")
_PENDING = frozenset(
    {
        *("", "accepted", "created", "pending", "queued", "queuing", "in_queue", "submitted", "waiting"),
        *("starting", "running", "processing", "in_progress", "generating"),
    }
)
_FAILED = frozenset({"canceled", "cancelled", "error", "fail", "failed", "failure"})
_OVER = _FAILED | {
    "complete",
    "completed",
    "done",
    "expired",
    "finished",
    "ready",
    "rejected",
    "succeed",
    "succeeded",
    "success",
}
_JOB_NESTS = ("data", "output", "result", "task", "job")
_COMPLAINT_KEYS = ("message", "msg", "detail")


class Progress(msgspec.Struct, frozen=True):
    """How far the picture is: percent 0..100, or base64 text of a preview, or both."""

    percent: int | None = None
    preview: str | None = None


Json = dict[str, Any]


def read_object(into: AnswerState, value: Json, name: str, mode: ApiMode) -> Progress | None:
    """Take one JSON object of an answer; ``name`` is that of its event. Gives what it says of progress."""
    kind = _string(value.get("type")) or name
    if _is_only_error(into, value, kind):
        return None
    if (kind or _string(value.get("object"))).endswith("partial_image") or "partial_image_b64" in value:
        return _preview(value)
    percent = _percent(value)
    before = into.count
    chat, gemini = _read_choices(into, value), _read_candidates(into, value)
    if kind.startswith("response."):
        _read_response_event(into, value, kind)
    elif not chat and not gemini:
        if not _read_output(into, value) and not _read_data(into, value):
            _read_rest(into, value, kind, mode)
        if not kind and percent is None:
            into.end_unless_open()  # a document: what it does not hold, no more of it would bring
        _read_status(into, value)
        into.job = read_job(value, into.base_url) or into.job
    nothing = into.count == before
    if not kind.startswith("response.") and (nothing or (into.count[0] == before[0] and not _is_piece(value))):
        pictorial = mode is ApiMode.IMAGES_EDITS or (nothing and not (chat or gemini or into.complaint))
        _read_elsewhere(into, value, words=nothing, pictorial=pictorial)
    return None if percent is None else Progress(percent)


def _is_piece(value: Json) -> bool:
    """Whether a chat completion comes in pieces: a token is looked at quickly."""
    choices = value.get("choices")
    return isinstance(choices, list) and bool(choices) and isinstance(choices[0], dict) and "delta" in choices[0]


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def _preview(value: Json) -> Progress:
    texts = (value.get(key) for key in ("partial_image_b64", "b64_json", "base64"))
    text = next((text for text in texts if isinstance(text, str) and text), "")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    return Progress(_percent(value), clean_base64(text))


def _percent(value: Json) -> int | None:
    progress = value.get("progress")
    if isinstance(progress, bool) or not isinstance(progress, int | float) or not 0 <= progress <= 100:
        return None
    return int(progress * 100) if isinstance(progress, float) and progress <= 1 else int(progress)


def _is_only_error(into: AnswerState, value: Json, kind: str) -> bool:
    """Note an error in the object; True if there is nothing else in it."""
    error = value.get("error") or value.get("errors")
    base = value.get("base_resp")  # MiniMax
    if error:
        into.fail(error if isinstance(error, dict) else value)
    elif kind == "error" or kind.endswith(("partial_failed", ".failed")):
        response = value.get("response")
        into.fail((response.get("error") if isinstance(response, dict) else None) or value)
    elif isinstance(base, dict) and base.get("status_code") not in (0, None):
        into.fail(base)
    else:
        return False
    return not any(value.get(key) for key in ("choices", "data", "output", "candidates"))


def _read_status(into: AnswerState, value: Json) -> None:
    """A job that came to nothing says so by its status."""
    status = _status(value).lower().replace(" ", "_")
    if status.endswith("moderated"):  # bfl
        into.note_reason(_status(value))
    elif status in _FAILED:
        into.fail(value)


# --- chat_completions, Gemini -----------------------------------------------------------------------------------------


def _read_choices(into: AnswerState, value: Json) -> bool:
    choices = value.get("choices")
    if not isinstance(choices, list):
        return False
    for position, choice in enumerate(choices):
        if not isinstance(choice, dict):
            continue
        index = choice.get("index")
        index = index if type(index) is int else position
        for part in ("delta", "message"):
            if isinstance(choice.get(part), dict):
                _read_message(into, choice[part], index, part)
        if choice.get("error"):  # OpenRouter
            into.fail(choice["error"])
        into.note_choice(index, choice.get("finish_reason"), whole=choice.get("message") is not None)
        into.note_reason(choice.get("native_finish_reason"))
    return True


def _read_message(into: AnswerState, message: Json, index: int, part: str) -> None:
    where = f"choices[{index}].{part}"
    _read_content(into, message.get("content"), f"{where}.content", ("choice", index), piece=part == "delta")
    if message.get("images"):
        into.images(message["images"], f"{where}.images")
    for thinking in ("reasoning_content", "reasoning", "reasoning_details"):
        if message.get(thinking):
            into.think((thinking, index), f"{where}.{thinking}", message[thinking])
    into.refuse(message.get("refusal"))


def _read_content(into: AnswerState, content: Any, where: str, key: Hashable, *, piece: bool) -> None:
    """Words, or a list of parts: words and pictures."""
    texts: list[str] = []
    for number, part in enumerate(content if isinstance(content, list) else [content]):
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            _read_part(into, part, f"{where}[{number}]", texts)
    into.say(key, where, "".join(texts), piece=piece)


def _read_part(into: AnswerState, part: Json, where: str, texts: list[str]) -> None:
    kind = _string(part.get("type"))
    if part.get("thought") or kind.startswith(HIDDEN_PARTS):  # or our own picture sent back, or what is no picture
        if part.get("thought") or kind.startswith(THINKING_PARTS):
            into.think(where, where, part)
        return
    into.refuse(part.get("refusal"))
    if isinstance(part.get("text"), str):
        texts.append(part["text"])
    if any(key in part for key in _IMAGE_KEYS):
        into.image(part, where)


def _read_candidates(into: AnswerState, value: Json) -> bool:
    """Gemini's own shape."""
    feedback = value.get("promptFeedback")
    if isinstance(feedback, dict) and _string(feedback.get("blockReason")):
        into.filtered = into.filtered or feedback["blockReason"]
        into.note_reason(feedback["blockReason"])
        into.note_reason(feedback.get("blockReasonMessage"))
        into.end()
    candidates = value.get("candidates")
    if not isinstance(candidates, list):
        return False
    for position, candidate in enumerate(candidates):
        if not isinstance(candidate, dict):
            continue
        content = candidate.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        _read_content(into, parts, f"candidates[{position}].content.parts", ("candidate", position), piece=True)
        into.note_choice(("candidate", position), candidate.get("finishReason"))
        into.note_reason(candidate.get("finishMessage"))
    return True


# --- responses --------------------------------------------------------------------------------------------------------


def _read_response_event(into: AnswerState, value: Json, kind: str) -> None:
    number = value.get("output_index")
    number = number if type(number) is int else 0
    where = f"output[{number}]"
    key = ("item", _string(value.get("item_id")) or number)
    match kind.removeprefix("response."):
        case "output_text.delta":
            into.say(key, f"{where}.content", value.get("delta"), piece=True)
        case "output_text.done":
            into.say(key, f"{where}.content", value.get("text"), piece=False)
        case "refusal.done":
            into.refuse(value.get("refusal"))
        case "content_part.done":
            _read_content(into, value.get("part"), f"{where}.content", key, piece=False)
        case "output_item.done":
            _read_item(into, value.get("item"), number)
        case "image_generation_call.completed":
            into.image({"result": value.get("result")}, where)
        case "completed" | "incomplete" | "done":
            response = value.get("response")
            _read_output(into, response if isinstance(response, dict) else value)
            into.end()


def _read_output(into: AnswerState, value: Json) -> bool:
    """A whole response: ``output`` is a list of items."""
    if value.get("error"):
        into.fail(value["error"])
    details = value.get("incomplete_details")
    if isinstance(details, dict):
        into.note_reason(details.get("reason"))
    output = value.get("output")
    for number, item in enumerate(output if isinstance(output, list) else [output]):
        _read_item(into, item, number)
    into.say(("item", "output_text"), "output_text", value.get("output_text"), piece=False)
    if output is None and "output_text" not in value:
        return False
    into.end()
    return True


def _read_item(into: AnswerState, item: Any, number: int) -> None:
    where = f"output[{number}]"
    if isinstance(item, str):
        into.image(item, where)
    if not isinstance(item, dict):
        return
    kind = _string(item.get("type"))
    if kind.startswith(THINKING_PARTS):
        into.think(where, where, item)
    if kind.startswith(HIDDEN_PARTS) or (kind.endswith("_call") and "image" not in kind):
        return
    if "content" in item:
        key = ("item", _string(item.get("id")) or number)
        _read_content(into, item["content"], f"{where}.content", key, piece=False)
    elif kind in ("text", "output_text"):
        _read_content(into, item, where, ("item", number), piece=False)
    elif isinstance(item.get("result"), list):
        into.images(item["result"], f"{where}.result")
    else:
        into.image(item, where)


# --- images_edits -----------------------------------------------------------------------------------------------------


def _read_data(into: AnswerState, value: Json, *, inner: bool = False) -> bool:
    """Lists of pictures: ``data`` and its like."""
    found = False
    for key in _LIST_KEYS:
        items = value.get(key)
        if not items:
            continue
        if key == "data" and isinstance(items, dict) and not inner:
            if not _read_data(into, items, inner=True):
                into.image(items, key)
        else:
            into.images(items, key)
        found = True
    if found:
        into.end()
    return found


def _read_rest(into: AnswerState, value: Json, kind: str, mode: ApiMode) -> None:
    """An object that is itself the picture (E2 to E4), the end of a stream, or a complaint."""
    inline = any(value.get(key) for key in _INLINE_KEYS)
    linked = any(value.get(key) for key in _IMAGE_KEYS) and (mode is ApiMode.IMAGES_EDITS or "image" in kind)
    if inline or linked:
        into.image(value, kind or "document")
    if kind.endswith((".completed", ".done")) or ((inline or linked) and not kind):
        into.end()
    elif not kind and any(isinstance(value.get(key), str | list) for key in _COMPLAINT_KEYS):
        into.complaint = into.complaint or value


# --- anything else ----------------------------------------------------------------------------------------------------


def _read_elsewhere(into: AnswerState, value: Json, *, words: bool, pictorial: bool) -> None:
    """What stands where no known shape has it."""
    for candidate in find_candidates(value, pictorial=pictorial):
        if not candidate.words:
            into.spare_image(candidate.text, candidate.where)
        elif words:
            into.say(("elsewhere", candidate.where), candidate.where, candidate.text, piece=True)


# --- jobs -------------------------------------------------------------------------------------------------------------


def read_job(value: Json, base_url: str, *, accepted: bool = False) -> JobRef | None:
    """The job that a document plainly is: it has an id, is not over, and says where to ask for it. ``accepted``: the
    server said so by its status (202), whatever it calls the state."""
    inner = [part[0] if isinstance(part, list) and part else part for part in map(value.get, _JOB_NESTS)]
    for holder in (value, *inner):
        if not isinstance(holder, dict):
            continue
        state = _status(holder).lower()
        if state not in _PENDING and (not accepted or state in _OVER):
            continue
        urls = holder["urls"] if isinstance(holder.get("urls"), dict) else {}
        asked = next((holder[key] for key in _POLL_KEYS if _string(holder.get(key))), urls.get("get"))
        url = _address(asked, base_url)
        if not url:
            continue
        number = next((holder[key] for key in _JOB_KEYS if isinstance(holder.get(key), str | int)), "")
        if number != "":
            return JobRef(
                id=str(number),
                url=url,
                status=_status(holder),
                progress=_percent(holder),
                result_url=_address(holder.get("response_url") or holder.get("result_url"), base_url),
                cancel_url=_address(holder.get("cancel_url") or urls.get("cancel"), base_url),
            )
    return None


def _status(value: Json) -> str:
    return next((value[key] for key in _STATUS_KEYS if _string(value.get(key))), "")


def _address(value: Any, base_url: str) -> str:
    ref = make_ref(value, "job", base_url) if isinstance(value, str) else None
    return ref.value if isinstance(ref, ImageRef) and ref.source_type is SourceType.URL else ""
