"""Owns what is sent: one builder for each API mode, the automatic choices, and a description fit for a log."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import msgspec

from engine.config import (
    PLAIN_PARAMETERS,
    ApiConfig,
    ApiMode,
    RequestForm,
    ResponseFormat,
    StreamChoice,
    TokenField,
)
from engine.errors import Code, InvalidInput
from engine.formats import extension_of
from engine.secrets import PLACEHOLDER, TELLING, is_secret, mask, mask_url
from engine.upstream.content import ACCEPT_ENCODING

_SHOWN_CHARS = 2000
_SHOWN_INLINE = 48
# Set by us or by the connection; a copy from outside could smuggle a second request or another host.
_FRAMING = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
FRAMING_HEADERS = _FRAMING | {"content-type"}
"""Headers that frame the message: no setting may bring them."""
RESERVED_HEADERS = FRAMING_HEADERS | {"authorization"}
"""Nor the one that carries the key, in ``extra_headers``."""
USER_AGENT = "image-batch-console"
ACCEPT_PICTURES = "image/png, image/jpeg, image/webp, image/*;q=0.9, */*;q=0.5"
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_BAD_HEADER_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

Headers = list[tuple[bytes, bytes]]


class HttpRequest(msgspec.Struct, frozen=True):
    """A request ready to be sent."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes

    def __repr__(self) -> str:
        """Headers hold the key: never shown."""
        return f"HttpRequest({self.method} {urlsplit(self.url).hostname}, {len(self.body)} bytes)"


class SourcePicture(msgspec.Struct, frozen=True):
    """A picture to send. ``mime``: what the bytes are, whatever the file is called. Pixels, 0 where not known."""

    data: bytes
    mime: str
    name: str
    width: int = 0
    height: int = 0

    @property
    def base64(self) -> str:
        """The picture as base64."""
        return b64encode(self.data).decode("ascii")

    @property
    def data_url(self) -> str:
        """The picture as a data: URL."""
        return f"data:{self.mime};base64,{self.base64}"

    @property
    def file_name(self) -> str:
        """Its name in a form: plain ASCII, with the extension that its bytes deserve."""
        stem = PurePosixPath(self.name.replace("\\", "/")).stem
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._")[:80]
        return f"{stem or 'image'}.{extension_of(self.mime)}"


Body = dict[str, Any]


def build_request(
    config: ApiConfig, pictures: Sequence[SourcePicture], *, form: RequestForm = RequestForm.JSON
) -> HttpRequest:
    """The request for one edit in one of the built-in modes. ``extra_body`` is merged last (null removes a field); the
    key goes into Authorization only. Header values are checked by the transport, which knows what HTTP can carry.

    ``form``: for images_edits, how the pictures travel (`forms.py` knows which one a server takes).
    """
    mode = config.mode
    streaming = _streams(config, mode)
    if mode is ApiMode.IMAGES_EDITS and form in MULTIPART:
        body, content_type = _edits_form(config, pictures, streaming, _FILE_FIELDS[form])
    else:
        fields = (
            _edits(config, pictures, streaming, form)
            if mode is ApiMode.IMAGES_EDITS
            else _BUILDERS[mode](config, pictures, streaming)
        )
        body, content_type = msgspec.json.encode(merge(fields, config.extra_body)), "application/json"
    return HttpRequest("POST", config.api_url, _headers(config, content_type, streaming), body)


# --- bodies -----------------------------------------------------------------------------------------------------------


def _chat(config: ApiConfig, pictures: Sequence[SourcePicture], streaming: bool) -> Body:
    content: list[Body] = [{"type": "text", "text": config.user_prompt}] if config.user_prompt else []
    content += [{"type": "image_url", "image_url": {"url": picture.data_url}} for picture in pictures]
    messages: list[Body] = [{"role": "user", "content": content}]
    if config.system_prompt:
        messages.insert(0, {"role": "system", "content": config.system_prompt})
    body = {"model": config.model_name, "messages": messages, "temperature": config.temperature, "stream": streaming}
    body |= _token_limit(config, TokenField.MAX_TOKENS) | _plain(config)
    if config.result_count > 1:
        body["n"] = config.result_count
    if _wants_modalities(config.api_url):
        body["modalities"] = ["image", "text"]
    return body


def _responses(config: ApiConfig, pictures: Sequence[SourcePicture], streaming: bool) -> Body:
    content: list[Body] = [{"type": "input_text", "text": config.user_prompt}] if config.user_prompt else []
    content += [{"type": "input_image", "image_url": picture.data_url} for picture in pictures]
    messages: list[Body] = [{"role": "user", "content": content}]
    if config.system_prompt:
        system = [{"type": "input_text", "text": config.system_prompt}]
        messages.insert(0, {"role": "system", "content": system})
    body = {"model": config.model_name, "input": messages, "temperature": config.temperature, "stream": streaming}
    body |= _token_limit(config, TokenField.MAX_OUTPUT_TOKENS)
    if _is_openai(config.api_url):
        return body | {"tools": [{"type": "image_generation"}]}  # which refuses ``n``
    return body | ({"n": config.result_count} if config.result_count > 1 else {})


