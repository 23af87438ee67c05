"""Owns the reading of refusals: an error status, or an error inside an answer, becomes a code and whether to ask again.

This is the one place where an upstream's words are matched: gateways hide facts in them.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from engine.config import PLAIN_PARAMETERS
from engine.errors import Code, Param, UpstreamRefused
from engine.upstream.retry import parse_span, retry_after
from engine.upstream.sse import parse_json, well_formed

_MESSAGE_CHARS = 300
_LONGEST_WAIT = 86_400.0  # seconds; no clock waits for the year that some servers name
_READ_BYTES = 16_384
_DEPTH = 5
_TOKENS = "tokens"
# 52x and 529: a CDN's word for a failed or overloaded origin.
_RETRYABLE = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
_MESSAGE_KEYS = ("message", "msg", "detail", "error_description", "status_msg", "error_message", "errmsg", "title")
_CODE_KEYS = ("code", "type", "status", "reason", "status_code", "err_code")
_INNER_KEYS = ("error", "errors", "detail", "details", "base_resp", "last_error", "message")

# What services call it, where their words would not say: key and value, or the value alone, in lower case.
_NAMED: Mapping[str, tuple[Code, bool]] = {
    **dict.fromkeys(  # DashScope
        ("throttling", "throttling.ratequota", "throttling.burstrate", "throttling.allocationquota", "limitrequests"),
        (Code.RATE_LIMITED, True),
    ),
    "invalidapikey": (Code.KEY_REFUSED, False),
    "arrearage": (Code.QUOTA_EXHAUSTED, False),
    "allocationquota.freetieronly": (Code.QUOTA_EXHAUSTED, False),
    "datainspectionfailed": (Code.CONTENT_REFUSED, False),
    "modelnotfound": (Code.MODEL_UNKNOWN, False),
    "model.accessdenied": (Code.ACCESS_REFUSED, False),
    "status_code:1002": (Code.RATE_LIMITED, True),  # MiniMax
    "status_code:1004": (Code.KEY_REFUSED, False),
    "status_code:1008": (Code.QUOTA_EXHAUSTED, False),
    "status_code:1026": (Code.CONTENT_REFUSED, False),
    "status_code:1027": (Code.CONTENT_REFUSED, False),
    "status_code:1039": (Code.RATE_LIMITED, True),
    "status_code:1041": (Code.RATE_LIMITED, True),
    "status_code:2049": (Code.KEY_REFUSED, False),
    "status_code:2056": (Code.QUOTA_EXHAUSTED, False),
    "code:433": (Code.QUOTA_EXHAUSTED, False),  # kie: the key's own limit; 455: it is being mended
    "code:455": (Code.UPSTREAM_ERROR, True),
    "authenticationerror": (Code.KEY_REFUSED, False),  # Ark
    "accountoverdueerror": (Code.QUOTA_EXHAUSTED, False),
    "modelnotopen": (Code.ACCESS_REFUSED, False),
    "invalidendpointormodel.notfound": (Code.MODEL_UNKNOWN, False),
    "requestbursttoofast": (Code.RATE_LIMITED, True),
    "setlimitexceeded": (Code.QUOTA_EXHAUSTED, False),
    "code:20012": (Code.MODEL_UNKNOWN, False),  # SiliconFlow
    "code:30001": (Code.QUOTA_EXHAUSTED, False),
    "invalid_iam_token": (Code.KEY_REFUSED, False),  # Qianfan
    "invalid_model": (Code.MODEL_UNKNOWN, False),
    "access_denied": (Code.ACCESS_REFUSED, False),
    "request moderated": (Code.CONTENT_REFUSED, False),  # bfl
    "content moderated": (Code.CONTENT_REFUSED, False),
}
_RATE = re.compile(r"rate.?limit|no available tokens?|too many requests|\b429\b|resource.?exhausted", re.IGNORECASE)
_QUOTA = re.compile(
    r"insufficient\w*.{0,10}(?:quota|balance|credit|funds)|billing.?hard.?limit|exceeded your current quota|"
    r"quota.?exhausted|out of credits|used all (?:\w+ )?credits|spending limit|"
    r"payment.?required|key limit exceeded|预扣费|no credits|exhausted balance|"
    r"balance.{0,20}(?:insufficient|not enough)|account.?overdue|"
    r"余额不足|额度不足|额度已用尽|欠费",
    re.IGNORECASE,
)
_CONTENT = re.compile(
    r"content.?policy|content.?filter|(?:content|request).?moderat|moderation.?blocked|policy.?violation|"
    r"prohibited.?content|"
    r"input was flagged|flagged as (?:sensitive|inappropriate|unsafe)|inappropriate.?content|"
    r"(?:rejected|blocked|flagged|refused)\b.{0,60}\b(?:moderation|safety)|safety.?(?:system|filter|block|violation)|"
    r"image.?safety|new.sensitive|sensitive.?(?:content|words?|information)|data.?inspection|content.?unsafe|"
    r"violat\w*.{0,60}(?:polic|terms|guideline)|\bnsfw\b|"
    r"内容.{0,4}(?:安全|审核|违规|政策)|敏感(?:内容|词|信息)|违规",
    re.IGNORECASE,
)
_KEY = re.compile(
    r"(?:incorrect|invalid|wrong|missing|expired).{0,10}(?:api.?key|(?<!max_)(?<!output_)(?<!completion_)token\b|credential)|"
    r"api.?key.{0,20}(?:invalid|not valid)|authentication.?error|unauthenticated|unauthorized",
    re.IGNORECASE,
)
_MODEL = re.compile(
    r"model.?not.?found|(?:unknown|invalid|unsupported|no such).?model|"
    r"\bmodels?\b.{0,80}(?:not (?:found|exist|supported|available)|does ?n[o']t exist|is (?:invalid|unknown))|"
    r"no available channels? for model|\bmodels?\b.{0,40}(?:deprecated|no longer available|retired)|"
    r"模型.{0,40}(?:不存在|未找到|不支持|已下线|无可用渠道)",
    re.IGNORECASE | re.DOTALL,
)
# The model is there, at another path of the API: grok2api's for editing, OpenAI's that speak one of their two only.
_ELSEWHERE = re.compile(
    r"(?:\b(?:use|via|through|only (?:supported|available) (?:in|on|at|via))|使用|改用|调用) ?(?:the )?[`'\"]?"
    r"/?v1/(?:chat/completions|responses|images/edits)",
    re.IGNORECASE,
)
_PARAMETER = re.compile(
    r"(?:unknown|unsupported|unrecognized|unexpected|invalid|extra|missing|additional)(?: required| request)?"
    r" (?:parameter|argument|field|name|key|property|value for)s?(?: supplied| value)?(?: ?: ?[`'\"]?| ?[`'\"])"
    r"([A-Za-z_][\w.\[\]-]{0,63})|"
    r"(?:argument|parameter|field)s? (?:is )?not supported[^:.]{0,40}: ?[`'\"]?([A-Za-z_]\w{0,63})",  # xAI
    re.IGNORECASE,
)
# Parameters of ours, and one that needs ``stream`` beside it, named in whatever words; short names need a mark.
_SHORT = "|".join(("n", "stream", *PLAIN_PARAMETERS))
_MENTIONED = re.compile(
    r"\b(temperature|response_format|max_(?:completion_|output_)?tokens|modalities|partial_images)\b|"
    rf"[`'\"]({_SHORT})[`'\"]|\b(?:parameter|argument|field|property|参数) ?:?({_SHORT})\b|"
    r"\b(n) ?(?:=|must be|should be)|"
    r"\b(stream)(?:ing)?(?: ?= ?true)?(?: mode)? (?:is not|must|should)|not support (?:the )?(stream)",
    re.IGNORECASE,
)
_TOKEN_LIMIT = re.compile(
    r"(?:afford|at most|maximum(?: allowed)?(?: value)?(?: is| of)?|(?:less|lower|smaller) than or equal to|<=|≤)"
    r" ?:?(\d{2,7})\b|\[\s*\d+\s*,\s*(\d{2,7})\s*\]|> ?(\d{2,7}),? which is the max",
    re.IGNORECASE,
)
_UNSUITED = re.compile(
    r"no (?:endpoints|allowed providers) (?:found|are available)|support.{0,40}output modalities", re.IGNORECASE
)
_POLICY = re.compile(r"(?:data|privacy) policy", re.IGNORECASE)  # the account's own, at OpenRouter
_PASSING = re.compile(
    r"overload|timeout|timed out|server.?error|internal|unavailable|try again|\b50[0234]\b", re.IGNORECASE
)
_LASTING = re.compile(
    r"invalid.?request|invalid.?argument|bad.?request|unsupported|not.?found|permission", re.IGNORECASE
)
_WAIT_WORDS = re.compile(
    r"(?:try again|retry|wait)\s+(?:in|after|for)?\s*((?:\d+(?:\.\d+)?(?:ms|[hms]|\s*seconds?)\s*)+)", re.IGNORECASE
)
_SECRET = re.compile(r"(?:\b(?:sk|xai|gsk|pk|rk)[-_]|\bAIza)[A-Za-z0-9_*.-]{8,}|(\bBearer\s+)\S+", re.IGNORECASE)
_HIDDEN_TEXT = re.compile(r"<(script|style|head)\b[^>]*>.*?</\1\s*>|<!--.*?-->", re.IGNORECASE | re.DOTALL)
_PAGE_START = re.compile(
    r"\s*(?:<!--.{0,2000}?-->\s*|<\?xml[^<>]*>\s*){0,4}<(?:!doctype\s+html|html|head|body|title|meta|script|noscript|center|div)\b",
    re.IGNORECASE | re.DOTALL,
)
_PAGE_TITLE = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")


class _Facts(msgspec.Struct):
    """What an error value says."""

    message: str = ""
    codes: list[str] = []
    named: list[str] = []
    parameter: str | None = None
    retry_after: float | None = None

    @property
    def words(self) -> str:
        """All that can be matched."""
        return " ".join([*self.codes, self.message])


def status_failure(status: int, headers: Mapping[str, str], body: bytes, now: float) -> UpstreamRefused:
    """The failure that an answer with an error status stands for. ``now``: Unix seconds, for HTTP dates.

    Params: status, message (short, readable, without keys); parameter or retry_after where known, with a parameter that
    is a number of tokens the ``limit`` that the refusal names.
    """
    facts = _read_body(body)
    code, retryable = _judge_status(status, facts)
    facts.message = facts.message or _phrase(status)
    wait = None
    if retryable:
        wait = retry_after(headers, now, limited=code is Code.RATE_LIMITED)
        if wait is None and code is Code.RATE_LIMITED:
            wait = facts.retry_after
    return _refusal(code, retryable, facts, http_status=status, status=status, wait=wait)


def event_failure(error: object, http_status: int | None = 200) -> UpstreamRefused:
    """The failure that an error value inside an answer stands for; ``error`` is any JSON value.

    What names no lasting cause is retryable: the request was accepted before it failed. Params as above; ``status`` is
    the one that the error itself names, else ``http_status``.
    """
    facts = _Facts()
    _read_value(error, facts)
    named = next((int(code) for code in facts.codes if re.fullmatch("[45][0-9][0-9]", code)), None)
    if named is not None:
        code, retryable = _judge_status(named, facts)
        if code is Code.UPSTREAM_STATUS:
            code = Code.UPSTREAM_ERROR
    else:
        code, retryable = _judge_words(facts)
    wait = facts.retry_after if retryable else None
    return _refusal(code, retryable, facts, http_status=http_status, status=named or http_status, wait=wait)


def wait_as_told(failure: UpstreamRefused, headers: Mapping[str, str], now: float) -> None:
    """Note in a retryable failure inside an answer how long that answer's headers ask to wait, unless it says so."""
    if failure.retryable and failure.retry_after is None:
        wait = retry_after(headers, now, limited=failure.code is Code.RATE_LIMITED)
        if wait is not None:
            failure.retry_after = failure.params["retry_after"] = min(wait, _LONGEST_WAIT)


