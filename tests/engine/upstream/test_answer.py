"""The meaning of answers: every recorded shape, the rules of previews, thinking and ends."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from engine.config import ApiMode
from engine.errors import AnswerUnusable, Code, EditFailed, UpstreamRefused
from engine.models import SourceType
from engine.upstream.answer import AnswerReader, Progress
from engine.upstream.sse import ServerEvent
from tests.fakes.answers import BASE, HOST, JPEG, MODES, PNG, SAMPLES, WEBP, read, read_values, say, values

# Sample: references in order, and the code of the error.
EXPECTED: dict[str, tuple[list[str], Code | None]] = {
    "c1_grok2api_base64.sse": ([PNG], None),
    "c1_two_pictures_crlf.sse": ([PNG, JPEG], None),
    "c2_grok2api_url.sse": ([f"{HOST}/v1/files/image/users-1-generated-2-image.jpg?sig=a%2Bb&exp=1"], None),
    "c2_relative_url.sse": (["https://api.invalid/v1/files/image/7.png"], None),
    "c3_thinking.sse": ([JPEG], None),
    "c3_reasoning_content.sse": ([WEBP], None),
    "c4_split_base64.sse": ([PNG], None),
    "c4_split_url.sse": ([f"{HOST}/two.png"], None),
    "c5_two_choices.sse": ([PNG, JPEG], None),
    "c5_interleaved.sse": ([f"{HOST}/first.png", f"{HOST}/second.png"], None),
    "c6_delta_images.sse": ([PNG], None),
    "c6_message_images.json": ([PNG], None),
    "c7_plain_json.json": ([JPEG], None),
    "c8_json_lines.txt": ([PNG, f"{HOST}/b.webp"], None),
    "c8_back_to_back.txt": ([PNG, f"{HOST}/b.webp"], None),
    "c8_pretty.txt": ([PNG, f"{HOST}/b.webp"], None),
    "c8_two_documents.txt": ([PNG, JPEG], None),
    "c9_parts.json": ([PNG], None),
    "c9_output_image.json": ([JPEG], None),
    "c9_gemini_inline.sse": ([PNG, WEBP], None),
    "c9_gemini_native.json": ([PNG], None),
    "c10_error_event.sse": ([], Code.UPSTREAM_ERROR),
    "c10_error_string.sse": ([], Code.RATE_LIMITED),
    "c10_error_after_picture.sse": ([PNG], Code.UPSTREAM_ERROR),
    "r1_response.json": ([PNG, JPEG], None),
    "r1_result_list.json": ([PNG], None),
    "r2_repeated_text.sse": ([PNG], None),
    "r2_two_items.sse": ([f"{HOST}/one.png", f"{HOST}/two.png"], None),
    "r3_partial_images.sse": ([JPEG], None),
    "r3_cut_after_previews.sse": ([], Code.STREAM_CUT),
    "r4_failed.sse": ([], Code.UPSTREAM_ERROR),
    "r4_error_event.sse": ([], Code.RATE_LIMITED),
    "e1_b64.json": ([PNG], None),
    "e1_variants.json": ([JPEG, WEBP, PNG], None),
    "e1_url.json": ([f"{HOST}/a?sig=1&x=2", "https://api.invalid/v1/files/b"], None),
    "e2_completed.sse": ([PNG], None),
    "e2_completed_done.sse": ([PNG], None),
    "e3_progress.sse": ([JPEG, WEBP, f"{HOST}/third"], None),
    "e4_minimax.sse": ([f"{HOST}/0?e=1", f"{HOST}/1?e=1"], None),
    "e4_one_failed.sse": ([f"{HOST}/0?e=1"], Code.UPSTREAM_ERROR),
    "e5_error_string.json": ([], Code.UPSTREAM_ERROR),
    "e5_one_of_two.json": ([PNG], None),
    "no_done_finished.sse": ([PNG], None),
    "no_done_cut.sse": ([], Code.STREAM_CUT),
    "words_only.sse": ([], Code.ANSWER_NO_PICTURE),
    "prose_urls.sse": ([f"{HOST}/tag"], None),
    "c11_embedded_and_links.json": ([f"{HOST}/full"], None),
    "c11_links_only.json": ([f"{HOST}/d.png"], None),
    "c12_linked_markdown.json": ([f"{HOST}/full"], None),
    "c12_linked_tag.json": ([f"{HOST}/full"], None),
    "c13_list_escaped.json": ([f"{HOST}/one", f"{HOST}/two"], None),
    "c13_fence.json": ([f"{HOST}/full"], None),
    "c14_only_thought.json": ([PNG], None),
    "c14_thought_and_picture.json": ([JPEG], None),
    "c15_web_page.html": ([], Code.ANSWER_WEB_PAGE),
    "c16_native.json": ([], Code.CONTENT_REFUSED),
    "c16_length.json": ([], Code.ANSWER_ENDED),
    "c16_finish_message.json": ([], Code.ANSWER_ENDED),
    "c16_incomplete.json": ([], Code.ANSWER_ENDED),
    "c16_prompt_feedback.json": ([], Code.CONTENT_REFUSED),
}


def test_every_sample_has_its_expectation() -> None:
    """No recorded answer lies unused, and each row of the table of shapes has one."""
    samples = {path.name for path in SAMPLES.iterdir() if path.suffix in (".sse", ".json", ".txt", ".html")}
    assert {name for name in samples if not name.startswith("error_")} == set(EXPECTED)
    rows = {name.partition("_")[0] for name in EXPECTED}
    assert rows >= {*(f"c{n}" for n in range(1, 17)), *(f"r{n}" for n in range(1, 5)), *(f"e{n}" for n in range(1, 6))}


@pytest.mark.parametrize("size", [1, 7, 1 << 30])
@pytest.mark.parametrize("name", EXPECTED)
def test_samples(name: str, size: int) -> None:
    """Each recorded answer names its pictures in order, whole or cut into pieces."""
    expected, code = EXPECTED[name]
    answer, _ = read((SAMPLES / name).read_bytes(), MODES.get(name[0], ApiMode.CHAT_COMPLETIONS), size)
    assert values(answer) == expected
    assert (answer.error.code if answer.error else None) == code


@pytest.mark.parametrize("mode", [ApiMode.CHAT_COMPLETIONS, ApiMode.RESPONSES, ApiMode.IMAGES_EDITS])
@pytest.mark.parametrize("name", [name for name, (refs, _) in EXPECTED.items() if refs])
def test_pictures_are_found_whatever_the_mode(name: str, mode: ApiMode) -> None:
    """A gateway may answer in another mode's shape."""
    assert values(read((SAMPLES / name).read_bytes(), mode)[0]) == EXPECTED[name][0]