MULTIPART = frozenset({RequestForm.FORM, RequestForm.FORM_LIST})
_FILE_FIELDS = {RequestForm.FORM: "image", RequestForm.FORM_LIST: "image[]"}


def _edits(config: ApiConfig, pictures: Sequence[SourcePicture], streaming: bool, form: RequestForm) -> Body:
    """The JSON forms. xAI, grok2api: an object in ``image``, or a list of them in ``images``; older grok2api and
    Chinese clouds: a string or a list of them in ``image``; OpenAI: a list of objects of its own in ``images``."""
    urls = [picture.data_url for picture in pictures]
    if takes_references(config.api_url):
        references = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        return _edits_fields(config, streaming) | {"input_references": references}
    image: Body = {"image": {"url": urls[0]}} if len(urls) == 1 else {"images": [{"url": url} for url in urls]}
    if form is RequestForm.JSON_STRING:
        image = {"image": urls[0] if len(urls) == 1 else urls}
    elif form is RequestForm.JSON_OPENAI:
        image = {"images": [{"image_url": url} for url in urls]}
    return _edits_fields(config, streaming) | _format_asked(config, form) | image


def takes_references(url: str) -> bool:
    """OpenRouter's image API: pictures stand in ``input_references``; other fields are passed over without a word, and
    the answer is made from the prompt alone."""
    return urlsplit(url).path.rstrip("/").endswith("/v1/images")


def _format_asked(config: ApiConfig, form: RequestForm) -> Body:
    """OpenAI's newer models refuse ``response_format``: in its own forms it is sent only if asked for."""
    asked = config.response_format
    if asked is ResponseFormat.AUTO:
        openai = form in MULTIPART or form is RequestForm.JSON_OPENAI
        return {} if openai else {"response_format": ResponseFormat.B64_JSON.value}
    return {"response_format": asked.value}


def _edits_form(config: ApiConfig, pictures: Sequence[SourcePicture], streaming: bool, field: str) -> tuple[bytes, str]:
    """The multipart forms; they differ in the name of the files' field."""
    fields = merge(_edits_fields(config, streaming) | _format_asked(config, RequestForm.FORM), config.extra_body)
    texts = [(name, form_text(value)) for name, value in fields.items()]
    return encode_form(texts, [(field, picture) for picture in pictures])


def _edits_fields(config: ApiConfig, streaming: bool) -> Body:
    # This mode has one prompt; a system prompt leads it rather than being lost.
    prompt = "\n\n".join(text for text in (config.system_prompt, config.user_prompt) if text)
    fields: Body = {"model": config.model_name, "prompt": prompt, "n": config.result_count}
    return fields | _plain(config) | ({"stream": True} if streaming else {})


_BUILDERS: Mapping[ApiMode, Callable[[ApiConfig, Sequence[SourcePicture], bool], Body]] = {
    ApiMode.CHAT_COMPLETIONS: _chat,
    ApiMode.RESPONSES: _responses,
}


def _plain(config: ApiConfig) -> Body:
    return {name: value for name in PLAIN_PARAMETERS if (value := getattr(config, name)) is not None}


def _streams(config: ApiConfig, mode: ApiMode) -> bool:
    if config.stream is StreamChoice.AUTO:
        return mode is not ApiMode.IMAGES_EDITS
    return config.stream is StreamChoice.ON


def _token_limit(config: ApiConfig, automatic: TokenField) -> Body:
    field = automatic if config.token_field is TokenField.AUTO else config.token_field
    return {} if field is TokenField.NONE else {field.value: config.max_tokens}


def _host(url: str) -> str:
    return (urlsplit(url).hostname or "").rstrip(".").lower()


def _is_openai(url: str) -> bool:
    return _host(url) == "api.openai.com"


def _wants_modalities(url: str) -> bool:
    host = _host(url)
    return host == "openrouter.ai" or host.endswith(".openrouter.ai") or host.startswith("ai-gateway.")


def merge(base: Mapping[str, Any], extra: Mapping[str, Any]) -> Body:
    """``base`` changed by ``extra``: objects merge, null removes, anything else replaces."""
    merged = dict(base)
    for name, value in extra.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(name), Mapping):
            merged[name] = merge(merged[name], value)
        else:
            merged[name] = value
    return merged


# --- multipart --------------------------------------------------------------------------------------------------------


def form_text(value: Any) -> bytes:
    """A value as a field of a form has it: text as it is, anything else as JSON."""
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)


