"""The HTTP door: one route for every operation of the table, the event stream, the page's files."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from bottle import Bottle, HTTPError, HTTPResponse, request, response, static_file

from bridge.app import App
from bridge.dispatch import Failure, attempt, call, failure
from bridge.http.access import MAX_BODY_BYTES, PRESETS_PATH, Access, Request, is_local
from bridge.http.events import Hub
from bridge.http.instance import SHOW_PATH, ShowAnswer, answer_to
from bridge.http.openapi import EVENTS_PATH, OPENAPI_PATH, PROJECT_HEADER, document
from bridge.http.page import make_page, page_policy
from bridge.messages import pick_language
from bridge.operations import OPERATIONS, Kind, Operation, upload_limit
from bridge.paths import program_folder
from bridge.usecases.common import TASK_ID_PATTERN, Attachment, Context
from bridge.usecases.pictures import Picture, open_to_show
from bridge.views import ErrorBody, ProblemView
from engine.errors import Busy, Code, ConsoleError, InvalidInput, NotAuthenticated, NotFound, Param, Problem, TooLarge
from engine.files import without_mark

_ID = f"re:{TASK_ID_PATTERN}"
_FILTERS = {"id": _ID, "task_id": _ID, "result_id": _ID, "name": "path", "language": "re:[A-Za-z-]{2,10}"}
_CODES = {404: Code.OPERATION_UNKNOWN, 405: Code.METHOD_NOT_ALLOWED, 413: Code.BODY_TOO_LARGE}
_PICTURE_POLICY = "default-src 'none'; sandbox"


class HttpApi:
    """Makes the WSGI application."""

    def __init__(self, app: App, access: Access, hub: Hub, show: Callable[[], bool], instance_secret: str) -> None:
        self._app = app
        self._access = access
        self._hub = hub
        self._show = show
        self._instance_secret = instance_secret
        self._webui = program_folder("webui")
        self._encoder = msgspec.json.Encoder()

    def app(self) -> Bottle:
        """A Bottle application; every request passes ``_guard`` first."""
        app = Bottle()
        app.config["json.enable"] = False  # answers are encoded by msgspec
        app.add_hook("before_request", self._guard)
        app.add_hook("after_request", self._harden)
        for operation in OPERATIONS:
            app.route(route_of(operation), operation.method, self._handler(operation), name=operation.name)
        app.route(EVENTS_PATH, "GET", self._events)
        app.route(OPENAPI_PATH, "GET", self._openapi)
        app.route(SHOW_PATH, "POST", self._show_window)
        app.route("/api/<rest:path>", "OPTIONS", lambda **_: "")
        app.route("/api/<rest:path>", "ANY", self._nothing_there)
        app.route("/", "GET", self._page)
        app.route("/index.html", "GET", self._page)
        app.route("/<path:path>", "GET", self._static)
        app.default_error_handler = self._error
        return app

    # --- before and after every request ---

    def _guard(self) -> None:
        asked = _request(self._access.cookie_name)
        try:
            self._access.check(asked)
        except ConsoleError as error:
            raise self._refusal(failure(self._context(), error)) from error
        if keys := self._access.first_visit(asked):
            window = "?window=1" if _query().get("window") == "1" else ""
            # What follows the # is sent to no server: only the page's script reads it (webui/js/api.js).
            moved = HTTPResponse(status=303, headers={"Location": f"/{window}#access={keys.script}.{keys.passing}"})
            moved.set_header("Cache-Control", "no-store")
            moved.set_cookie(self._access.cookie_name, keys.page, httponly=True, samesite="strict", path="/")
            raise moved

    def _harden(self) -> None:
        response.set_header("Server", f"image-batch-console/{self._app.version}")
        response.set_header("X-Content-Type-Options", "nosniff")
        response.set_header("Referrer-Policy", "no-referrer")
        response.set_header("Cross-Origin-Resource-Policy", "same-origin")
        response.set_header("X-Frame-Options", "DENY")
        origin = self._access.allowed_origin(_headers())
        if origin:
            response.set_header("Access-Control-Allow-Origin", origin)
            response.set_header("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS")
            response.set_header("Access-Control-Allow-Headers", "Content-Type, Authorization, X-Access-Token")
            response.set_header("Cross-Origin-Resource-Policy", "cross-origin")
            response.add_header("Vary", "Origin")

    def _error(self, error: HTTPError) -> bytes:
        """Bottle's own errors (no such route, wrong method, a fault) in the shape of ours."""
        response.content_type = "application/json"
        return self._said(error.status_code, request.path, self._context().language)

    def server_error(self, status: int, path: str, headers: Mapping[str, str]) -> bytes:
        """The body of an answer to a request that never came to be one; see ``server_errors.Words``."""
        return self._said(status, path, self._language(headers.get("ACCEPT_LANGUAGE", "")))

    def _said(self, status: int, path: str, language: str) -> bytes:
        code = _CODES.get(status, Code.INTERNAL if status == 500 else Code.REQUEST_MALFORMED)
        params: dict[str, Param] = {"name": path[:200]}
        if code is Code.BODY_TOO_LARGE:
            environment = self._app.environment
            params = {"limit": environment.max_preset_import if path == PRESETS_PATH else MAX_BODY_BYTES}
        problem = Problem(code, params)
        view = ProblemView(code, self._app.messages.problem(language, problem), problem.params)
        return self._encoder.encode(_error_body(view))

    @staticmethod
    def _nothing_there(**_: str) -> HTTPError:
        """What no route takes: 405 where another method would do, else 404."""
        methods = {operation.method for operation in OPERATIONS if _pattern(operation.path).fullmatch(request.path)}
        if not methods:
            return HTTPError(404)
        return HTTPError(405, Allow=", ".join(sorted(methods | {"OPTIONS"})))

    # --- operations ---

    def _handler(self, operation: Operation) -> Any:
        def handle(**in_path: str) -> Any:
            context = self._context()
            answer = call(context, operation, lambda: {**self._parameters(operation), **in_path})
            if isinstance(answer, Picture):
                answer = attempt(context, operation.name, partial(_picture, answer))
            if isinstance(answer, Failure):
                return self._refusal(answer)
            if isinstance(answer, HTTPResponse):
                return answer
            response.content_type = "application/json"
            response.set_header("Cache-Control", "no-store")
            if isinstance(answer, Attachment):
                response.set_header("Content-Disposition", f'attachment; filename="{answer.file_name}"')
            return self._encoder.encode(answer)

        return handle

    def _parameters(self, operation: Operation) -> dict[str, Any]:
        if operation.method in ("GET", "DELETE"):
            return _query()
        if operation.kind is Kind.UPLOAD:
            return {"file": self._upload(upload_limit(operation, self._app.environment.max_preset_import))}
        body = without_mark(_read_body(MAX_BODY_BYTES))
        try:
            data = msgspec.json.decode(body) if body.strip() else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidInput(Code.NOT_JSON) from error
        if data is None:  # clients that have nothing to say send nothing, or null
            return {}
        if not isinstance(data, dict):
            raise InvalidInput(Code.NOT_JSON)
        return data

    def _upload(self, limit: int) -> bytes:
        if not (request.content_type or "").startswith("multipart/"):
            return _read_body(limit)
        try:
            upload = request.POST.get("file")
        except (ValueError, HTTPError) as error:  # parts that are none, or have headers that are no text
            raise InvalidInput(Code.PRESET_FILE_INVALID, field="file") from error
        if upload is None:
            raise InvalidInput(Code.FIELD_REQUIRED, field="file", name="file")
        data: bytes = upload.encode() if isinstance(upload, str) else upload.file.read(limit + 1)
        if len(data) > limit:
            raise TooLarge(Code.BODY_TOO_LARGE, limit=limit)
        return data

    def _refusal(self, refused: Failure) -> HTTPResponse:
        body = self._encoder.encode(_error_body(refused.error))
        return HTTPResponse(body, refused.status, {"Content-Type": "application/json", "Cache-Control": "no-store"})

    # --- events and files ---

    def _events(self) -> Any:
        if not self._hub.make_room():
            return self._refusal(failure(self._context(), Busy(Code.TOO_MANY_STREAMS)))
        known = _headers().get("last-event-id") or _query().get("since", "")
        since, most = _natural(known), _natural(_query().get("limit", ""))
        response.content_type = "text/event-stream; charset=utf-8"
        response.set_header("Cache-Control", "no-store")
        response.set_header("X-Accel-Buffering", "no")
        context = self._context()
        if chosen := _query().get("language"):  # a page cannot set the header of an event stream
            context = msgspec.structs.replace(context, language=pick_language(chosen))
        return self._hub.stream(context, since, most)

    def _openapi(self) -> bytes:
        response.content_type = "application/json"
        return self._encoder.encode(document(self._app.version))

    def _show_window(self) -> Any:
        """For a second start of the program, which proves that it reads our folder: bring the window to the front."""
        proof = answer_to(self._instance_secret, _headers())
        if proof is None:
            return self._refusal(failure(self._context(), NotAuthenticated(Code.TOKEN_REQUIRED)))
        response.content_type = "application/json"
        return self._encoder.encode(ShowAnswer(_query().get("show") != "0" and self._show(), proof))

    def _page(self) -> Any:
        text = make_page(self._webui, self._app.version)
        response.content_type = "text/html; charset=utf-8"
        response.set_header("Cache-Control", "no-store")
        response.set_header("Content-Security-Policy", page_policy(text))
        return text

    def _static(self, path: str) -> Any:
        if path.startswith("api/"):
            return self._nothing_there()
        if any(part.startswith(".") for part in path.split("/")):
            return self._refusal(failure(self._context(), NotFound(Code.OPERATION_UNKNOWN, name=path)))
        return static_file(path, root=str(self._webui), headers={"Cache-Control": "no-cache"})

    def _context(self) -> Context:
        language = self._language(_headers().get("accept-language", ""))
        local = is_local(request.environ.get("REMOTE_ADDR", ""), _headers())
        return Context(self._app, language, local, request.get_header(PROJECT_HEADER, ""))

    def _language(self, accepted: str) -> str:
        return pick_language(accepted or str(self._app.preferences.ui.get("language", "")))