@pytest.mark.parametrize("name", EXPECTED)
def test_document_understands_the_same(name: str) -> None:
    """A body taken as a whole gives what the stream gives."""
    body = (SAMPLES / name).read_bytes()
    reader = AnswerReader(ApiMode.IMAGES_EDITS, BASE)
    reader.document(body)
    answer = reader.finish()
    assert values(answer) == EXPECTED[name][0]
    assert (answer.error.code if answer.error else None) == EXPECTED[name][1]


def test_previews_are_progress() -> None:
    """Partial images come as progress with their picture or percentage, and never as results."""
    preview = b64encode((SAMPLES / "preview.png").read_bytes()).decode()
    for name, steps in {
        "r3_partial_images.sse": [Progress(None, preview)] * 2,
        "e2_completed.sse": [Progress(None, preview)] * 2,
        "e3_progress.sse": [Progress(0), Progress(50), Progress(50)],
    }.items():
        answer, progress = read((SAMPLES / name).read_bytes())
        assert progress == steps
        assert preview not in values(answer)


@pytest.mark.parametrize(("progress", "percent"), [(37, 37), (0.5, 50), (99.9, 99), (100, 100), (1.0, 100)])
def test_percentages(progress: float, percent: int) -> None:
    """Percent, or a share of one."""
    event = ServerEvent("image_generation.partial_image", json.dumps({"progress": progress, "b64_json": ""}))
    assert AnswerReader(ApiMode.IMAGES_EDITS, BASE).feed(event) == Progress(percent)