def content_failure(message: str, http_status: int | None = 200) -> UpstreamRefused:
    """The model, or a filter behind it, refused the picture or the prompt."""
    return _refusal(Code.CONTENT_REFUSED, False, _Facts(_tidy(message)), http_status=http_status, status=http_status)


def _refusal(
    code: Code,
    retryable: bool,
    facts: _Facts,
    *,
    http_status: int | None,
    status: int | None,
    wait: float | None = None,
) -> UpstreamRefused:
    wait = None if wait is None else min(wait, _LONGEST_WAIT)
    params: dict[str, Param] = {"status": status, "message": facts.message}
    if code in (Code.PARAMETER_REFUSED, Code.MODEL_UNSUITED):
        params["parameter"] = facts.parameter
        if facts.parameter and _TOKENS in facts.parameter and (limit := _TOKEN_LIMIT.search(facts.message)):
            params["limit"] = int(next(number for number in limit.groups() if number))
    if wait is not None:
        params["retry_after"] = wait
    error = UpstreamRefused(code, retryable=retryable, retry_after=wait, http_status=http_status)
    error.params = params
    return error


def _judge_status(status: int, facts: _Facts) -> tuple[Code, bool]:
    words = facts.words
    if (known := _known(facts)) is not None:
        return known
    if status == 402 and facts.parameter and _TOKENS in facts.parameter:
        return Code.PARAMETER_REFUSED, False  # OpenRouter: there is credit, for fewer tokens
    if status in (400, 404, 422) and (misplaced := _misplaced(words)) is not None:
        return misplaced, False
    if status == 402 or (status in (400, 403, 429) and _QUOTA.search(words)):
        return Code.QUOTA_EXHAUSTED, False
    if status == 429 or (status >= 500 and _RATE.search(words)):
        return Code.RATE_LIMITED, True
    if status not in (401, 404) and _CONTENT.search(words):
        return Code.CONTENT_REFUSED, False
    if status == 401 or (status in (400, 403) and _KEY.search(words)):
        return Code.KEY_REFUSED, False
    if status == 403:
        return Code.ACCESS_REFUSED, False
    if status in (400, 404, 422, 503) and (_MODEL.search(words) or (status == 404 and facts.parameter == "model")):
        return Code.MODEL_UNKNOWN, False
    if status == 413:
        return Code.REQUEST_TOO_LARGE, False
    if status in (404, 405):
        return Code.ENDPOINT_UNKNOWN, False
    if status in (400, 422) and facts.parameter:
        return Code.PARAMETER_REFUSED, False
    return Code.UPSTREAM_STATUS, status in _RETRYABLE


