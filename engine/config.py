"""One definition of each API setting: type, default, range, choices, label; checks and the form come from it."""

from __future__ import annotations

import math
import re
from collections.abc import Container, Iterable
from enum import StrEnum
from typing import Annotated, Any, Self, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from engine import secrets
from engine.errors import Code, InvalidInput, Problem
from engine.money import with_point
from engine.secrets import PLACEHOLDER

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


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A further door: another address, or another key. ``api_key`` belongs to the origin of ``api_url``; empty there,
    where that is the origin of the configuration, means the configuration's. ``model_name`` "" and
    ``concurrency_limit`` 0: the configuration's. ``weight``: its share of the calls where all have room."""

    api_url: str
    api_key: str = ""
    model_name: str = ""
    weight: Annotated[float, Meta(gt=0, le=100)] = 1
    concurrency_limit: Annotated[int, Meta(ge=0, le=512)] = 0


class ApiConfig(msgspec.Struct, frozen=True, kw_only=True):
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

    @property
    def mode(self) -> ApiMode:
        """The mode to use: ``api_mode``, or that of a recipe, or what the path of ``api_url`` tells."""
        if self.api_mode is not ApiMode.AUTO:
            return self.api_mode
        if self.recipe:
            return ApiMode.RECIPE
        path = urlsplit(self.api_url).path.rstrip("/")
        if path.endswith("/responses"):
            return ApiMode.RESPONSES
        if path.endswith(("/images/edits", "/images/generations", "/v1/images")):
            return ApiMode.IMAGES_EDITS
        return ApiMode.CHAT_COMPLETIONS

    def masked(self) -> Self:
        """A copy that may leave the program: the placeholder for the key and for every other secret in it."""
        shown = {name: secrets.mask(value) for name, value in _parts_with_secrets(self)}
        return msgspec.structs.replace(self, api_key=PLACEHOLDER if self.api_key else "", **shown)

    def secrets(self) -> list[str]:
        """The key and every other secret in it: what no log and no error may show."""
        found = [self.api_key, *(secret for _, value in _parts_with_secrets(self) for secret in secrets.find(value))]
        return [secret for secret in found if secret]


def _parts_with_secrets(config: ApiConfig) -> list[tuple[str, Any]]:
    """The fields besides the key in which secrets may stand."""
    fields = ((name, getattr(config, name)) for name in config.__struct_fields__)
    return [(name, value) for name, value in fields if name in ("api_url", "proxy") or isinstance(value, dict | list)]


_ENDPOINTS = {
    ApiMode.CHAT_COMPLETIONS: "/chat/completions",
    ApiMode.RESPONSES: "/responses",
    ApiMode.IMAGES_EDITS: "/images/edits",
}


def complete_url(config: ApiConfig) -> str:
    """The address with the path of its mode, where only a host, or a host and ``/v1``, was entered."""
    path = urlsplit(config.api_url).path.rstrip("/")
    endpoint = _ENDPOINTS.get(config.mode)
    if endpoint is None or path not in ("", "/v1") or "?" in config.api_url or "#" in config.api_url:
        return config.api_url
    base = config.api_url.rstrip("/")
    return f"{base}{'' if path else '/v1'}{endpoint}"


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


# What the tool that this program succeeds had: its pages and scripts send these, and left out means the default.
_FIRST_FIELDS = frozenset(
    {
        "system_prompt", "user_prompt", "api_key", "api_url", "model_name", "max_tokens", "temperature",
        "concurrency_limit", "max_retries", "retry_interval", "timeout_seconds", "api_mode", "token_field",
        "unlock_local_api_url", "unlock_local_download_url",
    }
)  # fmt: skip
_MEANT_FOR_ONE_ORIGIN = frozenset({"extra_body", "extra_headers", "recipe", "endpoints", "delivery", "batch_provider"})