@pytest.mark.parametrize("progress", [True, "half", -1, 101, None, [], 1e400])
def test_nonsense_percentages(progress: object) -> None:
    """What is no percentage is no progress."""
    event = ServerEvent("", json.dumps({"type": "x", "progress": progress}))
    assert AnswerReader(ApiMode.IMAGES_EDITS, BASE).feed(event) is None


@pytest.mark.parametrize(
    "text",
    [
        "<think>![a](http://h.invalid/a.png)</think>![b](http://h.invalid/b.png)",
        "![a](http://h.invalid/a.png)</think>![b](http://h.invalid/b.png)",
        "<THINKING>http://h.invalid/a.png</Thinking>![b](http://h.invalid/b.png)",
        "![b](http://h.invalid/b.png)<think>and now http://h.invalid/a.png",
        "<think>1</think><think>![a](http://h.invalid/a.png)</think>![b](http://h.invalid/b.png)</think>",
        "<reasoning>http://h.invalid/a.png</reasoning>![b](http://h.invalid/b.png)",
        '<think time="3">http://h.invalid/a.png</think>![b](http://h.invalid/b.png)',
        "<seed:think>http://h.invalid/a.png</seed:think>![b](http://h.invalid/b.png)",
    ],
)
def test_thinking_is_cut_out(text: str) -> None:
    """Nothing inside the thinking is a result, closed or not."""
    answer = say(text)
    assert values(answer) == ["http://h.invalid/b.png"]
    assert answer.text == ""


def test_words_are_kept_without_pictures_and_thinking() -> None:
    """The text is what a person would read, at most 2000 characters of it."""
    answer = say(f"<think>hm</think>Here ![image](data:image/png;base64,{PNG}) you are" + "." * 5000)
    assert answer.text.startswith("Here  you are.")
    assert len(answer.text) == 2000


def test_one_picture_told_in_many_ways_is_one() -> None:
    """Base64 with and without padding, prefix, line breaks or the other alphabet is the same reference."""
    safe = PNG.replace("+", "-").replace("/", "_").rstrip("=")
    wrapped = "\r\n".join(PNG[start : start + 76] for start in range(0, len(PNG), 76))
    answer = read_values(
        {"choices": [{"delta": {"content": f"![a](data:image/png;base64,{PNG}) ![b](data:image/jpeg;base64,{safe})"}}]},
        {"choices": [{"delta": {"images": [{"image_url": {"url": f"data:image/png;base64,{wrapped}"}}]}}]},
        {"data": [{"b64_json": safe}]},
    )
    assert values(answer) == [PNG]
    assert answer.refused == []


def test_inline_picture_is_preferred_to_its_link() -> None:
    """An item with both is one picture: the one that cannot expire; a broken inline one falls back to the link."""
    both = {"url": "http://h.invalid/x", "b64_json": PNG}
    broken = {"url": "http://h.invalid/y", "b64_json": "not base64!"}
    answer = read_values({"data": [both, broken]})
    assert [(ref.source_type, ref.value) for ref in answer.refs] == [
        (SourceType.BASE64, PNG),
        (SourceType.URL, "http://h.invalid/y"),
    ]


def test_order_of_first_appearance_across_kinds() -> None:
    """Pictures beside the words and pictures in the words keep the order in which they came."""
    answer = read_values(
        {"choices": [{"delta": {"content": "![1](http://h.invalid/1) "}}]},
        {"choices": [{"delta": {"images": [{"url": "http://h.invalid/2"}]}}]},
        {"choices": [{"delta": {"content": "![3](http://h.invalid/3) ![1](http://h.invalid/1)"}}]},
        {"choices": [{"message": {"content": "![4](http://h.invalid/4) ![3](http://h.invalid/3)"}}]},
    )
    assert [value[-1] for value in values(answer)] == ["1", "2", "3", "4"]


