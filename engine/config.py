"""One definition of each API setting: type, default, range, choices, label; checks and the form come from it."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Container, Iterable
from enum import StrEnum
from typing import Annotated, Any, Final, Self, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from engine import secrets
from engine.errors import Code, InvalidInput, Problem
from engine.money import with_point
from engine.secrets import PLACEHOLDER

PLAIN_PARAMETERS: Final = ("seed",)
"""Settings that every API takes under their own name, and that are sent only where a person gave them."""

_MOST_ENDPOINTS = 64
_MOST_EXACT = 2**53 - 1  # the largest whole number that every JSON reader keeps


class ApiMode(StrEnum):
    """Which request shape is used: one of the three that are built in, or what a recipe describes."""

    AUTO = "auto"
    CHAT_COMPLETIONS = "chat_completions"
    RESPONSES = "responses"
    IMAGES_EDITS = "images_edits"
    RECIPE = "recipe"


class RequestForm(StrEnum):
    """How the body of an images/edits request carries the pictures."""

    AUTO = "auto"
    JSON = "json"
    JSON_STRING = "json_string"
    JSON_OPENAI = "json_openai"
    FORM = "form"
    FORM_LIST = "form_list"


class TokenField(StrEnum):
    """Under which name the token limit is sent."""

    AUTO = "auto"
    MAX_TOKENS = "max_tokens"
    MAX_COMPLETION_TOKENS = "max_completion_tokens"
    MAX_OUTPUT_TOKENS = "max_output_tokens"
    NONE = "none"


class ResponseFormat(StrEnum):
    """Whether results are asked for inline or as URLs."""

    AUTO = "auto"
    B64_JSON = "b64_json"
    URL = "url"


class StreamChoice(StrEnum):
    """Whether an event stream is asked for."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


class SourceFormat(StrEnum):
    """What source pictures are sent as; AUTO changes only what APIs refuse."""

    AUTO = "auto"
    AS_IS = "as_is"
    PNG = "png"
    JPEG = "jpeg"
    WEBP = "webp"


class Delivery(StrEnum):
    """When results are to come: now, or by the provider's batches, within a day and for less."""

    NOW = "now"
    BATCH = "batch"


class BatchProvider(StrEnum):
    """Whose batches are meant; AUTO goes by address and mode."""

    AUTO = "auto"
    OPENAI = "openai"
    GEMINI = "gemini"
    XAI = "xai"


def _field(group: str, *, ge: float | None = None, le: float | None = None, **extra: Any) -> Meta:
    # Ranges ride in `extra`: a stored value is clamped, so the decoder itself must let it pass.
    return Meta(extra={"group": group, "minimum": ge, "maximum": le, **extra})


_ENDPOINTS = {
    ApiMode.CHAT_COMPLETIONS: "/chat/completions",
    ApiMode.RESPONSES: "/responses",
    ApiMode.IMAGES_EDITS: "/images/edits",
}


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A further door: another address, or another key. ``api_key`` belongs to the origin of ``api_url``; empty there,
    where that is the origin of the configuration, means the configuration's. ``model_name`` "" and
    ``concurrency_limit`` 0: the configuration's. ``weight``: its share of the calls where all have room."""

    api_url: str
    api_key: str = ""
    model_name: str = ""
    weight: Annotated[float, Meta(gt=0, le=100)] = 1
    concurrency_limit: Annotated[int, Meta(ge=0, le=512)] = 0


