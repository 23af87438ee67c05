"""What is sent: the body of each mode, the automatic choices, merging, forms, headers, and the description for logs."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import ApiConfig, ApiMode, RequestForm, ResponseFormat, StreamChoice, TokenField
from engine.secrets import PLACEHOLDER
from engine.upstream.request import HttpRequest, SourcePicture, build_request, describe_request, encode_form, merge
from tests.fakes.upstream import FakeUpstream, FormPart, Received, Script, sample

KEY = "sk-secret-0123456789"
PNG = SourcePicture(sample("picture.png"), "image/png", "start_1.jpg")
JPEG = SourcePicture(sample("picture.jpg"), "image/jpeg", "图片.png")
CHAT = "https://gateway.invalid/v1/chat/completions"
RESPONSES = "https://gateway.invalid/v1/responses"
EDITS = "https://api.x.ai/v1/images/edits"
OPENAI_EDITS = "https://api.openai.com/v1/images/edits"


def config(url: str = CHAT, **changes: Any) -> ApiConfig:
    """A configuration with a prompt and a key."""
    return ApiConfig(**{"api_url": url, "api_key": KEY, "model_name": "m", "user_prompt": "wink", **changes})


def body(url: str = CHAT, *pictures: SourcePicture, **changes: Any) -> Any:
    """The JSON that is sent."""
    request = build_request(config(url, **changes), pictures or [PNG])
    assert request.headers["Content-Type"] == "application/json"
    return json.loads(request.body)


def form(url: str = OPENAI_EDITS, *pictures: SourcePicture, **changes: Any) -> dict[str, list[FormPart]]:
    """The form that is sent, by field name."""
    request = build_request(config(url, **changes), pictures or [PNG], form=RequestForm.FORM_LIST)
    headers = {name.lower(): value for name, value in request.headers.items()}
    parts: dict[str, list[FormPart]] = {}
    for part in Received("POST", "/", headers, request.body, 0, 0).form:
        parts.setdefault(part.name, []).append(part)
    return parts


def test_chat_body() -> None:
    """The prompt and the picture in one user message, the limits of the configuration, a stream."""
    assert body() == {
        "model": "m",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "wink"},
                    {"type": "image_url", "image_url": {"url": PNG.data_url}},
                ],
            }
        ],
        "temperature": 0.7,
        "stream": True,
        "max_tokens": 65535,
    }


def test_system_prompt_only_if_there_is_one() -> None:
    """A system message leads in chat and responses; in edits it leads the prompt."""
    assert body(system_prompt="be kind")["messages"][0] == {"role": "system", "content": "be kind"}
    first = body(RESPONSES, system_prompt="be kind")["input"][0]
    assert first == {"role": "system", "content": [{"type": "input_text", "text": "be kind"}]}
    assert body(EDITS, system_prompt="be kind")["prompt"] == "be kind\n\nwink"


def test_responses_body() -> None:
    """Input items of their own kind, and the limit under its own name."""
    assert body(RESPONSES) == {
        "model": "m",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "wink"},
                    {"type": "input_image", "image_url": PNG.data_url},
                ],
            }
        ],
        "temperature": 0.7,
        "stream": True,
        "max_output_tokens": 65535,
    }


def test_edits_body() -> None:
    """JSON for xAI and grok2api: one prompt, ``n`` always, base64 asked for, no chat fields."""
    assert body(EDITS) == {
        "model": "m",
        "prompt": "wink",
        "n": 1,
        "response_format": "b64_json",
        "image": {"url": PNG.data_url},
    }


def test_edits_form_of_openai() -> None:
    """Multipart with the file's real kind, and no field that OpenAI does not know."""
    parts = form(result_count=2)
    assert set(parts) == {"model", "prompt", "n", "image[]"}
    assert [parts[name][0].data for name in ("model", "prompt", "n")] == [b"m", b"wink", b"2"]
    (image,) = parts["image[]"]
    assert (image.filename, image.content_type, image.data) == ("start_1.png", "image/png", PNG.data)
    assert form(response_format=ResponseFormat.URL)["response_format"][0].data == b"url"


