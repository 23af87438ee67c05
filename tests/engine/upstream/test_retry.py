"""Asking again: which failures are worth it, how long to wait, and what an error answer says."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import AnswerUnusable, Code, EditFailed, InvalidInput, NetworkFailed, Stopped
from engine.upstream.failure import event_failure, status_failure
from engine.upstream.retry import backoff, call_with_retries, parse_span, retry_after
from tests.fakes.upstream import sample

NOW = 1_760_000_000.0


def failure(status: int, body: bytes | str = b"", **headers: str) -> Any:
    """The failure of an answer; header names with underscores for dashes."""
    raw = body if isinstance(body, bytes) else body.encode()
    return status_failure(status, httpx.Headers({k.replace("_", "-"): v for k, v in headers.items()}), raw, NOW)


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 529])
def test_passing_statuses_are_retryable(status: int) -> None:
    """The statuses that may pass."""
    assert failure(status).retryable
    assert failure(status).http_status == status


@pytest.mark.parametrize("status", [302, 400, 401, 402, 403, 404, 405, 410, 413, 415, 418, 422, 451, 501, 505])
def test_lasting_statuses_are_not(status: int) -> None:
    """All the others."""
    assert not failure(status).retryable


ERRORS = [
    (401, '{"error":{"message":"Incorrect API key provided"}}', Code.KEY_REFUSED),
    (400, '{"error":{"message":"API key not valid. Please pass a valid API key."}}', Code.KEY_REFUSED),
    (403, '{"error":"forbidden"}', Code.ACCESS_REFUSED),
    (403, '{"error":{"code":"insufficient_user_quota","message":"x"}}', Code.QUOTA_EXHAUSTED),
    (402, "", Code.QUOTA_EXHAUSTED),
    (403, '{"error":"Your team has either used all available credits or reached its limit."}', Code.QUOTA_EXHAUSTED),
    (403, '{"error":"You reached your monthly spending limit"}', Code.QUOTA_EXHAUSTED),
    (429, '{"error":{"code":"insufficient_quota","message":"You exceeded your current quota"}}', Code.QUOTA_EXHAUSTED),
    (429, '{"error":{"message":"slow down"}}', Code.RATE_LIMITED),
    (500, sample("error_500_hidden_limit.json"), Code.RATE_LIMITED),
    (502, '{"error":{"message":"upstream returned 429"}}', Code.RATE_LIMITED),
    (500, '{"detail":"Rate limit exceeded"}', Code.RATE_LIMITED),
    (500, json.dumps({"message": json.dumps({"error": {"code": "rate_limit_exceeded"}})}), Code.RATE_LIMITED),
    (500, '{"error":{"message":"request 429001 failed"}}', Code.UPSTREAM_STATUS),
    (404, '{"error":{"code":"model_not_found","message":"x"}}', Code.MODEL_UNKNOWN),
    (400, '{"error":{"message":"The model `x` does not exist"}}', Code.MODEL_UNKNOWN),
    # services that recipes ask, and relays
    (
        400,
        '{"code":"DataInspectionFailed","message":"Input data may contain inappropriate content."}',
        Code.CONTENT_REFUSED,
    ),
    (401, '{"code":"InvalidApiKey","message":"Invalid API-key provided."}', Code.KEY_REFUSED),
    (
        400,
        '{"code":"Arrearage","message":"Access denied, please make sure your account is in good standing."}',
        Code.QUOTA_EXHAUSTED,
    ),
    (429, '{"code":"Throttling.AllocationQuota","message":"Allocated quota exceeded."}', Code.RATE_LIMITED),
    (403, '{"code":30001,"message":"Sorry, your account balance is insufficient"}', Code.QUOTA_EXHAUSTED),
    (400, '{"code":20012,"message":"Model does not exist."}', Code.MODEL_UNKNOWN),
    (400, '{"error":{"code":"OutputImageSensitiveContentDetected","message":"x"}}', Code.CONTENT_REFUSED),
    (403, '{"error":{"code":"AccountOverdueError","message":"x"}}', Code.QUOTA_EXHAUSTED),
    (404, '{"error":{"code":"InvalidEndpointOrModel.NotFound","message":"x"}}', Code.MODEL_UNKNOWN),
    (429, '{"error":{"code":"ModelAccountIpmRateLimitExceeded","message":"x"}}', Code.RATE_LIMITED),
    (401, '{"error":{"code":"invalid_iam_token","message":"IAM Certification failed"}}', Code.KEY_REFUSED),
    (429, '{"error":{"code":"rpm_rate_limit_exceeded","message":"x"}}', Code.RATE_LIMITED),
    (422, '{"detail":[{"loc":["body","prompt"],"msg":"x","type":"content_policy_violation"}]}', Code.CONTENT_REFUSED),
    (403, '{"detail":"User is locked. Reason: Exhausted balance."}', Code.QUOTA_EXHAUSTED),
    (
        404,
        '{"error":{"message":"No endpoints found that support the requested output modalities: image"}}',
        Code.MODEL_UNSUITED,
    ),
    (
        402,
        '{"error":{"message":"more credits, or fewer max_tokens. You can only afford 4666."}}',
        Code.PARAMETER_REFUSED,
    ),
    (400, '{"error":{"message":"max_tokens: 65535 > 8192, which is the maximum allowed"}}', Code.PARAMETER_REFUSED),
    (400, '{"error":{"message":"Invalid max_tokens value, the valid range is [1, 8192]"}}', Code.PARAMETER_REFUSED),
    (400, '{"message":"temperature is deprecated for this model"}', Code.PARAMETER_REFUSED),
    (
        404,
        '{"error":{"message":"No endpoints found matching your data policy. Configure: settings"}}',
        Code.ACCESS_REFUSED,
    ),
    (404, '{"error":{"message":"No allowed providers are available for the selected model."}}', Code.MODEL_UNSUITED),
    (403, '{"error":{"message":"Key limit exceeded (total limit)."}}', Code.QUOTA_EXHAUSTED),
    (403, '{"error":{"message":"预扣费额度失败, 用户剩余额度: 0.1"}}', Code.QUOTA_EXHAUSTED),
    (503, '{"error":{"message":"No available channel for model x under group default"}}', Code.MODEL_UNKNOWN),
    (503, '{"error":{"message":"当前分组 default 下对于模型 x 无可用渠道"}}', Code.MODEL_UNKNOWN),
    (403, '{"error":{"message":"m requires moderation. Your input was flagged for sexual"}}', Code.CONTENT_REFUSED),
    (400, '{"error":{"message":"Streaming is not supported for this model"}}', Code.PARAMETER_REFUSED),
    (400, '{"error":{"message":"This model does not support streaming."}}', Code.PARAMETER_REFUSED),
    (400, '{"error":{"message":"n must be 1"}}', Code.PARAMETER_REFUSED),
    (404, "<html><title>404 Not Found</title></html>", Code.ENDPOINT_UNKNOWN),
    (400, '{"error":{"message":"图片编辑模型请使用 /v1/images/edits，并提供输入图片"}}', Code.ENDPOINT_UNKNOWN),
    (400, '{"error":{"message":"Model x is not supported here, use /v1/images/edits"}}', Code.ENDPOINT_UNKNOWN),
    (404, '{"error":{"message":"This model is only supported in v1/responses."}}', Code.ENDPOINT_UNKNOWN),
    (400, '{"error":{"message":"/v1/images/edits takes multipart/form-data only"}}', Code.UPSTREAM_STATUS),
    (413, "<html><title>413 Request Entity Too Large</title></html>", Code.REQUEST_TOO_LARGE),
    (405, '{"detail":"Method Not Allowed"}', Code.ENDPOINT_UNKNOWN),
    (400, sample("error_400_content.json"), Code.CONTENT_REFUSED),
    (500, '{"error":{"message":"Generated image rejected by content moderation."}}', Code.CONTENT_REFUSED),
    (403, '{"error":{"message":"提示词包含敏感内容"}}', Code.CONTENT_REFUSED),
    (500, '{"error":{"message":"moderation service timed out"}}', Code.UPSTREAM_STATUS),
    (415, '{"error":{"message":"use application/json"}}', Code.UPSTREAM_STATUS),
    (400, '{"error":{"message":"bad"}}', Code.UPSTREAM_STATUS),
]


@pytest.mark.parametrize(("status", "body", "code"), ERRORS)
def test_codes(status: int, body: bytes | str, code: Code) -> None:
    """Status and words together tell the cause; only limits and passing failures are retryable."""
    error = failure(status, body)
    assert error.code is code
    assert error.retryable == (code is Code.RATE_LIMITED or (code is Code.UPSTREAM_STATUS and status >= 500))
    assert error.params["status"] == status


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        (sample("error_400_parameter.json"), "response_format"),
        ('{"error":{"message":"Unrecognized request argument supplied: n"}}', "n"),
        (
            '{"error":{"message":"Unsupported parameter: \'max_tokens\' is not supported with this model."}}',
            "max_tokens",
        ),
        ('{"error":{"message":"Unknown name \\"foo\\" at body"}}', "foo"),
        ('{"detail":[{"loc":["body","size"],"msg":"unexpected value"}]}', "size"),
        ('{"error":{"message":"bad value","param":"image[0].url"}}', "image[0].url"),
        ("Unknown parameter: partial_images", "partial_images"),
        ('{"error":{"message":"partial_images requires stream=true"}}', "partial_images"),
        ('{"error":"Argument not supported on this model: presencePenalty"}', "presencePenalty"),
    ],
)
def test_refused_parameters_are_named(body: bytes | str, parameter: str) -> None:
    """A gateway that names the parameter is quoted."""
    for status in (400, 422):
        error = failure(status, body)
        assert (error.code, error.params["parameter"], error.retryable) == (Code.PARAMETER_REFUSED, parameter, False)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (sample("error_502.html"), "502 Bad Gateway 502 Bad Gateway nginx"),
        ("<html><body><script>var a='<b>';</script><!-- no --><h1>A &amp; B</h1>\n<p>c</p></body></html>", "A & B c"),
        ('{"error":{"message":"inner"},"message":"outer"}', "inner"),
        ('{"error":"Bad Request","message":"the reason"}', "the reason"),
        ('{"errors":[{"message":"first"},{"message":"second"}]}', "first"),
        ('{"detail":[{"loc":["body"],"msg":"why"}]}', "why"),
        ('{"base_resp":{"status_code":1000,"status_msg":"unknown error"}}', "unknown error"),
        ('data: {"error":{"message":"streamed"}}\n\n', "streamed"),
        (json.dumps({"error": {"message": json.dumps({"error": {"message": "handed on"}})}}), "handed on"),
        ('{"error":{"message":"{not JSON"}}', "{not JSON"),
        ('"only words"', "only words"),
        ("plain\n  words", "plain words"),
        ("{}", "{}"),
        ("", "Service Unavailable"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ('{"error":{"message":"\\ud83d"}}', "\ufffd"),
    ],
)
def test_messages_are_readable(body: bytes | str, message: str) -> None:
    """What a person reads of the body: the innermost reason, pages without their marks."""
    assert failure(503, body).params["message"] == message


def test_messages_are_short_and_hold_no_key() -> None:
    """At most 300 characters; what looks like a key is masked."""
    assert len(failure(500, "x" * 100_000).params["message"]) == 300
    body = (
        '{"error":{"message":"Incorrect API key provided: sk-proj-abcdefgh12345678, Bearer abc.def, xai-1234567890"}}'
    )
    assert failure(401, body).params["message"] == "Incorrect API key provided: ***, Bearer *** ***"


@pytest.mark.parametrize(
    ("message", "limit"),
    [
        ("fewer max_tokens. You requested up to 65535 tokens, but can only afford 4666.", 4666),
        ("max_tokens is too large: 65535. This model supports at most 16384 completion tokens", 16384),
        ("Range of max_tokens should be [1, 8192]", 8192),
        ("max_tokens: 65535 > 8192, which is the maximum allowed", 8192),
        ("max_tokens must be less than or equal to 4096", 4096),
        ("max_tokens is not supported", None),
    ],
)
def test_limits_of_tokens_are_read(message: str, limit: int | None) -> None:
    """How many tokens would do stands in the refusal in many ways."""
    assert failure(400, json.dumps({"error": {"message": message}})).params.get("limit") == limit


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "7"}, 7),
        ({"Retry_After": "1.5"}, 1.5),
        ({"Retry_After": formatdate(NOW + 90, usegmt=True)}, 90),
        ({"Retry_After": formatdate(NOW - 90, usegmt=True)}, 0),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": "-5"}, None),
        ({"Retry_After": "nan"}, None),
        ({"Retry_After_Ms": "250", "Retry_After": "1"}, 0.25),
        ({"x_ratelimit_reset_requests": "1m30s"}, 90),
        ({"x_ratelimit_reset_tokens": "120ms"}, 0.12),
        ({"x_ratelimit_reset": "12"}, 12),
        ({"x_ratelimit_reset": str(int(NOW) + 40)}, 40),
        ({"X_RateLimit_Reset": str((int(NOW) + 40) * 1000)}, 40),
        ({"x_ratelimit_reset_requests": "1h", "x_ratelimit_reset_tokens": "6m0s"}, 3600),
        (
            {
                "x_ratelimit_reset_requests": "1h",
                "x_ratelimit_remaining_requests": "5",
                "x_ratelimit_reset_tokens": "6s",
                "x_ratelimit_remaining_tokens": "0",
            },
            6,
        ),
        ({"Retry_After": "3", "x_ratelimit_reset_requests": "1h"}, 3),
        ({"Retry_After": "3, 5"}, 3),
        ({}, None),
    ],
)
def test_waits_that_headers_ask_for(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, dates, spans and moments; of several limits the one that was hit."""
    error = failure(429, "", **headers)
    assert error.retry_after == (None if seconds is None else pytest.approx(seconds))
    assert error.params.get("retry_after") == error.retry_after