def test_citations_and_own_pictures_are_no_results() -> None:
    """URLs in annotations, in tool calls and in the request that is sent back are not ours to take."""
    answer = read_values(
        {
            "output": [
                {"type": "web_search_call", "url": "http://h.invalid/s.png", "result": "http://h.invalid/t.png"},
                {
                    "type": "message",
                    "content": [
                        {"type": "input_image", "image_url": "http://h.invalid/own.png"},
                        {"type": "output_text", "text": "no", "annotations": [{"url": "http://h.invalid/c.png"}]},
                    ],
                },
            ]
        }
    )
    assert values(answer) == []
    assert answer.text == "no"


def test_stream_without_end_mark() -> None:
    """Complete if it holds a finished picture; else an error that says how far it came, and that may be retried."""
    assert say(f"data:image/png;base64,{PNG}", done=False).complete
    cut = say(f"data:image/png;base64,{PNG[:-20]}", done=False)
    assert cut.refs == []
    assert not cut.complete
    assert isinstance(cut.error, AnswerUnusable)
    assert (cut.error.code, cut.error.retryable, cut.error.params) == (Code.STREAM_CUT, True, {"events": 1})


@pytest.mark.parametrize("value", [{"task_id": "a1", "status": "queued"}, {"data": []}, {"created": 1, "data": [None]}])
def test_document_without_picture(value: object) -> None:
    """A whole document was not cut: asking again would be paid again. It is told as it is."""
    reader = AnswerReader(ApiMode.IMAGES_EDITS, BASE)
    reader.document(json.dumps(value).encode())
    error = reader.finish().error
    assert error is not None
    assert (error.code, error.retryable) == (Code.ANSWER_NO_PICTURE, False)
    assert error.params["text"] == json.dumps(value)


@pytest.mark.parametrize("text", ["http://h.invalid/a.png", "![a](http://h.invalid/a", "<img src='http://h.invalid/a"])
def test_url_at_the_cut_is_not_trusted(text: str) -> None:
    """A URL that reaches the end of a cut stream may lack its end; after the end mark it is whole."""
    assert say(text, done=False).refs == []
    assert len(say(text).refs) == 1


def test_finish_reason_is_an_end_too() -> None:
    """A model that finished with words only was not cut; with several choices each has to finish."""
    error = say("I cannot do that.", done=False, finish="stop").error
    assert error is not None
    assert (error.code, error.params["text"], error.retryable) == (Code.ANSWER_NO_PICTURE, "I cannot do that.", False)
    first = {"choices": [{"index": 0, "delta": {"content": "no"}, "finish_reason": "stop"}]}
    other = {"choices": [{"index": 1, "delta": {"content": "![a](http://h.invalid/a"}}]}
    unfinished = read_values(first, other, done=False).error
    assert unfinished is not None
    assert unfinished.code is Code.STREAM_CUT


@pytest.mark.parametrize("body", [b"", b"\n\n", b": keep-alive\n\n: keep-alive\n\n"])
def test_nothing_at_all(body: bytes) -> None:
    """An answer without any event is empty, and may be retried."""
    error = read(body)[0].error
    assert error is not None
    assert (error.code, error.retryable) == (Code.ANSWER_EMPTY, True)