def route_of(operation: Operation) -> str:
    """The operation's path in Bottle's notation."""
    return re.sub(r"\{(\w+)\}", lambda match: f"<{match[1]}:{_FILTERS[match[1]]}>", operation.path)


def _pattern(path: str) -> re.Pattern[str]:
    """The operation's path as an expression."""
    shapes = {"name": ".+", "language": _FILTERS["language"][3:]}
    return re.compile(re.sub(r"\{(\w+)\}", lambda match: f"(?:{shapes.get(match[1], _ID[3:])})", path))


_WITHOUT_HEADER = re.compile(
    "|".join(
        [re.escape(EVENTS_PATH)]
        + [_pattern(one.path).pattern for one in OPERATIONS if one.kind in (Kind.PICTURE, Kind.ATTACHMENT)]
    )
)
"""What a page loads by address alone: pictures, the event stream, files to keep."""


def _picture(picture: Picture) -> HTTPResponse:
    """The picture as what its bytes are; NotFound when its file was swapped meanwhile."""
    headers = {"Content-Security-Policy": _PICTURE_POLICY, "Cache-Control": "private, no-cache"}
    if picture.file is None:
        body = b"" if request.method == "HEAD" else picture.data
        headers |= {"Content-Type": picture.mime, "Content-Length": str(len(picture.data))}
        return HTTPResponse(body, 200, headers)
    opened = open_to_show(picture.file, picture.missing)
    headers["ETag"] = f'"{opened.modified:x}-{opened.size:x}"'
    known = _headers().get("if-none-match") == headers["ETag"]
    if known or request.method == "HEAD":
        opened.file.close()
    if known:
        return HTTPResponse(b"", 304, headers)
    headers |= {"Content-Type": opened.mime, "Content-Length": str(opened.size)}
    return HTTPResponse(b"" if request.method == "HEAD" else opened.file, 200, headers)