def test_several_references() -> None:
    """Two pictures: two parts in chat, a list in edits, two files in a form."""
    content = body(CHAT, PNG, JPEG)["messages"][0]["content"]
    assert [part["image_url"]["url"] for part in content[1:]] == [PNG.data_url, JPEG.data_url]
    edits = body(EDITS, PNG, JPEG)
    assert edits["images"] == [{"url": PNG.data_url}, {"url": JPEG.data_url}]
    assert "image" not in edits
    files = form(OPENAI_EDITS, PNG, JPEG)["image[]"]
    assert [(part.filename, part.content_type) for part in files] == [
        ("start_1.png", "image/png"),
        ("image.jpg", "image/jpeg"),
    ]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", [kind for kind in RequestForm if kind is not RequestForm.AUTO])
def test_every_form_of_edits(kind: RequestForm, count: int) -> None:
    """Where one picture or several stand in each form that servers take; OpenAI's own get no ``response_format``."""
    pictures = [PNG, JPEG][:count]
    urls = [picture.data_url for picture in pictures]
    objects: dict[str, Any] = {"image": {"url": urls[0]}} if count == 1 else {"images": [{"url": url} for url in urls]}
    request = build_request(config("https://relay.invalid/v1/images/edits"), pictures, form=kind)
    expected = {
        RequestForm.JSON: {**objects, "response_format": "b64_json"},
        RequestForm.JSON_STRING: {"image": urls[0] if count == 1 else urls, "response_format": "b64_json"},
        RequestForm.JSON_OPENAI: {"images": [{"image_url": url} for url in urls]},
    }.get(kind)
    if expected is not None:
        assert json.loads(request.body) == {"model": "m", "prompt": "wink", "n": 1, **expected}
        return
    headers = {name.lower(): value for name, value in request.headers.items()}
    parts = Received("POST", "/", headers, request.body, 0, 0).form
    field = "image" if kind is RequestForm.FORM else "image[]"
    assert [part.name for part in parts] == ["model", "prompt", "n"] + [field] * count
    assert [part.data for part in parts[3:]] == [picture.data for picture in pictures]


def test_picture_is_sent_as_what_it_is() -> None:
    """The data: URL names the real kind and holds exactly the bytes."""
    head, _, text = body(CHAT, JPEG)["messages"][0]["content"][1]["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    assert b64decode(text, validate=True) == JPEG.data


@pytest.mark.parametrize(
    ("url", "field", "name"),
    [
        (CHAT, TokenField.AUTO, "max_tokens"),
        (RESPONSES, TokenField.AUTO, "max_output_tokens"),
        (CHAT, TokenField.MAX_COMPLETION_TOKENS, "max_completion_tokens"),
        (RESPONSES, TokenField.MAX_TOKENS, "max_tokens"),
        (CHAT, TokenField.NONE, None),
        (EDITS, TokenField.AUTO, None),
        (EDITS, TokenField.MAX_TOKENS, None),
    ],
)
def test_token_field(url: str, field: TokenField, name: str | None) -> None:
    """Automatic by mode, as chosen otherwise, never in edits."""
    sent = body(url, token_field=field, max_tokens=99)
    assert {key: value for key, value in sent.items() if "tokens" in key} == ({name: 99} if name else {})


@pytest.mark.parametrize(
    ("url", "choice", "expected"),
    [
        (CHAT, StreamChoice.AUTO, True),
        (CHAT, StreamChoice.OFF, False),
        (RESPONSES, StreamChoice.AUTO, True),
        (EDITS, StreamChoice.AUTO, None),
        (EDITS, StreamChoice.ON, True),
        (EDITS, StreamChoice.OFF, None),
    ],
)
def test_stream(url: str, choice: StreamChoice, expected: bool | None) -> None:
    """A stream by default where text comes in pieces; the Accept header goes with it."""
    assert body(url, stream=choice).get("stream") is expected
    accept = build_request(config(url, stream=choice), [PNG]).headers["Accept"]
    assert accept.startswith("text/event-stream") == bool(expected)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://openrouter.ai/api/v1/chat/completions", ["image", "text"]),
        ("https://ai-gateway.vercel.sh/v1/chat/completions", ["image", "text"]),
        ("https://notopenrouter.ai/v1/chat/completions", None),
        (CHAT, None),
    ],
)
def test_modalities(url: str, expected: list[str] | None) -> None:
    """Gateways that draw only when asked to."""
    assert body(url).get("modalities") == expected