@pytest.mark.parametrize(
    "page",
    [
        "<!DOCTYPE html><html><title>Log in</title><body><img src='/logo.png'>Portal</body></html>",
        '\ufeff\n<!-- built -->\n<HTML lang=en><head>\n<script>\n{"a": 1}\n</script><title>Log in</title>',
        '<?xml version="1.0"?>\n<!DOCTYPE html PUBLIC "x">\n<html><title>Log in</title></html>',
    ],
)
def test_page_instead_of_an_answer(page: str) -> None:
    """An HTML page with status 200 is named as one, with its address and title; its logo is no result."""
    reader = AnswerReader(ApiMode.CHAT_COMPLETIONS, "https://u:p@h.invalid/?key=sk-1")
    reader.document(page.encode())
    answer = reader.finish()
    assert answer.refs == []
    assert answer.error is not None
    assert (answer.error.code, answer.error.retryable) == (Code.ANSWER_WEB_PAGE, False)
    assert answer.error.params == {"address": "https://h.invalid/", "title": "Log in"}


def test_the_address_that_we_sent_is_no_result() -> None:
    """A source that the model shows again beside or in place of its picture."""
    reader = AnswerReader(ApiMode.CHAT_COMPLETIONS, BASE, sent={f"{HOST}/source.png"})
    text = f"From ![source]({HOST}/source.png): {HOST}/new.png [![x]({HOST}/t.png)]({HOST}/source.png)"
    reader.document(json.dumps({"choices": [{"message": {"content": text}}]}).encode())
    assert values(reader.finish()) == [f"{HOST}/t.png"]


@pytest.mark.parametrize("text", [f"[![x]({HOST}/t)]({HOST}/full)", f"<a href='{HOST}/full'><img src='{HOST}/t'></a>"])
def test_a_linked_picture_keeps_its_thumbnail(text: str) -> None:
    """The link's target is the picture; its thumbnail goes with it for the case that it is none."""
    (ref,) = say(f"{text} ![x]({HOST}/t)").refs
    assert ref.value == f"{HOST}/full"
    assert ref.thumbnail is not None
    assert ref.thumbnail.value == f"{HOST}/t"
    (ref,) = say(text.replace(f"{HOST}/full", "#top")).refs
    assert (ref.value, ref.thumbnail) == (f"{HOST}/t", None)


@pytest.mark.parametrize(
    "message",
    [
        {"content": f"<think>so ![x](data:image/png;base64,{PNG}) it is</think>", "role": "assistant"},
        {"content": "", "reasoning_content": f"![x](data:image/png;base64,{PNG})"},
        {"content": [{"type": "thinking", "thinking": [{"type": "image", "data": PNG}]}]},
        {
            "content": "",
            "reasoning_details": [{"type": "reasoning.image", "data": PNG}],
        },
    ],
)
def test_a_picture_in_the_thinking_counts_alone(message: dict[str, Any]) -> None:
    """It is paid for; beside any other picture, and while the answer goes on, it is none."""
    assert values(read_values({"choices": [{"message": message}]})) == [PNG]
    assert values(read_values({"choices": [{"message": message}]}, {"data": [{"b64_json": JPEG}]})) == [JPEG]
    assert values(read_values({"choices": [{"delta": message}]}, done=False)) == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"choices": [{"message": {"content": "hm"}, "finish_reason": "length"}]}, "length: hm"),
        ({"choices": [{"message": {}, "finish_reason": "stop", "native_finish_reason": "MAX_TOKENS"}]}, "MAX_TOKENS"),
        ({"candidates": [{"finishReason": "NO_IMAGE", "finishMessage": "None was made."}]}, "NO_IMAGE, None was made."),
        ({"output": [], "incomplete_details": {"reason": "max_output_tokens"}}, "max_output_tokens"),
        ({"choices": [{"message": {"content": None}, "finish_reason": "stop"}], "usage": {}}, "stop"),
        ({"id": "x" * 300, "result": {"fail_reason": "the pool is empty"}}, "the pool is empty"),
    ],
)
def test_reasons_beside_the_text(value: object, reason: str) -> None:
    """Why there is no picture is told from wherever it stands, with the words if there are some."""
    error = read_values(value).error
    assert error is not None
    assert (error.code, error.params) == (Code.ANSWER_ENDED, {"reason": reason})