def test_waits_belong_to_what_they_are_for() -> None:
    """Retry-After counts for every passing failure, a limit's reset for limits only, neither for lasting failures."""
    assert failure(503, Retry_After="4").retry_after == 4
    assert failure(503, x_ratelimit_reset_requests="4s").retry_after is None
    assert failure(500, "rate limit", x_ratelimit_reset_requests="4s").retry_after == 4
    assert failure(400, Retry_After="4").retry_after is None
    assert retry_after({"RETRY-AFTER": "4"}, NOW, limited=False) == 4


def test_waits_in_words() -> None:
    """Without a header, the message or Google's detail may name the wait."""
    assert failure(429, '{"error":{"message":"Please try again in 1m2.5s."}}').retry_after == pytest.approx(62.5)
    assert failure(429, '{"error":{"details":[{"retryDelay":"34s"}]}}').retry_after == 34
    assert failure(429, '{"error":{"message":"retry after 20 seconds"}}', Retry_After="3").retry_after == 3


SPANS = [("2h", 7200), ("1d", 86400), ("5", 5), ("1 second", 1), ("x", None), ("", None), ("5x", None)]


@pytest.mark.parametrize(("text", "seconds"), SPANS)
def test_spans(text: str, seconds: float | None) -> None:
    """Numbers with units, nothing else."""
    assert parse_span(text) == seconds


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        ("boom", Code.UPSTREAM_ERROR, True),
        ({"message": "The server had an error", "type": "server_error"}, Code.UPSTREAM_ERROR, True),
        ({"message": "Overloaded", "type": "overloaded_error"}, Code.UPSTREAM_ERROR, True),
        ({"message": "You sent nonsense", "type": "invalid_request_error"}, Code.UPSTREAM_ERROR, False),
        ({"message": "x", "code": 429}, Code.RATE_LIMITED, True),
        ({"message": "x", "code": "503"}, Code.UPSTREAM_ERROR, True),
        ({"message": "x", "code": 400}, Code.UPSTREAM_ERROR, False),
        ({"message": "x", "code": "rate_limit_exceeded"}, Code.RATE_LIMITED, True),
        ({"message": "x", "code": "content_policy_violation"}, Code.CONTENT_REFUSED, False),
        ({"message": "Unknown parameter: 'size'"}, Code.PARAMETER_REFUSED, False),
        ({"type": "authentication_error"}, Code.KEY_REFUSED, False),
        (None, Code.UPSTREAM_ERROR, True),
        ([], Code.UPSTREAM_ERROR, True),
        (7, Code.UPSTREAM_ERROR, True),
    ],
)
def test_errors_inside_a_stream(error: object, code: Code, retryable: bool) -> None:
    """An error object with status 200 is judged by its own status, code and words."""
    found = event_failure(error)
    assert (found.code, found.retryable, found.http_status) == (code, retryable, 200)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(300, 599),
    st.binary(max_size=200) | st.text(max_size=100).map(str.encode),
    st.dictionaries(st.sampled_from(["retry-after", "x-ratelimit-reset", "retry-after-ms"]), st.text(max_size=30)),
)
def test_any_error_answer_is_read(status: int, body: bytes, headers: dict[str, str]) -> None:
    """No body and no header makes the reader fail; a wait is never negative."""
    error = status_failure(status, headers, body, NOW)
    assert len(str(error.params["message"])) <= 300
    assert error.retry_after is None or error.retry_after >= 0