def _misplaced(words: str) -> Code | None:
    """What was asked of a model, or at a path, that is not for it."""
    if _UNSUITED.search(words):
        return Code.ACCESS_REFUSED if _POLICY.search(words) else Code.MODEL_UNSUITED
    return Code.ENDPOINT_UNKNOWN if _ELSEWHERE.search(words) else None


def _known(facts: _Facts) -> tuple[Code, bool] | None:
    """What a service's own name for a failure stands for."""
    return next((_NAMED[name] for name in facts.named if name in _NAMED), None)


def _judge_words(facts: _Facts) -> tuple[Code, bool]:
    words = facts.words
    if (known := _known(facts)) is not None:
        return known
    table = (
        (_QUOTA, Code.QUOTA_EXHAUSTED, False),
        (_CONTENT, Code.CONTENT_REFUSED, False),
        (_RATE, Code.RATE_LIMITED, True),
        (_KEY, Code.KEY_REFUSED, False),
        (_MODEL, Code.MODEL_UNKNOWN, False),
    )
    for pattern, code, retryable in table:
        if pattern.search(words):
            return code, retryable
    if facts.parameter:
        return Code.PARAMETER_REFUSED, False
    return Code.UPSTREAM_ERROR, bool(_PASSING.search(words)) or not _LASTING.search(words)