JOBS: list[tuple[dict[str, Any], tuple[str, str, str]]] = [
    ({"task_id": "t1", "poll_url": "/v1/images/tasks/t1"}, ("t1", "https://api.invalid/v1/images/tasks/t1", "")),
    ({"id": "b", "polling_url": "https://eu.bfl.invalid/get?id=b"}, ("b", "https://eu.bfl.invalid/get?id=b", "")),
    (
        {"id": "r", "status": "starting", "urls": {"get": f"{HOST}/p/r"}, "output": None},
        ("r", f"{HOST}/p/r", "starting"),
    ),
    ({"status": "IN_QUEUE", "request_id": "q", "status_url": f"{HOST}/s"}, ("q", f"{HOST}/s", "IN_QUEUE")),
    (
        {"code": 200, "data": {"id": "w", "status": "created", "urls": {"get": f"{HOST}/w"}}},
        ("w", f"{HOST}/w", "created"),
    ),
    ({"data": [{"task_id": 7, "status": "submitted", "poll_url": f"{HOST}/7"}]}, ("7", f"{HOST}/7", "submitted")),
]


@pytest.mark.parametrize(("value", "expected"), JOBS)
def test_jobs_are_recognised(value: dict[str, Any], expected: tuple[str, str, str]) -> None:
    """An answer with an id and an address to ask is a job in every mode; whoever does not follow it is told."""
    for mode in ApiMode:
        reader = AnswerReader(mode, BASE)
        reader.document(json.dumps(value).encode())
        answer = reader.finish()
        assert answer.job is not None
        assert (answer.job.id, answer.job.url, answer.job.status) == expected
        assert answer.error is not None
        assert answer.error.code is Code.ANSWER_JOB


@pytest.mark.parametrize(
    "value",
    [
        {"id": "r", "status": "succeeded", "urls": {"get": f"{HOST}/p"}, "output": f"{HOST}/out.png"},
        {"id": "r", "status": "processing", "urls": {"get": f"{HOST}/p"}, "output": [f"{HOST}/out.png"]},
        {"id": "r", "status": "failed", "urls": {"get": f"{HOST}/p"}, "error": "boom"},
        {"id": "r", "status": "Error", "polling_url": f"{HOST}/p"},
        {"id": "r", "status": "queued"},
        {"status": "queued", "poll_url": f"{HOST}/p"},
    ],
)
def test_what_is_no_job(value: dict[str, Any]) -> None:
    """What is over, holds its picture, or does not say where to ask."""
    assert read_values(value).job is None