def test_large_error_pages_are_quick() -> None:
    """A page made to be slow is cut before it is looked at."""
    for page in ("<script" * 40_000, "<html>" + "<!--" * 60_000, '{"a":' * 50_000, "no api key " * 30_000):
        started = time.process_time()
        failure(500, page)
        assert time.process_time() - started < 3


class RequestRecord:
    """Calls that fail in a chosen way, and a record of what happened."""

    def __init__(self, *outcomes: Exception | str) -> None:
        self.outcomes = list(outcomes)
        self.attempts: list[int] = []
        self.waits: list[float] = []
        self.notes: list[tuple[int, Code, float]] = []

    def call(self) -> str:
        attempt = len(self.attempts) + 1
        self.attempts.append(attempt)
        outcome = self.outcomes[min(attempt, len(self.outcomes)) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def run(self, *, max_retries: int = 3, interval: float = 1, wait: Callable[[float], None] | None = None) -> str:
        return call_with_retries(
            self.call,
            max_retries=max_retries,
            interval=interval,
            wait=wait or self.waits.append,
            on_retry=lambda attempt, error, seconds: self.notes.append((attempt, error.code, seconds)),
            random=lambda: 0,
        )


def passing(retry_after: float | None = None) -> EditFailed:
    """A failure worth another try."""
    return NetworkFailed(Code.CONNECTION_LOST, retryable=True, retry_after=retry_after)


def test_retries_until_it_succeeds() -> None:
    """Attempts count from one, waits double, and each retry is announced with its wait before it begins."""
    asked = RequestRecord(passing(), passing(), passing(), "done")
    assert asked.run() == "done"
    assert asked.attempts == [1, 2, 3, 4]
    assert asked.waits == [1, 2, 4]
    assert asked.notes == [(1, Code.CONNECTION_LOST, 1), (2, Code.CONNECTION_LOST, 2), (3, Code.CONNECTION_LOST, 4)]


def test_gives_up_with_the_last_failure() -> None:
    """The failure itself comes out, not one of the retry library."""
    last = passing()
    asked = RequestRecord(passing(), last)
    with pytest.raises(NetworkFailed) as caught:
        asked.run(max_retries=1)
    assert caught.value is last
    assert asked.attempts == [1, 2]


@pytest.mark.parametrize(
    "error",
    [AnswerUnusable(Code.ANSWER_NO_PICTURE), InvalidInput(Code.FIELD_TYPE), Stopped(), ValueError("a bug")],
    ids=lambda error: type(error).__name__,
)
def test_lasting_failures_are_not_asked_again(error: Exception) -> None:
    """Only what says that it may pass is asked again."""
    asked = RequestRecord(error, "done")
    with pytest.raises(type(error)):
        asked.run()
    assert asked.attempts == [1]


def test_no_retries_at_all() -> None:
    """Zero retries is one attempt."""
    asked = RequestRecord(passing(), "done")
    with pytest.raises(NetworkFailed):
        asked.run(max_retries=0)
    assert (asked.attempts, asked.waits) == ([1], [])


def test_the_longer_wait_wins() -> None:
    """What the API asks for is obeyed, but never shortens our own wait."""
    asked = RequestRecord(passing(retry_after=30), passing(retry_after=0.1), "done")
    assert asked.run() == "done"
    assert asked.waits == [30, 2]


def test_stop_during_the_wait_ends_it() -> None:
    """A wait that is cancelled ends the whole call."""

    def stopped(seconds: float) -> None:
        raise Stopped

    asked = RequestRecord(passing(), "done")
    with pytest.raises(Stopped):
        asked.run(wait=stopped)
    assert asked.attempts == [1]


def test_backoff_grows_is_bounded_and_spread() -> None:
    """Exponential from the interval, up to half as long again by chance, never beyond three minutes of our own."""
    assert [backoff(n, 1.5, 0, None) for n in (1, 2, 3)] == [1.5, 3, 6]
    assert backoff(1, 2, 0.999, None) == pytest.approx(3, rel=0.01)
    assert backoff(10, 60, 0.999, None) <= 180
    assert backoff(1, 1, 0, 3600) == 3600