def test_image_tool_of_openai() -> None:
    """OpenAI's own responses endpoint needs the drawing tool; others do not get it."""
    assert body("https://api.openai.com/v1/responses")["tools"] == [{"type": "image_generation"}]
    assert "tools" not in body(RESPONSES)


def test_result_count() -> None:
    """``n`` in chat and responses only when more than one is wanted, and never where it is known to be refused."""
    for url in (CHAT, RESPONSES):
        assert "n" not in body(url)
        assert body(url, result_count=4)["n"] == 4
    assert "n" not in body("https://api.openai.com/v1/responses", result_count=4)
    assert body(EDITS, result_count=4)["n"] == 4


def test_mode_may_be_forced() -> None:
    """A chosen mode counts, not the path."""
    assert "prompt" in body("https://gateway.invalid/draw", api_mode=ApiMode.IMAGES_EDITS)


def test_extra_body_comes_last() -> None:
    """Fields are added, replaced, merged into objects, and removed by null; in forms too."""
    sent = body(
        EDITS, extra_body={"n": 2, "response_format": None, "image": {"detail": "high"}, "size": {"a": [1, None]}}
    )
    assert sent["image"] == {"url": PNG.data_url, "detail": "high"}
    assert (sent["n"], sent["size"], "response_format" in sent) == (2, {"a": [1, None]}, False)
    parts = form(
        extra_body={"n": None, "quality": "high", "stream": True, "partial_images": 2, "tags": ["a"], "x": 0.5}
    )
    assert "n" not in parts
    texts = {name: part[0].data for name, part in parts.items() if name != "image[]"}
    assert texts == {
        "model": b"m",
        "prompt": b"wink",
        "quality": b"high",
        "stream": b"true",
        "partial_images": b"2",
        "tags": b'["a"]',
        "x": b"0.5",
    }


def test_merge_leaves_its_arguments_alone() -> None:
    """The configuration is not changed by building a request."""
    base, extra = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert merge(base, extra) == {"a": {"b": 1, "c": 2}}
    assert (base, extra) == ({"a": {"b": 1}}, {"a": {"c": 2}})


def test_key_goes_into_one_header_only() -> None:
    """Bearer when there is a key, no header when there is none."""
    request = build_request(config(api_key=f" {KEY}\n"), [PNG])
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert KEY.encode() not in request.body
    assert KEY not in request.url
    assert "Authorization" not in build_request(config(api_key=""), [PNG]).headers


def test_extra_headers_cannot_reframe_the_request() -> None:
    """They may add and replace, but not what carries the key or frames the body."""
    extra = {
        "X-Title": "t",
        "accept": "application/x",
        "authorization": "Basic x",
        "HOST": "evil.invalid",
        "Content-Length": "1",
        "content-type": "text/plain",
        "Transfer-Encoding": "chunked",
        "Connection": "close",
    }
    assert build_request(config(extra_headers=extra), [PNG]).headers == {
        "X-Title": "t",
        "accept": "application/x",
        "Content-Type": "application/json",
        "Authorization": f"Bearer {KEY}",
    }


