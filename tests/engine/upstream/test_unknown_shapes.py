"""Pictures and words at places that no known shape names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.config import ApiMode
from engine.errors import Code
from engine.upstream.image_refs import find_candidates
from tests.fakes.answers import HOST, PNG, read, read_values, values

URL = f"{HOST}/one"
LINK = f"![a]({URL})"
MODES = [ApiMode.CHAT_COMPLETIONS, ApiMode.RESPONSES, ApiMode.IMAGES_EDITS]


def message(**fields: Any) -> dict[str, Any]:
    """A chat completion whose message has these fields."""
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": "", **fields}}]}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (message(image=PNG), PNG),
        (message(image={"url": URL}), URL),
        (message(content="done", image_url={"url": URL}), URL),
        (message(attachments=[{"type": "image", "url": URL}]), URL),
        (message(files=[{"type": "image", "base64": PNG}]), PNG),
        (message(content=[{"type": "image", "data": PNG, "mimeType": "image/png"}]), PNG),
        (message(content=[{"type": "file", "file": {"file_data": f"data:image/png;base64,{PNG}"}}]), PNG),
        (message(content=[{"fileData": {"mimeType": "image/png", "fileUri": URL}}]), URL),
        (message(multi_mod_content=[{"inline_data": {"data": PNG, "mime_type": "image/png"}}]), PNG),
        (message(content={"parts": [{"inlineData": {"data": PNG, "mimeType": "image/png"}}]}), PNG),
        ({"choices": [{"message": {"content": "done"}}], "images": [{"url": URL}]}, URL),
        ({"choices": [{"message": {"content": "done"}}], "data": [{"b64_json": PNG}]}, PNG),
        ({"choices": [{"message": {"content": "done"}, "images": [URL]}]}, URL),
        ({"choices": [{"index": 0, "text": LINK}]}, URL),
        ({"choices": [{"index": 0, "message": LINK}]}, URL),
        ({"artifacts": [{"base64": PNG, "finishReason": "SUCCESS"}]}, PNG),
        ({"predictions": [{"bytesBase64Encoded": PNG, "mimeType": "image/png"}]}, PNG),
        ({"result": {"images": [{"url": URL}]}}, URL),
        ({"result": {"data": [{"url": URL}]}}, URL),
        ({"output": {"results": [{"url": URL}]}}, URL),
        ({"output": {"choices": [{"message": {"content": [{"image": URL}]}}]}}, URL),
        ({"code": 0, "data": {"choices": [{"message": {"content": LINK}}]}}, URL),
        ({"response": {"output": [{"type": "image_generation_call", "result": PNG}]}}, PNG),
        ({"image_url": URL}, URL),
        ({"url": URL}, URL),
        ({"response": LINK}, URL),
        ({"role": "assistant", "content": [{"type": "text", "text": LINK}]}, URL),
        # the answers of services that are asked by recipes
        ({"images": [{"url": URL}], "timings": {"inference": 1.2}, "seed": 5}, URL),
        ({"code": 200, "message": "success", "data": {"outputs": [URL], "status": "completed"}}, URL),
        ({"data": {"image_base64": [PNG]}, "base_resp": {"status_code": 0}}, PNG),
        ({"status": "succeeded", "output": URL, "urls": {"get": f"{HOST}/p"}}, URL),
        ({"status": "succeeded", "output": [URL]}, URL),
        ({"id": "b", "status": "Ready", "result": {"sample": URL, "prompt": "p", "seed": 1}}, URL),
        ({"id": "e", "status": "completed", "progress": 100, "results": [URL]}, URL),
        (
            {
                "code": 200,
                "msg": "success",
                "data": {"state": "success", "resultJson": json.dumps({"resultUrls": [URL]}), "taskId": "k"},
            },
            URL,
        ),
        ({"resultUrls": [URL]}, URL),
        ({"task_status": "SUCCEED", "output_images": [URL]}, URL),
        ({"task_id": "s", "status": "completed", "result": {"created": 1, "data": [{"url": URL}]}}, URL),
        ({"code": 200, "data": {"status": "completed", "result": {"images": [{"url": [URL]}]}}}, URL),
        ({"output": {"task_status": "SUCCEEDED", "results": [{"url": URL}]}, "request_id": "d"}, URL),
    ],
)
def test_pictures_at_odd_places(value: object, expected: str, mode: ApiMode) -> None:
    """What is paid for is found under whatever key it stands, streamed or not."""
    assert values(read_values(value, mode=mode)) == [expected]
    assert values(read(json.dumps(value, indent=1).encode(), mode)[0]) == [expected]


@pytest.mark.parametrize(
    "value",
    [
        message(citations=[{"url": f"{URL}.png"}], annotations=[{"url_citation": {"url": f"{URL}.png"}}]),
        message(reasoning=LINK, reasoning_details=[{"type": "reasoning.text", "text": LINK}]),
        message(content=[{"type": "thinking", "thinking": [{"type": "text", "text": LINK}]}]),
        message(tool_calls=[{"function": {"arguments": json.dumps({"url": f"{URL}.png"})}}]),
        message(attachments=[{"type": "input_image", "url": URL}], files=[{"type": "video", "url": f"{URL}.png"}]),
        {"choices": [{"message": {"content": "done"}}], "search_results": [{"url": f"{URL}.png"}]},
        {"request": {"image": {"url": URL}}, "input": [{"image_url": URL}], "prompt": LINK},
        {"code": 0, "message": "see", "url": f"{HOST}/docs"},
    ],
)
def test_what_is_no_result(value: object) -> None:
    """Citations, thinking, calls of tools, other media, the request sent back, the address of a manual."""
    answer = read_values(value)
    assert values(answer) == []
    assert answer.error is not None


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": {"b": [{"c": f"{URL}.png"}]}}, f"{URL}.png"),
        ({"a": f"data:image/png;base64,{PNG}", "input": f"data:image/png;base64,{PNG}AA"}, PNG),
        ({"code": 0, "message": "ok", "result": {"picture": URL}}, URL),
        ({"answer_id": 5, "rendering": {"x": PNG}}, PNG),
    ],
)
def test_the_only_picture_is_found_anywhere(value: object, expected: str, mode: ApiMode) -> None:
    """In one document that says nothing else, under any key: what is a picture by itself, or is called one."""
    assert values(read(json.dumps(value).encode(), mode)[0]) == [expected]


@pytest.mark.parametrize(
    "value",
    [
        {"a": {"b": "https://x.invalid/manual"}},
        {"a": PNG, "error": {"message": "blocked"}},
        {"a": {"input_image": PNG, "preview": f"{URL}.png", "thumbnails": [f"{URL}.png"]}},
        {"type": "image_edit.partial_image", "x": PNG},
        {"code": 500, "message": "broken", "x": f"{URL}.png"},
    ],
)
def test_what_stands_anywhere_may_be_no_result(value: object) -> None:
    """A preview, what was sent, what stands beside a reason, and addresses of something else."""
    assert values(read(json.dumps(value).encode(), ApiMode.CHAT_COMPLETIONS)[0]) == []


def test_known_places_go_before_others() -> None:
    """What stands at odd places is no second result beside those where they belong."""
    answer = read_values({**message(content=LINK), "images": [{"url": f"{URL}/small"}]})
    assert values(answer) == [URL]


def test_words_at_odd_places_are_told() -> None:
    """A gateway's own shape that holds words only says them, piece by piece."""
    answer = read_values({"response": "I can"}, {"response": "not."}, done=False)
    assert answer.text == "I cannot."
    assert answer.error is not None
    assert answer.error.code is Code.ANSWER_NO_PICTURE


def test_the_look_is_bounded() -> None:
    """Neither depth nor number of what is taken grows with the answer."""
    deep: Any = URL
    for _ in range(50):
        deep = {"data": deep}
    assert find_candidates(deep, pictorial=True) == []
    assert len(find_candidates({"images": [{"data": [URL] * 100}] * 100}, pictorial=True)) == 64