def _read_body(limit: int) -> bytes:
    body: bytes = request.environ["wsgi.input"].read(limit + 1) if request.content_length != 0 else b""
    if len(body) > limit:
        raise TooLarge(Code.BODY_TOO_LARGE, limit=limit)
    return body


def _error_body(view: ProblemView) -> ErrorBody:
    return ErrorBody(**msgspec.structs.asdict(view), detail=view.message, error=view)


def _headers() -> Mapping[str, str]:
    """By lower-case name, each byte one character: Bottle's own reading fails at bytes that are no UTF-8."""
    environ: Mapping[str, str] = request.environ
    found = {name[5:].replace("_", "-").lower(): environ[name] for name in environ if name.startswith("HTTP_")}
    return {**found, "content-type": environ.get("CONTENT_TYPE", "")}


def _natural(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _query() -> dict[str, str]:
    """The last value of each name, blank ones left out; what is no UTF-8 shows as replacement characters, and so
    matches nothing."""
    return dict(parse_qsl(request.query_string, errors="replace"))


def _request(cookie: str) -> Request:
    return Request(
        method=request.method,
        path=request.path,
        headers=_headers(),
        query_token=_query().get("token", ""),
        query_pass=_query().get("pass", ""),
        cookie=request.get_cookie(cookie, ""),
        takes_pass=_WITHOUT_HEADER.fullmatch(request.path) is not None,
        body_bytes=-1 if request.chunked else max(0, request.content_length),
    )