def encode_form(texts: Sequence[tuple[str, bytes]], files: Sequence[tuple[str, SourcePicture]]) -> tuple[bytes, str]:
    """A multipart/form-data body and its content type; the boundary occurs in none of the parts."""
    parts = [(f'name="{_quoted(name)}"', "", value) for name, value in texts]
    for name, picture in files:
        head = f'name="{_quoted(name)}"; filename="{_quoted(picture.file_name)}"'
        parts.append((head, f"Content-Type: {picture.mime}\r\n", picture.data))
    number = 0
    while any(_boundary(number) in value for _, _, value in parts):
        number += 1
    line = b"--" + _boundary(number)
    pieces: list[bytes] = []
    for head, mime, value in parts:
        pieces += [line, f"\r\nContent-Disposition: form-data; {head}\r\n{mime}\r\n".encode(), value, b"\r\n"]
    content_type = f"multipart/form-data; boundary={_boundary(number).decode()}"
    return b"".join([*pieces, line, b"--\r\n"]), content_type


def _boundary(number: int) -> bytes:
    return f"image-batch-console-{number:08d}".encode()


def _quoted(name: str) -> str:
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


# --- headers ----------------------------------------------------------------------------------------------------------


def _headers(config: ApiConfig, content_type: str, streaming: bool) -> dict[str, str]:
    headers = {"Accept": "text/event-stream, application/json" if streaming else "application/json"}
    for name, value in config.extra_headers.items():
        if name.lower() not in RESERVED_HEADERS:
            headers = {known: text for known, text in headers.items() if known.lower() != name.lower()}
            headers[name] = value
    headers["Content-Type"] = content_type
    key = config.api_key.strip()
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return headers


def request_headers(given: Mapping[str, str], length: int | None) -> Headers:
    """The fields of an API request with a body of ``length`` bytes, None for none. Values go out as UTF-8.

    Raises InvalidInput(FIELD_TYPE) for a name or value that HTTP cannot carry; the value is never repeated.
    """
    headers = {name.lower(): (name, value.strip()) for name, value in given.items() if name.lower() not in _FRAMING}
    for name, value in headers.values():
        if not _HEADER_NAME.fullmatch(name) or _BAD_HEADER_VALUE.search(value):
            field = "api_key" if name.lower() == "authorization" else "extra_headers"
            raise InvalidInput(Code.FIELD_TYPE, field=field, name=field)
    headers.setdefault("user-agent", ("User-Agent", USER_AGENT))
    headers.setdefault("accept", ("Accept", "*/*"))
    headers["accept-encoding"] = ("Accept-Encoding", ACCEPT_ENCODING)
    if length is not None:
        headers["content-length"] = ("Content-Length", str(length))
    return [(name.encode("ascii"), value.encode("utf-8")) for name, value in headers.values()]


def download_headers() -> Headers:
    """The fields of a download: nothing that says who asks."""
    return request_headers({"Accept": ACCEPT_PICTURES}, None)


# --- for the log ------------------------------------------------------------------------------------------------------


def describe_request(request: HttpRequest) -> dict[str, Any]:
    """The request as JSON-ready values for the debug log: no key in it, pictures shortened to their length."""
    headers = mask(dict(request.headers))
    secrets = [value for name, value in request.headers.items() if is_secret(name, value)]
    secrets += [value.partition(" ")[2] for value in secrets]
    secrets = [secret for secret in secrets if len(secret) >= TELLING]
    content_type = request.headers.get("Content-Type", "")
    body: Any = f"({len(request.body)} bytes)"
    # Blanked before anything is shortened in the middle of it; in the values, since `true` may be a secret.
    if content_type == "application/json":
        body = _shorten_values(_without(msgspec.json.decode(request.body), secrets))
    elif content_type.startswith("multipart/form-data"):
        body = _shown_form(request.body, content_type.partition("boundary=")[2], secrets)
    shown: dict[str, Any] = {"method": request.method, "url": mask_url(request.url), "headers": headers, "body": body}
    return {name: _without(value, secrets) for name, value in shown.items()}


def _shorten_values(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {key: _shorten_values(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_shorten_values(item, name) for item in value]
    if isinstance(value, str):
        return PLACEHOLDER if value and is_secret(name, value) else _shown_text(mask_url(value))
    return value


def _shown_text(text: str) -> str:
    limit = _SHOWN_INLINE if text.startswith("data:") else _SHOWN_CHARS
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def _shown_form(body: bytes, boundary: str, secrets: Sequence[str]) -> list[dict[str, Any]]:
    shown = []
    for part in body.split(f"--{boundary}".encode())[1:-1]:
        head, _, value = part.partition(b"\r\n\r\n")
        value = value[:-2]
        if b"filename=" in head:
            text = f"({len(value)} bytes)"
        else:
            name = head.partition(b'name="')[2].partition(b'"')[0].decode()
            text = _shorten_values(_without(value.decode("utf-8", "replace"), secrets), name)
        shown.append({"head": head.decode("utf-8", "replace").strip().replace("\r\n", "; "), "value": text})
    return shown


def _without(value: Any, secrets: Sequence[str]) -> Any:
    """The value with every occurrence of a secret masked, wherever a person may have put it."""
    if not secrets:
        return value
    if isinstance(value, dict):
        return {_without(key, secrets): _without(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_without(item, secrets) for item in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, PLACEHOLDER)
    return value