class ApiConfig(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """How the API is called. ``api_key`` belongs to the origin of ``api_url`` and to no other."""

    api_url: Annotated[str, _field("often", kind="url")] = "https://api.openai.com/v1/chat/completions"
    api_key: Annotated[str, _field("often", kind="secret")] = ""
    model_name: Annotated[str, _field("often")] = "grok-imagine-1.0-edit"
    user_prompt: Annotated[str, _field("often", kind="text")] = ""
    concurrency_limit: Annotated[int, _field("often", ge=1, le=512)] = 3
    result_count: Annotated[int, _field("often", ge=1, le=10)] = 1
    delivery: Annotated[Delivery, _field("often")] = Delivery.NOW
    system_prompt: Annotated[str, _field("request", kind="text")] = ""
    api_mode: Annotated[ApiMode, _field("request")] = ApiMode.AUTO
    stream: Annotated[StreamChoice, _field("request")] = StreamChoice.AUTO
    response_format: Annotated[ResponseFormat, _field("request")] = ResponseFormat.AUTO
    temperature: Annotated[float, _field("request", ge=0, le=2, step=0.1)] = 0.7
    max_tokens: Annotated[int, _field("request", ge=1, le=256_000)] = 65_535
    token_field: Annotated[TokenField, _field("request")] = TokenField.AUTO
    request_form: Annotated[RequestForm, _field("request")] = RequestForm.AUTO
    seed: Annotated[int | None, _field("request", ge=-_MOST_EXACT, le=_MOST_EXACT)] = None
    extra_body: Annotated[dict[str, Any], _field("request", kind="json")] = {}
    extra_headers: Annotated[dict[str, str], _field("request", kind="json")] = {}
    source_format: Annotated[SourceFormat, _field("request")] = SourceFormat.AUTO
    source_max_edge: Annotated[int, _field("request", ge=0, le=65_535, unit="px")] = 0
    recipe: Annotated[dict[str, Any], _field("request", kind="json")] = {}
    batch_provider: Annotated[BatchProvider, _field("request")] = BatchProvider.AUTO
    timeout_seconds: Annotated[float, _field("network", ge=5, le=1800, unit="s")] = 120
    job_timeout_seconds: Annotated[float, _field("network", ge=60, le=172_800, unit="s")] = 3600
    max_retries: Annotated[int, _field("network", ge=0, le=10)] = 2
    retry_interval: Annotated[float, _field("network", ge=0.1, le=60, unit="s", step=0.1)] = 1.5
    proxy: Annotated[str, _field("network")] = ""
    endpoints: Annotated[list[dict[str, Any]], _field("network", kind="json")] = []
    unlock_local_api_url: Annotated[bool, _field("network")] = False
    unlock_local_download_url: Annotated[bool, _field("network")] = False
    price_per_call: Annotated[float, _field("network", ge=0, step=0.001, unit="USD")] = 0
    budget: Annotated[float, _field("network", ge=0, le=1_000_000, step=0.01, unit="USD")] = 0
    budget_day: Annotated[float, _field("network", ge=0, le=1_000_000, step=0.01, unit="USD")] = 0
    alarm_limit: Annotated[int, _field("network", ge=0, le=20)] = 5

    def __repr__(self) -> str:
        """Never show the key, whoever prints this."""
        return f"ApiConfig(api_url={self.api_url!r}, model_name={self.model_name!r})"

    @functools.cached_property
    def mode(self) -> ApiMode:
        """The mode to use: ``api_mode``, or that of a recipe, or what the path of ``api_url`` tells."""
        if self.api_mode is not ApiMode.AUTO:
            return self.api_mode
        if self.recipe:
            return ApiMode.RECIPE
        path = _path(self.api_url)
        if path.endswith("/responses"):
            return ApiMode.RESPONSES
        if path.endswith(("/images/edits", "/images/generations", "/v1/images")):
            return ApiMode.IMAGES_EDITS
        return ApiMode.CHAT_COMPLETIONS

    def masked(self) -> Self:
        """A copy that may leave the program: the placeholder for the key and for every other secret in it."""
        shown = {name: secrets.mask(value) for name, value in self.parts_with_secrets()}
        return msgspec.structs.replace(self, api_key=PLACEHOLDER if self.api_key else "", **shown)

    @functools.cached_property
    def secrets(self) -> tuple[str, ...]:
        """The key and every other secret in it: what no log and no error may show."""
        found = [self.api_key, *(secret for _, value in self.parts_with_secrets() for secret in secrets.find(value))]
        return tuple(secret for secret in found if secret)

    def parts_with_secrets(self) -> list[tuple[str, Any]]:
        """The fields besides the key in which secrets may stand."""
        return [(name, getattr(self, name)) for name in _MAY_HOLD_SECRETS]

    @property
    def addresses(self) -> list[tuple[str, str]]:
        """Every address that it asks, its own first, and the field in which each stands."""
        return [(self.api_url, "api_url"), *((str(entry["api_url"]), "endpoints") for entry in self.endpoints)]

    @property
    def complete_url(self) -> str:
        """The address with the path of its mode, where only a host, or a host and ``/v1``, was entered."""
        path = _path(self.api_url)
        endpoint = _ENDPOINTS.get(self.mode)
        if endpoint is None or path not in ("", "/v1") or "?" in self.api_url or "#" in self.api_url:
            return self.api_url
        base = self.api_url.rstrip("/")
        return f"{base}{'' if path else '/v1'}{endpoint}"


def _path(url: str) -> str:
    """The path of an address without slashes at its end; what cannot be taken apart whole, for its user to refuse."""
    try:
        return urlsplit(url).path.rstrip("/")
    except ValueError:
        return url


_MAY_HOLD_SECRETS: Final = (
    "api_url",
    "proxy",
    *(field.name for field in msgspec.structs.fields(ApiConfig) if field.default_factory in (dict, list)),
)


class FieldSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A setting as the form needs it; ``label`` and ``help`` are message keys."""

    name: str
    type: str
    default: Any
    label: str
    help: str
    group: str
    kind: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    unit: str | None = None
    choices: list[str] | None = None


_TYPE_NAMES: dict[type, str] = {
    msgspec.inspect.StrType: "string",
    msgspec.inspect.IntType: "integer",
    msgspec.inspect.FloatType: "number",
    msgspec.inspect.BoolType: "boolean",
    msgspec.inspect.EnumType: "choice",
    msgspec.inspect.DictType: "object",
    msgspec.inspect.ListType: "array",
}


def describe() -> list[FieldSpec]:
    """Every field in form order."""
    return describe_struct(ApiConfig)


def describe_struct(
    kind: type[msgspec.Struct],
    label: str = "config.{}.label",
    help_text: str = "config.{}.help",
    leave: Container[str] = (),
) -> list[FieldSpec]:
    """Every field of any Struct that a form is made of, but those to ``leave`` out; what has no range, group or kind in
    its annotation has none. ``{}`` in the keys of its words stands for the name."""
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)
    return [_describe_field(field, label, help_text) for field in info.fields if field.name not in leave]


def _describe_field(field: msgspec.inspect.Field, label: str, help_text: str) -> FieldSpec:
    meta = field.type
    extra: dict[str, Any] = {}
    if isinstance(meta, msgspec.inspect.Metadata):
        extra = dict(meta.extra or {})
        meta = meta.type
    if isinstance(meta, msgspec.inspect.UnionType):  # with None: the field may be empty
        meta = next(part for part in meta.types if not isinstance(part, msgspec.inspect.NoneType))
    default = field.default
    if default is msgspec.NODEFAULT:
        factories: dict[Any, Any] = {dict: {}, list: []}
        default = factories.get(field.default_factory)
    enum = meta.cls if isinstance(meta, msgspec.inspect.EnumType) else None
    return FieldSpec(
        name=field.name,
        type=_TYPE_NAMES[type(meta)],
        default=default,
        label=label.format(field.name),
        help=help_text.format(field.name),
        group=extra.get("group", ""),
        kind=extra.get("kind"),
        minimum=extra.get("minimum", getattr(meta, "ge", None)),
        maximum=extra.get("maximum", getattr(meta, "le", None)),
        step=extra.get("step"),
        unit=extra.get("unit"),
        choices=[str(member.value) for member in enum] if enum is not None else None,
    )


def parse_entered(data: dict[str, Any]) -> tuple[ApiConfig, list[Problem]]:
    """A configuration as a person or script enters it: what is out of range is refused by name.

    Fields left out or null take their default; unknown ones are kept out and named in the warnings.
    """
    return _parse(data, clamp=False)


def parse_stored(data: dict[str, Any]) -> tuple[ApiConfig, list[Problem]]:
    """A configuration from a file: numbers are clamped, what cannot be read takes its default and is named."""
    return _parse(data, clamp=True)


def loses(warnings: Iterable[Problem]) -> bool:
    """Whether what ``parse_stored`` warned of is a value that could not be read at all: the next writing drops it."""
    return any(warning.code in (Code.FIELD_TYPE, Code.FIELD_CHOICE, Code.FIELD_RESERVED) for warning in warnings)


def _parse(data: dict[str, Any], *, clamp: bool) -> tuple[ApiConfig, list[Problem]]:
    hints = get_type_hints(ApiConfig)  # without the metadata: plain types
    values: dict[str, Any] = {}
    warnings = [Problem(Code.FIELD_UNKNOWN, {"name": name}, name) for name in data if name not in hints]
    for spec in describe():
        empty_is_default = spec.choices or spec.default is None  # an empty choice or number is none
        if data.get(spec.name) is None or (empty_is_default and data[spec.name] == ""):
            continue
        try:
            values[spec.name] = _read_field(spec, hints[spec.name], data[spec.name], clamp=clamp)
        except InvalidInput as error:
            if not clamp:
                raise
            warnings.append(error.problem)
    if not clamp and not values.get("api_url", "default"):
        raise InvalidInput(Code.FIELD_REQUIRED, field="api_url", name="api_url")
    return ApiConfig(**values), warnings


def _read_field(spec: FieldSpec, hint: Any, raw: Any, *, clamp: bool) -> Any:
    try:
        value = msgspec.convert(with_point(raw) if hint is float and isinstance(raw, str) else raw, hint, strict=False)
    except msgspec.ValidationError as error:
        if spec.choices is not None:
            raise InvalidInput(
                Code.FIELD_CHOICE, field=spec.name, name=spec.name, choices=", ".join(spec.choices)
            ) from error
        raise InvalidInput(Code.FIELD_TYPE, field=spec.name, name=spec.name, type=spec.type) from error
    if isinstance(value, str) and not isinstance(value, StrEnum) and spec.kind != "text":
        value = value.strip()
    if spec.kind == "secret":
        return _clean(value) if clamp else clean_key(value, spec.name)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _in_range(spec, value, clamp=clamp)
    if isinstance(value, dict) and spec.name in _RESERVED:
        _refuse_reserved(spec, value)
    if isinstance(value, list):
        return [_read_endpoint(entry, number, clamp=clamp) for number, entry in enumerate(value[:_MOST_ENDPOINTS])]
    return value


def _read_endpoint(entry: dict[str, Any], number: int, *, clamp: bool) -> dict[str, Any]:
    """One entry of ``endpoints``, checked as the configuration itself is; what is out of range is refused by name."""
    place = f"endpoints[{number}]"
    unknown = [name for name in entry if name not in Endpoint.__struct_fields__]
    if unknown and not clamp:
        raise InvalidInput(
            Code.FIELD_CHOICE, field="endpoints", name=f"{place}.{unknown[0]}",
            choices=", ".join(Endpoint.__struct_fields__),
        )  # fmt: skip
    given = {name: value for name, value in entry.items() if value is not None and name not in unknown}
    given = {name: with_point(v) if name == "weight" and isinstance(v, str) else v for name, v in given.items()}
    try:
        read = msgspec.convert({"api_url": "", **given}, Endpoint, strict=False)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("$.")[2].rstrip("`") or "api_url"
        kind = {"weight": "number", "concurrency_limit": "integer"}.get(name, "string")
        raise InvalidInput(Code.FIELD_TYPE, field="endpoints", name=f"{place}.{name}", type=kind) from error
    url, key = read.api_url.strip(), _clean(read.api_key) if clamp else clean_key(read.api_key, "endpoints")
    if not url:
        raise InvalidInput(Code.FIELD_REQUIRED, field="endpoints", name=f"{place}.api_url")
    fields: dict[str, Any] = msgspec.to_builtins(
        msgspec.structs.replace(read, api_url=url, api_key=key, model_name=read.model_name.strip())
    )
    return fields


def _in_range(spec: FieldSpec, value: float, *, clamp: bool) -> float:
    low = -math.inf if spec.minimum is None else spec.minimum
    high = math.inf if spec.maximum is None else spec.maximum
    if low <= value <= high and math.isfinite(value):
        return value
    if clamp and not math.isnan(value) and math.isfinite(min(max(value, low), high)):
        return type(value)(min(max(value, low), high))
    raise InvalidInput(
        Code.FIELD_RANGE, field=spec.name, name=spec.name, minimum=spec.minimum, maximum=spec.maximum, value=value
    )


_WITHOUT_WIDTH = dict.fromkeys(map(ord, "\ufeff\u200b\u200c\u200d\u2060\u00ad\u200e\u200f"))
_BEFORE_KEY = re.compile(r"(?:(?:authorization|(?:x-)?api-key)\s*[:=]\s*|bearer\s+)", re.IGNORECASE)
_QUOTES = "\"'`“”‘’「」"


def clean_key(text: str, name: str = "api_key") -> str:
    """A key as people paste it without what came along: quotes, ``Authorization: Bearer``, white space, marks without
    width. Raises InvalidInput (KEY_UNUSABLE) for anything left that no header can carry."""
    key = _clean(text)
    wrong = next((letter for letter in key if not "!" <= letter <= "~"), None)
    if wrong is not None:
        raise InvalidInput(Code.KEY_UNUSABLE, field=name, name=name, letter=f"U+{ord(wrong):04X}")
    return key


def _clean(text: str) -> str:
    before = None
    while text != before:  # what came along may stand in any order
        before = text
        text = text.translate(_WITHOUT_WIDTH).strip().strip(_QUOTES).strip()
        if prefix := _BEFORE_KEY.match(text):
            text = text[prefix.end() :]
    return text


# The key has a field of its own, bound to its origin; framing headers are the transport's.
_RESERVED = {
    "extra_body": frozenset({"api_key", "apikey", "authorization"}),
    "extra_headers": frozenset({"authorization", "proxy-authorization", "x-api-key", "api-key", "cookie", "host"}),
}


def _refuse_reserved(spec: FieldSpec, value: dict[str, Any]) -> None:
    for name in value:
        if name.strip().lower() in _RESERVED[spec.name]:
            raise InvalidInput(Code.FIELD_RESERVED, field=spec.name, name=name)