# --- reading ----------------------------------------------------------------------------------------------------------


def _phrase(status: int) -> str:
    """What a status means, for a refusal without a word."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _read_body(body: bytes) -> _Facts:
    text = body.decode("utf-8-sig", "replace")
    facts = _Facts()
    try:
        value = parse_json(text.strip().removeprefix("data:"))
    except ValueError:
        facts.message = _tidy(readable(text))
        facts.parameter = _named_parameter(facts.message)
        return facts
    _read_value(value, facts)
    facts.message = facts.message or _tidy(text)
    return facts


def _read_value(value: Any, facts: _Facts, depth: int = 0) -> None:
    """Gather what an error value says, outer values first."""
    if isinstance(value, str):
        facts.message = facts.message or _tidy(readable(value))
    elif isinstance(value, list) and depth < _DEPTH:
        for item in value[:4]:
            _read_value(item, facts, depth + 1)
    elif isinstance(value, dict) and depth < _DEPTH:
        _read_object(value, facts, depth)
    facts.parameter = facts.parameter or _named_parameter(facts.message)
    if facts.retry_after is None and (words := _WAIT_WORDS.search(facts.message)):
        facts.retry_after = parse_span(words.group(1))


def _read_object(value: dict[str, Any], facts: _Facts, depth: int) -> None:
    for key in _CODE_KEYS:
        if isinstance(value.get(key), (str, int)):
            code = str(value[key])[:80]
            facts.codes.append(code)
            facts.named += [f"{key}:{code.lower()}", code.lower()]
    if isinstance(value.get("param"), str):
        facts.parameter = facts.parameter or well_formed(value["param"][:64])
    place = value.get("loc")  # FastAPI: where in the request
    if isinstance(place, list) and place and isinstance(place[-1], str):
        facts.parameter = facts.parameter or well_formed(place[-1][:64])
    if isinstance(value.get("retryDelay"), str):  # Google
        facts.retry_after = parse_span(value["retryDelay"])
    if not isinstance(value.get("error"), dict):
        for key in _MESSAGE_KEYS:
            if isinstance(value.get(key), str):
                _note_message(value[key], facts, depth)
    for key in _INNER_KEYS:
        if isinstance(value.get(key), (dict, list)) or key == "error":
            _read_value(value.get(key), facts, depth + 1)
    for key in _MESSAGE_KEYS:
        if isinstance(value.get(key), str):
            _note_message(value[key], facts, depth)


def _note_message(text: str, facts: _Facts, depth: int) -> None:
    """The first message counts; a gateway may hand on what it was told as JSON inside a string."""
    if not facts.message and text.lstrip().startswith("{") and depth < _DEPTH:
        try:
            inner = parse_json(text)
        except ValueError:
            inner = None
        _read_value(inner, facts, depth + 1)
    facts.message = facts.message or _tidy(readable(text))


def _named_parameter(message: str) -> str | None:
    found = _PARAMETER.search(message) or _MENTIONED.search(message)
    name = next(name for name in found.groups() if name).rstrip(".") if found else None
    return name.lower() if name and re.fullmatch(_SHORT, name, re.IGNORECASE) else name


def web_page_title(body: bytes) -> str | None:
    """The title of a web page, empty where it has none; None if the beginning of a body is no web page."""
    text = body[:_READ_BYTES].decode("utf-8-sig", "replace")
    if not _PAGE_START.match(text):
        return None
    title = _PAGE_TITLE.search(text)
    return _tidy(html.unescape(title.group(1))) if title else ""


def readable(text: str) -> str:
    """Text for people: of an HTML page its title and words, of anything else the beginning."""
    text = text[:_READ_BYTES]
    if "<" not in text or not re.search(r"<(?:!doctype|html|head|body|title|h1|center)\b", text, re.IGNORECASE):
        return text
    title = _PAGE_TITLE.search(text)
    words = html.unescape(_TAG.sub(" ", _HIDDEN_TEXT.sub(" ", text)))
    return f"{html.unescape(title.group(1)) if title else ''} {words}"


def _tidy(text: str) -> str:
    """One short line without anything that looks like a key."""
    line = " ".join(well_formed(text[:_READ_BYTES]).split())
    line = _SECRET.sub(lambda found: (found.group(1) or "") + "***", line)
    return line if len(line) <= _MESSAGE_CHARS else line[: _MESSAGE_CHARS - 1] + "…"
