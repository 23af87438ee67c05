"""One definition of each API setting: type, default, range, choices, label; checks and the form come from it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from engine.errors import Code, InvalidInput

KEY_PLACEHOLDER = "*" * 8


class ApiMode(StrEnum):
    """Which of the three request shapes is used."""

    AUTO = "auto"
    CHAT_COMPLETIONS = "chat_completions"
    RESPONSES = "responses"
    IMAGES_EDITS = "images_edits"


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


def _field(group: str, *, ge: float | None = None, le: float | None = None, **extra: Any) -> Meta:
    return Meta(ge=ge, le=le, extra={"group": group, **extra})


class ApiConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How the API is called. ``api_key`` belongs to the origin of ``api_url`` and to no other."""

    api_url: Annotated[str, _field("often", kind="url")] = "https://api.openai.com/v1/chat/completions"
    api_key: Annotated[str, _field("often", kind="secret")] = ""
    model_name: Annotated[str, _field("often")] = "grok-imagine-1.0-edit"
    user_prompt: Annotated[str, _field("often", kind="text")] = ""
    concurrency_limit: Annotated[int, _field("often", ge=1, le=64)] = 3
    result_count: Annotated[int, _field("often", ge=1, le=10)] = 1
    system_prompt: Annotated[str, _field("request", kind="text")] = ""
    api_mode: Annotated[ApiMode, _field("request")] = ApiMode.AUTO
    stream: Annotated[StreamChoice, _field("request")] = StreamChoice.AUTO
    response_format: Annotated[ResponseFormat, _field("request")] = ResponseFormat.AUTO
    temperature: Annotated[float, _field("request", ge=0, le=2, step=0.1)] = 0.7
    max_tokens: Annotated[int, _field("request", ge=1, le=256_000)] = 65_535
    token_field: Annotated[TokenField, _field("request")] = TokenField.AUTO
    extra_body: Annotated[dict[str, Any], _field("request", kind="json")] = {}
    extra_headers: Annotated[dict[str, str], _field("request", kind="json")] = {}
    timeout_seconds: Annotated[float, _field("network", ge=5, le=1800, unit="s")] = 120
    max_retries: Annotated[int, _field("network", ge=0, le=10)] = 2
    retry_interval: Annotated[float, _field("network", ge=0.1, le=60, unit="s", step=0.1)] = 1.5
    proxy: Annotated[str, _field("network")] = ""
    unlock_local_api_url: Annotated[bool, _field("network")] = False
    unlock_local_download_url: Annotated[bool, _field("network")] = False
    price_per_call: Annotated[float, _field("network", ge=0, step=0.001)] = 0

    def __repr__(self) -> str:
        """Never show the key, whoever prints this."""
        return f"ApiConfig(api_url={self.api_url!r}, model_name={self.model_name!r})"

    @property
    def mode(self) -> ApiMode:
        """The mode to use: ``api_mode``, or what the path of ``api_url`` tells (UPSTREAM.md §1)."""
        if self.api_mode is not ApiMode.AUTO:
            return self.api_mode
        path = urlsplit(self.api_url).path.rstrip("/")
        if path.endswith("/responses"):
            return ApiMode.RESPONSES
        if path.endswith(("/images/edits", "/images/generations")):
            return ApiMode.IMAGES_EDITS
        return ApiMode.CHAT_COMPLETIONS

    def masked(self) -> Self:
        """A copy that may leave the program."""
        return msgspec.structs.replace(self, api_key=KEY_PLACEHOLDER if self.api_key else "")


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
}


def describe() -> list[FieldSpec]:
    """Every field in form order."""
    info = msgspec.inspect.type_info(ApiConfig)
    assert isinstance(info, msgspec.inspect.StructType)
    return [_describe_field(field) for field in info.fields]


def _describe_field(field: msgspec.inspect.Field) -> FieldSpec:
    meta = field.type
    extra: dict[str, Any] = {}
    if isinstance(meta, msgspec.inspect.Metadata):
        extra = dict(meta.extra or {})
        meta = meta.type
    default = field.default
    if default is msgspec.NODEFAULT:
        default = {} if field.default_factory is dict else None
    enum = meta.cls if isinstance(meta, msgspec.inspect.EnumType) else None
    return FieldSpec(
        name=field.name,
        type=_TYPE_NAMES[type(meta)],
        default=default,
        label=f"config.{field.name}.label",
        help=f"config.{field.name}.help",
        group=extra["group"],
        kind=extra.get("kind"),
        minimum=getattr(meta, "ge", None),
        maximum=getattr(meta, "le", None),
        step=extra.get("step"),
        unit=extra.get("unit"),
        choices=[str(member.value) for member in enum] if enum is not None else None,
    )