@pytest.mark.parametrize("url", [CHAT, EDITS, OPENAI_EDITS])
def test_description_for_the_log(url: str) -> None:
    """Everything but keys and pictures: these are shortened to their length."""
    made = config(
        url,
        extra_headers={"X-Api-Key": "other-secret", "X-Title": "t"},
        extra_body={"api_key": "third-secret", "note": f"a {KEY} b {'x' * 1990} {KEY}", "max_tokens": 7},
        user_prompt="p" * 5000,
    )
    shown = json.dumps(describe_request(build_request(made, [PNG])))
    for secret in (KEY, KEY[:12], "other-secret", "third-secret", PNG.data_url):
        assert secret not in shown
    assert "(5000 characters)" in shown
    assert '"X-Title": "t"' in shown
    assert len(shown) < 10_000
    assert f"({len(PNG.data_url)} characters)" in shown or f"({len(PNG.data)} bytes)" in shown


@pytest.mark.parametrize("url", [CHAT, EDITS, OPENAI_EDITS])
@pytest.mark.parametrize("secret", ["true", '{"mo', '","a', '[{"t', "----", 'na"me'])
def test_a_secret_of_any_letters_is_blanked_and_spoils_nothing(url: str, secret: str) -> None:
    """Also one that stands in every body as a part of its form."""
    made = config(url, extra_headers={"X-Session-Key": secret}, extra_body={"a": True, "note": f"{secret}-end"})
    shown = describe_request(build_request(made, [PNG]))
    assert f"{PLACEHOLDER}-end" in json.dumps(shown["body"])
    assert shown["headers"]["X-Session-Key"] == PLACEHOLDER


def test_description_masks_keys_in_the_address() -> None:
    """Some gateways take a key in the query."""
    url = "https://u:p@gateway.invalid/v1/chat/completions?key=hidden-1&access_token=hidden-2&page=3"
    shown = describe_request(build_request(config(url), [PNG]))["url"]
    assert shown == "https://u:********@gateway.invalid/v1/chat/completions?key=********&access_token=********&page=3"


def test_request_never_shows_its_headers() -> None:
    """Whoever prints a request does not print the key."""
    request = build_request(config(), [PNG])
    assert KEY not in repr(request)
    assert KEY not in f"{request} {[request]!r}"


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name.isprintable()), st.binary(max_size=40), max_size=4
    ),
    st.binary(max_size=100),
)
def test_form_parts_survive(texts: dict[str, bytes], data: bytes) -> None:
    """Any field and file arrive as they were, and the boundary is in none of them."""
    picture = SourcePicture(data, "image/png", "a.png")
    raw, content_type = encode_form(list(texts.items()), [("image[]", picture)])
    boundary = content_type.partition("boundary=")[2].encode()
    assert raw.count(boundary) == len(texts) + 2
    values = [part.partition(b"\r\n\r\n")[2][:-2] for part in raw.split(b"--" + boundary)[1:-1]]
    assert values == [*texts.values(), data]


def test_boundary_avoids_the_picture() -> None:
    """A picture that holds the first boundary gets another one."""
    first = encode_form([], [])[1].partition("boundary=")[2]
    raw, content_type = encode_form([], [("image[]", SourcePicture(first.encode(), "image/png", "a.png"))])
    assert content_type.partition("boundary=")[2] != first
    assert raw.count(first.encode()) == 1


@pytest.mark.parametrize("url", ["/v1/chat/completions", "/v1/images/edits"])
def test_requests_arrive_over_a_real_line(url: str) -> None:
    """What is built can be sent as it is."""
    with FakeUpstream() as fake:
        fake.answer(Script.json({}))
        request: HttpRequest = build_request(config(fake.url(url)), [PNG])
        httpx.request(request.method, request.url, headers=request.headers, content=request.body, trust_env=False)
        (received,) = fake.requests
    assert received.headers["authorization"] == f"Bearer {KEY}"
    assert received.json["model"] == "m"