@pytest.mark.parametrize(
    "value",
    [
        {"choices": [{"message": {"content": None, "refusal": "I must not."}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]},
        {"candidates": [{"content": {"parts": []}, "finishReason": "IMAGE_SAFETY"}]},
        {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}},
        {"output": [], "status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
        {"type": "response.refusal.done", "refusal": "I must not."},
        {"error": {"code": "moderation_blocked", "message": "no"}},
        {"choices": [{"message": {}, "finish_reason": "stop", "native_finish_reason": "IMAGE_SAFETY"}]},
        {"id": "x", "status": "Request Moderated", "result": None, "polling_url": f"{HOST}/p"},
        {"id": "x", "status": "Content Moderated", "result": None},
        {"id": "x", "status": "failed", "error": "NSFW content detected. Try running it again."},
    ],
)
def test_refusals_of_content(value: object) -> None:
    """The many ways to refuse a picture or prompt are one code, never retried."""
    error = read_values(value).error
    assert isinstance(error, UpstreamRefused)
    assert (error.code, error.retryable) == (Code.CONTENT_REFUSED, False)


def test_one_of_several_choices_refused() -> None:
    """The picture is kept, and what became of the other choice is told; a filter behind a single picture is nothing."""
    picture = {"index": 0, "delta": {"content": f"![a]({HOST}/1)"}, "finish_reason": "stop"}
    filtered = {"index": 1, "delta": {}, "finish_reason": "content_filter"}
    answer = read_values({"choices": [picture]}, {"choices": [filtered]})
    assert values(answer) == [f"{HOST}/1"]
    assert answer.error is not None
    assert answer.error.code is Code.CONTENT_REFUSED
    assert read_values({"choices": [{**picture, "finish_reason": "content_filter"}]}).error is None


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"error": "boom"}, Code.UPSTREAM_ERROR),
        ({"errors": [{"message": "Rate limit"}]}, Code.RATE_LIMITED),
        ({"error": {"message": "Rate limit", "code": 429}}, Code.RATE_LIMITED),
        (
            {"choices": [{"delta": {}, "error": {"code": 502, "message": "bad"}, "finish_reason": "error"}]},
            Code.UPSTREAM_ERROR,
        ),
        ({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, Code.QUOTA_EXHAUSTED),
        ({"base_resp": {"status_code": 1026, "status_msg": "new_sensitive"}, "data": {}}, Code.CONTENT_REFUSED),
        ({"code": 500, "msg": "channel failed", "data": None}, Code.UPSTREAM_ERROR),
        ({"detail": "Invalid API key"}, Code.KEY_REFUSED),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Code.UPSTREAM_ERROR),
        ({"data": [{"error": {"message": "failed"}}]}, Code.UPSTREAM_ERROR),
    ],
)
def test_errors_inside_an_answer(value: object, code: Code) -> None:
    """Error objects, error strings and complaints become the error."""
    error = read_values(value).error
    assert isinstance(error, EditFailed)
    assert error.code is code


def test_error_event_in_words() -> None:
    """An error event need not be JSON."""
    error = read(b"event: error\ndata: the pool is overloaded\n\n")[0].error
    assert error is not None
    assert (error.code, error.params["message"], error.retryable) == (
        Code.UPSTREAM_ERROR,
        "the pool is overloaded",
        True,
    )


def test_null_errors_are_none() -> None:
    """``"error": null`` and ``"status_code": 0`` say that all is well."""
    value: dict[str, Any] = {
        "error": None,
        "errors": [],
        "base_resp": {"status_code": 0, "status_msg": "success"},
        "data": {"image_urls": [f"{HOST}/1"]},
    }
    answer = read_values(value)
    assert (values(answer), answer.error) == ([f"{HOST}/1"], None)


def test_candidates_that_are_no_pictures() -> None:
    """They are refused with place, reason and a short sample; alone they are the error."""
    answer = read_values({"data": [{"url": "file:///etc/passwd"}, {"b64_json": "ü" * 500}, {"url": "http://"}]})
    assert [(item.where, item.code) for item in answer.refused] == [
        ("data[0].url", Code.URL_SCHEME),
        ("data[1].b64_json", Code.BASE64_INVALID),
        ("data[2].url", Code.URL_MALFORMED),
    ]
    assert max(len(item.sample) for item in answer.refused) < 200
    assert answer.error is not None
    assert answer.error.params == {"refused": 3, "named": 3, "reason": Code.URL_SCHEME}


def test_endless_lists_are_bounded() -> None:
    """An answer that names thousands of pictures does not start thousands of downloads."""
    assert len(read_values({"data": [{"url": f"http://h.invalid/{n}"} for n in range(5000)]}).refs) == 100


def test_surrogate_halves_do_no_harm() -> None:
    """Words with half an emoji in each delta are joined; all that comes out can be encoded."""
    halves = [
        b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\ude00"}}]}\n\n',
    ]
    assert read(b"".join(halves) + b"data: [DONE]\n\n")[0].text == "😀"
    lone = read(b'data: {"error":{"message":"\\ud83d!","param":"\\ud83d"}}\n\ndata: {"data":[{"url":"\\ud83d"}]}\n\n')[
        0
    ]
    assert lone.error is not None
    json.dumps([values(lone), lone.error.params, lone.text], ensure_ascii=False).encode()