def with_newer_fields(data: dict[str, Any], stored: ApiConfig) -> dict[str, Any]:
    """What was sent, and the stored value of each newer field that its sender left out, as one does that does not know
    it; what may hold a secret, or fits one service alone, goes along to the same origin only."""
    same = origin(stored.api_url) == origin(str(data.get("api_url") or stored.api_url))
    kept = {name: getattr(stored, name) for name in ApiConfig.__struct_fields__ if name not in _FIRST_FIELDS}
    return {name: value for name, value in kept.items() if same or name not in _MEANT_FOR_ONE_ORIGIN} | data


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


def origin(url: str) -> str:
    """Scheme, host and port of a URL, lower case, default ports filled in; what a key is bound to.

    "" for a URL without any of the three, or one that programs may read in different ways.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme.lower())
    except ValueError:
        return ""
    if not parts.hostname or port is None or "@" in parts.netloc or "\\" in url:
        return ""
    return f"{parts.scheme.lower()}://{parts.hostname.rstrip('.').lower()}:{port}"


def may_lend_key(holder: ApiConfig, sender: ApiConfig) -> bool:
    """Whether the key of ``holder`` may go where ``sender`` sends it: the same origin, and no proxy that could read it.

    A proxy reads all of a plain http call: then it must be the holder's, or one that the configuration does not name.
    """
    place = origin(holder.api_url)
    if not place or place != origin(sender.api_url) or not _key_origins(sender) <= _key_origins(holder):
        return False
    same = (holder.proxy.strip(), secrets.mask_url(holder.proxy.strip()))
    return place.startswith("https:") or sender.proxy.strip() in ("", "direct", *same)


def _key_origins(config: ApiConfig) -> frozenset[str]:
    """The further origins to which a recipe lets the key go: confirmed with the configuration that holds it."""
    named = config.recipe.get("origins") if config.mode is ApiMode.RECIPE else None
    entries = named if isinstance(named, list) else []
    return frozenset(entry.strip().lower() for entry in entries if isinstance(entry, str))


def with_stored_key(sent: ApiConfig, replaced: Iterable[ApiConfig], others: Iterable[ApiConfig] = ()) -> ApiConfig:
    """Fill in the stored key where ``sent`` has the placeholder or none, and every other secret that is masked.

    The first stored configuration that may lend its key gives it, ``replaced`` before ``others``. Where ``replaced``
    holds a key, but none that is stored may go there, it must be entered: a secret never follows to another origin.
    """
    replaced = list(replaced)
    filled = borrow_secrets(sent, (*replaced, *others))
    if not filled.api_key and (sent.api_key or any(config.api_key for config in replaced)):
        raise InvalidInput(Code.API_KEY_REQUIRED, field="api_key")
    for name, value in _parts_with_secrets(filled):
        if secrets.has_placeholder(value):
            raise InvalidInput(Code.API_KEY_REQUIRED, field=name)
    return filled


def borrow_secrets(sent: ApiConfig, stored: Iterable[ApiConfig]) -> ApiConfig:
    """``sent`` with what the stored configurations may lend; an ``api_key`` of "" where none lends one, the placeholder
    where another secret is not to be had. A proxy's password belongs to the proxy, whoever is asked through it."""
    key = "" if sent.api_key == PLACEHOLDER else sent.api_key
    parts = dict(_parts_with_secrets(sent))
    stored = list(stored)
    parts["endpoints"] = _borrow_for_doors(sent, stored)
    for holder in stored:
        lends = may_lend_key(holder, sent)
        key = key or (holder.api_key if lends else "")
        for name, value in parts.items():
            if (lends or name == "proxy") and name != "endpoints":
                parts[name] = secrets.fill(value, getattr(holder, name))
    return msgspec.structs.replace(sent, api_key=key, **parts)


def without_placeholders(config: ApiConfig) -> ApiConfig:
    """The configuration without the secrets that nobody could fill in."""
    parts = {name: secrets.without_placeholders(value) for name, value in _parts_with_secrets(config)}
    return msgspec.structs.replace(config, **parts)


# --- several doors ----------------------------------------------------------------------------------------------------


def doors_of(config: ApiConfig) -> list[ApiConfig]:
    """The configuration as it asks at each of its doors, its own address first; one that stands there twice once."""
    doors = [msgspec.structs.replace(config, endpoints=[])]
    for entry in config.endpoints:
        door = _door(config, msgspec.convert(entry, Endpoint))
        if all(_sameness(door) != _sameness(other) for other in doors):
            doors.append(door)
    return doors


def door_of(config: ApiConfig, door: ApiConfig) -> ApiConfig:
    """A configuration of one task as it asks at a door of `doors_of`: with its own prompts. What is secret in headers
    and body is for the configuration's own origin and goes to no other."""
    here = origin(config.api_url) == origin(door.api_url)
    return msgspec.structs.replace(
        config,
        api_url=door.api_url,
        api_key=door.api_key,
        model_name=door.model_name,
        extra_headers=config.extra_headers if here else secrets.without(config.extra_headers),
        extra_body=config.extra_body if here else secrets.without(config.extra_body),
        recipe=config.recipe if here else secrets.without(config.recipe),
        endpoints=[],
    )


def check_doors(config: ApiConfig) -> None:
    """Refuse a door that stands there twice: its limit would be learned in two places. InvalidInput."""
    known = {_sameness(config)}
    for entry in config.endpoints:
        door = _door(config, msgspec.convert(entry, Endpoint))
        if _sameness(door) in known:
            raise InvalidInput(Code.ENDPOINT_TWICE, field="endpoints", url=plain_address(door.api_url))
        known.add(_sameness(door))


def plain_address(url: str) -> str:
    """An address without what may be secret in it: no user, password, query."""
    return f"{origin(url)}{urlsplit(url).path}" if origin(url) else ""


def _door(config: ApiConfig, entry: Endpoint) -> ApiConfig:
    here = origin(config.api_url) == origin(entry.api_url)
    door = msgspec.structs.replace(
        config,
        api_url=entry.api_url,
        api_key=entry.api_key or (config.api_key if here else ""),
        model_name=entry.model_name or config.model_name,
        concurrency_limit=entry.concurrency_limit or config.concurrency_limit,
        endpoints=[],
    )
    mine = complete_url(msgspec.structs.replace(door, api_mode=config.mode))
    return msgspec.structs.replace(door_of(config, door), api_url=mine, concurrency_limit=door.concurrency_limit)


def _sameness(door: ApiConfig) -> tuple[str, str, str, str]:
    parts = urlsplit(door.api_url)
    return origin(door.api_url), f"{parts.path.rstrip('/')}?{parts.query}", door.api_key, door.model_name


def _borrow_for_doors(sent: ApiConfig, stored: list[ApiConfig]) -> list[dict[str, Any]]:
    """The entries of ``endpoints`` with the keys that stored doors of the same origin may lend: the one in the same
    place first. What nobody lends stays as it was sent."""
    filled = []
    for number, entry in enumerate(sent.endpoints):
        asking = _door(sent, msgspec.convert({**entry, "api_key": ""}, Endpoint))
        key, url = str(entry.get("api_key", "")), str(entry["api_url"])
        shares = not key and origin(url) == origin(sent.api_url)  # that of the configuration, whichever that is
        for holder in stored:
            entries = [*holder.endpoints[number : number + 1], *holder.endpoints]
            lenders = [_door(holder, msgspec.convert(one, Endpoint)) for one in entries]
            for lender in (*lenders, msgspec.structs.replace(holder, endpoints=[])):
                if may_lend_key(lender, asking):
                    url = secrets.fill(url, lender.api_url)
                    key = lender.api_key if key in ("", PLACEHOLDER) and lender.api_key and not shares else key
        filled.append({**entry, "api_key": key, "api_url": url})
    return filled
